"""Which number of the network is explained: the class, and what of it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from pages.shared import state
from pages.shared.errors import plain
from pages.shared.question import KINDS, Question
from pages.shared.state import Session
from xai_core.records import Prediction, Target

FEW, MANY = 3, 14  # findings with a map each, where the prediction says how many
FOLLOWS = -1  # of the classes: whichever the model predicts, or comes next
HELP = {
    "single label": "Logit: the class's raw output. Probability: after the softmax, so the other classes count too. "
    "Contrast: the logit minus that of another class, so what speaks for both drops out.",
    "multi label": "Logit: the label's raw output. Probability: its own, independent of the other labels. "
    "Contrast: the logit minus that of another label, so what speaks for both drops out.",
}


def choose(
    said: Prediction, name: str, visitor: Session, *, several: bool = False
) -> tuple[Target, int | None, int | None]:
    """Choose what is explained. Also the class and its rival as they were asked for: None follows the prediction.

    Where `several` classes are, which one is not asked.
    """
    word = "output" if said.task == "regression" else "class"
    chosen = (
        None
        if several
        else one_class(said.labels, f"target {name}", f"Target {word}", f"the predicted {word}", name, visitor)
    )
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
    against = one_class(said.labels, f"against {name}", "Against", "the strongest other class", name, visitor)
    target = aimed(said, chosen, kind, against)
    if against == target.index:
        st.caption(f"A class has no contrast with itself, so {plain(target.against_label)} is taken.")
    return target, chosen, against


def offers_several(said: Prediction) -> bool:
    """Whether there are outputs enough for a map each, and not too many to be of interest together."""
    from xai_core.findings import MOST

    return len(said.labels) > 1 and (len(said.labels) <= MOST or said.task == "multi label")


def how_many(said: Prediction) -> int | None:
    """Choose whether each of the likeliest findings, or classes, gets a map: at most so many, 0 by the prediction.

    None is for a map of the one target.
    """
    from xai_core.findings import MOST, NOUNS, plural

    noun = NOUNS[said.task]
    if not offers_several(said):
        return None
    several = st.toggle(
        f"One map per {noun}",
        key="one each",
        persist_state="session",
        help=f"One method for several {plural(noun)}, the likeliest first, instead of several methods for one.",
    )
    if not several:
        return None
    chosen = st.number_input(
        f"How many {plural(noun)}, at most",
        1,
        MOST,
        None,
        key="how many",
        persist_state="session",
        placeholder=str(MANY) if said.task == "regression" else "those above 50 %",
        help=f"Left empty, {FEW} to {MANY} of them.",
    )
    return chosen or 0


def fill(asked: Question) -> None:
    """Put into the widgets of `how_many` what a link or a record asks."""
    from xai_core.findings import MOST

    state.put("one each", asked.findings is not None)
    state.put("how many", min(asked.findings, MOST) if asked.findings else None)


def each(said: Prediction, count: int, kind: str, against: int | None) -> list[Target]:
    """What is explained of each of `count` classes, the likeliest first; 0 are those above 50 %, FEW to MANY."""
    if not count:
        above = MANY if said.task == "regression" else int((said.probabilities > 0.5).sum())
        count = min(max(above, FEW), MANY)
    return [aimed(said, int(number), kind, against) for number in said.order()[:count]]


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


def one_class(labels: Sequence[str], key: str, label: str, follows: str, name: str, visitor: Session) -> int | None:
    """Choose a class; None is the one that follows the prediction."""
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
