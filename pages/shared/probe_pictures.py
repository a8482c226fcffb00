"""The pictures that a probe is put to: one, several uploads, samples, a labelled set, or one that was audited."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from pages.shared import audit_data, inputs, jobs, samples, sets, state
from pages.shared.answers import some
from pages.shared.audit_data import Source
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.state import Session
from xai_core.errors import AuditError, RecordError
from xai_core.records import Case, Image

if TYPE_CHECKING:
    from xai_core.cases import CaseSet
    from xai_core.models import Model
    from xai_core.probes import Subject
    from xai_core.runs import Run
    from xai_core.unit_store import UnitStore

SOURCES = {
    "this": "This picture",
    "uploads": "My uploads",
    "samples": "Samples that fit",
    "set": "A labelled set",
    "audited": "An audited set",
}
KEY, RUN = "probed pictures", "probed run"
SET = "probe"  # leads the keys of the widgets by which a labelled set is chosen
OF_RUN = "run "  # how the key of a set begins that was audited
MOST_SHOWN = 24  # thumbnails


@dataclass(frozen=True, eq=False)
class Pictures:
    """What is probed. `mark` tells these pictures from all others; `columns` are those of their table.

    `names` are for the screen. `store` may know answers about them. `image` is the one that is looked at, where only
    one is probed. `read` is the set, where they are one.
    """

    cases: Sequence[Subject | Case]
    names: Sequence[str]
    mark: str
    columns: Sequence[str] = ()
    store: UnitStore | None = None
    image: Image | None = None
    read: CaseSet | None = None


def source(visitor: Session) -> str:
    """Choose where the pictures come from."""
    state.start_with(KEY, "this")
    chosen = st.radio(
        "Pictures",
        list(SOURCES),
        format_func=SOURCES.__getitem__,
        horizontal=True,
        key=KEY,
        persist_state="session",
        on_change=_fit,
        args=(visitor,),
        help="One picture shows what happens to it. Several say what holds in general, with intervals. Groups and "
        "shortcuts need a set; groups also its table, labels.csv, with a column to group by.",
    )
    return str(chosen or "this")


def choose(visitor: Session, source: str, model: str) -> Pictures | None:
    """The pictures of that source, those of the sidebar among them; None where there are none yet, which is said."""
    if source == "this":
        return _this(visitor)
    if source == "uploads":
        return _uploads(visitor)
    if source == "samples":
        return _samples(model)
    if source == "audited":
        return _audited(visitor)
    with st.container(border=True, key="a labelled set"):
        _, cases = sets.choose(visitor, visitor.probing.picked, SET, "The set", inputs.family(model))
    return None if cases is None else _of_set(cases, f"{visitor.probing.picked.read[0]}", jobs.units())


def _this(visitor: Session) -> Pictures | None:
    image = inputs.current(visitor)
    if image is None:
        return None
    if not visitor.sample:
        return _given(visitor, [image], image)
    sample = samples.samples()[visitor.sample]
    cases = audit_data.cases_of(Source("samples", sample.family))
    case = next(one for one in cases.cases if one.name.rpartition("/")[2] == sample.path.name)
    return Pictures([case], [sample.label], digest(sample=image.sha256), cases.columns, jobs.units(), image)


def _uploads(visitor: Session) -> Pictures | None:
    found = list(visitor.pictures.values())
    if not found:
        st.info("Drop some pictures in the sidebar.", icon=":material/add_photo_alternate:")
        return None
    _thumbnails([(samples.thumbnail(one, samples.SIDE), one.name) for one in found])
    return _given(visitor, found)


def _given(visitor: Session, images: Sequence[Image], image: Image | None = None) -> Pictures:
    """Uploads, each with the mask that was given for it."""
    from xai_core.probes import Subject

    masks = [visitor.masks.get(state.place(one)) for one in images]
    subjects = [
        Subject(number, one, mask=None if mask is None else mask.pixels[..., 0] > 127)
        for number, (one, mask) in enumerate(zip(images, masks, strict=True), 1)
    ]
    mark = digest(uploads=[[one.sha256, mask and mask.sha256] for one, mask in zip(images, masks, strict=True)])
    return Pictures(subjects, [one.name for one in images], mark, (), jobs.units(), image)


def _samples(model: str) -> Pictures:
    fitting = inputs.fitting(model)
    _thumbnails([(samples.sample_thumbnail(one.key), one.label) for one in fitting])
    return _of_set(audit_data.cases_of(Source("samples", fitting[0].family)), fitting[0].family, jobs.units())


def _of_set(cases: CaseSet, which: str, store: UnitStore | None) -> Pictures:
    told = [[case.name, case.label, dict(case.groups)] for case in cases.cases]
    mark = digest(set=which, name=cases.name, cases=told)
    return Pictures(cases.cases, [case.name for case in cases.cases], mark, cases.columns, store, None, cases)


def say_labels(pictures: Pictures, models: Sequence[Model]) -> None:
    """Say which labels of the set a model does not have."""
    from xai_core.probing import said_of_labels

    if pictures.read is None:
        return
    for model in models:
        for sentence in said_of_labels(model, pictures.read):
            st.warning(plain(sentence), icon=":material/warning:")


def _thumbnails(shown: Sequence[tuple[bytes, str]]) -> None:
    with st.container(horizontal=True, gap="xsmall", key="probed thumbnails"):
        for content, name in shown[:MOST_SHOWN]:
            st.image(content, width=64, alt=name)
    more = f", {MOST_SHOWN} of them shown" if len(shown) > MOST_SHOWN else ""
    st.caption(f"{some(len(shown), 'picture')}{more}")


# ---- audited sets --------------------------------------------------------------------------------------------------


def _audited(visitor: Session) -> Pictures | None:
    runs = {name: one.run for name, one in sets.runs().items() if one.run is not None}
    if not runs:
        st.info(
            "No audit has been run yet. Begin one on the Review page, or choose a labelled set.",
            icon=":material/fact_check:",
        )
        return None
    if state.value(RUN) not in runs:
        state.put(RUN, next(iter(runs)))
    with st.container(border=True, key="an audited set"):
        name = str(
            st.selectbox("Audited set", list(runs), key=RUN, persist_state="session", on_change=_fit, args=(visitor,))
        )
        run, picked = runs[name], visitor.probing.picked
        key = f"{OF_RUN}{run.folder} {run.facts['started']}"
        if picked.read[0] != key:
            try:
                picked.read = key, sets.of_run(run)
            except AuditError as error:
                picked.read = key, str(error)
        found = picked.read[1]
        if isinstance(found, str):
            st.error(plain(found), icon=":material/error:")
            return None
        sets.said(found, SET)
    return _of_set(found, key, _store(run))


def _store(run: Run) -> UnitStore | None:
    """The answers of a run; where they are gone, those of this server."""
    with suppress(RecordError):
        return run.store
    return jobs.units()


def _fit(visitor: Session) -> None:
    """Let the first model be the first of the audited set, as long as nobody chose one."""
    from xai_core.loading import is_safe_name

    if state.value(KEY) != "audited" or 0 in visitor.models_chosen:
        return
    runs = {name: one.run for name, one in sets.runs().items() if one.run is not None}
    run = runs.get(str(state.value(RUN)), next(iter(runs.values()), None))
    spec = {} if run is None else run.facts["models"][0].get("spec") or {}
    if spec.get("checkpoint") or not is_safe_name(str(spec.get("name", ""))):
        return
    told = spec["name"], not spec.get("pretrained", True), spec.get("task") or ""
    for key, value in zip(inputs.model_keys(0), told, strict=True):
        state.put(key, value)
    visitor.models_chosen.add(0)
