"""A score table as charts to point at. The figures that are taken away are those of `xai_core.charts`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from xai_core.score_table import ScoreTable

DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
RANKS = [[0, "#08519c"], [0.25, "#9ecae1"], [1, "#f7fbff"]]  # so that numbers stand out on every one of them
MARGIN = {"l": 0, "r": 0, "t": 8, "b": 0}
ROW, HEAD = 34, 150  # pixels of a chart's row, and of what stands above or below it
PLOT, AXIS, NAMED = 250, 64, 20  # pixels of the lines' own field, of the axis below it, and of each line's name


def with_curves(table: ScoreTable) -> list[int]:
    """The columns whose metric draws a curve."""
    rows, columns = range(len(table.rows)), range(len(table.columns))
    return [j for j in columns if any(table.curve(i, j) is not None for i in rows)]


def curves(table: ScoreTable, column: int) -> Any:
    """One metric's curves: a line per method, and a band that holds all controls."""
    from xai_core.charts import COLOURS

    figure = _plotly().Figure()
    drawn = {i: curve for i in range(len(table.rows)) if (curve := table.curve(i, column)) is not None}
    controls = [np.asarray(curve.y) for i, curve in drawn.items() if table.rows[i].is_control]
    first = next(iter(drawn.values()))
    if controls:
        low, high = np.min(controls, axis=0), np.max(controls, axis=0)
        edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
        figure.add_scatter(x=first.x, y=low, showlegend=False, **edge)
        band = {"fill": "tonexty", "fillcolor": "rgba(128, 138, 148, 0.35)"}
        figure.add_scatter(x=first.x, y=high, name="controls", **edge, **band)
    methods = [i for i in drawn if not table.rows[i].is_control]
    for place, i in enumerate(methods):
        # black, the last of the colours, is not to be seen on a dark page
        colours = COLOURS[:-1]
        dash = DASHES[place // len(colours) % len(DASHES)]
        figure.add_scatter(
            x=drawn[i].x,
            y=drawn[i].y,
            mode="lines",
            name=_short(table.rows[i].label),
            line={"color": colours[place % len(colours)], "dash": dash, "width": 2},
            hovertemplate="%{y:.3f} at %{x:.2f}",
        )
    # Names under one another fit on the narrowest screen, and what they need is known beforehand.
    named = NAMED * (len(methods) + bool(controls)) + 8
    figure.update_layout(
        height=PLOT + AXIS + named,
        margin={**MARGIN, "r": 10, "b": AXIS + named},  # on the right half of the last number must fit
        xaxis_title=first.x_label,
        yaxis_title=first.y_label,
        showlegend=True,
        legend={"orientation": "v", "traceorder": "normal", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
    )
    return figure


def curves_in_words(table: ScoreTable, column: int) -> str:
    """What the chart of curves shows, for those who do not see it."""
    one = table.columns[column]
    curve = {i: found for i in range(len(table.rows)) if (found := table.curve(i, column)) is not None}
    first = next(iter(curve.values()))
    said = [f"{table.rows[i].label} {table.cells[i][column]}" for i in curve if not table.rows[i].is_control]
    band = ", beside a band that holds all controls" if any(table.rows[i].is_control for i in curve) else ""
    scores = f"; scores{f', {one.better} is better' if one.better else ''}: {', '.join(said)}" if said else ""
    return f"{one.label}: {first.y_label} by {first.x_label}, one line per method{band}{scores}."


def ranking(table: ScoreTable) -> Any:
    """Methods by metrics: the rank of each, 1 the best. What cannot be ranked stays empty."""
    from xai_core.charts import ARROWS

    places = [[np.nan if rank is None else rank for rank in row] for row in table.ranks]
    said = [["" if rank is None else f"{rank:g}" for rank in row] for row in table.ranks]
    values = [[str(cell) for cell in cells] for cells in table.cells]
    heads = [f"{column.label} {ARROWS[column.better]}".strip() for column in table.columns]
    figure = _matrix(heads, [row.label for row in table.methods], places, said, RANKS, (1, max(2, len(places))))
    figure.update_traces(customdata=values, hovertemplate="%{y}, %{x}: rank %{z}, score %{customdata}<extra></extra>")
    return figure


def ranking_in_words(table: ScoreTable) -> str:
    """What the chart of ranks shows, for those who do not see it."""
    said = []
    for j, column in enumerate(table.columns):
        ranked = sorted((ranks[j], i) for i, ranks in enumerate(table.ranks) if ranks[j] is not None)
        if ranked:
            said.append(f"{column.label}: {', '.join(f'{table.methods[i].label} {rank:g}' for rank, i in ranked)}")
    return f"Ranks of the methods, 1 the best, by {'; by '.join(said)}."


def agreement(table: ScoreTable, by_overlap: bool) -> Any:
    """How alike the maps of any two methods are, controls included."""
    found = table.agreement
    values = found.overlap if by_overlap else found.correlation
    said = [["" if np.isnan(one) else _two_digits(one) for one in row] for row in values]
    labels = [row.label for row in table.rows]
    figure = _matrix(labels, labels, values, said, *(("Blues", (0, 1)) if by_overlap else ("PuOr_r", (-1, 1))))
    word = "overlap" if by_overlap else "rank correlation"
    figure.update_traces(hovertemplate=f"%{{y}} and %{{x}}: {word} %{{z:.3f}}<extra></extra>")
    return figure


def agreement_in_words(table: ScoreTable, by_overlap: bool) -> str:
    """What the chart of agreement shows, for those who do not see it."""
    found, labels = table.agreement, [row.label for row in table.rows]
    values = found.overlap if by_overlap else found.correlation
    pairs = [(i, j) for i in range(len(labels)) for j in range(i) if np.isfinite(values[i, j])]
    word = "Overlap of the highest tenth" if by_overlap else "Rank correlation"
    over = f"{word} between the maps of any two of {len(labels)} methods and controls"
    if not pairs:
        return f"{over}: undefined for all."

    def said(i: int, j: int) -> str:
        return f"{labels[j]} and {labels[i]} ({_two_digits(values[i, j])})"

    pairs.sort(key=lambda pair: -values[pair])
    return f"{over}: {said(*pairs[0])} are the most alike, {said(*pairs[-1])} the least."


def _matrix(
    across: Sequence[str], down: Sequence[str], values: Any, said: Any, colours: Any, ends: tuple[float, float]
) -> Any:
    figure = _plotly().Figure()
    figure.add_heatmap(
        x=[_short(one) for one in across],
        y=[_short(one) for one in down],
        z=values,
        text=said,
        texttemplate="%{text}",
        colorscale=colours,
        zmin=ends[0],
        zmax=ends[1],
        showscale=False,
        xgap=2,
        ygap=2,
    )
    figure.update_layout(height=HEAD + ROW * len(down), margin=MARGIN)
    figure.update_xaxes(side="top", tickangle=-40, showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def _two_digits(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")  # nothing is −0.00


def _short(label: str) -> str:
    """Text, never a tag: plotly reads some markup."""
    text = label.replace("&", "&amp;").replace("<", "&lt;")
    return text if len(text) <= 28 else f"{text[:27]}…"


def _plotly() -> Any:
    import pandas  # noqa: F401  # plotly breaks on one that another thread has half imported
    import plotly.graph_objects as go

    return go
