"""What of a finding is drawn.

panels(finding) -> Forest (rows of points with intervals), Lines (over a dose) or Matrix (of verdicts), in order
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xai_core.group_panels import group_panels
from xai_core.probe_panels import (
    NOT_KNOWN,
    Dot,
    Flip,
    Forest,
    Line,
    Lines,
    Mark,
    Matrix,
    Panel,
    cut,
    dot_of,
    interval,
    method_labels,
    of_tests,
    p_said,
    p_words,
    row_of,
    tested,
    untested,
)
from xai_core.records import Finding, Table
from xai_core.score_table import number
from xai_core.statistics import LEVEL

ALIKE = 1e-3  # lines no further apart are not told apart by eye


def panels(finding: Finding) -> list[Panel]:
    """What is drawn of a finding, in order; without a table that it needs, a panel is left out."""
    made = {"dose": _dose, "groups": group_panels, "shortcut": _shortcut, "background": _background}[finding.kind]
    return list(made(finding))


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
        dots = tuple(dot_of(line, column, counted) for line in once)
        if column == "flip_rate":  # at no dose nothing flips, whatever the pictures
            dots = tuple(dot if dot.x else dot._replace(low=None, high=None) for dot in dots)
        if any(dot.y is not None for dot in dots) and not (column == "flip_rate" and len(finding.pictures) == 1):
            words = table.words[column]
            yield Lines(words, table.words["dose"], words, (Line("", dots, 0),), limits, flip)
    column = "rank_correlation"
    named = method_labels(finding)
    drawn: list[Line] = []
    for method in dict.fromkeys(line["method"] for line in lines if line["method"]):
        dots = tuple(dot_of(line, column, "n_map") for line in lines if line["method"] == method)
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


# ---- shortcuts and background --------------------------------------------------------------------------------------


def _shortcut(finding: Finding) -> Iterator[Panel]:
    table = finding.tables["artefacts"]
    lines, threshold = table.lines(), finding.probe.get("smallest")
    tests = len(tested(lines))
    marks = () if threshold is None else (Mark(float(threshold), "smallest change that counts"),)
    rows = [
        row_of(
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
        return untested(line, None)
    said = {True: "used", False: "not used", None: "not decided"}[line["used"]]
    towards = f", towards {cut(line['towards'])}" if line["used"] and line["towards"] is not None else ""
    p = line["p_adjusted"]
    return f"{said}{towards}; {untested(line, line['change']) if p is None else of_tests(p, tests)}"


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
            row_of(
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
    tests = len(tested(lines))
    rows = [
        row_of(
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
