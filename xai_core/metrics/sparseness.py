"""Sparseness: how unequally the map's size is spread over the pixels.

    Gini = sum over i of (2 i - N - 1) |v|_i / (N sum |v|),   |v| sorted upwards, i from 1

Chalasani et al., 2020, section 5. https://arxiv.org/abs/1810.06583 . 0 for a uniform map, 1 - 1/N for one pixel, 1/3
for a ramp, sqrt(2) - 1 for noise. A sparse map is easy to read, which makes it no truer.
"""

import numpy as np

from xai_core.metrics import METRICS, Maps, Measured, Metric


def gini(values: np.ndarray) -> float:
    """Of the sizes of (h, w) values, 0 to 1."""
    sizes = np.sort(np.abs(values).ravel())
    place = 2 * np.arange(1, sizes.size + 1) - sizes.size - 1
    return float((place * sizes).sum() / (sizes.size * sizes.sum()))


@METRICS.register
class Sparseness(Metric):
    label = "Sparseness"
    aspect = "complexity"
    better = "higher"

    def measure(self, maps: Maps) -> list[Measured]:
        return [Measured(gini(values), null=0.0) for values in maps.values]
