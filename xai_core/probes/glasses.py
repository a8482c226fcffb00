"""Glasses: put sunglasses on the face, from clear to black.

    pixels * (1 - dose) under the lenses and the frame, in the proportions of common glasses

Sharif et al., 2016, deceive face recognition with nothing but a pair of printed glasses.
https://doi.org/10.1145/2976749.2978392
These carry no such pattern: an answer that moves did look at the eyes, or took to the glasses as a sign of their own.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.covering import laid, line, outline
from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param

LENS_WIDTH, LENS_HEIGHT, BRIDGE = 0.52, 0.42, 0.16  # of the eyes' width, from outer corner to outer corner
FRAME = 0.035


@PROBES.register
class Glasses(Perturbation):
    label = "Glasses"
    unit: ClassVar[str] = "of the light taken away"
    measured: ClassVar[str] = "mean brightness, 0 to 1"
    part: ClassVar[str] = "eyes"

    strongest: float = param(
        1.0, low=0.05, high=1.0, label="Strongest", unit="of the light", help="What the lenses take away: 1 is black"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        assert part is not None
        left, top, right, bottom = part.box
        wide = right - left
        x, y = (left + right) / 2, (top + bottom) / 2 + 0.02 * wide
        half = max(LENS_HEIGHT * wide, 1.15 * (bottom - top)) / 2
        turn = np.linspace(0, 2 * np.pi, 80, endpoint=False)
        # A circle whose sides are pushed out, wider at the top than at the cheek.
        round_x, round_y = (np.sign(one) * np.abs(one) ** 0.62 for one in (np.cos(turn), np.sin(turn)))
        cover = np.zeros(pixels.shape[:2], np.float32)
        for side in (-1, 1):
            middle = x + side * (BRIDGE + LENS_WIDTH) / 2 * wide
            lens = np.stack((middle + LENS_WIDTH / 2 * wide * round_x * (1 - 0.07 * round_y), y + half * round_y), 1)
            ear = x + side * 0.67 * wide
            temple = np.array([[middle + side * 0.45 * LENS_WIDTH * wide, y - 0.6 * half], [ear, y - 0.5 * half]])
            for drawn in (
                outline(pixels.shape, lens),
                line(pixels.shape, np.vstack((lens, lens[:1])), FRAME * wide),
                line(pixels.shape, temple, 1.6 * FRAME * wide),
            ):
                cover = np.maximum(cover, drawn)
        along = np.linspace(-1, 1, 9)
        bridge = np.stack((x + along * 0.6 * BRIDGE * wide, y - half * (0.62 - 0.22 * along**2)), 1)
        cover = np.maximum(cover, line(pixels.shape, bridge, 1.6 * FRAME * wide))
        return laid(pixels, dose * cover, (0, 0, 0))

    def measure(self, pixels: np.ndarray) -> float:
        return float(pixels.mean() / 255)
