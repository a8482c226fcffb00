"""Where models come from: the demo models, timm by name, a local checkpoint, or a module of your own."""

from __future__ import annotations

import copy
import json
import os
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xai_core.checkpoints import (
    MAX_LABEL,
    MAX_NAME,
    Checkpoint,
    Recorded,
    clean_labels,
    config_beside,
    printable,
    read_checkpoint,
)
from xai_core.drawing_weights import drawing
from xai_core.errors import ModelError
from xai_core.images import Preprocessing
from xai_core.models import Model
from xai_core.own_models import NAME, load_own, own_models
from xai_core.records import TASKS

ASSETS = Path(__file__).resolve().parent.parent / "assets"
DEMO_MODELS = ASSETS / "models"
HUB_SECONDS = 5.0  # to wait for the hub's host before only the local cache is asked
_making = threading.RLock()
FOLDER = "local-dir:"  # what timm has before a folder with weights and their config.json
MAX_SIDE = 1024  # pixels that a network may see, where a file says so
ARCHITECTURE_SETTINGS = {"img_size", "global_pool"}  # recorded ones that are passed on to timm


def demo_models() -> dict[str, dict[str, Any]]:
    """The cards of the models that ship with the project, by name."""
    return {path.stem: read_card(path) for path in sorted(DEMO_MODELS.glob("demo-*.safetensors"))}


def load_model(
    name: str = "",
    *,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    labels: str | os.PathLike[str] | Sequence[str] | None = None,
    pretrained: bool = True,
    task: str | None = None,
    seed: int = 0,
    device: str | None = None,
) -> Model:
    """A model by name, ready to be asked.

    `name` is a demo model, one of your own (see `own_models`), any timm architecture (with timm's own `hf-hub:…` and
    `local-dir:…`), the architecture of `checkpoint`, which may be left out where it is recorded in the file or in a
    `config.json` beside it, or, with `pretrained=False`, an architecture whose weights are drawn at random from `seed`:
    such a model knows nothing, and says so wherever it is shown. `labels` is a list, or a text file with one label a
    line; by default those recorded with the weights. `task` says what the outputs mean: "single label", "multi label"
    or "regression"; None goes by the head. Raises ModelError with what is wrong and what to do.
    """
    demo = DEMO_MODELS / f"{name}.safetensors"
    if is_safe_name(name) and (demo.is_file() or name in own_models()):
        if checkpoint is not None or labels is not None or not pretrained or task is not None:
            kind, other = ("a demo model", read_card(demo)["architecture"]) if demo.is_file() else ("yours", "resnet18")
            raise ModelError(
                f"{name} is {kind}, which brings its own weights and labels. For a checkpoint, other labels or "
                f"random weights name a timm architecture instead, such as {other}."
            )
        return load_demo(demo, device) if demo.is_file() else load_own(name)
    if name.startswith(FOLDER):
        if checkpoint is not None or not pretrained:
            raise ModelError("A local folder brings its own weights. For others name a timm architecture instead.")
        name, checkpoint = "", _weights_in(Path(name.removeprefix(FOLDER)))
    given = _read_labels(labels)
    if checkpoint is not None:
        return _load_checkpoint(name, checkpoint, given, task, device)
    if not name:
        raise ModelError("Name a model, such as demo-xray or resnet18, or give a checkpoint that records which it is.")
    return _load_timm(name, given, pretrained, task, seed, device)


def wrap_model(
    module: nn.Module,
    *,
    labels: Sequence[str],
    input_size: tuple[int, int, int] = (3, 224, 224),
    mean: Sequence[float] = (0.485, 0.456, 0.406),
    std: Sequence[float] = (0.229, 0.224, 0.225),
    interpolation: str = "bicubic",
    crop_fraction: float = 1.0,
    task: str | None = None,
    name: str = "wrapped",
    device: str | None = None,
) -> Model:
    """Your own network as a Model. A copy of `module` is taken, so that yours stays as it is.

    It takes (n, 3, h, w) pictures, normalised by `mean` and `std`, and gives (n, classes) logits. `interpolation` and
    `crop_fraction` say how a picture is made to fit, as in `Preprocessing`. `task` says what the logits mean: "single
    label", "multi label" (each label has a probability of its own) or "regression". None goes by the head: a single
    output is the probability of one label, several are classes that exclude one another.
    """
    numbers: dict[str, Any] = {"mean": tuple(mean), "std": tuple(std)}
    preprocessing = Preprocessing(input_size, interpolation=interpolation, crop_fraction=crop_fraction, **numbers)
    meaning, facts = _meaning(task, len(labels), name)
    return Model(
        copy.deepcopy(module), name=name, labels=labels, preprocessing=preprocessing, task=meaning, device=device,
        facts={"labels_from": "given", **facts},
    )  # fmt: skip


def is_safe_name(name: str) -> bool:
    """Whether a name may come from a browser or a record: a demo model or a plain timm architecture, never a path."""
    return NAME.fullmatch(name) is not None


def is_architecture(name: str) -> bool:
    """Whether timm has the architecture of this name. Which of its weights a tag behind it names is not asked."""
    import timm

    return bool(timm.is_model(name))


# the demo models ----------------------------------------------------------------------------------------------------


def read_card(path: Path) -> dict[str, Any]:
    """What is written on the card inside a demo model's file."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        card: dict[str, Any] = json.loads(file.metadata()["card"])
    return card


def load_demo(path: Path, device: str | None = None) -> Model:
    """A demo model from its file: weights in 16 bits, and a card that says how to build and feed the network."""
    from safetensors.torch import load_file

    card = read_card(path)
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in card["architecture_settings"].items()
    }
    module = create(card["architecture"], num_classes=len(card["labels"]), pretrained=False, **settings)
    module.load_state_dict(load_file(path))
    preprocessing = Preprocessing(
        input_size=tuple(card["input_size"]),
        mean=tuple(card["mean"]),
        std=tuple(card["std"]),
        interpolation=card["interpolation"],
        crop_fraction=card["crop_fraction"],
    )
    facts = {
        "architecture": card["architecture"],
        "weights": "ships with Second Look",
        "labels_from": "its card",
        "licence": "that of Second Look",
        "notice": card["notice"],
    }
    model = Model(
        module, name=path.stem, labels=card["labels"], preprocessing=preprocessing, device=device, facts=facts
    )
    model.card = card
    return model


def parameters_of(name: str) -> int:
    """How many numbers a timm architecture has, without making any of them. Raises ModelError for an unknown name."""
    _check_architecture(name)
    with torch.device("meta"):
        return sum(weights.numel() for weights in create(name, pretrained=False).parameters())


# timm by name -------------------------------------------------------------------------------------------------------


def _load_timm(
    name: str, labels: list[str] | None, pretrained: bool, task: str | None, seed: int, device: str | None
) -> Model:
    _check_architecture(name)
    facts: dict[str, Any] = {"architecture": name}
    if pretrained:
        module = _pretrained(name)
        cfg = getattr(module, "pretrained_cfg", {})
        facts["weights"] = str(cfg.get("tag") or "pretrained")
        facts["licence"] = str(cfg.get("license") or "not stated")
    else:
        module = create(name, seed, pretrained=False, **({"num_classes": len(labels)} if labels else {}))
        facts["weights"] = f"drawn at random, seed {seed}"
        facts["notice"] = "Random weights: this network has learnt nothing, and its maps mean nothing."
    return _finished(module, name, _named(module, name, (labels or (), "given")), task, device, facts)


def _pretrained(name: str) -> nn.Module:
    from huggingface_hub import constants

    with _making:  # the switch below is the whole process's
        offline = constants.HF_HUB_OFFLINE
        constants.HF_HUB_OFFLINE = offline or not _answers(constants.ENDPOINT)  # else it retries for a minute
        try:
            if constants.HF_HUB_OFFLINE and _from_address(name):
                raise OSError("they lie at a plain address, and nothing is downloaded now")
            return create(name, pretrained=True)
        except Exception as error:  # hubs, archives and configurations fail in many ways; none leaves anything behind
            reason = " ".join(str(error).split()).partition(". ")[0][:200].rstrip(".") or type(error).__name__
            raise ModelError(
                f"The pretrained weights of {name} are neither in the local cache nor to be had from the hub "
                f"({reason}). Connect once to download them, pass a checkpoint, or pick a demo model."
            ) from error
        finally:
            constants.HF_HUB_OFFLINE = offline


def _from_address(name: str) -> bool:
    """Whether timm would fetch these weights from a plain address, past the hub's switch, and has not done so yet."""
    import timm

    found = None if ":" in name else timm.get_pretrained_cfg(name)
    if found is None or found.has_weights is False or found.hf_hub_id or not found.url:
        return False
    file = urllib.parse.urlsplit(str(found.url)).path.rpartition("/")[2]
    return not (Path(torch.hub.get_dir()) / "checkpoints" / file).is_file()


def _answers(endpoint: str) -> bool:
    """Whether the hub's host can be reached; behind a proxy only the hub's own client can say."""
    if urllib.request.getproxies():
        return True
    host = urllib.parse.urlsplit(endpoint)
    try:
        socket.create_connection((host.hostname or "", host.port or 443), HUB_SECONDS).close()
    except OSError:
        return False
    return True


def _check_architecture(name: str) -> None:
    import difflib

    import timm

    if name.startswith(("hf-hub:", "hf_hub:")):
        return
    if not is_architecture(name):
        near = difflib.get_close_matches(name, [*demo_models(), *own_models(), *timm.list_models()], n=1)
        hint = f"Did you mean {near[0]!r}?" if near else "See `timm.list_models()`."
        raise ModelError(f"No model is called {name!r}: it is neither a demo model nor a timm architecture. {hint}")
    base, _, tag = name.partition(".")
    if tag and name not in (known := timm.list_pretrained(f"{base}.*")):
        raise ModelError(
            f"{base} has no weights called {tag!r}. It has {', '.join(n.partition('.')[2] for n in known)}."
        )


def create(name: str, seed: int = 0, **settings: Any) -> nn.Module:
    """A timm network. What is drawn at random follows `seed` alone, also while other threads make networks."""
    import timm

    with drawing(seed):
        module: nn.Module = timm.create_model(name, **settings)
    return module


def _finished(
    module: nn.Module,
    name: str,
    labels: tuple[Sequence[str], str],
    task: str | None,
    device: str | None,
    facts: Mapping[str, Any],
    preprocessing: Mapping[str, Any] | None = None,
) -> Model:
    """A timm network as a Model. `labels` come with where they are from, `preprocessing` overrules timm's own."""
    from timm.data.config import resolve_model_data_config

    named, where = labels
    meaning, why = _meaning(task, len(named), name)
    cfg = resolve_model_data_config(module)  # type: ignore[no-untyped-call]
    own = {key: value for key, value in (preprocessing or {}).items() if value is not None}
    try:
        seen = Preprocessing.from_timm({**cfg, **own})
        if not all(type(side) is int and side <= MAX_SIDE for side in seen.input_size):
            raise ValueError(f"pictures of {seen.input_size} are not of up to {MAX_SIDE} pixels a side")
    except Exception as error:  # a file can record anything
        reason = printable(str(error), 200).rstrip(".")
        raise ModelError(f"The preprocessing recorded for {name} is unusable ({reason}). Mend or remove it.") from error
    facts = {**facts, "labels_from": where, **why}
    try:
        return Model(module, name=name, labels=named, preprocessing=seen, task=meaning, device=device, facts=facts)
    except (AssertionError, ValueError, RuntimeError) as error:
        if not own:
            raise
        raise ModelError(f"{name} cannot see pictures of {seen.input_size}, as is recorded for it. Mend it.") from error


def _meaning(task: str | None, outputs: int, name: str) -> tuple[str, dict[str, str]]:
    """What the outputs mean, and a fact where that was concluded from their number."""
    if outputs != 1:
        return task or TASKS[0], {}
    if task == TASKS[0]:
        raise ModelError(
            f"{name} has one output, and a class without another to exclude would always get 100 %. Choose multi "
            "label, which reads it as a probability of its own, or regression."
        )
    return (task, {}) if task else (TASKS[1], {"task_from": "one output, so it is read as a probability of its own"})


def _named(module: nn.Module, name: str, *known: tuple[Sequence[str], str]) -> tuple[Sequence[str], str]:
    """The labels and where they are from: the first that are known, else timm's for such a network, else numbers."""
    outputs = int(getattr(module, "num_classes", 0))
    if not outputs:
        raise ModelError(f"{name} has no classifier, so there is nothing to explain. Choose a classification model.")
    for labels, where in known:
        if labels and len(labels) != outputs:
            verb = "were given" if where == "given" else f"stand in {where}"
            count = f"{outputs} outputs" if outputs > 1 else "1 output"
            raise ModelError(f"{name} has {count} but {len(labels)} labels {verb}. Give one label per output.")
        if labels:
            return labels, where
    return _known_labels(module, outputs)


def _known_labels(module: nn.Module, outputs: int) -> tuple[list[str], str]:
    from timm.data.imagenet_info import ImageNetInfo, infer_imagenet_subset

    cfg = getattr(module, "pretrained_cfg", {})
    if len(own := cfg.get("label_names") or ()) == outputs:
        words = cfg.get("label_descriptions") or {}
        return list(clean_labels(str(words.get(label, label)) for label in own)), "timm's card of these weights"
    if subset := infer_imagenet_subset({"num_classes": outputs}):
        labels = [str(text) for text in ImageNetInfo(subset).label_descriptions()]
        return labels, f"timm's list of {subset}, by the number of outputs"
    return [f"class {i}" for i in range(outputs)], "numbered, since none are known"


def _read_labels(labels: str | os.PathLike[str] | Sequence[str] | None) -> list[str] | None:
    if labels is None:
        return None
    if not isinstance(labels, str | os.PathLike):
        return [str(label) for label in labels]
    try:
        data = Path(labels).read_bytes()
    except OSError as error:
        raise ModelError(f"The labels file {labels} cannot be read ({error.strerror}). Check the path.") from error
    return labels_in(data, str(labels))


def labels_in(data: bytes, name: str) -> list[str]:
    """The labels in a text file, one a line. Raises ModelError where there are none, or one stands there twice."""
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ModelError(f"The labels file {name} is no text ({error.reason}). Give one label a line.") from error
    named = list(clean_labels(line for line in lines if line.strip()))
    if not named or len(set(named)) != len(named):
        raise ModelError(f"The labels file {name} is empty or names a class twice. Give one label a line.")
    return named


# checkpoints --------------------------------------------------------------------------------------------------------


def _load_checkpoint(
    name: str,
    given: str | os.PathLike[str] | Checkpoint,
    labels: list[str] | None,
    task: str | None,
    device: str | None,
) -> Model:
    """The network of a checkpoint. What the file itself records goes before what stands in a config.json beside it."""
    if isinstance(given, Checkpoint):
        found, beside = given, Recorded()
    else:
        found, beside = read_checkpoint(Path(given)), config_beside(Path(given))
    recorded = found.recorded
    architecture = name or _recorded_architecture(found.name, recorded.architecture or beside.architecture)
    _check_architecture(architecture)
    if beside.architecture and _base(beside.architecture) != _base(architecture):
        beside = Recorded()  # of another network in the same folder
    settings = recorded.architecture_settings or beside.architecture_settings
    if strange := sorted(set(settings) - ARCHITECTURE_SETTINGS):
        raise ModelError(
            f"{found.name} was made with the setting {strange[0][:MAX_NAME]!r}, which is not read. Build the network "
            "yourself and use wrap_model."
        )
    classes = _classes_in(architecture, found, settings)
    settings = {**settings, "num_classes": classes}
    _check_fit(architecture, found, _shapes_of(architecture, found, settings))  # before any memory is taken
    module = create(architecture, pretrained=False, **settings)
    module.load_state_dict(found.weights)
    known = ((labels or (), "given"), *((one.labels, one.labels_from) for one in (recorded, beside)))
    cfg = recorded.preprocessing or beside.preprocessing
    facts = {
        "architecture": architecture,
        "weights": ", ".join(("a checkpoint", *found.taken)),
        "licence": printable(str(cfg.get("license") or ""), MAX_LABEL) or "not stated",
    }
    return _finished(module, architecture, _named(module, found.name, *known), task, device, facts, cfg)


def _weights_in(folder: Path) -> Path:
    """The file of weights in a folder as timm and the hub write it."""
    files = [folder / "model.safetensors", folder / "pytorch_model.bin"]
    if not (found := [file for file in files if file.is_file()]):
        raise ModelError(f"{folder} holds no {files[0].name} or {files[1].name}. Pass the file as a checkpoint.")
    return found[0]


def _base(architecture: str) -> str:
    return architecture.partition(".")[0]


def _recorded_architecture(file: str, recorded: str) -> str:
    """The architecture that is recorded for a file, if timm has it. A tag that timm does not know is left off."""
    if not recorded:
        raise ModelError(f"{file} does not record which architecture its weights are of. Name it, such as resnet18.")
    for name in (recorded, _base(recorded)):
        if is_safe_name(name):
            try:
                _check_architecture(name)
            except ModelError:
                continue
            return name
    raise ModelError(f"{file} records the architecture {recorded!r}, which timm does not have. Name the one that fits.")


def _classes_in(name: str, found: Checkpoint, settings: Mapping[str, Any]) -> int:
    """The number of outputs that a checkpoint of architecture `name` was made for."""
    reference = _shapes_of(name, found, settings)
    heads = reference.get_classifier()
    head = heads[0] if isinstance(heads, tuple) else heads
    key = next((f"{part}.weight" for part, module in reference.named_modules() if module is head), "")
    if key not in found.weights or not found.weights[key].ndim:
        _check_fit(name, found, reference)
        raise ModelError(f"{found.name} has no classifier for {name}. Give a checkpoint of a classification model.")
    return len(found.weights[key])


def _shapes_of(name: str, found: Checkpoint, settings: Mapping[str, Any]) -> Any:
    """The network without its numbers."""
    try:
        with torch.device("meta"):
            return create(name, pretrained=False, **settings)
    except Exception as error:  # a file can record anything, and networks fail in many ways
        raise ModelError(f"{name} cannot be made with the settings that {found.name} records. Mend them.") from error


def _check_fit(name: str, found: Checkpoint, module: nn.Module) -> None:
    """Raise ModelError unless every weight is there in the right shape, and none beside."""
    wanted, weights = module.state_dict(), found.weights
    missing = [key for key in wanted if key not in weights]
    extra = [printable(key, MAX_NAME) for key in weights if key not in wanted]
    both = [key for key in wanted if key in weights]
    other = [
        f"{key}: {tuple(weights[key].shape)} instead of {tuple(wanted[key].shape)}"
        for key in both
        if wanted[key].shape != weights[key].shape
    ]
    whole = [key for key in both if wanted[key].is_floating_point() and not weights[key].is_floating_point()]
    if whole:
        raise ModelError(f"{found.name}: {whole[0]} holds whole numbers instead of weights. Save it unquantised.")
    differs = {"missing": missing, "unknown": extra, "of another shape": other}
    parts = [f"{_weights(len(keys))} {what} ({_first(keys)})" for what, keys in differs.items() if keys]
    if parts:
        read = f" (read from {', '.join(found.taken)})" if found.taken else ""
        raise ModelError(
            f"{found.name}{read} is not a checkpoint of {name}: {'; '.join(parts)}. Name the right architecture."
        )


def _weights(count: int) -> str:
    return "1 weight is" if count == 1 else f"{count} weights are"


def _first(keys: Sequence[str]) -> str:
    return ", ".join(keys[:3]) + (", …" if len(keys) > 3 else "")
