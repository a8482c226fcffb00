"""The command `audit` ends as it is told to, and says how to go on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, png_of
from xai_core.errors import AuditError
from xai_core.options import sigterm_as_ctrl_c
from xai_core.unit_store import UnitStore


def units_in(store: Path) -> int:
    """How many are kept by now."""
    try:
        with UnitStore(store) as found:
            return len(found)
    except AuditError:
        return 0


@pytest.mark.slow
def test_a_scheduler_that_ends_an_audit_leaves_one_that_is_stopped(tmp_path: Path) -> None:
    source, out = tmp_path / "set", tmp_path / "run"
    source.mkdir()
    draw = np.random.default_rng(0)
    for number in range(80):
        (source / f"{number:03d}.png").write_bytes(png_of(draw.integers(0, 256, (40, 40, 3), dtype=np.uint8)))
    command = [sys.executable, "-m", "xai_core", "audit", "--data", str(source), "--out", str(out), "--methods",
               "grad_cam", "--weigh", "none", "--no-controls", "--device", "cpu"]  # fmt: skip
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as child:
        try:
            while child.poll() is None and not ((out / "store").exists() and units_in(out / "store") > 20):
                time.sleep(0.05)
            child.send_signal(signal.SIGTERM)
            said, _ = child.communicate(timeout=300)
        finally:
            child.kill()
    assert child.returncode == 130, said
    assert "Traceback" not in said
    assert "the same command goes on from there" in said
    assert json.loads((out / "run.json").read_text())["status"] == "stopped"
    assert not (out / "lease.json").exists()


def test_sigterm_means_ctrl_c_while_an_audit_runs_and_what_it_meant_before_afterwards() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    try:
        with pytest.raises(KeyboardInterrupt), sigterm_as_ctrl_c():
            signal.raise_signal(signal.SIGTERM)
        assert not heard
        signal.raise_signal(signal.SIGTERM)
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    passed: list[bool] = []

    def work() -> None:
        with sigterm_as_ctrl_c():
            passed.append(signal.getsignal(signal.SIGTERM) is not signal.default_int_handler)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert passed == [True]
