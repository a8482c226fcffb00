"""What a figure of a finding is made of, and in which words: `probe_figures` draws it for files, the page to point at.

    Forest (rows of points with intervals), Lines (over a dose), Matrix (of verdicts)

Values are those of the tables, in the tables' units; what is None there is drawn nowhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from xai_core.methods import METHODS
from xai_core.records import Finding
from xai_core.score_table import number, row_names
from xai_core.statistics import LEVEL

LONGEST = 40  # letters of a name: so that what stands behind it is seen too
NOT_KNOWN = "cannot be shown"
# Verdicts on a map, each with the sign that tells it without its colour.
SIGNS: Mapping[str, str] = {
    "used and shown": "✓",
    "used, not shown": "✗",
    "not used, but lit up": "!",
    "not used, not lit up": "○",
    "used, map not decided": "◐",
    "not used, map not decided": "◇",
    "use not decided": "~",
    NOT_KNOWN: "?",
}
ANY = "•"  # of a verdict that has no sign here, whose words stand beside it
PALE_SAYS = "Pale: smaller differences than could have been found, with 80 % power."
HOLLOW_SAYS = "Grey, hollow: not tested."
UNCORRECTED_SAYS = "Intervals are 95 % each, not corrected for the number of tests."


class Mark(NamedTuple):
    """Something to hold a value against, as what a map that knows nothing would have."""

    value: float
    name: str


@dataclass(frozen=True)
class Row:
    """A point with its interval, and what is said of it. `reach` is the size of difference that would have been found.

    `faded` rows were not tested.
    """

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    words: str = ""
    n: int | None = None
    reach: float | None = None
    marks: tuple[Mark, ...] = ()
    faded: bool = False


@dataclass(frozen=True)
class Forest:
    """Rows on one axis. `zero` is where there is no difference; None where values are no differences.

    `tests` is how many the p-values were corrected for, `note` what is not drawn, and `span` an axis that forests have
    in common, so that they can be compared by eye.
    """

    title: str
    axis: str
    rows: tuple[Row, ...]
    zero: float | None = None
    note: str = ""
    tests: int = 0
    span: tuple[float, float] | None = None


class Dot(NamedTuple):
    """A value at a dose; None where it is undefined."""

    x: float
    y: float | None
    low: float | None
    high: float | None
    n: int | None


class Line(NamedTuple):
    """One line of a panel; `place` picks its colour and dashes."""

    name: str
    dots: tuple[Dot, ...]
    place: int


class Flip(NamedTuple):
    """The dose at which the decision flips, or by which half have, lies between `low` and `high`, and is taken as `at`.

    None where that is not known, as of a `high` above the strongest dose.
    """

    at: float | None
    low: float | None
    high: float | None
    words: str


@dataclass(frozen=True)
class Lines:
    """Lines over a dose, with an interval as a band. `limits` are those that values can have, None where unknown.

    `ticks` are the names of the places 0, 1, ... where lines run over these.
    """

    title: str
    across: str
    axis: str
    lines: tuple[Line, ...]
    limits: tuple[float, float] | None
    flip: Flip | None = None
    ticks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Matrix:
    """A verdict of each row by each column, as a rule one of SIGNS."""

    title: str
    across: tuple[str, ...]
    down: tuple[str, ...]
    verdicts: tuple[tuple[str, ...], ...]
    words: tuple[tuple[str, ...], ...]  # the numbers behind each


Panel = Forest | Lines | Matrix


def in_words(panel: Panel) -> str:
    """What a panel shows, for those who do not see it."""
    if isinstance(panel, Matrix):
        said = [
            f"{row}: {', '.join(f'{verdict} by {method}' for method, verdict in zip(panel.across, found, strict=True))}"
            for row, found in zip(panel.down, panel.verdicts, strict=True)
        ]
        return f"{panel.title}. {'; '.join(said)}."
    if isinstance(panel, Lines):
        said = []
        for line in panel.lines:
            known = [dot for dot in line.dots if dot.y is not None]
            if known:
                first, last = (f"{number(dot.y or 0.0)} at {at(panel, dot)}" for dot in (known[0], known[-1]))
                said.append(f"{line.name or panel.axis} from {first} to {last}")
        flip = f" {panel.flip.words}." if panel.flip else ""
        return f"{panel.title}, by {panel.across}: {'; '.join(said) or 'undefined'}.{flip}"
    said = [f"{row.name} {interval(row)}{f', {row.words}' if row.words else ''}" for row in panel.rows]
    notes = "".join(f" {note}" for note in (panel.note, *footnotes([panel])) if note)
    return f"{panel.title}, {panel.axis}: {'; '.join(said)}.{notes}"


def footnotes(forests: Sequence[Forest]) -> list[str]:
    """What stands below forests once, since it holds for all of them."""
    rows = [row for forest in forests for row in forest.rows]
    said = {
        PALE_SAYS: any(row.reach is not None for row in rows),
        HOLLOW_SAYS: any(row.faded for row in rows),
        UNCORRECTED_SAYS: any(forest.tests > 1 for forest in forests),
    }
    return [note for note, holds in said.items() if holds]


def at(panel: Lines, dot: Dot) -> str:
    """A dose, or the place of that number, as text."""
    return panel.ticks[int(dot.x)] if panel.ticks else number(dot.x)


def span_of(forest: Forest) -> tuple[float, float]:
    """Where the axis of a forest begins and ends: around everything that is drawn on it."""
    if forest.span is not None:
        return forest.span
    known = [] if forest.zero is None else [forest.zero]
    for row in forest.rows:
        known += [one for one in (row.value, row.low, row.high) if one is not None]
        known += [mark.value for mark in row.marks]
        if forest.zero is not None and row.reach is not None:
            known += [forest.zero - row.reach, forest.zero + row.reach]
    low, high = (min(known), max(known)) if known else (0.0, 1.0)
    pad = 0.06 * (high - low) or max(0.5, 0.1 * abs(high))
    return low - pad, high + pad


def cut(name: object) -> str:
    """A name of a bearable length."""
    text = str(name)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def interval(row: Row | Dot) -> str:
    """A value with its interval and how many pictures it rests on, as text."""
    value = row.value if isinstance(row, Row) else row.y
    if value is None:
        return "undefined"
    ends = "" if row.low is None or row.high is None else f" ({number(row.low)} to {number(row.high)})"
    return f"{number(value)}{ends}{'' if row.n is None else f', n = {row.n}'}"


def row_of(name: str, line: Mapping[str, Any], column: str, **rest: Any) -> Row:
    """A row of a forest from one of a table: the value and the interval under one name."""
    return Row(name, line[column], line[f"{column}_low"], line[f"{column}_high"], **rest)


def dot_of(line: Mapping[str, Any], column: str, counted: str, x: float | None = None) -> Dot:
    place, n = line["dose"] if x is None else x, line.get(counted, line["n"])
    return Dot(place, line[column], line[f"{column}_low"], line[f"{column}_high"], n)


def p_said(line: Mapping[str, Any], column: str, tests: int, what: str = "difference", unit: str = " points") -> str:
    """What the corrected p of one of so many tests says, and what would have been found where nothing was."""
    value, low, high = (line[f"{column}{end}"] for end in ("", "_low", "_high"))
    p, found = line["p_adjusted"], line.get("detectable")
    if value is None or p is None:
        return untested(line, value)
    if p <= LEVEL:
        return of_tests(p, tests) + (f"; {line['note']}" if low is None and line.get("note") else "")
    none = f"no {what} could have been found with so few"
    least = none if found is None else f"could have found {found:.{2 if found < 100 else 3}g}{unit}"
    excluded = low is not None and high is not None and (low > 0 or high < 0)
    if excluded or (found is not None and abs(value) >= found):
        after = " after correction" if tests > 1 else ""
        return f"not told from chance{after}: {of_tests(p, tests)}; {least}"
    return none if found is None else f"no {what} found; {least}"


def untested(line: Mapping[str, Any], value: float | None) -> str:
    """Why nothing was tested, where the table says it."""
    if value is None:
        return str(line.get("note") or "undefined")
    return f"not tested: {line.get('note') or ''}".replace("not tested: not tested", "not tested").removesuffix(": ")


def of_tests(p: float, tests: int) -> str:
    """A corrected p, with the number of tests it was corrected for where that made a difference to it."""
    shown = p_words(p)
    return f"{shown} of {tests} tests" if tests > 1 and shown != "p = 1" else shown


def p_words(p: float) -> str:
    """A p-value with two digits, and as many more as tell it from LEVEL."""
    if p < 0.0001:
        return "p < 0.0001"
    rounded = (f"{p:.{digits}g}" for digits in range(2, 18))
    return f"p = {next((one for one in rounded if (float(one) <= LEVEL) == (p <= LEVEL)), p)}"


def tested(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [line for line in lines if line["p"] is not None]


def method_labels(finding: Finding) -> dict[str, str]:
    """What each method of a table is called on a screen; nothing where one is not known here."""
    if not all(method["name"] in METHODS for method in finding.methods):
        return {}
    return dict(zip(*row_names(finding.methods, METHODS), strict=True))
