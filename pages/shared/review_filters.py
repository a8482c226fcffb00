"""The filters and the order of a review, as widgets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import streamlit as st

from pages.shared import errors, state
from pages.shared.errors import plain
from pages.shared.review_cases import VERDICTS, Cases
from pages.shared.review_view import LAYOUTS, PER_PAGE, SHOWS, SORTS, View
from pages.shared.state import Session

MOST_METHODS = 4  # whose maps are shown at first
NO_REASON = "(none)"


def settled(cases: Cases, view: View) -> View:
    """The view with what this run does not have taken out: a link may come from another one."""
    model = view.model if view.model in cases.models else cases.models[0]
    method = view.method if view.method in cases.methods else next(iter(cases.methods), "")
    return replace(
        view,
        model=model,
        method=method,
        shows=_among(view.shows, shows(cases)),
        truths=_among(view.truths, truths(cases)),
        said=_among(view.said, said(cases, model)),
        verdicts=_among(view.verdicts, VERDICTS),
        maps=_among(view.maps, cases.run.methods),
        groups={
            name: _among(values, set(cases.groups[name]))
            for name, values in view.groups.items()
            if name in cases.groups
        },
        case=view.case if view.case in cases.places else "",
        sort=view.sort if cases.labelled or view.sort != "loss" else "file",
    )


def shows(cases: Cases) -> list[str]:
    """The quick filters that say something about this run."""
    left_out = set() if cases.labelled else {"wrong", "right", "sure"}
    left_out |= set() if len(cases.models) > 1 else {"disagree"}
    return [one for one in SHOWS if one not in left_out]


def truths(cases: Cases) -> list[str]:
    """The true classes."""
    return sorted({one for one in cases.truths if one is not None})


def said(cases: Cases, model: str) -> list[str]:
    """The classes that a model predicted."""
    return sorted({str(one) for one in cases.column(model, "predicted") if one is not None})


def about(visitor: Session, cases: Cases) -> None:
    """Choose, in the sidebar, the model and the method that filters and order speak of, and the maps that are shown."""
    if len(cases.models) > 1:
        _one(
            visitor, "Model", "model", cases.models, help="Wrong, confidence, loss and classes are those of this model."
        )
    if len(cases.methods) > 1:
        _one(visitor, "Method", "method", cases.methods, help="Evidence and border share are those of its map.")
    every = list(cases.run.methods)
    _many(visitor, "Maps", "maps", every, placeholder="The first ones", help="Which methods' maps are shown of a case.")


def shown_methods(cases: Cases, view: View) -> list[str]:
    """The methods whose maps are shown."""
    return list(view.maps) or cases.methods[:MOST_METHODS]


def bar(visitor: Session, cases: Cases, reasons: Mapping[str, str]) -> None:
    """The filters over the list."""
    view = visitor.reviewing.view
    key = _key(visitor, "shows")
    _keep(key, list(view.shows))
    st.pills(
        "Show",
        shows(cases),
        format_func=SHOWS.__getitem__,
        selection_mode="multi",
        key=key,
        on_change=_take,
        args=(visitor, "shows", key),
        help="All that are chosen have to hold.",
    )
    with st.container(horizontal=True, vertical_alignment="bottom", key="review bar"):
        more = view.filters - bool(view.shows)
        with st.popover(f"More filters{f' ({more})' if more else ''}", icon=":material/filter_list:"):
            _more(visitor, cases, reasons)
        _one(visitor, "Sort by", "sort", [one for one in SORTS if cases.labelled or one != "loss"], SORTS, width=150)
        key = _key(visitor, "down")
        _keep(key, view.down)
        st.segmented_control(
            "Order",
            [False, True],
            format_func=lambda down: ":material/arrow_downward: down" if down else ":material/arrow_upward: up",
            key=key,
            required=True,
            on_change=_take,
            args=(visitor, "down", key),
            width="content",
        )
        key = _key(visitor, "layout")
        _keep(key, view.layout)
        st.segmented_control(
            "As",
            list(LAYOUTS),
            format_func=LAYOUTS.__getitem__,
            key=key,
            required=True,
            on_change=_take,
            args=(visitor, "layout", key),
            width="content",
        )
        if len(cases) > PER_PAGE[0]:
            _one(visitor, "Per page", "per_page", PER_PAGE, width=110)
        if view.filters:
            st.button(
                "Clear filters", key="clear filters", icon=":material/filter_list_off:", on_click=clear, args=(visitor,)
            )


def _more(visitor: Session, cases: Cases, reasons: Mapping[str, str]) -> None:
    view = visitor.reviewing.view
    if cases.labelled:
        _many(visitor, "True class", "truths", truths(cases))
    _many(visitor, "Predicted class", "said", said(cases, view.model))
    if cases.methods and len(cases.run.evidence):
        _many(visitor, "Verdict of the evidence", "verdicts", VERDICTS, help=plain(f"Of the map by {view.method}."))
    for name, values in cases.groups.items():
        key = _key(visitor, f"group {name}")
        _keep(key, list(view.groups.get(name, ())))
        st.multiselect(
            plain(name.replace("_", " ")),
            sorted(set(values)),
            format_func=lambda value: value or NO_REASON,
            key=key,
            on_change=_take_group,
            args=(visitor, name, key),
        )
    _many(
        visitor,
        "Reason",
        "reasons",
        ["", *reasons],
        {"": NO_REASON, **{code: f"{code} {words}" for code, words in reasons.items()}},
    )


def change(visitor: Session, **parts: Any) -> None:
    """Set parts of the view otherwise than by its widgets: these are drawn anew."""
    reviewing = visitor.reviewing
    reviewing.view = replace(reviewing.view, **{"page": 1, **parts})
    reviewing.given += 1


@errors.kept
def clear(visitor: Session) -> None:
    """Take all filters away."""
    change(visitor, shows=(), truths=(), said=(), verdicts=(), reasons=(), groups={})


def in_words(view: View) -> str:
    """The filters that are set, in a sentence."""
    parts = [SHOWS[one].lower() for one in view.shows]
    lists = {"true class": view.truths, "predicted": view.said, "evidence": view.verdicts, "reason": view.reasons}
    parts += [
        f"{name} {' or '.join(one or NO_REASON for one in values)}"
        for name, values in {**lists, **view.groups}.items()
        if values
    ]
    return ", ".join(parts)


# ---- one widget ----------------------------------------------------------------------------------------------------


def _one(
    visitor: Session, label: str, name: str, options: Sequence[Any], words: Mapping[Any, str] | None = None, **more: Any
) -> None:
    key = _key(visitor, name)
    _keep(key, getattr(visitor.reviewing.view, name))
    shown: Callable[[Any], str] = (lambda one: words[one]) if words else str
    st.selectbox(label, options, format_func=shown, key=key, on_change=_take, args=(visitor, name, key), **more)


def _many(
    visitor: Session, label: str, name: str, options: Sequence[str], words: Mapping[str, str] | None = None, **more: Any
) -> None:
    key = _key(visitor, name)
    _keep(key, list(getattr(visitor.reviewing.view, name)))
    shown: Callable[[Any], str] = (lambda one: words[one]) if words else str
    st.multiselect(label, options, format_func=shown, key=key, on_change=_take, args=(visitor, name, key), **more)


def _key(visitor: Session, name: str) -> str:
    return f"review {visitor.reviewing.given} {name}"


def _keep(key: str, value: Any) -> None:
    """The widget says what the view says, also when it is drawn again after a while."""
    if state.value(key) != value:
        state.put(key, value)


@errors.kept
def _take(visitor: Session, name: str, key: str) -> None:
    value = state.value(key)
    parts: dict[str, Any] = {name: tuple(value) if isinstance(value, list | tuple) else value}
    if name not in ("layout", "maps"):
        parts["page"] = 1
    visitor.reviewing.view = replace(visitor.reviewing.view, **parts)


@errors.kept
def _take_group(visitor: Session, column: str, key: str) -> None:
    view = visitor.reviewing.view
    visitor.reviewing.view = replace(view, groups={**view.groups, column: tuple(state.value(key) or ())}, page=1)


def _among(values: Sequence[str], offered: Any) -> tuple[str, ...]:
    return tuple(one for one in values if one in set(offered))
