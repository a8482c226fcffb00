"""A visitor's own weights: a checkpoint that is uploaded, checked apart, and opened for this visitor alone."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.shared import cached, errors, state
from pages.shared.errors import plain
from xai_core.errors import ModelError
from xai_core.records import TASKS

if TYPE_CHECKING:
    from pages.shared.state import Session
    from xai_core.models import Model

MOST_MEGABYTES = 1000  # of a checkpoint
AS_RECORDED = "As recorded in the file"
MEANINGS = {"": "As its head suggests", **{task: task.capitalize() for task in TASKS}}
MEANING_HELP = (
    "Single label: classes that exclude one another, so their probabilities sum to one. Multi label: findings that may "
    "occur together, each with a probability of its own. Regression: numbers."
)


@dataclass(frozen=True)
class OwnWeights:
    """Weights that a visitor brought: what the menu calls them, and where their model is held."""

    label: str
    place: str


def section(visitor: Session, architectures: list[str]) -> None:
    """Take a checkpoint, and open it once the person says so. A refusal is one sentence, and everything else stays."""
    file_key, labels_key = f"weights {visitor.weights_taken}", f"labels {visitor.weights_taken}"

    def want() -> None:
        visitor.weights_wanted = True

    with st.expander("Your own weights", icon=":material/upload_file:", key="own weights"):
        file = st.file_uploader(
            "Checkpoint",
            key=file_key,
            max_upload_size=MOST_MEGABYTES,
            help="A .safetensors, .pt, .pth, .th or .tar file with the weights of a timm architecture. It is read as "
            "numbers only, never run, and stays in this session.",
        )
        architecture = st.selectbox(
            "Architecture",
            list(dict.fromkeys([AS_RECORDED, *architectures, str(state.value("own architecture") or AS_RECORDED)])),
            key="own architecture",
            accept_new_options=True,
            help="The name that timm has for the network, such as resnet18.",
        )
        labels = st.file_uploader("Labels (optional)", key=labels_key, help="A text file, one label a line.")
        task = st.selectbox(
            "What its outputs mean", list(MEANINGS), format_func=MEANINGS.__getitem__, key="own task", help=MEANING_HELP
        )
        st.button("Open", key="open weights", icon=":material/folder_open:", disabled=file is None, on_click=want)
        if not visitor.weights_wanted:
            return
        visitor.weights_wanted = False
        if file is not None:
            name = "" if architecture == AS_RECORDED else str(architecture)
            errors.kept(_open)(visitor, file, name, labels, task)
            st.rerun()


def find(weights: OwnWeights) -> Model:
    """The model with these weights. Raises ModelError where it had to make room."""
    if (model := cached.shelf.find(weights.place)) is None:
        raise ModelError(
            f"{weights.label} had to make room for other models. Give its file again under Your own weights."
        )
    return model


def _open(visitor: Session, file: Any, architecture: str, labels: Any, task: str) -> None:
    from xai_core.checkpoints import read_apart
    from xai_core.loading import is_safe_name, labels_in, load_model, parameters_of
    from xai_core.own_models import named

    visitor.weights_taken += 1  # the uploaders are empty again
    if architecture and not is_safe_name(architecture):
        raise ModelError(f"{architecture!r} is no architecture. Name one of timm's, such as resnet18.")
    if architecture:
        cached.check_size(architecture, parameters_of(architecture))
    given = None if labels is None else labels_in(labels.getvalue(), labels.name)
    with st.spinner(f"Reading {plain(file.name)} ({file.size / 1e6:,.0f} MB)", show_time=True):
        found = read_apart(file.getbuffer(), file.name)
    parameters = sum(int(tensor.numel()) for tensor in found.weights.values())
    cached.check_size(file.name, parameters)
    place = secrets.token_hex(16)
    with st.spinner(f"Loading {plain(file.name)} ({cached.sized(parameters)})", show_time=True):
        model = cached.shelf.get(
            place,
            file.name,
            lambda: load_model(architecture, checkpoint=found, labels=given, task=task or None),
        )
    # The name of the file may hold a person's: it is shown to this visitor, and is no part of what is saved.
    known = model.name
    named(model, f"{known} (weights {model.identity['weights_sha256'][:8]})")
    visitor.own_models[model.name] = OwnWeights(f"{known} ({file.name})", place)
    visitor.models_chosen.add(0)
    state.put("model", model.name)
