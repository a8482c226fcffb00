"""What of a finding is drawn, and in which words: `probe_figures` draws it for files, the page for pointing at.

    panels(finding) -> Forest (rows of points with intervals), Lines (over a dose) or Matrix (of verdicts), in order

Values are those of the tables, in the tables' units; what is None there is drawn nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from xai_core.methods import METHODS
from xai_core.records import Finding, Table
from xai_core.score_table import number, row_names
from xai_core.statistics import CONFIDENCE

LEVEL = 1 - CONFIDENCE
LONGEST = 40  # letters of a name: so that what stands behind it is seen too
MOST_ROWS = 40  # of a forest: of more, those with the smallest p are drawn
NOT_KNOWN = "cannot be shown"
# Verdicts on a map, each with the sign that tells it without its colour.
SIGNS: Mapping[str, str] = {
    "used and shown": "✓",
    "used, not shown": "✗",
    "not used, but lit up": "!",
    "not used, not lit up": "○",
    "use not decided": "~",
    NOT_KNOWN: "?",
}


class Mark(NamedTuple):
    """Something to hold a value against, as what a map that knows nothing would have."""

    value: float
    name: str


@dataclass(frozen=True)
class Row:
    """A point with its interval, and what is said of it. `reach` is the size of difference that would have been found.

    `faded` rows are of too few pictures to be tested.
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
    """Rows on one axis. `zero` is where there is no difference; None where values are no differences."""

    title: str
    axis: str
    rows: tuple[Row, ...]
    zero: float | None = None
    note: str = ""


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
    """Lines over a dose, with an interval as a band. `limits` are those that values can have, None where unknown."""

    title: str
    across: str
    axis: str
    lines: tuple[Line, ...]
    limits: tuple[float, float] | None
    flip: Flip | None = None


@dataclass(frozen=True)
class Matrix:
    """A verdict, one of SIGNS, of each row by each column."""

    title: str
    across: tuple[str, ...]
    down: tuple[str, ...]
    verdicts: tuple[tuple[str, ...], ...]
    words: tuple[tuple[str, ...], ...]  # the numbers behind each


Panel = Forest | Lines | Matrix


def panels(finding: Finding) -> list[Panel]:
    """What is drawn of a finding, in order; without a table that it needs, a panel is left out."""
    made = {"dose": _dose, "groups": _groups, "shortcut": _shortcut, "background": _background}[finding.kind]
    return list(made(finding))


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
                first, last = (f"{number(dot.y or 0.0)} at {number(dot.x)}" for dot in (known[0], known[-1]))
                said.append(f"{line.name or panel.axis} from {first} to {last}")
        flip = f" {panel.flip.words}." if panel.flip else ""
        return f"{panel.title}, by {panel.across}: {'; '.join(said) or 'undefined'}.{flip}"
    said = [f"{row.name} {interval(row)}{f', {row.words}' if row.words else ''}" for row in panel.rows]
    return f"{panel.title}, {panel.axis}: {'; '.join(said)}."


def span_of(forest: Forest) -> tuple[float, float]:
    """Where the axis of a forest begins and ends: around everything that is drawn on it."""
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


def _row(name: str, line: Mapping[str, Any], column: str, **rest: Any) -> Row:
    """A row of a forest from one of a table: the value and the interval under one name."""
    return Row(name, line[column], line[f"{column}_low"], line[f"{column}_high"], **rest)


# ---- a dose ------------------------------------------------------------------------------------------------------


def _dose(finding: Finding) -> Iterator[Panel]:
    table = finding.tables["doses"]
    lines = sorted(table.lines(), key=lambda line: abs(line["dose"]))
    once = list({line["dose"]: line for line in lines}.values())
    flip = _flip(finding)
    values = [line["probability"] for line in once if line["probability"] is not None]
    share = all(0 <= value <= 1 for value in values)
    for column, counted, limits in (
        ("probability", "n", (0.0, 1.0) if share else None),
        ("flip_rate", "n_flip", (0.0, 1.0)),
    ):
        dots = tuple(_dot(line, column, counted) for line in once)
        if any(dot.y is not None for dot in dots) and not (column == "flip_rate" and len(finding.pictures) == 1):
            words = table.words[column]
            yield Lines(words, table.words["dose"], words, (Line("", dots, 0),), limits, flip)
    column = "rank_correlation"
    named = method_labels(finding)
    drawn: list[Line] = []
    for method in dict.fromkeys(line["method"] for line in lines if line["method"]):
        dots = tuple(_dot(line, column, "n_map") for line in lines if line["method"] == method)
        drawn.append(Line(named.get(method, method), dots, len(drawn) + 1))
    if drawn:
        below = any(dot.y is not None and min(dot.y, dot.low or 0.0) < 0 for line in drawn for dot in line.dots)
        limits = (-1.0 if below else 0.0, 1.0)
        yield Lines(table.words[column], table.words["dose"], "Rank correlation", tuple(drawn), limits, flip)


def _dot(line: Mapping[str, Any], column: str, counted: str) -> Dot:
    return Dot(line["dose"], line[column], line[f"{column}_low"], line[f"{column}_high"], line[counted])


def _flip(finding: Finding) -> Flip | None:
    """Of one picture where its decision flips; of several, the dose by which half have flipped."""
    if len(finding.pictures) == 1:
        for line in finding.tables["flips"].lines():
            if line["flip_high"] is not None:
                low, high = line["flip_low"], line["flip_high"]
                ends = f"between {number(low)} and {number(high)}"
                return Flip(None, low, high, f"The decision flips to {cut(line['flipped_to'])} {ends}")
        return None
    for line in finding.tables["half"].lines():
        if line["dose"] is not None:
            words = f"Half of the decisions have flipped by {number(line['dose'])}"
            return Flip(line["dose"], line["dose_low"], line["dose_high"], words)
    return None


# ---- groups ------------------------------------------------------------------------------------------------------


def _groups(finding: Finding) -> Iterator[Panel]:
    named = method_labels(finding)
    small = {line["group"]: line["n"] for line in finding.tables["rates"].lines() if line["small"]}
    for name, split in (("differences", "rate"), ("shifts", "method")):
        table = finding.tables.get(name)
        lines = table.lines() if table else []
        for one in dict.fromkeys(line[split] for line in lines):
            assert table is not None
            own = [line for line in lines if line[split] == one]
            if split == "rate":
                what, untested = _rate(finding, one), {**small}
            else:
                what, untested = f"Attention shift by {named.get(one, one)}", {}
            for line in own:
                untested.pop(line["group"], None)
            rows, note = _differences(own, len(_tested(lines)), small)
            rows += [Row(cut(group), None, words=_too_few(n), n=n, faded=True) for group, n in untested.items()]
            yield Forest(f"{what}: against {_against(finding, own)}", table.words["difference"], tuple(rows), 0.0, note)
    if "trends" in finding.tables:
        yield _trends(finding.tables["trends"], named)
    yield from _rates(finding)


def _differences(lines: Sequence[Mapping[str, Any]], tests: int, small: Mapping[str, int]) -> tuple[list[Row], str]:
    shown, note = _kept(lines)
    rows = [
        _row(
            " · ".join(cut(line[part]) for part in ("group", "region") if line.get(part) is not None),
            line,
            "difference",
            words=_too_few(small[line["group"]]) if line["group"] in small else p_said(line["difference"], line, tests),
            n=line["n"],
            reach=line["detectable"],
            faded=line["group"] in small,
        )
        for line in shown
    ]
    return rows, note


def _too_few(n: int) -> str:
    return f"too few to test, n = {n}"


def _trends(table: Table, named: Mapping[str, str]) -> Forest:
    """Of rates and, per method and region, of shares of attribution."""
    shown, note = _kept(table.lines())
    tests = len(_tested(table.lines()))
    rows = [
        _row(
            " · ".join(filter(None, [named.get(line["method"], line["method"]), line["region"]]))
            or str(line["measure"]).replace("_", " ").capitalize(),
            line,
            "correlation",
            words=p_said(line["correlation"], line, tests, "trend", ""),
            n=line["n"],
            reach=line["detectable"],
        )
        for line in shown
    ]
    return Forest(table.title, table.words["correlation"], tuple(rows), 0.0, note)


def p_said(
    value: float | None, line: Mapping[str, Any], tests: int, what: str = "difference", unit: str = " points"
) -> str:
    """What the corrected p of one of so many tests says, and what would have been found where nothing was."""
    p, found = line["p_adjusted"], line.get("detectable")
    if value is None:
        return "undefined"
    if p is None:
        return "not tested"
    said = f"{p_words(p)}{f' of {tests} tests' if tests > 1 else ''}"
    if p <= LEVEL:
        return said
    if found is None:
        return f"no {what} found"
    if abs(value) >= found:
        return f"not told from chance, {said}"
    return f"no {what} found; could have found {found:.{2 if found < 100 else 3}g}{unit}"


def p_words(p: float) -> str:
    """A p-value with the digits it can have."""
    return "p < 0.0001" if p < 0.0001 else f"p = {p:.1g}" if p < 0.1 else f"p = {p:.2f}"


def _kept(lines: Sequence[Mapping[str, Any]]) -> tuple[list[Mapping[str, Any]], str]:
    """Not more rows than a figure holds, in their order, and what is said of the others."""
    if len(lines) <= MOST_ROWS:
        return list(lines), ""
    order = sorted(range(len(lines)), key=lambda i: (lines[i]["p"] is None, lines[i]["p"] or 0.0, i))[:MOST_ROWS]
    note = f"The {MOST_ROWS} of {len(lines)} rows with the smallest p; the table has all."
    return [lines[i] for i in sorted(order)], note


def _rates(finding: Finding) -> Iterator[Forest]:
    """What each group has of every rate that comes with an interval."""
    table = finding.tables["rates"]
    for column in table.words:
        if f"{column}_low" in table.words:
            rows = [
                _row(
                    cut(line["group"]),
                    line,
                    column,
                    words=f"{'undefined, ' * (line[column] is None)}n = {(n := line.get(f'n_{column}', line['n']))}",
                    n=n,
                    faded=bool(line["small"]),
                )
                for line in table.lines()
            ]
            if any(row.value is not None for row in rows):
                yield Forest(f"{table.words[column]} of each group", table.words[column], tuple(rows))


def _rate(finding: Finding, column: str) -> str:
    return finding.tables["rates"].words.get(column, column)


def _against(finding: Finding, lines: Sequence[Mapping[str, Any]]) -> str:
    """The reference with its n."""
    sizes = {line["group"]: line["n"] for line in finding.tables["rates"].lines()}
    references = dict.fromkeys(line["reference"] for line in lines)
    return ", ".join(f"{cut(one)} (n = {sizes[one]})" if one in sizes else cut(one) for one in references)


def _tested(lines: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [line for line in lines if line["p"] is not None]


# ---- shortcuts and background --------------------------------------------------------------------------------------


def _shortcut(finding: Finding) -> Iterator[Panel]:
    table = finding.tables["artefacts"]
    lines, threshold = table.lines(), finding.probe.get("smallest")
    tests = len(_tested(lines))
    marks = () if threshold is None else (Mark(float(threshold), "smallest change that counts"),)
    rows = [
        _row(
            cut(line["artefact"]),
            line,
            "change",
            words=_used(line, tests),
            n=line["n"],
            marks=marks,
        )
        for line in lines
    ]
    yield Forest(table.title, table.words["change"], tuple(rows), 0.0)
    if "maps" in finding.tables and finding.tables["maps"].rows:
        yield _matrix(finding, [str(line["artefact"]) for line in lines])


def _used(line: Mapping[str, Any], tests: int) -> str:
    """Whether the model uses an artefact, and how sure that is."""
    if line["change"] is None:
        return "undefined"
    said = {True: "used", False: "not used", None: "not decided"}[line["used"]]
    towards = f", towards {cut(line['towards'])}" if line["used"] and line["towards"] is not None else ""
    p = "" if line["p_adjusted"] is None else f"; {p_words(line['p_adjusted'])}{f' of {tests} tests' * (tests > 1)}"
    return f"{said}{towards}{p}"


def _matrix(finding: Finding, artefacts: Sequence[str]) -> Matrix:
    table, named = finding.tables["maps"], method_labels(finding)
    cells = {(str(line["artefact"]), line["method"]): line for line in table.lines()}
    methods = list(dict.fromkeys(method for _, method in cells))
    return Matrix(
        table.title,
        tuple(named.get(method, method) for method in methods),
        tuple(map(cut, artefacts)),
        tuple(tuple(_verdict(cells.get((one, method))) for method in methods) for one in artefacts),
        tuple(tuple(_on_map(table, cells.get((one, method))) for method in methods) for one in artefacts),
    )


def _verdict(line: Mapping[str, Any] | None) -> str:
    return str(line["verdict"]) if line and line["verdict"] in SIGNS else NOT_KNOWN


def _on_map(table: Table, line: Mapping[str, Any] | None) -> str:
    if line is None or line["difference"] is None:
        return "undefined"
    dot = Dot(0, line["difference"], line["difference_low"], line["difference_high"], line.get("n"))
    p = "" if line["p_adjusted"] is None else f"; {p_words(line['p_adjusted'])}"
    return f"{table.words['difference']}: {interval(dot)}{p}"


def _background(finding: Finding) -> Iterator[Panel]:
    if "prediction" in finding.tables:
        table = finding.tables["prediction"]
        changes = [
            _row(
                f"{cut(line['painted'])}, painted over",
                line,
                "change",
                words=f"n = {line['n']}",
                n=line["n"],
            )
            for line in table.lines()
        ]
        if any(row.value is not None for row in changes):
            yield Forest(table.title, table.words["change"], tuple(changes), 0.0)
    table, named = finding.tables["shares"], method_labels(finding)
    lines = table.lines()
    tests = len(_tested(lines))
    rows = [
        _row(
            f"{cut(named.get(line['method'], line['method']))} · {line['region']}",
            line,
            "share",
            words=_beside_null(line, tests),
            n=line["n"],
            marks=tuple(Mark(line[null], table.words[null]) for null in ("null", "shifted") if line[null] is not None),
        )
        for line in lines
    ]
    if rows:
        yield Forest(table.title, table.words["share"], tuple(rows))


def _beside_null(line: Mapping[str, Any], tests: int) -> str:
    said = p_said(line["difference"], line, tests)
    if not said.startswith("p"):
        return said
    return f"{number(abs(line['difference']))} points {'more' if line['difference'] > 0 else 'less'}, {said}"


def method_labels(finding: Finding) -> dict[str, str]:
    """What each method of a table is called: tables say its key, and its place where several have the same."""
    keys = [str(method["name"]) for method in finding.methods]
    known = all(key in METHODS for key in keys)
    labels = row_names(finding.methods, METHODS)[1] if known else keys
    return {
        key if keys.count(key) == 1 else f"{key} {place}": label
        for place, (key, label) in enumerate(zip(keys, labels, strict=True), 1)
    }
