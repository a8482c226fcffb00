"""Which methods are valid for a model: what is known at once, and what measuring each of them brings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import streamlit as st

import xai_core as xai
from pages.shared import jobs, menu, watch
from pages.shared.answers import Asked, identity
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.state import Session

if TYPE_CHECKING:
    from xai_core.models import Model
    from xai_core.validity import Validity


def known(visitor: Session, model: Model) -> Sequence[Validity]:
    """What has been measured of this model, if anything."""
    return visitor.surveys.get(digest(model=identity(model)), ())


def panel(visitor: Session, asked: Asked) -> None:
    """The table of all methods, and a button that measures them."""
    model = asked.model
    with st.expander("Which methods are valid for this model", icon=":material/fact_check:", key="survey"):
        if visitor.survey_wanted and visitor.surveying is None:
            visitor.surveying = jobs.Survey(model, asked.image, asked.seed, digest(model=identity(model)))
        visitor.survey_wanted = False
        if (job := visitor.surveying) is not None:

            def words() -> str:
                return f"{job.done:,} of {job.total:,} passes" if job.total else "Measuring …"

            watch.progress(job, words, lambda: None, "cancel survey")
            return
        found = known(visitor, model)
        _table(found) if found else _unmeasured(model)
        label = "Measure again, on this picture" if found else "Measure"
        st.button(label, key="measure", icon=":material/speed:", on_click=measure, args=(visitor,))
        st.caption(
            "Runs the methods that promise something on this picture, with their settings at their defaults, and "
            "measures by how much they miss it. What the others take is estimated from the time of one pass."
        )


def measure(visitor: Session) -> None:
    """Start measuring as soon as the page is drawn. The button holds no network: it may outlive it."""
    visitor.survey_wanted = True


def settle(visitor: Session) -> None:
    """Keep what was measured."""
    job = visitor.surveying
    if job is None or job.running:
        return
    visitor.surveying = None
    if job.problem:
        visitor.say(job.problem)
    elif job.result is not None:
        visitor.surveys[job.model] = job.result
        st.rerun()  # the menu shows the verdicts too


def _unmeasured(model: Model) -> None:
    reasons = [(xai.METHODS[name].label, xai.METHODS[name]().why_not(model)) for name in xai.METHODS]
    wrong = [(label, reason) for label, reason in reasons if reason]
    st.markdown(
        f"{len(reasons) - len(wrong)} of {len(reasons)} methods can be asked. "
        + ("These say nothing about it:" if wrong else "Nothing speaks against any of them before it is measured.")
    )
    for label, reason in wrong:
        st.caption(f"✗ **{plain(label)}** {plain(reason)}")


def _table(found: Sequence[Validity]) -> None:
    from xai_core.validity import share, tally

    st.markdown(tally(found))
    st.dataframe(
        {
            "Method": [one.label for one in found],
            "Family": [menu.title(one.family) for one in found],
            "Verdict": [f"{menu.MARKS[one.verdict]} {one.verdict}" for one in found],
            "Gap": ["" if one.gap is None else share(one.gap) for one in found],
            "Passes": [str(one.passes or "") for one in found],
            "Seconds here": [_seconds(one) for one in found],
            "Reason": [one.reason for one in found],
        },
        hide_index=True,
        height="content",
        column_config={"Reason": st.column_config.TextColumn(width="large")},
        alt="Every method with its verdict for this model, the gap it was measured to have, and what it costs",
    )
    st.caption("Gap: by what share of what they promise to add up to the values miss it. ≈ seconds are estimated.")


def _seconds(one: Validity) -> str:
    return "" if one.seconds is None else f"{'' if one.measured else '≈ '}{one.seconds:.2f}"
