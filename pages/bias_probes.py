"""Bias probes: what a model leans on, asked of one picture or of a set; the prediction is measured before the map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

from pages.shared import (
    cached,
    errors,
    inputs,
    panels,
    probe_again,
    probe_boxes,
    probe_form,
    probe_link,
    probe_pictures,
    probe_result,
    probe_work,
    side_by_side,
    state,
    targets,
)
from pages.shared.errors import plain
from pages.shared.inquiry import begun, other_weights, predict
from pages.shared.probe_form import Asked
from pages.shared.state import Probed, Session, session
from xai_core.records import Image

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

WELCOME = (
    "See **what a model leans on**: a probe changes pictures on purpose, or compares groups of them, and measures "
    "first how the prediction follows, then the maps. Pick a picture, or choose a set of them above."
)


def page() -> None:
    """Draw the page: the pictures, what is asked of them, and what came out."""
    visitor = session()
    linked, visitor.probing.address = visitor.probing.address, None
    if linked is None:
        linked = {} if visitor.began else state.read_address()
    image = begun(visitor)
    if "probe" in linked:
        probe_form.load()
        probe_link.fill(visitor, linked)
    source = probe_pictures.source(visitor)
    if source == "this" and image is None:
        panels.welcome(visitor, WELCOME)
        cached.warm_up()
        return
    probe_form.load()
    if visitor.pending is not None:
        asked_for, visitor.pending = visitor.pending, None
        inputs.fill(asked_for, visitor)
    with st.sidebar:
        if source in ("this", "uploads"):
            inputs.uploader(visitor, "Drop pictures")
        if source == "this":
            with st.expander("Samples", icon=":material/photo_library:"):
                inputs.sample_strip(visitor, "samples")
        place = st.container(key="settings of the probe")
        chosen = probe_form.models(visitor)
        asked = probe_form.asked(visitor, chosen, image if source == "this" else None)
    if source == "this" and image is not None:
        _picture(visitor, image, asked)
    with errors.shown_here():
        _probing(visitor, source, asked, place)
    for one in chosen:
        panels.model_card(one.model)


def _picture(visitor: Session, image: Image, asked: Asked) -> None:
    """The picture, and what the models say of it as it is."""
    left, right = st.columns([1, 3], gap="medium")
    with left:
        panels.picture(visitor, image)
        inputs.stepper(visitor)
    with right:
        said = [predict(visitor, one.model, image) for one in asked.models]
        if len(said) > 1:
            side_by_side.predictions(said)
        else:
            panels.prediction(said[0], targets.aimed(said[0], asked.target))
        for one in asked.models:
            other_weights(visitor, one.model)


def _probing(visitor: Session, source: str, asked: Asked, place: DeltaGenerator) -> None:
    """The probe, and what it found."""
    pictures = probe_pictures.choose(visitor, source, asked.models[0].model.name)
    if pictures is None:
        probe_again.say(visitor, asked, pictures)
        return
    probe_pictures.say_labels(pictures, [one.model for one in asked.models])
    with st.container(border=True, key="the probe"):
        probe = probe_form.probe(pictures, asked.models[0].model.labels, place)
        boxes = probe_boxes.drawn(visitor, pictures, probe)
    probe_again.say(visitor, asked, pictures, probe)
    state.write_address(probe_link.address(visitor, source, asked, probe))
    questions = probe_work.questions(asked, pictures, probe, boxes)
    found = probe_work.found(visitor, questions)
    if found:
        probe_result.draw(visitor, found, len(questions))
    elif before := probe_work.before(visitor):
        _before(visitor, before, probe_work.changed(visitor, questions))


def _before(visitor: Session, found: list[Probed], changed: str) -> None:
    """What was found before the question changed."""
    words = f"What follows is older: {probe_work.said(found)}."
    words += f" Changed since: {changed}." if changed else ""
    st.info(plain(words), icon=":material/history:")
    probe_result.draw(visitor, found)


if __name__ == "__main__":  # someone opened this page's address before app.py had ever run
    import app

    app.main()
