"""The command `probe`: what a model leans on, asked of a set of pictures or of one, by one probe or by all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import xai_core as xai
from xai_core.errors import AuditError, Cancelled, PictureError, SettingError
from xai_core.options import (
    STOPPED,
    Background,
    Bar,
    Checkpoint,
    Device,
    Labels,
    Layer,
    ModelName,
    RandomWeights,
    Seed,
    Split,
    Task,
    Where,
    at_layers,
    model_name,
    named_methods,
    names_in,
    pairs_in,
    pictures_in,
    say,
    sigterm_as_ctrl_c,
    with_settings,
)

if TYPE_CHECKING:
    from xai_core.cases import CaseSet
    from xai_core.models import Model
    from xai_core.probes import Box, Probe
    from xai_core.records import Finding

SHOWN = 12  # lines of what was left out; the record has them all
REPORT = "report.md"


def probe(
    out: Annotated[Path, typer.Option(help="A new or empty folder: for the record, or for one of each probe")],
    data: Annotated[
        Path | None,
        typer.Option(help="A folder of class folders, a folder with labels.csv (file,label[,…]), or a zip of either"),
    ] = None,
    image: Annotated[Path | None, typer.Option(help="One picture, in place of --data")] = None,
    model: ModelName = "",
    probe: Annotated[str, typer.Option("--probe", help="One probe, or several with commas between")] = "",
    every: Annotated[bool, typer.Option("--all", help="Every probe that can be asked of these pictures")] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="A setting, such as column=sex, for every chosen probe that has it", metavar="NAME=VALUE"
        ),
    ] = None,
    method: Annotated[
        str, typer.Option(help="Whose maps: one method, several with commas between, or none")
    ] = "grad_cam",
    method_set: Annotated[
        list[str] | None,
        typer.Option(help="A setting, such as steps=64, for every chosen method that has it", metavar="NAME=VALUE"),
    ] = None,
    layer: Layer = "",
    target: Annotated[
        str | None, typer.Option(help="A class by name; by default that predicted on each original")
    ] = None,
    box: Annotated[
        str, typer.Option(help="Of --image: where its face or thing is, as left,top,right,bottom in pixels")
    ] = "",
    split: Split = "",
    where: Where = None,
    background: Background = None,
    seed: Seed = 0,
    checkpoint: Checkpoint = None,
    labels: Labels = None,
    task: Task = None,
    random_weights: RandomWeights = False,
    device: Device = None,
) -> None:
    """Ask what a model leans on: change pictures, compare groups, plant shortcuts; and save the record."""
    from xai_core.manifest import check_place

    check_place(out)
    chosen = _probes(probe, every, set_ or [])
    cases = _pictures(data, image, split, where or [])
    boxes = _boxes(box, cases, chosen) if box else {}
    if method == "none" and (method_set or layer):
        raise SettingError("--method-set and --layer are for methods, and none was named. Leave them out.")
    made_by = [] if method == "none" else named_methods(method)
    methods = at_layers(with_settings(xai.METHODS, made_by, method_set or []), layer) if made_by else []
    behind = pictures_in(background)
    network = xai.load_model(
        model_name(model, checkpoint), checkpoint=checkpoint, labels=labels, pretrained=not random_weights, task=task,
        seed=seed, device=device,
    )  # fmt: skip
    say(_asked(network, cases))
    found: dict[str, Finding | str] = {}
    try:
        with sigterm_as_ctrl_c():
            for one in chosen:
                try:
                    with Bar(one.label) as progress:
                        finding = xai.probe(
                            network, cases, one, methods, target=target, seed=seed, boxes=boxes,
                            background_images=behind, progress=progress,
                        )  # fmt: skip
                except AuditError as error:
                    if not every:
                        raise
                    found[one.name] = str(error)
                    say(["", f"{one.label}: not asked. {error}"])
                    continue
                found[one.name] = finding
                if len(chosen) > 1:
                    out.mkdir(exist_ok=True)
                folder = xai.save(finding, out / one.name if len(chosen) > 1 else out)
                say(["", *_said(one, finding, cases), f"Saved       {folder}"])
    except (KeyboardInterrupt, Cancelled):
        kept = sum(not isinstance(one, str) for one in found.values())
        typer.echo(f"Stopped. {kept} of {len(chosen)} probes were saved; nothing of the others was kept.")
        raise typer.Exit(STOPPED) from None
    if len(chosen) > 1:
        _report(out, network, found)


def _probes(words: str, every: bool, pairs: Sequence[str]) -> list[Probe]:
    if every == bool(words):
        raise SettingError(
            f"Name a probe with --probe, or ask all of them with --all. There are {', '.join(xai.PROBES)}."
        )
    return with_settings(xai.PROBES, list(xai.PROBES) if every else list(dict.fromkeys(names_in(words))), pairs)


def _pictures(data: Path | None, image: Path | None, split: str, where: Sequence[str]) -> CaseSet:
    """The set, or one picture with what a labels.csv beside it says of it."""
    from xai_core.cases import TABLE, CaseSet, read_cases
    from xai_core.records import Case

    if (data is None) == (image is None):
        raise SettingError("Name a set with --data, or one picture with --image.")
    if data is not None:
        return read_cases(data, split=split, where=pairs_in(where))
    assert image is not None
    if split or where:
        raise SettingError("--split and --where choose among the pictures of a set. Leave them out, or give --data.")
    beside = read_cases(image.parent).cases if (image.parent / TABLE).is_file() else ()
    try:
        content = image.read_bytes()
    except OSError as error:
        raise PictureError(f"{image} cannot be read: {error.strerror}. Name a picture.") from error
    alone = Case(image.name, lambda: content)
    return CaseSet(image.name, (next((case for case in beside if case.name == image.name), alone),))


def _boxes(words: str, cases: CaseSet, chosen: Sequence[Probe]) -> dict[str, Box]:
    """The box drawn on the one picture, by its sha256."""
    if not any(getattr(one, "part", "") for one in chosen):
        raise SettingError("--box says where a part is, and none of these probes asks about one. Leave it out.")
    if len(cases.cases) > 1:
        raise SettingError("--box is drawn on one picture. Give it with --image, or mark parts in a set by masks.")
    try:
        left, top, right, bottom = map(float, names_in(words))
    except ValueError:
        raise SettingError(
            f"{words!r} is no box. Write left,top,right,bottom in pixels, such as 80,40,160,140."
        ) from None
    picture = xai.read_image(cases.cases[0].read(), cases.cases[0].name)
    height, width = picture.pixels.shape[:2]
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        raise SettingError(
            f"The box {words} does not lie in the picture, which is {width} × {height} pixels. Give left before right "
            "and top before bottom."
        )
    return {picture.sha256: (left, top, right, bottom)}


def _asked(network: Model, cases: CaseSet) -> Iterator[str]:
    from xai_core.probing import said_of_labels

    count = len(cases.cases)
    yield f"Data        {cases.name}: {count:,} picture{'s' if count > 1 else ''}"
    yield from (f"            {sentence}" for sentence in cases.said)
    yield from (f"Refused     {name}: {why}" for name, why in cases.refused[:SHOWN])
    yield f"Model       {network.name} on {network.device}"
    if notice := network.identity.get("notice"):
        yield f"            {str(notice).replace('Random weights', 'RANDOM WEIGHTS')}"
    yield from (f"            {sentence}" for sentence in said_of_labels(network, cases))


def _said(one: Probe, finding: Finding, cases: CaseSet) -> Iterator[str]:
    """The answer first; then what was left out, and what it cost."""
    from xai_core.probing import named

    yield f"Probe       {one}"
    yield from (f"Found       {sentence}" for sentence in finding.sentences)
    names = [case.name for case in cases.cases]
    yield from (f"Left out    {named(sentence, names)}" for sentence in finding.left_out[:SHOWN])
    if len(finding.left_out) > SHOWN:
        yield f"            and {len(finding.left_out) - SHOWN:,} more, all in the record"
    yield from (f"Note        {named(sentence, names)}" for sentence in finding.notes[:SHOWN])
    yield f"Cost        {finding.passes}, {finding.seconds:.1f} s"


def _report(out: Path, network: Model, found: Mapping[str, Finding | str]) -> None:
    """A page in Markdown on all probes: what was found, and what could not be asked."""
    from xai_core.durable import replace_file
    from xai_core.score_summary import safe

    asked = {name: one for name, one in found.items() if not isinstance(one, str)}
    if not asked:
        raise SettingError("No probe could be asked of these pictures. Give a set with labels.csv, or name one probe.")
    lines = [f"# What {safe(network.name)} leans on", ""]
    if notice := network.identity.get("notice"):
        lines += [f"**{safe(notice)}**", ""]
    for name, one in asked.items():
        lines += [f"## {safe(xai.PROBES[name].label)}", ""]
        lines += [f"- {safe(sentence)}" for sentence in one.sentences]
        methods = ", ".join(xai.METHODS[str(method["name"])].label for method in one.methods) or "none"
        lines += ["", f"n = {len(one.pictures)} pictures; maps by {methods}; {one.passes} passes; seed {one.seed}."]
        lines += [f"Numbers and figures: [{name}/]({name}/)", ""]
        missing = [*one.left_out, *one.notes]
        lines += [f"- {safe(sentence)}" for sentence in missing[:SHOWN]]
        lines += [f"- and {len(missing) - SHOWN} more, in the record"] if len(missing) > SHOWN else []
        lines += [""] if missing else []
    refused = [(name, why) for name, why in found.items() if isinstance(why, str)]
    if refused:
        lines += ["## Not asked", "", *(f"- {safe(xai.PROBES[name].label)}: {safe(why)}" for name, why in refused), ""]
    replace_file(out / REPORT, "\n".join(lines).encode())
    typer.echo(f"\nReport      {out / REPORT}")
