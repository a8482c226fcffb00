"""Background share: how much of a map's mass lies outside the marked object.

    1 - sum of p_i inside the mask,   p the positive part of the map as shares

The share inside is the localisation of Kohlbrenner et al., 2020. https://arxiv.org/abs/1910.09840 . 0 for a map within
the object, 1 for one beside it; a uniform map has 1 less the mask's share. A statement about the picture: networks do
use backgrounds, and a map that shows it is right.
"""

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.truth import NO_MASS, mass_inside


@METRICS.register
class BackgroundShare(Metric):
    label = "Background share"
    aspect = "where it looks"
    better = "lower"
    needs_mask = True

    def measure(self, maps: Maps) -> list[Measured]:
        assert maps.mask is not None
        null = 1 - float(maps.mask.mean())
        found = (mass_inside(values, maps.mask) for values in maps.values)
        return [Measured(None, NO_MASS) if share is None else Measured(1 - share, null=null) for share in found]
