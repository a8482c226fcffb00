"""Records to figures, for the page, the folder and the paper, and to the bytes they travel in.

Nothing here keeps state or touches pyplot or rcParams, so threads may draw at the same time. Text from outside
(labels, names, notes) is drawn as text: never as mathematics, never with line breaks or invisible characters.
"""

from __future__ import annotations

import base64
import io
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from xai_core.canvas import ALARM, GREY, INK, Canvas, answered, clean, percent
from xai_core.colours import (
    COLOUR_MAPS,
    ONE_SIGNED,
    TWO_SIGNED,
    Scale,
    colours_on,
    default_colour_map,
    heatmap,
    overlay,
    palette,
    scale_of,
)
from xai_core.records import Evidence, Explanation, Prediction

__all__ = [
    "COLOUR_MAPS",
    "Scale",
    "data_uri",
    "default_colour_map",
    "heatmap",
    "in_three",
    "overlay",
    "palette",
    "panels",
    "png",
    "provenance",
    "reading",
    "scale_of",
    "sheet",
]

MANY = 8  # maps on a contact sheet; more get a grid


def panels(
    explanation: Explanation,
    prediction: Prediction | None = None,
    *,
    opacity: float = 0.5,
    colour_map: str | None = None,
    clip: float = 99.5,
    scale: Scale | None = None,
    title: str | None = None,
    evidence: Evidence | None = None,
) -> Any:
    """A matplotlib Figure, 12 inches wide: picture, map with its colour bar, overlay, prediction, and provenance.

    `scale` is given where several figures share one; by default it is this map's own. `evidence`, where the map was
    weighed, stands above it as verdict and first reason. Raises SettingError as `scale_of`, `palette` and `overlay` do.
    """
    e = explanation
    colour_map = colour_map or default_colour_map(e.values, scale)
    scale = scale or scale_of([e.values], clip)
    label = clean(str(e.target), 60)
    head = textwrap.wrap(f"How to read it: {reading(e, scale, colour_map, clip)}", 172)
    foot = [line for text in provenance(e) for line in textwrap.wrap(text, 205, subsequent_indent="    ")][:14]
    judged = textwrap.wrap(clean(_weighed(evidence), 400), 172) if evidence else []
    side, top = 2.5, 0.72 + 0.17 * (len(judged) + len(head))
    page = Canvas(12, top + 0.3 + side + 0.3 + 0.155 * len(foot) + 0.12)

    page.text(
        0.35, 0.36, clean(title, 90) if title else f"{label}  ·  {clean(str(e.method['name']), 40)}", 13, bold=True
    )
    notice = clean(str(e.model.get("notice", "")), 70)
    page.text(11.65, 0.36, notice, 9, ALARM, bold=True, align="right")
    page.lines(0.35, 0.66, judged, 8.5, 0.17, _verdict_colour(evidence))
    page.lines(0.35, 0.66 + 0.17 * len(judged), head, 8.5, 0.17, ALARM if e.flat else INK)

    top += 0.22
    page.text(0.35, top - 0.09, "What the model saw", 9, bold=True)
    page.text(3.1, top - 0.09, "Attribution map", 9, bold=True)
    page.text(6.6, top - 0.09, f"Overlay, map at {100 * opacity:.0f} % opacity", 9, bold=True)
    in_three(page, (0.35, 3.1, 6.6), top, side, e, scale, colour_map, opacity)
    page.text(9.4, top - 0.09, "Prediction", 9, bold=True)
    page.bars(9.4, top, 2.25, side, prediction, e.target.index)
    page.lines(0.35, top + side + 0.34, foot, 7.3, 0.155, GREY)
    return page.figure


def in_three(
    page: Canvas,
    left: tuple[float, float, float],
    top: float,
    side: float,
    e: Explanation,
    scale: Scale | None,
    colour_map: str,
    opacity: float,
) -> None:
    """Draw what the model saw, the map with its colour bar, and the overlay. All places in inches."""
    page.picture(left[0], top, side, e.pixels)
    width, height = page.picture(left[1], top, side, heatmap(e.values, scale, colour_map))
    if scale is None or e.flat:
        page.text(left[1] + width / 2, top + height / 2, "flat", 14, "white", bold=True, align="center")
    else:
        page.colour_bar(left[1] + width + 0.08, top, height, scale, colour_map, e.values, e.evidence)
    page.picture(left[2], top, side, overlay(e.pixels, e.values, scale, colour_map, opacity))


def sheet(
    explanations: Sequence[Explanation],
    prediction: Prediction | None = None,
    *,
    opacity: float = 0.5,
    colour_map: str | None = None,
    clip: float = 99.5,
    shared_scale: bool = False,
    title: str | None = None,
    evidence: Sequence[Evidence | None] = (),
) -> Any:
    """A matplotlib Figure: one row per explanation, with the picture, the map and its colour bar, and the overlay.

    More than MANY are put into a grid, with what there is to say of each cut short. `shared_scale` puts all maps on one
    scale; otherwise each has its own, which its colour bar shows. `evidence` is what each map was weighed as.
    """
    common = scale_of([e.values for e in explanations], clip) if shared_scale else None
    draw = _rows if len(explanations) <= MANY else _grid
    weighed = evidence or [None] * len(explanations)
    return draw(explanations, weighed, _heading(explanations[0], prediction, title), opacity, colour_map, clip, common)


def _heading(first: Explanation, prediction: Prediction | None, title: str | None) -> str:
    if title:
        return clean(title, 80)
    said = (
        f"  ·  predicted {clean(prediction.top(1)[0][0], 40)} ({answered(prediction, int(prediction.order()[0]))})"
        if prediction
        else ""
    )
    return f"{clean(str(first.model.get('name', 'model')), 50)}{said}"


def _rows(
    explanations: Sequence[Explanation],
    evidence: Sequence[Evidence | None],
    heading: str,
    opacity: float,
    colour_map: str | None,
    clip: float,
    common: Scale | None,
) -> Any:
    side = 1.9
    page = Canvas(9.6, 0.92 + len(explanations) * (side + 0.14) + 0.1)
    page.text(0.3, 0.34, heading, 12, bold=True)
    page.text(0.3, 0.56, clean(str(explanations[0].model.get("notice", "")), 90), 8, ALARM, bold=True)
    heads = ("What the model saw", "Attribution map", f"Overlay, {100 * opacity:.0f} %")
    for x, text in zip((2.4, 4.4, 7.4), heads, strict=True):
        page.text(x, 0.83, text, 8.5, bold=True)
    for row, (e, weighed) in enumerate(zip(explanations, evidence, strict=True)):
        top = 0.92 + row * (side + 0.14)
        colours = colour_map or default_colour_map(e.values, common)
        scale = common or scale_of([e.values], clip)
        page.text(0.3, top + 0.18, clean(str(e.method["name"]), 26), 9.5, bold=True)
        about = [f"{key} = {value}" for key, value in e.settings().items()] + [
            f"target: {e.target}",
            f"seed {e.seed}",
            str(e.passes),
        ]
        lines = [line for text in about for line in textwrap.wrap(clean(text, 70), 34, subsequent_indent="  ")]
        judged = textwrap.wrap(clean(_weighed(weighed), 160), 38) if weighed else []
        page.lines(0.3, top + 0.36, judged, 7.3, 0.145, _verdict_colour(weighed))
        page.lines(0.3, top + 0.38 + 0.145 * len(judged), lines[: 11 - len(judged)], 7.3, 0.145, GREY)
        in_three(page, (2.4, 4.4, 7.4), top, side, e, scale, colours, opacity)
    return page.figure


def _grid(
    explanations: Sequence[Explanation],
    evidence: Sequence[Evidence | None],
    heading: str,
    opacity: float,
    colour_map: str | None,
    clip: float,
    common: Scale | None,
) -> Any:
    """Four maps beside one another: each with its overlay, and below both its colours and the numbers at their ends."""
    first, side, columns, wide, high = explanations[0], 1.45, 4, 3.2, 2.07
    page = Canvas(0.6 + columns * wide - 0.2, 2.5 + -(-len(explanations) // columns) * high)
    page.text(0.3, 0.36, heading, 12, bold=True)
    page.text(0.3, 0.58, clean(str(first.model.get("notice", "")), 90), 8, ALARM, bold=True)
    page.picture(0.3, 0.72, side, first.pixels)
    page.lines(
        0.4 + side,
        0.84,
        [
            "What the model saw.",
            clean(f"Target: {first.target}. Seed {first.seed}.", 90),
            f"Below, the maps with their overlays at {100 * opacity:.0f} %. The bar under a map runs over its colours,",
            "from the value at its left end to that at its right, in the method's own units: compare places, not sizes."
            if common is None
            else "from the value at its left end to that at its right; all maps are on one scale.",
            "Of a map with two signs, the middle says nothing and the left end is the opposite of the right.",
            "Gap: by how much the map's sum misses what it promises. Passes: forward + backward.",
        ],
        8,
        0.17,
        GREY,
    )
    for number, (e, weighed) in enumerate(zip(explanations, evidence, strict=True)):
        left, top = 0.3 + number % columns * wide, 2.42 + number // columns * high
        colours = colour_map or default_colour_map(e.values, common)
        scale = common or scale_of([e.values], clip)
        layer = e.settings().get("layer")
        page.text(left, top + 0.12, clean(str(e.method["name"]), 26), 8.5, bold=True)
        about = f"at {layer}" if layer else ""
        if e.gap is not None:
            about = f"{'' if e.valid else 'not valid: '}gap {percent(e.gap)}"
        colour = GREY if e.valid else ALARM
        if weighed:
            about, colour = "  ·  ".join(filter(None, [weighed.verdict, about])), _verdict_colour(weighed)
        page.text(
            left + wide - 0.22, top + 0.12, clean(about, 56 - 3 * len(e.method["name"]) // 2), 7, colour, align="right"
        )
        top += 0.19
        page.picture(left, top, side, heatmap(e.values, scale, colours))
        width, height = page.picture(
            left + side + 0.06, top, side, overlay(e.pixels, e.values, scale, colours, opacity)
        )
        if scale is None or e.flat:
            page.text(left + width / 2, top + height / 2, "flat", 11, "white", bold=True, align="center")
            continue
        bar = np.repeat(colours_on(scale, colours)[None], 10, 0)
        page.picture(left, top + height + 0.04, width, bar)
        page.text(left, top + height + 0.21, _number(scale.low), 6.8, GREY)
        cost = f"{e.seconds:.2f} s,  passes {e.passes.forward} + {e.passes.backward}"
        page.text(left + width, top + height + 0.21, _number(scale.high), 6.8, GREY, align="right")
        if not scale.signed:
            said = "for  →" if e.evidence else "more  →"
            page.text(left + width / 2, top + height + 0.21, said, 6.8, GREY, align="center")
        page.text(left + side + 0.06, top + height + 0.21, cost, 6.8, GREY)
    return page.figure


def _weighed(evidence: Evidence) -> str:
    """The verdict and the first of the sentences it rests on."""
    return f"Evidence: {evidence.verdict}. {' '.join(evidence.reasons[:1])}".strip()


def _verdict_colour(evidence: Evidence | None) -> str:
    return ALARM if evidence and evidence.verdict in ("no evidence", "not valid for this model") else INK


def _number(value: float) -> str:
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")


def reading(explanation: Explanation, scale: Scale | None, colour_map: str, clip: float) -> str:
    """How to read this map, in plain sentences."""
    e = explanation
    if e.flat or scale is None:
        return f"{e.flat or 'Flat map.'} It is drawn in one grey and must not be read as evidence."
    label = clean(str(e.target), 60)
    if not e.evidence:
        said = "strong colours are high values; they do not speak for or against a class."
    elif scale.signed:
        against, for_ = TWO_SIGNED.get(colour_map, ("the lower end of the bar", "the upper end"))
        said = f"{for_} speaks for {label}, {against} speaks against it, the middle of the bar says nothing."
    else:
        most = ONE_SIGNED.get(colour_map) or TWO_SIGNED[colour_map][1]
        said = f"the closer to {most}, the more a pixel counted for {label}; the lowest colour says nothing."
    row, column = e.peak
    size = float(np.abs(e.values).max())
    cut = (
        f" Colours saturate at {scale.high:.3g} (percentile {clip:g}; the largest is {size:.3g})."
        if size > scale.high
        else ""
    )
    place = f" The highest value is at row {row}, column {column}."
    return f"{said}{place}{cut} A map shows what this method says the model used, not whether the model is right."


def provenance(explanation: Explanation) -> Iterator[str]:
    """The lines under a figure: which model, method, target, seed, cost and picture made it, and what to know."""
    e = explanation
    digests = [f"{key.replace('_', ' ')} {value[:12]}" for key, value in e.model.items() if _is_digest(value)]
    yield clean("  ·  ".join([f"Model: {e.model.get('name', 'unnamed')}", *digests]), 400)
    settings = ", ".join(f"{key}={value}" for key, value in e.settings().items())
    yield clean(f"Method: {e.method['name']}" + (f" ({settings})" if settings else ""), 400)
    rows, columns = e.grid
    height, width = e.values.shape
    grid = "" if (rows, columns) == (height, width) else f"  ·  resolves {rows} × {columns} cells on {height} × {width}"
    asked = f"Target: {e.target.kind} of {e.target.label} (class {e.target.index})  ·  seed {e.seed}"
    yield clean(
        f"{asked}  ·  passes: {e.passes}  ·  {e.seconds:.2f} s{grid}  ·  picture sha256 {e.image[:12]}",
        400,
    )
    if e.gap is not None:
        yield f"Completeness: the map's sum misses what it promises to add up to by {100 * e.gap:.3g} %"
    yield from (clean(f"Note: {note}", 400) for note in e.notes)


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")


def png(picture: Any, dpi: int = 150) -> bytes:
    """An array (h, w, 3) or (h, w) uint8, or a matplotlib Figure drawn at `dpi`, as PNG: same input, same bytes.

    Lossless, and without time stamps or names of software.
    """
    from PIL import Image

    pixels = picture if isinstance(picture, np.ndarray) else Canvas.drawn(picture, dpi)
    out = io.BytesIO()
    # Level 4 costs a third of the time of PIL's 6 and 5 % more bytes.
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        out, "PNG", compress_level=4, dpi=None if pixels is picture else (dpi, dpi)
    )
    return out.getvalue()


def data_uri(content: bytes, mime: str = "image/png") -> str:
    """`content` as a data: address, for a page that must not ask for a second file."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
