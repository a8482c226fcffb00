"""A score table as a record: what was asked of which maps, what came out, and what it comes to.

    sheet = sheet_of(table, masks=masks)
    sheet.tables["aggregate"]       methods by metrics over all pictures: mean, interval, n, rank
    sheet.tables["scores"]          a row per picture, method and metric: value, null, unit, why undefined
    sheet.tables["maps"]            what was scored: each map's target, seed and hash, as other records list its file

Pictures are numbered and known by their sha256; names of files may be names of people, and stay out.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from xai_core.audit_aggregate import AGGREGATE, aggregate
from xai_core.errors import SettingError
from xai_core.provenance import made_with
from xai_core.records import Explanation, Image, Prediction, Score, Sheet, Table, plain
from xai_core.score_export import (
    CURVE_FIELDS,
    SCORE_FIELDS,
    curve_lines,
    finite,
    score_lines,
    scores_json,
    scores_parquet,
)
from xai_core.score_summary import heading, page, sentences
from xai_core.score_table import ScoreTable

# What a column is called where its name does not say it.
WORDS: Mapping[str, str] = {
    "image_sha256": "SHA-256 of the picture",
    "weights_sha256": "SHA-256 of the weights",
    "preprocessing_sha256": "SHA-256 of the preprocessing",
    "sha256": "SHA-256 of the map as .npy",
    "mask_sha256": "SHA-256 of the mask",
    "answer": "Its probability, or value",
    "why": "Why undefined",
    "null": "Knowing nothing",
    "low": "95 % interval from",
    "high": "95 % interval to",
    "p": "p",
    "p_adjusted": "p, corrected for the metrics tested",
}
PICTURES = ("picture", "image_sha256", "predicted", "answer", "explained", "mask_sha256")
MAPS = (
    *("picture", "image_sha256", "method", "control", "target", "target_index", "target_kind", "seed", "sha256"),
    *("flat", "gap", "verdict", "forward_passes", "backward_passes"),
)
CHECKS = ("picture", "method", "verdict", "check", "passed", "value", "limit", "sentence", "seed")
DIFFERENCES = ("metric", "method", "mean_rank", "n", "statistic", "p", "p_adjusted", "critical_difference", "why")
AGREEMENT = ("method", "other", "rank_correlation", "overlap_of_highest_tenth")


def sheet_of(
    table: ScoreTable,
    *,
    predictions: Mapping[str, Prediction] | None = None,
    masks: Mapping[str, Image] | None = None,
    left_out: Sequence[str] = (),
    command: str = "",
    note: str = "",
    reviewer: str = "",
) -> Sheet:
    """The table, made with its maps, as a record to save. By sha256 of a picture: what the model says of it, its mask.

    `left_out` says what was asked and could not be done, `command` repeats it all. Takes about a second: it draws
    figures. Raises SettingError where nothing was scored.
    """
    if not table.columns or not any(one for by_row in table.found for across in by_row for one in across):
        raise SettingError("Nothing was scored: there is no map, or no metric. Choose both, then save.")
    predictions, masks = predictions or {}, masks or {}
    maps = [e for across in table.maps for e in across if e is not None]
    targets = list({str(e.target): plain(e.target) for e in maps}.values())
    return Sheet(
        "scores",
        {
            "title": heading(table),
            "model": dict(table.model),
            "methods": [dict(row.method) for row in table.methods],
            "controls": [dict(row.method) for row in table.controls],
            "metrics": [dict(column.metric) for column in table.columns],
            "pictures": list(table.pictures),
            "targets": targets,
            "background": sorted({sha256 for e in maps for sha256 in e.background}),
            "seeds": {"maps": sorted({e.seed for e in maps}), "scores": _seeds(table), "bootstrap": table.seed},
            "left_out": list(left_out),
            "command": command,
        },
        tuple(sentences(table, left_out)),
        {
            "aggregate": _table("Methods by metrics", AGGREGATE, aggregate({str(table.model.get("name", "")): table})),
            "scores": _table("Scores", SCORE_FIELDS, score_lines(table)),
            "pictures": _table("Pictures", PICTURES, _pictures(table, predictions, masks)),
            "maps": _table("Maps that were scored", MAPS, _maps(table)),
            "checks": _table("What the verdicts rest on", CHECKS, _checks(table)),
            "differences": _table("Do the methods differ?", DIFFERENCES, _differences(table)),
            "agreement": _table("How far methods agree", AGREEMENT, _agreement(table)),
            "curves": _table("Curves", CURVE_FIELDS, curve_lines(table)),
        },
        note=note,
        reviewer=reviewer,
        attached=_attached(table, predictions, masks, left_out, command),
    )


def _table(title: str, fields: Iterable[str], lines: Iterable[Mapping[str, Any]]) -> Table:
    words = {field: WORDS.get(field, field.replace("_", " ").capitalize()) for field in fields}
    return Table.of(title, words, map(finite, lines))


def _seeds(table: ScoreTable) -> list[int]:
    """Those that scores were drawn with."""
    scores = (one for by_row in table.found for across in by_row for one in across)
    return sorted({one.seed for one in scores if isinstance(one, Score)})


def _pictures(
    table: ScoreTable, predictions: Mapping[str, Prediction], masks: Mapping[str, Image]
) -> Iterator[dict[str, Any]]:
    for place, sha256 in enumerate(table.pictures):
        targets = dict.fromkeys(str(e.target) for maps in table.maps if (e := maps[place]) is not None)
        predicted, answer = predictions[sha256].top(1)[0] if sha256 in predictions else (None, None)
        yield {
            "picture": place + 1,
            "image_sha256": sha256,
            "predicted": predicted,
            "answer": answer,
            "explained": ", ".join(targets),
            "mask_sha256": masks[sha256].sha256 if sha256 in masks else None,
        }


def _maps(table: ScoreTable) -> Iterator[dict[str, Any]]:
    for row, maps in zip(table.rows, table.maps, strict=True):
        for place, e in enumerate(maps):
            if e is None:
                continue
            weighed = row.evidence[place]
            yield {
                "picture": place + 1,
                "image_sha256": e.image,
                "method": row.name,
                "control": row.is_control,
                "target": str(e.target),
                "target_index": e.target.index,
                "target_kind": e.target.kind,
                "seed": e.seed,
                "sha256": _map_sha256(e),
                "flat": e.flat,
                "gap": e.gap,
                "verdict": None if weighed is None else weighed.verdict,
                "forward_passes": e.passes.forward,
                "backward_passes": e.passes.backward,
            }


def _map_sha256(e: Explanation) -> str:
    """Of the file that a record of this map holds."""
    out = io.BytesIO()
    np.save(out, e.values.astype("<f4"), allow_pickle=False)
    return hashlib.sha256(out.getvalue()).hexdigest()


def _checks(table: ScoreTable) -> Iterator[dict[str, Any]]:
    for row in table.rows:
        for place, weighed in enumerate(row.evidence):
            if weighed is None:
                continue
            about = {"picture": place + 1, "method": row.name, "verdict": weighed.verdict, "seed": weighed.seed}
            yield from ({**about, **asdict(check), "check": check.name} for check in weighed.checks)


def _differences(table: ScoreTable) -> Iterator[dict[str, Any]]:
    for one in table.comparisons:
        if one.result is None:
            yield {"metric": one.metric, "why": one.why}
            continue
        whole = {"metric": one.metric, **asdict(one.result), "p_adjusted": one.p_adjusted}
        ranks = zip(one.methods, one.result.mean_ranks, strict=True)
        yield from ({**whole, "method": method, "mean_rank": rank} for method, rank in ranks)


def _agreement(table: ScoreTable) -> Iterator[dict[str, Any]]:
    alike = table.agreement
    for i, j in zip(*np.triu_indices(len(alike.names), 1), strict=True):
        yield {
            "method": alike.names[i],
            "other": alike.names[j],
            "rank_correlation": alike.correlation[i, j],
            "overlap_of_highest_tenth": alike.overlap[i, j],
        }


def _attached(
    table: ScoreTable,
    predictions: Mapping[str, Prediction],
    masks: Mapping[str, Image],
    left_out: Sequence[str],
    command: str,
) -> dict[str, bytes]:
    """What is made of the same numbers for people and other programs."""
    from xai_core import charts, figures

    made = made_with()
    versions = {"Second Look": made["app"], "Python": made["python"], **made["packages"]}
    read_first = page(table, predictions, marked=masks, left_out=left_out, command=command, made_with=versions)
    return {
        "summary.md": read_first.encode("utf-8"),
        "scores.json": scores_json(table, command=command, made_with=made, left_out=list(left_out)).encode("utf-8"),
        "scores.parquet": scores_parquet(table),
        "ranking.png": figures.png(charts.ranking(table)),
        "agreement.png": figures.png(charts.agreement(table)),
    }
