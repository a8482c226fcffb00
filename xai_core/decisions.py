"""What people decided on the cases of a run: appended, never changed, and there as soon as `decide` has returned.

A file beside the run, `decisions.sqlite`. The latest row of a reviewer on a picture counts; the ones before stay and
can be read. Several people and processes may write at once.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from xai_core.errors import RecordError, SettingError
from xai_core.spreadsheet import csv_text
from xai_core.statistics import CONFIDENCE, DRAWS, FEWEST_FOR_INTERVAL

FILE = "decisions.sqlite"
SCHEMA = 1
REASONS: Mapping[str, str] = {  # until somebody writes others
    "1": "artefact",
    "2": "border",
    "3": "label error",
    "4": "ambiguous",
    "5": "right for the wrong reason",
    "6": "poor quality",
    "7": "out of scope",
    "8": "model error",
    "9": "other",
}
MOST_OF_A_NAME, MOST_OF_A_REASON, MOST_OF_A_NOTE = 80, 60, 2000  # characters
PATIENCE = 30.0  # seconds to wait while somebody else writes
_TABLES = """
CREATE TABLE IF NOT EXISTS decisions (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, reviewer TEXT NOT NULL, picture TEXT NOT NULL,
    file TEXT NOT NULL, flag INTEGER, reason TEXT NOT NULL, words TEXT NOT NULL, note TEXT NOT NULL,
    cleared INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS latest ON decisions (reviewer, picture, id);
CREATE TABLE IF NOT EXISTS reasons (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, reviewer TEXT NOT NULL, words TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS maps (
    id INTEGER PRIMARY KEY AUTOINCREMENT, time TEXT NOT NULL, picture TEXT NOT NULL, model TEXT NOT NULL,
    key TEXT NOT NULL
);
"""
_GUARDS = "".join(
    f"CREATE TRIGGER IF NOT EXISTS {table}_{verb} BEFORE {verb} ON {table} "
    f"BEGIN SELECT RAISE(ABORT, 'decisions are appended, never changed'); END;\n"
    for table in ("decisions", "reasons", "maps")
    for verb in ("UPDATE", "DELETE")
)


@dataclass(frozen=True)
class Decision:
    """What one reviewer decided on one picture at one time.

    `picture` is its sha256 and `file` its name in the set. `flag` is None where nobody spoke of it. `reason` is a code
    from 1 to 9 or empty, `words` what that code meant at the time. A `cleared` one takes back what was decided before.
    """

    id: int
    time: str
    reviewer: str
    picture: str
    file: str
    flag: bool | None
    reason: str
    words: str
    note: str
    cleared: bool


class Kappa(NamedTuple):
    """How far two reviewers agree beyond chance on `n` pictures; `why` says what is not defined, or not known."""

    n: int
    observed: float | None
    expected: float | None
    kappa: float | None
    low: float | None
    high: float | None
    why: str = ""


class Decisions:
    """The decisions on the run in `folder`. To read creates nothing."""

    def __init__(self, folder: str | Path) -> None:
        self.path = Path(folder) / FILE

    def decide(
        self, reviewer: str, picture: str, file: str = "", *, flag: bool | None = None, reason: str = "", note: str = ""
    ) -> Decision:
        """Append a decision; it is on the disk when this returns.

        Raises SettingError for a missing name, an unknown reason or a text that is too long, RecordError where the file
        cannot be written.
        """
        reasons = self.reasons
        if reason and reason not in reasons:
            raise SettingError(f"No reason has the code {reason!r}. Choose one of {', '.join(reasons)}.")
        return self._append(reviewer, picture, file, flag, reason, reasons.get(reason, ""), note, cleared=False)

    def clear(self, reviewer: str, picture: str, file: str = "") -> Decision:
        """Append that the reviewer takes back what they decided on the picture."""
        return self._append(reviewer, picture, file, None, "", "", "", cleared=True)

    def latest(self, reviewer: str | None = None) -> list[Decision]:
        """What counts: of each reviewer, or of one, the latest row on each picture, unless it was cleared."""
        newest = "SELECT MAX(id) FROM decisions WHERE ? IS NULL OR reviewer = ? GROUP BY reviewer, picture"
        return self._read(f"id IN ({newest}) AND NOT cleared", (reviewer, reviewer))

    def history(self, picture: str | None = None) -> list[Decision]:
        """Every row, the oldest first, of one picture or of all."""
        return self._read("? IS NULL OR picture = ?", (picture, picture))

    @property
    def reviewers(self) -> list[str]:
        """Everybody who has decided anything, sorted."""
        return sorted({one.reviewer for one in self.history()})

    @property
    def reasons(self) -> dict[str, str]:
        """What each code means now, in the order of the codes."""
        with self._opened(writing=False) as book:
            if book is None:
                return dict(REASONS)
            last = book.execute("SELECT words FROM reasons ORDER BY id DESC LIMIT 1").fetchone()
        return dict(REASONS) if last is None else _reasons(json.loads(last[0]))

    def set_reasons(self, reasons: Mapping[str, str], reviewer: str) -> None:
        """Append another list of reasons. Decisions keep the words that they were made with."""
        text = json.dumps(_reasons(reasons), ensure_ascii=False)
        with self._opened(writing=True) as book:
            assert book is not None
            book.execute(
                "INSERT INTO reasons (time, reviewer, words) VALUES (?, ?, ?)", (_now(), _name(reviewer), text)
            )

    def add_map(self, picture: str, model: str, key: str) -> None:
        """Append that a map which the audit did not ask for lies in the store of the run, under `key`."""
        with self._opened(writing=True) as book:
            assert book is not None
            row = (_now(), picture, model, key)
            book.execute("INSERT INTO maps (time, picture, model, key) VALUES (?, ?, ?, ?)", row)

    def maps(self, picture: str) -> list[tuple[str, str]]:
        """Model and key of each map of a picture that was made while it was reviewed, in the order of making."""
        with self._opened(writing=False) as book:
            if book is None:
                return []
            rows = book.execute("SELECT model, key FROM maps WHERE picture = ? ORDER BY id", (picture,))
            return list(dict.fromkeys((str(model), str(key)) for model, key in rows))

    def to_csv(self) -> bytes:
        """Every row as CSV, formulas made inert; `counts` says which rows are the latest."""
        return csv_text(self._lines(), COLUMNS).encode()

    def to_parquet(self) -> bytes:
        """Every row as Parquet."""
        import io

        import pandas as pd

        types = {"id": "int64", "flag": "boolean", "cleared": "bool", "counts": "bool"}
        frame = pd.DataFrame(self._lines(), columns=list(COLUMNS))
        out = io.BytesIO()
        frame.astype({name: types.get(name, "string") for name in COLUMNS}).to_parquet(out, index=False)
        return out.getvalue()

    def to_json(self) -> bytes:
        """Every row and the list of reasons as JSON."""
        facts = {"schema": SCHEMA, "reasons": self.reasons, "decisions": self._lines()}
        return (json.dumps(facts, indent=1, ensure_ascii=False) + "\n").encode()

    def kappa(self, one: str, other: str, by: Literal["reason", "flag"] = "reason", seed: int = 0) -> Kappa:
        """How far two reviewers agree on the pictures that both have decided, by the reason they gave or by the flag.

        No reason is an answer too; a flag that nobody spoke of is none.
        """
        return kappa_of([*self.latest(one), *self.latest(other)], one, other, by, seed)

    def _append(
        self,
        reviewer: str,
        picture: str,
        file: str,
        flag: bool | None,
        reason: str,
        words: str,
        note: str,
        *,
        cleared: bool,
    ) -> Decision:
        if not picture:
            raise SettingError("A decision is about a picture. Name it by its sha256.")
        if len(note := note.strip()) > MOST_OF_A_NOTE:
            raise SettingError(f"The note has {len(note):,} characters; shorten it to {MOST_OF_A_NOTE:,}.")
        row = (_now(), _name(reviewer), picture, file, flag, reason, words, note, cleared)
        with self._opened(writing=True) as book:
            assert book is not None
            names = ", ".join(_FIELDS[1:])
            done = book.execute(f"INSERT INTO decisions ({names}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        return Decision(int(done.lastrowid or 0), *row)

    def _read(self, where: str, values: Sequence[Any]) -> list[Decision]:
        with self._opened(writing=False) as book:
            if book is None:
                return []
            rows = book.execute(f"SELECT {', '.join(_FIELDS)} FROM decisions WHERE {where} ORDER BY id", values)
            return [_decision(row) for row in rows]

    def _lines(self) -> list[dict[str, Any]]:
        return lines_of(self.history())

    @contextmanager
    def _opened(self, *, writing: bool) -> Iterator[sqlite3.Connection | None]:
        """The file, opened for one thing and closed again; what is written is on the disk at the end.

        None where there is nothing to read. Raises RecordError where it cannot be read or written.
        """
        if not writing and not self.path.exists():
            yield None
            return
        try:
            with closing(sqlite3.connect(self.path, timeout=PATIENCE, isolation_level=None)) as book:
                _prepare(book, self.path)
                if writing:
                    book.execute("BEGIN IMMEDIATE")
                yield book
                if writing:
                    book.execute("COMMIT")
        except sqlite3.Error as error:
            verb = "written" if writing else "read"
            raise RecordError(
                f"The decisions in {self.path.name} could not be {verb} ({error}). Check the folder of the run, its "
                "rights and the room on the disk."
            ) from error


def standing(history: Sequence[Decision]) -> list[Decision]:
    """Of all rows, the oldest first, those that count, as `Decisions.latest` reads them."""
    newest = {(one.reviewer, one.picture): one for one in history}
    return [one for one in history if newest[one.reviewer, one.picture] is one and not one.cleared]


def lines_of(history: Sequence[Decision]) -> list[dict[str, Any]]:
    """All rows, the oldest first, with their names; `counts` says which rows are the latest."""
    counts = {one.id for one in standing(history)}
    return [{**asdict(one), "counts": one.id in counts} for one in history]


def kappa_of(
    decisions: Sequence[Decision], one: str, other: str, by: Literal["reason", "flag"] = "reason", seed: int = 0
) -> Kappa:
    """Of decisions that count, as `Decisions.kappa`."""

    def answers(reviewer: str) -> dict[str, str]:
        said = (each for each in decisions if each.reviewer == reviewer)
        return {each.picture: each.reason if by == "reason" else str(bool(each.flag)) for each in said}

    first, second = answers(one), answers(other)
    both = sorted(first.keys() & second.keys())
    return cohen_kappa([first[each] for each in both], [second[each] for each in both], seed)


def kappa_words(found: Kappa) -> str:
    """Agreement in a sentence."""
    if found.observed is None or found.expected is None:
        return found.why
    cases = (
        f"{found.n:,} case{'s' * (found.n != 1)}, the same answer on {found.observed:.0%} where chance would give "
        f"{found.expected:.0%}"
    )
    if found.kappa is None:
        return f"{cases}. {found.why}"
    interval = (
        f" (95 % interval {found.low:.2f} to {found.high:.2f})"
        if found.low is not None
        else f" ({found.why.rstrip('.')})"
    )
    return f"kappa {found.kappa:.2f}{interval}; {cases}."


def cohen_kappa(one: Sequence[str], other: Sequence[str], seed: int = 0) -> Kappa:
    """Agreement of two lists of answers on the same pictures, beyond what chance would give.

        kappa = (observed - expected) / (1 - expected)

    with a 95 % percentile bootstrap interval over pictures. Not defined where nothing was decided by both, and where
    both gave one and the same answer throughout: chance alone would then agree. Cohen, 1960.
    https://doi.org/10.1177/001316446002000104
    """
    n, labels = len(one), sorted({*one, *other})
    if n == 0:
        return Kappa(0, None, None, None, None, None, "Both have to decide on the same pictures first.")
    number = {label: i for i, label in enumerate(labels)}
    table = np.zeros((len(labels), len(labels)))
    for first, second in zip(one, other, strict=True):
        table[number[first], number[second]] += 1
    observed, expected, kappa = (float(part[0]) for part in _agreement(table[None] / n))
    if np.isnan(kappa):
        why = "Both gave the same answer to every picture, so agreement beyond chance is not defined."
        return Kappa(n, observed, expected, None, None, None, why)
    if n < FEWEST_FOR_INTERVAL:
        return Kappa(n, observed, expected, kappa, None, None, f"Too few pictures for an interval: {n}.")
    drawn = np.random.default_rng(seed).multinomial(n, table.ravel() / n, size=DRAWS)
    spread = _agreement(drawn.reshape(DRAWS, *table.shape) / n)[2]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(spread[~np.isnan(spread)], [tail, 1 - tail])
    return Kappa(n, observed, expected, kappa, float(low), float(high))


def _agreement(shares: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(draws, answers, answers) shares of pictures to observed and expected agreement and kappa, each (draws,)."""
    observed = shares.trace(axis1=1, axis2=2)
    expected = (shares.sum(axis=1) * shares.sum(axis=2)).sum(axis=1)
    room = np.where(np.isclose(expected, 1), np.nan, 1 - expected)
    return observed, expected, (observed - expected) / room


def _prepare(book: sqlite3.Connection, path: Path) -> None:
    """Settle what the file is and how it is written. Raises RecordError for one by a newer version."""
    book.execute("PRAGMA trusted_schema = OFF")
    book.execute("PRAGMA synchronous = FULL")
    [(version,)] = book.execute("PRAGMA user_version").fetchall()
    if version > SCHEMA:
        raise RecordError(
            f"{path.name} was written by a newer version (its schema is {version}, this one knows {SCHEMA}). "
            "Update Second Look to read it."
        )
    if version == SCHEMA:
        return
    end = time.monotonic() + PATIENCE
    while True:  # whoever is first sets it up; the change to WAL does not wait for others by itself
        try:
            book.execute("PRAGMA journal_mode = WAL")
            book.executescript(f"BEGIN IMMEDIATE;\n{_TABLES}{_GUARDS}PRAGMA user_version = {SCHEMA};\nCOMMIT;")
            return
        except sqlite3.OperationalError as error:
            if book.in_transaction:
                book.execute("ROLLBACK")
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.01)


_FIELDS = tuple(field.name for field in fields(Decision))
COLUMNS = (*_FIELDS, "counts")


def _decision(row: Sequence[Any]) -> Decision:
    number, when, reviewer, picture, file, flag, reason, words, note, cleared = row
    known = None if flag is None else bool(flag)
    return Decision(number, when, reviewer, picture, file, known, reason, words, note, bool(cleared))


def _reasons(given: Mapping[str, str]) -> dict[str, str]:
    reasons = {code: " ".join(str(given.get(code, "")).split()) for code in REASONS}
    kept = {code: words for code, words in reasons.items() if words}
    if unknown := sorted(given.keys() - REASONS.keys()):
        raise SettingError(f"{unknown[0]!r} is no code of a reason. Codes are 1 to 9.")
    if not kept:
        raise SettingError("The list of reasons is empty. Write at least one.")
    if long := next((words for words in kept.values() if len(words) > MOST_OF_A_REASON), ""):
        raise SettingError(f"The reason “{long[:20]}…” is too long; shorten it to {MOST_OF_A_REASON} characters.")
    return kept


def _name(reviewer: str) -> str:
    name = " ".join(reviewer.split())
    if not name:
        raise SettingError("Every decision has an author. Write your name first.")
    if len(name) > MOST_OF_A_NAME:
        raise SettingError(f"The name has {len(name)} characters; shorten it to {MOST_OF_A_NAME}.")
    return name


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
