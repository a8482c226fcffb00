"""Max sensitivity: how much the map changes at worst when noise too faint to matter is laid on the picture.

    max over draws of ||map(x + d) - map(x)|| / ||map(x)||,   d uniform in -radius..radius of each value

Yeh et al., 2019, max-sensitivity, by drawing as they do. https://arxiv.org/abs/1901.09392 . Departs from the paper: the
change is a share of the map's own size, so that maps of different units compare. More draws find a worse one: it is a
lower bound, to be compared only between equal numbers of draws. 0 for a map that does not look at the picture, which is
no merit. The noisy pictures are those of average sensitivity, explained once for both.
"""

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.sensitivity import UnderNoise


@METRICS.register
class MaxSensitivity(UnderNoise, Metric):
    label = "Max sensitivity"
    aspect = "robustness"
    better = "lower"

    def measure(self, maps: Maps) -> list[Measured]:
        return [Measured(float(row.max()), null=0.0) for row in self.changes(maps)]
