"""Deciding on cases by keys, by one reviewer or two, and taking the decisions along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.shared import errors, jobs, review_list, state, takeaway
from pages.shared.answers import some
from pages.shared.errors import plain
from pages.shared.review_cases import Cases
from pages.shared.state import Session
from xai_core.decisions import (
    MOST_OF_A_NAME,
    MOST_OF_A_NOTE,
    MOST_OF_A_REASON,
    REASONS,
    Decision,
    Decisions,
    Kappa,
    kappa_words,
)
from xai_core.records import Sheet

if TYPE_CHECKING:
    from xai_core.runs import Run

REVIEWER, HIDE, GO_ON, NAMES = "reviewer", "hide maps", "go on", "seal names"  # keys of widgets


def settings() -> str:
    """Ask, in the sidebar, who decides and how; the name of the reviewer."""
    name = st.text_input(
        "Reviewer",
        key=REVIEWER,
        persist_state="session",
        max_chars=MOST_OF_A_NAME,
        placeholder="Your name",
        help="Stands beside every decision of yours.",
    )
    st.toggle("Hide maps until I decide", key=HIDE, persist_state="session", help="So that they do not lead the eye.")
    state.start_with(GO_ON, True)
    st.toggle(
        "Go on after a reason",
        key=GO_ON,
        persist_state="session",
        help="A reason, or nothing to note, opens the next case. Not while maps are hidden until you decide.",
    )
    return " ".join(str(name or "").split())


def counted(book: Decisions, reviewer: str) -> dict[str, Decision]:
    """The decision that filters speak of, by picture: the reviewer's own, or without a name the latest of all."""
    return {one.picture: one for one in book.latest(reviewer or None)}


def progress(due: Sequence[str], decided: Mapping[str, Decision]) -> None:
    """How many of the cases that the filters leave have been decided."""
    done = sum(one in decided for one in due)
    st.progress(done / len(due) if due else 0.0, text=f"{done:,} of {len(due):,} decided")


def keys(
    visitor: Session,
    cases: Cases,
    order: Sequence[str],
    book: Decisions,
    reviewer: str,
    decided: Mapping[str, Decision],
) -> None:
    """What can be decided on the open case, each a button with its key."""
    view = visitor.reviewing.view
    own = decided.get(view.case) if reviewer else None
    reasons = book.reasons

    @errors.kept
    def decide(go_on: bool = False, **parts: Any) -> None:
        now = next((one for one in book.latest(reviewer) if one.picture == view.case), None)
        before: dict[str, Any] = {"flag": now.flag, "reason": now.reason, "note": now.note} if now else {}
        if before.get("reason") not in (None, "", *reasons):
            before["reason"] = ""  # its code is off the list by now
        book.decide(reviewer, view.case, cases.files[cases.places[view.case]], **{**before, **parts})
        visitor.reviewing.last = view.case
        if go_on and state.value(GO_ON) and not state.value(HIDE):
            step(visitor, order, 1)

    @errors.kept
    def undo() -> None:
        last = visitor.reviewing.last
        picture = view.case if own else last if last in decided else ""
        if not picture:
            return
        book.clear(reviewer, picture, cases.files[cases.places[picture]])
        visitor.reviewing.last = ""
        if picture != view.case:
            review_list.open_case(visitor, picture)

    if not reviewer:
        st.info("Write your name in the sidebar to decide: every decision has an author.", icon=":material/badge:")
    off: dict[str, Any] = {"disabled": not reviewer, "width": "content"}
    flagged = bool(own and own.flag)

    def button(label: str, key: str, shortcut: str, chosen: bool, **parts: Any) -> None:
        # What is chosen has a sign: the key on a coloured button could hardly be read.
        icon = ":material/check_circle:" if chosen else None
        st.button(
            f"**{label}**" if chosen else label,
            key=key,
            shortcut=shortcut,
            icon=icon,
            on_click=decide,
            kwargs=parts,
            **off,
        )

    with st.container(horizontal=True, gap="small", key="decide"):
        button("Flagged" if flagged else "Flag", "flag", "F", flagged, flag=not flagged)
        for code, words in reasons.items():
            chosen = own is not None and own.reason == code
            button(plain(words), f"reason {code}", code, chosen, reason="" if chosen else code, go_on=not chosen)
        nothing = own is not None and not (own.flag or own.reason)
        button("Nothing to note", "nothing", "0", nothing, flag=False, reason="", go_on=True)
        last = visitor.reviewing.last in decided
        st.button(
            "Undo", key="undo", shortcut="U", icon=":material/undo:", on_click=undo, width="content",
            disabled=not (reviewer and (own or last)),
            help="Takes back your decision. What was decided before stays in the history.",
        )  # fmt: skip

    note = f"note {view.case[:16]} {own.id if own else 0}"
    state.start_with(note, own.note if own else "")

    @errors.kept
    def noted() -> None:
        words = str(state.value(note) or "")
        if words.strip() != (own.note if own else ""):  # a field may be told to have changed when it was only replaced
            decide(note=words)

    st.text_input(
        "Note", key=note, on_change=noted, max_chars=MOST_OF_A_NOTE, disabled=not reviewer,
        placeholder="What the next reader should know; Enter keeps it",
    )  # fmt: skip
    _said(book.history(view.case))


def _said(history: Sequence[Decision]) -> None:
    """Everything that was decided on a case, the newest first."""
    if not history:
        return
    latest = history[-1]
    with st.expander(
        f"{some(len(history), 'entry').replace('entrys', 'entries')}, the latest by {plain(latest.reviewer)}",
        icon=":material/history:",
    ):
        for one in reversed(history):
            what = "took back what was decided" if one.cleared else review_list.decision_words(one)
            st.caption(plain(f"{one.time[:10]} {one.time[11:19]} UTC · {one.reviewer} · {what}"))


def step(visitor: Session, order: Sequence[str], by: int) -> None:
    """Open the next case, or the one before; at the ends nothing happens."""
    case = visitor.reviewing.view.case
    place = order.index(case) + by if case in order else 0
    if 0 <= place < len(order):
        review_list.open_case(visitor, order[place])


# ---- all decisions ---------------------------------------------------------------------------------------------------


def together(visitor: Session, run: Run, book: Decisions, reviewer: str) -> None:
    """How far reviewers agree, the decisions as files and as a record, and the list of reasons."""
    with st.expander("Decisions", icon=":material/fact_check:", on_change="rerun", key="decisions") as part:
        if part.open:
            _decisions(visitor, run, book, reviewer)
    takeaway.saving(visitor)


def _decisions(visitor: Session, run: Run, book: Decisions, reviewer: str) -> None:
    every = book.latest()
    people = book.reviewers
    st.markdown(f"{some(len(every), 'decision')} by {plain(', '.join(people)) or 'nobody yet'}.")
    with st.container(horizontal=True, key="export"):
        for name, data, kind in (
            ("CSV", book.to_csv, "text/csv"),
            ("Parquet", book.to_parquet, "application/vnd.apache.parquet"),
            ("JSON", book.to_json, "application/json"),
        ):
            st.download_button(
                name, data, f"decisions-{len(book.history())}.{name.lower()}", kind, key=f"export {name}",
                on_click="ignore", icon=":material/download:", disabled=not people,
            )  # fmt: skip
    st.caption(
        "With the whole history: who decided what and when. The column counts marks the latest of each reviewer."
    )
    _seal(visitor, run, reviewer, bool(people))
    if len(people) > 1:
        _agreement(book, people)
    _edit_reasons(visitor, book, reviewer)


def _seal(visitor: Session, run: Run, reviewer: str, decided: bool) -> None:
    """Save all of it as a record: what was decided until now can then no longer be changed unseen."""

    @errors.kept
    def seal() -> None:
        names = state.value(NAMES) is True

        def made() -> Sheet:
            from xai_core.decision_record import sheet_of

            return sheet_of(run, names=names, reviewer=reviewer)

        visitor.saved = ""
        visitor.saving = jobs.Job(jobs.saving(made))

    with st.container(horizontal=True, vertical_alignment="center", key="seal"):
        st.button(
            "Seal decisions", key="seal decisions", icon=":material/verified_user:", on_click=seal, width="content",
            disabled=not decided or visitor.saving is not None,
            help="Saves a record with every row, who agrees how far and the hash of the audit. Later decisions are "
            "another record.",
        )  # fmt: skip
        st.checkbox("Keep the names of the files", key=NAMES, help="They may be names of people.")


def _agreement(book: Decisions, people: Sequence[str]) -> None:
    st.markdown("**Two reviewers**")
    one, other = people[0], people[1]
    if len(people) > 2:
        with st.container(horizontal=True):
            one = st.selectbox("One", people, key="one reviewer")
            other = st.selectbox("The other", [name for name in people if name != one], key="other reviewer")
    for by, words in (("reason", "the reason"), ("flag", "the flag")):
        found: Kappa = book.kappa(one, other, by)  # type: ignore[arg-type]
        st.markdown(f"By {words}: {plain(kappa_words(found))}")
    st.caption(
        f"Cohen's kappa of {plain(one)} and {plain(other)} on the cases that both decided: 0 is chance, 1 is full "
        "agreement."
    )


def _edit_reasons(visitor: Session, book: Decisions, reviewer: str) -> None:
    now, mark = book.reasons, visitor.reviewing.edited

    @errors.kept
    def keep() -> None:
        book.set_reasons({code: str(state.value(f"words {mark} {code}") or "") for code in REASONS}, reviewer)
        visitor.reviewing.edited += 1

    with st.form(f"reasons {mark}", border=True):
        st.markdown("**Reasons**, by their keys. An empty one is not offered.")
        columns = st.columns(3)
        for place, code in enumerate(REASONS):
            with columns[place % 3]:
                st.text_input(code, now.get(code, ""), key=f"words {mark} {code}", max_chars=MOST_OF_A_REASON)
        st.form_submit_button("Keep these reasons", on_click=keep, disabled=not reviewer)
    st.caption("Decisions keep the words that they were made with.")
