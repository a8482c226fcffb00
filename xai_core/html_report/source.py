"""What a report is made from: the files of one folder, every byte of them held against the manifest first."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from xai_core.errors import RecordError
from xai_core.html_report.blocks import Figure, Sources
from xai_core.html_report.pictures import embedded
from xai_core.runs import FACTS
from xai_core.seal import MANIFEST, Damage, listing, shown
from xai_core.verification import FileReport, existing, pieces, read_manifest, verify

BESIDE_LIMIT = 64 * 2**20  # bytes of a file that no manifest lists


@dataclass(frozen=True)
class File:
    """One line of the list of files: `sealed` by the manifest, or only found beside it."""

    name: str
    bytes: int
    sha256: str
    sealed: bool = True


@dataclass
class Source:
    """A folder that is intact. `beside` collects the files that the report read though no manifest lists them.

    `within` stands before the names of its files where a report is made of several folders, and `companions` are those.
    """

    folder: Path
    manifest: Mapping[str, Any]
    said: str  # what verification says of it
    strangers: tuple[FileReport, ...]
    manifest_file: File
    within: str = ""
    beside: dict[str, File] = field(default_factory=dict)
    companions: list[Source] = field(default_factory=list)

    @property
    def kind(self) -> str:
        return str(self.manifest["kind"])

    @cached_property
    def listed(self) -> dict[str, File]:
        """The files of the manifest by their names."""
        return {one.name: File(one.name, one.bytes, one.sha256) for one in listing(self.manifest)}

    @property
    def files(self) -> list[File]:
        """The manifest, what it lists, and what was read beside it, with the same of every companion."""
        own = [self.manifest_file, *self.listed.values(), *self.beside.values()]
        named = [replace(one, name=f"{self.within}{one.name}") for one in own]
        return [*named, *(file for one in self.companions for file in one.files)]

    def names(self, *names: str) -> Sources:
        """What files of this folder are called in the report."""
        return tuple(f"{self.within}{name}" for name in names)

    def content(self, name: str) -> bytes:
        """The bytes of a listed file. Raises RecordError where they are no longer those of the manifest."""
        try:
            entry = next(one for one in listing(self.manifest) if one.name == name)
            return b"".join(pieces(self.folder, entry))
        except Damage as damage:
            raise _refused(self.folder, name, f"{damage.status}, {damage.detail}") from None

    def json(self, name: str) -> Any:
        """A listed file of JSON."""
        return json.loads(self.content(name))

    def found(self, name: str) -> bytes | None:
        """The bytes of a file beside the record that no manifest covers, or None where there is none."""
        return self.taken(self.folder / name, name)

    def taken(self, path: Path, name: str) -> bytes | None:
        """The bytes of any file that no manifest covers, under the name that the report gives it, or None."""
        if path.is_symlink() or not path.is_file() or path.stat().st_size > BESIDE_LIMIT:
            return None
        content = path.read_bytes()
        self.beside[name] = File(name, len(content), hashlib.sha256(content).hexdigest(), sealed=False)
        return content

    def figure(self, name: str, alt: str, caption: str) -> Figure | None:
        """A listed PNG, or None where the record has none of that name."""
        if name not in self.listed:
            return None
        try:
            return embedded(self.content(name), alt, caption, self.names(name))
        except Damage as damage:
            raise _refused(self.folder, name, f"{damage.status}, {damage.detail}") from None


def opened(path: str | Path, within: str = "") -> Source:
    """The record or audit in the folder `path`. Raises RecordError unless it is intact, naming the damaged file.

    Files that lie beside a record and do not belong to it are no damage: they are not read, and named.
    """
    folder = existing(path)
    if (folder / FACTS).is_file() and not (folder / MANIFEST).exists():
        raise RecordError(
            f"Cannot report on {shown(folder.name)}: the audit is not finished. Run it again: it goes on from there."
        )
    checked = verify(folder)
    for file in checked.files:
        if file.status not in ("intact", "unlisted"):
            raise _refused(folder, file.name, f"{file.status}, {file.detail}")
    try:
        manifest = read_manifest(folder)
        text = (folder / MANIFEST).read_bytes()
    except Damage as damage:
        raise _refused(folder, MANIFEST, f"{damage.status}, {damage.detail}") from None
    strangers = tuple(file for file in checked.files if file.status == "unlisted")
    own = File(MANIFEST, len(text), hashlib.sha256(text).hexdigest())
    return Source(folder, manifest, str(checked), strangers, own, within)


def _refused(folder: Path, name: str, why: str) -> RecordError:
    return RecordError(f"Cannot report on {shown(folder.name)}: {shown(name)} is {why}. Use another copy of it.")
