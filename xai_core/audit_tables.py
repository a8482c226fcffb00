"""What a finished audit found, row by row: predictions, scores and verdicts.

Rows are made one picture after the other and written as they come, so that memory does not grow with the set. A number
that is not there is null, never NaN.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from xai_core.classification import right_or_wrong
from xai_core.methods import METHODS
from xai_core.metrics import METRICS
from xai_core.records import Case, Evidence, Explanation, Prediction, Score
from xai_core.score_export import NOT_ASKED
from xai_core.score_table import NO_MAP
from xai_core.scoring import RANDOM
from xai_core.spreadsheet import inert

AT_ONCE = 4096  # rows that are held before they are written
GROUP = "group."  # before the name of a column that the set brought along
Line = dict[str, Any]


class Sample(NamedTuple):
    """One picture of the set that was read and asked about: `picture` is its sha256, `size` its (width, height)."""

    case: Case
    picture: str
    size: tuple[int, int] | None = None


class Answers(Protocol):
    """What an audit found, by the numbers of picture, model, method and metric. None where there is none."""

    def prediction(self, sample: int, model: int, /) -> tuple[Prediction, np.ndarray] | None:
        """With (h, w, 3) uint8, what the model saw."""

    def explanation(self, sample: int, model: int, method: int, /) -> Explanation | None: ...

    def score(self, sample: int, model: int, method: int, metric: int, /) -> Score | None:
        """Without what the random control got."""

    def evidence(self, sample: int, model: int, method: int, /) -> Evidence | None: ...


class Audit(NamedTuple):
    """A finished audit. `facts` are those of its run.json. `step` is called after every piece of work and may raise."""

    facts: Mapping[str, Any]
    samples: Sequence[Sample]
    answers: Answers
    step: Callable[[], None]

    def names(self, of: str) -> list[str]:
        """The row names of models, methods or metrics."""
        return [str(one["name"]) for one in self.facts[of]]

    @property
    def columns(self) -> list[str]:
        """The columns that the set brought along."""
        return [str(column) for column in self.facts["data"]["columns"]]


# ---- rows ------------------------------------------------------------------------------------------------------------
def predictions(audit: Audit) -> Iterator[Line]:
    """A row per picture and model, the models of one picture behind one another; none where a model gave no answer."""
    for number, sample in enumerate(audit.samples):
        for model, name in enumerate(audit.names("models")):
            found = audit.answers.prediction(number, model)
            audit.step()
            if found is None:
                continue
            width, height = sample.size or (None, None)
            yield {
                **_of(sample),
                "split": sample.case.split or None,
                **{f"{GROUP}{column}": sample.case.groups.get(column) for column in audit.columns},
                "model": name,
                **_said(found[0], sample.case.label),
                "width": width,
                "height": height,
            }


def scores(audit: Audit) -> Iterator[Line]:
    """A row per picture, model, method and metric, of every picture and model that `predictions` has a row of."""
    for sample in range(len(audit.samples)):
        for model in range(len(audit.facts["models"])):
            if audit.answers.prediction(sample, model) is not None:
                yield from _scores_of(audit, sample, model)
            audit.step()


def _scores_of(audit: Audit, sample: int, model: int) -> Iterator[Line]:
    """The rows of one picture and model. What the random control got is the null where there is no formula for it."""
    methods = [METHODS[one["method"]["name"]] for one in audit.facts["methods"]]
    metrics = [METRICS[one["metric"]["name"]] for one in audit.facts["metrics"]]
    found = [[audit.answers.score(sample, model, i, j) for j in range(len(metrics))] for i in range(len(methods))]
    random = [own for method, own in zip(methods, found, strict=True) if method.name == RANDOM]
    nulls = [_mean_value([own[j] for own in random]) for j in range(len(metrics))]
    for i, (method, method_name, own) in enumerate(zip(methods, audit.names("methods"), found, strict=True)):
        e = audit.answers.explanation(sample, model, i) if None in own else None
        told = next((str(one.target) for one in (*own, e) if one is not None), None)
        for metric, metric_name, score, null in zip(metrics, audit.names("metrics"), own, nulls, strict=True):
            known = None if score is None else score.null
            yield {
                **_of(audit.samples[sample]),
                "model": audit.names("models")[model],
                "method": method_name,
                "family": method.family,
                "target": told,
                "metric": metric_name,
                "value": None if score is None else score.value,
                "better": metric.better,
                "null": null if known is None and metric.null_from_controls else known,
                "unit": metric.unit,
                "why": (NO_MAP if e is None else NOT_ASKED) if score is None else score.why,
                "seed": None if score is None else score.seed,
            }


def verdicts(audit: Audit) -> Iterator[Line]:
    """A row per picture, model and method that was weighed."""
    for number, sample in enumerate(audit.samples):
        for model, model_name in enumerate(audit.names("models")):
            for method, method_name in enumerate(audit.names("methods")):
                if (found := audit.answers.evidence(number, model, method)) is not None:
                    yield {
                        **_of(sample),
                        "model": model_name,
                        "method": method_name,
                        "verdict": found.verdict,
                        "reasons": "\n".join(found.reasons),
                    }
            audit.step()


def _of(sample: Sample) -> Line:
    return {"file": sample.case.name, "picture": sample.picture, "label": sample.case.label}


def _said(told: Prediction, label: str | None) -> Line:
    """What a model says, and how far that is from `label`. Of one that it does not have it is neither right nor wrong.

    The loss is -ln of the label's probability, from the logits: it stays finite where that rounds to nothing.
    """
    top = int(told.order()[0])
    line: Line = {"predicted": told.labels[top]}
    if told.task == "regression":
        return {**line, **dict.fromkeys(("confidence", "label_probability", "loss", "right", "probabilities"))}
    logits = told.logits.astype(np.float64)
    own = logits[[i for i, one in enumerate(told.labels) if one == label]]
    loss = None
    if own.size:  # classes of one name cannot be told apart by it
        single = told.task == "single label"
        loss = np.logaddexp.reduce(logits) - np.logaddexp.reduce(own) if single else np.logaddexp(0, -own.max())
    return {
        **line,
        "confidence": float(told.probabilities[top]),
        "label_probability": None if loss is None else float(np.exp(-loss)),
        "loss": None if loss is None else float(loss),
        "right": right_or_wrong(label, line["predicted"], told.labels, told.task),
        "probabilities": told.probabilities,
    }


def _mean_value(found: Sequence[Score | None]) -> float | None:
    values = [one.value for one in found if one is not None and one.value is not None]
    return float(np.mean(values)) if values else None


# ---- files -----------------------------------------------------------------------------------------------------------
_TYPES = {
    **dict.fromkeys(("confidence", "label_probability", "loss", "value", "null"), "float64"),
    **dict.fromkeys(("width", "height", "seed"), "int64"),
    "right": "bool",
    "probabilities": "probabilities",
}
_PREDICTIONS = (
    *("model", "predicted", "confidence", "label_probability", "loss", "right", "probabilities", "width", "height"),
)
_SCORES = (
    *("file", "picture", "label", "model", "method", "family", "target", "metric", "value", "better", "null", "unit"),
    *("why", "seed"),
)
_VERDICTS = ("file", "picture", "label", "model", "method", "verdict", "reasons")


def predictions_parquet(audit: Audit) -> Iterator[bytes]:
    """`predictions` as the pieces of a Parquet file."""
    groups = [f"{GROUP}{column}" for column in audit.columns]
    return _parquet(predictions(audit), ("file", "picture", "label", "split", *groups, *_PREDICTIONS))


def scores_parquet(audit: Audit) -> Iterator[bytes]:
    """`scores` as the pieces of a Parquet file."""
    return _parquet(scores(audit), _SCORES)


def verdicts_parquet(audit: Audit) -> Iterator[bytes]:
    """`verdicts` as the pieces of a Parquet file."""
    return _parquet(verdicts(audit), _VERDICTS)


class _Sink:
    """A file to write to, that hands over what has been written to it so far."""

    closed = False

    def __init__(self) -> None:
        self.place, self.kept = 0, io.BytesIO()

    def write(self, data: Any) -> int:
        written = self.kept.write(data)
        self.place += written
        return written

    def tell(self) -> int:
        return self.place

    def flush(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""

    def taken(self) -> bytes:
        content = self.kept.getvalue()
        self.kept = io.BytesIO()
        return content


def _parquet(lines: Iterator[Line], columns: Sequence[str]) -> Iterator[bytes]:
    """The same lines, the same bytes."""
    import pyarrow as pa
    from pyarrow import parquet

    kinds = {
        "string": pa.string(), "float64": pa.float64(), "int64": pa.int64(), "bool": pa.bool_(),
        "probabilities": pa.list_(pa.float32()),
    }  # fmt: skip
    schema = pa.schema([(column, kinds[_TYPES.get(column, "string")]) for column in columns])
    sink = _Sink()
    with parquet.ParquetWriter(sink, schema) as writer:
        while held := list(islice(lines, AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(held, schema))
            yield sink.taken()
    yield sink.taken()


def csv_of(path: Path) -> Iterator[bytes]:
    """A Parquet file as the pieces of a CSV file: what is null is left empty, and no cell starts a formula."""
    from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        out = io.StringIO(newline="")
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(file.schema_arrow.names)
        for batch in file.iter_batches(AT_ONCE):
            writer.writerows([inert(cell) for cell in line.values()] for line in batch.to_pylist())
            yield out.getvalue().encode()
            out.seek(0)
            out.truncate()
        yield out.getvalue().encode()
