"""How far a number moved between two looks at the same pictures, and whether chance alone would have moved it so.

    rate_change(before, after)          of what is true or false of a picture
    mean_change(before, after, seed)    of a number of every picture
    measured_change(...)                of a number that only many pictures have together

Both looks are at the same pictures, so what one picture adds to both is no doubt about the difference: intervals are of
paired differences, and narrower than those of two sets would be. `adjusted` corrects a family of tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest

from xai_core.statistics import Mean, bootstrapped, holm, mean_of, share_of

NONE_CHANGED = "no picture changed, so nothing can be tested"
ALL_ALIKE = "every picture changed by the same, so they show no interval"
ROUNDING = 1e-9  # of the largest difference: what subtracting may make of equal ones


@dataclass(frozen=True)
class Change:
    """A number `before` and `after` over the same `n` pictures, and its change with a 95 % interval; None: undefined.

    `p` is that of the test of no change, and `p_adjusted` what Holm's rule made of it. `note` says why one is None.
    """

    before: float | None = None
    after: float | None = None
    value: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    n: int = 0
    note: str = ""


def rate_change(before: np.ndarray, after: np.ndarray) -> Change:
    """Of the share that is true of (n,) bool, where the pictures of both are the same and in the same order.

    The interval is made of the two Wilson intervals and of the correlation of the two: Newcombe, 1998, method 10
    (https://doi.org/10.1002/(SICI)1097-0258(19981130)17:22<2635::AID-SIM954>3.0.CO;2-C). It has a width also where no
    picture changed, as the next one may. p is that of McNemar's exact test, which asks only the pictures that changed,
    and may find less than the interval seems to show. McNemar, 1947. https://doi.org/10.1007/BF02295996
    """
    n = len(before)
    if n == 0:
        return Change(note="there is nothing to count")
    risen, fallen = int((after & ~before).sum()), int((before & ~after).sum())
    low, high = _newcombe(before, after)
    return Change(
        before=float(before.mean()),
        after=float(after.mean()),
        value=(risen - fallen) / n,
        low=low,
        high=high,
        p=float(binomtest(risen, risen + fallen).pvalue) if risen + fallen else None,
        n=n,
        note="" if risen + fallen else NONE_CHANGED,
    )


def mean_change(before: np.ndarray, after: np.ndarray, seed: int = 0) -> Change:
    """Of the mean of (n,) numbers of the same pictures: the mean difference, with its interval by `mean_of`.

    Where all differences are one, resamples know no other, and there is no interval.
    """
    differences = after - before
    found = mean_of(differences, seed)
    if found.low is not None and np.ptp(differences) <= ROUNDING * np.abs(differences).max():
        found = found._replace(low=None, high=None, note=ALL_ALIKE)
    return _changed(lambda: float(before.mean()), lambda: float(after.mean()), found)


def measured_change(
    before: Callable[[np.ndarray], float], after: Callable[[np.ndarray], float], n: int, seed: int = 0
) -> Change:
    """Of what two measures say of `n` pictures, given the (k,) numbers of some of them, which are drawn for both alike.

    The interval is that of the percentiles of the difference over resampled pictures. Efron, 1979.
    https://doi.org/10.1214/aos/1176344552
    """
    found = bootstrapped(lambda drawn: after(drawn) - before(drawn), np.zeros(n, int), seed)
    return _changed(lambda: before(np.arange(n)), lambda: after(np.arange(n)), found)


def adjusted(found: Sequence[Change]) -> list[Change]:
    """The same with p-values that Holm's rule raised over all of them; those without one are no part of the family."""
    tested = [one.p for one in found if one.p is not None]
    raised = iter(holm(tested))
    return [one if one.p is None else replace(one, p_adjusted=next(raised)) for one in found]


def _changed(before: Callable[[], float], after: Callable[[], float], found: Mean) -> Change:
    value, low, high, n, note = found
    if not n:
        return Change(note=note)
    return Change(before(), after(), value, low, high, n=n, note=note)


def _newcombe(before: np.ndarray, after: np.ndarray) -> tuple[float, float]:
    """The interval of the share of `after` less that of `before`, (n,) bool."""
    (old, old_low, old_high, *_), (new, new_low, new_high, *_) = share_of(before), share_of(after)
    if old is None or old_low is None or old_high is None or new is None or new_low is None or new_high is None:
        raise ValueError("there is nothing to count")
    value, phi = float(after.mean() - before.mean()), _correlation(before, after)

    def reach(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))

    return value - reach(new - new_low, old_high - old), value + reach(new_high - new, old - old_low)


def _correlation(before: np.ndarray, after: np.ndarray) -> float:
    """Of two (n,) bool, less by half a picture where it is above zero, as method 10 asks; 0 where one never varies."""
    n, both, ones, others = len(before), int((before & after).sum()), int(before.sum()), int(after.sum())
    cross = float(both * (n - ones - others + both) - (ones - both) * (others - both))
    if cross > 0:
        cross = max(0.0, cross - n / 2)
    size = math.sqrt(ones * (n - ones) * others * (n - others))
    return cross / size if size else 0.0
