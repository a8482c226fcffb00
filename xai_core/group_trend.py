"""Whether a model errs more or less often, and looks elsewhere, as a number of the pictures rises."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xai_core.checkpoints import printable
from xai_core.errors import SettingError
from xai_core.group_answers import (
    PERCENT,
    Decision,
    Divided,
    Measured,
    cells,
    listed,
    measure,
    p_words,
    signed,
    uncapitalised,
    with_interval,
)
from xai_core.group_comparison import MOST_SAID, corrections, is_found, is_unclear
from xai_core.group_statistics import Trend, adjusted, trends
from xai_core.grouping import (
    band_names,
    check_column,
    equal_parts,
    group_value,
    missing_values,
    number_of,
    rounded,
    without_value,
)
from xai_core.probes import Asking, Found
from xai_core.records import Table

if TYPE_CHECKING:
    from xai_core.probes.expression_intensity import ExpressionIntensity

ERRORS, PROBABILITY = "error_rate", "probability"
WORDS = {ERRORS: "Error rate", PROBABILITY: "Probability of the explained class"}
Key = tuple[str, str, str]  # what is measured, of maps their method, and region


def along(asking: Asking, probe: ExpressionIntensity) -> Found:
    """Buckets of pictures by a number, and trends over all of them. Raises SettingError where there is none."""
    decision = Decision.of(asking)
    if probe.column:
        _check_numbers(asking, probe)
    pictures = tuple(_measured(asking, probe, decision))
    numbers = np.array([_number(one, probe.column) for one in pictures])
    if len(pictures) < probe.smallest or np.ptp(numbers) == 0:
        raise SettingError(
            f"{len(pictures)} pictures have a {_called(probe)}, of {len(np.unique(numbers))} different values: a trend "
            f"needs {probe.smallest} pictures or more that differ. Give others."
        )
    edges = equal_parts(numbers, probe.buckets)
    unit, ends = ("", (numbers.min(), numbers.max())) if probe.column else (" %", (0.0, PERCENT))
    shown = rounded(edges, ends)
    names = band_names(shown, unit)
    of = np.array([names[int(place)] for place in np.searchsorted(edges, numbers, side="right")], dtype=object)
    filled = tuple(name for name in names if name in of)
    whole = Divided(asking, pictures, of, filled, _called(probe), "", probe.smallest)
    found = _trends(whole, numbers, probe)
    cuts = [] if shown == edges else [f"{edge:.9g}{unit}" for edge in edges]
    return Found(
        [*_sentences(whole, found), *_notes(whole, found, probe, cuts)],
        {
            "rates": whole.rate_table(),
            "regions": whole.region_table(),
            "trends": _table(whole, found),
            "pictures": whole.picture_table(),
        },
        pictures=[one.subject.image.sha256 for one in pictures],
    )


def _called(probe: ExpressionIntensity) -> str:
    return printable(probe.column, 60) or PROBABILITY


def _check_numbers(asking: Asking, probe: ExpressionIntensity) -> None:
    """Raise SettingError, before any picture is read, where the column holds no numbers."""
    check_column(asking.cases, probe.column)
    values = dict.fromkeys(value for case in asking.cases if (value := group_value(case, probe.column)))
    if text := next((value for value in values if math.isnan(number_of(value))), ""):
        raise SettingError(
            f"{probe.column} has no order: {printable(text, 60)!r} is no number. Choose a column of numbers, or "
            "compare its groups."
        )
    if len(values) < 2:
        raise SettingError(
            f"The column {probe.column} is {next(iter(values))} for all pictures. Choose another column."
        )


def _measured(asking: Asking, probe: ExpressionIntensity, decision: Decision) -> Iterator[Measured]:
    for subject in asking.subjects():
        if probe.column and not group_value(subject, probe.column):
            asking.leave_out(subject, without_value(subject, probe.column))
        else:
            yield measure(asking, subject, decision, probe.find_faces)


def _number(one: Measured, column: str) -> float:
    """What pictures are ordered by; a probability in percent."""
    return number_of(group_value(one.subject, column)) if column else PERCENT * one.probability


def _trends(whole: Divided, numbers: np.ndarray, probe: ExpressionIntensity) -> dict[Key, Trend]:
    """Of predictions, then of maps: two families of tests. The probability is no trend along itself."""
    predictions: dict[Key, np.ndarray] = {}
    if ERRORS in whole.rates:
        predictions[ERRORS, "", ""] = whole.rates[ERRORS]
    if probe.column:
        predictions[PROBABILITY, "", ""] = np.array([one.probability for one in whole.pictures])
    maps = {("share", *key): whole.shares[:, at] for at, key in enumerate(whole.looked)}
    found: dict[Key, Trend] = {}
    for family in (predictions, maps):
        if family:
            values = np.stack(list(family.values()), axis=1)
            tests = int(((~np.isnan(values)).sum(axis=0) >= probe.smallest).sum())
            tested = trends(values, numbers, whole.asking.random(), tests, probe.smallest)
            found |= dict(zip(family, adjusted(tested), strict=True))
    return found


def _words(key: Key, whole: Divided) -> str:
    what, method, region = key
    return WORDS.get(what) or f"Share of the attribution by {whole.labels[method]} in the {region}"


def _table(whole: Divided, found: Mapping[Key, Trend]) -> Table:
    words = {
        "measure": "Measure",
        "method": "Method",
        "region": "Region",
        **with_interval("correlation", f"Rank correlation with {whole.column}"),
        "p": "p",
        "p_adjusted": "p, Holm's correction",
        "detectable": "Detectable correlation",
        "n": "Pictures",
        "note": "Note",
    }
    lines = [
        {
            **dict(zip(("measure", "method", "region"), key, strict=True)),
            **cells("correlation", (one.correlation, one.low, one.high)),
            **{name: getattr(one, name) for name in ("p", "p_adjusted", "detectable", "n", "note")},
        }
        for key, one in found.items()
    ]
    return Table.of(f"Trends along {whole.column}", words, lines)


def _corrected(family: Mapping[Key, Trend], maps: bool) -> str:
    """Over how many tests Holm's correction was made; nothing where it changes nothing."""
    tests = sum(one.p is not None for one in family.values())
    return f"over {tests} {'region × method' if maps else 'prediction'} tests" if tests > 1 else ""


def _families(found: Mapping[Key, Trend]) -> Iterator[tuple[bool, Mapping[Key, Trend]]]:
    """Predictions, then maps."""
    for maps in (False, True):
        yield maps, {key: one for key, one in found.items() if bool(key[1]) == maps}


def _sentences(whole: Divided, found: Mapping[Key, Trend]) -> Iterator[str]:
    """Predictions first, then maps; what was found before what is unclear, and that before what was not."""
    for maps, family in _families(found):
        corrected = f" after Holm's correction {tests}" if (tests := _corrected(family, maps)) else ""
        for told, more in ((is_found, "that were found"), (is_unclear, "that are not told from chance")):
            shown = [(key, one) for key, one in family.items() if told(one)]
            shown.sort(key=lambda one: (one[1].p_adjusted or 0.0, -abs(one[1].correlation or 0.0)))
            for key, one in shown[:MOST_SAID]:
                yield _trend_words(_words(key, whole), one, whole.column, corrected)
            if len(shown) > MOST_SAID:
                yield f"{len(shown) - MOST_SAID} more trends {more} are in the table."
        yield from _not_found(whole, family, maps)


def _trend_words(words: str, one: Trend, column: str, corrected: str) -> str:
    way = "rises" if (one.correlation or 0.0) > 0 else "falls"
    size = f"rank correlation {signed(one.correlation or 0.0, 2)}"
    ends = f"{signed(one.low or 0.0, 2)} to {signed(one.high or 0.0, 2)}"
    p = f"{p_words(one.p_adjusted or 0.0)}{corrected}"
    if is_found(one):
        return f"{words} {way} with {column}: {size} (95 % interval {ends}, n = {one.n}), {p}."
    return (
        f"{words} with {column}: {size} (n = {one.n}), not told from chance, "
        f"{p}, though the uncorrected 95 % interval, {ends}, excludes 0."
    )


def _not_found(whole: Divided, family: Mapping[Key, Trend], maps: bool) -> Iterator[str]:
    """What was tested and neither found nor unclear; what was not tested."""
    tested = {key: one for key, one in family.items() if one.p is not None}
    missed = {key: one for key, one in tested.items() if not is_found(one) and not is_unclear(one)}
    for sized in (True, False):
        some = {key: one for key, one in missed.items() if (one.detectable is not None) == sized}
        if some:
            names = [uncapitalised(_words(key, whole)) for key in some]
            if maps:
                rest = "" if len(some) == len(tested) else f", by the other {len(some)} of {len(tested)} tests"
                names = [f"where maps lie{rest}"]
            least = max(one.detectable or 0.0 for one in some.values())
            limit = (
                f": a rank correlation of {least:.2f} or more would have been found in 4 of 5 such sets"
                if sized
                else ", which says little: no size is known that would have been found in 4 of 5 such sets"
            )
            n = min(one.n for one in some.values())
            yield f"No trend found with {whole.column} in {listed(names)} (n = {n}){limit}."
    why: dict[str, list[str]] = {}
    for key, one in family.items():
        if one.p is None:
            why.setdefault(f"{one.note}, n = {one.n}", []).append(uncapitalised(_words(key, whole)))
    if why:
        yield f"Not tested: {listed([f'{listed(what, MOST_SAID)} ({reason})' for reason, what in why.items()])}."


def _notes(
    whole: Divided, found: Mapping[Key, Trend], probe: ExpressionIntensity, cuts: Sequence[str]
) -> Iterator[str]:
    """What else there is to know; `cuts` are the exact borders of buckets where their names are rounded."""
    if all(one.right is None for one in whole.pictures):
        yield "No picture has a label that the model could be right about, so there are no errors to compare."
    if probe.column:
        yield from missing_values(whole.asking.cases, probe.column)
    else:
        yield "Pictures are ordered by the model's own probability of the explained class, not by what they show."
    sizes: Sequence[str] = [f"{name} (n = {whole.sizes[name]})" for name in whole.groups]
    exact = f" These borders are rounded: pictures are cut at {listed(cuts)}." if cuts else ""
    yield f"Buckets: {listed(sizes)}.{exact} Trends are over pictures, not buckets."
    families = [words for maps, family in _families(found) if (words := _corrected(family, maps))]
    yield corrections(families)
