"""What metrics say of methods, and where they disagree: the means of an audit or of a score table, line by line.

A line is one of `xai_core.audit_aggregate.AGGREGATE`: of a model, a method and a metric.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xai_core.html_report.blocks import MEAN_HEADS, Block, Grid, Head, Interval, Number, Sources, joined, named, told
from xai_core.html_report.story import points
from xai_core.methods import METHODS
from xai_core.metrics import METRICS
from xai_core.score_table import CONTROL, CONTROLS_LOSE

Line = Mapping[str, Any]
READING = (
    "Means over pictures. “Knowing nothing” is what a map that knows nothing of the model gets. † a control does as "
    "well or better, so this metric does not tell the map from one that knows nothing."
)


def scores_grid(title: str, lines: Sequence[Line], source: Sources) -> Grid:
    """The mean of every metric and method of one model, as READING explains."""
    rows = []
    for metric in dict.fromkeys(str(one["metric"]) for one in lines):
        own = [one for one in lines if one["metric"] == metric]
        for one in own:
            method = named(one["method"], METHODS) + " (control)" * (one["family"] == CONTROL)
            remark = "†" if controls_ahead(one, own) else str(one["why"] or "")
            unit = str(one["unit"] or "")
            rows.append(
                (named(metric, METRICS), method,
                 Number(one["mean"], unit), Interval(one["low"], one["high"], unit),
                 Number(one["n"]), one["better"] or "describes only",
                 Number(one["null"], unit, "not known"), Number(one["rank"], why="–"), remark)
            )  # fmt: skip
    heads = (
        Head("metric"), Head("method"), Head("mean", True), *MEAN_HEADS, Head("better"),
        Head("knowing nothing", True), Head("rank", True), Head("remark"),
    )  # fmt: skip
    return Grid(title, heads, tuple(rows), source)


def disagreements(title: str, lines: Sequence[Line], source: Sources) -> Iterator[Block]:
    """How each metric orders the methods of one model, what two metrics order oppositely, and what controls do."""
    yield from points([*_orders(lines)], source)
    if rows := [*opposed(lines)]:
        heads = (
            Head("metric"),
            Head("metric"),
            Head("pairs of methods compared", True),
            Head("ordered oppositely", True),
        )
        yield Grid(title, heads, tuple(rows), source)
    yield from points([*_beaten(lines)], source)


def controls_ahead(one: Line, own: Sequence[Line]) -> list[str]:
    """The controls that do as well by this metric or better, where that counts against a map."""
    name = str(one["metric"]).partition(" ")[0]
    if name not in METRICS or METRICS[name].aspect not in CONTROLS_LOSE or one["family"] == CONTROL:
        return []
    sign = {"higher": 1, "lower": -1}.get(one["better"], 0)
    if not sign or one["mean"] is None:
        return []
    rivals = (rival for rival in own if rival["family"] == CONTROL and rival["mean"] is not None)
    return [str(rival["method"]) for rival in rivals if sign * rival["mean"] >= sign * one["mean"]]


def opposed(lines: Sequence[Line]) -> Iterator[tuple[Any, ...]]:
    """A row for every two metrics: how many pairs of methods both rank, and how many of those in opposite order."""
    for (first, one), (second, other) in itertools.combinations(_means(lines).items(), 2):
        both = [method for method in one if method in other]
        pairs = [*itertools.combinations(both, 2)]
        against = sum((one[a] - one[b]) * (other[a] - other[b]) < 0 for a, b in pairs)
        if pairs:
            yield (named(first, METRICS), named(second, METRICS), Number(len(pairs)), Number(against))


def _means(lines: Sequence[Line]) -> dict[str, dict[str, float]]:
    """By metric, the mean of every method that it ranks, turned so that more is better.

    Controls are not ranked, nor means of other pictures than the rivals' or of a metric that only describes.
    """
    found: dict[str, dict[str, float]] = {}
    for one in lines:
        sign = {"higher": 1.0, "lower": -1.0}.get(one["better"])
        if sign and one["rank"] is not None:
            found.setdefault(str(one["metric"]), {})[str(one["method"])] = sign * float(one["mean"])
    return found


def _orders(lines: Sequence[Line]) -> Iterator[str]:
    methods = dict.fromkeys(str(one["method"]) for one in lines if one["family"] != CONTROL)
    for metric, means in _means(lines).items():
        order = sorted(means, key=means.__getitem__, reverse=True)
        left = [method for method in methods if method not in means]
        yield told(
            "{metric} puts them in this order, the best first: {order}.{left}",
            metric=named(metric, METRICS), order=joined([named(one, METHODS) for one in order]),
            left=f" Not ranked: {', '.join(named(one, METHODS) for one in left)}." if left else "",
        )  # fmt: skip


def _beaten(lines: Sequence[Line]) -> Iterator[str]:
    for one in lines:
        rivals = [other for other in lines if other["metric"] == one["metric"]]
        if ahead := controls_ahead(one, rivals):
            yield told(
                "By {metric}, {controls}, which {know} nothing of the model, {do} as well as {method} or better.",
                metric=named(one["metric"], METRICS), controls=joined([named(name, METHODS) for name in ahead]),
                know="know" if len(ahead) > 1 else "knows", do="do" if len(ahead) > 1 else "does",
                method=named(one["method"], METHODS),
            )  # fmt: skip
