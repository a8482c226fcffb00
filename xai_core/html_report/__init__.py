"""A record or an audit as one page for people who have none of our software: a single HTML file, and nothing else.

It opens from a USB stick without a network, needs no script, prints to A4, and says in plain words first what came out
and what was not tested. Every number names the file that it comes from, and every file its hash.

    write_report("run/", "report.html", ["shortcut/", "decisions/", "drift/"])
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from xai_core import durable
from xai_core.errors import RecordError
from xai_core.html_report.annex import answered
from xai_core.html_report.blocks import Block, Facts, Figure, Grid, Heading, Points, Said, isolated, visible
from xai_core.html_report.finding_story import told_by_finding
from xai_core.html_report.maps_story import told_by_maps
from xai_core.html_report.run_story import told_by_run
from xai_core.html_report.sheet_story import told_by_sheet
from xai_core.html_report.source import File, Source, opened
from xai_core.html_report.story import SECTIONS, Story
from xai_core.provenance import VERSION
from xai_core.records import Finding, Sheet
from xai_core.runs import open_run
from xai_core.seal import AUDIT, shown
from xai_core.store import open_record

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["page", "write_report"]

MOST_FILES = 100  # lines of the list of files, besides those that the page names
HERE = Path(__file__).parent


def write_report(path: str | Path, out: str | Path, companions: Sequence[str | Path] = ()) -> Path:
    """Write the report on the record or audit in the folder `path` as the file `out`, in place of an older one.

    `companions` are folders of records that belong to an audit: what probes found of its models, sealed decisions on
    it, score tables, and what `drift` wrote. Raises RecordError for a record that is not intact, naming the damaged
    file, for a companion that is of something else, or where `out` cannot be written.
    """
    place, folders = Path(out), [Path(path), *map(Path, companions)]
    if {Path(os.path.realpath(folder)) for folder in folders} & {*Path(os.path.realpath(place)).parents}:
        raise RecordError(
            f"Cannot write {shown(place.name)} into a record: it would no longer match its manifest. Name a place "
            "beside it."
        )
    content = page(path, companions).encode("utf-8")
    try:
        durable.replace_file(place, content)
    except OSError as error:
        raise RecordError(
            f"Cannot write {shown(place.name)}: {error.strerror}. Name a file in a folder that exists and that you may "
            "write in."
        ) from error
    return place


def page(path: str | Path, companions: Sequence[str | Path] = ()) -> str:
    """The report as HTML. Raises RecordError as `write_report` does."""
    source = opened(path)
    if source.kind == AUDIT:
        return _drawn(source, told_by_run(source, open_run(source.folder), [*map(Path, companions)]))
    if companions:
        raise RecordError(
            f"Cannot add {shown(Path(companions[0]).name)} to the report: {shown(source.folder.name)} is no audit, and "
            "only an audit takes other records with it. Report on each by itself."
        )
    record = open_record(source.folder)
    if isinstance(record, Finding):
        return _drawn(source, told_by_finding(source, record))
    return _drawn(source, told_by_sheet(source, record) if isinstance(record, Sheet) else told_by_maps(source, record))


def _drawn(source: Source, story: Story) -> str:
    files, left = _files(source, story)
    return _templates().get_template("report.html").render(
        story=story, sections=SECTIONS, annex=answered(story.known), files=files, files_left=left, source=source,
        strangers=[f"{one.within}{file.name}" for one in (source, *source.companions) for file in one.strangers],
        anchors={one.name: f"file-{place}" for place, one in enumerate(files, 1)},
        identity=re.sub("[^0-9a-f]", "", str(source.manifest.get("id", "")))[:12],
        made=datetime.now(UTC).isoformat(timespec="seconds"), version=VERSION,
        style=Markup((HERE / "report.css").read_text("utf-8")),
    )  # fmt: skip


def _files(source: Source, story: Story) -> tuple[list[File], int]:
    """The files to list, those that the page names among them, and how many more there are."""
    named = {name for blocks in story.sections.values() for block in blocks for name in getattr(block, "source", ())}
    more: Iterator[File] = (one for one in source.files if one.name not in named and one.sealed)
    others = {one.name for one in islice(more, MOST_FILES)}
    kept = [one for one in source.files if one.name in named | others or not one.sealed]
    return kept, len(source.files) - len(kept)


@lru_cache(maxsize=1)
def _templates() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    def spelt(value: Any) -> Any:
        """What a template prints: text from outside with nothing in it that cannot be seen."""
        return value if isinstance(value, Markup) or not isinstance(value, str) else visible(value)

    made = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, finalize=spelt, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters["isolated"] = isolated
    made.filters["kind_of"] = _kind_of
    made.filters["in_words"] = _in_words
    return made


def _in_words(time: object) -> str:
    """A time as people write it; anything else as it is."""
    try:
        at = datetime.fromisoformat(str(time))
    except ValueError:
        return str(time)
    return f"{at.day} {at:%B %Y, %H:%M} UTC" if at.utcoffset() == timedelta() else str(time)


def _kind_of(block: Block) -> str:
    """Which macro draws a block."""
    kinds = {Said: "said", Points: "points", Heading: "heading", Facts: "facts", Grid: "grid", Figure: "figure"}
    return kinds[type(block)]
