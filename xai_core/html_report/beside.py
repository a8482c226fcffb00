"""What no manifest covers: the verdict of a gate and decisions, which live on beside a finished audit, and drift.

Each is read with the hash that it had, and said to be unsealed.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from xai_core.decisions import FILE as DECISIONS
from xai_core.decisions import Decision, Decisions, Kappa
from xai_core.errors import RecordError
from xai_core.finding_files import sentences_of, tables_of
from xai_core.html_report.blocks import (
    FEW_ROWS,
    MOST_ROWS,
    SHARE,
    Block,
    Grid,
    Head,
    Heading,
    Interval,
    Number,
    Points,
    Said,
    counted,
    entitled,
    grid_of,
    joined,
    told,
)
from xai_core.html_report.source import Source

GATE = "gate.md"
DRIFT = "drift.json"
_FLAGS = {None: "", True: "flagged", False: "not flagged"}
_CELL = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Part:
    """What such a file adds to the summary, to its section and to what was not tested."""

    summary: Sequence[Block] = ()
    blocks: Sequence[Block] = ()
    untested: Sequence[str] = ()


# ---- the gate --------------------------------------------------------------------------------------------------------


def gate(source: Source) -> Part:
    """The verdict of the policy that the run was last held against."""
    content = source.found(GATE)
    if content is None:
        return Part(
            untested=("Limits: the run was not held against a policy (gate), so nothing here is pass or fail.",)
        )
    lines = content.decode("utf-8", "replace").splitlines()
    verdict = next((_bare(line.strip("*")) for line in lines if line.startswith("**")), "It holds no verdict.")
    tables = [_cells(line) for line in lines if line.startswith("|")]
    heads, rows = (tables[0], tables[2:]) if len(tables) > 2 else ([], [])
    rows = [row for row in rows if len(row) == len(heads)]
    blocks: list[Block] = [
        Heading("Held against limits"),
        Said("The page that `gate` wrote beside the run. It is not sealed: whoever can write there can change it."),
        Points(tuple(_bare(line[2:]) for line in lines if line.startswith("- ")), (GATE,)),
    ]
    if rows:
        blocks.append(Grid(told("{verdict}", verdict=verdict), tuple(map(Head, heads)),
                           tuple(map(tuple, rows[:MOST_ROWS])), (GATE,), max(0, len(rows) - MOST_ROWS)))  # fmt: skip
    return Part((Said(told("Held against the limits of a policy: {verdict}", verdict=verdict), (GATE,)),), blocks)


def _cells(line: str) -> list[str]:
    """The cells of a row of a table in Markdown, whose signs are escaped."""
    return [_bare(part.strip()) for part in _CELL.split(line)[1:-1]]


def _bare(text: str) -> str:
    """Markdown as `safe` writes it, without its backslashes."""
    return re.sub(r"\\([\\`*_\[\]<>|])", r"\1", text)


# ---- decisions -------------------------------------------------------------------------------------------------------


def reviews(source: Source) -> Part:
    """What reviewers decided on the cases of a run, and how far they agree."""
    none = (Said("Nobody has decided anything on the pictures of this audit."),)
    if source.found(DECISIONS) is None:
        return Part(blocks=none, untested=("Review by people: no reviewer has decided on any case.",))
    book = Decisions(source.folder)
    try:
        latest, history = book.latest(), book.history()
    except RecordError as error:
        return Part(blocks=(Said(f"{DECISIONS} cannot be read: {error}", (), "alarm"),),
                    untested=("Review by people: what was decided cannot be read.",))  # fmt: skip
    if not latest:
        return Part(blocks=none, untested=("Review by people: no decision stands.",))
    names = sorted({one.reviewer for one in latest})
    pictures = len({one.picture for one in latest})
    summary = Said(
        told("{people} decided on {pictures}: {names}.", people=counted(len(names), "reviewer"),
             pictures=counted(pictures, "picture"), names=joined(names)), (DECISIONS,)
    )  # fmt: skip
    blocks = [summary, *_decided(latest, names), *_agreement(book, names), *_listed(latest, len(history))]
    alone = ("A second reviewer: one person alone decided, so how far people agree is not known.",)
    return Part((summary,), blocks, alone if len(names) == 1 else ())


def _decided(latest: Sequence[Decision], names: Sequence[str]) -> Iterator[Block]:
    rows = []
    for name in names:
        own = [one for one in latest if one.reviewer == name]
        reasons = Counter(one.words or "no reason" for one in own)
        said = ", ".join(f"{words}: {count}" for words, count in reasons.most_common())
        rows.append((name, Number(len(own)), Number(sum(bool(one.flag) for one in own)), said))
    heads = (Head("reviewer"), Head("pictures decided", True), Head("flagged", True), Head("reasons"))
    yield Grid("Who decided what", heads, tuple(rows), (DECISIONS,))


def _agreement(book: Decisions, names: Sequence[str]) -> Iterator[Block]:
    rows = [
        (first, second, "reason" if by == "reason" else "flag", *_agreed(book.kappa(first, second, by)))
        for first, second in itertools.combinations(names, 2)
        for by in ("reason", "flag")
    ]
    if not rows:
        yield Said("One reviewer alone decided: agreement between people is not known.")
        return
    heads = (
        Head("reviewer"), Head("reviewer"), Head("by"), Head("agree", True), Head("agree by chance", True),
        Head("Cohen's kappa", True), Head("95 % interval", True), Head("n", True),
    )  # fmt: skip
    yield Grid("How far reviewers agree", heads, tuple(rows), (DECISIONS,))


def _agreed(found: Kappa) -> tuple[Any, ...]:
    return (
        Number(found.observed, SHARE), Number(found.expected, SHARE), Number(found.kappa, why=found.why),
        Interval(found.low, found.high, why=found.why), Number(found.n),
    )  # fmt: skip


def _listed(latest: Sequence[Decision], rows_in_all: int) -> Iterator[Block]:
    rows = tuple(
        (one.file or one.picture[:12], one.reviewer, _FLAGS[one.flag], one.words, one.note, one.time)
        for one in latest[:MOST_ROWS]
    )  # fmt: skip
    heads = (Head("picture"), Head("reviewer"), Head("flag"), Head("reason"), Head("note"), Head("time"))
    yield Grid("The decisions that stand", heads, rows, (DECISIONS,), max(0, len(latest) - MOST_ROWS))
    yield Said(
        told("The file keeps all {count} decisions ever made, also those that were changed or taken back. It is not "
             "sealed.", count=Number(rows_in_all)), (DECISIONS,)
    )  # fmt: skip


# ---- drift -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Drifted:
    """A comparison with an earlier run: sentences and limits by model, the later weights of each, and its tables.

    `name` is what the report calls its folder, `file` its file.
    """

    name: str
    file: str
    models: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    weights: tuple[str, ...]
    grids: tuple[Grid, ...]


def drifted(content: bytes, name: str, file: str) -> Drifted | None:
    """What a file of `drift` holds, or None where it is no comparison of two runs."""
    try:
        said = json.loads(content)
        models = said["models"]
        return Drifted(
            name,
            file,
            tuple((sentences_of(one["sentences"]), sentences_of(one["limits"])) for one in models),
            tuple(str(one["weights_sha256"][-1]) for one in models),
            tuple(entitled(grid_of(one, (file,), FEW_ROWS), name) for one in tables_of(said["tables"]).values()),
        )
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError):
        return None


def drift(found: Sequence[Drifted]) -> Part:
    """How a run differs from earlier ones over the same pictures."""
    if not found:
        return Part(untested=("Drift: this audit was not compared with an earlier version of the models.",))
    blocks: list[Block] = []
    for one in found:
        blocks += [
            Heading(told("Compared with an earlier run, from {name}", name=one.name)),
            Said("Written by `drift`. It is not sealed: whoever can write there can change it.", (one.file,)),
        ]
        blocks += [Points((*sentences, *limits), (one.file,)) for sentences, limits in one.models]
        blocks += one.grids
    first = tuple(Said(sentences[0], (one.file,)) for one in found for sentences, _ in one.models if sentences)
    return Part(first, blocks)
