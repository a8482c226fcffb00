"""Drawn faces: five expressions, six skin tones, and a true mask for every part.

No photograph of anyone is needed to audit a face classifier here: each face is computed from a seed, so what shows
the expression is known exactly. Mouth, brows and eyes carry it and nothing else does.

Every choice has its own random stream. Forcing glasses, a medical mask, the light or the skin tone therefore leaves
the rest of the face alone, and two such drawings are a counterfactual pair. Skin tone, hair, glasses and light are
drawn independently of one another and of the expression: a difference between groups is the model's doing.

Lengths are hundredths of the picture's side. A face has its origin between ears, x to the right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .drawing import Drawing

LABELS = ("neutral", "happy", "sad", "angry", "surprised")
LIGHTINGS = ("even", "left", "right", "dim")
PARTS = ("face", "eyes", "brows", "mouth", "nose", "glasses", "medical_mask")

SKIN = ((248, 216, 194), (234, 190, 160), (212, 162, 120), (176, 122, 84), (138, 90, 62), (104, 68, 50))
HAIR = {
    "black": (34, 28, 27),
    "brown": (72, 46, 32),
    "chestnut": (112, 70, 42),
    "blond": (188, 150, 92),
    "red": (142, 66, 38),
    "grey": (160, 158, 156),
}
IRIS = ((78, 50, 30), (92, 122, 150), (88, 112, 76), (50, 34, 26))
FRAMES = ((24, 24, 28), (84, 54, 36), (150, 120, 70), (52, 60, 84))
MEDICAL_MASKS = ((168, 200, 216), (226, 230, 232), (64, 68, 78))
DARK_LINE = np.array((34, 16, 14))
STREAMS = ("person", "pose", "expression", "hair", "scene", "skin", "glasses", "medical mask", "lighting", "grain")


def draw(
    seed: int,
    label: str,
    size: int = 256,
    skin: int | None = None,
    glasses: bool | None = None,
    medical_mask: bool | None = None,
    lighting: str | None = None,
) -> Drawing:
    """A face of `size` by `size` pixels showing `label`. None: chosen by the seed (medical mask: no).

    skin: 1 (light) to 6 (dark). lighting: one of LIGHTINGS. The same arguments always give the same bytes, and the
    same seed is the same person under every label.
    """
    if label not in LABELS:
        raise ValueError(f"A drawn face shows one of {', '.join(LABELS)}, not {label!r}.")
    tone = int(_stream(seed, "skin").integers(1, 7)) if skin is None else skin
    wears_glasses = bool(_stream(seed, "glasses").random() < 0.3) if glasses is None else glasses
    usual = str(_stream(seed, "lighting").choice(LIGHTINGS, p=(0.55, 0.15, 0.15, 0.15)))
    light = usual if lighting is None else lighting
    if not 1 <= tone <= len(SKIN) or light not in LIGHTINGS:
        raise ValueError(f"Skin is 1 to {len(SKIN)} and lighting one of {', '.join(LIGHTINGS)}.")

    person = Person.born(seed, tone)
    mood = Expression.felt(seed, label)
    canvas = Canvas(size, _stream(seed, "pose"), _backdrop(_stream(seed, "scene"), size))
    _body(canvas, person, _stream(seed, "scene"))
    _head(canvas, person)
    _nose(canvas, person)
    _mouth(canvas, person, mood)
    for side in (-1, 1):
        _eye(canvas, person, mood, side)
        _brow(canvas, person, mood, side)
    _front_hair(canvas, person, _stream(seed, "hair"))
    if medical_mask:
        _medical_mask(canvas, person, _stream(seed, "medical mask"))
    if wears_glasses:
        _glasses(canvas, person, _stream(seed, "glasses"))

    masks = {part: canvas.parts[part] for part in PARTS}
    for part in ("mouth", "nose"):
        masks[part] = masks[part] & ~masks["medical_mask"]
    groups = {
        "skin_tone": str(tone),
        "hair": person.hair_word,
        "glasses": "yes" if wears_glasses else "no",
        "medical_mask": "yes" if medical_mask else "no",
        "lighting": light,
    }
    pixels = _expose(canvas, light, _stream(seed, "grain"))
    return Drawing(pixels=pixels, label=label, masks=masks, groups=groups)


def _stream(seed: int, topic: str) -> np.random.Generator:
    """The random numbers for one topic of one picture; no other topic can shift them."""
    return np.random.default_rng([seed, STREAMS.index(topic)])


# ---------------------------------------------------------------------------------------------- who, and in what mood


@dataclass(frozen=True)
class Person:
    """What stays the same whatever the expression: proportions in hundredths of the side, colours as (3,) floats."""

    width: float
    height: float
    jaw: float
    eye_x: float
    eye_y: float
    eye_width: float
    eye_height: float
    brow_gap: float
    brow_thickness: float
    nose_y: float
    nose_width: float
    mouth_y: float
    mouth_width: float
    lip: float
    skin: np.ndarray
    iris: np.ndarray
    hair: np.ndarray
    hair_word: str
    hair_style: str
    hairline: float
    parting: float

    @classmethod
    def born(cls, seed: int, tone: int) -> Person:
        """The person of a seed; only the skin colour depends on `tone`."""
        rng = _stream(seed, "person")
        width, height = rng.uniform(23.5, 27.5), rng.uniform(30.5, 34.5)
        word = str(rng.choice(list(HAIR)))
        return cls(
            width=width,
            height=height,
            jaw=rng.uniform(0.72, 0.88),
            eye_x=width * rng.uniform(0.43, 0.48),
            eye_y=-height * rng.uniform(0.08, 0.13),
            eye_width=rng.uniform(4.8, 5.7),
            eye_height=rng.uniform(2.2, 2.7),
            brow_gap=rng.uniform(5.4, 6.2),
            brow_thickness=rng.uniform(1.5, 2.3),
            nose_y=height * rng.uniform(0.2, 0.26),
            nose_width=rng.uniform(3.2, 4.6),
            mouth_y=height * rng.uniform(0.52, 0.57),
            mouth_width=width * rng.uniform(0.36, 0.42),
            lip=rng.uniform(1.5, 2.3),
            skin=np.array(SKIN[tone - 1]) * rng.uniform(0.95, 1.03) + rng.normal(0, 3, 3),
            iris=np.array(IRIS[rng.integers(len(IRIS))], float),
            hair=np.array(HAIR[word]) * rng.uniform(0.85, 1.15),
            hair_word=word,
            hair_style=str(rng.choice(("short", "long", "curly"), p=(0.4, 0.4, 0.2))),
            hairline=rng.uniform(0.66, 0.76),
            parting=rng.uniform(-0.6, 0.6),
        )


@dataclass(frozen=True)
class Expression:
    """What moves. All are 0 at rest and about 1 when strong, unless said otherwise."""

    smile: float  # corners of the mouth up; below 0 down
    gap: float  # how far the lips part, in lengths
    round: float  # mouth drawn in to an O
    frown: float  # inner ends of the brows down; below 0 up, as in worry
    lift: float  # whole brows up
    eyes: float  # opening of the eyes, 1 at rest
    squint: float  # lower lids pushed up

    @classmethod
    def felt(cls, seed: int, label: str) -> Expression:
        """The expression of a seed, anywhere from mild to strong."""
        rng = _stream(seed, "expression")
        much, parted = rng.uniform(0.65, 1.15), rng.random()
        smile, gap, round_, frown, lift, eyes, squint = {
            "neutral": (0.15, 0.0, 0.0, -0.2, 0.05, 1.0, 0.0),
            "happy": (much, 3.9 * much if parted < 0.6 else 0.0, 0.0, -0.05, 0.15, 0.88, 0.8 * much),
            "sad": (-0.85 * much, 0.0, 0.0, -much, 0.2, 0.84, 0.0),
            "angry": (-0.45 * much, 3.2 * much if parted < 0.35 else 0.0, 0.0, much, -0.5 * much, 0.8, 0.35),
            "surprised": (0.0, 5.0 + 4.0 * much, much, -0.2, 1.0 * much, 1.15 + 0.25 * much, 0.0),
        }[label]
        return cls(
            smile=smile + rng.normal(0, 0.05),
            gap=gap,
            round=round_,
            frown=frown + rng.normal(0, 0.06),
            lift=lift + rng.normal(0, 0.08),
            eyes=eyes * rng.uniform(0.95, 1.05),
            squint=squint,
        )


# ------------------------------------------------------------------------------------------------------ how to paint


class Canvas:
    """Paint by smooth outlines, and remember where each named part went."""

    def __init__(self, size: int, pose: np.random.Generator, backdrop: np.ndarray) -> None:
        """size: pixels. pose: gives tilt, scale and place of the head. backdrop: (size, size, 3) float32."""
        tilt, self.zoom = np.deg2rad(np.clip(pose.normal(0, 4), -9, 9)), pose.uniform(0.93, 1.05)
        self.centre = np.array((50, 50)) + np.clip(pose.normal(0, 1.8, 2), -4, 4)
        self.turn = np.array(((np.cos(tilt), np.sin(tilt)), (-np.sin(tilt), np.cos(tilt))))
        self.size = size
        self.paper = backdrop
        self.parts = {part: np.zeros((size, size), bool) for part in PARTS}

    def place(self, points: np.ndarray) -> np.ndarray:
        """(n, 2) in face lengths to (n, 2) in pixels."""
        return (self.centre + self.zoom * points @ self.turn) * (self.size / 100)

    def cover(self, outlines: list[np.ndarray], soft: float = 0.0) -> tuple[tuple[slice, slice], np.ndarray]:
        """The window that the outlines touch, and how much of each of its pixels they cover: (h, w) float32 in 0..1.

        Only the window is drawn, so a small part costs little. Sharp edges are drawn three times too large and
        averaged; soft ones are blurred by `soft` lengths, which hides the steps anyway.
        """
        blur, fine = soft * self.size / 100, 1 if soft > 1 else 3
        placed = [self.place(outline) for outline in outlines]
        every = np.concatenate(placed)
        low = np.clip(np.floor(every.min(0) - 2.5 * blur - 1), 0, self.size - 1).astype(int)
        high = np.clip(np.ceil(every.max(0) + 2.5 * blur + 2), low + 1, self.size).astype(int)
        wide, tall = (int(n) for n in (high - low) * fine)
        sheet = Image.new("L", (wide, tall))
        pen = ImageDraw.Draw(sheet)
        for points in placed:
            pen.polygon([(float(x), float(y)) for x, y in (points - low) * fine - 0.5], fill=255)
        if fine > 1:
            sheet = sheet.reduce(fine)
        if blur:
            sheet = sheet.filter(ImageFilter.GaussianBlur(blur))
        window = (slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])))
        return window, np.asarray(sheet, np.float32) / 255

    def paint(
        self,
        outlines: np.ndarray | list[np.ndarray],
        colour: np.ndarray | tuple[int, int, int],
        strength: float = 1.0,
        soft: float = 0.0,
        part: str | None = None,
        inside: np.ndarray | None = None,
    ) -> np.ndarray:
        """Lay a colour over the outlines, only `inside` another shape where one is given; returns what was covered.

        outlines: one (n, 2) or a list. colour: (3,) in 0..255. inside and the answer: (size, size) float32 in 0..1.
        """
        window, cover = self.cover(outlines if isinstance(outlines, list) else [outlines], soft)
        if inside is not None:
            cover = cover * inside[window]
        paper = self.paper[window]
        paper += (strength * cover)[..., None] * (np.asarray(colour, np.float32) - paper)
        if part:
            self.parts[part][window] |= cover > 0.5
        shape = np.zeros((self.size, self.size), np.float32)
        shape[window] = cover
        return shape


def _ellipse(x: float, y: float, wide: float, high: float) -> np.ndarray:
    """An outline around (x, y): (40, 2)."""
    turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    return np.stack((x + wide * np.cos(turn), y + high * np.sin(turn)), 1)


def _between(x: np.ndarray, top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """The outline of what lies between two curves over the same x: (2 n, 2)."""
    return np.concatenate((np.stack((x, top), 1), np.stack((x, bottom), 1)[::-1]))


def _stroke(line: np.ndarray, width: float | np.ndarray) -> np.ndarray:
    """The outline of a line (n, 2) drawn with a pen of this width, or of these n widths."""
    along = np.gradient(line, axis=0)
    across = np.stack((-along[:, 1], along[:, 0]), 1) / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    half = np.broadcast_to(width, len(line))[:, None] / 2
    return np.concatenate((line + half * across, (line - half * across)[::-1]))


def _taper(count: int, thick: float) -> np.ndarray:
    """Pen widths (count,) that begin and end fine."""
    return thick * (0.15 + 0.85 * np.sin(np.linspace(0.05, np.pi - 0.05, count)))


def _luma(colour: np.ndarray) -> float:
    """How bright a colour looks, 0..255."""
    return float(colour @ (0.299, 0.587, 0.114))


# --------------------------------------------------------------------------------------------------------- the parts


def _backdrop(rng: np.random.Generator, size: int) -> np.ndarray:
    """A muted wall, out of focus: a coarse pattern of two near colours, enlarged smoothly. (size, size, 3) float32."""
    grey = rng.uniform(95, 190)
    near, far = (grey * rng.uniform(0.72, 1.18) + rng.normal(0, 7, 3) for _ in range(2))
    y, x = np.mgrid[-1:1:6j, -1:1:6j]
    turn = rng.uniform(0, 2 * np.pi)
    mix = 0.5 + 0.35 * (x * np.cos(turn) + y * np.sin(turn)) + rng.normal(0, 0.13, x.shape)
    wall = near + np.clip(mix, 0, 1)[..., None] * (far - near)
    small = Image.fromarray(np.clip(wall, 0, 255).astype(np.uint8))
    return np.array(small.resize((size, size), Image.Resampling.BICUBIC), np.float32)


def _body(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """Hair behind the head, shoulders, neck and the shadow that the chin throws on it."""
    w, h, skin = person.width, person.height, person.skin
    if person.hair_style != "short":
        _back_hair(canvas, person)
    cloth = rng.uniform(45, 165) + rng.normal(0, 15, 3)
    neck = 0.41 * w
    y = np.linspace(0.6 * h, h + 20, 20)
    flare = neck * (1 + 0.5 * np.clip((y - h) / 12, 0, 1) ** 2)
    column = np.concatenate((np.stack((-flare, y), 1), np.stack((flare, y), 1)[::-1]))
    throat = canvas.paint(column, skin * 0.88)
    canvas.paint(_ellipse(0, 0.92 * h, neck * 1.3, 8), skin * (0.52, 0.47, 0.47), 0.85, soft=2.5, inside=throat)

    x = np.linspace(-62, 62, 125)
    opening = np.sqrt(np.clip(1 - (x / (1.42 * neck)) ** 2, 0, 1))
    top = h + 4.5 + 13 * (np.abs(x) / 40) ** 1.8 + 6.5 * opening
    shirt = canvas.paint(_between(x, top, np.full_like(x, 90)), cloth)
    canvas.paint(_between(x, top + 6, np.full_like(x, 90)), cloth * 0.78, 0.7, soft=4, inside=shirt)
    rim = np.stack((x, top + 0.7), 1)[np.abs(x) < 1.42 * neck]
    canvas.paint(_stroke(rim, 1.5), cloth * 0.72, inside=shirt)


def _back_hair(canvas: Canvas, person: Person) -> None:
    """Long hair to the shoulders, or a round head of curls."""
    w, h = person.width, person.height
    if person.hair_style == "curly":
        turn = np.linspace(0, 2 * np.pi, 160)
        puff = 1 + 0.035 * np.abs(np.sin(9 * turn))
        around = np.stack((1.24 * w * puff * np.sin(turn), -0.28 * h - 0.95 * h * puff * np.cos(turn)), 1)
        canvas.paint(around, person.hair * 0.72)
        return
    y = np.linspace(-1.12 * h, 1.16 * h, 50)
    dome = np.sqrt(np.clip(1 - (np.minimum(y, 0) / (1.13 * h)) ** 2, 0, 1))
    ends = np.clip((y / h - 0.8) / 0.36, 0, 1) ** 3
    half = w * dome * (1.22 + 0.06 * np.sin(np.clip(y / h, 0, 2) * 3)) - 6 * ends
    hair = canvas.paint(np.concatenate((np.stack((-half, y), 1), np.stack((half, y), 1)[::-1])), person.hair)
    canvas.paint(_ellipse(0, 0.75 * h, 0.92 * w, 0.6 * h), person.hair * 0.5, 0.8, soft=3.5, inside=hair)
    for tint, shares in ((0.64, np.linspace(0.72, 0.99, 9)), (1.25, np.linspace(0.75, 0.97, 7))):
        locks = [
            _stroke(np.stack((side * half * share + 0.5 * np.sin(y / 6 + 40 * share), y), 1)[12:], _taper(38, 0.6))
            for side in (-1, 1)
            for share in shares
        ]
        canvas.paint(locks, np.minimum(person.hair * tint + 10 * (tint > 1), 255), 0.5, inside=hair)


def _face_outline(person: Person) -> np.ndarray:
    """The contour of the face from the crown clockwise: (120, 2)."""
    turn = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    down = np.clip(-np.cos(turn), 0, 1)
    x = person.width * np.sin(turn) * (1 - (1 - person.jaw) * down**1.3)
    y = -person.height * np.cos(turn) * np.where(np.cos(turn) > 0, 0.9, 1)
    return np.stack((x, y), 1)


def _head(canvas: Canvas, person: Person) -> None:
    """Ears and face, rounded by soft light and shade that no expression touches."""
    w, h, skin = person.width, person.height, person.skin
    shade, glow = skin * (0.62, 0.54, 0.52), np.minimum(skin * 1.13 + 8, 255)
    for side in (-1, 1):
        canvas.paint(_ellipse(side * w * 1.0, 1, 3.4, 6.2), skin * 0.9)
        canvas.paint(_ellipse(side * w * 1.03, 1, 1.6, 3.8), shade, 0.6, soft=0.7)
    outline = _face_outline(person)
    face = canvas.paint(outline, skin, part="face")
    inner = canvas.cover([outline * (0.8, 0.84)], soft=4.5)
    rim = face.copy()
    rim[inner[0]] *= 1 - inner[1]
    canvas.paper += (0.62 * rim)[..., None] * (shade.astype(np.float32) - canvas.paper)
    canvas.paint(_ellipse(0, 0.98 * h, 0.5 * w, 3.5), shade, 0.5, soft=3, inside=face)
    canvas.paint(_ellipse(0, -0.42 * h, 0.42 * w, 4), glow, 0.4, soft=4.5, inside=face)
    canvas.paint(_ellipse(0, 0.78 * h, 3.4, 2), glow, 0.35, soft=2, inside=face)
    flush = skin * (1.0, 0.72, 0.7)
    for side in (-1, 1):
        canvas.paint(_ellipse(side * 0.56 * w, 0.22 * h, 4.6, 3.6), flush, 0.42, soft=3, inside=face)
        canvas.paint(_ellipse(side * 0.54 * w, 0.1 * h, 3.2, 1.8), glow, 0.3, soft=2, inside=face)
        canvas.paint(_ellipse(side * person.eye_x, person.eye_y - 1, 6.4, 3.6), shade, 0.34, soft=2.2, inside=face)


def _nose(canvas: Canvas, person: Person) -> None:
    """A ridge of light, a shaded flank, wings and nostrils."""
    wide, y, top = person.nose_width, person.nose_y, person.eye_y
    shade, glow = person.skin * (0.58, 0.5, 0.48), np.minimum(person.skin * 1.16 + 10, 255)
    slope = np.linspace(0, 1, 20)
    flank = np.stack((-1.5 - (0.65 * wide - 1) * slope**2.5, top + (y - top - 1) * slope), 1)
    canvas.paint(_stroke(flank, _taper(20, 2.2)), shade, 0.4, soft=0.9)
    canvas.paint(_ellipse(0.3, (top + y) / 2, 0.9, (y - top) / 2.2), glow, 0.5, soft=1.1)
    canvas.paint(_ellipse(0.3, y - 1.6, 1.7, 1.4), glow, 0.55, soft=0.9)
    canvas.paint(_ellipse(0, y + 2, 0.9 * wide, 0.8), shade, 0.55, soft=1.1)
    turn = np.linspace(-0.3 * np.pi, 0.55 * np.pi, 16)
    for side in (-1, 1):
        wing = np.stack((side * (wide * 0.62 + wide * 0.4 * np.cos(turn)), y - 0.6 + 1.9 * np.sin(turn)), 1)
        canvas.paint(_stroke(wing, _taper(16, 0.75)), shade, 0.9)
        canvas.paint(_ellipse(side * 0.42 * wide, y + 0.7, 0.95, 0.5), shade * 0.45, 0.9, soft=0.2)
    window, cover = canvas.cover([_ellipse(0, y - 1.6, wide * 1.2, 4.2)])
    canvas.parts["nose"][window] |= cover > 0.5


def _mouth(canvas: Canvas, person: Person, mood: Expression) -> None:
    """Two lips in two tones; teeth or a dark hollow between them where they part."""
    t = np.sin(np.linspace(-np.pi / 2, np.pi / 2, 61))  # denser at the corners, which are round
    arc = np.clip(1 - t**2, 0, 1)
    half = person.mouth_width * (1 + 0.2 * max(mood.smile, 0) - 0.42 * mood.round)
    x = half * t
    middle = person.mouth_y + mood.smile * (1.4 - 4.6 * np.abs(t) ** 1.8)
    apart = mood.gap * arc ** (0.5 if mood.round else 0.75)
    upper_share = 0.45 if mood.round else 0.3
    upper_edge, lower_edge = middle - upper_share * apart, middle + (1 - upper_share) * apart
    bow = 1 - 0.3 * np.exp(-((t / 0.13) ** 2))
    fade = arc**0.6
    top = upper_edge - person.lip * 0.95 * bow * fade
    bottom = lower_edge + person.lip * 1.6 * fade
    depth = np.clip((_luma(person.skin) - 60) / 140, 0, 1)  # 0 on dark skin, where lips are lighter than the face
    upper = (1 - depth) * np.array((112, 54, 54)) + depth * np.array((176, 88, 86))
    lower = (1 - depth) * np.array((164, 92, 88)) + depth * np.array((206, 118, 112))

    canvas.paint(_ellipse(0, bottom[30] + 1.6, 0.6 * half, 0.8), person.skin * 0.58, 0.5, soft=1.2)
    canvas.paint(_between(x, top, bottom), lower, part="mouth")
    canvas.paint(_between(x, top, middle), upper)
    canvas.paint(_ellipse(0, bottom[30] - 0.6 * person.lip, 0.3 * half, 0.3), lower + 40, 0.45, soft=0.5)
    if mood.gap:
        hollow = canvas.paint(_between(x, upper_edge, lower_edge), (58, 18, 20))
        if mood.round:
            tongue = _ellipse(0, lower_edge[30] - 0.4, 0.62 * half, 2.4)
            canvas.paint(tongue, (150, 66, 66), 0.8, soft=0.7, inside=hollow)
        else:
            teeth = _between(0.94 * x, upper_edge + 0.1, lower_edge - 0.16 * apart)
            canvas.paint(teeth, (240, 236, 228), 0.97, inside=hollow)
    else:
        canvas.paint(_stroke(np.stack((x, middle), 1), 0.55 + 0.75 * arc), DARK_LINE)
    for side in (0, -1):
        canvas.paint(_ellipse(x[side], middle[side], 0.7, 0.5), DARK_LINE, 0.6, soft=0.35)


def _eye(canvas: Canvas, person: Person, mood: Expression, side: int) -> None:
    """White, iris, pupil and catch-light under a lid with lashes; side is -1 for the left of the picture."""
    x0, y0, wide, high = side * person.eye_x, person.eye_y, person.eye_width, person.eye_height
    t = np.linspace(-1, 1, 31)
    x, inward = x0 + wide * t, -side * t
    arc = np.clip(1 - t**2, 0, 1)
    lid = y0 - 1.55 * high * mood.eyes * arc**0.75 + 0.75 * mood.frown * (inward + 0.3) * arc**0.3
    under = y0 + high * (0.95 * mood.eyes**0.7 - 0.55 * mood.squint) * arc**0.8
    under = np.maximum(under, lid + 0.2)
    white = canvas.paint(_between(x, lid, under), (238, 235, 230), part="eyes")
    radius, y_iris = 1.32 * high * 0.93, y0 - 0.42 * high
    canvas.paint(_ellipse(x0, y_iris, radius, radius), person.iris * 0.45, inside=white)
    canvas.paint(_ellipse(x0, y_iris + 0.15, 0.8 * radius, 0.8 * radius), person.iris * 1.1, soft=0.25, inside=white)
    canvas.paint(_ellipse(x0, y_iris, 0.46 * radius, 0.46 * radius), (10, 8, 8), inside=white)
    canvas.paint(_stroke(np.stack((x, lid + 0.5), 1), 1.3), (60, 45, 45), 0.45, soft=0.4, inside=white)
    canvas.paint(_ellipse(x0 + 0.8, y_iris - 0.9, 0.62, 0.62), (255, 255, 255), 0.95)
    outward = 0.35 + 0.65 * (1 - inward) / 2
    canvas.paint(_stroke(np.stack((x, lid), 1), 1.25 * outward), (24, 16, 14))
    canvas.paint(_stroke(np.stack((x, under), 1), 0.4), person.skin * 0.45, 0.7)
    crease = np.stack((x, lid - 1.0 - 0.5 * arc), 1)[3:-3]
    canvas.paint(_stroke(crease, _taper(len(crease), 0.5)), person.skin * 0.5, 0.75)


def _brow(canvas: Canvas, person: Person, mood: Expression, side: int) -> None:
    """A tapered brow with a few hairs, always darker than the skin so that it reads on every tone."""
    u = np.linspace(0, 1, 24)
    inner, outer = person.eye_x - person.eye_width - 0.4, person.eye_x + person.eye_width + 1.6
    x = side * (inner + (outer - inner) * u - 0.6 * max(mood.frown, 0) * (1 - u))
    rest = person.eye_y - person.brow_gap - 3.8 * mood.lift
    y = rest + 3.4 * mood.frown * (1 - u) ** 1.2 - 1.3 * mood.frown * u - 1.9 * np.sin(np.pi * u**1.3) + 0.8 * u
    colour = person.hair * 0.75
    colour = colour * min(1.0, 0.42 * _luma(person.skin) / _luma(colour))
    line = np.stack((x, y), 1)
    width = person.brow_thickness * np.clip(1.05 - 0.8 * u**1.6, 0.2, 1) * np.clip(0.55 + 4 * u, 0, 1)
    canvas.paint(_stroke(line, width), colour, 0.92, part="brows")
    hairs = [
        _stroke(np.array(((px, py + 0.5 * w), (px + side * 1.1, py - 0.62 * w))), 0.34)
        for (px, py), w in zip(line[1:-3:2], width[1:-3:2], strict=True)
    ]
    canvas.paint(hairs, colour * 0.8, 0.9)


def _front_hair(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """The hair over the forehead: a cap from the crown to the hairline, with lighter and darker strands."""
    w, h, hair, curly = person.width, person.height, person.hair, person.hair_style == "curly"
    wide, tall, ends, inset = {
        "short": (1.09, 1.07, -0.1, 0.985),
        "long": (1.16, 1.12, 0.25, 0.95),
        "curly": (1.2, 1.16, -0.05, 0.97),
    }[person.hair_style]
    t = np.linspace(-1, 1, 61)
    sin, cos = np.sin(t * np.pi / 2), np.cos(t * np.pi / 2)
    puff = 1 + 0.03 * np.abs(np.sin(11 * t)) * curly
    crown = np.stack((wide * w * sin * puff, ends * h - (tall + ends) * h * cos * puff), 1)
    sweep = 0.09 * np.sin(np.pi * np.clip(0.8 * (t - person.parting), -1, 1)) ** 2
    above = (person.hairline * (1 - np.abs(t) ** 3.2) - sweep) * (0.35 + 0.65 * np.sqrt(1 - t**2))
    line = np.stack((inset * w * sin, h * (ends * np.abs(t) ** 3.2 - above)), 1)

    cap = canvas.paint(np.concatenate((crown, line[::-1])), hair)
    canvas.paint(_stroke(line, 1.6), hair * 0.55, 0.5, soft=0.9, inside=cap)
    canvas.paint(_ellipse(-0.2 * w, -0.93 * h, 0.5 * w, 2), np.minimum(hair * 1.25 + 30, 255), 0.4, soft=3, inside=cap)
    for tint, count in ((0.62, 34), (1.3, 30)):
        strands = [_strand(rng, crown, line, curly) for _ in range(count)]
        canvas.paint(strands, np.minimum(hair * tint + 12 * (tint > 1), 255), 0.55, inside=cap)
    roots = line[rng.integers(14, 47, 60)]
    lean = np.stack((0.03 * roots[:, 0] + rng.normal(0, 0.35, 60), rng.uniform(0.3, 0.9, 60)), 1)
    wisps = [_stroke(np.array((root - step, root + step)), 0.4) for root, step in zip(roots, lean, strict=True)]
    canvas.paint(wisps, hair * 0.85, 0.8)


def _strand(rng: np.random.Generator, crown: np.ndarray, edge: np.ndarray, curly: bool) -> np.ndarray:
    """The outline of one lock somewhere between the crown and the hairline, combed along them or curled."""
    share, begin, length = rng.uniform(0.02, 0.98), rng.uniform(0, 0.85), rng.uniform(0.12, 0.4)
    line = crown + share * (edge - crown)
    if curly:
        x, y = line[int(begin * 60)]
        turn = np.linspace(0, 1.4 * np.pi, 9) + 10 * begin
        return _stroke(np.stack((x + 1.4 * np.cos(turn), y + 1.4 * np.sin(turn)), 1), _taper(9, 0.6))
    piece = line[int(begin * 60) : int(min(begin + length, 1) * 60) + 3]
    return _stroke(piece, _taper(len(piece), 0.55))


def _medical_mask(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """A pleated mask from the bridge of the nose to below the chin, with its ear loops."""
    w, h, top = person.width, person.height, person.nose_y - 5.5
    cloth = np.array(MEDICAL_MASKS[rng.integers(len(MEDICAL_MASKS))], float)
    t = np.linspace(-1, 1, 41)
    x = 0.84 * w * t
    upper = top - 1.6 * np.exp(-((t / 0.25) ** 2)) + 3.2 * t**2
    lower = 1.04 * h - 0.3 * h * np.abs(t) ** 2.4
    for side in (-1, 1):
        for start, end in ((upper[0], 0.5), (lower[0], 3.5)):
            loop = np.linspace((side * 0.84 * w, start + np.sign(end - 2) * -0.6), (side * 0.99 * w, end), 8)
            canvas.paint(_stroke(loop, 0.7), cloth * 0.92, part="medical_mask")
    sheet = canvas.paint(_between(x, upper, lower), cloth, part="medical_mask")
    for side in (-1, 1):
        canvas.paint(_ellipse(side * 0.84 * w, 0.5 * h, 0.22 * w, 0.5 * h), cloth * 0.68, 0.6, soft=3, inside=sheet)
    canvas.paint(_ellipse(0, 0.98 * h, 0.6 * w, 3), cloth * 0.62, 0.6, soft=3, inside=sheet)
    pleats = [np.stack((x, upper + share * (lower - upper)), 1) for share in (0.3, 0.48, 0.66)]
    canvas.paint([_stroke(pleat, 0.5) for pleat in pleats], cloth * 0.72, 0.8, inside=sheet)
    canvas.paint(_stroke(np.stack((x, upper + 0.9), 1), 0.6), np.minimum(cloth * 1.12, 255), 0.8, inside=sheet)


def _glasses(canvas: Canvas, person: Person, rng: np.random.Generator) -> None:
    """Rims, bridge and temples, with a streak of glare on each lens; the eyes stay in view."""
    colour = np.array(FRAMES[rng.integers(len(FRAMES))], float)
    square, pen = rng.uniform(2, 3.4), rng.uniform(0.8, 1.4)
    wide, high, y = person.eye_width + 2.2, person.eye_height + 3.2, person.eye_y + 0.4
    turn = np.linspace(0, 2 * np.pi, 61)
    cos, sin = np.cos(turn), np.sin(turn)
    ring = np.stack((np.sign(cos) * np.abs(cos) ** (2 / square), np.sign(sin) * np.abs(sin) ** (2 / square)), 1)
    bridge_half = person.eye_x - wide
    span = np.linspace(-1, 1, 15)
    pieces = [_stroke(np.stack((span * bridge_half, y - 0.6 - 1.1 * (1 - span**2)), 1), pen)]
    for side in (-1, 1):
        rim = ring * (wide, high) + (side * person.eye_x, y)
        pieces.append(_stroke(rim, pen))
        hinge = np.linspace((side * (person.eye_x + wide), y - 1), (side * person.width * 0.99, y - 0.4), 6)
        pieces.append(_stroke(hinge, pen))
    canvas.paint(pieces, colour, part="glasses")
    shine = np.minimum(colour * 1.4 + 60, 255)
    for side in (-1, 1):
        x = side * person.eye_x
        top = ring[34:44] * (wide, high) + (x, y)
        canvas.paint(_stroke(top, 0.35), shine, 0.7)
        glare = np.array(((-0.72, 0.3), (-0.3, -0.75), (-0.12, -0.75), (-0.54, 0.3))) * (wide, high) + (x, y)
        canvas.paint(glare, (255, 255, 255), 0.2, part="glasses")


def _expose(canvas: Canvas, lighting: str, rng: np.random.Generator) -> np.ndarray:
    """Light, vignette, exposure and grain: (size, size, 3) uint8."""
    y, x = np.mgrid[-1 : 1 : canvas.size * 1j, -1 : 1 : canvas.size * 1j].astype(np.float32)
    light = 1.03 - 0.13 * (x**2 + y**2)
    if lighting in ("left", "right"):
        light *= 1 + 0.45 * (x if lighting == "right" else -x)
    level = np.float32(rng.uniform(0.93, 1.07))
    tint = np.ones(3, np.float32)
    if lighting == "dim":
        tint = np.array((0.62, 0.59, 0.56), np.float32)
    grain = rng.standard_normal(x.shape, np.float32) * np.float32(rng.uniform(1.5, 4))
    picture = canvas.paper * (light * level)[..., None] * tint + grain[..., None]
    pixels: np.ndarray = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
    return pixels
