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
    figure.update_layout(
        height=300 + 22 * len(drawn),
        margin=MARGIN,
        xaxis_title=first.x_label,
        yaxis_title=first.y_label,
        legend={"orientation": "h", "y": -0.28, "yanchor": "top", "traceorder": "normal"},
    )
    return figure


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


def agreement(table: ScoreTable, by_overlap: bool) -> Any:
    """How alike the maps of any two methods are, controls included."""
    found = table.agreement
    values = found.overlap if by_overlap else found.correlation
    said = [["" if np.isnan(one) else f"{one:.2f}" for one in row] for row in values]
    labels = [row.label for row in table.rows]
    figure = _matrix(labels, labels, values, said, *(("Blues", (0, 1)) if by_overlap else ("PuOr_r", (-1, 1))))
    word = "overlap" if by_overlap else "rank correlation"
    figure.update_traces(hovertemplate=f"%{{y}} and %{{x}}: {word} %{{z:.3f}}<extra></extra>")
    return figure


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


def _short(label: str) -> str:
    """Text, never a tag: plotly reads some markup."""
    text = label.replace("&", "&amp;").replace("<", "&lt;")
    return text if len(text) <= 28 else f"{text[:27]}…"


def _plotly() -> Any:
    import pandas  # noqa: F401  # plotly breaks on one that another thread has half imported
    import plotly.graph_objects as go

    return go
