"""Artefacts: what a network may lean on though it says nothing of the class, planted where it was not.

Each is planted in a corner or along an edge, as where it is found in practice, light on dark ground and dark on light.
The picture without it is the other half of a counterfactual pair: the two differ in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, gaussian_filter, minimum_filter

if TYPE_CHECKING:
    from xai_core.probes import Box, Part

Colour = tuple[float, float, float]  # 0 to 1
FAINTEST = 0.03  # of an ink: fainter is left off, so that what belongs to an artefact can be told
WARM = np.array([0.24, -0.04, -0.41])  # a shift of colour that leaves the brightness (0.30, 0.59, 0.11) alone


class Ground(NamedTuple):
    """A picture before something is planted in it: `pixels` (H, W, 3) uint8, and where something may lie."""

    pixels: np.ndarray
    chance: np.random.Generator
    part: Part | None
    avoid: np.ndarray | None  # (H, W) bool
    window: tuple[int, int, int, int]  # left, top, right, bottom, in pixels

    @property
    def side(self) -> int:
        """The shorter side of the window, in pixels: artefacts are sized by it."""
        left, top, right, bottom = self.window
        return min(right - left, bottom - top)

    def random(self, low: float, high: float) -> float:
        """A length, given in shares of the side, in pixels."""
        return float(self.chance.uniform(low, high) * self.side)

    def corner(self, shape: Sequence[int]) -> tuple[int, int]:
        """Row and column for a tile of that (h, w), in one of the two quietest corners, as people lay a marker."""
        left, top, right, bottom = self.window
        across, down = self.random(0.03, 0.07), self.random(0.03, 0.07)
        rows, columns = (top + down, bottom - down - shape[0]), (left + across, right - across - shape[1])
        return self._quiet([(row, column) for row in rows for column in columns], [shape] * 4)

    def edge(self, shape: Sequence[int]) -> tuple[int, int, bool]:
        """Row and column for a tile of that (h, w), and whether it stands upright, along one of the quietest edges."""
        left, top, right, bottom = self.window
        (thick, long), inset, along = shape, self.random(0.01, 0.04), self.chance.random()
        down, across = top + along * (bottom - top - long), left + along * (right - left - long)
        lying = [(top + inset, across), (bottom - inset - thick, across)]
        standing = [(down, left + inset), (down, right - inset - thick)]
        row, column = self._quiet(lying + standing, [(thick, long)] * 2 + [(long, thick)] * 2)
        upright = (row, column) in [self._inside(place, (long, thick)) for place in standing]
        return row, column, upright

    def _inside(self, place: tuple[float, float], shape: Sequence[int]) -> tuple[int, int]:
        """The place, moved so that a tile of that (h, w) lies inside the window where it can."""
        left, top, right, bottom = self.window
        row, column = (round(at) for at in place)
        return max(top, min(row, bottom - shape[0])), max(left, min(column, right - shape[1]))

    def _quiet(self, places: Sequence[tuple[float, float]], shapes: Sequence[Sequence[int]]) -> tuple[int, int]:
        """One of the two places with the least structure, of those that cover least of what to avoid."""
        inside = [self._inside(place, shape) for place, shape in zip(places, shapes, strict=True)]
        covered, structure = [], []
        for (row, column), (height, width) in zip(inside, shapes, strict=True):
            area = np.s_[row : row + height, column : column + width]
            covered.append(0.0 if self.avoid is None else round(float(self.avoid[area].mean()), 2))
            structure.append(float(self.pixels[area].std()))
        free = [i for i in range(len(inside)) if covered[i] == min(covered)]
        quietest = sorted(free, key=lambda i: structure[i])[:2]
        return inside[quietest[int(self.chance.integers(2)) % len(quietest)]]

    def laid(
        self, row: int, column: int, ink: np.ndarray, light: np.ndarray | Colour, dark: np.ndarray | Colour
    ) -> np.ndarray:
        """The pixels with (h, w) `ink`, 0 to 1, laid at a place: in `light` on dark ground, in `dark` on light."""
        height, width = (
            min(own, whole - at) for own, whole, at in zip(ink.shape, self.pixels.shape[:2], (row, column), strict=True)
        )
        area = np.s_[row : row + height, column : column + width]
        cover = np.where(ink < FAINTEST, 0, ink)[:height, :width, None].astype(np.float32)
        under = self.pixels[area] / np.float32(255)
        dim = float((under * cover).sum()) < 0.5 * 3 * float(cover.sum())
        colour = np.asarray(light if dim else dark, np.float32)
        colour = colour[:height, :width] if colour.ndim > 1 else colour
        pixels = self.pixels.copy()
        pixels[area] = np.rint(255 * (under * (1 - cover) + colour * cover))
        return pixels


@dataclass(frozen=True)
class Artefact:
    """Something that may be planted in a picture. `needs` names the part of the picture that it is fitted to."""

    name: str
    label: str
    draw: Callable[[Ground], np.ndarray]
    needs: str = ""
    already: str = ""  # the part by which the data marks one that the picture has
    everywhere: bool = False  # it covers the whole picture: no map can point at it

    def plant(
        self,
        pixels: np.ndarray,
        chance: np.random.Generator,
        part: Part | None = None,
        *,
        avoid: np.ndarray | None = None,
        box: Box | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """(H, W, 3) uint8 with the artefact, and (H, W) bool: the pixels that belong to it.

        It is laid inside `box`, what a model sees of the picture, by default all of it, and, where it can be, beside
        `avoid` (H, W) bool. The same state of `chance` plants the same.
        """
        height, width = pixels.shape[:2]
        left, top, right, bottom = (0.0, 0.0, width, height) if box is None else box
        window = (max(0, round(left)), max(0, round(top)), min(width, round(right)), min(height, round(bottom)))
        planted = self.draw(Ground(pixels, chance, part, avoid, window))
        mask = np.ones((height, width), bool) if self.everywhere else (planted != pixels).any(axis=2)
        return planted, mask


def taken_out(pixels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 with what the (H, W) bool mask marks, and its soft edge, filled from around it."""
    import cv2

    reach = max(2, round(0.012 * min(mask.shape)))
    place = binary_dilation(mask, iterations=reach).astype(np.uint8)
    return np.asarray(cv2.inpaint(np.ascontiguousarray(pixels), place, 3, cv2.INPAINT_TELEA))


def lead_letter(letter: str, height: float, turn: float) -> np.ndarray:
    """A bold letter `height` pixels tall before it is turned by `turn` degrees, cropped, float from 0 to 1."""
    fine = 4  # drawn larger and reduced, for smooth slants
    font = ImageFont.load_default(height * fine)
    tile = Image.new("L", (int(2 * height * fine), int(2 * height * fine)))
    ImageDraw.Draw(tile).text((height * fine, height * fine), letter, 255, font, anchor="mm",
                              stroke_width=height * fine * 0.025)  # fmt: skip
    tile = tile.rotate(turn, Image.Resampling.BICUBIC).resize((int(2 * height), int(2 * height)), Image.Resampling.BOX)
    return np.asarray(tile.crop(tile.getbbox()), np.float64) / 255


def marker(letter: str) -> Callable[[Ground], np.ndarray]:
    """A lead letter as people lay it beside a limb to tell left from right: as the demonstration draws it."""

    def draw(ground: Ground) -> np.ndarray:
        height, turn = max(7.0, ground.random(0.105, 0.145)), ground.chance.uniform(-14, 14)
        tile = np.pad(lead_letter(letter, height, turn), 2)
        ink = gaussian_filter(tile, 0.75 * ground.side / 256, truncate=3)
        grey = ground.chance.uniform(0.9, 1.0)
        return ground.laid(*ground.corner(ink.shape), ink, (grey,) * 3, (1 - grey,) * 3)

    return draw


def ruler(ground: Ground) -> np.ndarray:
    """A plate with a scale, along an edge."""
    thick, long = max(4, round(ground.random(0.05, 0.07))), round(ground.random(0.45, 0.7))
    tick = max(1, round(0.007 * ground.side))
    apart = max(2 * tick, round(ground.random(0.022, 0.03)))
    tone = np.full((thick, long), ground.chance.uniform(0.85, 1.0))
    for number, at in enumerate(range(apart, long - tick, apart)):
        tone[: round(thick * (0.7 if number % 5 == 4 else 0.4)), at : at + tick] = 0.1
    row, column, upright = ground.edge(tone.shape)
    tone = np.repeat((tone.T if upright else tone)[..., None], 3, axis=2)
    return ground.laid(row, column, np.full(tone.shape[:2], 0.92), tone, 1 - tone)


def corner_text(ground: Ground) -> np.ndarray:
    """Numbers and settings burnt into a corner, as a scanner writes them; no letter tells a side."""
    fine, height = 4, max(4.0, ground.random(0.035, 0.045))
    number, kilovolt, hour, minute = (int(ground.chance.integers(n)) for n in (10**6, 30, 24, 60))
    lines = f"{number:06d}\n{50 + kilovolt} kV\n{hour:02d}:{minute:02d}"
    font = ImageFont.load_default(1.3 * height * fine)
    tile = Image.new("L", (int(8 * height * fine), int(6 * height * fine)))
    ImageDraw.Draw(tile).text((height * fine, height * fine), lines, 255, font, spacing=0.3 * height * fine)
    tile = tile.resize((int(8 * height), int(6 * height)), Image.Resampling.BOX)
    ink = np.asarray(tile.crop(tile.getbbox()), np.float64) / 255
    return ground.laid(*ground.corner(ink.shape), ink, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))


def scanner_border(ground: Ground) -> np.ndarray:
    """A frame where the film or slide ends and the scanner goes on, as wide on no two sides."""
    (left, top, right, bottom), ink = ground.window, np.ones(ground.pixels.shape[:2])
    wide = [max(1, round(ground.random(0.015, 0.05))) for _ in range(4)]
    ink[top + wide[0] : bottom - wide[1], left + wide[2] : right - wide[3]] = 0
    tone = ground.chance.uniform(0.9, 1.0)
    return ground.laid(0, 0, ink, (tone,) * 3, (1 - tone,) * 3)


def pen_mark(ground: Ground) -> np.ndarray:
    """A ring drawn by hand with a violet pen, in a corner."""
    radius, stroke = ground.random(0.09, 0.13), max(1.0, 0.016 * ground.side)
    size = int(2 * (1.25 * radius + stroke)) + 1
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    angle, start = np.arctan2(y, x), ground.chance.uniform(0, 2 * np.pi, 2)
    squeeze = ground.chance.uniform(0.85, 1.0)
    ring = radius * (1 + 0.07 * np.cos(2 * angle + start[0]) + 0.05 * np.cos(3 * angle + start[1]))
    ink = 0.95 * np.clip(0.5 + stroke / 2 - np.abs(np.hypot(x, y / squeeze) - ring), 0, 1)
    return ground.laid(*ground.corner(ink.shape), ink, (0.78, 0.55, 1.0), (0.35, 0.05, 0.6))


def glasses(ground: Ground) -> np.ndarray:
    """Clear glasses: the rims of what the probe of that name draws over the eyes, which stay in view."""
    from xai_core.probes import PROBES, Perturbation

    drawing = PROBES.build("glasses")
    assert isinstance(drawing, Perturbation)
    assert ground.part is not None
    left, _, right, _ = ground.part.box
    black_on_white = drawing.apply(np.full_like(ground.pixels, 255), 1.0, ground.part, ground.chance)
    cover = 1 - black_on_white[..., 0] / 255
    rim = max(1, round(ground.chance.uniform(0.03, 0.05) * (right - left)))
    tone = ground.chance.uniform(0.8, 1.0)
    ink = cover - minimum_filter(cover, 2 * rim + 1)
    return ground.laid(0, 0, ink, (tone,) * 3, (1 - tone,) * 3)


def tint(ground: Ground) -> np.ndarray:
    """A warm cast over the whole picture, as of another lamp: the colour moves, the brightness does not."""
    share = ground.random(0.25, 0.35) / ground.side
    return np.clip(np.rint(ground.pixels + 255 * share * WARM), 0, 255).astype(np.uint8)


ARTEFACTS: Mapping[str, Artefact] = MappingProxyType(
    {
        artefact.name: artefact
        for artefact in (
            Artefact("marker_l", "Letter L", marker("L"), already="marker"),
            Artefact("marker_r", "Letter R", marker("R"), already="marker"),
            Artefact("ruler", "Ruler", ruler),
            Artefact("corner_text", "Burnt-in text", corner_text),
            Artefact("scanner_border", "Scanner border", scanner_border),
            Artefact("pen_mark", "Pen mark", pen_mark),
            Artefact("glasses", "Glasses", glasses, needs="eyes", already="glasses"),
            Artefact("tint", "Colour cast", tint, everywhere=True),
        )
    }
)
