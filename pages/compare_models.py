"""One picture through several models: what each says, where each looks on one colour scale, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import streamlit as st

import xai_core as xai
from pages.shared import answers, inputs, menu, panels, samples, scores, side_by_side, state, targets
from pages.shared.answers import Asked, identity
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.inquiry import NO_PICTURES, opened, other_weights, predict
from pages.shared.question import MOST_MODELS, Network, Question
from pages.shared.state import Session, session
from xai_core.records import Image, Prediction

if TYPE_CHECKING:
    from xai_core.methods import Method


@dataclass(frozen=True)
class Rivals:
    """The models that are compared: what each is asked, by which method, and what each said.

    `notes` say where one could not be asked the same as the others.
    """

    question: Question
    asked: Sequence[Asked]
    methods: Sequence[Method]
    said: Sequence[Prediction]
    notes: Sequence[str]

    @property
    def posed(self) -> answers.Posed:
        """What is asked for, by the keys of the maps."""
        pairs = zip(self.asked, self.methods, strict=True)
        return {asked.key(method): (asked, method) for asked, method in pairs}


def page() -> None:
    """Draw the page: what the models say, where they look, where they differ, and what speaks for believing it."""
    visitor = session()
    found = opened(visitor)
    if found is None:
        return
    image, beside = found
    with st.sidebar:
        rivals = _rivals(visitor, image)
    with beside:
        side_by_side.predictions(rivals.said)
        for sentence in rivals.notes:
            st.info(plain(sentence), icon=":material/label_off:")
        for asked in rivals.asked:
            other_weights(visitor, asked.model)
    wanted = rivals.posed
    with st.container(key="state of work"):  # so that what comes and goes here does not move the viewer
        weigh = panels.heading()
        state.write_address(replace(rivals.question, weigh=weigh).to_address())
        if len({digest(model=identity(asked.model)) for asked in rivals.asked}) < len(rivals.asked):
            st.info("Two of the models are the same network. Choose another in the sidebar.", icon=":material/tune:")
            return
        visitor.scores.settle(())  # nothing here shows them
        scores.meanwhile(visitor)
        explained, waiting = answers.maps(visitor, wanted)
        evidence = answers.evidence(visitor, wanted, explained if weigh else {}, bool(waiting))
    if explained:
        shown = panels.Shown(explained, evidence, waiting, visitor.evidence.job is not None)
        panels.maps(visitor, shown, rivals.said, image, "compared")
        maps = list(explained.values())
        if len(maps) > 1:
            side_by_side.difference(maps, (image.pixels.shape[0], image.pixels.shape[1]))
        artefact = samples.artefact(visitor.sample) if visitor.sample else None
        side_by_side.checklist(maps, rivals.said, [evidence.get(key) for key in explained], artefact)
        panels.against_truth(
            visitor,
            [(wanted[key][0].model.name, e, wanted[key][0].model.preprocessing) for key, e in explained.items()],
        )
    for asked in rivals.asked:
        panels.model_card(asked.model)
    panels.picture_facts(image)


def _rivals(visitor: Session, image: Image) -> Rivals:
    """Choose the models, and what all of them are asked."""
    state.start_with("how many models", 2)
    count = st.segmented_control(
        "Models",
        list(range(2, MOST_MODELS + 1)),
        key="how many models",
        persist_state="session",
        required=True,
        width="stretch",
        help="How many are compared.",
    )
    chosen = [inputs.model(visitor, slot) for slot in range(count or 2)]
    models = [one.model for one in chosen]
    method, given = menu.one(models)
    reads = menu.reads_a_layer(method)
    layers = [menu.layer(model, visitor, slot) if reads else "" for slot, model in enumerate(models)]
    said = [predict(visitor, model, image) for model in models]
    target, wanted, against = targets.choose(said[0], models[0].name, visitor)
    st.caption(f"A class of {plain(models[0].name)}; the other models are asked about the class of the same name.")
    methods = [xai.METHODS.build({"name": method, **given, **({"layer": one} if reads else {})}) for one in layers]
    compared = "pictures" in methods[0].to_dict().values()
    every = inputs.background(visitor, models[0].name, image) if compared else []
    background = [one for one in every if one.sha256 != image.sha256]
    if compared and not background:
        raise xai.AuditError(f"{methods[0].label} was not run. {NO_PICTURES}")
    seed = inputs.seed()

    from xai_core.comparison import matched

    kind = "probability" if target.kind == "sigmoid" else target.kind
    aimed, notes = matched(wanted, said, kind, target.against_label or None)
    question = Question(
        sample=visitor.sample,
        picture=visitor.chosen,
        frame=image.source.get("frame", 0) if visitor.chosen else 0,
        models=tuple(
            Network(one.model.name, one.random, one.task, layer) for one, layer in zip(chosen, layers, strict=True)
        ),
        target=wanted,
        kind=kind,
        against=against,
        methods=(
            {"name": method, **{k: v for k, v in menu.changed(methods[0]).items() if k not in ("name", "layer")}},
        ),
        background=str(state.value("background")) if compared else "samples",
        seed=seed or None,
    )
    asked = [Asked(model, image, one, seed, background) for model, one in zip(models, aimed, strict=True)]
    return Rivals(question, asked, methods, said, notes)


if __name__ == "__main__":  # someone opened this page's address before app.py had ever run
    import app

    app.main()
