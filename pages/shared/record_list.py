"""The records of the store: counted, searched, filtered; only the page that is shown is read and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

import xai_core as xai
from pages.shared import cached, errors, jobs, record_keep, record_verify, state, viewer
from pages.shared.answers import some
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.state import Session
from xai_core.catalogue import Catalogue, Choices, Search

if TYPE_CHECKING:
    from xai_core.store import Entry

PER_PAGE = 10
SHORT = 200  # records whose manifests are read without a word about it
KINDS = {
    "explanation": "Explanation",
    "comparison": "Comparison of models",
    "probe": "Probe",
    "scores": "Scores",
    "decisions": "Decisions",
}
EVER = "0000"  # a year before any: what cannot be read has no time, and is not found


def listed(visitor: Session, store: Path) -> None:
    """All records, the newest first, with filters, and what can be done with all of them."""
    catalogue = cached.catalogue(store)
    _refresh(catalogue)
    every = catalogue.find(count=0).total
    if not every:
        empty(visitor)
        return
    search = _filters(visitor, catalogue.choices())
    found = catalogue.find(search, count=0).total
    broken = every - catalogue.find(Search(since=EVER), count=0).total
    words = f"{some(every, 'record')}, {catalogue.size() / 1e6:,.1f} MB"
    words += f", {broken:,} of them cannot be read" if broken else ""
    st.caption(words if found == every else f"{found:,} of {words}")
    with st.container(horizontal=True, key="with all"):
        st.button(
            "Verify all" if found == every else f"Verify these {found:,}", key="verify all", icon=":material/verified:",
            on_click=_verify_all, args=(visitor, catalogue, search), disabled=visitor.verifying is not None,
        )  # fmt: skip
        st.button(
            "Check the chain", key="check the chain", icon=":material/link:", on_click=record_verify.check_chain,
            args=(visitor,), disabled=visitor.checking is not None,
            help="Whether the records here are those that were saved here, and all of them, in their order.",
        )  # fmt: skip
        record_keep.importer(visitor)
    record_verify.many(visitor)
    record_verify.chain(visitor)
    if not found:
        st.info("No record matches the filter. Try fewer words.")
        return
    pages, first = -(-found // PER_PAGE), 0
    if pages > 1:
        first = (st.pagination(pages, key=f"page of {pages} {digest(search=repr(search))[:8]}") - 1) * PER_PAGE
    for entry in catalogue.find(search, first, PER_PAGE).entries:
        row(visitor, entry, entry.folder.relative_to(store).as_posix())


def empty(visitor: Session) -> None:
    """Nothing is there yet: what to do."""
    st.info(
        "Nothing has been saved yet. Explain a picture and choose *Save record*: it keeps the maps, what the model "
        "saw, every setting and the hash of every file, so that anybody can reopen and verify it.",
        icon=":material/inventory_2:",
    )
    with st.container(horizontal=True):
        if menu := visitor.menu.get("explain"):
            st.page_link(menu, label="Explain a picture", icon=":material/image_search:")
        record_keep.importer(visitor)


def _refresh(catalogue: Catalogue) -> None:
    """Read the manifests that are new; of many, saying how far it is."""
    bar = st.empty()

    def told(done: int, total: int) -> None:
        if total > SHORT and done % SHORT == 0:
            bar.progress(done / total, text=f"Reading the records: {done:,} of {total:,}")

    catalogue.refresh(told)
    bar.empty()


# ---- filters -------------------------------------------------------------------------------------------------------


def _filters(visitor: Session, choices: Choices) -> Search:
    """What is looked for."""
    text = st.text_input(
        "Filter", key="filter", persist_state="session", max_chars=100, icon=":material/search:",
        placeholder="model, method, class, note, reviewer or date",
    )  # fmt: skip
    with st.expander("More filters", icon=":material/filter_alt:", key="more filters"):
        first, second = st.columns(4), st.columns(4)
        with first[0]:
            model = _choice("Model", choices.models)
        with first[1]:
            method = _choice("Method", choices.methods, method_word)
        with first[2]:
            verdict = _choice("Verdict", choices.verdicts, verdict_word)
        with first[3]:
            kind = _choice("Kind", choices.kinds, lambda name: KINDS.get(name, name))
        with second[0]:
            reviewer = _choice("Reviewer", choices.reviewers)
        with second[1]:
            since = _day("From")
        with second[2]:
            until = _day("To")
        with second[3]:
            picture = st.text_input(
                "Picture", key="records picture", persist_state="session", max_chars=64, placeholder="sha256",
                help="The sha256 of its file, or how that begins.",
            )  # fmt: skip
            if here := _here(visitor):
                st.button("This picture", key="this picture", on_click=state.put, args=("records picture", here))
        asked = Search(
            text, kind=kind, model=model, method=method, picture=picture, verdict=verdict, reviewer=reviewer,
            since=since, until=until,
        )  # fmt: skip
        if asked != Search(text):
            st.button("Clear the filters", key="clear filters", icon=":material/filter_alt_off:", on_click=_clear)
    return asked


FILTERS = ("Model", "Method", "Verdict", "Kind", "Reviewer")


def _key(label: str) -> str:
    return f"records {label.lower()}"


def _choice(label: str, counts: Mapping[str, int], word: Callable[[str], str] = str) -> str:
    """One of those that are there, each with how many records it finds; "" for any."""
    key = _key(label)
    if state.value(key) not in counts:
        state.put(key, "")
    return str(
        st.selectbox(
            label, ["", *counts], key=key, persist_state="session",
            format_func=lambda name: f"{word(name)} ({counts[name]:,})" if name else "Any",
        )
    )  # fmt: skip


def _day(label: str) -> str:
    chosen: Any = st.date_input(label, None, key=_key(label), persist_state="session", help="UTC, included.")
    return chosen.isoformat() if isinstance(chosen, date) else ""


def _here(visitor: Session) -> str:
    """The sha256 of the picture that is looked at on the other pages; "" where there is none."""
    from pages.shared import inputs

    image = inputs.current(visitor)
    return "" if image is None else image.sha256


@errors.kept
def _clear() -> None:
    for label in FILTERS:
        state.put(_key(label), "")
    for label in ("From", "To"):
        state.put(_key(label), None)
    state.put("records picture", "")


# ---- a row ---------------------------------------------------------------------------------------------------------


def row(visitor: Session, entry: Entry, place: str) -> None:
    """One record in the list."""
    with st.container(border=True, key=f"row {place}"):
        small, words, act = st.columns([0.5, 3, 1], vertical_alignment="center")
        if entry.problem:
            with words:
                st.markdown(f":red[**✗ cannot be read**] &nbsp; {plain(place)}")
                st.caption(plain(entry.problem))
        else:
            if picture := cached.record_thumbnail(digest(folder=place, id=entry.id), entry.folder):
                with small:
                    st.image(picture, width=96, alt=f"Overlay of the first map: {entry.title}")
            with words:
                _described(entry, place)
            with act:
                st.button("Open", key=f"open {place}", on_click=open_record, args=(visitor, place), width="stretch")
        with act:
            st.button(
                "Verify", key=f"verify {place}", on_click=record_verify.verify, args=(visitor, place, entry.folder),
                width="stretch",
            )  # fmt: skip
        if place in visitor.reports:
            record_verify.verdict(visitor.reports[place])


def _described(entry: Entry, place: str) -> None:
    st.markdown(f"**{plain(_title(entry))}** &nbsp;·&nbsp; {plain(entry.model)}")
    if sentence := _answer(entry):
        st.markdown(plain(_cut(sentence)))
    about = [when(entry.created), KINDS.get(entry.kind, entry.kind), _methods(entry.methods)]
    about += [f"imported as {place}"] if "/" in place else []
    about += [f"by {entry.reviewer}"] if entry.reviewer else []
    st.caption(" · ".join([*map(plain, filter(None, about)), *map(verdict_word, entry.verdicts)]))
    if entry.note:
        st.text(_cut(entry.note))


def when(created: str) -> str:
    """A record's time, to the minute."""
    return f"{created[:10]} {created[11:16]} UTC"


def method_word(name: str) -> str:
    """A method by its label; by its name as long as labels would take seconds to import."""
    return xai.METHODS[name].label if cached.is_warm() and name in xai.METHODS else name.replace("_", " ")


def verdict_word(name: str) -> str:
    """A verdict with its sign."""
    return " ".join([viewer.VERDICTS.get(name, ("",))[0], plain(name)]).strip()


def _methods(names: Sequence[str]) -> str:
    return ", ".join(map(method_word, dict.fromkeys(names)))


def _title(entry: Entry) -> str:
    """The target of a record, or the label of a probe."""
    name = entry.title.replace(" ", "_")
    return xai.PROBES[name].label if entry.kind == "probe" and name in xai.PROBES else entry.title


def _answer(entry: Entry) -> str:
    """The first sentence of what a probe found, or of what tables come to."""
    from xai_core.seal import Damage
    from xai_core.verification import read_manifest

    if entry.kind in ("explanation", "comparison"):
        return ""
    try:
        return str(read_manifest(entry.folder)["sentences"][0])
    except (Damage, KeyError, IndexError, TypeError):
        return ""  # opening the record says what is wrong with it


def _cut(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:199]}…"


# ---- what buttons do -----------------------------------------------------------------------------------------------


@errors.kept
def open_record(visitor: Session, place: str, beside: str = "") -> None:
    """Open the record at this place, alone or beside another; "" goes back to the list."""
    visitor.opened, visitor.beside, visitor.settled = place, beside, ""
    state.write_address({})


@errors.kept
def _verify_all(visitor: Session, catalogue: Catalogue, search: Search) -> None:
    entries = catalogue.find(search, count=10**9).entries
    folders = {entry.folder.relative_to(catalogue.store).as_posix(): entry.folder for entry in entries}
    visitor.verified, visitor.verifying = None, jobs.Verifying(folders)
    visitor.verifying.wait(0.2)
