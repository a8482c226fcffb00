"""Deletion: how fast the model loses the target when the highest pixels of the map are covered first.

    area = integral over the share of covered pixels, 0 to 1, of what the model says of the rest

Petsiuk et al., 2018, section 3.3 (there one row of pixels a step). https://arxiv.org/abs/1806.07421 . By the trapezium
rule over `steps` equal shares. Covered pictures look like nothing the network was trained on, and the baseline decides
in part what it says of them: look at two, and at insertion too. What a map that knows nothing gets depends on the
picture, so it is read from the random control.
"""

import numpy as np

from xai_core.baselines import BASELINES
from xai_core.masking import counts, ranks, replaced
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
        shares = np.linspace(0, 1, self.steps + 1)
        behind, end = maps.behind(self.baseline)
        first = counts(maps.values[0].size, shares[1:-1])
        inner = maps.answers(replaced(maps.x, behind, ranks(maps.values, maps.seed), first)).reshape(len(maps), -1)
        return [
            Measured(
                float(np.trapezoid(y, shares)),
                curve=Curve(shares, y, "share of pixels covered", "answer for the target"),
            )
            for y in (np.concatenate([[maps.answer], row, [end]]) for row in inner)
        ]
