"""The unit of work: what one question to one model about one picture is called, and what came out.

A key is a hash of everything that the answer depends on and of nothing else: the picture's bytes, the weights and the
preprocessing, the method with all its settings, the rule that names the target, the seed, and the versions of what
computes. Same key, same bytes, whoever asked.

    prediction    what a model says of a picture
    map           how much each pixel spoke for the target
    score         what a metric says of a map
    evidence      how far a map can be believed
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np

from xai_core.provenance import VERSION, version_of
from xai_core.records import Check, Curve, Evidence, Explanation, Image, Passes, Prediction, Score, Target

COMPUTES = (
    *("torch", "torchvision", "timm", "numpy", "scipy", "scikit-image", "opencv-python", "pillow", "pydicom"),
    *("lime", "shap", "captum"),
)
Kind = Literal["prediction", "map", "score", "evidence"]
Versions = Mapping[str, str]
Rule = Mapping[str, Any]  # {"class": "predicted"}, or the fields of a Target without its labels


class Unit(NamedTuple):
    """An answer under its key. `facts` are plain JSON values, `arrays` by name; `seconds` is what it took to make."""

    key: str
    kind: Kind
    facts: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]
    seconds: float = 0.0


def spelled(value: Any) -> str:
    """Plain values as JSON in the one spelling that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def key(kind: Kind, made_by: Versions | None = None, **parts: Any) -> str:
    """sha256, in hex, of everything that an answer depends on. `made_by` are the versions; those of now by default."""
    versions = dict(this_program() if made_by is None else made_by)
    return hashlib.sha256(spelled({"kind": kind, "made_by": versions, **parts}).encode()).hexdigest()


@lru_cache(maxsize=1)
def this_program() -> Versions:
    """The versions of what decodes, resizes and computes."""
    return {"second look": VERSION, **{name: version for name in COMPUTES if (version := version_of(name))}}


def about(identity: Mapping[str, Any]) -> dict[str, Any]:
    """What of a model's identity its answers depend on: not its name, not the number of the device."""
    parts = ("weights_sha256", "structure_sha256", "preprocessing_sha256", "labels_sha256", "task", "dtype")
    return {**{part: identity.get(part) for part in parts}, "device": str(identity["device"]).partition(":")[0]}


def prediction_key(picture: str, identity: Mapping[str, Any], made_by: Versions | None = None) -> str:
    """Of what a model says of a picture, by the sha256 of its bytes."""
    return key("prediction", made_by, picture=picture, model=about(identity))


def map_key(
    picture: str,
    identity: Mapping[str, Any],
    method: Mapping[str, Any],
    rule: Rule,
    seed: int,
    background: Sequence[str] = (),
    made_by: Versions | None = None,
) -> str:
    """Of a map by a method that was fitted to the model. `background` are the pictures that it compares with."""
    compared = list(background) if method.get("background") == "pictures" else []
    return key(
        "map",
        made_by,
        picture=picture,
        model=about(identity),
        method=dict(method),
        target=dict(rule),
        seed=seed,
        background=compared,
    )


def score_key(of_map: str, metric: Mapping[str, Any], seed: int, mask: str = "") -> str:
    """Of what a metric says of a map. `mask` is the sha256 of the marked evidence, for metrics that need it."""
    return key("score", map=of_map, metric=dict(metric), seed=seed, mask=mask)


def evidence_key(of_map: str, seed: int, made_by: Versions | None = None) -> str:
    """Of how far a map can be believed."""
    return key("evidence", made_by, map=of_map, seed=seed)


def rule_of(target: Target | int | None) -> dict[str, Any]:
    """What names a target whatever the model says, a class number its logit; None: the class that it says."""
    if target is None:
        return {"class": "predicted"}
    if isinstance(target, int):
        return {"class": target, "kind": "logit", "against": None}
    return {"class": target.index, "kind": target.kind, "against": target.against}


# ---- records to units and back ---------------------------------------------------------------------------------------


def of_prediction(key: str, prediction: Prediction, seen: np.ndarray, image: Image, seconds: float) -> Unit:
    """`seen` (h, w, 3) uint8 is the crop that the model saw. The name of the picture stays out."""
    box = image.source.get("width"), image.source.get("height")
    facts = {"picture": image.sha256, "size": list(box), "labels": list(prediction.labels)}
    return Unit(key, "prediction", facts, {"logits": prediction.logits, "seen": seen}, seconds)


def to_prediction(unit: Unit, identity: Mapping[str, Any]) -> Prediction:
    """What `of_prediction` was given. `identity` is that of the model that was asked."""
    return Prediction(tuple(unit.facts["labels"]), unit.arrays["logits"], identity, str(unit.facts["picture"]))


def of_explanation(key: str, e: Explanation) -> Unit:
    """A map. The crop that the model saw is that of its prediction, and is kept there alone."""
    facts = {
        "picture": e.image,
        "method": dict(e.method),
        "target": dataclasses.asdict(e.target),
        "seed": e.seed,
        "passes": list(dataclasses.astuple(e.passes)),
        "grid": list(e.grid),
        "gap": e.gap,
        "valid": e.valid,
        "evidence": e.evidence,
        "background": list(e.background),
        "notes": list(e.notes),
        "box": None if e.box is None else list(e.box),
    }
    return Unit(key, "map", facts, {"values": e.values}, e.seconds)


def of_refusal(key: str, picture: str, method: Mapping[str, Any], why: str) -> Unit:
    """That a method makes no map of this picture by this model, in a sentence: it need not be asked again."""
    return Unit(key, "map", {"picture": picture, "method": dict(method), "why": why}, {})


def refusal(unit: Unit) -> str:
    """Why there is no map, or nothing where there is one."""
    return str(unit.facts.get("why", "")) if unit.kind == "map" else ""


def to_explanation(unit: Unit, identity: Mapping[str, Any], seen: np.ndarray) -> Explanation:
    """What `of_explanation` was given. `seen` (h, w, 3) uint8 comes from the prediction of the same picture."""
    facts = unit.facts
    return Explanation(
        values=unit.arrays["values"],
        pixels=seen,
        method=facts["method"],
        model=identity,
        target=Target(**facts["target"]),
        image=facts["picture"],
        seed=facts["seed"],
        seconds=unit.seconds,
        passes=Passes(*facts["passes"]),
        grid=tuple(facts["grid"]),
        gap=facts["gap"],
        valid=facts["valid"],
        evidence=facts["evidence"],
        background=tuple(facts["background"]),
        notes=tuple(facts["notes"]),
        box=None if facts["box"] is None else tuple(facts["box"]),
    )


def of_score(key: str, score: Score, seconds: float = 0.0) -> Unit:
    """A score. What the random control got belongs to another map, and how many passes it took to its company."""
    facts = {
        "picture": score.image,
        "metric": dict(score.metric),
        "method": dict(score.method),
        "target": dataclasses.asdict(score.target),
        "value": score.value,
        "better": score.better,
        "null": score.null,
        "unit": score.unit,
        "why": score.why,
        "details": dict(score.details),
        "seed": score.seed,
        "axes": None if score.curve is None else [score.curve.x_label, score.curve.y_label],
    }
    curve = {} if score.curve is None else {"x": score.curve.x, "y": score.curve.y}
    return Unit(key, "score", facts, curve, seconds)


def to_score(unit: Unit) -> Score:
    """What `of_score` was given."""
    facts = unit.facts
    own = {name: facts[name] for name in ("metric", "method", "value", "better", "null", "unit", "why", "seed")}
    curve = None if facts["axes"] is None else Curve(unit.arrays["x"], unit.arrays["y"], *facts["axes"])
    return Score(**own, target=Target(**facts["target"]), image=facts["picture"], curve=curve, details=facts["details"])


def of_evidence(key: str, evidence: Evidence, picture: str, seconds: float = 0.0) -> Unit:
    """A verdict with its checks."""
    checks = [dataclasses.asdict(check) for check in evidence.checks]
    facts = {"picture": picture, "verdict": evidence.verdict, "checks": checks, "seed": evidence.seed}
    return Unit(key, "evidence", facts, {}, seconds)


def to_evidence(unit: Unit) -> Evidence:
    """What `of_evidence` was given."""
    checks = tuple(Check(**one) for one in unit.facts["checks"])
    return Evidence(unit.facts["verdict"], checks, unit.facts["seed"])
