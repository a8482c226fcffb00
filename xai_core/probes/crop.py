"""Crop: cut a band away from all four sides, so that what is left comes nearer.

    pixels[n : H - n, m : W - m],   n = dose % of H, m = dose % of W, both rounded

Xiao et al., 2021, found networks to rest their answers on what surrounds the object. https://arxiv.org/abs/2006.09994
The network sees the rest at a larger scale: border removal takes the same band away without that. Whole rows and
columns are cut, so that of a small picture two doses may cut the same.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param


@PROBES.register
class Crop(Perturbation):
    label = "Crop"
    unit: ClassVar[str] = "% a side"
    measured: ClassVar[str] = "number of pixels"

    strongest: float = param(
        25.0, low=1.0, high=45.0, label="Strongest", unit="% of the side", help="Cut away from each of the four sides"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        height, width = pixels.shape[:2]
        rows, columns = cut(height, dose), cut(width, dose)
        return pixels[rows : height - rows, columns : width - columns].copy()

    def move(self, shape: tuple[int, int], dose: float) -> np.ndarray:
        return np.array([[1.0, 0.0, -cut(shape[1], dose)], [0.0, 1.0, -cut(shape[0], dose)]])

    def measure(self, pixels: np.ndarray) -> float:
        return float(pixels.shape[0] * pixels.shape[1])


def cut(side: int, dose: float) -> int:
    """Pixels to cut away from each end of a side; one at least is left."""
    return min(round(side * dose / 100), (side - 1) // 2)
