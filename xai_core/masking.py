"""Pictures with some of their pixels replaced, in the order of a map: what faithfulness is measured on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from xai_core.account import Made


def ranks(values: np.ndarray, seed: int) -> torch.Tensor:
    """(m, h, w) maps to (m, h, w) int32: each pixel's place from the highest value (0) down.

    Pixels of equal value stand in an order drawn from `seed`, the same for all maps: not from the top left corner.
    """
    flat = values.reshape(len(values), -1)
    shuffled = np.random.default_rng(seed).permutation(flat.shape[1])
    order = shuffled[np.argsort(-flat[:, shuffled], axis=1, kind="stable")]
    places = np.empty(flat.shape, np.int32)
    np.put_along_axis(places, order, np.arange(flat.shape[1], dtype=np.int32)[None], axis=1)
    return torch.from_numpy(places.reshape(values.shape))


def counts(pixels: int, fractions: Sequence[float] | np.ndarray) -> np.ndarray:
    """How many pixels those fractions of a picture are, as int64."""
    return np.rint(np.asarray(fractions, np.float64) * pixels).astype(np.int64)


def replaced(x: torch.Tensor, behind: torch.Tensor, places: torch.Tensor, first: np.ndarray) -> Made:
    """Pictures in which the first pixels of a map are taken from `behind`, made when their batch is due.

    `x` and `behind` are (1 or b, 3, h, w), `places` (m, h, w) from `ranks`, `first` (k,) how many pixels. The pictures
    stand in the order (m, b, k). To delete, x is the picture and `behind` what covers it; to insert, the other way
    round.
    """
    m, b, k = len(places), max(len(x), len(behind)), len(first)
    x, behind = x.expand(b, -1, -1, -1), behind.expand(b, -1, -1, -1)
    many = torch.from_numpy(first)

    def make(start: int, stop: int) -> torch.Tensor:
        at = torch.arange(start, stop)
        which, where, count = at // (b * k), at // k % b, many[at % k]
        chosen = places[which] < count[:, None, None]
        return torch.where(chosen[:, None], behind[where], x[where])

    return Made(m * b * k, make)
