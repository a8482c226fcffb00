"""One picture: what the model says of it, and what it looked at, by several methods side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import streamlit as st

import xai_core as xai
from pages.shared import answers, cached, inputs, menu, panels, state, survey, targets
from pages.shared.answers import Asked, identity
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.question import Question
from pages.shared.state import Session, session
from xai_core.records import Image, Prediction

if TYPE_CHECKING:
    from xai_core.models import Model

NO_PICTURES = "Its background is set to pictures, but there are none. Drop some more, or compare with the samples."


def page() -> None:
    """Draw the page: first what needs no network, then what does."""
    visitor = session()
    if not visitor.began:
        visitor.began = True
        if words := state.read_address():
            visitor.ask(Question.from_address(words))
    image = inputs.current(visitor)
    if image is None:
        panels.welcome(visitor)
        cached.warm_up()
        return

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
        background = inputs.background(visitor, model.name, image) if compared else []
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
    state.write_address(question.to_address())
    if not background:
        methods = [method for method in methods if method not in compared]
        refused += [(method.label, NO_PICTURES) for method in compared]

    with right:
        panels.prediction(said, target)
    asked = Asked(model, image, target, seed, background)
    with st.container(key="state of work"):  # so that what comes and goes here does not move the viewer
        if visitor.weights and visitor.weights != model.identity["weights_sha256"]:
            st.warning(f"{plain(model.name)} has other weights here than in the record, so its maps may differ.")
        st.header("Attribution maps", anchor=False)
        panels.refused(model.name, refused)
        explained, waiting = answers.maps(visitor, asked, methods)
    if explained:
        order = [method.name for method in methods]
        panels.maps(visitor, explained, said, image, sorted(waiting, key=order.index))
        panels.against_truth(visitor, explained, model.preprocessing)
    survey.panel(visitor, asked)
    panels.model_card(model.card, model.identity)
    panels.picture_facts(image)


def predict(visitor: Session, model: Model, image: Image) -> Prediction:
    """What the model says, asked once per visitor and picture."""
    key = digest(image=image.sha256, model=identity(model))
    if key not in visitor.predictions:
        visitor.predicted(key, xai.predict(model, image))
    return visitor.predictions[key]


if __name__ == "__main__":  # someone opened this page's address before app.py had ever run
    import app

    app.main()
