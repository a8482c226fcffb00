"""From the answers of a finished audit to the files of its run folder.

    predictions.parquet, metrics.parquet, metrics.csv, evidence.parquet      rows per picture (`audit_tables`)
    aggregate.csv                   methods by metrics over all pictures (`audit_aggregate`)
    arrays/<model>/<method>.npy     (n, h, w) float32, as many as the model has predictions and in their order
    grids/<model>/<method>.png      pictures with their maps, wrong ones first (`audit_figures`)
    method_ranking.png, xai_results.json, summary.md
    manifest.json                   what was asked of what, with size and hash of every file above; written last

Each file is written whole or not at all, a piece at a time: memory does not grow with the set. The same answers give
the same bytes in every file but the manifest, which has an identity of its own and the time.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from xai_core import audit_aggregate, audit_figures, audit_summary, audit_tables, durable, figures
from xai_core.audit_tables import Answers, Audit, Sample
from xai_core.classification import numbers_of
from xai_core.errors import Cancelled, RecordError
from xai_core.provenance import made_with
from xai_core.records import Explanation
from xai_core.runs import Run
from xai_core.score_table import ScoreTable
from xai_core.seal import AUDIT, MANIFEST, SCHEMA, sealed, shown

__all__ = ["Answers", "Sample", "write_report"]

MOST_SHOWN = 48  # pictures on a grid
LONGEST_NAME = 100  # of a file, without its ending
WORDS = {
    "predictions.parquet": "what each model says of each picture",
    "metrics.parquet": "every score of every map",
    "metrics.csv": "the same for a spreadsheet",
    "evidence.parquet": "how far each map that was weighed can be believed, and why",
    "aggregate.csv": "the mean of every method by every metric, with its interval and rank",
    "arrays/": "the values of the maps, an array per model and method, in the order of predictions.parquet",
    "grids/": "pictures with their maps, a page per model and method",
    "method_ranking.png": "the ranks of the methods by every metric",
    "xai_results.json": "all numbers over the set",
}
Progress = Callable[[int, int], None]


class Files(NamedTuple):
    """Where the maps of a model by a method lie: None where there are none."""

    arrays: str | None
    grid: str | None


def write_report(
    folder: Path,
    facts: Mapping[str, Any],
    samples: Sequence[Sample],
    answers: Answers,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> None:
    """Write every file of a finished audit into `folder`, which exists. `facts` are those of its run.json.

    `progress` is told (steps done, steps in all). Raises Cancelled once `cancel` is set, and RecordError where a file
    cannot be written: then the manifest is not.
    """
    models, methods = len(facts["models"]), len(facts["methods"])
    total = len(samples) * models * (3 + methods) + models * methods
    done = iter(range(1, total + 1))

    def step() -> None:
        if cancel is not None and cancel.is_set():
            raise Cancelled("Cancelled. The answers are kept; the same audit again writes its report from them.")
        if progress is not None:
            progress(next(done, total), total)

    try:
        _Report(folder, Audit(facts, samples, answers, step)).write()
    except OSError as error:
        raise RecordError(
            f"Could not write the report of {shown(folder.name)}: {error.strerror or type(error).__name__}. Answers "
            "are kept; free some space or check that you may write there, and run the audit again."
        ) from error


class _Report:
    """The report while it is written: `listed` is what the manifest will list."""

    def __init__(self, folder: Path, audit: Audit) -> None:
        self.folder, self.audit = folder, audit
        self.listed: list[dict[str, Any]] = []

    def write(self) -> None:
        """Every file, the manifest last."""
        audit = self.audit
        self._put("predictions.parquet", audit_tables.predictions_parquet(audit))
        self._put("metrics.parquet", audit_tables.scores_parquet(audit))
        self._put("metrics.csv", audit_tables.csv_of(self.folder / "metrics.parquet"))
        self._put("evidence.parquet", audit_tables.verdicts_parquet(audit))
        tables = audit_aggregate.score_tables(self.folder, audit.facts)
        self._put("aggregate.csv", [audit_aggregate.aggregate_csv(tables)])
        maps = self._maps()
        if tables:
            self._put("method_ranking.png", [figures.png(audit_figures.rankings(list(tables.values())))])
        found = numbers_of(Run(self.folder, MappingProxyType(dict(audit.facts))))
        self._put("xai_results.json", [self._results(found, tables)])
        self._put("summary.md", [self._summary(found, tables)])
        durable.replace_file(self.folder / MANIFEST, self._manifest(maps))

    def _put(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write one file, and list it."""
        place, digest, size = self.folder / name, hashlib.sha256(), 0

        def counted() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces:
                digest.update(piece)
                size += len(piece)
                yield piece

        place.parent.mkdir(parents=True, exist_ok=True)
        durable.replace_streamed(place, counted())
        self.listed.append({"name": name, "bytes": size, "sha256": digest.hexdigest()})

    def _maps(self) -> dict[str, dict[str, Files]]:
        """Write arrays and grids; by the names of model and method, where they lie."""
        models, methods = self.audit.names("models"), self.audit.names("methods")
        paths = path_names(methods)
        told = self._predictions()
        return {
            name: {
                method: self._maps_by(model, number, f"{path}/{paths[number]}", told[name])
                for number, method in enumerate(methods)
            }
            for model, (name, path) in enumerate(zip(models, path_names(models), strict=True))
        }

    def _predictions(self) -> dict[str, list[dict[str, Any]]]:
        """By model, the rows of predictions.parquet, short, each with the number of its sample."""
        from pyarrow import parquet

        columns = ["file", "label", "model", "predicted", "confidence", "right"]
        numbers = {sample.case.name: number for number, sample in enumerate(self.audit.samples)}
        told: dict[str, list[dict[str, Any]]] = {name: [] for name in self.audit.names("models")}
        for line in parquet.read_table(self.folder / "predictions.parquet", columns=columns).to_pylist():
            told[line["model"]].append({**line, "sample": numbers[line["file"]]})
        return told

    def _maps_by(self, model: int, method: int, path: str, told: Sequence[Mapping[str, Any]]) -> Files:
        answers, samples = self.audit.answers, [int(line["sample"]) for line in told]
        if all(answers.explanation(sample, model, method) is None for sample in samples):
            for _ in range(len(self.audit.samples) + 1):
                self.audit.step()
            return Files(None, None)
        files = Files(f"arrays/{path}.npy", f"grids/{path}.png")
        self._put(f"arrays/{path}.npy", self._array(model, method, samples))
        self._put(f"grids/{path}.png", [self._grid(model, method, told)])
        return files

    def _array(self, model: int, method: int, samples: Sequence[int]) -> Iterator[bytes]:
        """The pieces of a .npy file: a map per sample, all NaN where there is none."""
        said = self.audit.answers.prediction(samples[0], model)
        assert said is not None  # there is a row of it
        shape = said[1].shape[:2]
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f4", "fortran_order": False, "shape": (len(samples), *shape)}
        )
        yield header.getvalue()
        for sample in samples:
            e = self.audit.answers.explanation(sample, model, method)
            values = np.full(shape, np.nan) if e is None else e.values
            if values.shape != shape:
                raise ValueError(f"a map is {values.shape}, where the model saw {shape}")
            yield values.astype("<f4").tobytes()
            self.audit.step()

    def _grid(self, model: int, method: int, told: Sequence[Mapping[str, Any]]) -> bytes:
        """Wrong ones first, the surest of them first; then the others in their order."""
        wrong = sorted((line for line in told if line["right"] is False), key=lambda line: -(line["confidence"] or 0))
        shown: list[audit_figures.Shown] = []
        for line in [*wrong, *(line for line in told if line["right"] is not False)]:
            e = self._map(line, model, method)
            if e is not None:
                shown.append(audit_figures.Shown(e, line["label"], line["predicted"], line["confidence"]))
            if len(shown) == MOST_SHOWN:
                break
        self.audit.step()
        known = any(line["right"] is not None for line in told)
        about = f"{len(shown)} of {len(told)} pictures, each as the model saw it, its map and both over one another."
        if known:
            about += f" Wrong are {len(wrong)} (✗, true → predicted); they come first, the surest of them first."
        facts = self.audit.facts["models"][model]
        heading = f"{self.audit.names('methods')[method]}  ·  {facts['name']}"
        return figures.png(audit_figures.grid(shown, heading, audit_summary.notice(facts), about))

    def _map(self, line: Mapping[str, Any], model: int, method: int) -> Explanation | None:
        return self.audit.answers.explanation(int(line["sample"]), model, method)

    def _results(self, found: Mapping[str, Any], tables: Mapping[str, ScoreTable]) -> bytes:
        facts = self.audit.facts
        results = {
            "data": _data(facts),
            "target": facts["target"],
            "seed": facts["seed"],
            **found,
            "aggregate": audit_aggregate.aggregate(tables),
        }
        return (json.dumps(results, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()

    def _summary(self, found: Mapping[str, Any], tables: Mapping[str, ScoreTable]) -> bytes:
        names = [str(file["name"]) for file in self.listed]
        written = {name: words for name, words in WORDS.items() if any(one.startswith(name) for one in names)}
        return audit_summary.page(self.audit.facts, found, tables, written, made_with()).encode()

    def _manifest(self, maps: Mapping[str, Mapping[str, Files]]) -> bytes:
        facts = self.audit.facts
        fields = {
            "schema": SCHEMA,
            "kind": AUDIT,
            "id": uuid.uuid4().hex,
            "created": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "started": facts.get("started", ""),
            "ended": facts.get("ended", ""),
            "made_with": made_with(),
            "engine": facts.get("engine", ""),
            "data": _data(facts),
            "models": [{"name": one["name"], "identity": one["identity"]} for one in facts["models"]],
            "methods": [
                {
                    **one,
                    "by_model": {
                        model["name"]: {
                            "fitted": model.get("fitted", {}).get(one["name"]),
                            **maps[model["name"]][one["name"]]._asdict(),
                        }
                        for model in facts["models"]
                    },
                }
                for one in facts["methods"]
            ],
            "metrics": facts["metrics"],
            "target": facts["target"],
            "weigh": facts["weigh"],
            "seeds": {"maps and scores": facts["seed"], "bootstrap": facts["seed"]},
            "store_sha256": facts.get("store_sha256", ""),
            "files": sorted(self.listed, key=lambda file: str(file["name"])),
        }
        return sealed(fields)


def _data(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of the set, but not where it lies: that is nobody's business but this machine's."""
    own = {key: value for key, value in facts["data"].items() if key != "folder"}
    return {"sha256": facts.get("data_sha256", ""), **own}


def path_names(names: Sequence[str]) -> list[str]:
    """What folders and files are called after rows of these names, each one different."""
    taken: list[str] = []
    for name in names:
        plain = re.sub("^[.-]", "_", re.sub("[^a-z0-9_.-]", "_", name)[:LONGEST_NAME]) or "_"
        rivals = (plain if number == 1 else f"{plain}_{number}" for number in range(1, len(names) + 1))
        taken.append(next(rival for rival in rivals if rival not in taken))
    return taken
