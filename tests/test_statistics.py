"""Means, ranks and tests of differences against tables, scipy and counting by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from xai_core.statistics import critical_difference, friedman, holm, mean_of, ranks_of

# Demsar, 2006, table 6: area under the curve of four variants of C4.5 on 14 data sets. His ranks tell two values apart
# that he prints as 0.975.
DEMSAR = np.array(
    [
        [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
        [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
        [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
        [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
        [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
    ]
)  # fmt: skip


def test_demsars_own_example_gives_his_mean_ranks() -> None:
    found = friedman(DEMSAR, "higher")
    assert not isinstance(found, str)
    assert np.round(found.mean_ranks, 3) == pytest.approx([3.143, 2.0, 2.893, 1.964])
    # He reports 9.28 by the formula that knows no ties; the correction for ties divides it.
    uncorrected = 12 * 14 / (4 * 5) * sum((rank - 2.5) ** 2 for rank in found.mean_ranks)
    assert uncorrected == pytest.approx(9.28, abs=0.01)
    assert found.statistic == pytest.approx(friedmanchisquare(*DEMSAR.T).statistic)
    assert found.critical_difference == pytest.approx(1.25, abs=0.01)
    # C4.5+m+cf and C4.5+cf against C4.5: 1.179 and 0.929, so nothing is told apart.
    assert [sorted(clique) for clique in found.cliques] == [[0, 1, 2, 3]]


def test_the_direction_turns_the_ranks_and_leaves_the_statistic() -> None:
    up, down = friedman(DEMSAR, "higher"), friedman(DEMSAR, "lower")
    assert not isinstance(up, str)
    assert not isinstance(down, str)
    assert up.statistic == pytest.approx(down.statistic)
    assert np.add(up.mean_ranks, down.mean_ranks) == pytest.approx([5.0] * 4)


@pytest.mark.parametrize(
    ("methods", "q"),
    list(enumerate((1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164), 2)),
)
def test_the_critical_difference_is_that_of_demsars_table(methods: int, q: float) -> None:
    assert critical_difference(24, methods) == pytest.approx(
        q * math.sqrt(methods * (methods + 1) / (6 * 24)), rel=4e-4
    )


def test_a_bar_joins_methods_closer_than_the_critical_difference_and_no_others() -> None:
    # Ranks 1, 2, 3, 4 on every one of 20 pictures; CD = 2.569 sqrt(20 / 120) = 1.049.
    found = friedman(np.tile([4.0, 3.0, 2.0, 1.0], (20, 1)), "higher")
    assert not isinstance(found, str)
    assert found.cliques == ((0, 1), (1, 2), (2, 3))
    far = friedman(np.tile([4.0, 3.0, 2.0, 1.0], (30, 1)), "higher")  # CD = 0.856
    assert not isinstance(far, str)
    assert far.cliques == ()


def test_where_no_test_can_be_asked_a_sentence_says_why() -> None:
    assert "10 pictures or more; here are 9" in str(friedman(np.random.default_rng(0).random((9, 4)), "higher"))
    assert "3 methods or more; here are 2" in str(friedman(np.random.default_rng(0).random((20, 2)), "higher"))
    assert "nothing can differ" in str(friedman(np.ones((12, 4)), "lower"))
    assert "No direction" in str(friedman(np.random.default_rng(0).random((12, 4)), ""))


def test_ranks_start_at_the_best_share_ties_and_leave_out_the_undefined() -> None:
    values = np.array([0.3, 0.9, np.nan, 0.3, 0.1])
    assert ranks_of(values, "higher") == pytest.approx([2.5, 1, np.nan, 2.5, 4], nan_ok=True)
    assert ranks_of(values, "lower") == pytest.approx([2.5, 4, np.nan, 2.5, 1], nan_ok=True)
    assert np.isnan(ranks_of(values, "")).all()


def test_the_interval_covers_the_known_mean_about_as_often_as_it_says() -> None:
    rng, hits = np.random.default_rng(1), 0
    for number in range(300):
        found = mean_of(rng.normal(2, 1, 25), seed=number)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 2 <= found.high
    assert 0.89 <= hits / 300 <= 0.98  # a percentile bootstrap of 25 covers about 93 %


def test_the_interval_has_the_width_of_the_normal_one_when_pictures_are_many() -> None:
    values = np.random.default_rng(2).normal(0, 1, 400)
    found = mean_of(values)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.08)
    assert found.mean == pytest.approx(values.mean())


def test_the_same_seed_draws_the_same_interval_and_no_global_generator_moves() -> None:
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    values = np.random.default_rng(3).random(12)
    assert mean_of(values, 5) == mean_of(values, 5)
    assert mean_of(values, 5) != mean_of(values, 6)
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_fewer_than_five_pictures_have_a_mean_and_no_interval() -> None:
    assert mean_of([1.0, 2.0, 3.0, 6.0])[:4] == (3.0, None, None, 4)
    assert "too few" in mean_of([1.0]).note
    assert mean_of([1.0, 2.0, 3.0, 4.0, 5.0]).low is not None
    assert mean_of([]) == (None, None, None, 0, "undefined on every picture")


def test_holm_raises_the_smallest_the_most_and_keeps_the_order() -> None:
    # By hand: 0.01 x 4, 0.02 x 3, 0.03 x 2 = 0.06 (not below 0.06), 0.5 x 1.
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
