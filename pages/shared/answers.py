"""The maps that were asked for: what is there is shown, what is missing is worked on meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import streamlit as st

from pages.shared import jobs, panels, viewer, watch
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.state import Answers, Session
from xai_core.records import Evidence, Explanation, Image, Target

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.models import Model

T = TypeVar("T")


@dataclass(frozen=True)
class Asked:
    """One picture, one model, one target: everything that maps have in common but the method."""

    model: Model
    image: Image
    target: Target
    seed: int
    background: Sequence[Image] = ()

    def key(self, method: Method) -> str:
        """Of the map by one method. Background pictures count where they are looked at."""
        asked = method.fitted(self.model).to_dict()
        compared = [one.sha256 for one in self.background] if "pictures" in asked.values() else []
        target = [self.target.index, self.target.kind, self.target.against]
        return digest(
            image=self.image.sha256,
            model=identity(self.model),
            method=asked,
            target=target,
            seed=self.seed,
            background=compared,
        )


Posed = Mapping[str, tuple[Asked, "Method"]]  # what is asked for, by the key of the map that answers it


def identity(model: Model) -> list[str]:
    """What tells a model from every other."""
    said = model.identity
    means = [said["task"], digest(labels=model.labels)]
    return [model.name, said["weights_sha256"], said["preprocessing_sha256"], *means]


def posed(asked: Asked, methods: Sequence[Method]) -> Posed:
    """One question put to several methods."""
    return {asked.key(method): (asked, method) for method in methods}


def maps(visitor: Session, wanted: Posed) -> tuple[dict[str, Explanation], list[viewer.Waiting]]:
    """The maps that are there, by their keys, and those that are still worked on.

    Both in the order of `wanted`.
    """
    if not wanted:
        st.info("Choose a method in the sidebar.", icon=":material/tune:")

    def start(keys: Sequence[str]) -> jobs.Work:
        return jobs.Work({key: wanted[key] for key in keys})

    found = work(visitor.maps, list(wanted), start, "map")
    explained = {key: one.explanation for key, one in found.items()}
    if explained:
        sent = sum(max(1, job.done) for job in {one.work for one in found.values()} if job is not None)
        passes = f" · {sent:,} passes through the network" if sent else " · known from before"
        passes = " · 1 pass through the network" if sent == 1 else passes
        targets = {str(e.target) for e in explained.values()}
        models = {digest(model=identity(wanted[key][0].model)): wanted[key][0].model.name for key in explained}
        about = [some(len(explained), "map")]
        about += [f"for target class **{plain(*targets)}**"] if len(targets) == 1 else []
        about += [f"of {some(len(models), 'model')}" if len(models) > 1 else f"of {plain(*models.values())}"]
        st.caption(" ".join(about) + ("" if visitor.maps.job else passes))
        panels.flat_maps(list(explained.values()))
    waiting = visitor.maps.missing(wanted) if visitor.maps.job is not None else []
    return explained, [_awaited(key, wanted) for key in waiting]


def _awaited(key: str, wanted: Posed) -> viewer.Waiting:
    """A map that is worked on, and what it will be called beside the others."""
    asked, method = wanted[key]
    several = len({one.model.name for one, _ in wanted.values()}) > 1
    target = str(asked.target) if len({one.target for one, _ in wanted.values()}) > 1 else ""
    return method.name, " · ".join(filter(None, [asked.model.name if several else target, method.label]))


def evidence(visitor: Session, wanted: Posed, explained: Mapping[str, Explanation], busy: bool) -> dict[str, Evidence]:
    """How far each map can be believed, as far as that is known yet. Nothing new is begun while the page is `busy`.

    Controls are not weighed: they are the scales.
    """
    keys = [key for key, e in explained.items() if not viewer.is_control(e)]
    if busy:
        visitor.evidence.settle(keys)
        return {key: visitor.evidence.kept[key] for key in keys if key in visitor.evidence.kept}

    def start(due: Sequence[str]) -> jobs.Weighing:
        return jobs.Weighing({key: (wanted[key][0], explained[key]) for key in due})

    return work(visitor.evidence, keys, start, "verdict")


def work(
    answers: Answers[T],
    keys: Sequence[str],
    start: Callable[[Sequence[str]], jobs.Arriving[T]],
    noun: str,
    *,
    mendable: bool = True,
) -> dict[str, T]:
    """The answers that are there, in the order of `keys`. The others are worked on in a thread, meanwhile.

    Another question stops the work for the last one. `noun` is what an answer is called. What cannot be had is tried
    again on a click, unless that would not be `mendable` so.
    """
    answers.settle(keys)
    if answers.job is None and (wanted := answers.missing(keys)):
        answers.job = start(wanted)
        answers.job.wait(0.2)
        answers.settle(keys)
    if (job := answers.job) is not None:

        def words() -> str:
            said = job.stage or f"{job.asked - len(job.due)} of {some(job.asked, noun)}"
            return f"{said} · {job.done:,} of {job.total:,} passes through the network" if job.total else said

        watch.progress(job, words, lambda: answers.stop(job.due, "Cancelled."), f"cancel {noun}s")
    elif stopped := [key for key in keys if key in answers.stopped and key not in answers.kept]:
        again(answers, sum(key in answers.kept for key in keys), len(stopped), noun)
    failed = [key for key in keys if key in answers.failed]
    for sentence in dict.fromkeys(answers.failed[key] for key in failed):
        st.error(plain(sentence), icon=":material/error:")
    if failed and mendable:
        st.button("Try again", key=f"try {noun}s", icon=":material/refresh:", on_click=answers.failed.clear)
    found = {key: answers.kept[key] for key in keys if key in answers.kept}
    for key in found:
        answers.kept.move_to_end(key)
    return found


def again(answers: Answers[T], complete: int, left: int, noun: str) -> None:
    """Say why answers are not there, and offer to ask again."""

    def run() -> None:
        answers.stopped = frozenset()

    stay = f" {some(complete, noun)} {'are' if complete > 1 else 'is'} complete and stay{'' if complete > 1 else 's'}."
    with st.container(horizontal=True, vertical_alignment="center"):
        st.warning(plain(answers.stopped_why + (stay if complete else "")), icon=":material/stop_circle:")
        label = f"Run the other {left}" if left > 1 and complete else "Run"
        st.button(label, key=f"run {noun}s", type="primary", icon=":material/play_arrow:", on_click=run)


def some(count: int, noun: str) -> str:
    """A number of things: 1 map, 2 maps."""
    return f"{count:,} {noun}" + ("s" if count != 1 else "")
