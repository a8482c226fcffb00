"""The question: which picture, which model, and what goes with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import streamlit as st

import xai_core as xai
from pages.shared import cached, errors, menu, metric_menu, own_weights, samples, state, targets, viewer
from pages.shared.errors import plain
from pages.shared.question import BACKGROUNDS, MOST_MODELS, Question
from pages.shared.state import Session
from xai_core.errors import AuditError, ModelError, SettingError
from xai_core.records import Image

if TYPE_CHECKING:
    from xai_core.models import Model
    from xai_core.registry import Registry

FITTING = {"xray": "demo-xray", "face": "demo-face"}  # the demo model that knows a family of samples
SHOWN_FIRST = tuple(FITTING.values())
RIVALS = {"demo-xray": "demo-xray-shortcut"}  # the model to hold another against
SUGGESTED = (
    *("resnet18", "resnet50", "convnext_tiny", "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"),
    *("convnextv2_base.fcmae_ft_in22k_in1k", "tf_efficientnetv2_s.in21k_ft_in1k"),
)
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
            problem = visitor.take(image, file.getvalue())
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


@errors.kept
def show_frame(visitor: Session, frame: int) -> None:
    """Look at another frame, counted from 0, of the upload that is looked at."""
    image, file = current(visitor), visitor.files.get(visitor.chosen)
    if image is None or file is None or frame == image.source.get("frame", frame):
        return
    if frame >= (frames := image.source["frames"]):
        visitor.say(f"There is no frame {frame + 1} in a file of {frames}. Choose one of those.")
    elif problem := visitor.take(xai.read_image(file, image.name, frame), file):
        visitor.say(problem)
    else:
        state.put(_frame_key(visitor), frame + 1)


def _frame_key(visitor: Session) -> str:
    """The key of the slider: each upload has its own, which no other run of the page sets while it is moved."""
    return f"frame of {visitor.chosen}"


def stepper(visitor: Session) -> None:
    """Which frame, previous, next and remove, for the uploads."""
    count = len(visitor.pictures)
    if not visitor.chosen:
        return
    facts = visitor.pictures[visitor.chosen].source
    if "frames" in facts:
        key = _frame_key(visitor)
        state.start_with(key, facts["frame"] + 1)
        st.slider(
            "Frame",
            1,
            facts["frames"],
            key=key,
            on_change=lambda: show_frame(visitor, state.value(key) - 1),
            help="The file holds several pictures. Each is asked about on its own.",
        )
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
        image = current(visitor)
        return None if image is None else visitor.masks.get(state.place(image))
    return samples.mask(visitor.sample)


def mask_uploader(visitor: Session, image: Image) -> None:
    """Take the mask of an upload; samples bring theirs. One of another shape is refused, and the page stays."""
    from xai_core.truth import fitted_mask

    if visitor.sample:
        return
    if (mask := evidence_mask(visitor)) is not None:
        share = (mask.pixels[..., 0] > 127).mean()
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
        visitor.masks[state.place(image)] = fitted_mask(xai.read_image(file.getvalue(), file.name), image)
    except AuditError as error:
        visitor.say(str(error))
    visitor.uploads += 1
    st.rerun()


# ---- the model -----------------------------------------------------------------------------------------------------


def fill(asked: Question, visitor: Session) -> None:
    """Put what a link or a record asks into the widgets. What is not on offer is said, and left out."""
    for slot, one in enumerate(asked.models):
        for key, value in zip(model_keys(slot), (one.name, one.random, one.task), strict=True):
            state.put(key, value)
        visitor.models_chosen.add(slot)
        if one.layer:
            state.put(menu.layer_key(one.name, slot), one.layer)
    if len(asked.models) > 1:
        state.put("how many models", len(asked.models))
    if asked.seed is not None:
        state.put("seed", min(asked.seed, SEED_LIMIT))
    state.put("kind", asked.kind)
    targets.fill(asked)
    state.put("background", asked.background)
    if not asked.weights:  # a record says nothing of these
        state.put("weigh", asked.weigh)
        state.put("pictures", asked.pictures)
    metrics = [built["name"] for built in _filled(xai.METRICS, asked.metrics, visitor)]
    if metrics:
        metric_menu.tick(metrics)
    methods = _filled(xai.METHODS, asked.methods, visitor)
    if len(asked.models) > 1 and methods:
        state.put("method", methods[0]["name"])
    elif methods:
        menu.tick([built["name"] for built in methods])
    if not asked.models:
        return
    first = asked.models[0].name
    if asked.target is not None:
        state.put(f"target {first}", asked.target)
    if asked.against is not None:
        state.put(f"against {first}", asked.against)
    read = list(dict.fromkeys(filter(None, (str(built.get("layer", "")) for built in methods))))
    if read:
        state.put(menu.layer_key(first), read[0])
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


class Chosen(NamedTuple):
    """A model, whether its weights are drawn at random, and what its outputs were said to mean; "" is by its head."""

    model: Model
    random: bool
    task: str


def model_keys(slot: int) -> Iterator[str]:
    """The keys of the widgets that choose model number `slot`: its name, whether its weights are drawn, its task."""
    return (f"{word} {slot}" if slot else word for word in ("model", "random", "task"))


def model(visitor: Session, slot: int = 0) -> Chosen:
    """Choose a model and load it. A page that shows several models has a slot for each."""
    from xai_core.loading import demo_models, is_architecture, is_safe_name

    key, random_key, task_key = model_keys(slot)
    demos = sorted(
        demo_models(), key=lambda one: (SHOWN_FIRST.index(one) if one in SHOWN_FIRST else len(SHOWN_FIRST), one)
    )
    place = st.container()
    if slot == 0:
        own_weights.section(visitor, list(SUGGESTED))
    if slot in visitor.models_back:
        visitor.models_back.discard(slot)
        for one, value in zip(model_keys(slot), visitor.models_shown[slot], strict=True):
            state.put(one, value)
    _fall_back(visitor, slot)
    complete = [*demos, *_own_models(slot), *visitor.own_models]  # they bring their weights and what these mean
    if slot not in visitor.models_chosen and (fitting := _fitting(visitor, slot)):
        state.put(key, fitting)
        if slot:
            state.put(random_key, fitting not in demos)

    def chose() -> None:
        visitor.models_chosen.add(slot)

    def label(name: str) -> str:
        return visitor.own_models[name].label if name in visitor.own_models else name

    random, task = False, ""
    with place:
        name = st.selectbox(
            f"Model {slot + 1}" if slot else "Model",
            list(dict.fromkeys([*complete, *SUGGESTED, str(state.value(key))])),
            format_func=label,
            key=key,
            persist_state="session",
            accept_new_options=True,
            on_change=chose,
            help="A demo model, or type the name of any timm architecture.",
        )
        if name not in complete:
            random = st.toggle(
                "Random weights",
                key=random_key,
                persist_state="session",
                on_change=chose,
                help="Draw the weights at random instead of loading trained ones. Such a network has learnt nothing: "
                "useful as a control, and where no trained weights can be had.",
            )
            task = st.selectbox(
                "What the outputs mean",
                list(own_weights.MEANINGS),
                format_func=own_weights.MEANINGS.__getitem__,
                key=task_key,
                persist_state="session",
                help=own_weights.MEANING_HELP,
            )
    if name in visitor.own_models:
        visitor.models_shown[slot] = name, random, task
        return Chosen(own_weights.find(visitor.own_models[name]), random, task)
    if " (weights " in name:
        raise ModelError(
            f"{name} was opened from a file of weights, and these never travel. Give the same file under Your own "
            "weights."
        )
    try:
        if not is_safe_name(name):
            raise ModelError(
                f"{name!r} cannot be opened from this page: only names of demo models and of timm architectures can, "
                "such as resnet50. Hub addresses and folders are for whoever starts the program, on the command line."
            )
        with place:
            opened = cached.model(name, random, task)
    except ModelError as error:
        if not (is_safe_name(name) and (name in complete or is_architecture(name))):
            _keep_last(visitor, slot, name, error)
        raise
    visitor.models_shown[slot] = name, random, task
    return Chosen(opened, random, task)


def _keep_last(visitor: Session, slot: int, name: str, error: ModelError) -> None:
    """Nothing has the name that was typed: say so, and show the model before again, if there was one."""
    last = visitor.models_shown.get(slot)
    if last is None or last[0] == name:
        return
    visitor.say(f"{error} {last[0]} was kept.")
    visitor.models_back.add(slot)
    st.rerun()  # a widget is set before it is drawn


def _fall_back(visitor: Session, slot: int) -> None:
    """Where the visitor's own model in a slot had to make room: say so once, and choose as if nobody had chosen."""
    name = str(state.value(next(model_keys(slot))))
    if name not in visitor.own_models:
        return
    try:
        own_weights.find(visitor.own_models[name])
    except ModelError as error:
        visitor.say(str(error))
        del visitor.own_models[name]
        for one in range(slot, MOST_MODELS):
            key = next(model_keys(one))
            if state.value(key) == name:
                state.put(key, None)
                visitor.models_chosen.discard(one)
        st.rerun()  # what is said stands above what has been drawn


def _own_models(slot: int) -> list[str]:
    """The models of whoever started the program; where they cannot be had, the reason is shown once."""
    from xai_core.own_models import own_models

    try:
        return list(own_models())
    except ModelError as error:
        if slot == 0:
            st.error(plain(error), icon=":material/error:")
        return []


def _fitting(visitor: Session, slot: int) -> str:
    """The model that a slot shows until the person chooses one; "" leaves it as it is."""
    known: str = FITTING.get(samples.samples()[visitor.sample].family if visitor.sample else "", "")
    shown = str(state.value("model") or "")
    if slot == 0:
        return known or ("" if shown else SHOWN_FIRST[0])
    taken = [shown, *(str(state.value(f"model {one}")) for one in range(1, slot))]
    rivals = [RIVALS[one] for one in (known, shown) if one in RIVALS and slot == 1]
    return next(one for one in (*rivals, *SUGGESTED) if one not in taken)


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
    return [one for one in samples.samples().values() if one.family == family(name)]


def family(name: str) -> str:
    """The family of samples that a model knows."""
    return next((one for one, demo in FITTING.items() if name.startswith(demo)), "real")


def background(visitor: Session, name: str, image: Image | None) -> list[Image]:
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
    others = sum(image is None or one.sha256 != image.sha256 for one in found)
    st.caption(f"{others} pictures" if others != 1 else "1 picture")
    return found
