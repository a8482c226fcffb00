"""What is asked of one picture: the sidebar, the picture beside it, and what the model says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

import xai_core as xai
from pages.shared import cached, inputs, jobs, menu, panels, state, survey, targets
from pages.shared.answers import Asked, identity
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.known import Known
from pages.shared.question import Looks, Network, Question
from pages.shared.state import Session
from xai_core.records import Image, Prediction, Target

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from xai_core.methods import Method
    from xai_core.models import Model

NO_PICTURES = "Its background is set to pictures, but there are none. Drop some more, or compare with the samples."


@dataclass(frozen=True)
class Inquiry:
    """One picture, one model, one target and the methods that explain it.

    `refused` are the methods that were chosen but say nothing here, with the reason. `background` are the pictures that
    some methods compare with, the one that is asked about among them. `targets` are several where each gets a map.
    """

    question: Question
    asked: Asked
    said: Prediction
    methods: Sequence[Method]
    refused: Sequence[tuple[str, str]]
    background: Sequence[Image]
    targets: Sequence[Target]


def begun(visitor: Session) -> Image | None:
    """Take up what the address of the first page asks, and the work that has ended; the picture, if there is one."""
    if not visitor.began:
        visitor.began = True
        if words := state.read_address():
            visitor.ask(Question.from_address(words), Looks.from_address(words))
    visitor.settle()
    survey.settle(visitor)
    if visitor.pending is not None:
        inputs.show_frame(visitor, visitor.pending.frame)
    return inputs.current(visitor)


def opened(visitor: Session) -> tuple[Image, DeltaGenerator] | None:
    """Draw what every page about one picture begins with: the picture, and the place beside it.

    None while there is no picture.
    """
    image = begun(visitor)
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
    return image, right


def inquire(visitor: Session, *, several: bool = False) -> Inquiry | None:
    """Ask one model about one picture; None while there is no picture. `several` offers a map for each class."""
    found = opened(visitor)
    if found is None:
        return None
    image, right = found
    with st.sidebar:
        model, random, task = inputs.model(visitor)
        said = predict(visitor, model, image)
        findings = targets.how_many(said) if several else None
        target, chosen, against = targets.choose(said, model.name, visitor, several=findings is not None)
        methods, refused = menu.methods(model, visitor, survey.known(visitor, model))
        compared = [method for method in methods if "pictures" in method.to_dict().values()]
        every = inputs.background(visitor, model.name, image) if compared else []
        background = [one for one in every if one.sha256 != image.sha256]
        seed = inputs.seed()
    question = Question(
        sample=visitor.sample,
        picture=visitor.chosen,
        frame=image.source.get("frame", 0) if visitor.chosen else 0,
        models=(Network(model.name, random, task),),
        target=chosen,
        kind="probability" if target.kind == "sigmoid" else target.kind,
        against=against,
        methods=tuple(menu.changed(method) for method in methods),
        background=str(state.value("background")) if compared else "samples",
        seed=seed or None,
        findings=findings,
    )
    if not background:
        methods = [method for method in methods if method not in compared]
        refused += [(method.label, NO_PICTURES) for method in compared]
    aims = [target] if findings is None else targets.each(said, findings, question.kind, against)
    with right:
        panels.prediction(said, *aims)
        other_weights(visitor, model)
    return Inquiry(question, Asked(model, image, aims[0], seed, background), said, methods, refused, every, aims)


def other_weights(visitor: Session, model: Model) -> None:
    """Say where a model is not the one that a record was made with."""
    recorded = [sha256 for name, sha256 in visitor.weights if name == model.name]
    if recorded and model.identity["weights_sha256"] not in recorded:
        st.warning(f"{plain(model.name)} has other weights here than in the record, so its maps may differ.")


def predict(visitor: Session, model: Model, image: Image) -> Prediction:
    """What the model says, asked once per visitor and picture, and not where that is known."""
    key = digest(image=image.sha256, model=identity(model))
    if key not in visitor.predictions:
        known = Known(jobs.units())
        if (said := known.prediction(model, image)) is None:
            said = xai.predict(model, image)
            known.keep_prediction(model, image, said)
        visitor.predicted(key, said)
    return visitor.predictions[key]
