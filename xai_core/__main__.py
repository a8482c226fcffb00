"""The command line: python -m xai_core …

Every command prints where it wrote, and ends with one sentence and exit code 1 on a mistake that can be mended.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import xai_core as xai
from xai_core.errors import AuditError, ModelError, SettingError
from xai_core.records import TASKS, Image, Prediction, Target
from xai_core.registry import settings

if TYPE_CHECKING:
    from xai_core.models import Model

ALL = "all"  # for --method
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
MethodNames = Annotated[str, typer.Option("--method", help="One method, several with commas between, or all")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set", help="A setting, such as steps=64, for every chosen method that has it", metavar="NAME=VALUE"
    ),
]
Device = Annotated[str | None, typer.Option(help="cuda, mps or cpu; the fastest of this machine by default")]


@app.command()
def explain(
    image: Annotated[Path, typer.Option(help="PNG, JPEG, WebP, TIFF, BMP or DICOM")],
    out: Annotated[Path, typer.Option(help="A new or empty folder for the record")],
    model: ModelName = "demo-xray",
    method: MethodNames = "grad_cam",
    set_: Settings = None,
    target: Annotated[str | None, typer.Option(help="A class by name or number; the predicted one by default")] = None,
    kind: Annotated[str, typer.Option(help="What of it: logit, probability, or contrast with --against")] = "logit",
    against: Annotated[str | None, typer.Option(help="For a contrast: the other class, by name or number")] = None,
    layer: Annotated[str, typer.Option(help="Where class activation methods read: one layer, or several")] = "",
    background: Annotated[
        Path | None, typer.Option(help="A folder of pictures, for methods that compare with --set background=pictures")
    ] = None,
    seed: Annotated[int, typer.Option(help="For everything random")] = 0,
    checkpoint: Checkpoint = None,
    labels: Labels = None,
    task: Annotated[str, typer.Option(help="What the outputs mean: single label, multi label or regression")] = TASKS[
        0
    ],
    random_weights: RandomWeights = False,
    device: Device = None,
) -> None:
    """Explain one picture, and save the record."""
    from xai_core.canvas import answered
    from xai_core.manifest import check_place
    from xai_core.pipeline import explain_many
    from xai_core.records import Record
    from xai_core.tables import MANY, costs, described
    from xai_core.truth import seen_by, truth_beside

    check_place(out)
    picture, truth = xai.read_image(image), truth_beside(image)
    behind = _pictures_in(background) if background else []
    network = xai.load_model(
        model, checkpoint=checkpoint, labels=labels, pretrained=not random_weights, task=task, seed=seed, device=device
    )
    said = xai.predict(network, picture)
    wanted = _target(target, kind, against, said)
    chosen = _with_settings(_named(method), set_ or [])
    chosen = _at_layers(chosen, [name.strip() for name in layer.split(",") if name.strip()])
    failures: dict[int, AuditError] = {}
    start = time.perf_counter()
    with _bar() as progress:
        [explained] = explain_many(
            network, [picture], chosen, [wanted], seed=seed, background_images=behind, progress=progress,
            failed=(lambda _, number, error: failures.update({number: error})) if method == ALL else None,
        )  # fmt: skip
    seconds = time.perf_counter() - start
    folder = xai.save(Record(tuple(explained), said, picture.source), out)

    typer.echo(f"Model       {network.name} on {network.device}")
    if notice := network.identity.get("notice"):
        typer.echo(f"            {notice}")
    for assumed in picture.source.get("assumed", ()):
        typer.echo(f"Picture     {assumed}")
    ranked = [int(number) for number in said.order()[:3]]
    typer.echo("Prediction  " + ", ".join(f"{said.labels[number]} {answered(said, number)}" for number in ranked))
    mask = None if truth is None else seen_by(truth, network.preprocessing)
    if len(explained) > MANY:
        _say(costs(explained, mask))
        typer.echo(f"Together    {seconds:.2f} s: what several maps ask of the network, it is asked once")
    else:
        _say(line for explanation in explained for line in described(explanation, mask))
    _say(f"No map      {chosen[number].name}: {error}" for number, error in sorted(failures.items()))
    typer.echo(f"Saved       {folder}")


@app.command()
def methods(
    model: ModelName = "demo-xray",
    image: Annotated[
        Path | None, typer.Option(help="To measure on; by default one that ships with the project")
    ] = None,
    method: MethodNames = ALL,
    set_: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts")] = False,
    seed: Annotated[int, typer.Option(help="For everything random")] = 0,
    checkpoint: Checkpoint = None,
    random_weights: RandomWeights = False,
    device: Device = None,
) -> None:
    """Which methods are valid for a network, why the others are not, and what each costs here.

    Pretrained weights that cannot be had are drawn at random instead, which is said first.
    """
    from xai_core.tables import matrix
    from xai_core.validity import example, survey, tally

    chosen = _with_settings(_named(method), set_ or [])
    given = None if image is None else xai.read_image(image)
    network, notice = _loaded(model, checkpoint, random_weights, seed, device)
    picture, words = example(network) if given is None else (given, given.name)
    with _bar() as progress:
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
    _say(matrix(found))


@app.command()
def verify(folder: Annotated[Path, typer.Argument(help="A saved record")]) -> None:
    """Check that nothing in a saved record has changed; exit code 1 when anything has."""
    report = xai.verify(folder)
    typer.echo(str(report))
    if not report.ok:
        raise typer.Exit(1)


def _named(methods: str) -> list[str]:
    """The names in a list with commas, or all of them, family by family."""
    from xai_core.validity import by_family

    if methods == ALL:
        return [method.name for method in by_family(map(xai.METHODS.build, xai.METHODS))]
    return [name.strip() for name in methods.split(",")]


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


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        typer.echo(line)


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
            asked = names[0] if len(names) == 1 else "None of the chosen methods"
            raise SettingError(f"{asked} has {'no' if len(names) == 1 else 'a'} setting {key!r}. There are {known}.")
    return [xai.METHODS.build({"name": n, **{k: v for k, v in given.items() if k in has[n]}}) for n in names]


def _at_layers(chosen: list[Any], layers: list[str]) -> list[Any]:
    """Every method that reads a layer, at each of `layers`; the others as they are."""
    if layers and not any("layer" in one.to_dict() for one in chosen):
        raise SettingError("None of the chosen methods reads a layer. Leave out --layer, or choose grad_cam.")
    return [
        xai.METHODS.build({**one.to_dict(), "layer": layer}) if layer else one
        for one in chosen
        for layer in (layers if layers and "layer" in one.to_dict() else [""])
    ]


def _target(wanted: str | None, kind: str, against: str | None, said: Prediction) -> Target:
    """What to explain, from the words of the command line."""
    from xai_core.pipeline import resolve_target

    def number(text: str | None) -> int:
        decimal = text is not None and text not in said.labels and text.isdecimal()
        return resolve_target(int(text or 0) if decimal else text, said).index

    kinds = ("logit", "probability", "contrast")
    if kind not in kinds:
        raise SettingError(f"No kind of target is called {kind!r}. Choose one of {', '.join(kinds)}.")
    if (kind == "contrast") != (against is not None):
        raise SettingError("A contrast needs the other class, and nothing else does: --kind contrast --against CLASS.")
    other = None if against is None else number(against)
    return resolve_target(Target(number(wanted), "", kind, other), said)  # type: ignore[arg-type]


def _pictures_in(folder: Path) -> list[Image]:
    """Every picture of a folder, in the order of names. A file that is none is refused by its name."""
    files = sorted(path for path in folder.glob("[!.]*") if path.is_file() and path.name != "labels.csv")
    if not files:
        raise SettingError(f"{folder} is no folder with pictures. Give one that holds only the background pictures.")
    return [xai.read_image(path) for path in files]


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
