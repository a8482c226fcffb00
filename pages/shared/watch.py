"""Watching work that goes on in a thread, and stopping it."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from pages.shared.jobs import Job

POLL_SECONDS = 0.4


def progress(job: Job, words: Callable[[], str], stop: Callable[[], None] | None = None, key: str = "cancel") -> None:
    """Watch work, and draw the page again when it is done or has something to show.

    `words` say how far it is. With `stop`, called when the person cancels, there is a bar and a button.
    """

    @st.fragment(run_every=POLL_SECONDS)
    def watch() -> None:
        if not job.running or job.news:
            st.rerun()
        if stop is None:
            st.caption(words())
            return
        share = min(1.0, job.done / job.total) if job.total else 0.0
        with st.container(horizontal=True, vertical_alignment="center"):
            st.progress(share, text="Stopping after this batch" if job.cancel.is_set() else words())
            st.button("Cancel", key=key, icon=":material/stop_circle:", on_click=cancel, disabled=job.cancel.is_set())

    def cancel() -> None:
        job.cancel.set()
        if stop is not None:
            stop()

    watch()
