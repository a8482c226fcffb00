"""Average sensitivity: how much the map changes when noise too faint to matter is laid on the picture.

    mean over draws of ||map(x + d) - map(x)|| / ||map(x)||,   d uniform in -radius..radius of each value

Bhatt et al., 2020, average sensitivity: https://arxiv.org/abs/2005.00631 ; the mean in place of the maximum of Yeh et
al., 2019: https://arxiv.org/abs/1901.09392 . Departs from both: the change is a share of the map's own size, so that
maps of different units compare. The radius is in units of the preprocessed picture, whose values have a standard
deviation near 1. 0 for a map that does not look at the picture, so a low value alone is no merit: a centred blob is
perfectly stable.
"""

import numpy as np

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.registry import param
from xai_core.sensitivity import changes, noisy


@METRICS.register
class AverageSensitivity(Metric):
    label = "Average sensitivity"
    aspect = "robustness"
    better = "lower"

    samples: int = param(10, low=2, high=200, label="Draws", help="Noisy copies of the picture")
    radius: float = param(0.2, low=0.001, high=1.0, label="Radius", help="Largest change of a preprocessed value")

    def cost(self, maps: Maps) -> int:
        return self.samples * maps.cost

    def measure(self, maps: Maps) -> list[Measured]:
        def ask() -> np.ndarray:
            x = noisy(maps.x, self.samples, self.radius, maps.seed)
            return changes(maps.values, maps.again(x, [maps.target] * self.samples))

        found = maps.remember(("changes", self.samples, self.radius), ask)
        return [Measured(float(row.mean()), null=0.0) for row in found]
