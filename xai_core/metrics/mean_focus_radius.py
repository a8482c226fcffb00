"""Mean focus radius: how far from its own middle a map's mass lies, as a share of the shorter side.

    sum over i of p_i ||place_i - c||,   c = sum over i of p_i place_i,   p the positive part of the map as shares

In the spirit of the smallest box around a map, Fong and Vedaldi, 2017 (https://arxiv.org/abs/1704.03296); a radius
needs no threshold. 0 for one pixel, sqrt(pi/2) sigma for a Gaussian, (sqrt 2 + asinh 1)/6 = 0.3826 for a uniform
square, which is the null, counted on the picture's own pixels. Two spots far apart have a large radius though each is
small. Where the network must look at all of a picture, a small radius is no merit.
"""

import numpy as np

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.truth import NO_MASS, mass


def focus_radius(shares: np.ndarray) -> float:
    """Of (h, w) shares that add up to 1, in pixels."""
    rows, columns = np.indices(shares.shape)
    away = np.hypot(rows - (shares * rows).sum(), columns - (shares * columns).sum())
    return float((shares * away).sum())


@METRICS.register
class MeanFocusRadius(Metric):
    label = "Mean focus radius"
    aspect = "where it looks"

    def measure(self, maps: Maps) -> list[Measured]:
        height, width = maps.values.shape[1:]
        side = min(height, width)
        null = focus_radius(np.full((height, width), 1 / (height * width))) / side
        found = []
        for shares in map(mass, maps.values):
            if shares is None:
                found.append(Measured(None, NO_MASS))
                continue
            pixels = focus_radius(shares)
            found.append(Measured(pixels / side, null=null, details={"pixels": pixels}))
        return found
