"""A real server and a real browser. Skipped with the reason where there is no Chromium."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.find_browser import find_browser

ROOT = Path(__file__).resolve().parents[2]
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"]
ELSEWHERE = re.compile(r"https?://(?!127\.0\.0\.1)")
# Of the framework, harmless; the last is a picture that was replaced while it was on its way.
NOISE = re.compile(r"_stcore/(health|host-config)|Failed to load resource|WebSocket|Client Error: Image source error")


class Server:
    """The app, or another page, on a free port, with a store of its own."""

    def __init__(self, folder: Path, page: str = "app.py") -> None:
        self.page = page
        self.store = folder / "records"
        self.log = folder / "log.txt"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {**os.environ, "SECOND_LOOK_RECORDS": str(self.store), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "streamlit", "run", self.page, f"--server.port={self.port}"]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=settings, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            if self.process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{self.address}/_stcore/health", timeout=2) as answer:
                    if answer.read() == b"ok":
                        return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"the server did not start:\n{self.log.read_text()[-2000:]}")

    def stop(self) -> None:
        """Stop this server, and no other."""
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A fresh server for a module."""
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """One browser for all tests."""
    path = find_browser()
    if path is None:
        pytest.skip("no Chromium or Chrome on this machine")
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=60_000)  # a machine that runs everything else at once is slow
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Makes a new visitor's page. Afterwards: no request to another host, no error on any page."""
    contexts, strangers, faults = [], [], []

    def stranger(route: Any) -> None:
        strangers.append(route.request.url)
        route.abort()

    def visitor(scheme: str = "light", width: int = 1280, height: int = 1400) -> Any:
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height})
        contexts.append(context)
        context.set_default_timeout(60_000)
        context.route(ELSEWHERE, stranger)
        page = context.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
        return page

    yield visitor
    for context in contexts:
        context.close()
    assert strangers == []
    assert [fault for fault in faults if not NOISE.search(fault)] == []
