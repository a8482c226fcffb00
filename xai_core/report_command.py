"""The command `report`: a record or an audit as one HTML file, for people who have none of our software."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    path: Annotated[Path, typer.Argument(help="A saved record of any kind, or the folder of a finished audit")],
    companions: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            metavar="RECORD",
            help="What belongs to the audit: a finding, sealed decisions, a score table, or the folder that drift "
            "wrote. May be given several times",
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The HTML file to write, in place of an older one")] = Path("report.html"),
) -> None:
    """Write a record or an audit as one HTML file that opens without a network and prints to A4."""
    from xai_core.html_report import write_report

    place = write_report(path, out, companions or ())
    typer.echo(
        f"Saved       {place} ({place.stat().st_size / 2**20:.1f} MiB): open it in any browser, or print it there"
    )
