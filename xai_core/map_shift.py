"""How far a map has moved against the things of the picture, where those have moved themselves.

The map of the original is carried along with the picture into the new view. What is left between the two maps is what
the model did differently, not where the picture went. Only places that both views show are compared.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from xai_core.agreement import highest, overlap, rank_correlation
from xai_core.records import why_flat
from xai_core.truth import NO_MASS, border, mass

BORDER = 0.1  # of a side of the view, from each edge
EDGE = 1e-6  # of a pixel: what rounding may move a point that lies on an edge
NOTHING_SHARED = "Nothing is shown by both views, so the two maps cannot be compared."
NOTHING_OUTSIDE = "The mask covers nothing, or all, of what both views show, so no share lies outside it."


class View(NamedTuple):
    """What a model sees of a picture of `size` (H, W): `shape` (h, w) pixels that show `box` of it.

    `box` (left, top, right, bottom) counts edges, in pixels of the picture; it may reach beyond it.
    """

    box: tuple[float, float, float, float]
    shape: tuple[int, int]
    size: tuple[int, int]

    def points(self) -> np.ndarray:
        """(2, h * w) float64: x and y, in pixels of the picture, of the middle of every pixel of the view."""
        left, top, right, bottom = self.box
        height, width = self.shape
        x = left + (np.arange(width) + 0.5) * ((right - left) / width)
        y = top + (np.arange(height) + 0.5) * ((bottom - top) / height)
        return np.stack([np.tile(x, height), np.repeat(y, width)])

    def shows(self, points: np.ndarray) -> np.ndarray:
        """(2, n) points of the picture to (n,) bool: in the view and in the picture, not in a border added to it."""
        low = np.maximum(self.box[:2], 0.0)[:, None] - EDGE
        high = np.minimum(self.box[2:], self.size[::-1])[:, None] + EDGE
        inside = (points >= low) & (points <= high)
        return np.logical_and.reduce(inside, axis=0)  # type: ignore[no-any-return]

    def places(self, points: np.ndarray) -> np.ndarray:
        """(2, n) points of the picture to (2, n) rows and columns of the view: 0 is the middle of its first pixel."""
        start, end = np.array(self.box[:2]), np.array(self.box[2:])
        scale = np.array(self.shape[::-1]) / (end - start)
        places: np.ndarray = ((points - start[:, None]) * scale[:, None] - 0.5)[::-1]
        return places


@dataclass(frozen=True, eq=False)
class Way:
    """From the view of a picture to the view of what a perturbation made of it.

    `shared` (h, w) bool, of the new view: what both show. `points` (2, n): where in the original picture its pixels
    come from. `still`: nothing moved, so that nothing need be resampled.
    """

    before: View
    after: View
    shared: np.ndarray
    points: np.ndarray
    still: bool

    @classmethod
    def along(cls, before: View, after: View, move: np.ndarray) -> Way:
        """`move` (2, 3) says where a point (x, y, 1) of the original picture is found in the new one."""
        new = after.points()
        old = np.linalg.solve(move[:, :2], new - move[:, 2:])
        shared = before.shows(old) & after.shows(new)
        still = before == after and np.array_equal(move, np.eye(2, 3))
        return cls(before, after, shared.reshape(after.shape), old[:, shared], still)

    def values(self, values: np.ndarray) -> np.ndarray:
        """(h, w) float32 values of the original view to the (n,) that lie at the shared places, bilinearly."""
        if self.still:
            at_place: np.ndarray = values[self.shared]
            return at_place
        from scipy.ndimage import map_coordinates

        places = self.before.places(self.points)
        carried: np.ndarray = map_coordinates(values.astype(np.float64), places, order=1, mode="nearest")
        return carried.astype(np.float32)  # equal values stay equal: rounding would give them an order

    def mask(self, mask: np.ndarray) -> np.ndarray:
        """(H, W) bool of the original picture to (n,) bool at the shared places: each that of the pixel it lies in."""
        columns, rows = (
            np.clip(np.floor(at).astype(int), 0, side - 1)
            for at, side in zip(self.points, mask.shape[::-1], strict=True)
        )
        marked: np.ndarray = mask[rows, columns]
        return marked

    def region(self, mask: np.ndarray) -> np.ndarray:
        """(H, W) bool of the original picture to (h, w) bool of the new view, False where only one view shows it."""
        found = np.zeros(self.after.shape, bool)
        found[self.shared] = self.mask(mask)
        return found


@dataclass(frozen=True)
class Shift:
    """What lies between two maps of a picture; a number that is undefined is None, and `why` says so under its name.

    `rank_correlation` (-1 to 1) and `top_overlap` (intersection over union of the highest tenths, 0 to 1) of the shared
    places; `centre_distance` between the centres of mass, in hundredths of the view's diagonal; `border_change` and
    `background_change`: by how many points the share of the mass grows that lies within BORDER of the new view's edges,
    and outside what is marked.
    """

    rank_correlation: float | None = None
    top_overlap: float | None = None
    centre_distance: float | None = None
    border_change: float | None = None
    background_change: float | None = None
    why: Mapping[str, str] = field(default_factory=dict)


NUMBERS = ("rank_correlation", "top_overlap", "centre_distance", "border_change", "background_change")


def no_shift(why: str) -> Shift:
    """Of maps that cannot be compared at all."""
    return Shift(why=dict.fromkeys(NUMBERS, why))


def shift(before: np.ndarray, after: np.ndarray, way: Way, mask: np.ndarray | None = None) -> Shift:
    """From the map (h, w) of the original to that of the new view. `mask` (H, W) bool marks a thing in the original.

    Masses are those of the positive parts at the shared places, where they add up to 1.
    """
    old, new = way.values(before), after[way.shared]
    if not old.size:
        return no_shift(NOTHING_SHARED)
    if flat := why_flat(old) or why_flat(new):
        return no_shift(flat)
    shares = mass(old), mass(new)
    why: dict[str, str] = {}
    distance = border_change = background_change = None
    if shares[0] is None or shares[1] is None:
        why |= dict.fromkeys(NUMBERS[2:], NO_MASS)
    else:
        moved = shares[1] - shares[0]
        rows, columns = np.nonzero(way.shared)
        distance = 100 * float(np.hypot(moved @ rows, moved @ columns) / np.hypot(*way.after.shape))
        border_change = 100 * float(moved[border(way.after.shape, BORDER)[way.shared]].sum())
        if mask is not None:
            inside = way.mask(mask)
            if inside.any() and not inside.all():
                background_change = 100 * float(moved[~inside].sum())
            else:
                why["background_change"] = NOTHING_OUTSIDE
    return Shift(
        rank_correlation(old, new),
        overlap(highest(old), highest(new)),
        distance,
        border_change,
        background_change,
        why,
    )
