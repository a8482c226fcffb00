"""Probing in a thread, model by model."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from pages.shared import answers
from pages.shared.answers import identity, some
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.jobs import Arriving, Progress
from pages.shared.probe_form import NEEDS_COLUMN, Asked
from pages.shared.probe_pictures import Pictures
from pages.shared.state import Probed, Session
from xai_core.errors import AuditError, Cancelled, SettingError

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.models import Model
    from xai_core.probes import Box, Probe
    from xai_core.records import Image


@dataclass(frozen=True, eq=False)
class Question:
    """One probe of one model on some pictures. `boxes` were drawn by a person, by the sha256 of their picture."""

    model: Model
    pictures: Pictures
    probe: Probe
    methods: Sequence[Method]
    target: int | None
    seed: int
    background: Sequence[Image]
    boxes: Mapping[str, Box]

    @property
    def key(self) -> str:
        """What tells this question from every other."""
        return digest(
            model=identity(self.model),
            pictures=self.pictures.mark,
            probe=self.probe.to_dict(),
            methods=[method.fitted(self.model).to_dict() for method in self.methods],
            target=self.target,
            seed=self.seed,
            background=[one.sha256 for one in self.background],
            boxes={sha256: list(box) for sha256, box in self.boxes.items()},
        )

    @property
    def passes(self) -> int:
        """About how many pictures go through the network."""
        from xai_core.probing import cost

        return cost(self.model, self.probe, self.methods, len(self.pictures.cases))


def questions(asked: Asked, pictures: Pictures, probe: Probe, boxes: Mapping[str, Box]) -> dict[str, Question]:
    """The same of every model, by the key of its finding."""
    found = {}
    for slot, (chosen, methods) in enumerate(zip(asked.models, asked.methods, strict=True)):
        one = Question(
            chosen.model, pictures, probe, methods, asked.target_of(slot), asked.seed, asked.background, boxes
        )
        found[one.key] = one
    if len(found) < len(asked.models):
        raise SettingError("The two models are the same network. Choose another in the sidebar.")
    return found


class Probing(Arriving[Probed]):
    """Putting questions to models, one after the other."""

    def __init__(self, asked: Mapping[str, Question]) -> None:
        def work(progress: Progress, cancel: threading.Event) -> None:
            from xai_core.probing import probe

            for number, (key, one) in enumerate(asked.items(), 1):
                self.stage = f"{one.model.name}, model {number} of {len(asked)}" if len(asked) > 1 else "Probing"
                try:
                    finding = probe(
                        one.model,
                        list(one.pictures.cases),
                        one.probe,
                        list(one.methods) or None,
                        target=one.target,
                        seed=one.seed,
                        boxes=one.boxes,
                        background_images=one.background,
                        store=one.pictures.store,
                        progress=progress,
                        cancel=cancel,
                    )
                except Cancelled:
                    raise
                except AuditError as error:
                    self.arrived.append((key, str(error)))
                else:
                    self.arrived.append((key, Probed(finding, one.pictures.names)))

        super().__init__(work, list(asked), models=[one.model for one in asked.values()])


def found(visitor: Session, asked: Mapping[str, Question]) -> list[Probed]:
    """What the probe found, of each model, as far as it is there; begun when the person says so."""
    keys = tuple(asked)
    probing = visitor.probing
    first = next(iter(asked.values()))

    def begin() -> None:
        probing.asked = keys

    if probing.asked != keys and not all(key in visitor.findings.kept for key in keys):
        visitor.findings.settle(())
        problem = _problem(first)
        passes = sum(one.passes for one in asked.values())
        with st.container(horizontal=True, vertical_alignment="center", key="begin probing"):
            st.button(
                f"Probe {some(len(first.pictures.cases), 'picture')}",
                key="probe",
                type="primary",
                icon=":material/play_arrow:",
                on_click=begin,
                disabled=bool(problem),
            )
            whose = " of both models" if len(asked) > 1 else ""
            st.markdown(f"About **{passes:,} passes** through the network{whose}.")
        if problem:
            st.info(plain(problem), icon=":material/tune:")
        return []

    def start(due: Sequence[str]) -> Probing:
        return Probing({key: asked[key] for key in due})

    done = answers.work(visitor.findings, list(keys), start, "finding")
    if len(done) == len(keys):
        probing.shown = keys
    return list(done.values())


def _problem(one: Question) -> str:
    """Why this cannot be begun, if it cannot."""
    count = len(one.pictures.cases)
    if count < one.probe.fewest:
        return (
            f"{one.probe.label} compares pictures: it needs {one.probe.fewest} or more, and there "
            f"{'is 1' if count == 1 else f'are {count}'}. Choose more above, as a labelled set."
        )
    if one.probe.name in NEEDS_COLUMN and not one.probe.column:  # type: ignore[attr-defined]
        return (
            f"{one.probe.label} needs a column to group by, and these pictures have none. Give a set whose labels.csv "
            "has one, such as sex or site."
        )
    return ""


def before(visitor: Session) -> list[Probed]:
    """What was shown last, where the question has changed since."""
    kept = visitor.findings.kept
    return [kept[key] for key in visitor.probing.shown if key in kept]


def said(found: Sequence[Probed]) -> str:
    """What findings are of, in short."""
    import xai_core as xai

    first = found[0].finding
    models = " and ".join(str(one.finding.model["name"]) for one in found)
    return f"{xai.PROBES[str(first.probe['name'])].label}, {models}, {some(len(first.pictures), 'picture')}"
