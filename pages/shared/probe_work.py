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
from xai_core.errors import AuditError, Cancelled, MemoryShortError, RecordError, SettingError, StoreError

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.models import Model
    from xai_core.probes import Box, Probe
    from xai_core.records import Image


PASSING = (MemoryShortError, StoreError, RecordError)  # what another time may go well


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
    def parts(self) -> dict[str, object]:
        """What tells this question from every other, by the words for it."""
        return {
            "the model": identity(self.model),
            "the pictures": self.pictures.mark,
            "the probe": self.probe.name,
            "the settings of the probe": self.probe.to_dict(),
            "the methods": [method.fitted(self.model).to_dict() for method in self.methods],
            "the class that is explained": self.target,
            "the seed": self.seed,
            "the background pictures": [one.sha256 for one in self.background],
            "the box": {sha256: list(box) for sha256, box in self.boxes.items()},
        }

    @property
    def key(self) -> str:
        return digest(**self.parts)

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
                except (Cancelled, *PASSING):
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
        probing.asked, probing.told = keys, ""
        for key in keys:
            visitor.findings.failed.pop(key, None)

    _see(visitor, keys)
    if probing.asked != keys and not all(key in visitor.findings.kept for key in keys):
        problem = _problem(first)
        if probing.told:
            st.warning(plain(probing.told), icon=":material/stop_circle:")
        with st.container(horizontal=True, vertical_alignment="center", key="begin probing"):
            st.button(
                f"Probe {some(len(first.pictures.cases), 'picture')}",
                key="probe",
                type="primary",
                icon=":material/play_arrow:",
                on_click=begin,
                disabled=bool(problem),
            )
            st.markdown(_cost(visitor, asked))
        if problem:
            st.info(plain(problem), icon=":material/tune:")
        return []

    def start(due: Sequence[str]) -> Probing:
        return Probing({key: asked[key] for key in due})

    done = answers.work(visitor.findings, list(keys), start, "finding", mendable=False)
    if len(done) == len(keys):
        probing.shown, probing.parts, probing.told = keys, parts(asked), ""
    return list(done.values())


def _see(visitor: Session, keys: Sequence[str]) -> None:
    """Take note of work that was stopped, by the person or by another question, before anything of it was there."""
    probing, findings = visitor.probing, visitor.findings
    if probing.asked and probing.asked != tuple(keys):
        going = findings.job is not None
        findings.settle(())
        if going and not all(key in findings.kept for key in probing.asked):
            probing.told = "The question changed, so the probe that was going was stopped."
        probing.asked = ()
        findings.stopped = frozenset()
        return
    findings.settle(keys)
    if findings.job is None and findings.stopped & set(keys) and not any(key in findings.kept for key in keys):
        nothing = " Nothing of it was kept." if findings.stopped_why == "Cancelled." else ""
        probing.asked, probing.told = (), findings.stopped_why + nothing
        findings.stopped = frozenset()


def _cost(visitor: Session, asked: Mapping[str, Question]) -> str:
    """About how many passes it takes, and how long, where earlier probes tell how fast a model is here."""
    passes = sum(one.passes for one in asked.values())
    words = f"About **{passes:,} {'pass' if passes == 1 else 'passes'}** through the network"
    words += " of both models" if len(asked) > 1 else ""
    speeds = {}
    for before in visitor.findings.kept.values():
        finding = before.finding
        if sent := finding.passes.forward + finding.passes.backward:
            speeds[finding.model["weights_sha256"]] = finding.seconds / sent
    times = [speeds.get(one.model.identity["weights_sha256"], 0.0) * one.passes for one in asked.values()]
    return f"{words}, {_about(sum(times))}." if all(times) else f"{words}."


def _about(seconds: float) -> str:
    if seconds < 100:
        return f"about {max(1, round(seconds))} s"
    return f"about {round(seconds / 60)} min"


def parts(asked: Mapping[str, Question]) -> dict[str, object]:
    """What is asked of all models, by the words for it."""
    every = [one.parts for one in asked.values()]
    return {name: [one[name] for one in every] for name in every[0]}


def changed(visitor: Session, asked: Mapping[str, Question]) -> str:
    """What is asked otherwise now than when that was found which is still shown."""
    found = [name for name, value in parts(asked).items() if visitor.probing.parts.get(name) != value]
    along = {"the settings of the probe": {"the probe"}, "the box": {"the probe", "the pictures"}}
    return ", ".join(name for name in found if along.get(name, set()).isdisjoint(found))


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
