"""The maps of one case: those of the run's store, and those that are made while it is reviewed."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xai_core as xai
from pages.shared import cached, jobs, samples
from pages.shared.jobs import Progress
from pages.shared.review_cases import Cases
from pages.shared.state import Kept, Session
from xai_core.decisions import Decisions
from xai_core.errors import ModelError, PictureError, SettingError, UnsupportedError
from xai_core.records import Evidence, Explanation, Image, Prediction, Target

if TYPE_CHECKING:
    import threading

    from xai_core.models import Model
    from xai_core.runs import Run


@dataclass(frozen=True)
class Stored:
    """What the store holds of a case: maps with what they were weighed as, and what each model said."""

    maps: Sequence[Explanation]
    evidence: Sequence[Evidence | None]
    said: Sequence[Prediction]


def stored(cases: Cases, picture: str, methods: Sequence[str], later: Sequence[tuple[str, str]]) -> Stored:
    """The maps of a picture by these methods of the run and by the keys of `later`, model by model."""
    from xai_core import units

    run = cases.run
    asked: dict[str, str] = {}  # the model, by the key of a map
    for model in cases.models:
        named = [run.map_key(picture, model, method) for method in methods]
        asked |= {key: model for key in named if key is not None}
        asked |= {key: model for whose, key in later if whose == model}
    identities = {model: identity(run, model) for model in cases.models}
    said = {model: run.prediction_key(picture, model) for model in cases.models}
    weighed = {key: run.evidence_key(key) for key in asked}
    found = run.store.get([*asked, *weighed.values(), *said.values()])
    there = {key for key in asked if key in found and not units.refusal(found[key])}
    keys = [key for key, model in asked.items() if key in there and said[model] in found]
    return Stored(
        [
            units.to_explanation(found[key], identities[asked[key]], found[said[asked[key]]].arrays["seen"])
            for key in keys
        ],
        [units.to_evidence(found[weighed[key]]) if weighed[key] in found else None for key in keys],
        [units.to_prediction(found[key], identities[model]) for model, key in said.items() if key in found],
    )


def identity(run: Run, model: str) -> Mapping[str, Any]:
    """Which network a row name stands for."""
    found: Mapping[str, Any] = next(one for one in run.facts["models"] if one["name"] == model)["identity"]
    return found


# ---- more of them ----------------------------------------------------------------------------------------------------


def others(run: Run) -> list[str]:
    """Methods that can be asked later: all that the run has not asked with their usual settings."""
    from pages.shared.menu import in_order

    asked = {str(one["method"].get("name")) for one in run.facts["methods"]}
    names = [name for family, members in in_order() for name in members if family != "control" and name not in asked]
    return sorted(names, key=lambda name: name != "lime")


def original(visitor: Session, cases: Cases, picture: str) -> Image | None:
    """The picture itself, which a run does not hold: among uploads, samples, or where the set was read from."""
    if picture in visitor.pictures:
        return visitor.pictures[picture]
    if sample := samples.by_hash(picture):
        return samples.picture(sample)
    data, name = _from_set(cases, picture), cases.files[cases.places[picture]]
    return None if data is None else xai.read_image(data, name)


def _from_set(cases: Cases, picture: str) -> bytes | None:
    """The bytes of a file of the set, if the set is still where it was and the file is still the same."""
    folder = cases.run.facts["data"].get("folder")
    if not isinstance(folder, str) or not Path(folder).is_dir():
        return None
    root = Path(folder).resolve()
    file = (root / cases.files[cases.places[picture]]).resolve()
    if root not in file.parents or not file.is_file():
        return None
    data = file.read_bytes()
    return data if hashlib.sha256(data).hexdigest() == picture else None


def take(visitor: Session, picture: str, name: str, data: bytes) -> None:
    """Keep an upload that is the picture of a case. Raises PictureError for another file."""
    if hashlib.sha256(data).hexdigest() != picture:
        raise PictureError(
            f"{name} is another file than the one that was audited: its sha256 differs. Choose that one."
        )
    if why := visitor.take(xai.read_image(data, name), data):
        raise PictureError(why)


def network(run: Run, name: str) -> Model:
    """The model of a run, opened. Raises ModelError where it cannot be had here, or is not the same any more."""
    spec = next(one for one in run.facts["models"] if one["name"] == name).get("spec") or {}
    if not spec.get("name") or spec.get("checkpoint"):
        raise ModelError(
            f"{name} was audited from a file of weights, which this page does not open. Add the method to the audit."
        )
    model = cached.model(str(spec["name"]), not spec.get("pretrained", True), str(spec.get("task") or ""))
    differing = [
        part
        for part in ("weights_sha256", "preprocessing_sha256")
        if model.identity[part] != identity(run, name).get(part)
    ]
    if differing:
        raise ModelError(
            f"{name} has other weights or another preprocessing here than in the run, so its maps are not made."
        )
    return model


def make(visitor: Session, cases: Cases, picture: str, image: Image, method_name: str) -> None:
    """Begin to make the maps of a picture by another method, of every model of the run that it says something about."""
    visitor.made.job = Making(visitor, cases, picture, image, method_name)


class Making(jobs.Arriving[Kept]):
    """Maps of one picture by another method. Each is put into the store of the run as soon as it is there."""

    def __init__(self, visitor: Session, cases: Cases, picture: str, image: Image, method_name: str) -> None:
        from xai_core import units

        run, book = cases.run, Decisions(cases.run.folder)
        method = xai.METHODS.build(method_name)
        networks = {name: network(run, name) for name in cases.models}
        wanted: dict[str, tuple[str, Model, Target | None]] = {}
        refused = []
        for name, model in networks.items():
            if why := method.why_not(model):
                refused.append(why)
                continue
            target = _target(cases, picture, name)
            fitted = method.fitted(model).to_dict()
            key = units.map_key(picture, model.identity, fitted, units.rule_of(target), int(run.facts["seed"]))
            wanted[key] = name, model, target
        if not wanted:
            raise UnsupportedError(refused[0])
        self.picture, self.label = picture, method.label
        self.stage = f"Making {method.label}"

        def work(progress: Progress, cancel: threading.Event) -> None:
            for key, (name, model, target) in wanted.items():
                seed = int(run.facts["seed"])
                made = xai.explain(model, image, method, target, seed=seed, progress=progress, cancel=cancel)
                run.store.put([units.of_explanation(key, made)])
                book.add_map(picture, name, key)
                self.arrived.append((key, Kept(made, self)))

        super().__init__(
            work,
            list(wanted),
            sum(method.cost(model).forward for _, model, _ in wanted.values()),
            list(networks.values()),
        )


def _target(cases: Cases, picture: str, model: str) -> Target | None:
    """What the audit explained of a picture: None for the predicted class."""
    asked = str(cases.run.facts["target"])
    if asked == "predicted":
        return None
    label, labels = cases.truths[cases.places[picture]] if asked == "true" else asked, cases.run.labels(model)
    if label not in labels:
        raise SettingError(f"{model} has no class {label!r}, which the audit explained. Its maps are not made.")
    return Target(labels.index(str(label)), str(label))
