"""Border removal: paint a band along all four sides black, where markers, rulers and scanner frames stand.

    0 in the band;   its width is dose % of the height above and below, and of the width on the left and right

Zech et al., 2018, found networks that read the hospital off such marks instead of the lungs.
https://doi.org/10.1371/journal.pmed.1002683
An answer that holds without the border did not rest on it. One that flips may also miss what the object had there.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.photometry import black_frame
from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param


@PROBES.register
class BorderRemoval(Perturbation):
    label = "Border removal"
    unit: ClassVar[str] = "% a side"
    measured: ClassVar[str] = "share of the picture that is a black frame, 0 to 1"

    strongest: float = param(
        20.0, low=1.0, high=45.0, label="Strongest", unit="% of the side", help="Painted over along each side"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        height, width = pixels.shape[:2]
        rows, columns = round(height * dose / 100), round(width * dose / 100)
        kept = np.s_[rows : height - rows, columns : width - columns]
        painted = np.zeros_like(pixels)
        painted[kept] = pixels[kept]
        return painted

    def measure(self, pixels: np.ndarray) -> float:
        return black_frame(pixels)
