"""Figures of a score table: ranks, agreement between methods, curves, and which methods differ.

As in `figures`, nothing here keeps state or touches pyplot, and text from outside is drawn as text. Colours are told
apart with every kind of colour vision, and no colour says what is not also written.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from xai_core.canvas import ACCENT, ALARM, FONT, GREY, INK, PALE, Canvas, clean
from xai_core.score_table import Cell, Column, Comparison, ScoreTable, number

NAME = 34  # letters of a method's or a metric's name
WRAP = 16  # letters of the small print in an inch
SLANT = 50  # degrees that column heads rise by
FAINT = "#f2f4f6"
HATCHED: Any = {"facecolor": "white", "edgecolor": PALE, "hatch": "/////", "linewidth": 0}
CONTROLS = "#d9dee3"
# Okabe and Ito, 2008, without the yellow that is lost on white: https://jfly.uni-koeln.de/color/
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (6, 1.5, 1.2, 1.5)), (0, (3, 3)))
ARROWS = {"higher": "↑", "lower": "↓", "": ""}
VERDICTS = {"supported": ACCENT, "weak": INK, "no evidence": GREY, "not valid for this model": ALARM}


def ranking(table: ScoreTable) -> Any:
    """A matplotlib Figure: the rank of every method by every metric, 1 the best and boxed; controls below a line.

    A control's cell says of how many methods its mean is better. Undefined is hatched.
    """
    rows, columns, methods = len(table.rows), len(table.columns), len(table.methods)
    wide, high, gap = 0.52, 0.27, 0.16 if table.controls and methods else 0.0
    names = [clean(row.label, NAME) for row in table.rows]
    heads = [clean(f"{column.label} {ARROWS[column.better]}", NAME + 12) for column in table.columns]
    last = [max((cell.rank for cells in table.cells if (cell := cells[j]).rank), default=1) for j in range(columns)]
    verdicts = any(row.verdict for row in table.rows)
    left = 0.5 + _width(names, 8)
    right = max(overhang(heads, 8, wide), 2.6 if verdicts else 0.3)
    width = max(6.2, left + columns * wide + right)
    foot = wrapped(
        [
            "1 is best, boxed; methods with equal scores share the mean of their places. "
            "↑ higher is better, ↓ lower is better, – no direction is better, so there is no rank. Hatched: undefined."
            + (" n: a mean over fewer pictures than the rivals', not ranked." if len(table.pictures) > 1 else "")
            + (
                " Below the line: of how many methods a control's mean is better. By faithfulness, randomisation and "
                "ground truth, a method that a control beats is not told from it."
                if table.controls
                else ""
            )
            + " Ranks say nothing of how far apart scores are: see the table."
        ],
        (width - 0.6) * WRAP,
    )
    top = 0.85 + rise(heads, 8)
    page = Canvas(width, top + rows * high + gap + 0.35 + 0.17 * len(foot))
    page.text(0.3, 0.36, f"Ranks: {_of(table)}", 12, bold=True)
    page.text(0.3, 0.56, _notice(table), 8, ALARM, bold=True)
    axes = page.axes(left, top, columns * wide, rows * high + gap)
    axes.set(xlim=(0, columns), ylim=(rows * high + gap, 0))
    axes.set_axis_off()
    for j, (column, head) in enumerate(zip(table.columns, heads, strict=True)):
        slanted(page, left + (j + 0.5) * wide, top - 0.07, head, INK if column.better else GREY)
        for i, row in enumerate(table.rows):
            y = i * high + (gap if row.is_control else 0)
            cell = table.cells[i][j]
            share = 0 if cell.rank is None or last[j] == 1 else (cell.rank - 1) / (last[j] - 1)
            _rank_cell(axes, j, y, high, cell, share, _instead(table, i, j))
    if gap:
        y = methods * high + gap / 2
        axes.plot([-left / wide + 0.6, columns], [y, y], color=INK, linewidth=0.9, clip_on=False)
    for i, (row, name) in enumerate(zip(table.rows, names, strict=True)):
        y = top + (i + 0.66) * high + (gap if row.is_control else 0)
        page.text(left - 0.1, y, name, 8, GREY if row.is_control else INK, align="right")
        if row.verdict and not row.is_control:
            colour = VERDICTS.get(row.verdict, INK)
            page.text(left + columns * wide + 0.1, y, clean(row.verdict, 44), 7.5, colour)
    page.lines(0.3, top + rows * high + gap + 0.3, foot, 7.5, 0.17, GREY)
    return page.figure


def agreement(table: ScoreTable) -> Any:
    """A matplotlib Figure: how alike the maps of any two methods are. Above the diagonal by rank correlation, below it
    by overlap.
    """
    found = table.agreement
    m, cell = len(found.names), 0.36
    labels = [clean(row.label, NAME) for row in table.rows]
    left, top = 0.4 + _width(labels, 7.5), 1.0 + rise(labels, 7.5)
    width = max(left + m * cell + overhang(labels, 7.5, cell), 6.6)
    foot = wrapped(
        [
            "Above the diagonal, orange: Spearman's rank correlation, −1 to 1; two unrelated maps have 0. Below it, "
            "blue: overlap, the intersection over union of the highest 10 % of pixels, 0 to 1; two unrelated maps have "
            f"about 0.05. {_mean_over(table)}Maps that agree may be wrong together. Hatched: undefined, since a flat "
            "map has no order."
            + (" Beyond the lines: controls, which know nothing of the model." * bool(found.controls))
        ],
        (width - 0.6) * WRAP,
    )
    page = Canvas(width, top + m * cell + 0.35 + 0.17 * len(foot))
    page.text(0.3, 0.36, f"Agreement: {_of(table)}", 12, bold=True)
    page.text(0.3, 0.56, _notice(table), 8, ALARM, bold=True)
    axes = page.axes(left, top, m * cell, m * cell)
    axes.set(xlim=(0, m), ylim=(m, 0))
    axes.set_axis_off()
    for i, label in enumerate(labels):
        colour = INK if i < m - found.controls else GREY
        slanted(page, left + (i + 0.5) * cell, top - 0.06, label, colour, 7.5)
        page.text(left - 0.08, top + (i + 0.62) * cell, label, 7.5, colour, align="right")
        for j in range(m):
            if i != j:
                value = found.correlation[i, j] if i < j else found.overlap[i, j]
                _alike(axes, i, j, float(value), *(("PuOr_r", -1) if i < j else ("Blues", 0)))
    if 0 < found.controls < m:
        for line in ([0, m], [m - found.controls] * 2), ([m - found.controls] * 2, [0, m]):
            axes.plot(*line, color=INK, linewidth=1.2, clip_on=False)
    page.lines(0.3, top + m * cell + 0.3, foot, 7.5, 0.17, GREY)
    return page.figure


def curves(table: ScoreTable, column: int) -> Any:
    """A matplotlib Figure: one metric's curves, as means over pictures. A line per method, a band for the controls.

    The lines are named in the order of their scores. Raises ValueError for a metric that draws no curve.
    """
    metric, down = table.columns[column], [cells[column] for cells in table.cells]
    drawn = {i: curve for i in range(len(table.rows)) if (curve := table.curve(i, column)) is not None}
    if not drawn:
        raise ValueError(f"{metric.name} draws no curve")
    sign = {"higher": -1, "lower": 1, "": 1}[metric.better]
    methods = sorted((i for i in drawn if not table.rows[i].is_control), key=lambda i: sign * (down[i].mean or 0))
    controls = [i for i in drawn if table.rows[i].is_control]
    page = Canvas(9.6, max(5.1, 1.9 + 0.19 * (len(methods) + 3)))
    page.text(0.3, 0.36, clean(f"{metric.label}: {_of(table)}", 90), 12, bold=True)
    page.text(0.3, 0.56, _notice(table), 8, ALARM, bold=True)
    axes = page.axes(0.85, 0.8, 4.9, min(5.0, page.height - 1.85))
    first = next(iter(drawn.values()))
    if controls:
        x = drawn[controls[0]].x
        each = np.array([np.interp(x, drawn[i].x, drawn[i].y) for i in controls])
        axes.fill_between(x, each.min(0), each.max(0), color=CONTROLS, linewidth=0, zorder=1)
    for place, i in enumerate(methods):
        colour, dashes = stroke(place)
        axes.plot(drawn[i].x, drawn[i].y, color=colour, linestyle=dashes, linewidth=1.5, zorder=3)
    plain_axes(axes, first.x_label, first.y_label)
    axes.set_xlim(float(first.x.min()), float(first.x.max()))
    direction = f"{metric.better} is better" if metric.better else "no direction is better"
    page.text(6.0, 0.9, f"Score, {direction}", 8, bold=True)
    for place, i in enumerate(methods):
        y = 1.1 + 0.19 * place
        colour, dashes = stroke(place)
        line_key(page, 6.0, y, colour, dashes)
        page.text(6.5, y, clean(table.rows[i].label, NAME), 7.8)
        page.text(9.35, y, "" if (mean := down[i].mean) is None else number(mean), 7.8, align="right")
    y = 1.1 + 0.19 * len(methods)
    if controls:
        line_key(page, 6.0, y, CONTROLS, "solid", 7)
        page.text(6.5, y, "controls, from the lowest to the highest:", 7.8, GREY)
        said = ", ".join(f"{table.rows[i].label} {'' if (v := down[i].mean) is None else number(v)}" for i in controls)
        page.lines(6.5, y + 0.17, [clean(line, 60) for line in textwrap.wrap(said, 50)][:3], 7.3, 0.15, GREY)
    undefined = [row.label for row, cell in zip(table.rows, down, strict=True) if cell.mean is None]
    foot = _mean_over(table)
    foot += "A line inside the band does no better than maps that know nothing of the model." if controls else ""
    foot += f" Undefined: {', '.join(undefined)}." if undefined else ""
    page.lines(0.3, page.height - 0.42, wrapped([foot], 150)[:3], 7.5, 0.15, GREY)
    return page.figure


def critical_difference(table: ScoreTable, column: int) -> Any:
    """A matplotlib Figure: the methods along their mean ranks by one metric; a bar joins those nothing tells apart.

    Demsar, 2006, figure 1. https://www.jmlr.org/papers/v7/demsar06a.html . Where the test cannot be asked, it says why.
    """
    one, metric = table.comparisons[column], table.columns[column]
    if one.result is None:
        page = Canvas(7.6, 1.3)
        page.text(0.3, 0.36, clean(f"Differences by {metric.label}", 80), 12, bold=True)
        page.lines(0.3, 0.7, wrapped([one.why], 115), 8.5, 0.17)
        return page.figure
    return _ranks_on_a_line(table, one, metric)


def _ranks_on_a_line(table: ScoreTable, one: Comparison, metric: Column) -> Any:
    result, m = one.result, len(one.methods)
    assert result is not None
    order = np.argsort(result.mean_ranks, kind="stable")
    half = (m + 1) // 2
    labels = {row.name: clean(row.label, NAME) for row in table.rows}
    bars, step = 0.13, 0.2
    top, line_y = 0.75, 1.32
    below = line_y + 0.16 + bars * len(result.cliques)
    foot = wrapped(_test_words(one), 128)
    page = Canvas(9.0, below + step * half + 0.35 + 0.17 * len(foot))
    page.text(0.3, 0.36, clean(f"Mean ranks by {metric.label}: {_of(table)}", 80), 12, bold=True)
    page.text(0.3, 0.56, _notice(table), 8, ALARM, bold=True)
    left, right = 2.75, 6.25
    scale = (right - left) / (m - 1)

    def at(rank: float) -> float:
        return left + (rank - 1) * scale

    axes = page.axes(0, 0, page.width, page.height)
    axes.set(xlim=(0, page.width), ylim=(page.height, 0))
    axes.set_axis_off()
    axes.plot([left, right], [line_y, line_y], color=INK, linewidth=1)
    for rank in range(1, m + 1):
        axes.plot([at(rank)] * 2, [line_y - 0.06, line_y], color=INK, linewidth=1)
        if m <= 16 or rank % 2:
            page.text(at(rank), line_y - 0.1, str(rank), 7.5, align="center")
    page.text(left - 0.14, line_y - 0.1, "best", 7.5, GREY, align="right")
    # The critical difference itself, to hold against the ranks; longer than the line where nothing could differ.
    reach = min(result.critical_difference, m - 1) * scale
    axes.plot([left, left + reach], [top + 0.12] * 2, color=ACCENT, linewidth=1.4)
    for x in (left, left + reach):
        axes.plot([x, x], [top + 0.08, top + 0.16], color=ACCENT, linewidth=1.4)
    page.text(left + reach + 0.08, top + 0.15, f"critical difference {result.critical_difference:.3g}", 7.5, ACCENT)
    for level, clique in enumerate(result.cliques):
        ends = [at(result.mean_ranks[i]) for i in (clique[0], clique[-1])]
        y = line_y + 0.12 + bars * level
        axes.plot([ends[0] - 0.03, ends[1] + 0.03], [y, y], color=INK, linewidth=3.2, solid_capstyle="butt")
    for place, i in enumerate(order.tolist()):
        on_left = place < half
        y = below + step * ((place if on_left else m - 1 - place) + 1)
        x, edge = at(result.mean_ranks[i]), left - 0.3 if on_left else right + 0.3
        axes.plot([x, x, edge], [line_y, y, y], color=GREY, linewidth=0.8)
        said = f"{labels[one.methods[i]]}  {result.mean_ranks[i]:.2f}"
        page.text(edge + (-0.06 if on_left else 0.06), y + 0.035, said, 7.5, align="right" if on_left else "left")
    page.lines(0.3, below + step * half + 0.42, foot, 7.5, 0.17, GREY)
    return page.figure


def _test_words(one: Comparison) -> list[str]:
    result = one.result
    assert result is not None
    assert one.p_adjusted is not None
    differs = (
        "the methods differ" if one.p_adjusted <= 0.05 else "no difference between any methods is shown: read no order"
    )
    return [
        f"Friedman test over {result.n} pictures: chi-squared {result.statistic:.3g}, p = {result.p:.2g}, "
        f"{one.p_adjusted:.2g} when corrected for the number of metrics tested; {differs}. A thick bar joins methods "
        "whose mean ranks are closer than the critical difference (Nemenyi, 5 % for all pairs together)."
        + (f" Left out, without a score: {', '.join(one.left_out)}." if one.left_out else "")
    ]


def _rank_cell(axes: Any, x: float, y: float, high: float, cell: Cell, share: float, said: str) -> None:
    """`share` of the methods ranked before this one, 0 to 1; `said` where there is no rank."""
    from matplotlib.patches import Rectangle

    words: Any = {"ha": "center", "va": "center_baseline", "fontfamily": FONT, "parse_math": False}
    if cell.mean is None:
        axes.add_patch(Rectangle((x, y), 1, high, **HATCHED))
    elif cell.rank is None:
        axes.add_patch(Rectangle((x, y), 1, high, facecolor=FAINT, edgecolor="white", linewidth=1))
        axes.text(x + 0.5, y + high / 2, said, color=GREY, fontsize=7, **words)
    else:
        bold = "bold" if cell.best else "normal"
        colour = "white" if share < 0.36 else INK
        axes.add_patch(Rectangle((x, y), 1, high, facecolor=_blue(share), edgecolor="white", linewidth=1))
        axes.text(x + 0.5, y + high / 2, f"{cell.rank:g}", color=colour, fontsize=8, fontweight=bold, **words)
        if cell.best:
            box = Rectangle((x + 0.05, y + 0.02), 0.9, high - 0.04, fill=False, edgecolor="#d55e00", linewidth=1.6)
            axes.add_patch(box)


def _instead(table: ScoreTable, i: int, j: int) -> str:
    """What stands in a cell that has no rank: for a control, how many methods it leaves behind."""
    row, column, cell = table.rows[i], table.columns[j], table.cells[i][j]
    sign = {"higher": 1, "lower": -1, "": 0}[column.better]
    if not sign or cell.mean is None:
        return "–"
    if not row.is_control:
        return f"n = {cell.n}"
    means = [cells[j].mean for cells in table.cells[: len(table.methods)]]
    return f"{sum(mean is not None and sign * cell.mean > sign * mean for mean in means)} of {len(means)}"


def _blue(share: float) -> tuple[float, float, float]:
    """Dark for 0, pale for 1: it also reads in grey."""
    dark, pale = np.array([8, 64, 129]), np.array([222, 235, 247])
    red, green, blue = (dark + (pale - dark) * share) / 255
    return float(red), float(green), float(blue)


def _alike(axes: Any, i: int, j: int, value: float, colour_map: str, low: float) -> None:
    """One number of the agreement matrix in its colour, hatched where it is undefined."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    if not np.isfinite(value):
        axes.add_patch(Rectangle((j, i), 1, 1, **HATCHED))
        return
    # Only the middle of a palette: its ends are too dark for numbers to stand out in one colour.
    colour = colormaps[colour_map](0.08 + 0.77 * (value - low) / (1 - low))
    light = 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2] > 0.45
    axes.add_patch(Rectangle((j, i), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.6))
    said = f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}").replace("0.", ".")
    words: Any = {"ha": "center", "va": "center_baseline", "fontfamily": FONT, "parse_math": False}
    axes.text(j + 0.5, i + 0.5, said, color=INK if light else "white", fontsize=6.5, **words)


def plain_axes(axes: Any, x_label: str, y_label: str) -> None:
    words: Any = {"fontsize": 8, "fontfamily": FONT, "color": INK, "parse_math": False}
    axes.set_xlabel(clean(x_label, 60), **words)
    axes.set_ylabel(clean(y_label, 60), **words)
    axes.tick_params(labelsize=7.5, length=2.5, width=0.6, color=GREY, labelcolor=INK, labelfontfamily=FONT)
    axes.grid(color="#e6e9ec", linewidth=0.6)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set(visible=name in ("left", "bottom"), edgecolor=PALE, linewidth=0.8)


def stroke(place: int) -> tuple[str, Any]:
    """Colour and dashes: other dashes once the colours are used up."""
    return COLOURS[place % len(COLOURS)], DASHES[place // len(COLOURS) % len(DASHES)]


def line_key(page: Canvas, x: float, y: float, colour: str, dashes: Any, thick: float = 1.8) -> None:
    """A piece of a line beside its name."""
    from matplotlib.lines import Line2D

    ends, height = [x / page.width, (x + 0.42) / page.width], 1 - (y - 0.035) / page.height
    page.figure.add_artist(
        Line2D(ends, [height] * 2, color=colour, linestyle=dashes, linewidth=thick, solid_capstyle="butt")
    )


def slanted(page: Canvas, x: float, y: float, text: str, colour: str, size: float = 8) -> None:
    """A column's head, that rises to the right from (x, y)."""
    page.figure.text(
        x / page.width, 1 - y / page.height, text, rotation=SLANT, rotation_mode="anchor", fontsize=size, color=colour,
        ha="left", va="center", fontfamily=FONT, parse_math=False,
    )  # fmt: skip


def _width(texts: Sequence[str], size: float) -> float:
    """About how many inches the longest takes."""
    return max((len(text) for text in texts), default=0) * size * 0.58 / 72


def rise(heads: Sequence[str], size: float) -> float:
    """How high slanted heads rise."""
    return math.sin(math.radians(SLANT)) * _width(heads, size)


def overhang(heads: Sequence[str], size: float, cell: float) -> float:
    """How far slanted heads reach beyond the last column, with a margin."""
    along = math.cos(math.radians(SLANT))
    return 0.3 + max(along * _width([head], size) - (len(heads) - i - 0.5) * cell for i, head in enumerate(heads))


def wrapped(texts: Sequence[str], width: float) -> list[str]:
    return [line for text in texts for line in textwrap.wrap(clean(text, 1200), max(40, int(width)))]


def _of(table: ScoreTable) -> str:
    targets = {str(e.target) for maps in table.maps for e in maps if e is not None}
    target = f", {targets.pop()}" if len(targets) == 1 else ""
    return clean(f"{table.model.get('name', 'model')}{target}, {_pictures(table)}", 80)


def _notice(table: ScoreTable) -> str:
    return clean(str(table.model.get("notice", "")), 90)


def _mean_over(table: ScoreTable) -> str:
    return "" if len(table.pictures) == 1 else f"Means over {_pictures(table)}. "


def _pictures(table: ScoreTable) -> str:
    return "one picture" if len(table.pictures) == 1 else f"{len(table.pictures)} pictures"
