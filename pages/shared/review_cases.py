"""The cases of a run as one table, a row per picture: filtered, sorted and counted. Knows nothing of the screen."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from pages.shared.review_view import GROUP, OF_DECISIONS, SURE, UNSURE, View
from xai_core.classification import Confusion, confusion

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.decisions import Decision
    from xai_core.runs import Run

VERDICTS = ("supported", "weak", "no evidence", "not valid for this model")  # from the most that can be believed
OF_MODEL = ("predicted", "confidence", "label_probability", "loss", "right")
MOST_CLASSES = 20  # of a confusion matrix that can still be read
BORDER = "border_share"


class Cases:
    """The pictures of a run, in the order of its tables. Nothing here is changed once it has been made."""

    def __init__(self, run: Run) -> None:
        self.run = run
        said = run.predictions
        self.models = [model for model in run.models if (said["model"] == model).any()]
        self._of = {
            model: said[said["model"] == model].drop_duplicates("picture").set_index("picture") for model in self.models
        }
        every = said.drop_duplicates("picture").set_index("picture")
        self.pictures: list[str] = [str(one) for one in every.index]
        self.files: list[str] = every["file"].astype(str).tolist()
        self.truths: list[str | None] = [None if _empty(one) else str(one) for one in every["label"]]
        self.labelled = any(one is not None for one in self.truths)
        self.places = {picture: place for place, picture in enumerate(self.pictures)}
        self.groups: dict[str, list[str]] = {
            str(name).removeprefix(GROUP): ["" if _empty(one) else str(one) for one in every[name]]
            for name in every.columns
            if str(name).startswith(GROUP)
        }
        split = ["" if _empty(one) else str(one) for one in every["split"]]
        if len(set(split)) > 1:
            self.groups.setdefault("split", split)
        self._judged: dict[tuple[str, str], tuple[np.ndarray, np.ndarray]] = {}
        self._confusions: dict[str, tuple[Confusion, int]] = {}

    def __len__(self) -> int:
        return len(self.pictures)

    def column(self, model: str, name: str) -> np.ndarray:
        """One of OF_MODEL for every picture: text and None, or float64 and NaN."""
        values: np.ndarray = self._columns[model][name]
        return values

    @cached_property
    def _columns(self) -> dict[str, dict[str, np.ndarray]]:
        def read(frame: pd.DataFrame, name: str) -> np.ndarray:
            values = frame[name].reindex(self.pictures)
            if name == "predicted":
                return np.array([None if _empty(one) else str(one) for one in values], object)
            numbers: np.ndarray = np.array(values.astype("float64"))
            return numbers

        return {model: {name: read(frame, name) for name in OF_MODEL} for model, frame in self._of.items()}

    @cached_property
    def methods(self) -> list[str]:
        """The methods of the run that look at the model: without controls."""
        return [str(one["name"]) for one in self.run.facts["methods"] if one.get("family") != "control"]

    def judged(self, model: str, method: str) -> tuple[np.ndarray, np.ndarray]:
        """For every picture the place of the verdict in VERDICTS and the border share of one map; NaN where unknown."""
        if (model, method) not in self._judged:
            weighed, measured = self.run.evidence, self.run.metrics
            order = {verdict: float(place) for place, verdict in enumerate(VERDICTS)}
            verdicts = self._found(weighed, model, method, "verdict").map(order)
            shares = self._found(measured[measured["metric"] == BORDER], model, method, "value")
            self._judged[model, method] = (
                np.array(verdicts.reindex(self.pictures).astype("float64")),
                np.array(shares.reindex(self.pictures).astype("float64")),
            )
        return self._judged[model, method]

    def _found(self, frame: pd.DataFrame, model: str, method: str, column: str) -> pd.Series:
        these = frame[(frame["model"] == model) & (frame["method"] == method)].drop_duplicates("picture")
        return these.set_index("picture")[column]

    @cached_property
    def scores(self) -> Mapping[str, pd.DataFrame]:
        """The rows of metrics by picture."""
        return _Rows(self.run.metrics)

    @cached_property
    def weighed(self) -> Mapping[str, pd.DataFrame]:
        """The rows of evidence by picture."""
        return _Rows(self.run.evidence)

    @cached_property
    def probabilities(self) -> Mapping[str, pd.DataFrame]:
        """The rows of predictions by picture."""
        return _Rows(self.run.predictions)

    def wrong(self, model: str) -> np.ndarray:
        """(n,) bool: labelled, and called something else."""
        wrong: np.ndarray = self.column(model, "right") == 0
        return wrong

    def disagree(self) -> np.ndarray:
        """(n,) bool: two models say different things."""
        said = np.array([self.column(model, "predicted") for model in self.models])
        return np.array((said != said[0]).any(axis=0))

    def order(self, view: View, decided: Mapping[str, Decision]) -> list[str]:
        """The pictures that a view leaves, in its order. The open case stays in its place whatever is decided on it."""
        keep = self._undecidedly(view) & self._by_decisions(view, decided)
        if view.case in self.places:
            keep[self.places[view.case]] = True
        return [self.pictures[place] for place in self._sorted(view) if keep[place]]

    def due(self, view: View) -> list[str]:
        """The pictures that a view leaves, whatever has been decided."""
        return [self.pictures[place] for place in np.flatnonzero(self._undecidedly(view))]

    def _undecidedly(self, view: View) -> np.ndarray:
        """(n,) bool: what all filters leave but those that ask for decisions."""
        model, keep = view.model, np.ones(len(self), bool)
        sure = self.column(model, "confidence")
        rules: dict[str, Callable[[], np.ndarray]] = {
            "wrong": lambda: self.wrong(model),
            "right": lambda: self.column(model, "right") == 1,
            "disagree": self.disagree,
            "unsure": lambda: sure < UNSURE,
            "sure": lambda: (sure >= SURE) & self.wrong(model),
        }
        for one in view.shows:
            if one not in OF_DECISIONS:
                keep &= rules[one]()
        if view.truths:
            keep &= np.array([one in view.truths for one in self.truths])
        if view.said:
            keep &= np.isin(self.column(model, "predicted").astype(str), view.said)
        if view.verdicts:
            keep &= np.isin(self.judged(model, view.method)[0], [VERDICTS.index(one) for one in view.verdicts])
        for name, values in view.groups.items():
            if values:
                keep &= np.isin(self.groups[name], values)
        return keep

    def _by_decisions(self, view: View, decided: Mapping[str, Decision]) -> np.ndarray:
        keep, asked = np.ones(len(self), bool), set(view.shows)
        if asked & OF_DECISIONS:
            known = np.array([picture in decided for picture in self.pictures], bool)
            keep &= known if "decided" in asked else True
            keep &= ~known if "undecided" in asked else True
        if "flagged" in asked:
            keep &= np.array([bool(found.flag) if (found := decided.get(one)) else False for one in self.pictures])
        if view.reasons:
            keep &= np.array([(one in decided and decided[one].reason in view.reasons) for one in self.pictures])
        return keep

    def _sorted(self, view: View) -> np.ndarray:
        """Every place, in the order of a view; what has no number comes last, whichever way."""
        by_name = np.argsort(np.array(self.files), kind="stable")
        if view.sort == "file":
            return by_name[::-1] if view.down else by_name
        if view.sort in ("confidence", "loss"):
            values = self.column(view.model, view.sort)
        else:
            values = self.judged(view.model, view.method)[view.sort == "border"]
        values = values[by_name]
        return by_name[np.argsort(-values if view.down else values, kind="stable")]

    def confusion(self, model: str) -> tuple[Confusion, int]:
        """Of all labelled pictures; of many classes those with the most mistakes, and how many others are left out."""
        if model not in self._confusions:
            said = self.column(model, "predicted")
            known = [i for i, truth in enumerate(self.truths) if truth is not None and said[i] is not None]
            truths = [str(self.truths[i]) for i in known]
            self._confusions[model] = _worst(
                confusion(truths, [str(said[i]) for i in known], self.run.labels(model)), self.run.labels(model)
            )
        return self._confusions[model]

    def alike(self, picture: str, model: str, most: int) -> list[str]:
        """Other pictures of the same class that the model called the same, the nearest in confidence first."""
        if picture not in self.places:
            return []
        at, said = self.places[picture], self.column(model, "predicted")
        same = np.array([one == self.truths[at] for one in self.truths]) & (said == said[at])
        same[at] = False
        sure = self.column(model, "confidence")
        places = np.flatnonzero(same)
        nearest = places[np.argsort(np.abs(sure[places] - sure[at]), kind="stable")][:most]
        return [self.pictures[place] for place in nearest]


class _Rows(Mapping[str, Any]):
    """The rows of a table by picture."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self._rows = frame.groupby("picture").indices

    def __getitem__(self, picture: str) -> pd.DataFrame:
        return self._frame.iloc[self._rows.get(picture, [])]

    def __iter__(self) -> Any:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)


def _worst(whole: Confusion, labels: Sequence[str]) -> tuple[Confusion, int]:
    """The classes with the most mistakes, as many as can be read; without columns of what a model cannot say."""
    mistakes: dict[str, int] = dict.fromkeys(whole.columns, 0)
    for row, column, count in whole.cells:
        for label in (row, column) if row != column else ():
            mistakes[label] = mistakes.get(label, 0) + count
    worst = set(sorted(mistakes, key=lambda label: -mistakes[label])[:MOST_CLASSES])
    rows = [i for i, label in enumerate(whole.rows) if label in worst]
    said = whole.counts.sum(axis=0) > 0
    columns = [i for i, label in enumerate(whole.columns) if label in worst and (said[i] or label in labels)]
    kept = Confusion(
        tuple(whole.rows[i] for i in rows),
        tuple(whole.columns[i] for i in columns),
        whole.counts[np.ix_(rows, columns)],
    )
    return kept, len(mistakes) - len(worst)


def _empty(value: Any) -> bool:
    return value is None or value != value or str(type(value).__name__) == "NAType"
