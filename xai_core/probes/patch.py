"""Patch: cover a part of the picture with a grey rectangle that grows to the box that was drawn.

    grey, (128, 128, 128), in the box with its sides times dose

Zeiler and Fergus, 2014, section 4.2, move such a patch over the picture and watch the answer fall.
https://arxiv.org/abs/1311.2901
Where no box was drawn it is the whole picture. An answer that stays under a patch did not need what lies there; one
that falls may also mind the patch itself, which no picture of its training had.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.covering import laid, rectangle
from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param

GREY = (128, 128, 128)
PLACES = {  # where the patch starts from: shares of the box's width and height
    "centre": (0.5, 0.5),
    "top left": (0.0, 0.0),
    "top": (0.5, 0.0),
    "top right": (1.0, 0.0),
    "left": (0.0, 0.5),
    "right": (1.0, 0.5),
    "bottom left": (0.0, 1.0),
    "bottom": (0.5, 1.0),
    "bottom right": (1.0, 1.0),
}


@PROBES.register
class Patch(Perturbation):
    label = "Patch"
    unit: ClassVar[str] = "of the box's sides"
    measured: ClassVar[str] = "share of the picture in the patch's grey, 0 to 1"
    part: ClassVar[str] = "patch"

    strongest: float = param(
        1.0,
        low=0.02,
        high=1.0,
        label="Strongest",
        unit="of the box's sides",
        help="1 covers the box that was drawn, or, where none was, the whole picture",
    )
    place: str = param(
        "centre", choices=tuple(PLACES), label="Place", help="Where in the box, or in the picture, the patch starts"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        assert part is not None
        left, top, right, bottom = part.box
        across, down = PLACES[self.place]
        x, y = left + across * (right - left), top + down * (bottom - top)
        grown = (x + dose * (left - x), y + dose * (top - y), x + dose * (right - x), y + dose * (bottom - y))
        return laid(pixels, rectangle(pixels.shape, grown), GREY)

    def measure(self, pixels: np.ndarray) -> float:
        return float((pixels == GREY).all(axis=2).mean())
