"""The metrics: a menu by aspect, each with what it says in one line."""

from __future__ import annotations

from collections.abc import Iterator

import streamlit as st

import xai_core as xai
from pages.shared import state
from pages.shared.errors import plain

USUAL = (
    "deletion",
    "insertion",
    "average_sensitivity",
    "sparseness",
    "class_contrast",
    "weight_randomisation",
    "border_share",
)
NO_MASK = "It needs marked evidence, and this picture has no mask."
ARROWS = {"higher": "↑", "lower": "↓", "": ""}


def is_usual(name: str) -> bool:
    """Whether a metric is chosen until somebody chooses: the usual ones, and those against marked evidence."""
    return name in USUAL or xai.METRICS[name].needs_mask


def in_order() -> Iterator[tuple[str, list[str]]]:
    """Every aspect with the names of its metrics."""
    from xai_core.metrics import ASPECTS

    for aspect in ASPECTS:
        members = [name for name in xai.METRICS if xai.METRICS[name].aspect == aspect]
        if members:
            yield aspect, sorted(members, key=lambda name: xai.METRICS[name].label)


def tick(names: list[str]) -> None:
    """Choose exactly these metrics."""
    for name in xai.METRICS:
        state.put(f"metric {name}", name in names)


def ticked() -> list[str]:
    """The metrics that are chosen, aspect by aspect."""
    for name in xai.METRICS:
        state.start_with(f"metric {name}", is_usual(name))
    return [name for _, members in in_order() for name in members if state.value(f"metric {name}")]


def in_address() -> tuple[str, ...]:
    """The choice as a link holds it: empty where it is the usual one."""
    chosen = ticked()
    return () if set(chosen) == {name for name in xai.METRICS if is_usual(name)} else tuple(chosen)


def metrics(marked: bool) -> list[str]:
    """Choose metrics. Those that need marked evidence are offered where some is `marked`."""
    chosen = [name for name in ticked() if marked or not xai.METRICS[name].needs_mask]
    title = f"Metrics · {len(chosen)} of {len(xai.METRICS)} chosen"
    with st.expander(title, key="metrics", icon=":material/straighten:"):
        with st.container(horizontal=True, gap="small"):
            st.button("All", key="all metrics", on_click=tick, args=(list(xai.METRICS),))
            st.button("Usual", key="usual metrics", on_click=tick, args=([n for n in xai.METRICS if is_usual(n)],))
        columns = st.columns(2, gap="medium")
        for number, (aspect, members) in enumerate(in_order()):
            with columns[number % 2]:
                st.markdown(f"**{aspect[:1].upper()}{aspect[1:]}**")
                for name in members:
                    _offered(name, marked)
    return chosen


def _offered(name: str, marked: bool) -> None:
    cls = xai.METRICS[name]
    label = f"{cls.label} {ARROWS[cls.better]}".strip()
    if cls.needs_mask and not marked:
        st.checkbox(label, False, key=f"unmarked {name}", disabled=True)
        st.caption(NO_MASK)
        return
    st.checkbox(label, key=f"metric {name}", persist_state="session")
    st.caption(plain(cls.summary()))
