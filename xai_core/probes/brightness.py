"""Brightness: make the whole picture lighter or darker, as another exposure would.

    pixels + dose * 255, clipped to what a picture can hold

Hendrycks and Dietterich, 2019, section 3, call it a common corruption: people's answers do not change with it.
https://arxiv.org/abs/1903.12261
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param


@PROBES.register
class Brightness(Perturbation):
    label = "Brightness"
    unit: ClassVar[str] = "of full white"
    measured: ClassVar[str] = "mean brightness, 0 to 1"

    strongest: float = param(
        0.4, low=-0.9, high=0.9, label="Strongest", unit="of full white", help="Above zero lighter, below zero darker"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        return np.clip(np.rint(pixels + dose * 255.0), 0, 255).astype(np.uint8)

    def measure(self, pixels: np.ndarray) -> float:
        return float(pixels.mean() / 255)
