"""Values to colours.

    position = (value - low) / (high - low), cut to 0..1            one `Scale` for all maps that are compared
    heatmap  = palette[round(255 position)]
    overlay  = (1 - opacity) picture + opacity heatmap              one opacity everywhere

Values are never normalised per map behind the reader's back: the scale is an object, and its numbers stand on the
colour bar. A flat map gets one neutral colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from xai_core.errors import SettingError
from xai_core.records import why_flat

# What the top and, for maps with two signs, the bottom of each palette is called in a sentence.
ONE_SIGNED = {"inferno": "pale yellow", "viridis": "yellow", "magma": "cream", "cividis": "yellow", "turbo": "red"}
TWO_SIGNED = {"coolwarm": ("blue", "red"), "RdBu_r": ("blue", "red"), "PuOr_r": ("purple", "orange")}
COLOUR_MAPS: tuple[str, ...] = (*ONE_SIGNED, *TWO_SIGNED)

NEUTRAL = 128  # grey level of a flat map
SIGNED_FRACTION = 1e-3  # negatives smaller than this part of the largest value are rounding: no colour could show them
CLIP_FLOOR = 1e-2  # of the largest value: in a map of few sharp points the percentile is nearly 0, and noise would glow


@dataclass(frozen=True)
class Scale:
    """From values to colours: `low` gets the palette's first colour, `high` its last. In the maps' own units."""

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"a scale needs low < high, got {self.low} and {self.high}")

    @property
    def signed(self) -> bool:
        """Whether zero lies inside, so that the two halves mean against and for."""
        return self.low < 0 < self.high

    def spread(self, values: np.ndarray) -> np.ndarray:
        """(h, w) values to (h, w) float64 in 0..1; what lies outside the scale takes its nearest end."""
        return np.clip((values.astype(np.float64) - self.low) / (self.high - self.low), 0, 1)


def scale_of(maps: Sequence[np.ndarray], clip: float = 99.5) -> Scale | None:
    """One scale for all (h, w) `maps`, or None if every one of them is flat.

    Zero means "says nothing" in every map, so the scale is tied to it: 0..b if no value is meaningfully negative,
    else -b..b. `b` is the `clip`-th percentile of the absolute values, because a single hot pixel would otherwise
    darken the rest. Raises SettingError unless 50 <= clip <= 100.
    """
    if not 50 <= clip <= 100:
        raise SettingError(f"The colours cannot saturate at percentile {clip}; choose from 50 to 100.")
    shown = [values.astype(np.float64).ravel() for values in maps if why_flat(values) is None]
    if not shown:
        return None
    values = np.concatenate(shown)
    sizes = np.abs(values)
    largest = float(sizes.max())
    bound = max(float(np.percentile(sizes, clip)), CLIP_FLOOR * largest)
    return Scale(-bound if values.min() < -SIGNED_FRACTION * largest else 0.0, bound)


@lru_cache(maxsize=len(COLOUR_MAPS))
def palette(name: str) -> np.ndarray:
    """The 256 colours of one of COLOUR_MAPS as (256, 3) uint8, read-only. Raises SettingError for another name."""
    if name not in COLOUR_MAPS:
        raise SettingError(f"No colour map is called {name!r}. There are {', '.join(COLOUR_MAPS)}.")
    import matplotlib

    colours = np.array(matplotlib.colormaps[name](np.arange(256), bytes=True)[:, :3], dtype=np.uint8)
    colours.setflags(write=False)
    return colours


def default_colour_map(values: np.ndarray, common: Scale | None = None) -> str:
    """Two colours around a neutral middle for a (h, w) map with both signs, else dark to bright.

    Also for a map of one sign on a `common` scale of several maps, on which another has two.
    """
    scale = common if common is not None and common.signed else scale_of([values], clip=100)
    return "coolwarm" if scale is not None and scale.signed else "inferno"


def colours_on(scale: Scale, colour_map: str) -> np.ndarray:
    """(256, 3) uint8: the colours from the scale's low end to its high end.

    A two-coloured palette on a one-signed scale gives its upper half only: zero must stay neutral, or "nothing"
    would be painted as "against".
    """
    colours = palette(colour_map)
    if colour_map in TWO_SIGNED and not scale.signed:
        half: np.ndarray = colours[np.rint(np.linspace(128, 255, 256)).astype(int)]
        return half
    return colours


def heatmap(values: np.ndarray, scale: Scale | None, colour_map: str) -> np.ndarray:
    """(h, w) values to (h, w, 3) uint8; one neutral grey where the map is flat or there is no scale."""
    if scale is None or why_flat(values) is not None:
        palette(colour_map)  # an unknown name is refused whatever the map
        return np.full((*values.shape, 3), NEUTRAL, dtype=np.uint8)
    drawn: np.ndarray = colours_on(scale, colour_map)[np.rint(scale.spread(values) * 255).astype(np.uint8)]
    return drawn


def overlay(pixels: np.ndarray, values: np.ndarray, scale: Scale | None, colour_map: str, opacity: float) -> np.ndarray:
    """(h, w, 3) uint8 = round((1 - opacity) pixels + opacity heatmap). Raises SettingError unless 0 <= opacity <= 1."""
    if not 0 <= opacity <= 1:
        raise SettingError(f"Opacity {opacity} is not allowed; choose from 0 to 1.")
    mixed = (1 - opacity) * pixels.astype(np.float64) + opacity * heatmap(values, scale, colour_map)
    return np.rint(mixed).astype(np.uint8)
