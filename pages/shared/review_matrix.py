"""Confusion matrices to click in."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from pages.shared import errors, review_filters, state
from pages.shared.errors import plain
from pages.shared.plots import MARGIN
from pages.shared.review_cases import Cases
from pages.shared.state import Session
from xai_core.classification import Confusion

CELL, SMALL = 40, 24  # pixels of a cell, and of one among many
HEAD, SIDE, SLANT = 92, 132, 84  # pixels above a matrix, left of it, and right of it for the last slanted name
FEW, BESIDE = 8, 10  # classes that are drawn large, and that leave room for another matrix beside them
RIGHT, WRONG = [[0, "#d9e7f4"], [1, "#0b62b0"]], [[0, "#fbe3d2"], [1, "#b2480a"]]
STRONG = 0.55  # share of a row from which its cell is so dark that it takes white text


def matrices(visitor: Session, cases: Cases) -> None:
    """A confusion matrix of each model; a click on a cell leaves its cases."""
    if not cases.labelled:
        return
    with st.expander(
        "Confusion matrices", icon=":material/grid_on:", expanded=True, on_change="rerun", key="matrices"
    ) as part:
        if not part.open:
            return
        st.caption("Click a cell to see its cases. Rows are true classes, columns what the model said.")
        beside = len(cases.models) > 1 and len(cases.confusion(cases.models[0])[0].columns) <= BESIDE
        places = st.columns(len(cases.models)) if beside else [st.container() for _ in cases.models]
        for model, place in zip(cases.models, places, strict=True):
            found, left_out = cases.confusion(model)
            with place:
                st.markdown(f"**{plain(model)}**")
                if left_out:
                    st.caption(
                        f"The {len(found.columns)} classes with the most mistakes; {left_out} others are left out."
                    )
                _matrix(visitor, model, found)


def _matrix(visitor: Session, model: str, found: Confusion) -> None:
    key = f"matrix {visitor.reviewing.given} {model}"

    @errors.kept
    def clicked() -> None:
        points = (state.value(key) or {}).get("selection", {}).get("points", [])
        if points:
            row, column = points[0]["customdata"][:2]
            review_filters.change(visitor, model=model, truths=(str(row),), said=(str(column),), case="")

    st.plotly_chart(
        figure(found), key=key, on_select=clicked, selection_mode="points", width="content",
        config={"displayModeBar": False}, alt=in_words(found, model),
    )  # fmt: skip


def figure(found: Confusion) -> Any:
    """The counts of a matrix: right ones in blue, wrong ones in orange, each by its share of the row."""
    import pandas  # noqa: F401  # plotly breaks on one that another thread has half imported
    import plotly.graph_objects as go

    shares = found.counts / np.maximum(found.counts.sum(axis=1, keepdims=True), 1)
    right = np.array([[row == column for column in found.columns] for row in found.rows])
    drawn, cell = go.Figure(), CELL if len(found.columns) <= FEW else SMALL
    rows, columns = list(range(len(found.rows))), list(range(len(found.columns)))
    for colours, here in ((RIGHT, right), (WRONG, ~right)):
        drawn.add_heatmap(
            x=columns, y=rows, z=np.where(here & (found.counts > 0), shares, np.nan), zmin=0, zmax=1,
            colorscale=colours, showscale=False, xgap=2, ygap=2, hoverinfo="skip",
        )  # fmt: skip
    cells = [(i, j) for i in rows for j in columns if found.counts[i, j]]  # to click on; a heatmap cannot be
    drawn.add_scatter(
        x=[j for _, j in cells],
        y=[i for i, _ in cells],
        mode="markers+text",
        text=[f"{found.counts[i, j]:,}" for i, j in cells],
        textfont={
            "size": 13 if cell == CELL else 10,
            "color": ["#ffffff" if shares[i, j] > STRONG else "#0c151d" for i, j in cells],
        },
        marker={"symbol": "square", "size": cell - 2, "color": "rgba(0, 0, 0, 0.004)", "line": {"width": 0}},
        unselected={"marker": {"opacity": 1}},
        customdata=[[found.rows[i], found.columns[j], _text(found.rows[i]), _text(found.columns[j])] for i, j in cells],
        hovertemplate="true: %{customdata[2]}<br>predicted: %{customdata[3]}<br>%{text} cases<extra></extra>",
        showlegend=False,
    )
    wide, tall = cell * len(columns), cell * len(rows)
    drawn.update_layout(
        width=SIDE + wide + SLANT, height=HEAD + tall, margin={**MARGIN, "l": SIDE, "r": SLANT, "t": HEAD - 4},
        dragmode=False, clickmode="event+select",
    )  # fmt: skip
    ticks = {"showgrid": False, "zeroline": False, "fixedrange": True}
    drawn.update_xaxes(
        side="top", tickangle=-40, tickvals=columns, ticktext=[_text(one) for one in found.columns],
        range=[-0.5, len(columns) - 0.5], **ticks,
    )  # fmt: skip
    drawn.update_yaxes(
        tickvals=rows, ticktext=[_text(one) for one in found.rows], range=[len(rows) - 0.5, -0.5], **ticks
    )
    return drawn


def in_words(found: Confusion, model: str) -> str:
    """What a matrix shows, for those who do not see it: the commonest mistakes."""
    wrong = [
        (int(found.counts[i, j]), row, column)
        for i, row in enumerate(found.rows)
        for j, column in enumerate(found.columns)
        if row != column and found.counts[i, j]
    ]
    said = [f"{row} called {column} {n} times" for n, row, column in sorted(wrong, reverse=True)[:5]]
    return f"Confusion matrix of {model}: {'; '.join(said) or 'no mistakes'}."


def _text(label: str) -> str:
    """Text, never a tag: plotly reads some markup."""
    short = label if len(label) <= 18 else f"{label[:17]}…"
    return short.replace("&", "&amp;").replace("<", "&lt;")
