"""A score table as lines, and as the files they travel in: CSV, Parquet and strict JSON.

An undefined value is left empty, never 0 and never NaN; its reason stands in a column of its own. Names of pictures may
be names of people, so pictures are numbered and known by their sha256.
"""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from xai_core.metrics import Measured
from xai_core.score_table import NO_MAP, Comparison, Row, ScoreTable
from xai_core.spreadsheet import csv_text

NOT_ASKED = "This metric was not asked of this map."
# The fields of a line and the types that pandas stores them in, which do not depend on what happens to be undefined.
SCORE_FIELDS: Mapping[str, str] = {
    "picture": "int64",
    "image_sha256": "string",
    "model": "string",
    "weights_sha256": "string",
    "preprocessing_sha256": "string",
    "target": "string",
    "target_index": "Int64",
    "target_kind": "string",
    "method": "string",
    "method_name": "string",
    "method_settings": "string",
    "family": "string",
    "control": "bool",
    "metric": "string",
    "metric_name": "string",
    "metric_settings": "string",
    "aspect": "string",
    "value": "Float64",
    "undefined": "bool",
    "why": "string",
    "better": "string",
    "null": "Float64",
    "unit": "string",
    "details": "string",
    "seed": "Int64",
    "map_seed": "Int64",
    "forward_passes": "Int64",
    "backward_passes": "Int64",
    "verdict": "string",
}
CURVE_FIELDS = ("picture", "image_sha256", "method", "control", "metric", "point", "x", "y", "x_label", "y_label")


def score_lines(table: ScoreTable) -> list[dict[str, Any]]:
    """A line per picture, method and metric, of SCORE_FIELDS; None where there is no number, and `why`."""
    return [
        _line(table, row, column, picture)
        for picture in range(len(table.pictures))
        for row in range(len(table.rows))
        for column in range(len(table.columns))
    ]


def curve_lines(table: ScoreTable) -> list[dict[str, Any]]:
    """A line per point of every curve, of CURVE_FIELDS."""
    return [
        {
            "picture": picture + 1,
            "image_sha256": sha256,
            "method": row.name,
            "control": row.is_control,
            "metric": column.name,
            "point": point,
            "x": finite(x),
            "y": finite(y),
            "x_label": score.curve.x_label,
            "y_label": score.curve.y_label,
        }
        for picture, sha256 in enumerate(table.pictures)
        for row, across in zip(table.rows, table.found, strict=True)
        for column, scores in zip(table.columns, across, strict=True)
        if (score := scores[picture]) is not None and score.curve is not None
        for point, (x, y) in enumerate(zip(score.curve.x, score.curve.y, strict=True))
    ]


def scores_csv(table: ScoreTable) -> str:
    """`score_lines` as CSV."""
    return csv_text(score_lines(table), tuple(SCORE_FIELDS))


def curves_csv(table: ScoreTable) -> str:
    """`curve_lines` as CSV."""
    return csv_text(curve_lines(table), CURVE_FIELDS)


def scores_parquet(table: ScoreTable) -> bytes:
    """`score_lines` as Parquet."""
    import pandas as pd

    frame = pd.DataFrame(score_lines(table), columns=list(SCORE_FIELDS)).astype(dict(SCORE_FIELDS))
    out = io.BytesIO()
    frame.to_parquet(out, index=False)
    return out.getvalue()


def scores_json(table: ScoreTable, **about: Any) -> str:
    """The table, its verdicts, agreement and tests, and `score_lines`, as JSON without NaN.

    `about` goes first: what else a reader must know, such as the command that made it.
    """
    agreement = table.agreement
    facts = {
        **about,
        "model": table.model,
        "pictures": table.pictures,
        "bootstrap_seed": table.seed,
        "columns": [dict(vars(column)) for column in table.columns],
        "rows": [
            {
                "name": row.name,
                "label": row.label,
                "method": row.method,
                "family": row.family,
                "control": row.is_control,
                "verdict": row.verdict,
                "reasons": row.reasons,
                "evidence": _weighed(row),
                "cells": {
                    column.name: {**asdict(cell), "undefined": dict(cell.undefined)}
                    for column, cell in zip(table.columns, cells, strict=True)
                },
            }
            for row, cells in zip(table.rows, table.cells, strict=True)
        ],
        "comparisons": [_compared(one) for one in table.comparisons],
        "agreement": {
            "names": agreement.names,
            "rank_correlation": agreement.correlation,
            "overlap_of_highest_tenth": agreement.overlap,
        },
        "scores": score_lines(table),
    }
    return json.dumps(finite(facts), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _line(table: ScoreTable, i: int, j: int, picture: int) -> dict[str, Any]:
    row, column = table.rows[i], table.columns[j]
    score, e, weighed = table.found[i][j][picture], table.maps[i][picture], row.evidence[picture]
    assert not isinstance(score, Measured)  # only tables of whole scores are exported line by line
    value = None if score is None else score.value
    return {
        "picture": picture + 1,
        "image_sha256": table.pictures[picture],
        "model": str(table.model.get("name", "")),
        "weights_sha256": str(table.model.get("weights_sha256", "")),
        "preprocessing_sha256": str(table.model.get("preprocessing_sha256", "")),
        "target": "" if e is None else str(e.target),
        "target_index": None if e is None else e.target.index,
        "target_kind": "" if e is None else e.target.kind,
        "method": row.name,
        "method_name": str(row.method["name"]),
        "method_settings": _settings(row.method),
        "family": row.family,
        "control": row.is_control,
        "metric": column.name,
        "metric_name": str(column.metric["name"]),
        "metric_settings": _settings(column.metric),
        "aspect": column.aspect,
        "value": value,
        "undefined": value is None,
        "why": NO_MAP if e is None else NOT_ASKED if score is None else score.why,
        "better": column.better,
        "null": None if score is None else finite(score.null),
        "unit": column.unit,
        "details": "" if score is None or not score.details else json.dumps(finite(score.details), allow_nan=False),
        "seed": None if score is None else score.seed,
        "map_seed": None if e is None else e.seed,
        "forward_passes": None if score is None else score.passes.forward,
        "backward_passes": None if score is None else score.passes.backward,
        "verdict": "" if weighed is None else weighed.verdict,
    }


def _weighed(row: Row) -> list[dict[str, Any] | None]:
    return [
        None
        if one is None
        else {"verdict": one.verdict, "seed": one.seed, "checks": [asdict(check) for check in one.checks]}
        for one in row.evidence
    ]


def _compared(one: Comparison) -> dict[str, Any]:
    result = None if one.result is None else {**asdict(one.result), "p_adjusted": one.p_adjusted}
    return {"metric": one.metric, "methods": one.methods, "left_out": one.left_out, "why": one.why, "friedman": result}


def _settings(spec: Mapping[str, Any]) -> str:
    return json.dumps({key: value for key, value in spec.items() if key != "name"})


def finite(value: Any) -> Any:
    """`value` as JSON can hold it; None for a number that is not finite."""
    if isinstance(value, Mapping):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return finite(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
