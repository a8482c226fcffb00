"""What several models make of one picture as figures: their maps below one another, and where two of them differ."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from xai_core.canvas import ALARM, GREY, INK, Canvas, answered, clean
from xai_core.checklist import judged
from xai_core.colours import ONE_SIGNED, TWO_SIGNED, Scale, colours_on, default_colour_map, heatmap, overlay, scale_of
from xai_core.comparison import FORMULA, Difference, differ, first_pair, measured, names_of, said
from xai_core.errors import SettingError
from xai_core.figures import in_three, provenance
from xai_core.records import Evidence, Explanation, Prediction, models_of, why_flat

WIDTH, LEFT, SIDE = 9.45, 0.35, 2.5  # inches
LETTERS, SMALL_LETTERS = 130, 154  # that fit between the margins, at 8.5 and at 7.3 points
TWO_COLOURS = "coolwarm"


def comparison(
    explanations: Sequence[Explanation],
    predictions: Sequence[Prediction],
    *,
    opacity: float = 0.5,
    colour_map: str | None = None,
    clip: float = 99.5,
    shared_scale: bool = True,
    evidence: Sequence[Evidence | None] = (),
) -> Any:
    """A matplotlib Figure: for each model a row of what it saw, its map and the overlay; below, how they differ.

    All maps are on one colour scale, or each on its own where `shared_scale` is False; the figure says which.
    `evidence` is what each map was weighed as. Raises SettingError as `scale_of`, `palette` and `overlay` do.
    """
    names = names_of(models := models_of(explanations))
    common = scale_of([e.values for e in explanations], clip) if shared_scale else None
    rows = [
        _row(names[models.index(e.model)], e, next((one for one in predictions if one.model == e.model), None), weighed)
        for e, weighed in zip(explanations, list(evidence) or [None] * len(explanations), strict=True)
    ]
    foot = _wrapped(_words(explanations, predictions, common, colour_map, clip), LETTERS)
    small = _wrapped([line for e in explanations for line in list(provenance(e))[:5]], SMALL_LETTERS)
    top = 1.02
    height = top + sum(0.22 + 0.16 * len(lines) + SIDE + 0.2 for lines in rows) + 0.17 * len(foot) + 0.145 * len(small)
    page = Canvas(WIDTH, height + 0.5)
    first, targets = explanations[0], {str(e.target) for e in explanations}
    asked = str(first.target) if len(targets) == 1 else "each model's own target"
    methods = " and ".join(dict.fromkeys(str(e.method["name"]) for e in explanations))
    page.text(LEFT, 0.36, clean(f"{asked}  ·  {methods}", 84), 13, bold=True)
    scales = "One colour scale for all maps" if shared_scale else "Each map on a colour scale of its own"
    page.text(LEFT, 0.6, f"{scales}.  {len(models)} models, one picture.", 8.5, GREY)
    for x, text in zip(
        (LEFT, 3.05, 6.6),
        ("What the model saw", "Attribution map", f"Overlay, map at {100 * opacity:.0f} % opacity"),
        strict=True,
    ):
        page.text(x, 0.88, text, 9, bold=True)
    for e, lines in zip(explanations, rows, strict=True):
        colours = colour_map or default_colour_map(e.values, common)
        top = _drawn_row(page, top, e, lines, common, colours, clip, opacity)
    page.lines(LEFT, top + 0.12, foot, 8.5, 0.17)
    page.lines(LEFT, top + 0.2 + 0.17 * len(foot), small, 7.3, 0.145, GREY)
    return page.figure


class Drawn(NamedTuple):
    """A difference in colours, (h, w, 3) uint8: on the picture at half opacity, and alone; None of a scale is none."""

    on_picture: np.ndarray
    alone: np.ndarray
    scale: Scale | None


def drawn(d: Difference) -> Drawn:
    """Where the first map has more of its mass in red, where the second has in blue, as strong on either side."""
    bound = scale_of([d.values])
    scale = bound and Scale(-bound.high, bound.high)
    on_picture = overlay(d.pixels, d.values, scale, TWO_COLOURS, 0.5 if scale else 0)
    return Drawn(on_picture, heatmap(d.values, scale, TWO_COLOURS), scale)


def difference(d: Difference, names: tuple[str, str]) -> Any:
    """A matplotlib Figure: where the first map has more of its mass than the second, on the picture and alone.

    `names` are those of the two models.
    """
    on_picture, alone, scale = drawn(d)
    one, other = (clean(name, 44) for name in names)
    about = _wrapped([f"{FORMULA} A is {one}, B is {other}.", *_measures(d)], 130)
    side = 3.6
    page = Canvas(8.25, 0.9 + side + 0.92 + 0.17 * len(about) + 0.1)
    page.text(LEFT, 0.36, "Where the two maps differ", 13, bold=True)
    page.text(LEFT, 0.6, f"{one}  against  {other}", 8.5, GREY)
    for x, text in ((LEFT, "On what both saw, at 50 % opacity"), (4.3, "Alone")):
        page.text(x, 0.86, text, 9, bold=True)
    page.picture(LEFT, 0.94, side, on_picture)
    width, height = page.picture(4.3, 0.94, side, alone)
    bottom = 0.94 + height
    if scale is None:
        page.text(4.3 + width / 2, 0.94 + height / 2, "no difference", 15, "white", bold=True, align="center")
    else:
        bar = colours_on(scale, TWO_COLOURS)[None].repeat(9, axis=0)
        page.picture(4.3, bottom + 0.08, width, bar)
        number = f"{100 * scale.high:.2g} %"
        for x, text, align in (
            (4.3, f"\N{MINUS SIGN}{number}", "left"),
            (4.3 + width / 2, "0", "center"),
            (4.3 + width, f"+{number}", "right"),
        ):
            page.text(x, bottom + 0.34, text, 7.3, GREY, align=align)
        page.text(4.3, bottom + 0.5, f"\N{LEFTWARDS ARROW} blue: more on {other}", 7.3, GREY)
        page.text(4.3 + width, bottom + 0.64, f"red: more on {one} \N{RIGHTWARDS ARROW}", 7.3, GREY, align="right")
        page.text(LEFT, bottom + 0.34, "Numbers: share of a map's mass on one pixel.", 7.3, GREY)
    page.lines(LEFT, bottom + 0.92, about, 7.9, 0.17)
    return page.figure


def _row(
    name: str, e: Explanation, prediction: Prediction | None, evidence: Evidence | None
) -> list[tuple[str, str, str]]:
    """What stands above a row: (text, colour, weight), the first line in large letters."""
    heading = clean(name, 46)
    if prediction is not None:
        number = int(prediction.order()[0])
        heading += f"  ·  says {clean(prediction.labels[number], 40)} ({answered(prediction, number)})"
    layer = f" at {e.method['layer']}" if e.method.get("layer") else ""
    cells = f"{e.grid[0]} × {e.grid[1]} cells"
    lines = [
        (heading, INK, "bold"),
        (clean(f"{e.method['name']}{layer}, {cells}, target {e.target}, {e.seconds:.2f} s", 130), GREY, ""),
    ]
    if notice := clean(str(e.model.get("notice", "")), 110):
        lines.append((notice, ALARM, "bold"))
    if evidence is not None:
        bad = evidence.verdict in ("no evidence", "not valid for this model")
        lines += [
            (line, ALARM if bad else INK, "")
            for line in textwrap.wrap(clean(f"Evidence: {judged(evidence)}", 300), 140)
        ]
    return lines


def _drawn_row(
    page: Canvas,
    top: float,
    e: Explanation,
    lines: Sequence[tuple[str, str, str]],
    common: Scale | None,
    colours: str,
    clip: float,
    opacity: float,
) -> float:
    """Draw one model's row from `top` down. Gives where the next one begins."""
    for number, (text, colour, weight) in enumerate(lines):
        size = 10 if number == 0 else 8
        page.text(LEFT, top + 0.16 + 0.16 * number, text, size, colour, bold=bool(weight))
    top += 0.22 + 0.16 * len(lines) - 0.1
    scale = common or scale_of([e.values], clip)
    in_three(page, (LEFT, 3.05, 6.6), top, SIDE, e, scale, colours, opacity)
    return top + SIDE + 0.3


def _words(
    explanations: Sequence[Explanation],
    predictions: Sequence[Prediction],
    common: Scale | None,
    colour_map: str | None,
    clip: float,
) -> list[str]:
    """What stands below the rows: whether the models agree, by how much the first two maps differ, how to read it."""
    lines = [clean(said(predictions), 400)] if len(predictions) > 1 else []
    if pair := first_pair(explanations):
        one, other = (clean(name, 46) for name in names_of([e.model for e in pair]))
        try:
            lines += [f"{one} and {other}, on the part of the picture that both saw:", *_measures(differ(*pair))]
        except SettingError as error:
            lines.append(clean(str(error), 300))
    return [*lines, f"How to read it: {_reading(explanations, common, colour_map, clip)}"]


def _measures(d: Difference) -> list[str]:
    return [f"•  {one.name}: {one.value} ({clean(one.meaning, 300)})." for one in measured(d)]


def _reading(explanations: Sequence[Explanation], common: Scale | None, colour_map: str | None, clip: float) -> str:
    shown = [e for e in explanations if why_flat(e.values) is None]
    if not shown:
        return "every map is flat: drawn in one grey, it must not be read as evidence."
    colours = {colour_map or default_colour_map(e.values, common) for e in shown}
    sides = [TWO_SIGNED[name] for name in sorted(colours) if name in TWO_SIGNED]
    if not all(e.evidence for e in shown):
        sentence = "strong colours are high values; they do not speak for or against a class."
    elif sides:
        against, for_ = sides[0]
        sentence = f"{for_} speaks for the target, {against} against it, the middle of a bar says nothing."
    else:
        sentence = f"the closer to {ONE_SIGNED[min(colours)]}, the more a pixel counted for the target."
    compared = (
        f"Equal colours are equal values, cut at percentile {clip:g} of all maps; values of two networks are each in "
        "their own units, so compare places before strengths."
        if common is not None
        else "Every map has its own scale, which its bar shows: compare places, not colours."
    )
    return f"{sentence} {compared} A map shows what a method says a model used, not whether the model is right."


def _wrapped(texts: Sequence[str], letters: int) -> list[str]:
    return [line for text in texts for line in textwrap.wrap(text, letters, subsequent_indent="    ")]
