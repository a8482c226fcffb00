"""Where models come from: the demo models, timm by name, a local checkpoint, or a module of your own.

Weights are read as numbers only: safetensors, or torch files with `weights_only=True`. Nothing in them is ever run.
"""

from __future__ import annotations

import copy
import json
import os
import re
import socket
import threading
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from xai_core.drawing_weights import drawing
from xai_core.errors import ModelError
from xai_core.images import Preprocessing
from xai_core.models import Model
from xai_core.records import TASKS

ASSETS = Path(__file__).resolve().parent.parent / "assets"
DEMO_MODELS = ASSETS / "models"
MAX_CHECKPOINT_BYTES = 4 * 2**30
HUB_SECONDS = 5.0  # to wait for the hub's host before only the local cache is asked
_making = threading.RLock()
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "module", "state_dict_ema", "model_ema")
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")


def demo_models() -> dict[str, dict[str, Any]]:
    """The cards of the models that ship with the project, by name."""
    return {path.stem: read_card(path) for path in sorted(DEMO_MODELS.glob("demo-*.safetensors"))}


def load_model(
    name: str,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    labels: str | os.PathLike[str] | Sequence[str] | None = None,
    pretrained: bool = True,
    task: str = TASKS[0],
    seed: int = 0,
    device: str | None = None,
) -> Model:
    """A model by name, ready to be asked.

    `name` is a demo model, any timm architecture (with timm's own `hf-hub:…` and `local-dir:…`), the architecture of
    `checkpoint`, or, with `pretrained=False`, an architecture whose weights are drawn at random from `seed`: such a
    model knows nothing, and says so wherever it is shown. `labels` is a list, or a text file with one label a line.
    `task` says what the outputs mean: "single label", "multi label" or "regression". Raises ModelError with what is
    wrong and what to do.
    """
    if is_safe_name(name) and (demo := DEMO_MODELS / f"{name}.safetensors").is_file():
        if checkpoint is not None or labels is not None or not pretrained or task != TASKS[0]:
            raise ModelError(
                f"{name} is a demo model, which brings its own weights and labels. For a checkpoint, other labels or "
                f"random weights name a timm architecture instead, such as {read_card(demo)['architecture']}."
            )
        return load_demo(demo, device)
    given = _read_labels(labels)
    if checkpoint is not None:
        return _load_checkpoint(name, Path(checkpoint), given, task, device)
    return _load_timm(name, given, pretrained, task, seed, device)


def wrap_model(
    module: nn.Module,
    *,
    labels: Sequence[str],
    input_size: tuple[int, int, int] = (3, 224, 224),
    mean: Sequence[float] = (0.485, 0.456, 0.406),
    std: Sequence[float] = (0.229, 0.224, 0.225),
    task: str = TASKS[0],
    name: str = "wrapped",
    device: str | None = None,
) -> Model:
    """Your own network as a Model. A copy of `module` is taken, so that yours stays as it is.

    It takes (n, 3, h, w) pictures, normalised by `mean` and `std`, and gives (n, classes) logits. `task` says what they
    mean: "single label", "multi label" (each label has a probability of its own) or "regression".
    """
    preprocessing = Preprocessing(input_size=input_size, mean=tuple(mean), std=tuple(std))  # type: ignore[arg-type]
    return Model(copy.deepcopy(module), name=name, labels=labels, preprocessing=preprocessing, task=task, device=device)


def is_safe_name(name: str) -> bool:
    """Whether a name may come from a browser or a record: a demo model or a plain timm architecture, never a path."""
    return re.fullmatch(r"[a-z0-9][a-z0-9_.\-]*", name) is not None


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
    facts = {"architecture": card["architecture"], "weights": "ships with Second Look", "notice": card["notice"]}
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
    name: str, labels: list[str] | None, pretrained: bool, task: str, seed: int, device: str | None
) -> Model:
    _check_architecture(name)
    facts: dict[str, Any] = {"architecture": name}
    if pretrained:
        module = _pretrained(name)
        facts["weights"] = str(getattr(module, "pretrained_cfg", {}).get("tag") or "pretrained")
    else:
        module = create(name, seed, pretrained=False, **({"num_classes": len(labels)} if labels else {}))
        facts["weights"] = f"drawn at random, seed {seed}"
        facts["notice"] = "Random weights: this network has learnt nothing, and its maps mean nothing."
    return _finished(module, name, labels, task, device, facts)


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

    base, _, tag = name.partition(".")
    if name.startswith(("hf-hub:", "hf_hub:", "local-dir:")) or (timm.is_model(base) and not tag):
        return
    if timm.is_model(base) and name in (known := timm.list_pretrained(f"{base}.*")):
        return
    if timm.is_model(base):
        raise ModelError(
            f"{base} has no weights called {tag!r}. It has {', '.join(n.partition('.')[2] for n in known)}."
        )
    near = difflib.get_close_matches(name, [*demo_models(), *timm.list_models()], n=1)
    hint = f"Did you mean {near[0]!r}?" if near else "See `timm.list_models()`."
    raise ModelError(f"No model is called {name!r}: it is neither a demo model nor a timm architecture. {hint}")


def create(name: str, seed: int = 0, **settings: Any) -> nn.Module:
    """A timm network. What is drawn at random follows `seed` alone, also while other threads make networks."""
    import timm

    with drawing(seed):
        module: nn.Module = timm.create_model(name, **settings)
    return module


def _finished(
    module: nn.Module, name: str, labels: list[str] | None, task: str, device: str | None, facts: Mapping[str, Any]
) -> Model:
    from timm.data.config import resolve_model_data_config

    classes = int(getattr(module, "num_classes", 0))
    if not classes:
        raise ModelError(f"{name} has no classifier, so there is nothing to explain. Choose a classification model.")
    named = labels or _known_labels(classes)
    if len(named) != classes:
        raise ModelError(f"{name} has {classes} outputs but {len(named)} labels were given. Give one label per output.")
    preprocessing = Preprocessing.from_timm(resolve_model_data_config(module))  # type: ignore[no-untyped-call]
    return Model(module, name=name, labels=named, preprocessing=preprocessing, task=task, device=device, facts=facts)


def _known_labels(classes: int) -> list[str]:
    if classes == 1000:
        from timm.data.imagenet_info import ImageNetInfo

        return [str(text) for text in ImageNetInfo().label_descriptions()]
    return [f"class {i}" for i in range(classes)]


def _read_labels(labels: str | os.PathLike[str] | Sequence[str] | None) -> list[str] | None:
    if labels is None:
        return None
    if not isinstance(labels, str | os.PathLike):
        return [str(label) for label in labels]
    try:
        lines = Path(labels).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(
            f"The labels file {labels} cannot be read ({error}). Give a text file, one label a line."
        ) from error
    named = [line.strip() for line in lines if line.strip()]
    if not named or len(set(named)) != len(named):
        raise ModelError(f"The labels file {labels} is empty or names a class twice. Give one label a line.")
    return named


# checkpoints --------------------------------------------------------------------------------------------------------


def _load_checkpoint(name: str, path: Path, labels: list[str] | None, task: str, device: str | None) -> Model:
    _check_architecture(name)
    weights, taken = _tensors(path)
    classes = _classes_in(name, weights, path)
    if labels is not None and classes != len(labels):
        raise ModelError(
            f"{path.name} ends in {classes} outputs but {len(labels)} labels were given. Give one label per output."
        )
    module = create(name, pretrained=False, num_classes=classes)
    _check_fit(name, path, module, weights)
    module.load_state_dict(weights)
    facts = {"architecture": name, "weights": f"checkpoint {path.name}" + (f", {taken}" if taken else "")}
    return _finished(module, name, labels, task, device, facts)


def _tensors(path: Path) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors of a checkpoint by name, and what was unwrapped to find them."""
    if not path.is_file():
        raise ModelError(f"There is no checkpoint {path}. Check the path.")
    if path.stat().st_size > MAX_CHECKPOINT_BYTES:
        raise ModelError(f"{path.name} is larger than {MAX_CHECKPOINT_BYTES >> 30} GiB. Save the weights alone.")
    content = _unpickled(path) if path.suffix != ".safetensors" else _from_safetensors(path)
    taken = []
    for _ in range(3):
        if not isinstance(content, Mapping):
            break
        wrapper = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if wrapper is None:
            break
        taken.append(f"its {wrapper!r}")
        content = content[wrapper]
    if not isinstance(content, Mapping) or not content:
        raise ModelError(f"{path.name} holds no weights by name. Save `model.state_dict()` and try again.")
    strange = [str(key) for key, value in content.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise ModelError(
            f"{path.name} holds {strange[0]!r}, which is no tensor. Save `model.state_dict()` and try again."
        )
    weights = {str(key): value for key, value in content.items()}
    for prefix in PREFIXES:
        if all(key.startswith(prefix) for key in weights):
            weights = {key.removeprefix(prefix): value for key, value in weights.items()}
            taken.append(f"without the prefix {prefix!r}")
    if sum(value.numel() * value.element_size() for value in weights.values()) > 4 * path.stat().st_size + 2**20:
        raise ModelError(f"{path.name} declares far more numbers than it holds. Save the weights again.")
    for key, value in weights.items():
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ModelError(f"{path.name}: {key} holds values that are not numbers. Save the weights again.")
    return {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}, ", ".join(taken)


def _from_safetensors(path: Path) -> Mapping[str, torch.Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        loaded: Mapping[str, torch.Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(f"{path.name} is not a whole safetensors file ({error}). Save it again.") from error
    return loaded


def _unpickled(path: Path) -> Any:
    with path.open("rb") as file:
        start = file.read(2)
    if start[:1] != b"\x80" and start != b"PK":
        raise ModelError(f"{path.name} is not a torch checkpoint. Save the weights with torch.save or as safetensors.")
    try:
        if start == b"PK":
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
            if any(entry.filename.endswith("constants.pkl") for entry in entries):
                raise ModelError(f"{path.name} is a TorchScript program, not weights. Save `model.state_dict()`.")
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise ModelError(f"{path.name} is a compressed archive, not a checkpoint. Save it with torch.save.")
    except zipfile.BadZipFile as error:
        raise ModelError(f"{path.name} is damaged. Save it again as safetensors.") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a hostile or damaged pickle can raise anything; none of it has been run
        reason = " ".join(str(error).split())
        blocked = re.search(r"(?:GLOBAL|global|class) `?([\w.]+)`?", reason)
        if "WeightsUnpickler" in reason or "Unsupported" in reason or "weights_only" in reason.lower():
            what = f"({blocked.group(1)}) " if blocked else ""
            raise ModelError(
                f"{path.name} holds more than weights {what}and was refused, since loading it could run code. "
                "Save `model.state_dict()` as safetensors."
            ) from error
        raise ModelError(
            f"{path.name} is not a torch checkpoint or is damaged. Save it again as safetensors."
        ) from error


def _classes_in(name: str, weights: Mapping[str, torch.Tensor], path: Path) -> int:
    """The number of outputs that a checkpoint of architecture `name` was made for."""
    with torch.device("meta"):  # shapes only
        reference: Any = create(name, pretrained=False)
    heads = reference.get_classifier()
    head = heads[0] if isinstance(heads, tuple) else heads
    key = next((f"{part}.weight" for part, module in reference.named_modules() if module is head), "")
    if key not in weights:
        _check_fit(name, path, reference, weights)
        raise ModelError(f"{path.name} has no classifier for {name}. Give a checkpoint of a classification model.")
    return len(weights[key])


def _check_fit(name: str, path: Path, module: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Raise ModelError unless every weight is there in the right shape, and none beside."""
    wanted = module.state_dict()
    missing = [key for key in wanted if key not in weights]
    extra = [key for key in weights if key not in wanted]
    both = [key for key in wanted if key in weights]
    other = [key for key in both if wanted[key].shape != weights[key].shape]
    whole = [key for key in both if wanted[key].is_floating_point() and not weights[key].is_floating_point()]
    if whole:
        raise ModelError(f"{path.name}: {whole[0]} holds whole numbers instead of weights. Save it unquantised.")
    if not (missing or extra or other):
        return
    parts = []
    if missing:
        parts.append(f"{len(missing)} weights are missing ({', '.join(missing[:2])}…)")
    if extra:
        parts.append(f"{len(extra)} are unknown ({', '.join(extra[:2])}…)")
    if other:
        key = other[0]
        shapes = f"{tuple(weights[key].shape)} instead of {tuple(wanted[key].shape)}"
        parts.append(f"{len(other)} have another shape ({key}: {shapes})")
    raise ModelError(f"{path.name} is not a checkpoint of {name}: {'; '.join(parts)}. Name the right architecture.")
