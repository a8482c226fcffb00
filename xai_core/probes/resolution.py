"""Resolution: make the picture smaller and stretch it to its size again, as a thumbnail or a coarse camera would.

    stretched(shrunk(pixels, side / 2 ** dose), side),   both by weights that fall in straight lines

Hendrycks and Dietterich, 2019, appendix B (pixelate), but without the steps, whose edges would be something new in the
picture. https://arxiv.org/abs/1903.12261
A network that sees 224 pixels of side notices nothing until fewer than that are left.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.photometry import detail
from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param


@PROBES.register
class Resolution(Perturbation):
    label = "Resolution"
    unit: ClassVar[str] = "halvings"
    measured: ClassVar[str] = "mean difference of neighbouring pixels, in grey levels"

    strongest: float = param(
        4.0, low=0.5, high=7.0, label="Strongest", unit="halvings", help="Each halves the pixels per side"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        from PIL import Image

        picture = Image.fromarray(pixels)
        width, height = (max(1, round(side / 2**dose)) for side in picture.size)
        small = picture.resize((width, height), Image.Resampling.BILINEAR)
        return np.array(small.resize(picture.size, Image.Resampling.BILINEAR))

    def measure(self, pixels: np.ndarray) -> float:
        return detail(pixels)
