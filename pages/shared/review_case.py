"""One case: what the models said, where they looked, what that was measured as, and others that went the same way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from pages.shared import (
    cached,
    errors,
    review_decide,
    review_filters,
    review_list,
    review_maps,
    state,
    takeaway,
    viewer,
    watch,
)
from pages.shared.answers import some
from pages.shared.errors import plain
from pages.shared.panels import flat_maps
from pages.shared.review_cases import Cases
from pages.shared.state import Session
from xai_core.decisions import Decision, Decisions

VIEWER = "reviewed"
SHOWN_CLASSES = 5
NEIGHBOURS = 12
CLOSE = "Back to the list"


def draw(
    visitor: Session,
    cases: Cases,
    order: Sequence[str],
    book: Decisions,
    reviewer: str,
    decided: Mapping[str, Decision],
) -> None:
    """Draw the open case."""
    case = visitor.reviewing.view.case
    _steps(visitor, order)
    _heading(cases, case)
    review_decide.progress(cases.due(visitor.reviewing.view), decided)
    review_decide.keys(visitor, cases, order, book, reviewer, decided)
    predictions(cases, case)
    with st.container(key="maps of the case"):
        if state.value(review_decide.HIDE) and not (reviewer and case in decided):
            st.info("The maps are hidden until you have decided on this case.", icon=":material/visibility_off:")
            picture(cases, case)
        else:
            _maps(visitor, cases, book, case)
    scores(cases, case)
    _neighbours(visitor, cases, decided, case)


def _steps(visitor: Session, order: Sequence[str]) -> None:
    case = visitor.reviewing.view.case
    place = order.index(case) if case in order else 0

    @errors.kept
    def go(by: int) -> None:
        review_decide.step(visitor, order, by)

    @errors.kept
    def close() -> None:
        review_list.open_case(visitor, "")

    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="review steps"):
        st.button(CLOSE, key="close case", shortcut="Escape", icon=":material/list:", on_click=close)
        st.button("Previous", key="previous case", shortcut="Left", on_click=go, args=(-1,), disabled=place == 0)
        st.button("Next", key="next case", shortcut="Right", on_click=go, args=(1,), disabled=place >= len(order) - 1)
        words = review_filters.in_words(visitor.reviewing.view)
        st.caption(plain(f"{place + 1:,} of {len(order):,}{f': {words}' if words else ''}"))


def _heading(cases: Cases, case: str) -> None:
    place = cases.places[case]
    truth = cases.truths[place]
    shown = f" &nbsp;·&nbsp; true class: {plain(truth)}" if truth is not None else ""
    st.markdown(f"### {plain(cases.files[place])}{shown}")
    facts = [f"{name.replace('_', ' ')}: {values[place]}" for name, values in cases.groups.items() if values[place]]
    st.caption(plain(" · ".join([*facts, f"sha256 {case[:12]}"])))


def predictions(cases: Cases, case: str) -> None:
    """What every model said: the likeliest classes, beside one another."""
    truth = cases.truths[cases.places[case]]
    rows = cases.probabilities[case]
    for model, column in zip(cases.models, st.columns(len(cases.models)), strict=True):
        with column:
            here = rows[rows["model"] == model]
            if not len(here):
                continue
            row, labels = here.iloc[0], cases.run.labels(model)
            sign = {1.0: ":green[✓ right]", 0.0: ":red[**✗ wrong**]"}.get(
                float(cases.column(model, "right")[cases.places[case]]), ""
            )
            st.markdown(f"**{plain(model)}**: {plain(row['predicted'])} {sign}")
            shares = np.asarray(row["probabilities"], np.float64)
            if len(shares) != len(labels):
                continue
            shown = [int(i) for i in np.argsort(-shares, kind="stable")[:SHOWN_CLASSES]]
            if truth in labels and labels.index(str(truth)) not in shown:
                shown.append(labels.index(str(truth)))
            st.caption(" · ".join(f"{_marked(labels[i], truth)} **{shares[i]:.1%}**" for i in shown))


def _marked(label: str, truth: str | None) -> str:
    return f"{plain(label)} (true class)" if label == truth else plain(label)


def picture(cases: Cases, case: str) -> None:
    """What the first model saw, alone."""
    from xai_core import figures

    seen = cases.run.seen(case, cases.models[0])
    st.image(figures.png(seen), width=320, alt=f"What {cases.models[0]} saw of {cases.files[cases.places[case]]}")


def _maps(visitor: Session, cases: Cases, book: Decisions, case: str) -> None:
    with st.spinner("Loading the libraries (once, some seconds)"):
        cached.load_core()
    methods = review_filters.shown_methods(cases, visitor.reviewing.view)
    found = review_maps.stored(cases, case, methods, book.maps(case))
    maps, evidence = list(found.maps), list(found.evidence)

    @errors.kept
    def looked() -> None:
        state.look(VIEWER, (state.value(VIEWER) or {}).get("looks"))

    @st.fragment
    def drawn() -> None:
        with errors.shown_here():
            flat_maps(maps)
            viewer.maps(maps, VIEWER, visitor.looks[VIEWER], visitor.looks_given, looked, evidence=evidence)
            with st.container(horizontal=True, key="review take-away"):
                takeaway.download(maps, list(found.said), visitor.looks[VIEWER], evidence)

    if maps:
        drawn()
    elif found.said:
        st.info("The run has no map of this case.", icon=":material/image_not_supported:")
        picture(cases, case)
    else:
        st.warning("The store of this run does not hold this case. Run the audit again: it computes what is missing.")
    _more(visitor, cases, case)


def _more(visitor: Session, cases: Cases, case: str) -> None:
    """Another method on demand; its maps stay with the run."""
    made = visitor.made
    if (job := made.job) is not None:
        made.settle(job.due)
    if (job := made.job) is not None:
        watch.progress(
            job, lambda: f"{job.stage} · {job.done:,} of {job.total:,} passes", lambda: None, "cancel making"
        )
        return
    if made.stopped_why:
        st.error(plain(made.stopped_why), icon=":material/error:")

    @errors.kept
    def begin() -> None:
        made.stopped, made.stopped_why = frozenset(), ""
        visitor.reviewing.wanted = str(state.value("another method"))

    with st.popover("Make another map", icon=":material/add_photo_alternate:"):
        import xai_core as xai

        image = review_maps.original(visitor, cases, case)
        if image is None:
            _find(visitor, cases, case)
            return
        names = review_maps.others(cases.run)
        st.selectbox("Method", names, format_func=lambda name: xai.METHODS[name].label, key="another method")
        st.button("Make it", key="make", type="primary", icon=":material/play_arrow:", on_click=begin)
        st.caption(
            f"For {some(len(cases.models), 'model')}, with the usual settings and the seed of the run. It is kept."
        )
    if name := visitor.reviewing.wanted:
        visitor.reviewing.wanted = ""
        review_maps.make(visitor, cases, case, image, name)
        st.rerun()


def _find(visitor: Session, cases: Cases, case: str) -> None:
    st.caption("A run keeps what the models saw, not the pictures. Drop the file of this case to explain it further.")
    given = st.file_uploader("The file of this case", key=f"file of {case[:16]}", label_visibility="collapsed")
    if given is not None:
        review_maps.take(visitor, case, given.name, given.getvalue())
        st.rerun()


def scores(cases: Cases, case: str) -> None:
    """What the maps of the case were measured as, and why they are to be believed or not."""
    rows, weighed = cases.scores[case], cases.weighed[case]
    if not len(rows) and not len(weighed):
        return
    with st.expander(
        "Scores and evidence", icon=":material/query_stats:", on_change="rerun", key="scores of the case"
    ) as part:
        if not part.open:
            return
        for _, one in weighed.iterrows():
            st.markdown(
                f"**{plain(one['model'])} · {plain(one['method'])}**: {plain(viewer.VERDICTS[one['verdict']][0])} "
                f"{plain(one['verdict'])}. {plain(one['reasons'])}"
            )
        if len(rows):
            table: Any = rows.pivot_table(index=["model", "method"], columns="metric", values="value", sort=False)
            st.dataframe(table.reset_index(), hide_index=True, placeholder="")


def _neighbours(visitor: Session, cases: Cases, decided: Mapping[str, Decision], case: str) -> None:
    model = visitor.reviewing.view.model
    alike = cases.alike(case, model, NEIGHBOURS)
    truth, said = cases.truths[cases.places[case]], cases.column(model, "predicted")[cases.places[case]]
    asked = f"{truth} called {said}" if truth is not None else f"called {said}"
    if not alike:
        st.caption(plain(f"No other case is {asked} by {model}."))
        return
    st.markdown(f"**Others that are {plain(asked)}** by {plain(model)}")
    sure = cases.column(model, "confidence")
    review_list.cards(
        visitor, cases, alike, "Others with the same confusion", "neighbours",
        lambda one: [f"{sure[cases.places[one]]:.0%}"], decided, strip=True,
    )  # fmt: skip
