"""Records in a real browser: saved, found again after a restart, and recomputed."""

from __future__ import annotations

from typing import Any

import pytest

import xai_core as xai
from tests.browser.test_pages import SLOW, check_access, rows, upload
from tests.pages.conftest import png
from xai_core import chain
from xai_core.records import Record

pytestmark = pytest.mark.browser

expect = pytest.importorskip("playwright.sync_api").expect


def fill(page: Any, label: str, text: str) -> None:
    """Type, and leave the field."""
    box = page.get_by_label(label, exact=True)
    box.fill(text)
    box.press("Tab")


def test_what_is_saved_survives_a_restart_and_is_recomputed_equal(server, visit):
    page = visit()
    page.goto(f"{server.address}/?model=demo-xray&weigh=false&method=grad_cam")
    upload(page, ("Mrs Miller.png", png(7, texture=True)))
    rows(page, 1)
    page.get_by_role("button", name="Save record").click()
    fill(page, "Your name (optional)", "Ada Byron")
    page.get_by_text("Keep the picture itself").click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved as")).to_be_visible(timeout=SLOW)
    page.close()
    [name] = chain.record_names(server.store)
    record = xai.open_record(server.store / name)
    assert isinstance(record, Record)
    assert (record.upload, record.name, record.reviewer) == (png(7, texture=True), "", "Ada Byron")

    server.stop()
    server.start()
    page = visit()
    page.goto(f"{server.address}/manifests")
    page.locator(f".st-key-open-{name} button").click()
    rows(page, 1)
    expect(page.get_by_text("Reviewer: Ada Byron · number 1 in the chain · unsigned")).to_be_visible()
    page.get_by_text("Recompute", exact=True).first.click()
    page.get_by_role("button", name="Recompute", exact=True).click()
    expect(page.get_by_text("✓ recomputed equal")).to_have_count(2, timeout=SLOW)
    expect(page.get_by_text("files match the manifest")).to_be_visible()
    check_access(page, "recomputed")
