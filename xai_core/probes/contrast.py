"""Contrast: pull every pixel towards the mean colour, as fog or a badly chosen window does.

    mean + (1 - dose) * (pixels - mean),   the mean of each colour over the picture

Hendrycks and Dietterich, 2019, appendix B. https://arxiv.org/abs/1903.12261
The mean stays, so that an effect is not one of brightness. Contrast is only taken away: adding it clips pixels, and
then the spread of a picture can shrink again.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.photometry import spread
from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param


@PROBES.register
class Contrast(Perturbation):
    label = "Contrast"
    unit: ClassVar[str] = "of the contrast taken away"
    measured: ClassVar[str] = "standard deviation of the pixels, in grey levels"

    strongest: float = param(
        0.8, low=0.05, high=1.0, label="Strongest", unit="of the contrast", help="Taken away; 1 leaves one flat colour"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        mean = pixels.mean(axis=(0, 1))
        flatter: np.ndarray = np.rint(mean + (1 - dose) * (pixels - mean))
        return flatter.astype(np.uint8)

    def measure(self, pixels: np.ndarray) -> float:
        return spread(pixels)
