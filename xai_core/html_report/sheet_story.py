"""What a sheet tells: the scores of maps, or what reviewers decided; on a page of its own, or beside an audit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xai_core.html_report.beside import Part
from xai_core.html_report.blocks import (
    FEW_ROWS,
    Block,
    Facts,
    Heading,
    Said,
    Sources,
    counted,
    entitled,
    grid_of,
    told,
)
from xai_core.html_report.companions import Companion, asked_of, models_of
from xai_core.html_report.rankings import Line, disagreements
from xai_core.html_report.source import Source
from xai_core.html_report.story import (
    ALWAYS_OPEN,
    FROM,
    NO_METRIC,
    NO_PROBE,
    READ_ON,
    Story,
    about,
    card,
    known_of,
    methods_left,
    metrics_left,
    noted,
    notices,
    points,
    probes_left,
)
from xai_core.records import Sheet
from xai_core.score_summary import NOT_SAID
from xai_core.seal import MANIFEST

SHEET = "sheet.json"
AGGREGATE = "aggregate"  # the table of a score sheet that holds the means
ORDERED = ("method", "family", "metric", "mean", "better", "rank")  # the columns of it that say who is first


def told_by_sheet(source: Source, sheet: Sheet) -> Story:
    """The story of tables."""
    scores, models = sheet.kind == "scores", models_of(sheet)
    grids = [grid_of(table, _at(source, name)) for name, table in sheet.tables.items()]
    title = str(sheet.about.get("title") or ("Scores of maps" if scores else "Decisions of reviewers"))
    tried = methods_left(asked_of(sheet, "methods")), metrics_left(asked_of(sheet, "metrics"))
    here = "These are tables of {what}: see the section {section}."
    sections: dict[str, Sequence[Block]] = {
        "summary": [*notices(models), *points(sheet.sentences, FROM), *points((READ_ON,))],
        "asked": [*_sheet_asked(sheet)],
        "results": grids if scores else [Said(here.format(what="decisions", section="Decisions of reviewers"))],
        "evidence": [Said("Verdicts, where maps were weighed, stand in the tables under Results." if scores else
                          "Decisions hold no verdicts on maps.")],
        "probes": [Said(NO_PROBE)],
        "decisions": [*noted(sheet)] if scores else [*grids, *noted(sheet)],
        "disagreements": [*disagreed(source, sheet, ORDERED_BY)] if scores else [Said(NO_METRIC)],
        "untested": [*points((
            *(tried if scores else ()), probes_left(()), "Anything that is in no table of this record.", *ALWAYS_OPEN,
        ))],
        "card": [block for one in models for block in card(one, (), (), FROM)]
                or [Said("The record names no model.")],
    }  # fmt: skip
    known = known_of(sheet, [str(one.get("name", "unnamed")) for one in models])
    what = told("{kind}: {tables}", kind="Scores" if scores else "Decisions", tables=counted(len(grids), "table"))
    return Story(told("{title}", title=title), what, sections, known)


ORDERED_BY = "Pairs of methods that two metrics order the opposite way"


def disagreed(source: Source, sheet: Sheet, title: str) -> Iterator[Block]:
    """Where the metrics of a score table disagree about its methods."""
    table = sheet.tables.get(AGGREGATE)
    if table is None or not set(ORDERED) <= set(table.words):
        yield Said("This record holds no means by which its metrics could be held against each other.")
        return
    lines: Sequence[Line] = table.lines()
    yield from disagreements(title, lines, _at(source, AGGREGATE))
    yield Heading("What these numbers do not say")
    yield from points(NOT_SAID)


def _at(source: Source, table: str) -> Sources:
    return source.names(SHEET, f"{table}.csv")


def _sheet_asked(sheet: Sheet) -> Iterator[Block]:
    rows = [(str(key), _spelled(value)) for key, value in sheet.about.items()]
    yield Facts((*rows, *about(sheet)), FROM)


def _spelled(value: Any) -> str:
    """A plain value of any depth in one line."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_spelled(one)}" for key, one in value.items() if one not in (None, ""))
    if isinstance(value, list | tuple):
        return ", ".join(map(_spelled, value))
    return str(value)


# ---- beside an audit -------------------------------------------------------------------------------------------------


def decided(sealed: Sequence[Companion[Sheet]], live: Part) -> Part:
    """Decisions that were sealed, before those that stand beside the run now."""
    if not sealed:
        return live
    blocks: list[Block] = [block for one in sealed for block in _in_short(one, "Sealed decisions")]
    if live.summary:
        blocks += [Heading("Decisions as they stand now, which no manifest covers"), *live.blocks]
    people = {str(name) for one in sealed for name in one.record.about.get("reviewers") or ()}
    alone = ("A second reviewer: one person alone decided, so how far people agree is not known.",)
    return Part([*_first(sealed, "Sealed decisions")], blocks, alone if len(people) < 2 else ())


def scored(found: Sequence[Companion[Sheet]]) -> Part:
    """Score tables of the models of an audit."""
    blocks = [block for one in found for block in _in_short(one, "Score table", (AGGREGATE,))]
    return Part([*_first(found, "Score table")], blocks)


def _first(found: Sequence[Companion[Sheet]], what: str) -> Iterator[Block]:
    for one in found:
        for sentence in one.record.sentences[:1]:
            words = told("{what} (record {name}): {sentence}", what=what, name=one.name, sentence=sentence)
            yield Said(words, one.source.names(MANIFEST))


def _in_short(one: Companion[Sheet], what: str, tables: Sequence[str] = ()) -> Iterator[Block]:
    """Its sentences, and its tables, or some of them."""
    yield Heading(told("{what}, from the record {name}", what=what, name=one.name))
    yield from points(one.record.sentences, one.source.names(MANIFEST))
    for name, table in one.record.tables.items():
        if name in (tables or one.record.tables):
            yield entitled(grid_of(table, _at(one.source, name), FEW_ROWS), one.name)
    yield Facts((("Record", one.name), *about(one.record)), one.source.names(MANIFEST))
