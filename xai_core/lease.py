"""One worker per folder: who holds it, whether they live, and who may take it over.

lease.json    who holds the folder; its time of change is the heartbeat
lease.lock    locked by SQLite, which never writes it, for the moment in which a lease is taken or given back
"""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from xai_core import durable
from xai_core.errors import StoreError

HOLDER = "lease.json"
LOCK = "lease.lock"
BEAT = 5.0  # seconds between two heartbeats
SILENCE = 30.0  # seconds without one after which a holder on another machine counts as dead
PATIENCE = 10.0  # seconds to wait for another process that is taking or giving back the lease
SLACK = 2.0  # seconds by which the start of one process may be told differently


@contextmanager
def lease(folder: str | Path, words: Mapping[str, Any], lost: threading.Event | None = None) -> Iterator[None]:
    """Hold `folder`, which exists, while the block runs. `words` are plain values kept beside who holds it.

    `lost` is set once the heartbeat finds that the folder is no longer held: this process slept, and another took it.
    Raises StoreError where another holds it, naming who, where and since when, or where it cannot be written. What a
    process left that has died is taken over: at once on this machine, after `SILENCE` on another.
    """
    folder = Path(folder)
    own = {**words, **_this_process(), "since": datetime.now(UTC).isoformat(timespec="seconds"), "id": uuid.uuid4().hex}
    try:
        with _locked(folder):
            _refuse_if_held(folder)
            durable.replace_file(folder / HOLDER, (json.dumps(own, indent=1) + "\n").encode())
    except (OSError, sqlite3.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise StoreError(f"Cannot work in {folder}: {reason}. Check that you may write there.") from error
    ended = threading.Event()
    heart = threading.Thread(
        target=_beat, args=(folder, own["id"], ended, lost or threading.Event()), name="lease", daemon=True
    )
    heart.start()
    try:
        yield
    finally:
        ended.set()
        heart.join()
        with suppress(OSError, sqlite3.Error), _locked(folder):  # a lease that stays is one of a process that ends
            if _holder(folder).get("id") == own["id"]:
                os.unlink(folder / HOLDER)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time. The lock of a process that dies is gone with it."""
    with closing(sqlite3.connect(folder / LOCK, timeout=PATIENCE, isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


def _beat(folder: Path, own: str, ended: threading.Event, lost: threading.Event) -> None:
    while not ended.wait(BEAT):
        with suppress(OSError, sqlite3.Error), _locked(folder):
            if _holder(folder).get("id") != own:
                lost.set()
                return
            os.utime(folder / HOLDER)


def _refuse_if_held(folder: Path) -> None:
    try:
        beat = os.stat(folder / HOLDER).st_mtime
    except FileNotFoundError:
        return
    holder = _holder(folder)
    os.utime(folder / LOCK)  # now, by the clock of the disk that dated the heartbeat
    if _lives(holder, os.stat(folder / LOCK).st_mtime - beat):
        who = f"process {holder.get('pid', '?')} on {holder.get('host', '?')}, since {holder.get('since', '?')}"
        raise StoreError(
            f"Another run works in {folder}: {who}. Wait until it ends, stop it, or name another folder for this one."
        )


def _lives(holder: Mapping[str, Any], silence: float) -> bool:
    here = _this_process()
    if any(holder.get(name) != here[name] for name in ("host", "processes")):
        return silence <= SILENCE
    return _runs(holder.get("pid"), holder.get("started"))


def _runs(pid: Any, started: Any) -> bool:
    """Whether the process that started then is still the one with this number."""
    import psutil

    try:
        process = psutil.Process(pid)
        same = abs(_started(process) - started) <= SLACK
        return same and process.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.AccessDenied:
        return True
    except (psutil.Error, TypeError, ValueError):
        return False


def _started(process: Any) -> float:
    """Seconds from the start of the machine, which stay the same when its clock is set."""
    import psutil

    return float(process.create_time() - psutil.boot_time())


def _this_process() -> dict[str, Any]:
    import psutil

    processes = ""  # two containers of one name may number their processes each for itself
    with suppress(OSError):
        processes = os.readlink("/proc/self/ns/pid")
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "started": _started(psutil.Process(pid)), "processes": processes}


def _holder(folder: Path) -> dict[str, Any]:
    """Who holds the folder: nobody where that cannot be read."""
    try:
        found = json.loads((folder / HOLDER).read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
