"""Repeatability: how far the map differs when the same picture is explained again, with the same seed.

    max |map again - map| / max |map|

Nauta et al., 2022, consistency: the same input has the same explanation. https://arxiv.org/abs/2201.08164 . 0 is exact,
to the last bit; 1e-6 is rounding; more says that the record cannot be made again here: another device or version, a
network that draws at random, or pictures to compare with that were not given.
"""

import numpy as np

from xai_core.metrics import METRICS, Maps, Measured, Metric


@METRICS.register
class Repeatability(Metric):
    label = "Repeatability"
    aspect = "robustness"
    better = "lower"

    def cost(self, maps: Maps) -> int:
        return maps.cost

    def measure(self, maps: Maps) -> list[Measured]:
        again = maps.again(maps.x, [maps.target])[:, 0]
        return [
            Measured(float(np.abs(other - values).max() / np.abs(values).max()), null=0.0)
            for values, other in zip(maps.values, again, strict=True)
        ]
