"""Skin tone: make skin lighter or darker and leave the rest of the picture as it is.

    L* + dose * skin,   in CIELAB, skin is 1, else 0, soft at its edge;   a* and b* times √(L*' / L*) if darker

Thong et al., 2023, measure apparent skin colour by L* and hue: the hue stays. https://arxiv.org/abs/2309.05148
Skin is what has its colour: Cb from 77 to 127 and Cr from 133 to 173, which hold for light and dark skin (Chai and
Ngan, 1999, https://doi.org/10.1109/76.767122), and a chroma of 10 to 45 in CIELAB, against walls and bright cloth.
Hair, lips, sand and wood often have it too. A picture with less than 1 % of it, such as a grey one, is left out.
This is a shift of lightness, not another person: features, and the light that a camera adapts to a tone, stay. Skin
that is dark already becomes black under a strong dose: look at the pictures.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.errors import PictureError
from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param

LEAST = 0.01  # share of the picture that is skin
SOFT = 0.01  # of the shorter side: over which the edge of skin fades


@PROBES.register
class SkinTone(Perturbation):
    label = "Skin tone"
    unit: ClassVar[str] = "L*"
    measured: ClassVar[str] = "mean lightness L* of the picture, 0 to 100"

    strongest: float = param(
        -25.0,
        low=-60.0,
        high=60.0,
        label="Strongest",
        unit="steps of L*",
        help="Above zero lighter skin, below zero darker; skin is found by its colour",
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        import cv2

        found = skin(pixels)
        if dose and found.mean() < LEAST:
            raise PictureError("Nothing in this picture has the colour of skin, so there is no tone to change.")
        weight = cv2.GaussianBlur(found.astype(np.float32), (0, 0), max(0.5, SOFT * min(found.shape)))
        lab = in_lab(pixels)
        lightness = np.clip(lab[..., 0] + dose * weight, 0, 100)
        lab[..., 1:] *= np.sqrt(np.minimum(1, lightness / np.maximum(lab[..., 0], 1e-3)))[..., None]
        lab[..., 0] = lightness
        changed = np.rint(np.clip(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB), 0, 1) * 255).astype(np.uint8)
        return np.where((dose * weight != 0)[..., None], changed, pixels)

    def measure(self, pixels: np.ndarray) -> float:
        return float(in_lab(pixels)[..., 0].mean(dtype=np.float64))


def in_lab(pixels: np.ndarray) -> np.ndarray:
    """(H, W, 3) float32: L* from 0 to 100, a* and b*, of sRGB."""
    import cv2

    lab: np.ndarray = cv2.cvtColor(pixels.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return lab


def skin(pixels: np.ndarray) -> np.ndarray:
    """(H, W) bool: the pixels that have the colour of skin."""
    blue = 128 + pixels @ (np.array([-37.797, -74.203, 112.0]) / 255)  # Cb and Cr of ITU-R BT.601
    red = 128 + pixels @ (np.array([112.0, -93.786, -18.214]) / 255)
    chroma = np.hypot(*np.moveaxis(in_lab(pixels)[..., 1:], 2, 0))
    found: np.ndarray = (blue >= 77) & (blue <= 127) & (red >= 133) & (red <= 173) & (chroma >= 10) & (chroma <= 45)
    return found
