"""Rotation: turn the picture about its middle and keep its size, as a tilted head or detector would.

    a point moves by   middle + R(dose) (point - middle);   what comes from outside is black

Engstrom et al., 2019, section 3, fool networks with rotations alone. https://arxiv.org/abs/1712.02779
The corners become black and what was in them is lost: both grow with the dose, up to 45 degrees, and an effect may be
theirs. Between pixels it is interpolated in straight lines, which blurs by less than a pixel at every dose but 0, and
takes as little from black margins that the picture has of its own.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from xai_core.photometry import black_frame
from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param


@PROBES.register
class Rotation(Perturbation):
    label = "Rotation"
    unit: ClassVar[str] = "degrees"
    measured: ClassVar[str] = "share of the picture that is black corners, 0 to 1"

    strongest: float = param(
        30.0, low=-40.0, high=40.0, label="Strongest", unit="degrees", help="Above zero against the clock"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        from PIL import Image

        back = np.linalg.inv(np.vstack([self.move(pixels.shape[:2], dose), [0, 0, 1]]))[:2]
        picture = Image.fromarray(pixels)
        turned = picture.transform(
            picture.size, Image.Transform.AFFINE, tuple(back.ravel()), Image.Resampling.BILINEAR, fillcolor=(0, 0, 0)
        )
        return np.array(turned)

    def move(self, shape: tuple[int, int], dose: float) -> np.ndarray:
        height, width = shape
        cos, sin = math.cos(math.radians(dose)), math.sin(math.radians(dose))
        turn = np.array([[cos, sin], [-sin, cos]])  # y grows downwards
        middle = np.array([width / 2, height / 2])
        return np.column_stack([turn, middle - turn @ middle])

    def measure(self, pixels: np.ndarray) -> float:
        return black_frame(pixels)
