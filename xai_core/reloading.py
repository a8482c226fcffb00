"""What a record was made of, had again: its model by the hash of its weights, its pictures by that of their bytes."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from xai_core.errors import AuditError, Cancelled, ModelError, PictureError, RecordError
from xai_core.records import Case, Image
from xai_core.seal import shown

if TYPE_CHECKING:
    from xai_core.cases import CaseSet
    from xai_core.models import Model
    from xai_core.verification import Part

RANDOM = re.compile(r"drawn at random, seed (\d{1,10})", re.ASCII)
CHECKPOINT = "a checkpoint"  # how the origin of such weights begins
CHECKED = {"weights_sha256": "weights", "preprocessing_sha256": "preprocessing", "task": "task"}


class NotHere(RecordError):
    """What a record was made of is not here: its sentence says what, and whoever asks how `part` can be given."""

    def __init__(self, part: Part, sentence: str) -> None:
        super().__init__(sentence)
        self.part = part


class Models:
    """Networks by the identity that a record says. `given` are at hand; the others are loaded when they are asked for.

    `checkpoints` are files of weights, `labels` a text file of labels, where the record does not hold them.
    `labels_are_claimed` says of the last network that its classes are called as the record says, and by nobody else.
    """

    def __init__(
        self,
        given: Sequence[Model] = (),
        checkpoints: Sequence[str | Path] = (),
        labels: str | Path | None = None,
        device: str | None = None,
    ) -> None:
        self.given, self.checkpoints, self.device = given, checkpoints, device
        self.labels, self.labels_are_claimed = labels, False
        self._last: tuple[Mapping[str, Any], Model] | None = None

    def like(self, identity: Mapping[str, Any], labels: Sequence[str] | None = None, *, named: bool = False) -> Model:
        """The network that a record says, with the same weights and the same preprocessing.

        `labels` are those that are written elsewhere; where they do not have the hash that the record says, they are
        not used. `named` says that the answers hold labels, so that they must be the same too. Raises NotHere or
        ModelError where it cannot be had here, and where something by its name is something else.
        """
        if self._last is not None and self._last[0] == identity:
            model = self._last[1]
        else:
            self._last, self.labels_are_claimed = None, False  # before another is loaded
            model = self._given(identity) or self._loaded(identity, labels)
            self._last = identity, model
        if named and identity.get("labels_sha256") not in (None, model.identity["labels_sha256"]):
            raise NotHere(
                "labels",
                f"The labels of {_called(identity)} here are not those of the record, whose hash is "
                f"{_short(identity['labels_sha256'])}.",
            )
        return model

    def _given(self, identity: Mapping[str, Any]) -> Model | None:
        return next((one for one in self.given if not _unlike(one, identity)), None)

    def _loaded(self, identity: Mapping[str, Any], labels: Sequence[str] | None) -> Model:
        """By its name, then from each file of weights; the first that is the one."""
        others: list[Model] = []
        problems: list[AuditError] = []
        for load in self._ways(identity, labels):
            try:
                model = load()
            except AuditError as error:  # of several files, one may be of another network
                problems.append(error)
                continue
            if not _unlike(model, identity):
                return model
            others = others or [model]
        if others:
            _refuse(others[0], identity)
        if problems:
            raise problems[0]
        if str(identity.get("weights", "")).startswith(CHECKPOINT):
            raise NotHere(
                "weights",
                f"The weights of {_called(identity)}, whose hash is {_short(identity.get('weights_sha256'))}, came "
                "from a file that is not here.",
            )
        raise NotHere(
            "weights",
            f"The model {_called(identity)} is not here: it is neither a demo model nor one of timm's, nor one that "
            "was added here.",
        )

    def _ways(self, identity: Mapping[str, Any], labels: Sequence[str] | None) -> Iterator[Callable[[], Model]]:
        """How it may be had. A name from a record is never a path or an address."""
        from xai_core.loading import demo_models, is_safe_name, load_model
        from xai_core.own_models import own_models

        name, device = str(identity.get("name", "")), self._device(identity)
        architecture, origin = str(identity.get("architecture", "")), str(identity.get("weights", ""))
        if not is_safe_name(architecture):
            architecture = ""
        if is_safe_name(name) and (name in demo_models() or name in own_models()):
            yield partial(load_model, name, device=device)
            return
        how: dict[str, Any] = {"task": identity.get("task"), "device": device, "labels": self._labels(identity, labels)}
        if drawn := RANDOM.fullmatch(origin):
            how |= {"pretrained": False, "seed": int(drawn[1])}
        if architecture and not origin.startswith(CHECKPOINT):
            yield partial(load_model, architecture, **how)
        for file in self.checkpoints:
            yield partial(load_model, architecture, checkpoint=file, **{**how, "pretrained": True, "seed": 0})

    def _labels(self, identity: Mapping[str, Any], labels: Sequence[str] | None) -> list[str] | None:
        """What is given with the weights. Where none are known by their hash, the number of outputs is all that is."""
        from xai_core.loading import labels_in

        if self.labels is not None:
            try:
                return labels_in(Path(self.labels).read_bytes(), str(self.labels))
            except OSError as error:
                raise ModelError(f"The labels file {self.labels} cannot be read ({error.strerror}).") from error
        known = identity.get("labels_sha256")
        if labels is not None and known in (None, hashlib.sha256("\n".join(labels).encode()).hexdigest()):
            self.labels_are_claimed = True
            return list(labels)
        count = identity.get("classes")
        if identity.get("labels_from") == "given" and type(count) is int and 0 < count < 100_000:
            return [f"class {number}" for number in range(count)]
        return None

    def _device(self, identity: Mapping[str, Any]) -> str | None:
        """That of the record where this machine has one, since only there the bytes are the same."""
        from xai_core.devices import usable_device
        from xai_core.errors import SettingError

        if self.device is not None:
            return self.device
        before = str(identity.get("device", "")).partition(":")[0]
        try:
            return usable_device(before).type
        except SettingError:
            return None


def _refuse(model: Model, identity: Mapping[str, Any]) -> NoReturn:
    """Raise NotHere for another model than the record's, with both hashes."""
    field, (before, here) = next(iter(_unlike(model, identity).items()))
    word = CHECKED[field]
    raise NotHere(
        "weights",
        f"The {word} of {_called(identity)} here ({_short(here)}) {'are' if word[-1] == 's' else 'is'} not what the "
        f"record says ({_short(before)}), so nothing was recomputed with it.",
    )


def _unlike(model: Model, identity: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What decides on answers and is not the same. The layers' spelling is torch's, and another version has its own."""
    pairs = {field: (identity.get(field), model.identity[field]) for field in CHECKED}
    return {field: (before, here) for field, (before, here) in pairs.items() if before != here}


def _called(identity: Mapping[str, Any]) -> str:
    return shown(str(identity.get("name", "")))


def _short(digest: Any) -> str:
    """The beginning of a hash, which is enough to tell two of them apart."""
    return shown(str(digest))[:12]


class Pictures:
    """Pictures by the sha256 of their bytes: an upload that a record kept, one file, a set, the samples of the project.

    `image` is a file or its bytes, `data` what `read_cases` takes or gives. Each is read only when it is its turn.
    """

    def __init__(
        self,
        image: str | Path | bytes | None = None,
        data: str | Path | CaseSet | None = None,
        cancel: threading.Event | None = None,
    ) -> None:
        self._image, self._data, self._cancel = image, data, cancel
        self._kept: bytes | None = None
        self._found: dict[str, Case] = {}
        self._unread: Iterator[Case] | None = None

    def keep(self, upload: bytes | None) -> None:
        """Look first at the upload that the record kept."""
        self._kept = upload

    def find(self, wanted: Iterable[str]) -> dict[str, Case]:
        """Those of these hashes that are here. Looks no further than until all are found."""
        asked = set(wanted)
        if self._unread is None:
            self._unread = self._every()
        while asked - self._found.keys() and (case := next(self._unread, None)) is not None:
            if self._cancel is not None and self._cancel.is_set():
                raise Cancelled("Cancelled. Nothing was written.")
            try:
                self._found.setdefault(hashlib.sha256(case.read()).hexdigest(), case)
            except PictureError:
                continue  # it is not the one that is looked for, whatever it is
        return {one: self._found[one] for one in asked if one in self._found}

    def image(self, sha256: str, file_sha256: str = "", frame: int = 0) -> Image:
        """A picture; a later frame than the first by the hash of its file. Raises NotHere, or PictureError."""
        from xai_core.images import read_image

        file = file_sha256 or sha256
        case = self.find([file]).get(file)
        if case is None:
            raise NotHere("picture", f"The picture with sha256 {file[:12]} is not here{self._looked_at()}.")
        image = read_image(case.read(), "The picture", frame)
        if image.sha256 != sha256:
            raise PictureError(f"Frame {frame} of picture {file[:12]} is not the one that was explained.")
        return image

    def _looked_at(self) -> str:
        if self._image is not None:
            content = self._image if isinstance(self._image, bytes) else _read(Path(self._image))
            return f": the one that was given has {hashlib.sha256(content).hexdigest()[:12]}"
        return ": no picture of the set that was given has it" if self.cases else ""

    @property
    def cases(self) -> Sequence[Case]:
        """The set that was given, in its order; nothing where none was."""
        return () if self._data is None else self._set.cases

    @property
    def _set(self) -> CaseSet:
        from xai_core.cases import read_cases

        if isinstance(self._data, str | Path):
            self._data = read_cases(self._data)
        assert self._data is not None
        return self._data

    def _every(self) -> Iterator[Case]:
        from xai_core.cases import TABLE, read_cases
        from xai_core.loading import ASSETS

        if self._kept is not None:
            yield Case("", _given(self._kept))
        if isinstance(self._image, bytes):
            yield Case("", _given(self._image))
        elif self._image is not None:
            path = Path(self._image)
            beside = read_cases(path.parent).cases if (path.parent / TABLE).is_file() else ()
            alone = Case(path.name, _given(_read(path)))
            yield next((case for case in beside if case.name == path.name), alone)
        yield from self.cases
        if (ASSETS / "samples").is_dir():
            yield from read_cases(ASSETS / "samples").cases


def _given(content: bytes) -> Callable[[], bytes]:
    return lambda: content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"{path} cannot be read: {error.strerror}. Name a picture.") from error
