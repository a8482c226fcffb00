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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from xai_core import audit_aggregate, audit_figures, audit_summary, audit_tables, durable, figures
from xai_core.audit_tables import Answers, Audit, Sample
from xai_core.classification import numbers_of
from xai_core.errors import Cancelled, RecordError
from xai_core.manifest import manifest_of
from xai_core.provenance import made_with
from xai_core.records import Explanation
from xai_core.runs import Run
from xai_core.score_table import ScoreTable
from xai_core.seal import AUDIT, KINDS, MANIFEST, shown

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


class _Counted:
    """What a file's pieces come to: each goes through here as it is written."""

    def __init__(self) -> None:
        self.digest, self.size = hashlib.sha256(), 0

    def __call__(self, piece: bytes) -> bytes:
        self.digest.update(piece)
        self.size += len(piece)
        return piece


class _Report:
    """The report while it is written: `listed` is what the manifest will list."""

    def __init__(self, folder: Path, audit: Audit) -> None:
        self.folder, self.audit = folder, audit
        self.listed: list[dict[str, Any]] = []

    def write(self) -> None:
        """Every file, the manifest last."""
        audit = self.audit
        durable.remove_file(self.folder / MANIFEST)  # it would describe files that are about to be replaced
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
        self._remove_earlier()

    def _remove_earlier(self) -> None:
        """Remove what only an earlier report wrote: files of the names that an audit has, and folders left empty."""
        listed = {str(file["name"]) for file in self.listed}
        kinds = _folders(self.folder, ("arrays", "grids"))
        inner = [one for kind in kinds for one in _folders(kind, [entry.name for entry in kind.iterdir()])]
        for folder in (self.folder, *inner):
            for file in folder.iterdir():
                name = file.relative_to(self.folder).as_posix()
                ours = KINDS[AUDIT].names.fullmatch(name) and file.is_file() and not file.is_symlink()
                if ours and name not in listed:
                    durable.remove_file(file)
        for folder in (*inner, *kinds):
            with suppress(OSError):  # it holds something
                folder.rmdir()

    def _put(self, name: str, pieces: Iterable[bytes]) -> None:
        """Write one file, and list it."""
        counted = _Counted()
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        durable.replace_streamed(self.folder / name, map(counted, pieces))
        self._list(name, counted)

    def _put_together(self, pieces: Iterable[tuple[str, bytes]]) -> None:
        """Write several files from their pieces, each with the name of its file, and list them."""
        counted = dict[str, _Counted]()

        def placed() -> Iterator[tuple[Path, bytes]]:
            for name, piece in pieces:
                if name not in counted:
                    counted[name] = _Counted()
                    (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                yield self.folder / name, counted[name](piece)

        durable.replace_together(placed())
        for name, own in counted.items():
            self._list(name, own)

    def _list(self, name: str, counted: _Counted) -> None:
        self.listed.append({"name": name, "bytes": counted.size, "sha256": counted.digest.hexdigest()})

    def _maps(self) -> dict[str, dict[str, Files]]:
        """Write arrays and grids; by the names of model and method, where they lie."""
        methods = self.audit.names("methods")
        paths, told = path_names(methods), self._predictions()
        files = dict[str, dict[str, Files]]()
        for model, (name, path) in enumerate(zip(told, path_names(list(told)), strict=True)):
            arrays = [f"arrays/{path}/{own}.npy" for own in paths]
            self._put_together(self._arrays(model, [int(line["sample"]) for line in told[name]], arrays))
            written = {str(file["name"]) for file in self.listed}
            files[name] = dict.fromkeys(methods, Files(None, None))
            for number, (method, array) in enumerate(zip(methods, arrays, strict=True)):
                if array in written:
                    files[name][method] = Files(array, f"grids/{path}/{paths[number]}.png")
                    self._put(f"grids/{path}/{paths[number]}.png", [self._grid(model, number, told[name])])
        return files

    def _predictions(self) -> dict[str, list[dict[str, Any]]]:
        """By model, the rows of predictions.parquet, short, each with the number of its sample."""
        from pyarrow import parquet

        columns = ["file", "label", "model", "predicted", "confidence", "right"]
        numbers = {sample.case.name: number for number, sample in enumerate(self.audit.samples)}
        told: dict[str, list[dict[str, Any]]] = {name: [] for name in self.audit.names("models")}
        for line in parquet.read_table(self.folder / "predictions.parquet", columns=columns).to_pylist():
            told[line["model"]].append({**line, "sample": numbers[line["file"]]})
        return told

    def _arrays(self, model: int, samples: Sequence[int], names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The pieces of a .npy file per method, each with its name: a map per sample, all NaN where there is none.

        A method without any map has no file. All methods of a picture come together, so that it is asked about once.
        """
        if not samples:
            return
        said = self.audit.answers.prediction(samples[0], model)
        assert said is not None  # there is a row of it
        shape, begun = said[1].shape[:2], set[str]()
        no_map = np.full(shape, np.nan, "<f4").tobytes()
        for row, sample in enumerate(samples):
            for method, name in enumerate(names):
                e = self.audit.answers.explanation(sample, model, method)
                if e is not None and name not in begun:
                    begun.add(name)
                    yield name, _header((len(samples), *shape))
                    yield from ((name, no_map) for _ in range(row))
                if e is not None and e.values.shape != shape:
                    raise ValueError(f"a map is {e.values.shape}, where the model saw {shape}")
                if name in begun:
                    yield name, no_map if e is None else e.values.astype("<f4").tobytes()
                self.audit.step()

    def _grid(self, model: int, method: int, told: Sequence[Mapping[str, Any]]) -> bytes:
        """Wrong ones first, the surest of them first; then the others in their order."""
        wrong = sorted((line for line in told if line["right"] is False), key=lambda line: -(line["confidence"] or 0))
        shown: list[audit_figures.Shown] = []
        for line in [*wrong, *(line for line in told if line["right"] is not False)]:
            e = self._map(line, model, method)
            if e is not None:
                shown.append(
                    audit_figures.Shown(e, *(line[key] for key in ("label", "predicted", "confidence", "right")))
                )
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
        return audit_summary.page(
            self.audit.facts, len(self.audit.samples), found, tables, written, made_with()
        ).encode()

    def _manifest(self, maps: Mapping[str, Mapping[str, Files]]) -> bytes:
        facts = self.audit.facts
        fields = {
            "started": facts.get("started", ""),
            "ended": facts.get("ended", ""),
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
        }
        return manifest_of(AUDIT, fields, self.listed)


def _folders(folder: Path, names: Iterable[str]) -> list[Path]:
    """Those of these names that are folders in `folder`, and no links to some."""
    return [one for name in names if (one := folder / name).is_dir() and not one.is_symlink()]


def _header(shape: tuple[int, ...]) -> bytes:
    """What a .npy file of float32 of this shape begins with."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return header.getvalue()


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
