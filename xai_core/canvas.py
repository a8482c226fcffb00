"""A figure measured in inches from its top left corner, and the few things drawn on it."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from xai_core.colours import Scale, colours_on
from xai_core.records import Prediction

INK, GREY, ACCENT, PALE, ALARM = "#1b1f24", "#59636e", "#0b62a8", "#c3ccd5", "#9a1b1b"
FONT = "DejaVu Sans"  # comes with matplotlib, so figures look the same on every machine
RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@lru_cache(maxsize=1)
def _drawable() -> frozenset[int]:
    """The code points that FONT has a shape for."""
    from matplotlib.font_manager import findfont, get_font

    return frozenset(get_font(findfont(FONT)).get_charmap())


def _is_drawable(character: str) -> bool:
    return character.isprintable() and ord(character) in _drawable()


def clean(text: str, longest: int) -> str:
    """`text` as one line of visible characters, at most `longest` of them; a box stands for one the font lacks."""
    kept = "".join(
        " " if character.isspace() else character if _is_drawable(character) else "\N{WHITE SQUARE}"
        for character in text[: 4 * longest]
        if character.isspace() or unicodedata.category(character) not in ("Cc", "Cf", "Cs")
    )
    return kept if len(kept) <= longest else kept[: longest - 1] + "…"


class Canvas:
    """`figure` is the matplotlib Figure; all lengths are inches, `y` counts downwards."""

    def __init__(self, width: float, height: float) -> None:
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure: Any = Figure(figsize=(width, height), facecolor="white")

    def text(
        self, x: float, y: float, text: str, size: float, colour: str = INK, *, bold: bool = False, align: str = "left"
    ) -> None:
        """One line whose baseline is at `y`."""
        self.figure.text(
            x / self.width, 1 - y / self.height, text, fontsize=size, color=colour, ha=align, va="baseline",
            fontfamily=FONT, fontweight="bold" if bold else "normal", parse_math=False,
        )  # fmt: skip

    def lines(self, x: float, y: float, lines: Sequence[str], size: float, step: float, colour: str = INK) -> None:
        """Lines under one another, the first one's baseline at `y`."""
        for number, line in enumerate(lines):
            self.text(x, y + number * step, line, size, colour)

    def axes(self, x: float, y: float, width: float, height: float) -> Any:
        """Axes with the top left corner at (x, y)."""
        return self.figure.add_axes(
            (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height)
        )

    def picture(self, x: float, y: float, side: float, pixels: np.ndarray) -> tuple[float, float]:
        """(h, w, 3) uint8 within a square of `side`, in its own proportions. Gives the width and height it took."""
        rows, columns = pixels.shape[:2]
        width, height = side * min(1, columns / rows), side * min(1, rows / columns)
        axes = self.axes(x, y, width, height)
        axes.imshow(pixels, aspect="auto")
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(edgecolor=PALE, linewidth=0.6)
        return width, height

    def colour_bar(
        self, x: float, y: float, height: float, scale: Scale, colour_map: str, values: np.ndarray, evidence: bool
    ) -> None:
        """A numbered bar in the map's own units; pointed at an end that `values` go beyond."""
        from matplotlib.cm import ScalarMappable
        from matplotlib.colorbar import Colorbar
        from matplotlib.colors import ListedColormap, Normalize
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        over, under = bool(values.max() > scale.high), bool(values.min() < scale.low and scale.signed)
        ends: Any = {(False, False): "neither", (True, False): "max", (False, True): "min", (True, True): "both"}
        exponent = 0 if 0.01 <= scale.high < 10_000 else math.floor(math.log10(scale.high))
        shades = ScalarMappable(Normalize(scale.low, scale.high), ListedColormap(colours_on(scale, colour_map) / 255))
        axes = self.axes(x, y, 0.12, height)
        bar = Colorbar(
            axes,
            shades,
            extend=ends[over, under],
            extendfrac=0.04,
            ticks=MaxNLocator(5, steps=[1, 2, 5, 10]),
            format=FuncFormatter(lambda value, _: f"{value / 10.0**exponent:.4g}".replace("-", "\N{MINUS SIGN}")),
        )
        bar.outline.set(edgecolor=PALE, linewidth=0.6)
        axes.tick_params(labelsize=7, length=2.5, width=0.6, color=GREY, labelcolor=INK, labelfontfamily=FONT, pad=2)
        said = "←  speaks against      speaks for  →" if scale.signed else "speaks for  →"
        if not evidence:
            said = "←  less      more  →" if scale.signed else "more  →"
        if scale.signed and height < 2.3:
            said = said.replace("speaks ", "")
        unit = f"   × 10{str(exponent).translate(RAISED)}" if exponent else ""
        self.figure.text(
            (x + 0.60) / self.width, 1 - (y + height / 2) / self.height, said + unit, rotation=90, fontsize=7.3,
            color=GREY, ha="left", va="center", fontfamily=FONT, parse_math=False,
        )  # fmt: skip

    def bars(self, x: float, y: float, width: float, height: float, prediction: Prediction | None, target: int) -> None:
        """The five likeliest classes, the explained one in colour, and added below if it is not among them."""
        if prediction is None:
            self.text(x, y + 0.14, "No prediction was recorded.", 8, GREY)
            return
        order = prediction.order()
        shown = [int(number) for number in order[:5]]
        if target not in shown and 0 <= target < len(order):
            shown.append(target)
        axes = self.axes(x, y, width, height)
        axes.set(xlim=(0, 1), ylim=(height, 0))
        axes.set_axis_off()
        step = min(height / len(shown), 0.48)
        for row, number in enumerate(shown):
            if prediction.task != "regression":
                share, colour = float(prediction.probabilities[number]), ACCENT if number == target else PALE
                axes.barh(row * step + 0.25, 1, height=0.13, color="#eef1f4")
                axes.barh(row * step + 0.25, share, height=0.13, color=colour)
            bold = "bold" if number == target else "normal"
            words = {"fontsize": 7.8, "fontfamily": FONT, "parse_math": False, "va": "baseline", "color": INK}
            rank = "" if row < 5 else f"  (rank {int(np.flatnonzero(order == number)[0]) + 1})"
            axes.text(
                0, row * step + 0.14, clean(prediction.labels[number], 26 - len(rank)) + rank, fontweight=bold, **words
            )
            axes.text(1, row * step + 0.14, answered(prediction, number), ha="right", fontweight=bold, **words)
        self.text(x, y + len(shown) * step + 0.08, "Bold, blue: the class this map explains.", 7, GREY)

    @staticmethod
    def drawn(figure: Any, dpi: int) -> np.ndarray:
        """(h, w, 3) uint8: a matplotlib Figure at `dpi` dots per inch."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        figure.set_dpi(dpi)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3]


def answered(prediction: Prediction, number: int) -> str:
    """What a model says of class `number`: its probability, or for a regression the value."""
    if prediction.task == "regression":
        return f"{prediction.logits[number]:.4g}"
    return percent(float(prediction.probabilities[number]))


def percent(probability: float) -> str:
    """0..1 as text that never rounds to a certainty it is not."""
    if 0.9995 <= probability < 1:
        return "> 99.9 %"
    return "< 0.1 %" if 0 < probability < 0.001 else f"{probability:.1%}".replace("%", " %")
