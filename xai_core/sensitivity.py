"""How much maps change when noise too faint to matter is laid on their picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from xai_core.registry import Component, param


@dataclass(frozen=True)
class UnderNoise(Component):
    """The settings of a metric that asks so, and what it asks of `metrics.Maps`, once for all with equal settings."""

    samples: int = param(10, low=2, high=200, label="Draws", help="Noisy copies of the picture")
    radius: float = param(0.2, low=0.001, high=1.0, label="Radius", help="Largest change of a preprocessed value")

    def cost(self, maps: Any) -> int:
        """About how many pictures go forward through the network."""
        pictures: int = self.samples * maps.cost
        return pictures

    def changes(self, maps: Any) -> np.ndarray:
        """(m, samples) float64: the changes of every map."""

        def ask() -> np.ndarray:
            x = noisy(maps.x, self.samples, self.radius, maps.seed)
            return changes(maps.values, maps.again(x, [maps.target] * self.samples))

        found: np.ndarray = maps.remember(("changes", self.samples, self.radius), ask)
        return found


def noisy(x: torch.Tensor, samples: int, radius: float, seed: int) -> torch.Tensor:
    """(samples, 3, h, w) copies of one (1, 3, h, w) picture, each value moved by up to `radius`, evenly drawn."""
    draw = torch.Generator().manual_seed(seed)
    return x + radius * (torch.rand((samples, *x.shape[1:]), generator=draw) * 2 - 1)


def changes(values: np.ndarray, again: np.ndarray) -> np.ndarray:
    """(m, h, w) maps and (m, samples, h, w) of noisy copies to (m, samples): the change as a share of the map's size.

    Sizes are Euclidean norms over all pixels.
    """
    return np.array(
        [
            [np.linalg.norm(other - one) / np.linalg.norm(one) for other in others]
            for one, others in zip(values, again, strict=True)
        ]
    )
