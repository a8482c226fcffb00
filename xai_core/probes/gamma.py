"""Gamma: lighten or darken the middle tones and leave black and white, as another display or film curve would.

    255 * (pixels / 255) ** (1 / gamma),   gamma = 2 ** dose

A change of lighting in the sense of Hendrycks and Dietterich, 2019, who hold brightness and contrast to be common
corruptions. https://arxiv.org/abs/1903.12261
Unlike these two it clips nothing and moves dark, middle and light tones by different amounts.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param


@PROBES.register
class Gamma(Perturbation):
    label = "Gamma"
    unit: ClassVar[str] = "doublings"
    measured: ClassVar[str] = "mean brightness, 0 to 1"

    strongest: float = param(
        -1.5,
        low=-3.0,
        high=3.0,
        label="Strongest",
        unit="doublings of gamma",
        help="Above zero the middle tones become lighter, below zero darker",
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        curve: np.ndarray = np.rint(255 * np.linspace(0, 1, 256) ** (2.0**-dose)).astype(np.uint8)
        return np.take(curve, pixels)

    def measure(self, pixels: np.ndarray) -> float:
        return float(pixels.mean() / 255)
