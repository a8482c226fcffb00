"""One picture: what the model says of it, and what it looked at, by several methods side by side."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from pages.shared import answers, panels, scores, state, survey
from pages.shared.inquiry import inquire
from pages.shared.state import session


def page() -> None:
    """Draw the page: first what needs no network, then what does."""
    visitor = session()
    inquiry = inquire(visitor)
    if inquiry is None:
        return
    asked, methods = inquiry.asked, inquiry.methods
    with st.container(key="state of work"):  # so that what comes and goes here does not move the viewer
        weigh = panels.heading()
        state.write_address(replace(inquiry.question, weigh=weigh).to_address())
        panels.refused(asked.model.name, inquiry.refused)
        visitor.scores.settle(())  # nothing here shows them
        scores.meanwhile(visitor)
        explained, waiting = answers.maps(visitor, asked, methods)
        evidence = answers.evidence(visitor, asked, explained if weigh else {}, bool(waiting))
    if explained:
        shown = panels.Shown(explained, evidence, waiting, visitor.evidence.job is not None)
        panels.maps(visitor, shown, inquiry.said, asked.image)
        panels.against_truth(visitor, list(explained.values()), asked.model.preprocessing)
    survey.panel(visitor, asked)
    panels.model_card(asked.model.card, asked.model.identity)
    panels.picture_facts(asked.image)


if __name__ == "__main__":  # someone opened this page's address before app.py had ever run
    import app

    app.main()
