"""How much maps change when noise too faint to matter is laid on their picture."""

from __future__ import annotations

import numpy as np
import torch


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
