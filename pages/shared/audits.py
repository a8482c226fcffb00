"""Audit a set: choose pictures, models, methods and metrics, see what that costs, and watch this server's audits."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from pages.shared import (
    cached,
    errors,
    inputs,
    jobs,
    menu,
    metric_menu,
    scores,
    sets,
    state,
    survey,
)
from pages.shared.answers import identity, some
from pages.shared.audit_data import Source
from pages.shared.audit_line import Audit, Line
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.question import MOST_MODELS
from pages.shared.review_view import View
from pages.shared.state import Session

if TYPE_CHECKING:
    from pages.shared.audit_run import Wanted
    from xai_core.auditing import Progress
    from xai_core.cases import CaseSet
    from xai_core.methods import Method
    from xai_core.metrics import Metric
    from xai_core.runs import Listed

SECONDS = 1.0  # between two looks at the audits under way
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 _.\-]{0,59}")
RESERVED = {"units"}
TARGETS = {"predicted": "The predicted class", "true": "The true class"}
WEIGHS = {"none": "No maps", "wrong": "Maps of misclassified pictures", "all": "All maps"}
line = Line()  # of this process: every visitor's


def panel(visitor: Session) -> None:
    """The audits under way, those that can be gone on with, and the form that begins another."""
    _under_way()
    for one in line.ended:
        _ended(visitor, one)
    _unfinished(visitor)
    auditing = visitor.auditing

    def turn() -> None:
        auditing.open = not auditing.open

    label, icon = ("Close", ":material/close:") if auditing.open else ("Audit a set", ":material/playlist_add:")
    st.button(label, key="audit form", icon=icon, on_click=turn)
    if auditing.open:
        with st.container(border=True, key="audit a set"), errors.shown_here():
            _form(visitor)


# ---- what goes on --------------------------------------------------------------------------------------------------


def _under_way() -> None:
    """How far every audit is, for everybody, drawn anew each second while there is one."""
    turns = line.turns

    @st.fragment(run_every=SECONDS if line.due else None)
    def watch() -> None:
        if line.turns != turns:
            st.rerun()
        for place, one in enumerate(line.due):
            with st.container(key=f"audit under way {place}"):
                _progress(one, place)

    watch()


def _progress(one: Audit, place: int) -> None:
    progress = one.progress
    share = min(1.0, progress.done / progress.total) if progress is not None and progress.total else 0.0
    if one.cancel.is_set():
        said = "Stopping after this batch"
    elif place:
        said = "Waits for the audit before it" if place == 1 else f"Waits for the {place} audits before it"
    else:
        said = "Opening the models" if progress is None else words(progress)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.progress(share, text=f"**{plain(one.name)}** · {said}")
        with st.popover("Cancel", key=f"cancel audit {place}", icon=":material/stop_circle:", width="content"):
            st.markdown("Stop this audit for everybody? What is done is kept, and it can be resumed.")
            st.button(
                "Stop the audit",
                key=f"stop audit {place}",
                type="primary",
                on_click=line.stop,
                args=(one,),
                disabled=one.cancel.is_set(),
            )


def words(progress: Progress) -> str:
    """How far an audit is."""
    return f"{progress.stage}: {progress}"


def _ended(visitor: Session, one: Audit) -> None:
    """What became of an audit, until somebody dismisses it. Those that can be resumed are listed by themselves."""
    if one.state == "stopped" or (one.state == "failed" and not one.problem):
        return

    def review() -> None:
        visitor.reviewing.view = View(run=one.name)
        visitor.reviewing.given += 1
        line.dismiss(one)

    with st.container(horizontal=True, vertical_alignment="center", key=f"ended {one.name}"):
        if one.state == "failed":
            st.error(f"**{plain(one.name)}** failed. {plain(one.problem)}", icon=":material/error:")
        else:
            st.success(f"**{plain(one.name)}** is done.", icon=":material/check_circle:")
            st.button("Review it", key=f"review {one.name}", type="primary", on_click=review)
        st.button("Dismiss", key=f"dismiss {one.name}", icon=":material/close:", on_click=line.dismiss, args=(one,))


def _unfinished(visitor: Session) -> None:
    """The runs that were stopped, failed, or died with their process."""
    due = {one.name for one in line.due}
    open_ends = [one for one in _runs() if one.run and one.run.facts["status"] != "done" and one.folder.name not in due]
    if not open_ends:
        return
    with st.expander(f"Not finished · {len(open_ends)}", icon=":material/pause_circle:", key="unfinished"):
        for one in open_ends:
            assert one.run is not None
            facts, name = one.run.facts, one.folder.name
            progress = facts.get("progress", {})
            status = str(facts["status"])
            if status == "running":
                status = "at work elsewhere" if _beats(one.folder) else "ended without a word"
            reached = f"{progress.get('done', 0):,} of about {progress.get('total', 0):,} answers"
            with st.container(horizontal=True, vertical_alignment="center", key=f"unfinished {name}"):
                st.markdown(f"**{plain(name)}** · {status} · {reached}. {plain(facts.get('problem', ''))}")
                st.button(
                    "Resume", key=f"resume {name}", icon=":material/resume:", on_click=_resume, args=(visitor, name)
                )


def _beats(folder: Path) -> bool:
    """Whether whoever holds a run gave a sign of life just now."""
    from xai_core.lease import HOLDER, SILENCE

    try:
        return time.time() - (folder / HOLDER).stat().st_mtime < SILENCE
    except OSError:
        return False


def _runs() -> list[Listed]:
    from xai_core.runs import list_runs

    return list_runs(jobs.audits()) if jobs.audits().is_dir() else []


@errors.kept
def _resume(visitor: Session, name: str) -> None:
    cached.load_core()
    from pages.shared.audit_run import wanted_again

    line.join(name, wanted_again(name, visitor.own_models).work)


# ---- the form ------------------------------------------------------------------------------------------------------


def _form(visitor: Session) -> None:
    source, cases = sets.choose(visitor, visitor.auditing.picked, "audit")
    if cases is None or source is None:
        return
    with st.spinner("Loading the libraries (once, some seconds)"):
        cached.load_core()
    left, right = st.columns(2, gap="large")
    with left:
        chosen = _models(visitor, source)
        model = chosen[0].model
        labelled = any(case.label is not None for case in cases.cases)
        target = _target(chosen, labelled)
        weigh = _weigh(labelled)
        controls = st.toggle(
            "Controls",
            True,
            key="audit controls",
            help="Maps that know nothing of the model, scored beside the others.",
        )
        seed = inputs.seed()
    with right:
        methods, refused = menu.methods(model, visitor, survey.known(visitor, model))
        for label, why in refused:
            st.caption(f"{plain(label)} is left out. {plain(why)}")
        metrics = metric_menu.metrics(any(case.read_mask is not None for case in cases.cases))
        background = _background(methods, model.name)
    name = _name(visitor, cases)
    kept = source.kind == "upload" and st.checkbox(
        "Keep the pictures with the run, so that it can be resumed later",
        key="audit keep",
        help="Else, whoever resumes it gives them again.",
    )
    if source.kind == "upload":
        st.caption(
            "Everybody who can open this page sees the run. It keeps on this server what the models saw of each "
            "picture, and the maps; whoever deletes its folder deletes all of it."
        )
    _estimate(chosen, cases, methods, metrics, weigh, controls)
    from pages.shared.audit_run import Shelved, Wanted

    wanted = Wanted(
        name=name,
        source=source,
        models=[
            visitor.own_models.get(one.model.name)
            or Shelved(name=one.model.name, pretrained=not one.random, task=one.task or None)
            for one in chosen
        ],
        methods=[method.to_dict() for method in methods],
        metrics=[metric.to_dict() for metric in metrics],
        target=target,
        weigh=weigh,  # type: ignore[arg-type]
        controls=controls,
        seed=seed,
        background=background,
        cases=cases,
        kept=visitor.auditing.picked.files if kept else (),
    )
    problem = _problem(wanted, chosen)
    if problem:
        st.info(plain(problem), icon=":material/tune:")
    st.button(
        f"Audit {some(len(cases.cases), 'picture')}",
        key="audit start",
        type="primary",
        icon=":material/play_arrow:",
        on_click=_start,
        args=(visitor, wanted),
        disabled=bool(problem),
    )


def _problem(wanted: Wanted, chosen: Sequence[inputs.Chosen]) -> str:
    """Why this cannot be begun, if it cannot."""
    if len({digest(model=identity(one.model)) for one in chosen}) < len(chosen):
        return "Two of the models are the same network. Choose another."
    if not wanted.methods:
        return "Choose a method."
    if not NAME.fullmatch(wanted.name) or wanted.name in RESERVED:
        return (
            "Name the run with up to 60 letters, digits, spaces, dots, dashes and underscores, a letter or digit first."
        )
    there = next((one for one in _runs() if one.folder.name == wanted.name), None)
    if there is not None and (there.run is None or there.run.facts["status"] == "done"):
        return f"A run called {wanted.name} exists. Choose another name."
    return ""


@errors.kept
def _start(visitor: Session, wanted: Wanted) -> None:
    line.join(wanted.name, wanted.work)
    visitor.auditing.open = False
    visitor.auditing.picked.forget()
    state.put("audit name", None)


# ---- the question --------------------------------------------------------------------------------------------------


def _models(visitor: Session, source: Source) -> list[inputs.Chosen]:
    state.start_with("audit models", 1)
    if 0 not in visitor.models_chosen and not state.value("model") and source.which in inputs.FITTING:
        state.put("model", inputs.FITTING[source.which])
    count = st.segmented_control(
        "Models", list(range(1, MOST_MODELS + 1)), key="audit models", persist_state="session", required=True
    )
    return [inputs.model(visitor, slot) for slot in range(int(count or 1))]


def _target(chosen: Sequence[inputs.Chosen], labelled: bool) -> str:
    every = [list(one.model.labels) for one in chosen]
    common = [label for label in every[0] if all(label in others for others in every[1:])]
    offered = ["predicted", *(["true"] if labelled else []), *(one for one in common if one not in TARGETS)]
    if state.value("audit target") not in offered:
        state.put("audit target", "predicted")
    return str(
        st.selectbox(
            "What is explained",
            offered,
            format_func=lambda one: TARGETS.get(one, one),
            key="audit target",
            persist_state="session",
            help="Of each picture, for each model.",
        )
    )


def _weigh(labelled: bool) -> str:
    from xai_core.audit_cost import WEIGHED

    state.start_with("audit weigh", "none")
    weigh = st.selectbox(
        "Weigh the evidence of",
        list(WEIGHS),
        format_func=WEIGHS.__getitem__,
        key="audit weigh",
        persist_state="session",
        help=f"Holds a map against every check. About {WEIGHED} passes for each map.",
    )
    if weigh == "wrong" and not labelled:
        st.caption("Without labels no picture counts as misclassified, so none is weighed.")
    return str(weigh)


def _background(methods: Sequence[Method], model: str) -> list[str]:
    """The samples that methods compare with whose background is set to pictures."""
    if not any("pictures" in method.to_dict().values() for method in methods):
        return []
    keys = [one.key for one in inputs.fitting(model)]
    st.caption(f"Methods whose background is pictures compare with the {some(len(keys), 'sample')} that fit the model.")
    return keys


def _name(visitor: Session, cases: CaseSet) -> str:
    """The name of the run; one is suggested for each set until the person types another."""
    auditing = visitor.auditing
    if auditing.named[0] != cases.name or not state.value("audit name"):
        words = re.sub(r"[^A-Za-z0-9_.\-]+", "-", cases.name).strip("-._").lower()[:30] or "audit"
        suggested = f"{words}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        if state.value("audit name") in (None, "", auditing.named[1]):
            state.put("audit name", suggested)
        auditing.named = cases.name, suggested
    return str(st.text_input("Name of the run", key="audit name", max_chars=60)).strip()


def _estimate(
    chosen: Sequence[inputs.Chosen],
    cases: CaseSet,
    methods: Sequence[Method],
    metrics: Sequence[Metric],
    weigh: str,
    controls: bool,
) -> None:
    """What it will cost, in passes."""
    from xai_core.audit_cost import cost_per_picture

    every = scores.controls(methods) if controls else list(methods)
    costs = [cost_per_picture(one.model, every, metrics) for one in chosen]
    count = len(cases.cases)
    maps, scored = sum(one.maps for one in costs), sum(one.scores for one in costs)
    weighing, units = sum(one.weighing for one in costs), sum(one.units for one in costs)
    passes = count * (maps + scored + (weighing if weigh == "all" else 0))
    said = (
        f"About **{passes:,} passes** through the network for {count * units:,} answers: of each picture {maps:,} for "
        f"its maps and {scored:,} for their scores"
    )
    if weigh == "all":
        said += f", and {weighing:,} to weigh them"
    elif weigh == "wrong":
        said += f"; and {weighing:,} more to weigh those of each picture that is misclassified"
    st.markdown(f"{said}. What is known from before is not computed again.")
