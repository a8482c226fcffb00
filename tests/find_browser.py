"""Find a Chromium for the browser tests, or install one.

    python tests/find_browser.py --install

Looks at $CHROME, then at the PATH, then at Playwright's own, then asks Playwright, then apt. Where none can be had,
it says so in one sentence and the browser tests skip with that reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_browser() -> str | None:
    """The path of a Chromium or Chrome, or None."""
    if named := os.environ.get("CHROME"):
        return named
    if found := next(filter(None, map(shutil.which, NAMES)), None):
        return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = playwright.chromium.executable_path
    return own if Path(own).exists() else None


def install_browser() -> str | None:
    """Have one installed if there is none yet; the path, or None."""
    attempts = [[sys.executable, "-m", "playwright", "install", "chromium"]]
    if shutil.which("apt-get"):
        sudo = [] if os.geteuid() == 0 else ["sudo", "-n"]
        attempts += [[*sudo, "apt-get", "update", "-qq"], [*sudo, "apt-get", "install", "-y", "-qq", "chromium"]]
    for attempt in attempts:
        if found := find_browser():
            return found
        try:
            subprocess.run(attempt, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=600)
        except (OSError, subprocess.TimeoutExpired):
            continue
    return find_browser()


if __name__ == "__main__":
    browser = install_browser() if "--install" in sys.argv else find_browser()
    print(
        f"Browser tests use {browser}" if browser else "No Chromium or Chrome can be had here: browser tests will skip."
    )
