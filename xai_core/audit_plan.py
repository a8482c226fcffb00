"""What an audit asks: the set, the models and the question, what every answer is called, and what is missing of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from xai_core import units
from xai_core.audit_report import Sample
from xai_core.audit_work import Keys, ModelSpec, Parcel, Worker, keys_of, went_wrong
from xai_core.cases import CaseSet, unknown_labels
from xai_core.comparison import names_of
from xai_core.errors import PictureError, SettingError
from xai_core.images import read_image
from xai_core.methods import METHODS
from xai_core.metrics import METRICS
from xai_core.records import TASKS, Case, Evidence, Explanation, Prediction, Score
from xai_core.runs import SCHEMA
from xai_core.score_table import row_names
from xai_core.truth import fitted_mask
from xai_core.unit_store import UnitStore
from xai_core.units import Unit


class Prepared(NamedTuple):
    """A picture that was read: its parcels by model, and what of it was found. `why` says why it was refused."""

    number: int
    why: str = ""
    picture: str = ""
    mask: str = ""
    notes: tuple[str, ...] = ()
    parcels: tuple[Parcel, ...] = ()
    found: int = 0
    total: int = 0


class Looked(NamedTuple):
    """What is missing of a picture by a model, how much of it was found, and verdicts that need not be asked again."""

    missing: frozenset[str]
    found: int
    total: int
    weighed: Mapping[str, Unit]


class Plan:
    """The set, the models and the question, and what every answer is called."""

    def __init__(self, cases: CaseSet, worker: Worker, target: str) -> None:
        if not worker.models:
            raise SettingError("An audit needs a model. Name one, such as demo-xray.")
        if not worker.question.methods:
            raise SettingError("An audit needs a method. Name one, such as grad_cam.")
        self.cases, self.worker, self.question, self.target = cases, worker, worker.question, target
        self.names = names_of([model.identity for model in worker.models])
        self.numbers = [{label: model.labels.index(label) for label in model.labels} for model in worker.models]
        self.left_out = [*cases.said]
        strangers: list[SettingError] = []
        for name, model, fitted in zip(self.names, worker.models, worker.fitted, strict=True):
            try:
                if model.identity["task"] == TASKS[0]:
                    self.left_out += unknown_labels(cases, model.labels, name)
            except SettingError as error:  # of several models, one may know other classes
                strangers.append(error)
                self.left_out.append(str(error))
            self.left_out += [f"{name}: {method}" for method in fitted if isinstance(method, str)]
        if len(strangers) == len(worker.models):
            raise strangers[0]
        self._check_target()

    def _check_target(self) -> None:
        if self.target == "true" and all(case.label is None for case in self.cases.cases):
            raise SettingError("The true class cannot be explained: no picture has a label. Choose predicted.")
        for name, known in zip(self.names, self.numbers, strict=True) if self.target == "true" else ():
            if lacking := sum(case.label not in known for case in self.cases.cases):
                self.left_out.append(
                    f"Of {lacking} pictures {name} does not know the true class: the predicted one is explained."
                )
        if self.target not in ("predicted", "true"):
            for name, known in zip(self.names, self.numbers, strict=True):
                if self.target not in known:
                    raise SettingError(
                        f"{name} has no class {self.target!r}. Choose predicted, true, or one of {', '.join(known)}."
                    )

    def right(self, case: Case, model: int) -> int | None:
        """The number of the class that a picture truly shows, where the model has it and classes exclude each other."""
        single = self.worker.models[model].identity["task"] == TASKS[0]
        return self.numbers[model].get(case.label) if single and case.label is not None else None

    def class_asked(self, case: Case, model: int) -> int | None:
        """The class that is explained; None is the predicted one, also where the true one is not known."""
        wanted = case.label if self.target == "true" else self.target
        return None if wanted is None else self.numbers[model].get(wanted)

    def keys(self, case: Case, picture: str, mask: str, model: int) -> Keys:
        worker, identity = self.worker, self.worker.models[model].identity
        return keys_of(self.question, worker.fitted[model], identity, picture, self.class_asked(case, model), mask)

    def facts(self, specs: Sequence[ModelSpec | None]) -> dict[str, Any]:
        """What run.json says of the question, as plain values."""
        question, worker = self.question, self.worker
        method_names, _ = row_names([method.to_dict() for method in question.methods], METHODS)
        metric_names, _ = row_names([metric.to_dict() for metric in question.metrics], METRICS)
        return {
            "schema": SCHEMA,
            "made_by": units.this_program(),
            "data": {
                "name": self.cases.name,
                "cases": len(self.cases.cases),
                "labelled": any(case.label is not None for case in self.cases.cases),
                "columns": list(self.cases.columns),
                "folder": self.cases.folder,
            },
            "models": [
                {
                    "name": name,
                    "spec": None if spec is None else asdict(spec),
                    "identity": dict(model.identity),
                    "labels": list(model.labels),
                    "fitted": {
                        row: None if isinstance(method, str) else method.to_dict()
                        for row, method in zip(method_names, fitted, strict=True)
                    },
                }
                for name, spec, model, fitted in zip(self.names, specs, worker.models, worker.fitted, strict=True)
            ],
            "methods": [
                {"name": name, "method": method.to_dict(), "family": method.family}
                for name, method in zip(method_names, question.methods, strict=True)
            ],
            "metrics": [
                {"name": name, "metric": metric.to_dict()}
                for name, metric in zip(metric_names, question.metrics, strict=True)
            ],
            "target": self.target,
            "seed": question.seed,
            "weigh": question.weigh,
            "background": [one.sha256 for one in question.background],
            "left_out": self.left_out,
        }

    def prepare(self, number: int, store: UnitStore) -> Prepared:
        """Read a picture, and find what is missing of it. It is decoded only where something is."""
        case = self.cases.cases[number]
        try:
            data = case.read()
            picture, (mask, notes) = hashlib.sha256(data).hexdigest(), self._mask(case)
            marked = "" if mask is None else hashlib.sha256(mask).hexdigest()
            every = [self.keys(case, picture, marked, model) for model in range(len(self.names))]
            looked = [self._look(keys, case, model, store) for model, keys in enumerate(every)]
            found, total = (sum(counts) for counts in zip(*((one.found, one.total) for one in looked), strict=True))
            if not any(one.missing for one in looked):
                return Prepared(number, "", picture, marked, notes, (), found, total)
            image = read_image(data, case.name)
        except PictureError as error:
            return Prepared(number, str(error))
        white = None
        if mask is not None:
            try:
                white = fitted_mask(read_image(mask, f"the mask of {case.name}"), image)
            except PictureError as error:
                notes = (f"{case.name} is audited without its mask. {error}",)
        parcels = tuple(
            Parcel(
                number, model, image, white, self.right(case, model), self.class_asked(case, model), keys, one.missing,
                {**store.get([keys.prediction, *filter(None, keys.maps)]), **one.weighed},
            )
            for model, (keys, one) in enumerate(zip(every, looked, strict=True))
            if one.missing
        )  # fmt: skip
        return Prepared(number, "", picture, marked, notes, parcels, found, total)

    def _mask(self, case: Case) -> tuple[bytes | None, tuple[str, ...]]:
        """The file of what marks the evidence, where a metric asks for it and it can be read."""
        if case.read_mask is None or not any(metric.needs_mask for metric in self.question.metrics):
            return None, ()
        try:
            return case.read_mask(), ()
        except PictureError as error:
            return None, (f"{case.name} is audited without its mask. {error}",)

    def _look(self, keys: Keys, case: Case, model: int, store: UnitStore) -> Looked:
        """What the store has of a picture by a model, and what is missing. What has no map has no scores either."""
        wrong = self.question.weigh == "wrong" and self.known_wrong(keys, case, model, store)
        weigh = wrong or self.question.weigh == "all"
        found = store.found(keys.all())
        unsure = [
            row
            for row, (key, own) in enumerate(zip(keys.maps, keys.scores, strict=True))
            if key in found and not {*own, *([keys.evidence[row]] if weigh else [])} - {None} <= found
        ]
        maps = store.get([key for row in unsure if (key := keys.maps[row]) is not None])
        found = store.found(keys.all()) if unsure else found  # what could not be read is not there any more
        refused = {row for row in unsure if (unit := maps.get(keys.maps[row] or "")) and units.refusal(unit)}
        due: set[str | None] = {keys.prediction, *keys.maps}
        due |= {key for row, own in enumerate(keys.scores) if row not in refused for key in own}
        due |= {key for row, key in enumerate(keys.evidence) if weigh and row not in refused}
        asked = {key for key in due if key is not None}
        weighed = {key: Unit(key, "evidence", {}, {}) for key in keys.evidence if key is not None and key in found}
        return Looked(frozenset(asked - found), len(asked & found), len(asked), weighed)

    def known_wrong(self, keys: Keys, case: Case, model: int, store: UnitStore) -> bool:
        """Whether the store says that the model got a picture wrong."""
        right = self.right(case, model)
        if right is None or (unit := store.get([keys.prediction]).get(keys.prediction)) is None:
            return False
        return went_wrong(units.to_prediction(unit, self.worker.models[model].identity), right)


class StoredAnswers:
    """The answers of a run, read from the store one picture at a time. What was not asked, or has no answer, is None.

    `damaged` is True once something that the store said it had could not be read.
    """

    def __init__(self, plan: Plan, store: UnitStore, samples: Sequence[tuple[Sample, str]]) -> None:
        self._plan, self._store, self._samples = plan, store, samples
        self.damaged = False
        self._held: tuple[tuple[int, int], Mapping[str, Unit]] = (-1, -1), {}
        self._named: tuple[tuple[int, int], Keys] = (-1, -1), Keys("", (), (), ())
        self._wrong: dict[tuple[int, int], bool] = {}

    def every_key(self) -> Iterator[str]:
        """Of all that was asked."""
        for number in range(len(self._samples)):
            for model in range(len(self._plan.names)):
                yield from self._keys(number, model).all()

    def prediction(self, sample: int, model: int) -> tuple[Prediction, np.ndarray] | None:
        unit = self._unit(sample, model, self._keys(sample, model).prediction)
        if unit is None:
            return None
        return units.to_prediction(unit, self._plan.worker.models[model].identity), unit.arrays["seen"]

    def explanation(self, sample: int, model: int, method: int) -> Explanation | None:
        key = self._keys(sample, model).maps[method]
        unit = None if key is None else self._read([key]).get(key)
        said = self.prediction(sample, model)
        if unit is None or said is None or units.refusal(unit):
            return None
        return units.to_explanation(unit, self._plan.worker.models[model].identity, said[1])

    def score(self, sample: int, model: int, method: int, metric: int) -> Score | None:
        unit = self._unit(sample, model, self._keys(sample, model).scores[method][metric])
        return None if unit is None else units.to_score(unit)

    def evidence(self, sample: int, model: int, method: int) -> Evidence | None:
        unit = self._unit(sample, model, self._keys(sample, model).evidence[method])
        return None if unit is None else units.to_evidence(unit)

    def size(self, sample: int) -> tuple[int, int] | None:
        """(width, height) of the picture as it was uploaded."""
        for model in range(len(self._plan.names)):
            key = self._keys(sample, model).prediction
            if (unit := self._read([key]).get(key)) is not None:
                width, height = unit.facts["size"]
                return int(width), int(height)
        return None

    def _unit(self, sample: int, model: int, key: str | None) -> Unit | None:
        """One of the answers that are no maps. Those of the last picture and model are remembered."""
        if self._held[0] != (sample, model):
            keys = self._keys(sample, model)
            maps = set(keys.maps)
            self._held = (sample, model), self._read([each for each in keys.all() if each not in maps])
        return None if key is None else self._held[1].get(key)

    def _read(self, keys: Sequence[str]) -> Mapping[str, Unit]:
        there = self._store.found(keys)
        found = self._store.get(keys)
        self.damaged |= not there <= found.keys()
        return found

    def _keys(self, sample: int, model: int) -> Keys:
        """Verdicts are asked of what went wrong alone, where no others were: a store may hold more of them."""
        if self._named[0] != (sample, model):
            one, mask = self._samples[sample]
            keys = self._plan.keys(one.case, one.picture, mask, model)
            if self._plan.question.weigh == "wrong" and not self._went_wrong(sample, model, keys):
                keys = keys._replace(evidence=(None,) * len(keys.evidence))
            self._named = (sample, model), keys
        return self._named[1]

    def _went_wrong(self, sample: int, model: int, keys: Keys) -> bool:
        if (sample, model) not in self._wrong:
            case = self._samples[sample][0].case
            self._wrong[sample, model] = self._plan.known_wrong(keys, case, model, self._store)
        return self._wrong[sample, model]
