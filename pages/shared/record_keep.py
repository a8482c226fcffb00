"""What happens to records later: one is brought in from elsewhere, one is deleted."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from pages.shared import errors, jobs, state
from pages.shared.errors import plain
from pages.shared.state import Session

LONGEST_REASON = 500  # characters


def importer(visitor: Session) -> None:
    """Take the zip of a record, and open it once all of it is verified."""
    with st.popover("Import", icon=":material/unarchive:", key=f"import {visitor.uploads}"):
        file = st.file_uploader(
            "Zip of a record", key=f"zip {visitor.uploads}", help="As this program packs it. It is verified first."
        )
        st.caption("It is kept beside the records that were saved here, and is no part of their chain.")
    if file is not None:
        visitor.uploads += 1
        _import(visitor, file.getvalue())
        st.rerun()


@errors.kept
def _import(visitor: Session, content: bytes) -> None:
    from xai_core.retention import import_zip

    store = jobs.made_store()
    with st.spinner("Verifying the record"):
        folder = import_zip(content, store)
    visitor.opened, visitor.beside = folder.relative_to(store).as_posix(), ""
    visitor.settled = "Imported. All of its files match its manifest."


def deleter(visitor: Session, place: str, folder: Path) -> None:
    """Delete a record, once the person has said why."""
    key = f"why {place}"

    @errors.kept
    def delete() -> None:
        from xai_core.retention import remove

        remove(folder, str(state.value(key) or ""))
        imported = "/" in place
        visitor.reports.pop(place, None)
        visitor.opened = visitor.beside = ""
        visitor.chain = visitor.verified = None
        visitor.settled = f"{folder.name} was deleted." + (
            "" if imported else " A tombstone keeps its place in the chain, its hash and your reason."
        )
        state.write_address({})

    with st.popover("Delete", icon=":material/delete:", key="delete"):
        st.markdown("**This record is deleted for good.**")
        st.caption(
            "Nothing of it stays: it was imported, and is no part of the chain."
            if "/" in place
            else "A tombstone stays: its place in the chain, its hash, the time and your reason, and nothing else."
        )
        st.text_input("Why", key=key, max_chars=LONGEST_REASON, placeholder="saved by mistake")
        st.button("Delete for good", key="delete for good", type="primary", on_click=delete)


def settled(visitor: Session) -> None:
    """What was done last."""
    if visitor.settled:
        st.info(plain(visitor.settled), icon=":material/info:")
