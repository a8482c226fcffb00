"""The command `verify`: is a record what was saved, and does it come out again?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

import xai_core as xai
from xai_core.errors import Cancelled, SettingError
from xai_core.options import STOPPED, Bar, Device, Labels, Split, Where, pairs_in, sigterm_as_ctrl_c
from xai_core.store_verification import is_store, verify_store
from xai_core.verification import Part

UNCHECKED = 3  # nothing was found wrong, but something that was asked could not be checked
GIVE: Mapping[Part, str] = {  # how what is not here can be given
    "picture": "Name a picture that is not here with --image, or a set that holds it with --data.",
    "weights": "Name a file of weights with --model-checkpoint, or models of your own in SECOND_LOOK_MODELS.",
    "labels": "Name a file of the same labels with --labels.",
}


def verify(
    folder: Annotated[Path, typer.Argument(help="A saved record, an audit, or a folder of records")],
    recompute: Annotated[int, typer.Option(help="Ask so many of its answers again, of the same model")] = 0,
    image: Annotated[Path | None, typer.Option(help="The picture, where the record did not keep it")] = None,
    data: Annotated[
        Path | None, typer.Option(help="A set that holds its pictures: a folder, one with labels.csv, or a zip")
    ] = None,
    split: Split = "",
    where: Where = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option("--model-checkpoint", help="Weights that were loaded from a file")
    ] = None,
    labels: Labels = None,
    device: Device = None,
    seed: Annotated[int | None, typer.Option(help="To draw answers by; by default drawn, and said")] = None,
) -> None:
    """Check that nothing in a saved record has changed, and that it comes out again; or all records of a folder.

    Of a folder of records the chain is checked too, which tells whether one was taken away.
    Exit code 1 when a file has changed or an answer is another; 3 when nothing is wrong, but an answer could not be
    recomputed.
    """
    if not recompute and any(one for one in (image, data, checkpoint, labels, device, seed is not None)):
        raise SettingError("Pictures, models and seeds are for recomputing. Say how many answers with --recompute N.")
    if data is None and (split or where):
        raise SettingError("--split and --where choose among the pictures of a set. Leave them out, or give --data.")
    if is_store(folder):
        _verify_store(folder, recompute)
        return
    try:
        with sigterm_as_ctrl_c(), Bar("Recomputing") as progress:
            cases = None
            if data is not None:
                from xai_core.cases import read_cases

                cases = read_cases(data, split=split, where=pairs_in(where or []))
            report = xai.verify(
                folder, recompute=recompute, image=image, data=cases, checkpoints=checkpoint or (), labels=labels,
                device=device, seed=seed, progress=progress,
            )  # fmt: skip
    except (KeyboardInterrupt, Cancelled):
        typer.echo("Stopped. Nothing was written.")
        raise typer.Exit(STOPPED) from None
    typer.echo("\n".join([str(report), *(GIVE[part] for part in report.lacking)]))
    if not report.ok:
        raise typer.Exit(1)
    if report.unchecked:
        raise typer.Exit(UNCHECKED)


def _verify_store(folder: Path, recompute: int) -> None:
    if recompute:
        raise SettingError("The answers of one record are recomputed. Name one of the records in this folder.")
    try:
        with sigterm_as_ctrl_c(), Bar("Verifying") as progress:
            report = verify_store(folder, progress)
    except KeyboardInterrupt:
        typer.echo("Stopped. Nothing was written.")
        raise typer.Exit(STOPPED) from None
    typer.echo(str(report))
    if not report.ok:
        raise typer.Exit(1)
