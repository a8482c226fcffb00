"""Rank accuracy: how many of a map's highest pixels, as many as the marked evidence has, lie inside it.

    |highest K pixels and mask| / K,   K = |mask|

Arras et al., 2022, "relevance rank accuracy", equation 6. https://arxiv.org/abs/2003.07258 . 1 where the mask holds
the highest pixels, 0 where it holds none; a map that knows nothing gets the mask's share of the picture. Departure:
pixels of equal value are drawn by lot, and the mean over all draws is given, so that zeros do not win by their place.
"""

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.truth import highest_inside


@METRICS.register
class RankAccuracy(Metric):
    label = "Rank accuracy"
    aspect = "against ground truth"
    better = "higher"
    needs_mask = True

    def measure(self, maps: Maps) -> list[Measured]:
        assert maps.mask is not None
        size = int(maps.mask.sum())
        found = (highest_inside(values, maps.mask, size) for values in maps.values)
        null = float(maps.mask.mean())
        return [Measured(float(inside @ likely) / size, null=null) for inside, likely in found]
