"""The metrics: a menu by aspect, each with what it says in one line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

import xai_core as xai
from pages.shared import menu, state
from pages.shared.errors import plain
from xai_core.registry import settings

if TYPE_CHECKING:
    from xai_core.metrics import Metric

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


def in_address(chosen: Sequence[Metric]) -> tuple[Mapping[str, Any], ...]:
    """The choice as a link holds it: empty where it is the usual one."""
    specs = {metric.name: menu.changed(metric) for metric in chosen}
    every = [specs.get(name, {"name": name}) for name in ticked()]
    usual = [{"name": name} for _, members in in_order() for name in members if is_usual(name)]
    return () if every == usual else tuple(every)


def metrics(marked: bool) -> list[Metric]:
    """Choose metrics and their settings. Those that need marked evidence are offered where some is `marked`."""
    chosen = [name for name in ticked() if marked or not xai.METRICS[name].needs_mask]
    asked: dict[str, dict[str, Any]] = {}
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
                    asked[name] = _offered(name, marked)
    return [xai.METRICS.build({"name": name, **asked[name]}) for name in chosen]


def _offered(name: str, marked: bool) -> dict[str, Any]:
    """A metric to tick, with its settings behind a button."""
    cls, given = xai.METRICS[name], dict[str, Any]()
    label = f"{cls.label} {ARROWS[cls.better]}".strip()
    if cls.needs_mask and not marked:
        st.checkbox(label, False, key=f"unmarked {name}", disabled=True)
        st.caption(NO_MASK)
        return given
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"offered {name}"):
        chosen = st.checkbox(label, key=f"metric {name}", persist_state="session", width="stretch")
        if chosen and (drawn := settings(cls)):
            given = menu.widgets(cls, drawn)
    st.caption(plain(cls.summary()))
    return given
