"""Records continue one another, whoever saves them, and what breaks that is named."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import xai_core as xai
from tests.conftest import ROOT
from xai_core import chain, manifest, seal
from xai_core.errors import Cancelled, RecordError
from xai_core.records import Sheet, Table

GOLDEN = ROOT / "tests" / "golden" / "schema_1"


def sheet(title: str = "one", **about: Any) -> Sheet:
    """The record that is saved most quickly."""
    return Sheet("scores", {"title": title, **about}, ("One.",), {"scores": Table("Scores", {"a": "A"}, ((1,),))})


def saved(store: Path, *names: str) -> list[dict[str, Any]]:
    """The manifests of sheets of these names, saved one after the other."""
    store.mkdir(exist_ok=True)
    return [fields(xai.save(sheet(name), store / name)) for name in names]


def fields(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "manifest.json").read_bytes())
    return found


def reseal(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    found = fields(folder)
    change(found)
    (folder / "manifest.json").write_bytes(seal.sealed(found))


def bury(folder: Path, why: str = "Too old.") -> Path:
    """Remove a record in good order."""
    stone = chain.Tombstone.of(fields(folder), why)
    (folder.parent / chain.TOMBSTONES).mkdir(exist_ok=True)
    place = folder.parent / chain.TOMBSTONES / stone.name
    place.write_bytes(stone.content())
    shutil.rmtree(folder)
    return place


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of five records, that no test changes."""
    store = tmp_path_factory.mktemp("kept") / "store"
    saved(store, *"abcde")
    return store


@pytest.fixture
def store(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "store"))


# saving -----------------------------------------------------------------------------------------------------------


def test_each_record_names_its_number_and_the_hash_of_the_one_before(kept: Path) -> None:
    found = [fields(kept / name) for name in "abcde"]
    assert [one["chain"]["sequence"] for one in found] == [1, 2, 3, 4, 5]
    assert [one["chain"]["predecessor"] for one in found] == [None, *(one["sha256"] for one in found[:-1])]
    report = chain.check(kept)
    assert report.ok
    last = chain.Link(5, found[4]["sha256"], found[3]["sha256"])
    assert report == chain.ChainReport(5, 0, 0, last, (), {"unsigned": 5})
    assert str(report).startswith("Unbroken: each of 5 records continues the one before it. The last is number 5, ")
    assert found[4]["sha256"] in str(report)


def test_what_is_no_record_of_the_folder_is_no_part_of_its_chain(kept: Path, store: Path) -> None:
    for name in (*chain.RESERVED, ".hidden"):
        (store / name).mkdir()
        shutil.copytree(kept / "c", store / name / "c")
    (store / "link").symlink_to(kept / "d")
    (store / "file.txt").write_text("x")
    (store / "empty").mkdir()
    shutil.copytree(GOLDEN / "audit", store / "run")
    assert chain.check(store).ok
    assert saved(store, "f")[0]["chain"]["sequence"] == 6
    assert chain.check(store).ok


def test_records_from_before_there_were_chains_are_counted_and_not_continued(tmp_path: Path) -> None:
    assert str(chain.check(tmp_path)) == "No record here is part of a chain."
    for kind in ("explanation", "comparison", "probe"):
        shutil.copytree(GOLDEN / kind, tmp_path / kind)
    assert str(chain.check(tmp_path)) == "No record here is part of a chain; 3 were saved before there were chains."
    assert saved(tmp_path, "first")[0]["chain"] == {"sequence": 1, "predecessor": None}
    assert (chain.check(tmp_path).ok, chain.check(tmp_path).unlinked) == (True, 3)


def test_a_moved_folder_keeps_its_chain(store: Path) -> None:
    moved = store.rename(store.parent / "moved")
    assert chain.check(moved).ok
    assert saved(moved, "f")[0]["chain"]["sequence"] == 6


def test_saving_reads_the_beginning_of_its_siblings_and_one_of_them_whole(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, whole = list[tuple[str, int]](), list[str]()
    real_beginning, real_manifest = chain.beginning, chain.read_manifest

    def beginning(folder: Path, name: str, most: int) -> bytes:
        begun.append((folder.name, most))
        return real_beginning(folder, name, most)

    def read(folder: Path) -> dict[str, Any]:
        whole.append(folder.name)
        return real_manifest(folder)

    monkeypatch.setattr(chain, "beginning", beginning)
    monkeypatch.setattr(chain, "read_manifest", read)
    link = chain.head(store)
    assert link is not None
    assert link.sequence == 5
    assert begun == [(name, chain.START) for name in "abcde"]
    assert whole == ["e"]
    begun.clear()
    saved(store, "f", "g")
    assert begun == [("f", chain.START)]  # what was read once is known


def test_a_sheet_that_is_about_much_is_found_all_the_same(tmp_path: Path) -> None:
    xai.save(sheet("a", words=["long"] * 2000), tmp_path / "a")
    assert saved(tmp_path, "b")[0]["chain"]["predecessor"] == fields(tmp_path / "a")["sha256"]


def test_no_text_in_a_record_is_taken_for_its_place(tmp_path: Path) -> None:
    text = '\n "chain": {"predecessor": null, "sequence": 900},\n'
    xai.save(Sheet("scores", {"title": text, text: text}, (text,), sheet().tables, note=text), tmp_path / "a")
    assert saved(tmp_path, "b")[0]["chain"]["sequence"] == 2


# savers at once ---------------------------------------------------------------------------------------------------


def test_threads_that_save_at_once_make_one_chain(tmp_path: Path) -> None:
    def save(number: int) -> None:
        for again in range(4):
            xai.save(sheet(), tmp_path / f"{number}-{again}")

    threads = [threading.Thread(target=save, args=(number,)) for number in range(6)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    report = chain.check(tmp_path)
    assert report.ok, str(report)
    assert report.length == 24


PROCESSES = """
import os, sys
from pathlib import Path
from tests.test_chain import sheet
from xai_core import manifest
from xai_core.provenance import made_with

made_with()  # what is imported on the way is imported once
children = []
for number in range(4):
    if (child := os.fork()) == 0:
        for again in range(6):
            manifest.save(sheet(), Path(sys.argv[1]) / f"{number}-{again}")
        os._exit(0)
    children.append(child)
sys.exit(any(os.waitpid(child, 0)[1] for child in children))
"""


def test_processes_that_save_at_once_make_one_chain_and_leave_no_file(tmp_path: Path) -> None:
    words = [sys.executable, "-c", PROCESSES, str(tmp_path)]
    subprocess.run(words, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120)
    report = chain.check(tmp_path)
    assert report.ok, str(report)
    assert report.length == 24
    assert {path.name for path in tmp_path.iterdir()} == {f"{a}-{b}" for a in range(4) for b in range(6)}


def test_where_folders_cannot_be_locked_threads_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    test_threads_that_save_at_once_make_one_chain(tmp_path)


def test_whoever_waits_too_long_is_told_so_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "PATIENCE", 0.05)
    with (
        chain.joined(tmp_path),
        pytest.raises(RecordError, match=r"others have been saving there for 0 seconds\. Try again"),
    ):
        xai.save(sheet(), tmp_path / "late")
    assert list(tmp_path.iterdir()) == []
    assert xai.verify(xai.save(sheet(), tmp_path / "late")).ok


def test_a_save_that_fails_gives_its_turn_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MANIFEST_LIMIT", 10)
    with pytest.raises(RecordError, match="too large"):
        xai.save(sheet(), tmp_path / "a")
    monkeypatch.undo()
    assert saved(tmp_path, "a")[0]["chain"]["sequence"] == 1


# what breaks it ---------------------------------------------------------------------------------------------------


def test_every_removal_is_found_but_that_of_the_newest(kept: Path, tmp_path: Path) -> None:
    """All ways to keep, bury or take away four records: a number is missed if a later one is known."""
    for number, fates in enumerate(itertools.product(["kept", "buried", "taken"], repeat=4)):
        place = tmp_path / str(number)
        place.mkdir()
        for name, fate in zip("abcd", fates, strict=True):
            if fate != "taken":
                shutil.copytree(kept / name, place / name)
            if fate == "buried":
                bury(place / name)
        known = [n for n, fate in enumerate(fates, 1) if fate != "taken"]
        missing = set(range(1, max(known, default=0))) - set(known)
        report = chain.check(place)
        assert report.ok == (not missing), fates
        assert report.length == len(known)
        assert report.removed == fates.count("buried")
        runs = sum(n - 1 not in missing for n in missing)
        assert len(report.problems) == runs
        for n in missing:
            if n - 1 not in missing:
                assert any(f" {n} " in sentence and "missing before" in sentence for sentence in report.problems), fates
        link = chain.head(place)
        assert (link.sequence if link else 0) == max(known, default=0)
        shutil.rmtree(place)


def test_a_record_that_was_changed_and_sealed_again_is_named_by_the_next(store: Path) -> None:
    reseal(store / "b", lambda found: found.update(note="It was always so."))
    assert xai.verify(store / "b").ok  # by itself it is sound
    assert chain.check(store).problems == (
        "c, number 3, does not continue b: one of them was changed after it was saved, or comes from another folder.",
    )


def test_a_damaged_manifest_is_named_and_the_next_record_continues_what_can_be_believed(store: Path) -> None:
    path = store / "e" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"One.", b"Two."))
    [problem] = chain.check(store).problems
    assert problem.startswith("e/manifest.json is changed: its bytes do not match the hash it carries. Its place")
    found = saved(store, "f")[0]
    assert found["chain"] == {"sequence": 5, "predecessor": fields(store / "d")["sha256"]}
    path.write_bytes(path.read_bytes().replace(b"Two.", b"One."))  # mended later
    assert chain.check(store).problems == ("The chain forks: e and f are all number 5.",)


def test_a_folder_that_lost_its_manifest_leaves_a_gap(store: Path) -> None:
    (store / "b" / "manifest.json").unlink()
    [problem] = chain.check(store).problems
    assert problem == "Number 2 is missing before c: removed without a tombstone, or moved away."


def test_several_missing_are_one_sentence(store: Path) -> None:
    for name in "abd":
        shutil.rmtree(store / name)
    assert chain.check(store).problems == (
        "Numbers 1 to 2 are missing before c: removed without a tombstone, or moved away.",
        "Number 4 is missing before e: removed without a tombstone, or moved away.",
    )


def test_a_record_of_another_folder_and_a_copy_are_told_apart(store: Path, tmp_path: Path) -> None:
    shutil.copytree(store / "b", store / "z")
    assert chain.check(store).problems == ("b and z are one record, number 2, several times.",)
    shutil.rmtree(store / "z")
    saved(tmp_path / "other", "x", "y", "z")
    shutil.copytree(tmp_path / "other" / "z", store / "z")
    problems = chain.check(store).problems
    assert problems[0].startswith("z, number 3, does not continue b: ")
    assert problems[1] == "The chain forks: c and z are all number 3."
    assert str(chain.check(store)).startswith("The chain of 5 records is broken.\nz, number 3,")


def test_a_name_that_would_break_the_screen_is_escaped(store: Path) -> None:
    shutil.copytree(store / "b", store / "b\x1b[31m\n")
    [problem] = chain.check(store).problems
    assert "\x1b" not in problem
    assert "\n" not in problem


def test_a_record_without_its_place_is_named(store: Path) -> None:
    reseal(store / "b", lambda found: found.pop("chain"))
    problems = chain.check(store).problems
    assert problems[0] == "b names no place in the chain: it was changed, or never saved."
    assert problems[1].startswith("Number 2 is missing before c")


@pytest.mark.parametrize(
    "place",
    [
        {"sequence": 0, "predecessor": None}, {"sequence": 1, "predecessor": "0" * 64}, {"sequence": 2}, 3, [],
        {"sequence": 2, "predecessor": None}, {"sequence": 2, "predecessor": "x"}, {"sequence": "2"}, {},
        {"sequence": True, "predecessor": None}, {"sequence": 2.0, "predecessor": "0" * 64}, {"predecessor": None},
        {"sequence": 10**13, "predecessor": "0" * 64}, {"sequence": 6, "predecessor": "0" * 64, "more": 1},
    ],
)  # fmt: skip
def test_a_place_that_no_record_has_is_named_and_never_continued(place: Any, store: Path) -> None:
    reseal(store / "e", lambda found: found.update(chain=place))
    problem = chain.check(store).problems[0]
    assert problem.startswith("e/manifest.json is unverifiable: it names a place in the chain that no record has.")
    assert saved(store, "f")[0]["chain"]["predecessor"] == fields(store / "d")["sha256"]
    with pytest.raises(RecordError, match="a place in the chain that no record has"):
        xai.open_record(store / "e")


def test_a_tombstone_of_a_number_beyond_all_is_never_continued(store: Path) -> None:
    stone = chain.Tombstone("0" * 32, "ab" * 32, chain.Link(chain.LONGEST, "ab" * 32, "cd" * 32), "2026", "forged")
    (store / chain.TOMBSTONES).mkdir(exist_ok=True)
    (store / chain.TOMBSTONES / stone.name).write_bytes(stone.content())
    assert chain.check(store).head == stone.link
    assert saved(store, "f")[0]["chain"]["predecessor"] == fields(store / "e")["sha256"]


def test_a_number_that_was_written_into_a_manifest_is_not_believed(store: Path) -> None:
    path = store / "b" / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b'"sequence": 2}', b'"sequence": 999999}'))
    link = chain.head(store)
    assert link is not None
    assert link.sequence == 5


# tombstones -------------------------------------------------------------------------------------------------------


def test_a_tombstone_keeps_the_link_and_says_why(store: Path) -> None:
    found = fields(store / "c")
    place = bury(store / "c", "Older than 90 days.")
    stone = chain.read_tombstone(store, place.name)
    assert stone.link == chain.Link(3, found["sha256"], found["chain"]["predecessor"])
    assert (stone.id, stone.sha256, stone.why) == (found["id"], found["sha256"], "Older than 90 days.")
    assert stone.removed > found["created"]
    report = chain.check(store)
    assert report.ok
    assert "5 records, 1 of them removed" in str(report)
    bury(store / "e")
    assert saved(store, "f")[0]["chain"] == {"sequence": 6, "predecessor": chain.check(store).head.predecessor}  # type: ignore[union-attr]
    assert chain.check(store).ok


def test_a_record_from_before_chains_has_a_tombstone_without_a_place(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "explanation", tmp_path / "old")
    place = bury(tmp_path / "old")
    assert chain.read_tombstone(tmp_path, place.name).link is None
    assert chain.check(tmp_path).ok
    assert chain.head(tmp_path) is None


def test_a_record_that_is_back_beside_its_tombstone_is_named(store: Path) -> None:
    shutil.copytree(store / "c", store.parent / "c")
    bury(store / "c")
    shutil.copytree(store.parent / "c", store / "c")
    [problem] = chain.check(store).problems
    assert problem == "c, number 3, is here, and its tombstone says that it was removed."


def test_every_changed_byte_of_a_tombstone_is_named(store: Path) -> None:
    place = bury(store / "c")
    content = place.read_bytes()
    for at in range(len(content)):
        place.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(seal.Damage):
            chain.read_tombstone(store, place.name)
    problems = chain.check(store).problems
    assert problems[0].startswith(f"tombstones/{place.name[:16]}….json is ")
    assert problems[1].startswith("Number 3 is missing")


def test_a_tombstone_under_another_name_and_a_manifest_in_its_place_are_no_tombstones(store: Path) -> None:
    place = bury(store / "c")
    other = place.rename(place.with_name("0" * 64 + ".json"))
    with pytest.raises(seal.Damage, match="of another record"):
        chain.read_tombstone(store, other.name)
    shutil.copy(store / "d" / "manifest.json", other)
    with pytest.raises(seal.Damage, match="no tombstone"):
        chain.read_tombstone(store, other.name)


def test_a_folder_that_cannot_be_listed_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="There is no folder nowhere"):
        chain.check(tmp_path / "nowhere")


def test_whoever_watches_a_check_is_told_of_every_record_and_tombstone_and_may_cancel_it(store: Path) -> None:
    bury(store / "c")
    told, cancel = list[tuple[int, int]](), threading.Event()
    assert chain.check(store, lambda *done: told.append(done), cancel).ok
    assert told == [(number, 5) for number in range(1, 6)]
    for last in (0, 2, 4):  # before a record, and before the tombstone
        assert _cancelled_after(last, store) == last


def _cancelled_after(last: int, store: Path) -> int:
    """How many a check has told of that is cancelled after so many."""
    told, cancel = list[int](), threading.Event()
    if not last:
        cancel.set()

    def heard(done: int, total: int) -> None:
        told.append(done)
        if done == last:
            cancel.set()

    with pytest.raises(Cancelled, match="not known"):
        chain.check(store, heard, cancel)
    return len(told)
