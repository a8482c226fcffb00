"""Patch: cover a part of the picture with a grey rectangle that grows to the box that was drawn.

    grey, (128, 128, 128), over dose of the area of the largest patch, in its proportions

The largest patch is the box that was drawn; where none was, a share of the picture, by default half: a patch over all
of it would make every answer the same.

Zeiler and Fergus, 2014, section 4.2, move such a patch over the picture and watch the answer fall.
https://arxiv.org/abs/1311.2901
An answer that stays under a patch did not need what lies there; one that falls may also mind the patch itself, which
no picture of its training had.
"""

from __future__ import annotations

import math
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
    unit: ClassVar[str] = "of the largest patch"
    measured: ClassVar[str] = "share of the picture in the patch's grey, 0 to 1"
    part: ClassVar[str] = "patch"

    strongest: float = param(
        1.0,
        low=0.02,
        high=1.0,
        label="Strongest",
        unit="of the largest patch",
        help="1 covers the box that was drawn, or, where none was, as much of the picture as is set here",
    )
    without_box: float = param(
        0.5,
        low=0.02,
        high=0.9,
        label="Largest patch without a box",
        unit="of the picture",
        help="Share of the picture that the largest patch covers where no box was drawn",
    )
    place: str = param(
        "centre", choices=tuple(PLACES), label="Place", help="Where in the box, or in the picture, the patch starts"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        from xai_core.parts import WHOLE

        assert part is not None
        left, top, right, bottom = part.box
        across, down = PLACES[self.place]
        x, y = left + across * (right - left), top + down * (bottom - top)
        side = math.sqrt(dose * (self.without_box if part.source == WHOLE else 1.0))
        grown = (x + side * (left - x), y + side * (top - y), x + side * (right - x), y + side * (bottom - y))
        return laid(pixels, rectangle(pixels.shape, grown), GREY)

    def measure(self, pixels: np.ndarray) -> float:
        return float((pixels == GREY).all(axis=2).mean())
