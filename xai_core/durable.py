"""Files and folders that are whole or not at all. This module alone writes.

What is new is written under a draft's name beside its place, flushed to the disk, and then takes its name in one step.
So what has its name is whole, whenever the power fails. A process that is killed leaves at most a draft.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

DRAFT = re.compile(r"\.draft-[0-9a-f]{32}")
DRAFT_SECONDS = 24 * 3600  # a draft this old belongs to a process that was killed


def replace_file(path: str | Path, data: bytes) -> None:
    """Write `data` as the file `path`, in place of what was there.

    Raises OSError where that fails, and then `path` holds all of the old or all of the new.
    """
    replace_streamed(path, [data])


def replace_streamed(path: str | Path, pieces: Iterable[bytes]) -> None:
    """`replace_file` for what is too large to be held at once: a piece is asked for when the last one is written."""
    path = Path(path)
    draft = _draft(path.parent)
    try:
        _write(draft, pieces)
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise
    flush_folder(path.parent)


def replace_together(pieces: Iterable[tuple[Path, bytes]]) -> None:
    """`replace_streamed` for files that grow side by side: each piece comes with the file whose next one it is.

    No file takes its name before all of them are on the disk.
    """
    drafts, handles = dict[Path, Path](), dict[Path, int]()
    try:
        try:
            for path, piece in pieces:
                if path not in drafts:
                    drafts[path] = _draft(path.parent)
                    handles[path] = _create(drafts[path])
                _append(handles[path], piece)
            for handle in handles.values():
                os.fsync(handle)
        finally:
            for handle in handles.values():
                os.close(handle)
        for path, draft in drafts.items():
            os.replace(draft, path)
    except BaseException:
        for draft in drafts.values():
            with suppress(OSError):
                os.unlink(draft)
        raise
    for folder in {path.parent for path in drafts}:
        flush_folder(folder)


def remove_file(path: str | Path) -> None:
    """Remove the file `path`, where there is one, so that it is still gone when the power fails."""
    with suppress(FileNotFoundError):
        os.unlink(path)
        flush_folder(Path(path).parent)


def remove_folder(folder: Path) -> None:
    """Remove `folder` and all it holds: it loses its name in one step, so that nobody finds a part of it.

    Raises OSError where it cannot lose it, and then nothing is gone.
    """
    draft = _draft(folder.parent)
    try:
        os.rename(folder, draft)
        flush_folder(folder.parent)
    except BaseException:
        with suppress(OSError):
            os.rename(draft, folder)
        raise
    shutil.rmtree(draft, ignore_errors=True)  # what is left of it is swept as any draft is


def write_folder(
    folder: Path, files: Iterable[tuple[str, bytes]], check: Callable[[Path], object] | None = None
) -> None:
    """Write files of these names as `folder`, in their order, and give it its name when the last is on the disk.

    `check` is called with what was written, before it has its name. `folder` must not exist or be empty. Raises OSError
    where that fails; whatever is raised, nothing stays behind.
    """
    sweep(folder.parent)
    draft = _draft(folder.parent)
    was_there, last = folder.is_dir(), ("", b"")
    try:
        os.mkdir(draft)
        for last in files:
            _write(draft / last[0], [last[1]])
        flush_folder(draft)
        if check is not None:
            check(draft)
        if was_there and os.name == "nt":
            os.rmdir(folder)  # elsewhere a rename takes the place of an empty folder
        os.rename(draft, folder)
        flush_folder(folder.parent)
    except BaseException:
        _undo(draft, folder, last, was_there)
        raise


def flush_folder(folder: Path) -> None:
    """Make the names in `folder` durable."""
    if os.name == "nt":  # which cannot open a folder
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path, seconds: float = DRAFT_SECONDS) -> None:
    """Remove the drafts of processes that were killed from `folder`: only what has our own name, and is so old.

    Whoever holds the folder alone may sweep it of drafts of any age.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not DRAFT.fullmatch(entry.name) or entry.is_symlink():
                continue
            if time.time() - entry.stat(follow_symlinks=False).st_mtime <= seconds:
                continue
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)
            else:
                with suppress(OSError):
                    os.unlink(entry.path)


def _draft(folder: Path) -> Path:
    return folder / f".draft-{uuid.uuid4().hex}"


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    handle = _create(path)
    try:
        for piece in pieces:
            _append(handle, piece)
        os.fsync(handle)
    finally:
        os.close(handle)


def _create(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o644)


def _append(handle: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(handle, left) :]


def _undo(draft: Path, folder: Path, last: tuple[str, bytes], was_there: bool) -> None:
    """Leave neither draft nor folder. The folder is ours only if it holds the file that we wrote last."""
    name, content = last
    with suppress(OSError):
        if name and not draft.exists() and (folder / name).read_bytes() == content:
            os.rename(folder, draft)
    shutil.rmtree(draft, ignore_errors=True)
    with suppress(OSError):
        if was_there and not folder.exists():
            os.mkdir(folder)
