"""A visitor's own weights: a checkpoint that is uploaded, checked apart, and opened for this visitor alone."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.shared import cached, errors, state
from pages.shared.errors import plain
from xai_core.errors import AuditError, ModelError
from xai_core.records import TASKS

if TYPE_CHECKING:
    from pages.shared.state import Session
    from xai_core.models import Model

MOST_MEGABYTES = 1000  # of a checkpoint
REFUSED = "weights refused"  # the sentence that answers the last try, "" where it went well
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
    """Take a checkpoint, and open it once the person says so. A refusal is one sentence, and everything else stays:
    the files, too, so that only what was wrong has to be mended.
    """
    file_key, labels_key = f"weights {visitor.weights_taken}", f"labels {visitor.weights_taken}"

    def want() -> None:
        visitor.weights_wanted = True
        state.put(REFUSED, "")

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
        labels = st.file_uploader(
            "Labels (optional)", key=labels_key, max_upload_size=1, help="A text file, one label a line."
        )
        task = st.selectbox(
            "What its outputs mean", list(MEANINGS), format_func=MEANINGS.__getitem__, key="own task", help=MEANING_HELP
        )
        st.button("Open", key="open weights", icon=":material/folder_open:", disabled=file is None, on_click=want)
        if visitor.weights_wanted and file is not None:
            visitor.weights_wanted = False
            name = "" if architecture == AS_RECORDED else str(architecture)
            state.put(REFUSED, _refusal(visitor, file, name, labels, task))
            st.rerun()
        visitor.weights_wanted = False
        if refused := state.value(REFUSED):
            st.error(plain(refused), icon=":material/error:")


def find(weights: OwnWeights) -> Model:
    """The model with these weights. Raises ModelError where it had to make room."""
    if (model := cached.shelf.find(weights.place)) is None:
        raise ModelError(
            f"{weights.label} had to make room for other models. Give its file again under Your own weights."
        )
    return model


def _refusal(visitor: Session, file: Any, architecture: str, labels: Any, task: str) -> str:
    """Open the model; why it cannot be opened, "" where it is open."""
    try:
        _open(visitor, file, architecture, labels, task)
    except AuditError as error:
        return str(error)
    except Exception:
        return errors.incident()
    return ""


def _open(visitor: Session, file: Any, architecture: str, labels: Any, task: str) -> None:
    from xai_core.checkpoints import read_apart
    from xai_core.loading import is_safe_name, labels_in, load_model, parameters_of
    from xai_core.own_models import named

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
    weights = f"weights {model.identity['weights_sha256'][:8]}{_reading(model, found.recorded.labels)}"
    named(model, f"{known} ({weights})")
    if (replaced := visitor.own_models.pop(model.name, None)) is not None:
        cached.shelf.let_go(replaced.place)
    label = f"{known} ({file.name})"
    if label in [one.label for one in visitor.own_models.values()]:
        label = f"{known} ({file.name}, {weights})"
    visitor.own_models[model.name] = OwnWeights(label, place)
    visitor.models_chosen.add(0)
    visitor.weights_taken += 1  # the uploaders are empty again
    state.put("model", model.name)


def _reading(model: Model, recorded: Sequence[str]) -> str:
    """What sets this model apart from others with the same weights: a meaning or labels that are not the file's own."""
    task, suggested = model.identity["task"], TASKS[1] if len(model.labels) == 1 else TASKS[0]
    given = model.identity["labels_from"] == "given" and tuple(model.labels) != tuple(recorded)
    if task == suggested and not given:
        return ""
    return f" as {task} {cached.digest(task=task, labels=list(model.labels))[:4]}"
