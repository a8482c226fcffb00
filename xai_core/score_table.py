"""What scores become: a table of methods and metrics over one or several pictures, and the rows it was made from.

    table = score_table(explanations, score_many(model, explanations, metrics), weigh_many(model, explanations))
    table.rows, table.columns           methods as chosen, controls last; metrics as chosen
    table.cells[row][column]            mean, interval, n, rank, what was undefined and why
    table.agreement                     between methods: rank correlation and overlap
    table.comparisons                   one per column: the Friedman test, or why there is none
    table.curve(row, column)            mean over pictures

A control knows nothing of the model. It stands below the methods and is never ranked. `score_export` makes lines, CSV,
JSON and Parquet of a table, `charts` its figures.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np

from xai_core.agreement import overlaps, rank_correlations
from xai_core.methods import METHODS, Method
from xai_core.metrics import METRICS, Measured
from xai_core.records import Better, Curve, Evidence, Explanation, Score
from xai_core.statistics import Friedman, friedman, holm, mean_of, ranks_of

CONTROL = "control"  # the family of methods that know nothing of the model
# Aspects by which a map that knows nothing of the model should do worse: it may well be sparse, or repeat exactly.
CONTROLS_LOSE = ("faithfulness", "randomisation", "against ground truth")
Found = Score | Measured  # what a metric says of one map
NO_MAP = "There is no map of this picture by this method."


@dataclass(frozen=True)
class Row:
    """A method as chosen. `name` is its name, with those settings that tell it from others of the same name.

    `evidence` holds what each picture's map was weighed as, None where it was not.
    """

    name: str
    label: str
    method: Mapping[str, Any]
    family: str
    evidence: tuple[Evidence | None, ...] = ()

    @property
    def is_control(self) -> bool:
        return self.family == CONTROL

    @property
    def verdicts(self) -> Counter[str]:
        """How many pictures' maps got which verdict."""
        return Counter(one.verdict for one in self.evidence if one is not None)

    @property
    def verdict(self) -> str:
        """The verdict where all pictures agree, else how many got which; empty where nothing was weighed."""
        found = self.verdicts
        if len(found) <= 1:
            return next(iter(found), "")
        return ", ".join(f"{verdict} on {count}" for verdict, count in found.most_common())

    @property
    def reasons(self) -> tuple[str, ...]:
        """The sentences that the verdict rests on; over several pictures, how often each check failed, with one."""
        weighed = [one for one in self.evidence if one is not None]
        if len(weighed) <= 1:
            return weighed[0].reasons if weighed else ()
        failed: dict[str, list[str]] = {}
        for one in weighed:
            for check in one.checks:
                if check.passed is False:
                    failed.setdefault(check.name, []).append(check.sentence)
        return tuple(
            f"{name.capitalize()} failed on {len(sentences)} of {len(weighed)} pictures, for example: {sentences[0]}"
            for name, sentences in failed.items()
        )


@dataclass(frozen=True)
class Column:
    """A metric as chosen, named as a row is.

    `null` is what a map that knows nothing gets, in the mean over pictures; None where it is not known, or where
    `null_differs` between methods: then each cell has its own.
    """

    name: str
    label: str
    metric: Mapping[str, Any]
    aspect: str
    better: Better
    unit: str = ""
    null: float | None = None
    null_differs: bool = False


@dataclass(frozen=True)
class Cell:
    """One method by one metric over all pictures.

    `mean` over the `n` pictures where it is defined, with its 95 % interval from `low` to `high`; `note` says why there
    is none. `undefined` holds the reasons of the others and how many they are. `rank` among the methods, 1 the best,
    ties averaged: None for controls, without a direction, or where the mean is of other pictures than the rivals'.
    `best` marks all that share the best mean. `controls_ahead` names the controls whose mean is as good or better, by
    metrics of the aspects CONTROLS_LOSE.
    """

    mean: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0
    note: str = ""
    undefined: tuple[tuple[str, int], ...] = ()
    null: float | None = None
    rank: float | None = None
    best: bool = False
    controls_ahead: tuple[str, ...] = ()

    @property
    def pictures(self) -> int:
        """On how many pictures it was asked."""
        return self.n + sum(count for _, count in self.undefined)

    def __str__(self) -> str:
        if self.mean is None:
            return "undefined"
        interval = "" if self.low is None or self.high is None else f"{number(self.low)} to {number(self.high)}"
        fewer = "" if self.n == self.pictures else f"n = {self.n}"
        beside = "; ".join(part for part in (interval, fewer) if part)
        return f"{number(self.mean)} ({beside})" if beside else number(self.mean)


@dataclass(frozen=True)
class Comparison:
    """Whether the methods differ by one metric: `result`, or `why` it cannot be asked.

    Over the pictures on which every one of `methods` has a score; `left_out` names those that have none at all.
    `p_adjusted` is corrected for the number of metrics that were tested (Holm).
    """

    metric: str
    methods: tuple[str, ...]
    result: Friedman | None = None
    why: str = ""
    p_adjusted: float | None = None
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Agreement:
    """How alike the maps of the methods `names` are, in the mean over pictures: (m, m) float64 each.

    `correlation` is Spearman's rank correlation, `overlap` the intersection over union of the highest 10 % of pixels.
    NaN where one of two maps is flat on every picture, or there is no picture of which both have one.
    """

    names: tuple[str, ...]
    correlation: np.ndarray
    overlap: np.ndarray
    controls: int = 0  # the last so many are controls


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Methods by metrics. `cells[row][column]`; `pictures` are sha256, in the order of each row's `evidence`.

    `maps[row][picture]` and `found[row][column][picture]` are what it was made from, None where there is none.
    """

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    cells: tuple[tuple[Cell, ...], ...]
    pictures: tuple[str, ...]
    model: Mapping[str, Any]
    maps: tuple[tuple[Explanation | None, ...], ...]
    found: tuple[tuple[tuple[Found | None, ...], ...], ...]
    seed: int = 0

    @property
    def methods(self) -> tuple[Row, ...]:
        """The rows above the line."""
        return tuple(row for row in self.rows if not row.is_control)

    @property
    def controls(self) -> tuple[Row, ...]:
        """The rows below the line."""
        return tuple(row for row in self.rows if row.is_control)

    @property
    def ranks(self) -> list[list[float | None]]:
        """Methods by metrics: 1 is best, None where a method cannot be ranked. Controls are not among them."""
        return [[cell.rank for cell in cells] for cells in self.cells[: len(self.methods)]]

    def column(self, name: str) -> int:
        """The number of the column of that name. Raises KeyError."""
        names = [column.name for column in self.columns]
        if name not in names:
            raise KeyError(name)
        return names.index(name)

    @cached_property
    def agreement(self) -> Agreement:
        """Between all rows, controls included. Takes about a second for thirty maps."""
        return _agreement(self)

    @cached_property
    def comparisons(self) -> tuple[Comparison, ...]:
        """One per column, among the methods without the controls."""
        return _comparisons(self)

    def curve(self, row: int, column: int) -> Curve | None:
        """The mean curve over pictures, at the first picture's places; None where the metric draws none."""
        curves = [one.curve for one in self.found[row][column] if one is not None and one.curve is not None]
        if not curves:
            return None
        x = np.asarray(curves[0].x, dtype=np.float64)
        y = np.mean([np.interp(x, one.x, one.y) for one in curves], axis=0)
        return Curve(x, y, curves[0].x_label, curves[0].y_label)


def score_table(
    explanations: Sequence[Explanation],
    scores: Sequence[Sequence[Score]],
    evidence: Sequence[Evidence | None] | None = None,
    *,
    seed: int = 0,
) -> ScoreTable:
    """The table of `explanations` and, in the same order, their scores as `score_many` gives them and their evidence.

    All of one model, and of each picture one map per method, target and seed, else ValueError; a map that is given
    twice, as by a method and by the layer that it takes anyway, counts once. `seed` draws the bootstrap's pictures.
    """
    if len({json.dumps(dict(e.model), sort_keys=True, default=str) for e in explanations}) != 1:
        raise ValueError("a table is of one model and at least one map")
    weighed = list(evidence) if evidence is not None else [None] * len(explanations)
    methods = _distinct(e.method for e in explanations)
    methods.sort(key=lambda spec: METHODS[spec["name"]].family == CONTROL)  # stable: the rest as they were given
    metrics = _distinct(one.metric for per_map in scores for one in per_map)
    pictures = list(dict.fromkeys(e.image for e in explanations))
    places: dict[tuple[str, str], int] = {}
    for i, e in enumerate(explanations):
        first = explanations[places.setdefault((_key(e.method), e.image), i)]
        if (first.seed, first.target) != (e.seed, e.target):
            raise ValueError(f"{e.method['name']} made two different maps of one picture")
    by_metric = [{_key(one.metric): one for one in per_map} for per_map in scores]
    if not len(explanations) == len(by_metric) == len(weighed):
        raise ValueError("explanations, scores and evidence are not of one length")

    rows_at = [[places.get((_key(method), image)) for image in pictures] for method in methods]
    found = tuple(
        tuple(tuple(None if i is None else by_metric[i].get(_key(metric)) for i in at) for metric in metrics)
        for at in rows_at
    )
    rows = tuple(
        Row(
            name=name,
            label=label,
            method=MappingProxyType(dict(method)),
            family=METHODS[method["name"]].family,
            evidence=tuple(None if i is None else weighed[i] for i in at),
        )
        for method, at, name, label in zip(methods, rows_at, *row_names(methods, METHODS), strict=True)
    )
    named = list(zip(metrics, *row_names(metrics, METRICS), strict=True))
    maps = tuple(tuple(None if i is None else explanations[i] for i in at) for at in rows_at)
    return table_of(rows, named, found, pictures, explanations[0].model, maps, seed=seed)


def table_of(
    rows: Sequence[Row],
    metrics: Sequence[tuple[Mapping[str, Any], str, str]],
    found: tuple[tuple[tuple[Found | None, ...], ...], ...],
    pictures: Sequence[str],
    model: Mapping[str, Any],
    maps: tuple[tuple[Explanation | None, ...], ...] = (),
    *,
    seed: int = 0,
) -> ScoreTable:
    """The table of what was `found[row][column][picture]`; without `maps` it knows no agreement between methods.

    `rows` has the controls last. `metrics` are name and settings, with the name and the label of their columns.
    """
    columns = tuple(
        _column(metric, name, label, [across[number] for across in found])
        for number, (metric, name, label) in enumerate(metrics)
    )
    down = [_cells(column, rows, [across[j] for across in found], seed) for j, column in enumerate(columns)]
    return ScoreTable(
        rows=tuple(rows),
        columns=columns,
        cells=tuple(tuple(cells[i] for cells in down) for i in range(len(rows))),
        pictures=tuple(pictures),
        model=model,
        maps=maps,
        found=found,
        seed=seed,
    )


def number(value: float) -> str:
    """A score as people read it: three digits that matter."""
    shown = f"{value:.3g}" if 1e-3 <= abs(value) < 1e4 or value == 0 else f"{value:.1e}"
    return shown.replace("-", "\N{MINUS SIGN}")


def _key(spec: Mapping[str, Any]) -> str:
    return json.dumps(dict(spec), sort_keys=True)


def _distinct(specs: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return list({_key(spec): dict(spec) for spec in specs}.values())


def row_names(specs: Sequence[Mapping[str, Any]], registry: Any) -> tuple[list[str], list[str]]:
    """Name and label of each, with those settings by which it differs from others of its name."""
    names, labels = [], []
    for spec in specs:
        rivals = [other for other in specs if other["name"] == spec["name"]]
        own = ", ".join(
            f"{key}={value}"
            for key, value in spec.items()
            if key != "name" and any(other.get(key) != value for other in rivals)
        )
        names.append(f"{spec['name']} ({own})" if own else str(spec["name"]))
        labels.append(f"{registry[spec['name']].label} ({own})" if own else registry[spec["name"]].label)
    return names, labels


def method_names(methods: Sequence[Method]) -> tuple[list[str], list[str]]:
    """`row_names` of methods."""
    return row_names([method.to_dict() for method in methods], METHODS)


def _column(metric: Mapping[str, Any], name: str, label: str, down: Sequence[Sequence[Found | None]]) -> Column:
    cls = METRICS[metric["name"]]
    per_picture = [
        {one.null for one in at if one is not None and one.null is not None} for at in zip(*down, strict=True)
    ]
    differs = any(max(nulls) - min(nulls) > 1e-9 for nulls in per_picture if nulls)
    known = [max(nulls) for nulls in per_picture if nulls]
    return Column(
        name=name,
        label=label,
        metric=MappingProxyType(dict(metric)),
        aspect=cls.aspect,
        better=cls.better,
        unit=cls.unit,
        null=None if differs or not known else float(np.mean(known)),
        null_differs=differs,
    )


def _cells(column: Column, rows: Sequence[Row], down: Sequence[Sequence[Found | None]], seed: int) -> list[Cell]:
    """One column's cells, ranked."""
    plain = [_cell(scores, seed) for scores in down]
    asked = {i for row, at in zip(rows, down, strict=True) if not row.is_control for i in _defined(at)}
    values = np.array(
        [
            cell.mean if cell.mean is not None and not row.is_control and set(_defined(at)) == asked else np.nan
            for cell, row, at in zip(plain, rows, down, strict=True)
        ]
    )
    ranks = ranks_of(values, column.better)
    first = np.nanmin(ranks) if np.isfinite(ranks).any() else None
    controls = [
        (row.name, cell.mean) for row, cell in zip(rows, plain, strict=True) if row.is_control and cell.mean is not None
    ]
    sign = {"higher": 1, "lower": -1, "": 0}[column.better] if column.aspect in CONTROLS_LOSE else 0
    return [
        Cell(
            mean=cell.mean,
            low=cell.low,
            high=cell.high,
            n=cell.n,
            note=cell.note,
            undefined=cell.undefined,
            null=cell.null,
            rank=float(rank) if np.isfinite(rank) else None,
            best=bool(rank == first),
            controls_ahead=tuple(
                name
                for name, mean in controls
                if sign and cell.mean is not None and not row.is_control and sign * mean >= sign * cell.mean
            ),
        )
        for cell, row, rank in zip(plain, rows, ranks, strict=True)
    ]


def _cell(scores: Sequence[Found | None], seed: int) -> Cell:
    values = [one.value for one in scores if one is not None and one.value is not None]
    reasons = Counter(NO_MAP if one is None else one.why for one in scores if one is None or one.value is None)
    nulls = [one.null for one in scores if one is not None and one.value is not None and one.null is not None]
    found = mean_of(values, seed)
    return Cell(
        mean=found.mean,
        low=found.low,
        high=found.high,
        n=found.n,
        note=found.note,
        undefined=tuple(reasons.most_common()),
        null=float(np.mean(nulls)) if nulls else None,
    )


def _defined(scores: Sequence[Found | None]) -> list[int]:
    """The pictures on which there is a value."""
    return [i for i, one in enumerate(scores) if one is not None and one.value is not None]


def _agreement(table: ScoreTable) -> Agreement:
    m = len(table.rows)
    sums, counts = np.zeros((2, m, m)), np.zeros((m, m))
    for picture in range(len(table.pictures)):
        shown = [i for i in range(m) if (e := table.maps[i][picture]) is not None and not e.flat]
        if not shown:
            continue
        values = np.stack([e.values for i in shown if (e := table.maps[i][picture]) is not None])
        at = np.ix_(shown, shown)
        sums[0][at] += rank_correlations(values)
        sums[1][at] += overlaps(values)
        counts[at] += 1
    means = np.divide(sums, counts, out=np.full_like(sums, np.nan), where=counts > 0)
    return Agreement(tuple(row.name for row in table.rows), means[0], means[1], len(table.controls))


def _comparisons(table: ScoreTable) -> tuple[Comparison, ...]:
    made = []
    for j, column in enumerate(table.columns):
        values = np.array(
            [
                [np.nan if one is None or one.value is None else one.value for one in table.found[i][j]]
                for i in range(len(table.methods))
            ]
        ).reshape(len(table.methods), len(table.pictures))
        kept = [i for i in range(len(values)) if np.isfinite(values[i]).any()]
        complete = values[kept][:, np.isfinite(values[kept]).all(axis=0)].T
        result = friedman(complete, column.better)
        made.append(
            Comparison(
                metric=column.name,
                methods=tuple(table.methods[i].name for i in kept),
                result=None if isinstance(result, str) else result,
                why=result if isinstance(result, str) else "",
                left_out=tuple(row.name for i, row in enumerate(table.methods) if i not in kept),
            )
        )
    tested = [one.result.p for one in made if one.result is not None]
    raised = iter(holm(tested))
    return tuple(
        one
        if one.result is None
        else Comparison(one.metric, one.methods, one.result, p_adjusted=next(raised), left_out=one.left_out)
        for one in made
    )
