"""Average sensitivity: how much the map changes when noise too faint to matter is laid on the picture.

    mean over draws of ||map(x + d) - map(x)|| / ||map(x)||,   d uniform in -radius..radius of each pixel

Yeh et al., 2019, equation 3, with the mean in place of the maximum. https://arxiv.org/abs/1901.09392 . The radius is in
units of the preprocessed picture, whose values have a standard deviation near 1. 0 for a map that does not look at the
picture, so a low value alone is no merit: a uniform map is perfectly stable.
"""

import numpy as np
import torch

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.registry import param


def changes(maps: Maps, samples: int, radius: float) -> np.ndarray:
    """(m, samples) how much each map changes, as a share of its own size."""
    draw = torch.Generator().manual_seed(maps.seed)
    noise = torch.rand((samples, *maps.x.shape[1:]), generator=draw) * 2 - 1
    again = maps.again(maps.x + radius * noise, [maps.target] * samples)
    away = np.linalg.norm((again - maps.values[:, None]).reshape(len(maps), samples, -1), axis=2)
    shares: np.ndarray = away / np.linalg.norm(maps.values.reshape(len(maps), -1), axis=1)[:, None]
    return shares


@METRICS.register
class AverageSensitivity(Metric):
    label = "Average sensitivity"
    aspect = "robustness"
    better = "lower"

    samples: int = param(10, low=2, high=200, label="Draws", help="Noisy copies of the picture")
    radius: float = param(0.2, low=0.001, high=1.0, label="Radius", help="Largest change of a preprocessed pixel")

    def cost(self, maps: Maps) -> int:
        return self.samples * maps.cost

    def measure(self, maps: Maps) -> list[Measured]:
        return [Measured(float(row.mean())) for row in changes(maps, self.samples, self.radius)]
