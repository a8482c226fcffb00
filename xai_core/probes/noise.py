"""Noise: add a random number to every pixel, as a sensor with too little light does.

    pixels + dose * 255 * z,   z drawn once per picture from the standard normal distribution, clipped

Hendrycks and Dietterich, 2019, appendix B. https://arxiv.org/abs/1903.12261
Every dose scales the same z, so that two doses differ in strength alone. A grey picture gets grey noise. What is
measured is the estimate of sigma by Immerkaer, 1996, which planes and straight edges do not raise.
https://doi.org/10.1006/cviu.1996.0060
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param


@PROBES.register
class Noise(Perturbation):
    label = "Noise"
    unit: ClassVar[str] = "of full white"
    measured: ClassVar[str] = "estimated standard deviation of the noise, in grey levels"

    strongest: float = param(
        0.2, low=0.01, high=1.0, label="Strongest", unit="of full white", help="Standard deviation of the noise"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        grey = bool((pixels == pixels[..., :1]).all())
        drawn = chance.standard_normal((*pixels.shape[:2], 1 if grey else 3), dtype=np.float32)
        noisy: np.ndarray = np.rint(pixels + np.float32(dose * 255) * drawn)
        return noisy.clip(0, 255).astype(np.uint8)

    def measure(self, pixels: np.ndarray) -> float:
        twice = np.diff(np.diff(pixels.astype(np.float64), n=2, axis=0), n=2, axis=1)
        return float(np.sqrt(np.pi / 2) / 6 * np.abs(twice).mean()) if twice.size else 0.0
