"""Groups of pictures against a reference: predictions first, then where maps lie."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_core.checkpoints import printable
from xai_core.errors import SettingError
from xai_core.group_answers import (
    Decision,
    Divided,
    Measured,
    cells,
    counted,
    in_percent,
    listed,
    measure,
    p_words,
    signed,
    uncapitalised,
    with_interval,
)
from xai_core.group_statistics import (
    CONSTANT,
    Difference,
    Trend,
    adjusted,
    differences,
    quantile_strata,
    rate_differences,
)
from xai_core.grouping import Grouping, grouping, missing_values, without_value
from xai_core.probes import Asking, Found
from xai_core.records import Table
from xai_core.statistics import LEVEL

if TYPE_CHECKING:
    from xai_core.probes.groups import Groups

MOST_SAID = 6  # of a kind, in sentences: the tables have the rest
FEWEST_BINS, MOST_BINS = 5, 20  # that are chosen by the number of pictures
NOT_TESTED = "not tested: "
Key = tuple[str, int]  # a group, and a place in a list of rates or of regions
Family = Mapping[Key, Difference]
TESTED = {
    "p": "p",
    "p_adjusted": "p, Holm's correction",
    "detectable": "Detectable difference (points)",
    "effective_n": "Effective n",
    "n": "Pictures",
    "n_reference": "Pictures of the reference",
    "note": "Note",
}


def compare(asking: Asking, probe: Groups) -> Found:
    """Every group against the reference. Raises SettingError where the pictures or the model allow no comparison."""
    decision = Decision.of(asking, probe.positive, probe.threshold)
    grouped = grouping(asking.cases, probe.column, probe.bands)
    reference = _reference(probe, grouped, Counter(filter(None, map(grouped.of, asking.cases))))
    pictures = tuple(_of_known_group(asking, grouped, decision, probe.find_faces))
    of = np.array([grouped.of(one.subject) for one in pictures], dtype=object)
    whole = Divided(asking, pictures, of, grouped.groups, printable(probe.column, 60), probe.positive, probe.smallest)
    if reference not in whole.large or len(whole.large) < 2:  # some could not be read
        raise SettingError(_too_small(probe, whole.sizes, reference))
    comparison = _Comparison(whole, reference, probe)
    return Found(
        [*comparison.sentences(), *grouped.said, *comparison.notes(decision)],
        {
            "rates": whole.rate_table(),
            "differences": comparison.difference_table(),
            "regions": whole.region_table(),
            "shifts": comparison.shift_table(),
            "pictures": whole.picture_table(),
        },
        pictures=[one.subject.image.sha256 for one in pictures],
    )


def _reference(probe: Groups, grouped: Grouping, sizes: Mapping[str, int]) -> str:
    """The group that others are held against, before any picture is read. Raises SettingError where there is none."""
    reference = grouped.named(probe.reference) if probe.reference else max(grouped.groups, key=sizes.__getitem__)
    if reference is None:
        shown = ", ".join(grouped.groups[:8])
        raise SettingError(f"{probe.column} has no group {printable(probe.reference, 60)!r}. It has {shown}.")
    if sizes[reference] < probe.smallest or sum(n >= probe.smallest for n in sizes.values()) < 2:
        raise SettingError(_too_small(probe, sizes, reference))
    return reference


def _too_small(probe: Groups, sizes: Mapping[str, int], reference: str) -> str:
    by_size = sorted(sizes.items(), key=lambda one: (-one[1], one[0]))
    shown = ", ".join(f"{group} ({n})" for group, n in by_size[:6]) + (" and others" if len(by_size) > 6 else "")
    return (
        f"Too few pictures by {probe.column}: the reference ({reference}) and one more group need {probe.smallest} "
        f"or more each, and there are {shown}. Give more pictures, wider bands or a smaller minimum."
    )


def _of_known_group(asking: Asking, grouped: Grouping, decision: Decision, find_faces: bool) -> Iterator[Measured]:
    for subject in asking.subjects():
        if grouped.of(subject) is None:
            asking.leave_out(subject, without_value(subject, grouped.column))
        else:
            yield measure(asking, subject, decision, find_faces)


@dataclass(frozen=True, eq=False)
class _Matching:
    """A group and the reference in strata of one explained class and like probability.

    `strata` are those of the pictures in `pair`, (n,) bool of all. `before` and `left` are differences of the mean
    probability, without and within strata. `alone` and `alone_reference` pictures share a stratum with none of the
    other side, and are not compared.
    """

    pair: np.ndarray
    strata: np.ndarray
    bins: int
    before: float
    left: float | None
    alone: int
    alone_reference: int

    @classmethod
    def of(cls, whole: Divided, group: str, reference: str, bins: int) -> _Matching:
        """With so many bins, or for 0 as many as the pictures allow."""
        pair = np.isin(whole.of, [group, reference])
        ours = whole.of[pair] == group
        probability = np.array([one.probability for one in whole.pictures])[pair]
        explained = np.array([one.explained for one in whole.pictures])[pair]
        bins = bins or bins_for(2 * int(min(ours.sum(), (~ours).sum())) / len(np.unique(explained)))
        strata = np.unique(quantile_strata(probability, explained, bins), return_inverse=True)[1]
        n_a, n_b = (np.bincount(strata[some], minlength=strata.max() + 1) for some in (ours, ~ours))
        sums = [np.bincount(strata[some], probability[some], len(n_a)) for some in (ours, ~ours)]
        both = (n_a > 0) & (n_b > 0)
        apart = sums[0][both] / n_a[both] - sums[1][both] / n_b[both]
        weights = n_a[both] * n_b[both] / (n_a + n_b)[both]
        return cls(
            pair,
            strata,
            bins,
            float(probability[ours].mean() - probability[~ours].mean()),
            float(np.average(apart, weights=weights)) if both.any() else None,
            int(n_a[~both].sum()),
            int(n_b[~both].sum()),
        )


def bins_for(pictures: float) -> int:
    """Bins of probability for so many pictures of a class: 5 for up to 50, then with their cube root, up to 20.

    What is left of a confounder falls with the square of the bins, and pictures that find no counterpart get more.
    """
    return int(np.clip(round(1.4 * np.cbrt(pictures)), FEWEST_BINS, MOST_BINS))


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Groups against their reference, in two families of tests: of predictions, and of maps."""

    whole: Divided
    reference: str
    probe: Groups

    @cached_property
    def rates(self) -> list[str]:
        """The key of every rate that is defined on any picture."""
        return list(self.whole.rates)

    @cached_property
    def others(self) -> list[str]:
        """The groups that are held against the reference, if only to be shown."""
        return [group for group in self.whole.groups if group != self.reference and self.whole.sizes[group]]

    @cached_property
    def of_rates(self) -> Family:
        """Of all pictures, unmatched: that a group is harder is part of what a rate says."""
        whole = self.whole
        values = np.array([whole.rates[key] for key in self.rates]).reshape(len(self.rates), len(whole.pictures)).T

        def compared(group: str, tests: int) -> Sequence[Difference]:
            pair = np.isin(whole.of, [group, self.reference])
            return rate_differences(values[pair], whole.of[pair] == group, tests)

        return self._family(values, compared)

    @cached_property
    def of_shares(self) -> Family:
        """Of the share of attribution, by method and region, as `matched` and `bins` have it."""
        chance, whole = self.whole.asking.random(), self.whole

        def compared(group: str, tests: int) -> Sequence[Difference]:
            pair = np.isin(whole.of, [group, self.reference])
            strata = self.matching[group].strata if self.probe.matched else np.zeros(int(pair.sum()), int)
            return differences(whole.shares[pair], whole.of[pair] == group, strata, chance, tests)

        return self._family(whole.shares, compared)

    @cached_property
    def matching(self) -> dict[str, _Matching]:
        """Of each of the others with the reference."""
        return {group: _Matching.of(self.whole, group, self.reference, self.probe.bins) for group in self.others}

    def _family(self, values: np.ndarray, compared: Callable[[str, int], Sequence[Difference]]) -> Family:
        """Of (n, m) values. A test needs `smallest` pictures on both sides; what has fewer is shown without it."""
        smallest = self.probe.smallest
        known = {group: (~np.isnan(values[self.whole.of == group])).sum(axis=0) for group in self.whole.groups}
        here = known[self.reference] >= smallest
        tests = sum(int(((known[group] >= smallest) & here).sum()) for group in self.others)
        found = {}
        for group in self.others:
            for column, one in enumerate(compared(group, tests)):
                if min(one.n, one.n_reference) < smallest:
                    side = f"{counted(one.n)}" if one.n < smallest else f"{counted(one.n_reference)} of the reference"
                    why = f"{side}, fewer than {smallest}" if one.n else one.note
                    one = replace(one, p=None, detectable=None, note=f"{NOT_TESTED}{why}")
                found[group, column] = one if (one.detectable or 0) <= 1 else replace(one, detectable=None)
        return dict(zip(found, adjusted(list(found.values())), strict=True))

    # ---- tables

    def difference_table(self) -> Table:
        """Of rates, in points."""
        words = {
            "rate": "Rate",
            "group": self.whole.column,
            "reference": "Reference",
            **with_interval("difference", "Difference (points)"),
            **with_interval("ratio", "Ratio"),
            **TESTED,
        }
        lines = [
            {
                "rate": self.rates[column],
                "group": group,
                "reference": self.reference,
                **cells("ratio", (one.ratio, one.ratio_low, one.ratio_high)),
                **_in_points(one),
            }
            for (group, column), one in self.of_rates.items()
        ]
        return Table.of(f"Predictions against {self.reference}", words, lines)

    def shift_table(self) -> Table:
        """Of shares of attribution, in points."""
        words = {
            "group": self.whole.column,
            "reference": "Reference",
            "region": "Region",
            "method": "Method",
            **with_interval("difference", "Difference (points)"),
            "standardised": "Standardised difference (Hedges' g)",
            "matched": "Matched on probability",
            "probability_left": "Difference in mean probability within bins (points)",
            **TESTED,
        }
        lines = []
        for (group, column), one in self.of_shares.items():
            method, region = self.whole.looked[column]
            where = {"group": group, "reference": self.reference, "region": region, "method": method}
            left = in_percent(self.matching[group].left) if self.probe.matched else None
            beside = {"standardised": one.standardised, "matched": self.probe.matched, "probability_left": left}
            lines.append({**where, **beside, **_in_points(one)})
        return Table.of(f"Where maps lie, against {self.reference}", words, lines)

    # ---- sentences

    def sentences(self) -> Iterator[str]:
        """The answer: predictions, then maps."""
        of_rates, of_shares = self.of_rates, self.of_shares
        yield from _strongest([(self._rate_words, key, one) for key, one in of_rates.items()], self.rate_tests)
        yield from self._not_found(of_rates, lambda column: self.whole.rate_words(self.rates[column]))
        yield from self._not_tested(of_rates, lambda column: self.whole.rate_words(self.rates[column]))
        if not self.whole.looked:
            return
        yield from _strongest([(self._shift_words, key, one) for key, one in of_shares.items()], self.shift_tests)
        yield from self._not_found(of_shares, lambda _: "where maps lie", " of the attribution")
        yield from self._not_tested(of_shares, self.whole.where_words)
        if any(map(is_found, of_shares.values())):
            yield self._what_a_shift_says()

    def _what_a_shift_says(self) -> str:
        tested = [one for one in self.of_rates.values() if is_asked(one)]
        if any(map(is_found, tested)):
            return "Predictions and maps both differ; which of them leads to the other, a comparison cannot say."
        found = "were not found to" if tested else "could not be held against each other to see whether they"
        return (
            f"Predictions {found} differ by {self.whole.column}: that maps lie elsewhere is by itself no sign that the "
            "model treats these groups differently."
        )

    @property
    def rate_tests(self) -> str:
        """How many tests the family of predictions has, in words."""
        return _family_words(self.of_rates, ["rate"])

    @property
    def shift_tests(self) -> str:
        """How many tests the family of maps has, in words."""
        return _family_words(self.of_shares, ["region", "method"])

    def _rate_words(self, key: Key) -> str:
        group, column = key
        rates, one = self.whole.rates[self.rates[column]], self.of_rates[key]
        points = 100 * (one.value or 0)
        there, here = (100 * float(np.nanmean(rates[self.whole.of == name])) for name in (group, self.reference))
        return (
            f"{self.whole.rate_words(self.rates[column])}: {there:.1f} % for {group} (n = {one.n}) against "
            f"{here:.1f} % for {self.reference} (n = {one.n_reference}), a difference of {signed(points, 1)} points"
        )

    def _shift_words(self, key: Key) -> str:
        group, column = key
        (method, region), one = self.whole.looked[column], self.of_shares[key]
        points = 100 * (one.value or 0)
        within = f" within {self.matching[group].bins} bins of like probability," if self.probe.matched else ""
        return (
            f"Maps by {self.whole.labels[method]}: {abs(points):.1f} points {'more' if points > 0 else 'less'} of the "
            f"attribution lie in the {region} for {group} (n = {one.n}) than for {self.reference} "
            f"(n = {one.n_reference}),{within} {signed(points, 1)}"
        )

    def _not_found(self, family: Family, name: Callable[[int], str], of: str = "") -> Iterator[str]:
        """What was not found, with the difference that would have been; or why nothing could be."""
        tested = {key: one for key, one in family.items() if is_asked(one)}
        if family and not tested:
            same = all(one.note == CONSTANT for (group, _), one in family.items() if group in self.whole.large)
            hint = "; fewer bins, or no matching, would leave more" if of and self.probe.matched else ""
            why = "every picture has the same" if same else f"too few pictures on one side{hint}"
            names = listed([*dict.fromkeys(uncapitalised(name(column)) for _, column in family)])
            yield f"Nothing could be compared of {names}: {why}."
        missed = {key: one for key, one in tested.items() if not is_found(one) and not is_unclear(one)}
        known = {key: one for key, one in missed.items() if one.detectable is not None}
        if known:
            limit = 100 * max(one.detectable or 0.0 for one in known.values())
            yield (
                f"No difference found between the groups of {self.whole.column} in "
                f"{_names(known, tested, name)} ({len(known)} comparison{'s' * (len(known) > 1)} with "
                f"{self.reference}): with these n a difference of {limit:.1f} points{of} or more would have been found "
                f"in 4 of 5 such sets{', in each of them' * (len(known) > 1)}."
            )
        if blind := {key: one for key, one in missed.items() if one.detectable is None}:
            yield (
                f"No difference found between the groups of {self.whole.column} in {_names(blind, tested, name)}, "
                "which says little: no size of difference is known that would have been found in 4 of 5 such sets."
            )

    def _not_tested(self, family: Family, name: Callable[[int], str]) -> Iterator[str]:
        """What was asked for and is not tested, though the groups are large enough."""
        why: dict[tuple[str, str], list[str]] = {}
        if any(map(is_asked, family.values())):
            for (group, column), one in family.items():
                if not is_asked(one) and group in self.whole.large:
                    why.setdefault((group, one.note.removeprefix(NOT_TESTED)), []).append(uncapitalised(name(column)))
        said = [f"{listed(what)} for {group} ({reason})" for (group, reason), what in why.items()]
        if family is self.of_rates:
            said += self.whole.undefined()
        if said:
            yield f"Not tested: {listed(said, MOST_SAID)}."

    def notes(self, decision: Decision) -> Iterator[str]:
        """How the comparison was made, and what it leaves out."""
        whole, probe = self.whole, self.probe
        yield from whole.unsaid()
        yield from missing_values(whole.asking.cases, probe.column)
        if small := [f"{group} ({whole.sizes[group]})" for group in whole.groups if group not in whole.large]:
            yield f"Shown but not tested, with fewer than {probe.smallest} pictures: {listed(small, MOST_SAID)}."
        yield f"{decision.words} Groups are compared with {self.reference} (n = {whole.sizes[self.reference]})."
        if whole.looked and probe.matched:
            yield self._matched_words()
        yield corrections([words for words in (self.rate_tests, self.shift_tests) if words])

    def _matched_words(self) -> str:
        """Within what maps are compared, and what that leaves different."""
        of = {group: one for group, one in self.matching.items() if group in self.whole.large}
        bins = sorted({one.bins for one in of.values()})
        many = f"{bins[0]}" if len(bins) == 1 else f"{bins[0]} to {bins[-1]}"
        chosen = "" if self.probe.bins else ", as many as suit the number of pictures"
        said = []
        for group, one in of.items():
            left = (
                ""
                if one.left is None
                else f"{signed(100 * one.left, 1)} points ({signed(100 * one.before, 1)} before), and "
            )
            said.append(
                f"{group} {left}{one.alone} of its {self.whole.sizes[group]} pictures and {one.alone_reference} of the "
                f"{self.whole.sizes[self.reference]} of {self.reference} without a counterpart"
            )
        return (
            f"Maps of one explained class are compared within {many} bins of like probability{chosen}, so that harder "
            "pictures are less easily taken for another way of looking. Difference in mean probability that is left, "
            f"and pictures that drop out: {'; '.join(said[:MOST_SAID])}"
            f"{f'; and {len(said) - MOST_SAID} more' * (len(said) > MOST_SAID)}."
        )


def _names(some: Family, tested: Family, name: Callable[[int], str]) -> str:
    """What is compared, with the groups where not all that were tested are among them; maps are only counted."""
    groups: dict[str, list[str]] = {}
    for group, column in some:
        groups.setdefault(uncapitalised(name(column)), []).append(group)
    if len({name(column) for _, column in tested}) == 1 < len({column for _, column in tested}):
        rest = "" if len(some) == len(tested) else f" by the other {len(some)} of {len(tested)} tests"
        return f"{next(iter(groups))}{rest}"
    of = Counter(uncapitalised(name(column)) for _, column in tested)
    return listed([what if len(own) == of[what] else f"{what} ({', '.join(own)})" for what, own in groups.items()])


def _in_points(one: Difference) -> dict[str, Any]:
    """The cells that differences of rates and of shares have in common."""
    return {
        **cells("difference", (one.value, one.low, one.high), 100),
        "p": one.p,
        "p_adjusted": one.p_adjusted,
        "detectable": in_percent(one.detectable),
        "effective_n": one.effective,
        "n": one.n,
        "n_reference": one.n_reference,
        "note": one.note,
    }


def is_found(one: Difference | Trend) -> bool:
    """Whether the corrected p says that there is a difference, or a trend."""
    return one.p_adjusted is not None and one.p_adjusted <= LEVEL


def is_asked(one: Difference) -> bool:
    """Whether a difference was tested, or would have been: where all pictures are alike, none is there to test."""
    return one.p is not None or one.detectable is not None


def is_unclear(one: Difference | Trend) -> bool:
    """Whether there is none to be found by the corrected p, and yet the interval, uncorrected, excludes 0."""
    tested = one.p_adjusted is not None and not is_found(one)
    return tested and one.low is not None and one.high is not None and not one.low <= 0 <= one.high


def _family_words(family: Family, of: Sequence[str]) -> str:
    """Over how many tests, of what, Holm's correction was made; nothing where it changes nothing."""
    tests = [key for key, one in family.items() if one.p is not None]
    if len(tests) < 2:
        return ""
    what = [*of, "group"] if len({group for group, _ in tests}) > 1 else [*of]
    return f"over {len(tests)} {' × '.join(what)} tests"


def corrections(families: Sequence[str]) -> str:
    """For what p-values are corrected, and for what nothing is."""
    apart = " and, apart from these, ".join(families)
    corrected = f"p-values are corrected by Holm's rule {apart}. " if families else ""
    return (
        f"{corrected}Intervals are not corrected for how many there are, nor is a probe for others that are asked "
        "before or after it."
    )


def _strongest(family: Sequence[tuple[Callable[[Key], str], Key, Difference]], tests: str) -> Iterator[str]:
    """A sentence each on what was found, then on what is unclear; the smallest p first, and how many more there are."""
    corrected = f" after Holm's correction {tests}" if tests else ""
    for told, more in ((is_found, "that were found"), (is_unclear, "that are not told from chance")):
        ordered = sorted(
            (each for each in family if told(each[2])),
            key=lambda each: (each[2].p_adjusted or 0.0, -abs(each[2].standardised or 0.0)),
        )
        for words, key, one in ordered[:MOST_SAID]:
            interval = " to ".join(signed(100 * end, 1) for end in (one.low, one.high) if end is not None)
            p = f"{p_words(one.p_adjusted or 0.0)}{corrected}"
            if is_found(one):
                yield f"{words(key)}{f' (95 % interval {interval})' if interval else ''}, {p}."
            else:
                yield f"{words(key)}: not told from chance, {p}; the uncorrected 95 % interval, {interval}, excludes 0."
        if len(ordered) > MOST_SAID:
            yield f"{len(ordered) - MOST_SAID} more differences {more} are in the table."
