"""One picture and one model through many methods: the maps side by side, what they score, and how far they agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from pages.shared import answers, inputs, metric_menu, panels, score_panels, scores, state, takeaway
from pages.shared.errors import plain
from pages.shared.inquiry import Inquiry, inquire
from pages.shared.question import PICTURES
from pages.shared.state import Session, session
from xai_core.records import Image

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.metrics import Metric
    from xai_core.score_table import ScoreTable


def page() -> None:
    """Draw the page: the maps first, their scores as soon as they are there, then how far each can be believed."""
    visitor = session()
    inquiry = inquire(visitor)
    if inquiry is None:
        return
    if not inquiry.methods:
        panels.refused(inquiry.asked.model.name, inquiry.refused)
        st.info("Choose a method in the sidebar.", icon=":material/tune:")
        return
    asked, methods = inquiry.asked, scores.controls(inquiry.methods)
    # What comes and goes in the first of these does not move the others.
    work, seen, below = st.container(key="state of work"), st.container(key="seen"), st.container(key="below")
    with work:
        weigh = panels.heading()
        panels.refused(asked.model.name, inquiry.refused)
        wanted = answers.posed(asked, methods)
        explained, waiting = answers.maps(visitor, wanted)
    with below:
        st.header("Scores", anchor=False)
        source, pictures = _pictures(visitor, inquiry)
        if source == "this":
            inputs.mask_uploader(visitor, asked.image)
        marked = any(mask is not None for _, mask in pictures.values())
        metrics = metric_menu.metrics(marked)
    address = replace(inquiry.question, weigh=weigh, metrics=metric_menu.in_address(metrics), pictures=source)
    state.write_address(address.to_address())
    alone = source == "this"
    with work:
        if alone:
            scores.meanwhile(visitor)
        mask = pictures[asked.image.sha256][1] if alone else None
        scored = scores.of_one(visitor, asked, explained, metrics if alone else [], mask, bool(waiting))
        busy = bool(waiting) or visitor.scores.job is not None
        evidence = answers.evidence(visitor, wanted, explained if weigh else {}, busy)
    if explained:
        with seen:
            weighing = weigh and (busy or visitor.evidence.job is not None)
            shown = panels.Shown(explained, evidence, waiting, weighing)
            panels.maps(visitor, shown, [inquiry.said], asked.image, save="Save maps")
    with below:
        if not metrics:
            st.info("Choose a metric.", icon=":material/straighten:")
        elif not alone:
            _several(visitor, inquiry, methods, metrics, pictures)
        elif scored:
            # Not with every verdict anew: what stands below takes a second.
            weighed = evidence if visitor.evidence.job is None else {}
            found = scores.table_of_one(visitor, explained, scored, weighed)
            score_panels.table(found)
            _take_away(visitor, inquiry, found, pictures)
            score_panels.charts(found)


def _pictures(visitor: Session, inquiry: Inquiry) -> tuple[str, Mapping[str, tuple[Image, Image | None]]]:
    """Choose over which pictures methods are compared, each of them with its mask where it has one."""
    state.start_with("pictures", "this")
    source = st.radio(
        "Pictures",
        list(PICTURES),
        format_func=PICTURES.__getitem__,
        horizontal=True,
        key="pictures",
        persist_state="session",
        help="One picture says how methods do on it. Several say how they do in general: means with intervals and, "
        "from ten pictures on, a test of whether methods differ at all. The samples are those that fit the model.",
    )
    return str(source), scores.pictures(visitor, str(source), inquiry.asked)


def _take_away(
    visitor: Session,
    inquiry: Inquiry,
    found: ScoreTable,
    pictures: Mapping[str, tuple[Image, Image | None]],
    left_out: Sequence[str] = (),
) -> None:
    """The table as files, and as a record."""
    masks = {sha256: mask for sha256, (_, mask) in pictures.items() if mask is not None}
    with st.container(horizontal=True, key="take-away scores"):
        score_panels.download(found)
        score_panels.save(visitor, found, inquiry.said, masks, left_out)
    takeaway.saving(visitor, score_panels.SAVE)


def _several(
    visitor: Session,
    inquiry: Inquiry,
    methods: Sequence[Method],
    metrics: Sequence[Metric],
    pictures: Mapping[str, tuple[Image, Image | None]],
) -> None:
    if len(pictures) < 2:
        st.info("Drop some more pictures, or compare on the samples.", icon=":material/add_photo_alternate:")
        return
    found = scores.table_of_several(visitor, inquiry, methods, metrics, pictures)
    if found is not None:
        score_panels.table(found.table)
        if found.left_out:
            with st.expander("Why maps are missing", icon=":material/help:"):
                st.markdown("\n".join(f"- {plain(line)}" for line in found.left_out))
        _take_away(visitor, inquiry, found.table, pictures, found.left_out)
        score_panels.differences(found.table)
        score_panels.charts(found.table)


if __name__ == "__main__":  # someone opened this page's address before app.py had ever run
    import app

    app.main()
