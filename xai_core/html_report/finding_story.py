"""What a finding tells: one probe, asked of one model; on a page of its own, or beside an audit of that model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from typing import Any

from xai_core.finding_files import FINDING
from xai_core.html_report.beside import Part
from xai_core.html_report.blocks import (
    FEW_ROWS,
    MOST_ROWS,
    Block,
    Facts,
    Figure,
    Grid,
    Heading,
    Number,
    Said,
    counted,
    entitled,
    grid_of,
    joined,
    named,
    told,
)
from xai_core.html_report.companions import Companion
from xai_core.html_report.source import Source
from xai_core.html_report.story import (
    ALWAYS_OPEN,
    FROM,
    NO_METRIC,
    NOT_WEIGHED,
    READ_ON,
    Story,
    about,
    card,
    is_untrained,
    known_of,
    methods_left,
    metrics_left,
    noted,
    notices,
    points,
    probes_left,
    settings_of,
    short,
    small,
)
from xai_core.methods import METHODS
from xai_core.probes import PROBES
from xai_core.records import Finding
from xai_core.seal import MANIFEST

PREDICTED = "of each picture, the class that the model predicts on the original"
NONE_NAMED = (
    "No probe was named with this audit, so nothing in this report says what the models lean on when pictures are "
    "changed. Name what probes found of them: report RUN --with FINDING."
)


def told_by_finding(source: Source, finding: Finding) -> Story:
    """The story of what one probe found."""
    label, model = named(finding.probe["name"], PROBES), str(finding.model.get("name", "unnamed"))
    n = len(finding.pictures)
    what = told("What the probe {probe} found of {model} on {pictures}", probe=label, model=model,
                 pictures=counted(n, "picture"))  # fmt: skip
    sections: dict[str, Sequence[Block]] = {
        "summary": [
            *notices([finding.model]), Said(_says(finding)), *points(finding.sentences, FROM),
            *points((*small(n), READ_ON)),
        ],
        "asked": [*_finding_asked(finding, label)],
        "results": [Said("The results of this record are what its probe found: see the section Probes.")],
        "evidence": [Said(NOT_WEIGHED)],
        "probes": [*_charts(source, finding, label), *_tables(source, finding)],
        "decisions": [*noted(finding)],
        "disagreements": [Said(NO_METRIC)],
        "untested": [*_finding_untested(finding)],
        "card": [*card(finding.model, (), (("Probed here", " ".join(finding.sentences[:1])),), FROM)],
    }  # fmt: skip
    known = known_of(finding, [model])
    known["3"] = told("What the model leans on, by one probe: {probe} (Probes), and limits (What was not tested).",
                      probe=label)  # fmt: skip
    return Story(told("Probe {probe} of {model}", probe=label, model=model), what, sections, known)


def _says(finding: Finding) -> str:
    name = str(finding.probe["name"])
    return f"What the probe does: {PROBES[name].summary()}" if name in PROBES else "A probe unknown to this version."


def _finding_asked(finding: Finding, label: str) -> Iterator[Block]:
    yield Facts((("Probe", label), *_settings(finding), *about(finding)), FROM)


def _settings(finding: Finding) -> Iterator[tuple[str, Any]]:
    """Rows on what was asked of which model and pictures."""
    methods = "; ".join(f"{named(one['name'], METHODS)} ({settings_of(one)})" for one in finding.methods)
    pictures = [short(one) for one in finding.pictures]
    yield "Its settings", settings_of(finding.probe)
    yield "Model", str(finding.model.get("name", "unnamed"))
    yield "Weights, sha256", str(finding.model.get("weights_sha256", "not recorded"))
    yield "Explained", PREDICTED if finding.target is None else str(finding.target)
    yield "Attribution methods", methods or "none: the probe asked for no maps"
    yield "Pictures", Number(len(pictures))
    yield "Their sha256, the beginning of each", ", ".join(pictures[:50]) + (" …" if len(pictures) > 50 else "")
    yield "Seed", Number(finding.seed)
    yield "Passes through the network", str(finding.passes)
    yield "Seconds", Number(finding.seconds, "s")


def _charts(source: Source, finding: Finding, label: str) -> Iterator[Figure]:
    """The charts of a finding, and the strip of its examples."""
    said = " ".join(finding.sentences[:2])
    names = [name for name in source.listed if name.endswith(".png") and not name.startswith(("frame_", "filmstrip"))]
    for place, name in enumerate(sorted(names), 1):
        words = f"Chart {place} of {len(names)}" if len(names) > 1 else "Chart"
        drawn = source.figure(name, f"{words} of the probe {label}; the tables below hold its numbers. {said}",
                              f"{words}: {label}")  # fmt: skip
        if drawn is not None:
            yield drawn
    captions = "; ".join(frame.caption for frame in finding.frames[:20])
    strip = source.figure("filmstrip.png", f"Pictures as the model saw them: {captions}", f"Examples: {label}")
    if strip is not None:
        yield strip


def _tables(source: Source, finding: Finding, most: int = MOST_ROWS) -> Iterator[Grid]:
    for name, table in finding.tables.items():
        yield grid_of(table, source.names(FINDING, f"{name}.csv"), most)


def _finding_untested(finding: Finding) -> Iterator[Block]:
    said: list[str] = [*small(len(finding.pictures)), *finding.notes]
    said += [probes_left([str(finding.probe["name"])]), methods_left(str(one["name"]) for one in finding.methods)]
    said += [metrics_left(()), "Weights at random: no map here was compared with that of a redrawn network (weighed)."]
    if is_untrained(finding.model):
        said.append("Trained weights: those of this model were drawn at random; it has learnt nothing.")
    if finding.kind != "groups":
        said.append("Groups: this probe compares no groups of people or devices.")
    said.append("A second reviewer: a record names one reviewer at most, so how far people agree is not known.")
    said.append(f"Chance: everything random was drawn from seed {finding.seed} alone.")
    yield from points([*said, *ALWAYS_OPEN], FROM)
    if finding.left_out:
        yield Heading("Left out")
        yield from points(finding.left_out, (FINDING,))


# ---- beside an audit -------------------------------------------------------------------------------------------------


def probed(found: Sequence[Companion[Finding]], pictures: Set[str]) -> Part:
    """What probes found of the models of an audit of these `pictures`, each by its sha256."""
    if not found:
        return Part(blocks=(Said(NONE_NAMED),))
    summary: list[Block] = []
    blocks: list[Block] = [
        Said("Each probe below is a record of its own. It was checked against its manifest, and is of the weights of "
             "a model of this audit.")
    ]  # fmt: skip
    untested: list[str] = []
    for one in found:
        label = named(one.record.probe["name"], PROBES)
        title = told("{probe} of {models}", probe=label, models=joined(one.models, " and "))
        at = one.source.names(MANIFEST)
        first = told("{title}: {sentence}", title=title, sentence=one.record.sentences[0])
        summary.append(Said(first, at))
        blocks += [Heading(title), *_in_short(one, label, pictures)]
        untested += [
            told("Probe {title}: {note}", title=title, note=note) for note in _limits(one.record, len(pictures))
        ]
    return Part(summary, blocks, untested)


def _in_short(one: Companion[Finding], label: str, pictures: Set[str]) -> Iterator[Block]:
    finding, at = one.record, one.source.names(MANIFEST)
    shared = sum(picture in pictures for picture in finding.pictures)
    yield Said(_says(finding))
    yield from points(finding.sentences, at)
    yield from _charts(one.source, finding, label)
    for grid in _tables(one.source, finding, FEW_ROWS):
        yield entitled(grid, one.name)
    if finding.note:
        yield Said("Note:", at)
        yield Said(finding.note, (), "note")
    yield Facts(
        (("Record", one.name), *_settings(finding), ("Of these pictures, in this audit", Number(shared)),
         *about(finding)), at,
    )  # fmt: skip


def _limits(finding: Finding, audited: int) -> Iterator[str]:
    if len(finding.pictures) < audited:  # of as many, the audit says it
        yield from small(len(finding.pictures))
    yield from finding.notes
    if finding.left_out:
        yield f"left out: {'; '.join(finding.left_out)}"
