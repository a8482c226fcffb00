"""Lower face: fade nose, mouth and chin into one colour, the mean of what is there.

    pixels + dose * (their mean - pixels), over the lower face

Georgescu and Ionescu, 2019, find that networks can tell expressions from the lower half of a face alone.
https://arxiv.org/abs/1911.04852
Its mean colour stays, so that no object is added: what goes is what expression and identity have there.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.covering import laid
from xai_core.photometry import spread
from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param


@PROBES.register
class LowerFace(Perturbation):
    label = "Lower face faded"
    unit: ClassVar[str] = "of the way to one colour"
    measured: ClassVar[str] = "standard deviation of the pixels, in grey levels"
    part: ClassVar[str] = "lower_face"

    strongest: float = param(
        1.0, low=0.05, high=1.0, label="Strongest", unit="of the way", help="1 leaves nothing there but the mean colour"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        assert part is not None
        return laid(pixels, dose * part.mask.astype(np.float32), pixels[part.mask].mean(axis=0))

    def measure(self, pixels: np.ndarray) -> float:
        return spread(pixels)
