"""Entropy: over how many pixels the map's size is spread, as information.

    - sum over i of p_i ln p_i,   p_i = |v_i| / sum |v|

Bhatt et al., 2020, section 3, "complexity". https://arxiv.org/abs/2005.00631 . 0 for a map of one pixel, ln N for a
uniform map of N. A map of low entropy is easy to read, which makes it no truer.
"""

import numpy as np

from xai_core.metrics import METRICS, Maps, Measured, Metric


def entropy(values: np.ndarray) -> float:
    """Of the sizes of (h, w) values, in nats; not negative, and of a zero map not defined."""
    sizes = np.abs(values[values != 0])
    shares = sizes / sizes.sum()
    return float(-(shares * np.log(shares)).sum()) + 0.0


@METRICS.register
class Entropy(Metric):
    label = "Entropy"
    aspect = "complexity"
    better = "lower"
    unit = "nats"

    def measure(self, maps: Maps) -> list[Measured]:
        return [Measured(entropy(values), null=float(np.log(values.size))) for values in maps.values]
