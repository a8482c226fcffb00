"""One picture: what the model says of it, and what it looked at, by several methods side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

import xai_core as xai
from pages.shared import cached, inputs, jobs, panels, state, watch
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.state import Kept, Question, Session, session
from xai_core.records import Explanation, Image, Prediction, Target

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.models import Model


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
        asked, visitor.pending = visitor.pending, None
        inputs.fill(asked, visitor)
    with st.sidebar:
        model, random = inputs.model(visitor)
        said = predict(visitor, model, image)
        index = inputs.target(said, model.name, visitor)
        methods, refused = inputs.methods(model, visitor)
        seed = inputs.seed()
        panels.invalid_methods(model)
    state.write_address(inputs.question(visitor, image, model.name, random, index, methods, seed).to_address())

    explained_class = int(said.order()[0]) if index is None else index
    target = xai.Target(explained_class, said.labels[explained_class])
    with right:
        panels.prediction(said, target.index)
    if visitor.weights and visitor.weights != model.identity["weights_sha256"]:
        st.warning(f"{plain(model.name)} has other weights here than in the record, so its maps may differ.")
    st.header("Attribution maps", anchor=False)
    panels.refused(model.name, refused)
    explained = answer(visitor, model, image, methods, target, seed)
    if explained:
        panels.maps(visitor, explained, said, image)
        panels.against_truth(visitor, explained, model.preprocessing)
    panels.model_card(model.card, model.identity)
    panels.picture_facts(image)


def predict(visitor: Session, model: Model, image: Image) -> Prediction:
    """What the model says, asked once per visitor and picture."""
    key = digest(image=image.sha256, model=_identity(model))
    if key not in visitor.predictions:
        visitor.predicted(key, xai.predict(model, image))
    return visitor.predictions[key]


def _identity(model: Model) -> list[str]:
    return [model.name, model.identity["weights_sha256"], model.identity["preprocessing_sha256"]]


def answer(
    visitor: Session, model: Model, image: Image, methods: Sequence[Method], target: Target, seed: int
) -> list[Explanation]:
    """The maps that are there, in the order of the methods. What is missing is worked on meanwhile."""
    keys = {}
    for method in methods:
        asked = {"method": method.fitted(model).to_dict(), "target": target.index, "seed": seed}
        keys[digest(image=image.sha256, model=_identity(model), **asked)] = method
    if not keys:
        st.info("Choose a method in the sidebar.", icon=":material/tune:")
    work(visitor, model, image, keys, target, seed)
    failed = [key for key in keys if key in visitor.failed]
    for key in failed:
        st.error(plain(visitor.failed[key]), icon=":material/error:")
    if failed:
        st.button("Try again", key="try again", icon=":material/refresh:", on_click=visitor.failed.clear)
    kept = [visitor.maps[key] for key in keys if key in visitor.maps]
    for key in keys:
        if key in visitor.maps:
            visitor.maps.move_to_end(key)
    explained = [one.explanation for one in kept]
    if explained:
        sent = sum({one.work: one.sent for one in kept}.values())
        count = f"{len(explained)} maps" if len(explained) > 1 else "1 map"
        passes = "1 pass" if sent == 1 else f"{sent} passes"
        asked_of = f"target class **{plain(target)}** of {plain(model.name)}"
        st.caption(f"{count} for {asked_of} · {passes} through the network")
        panels.flat_maps(explained)
    return explained


def work(visitor: Session, model: Model, image: Image, keys: dict[str, Method], target: Target, seed: int) -> None:
    """Compute the maps that are missing, in a thread. Another question stops the work for the last one."""
    missing = {key: method for key, method in keys.items() if key not in visitor.maps and key not in visitor.failed}
    wanted = digest(keys=sorted(missing))
    if visitor.job is not None and (visitor.job.key != wanted or not missing):
        visitor.job.cancel.set()
        visitor.job = None
    if not missing:
        return
    if visitor.job is None and visitor.stopped == wanted:
        again("Cancelled. Nothing of it was kept.", visitor)
        return
    if visitor.job is None:
        from xai_core.pipeline import cost_of

        run = jobs.explaining(model, image, missing, target, seed)
        visitor.job, visitor.stopped = jobs.Job(wanted, run, cost_of(model, list(missing.values()))), ""
        visitor.job.wait(0.2)
    if visitor.job.running:
        watch.progress(visitor.job, "pictures through the network", stop=True)
        return
    job, visitor.job = visitor.job, None
    if job.result is not None:
        visitor.works += 1
        visitor.failed |= job.result.problems
        for key, explanation in job.result.maps.items():
            visitor.keep(key, Kept(explanation, visitor.works, job.result.sent))
    elif job.problem:
        visitor.stopped = wanted
        again(job.problem, visitor)
    elif visitor.stopped == wanted:
        again("Cancelled. Nothing of it was kept.", visitor)
    else:  # nobody watched, so it was given up
        st.rerun()


def again(words: str, visitor: Session) -> None:
    """Say why there is no answer, and offer to ask again."""

    def run() -> None:
        visitor.stopped = ""

    with st.container(horizontal=True, vertical_alignment="center"):
        st.warning(plain(words), icon=":material/stop_circle:")
        st.button("Run", key="run", type="primary", icon=":material/play_arrow:", on_click=run)


if __name__ == "__main__":  # someone opened this page's address before app.py had ever run
    import app

    app.main()
