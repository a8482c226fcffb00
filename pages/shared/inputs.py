"""The question: which picture, which model, which target class, which methods. Widgets drawn from declarations."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

import xai_core as xai
from pages.shared import cached, errors, samples, state, viewer
from pages.shared.state import Question, Session
from xai_core.errors import AuditError, ModelError, SettingError
from xai_core.records import Image, Prediction
from xai_core.registry import settings

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.models import Model

FITTING = {"xray": "demo-xray", "face": "demo-face"}  # the demo model that knows a family of samples
SUGGESTED = ("resnet18", "resnet50", "convnext_tiny", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224")
FIRST = ("grad_cam", "integrated_gradients", "occlusion")  # the methods a visitor sees first
FAMILIES = ("class activation", "gradient", "Shapley", "perturbation")
SEED_LIMIT = 2**31 - 1
PREDICTED = -1  # of the target classes: whichever the model predicts


# ---- the picture ---------------------------------------------------------------------------------------------------


def current(visitor: Session) -> Image | None:
    """The picture that is looked at."""
    if visitor.sample:
        return samples.picture(visitor.sample)
    return visitor.pictures.get(visitor.chosen)


def uploader(visitor: Session, label: str) -> None:
    """Take pictures. Refused ones are listed with their reason, good ones are kept; the uploader is empty again."""
    files = st.file_uploader(
        label,
        accept_multiple_files=True,
        key=f"uploader {visitor.uploads}",
        help="PNG, JPEG, WebP, TIFF, BMP or DICOM. Pictures stay in this session and are never part of a link.",
    )
    if not files:
        return
    taken = []
    for file in files:
        try:
            image = xai.read_image(file.getvalue(), file.name)
            problem = visitor.take(image)
            taken += [] if problem else [image.sha256]
        except AuditError as error:
            problem = str(error)
        if problem:
            visitor.say(problem)
    if taken:
        visitor.chosen, visitor.sample = taken[0], ""
        if visitor.wanted and not any(sha256.startswith(visitor.wanted) for sha256 in taken):
            visitor.say(
                "This is not the picture that the link or record is about: its sha256 begins with "
                f"{taken[0][:12]}, not {visitor.wanted[:12]}. The question is asked about the new picture."
            )
        visitor.wanted = ""
    visitor.uploads += 1
    st.rerun()


def sample_strip(visitor: Session, key: str) -> None:
    """Samples, one click away."""

    @errors.kept
    def pick(name: str) -> None:
        if name in samples.samples():
            visitor.sample, visitor.chosen, visitor.wanted = name, "", ""

    viewer.sample_strip(list(samples.samples().values()), visitor.sample, key, pick)


def stepper(visitor: Session) -> None:
    """Previous, next and remove, for the uploads."""
    count = len(visitor.pictures)
    if not visitor.chosen:
        return
    with st.container(horizontal=True, gap="small", vertical_alignment="center", key="stepper"):
        if count > 1:
            st.button("Previous", key="previous", shortcut="Left", on_click=visitor.step, args=(-1,))
            st.button("Next", key="next", shortcut="Right", on_click=visitor.step, args=(1,))
            st.caption(f"{list(visitor.pictures).index(visitor.chosen) + 1} of {count}")
        st.button("Remove", key="remove", icon=":material/delete:", on_click=visitor.drop, args=(visitor.chosen,))


# ---- the model -----------------------------------------------------------------------------------------------------


def fill(asked: Question, visitor: Session) -> None:
    """Put what a link or a record asks into the widgets. What is not on offer is said, and left out."""
    if asked.model:
        state.put("model", asked.model)
        visitor.model_chosen = True
    state.put("random", asked.random)
    if asked.seed is not None:
        state.put("seed", min(asked.seed, SEED_LIMIT))
    chosen, layers = [], []
    for spec in asked.methods:
        try:
            method = xai.METHODS.build(spec)
        except SettingError as error:
            visitor.say(str(error))
            continue
        chosen.append(method.name)
        for key, value in method.to_dict().items():
            if key == "layer":
                layers.append(str(value))
            elif key != "name":
                state.put(f"{method.name}.{key}", value)
    if chosen:
        state.put("methods", chosen)
    if asked.target is not None:
        state.put(f"target {asked.model}", asked.target)
    if wanted := next(filter(None, layers), ""):
        state.put(f"layer {asked.model}", wanted)


def model(visitor: Session) -> tuple[Model, bool]:
    """Choose a model and load it; whether its weights are drawn at random."""
    from xai_core.loading import demo_models, is_safe_name

    shown_first = [*FITTING.values()]
    demos = sorted(
        demo_models(), key=lambda one: (shown_first.index(one) if one in shown_first else len(shown_first), one)
    )
    fitting = FITTING.get(samples.samples()[visitor.sample].family if visitor.sample else "")
    if fitting in demos and not visitor.model_chosen:
        state.put("model", fitting)
    state.start_with("model", demos[0] if demos else SUGGESTED[0])

    def chose() -> None:
        visitor.model_chosen = True

    name = st.selectbox(
        "Model",
        list(dict.fromkeys([*demos, *SUGGESTED, str(state.value("model"))])),
        key="model",
        persist_state="session",
        accept_new_options=True,
        on_change=chose,
        help="A demo model, or type the name of any timm architecture.",
    )
    random = False
    if name not in demos:
        random = st.toggle(
            "Random weights",
            key="random",
            persist_state="session",
            help="Draw the weights at random instead of loading trained ones. Such a network has learnt nothing: "
            "useful as a control, and where no trained weights can be had.",
        )
    if not is_safe_name(name):
        raise ModelError(
            f"{name!r} cannot be opened from this page: only names of demo models and of timm architectures can, such "
            "as resnet50. Hub addresses and folders are for whoever starts the program, on the command line."
        )
    return cached.model(name, random), random


# ---- target and methods --------------------------------------------------------------------------------------------


def target(prediction: Prediction, name: str, visitor: Session) -> int | None:
    """Choose the class to explain; None is the predicted one."""
    labels, key = prediction.labels, f"target {name}"
    state.start_with(key, PREDICTED)
    if not PREDICTED <= (wanted := state.value(key)) < len(labels):
        visitor.say(f"Class {wanted} does not exist: {name} has classes 0 to {len(labels) - 1}.")
        state.put(key, PREDICTED)
    numbered = len(labels) > 20 or len(set(labels)) < len(labels)

    def shown(index: int) -> str:
        if index == PREDICTED:  # the same words for every picture: the browser keeps the words, not the choice
            return "the predicted class"
        return f"{index} · {labels[index]}" if numbered else labels[index]

    chosen: int = st.selectbox(
        "Target class",
        range(PREDICTED, len(labels)),
        format_func=shown,
        key=key,
        persist_state="session",
        help="The class that is explained. Type to search by name or number.",
    )
    return None if chosen == PREDICTED else chosen


def methods(model: Model, visitor: Session) -> tuple[list[Method], list[tuple[str, str]]]:
    """Choose methods and their settings: those that are valid for the model, and the others with the reason."""
    order = sorted(xai.METHODS, key=lambda name: (FAMILIES.index(xai.METHODS[name].family), xai.METHODS[name].label))
    state.start_with("methods", [name for name in FIRST if name in xai.METHODS])
    chosen = st.multiselect(
        "Methods",
        order,
        format_func=lambda name: xai.METHODS[name].label,
        key="methods",
        persist_state="session",
        help="Class activation, gradient, Shapley and perturbation methods. Those that ask the network the same thing "
        "share the pass.",
    )
    layer = ""
    if model.stages and any(field.name == "layer" for name in chosen for field in settings(xai.METHODS[name])):
        layer = _layer(model, visitor)
    with st.container(gap="xsmall", key="settings"):
        asked = [_settings(xai.METHODS[name], layer) for name in chosen]
    valid, refused = [], []
    for method in asked:
        if reason := method.why_not(model):
            refused.append((method.label, reason))
        else:
            valid.append(method)
    return valid, refused


def _layer(model: Model, visitor: Session) -> str:
    """One layer for all class activation methods; empty is the default, the deepest that the target depends on."""
    key, offered = f"layer {model.name}", list(model.stages)
    wanted = state.value(key)
    if wanted in model.layers and wanted not in offered:  # a record may have read a place that is not offered
        offered.append(wanted)
    elif wanted not in offered:
        if wanted:
            visitor.say(f"{model.name} has no layer {wanted!r} with a height and a width. Choose one of those offered.")
        state.put(key, model.default_layer or offered[-1])

    def shown(name: str) -> str:
        rows, columns = model.layer(name).grid
        return f"{name}, {rows} × {columns}" + (" (default)" if name == model.default_layer else "")

    chosen: str = st.selectbox(
        "Layer",
        offered,
        format_func=shown,
        key=key,
        persist_state="session",
        help="Where all class activation methods read, from shallow to deep. Deep layers know more of the class, "
        "shallow ones show finer places.",
    )
    return "" if chosen == model.default_layer else chosen


def _settings(cls: type[Method], layer: str) -> Method:
    """A method with the settings that the visitor gave it, as widgets drawn from their declarations."""
    declared = settings(cls)
    values: dict[str, Any] = {"layer": layer} if any(field.name == "layer" for field in declared) else {}
    drawn = [field for field in declared if field.name != "layer"]
    if drawn:
        with st.expander(f"{cls.label}: settings", icon=":material/tune:"):
            values |= {field.name: _widget(f"{cls.name}.{field.name}", field) for field in drawn}
    return xai.METHODS.build({"name": cls.name, **values})


def _widget(key: str, field: dataclasses.Field[Any]) -> Any:
    words, default = field.metadata, field.default
    state.start_with(key, default)
    label = words["label"] or field.name.replace("_", " ").capitalize()
    label += f" ({words['unit']})" if words["unit"] else ""
    common: dict[str, Any] = {"key": key, "help": words["help"] or None, "persist_state": "session"}
    if words["choices"]:
        return st.selectbox(label, words["choices"], **common)
    if isinstance(default, bool):
        return st.toggle(label, **common)
    if words["low"] is None:
        return st.text_input(label, **common)
    whole = isinstance(default, int)
    step = 10.0 ** math.floor(math.log10((words["high"] - words["low"]) / 200))
    kind = int if whole else float
    return st.slider(
        label,
        kind(words["low"]),
        kind(words["high"]),
        step=max(1, int(step)) if whole else step,
        format=None if whole else f"%.{max(0, -round(math.log10(step)))}f",
        **common,
    )


def seed() -> int:
    """The seed of everything random."""
    state.start_with("seed", 0)
    return int(
        st.number_input(
            "Seed", 0, SEED_LIMIT, key="seed", persist_state="session", help="Of the methods that draw at random."
        )
    )


def question(
    visitor: Session, image: Image, name: str, random: bool, target: int | None, chosen: Sequence[Method], seed: int
) -> Question:
    """What is asked, as a link can hold it: settings that are at their default stay out."""
    return Question(
        sample=visitor.sample,
        picture="" if visitor.sample else image.sha256,
        model=name,
        random=random,
        target=target,
        methods=tuple(_changed(method) for method in chosen),
        seed=seed or None,
    )


def _changed(method: Method) -> Mapping[str, Any]:
    given = {field.name: getattr(method, field.name) for field in settings(type(method))}
    plain = {field.name: field.default for field in settings(type(method))}
    return {"name": method.name, **{key: value for key, value in given.items() if value != plain[key]}}
