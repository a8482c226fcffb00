"""Scores of maps, by every metric. What every metric needs around it happens here, once: group, refuse, check, freeze.

Maps of one picture and one target are scored together, so that what a metric asks of the network does not grow with the
number of maps unless the pictures it asks about do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from xai_core.account import Pictures
from xai_core.errors import AuditError, Cancelled, SettingError
from xai_core.methods import METHODS
from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.models import Model
from xai_core.pipeline import PICTURES_AT_ONCE, SEEDS, cost_of, seen
from xai_core.records import Explanation, Image, Score, Target
from xai_core.truth import as_seen

MetricSpec = str | Mapping[str, Any] | Metric
Mask = Image | np.ndarray
Progress = Callable[[int, int], None]
Each = Callable[[int, int, Score], None]  # map, metric, and the score, as soon as it is there
RANDOM = "random"  # the control that the nulls of other maps are read from


def score(
    model: Model,
    explanation: Explanation,
    metric: MetricSpec,
    *,
    mask: Mask | None = None,
    seed: int = 0,
    background_images: Sequence[Image] = (),
    **settings: Any,
) -> Score:
    """One map by one metric. `settings` are those of the metric, the rest as in `score_many`."""
    chosen = METRICS.build({**METRICS.build(metric).to_dict(), **settings}) if settings else metric
    masks = {} if mask is None else {explanation.image: mask}
    [[found]] = score_many(model, [explanation], [chosen], masks=masks, seed=seed, background_images=background_images)
    return found


def score_many(
    model: Model,
    explanations: Sequence[Explanation],
    metrics: Sequence[MetricSpec],
    *,
    masks: Mapping[str, Mask] | None = None,
    seed: int = 0,
    background_images: Sequence[Image] = (),
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    each: Each | None = None,
) -> list[list[Score]]:
    """Every map by every metric: a list per map, in the order of `metrics`.

    `model` is the one that made the maps. `masks` mark the evidence, by the sha256 of the picture: as uploaded, or
    (h, w) bool as the model sees it. `background_images` are those that the maps were compared with. Where a metric is
    undefined, the score says why: the map is flat, or there is no mask. `progress` is told (pictures through the
    network, pictures in all). Raises SettingError where model and maps do not belong together, Cancelled once `cancel`
    is set. `each` is told of every score as soon as it is there.
    """
    chosen = [METRICS.build(metric) for metric in metrics]
    groups = in_groups(
        model,
        explanations,
        lambda maps: sum(metric.cost(maps) for metric in chosen),
        masks=masks,
        seed=seed,
        background_images=background_images,
        progress=progress,
        cancel=cancel,
    )
    found: list[list[Score]] = [[] for _ in explanations]
    for rows, maps in groups:
        for number, metric in enumerate(chosen):
            for i, one in zip(rows, _scores(metric, maps, [explanations[i] for i in rows]), strict=True):
                found[i].append(one)
                if each is not None:
                    each(i, number, one)
    return found


def in_groups(
    model: Model,
    explanations: Sequence[Explanation],
    cost: Callable[[Maps], int],
    *,
    masks: Mapping[str, Mask] | None = None,
    seed: int = 0,
    background_images: Sequence[Image] = (),
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Iterator[tuple[list[int], Maps]]:
    """The maps of one picture and one target after the other, with their numbers. Everything else as in `score_many`.

    `cost` says how many pictures go through the network for a group, so that `progress` knows them all.
    """
    total = 0
    asked = model.asked(
        progress=None if progress is None else lambda sent: progress(sent, max(sent, total)),
        cancel=cancel,
        background=seen(model, background_images),
    )

    def gathered(rows: Sequence[int]) -> Maps:
        return gather(asked, [explanations[i] for i in rows], masks=masks, seed=seed)

    groups = _grouped(explanations)
    total = sum(map(cost, map(gathered, groups)))
    for rows in groups:
        yield rows, gathered(rows)  # again: those of all pictures at once would fill the memory


def _grouped(explanations: Sequence[Explanation]) -> list[list[int]]:
    """The numbers of those that are of one picture and one target."""
    groups: dict[Any, list[int]] = {}
    for i, e in enumerate(explanations):
        groups.setdefault((e.image, e.pixels.tobytes(), e.target), []).append(i)
    return list(groups.values())


def gather(
    asked: Model, explanations: Sequence[Explanation], *, masks: Mapping[str, Mask] | None = None, seed: int = 0
) -> Maps:
    """The maps among `explanations`, all of one picture and one target, that are not flat, ready to be measured.

    `asked` is one caller's door. Raises SettingError for maps of another model, and for a mask of another shape.
    """
    first = explanations[0]
    if not 0 <= seed < SEEDS:
        raise SettingError(f"Seed {seed} is not allowed. Choose one from 0 to {SEEDS - 1}.")
    for key in ("weights_sha256", "preprocessing_sha256"):
        if any(e.model.get(key) != asked.identity[key] for e in explanations):
            raise SettingError(
                f"{first.model.get('name', 'These maps')} made these maps with other {key.partition('_')[0]} than "
                f"{asked.name} has here. Explain the picture anew, then score it."
            )
    shown = tuple(e for e in explanations if not e.flat)
    methods = tuple(METHODS.build(e.method) for e in shown)
    x = asked.preprocessing.tensor(first.pixels[None])
    values = np.stack([e.values for e in shown]).astype(np.float64) if shown else np.empty((0, *first.values.shape))
    mask = (masks or {}).get(first.image)
    home = asked.about(x)

    def again(
        x: Pictures,
        targets: Sequence[Target],
        *,
        model: Model | None = None,
        reseed: int = 0,
        rows: Sequence[int] | None = None,
    ) -> np.ndarray:
        door, parts = model or home, []
        asked_of = [(methods[i], shown[i].seed) for i in (range(len(shown)) if rows is None else rows)]
        layers = list(dict.fromkeys(name for method, _ in asked_of for name in method.layers()))
        for start in range(0, len(x), PICTURES_AT_ONCE):
            group = slice(start, min(start + PICTURES_AT_ONCE, len(x)))
            part, wanted = x[group], list(targets[group])
            caller = door.about(part)
            if layers:
                caller.trace(part, wanted, layers)
            made = [method.attribute(caller, part, wanted, (seed + reseed) % SEEDS) for method, seed in asked_of]
            parts.append(torch.stack(made).float().numpy())
        return np.concatenate(parts, axis=1)

    return Maps(
        model=home,
        x=x,
        target=first.target,
        explanations=shown,
        methods=methods,
        values=values,
        again=again,
        cost=cost_of(asked, methods) if methods else 0,
        seed=seed,
        mask=None if mask is None else as_seen(mask, asked.preprocessing),
    )


def _scores(metric: Metric, maps: Maps, explanations: Sequence[Explanation]) -> list[Score]:
    """A score for each of `explanations`, those of flat maps among them."""
    before = maps.model.sent
    measured = iter(_measured(metric, maps))
    found = [Measured(None, e.flat) if e.flat else _finite(next(measured), metric) for e in explanations]
    spent = maps.model.sent - before
    null = _null(metric, found, explanations)
    return [
        Score(
            metric=metric.to_dict(),
            method=e.method,
            target=e.target,
            image=e.image,
            value=one.value,
            better=metric.better,
            null=null if one.null is None else one.null,
            unit=metric.unit,
            why=one.why,
            curve=one.curve,
            details=one.details,
            seed=maps.seed,
            passes=spent,
        )
        for e, one in zip(explanations, found, strict=True)
    ]


def _measured(metric: Metric, maps: Maps) -> list[Measured]:
    if not len(maps):
        return []
    if reason := metric.why_not(maps):
        return [Measured(None, reason)] * len(maps)
    try:
        return metric.measure(maps)
    except (Cancelled, SettingError):
        raise
    except AuditError as error:
        return [Measured(None, str(error))] * len(maps)


def _finite(one: Measured, metric: Metric) -> Measured:
    if one.value is None or np.isfinite(one.value):
        return one
    return Measured(
        None, f"{metric.label} is not finite here: the network overflows on pictures that it is asked about."
    )


def _null(metric: Metric, found: Sequence[Measured], explanations: Sequence[Explanation]) -> float | None:
    """What the random control got, for metrics whose null has no formula."""
    if not metric.null_from_controls:
        return None
    values = [
        one.value
        for one, e in zip(found, explanations, strict=True)
        if e.method["name"] == RANDOM and one.value is not None
    ]
    return float(np.mean(values)) if values else None
