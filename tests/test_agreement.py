"""How alike two maps are, against scipy and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from xai_core.agreement import highest, overlap, overlaps, rank_correlation, rank_correlations

ROOM = np.random.default_rng(0).normal(size=(4, 9, 11))
TIED = np.round(ROOM)  # few different values, many pixels each


@pytest.mark.parametrize("values", [ROOM, TIED, ROOM.astype(np.float32), np.maximum(ROOM, 0)])
def test_rank_correlation_is_that_of_scipy_also_with_ties(values: np.ndarray) -> None:
    theirs = spearmanr(values.reshape(4, -1).T).statistic
    assert rank_correlations(values) == pytest.approx(theirs, abs=1e-12)
    assert rank_correlation(values[0], values[1]) == pytest.approx(theirs[0, 1], abs=1e-12)


def test_rank_correlation_by_hand() -> None:
    one, other = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [4.0, 3.0]])
    assert rank_correlation(one, other) == pytest.approx(1 - 6 * 2 / (4 * 15))


def test_rank_correlation_sees_the_order_alone() -> None:
    assert rank_correlation(ROOM[0], np.exp(ROOM[0])) == 1
    assert rank_correlation(ROOM[0], -(ROOM[0] ** 3)) == -1


def test_a_constant_map_has_no_rank_correlation() -> None:
    values = np.stack([ROOM[0], np.full((9, 11), 7.0)])
    assert np.isnan(rank_correlation(*values))
    assert np.isnan(rank_correlations(values)).tolist() == [[False, True], [True, True]]


def test_the_highest_pixels_by_hand() -> None:
    ramp = np.arange(20.0).reshape(4, 5)
    assert np.flatnonzero(highest(ramp)).tolist() == [18, 19]
    assert np.flatnonzero(highest(-ramp, 0.2)).tolist() == [0, 1, 2, 3]
    assert highest(ramp, 0.001).sum() == 1  # never none


def test_equal_pixels_are_all_among_the_highest() -> None:
    values = np.zeros((5, 5))
    values[0, :3] = 1
    assert np.array_equal(highest(values, 0.08), values == 1)  # two places, three pixels
    assert highest(np.zeros((5, 5))).all()


def test_the_ground_of_a_sparse_map_is_not_among_the_highest() -> None:
    one, other = np.zeros((2, 10, 10))
    one[:2, :2], other[-2:, -2:] = 1, 1
    assert np.array_equal(highest(one), one == 1)
    assert overlap(highest(one), highest(other)) == 0


@pytest.mark.parametrize(
    ("first", "second", "iou"),
    [(slice(0, 4), slice(2, 6), 2 / 6), (slice(0, 4), slice(4, 8), 0.0), (slice(0, 4),) * 2 + (1.0,)],
)
def test_overlap_by_hand(first: slice, second: slice, iou: float) -> None:
    one, other = np.zeros((2, 5), bool), np.zeros((2, 5), bool)
    one.flat[first] = other.flat[second] = True
    assert overlap(one, other) == overlap(other, one) == pytest.approx(iou)


def test_nothing_overlaps_nothing() -> None:
    assert np.isnan(overlap(np.zeros((2, 2), bool), np.zeros((2, 2), bool)))


def test_overlaps_of_many_maps_by_hand() -> None:
    values = np.zeros((3, 4, 5))
    values[0].flat[:4] = values[1].flat[2:6] = values[2].flat[16:] = [4, 3, 2, 1]
    third = 1 / 3  # two of six pixels
    assert overlaps(values, 0.2) == pytest.approx(np.array([[1, third, 0], [third, 1, 0], [0, 0, 1]]))
    assert overlaps(values, 0.1) == pytest.approx(np.eye(3))
