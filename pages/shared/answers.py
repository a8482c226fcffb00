"""The maps that were asked for: what is there is shown, what is missing is worked on meanwhile."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from pages.shared import jobs, panels, watch
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.state import Kept, Session
from xai_core.records import Explanation, Image, Target

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.models import Model


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


def identity(model: Model) -> list[str]:
    """What tells a model from every other."""
    return [model.name, model.identity["weights_sha256"], model.identity["preprocessing_sha256"]]


def maps(visitor: Session, asked: Asked, methods: Sequence[Method]) -> tuple[list[Explanation], list[str]]:
    """The maps that are there, and the names of the methods that are still worked on, in the order of `methods`."""
    keys = {asked.key(method): method for method in methods}
    if not keys:
        st.info("Choose a method in the sidebar.", icon=":material/tune:")
    work(visitor, asked, keys)
    failed = [key for key in keys if key in visitor.failed]
    for key in failed:
        st.error(plain(visitor.failed[key]), icon=":material/error:")
    if failed:
        st.button("Try again", key="try again", icon=":material/refresh:", on_click=visitor.failed.clear)
    kept = []
    for key in keys:
        if key in visitor.maps:
            visitor.maps.move_to_end(key)
            kept.append(visitor.maps[key])
    explained = [one.explanation for one in kept]
    if explained:
        sent = sum(visitor.sent[number] for number in {one.work for one in kept})
        count = f"{len(explained)} maps" if len(explained) > 1 else "1 map"
        passes = " · 1 pass through the network" if sent == 1 else f" · {sent:,} passes through the network"
        about = f"{count} for target class **{plain(asked.target)}** of {plain(asked.model.name)}"
        st.caption(about if visitor.job else about + passes)
        panels.flat_maps(explained)
    waiting = [method.name for key, method in keys.items() if key in missing(visitor, keys)]
    return explained, waiting if visitor.job is not None else []


def missing(visitor: Session, keys: Mapping[str, Method]) -> list[str]:
    """The keys of the maps that are neither there, nor impossible, nor stopped."""
    return [key for key in keys if key not in visitor.maps and key not in visitor.failed and key not in visitor.stopped]


def work(visitor: Session, asked: Asked, keys: Mapping[str, Method]) -> None:
    """Work on the maps that are missing, in a thread. Another question stops the work for the last one."""
    settle(visitor)
    if visitor.job is not None and not visitor.job.due <= keys.keys():
        visitor.job.cancel.set()
        visitor.job = None
    if visitor.job is None and (wanted := missing(visitor, keys)):
        visitor.works += 1
        visitor.job = jobs.Work(
            asked.model,
            asked.image,
            {key: keys[key] for key in wanted},
            asked.target,
            asked.seed,
            asked.background,
            number=visitor.works,
        )
        visitor.job.wait(0.2)
        settle(visitor)
    if (job := visitor.job) is not None:

        def words() -> str:
            maps = f"{job.asked - len(job.due)} of {job.asked} maps"
            return f"{maps} · {job.done:,} of {job.total:,} passes through the network"

        watch.progress(job, words, lambda: stop(visitor, job.due, "Cancelled."))
    elif stopped := [key for key in keys if key in visitor.stopped and key not in visitor.maps]:
        again(visitor, sum(key in visitor.maps for key in keys), len(stopped))


def settle(visitor: Session) -> None:
    """Take what has arrived, and see whether the work is over."""
    job = visitor.job
    if job is None:
        return
    over = not job.running
    visitor.sent[job.number] = max(1, job.done)
    for key, one in job.take():
        if isinstance(one, str):
            visitor.failed[key] = one
        else:
            visitor.keep(key, Kept(one, job.number))
    if over:
        visitor.job = None
        if job.due and job.problem:
            stop(visitor, job.due, job.problem)


def stop(visitor: Session, keys: set[str], why: str) -> None:
    """Do not work on these maps until the person says so."""
    visitor.stopped, visitor.stopped_why = visitor.stopped | keys, why


def again(visitor: Session, complete: int, left: int) -> None:
    """Say why maps are not there, and offer to ask again."""

    def run() -> None:
        visitor.stopped = frozenset()

    stay = f" {complete} {'maps are' if complete > 1 else 'map is'} complete and stay{'' if complete > 1 else 's'}."
    with st.container(horizontal=True, vertical_alignment="center"):
        st.warning(plain(visitor.stopped_why + (stay if complete else "")), icon=":material/stop_circle:")
        label = f"Run the other {left}" if left > 1 and complete else "Run"
        st.button(label, key="run", type="primary", icon=":material/play_arrow:", on_click=run)
