"""Blur: smooth the picture with a Gaussian, as a lens out of focus or a moving patient does.

    G(sigma) * pixels,   sigma = dose % of the shorter side; the picture goes on beyond its border as in a mirror

Dodge and Karam, 2016, found networks to be most easily misled by blur and noise. https://arxiv.org/abs/1604.04004
A network that sees 224 pixels of side does not notice a sigma far below 1/224 = 0.4 % of the side.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.photometry import detail
from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param


@PROBES.register
class Blur(Perturbation):
    label = "Blur"
    unit: ClassVar[str] = "% of the shorter side"
    measured: ClassVar[str] = "mean difference of neighbouring pixels, in grey levels"

    strongest: float = param(
        2.0, low=0.1, high=10.0, label="Strongest", unit="% of the shorter side", help="Sigma of the Gaussian"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        import cv2

        sigma = dose / 100 * min(pixels.shape[:2])
        if sigma == 0:
            return pixels.copy()
        smooth = cv2.GaussianBlur(pixels.astype(np.float32), (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
        return np.clip(np.rint(smooth), 0, 255).astype(np.uint8)

    def measure(self, pixels: np.ndarray) -> float:
        return detail(pixels)
