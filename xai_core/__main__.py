"""The command line: python -m xai_core …

Every command prints where it wrote, and ends with one sentence and exit code 1 on a mistake that can be mended.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

import xai_core as xai
from xai_core.errors import AuditError, SettingError
from xai_core.registry import settings

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Audit what an image classifier looks at.",
)

ModelName = Annotated[str, typer.Option("--model", help="A demo model or any timm architecture")]
Checkpoint = Annotated[Path | None, typer.Option(help="Weights for a timm architecture: .safetensors or .pth")]
Labels = Annotated[Path | None, typer.Option(help="A text file, one label a line")]
RandomWeights = Annotated[bool, typer.Option("--random-weights", help="Draw the weights at random from --seed")]
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; the fastest of this machine by default")]


@app.command()
def explain(
    image: Annotated[Path, typer.Option(help="PNG, JPEG, WebP, TIFF, BMP or DICOM")],
    out: Annotated[Path, typer.Option(help="A new or empty folder for the record")],
    model: ModelName = "demo-xray",
    method: Annotated[str, typer.Option(help="One method, or several with commas between")] = "grad_cam",
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A setting, such as steps=64, for every chosen method that has it", metavar="NAME=VALUE"
        ),
    ] = None,
    target: Annotated[str | None, typer.Option(help="A class by name or number; the predicted one by default")] = None,
    seed: Annotated[int, typer.Option(help="For everything random")] = 0,
    checkpoint: Checkpoint = None,
    labels: Labels = None,
    random_weights: RandomWeights = False,
    device: Device = None,
) -> None:
    """Explain one picture, and save the record."""
    from xai_core.manifest import check_place
    from xai_core.pipeline import explain_many, resolve_target
    from xai_core.records import Record
    from xai_core.truth import in_words, seen_by, truth_beside

    check_place(out)
    picture, truth = xai.read_image(image), truth_beside(image)
    network = xai.load_model(
        model, checkpoint=checkpoint, labels=labels, pretrained=not random_weights, seed=seed, device=device
    )
    said = xai.predict(network, picture)
    named = target is None or target in said.labels or not target.isdecimal()
    wanted = resolve_target(target if named else int(target or 0), said)
    chosen = _with_settings([name.strip() for name in method.split(",")], set_ or [])
    with _bar() as progress:
        [explained] = explain_many(network, [picture], chosen, [wanted], seed=seed, progress=progress)
    folder = xai.save(Record(tuple(explained), said, picture.source), out)

    typer.echo(f"Model       {network.name} on {network.device}")
    if notice := network.identity.get("notice"):
        typer.echo(f"            {notice}")
    for assumed in picture.source.get("assumed", ()):
        typer.echo(f"Picture     {assumed}")
    typer.echo("Prediction  " + ", ".join(f"{label} {p:.1%}" for label, p in said.top(3)))
    for explanation in explained:
        typer.echo(f"Map         {xai.METHODS.build(explanation.method)}, target {explanation.target}")
        if explanation.flat:
            typer.echo(f"            {explanation.flat}")
        else:
            typer.echo("            highest at row {}, column {}".format(*explanation.peak))
            if truth is not None:
                typer.echo(f"            {in_words(explanation, seen_by(truth, network.preprocessing))}")
        if explanation.gap is not None:
            typer.echo(f"            completeness gap {explanation.gap:.1%} (0 % is exact)")
        for note in explanation.notes:
            typer.echo(f"            {note}")
        typer.echo(f"            {explanation.seconds:.2f} s, {explanation.passes} passes")
    typer.echo(f"Saved       {folder}")


@app.command()
def methods(
    model: ModelName = "demo-xray",
    as_json: Annotated[bool, typer.Option("--json", help="For scripts")] = False,
    checkpoint: Checkpoint = None,
    random_weights: RandomWeights = False,
) -> None:
    """Which methods are valid for a network, and why the others are not."""
    network = xai.load_model(model, checkpoint=checkpoint, pretrained=not random_weights)
    rows = []
    for name in xai.METHODS:
        method = xai.METHODS[name]()
        reason = method.why_not(network)
        cost = None if reason else method.fitted(network).cost(network)
        rows.append({"name": name, "label": method.label, "family": method.family, "random": method.random,
                     "class_specific": method.class_specific, "valid": reason is None,
                     "why_not": reason, "passes": str(cost) if cost else None})  # fmt: skip
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        words = row["why_not"] or f"{row['passes']} passes a picture"
        typer.echo(f"{'valid  ' if row['valid'] else 'refused'}  {row['name']:<22}{words}")


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="A saved record")]) -> None:
    """Check that nothing in a saved record has changed; exit code 1 when anything has."""
    report = xai.verify(folder)
    typer.echo(str(report))
    if not report.ok:
        raise typer.Exit(1)


def _with_settings(names: list[str], pairs: list[str]) -> list[Any]:
    """The methods, each with those settings that it has. A setting that none of them has is refused."""
    given = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise SettingError(f"{pair!r} is no setting. Write it as name=value, for example steps=64.")
        given[key.strip()] = value.strip()
    has = {name: {field.name for field in settings(xai.METHODS[name])} for name in names}
    for key in given:
        if not any(key in own for own in has.values()):
            known = ", ".join(sorted(set().union(*has.values()))) or "none"
            raise SettingError(f"{', '.join(names)} has no setting {key!r}. There are {known}.")
    return [xai.METHODS.build({"name": n, **{k: v for k, v in given.items() if k in has[n]}}) for n in names]


class _bar:
    """A progress bar on a terminal, nothing elsewhere."""

    def __enter__(self) -> Any:
        from rich.progress import Progress

        self.bar = Progress(transient=True, disable=not sys.stderr.isatty())
        self.bar.start()
        task = self.bar.add_task("Pictures through the network", total=None)
        return lambda done, total: self.bar.update(task, completed=done, total=total)

    def __exit__(self, *_: object) -> None:
        self.bar.stop()


def main() -> None:
    """Run a command; a mistake that a person can mend is one sentence on stderr and exit code 1."""
    try:
        app()
    except AuditError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
