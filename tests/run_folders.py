"""Run folders made by hand: what an audit would leave, with answers that are known."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from xai_core import units
from xai_core.records import Explanation, Image, Passes, Prediction, Target
from xai_core.unit_store import UnitStore

LABELS = ("cat", "dog", "fox")
GRAD_CAM = {"name": "grad_cam", "layer": "last"}


def identity(name: str, task: str = "single label", labels: Sequence[str] = LABELS) -> dict[str, Any]:
    return {
        "name": name, "weights_sha256": f"weights of {name}", "preprocessing_sha256": "p",
        "labels_sha256": ",".join(labels), "task": task, "dtype": "float32", "device": "cpu",
    }  # fmt: skip


@dataclass
class Said:
    """What a model says of one picture."""

    file: str
    model: str
    predicted: str
    label: str | None = None
    confidence: float = 0.9
    group: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def picture(self) -> str:
        return f"sha of {self.file}"


def run_folder(
    folder: Path,
    said: Sequence[Said],
    *,
    scores: Sequence[tuple[str, str, str, str, float | None]] = (),  # file, model, method, metric, value
    verdicts: Sequence[tuple[str, str, str, str]] = (),  # file, model, method, verdict
    maps: Mapping[tuple[str, str], np.ndarray] | None = None,  # by file and model, of grad_cam
    labels: Mapping[str, Sequence[str]] | None = None,
    task: str = "single label",
    boxes: Mapping[str, tuple[float, ...]] | None = None,
    **facts: Any,
) -> Path:
    """A finished run of the method grad_cam, its tables and its store."""
    folder.mkdir()
    models = list(dict.fromkeys(one.model for one in said))
    own = {model: tuple((labels or {}).get(model, LABELS)) for model in models}
    written = {
        "schema": 1, "status": "done", "problem": "", "target": "predicted", "seed": 0, "weigh": "all",
        "engine": "local", "store": "store", "started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T01:00:00Z",
        "data": {"name": "pictures", "cases": len(said), "labelled": True, "columns": []},
        "models": [
            {"name": model, "spec": None, "identity": identity(model, task, own[model]), "labels": list(own[model]),
             "fitted": {"grad_cam": GRAD_CAM, "uniform": {"name": "uniform"}, "attention_rollout": None}}
            for model in models
        ],
        "methods": [
            {"name": "grad_cam", "method": {"name": "grad_cam", "layer": ""}, "family": "class activation"},
            {"name": "attention_rollout", "method": {"name": "attention_rollout"}, "family": "attention"},
            {"name": "uniform", "method": {"name": "uniform"}, "family": "control"},
        ],
        "metrics": [{"name": "border_share", "metric": {"name": "border_share", "width": 0.1}}],
        "background": [],
        **facts,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(written), encoding="utf-8")
    _predictions(said, own).to_parquet(folder / "predictions.parquet", index=False)
    by_file = {(one.file, one.model): one for one in said}
    pd.DataFrame(
        [
            {"file": file, "picture": f"sha of {file}", "label": by_file[file, model].label, "model": model,
             "method": method, "family": "", "target": "", "metric": metric, "value": value, "better": "lower",
             "null": None, "unit": "", "why": "" if value is not None else "flat", "seed": 0}
            for file, model, method, metric, value in scores
        ],
        columns=["file", "picture", "label", "model", "method", "family", "target", "metric", "value", "better", "null",
                 "unit", "why", "seed"],
    ).astype({"value": "Float64", "null": "Float64"}).to_parquet(folder / "metrics.parquet", index=False)  # fmt: skip
    pd.DataFrame(
        [
            {"file": file, "picture": f"sha of {file}", "label": by_file[file, model].label, "model": model,
             "method": method, "verdict": verdict, "reasons": ""}
            for file, model, method, verdict in verdicts
        ],
        columns=["file", "picture", "label", "model", "method", "verdict", "reasons"],
    ).to_parquet(folder / "evidence.parquet", index=False)  # fmt: skip
    with UnitStore(folder / "store") as store:
        for (file, model), values in (maps or {}).items():
            box, seed = (boxes or {}).get(model, (0, 0, 8, 8)), int(written["seed"])  # type: ignore[call-overload]
            store.put(_units(by_file[file, model], own[model], values, task, box, seed))
    return folder


def _predictions(said: Sequence[Said], labels: Mapping[str, Sequence[str]]) -> pd.DataFrame:
    rows = []
    for one in said:
        known = labels[one.model]
        rest = (1 - one.confidence) / (len(known) - 1) if len(known) > 1 else 0
        shares = [one.confidence if label == one.predicted else rest for label in known]
        true = shares[known.index(one.label)] if one.label in known else None
        rows.append(
            {"file": one.file, "picture": one.picture, "label": one.label, "split": "",
             **{f"group.{name}": value for name, value in one.group.items()}, "model": one.model,
             "predicted": one.predicted, "confidence": one.confidence, "label_probability": true,
             "loss": None if true is None else -math.log(true), "right": None if one.label is None else
             one.label == one.predicted, "probabilities": np.array(shares, np.float32), "width": 8, "height": 8}
        )  # fmt: skip
    floats = dict.fromkeys(("confidence", "label_probability", "loss"), "Float64")
    return pd.DataFrame(rows).astype({**floats, "right": "boolean"})


def _units(
    said: Said, labels: Sequence[str], values: np.ndarray, task: str, box: tuple[float, ...], seed: int
) -> list[units.Unit]:
    """What the model says of the picture, and its map by grad_cam."""
    about = identity(said.model, task, labels)
    seen = np.zeros((*values.shape, 3), np.uint8)
    logits = np.array([label == said.predicted for label in labels], np.float32)
    image = Image(seen, said.picture, source={"width": 8, "height": 8})
    target = Target(labels.index(said.predicted), said.predicted)
    map_key = units.map_key(said.picture, about, GRAD_CAM, units.rule_of(None), seed)
    e = Explanation(
        values.astype(np.float32), seen, GRAD_CAM, about, target, said.picture, seed, 0.0, Passes(), values.shape,
        box=box,  # type: ignore[arg-type]
    )  # fmt: skip
    prediction = Prediction(tuple(labels), logits, about, said.picture)
    said_key = units.prediction_key(said.picture, about)
    return [units.of_prediction(said_key, prediction, seen, image, 0.0), units.of_explanation(map_key, e)]
