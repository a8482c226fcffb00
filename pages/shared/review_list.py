"""The cases of a run as a list: headline numbers, a table or a gallery."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from pages.shared import cached, errors, state, viewer
from pages.shared.answers import some
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.review_cases import VERDICTS, Cases
from pages.shared.state import Session
from xai_core.decisions import Decision
from xai_core.records import Image
from xai_core.statistics import share_of

SIDE = 112  # pixels of a thumbnail
_cards = st.components.v2.component(
    "second_look.cards", html='<div class="cards" role="group"></div>', css=viewer.source("cards.css"),
    js=viewer.source("cards.js"),
)  # fmt: skip


def headline(cases: Cases) -> None:
    """How good each model is on this set, and how many cases went wrong."""
    if not cases.labelled:
        st.info(
            "Nobody said what these pictures show, so nothing is right or wrong here. Sort by confidence, or look for "
            "cases where models disagree.",
            icon=":material/label_off:",
        )
    with st.container(horizontal=True, key="headline"):
        for model in cases.models if cases.labelled else []:
            right = cases.column(model, "right")
            share = share_of(right[~np.isnan(right)] == 1)
            if share.mean is None:
                continue
            st.metric(
                f"Accuracy of {plain(model)}", f"{share.mean:.1%}", border=True, width="stretch", delta_color="off",
                delta=f"{share.low:.1%} to {share.high:.1%} · {int(cases.wrong(model).sum()):,} of {share.n:,} wrong",
                delta_arrow="off", help="With its 95 % interval (Wilson) over pictures.",
            )  # fmt: skip
        if len(cases.models) > 1:
            st.metric(
                "Models disagree", f"{int(cases.disagree().sum()):,}", border=True, width="stretch",
                delta=f"of {len(cases):,} cases", delta_color="off", delta_arrow="off",
            )  # fmt: skip


def begin(visitor: Session, order: Sequence[str]) -> None:
    """Say how many cases the filters leave, and offer to go through them."""

    @errors.kept
    def go() -> None:
        open_case(visitor, order[0])

    with st.container(horizontal=True, vertical_alignment="center", key="begin"):
        st.button(
            f"Review {some(len(order), 'case')}",
            key="begin review",
            type="primary",
            icon=":material/play_arrow:",
            on_click=go,
            disabled=not order,
        )


def one_page(visitor: Session, order: Sequence[str]) -> Sequence[str]:
    """The cases of the page that is looked at, with the numbers of the others where there are any."""
    view = visitor.reviewing.view
    pages = max(1, -(-len(order) // view.per_page))
    if pages == 1:
        return order
    key = f"page of {pages} {visitor.reviewing.given}"
    if (state.value(key) or 1) != min(view.page, pages):
        state.put(key, min(view.page, pages))

    @errors.kept
    def turn() -> None:
        visitor.reviewing.view = replace(visitor.reviewing.view, page=int(state.value(key) or 1))

    page = st.pagination(pages, key=key, on_change=turn)
    return order[(page - 1) * view.per_page : page * view.per_page]


def table(visitor: Session, cases: Cases, order: Sequence[str], decided: Mapping[str, Decision]) -> None:
    """One page of the cases as a table; a click on a row opens its case."""
    # A table whose rows are replaced loses the next click, so each list is a table of its own.
    key = f"cases {visitor.reviewing.opened} {digest(order=list(order))[:12]}"

    @errors.kept
    def clicked() -> None:
        cells = (state.value(key) or {}).get("selection", {}).get("cells", [])
        if cells:
            open_case(visitor, order[int(cells[0][0])])

    lines, widths = _lines(cases, order, visitor, decided)
    st.dataframe(
        lines, key=key, on_select=clicked, selection_mode="single-cell", hide_index=True, row_height=56,
        height=min(760, 38 + 56 * len(order)), placeholder="", column_config=widths,
    )  # fmt: skip
    st.caption("Click a row to open its case.")


def _lines(cases: Cases, order: Sequence[str], visitor: Session, decided: Mapping[str, Decision]) -> tuple[Any, Any]:
    import pandas as pd

    view, pictures = visitor.reviewing.view, thumbnails(cases, order)
    places = [cases.places[one] for one in order]
    columns: dict[str, Any] = {
        "Picture": [pictures.get(one, "") for one in order],
        "File": [cases.files[i] for i in places],
    }
    if cases.labelled:
        columns["True class"] = [cases.truths[i] for i in places]
    several = len(cases.models) > 1
    widths: dict[str, Any] = {
        "Picture": st.column_config.ImageColumn(width=70),
        "File": st.column_config.TextColumn(width=170),
    }
    for model in cases.models:
        whose = f" · {model}" if several else ""
        right = cases.column(model, "right")[places]
        signs = ["✓ " if one == 1 else "✗ " if one == 0 else "" for one in right]
        said = cases.column(model, "predicted")[places]
        columns[f"Predicted{whose}"] = [f"{sign}{one}" for sign, one in zip(signs, said, strict=True)]
        columns[f"Confidence{whose}"] = cases.column(model, "confidence")[places]
        widths[f"Confidence{whose}"] = st.column_config.ProgressColumn(
            format="percent", min_value=0, max_value=1, width=110
        )
    if cases.labelled:
        columns["Loss"] = cases.column(view.model, "loss")[places]
        widths["Loss"] = st.column_config.NumberColumn(format="%.2f", width=60)
    if view.method:
        verdicts, shares = cases.judged(view.model, view.method)
        if not np.isnan(verdicts).all():
            columns["Evidence"] = [verdict_words(verdicts[i]) for i in places]
        if not np.isnan(shares).all():
            columns["Border share"] = shares[places]
            widths["Border share"] = st.column_config.NumberColumn(format="percent", width=90)
    columns["Decision"] = [decision_words(decided.get(one)) for one in order]
    return pd.DataFrame(columns), widths


def gallery(visitor: Session, cases: Cases, order: Sequence[str], decided: Mapping[str, Decision]) -> None:
    """One page of the cases as thumbnails."""
    view = visitor.reviewing.view
    said, sure, right = (cases.column(view.model, name) for name in ("predicted", "confidence", "right"))

    def words(picture: str) -> list[str]:
        i = cases.places[picture]
        sign = "✓ " if right[i] == 1 else "✗ " if right[i] == 0 else ""
        truth = [f"true: {cases.truths[i]}"] if right[i] == 0 else []
        return [f"{sign}{said[i]}", f"{sure[i]:.0%} confident", *truth]

    cards(visitor, cases, order, "The cases", "gallery", words, decided)


def cards(
    visitor: Session,
    cases: Cases,
    order: Sequence[str],
    title: str,
    key: str,
    words: Callable[[str], list[str]],
    decided: Mapping[str, Decision],
    *,
    strip: bool = False,
) -> None:
    """Cards that open cases when they are clicked. `words(picture)` gives the lines below a thumbnail."""
    pictures = thumbnails(cases, order)
    items = [
        {
            "key": one,
            "picture": pictures.get(one, ""),
            "title": cases.files[cases.places[one]],
            "lines": words(one),
            "mark": decision_words(decided.get(one), short=True),
        }
        for one in order
    ]

    @errors.kept
    def picked() -> None:
        picture = (state.value(key) or {}).get("picked")
        if picture in cases.places:
            open_case(visitor, str(picture))

    data = {"items": items, "title": title, "chosen": visitor.reviewing.view.case, "strip": strip}
    _cards(key=key, data=data, on_picked_change=picked)


def open_case(visitor: Session, picture: str) -> None:
    """Look at one case; an empty name goes back to the list."""
    reviewing = visitor.reviewing
    reviewing.view = replace(reviewing.view, case=picture)
    reviewing.opened += 1


def thumbnails(cases: Cases, order: Sequence[str]) -> dict[str, str]:
    """Thumbnails of these pictures as data addresses, each made once for everybody. Those that are not stored lack."""
    drawn: dict[str, str] = cached.shared(
        digest(thumbnails=str(cases.run.folder), started=cases.run.facts["started"]), dict
    )
    missing = [one for one in order if one not in drawn]
    if missing:
        from pages.shared.samples import thumbnail

        keys = {cases.run.prediction_key(one, cases.models[0]): one for one in missing}
        for key, unit in cases.run.store.get(list(keys)).items():
            small = thumbnail(Image(unit.arrays["seen"], keys[key]), SIDE)
            drawn[keys[key]] = f"data:image/jpeg;base64,{base64.b64encode(small).decode('ascii')}"
    return {one: drawn[one] for one in order if one in drawn}


def verdict_words(place: float) -> str:
    """A verdict with its sign, never by colour alone."""
    if np.isnan(place):
        return ""
    verdict = VERDICTS[int(place)]
    return f"{viewer.VERDICTS[verdict][0]} {verdict}"


def decision_words(one: Decision | None, short: bool = False) -> str:
    """A decision in a few words."""
    if one is None:
        return ""
    flag = "⚑" if one.flag else ""
    if short:
        return f"{flag} {one.reason}".strip() or "✓"
    return " · ".join(filter(None, [f"{flag} {one.reason} {one.words}".strip(), one.note])) or "✓ nothing to note"
