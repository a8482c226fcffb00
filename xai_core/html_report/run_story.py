"""What a finished audit tells: a set of pictures through models, methods and metrics."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from xai_core.classification import APART
from xai_core.html_report import beside
from xai_core.html_report.blocks import (
    MEAN_HEADS,
    SHARE,
    Block,
    Facts,
    Grid,
    Head,
    Heading,
    Interval,
    Number,
    Points,
    Said,
    counted,
    joined,
    mean_cells,
    named,
    told,
)
from xai_core.html_report.source import Source
from xai_core.html_report.story import (
    ALWAYS_OPEN,
    VERDICTS,
    Story,
    card,
    made_with,
    methods_left,
    metrics_left,
    notices,
    points,
    probes_left,
    settings_of,
    short,
    signer,
    small,
    verdict_words,
    weighed_sentence,
)
from xai_core.methods import METHODS
from xai_core.metrics import METRICS
from xai_core.runs import FACTS, Run
from xai_core.score_summary import NOT_SAID
from xai_core.score_table import CONTROL, CONTROLS_LOSE
from xai_core.statistics import share_of

if TYPE_CHECKING:
    import pandas as pd

RESULTS, SAID, WEIGHED, SCORES = "xai_results.json", "predictions.parquet", "evidence.parquet", "aggregate.csv"
MOST_GRIDS = 8  # pages of maps on the page; the folder has them all
MOST_EXAMPLES = 3  # maps of each model, method and verdict whose reasons are given
MOST_WRONG = 20  # pictures of each model that it got wrong
MOST_VALUES = 12  # of a column, to compare its groups
FEW = 30  # pictures in a class or a group; fewer are named as few


def told_by_run(source: Source, run: Run) -> Story:
    """The story of an audit."""
    return _Audit(source, run).story()


class _Audit:
    def __init__(self, source: Source, run: Run) -> None:
        self.source, self.run, self.facts = source, run, run.facts
        self.manifest, self.found = source.manifest, source.json(RESULTS)
        source.found(FACTS)
        self.models = [str(one["name"]) for one in self.manifest["models"]]
        self.methods = list(self.manifest["methods"])
        self.gate, self.reviews = beside.gate(source), beside.reviews(source)
        self.drift = beside.drift(source)

    def story(self) -> Story:
        """All sections but files and notice."""
        sections: dict[str, Sequence[Block]] = {
            "summary": [*self._summary()],
            "asked": [*self._asked()],
            "results": [*self._results()],
            "evidence": [*self._evidence()],
            "probes": [
                Said(
                    "No probe belongs to an audit: probes are records of their own, with reports of their own. So "
                    "nothing in this report says what the models lean on when pictures are changed."
                )
            ],
            "decisions": self.reviews.blocks,
            "disagreements": [*self._disagreements()],
            "untested": [*self._untested()],
            "card": [*self._cards()],
        }
        about = told(
            "An audit of {pictures} through {models}, {methods} and {metrics}",
            pictures=counted(self._pictures, "picture"), models=counted(len(self.models), "model"),
            methods=counted(len(self._own), "attribution method"),
            metrics=counted(len(self.manifest["metrics"]), "metric"),
        )  # fmt: skip
        return Story(told("Audit of {name}", name=self.manifest["data"]["name"]), about, sections, self._known())

    # ---- parts -------------------------------------------------------------------------------------------------------

    @property
    def _pictures(self) -> int:
        return max((int(one["pictures"]) for one in self.found["models"].values()), default=0)

    @property
    def _labelled(self) -> int:
        return max((int(one["n"]) for one in self.found["models"].values()), default=0)

    @property
    def _own(self) -> list[str]:
        """The methods that are no controls."""
        return [str(one["name"]) for one in self.methods if one["family"] != CONTROL]

    def _counts(self, model: str, method: str) -> Mapping[str, int]:
        found: Mapping[str, int] = self.found["methods"][model][method]["verdicts"]
        return found

    def _verdicts(self, model: str) -> Counter[str]:
        """Of the maps of a model, but not of controls."""
        return sum((Counter(self._counts(model, method)) for method in self._own), Counter())

    @cached_property
    def _aggregate(self) -> list[Mapping[str, Any]]:
        return list(self.found["aggregate"])

    def _families(self) -> dict[str, str]:
        return {str(one["name"]): str(one["family"]) for one in self.methods}

    # ---- summary -----------------------------------------------------------------------------------------------------

    def _summary(self) -> Iterator[Block]:
        yield from notices(one["identity"] | {"name": one["name"]} for one in self.manifest["models"])
        data, refused = self.manifest["data"], len(self.facts.get("refused", ()))
        lost = f" {counted(refused, 'picture')} could not be read." if refused else ""
        yield Said(
            told(
                "{pictures} of the set {name} were shown to {models}, and {methods} drew which pixels spoke for each "
                "answer.{lost}",
                pictures=counted(self._pictures, "picture"), name=data["name"], models=joined(self.models, " and "),
                methods=counted(len(self._own), "attribution method"), lost=lost,
            ),
            (RESULTS,),
        )  # fmt: skip
        yield Points(tuple(map(self._right_sentence, self.models)), (RESULTS,))
        if weighed := [model for model in self.models if sum(self._verdicts(model).values())]:
            yield Points(tuple(map(self._weighed_sentence, weighed)), (RESULTS,))
        else:
            yield Said("No map was weighed, so nothing here says how far any map can be believed.")
        yield from self.gate.summary
        yield from self.reviews.summary
        yield from self.drift.summary
        limits = [*small(self._labelled if data["labelled"] else self._pictures)]
        if not data["labelled"]:
            limits.append("No picture has a label, so nothing here says whether the models are right.")
        limits.append(f"{self._asked_count()} Read the section What was not tested before you rely on any of it.")
        yield Points(tuple(limits))

    def _asked_count(self) -> str:
        all_of = sum(METHODS[one].family != CONTROL for one in METHODS)
        return (
            f"{len(self._own)} of {all_of} attribution methods and {len(self.manifest['metrics'])} of {len(METRICS)} "
            "metrics of this program were asked."
        )

    def _right_sentence(self, model: str) -> str:
        found = self.found["models"][model]
        if found["why"]:
            return told("Whether {model} is right cannot be said: {why}.", model=model, why=found["why"])
        value, interval, n = mean_cells(found["accuracy"], SHARE)
        return told(
            "{model} is right on {right} of {n} labelled pictures: {value} (95 % interval {interval}).",
            model=model, right=Number(round(found["accuracy"]["mean"] * found["n"])), n=n, value=value,
            interval=interval,
        )  # fmt: skip

    def _weighed_sentence(self, model: str) -> str:
        return told("{model}: {said}.", model=model, said=weighed_sentence(self._verdicts(model)))

    # ---- what was asked ----------------------------------------------------------------------------------------------

    def _asked(self) -> Iterator[Block]:
        data, seeds = self.manifest["data"], self.manifest["seeds"]
        rules = {"predicted": "the class that each model predicts", "true": "the true class (the label)"}
        weighed = {
            "none": "no map", "wrong": "the maps of pictures that a model got wrong", "all": "every map",
        }  # fmt: skip
        yield Facts(
            (
                ("Set of pictures", str(data["name"])),
                ("Pictures asked about", Number(int(data["cases"]))),
                ("Set, sha256", data.get("sha256") or "not recorded"),
                ("Labels", "yes" if data["labelled"] else "none"),
                ("Columns on groups", ", ".join(map(str, data["columns"])) or "none"),
                ("Explained", rules.get(self.manifest["target"], f"the class {self.manifest['target']}")),
                ("Weighed", weighed.get(self.manifest["weigh"], str(self.manifest["weigh"]))),
                ("Seeds", ", ".join(f"{key}: {value}" for key, value in seeds.items())),
                ("Engine", str(self.manifest["engine"])),
                ("Started and ended", f"{self.manifest['started']} to {self.manifest['ended']}"),
                *made_with(self.manifest),
                ("Signed by", signer(self.manifest)),
            ),
            (self.source.manifest_file.name,),
        )
        yield Grid(
            "Models",
            (Head("model"), Head("weights, sha256"), Head("task"), Head("device")),
            tuple(
                (one["name"], one["identity"].get("weights_sha256", ""), one["identity"].get("task", ""),
                 one["identity"].get("device", ""))
                for one in self.manifest["models"]
            ),
            (self.source.manifest_file.name,),
        )  # fmt: skip
        yield Grid(
            "Attribution methods",
            (Head("method"), Head("family"), Head("settings"), Head("says nothing about")),
            tuple(
                (named(one["name"], METHODS), str(one["family"]), settings_of(one["method"]), self._refused_by(one))
                for one in self.methods
            ),
            (self.source.manifest_file.name,),
        )
        yield Said("Controls know nothing of any model. They are what a map must beat.")
        if self.manifest["metrics"]:
            yield Grid(
                "Metrics",
                (Head("metric"), Head("what it says"), Head("settings")),
                tuple(
                    (named(one["name"], METRICS), self._says(one["metric"]), settings_of(one["metric"]))
                    for one in self.manifest["metrics"]
                ),
                (self.source.manifest_file.name,),
            )

    def _refused_by(self, method: Mapping[str, Any]) -> str:
        return ", ".join(name for name, one in method["by_model"].items() if one["fitted"] is None) or "none of them"

    def _says(self, metric: Mapping[str, Any]) -> str:
        name = str(metric["name"])
        return METRICS[name].summary() if name in METRICS else "not known to this version"

    # ---- results -----------------------------------------------------------------------------------------------------

    def _results(self) -> Iterator[Block]:
        yield Heading("How often the models are right")
        yield Grid("Over all pictures", (Head("model"), Head("number"), Head("value", True), *MEAN_HEADS),
                   tuple(self._overall()), (RESULTS,))  # fmt: skip
        yield Said(
            "Balanced accuracy is the mean over classes of the share that is right. The calibration error is how far "
            "confidence misses the share that is right, in the mean; “by chance” is what a perfectly calibrated model "
            "would get on as many pictures. Loss is minus the natural logarithm of the true class's probability "
            "(nats); 0 is best."
        )
        for model in self.models:
            yield from self._classes(model)
        yield from self._wrong()
        yield from self._groups()
        for two in self.found["pairs"]:
            yield from self._pair(two)
        yield from self._grids()
        if self._aggregate:
            yield Heading("Scores of the maps")
            yield Said(
                "Means over pictures. “Knowing nothing” is what a map that knows nothing of the model gets. † a "
                "control does as well or better, so this metric does not tell the map from one that knows nothing."
            )
            for model in self.models:
                yield from self._scores(model)
        yield from self.gate.blocks
        yield from self.drift.blocks

    def _overall(self) -> Iterator[tuple[Any, ...]]:
        for model in self.models:
            found = self.found["models"][model]
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

    def _classes(self, model: str) -> Iterator[Block]:
        found = self.found["models"][model]
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

    def _wrong(self) -> Iterator[Block]:
        rows, left = [], 0
        for model in self.models:
            own = self.run.predictions[self.run.predictions["model"] == model]
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

    def _groups(self) -> Iterator[Block]:
        rows, passed_over = [], []
        for column in map(str, self.manifest["data"]["columns"]):
            values = self._column(column)
            kinds = sorted(values.unique())
            if not 1 < len(kinds) <= MOST_VALUES:
                passed_over.append(f"{column} ({counted(len(kinds), 'value')})")
                continue
            for model in self.models:
                own = self.run.predictions["model"] == model
                for kind in kinds:
                    judged = self.run.predictions[own & (values == kind)]["right"].dropna()
                    found = share_of(judged.to_numpy(bool))
                    few = "fewer than " + str(FEW) if 0 < found.n < FEW else ""
                    rows.append((model, column, kind, *mean_cells(found._asdict(), SHARE), few))
        if rows and self._labelled:
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
        if passed_over and self._labelled:
            yield Said(told("Not compared, of one value or more than {most}: {names}.", most=MOST_VALUES,
                            names=", ".join(passed_over)))  # fmt: skip

    def _column(self, column: str) -> pd.Series:
        given: pd.Series = self.run.predictions[f"group.{column}"].fillna("").astype(str)
        return given.replace("", "(not given)")

    def _pair(self, two: Mapping[str, Any]) -> Iterator[Block]:
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

    def _grids(self) -> Iterator[Block]:
        drawn = [
            (model, method, method["by_model"][model]["grid"])
            for model in self.models for method in self.methods
            if method["family"] != CONTROL and method["by_model"][model]["grid"]
        ]  # fmt: skip
        if not drawn:
            return
        yield Heading("Maps")
        yield Said("Each picture as the model saw it, its map, and both over one another. Wrong answers come first.")
        for model, method, name in drawn[:MOST_GRIDS]:
            label = named(method["name"], METHODS)
            alt = f"Pictures with their {label} maps by {model}: {self._told_of(model, str(method['name']))}"
            figure = self.source.figure(name, alt, f"{label} by {model}")
            if figure is not None:
                yield figure
        if len(drawn) > MOST_GRIDS:
            yield Said(f"{counted(len(drawn) - MOST_GRIDS, 'more page')} of maps lie in the folder grids/ of the run.")

    def _told_of(self, model: str, method: str) -> str:
        counts = self._counts(model, method)
        return f"{weighed_sentence(counts)}." if counts else "the maps were not weighed."

    def _scores(self, model: str) -> Iterator[Block]:
        rows = []
        for metric in dict.fromkeys(str(one["metric"]) for one in self._aggregate):
            own = [one for one in self._aggregate if one["model"] == model and one["metric"] == metric]
            for one in own:
                method = named(one["method"], METHODS) + " (control)" * (one["family"] == CONTROL)
                remark = "†" if self._controls_ahead(one, own) else str(one["why"] or "")
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
        if rows:
            yield Grid(told("Scores of the maps of {model}", model=model), heads, tuple(rows), (RESULTS, SCORES))

    def _controls_ahead(self, one: Mapping[str, Any], own: Sequence[Mapping[str, Any]]) -> list[str]:
        """The controls that do as well by this metric or better, where that counts against a map."""
        name = str(one["metric"]).partition(" ")[0]
        if name not in METRICS or METRICS[name].aspect not in CONTROLS_LOSE or one["family"] == CONTROL:
            return []
        sign = {"higher": 1, "lower": -1}.get(one["better"], 0)
        if not sign or one["mean"] is None:
            return []
        rivals = (rival for rival in own if rival["family"] == CONTROL and rival["mean"] is not None)
        return [str(rival["method"]) for rival in rivals if sign * rival["mean"] >= sign * one["mean"]]

    # ---- evidence ----------------------------------------------------------------------------------------------------

    def _evidence(self) -> Iterator[Block]:
        rows = []
        for model in self.models:
            for method in self._own:
                counts = self._counts(model, method)
                rows.append(
                    (model, named(method, METHODS), *(Number(int(counts.get(one, 0))) for one in VERDICTS),
                     Number(sum(map(int, counts.values()))))
                )  # fmt: skip
        if not any(self._verdicts(model) for model in self.models):
            yield Said(
                "No map was weighed. Nothing here says how far any map can be believed: look at none of them as "
                "evidence. Weigh them with --weigh all.",
                (RESULTS,), "alarm",
            )  # fmt: skip
            return
        heads = (Head("model"), Head("method"), *(Head(one, True) for one in VERDICTS), Head("weighed", True))
        yield Grid("How many maps got which verdict", heads, tuple(rows), (RESULTS,))
        yield verdict_words()
        yield from self._reasons()

    def _reasons(self) -> Iterator[Block]:
        table, rows = self.run.evidence, []
        shown = table[table["method"].isin(self._own) & (table["verdict"] != "supported")]
        for (model, method, verdict), some in shown.groupby(["model", "method", "verdict"], sort=False):
            for one in some.head(MOST_EXAMPLES).itertuples():
                rows.append((model, named(method, METHODS), verdict, one.file, str(one.reasons)))
        if rows:
            yield Grid(
                f"Why: up to {MOST_EXAMPLES} maps of each verdict",
                (Head("model"), Head("method"), Head("verdict"), Head("file"), Head("reasons")),
                tuple(rows), (WEIGHED,), max(0, len(shown) - len(rows)),
            )  # fmt: skip

    # ---- disagreements -----------------------------------------------------------------------------------------------

    def _disagreements(self) -> Iterator[Block]:
        if not self._aggregate:
            yield Said("No metric was computed, so none can disagree.")
            return
        for model in self.models:
            yield Heading(told("{model}", model=model))
            yield from points([*self._orders(model)], (RESULTS,))
            rows = [*self._opposed(model)]
            if rows:
                yield Grid(
                    "Pairs of methods that two metrics order the opposite way",
                    (Head("metric"), Head("metric"), Head("pairs of methods compared", True),
                     Head("ordered oppositely", True)),
                    tuple(rows), (RESULTS,),
                )  # fmt: skip
            ahead = [*self._beaten(model)]
            yield from points(ahead, (RESULTS,))
        figure = self.source.figure(
            "method_ranking.png", "The ranks of the methods by every metric, 1 the best, as in the lists above.",
            "Ranks of the methods by every metric",
        )  # fmt: skip
        if figure is not None:
            yield figure
        yield Heading("What these numbers do not say")
        yield Points(NOT_SAID)

    def _means(self, model: str) -> dict[str, dict[str, float]]:
        """By metric, the mean of every method that it ranks, turned so that more is better.

        Controls are not ranked, nor means of other pictures than the rivals' or of a metric that only describes.
        """
        found: dict[str, dict[str, float]] = {}
        for one in self._aggregate:
            sign = {"higher": 1.0, "lower": -1.0}.get(one["better"])
            if one["model"] == model and sign and one["rank"] is not None:
                found.setdefault(str(one["metric"]), {})[str(one["method"])] = sign * float(one["mean"])
        return found

    def _orders(self, model: str) -> Iterator[str]:
        for metric, means in self._means(model).items():
            order = sorted(means, key=means.__getitem__, reverse=True)
            left = [method for method in self._own if method not in means]
            yield told(
                "{metric} puts them in this order, the best first: {order}.{left}",
                metric=named(metric, METRICS), order=joined([named(one, METHODS) for one in order]),
                left=f" Not ranked: {', '.join(named(one, METHODS) for one in left)}." if left else "",
            )  # fmt: skip

    def _opposed(self, model: str) -> Iterator[tuple[Any, ...]]:
        for (first, one), (second, other) in itertools.combinations(self._means(model).items(), 2):
            both = [method for method in one if method in other]
            pairs = [*itertools.combinations(both, 2)]
            against = sum((one[a] - one[b]) * (other[a] - other[b]) < 0 for a, b in pairs)
            if pairs:
                yield (named(first, METRICS), named(second, METRICS), Number(len(pairs)), Number(against))

    def _beaten(self, model: str) -> Iterator[str]:
        own = [one for one in self._aggregate if one["model"] == model]
        for one in own:
            rivals = [other for other in own if other["metric"] == one["metric"]]
            if ahead := self._controls_ahead(one, rivals):
                yield told(
                    "By {metric}, {controls}, which {know} nothing of the model, {do} as well as {method} or better.",
                    metric=named(one["metric"], METRICS), controls=joined([named(name, METHODS) for name in ahead]),
                    know="know" if len(ahead) > 1 else "knows", do="do" if len(ahead) > 1 else "does",
                    method=named(one["method"], METHODS),
                )  # fmt: skip

    # ---- what was not tested -----------------------------------------------------------------------------------------

    def _untested(self) -> Iterator[Block]:
        data = self.manifest["data"]
        said: list[str] = [*small(self._labelled if data["labelled"] else self._pictures)]
        said += [*self._few_classes()]
        if not data["labelled"]:
            said.append("Labels: there are none, so accuracy, calibration and misses were not measured.")
        said += [methods_left(self._own), metrics_left(one["name"] for one in self.manifest["metrics"])]
        said.append(probes_left(()))
        said += [*self._groups_left(), *self._weights_left(), *self._masks_left(), *self.reviews.untested]
        said += [*self.gate.untested, *self.drift.untested]
        seeds = sorted({int(one) for one in self.manifest["seeds"].values()})
        said.append(f"Chance: everything random was drawn from seed {', '.join(map(str, seeds))} alone.")
        devices = {str(one["identity"].get("device", "")) for one in self.manifest["models"]}
        said.append(told("Other machines: the models were asked on {devices} alone.", devices=", ".join(devices)))
        yield Points((*said, *ALWAYS_OPEN), (RESULTS, self.source.manifest_file.name))
        refused = [f"{file}: {why}" for file, why in self.facts.get("refused", ())]
        lost = [f"{file} by {model}: {why}" for file, model, why in self.facts.get("quarantined", ())]
        for head, lines in (
            ("Pictures that were refused", refused), ("Given up, since the worker died of it", lost),
            ("Left out", list(map(str, self.facts.get("left_out", ())))),
        ):  # fmt: skip
            if lines:
                yield Heading(head)
                yield from points(lines[:50], (FACTS,))
                if len(lines) > 50:
                    yield Said(f"And {len(lines) - 50:,} more, all of them in {FACTS}.", (FACTS,))

    def _few_classes(self) -> Iterator[str]:
        """Classes with too few pictures, over all models each once."""
        few = {
            str(one["label"]): int(one["support"])
            for found in self.found["models"].values() for one in found["classes"] if one["support"] < FEW
        }  # fmt: skip
        if few:
            names = ", ".join(f"{label} (n = {count})" for label, count in few.items())
            yield told("Classes with fewer than {few} pictures: {names}. What holds for these is hardly known.",
                       few=FEW, names=names)  # fmt: skip

    def _groups_left(self) -> Iterator[str]:
        if not self.manifest["data"]["columns"]:
            yield "Groups of people or devices: the set names none, so nothing says for whom the models are worse."
        else:
            yield (
                "Groups: accuracy is counted by the columns that the set has, but no difference was tested, and groups "
                "that no column names were not looked at."
            )

    def _weights_left(self) -> Iterator[str]:
        drawn = [one["name"] for one in self.manifest["models"]
                 if str(one["identity"].get("notice", "")).lower().startswith("random weights")]  # fmt: skip
        if drawn:
            yield told("Trained weights: those of {names} were drawn at random, so nothing here is about a model that "
                       "has learnt anything.", names=joined(drawn))  # fmt: skip
        total = {model: sum(self._verdicts(model).values()) for model in self.models}
        if not any(total.values()):
            yield "Weights at random: no map was compared with that of a network whose weights were drawn anew."
        elif self.manifest["weigh"] != "all":
            yield "Weights at random: only the maps that were weighed were compared with those of a redrawn network."

    def _masks_left(self) -> Iterator[str]:
        asked = {str(one["name"]).partition(" ")[0] for one in self.manifest["metrics"]}
        if not any(name in METRICS and METRICS[name].aspect == "against ground truth" for name in asked):
            yield (
                "Marked evidence: no metric compared a map with what a person marked in the pictures (masks), so "
                "nothing says whether the models look where a specialist would."
            )

    # ---- model cards and annex ---------------------------------------------------------------------------------------

    def _cards(self) -> Iterator[Block]:
        for one in self.manifest["models"]:
            name = str(one["name"])
            measured = [("Measured here", self._right_sentence(name))]
            if counts := self._verdicts(name):
                measured.append(("Its maps", f"{weighed_sentence(counts)}."))
            yield from card(
                {**one["identity"], "name": name}, self.run.labels(name), measured,
                (self.source.manifest_file.name, FACTS, RESULTS),
            )  # fmt: skip

    def _known(self) -> dict[str, str]:
        version = self.manifest["made_with"]["app"]
        known = {
            "1(a)": told("The models are {names}, each told by the hash of its weights (Model card).",
                         names=joined(self.models)),
            "1(c)": told("The software that this audit ran on: Second Look {version} and the packages under What was "
                         "asked. The software of the system itself is not known.", version=version),
            "1(e)": told("The audit itself ran on: {devices}.", devices=", ".join(
                {str(one["identity"].get("device", "")) for one in self.manifest["models"]})),
            "2(e)": "Attribution maps with verdicts that say how far each can be believed (Evidence and verdicts)"
                    + (", and what reviewers decided case by case (Decisions)." if self.reviews.summary else "."),
            "2(g)": told("The set {name}, {pictures}, known by its hash; metrics, results and limits (Results, What "
                         "was not tested). Made {created}. {signed}", name=self.manifest["data"]["name"],
                         pictures=counted(self._pictures, "picture"), created=self.manifest["created"],
                         signed=signer(self.manifest)),
            "3": "Accuracy, calibration and confusions with intervals, by group where the set names groups (Results), "
                 "and limits (What was not tested).",
            "4": "What each metric measures is said under What was asked, and where they disagree. Why they are the "
                 "right ones for the intended purpose is open.",
        }  # fmt: skip
        origins = {str(one["identity"].get("weights", "")) for one in self.manifest["models"]} - {""}
        if origins:
            known["2(a)"] = told("Where the weights come from, as recorded: {origins}.", origins="; ".join(origins))
        kinds = [str(one["identity"].get("architecture", "")) for one in self.manifest["models"]]
        if any(kinds):
            known["2(c)"] = told("Architectures: {kinds}; number of parameters under Model card.",
                                 kinds=", ".join(filter(None, dict.fromkeys(kinds))))  # fmt: skip
        if self.drift.summary:
            known["6"] = "How this version differs from an earlier one on the same pictures (Results, drift)."
            known["9"] = "The same audit can be repeated on later weights and compared (Results, drift)."
        return known
