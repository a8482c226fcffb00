"""The command line: python -m xai_core …

Every command prints where it wrote, and ends with one sentence and exit code 1 on a mistake that can be mended.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import xai_core as xai
from xai_core.audit_command import audit
from xai_core.compare_command import compare
from xai_core.drift_command import drift
from xai_core.errors import AuditError, ModelError
from xai_core.gate_command import gate
from xai_core.options import (
    ALL,
    Against,
    Background,
    Bar,
    Checkpoint,
    Device,
    Kind,
    Labels,
    Layer,
    MethodNames,
    ModelName,
    RandomWeights,
    Seed,
    Settings,
    TargetNames,
    Task,
    at_layers,
    model_name,
    named_methods,
    pictures_in,
    say,
    targets_of,
    with_settings,
)
from xai_core.probe_command import probe
from xai_core.records_command import import_, prune
from xai_core.report_command import report
from xai_core.score_command import score
from xai_core.verify_command import verify

if TYPE_CHECKING:
    from xai_core.models import Model

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Audit what an image classifier looks at.",
)


@app.command()
def explain(
    image: Annotated[Path, typer.Option(help="PNG, JPEG, WebP, TIFF, BMP or DICOM")],
    out: Annotated[Path, typer.Option(help="A new or empty folder for the record")],
    model: ModelName = "",
    method: MethodNames = "grad_cam",
    set_: Settings = None,
    target: TargetNames = None,
    kind: Kind = "logit",
    against: Against = None,
    layer: Layer = "",
    background: Background = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = None,
    labels: Labels = None,
    task: Task = None,
    random_weights: RandomWeights = False,
    device: Device = None,
) -> None:
    """Explain one picture, for one class or several, and save the record."""
    from xai_core.canvas import answered
    from xai_core.manifest import check_place
    from xai_core.pipeline import explain_many
    from xai_core.records import Record
    from xai_core.tables import MANY, costs, described, one_each
    from xai_core.truth import seen_by, truth_beside

    check_place(out)
    picture, truth = xai.read_image(image), truth_beside(image)
    behind = pictures_in(background)
    network = xai.load_model(
        model_name(model, checkpoint), checkpoint=checkpoint, labels=labels, pretrained=not random_weights, task=task,
        seed=seed, device=device,
    )  # fmt: skip
    said = xai.predict(network, picture)
    wanted = targets_of(target or [], kind, against, said)
    chosen = with_settings(xai.METHODS, named_methods(method), set_ or [])
    chosen = at_layers(chosen, layer)
    failures: dict[int, AuditError] = {}
    start = time.perf_counter()
    with Bar() as progress:
        found = explain_many(
            network, [picture] * len(wanted), chosen, wanted, seed=seed, background_images=behind, progress=progress,
            failed=(lambda _, number, error: failures.update({number: error})) if method == ALL else None,
        )  # fmt: skip
    seconds = time.perf_counter() - start
    explained = [e for by_one_method in zip(*found, strict=True) for e in by_one_method]
    folder = xai.save(Record(tuple(explained), (said,), picture.source), out)

    typer.echo(f"Model       {network.name} on {network.device}")
    if notice := network.identity.get("notice"):
        typer.echo(f"            {notice}")
    for assumed in picture.source.get("assumed", ()):
        typer.echo(f"Picture     {assumed}")
    ranked = [int(number) for number in said.order()[:3]]
    typer.echo("Prediction  " + ", ".join(f"{said.labels[number]} {answered(said, number)}" for number in ranked))
    mask = None if truth is None else seen_by(truth, network.preprocessing)
    if len(wanted) > 1:
        say(line for by_one_method in zip(*found, strict=True) for line in one_each(by_one_method, said, mask))
        typer.echo(f"Together    {seconds:.2f} s: what several maps ask of the network, it is asked once")
    elif len(explained) > MANY:
        say(costs(explained, mask))
        typer.echo(f"Together    {seconds:.2f} s: what several maps ask of the network, it is asked once")
    else:
        say(line for explanation in explained for line in described(explanation, mask))
    say(f"No map      {chosen[number].name}: {error}" for number, error in sorted(failures.items()))
    typer.echo(f"Saved       {folder}")


@app.command()
def methods(
    model: ModelName = "",
    image: Annotated[
        Path | None, typer.Option(help="To measure on; by default one that ships with the project")
    ] = None,
    method: MethodNames = ALL,
    set_: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts")] = False,
    seed: Seed = 0,
    checkpoint: Checkpoint = None,
    random_weights: RandomWeights = False,
    device: Device = None,
) -> None:
    """Which methods are valid for a network, why the others are not, and what each costs here.

    Pretrained weights that cannot be had are drawn at random instead, which is said first.
    """
    from xai_core.tables import matrix
    from xai_core.validity import example, survey, tally

    chosen = with_settings(xai.METHODS, named_methods(method), set_ or [])
    given = None if image is None else xai.read_image(image)
    network, notice = _loaded(model_name(model, checkpoint), checkpoint, random_weights, seed, device)
    picture, words = example(network) if given is None else (given, given.name)
    with Bar() as progress:
        found = survey(network, picture, chosen, seed=seed, progress=progress)
    if as_json:
        facts = {"model": network.identity, "notice": notice, "picture": {"name": words, "sha256": picture.sha256}}
        rows = [dataclasses.asdict(one) for one in found]
        typer.echo(json.dumps({**facts, "seed": seed, "count": tally(found), "methods": rows}, indent=2))
        return
    if notice:
        typer.echo(notice)
    typer.echo(f"Model    {network.name} on {network.device}")
    typer.echo(f"Picture  {words}")
    say(matrix(found))


app.command()(audit)
app.command()(compare)
app.command()(probe)
app.command()(score)
app.command()(gate)
app.command()(report)
app.command()(drift)
app.command()(verify)
app.command()(prune)
app.command("import")(import_)


def _loaded(
    name: str, checkpoint: Path | None, random_weights: bool, seed: int, device: str | None
) -> tuple[Model, str]:
    """A model and what must be known of it: where its pretrained weights cannot be had, they are drawn at random."""
    from xai_core.loading import is_safe_name

    try:
        network = xai.load_model(name, checkpoint=checkpoint, pretrained=not random_weights, seed=seed, device=device)
        return network, network.identity.get("notice", "")
    except ModelError as error:
        if checkpoint is not None or random_weights or not is_safe_name(name):
            raise
        try:
            network = xai.load_model(name, pretrained=False, seed=seed, device=device)
        except ModelError:
            raise error from None
        return network, (
            f"RANDOM WEIGHTS, seed {seed}: the pretrained ones of {name} cannot be had here. Refusals hold for the "
            "architecture, gaps for these weights only."
        )


def main() -> None:
    """Run a command; a mistake that a person can mend is one sentence on stderr and exit code 1."""
    try:
        app()
    except AuditError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
