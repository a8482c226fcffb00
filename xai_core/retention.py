"""What happens to saved records later: removed one by one or by a rule, and brought in from elsewhere.

A record that is removed leaves a tombstone, its place in the chain with its hash, so that what is left can still be
checked. It is gone in one step: whoever is stopped in between leaves all of it or nothing. What comes in is believed
no more than any other upload: names and sizes are checked before anything is written, and all of it is verified
before it has its name.
"""

from __future__ import annotations

import errno
import io
import math
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from xai_core import durable
from xai_core.catalogue import Catalogue
from xai_core.chain import EARLY, IMPORTED, TOMBSTONES, Tombstone, joined, read_tombstone, record_names, tombstone_names
from xai_core.errors import RecordError, SettingError
from xai_core.seal import AUDIT, ENTRIES_LIMIT, MANIFEST, MANIFEST_LIMIT, Damage, Listed, listing, shown, unsealed
from xai_core.store import Entry, entry_of, list_records
from xai_core.verification import existing, read_manifest, verify
from xai_core.zip_members import Sparing, WrongSize, read_member

LONGEST_REASON = 500  # characters
MOST_LISTED = 2 * 2**20  # bytes of an archive's own list; that of the largest record has a quarter of them
ROOM = 256 * 2**20  # bytes that any zip may unpack to
RATIO = 20  # and for each byte of it so many more; records of large blank maps reach about 10

# ---- removing ------------------------------------------------------------------------------------------------------


def remove(folder: str | Path, why: str) -> None:
    """Remove a saved record and leave a tombstone that says `why`; one that was imported leaves none.

    Raises SettingError where `why` says nothing or too much, RecordError where the record cannot be believed, holds
    what is not part of it, is an audit, or cannot be removed: then all of it is still there.
    """
    folder, why = Path(os.path.abspath(existing(folder))), _reason(why)
    store = folder.parent.parent if folder.parent.name == IMPORTED else folder.parent
    try:
        with joined(store):
            _settle(store)
            _remove(store, folder, why)
    except OSError as error:
        _refuse_removal(folder, error)


def due(
    store: str | Path,
    *,
    older_than_days: float | None = None,
    larger_than: int | None = None,
    now: datetime | None = None,
) -> list[Entry]:
    """Which records `prune` removes, the oldest first: never the newest of the store's own.

    Those saved more than `older_than_days` before `now`, and of the others the oldest until all records together have
    at most `larger_than` bytes. Broken ones and those whose time cannot be read are passed over. Every manifest is
    read: an index that came with the store may say anything. Raises SettingError where neither limit is given or one
    makes no sense, and RecordError if `store` is no folder.
    """
    if older_than_days is None and larger_than is None:
        raise SettingError("Say which records to remove: those older than some days, or until some bytes are left.")
    for limit, words in ((older_than_days, "days"), (larger_than, "bytes")):
        if limit is not None and not (math.isfinite(limit) and 0 < limit < 1e18):
            raise SettingError(f"{limit} {words} is no limit for what is kept. Give a number above 0.")
    entries, imported = list_records(store), Path(store) / IMPORTED
    if imported.is_dir() and not imported.is_symlink():
        entries += list_records(imported)
    dated = sorted(
        ((when, one.sequence or 0, one.id, one) for one in entries if (when := _time(one)) is not None),
        key=lambda row: row[:3],
    )
    own = [(sequence, when, one) for when, sequence, _, one in dated if one.folder.parent.name != IMPORTED]
    newest = max(own, key=lambda row: row[:2])[2] if own else None
    found, left = list[Entry](), sum(one.bytes for one in entries)
    age = math.inf if older_than_days is None else older_than_days * 86400
    for when, _, _, one in dated:
        is_old = ((now or datetime.now(UTC)) - when).total_seconds() > age
        if one != newest and (is_old or (larger_than is not None and left > larger_than)):
            found.append(one)
            left -= one.bytes
    return found


def prune(
    store: str | Path,
    *,
    older_than_days: float | None = None,
    larger_than: int | None = None,
    now: datetime | None = None,
    why: str = "",
    failed: Callable[[Entry, RecordError], None] | None = None,
) -> list[Entry]:
    """Remove what is `due`, and give what was removed, the oldest first. Each leaves a tombstone, as by `remove`.

    `why` is the limit by default. A record that cannot be removed is told to `failed` and stays; without `failed` its
    RecordError is raised, and those before it are gone.
    """
    found, removed = due(store, older_than_days=older_than_days, larger_than=larger_than, now=now), list[Entry]()
    limits = [f"older than {older_than_days:g} days"] if older_than_days is not None else []
    limits += [f"over {larger_than:,} bytes in the store"] if larger_than is not None else []
    why, store = _reason(why or f"Pruned: {', or '.join(limits)}."), Path(os.path.abspath(store))
    if not found:
        return []
    try:
        with joined(store):
            _settle(store)
            for entry in found:
                try:
                    _remove(store, Path(os.path.abspath(entry.folder)), why)
                    removed.append(entry)
                except RecordError as error:
                    if failed is None:
                        raise
                    failed(entry, error)
    except OSError as error:
        _refuse_removal(store, error)
    return removed


def _remove(store: Path, folder: Path, why: str) -> None:
    """Remove a record while nobody else changes the store."""
    name = shown(folder.name)
    if folder.is_symlink():
        raise RecordError(f"Cannot remove {name}: it is a link. Remove the record that it leads to.")
    try:
        manifest = read_manifest(folder)
        stone = Tombstone.of(manifest, why)
        known = {MANIFEST, *(file.name for file in listing(manifest))}
    except Damage as damage:
        raise RecordError(
            f"Cannot remove {name}: its {MANIFEST} is {damage.status}, {damage.detail}, so its place in the chain "
            "cannot be kept. Keep it as a finding, or delete the folder by hand."
        ) from damage
    if manifest["kind"] == AUDIT:
        raise RecordError(f"Cannot remove {name} as a record: it is the audit of a whole set.")
    strangers = sorted(one for one in os.listdir(folder) if one not in known and not one.startswith("."))
    if strangers:
        raise RecordError(f"Cannot remove {name}: {shown(strangers[0])} in it is no part of the record; move it away.")
    if folder.parent.name == IMPORTED:  # which is no part of this chain
        durable.remove_folder(folder)
        return
    place, content = _folder(store, TOMBSTONES), stone.content()
    durable.replace_file(place / stone.early_name, content)
    try:
        durable.remove_folder(folder)
    except BaseException:
        with suppress(OSError):
            if folder.exists():
                durable.remove_file(place / stone.early_name)
        raise
    with suppress(OSError):  # the early one counts by now, and is settled the next time
        _confirm(store, stone)


def _settle(store: Path) -> None:
    """Finish what somebody who removed records was stopped in: a tombstone stays where its record is gone."""
    early = [name for name in tombstone_names(store) if name.endswith(EARLY)]
    if not early:
        return
    here = set[str]()
    for name in record_names(store):
        with suppress(Damage):
            here.add(read_manifest(store / name)["sha256"])
    for name in early:
        if name.removesuffix(EARLY) in here:
            durable.remove_file(store / TOMBSTONES / name)
            continue
        with suppress(Damage):  # `chain.check` names it
            _confirm(store, read_tombstone(store, name))


def _confirm(store: Path, stone: Tombstone) -> None:
    place = store / TOMBSTONES
    durable.replace_file(place / stone.name, (place / stone.early_name).read_bytes())
    durable.remove_file(place / stone.early_name)


def _folder(store: Path, name: str) -> Path:
    """A folder of the store's own, made where it is missing. Raises RecordError where a link or a file has its name."""
    folder = store / name
    with suppress(FileExistsError):
        folder.mkdir()
        durable.flush_folder(store)
    if not stat.S_ISDIR(os.lstat(folder).st_mode):
        raise RecordError(f"{name} in {shown(store.name)} is no folder but a link or a file; move it away.")
    return folder


def _reason(why: str) -> str:
    why = why.strip()
    if not why or len(why) > LONGEST_REASON:
        raise SettingError(f"Say why it is removed, in at most {LONGEST_REASON} characters; {len(why):,} were given.")
    return why


def _refuse_removal(folder: Path, error: OSError) -> NoReturn:
    reason = error.strerror or type(error).__name__
    raise RecordError(
        f"Could not remove from {shown(folder.name)}: {reason}. What has its name is whole; check that you may write "
        "there."
    ) from error


def _time(entry: Entry) -> datetime | None:
    """When it was saved, or None where that cannot be read."""
    try:
        when = datetime.fromisoformat(entry.created)
    except ValueError:
        return None
    return None if entry.problem or when.tzinfo is None else when


# ---- bringing in ---------------------------------------------------------------------------------------------------


def import_zip(content: bytes, store: str | Path) -> Path:
    """Put the record in a zip, as `zip_record` packs it, into the folder IMPORTED of `store`, and give its folder.

    Raises RecordError for anything but one whole record that this store does not have: then nothing of it stays.
    """
    store = existing(store)
    try:
        archive = zipfile.ZipFile(Sparing(io.BytesIO(content), MOST_LISTED))
    except Exception as error:  # hostile bytes make zipfile raise anything, none of it for a person to read
        raise _not_imported("it is no zip, is damaged, or was cut short") from error
    with archive:
        members = _members(archive)
        manifest, text = _manifest(archive, members)
        files = listing(manifest)
        _check_members(members, files, len(content))
        identity = str(manifest["id"])
        if (here := Catalogue(store).folder_of(identity)) is not None:
            raise _not_imported(f"its record is here already, as {shown(here.name)}", "Open that one.")
        made = not (store / IMPORTED).exists()
        try:
            folder = _folder(store, IMPORTED) / f"record-{identity[:12]}"
            durable.write_folder(folder, _unpacked(archive, members, files, text), _check_record)
        except BaseException as error:
            if made:
                with suppress(OSError):
                    os.rmdir(store / IMPORTED)
            if isinstance(error, OSError):
                _refuse_import(error)
            raise
    return folder


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """What is in the one folder of an archive, by name."""
    found, folders = dict[str, zipfile.ZipInfo](), set[str]()
    if len(archive.infolist()) > ENTRIES_LIMIT + 2:
        raise _not_imported(f"it has {len(archive.infolist()):,} entries, more than any record")
    for one in archive.infolist():
        if why := _why_not(one):
            raise _not_imported(f"{shown(one.orig_filename)} {why}")
        folder, _, file = one.orig_filename.rpartition("/")
        folders.add(folder)
        if file in found:
            raise _not_imported(f"{shown(file)} is in it twice")
        if file:
            found[file] = one
    if len(folders) > 1:
        raise _not_imported("its files lie in several folders", "Pack the folder of one record.")
    return found


_REGULAR = {0, stat.S_IFREG}  # many programs write no kind


def _why_not(one: zipfile.ZipInfo) -> str:
    """Why a member is not read, or nothing. Its name is `orig_filename`: the other is cut and mended."""
    name, kind = one.orig_filename, stat.S_IFMT(one.external_attr >> 16)
    if name.startswith("/") or "\\" in name or "\0" in name or re.match("[A-Za-z]:", name):
        return "has a path for a name that no record has"
    if {".", ".."} & set(name.split("/")):
        return "has a name that leads out of its folder"
    if name.count("/") > 1:
        return "lies in a folder inside another; a record has one folder"
    if name.endswith("/"):
        return ""
    if kind not in _REGULAR:
        return "is a link or a device, not a file"
    if one.flag_bits & 0x41:
        return "is encrypted; pack it without a password"
    return "" if one.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) else "is packed in an unusual way"


def _manifest(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo]) -> tuple[dict[str, Any], bytes]:
    """The manifest in the archive, and its bytes."""
    if MANIFEST not in members:
        raise _not_imported(f"it has no {MANIFEST}, so it is no record", "Choose a zip that this program has packed.")
    if members[MANIFEST].file_size > MANIFEST_LIMIT:
        raise _not_imported(f"its {MANIFEST} has more than {MANIFEST_LIMIT:,} bytes")
    text = _content(archive, members[MANIFEST])
    try:
        manifest = unsealed(text)
    except Damage as damage:
        raise _not_imported(f"its {MANIFEST} is {damage.status}, {damage.detail}") from damage
    if manifest["kind"] == AUDIT:
        raise _not_imported("it is the audit of a whole set", "Unpack it into the folder of audits.")
    if not re.fullmatch("[0-9a-f]{32}", str(manifest.get("id"))):
        raise _not_imported(f"its {MANIFEST} gives no id that a record has")
    return manifest, text


def _check_members(members: Mapping[str, zipfile.ZipInfo], files: list[Listed], packed: int) -> None:
    """Raise RecordError unless the archive declares those files that the manifest lists, in the same sizes."""
    sizes = {file.name: file.bytes for file in files}
    for name, one in members.items():
        if name != MANIFEST and name not in sizes:
            raise _not_imported(f"{shown(name)} is no part of the record", "Pack the record's own files alone.")
        if name != MANIFEST and one.file_size != sizes[name]:
            raise _not_imported(f"{name} has {one.file_size:,} bytes in it, and {sizes[name]:,} in the {MANIFEST}")
    if missing := sorted(sizes.keys() - members.keys()):
        raise _not_imported(f"{missing[0]} is missing")
    if (total := sum(sizes.values())) > ROOM + RATIO * packed:
        raise _not_imported(f"it would unpack to {total:,} bytes, far more than {packed:,} packed ones hold")


def _unpacked(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], files: list[Listed], text: bytes
) -> Iterator[tuple[str, bytes]]:
    for file in files:
        yield file.name, _content(archive, members[file.name])
    yield MANIFEST, text


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    try:
        return read_member(archive, member)
    except WrongSize:
        raise _not_imported(f"{shown(member.orig_filename)} has not the size that it declares") from None
    except zipfile.BadZipFile as error:
        raise _not_imported(f"{shown(member.orig_filename)} is damaged in it") from error


def _check_record(folder: Path) -> None:
    """Raise RecordError unless what was unpacked is a record, and all of it intact."""
    for file in verify(folder).files:
        if file.status != "intact":
            raise _not_imported(f"{shown(file.name)} is {file.status}, {file.detail}")
    entry = entry_of(folder)
    if entry is None or entry.problem:
        raise _not_imported(f"its {MANIFEST} does not describe a record")


def _not_imported(why: str, advice: str = "Get the zip again from whoever packed it.") -> RecordError:
    return RecordError(f"Nothing was imported: {why}. {advice}")


def _refuse_import(error: OSError) -> NoReturn:
    advice = {errno.ENOSPC: "Free some space.", errno.EDQUOT: "Free some space."}.get(
        error.errno or 0, "Check that you may write in the folder of records."
    )
    if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
        raise _not_imported("a record of its name is here already", "Open that one.") from error
    raise _not_imported(error.strerror or type(error).__name__, advice) from error
