"""What is asked of one picture: the sidebar, the picture beside it, and what the model says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

import xai_core as xai
from pages.shared import cached, inputs, menu, panels, state, survey, targets
from pages.shared.answers import Asked, identity
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.question import Question
from pages.shared.state import Session
from xai_core.records import Image, Prediction

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.models import Model

NO_PICTURES = "Its background is set to pictures, but there are none. Drop some more, or compare with the samples."


@dataclass(frozen=True)
class Inquiry:
    """One picture, one model, one target and the methods that explain it.

    `refused` are the methods that were chosen but say nothing here, with the reason. `background` are the pictures that
    some methods compare with, the one that is asked about among them.
    """

    question: Question
    asked: Asked
    said: Prediction
    methods: Sequence[Method]
    refused: Sequence[tuple[str, str]]
    background: Sequence[Image]


def inquire(visitor: Session) -> Inquiry | None:
    """Draw what every page about one picture begins with; None while there is no picture."""
    if not visitor.began:
        visitor.began = True
        if words := state.read_address():
            visitor.ask(Question.from_address(words))
    visitor.settle()
    survey.settle(visitor)
    image = inputs.current(visitor)
    if image is None:
        panels.welcome(visitor)
        cached.warm_up()
        return None

    with st.sidebar:
        inputs.uploader(visitor, "Drop pictures")
        with st.expander("Samples", icon=":material/photo_library:"):
            inputs.sample_strip(visitor, "samples")
    left, right = st.columns([1, 3], gap="medium")
    with left:
        panels.picture(visitor, image)
        inputs.stepper(visitor)

    with right, st.spinner("Loading the libraries (once, some seconds)"):
        cached.load_core()
    if visitor.pending is not None:
        asked_for, visitor.pending = visitor.pending, None
        inputs.fill(asked_for, visitor)
    with st.sidebar:
        model, random = inputs.model(visitor)
        said = predict(visitor, model, image)
        target, chosen, against = targets.choose(said, model.name, visitor)
        methods, refused = menu.methods(model, visitor, survey.known(visitor, model))
        compared = [method for method in methods if "pictures" in method.to_dict().values()]
        every = inputs.background(visitor, model.name, image) if compared else []
        background = [one for one in every if one.sha256 != image.sha256]
        seed = inputs.seed()
    question = Question(
        sample=visitor.sample,
        picture="" if visitor.sample else image.sha256,
        model=model.name,
        random=random,
        target=chosen,
        kind="probability" if target.kind == "sigmoid" else target.kind,
        against=against,
        methods=tuple(menu.changed(method) for method in methods),
        background=str(state.value("background")) if compared else "samples",
        seed=seed or None,
    )
    if not background:
        methods = [method for method in methods if method not in compared]
        refused += [(method.label, NO_PICTURES) for method in compared]
    with right:
        panels.prediction(said, target)
        if visitor.weights and visitor.weights != model.identity["weights_sha256"]:
            st.warning(f"{plain(model.name)} has other weights here than in the record, so its maps may differ.")
    return Inquiry(question, Asked(model, image, target, seed, background), said, methods, refused, every)


def predict(visitor: Session, model: Model, image: Image) -> Prediction:
    """What the model says, asked once per visitor and picture."""
    key = digest(image=image.sha256, model=identity(model))
    if key not in visitor.predictions:
        visitor.predicted(key, xai.predict(model, image))
    return visitor.predictions[key]
