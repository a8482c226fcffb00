"""The verbs. What every method needs around it happens here, once: refuse, seed, time, check, freeze."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from xai_core.errors import SettingError, UnsupportedError
from xai_core.methods import METHODS, Method
from xai_core.models import Model
from xai_core.records import Explanation, Image, Passes, Prediction, Target

MethodSpec = str | Mapping[str, Any] | Method
TargetSpec = int | str | Target | None
GAP_LIMIT = 0.05  # of completeness, above which a map's sum is not what it promises
SEEDS = 2**32  # that every generator takes
PICTURES_AT_ONCE = 16  # on a GPU; more would only take memory for their traces


def predict(model: Model, image: Image) -> Prediction:
    """What `model` says of `image`."""
    x = model.preprocessing.tensor(model.preprocessing.view(image)[None])
    return _prediction(model, image, model.asked().outputs(x)[0])


def explain(
    model: Model,
    image: Image,
    method: MethodSpec,
    target: TargetSpec = None,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
    **settings: Any,
) -> Explanation:
    """How much each pixel of `image` spoke for `target` (None: the predicted class), according to `method`.

    `settings` are those of the method. `progress` is told (pictures through the network, pictures in all). Raises
    UnsupportedError with the reason where the method says nothing about this network, SettingError for what is not
    on offer, Cancelled once `cancel` is set.
    """
    chosen = METHODS.build(method)
    if settings:
        chosen = METHODS.build({**chosen.to_dict(), **settings})
    return explain_many(model, [image], [chosen], [target], seed=seed, progress=progress, cancel=cancel)[0][0]


def explain_many(
    model: Model,
    images: Sequence[Image],
    methods: Sequence[MethodSpec],
    targets: Sequence[TargetSpec] | None = None,
    *,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
) -> list[list[Explanation]]:
    """Every image by every method: a list per image, in the order of `methods`.

    Methods share what they ask of the network, so that all class activation methods together cost one forward and one
    short backward pass. `targets` is one per image; None explains the predicted class.
    """
    chosen = [METHODS.build(method) for method in methods]
    if not 0 <= seed < SEEDS:
        raise SettingError(f"Seed {seed} is not allowed. Choose one from 0 to {SEEDS - 1}.")
    if targets is not None and len(targets) != len(images):
        raise SettingError(f"{len(targets)} targets were given for {len(images)} pictures. Give one for each, or none.")
    for method in chosen:
        if reason := method.why_not(model):
            raise UnsupportedError(reason)
    fitted = [method.fitted(model) for method in chosen]
    total = cost_of(model, fitted, len(images))
    done, explained, size = 0, [], group_size(model)
    for start in range(0, len(images), size):
        group = images[start : start + size]
        wanted = list(targets[start : start + size]) if targets is not None else [None] * len(group)
        heard = None if progress is None else _from(done, total, progress)
        part, sent = _explain_group(model, group, fitted, wanted, seed, heard, cancel)
        explained.extend(part)
        done += sent
    return explained


def group_size(model: Model) -> int:
    """How many pictures are asked about together.

    On a CPU one: several are hardly faster, and the last bits of a picture's map would depend on its company.
    """
    return 1 if model.device.type == "cpu" else PICTURES_AT_ONCE


def cost_of(model: Model, methods: Sequence[Method], images: int = 1) -> int:
    """Pictures that go forward through the network, at most, when all `methods` share what they can."""
    fitted = [method.fitted(model) for method in methods]
    shared = {method.shares for method in fitted if method.shares}
    own = sum(method.cost(model).forward for method in fitted if not method.shares)
    baselines = sum(1 for method in fitted if method.promises)
    return images * (1 + ("gradients" in shared) + own + baselines)


def resolve_target(wanted: TargetSpec, prediction: Prediction) -> Target:
    """A class number, a label or nothing (the predicted class) as a Target; raises SettingError for another."""
    labels = prediction.labels
    if isinstance(wanted, Target):
        index = wanted.index
    elif wanted is None:
        index = int(prediction.order()[0])
    elif isinstance(wanted, str):
        found = [i for i, label in enumerate(labels) if label == wanted]
        if not found:
            shown = ", ".join(labels[:8]) + (" …" if len(labels) > 8 else "")
            raise SettingError(f"No class is called {wanted!r}. The model's classes are {shown}.")
        if len(found) > 1:
            raise SettingError(f"Classes {found} are all called {wanted!r}. Name one by its number.")
        index = found[0]
    else:
        index = int(wanted)
    for number in (index, *((wanted.against,) if isinstance(wanted, Target) and wanted.against is not None else ())):
        if not 0 <= number < len(labels):
            raise SettingError(f"Class {number} does not exist: the model has classes 0 to {len(labels) - 1}.")
    if isinstance(wanted, Target):
        return dataclasses.replace(wanted, label=labels[index])
    return Target(index, labels[index])


def _explain_group(
    model: Model,
    images: Sequence[Image],
    methods: Sequence[Method],
    wanted: Sequence[TargetSpec],
    seed: int,
    progress: Callable[[int], None] | None,
    cancel: threading.Event | None,
) -> tuple[list[list[Explanation]], int]:
    preprocessing = model.preprocessing
    pixels = np.stack([preprocessing.view(image) for image in images])
    x = preprocessing.tensor(pixels)
    asked = model.asked(progress=progress, cancel=cancel, x=x)
    resolved: dict[int, Target] = {}

    def choose(rows: slice, logits: torch.Tensor) -> list[Target]:
        for i, row in zip(range(rows.start, rows.stop), logits, strict=True):
            resolved[i] = resolve_target(wanted[i], _prediction(model, images[i], row))
        return [resolved[i] for i in range(rows.start, rows.stop)]

    layers = list(dict.fromkeys(name for method in methods for name in method.layers()))
    if layers:
        asked.outputs_and_trace(x, choose, layers)
    else:
        choose(slice(0, len(images)), asked.outputs(x))
    targets = [resolved[i] for i in range(len(images))]

    explained: list[list[Explanation]] = [[] for _ in images]
    for method in methods:
        asked.stop_if_cancelled()
        asked.take_notes()
        before, start = asked.passes, time.perf_counter() + asked.spared
        values = method.attribute(asked, x, targets, seed)
        seconds = (time.perf_counter() - start + asked.spared) / len(images)
        spent = asked.passes - before
        per_picture = Passes(spent.forward // len(images), spent.backward // len(images))
        if not torch.isfinite(values).all():
            raise UnsupportedError(
                f"{method.label} gave values that are not numbers on {model.name}: its weights or activations "
                "overflow. Check the checkpoint."
            )
        gaps = _completeness_gaps(asked, method, x, targets, values)
        notes = asked.take_notes()
        for i, image in enumerate(images):
            explained[i].append(
                Explanation(
                    values=values[i].float().numpy(),
                    pixels=pixels[i],
                    method=method.to_dict(),
                    model=model.identity,
                    target=targets[i],
                    image=image.sha256,
                    seed=seed,
                    seconds=seconds,
                    passes=per_picture,
                    grid=method.grid(model),
                    gap=gaps[i],
                    evidence=method.signed and method.class_specific,
                    notes=(*notes, *_warnings(method, gaps[i])),
                )
            )
    return explained, asked.sent.forward


def _completeness_gaps(
    model: Model, method: Method, x: torch.Tensor, targets: Sequence[Target], values: torch.Tensor
) -> list[float | None]:
    """By what share of f(x) - f(b) the values' sum misses it, for methods that promise to hit it."""
    if method.promises != "completeness":
        return [None] * len(x)
    change = (model.scalars(x, targets) - model.scalars(method.baseline(model, x), targets)).double()
    missed = (values.double().sum((1, 2)) - change).abs()
    return [float(miss / whole) if whole > 0 else None for miss, whole in zip(missed, change.abs(), strict=True)]


def _warnings(method: Method, gap: float | None) -> Iterator[str]:
    """What must be known to read a map rightly."""
    if not method.class_specific:
        yield f"{method.label} never looks at the target: every class gets this same map."
    elif not method.signed:
        yield f"{method.label} says how sensitive the target is, not whether the pixel speaks for or against it."
    if gap is not None and gap > GAP_LIMIT:
        yield f"The values miss the sum they promise by {gap:.0%}. Take more steps, or another baseline."


def _prediction(model: Model, image: Image, logits: torch.Tensor) -> Prediction:
    if not torch.isfinite(logits).all():
        raise UnsupportedError(
            f"{model.name} gave outputs that are not numbers: its weights or activations overflow. "
            "Check the checkpoint."
        )
    return Prediction(model.labels, logits.numpy(), model.identity, image.sha256)


def _from(done: int, total: int, progress: Callable[[int, int], None]) -> Callable[[int], None]:
    return lambda sent: progress(min(done + sent, total), total)
