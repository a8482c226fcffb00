"""What can be read off a picture's pixels alone, (H, W, 3) uint8: how much they differ, how much is a frame."""

from __future__ import annotations

import numpy as np


def detail(pixels: np.ndarray) -> float:
    """Mean absolute difference of neighbouring pixels, in grey levels of 255; 0.0 where all are of one colour."""
    levels = pixels.astype(np.float32)
    down, across = np.abs(np.diff(levels, axis=0)), np.abs(np.diff(levels, axis=1))
    return float((down.sum(dtype=np.float64) + across.sum(dtype=np.float64)) / max(1, down.size + across.size))


def spread(pixels: np.ndarray) -> float:
    """Standard deviation of the pixels from the mean colour, in grey levels of 255: over the three colours as one."""
    return float(np.sqrt(pixels.var(axis=(0, 1), dtype=np.float64).mean()))


def black_frame(pixels: np.ndarray) -> float:
    """Share of the picture, 0 to 1, that is black and touches a corner, through other black pixels if need be."""
    from scipy import ndimage

    regions, _ = ndimage.label(~pixels.any(axis=2))
    corners = {int(regions[row, column]) for row in (0, -1) for column in (0, -1)} - {0}
    return float(np.isin(regions, list(corners)).mean())
