"""Deletion: how fast the model loses the target when the highest pixels of the map are covered first.

    area = integral over the share of covered pixels, 0 to 1, of what the model says of the rest

Petsiuk et al., 2018, there with 224 pixels a step. https://arxiv.org/abs/1806.07421 . By the trapezium rule over
`steps` equal shares; pixels of equal value go in a random order. Covered pictures look like nothing the network was
trained on, and the baseline decides in part what it says of them: look at two, and at insertion too. What a map that
knows nothing gets depends on the picture, so it is read from the random control; in a linear network it is the mean of
the two ends.
"""

import numpy as np

from xai_core.baselines import BASELINES
from xai_core.masking import on_the_way
from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.records import Curve
from xai_core.registry import param


@METRICS.register
class Deletion(Metric):
    label = "Deletion"
    aspect = "faithfulness"
    better = "lower"
    null_from_controls = True

    baseline: str = param("blur", choices=BASELINES[:3], label="Covered by", help="What takes the place of a pixel")
    steps: int = param(24, low=4, high=224, label="Steps", help="Points on the curve after the first")

    def cost(self, maps: Maps) -> int:
        return len(maps) * (self.steps - 1)

    def measure(self, maps: Maps) -> list[Measured]:
        start, end = (maps.x, maps.answer), maps.behind(self.baseline)
        shares, curves = on_the_way(start, end, maps.values, self.steps, maps.seed, maps.answers)
        return [
            Measured(
                float(np.trapezoid(curve, shares)),
                curve=Curve(shares, curve, "share of pixels covered", "answer for the target"),
            )
            for curve in curves
        ]
