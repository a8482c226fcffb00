"""The command `compare`: one picture through several models, their maps on one scale, and where they look apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import xai_core as xai
from xai_core.errors import SettingError
from xai_core.options import (
    ALL,
    Against,
    Bar,
    Device,
    Kind,
    Labels,
    RandomWeights,
    Seed,
    Settings,
    TargetName,
    Task,
    at_layers,
    class_number,
    names_in,
    say,
    with_settings,
)
from xai_core.records import Check, Evidence, Explanation, Image, Prediction, Record, Target

if TYPE_CHECKING:
    import numpy as np

    from xai_core.models import Model

FEWEST, MOST = 2, 4  # models side by side
SIGNS = {True: "✓", False: "✗", None: "–"}


def compare(
    models: Annotated[
        str,
        typer.Option(help="2 to 4 with commas between: demo models, timm architectures, or architecture=checkpoint"),
    ],
    out: Annotated[Path, typer.Option(help="A new or empty folder for the record")],
    image: Annotated[
        Path | None, typer.Option(help="PNG, JPEG, WebP, TIFF, BMP or DICOM; a sample by default, which is said")
    ] = None,
    method: Annotated[str, typer.Option(help="One method for all models")] = "grad_cam",
    set_: Settings = None,
    layer: Annotated[
        str,
        typer.Option(
            help="Where class activation methods read: one for all, or one for each model with commas between"
        ),
    ] = "",
    target: TargetName = None,
    kind: Kind = "logit",
    against: Against = None,
    own_scale: Annotated[bool, typer.Option("--own-scale", help="Colour each map on a scale of its own")] = False,
    weigh: Annotated[
        bool, typer.Option("--weigh", help="Say how far each map can be believed, which takes long")
    ] = False,
    seed: Seed = 0,
    labels: Labels = None,
    task: Task = None,
    random_weights: RandomWeights = False,
    device: Device = None,
) -> None:
    """Explain one picture with several models, say where they differ, and save the record of all."""
    from xai_core.checklist import checklist
    from xai_core.comparison import names_of, said
    from xai_core.manifest import check_place
    from xai_core.truth import fitted_mask, seen_by, truth_beside

    check_place(out)
    asked = _asked_models(models)
    path, about = _picture(image, asked[0][0])
    picture = xai.read_image(path)
    truth, marker = truth_beside(path), truth_beside(path, "marker_mask")
    how = _methods(method, set_ or [], layer, len(asked))
    if labels is not None and not any(checkpoint for _, checkpoint in asked):
        raise SettingError(
            "Labels are read for checkpoints, and none was named. Write it as resnet18=weights.safetensors."
        )
    _check_taken(asked, task, random_weights)
    networks = [_loaded(*one, labels, task, random_weights, seed, device) for one in asked]
    names = _told_apart(networks, names_of([network.identity for network in networks]))
    predictions = [xai.predict(network, picture) for network in networks]
    targets, notes = _targets(target, kind, against, predictions)

    explained: list[Explanation] = []
    weighed: list[Evidence | None] = []
    for network, name, one, aim in zip(networks, names, how, targets, strict=True):
        with Bar(f"Explaining {name}") as progress:
            explained.append(xai.explain(network, picture, one, aim, seed=seed, progress=progress))
        if weigh:
            with Bar(f"Weighing {name}") as progress:
                weighed.append(xai.weigh(network, explained[-1], seed=seed, progress=progress))
    looks = {"shared_scale": not own_scale}
    folder = xai.save(Record(tuple(explained), tuple(predictions), picture.source, looks), out)

    typer.echo(f"Picture     {about}")
    say(f"            {assumed}" for assumed in picture.source.get("assumed", ()))
    for network, name, prediction, e in zip(networks, names, predictions, explained, strict=True):
        mask = None if truth is None else seen_by(truth, network.preprocessing)
        say(_one_model(network, name, prediction, e, mask))
    typer.echo(f"Together    {said(predictions)}")
    say(f"            {note}" for note in notes)
    say(_differences(explained, names, picture))
    artefact = None if marker is None else fitted_mask(marker, picture)
    say(_ticked(checklist(explained, predictions, weighed, artefact)))
    typer.echo(f"Saved       {folder}: {', '.join(sorted(file.name for file in folder.iterdir()))}")


def _asked_models(words: str) -> list[tuple[str, Path | None]]:
    """Name and checkpoint of each model. Raises SettingError unless they are two to four different ones."""
    asked = []
    for word in names_in(words):
        name, equals, checkpoint = word.partition("=")
        asked.append((name.strip(), Path(checkpoint.strip()) if equals else None))
    if not FEWEST <= len(asked) <= MOST:
        raise SettingError(
            f"{len(asked)} model{'s were' if len(asked) != 1 else ' was'} named, and {FEWEST} to {MOST} are compared. "
            "Name them with commas between, as in --models demo-xray,demo-xray-shortcut."
        )
    twice = next((name for name, checkpoint in asked if asked.count((name, checkpoint)) > 1), None)
    if twice is not None:
        raise SettingError(f"{twice} is named twice, and would only agree with itself. Name another model.")
    return asked


def _picture(image: Path | None, first: str) -> tuple[Path, str]:
    """The picture's file, or a sample that the first model may know, and what to call it."""
    from xai_core.loading import ASSETS, demo_models

    if image is not None:
        return image, image.name
    is_face = demo_models().get(first, {}).get("family") == "face"
    sample = ASSETS / "samples" / ("face_happy_1.png" if is_face else "xray_simple_fracture_2.png")
    return sample, f"{sample.name}, a sample that ships with Second Look, since no --image was given"


def _methods(method: str, pairs: Sequence[str], layers: str, count: int) -> list[Any]:
    """The method for each model, at its own layer."""
    if method == ALL or "," in method:
        raise SettingError(
            "Models are compared by one method at a time. Name one, as in --method grad_cam; explain makes several "
            "maps of one model."
        )
    [chosen] = with_settings(xai.METHODS, [method.strip()], pairs)
    each = names_in(layers) if "," in layers else [layers.strip()] * count
    if len(each) != count:
        raise SettingError(f"{len(each)} layers were named for {count} models. Name one for each, or one for all.")
    return [one for layer in each for one in at_layers([chosen], layer)]


def _check_taken(asked: Sequence[tuple[str, Path | None]], task: str | None, random_weights: bool) -> None:
    """Refuse what none of the models can take; where one can, the others stay as they are."""
    if task is not None and all(checkpoint is None and _is_finished(name) for name, checkpoint in asked):
        raise SettingError(
            "What outputs mean is set for architectures and checkpoints, and none was named. Leave --task out."
        )
    if random_weights and all(checkpoint is not None or _is_finished(name) for name, checkpoint in asked):
        raise SettingError(
            "Random weights are drawn for architectures, and none was named without a checkpoint. Leave "
            "--no-pretrained out."
        )


def _is_finished(name: str) -> bool:
    """Whether a model brings its own weights, labels and task."""
    from xai_core.loading import demo_models
    from xai_core.own_models import own_models

    return name in demo_models() or name in own_models()


def _loaded(
    name: str,
    checkpoint: Path | None,
    labels: Path | None,
    task: str | None,
    random_weights: bool,
    seed: int,
    device: str | None,
) -> Model:
    """A model. Labels are for checkpoints, random weights for architectures alone: other models bring their own."""
    if checkpoint is not None:
        return xai.load_model(name, checkpoint=checkpoint, labels=labels, task=task, seed=seed, device=device)
    if _is_finished(name):
        return xai.load_model(name, seed=seed, device=device)
    return xai.load_model(name, pretrained=not random_weights, task=task, seed=seed, device=device)


def _told_apart(networks: Sequence[Model], names: list[str]) -> list[str]:
    """The names, unless two models are one."""
    for number, network in enumerate(networks):
        if any(dict(network.identity) == dict(other.identity) for other in networks[:number]):
            raise SettingError(f"{names[number]} is named twice, and would only agree with itself. Name another model.")
    return names


def _targets(
    wanted: str | None, kind: str, against: str | None, predictions: Sequence[Prediction]
) -> tuple[list[Target], list[str]]:
    """What every model is asked about, from the words of the command line: numbers count the first model's classes."""
    from xai_core.comparison import matched
    from xai_core.pipeline import resolve_target

    def number(text: str | None) -> int | None:
        is_number = text is not None and text.isdecimal() and not any(text in one.labels for one in predictions)
        return class_number(text or "", predictions[0]) if is_number else None

    if (rival := number(against)) is not None:
        against = resolve_target(rival, predictions[0]).label
    aimed = number(wanted)
    return matched(wanted if aimed is None else aimed, predictions, kind, against)


def _one_model(
    network: Model, name: str, prediction: Prediction, e: Explanation, mask: np.ndarray | None
) -> Iterator[str]:
    from xai_core.canvas import answered
    from xai_core.tables import described

    yield f"Model       {name} on {network.device}"
    if notice := network.identity.get("notice"):
        yield f"            {str(notice).replace('Random weights', 'RANDOM WEIGHTS')}"
    ranked = [int(number) for number in prediction.order()[:3]]
    yield "Prediction  " + ", ".join(f"{prediction.labels[i]} {answered(prediction, i)}" for i in ranked)
    yield from described(e, mask)


def _differences(explained: Sequence[Explanation], names: Sequence[str], picture: Image) -> Iterator[str]:
    """Of every model against the first."""
    from xai_core.comparison import differ, measured

    height, width = picture.pixels.shape[:2]
    for other, name in zip(explained[1:], names[1:], strict=True):
        yield f"Difference  {names[0]} against {name}"
        for one in measured(differ(explained[0], other, (height, width))):
            yield f"            {one.name}: {one.value} ({one.meaning})"


def _ticked(checks: Sequence[Check]) -> Iterator[str]:
    for number, check in enumerate(checks):
        yield f"{'Checklist' if number == 0 else '':<11} {SIGNS[check.passed]} {check.sentence}"
