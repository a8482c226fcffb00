"""Watching work that goes on in a thread, and stopping it."""

from __future__ import annotations

import streamlit as st

from pages.shared.jobs import Job
from pages.shared.state import session

POLL_SECONDS = 0.4


def progress(job: Job, words: str, stop: bool) -> None:
    """Watch work, and draw the page again once when it is done."""

    @st.fragment(run_every=POLL_SECONDS)
    def watch() -> None:
        if not job.running:
            st.rerun()
        if not stop:
            st.caption(words)
            return
        share = min(1.0, job.done / job.total) if job.total else 0.0
        with st.container(horizontal=True, vertical_alignment="center"):
            if job.cancel.is_set():
                st.progress(share, text="Stopping after this batch")
            else:
                st.progress(share, text=f"{job.done} of {job.total} {words}")
                st.button("Cancel", key="cancel", icon=":material/stop_circle:", on_click=_cancel, args=(job,))

    watch()


def _cancel(job: Job) -> None:
    session().stopped = job.key
    job.cancel.set()
