"""What may be said of numbers measured on several pictures: means with intervals, ranks, and tests of differences.

A picture is the unit: pixels of one picture say nothing of the next. Where there are too few, that is said.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.stats import friedmanchisquare, norm, rankdata, studentized_range

from xai_core.records import Better

CONFIDENCE = 0.95
LEVEL = 1 - CONFIDENCE  # of a family of tests
POWER = 0.8  # with which an effect of the detectable size is found
DRAWS = 2000  # of the bootstrap: the ends of the interval then move by about a hundredth of its width between seeds
DRAWN_AT_ONCE = 1_000_000  # numbers in memory
FEWEST_FOR_INTERVAL = 5  # fewer pictures have too few different resamples for a tail of 2.5 %
FEWEST_PICTURES, FEWEST_METHODS = (
    10,
    3,
)  # for a Friedman test: its chi-squared approximation, Demsar 2006, section 3.2.2


class Mean(NamedTuple):
    """A mean over `n` pictures, and the interval that it is known to; `note` says why there is none."""

    mean: float | None
    low: float | None
    high: float | None
    n: int
    note: str = ""


def mean_of(values: Sequence[float] | np.ndarray, seed: int = 0) -> Mean:
    """Mean of one number per picture, with its 95 % percentile bootstrap interval over pictures.

    The same seed draws the same pictures for all rows of a table that are defined on all of them. With few pictures the
    interval is somewhat too narrow. Efron, 1979. https://doi.org/10.1214/aos/1176344552
    """
    x = np.asarray(values, dtype=np.float64)
    if x.size == 0:
        return Mean(None, None, None, 0, "undefined on every picture")
    if x.size < FEWEST_FOR_INTERVAL:
        return Mean(float(x.mean()), None, None, x.size, f"too few pictures for an interval: {x.size}")
    chance, at_once = np.random.default_rng(seed), max(1, DRAWN_AT_ONCE // x.size)
    sizes = [min(at_once, DRAWS - done) for done in range(0, DRAWS, at_once)]
    means = np.concatenate([x[chance.integers(x.size, size=(size, x.size))].mean(axis=1) for size in sizes])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Mean(float(x.mean()), float(low), float(high), x.size)


def share_of(right: Sequence[bool] | np.ndarray) -> Mean:
    """The share that is true of (n,) bool, with its 95 % Wilson interval, which has a width also at 0 and at 1.

    Wilson, 1927. https://doi.org/10.1080/01621459.1927.10502953
    """
    n = len(right)
    if n == 0:
        return Mean(None, None, None, 0, "there is nothing to count")
    share, z = float(np.mean(right)), float(norm.ppf((1 + CONFIDENCE) / 2))
    middle = share + z * z / (2 * n)
    reach = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    low, high = ((middle + sign * reach) / (1 + z * z / n) for sign in (-1, 1))
    return Mean(share, min(max(low, 0.0), share), max(min(high, 1.0), share), n)


def bootstrapped(
    measure: Callable[[np.ndarray], float], strata: np.ndarray, seed: int = 0, biased: bool = False
) -> Mean:
    """What `measure` says of all pictures, given their (n,) numbers, with its 95 % bootstrap interval over pictures.

    Pictures are drawn anew within each value of `strata` (n,), so that no class vanishes. The interval is that of the
    percentiles, or for a measure that few pictures make too large (`biased`), whose resamples make it larger once more,
    the basic one, mirrored at the value and never below zero. Davison and Hinkley, 1997, section 5.2.
    """
    n = len(strata)
    if n == 0:
        return Mean(None, None, None, 0, "undefined on every picture")
    value = measure(np.arange(n))
    if n < FEWEST_FOR_INTERVAL:
        return Mean(value, None, None, n, f"too few pictures for an interval: {n}")
    chance, order = np.random.default_rng(seed), np.argsort(strata, kind="stable")
    _, first, count = np.unique(strata[order], return_index=True, return_counts=True)
    first, count = np.repeat(first, count), np.repeat(count, count)
    found = [measure(order[first + (chance.random(n) * count).astype(int)]) for _ in range(DRAWS)]
    if np.ptp(found) == 0:
        return Mean(value, None, None, n, "every draw of pictures gives the same, so they show no interval")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    if biased:
        low, high = max(0.0, 2 * value - high), max(0.0, 2 * value - low)
    return Mean(value, float(low), float(high), n)


def ranks_of(values: np.ndarray, better: Better) -> np.ndarray:
    """(..., methods) values to ranks along the last axis: 1 is best, ties share their mean; NaN where undefined.

    NaN everywhere where no direction is better.
    """
    if not better:
        return np.full(values.shape, np.nan)
    ranks: np.ndarray = rankdata(-values if better == "higher" else values, axis=-1, nan_policy="omit")
    return np.where(np.isnan(values), np.nan, ranks)


@dataclass(frozen=True)
class Friedman:
    """Whether methods differ at all over `n` pictures, and by how much two mean ranks must differ.

    `mean_ranks` (1 is best) are in the order of the methods asked about. `cliques` holds the longest runs of methods,
    best first, whose mean ranks differ by less than the critical difference: nothing tells those apart.
    """

    n: int
    statistic: float
    p: float
    mean_ranks: tuple[float, ...]
    critical_difference: float
    cliques: tuple[tuple[int, ...], ...]


def friedman(values: np.ndarray, better: Better) -> Friedman | str:
    """The Friedman test over (n pictures, m methods) values without gaps, and the Nemenyi critical difference.

        chi2_F = 12 n / (m (m + 1)) * sum over methods of (mean rank - (m + 1) / 2)^2,   larger where there are ties
        CD     = q_0.05 sqrt(m (m + 1) / (6 n))

    A sentence instead where it cannot be asked. Demsar, 2006, section 3.2.2. https://www.jmlr.org/papers/v7/demsar06a.html
    """
    n, m = values.shape
    if not better:
        return "No direction is better, so methods cannot be ranked."
    if m < FEWEST_METHODS:
        return f"Differences are tested among {FEWEST_METHODS} methods or more; here are {m}."
    if n < FEWEST_PICTURES:
        return f"Differences are tested on {FEWEST_PICTURES} pictures or more; here are {n} with every method's score."
    ranks = ranks_of(values, better)
    if (np.ptp(ranks, axis=1) == 0).all():
        return "Every method has the same score on every picture, so nothing can differ."
    statistic, p = friedmanchisquare(*ranks.T)
    means = ranks.mean(axis=0)
    distance = critical_difference(n, m)
    return Friedman(
        n=n,
        statistic=float(statistic),
        p=float(p),
        mean_ranks=tuple(means.tolist()),
        critical_difference=distance,
        cliques=_cliques(means, distance),
    )


def critical_difference(n: int, m: int) -> float:
    """By how much the mean ranks of two of `m` methods over `n` pictures must differ, at 5 % for all pairs together."""
    q = float(studentized_range.ppf(CONFIDENCE, m, np.inf)) / math.sqrt(2)
    return q * math.sqrt(m * (m + 1) / (6 * n))


def _cliques(mean_ranks: np.ndarray, distance: float) -> tuple[tuple[int, ...], ...]:
    order = np.argsort(mean_ranks, kind="stable")
    sorted_ranks = mean_ranks[order]
    found: list[tuple[int, int]] = []
    for start in range(len(order)):
        end = int(
            np.searchsorted(sorted_ranks, sorted_ranks[start] + distance, side="left")
        )  # a whole CD apart differs
        if end - start > 1 and not any(first <= start and end <= last for first, last in found):
            found.append((start, end))
    return tuple(tuple(order[start:end].tolist()) for start, end in found)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values of several tests, each raised so that all of them together keep their level.

    Holm, 1979, by the step-down rule. https://www.jstor.org/stable/4615733
    """
    raised = [0.0] * len(p_values)
    least = 0.0
    for place, i in enumerate(sorted(range(len(p_values)), key=lambda number: p_values[number])):
        least = max(least, min(1.0, (len(p_values) - place) * p_values[i]))
        raised[i] = least
    return raised
