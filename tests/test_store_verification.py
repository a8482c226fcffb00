"""All records of a folder verified at once: each of them, those that were imported, and the chain."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.records_made import saved, tree
from xai_core.chain import IMPORTED, check
from xai_core.errors import Cancelled, RecordError
from xai_core.retention import remove
from xai_core.seal import MANIFEST
from xai_core.store_verification import is_store, verify_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Three records in a chain, and one beside it."""
    for name in ("first", "second", "third"):
        saved(tmp_path, name)
    (tmp_path / IMPORTED).mkdir()
    saved(tmp_path / IMPORTED, "guest")
    return tmp_path


def command(*words: str | Path) -> Result:
    from xai_core.__main__ import app

    return CliRunner().invoke(app, ["verify", *map(str, words)])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)


def test_records_that_are_intact_are_counted_with_their_chain(store: Path) -> None:
    before, told = tree(store), list[tuple[int, int]]()
    report = verify_store(store, lambda done, total: told.append((done, total)))
    assert report.ok
    assert (report.verified, report.chain.length, dict(report.wrong)) == (4, 3, {})
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert tree(store) == before
    done = command(store)
    assert done.exit_code == 0
    assert done.stdout.splitlines()[0] == "Intact: 4 of 4 records."
    assert done.stdout.splitlines()[1].startswith("Unbroken: each of 3 records continues the one before it.")


@pytest.mark.parametrize("place", ["second", f"{IMPORTED}/guest"])
def test_a_changed_file_is_named_with_its_record(store: Path, place: str) -> None:
    flip(store / place / "s.csv")
    report = verify_store(store)
    assert not report.ok
    assert [(name, file.name, file.status) for name, one in report.wrong.items() for file in one.wrong] == [
        (place, "s.csv", "changed")
    ]
    done = command(store)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[0] == "Intact: 3 of 4 records."
    assert done.stdout.splitlines()[1].startswith(f"{place}: changed       s.csv")


def test_a_record_that_was_taken_away_breaks_the_chain_and_one_that_was_deleted_does_not(store: Path) -> None:
    remove(store / "third", "of no use")
    assert verify_store(store).ok
    (store / "second").rename(store.parent / "taken")
    report = verify_store(store)
    assert not report.ok
    assert not report.wrong
    done = command(store)
    assert done.exit_code == 1
    assert "Intact: 2 of 2 records." in done.stdout
    assert "Number 2 is missing before the tombstone" in done.stdout


def test_a_record_and_a_folder_of_other_things_are_no_store(
    store: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert is_store(store)
    assert not is_store(store / "first")
    other = tmp_path_factory.mktemp("other")
    (other / "inside").mkdir()
    assert not is_store(other)
    (store / "first" / MANIFEST).unlink()
    assert not is_store(store / "first")  # a record whose manifest is missing, as verifying it says
    assert command(store / "first").exit_code == 1


def test_one_record_is_told_as_one(tmp_path: Path) -> None:
    saved(tmp_path, "only")
    intact, chain = command(tmp_path).stdout.splitlines()
    assert intact == "Intact: 1 of 1 record."
    assert chain.startswith("Unbroken: the one record is the first. The last is number 1, ")
    remove(tmp_path / "only", "of no use")
    assert str(check(tmp_path)).startswith("Unbroken: the one record is the first, and was removed. ")


def test_answers_of_many_records_are_not_recomputed(store: Path) -> None:
    done = command(store, "--recompute", "2")
    assert "Name one of the records in this folder." in str(done.exception)


def test_verifying_stops_when_it_is_told_to(store: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with pytest.raises(Cancelled):
        verify_store(store, cancel=cancel)


def test_what_is_no_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="There is no folder nowhere"):
        verify_store(tmp_path / "nowhere")
