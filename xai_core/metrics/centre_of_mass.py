"""Centre of mass: how far from the picture's middle the middle of a map's mass lies, as a share of the half diagonal.

    ||c - middle|| / (diagonal / 2),   c = sum over i of p_i place_i,   p the positive part of the map as shares

0 in the middle, near 1 in a corner. People look at the middle of a picture, where photographers put things: the central
bias of Tatler, 2007 (https://doi.org/10.1167/7.14.4). So does a map that knows nothing: 0 is the null, and a distance
near it tells no finding from no knowledge. The details name the place, in pixels from the top left one.
"""

import numpy as np

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.truth import NO_MASS, mass


@METRICS.register
class CentreOfMass(Metric):
    label = "Centre of mass"
    aspect = "where it looks"

    def measure(self, maps: Maps) -> list[Measured]:
        height, width = maps.values.shape[1:]
        rows, columns = np.indices((height, width))
        found = []
        for shares in map(mass, maps.values):
            if shares is None:
                found.append(Measured(None, NO_MASS))
                continue
            row, column = float((shares * rows).sum()), float((shares * columns).sum())
            away = np.hypot(row - (height - 1) / 2, column - (width - 1) / 2) / (np.hypot(height, width) / 2)
            found.append(Measured(float(away), null=0.0, details={"row": row, "column": column}))
        return found
