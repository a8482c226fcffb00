"""The results of an audit: how often its models are right, of which pictures, classes and groups; maps and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from xai_core.classification import APART
from xai_core.html_report.audited import RESULTS, SAID, SCORES, Audited
from xai_core.html_report.blocks import (
    MEAN_HEADS,
    SHARE,
    Block,
    Grid,
    Head,
    Heading,
    Interval,
    Number,
    Said,
    counted,
    mean_cells,
    named,
    told,
)
from xai_core.html_report.rankings import READING, scores_grid
from xai_core.html_report.story import points, short, weighed_sentence
from xai_core.methods import METHODS
from xai_core.score_table import CONTROL
from xai_core.statistics import share_of

if TYPE_CHECKING:
    import pandas as pd

MOST_GRIDS = 8  # pages of maps on the page; the folder has them all
MOST_WRONG = 20  # pictures of each model that it got wrong
MOST_VALUES = 12  # of a column, to compare its groups
FEW = 30  # pictures in a class or a group; fewer are named as few


def results(audit: Audited) -> Iterator[Block]:
    """The section, but for what lies beside the run."""
    yield Heading("How often the models are right")
    yield Grid("Over all pictures", (Head("model"), Head("number"), Head("value", True), *MEAN_HEADS),
               tuple(_overall(audit)), (RESULTS,))  # fmt: skip
    yield Said(
        "Balanced accuracy is the mean over classes of the share that is right. The calibration error is how far "
        "confidence misses the share that is right, in the mean; “by chance” is what a perfectly calibrated model "
        "would get on as many pictures. Loss is minus the natural logarithm of the true class's probability "
        "(nats); 0 is best."
    )
    for model in audit.models:
        yield from _classes(audit, model)
    yield from _wrong(audit)
    yield from _groups(audit)
    for two in audit.found["pairs"]:
        yield from _pair(audit, two)
    yield from _grids(audit)
    if audit.aggregate:
        yield Heading("Scores of the maps")
        yield Said(READING)
        for model in audit.models:
            if lines := [one for one in audit.aggregate if one["model"] == model]:
                yield scores_grid(told("Scores of the maps of {model}", model=model), lines, (RESULTS, SCORES))


def _overall(audit: Audited) -> Iterator[tuple[Any, ...]]:
    for model in audit.models:
        found = audit.found["models"][model]
        if found["why"]:
            yield (model, "accuracy", Number(None, why=found["why"]), Interval(None, None), Number(0))
            continue
        yield (model, "accuracy", *mean_cells(found["accuracy"], SHARE))
        yield (model, "balanced accuracy", *mean_cells(found["balanced_accuracy"], SHARE))
        yield (model, "loss", *mean_cells(found["loss"], "nats"))
        if calibration := found["calibration"]:
            yield (model, "calibration error", *mean_cells(calibration["error"], SHARE))
            yield (model, "calibration error by chance", Number(calibration["by_chance"], SHARE),
                   Interval(None, None, why="a mean over draws"), Number(found["n"]))  # fmt: skip


def _classes(audit: Audited, model: str) -> Iterator[Block]:
    found = audit.found["models"][model]
    yield from points(tuple(f"{model}: {note}." for note in found["notes"]), (RESULTS,))
    if not found["classes"]:
        return
    rows = []
    for one in found["classes"]:
        rows.append((one["label"], "found (recall)", *mean_cells(one["recall"], SHARE)))
        rows.append((one["label"], "right when said (precision)", *mean_cells(one["precision"], SHARE)))
    heads = (Head("class"), Head("number"), Head("value", True), *MEAN_HEADS)
    yield Grid(told("Classes by {model}", model=model), heads, tuple(rows), (RESULTS,))
    if found["confusions"]:
        yield Grid(
            told("What {model} confuses", model=model),
            (Head("true class"), Head("taken for"), Head("pictures", True), Head("share of the true class", True)),
            tuple(
                (one["true"], one["predicted"], Number(one["n"]), Number(one["share"], SHARE))
                for one in found["confusions"]
            ),
            (RESULTS,),
        )


def _wrong(audit: Audited) -> Iterator[Block]:
    rows, left = [], 0
    for model in audit.models:
        own = audit.run.predictions[audit.run.predictions["model"] == model]
        wrong = own[own["right"].fillna(True) == False].sort_values("confidence", ascending=False)  # noqa: E712
        left += max(0, len(wrong) - MOST_WRONG)
        rows += [
            (model, one.file, short(one.picture), one.label, one.predicted, Number(float(one.confidence), SHARE))
            for one in wrong.head(MOST_WRONG).itertuples()
        ]
    if rows:
        yield Grid(
            "Pictures that a model got wrong, the surest first",
            (Head("model"), Head("file"), Head("sha256, its beginning"), Head("label"), Head("predicted"),
             Head("probability", True)),
            tuple(rows), (SAID,), left,
        )  # fmt: skip


def _groups(audit: Audited) -> Iterator[Block]:
    rows, passed_over = [], []
    for column in map(str, audit.manifest["data"]["columns"]):
        values = _column(audit, column)
        kinds = sorted(values.unique())
        if not 1 < len(kinds) <= MOST_VALUES:
            passed_over.append(f"{column} ({counted(len(kinds), 'value')})")
            continue
        for model in audit.models:
            own = audit.run.predictions["model"] == model
            for kind in kinds:
                judged = audit.run.predictions[own & (values == kind)]["right"].dropna()
                found = share_of(judged.to_numpy(bool))
                few = "fewer than " + str(FEW) if 0 < found.n < FEW else ""
                rows.append((model, column, kind, *mean_cells(found._asdict(), SHARE), few))
    if rows and audit.labelled:
        yield Heading("How often the models are right, by group")
        yield Grid(
            "Accuracy by group",
            (Head("model"), Head("column"), Head("group"), Head("right", True), *MEAN_HEADS, Head("few")),
            tuple(rows), (SAID,),
        )  # fmt: skip
        yield Said(
            f"Each interval stands alone: they are not corrected for being {len(rows)}, and groups may differ in "
            "other things too. Whether groups really differ was not tested here; the probe Groups tests it."
        )
    if passed_over and audit.labelled:
        yield Said(told("Not compared, of one value or more than {most}: {names}.", most=MOST_VALUES,
                        names=", ".join(passed_over)))  # fmt: skip


def _column(audit: Audited, column: str) -> pd.Series:
    given: pd.Series = audit.run.predictions[f"group.{column}"].fillna("").astype(str)
    return given.replace("", "(not given)")


def _pair(audit: Audited, two: Mapping[str, Any]) -> Iterator[Block]:
    first, second = two["models"]
    yield Heading(told("{first} and {second}", first=first, second=second))
    if two["why"]:
        yield Said(told("Who is right where cannot be said: {why}.", why=two["why"]), (RESULTS,))
    else:
        p = "" if two["p"] is None else told("; McNemar's exact test p = {p}", p=Number(two["p"]))
        yield Said(
            told(
                "Of {n} labelled pictures both are right on {both}, only {first} on {one}, only {second} on "
                "{other}, neither on {neither}{p}.",
                n=Number(two["n"]), both=Number(two["both"]), first=first, one=Number(two["only_first"]),
                second=second, other=Number(two["only_second"]), neither=Number(two["neither"]), p=p or told(""),
            ),
            (RESULTS,),
        )  # fmt: skip
    rows: list[tuple[Any, ...]] = [("same predicted class", *mean_cells(two["agreement"], SHARE), "")]
    for one in two["maps"]:
        left = "; ".join(f"{why}: {count}" for why, count in one["left_out"].items())
        apart = f"{len(one['apart'])} below {APART} though both call the picture the same" if one["apart"] else ""
        label = named(one["method"], METHODS)
        beside_ = "; ".join(filter(None, [apart, left and f"left out: {left}"]))
        rows.append((f"{label}: rank correlation of the maps", *mean_cells(one["correlation"]), beside_))
        rows.append((f"{label}: overlap of the highest tenths", *mean_cells(one["overlap"]), ""))
    yield Grid("How alike the two are", (Head("number"), Head("value", True), *MEAN_HEADS, Head("remark")),
               tuple(rows), (RESULTS,))  # fmt: skip


def _grids(audit: Audited) -> Iterator[Block]:
    drawn = [
        (model, method, method["by_model"][model]["grid"])
        for model in audit.models for method in audit.methods
        if method["family"] != CONTROL and method["by_model"][model]["grid"]
    ]  # fmt: skip
    if not drawn:
        return
    yield Heading("Maps")
    yield Said("Each picture as the model saw it, its map, and both over one another. Wrong answers come first.")
    for model, method, name in drawn[:MOST_GRIDS]:
        label = named(method["name"], METHODS)
        alt = f"Pictures with their {label} maps by {model}: {_told_of(audit, model, str(method['name']))}"
        figure = audit.source.figure(name, alt, f"{label} by {model}")
        if figure is not None:
            yield figure
    if len(drawn) > MOST_GRIDS:
        yield Said(f"{counted(len(drawn) - MOST_GRIDS, 'more page')} of maps lie in the folder grids/ of the run.")


def _told_of(audit: Audited, model: str, method: str) -> str:
    counts = audit.counts(model, method)
    return f"{weighed_sentence(counts)}." if counts else "the maps were not weighed."
