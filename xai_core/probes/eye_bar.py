"""Eye bar: cover the eyes with a black bar that grows from the middle of the face outwards.

    black over dose of the eyes' width, a little higher than the eyes

Newton et al., 2005, show how little such a bar hides from a network that recognises faces.
https://doi.org/10.1109/TKDE.2005.32
A classifier of expressions should lose confidence; one that answers as before reads the mouth, or no face at all.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.covering import laid, rectangle
from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param

MARGIN = 0.04  # of the eyes' width, above and below


@PROBES.register
class EyeBar(Perturbation):
    label = "Bar over the eyes"
    unit: ClassVar[str] = "of the eyes' width"
    measured: ClassVar[str] = "share of the picture that is black, 0 to 1"
    part: ClassVar[str] = "eyes"

    strongest: float = param(
        1.0, low=0.05, high=1.0, label="Strongest", unit="of the eyes' width", help="1 covers both eyes from end to end"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        assert part is not None
        left, top, right, bottom = part.box
        middle, half = (left + right) / 2, dose * (right - left + 1) / 2  # half a pixel beyond: boxes end inside them
        beyond = MARGIN * (right - left) + 0.5
        return laid(
            pixels, rectangle(pixels.shape, (middle - half, top - beyond, middle + half, bottom + beyond)), (0, 0, 0)
        )

    def measure(self, pixels: np.ndarray) -> float:
        return float((pixels == 0).all(axis=2).mean())
