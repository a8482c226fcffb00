"""How alike maps are: by the order of their pixels, and by where their highest pixels lie."""

from __future__ import annotations

import numpy as np


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's rank correlation of two (h, w) maps, -1 to 1; NaN where one of them is constant."""
    return _correlation(_ranked(one), _ranked(other))


def rank_correlations(values: np.ndarray) -> np.ndarray:
    """(m, h, w) maps to (m, m) float64 of Spearman's rank correlations; NaN where a map is constant."""
    each = [_ranked(one) for one in values]
    return np.array([[_correlation(a, b) for b in each] for a in each])


def highest(values: np.ndarray, share: float = 0.1) -> np.ndarray:
    """(h, w) bool: the pixels as high as that share of all; more of them where some are equal.

    Only those above, where so many are equal that they are the map's ground rather than its heights.
    """
    count = max(1, round(share * values.size))
    least = np.partition(values, -count, axis=None)[-count]
    mask: np.ndarray = values >= least
    above: np.ndarray = values > least
    return above if mask.sum() > 2 * count and above.any() else mask


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union of two (h, w) bool places, 0 to 1; NaN where both are empty."""
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else float("nan")


def overlaps(values: np.ndarray, share: float = 0.1) -> np.ndarray:
    """(m, h, w) maps to (m, m) float64: intersection over union of their highest pixels."""
    each = [highest(one, share) for one in values]
    return np.array([[overlap(a, b) for b in each] for a in each])


def _ranked(values: np.ndarray) -> np.ndarray:
    """(h, w) values to (h * w,) ranks from 1, equal values sharing their mean; NaN where one is NaN.

    What scipy's `rankdata` gives, in two thirds of its time: most of what weight randomisation takes beyond passes.
    """
    order = np.argsort(values, axis=None)
    rising = values.ravel()[order]
    if np.isnan(rising[-1]):
        return np.full(rising.size, np.nan)
    first = np.flatnonzero(np.concatenate([[True], rising[1:] != rising[:-1]]))
    count = np.diff(first, append=rising.size)
    ranks = np.empty(rising.size)
    ranks[order] = np.repeat(first + (count + 1) / 2, count)
    return ranks


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one - one.mean(), other - other.mean()
    size = np.sqrt((a @ a) * (b @ b))
    return float(np.clip(a @ b / size, -1, 1)) if size > 0 else float("nan")
