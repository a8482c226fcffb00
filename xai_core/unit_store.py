"""Answers by key, on a disk or at any address that fsspec reaches, written whole or not at all.

    store.json                            the version of the format, and what wrote it
    parts/<2 hex>/<sha256>.safetensors    some units; named by the sha256 of its bytes, and never changed
    index.sqlite                          which key lies in which part

The parts are the truth. The index is made from them: it catches up whenever a store is opened, so that a part whose
writer was killed before its rows were written is found, and one that is lost or damaged is rebuilt. At an address that
is no folder of this machine, the index is a temporary one. Every part is checked against its name when it is read.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sqlite3
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Self

from xai_core.errors import StoreError
from xai_core.unit_parts import PART, Damaged, Row, part_of, units_of
from xai_core.unit_places import PARTS, open_place
from xai_core.units import Unit

INDEX = "index.sqlite"
BATCH = 256  # parts whose rows are written at once while the index catches up
PATIENCE = 60  # seconds to wait for another process that writes the index
TABLES = """
CREATE TABLE IF NOT EXISTS parts (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS units (
    key TEXT, part INTEGER, content TEXT NOT NULL, proof TEXT NOT NULL, PRIMARY KEY (key, part)
) WITHOUT ROWID;
"""


class UnitStore:
    """Units by key. Several threads and processes may read and write one store.

    `address` is a folder, or whatever fsspec reaches: memory://name, s3://bucket/name. It is made where it does not
    exist. `problems` says in sentences what lies among the parts and is none, or is damaged: it is passed over.
    Raises StoreError where the address cannot be reached, holds something else, or a newer format.
    """

    def __init__(self, address: str | Path) -> None:
        self.address = str(address)
        self._found_wrong: dict[str, str] = {}
        self._lock = threading.RLock()
        self._last_read: tuple[str, dict[str, tuple[Unit, str]]] = "", {}  # neighbours in a part are asked for in turn
        with self._told("open"):
            self._place, folder = open_place(self.address)
            self._index = _open_index(folder)
            try:
                self._catch_up()
            except BaseException:
                self._index.close()
                raise

    def found(self, keys: Iterable[str]) -> set[str]:
        """Which of these keys are there."""
        asked = json.dumps(list(keys))
        with self._told("read"), self._lock:
            rows = self._index.execute(
                "SELECT DISTINCT key FROM units WHERE key IN (SELECT value FROM json_each(?))", (asked,)
            )
            return {key for (key,) in rows}

    def get(self, keys: Sequence[str]) -> dict[str, Unit]:
        """The units of these keys, in their order, without those that are not there.

        A part that is gone or damaged counts as not there, and its rows are forgotten. Each part is read once.
        """
        units: dict[str, Unit] = {}
        passed: set[str] = set()
        while places := self._whereabouts([key for key in keys if key not in units], passed):
            for name, wanted in places.items():
                last = self._last_read
                if name != last[0]:
                    self._last_read = last = name, self._read(name)
                held = last[1]
                units |= {key: held[key][0] for key in wanted if key in held}
                if not wanted <= set(held):
                    passed.add(name)
        with suppress(StoreError):  # where that cannot be noted, it is found out again
            self._forget(passed)
        return {key: units[key] for key in keys if key in units}

    def put(self, units: Sequence[Unit]) -> None:
        """Keep these units, as one part. They are on the disk when this returns.

        Units whose keys are there already are left as they are. Raises StoreError where they cannot be written, and
        then all of them are there or none is.
        """
        new = {unit.key: unit for unit in reversed(units)}
        for key in self.found(new):
            del new[key]
        if not new:
            return
        name, data, rows = part_of(list(new.values()))
        with self._told("write"):
            self._place.write(name, data)
            self._add([(name, rows)])

    def digest(self, keys: Iterable[str] | None = None) -> str:
        """sha256 over every key, or those of `keys` that are there, with the sha256 of what each says.

        So equal answers have an equal digest: how long they took, how they are packed into parts and how often each is
        kept do not count.
        """
        asked = None if keys is None else json.dumps(list(keys))
        with self._told("read"), self._lock:
            try:
                return self._digest(asked)
            except (Damaged, sqlite3.Error):
                self._make_index_again()
                return self._digest(asked)

    def __len__(self) -> int:
        with self._told("read"), self._lock:
            return int(self._index.execute("SELECT count(DISTINCT key) FROM units").fetchone()[0])

    @property
    def problems(self) -> tuple[str, ...]:
        return tuple(self._found_wrong.values())

    def close(self) -> None:
        with self._lock:
            self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- the index ---------------------------------------------------------------------------------------------------

    def _digest(self, asked: str | None) -> str:
        """Raises Damaged where a row is not the one that was written: SQLite keeps no checksums."""
        whole = hashlib.sha256()
        # Of two answers that differ, as a GPU may give them to two writers, every index takes the same one.
        for key, content, proof in self._index.execute(
            "SELECT key, min(content), proof FROM units "  # the proof in the row of the minimum, as SQLite has it
            "WHERE ?1 IS NULL OR key IN (SELECT value FROM json_each(?1)) GROUP BY key ORDER BY key",
            (asked,),
        ):
            if proof != _proof(key, content):
                raise Damaged(f"the index says of {key} what was not written")
            whole.update(f"{content} {key}\n".encode())
        return whole.hexdigest()

    def _make_index_again(self) -> None:
        with self._writing() as index:
            index.execute("DELETE FROM parts")
            index.execute("DELETE FROM units")
        self._catch_up()

    def _catch_up(self) -> None:
        """Read the parts that the index does not know, and forget those that are gone."""
        # First what is known, then what is there: a part that is written in between is not taken for a lost one.
        known = {name for (name,) in self._index.execute("SELECT name FROM parts")}
        there = set()
        for name in self._place.names():
            if PART.fullmatch(name):
                there.add(name)
            else:
                self._pass_over(name, Damaged("is no part of a store"))
        self._forget([name for name in known - there if not self._rows_of(name)])
        unknown = iter(sorted(there - known))
        while batch := list(itertools.islice(unknown, BATCH)):
            self._add([(name, rows) for name in batch if (rows := self._rows_of(name))])

    def _rows_of(self, name: str) -> list[Row]:
        return [Row(key, content) for key, (_, content) in self._read(name).items()]

    def _read(self, name: str) -> dict[str, tuple[Unit, str]]:
        """The units of a part, each with the sha256 of what it says: none where it is gone or damaged."""
        try:
            return units_of(name, self._place.read(name))
        except (OSError, Damaged) as error:
            self._pass_over(name, error)
            return {}

    def _whereabouts(self, keys: Sequence[str], without: Collection[str]) -> dict[str, set[str]]:
        """The parts to read for these keys, each with the keys that are taken from it."""
        with self._told("read"), self._lock:
            rows = self._index.execute(
                "SELECT key, name FROM units JOIN parts ON part = id WHERE key IN (SELECT value FROM json_each(?)) "
                "ORDER BY key, content DESC, name DESC",
                (json.dumps(list(keys)),),
            )
            # The last row of a key, which has the content that counts in the digest.
            chosen = {key: name for key, name in rows if name not in without}
        places: dict[str, set[str]] = {}
        for key, name in chosen.items():
            places.setdefault(name, set()).add(key)
        return dict(sorted(places.items()))

    def _add(self, parts: Sequence[tuple[str, Sequence[Row]]]) -> None:
        with self._writing() as index:
            for name, rows in parts:
                if index.execute("INSERT OR IGNORE INTO parts (name) VALUES (?)", (name,)).rowcount:
                    index.executemany(
                        "INSERT OR IGNORE INTO units SELECT ?, id, ?, ? FROM parts WHERE name = ?",
                        [(row.key, row.content, _proof(*row), name) for row in rows],
                    )

    def _forget(self, names: Collection[str]) -> None:
        if names:
            with self._told("read"), self._writing() as index:
                index.executemany("DELETE FROM parts WHERE name = ?", [(name,) for name in names])
                index.execute("DELETE FROM units WHERE part NOT IN (SELECT id FROM parts)")

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The index, for changes that are made together or not at all."""
        with self._lock:
            self._index.execute("BEGIN IMMEDIATE")
            try:
                yield self._index
                self._index.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error, OSError):
                    self._index.execute("ROLLBACK")
                raise

    def _pass_over(self, name: str, error: Exception) -> None:
        reason = str(error) if isinstance(error, Damaged) else f"cannot be read ({_reason(error)})"
        self._found_wrong[name] = f"{PARTS}/{name} {reason}; it is passed over."

    @contextmanager
    def _told(self, doing: str) -> Iterator[None]:
        """What the disk, the network or SQLite raise, as a sentence."""
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            raise StoreError(
                f"Could not {doing} the store {self.address}: {_reason(error)}. What it held is still there; check "
                "that there is room and that you may write there, and try again."
            ) from error


def _proof(key: str, content: str) -> str:
    return hashlib.sha256(f"{key} {content}".encode()).hexdigest()[:16]


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def _open_index(folder: Path | None) -> sqlite3.Connection:
    """The index in `folder`, or a temporary one where there is none. A damaged one is thrown away."""
    path = "" if folder is None else str(folder / INDEX)
    try:
        return _connected(path)
    except sqlite3.DatabaseError as error:
        broken = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_IOERR_SHORT_READ)
        if not path or getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) not in broken:
            raise
    for leftover in (path + "-wal", path + "-shm", path):
        with suppress(FileNotFoundError):
            os.unlink(leftover)
    return _connected(path)


def _connected(path: str) -> sqlite3.Connection:
    index = sqlite3.connect(path, timeout=PATIENCE, isolation_level=None, check_same_thread=False)
    try:
        until = time.monotonic() + PATIENCE
        while True:
            try:
                index.execute("PRAGMA journal_mode = WAL")
                break
            except sqlite3.OperationalError as error:  # does not wait by itself for another that is opening it
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
                time.sleep(0.01)
        index.execute("PRAGMA synchronous = FULL")
        if index.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("the index is damaged")
        index.executescript("BEGIN IMMEDIATE;" + TABLES + "COMMIT;")
        index.execute("SELECT key, part, content, proof FROM units LIMIT 0")
        index.execute("SELECT id, name FROM parts LIMIT 0")
    except BaseException:
        index.close()
        raise
    return index
