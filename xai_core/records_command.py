"""The commands `prune` and `import`: what happens to saved records later."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from xai_core.errors import RecordError, SettingError
from xai_core.options import say
from xai_core.seal import TOTAL_LIMIT, shown

if TYPE_CHECKING:
    from xai_core.store import Entry

MEGABYTE = 1_000_000


def prune(
    store: Annotated[Path, typer.Argument(help="A folder of records")],
    older_than_days: Annotated[float | None, typer.Option(help="Remove those that were saved longer ago")] = None,
    larger_than_mb: Annotated[
        float | None, typer.Option(help="Remove the oldest until all together have at most so many megabytes")
    ] = None,
    why: Annotated[str, typer.Option(help="What their tombstones say; the limit by default")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which records would go")] = False,
) -> None:
    """Remove the oldest records of a folder, never the newest. Each leaves a tombstone, so the chain stays whole.

    Exit code 1 when one of them could not be removed.
    """
    from xai_core import retention
    from xai_core.catalogue import Catalogue

    larger_than, failures = None if larger_than_mb is None else _bytes(larger_than_mb), list[str]()
    if dry_run:
        say(
            f"Would go    {_line(entry)}"
            for entry in retention.due(store, older_than_days=older_than_days, larger_than=larger_than)
        )
    else:
        found = retention.prune(
            store,
            older_than_days=older_than_days,
            larger_than=larger_than,
            why=why,
            failed=lambda _, error: failures.append(str(error)),
        )
        say(f"Removed     {_line(entry)}" for entry in found)
        say(f"Stays       {failure}" for failure in failures)
    catalogue = Catalogue(store)
    count = catalogue.find(count=0).total
    typer.echo(f"Store       {count:,} record{'' if count == 1 else 's'}, {_size(catalogue.size())}")
    if failures:
        raise typer.Exit(1)


def import_(
    file: Annotated[Path, typer.Argument(help="A zip of one record, as it was downloaded")],
    store: Annotated[Path, typer.Option(envvar="SECOND_LOOK_RECORDS", help="The folder of records to put it into")],
) -> None:
    """Check a zipped record wholly, and put it beside the records of a folder, outside of their chain."""
    from xai_core.retention import import_zip

    try:
        with file.open("rb") as opened:
            content = opened.read(TOTAL_LIMIT + 1)
    except OSError as error:
        raise RecordError(f"Cannot read {shown(file.name)}: {error.strerror}. Name the zip of a record.") from error
    if len(content) > TOTAL_LIMIT:
        raise RecordError(f"Cannot import {shown(file.name)}: it is larger than any record. Name the zip of a record.")
    typer.echo(f"Imported    {import_zip(content, store)}")


def _bytes(megabytes: float) -> int:
    try:
        return round(megabytes * MEGABYTE)
    except (ValueError, OverflowError):
        raise SettingError(f"{megabytes} megabytes is no limit for what is kept. Give a number above 0.") from None


def _line(entry: Entry) -> str:
    return f"{entry.created[:10]}  {shown(entry.folder.name)}  {_size(entry.bytes)}"


def _size(count: int) -> str:
    return f"{count / MEGABYTE:,.1f} MB"
