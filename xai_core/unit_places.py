"""Where the parts of a store lie: a folder of this machine, or any address that fsspec reaches."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from xai_core import durable
from xai_core.errors import StoreError
from xai_core.provenance import VERSION
from xai_core.unit_parts import PART_LIMIT, Damaged

FORMAT = 1
HEAD = "store.json"
PARTS = "parts"


class Place(Protocol):
    """Parts by name. Every method raises OSError where the place cannot be reached."""

    def names(self) -> Iterator[str]:
        """Whatever lies among the parts, by its path below them, divided by "/"."""

    def read(self, name: str) -> bytes:
        """The bytes of a file. Raises Damaged where it is no file, or larger than any part."""

    def write(self, name: str, data: bytes) -> None:
        """Keep a part. It is there for good when this returns."""


def open_place(address: str) -> tuple[Place, Path | None]:
    """Where the parts of `address` lie, and the folder for the index if there is one that can be written."""
    scheme, divided, rest = address.partition("://")
    if not divided or scheme in ("file", "local"):
        folder = Path(rest if divided else address).absolute()
        return Folder(folder / PARTS), folder if _open_folder(folder) else None
    remote = Remote(address)
    remote.open()
    return remote, None


def _open_folder(folder: Path) -> bool:
    """Make `folder` a store unless it is one. Returns whether it can be written."""
    if folder.exists() and not folder.is_dir():
        raise StoreError(f"Cannot keep answers in {folder}: it is a file; name a folder.")
    folder.mkdir(parents=True, exist_ok=True)
    strangers = [name for name in os.listdir(folder) if not durable.DRAFT.fullmatch(name)]
    if (folder / HEAD).exists():
        _check_head((folder / HEAD).read_bytes(), str(folder))
        if not os.access(folder, os.W_OK):
            return False
    elif strangers:
        raise _other(str(folder))
    else:
        durable.replace_file(folder / HEAD, _head())
        durable.flush_folder(folder.parent)
    durable.sweep(folder)
    (folder / PARTS).mkdir(exist_ok=True)
    durable.flush_folder(folder)  # also where another process was killed before it came to this
    return True


def _head() -> bytes:
    return (json.dumps({"second look": "store of units", "format": FORMAT, "made_by": VERSION}) + "\n").encode()


def _check_head(data: bytes, address: str) -> None:
    try:
        head = json.loads(data)
        ours, version, writer = head["second look"] == "store of units", head["format"], head["made_by"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _other(address) from None
    if not ours or not isinstance(version, int):
        raise _other(address)
    if version > FORMAT:
        raise StoreError(
            f"Cannot open the store {address}: it has format {version}, written by Second Look {str(writer)[:40]}, and "
            f"this is {VERSION}, which reads up to format {FORMAT}. Update Second Look, or name another store."
        )


def _other(address: str) -> StoreError:
    return StoreError(f"Cannot keep answers in {address}: it holds something else; name a new or empty folder.")


class Folder:
    """Parts in a folder of this machine."""

    def __init__(self, parts: Path) -> None:
        self._parts = parts

    def names(self) -> Iterator[str]:
        with os.scandir(self._parts) as entries:
            for entry in entries:
                if not (re.fullmatch("[0-9a-f]{2}", entry.name) and entry.is_dir(follow_symlinks=False)):
                    yield entry.name
                    continue
                durable.sweep(Path(entry.path))
                with os.scandir(entry.path) as inner:
                    names = [file.name for file in inner if not durable.DRAFT.fullmatch(file.name)]
                yield from (f"{entry.name}/{name}" for name in names)

    def read(self, name: str) -> bytes:
        # What lies there may be a pipe, which would be waited for, or a link to somewhere else.
        flags = os.O_RDONLY | sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
        handle = os.open(self._parts / name, flags)
        with os.fdopen(handle, "rb") as file:
            about = os.fstat(handle)
            if not stat.S_ISREG(about.st_mode) or about.st_size > PART_LIMIT:
                raise Damaged("is no part of a store")
            return file.read(PART_LIMIT)

    def write(self, name: str, data: bytes) -> None:
        path = self._parts / name
        path.parent.mkdir(exist_ok=True)
        durable.replace_file(path, data)
        durable.flush_folder(self._parts)


class Remote:
    """Parts at an address that fsspec reaches."""

    def __init__(self, address: str) -> None:
        from fsspec.core import url_to_fs

        self._address = address
        scheme = address.partition("://")[0]
        try:
            self._files, self._root = url_to_fs(address)
        except ImportError as error:
            advice = "pip install s3fs" if scheme in ("s3", "s3a") else "install the package that reaches it"
            raise StoreError(f"Cannot open the store {address}: {error}; {advice} and try again.") from error
        except ValueError as error:
            raise StoreError(f"Cannot open the store {address}: {error}; name a folder or s3://bucket/name.") from error

    def open(self) -> None:
        """Make it a store unless it is one."""
        with _as_os_error():
            self._files.invalidate_cache()
            try:
                head = self._files.cat_file(self._path(HEAD))
            except FileNotFoundError:
                if self._is_taken():
                    raise _other(self._address) from None
                self._put(HEAD, head := _head())
        _check_head(head, self._address)

    def names(self) -> Iterator[str]:
        with _as_os_error():
            self._files.invalidate_cache()
            paths = self._files.find(self._path(PARTS))
        home = self._path(PARTS) + "/"
        yield from (path.partition(home)[2] or path for path in paths)

    def read(self, name: str) -> bytes:
        with _as_os_error():
            if self._files.size(self._path(PARTS, name)) > PART_LIMIT:
                raise Damaged("is no part of a store")
            return bytes(self._files.cat_file(self._path(PARTS, name)))

    def write(self, name: str, data: bytes) -> None:
        with _as_os_error():
            self._put(f"{PARTS}/{name}", data)

    def _put(self, name: str, data: bytes) -> None:
        try:
            self._files.pipe_file(self._path(name), data)
        except FileNotFoundError:  # a protocol with folders, which a bucket has not
            self._files.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
            self._files.pipe_file(self._path(name), data)

    def _is_taken(self) -> bool:
        try:
            return bool(self._files.ls(self._path(), detail=False))
        except FileNotFoundError:
            return False

    def _path(self, *names: str) -> str:
        return "/".join([self._root.rstrip("/"), *names])


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Each protocol raises errors of its own where a place cannot be reached."""
    try:
        yield
    except (OSError, StoreError, Damaged):
        raise
    except Exception as error:
        raise OSError(str(error) or type(error).__name__) from error
