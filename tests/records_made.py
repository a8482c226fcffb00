"""Records made for tests of what happens to them later: manifests alone, and small whole ones."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from xai_core import chain, manifest, seal
from xai_core.records import Sheet, Table

PICTURE = "ab" * 32


def fields(**changes: Any) -> dict[str, Any]:
    """What a manifest of one explanation says, as far as a list of records reads it."""
    method = changes.pop("method", "grad_cam")
    target, label = {"index": 1, "kind": "logit", "against": None}, changes.pop("label", "fracture")
    verdict, model = changes.pop("verdict", None), changes.pop("model", "demo-xray")
    found = None if verdict is None else {"verdict": verdict, "checks": [], "seed": 0, "passes": {}}
    explanation = {"method": {"name": method}, "target": {**target, "label": label}, "evidence_found": found}
    return {
        "schema": 2,
        "kind": "explanation",
        "id": "0" * 32,
        "created": "2026-03-01T10:11:12.000000Z",
        "made_with": {},
        "note": "",
        "reviewer": "",
        "picture": {"sha256": changes.pop("picture", PICTURE), "source": {}},
        "explanations": [explanation],
        "model": {"name": model},
        "files": [{"name": "seen.png", "bytes": 100, "sha256": "cd" * 32}],
        **changes,
    }


def written(store: Path, name: str, **changes: Any) -> Path:
    """A folder of a store with a manifest and nothing else; by default its id is made of its name."""
    folder = store / name
    folder.mkdir(parents=True, exist_ok=True)
    changes.setdefault("id", name.encode("utf-8", "replace").hex().ljust(32, "0")[:32])
    (folder / seal.MANIFEST).write_bytes(seal.sealed(fields(**changes)))
    return folder


def continued(store: Path, count: int, changes: Callable[[int], dict[str, Any]]) -> None:
    """`count` folders of manifests alone, each of which continues the one before; `changes` says what is in which."""
    store.mkdir(exist_ok=True)
    last = chain.head(store)
    for number in range(count):
        link = chain.following(last)
        folder = written(store, f"r{number:05}", chain=link, **changes(number))
        last = chain.Link(**link, sha256=json.loads((folder / seal.MANIFEST).read_bytes())["sha256"])


def saved(store: Path, name: str, created: str = "", note: str = "", rows: int = 3) -> Path:
    """A whole record of `rows` rows in the chain of a store, with `created` as its time where it is given."""
    table = Table("Scores", {"method": "Method", "value": "Value"}, tuple((f"m{n}", n / 4) for n in range(rows)))
    sheet = Sheet("scores", {"title": "what was scored", "model": {"name": "demo-xray"}}, ("One.",), {"s": table}, note)
    if not created:
        return manifest.save(sheet, store / name)
    real = manifest.datetime
    try:
        manifest.datetime = _Clock(created)  # type: ignore[assignment, misc]
        return manifest.save(sheet, store / name)
    finally:
        manifest.datetime = real  # type: ignore[misc]


class _Clock:
    """A clock that stands still."""

    def __init__(self, time: str) -> None:
        self.time = time

    def now(self, _zone: Any) -> _Clock:
        return self

    def isoformat(self, timespec: str) -> str:
        return f"{self.time}T00:00:00.{0:06d}+00:00"


def tree(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder with its bytes, and every folder; the index aside, which may be made at any time."""
    found = dict[str, bytes | None]()
    for above, folders, files in os.walk(folder):
        found |= {os.path.relpath(os.path.join(above, name), folder): None for name in folders}
        for name in files:
            if not name.startswith(".index.sqlite"):
                path = os.path.join(above, name)
                found[os.path.relpath(path, folder)] = Path(path).read_bytes()
    return found
