"""A finished audit as reports read it: its models, methods and pictures, and the numbers that were saved of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from xai_core.html_report.source import Source
from xai_core.runs import FACTS, Run
from xai_core.score_table import CONTROL

RESULTS, SAID, WEIGHED, SCORES = "xai_results.json", "predictions.parquet", "evidence.parquet", "aggregate.csv"


class Audited:
    """What the files of a run hold. `found` are its results, `facts` its course, which no manifest covers."""

    def __init__(self, source: Source, run: Run) -> None:
        self.source, self.run, self.facts = source, run, run.facts
        self.manifest, self.found = source.manifest, source.json(RESULTS)
        source.found(FACTS)
        self.models = [str(one["name"]) for one in self.manifest["models"]]
        self.methods = list(self.manifest["methods"])
        self.data: Mapping[str, Any] = self.manifest["data"]

    @property
    def own(self) -> list[str]:
        """The methods that are no controls."""
        return [str(one["name"]) for one in self.methods if one["family"] != CONTROL]

    @property
    def metrics(self) -> list[str]:
        """The metrics by their row names."""
        return [str(one["name"]) for one in self.manifest["metrics"]]

    @property
    def pictures(self) -> int:
        """The number of pictures that were asked about."""
        return max((int(one["pictures"]) for one in self.found["models"].values()), default=0)

    @property
    def labelled(self) -> int:
        """The number of those that have a label."""
        return max((int(one["n"]) for one in self.found["models"].values()), default=0)

    @property
    def aggregate(self) -> list[Mapping[str, Any]]:
        """The means of every metric, a line per model and method."""
        return list(self.found["aggregate"])

    def with_weights(self, sha256: object) -> list[str]:
        """The models of these weights."""
        return [
            str(one["name"])
            for one in self.manifest["models"]
            if sha256 and one["identity"].get("weights_sha256") == sha256
        ]

    def counts(self, model: str, method: str) -> Mapping[str, int]:
        """How many maps got which verdict."""
        found: Mapping[str, int] = self.found["methods"][model][method]["verdicts"]
        return found

    def verdicts(self, model: str) -> Counter[str]:
        """Of the maps of a model, but not of controls."""
        return sum((Counter(self.counts(model, method)) for method in self.own), Counter())
