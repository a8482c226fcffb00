"""What of a finding is drawn, and in which words: `probe_figures` draws it for files, the page for pointing at.

    panels(finding) -> Forest (rows of points with intervals), Lines (over a dose) or Matrix (of verdicts), in order

Values are those of the tables, in the tables' units; what is None there is drawn nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from xai_core.methods import METHODS
from xai_core.records import Finding, Table
from xai_core.score_table import number, row_names
from xai_core.statistics import LEVEL

LONGEST = 40  # letters of a name: so that what stands behind it is seen too
MOST_ROWS = 40  # of a finding's forests together: of more, those with the smallest p are drawn
ALIKE = 1e-3  # lines no further apart are not told apart by eye
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
        if column == "flip_rate":  # at no dose nothing flips, whatever the pictures
            dots = tuple(dot if dot.x else dot._replace(low=None, high=None) for dot in dots)
        if any(dot.y is not None for dot in dots) and not (column == "flip_rate" and len(finding.pictures) == 1):
            words = table.words[column]
            yield Lines(words, table.words["dose"], words, (Line("", dots, 0),), limits, flip)
    column = "rank_correlation"
    named = method_labels(finding)
    drawn: list[Line] = []
    for method in dict.fromkeys(line["method"] for line in lines if line["method"]):
        dots = tuple(_dot(line, column, "n_map") for line in lines if line["method"] == method)
        twin = next((line.name for line in drawn if _is_alike(line.dots, dots)), "")
        name = f"{named.get(method, method)}{f': the same curve as {twin}' * bool(twin)}"
        drawn.append(Line(name, dots, len(drawn) + 1))
    if drawn:
        below = any(dot.y is not None and min(dot.y, dot.low or 0.0) < 0 for line in drawn for dot in line.dots)
        limits = (-1.0 if below else 0.0, 1.0)
        yield Lines(table.words[column], table.words["dose"], "Rank correlation", tuple(drawn), limits, flip)


def _is_alike(one: Sequence[Dot], other: Sequence[Dot]) -> bool:
    """Whether one line hides the other."""
    if [(dot.x, dot.y is None) for dot in one] != [(dot.x, dot.y is None) for dot in other]:
        return False
    return all(abs((a.y or 0.0) - (b.y or 0.0)) <= ALIKE for a, b in zip(one, other, strict=True))


def _dot(line: Mapping[str, Any], column: str, counted: str, x: float | None = None) -> Dot:
    place, n = line["dose"] if x is None else x, line.get(counted, line["n"])
    return Dot(place, line[column], line[f"{column}_low"], line[f"{column}_high"], n)


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
    if "trends" in finding.tables:
        yield _trends(finding.tables["trends"], named)
        yield from _over_buckets(finding, named)
        return
    rates, shifts = (_lines_of(finding, name) for name in ("differences", "shifts"))
    families = [("Differences in rates", rates, len(_tested(rates)))] if rates else []
    for method in dict.fromkeys(line["method"] for line in shifts):
        own = [line for line in shifts if line["method"] == method]
        families.append((f"Attention shifts by {named.get(method, method)}", own, len(_tested(shifts))))
    allowed = _shared_out([len(lines) for _, lines, _ in families])
    forests = [
        _differences(finding, *family, most=most, maps=family[1] is not rates)
        for family, most in zip(families, allowed, strict=True)
    ]
    yield from forests[: bool(rates)]
    yield from _on_one_axis(forests[bool(rates) :])
    yield from _rates(finding)


def _lines_of(finding: Finding, name: str) -> list[dict[str, Any]]:
    return finding.tables[name].lines() if name in finding.tables else []


def _on_one_axis(forests: Sequence[Forest]) -> list[Forest]:
    if not forests:
        return []
    lows, highs = zip(*map(span_of, forests), strict=True)
    return [replace(forest, span=(min(lows), max(highs))) for forest in forests]


def _shared_out(sizes: Sequence[int]) -> list[int]:
    """How many rows each forest draws, MOST_ROWS in all: what small ones leave, larger ones take."""
    allowed, left = [0] * len(sizes), MOST_ROWS
    for place, i in enumerate(sorted(range(len(sizes)), key=sizes.__getitem__)):
        allowed[i] = min(sizes[i], max(1, left // (len(sizes) - place)))
        left -= allowed[i]
    return allowed


def _differences(
    finding: Finding, title: str, lines: Sequence[Mapping[str, Any]], tests: int, *, most: int, maps: bool
) -> Forest:
    """Of rates by group, or of one method's shares of attribution by group and region."""
    shown, note = _kept(lines, most)
    rows = [
        _compared(
            f"{cut(line['group'])} · {cut(line['region'] if maps else _rate(finding, line['rate']))}",
            line,
            "difference",
            tests,
        )
        for line in shown
    ]
    axis = finding.tables["shifts" if maps else "differences"].words["difference"]
    return Forest(f"{title}, against {_against(finding, lines)}", axis, tuple(rows), 0.0, note, tests)


def _compared(name: str, line: Mapping[str, Any], column: str, tests: int, *words: str) -> Row:
    said = p_said(line, column, tests, *words)
    faded = line["p_adjusted"] is None
    return _row(name, line, column, words=said, n=line["n"], reach=line["detectable"], faded=faded)


def _trends(table: Table, named: Mapping[str, str]) -> Forest:
    """Of rates and, per method and region, of shares of attribution."""
    shown, note = _kept(table.lines(), MOST_ROWS)
    tests = _family_sizes(table)
    rows = [
        _compared(_measure(line, named), line, "correlation", tests[bool(line["method"])], "trend", "")
        for line in shown
    ]
    return Forest(table.title, table.words["correlation"], tuple(rows), 0.0, note, max(tests))


def _family_sizes(table: Table) -> tuple[int, int]:
    """How many trends of predictions and how many of maps were tested: each is corrected for its own."""
    of_maps = [bool(line["method"]) for line in _tested(table.lines())]
    return of_maps.count(False), of_maps.count(True)


def _measure(line: Mapping[str, Any], named: Mapping[str, str]) -> str:
    where = " · ".join(filter(None, [named.get(line["method"], line["method"]), line["region"]]))
    return where or str(line["measure"]).replace("_", " ").capitalize()


def _over_buckets(finding: Finding, named: Mapping[str, str]) -> Iterator[Lines]:
    """The mean of each bucket with its interval, and the trend in words: of rates, then of the maps of each method."""
    table, trends = finding.tables["rates"], finding.tables["trends"]
    lines, tests = table.lines(), _family_sizes(trends)
    buckets = tuple(cut(line["group"]) for line in lines)
    said = {
        (line["measure"] if not line["method"] else line["region"], line["method"]): _trend_said(
            line, tests[bool(line["method"])]
        )
        for line in trends.lines()
    }
    across = table.words["group"]

    def line_of(name: str, key: tuple[str, str], dots: Sequence[Dot], place: int) -> Line:
        return Line(f"{name}{f': {said[key]}' if key in said else ''}", tuple(dots), place)

    drawn: list[Line] = []
    for column in table.words:
        if f"{column}_low" in table.words and any(line[column] is not None for line in lines):
            dots = [_dot(line, column, f"n_{column}", x) for x, line in enumerate(lines)]
            key = (column.removeprefix("mean_"), "")
            drawn.append(line_of(table.words[column], key, dots, len(drawn)))
    if drawn:
        yield Lines(table.title, across, table.title, tuple(drawn), _from_zero(drawn), ticks=buckets)
    regions = _lines_of(finding, "regions")
    for method in dict.fromkeys(line["method"] for line in regions):
        drawn = []
        for region in dict.fromkeys(line["region"] for line in regions if line["method"] == method):
            own = {line["group"]: line for line in regions if (line["method"], line["region"]) == (method, region)}
            dots = [_dot(own[line["group"]], "share", "n", x) for x, line in enumerate(lines) if line["group"] in own]
            drawn.append(line_of(cut(region), (region, method), dots, len(drawn) + 1))
        words = finding.tables["regions"].words["share"]
        title = f"{words} by {named.get(method, method)}"
        yield Lines(title, across, words, tuple(drawn), _from_zero(drawn), ticks=buckets)


def _from_zero(lines: Sequence[Line]) -> tuple[float, float]:
    ends = [dot.high if dot.high is not None else dot.y for line in lines for dot in line.dots]
    return 0.0, max((end for end in ends if end is not None), default=0.0) or 1.0


def _trend_said(line: Mapping[str, Any], tests: int) -> str:
    value = line["correlation"]
    rho = "" if value is None else f"rank correlation {number(round(value, 2))}; "
    return f"{rho}{p_said(line, 'correlation', tests, 'trend', '')}"


def p_said(line: Mapping[str, Any], column: str, tests: int, what: str = "difference", unit: str = " points") -> str:
    """What the corrected p of one of so many tests says, and what would have been found where nothing was."""
    value, low, high = (line[f"{column}{end}"] for end in ("", "_low", "_high"))
    p, found = line["p_adjusted"], line.get("detectable")
    if value is None or p is None:
        return _untested(line, value)
    if p <= LEVEL:
        return _of_tests(p, tests)
    none = f"no {what} could have been found with so few"
    least = none if found is None else f"could have found {found:.{2 if found < 100 else 3}g}{unit}"
    excluded = low is not None and high is not None and (low > 0 or high < 0)
    if excluded or (found is not None and abs(value) >= found):
        after = " after correction" if tests > 1 else ""
        return f"not told from chance{after}: {_of_tests(p, tests)}; {least}"
    return none if found is None else f"no {what} found; {least}"


def _untested(line: Mapping[str, Any], value: float | None) -> str:
    """Why nothing was tested, where the table says it."""
    if value is None:
        return str(line.get("note") or "undefined")
    return f"not tested: {line.get('note') or ''}".replace("not tested: not tested", "not tested").removesuffix(": ")


def _of_tests(p: float, tests: int) -> str:
    """A corrected p, with the number of tests it was corrected for where that made a difference to it."""
    shown = p_words(p)
    return f"{shown} of {tests} tests" if tests > 1 and shown != "p = 1" else shown


def p_words(p: float) -> str:
    """A p-value with two digits, and as many more as tell it from LEVEL."""
    if p < 0.0001:
        return "p < 0.0001"
    rounded = (f"{p:.{digits}g}" for digits in range(2, 18))
    return f"p = {next((one for one in rounded if (float(one) <= LEVEL) == (p <= LEVEL)), p)}"


def _kept(lines: Sequence[Mapping[str, Any]], most: int) -> tuple[list[Mapping[str, Any]], str]:
    """Not more rows than a figure holds, in their order, and what is said of the others."""
    if len(lines) <= most:
        return list(lines), ""
    order = sorted(range(len(lines)), key=lambda i: (lines[i]["p"] is None, lines[i]["p"] or 0.0, i))[:most]
    left = len(lines) - most
    note = f"Drawn: the {most} rows with the smallest p. {left} more are in the table."
    return [lines[i] for i in sorted(order)], note


def _rates(finding: Finding) -> Iterator[Forest]:
    """What each group has of every rate that comes with an interval."""
    table = finding.tables["rates"]
    lines = table.lines()
    columns = [
        column
        for column in table.words
        if f"{column}_low" in table.words and any(line[column] is not None for line in lines)
    ]
    for column, most in zip(columns, _shared_out([len(lines)] * len(columns)), strict=True):
        rows = [
            _row(
                cut(line["group"]),
                line,
                column,
                words=f"{'undefined, ' * (line[column] is None)}n = {(n := line.get(f'n_{column}', line['n']))}",
                n=n,
                faded=bool(line["small"]),
            )
            for line in lines[:most]
        ]
        left = len(lines) - len(rows)
        note = f"Drawn: the first {most} groups. {left} more are in the table." if left else ""
        yield Forest(f"{table.words[column]} of each group", table.words[column], tuple(rows), note=note)


def _rate(finding: Finding, key: str) -> str:
    """A rate as it stands behind a group."""
    words = str(finding.tables["rates"].words.get(key, key)).removesuffix(" (%)")
    return words[:1].lower() + words[1:]


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
            faded=line["p_adjusted"] is None,
        )
        for line in lines
    ]
    yield Forest(table.title, table.words["change"], tuple(rows), 0.0, tests=tests)
    if "maps" in finding.tables and finding.tables["maps"].rows:
        yield _matrix(finding, [str(line["artefact"]) for line in lines])


def _used(line: Mapping[str, Any], tests: int) -> str:
    """Whether the model uses an artefact, and how sure that is."""
    if line["change"] is None:
        return _untested(line, None)
    said = {True: "used", False: "not used", None: "not decided"}[line["used"]]
    towards = f", towards {cut(line['towards'])}" if line["used"] and line["towards"] is not None else ""
    p = line["p_adjusted"]
    return f"{said}{towards}; {_untested(line, line['change']) if p is None else _of_tests(p, tests)}"


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
    return cut(line["verdict"]) if line and line["verdict"] else NOT_KNOWN


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
            faded=line["p_adjusted"] is None,
            marks=tuple(Mark(line[null], table.words[null]) for null in ("null", "shifted") if line[null] is not None),
        )
        for line in lines
    ]
    if rows:
        yield Forest(table.title, table.words["share"], tuple(rows), tests=tests)


def _beside_null(line: Mapping[str, Any], tests: int) -> str:
    said = p_said(line, "difference", tests)
    if line["difference"] is None or line["p_adjusted"] is None or line["p_adjusted"] > LEVEL:
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
