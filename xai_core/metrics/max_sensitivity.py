"""Max sensitivity: how much the map changes at worst when noise too faint to matter is laid on the picture.

    max over draws of ||map(x + d) - map(x)|| / ||map(x)||,   d uniform in -radius..radius of each value

Yeh et al., 2019, max-sensitivity, by drawing as they do. https://arxiv.org/abs/1901.09392 . Departs from the paper: the
change is a share of the map's own size, so that maps of different units compare. More draws find a worse one: it is a
lower bound, to be compared only between equal numbers of draws. 0 for a map that does not look at the picture, which is
no merit. The noisy pictures are those of average sensitivity, explained once for both.
"""

import numpy as np

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.registry import param
from xai_core.sensitivity import changes, noisy


@METRICS.register
class MaxSensitivity(Metric):
    label = "Max sensitivity"
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
        return [Measured(float(row.max()), null=0.0) for row in found]
