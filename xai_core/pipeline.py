"""The verbs. What every method needs around it happens here, once: refuse, seed, time, check, freeze."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from xai_core.errors import AuditError, Cancelled, SettingError, UnsupportedError
from xai_core.methods import METHODS, Method
from xai_core.models import Model
from xai_core.records import Explanation, Image, Passes, Prediction, Target

MethodSpec = str | Mapping[str, Any] | Method
TargetSpec = int | str | Target | None
GAP_LIMIT = 0.05  # of what the values promise to add up to; a map that misses it by more is not valid for the model
NOTEWORTHY = 0.005  # of that sum: what constants took is said
Each = Callable[[int, int, Explanation], None]  # picture, method, and the map, as soon as it is there
Said = Callable[[int, Prediction], None]  # picture, and what the model says of it
Failed = Callable[[int, int, AuditError], None]  # picture, method, and why there is no map
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
    background_images: Sequence[Image] = (),
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
    **settings: Any,
) -> Explanation:
    """How much each pixel of `image` spoke for `target` (None: the predicted class), according to `method`.

    `settings` are those of the method. `background_images` are pictures to compare with, for methods whose setting
    `background` is "pictures". `progress` is told (pictures through the network, pictures in all). Raises
    UnsupportedError with the reason where the method says nothing about this network, SettingError for what is not
    on offer, Cancelled once `cancel` is set.
    """
    chosen = METHODS.build({**METHODS.build(method).to_dict(), **settings}) if settings else method
    [[explanation]] = explain_many(
        model,
        [image],
        [chosen],
        [target],
        seed=seed,
        background_images=background_images,
        progress=progress,
        cancel=cancel,
    )
    return explanation


def explain_many(
    model: Model,
    images: Sequence[Image],
    methods: Sequence[MethodSpec],
    targets: Sequence[TargetSpec] | None = None,
    *,
    seed: int = 0,
    background_images: Sequence[Image] = (),
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
    each: Each | None = None,
    failed: Failed | None = None,
    said: Said | None = None,
) -> list[list[Explanation]]:
    """Every image by every method: a list per image, in the order of `methods`.

    Methods share what they ask of the network, so that all class activation methods together cost one forward and one
    short backward pass. `targets` is one per image; None explains the predicted class. One image given several times
    in a row, with several targets, goes forward once. `each` is told of every map as soon as it is there, the cheapest
    methods first, and `said` of what the model says of every picture. With `failed`, a method that makes no map is
    reported to it and left out, and the others go on; without it, the first mistake is raised.
    """
    chosen = [METHODS.build(method) for method in methods]
    if not 0 <= seed < SEEDS:
        raise SettingError(f"Seed {seed} is not allowed. Choose one from 0 to {SEEDS - 1}.")
    if targets is not None and len(targets) != len(images):
        raise SettingError(f"{len(targets)} targets were given for {len(images)} pictures. Give one for each, or none.")
    fitted: dict[int, Method] = {}
    for number, method in enumerate(chosen):
        if (reason := method.why_not(model)) is None:
            fitted[number] = method.fitted(model)
        elif failed is None:
            raise UnsupportedError(reason)
        else:
            for i in range(len(images)):
                failed(i, number, UnsupportedError(reason))
    cheapest_first = dict(sorted(fitted.items(), key=lambda one: _price(one[1], model)))
    behind = seen(model, background_images)
    work = _Work(model, cheapest_first, seed, behind, background_images, cancel, each, failed, said)
    total, done, explained = cost_of(model, list(fitted.values()), len(images)), 0, []
    for rows in _groups(images, group_size(model)):
        wanted = list(targets[rows]) if targets is not None else [None] * len(images[rows])
        heard = None if progress is None else _from(done, total, progress)
        part, sent = work.group(images[rows], wanted, rows.start, heard)
        explained.extend(part)
        done += sent
    return explained


def group_size(model: Model) -> int:
    """How many pictures are asked about together.

    On a CPU one: several are hardly faster, and the last bits of a picture's map would depend on its company.
    """
    return 1 if model.device.type == "cpu" else PICTURES_AT_ONCE


def _groups(images: Sequence[Image], size: int) -> Iterator[slice]:
    """Rows to ask about together: one picture that is given several times in a row, or up to `size` others."""

    def times(start: int) -> int:
        these = images[start : start + PICTURES_AT_ONCE]
        return len(list(itertools.takewhile(lambda image: _is_same(image, these[0]), these)))

    start = 0
    while start < len(images):
        stop = start + times(start)
        if stop == start + 1:
            while stop < min(len(images), start + size) and times(stop) == 1:
                stop += 1
        yield slice(start, stop)
        start = stop


def _is_same(one: Image, other: Image) -> bool:
    """Whether the network sees the same. One upload may be displayed in several ways, as under other lighting."""
    return one is other or (one.sha256 == other.sha256 and np.array_equal(one.pixels, other.pixels))


def _price(method: Method, model: Model) -> int:
    cost = method.cost(model)
    return 0 if method.shares else cost.forward + cost.backward


def cost_of(model: Model, methods: Sequence[Method], images: int = 1) -> int:
    """About how many pictures go forward through the network when all `methods` share what they can."""
    fitted = [method.fitted(model) for method in methods]
    shared = {method.shares for method in fitted if method.shares}
    own = sum(method.cost(model).forward for method in fitted if not method.shares)
    baselines = sum(1 for method in fitted if method.promises)
    return images * (1 + ("gradients" in shared) + own + baselines)


def resolve_target(wanted: TargetSpec, prediction: Prediction) -> Target:
    """A class number, a label, a Target or nothing (the predicted class) as the Target of this model.

    Raises SettingError for a class or a kind that the model does not have.
    """
    labels = prediction.labels
    if isinstance(wanted, Target):
        index = wanted.index
    elif wanted is None:
        index = int(prediction.order()[0])
    elif isinstance(wanted, str):
        found = [i for i, label in enumerate(labels) if label == wanted]
        if not found:
            near = difflib.get_close_matches(wanted, labels, n=3, cutoff=0.5) if len(labels) > 8 else []
            hint = f"Did you mean {' or '.join(map(repr, near))}?" if near else ""
            shown = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
            raise SettingError(f"No class is called {wanted!r}. {hint or f'The classes are {shown}.'}")
        if len(found) > 1:
            raise SettingError(f"Classes {found} are all called {wanted!r}. Name one by its number.")
        index = found[0]
    else:
        index = int(wanted)
    for number in (index, *((wanted.against,) if isinstance(wanted, Target) and wanted.against is not None else ())):
        if not 0 <= number < len(labels):
            raise SettingError(f"Class {number} does not exist: the model has classes 0 to {len(labels) - 1}.")
    if not isinstance(wanted, Target):
        return Target(index, labels[index])
    kind, against = wanted.kind, wanted.against
    if kind != "logit" and prediction.task == "regression":
        raise SettingError(f"{wanted.kind} is no target of a regression, whose outputs are values. Choose logit.")
    if against == index:
        raise SettingError(f"{labels[index]} cannot be contrasted with itself. Choose another class.")
    if kind in ("probability", "sigmoid"):
        kind = "sigmoid" if prediction.task == "multi label" else "probability"
    return Target(index, labels[index], kind, against, "" if against is None else labels[against])


def seen(model: Model, images: Sequence[Image]) -> torch.Tensor | None:
    """(n, 3, h, w) what the model sees of the pictures, or None where there are none."""
    preprocessing = model.preprocessing
    return preprocessing.tensor(np.stack([preprocessing.view(one) for one in images])) if images else None


@dataclasses.dataclass(frozen=True)
class _Work:
    """What is done to every group of pictures. `methods` by their number, in the order in which they are run."""

    model: Model
    methods: Mapping[int, Method]
    seed: int
    behind: torch.Tensor | None  # (k, 3, h, w)
    background: Sequence[Image]
    cancel: threading.Event | None
    each: Each | None
    failed: Failed | None
    said: Said | None

    def group(
        self,
        images: Sequence[Image],
        wanted: Sequence[TargetSpec],
        first: int,
        progress: Callable[[int], None] | None,
    ) -> tuple[list[list[Explanation]], int]:
        """The maps of a few pictures, the first of which is number `first`, and what went through the network."""
        preprocessing = self.model.preprocessing
        different = images[:1] if all(_is_same(image, images[0]) for image in images) else images
        pixels = np.stack([preprocessing.view(image) for image in different])
        x = preprocessing.tensor(pixels)
        if len(different) < len(images):
            x, pixels = x.expand(len(images), -1, -1, -1), np.broadcast_to(pixels, (len(images), *pixels.shape[1:]))
        asked = self.model.asked(progress=progress, cancel=self.cancel, x=x, background=self.behind)
        targets = self._targets(asked, x, images, wanted, first)
        explained: list[dict[int, Explanation]] = [{} for _ in images]
        for number, method in self.methods.items():
            try:
                maps = self._maps(asked, method, x, targets, images, pixels)
            except Cancelled:
                raise
            except AuditError as error:
                if self.failed is None:
                    raise
                for i in range(len(images)):
                    self.failed(first + i, number, error)
                continue
            for i, explanation in enumerate(maps):
                explained[i][number] = explanation
                if self.each is not None:
                    self.each(first + i, number, explanation)
        return [[maps[number] for number in sorted(maps)] for maps in explained], asked.sent.forward

    def _targets(
        self, asked: Model, x: torch.Tensor, images: Sequence[Image], wanted: Sequence[TargetSpec], first: int
    ) -> list[Target]:
        """Which scalar of each picture is explained. The pass that tells also brings the trace, if one is needed."""
        resolved: dict[int, Target] = {}
        predictions: dict[int, Prediction] = {}

        def choose(rows: slice, logits: torch.Tensor) -> list[Target]:
            for i, row in zip(range(rows.start, rows.stop), logits, strict=True):
                prediction = _prediction(asked, images[i], row)
                resolved[i] = resolve_target(wanted[i], prediction)
                predictions[i] = prediction
            return [resolved[i] for i in range(rows.start, rows.stop)]

        layers = list(dict.fromkeys(name for method in self.methods.values() for name in method.layers()))
        if layers:
            asked.outputs_and_trace(x, choose, layers)
        else:
            choose(slice(0, len(images)), asked.outputs(x))
        if self.said is not None:
            for i, prediction in predictions.items():
                self.said(first + i, prediction)
        return [resolved[i] for i in range(len(images))]

    def _maps(
        self,
        asked: Model,
        method: Method,
        x: torch.Tensor,
        targets: Sequence[Target],
        images: Sequence[Image],
        pixels: np.ndarray,
    ) -> list[Explanation]:
        asked.stop_if_cancelled()
        asked.take_notes()
        asked.take_absorbed()
        before, start = asked.passes, time.perf_counter() + asked.spared
        values = method.attribute(asked, x, targets, self.seed)
        seconds = (time.perf_counter() - start + asked.spared) / len(images)
        spent = asked.passes - before
        if not torch.isfinite(values).all():
            raise UnsupportedError(
                f"{method.label} gave values that are not numbers on {asked.name}: its weights or activations "
                "overflow. Check the checkpoint."
            )
        absorbed = asked.take_absorbed()
        gaps = _gaps(asked, method, x, targets, values, absorbed, self.seed)
        notes = asked.take_notes()
        compared = method.to_dict().get("background") == "pictures"
        return [
            Explanation(
                values=values[i].float().numpy(),
                pixels=pixels[i],
                method=method.to_dict(),
                model=asked.identity,
                target=targets[i],
                image=image.sha256,
                seed=self.seed,
                seconds=seconds,
                passes=Passes(spent.forward // len(images), spent.backward // len(images)),
                grid=method.grid(asked),
                gap=gaps[i],
                valid=method.approximate or (gaps[i] or 0) <= GAP_LIMIT,
                evidence=method.signed and method.class_specific,
                background=tuple(one.sha256 for one in self.background) if compared else (),
                notes=(
                    *notes,
                    *(() if absorbed is None else _taken(float(absorbed[i]), values[i])),
                    *_warnings(method, gaps[i]),
                ),
                box=asked.preprocessing.box(image),
            )
            for i, image in enumerate(images)
        ]


def _gaps(
    model: Model,
    method: Method,
    x: torch.Tensor,
    targets: Sequence[Target],
    values: torch.Tensor,
    absorbed: torch.Tensor | None,
    seed: int,
) -> list[float | None]:
    """By what share of what they promise to add up to the values miss it; None where nothing is promised or whole."""
    if method.promises is None:
        return [None] * len(x)
    whole = method.whole(model, x, targets, seed).double()
    total = values.double().sum((1, 2)) + (0 if absorbed is None else absorbed.double())
    return [
        float(miss / size) if size > 0 else None for miss, size in zip((total - whole).abs(), whole.abs(), strict=True)
    ]


def _taken(absorbed: float, values: torch.Tensor) -> Iterator[str]:
    """How much of what the values promise to add up to no pixel holds."""
    whole = absorbed + float(values.double().sum())
    if whole and abs(absorbed / whole) >= NOTEWORTHY:
        yield f"Biases and position embeddings, which no pixel holds, account for {absorbed / whole:.0%} of the score."


def _warnings(method: Method, gap: float | None) -> Iterator[str]:
    """What must be known to read a map rightly."""
    if method.family == "control":
        yield f"{method.label} is a control: it knows nothing of the model. A map that is no better is no evidence."
    elif not method.class_specific:
        yield f"{method.label} never looks at the target: every class gets this same map."
    elif not method.signed:
        yield f"{method.label} says how sensitive the target is, not whether the pixel speaks for or against it."
    if gap is not None and gap > GAP_LIMIT:
        if method.approximate:
            yield f"Approximate: the values miss by {gap:.0%} the sum that endless draws would have. {method.remedy}"
        else:
            yield (
                f"Not valid for this model: the values miss the sum they promise by {gap:.0%}, more than "
                f"{GAP_LIMIT:.0%}. {method.remedy}"
            )


def _prediction(model: Model, image: Image, logits: torch.Tensor) -> Prediction:
    if not torch.isfinite(logits).all():
        raise UnsupportedError(
            f"{model.name} gave outputs that are not numbers: its weights or activations overflow. "
            "Check the checkpoint."
        )
    return Prediction(model.labels, logits.numpy(), model.identity, image.sha256)


def _from(done: int, total: int, progress: Callable[[int, int], None]) -> Callable[[int], None]:
    return lambda sent: progress(done + sent, max(done + sent, total))
