"""A file that is written over holds all of the old or all of the new."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from xai_core import durable

CALLS = ("open", "write", "fsync", "replace", "rename", "mkdir")


@contextmanager
def failing(at: int, error: Exception, calls: tuple[str, ...] = CALLS) -> Iterator[list[str]]:
    """The operating system fails from its call number `at` on, until the block ends. Gives the calls so far."""
    done: list[str] = []

    def faulty(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            done.append(name)
            if len(done) >= at:
                raise error
            return real(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in calls:
            patch.setattr(os, name, faulty(name, getattr(os, name)))
        yield done


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_failure_at_any_call_leaves_the_old_file_or_the_new(old: bytes | None, number: int, tmp_path: Path) -> None:
    path, numbers = tmp_path / "file", set()
    for at in range(1, 100):
        if old is not None:
            path.write_bytes(old)
        try:
            with failing(at, OSError(number, os.strerror(number))) as done:
                durable.replace_file(path, b"new" * 1000)
            break
        except OSError as error:
            numbers.add(error.errno)
        # Only when it has its name already can it be the new one: flushing the folder is what failed then.
        expected = b"new" * 1000 if "replace" in done[:-1] else old
        assert (path.read_bytes() if path.exists() else None) == expected
        assert {entry.name for entry in tmp_path.iterdir()} <= {"file"}
        path.unlink(missing_ok=True)
    assert numbers == {number}
    assert at == 7  # open, write, flush, rename, and the folder: open and flush
    assert path.read_bytes() == b"new" * 1000


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_it_returns(tmp_path: Path) -> None:
    with failing(1000, OSError()) as done:
        durable.replace_file(tmp_path / "file", b"new")
    assert done == ["open", "write", "fsync", "replace", "open", "fsync"]


def test_a_disk_that_takes_a_byte_at_a_time_gets_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:1]))
    durable.replace_file(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_what_comes_in_pieces_is_held_a_piece_at_a_time_and_is_whole_or_not_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def pieces(last: bytes | None) -> Iterator[bytes]:
        yield b"1" * 5000
        assert max(path.stat().st_size for path in tmp_path.iterdir()) == 5000  # it is written before the next
        if last is None:
            raise KeyboardInterrupt
        yield last

    with pytest.raises(KeyboardInterrupt):
        durable.replace_streamed(tmp_path / "file", pieces(None))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"old"]
    durable.replace_streamed(tmp_path / "file", pieces(b"2"))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"1" * 5000 + b"2"]


def test_old_drafts_are_swept_whether_files_or_folders_and_nothing_else(tmp_path: Path) -> None:
    old_file, old_folder, young = (tmp_path / f".draft-{letter * 32}" for letter in "abc")
    other, link = tmp_path / "data", tmp_path / f".draft-{'d' * 32}"
    for file in (old_file, young, other):
        file.write_text("x")
    old_folder.mkdir()
    (old_folder / "file").write_text("x")
    link.symlink_to(other)
    for path in (old_file, old_folder, other):
        os.utime(path, (time.time() - 1e6,) * 2)
    durable.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {young.name, "data", link.name}
    durable.sweep(tmp_path / "nowhere")


def test_files_that_grow_side_by_side_are_whole_or_not_at_all(tmp_path: Path) -> None:
    one, other, numbers = tmp_path / "one", tmp_path / "other", list[int]()
    for at in range(1, 100):
        one.write_bytes(b"old")
        other.unlink(missing_ok=True)
        try:
            with failing(at, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))) as done:
                durable.replace_together([(one, b"n"), (other, b"ab"), (one, b"ew"), (other, b"c")])
            break
        except OSError as error:
            numbers.append(error.errno or 0)
        renamed = done[:-1].count("replace")
        assert one.read_bytes() == (b"new" if renamed else b"old")
        assert (other.read_bytes() if other.exists() else b"") == (b"abc" if renamed == 2 else b"")
        assert {entry.name for entry in tmp_path.iterdir()} <= {"one", "other"}
    assert set(numbers) == {errno.ENOSPC}
    assert done[-4:] == ["replace", "replace", "open", "fsync"]  # both are on the disk before one takes its name
    assert done[:-4].count("fsync") == 2
    assert (one.read_bytes(), other.read_bytes()) == (b"new", b"abc")


def test_no_file_takes_its_name_where_the_pieces_of_one_end_in_an_error(tmp_path: Path) -> None:
    def pieces() -> Iterator[tuple[Path, bytes]]:
        yield tmp_path / "one", b"new"
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        durable.replace_together(pieces())
    assert list(tmp_path.iterdir()) == []


def test_what_is_removed_is_gone_from_the_disk_too(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    with failing(100, OSError()) as done:
        durable.remove_file(tmp_path / "file")
    assert done == ["open", "fsync"]
    assert list(tmp_path.iterdir()) == []
    durable.remove_file(tmp_path / "file")
