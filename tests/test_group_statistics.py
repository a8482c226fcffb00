"""Differences between groups, against enumeration, scipy, published examples and simulation with known truth."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest
from scipy import stats

from xai_core import group_statistics
from xai_core.group_statistics import (
    CONSTANT,
    NO_PICTURE,
    NO_SPREAD,
    NO_STRATUM,
    Difference,
    adjusted,
    differences,
    quantile_strata,
    rate_differences,
    shuffles,
    trends,
)

REPEATS = 400


@pytest.fixture
def few_shuffles(monkeypatch: pytest.MonkeyPatch) -> None:
    """199 draws: 5 % of p-values are still at most 0.05 exactly, since 0.05 * 200 is whole."""
    monkeypatch.setattr(group_statistics, "FEWEST_SHUFFLES", 199)


def within(count: int, share: float, n: int = REPEATS, tolerance: float = 0.0) -> bool:
    """Whether the count is one of the middle 99.8 % that a binomial of that share, give or take, would have."""
    low, high = (float(stats.binom.ppf(q, n, p)) for q, p in ((0.001, share - tolerance), (0.999, share + tolerance)))
    return low <= count <= high


def one(values: np.ndarray, group: np.ndarray, strata: np.ndarray | None = None, tests: int = 1) -> Difference:
    strata = np.zeros(len(values), int) if strata is None else strata
    return differences(values[:, None], group, strata, np.random.default_rng(0), tests)[0]


def slowly(values: np.ndarray, group: np.ndarray, strata: np.ndarray) -> float:
    """The statistic as it is written down."""
    total = weights = 0.0
    for stratum in set(strata.tolist()):
        a, b = values[(strata == stratum) & group], values[(strata == stratum) & ~group]
        if len(a) and len(b):
            weight = len(a) * len(b) / (len(a) + len(b))
            total, weights = total + weight * (a.mean() - b.mean()), weights + weight
    return total / weights


# ---- the statistic and its p ---------------------------------------------------------------------------------------


def test_the_difference_is_the_weighted_mean_of_differences_within_strata() -> None:
    chance = np.random.default_rng(1)
    values, group, strata = chance.normal(size=40), chance.random(40) < 0.4, chance.integers(0, 4, 40)
    assert one(values, group, strata).value == pytest.approx(slowly(values, group, strata))
    assert one(values, group).value == pytest.approx(values[group].mean() - values[~group].mean())


def test_p_is_that_of_all_rearrangements_within_strata() -> None:
    values = np.array([0.0, 1, 4, 1, 3, 0, 2, 2, 7, 5])
    strata = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    group = np.array([0, 0, 0, 1, 1, 0, 0, 0, 1, 1], bool)
    observed, beyond, ways = slowly(values, group, strata), 0, 0
    for first, second in product(combinations(range(5), 2), combinations(range(5, 10), 2)):
        other = np.isin(np.arange(10), [*first, *second])
        beyond, ways = beyond + (abs(slowly(values, other, strata)) >= abs(observed) - 1e-12), ways + 1
    exact = beyond / ways
    assert ways == 100
    assert 0.02 < exact < 0.3
    assert one(values, group, strata).p == pytest.approx(
        exact, abs=4 * math.sqrt(exact * (1 - exact) / 1999) + 1 / 2000
    )


def test_p_is_that_of_scipy_where_nothing_is_matched() -> None:
    chance = np.random.default_rng(2)
    values, group = chance.normal(size=30) ** 3, np.arange(30) < 11
    group_values, others = values[group] + 0.8, values[~group]
    expected = stats.permutation_test(
        (group_values, others),
        lambda a, b, axis: np.abs(a.mean(axis=axis) - b.mean(axis=axis)),
        alternative="greater",
        vectorized=True,
        n_resamples=9999,
        rng=np.random.default_rng(3),
    ).pvalue
    found = one(np.concatenate([group_values, others]), np.arange(30) < 11).p
    assert found == pytest.approx(expected, abs=0.04)


def test_many_numbers_are_tested_as_each_alone() -> None:
    chance = np.random.default_rng(4)
    values, group, strata = chance.normal(size=(50, 3)), chance.random(50) < 0.5, chance.integers(0, 3, 50)
    together = differences(values, group, strata, np.random.default_rng(0), 1)
    for found, alone in zip(together, [one(column, group, strata) for column in values.T], strict=True):
        assert found.p == alone.p
        for name in ("value", "low", "standardised", "detectable"):
            assert getattr(found, name) == pytest.approx(getattr(alone, name))


def test_the_same_seed_gives_the_same_p_and_another_one_nearly_the_same() -> None:
    chance = np.random.default_rng(5)
    values, group = chance.normal(size=(40, 1)), np.arange(40) < 20
    strata = np.zeros(40, int)
    p = [differences(values, group, strata, np.random.default_rng(seed), 1)[0].p for seed in (0, 0, 1)]
    assert p[0] == p[1]
    assert p[2] != p[0]
    assert p[2] == pytest.approx(p[0], abs=0.05)


def test_there_are_draws_enough_for_the_least_p_to_pass_holm() -> None:
    for tests in (1, 7, 100, 400):
        assert tests / (1 + shuffles(tests)) < 0.05
    assert shuffles(1) == 1999
    assert 0.05 / 100 * (1 + shuffles(100)) == pytest.approx(10)
    chance = np.random.default_rng(6)
    group = np.arange(60) < 30
    values = np.concatenate([chance.normal(size=(60, 149)), (group + chance.normal(size=60) / 9)[:, None]], axis=1)
    raised = adjusted(differences(values, group, np.zeros(60, int), chance, 150))
    assert raised[-1].p_adjusted == pytest.approx(150 / (1 + shuffles(150)))
    assert raised[-1].p_adjusted < 0.05
    assert min(found.p_adjusted or 0 for found in raised[:-1]) > 0.05


# ---- standardised, intervals -----------------------------------------------------------------------------------------


def test_without_strata_the_interval_is_that_of_welchs_t() -> None:
    chance = np.random.default_rng(7)
    a, b = chance.normal(1, 3, 14), chance.normal(0, 1, 25)
    found = one(np.concatenate([a, b]), np.arange(39) < 14)
    interval = stats.ttest_ind(a, b, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    pooled = math.sqrt((13 * a.var(ddof=1) + 24 * b.var(ddof=1)) / 37)
    assert found.standardised == pytest.approx((a.mean() - b.mean()) / pooled * (1 - 3 / (4 * 37 - 1)))
    assert found.effective == pytest.approx(4 * 14 * 25 / 39)


def test_balanced_groups_without_strata_are_as_effective_as_they_are_many() -> None:
    chance = np.random.default_rng(8)
    assert one(chance.normal(size=40), np.arange(40) < 20).effective == pytest.approx(40)
    lopsided = one(chance.normal(size=40), np.arange(40) < 4).effective
    assert lopsided == pytest.approx(4 * 4 * 36 / 40)


def test_the_interval_of_a_matched_difference_covers_the_truth_where_strata_are_small(few_shuffles: None) -> None:
    """Four to six pictures a stratum, and groups that vary differently: 95 % within its binomial interval."""
    chance, covered = np.random.default_rng(9), 0
    strata = np.repeat(np.arange(8), 5)
    for _ in range(REPEATS):
        group = np.concatenate(
            [chance.permutation([True, True, False, False, chance.random() < 0.5]) for _ in range(8)]
        )
        values = 0.3 * group + strata + chance.normal(size=40) * np.where(group, 0.5, 1.0)
        found = one(values, group, strata)
        covered += found.low <= 0.3 <= found.high
    assert within(covered, 0.95)


def test_the_interval_of_a_difference_of_rates_is_newcombes_published_one() -> None:
    """56 of 70 against 48 of 80: Newcombe, 1998, table II (a), method 10: 0.0524 to 0.3339."""
    values = np.concatenate([np.arange(70) < 56, np.arange(80) < 48]).astype(float)
    [found] = rate_differences(values[:, None], np.arange(150) < 70, np.random.default_rng(0), 1)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert found.ratio == pytest.approx(0.8 / 0.6)
    assert found.p == pytest.approx(stats.fisher_exact([[56, 14], [48, 32]]).pvalue, abs=0.006)


def test_the_interval_of_a_ratio_excludes_one_exactly_where_that_of_the_difference_excludes_zero() -> None:
    chance = np.random.default_rng(10)
    for _ in range(60):
        n, m = chance.integers(10, 60, 2)
        values = np.concatenate([np.arange(n) < chance.integers(0, n + 1), np.arange(m) < chance.integers(1, m + 1)])
        [found] = rate_differences(values[:, None].astype(float), np.arange(n + m) < n, chance, 1)
        assert (found.low > 0) == (found.ratio_low > 1)
        assert (found.high < 0) == (found.ratio_high < 1)
        assert found.ratio_low <= found.ratio <= found.ratio_high


def test_the_intervals_of_rates_cover_the_truth_where_a_bootstrap_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 pictures with a rate of 0.1 against 60 with 0.2."""
    monkeypatch.setattr(group_statistics, "FEWEST_SHUFFLES", 19)
    chance, hits = np.random.default_rng(11), np.zeros(3, int)
    for _ in range(REPEATS):
        a, b = chance.random(20) < 0.1, chance.random(60) < 0.2
        values, group = np.concatenate([a, b]).astype(float), np.arange(80) < 20
        [found] = rate_differences(values[:, None], group, chance, 1)
        drawn = chance.binomial(20, a.mean(), 500) / 20 - chance.binomial(60, b.mean(), 500) / 60
        low, high = np.quantile(drawn, [0.025, 0.975])
        ratio = found.ratio is not None and found.ratio_low <= 0.5 <= found.ratio_high
        hits += [found.low <= -0.1 <= found.high, ratio, low <= -0.1 <= high]
    assert within(int(hits[0]), 0.95, tolerance=0.02)
    assert within(int(hits[1]), 0.95, tolerance=0.03)
    assert hits[2] < hits[0] - 5


def test_a_rate_of_zero_has_an_interval_but_no_ratio_and_two_have_no_p() -> None:
    values = np.stack([np.arange(40) < 8, np.zeros(40)], axis=1).astype(float)
    some, none = rate_differences(values, np.arange(40) < 20, np.random.default_rng(0), 2)
    assert some.ratio is None
    assert some.note
    assert some.low < some.value < some.high
    assert none.p is None
    assert none.note == CONSTANT
    assert none.low < 0 < none.high
    assert none.detectable > 0


# ---- what is undefined --------------------------------------------------------------------------------------------


def test_pictures_without_a_number_are_left_out_of_that_column_alone() -> None:
    chance = np.random.default_rng(12)
    values, group = chance.normal(size=(30, 2)), np.arange(30) < 12
    values[[0, 1, 20], 1] = np.nan
    whole, part = differences(values, group, np.zeros(30, int), np.random.default_rng(0), 1)
    kept = ~np.isnan(values[:, 1])
    assert (whole.n, whole.n_reference) == (12, 18)
    assert (part.n, part.n_reference) == (10, 17)
    assert part.value == pytest.approx(one(values[kept, 1], group[kept]).value)


def test_pictures_without_a_counterpart_in_their_stratum_do_not_count() -> None:
    group, strata = np.array([1, 1, 0, 0, 1, 0], bool), np.array([0, 0, 0, 0, 1, 2])
    found = one(np.array([1.0, 3, 0, 2, 100, -100]), group, strata)
    assert (found.value, found.n, found.n_reference) == (pytest.approx(1.0), 2, 2)


def test_what_cannot_be_compared_says_why() -> None:
    group = np.array([1, 1, 0, 0], bool)
    values = np.array([[1.0, np.nan, 2], [2, np.nan, 2], [3, 1, 2], [4, 2, 2]])
    apart, empty, _ = differences(values, group, group.astype(int), np.random.default_rng(0), 1)
    assert (apart.value, apart.p, apart.note) == (None, None, NO_STRATUM)
    assert (empty.value, empty.p, empty.note) == (None, None, NO_PICTURE)
    constant = differences(values, group, np.zeros(4, int), np.random.default_rng(0), 1)[2]
    assert (constant.value, constant.p, constant.note) == (0.0, None, CONSTANT)
    assert differences(values[:, :0], group, np.zeros(4, int), np.random.default_rng(0), 1) == []


def test_groups_that_do_not_vary_have_a_p_but_neither_an_interval_nor_a_standardised_difference() -> None:
    group = np.arange(24) < 12
    found = one(group + 1e-16 * np.arange(24) + 0.1, group)
    assert found.value == pytest.approx(1)
    assert (found.p or 1) < 0.001
    assert (found.low, found.standardised, found.detectable, found.note) == (None, None, None, NO_SPREAD)


def test_only_what_was_tested_belongs_to_the_family() -> None:
    raised = adjusted([Difference(p=0.02), Difference(p=None), Difference(p=0.03)])
    assert [found.p_adjusted for found in raised] == [0.04, None, 0.04]


def test_strata_are_quantile_bins_of_one_class_each() -> None:
    by, kind = np.array([0.1, 0.2, 0.3, 0.4, 0.9, 0.95]), np.array(["a", "a", "a", "a", "b", "b"])
    strata = quantile_strata(by, kind, 2)
    assert len(set(strata[:2].tolist())) == 1
    assert len(set(strata.tolist())) == 4
    assert strata[1] != strata[2]
    assert not set(strata[:4].tolist()) & set(strata[4:].tolist())


# ---- level and power ------------------------------------------------------------------------------------------------


def test_groups_at_random_differ_at_the_level_of_the_test_and_no_more(few_shuffles: None) -> None:
    chance, found = np.random.default_rng(13), 0
    for _ in range(REPEATS):
        values = chance.beta(2, 5, size=40)  # shares are skewed
        found += (one(values, chance.permutation(40) < 13).p or 0) <= 0.05
    assert within(found, 0.05)


def confounded(chance: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares that fall with the probability, of groups of which one has the harder pictures and nothing else."""
    probability = chance.random(120)
    group = chance.random(120) < 0.1 + 0.8 * probability
    return 0.5 - 0.25 * probability + 0.1 * chance.normal(size=120), group, probability


def test_matching_keeps_difficulty_from_being_taken_for_a_group(few_shuffles: None) -> None:
    """The model looks elsewhere where it is less sure, whoever is in the picture."""
    chance, matched, unmatched = np.random.default_rng(14), 0, 0
    for _ in range(REPEATS):
        values, group, probability = confounded(chance)
        strata = quantile_strata(probability, np.zeros(120), 5)
        unmatched += (one(values, group).p or 0) <= 0.05
        matched += (one(values, group, strata).p or 0) <= 0.05
    assert unmatched > 0.6 * REPEATS
    assert within(matched, 0.05, tolerance=0.02)  # a little is left within five bins


def test_the_matched_test_keeps_its_level_exactly_where_strata_hold_all_of_the_confounder(few_shuffles: None) -> None:
    chance, matched = np.random.default_rng(15), 0
    for _ in range(REPEATS):
        hard = chance.integers(0, 4, 80)
        group = chance.random(80) < 0.2 + 0.2 * hard
        matched += (one(hard + chance.normal(size=80), group, hard).p or 0) <= 0.05
    assert within(matched, 0.05)


def test_a_family_without_any_difference_is_called_different_in_one_set_of_twenty(few_shuffles: None) -> None:
    chance, wrong = np.random.default_rng(16), 0
    for _ in range(REPEATS):
        values, group = chance.normal(size=(30, 5)), chance.permutation(30) < 15
        found = adjusted(differences(values, group, np.zeros(30, int), chance, 5))
        wrong += min(each.p_adjusted or 0 for each in found) <= 0.05
    assert within(wrong, 0.05)


@pytest.mark.parametrize("tests", [1, 5])
def test_a_difference_of_the_detectable_size_is_found_in_four_of_five_sets(few_shuffles: None, tests: int) -> None:
    """Matched and lopsided; found means: at the level that Holm leaves to the first of so many tests."""
    chance, found, strata = np.random.default_rng(17 + tests), 0, np.repeat(np.arange(4), 20)
    noise = np.random.default_rng(0).normal(size=80)
    group = np.tile(np.arange(20) < 6, 4)
    size = np.mean([one(chance.permutation(noise) + strata, group, strata, tests).detectable for _ in range(20)])
    for _ in range(REPEATS):
        values = strata + size * group + chance.normal(size=80)
        p = one(values, group, strata, tests).p or 0
        found += p * tests <= 0.05
    assert within(found, 0.8, tolerance=0.03)


def test_a_difference_of_rates_of_the_detectable_size_is_found_in_four_of_five_sets(few_shuffles: None) -> None:
    chance, found, group = np.random.default_rng(18), 0, np.arange(120) < 48

    def drawn(more: float) -> Difference:
        values = (chance.random(120) < 0.3 + more * (group - 0.4)).astype(float)
        return rate_differences(values[:, None], group, chance, 1)[0]

    size = float(np.mean([drawn(0).detectable for _ in range(50)]))
    assert size == pytest.approx(2.8016 * math.sqrt(0.3 * 0.7 / 28.8), rel=0.05)
    for _ in range(REPEATS):
        found += (drawn(size).p or 0) <= 0.05
    assert within(found, 0.8, tolerance=0.04)


# ---- trends ---------------------------------------------------------------------------------------------------------


def test_a_trend_is_scipys_rank_correlation_and_its_p() -> None:
    chance = np.random.default_rng(19)
    along = chance.integers(0, 6, 25).astype(float)
    values = np.stack([along + chance.normal(0, 4, 25), np.ones(25), np.where(np.arange(25) < 20, np.nan, 1.0)], axis=1)
    rising, flat, few = trends(values, along, np.random.default_rng(0), 1)
    expected = stats.spearmanr(along, values[:, 0])
    assert rising.correlation == pytest.approx(expected.statistic)
    assert rising.p == pytest.approx(expected.pvalue, abs=0.03)
    assert rising.low < rising.correlation < rising.high
    assert (flat.correlation, flat.p, flat.note, flat.n) == (None, None, CONSTANT, 25)
    assert (few.correlation, few.n) == (None, 5)


def test_trends_keep_their_level_and_the_detectable_one_is_found_in_four_of_five_sets(few_shuffles: None) -> None:
    chance, wrong, found = np.random.default_rng(20), 0, 0
    for _ in range(REPEATS):
        along, noise = chance.normal(size=(2, 50))
        none = trends(noise[:, None], along, chance, 1)[0]
        wrong += (none.p or 0) <= 0.05
        rho = 2 * math.sin(
            math.pi * (none.detectable or 0) / 6
        )  # Pearson's, of normal numbers with that rank correlation
        values = rho * along + math.sqrt(1 - rho**2) * noise
        found += (trends(values[:, None], along, chance, 1)[0].p or 0) <= 0.05
    assert within(wrong, 0.05)
    assert within(found, 0.8, tolerance=0.04)
