"""Superpixels: a picture cut into patches that follow its shapes, for the methods that hide them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from xai_core.models import Model
from xai_core.registry import Component, param


@dataclass(frozen=True)
class Superpixels(Component):
    """How a method over superpixels finds them: settings that all such methods share."""

    segmentation: str = param(
        "slic", choices=("slic", "quickshift"), label="Segmentation", help="How superpixels are found; SLIC is fast"
    )
    segments: int = param(60, low=10, high=400, label="Superpixels", help="About how many SLIC makes")
    compactness: float = param(10.0, low=0.1, high=100.0, label="Compactness", help="SLIC: low follows shapes")

    def superpixels(self, pixels: np.ndarray, seed: int) -> np.ndarray:
        """(h, w, 3) uint8 to (h, w) int superpixel numbers from zero."""
        from skimage.segmentation import quickshift, slic

        if self.segmentation == "quickshift":
            found = quickshift(pixels, kernel_size=4, max_dist=200, ratio=0.2, rng=seed)  # type: ignore[no-untyped-call]
        else:
            found = slic(pixels, n_segments=self.segments, compactness=self.compactness, start_label=0)
        return np.unique(found, return_inverse=True)[1].reshape(found.shape)

    def found(self, model: Model, picture: torch.Tensor, seed: int) -> torch.Tensor:
        """(h, w) superpixel numbers from zero, of a (3, h, w) picture that was prepared for `model`."""
        return torch.from_numpy(self.superpixels(model.preprocessing.pixels(picture[None])[0], seed))

    def grid(self, model: Model) -> tuple[int, int]:
        """About as many rows and columns as there are superpixels, which are no regular grid."""
        if self.segmentation == "quickshift":  # finds its own number of superpixels
            _, height, width = model.preprocessing.input_size
            return height, width
        side = max(1, round(self.segments**0.5))
        return side, side


def mean_colours(picture: torch.Tensor, segments: torch.Tensor) -> torch.Tensor:
    """(3, h, w) picture in which every superpixel shows its own mean colour."""
    flat = segments.flatten()
    sizes = torch.bincount(flat)
    totals = torch.zeros(len(picture), len(sizes), dtype=torch.float64)
    totals.index_add_(1, flat, picture.flatten(1).double())
    return (totals / sizes).to(picture.dtype)[:, segments]
