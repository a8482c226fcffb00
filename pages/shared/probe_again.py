"""What a saved finding asked, asked again: with its pictures where they are still here, saying what is otherwise."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

import xai_core as xai
from pages.shared import errors, probe_boxes, probe_link, probe_pictures, samples, state, targets
from pages.shared.answers import some
from pages.shared.errors import plain
from pages.shared.probe_form import Asked
from pages.shared.probe_pictures import Pictures
from pages.shared.state import Session
from xai_core.errors import PictureError
from xai_core.records import Case, Finding
from xai_core.registry import settings

if TYPE_CHECKING:
    from xai_core.probes import Probe, Subject

MOST_NAMED = 5  # pictures that are missing
PREDICTED = "the predicted one"


@errors.kept
def begin(visitor: Session, record: Finding) -> None:
    """Put what a finding asked into the widgets of the page, which takes it up."""
    visitor.began = True
    visitor.ask(probe_link.question(record))
    if len(record.pictures) == 1:
        source = "this"
    elif set(record.pictures) <= {image.sha256 for image in visitor.pictures.values()}:
        source = "uploads"
    else:
        source = _set(visitor, record.pictures)
    visitor.probing.address = probe_link.words(record, source)
    visitor.probing.again = record
    part = str(getattr(xai.PROBES[name], "part", "")) if (name := str(record.probe["name"])) in xai.PROBES else ""
    visitor.probing.boxes |= {probe_boxes.key_of(sha256, part): box for sha256, box in record.boxes.items()}
    if record.target is None:
        state.put(f"target {record.model.get('name', '')}", targets.FOLLOWS)


def _set(visitor: Session, pictures: Sequence[str]) -> str:
    """The source with those pictures: the set that is open, else samples, else whichever set the person gives."""
    key, read = visitor.probing.picked.read
    if not isinstance(read, str) and set(pictures) <= set(_hashes(visitor, key, read.cases)):
        return "audited" if key.startswith(probe_pictures.OF_RUN) else "set"
    families = {samples.samples()[name].family if (name := samples.by_hash(one)) else "" for one in pictures}
    if len(families) == 1 and (family := families.pop()):
        state.put(f"{probe_pictures.SET} source", "samples")
        state.put(f"{probe_pictures.SET} family", family)
        visitor.probing.picked.family_chosen = True
    return "set"


def _hashes(visitor: Session, mark: str, cases: Sequence[Subject | Case]) -> Sequence[str]:
    """The sha256 of pictures, read once; `mark` tells them from others. Files that are gone have none."""
    if visitor.probing.hashes[0] != mark:
        with st.spinner("Looking for the pictures of the record"):
            visitor.probing.hashes = mark, [one for case in cases if (one := _hash(case))]
    return visitor.probing.hashes[1]


def _hash(one: Subject | Case) -> str:
    if not isinstance(one, Case):
        return one.image.sha256
    try:
        return hashlib.sha256(one.read()).hexdigest()
    except PictureError:
        return ""


# ---- what is otherwise ---------------------------------------------------------------------------------------------


def say(visitor: Session, asked: Asked, pictures: Pictures | None, probe: Probe | None = None) -> None:
    """Say which pictures of a finding are missing, and what is asked otherwise than it was, until that is put away."""
    record = visitor.probing.again
    if record is None:
        return

    def put_away() -> None:
        visitor.probing.again = None

    if pictures is None:
        said, others = f"The record is of {some(len(record.pictures), 'picture')}. Give them here to ask again.", []
    else:
        said = _missing(record.pictures, _hashes(visitor, pictures.mark, pictures.cases))
        others = [] if probe is None else _otherwise(record, asked, probe)
    with st.container(border=True, key="asked again"):
        st.markdown(f":material/replay: **Asked again from a saved record.** {plain(said)}")
        if others:
            st.markdown(f"Otherwise than in the record: {plain('; '.join(others))}.")
        with st.container(horizontal=True, key="asked again actions"):
            if others:
                st.button("Ask as the record did", key="as the record", on_click=begin, args=(visitor, record))
            st.button("Close", key="put the record away", on_click=put_away)


def _missing(wanted: Sequence[str], here: Sequence[str]) -> str:
    """Which pictures of a record are not here, by how their hashes begin, and how many others are."""
    missing = [one for one in dict.fromkeys(wanted) if one not in set(here)]
    others = len(set(here) - set(wanted))
    count = some(len(wanted), "picture")
    if not missing:
        more = f" {some(others, 'other')} beside them: it left those out, or did not have them." if others else ""
        return f"{'Its picture is' if len(wanted) == 1 else f'All its {count} are'} here.{more}"
    if len(missing) == len(set(wanted)):
        return f"{'Its picture is not' if len(wanted) == 1 else f'None of its {count} is'} here. Choose them above."
    named = ", ".join(f"{one[:8]}…" for one in missing[:MOST_NAMED])
    more = f" and {len(missing) - MOST_NAMED} more" if len(missing) > MOST_NAMED else ""
    return f"{len(missing)} of its {count} are missing here, those with SHA-256 {named}{more}."


def _otherwise(record: Finding, asked: Asked, probe: Probe) -> list[str]:
    """What is asked otherwise than the record did, in the order of the form."""
    model = asked.models[0].model
    if probe.name != record.probe["name"]:
        return [f"the probe (it was {_label(record)})"]
    found = [_was(field.metadata["label"], record.probe.get(field.name)) for field in _changed(record, probe)]
    if model.identity["name"] != record.model.get("name"):
        found.append(_was("the model", record.model.get("name")))
    elif model.identity["weights_sha256"] != record.model.get("weights_sha256"):
        found.append("the weights of the model")
    if (target := PREDICTED if record.target is None else str(record.target)) != (asked.label or PREDICTED):
        found.append(_was("the target class", target))
    if [dict(one) for one in record.methods] != [one.fitted(model).to_dict() for one in asked.methods[0]]:
        found.append(_was("the methods", ", ".join(str(one["name"]) for one in record.methods)))
    return found + ([_was("the seed", record.seed)] if record.seed != asked.seed else [])


def _changed(record: Finding, probe: Probe) -> list[dataclasses.Field[Any]]:
    """The settings of the probe that are not those of the record."""
    now = probe.to_dict()
    return [field for field in settings(type(probe)) if now[field.name] != record.probe.get(field.name)]


def _was(what: str, then: object) -> str:
    """A part of the question, with what the record has of it."""
    return f"{what[:1].lower()}{what[1:]} (it was {'left empty' if then in ('', None) else then})"


def _label(record: Finding) -> str:
    name = str(record.probe["name"])
    return xai.PROBES[name].label if name in xai.PROBES else name
