"""The records of a store in an index that answers at once: which there are, which match a search, how large they are.

`.index.sqlite` in the store holds what the manifests say, and nothing else: it may be deleted at any time. One that is
missing, damaged, another program's or of another version is made anew; where the store cannot be written it is held in
memory. Threads and processes share it. Manifests are believed only as far as `store.entry_of` believes them. Who writes
into the store can write into its index: what is shown is looked up in it, and nothing is decided by it.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sqlite3
import stat
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from xai_core import durable
from xai_core.chain import IMPORTED, RESERVED
from xai_core.errors import Cancelled, RecordError, SettingError
from xai_core.provenance import VERSION
from xai_core.seal import MANIFEST, shown
from xai_core.store import Entry, entry_of
from xai_core.verification import existing

INDEX = ".index.sqlite"
PATIENCE = 10.0  # seconds to wait while somebody else writes the index
AT_ONCE = 200  # manifests that are read between two times of writing; what was read is kept when somebody cancels
LONGEST_TEXT = 500  # characters of a search
CHOICES = ("kind", "model", "method", "verdict", "reviewer")
Progress = Callable[[int, int], None]
Answer = TypeVar("Answer")
_TABLES = """
CREATE TABLE records (
    number INTEGER PRIMARY KEY, place BLOB NOT NULL UNIQUE, stamp TEXT NOT NULL, id TEXT, created TEXT, bytes INTEGER,
    text TEXT, entry TEXT
);
CREATE INDEX newest ON records (created DESC, id DESC, place, text);
CREATE INDEX identities ON records (id);
CREATE TABLE words (
    record INTEGER NOT NULL REFERENCES records ON DELETE CASCADE, what TEXT NOT NULL, value TEXT NOT NULL,
    PRIMARY KEY (record, what, value)
) WITHOUT ROWID;
CREATE INDEX said ON words (what, value, record);
"""
_FIELDS = tuple(field.name for field in dataclasses.fields(Entry) if field.name != "folder")
_PROGRAM = 0x53C10D1E  # who made the file: any other program leaves this number zero or writes its own
_VERSION = zlib.crc32(" ".join((_TABLES, VERSION, *_FIELDS)).encode()) & 0x7FFFFFFF
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR}  # the last: a table is missing
_DAY = re.compile(r"[0-9]{4}(-[0-9]{2}){0,2}", re.ASCII)


@dataclass(frozen=True)
class Search:
    """What is looked for; a field that is empty asks nothing, and all others must hold.

    Each word of `text`, up to a space, must be found in the model, the methods, the title, the note, the name of the
    folder, the reviewer or the date, in any case, and with `_` and `-` read as spaces. `picture` is a sha256 or how one
    begins. `since` and `until` are days, months or years (UTC), both included. The others are values of
    `Catalogue.choices`.
    """

    text: str = ""
    kind: str = ""
    model: str = ""
    method: str = ""
    picture: str = ""
    verdict: str = ""
    reviewer: str = ""
    since: str = ""
    until: str = ""

    def __post_init__(self) -> None:
        for day in filter(None, (self.since, self.until)):
            if not _DAY.fullmatch(day):
                raise SettingError(f"{shown(day)} is no date. Write it as 2026-03-31, 2026-03 or 2026.")
        if len(self.text) > LONGEST_TEXT:
            raise SettingError(f"A search of {len(self.text):,} characters is too long. Use at most {LONGEST_TEXT}.")


class Found(NamedTuple):
    """Those of the records found that were asked for, and how many there are."""

    entries: list[Entry]
    total: int


class Choices(NamedTuple):
    """What can be searched for, in the order of the alphabet, each with how many records it finds."""

    kinds: dict[str, int]
    models: dict[str, int]
    methods: dict[str, int]
    verdicts: dict[str, int]
    reviewers: dict[str, int]


class Catalogue:
    """The records in `store` and in its folder IMPORTED. Audits are passed over, what is broken is listed last.

    Any thread may ask. The first question reads the store; what changes later is seen at the next `refresh`. Every
    question raises RecordError where `store` is no folder, or cannot be listed.
    """

    def __init__(self, store: str | Path) -> None:
        self.store = Path(store)
        self._memory: sqlite3.Connection | None = None
        self._turn = threading.RLock()  # of those who ask what is held in memory
        self._is_read = False

    def refresh(self, progress: Progress | None = None, cancel: threading.Event | None = None) -> None:
        """Read the manifests that are new or changed, by name, time and size, and forget those that are gone.

        `progress` is told (manifests read, manifests to read). Raises Cancelled once `cancel` is set: what was read by
        then stays read.
        """
        self._answer(lambda index: self._refresh(index, progress, cancel), reads=False)

    def find(self, search: Search | None = None, first: int = 0, count: int = 10) -> Found:
        """At most `count` of the records that match, from number `first` on, the newest first and the broken last."""
        where, values = _where(search or Search())
        return self._answer(lambda index: self._find(index, where, values, max(0, first), max(0, count)))

    def choices(self) -> Choices:
        """What the filters of a `Search` can be, and how many records each finds."""
        marks = ", ".join("?" * len(CHOICES))
        count = f"SELECT what, value, COUNT(*) FROM words WHERE what IN ({marks}) GROUP BY what, value"
        counted = self._answer(lambda index: index.execute(count, CHOICES).fetchall())
        return Choices(*({value: n for what, value, n in counted if what == wanted} for wanted in CHOICES))

    def size(self) -> int:
        """Bytes of all records together, as their manifests list them. Audits and what is broken are not counted."""
        [(size,)] = self._answer(lambda index: index.execute("SELECT TOTAL(bytes) FROM records").fetchall())
        return int(size)

    def folder_of(self, identity: str) -> Path | None:
        """Where the record with this id lies, one of the store's own before one that was imported. None: nowhere."""
        asked = "SELECT place FROM records WHERE id = ?"
        rows = self._answer(lambda index: index.execute(asked, (_storable(identity),)).fetchall())
        places = [os.fsdecode(place) for (place,) in rows]
        return next((self.store / place for place in sorted(places, key=lambda one: ("/" in one, one))), None)

    # ---- asking --------------------------------------------------------------------------------------------------

    def _answer(self, ask: Callable[[sqlite3.Connection], Answer], reads: bool = True) -> Answer:
        """What the index answers. One that is damaged is made anew, and one that cannot be written is held in memory.

        With `reads`, the store is read before, unless this has been done.
        """
        existing(self.store)
        for _mended in range(2):
            try:
                return self._asked(ask, reads)
            except sqlite3.Error as error:
                self._mend(error)
        return self._asked(ask, reads)

    def _asked(self, ask: Callable[[sqlite3.Connection], Answer], reads: bool) -> Answer:
        with self._opened() as (index, is_new):
            if reads and (is_new or not self._is_read):
                self._refresh(index)
            return ask(index)

    @contextmanager
    def _opened(self) -> Iterator[tuple[sqlite3.Connection, bool]]:
        """The index, and whether it is new and empty."""
        with self._turn:
            memory = self._memory
        if memory is not None:
            with self._turn:
                yield memory, False
            return
        path = self.store / INDEX
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(path).st_mode):
                raise sqlite3.OperationalError("a link, a folder or a device has the name of the index")
        with closing(sqlite3.connect(path, timeout=PATIENCE, isolation_level=None)) as index:
            yield index, _prepare(index)

    def _mend(self, error: sqlite3.Error) -> None:
        """Remove an index that is damaged or foreign; where that is not what is wrong, hold it in memory from now on.

        Raises it again where memory does not help either: that is a mistake of ours.
        """
        if self._memory is not None:
            raise error
        self._is_read = False
        if getattr(error, "sqlite_errorcode", None) in _DAMAGED or type(error) is sqlite3.DatabaseError:
            with suppress(OSError):
                for name in (INDEX, f"{INDEX}-journal"):
                    durable.remove_file(self.store / name)
                return
        with self._turn:
            self._memory = self._memory or _in_memory(self.store / INDEX)

    # ---- reading the store ---------------------------------------------------------------------------------------

    def _refresh(
        self, index: sqlite3.Connection, progress: Progress | None = None, cancel: threading.Event | None = None
    ) -> None:
        known = dict(index.execute("SELECT place, stamp FROM records"))  # before the folders: whatever others add
        found = {os.fsencode(place): stamp for place, stamp in _stamps(self.store)}  # meanwhile is not forgotten
        gone = [(place,) for place in known.keys() - found.keys()]
        if gone:
            with _transaction(index):
                index.executemany("DELETE FROM records WHERE place = ?", gone)
        new = [place for place, stamp in found.items() if known.get(place) != stamp]
        for first in range(0, len(new), AT_ONCE):
            read = list[tuple[bytes, Entry | None]]()
            for place in new[first : first + AT_ONCE]:
                if cancel is not None and cancel.is_set():
                    break
                read.append((place, entry_of(self.store / os.fsdecode(place))))
                if progress is not None:
                    progress(first + len(read), len(new))
            with _transaction(index):
                for place, entry in read:
                    _write(index, place, found[place], entry)
            if cancel is not None and cancel.is_set():
                raise Cancelled("Cancelled. The records that were read stay listed; the others are read the next time.")
        self._is_read = True

    def _find(self, index: sqlite3.Connection, where: str, values: list[str], first: int, count: int) -> Found:
        asked = f"SELECT number FROM records WHERE {where} ORDER BY created DESC, id DESC, place"  # one index has all
        entry = "SELECT place, entry FROM records WHERE number = ?"
        with _transaction(index, "DEFERRED"):  # others who read a record again give it another number
            numbers = [number for (number,) in index.execute(asked, values)]
            rows = [index.execute(entry, (number,)).fetchone() for number in numbers[first : first + count]]
        return Found([_read(self.store, *row) for row in rows], len(numbers))


def folded(text: str) -> str:
    """Text as it is compared: in any case, and with `_` and `-` as spaces."""
    return text.casefold().replace("_", " ").replace("-", " ")


def _where(search: Search) -> tuple[str, list[str]]:
    """The condition of SQL that a record matches, and its values."""
    said = "number IN (SELECT record FROM words WHERE what = ? AND value {})".format
    conditions, values = ["created IS NOT NULL"], list[str]()  # of an audit it is
    for what in CHOICES:
        if wanted := getattr(search, what):
            conditions.append(said("= ?"))
            values += [what, wanted]
    if picture := search.picture.strip().lower():
        conditions.append(said("BETWEEN ? AND ?"))
        values += ["picture", picture, picture + "g"]  # after any other hexadecimal digit
    if search.since:
        conditions.append("created >= ?")
        values.append(search.since)
    if search.until:
        conditions.append("created <> '' AND substr(created, 1, length(?)) <= ?")
        values += [search.until, search.until]
    for word in dict.fromkeys(filter(None, (folded(word).strip() for word in search.text.split()))):
        conditions.append("instr(text, ?) > 0")
        values.append(word)
    return " AND ".join(conditions), [_storable(value) for value in values]


def _stamps(store: Path) -> Iterator[tuple[str, str]]:
    """The name of every folder that may be a record, below the store, and what tells that its manifest has changed."""
    for above in ("", f"{IMPORTED}/"):
        try:
            if above and not stat.S_ISDIR(os.lstat(store / above.rstrip("/")).st_mode):
                continue  # a link, which is not followed
            with os.scandir(store / above) as found:
                for entry in found:
                    if not entry.name.startswith(".") and not (not above and entry.name in RESERVED):
                        stamp = _stamp(entry)
                        if stamp is not None:
                            yield above + entry.name, stamp
        except FileNotFoundError:
            if not above:
                raise RecordError(
                    f"There is no folder {shown(store.name)}; choose the folder of the records."
                ) from None
        except OSError as error:
            raise RecordError(f"Cannot list {shown(store.name)}: {error.strerror}. Check its rights.") from error


def _stamp(entry: os.DirEntry[str]) -> str | None:
    """None for a file, which is no record."""
    try:
        if entry.is_file():
            return None
        if entry.is_symlink():
            return "link"
        facts = os.lstat(f"{entry.path}/{MANIFEST}")
        return f"{facts.st_mtime_ns} {facts.st_size} {stat.S_IFMT(facts.st_mode)}"
    except OSError as error:
        return f"error {error.errno}"


# ---- the index -----------------------------------------------------------------------------------------------------


def _prepare(index: sqlite3.Connection) -> bool:
    """Settle what the file is; True where it was empty. Raises DatabaseError for another program's or version's."""
    index.execute("PRAGMA trusted_schema = OFF")
    index.execute("PRAGMA foreign_keys = ON")
    index.execute("PRAGMA synchronous = NORMAL")
    if _is_ours(index):
        return False
    with _transaction(index):
        if _is_ours(index):  # somebody else was first
            return False
        if index.execute("SELECT 1 FROM sqlite_master").fetchone() or _maker(index) != (0, 0):
            raise sqlite3.DatabaseError("not our index, or of another version")
        for statement in _statements():
            index.execute(statement)
        index.execute(f"PRAGMA application_id = {_PROGRAM}")
        index.execute(f"PRAGMA user_version = {_VERSION}")
    return True


def _is_ours(index: sqlite3.Connection) -> bool:
    """Whether this version made the file. Raises DatabaseError where its tables are others: triggers, views."""
    if _maker(index) != (_PROGRAM, _VERSION):
        return False
    made = {sql for (sql,) in index.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if made != set(_statements()):
        raise sqlite3.DatabaseError("not the tables of our index")
    return True


def _statements() -> list[str]:
    return [statement.strip() for statement in _TABLES.split(";") if statement.strip()]


def _maker(index: sqlite3.Connection) -> tuple[int, int]:
    [(program,)] = index.execute("PRAGMA application_id").fetchall()
    [(version,)] = index.execute("PRAGMA user_version").fetchall()
    return program, version


def _in_memory(path: Path) -> sqlite3.Connection:
    """An index in memory: a copy of the one at `path`, where that is ours."""
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    with suppress(sqlite3.Error, OSError):
        if stat.S_ISREG(os.lstat(path).st_mode):
            where = f"{path.absolute().as_uri()}?mode=ro&immutable=1"
            with closing(sqlite3.connect(where, uri=True)) as disk:
                _prepare(disk)
                disk.backup(memory)
    _prepare(memory)
    return memory


@contextmanager
def _transaction(index: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    """What is read in the block is of one time, and all that is written in it is written, or nothing."""
    index.execute(f"BEGIN {kind}")
    try:
        yield
        index.execute("COMMIT")
    finally:
        if index.in_transaction:
            index.execute("ROLLBACK")


def _write(index: sqlite3.Connection, place: bytes, stamp: str, entry: Entry | None) -> None:
    """What is at `place`, instead of what was written before. None, an audit, is remembered and never found."""
    index.execute("DELETE FROM records WHERE place = ?", (place,))
    row: tuple[Any, ...] = (None,) * 5
    if entry is not None:
        said = (
            *entry.models,
            *entry.methods,
            entry.title,
            entry.note,
            entry.folder.name,
            entry.reviewer,
            entry.created,
        )
        text = _storable(folded(" ".join(said)))
        fields = json.dumps({name: getattr(entry, name) for name in _FIELDS})
        row = (None if entry.problem else entry.id, entry.created, entry.bytes, text, fields)
    number = index.execute(
        "INSERT INTO records (place, stamp, id, created, bytes, text, entry) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (place, stamp, *row),
    ).lastrowid
    if entry is not None:
        index.executemany(
            "INSERT OR IGNORE INTO words VALUES (?, ?, ?)",
            ((number, what, _storable(value)) for what, values in _words(entry).items() for value in values if value),
        )


def _words(entry: Entry) -> Mapping[str, tuple[str, ...]]:
    return {
        "kind": (entry.kind,),
        "model": entry.models,
        "method": entry.methods,
        "verdict": entry.verdicts,
        "reviewer": (entry.reviewer,),
        "picture": tuple(entry.picture.split()),
    }


def _read(store: Path, place: bytes, entry: str) -> Entry:
    """Raises DatabaseError for what this program has not written."""
    try:
        fields: dict[str, Any] = json.loads(entry)
        fields = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
        if set(fields) != set(_FIELDS):
            raise ValueError("other fields")
        return Entry(store / os.fsdecode(place), **fields)
    except (TypeError, ValueError, AttributeError, RecursionError):
        raise sqlite3.DatabaseError("an entry that nobody here has written") from None


def _storable(text: str) -> str:
    """Text that SQLite takes: names of files may hold what is no Unicode."""
    return text.encode("utf-8", "replace").decode().replace("\0", "")
