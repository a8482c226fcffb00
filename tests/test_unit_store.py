"""What a store has acknowledged it gives back as it was, whatever happens to it; and nothing else, ever."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from tests.conftest import ROOT
from tests.stored_answers import CALLS, Failing, answer, answers, contents, key
from tests.test_durable import failing
from xai_core import unit_parts, unit_places, unit_store
from xai_core.errors import StoreError
from xai_core.provenance import VERSION
from xai_core.unit_store import UnitStore
from xai_core.units import Unit


def holds(store: UnitStore, units: Sequence[Unit]) -> bool:
    """Whether the store holds exactly these units."""
    found = store.get([unit.key for unit in units])
    return len(store) == len(units) and [contents(one) for one in found.values()] == [contents(one) for one in units]


def parts(folder: Path) -> list[Path]:
    return sorted((folder / "parts").glob("*/*.safetensors"))


def expected_digest(*numbers: int) -> str:
    """The digest of these answers, from a store that nothing happened to."""
    memory = f"memory://truth/of-{'-'.join(map(str, numbers))}"
    with UnitStore(memory) as store:
        store.put(answers(*numbers))
        return store.digest()


@pytest.fixture(autouse=True)
def _no_memory_left() -> Iterator[None]:
    yield
    fsspec.filesystem("memory").store.clear()


@pytest.fixture(params=["folder", "memory"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "store") if request.param == "folder" else f"memory://{tmp_path.name}/store"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A store of twelve units in three parts."""
    with UnitStore(tmp_path / "store") as store:
        for start in (0, 4, 8):
            store.put(answers(*range(start, start + 4)))
    return tmp_path / "store"


# there and back -------------------------------------------------------------------------------------------------------


def test_units_come_back_as_they_went(address: str) -> None:
    arrays = {
        "none": np.zeros((0, 3), np.float32),
        "one": np.array(3.5),
        "flags": np.array([True, False]),
        "other order": np.arange(12, dtype=np.int16).reshape(3, 4).T,
        "nan": np.array([np.nan, -0.0, np.inf], np.float16),
        "a/b": np.arange(3, dtype=np.uint8),
    }
    units = [answer(1, arrays=arrays), answer(2, arrays={}), answer(3, kind="score", facts={}, seconds=1 / 3)]
    with UnitStore(address) as store:
        store.put(units)
        assert holds(store, units)
        assert [one.seconds for one in store.get([key(3), key(1)]).values()] == [1 / 3, 0.5]
    with UnitStore(address) as store:
        assert holds(store, units)
        assert store.problems == ()


def test_big_endian_arrays_are_equal_to_little_endian_ones(address: str) -> None:
    with UnitStore(address) as store:
        store.put([answer(1, arrays={"x": np.array([1.5, 2], ">f4")})])
        digest, found = store.digest(), store.get([key(1)])[key(1)].arrays["x"]
    assert found.tolist() == [1.5, 2]
    with UnitStore(address + "2") as store:
        store.put([answer(1, arrays={"x": np.array([1.5, 2], "<f4")})])
        assert store.digest() == digest


def test_what_is_not_there_is_left_out(address: str) -> None:
    with UnitStore(address) as store:
        assert (len(store), store.get([key(1)]), store.found([])) == (0, {}, set())
        store.put([])
        store.put(answers(1, 2))
        assert store.found([key(0), key(2), key(1), "' OR 1 --"]) == {key(1), key(2)}
        assert list(store.get([key(2), key(0), key(1), key(2)])) == [key(2), key(1)]


@pytest.mark.parametrize(
    "changes",
    [
        {"key": ""},
        {"key": "a/b"},
        {"kind": "guess"},
        {"facts": {"x": float("nan")}},
        {"arrays": {"x": np.array(["text"])}},
        {"arrays": {"x": np.array([None])}},
    ],
)
def test_what_cannot_be_kept_is_refused_and_nothing_of_it_stays(changes: dict[str, Any], tmp_path: Path) -> None:
    with UnitStore(tmp_path / "store") as store:
        with pytest.raises(ValueError):
            store.put([answer(1), answer(2, **changes)])
        assert len(store) == 0
    assert parts(tmp_path / "store") == []


def test_arrays_that_were_got_cannot_be_written_to(folder: Path) -> None:
    with UnitStore(folder) as store, pytest.raises(ValueError, match="read-only"):
        store.get([key(1)])[key(1)].arrays["values"][0] = 1


def test_units_are_one_part_and_those_that_are_there_are_not_written_again(folder: Path) -> None:
    before = parts(folder)
    assert len(before) == 3
    with UnitStore(folder) as store:
        store.put([answer(number, seconds=9) for number in range(12)])
        assert parts(folder) == before
        store.put([answer(11, seconds=9), answer(12), answer(12, seconds=9)])
        assert len(parts(folder)) == 4
        assert holds(store, answers(*range(13)))
        assert [one.seconds for one in store.get([key(11), key(12)]).values()] == [0.5, 0.5]


def test_each_part_is_read_once_for_many_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    real = unit_places.Folder.read
    monkeypatch.setattr(unit_places.Folder, "read", lambda self, name: (read.append(name), real(self, name))[1])
    with UnitStore(folder) as store:
        assert read == []  # nor to open it when the index is up to date
        store.get([key(number) for number in range(12)])
        assert sorted(read) == [f"{path.parent.name}/{path.name}" for path in parts(folder)]


# the digest -----------------------------------------------------------------------------------------------------------


def test_the_digest_knows_neither_order_nor_packing_nor_repetition_nor_seconds(address: str) -> None:
    numbers = list(range(10))
    digests = set()
    for size in (1, 3, 10):
        random.Random(size).shuffle(numbers)
        with UnitStore(f"{address}{size}") as store:
            for start in range(0, 10, size):
                store.put([answer(number, seconds=start) for number in numbers[start : start + size]])
                store.put([answer(number, seconds=9) for number in numbers[: start + size]])
            digests.add(store.digest())
    assert digests == {expected_digest(*range(10))}


def test_the_digest_knows_everything_else() -> None:
    one = answer(1)
    values = one.arrays["values"]
    nudged = values.copy()
    nudged[0, 0] = np.nextafter(nudged[0, 0], np.float32(9))
    changed = [
        one,
        one._replace(key=key(2)),
        one._replace(kind="score"),
        one._replace(facts={**one.facts, "none": 0}),
        one._replace(arrays={**one.arrays, "values": nudged}),
        one._replace(arrays={**one.arrays, "values": values.reshape(7, 5)}),
        one._replace(arrays={**one.arrays, "values": values.view(np.int32)}),
        one._replace(arrays={"seen": one.arrays["values"], "values": one.arrays["seen"]}),
        one._replace(arrays={"values": values}),
    ]
    digests = set()
    for number, unit in enumerate(changed):
        with UnitStore(f"memory://{number}") as store:
            store.put([unit])
            digests.add(store.digest())
    assert len(digests) == len(changed)


def test_the_digest_of_some_keys_is_that_of_a_store_of_them(folder: Path) -> None:
    with UnitStore(folder) as store:
        assert store.digest([key(3), key(7), key(99)]) == expected_digest(3, 7)
        assert store.digest([]) == expected_digest()
        assert store.digest() == expected_digest(*range(12))


def test_of_two_answers_that_differ_every_index_takes_the_same(tmp_path: Path) -> None:
    """A GPU may give two writers two answers, and each writer its part."""
    said = []
    for order in ((1, 2), (2, 1)):
        fsspec.filesystem("memory").store.clear()
        stores = {value: UnitStore("memory://two") for value in order}
        for value, store in stores.items():
            store.put([answer(1, facts={"value": value})])
        with UnitStore("memory://two") as store:
            assert len(store) == 1
            given = store.get([key(1)])[key(1)]
            said.append((store.digest(), given.facts["value"]))
    assert said[0] == said[1]
    with UnitStore("memory://one") as store:  # and it is the one that is given
        store.put([given])
        assert store.digest() == said[0][0]


# damage ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["gone", "empty", "half", "flipped", "longer", "other", "folder", "pipe", "link"])
@pytest.mark.parametrize("when", ["while open", "before opening", "and the index is gone"])
def test_a_part_that_is_damaged_counts_as_not_there(how: str, when: str, folder: Path, tmp_path: Path) -> None:
    broken, other, _ = parts(folder)
    early = UnitStore(folder) if when == "while open" else None
    data = broken.read_bytes()
    broken.rename(tmp_path / "moved")
    flipped = bytearray(data)
    flipped[len(data) // 2] ^= 4
    changed = {"empty": b"", "half": data[: len(data) // 2], "flipped": flipped, "longer": data + b"\0"}
    if how in changed or how == "other":
        broken.write_bytes(changed.get(how, other.read_bytes()))
    elif how == "folder":
        broken.mkdir()
    elif how == "pipe":
        os.mkfifo(broken)
    elif how == "link":
        broken.symlink_to(tmp_path / "moved")
    if when == "and the index is gone":
        (folder / "index.sqlite").unlink()
    with early or UnitStore(folder) as store:
        there = store.get([key(number) for number in range(12)])
        assert len(there) == 8
        assert all(contents(unit) == contents(answer(unit.facts["number"])) for unit in there.values())
        assert store.found([key(number) for number in range(12)]) == set(there)  # it is forgotten
        unheard_of = how == "gone" and when == "and the index is gone"
        assert unheard_of or any(broken.name in problem for problem in store.problems)
        if how == "folder":
            return  # nothing can be written where a folder lies
        store.put(answers(*range(12)))
        assert holds(store, answers(*range(12)))
        assert len(parts(folder)) == 3  # equal bytes have an equal name, which is mended
    with UnitStore(folder) as store:
        assert holds(store, answers(*range(12)))


def test_a_unit_that_lies_in_two_parts_outlives_the_loss_of_one(tmp_path: Path) -> None:
    first, second = UnitStore("memory://twice"), UnitStore("memory://twice")
    first.put(answers(1, 2))
    second.put(answers(2, 3))
    files = fsspec.filesystem("memory")
    for lost in files.find("/twice/parts"):
        files.copy("/twice", f"/lost-{lost[-20:]}", recursive=True)
        with UnitStore(f"memory://lost-{lost[-20:]}") as store:
            assert store.digest() == expected_digest(1, 2, 3)
            files.rm(lost.replace("/twice", f"/lost-{lost[-20:]}"))
            assert len(store.get([key(1), key(2), key(3)])) == 2
            assert store.found([key(2)]) == {key(2)}


def index_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("index.sqlite*"))


def test_an_index_that_is_deleted_is_made_again(folder: Path) -> None:
    for file in index_files(folder):
        file.unlink()
    with UnitStore(folder) as store:
        assert holds(store, answers(*range(12)))
        assert store.digest() == expected_digest(*range(12))


def test_an_index_that_is_cut_or_overwritten_is_made_again(folder: Path) -> None:
    data = (folder / "index.sqlite").read_bytes()
    truth, page = expected_digest(*range(12)), 4096
    assert len(data) > 2 * page
    broken = [data[:length] for length in (0, 1, 15, 16, 99, 100, page - 1, page, page + 1, 2 * page, len(data) - 1)]
    broken += [b"not a database" * 500, random.Random(0).randbytes(len(data)), data[:100] + data[page:] + data[:page]]
    for number, content in enumerate(broken):
        (folder / "index.sqlite").write_bytes(content)
        with UnitStore(folder) as store:
            assert holds(store, answers(*range(12))), number
            assert store.digest() == truth


def test_an_index_with_a_bad_sector_gives_no_wrong_answer(folder: Path) -> None:
    data, numbers, truth = (folder / "index.sqlite").read_bytes(), random.Random(0), expected_digest(*range(12))
    for at in range(0, len(data), 512):
        (folder / "index.sqlite").write_bytes(data[:at] + numbers.randbytes(512) + data[at + 512 :])
        with UnitStore(folder) as store:
            there = store.get([key(number) for number in range(12)])
            assert all(contents(unit) == contents(answer(unit.facts["number"])) for unit in there.values())
            store.put(answers(*range(12)))
            assert len(store.get([key(number) for number in range(12)])) == 12
            assert store.digest() == truth


@pytest.mark.parametrize("column", ["key", "content"])
def test_a_letter_that_changes_in_the_index_changes_no_digest(column: str, folder: Path) -> None:
    with UnitStore(folder) as store:
        old = store._index.execute(f"SELECT {column} FROM units LIMIT 1").fetchone()[0].encode()
    data = (folder / "index.sqlite").read_bytes()
    assert data.count(old) == 1
    (folder / "index.sqlite").write_bytes(data.replace(old, old[:-1] + (b"0" if old[-1:] != b"0" else b"1")))
    with UnitStore(folder) as store:
        assert store.digest() == expected_digest(*range(12))
        assert holds(store, answers(*range(12)))


def test_an_index_of_other_tables_is_made_again(folder: Path) -> None:
    (folder / "index.sqlite").unlink()
    with sqlite3.connect(folder / "index.sqlite") as other:
        other.execute("CREATE TABLE units (name TEXT)")
    other.close()
    with UnitStore(folder) as store:
        assert holds(store, answers(*range(12)))


def test_what_is_written_ahead_may_be_cut_by_a_failing_power_supply(folder: Path, tmp_path: Path) -> None:
    store = UnitStore(folder)
    store.put(answers(12, 13))
    for length in (0, 1, 32, 33, 1000, 4000, 10**9):
        copy = tmp_path / str(length)
        shutil.copytree(folder, copy)
        ahead = (copy / "index.sqlite-wal").read_bytes()
        (copy / "index.sqlite-wal").write_bytes(ahead[:length])
        with UnitStore(copy) as after:
            assert holds(after, answers(*range(14)))
    store.close()


def lying_part(units: list[Unit], **lies: Any) -> tuple[str, bytes]:
    """A part whose name is right and whose header lies."""
    from safetensors.numpy import load, save

    _, data, _ = unit_parts.part_of(units)
    listed = json.loads(json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]["units"])
    listed[0].update(lies)
    forged = save(load(data), {"units": json.dumps(listed)})
    digest = hashlib.sha256(forged).hexdigest()
    return f"{digest[:2]}/{digest}.safetensors", forged


def hostile() -> Iterator[tuple[str, bytes]]:
    """Names and bytes of files that no store wrote."""

    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, ("bomb",)

    for data in (
        pickle.dumps(Bomb()),
        b"",
        (2**63).to_bytes(8, "little") + b"{}",
        b"\x02\0\0\0\0\0\0\0{}",
        (2 * 10**5).to_bytes(8, "little") + b"[" * 2 * 10**5,
    ):
        digest = hashlib.sha256(data).hexdigest()
        yield f"{digest[:2]}/{digest}.safetensors", data
    yield lying_part(answers(50), sha256="0" * 64)
    yield lying_part(answers(51), key=key(0))  # the arrays belong to no unit
    one = answer(52, arrays={})
    yield lying_part([one], kind="guess", sha256=unit_parts._content("guess", one.facts, {}))
    yield lying_part([one], facts=[1], sha256=unit_parts._content("map", [1], {}))  # type: ignore[arg-type]
    yield lying_part([one], seconds="soon")
    yield lying_part([one], key=["a"])
    yield lying_part([one], key=1)
    yield "readme.txt", b"hello"
    yield "zz/readme.txt", b"hello"
    yield f"ab/{'c' * 64}.safetensors", b"in the folder of others"


def test_files_of_others_among_the_parts_are_passed_over_and_listed(folder: Path, tmp_path: Path) -> None:
    foreign = dict(hostile())
    for name, data in foreign.items():
        (folder / "parts" / name).parent.mkdir(exist_ok=True)
        (folder / "parts" / name).write_bytes(data)
    (folder / "parts" / "link").symlink_to(tmp_path)
    with UnitStore(folder) as store:
        assert holds(store, answers(*range(12)))
        assert store.digest() == expected_digest(*range(12))
        for name in [*foreign, "link"]:
            assert any(name.partition("/")[0] in problem for problem in store.problems), name
        assert len(store.problems) == len(foreign) + 1  # with the link
    assert not Path("bomb").exists()


def test_only_old_drafts_are_swept_when_a_store_is_opened(folder: Path) -> None:
    inside = parts(folder)[0].parent
    old, young = inside / f".draft-{'a' * 32}", inside / f".draft-{'b' * 32}"
    for draft in (old, young):
        draft.write_bytes(b"half a part")
    os.utime(old, (time.time() - 1e6,) * 2)
    with UnitStore(folder) as store:
        assert store.problems == ()
    assert (old.exists(), young.exists()) == (False, True)


# where it lies --------------------------------------------------------------------------------------------------------


def test_a_newer_format_is_refused_with_both_versions(address: str) -> None:
    UnitStore(address).close()
    head = json.dumps({"second look": "store of units", "format": 7, "made_by": "9.8.7"})
    with fsspec.open(f"{address}/store.json", "w") as file:
        file.write(head)
    with pytest.raises(StoreError, match=f"format 7, written by Second Look 9.8.7, and this is {VERSION}.* format 1"):
        UnitStore(address)


@pytest.mark.parametrize("head", [b"", b"[]", b"{}", b"\xff", b"[" * 10**5, b'{"second look": 1, "format": 1}'])
def test_a_folder_of_something_else_is_refused_and_left_alone(head: bytes, tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    (tmp_path / "photographs" / "one.png").write_bytes(b"x")
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "store.json").write_bytes(head)
    (tmp_path / "file").write_bytes(b"x")
    before = sorted(tmp_path.rglob("*"))
    for name in ("photographs", "head", "file"):
        with pytest.raises(StoreError, match=rf"Cannot keep answers in .*{name}.*; name a"):
            UnitStore(tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before
    fsspec.filesystem("memory").pipe("/photographs/one.png", b"x")
    with pytest.raises(StoreError, match="something else"):
        UnitStore("memory://photographs")


def test_an_address_of_a_file_protocol_is_a_folder(tmp_path: Path) -> None:
    with UnitStore(f"file://{tmp_path}/store") as store:
        store.put(answers(1))
    with UnitStore(tmp_path / "store") as store:
        assert holds(store, answers(1))
    assert (tmp_path / "store" / "index.sqlite").exists()


def test_a_store_moved_to_another_address_is_the_same_store(folder: Path, tmp_path: Path) -> None:
    fsspec.filesystem("memory").put(str(folder / "parts"), "/moved/parts", recursive=True)
    fsspec.filesystem("memory").put(str(folder / "store.json"), "/moved/store.json")
    with UnitStore("memory://moved") as store:
        assert holds(store, answers(*range(12)))
        assert store.digest() == expected_digest(*range(12))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StoreError, match=r"s3://bucket/name: .*pip install s3fs and try again\."):
        UnitStore("s3://bucket/name")
    with pytest.raises(StoreError, match="nonsense"):
        UnitStore("nonsense://bucket")


def test_an_address_that_does_not_answer_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = type(fsspec.filesystem("memory"))

    def silent(*_: Any, **__: Any) -> None:
        raise RuntimeError("no route to host")  # not an OSError, as with many protocols

    with UnitStore("memory://far") as store:
        store.put(answers(1))
        monkeypatch.setattr(memory, "pipe_file", silent)
        with pytest.raises(StoreError, match="Could not write the store memory://far: no route to host"):
            store.put(answers(2))
        monkeypatch.setattr(memory, "cat_file", silent)
        assert store.get([key(1)]) == {}
    with pytest.raises(StoreError, match="Could not open the store memory://far: no route to host"):
        UnitStore("memory://far")


# failures, kills and company ------------------------------------------------------------------------------------------


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> None:
    real = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **options: real(*args, factory=Failing, **options))


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_a_failure_at_any_call_of_a_put_leaves_the_old_store_or_the_new(number: int, tmp_path: Path) -> None:
    before, after = expected_digest(1, 2), expected_digest(1, 2, 3, 4)
    seen, said = set(), set()
    for at in range(1, 100):
        place = tmp_path / str(at)
        store = UnitStore(place)
        store.put(answers(1, 2))
        try:
            with failing(at, OSError(number, os.strerror(number)), CALLS):
                store.put(answers(3, 4))
            break
        except StoreError as error:
            said.add(str(error).split(": ", 1)[1])
        assert store.digest() in (before, after)
        with UnitStore(place) as other:
            seen.add(other.digest())
            assert seen <= {before, after}
            assert holds(other, answers(1, 2) if other.digest() == before else answers(1, 2, 3, 4))
            assert other.problems == ()
        store.put(answers(3, 4))  # there is room again
        assert holds(store, answers(1, 2, 3, 4))
        store.close()
        assert not list(place.rglob(".draft-*"))
        with UnitStore(place) as other:
            assert other.digest() == after
    assert at > 12
    assert seen == {before, after}
    assert all(one.startswith(f"{os.strerror(number)}. What it held is still there") for one in said)
    store.close()


@pytest.mark.usefixtures("counted")
@pytest.mark.parametrize("kind", ["new", "index gone", "known"])
def test_a_failure_at_any_call_of_an_opening_leaves_what_can_be_opened(kind: str, folder: Path, tmp_path: Path) -> None:
    said = set()
    for at in range(1, 200):
        place = tmp_path / str(at)
        if kind != "new":
            shutil.copytree(folder, place)
        if kind == "index gone":
            (place / "index.sqlite").unlink()
        try:
            with failing(at, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), CALLS):
                store = UnitStore(place)
            store.close()
            if store.problems == ():  # a part that could not be read is passed over
                break
        except StoreError as error:
            said.add(str(error).split(": ", 1)[1])
        store = UnitStore(place)
        assert holds(store, [] if kind == "new" else answers(*range(12)))
        store.close()
    assert at > 5
    assert all(one.startswith("No space left on device. What it held is still there") for one in said)


def test_a_full_index_keeps_what_was_put_before(folder: Path) -> None:
    with UnitStore(folder) as store:
        pages = store._index.execute("PRAGMA page_count").fetchone()[0]
        store._index.execute(f"PRAGMA max_page_count = {pages}")
        big = [answer(number, arrays={}, facts={}) for number in range(100, 400)]
        with pytest.raises(StoreError, match="database or disk is full"):
            store.put(big)
        assert holds(store, answers(*range(12)))
    with UnitStore(folder) as store:
        assert holds(store, [*answers(*range(12)), *big])


KILLED = """
import json, os, random, signal, sys, time
from tests.stored_answers import answer, key
from xai_core.unit_store import UnitStore

address, total, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
chance, acknowledged, rounds = random.Random(seed), set(), []
for kill in range(25):
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(ours)
        with UnitStore(address) as store:
            todo = [n for n in range(total) if key(n) not in store.found([key(n)])]
            os.write(theirs, b"open\\n")
            for start in range(0, len(todo), 3):
                store.put([answer(n, seconds=kill) for n in todo[start : start + 3]])
                os.write(theirs, b"".join(b"%d\\n" % n for n in todo[start : start + 3]))
        os._exit(0)
    os.close(theirs)
    said = b""
    while kill % 3 and said.count(b"\\n") < chance.randrange(1, 16):  # two of three while it writes
        if not (piece := os.read(ours, 16)):
            break
        said += piece
    time.sleep(chance.uniform(0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while piece := os.read(ours, 65536):
        said += piece
    os.close(ours)
    acknowledged |= {int(line) for line in said.split(b"\\n")[:-1] if line != b"open"}
    rounds.append(len(acknowledged))
print(json.dumps([sorted(acknowledged), rounds]))
"""


def in_a_process(code: str, *words: object) -> subprocess.Popen[str]:
    given = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(
        given, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True
    )


def said_by(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(out)


def test_what_was_acknowledged_outlives_kills_at_any_moment(tmp_path: Path) -> None:
    total = 600
    acknowledged, rounds = said_by(in_a_process(KILLED, tmp_path / "store", total, 1))
    assert len(set(rounds)) > 5, rounds  # the kills came while it wrote
    with UnitStore(tmp_path / "store") as store:
        there = store.get([key(number) for number in range(total)])
        assert {key(number) for number in acknowledged} <= set(there)
        assert all(contents(unit) == contents(answer(unit.facts["number"])) for unit in there.values())
        assert len(there) == len(store)
        kept = [unit_parts.units_of(f"{p.parent.name}/{p.name}", p.read_bytes()) for p in parts(tmp_path / "store")]
        assert sum(len(part) for part in kept) == len(store)  # nothing is kept twice
        store.put(answers(*range(total)))
        assert store.digest() == expected_digest(*range(total))
        assert store.problems == ()


KILLED_AT = """
import os, signal, sqlite3, sys
from tests.stored_answers import CALLS, Failing, answers
from xai_core.unit_store import UnitStore

real = sqlite3.connect
sqlite3.connect = lambda *args, **options: real(*args, factory=Failing, **options)
for at in range(1, 200):
    child = os.fork()
    if child == 0:
        count = 0
        def deadly(call):
            def counted(*args, **options):
                global count
                count += 1
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return call(*args, **options)
            return counted
        for name in CALLS:
            setattr(os, name, deadly(getattr(os, name)))
        with UnitStore(f"{sys.argv[1]}/{at}") as store:
            store.put(answers(1, 2))
            store.put(answers(3, 4))
        os._exit(0)
    if os.waitpid(child, 0)[1] == 0:
        break
print(at)
"""


def test_a_kill_at_any_call_leaves_a_store_that_goes_on(tmp_path: Path) -> None:
    last = said_by(in_a_process(KILLED_AT, tmp_path))
    assert last > 40
    steps = {expected_digest(): 0, expected_digest(1, 2): 0, expected_digest(1, 2, 3, 4): 0}
    for at in range(1, last + 1):
        with UnitStore(tmp_path / str(at)) as store:
            assert store.digest() in steps
            steps[store.digest()] += 1
            store.put(answers(1, 2, 3, 4))
            assert holds(store, answers(1, 2, 3, 4))
            assert store.problems == ()
    assert min(steps.values()) > 1


WRITER = """
import json, random, sys
from tests.stored_answers import answer, key
from xai_core.unit_store import UnitStore

address, seed = sys.argv[1], int(sys.argv[2])
print("ready", file=sys.stderr, flush=True)
chance, wrote = random.Random(seed), []
for _ in range(4):
    with UnitStore(address) as store:
        for _ in range(10):
            numbers = chance.sample(range(200), 6)
            store.put([answer(n, seconds=seed) for n in numbers])
            wrote += numbers
            assert store.found(map(key, wrote)) == set(map(key, wrote))
print(json.dumps(wrote))
"""


def test_writers_of_one_store_lose_nothing(tmp_path: Path) -> None:
    """They also make it at once, and open it again while the others write."""
    writers = [in_a_process(WRITER, tmp_path / "store", seed) for seed in range(3)]
    wrote = {number for writer in writers for number in said_by(writer)}
    with UnitStore(tmp_path / "store") as store:
        assert holds(store, answers(*sorted(wrote)))
        assert store.digest() == expected_digest(*sorted(wrote))
        assert store.problems == ()
    (tmp_path / "store" / "index.sqlite").unlink()
    with UnitStore(tmp_path / "store") as store:
        assert store.digest() == expected_digest(*sorted(wrote))


def test_threads_may_share_a_store(address: str) -> None:
    wrong: list[object] = []

    def work(store: UnitStore, seed: int) -> None:
        try:
            for start in range(0, 40, 4):
                store.put(answers(*range(start, start + 4)))
                found = store.get([key(number) for number in range(start + 4)])
                wrong.extend(
                    unit for unit in found.values() if contents(unit) != contents(answer(unit.facts["number"]))
                )
                wrong.extend([] if len(found) == start + 4 else [seed])
        except Exception as error:
            wrong.append(error)

    with UnitStore(address) as store:
        threads = [threading.Thread(target=work, args=(store, seed)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        assert store.digest() == expected_digest(*range(40))


def test_a_part_written_while_another_opens_the_store_is_not_forgotten(folder: Path) -> None:
    writer = UnitStore(folder)
    real = unit_places.Folder.names

    def late(self: unit_places.Folder) -> Iterator[str]:
        listed = list(real(self))
        writer.put(answers(12, 13))  # after the listing, and with its rows
        yield from listed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(unit_places.Folder, "names", late)
        UnitStore(folder).close()
    assert holds(writer, answers(*range(14)))
    writer.close()


def test_a_part_whose_writer_died_before_its_rows_is_adopted(folder: Path) -> None:
    name, data, _ = unit_parts.part_of(answers(12))
    (folder / "parts" / name).parent.mkdir(exist_ok=True)
    (folder / "parts" / name).write_bytes(data)
    with UnitStore(folder) as store:
        assert holds(store, answers(*range(13)))


def test_a_large_store_opens_without_reading_a_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    with UnitStore(tmp_path) as store:
        for number in range(200):
            store.put([answer(number, arrays={}, facts={})])
    monkeypatch.setattr(unit_places.Folder, "read", lambda self, name: pytest.fail(name))
    start = time.perf_counter()
    with UnitStore(tmp_path) as store:
        assert len(store) == 200
    assert time.perf_counter() - start < 2


def test_a_store_that_may_only_be_read_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    with UnitStore(folder) as store:
        assert holds(store, answers(*range(12)))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_the_catching_up_goes_in_batches(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_store, "BATCH", 2)
    (folder / "index.sqlite").unlink()
    with UnitStore(folder) as store:
        assert holds(store, answers(*range(12)))
