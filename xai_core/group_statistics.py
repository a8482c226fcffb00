"""Whether a group of pictures differs from another, by how much, and which difference would have been found.

    found = differences(values, in_group, strata, chance, tests)     of many numbers per picture at once
    found = rate_differences(values, in_group, tests)        of what is true or false of a picture
    found = trends(values, along, chance, tests)                     whether numbers rise or fall with another

A picture is the unit. Values are (n, m) float64, NaN where a picture has none: it is left out of that column, and `n`
says so. `tests` is the size of the family over which Holm's correction is done afterwards, by `adjusted`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import TypeVar

import numpy as np
from scipy.special import gammaln, nctdtrinc, ndtri, stdtrit
from scipy.stats import binom, rankdata

from xai_core.statistics import CONFIDENCE, DRAWN_AT_ONCE, LEVEL, POWER, holm, share_of

FEWEST_SHUFFLES, BEYOND = 1999, 10
ROUNDING = 1e-6  # of the range of values, as float32 has it: a spread below is that of rounding
UNLIKELY = 1e-9  # counts that a sum over all counts may leave out
HALVINGS = 14  # of a range of rates
MANY = 1e9  # arrangements: p is then as good as continuous
SAME = 1e-12  # correlations that differ by less do so by rounding
NO_STRATUM = "no stratum holds pictures of both groups"
NO_PICTURE = "one of the two groups has no picture with this number"
TOO_FEW = "too few pictures to know how much they vary"
NO_SPREAD = "the numbers of neither group vary, so nothing tells how sure the difference is"
CONSTANT = "every picture has the same number, so nothing can differ"


@dataclass(frozen=True)
class Difference:
    """A group minus its reference: `value` with its interval, and what is known of it. None where undefined.

    `standardised` is in standard deviations within strata. `ratio` is of rates. `detectable` is the size of difference
    that is found with POWER at the level which Holm's rule leaves to the first of all tests; None where none is,
    however large, or where it is not known. `n` and `n_reference` are the pictures that were compared; as many as
    `effective`, half of them in each group and without strata, would tell as much. `note` says why something is None.
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

    over the strata s (n,) that hold both; one stratum for all compares without matching. The interval is that of
    Student's t with the variance of each group within strata, pooled over them, and Welch's degrees of freedom: where
    strata hold few pictures, a bootstrap within them would be too narrow. p is that of a permutation test of the same
    t = value / standard error: groups are given out anew by lot within strata, p = (1 + count as far from 0) / (1 +
    draws), or all ways to do so are counted where they are fewer. The plain difference would be tested wrongly where a
    small group varies more or less than the reference. t is infinite where nothing varies but the means differ, and 0
    where they do not. There is no p where a group has one picture per stratum. `standardised` is Hedges' g, the value
    over the standard deviation within strata, times 1 - 3 / (4 df - 1) for small samples. Detectable is the difference
    for which a noncentral t of these degrees of freedom and this standard error is found with POWER, half a step
    below the largest p within the level that so few arrangements allow; None where even the smallest is too large.

    Good, 2005, section 3 (permutation within blocks); Janssen, 1997 (Statistics and Probability Letters 36)
    and Chung and Romano, 2013 (https://doi.org/10.1214/13-AOS1090) for permuting t; Hedges, 1981.
    https://doi.org/10.3102/10769986006002107
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
        by_stratum = np.argsort(number[both], kind="stable")
        compared = _Strata(_numbered(number[both])[by_stratum], group[both][by_stratum])
        sorted_values = values[known][both][by_stratum][:, columns]
        p_values = compared.p_values(sorted_values, chance, shuffles(tests))
        for column, one, p in zip(columns, compared.differences(sorted_values, tests), p_values, strict=True):
            found[column] = one if one.note in (CONSTANT, TOO_FEW) else replace(one, p=float(p))
    return found


def rate_differences(values: np.ndarray, in_group: np.ndarray, tests: int) -> list[Difference]:
    """Whether something is true of a group more often than of the others: 1, 0 or NaN in each column of (n, m) values.

    Without strata. p is that of the permutation test of the plain difference (a group and a reference of one rate vary
    alike), counted over all ways to give out the groups: Fisher's exact test, but for which tables are as extreme.
    Intervals of the difference and of the ratio are made of the two Wilson
    intervals: a bootstrap would be too narrow, and have no width where a rate is 0 or 1. Newcombe, 1998, method 10
    (https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I); Donner and Zou, 2012, for the
    ratio (https://doi.org/10.1177/0962280210383082). Detectable is `detectable_rate` from the reference's rate, to
    which one picture of either kind is added: a set without errors does not show that there are none.
    """
    found = []
    for column in values.T:
        known = ~np.isnan(column)
        a, b = column[known & in_group] > 0, column[known & ~in_group] > 0
        if not (a.size and b.size):
            found.append(Difference(note=NO_PICTURE))
            continue
        low, high = _newcombe(a, b)
        ratio, ratio_low, ratio_high = _ratio(a, b)
        counts, p_values = _fisher(a.size, b.size, int(a.sum() + b.sum()))
        found.append(
            Difference(
                value=float(a.mean() - b.mean()),
                low=low,
                high=high,
                ratio=ratio,
                ratio_low=ratio_low,
                ratio_high=ratio_high,
                p=float(p_values[counts == a.sum()][0]) if len(counts) > 1 else None,
                detectable=detectable_rate(a.size, b.size, (b.sum() + 1) / (b.size + 2), tests),
                n=a.size,
                n_reference=b.size,
                effective=4 * a.size * b.size / (a.size + b.size),
                note=CONSTANT if len(counts) == 1 else "" if ratio is not None else "no ratio: the reference has 0",
            )
        )
    return found


def detectable_rate(n: int, n_reference: int, rate: float, tests: int) -> float | None:
    """The smallest distance from the reference's `rate` at which a group of `n` is found to differ with POWER.

    By the exact sum over the counts of both groups that Fisher's test finds at the level that Holm's rule leaves to the
    first of `tests`. The larger of the distances up and down, or the one that is possible between 0 and 1; None where
    neither is. Bennett and Hsu, 1960 (Biometrika 47).
    """
    lowest, highest = _found_outside(n, n_reference, max(tests, 1))
    count, other = np.arange(n + 1)[:, None], np.arange(n_reference + 1)
    likely = binom.pmf(other, n_reference, rate)
    other, likely = other[likely > UNLIKELY], likely[likely > UNLIKELY]
    found = ((count < lowest[count + other]) | (count > highest[count + other])) @ likely
    sizes = []
    for far in (0.0, 1.0):
        near = rate
        if binom.pmf(count[:, 0], n, far) @ found < POWER:
            continue
        for _ in range(HALVINGS):
            middle = (near + far) / 2
            near, far = (near, middle) if binom.pmf(count[:, 0], n, middle) @ found >= POWER else (middle, far)
        sizes.append(abs(far - rate))
    return max(sizes, default=None)


def trends(
    values: np.ndarray, along: np.ndarray, chance: np.random.Generator, tests: int, smallest: int = 10
) -> list[Trend]:
    """Whether each column of (n, m) values rises or falls with `along` (n,): Spearman's rank correlation.

    p is that of a permutation test, and c(level) the largest correlation that it does not find. The interval is
    Fisher's, with the variance of Bonett and Wright, 2000 (https://doi.org/10.1007/BF02294183), but as wide as that
    test has it, so that it holds 0 exactly where p is above 0.05:

        atanh(r) -+ atanh(c(0.05)) sqrt((1 + r^2 / 2) / (1 + c(0.05)^2 / 2))

    Detectable is tanh(atanh(c) + z_0.8 sqrt((1 + c^2 / 2) / (n - 3))), c = c(0.05 / tests), found with POWER. Values
    with many ties, as of few errors, cannot have a large correlation even where they are sorted: None where that is
    smaller than the detectable one, or is not found. Columns defined on fewer than `smallest` are not tested.
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
        by_lot = -np.sort(-np.concatenate([np.abs(x[drawn, 0] @ y) for drawn in order]), axis=0)
        for column, r, drawn, ranks in zip(columns, observed, by_lot.T, y.T, strict=True):
            found[column] = _trend(float(np.clip(r, -1, 1)), drawn, x[:, 0], ranks, tests)
    return found


def _trend(r: float, by_lot: np.ndarray, x: np.ndarray, y: np.ndarray, tests: int) -> Trend:
    """From the correlation of (n,) standardised ranks, and the sizes of those by lot, largest first."""
    n, draws = len(x), len(by_lot)
    if not (x.any() and y.any()):
        return Trend(n=n, note=CONSTANT)
    single, first = (
        min(float(by_lot[int(level * (1 + draws) + 1e-9) - 1]) + SAME, 1 - SAME)
        for level in (LEVEL, LEVEL / max(tests, 1))
    )
    attainable = max(abs(float(np.sort(x) @ np.sort(y)[::way])) for way in (1, -1))
    size = math.tanh(math.atanh(first) + float(ndtri(POWER)) * math.sqrt((1 + first * first / 2) / (n - 3)))
    middle = math.atanh(np.clip(r, -1 + SAME, 1 - SAME))
    reach = math.atanh(single) * math.sqrt((1 + r * r / 2) / (1 + single * single / 2))
    return Trend(
        correlation=r,
        low=math.tanh(middle - reach),
        high=math.tanh(middle + reach),
        p=float((1 + (by_lot >= abs(r) - SAME).sum()) / (1 + draws)),
        detectable=size if max(size, first) <= attainable else None,
        n=n,
    )


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

    @property
    def freedom(self) -> tuple[int, int]:
        """Degrees of freedom within strata, of the group and of the reference."""
        n_a, n_b = self.counts
        return int((n_a - 1).sum()), int((n_b - 1).sum())

    @property
    def factors(self) -> tuple[float, float]:
        """The variance of the difference, for a variance of 1 in the group, and for one in the reference."""
        n_a, n_b = self.counts
        weights = (n_a * n_b / (n_a + n_b)) ** 2 / self.weight**2
        return float((weights / n_a).sum()), float((weights / n_b).sum())

    def attainable(self, level: float) -> float:
        """The largest p within `level` that the arrangements allow, less half a step; 0 where there is none."""
        n_a, n_b = self.counts
        different = self.arrangements() // (2 if (n_a == n_b).all() else 1)  # a mirror image is as far from 0
        return max(0.0, math.floor(level * different + 1e-9) - 0.5) / different if different < MANY else level

    def arrangements(self) -> int:
        """In how many ways groups can be given out within strata."""
        return math.prod(math.comb(int(a + b), int(a)) for a, b in zip(*self.counts, strict=True))

    def differences(self, values: np.ndarray, tests: int) -> list[Difference]:
        """Of (n, m) values without gaps, all but p."""
        (n_a, n_b), (df_a, df_b), (factor_a, factor_b) = self.counts, self.freedom, self.factors
        value = self.centred(values, self.strata)[self.group].sum(axis=0) / self.weight
        squares = self.centred(values, 2 * self.strata + self.group) ** 2
        a, b = squares[self.group].sum(axis=0), squares[~self.group].sum(axis=0)
        known = Difference(n=int(n_a.sum()), n_reference=int(n_b.sum()), effective=4 * self.weight)
        level = self.attainable(LEVEL / max(tests, 1))
        found = []
        for mean, in_a, in_b, span in zip(value, a, b, np.ptp(values, axis=0), strict=True):
            df = df_a + df_b
            sd = math.sqrt((in_a + in_b) / df) if df else 0.0
            few = df_a < 1 or df_b < 1
            if span == 0 or few or sd <= ROUNDING * span:
                why = CONSTANT if span == 0 else TOO_FEW if few else NO_SPREAD
                found.append(replace(known, value=float(mean), note=why))
                continue
            parts = factor_a * in_a / df_a, factor_b * in_b / df_b
            freedom = sum(parts) ** 2 / (parts[0] ** 2 / df_a + parts[1] ** 2 / df_b)
            error = math.sqrt(sum(parts))
            reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2)) * error
            least = float(nctdtrinc(freedom, 1 - POWER, stdtrit(freedom, 1 - level / 2))) * error
            found.append(
                replace(
                    known,
                    value=float(mean),
                    low=float(mean) - reach,
                    high=float(mean) + reach,
                    standardised=float(mean) / sd * (1 - 3 / (4 * df - 1)),
                    detectable=least if level else None,
                )
            )
        return found

    def p_values(self, values: np.ndarray, chance: np.random.Generator, draws: int) -> np.ndarray:
        """(m,) two-sided p of (n, m) values without gaps; NaN where a group has one picture per stratum."""
        if min(self.freedom) < 1:
            return np.full(values.shape[1], np.nan)
        values = self.centred(values, self.strata)
        size = np.sqrt((values**2).mean(axis=0))
        values = values / np.where(size > 0, size, 1)
        observed = self.squared_t(self.group[None].astype(float), values)[0] * (1 - 1e-9)  # sums in another order
        all_of_them = self.arrangements() <= draws
        ways, reached = (0, np.zeros(values.shape[1])) if all_of_them else (1, np.ones(values.shape[1]))
        for chosen in [self.every_way()] if all_of_them else self.by_lot(chance, draws):
            ways += len(chosen)
            reached += (self.squared_t(chosen, values) >= observed).sum(axis=0)
        p: np.ndarray = reached / ways
        return p

    def squared_t(self, chosen: np.ndarray, values: np.ndarray) -> np.ndarray:
        """(k, m), with (k, n) 1 for those in the group, of (n, m) values that have mean 0 in strata and size 1."""
        (df_a, df_b), (factor_a, factor_b) = self.freedom, self.factors
        in_a = chosen @ values**2
        in_b = (values**2).sum(axis=0) - in_a
        total, first = np.zeros_like(in_a), 0
        for a, b in zip(*self.counts, strict=True):
            block = slice(first, first := first + a + b)
            sums = chosen[:, block] @ values[block]  # of the reference: the same with another sign
            total, in_a, in_b = total + sums, in_a - sums**2 / a, in_b - sums**2 / b
        least = len(values) * ROUNDING**2
        variance = factor_a / df_a * np.where(in_a > least, in_a, 0) + factor_b / df_b * np.where(in_b > least, in_b, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            squared = (total / self.weight) ** 2 / variance
        one_mean: np.ndarray = np.abs(total) <= len(values) * ROUNDING
        return np.where(one_mean, 0.0, squared)

    def by_lot(self, chance: np.random.Generator, draws: int) -> Iterator[np.ndarray]:
        """(some, n) float64, `draws` in all: 1 for those in the group, as many in a stratum as there are."""
        for order in _orders(self.strata, chance, draws):
            chosen = np.zeros(order.shape)
            np.put_along_axis(chosen, order[:, np.flatnonzero(self.group)], 1.0, axis=1)
            yield chosen

    def every_way(self) -> np.ndarray:
        """(arrangements, n) float64: the same, without chance."""
        chosen = np.zeros((1, 0))
        for a, b in zip(*self.counts, strict=True):
            places = np.array(list(combinations(range(a + b), a)))
            block = np.zeros((len(places), a + b))
            np.put_along_axis(block, places, 1.0, axis=1)
            chosen = np.hstack([np.repeat(chosen, len(block), axis=0), np.tile(block, (len(chosen), 1))])
        return chosen


def _fisher(n_a: int, n_b: int, true: int) -> tuple[np.ndarray, np.ndarray]:
    """How many of the `true` pictures may be in the group, and p of each: of all that are as far from their mean."""
    n, count = n_a + n_b, np.arange(max(0, true - n_b), min(n_a, true) + 1)
    factorial = gammaln(np.arange(1, n + 2))
    rest = factorial[count] + factorial[n_a - count] + factorial[true - count] + factorial[n_b - true + count]
    share = np.exp(factorial[n_a] + factorial[n_b] + factorial[true] + factorial[n - true] - factorial[n] - rest)
    below, above = np.append(0, np.cumsum(share)), np.append(np.cumsum(share[::-1])[::-1], 0)
    middle, away = true * n_a, np.abs(count * n - true * n_a)  # in n-ths, so that ties are ties
    left, right = (middle - away) // n - count[0] + 1, -((-middle - away) // n) - count[0]
    p = below[np.clip(left, 0, len(count))] + above[np.clip(right, 0, len(count))]
    return count, np.minimum(p, 1)


@lru_cache(maxsize=256)
def _found_outside(n_a: int, n_b: int, tests: int) -> tuple[np.ndarray, np.ndarray]:
    """By the number true of all (n_a + n_b + 1,): the least and the largest count in the group that is not found."""
    ends = []
    for true in range(n_a + n_b + 1):
        count, p = _fisher(n_a, n_b, true)
        ends.append(count[p > LEVEL / tests][[0, -1]])
    lowest, highest = np.array(ends).T
    return lowest, highest


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
