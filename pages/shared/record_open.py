"""One record with everything in it: what was asked, what came out, who looked, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

import xai_core as xai
from pages.shared import cached, panels, record_again, record_keep, record_verify, side_by_side, state, viewer
from pages.shared.answers import some
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.question import Looks
from pages.shared.record_list import KINDS, open_record, when
from pages.shared.record_verify import WORDS
from pages.shared.state import Session
from xai_core.catalogue import Search
from xai_core.chain import IMPORTED
from xai_core.errors import RecordError
from xai_core.records import Finding, Record, Sheet
from xai_core.store import open_record as read_record

if TYPE_CHECKING:
    from xai_core.verification import Part, Report

MOST_OTHERS = 100  # records of the same picture that are on offer to compare with
GIVE: Mapping[Part, str] = {  # how what was not here to recompute can be given
    "picture": "Drop the picture under *Recompute*.",
    "weights": "Open the file of its weights on the page *Explain*, under *Your own weights*.",
    "labels": "Open its weights together with the file of its labels on the page *Explain*, under *Your own weights*.",
}


def opened(visitor: Session, store: Path, place: str) -> None:
    """One record."""
    folder = store / place
    with st.container(horizontal=True, key="record actions"):
        st.button("All records", key="back", icon=":material/arrow_back:", on_click=open_record, args=(visitor, ""))
        st.button(
            "Verify", key="verify", icon=":material/verified:", on_click=record_verify.verify,
            args=(visitor, place, folder),
        )  # fmt: skip
        more = st.container(horizontal=True, width="content")
    asked_for = state.read_address()
    state.write_address({"record": place})
    record_keep.settled(visitor)
    report = visitor.reports.get(place)
    if report is not None:
        record_verify.verdict(report)
        if report.lacking:
            again = "Then recompute it again."
            st.info(" ".join([*(GIVE[part] for part in report.lacking), again]), icon=":material/attach_file:")
    record = read_record(folder)
    _heading(record, place)
    if not isinstance(record, Sheet):  # tables need none of it, nor does the heading
        with st.spinner("Loading the libraries (once, some seconds)"):
            cached.load_core()
    with more:
        if not isinstance(record, Sheet):
            record_again.button(visitor, record)
        _take_along(record, folder)
        if isinstance(record, Record):
            _beside(visitor, store, place, record)
        record_keep.deleter(visitor, place, folder)
    if isinstance(record, Sheet):
        _sheet(record)
    elif isinstance(record, Finding):
        record_verify.recompute(visitor, place, folder, record)
        _found(record)
    else:
        record_verify.recompute(visitor, place, folder, record)
        _explained(record, Looks.from_address(asked_for) or record_again.looks(record))
    contents(record, report)


def _take_along(record: Record | Finding | Sheet, folder: Path) -> None:
    """For others: the record itself, and a page for who has none of this software. Made when they are asked for."""
    name = f"record-{record.manifest['id'][:12]}"
    st.download_button(
        "Download (zip)", lambda: _zip(folder), f"{name}.zip", "application/zip",
        key="zip", icon=":material/folder_zip:", on_click="ignore",
    )  # fmt: skip
    st.download_button(
        "Report (HTML)", lambda: _report(folder), f"{name}.html", "text/html",
        key="report", icon=":material/description:", on_click="ignore",
    )  # fmt: skip


def _zip(folder: Path) -> bytes:
    from xai_core.store import zip_record

    return zip_record(folder)


def _report(folder: Path) -> bytes:
    from xai_core.html_report import page

    return page(folder).encode()


def _beside(visitor: Session, store: Path, place: str, record: Record) -> None:
    """Choose another record of the same picture."""
    with st.popover("Compare with", icon=":material/compare:", key="compare with", on_change="rerun") as chooser:
        if not chooser.open:
            return
        search, catalogue = Search(picture=record.explanations[0].image), cached.catalogue(store)
        catalogue.refresh()
        others = {
            entry.folder.relative_to(store).as_posix(): f"{when(entry.created)} · {entry.model} · {entry.title}"
            for entry in catalogue.find(search, count=MOST_OTHERS).entries
            if entry.kind in ("explanation", "comparison")
        }
        others.pop(place, None)
        if not others:
            st.caption("No other record of explanations is about this picture.")
            return
        chosen = st.selectbox("Another record of this picture", list(others), format_func=others.__getitem__)
        st.button("Compare", key="compare", type="primary", on_click=open_record, args=(visitor, place, chosen))


# ---- what came out -------------------------------------------------------------------------------------------------


def _found(record: Finding) -> None:
    from pages.shared import probe_result

    probe_result.shown(record, "record")


def _explained(record: Record, seen: Looks) -> None:
    """The maps of one model or several."""
    first = record.explanations[0]
    with st.container(border=True, key="predictions"):
        if len(record.predictions) > 1:
            side_by_side.predictions(record.predictions)
        elif record.prediction is not None:
            panels.prediction(record.prediction, first.target)
        else:
            panels.notice(first.model)
    st.header("Attribution maps", anchor=False)
    panels.flat_maps(record.explanations)
    if not any(record.evidence):
        st.caption("No map was weighed before it was saved: the record holds no verdict.")
    identity = digest(record=str(record.manifest["id"]))[:16]
    viewer.maps(record.explanations, f"record {identity}", seen, 0, lambda: None, evidence=record.evidence)
    if len(record.models) > 1:
        height, width = record.picture.get("height"), record.picture.get("width")
        side_by_side.difference(record.explanations, (height, width) if height and width else None)
        side_by_side.checklist(record.explanations, record.predictions, record.evidence)


def _sheet(record: Sheet) -> None:
    """Tables: what they come to, and every number."""
    st.markdown("\n".join(f"- {plain(sentence)}" for sentence in record.sentences))
    for number, table in enumerate(record.tables.values()):
        title = f"{plain(table.title)} · {some(len(table.rows), 'row')}"
        with st.expander(title, icon=":material/table:", expanded=number == 0):
            columns = list(zip(*table.rows, strict=True)) or [()] * len(table.words)
            cells = {
                str(number): [one if isinstance(one, int | float | None) else str(one) for one in column]
                for number, column in enumerate(columns)
            }
            named_columns = {str(n): st.column_config.Column(words) for n, words in enumerate(table.words.values())}
            st.dataframe(cells, hide_index=True, placeholder="", column_config=named_columns, alt=table.title)
    st.caption("Tables are not recomputed: they are made of maps and decisions, which have records of their own.")


def _heading(record: Record | Finding | Sheet, place: str) -> None:
    models: Sequence[Any]
    if isinstance(record, Record):
        title, models = str(record.explanations[0].target), record.models
    elif isinstance(record, Finding):
        title, models = xai.PROBES.build(record.probe).label, [record.model]
    else:
        title = str(record.about.get("title", KINDS[record.kind]))
        models = record.about.get("models") or [record.about.get("model")]
    named = ", ".join(str(one.get("name", "unnamed")) for one in models if isinstance(one, Mapping))
    st.markdown(f"## {plain(title)}" + (f" &nbsp;·&nbsp; {plain(named)}" if named else ""))
    st.caption(plain(f"Saved {when(str(record.manifest['created']))} · {place}"))
    st.caption(" · ".join([_looked(record), _link(record.manifest, place), signature(record.manifest)]))
    if record.note:
        with st.container(border=True):
            st.caption("Note")
            st.text(record.note)


def _looked(record: Record | Finding | Sheet) -> str:
    return f"Reviewer: {plain(record.reviewer)}" if record.reviewer else "No reviewer is named"


def _link(manifest: Mapping[str, Any], place: str) -> str:
    """Its place in the chain, in words."""
    if place.startswith(f"{IMPORTED}/"):
        return "imported, no part of the chain here"
    if manifest.get("chain") is None:
        return "saved before there were chains"
    return f"number {manifest['chain']['sequence']:,} in the chain"


def signature(manifest: Mapping[str, Any]) -> str:
    """Whose signature a manifest has, in words."""
    from xai_core.seal import Damage
    from xai_core.signing import UNSIGNED, signature_of

    try:
        said = signature_of(manifest)
    except Damage as damage:
        return f":red[**✗ signature {damage.status}**: {plain(damage.detail)}]"
    return said if said == UNSIGNED else plain(said)


# ---- what it is made of --------------------------------------------------------------------------------------------


def contents(record: Record | Finding | Sheet, report: Report | None) -> None:
    """The manifest: who made it with what, and the hash of every file."""
    manifest = record.manifest
    with st.expander("Made with", icon=":material/construction:"):
        st.code(lines(manifest["made_with"]), language=None)
    if isinstance(record, Finding):
        _asked(record)
    elif isinstance(record, Sheet):
        with st.expander("About", icon=":material/badge:"):
            st.code(lines(record.about), language=None)
    else:
        _maps(record)
    with st.expander(f"Files: {len(manifest['files']) + 1}, with the manifest", icon=":material/folder:"):
        status = {file.name: WORDS[file.status] for file in report.files} if report else {}
        rows = ["| File | Status | Bytes | SHA-256 |", "|:--|:--|--:|:--|"]
        rows += [f"| manifest.json | {status.get('manifest.json', 'not verified')} | | lists the others |"]
        rows += [
            f"| {plain(f['name'])} | {status.get(f['name'], 'not verified')} | {f['bytes']:,} | `{f['sha256']}` |"
            for f in manifest["files"]
        ]
        st.markdown("\n".join(rows))


def _asked(record: Finding) -> None:
    """The settings of a probe, its model, and by which methods it asked."""
    with st.expander("Model", icon=":material/badge:"):
        st.code(lines(record.model), language=None)
    with st.expander("Settings", icon=":material/tune:"):
        for words in ({**record.probe, "seed": record.seed}, *record.methods):
            st.code(lines(words), language=None)


def _maps(record: Record) -> None:
    with st.expander("Model and picture", icon=":material/badge:"):
        kept = "in the record" if record.upload is not None else "not in the record"
        picture = {**record.manifest["picture"], "the file as it was given": kept}
        st.code("\n\n".join([*map(lines, record.models), lines(picture)]), language=None)
    with st.expander("Settings of each map", icon=":material/tune:"):
        for e in record.explanations:
            words = {**e.method, "target": str(e.target), "seed": e.seed}
            if e.gap is not None:
                words |= {"gap": f"{e.gap:.2%}", "valid for this model": "yes" if e.valid else "no"}
            if e.background:
                words["background pictures"] = len(e.background)
            st.code(lines(words), language=None)


def lines(words: Mapping[str, Any], before: str = "") -> str:
    """Nested fields as lines of text."""
    return "\n".join(f"{key}: {value}" for key, value in flat(words, before).items())


def flat(words: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested fields in one level, each with the names on its way."""
    found: dict[str, Any] = {}
    for key, value in words.items():
        found |= flat(value, f"{before}{key} ") if isinstance(value, Mapping) else {f"{before}{key}": value}
    return found


def explanations_in(folder: Path) -> Record:
    """A record of explanations. Raises RecordError for one of anything else."""
    record = xai.open_record(folder)
    if not isinstance(record, Record):
        raise RecordError(f"{folder.name} holds no explanations, so it cannot be compared. Choose one that does.")
    return record
