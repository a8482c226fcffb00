"""Whether a model errs more or less often, and looks elsewhere, as a number of the pictures rises."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from xai_core.checkpoints import printable
from xai_core.errors import SettingError
from xai_core.group_answers import Decision, Divided, Measured, measure, with_interval
from xai_core.group_comparison import MOST_SAID, listed, uncapitalised
from xai_core.group_statistics import LEVEL, Trend, adjusted, trends
from xai_core.grouping import band_names, check_column, equal_parts, group_value, number_of
from xai_core.probes import Asking, Found
from xai_core.records import Table

if TYPE_CHECKING:
    from xai_core.probes.expression_intensity import ExpressionIntensity

DECISION = Decision()
ERRORS, PROBABILITY = "error_rate", "probability"
WORDS = {ERRORS: "Error rate", PROBABILITY: "Probability of the explained class"}
Key = tuple[str, str, str]  # what is measured, of maps their method, and region


def along(asking: Asking, probe: ExpressionIntensity) -> Found:
    """Buckets of pictures by a number, and trends over all of them. Raises SettingError where there is none."""
    DECISION.check(asking)
    if probe.column:
        _check_numbers(asking, probe)
    pictures = tuple(_measured(asking, probe))
    numbers = np.array([_number(one, probe.column) for one in pictures])
    if len(pictures) < probe.smallest or np.ptp(numbers) == 0:
        raise SettingError(
            f"{len(pictures)} pictures have a {_called(probe)}, of {len(np.unique(numbers))} different values: a trend "
            f"needs {probe.smallest} pictures or more that differ. Give others."
        )
    edges = sorted({round(edge, 3) for edge in equal_parts(numbers, probe.buckets)})
    names = band_names(edges)
    of = np.array([names[int(place)] for place in np.searchsorted(edges, numbers, side="right")], dtype=object)
    filled = tuple(name for name in names if name in of)
    whole = Divided(asking, pictures, of, filled, _called(probe), "", probe.smallest)
    found = _trends(whole, numbers, probe)
    return Found(
        [*_sentences(whole, found), *_notes(whole, len(asking.cases) - len(pictures), probe)],
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
            f"{probe.column} has no order: {text!r} is no number. Choose a column of numbers, or compare its groups."
        )
    if len(values) < 2:
        raise SettingError(
            f"The column {probe.column} is {next(iter(values))} for all pictures. Choose another column."
        )


def _measured(asking: Asking, probe: ExpressionIntensity) -> Iterator[Measured]:
    for subject in asking.subjects():
        if probe.column and not group_value(subject, probe.column):
            asking.leave_out(subject, f"it has no value under {_called(probe)}.")
        else:
            yield measure(asking, subject, DECISION, probe.find_faces)


def _number(one: Measured, column: str) -> float:
    return number_of(group_value(one.subject, column)) if column else one.probability


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


def _words(key: Key) -> str:
    what, method, region = key
    return WORDS.get(what) or f"Share of the attribution by {method} in the {region}"


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
            "correlation": one.correlation,
            "correlation_low": one.low,
            "correlation_high": one.high,
            **{name: getattr(one, name) for name in ("p", "p_adjusted", "detectable", "n", "note")},
        }
        for key, one in found.items()
    ]
    return Table.of(f"Trends along {whole.column}", words, lines)


def _sentences(whole: Divided, found: Mapping[Key, Trend]) -> Iterator[str]:
    """Predictions first, then maps; what was found before what was not."""
    for maps in (False, True):
        family = {key: one for key, one in found.items() if bool(key[1]) == maps}
        shown = [(key, one) for key, one in family.items() if one.p_adjusted is not None and one.p_adjusted <= LEVEL]
        shown.sort(key=lambda one: (one[1].p_adjusted or 0.0, -abs(one[1].correlation or 0.0)))
        tests = sum(one.p is not None for one in family.values())
        corrected = f" after Holm's correction over {tests} tests" if tests > 1 else ""
        for key, one in shown[:MOST_SAID]:
            way = "rises" if (one.correlation or 0.0) > 0 else "falls"
            yield (
                f"{_words(key)} {way} with {whole.column}: rank correlation {one.correlation:+.2f} (95 % interval "
                f"{one.low:+.2f} to {one.high:+.2f}, n = {one.n}), p = {one.p_adjusted:.2g}{corrected}."
            )
        if len(shown) > MOST_SAID:
            yield f"{len(shown) - MOST_SAID} more trends that were found are in the table."
        if missed := [(key, one) for key, one in family.items() if one.p is not None and (key, one) not in shown]:
            names = ["where maps lie"] if maps and not shown else [uncapitalised(_words(key)) for key, _ in missed]
            least = max(one.detectable or 0.0 for _, one in missed)
            yield (
                f"No trend found with {whole.column} in {listed(names)} (n = {min(one.n for _, one in missed)}): a "
                f"rank correlation of {least:.2f} or more would have been found in 4 of 5 such sets."
            )


def _notes(whole: Divided, missing: int, probe: ExpressionIntensity) -> Iterator[str]:
    if all(one.right is None for one in whole.pictures):
        yield "No picture has a label that the model could be right about, so there are no errors to compare."
    if missing:
        yield f"{missing} of {missing + len(whole.pictures)} pictures are left out: unread, or without a value."
    if not probe.column:
        yield "Pictures are ordered by the model's own probability of the explained class, not by what they show."
    sizes: Sequence[str] = [f"{name} (n = {whole.sizes[name]})" for name in whole.groups]
    yield f"Buckets: {listed(sizes)}. Trends are over pictures, not buckets."
