"""Doing an audit that was begun on a page, in a thread: nothing here touches the page."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages.shared import audit_data, cached, jobs, known, own_weights, samples
from pages.shared.audit_data import Source, Uploaded
from pages.shared.own_weights import OwnWeights
from xai_core.audit_work import ModelSpec, Weigh
from xai_core.auditing import Told, audit
from xai_core.cases import CaseSet
from xai_core.errors import ModelError, SettingError
from xai_core.runs import FACTS, open_run

if TYPE_CHECKING:
    from xai_core.models import Model


@dataclass(frozen=True)
class Shelved(ModelSpec):
    """A model that is held once for all pages and audits."""

    def load(self, device: str | None = None) -> Model:
        return cached.held(self.name, not self.pretrained, self.task or "")


@dataclass(frozen=True)
class Wanted:
    """An audit as it was asked for. `models` are held by nobody meanwhile. `background` are keys of samples."""

    name: str
    source: Source
    models: Sequence[Shelved | OwnWeights]
    methods: Sequence[Mapping[str, Any]]
    metrics: Sequence[Mapping[str, Any]]
    target: str = "predicted"
    weigh: Weigh = "none"
    controls: bool = True
    seed: int = 0
    background: Sequence[str] = ()
    cases: CaseSet | None = None  # None: those of the run that goes on
    kept: Uploaded = ()  # pictures that are put into the folder of the run

    @property
    def folder(self) -> Path:
        return jobs.audits() / self.name

    def work(self, told: Told, cancel: threading.Event) -> None:
        """Do it. Raises as `audit` does."""
        cases = self.cases
        if cases is None:
            facts = open_run(self.folder).facts
            cases = audit_data.cases_again(self.folder, self.source, str(facts["data"]["name"]))
        else:
            audit_data.note(self.folder, self.source, self.kept)
        # Answers hold what the model saw: of an upload they stay with its run, and go with it.
        shared = self.source.kind != "upload" or known.keeps_uploads()
        store = jobs.units() if shared else None
        try:
            asked = [one if isinstance(one, Shelved) else own_weights.find(one) for one in self.models]
            opened = [one.load() if isinstance(one, Shelved) else one for one in asked]
            with cached.shelf.using(*opened):
                audit(
                    cases,
                    asked,
                    self.methods,
                    self.metrics,
                    out=self.folder,
                    store=None if store is None else store.address,
                    target=self.target,
                    seed=self.seed,
                    weigh=self.weigh,
                    controls=self.controls,
                    background_images=[samples.picture(key) for key in self.background],
                    progress=told,
                    cancel=cancel,
                )
        finally:
            if not (self.folder / FACTS).exists():
                audit_data.forget(self.folder)


def wanted_again(name: str, own_models: Mapping[str, OwnWeights]) -> Wanted:
    """The audit that a run asked for, to go on with it. Raises SettingError or ModelError where that cannot be had."""
    folder = jobs.audits() / name
    facts, source = open_run(folder).facts, audit_data.noted(folder)
    behind = {sha256: samples.by_hash(sha256) for sha256 in facts.get("background", ())}
    if missing := [sha256 for sha256, key in behind.items() if key is None]:
        raise SettingError(f"{name} compares with a picture that is not here: {missing[0][:12]}.")
    return Wanted(
        name,
        source,
        [_model(one, own_models) for one in facts["models"]],
        [one["method"] for one in facts["methods"]],
        [one["metric"] for one in facts["metrics"]],
        str(facts["target"]),
        facts.get("weigh", "none"),
        False,  # the controls are among its methods
        int(facts["seed"]),
        [key for key in behind.values() if key is not None],
    )


def _model(facts: Mapping[str, Any], own_models: Mapping[str, OwnWeights]) -> Shelved | OwnWeights:
    spec, name = facts.get("spec"), str(facts["name"])
    if spec is not None and not spec.get("checkpoint"):
        return Shelved(name=str(spec["name"]), pretrained=bool(spec["pretrained"]), task=spec.get("task"))
    if name not in own_models:
        raise ModelError(
            f"{name} was opened from a file of weights, and these are not kept. Give the same file under Your own "
            "weights, then resume."
        )
    return own_models[name]
