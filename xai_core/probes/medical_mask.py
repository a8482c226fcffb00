"""Medical mask: put a surgical mask on the face, pulled up from below the chin to the bridge of the nose.

    the drawn mask, of which dose of the height is shown, from its lower edge

Ngan et al., 2020, measure with masks drawn on photographs what they do to face recognition.
https://doi.org/10.6028/NIST.IR.8311
It hides mouth and nose as people do every day: an answer that goes with it rests on them.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from xai_core.covering import laid, line, outline, rectangle, rounded
from xai_core.probes import PROBES, Part, Perturbation
from xai_core.registry import param

CLOTH, FOLD, LOOP = (172, 206, 222), (146, 182, 202), (222, 229, 232)
# Of the lower face: half its width from the middle, and its height from the top. The right half; the left mirrors it.
EDGE = np.array([(0, -0.06), (0.3, 0.0), (0.62, 0.2), (0.95, 0.26), (0.93, 0.6), (0.74, 0.9), (0.4, 1.08), (0, 1.12)])
FOLDS = (0.4, 0.58, 0.76)
LOOPS = (((0.9, 0.28), (1.02, 0.12), (1.08, -0.08)), ((0.88, 0.66), (1.02, 0.42), (1.08, 0.2)))
LOW, HIGH = 1.14, -0.14  # between which it is drawn


@PROBES.register
class MedicalMask(Perturbation):
    label = "Medical mask"
    unit: ClassVar[str] = "of the mask's height"
    measured: ClassVar[str] = "share of the picture in the mask's colours, 0 to 1"
    part: ClassVar[str] = "lower_face"

    strongest: float = param(
        1.0, low=0.05, high=1.0, label="Strongest", unit="of the mask's height", help="1 reaches the bridge of the nose"
    )

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        assert part is not None
        left, top, right, bottom = part.box
        half, high, middle = (right - left) / 2, bottom - top, (left + right) / 2
        low, peak = top + LOW * high + 2, top + HIGH * high - 2  # two pixels beyond: smooth edges run over

        def at(points: np.ndarray) -> np.ndarray:
            return np.asarray((middle, top) + points * (half, high))

        shown = rectangle(pixels.shape, (-np.inf, low + dose * (peak - low), np.inf, np.inf))
        worn = pixels
        for loop in LOOPS:
            for side in (-1, 1):
                worn = laid(worn, shown * line(pixels.shape, at(np.array(loop) * (side, 1)), 0.04 * half), LOOP)
        body = outline(pixels.shape, rounded(at(np.vstack((EDGE, EDGE[-2:0:-1] * (-1, 1))))))
        worn = laid(worn, shown * body, CLOTH)
        along = np.linspace(-0.95, 0.95, 21)
        for fold in FOLDS:
            curve = at(np.stack((along, fold + 0.07 * (1 - along**2)), 1))
            worn = laid(worn, shown * body * line(pixels.shape, curve, 0.03 * half), FOLD)
        return worn

    def measure(self, pixels: np.ndarray) -> float:
        return float(sum((pixels == one).all(axis=2).mean() for one in (CLOTH, FOLD, LOOP)))
