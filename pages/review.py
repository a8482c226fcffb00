"""Review: the cases of an audited set, filtered to those that went wrong, and what people decide on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from pages.shared import (
    audits,
    cached,
    jobs,
    review_case,
    review_decide,
    review_filters,
    review_list,
    review_matrix,
    sets,
    state,
)
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.question import Looks
from pages.shared.review_cases import Cases
from pages.shared.review_view import View
from pages.shared.state import Session, session
from xai_core.decisions import Decision, Decisions

if TYPE_CHECKING:
    from xai_core.runs import Run

TABLES = ("run.json", "predictions.parquet", "metrics.parquet", "evidence.parquet")


def page() -> None:
    """Draw the page."""
    visitor = session()
    visitor.settle()
    reviewing = visitor.reviewing
    if not reviewing.began:
        reviewing.began = True
        reviewing.view = View.from_address(words := state.read_address())
        visitor.looks.setdefault(review_case.VIEWER, Looks.from_address(words) or Looks())
    if not reviewing.view.case:
        audits.panel(visitor)
    run = _run(visitor)
    if run is None:
        return
    cases = _cases(run)
    if not cases.models:
        st.info(_unfinished(run), icon=":material/hourglass_empty:")
        return
    book = Decisions(run.folder)
    view = review_filters.settled(cases, reviewing.view)
    reviewing.view = view = replace(view, reasons=tuple(one for one in view.reasons if one in ("", *book.reasons)))
    with st.sidebar:
        review_filters.about(visitor, cases)
        reviewer = review_decide.settings()
    decided = review_decide.counted(book, reviewer)
    order = cases.order(view, decided)
    if view.case:
        review_case.draw(visitor, cases, order, book, reviewer, decided)
    else:
        _list(visitor, cases, order, book, reviewer, decided)
    state.write_address(reviewing.view.to_address())


def _list(
    visitor: Session,
    cases: Cases,
    order: Sequence[str],
    book: Decisions,
    reviewer: str,
    decided: Mapping[str, Decision],
) -> None:
    """The numbers, the filters and the cases that they leave."""
    view = visitor.reviewing.view
    review_list.headline(cases)
    review_matrix.matrices(visitor, cases)
    review_filters.bar(visitor, cases, book.reasons)
    review_decide.progress(cases.due(view), decided)
    review_list.begin(visitor, order)
    if not order:
        st.info("No case is left by all of these filters together. Take one away.", icon=":material/filter_list_off:")
    shown = review_list.one_page(visitor, order)
    draw = review_list.gallery if view.layout == "gallery" else review_list.table
    if shown:
        draw(visitor, cases, shown, decided)
    review_decide.together(visitor, cases.run, book, reviewer)


def _run(visitor: Session) -> Run | None:
    """Choose a run; None where there is none to choose."""
    found = sets.runs()
    readable = {name: one for name, one in found.items() if one.run is not None}
    reviewing = visitor.reviewing
    if reviewing.view.run and reviewing.view.run not in readable:
        problem = found[reviewing.view.run].problem if reviewing.view.run in found else "Choose one of those listed."
        st.warning(plain(f"The run {reviewing.view.run!r} cannot be opened. {problem}"), icon=":material/link_off:")
    if not readable:
        st.info(
            "No audit has been run yet. An audit puts a whole set of pictures through models, methods and metrics; its "
            "cases are then reviewed here.",
            icon=":material/fact_check:",
        )
        st.code("python -m xai_core audit --data pictures/ --models demo-xray --methods grad_cam --out audits/first")
        st.caption(
            f"Runs are looked for in {plain(jobs.store().name)}/audits, and in the folder that {plain(sets.AUDITS)} "
            "names."
        )
        return None
    if reviewing.view.run not in readable:
        usual = View() if reviewing.view.run else reviewing.view  # filters of another run say nothing of this one
        reviewing.view = replace(usual, run=next(iter(readable)))
    with st.sidebar:
        key = f"run {reviewing.given}"
        if state.value(key) != reviewing.view.run:
            state.put(key, reviewing.view.run)
        st.selectbox("Run", list(readable), key=key, on_change=_choose, args=(visitor, key))
    run = readable[reviewing.view.run].run
    assert run is not None
    if run.facts["status"] != "done":
        st.info(_unfinished(run), icon=":material/hourglass_empty:")
    return run


def _choose(visitor: Session, key: str) -> None:
    visitor.reviewing.view = View(run=str(state.value(key)))
    visitor.reviewing.given += 1


def _unfinished(run: Run) -> str:
    words = {"running": "is still running", "stopped": "was stopped", "failed": "failed"}
    said = words.get(str(run.facts["status"]), "holds no predictions")
    why = plain(run.facts.get("problem", ""))
    return f"This audit {said}, so its tables may be missing or older than its store. {why}"


def _cases(run: Run) -> Cases:
    """The cases of a run, read once for all visitors, and anew when its tables have changed."""
    files = [run.folder / name for name in TABLES]
    known = [(file.stat().st_mtime_ns, file.stat().st_size) if file.exists() else None for file in files]
    return cached.shared(digest(run=str(run.folder.resolve()), tables=known), lambda: Cases(run))


if __name__ == "__main__":  # someone opened this page's address before app.py had ever run
    import app

    app.main()
