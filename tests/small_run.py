"""A small run made by hand: six samples, two demo models, two maps each; what is true of it is chosen here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

import xai_core as xai
from tests.conftest import ROOT
from xai_core import units
from xai_core.unit_store import UnitStore

FILES = [f"xray_{kind}_{i}.png" for kind in ("normal", "simple_fracture", "comminuted_fracture") for i in (1, 2)]
LABELS = ("normal", "simple fracture", "comminuted fracture")
TRUTHS = ["normal", "normal", "simple fracture", "simple fracture", "comminuted fracture", "comminuted fracture"]
SAID = {  # with the confidence
    "demo-xray": [(0, 0.99), (1, 0.95), (1, 0.55), (0, 0.97), (0, 0.58), (2, 0.80)],
    "demo-xray-shortcut": [(0, 0.70), (0, 0.90), (1, 0.75), (0, 0.65), (2, 0.85), (2, 0.52)],
}
WRONG = {"demo-xray": [FILES[1], FILES[3], FILES[4]], "demo-xray-shortcut": [FILES[3]]}
VERDICTS = ["supported", "weak", "no evidence", "supported", "weak", "no evidence"]
BORDER = [0.10, 0.60, 0.30, 0.50, 0.20, None]
SIDES = ["L", "R", "L", "R", "L", "R"]
METHODS = {"grad_cam": "class activation", "saliency": "gradient", "uniform": "control"}


def write_run(folder: Path, labelled: bool = True, **facts: Any) -> list[str]:
    """Write the run; the sha256 of its pictures, in the order of FILES."""
    import pandas as pd

    folder.mkdir(parents=True)
    images = [xai.read_image(ROOT / "assets" / "samples" / name) for name in FILES]
    models = {name: xai.load_model(name) for name in SAID}
    predictions, metrics, evidence, described = [], [], [], []
    with UnitStore(folder / "store") as store:
        for name, model in models.items():
            fitted = {one: xai.METHODS.build(one).fitted(model).to_dict() for one in METHODS}
            identity = {**model.identity}
            described.append(
                {
                    "name": name, "spec": {"name": name, "pretrained": True}, "identity": identity,
                    "labels": list(LABELS), "fitted": fitted,
                }
            )  # fmt: skip
            for i, image in enumerate(images):
                said, sure = SAID[name][i]
                shares = np.full(3, (1 - sure) / 2)
                shares[said] = sure
                truth = TRUTHS[i] if labelled else None
                true = None if truth is None else float(shares[LABELS.index(truth)])
                predictions.append(
                    {
                        "file": FILES[i], "picture": image.sha256, "label": truth, "split": None,
                        "group.side": SIDES[i],
                        "model": name, "predicted": LABELS[said], "confidence": sure, "label_probability": true,
                        "loss": None if true is None else float(-np.log(true)),
                        "right": None if truth is None else LABELS[said] == truth,
                        "probabilities": shares.astype(np.float32), "width": 128.0, "height": 128.0,
                    }
                )  # fmt: skip
                about = {"file": FILES[i], "picture": image.sha256, "label": truth, "model": name}
                metrics += [
                    {
                        **about, "method": method, "family": family, "target": LABELS[said], "metric": "border_share",
                        "value": BORDER[i], "better": "lower", "null": 0.3, "unit": "", "why": "", "seed": 0,
                    }
                    for method, family in METHODS.items()
                ]  # fmt: skip
                evidence.append({**about, "method": "grad_cam", "verdict": VERDICTS[i], "reasons": f"Because of {i}."})
                key = units.prediction_key(image.sha256, identity)
                seen = model.preprocessing.view(image)
                kept = [units.of_prediction(key, xai.predict(model, image), seen, image, 0.1)]
                [made] = xai.explain_many(model, [image], ["grad_cam", "saliency"])
                rule = units.rule_of(None)
                for e in made:
                    of_map = units.map_key(image.sha256, identity, fitted[str(e.method["name"])], rule, 0)
                    kept.append(units.of_explanation(of_map, e))
                store.put(kept)
    for table, rows in {"predictions": predictions, "metrics": metrics, "evidence": evidence}.items():
        pd.DataFrame(rows).to_parquet(folder / f"{table}.parquet", index=False)
    words = {
        "schema": 1, "status": "done", "problem": "", "target": "predicted", "seed": 0, "weigh": "all",
        "engine": "local",
        "data": {"name": "by hand", "cases": 6, "labelled": labelled, "columns": ["side"]}, "models": described,
        "methods": [{"name": one, "method": {"name": one}, "family": family} for one, family in METHODS.items()],
        "metrics": [{"name": "border_share", "metric": {"name": "border_share"}}], "background": [],
        "store": "store", "started": "2026-11-21T10:00:00Z", "ended": "2026-11-21T10:05:00Z", **facts,
    }  # fmt: skip
    (folder / "run.json").write_text(json.dumps(words))
    return [image.sha256 for image in images]
