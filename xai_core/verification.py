"""Does a saved record still match its manifest? Reads hostile folders without opening anything it should not.

Names are checked before anything is touched, sizes before anything is read, and links are never followed.

Plain hashes find accidents and careless edits. Who can change the files can also write a new manifest: a record
that verifies matches its manifest, which is not the same as being authentic. One that is signed was sealed by the owner
of the key whose fingerprint is named.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from xai_core.errors import RecordError
from xai_core.seal import (
    ALIVE,
    AUDIT,
    ENTRIES_LIMIT,
    MANIFEST,
    MANIFEST_LIMIT,
    Damage,
    Listed,
    Status,
    check_png,
    listing,
    map_shape,
    maps_shape,
    shown,
    unsealed,
)
from xai_core.signing import SIGNED_BY, UNSIGNED, signature_of

PIECE = 2**20  # bytes read at once
Part = Literal["picture", "weights", "labels"]  # of what a record was made of


@dataclass(frozen=True)
class FileReport:
    """What became of one file. `detail` says why, unless it is intact."""

    name: str
    status: Status
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.status:13} {shown(self.name)}" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True)
class Recomputed:
    """What became of one answer of a record when it was asked again. `detail` says how far off it is, or why not asked.

    Equal is equal to the byte. `lacking` is what was not here and can be given.
    """

    name: str
    outcome: Literal["equal", "equal within tolerance", "different", "cannot be recomputed"]
    detail: str = ""
    lacking: Part | None = None

    def __str__(self) -> str:
        return f"{self.outcome:22} {shown(self.name)}" + (f": {self.detail}" if self.detail else "")


@dataclass(frozen=True)
class Report:
    """What became of every file of a record, the manifest first, and who signed it: nothing where that is not known.

    `recomputed` are the answers that were asked again, and `asked` says which, in a sentence; nothing where none were.
    """

    files: tuple[FileReport, ...]
    signature: str = ""
    recomputed: tuple[Recomputed, ...] = ()
    asked: str = ""

    @property
    def ok(self) -> bool:
        """Whether every listed file is intact, nothing else lies beside them, and no answer came out differently."""
        return self.intact and all(one.outcome != "different" for one in self.recomputed)

    @property
    def intact(self) -> bool:
        """Whether every listed file is intact, and nothing else lies beside them."""
        return not self.wrong

    @property
    def wrong(self) -> tuple[FileReport, ...]:
        """The files that are not intact."""
        return tuple(file for file in self.files if file.status != "intact")

    @property
    def lacking(self) -> tuple[Part, ...]:
        """What was not here for answers that were asked again, each part once."""
        return tuple(dict.fromkeys(one.lacking for one in self.recomputed if one.lacking))

    @property
    def unchecked(self) -> bool:
        """Whether an answer that was to be asked again could not be."""
        return any(one.outcome == "cannot be recomputed" for one in self.recomputed)

    def __str__(self) -> str:
        return "\n".join(filter(None, (self._of_files(), self.asked, *map(str, self.recomputed))))

    def _of_files(self) -> str:
        if self.wrong:
            intact = f"{len(self.files) - len(self.wrong)} of {len(self.files)} files are intact."
            return "\n".join([intact, *map(str, self.wrong)])
        found = f"Intact: all {len(self.files)} files match the manifest. It is {self.signature or UNSIGNED}"
        if self.signature.startswith(SIGNED_BY):
            return f"{found}. Whose key that is, this cannot tell."
        return f"{found}, so this finds accidents and careless edits, not a forger who rewrites both."


def verify(folder: str | Path) -> Report:
    """Compare every byte of a saved record or audit with its manifest. Raises RecordError only if `folder` is none.

    What lives on beside a finished audit, such as its store and the decisions of reviewers, is not looked at.
    """
    folder = existing(folder)
    try:
        manifest = read_manifest(folder)
        signature = signature_of(manifest)
        listed = listing(manifest)
        names = _names(folder, {str(parent) for entry in listed for parent in PurePosixPath(entry.name).parents})
    except Damage as damage:
        return Report((FileReport(MANIFEST, damage.status, damage.detail), *_unlisted(folder, damage.detail)))
    files = [FileReport(MANIFEST, "intact")]
    for entry in listed:
        try:
            for _piece in pieces(folder, entry):
                pass
            files.append(FileReport(entry.name, "intact"))
        except Damage as damage:
            files.append(FileReport(entry.name, damage.status, damage.detail))
    alive = {name for name in names if manifest["kind"] == AUDIT and ALIVE.fullmatch(name)}
    strangers = sorted(names - alive - {MANIFEST} - {entry.name for entry in listed})
    added = [FileReport(name, "unlisted", "not in the manifest; not opened") for name in strangers]
    return Report((*files, *added), signature)


def existing(folder: str | Path) -> Path:
    """`folder` as a Path, or RecordError if there is no such folder."""
    path = Path(folder)
    try:
        found = path.is_dir()
    except OSError:
        found = False
    if not found:
        raise RecordError(f"There is no folder {shown(path.name or str(path))}; choose the folder of a saved record.")
    return path


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of `folder`, which is certain to be the one that was written. Raises Damage."""
    return unsealed(sealed_text(folder, MANIFEST))


def sealed_text(folder: Path, name: str) -> bytes:
    """The bytes of a manifest or a tombstone, before they are believed. Raises Damage."""
    size = _look(folder, name)
    if size > MANIFEST_LIMIT:
        raise Damage("unverifiable", f"it has {size:,} bytes; a manifest has at most {MANIFEST_LIMIT:,}")
    return b"".join(_read(folder, name, size))


def beginning(folder: Path, name: str, most: int) -> bytes:
    """The first bytes of a file, at most so many: enough to choose by, not to believe. Raises Damage."""
    _look(folder, name)
    return b"".join(_read(folder, name, most, whole=False))


def pieces(folder: Path, entry: Listed) -> Iterator[bytes]:
    """The bytes of a listed file, a piece at a time. Raises Damage, at the latest after the last piece."""
    size = _look(folder, entry.name)
    if size != entry.bytes:
        raise Damage("changed", f"it has {size:,} bytes; {entry.bytes:,} were saved")
    digest, head = hashlib.sha256(), b""
    for piece in _read(folder, entry.name, size):
        head = head or piece
        digest.update(piece)
        yield piece
    if digest.hexdigest() != entry.sha256:
        raise Damage("changed", "its bytes are not those that were saved")
    if entry.name.endswith(".npy"):
        (maps_shape if "/" in entry.name else map_shape)(head, size)
    elif entry.name.endswith(".png"):
        check_png(head)


def _look(folder: Path, name: str) -> int:
    """Size of a regular file, without opening it or following a link. Raises Damage."""
    try:
        for parent in PurePosixPath(name).parents[:-1]:
            if not stat.S_ISDIR(os.lstat(folder / parent).st_mode):
                raise Damage("unverifiable", "it lies behind a link or a file; not opened")
        facts = os.lstat(folder / name)
    except FileNotFoundError:
        raise Damage("missing", "it is not in the folder") from None
    except OSError as error:
        raise Damage("unverifiable", f"it cannot be looked at ({error.strerror})") from None
    if not stat.S_ISREG(facts.st_mode):
        raise Damage("unverifiable", "it is a link, a folder or a device; not opened")
    return facts.st_size


def _read(folder: Path, name: str, size: int, whole: bool = True) -> Iterator[bytes]:
    """`size` bytes in pieces. Raises Damage when it is no longer a regular file, or has fewer or more as a whole."""
    try:
        # A link or a pipe put there after the look is neither followed nor waited for.
        handle = os.open(folder / name, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
        with open(handle, "rb", buffering=0) as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Damage("unverifiable", "it is a link, a folder or a device; not read")
            left = size
            while left and (piece := file.read(min(left, PIECE))):
                left -= len(piece)
                yield piece
            if whole and (left or file.read(1)):
                raise Damage("changed", "its size changed while it was read")
    except OSError as error:
        raise Damage("unverifiable", f"it cannot be read ({error.strerror})") from None


def _names(folder: Path, parents: Container[str] = ()) -> set[str]:
    """What `folder` holds, and what the `parents` in it hold. No other folder is entered, and no link followed."""
    names, inside = set(), [PurePosixPath()]
    try:
        while inside:
            place = inside.pop()
            with os.scandir(folder / place) as entries:
                for entry in entries:
                    name = str(place / entry.name)
                    if name in parents and entry.is_dir(follow_symlinks=False):
                        inside.append(PurePosixPath(name))
                    else:
                        names.add(name)
                    if len(names) > ENTRIES_LIMIT:
                        raise Damage("unverifiable", f"its folder holds more than {ENTRIES_LIMIT:,} entries")
    except OSError as error:
        raise Damage("unverifiable", f"its folder cannot be listed ({error.strerror})") from None
    return names


def _unlisted(folder: Path, reason: str) -> Iterator[FileReport]:
    """What lies beside a manifest that cannot be believed."""
    try:
        names = _names(folder)
    except Damage:
        return
    for name in sorted(names - {MANIFEST}):
        yield FileReport(name, "unverifiable", "the manifest to compare it with cannot be believed; not opened")
