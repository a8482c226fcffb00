"""A run folder as it is found: what was asked, the tables that came out, and single answers out of its store.

    run = open_run("run/")
    run.predictions, run.metrics, run.evidence      tables, each read once, when first asked for
    run.explanation(picture, model, method)         a map with all that belongs to it, or None where there is none

Models and methods go by the names of their rows, pictures by sha256. Nothing here writes.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xai_core.errors import RecordError
from xai_core.records import Explanation, Prediction
from xai_core.seal import shown
from xai_core.units import Unit, evidence_key, map_key, prediction_key, refusal, rule_of, to_explanation, to_prediction

if TYPE_CHECKING:
    import pandas as pd

    from xai_core.unit_store import UnitStore

SCHEMA = 1  # of run.json
FACTS = "run.json"
NEEDED: Mapping[str, type | tuple[type, ...]] = {
    "status": str, "data": Mapping, "models": list, "methods": list, "metrics": list, "target": str, "seed": int,
    "store": str, "started": str,
}  # fmt: skip
COLUMNS: Mapping[str, tuple[str, ...]] = {  # that a table has at least; predictions also group.<column>, one for each
    "predictions": (
        *("file", "picture", "label", "split", "model", "predicted", "confidence", "label_probability", "loss"),
        *("right", "probabilities", "width", "height"),
    ),
    "metrics": (
        *("file", "picture", "label", "model", "method", "family", "target", "metric", "value", "better", "null"),
        *("unit", "why", "seed"),
    ),
    "evidence": ("file", "picture", "label", "model", "method", "verdict", "reasons"),
}


AT_ONCE = 64  # maps that are read together: a part of the store holds many


class Placed(NamedTuple):
    """A map: (h, w) values, the part of the picture that they cover, and the label that they speak for."""

    values: np.ndarray
    box: tuple[float, ...] | None
    label: str


@dataclass(frozen=True, eq=False)
class Run:
    """A run that is done, stopped or under way. `facts` are those of its run.json."""

    folder: Path
    facts: Mapping[str, Any]

    @cached_property
    def predictions(self) -> pd.DataFrame:
        """One row per picture and model. Raises RecordError, as do the others: for a table that cannot be read."""
        return self._table("predictions", needed=True)

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """One row per picture, model, method and metric."""
        return self._table("metrics", needed=bool(self.facts["metrics"]))

    @cached_property
    def evidence(self) -> pd.DataFrame:
        """One row per picture, model and method that was weighed."""
        return self._table("evidence", needed=self.facts.get("weigh", "none") != "none")

    @property
    def models(self) -> tuple[str, ...]:
        """Their row names, as they were given."""
        return tuple(self._models)

    @property
    def methods(self) -> tuple[str, ...]:
        """Their row names, as they were given."""
        return tuple(str(one["name"]) for one in self.facts["methods"])

    def labels(self, model: str) -> tuple[str, ...]:
        """What the outputs of a model are called, in their order."""
        return tuple(map(str, self._model(model)["labels"]))

    def task(self, model: str) -> str:
        """What the outputs of a model mean: one of records.TASKS."""
        return str(self._model(model)["identity"]["task"])

    @cached_property
    def store(self) -> UnitStore:
        """Where the answers are kept, opened when first asked for. Raises RecordError where it is gone."""
        from xai_core.unit_store import UnitStore

        address = str(self.facts["store"])
        place = str(self.folder / address) if address == "store" else address
        if "://" not in place and not Path(place).is_dir():  # opening it would make an empty one
            raise RecordError(
                f"The answers of {shown(self.folder.name)} are gone: there is no folder {shown(place)}. Put it back."
            )
        return UnitStore(place)

    def prediction(self, picture: str, model: str) -> Prediction:
        """What a model says of a picture. Raises RecordError where the store does not hold it."""
        return to_prediction(self._asked(picture, model), self._model(model)["identity"])

    def seen(self, picture: str, model: str) -> np.ndarray:
        """(h, w, 3) uint8: the crop of a picture that a model saw. Raises RecordError where the store lacks it."""
        return self._asked(picture, model).arrays["seen"]

    def explanation(self, picture: str, model: str, method: str, file: str = "") -> Explanation | None:
        """The map of a picture by a method, or None where there is none: refused, or not computed yet.

        One picture may be in the set as several files with labels of their own: `file` says which one's true class is
        meant, by default that of the first.
        """
        key = self.map_key(picture, model, method, file)
        unit = None if key is None else self.store.get([key]).get(key)
        if unit is None or refusal(unit):
            return None
        return to_explanation(unit, self._model(model)["identity"], self.seen(picture, model))

    def placed(self, pictures: Iterable[str], model: str, method: str) -> Iterator[Placed | None]:
        """The map of every picture in turn, None where there is none. Many are read at once, and few held."""
        keys = (self.map_key(picture, model, method) for picture in pictures)
        while some := list(itertools.islice(keys, AT_ONCE)):
            found = self.store.get([key for key in some if key is not None])
            for key in some:
                unit = None if key is None else found.get(key)
                if unit is None or refusal(unit):
                    yield None
                    continue
                box = unit.facts["box"]
                yield Placed(unit.arrays["values"], None if box is None else tuple(box), unit.facts["target"]["label"])

    def map_key(self, picture: str, model: str, method: str, file: str = "") -> str | None:
        """What a map is called in the store, None where the method says nothing about the model. As `explanation`."""
        if method not in self.methods:
            raise RecordError(f"The run has no method {shown(method)!r}. It has {', '.join(self.methods)}.")
        fitted, seed = self._model(model).get("fitted", {}).get(method), int(self.facts["seed"])
        if not isinstance(fitted, Mapping):
            return None
        behind = [one for one in self.facts.get("background", ()) if one != picture]
        identity, rule = self._model(model)["identity"], self._rule(picture, model, file)
        return map_key(picture, identity, fitted, rule, seed, behind, self.facts.get("made_by"))

    def _rule(self, picture: str, model: str, file: str) -> dict[str, Any]:
        """What names the target of a picture: the predicted class also where the one asked for is not known."""
        target = str(self.facts["target"])
        label, known = self._label(picture, file) if target == "true" else target, self.labels(model)
        if target == "predicted" or label not in known:
            return rule_of(None)
        return {"class": known.index(label), "kind": "logit", "against": None}

    @cached_property
    def _models(self) -> dict[str, Mapping[str, Any]]:
        return {str(one["name"]): one for one in self.facts["models"]}

    def _model(self, name: str) -> Mapping[str, Any]:
        if name not in self._models:
            raise RecordError(f"The run has no model {shown(name)!r}. It has {', '.join(self.models)}.")
        return self._models[name]

    def _label(self, picture: str, file: str) -> str | None:
        """The true class of a picture, or None where nobody said it. Raises RecordError for a file of another one."""
        labels = self._labels.get(picture, {})
        if file and file not in labels:
            raise RecordError(f"The run has no file {shown(file)} of picture {shown(picture[:12])}. Name another.")
        return labels[file] if file else next(iter(labels.values()), None)

    @cached_property
    def _labels(self) -> dict[str, dict[str, str | None]]:
        """The true class that every file of a picture says, in the order of the set."""
        found: dict[str, dict[str, str | None]] = {}
        rows = self.predictions.drop_duplicates("file")
        for picture, file, label in zip(rows["picture"], rows["file"], rows["label"], strict=True):
            found.setdefault(picture, {})[file] = label if isinstance(label, str) else None
        return found

    def prediction_key(self, picture: str, model: str) -> str:
        """Under which the store has what a model says of a picture."""
        return prediction_key(picture, self._model(model)["identity"], self.facts.get("made_by"))

    def evidence_key(self, of_map: str) -> str:
        """Under which the store has how far a map can be believed, by the key of the map."""
        return evidence_key(of_map, int(self.facts["seed"]), self.facts.get("made_by"))

    def _asked(self, picture: str, model: str) -> Unit:
        key = self.prediction_key(picture, model)
        found = self.store.get([key])
        if key not in found:
            raise RecordError(
                f"The store of {shown(self.folder.name)} does not hold what {shown(model)} says of picture "
                f"{shown(picture[:12])}. Run the audit again: it computes what is missing."
            )
        return found[key]

    def _table(self, name: str, needed: bool) -> pd.DataFrame:
        """A table, empty where it was not asked for or is still to come."""
        import pandas as pd

        file = self.folder / f"{name}.parquet"
        if not file.exists() and not (needed and self.facts["status"] == "done"):
            return pd.DataFrame(columns=list(COLUMNS[name]))
        advice = "Run the audit again: it writes its tables anew."
        try:
            found = pd.read_parquet(file)
        except Exception as error:  # a damaged file raises whatever its bytes lead to
            reason = "it is gone" if isinstance(error, FileNotFoundError) else "it is damaged"
            raise RecordError(f"Cannot read {file.name} of {shown(self.folder.name)}: {reason}. {advice}") from error
        if missing := [column for column in COLUMNS[name] if column not in found]:
            raise RecordError(f"{file.name} of {shown(self.folder.name)} has no column {missing[0]}. {advice}")
        return found


def open_run(folder: str | Path) -> Run:
    """The run in `folder`. Raises RecordError where there is none, or it is damaged or of a newer version."""
    folder = Path(folder)
    return Run(folder, MappingProxyType(_facts(folder)))


@dataclass(frozen=True)
class Listed:
    """One line of a folder of runs: the run, or under `problem` why it cannot be read."""

    folder: Path
    run: Run | None = None
    problem: str = ""

    @property
    def started(self) -> str:
        """When, in UTC; empty where that cannot be read."""
        return "" if self.run is None else str(self.run.facts["started"])


def list_runs(folder: str | Path) -> list[Listed]:
    """Every run in a folder of runs, the newest first and the broken ones last. Raises RecordError for no folder."""
    folder = Path(folder)
    try:
        with os.scandir(folder) as entries:
            found = [Path(entry.path) for entry in entries if entry.is_dir() and (Path(entry.path) / FACTS).exists()]
    except OSError as error:
        raise RecordError(f"Cannot list the runs in {shown(folder.name or str(folder))}: {error.strerror}.") from error
    return sorted(map(_listed, sorted(found)), key=lambda one: one.started, reverse=True)


def _listed(folder: Path) -> Listed:
    try:
        return Listed(folder, open_run(folder))
    except RecordError as error:
        return Listed(folder, problem=str(error))


def _facts(folder: Path) -> dict[str, Any]:
    name = shown(folder.name or str(folder))
    try:
        facts = json.loads((folder / FACTS).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise RecordError(f"{name} holds no run: it has no {FACTS}. Choose the folder that an audit wrote.") from None
    except OSError as error:
        raise RecordError(f"Cannot read {FACTS} of {name}: {error.strerror}.") from error
    except (ValueError, RecursionError):
        raise RecordError(f"{FACTS} of {name} is damaged: it is no JSON. Run the audit again.") from None
    schema = facts.get("schema") if isinstance(facts, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise RecordError(
            f"{name} is a run of version {schema}, and this program reads up to version {SCHEMA}. Update the program."
        )
    if schema != SCHEMA or not _whole(facts):
        raise RecordError(f"{FACTS} of {name} is damaged: it does not describe a run. Run the audit again.")
    return dict(facts)


def _whole(facts: Mapping[str, Any]) -> bool:
    """Whether what is read here is there, and of its kind."""
    if not all(isinstance(facts.get(key), kind) for key, kind in NEEDED.items()):
        return False
    named = (one for key in ("models", "methods", "metrics") for one in facts[key])
    return all(isinstance(one, dict) and isinstance(one.get("name"), str) for one in named) and all(
        isinstance(one.get("identity"), dict)
        and isinstance(one.get("labels"), list)
        and isinstance(one.get("fitted", {}), dict)
        and isinstance(one["identity"].get("task"), str)
        for one in facts["models"]
    )
