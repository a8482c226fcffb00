"""Verifying records: every byte against the manifest, answers asked again, and whether none is missing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

import xai_core as xai
from pages.shared import cached, errors, jobs, samples, watch
from pages.shared.answers import some
from pages.shared.errors import plain
from pages.shared.state import Session
from xai_core.errors import AuditError
from xai_core.records import Finding, Record

if TYPE_CHECKING:
    from xai_core.chain import ChainReport
    from xai_core.verification import Report

MOST_LINES = 200  # of files, or of records, that are named
MOST_ASKED = 3  # answers that are recomputed unless the person says otherwise
WORDS = {  # of a verified file, and of an answer that was asked again: never told by colour alone
    "intact": ":green[✓ intact]",
    "changed": ":red[**✗ changed**]",
    "missing": ":red[**✗ missing**]",
    "unlisted": ":orange[**? unlisted**]",
    "unverifiable": ":red[**✗ unverifiable**]",
    "equal": ":green[✓ recomputed equal]",
    "equal within tolerance": ":green[≈ recomputed equal within tolerance]",
    "different": ":red[**✗ recomputed different**]",
    "cannot be recomputed": ":orange[**? cannot be recomputed**]",
}


def settle(visitor: Session) -> None:
    """Keep what work on records has come to, whichever of them asked for it."""
    if (many := visitor.verifying) is not None and not many.running:
        visitor.verifying, visitor.verified = None, many
        visitor.reports |= many.reports
        _tell(visitor, many)
    if (one := visitor.recomputing) is not None and not one.running:
        visitor.recomputing = None
        if one.result is not None:
            visitor.reports[one.place] = one.result
        elif one.cancelled:
            visitor.settled = "Recomputing was cancelled. Nothing was changed."
        _tell(visitor, one)
    if (chain := visitor.checking) is not None and not chain.running:
        visitor.checking, visitor.chain = None, chain.result
        if chain.cancelled:
            visitor.settled = "Checking the chain was cancelled. Whether it is whole is not known."
        _tell(visitor, chain)


def _tell(visitor: Session, job: jobs.Job) -> None:
    if job.problem:
        visitor.say(job.problem)


# ---- one record ----------------------------------------------------------------------------------------------------


@errors.kept
def verify(visitor: Session, place: str, folder: Path) -> None:
    """Compare every byte of a record with its manifest, at once."""
    from xai_core.verification import verify as compared

    visitor.reports[place] = compared(folder)


def verdict(report: Report) -> None:
    """What verifying found, in the words of the report."""
    wrong = report.wrong
    if report.intact:
        st.success(plain(replace(report, recomputed=(), asked="")), icon=":material/verified:")
    else:
        good = len(report.files) - len(wrong)
        st.error(
            f"This record does not match its manifest: {good} of {len(report.files)} files are intact.",
            icon=":material/gpp_bad:",
        )
    if wrong:
        rows = ["| Status | File | |", "|:--|:--|:--|"]
        rows += [f"| {WORDS[file.status]} | {plain(file.name)} | {plain(file.detail)} |" for file in wrong[:MOST_LINES]]
        st.markdown("\n".join(rows))
    if not report.asked:
        return
    outcomes = {one.outcome for one in report.recomputed}
    said = plain(report.asked)
    if "different" in outcomes:
        st.error(said, icon=":material/gpp_bad:")
    elif outcomes - {"equal", "equal within tolerance"} or not outcomes:
        st.warning(said, icon=":material/help:")
    else:
        st.success(said, icon=":material/published_with_changes:")
    if report.recomputed:
        st.markdown("\n".join(_outcomes(report)))


def _outcomes(report: Report) -> list[str]:
    """The lines of a table."""
    shown = report.recomputed[:MOST_LINES]
    if not any(one.detail for one in shown):
        return [
            "| Outcome | Answer |",
            "|:--|:--|",
            *(f"| {WORDS[one.outcome]} | {plain(one.name)} |" for one in shown),
        ]
    rows = [f"| {WORDS[one.outcome]} | {plain(one.name)} | {plain(one.detail)} |" for one in shown]
    return ["| Outcome | Answer | |", "|:--|:--|:--|", *rows]


def recompute(visitor: Session, place: str, folder: Path, record: Record | Finding) -> None:
    """Ask answers of a record again, of the same weights and pictures. Asks for the pictures that are not here."""
    job = visitor.recomputing
    with st.expander("Recompute", icon=":material/published_with_changes:", key="recompute", expanded=job is not None):
        if job is not None:

            def words() -> str:
                return "Recomputing" if job.place == place else "Recomputing another record"

            watch.progress(job, words, lambda: None, "cancel recomputing")
            return
        st.caption(
            "Asks the same weights again, on the same bytes, with the same settings and seed, and compares: this finds "
            "a forged map whose hashes are right."
        )
        total = 1 if isinstance(record, Finding) else len(record.predictions) + len(record.explanations)
        count = 1
        if total > 1:
            count = int(
                st.number_input(
                    f"Answers to recompute, of {total}", 1, total, min(total, MOST_ASKED), key="answers", width=240,
                    help="Predictions and maps, drawn by chance.",
                )
            )  # fmt: skip
        missing = lacking(visitor, record)
        if missing:
            _ask_for(visitor, missing)

        @errors.kept
        def begin() -> None:
            models = [record.model] if isinstance(record, Finding) else list(record.models)
            visitor.recomputing = jobs.Recomputing(
                place, folder, models, count, list(visitor.files.values()), _own(visitor)
            )

        st.button(
            "Recompute", key="begin recomputing", icon=":material/play_arrow:", type="primary", on_click=begin,
            disabled=bool(missing) and needed(record)[0] in missing,
        )  # fmt: skip


def needed(record: Record | Finding) -> list[str]:
    """The sha256 of all files that a record rests on; that of its picture first."""
    if isinstance(record, Finding):
        return list(dict.fromkeys([*record.pictures, *record.background]))
    return list(dict.fromkeys([record.file_sha256, *(one for e in record.explanations for one in e.background)]))


def lacking(visitor: Session, record: Record | Finding) -> list[str]:
    """Those of them that are neither in the record, nor a sample, nor given by this visitor."""
    kept = {record.file_sha256} if isinstance(record, Record) and record.upload is not None else set[str]()
    here = {*kept, *visitor.files}
    return [one for one in needed(record) if one not in here and samples.by_hash(one) is None]


def _ask_for(visitor: Session, missing: Sequence[str]) -> None:
    named = ", ".join(f"`{one[:12]}`" for one in missing[:5]) + (", …" if len(missing) > 5 else "")
    st.info(
        f"{some(len(missing), 'picture')} that it rests on {'are' if len(missing) > 1 else 'is'} not here: drop the "
        f"same file{'s' * (len(missing) > 1)} again, with sha256 {named}",
        icon=":material/attach_file:",
    )
    given = st.file_uploader("The same picture", accept_multiple_files=True, key=f"the same {visitor.uploads}")
    for file in given:
        _take(visitor, file.name, file.getvalue(), missing)
    if given:
        visitor.uploads += 1
        st.rerun()


def _take(visitor: Session, name: str, content: bytes, missing: Sequence[str]) -> None:
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 not in missing:
        visitor.say(
            f"{name} is not the picture of the record: its sha256 begins with {sha256[:12]}, not {missing[0][:12]}."
        )
        return
    try:
        problem = visitor.take(xai.read_image(content, name), content)
    except AuditError as error:
        problem = str(error)
    if problem:
        visitor.say(problem)


def _own(visitor: Session) -> list[Any]:
    """The models of this visitor's own weights that are still held."""
    return [model for one in visitor.own_models.values() if (model := cached.shelf.find(one.place)) is not None]


# ---- all of them ---------------------------------------------------------------------------------------------------


def many(visitor: Session) -> None:
    """How verifying many records goes, and what it came to."""
    if (going := visitor.verifying) is not None:

        def words() -> str:
            return f"{going.verified:,} of {some(going.asked, 'record')} verified"

        watch.progress(going, words, lambda: None, "cancel verifying")
        return
    if (job := visitor.verified) is None:
        return
    rest = "" if job.verified == job.asked else f" The other {job.asked - job.verified:,} were not: it was cancelled."
    if job.wrong:
        are = "are" if len(job.wrong) > 1 else "is"
        told = f"{len(job.wrong):,} of {some(job.verified, 'verified record')} {are} not intact.{rest}"
        st.error(told, icon=":material/gpp_bad:")
        rows = ["| Record | |", "|:--|:--|"]
        rows += [f"| {plain(place)} | {plain(why)} |" for place, why in list(job.wrong.items())[:MOST_LINES]]
        with st.expander(f"Which are not: {len(job.wrong):,}", icon=":material/list:"):
            st.markdown("\n".join(rows))
    elif job.verified:
        every = "The one record is intact." if job.verified == 1 else f"All {job.verified:,} records are intact."
        st.success(every + rest, icon=":material/verified:")
    else:
        st.info("No record was verified: it was cancelled.", icon=":material/stop_circle:")


def chain(visitor: Session) -> None:
    """The state of the chain in one line, checked when that is asked."""
    if (job := visitor.checking) is not None:

        def words() -> str:
            return f"The chain: {job.done:,} of {some(job.total, 'record')} read" if job.total else "Checking the chain"

        watch.progress(job, words, lambda: None, "cancel checking")
        return
    found: ChainReport | None = visitor.chain
    if found is None:
        return
    if found.ok:
        st.success(plain(found), icon=":material/link:")
        return
    first, *problems = str(found).splitlines()
    st.error(plain(first), icon=":material/link_off:")
    with st.expander(f"What is wrong: {len(problems):,}", icon=":material/list:"):
        st.markdown("\n".join(f"- {plain(one)}" for one in problems[:MOST_LINES]))


@errors.kept
def check_chain(visitor: Session) -> None:
    """Begin to look whether all records are there."""
    visitor.chain, visitor.checking, visitor.settled = None, jobs.Job(jobs.checking()), ""
    visitor.checking.wait(0.2)
