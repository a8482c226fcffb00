"""The index of a store says what its manifests say, whatever becomes of the index or of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import shutil
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT
from tests.records_made import fields, saved, written
from xai_core import catalogue, seal
from xai_core.catalogue import INDEX, Catalogue, Search
from xai_core.errors import Cancelled, RecordError, SettingError
from xai_core.store import Entry, list_records


def names(store: Path | Catalogue, **search: Any) -> list[str]:
    """The folders that are found, in their order."""
    listed = store if isinstance(store, Catalogue) else Catalogue(store)
    found = listed.find(Search(**search), count=10**6)
    assert found.total == len(found.entries)
    return [entry.folder.name for entry in found.entries]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Four records, an audit, a broken one and what is none."""
    store = tmp_path / "records"
    written(store, "Lung_left", model="resnet18", method="lime", reviewer="Ada B.", created="2026-01-31T23:59:59.9Z")
    written(store, "second", note="Seen by TWO", verdict="weak", label="no finding", created="2026-02-01T00:00:00.0Z")
    written(store, "third", verdict="supported", picture="cd" * 32, created="2026-03-05T10:00:00.0Z")
    two = [{"name": "resnet18"}, {"name": "mine, v2"}]
    written(store, "fourth", kind="comparison", models=two, created="2026-03-05T11:00:00.0Z")
    written(store, "an audit", kind="audit", files=[])
    (written(store, "broken") / seal.MANIFEST).write_bytes(b"{}")
    written(store / "audits", "run")
    written(store / "tombstones", "gone")
    written(store, ".hidden")
    (store / "file").write_text("x")
    return store


# ---- what is found -------------------------------------------------------------------------------------------------


def test_all_are_listed_the_newest_first_and_the_broken_last(store: Path) -> None:
    assert names(store) == ["fourth", "third", "second", "Lung_left", "broken"]
    assert Catalogue(store).find(Search()).entries == list_records(store)


def test_records_of_every_kind_and_schema_are_listed_as_without_an_index(tmp_path: Path) -> None:
    for kind in ("explanation", "comparison", "probe"):
        shutil.copytree(ROOT / "tests" / "golden" / "schema_1" / kind, tmp_path / f"old {kind}")
    shutil.copytree(ROOT / "tests" / "golden" / "schema_1" / "audit", tmp_path / "old audit")
    saved(tmp_path, "a sheet", note="tables")
    found = Catalogue(tmp_path).find(Search()).entries
    assert found == list_records(tmp_path)
    assert {entry.kind for entry in found} == {"explanation", "comparison", "probe", "scores"}
    assert not any(entry.problem for entry in found)


def test_an_entry_comes_back_from_the_index_as_it_was_read_from_the_manifest(store: Path) -> None:
    first = Catalogue(store)
    first.refresh()
    [entry] = first.find(Search(text="lung")).entries
    assert entry == Entry(
        store / "Lung_left", id="4c756e675f6c65667400000000000000", kind="explanation",
        created="2026-01-31T23:59:59.9Z", models=("resnet18",), methods=("lime",), title="fracture", picture="ab" * 32,
        reviewer="Ada B.", bytes=100,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({"kind": "comparison"}, ["fourth"]),
        ({"model": "resnet18"}, ["fourth", "Lung_left"]),
        ({"model": "mine, v2"}, ["fourth"]),
        ({"model": "mine"}, []),
        ({"method": "lime"}, ["Lung_left"]),
        ({"verdict": "weak"}, ["second"]),
        ({"reviewer": "Ada B."}, ["Lung_left"]),
        ({"reviewer": "Ada"}, []),
        ({"picture": "cd" * 32}, ["third"]),
        ({"picture": " CDc"}, ["third"]),
        ({"picture": "cdd"}, []),
        ({"picture": "dc"}, []),
        ({"since": "2026-02-01"}, ["fourth", "third", "second"]),
        ({"until": "2026-01-31"}, ["Lung_left"]),
        ({"until": "2026-02"}, ["second", "Lung_left"]),
        ({"since": "2026-02", "until": "2026-02-01"}, ["second"]),
        ({"since": "2027"}, []),
        ({"until": "2026"}, ["fourth", "third", "second", "Lung_left"]),
        ({"text": "LUNG-left"}, ["Lung_left"]),
        ({"text": "two  seen"}, ["second"]),
        ({"text": "resnet18", "kind": "explanation"}, ["Lung_left"]),
        ({"text": "ada", "since": "2026-02"}, []),
        ({"text": "2026-03 05t11"}, ["fourth"]),
        ({"text": "%"}, []),
        ({"text": "no_finding"}, ["second"]),
    ],
)
def test_a_search_finds_what_it_says(search: dict[str, str], expected: list[str], store: Path) -> None:
    assert names(store, **search) == expected


def test_a_word_with_a_hyphen_is_looked_for_as_a_whole(tmp_path: Path) -> None:
    for number in (7, 8, 77):
        written(tmp_path, f"r{number}", model=f"model-{number}", created="2026-07-07T07:07:07.0Z")
    assert sorted(names(tmp_path, text="model-7")) == ["r7", "r77"]
    assert names(tmp_path, text="MODEL_8 fracture") == ["r8"]
    assert names(tmp_path, text="7-model") == []
    assert len(names(tmp_path, text="- _")) == 3


def test_any_search_finds_what_a_slow_look_at_every_manifest_finds(tmp_path: Path) -> None:
    rng = random.Random(3)
    said: dict[str, tuple[Any, ...]] = {
        "model": ("a", "b-1", "B_1"), "method": ("lime", "grad_cam"), "verdict": (None, "weak", "supported"),
        "reviewer": ("", "Ada", "ΣΟΦΟΣ straße"), "note": ("", "Left_lung", "a b"), "label": ("x", "No-Finding"),
        "created": ("2026-01-01T00Z", "2026-01-02T00Z", "2026-02-01T00Z"), "picture": ("ab" * 32, "ac" * 32),
    }  # fmt: skip
    for number in range(60):
        written(tmp_path, f"r{number}", **{key: rng.choice(values) for key, values in said.items()})
    everything, index = list_records(tmp_path), Catalogue(tmp_path)
    found, texts = 0, ["LEFT_l", "σοφος", "no finding", "STRASSE", "r1", "a", "2026-01", "b_1"]
    for _ in range(100):
        search = Search(
            text=" ".join(rng.sample(texts, rng.choice((0, 1, 1, 2)))),
            model=rng.choice(("", "", "a", "B_1")), method=rng.choice(("", "", "lime")),
            verdict=rng.choice(("", "", "weak")), reviewer=rng.choice(("", "", "Ada")),
            picture=rng.choice(("", "", "a", "ab", "ac")), since=rng.choice(("", "2026-01-02")),
            until=rng.choice(("", "2026-01")),
        )  # fmt: skip
        slowly = [
            entry.folder.name
            for entry in everything
            if _matches(entry, search.text)
            and search.model in ("", *entry.models)
            and search.method in ("", *entry.methods)
            and search.verdict in ("", *entry.verdicts)
            and search.reviewer in ("", entry.reviewer)
            and any(sha256.startswith(search.picture) for sha256 in entry.picture.split())
            and (not search.since or entry.created[:10] >= search.since)
            and (not search.until or entry.created[:10] <= search.until + "-99")
        ]
        assert sorted(names(index, **vars(search))) == sorted(slowly), search
        found += len(slowly)
    assert found > 100


def _matches(entry: Entry, wanted: str) -> bool:
    """A second, slow derivation of what text finds."""

    def bare(text: str) -> str:
        return "".join(" " if letter in "_-" else letter for letter in text.casefold())

    said = (entry.model, " ".join(entry.methods), entry.title, entry.note, entry.folder.name, entry.reviewer)
    return all(any(word in bare(text) for text in (*said, entry.created)) for word in map(bare, wanted.split()))


def test_records_are_found_a_page_at_a_time(store: Path) -> None:
    index = Catalogue(store)
    pages = [index.find(Search(), first, 2) for first in (0, 2, 4, 6)]
    assert [[entry.folder.name for entry in page.entries] for page in pages] == [
        ["fourth", "third"], ["second", "Lung_left"], ["broken"], [],
    ]  # fmt: skip
    assert {page.total for page in pages} == {5}
    assert index.find(Search(), -3, -1).entries == []


def test_the_choices_are_counted(store: Path) -> None:
    assert Catalogue(store).choices() == (
        {"comparison": 1, "explanation": 3},
        {"demo-xray": 2, "mine, v2": 1, "resnet18": 2},
        {"grad_cam": 3, "lime": 1},
        {"supported": 1, "weak": 1},
        {"Ada B.": 1},
    )


def test_every_choice_finds_as_many_as_it_counts(store: Path) -> None:
    index = Catalogue(store)
    for what, counted in zip(catalogue.CHOICES, index.choices(), strict=True):
        for value, count in counted.items():
            assert len(names(index, **{what: value})) == count


def test_a_probe_is_found_by_any_of_its_pictures(tmp_path: Path) -> None:
    for name, pictures in {"one": ["ab" * 32, "cd" * 32], "other": ["ab" * 32]}.items():
        written(tmp_path, name, kind="probe", probe={"name": "brightness"}, methods=[], pictures=pictures, files=[])
    assert sorted(names(tmp_path, picture="ab" * 32)) == ["one", "other"]
    assert names(tmp_path, picture="cdcd") == ["one"]


def test_the_size_is_that_of_all_files_that_are_listed(tmp_path: Path) -> None:
    assert Catalogue(written(tmp_path, "empty").parent).size() == 100
    folder = saved(tmp_path, "whole")
    files = sum(path.stat().st_size for path in folder.iterdir() if path.name != seal.MANIFEST)
    assert Catalogue(tmp_path).size() == 100 + files


def test_a_record_is_found_by_its_id_the_own_before_the_imported(store: Path) -> None:
    identity = "5" * 32
    written(store / "imported", "a", id=identity, note="from afar")
    index = Catalogue(store)
    assert index.folder_of(identity) == store / "imported" / "a"
    assert names(index, text="afar") == ["a"]
    written(store, "z", id=identity)
    index.refresh()
    assert index.folder_of(identity) == store / "z"
    assert index.folder_of("nobody's \ud800") is None
    assert index.folder_of("") is None  # what is broken has no id


@pytest.mark.parametrize("day", ["yesterday", "2026-1-1", "2026-01-01T00", "%", "２０２６", " 2026"])
def test_a_date_that_is_none_is_refused(day: str) -> None:
    with pytest.raises(SettingError, match="Write it as 2026-03-31"):
        Search(since=day)
    with pytest.raises(SettingError, match="Write it as 2026-03-31"):
        Search(until=day)


def test_a_search_of_very_many_words_is_answered_or_refused(store: Path) -> None:
    assert names(store, text="l " * 250) == names(store, text="l")
    many = " ".join(f"{n:02x}" for n in range(166))
    assert names(store, text=many) == []
    with pytest.raises(SettingError, match="too long"):
        Search(text="x" * 501)


# ---- what changes --------------------------------------------------------------------------------------------------


def test_what_changed_in_the_store_is_seen_at_the_next_refresh(store: Path) -> None:
    index, other = Catalogue(store), Catalogue(store)
    index.refresh()
    shutil.rmtree(store / "third")
    written(store, "fifth", created="2027-01-01T00:00:00.0Z")
    (store / "second").rename(store / "renamed")
    manifest = written(store, "fourth", kind="comparison", note="changed since") / seal.MANIFEST
    os.utime(manifest, ns=(1, 1))
    assert names(index)[:2] == ["fourth", "third"]
    index.refresh()
    assert names(index) == ["fifth", "fourth", "renamed", "Lung_left", "broken"]
    assert names(index, text="changed") == ["fourth"]
    assert names(other) == names(index)


def test_only_manifests_that_are_new_or_changed_are_read(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()

    def noted(folder: Path) -> Entry | None:
        read.append(folder.name)
        return real(folder)

    real = catalogue.entry_of
    monkeypatch.setattr(catalogue, "entry_of", noted)
    index = Catalogue(store)
    index.refresh()
    assert sorted(read) == sorted(["an audit", *names(index)])
    index.refresh()
    Catalogue(store).find()
    assert len(read) == 6
    os.utime(store / "third" / seal.MANIFEST, ns=(5, 5))
    told = list[tuple[int, int]]()
    index.refresh(lambda done, total: told.append((done, total)))
    assert (read[6:], told) == (["third"], [(1, 1)])


def test_a_manifest_of_the_same_time_and_another_size_is_read_again(store: Path) -> None:
    path = store / "third" / seal.MANIFEST
    facts, index = path.stat(), Catalogue(store)
    index.refresh()
    path.write_bytes(path.read_bytes() + b" ")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    index.refresh()
    assert names(index)[-2:] == ["broken", "third"]
    path.unlink()
    index.refresh()
    [entry] = [one for one in index.find(Search()).entries if one.folder.name == "third"]
    assert "missing" in str(entry.problem)


def test_what_was_read_before_somebody_cancels_stays_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        written(tmp_path, f"r{number}")
    monkeypatch.setattr(catalogue, "AT_ONCE", 3)
    index, cancel = Catalogue(tmp_path), threading.Event()

    def stop(done: int, _total: int) -> None:
        if done == 5:
            cancel.set()

    with pytest.raises(Cancelled, match="stay listed"):
        index.refresh(stop, cancel)
    told = list[tuple[int, int]]()
    index.refresh(lambda done, total: told.append((done, total)))
    assert told == [(done, 5) for done in range(1, 6)]
    assert len(names(index)) == 10


# ---- the index -----------------------------------------------------------------------------------------------------


def _foreign(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as book:
        book.execute("CREATE TABLE records (mine TEXT)")


def _changed(statement: str) -> Any:
    def change(path: Path) -> None:
        book = sqlite3.connect(path)
        book.executescript(statement)
        book.close()

    return change


def _page(number: int) -> Any:
    def change(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[number * 4096 : number * 4096 + 4096] = b"\x5a" * 4096
        path.write_bytes(content)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        Path.unlink,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"no database" * 1000),
        lambda path: path.write_bytes(path.read_bytes()[:5000]),
        lambda path: path.write_bytes(path.read_bytes()[:100]),
        *map(_page, range(1, 9)),
        _foreign,
        _changed("PRAGMA user_version = 1"),
        _changed("PRAGMA application_id = 1"),
        _changed("UPDATE records SET entry = '{}'"),
        _changed("UPDATE records SET entry = '[[' WHERE entry IS NOT NULL"),
        _changed("UPDATE records SET entry = '[1]'"),
        _changed("DROP TABLE words"),
        _changed("DROP TABLE records"),
        _changed(
            "CREATE TRIGGER t AFTER DELETE ON records BEGIN INSERT INTO records (place, stamp, created, entry) "
            "VALUES ('../victim', 'x', '2001', '{}'); END; "
            "INSERT INTO records (place, stamp, created, entry) VALUES ('../victim', 'x', '2001', '{}')"
        ),
        _changed(
            "DROP TABLE words; DROP TABLE records; CREATE VIEW records AS WITH RECURSIVE x(n) AS (SELECT 1 UNION ALL "
            "SELECT n + 1 FROM x) SELECT n number, n place, n stamp, '' id, '' created, 0 bytes, '' text, '' entry "
            "FROM x"
        ),
    ],
)
def test_an_index_that_is_damaged_or_foreign_does_no_harm(damage: Any, store: Path) -> None:
    whole = Catalogue(store)
    whole.refresh()
    expected = (names(whole), whole.choices(), whole.size())
    damage(store / INDEX)
    for index in (whole, Catalogue(store)):
        assert (names(index), index.choices(), index.size()) == expected
        index.refresh()
        assert (names(index), index.choices(), index.size()) == expected


@pytest.mark.parametrize(
    "damage", [lambda path: path.write_bytes(b"no database" * 999), _changed("PRAGMA user_version=1"), _foreign]
)
def test_a_damaged_index_is_made_anew_on_the_disk(damage: Any, store: Path) -> None:
    Catalogue(store).refresh()
    damage(store / INDEX)
    index = Catalogue(store)
    index.refresh()
    assert index._memory is None
    with sqlite3.connect(f"file:{store / INDEX}?mode=ro", uri=True) as book:
        assert book.execute("SELECT COUNT(*) FROM records").fetchone() == (6,)


@pytest.mark.parametrize("kind", ["folder", "link", "pipe"])
def test_what_has_the_name_of_the_index_and_is_none_is_left_alone(kind: str, store: Path, tmp_path: Path) -> None:
    path, other = store / INDEX, tmp_path / "other"
    other.write_bytes(b"somebody's")
    {"folder": path.mkdir, "link": lambda: path.symlink_to(other), "pipe": lambda: os.mkfifo(path)}[kind]()
    index = Catalogue(store)
    assert names(index) == ["fourth", "third", "second", "Lung_left", "broken"]
    written(store, "fifth", created="2027-01-01T00:00:00.0Z")
    index.refresh()
    assert names(index)[0] == "fifth"
    assert other.read_bytes() == b"somebody's"
    assert not path.is_file() or path.is_symlink()


class _ReadOnly:
    """SQLite as it is where the store cannot be written."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __call__(self, path: Any, **options: Any) -> sqlite3.Connection:
        if str(path) == ":memory:" or options.get("uri"):
            return self.real(path, **options)  # type: ignore[no-any-return]
        if not Path(path).exists():
            raise sqlite3.OperationalError("unable to open database file")
        return self.real(f"{Path(path).as_uri()}?mode=ro", uri=True, **options)  # type: ignore[no-any-return]


@pytest.mark.parametrize("indexed", [False, True])
def test_a_store_that_cannot_be_written_is_indexed_in_memory(
    indexed: bool, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if indexed:
        Catalogue(store).refresh()
        written(store, "fifth", created="2027-01-01T00:00:00.0Z")  # so that there is something to write
    before = sorted(path.name for path in store.iterdir())
    monkeypatch.setattr(catalogue.sqlite3, "connect", _ReadOnly(sqlite3.connect))
    read = list[str]()
    real = catalogue.entry_of
    monkeypatch.setattr(catalogue, "entry_of", lambda folder: read.append(folder.name) or real(folder))
    index = Catalogue(store)
    assert names(index) == ["fifth"] * indexed + ["fourth", "third", "second", "Lung_left", "broken"]
    assert len(set(read)) == (1 if indexed else 6)  # what the index on the disk knows is not read again
    with ThreadPoolExecutor(4) as pool:
        assert len({tuple(one) for one in pool.map(lambda _: names(index, text="a"), range(40))}) == 1
    assert sorted(path.name for path in store.iterdir()) == before


def test_a_store_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(RecordError, match="There is no folder"):
            Catalogue(place).find()
    assert not (tmp_path / "nowhere").exists()


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    index = Catalogue(tmp_path)
    assert (index.find(), index.size(), index.folder_of("x")) == (([], 0), 0, None)
    assert index.choices() == ({}, {}, {}, {}, {})


# ---- several at once -----------------------------------------------------------------------------------------------


def _ask(store: Path, times: int) -> int:
    for _ in range(times):
        index = Catalogue(store)
        index.refresh()
        if len(names(index, text="r")) < 30 or index._memory is not None:
            return 1
    return 0


def test_threads_and_processes_build_and_ask_one_index_together(tmp_path: Path) -> None:
    for number in range(30):
        written(tmp_path, f"r{number}")
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=lambda: os._exit(_ask(tmp_path, 5))) for _ in range(3)]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(4) as pool:
        asked = list(pool.map(lambda _: _ask(tmp_path, 3), range(4)))
    for process in processes:
        process.join(60)
    assert (asked, [process.exitcode for process in processes]) == ([0] * 4, [0] * 3)


def test_a_record_that_another_adds_meanwhile_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "old")
    slow, real = Catalogue(tmp_path), catalogue._stamps

    def meanwhile(store: Path) -> Any:
        yield from list(real(store))
        monkeypatch.setattr(catalogue, "_stamps", real)
        written(tmp_path, "new")
        Catalogue(tmp_path).refresh()

    monkeypatch.setattr(catalogue, "_stamps", meanwhile)
    slow.refresh()
    assert sorted(names(slow)) == ["new", "old"]


# ---- what may have been made by an enemy -----------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="names of bytes")
def test_names_of_folders_that_are_no_text_are_listed(tmp_path: Path) -> None:
    hostile = [b"caf\xe9", b"a'; DROP TABLE records; --", b"line\nbreak", "\u202e右".encode(), b"%_*?[", b"x" * 255]
    for name in hostile:
        written(tmp_path, os.fsdecode(name))
    index = Catalogue(tmp_path)
    assert {os.fsencode(name) for name in names(index)} == set(hostile)
    assert names(index, text="drop table") == ["a'; DROP TABLE records; --"]
    assert [os.fsencode(name) for name in names(index, text="caf")] == [b"caf\xe9"]
    assert len(names(Catalogue(tmp_path))) == len(hostile)


def test_links_are_not_followed(store: Path, tmp_path: Path) -> None:
    elsewhere = written(tmp_path / "elsewhere", "secret", note="secret words")
    (store / "link").symlink_to(elsewhere)
    (store / "dangling").symlink_to(tmp_path / "nowhere")
    (store / "imported").symlink_to(elsewhere.parent)
    (store / "third" / seal.MANIFEST).unlink()
    (store / "third" / seal.MANIFEST).symlink_to(elsewhere / seal.MANIFEST)
    index = Catalogue(store)
    assert names(index, text="secret") == []
    broken = {entry.folder.name: str(entry.problem) for entry in index.find(Search(), 3).entries if entry.problem}
    assert {"link", "dangling", "third", "broken"} == set(broken)
    assert "not followed" in broken["link"]


def _odd() -> list[dict[str, Any]]:
    deep: Any = "x"
    for _ in range(12):
        deep = [deep]
    values = (None, 7, -1e308, True, [], {}, deep, "", "\x00\x1b", "x" * 100_000, "%s{0}'\"", "\U0001f480" * 99)
    keys = (
        "id",
        "kind",
        "created",
        "note",
        "reviewer",
        "picture",
        "models",
        "explanations",
        "chain",
        "files",
        "schema",
    )
    return [{key: value} for key in keys for value in values]


def test_no_manifest_does_any_harm(tmp_path: Path) -> None:
    odd = _odd()
    for number, changes in enumerate(odd):
        folder = tmp_path / f"n{number}"
        folder.mkdir()
        content = {**fields(id=f"{number:032x}"), **changes}
        (folder / seal.MANIFEST).write_bytes(seal.sealed(content))
    written(tmp_path, "good", note="findable")
    index = Catalogue(tmp_path)
    assert names(index, text="findable") == ["good"]
    assert index._memory is None
    assert len(names(index)) + len(names(index, kind="audit")) == len(odd) + 1
    assert all(isinstance(one, str) for counted in index.choices() for one in counted)
    assert index.size() > 0
    assert {replace(entry) for entry in index.find(Search(), count=999).entries}  # every field can be hashed


def test_a_manifest_that_is_a_pipe_or_huge_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe" / seal.MANIFEST)
    (tmp_path / "huge").mkdir()
    with (tmp_path / "huge" / seal.MANIFEST).open("wb") as file:
        file.truncate(10**11)
    start = time.monotonic()
    assert sorted(names(tmp_path)) == ["huge", "pipe"]
    assert time.monotonic() - start < 5


def test_the_index_holds_what_the_manifests_say_and_nothing_else(store: Path) -> None:
    Catalogue(store).refresh()
    assert {path.name for path in store.iterdir() if path.name.startswith(".index")} == {INDEX}
    book = sqlite3.connect(store / INDEX)
    entries = [json.loads(entry) for (entry,) in book.execute("SELECT entry FROM records WHERE entry IS NOT NULL")]
    book.close()
    assert all("folder" not in entry for entry in entries)
    assert str(store).encode() not in (store / INDEX).read_bytes()
