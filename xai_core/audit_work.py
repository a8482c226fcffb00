"""What one worker of an audit does, on whatever engine: one picture through one model, as far as it is missing.

A worker touches neither the set nor the store. It is handed a `Parcel`, which stands alone, and hands back units: the
same ones on every engine, whatever else was asked and however the work was cut.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from xai_core import units
from xai_core.classification import right_or_wrong
from xai_core.errors import AuditError, Cancelled, UnsupportedError
from xai_core.evidence import weigh_many
from xai_core.loading import load_model
from xai_core.methods import Method
from xai_core.metrics import METRICS, Metric
from xai_core.pipeline import explain_many, predict
from xai_core.records import Evidence, Explanation, Image, Prediction, Score
from xai_core.scoring import score_many
from xai_core.units import Unit

if TYPE_CHECKING:
    from xai_core.models import Model

Weigh = Literal["none", "wrong", "all"]
Keep = Callable[[Unit], None]


@dataclass(frozen=True)
class ModelSpec:
    """How a model is had, in this process or another: the arguments of `load_model`, files by their names."""

    name: str = ""
    checkpoint: str | None = None
    labels: str | None = None
    pretrained: bool = True
    task: str | None = None
    seed: int = 0

    def load(self, device: str | None = None) -> Model:
        return load_model(**asdict(self), device=device)


@dataclass(frozen=True)
class Question:
    """What is asked of every picture. A picture is not in its own background."""

    methods: tuple[Method, ...]
    metrics: tuple[Metric, ...] = ()
    seed: int = 0
    weigh: Weigh = "wrong"
    background: tuple[Image, ...] = ()

    def behind(self, picture: str) -> list[Image]:
        """What a picture is compared with: the background without itself."""
        return [one for one in self.background if one.sha256 != picture]

    def fitted(self, model: Model) -> list[Method | str]:
        """Every method with its open settings filled in for `model`, or the reason why it says nothing about it."""
        return [method.why_not(model) or method.fitted(model) for method in self.methods]


class Keys(NamedTuple):
    """What the answers about one picture by one model are called: by method, and by method and metric.

    None where there is none: a method that says nothing about the model, a control that is not weighed.
    """

    prediction: str
    maps: tuple[str | None, ...]
    scores: tuple[tuple[str | None, ...], ...]
    evidence: tuple[str | None, ...]

    def all(self) -> list[str]:
        """Every key, the prediction first."""
        every = (self.prediction, *self.maps, *(key for row in self.scores for key in row), *self.evidence)
        return [key for key in every if key is not None]


def keys_of(
    question: Question,
    fitted: Sequence[Method | str],
    identity: Mapping[str, Any],
    picture: str,
    target: int | None,
    mask: str = "",
) -> Keys:
    """The keys of a picture by a model. `target` is a class number, None the predicted class; `mask` a sha256."""
    rule, behind = units.rule_of(target), [one.sha256 for one in question.behind(picture)]
    maps = [
        None
        if isinstance(method, str)
        else units.map_key(picture, identity, method.to_dict(), rule, question.seed, behind)
        for method in fitted
    ]
    scores = [
        tuple(
            None
            if key is None
            else units.score_key(key, metric.to_dict(), question.seed, mask if metric.needs_mask else "")
            for metric in question.metrics
        )
        for key in maps
    ]
    evidence = [
        None
        if key is None or question.weigh == "none" or method.family == "control"
        else units.evidence_key(key, question.seed)
        for key, method in zip(maps, question.methods, strict=True)
    ]
    return Keys(units.prediction_key(picture, identity), tuple(maps), tuple(scores), tuple(evidence))


def went_wrong(said: Prediction, right: int | None) -> bool:
    """Whether the likeliest class is called otherwise than class `right`; False where that is not known."""
    if right is None:
        return False
    best = said.labels[int(said.order()[0])]
    return right_or_wrong(said.labels[right], best, said.labels, said.task) is False


@dataclass(frozen=True, eq=False)
class Parcel:
    """What is `missing` of one picture by model number `model`, with the units that this stands on.

    `right` is the class that it truly shows, None where that is not known or no class of the model, or where classes do
    not exclude one another.
    """

    number: int
    model: int
    image: Image
    mask: Image | None
    right: int | None
    target: int | None
    keys: Keys
    missing: frozenset[str]
    found: Mapping[str, Unit]


class Outcome(NamedTuple):
    """What became of a parcel. `lost` says why nothing did, where it took its worker along."""

    parcel: Parcel
    passes: int = 0
    problems: tuple[str, ...] = ()
    lost: str = ""


@dataclass(frozen=True, eq=False)
class Worker:
    """Holds the models, and does one parcel after the other."""

    models: Sequence[Model]
    question: Question

    @cached_property
    def fitted(self) -> list[list[Method | str]]:
        """By model: every method as it is asked."""
        return [self.question.fitted(model) for model in self.models]

    def do(self, parcel: Parcel, keep: Keep, cancel: threading.Event | None = None) -> Outcome:
        """Compute what is missing. `keep` gets every unit as soon as it is there. Raises Cancelled."""
        return _Doing(self, parcel, keep, cancel).do()


class _Doing:
    """One parcel in hand."""

    def __init__(self, worker: Worker, parcel: Parcel, keep: Keep, cancel: threading.Event | None) -> None:
        self.question, self.parcel, self.keep = worker.question, parcel, keep
        self.model, self.methods = worker.models[parcel.model], worker.fitted[parcel.model]
        self.passes, self.problems = 0, list[str]()
        behind = self.question.behind(parcel.image.sha256)
        self.common: dict[str, Any] = {"seed": self.question.seed, "background_images": behind, "cancel": cancel}
        self.prediction: Prediction | None = None
        self.maps: dict[int, Explanation] = {}

    def do(self) -> Outcome:
        self._open()
        for ask in (self._explain, self._score, self._weigh):
            try:
                ask()
            except Cancelled:
                raise
            except AuditError as error:
                self.problems.append(str(error))
        return Outcome(self.parcel, self.passes, tuple(self.problems))

    def _open(self) -> None:
        """Take what was found."""
        found, keys, identity = self.parcel.found, self.parcel.keys, self.model.identity
        if (said := found.get(keys.prediction)) is None:
            return
        self.prediction = units.to_prediction(said, identity)
        for number, key in enumerate(keys.maps):
            unit = found.get(key) if key is not None else None
            if unit is not None and not units.refusal(unit):
                self.maps[number] = units.to_explanation(unit, identity, said.arrays["seen"])

    def _explain(self) -> None:
        missing, image = self.parcel.missing, self.parcel.image
        wanted = {
            number: method
            for number, (key, method) in enumerate(zip(self.parcel.keys.maps, self.methods, strict=True))
            if key in missing and not isinstance(method, str)
        }
        numbers, start = list(wanted), time.perf_counter()

        def said(_: int, prediction: Prediction) -> None:
            self._predicted(prediction, time.perf_counter() - start)

        def made(_: int, by: int, e: Explanation) -> None:
            self.maps[numbers[by]] = e
            self.keep(units.of_explanation(self._map_key(numbers[by]), e))

        def failed(_: int, by: int, error: AuditError) -> None:
            method = wanted[numbers[by]]
            if isinstance(error, UnsupportedError):
                self.keep(units.of_refusal(self._map_key(numbers[by]), image.sha256, method.to_dict(), str(error)))
            else:
                self.problems.append(f"{method.label}: {error}")

        if wanted:
            explain_many(
                self.model, [image], list(wanted.values()), [self.parcel.target],
                each=made, failed=failed, said=said, progress=self._counted(), **self.common,
            )  # fmt: skip
        elif self.prediction is None:
            said(0, predict(self.model, image))
            self.passes += 1

    def _predicted(self, prediction: Prediction, seconds: float) -> None:
        self.prediction, key = prediction, self.parcel.keys.prediction
        if key in self.parcel.missing:
            seen = self.model.preprocessing.view(self.parcel.image)
            self.keep(units.of_prediction(key, prediction, seen, self.parcel.image, seconds))

    def _map_key(self, number: int) -> str:
        key = self.parcel.keys.maps[number]
        assert key is not None  # only methods that say something of the model are asked
        return key

    def _score(self) -> None:
        """Metrics that lack the scores of the same maps are asked together: they share what they ask the network."""
        masks = {} if self.parcel.mask is None else {self.parcel.image.sha256: self.parcel.mask}
        together: dict[tuple[int, ...], list[int]] = {}
        for metric in range(len(self.question.metrics)):
            lacking = tuple(row for row in self.maps if self.parcel.keys.scores[row][metric] in self.parcel.missing)
            if lacking:
                together.setdefault(lacking, []).append(metric)
        for rows, columns in together.items():
            start = time.perf_counter()

            def scored(i: int, j: int, score: Score, rows: Any = rows, columns: Any = columns) -> None:
                nonlocal start
                now = time.perf_counter()
                key = self.parcel.keys.scores[rows[i]][columns[j]]
                assert key is not None
                own = replace(score, null=None) if METRICS[score.metric["name"]].null_from_controls else score
                self.keep(units.of_score(key, own, now - start))
                start = now

            score_many(
                self.model, [self.maps[row] for row in rows], [self.question.metrics[column] for column in columns],
                masks=masks, each=scored, progress=self._counted(), **self.common,
            )  # fmt: skip

    def _weigh(self) -> None:
        if self.question.weigh == "wrong" and not (self.prediction and went_wrong(self.prediction, self.parcel.right)):
            return
        found, keys = self.parcel.found, self.parcel.keys.evidence
        rows = [row for row in self.maps if (key := keys[row]) is not None and key not in found]
        start = time.perf_counter()

        def weighed(i: int, evidence: Evidence) -> None:
            nonlocal start
            now, key = time.perf_counter(), keys[rows[i]]
            assert key is not None
            self.keep(units.of_evidence(key, evidence, self.parcel.image.sha256, now - start))
            start = now

        if rows:
            maps = [self.maps[row] for row in rows]
            weigh_many(self.model, maps, each=weighed, progress=self._counted(), **self.common)

    def _counted(self) -> Callable[[int, int], None]:
        """Told how many pictures have gone through the network in one verb."""
        before = self.passes

        def progress(done: int, _: int) -> None:
            self.passes = before + done

        return progress
