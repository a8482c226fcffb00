"""What the scores of a finished audit come to: methods by metrics over all pictures, read back from its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xai_core.methods import METHODS
from xai_core.metrics import METRICS, Measured
from xai_core.records import Evidence, Verdict
from xai_core.score_table import CONTROL, Row, ScoreTable, table_of
from xai_core.spreadsheet import csv_text

AGGREGATE = (
    *("model", "method", "family", "metric", "n", "mean", "low", "high", "better", "unit", "null", "rank"),
    *("undefined", "why"),
)


def score_tables(folder: Path, facts: Mapping[str, Any]) -> dict[str, ScoreTable]:
    """By model, methods by metrics over all of its pictures, controls last, from the files in `folder`.

    Their evidence holds verdicts alone. Empty where no metric was asked.
    """
    from pyarrow import parquet

    methods, metrics = _controls_last(facts["methods"]), facts["metrics"]
    if not metrics:
        return {}
    named = [(one["metric"], str(one["name"]), _label(one["name"], one["metric"], METRICS)) for one in metrics]
    tables = {}
    for model in facts["models"]:
        of_model = [("model", "==", str(model["name"]))]
        read = parquet.read_table(
            folder / "metrics.parquet", columns=["picture", "value", "why", "null"], filters=of_model
        ).to_pydict()
        found = [Measured(*one) for one in zip(read["value"], read["why"], read["null"], strict=True)]
        per_picture = len(methods) * len(metrics)
        if not found:
            continue
        weighed = parquet.read_table(
            folder / "evidence.parquet", columns=["method", "verdict"], filters=of_model
        ).to_pydict()
        rows = [
            Row(
                name=str(one["name"]),
                label=_label(one["name"], one["method"], METHODS),
                method=one["method"],
                family=METHODS[one["method"]["name"]].family,
                evidence=tuple(
                    _WEIGHED[verdict]
                    for method, verdict in zip(weighed["method"], weighed["verdict"], strict=True)
                    if method == one["name"]
                ),
            )
            for _, one in methods
        ]
        by_cell = tuple(
            tuple(tuple(found[place * len(metrics) + j :: per_picture]) for j in range(len(metrics)))
            for place, _ in methods
        )
        about = {**model["identity"], "name": model["name"]}
        pictures = read["picture"][::per_picture]
        tables[str(model["name"])] = table_of(rows, named, by_cell, pictures, about, seed=int(facts["seed"]))
    return tables


_ALL_VERDICTS: tuple[Verdict, ...] = ("supported", "weak", "no evidence", "not valid for this model")
_WEIGHED = {verdict: Evidence(verdict, ()) for verdict in _ALL_VERDICTS}


def _controls_last(methods: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    """The methods with the places that they were asked in."""
    return sorted(enumerate(methods), key=lambda one: METHODS[one[1]["method"]["name"]].family == CONTROL)


def _label(name: str, spec: Mapping[str, Any], registry: Any) -> str:
    """What a row is called for people, with the settings that its name bears."""
    return f"{registry[spec['name']].label}{str(name).removeprefix(str(spec['name']))}"


def aggregate(tables: Mapping[str, ScoreTable]) -> list[dict[str, Any]]:
    """A line of AGGREGATE per model, method and metric. Controls are not ranked."""
    return [
        {
            "model": model,
            "method": row.name,
            "family": row.family,
            "metric": column.name,
            "n": cell.n,
            "mean": cell.mean,
            "low": cell.low,
            "high": cell.high,
            "better": column.better,
            "unit": column.unit,
            "null": cell.null,
            "rank": cell.rank,
            "undefined": cell.pictures - cell.n,
            "why": "; ".join(f"{why} ({count})" for why, count in cell.undefined),
        }
        for model, table in tables.items()
        for row, cells in zip(table.rows, table.cells, strict=True)
        for column, cell in zip(table.columns, cells, strict=True)
    ]


def aggregate_csv(tables: Mapping[str, ScoreTable]) -> bytes:
    """`aggregate` as CSV."""
    return csv_text(aggregate(tables), AGGREGATE).encode()
