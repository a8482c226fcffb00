"""JPEG: store the picture as a JPEG file of falling quality and read it again.

    JPEG of quality 100 - dose, colours at half resolution;   dose 0: not stored at all

Hendrycks and Dietterich, 2019, appendix B. https://arxiv.org/abs/1903.12261
A network that reads the compression itself, because one hospital or camera stores otherwise, is found here. What is
measured is what JPEG throws away: the cosines of blocks of 8 x 8 pixels that still count, from 4 grey levels on.
Qualities are whole numbers: a dose between two is rounded.
"""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np

from xai_core.errors import PictureError
from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param

LONGEST = 65_500  # pixels


@PROBES.register
class Jpeg(Perturbation):
    label = "JPEG"
    unit: ClassVar[str] = "below quality 100"
    measured: ClassVar[str] = "share of the cosines of 8 x 8 blocks that are not about zero, 0 to 1"

    strongest: float = param(
        90.0, low=1.0, high=99.0, label="Strongest", unit="below 100", help="90 stores the picture with quality 10"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        from PIL import Image

        if dose == 0:
            return pixels.copy()
        if max(pixels.shape) > LONGEST:
            raise PictureError(
                f"A JPEG file holds no side longer than {LONGEST} pixels; make the picture smaller first."
            )
        stored = io.BytesIO()
        Image.fromarray(pixels).save(stored, "JPEG", quality=max(1, round(100 - dose)), subsampling="4:2:0")
        return np.array(Image.open(stored).convert("RGB"))

    def measure(self, pixels: np.ndarray) -> float:
        from scipy.fft import dctn

        light = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
        height, width = (-(-side // 8) for side in light.shape)
        light = np.pad(light, [(0, 8 * height - light.shape[0]), (0, 8 * width - light.shape[1])], "edge")
        cosines = dctn(light.reshape(height, 8, width, 8), axes=(1, 3), norm="ortho")
        return float((np.abs(cosines) >= 4).mean())
