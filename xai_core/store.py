"""Saved records as they are found: opened, listed and packed. Nothing here writes."""

from __future__ import annotations

import dataclasses
import io
import os
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xai_core.chain import AUDITS, RESERVED, link_of
from xai_core.declared import IDENTITY, OF_ALL, Types, built, check, check_named
from xai_core.errors import RecordError
from xai_core.finding_files import finding_of
from xai_core.records import (
    Check,
    Evidence,
    Explanation,
    Finding,
    Passes,
    Prediction,
    Record,
    Sheet,
    Target,
)
from xai_core.seal import AUDIT, MANIFEST, PROBE, SHEETS, Damage, check_png, listing, map_shape, sealed, shown
from xai_core.sheet_files import sheet_of
from xai_core.verification import existing, pieces, read_manifest, verify

__all__ = ["AUDITS", "Entry", "list_records", "open_record", "zip_record"]

EXPLAINED: Types = dict.fromkeys(("explanations", "models", "predictions"), tuple[Mapping[str, Any], ...])
PICTURE: Types = {"sha256": str, "name": str, "file": str}
SOURCE: Types = {
    **dict.fromkeys(("format", "mode", "file_sha256"), str),
    **dict.fromkeys(("bits", "width", "height", "frames", "frame"), int),
    "assumed": tuple[str, ...],
}
BESIDE = ("files", "flat", "evidence_found")  # what a manifest says of an explanation, and no field of it is
LOOKS: Types = {"colour_map": str | None, "opacity": float, "clip": float, "shared_scale": bool}


def open_record(folder: str | Path) -> Record | Finding | Sheet:
    """The record saved as `folder`, with its manifest: a Finding where it is one of a probe, a Sheet where of tables.

    Raises RecordError unless what it needs is intact.
    """
    folder, name = existing(folder), MANIFEST
    try:
        manifest = read_manifest(folder)
        _refuse_audit(folder, manifest, "open")
        check(manifest, OF_ALL)
        link_of(manifest)
        listed = {entry.name: entry for entry in listing(manifest)}

        def content(wanted: str) -> bytes:
            nonlocal name
            name = wanted
            if name not in listed:
                raise Damage("missing", "the manifest does not list it")
            return b"".join(pieces(folder, listed[name]))

        if manifest["kind"] == PROBE:
            return finding_of(manifest, content)
        if manifest["kind"] in SHEETS:
            return sheet_of(manifest, content)
        check(manifest, EXPLAINED)
        saved = manifest["explanations"]
        for one in saved:
            check(one, {"files": Mapping[str, str], "flat": str | None})
        values = [_values(content(one["files"]["values"])) for one in saved]
        seen = [one["files"].get("seen", "seen.png") for one in saved]
        pixels = {file: _pixels(content(file), values[seen.index(file)].shape) for file in dict.fromkeys(seen)}
        check(manifest["picture"], PICTURE)
        kept = manifest["picture"].get("file")
        upload = None if kept is None else content(kept)
        name = MANIFEST
        return _rebuilt(manifest, [pixels[file] for file in seen], values, upload)
    except Damage as damage:
        problem = f"{damage.status}, {damage.detail}"
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError):
        problem = "unverifiable, it does not describe a record"
    raise RecordError(f"Cannot open {shown(folder.name)}: {shown(name)} is {problem}. Use another copy of it.")


def _refuse_audit(folder: Path, manifest: Mapping[str, Any], verb: str) -> None:
    if manifest["kind"] == AUDIT:
        raise RecordError(
            f"Cannot {verb} {shown(folder.name)} as a record: it is the audit of a whole set. "
            "Open it on the review page."
        )


def _pixels(content: bytes, shape: tuple[int, ...]) -> np.ndarray:
    from PIL import Image

    if check_png(content[:64]) != shape:  # before anything is decoded
        raise Damage("unverifiable", "it has another size than the maps")
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if picture.mode != "RGB":
                raise Damage("unverifiable", "it is not an RGB picture")
            return np.asarray(picture)
    except (OSError, SyntaxError, ValueError):
        raise Damage("unverifiable", "it cannot be decoded") from None


def _values(content: bytes) -> np.ndarray:
    offset, height, width = map_shape(content[:4096], len(content))
    return np.frombuffer(content, "<f4", offset=offset).reshape(height, width).astype(np.float32)


def _rebuilt(
    manifest: Mapping[str, Any], pixels: Sequence[np.ndarray], maps: Sequence[np.ndarray], upload: bytes | None
) -> Record:
    picture, several = manifest["picture"], manifest["kind"] == "comparison"
    models = manifest["models"] if several else [manifest["model"]]
    check(picture["source"], SOURCE)
    check(manifest["display"], LOOKS)
    for model in models:
        check_named(model, IDENTITY)
    explanations = []
    for values, seen, saved in zip(maps, pixels, manifest["explanations"], strict=True):
        check_named(saved["method"])
        explanations.append(
            built(
                Explanation,
                {name: value for name, value in saved.items() if name not in BESIDE},
                values=values,
                pixels=seen,
                image=picture["sha256"],
                model=models[_place(saved["model"], models) if several else 0],
                target=built(Target, saved["target"]),
                passes=built(Passes, saved["passes"]),
            )
        )
    said = manifest["predictions"] if several else [one for one in [manifest["prediction"]] if one is not None]
    return Record(
        tuple(explanations),
        tuple(_prediction(one, picture["sha256"]) for one in said),
        picture=dict(picture["source"]),
        display=dict(manifest["display"]),
        note=manifest["note"],
        manifest=manifest,
        evidence=tuple(_evidence(one.get("evidence_found")) for one in manifest["explanations"]),
        reviewer=manifest.get("reviewer", ""),
        name=picture.get("name", ""),
        upload=upload,
    )


def _place(number: Any, models: Sequence[Any]) -> int:
    if type(number) is not int or not 0 <= number < len(models):
        raise ValueError("there is no such model")
    return number


def _prediction(said: Mapping[str, Any], image: str) -> Prediction:
    check(said, {"labels": tuple[str, ...], "logits": tuple[float, ...]})
    with np.errstate(over="ignore"):
        logits = np.array(said["logits"], np.float32)
    if not np.isfinite(logits).all():
        raise ValueError("a network gave no such number")
    return Prediction(tuple(said["labels"]), logits, said["model"], image)


def _evidence(said: Mapping[str, Any] | None) -> Evidence | None:
    if said is None:
        return None
    check(said, {"checks": tuple[Mapping[str, Any], ...]})
    checks = tuple(built(Check, one) for one in said["checks"])
    return built(Evidence, said, checks=checks, passes=built(Passes, said["passes"]))


def zip_record(folder: str | Path) -> bytes:
    """A saved record as a zip, for download: same record, same bytes. Raises RecordError unless it is intact.

    Files that do not belong to the record stay out.
    """
    folder = existing(folder)
    for file in verify(folder).files:
        if file.status not in ("intact", "unlisted"):
            raise RecordError(f"Cannot pack {shown(folder.name)}: {shown(file.name)} is {file.status}, {file.detail}.")
    out = io.BytesIO()
    try:
        manifest = read_manifest(folder)
        _refuse_audit(folder, manifest, "pack")
        parts = [(MANIFEST, sealed(manifest))]
        parts += [(entry.name, b"".join(pieces(folder, entry))) for entry in listing(manifest)]
    except Damage as damage:
        raise RecordError(f"Cannot pack {shown(folder.name)}: {damage.detail}.") from damage
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in parts:
            member = zipfile.ZipInfo(
                f"record-{re.sub('[^0-9a-f]', '', str(manifest['id']))[:12]}/{name}", (1980, 1, 1, 0, 0, 0)
            )
            member.external_attr = 0o644 << 16
            kind = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
            archive.writestr(member, content, compress_type=kind)
    return out.getvalue()


@dataclasses.dataclass(frozen=True)
class Entry:
    """One line of a store: what a manifest says, or under `problem` why it cannot be read.

    `title` is the target of the first map, the probe that was asked, or what a sheet calls itself. `picture` is the
    sha256 of the picture, with that of its file where it is a later frame of one, of a probe those of all its pictures,
    with spaces between. `verdicts` are those of the maps that were weighed, each once. `sequence` is the place in the
    folder's chain, None outside of one. `bytes` are those of all files.
    """

    folder: Path
    id: str = ""
    kind: str = ""
    created: str = ""
    models: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    title: str = ""
    note: str = ""
    problem: str | None = None
    picture: str = ""
    verdicts: tuple[str, ...] = ()
    reviewer: str = ""
    sequence: int | None = None
    bytes: int = 0

    @property
    def model(self) -> str:
        """The names of its models, with commas between."""
        return ", ".join(self.models)


def list_records(store: str | Path) -> list[Entry]:
    """Every record in a folder of records, the newest first and the broken ones last. Reads manifests only.

    Audits among them, and the folders that RESERVED names, are passed over. Raises RecordError if `store` is no folder.
    """
    try:
        with os.scandir(existing(store)) as found:
            names = sorted(
                entry.name
                for entry in found
                if not entry.name.startswith(".") and not entry.is_file() and entry.name not in RESERVED
            )
    except OSError as error:
        raise RecordError(f"Cannot list {shown(Path(store).name)}: {error.strerror}.") from error
    entries = filter(None, (entry_of(Path(store) / name) for name in names))
    return sorted(entries, key=lambda one: (one.created, one.id), reverse=True)


def entry_of(folder: Path) -> Entry | None:
    """What a manifest says; None for that of an audit."""
    if folder.is_symlink():
        return Entry(folder, problem="It is a link; not followed.")
    try:
        manifest = read_manifest(folder)
        if manifest["kind"] == AUDIT:
            return None
        entry = _described(folder, manifest)
        texts = (entry.id, entry.created, entry.model, entry.note, entry.picture, entry.reviewer, *entry.verdicts)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("text expected")
        return entry
    except Damage as damage:
        return Entry(folder, problem=f"{MANIFEST} is {damage.status}: {damage.detail}.")
    except (KeyError, TypeError, ValueError, IndexError, AttributeError):
        return Entry(folder, problem=f"{MANIFEST} does not describe a record.")


def _described(folder: Path, manifest: Mapping[str, Any]) -> Entry:
    """Raises Damage, or what odd fields make Python raise."""
    models, weighed = manifest.get("models") or [manifest.get("model", {"name": ""})], list[str]()
    if manifest["kind"] == PROBE:
        title, methods = str(manifest["probe"]["name"]).replace("_", " "), manifest["methods"]
        picture = " ".join(manifest["pictures"])
    elif manifest["kind"] in SHEETS:
        about = manifest["about"]
        title, methods = str(about.get("title", manifest["kind"])), about.get("methods", [])
        models, picture = about.get("models") or [about.get("model", {"name": ""})], " ".join(about.get("pictures", []))
    else:
        maps, seen = manifest["explanations"], manifest["picture"]
        picture = " ".join(filter(None, [seen["sha256"], seen["source"].get("file_sha256")]))
        title, methods = str(Target(**maps[0]["target"])), [one["method"] for one in maps]
        weighed = [found["verdict"] for one in maps if (found := one.get("evidence_found")) is not None]
    link = link_of(manifest)
    return Entry(
        folder,
        id=manifest["id"],
        kind=manifest["kind"],
        created=manifest["created"],
        models=tuple(name for one in models if (name := str(one["name"]))),
        methods=tuple(str(one["name"]) for one in methods),
        title=title,
        note=manifest["note"],
        picture=picture,
        verdicts=tuple(dict.fromkeys(weighed)),
        reviewer=manifest.get("reviewer", ""),
        sequence=None if link is None else link.sequence,
        bytes=sum(file.bytes for file in listing(manifest)),
    )
