"""A record that is removed is gone in one step and keeps its place in the chain; what comes in is checked wholly."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import shutil
import sqlite3
import struct
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.records_made import fields, saved, tree, written
from xai_core import chain, durable, retention, seal, store, verification
from xai_core.catalogue import INDEX, Catalogue, Search
from xai_core.errors import RecordError, SettingError
from xai_core.retention import due, import_zip, prune, remove

GOLDEN = ROOT / "tests" / "golden" / "schema_1"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAYS = ("2026-01-01", "2026-02-01", "2026-03-01", "2026-04-01")


def listed(place: Path) -> list[str]:
    """The names of the records of a store, the oldest first."""
    return [entry.folder.name for entry in reversed(Catalogue(place).find(Search(), count=99).entries)]


def stones(place: Path) -> list[chain.Tombstone]:
    return [chain.read_tombstone(place, name) for name in chain.tombstone_names(place)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of four records, saved on four days, that no test changes."""
    place = tmp_path_factory.mktemp("made") / "records"
    place.mkdir()
    for number, day in enumerate(DAYS):
        saved(place, f"r{number}", day, rows=100 * (number + 1))
    return place


@pytest.fixture
def four(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "records"))


# ---- one record ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["r0", "r1", "r3"])
def test_a_record_that_is_removed_leaves_its_place_in_the_chain(name: str, four: Path) -> None:
    fields = json.loads((four / name / seal.MANIFEST).read_bytes())
    before = chain.head(four)
    remove(four / name, " The patient asked. ")
    assert name not in listed(four)
    assert not (four / name).exists()
    [stone] = stones(four)
    assert (stone.id, stone.sha256, stone.why) == (fields["id"], fields["sha256"], "The patient asked.")
    assert stone.link == chain.Link(fields["chain"]["sequence"], fields["sha256"], fields["chain"]["predecessor"])
    report = chain.check(four)
    assert (report.ok, report.length, report.removed, report.head) == (True, 4, 1, before)
    assert {path.name for path in (four / "tombstones").iterdir()} == {stone.name}
    saved(four, "later")
    assert chain.check(four).ok
    assert chain.check(four).length == 5


def test_all_records_can_be_removed_one_after_another(four: Path) -> None:
    for name in ("r2", "r0", "r3", "r1"):
        remove(four / name, "because")
    assert listed(four) == []
    assert (chain.check(four).ok, chain.check(four).removed) == (True, 4)
    saved(four, "next")
    link = chain.head(four)
    assert link is not None
    assert link.sequence == 5


def test_a_record_from_before_there_were_chains_leaves_its_hash(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "explanation", tmp_path / "old")
    fields = json.loads((tmp_path / "old" / seal.MANIFEST).read_bytes())
    remove(tmp_path / "old", "old")
    [stone] = stones(tmp_path)
    assert (stone.sha256, stone.link) == (fields["sha256"], None)


def test_a_record_of_which_a_file_is_damaged_can_be_removed(four: Path) -> None:
    (four / "r1" / "sheet.json").write_text("x")
    remove(four / "r1", "damaged")
    assert chain.check(four).ok


def test_an_imported_record_is_removed_without_a_trace_in_the_chain(four: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    folder = import_zip(store.zip_record(saved(tmp_path / "other", "x")), four)
    remove(folder, "looked at")
    assert listed(four) == ["r0", "r1", "r2", "r3"]
    assert not (four / "tombstones").exists()
    assert chain.check(four).ok


def test_what_cannot_be_removed_in_good_order_stays_whole(four: Path, tmp_path: Path) -> None:
    (four / "r0" / seal.MANIFEST).write_bytes(b"{}")
    (four / "r1" / "my notes.txt").write_text("mine")
    (four / "link").symlink_to(four / "r2")
    (four / "empty").mkdir()
    shutil.copytree(GOLDEN / "audit", four / "an audit")
    before = tree(four)
    for name, words in {
        "r0": r"manifest\.json is changed.*chain cannot be kept",
        "r1": "my notes.txt in it is no part of the record",
        "link": "it is a link",
        "empty": "manifest.json is missing",
        "an audit": "the audit of a whole set",
        "nowhere": "There is no folder nowhere",
    }.items():
        with pytest.raises(RecordError, match=words) as caught:
            remove(four / name, "because")
        assert "\n" not in str(caught.value)
        assert tree(four) == before
    (four / "r2" / ".DS_Store").write_text("litter of a system")
    remove(four / "r2", "because")
    assert not (four / "r2").exists()


@pytest.mark.parametrize("why", ["", " \n ", "x" * 501])
def test_a_reason_must_be_given(why: str, four: Path) -> None:
    with pytest.raises(SettingError, match="Say why"):
        remove(four / "r0", why)
    with pytest.raises(SettingError, match="Say why"):
        prune(four, older_than_days=1, why=why or "x" * 501)
    assert len(listed(four)) == 4


def test_tombstones_are_not_written_through_a_link(four: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (four / "tombstones").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match="tombstones in records is no folder"):
        remove(four / "r0", "because")
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(listed(four)) == 4


# ---- whole or not at all ---------------------------------------------------------------------------------------------

STEPS = ("open", "write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir")


@contextmanager
def _stopping(at: int, stop: Callable[[], None], once: bool = False) -> Iterator[list[str]]:
    """`stop` is called in place of call number `at` to the disk and, unless `once`, of those after it."""
    done = list[str]()

    def faulty(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if name != "open" or args[1] & os.O_CREAT:  # what only reads cannot be half done
                done.append(name)
                if len(done) == at or (len(done) > at and not once):
                    stop()
            return real(*args, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in STEPS:
            patch.setattr(os, name, faulty(name, getattr(os, name)))
        yield done


def _killed(at: int, work: Callable[[], object]) -> bool:
    """Whether a process that does this was killed before it was done, in call number `at` to the disk."""
    child = os.fork()
    if child == 0:
        with _stopping(at, lambda: os._exit(9)):
            work()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no processes of its own kind")
def test_who_is_killed_while_removing_leaves_all_or_nothing(made: Path, tmp_path: Path) -> None:
    gone, at = list[bool](), 0
    while True:
        at += 1
        place = Path(shutil.copytree(made, tmp_path / f"records {at}"))
        whole = tree(place / "r1")
        killed = _killed(at, lambda place=place: remove(place / "r1", "because"))  # type: ignore[misc]
        gone.append(not (place / "r1").exists())
        assert gone[-1] or tree(place / "r1") == whole
        assert listed(place) == ["r0"] + ["r1"] * (not gone[-1]) + ["r2", "r3"]
        report = chain.check(place)
        assert report.ok, (at, report)
        assert report.removed == gone[-1]
        if gone[-1]:
            assert [stone.why for stone in stones(place)][:1] == ["because"]
        remove(place / "r2", "the next one")  # puts in order what was left
        assert {path.suffix for path in (place / "tombstones").iterdir() if path.name[0] != "."} == {".json"}
        assert len(stones(place)) == 1 + gone[-1]
        assert (chain.check(place).ok, chain.check(place).removed) == (True, 1 + gone[-1])
        saved(place, "later")
        assert chain.check(place).ok
        if not killed:
            break
    assert at > 12
    assert gone == sorted(gone)
    assert gone.count(False) >= 5


@pytest.mark.parametrize(("number", "once"), [(errno.ENOSPC, True), (errno.EACCES, False)])
def test_a_disk_that_fails_while_removing_leaves_all_or_nothing(
    number: int, once: bool, made: Path, tmp_path: Path
) -> None:
    for at in range(1, 100):
        place = Path(shutil.copytree(made, tmp_path / f"records {at}"))
        before = tree(place)

        def stop() -> None:
            raise OSError(number, os.strerror(number))

        try:
            with _stopping(at, stop, once):
                remove(place / "r1", "because")
            refused = ""
        except RecordError as error:
            refused = str(error)
        report, is_here = chain.check(place), (place / "r1").exists()
        if refused and is_here:
            assert os.strerror(number) in refused
            assert {name: one for name, one in tree(place).items() if "tombstones" not in name} == before
        assert (report.ok, report.removed) == (True, not is_here)
        assert is_here or refused == "" or once is False  # where nothing works any more, it cannot be put back either
        if refused == "":
            break
    assert at >= 5


def test_a_record_that_lost_its_name_and_cannot_have_it_back_keeps_its_tombstone(
    four: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(folder: Path) -> None:
        os.rename(folder, folder.parent / f".draft-{0:032x}")
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(durable, "remove_folder", lost)
    with pytest.raises(RecordError, match="Input/output error"):
        remove(four / "r1", "because")
    assert (chain.check(four).ok, chain.check(four).removed) == (True, 1)


# ---- by a rule -------------------------------------------------------------------------------------------------------


def sizes(place: Path) -> list[int]:
    """Bytes of each record, the oldest first."""
    return [entry.bytes for entry in reversed(Catalogue(place).find(Search(), count=99).entries)]


@pytest.mark.parametrize(
    ("days", "expected"),
    [(152, []), (150, ["r0"]), (120, ["r0"]), (90, ["r0", "r1", "r2"]), (0.001, ["r0", "r1", "r2"])],
)
def test_pruning_by_age_removes_what_is_older_the_oldest_first(days: float, expected: list[str], four: Path) -> None:
    assert [entry.folder.name for entry in due(four, older_than_days=days, now=NOW)] == expected
    assert len(listed(four)) == 4  # which only says so
    removed = prune(four, older_than_days=days, now=NOW)
    assert [entry.folder.name for entry in removed] == expected
    assert listed(four) == [name for name in ("r0", "r1", "r2", "r3") if name not in expected]
    report = chain.check(four)
    assert (report.ok, report.removed) == (True, len(expected))
    assert {stone.why for stone in stones(four)} == ({f"Pruned: older than {days:g} days."} if expected else set())


def test_an_index_that_lies_has_nothing_removed(four: Path) -> None:
    assert Catalogue(four).find(count=0).total == 4
    with sqlite3.connect(four / INDEX) as book:  # r2 and r3 are said to be old
        book.execute("UPDATE records SET created = '2001', entry = REPLACE(entry, '2026-0', '2001-0')")
    assert Catalogue(four).find().entries[0].created.startswith("2001")
    assert due(four, older_than_days=1000, now=NOW) == []
    assert prune(four, older_than_days=1000, now=NOW) == []
    assert len(chain.record_names(four)) == 4


def test_the_age_is_counted_to_the_second(four: Path) -> None:
    exactly = NOW.replace(month=1, day=1) + timedelta(days=10)
    assert due(four, older_than_days=10, now=exactly) == []
    assert len(due(four, older_than_days=10, now=exactly + timedelta(seconds=1))) == 1


@pytest.mark.parametrize("gone", [0, 1, 2, 3])
@pytest.mark.parametrize("spare", [0, -1])
def test_pruning_by_size_removes_the_oldest_until_the_others_fit(gone: int, spare: int, four: Path) -> None:
    each = sizes(four)
    assert each == sorted(each)
    removed = prune(four, larger_than=sum(each[gone:]) + spare)
    expected = min(3, gone + (spare < 0))  # never the newest
    assert [entry.folder.name for entry in removed] == ["r0", "r1", "r2"][:expected]
    assert Catalogue(four).size() == sum(each[expected:])
    assert chain.check(four).ok


def test_both_limits_hold_together(four: Path) -> None:
    each = sizes(four)
    assert [one.folder.name for one in due(four, older_than_days=150, larger_than=sum(each[2:]), now=NOW)] == [
        "r0",
        "r1",
    ]
    assert [one.folder.name for one in due(four, older_than_days=90, larger_than=10**9, now=NOW)] == ["r0", "r1", "r2"]


def test_the_newest_of_the_store_never_goes_whatever_its_clock_said_and_whatever_was_imported(tmp_path: Path) -> None:
    place = tmp_path / "records"
    place.mkdir()
    for name, day in {"first": "2026-05-01", "last": "2020-01-01"}.items():
        saved(place, name, day)
    (tmp_path / "other").mkdir()
    imported = import_zip(store.zip_record(saved(tmp_path / "other", "x", "2026-05-30")), place)
    removed = prune(place, older_than_days=0.5, larger_than=1, now=NOW)
    assert [entry.folder.name for entry in removed] == ["first", imported.name]
    assert listed(place) == ["last"]
    assert chain.check(place).ok


def test_what_is_broken_has_no_time_or_is_an_audit_is_passed_over(four: Path) -> None:
    (four / "r0" / seal.MANIFEST).write_bytes(b"{}")
    for number, created in enumerate(["", "long ago", "2001-01-01T00:00:00", "0000-00-00T00:00:00Z"]):
        written(four, f"odd{number}", created=created)
    shutil.copytree(GOLDEN / "audit", four / "an audit")
    (four / "file").write_text("x")
    assert [entry.folder.name for entry in prune(four, older_than_days=1, now=NOW)] == ["r1", "r2"]


def test_what_cannot_be_removed_is_told_and_the_others_go(four: Path) -> None:
    (four / "r1" / "notes.txt").write_text("mine")
    told = list[tuple[str, str]]()
    removed = prune(
        four, older_than_days=1, now=NOW, failed=lambda entry, error: told.append((entry.folder.name, str(error)))
    )
    assert [entry.folder.name for entry in removed] == ["r0", "r2"]
    assert [name for name, _ in told] == ["r1"]
    assert "notes.txt" in told[0][1]
    with pytest.raises(RecordError, match=r"notes\.txt"):
        prune(four, older_than_days=1, now=NOW)


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"older_than_days": 0},
        {"older_than_days": -1},
        {"older_than_days": float("nan")},
        {"older_than_days": float("inf")},
        {"larger_than": 0},
        {"larger_than": -5},
        {"older_than_days": 5, "larger_than": -5},
        {"larger_than": 10**19},
    ],
)
def test_a_limit_that_makes_no_sense_is_refused_in_a_sentence(limits: dict[str, Any], four: Path) -> None:
    for ask in (due, prune):
        with pytest.raises(SettingError, match=r"^[^\n]*\.$"):
            ask(four, **limits, now=NOW)
    assert len(listed(four)) == 4


def test_pruning_nothing_writes_nothing(four: Path) -> None:
    before = tree(four)
    assert prune(four, older_than_days=10_000, now=NOW) == []
    assert tree(four) == before


def test_a_store_given_by_a_relative_path_is_pruned(four: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(four.parent)
    assert len(prune("records", larger_than=1)) == 3
    monkeypatch.chdir(four)
    remove("r3", "because")
    assert chain.check(four).removed == 4


# ---- bringing in -----------------------------------------------------------------------------------------------------


def zipped(entries: list[tuple[str | zipfile.ZipInfo, bytes]], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", kind) as archive:
        warnings.simplefilter("ignore")  # it warns of a name that is there twice
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


@pytest.fixture(scope="module")
def parts(made: Path) -> list[tuple[str, bytes]]:
    """The files of one record by their names in a zip."""
    return [(f"record/{path.name}", path.read_bytes()) for path in sorted((made / "r0").iterdir())]


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    (tmp_path / "records").mkdir()
    return tmp_path / "records"


@pytest.mark.parametrize("name", ["r0", *(f"golden {kind}" for kind in ("explanation", "comparison", "probe"))])
def test_a_record_of_any_kind_comes_in_as_it_was_packed(name: str, made: Path, empty: Path) -> None:
    source = GOLDEN / name.removeprefix("golden ") if name.startswith("golden") else made / name
    packed = store.zip_record(source)
    folder = import_zip(packed, empty)
    assert folder == empty / "imported" / f"record-{json.loads((source / seal.MANIFEST).read_bytes())['id'][:12]}"
    assert tree(folder) == tree(source)
    assert store.zip_record(folder) == packed
    assert verification.verify(folder).intact
    store.open_record(folder)
    assert listed(empty) == [folder.name]
    assert chain.check(empty).length == 0


def test_a_zip_made_by_hand_with_a_folder_of_another_name_or_none_comes_in(
    parts: list[tuple[str, bytes]], empty: Path
) -> None:
    bare = [(name.rpartition("/")[2], content) for name, content in parts]
    folder = import_zip(zipped(list(bare), zipfile.ZIP_STORED), empty)
    remove(folder, "again")
    import_zip(zipped([("Mein Ordner/", b""), *((f"Mein Ordner/{name}", one) for name, one in bare)]), empty)
    assert listed(empty) == [folder.name]


def test_a_record_that_is_here_already_is_refused(made: Path, four: Path, tmp_path: Path) -> None:
    packed = store.zip_record(made / "r0")
    before = tree(four)
    with pytest.raises(RecordError, match="here already, as r0"):
        import_zip(packed, four)
    assert tree(four) == before
    other = tmp_path / "elsewhere"
    other.mkdir()
    folder = import_zip(packed, other)
    before = tree(other)
    with pytest.raises(RecordError, match=f"here already, as {folder.name}"):
        import_zip(packed, other)
    assert tree(other) == before
    (other / ".index.sqlite").unlink()
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "somebody's").write_text("x")
    with pytest.raises(RecordError, match="here already"):
        import_zip(packed, other)
    assert (folder / "somebody's").read_text() == "x"


def _linked(name: str) -> zipfile.ZipInfo:
    one = zipfile.ZipInfo(name)
    one.external_attr = 0o120777 << 16
    return one


def _with_flag(packed: bytes) -> bytes:
    """Every member of this archive says that it is encrypted."""
    content = bytearray(packed)
    for mark, offset in ((b"PK\x01\x02", 8), (b"PK\x03\x04", 6)):
        at = content.find(mark)
        while at >= 0:
            content[at + offset] |= 1
            at = content.find(mark, at + 1)
    return bytes(content)


def _resealed(parts: list[tuple[str, bytes]], **changes: Any) -> list[tuple[str, bytes]]:
    said = {**json.loads(dict(parts)["record/manifest.json"]), **changes}
    return [
        *parts[:0],
        *((n, c) for n, c in parts if not n.endswith(seal.MANIFEST)),
        ("record/manifest.json", seal.sealed(said)),
    ]


def _lying(parts: list[tuple[str, bytes]], name: str, size: int) -> bytes:
    """An archive that declares another size for one of its members than it has."""
    packed = bytearray(zipped(list(parts)))
    at = packed.find(b"PK\x01\x02")
    while packed[at + 46 : at + 46 + len(name)] != name.encode():
        at = packed.find(b"PK\x01\x02", at + 1)
    struct.pack_into("<I", packed, at + 24, size)
    return bytes(packed)


def _hostile(parts: list[tuple[str, bytes]]) -> dict[str, tuple[bytes, str]]:
    """Archives that are refused, and a word of the sentence."""
    good = zipped(list(parts))
    far = [{**one, "bytes": 2**40} for one in json.loads(dict(parts)["record/manifest.json"])["files"]]
    cases: dict[str, tuple[bytes, str]] = {
        "nothing": (b"", "no zip"),
        "a picture": (b"\x89PNG\r\n\x1a\n" * 99, "no zip"),
        "an empty zip": (zipped([]), "no manifest.json"),
        "upward": (zipped([*parts, ("../evil.csv", b"x")]), "leads out"),
        "upward inside": (zipped([*parts, ("record/../../evil", b"x")]), "leads out"),
        "upward folder": (zipped([(f"../{name[7:]}", content) for name, content in parts]), "leads out"),
        "absolute": (zipped([*parts, ("/etc/evil", b"x")]), "a path for a name"),
        "drive": (zipped([*parts, ("C:evil", b"x")]), "a path for a name"),
        "backslash": (zipped([*parts, ("record\\evil", b"x")]), "a path for a name"),
        "link": (zipped([*parts[1:], (_linked(parts[0][0]), b"/etc/passwd")]), "a link"),
        "link of the manifest": (zipped([(_linked("record/manifest.json"), b"/etc/passwd")]), "a link"),
        "twice": (zipped([*parts, parts[0]]), "twice"),
        "twice in two folders": (zipped([*parts, (f"b/{parts[0][0][7:]}", b"x")]), "twice"),
        "two folders": (zipped([*parts, ("other/note.csv", b"x")]), "several folders"),
        "nested": (zipped([(f"a/{name}", content) for name, content in parts]), "folder inside another"),
        "foreign": (zipped([*parts, ("record/evil.exe", b"MZ")]), "no part of the record"),
        "foreign litter": (zipped([*parts, ("record/.DS_Store", b"x")]), "no part of the record"),
        "encrypted": (_with_flag(good), "encrypted"),
        "bzip2": (zipped(list(parts), zipfile.ZIP_BZIP2), "unusual"),
        "no manifest": (zipped([one for one in parts if not one[0].endswith(seal.MANIFEST)]), "no manifest.json"),
        "a file missing": (zipped(list(parts[:-1])), "missing"),
        "a file changed": (zipped([(n, c.replace(b"0.25", b"0.26")) for n, c in parts]), "changed"),
        "a file longer": (zipped([(n, c + b" " * (not n.endswith(seal.MANIFEST))) for n, c in parts]), "bytes in it"),
        "the manifest changed": (zipped([(n, c.replace(b"One.", b"Two.")) for n, c in parts]), "changed"),
        "the manifest huge": (zipped([("manifest.json", b" " * (4 * 2**20 + 1))]), "more than"),
        "newer": (zipped(list(_resealed(parts, schema=99))), "update the program"),
        "foreign JSON": (zipped([("manifest.json", b'{"a": 1}')]), "manifest.json is"),
        "no id": (zipped(list(_resealed(parts, id="../../x"))), "no id"),
        "no text in it": (zipped(list(_resealed(parts, about=7))), "does not describe a record"),
        "an audit": (zipped([("manifest.json", seal.sealed(fields(kind="audit", files=[])))]), "audit"),
        "a bomb beyond any record": (zipped(list(_resealed(parts, files=far))), "at most"),
        "a size that is more than there is": (_lying(parts, "record/manifest.json", 5), "damaged"),
        "a size beyond memory": (_lying(parts, "record/manifest.json", 2**32 - 2), "more than"),
        "a list of very many": (zipped([(f"{number}.csv", b"") for number in range(5100)]), "entries"),
    }  # fmt: skip
    for cut in (10, len(good) // 2, len(good) - 30, len(good) - 1):
        cases[f"cut at {cut}"] = (good[:cut], "no zip")
    return cases


def test_an_archive_that_is_no_whole_record_is_refused_in_a_sentence_and_leaves_nothing(
    parts: list[tuple[str, bytes]], empty: Path
) -> None:
    for name, (packed, word) in _hostile(parts).items():
        with pytest.raises(RecordError) as caught:
            import_zip(packed, empty)
        said = str(caught.value)
        assert said.startswith("Nothing was imported: "), (name, said)
        assert word in said, (name, said)
        assert "\n" not in said
        assert tree(empty) == {}, name
    assert sorted(path.name for path in empty.parent.iterdir()) == ["records"]
    import_zip(zipped(list(parts)), empty)
    assert len(listed(empty)) == 1


def test_a_bomb_that_says_so_is_not_unpacked(
    parts: list[tuple[str, bytes]], empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROOM", 2**20)
    blank, names = bytes(3 * 2**20), ("sheet.json", "s.csv")
    listed = [{"name": name, "bytes": len(blank), "sha256": hashlib.sha256(blank).hexdigest()} for name in names]
    manifest = dict(_resealed(parts, files=listed))["record/manifest.json"]
    packed = zipped([*((f"record/{name}", blank) for name in names), ("record/manifest.json", manifest)])
    opened = list[str]()
    real = zipfile.ZipFile.open
    monkeypatch.setattr(
        zipfile.ZipFile, "open", lambda archive, one, *rest: opened.append(one.filename) or real(archive, one, *rest)
    )
    with pytest.raises(RecordError, match="would unpack to 6,291,456 bytes"):
        import_zip(packed, empty)
    assert opened == ["record/manifest.json"]
    assert tree(empty) == {}


def test_a_member_that_unpacks_to_more_than_it_declares_is_not_unpacked(
    parts: list[tuple[str, bytes]], empty: Path
) -> None:
    [(name, content)] = [one for one in parts if one[0].endswith("sheet.json")]
    packed = _lying([*((n, c) for n, c in parts if n != name), (name, content + b"\0" * 10**7)], name, len(content))
    with pytest.raises(RecordError, match=r"damaged|changed|declares"):
        import_zip(packed, empty)
    assert tree(empty) == {}


def test_every_changed_byte_of_an_archive_is_refused_or_harmless(parts: list[tuple[str, bytes]], empty: Path) -> None:
    good = zipped(list(parts))
    whole = {name[7:]: content for name, content in parts}
    for at in range(0, len(good), max(1, len(good) // 150)):
        packed = bytearray(good)
        packed[at] ^= 0x41
        try:
            folder = import_zip(bytes(packed), empty)
        except RecordError:
            assert tree(empty) == {}
        else:
            assert tree(folder) == whole, at
            shutil.rmtree(empty / "imported")


def test_who_is_killed_while_importing_leaves_a_whole_record_or_none(
    parts: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    packed, whole, at, came = zipped(list(parts)), {name[7:]: content for name, content in parts}, 0, list[bool]()
    while True:
        at += 1
        place = tmp_path / f"records {at}"
        place.mkdir()
        killed = _killed(at, lambda place=place: import_zip(packed, place))  # type: ignore[misc]
        found = Catalogue(place).find().entries
        came.append(bool(found))
        assert all(tree(one.folder) == whole for one in found)
        if not found:
            assert tree(import_zip(packed, place)) == whole
        if not killed:
            break
    assert came == sorted(came)
    assert came.count(False) > 5


@pytest.mark.parametrize(("number", "once"), [(errno.ENOSPC, True), (errno.EACCES, False)])
def test_a_disk_that_fails_while_importing_leaves_nothing(
    number: int, once: bool, parts: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    packed, whole = zipped(list(parts)), {name[7:]: content for name, content in parts}

    def stop() -> None:
        raise OSError(number, os.strerror(number))

    for at in range(1, 100):
        place = tmp_path / f"records {at}"
        place.mkdir()
        try:
            with _stopping(at, stop, once):
                folder = import_zip(packed, place)
            break
        except RecordError as error:
            refused = str(error)
        assert os.strerror(number) in refused
        if once:
            assert tree(place) == {}
        for entry in Catalogue(place).find().entries:
            assert tree(entry.folder) == whole
    assert verification.verify(folder).intact
    assert at > 8


def test_nothing_is_imported_through_a_link(parts: list[tuple[str, bytes]], empty: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (empty / "imported").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecordError, match="imported in records is no folder"):
        import_zip(zipped(list(parts)), empty)
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_store_that_is_none_is_refused(parts: list[tuple[str, bytes]], tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="There is no folder nowhere"):
        import_zip(zipped(list(parts)), tmp_path / "nowhere")
    with pytest.raises(RecordError, match="There is no folder nowhere"):
        prune(tmp_path / "nowhere", older_than_days=1)
    assert list(tmp_path.iterdir()) == []


# ---- the module that writes ------------------------------------------------------------------------------------------


def test_a_folder_is_removed_with_all_it_holds_and_no_link_is_followed(tmp_path: Path) -> None:
    kept, folder = tmp_path / "kept", tmp_path / "folder"
    for one in (kept, folder / "inner"):
        one.mkdir(parents=True)
        (one / "file").write_text("x")
    (folder / "link").symlink_to(kept)
    durable.remove_folder(folder)
    assert tree(tmp_path) == {"kept": None, "kept/file": b"x"}
    with pytest.raises(FileNotFoundError):
        durable.remove_folder(folder)


def test_a_folder_that_fails_its_check_never_has_its_name(tmp_path: Path) -> None:
    seen = list[dict[str, bytes | None]]()

    def check(draft: Path) -> None:
        assert not (tmp_path / "new").exists()
        seen.append(tree(draft))
        raise RecordError("no")

    with pytest.raises(RecordError):
        durable.write_folder(tmp_path / "new", iter([("a", b"1"), ("b", b"2")]), check)
    assert seen == [{"a": b"1", "b": b"2"}]
    assert list(tmp_path.iterdir()) == []
