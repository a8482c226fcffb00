"""Which group each picture belongs to, by a column of its set; numbers are cut into bands."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, pairwise

import numpy as np

from xai_core.checkpoints import printable
from xai_core.errors import SettingError
from xai_core.probes import Subject
from xai_core.records import Case

MOST_VALUES = 8  # of a column of numbers; one with more is cut into quarters
MISSING = {"", "na", "n/a", "n.a.", "nan", "null", "unknown", "?", "-"}  # in any case; "none" is a value: no glasses
LONGEST, HEAD, TAIL = 40, 20, 12  # letters of a group's name as it is shown, and of one that is longer


@dataclass(frozen=True)
class Grouping:
    """The group of every value of a column, the groups in their order, and sentences on how they were made."""

    column: str
    group_of: Mapping[str, str]
    groups: tuple[str, ...]
    said: tuple[str, ...] = ()

    def of(self, one: Subject | Case) -> str | None:
        """The group of a picture; None where its value is missing."""
        return self.group_of.get(group_value(one, self.column))

    def named(self, text: str) -> str | None:
        """The group of that name, or that a value so written belongs to, in any case; None where there is none."""
        names = [*((group, group) for group in self.groups), *self.group_of.items()]
        return next((group for name, group in names if name.casefold() == _one_line(text).casefold()), None)


def _one_line(text: str) -> str:
    return printable(text, len(text))


def group_value(one: Subject | Case, column: str) -> str:
    """What a picture says under a column, in full; empty where that is nothing, as "NA" and "unknown" are."""
    text = _one_line(one.groups.get(column, ""))
    return "" if text.casefold() in MISSING else text


def without_value(one: Subject, column: str) -> str:
    """Why a picture is left out that has no value under a column."""
    text = _one_line(one.groups.get(column, ""))
    return f"it has no value under {printable(column, 60)}{f', which says {text!r}' if text else ''}."


def missing_values(cases: Sequence[Case], column: str) -> Iterator[str]:
    """A sentence on the pictures without a value under a column, where there are any."""
    missing = Counter(_one_line(case.groups.get(column, "")) for case in cases if not group_value(case, column))
    if missing:
        texts = ", ".join(f"{text!r} {n}" if text else f"empty {n}" for text, n in missing.most_common())
        yield (
            f"{missing.total()} of {len(cases)} pictures have no value under {printable(column, 60)} ({texts}): they "
            "are left out."
        )


def check_column(cases: Sequence[Case], column: str) -> None:
    """Raise SettingError where no picture says anything under that column."""
    columns = list(dict.fromkeys(name for case in cases for name in case.groups))
    offered = f"There are {', '.join(printable(name, 60) for name in columns)}." if columns else ""
    if not columns:
        raise SettingError(
            "No picture says which group it belongs to. Give a set with a labels.csv that has a column for it."
        )
    if not column:
        raise SettingError(f"Name the column whose groups are to be compared. {offered}")
    if column not in columns:
        raise SettingError(f"The set has no column {printable(column, 60)!r}. {offered}")
    if not any(group_value(case, column) for case in cases):
        raise SettingError(f"The column {column} is empty or unknown for every picture. {offered}")


def grouping(cases: Sequence[Case], column: str, bands: str) -> Grouping:
    """The groups of a column. Numbers are cut into bands where that was asked for, or where there are many of them.

    Raises SettingError where there is no such column, or only one group.
    """
    check_column(cases, column)
    written = Counter(value for case in cases if (value := group_value(case, column)))
    numbers = {value: number_of(value) for value in written}
    numeric = not any(math.isnan(number) for number in numbers.values())
    if bands and bands != "none" and not numeric:
        text = printable(next(value for value, number in numbers.items() if math.isnan(number)), 60)
        raise SettingError(f"{column} cannot be cut into bands: {text!r} is no number. Leave bands empty.")
    if numeric and bands != "none" and (bands or len(set(numbers.values())) > MOST_VALUES):
        found = _banded(column, numbers, np.array([numbers[value] for value in written.elements()]), bands)
    else:
        found = _named(column, written, numbers, numeric)
    if len(found.groups) < 2:
        raise SettingError(
            f"The column {column} has one value for all pictures, {found.groups[0]!r}, so there is nothing to compare. "
            "Choose another column."
        )
    return found


def _named(column: str, written: Counter[str], numbers: Mapping[str, float], numeric: bool) -> Grouping:
    """A group for each value. Ways to write it that differ in case, or are of one number, are one value."""
    ways: dict[str | float, list[str]] = {}
    for value in sorted(written, key=lambda value: (-written[value], value)):
        ways.setdefault(numbers[value] if numeric else value.casefold(), []).append(value)
    often = sorted((same[0] for same in ways.values()), key=_in_order(numbers))
    shown = _shown(often)
    merged = [f"{shown[same[0]]} ({', '.join(_shown(same[1:]).values())})" for same in ways.values() if same[1:]]
    said = [f"Ways to write one value of {column} count as one group: {', '.join(merged)}."] if merged else []
    if cut := sum(shown[value] != value for value in often):
        said.append(f"{cut} group{'s' * (cut > 1)} of {column} with long names: the middle of the name is not shown.")
    group_of = {value: shown[same[0]] for same in ways.values() for value in same}
    return Grouping(column, group_of, tuple(shown[value] for value in often), tuple(said))


def _shown(values: Sequence[str]) -> dict[str, str]:
    """What each of different texts is shown as: itself, or of a long one both ends, numbered where those are taken."""
    shown = {value: value for value in values if len(value) <= LONGEST}
    taken = set(shown)
    for value in values:
        if value not in shown:
            ends = f"{value[:HEAD]}…{value[-TAIL:]}"
            tries = (ends if number == 1 else f"{ends} ({number})" for number in count(1))
            shown[value] = next(name for name in tries if name not in taken)
            taken.add(shown[value])
    return shown


def _in_order(numbers: Mapping[str, float]) -> Callable[[str], tuple[bool, float, str]]:
    """Numbers by their size, then texts by name."""
    return lambda value: (math.isnan(numbers[value]), 0.0 if math.isnan(numbers[value]) else numbers[value], value)


def number_of(value: str) -> float:
    """NaN where a text is no finite number."""
    try:
        number = float(value)
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan


def _banded(column: str, numbers: Mapping[str, float], values: np.ndarray, bands: str) -> Grouping:
    edges, how = _edges(column, values, bands)
    shown = rounded(edges, (values.min(), values.max())) if how == "quarters" else edges
    names = band_names(shown)
    group_of = {value: names[int(np.searchsorted(edges, number, side="right"))] for value, number in numbers.items()}
    filled = tuple(name for name in names if name in group_of.values())
    exact = [] if shown == edges else [f"{edge:.9g}" for edge in edges]
    cut = f" These borders are rounded: pictures are cut at {', '.join(exact)}." if exact else ""
    return Grouping(column, group_of, filled, (f"{column} is cut into {how}: {', '.join(filled)}.{cut}",))


def _edges(column: str, values: np.ndarray, bands: str) -> tuple[list[float], str]:
    """Where bands begin, but for the lowest, and what they are called together."""
    if bands in ("", "quarters"):
        return equal_parts(values, 4), "quarters"
    if bands == "tens":
        tens = np.floor(values / 10) * 10
        return np.unique(np.concatenate([tens, tens + 10]))[1:-1].tolist(), "tens"
    edges = [number_of(one) for one in bands.split(",")]
    if any(math.isnan(one) for one in edges) or any(one >= other for one, other in pairwise(edges)):
        raise SettingError(
            f"Bands {printable(bands, 60)!r} are not understood. Choose quarters, tens, none, or rising numbers at "
            "which bands begin, as in 18, 40, 65."
        )
    return edges, "bands"


def equal_parts(values: np.ndarray, count: int) -> list[float]:
    """Edges, some of the (n,) values, between so many parts of about as many values each; fewer where they tie."""
    inner = np.linspace(0, 1, count + 1)[1:-1]
    edges: list[float] = np.unique(np.quantile(values, inner, method="closest_observation")).tolist()
    return edges


def rounded(edges: Sequence[float], ends: Sequence[float]) -> list[float]:
    """Edges with as few decimals as keep each nearer to itself than a tenth of the way to the next edge or end."""
    shown = []
    for edge in edges:
        apart = min(abs(edge - other) for other in {*edges, *ends} - {edge})
        tries = (round(edge, decimals) for decimals in range(16))
        shown.append(next((one for one in tries if abs(one - edge) <= apart / 10), edge))
    return shown


def band_names(edges: Sequence[float], unit: str = "") -> list[str]:
    """What bands between those edges are called; each edge belongs to the band above it."""
    if not edges:
        return ["all"]
    shown = [f"{edge:.12g}{unit}" for edge in edges]
    return [f"under {shown[0]}", *(f"{low} to under {high}" for low, high in pairwise(shown)), f"{shown[-1]} and over"]
