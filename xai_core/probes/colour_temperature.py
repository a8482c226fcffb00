"""Colour temperature: tint the picture as if its light were warmer or colder and the camera did not correct for it.

    linear red, green and blue, each times white(154 + dose) / white(154),   white(mired): a black body's colour

Afifi and Brown, 2019, show that such errors of white balance change what networks say.
https://arxiv.org/abs/1912.06960
The colour of a black body is that of Krystek, 1985. https://doi.org/10.1002/col.5080100109
A mired is a millionth of 1 / kelvin: equal steps look about equal. 154 mired is daylight of 6500 K, 254 a halogen
lamp of 3900 K, 354 a candle-like lamp of 2800 K; 94 is the shade under a blue sky, 10,600 K. White keeps its luminance.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param

DAYLIGHT = 1e6 / 6504  # mired
# XYZ to linear sRGB, IEC 61966-2-1
TO_RGB = np.array([[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]])


@PROBES.register
class ColourTemperature(Perturbation):
    label = "Colour temperature"
    unit: ClassVar[str] = "mired"
    measured: ClassVar[str] = "mean red less mean blue, of full white"

    strongest: float = param(
        150.0, low=-80.0, high=300.0, label="Strongest", unit="mired", help="Above zero warmer, below zero colder light"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        changed = np.empty_like(pixels)
        for colour, gain in enumerate(white(DAYLIGHT + dose) / white(DAYLIGHT)):
            changed[..., colour] = curve(gain)[pixels[..., colour]]
        return changed

    def measure(self, pixels: np.ndarray) -> float:
        return float((pixels[..., 0].mean() - pixels[..., 2].mean()) / 255)


def white(mired: float) -> np.ndarray:
    """(3,) linear red, green and blue of a black body's light, its luminance 1; good from 1000 to 15,000 K."""
    kelvin = 1e6 / mired
    powers = np.array([1, kelvin, kelvin**2])
    u = powers @ [0.860117757, 1.54118254e-4, 1.28641212e-7] / (powers @ [1, 8.42420235e-4, 7.08145163e-7])
    v = powers @ [0.317398726, 4.22806245e-5, 4.20481691e-8] / (powers @ [1, -2.89741816e-5, 1.61456053e-7])
    x, y = 3 * u / (2 * u - 8 * v + 4), 2 * v / (2 * u - 8 * v + 4)
    light: np.ndarray = TO_RGB @ [x / y, 1, (1 - x - y) / y]
    return light


def curve(gain: float) -> np.ndarray:
    """(256,) uint8: the byte of sRGB that each becomes when the light behind it is multiplied."""
    stored = np.linspace(0, 1, 256)
    light = np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)
    light = np.clip(light * gain, 0, 1)
    again: np.ndarray = np.where(light <= 0.04045 / 12.92, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return (255 * again).round().astype(np.uint8)
