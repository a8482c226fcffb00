"""Radiographs of long bones, drawn from a seed: normal, broken once, or shattered, with exact masks.

A ray through a limb is dimmed by the length of bone and flesh it crosses. So the picture is built as lengths first
(hollow shafts, fractures that displace them, soft tissue around them), and only then exposed like a film.

Every part draws from its own stream of random numbers. The same seed therefore shows the same limb on the same film
whatever the label and the side marker: with and without the marker, or broken and whole, are exact pairs.

Lengths are in half picture widths: x and y run from -1 to 1 whatever the size in pixels. Along a bone the coordinate
is `u`, across it `v`, both zero at its middle. The drawings teach and test a program; they are no medical pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from scipy.ndimage import binary_dilation, gaussian_filter, map_coordinates

from xai_core.artefacts import lead_letter

from .drawing import Drawing

LABELS = ("normal", "simple fracture", "comminuted fracture")

PIXEL = 2 / 256  # one pixel of the usual size, as a length
STREAMS = ("limb", "texture", "fracture", "tissue", "film", "grain", "marker")


@dataclass(frozen=True)
class Bone:
    """A hollow shaft with widened ends, on a slightly bent axis."""

    x: float
    y: float
    angle: float  # of the axis, in radians
    bend: float  # the axis lies at v = bend * u * u
    half_length: float
    radius: float  # of the shaft at its middle
    cortex: float  # thickness of the wall, as a fraction of the radius
    flare: float  # widening towards the ends, as a fraction of the radius
    lean: float  # how much more one end widens than the other

    def frame(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates along and across the bone of the points (x, y)."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        u = (x - self.x) * cos + (y - self.y) * sin
        v = (y - self.y) * cos - (x - self.x) * sin
        return u, v - self.bend * u * u

    def point(self, u: float) -> tuple[float, float]:
        """The point (x, y) of the axis at u."""
        cos, sin, v = np.cos(self.angle), np.sin(self.angle), self.bend * u * u
        return float(self.x + u * cos - v * sin), float(self.y + u * sin + v * cos)


@dataclass(frozen=True)
class Break:
    """What a fracture did to one bone."""

    lengths: np.ndarray  # (h, w) float, bone crossed by each ray
    mask: np.ndarray  # (h, w) bool, where the fracture is


def draw(seed: int, label: str, marker: str | None = "random", size: int = 256) -> Drawing:
    """One radiograph of `size` pixels, the same for the same arguments.

    marker: "L", "R", None, or "random": a letter on half of the pictures, whatever the label.
    """
    if label not in LABELS:
        raise ValueError(f"label must be one of {LABELS}, not {label!r}")
    if marker not in ("L", "R", None, "random"):
        raise ValueError(f'marker must be "L", "R", None or "random", not {marker!r}')
    streams = {name: np.random.default_rng([seed, number]) for number, name in enumerate(STREAMS)}
    ticks = (np.arange(size) + 0.5) / size * 2 - 1
    x, y = np.meshgrid(ticks, ticks)

    bones = limb(streams["limb"])
    film = Film.random(streams["film"])
    lengths, fracture, bone_mask, site = skeleton(streams["texture"], streams["fracture"], bones, label, x, y)
    fracture &= film.field(x, y) > 0.5
    flesh = soft_tissue(streams["tissue"], bones, site, x, y)
    letter, ink = side_marker(streams["marker"], marker, bones[0], film, size)
    grey = film.expose(lengths, flesh, ink, x, y, streams["grain"])

    return Drawing(
        pixels=np.repeat(grey[..., None], 3, axis=2),
        label=label,
        masks={"fracture": fracture, "marker": ink > 0.3, "bone": bone_mask},
        groups={
            "marker": letter or "none",
            "bones": "two" if len(bones) == 2 else "one",
            "collimated": "yes" if film.collimated else "no",
            "exposure": film.exposure,
        },
    )


# The limb


def limb(rng: np.random.Generator) -> tuple[Bone, ...]:
    """One bone, as in the upper arm or the thigh, or two side by side, as in the forearm or the lower leg."""
    upright = rng.random() < 0.75
    angle = np.pi / 2 + rng.uniform(-0.45, 0.45) if upright else rng.uniform(0, np.pi)
    two = rng.random() < 0.45
    first = Bone(
        x=rng.uniform(-0.16, 0.16),
        y=rng.uniform(-0.16, 0.16),
        angle=angle,
        bend=rng.uniform(-0.13, 0.13),
        half_length=rng.uniform(0.85, 1.5),
        radius=rng.uniform(0.085, 0.125) if two else rng.uniform(0.125, 0.195),
        cortex=rng.uniform(0.28, 0.46),
        flare=rng.uniform(0.45, 0.8) if two else rng.uniform(0.55, 1.0),
        lean=rng.uniform(-0.3, 0.3),
    )
    apart, tilt, thinner = rng.uniform(0.38, 0.5), rng.uniform(-0.05, 0.05), rng.uniform(0.65, 0.95)
    if not two:
        return (first,)
    across = np.array([-np.sin(angle), np.cos(angle)]) * apart / 2
    second = replace(first, x=first.x + across[0], y=first.y + across[1], angle=angle + tilt, lean=-first.lean,
                     radius=first.radius * thinner, half_length=first.half_length * (1.02 + tilt))  # fmt: skip
    return replace(first, x=first.x - across[0], y=first.y - across[1], angle=angle - tilt), second


def skeleton(
    texture: np.random.Generator,
    fracture: np.random.Generator,
    bones: tuple[Bone, ...],
    label: str,
    x: np.ndarray,
    y: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float] | None]:
    """Bone crossed by each ray, the masks of the fracture and of bone, and where the fracture is (x, y)."""
    lengths, broken, bone_mask = np.zeros_like(x), np.zeros(x.shape, bool), np.zeros(x.shape, bool)
    victim, site = int(fracture.integers(len(bones))), None
    for number, bone in enumerate(bones):
        u, v = bone.frame(x, y)
        v = v + np.interp(u, np.linspace(-1.7, 1.7, 64), wave(texture, 64, 8)) * 0.025 * bone.radius
        if label != "normal" and number == victim:
            at = fracture_site(fracture, bone)
            site = bone.point(at)
            result = (break_simply if label == "simple fracture" else shatter)(fracture, bone, u, v, at)
            crossed, broken = result.lengths, result.mask
        else:
            crossed, _ = shaft(bone, u, v)
        crossed = crossed * distractors(texture, bone, u, v) * trabeculae(texture, bone, u, v)
        bone_mask |= crossed > 0.15 * bone.radius
        lengths += crossed
    for bone in neighbours(texture, bones):
        u, v = bone.frame(x, y)
        crossed = shaft(bone, u, v)[0] * trabeculae(texture, bone, u, v)
        bone_mask |= crossed > 0.15 * bone.radius
        lengths += crossed
    return lengths, broken, bone_mask, site


def neighbours(rng: np.random.Generator, bones: tuple[Bone, ...]) -> list[Bone]:
    """The bones beyond the joints that can be seen: one across the whole limb at either end."""
    found = []
    axis = axis_of(bones)
    for end in (-1, 1):
        gap, tilt, wide = rng.uniform(0.02, 0.05), rng.uniform(-0.15, 0.15), rng.uniform(0.9, 1.1)
        near = max(bone.half_length for bone in bones) + gap
        x, y = axis.point(end * near)
        if max(abs(x), abs(y)) > 1.2:
            continue
        radius = axis.radius * wide * (1.5 if len(bones) == 2 else 1)
        angle = axis.angle + np.arctan(2 * axis.bend * end * near) + tilt
        x, y = x + end * axis.half_length * np.cos(angle), y + end * axis.half_length * np.sin(angle)
        found.append(replace(axis, x=x, y=y, angle=angle, bend=0.0, radius=radius))
    return found


def axis_of(bones: tuple[Bone, ...]) -> Bone:
    """The first bone, moved to the middle of the limb."""
    first, last = bones[0], bones[-1]
    return replace(first, x=(first.x + last.x) / 2, y=(first.y + last.y) / 2)


def shaft(bone: Bone, u: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bone crossed by the ray at (u, v): a tube with dense walls, filled with sponge at the ends. Also its half width.

    The ray crosses the outer tube's chord less most of the inner tube's: that is why walls look bright.
    """
    towards_end = smoothstep((np.abs(u) / bone.half_length - 0.45) / 0.45)
    outer_width = half_width(bone, u, v, end=bone.half_length)
    wall = bone.radius * (bone.cortex * (1 - towards_end) + 0.09 * towards_end)
    inner_width = np.clip(half_width(bone, u, v, end=bone.half_length - 0.06 * bone.radius) - wall, 0, None)
    hollow = 0.96 - 0.32 * towards_end
    return chord(outer_width, v) - hollow * chord(inner_width, v), outer_width


def half_width(bone: Bone, u: np.ndarray, v: np.ndarray, end: float) -> np.ndarray:
    """Half the width of the bone at u, if it ended at `end`: a shaft, a flare, and a rounded end with two condyles."""
    t = np.abs(u) / bone.half_length
    side = 1 + bone.lean * np.sign(u)
    width = bone.radius * (1 + bone.flare * side * smoothstep((t - 0.5) / 0.48) + 0.10 * t * t)
    notch = 0.12 * bone.radius * np.exp(-((v / (0.45 * bone.radius)) ** 2))
    rounding = 0.75 * bone.radius * (1 + 0.5 * bone.flare)
    past = np.clip((np.abs(u) + notch - (end - rounding)) / rounding, 0, 1)
    return np.asarray(width * (1 - past**2.6) ** (1 / 2.6))


def trabeculae(rng: np.random.Generator, bone: Bone, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Factor near 1: fine struts that run along the bone and fan out near its ends, coarse mottling everywhere."""
    towards_end = smoothstep((np.abs(u) / bone.half_length - 0.4) / 0.4)
    fine, coarse = rng.standard_normal((64, 64)), rng.standard_normal((64, 64))
    spread = v / (1 + bone.flare * towards_end)  # struts follow the widening walls
    struts = sample(fine, u / (9 * PIXEL), spread / (2.2 * PIXEL)) + 0.6 * sample(
        fine[::-1], u / (2.6 * PIXEL), spread / (6 * PIXEL)
    )
    mottling = sample(coarse, u / (11 * PIXEL), v / (6 * PIXEL))
    return np.asarray(1 + (0.02 + 0.085 * towards_end) * struts + 0.04 * mottling)


def distractors(rng: np.random.Generator, bone: Bone, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Factor near 1: lines that are no fractures. A growth plate near an end, a nutrient canal through one wall."""
    has_plate, has_canal = rng.random() < 0.35, rng.random() < 0.35
    plate_at = rng.choice([-1, 1]) * bone.half_length * rng.uniform(0.80, 0.87)
    canal_at, canal_side, canal_slope = rng.uniform(-0.4, 0.4), rng.choice([-1, 1]), rng.uniform(0.12, 0.22)
    factor = np.ones_like(u)
    if has_plate:  # a soft dark line between two dense ones
        wavy = 0.12 * v * v / bone.radius + 0.03 * bone.radius * np.sin(4 * v / bone.radius)
        off = np.abs(u - plate_at - wavy * np.sign(plate_at)) / PIXEL
        factor = factor * (1 - 0.35 * np.exp(-((off / 1.3) ** 2))) * (1 + 0.22 * np.exp(-(((off - 3.4) / 1.5) ** 2)))
    if has_canal:  # a short slanting dark line
        depth = canal_side * (bone.radius * (1 - 0.6 * bone.cortex) - canal_slope * (u - canal_at))
        inside = smoothstep(1.5 - np.abs(u - canal_at) / (0.55 * bone.radius))
        factor = factor * (1 - 0.24 * inside * np.exp(-(((v - depth) / (1.1 * PIXEL)) ** 2)))
    return factor


# Fractures


def fracture_site(rng: np.random.Generator, bone: Bone) -> float:
    """A place on the shaft (a value of u) that lies well inside the picture."""
    at = 0.0
    for _ in range(60):
        at = rng.uniform(-0.58, 0.58) * min(bone.half_length, 1.1)
        if max(map(abs, bone.point(at))) < 0.66:
            return at
    return 0.0


def break_simply(rng: np.random.Generator, bone: Bone, u: np.ndarray, v: np.ndarray, at: float) -> Break:
    """One line across the bone, straight or slanting; the far piece is shifted and turned a little."""
    radius = bone.radius
    slope = rng.uniform(-0.35, 0.35) if rng.random() < 0.5 else rng.uniform(0.5, 1.1) * rng.choice([-1, 1])
    knots = np.linspace(-3 * radius, 3 * radius, 27)
    line = at + slope * knots + rng.standard_normal(27) * 0.10 * radius
    shifted = rng.random() < 0.75
    shift = rng.uniform(0.14, 0.5) * radius * rng.choice([-1, 1]) * shifted
    turn = rng.uniform(-0.14, 0.14)
    gap = rng.uniform(1.6 if shifted else 2.1, 3.3) * PIXEL

    off = u - np.interp(v, knots, line)
    moved = v - (off > 0) * (shift + turn * off)
    lengths, width = shaft(bone, u, moved)
    lengths = lengths * (0.1 + 0.9 * np.clip(np.abs(off) / gap - 0.35, 0, 1))
    mask = (np.abs(off) < np.maximum(2.5 * PIXEL, 1.3 * gap)) & (np.abs(v) < 1.25 * width)
    return Break(lengths, mask)


def shatter(rng: np.random.Generator, bone: Bone, u: np.ndarray, v: np.ndarray, at: float) -> Break:
    """A stretch of the shaft in pieces: cells around random points, each moved, some nearly gone, chips beside."""
    radius = bone.radius
    reach = max(rng.uniform(1.5, 2.5) * radius, 0.18)
    pieces = int(rng.integers(6, 11))
    along = np.r_[at + rng.uniform(-0.5, 0.5, pieces) * reach, at - reach, at + reach]
    across = np.r_[rng.uniform(-1.1, 1.1, pieces) * radius, 0, 0]
    is_end = np.arange(pieces + 2) >= pieces  # the two whole parts of the shaft, which are wide cells
    ragged = sample(rng.standard_normal((64, 64)), u / (11 * PIXEL), v / (11 * PIXEL)) * 0.06 * radius
    distance = np.stack([
        np.hypot((u - a) / (1.25 if end else 1), (v - c) * (0.14 if end else 1)) + ragged
        for a, c, end in zip(along, across, is_end, strict=True)
    ])  # fmt: skip
    nearest = np.argpartition(distance, 1, axis=0)[:2]
    two = np.take_along_axis(distance, nearest, axis=0)
    cell = np.where(two[0] <= two[1], nearest[0], nearest[1])
    in_zone = np.abs(u - at) < 0.95 * reach
    cell = np.where(in_zone, cell, np.where(u < at, pieces, pieces + 1))

    slide, shift = rng.normal(0, 0.10, pieces + 2) * radius, rng.normal(0, 0.28, pieces + 2) * radius
    slide[is_end], shift[is_end] = 0, (0, rng.uniform(-0.5, 0.5) * radius)
    density = np.where(rng.random(pieces + 2) < 0.12, 0.15, rng.uniform(0.65, 1.05, pieces + 2))
    density[is_end] = 1
    gap = rng.uniform(1.5, 2.6) * PIXEL

    lengths, width = shaft(bone, u - slide[cell], v - shift[cell])
    crack = np.clip(np.abs(two[0] - two[1]) / gap - 0.4, 0, 1)
    lengths = np.where(in_zone, lengths * (0.1 + 0.9 * crack) * density[cell], lengths)
    mask = in_zone & (~is_end[cell] | (crack < 1)) & ((lengths > 0) | (np.abs(v) < 1.1 * width))
    mask = binary_dilation(mask, iterations=max(1, round(u.shape[0] / 128)))
    for _ in range(int(rng.integers(1, 4))):
        chip = loose_chip(rng, bone, u, v, at, reach)
        lengths, mask = lengths + chip, mask | (chip > 0)
    return Break(lengths, mask)


def loose_chip(
    rng: np.random.Generator, bone: Bone, u: np.ndarray, v: np.ndarray, at: float, reach: float
) -> np.ndarray:
    """A small angular piece beside the shaft: the part of an ellipsoid on one side of a cut."""
    along, across = at + rng.uniform(-0.6, 0.6) * reach, rng.choice([-1, 1]) * rng.uniform(1.2, 1.7) * bone.radius
    short, long, turn = rng.uniform(0.12, 0.26) * bone.radius, rng.uniform(0.25, 0.5) * bone.radius, rng.uniform(0, 3.1)
    p = (u - along) * np.cos(turn) + (v - across) * np.sin(turn)
    q = (v - across) * np.cos(turn) - (u - along) * np.sin(turn)
    cut = smoothstep(0.5 + (p * 0.5 + q + 0.4 * short) / (1.5 * PIXEL))
    return np.asarray(np.sqrt(np.clip(1 - (p / long) ** 2 - (q / short) ** 2, 0, None)) * cut * 0.5 * bone.radius)


# Around the bone


def soft_tissue(
    rng: np.random.Generator,
    bones: tuple[Bone, ...],
    site: tuple[float, float] | None,
    x: np.ndarray,
    y: np.ndarray,
) -> np.ndarray:
    """Flesh crossed by each ray: muscle inside a thin coat of fat and skin, streaked where muscles meet."""
    first, last = bones[0], bones[-1]
    apart = float(np.hypot(first.x - last.x, first.y - last.y))
    u, v = axis_of(bones).frame(x, y)
    reach = (0.5 * apart + (0.30 if len(bones) == 2 else 0.42)) * rng.uniform(0.85, 1.3)
    knots = np.linspace(-1.7, 1.7, 64)
    sides = [reach * (1 + 0.12 * np.interp(u, knots, wave(rng, 64, 4)) - rng.uniform(-0.1, 0.1) * u) for _ in range(2)]
    skin = np.where(v > 0, *sides)
    fat = rng.uniform(0.03, 0.09) * (1 + 0.3 * np.interp(u, knots, wave(rng, 64, 5)))
    muscle = np.clip(skin - fat, 0, None)
    streaks = np.zeros_like(u)
    for _ in range(int(rng.integers(1, 4))):  # fat between muscles shows as faint dark bands along the limb
        middle = rng.uniform(-0.75, 0.75) * reach + 0.05 * np.interp(u, knots, wave(rng, 64, 4))
        middle = middle + rng.normal(0, 0.06) * u
        streaks += rng.uniform(0.04, 0.10) * np.exp(-(((v - middle) / (rng.uniform(2, 5) * PIXEL)) ** 2))
    mottling = 1 + 0.035 * noise(rng, x.shape[0], 11)
    swelling, swells = rng.uniform(0.05, 0.14), rng.random() < 0.5
    flesh = (0.45 * chord(skin, v) + 0.55 * chord(muscle, v) * (1 - streaks)) * mottling
    if site and swells:
        flesh = flesh * (1 + swelling * np.exp(-((x - site[0]) ** 2 + (y - site[1]) ** 2) / 0.09))
    return np.asarray(flesh)


def side_marker(
    rng: np.random.Generator, marker: str | None, bone: Bone, film: Film, size: int
) -> tuple[str | None, np.ndarray]:
    """The lead letter laid on the plate, and how much of each pixel it covers, (size, size) float from 0 to 1.

    People lay it clear of the limb: in one of the two corners of the field that lie farthest from the bone.
    """
    chosen = str(rng.choice(["L", "R"])) if rng.random() < 0.5 else None
    letter = chosen if marker == "random" else marker
    height, turn = rng.uniform(0.105, 0.145) * size, rng.uniform(-14, 14)
    margin, corner = rng.uniform(0.03, 0.07, 2) * size, int(rng.integers(2))
    ink = np.zeros((size, size))
    if letter is None:
        return None, ink
    tile = lead_letter(letter, height, turn)
    left, right, top, bottom = (np.array(film.edges) + 1) / 2 * size
    corners = [(h, w) for h in (0, 1) for w in (0, 1)]
    corners.sort(key=lambda at: -abs(float(bone.frame(np.array(at[1] * 2 - 1), np.array(at[0] * 2 - 1))[1])))
    low, wide = corners[corner]
    column = right - margin[0] - tile.shape[1] if wide else left + margin[0]
    row = bottom - margin[1] - tile.shape[0] if low else top + margin[1]
    column, row = int(np.clip(column, 0, size - tile.shape[1])), int(np.clip(row, 0, size - tile.shape[0]))
    ink[row : row + tile.shape[0], column : column + tile.shape[1]] = tile
    return letter, ink


# The film


@dataclass(frozen=True)
class Film:
    """How the lengths become grey values: beam, field, blur, grain, development."""

    collimated: bool
    edges: tuple[float, float, float, float]  # of the field that the beam reaches: left, right, top, bottom
    bone: float  # attenuation per length of bone
    flesh: float  # attenuation per length of flesh
    density: float  # of the whole film: how much each length of anything attenuates
    slant: tuple[float, float]  # the beam is stronger on one side
    fog: float
    ink: float  # grey of the marker
    blur: float  # in pixels of the usual size
    grain: float
    black: float
    gain: float
    gamma: float

    @classmethod
    def random(cls, rng: np.random.Generator) -> Film:
        collimated, inset = bool(rng.random() < 0.35), rng.uniform(0.80, 0.97, 4)
        left, right, top, bottom = (inset if collimated else np.ones(4)) * (-1, 1, -1, 1)
        return cls(
            collimated=collimated,
            edges=(float(left), float(right), float(top), float(bottom)),
            bone=rng.uniform(4.2, 5.8),
            flesh=rng.uniform(0.45, 0.8),
            density=rng.uniform(0.95, 1.35),
            slant=(rng.uniform(-0.04, 0.04), rng.uniform(-0.04, 0.04)),
            fog=rng.uniform(0.0, 0.05),
            ink=rng.uniform(0.90, 1.0),
            blur=rng.uniform(0.55, 0.95),
            grain=rng.uniform(0.012, 0.028),
            black=rng.uniform(0.0, 0.03),
            gain=rng.uniform(0.95, 1.1),
            gamma=rng.uniform(0.85, 1.2),
        )

    @property
    def exposure(self) -> str:
        """How bright the picture is, in three steps."""
        return "dark" if self.density < 1.08 else "bright" if self.density > 1.22 else "medium"

    def field(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """How far each point lies in the beam, from 0 to 1; the edge is about two pixels wide."""
        left, right, top, bottom = self.edges
        inside = np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y))
        return smoothstep(0.5 + inside / (2.5 * PIXEL)) if self.collimated else np.ones_like(x)

    def expose(
        self,
        bone: np.ndarray,
        flesh: np.ndarray,
        ink: np.ndarray,
        x: np.ndarray,
        y: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        """(h, w) uint8. Nothing here looks at the whole picture, so the marker changes no pixel but its own."""
        size = x.shape[0]
        grey = 1 - np.exp(-(bone * self.bone + flesh * self.flesh) * self.density)
        grey = grey * (1 + self.slant[0] * x + self.slant[1] * y) + self.fog
        grey = grey * (0.1 + 0.9 * self.field(x, y))
        grey = np.maximum(grey, ink * self.ink)
        grey = gaussian_filter(grey, self.blur * size / 256, truncate=3)
        white = rng.standard_normal((size, size), np.float32)
        clumps = gaussian_filter(rng.standard_normal((size, size), np.float32), 0.9 * size / 256, truncate=3) * 3
        grain = self.grain * (0.65 * white + 0.65 * clumps) * (0.35 + np.sqrt(np.clip(grey, 0, 1)))
        developed = np.clip((grey + grain - self.black) * self.gain, 0, 1) ** self.gamma
        return np.asarray(np.rint(developed * 255), np.uint8)


# Shapes and noise


def chord(half_width: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Half the length of the ray at v inside a round rod."""
    return np.asarray(np.sqrt(np.clip(half_width * half_width - v * v, 0, None)))


def smoothstep(t: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, without corners in between."""
    t = np.clip(t, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def wave(rng: np.random.Generator, points: int, harmonics: int) -> np.ndarray:
    """(points,) smooth noise of about unit size."""
    t = np.linspace(0, np.pi, points)
    order = np.arange(1, harmonics)[:, None]
    strength, phase = rng.standard_normal((harmonics - 1, 1)), rng.uniform(0, 2 * np.pi, (harmonics - 1, 1))
    return np.asarray((strength * np.cos(order * t + phase)).sum(0) / np.sqrt(harmonics / 2))


def noise(rng: np.random.Generator, size: int, cells: int) -> np.ndarray:
    """(size, size) smooth noise of about unit size, with bumps `size / cells` pixels wide."""
    small = Image.fromarray(rng.standard_normal((cells, cells)).astype(np.float32))
    return np.asarray(small.resize((size, size), Image.Resampling.BICUBIC), np.float64)


def sample(grid: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """The values of a periodic grid of noise at fractional places."""
    return np.asarray(map_coordinates(grid, [row, column], order=1, mode="grid-wrap"))
