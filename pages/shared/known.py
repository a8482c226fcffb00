"""Answers that were computed before, whoever asked: looked up before a network is asked, and put there afterwards.

What is put there lies on the server's disk, with the crop of the picture that the model saw. So it is done for the
project's own samples; for what visitors upload only where the server's owner said so.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pages.shared import samples
from pages.shared.errors import LOG
from xai_core.errors import StoreError
from xai_core.records import Evidence, Explanation, Image, Prediction, Score, Target

if TYPE_CHECKING:
    from pages.shared.answers import Asked
    from xai_core.methods import Method
    from xai_core.metrics import Metric
    from xai_core.models import Model
    from xai_core.unit_store import UnitStore
    from xai_core.units import Unit

KEEP = "SECOND_LOOK_KEEP"  # set to 1, answers about pictures that visitors upload are kept, too


class ScoreKey(NamedTuple):
    """What a score is of: a map, by its key on the page, and a metric, by its name."""

    of: str
    metric: str


def may_keep(picture: str) -> bool:
    """Whether answers about a picture, by its sha256, may be put on the server's disk."""
    return keeps_uploads() or samples.by_hash(picture) is not None


def keeps_uploads() -> bool:
    """Whether the server's owner lets answers about uploads be kept."""
    return os.environ.get(KEEP) == "1"


class Known:
    """What a store holds. Where there is none, or it fails, nothing is known and nothing is kept: the log says so."""

    def __init__(self, store: UnitStore | None) -> None:
        self._store = store
        self._heard: dict[str, Unit] = {}  # what models say of pictures: every other question needs it

    # ---- what a model says -------------------------------------------------------------------------------------------

    def prediction(self, model: Model, image: Image) -> Prediction | None:
        """What `model` said of `image`, if it was asked before."""
        from xai_core.units import to_prediction

        unit = self._said(model, image.sha256)
        return None if unit is None else to_prediction(unit, model.identity)

    def keep_prediction(self, model: Model, image: Image, prediction: Prediction) -> None:
        """Keep what `model` says of `image`."""
        from xai_core import units

        if may_keep(image.sha256) and _is_whole(model):
            key, seen = units.prediction_key(image.sha256, model.identity), model.preprocessing.view(image)
            self._put([units.of_prediction(key, prediction, seen, image, 0.0)])

    # ---- maps --------------------------------------------------------------------------------------------------------

    def maps(self, wanted: Mapping[str, tuple[Asked, Method]]) -> dict[str, Explanation]:
        """Those of the maps that are known, by their keys on the page."""
        from xai_core.units import refusal, to_explanation

        said = {key: self._said(asked.model, asked.image.sha256) for key, (asked, _) in wanted.items()}
        names = {key: _map_key(asked, method, unit) for key, (asked, method) in wanted.items() if (unit := said[key])}
        found, maps = self._get(list(names.values())), dict[str, Explanation]()
        for key, name in names.items():
            unit = said[key]
            if unit is not None and name in found and not refusal(found[name]):
                maps[key] = to_explanation(found[name], wanted[key][0].model.identity, unit.arrays["seen"])
        return maps

    def keep_maps(self, made: Iterable[tuple[Model, Explanation]]) -> None:
        """Keep maps. What the model says of their picture is kept before."""
        from xai_core.units import of_explanation

        fresh = []
        for model, e in made:
            if may_keep(e.image) and (name := self._name(model, e)):
                fresh.append(of_explanation(name, e))
        self._put(fresh)

    # ---- what is said of maps ----------------------------------------------------------------------------------------

    def evidence(self, model: Model, explained: Mapping[str, Explanation], seed: int) -> dict[str, Evidence]:
        """How far those maps can be believed that were weighed before."""
        from xai_core.units import evidence_key, to_evidence

        names = {key: evidence_key(name, seed) for key, e in explained.items() if (name := self._name(model, e))}
        found = self._get(list(names.values()))
        return {key: to_evidence(found[name]) for key, name in names.items() if name in found}

    def keep_evidence(self, model: Model, weighed: Iterable[tuple[Explanation, Evidence]], seed: int) -> None:
        """Keep how far maps can be believed."""
        from xai_core.units import evidence_key, of_evidence

        self._put(
            [
                of_evidence(evidence_key(name, seed), evidence, e.image)
                for e, evidence in weighed
                if may_keep(e.image) and (name := self._name(model, e))
            ]
        )

    def scores(
        self, model: Model, explained: Mapping[str, Explanation], metrics: Sequence[Metric], mask: str, seed: int
    ) -> dict[ScoreKey, Score]:
        """The scores by those metrics that all of these maps were scored by before. `mask` is a sha256.

        What a map gets that knows nothing is read from the random control among them, as when they are scored anew.
        """
        from xai_core.units import to_score

        names = self._score_names(model, explained, metrics, mask, seed)
        found, scores = self._get(list(names.values())), dict[ScoreKey, Score]()
        for metric in metrics:
            places = [ScoreKey(one, metric.name) for one in explained]
            if all(names.get(place, "") in found for place in places):
                row = [to_score(found[names[place]]) for place in places]
                scores |= dict(zip(places, _with_null(metric, row), strict=True))
        return scores

    def keep_scores(
        self,
        model: Model,
        explained: Mapping[str, Explanation],
        metrics: Sequence[Metric],
        scores: Mapping[ScoreKey, Score],
        mask: str,
        seed: int,
    ) -> None:
        """Keep scores. What a map gets that knows nothing belongs to another map."""
        from xai_core.units import of_score

        allowed = {one: e for one, e in explained.items() if may_keep(e.image)}
        names, by_name = self._score_names(model, allowed, metrics, mask, seed), {one.name: one for one in metrics}
        self._put(
            [
                of_score(name, replace(score, null=None) if by_name[place.metric].null_from_controls else score)
                for place, name in names.items()
                if (score := scores.get(place)) is not None
            ]
        )

    def _score_names(
        self, model: Model, explained: Mapping[str, Explanation], metrics: Sequence[Metric], mask: str, seed: int
    ) -> dict[ScoreKey, str]:
        from xai_core.units import score_key

        maps = {one: name for one, e in explained.items() if (name := self._name(model, e))}
        return {
            ScoreKey(one, metric.name): score_key(name, metric.to_dict(), seed, mask if metric.needs_mask else "")
            for one, name in maps.items()
            for metric in metrics
        }

    # ---- names -------------------------------------------------------------------------------------------------------

    def _said(self, model: Model, picture: str) -> Unit | None:
        from xai_core.units import prediction_key

        if not _is_whole(model):
            return None
        name = prediction_key(picture, model.identity)
        if name not in self._heard:
            self._heard |= self._get([name])
        return self._heard.get(name)

    def _name(self, model: Model, e: Explanation) -> str:
        """What a map is called in the store; empty where that is not known, as its class may be the predicted one."""
        from xai_core.units import map_key

        if (said := self._said(model, e.image)) is None:
            return ""
        return map_key(e.image, model.identity, e.method, _rule(e.target, said), e.seed, e.background)

    def _get(self, names: Sequence[str]) -> dict[str, Unit]:
        try:
            return {} if self._store is None or not names else self._store.get(names)
        except StoreError as error:
            LOG.warning("%s", error)
            return {}

    def _put(self, units: Sequence[Unit]) -> None:
        try:
            if self._store is not None and units:
                self._store.put(units)
        except StoreError as error:
            LOG.warning("%s", error)


def _is_whole(model: Model) -> bool:
    """Whether a model is what its identity says: code of the owner's own may change while the weights stay."""
    return "architecture" in model.identity


def _map_key(asked: Asked, method: Method, said: Unit) -> str:
    from xai_core.units import map_key

    behind = [one.sha256 for one in asked.background]
    fitted = method.fitted(asked.model).to_dict()
    return map_key(asked.image.sha256, asked.model.identity, fitted, _rule(asked.target, said), asked.seed, behind)


def _rule(target: Target, said: Unit) -> dict[str, object]:
    """What names a target: an audit asks for the predicted class without knowing which that will be."""
    from xai_core.units import rule_of

    predicted = int(np.argsort(-said.arrays["logits"], kind="stable")[0])
    return rule_of(None if target.kind == "logit" and target.index == predicted else target)


def _with_null(metric: Metric, scores: Sequence[Score]) -> list[Score]:
    from xai_core.scoring import RANDOM

    random = [one.value for one in scores if one.method["name"] == RANDOM and one.value is not None]
    if not metric.null_from_controls or not random:
        return list(scores)
    return [replace(one, null=float(np.mean(random))) for one in scores]
