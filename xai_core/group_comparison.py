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
from xai_core.group_answers import Decision, Divided, Measured, measure, with_interval
from xai_core.group_statistics import LEVEL, Difference, adjusted, differences, quantile_strata, rate_differences
from xai_core.grouping import Grouping, group_value, grouping
from xai_core.probes import Asking, Found
from xai_core.records import Table

if TYPE_CHECKING:
    from xai_core.probes.groups import Groups

MOST_SAID = 6  # sentences on what was found: the tables have the rest
Family = Mapping[tuple[str, int], Difference]  # by group, and place in a list of rates or of regions
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
    decision = Decision(probe.positive, probe.threshold)
    decision.check(asking)
    grouped = grouping(asking.cases, probe.column, probe.bands)
    sizes = Counter(grouped.group_of.get(group_value(case, probe.column)) for case in asking.cases)
    missing = sizes.pop(None, 0)
    reference = _reference(probe, grouped, sizes)
    pictures = tuple(_of_known_group(asking, grouped, decision, probe.find_faces))
    of = np.array([grouped.of(one.subject) for one in pictures], dtype=object)
    whole = Divided(asking, pictures, of, grouped.groups, printable(probe.column, 60), probe.positive, probe.smallest)
    if reference not in whole.large or len(whole.large) < 2:  # some could not be read
        raise SettingError(_too_small(probe, whole.sizes, reference))
    comparison = _Comparison(whole, reference, probe)
    return Found(
        [*comparison.sentences(), *grouped.said, *comparison.notes(decision, missing)],
        {
            "rates": whole.rate_table(),
            "differences": comparison.difference_table(),
            "regions": whole.region_table(),
            "shifts": comparison.shift_table(),
            "pictures": whole.picture_table(),
        },
        pictures=[one.subject.image.sha256 for one in pictures],
    )


def _reference(probe: Groups, grouped: Grouping, sizes: Mapping[str | None, int]) -> str:
    """The group that others are held against, before any picture is read. Raises SettingError where there is none."""
    if probe.reference and probe.reference not in grouped.groups:
        shown = ", ".join(grouped.groups[:8])
        raise SettingError(f"{probe.column} has no group {printable(probe.reference, 60)!r}. It has {shown}.")
    reference = probe.reference or max(grouped.groups, key=lambda group: sizes[group])
    if sizes[reference] < probe.smallest or sum(n >= probe.smallest for n in sizes.values()) < 2:
        raise SettingError(_too_small(probe, sizes, reference))
    return reference


def _too_small(probe: Groups, sizes: Mapping[Any, int], reference: str) -> str:
    counted = sorted(sizes.items(), key=lambda one: (-one[1], str(one[0])))
    shown = ", ".join(f"{group} ({n})" for group, n in counted[:6]) + (" and others" if len(counted) > 6 else "")
    return (
        f"Too few pictures by {probe.column}: the reference ({reference}) and one more group need {probe.smallest} "
        f"or more each, and there are {shown}. Give more pictures, wider bands or a smaller minimum."
    )


def _of_known_group(asking: Asking, grouped: Grouping, decision: Decision, find_faces: bool) -> Iterator[Measured]:
    for subject in asking.subjects():
        if grouped.of(subject) is None:
            asking.leave_out(subject, f"it has no value under {grouped.column}.")
        else:
            yield measure(asking, subject, decision, find_faces)


@dataclass(frozen=True, eq=False)
class _Comparison:
    """Groups against their reference, in two families of tests: of predictions, and of maps."""

    whole: Divided
    reference: str
    probe: Groups

    @cached_property
    def rates(self) -> list[str]:
        """The key of every rate."""
        return list(self.whole.rates)

    @cached_property
    def of_rates(self) -> Family:
        """Of all pictures, unmatched: that a group is harder is part of what a rate says."""
        chance, values = self.whole.asking.random(), np.stack([self.whole.rates[key] for key in self.rates], axis=1)
        return self._family(values, lambda pair, group, tests: rate_differences(values[pair], group, chance, tests))

    @cached_property
    def of_shares(self) -> Family:
        """Of the share of attribution, by method and region, as `matched` and `bins` have it."""
        chance, values, strata = self.whole.asking.random(), self.whole.shares, self._strata()
        return self._family(
            values, lambda pair, group, tests: differences(values[pair], group, strata[pair], chance, tests)
        )

    def _strata(self) -> np.ndarray:
        """(n,) int: the same class is explained, at a like probability; all alike where nothing is matched."""
        pictures = self.whole.pictures
        if not self.probe.matched:
            return np.zeros(len(pictures), int)
        probability = np.array([one.probability for one in pictures])
        return quantile_strata(probability, np.array([one.explained for one in pictures]), self.probe.bins)

    def _family(
        self, values: np.ndarray, compare: Callable[[np.ndarray, np.ndarray, int], Sequence[Difference]]
    ) -> Family:
        """Of (n, m) values. A test needs `smallest` pictures on both sides; what has fewer is shown without it."""
        whole, smallest = self.whole, self.probe.smallest
        others = [group for group in whole.groups if group != self.reference and whole.sizes[group]]
        enough = {
            group: (~np.isnan(values[whole.of == group])).sum(axis=0) >= smallest for group in [*others, self.reference]
        }
        tests = sum(int((enough[group] & enough[self.reference]).sum()) for group in others)
        found = {}
        for group in others:
            pair = np.isin(whole.of, [group, self.reference])
            for column, one in enumerate(compare(pair, whole.of[pair] == group, tests)):
                few = min(one.n, one.n_reference) < smallest
                why = one.note if not one.n else f"not tested: fewer than {smallest} pictures to compare"
                found[group, column] = replace(one, p=None, detectable=None, note=why) if few else one
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
                "ratio": one.ratio,
                "ratio_low": one.ratio_low,
                "ratio_high": one.ratio_high,
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
            **TESTED,
        }
        lines = []
        for (group, column), one in self.of_shares.items():
            method, region = self.whole.looked[column]
            where = {"group": group, "reference": self.reference, "region": region, "method": method}
            lines.append({**where, "standardised": one.standardised, "matched": self.probe.matched, **_in_points(one)})
        return Table.of(f"Where maps lie, against {self.reference}", words, lines)

    # ---- sentences

    def sentences(self) -> Iterator[str]:
        """The answer: predictions, then maps."""
        found = {self._rate_words(key): one for key, one in self.of_rates.items() if is_found(one)}
        yield from _strongest(found, self.of_rates)
        yield from self._not_found(self.of_rates, lambda column: self.whole.rate_words(self.rates[column]))
        if not self.whole.looked:
            return
        shifts = {self._shift_words(key): one for key, one in self.of_shares.items() if is_found(one)}
        yield from _strongest(shifts, self.of_shares)
        if shifts and found:
            yield "Predictions and maps both differ; which of them leads to the other, a comparison cannot say."
        elif shifts:
            yield (
                f"Predictions were not found to differ by {self.whole.column}: that maps lie elsewhere is by itself no "
                "sign that the model treats these groups differently."
            )
        else:
            yield from self._not_found(self.of_shares, lambda _: "where maps lie", " of the attribution")

    def _rate_words(self, key: tuple[str, int]) -> str:
        group, column = key
        rates, one = self.whole.rates[self.rates[column]], self.of_rates[key]
        points = 100 * (one.value or 0)
        there, here = (100 * float(np.nanmean(rates[self.whole.of == name])) for name in (group, self.reference))
        return (
            f"{self.whole.rate_words(self.rates[column])}: {there:.1f} % for {group} (n = {one.n}) against "
            f"{here:.1f} % for {self.reference} (n = {one.n_reference}), a difference of {points:+.1f} points"
        )

    def _shift_words(self, key: tuple[str, int]) -> str:
        group, column = key
        (method, region), one = self.whole.looked[column], self.of_shares[key]
        points = 100 * (one.value or 0)
        return (
            f"Maps by {method}: {abs(points):.1f} points {'more' if points > 0 else 'less'} of the attribution lie in "
            f"the {region} for {group} (n = {one.n}) than for {self.reference} (n = {one.n_reference})"
            f"{', where the model is equally sure' if self.probe.matched else ''}, {points:+.1f}"
        )

    def _not_found(self, family: Family, name: Callable[[int], str], of: str = "") -> Iterator[str]:
        """What was not found, with the difference that would have been."""
        told = {column for (_, column), one in family.items() if is_found(one)}
        missed = {key: one for key, one in family.items() if one.detectable is not None and key[1] not in told}
        if missed:
            limit = 100 * max(one.detectable or 0.0 for one in missed.values())
            names = listed([*dict.fromkeys(uncapitalised(name(column)) for _, column in missed)])
            tests = f"{len(missed)} comparison{'s' * (len(missed) > 1)} with {self.reference}"
            yield (
                f"No difference found between the groups of {self.whole.column} in {names} "
                f"({tests}): with these n a difference of {limit:.1f} points{of} or more would have been found in 4 of "
                "5 such sets."
            )
        elif all(one.p is None for one in family.values()):
            hint = "; fewer bins, or no matching, would leave more" if of and self.probe.matched else ""
            yield f"Nothing could be compared of {uncapitalised(name(0))}: too few pictures on one side{hint}."

    def notes(self, decision: Decision, missing: int) -> Iterator[str]:
        """How the comparison was made, and what it leaves out."""
        whole, probe = self.whole, self.probe
        yield from whole.unsaid()
        if missing:
            yield f"{missing} of {missing + len(whole.pictures)} pictures have no value under {whole.column}: left out."
        if small := [f"{group} ({whole.sizes[group]})" for group in whole.groups if group not in whole.large]:
            yield f"Shown but not tested, with fewer than {probe.smallest} pictures: {listed(small)}."
        yield f"{decision.words} Groups are compared with {self.reference} (n = {whole.sizes[self.reference]})."
        if whole.looked and probe.matched:
            known = {group: (~np.isnan(whole.shares[whole.of == group])).sum(axis=0) for group in whole.large}
            left = [known[group][at] - one.n for (group, at), one in self.of_shares.items() if group in known and one.n]
            alone = f"; up to {max(left)} pictures of a group had no counterpart" if any(left) else ""
            yield (
                f"Maps are compared within {probe.bins} bins of the probability of the explained class, so that harder "
                f"pictures are not taken for another way of looking{alone}."
            )


def _in_points(one: Difference) -> dict[str, Any]:
    """The cells that differences of rates and of shares have in common."""
    points = {"": one.value, "_low": one.low, "_high": one.high}
    return {
        **{f"difference{end}": None if value is None else 100 * value for end, value in points.items()},
        "p": one.p,
        "p_adjusted": one.p_adjusted,
        "detectable": None if one.detectable is None else 100 * one.detectable,
        "effective_n": one.effective,
        "n": one.n,
        "n_reference": one.n_reference,
        "note": one.note,
    }


def is_found(one: Difference) -> bool:
    """Whether the corrected p says that there is a difference."""
    return one.p_adjusted is not None and one.p_adjusted <= LEVEL


def _strongest(found: Mapping[str, Difference], family: Family) -> Iterator[str]:
    """A sentence each, those with the smallest p first, and how many more there are."""
    tests = sum(one.p is not None for one in family.values())
    ordered = sorted(found.items(), key=lambda one: (one[1].p_adjusted or 0.0, -abs(one[1].standardised or 0.0)))
    corrected = f" after Holm's correction over {tests} tests" if tests > 1 else ""
    for words, one in ordered[:MOST_SAID]:
        ends = [f"{100 * end:+.1f}" for end in (one.low, one.high) if end is not None]
        interval = f" (95 % interval {' to '.join(ends)})" if ends else ""
        yield f"{words}{interval}, p = {one.p_adjusted:.2g}{corrected}."
    if len(ordered) > MOST_SAID:
        yield f"{len(ordered) - MOST_SAID} more differences that were found are in the table."


def uncapitalised(words: str) -> str:
    """As they stand inside a sentence."""
    return words[:1].lower() + words[1:]


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, at least one."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
