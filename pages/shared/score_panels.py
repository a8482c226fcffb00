"""A score table on the page: the table itself, the charts, and what can be taken away."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

import xai_core as xai
from pages.shared import plots, takeaway, viewer
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.metric_menu import ARROWS

if TYPE_CHECKING:
    from pages.shared.state import Session
    from xai_core.records import Image, Prediction, Sheet
    from xai_core.score_table import Cell, Column, ScoreTable

SAVE = "Save scores"  # what the button says
BY = {False: "Rank correlation", True: "Overlap of the highest tenth"}
_scores = st.components.v2.component(
    "second_look.scores",
    html='<div class="scores"></div>',
    css=viewer.source("scores.css"),
    js=viewer.source("scores.js"),
)


def table(found: ScoreTable) -> None:
    """Methods by metrics: the best of each marked, controls below a line, undefined said as such."""
    _scores(key="scores", data=described(found))
    st.caption(
        f"{plain(averaged(found))} ★ best of the methods · † a control does as well or better · ↑ higher is better, "
        "↓ lower is better; without an arrow no direction is."
    )
    if ahead := _ahead(found):
        with st.expander("Which controls do as well or better (†)", icon=":material/warning:"):
            st.markdown(ahead)
            st.caption("In brackets the controls, which know nothing of the model.")
    if undefined := _undefined(found):
        with st.expander("Why scores are undefined", icon=":material/help:"):
            st.markdown(undefined)


def averaged(found: ScoreTable) -> str:
    """Over how many pictures the means are, and whether they have intervals; empty for one picture."""
    if len(found.pictures) == 1:
        return ""
    means = [cell for cells in found.cells for cell in cells if cell.mean is not None]
    bare = [cell for cell in means if cell.low is None]
    over = f"Means over {len(found.pictures)} pictures"
    if len(bare) < len(means):
        over += ", with 95 % bootstrap intervals"
    why = "; ".join(dict.fromkeys(cell.note for cell in bare))
    return f"{over}{', but not all' * (0 < len(bare) < len(means))}{f' ({why})' * bool(why)}."


def described(found: ScoreTable) -> dict[str, Any]:
    """The table as the browser gets it: every cell as text, with the reason where there is no number."""
    labels = {row.name: row.label for row in found.rows}
    over = "one picture" if len(found.pictures) == 1 else f"{len(found.pictures)} pictures"
    return {
        "spoken": f"Scores of {len(found.methods)} methods and {len(found.controls)} controls on {over}",
        "weighed": any(row.verdict for row in found.rows),
        "heads": [
            {
                "label": column.label + (f" ({column.unit})" if column.unit else ""),
                "arrow": ARROWS[column.better],
                "better": f"{column.better} is better",
                "summary": xai.METRICS[column.metric["name"]].summary(),
            }
            for column in found.columns
        ],
        "rows": [
            {
                "label": row.label,
                "control": row.is_control,
                "verdict": " ".join(filter(None, (viewer.VERDICTS.get(row.verdict, ("",))[0], row.verdict))),
                "colour": viewer.VERDICTS.get(row.verdict, ("", ""))[1],
                "cells": [_described(cell, labels) for cell in cells],
            }
            for row, cells in zip(found.rows, found.cells, strict=True)
        ],
        "nulls": [_null(column) for column in found.columns],
    }


def _described(cell: Cell, labels: Mapping[str, str]) -> dict[str, Any]:
    ahead = ", ".join(labels[name] for name in cell.controls_ahead)
    return {
        "text": str(cell),
        "best": cell.best,
        "behind": f"As good or better, and knowing nothing of the model: {ahead}" if ahead else "",
        "why": "; ".join(why for why, _ in cell.undefined) if cell.mean is None else "",
    }


def _null(column: Column) -> str:
    from xai_core.score_table import number

    return "differs" if column.null_differs else "" if column.null is None else number(column.null)


def _ahead(found: ScoreTable) -> str:
    """Metric by metric, methods and the controls that do as well or better, as a list; empty without any."""
    labels = {row.name: row.label for row in found.rows}
    lines = []
    for j, column in enumerate(found.columns):
        behind: dict[tuple[str, ...], list[str]] = {}  # methods with the same controls ahead stand together
        for row, cells in zip(found.rows, found.cells, strict=True):
            if ahead := cells[j].controls_ahead:
                behind.setdefault(tuple(labels[name] for name in ahead), []).append(row.label)
        said = "; ".join(f"{', '.join(rows)} ({', '.join(ahead)})" for ahead, rows in behind.items())
        lines += [f"- **{plain(column.label)}**: {plain(said)}"] if said else []
    return "\n".join(lines)


def _undefined(found: ScoreTable) -> str:
    """Why scores are undefined: each reason once, with the places where it holds, as a list; empty without any."""
    reasons: dict[str, dict[str, list[str]]] = {}
    for row, cells in zip(found.rows, found.cells, strict=True):
        for column, cell in zip(found.columns, cells, strict=True):
            for why, _ in cell.undefined:
                reasons.setdefault(why, {}).setdefault(column.label, []).append(row.label)
    lines = []
    for why, places in reasons.items():
        every = "; ".join(f"{metric}: {_all_or(rows, found)}" for metric, rows in places.items())
        lines.append(f"- {plain(why)} ({plain(every)})")
    return "\n".join(lines)


def _all_or(rows: Sequence[str], found: ScoreTable) -> str:
    return "all maps" if len(rows) == len(found.rows) else ", ".join(rows)


def charts(found: ScoreTable) -> None:
    """Curves, ranks and agreement."""
    drawn = plots.with_curves(found)
    if drawn:
        st.subheader("Curves", anchor=False)
        st.caption("A line inside the grey band does no better than the controls, which know nothing of the model.")
        columns = st.columns(2, gap="medium")
        for place, j in enumerate(drawn):
            with columns[place % 2]:
                one = found.columns[j]
                st.markdown(f"**{plain(one.label)}** {f'({one.better} is better)' if one.better else ''}")
                _chart(plots.curves(found, j), f"curves {one.name}", plots.curves_in_words(found, j))
    if any(rank is not None for row in found.ranks for rank in row):
        st.subheader("Ranks", anchor=False)
        st.caption("1 is best. Controls are not ranked. Ranks say nothing of how far apart scores are: see the table.")
        _chart(plots.ranking(found), "ranks", plots.ranking_in_words(found))
    if len(found.rows) > 1:
        st.subheader("Agreement between methods", anchor=False)
        by_overlap = st.radio("Alike by", list(BY), format_func=BY.__getitem__, horizontal=True, key="alike by")
        st.caption(
            "Of the tenth of the pixels that are highest, the share that two maps have in common; two unrelated maps "
            "have about 0.05. Maps that agree may be wrong together."
            if by_overlap
            else "1: the pixels are in the same order; 0: unrelated; −1: the opposite. Maps that agree may be wrong "
            "together."
        )
        alike = bool(by_overlap)
        _chart(plots.agreement(found, alike), "agreement", plots.agreement_in_words(found, alike))


def _chart(figure: Any, key: str, words: str) -> None:
    st.plotly_chart(figure, key=key, config={"displayModeBar": False}, alt=words)


def differences(found: ScoreTable) -> None:
    """Over several pictures: whether the methods differ, metric by metric."""
    from xai_core import charts as figures
    from xai_core.figures import png

    st.subheader("Do the methods differ?", anchor=False)
    shown = [j for j, one in enumerate(found.comparisons) if one.result is not None]
    for why in dict.fromkeys(one.why for one in found.comparisons if one.result is None):
        which = [column.label for column, one in zip(found.columns, found.comparisons, strict=True) if one.why == why]
        st.caption(plain(f"{', '.join(which)}: {why}"))
    if not shown:
        return
    j = st.selectbox("Metric", shown, format_func=lambda j: found.columns[j].label, key="differs by")
    one = found.comparisons[j]
    assert one.result is not None
    assert one.p_adjusted is not None
    verdict = "the methods differ" if one.p_adjusted <= 0.05 else "no difference is shown: read no order into the table"
    st.markdown(
        f"Friedman test over {one.result.n} pictures: p = {one.result.p:.2g}, {one.p_adjusted:.2g} when corrected for "
        f"the {len(shown)} metrics tested; **{verdict}**."
    )
    ranked = sorted(zip(one.result.mean_ranks, one.methods, strict=True))
    said = ", ".join(f"{method} {rank:.2f}" for rank, method in ranked)
    st.image(
        png(figures.critical_difference(found, j)),
        width=900,
        output_format="PNG",
        alt=f"Mean ranks by {found.columns[j].label}, best first: {said}. Two ranks that are closer than the critical "
        f"difference of {one.result.critical_difference:.2f} cannot be told apart.",
    )


# ---- what can be taken away ----------------------------------------------------------------------------------------


def download(found: ScoreTable) -> None:
    """Scores, curves, charts and maps. Bytes are made when they are asked for."""
    from xai_core import score_export

    maps = [takeaway.identity(e) for across in found.maps for e in across if e is not None]
    verdicts = [row.verdict for row in found.rows]
    mark = digest(maps=maps, metrics=[dict(column.metric) for column in found.columns], verdicts=verdicts)[:10]

    def offer(label: str, made: Callable[[], bytes | str], stem: str, ending: str, mime: str) -> None:
        takeaway.button(label, made, f"{stem}-{mark}.{ending}", mime)

    with st.popover("Download scores", icon=":material/download:"):
        st.caption("One line for every picture, method and metric. Charts have 150 dots per inch.")
        left, right = st.columns(2)
        with left:
            offer("Scores (CSV)", partial(score_export.scores_csv, found), "scores", "csv", "text/csv")
            parquet = "application/vnd.apache.parquet"
            offer("Scores (Parquet)", partial(score_export.scores_parquet, found), "scores", "parquet", parquet)
            offer("Scores (JSON)", partial(score_export.scores_json, found), "scores", "json", "application/json")
            offer("Curves (CSV)", partial(score_export.curves_csv, found), "curves", "csv", "text/csv")
            offer("Maps (.npy, zip)", partial(_maps, found), "maps", "zip", "application/zip")
        with right:
            for name in ("ranking", "agreement"):
                offer(f"{name.capitalize()} (PNG)", partial(_figure, found, name), name, "png", "image/png")
            for j in plots.with_curves(found):
                column = found.columns[j]
                made = partial(_figure, found, "curves", j)
                offer(f"{column.label} (PNG)", made, f"curves-{column.metric['name']}", "png", "image/png")
            for j, one in enumerate(found.comparisons):
                if one.result is not None:
                    made = partial(_figure, found, "critical_difference", j)
                    name = f"critical-difference-{takeaway.stem(one.metric)}"
                    offer(f"Critical difference: {found.columns[j].label} (PNG)", made, name, "png", "image/png")


def save(
    visitor: Session,
    found: ScoreTable,
    said: Prediction,
    masks: Mapping[str, Image],
    left_out: Sequence[str] = (),
) -> None:
    """Write a record of the table that anybody can reopen and verify. `masks` mark the evidence, by sha256."""

    def made(wished: takeaway.Wished) -> Sheet:
        from xai_core.score_record import sheet_of

        return sheet_of(
            found,
            predictions={said.image: said},
            masks=masks,
            left_out=left_out,
            note=wished.note,
            reviewer=wished.reviewer,
        )

    kept = "Keeps every score, verdict and setting, what the table comes to, and the hash of every map and picture."
    takeaway.save_record(visitor, made, kept, SAVE, "scores")


def _figure(found: ScoreTable, name: str, *which: int) -> bytes:
    from xai_core import charts as figures
    from xai_core.figures import png

    return png(getattr(figures, name)(found, *which))


def _maps(found: ScoreTable) -> bytes:
    """Every map as raw float32, with a name that tells picture and method."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for row, across in zip(found.rows, found.maps, strict=True):
            for picture, e in enumerate(across, 1):
                if e is not None:
                    name = f"picture-{picture}/{takeaway.stem(row.name)}.npy"
                    archive.writestr(zipfile.ZipInfo(name), takeaway.values(e))
    return out.getvalue()
