"""The order of the records in a folder: each carries its number and the hash of the one that was saved before it.

So a record that was removed, replaced or put in between is found, though every record is sound by itself. One that is
removed in good order leaves a tombstone, which keeps its link. That the newest records are gone is seen by who wrote
the last number and hash down elsewhere, and by nobody else.

Folders of other names than RESERVED that hold a manifest with `chain` are the links. A folder has a chain of its own:
moved as a whole it keeps it, and a record that is moved alone leaves a gap here and is a stranger there.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from xai_core.errors import Cancelled, RecordError
from xai_core.seal import AUDIT, DIGEST, MANIFEST, MANIFEST_LIMIT, SCHEMA, Damage, genuine, shown
from xai_core.signing import UNSIGNED, signature_of, signed
from xai_core.verification import beginning, existing, read_manifest, sealed_text

AUDITS = "audits"  # where the pages keep audits
IMPORTED = "imported"  # records that came from elsewhere
TOMBSTONES = "tombstones"
RESERVED = (AUDITS, IMPORTED, TOMBSTONES)  # and hidden names: no part of a folder's chain
TOMBSTONE = "tombstone"  # its kind
EARLY = ".removing"  # ends the name of a tombstone whose record may not be gone yet
LONGEST = 10**12  # records
PATIENCE = 30.0  # seconds to wait while others save
START = 4096  # bytes of a manifest: `chain` comes first, or right after what a sheet is about
Progress = Callable[[int, int], None]
_UNSUPPORTED = threading.Lock()  # where folders cannot be locked, savers of this process at least take turns


class Link(NamedTuple):
    """One record in the chain: its number, from 1, its own hash, and that of the one before it, None for the first."""

    sequence: int
    sha256: str
    predecessor: str | None


@dataclass(frozen=True)
class Tombstone:
    """What is left of a record that was removed: its link, when it was removed (UTC) and why.

    `link` is None of a record that was saved before there were chains, `sha256` that of its manifest. `signature` says
    who sealed it, once it is read.
    """

    id: str
    sha256: str
    link: Link | None
    removed: str
    why: str
    signature: str = ""

    @classmethod
    def of(cls, manifest: Mapping[str, Any], why: str) -> Tombstone:
        """Of the record with this manifest, removed now."""
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return cls(str(manifest["id"]), manifest["sha256"], link_of(manifest), now, why)

    @property
    def name(self) -> str:
        """Of its file in the folder TOMBSTONES."""
        return f"{self.sha256}.json"

    @property
    def early_name(self) -> str:
        """Of its file while the record is being removed: it counts as soon as the record is gone, and not before."""
        return f"{self.sha256}{EARLY}"

    def content(self) -> bytes:
        """Its file: sealed as a manifest is, and signed where a key is named. Raises SettingError for a broken one."""
        fields: dict[str, Any] = {"schema": SCHEMA, "kind": TOMBSTONE, "id": self.id, "record": self.sha256}
        fields |= {"removed": self.removed, "why": self.why}
        if self.link is not None:
            fields["chain"] = {"sequence": self.link.sequence, "predecessor": self.link.predecessor}
        return signed(fields)


def read_tombstone(store: Path, name: str) -> Tombstone:
    """The tombstone in the file of this name. Raises Damage for one that was not written so."""
    fields = genuine(sealed_text(store / TOMBSTONES, name))
    texts = [fields.get(key) for key in ("id", "record", "removed", "why")]
    if fields.get("kind") != TOMBSTONE or not all(isinstance(text, str) for text in texts):
        raise Damage("unverifiable", "it is no tombstone")
    identity, sha256, removed, why = map(str, texts)
    if name.partition(".")[0] != sha256:
        raise Damage("unverifiable", "it is the tombstone of another record")
    return Tombstone(identity, sha256, link_of({**fields, "sha256": sha256}), removed, why, signature_of(fields))


def link_of(manifest: Mapping[str, Any]) -> Link | None:
    """The place that a manifest names, or None where it names none. Raises Damage for one that no record has."""
    match manifest.get("chain"):
        case None:
            return None
        case {"sequence": int(number), "predecessor": None | str() as before, **others} if not others:
            fits = before is None if number == 1 else before is not None and DIGEST.fullmatch(before)
            if type(number) is int and 0 < number <= LONGEST and fits:  # True is no number
                return Link(number, manifest["sha256"], before)
    raise Damage("unverifiable", "it names a place in the chain that no record has")


def following(last: Link | None) -> dict[str, Any]:
    """What the record after this one says of its place; the first, where there was none before it."""
    if last is None:
        return {"sequence": 1, "predecessor": None}
    return {"sequence": last.sequence + 1, "predecessor": last.sha256}


@contextmanager
def joined(folder: Path) -> Iterator[Link | None]:
    """The link to continue, and nobody else continues it meanwhile: leave when the new record has its name.

    Raises RecordError where others keep the folder for longer than PATIENCE, OSError where it cannot be read. Whoever
    is inside must not ask again.
    """
    with _alone(folder):
        yield head(folder)


def head(folder: Path) -> Link | None:
    """The link of the highest number in `folder` whose record or tombstone can be believed. Raises OSError."""
    for claim in sorted(_claims(folder), key=lambda claim: (-claim.sequence, claim.name)):
        with suppress(Damage):  # a number that somebody wrote into a manifest; `check` names it
            if (link := claim.link(folder)) is not None and link.sequence < LONGEST:
                return link
    return None


class _Claim(NamedTuple):
    """A number that a manifest or a tombstone begins with, before it is believed."""

    sequence: int
    name: str  # of the record's folder, or of the tombstone's file
    removed: bool

    def link(self, folder: Path) -> Link | None:
        """What is true of it. Raises Damage."""
        if self.removed:
            return read_tombstone(folder, self.name).link
        return link_of(read_manifest(folder / self.name))


# Sorted keys put `chain` before all but what a sheet is about; inside a text a line cannot break.
_CHAIN = re.compile(rb'\n "chain": \{[^\n]*"sequence": ([0-9]{1,13})\},?\n')
_LATER = re.compile(rb'\n "created": ')


def _claims(folder: Path) -> Iterator[_Claim]:
    """Of all records and tombstones in `folder`. Reads as little as it can: saving waits for it."""
    for name in record_names(folder):
        if (number := _number(folder / name, MANIFEST)) is not None:
            yield _Claim(number, name, False)
    for name in tombstone_names(folder):
        if (number := _number(folder / TOMBSTONES, name)) is not None:
            yield _Claim(number, name, True)


def _number(folder: Path, name: str) -> int | None:
    try:
        facts = os.lstat(folder / name)
    except OSError:
        return None
    return _number_in(folder, name, facts.st_ino, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=50_000)
def _number_in(folder: Path, name: str, *_same: int) -> int | None:
    """Of a file that is still the same one, which is read once: a process saves many records among many."""
    try:
        start = beginning(folder, name, START)
        if not _CHAIN.search(start) and not _LATER.search(start):
            start = beginning(folder, name, MANIFEST_LIMIT)
    except Damage:
        return None
    found = _CHAIN.search(start)
    return int(found[1]) if found else None


def record_names(store: Path) -> list[str]:
    """The names of all folders that may be records of `store`, sorted. Raises OSError."""
    with os.scandir(store) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not entry.name.startswith(".") and entry.name not in RESERVED and entry.is_dir(follow_symlinks=False)
        )


def tombstone_names(store: Path) -> list[str]:
    """The names of the files of tombstones in `store`, sorted. Raises OSError."""
    try:
        return sorted(name for name in os.listdir(store / TOMBSTONES) if _STONE.fullmatch(name))
    except (FileNotFoundError, NotADirectoryError):
        return []


_STONE = re.compile(rf"[0-9a-f]{{64}}(?:\.json|{re.escape(EARLY)})", re.ASCII)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else is inside with the same folder. The lock is on the folder itself and ends with the process."""
    try:
        import fcntl
    except ImportError:
        with _UNSUPPORTED:
            yield
        return
    handle, until = os.open(folder, os.O_RDONLY), time.monotonic() + PATIENCE
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise RecordError(
                        f"Could not save into {shown(folder.name)}: others have been saving there for {PATIENCE:.0f} "
                        "seconds. Try again."
                    ) from None
                time.sleep(0.005)
            else:
                break
        yield
    finally:
        with suppress(OSError):  # the lock is gone all the same, and what was done inside is done
            os.close(handle)


@dataclass(frozen=True)
class ChainReport:
    """What became of the chain of a folder.

    `length` is the number of its links, `removed` how many of them are tombstones, `unlinked` how many records lie
    there from before there were chains. `head` is the last link, to be written down elsewhere. `problems` are
    sentences. `signatures` counts links by whose key sealed them, in words.
    """

    length: int
    removed: int
    unlinked: int
    head: Link | None
    problems: tuple[str, ...]
    signatures: Mapping[str, int]

    @property
    def ok(self) -> bool:
        """Whether every record continues the one before it."""
        return not self.problems

    def __str__(self) -> str:
        if self.problems:
            return "\n".join([f"The chain of {self._records()} is broken.", *self.problems])
        if self.head is None:
            return f"No record here is part of a chain{self._before()}."
        return (
            f"Unbroken: {self._follow()}{self._before()}. "
            f"The last is number {self.head.sequence:,}, {self.head.sha256}.{self._signed()}"
        )

    def _follow(self) -> str:
        if self.length > 1:
            return f"each of {self._records()} continues the one before it"
        return "the one record is the first" + (", and was removed" if self.removed else "")

    def _signed(self) -> str:
        """Who sealed how many, where any is signed: whoever sealed the others is not known."""
        if not set(self.signatures) - {UNSIGNED}:
            return ""
        return f" {', '.join(f'{count:,} {words}' for words, count in sorted(self.signatures.items()))}."

    def _records(self) -> str:
        gone = f", {self.removed:,} of them removed" if self.removed else ""
        return f"{self.length:,} record{'s' * (self.length != 1)}{gone}"

    def _before(self) -> str:
        return f"; {self.unlinked:,} were saved before there were chains" if self.unlinked else ""


def check(store: str | Path, progress: Progress | None = None, cancel: threading.Event | None = None) -> ChainReport:
    """Whether the records of a folder are those that were saved into it, and all of them, in their order.

    Manifests alone are read: `verify` looks at the files of a record. `progress` is told (records and tombstones read,
    those that there are). Raises RecordError if `store` is no folder, and Cancelled once `cancel` is set.
    """
    store = existing(store)
    found, unlinked, problems = list[_Found](), 0, list[str]()
    try:
        records, stones = record_names(store), tombstone_names(store)
    except OSError as error:
        raise RecordError(f"Cannot list {shown(store.name)}: {error.strerror}.") from error
    names = _told([*records, *stones], progress, cancel)
    for name in islice(names, len(records)):
        try:
            manifest = read_manifest(store / name)
            link, signature = link_of(manifest), signature_of(manifest)
        except Damage as damage:
            if damage.status != "missing":  # a folder without a manifest is no record
                problems.append(_unknown(f"{shown(name)}/{MANIFEST}", damage))
            continue
        if link is not None:
            found.append(_Found(link, shown(name), False, signature))
        elif manifest["kind"] != AUDIT and manifest["schema"] > 1:
            problems.append(f"{shown(name)} names no place in the chain: it was changed, or never saved.")
        else:
            unlinked += manifest["kind"] != AUDIT
    here = {one.link.sha256 for one in found}
    for name in names:
        if name.endswith(EARLY) and name.removesuffix(EARLY) in here:
            continue  # it is being removed, or whoever was removing it was stopped
        try:
            stone = read_tombstone(store, name)
        except Damage as damage:
            problems.append(_unknown(f"{TOMBSTONES}/{name[:16]}….json", damage))
            continue
        if stone.link is not None:
            found.append(_Found(stone.link, f"the tombstone {name[:16]}…", True, stone.signature))
    problems += _breaks(found)
    numbers = {one.link.sequence for one in found}
    kept = {one.link.sequence for one in found if not one.removed}
    last = max((one.link for one in found), key=lambda link: link.sequence, default=None)
    signatures = Counter(one.signature for one in found)
    return ChainReport(len(numbers), len(numbers - kept), unlinked, last, tuple(problems), signatures)


def _told(names: Sequence[str], progress: Progress | None, cancel: threading.Event | None) -> Iterator[str]:
    """The names, one after the other; whoever watches is told how many are done. Raises Cancelled."""
    for number, name in enumerate(names, 1):
        if cancel is not None and cancel.is_set():
            raise Cancelled("Cancelled. Whether the chain is whole is not known.")
        yield name
        if progress is not None:
            progress(number, len(names))


class _Found(NamedTuple):
    link: Link
    called: str
    removed: bool
    signature: str


def _unknown(called: str, damage: Damage) -> str:
    return f"{called} is {damage.status}: {damage.detail}. Its place in the chain is not known."


def _breaks(found: Sequence[_Found]) -> Iterator[str]:
    """A sentence for everything that does not fit."""
    by_number = defaultdict[int, list[_Found]](list)
    for one in found:
        by_number[one.link.sequence].append(one)
    before, expected = list[_Found](), 1
    for number, these in sorted(by_number.items()):
        if number > expected:
            missing = (
                f"Number {expected:,} is" if number == expected + 1 else f"Numbers {expected:,} to {number - 1:,} are"
            )
            yield f"{missing} missing before {_named(these)}: removed without a tombstone, or moved away."
        elif number > 1:
            known = {one.link.sha256 for one in before}
            for one in these:
                if one.link.predecessor not in known:
                    yield (
                        f"{_upper(one.called)}, number {number:,}, does not continue {_named(before)}: one of them was "
                        "changed after it was saved, or comes from another folder."
                    )
        yield from _rivals(number, these)
        before, expected = these, number + 1


def _rivals(number: int, these: Sequence[_Found]) -> Iterator[str]:
    """Of several that have one number, why there are several."""
    kept = [one for one in these if not one.removed]
    if len({one.link.sha256 for one in these}) > 1:
        yield f"The chain forks: {_named(these)} are all number {number:,}."
    elif len(kept) > 1:
        yield f"{_upper(_named(kept))} are one record, number {number:,}, several times."
    elif kept and len(these) > 1:
        yield f"{_upper(kept[0].called)}, number {number:,}, is here, and its tombstone says that it was removed."


def _named(these: Sequence[_Found]) -> str:
    names = [one.called for one in these[:5]] + [f"{len(these) - 5:,} more"] * (len(these) > 5)
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _upper(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:] if sentence.startswith("the ") else sentence
