"""Which number of the network is explained: the class, and what of it."""

from __future__ import annotations

import streamlit as st

from pages.shared import state
from pages.shared.errors import plain
from pages.shared.question import KINDS
from pages.shared.state import Session
from xai_core.records import Prediction, Target

FOLLOWS = -1  # of the classes: whichever the model predicts, or comes next
HELP = {
    "single label": "Logit: the class's raw output. Probability: after the softmax, so the other classes count too. "
    "Contrast: the logit minus that of another class, so what speaks for both drops out.",
    "multi label": "Logit: the label's raw output. Probability: its own, independent of the other labels. "
    "Contrast: the logit minus that of another label, so what speaks for both drops out.",
}


def choose(said: Prediction, name: str, visitor: Session) -> tuple[Target, int | None, int | None]:
    """Choose what is explained. Also the class and its rival as they were asked for: None follows the prediction."""
    word = "output" if said.task == "regression" else "class"
    chosen = _class(said, f"target {name}", f"Target {word}", f"the predicted {word}", name, visitor)
    if said.task == "regression" or len(said.labels) < 2:
        return aimed(said, chosen), chosen, None
    state.start_with("kind", "logit")
    kind = st.selectbox(
        "What of it is explained",
        list(KINDS),
        format_func=KINDS.__getitem__,
        key="kind",
        persist_state="session",
        help=HELP[said.task],
    )
    if kind != "contrast":
        return aimed(said, chosen, kind), chosen, None
    against = _class(said, f"against {name}", "Against", "the strongest other class", name, visitor)
    target = aimed(said, chosen, kind, against)
    if against == target.index:
        st.caption(f"A class has no contrast with itself, so {plain(target.against_label)} is taken.")
    return target, chosen, against


def aimed(said: Prediction, chosen: int | None, kind: str = "logit", against: int | None = None) -> Target:
    """What is explained of one picture. A class that is None follows the prediction, and so does its rival."""
    order = [int(i) for i in said.order()]
    index = order[0] if chosen is None else chosen
    label = said.labels[index]
    if kind == "probability":
        return Target(index, label, "sigmoid" if said.task == "multi label" else "probability")
    if kind != "contrast":
        return Target(index, label)
    rival = next(i for i in order if i != index) if against in (None, index) else against
    assert rival is not None
    return Target(index, label, "contrast", rival, said.labels[rival])


def _class(said: Prediction, key: str, label: str, follows: str, name: str, visitor: Session) -> int | None:
    """Choose a class; None is the one that follows the prediction."""
    labels = said.labels
    state.start_with(key, FOLLOWS)
    if not FOLLOWS <= (wanted := state.value(key)) < len(labels):
        visitor.say(f"Class {wanted} does not exist: {name} has classes 0 to {len(labels) - 1}.")
        state.put(key, FOLLOWS)
    numbered = len(labels) > 20 or len(set(labels)) < len(labels)

    def shown(index: int) -> str:
        if index == FOLLOWS:  # the same words for every picture: the browser keeps the words, not the choice
            return follows
        return f"{index} · {labels[index]}" if numbered else labels[index]

    chosen: int = st.selectbox(
        label,
        range(FOLLOWS, len(labels)),
        format_func=shown,
        key=key,
        persist_state="session",
        help="Type to search by name or number; letters may be left out.",
    )
    return None if chosen == FOLLOWS else chosen
