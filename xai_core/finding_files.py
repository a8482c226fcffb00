"""A finding as the files that it is saved in, and back: numbers as JSON and CSV, frames and figures as pictures.

`finding.json` holds everything but pixels, so that the finding can be had again; the CSV files and figures are for
people and other programs.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from xai_core.declared import IDENTITY, built, check, check_named, fields
from xai_core.records import Finding, Frame, Passes, Table, Target, plain
from xai_core.seal import Damage, check_png, map_shape
from xai_core.spreadsheet import csv_text

FINDING = "finding.json"
Content = Callable[[str], bytes]  # of a listed file, by its name; raises Damage


def files_of(finding: Finding) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file of a record but its manifest."""
    from xai_core import figures, probe_figures

    yield FINDING, _json(finding)
    yield from csv_files(finding.tables)
    for number, frame in enumerate(finding.frames, 1):
        stem = _stem(number)
        yield f"{stem}.png", _png(frame.pixels)
        if frame.values is not None:
            out = io.BytesIO()
            np.save(out, np.ascontiguousarray(frame.values, "<f4"), allow_pickle=False)
            yield f"{stem}.npy", out.getvalue()
        if frame.region is not None:
            yield f"{stem}.region.png", _png(frame.region.astype(np.uint8) * 255)
    for name, drawn in probe_figures.charts(finding).items():
        yield f"{name}.png", figures.png(drawn)
    if (strip := probe_figures.filmstrip(finding)) is not None:
        yield "filmstrip.png", figures.png(strip)


def fields_of(finding: Finding) -> dict[str, Any]:
    """What the manifest says of a finding."""
    return {**_asked(finding), "note": finding.note, "reviewer": finding.reviewer}


def finding_of(manifest: Mapping[str, Any], content: Content) -> Finding:
    """What was saved. Raises Damage for a file that is not as it was, KeyError, TypeError or ValueError for others."""
    check_named(manifest["model"], IDENTITY)
    for one in (manifest["probe"], *manifest["methods"]):
        check_named(one)
    asked = {  # read before any file, so that what is wrong here is put down to the manifest
        **fields(Finding, manifest, ("probe", "model", "methods", "pictures", "sentences", "seed", "seconds", "note")),
        "target": None if (aim := manifest.get("target")) is None else built(Target, aim),  # first saved without it
        "passes": built(Passes, manifest["passes"]),
        "reviewer": manifest.get("reviewer", ""),
        "boxes": _boxes(manifest.get("boxes", {})),  # nor without these
        **fields(Finding, {"background": [], **manifest}, ("background",)),
        "manifest": manifest,
    }
    try:
        said = json.loads(content(FINDING))
    except RecursionError:
        raise ValueError("nested too deep") from None
    check(said, {"frames": tuple[Mapping[str, Any], ...]})
    return Finding(
        **asked,
        **fields(Finding, {"labels": [], "marks": [], **said}, ("kind", "left_out", "notes", "labels", "marks")),
        tables=tables_of(said["tables"]),
        frames=tuple(_frame(number, one, content) for number, one in enumerate(said["frames"], 1)),
    )


def _boxes(said: Mapping[str, Any]) -> dict[str, Any]:
    found = fields(Finding, {"boxes": said}, ("boxes",))["boxes"]
    return {picture: tuple(box) for picture, box in found.items()}


def tables_of(said: Mapping[str, Any]) -> dict[str, Table]:
    """Tables from `spelled`. Raises KeyError, TypeError or ValueError for what never were some."""
    check(said, dict.fromkeys(said, Mapping[str, Any]))
    return {name: _table(one) for name, one in said.items()}


def _table(said: Mapping[str, Any]) -> Table:
    check(said, {"title": str, "words": tuple[tuple[str, str], ...], "rows": tuple[tuple[Any, ...], ...]})
    return Table(said["title"], dict(said["words"]), tuple(map(tuple, said["rows"])))


def sentences_of(given: Any) -> tuple[str, ...]:
    """Raises TypeError for anything but a list of text."""
    check({"sentences": given}, {"sentences": tuple[str, ...]})
    return tuple(given)


def spelled(tables: Mapping[str, Table]) -> dict[str, Any]:
    """Tables as plain values that JSON can hold."""
    return {name: {"title": one.title, "words": [*one.words.items()], "rows": one.rows} for name, one in tables.items()}


def csv_files(tables: Mapping[str, Table]) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of each table for a spreadsheet."""
    for name, table in tables.items():
        yield f"{name}.csv", csv_text(table.lines(), tuple(table.words)).encode()


def finding_json(finding: Finding) -> str:
    """A finding for other programs: what it asked, what it found, and every table. Without pixels."""
    return json.dumps({**_asked(finding), **json.loads(_json(finding))}, indent=1, allow_nan=False)


def _asked(finding: Finding) -> dict[str, Any]:
    """What was asked and answered, but for its tables."""
    return {
        "probe": dict(finding.probe),
        "model": dict(finding.model),
        "methods": [*map(dict, finding.methods)],
        "pictures": list(finding.pictures),
        "sentences": list(finding.sentences),
        "target": finding.target and plain(finding.target),
        "seed": finding.seed,
        "seconds": finding.seconds,
        "passes": plain(finding.passes),
        "boxes": {picture: list(box) for picture, box in finding.boxes.items()},
        "background": list(finding.background),
    }


def _json(finding: Finding) -> bytes:
    frames = [
        {
            "caption": one.caption,
            "facts": dict(one.facts),
            "values": one.values is not None,
            "region": one.region is not None,
        }
        for one in finding.frames
    ]
    said = {
        "kind": finding.kind,
        "tables": spelled(finding.tables),
        "frames": frames,
        "left_out": finding.left_out,
        "notes": finding.notes,
        "labels": finding.labels,  # not in the manifest, which would grow too large by what is said of every picture
        "marks": finding.marks,
    }
    return json.dumps(said, indent=1, allow_nan=False).encode()


def _frame(number: int, said: Mapping[str, Any], content: Content) -> Frame:
    stem, values, region = _stem(number), None, None
    check(said, {"caption": str, "facts": Mapping[str, Any], "values": bool, "region": bool})
    pixels = _pixels(content(f"{stem}.png"), "RGB")
    if said["values"]:
        data = content(f"{stem}.npy")
        offset, height, width = map_shape(data[:4096], len(data))
        values = np.frombuffer(data, "<f4", offset=offset).reshape(height, width).astype(np.float32)
    if said["region"]:
        region = _pixels(content(f"{stem}.region.png"), "L") > 127
    return Frame(said["caption"], pixels, values, region, dict(said["facts"]))


def _stem(number: int) -> str:
    return f"frame_{number:02d}"


def _png(pixels: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def rgb_of(content: bytes) -> np.ndarray:
    """(h, w, 3) uint8, the pixels of a PNG. Raises Damage for anything else."""
    return _pixels(content, "RGB")


def _pixels(content: bytes, mode: str) -> np.ndarray:
    from PIL import Image

    check_png(content[:64])  # before anything is decoded
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            if picture.mode != mode:
                raise Damage("unverifiable", f"it is not a picture in {mode}")
            return np.asarray(picture)
    except (OSError, SyntaxError, ValueError):
        raise Damage("unverifiable", "it cannot be decoded") from None
