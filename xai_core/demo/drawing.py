"""What every generator of demonstration pictures hands back: the pixels, and the truth about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Drawing:
    """A generated picture with its truth.

    The arrays are read-only, so that a drawing may be shared and cached.
    """

    pixels: np.ndarray
    """(h, w, 3) uint8 RGB."""
    label: str
    """The class that was drawn."""
    masks: Mapping[str, np.ndarray]
    """Name of a part of the picture -> (h, w) bool, all False where the part is absent."""
    groups: Mapping[str, str]
    """Name of an attribute -> its value, for example {"marker": "L", "bones": "two"}."""

    def __post_init__(self) -> None:
        self.pixels.setflags(write=False)
        for mask in self.masks.values():
            mask.setflags(write=False)
