"""Mass accuracy: how much of a map's mass lies inside the marked evidence.

    sum of p_i inside the mask,   p the positive part of the map as shares

Arras et al., 2022, "relevance mass accuracy", equation 5. https://arxiv.org/abs/2003.07258 . 1 for a map within the
mask, 0 for one beside it; a uniform map has the mask's share of the picture. A statement about the picture: a network
may look elsewhere. Coarse maps spill over thin marks and score low, wherever they peak.
"""

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.truth import NO_MASS, mass_inside


@METRICS.register
class MassAccuracy(Metric):
    label = "Mass accuracy"
    aspect = "against ground truth"
    better = "higher"
    needs_mask = True

    def measure(self, maps: Maps) -> list[Measured]:
        assert maps.mask is not None
        null = float(maps.mask.mean())
        found = (mass_inside(values, maps.mask) for values in maps.values)
        return [Measured(share, "" if share is not None else NO_MASS, null=null) for share in found]
