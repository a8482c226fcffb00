"""What of groups is drawn: differences in rates, shifts of maps and trends along a number, with what each group has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from xai_core.probe_panels import (
    Dot,
    Forest,
    Line,
    Lines,
    Panel,
    Row,
    cut,
    dot_of,
    method_labels,
    p_said,
    row_of,
    span_of,
    tested,
)
from xai_core.records import Finding, Table
from xai_core.score_table import number

MOST_ROWS = 40  # of a finding's forests together: of more, those with the smallest p are drawn


def group_panels(finding: Finding) -> Iterator[Panel]:
    """In order: differences first, then what each group has; along a number, trends first."""
    named = method_labels(finding)
    if "trends" in finding.tables:
        yield _trends(finding.tables["trends"], named)
        yield from _over_buckets(finding, named)
        return
    rates, shifts = (_lines_of(finding, name) for name in ("differences", "shifts"))
    families = [("Differences in rates", rates, len(tested(rates)))] if rates else []
    for method in dict.fromkeys(line["method"] for line in shifts):
        own = [line for line in shifts if line["method"] == method]
        families.append((f"Attention shifts by {named.get(method, method)}", own, len(tested(shifts))))
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
    reach = None if faded else line["detectable"]  # what a test would have found says nothing where none was made
    return row_of(name, line, column, words=said, n=line["n"], reach=reach, faded=faded)


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
    of_maps = [bool(line["method"]) for line in tested(table.lines())]
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
            dots = [dot_of(line, column, f"n_{column}", x) for x, line in enumerate(lines)]
            key = (column.removeprefix("mean_"), "")
            drawn.append(line_of(table.words[column], key, dots, len(drawn)))
    if drawn:
        yield Lines(table.title, across, table.title, tuple(drawn), _from_zero(drawn), ticks=buckets)
    regions = _lines_of(finding, "regions")
    for method in dict.fromkeys(line["method"] for line in regions):
        drawn = []
        for region in dict.fromkeys(line["region"] for line in regions if line["method"] == method):
            own = {line["group"]: line for line in regions if (line["method"], line["region"]) == (method, region)}
            dots = [dot_of(own[line["group"]], "share", "n", x) for x, line in enumerate(lines) if line["group"] in own]
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
            row_of(
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
