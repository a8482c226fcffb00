"""The one spelling of a manifest, and what makes its bytes checkable. Bytes in, values out; opens no file.

A manifest is JSON with sorted keys, one line per field, in UTF-8. Its field `sha256` is the hash of the text of all
other fields, spelled in the same way, so any other byte in it, white space included, is a change. It lists every other
file with size and hash.
What is read here may have been made by an enemy: time and memory are bounded on any bytes.
"""

from __future__ import annotations

import hashlib
import json
import re
import struct
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np

SCHEMA = 2  # of what is written; READ are those of what is read
READ = (1, 2)
AUDIT = "audit"
PROBE = "probe"
SHEETS = ("scores", "decisions")
MANIFEST = "manifest.json"
MANIFEST_LIMIT = 4 * 2**20  # bytes; a record of 22,000 classes and 50 methods needs 2 MiB
FILE_LIMIT = 256 * 2**20  # bytes
TOTAL_LIMIT = 2 * 2**30  # bytes
AUDIT_FILE_LIMIT = 256 * 2**30  # bytes; the maps of a million pictures of 224 x 224 by one method need 187 GiB
AUDIT_TOTAL_LIMIT = 4 * 2**40  # bytes
ENTRIES_LIMIT = 5000  # files in a folder
DEPTH_LIMIT = 16  # of JSON; ours has 5
PARTS_LIMIT = 100_000  # lists and objects of JSON; ours has 7 per file and method
PICTURE = "picture"  # what the upload is called in a record, before the dot
PIXELS_LIMIT = 200_000_000  # of a PNG: a contact sheet of 200 methods

Status = Literal["intact", "changed", "missing", "unlisted", "unverifiable"]


class Kind(NamedTuple):
    """What a manifest of one kind may list: the names that are made, and at most so many bytes of one and of all."""

    names: re.Pattern[str]
    file_limit: int
    total_limit: int


# The names that are written. Nothing else is ever opened: no other folder, no way up, no drive, no device.
_RECORD = Kind(
    re.compile(
        rf"seen(?:_[2-9])?\.png|(?:sheet|comparison|difference)\.png|{PICTURE}\.(?:png|jpg|webp|tif|bmp|dcm)"
        r"|[0-9]{2,4}_[a-z0-9_]{1,64}\.(?:npy|(?:heatmap|overlay|figure)\.png)",
        re.ASCII,
    ),
    FILE_LIMIT,
    TOTAL_LIMIT,
)
_AUDIT = Kind(
    re.compile(
        r"(?:predictions|evidence)\.parquet|metrics\.(?:parquet|csv)|aggregate\.csv|xai_results\.json"
        r"|method_ranking\.png|summary\.md"
        r"|(?:arrays/{part}/{part}\.npy|grids/{part}/{part}\.png)".replace("{part}", "[a-z0-9_][a-z0-9_.-]{0,119}"),
        re.ASCII,
    ),
    AUDIT_FILE_LIMIT,
    AUDIT_TOTAL_LIMIT,
)
_FINDING = Kind(
    re.compile(
        r"finding\.json|[a-z][a-z_]{0,39}\.(?:csv|png)|frame_[0-9]{2,4}(?:\.npy|(?:\.region)?\.png)",
        re.ASCII,
    ),
    FILE_LIMIT,
    TOTAL_LIMIT,
)
_DECISIONS = Kind(re.compile(r"sheet\.json|[a-z][a-z_]{0,39}\.csv", re.ASCII), FILE_LIMIT, TOTAL_LIMIT)
_SCORES = Kind(
    re.compile(
        rf"{_DECISIONS.names.pattern}|scores\.(?:json|parquet)|summary\.md|(?:ranking|agreement)\.png", re.ASCII
    ),
    FILE_LIMIT,
    TOTAL_LIMIT,
)
# Of an audit, what lies beside it and lives on: the course of the run, the answers, decisions, leases and the gate.
ALIVE = re.compile(
    r"run\.json|store|decisions\.sqlite(?:-(?:wal|shm|journal))?|gate\.md|lease\.(?:json|lock)", re.ASCII
)
# Of one model, of several, of what a probe found, of tables, and of a set of pictures.
KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("explanation", "comparison"), _RECORD),
    PROBE: _FINDING,
    **dict(zip(SHEETS, (_SCORES, _DECISIONS), strict=True)),
    AUDIT: _AUDIT,
}
DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)', re.DOTALL)  # possessive: linear on any input
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_MAP_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00(..)\{'descr': '<f4', 'fortran_order': False, "
    rb"'shape': \((?:(\d{1,8}), )?(\d{1,6}), (\d{1,6})\), \} *\n",
    re.DOTALL,
)


class Damage(Exception):
    """Something in a record's folder that cannot be believed: a status and why."""

    def __init__(self, status: Status, detail: str) -> None:
        super().__init__(detail)
        self.status: Status = status
        self.detail = detail


class Listed(NamedTuple):
    """A file as the manifest lists it."""

    name: str
    bytes: int
    sha256: str


def shown(name: str) -> str:
    """A name that is safe on a screen: what cannot be printed is escaped, and what is long is cut."""
    kept = name if name.isprintable() else ascii(name)[1:-1]
    return kept if len(kept) <= 120 else kept[:119] + "…"


def sealed(fields: Mapping[str, Any]) -> bytes:
    """A manifest's bytes: `fields` (plain JSON values) with their hash under `sha256`.

    Raises ValueError for a number that is not finite and TypeError for what JSON cannot hold.
    """
    lines = {key: _line(key, value) for key, value in fields.items() if key != "sha256"}
    digest = hashlib.sha256(_text(lines)).hexdigest()
    return _text({**lines, "sha256": _line("sha256", digest)})


def signed_text(fields: Mapping[str, Any]) -> bytes:
    """What a signature is of: all of a manifest but the two fields that are made last."""
    return spelling({key: value for key, value in fields.items() if key not in ("sha256", "signature")})


def spelling(fields: Mapping[str, Any]) -> bytes:
    """The one text of these JSON values, in whatever order their keys were put in.

    Raises as `sealed` does.
    """
    return _text({key: _line(key, value) for key, value in fields.items()})


_spell = json.JSONEncoder(sort_keys=True, ensure_ascii=False, allow_nan=False).encode


def _line(key: str, value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return f" {_spell(key)}: [\n  " + ",\n  ".join(map(_spell, value)) + "\n ]"
    return f" {_spell(key)}: {_spell(value)}"


def _text(lines: Mapping[str, str]) -> bytes:
    return ("{\n" + ",\n".join(lines[key] for key in sorted(lines)) + "\n}\n").encode()


def unsealed(content: bytes) -> dict[str, Any]:
    """The fields of a manifest whose bytes are exactly those that were sealed. Raises Damage."""
    fields = genuine(content)
    if fields.get("kind") not in tuple(KINDS):
        raise Damage("unverifiable", "it describes no record: neither of explanations, a probe, a sheet, nor an audit")
    listing(fields)
    return fields


def genuine(content: bytes) -> dict[str, Any]:
    """The fields of anything sealed, whatever it describes. Raises Damage."""
    fields = _parsed(content)
    schema = fields.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise Damage(
            "unverifiable",
            f"it has schema {shown(str(schema))}, and this version reads up to {SCHEMA}; update the program",
        )
    try:
        spelt = sealed(fields)
    except (ValueError, TypeError, RecursionError):
        raise Damage("changed", "it holds text or numbers that no manifest holds") from None
    if spelt != content:
        raise Damage("changed", "its bytes do not match the hash it carries")
    if type(schema) is not int or schema not in READ:
        raise Damage("unverifiable", "it has no schema that this version reads")
    return fields


def _parsed(content: bytes) -> dict[str, Any]:
    bare = np.frombuffer(_STRING.sub(b"", content).translate(None, _NO_BRACKETS), dtype=np.uint8)
    opened = (bare == ord("[")) | (bare == ord("{"))
    if bare.size and int(np.where(opened, 1, -1).cumsum().max()) > DEPTH_LIMIT:
        raise Damage("unverifiable", f"it is nested more than {DEPTH_LIMIT} deep")
    if int(opened.sum()) > PARTS_LIMIT:
        raise Damage("unverifiable", f"it has more than {PARTS_LIMIT:,} lists and objects")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            raise Damage("unverifiable", "it has the same key twice")
        return fields

    def refuse(word: str) -> NoReturn:
        raise Damage("unverifiable", f"it holds {word}, which is no number in JSON")

    try:
        fields = json.loads(content.decode(), object_pairs_hook=once, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise Damage("unverifiable", "it is not JSON in UTF-8") from None
    if not isinstance(fields, dict):
        raise Damage("unverifiable", "it is not a JSON object")
    return fields


def listing(manifest: Mapping[str, Any]) -> list[Listed]:
    """The files a manifest lists, in its order. Raises Damage for a list that nothing here would have written."""
    entries, files, kind = manifest.get("files"), [], KINDS[manifest["kind"]]
    if not isinstance(entries, list) or len(entries) > ENTRIES_LIMIT:
        raise Damage("unverifiable", "it has no list of files, or too long a list")
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or not kind.names.fullmatch(name):
            raise Damage("unverifiable", f"it lists {shown(str(name))}, a name no record has; nothing was opened")
        file = Listed(name, entry.get("bytes"), entry.get("sha256"))
        if type(file.bytes) is not int or not isinstance(file.sha256, str) or not DIGEST.fullmatch(file.sha256):
            raise Damage("unverifiable", f"it gives no size or no hash for {name}")
        if not 0 <= file.bytes <= kind.file_limit:
            most = f"at most {kind.file_limit:,}"
            raise Damage("unverifiable", f"it says {name} has {shown(str(file.bytes))} bytes; {most}")
        files.append(file)
    if len({file.name for file in files}) < len(files):
        raise Damage("unverifiable", "it lists a file twice")
    if sum(file.bytes for file in files) > kind.total_limit:
        raise Damage("unverifiable", f"its files have more than {kind.total_limit:,} bytes")
    return files


def map_shape(head: bytes, size: int) -> tuple[int, int, int]:
    """(offset of the values, h, w) of a .npy file of `size` bytes that starts with `head`. Raises Damage.

    The header is compared with the one spelling numpy writes for a float32 map, never evaluated or unpickled.
    """
    offset, (count, height, width) = _shape(head, size)
    if count is not None:
        raise Damage("unverifiable", "it is not a float32 map of two dimensions")
    return offset, height, width


def maps_shape(head: bytes, size: int) -> tuple[int, int, int, int]:
    """(offset of the values, n, h, w) of a .npy file of `n` maps. As `map_shape`."""
    offset, (count, height, width) = _shape(head, size)
    if count is None:
        raise Damage("unverifiable", "it does not hold float32 maps, one behind the other")
    return offset, count, height, width


def _shape(head: bytes, size: int) -> tuple[int, tuple[int | None, int, int]]:
    match = _MAP_HEADER.match(head)
    if match is None or match.end() != 10 + int.from_bytes(match[1], "little"):
        raise Damage("unverifiable", "it is not a float32 map of two dimensions")
    count, height, width = int(match[2]) if match[2] else None, int(match[3]), int(match[4])
    values = (1 if count is None else count) * height * width
    if values == 0 or size != match.end() + 4 * values:
        said = " × ".join(str(length) for length in (count, height, width) if length is not None)
        raise Damage("unverifiable", f"its header says {said}, which does not fit its size")
    return match.end(), (count, height, width)


def check_png(head: bytes) -> tuple[int, int]:
    """(h, w) of a PNG that starts with `head`. Raises Damage."""
    if head[:16] != b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" or len(head) < 33:
        raise Damage("unverifiable", "it is not a PNG")
    width, height = struct.unpack(">II", head[16:24])
    if not 0 < width * height <= PIXELS_LIMIT:
        raise Damage("unverifiable", f"its header says {width} × {height} pixels")
    return height, width
