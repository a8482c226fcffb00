"""Numbers over a set of pictures: how often a model is right, whether it knows when it is, and how two models differ.

    found = numbers(true, predicted, confidence, loss)      of one model, from plain arrays
    pair(true, one, other), maps_alike(...)                 of two models
    numbers_of(run)                                         all of them, of a run

A picture without a label takes part only in what needs none. A number that is not defined is None, with the reason in
its `note`: never 0. A picture of a class that a model lacks is neither right nor wrong: it is left out, and counted.
`right_or_wrong` is the one place that says which it is.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import binomtest

from xai_core.agreement import highest, overlap, rank_correlation
from xai_core.records import TASKS, why_flat
from xai_core.runs import Placed, Run
from xai_core.statistics import CONFIDENCE, DRAWS, Mean, bootstrapped, mean_of, share_of

if TYPE_CHECKING:
    import pandas as pd

BINS = 15  # of confidence, as in Guo et al., 2017
TOP_CONFUSIONS = 10
# Two maps whose ranks correlate less than this share under 4 % of their variance: they have no more in common than
# maps of a similar smoothness that were drawn apart. A share of the pictures instead, such as the lowest tenth, would
# accuse a tenth of them also where two models look at the same place in every picture.
APART = 0.2
UNLABELLED = "no picture has a label, so nothing can be right or wrong"
FLAT = "a map is flat"
LACKS, ONE_LACKS = "the model lacks", "one of the models lacks"
NOT_DEFINED = {
    "multi label": "the labels do not exclude one another, so a picture has no single class to be right about",
    "regression": "the outputs are values and not classes, so none can be right",
}


def right_or_wrong(label: str | None, predicted: str, labels: Sequence[str] = (), task: str = TASKS[0]) -> bool | None:
    """Whether a model with these `labels` is right to say `predicted`; classes of one name are one class.

    None where nothing can be right or wrong: nobody knows the class, the model lacks it, or its outputs are not classes
    that exclude one another. Without `labels` the model is taken to have every class.
    """
    if label is None or task in NOT_DEFINED or (labels and label not in labels):
        return None
    return label == predicted


# ---- one model -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class OfClass:
    """How a class fares: `support` pictures are of it, `predicted` are taken for it. `f1` is None where both are 0."""

    label: str
    support: int
    predicted: int
    precision: Mean
    recall: Mean
    f1: float | None


@dataclass(frozen=True, eq=False)
class Confusion:
    """How often a picture of the class of a row is taken for that of a column: `counts` (rows, columns) int.

    Rows are the classes that pictures are of. Columns are the same in the same order, then other predicted ones.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    counts: np.ndarray

    @property
    def cells(self) -> list[tuple[str, str, int]]:
        """True class, predicted class and count of every cell that is not empty."""
        filled = np.argwhere(self.counts)
        return [(self.rows[i], self.columns[j], int(self.counts[i, j])) for i, j in filled]


class Confused(NamedTuple):
    """Pictures of one class that are taken for another: how many, and which share of those of that class."""

    true: str
    predicted: str
    n: int
    share: float


class Bin(NamedTuple):
    """The `n` pictures whose confidence is above `low`, or the least of all, and at most `high`.

    `confidence` is its mean, `right` the share of them that is right.
    """

    low: float
    high: float
    confidence: float
    right: Mean
    n: int


@dataclass(frozen=True)
class Calibration:
    """Whether a model is right as often as it is sure, by the probability of its predicted class.

        error = sum over bins of n_b / n |share right in b - mean confidence in b|

    The expected calibration error over BINS bins of equal width. Guo et al., 2017. https://arxiv.org/abs/1706.04599
    Few pictures make it too large: `by_chance` is what a perfectly calibrated model of the same confidences would get
    on as many pictures, in the mean. Where 2.5 % of such models would get as much as this one, its interval reaches
    down to 0. Bins without pictures are left out.
    """

    error: Mean
    by_chance: float
    equal_width: tuple[Bin, ...]
    equal_count: tuple[Bin, ...]


@dataclass(frozen=True, eq=False)
class Numbers:
    """Of one model over the `n` of `pictures` that are of one of its classes, as far as is known.

    `why` says why nothing of it is defined, `notes` what was left out.
    """

    pictures: int
    n: int
    accuracy: Mean
    balanced_accuracy: Mean
    loss: Mean
    classes: tuple[OfClass, ...] = ()
    confusion: Confusion = Confusion((), (), np.zeros((0, 0), int))
    confusions: tuple[Confused, ...] = ()
    calibration: Calibration | None = None
    notes: tuple[str, ...] = ()
    why: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        table = {"rows": self.confusion.rows, "columns": self.confusion.columns, "cells": self.confusion.cells}
        return {**{name: _plain(value) for name, value in vars(self).items()}, "confusion": _plain(table)}


def numbers(
    true: Sequence[str | None],
    predicted: Sequence[str],
    confidence: Sequence[float] | np.ndarray,
    loss: Sequence[float | None],
    labels: Sequence[str] = (),
    task: str = TASKS[0],
    seed: int = 0,
) -> Numbers:
    """All numbers of one model, given for each picture its true class (None: unknown) and what the model says of it.

    `confidence` is the probability of the predicted class, `loss` minus the logarithm of that of the true one, None
    where the model has no such class. `labels` are the model's own, in whose order classes come; `seed` draws
    resamples. A picture of a class that the model lacks is left out of all of them.
    """
    judged = [right_or_wrong(label, one, labels, task) for label, one in zip(true, predicted, strict=True)]
    known = [i for i, one in enumerate(judged) if one is not None]
    labelled = sum(label is not None for label in true)
    if why := NOT_DEFINED.get(task, "") or _why_none(labelled, len(known), LACKS):
        nothing = Mean(None, None, None, 0, why)
        return Numbers(len(true), len(known), nothing, nothing, nothing, why=why)
    actual, said = [str(true[i]) for i in known], [predicted[i] for i in known]
    sure = np.asarray(confidence, dtype=np.float64)[known]
    right = np.array([judged[i] for i in known])
    table = confusion(actual, said, labels)
    return Numbers(
        pictures=len(true),
        n=len(known),
        accuracy=share_of(right),
        balanced_accuracy=balanced_accuracy(actual, right, seed),
        loss=_mean_loss([loss[i] for i in known], seed),
        classes=per_class(table),
        confusion=table,
        confusions=top_confusions(table),
        calibration=calibration(sure, right, seed),
        notes=_left_out(labelled - len(known), LACKS),
    )


def _why_none(labelled: int, known: int, lacks: str) -> str:
    """Why nothing can be right or wrong, where none of the `labelled` pictures is of a `known` class."""
    if known:
        return ""
    return (
        f"every labelled picture is of a class that {lacks}, so nothing can be right or wrong"
        if labelled
        else UNLABELLED
    )


def _left_out(count: int, lacks: str) -> tuple[str, ...]:
    """The note on pictures that are of no class of the model."""
    if count < 2:
        return (f"1 picture is of a class that {lacks} and is left out",) * count
    return (f"{count} pictures are of classes that {lacks} and are left out",)


def balanced_accuracy(true: Sequence[str], right: np.ndarray, seed: int = 0) -> Mean:
    """The mean over classes of the share that is right of their pictures, (n,) bool.

    Resampled within classes. Where classes have few pictures, the interval is too narrow.
    """
    names, numbers = np.unique(np.asarray(true, dtype=object).astype(str), return_inverse=True)
    support = np.bincount(numbers, minlength=len(names))
    return bootstrapped(
        lambda drawn: float((np.bincount(numbers[drawn], right[drawn], len(names)) / support).mean()), numbers, seed
    )


def confusion(true: Sequence[str], predicted: Sequence[str], labels: Sequence[str] = ()) -> Confusion:
    """Which class is taken for which. Classes in the order of `labels`, others behind them by name."""
    place = {label: number for number, label in enumerate(dict.fromkeys(labels))}

    def in_order(found: Iterable[str]) -> list[str]:
        return sorted(found, key=lambda label: (place.get(label, len(place)), label))

    rows = in_order(set(true))
    columns = [*rows, *in_order(set(predicted) - set(true))]
    counts = np.zeros((len(rows), len(columns)), int)
    at_row, at_column = ({label: number for number, label in enumerate(some)} for some in (rows, columns))
    np.add.at(counts, ([at_row[label] for label in true], [at_column[label] for label in predicted]), 1)
    counts.setflags(write=False)
    return Confusion(tuple(rows), tuple(columns), counts)


def per_class(table: Confusion) -> tuple[OfClass, ...]:
    """Precision, recall and F1 = 2 hits / (support + predicted) of each class, with Wilson intervals."""
    found = []
    for number, label in enumerate(table.columns):
        support = int(table.counts[number].sum()) if number < len(table.rows) else 0
        hits = int(table.counts[number, number]) if support else 0
        predicted = int(table.counts[:, number].sum())
        found.append(
            OfClass(
                label,
                support,
                predicted,
                _share(hits, predicted, "the model never predicts it"),
                _share(hits, support, "no picture is of it"),
                2 * hits / (support + predicted) if support + predicted else None,
            )
        )
    return tuple(found)


def top_confusions(table: Confusion, most: int = TOP_CONFUSIONS) -> tuple[Confused, ...]:
    """The commonest mistakes, most frequent first; among equals those that take more of their class."""
    support = dict(zip(table.rows, table.counts.sum(axis=1).tolist(), strict=True))
    wrong = [Confused(*cell, cell[2] / support[cell[0]]) for cell in table.cells if cell[0] != cell[1]]
    return tuple(sorted(wrong, key=lambda one: (-one.n, -one.share, one.true, one.predicted))[:most])


def calibration(confidence: np.ndarray, right: np.ndarray, seed: int = 0, bins: int = BINS) -> Calibration:
    """Whether (n,) confidences from 0 to 1 are the shares of (n,) bool that are right. n is at least 1."""
    edges = np.linspace(0, 1, bins + 1)
    at, missed = np.searchsorted(edges[1:-1], confidence), right - confidence  # on an edge: of the lower bin
    error = bootstrapped(lambda drawn: _error(at[drawn], missed[drawn]), np.zeros(len(right)), seed, biased=True)
    chance = _errors_by_chance(at, confidence, seed)
    if error.low is not None and (error.mean or 0) <= np.quantile(chance, (1 + CONFIDENCE) / 2):
        error = error._replace(low=0.0)  # resampling alone is blind to this: near 0 the error has no normal spread
    return Calibration(
        error=error,
        by_chance=float(chance.mean()),
        equal_width=_bins(confidence, right, edges),
        equal_count=_bins(confidence, right, np.quantile(confidence, edges)),
    )


def _error(at: np.ndarray, missed: np.ndarray) -> float:
    """Of (n,) numbers of bins, and what each picture adds to its bin: being right minus its confidence."""
    return float(np.abs(np.bincount(at, missed)).sum() / len(at))


def _errors_by_chance(at: np.ndarray, confidence: np.ndarray, seed: int) -> np.ndarray:
    """(DRAWS,) errors of models that are right exactly as often as they are sure."""
    chance = np.random.default_rng(seed)
    drawn = (_error(at, (chance.random(len(at)) < confidence) - confidence) for _ in range(DRAWS))
    return np.fromiter(drawn, np.float64, DRAWS)


def _bins(confidence: np.ndarray, right: np.ndarray, edges: np.ndarray) -> tuple[Bin, ...]:
    at = np.searchsorted(edges[1:-1], confidence)
    return tuple(
        Bin(
            float(edges[number]),
            float(edges[number + 1]),
            float(confidence[at == number].mean()),
            share_of(right[at == number]),
            int((at == number).sum()),
        )
        for number in np.unique(at)
    )


def _share(hits: int, of: int, why: str) -> Mean:
    return share_of(np.arange(of) < hits) if of else Mean(None, None, None, 0, why)


def _mean_loss(losses: Sequence[float | None], seed: int) -> Mean:
    values = np.array([one for one in losses if one is not None])
    if endless := int(np.isinf(values).sum()):
        return Mean(None, None, None, len(values), f"endless: the true class got a probability of 0 on {endless}")
    return mean_of(values, seed)


# ---- two models ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """Who of two models is right where, over `n` pictures, and how often they say the same over all.

    The `n` are of a class that both models have, and `notes` says how many others were left out.

    `p` is that of McNemar's exact test: whether one is right more often on the pictures that only one gets right. None
    where there are no such pictures. McNemar, 1947. https://doi.org/10.1007/BF02295996
    """

    models: tuple[str, str]
    n: int
    both: int
    only_first: int
    only_second: int
    neither: int
    p: float | None
    agreement: Mean
    why: str = ""
    notes: tuple[str, ...] = ()


def pair(
    models: tuple[str, str],
    true: Sequence[str | None],
    one: Sequence[str],
    other: Sequence[str],
    labels: tuple[Sequence[str], Sequence[str]] | None = None,
) -> Pair:
    """What two models say of the same pictures, in the same order. `labels` are their own, where known."""
    if labels is not None and not set(labels[0]) & set(labels[1]):
        why = "the two have no label in common"
        return Pair(models, 0, 0, 0, 0, 0, None, Mean(None, None, None, 0, why), why)
    mine, theirs = labels or ((), ())
    judged = [
        (right_or_wrong(label, a, mine), right_or_wrong(label, b, theirs))
        for label, a, b in zip(true, one, other, strict=True)
    ]
    counts = Counter(both for both in judged if None not in both)
    labelled = sum(label is not None for label in true)
    first, second = counts[True, False], counts[False, True]
    return Pair(
        models=models,
        n=counts.total(),
        both=counts[True, True],
        only_first=first,
        only_second=second,
        neither=counts[False, False],
        p=float(binomtest(first, first + second).pvalue) if first + second else None,
        agreement=share_of([a == b for a, b in zip(one, other, strict=True)]),
        why=_why_none(labelled, counts.total(), ONE_LACKS),
        notes=_left_out(labelled - counts.total(), ONE_LACKS) if counts.total() else (),
    )


class Two(NamedTuple):
    """The maps of a picture by two models, None where there is none, and whether the models predict the same.

    The picture goes by its sha256.
    """

    picture: str
    one: Placed | None
    other: Placed | None
    same_label: bool


@dataclass(frozen=True)
class Alike:
    """How alike the maps of two models are by one method, in the mean over pictures.

    Spearman's rank correlation, and the overlap (intersection over union) of the highest tenths, of maps that speak for
    the same class and cover the same part of the picture. `left_out` says how many others there are, and why. `apart`
    has the sha256 of pictures that both models call the same, while the ranks of their maps correlate less than APART.
    """

    method: str
    correlation: Mean
    overlap: Mean
    apart: tuple[str, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)


def maps_alike(method: str, maps: Iterable[Two], seed: int = 0) -> Alike:
    """Of the maps of many pictures by one method, which are looked at one after the other."""
    correlations, overlaps, apart, left_out = [], [], [], Counter[str]()
    for two in maps:
        if two.one is None or two.other is None or (why := why_apart(two.one, two.other)):
            left_out["a model has no map" if two.one is None or two.other is None else why] += 1
            continue
        one, other = two.one.values, two.other.values
        correlations.append(rank_correlation(one, other))
        overlaps.append(overlap(highest(one), highest(other)))
        if two.same_label and correlations[-1] < APART:
            apart.append(two.picture)
    return Alike(method, mean_of(correlations, seed), mean_of(overlaps, seed), tuple(apart), dict(left_out))


def why_apart(one: Placed, other: Placed) -> str:
    """Why two maps of a picture cannot be held against each other; empty where they can."""
    if one.label != other.label:
        return "the maps speak for different classes"
    if one.box is None or one.box != other.box or one.values.shape != other.values.shape:
        return "the models see different parts of the picture, or in other pixels"
    return FLAT if why_flat(one.values) or why_flat(other.values) else ""


# ---- a run -----------------------------------------------------------------------------------------------------------


def numbers_of(run: Run) -> dict[str, Any]:
    """All numbers of a run as plain values: by model, by pair of models, and by model, method and metric."""
    return {
        "models": {model: of_model(run, model).to_dict() for model in run.models},
        "pairs": [
            {**_plain(of_pair(run, one, other)), "maps": [_plain(found) for found in of_maps(run, one, other)]}
            for one, other in combinations(run.models, 2)
        ],
        "methods": {model: {method: _of_method(run, model, method) for method in run.methods} for model in run.models},
    }


def of_model(run: Run, model: str, rows: pd.DataFrame | None = None) -> Numbers:
    """The numbers of one model, over all its pictures or over those `rows` of its predictions."""
    asked = run.predictions[run.predictions["model"] == model] if rows is None else rows
    return numbers(
        _texts(asked["label"]), list(asked["predicted"]), _floats(asked["confidence"]),
        [None if np.isnan(value) else float(value) for value in _floats(asked["loss"])],
        run.labels(model), run.task(model), int(run.facts["seed"]),
    )  # fmt: skip


def of_pair(run: Run, one: str, other: str, rows: pd.DataFrame | None = None) -> Pair:
    """What two models of a run say of the pictures of both, or of those in `rows` of the predictions of the first."""
    for model in (one, other):
        if why := NOT_DEFINED.get(run.task(model), ""):
            return Pair((one, other), 0, 0, 0, 0, 0, None, Mean(None, None, None, 0, why), f"{model}: {why}")
    both = _shared(run, one, other, rows)
    return pair(
        (one, other), _texts(both["label"]), list(both["predicted"]), list(both["predicted_other"]),
        (run.labels(one), run.labels(other)),
    )  # fmt: skip


def of_maps(
    run: Run,
    one: str,
    other: str,
    methods: Sequence[str] | None = None,
    rows: pd.DataFrame | None = None,
) -> list[Alike]:
    """How alike the maps of two models of a run are, by each method.

    Controls know nothing of a model, and are left out. `rows` of the predictions of the first are its pictures that are
    asked about, by default all.
    """
    both, seed = _shared(run, one, other, rows), int(run.facts["seed"])
    asked = [str(its["name"]) for its in run.facts["methods"] if its["family"] != "control"]
    chosen = asked if methods is None else [method for method in methods if method in asked]
    return [
        maps_alike(
            method,
            (
                Two(str(picture), placed, beside, bool(said == said_other))
                for picture, placed, beside, said, said_other in zip(
                    both["picture"],
                    run.placed(both["picture"], one, method),
                    run.placed(both["picture"], other, method),
                    both["predicted"],
                    both["predicted_other"],
                    strict=True,
                )
            ),
            seed,
        )
        for method in chosen
    ]


def _shared(run: Run, one: str, other: str, rows: pd.DataFrame | None) -> pd.DataFrame:
    """The predictions of a model with those of another, as `predicted_other`, on the pictures that both have."""
    rows = run.predictions[run.predictions["model"] == one] if rows is None else rows
    beside = run.predictions[run.predictions["model"] == other]
    return rows.merge(beside[["file", "predicted"]], on="file", suffixes=("", "_other"))


def _of_method(run: Run, model: str, method: str) -> dict[str, Any]:
    """The mean of every metric over the pictures where it is defined, and how many maps got which verdict."""
    scores = run.metrics[(run.metrics["model"] == model) & (run.metrics["method"] == method)]
    weighed = run.evidence[(run.evidence["model"] == model) & (run.evidence["method"] == method)]
    seed = int(run.facts["seed"])
    return {
        "metrics": {
            str(metric): _plain(mean_of(_floats(rows["value"].dropna()), seed))
            for metric, rows in scores.groupby("metric", sort=False)
        },
        "verdicts": {str(verdict): int(count) for verdict, count in weighed["verdict"].value_counts().items()},
    }


def _texts(column: pd.Series) -> list[str | None]:
    return [None if missing else str(text) for text, missing in zip(column, column.isna(), strict=True)]


def _floats(column: pd.Series) -> np.ndarray:
    found: np.ndarray = column.to_numpy(np.float64, na_value=np.nan)
    return found


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it: records and named tuples by their fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: _plain(one) for name, one in zip(value._fields, value, strict=True)}
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return value
