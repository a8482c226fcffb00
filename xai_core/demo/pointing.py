"""Where maps of the demo models peak, on pictures whose evidence is known to the pixel.

The truth here is what was drawn. For the honest networks that is also what they can only have learnt from; for the
network that cheats, the truth is the side marker. Chance and a centre Gaussian stand beside every figure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from xai_core.demo import face, xray
from xai_core.demo.drawing import Drawing
from xai_core.demo.train import share
from xai_core.loading import load_model
from xai_core.methods import FAMILIES, METHODS, Family
from xai_core.pipeline import explain_many, predict
from xai_core.records import Explanation, Image
from xai_core.truth import distances_to, mass_inside, peak_hits, seen_by

FIRST_SEED = 1_500_000  # fresh pictures: neither trained on nor used to measure accuracy


@dataclass(frozen=True)
class Pointing:
    """One method on one model, over the `n` rightly named pictures for which its map is not flat."""

    method: str
    family: Family
    n: int
    tolerance: float  # pixels of what the model saw: one cell of the map's own grid
    # Pictures whose map peaks within the tolerance of the truth: accuracy, n, interval. None if all maps are flat.
    hits: Mapping[str, Any] | None
    chance: float  # share of the picture within the tolerance of the truth
    centre: float  # hits of a map that always peaks in the middle of the picture, as a centre Gaussian does
    mass: float | None  # mean share of the positive mass inside the truth itself
    mass_chance: float  # the truth's share of the picture
    flat: int  # maps left out because they show nothing
    invalid: int  # maps among the n that miss the sum they promise


def measure(
    name: str,
    truth: str,
    pictures: int,
    methods: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> list[Pointing]:
    """How often each method's map peaks in the mask called `truth`, over `pictures` that model `name` names rightly.

    Family by family; methods that are not valid for the model are left out. For a network with a planted shortcut,
    pictures are drawn with what gives their class away.
    """
    model = load_model(name)
    planted = model.card.get("planted")
    shown: list[Drawing] = []
    images: list[Image] = []
    for drawing in drawings(model.card["family"], planted, truth, model.card.get("attribute", "marker")):
        image = Image(drawing.pixels, f"{len(images):064d}")
        if predict(model, image).top(1)[0][0] == drawing.label:
            shown.append(drawing)
            images.append(image)
        if len(images) == pictures:
            break
    masks = [seen_by(as_image(drawing.masks[truth]), model.preprocessing) for drawing in shown]
    names = sorted(methods or METHODS, key=lambda name: (FAMILIES.index(METHODS[name].family), name))
    names = [name for name in names if METHODS[name]().why_not(model) is None]
    explained: list[list[Explanation]] = []
    for image in images:
        explained += explain_many(model, [image], names)
        if progress is not None:
            progress(len(explained), len(images))
    return [_row(name, maps, masks) for name, maps in zip(names, zip(*explained, strict=True), strict=True)]


def _row(method: str, explained: Sequence[Explanation], masks: Sequence[np.ndarray]) -> Pointing:
    shown = [(e, mask) for e, mask in zip(explained, masks, strict=True) if not e.flat]
    n = len(shown)
    tolerance = explained[0].cell
    found = [bool(peak_hits(e, mask, tolerance)) for e, mask in shown]
    reach = [distances_to(mask) <= tolerance for mask in masks]
    height, width = masks[0].shape
    inside = [mass_inside(e.values, mask) for e, mask in shown]
    return Pointing(
        method=method,
        family=METHODS[method].family,
        n=n,
        tolerance=tolerance,
        hits=share(np.array(found)) if n else None,
        chance=float(np.mean([r.mean() for r in reach])),
        centre=float(np.mean([r[height // 2, width // 2] for r in reach])),
        mass=float(np.mean([share for share in inside if share is not None])) if n else None,
        mass_chance=float(np.mean([mask.mean() for mask in masks])),
        flat=len(explained) - n,
        invalid=sum(not e.valid for e, _ in shown),
    )


def drawings(
    family: str, planted: Mapping[str, Any] | None, truth: str, attribute: str = "marker"
) -> Iterator[Drawing]:
    """Fresh drawings that hold the part called `truth`, labels in turn, with the `attribute` that gives each away."""
    draw, labels = (xray.draw, xray.LABELS) if family == "xray" else (face.draw, face.LABELS)
    for i in count(0):
        label = labels[i % len(labels)]
        options: dict[str, Any] = {} if planted is None else {attribute: planted[label]}
        drawing = draw(FIRST_SEED + i, label, **options)
        if drawing.masks[truth].any():
            yield drawing


def as_image(mask: np.ndarray) -> Image:
    """A (h, w) bool mask as the picture that a person would give."""
    return Image(np.repeat(mask[..., None], 3, axis=2).astype(np.uint8) * 255, "0" * 64)
