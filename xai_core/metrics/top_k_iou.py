"""Top-k IoU: how well the highest pixels of a map cover the marked evidence and nothing else.

    |top k and mask| / |top k or mask|

The intersection over union, of which Theiner et al., 2022, take the intersection as a share of the top k.
https://arxiv.org/abs/2104.14995 . k is the mask's own size by default: then 1 where both agree, 0 where they are apart.
The null is the exact mean over k pixels drawn at random, and pixels of equal value are drawn by lot in the same way.
With another k than the mask's size 1 cannot be reached: the most is the smaller of the two by the larger.
"""

import numpy as np

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.registry import param
from xai_core.truth import highest_inside


def expected_iou(values: np.ndarray, mask: np.ndarray, count: int) -> float:
    """Of the `count` highest pixels with the mask, in the mean over all draws among equals."""
    inside, likely = highest_inside(values, mask, count)
    return float((inside / (count + int(mask.sum()) - inside)) @ likely)


@METRICS.register
class TopKIou(Metric):
    label = "Top-k IoU"
    aspect = "against ground truth"
    better = "higher"
    needs_mask = True

    share: float = param(0.0, low=0.0, high=0.5, label="k", help="As a share of the picture; 0 for the mask's own size")

    def measure(self, maps: Maps) -> list[Measured]:
        assert maps.mask is not None
        mask = maps.mask
        count = max(1, round(self.share * mask.size)) if self.share else int(mask.sum())
        null = expected_iou(np.zeros(mask.shape), mask, count)
        return [Measured(expected_iou(values, mask, count), null=null) for values in maps.values]
