"""Infidelity: how wrong the map is about how far the target falls when a square of the picture is covered.

    mean over squares S of (scale * sum of map over S - (f(x) - f(x with S covered)))^2,   scale the best that is >= 0

Yeh et al., 2019, definition 2.1, with removal of squares. https://arxiv.org/abs/1901.09392 . f is the target that the
map was made for, in its own terms. The map is taken as what each pixel contributes, so the perturbation is 1 in the
square and 0 elsewhere, not the change of colour. The unit of most maps means nothing, so each is scaled to fit best:
sum of products / sum of squares of the two sides, as `normalize=True` of Captum does, except that a map may not be
turned into its opposite. 0 for a map that foretells every fall. The null is what a uniform map gets, which foretells
the mean fall; a map of nothing gets the mean square of the falls, of which `unexplained` is the share that is left. The
squares are the same for all maps.
"""

import numpy as np

from xai_core.baselines import BASELINES
from xai_core.masking import falls, squares, sums
from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.registry import param

UNMOVED = "The target does not change when squares are covered, so no map is wrong about it. Choose larger squares."


def fitted(foretold: np.ndarray, fallen: np.ndarray) -> tuple[float, float]:
    """The mean squared error of (n,) `foretold`, scaled to fit (n,) `fallen` best, and that scale."""
    size = float(foretold @ foretold)
    scale = max(0.0, float(foretold @ fallen) / size) if size > 0 else 0.0
    return float(np.mean((scale * foretold - fallen) ** 2)), scale


@METRICS.register
class Infidelity(Metric):
    label = "Infidelity"
    aspect = "faithfulness"
    better = "lower"
    unit = "target²"

    draws: int = param(100, low=10, high=2000, label="Draws", help="Random squares")
    side: float = param(
        0.25, low=0.02, high=0.9, label="Side", unit="fraction", help="Of a square, of the shorter side"
    )
    baseline: str = param("blur", choices=BASELINES[:3], label="Covered by", help="What takes the place of a pixel")

    def cost(self, maps: Maps) -> int:
        return self.draws

    def measure(self, maps: Maps) -> list[Measured]:
        places = squares(maps.values.shape[1:], self.side, self.draws, maps.seed)
        fallen = falls(maps.model, maps.x, maps.target, maps.behind(self.baseline)[0], places)
        most = float(np.mean(fallen**2))
        if most == 0:
            return [Measured(None, UNMOVED)] * len(maps)
        null, _ = fitted(places.sum((1, 2)).astype(np.float64), fallen)
        found = [fitted(row, fallen) for row in sums(maps.values, places)]
        return [
            Measured(error, null=null, details={"scale": scale, "unexplained": error / most}) for error, scale in found
        ]
