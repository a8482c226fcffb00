"""Saved records: find one, reopen it, verify that nothing in it has changed, take it along, ask it again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

import xai_core as xai
from pages.shared import cached, errors, jobs, panels, samples, side_by_side, state, targets, viewer
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.question import Looks, Network, Question, whole
from pages.shared.state import Session, session
from xai_core.errors import RecordError
from xai_core.records import Explanation, Finding, Record, Sheet

if TYPE_CHECKING:
    from xai_core.store import Entry
    from xai_core.verification import Report

PER_PAGE = 10
WORDS = {  # of a verified file: never told by colour alone
    "intact": ":green[✓ intact]",
    "changed": ":red[**✗ changed**]",
    "missing": ":red[**✗ missing**]",
    "unlisted": ":orange[**? unlisted**]",
    "unverifiable": ":red[**✗ unverifiable**]",
}


def page() -> None:
    """Draw the page."""
    visitor = session()
    store = jobs.store()
    from xai_core.store import list_records

    entries = list_records(store) if store.is_dir() else []
    if not visitor.opened and (asked := "".join(state.read_address().get("record", [])[:1])):
        visitor.opened = asked
    known = {entry.folder.name for entry in entries}
    if visitor.opened and visitor.opened not in known:
        visitor.say(f"No record is called {visitor.opened!r} here. Choose one of those listed.")
        visitor.opened = ""
    if not entries:
        st.info(
            "Nothing has been saved yet. Explain a picture and choose *Save record*: it keeps the maps, what the model "
            "saw, every setting and the hash of every file, so that anybody can reopen and verify it.",
            icon=":material/inventory_2:",
        )
        if menu := visitor.menu.get("explain"):
            st.page_link(menu, label="Explain a picture", icon=":material/image_search:")
        return
    if visitor.opened:
        opened(visitor, store / visitor.opened)
    else:
        state.write_address({})
        listed(visitor, entries)


# ---- the list ------------------------------------------------------------------------------------------------------


def listed(visitor: Session, entries: Sequence[Entry]) -> None:
    """All records, the newest first, with a filter."""
    with st.container(horizontal=True, vertical_alignment="bottom", key="find"):
        wanted = st.text_input(
            "Filter", key="filter", persist_state="session", placeholder="model, method, class or note", max_chars=100
        )
        st.button(
            "Verify all", key="verify all", icon=":material/verified:", on_click=_verify_all, args=(visitor, entries)
        )
    found = [entry for entry in entries if _matches(entry, wanted)]
    broken = sum(bool(entry.problem) for entry in entries)
    words = f"{len(entries)} records" if len(entries) > 1 else "1 record"
    words += f", {broken} of them cannot be read" if broken else ""
    st.caption(words if len(found) == len(entries) else f"{len(found)} of {words}")
    if not found:
        st.info("No record matches the filter. Try fewer words.")
        return
    pages = -(-len(found) // PER_PAGE)
    first = 0
    if pages > 1:
        first = (st.pagination(pages, key=f"page of {pages}") - 1) * PER_PAGE
    for entry in found[first : first + PER_PAGE]:
        row(visitor, entry)


def _matches(entry: Entry, wanted: str) -> bool:
    text = _folded(" ".join((entry.model, *entry.methods, entry.title, entry.note, entry.folder.name, entry.created)))
    return all(word in text for word in _folded(wanted).split())


def _folded(text: str) -> str:
    return text.casefold().replace("_", " ").replace("-", " ")


def row(visitor: Session, entry: Entry) -> None:
    """One record in the list."""
    name = entry.folder.name
    with st.container(border=True, key=f"row {name}"):
        small, words, act = st.columns([0.5, 3, 1], vertical_alignment="center")
        if entry.problem:
            with words:
                st.markdown(f":red[**✗ cannot be read**] &nbsp; {plain(name)}")
                st.caption(plain(entry.problem))
        else:
            if picture := cached.record_thumbnail(digest(folder=name, id=entry.id), entry.folder):
                with small:
                    st.image(picture, width=96, alt=f"Overlay of the first map: {entry.title}")
            with words:
                st.markdown(f"**{plain(_title(entry))}** &nbsp;·&nbsp; {plain(entry.model)}")
                if sentence := _answer(entry):
                    st.markdown(plain(_cut(sentence)))
                st.caption(plain(f"{when(entry.created)} · {_methods(entry.methods)}"))
                if entry.note:
                    st.text(_cut(entry.note))
            with act:
                st.button("Open", key=f"open {name}", on_click=_open, args=(visitor, name), width="stretch")
        with act:
            st.button("Verify", key=f"verify {name}", on_click=_verify, args=(visitor, entry.folder), width="stretch")
        if name in visitor.reports:
            verdict(visitor.reports[name])


def when(created: str) -> str:
    """A record's time, to the minute."""
    return f"{created[:10]} {created[11:16]} UTC"


def _methods(names: Sequence[str]) -> str:
    """Methods by their labels; by their names as long as labels would take seconds to import."""

    def word(name: str) -> str:
        return xai.METHODS[name].label if cached.is_warm() and name in xai.METHODS else name.replace("_", " ")

    return ", ".join(map(word, names)) or "no maps"


def _title(entry: Entry) -> str:
    """The target of a record, or the label of a probe."""
    name = entry.title.replace(" ", "_")
    return xai.PROBES[name].label if entry.kind == "probe" and name in xai.PROBES else entry.title


def _answer(entry: Entry) -> str:
    """The first sentence of what a probe found."""
    from xai_core.seal import Damage
    from xai_core.verification import read_manifest

    if entry.kind != "probe":
        return ""
    try:
        return str(read_manifest(entry.folder)["sentences"][0])
    except (Damage, KeyError, IndexError, TypeError):
        return ""  # opening the record says what is wrong with it


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:199]}…"


# ---- one record ----------------------------------------------------------------------------------------------------


def opened(visitor: Session, folder: Path) -> None:
    """One record with everything in it."""
    with st.container(horizontal=True, key="record actions"):
        st.button("All records", key="back", icon=":material/arrow_back:", on_click=_open, args=(visitor, ""))
        st.button("Verify", key="verify", icon=":material/verified:", on_click=_verify, args=(visitor, folder))
        restore = st.container(width="content")
        pack = st.container(width="content")
    asked_for = state.read_address()
    state.write_address({"record": folder.name})
    if folder.name in visitor.reports:
        verdict(visitor.reports[folder.name])
    with st.spinner("Loading the libraries (once, some seconds)"):
        cached.load_core()
    record = xai.open_record(folder)
    with pack:
        name = f"record-{record.manifest['id'][:12]}.zip"
        st.download_button(
            "Download (zip)", lambda: _zip(folder), name, "application/zip", key="zip", icon=":material/folder_zip:",
            on_click="ignore",
        )  # fmt: skip
    report = visitor.reports.get(folder.name)
    if isinstance(record, Finding):
        with restore:
            st.button(
                "Open in Bias probes", key="restore", icon=":material/replay:", type="primary",
                on_click=_probe_again, args=(visitor, record),
            )  # fmt: skip
        if visitor.probing.address is not None and (menu := visitor.menu.get("bias_probes")):
            st.switch_page(menu)
        found(record, folder, report)
    elif isinstance(record, Sheet):
        told(record, folder, report)
    else:
        with restore:
            _restore(visitor, record)
        explained(record, folder, report, Looks.from_address(asked_for) or looks(record))


def _restore(visitor: Session, record: Record) -> None:
    """A button that asks again what the record asked."""
    page, title = ("compare_models", "Compare models") if len(record.models) > 1 else ("explain", "Explain")
    if st.button(f"Open in {title}", key="restore", icon=":material/replay:", type="primary"):
        asked = question(record)
        visitor.ask(asked, looks(record))
        if page == "explain" and asked.findings is None and len({e.target for e in record.explanations}) > 1:
            visitor.say(f"The record has several targets. One is shown at a time: {record.explanations[0].target}.")
        if menu := visitor.menu.get(page):
            st.switch_page(menu)


def found(record: Finding, folder: Path, report: Report | None) -> None:
    """What a probe found."""
    from pages.shared import probe_result

    _heading(xai.PROBES.build(record.probe).label, str(record.model.get("name", "unnamed")), record, folder)
    probe_result.shown(record, "record")
    contents(record, report)


def told(record: Sheet, folder: Path, report: Report | None) -> None:
    """Scores of maps, or decisions of reviewers."""
    from pages.shared import probe_result

    model = record.about.get("model", {"name": ""})["name"]
    _heading(str(record.about.get("title", record.kind)), str(model), record, folder)
    if record.sentences:
        st.markdown("\n".join(f"- {plain(sentence)}" for sentence in record.sentences))
    probe_result.tables(record, (), "record")
    contents(record, report)


def explained(record: Record, folder: Path, report: Report | None, seen: Looks) -> None:
    """The maps of one model or several."""
    first = record.explanations[0]
    named = ", ".join(str(model.get("name", "unnamed")) for model in record.models)
    _heading(str(first.target), named, record, folder)
    with st.container(border=True, key="predictions"):
        if len(record.predictions) > 1:
            side_by_side.predictions(record.predictions)
        elif record.prediction is not None:
            panels.prediction(record.prediction, first.target)
        else:
            panels.notice(first.model)
    st.header("Attribution maps", anchor=False)
    panels.flat_maps(record.explanations)
    viewer.maps(record.explanations, f"record {record.manifest['id']}", seen, 0, lambda: None)
    if len(record.models) > 1:
        height, width = record.picture.get("height"), record.picture.get("width")
        side_by_side.difference(record.explanations, (height, width) if height and width else None)
        side_by_side.checklist(record.explanations, record.predictions)
    contents(record, report)


def _heading(title: str, named: str, record: Record | Finding | Sheet, folder: Path) -> None:
    st.markdown("## " + " &nbsp;·&nbsp; ".join(plain(text) for text in (title, named) if text))
    st.caption(plain(f"Saved {when(record.manifest['created'])} · {folder.name}"))
    if record.note:
        with st.container(border=True):
            st.caption("Note")
            st.text(record.note)


def contents(record: Record | Finding | Sheet, report: Report | None) -> None:
    """The manifest: who made it with what, and the hash of every file."""
    manifest = record.manifest
    with st.expander("Made with", icon=":material/construction:"):
        st.code(_lines(manifest["made_with"]), language=None)
    if isinstance(record, Finding):
        _asked(record)
    elif isinstance(record, Record):
        _maps(record)
    else:
        with st.expander("What it is of", icon=":material/badge:"):
            st.code(_lines(record.about), language=None)
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
        st.code(_lines(record.model), language=None)
    with st.expander("Settings", icon=":material/tune:"):
        for words in ({**record.probe, "seed": record.seed}, *record.methods):
            st.code(_lines(words), language=None)


def _maps(record: Record) -> None:
    with st.expander("Model and picture", icon=":material/badge:"):
        known = [*map(_lines, record.models), _lines(record.manifest["picture"])]
        st.code("\n\n".join(known), language=None)
    with st.expander("Settings of each map", icon=":material/tune:"):
        for e in record.explanations:
            words = {**e.method, "target": str(e.target), "seed": e.seed}
            if e.gap is not None:
                words |= {"gap": f"{e.gap:.2%}", "valid for this model": "yes" if e.valid else "no"}
            if e.background:
                words["background pictures"] = len(e.background)
            st.code(_lines(words), language=None)


def _lines(words: Any, before: str = "") -> str:
    lines = []
    for key, value in words.items():
        if isinstance(value, dict):
            lines.append(_lines(value, f"{before}{key} "))
        else:
            lines.append(f"{before}{key}: {value}")
    return "\n".join(lines)


def verdict(report: Report) -> None:
    """What verifying found, in the words of the report."""
    wrong = [file for file in report.files if file.status != "intact"]
    if report.ok:
        st.success(plain(report), icon=":material/verified:")
    else:
        good = len(report.files) - len(wrong)
        st.error(
            f"This record does not match its manifest: {good} of {len(report.files)} files are intact.",
            icon=":material/gpp_bad:",
        )
    if wrong:
        rows = ["| Status | File | |", "|:--|:--|:--|"]
        rows += [f"| {WORDS[file.status]} | {plain(file.name)} | {plain(file.detail)} |" for file in wrong[:200]]
        st.markdown("\n".join(rows))


def question(record: Record) -> Question:
    """What a record asked, so that it can be asked again."""
    first = record.explanations[0]
    compared = {sha256 for e in record.explanations for sha256 in e.background}
    asked = Question.about(
        first.target,
        picture=str(record.picture.get("file_sha256", first.image)),
        frame=whole(record.picture.get("frame")) or 0,
        models=tuple(_network(next(e for e in record.explanations if e.model == model)) for model in record.models),
        methods=tuple(dict(e.method) for e in record.explanations),
        background="samples" if all(map(samples.by_hash, compared)) else "uploads",
        seed=whole(first.seed),
        findings=_findings(record),
    )
    rivals = {e.target.against for e in record.explanations}
    return replace(asked, against=None) if asked.findings is not None and len(rivals) > 1 else asked


def _findings(record: Record) -> int | None:
    """How many of the likeliest classes hold all those that one method made a map for; None where that is no answer."""
    from xai_core.findings import MOST

    classes, methods = {e.target.index for e in record.explanations}, [dict(e.method) for e in record.explanations]
    alone = len(record.models) == 1 and all(method == methods[0] for method in methods)
    said = record.prediction
    if len(classes) < 2 or not alone or said is None or not targets.offers_several(said):
        return None
    order = [int(number) for number in said.order()]
    count = 1 + max(order.index(number) if number in order else MOST for number in classes)
    return count if count <= MOST else None


def _network(e: Explanation) -> Network:
    words = {key: str(e.model.get(key, "")) for key in ("name", "weights", "task", "weights_sha256")}
    random = words["weights"].startswith("drawn at random")
    layer = str(e.settings().get("layer", ""))
    return Network(words["name"], random, words["task"], layer, words["weights_sha256"])


def looks(record: Record) -> Looks:
    """How a record's maps were looked at."""
    return Looks.from_outside(record.display)


# ---- what buttons do -----------------------------------------------------------------------------------------------


@errors.kept
def _open(visitor: Session, name: str) -> None:
    visitor.opened = name
    if not name:
        state.write_address({})


@errors.kept
def _probe_again(visitor: Session, record: Finding) -> None:
    from pages.shared import probe_again

    probe_again.begin(visitor, record)


@errors.kept
def _verify(visitor: Session, folder: Path) -> None:
    visitor.reports[folder.name] = xai.verify(folder)


@errors.kept
def _verify_all(visitor: Session, entries: Sequence[Entry]) -> None:
    for entry in entries:
        try:
            visitor.reports[entry.folder.name] = xai.verify(entry.folder)
        except RecordError as error:
            visitor.say(str(error))


def _zip(folder: Path) -> bytes:
    from xai_core.store import zip_record

    return zip_record(folder)


if __name__ == "__main__":  # someone opened this page's address before app.py had ever run
    import app

    app.main()
