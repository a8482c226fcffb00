"""The command `decisions`: what reviewers decided on an audit, sealed as a record."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import xai_core as xai
from xai_core.errors import RecordError
from xai_core.options import say
from xai_core.seal import shown


def decisions(
    run: Annotated[Path, typer.Argument(help="The folder of a finished audit")],
    out: Annotated[Path, typer.Option(help="A new or empty folder for the record, outside of the audit")],
    names: Annotated[bool, typer.Option("--names", help="Keep the names of the files too")] = False,
    reviewer: Annotated[str, typer.Option(help="Who seals")] = "",
    note: Annotated[str, typer.Option(help="What the record says besides")] = "",
) -> None:
    """Seal every decision on the cases of an audit, with who agrees how far, as a record that `verify` checks."""
    from xai_core.decision_record import sheet_of
    from xai_core.manifest import check_place
    from xai_core.runs import open_run

    check_place(out)
    found = open_run(run)
    if run.resolve() in out.resolve().parents:
        raise RecordError(
            f"Cannot save as {shown(out.name)}: it would lie in the audit, whose manifest does not list it. Choose a "
            "folder elsewhere."
        )
    sheet = sheet_of(found, names=names, note=note, reviewer=reviewer)
    folder = xai.save(sheet, out)
    say(sheet.sentences)
    typer.echo(f"Saved       {folder}")
