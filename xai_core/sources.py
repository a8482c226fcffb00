"""A folder, a zip archive or an upload as files that are safe to read, found by name and read one at a time.

What comes in may have been made by an enemy: names are checked before anything is opened, no link is followed,
nothing is unpacked to disk, no size that an archive declares is believed.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import stat
import threading
import weakref
import zipfile
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from xai_core.checkpoints import printable
from xai_core.errors import PictureError
from xai_core.images import MAX_BYTES
from xai_core.zip_members import Sparing, TooMuchAtOnce, WrongSize, read_member

MAX_FILES = 200_000  # in a folder or an upload
MAX_ENTRIES = 20_000  # in an archive
MAX_DIRECTORY = 8 * 2**20  # bytes of an archive's own list
MAX_TOTAL = 8 * 2**30  # bytes that an archive declares to hold
MAX_RATIO = 200  # declared bytes for each packed one; photographs and scans stay below 10
SMALL = 2**20  # bytes: a blank mask may be packed a thousandfold, and does no harm
OWN: Mapping[str, set[str]] = {
    "run.json": {"schema", "status"},
    "manifest.json": {"schema", "sha256"},
}  # what is in them

_ARCHIVE = re.compile(r"\.(zip|tar|tgz|gz|bz2|xz|7z|rar)$", re.IGNORECASE)
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # control characters, bytes that are not UTF-8
_LITTER = {"__macosx", "thumbs.db", "desktop.ini"}  # what systems leave in folders, beside names that begin with a dot
_REGULAR = {0, stat.S_IFREG}  # kinds of a member in an archive; many programs write none
_PACKED = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}  # the others unpack a whole block, however large, in one step


@dataclass
class Files:
    """Files by name, parts divided by "/", in the order of their names; beside them what was refused and why."""

    name: str
    read: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def why_absent(self, name: str) -> str:
        """Why there is no such file: what its name does, that it or a folder above it was refused, or nothing else."""
        above = [name, *map(str, PurePosixPath(name).parents)]
        told = next((self.refused[one] for one in above if one in self.refused), "does not exist")
        return _why_unsafe(name) or told


def files_of(source: str | Path | bytes | Sequence[tuple[str, bytes]]) -> Files:
    """The files of a folder, of a zip archive (its path or its bytes), or of an upload (names and bytes).

    A single upload that is a zip archive is read as one. Hidden files and those that a system left are passed over.
    Raises PictureError where there is no such folder or archive, or where it is not safe to read.
    """
    if isinstance(source, bytes):
        return _in_archive(io.BytesIO(source), "upload")
    if not isinstance(source, str | Path):
        if len(source) == 1 and source[0][1][:2] == b"PK":
            return _in_archive(io.BytesIO(source[0][1]), source[0][0])
        return _sorted("upload", _uploaded(source))
    try:
        path = Path(source).resolve()
        if path.is_dir():
            own: list[str] = []
            files = _sorted(path.name, _in_folder(path, own))
            if own:
                first, more = printable(min(own), 80), f" and {len(own) - 1} more" if len(own) > 1 else ""
                files.said.append(f"Passed over as results of this program: the folder {first}{more}.")
            return files
        if path.is_file():
            return _in_archive(path.open("rb"), path.name)
    except (OSError, ValueError, RuntimeError) as error:  # a zero character in the path, links in a circle
        why = getattr(error, "strerror", None) or "this is no path"
        raise PictureError(f"{_named(source)} cannot be read: {why}. Choose a folder or a zip archive.") from error
    raise PictureError(f"There is no folder or zip archive {_named(source)}. Check its name and where it lies.")


@dataclass(frozen=True)
class _File:
    """One candidate: its name, how many bytes it says it has, what tells its content, and how it is read."""

    name: str
    size: int
    content: Hashable
    read: Callable[[], bytes]
    why_not: str = ""


def _sorted(called: str, candidates: Iterator[_File]) -> Files:
    """The candidates that are safe to read, by name; of several with one name none, unless they are the same."""
    files, first = Files(printable(called, 80)), dict[str, _File]()
    for one in sorted(candidates, key=lambda one: one.name):
        shown = printable(one.name, 200)
        if shown in files.refused or (_is_litter(one.name) and not _why_unsafe(one.name)):
            continue
        if why := _why_unsafe(one.name):
            files.refused[shown] = why
        elif one.name in first:
            if one.content == first[one.name].content:
                files.said.append(f"{shown} is there twice with the same content; it is taken once.")
            else:
                files.read.pop(one.name, None)
                files.refused[shown] = "is there twice with different content; give each file a name of its own"
        elif why := one.why_not or _why_unfit(one):
            files.refused[shown] = why
        else:
            files.read[one.name] = one.read
        first.setdefault(one.name, one)
    return files


def _why_unsafe(name: str) -> str:
    """Why a name is not taken, or nothing."""
    if _NO_TEXT.search(name):
        return "has a name with characters that are no text; rename it"
    if "\\" in name:
        return "has a backslash in its name; divide folders by /"
    if name.startswith("/") or re.match("[A-Za-z]:", name):
        return "has an absolute path for a name; name it from its own folder"
    if ".." in name.split("/"):
        return "has a name that leads out of its folder; put it inside"
    return "" if name.strip("/ .") else "has no name; give it one"


def _why_unfit(one: _File) -> str:
    """Why a file is not read, whatever it holds, or nothing."""
    if _ARCHIVE.search(one.name):
        return "is an archive inside the set; unpack it, or give it by itself"
    if not one.size:
        return "is empty; get the file again"
    return "" if one.size <= MAX_BYTES else f"is larger than the {MAX_BYTES >> 20} MiB that are accepted"


def _is_litter(name: str) -> bool:
    return any(part.startswith(".") or part.lower() in _LITTER for part in name.split("/"))


def _named(source: str | Path) -> str:
    return printable(Path(source).name or str(source), 80)


# ---- uploads ----------------------------------------------------------------------------------------------------


def _uploaded(files: Sequence[tuple[str, bytes]]) -> Iterator[_File]:
    if len(files) > MAX_FILES:
        raise PictureError(f"The upload has {len(files):,} files; {MAX_FILES:,} are accepted. Divide it.")
    for name, data in files:
        yield _File(name.removeprefix("./"), len(data), data, data.__bytes__)


# ---- folders ----------------------------------------------------------------------------------------------------


def _in_folder(root: Path, own: list[str]) -> Iterator[_File]:
    """Every file below `root`, which is resolved; no link is followed.

    Folders inside it that hold results of this program, whose figures are no pictures of the set, are added to `own`.
    """
    folders, seen = [""], 0
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(root / folder) as listed:
                entries = list(listed)
        except OSError as error:
            if not folder:
                raise
            yield _File(folder, 0, folder, bytes, f"cannot be listed: {error.strerror}; change its permissions")
            continue
        if folder and any(_is_own(root, folder, entry.name) for entry in entries if entry.name in OWN):
            own.append(folder)
            continue
        seen += len(entries)
        if seen > MAX_FILES:
            raise PictureError(f"The folder {_named(root)} holds more than {MAX_FILES:,} files. Choose one inside it.")
        for entry in entries:
            name = f"{folder}/{entry.name}" if folder else entry.name
            if entry.is_dir(follow_symlinks=False):
                folders += [] if _is_litter(entry.name) else [name]
            else:
                yield _file(root, name, entry)


def _is_own(root: Path, folder: str, name: str) -> bool:
    """Whether this file says that an audit or an explanation was written into its folder."""
    try:
        said = json.loads(_from_folder(root, f"{folder}/{name}"))
    except (PictureError, ValueError, RecursionError):
        return False
    return isinstance(said, dict) and set(said) >= OWN[name]


def _file(root: Path, name: str, entry: os.DirEntry[str]) -> _File:
    kind = entry.stat(follow_symlinks=False)
    why = "is a link; copy the file itself" if entry.is_symlink() else "is not an ordinary file; copy it into one"
    return _File(name, kind.st_size, name, lambda: _from_folder(root, name), "" if stat.S_ISREG(kind.st_mode) else why)


def _from_folder(root: Path, name: str) -> bytes:
    """The bytes of a file below `root`. Raises PictureError where it is gone, has become a link, or is too large."""
    path = os.path.join(root, name)
    called = printable(name, 200)
    try:
        if os.path.realpath(path) != os.path.normpath(path):  # since it was listed
            raise PictureError(f"{called} has become a link; copy the file itself.")
        # A pipe put there meanwhile is not waited for.
        with open(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise PictureError(f"{called} is not an ordinary file; copy the picture into one first.")
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise PictureError(f"{called} cannot be read: {error.strerror}; check that it is still there.") from error
    if len(data) > MAX_BYTES:
        raise PictureError(f"{called} is larger than the {MAX_BYTES >> 20} MiB that are accepted; make it smaller.")
    return data


# ---- archives ---------------------------------------------------------------------------------------------------


class _Archive:
    """A zip archive, opened once and read from any thread, a member at a time."""

    def __init__(self, file: io.BufferedReader | io.BytesIO, called: str) -> None:
        """Refuse it where its own list is damaged, too long, or declares more than it can hold."""
        self._lock = threading.Lock()
        try:
            self._zip = zipfile.ZipFile(Sparing(file, MAX_DIRECTORY))
            self.members = self._zip.infolist()
            end = self._zip.start_dir
        except TooMuchAtOnce:
            raise PictureError(f"{called} has a list of far too many entries. Unpack it and give its folder.") from None
        except Exception as error:  # hostile bytes make zipfile raise anything, none of it for a person to read
            raise PictureError(
                f"{called} is no zip archive, or it is damaged. Choose a folder, or pack it as a zip again."
            ) from error
        if len(self.members) > MAX_ENTRIES:
            raise PictureError(
                f"{called} holds {len(self.members):,} entries; {MAX_ENTRIES:,} are accepted. Unpack it and give its "
                "folder."
            )
        if (total := sum(one.file_size for one in self.members)) > MAX_TOTAL:
            raise PictureError(
                f"{called} declares {total >> 30} GiB of content; {MAX_TOTAL >> 30} GiB are accepted. Unpack it and "
                "give its folder."
            )
        # A local header has at least 30 bytes. Members that share bytes are how a small archive becomes a huge one.
        for one in sorted(self.members, key=lambda one: one.header_offset, reverse=True):
            if one.header_offset < 0 or one.header_offset + 30 + one.compress_size > end:
                raise PictureError(f"{called} has members that overlap, as no honest archive has. It was not opened.")
            end = one.header_offset

    def read(self, member: zipfile.ZipInfo) -> bytes:
        """A member's bytes. Raises PictureError where they are not as it declares."""
        called = printable(member.filename, 200)
        try:
            with self._lock:
                return read_member(self._zip, member)
        except WrongSize:
            raise PictureError(f"{called} has not the size that the archive declares; pack it again.") from None
        except zipfile.BadZipFile as error:
            raise PictureError(f"{called} is damaged inside the archive; pack it again.") from error


def _in_archive(file: io.BufferedReader | io.BytesIO, name: str) -> Files:
    called = printable(Path(name).name, 80)
    try:
        archive = _Archive(file, called)
    except BaseException:
        file.close()
        raise
    weakref.finalize(archive, file.close)  # when the last of its cases is gone
    return _sorted(called, (_member(archive, one) for one in archive.members if not one.orig_filename.endswith("/")))


def _member(archive: _Archive, one: zipfile.ZipInfo) -> _File:
    name = one.orig_filename  # zipfile's `filename` is cut at a zero character
    if not one.flag_bits & 0x800:  # no encoding is named: the archives of macOS hold UTF-8 all the same
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return _File(
        name.removeprefix("./"),
        one.file_size,
        (one.CRC, one.file_size),
        lambda: archive.read(one),
        _why_not_unpacked(one),
    )


def _why_not_unpacked(one: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(one.external_attr >> 16)
    if kind not in _REGULAR:
        return "is a link; pack the file itself" if kind == stat.S_IFLNK else "is not an ordinary file; pack one"
    if one.flag_bits & 0x41:
        return "is encrypted; pack it without a password"
    if one.compress_type not in _PACKED:
        return "is packed in a way that is not accepted; pack it as an ordinary zip (deflate)"
    if one.file_size > SMALL and one.file_size > MAX_RATIO * one.compress_size:
        return f"claims to be packed to less than 1/{MAX_RATIO} of its size; give the file itself"
    return ""
