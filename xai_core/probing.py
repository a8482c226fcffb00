"""The verb `probe`: pictures are read one at a time and put to a model as a probe wants; what it finds is a Finding."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from xai_core.cases import CaseSet, read_cases, unknown_labels
from xai_core.errors import AuditError, PictureError, SettingError, UnsupportedError
from xai_core.images import read_image
from xai_core.methods import METHODS, Method
from xai_core.models import Model
from xai_core.pipeline import SEEDS, MethodSpec, TargetSpec, cost_of, explain_many, resolve_target
from xai_core.probes import PROBES, Box, Found, Look, Probe, Subject
from xai_core.records import TASKS, Case, Explanation, Finding, Image, Prediction, Target
from xai_core.truth import fitted_mask

if TYPE_CHECKING:
    from xai_core.unit_store import UnitStore

ProbeSpec = str | Mapping[str, Any] | Probe
Pictures = CaseSet | str | Path | Image | Subject | Sequence[Image | Subject | Case]
Progress = Callable[[int, int], None]
NAME = "It"  # what a picture is called in sentences that begin with its number


def probe(
    model: Model,
    cases: Pictures,
    probe: ProbeSpec,
    method: MethodSpec | Sequence[MethodSpec] | None = "grad_cam",
    *,
    target: TargetSpec = None,
    seed: int = 0,
    boxes: Mapping[str, Box] | None = None,
    background_images: Sequence[Image] = (),
    store: UnitStore | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    **settings: Any,
) -> Finding:
    """What `model` leans on, asked of `cases` by `probe`; `settings` are those of the probe.

    `cases` is a set (its folder or zip, or what `read_cases` gives), or pictures. Maps are made by `method`, which may
    be several, or None to ask about predictions alone. `target` None explains, of each picture, the class predicted on
    the original. `boxes` were drawn by a person, by the sha256 of their picture, in its pixels. `store` may know
    answers about originals: it is read, never written. `progress` is told (pictures through the network, about how many
    in all). Raises SettingError where the probe cannot be asked of these pictures, UnsupportedError where a method says
    nothing about this network, Cancelled once `cancel` is set.
    """
    chosen = PROBES.build({**PROBES.build(probe).to_dict(), **settings} if settings else probe)
    if not 0 <= seed < SEEDS:
        raise SettingError(f"Seed {seed} is not allowed. Choose one from 0 to {SEEDS - 1}.")
    methods = _methods(model, method)
    given = _given(cases)
    if len(given) < chosen.fewest:
        raise SettingError(
            f"{chosen.label} compares pictures: it needs {chosen.fewest} or more, and was given {len(given)}. "
            "Give a set."
        )
    total = cost(model, chosen, methods, len(given))
    door = model.asked(
        progress=None if progress is None else lambda sent: progress(sent, max(sent, total)), cancel=cancel, open=True
    )
    start = time.perf_counter()
    asking = _Asking(door, methods, _target(model, target), seed, given, boxes or {}, background_images, store, cancel)
    found = _found(chosen, asking)
    pictures = tuple(asking.read.values()) if found.pictures is None else tuple(found.pictures)
    beside = [asking.beside[picture] for picture in pictures]
    compared = any(one.to_dict().get("background") == "pictures" for one in methods)
    return Finding(
        probe=chosen.to_dict(),
        kind=chosen.kind,
        model=model.identity,
        methods=tuple(one.to_dict() for one in methods),
        pictures=pictures,
        sentences=tuple(found.sentences),
        tables=found.tables,
        frames=tuple(found.frames),
        left_out=tuple(asking.left),
        notes=tuple(asking.noted),
        target=asking.target,
        seed=seed,
        seconds=time.perf_counter() - start,
        passes=door.sent,
        labels=tuple(one.label for one in beside),
        marks=tuple(one.marks for one in beside),
        boxes={picture: one.box for picture, one in zip(pictures, beside, strict=True) if one.box is not None},
        background=tuple(one.sha256 for one in background_images) if compared else (),
    )


def _found(chosen: Probe, asking: _Asking) -> Found:
    """What the probe finds. Where no picture can be asked about, the mistake says why the first one cannot."""
    try:
        return chosen.find(asking)
    except SettingError as error:
        numbers = {sentence.partition(":")[0] for sentence in asking.left}
        first = next(iter(asking.left), "")
        if len(numbers) < len(asking.given) or first.partition(": ")[2] in str(error):
            raise
        raise SettingError(f"{error} {first}") from None


def cost(model: Model, chosen: Probe, methods: Sequence[Method], pictures: int) -> int:
    """About how many pictures go through the network."""
    return chosen.cost(pictures, cost_of(model, methods) if methods else 1)


def said_of_labels(model: Model, cases: CaseSet) -> list[str]:
    """What is to be said of labels that the model does not have. Probes are asked all the same: most need none."""
    if model.identity["task"] != TASKS[0]:
        return []
    try:
        return unknown_labels(cases, model.labels, model.name)
    except SettingError as error:
        return [f"{error} What is probed all the same is what it predicts, right or wrong."]


def named(sentence: str, names: Sequence[str]) -> str:
    """A sentence of `Finding.left_out` or `.notes` with the picture's name, which is for the screen and never saved."""

    def with_name(match: re.Match[str]) -> str:
        number = int(match[1])
        return f"{match[0]} ({names[number - 1]})" if 0 < number <= len(names) and names[number - 1] else match[0]

    return re.sub(r"^Picture (\d{1,9})(?=:| is)", with_name, sentence)


def _methods(model: Model, method: MethodSpec | Sequence[MethodSpec] | None) -> tuple[Method, ...]:
    """The methods, fitted to the model. Raises UnsupportedError for one that says nothing about it."""
    specs = [] if method is None else [method] if isinstance(method, str | Mapping | Method) else list(method)
    built = [METHODS.build(spec) for spec in specs]
    for one in built:
        if reason := one.why_not(model):
            raise UnsupportedError(reason)
    return tuple(dict.fromkeys(one.fitted(model) for one in built))


def _target(model: Model, wanted: TargetSpec) -> Target | None:
    if wanted is None:
        return None
    unsaid = Prediction(model.labels, np.zeros(len(model.labels), np.float32), model.identity, "")
    return resolve_target(wanted, unsaid)


@dataclass(frozen=True)
class _Given:
    """A picture of the set: as a case that is still to be read, or read already."""

    case: Case
    subject: Subject | None = None


def _given(cases: Pictures) -> list[_Given]:
    if isinstance(cases, str | Path):
        cases = read_cases(cases)
    if isinstance(cases, CaseSet):
        return [_Given(case) for case in cases.cases]
    if isinstance(cases, Image | Subject):
        cases = [cases]
    given = []
    for number, one in enumerate(cases, 1):
        if isinstance(one, Case):
            given.append(_Given(one))
            continue
        subject = Subject(number, one) if isinstance(one, Image) else one
        read = _unread if subject.mask is None else None
        case = Case(subject.image.name, _unread, subject.label, subject.groups, read_mask=None if read else _unread)
        given.append(_Given(case, subject))
    if not given:
        raise SettingError("No picture was given. Give some.")
    return given


class _Beside(NamedTuple):
    """What was known of a picture beside its pixels, as a finding keeps it."""

    label: str | None
    marks: str
    box: Box | None

    @classmethod
    def of(cls, subject: Subject) -> _Beside:
        masks = {**subject.parts, **({} if subject.mask is None else {"": subject.mask})}
        digest = hashlib.sha256()
        for name, mask in sorted(masks.items()):
            digest.update(json.dumps([name, *mask.shape]).encode() + np.packbits(mask).tobytes())
        return cls(subject.label, digest.hexdigest() if masks else "", subject.box)


def _unread() -> bytes:
    raise PictureError("This picture was given as pixels, not as a file.")


def _bytes(case: Case, read: Callable[[], bytes]) -> bytes:
    """Of a file. Raises PictureError, without the file's name."""
    try:
        return read()
    except PictureError as error:
        names = {case.name, case.name.rpartition("/")[2]}
        called = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name)
        raise PictureError(re.sub(rf"(?<!\w)(?:{called})(?!\w)", NAME, str(error)) if called else str(error)) from None


@dataclass
class _Asking:
    """What a probe may ask: `xai_core.probes.Asking`.

    `left` is why pictures are left out, `noted` what is missing of others. The name of a file may be a person's, and
    findings are saved: numbers stand for pictures.
    """

    model: Model
    methods: tuple[Method, ...]
    target: Target | None
    seed: int
    given: Sequence[_Given]
    boxes: Mapping[str, Box]
    background: Sequence[Image]
    store: UnitStore | None
    cancel: threading.Event | None
    left: dict[str, None] = field(default_factory=dict)
    noted: dict[str, None] = field(default_factory=dict)
    read: dict[int, str] = field(default_factory=dict)  # sha256 of the pictures that could be read, by their number
    beside: dict[str, _Beside] = field(default_factory=dict)  # by the sha256 of the picture

    @property
    def cases(self) -> Sequence[Case]:
        return [one.case for one in self.given]

    def subjects(self) -> Iterator[Subject]:
        for number, one in enumerate(self.given, 1):
            self.model.stop_if_cancelled()
            try:
                subject = self._subject(number, one)
                self._check_new(subject)
            except PictureError as error:
                self.left[f"Picture {number}: {error}"] = None
                continue
            self.read[number] = subject.image.sha256
            self.beside[subject.image.sha256] = _Beside.of(subject)
            yield subject

    def look(self, images: Sequence[Image], target: Target | None = None, *, maps: bool = True) -> list[Look]:
        methods = list(self.methods) if maps else []
        said: dict[int, Prediction] = {}
        made: list[list[Explanation | None]] = [[None] * len(methods) for _ in images]

        def keep(image: int, method: int, explanation: Explanation) -> None:
            made[image][method] = explanation

        explain_many(
            self.model,
            images,
            methods,
            [target] * len(images),
            seed=self.seed,
            background_images=self.background,
            cancel=self.cancel,
            each=keep,
            failed=lambda _, number, error: self._missed(methods[number], error),
            said=said.__setitem__,
        )
        return [Look(said[i], tuple(found)) for i, found in enumerate(made)]

    def original(self, subject: Subject, *, maps: bool = True) -> Look:
        if (known := self._known(subject, maps)) is not None:
            return known
        [look] = self.look([subject.image], self.target, maps=maps)
        return look

    def random(self, subject: Subject | None = None) -> np.random.Generator:
        own = [] if subject is None else [int(hashlib.sha256(subject.image.sha256.encode()).hexdigest()[:15], 16)]
        return np.random.default_rng([self.seed, *own])

    def leave_out(self, subject: Subject, why: str) -> None:
        self.left[f"Picture {subject.number}: {why}"] = None
        self.read.pop(subject.number, None)

    def _missed(self, method: Method, error: AuditError) -> None:
        self.noted[f"{method.label} made no map of some pictures: {error}"] = None

    def _check_new(self, subject: Subject) -> None:
        """Raise PictureError for a picture that was asked about before: it would count twice."""
        same = [number for number, sha256 in self.read.items() if sha256 == subject.image.sha256]
        if same and min(same) < subject.number:
            raise PictureError(f"It is the same as picture {min(same)}, and counts once.")

    def _subject(self, number: int, one: _Given) -> Subject:
        """Read. A mask that cannot be had is said, and its picture stays. Raises PictureError for the picture."""
        if one.subject is not None:
            image = replace(one.subject.image, name=NAME)
            return replace(one.subject, number=number, image=image, box=self.boxes.get(image.sha256, one.subject.box))
        case = one.case
        image = read_image(_bytes(case, case.read), NAME)
        masks = {"": case.read_mask, **case.parts}
        found: dict[str, np.ndarray] = {}
        for name, read in masks.items():
            if read is None:
                continue
            try:
                mask = replace(read_image(_bytes(case, read), "Its mask"), name="")
                found[name] = fitted_mask(mask, image).pixels[..., 0] > 127
            except PictureError as error:
                called = f"mask of its {name}" if name else "mask"
                self.noted[f"Picture {number} is asked about without the {called}. {error}"] = None
        own = found.pop("", None)
        return Subject(number, image, case.label, case.groups, mask=own, parts=found, box=self.boxes.get(image.sha256))

    def _known(self, subject: Subject, maps: bool) -> Look | None:
        """What the store knows of an original: all that is asked, or nothing."""
        from xai_core import units

        if self.store is None or (self.target is not None and self.target.kind != "logit"):
            return None
        picture, identity = subject.image.sha256, self.model.identity
        prediction_key = units.prediction_key(picture, identity)
        behind = [one.sha256 for one in self.background if one.sha256 != picture]
        unit = self.store.get([prediction_key]).get(prediction_key)
        if unit is None:
            return None
        prediction, seen = units.to_prediction(unit, identity), unit.arrays["seen"]
        predicted = int(prediction.order()[0])
        asked = None if self.target is None or self.target.index == predicted else self.target
        keys = [
            units.map_key(picture, identity, method.to_dict(), units.rule_of(asked), self.seed, behind)
            for method in (self.methods if maps else ())
        ]
        found = self.store.get(keys) if keys else {}
        if any(key not in found or units.refusal(found[key]) for key in keys):
            return None  # why a map was refused is to be said, so it is asked again
        return Look(prediction, tuple(units.to_explanation(found[key], identity, seen) for key in keys))
