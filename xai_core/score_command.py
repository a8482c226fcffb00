"""The command `score`: explain, score and weigh one or several pictures, and save what a person needs to judge by."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import xai_core as xai
from xai_core.errors import AuditError, SettingError, UnsupportedError
from xai_core.options import (
    ALL,
    Background,
    Bar,
    Checkpoint,
    Device,
    Labels,
    Layer,
    ModelName,
    RandomWeights,
    Seed,
    Settings,
    TargetName,
    Task,
    at_layers,
    files_in,
    model_name,
    named_methods,
    names_in,
    pictures_in,
    say,
    target_of,
    with_settings,
)
from xai_core.records import Evidence, Image

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.metrics import Metric


def score(
    context: typer.Context,
    image: Annotated[
        list[Path], typer.Option(help="A picture, or a folder of them; may be given several times for means")
    ],
    out: Annotated[Path, typer.Option(help="A new or empty folder for the record: tables and figures")],
    model: ModelName = "",
    methods: Annotated[
        str, typer.Option(help="Methods with commas between, or all; the controls are always added")
    ] = ALL,
    metrics: Annotated[str, typer.Option(help="Metrics with commas between, or all")] = ALL,
    mask: Annotated[
        Path | None, typer.Option(help="White where the evidence is; by default the one named in labels.csv beside it")
    ] = None,
    weigh: Annotated[bool, typer.Option("--weigh/--no-weigh", help="Say how far each map can be believed")] = True,
    set_: Settings = None,
    metric_set: Annotated[
        list[str] | None,
        typer.Option(
            help="A setting, such as baseline=mean, for every chosen metric that has it", metavar="NAME=VALUE"
        ),
    ] = None,
    target: TargetName = None,
    layer: Layer = "",
    background: Background = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = None,
    labels: Labels = None,
    task: Task = None,
    random_weights: RandomWeights = False,
    device: Device = None,
) -> None:
    """Score maps of one or several pictures beside maps that know nothing, and say how far each can be believed."""
    from xai_core.evidence import weigh_many
    from xai_core.manifest import check_place
    from xai_core.pipeline import explain_many
    from xai_core.score_record import sheet_of
    from xai_core.score_summary import said
    from xai_core.score_table import score_table
    from xai_core.scoring import score_many

    check_place(out)
    pictures, masks = _pictures(image, mask)
    behind = pictures_in(background)
    chosen = _with_controls(at_layers(with_settings(xai.METHODS, named_methods(methods), set_ or []), layer))
    asked, left_out = _metrics(metrics, metric_set or [], masks)
    network = xai.load_model(
        model_name(model, checkpoint), checkpoint=checkpoint, labels=labels, pretrained=not random_weights, task=task,
        seed=seed, device=device,
    )  # fmt: skip
    predictions = {picture.sha256: xai.predict(network, picture) for picture in pictures}
    targets = [target_of(target, "logit", None, predictions[picture.sha256]) for picture in pictures]

    if methods != ALL:
        for method in chosen:
            if reason := method.why_not(network):
                raise UnsupportedError(reason)
    failures: dict[tuple[str, str], list[int]] = {}

    def failed(picture: int, number: int, error: AuditError) -> None:
        failures.setdefault((chosen[number].name, str(error)), []).append(picture + 1)

    with Bar("Explaining") as progress:
        explained = explain_many(
            network, pictures, chosen, targets, seed=seed, background_images=behind, progress=progress,
            failed=failed if methods == ALL or len(pictures) > 1 else None,
        )  # fmt: skip
    maps = [e for per_picture in explained for e in per_picture]
    with Bar("Scoring") as progress:
        scores = score_many(network, maps, asked, masks=masks, seed=seed, background_images=behind, progress=progress)
    evidence: list[Evidence | None] = [None] * len(maps)
    if weigh:
        own = [i for i, e in enumerate(maps) if xai.METHODS[e.method["name"]].family != "control"]
        with Bar("Weighing") as progress:
            weighed = weigh_many(
                network, [maps[i] for i in own], seed=seed, background_images=behind, progress=progress
            )
        for i, one in zip(own, weighed, strict=True):
            evidence[i] = one
    table = score_table(maps, scores, evidence, seed=seed)
    for (name, reason), numbers in failures.items():
        where = "" if len(set(numbers)) == len(pictures) else f" on picture {', '.join(map(str, numbers))}"
        left_out.append(f"{name} made no map{where}: {reason}")
    sheet = sheet_of(table, predictions=predictions, masks=masks, left_out=left_out, command=_repeated(context))
    folder = xai.save(sheet, out)

    typer.echo(f"Model       {network.name} on {network.device}")
    if notice := network.identity.get("notice"):
        typer.echo(f"            {notice}")
    typer.echo(f"Pictures    {len(pictures)}, {len(masks)} with marked evidence")
    say(said(table, max(80, shutil.get_terminal_size((120, 40)).columns)))
    say(f"Left out    {line}" for line in left_out)
    typer.echo(f"Saved       {folder}: read summary.md first")


def _pictures(given: Sequence[Path], mask: Path | None) -> tuple[list[Image], dict[str, Image]]:
    """The different pictures among files and folders, and by sha256 the masks that belong to them."""
    from xai_core.truth import fitted_mask, truth_beside

    paths = [path for one in given for path in (files_in(one) if one.is_dir() else [one])]
    if not paths:
        raise SettingError(f"{given[0]} holds no pictures. Give a picture, or a folder that holds only pictures.")
    read = [xai.read_image(path) for path in paths]
    pictures = {picture.sha256: picture for picture in read}
    if mask is not None and len(pictures) > 1:
        raise SettingError(
            "One mask marks the evidence of one picture. Give one --image, or name each picture's mask in a labels.csv "
            "beside it."
        )
    masks = {}
    for path, picture in zip(paths, read, strict=True):
        truth = truth_beside(path) if mask is None else xai.read_image(mask)
        if truth is not None:
            masks[picture.sha256] = fitted_mask(truth, picture)
    return list(pictures.values()), masks


def _with_controls(chosen: Sequence[Method]) -> list[Method]:
    """The methods and every control, none of them twice."""
    controls = [name for name in xai.METHODS if xai.METHODS[name].family == "control"]
    missing = [xai.METHODS.build(name) for name in controls if name not in {method.name for method in chosen}]
    return list(dict.fromkeys([*chosen, *missing]))


def _metrics(words: str, pairs: Sequence[str], masks: Mapping[str, Image]) -> tuple[list[Metric], list[str]]:
    """The metrics to ask, and a line on those left out since no picture has a mask: asked by name, they are refused."""
    from xai_core.metrics import ASPECTS

    by_aspect = sorted(xai.METRICS, key=lambda name: ASPECTS.index(xai.METRICS[name].aspect))
    names = by_aspect if words == ALL else list(dict.fromkeys(names_in(words)))
    need = [] if masks else [name for name in names if xai.METRICS[name].needs_mask]
    if need and words != ALL:
        raise SettingError(
            f"{xai.METRICS[need[0]].label} holds a map against marked evidence, and there is no mask. Give one with "
            f"--mask, or leave out {need[0]}."
        )
    left_out = [
        f"{', '.join(need)}: they hold a map against marked evidence, and there is no mask. Give one with --mask."
    ]
    built = with_settings(xai.METRICS, [name for name in names if name not in need], pairs)
    if words == ALL and not any(pair.startswith("baseline") for pair in pairs):
        built = [each for one in built for each in _over_baselines(one)]
    return built, left_out if need else []


def _over_baselines(metric: Metric) -> list[Metric]:
    """Deletion and insertion by a second baseline too: what covers a picture decides in part what they say."""
    if metric.name not in ("deletion", "insertion"):
        return [metric]
    return [metric, xai.METRICS.build({**metric.to_dict(), "baseline": "mean"})]


def _repeated(context: typer.Context) -> str:
    """The command as it was given. Names of files may be names of people: a word stands for each."""
    words = ["python", "-m", "xai_core", str(context.info_name)]
    for option in context.command.params:
        value = context.params.get(str(option.name))
        if value is None or value == option.default:
            continue
        if isinstance(value, bool):
            words.append(option.opts[0] if value else (option.secondary_opts or option.opts)[0])
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            words += [option.opts[0], str(option.name).upper() if isinstance(one, Path) else str(one)]
    return shlex.join(words)
