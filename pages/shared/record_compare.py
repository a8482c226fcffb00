"""Two records of one picture side by side: what each model said, where it looked, and what was asked otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from pages.shared import cached, panels, record_keep, side_by_side, state, viewer
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.question import Looks
from pages.shared.record_list import open_record, when
from pages.shared.record_open import explanations_in, flat
from pages.shared.state import Session
from xai_core.errors import RecordError
from xai_core.records import Explanation, Prediction, Record

T = TypeVar("T", Explanation, Prediction)
NOTHING = "–"
LONGEST = 300  # characters of one value


def compared(visitor: Session, store: Path, place: str, beside: str) -> None:
    """Two records, the one that was saved first on the left. Raises RecordError where they are not of one picture."""
    with st.container(horizontal=True, key="record actions"):
        st.button("All records", key="back", icon=":material/arrow_back:", on_click=open_record, args=(visitor, ""))
        for one in (place, beside):
            st.button(f"Open {plain(one)}", key=f"alone {one}", on_click=open_record, args=(visitor, one))
    state.write_address({"record": place, "with": beside})
    record_keep.settled(visitor)
    with st.spinner("Loading the libraries (once, some seconds)"):
        cached.load_core()
    records = sorted(
        (explanations_in(store / one) for one in (place, beside)), key=lambda one: str(one.manifest["created"])
    )
    check_one_picture(*records)
    names = called(*records)
    pairs = list(zip(records, names, strict=True))
    explained = [named(e, name) for record, name in pairs for e in record.explanations]
    said = [named(one, name) for record, name in pairs for one in record.predictions]
    st.header("What the models said", anchor=False)
    _predictions(said, explained)
    st.header("Attribution maps, on one scale", anchor=False)
    weighed = [one for record in records for one in record.evidence or [None] * len(record.explanations)]
    method = _method(explained, records)
    by_it = {n: e for n, e in enumerate(explained) if viewer.label(e) == method}
    mark = digest(records=[str(one.manifest["id"]) for one in records], method=method)[:16]
    viewer.maps(
        list(by_it.values()), f"records {mark}", Looks(shared=True), 0, lambda: None,
        evidence=[weighed[n] for n in by_it],
    )  # fmt: skip
    _difference(pairs, method)
    st.header("What differs", anchor=False)
    rows = differences(*records)
    if not rows:
        st.info("Nothing that was asked differs.")
        return
    table = {"": [row[0] for row in rows], "0": [row[1] for row in rows], "1": [row[2] for row in rows]}
    columns = {str(n): st.column_config.TextColumn(name, width="medium") for n, name in enumerate(names)}
    alt = "Every setting, model fact and package that is not the same in both records"
    st.dataframe(table, hide_index=True, height="content", column_config=columns, alt=alt)


def check_one_picture(one: Record, other: Record) -> None:
    """Raise RecordError unless both records are of the same picture."""
    first, second = one.explanations[0].image, other.explanations[0].image
    if first != second:
        raise RecordError(
            f"The two records are of different pictures, {first[:12]} and {second[:12]}, so there is nothing to "
            "compare. Choose two of one picture."
        )


def called(one: Record, other: Record) -> tuple[str, str]:
    """What to call each of two records: the day when it was saved, and as much more as tells them apart."""
    both = (one, other)
    days = [str(record.manifest["created"])[:10] for record in both]
    minutes = [when(str(record.manifest["created"])) for record in both]
    ids = [f"{minute}, {record.manifest['id'][:6]}" for minute, record in zip(minutes, both, strict=True)]
    first, second = next((names for names in (days, minutes) if names[0] != names[1]), ids)
    return first, second


def named(one: T, name: str) -> T:
    """The same, its model called by its record too: models of one name are told apart."""
    return replace(one, model={**one.model, "name": f"{one.model.get('name', 'model')}, {name}"})


def _predictions(said: Sequence[Prediction], explained: Sequence[Explanation]) -> None:
    with st.container(border=True, key="predictions"):
        if len(said) > 1:
            side_by_side.predictions(said)
        elif said:
            panels.prediction(said[0], next(e.target for e in explained if e.model == said[0].model))
        else:
            st.caption("Neither record holds what its model said.")


def _method(explained: Sequence[Explanation], records: Sequence[Record]) -> str:
    """Choose the method whose maps are shown, by its label: values of different methods have no scale in common."""
    labels = list(dict.fromkeys(map(viewer.label, explained)))
    labels.sort(key=lambda label: not all(label in map(viewer.label, record.explanations) for record in records))
    if len(labels) == 1:
        return labels[0]
    return str(st.selectbox("Method", labels, key=f"method of {digest(labels=labels)[:8]}"))


def _difference(pairs: Sequence[tuple[Record, str]], method: str) -> None:
    """Where the maps of two records by one method differ."""
    both = [[named(e, name) for e in record.explanations if viewer.label(e) == method] for record, name in pairs]
    if not all(both):
        st.caption("Only one of the records has a map by this method, so nothing is subtracted.")
        return
    picture = pairs[0][0].picture
    height, width = picture.get("height"), picture.get("width")
    side_by_side.difference([maps[0] for maps in both], (height, width) if height and width else None)


def differences(one: Record, other: Record) -> list[tuple[str, str, str]]:
    """Whatever is not the same in two records: what it is called, and what each says of it."""
    before, after = _facts(one), _facts(other)
    every = dict.fromkeys([*before, *after])
    rows = [(key, _shown(before.get(key)), _shown(after.get(key))) for key in every]
    return [row for row in rows if row[1] != row[2]]


def _facts(record: Record) -> dict[str, Any]:
    """Everything that was asked, and with what, in one level."""
    facts: dict[str, Any] = {"reviewer": record.reviewer, "note": record.note}
    several = len(record.models) > 1
    for number, model in enumerate(record.models, 1):
        facts |= flat(model, f"model {number} " if several else "model ")
    facts["target"] = ", ".join(dict.fromkeys(str(e.target) for e in record.explanations))
    found: dict[str, int] = {}
    weighed = record.evidence or [None] * len(record.explanations)
    for e, evidence in zip(record.explanations, weighed, strict=True):
        label = viewer.label(e)
        found[label] = found.get(label, 0) + 1
        title = label if found[label] == 1 else f"{label} ({found[label]})"
        own: Mapping[str, Any] = {
            "made": "yes",
            **e.settings(),
            "seed": e.seed,
            "background pictures": len(e.background),
            "verdict": "not weighed" if evidence is None else evidence.verdict,
        }
        facts |= {f"{title}: {key}": value for key, value in own.items()}
    return facts | flat(record.display, "shown with ") | flat(record.manifest.get("made_with", {}))


def _shown(value: Any) -> str:
    text = NOTHING if value is None or value == "" else str(value)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
