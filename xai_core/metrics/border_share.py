"""Border share: how much of a map's mass lies along the edges of the picture.

    sum of p_i over the band of that width on each side,   p the positive part of the map as shares

Where markers, frames and burnt-in text stand: networks for chest X-rays were found to lean on them, DeGrave et al.,
2021 (https://doi.org/10.1038/s42256-021-00338-7). A uniform map has 1 - (1 - 2 width)^2, not 0: the null, counted on
the picture's own pixels. Padding draws the maps of many networks to the edges too, so a high share is a reason to look,
not a finding.
"""

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.registry import param
from xai_core.truth import NO_MASS, border, mass_inside


@METRICS.register
class BorderShare(Metric):
    label = "Border share"
    aspect = "where it looks"
    better = "lower"

    width: float = param(0.1, low=0.01, high=0.45, label="Width", help="Of the band, as a share of the side it lies on")

    def measure(self, maps: Maps) -> list[Measured]:
        height, width = maps.values.shape[1:]
        band = border((height, width), self.width)
        found = (mass_inside(values, band) for values in maps.values)
        return [Measured(share, "" if share is not None else NO_MASS, null=float(band.mean())) for share in found]
