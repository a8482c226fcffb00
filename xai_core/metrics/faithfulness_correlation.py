"""Faithfulness correlation: whether the values of covered pixels foretell how far the target falls.

    correlation over random sets S of pixels of  sum of map over S  with  f(x) - f(x with S covered)

Bhatt et al., 2020, with Pearson's correlation. https://arxiv.org/abs/2005.00631 . f is the target that the map was
made for, in its own terms: a logit, where the logit was explained, a probability where that was. 1 for a map whose
values add up to every fall, as in a linear network; 0 in the mean for a map that knows nothing. A set that is scattered
over the picture is another thing than a place in it, so even good maps get low values on real networks. The sets are
the same for all maps. `low` and `high` are the ends of the 95 % interval over draws of sets, by Fisher's transform.
"""

import numpy as np

from xai_core.baselines import BASELINES
from xai_core.masking import falls, scattered, sums
from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.registry import param

ROUNDING = 1e-12  # a spread of less than this, as a share of the size, is what float64 leaves of equal numbers
UNMOVED = "The target falls as far whichever pixels are covered, so no map can foretell it. Choose another baseline."
ONE_SUM = "The map has the same sum over every set of pixels, so it foretells nothing. Take more draws or larger sets."


def constant(numbers: np.ndarray) -> bool:
    """Whether (n,) numbers are all equal but for rounding."""
    return bool(np.ptp(numbers) <= ROUNDING * np.abs(numbers).max())


def correlation(one: np.ndarray, other: np.ndarray) -> tuple[float, float, float]:
    """Pearson's correlation of (n,) numbers, and its 95 % interval."""
    found = float(np.corrcoef(one, other)[0, 1])
    middle, half = np.arctanh(np.clip(found, -1 + ROUNDING, 1 - ROUNDING)), 1.96 / np.sqrt(len(one) - 3)
    return found, float(np.tanh(middle - half)), float(np.tanh(middle + half))


@METRICS.register
class FaithfulnessCorrelation(Metric):
    label = "Faithfulness correlation"
    aspect = "faithfulness"
    better = "higher"

    draws: int = param(100, low=10, high=2000, label="Draws", help="Random sets of pixels")
    share: float = param(0.1, low=0.001, high=0.9, label="Covered", unit="fraction", help="Of the pixels, at a time")
    baseline: str = param("blur", choices=BASELINES[:3], label="Covered by", help="What takes the place of a pixel")

    def cost(self, maps: Maps) -> int:
        return self.draws

    def measure(self, maps: Maps) -> list[Measured]:
        places = scattered(maps.values.shape[1:], self.share, self.draws, maps.seed)
        fallen = falls(maps.model, maps.x, maps.target, maps.behind(self.baseline)[0], places)
        if constant(fallen):
            return [Measured(None, UNMOVED)] * len(maps)
        return [self._held_against(fallen, row) for row in sums(maps.values, places)]

    def _held_against(self, fallen: np.ndarray, foretold: np.ndarray) -> Measured:
        if constant(foretold):
            return Measured(None, ONE_SUM)
        found, low, high = correlation(foretold, fallen)
        return Measured(found, null=0.0, details={"low": low, "high": high})
