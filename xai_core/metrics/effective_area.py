"""Effective area: on what share of the picture the map is more than faint.

    share of pixels whose |v| exceeds threshold x max |v|

Nguyen and Martinez, 2020, name the number of features that matter "effective complexity"; what matters is decided
there by the model's loss, here by the map alone. https://arxiv.org/abs/2007.07584 . 1 for a uniform map, 1/N for a map
of one pixel. One extreme pixel makes everything else faint: read it beside the entropy. A small area is easy to read,
which makes it no truer.
"""

import numpy as np

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.registry import param


@METRICS.register
class EffectiveArea(Metric):
    label = "Effective area"
    aspect = "complexity"
    better = "lower"

    threshold: float = param(0.1, low=0.0, high=0.99, label="Threshold", help="Share of the largest size that counts")

    def measure(self, maps: Maps) -> list[Measured]:
        sizes = np.abs(maps.values)
        return [Measured(float((size > self.threshold * size.max()).mean()), null=1.0) for size in sizes]
