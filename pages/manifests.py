"""Saved records: find one, reopen it, verify that nothing in it has changed, take it along, ask it again."""

from __future__ import annotations

from pathlib import Path

from pages.shared import jobs, record_compare, record_keep, record_list, record_open, record_verify, state
from pages.shared.state import Session, session
from xai_core.chain import IMPORTED, RESERVED


def page() -> None:
    """Draw the page: the list, one record, or two beside each other."""
    visitor, store = session(), jobs.store()
    record_verify.settle(visitor)
    _follow(visitor, store)
    if visitor.opened and visitor.beside:
        record_compare.compared(visitor, store, visitor.opened, visitor.beside)
    elif visitor.opened:
        record_open.opened(visitor, store, visitor.opened)
    else:
        state.write_address({})
        record_keep.settled(visitor)
        if store.is_dir():
            record_list.listed(visitor, store)
        else:
            record_list.empty(visitor)


def _follow(visitor: Session, store: Path) -> None:
    """Open what the address names, unless something is open; whatever is not here is said."""
    asked = state.read_address()
    if not visitor.opened:
        visitor.opened, visitor.beside = ("".join(asked.get(word, [])[:1]) for word in ("record", "with"))
    for one in filter(None, (visitor.opened, visitor.beside)):
        if not is_here(store, one):
            visitor.say(f"No record is called {one!r} here. Choose one of those listed.")
            visitor.opened = visitor.beside = ""


def is_here(store: Path, place: str) -> bool:
    """Whether a record may lie at this place below the store: anybody can write an address."""
    *above, name = place.split("/")
    own = not above and name not in RESERVED
    if not (own or above == [IMPORTED]) or name.startswith(".") or "\\" in name or not name.strip():
        return False
    if above and (store / IMPORTED).is_symlink():
        return False
    return (store / place).is_dir() and not (store / place).is_symlink()


if __name__ == "__main__":  # someone opened this page's address before app.py had ever run
    import app

    app.main()
