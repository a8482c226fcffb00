"""Whether a group of pictures differs from another, by how much, and which difference would have been found.

    found = differences(values, in_group, strata, chance, tests)     of many numbers per picture at once
    found = rate_differences(values, in_group, chance, tests)        of what is true or false of a picture
    found = trends(values, along, chance, tests)                     whether numbers rise or fall with another

A picture is the unit. Values are (n, m) float64, NaN where a picture has none: it is left out of that column, and `n`
says so. `tests` is the size of the family over which Holm's correction is done afterwards, by `adjusted`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from scipy.special import ndtri, stdtrit
from scipy.stats import rankdata

from xai_core.statistics import CONFIDENCE, DRAWN_AT_ONCE, holm, share_of

POWER = 0.8  # with which a difference of the detectable size is found
LEVEL = 1 - CONFIDENCE  # of a family of tests
FEWEST_SHUFFLES, BEYOND = 1999, 10
ROUNDING = 1e-9  # of the range of values: a spread below is that of rounding
Z = float(ndtri((1 + CONFIDENCE) / 2))
NO_STRATUM = "no stratum holds pictures of both groups"
NO_PICTURE = "one of the two groups has no picture with this number"
TOO_FEW = "too few pictures to know how much they vary"
NO_SPREAD = "the numbers of neither group vary, so nothing tells how sure the difference is"
CONSTANT = "every picture has the same number, so nothing can differ"


@dataclass(frozen=True)
class Difference:
    """A group minus its reference: `value` with its interval, and what is known of it. None where undefined.

    `standardised` is in standard deviations within strata. `ratio` is of rates. `detectable` is the size of difference
    that is found with POWER. `n` and `n_reference` are the pictures that were compared; as many as `effective`, half of
    them in each group and without strata, would tell as much. `note` says why something is None.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    standardised: float | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    detectable: float | None = None
    n: int = 0
    n_reference: int = 0
    effective: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class Trend:
    """Spearman's rank correlation over `n` pictures with its interval; the rest as in Difference."""

    correlation: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    detectable: float | None = None
    n: int = 0
    note: str = ""


One = TypeVar("One", Difference, Trend)


def quantile_strata(by: np.ndarray, within: np.ndarray, bins: int) -> np.ndarray:
    """(n,) int: pictures of one value of `within` (n,) whose (n,) number `by` lies in the same of `bins` quantile bins.

    Five bins take away about nine tenths of what a confounder does. Cochran, 1968. https://doi.org/10.2307/2528036
    """
    _, kind = np.unique(within, return_inverse=True)
    bin_of = np.zeros(len(by), int)
    for one in np.unique(kind):
        edges = np.quantile(by[kind == one], np.linspace(0, 1, bins + 1)[1:-1])
        bin_of[kind == one] = np.searchsorted(edges, by[kind == one])
    return kind * bins + bin_of


def differences(
    values: np.ndarray, in_group: np.ndarray, strata: np.ndarray, chance: np.random.Generator, tests: int
) -> list[Difference]:
    """Whether pictures of a group differ from the others of their own stratum, for each column of (n, m) values.

        value = sum_s w_s (mean of the group - mean of the reference) / sum_s w_s,   w_s = n_a n_b / (n_a + n_b)

    over the strata s (n,) that hold both; one stratum for all compares without matching. p is that of a permutation
    test: groups are given out anew by lot within strata, p = (1 + count as far from 0) / (1 + draws). The interval is
    that of Student's t with the variance of each group within strata, pooled over them, and Welch's degrees of freedom:
    where strata hold few pictures, a bootstrap within them would be too narrow. `standardised` is Hedges' g, the value
    over the standard deviation within strata, times 1 - 3 / (4 df - 1) for small samples. Detectable is

        (z_{1 - 0.05 / (2 tests)} + z_0.8) sd / sqrt(sum_s w_s)

    Good, 2005, section 3 (permutation within blocks); Hedges, 1981. https://doi.org/10.3102/10769986006002107
    """
    found = [Difference(note=NO_PICTURE)] * values.shape[1]
    for columns, known in _alike(values):
        number, group = _numbered(strata[known]), in_group[known]
        n_a, n_b = (np.bincount(number[some], minlength=number.max() + 1) for some in (group, ~group))
        if not (n_a.any() and n_b.any()):
            continue
        both = ((n_a > 0) & (n_b > 0))[number]
        if not both.any():
            for column in columns:
                found[column] = Difference(note=NO_STRATUM)
            continue
        compared = _Strata(_numbered(number[both]), group[both])
        for column, one in zip(columns, compared.differences(values[known][both][:, columns], tests), strict=True):
            found[column] = one
        p = compared.p_values(values[known][both][:, columns], chance, shuffles(tests))
        for column, value in zip(columns, p, strict=True):
            found[column] = replace(found[column], p=None if found[column].note == CONSTANT else float(value))
    return found


def rate_differences(
    values: np.ndarray, in_group: np.ndarray, chance: np.random.Generator, tests: int
) -> list[Difference]:
    """Whether something is true of a group more often than of the others: 1, 0 or NaN in each column of (n, m) values.

    p as in `differences`, without strata. Intervals of the difference and of the ratio are made of the two Wilson
    intervals: a bootstrap would be too narrow, and have no width where a rate is 0 or 1. Newcombe, 1998, method 10
    (https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I); Donner and Zou, 2012, for the
    ratio (https://doi.org/10.1177/0962280210383082). Detectable as in `differences`, with sd = sqrt(r (1 - r)) of the
    rate r of all, to which two pictures of either kind are added, so that a set without errors has a limit too.
    """
    found = []
    for column, one in enumerate(differences(values, in_group, np.zeros(len(values), int), chance, tests)):
        known = ~np.isnan(values[:, column])
        a, b = values[known & in_group, column] > 0, values[known & ~in_group, column] > 0
        if not (a.size and b.size):
            found.append(one)
            continue
        low, high = _newcombe(a, b)
        ratio, ratio_low, ratio_high = _ratio(a, b)
        rate = (a.sum() + b.sum() + 2) / (a.size + b.size + 4)
        found.append(
            replace(
                one,
                low=low,
                high=high,
                standardised=None,
                ratio=ratio,
                ratio_low=ratio_low,
                ratio_high=ratio_high,
                detectable=_least(tests) * math.sqrt(rate * (1 - rate) / (a.size * b.size / (a.size + b.size))),
                note=one.note if one.note == CONSTANT else "" if ratio is not None else "no ratio: the reference has 0",
            )
        )
    return found


def trends(
    values: np.ndarray, along: np.ndarray, chance: np.random.Generator, tests: int, smallest: int = 10
) -> list[Trend]:
    """Whether each column of (n, m) values rises or falls with `along` (n,): Spearman's rank correlation.

    p is that of a permutation test. The interval is Fisher's, with the variance (1 + r^2 / 2) / (n - 3) of Bonett and
    Wright, 2000. https://doi.org/10.1007/BF02294183 Detectable is tanh((z_{1 - 0.05 / (2 tests)} + z_0.8) /
    sqrt(n - 3)), the correlation that is found with POWER. Columns defined on fewer than `smallest` are not tested.
    """
    found = [Trend(note=TOO_FEW)] * values.shape[1]
    for columns, known in _alike(values):
        n = int(known.sum())
        if n < smallest:
            for column in columns:
                found[column] = Trend(n=n, note=TOO_FEW)
            continue
        x, y = _standard(along[known][:, None]), _standard(values[known][:, columns])
        observed = (x.T @ y)[0]
        order = _orders(np.zeros(n, int), chance, shuffles(tests))
        count = sum((np.abs(x[drawn, 0] @ y) >= np.abs(observed) - 1e-12).sum(axis=0) for drawn in order)
        for column, r, beyond, span in zip(columns, observed, count, np.ptp(y, axis=0), strict=True):
            if span == 0 or not x.any():
                found[column] = Trend(n=n, note=CONSTANT)
                continue
            r = float(np.clip(r, -1, 1))
            middle, reach = math.atanh(np.clip(r, -1 + 1e-12, 1 - 1e-12)), Z * math.sqrt((1 + r * r / 2) / (n - 3))
            found[column] = Trend(
                correlation=r,
                low=math.tanh(middle - reach),
                high=math.tanh(middle + reach),
                p=float((1 + beyond) / (1 + shuffles(tests))),
                detectable=math.tanh(_least(tests) / math.sqrt(n - 3)),
                n=n,
            )
    return found


def adjusted(found: Sequence[One]) -> list[One]:
    """The same with p-values that Holm's rule raised over all of them; those without one are no part of the family."""
    tested = [number for number, one in enumerate(found) if one.p is not None]
    raised = dict(zip(tested, holm([found[number].p or 0.0 for number in tested]), strict=True))
    return [replace(one, p_adjusted=raised.get(number)) for number, one in enumerate(found)]


def shuffles(tests: int) -> int:
    """How many draws a permutation test needs, for Holm's rule over a family of `tests` to lose no power by them.

    Then p passes its first step with up to BEYOND draws as far from 0 as what was observed; with 2 a power of 0.8 was
    measured to fall to 0.7.
    """
    return max(FEWEST_SHUFFLES, math.ceil(BEYOND * tests / LEVEL) - 1)


def _least(tests: int) -> float:
    """The size of effect, in its standard errors, that is found with POWER at the level Holm leaves to the first."""
    return float(ndtri(1 - LEVEL / (2 * max(tests, 1))) + ndtri(POWER))


def _alike(values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Columns that are defined on the same pictures, and which (n,) bool, for those defined on any."""
    if not values.size:
        return
    patterns, which = np.unique(~np.isnan(values), axis=1, return_inverse=True)
    for number, known in enumerate(patterns.T):
        if known.any():
            yield np.flatnonzero(which.ravel() == number), known


def _numbered(strata: np.ndarray) -> np.ndarray:
    """(n,) int from 0, without gaps."""
    return np.unique(strata, return_inverse=True)[1]


def _orders(strata: np.ndarray, chance: np.random.Generator, count: int) -> Iterator[np.ndarray]:
    """(some, n) int, `count` in all: the places of pictures sorted by stratum, by lot within it."""
    at_once = max(1, DRAWN_AT_ONCE // len(strata))
    for done in range(0, count, at_once):
        yield np.argsort(strata + chance.random((min(at_once, count - done), len(strata))), axis=1)


@dataclass(frozen=True)
class _Strata:
    """Who is compared: (n,) numbers of strata, each of which holds both groups, and (n,) bool, who is in the group."""

    strata: np.ndarray
    group: np.ndarray

    @property
    def counts(self) -> tuple[np.ndarray, np.ndarray]:
        """(strata,) pictures of the group, and of the reference."""
        return np.bincount(self.strata[self.group]), np.bincount(self.strata[~self.group])

    @property
    def weight(self) -> float:
        """The sum over strata of n_a n_b / (n_a + n_b)."""
        n_a, n_b = self.counts
        return float((n_a * n_b / (n_a + n_b)).sum())

    def centred(self, values: np.ndarray, cells: np.ndarray) -> np.ndarray:
        """(n, m) values minus the mean of their cell."""
        count = np.bincount(cells)
        means = np.stack([np.bincount(cells, column) for column in values.T], axis=1) / np.maximum(count, 1)[:, None]
        rest: np.ndarray = values - means[cells]
        return rest

    def differences(self, values: np.ndarray, tests: int) -> list[Difference]:
        """Of (n, m) values without gaps, all but p."""
        (n_a, n_b), weight = self.counts, self.weight
        value = self.centred(values, self.strata)[self.group].sum(axis=0) / weight
        squares = self.centred(values, 2 * self.strata + self.group) ** 2
        strata = len(n_a)
        df_a, df_b = int(self.group.sum()) - strata, int((~self.group).sum()) - strata
        a, b = squares[self.group].sum(axis=0), squares[~self.group].sum(axis=0)
        weights = (n_a * n_b / (n_a + n_b)) ** 2
        known = Difference(n=int(n_a.sum()), n_reference=int(n_b.sum()), effective=4 * weight)
        found = []
        for mean, in_a, in_b, span in zip(value, a, b, np.ptp(values, axis=0), strict=True):
            df = df_a + df_b
            sd = math.sqrt((in_a + in_b) / df) if df else 0.0
            few = df_a < 1 or df_b < 1
            if span == 0 or few or sd <= ROUNDING * span:
                why = CONSTANT if span == 0 else TOO_FEW if few else NO_SPREAD
                found.append(replace(known, value=float(mean), note=why))
                continue
            parts = [
                in_a / df_a * (weights / n_a).sum() / weight**2,
                in_b / df_b * (weights / n_b).sum() / weight**2,
            ]
            freedom = sum(parts) ** 2 / (parts[0] ** 2 / df_a + parts[1] ** 2 / df_b)
            reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * math.sqrt(sum(parts))
            found.append(
                replace(
                    known,
                    value=float(mean),
                    low=float(mean) - reach,
                    high=float(mean) + reach,
                    standardised=float(mean) / sd * (1 - 3 / (4 * df - 1)),
                    detectable=_least(tests) * sd / math.sqrt(weight),
                )
            )
        return found

    def p_values(self, values: np.ndarray, chance: np.random.Generator, draws: int) -> np.ndarray:
        """(m,) two-sided p of (n, m) values without gaps.

        With n_a fixed the statistic is, but for its weight, the sum over the group of values less their stratum's mean.
        """
        by_stratum = np.argsort(self.strata, kind="stable")
        places = np.flatnonzero(self.group[by_stratum])  # of the group, among pictures sorted by stratum
        centred = self.centred(values, self.strata)
        observed = np.abs(centred[self.group].sum(axis=0))
        slack = 1e-9 * np.abs(centred).sum(axis=0)  # sums of the same numbers in another order are the same
        count = np.zeros(values.shape[1])
        for order in _orders(self.strata, chance, draws):
            chosen = np.zeros(order.shape)
            np.put_along_axis(chosen, order[:, places], 1.0, axis=1)
            count += (np.abs(chosen @ centred) >= observed - slack).sum(axis=0)
        p: np.ndarray = (1 + count) / (1 + draws)
        return p


def _newcombe(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """The interval of the difference of two shares, of (n,) and (k,) bool."""
    (one, low_1, high_1), (other, low_2, high_2) = _wilson(a), _wilson(b)
    value = one - other
    return (
        value - math.hypot(one - low_1, high_2 - other),
        value + math.hypot(high_1 - one, other - low_2),
    )


def _ratio(a: np.ndarray, b: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """The ratio of two shares, of (n,) and (k,) bool, and its interval; None where the second is 0."""
    (one, low_1, high_1), (other, low_2, high_2) = _wilson(a), _wilson(b)
    if other == 0:
        return None, None, None
    product = one * other
    down = product + math.sqrt(max(0.0, product**2 - low_1 * high_2 * (2 * one - low_1) * (2 * other - high_2)))
    up = product + math.sqrt(max(0.0, product**2 - high_1 * low_2 * (2 * one - high_1) * (2 * other - low_2)))
    return one / other, low_1 * (2 * one - low_1) / down if down else 0.0, up / (low_2 * (2 * other - low_2))


def _wilson(true: np.ndarray) -> tuple[float, float, float]:
    share = share_of(true)
    return share.mean or 0.0, share.low or 0.0, share.high or 0.0


def _standard(values: np.ndarray) -> np.ndarray:
    """(n, m) values to their ranks, less their mean and of length 1, so that products are correlations."""
    ranks = rankdata(values, axis=0)
    ranks -= ranks.mean(axis=0)
    length = np.sqrt((ranks**2).sum(axis=0))
    standard: np.ndarray = np.where(length > 0, ranks / np.where(length > 0, length, 1), 0.0)
    return standard
