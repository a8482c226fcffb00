"""Units as the bytes of one file, a part, and back. Nothing is pickled, and nothing is believed before it is checked.

A part is a safetensors file. Its arrays are called "<key of the unit>/<name of the array>"; the rest of its units is
JSON in its metadata, under "units". Its name is the sha256 of its bytes: `<2 hex>/<sha256>.safetensors`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np

from xai_core.units import Kind, Unit, spelled

PART = re.compile(r"([0-9a-f]{2})/(\1[0-9a-f]{62})\.safetensors")
PART_LIMIT = 2**31  # bytes; nothing larger is written, or read into memory
HEADER_LIMIT = 100_000_000  # bytes of a header that safetensors reads
KINDS = get_args(Kind)


class Damaged(Exception):
    """A part that is not what its name says."""


class Row(NamedTuple):
    """A unit in an index: `content` is the sha256 of all that it says, whatever it took to make."""

    key: str
    content: str


def part_of(units: Sequence[Unit]) -> tuple[str, bytes, list[Row]]:
    """The name and the bytes of the part that holds these units, and its rows in an index."""
    from safetensors.numpy import save

    tensors, listed = {}, []
    for unit in units:
        if not unit.key or "/" in unit.key or unit.kind not in KINDS:
            raise ValueError(f"no unit has the key {unit.key!r} and the kind {unit.kind!r}")
        arrays = {name: _kept(array) for name, array in unit.arrays.items()}
        facts = json.loads(spelled(dict(unit.facts)))
        digest = _content(unit.kind, facts, arrays)
        own = {"key": unit.key, "kind": unit.kind, "facts": facts, "seconds": float(unit.seconds), "sha256": digest}
        listed.append(own)
        tensors.update({f"{unit.key}/{name}": array for name, array in arrays.items()})
    data = save(tensors, {"units": spelled(listed)})
    if len(data) > PART_LIMIT or int.from_bytes(data[:8], "little") > HEADER_LIMIT:
        raise ValueError(f"{len(units)} units of {len(data)} bytes are too many for one part")
    digest = hashlib.sha256(data).hexdigest()
    return f"{digest[:2]}/{digest}.safetensors", data, [Row(own["key"], own["sha256"]) for own in listed]


def _kept(array: np.ndarray) -> np.ndarray:
    """`array` in the one order of its bytes that is kept."""
    if array.dtype.kind not in "biufc":
        raise ValueError(f"a store keeps no arrays of {array.dtype}")
    return np.array(array, dtype=array.dtype.newbyteorder("<"), order="C", copy=None)


def _content(kind: str, facts: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 of all that a unit says."""
    spelt = [
        [name, array.dtype.name, list(array.shape), hashlib.sha256(array.tobytes()).hexdigest()]
        for name, array in sorted(arrays.items())
    ]
    return hashlib.sha256(spelled({"kind": kind, "facts": facts, "arrays": spelt}).encode()).hexdigest()


def units_of(name: str, data: bytes) -> dict[str, tuple[Unit, str]]:
    """The units of the part of this name, with the sha256 of what each says. Raises Damaged unless all is right."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    if hashlib.sha256(data).hexdigest() != name[3:67]:
        raise Damaged("is damaged: its bytes are not those that were written")
    try:
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        listed = json.loads(header["__metadata__"]["units"])
        arrays: dict[str, dict[str, np.ndarray]] = {own["key"]: {} for own in listed}
        for tensor, array in load(data).items():
            key, _, called = tensor.partition("/")
            array.setflags(write=False)
            arrays[key][called] = array
        units = {}
        for own in listed:
            unit = Unit(own["key"], own["kind"], own["facts"], arrays[own["key"]], float(own["seconds"]))
            well_formed = isinstance(unit.key, str) and unit.kind in KINDS and isinstance(unit.facts, dict)
            if not well_formed or _content(unit.kind, unit.facts, unit.arrays) != own["sha256"]:
                raise ValueError
            units[unit.key] = unit, own["sha256"]
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise Damaged("is no part that this program wrote") from None
    return units
