"""Figures of a finished audit: pictures with their maps, many on one page, and the ranks of the methods.

As in `figures`, nothing here keeps state or touches pyplot, and text from outside is drawn as text.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xai_core import charts
from xai_core.canvas import ALARM, GREY, INK, Canvas, clean, percent
from xai_core.colours import Scale, colours_on, default_colour_map, heatmap, overlay, scale_of
from xai_core.records import Explanation
from xai_core.score_table import ScoreTable, number

DPI = 100
SIDE = 1.1  # inches of a thumbnail
BAR = 2.2  # inches of the colour bar
OPACITY, CLIP = 0.5, 99.5
COLUMNS = 3  # pictures beside one another, each with its map and its overlay
WIDE, HIGH = 3 * (SIDE + 0.05) + 0.3, SIDE + 0.52


class Shown(NamedTuple):
    """A picture on a grid: its map, what is true (None where nobody said), what was predicted how surely, whether that
    is right (None where nothing says so).
    """

    explanation: Explanation
    label: str | None
    predicted: str
    confidence: float | None
    right: bool | None

    @property
    def wrong(self) -> bool:
        return self.right is False


def grid(shown: Sequence[Shown], heading: str, notice: str, about: str) -> np.ndarray:
    """(h, w, 3) uint8: every picture as the model saw it, its map and both over one another.

    All maps are on one colour scale, which is said. `about` says which pictures these are, `notice` what must be known
    of the model.
    """
    scale = scale_of([one.explanation.values for one in shown], CLIP)
    colours = default_colour_map(shown[0].explanation.values, scale)
    across = min(COLUMNS, max(2, len(shown)))
    said = _scale_words(scale, colours, shown[0].explanation.evidence)
    head = textwrap.wrap(f"{clean(about, 600)} {said}", round(across * WIDE * 15.5))
    top = 0.95 + 0.17 * len(head)
    page = Canvas(0.3 + across * WIDE, top + -(-len(shown) // across) * HIGH + 0.1)
    page.text(0.3, 0.36, clean(heading, 90), 12, bold=True)
    page.text(0.3, 0.57, clean(notice, 90), 8.5, ALARM, bold=True)
    page.lines(0.3, 0.78, head, 8, 0.17, GREY)
    places = [(0.3 + i % across * WIDE, top + 0.2 + i // across * HIGH) for i in range(len(shown))]
    for one, (left, up) in zip(shown, places, strict=True):
        _words(page, left, up, one)
    bar = None if scale is None else _bar(page, top - 0.22, scale)
    pixels = Canvas.drawn(page.figure, DPI).copy()  # thumbnails are put on it as they are, which matplotlib would blur
    if scale is not None and bar is not None:
        strip = colours_on(scale, colours)[np.linspace(0, 255, round(BAR * DPI)).astype(int)]
        y, x = round((top - 0.22) * DPI), round(bar * DPI)
        pixels[y : y + 12, x : x + len(strip)] = strip
    for one, (left, up) in zip(shown, places, strict=True):
        e = one.explanation
        drawn = (e.pixels, heatmap(e.values, scale, colours), overlay(e.pixels, e.values, scale, colours, OPACITY))
        for i, picture in enumerate(drawn):
            _paste(pixels, picture, left + i * (SIDE + 0.05), up)
    return pixels


def _words(page: Canvas, left: float, top: float, one: Shown) -> None:
    """What stands above and below a picture with its map."""
    e = one.explanation
    about = [f"sha256 {e.image[:12]}"]
    if str(e.target) != one.predicted:
        about.append(f"explains {clean(str(e.target), 30)}")
    if e.flat:
        about.append("flat map: no evidence")
    page.text(left, top - 0.05, _caption(one), 7.6, ALARM if one.wrong else INK, bold=one.wrong)
    page.text(left, top + SIDE + 0.13, "  ·  ".join(about), 6.5, GREY)


def _caption(one: Shown) -> str:
    """True class, predicted class and how surely; a cross, and not the colour alone, says that it is wrong."""
    sure = "" if one.confidence is None else f"  {percent(one.confidence)}"
    true = "" if one.label is None else f"{'✗ ' if one.wrong else ''}{clean(one.label, 20)} "
    return f"{true}→ {clean(one.predicted, 20)}{sure}"


def _scale_words(scale: Scale | None, colours: str, evidence: bool) -> str:
    if scale is None:
        return "Every map is flat and drawn in one grey: none must be read as evidence."
    ends = "the left end says nothing, the right end speaks for the class"
    if scale.signed:
        ends = "the left end speaks against the class, the right end for it, the middle says nothing"
    if not evidence:
        ends = "high values do not speak for or against a class"
    return (
        f"All maps here are on one colour scale, the bar below ({colours}), in the method's own units: {ends}. The "
        f"{100 - CLIP:g} % of the values beyond it take the colour of its end. A flat map is drawn in one grey."
    )


def _bar(page: Canvas, top: float, scale: Scale) -> float:
    """The numbers at both ends of the colour bar; gives where between them it begins."""
    low, high = (number(end) for end in (scale.low, scale.high))
    left = 0.36 + 0.075 * len(low)
    page.text(0.3, top + 0.1, low, 7.5)
    page.text(left + BAR + 0.07, top + 0.1, high, 7.5)
    return left


def _paste(pixels: np.ndarray, picture: np.ndarray, left: float, top: float) -> None:
    """(h, w, 3) uint8 within a square of SIDE, in its own proportions; small ones grow in blocks, not in blur."""
    from PIL import Image

    height, width = picture.shape[:2]
    share = SIDE * DPI / max(height, width)
    size = max(1, round(width * share)), max(1, round(height * share))
    how = Image.Resampling.BOX if share < 1 else Image.Resampling.NEAREST
    y, x = round(top * DPI), round(left * DPI)
    pixels[y : y + size[1], x : x + size[0]] = np.asarray(Image.fromarray(picture).resize(size, how))


def rankings(tables: Sequence[ScoreTable]) -> np.ndarray:
    """(h, w, 3) uint8: the ranks of the methods by every metric, one model below the other."""
    drawn = [Canvas.drawn(charts.ranking(table), 150) for table in tables]
    wide = max(one.shape[1] for one in drawn)
    return np.concatenate(
        [np.pad(one, ((0, 0), (0, wide - one.shape[1]), (0, 0)), constant_values=255) for one in drawn]
    )
