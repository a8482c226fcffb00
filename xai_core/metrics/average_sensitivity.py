"""Average sensitivity: how much the map changes when noise too faint to matter is laid on the picture.

    mean over draws of ||map(x + d) - map(x)|| / ||map(x)||,   d uniform in -radius..radius of each value

Bhatt et al., 2020, average sensitivity: https://arxiv.org/abs/2005.00631 ; the mean in place of the maximum of Yeh et
al., 2019: https://arxiv.org/abs/1901.09392 . Departs from both: the change is a share of the map's own size, so that
maps of different units compare. The radius is in units of the preprocessed picture, whose values have a standard
deviation near 1. 0 for a map that does not look at the picture, so a low value alone is no merit: a centred blob is
perfectly stable.
"""

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.sensitivity import UnderNoise


@METRICS.register
class AverageSensitivity(UnderNoise, Metric):
    label = "Average sensitivity"
    aspect = "robustness"
    better = "lower"

    def measure(self, maps: Maps) -> list[Measured]:
        return [Measured(float(row.mean()), null=0.0) for row in self.changes(maps)]
