"""The methods: a menu by family, and every widget that their declared settings ask for."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import streamlit as st

import xai_core as xai
from pages.shared import state
from pages.shared.errors import plain
from pages.shared.state import Session
from xai_core.registry import settings

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.models import Model
    from xai_core.registry import Component
    from xai_core.validity import Validity

FIRST = ("grad_cam", "lrp", "occlusion")  # the methods a visitor sees first: different families, valid everywhere
TITLES = {"control": "Controls"}
MARKS = {"valid": "✓", "approximate": "≈", "not valid": "✗"}
LEGEND = "✓ valid · ≈ an estimate from draws · ◦ measured on each map · ✗ not valid for this model"

DEAD = "The target does not depend on it: its gradient there is zero."


class Chosen(NamedTuple):
    """Methods with their settings, and those that say nothing about the model with the reason."""

    valid: list[Method]
    refused: list[tuple[str, str]]


def in_order() -> Iterator[tuple[str, list[str]]]:
    """Every family with the names of its methods."""
    from xai_core.methods import FAMILIES

    for family in FAMILIES:
        members = [name for name in xai.METHODS if xai.METHODS[name].family == family]
        if members:
            yield family, sorted(members, key=lambda name: xai.METHODS[name].label)


def title(family: str) -> str:
    """A family's name as a heading."""
    return TITLES.get(family, family[:1].upper() + family[1:])


def tick(names: Collection[str]) -> None:
    """Choose exactly these methods."""
    for name in xai.METHODS:
        state.put(f"use {name}", name in names)


def ticked(name: str) -> bool:
    """Whether a method is chosen."""
    state.start_with(f"use {name}", name in FIRST)
    return bool(state.value(f"use {name}"))


def methods(model: Model, visitor: Session, measured: Sequence[Validity]) -> Chosen:
    """Choose methods and their settings. Those that say nothing about the model cannot be chosen."""
    reasons = {name: xai.METHODS[name]().why_not(model) for name in xai.METHODS}
    verdicts = {one.name: one for one in measured}
    valid = [name for name, reason in reasons.items() if reason is None]
    chosen = [name for _, members in in_order() for name in members if ticked(name)]
    count = sum(name in valid for name in chosen)
    st.markdown(f"**Methods** · {count} of {len(valid)} chosen", help=LEGEND)
    with st.container(horizontal=True, gap="small", key="menu buttons"):
        st.button("All valid", key="all valid", on_click=tick, args=(valid,))
        st.button("First three", key="first three", on_click=tick, args=(FIRST,))
    asked: dict[str, dict[str, Any]] = {}
    with st.container(gap="xsmall", key="menu"):
        for family, members in in_order():
            picked = sum(name in chosen and name in valid for name in members)
            words = f"{title(family)} · {picked} of {len(members)}" if picked else title(family)
            with st.expander(words, key=f"family {family}"):
                if family == "control":
                    st.caption("They know nothing of the model. A map that is no better is no evidence.")
                for name in members:
                    if reason := reasons[name]:
                        _refused(xai.METHODS[name], reason)
                    elif (given := _offered(xai.METHODS[name], verdicts.get(name))) is not None:
                        asked[name] = given
    read = layer(model, visitor) if any(reads_a_layer(name) for name in chosen) else ""
    built = []
    for name in (name for name in chosen if name in asked):
        where = {"layer": read} if reads_a_layer(name) else {}
        built.append(xai.METHODS.build({"name": name, **asked[name], **where}))
    refused = [(xai.METHODS[name].label, reason) for name in chosen if (reason := reasons[name])]
    return Chosen(built, refused)


def reads_a_layer(name: str) -> bool:
    """Whether a method reads a layer, which is then one of its settings."""
    return any(field.name == "layer" for field in settings(xai.METHODS[name]))


def _refused(cls: type[Method], reason: str) -> None:
    st.checkbox(f"✗ {cls.label}", False, key=f"refused {cls.name}", disabled=True, help=plain(cls.summary()))
    st.caption(plain(reason))


def _offered(cls: type[Method], verdict: Validity | None) -> dict[str, Any] | None:
    """A method to tick, with its settings behind a button; the settings, where it is ticked."""
    mark = MARKS[verdict.verdict] if verdict else "≈" if cls.approximate else "◦" if cls.promises else "✓"
    drawn = [field for field in settings(cls) if field.name != "layer"]
    about = plain(cls.summary())
    if verdict and verdict.reason:
        about += f"\n\n{mark} {plain(verdict.reason)}"
    with st.container(horizontal=True, vertical_alignment="center", gap="small", key=f"method {cls.name}"):
        if not st.checkbox(
            f"{mark} {cls.label}", key=f"use {cls.name}", persist_state="session", help=about, width="stretch"
        ):
            return None
        if not drawn:
            return {}
        return widgets(cls, drawn)


def widgets(cls: type[Component], drawn: Sequence[dataclasses.Field[Any]], label: str = "") -> dict[str, Any]:
    """The settings of a method or metric, behind a button, which may have a `label`."""
    words = f":material/tune: {label}".strip()
    with st.popover(words, type="tertiary", width="content", help=f"Settings of {cls.label}"):
        st.caption(f"Settings of {cls.label}")
        return {field.name: setting(f"{cls.name}.{field.name}", field) for field in drawn}


def one(models: Sequence[Model]) -> tuple[str, dict[str, Any]]:
    """Choose one method for all of `models`, and its settings but the layer."""
    reasons = {name: next(filter(None, map(xai.METHODS[name]().why_not, models)), None) for name in xai.METHODS}
    valid = [name for _, members in in_order() for name in members if reasons[name] is None]
    wanted = state.value("method")
    if wanted not in valid:
        if wanted in xai.METHODS:
            st.info(f"{plain(xai.METHODS[wanted].label)} cannot be asked of all these models. {plain(reasons[wanted])}")
        state.put("method", valid[0] if FIRST[0] not in valid else FIRST[0])

    def shown(name: str) -> str:
        return f"{xai.METHODS[name].label} · {xai.METHODS[name].family}"

    with st.container(horizontal=True, vertical_alignment="bottom", gap="small", key="one method"):
        name = st.selectbox(
            "Method",
            valid,
            format_func=shown,
            key="method",
            persist_state="session",
            width="stretch",
            help="One for all models, so that what differs is the models. Those that cannot be asked of all of them "
            "are not offered.",
        )
        drawn = [field for field in settings(xai.METHODS[name]) if field.name != "layer"]
        given = widgets(xai.METHODS[name], drawn) if drawn else {}
    st.caption(plain(xai.METHODS[name].summary()))
    return name, given


def several(models: Sequence[Model], key: str, first: Sequence[str]) -> list[dict[str, Any]]:
    """Choose methods for all of `models`: the name of each, with its settings but the layer. `first` are chosen first.

    None at all is a choice, too.
    """
    reasons = {name: next(filter(None, map(xai.METHODS[name]().why_not, models)), None) for name in xai.METHODS}
    valid = [name for _, members in in_order() for name in members if reasons[name] is None]
    state.start_with(key, [name for name in first if name in valid])
    if left := [name for name in state.value(key) if name not in valid]:
        for name in left:
            known = name in xai.METHODS
            why = reasons[name] if known else "No method is called so."
            st.info(f"{plain(xai.METHODS[name].label if known else name)} is left out. {plain(why)}")
        state.put(key, [name for name in state.value(key) if name in valid])
    chosen = st.multiselect(
        "Methods",
        valid,
        format_func=lambda name: xai.METHODS[name].label,
        key=key,
        persist_state="session",
        help="Those that cannot be asked of all the models are not offered.",
    )
    asked: list[dict[str, Any]] = []
    with st.container(horizontal=True, gap="small", key=f"settings of {key}"):
        for name in chosen:
            drawn = [field for field in settings(xai.METHODS[name]) if field.name != "layer"]
            given = widgets(xai.METHODS[name], drawn, xai.METHODS[name].label) if drawn else {}
            asked.append({"name": name, **given})
    return asked


def layer_key(name: str, slot: int = 0) -> str:
    """The key of the widget that chooses the layer of a model."""
    return f"layer {slot} {name}" if slot else f"layer {name}"


def layer(model: Model, visitor: Session, slot: int | None = None) -> str:
    """One layer for all methods that read one; empty is the default, the deepest that the target depends on.

    Where several models are compared, `slot` is the number of the model.
    """
    key = layer_key(model.name, slot or 0)
    label = "Layer" if slot is None else f"Layer of model {slot + 1}, {model.name}"
    usable = [name for name in model.stages if model.reaches(name)]
    wanted = state.value(key)
    if not usable:
        return ""
    if wanted in model.layers and wanted not in model.stages and model.reaches(wanted):  # a record may have read it
        usable = [name for name in model.layers if name in usable or name == wanted]
    elif wanted not in usable:
        if wanted in model.layers:
            visitor.say(f"Layer {wanted} of {model.name} is not used. {DEAD} {model.default_layer} is taken.")
        elif wanted:
            visitor.say(f"{model.name} has no layer {wanted!r} with a height and a width. Choose one of those offered.")
        state.put(key, model.default_layer)
    grids = {name: one.grid for name, one in model.layers.items()}  # not the model: the widget would keep it alive

    def grid(name: str) -> str:
        rows, columns = grids[name]
        return f"{name}, {rows} × {columns}"

    chosen = str(
        st.select_slider(
            plain(label),
            usable,
            format_func=grid,
            key=key,
            persist_state="session",
            help="Where all class activation methods read, from shallow to deep. Deep layers know more of the class, "
            "shallow ones show finer places.",
        )
        if len(usable) > 1
        else usable[0]
    )
    default = " The default: the deepest that the target depends on." if chosen == model.default_layer else ""
    st.caption(plain(f"{usable.index(chosen) + 1} of {len(usable)}, from shallow to deep.{default}"))
    if dead := [name for name in model.stages if name not in usable]:
        st.caption(f"✗ Not to be read: {plain(', '.join(map(grid, dead)))}. {DEAD}")
    return "" if chosen == model.default_layer else chosen


def setting(key: str, field: dataclasses.Field[Any]) -> Any:
    """One setting, as its declaration wants it."""
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


def changed(component: Component) -> Mapping[str, Any]:
    """A method or metric as a link holds it: settings that are at their default stay out."""
    given = {field.name: getattr(component, field.name) for field in settings(type(component))}
    default = {field.name: field.default for field in settings(type(component))}
    return {"name": component.name, **{key: value for key, value in given.items() if value != default[key]}}
