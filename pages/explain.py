"""One picture: what the model says of it, and what it looked at, by several methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

import xai_core as xai
from pages.shared import answers, cached, menu, panels, scores, state, survey, viewer
from pages.shared.errors import plain
from pages.shared.inquiry import inquire
from pages.shared.state import session

if TYPE_CHECKING:
    from xai_core.methods import Method


def page() -> None:
    """Draw the page: first what needs no network, then what does."""
    visitor = session()
    inquiry = inquire(visitor, several=True)
    if inquiry is None:
        return
    asked, methods, question = inquiry.asked, inquiry.methods, inquiry.question
    with st.container(key="state of work"):  # so that what comes and goes here does not move the viewer
        weigh = panels.heading()
        if question.findings is not None and methods:
            methods = [_one_of(methods)]
            question = replace(question, methods=(menu.changed(methods[0]),))
        state.write_address(replace(question, weigh=weigh).to_address())
        panels.refused(asked.model.name, inquiry.refused)
        visitor.scores.settle(())  # nothing here shows them
        scores.meanwhile(visitor)
        wanted = {
            key: one
            for target in inquiry.targets
            for key, one in answers.posed(replace(asked, target=target), methods).items()
        }
        explained, waiting = answers.maps(visitor, wanted)
        if question.findings is not None and not waiting and (same := cached.same_for_all(explained)):
            st.warning(plain(same), icon=":material/content_copy:")
        evidence = answers.evidence(visitor, wanted, explained if weigh else {}, bool(waiting))
    if explained:
        shown = panels.Shown(explained, evidence, waiting, visitor.evidence.job is not None)
        panels.maps(visitor, shown, [inquiry.said], asked.image)
        maps, preprocessing = list(explained.values()), asked.model.preprocessing
        named = zip(viewer.titles(maps), maps, strict=True)
        panels.against_truth(visitor, [(name, e, preprocessing) for name, e in named])
    survey.panel(visitor, asked)
    panels.model_card(asked.model)
    panels.picture_facts(asked.image)


def _one_of(methods: Sequence[Method]) -> Method:
    """Choose the method that makes a map for each class: one that looks at the class, where there is any."""
    looking = {method.name: method for method in methods if method.class_specific} or {methods[0].name: methods[0]}
    if len(looking) == 1:
        return next(iter(looking.values()))
    if state.value("method of each") not in looking:
        state.put("method of each", next(iter(looking)))
    name = st.selectbox(
        "Method of these maps",
        list(looking),
        format_func=lambda name: xai.METHODS[name].label,
        key="method of each",
        persist_state="session",
        help="One of those chosen in the sidebar that look at the class.",
    )
    return looking[name]


if __name__ == "__main__":  # someone opened this page's address before app.py had ever run
    import app

    app.main()
