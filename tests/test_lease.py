"""A folder has one worker, and a dead one does not keep the living out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from xai_core import lease as leases
from xai_core.errors import StoreError
from xai_core.lease import lease

ROOT = Path(leases.__file__).parent.parent
HOLD = """
import sys, time
from xai_core.lease import lease
with lease(sys.argv[1], {"what": "audit"}):
    print("held", flush=True)
    time.sleep(60)
"""


def in_a_process(code: str, *words: object) -> subprocess.Popen[str]:
    given = [sys.executable, "-c", code, *map(str, words)]
    return subprocess.Popen(given, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the folder."""
    with in_a_process(HOLD, tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def change(folder: Path, age: float = 0, **fields: Any) -> None:
    """Let the holder be someone else, whose last heartbeat is `age` seconds old."""
    path = folder / "lease.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))
    os.utime(path, (time.time() - age,) * 2)


def is_free(folder: Path) -> bool:
    try:
        with lease(folder, {}):
            return True
    except StoreError:
        return False


def test_a_second_worker_is_refused_and_told_of_the_first(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(StoreError) as refused, lease(tmp_path, {}):
        pytest.fail("two hold it")
    held = json.loads((tmp_path / "lease.json").read_text())
    assert held["what"] == "audit"
    for part in (str(tmp_path), f"process {holder.pid} on {os.uname().nodename}, since {held['since']}"):
        assert part in str(refused.value)
    assert is_free(tmp_path) is False


def test_a_second_worker_in_the_same_process_is_refused(tmp_path: Path) -> None:
    with lease(tmp_path, {}):
        assert not is_free(tmp_path)
        assert not is_free(tmp_path)
    assert is_free(tmp_path)


def test_what_is_given_back_is_free_whatever_was_raised(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), lease(tmp_path, {}):
        raise KeyboardInterrupt
    assert {path.name for path in tmp_path.iterdir()} == {"lease.lock"}
    assert is_free(tmp_path)


@pytest.mark.parametrize("buried", [True, False], ids=["gone", "zombie"])
def test_the_lease_of_a_killed_worker_is_taken_at_once(
    buried: bool, tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    if buried:
        holder.wait()
    else:
        while psutil.Process(holder.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
    start = time.monotonic()
    assert is_free(tmp_path)
    assert time.monotonic() - start < 5


def test_a_stopped_worker_still_holds_its_folder(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGSTOP)
    os.utime(tmp_path / "lease.json", (0, 0))
    assert not is_free(tmp_path)


@pytest.mark.usefixtures("holder")
def test_a_process_that_got_the_number_of_a_dead_one_does_not_hold_its_folder(tmp_path: Path) -> None:
    held = json.loads((tmp_path / "lease.json").read_text())
    change(tmp_path, started=held["started"] + 1)
    assert not is_free(tmp_path)  # told with the slack of a clock
    change(tmp_path, started=held["started"] - 60)
    assert is_free(tmp_path)


@pytest.mark.usefixtures("holder")
@pytest.mark.parametrize("elsewhere", [{"host": "another"}, {"processes": "pid:[1]"}], ids=["machine", "container"])
def test_elsewhere_a_worker_lives_while_its_heart_beats(elsewhere: dict[str, str], tmp_path: Path) -> None:
    change(tmp_path, age=20, pid=2**22 - 1, **elsewhere)  # a number that nobody has here
    assert not is_free(tmp_path)
    change(tmp_path, age=40)
    assert is_free(tmp_path)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"[" * 10**5, b'{"host": 1}', b"\xff"])
def test_a_lease_that_cannot_be_read_ends_with_its_heartbeat(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "lease.json").write_bytes(content)
    assert not is_free(tmp_path)
    os.utime(tmp_path / "lease.json", (time.time() - 40,) * 2)
    assert is_free(tmp_path)


def test_the_heart_beats_while_the_lease_is_held_and_only_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.01)

    def beats() -> bool:
        os.utime(tmp_path / "lease.json", (1, 1))
        until = time.monotonic() + 2
        while time.monotonic() < until and path.stat().st_mtime == 1:
            time.sleep(0.01)
        return path.stat().st_mtime > 1

    path = tmp_path / "lease.json"
    with lease(tmp_path, {}):
        assert beats()
        change(tmp_path, id="another")  # who took it while this process was asleep
        time.sleep(0.1)
        monkeypatch.setattr(leases, "SILENCE", 0.0)
        path.write_text(path.read_text())
        os.utime(path, (1, 1))
        time.sleep(0.2)
        assert path.stat().st_mtime == 1
    assert json.loads(path.read_text())["id"] == "another"  # nor is it given back for them


@pytest.mark.parametrize("how", ["taken", "taken and given back"])
def test_a_holder_learns_that_its_folder_was_taken_over(
    how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "BEAT", 0.01)
    lost = threading.Event()
    with lease(tmp_path, {}, lost):
        assert not lost.wait(0.1)
        if how == "taken":
            change(tmp_path, id="another")
        else:
            (tmp_path / "lease.json").unlink()
        assert lost.wait(5)
    assert (tmp_path / "lease.json").exists() == (how == "taken")


def test_a_holder_that_gives_its_folder_back_has_not_lost_it(tmp_path: Path) -> None:
    lost = threading.Event()
    with lease(tmp_path, {}, lost):
        pass
    assert not lost.is_set()


RACE = """
import os, sys, time
from xai_core.errors import StoreError
from xai_core.lease import lease
ready, wins = os.pipe(), os.pipe()
for _ in range(8):
    if os.fork() == 0:
        os.close(ready[1])
        os.read(ready[0], 1)  # until all are there
        try:
            with lease(sys.argv[1], {}):
                os.write(wins[1], b"w")
                time.sleep(3)
        except StoreError:
            os.write(wins[1], b".")
        os._exit(0)
os.close(ready[1])
time.sleep(0.1)
said = b""
while len(said) < 8:
    said += os.read(wins[0], 8)
print(said.count(b"w"))
"""


def test_of_many_who_take_a_dead_lease_at_once_one_wins(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    out, _ = in_a_process(RACE, tmp_path).communicate(timeout=300)
    assert out == "1\n"


@pytest.mark.parametrize("name", ["lease.json", "lease.lock"])
def test_a_folder_where_no_lease_can_be_written_is_said_so(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(StoreError, match="Cannot work in"), lease(tmp_path, {}):
        pytest.fail("held")
    with pytest.raises(StoreError, match="Cannot work in"), lease(tmp_path / "nowhere", {}):
        pytest.fail("held")


def test_the_files_of_a_lease_do_not_disturb_the_manifest_of_an_audit() -> None:
    from xai_core.seal import ALIVE

    assert all(ALIVE.fullmatch(name) for name in (leases.HOLDER, leases.LOCK))
