"""Differences between groups, against enumeration, scipy, published examples and simulation with known truth."""

from __future__ import annotations

import math
from functools import cache
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
    TOO_FEW,
    Difference,
    adjusted,
    detectable_rate,
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


def slow_t(values: np.ndarray, group: np.ndarray, strata: np.ndarray) -> float:
    """That over its standard error, from the variance of each group within strata."""
    labels, total, error = sorted(set(strata.tolist())), 0.0, 0.0
    for some in (group, ~group):
        cells = [values[(strata == stratum) & some] for stratum in labels]
        variance = sum(((cell - cell.mean()) ** 2).sum() for cell in cells) / sum(len(cell) - 1 for cell in cells)
        for stratum, cell in zip(labels, cells, strict=True):
            a, b = int((group & (strata == stratum)).sum()), int((~group & (strata == stratum)).sum())
            error += variance * (a * b / (a + b)) ** 2 / len(cell)
    for stratum in labels:
        a, b = int((group & (strata == stratum)).sum()), int((~group & (strata == stratum)).sum())
        total += a * b / (a + b)
    return slowly(values, group, strata) / (math.sqrt(error) / total)


# ---- the statistic and its p ---------------------------------------------------------------------------------------


def test_the_difference_is_the_weighted_mean_of_differences_within_strata() -> None:
    chance = np.random.default_rng(1)
    values, group, strata = chance.normal(size=40), chance.random(40) < 0.4, chance.integers(0, 4, 40)
    assert one(values, group, strata).value == pytest.approx(slowly(values, group, strata))
    assert one(values, group).value == pytest.approx(values[group].mean() - values[~group].mean())


def test_p_is_that_of_t_over_all_rearrangements_within_strata() -> None:
    values = np.array([0.0, 1, 4, 1, 3, 0, 2, 2, 7, 5])
    strata = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 1])
    group = np.array([0, 0, 0, 1, 1, 0, 0, 0, 1, 1], bool)
    beyond = plain = ways = 0
    for first, second in product(combinations(range(5), 2), combinations(range(5, 10), 2)):
        other = np.isin(np.arange(10), [*first, *second])
        beyond += abs(slow_t(values, other, strata)) >= abs(slow_t(values, group, strata)) - 1e-12
        plain += abs(slowly(values, other, strata)) >= abs(slowly(values, group, strata)) - 1e-12
        ways += 1
    mixed = np.random.default_rng(0).permutation(10)
    assert ways == 100
    assert beyond != plain
    assert one(values[mixed], group[mixed], strata[mixed]).p == beyond / 100


@pytest.mark.parametrize("n", [11, 24])
def test_p_is_that_of_scipy_where_nothing_is_matched(n: int) -> None:
    """Of Welch's t; 11 pictures can be divided in 330 ways, which are all counted, 24 in too many."""
    chance = np.random.default_rng(2)
    values, group = chance.normal(size=n) ** 3 + 1.4 * (np.arange(n) < 4), np.arange(n) < 4
    expected = stats.permutation_test(
        (values[group], values[~group]),
        lambda a, b, axis: np.abs(stats.ttest_ind(a, b, axis=axis, equal_var=False).statistic),
        alternative="greater",
        vectorized=True,
        n_resamples=20000,
        rng=np.random.default_rng(3),
    ).pvalue
    assert 0.02 < expected < 0.6
    assert one(values, group).p == pytest.approx(expected, abs=1e-12 if n == 11 else 0.05)


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
    [found] = rate_differences(values[:, None], np.arange(150) < 70, 1)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    assert found.ratio == pytest.approx(0.8 / 0.6)
    assert found.p == pytest.approx(stats.fisher_exact([[56, 14], [48, 32]]).pvalue, abs=0.006)


def test_the_interval_of_a_ratio_excludes_one_exactly_where_that_of_the_difference_excludes_zero() -> None:
    chance = np.random.default_rng(10)
    for _ in range(60):
        n, m = chance.integers(10, 60, 2)
        values = np.concatenate([np.arange(n) < chance.integers(0, n + 1), np.arange(m) < chance.integers(1, m + 1)])
        [found] = rate_differences(values[:, None].astype(float), np.arange(n + m) < n, 1)
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
        [found] = rate_differences(values[:, None], group, 1)
        drawn = chance.binomial(20, a.mean(), 500) / 20 - chance.binomial(60, b.mean(), 500) / 60
        low, high = np.quantile(drawn, [0.025, 0.975])
        ratio = found.ratio is not None and found.ratio_low <= 0.5 <= found.ratio_high
        hits += [found.low <= -0.1 <= found.high, ratio, low <= -0.1 <= high]
    assert within(int(hits[0]), 0.95, tolerance=0.02)
    assert within(int(hits[1]), 0.95, tolerance=0.03)
    assert hits[2] < hits[0] - 5


def test_a_rate_of_zero_has_an_interval_but_no_ratio_and_two_have_no_p() -> None:
    values = np.stack([np.arange(40) < 8, np.zeros(40)], axis=1).astype(float)
    some, none = rate_differences(values, np.arange(40) < 20, 2)
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


def test_strata_that_do_not_vary_have_a_large_p_where_their_means_do_not_differ() -> None:
    strata = np.repeat([0, 1], 12)
    found = one(strata.astype(float), np.tile([True, False], 12), strata)
    assert (found.value, found.p, found.note) == (0.0, 1.0, NO_SPREAD)


def test_a_group_with_one_picture_per_stratum_has_neither_a_p_nor_an_interval() -> None:
    found = one(np.arange(30.0) ** 2, np.arange(30) % 5 == 0, np.arange(30) // 5)
    assert found.value is not None
    assert (found.p, found.low, found.detectable, found.note) == (None, None, None, TOO_FEW)


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


@pytest.mark.parametrize(
    ("n", "sd", "others", "sd_of_others", "bins"),
    [(10, 3, 100, 1, 1), (100, 3, 10, 1, 1), (20, 3, 40, 1, 1), (20, 3, 100, 1, 5)],
)
def test_groups_of_one_mean_that_vary_differently_differ_at_the_level_of_the_test(
    few_shuffles: None, n: int, sd: float, others: int, sd_of_others: float, bins: int
) -> None:
    """And p says what the interval says, but for the edge between them."""
    chance, found, apart, group = np.random.default_rng(21), 0, 0, np.arange(n + others) < n
    strata = np.arange(n + others) % bins
    for _ in range(REPEATS):
        here = one(strata + chance.normal(size=n + others) * np.where(group, sd, sd_of_others), group, strata)
        found += (here.p or 0) <= 0.05
        apart += ((here.p or 0) <= 0.05) != (here.low > 0 or here.high < 0)
    assert within(found, 0.05, tolerance=0.015)
    assert apart < 0.04 * REPEATS


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


@pytest.mark.parametrize(("n", "tests"), [(5, 1), (5, 6), (10, 30)])
def test_a_difference_between_few_pictures_of_the_detectable_size_is_found_in_four_of_five_sets(
    few_shuffles: None, n: int, tests: int
) -> None:
    chance, group, found = np.random.default_rng(22), np.arange(2 * n) < n, 0
    size = np.median([one(chance.normal(size=2 * n), group, None, tests).detectable for _ in range(100)])
    for _ in range(REPEATS):
        found += (one(chance.normal(size=2 * n) + size * group, group, None, tests).p or 0) * tests <= 0.05
    assert within(found, 0.8, tolerance=0.03)


@pytest.mark.parametrize(("n", "others", "most"), [(5, 5, 6), (4, 5, 6), (3, 6, 4)])
def test_nothing_is_detectable_where_the_smallest_p_does_not_pass_holm(n: int, others: int, most: int) -> None:
    """252 ways, two of which mirror each other; 126; 84."""
    chance, group = np.random.default_rng(23), np.arange(n + others) < n
    values = chance.normal(size=n + others) + 100 * group
    for tests in (most, most + 1):
        found = one(values, group, None, tests)
        assert (found.detectable is not None) == (found.p * tests <= 0.05) == (tests == most)


# ---- rates ----------------------------------------------------------------------------------------------------------


@cache
def p_of_tables(n: int, others: int) -> np.ndarray:
    """(n + 1, others + 1) p of a permutation test of the difference of rates, summed over scipy's hypergeometric."""
    p = np.empty((n + 1, others + 1))
    for a, b in product(range(n + 1), range(others + 1)):
        k = np.arange(max(0, a + b - others), min(n, a + b) + 1)
        far = np.abs(k / n - (a + b - k) / others) >= abs(a / n - b / others) - 1e-9
        p[a, b] = stats.hypergeom.pmf(k, n + others, a + b, n)[far].sum()
    return p


def power_of(n: int, others: int, tests: int, rates: np.ndarray | list[float], rate_of_others: float) -> np.ndarray:
    """By the rate of the group."""
    found = p_of_tables(n, others) * tests <= 0.05
    of_a = stats.binom.pmf(np.arange(n + 1), n, np.array(rates)[:, None])
    return of_a @ found @ stats.binom.pmf(np.arange(others + 1), others, rate_of_others)


SIZES = [(5, 5), (10, 10), (20, 20), (20, 100), (50, 50)]


def test_p_of_rates_is_that_of_all_ways_to_divide_the_pictures() -> None:
    for a, b in product(range(6), range(8)):
        values, group = np.concatenate([np.arange(5) < a, np.arange(7) < b]).astype(float), np.arange(12) < 5
        [found] = rate_differences(values[:, None], group, 1)
        assert (found.p is None) == (a + b in (0, 12))
        if found.p is not None:
            others = [values[list(chosen)].sum() for chosen in combinations(range(12), 5)]
            far = [abs(one / 5 - (a + b - one) / 7) >= abs(a / 5 - b / 7) - 1e-9 for one in others]
            assert found.p == pytest.approx(np.mean(far))


@pytest.mark.parametrize("tests", [1, 3, 8])
@pytest.mark.parametrize("rate", [0.02, 0.05, 0.1, 0.3, 0.5])
@pytest.mark.parametrize(("n", "others"), SIZES)
def test_the_detectable_difference_of_rates_is_the_smallest_that_is_found_in_four_of_five_sets(
    n: int, others: int, rate: float, tests: int
) -> None:
    size = detectable_rate(n, others, rate, tests)
    smallest = []
    for way, most in ((1, 1 - rate), (-1, rate)):
        steps = np.linspace(0, most, 400)
        smallest += list(steps[power_of(n, others, tests, rate + way * steps, rate) >= 0.8][:1])
    assert (size is None) == (not smallest)
    if size is not None:
        assert size == pytest.approx(max(smallest), abs=0.003)
        ends = [end for end in (rate - size, rate + size) if 0 <= end <= 1]
        assert power_of(n, others, tests, ends, rate).min() == pytest.approx(0.8, abs=0.005)


@pytest.mark.parametrize(("n", "others"), SIZES[1:])
def test_what_is_said_of_a_set_holds_for_the_rate_that_it_was_drawn_from(n: int, others: int) -> None:
    """Of 10, 20 or more pictures with no error, one or a few: no less than 3 in 4, where Fisher's p is the test."""
    for rate, tests in product((0.02, 0.05, 0.1, 0.3), (1, 3)):
        values = np.concatenate([np.zeros(n), np.arange(others) < round(rate * others)]).astype(float)
        [found] = rate_differences(values[:, None], np.arange(n + others) < n, tests)
        if found.detectable is not None:
            ends = [end for end in (rate - found.detectable, rate + found.detectable) if 0 <= end <= 1]
            assert ends
            assert power_of(n, others, tests, ends, rate).min() > 0.74


def test_no_difference_of_rates_is_promised_where_none_could_be_found() -> None:
    assert detectable_rate(5, 5, 0.1, 8) is None
    assert detectable_rate(5, 5, 0.5, 1) is None
    assert detectable_rate(20, 20, 0.0, 1) == pytest.approx(stats.beta.ppf(0.8, 5, 16), abs=1e-3)  # 5 : 0
    assert detectable_rate(20, 20, 0.95, 1) == pytest.approx(detectable_rate(20, 20, 0.05, 1))


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
    chance, wrong, found, covered = np.random.default_rng(20), 0, 0, 0
    for _ in range(REPEATS):
        along, noise = chance.normal(size=(2, 50))
        none = trends(noise[:, None], along, chance, 1)[0]
        wrong += (none.p or 0) <= 0.05
        truth = none.detectable or 0
        rho = 2 * math.sin(math.pi * truth / 6)  # Pearson's, of normal numbers with that rank correlation
        here = trends((rho * along + math.sqrt(1 - rho**2) * noise)[:, None], along, chance, 1)[0]
        found += (here.p or 0) <= 0.05
        covered += here.low <= truth <= here.high
    assert within(wrong, 0.05)
    assert within(found, 0.8, tolerance=0.04)
    assert within(covered, 0.95, tolerance=0.01)


@pytest.mark.parametrize(("errors", "tests"), [(1, 1), (2, 1), (3, 1), (3, 10), (10, 1), (25, 8)])
def test_no_trend_is_promised_that_so_few_errors_cannot_have(errors: int, tests: int) -> None:
    """Of 50: were all of them at one end, that would be the largest correlation, and its p the smallest."""
    along, values = np.arange(50.0), (np.arange(50) < errors).astype(float)
    [sorted_] = trends(values[:, None], along, np.random.default_rng(0), tests)
    [mixed] = trends(np.random.default_rng(1).permutation(values)[:, None], along, np.random.default_rng(0), tests)
    assert abs(sorted_.correlation) == pytest.approx(abs(stats.spearmanr(along, values).statistic))
    assert (mixed.detectable or 0) == pytest.approx(sorted_.detectable or 0, rel=0.05)
    if errors < 3 or (errors == 3 and tests == 10):
        assert mixed.detectable is None
    else:
        assert sorted_.p * tests <= 0.05
        assert 0.3 < mixed.detectable <= abs(sorted_.correlation)


def test_the_interval_of_a_trend_holds_zero_exactly_where_its_p_is_above_the_level(few_shuffles: None) -> None:
    """Of few and of many errors, and of numbers; which may be so or so near the edge."""
    chance, found = np.random.default_rng(24), 0
    for _ in range(100):
        n, rho = int(chance.integers(10, 40)), chance.uniform(0, 0.6)
        along = chance.normal(size=n)
        number = rho * along + math.sqrt(1 - rho**2) * chance.normal(size=n)
        values = np.stack([number, number > 0.3, number > 1.3], axis=1).astype(float)
        for here in trends(values, along, chance, 1):
            if here.p is not None:
                assert (here.p <= 0.05) == (here.low > 0 or here.high < 0)
                assert -1 <= here.low <= here.correlation <= here.high <= 1
                found += here.p <= 0.05
    assert 40 < found < 250
