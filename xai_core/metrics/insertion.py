"""Insertion: how fast the model finds the target when the highest pixels of the map are shown first.

    area = integral over the share of shown pixels, 0 to 1, of what the model says of the baseline with these on it

Petsiuk et al., 2018, there with 224 pixels a step and a blurred picture to start from.
https://arxiv.org/abs/1806.07421 . By the trapezium rule over `steps` equal shares; pixels of equal value come in a
random order. It asks whether the highest pixels are enough, deletion whether they are needed: evidence that is in the
picture twice passes this and fails that. What a map that knows nothing gets depends on the picture, so it is read from
the random control; in a linear network it is the mean of the two ends.
"""

import numpy as np

from xai_core.baselines import BASELINES
from xai_core.masking import on_the_way
from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.records import Curve
from xai_core.registry import param


@METRICS.register
class Insertion(Metric):
    label = "Insertion"
    aspect = "faithfulness"
    better = "higher"
    null_from_controls = True

    baseline: str = param("blur", choices=BASELINES[:3], label="Shown on", help="What a pixel shows before its turn")
    steps: int = param(24, low=4, high=224, label="Steps", help="Points on the curve after the first")

    def cost(self, maps: Maps) -> int:
        return len(maps) * (self.steps - 1)

    def measure(self, maps: Maps) -> list[Measured]:
        start, end = maps.behind(self.baseline), (maps.x, maps.answer)
        shares, curves = on_the_way(start, end, maps.values, self.steps, maps.seed, maps.answers)
        return [
            Measured(
                float(np.trapezoid(curve, shares)),
                curve=Curve(shares, curve, "share of pixels shown", "answer for the target"),
            )
            for curve in curves
        ]
