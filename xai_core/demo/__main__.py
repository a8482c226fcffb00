"""The demo models and pictures: python -m xai_core.demo …"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from xai_core.errors import AuditError, ModelError, SettingError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Draw, train and measure the demo models.",
)
TRUTHS = {
    "demo-xray": "fracture",
    "demo-xray-b": "fracture",
    "demo-xray-shortcut": "marker",
    "demo-xray-marker-90": "marker",
    "demo-face": "mouth",
    "demo-face-glasses": "glasses",
}

METHODS = "grad_cam,input_x_gradient,guided_backprop"

Names = Annotated[list[str] | None, typer.Argument(help="Names of demo models; all of them by default")]


@app.command()
def train(
    names: Names = None,
    folder: Annotated[Path, typer.Option(help="Where the weights go")] = Path("assets/models"),
) -> None:
    """Train demo models anew: minutes each on two cores; the same seed gives predictions that agree."""
    from rich.progress import Progress

    from xai_core.demo.train import RECIPES
    from xai_core.demo.train import train as train_one
    from xai_core.loading import read_card

    for name in names or list(RECIPES):
        _known(name, list(RECIPES))
        with Progress() as bar:
            task = bar.add_task(name, total=None)
            path = train_one(
                name,
                lambda done, total, text: bar.update(task, completed=done, total=total, description=f"{name}: {text}"),  # noqa: B023
                folder,
            )
        held_out = read_card(path)["held_out"]
        typer.echo(f"{path}: {_share(held_out)} right on fresh pictures")


@app.command()
def accuracy(
    names: Names = None,
    pictures: Annotated[int, typer.Option(help="Fresh pictures for each model", min=10)] = 1000,
) -> None:
    """Held-out accuracy of the shipped models, measured now, through the same door as everything else."""
    import numpy as np

    from xai_core.demo.train import HELD_OUT, RECIPES, Steps, gather, share
    from xai_core.loading import load_model

    for name in names or list(RECIPES):
        _known(name, list(RECIPES))
        model, recipe = load_model(name), RECIPES[name]
        for condition, options in {"": {}, **recipe.conditions}.items():
            fresh = gather(recipe, HELD_OUT + recipe.held_out, pictures, Steps(pictures, None), options=options)
            said = model.outputs(model.preprocessing.tensor(fresh.pixels)).argmax(1).numpy()
            typer.echo(f"{name:<20}{_share(share(np.asarray(said == fresh.labels)))}  {condition}")


@app.command()
def pointing(
    names: Names = None,
    pictures: Annotated[int, typer.Option(help="Fresh pictures for each model", min=10)] = 200,
) -> None:
    """Where the maps of every method peak against the drawn truth, as a Markdown table."""
    from xai_core.demo.pointing import measure

    for name in names or list(TRUTHS):
        _known(name, list(TRUTHS))
        typer.echo(f"\n{name}: {TRUTHS[name]}, {pictures} fresh pictures that the model names rightly\n")
        typer.echo(
            "| family | method | tolerance, px | peak hits (95 % interval) | chance | centre | mass inside | chance "
            "| flat | not valid |"
        )
        typer.echo("|---|---|---|---|---|---|---|---|---|---|")
        found, families = measure(name, TRUTHS[name], pictures), dict[str, list[float]]()
        for row in found:
            hits, mass = "no map", ""
            if row.hits is not None:
                low, high = row.hits["interval"]
                hits, mass = f"{row.hits['accuracy']:.2f} ({low:.2f} to {high:.2f})", f"{row.mass:.2f}"
                families.setdefault(row.family, []).append(row.hits["accuracy"])
            typer.echo(
                f"| {row.family} | `{row.method}` | {row.tolerance:.0f} | {hits} | {row.chance:.2f} | {row.centre:.2f} "
                f"| {mass} | {row.mass_chance:.3f} | {row.flat} | {row.invalid} |"
            )
        typer.echo("\nPeak hits by family, mean over its methods (tolerances differ, see above)")
        for family, shares in families.items():
            typer.echo(f"  {family:<18}{sum(shares) / len(shares):.2f}  of {len(shares)} methods")


@app.command()
def samples(folder: Annotated[Path, typer.Option(help="Where the pictures go")] = Path("assets/samples")) -> None:
    """Draw the sample pictures anew, with masks and labels."""
    from xai_core.demo.samples import write_samples

    write_samples(folder)
    typer.echo(f"Drawn into {folder}")


@app.command()
def draw(
    folder: Annotated[Path, typer.Argument(help="Where the set goes: pictures, masks and labels.csv")],
    family: Annotated[str, typer.Option(help="xray or face")] = "xray",
    count: Annotated[int, typer.Option(help="Pictures, the classes in turn", min=1, max=100_000)] = 60,
    marker: Annotated[str, typer.Option(help="Side marker of X-rays: none, L, R, or random")] = "random",
    glasses: Annotated[str, typer.Option(help="On faces: yes, no, or random")] = "random",
    seed: Annotated[int, typer.Option(help="Each gives other pictures", min=0, max=1_000_000)] = 0,
) -> None:
    """Draw a set of pictures that no demo model has seen, with masks of the evidence and of its parts."""
    from xai_core.demo.samples import fresh, write_samples

    _one_of("--family", family, ("xray", "face"))
    _one_of("--marker", marker, ("none", "L", "R", "random"))
    _one_of("--glasses", glasses, ("yes", "no", "random"))
    worn = {"yes": True, "no": False, "random": None}[glasses]
    options = {"marker": None if marker == "none" else marker} if family == "xray" else {"glasses": worn}
    write_samples(folder, fresh(family, count, seed, **options))
    typer.echo(f"Drawn into {folder}: {count} pictures and labels.csv")


@app.command()
def power(
    names: Names = None,
    sets: Annotated[int, typer.Option(help="Sets of fresh pictures for each model", min=2)] = 40,
    pictures: Annotated[int, typer.Option(help="Pictures in a set", min=11)] = 24,
    methods: Annotated[str, typer.Option(help="Methods, with commas between; none for predictions alone")] = METHODS,
) -> None:
    """How often the shortcut challenge finds what is there, and what is not, as a Markdown table: minutes to hours."""
    from rich.console import Console
    from rich.progress import Progress

    from xai_core.demo.power import ASKED, measure

    typer.echo(f"{sets} sets of {pictures} fresh pictures for each model, 95 % Wilson intervals over sets\n")
    typer.echo("| model | shortcut in training | artefacts | said by | called used or shown | not decided |")
    typer.echo("|---|---|---|---|---|---|")
    for name in names or list(ASKED):
        _known(name, list(ASKED))
        with Progress(transient=True, console=Console(stderr=True)) as bar:
            task = bar.add_task(name, total=sets)
            rates = measure(
                name,
                sets,
                pictures,
                [method for method in methods.split(",") if method],
                lambda done: bar.update(task, completed=done),  # noqa: B023
            )
        for rate in rates:
            found, undecided = rate.found, rate.undecided
            typer.echo(
                f"| `{name}` | {rate.strength:.0%} | {rate.truth}: {', '.join(rate.artefacts)} | {rate.said_by} "
                f"| {found.mean:.0%} ({found.low:.0%} to {found.high:.0%}) | {undecided:.0%} |"
            )


def _one_of(option: str, given: str, choices: tuple[str, ...]) -> None:
    if given not in choices:
        raise SettingError(f"{option} {given} is not on offer. Choose one of {', '.join(choices)}.")


def _known(name: str, names: list[str]) -> None:
    if name not in names:
        raise ModelError(f"No demo model is called {name!r}. There are {', '.join(names)}.")


def _share(measured: dict[str, object]) -> str:
    low, high = measured["interval"]  # type: ignore[misc]
    return f"{measured['accuracy']:.1%} ({low:.1%} to {high:.1%}, n = {measured['n']})"  # type: ignore[has-type]


if __name__ == "__main__":
    try:
        app()
    except AuditError as error:
        typer.echo(str(error), err=True)
        sys.exit(1)
