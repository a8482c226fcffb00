"""The nouns. Each is frozen, checks itself once at birth, lives on the CPU and can stand alone."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

import numpy as np

if TYPE_CHECKING:
    import torch

# A map whose values differ by less than this is flat: float32 noise, not evidence. Trained networks' maps differ by
# 1e-4 and more; stretching the rest to a picture would show rounding errors as findings.
FLAT_RANGE = 1e-8  # in the map's own units
FLAT_FRACTION = 1e-5  # of its largest value: what rounding leaves of a constant map


MOST_MODELS = 9  # of one record
Task = Literal["single label", "multi label", "regression"]  # what a network's outputs mean
TASKS: tuple[str, ...] = get_args(Task)


def _frozen(array: np.ndarray, dtype: type, shape: str) -> np.ndarray:
    """`array` as a read-only copy, after checking its type and its number of dimensions."""
    if array.dtype != dtype or array.ndim != len(shape.split()):
        raise ValueError(f"expected {np.dtype(dtype)} ({shape}), got {array.dtype} {array.shape}")
    copy = np.array(array, order="C")
    copy.setflags(write=False)
    return copy


def _check_box(box: tuple[float, ...]) -> None:
    left, top, right, bottom = map(float, box)
    if not (np.isfinite([left, top, right, bottom]).all() and left < right and top < bottom):
        raise ValueError(f"{box} is no part of a picture")


@dataclass(frozen=True, eq=False)
class Image:
    """A picture as it is displayed: upright, in colour, eight bits.

    `pixels` (h, w, 3) uint8 RGB. `sha256` of the bytes that were uploaded; of a later frame than the first that of the
    text "<sha256 of the bytes> frame <its number, from 0>": two frames are never taken for each other. `name` as given,
    for the screen only: it is never saved, since it may hold a person's name. `source` says what the file was
    (`format`, `mode`, `bits` per channel, `width`, `height`, for DICOM its geometry, never an identity; where it holds
    several `frames`, also which `frame` this is, and of a later one the `file_sha256`) and under `assumed` which
    sentences were taken for granted while decoding it.
    """

    pixels: np.ndarray
    sha256: str
    name: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _frozen(self.pixels, np.uint8, "h w 3"))
        object.__setattr__(self, "source", MappingProxyType(dict(self.source)))


@dataclass(frozen=True, eq=False)
class Case:
    """One picture of a set, before it is read.

    `name` is where it lies in the set, parts divided by "/". `read` gives the bytes of its file, `read_mask` those of
    the picture that marks its evidence; both raise PictureError. `label` is its true class, None where nobody said.
    `groups` holds the other columns of its row by their names, `line` is the number of that row in labels.csv. `parts`
    give, as `read_mask` does, the bytes of pictures that mark other things, by their names: eyes, mouth, marker.
    """

    name: str
    read: Callable[[], bytes]
    label: str | None = None
    groups: Mapping[str, str] = field(default_factory=dict)
    split: str = ""
    read_mask: Callable[[], bytes] | None = None
    line: int | None = None
    parts: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("groups", "parts"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))


@dataclass(frozen=True)
class Target:
    """Which scalar of the network is explained.

    `logit` is the raw output (the default; of a regression head the value itself), `probability` its softmax over all
    classes, `sigmoid` its own probability in a network whose labels do not exclude one another, `contrast` its logit
    minus that of class `against`, called `against_label`.
    """

    index: int
    label: str
    kind: Literal["logit", "probability", "sigmoid", "contrast"] = "logit"
    against: int | None = None
    against_label: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("logit", "probability", "sigmoid", "contrast"):
            raise ValueError(f"no target is a {self.kind!r}")
        if self.index < 0 or (self.against is not None and self.against < 0):
            raise ValueError("classes are numbered from 0")
        if (self.kind == "contrast") != (self.against is not None):
            raise ValueError("a contrast, and only a contrast, names the class it is against")

    def read(self, logits: torch.Tensor) -> torch.Tensor:
        """(n, classes) logits to this target's (n,) values."""
        if self.kind == "probability":
            return logits.softmax(dim=1)[:, self.index]
        value = logits[:, self.index]
        if self.kind == "sigmoid":
            return value.sigmoid()
        return value if self.against is None else value - logits[:, self.against]

    def __str__(self) -> str:
        if self.kind == "logit":
            return self.label
        if self.against is not None:
            return f"{self.label} against {self.against_label or f'class {self.against}'}"
        return f"probability of {self.label}"


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model says of one picture: `logits` (classes,) float32, its raw outputs."""

    labels: tuple[str, ...]
    logits: np.ndarray
    model: Mapping[str, Any]  # identity, as in Explanation
    image: str  # sha256 of the uploaded bytes

    def __post_init__(self) -> None:
        object.__setattr__(self, "logits", _frozen(self.logits, np.float32, "classes"))
        object.__setattr__(self, "model", MappingProxyType(dict(self.model)))
        if len(self.labels) != len(self.logits):
            raise ValueError(f"{len(self.labels)} labels for {len(self.logits)} outputs")

    @property
    def task(self) -> str:
        """What the outputs mean: classes that exclude one another, labels that do not, or numbers."""
        return str(self.model.get("task", TASKS[0]))

    @property
    def probabilities(self) -> np.ndarray:
        """(classes,) float32: softmax, summing to one, or each label's own sigmoid.

        Raises ValueError for a regression, which has none.
        """
        if self.task == "regression":
            raise ValueError("a regression gives values, not probabilities")
        if self.task == "multi label":
            own: np.ndarray = (1 / (1 + np.exp(-self.logits.astype(np.float64)))).astype(np.float32)
            return own
        powers = np.exp(self.logits.astype(np.float64) - self.logits.max())
        shares: np.ndarray = (powers / powers.sum()).astype(np.float32)
        return shares

    def order(self) -> np.ndarray:
        """(classes,) int: class numbers from the likeliest down; ties in class order."""
        return np.argsort(-self.logits, kind="stable")

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """The `k` likeliest classes with their probabilities; of a regression, the largest outputs themselves."""
        shown = self.logits if self.task == "regression" else self.probabilities
        return [(self.labels[i], float(shown[i])) for i in self.order()[:k]]


@dataclass(frozen=True)
class Passes:
    """How many pictures went through the network: the cost that does not depend on the machine."""

    forward: int = 0
    backward: int = 0

    def __add__(self, other: Passes) -> Passes:
        return Passes(self.forward + other.forward, self.backward + other.backward)

    def __sub__(self, other: Passes) -> Passes:
        return Passes(self.forward - other.forward, self.backward - other.backward)

    def __str__(self) -> str:
        return f"{self.forward} forward, {self.backward} backward"


@dataclass(frozen=True, eq=False)
class Explanation:
    """How much each pixel spoke for the target, according to one method.

    `values` (h, w) float32, raw and signed: above zero speaks for the target. `pixels` (h, w, 3) uint8: exactly the
    crop that the model saw. `method` is the name and every setting, as `METHODS.build` takes it. `model` is the
    identity: name, sha256 of weights and of preprocessing. `grid` (rows, columns) is the map's own resolution
    before it was enlarged to the picture's. `passes` are those that this map rests on, also when others rested on
    them too, so that the record does not depend on its company. `gap` is what a method that promises completeness
    misses it by: |sum of values - (f(x) - f(baseline))| / |f(x) - f(baseline)|; None where nothing is promised. Methods
    that promise conservation are held against f(x), with the share that biases took. `valid` is False where that gap is
    too large for the map to be what it claims. `background` holds the sha256 of the pictures it was compared with.
    `evidence` is False for methods whose values do not speak for or against the target: they say how sensitive it is to
    a pixel, or look at no target at all. `box` (left, top, right, bottom) is where `pixels` lie in the upload, in its
    pixels, edges and not centres, beyond it where a border was added; None in records saved before it was kept.
    """

    values: np.ndarray
    pixels: np.ndarray
    method: Mapping[str, Any]
    model: Mapping[str, Any]
    target: Target
    image: str
    seed: int
    seconds: float
    passes: Passes
    grid: tuple[int, int]
    gap: float | None = None
    valid: bool = True
    evidence: bool = True
    background: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", _frozen(self.values, np.float32, "h w"))
        object.__setattr__(self, "pixels", _frozen(self.pixels, np.uint8, "h w 3"))
        object.__setattr__(self, "method", MappingProxyType(dict(self.method)))
        object.__setattr__(self, "model", MappingProxyType(dict(self.model)))
        if self.values.shape != self.pixels.shape[:2]:
            raise ValueError(f"values are {self.values.shape} but the picture is {self.pixels.shape[:2]}")
        if not np.isfinite(self.values).all():
            raise ValueError(f"{self.method['name']} gave values that are not finite")
        if min(self.grid) < 1:
            raise ValueError(f"no map has {self.grid[0]} rows and {self.grid[1]} columns")
        if self.box is not None:
            _check_box(self.box)

    @property
    def flat(self) -> str | None:
        """Why this map shows nothing, in one sentence, or None if it shows something."""
        return why_flat(self.values)

    @property
    def peak(self) -> tuple[int, int]:
        """(row, column) of the largest value; where several pixels share it, the one nearest to their middle."""
        highest = np.argwhere(self.values == self.values.max())
        row, column = highest[((highest - highest.mean(0)) ** 2).sum(1).argmin()]
        return int(row), int(column)

    @property
    def cell(self) -> float:
        """Size of one cell of the map's own grid, in pixels of the picture: no finer place can be read from it."""
        height, width = self.values.shape
        return float(max(height / self.grid[0], width / self.grid[1]))

    def settings(self) -> dict[str, Any]:
        """The method's settings without its name."""
        return {key: value for key, value in self.method.items() if key != "name"}


class Curve(NamedTuple):
    """What a score is read from: `x` and `y` (points,) float64, with the words for their axes."""

    x: np.ndarray
    y: np.ndarray
    x_label: str
    y_label: str


Better = Literal["higher", "lower", ""]  # nothing where a metric only describes


@dataclass(frozen=True, eq=False)
class Score:
    """What one metric says of one map.

    `value` is None where the metric is undefined, and `why` then says so in one sentence. `null` is what a map that
    knows nothing gets, None where that is not known. `unit` is empty for a pure number. `metric` and `method` are name
    and settings. `details` holds other numbers that belong to the value. `passes` went through the network for all
    maps that were scored together.
    """

    metric: Mapping[str, Any]
    method: Mapping[str, Any]
    target: Target
    image: str
    value: float | None
    better: Better = ""
    null: float | None = None
    unit: str = ""
    why: str = ""
    curve: Curve | None = None
    details: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    passes: Passes = Passes()

    def __post_init__(self) -> None:
        if (self.value is None) != bool(self.why):
            raise ValueError("a score has a value, or says why it has none")
        if self.value is not None and not np.isfinite(self.value):
            raise ValueError(f"{self.metric['name']} gave a value that is not finite")
        for name in ("metric", "method", "details"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))


Verdict = Literal["supported", "weak", "no evidence", "not valid for this model"]


@dataclass(frozen=True)
class Check:
    """One thing that a map was held against.

    `passed` is None where it was not asked, as seeds of a method without chance. `value` and `limit` are the measured
    number and what it had to reach or stay under. `sentence` says it all to someone who has not read the papers.
    """

    name: str
    passed: bool | None
    sentence: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True)
class Evidence:
    """How far one map can be believed, for this model and this picture: a verdict and the checks it rests on."""

    verdict: Verdict
    checks: tuple[Check, ...]
    seed: int = 0
    passes: Passes = Passes()

    @property
    def reasons(self) -> tuple[str, ...]:
        """The sentences of the checks that failed, or, of a supported map, of those it passed."""
        failed = tuple(check.sentence for check in self.checks if check.passed is False)
        return failed or tuple(check.sentence for check in self.checks if check.passed)


def why_flat(values: np.ndarray) -> str | None:
    """Why a (h, w) map shows nothing, in one sentence, or None if it shows something."""
    low, high = float(values.min()), float(values.max())
    largest = max(abs(low), abs(high))
    if largest == 0:
        return "Flat map: every value is zero, so nothing here speaks for or against the target."
    if high - low <= max(FLAT_RANGE, FLAT_FRACTION * largest):
        return f"Flat map: all values lie within {high - low:.1e} of {low:.3g}, which is rounding noise, not a finding."
    return None


@dataclass(frozen=True, eq=False)
class Record:
    """What was asked about one picture and one model, or several to compare, and what came out: saved and reopened.

    `predictions` holds at most one for each model. `display` holds the settings of looking (colour map, opacity, clip).
    `picture` holds the source facts of the upload. `manifest` is empty until the record has been saved; a reopened
    record carries all of it. `evidence` says of every explanation how far it can be believed, None where it was not
    weighed; nothing where none was. `reviewer` is who looked. Two things are kept only where the person chose so: the
    `name` of the upload, and the `upload` itself, its bytes as they came.
    """

    explanations: tuple[Explanation, ...]
    predictions: tuple[Prediction, ...] = ()
    picture: Mapping[str, Any] = field(default_factory=dict)
    display: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    evidence: tuple[Evidence | None, ...] = ()
    reviewer: str = ""
    name: str = ""
    upload: bytes | None = None

    def __post_init__(self) -> None:
        if not any(self.evidence):
            object.__setattr__(self, "evidence", ())
        if self.evidence and len(self.evidence) != len(self.explanations):
            raise ValueError(f"{len(self.evidence)} verdicts for {len(self.explanations)} explanations")
        if not self.explanations:
            raise ValueError("a record needs at least one explanation")
        pictures = {e.image for e in self.explanations} | {one.image for one in self.predictions}
        if len(pictures) > 1:
            raise ValueError("all explanations and predictions of a record are of one picture")
        models, said = self.models, models_of(self.predictions)
        if len(said) < len(self.predictions) or any(model not in models for model in said):
            raise ValueError("a record holds one prediction of each model that it explains")
        for target, said_of_it in ((e.target, self.prediction_of(e.model)) for e in self.explanations):
            if said_of_it is not None and max(target.index, target.against or 0) >= len(said_of_it.labels):
                raise ValueError("a record explains an output that its model has")
        if len(models) > MOST_MODELS:
            raise ValueError(f"a record holds up to {MOST_MODELS} models")
        for model in models:
            seen = [e.pixels for e in self.explanations if e.model == model]
            if not all(np.array_equal(pixels, seen[0]) for pixels in seen):
                raise ValueError("the explanations of one model show different pixels")
        if self.upload is not None and hashlib.sha256(self.upload).hexdigest() != self.file_sha256:
            raise ValueError("the upload is not the picture that was explained")

    @property
    def file_sha256(self) -> str:
        """Of the bytes that were uploaded, also where a later frame of them was explained."""
        return str(self.picture.get("file_sha256", self.explanations[0].image))

    @property
    def models(self) -> tuple[Mapping[str, Any], ...]:
        """The identity of every model, in the order in which explanations name them."""
        return tuple(models_of(self.explanations))

    @property
    def prediction(self) -> Prediction | None:
        """What the first model said of the picture, where it is known."""
        return self.prediction_of(self.models[0])

    def prediction_of(self, model: Mapping[str, Any]) -> Prediction | None:
        """What that model said of the picture, where it is known."""
        return next((one for one in self.predictions if one.model == model), None)


def models_of(records: Iterable[Explanation | Prediction]) -> list[Mapping[str, Any]]:
    """The identity of every model, each once, in the order in which they come."""
    found: list[Mapping[str, Any]] = []
    for one in records:
        if one.model not in found:
            found.append(one.model)
    return found


def plain(record: Any) -> dict[str, Any]:
    """The fields of a small record as plain values that JSON can hold."""
    return {key: value for key, value in asdict(record).items() if value is not None}


def _is_plain(value: Any) -> bool:
    """Whether JSON can hold a cell: no number that is not finite."""
    return value is None or isinstance(value, str) or (isinstance(value, int | float) and bool(np.isfinite(value)))


ProbeKind = Literal["dose", "groups", "shortcut", "background"]
SheetKind = Literal["scores", "decisions"]


@dataclass(frozen=True)
class Table:
    """Rows of plain values under named columns; None where a value is undefined.

    `title` is its heading. `words` holds, in their order, what every column is called on a screen, with its unit.
    """

    title: str
    words: Mapping[str, str]
    rows: tuple[tuple[Any, ...], ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "words", MappingProxyType(dict(self.words)))
        odd = [one for row in self.rows for one in row if not _is_plain(one)]
        if odd:
            raise ValueError(f"{self.title!r} holds {odd[0]!r}, which is no plain value")
        if any(len(row) != len(self.words) for row in self.rows):
            raise ValueError(f"a row of {self.title!r} has not one value for each of {list(self.words)}")

    @classmethod
    def of(cls, title: str, words: Mapping[str, str], lines: Iterable[Mapping[str, Any]]) -> Table:
        """From a mapping per row, which may lack what is undefined in it."""
        return cls(title, words, tuple(tuple(line.get(column) for column in words) for line in lines))

    def lines(self) -> list[dict[str, Any]]:
        """A mapping per row."""
        return [dict(zip(self.words, row, strict=True)) for row in self.rows]


@dataclass(frozen=True, eq=False)
class Frame:
    """One picture of a filmstrip: `pixels` (h, w, 3) uint8 as the model saw it, and `values` (h, w) float32, its map.

    `region` (h, w) bool marks what was covered, planted or taken for the object. `caption` says what it shows. `facts`
    are plain values by name: `dose`, `probability`, `predicted`.
    """

    caption: str
    pixels: np.ndarray
    values: np.ndarray | None = None
    region: np.ndarray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _frozen(self.pixels, np.uint8, "h w 3"))
        if self.values is not None:
            object.__setattr__(self, "values", _frozen(self.values, np.float32, "h w"))
        if self.region is not None:
            object.__setattr__(self, "region", _frozen(self.region, np.bool_, "h w"))
        if any(one is not None and one.shape != self.pixels.shape[:2] for one in (self.values, self.region)):
            raise ValueError("a frame's map and region have the size of its pixels")
        if not all(map(_is_plain, self.facts.values())):
            raise ValueError(f"the facts of frame {self.caption!r} hold what is no plain value")
        object.__setattr__(self, "facts", MappingProxyType(dict(self.facts)))


@dataclass(frozen=True, eq=False)
class Finding:
    """What one probe found of one model: the answer in `sentences`, the numbers that it rests on in `tables`.

    `probe` and each of `methods` are names and settings. `pictures` are the sha256 of those that were asked about, in
    the order of the set; tables number pictures by their place in it, from 1. `left_out` says which were not, and why,
    `notes` what is missing of others. `target` was explained, or where it is None, of each picture the class predicted
    on the original. `passes` went through the network. `manifest` is empty until the finding has been saved. `reviewer`
    is who looked. What else it was asked with: of every picture its true class under `labels`, None where nobody said,
    and under `marks` the sha256 of the masks that marked its evidence and parts, "" where there were none, both empty
    in findings that did not keep it; the `boxes` that a person drew (left, top, right, bottom, in pixels of the
    upload), by the sha256 of the picture; the sha256 of the pictures that maps were compared with, as `background`.
    """

    probe: Mapping[str, Any]
    kind: ProbeKind
    model: Mapping[str, Any]
    methods: tuple[Mapping[str, Any], ...]
    pictures: tuple[str, ...]
    sentences: tuple[str, ...]
    tables: Mapping[str, Table]
    frames: tuple[Frame, ...] = ()
    left_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    target: Target | None = None
    seed: int = 0
    seconds: float = 0.0
    passes: Passes = Passes()
    note: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    reviewer: str = ""
    labels: tuple[str | None, ...] = ()
    marks: tuple[str, ...] = ()
    boxes: Mapping[str, tuple[float, float, float, float]] = field(default_factory=dict)
    background: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("probe", "model", "tables", "manifest", "boxes"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        if not self.sentences:
            raise ValueError("a finding says something")
        if self.kind not in get_args(ProbeKind):
            raise ValueError(f"no probe is of kind {self.kind!r}")
        if any(one and len(one) != len(self.pictures) for one in (self.labels, self.marks)):
            raise ValueError("labels and marks are of each picture")
        for box in self.boxes.values():
            _check_box(box)


@dataclass(frozen=True, eq=False)
class Sheet:
    """Tables that are a record of their own: the scores of maps, or what reviewers decided on the pictures of a run.

    `about` says in plain values what they are of. Where it holds a `title`, a `model` (an identity) or its `models`,
    `methods` (names and settings) or `pictures` (sha256), the list of records shows them and finds by them. `sentences`
    say what the tables come to. `attached` are files made of the same numbers for people and other programs, by name: a
    summary, figures. `manifest` is empty until the sheet has been saved.
    """

    kind: SheetKind
    about: Mapping[str, Any]
    sentences: tuple[str, ...]
    tables: Mapping[str, Table]
    note: str = ""
    reviewer: str = ""
    manifest: Mapping[str, Any] = field(default_factory=dict)
    attached: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("about", "tables", "manifest", "attached"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        if self.kind not in get_args(SheetKind):
            raise ValueError(f"no sheet is of kind {self.kind!r}")
        if not self.tables or not all(re.fullmatch("[a-z][a-z_]{0,39}", name) for name in self.tables):
            raise ValueError("a sheet holds tables whose names are up to 40 small letters and underscores")
