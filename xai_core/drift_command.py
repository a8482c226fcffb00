"""The command `drift`: two runs of different weights over the same pictures, and what changed between them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from xai_core.options import Bar, say


def drift(
    earlier: Annotated[Path, typer.Argument(help="The folder of a finished audit, of the weights before")],
    later: Annotated[Path, typer.Argument(help="That of an audit of the weights after, over the same pictures")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="Only this model, or what it was called before: old=new. May be given several times"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A new or empty folder for drift.md, drift.json and a CSV file of each table")
    ] = None,
    smallest: Annotated[int, typer.Option(help="Pictures that a group needs to be tested, and not only shown")] = 10,
) -> None:
    """Say what changed between two audits: predictions, calibration, groups, and where the maps lie."""
    from xai_core.drift import drift as measure
    from xai_core.drift_summary import files, said
    from xai_core.manifest import check_place, save_files
    from xai_core.runs import open_run

    if out is not None:
        check_place(out)
    with Bar("Maps compared") as progress:
        found = measure(open_run(earlier), open_run(later), model or [], smallest, progress)
    say(said(found))
    if out is not None:
        typer.echo(f"Saved       {save_files(files(found), out)}: read drift.md first")
