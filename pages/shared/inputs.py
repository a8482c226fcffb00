"""The question: which picture, which model, and what goes with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

import xai_core as xai
from pages.shared import cached, errors, menu, metric_menu, samples, state, viewer
from pages.shared.question import BACKGROUNDS, Question
from pages.shared.state import Session
from xai_core.errors import AuditError, ModelError, SettingError
from xai_core.records import Image

if TYPE_CHECKING:
    from xai_core.models import Model
    from xai_core.registry import Registry

FITTING = {"xray": "demo-xray", "face": "demo-face"}  # the demo model that knows a family of samples
SUGGESTED = ("resnet18", "resnet50", "convnext_tiny", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224")
SEED_LIMIT = 2**31 - 1


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


# ---- its marked evidence -------------------------------------------------------------------------------------------


def evidence_mask(visitor: Session) -> Image | None:
    """White where the evidence of the picture is: as it was drawn into a sample, or as it came with an upload."""
    if not visitor.sample:
        return visitor.masks.get(visitor.chosen)
    return samples.mask(visitor.sample)


def mask_uploader(visitor: Session, image: Image) -> None:
    """Take the mask of an upload; samples bring theirs. One of another shape is refused, and the page stays."""
    from xai_core.truth import fitted_mask

    if visitor.sample:
        return
    if image.sha256 in visitor.masks:
        share = (visitor.masks[image.sha256].pixels[..., 0] > 127).mean()
        with st.container(horizontal=True, gap="small", vertical_alignment="center"):
            st.caption(f"The mask that you gave marks {share:.1%} of the picture.")
            st.button("Remove the mask", icon=":material/delete:", on_click=visitor.unmark)
        return
    file = st.file_uploader(
        "Mask of the evidence (optional)",
        key=f"mask {visitor.uploads}",
        help="A picture as large as this one, or of the same shape: white where the evidence is, black elsewhere. "
        "With it, maps can be held against what somebody marked.",
    )
    if file is None:
        return
    try:
        visitor.masks[image.sha256] = fitted_mask(xai.read_image(file.getvalue(), file.name), image)
    except AuditError as error:
        visitor.say(str(error))
    visitor.uploads += 1
    st.rerun()


# ---- the model -----------------------------------------------------------------------------------------------------


def fill(asked: Question, visitor: Session) -> None:
    """Put what a link or a record asks into the widgets. What is not on offer is said, and left out."""
    if asked.model:
        state.put("model", asked.model)
        visitor.model_chosen = True
    state.put("random", asked.random)
    if asked.seed is not None:
        state.put("seed", min(asked.seed, SEED_LIMIT))
    state.put("kind", asked.kind)
    state.put("background", asked.background)
    if not asked.weights:  # a record says nothing of these
        state.put("weigh", asked.weigh)
        state.put("pictures", asked.pictures)
    metrics = [built["name"] for built in _filled(xai.METRICS, asked.metrics, visitor)]
    if metrics:
        metric_menu.tick(metrics)
    methods = _filled(xai.METHODS, asked.methods, visitor)
    if methods:
        menu.tick([built["name"] for built in methods])
    if asked.target is not None:
        state.put(f"target {asked.model}", asked.target)
    if asked.against is not None:
        state.put(f"against {asked.model}", asked.against)
    read = list(dict.fromkeys(filter(None, (str(built.get("layer", "")) for built in methods))))
    if read:
        state.put(f"layer {asked.model}", read[0])
    if len(read) > 1:
        visitor.say(f"Maps of {', '.join(read)} were asked for. One layer is shown at a time: this is {read[0]}.")


def _filled(registry: Registry[Any], specs: Sequence[Mapping[str, Any]], visitor: Session) -> list[dict[str, Any]]:
    """Put the settings of methods or metrics into their widgets; which they are, with all their settings."""
    found = []
    for spec in specs:
        try:
            built = registry.build(spec).to_dict()
        except SettingError as error:
            visitor.say(str(error))
            continue
        found.append(built)
        for key, value in built.items():
            if key not in ("name", "layer"):
                state.put(f"{built['name']}.{key}", value)
    return found


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


# ---- what else the question holds ----------------------------------------------------------------------------------


def seed() -> int:
    """The seed of everything random."""
    state.start_with("seed", 0)
    return int(
        st.number_input(
            "Seed", 0, SEED_LIMIT, key="seed", persist_state="session", help="Of the methods that draw at random."
        )
    )


def fitting(name: str) -> list[samples.Sample]:
    """The samples that fit a model: those of the family it knows, else real pictures."""
    family = next((one for one, demo in FITTING.items() if name.startswith(demo)), "real")
    return [one for one in samples.samples().values() if one.family == family]


def background(visitor: Session, name: str, image: Image) -> list[Image]:
    """Choose the pictures that methods compare with, where their background is set to pictures: `image`, too, if it is
    one of them.
    """
    state.start_with("background", "samples")
    source = st.segmented_control(
        "Background pictures",
        list(BACKGROUNDS),
        format_func=BACKGROUNDS.__getitem__,
        required=True,
        key="background",
        persist_state="session",
        width="stretch",
        help="For the methods whose background is set to pictures. The samples are those that fit the model; the "
        "picture that is explained is never among them.",
    )
    if source == "uploads":
        found = list(visitor.pictures.values())
    else:
        found = [samples.picture(one.key) for one in fitting(name)]
    others = sum(one.sha256 != image.sha256 for one in found)
    st.caption(f"{others} pictures" if others != 1 else "1 picture")
    return found
