"""A record to a folder and back.

    manifest.json                what was asked, what came out, with what, and the size and hash of every other file
    seen.png                     the picture as the model saw it, lossless; seen_2.png … as other models saw it
    01_<method>.npy              the map's raw float32 values; .heatmap.png, .overlay.png and .figure.png beside it
    sheet.png                    all maps on one page, if there are several of one model
    comparison.png               the maps of several models on one page, and difference.png where the first two differ

    picture.<png, jpg, …>        the picture as it was uploaded, where whoever saved it chose so

Of what a probe found, in place of all but the first:

    finding.json                 the finding without pixels; <table>.csv each of its tables for a spreadsheet
    frame_01.png                 a frame of its filmstrip as the model saw it; .npy its map, .region.png what it marks
    chart….png, filmstrip.png    what to look at

Of tables: sheet.json, and <table>.csv each of them for a spreadsheet. Of scores also what is made of them:

    summary.md                   a page to read first; ranking.png and agreement.png its figures
    scores.json, scores.parquet  the same numbers for other programs

A record is written into a draft beside its place, each file flushed to the disk, the manifest last, and the draft
then takes its name in one step. So a folder that has the name is whole, whenever the power fails.
"""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from xai_core import chain, durable, figures, finding_files, sheet_files
from xai_core.errors import RecordError, SettingError
from xai_core.images import ending_of
from xai_core.provenance import VERSION, made_with
from xai_core.records import Explanation, Finding, Prediction, Record, Sheet, plain
from xai_core.seal import ENTRIES_LIMIT, MANIFEST, MANIFEST_LIMIT, PICTURE, PROBE, SCHEMA, shown
from xai_core.signing import signed, signing_key
from xai_core.store import Entry, list_records, open_record, zip_record
from xai_core.verification import FileReport, Report, verify

__all__ = [
    "VERSION",
    "Entry",
    "FileReport",
    "Report",
    "check_place",
    "list_records",
    "open_record",
    "save",
    "save_files",
    "verify",
    "zip_record",
]

LOOKS: Mapping[str, Any] = {"colour_map": None, "opacity": 0.5, "clip": 99.5, "shared_scale": False}


def save(
    record: Record | Finding | Sheet | Explanation | Sequence[Explanation],
    folder: str | Path,
    prediction: Prediction | None = None,
) -> Path:
    """Write a record, what a probe found, tables, or explanations with what was predicted, as `folder`, whole or not.

    It continues the chain of the records that lie beside it, one saver at a time, and is signed where a key is named.
    `folder` must not exist or be empty, and its parent must exist. Raises RecordError when it cannot be written,
    SettingError for a display setting that is not on offer or a key that is none. Nothing stays behind then: from the
    moment that it has its name, others may continue the record, and nothing takes it back.
    """
    folder = Path(folder)
    if isinstance(record, Finding):
        files, kind, fields = finding_files.files_of(record), PROBE, finding_files.fields_of(record)
    elif isinstance(record, Sheet):
        files, kind, fields = sheet_files.files_of(record), str(record.kind), sheet_files.fields_of(record)
    else:
        whole = _record(record, prediction)
        files, kind, fields = _files(whole), _kind(whole), _fields(whole)
    with ExitStack() as turn:  # taken when all is drawn, given back when the record has its name
        return _placed(folder, _sealed(files, kind, fields, folder, turn))


def save_files(files: Mapping[str, bytes], folder: str | Path) -> Path:
    """Write files of these names as `folder`, whole or not at all, where no record is meant. As `save`."""
    return _placed(Path(folder), iter(files.items()))


def _placed(folder: Path, files: Iterator[tuple[str, bytes]]) -> Path:
    check_place(folder)
    try:
        durable.write_folder(folder, files)
    except OSError as error:
        _refuse(folder, error)
    return folder


def _sealed(
    files: Iterator[tuple[str, bytes]], kind: str, fields: Mapping[str, Any], folder: Path, turn: ExitStack
) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file of a record, the manifest last."""
    listed = []
    for name, data in files:
        yield name, data
        listed.append({"name": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    last = turn.enter_context(chain.joined(Path(os.path.abspath(folder)).parent))
    try:
        content = manifest_of(kind, {**fields, "chain": chain.following(last)}, listed)
    except ValueError as error:
        raise RecordError(f"Cannot save: the record holds {error}. Ask again, then save.") from error
    if len(content) > MANIFEST_LIMIT or len(listed) >= ENTRIES_LIMIT:
        raise RecordError("Cannot save: the record is too large; save fewer explanations or pictures at a time.")
    yield MANIFEST, content


def manifest_of(kind: str, own: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> bytes:
    """The manifest of a new record: what those of every kind say, its `own` fields, and its files.

    Raises ValueError for a number that is not finite, TypeError for what JSON cannot hold, SettingError for a key that
    cannot sign.
    """
    fields = {
        "schema": SCHEMA,
        "kind": kind,
        "id": uuid.uuid4().hex,  # of this saving: the same maps saved twice are two records
        "created": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "made_with": made_with(),
        "note": "",
        "reviewer": "",
        **own,
        "files": sorted(files, key=lambda file: str(file["name"])),
    }
    return signed(_plain(fields))


def _record(record: Record | Explanation | Sequence[Explanation], prediction: Prediction | None) -> Record:
    if not isinstance(record, Record):
        record = Record((record,) if isinstance(record, Explanation) else tuple(record))
    return record if prediction is None else dataclasses.replace(record, predictions=(prediction,))


def check_place(folder: Path) -> None:
    """Raise RecordError unless a record can be written as `folder`: asked before the long work, not after it.

    Raises SettingError where a key is named that cannot sign it.
    """
    signing_key()
    folder = Path(os.path.abspath(folder))
    name = shown(folder.name or str(folder))
    try:
        if folder == Path.cwd():
            raise RecordError("Cannot save into the folder you are in; name a new one.")
        if not folder.parent.is_dir():
            raise RecordError(f"Cannot save as {name}: the folder it should lie in does not exist; create it first.")
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise RecordError(f"Cannot save as {name}: it is a file or a link; choose another name.")
        if folder.is_dir() and os.listdir(folder):
            raise RecordError(f"Cannot save as {name}: it already holds something; choose another name.")
        if not os.access(folder.parent, os.W_OK):
            raise RecordError(f"Cannot save as {name}: you may not write in its folder; choose another folder.")
    except OSError as error:
        _refuse(folder, error)


def _refuse(folder: Path, error: OSError) -> NoReturn:
    advice = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "free some space",
        errno.ENOTEMPTY: "choose another name",
        errno.EEXIST: "choose another name",
    }.get(error.errno or 0, "check that you may write there, or choose another folder")
    reason = error.strerror or type(error).__name__
    raise RecordError(f"Could not save as {shown(folder.name)}: {reason}. Nothing was written; {advice}.") from error


def _stem(number: int, explanation: Explanation) -> str:
    return f"{number:02d}_{re.sub('[^a-z0-9_]', '_', str(explanation.method['name']).lower())[:64] or 'map'}"


def _files(record: Record) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file but the manifest."""
    looks, shared, common = _looks(record)
    if record.upload is not None:
        yield _picture(record.upload), record.upload
    for number, model in enumerate(record.models):
        yield _seen(number), figures.png(next(e.pixels for e in record.explanations if e.model == model))
    for number, e in enumerate(record.explanations, 1):
        stem, said = _stem(number, e), record.prediction_of(e.model)
        out = io.BytesIO()
        np.save(out, e.values.astype("<f4"), allow_pickle=False)
        yield f"{stem}.npy", out.getvalue()
        for kind, drawn in drawings(record, e).items():
            yield f"{stem}.{kind}.png", figures.png(drawn)
        yield f"{stem}.figure.png", figures.png(figures.panels(e, said, scale=common, **looks))
    if len(record.models) > 1:
        yield from _compared(record, shared, looks)
    elif len(record.explanations) > 1:
        drawn = figures.sheet(record.explanations, record.prediction, shared_scale=shared, **looks)
        yield "sheet.png", figures.png(drawn)


def drawings(record: Record, e: Explanation) -> dict[str, np.ndarray]:
    """The heatmap and the overlay of one of its maps, (h, w, 3) uint8: the same wherever they are drawn."""
    looks, _, common = _looks(record)
    scale = common or figures.scale_of([e.values], looks["clip"])
    colours = looks["colour_map"] or figures.default_colour_map(e.values, common)
    return {
        "heatmap": figures.heatmap(e.values, scale, colours),
        "overlay": figures.overlay(e.pixels, e.values, scale, colours, looks["opacity"]),
    }


def _looks(record: Record) -> tuple[dict[str, Any], bool, Any]:
    """How the record was looked at, whether on one scale, and that scale, None where each map has its own."""
    looks = {**LOOKS, **{key: value for key, value in record.display.items() if key in LOOKS}}
    shared = looks.pop("shared_scale")
    return looks, shared, figures.scale_of([e.values for e in record.explanations], looks["clip"]) if shared else None


def _compared(record: Record, shared: bool, looks: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """The maps of several models side by side, and where the first two by one method differ."""
    from xai_core.comparison import differ, first_pair, names_of
    from xai_core.comparison_figure import comparison, difference

    drawn = comparison(record.explanations, record.predictions, shared_scale=shared, **looks)
    yield "comparison.png", figures.png(drawn)
    if (pair := first_pair(record.explanations)) is None:
        return
    names = names_of(record.models)
    first, second = (names[record.models.index(e.model)] for e in pair)
    width, height = record.picture.get("width"), record.picture.get("height")
    with suppress(SettingError):  # of crops that do not overlap nothing can be drawn
        found = differ(*pair, (height, width) if width and height else None)
        yield "difference.png", figures.png(difference(found, (first, second)))


def _seen(number: int) -> str:
    """The file of what model `number` saw."""
    return "seen.png" if number == 0 else f"seen_{number + 1}.png"


def _picture(upload: bytes) -> str:
    """The file of the picture as it was uploaded, by what it is and not by what it was called. Raises PictureError."""
    return f"{PICTURE}.{ending_of(upload)}"


def _kind(record: Record) -> str:
    return "comparison" if len(record.models) > 1 else "explanation"


def _fields(record: Record) -> dict[str, Any]:
    """What a manifest says of explanations."""
    first, models = record.explanations[0], record.models
    said = [{"labels": one.labels, "logits": one.logits, "model": one.model} for one in record.predictions]
    fields: dict[str, Any] = {
        # The upload's name may be a person's: whatever the caller put in, it stays out unless it was chosen.
        "picture": {
            "sha256": first.image,
            "source": {key: value for key, value in record.picture.items() if key not in ("name", "filename", "path")},
            **({"name": record.name} if record.name else {}),
            **({"file": _picture(record.upload)} if record.upload is not None else {}),
        },
        "explanations": [_described(n, e, models) for n, e in enumerate(record.explanations, 1)],
        "display": record.display,
        "note": record.note,
        "reviewer": record.reviewer,
    }
    weighed = record.evidence or (None,) * len(record.explanations)
    for described, found in zip(fields["explanations"], weighed, strict=True):
        described["evidence_found"] = None if found is None else plain(found)
    if len(models) > 1:
        return fields | {"models": models, "predictions": said}
    return fields | {"model": models[0], "prediction": next(iter(said), None)}


def _described(number: int, e: Explanation, models: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every field of an explanation but its arrays and what the record says once, and its file names."""
    stem = _stem(number, e)
    own = {field.name: getattr(e, field.name) for field in dataclasses.fields(e) if field.name not in _ELSEWHERE}
    names = {kind: f"{stem}.{kind}.png" for kind in ("heatmap", "overlay", "figure")}
    if len(models) > 1:
        own["model"] = models.index(e.model)
        names["seen"] = _seen(models.index(e.model))
    return {
        **own,
        "target": plain(e.target),
        "passes": plain(e.passes),
        "flat": e.flat,
        "files": {"values": f"{stem}.npy", **names},
    }


_ELSEWHERE = ("values", "pixels", "model", "image")


def _plain(value: Any) -> Any:
    """`value` as JSON can hold it. Raises TypeError for anything it cannot, since a guess would not read back."""
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError(f"a record's keys are text, not {list(value)}")
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, str):
        if not value.isascii() and re.search("[\ud800-\udfff]", value):
            raise ValueError("text with half a character in it")
        return value
    if value is None or isinstance(value, bool | int | float):
        if isinstance(value, float) and not np.isfinite(value):
            raise ValueError("a number that is not finite")
        return value
    raise TypeError(f"a record cannot hold {type(value).__name__}: {value!r}")
