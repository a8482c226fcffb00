"""Figures of a finding: a dose and its response, groups, shortcuts, background; and pictures as a filmstrip.

As in `figures`, nothing here keeps state or touches pyplot, and text from outside is drawn as text. Colours are told
apart with every kind of colour vision, and no colour says what is not also written. What is undefined leaves a gap.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from xai_core.canvas import ACCENT, ALARM, FONT, GREY, INK, PALE, Canvas, clean, percent
from xai_core.charts import line_key, overhang, plain_axes, rise, slanted, stroke
from xai_core.colours import default_colour_map, overlay, scale_of
from xai_core.finding_panels import panels
from xai_core.methods import METHODS
from xai_core.probe_panels import (
    ANY,
    NOT_KNOWN,
    SIGNS,
    Forest,
    Line,
    Lines,
    Matrix,
    Row,
    footnotes,
    method_labels,
    span_of,
)
from xai_core.probes import PROBES
from xai_core.records import Finding, Frame
from xai_core.score_table import number

WIDTH, LEFT = 9.6, 0.3  # inches
SIZE, STEP = 7.8, 0.15  # points of the small print, inches between its lines
BAND, FLIP, FLIPS = "#e6ebf0", "#d55e00", "#fbe3d2"
MARKS: tuple[Any, ...] = ({"color": FLIP}, {"color": INK, "linestyle": (0, (1.2, 1.2))}, {"color": "#009e73"})
# Fill and ink of each verdict: Okabe and Ito's colours, from dark to light, so that they differ in grey too.
VERDICTS: Mapping[str, tuple[str, str]] = {
    "used and shown": ("#0b4f8a", "white"),
    "used, not shown": ("#d55e00", INK),
    "not used, but lit up": ("#f2bd49", INK),
    "not used, not lit up": ("#e6ebf0", INK),
    "used, map not decided": ("#71b2f3", INK),
    "not used, map not decided": ("#926c75", "white"),
    "use not decided": ("#483833", "white"),
    NOT_KNOWN: ("#ffffff", INK),
}
OTHER = ("#f4f1ea", INK)  # of a verdict that is none of these
ACROSS = 7  # frames of a filmstrip beside one another
FRAME = 1.5  # inches


class Columns(NamedTuple):
    """Where a forest's names begin, its axes begin and end, and its words begin and end, in inches."""

    names: float
    axes: float
    axes_end: float
    words: float
    end: float


WIDE = Columns(LEFT, 3.1, 6.5, 6.65, WIDTH - 0.2)
NARROW = Columns(LEFT, 2.1, 4.6, 4.7, 6.7)


def charts(finding: Finding) -> dict[str, Any]:
    """A matplotlib Figure for each name of a file: `chart`, and for groups `rates`.

    Empty where nothing can be drawn.
    """
    drawn = panels(finding)
    forests = [one for one in drawn if isinstance(one, Forest)]
    lines = [one for one in drawn if isinstance(one, Lines)]
    if finding.kind == "dose":
        return {"chart": _lines(finding, lines)} if lines else {}
    if finding.kind == "shortcut":
        matrix = next((one for one in drawn if isinstance(one, Matrix)), None)
        return {"chart": _challenge(finding, forests[0], matrix)} if forests and forests[0].rows else {}
    differences = [one for one in forests if one.zero is not None]
    rates = [one for one in forests if one.zero is None]
    parts = {"chart": differences, "rates": rates} if finding.kind == "groups" else {"chart": forests}
    sheets = {name: _sheet(finding, part) for name, part in parts.items() if any(one.rows for one in part)}
    return sheets | ({"rates": _lines(finding, lines)} if lines else {})


# ---- rows of points with intervals ---------------------------------------------------------------------------------


def _sheet(finding: Finding, forests: Sequence[Forest]) -> Any:
    """Forests below one another, and once what holds for all of them."""
    head, foot = _head(finding, WIDTH), _foot(forests, WIDE)
    height = head.bottom + sum(_height(one, WIDE) for one in forests) + STEP * len(foot) + 0.15
    page = Canvas(WIDTH, height)
    _title(page, head)
    top = head.bottom
    for one in forests:
        _forest(page, one, WIDE, top)
        top += _height(one, WIDE)
    page.lines(LEFT, top, foot, 7.3, STEP, GREY)
    return page.figure


def _height(forest: Forest, at: Columns) -> float:
    return 0.42 + sum(_row_heights(forest, at)) + 0.62 + STEP * len(_below(forest, at))


def _row_heights(forest: Forest, at: Columns) -> list[float]:
    return [0.13 + STEP * max(map(len, _row_words(row, at))) for row in forest.rows]


def _row_words(row: Row, at: Columns) -> tuple[list[str], list[str]]:
    return fitted(row.name, at.axes - at.names - 0.15, SIZE, 3), fitted(row.words, at.end - at.words, SIZE, 3)


def _forest(page: Canvas, forest: Forest, at: Columns, top: float) -> list[float]:
    """Draw it from `top` down. Gives where each row's middle is."""
    page.text(at.names, top + 0.22, fitted(forest.title, at.end - at.names, 10.5, 1)[0], 9.5, bold=True)
    top += 0.42
    heights = _row_heights(forest, at)
    edges = np.concatenate([[0], np.cumsum(heights)])
    axes = page.axes(at.axes, top, at.axes_end - at.axes, float(edges[-1]))
    plain_axes(axes, "", "")
    axes.set(xlim=span_of(forest), ylim=(float(edges[-1]), 0), yticks=[])
    axes.spines["left"].set_visible(False)
    if forest.zero is not None:
        axes.axvline(forest.zero, color=GREY, linewidth=0.9, zorder=2)
    middles = []
    for row, (above, below) in zip(forest.rows, itertools.pairwise(edges), strict=True):
        middle = float(above + below) / 2
        _row(axes, row, forest.zero, float(above), float(below))
        names, words = _row_words(row, at)
        for x, lines, colour in ((at.names, names, GREY if row.faded else INK), (at.words, words, GREY)):
            page.lines(x, top + middle + 0.035 - STEP / 2 * (len(lines) - 1), lines, SIZE, STEP, colour)
        middles.append(top + middle)
    bottom = top + float(edges[-1])
    page.lines(at.axes, bottom + 0.37, fitted(forest.axis, at.end - at.axes, SIZE, 1), SIZE, STEP)
    page.lines(at.names, bottom + 0.37 + STEP, _below(forest, at), 7.3, STEP, GREY)
    for place, (x, name) in enumerate(_marks_named(forest, at)):
        y = bottom + 0.37 + STEP * (1 + place)
        line_key(page, x, y, **{"dashes": "solid", "colour": INK} | _as_key(MARKS[place % len(MARKS)]))
        page.text(x + 0.5, y, name, 7.3, GREY)
    return middles


def _row(axes: Any, row: Row, zero: float | None, above: float, below: float) -> None:
    """A row between two heights: the size that would have been found, the marks, the interval and the point."""
    from matplotlib.patches import Rectangle

    if row.reach is not None and zero is not None:
        axes.add_patch(
            Rectangle((zero - row.reach, above + 0.02), 2 * row.reach, below - above - 0.04, color=BAND, linewidth=0)
        )
    for place, mark in enumerate(row.marks):
        axes.plot([mark.value] * 2, [above + 0.03, below - 0.03], linewidth=1.6, zorder=3, **MARKS[place % len(MARKS)])
    if row.value is None:
        return
    middle, colour = (above + below) / 2, GREY if row.faded else ACCENT
    if row.low is not None and row.high is not None:
        axes.plot([row.low, row.high], [middle] * 2, color=colour, linewidth=1.6, zorder=4, solid_capstyle="butt")
    face = "white" if row.faded else colour
    axes.plot([row.value], [middle], "o", color=colour, markerfacecolor=face, markersize=5, zorder=5)


def _below(forest: Forest, at: Columns) -> list[str]:
    """What stands below an axis; lines are kept free for the names of the marks."""
    note = fitted(forest.note, at.end - at.names, 7.3, 2)
    return ["" for _ in _mark_names(forest)] + note


def _foot(forests: Sequence[Forest], at: Columns) -> list[str]:
    return [line for note in footnotes(forests) for line in fitted(note, at.end - at.names, 7.3, 2)]


def _mark_names(forest: Forest) -> list[str]:
    return list(dict.fromkeys(mark.name for row in forest.rows for mark in row.marks))


def _marks_named(forest: Forest, at: Columns) -> Iterator[tuple[float, str]]:
    for name in _mark_names(forest):
        yield at.names, fitted(name, at.end - at.names - 0.5, 7.3, 1)[0]


def _as_key(look: Mapping[str, Any]) -> dict[str, Any]:
    return {"colour": look["color"], "dashes": look.get("linestyle", "solid")}


# ---- a dose --------------------------------------------------------------------------------------------------------


def _lines(finding: Finding, panels: Sequence[Lines]) -> Any:
    """One field below the other over the same doses, or over the same buckets."""
    head, high, gap = _head(finding, WIDTH), 1.6, 0.75 if panels[0].ticks else 0.6
    flip = panels[0].flip
    heights = [max(high + gap, 0.5 + _names_height(one)) for one in panels]
    page = Canvas(WIDTH, head.bottom + (0.35 if flip else 0.1) + sum(heights) + 0.3)
    _title(page, head)
    top = head.bottom + 0.1
    if flip:
        colour, thick = (FLIPS, 7.0) if flip.at is None else (FLIP, 1.8)
        line_key(page, 0.85, top + 0.02, colour, "solid", thick)
        interval = "; shaded: its 95 % interval" if flip.at is not None and flip.low is not None else ""
        page.lines(1.35, top + 0.02, fitted(f"{flip.words}{interval}.", WIDTH - 1.7, SIZE, 1), SIZE, STEP)
        top += 0.25
    for one, height in zip(panels, heights, strict=True):
        page.lines(0.85, top + 0.1, fitted(one.title, 5.1, 8.8, 1), 8.5, STEP)
        axes = page.axes(0.85, top + 0.22, 5.1, height - gap)
        plain_axes(axes, "", "")
        first, strongest = one.lines[0].dots[0].x, one.lines[0].dots[-1].x
        axes.set_xlim(first, strongest)
        if one.ticks:
            _named_ticks(axes, one.ticks)
        if one.limits:
            pad = 0.03 * (one.limits[1] - one.limits[0])
            axes.set_ylim(one.limits[0] - pad, one.limits[1] + pad)
        _flip(axes, one, strongest)
        for line in one.lines:
            _line(axes, line)
        _line_names(page, one, top + 0.35)
        top += height
    page.lines(0.85, top + 0.02, fitted(panels[0].across, 5.1, SIZE, 1), SIZE, STEP)
    return page.figure


def _named_ticks(axes: Any, names: Sequence[str]) -> None:
    room = 5.1 / len(names)
    shown = ["\n".join(fitted(name, room - 0.1, 7.5, 2)) for name in names]
    axes.set_xlim(-0.5, len(names) - 0.5)
    axes.set_xticks(range(len(names)), shown, parse_math=False)


def _line(axes: Any, line: Line) -> None:
    colour, dashes = stroke(line.place)
    x, y, low, high = (
        np.array([np.nan if one is None else one for one in column], float)
        for column in ([getattr(dot, name) for dot in line.dots] for name in ("x", "y", "low", "high"))
    )
    if np.isfinite(low).any():
        axes.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0, zorder=2)
    axes.plot(x, y, color=colour, linestyle=dashes, marker="o", markersize=3.5, linewidth=1.6, zorder=4, clip_on=False)


def _flip(axes: Any, panel: Lines, strongest: float) -> None:
    """The bracket of a flip; one whose end is above the strongest dose runs to the edge."""
    flip = panel.flip
    if flip is None:
        return
    if flip.low is not None:
        axes.axvspan(flip.low, strongest if flip.high is None else flip.high, color=FLIPS, linewidth=0, zorder=1)
    if flip.at is not None:
        axes.axvline(flip.at, color=FLIP, linewidth=1.2, zorder=3)


def _line_names(page: Canvas, panel: Lines, top: float) -> None:
    """To the right: what each line is, and how many pictures it rests on."""
    y = top
    for line in panel.lines:
        counts = [dot.n for dot in line.dots if dot.n is not None]
        fewest, most = min(counts, default=0), max(counts, default=0)
        n = f"n = {most}" if fewest == most else f"n = {fewest} to {most}"
        names = _name_of(line, panel)
        colour, dashes = stroke(line.place)
        line_key(page, 6.1, y, colour, dashes)
        page.lines(6.6, y, names, SIZE, STEP)
        page.text(6.6, y + STEP * len(names), n, 7.3, GREY)
        y += STEP * (len(names) + 1) + 0.06
    if any(dot.low is not None for line in panel.lines for dot in line.dots):
        page.text(6.6, y, "bands: 95 % intervals", 7.3, GREY)


def _name_of(line: Line, panel: Lines) -> list[str]:
    return fitted(line.name or panel.axis, 2.9, SIZE, 4)


def _names_height(panel: Lines) -> float:
    return sum(STEP * (len(_name_of(line, panel)) + 1) + 0.06 for line in panel.lines)


# ---- shortcuts -----------------------------------------------------------------------------------------------------


def _challenge(finding: Finding, forest: Forest, matrix: Matrix | None) -> Any:
    """Left what each artefact does to the prediction, right whether each method's map points at it."""
    from matplotlib.patches import Rectangle

    heads = [clean(one, 34) for one in matrix.across] if matrix else []
    cell, left = 0.42, NARROW.end + 0.25
    width = max(WIDTH, left + cell * len(heads) + overhang(heads, 7.5, cell)) if heads else WIDTH
    head = _head(finding, width)
    top = head.bottom + max(0.0, rise(heads, 7.5) + 0.25 - 0.42 if heads else 0.0)
    shown = list(dict.fromkeys(verdict for row in matrix.verdicts for verdict in row)) if matrix else []
    shown.sort(key=lambda one: list(SIGNS).index(one) if one in SIGNS else len(SIGNS))
    keys_high, foot = 0.12 + 0.19 * len(shown), _foot([forest], NARROW)
    deep = _height(forest, NARROW)
    below = max(deep + STEP * len(foot), 0.42 + sum(_row_heights(forest, NARROW)) + keys_high)
    page = Canvas(width, top + below + 0.15)
    _title(page, head)
    middles = _forest(page, forest, NARROW, top)
    page.lines(LEFT, top + deep - 0.1, foot, 7.3, STEP, GREY)
    if matrix is None:
        return page.figure
    heights = _row_heights(forest, NARROW)
    bottom = middles[-1] + heights[-1] / 2
    axes = page.axes(left, top + 0.42, cell * len(heads), bottom - top - 0.42)
    axes.set(xlim=(0, len(heads)), ylim=(bottom - top - 0.42, 0))
    axes.set_axis_off()
    words: Any = {"ha": "center", "va": "center_baseline", "fontfamily": FONT, "parse_math": False, "fontsize": 11}
    for row, middle, height in zip(matrix.verdicts, middles, heights, strict=True):
        for j, verdict in enumerate(row):
            fill, ink, sign = look_of(verdict)
            y = middle - top - 0.42 - height / 2
            hatch = "/////" if verdict == NOT_KNOWN else None
            axes.add_patch(
                Rectangle(
                    (j + 0.03, y + 0.02), 0.94, height - 0.04, facecolor=fill, edgecolor=PALE, linewidth=0, hatch=hatch
                )
            )
            axes.text(j + 0.5, y + height / 2, sign, color=ink, **words)
    for j, one in enumerate(heads):
        slanted(page, left + (j + 0.5) * cell, top + 0.35, one, INK, 7.5)
    keys = page.axes(left, bottom + 0.12, 0.22, 0.19 * len(shown))
    keys.set(xlim=(0, 1), ylim=(len(shown), 0))
    keys.set_axis_off()
    for place, verdict in enumerate(shown):
        fill, ink, sign = look_of(verdict)
        hatch = "/////" if verdict == NOT_KNOWN else None
        keys.add_patch(Rectangle((0, place + 0.06), 1, 0.88, facecolor=fill, edgecolor=PALE, linewidth=0, hatch=hatch))
        keys.text(0.5, place + 0.5, sign, color=ink, **{**words, "fontsize": 8})
        name = fitted(verdict, width - left - 0.4, 7.3, 1)
        page.lines(left + 0.3, bottom + 0.12 + 0.19 * (place + 0.7), name, 7.3, STEP, GREY)
    return page.figure


def look_of(verdict: str) -> tuple[str, str, str]:
    """Fill, ink and sign."""
    return (*VERDICTS[verdict], SIGNS[verdict]) if verdict in VERDICTS else (*OTHER, ANY)


# ---- pictures ------------------------------------------------------------------------------------------------------


def filmstrip(
    finding: Finding, *, colour_map: str | None = None, opacity: float = 0.5, clip: float = 99.5
) -> Any | None:
    """A matplotlib Figure of the finding's frames, or None without any: what the model saw, and its map upon it.

    All maps are on one colour scale. Raises SettingError as `scale_of`, `palette` and `overlay` do.
    """
    frames = finding.frames
    if not frames:
        return None
    maps = [frame.values for frame in frames if frame.values is not None]
    scale = scale_of(maps, clip) if maps else None
    colours = colour_map or (default_colour_map(maps[0], scale) if maps else "")
    across = min(ACROSS, max(4, len(frames)))
    bar = 0.95 if scale else 0.2
    width = LEFT + across * (FRAME + 0.12) + bar
    captions = [_caption(frame) for frame in frames]
    deep = FRAME * (2 if maps else 1) + 0.3 + STEP * max(map(len, captions))
    head, note = _head(finding, width), _strip_words(finding, frames, maps, opacity, width)
    page = Canvas(width, head.bottom + 0.05 + -(-len(frames) // across) * deep + STEP * len(note) + 0.2)
    _title(page, head)
    for place, (frame, caption) in enumerate(zip(frames, captions, strict=True)):
        left, top = LEFT + place % across * (FRAME + 0.12), head.bottom + place // across * deep
        _outlined(page, left, top, frame, frame.pixels)
        under = top + FRAME + 0.06
        if frame.values is not None:
            drawn = overlay(frame.pixels, frame.values, scale, colours, opacity)
            _outlined(page, left, under, frame, drawn)
        elif maps:
            page.text(left + FRAME / 2, under + FRAME / 2, "no map", 9, GREY, align="center")
        page.lines(left, top + FRAME * (2 if maps else 1) + 0.2, caption, SIZE, STEP)
    if scale:
        values = np.concatenate([one.ravel() for one in maps])
        evidence = all(_is_evidence(method) for method in finding.methods[:1])
        page.colour_bar(width - bar, head.bottom + FRAME + 0.06, FRAME, scale, colours, values, evidence)
    page.lines(LEFT, page.height - 0.1 - STEP * len(note), note, 7.3, STEP, GREY)
    return page.figure


def _is_evidence(method: Mapping[str, Any]) -> bool:
    cls = METHODS[str(method["name"])]
    return cls.signed and cls.class_specific


def _strip_words(
    finding: Finding, frames: Sequence[Frame], maps: Sequence[np.ndarray], opacity: float, width: float
) -> list[str]:
    said = ["Above what the model saw, below the map upon it." if maps else "What the model saw."]
    if maps:
        method = next(iter(method_labels(finding).values()), "")
        said.append(f"Maps by {method}, at {100 * opacity:.0f} % opacity, all on one colour scale.")
        said.append("A flat map is drawn in one grey.")
    if any(frame.region is not None for frame in frames):
        said.append("White and black line: the region that the probe is about.")
    return fitted(" ".join(said), width - 2 * LEFT, 7.3, 3)


def _caption(frame: Frame) -> list[str]:
    lines = fitted(frame.caption, FRAME, SIZE, 2)
    predicted, probability = frame.facts.get("predicted"), frame.facts.get("probability")
    if predicted is not None:
        lines += fitted(f"says {predicted}", FRAME, SIZE, 2)
    if probability is not None:
        shown = percent(probability) if 0 <= probability <= 1 else number(probability)
        lines += fitted(f"{frame.facts.get('target', 'target')} {shown}", FRAME, SIZE, 2)
    return lines


def _outlined(page: Canvas, left: float, top: float, frame: Frame, pixels: np.ndarray) -> None:
    """A picture with the edges of the frame's region, in black on white so that they show on every ground."""
    from matplotlib.collections import LineCollection

    width, height = page.picture(left, top, FRAME, pixels)
    if frame.region is None or not frame.region.any():
        return
    axes = page.axes(left, top, width, height)
    axes.set(xlim=(0, pixels.shape[1]), ylim=(pixels.shape[0], 0))
    axes.set_axis_off()
    edges = list(outline(frame.region))
    for colour, thick, dashes in (("white", 2.0, "solid"), ("black", 1.0, (0, (2, 2)))):
        axes.add_collection(LineCollection(edges, colors=colour, linewidths=thick, linestyles=dashes))


def outline(region: np.ndarray) -> np.ndarray:
    """(n, 2, 2): the pixel edges, as pairs of (x, y), between what is inside a (h, w) bool region and what is not."""
    around = np.pad(region, 1)
    rows, columns = np.nonzero(around[1:, 1:-1] != around[:-1, 1:-1])
    lying = np.stack([np.stack([columns, rows], 1), np.stack([columns + 1, rows], 1)], 1)
    rows, columns = np.nonzero(around[1:-1, 1:] != around[1:-1, :-1])
    standing = np.stack([np.stack([columns, rows], 1), np.stack([columns, rows + 1], 1)], 1)
    return np.concatenate([lying, standing]).astype(float)


# ---- words ---------------------------------------------------------------------------------------------------------


class Head(NamedTuple):
    """What stands above a figure, and where that ends, in inches."""

    title: str
    notice: str
    answer: list[str]
    bottom: float


def _head(finding: Finding, width: float) -> Head:
    name = str(finding.probe["name"])
    label = PROBES[name].label if name in PROBES else name
    n = len(finding.pictures)
    title = f"{label}: {finding.model.get('name', 'model')}, {'one picture' if n == 1 else f'{n} pictures'}"
    answer = fitted(finding.sentences[0], width - 2 * LEFT, 8.5, 7)
    notice = clean(str(finding.model.get("notice", "")), 90)
    return Head(clean(title, 78), notice, answer, 0.62 + (0.2 if notice else 0) + 0.17 * len(answer))


def _title(page: Canvas, head: Head) -> None:
    page.text(LEFT, 0.36, head.title, 12, bold=True)
    page.text(LEFT, 0.57, head.notice, 8.5, ALARM, bold=True)
    page.lines(LEFT, 0.6 + (0.18 if head.notice else 0), head.answer, 8.5, 0.17)


@lru_cache(maxsize=2048)
def _advance(character: str) -> float:
    """Of FONT, in ems."""
    from matplotlib.font_manager import findfont, get_font
    from matplotlib.ft2font import LoadFlags

    font = get_font(findfont(FONT))
    return float(font.load_char(ord(character), flags=LoadFlags.NO_SCALE).horiAdvance / font.units_per_EM)


def _width(text: str, size: float) -> float:
    """In inches."""
    return sum(map(_advance, text)) * size / 72


def fitted(text: str, width: float, size: float, most: int) -> list[str]:
    """`text`, cleaned, in at most `most` lines of `width` inches at `size` points; what does not fit is cut off."""
    lines = [""]
    for word in clean(text, 1200).split():
        longer = f"{lines[-1]} {word}".strip()
        if _width(longer, size) <= width:
            lines[-1] = longer
            continue
        lines += [""] if lines[-1] else []
        for character in word:
            if _width(lines[-1] + character, size) > width and lines[-1]:
                lines.append("")
            lines[-1] += character
    if len(lines) <= most:
        return lines if lines != [""] else []
    last = lines[most - 1]
    while last and _width(f"{last}…", size) > width:
        last = last[:-1]
    return [*lines[: most - 1], f"{last}…"]
