"""The command `audit`: a set of pictures through models, methods and metrics, which may be stopped and gone on with."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import xai_core as xai
from xai_core.errors import Cancelled, SettingError
from xai_core.options import (
    STOPPED,
    Background,
    Checkpoint,
    Device,
    Labels,
    Layer,
    RandomWeights,
    Seed,
    Settings,
    Split,
    Task,
    Where,
    at_layers,
    named_methods,
    names_in,
    pairs_in,
    pictures_in,
    say,
    sigterm_as_ctrl_c,
    with_settings,
)

if TYPE_CHECKING:
    from xai_core.audit_work import ModelSpec
    from xai_core.auditing import Progress
    from xai_core.runs import Run


def audit(
    data: Annotated[
        Path,
        typer.Option(help="A folder of class folders, a folder with labels.csv (file,label[,…]), or a zip of either"),
    ],
    out: Annotated[Path, typer.Option(help="A new folder for the run, or that of the same audit, to go on with it")],
    models: Annotated[str, typer.Option(help="One model, or several with commas between")] = "demo-xray",
    methods: Annotated[str, typer.Option(help="Methods with commas between, or all")] = "grad_cam",
    metrics: Annotated[str, typer.Option(help="Metrics with commas between; none by default")] = "",
    split: Split = "",
    where: Where = None,
    target: Annotated[
        str, typer.Option(help="What is explained: predicted (of each model), true (the label), or a class by name")
    ] = "predicted",
    weigh: Annotated[
        Literal["none", "wrong", "all"],
        typer.Option(help="Whose maps are held against every check: none, wrong (misclassified ones), or all"),
    ] = "wrong",
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Add maps that know nothing of the model, to compare with")
    ] = True,
    store: Annotated[str, typer.Option(help="A folder or fsspec address for the answers; OUT/store by default")] = "",
    engine: Annotated[str, typer.Option(help="local, or ray")] = "local",
    address: Annotated[str, typer.Option(help="Of a Ray cluster; by default one is started on this machine")] = "",
    workers: Annotated[int, typer.Option(help="Of Ray; one per GPU, or per processor, by default")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume/--no-resume", help="Go on with what OUT holds; --no-resume refuses it")
    ] = True,
    set_: Settings = None,
    metric_set: Annotated[
        list[str] | None,
        typer.Option(
            help="A setting, such as baseline=mean, for every chosen metric that has it", metavar="NAME=VALUE"
        ),
    ] = None,
    layer: Layer = "",
    background: Background = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = None,
    labels: Labels = None,
    task: Task = None,
    random_weights: RandomWeights = False,
    device: Device = None,
) -> None:
    """Audit a whole set. Stopped by Ctrl-C, SIGTERM or by force, the same command goes on where it was."""
    from xai_core.auditing import audit as run_audit
    from xai_core.cases import read_cases
    from xai_core.runs import FACTS

    if not resume and (out / FACTS).exists():
        raise SettingError(
            f"{out} holds an audit already. Leave out --no-resume to go on with it, or name a new --out."
        )
    chosen = at_layers(with_settings(xai.METHODS, named_methods(methods), set_ or []), layer)
    asked = with_settings(xai.METRICS, names_in(metrics) if metrics else [], metric_set or [])
    cases = read_cases(data, split=split, where=pairs_in(where or []))
    specs = _specs(models, checkpoint, labels, task, random_weights, seed)
    behind = pictures_in(background)
    with _watched() as told, sigterm_as_ctrl_c():
        try:
            run = run_audit(
                cases, specs, chosen, asked, out=out, store=store or None, engine=engine, address=address,
                workers=workers, target=target, seed=seed, weigh=weigh, controls=controls, background_images=behind,
                device=device, progress=told,
            )  # fmt: skip
        except (KeyboardInterrupt, Cancelled):
            told.stop()
            typer.echo(f"Stopped. {told.words()}.\nWhat is done is kept in {out}: the same command goes on from there.")
            raise typer.Exit(STOPPED) from None
    say(_said(run))


def _specs(
    models: str, checkpoint: Path | None, labels: Path | None, task: str | None, random_weights: bool, seed: int
) -> list[ModelSpec]:
    from xai_core.audit_work import ModelSpec

    named = names_in(models)
    if len(named) > 1 and (checkpoint is not None or labels is not None):
        raise SettingError("--checkpoint and --labels belong to one model. Audit one, or add models to your own file.")
    weights, words = (None if path is None else str(path) for path in (checkpoint, labels))
    return [ModelSpec(name, weights, words, not random_weights, task, seed) for name in named]


class _Watch:
    """A bar on a terminal; elsewhere a line now and then."""

    def __init__(self) -> None:
        from rich import progress as rich

        columns = rich.TextColumn("{task.description}"), rich.BarColumn(), rich.TextColumn("{task.fields[words]}")
        self.bar = rich.Progress(*columns, transient=True, disable=not sys.stderr.isatty())
        self.task = self.bar.add_task("Asking", total=None, words="")
        self.last: Progress | None = None
        self.bar.start()

    def __call__(self, progress: Progress) -> None:
        self.last = progress
        self.bar.update(
            self.task, description=progress.stage, completed=progress.done, total=progress.total or None,
            words=self.words(),
        )  # fmt: skip

    def words(self) -> str:
        """How far it is."""
        return "Nothing was begun" if self.last is None else str(self.last)

    def stop(self) -> None:
        self.bar.stop()


@contextlib.contextmanager
def _watched() -> Iterator[_Watch]:
    watch = _Watch()
    try:
        yield watch
    finally:
        watch.stop()


def _said(run: Run) -> Iterator[str]:
    """What a person wants to know when it is over."""
    from xai_core.auditing import duration

    facts, progress = run.facts, run.facts["progress"]
    yield f"Data        {facts['data']['name']}: {progress['pictures']:,} pictures"
    for model in facts["models"]:
        own = run.predictions[run.predictions["model"] == model["name"]]
        judged = own["right"].dropna()
        right = int(judged.sum())
        said = f"{right:,} of {len(judged):,} right" if len(judged) else "no labels to compare with"
        yield f"Model       {model['name']} on {model['identity']['device']}: {said}"
        if notice := model["identity"].get("notice"):
            yield f"            {notice}"
    yield (
        f"Units       {progress['found']:,} found, {progress['computed']:,} computed, "
        f"{progress['passes']:,} passes, {duration(progress['seconds'])}"
    )
    for name, why in facts["refused"][:10]:
        yield f"Refused     {name}: {why}"
    if len(facts["refused"]) > 10:
        yield f"            and {len(facts['refused']) - 10:,} more, all in {run.folder / 'run.json'}"
    for name, model, why in facts["quarantined"]:
        yield f"Quarantined {name} by {model}: {why}"
    for sentence in facts["left_out"]:
        yield f"Left out    {sentence}"
    yield f"Store       {facts['store']}, sha256 {facts['store_sha256']}"
    yield f"Saved       {run.folder}: read summary.md first"
