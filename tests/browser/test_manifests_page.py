"""Records in a real browser: saved, found again after a restart, recomputed, compared, deleted; and ten thousand."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import xai_core as xai
from tests.browser.test_pages import SLOW, check_access, rows, scales, upload
from tests.pages.conftest import png
from tests.records_made import continued
from xai_core import chain
from xai_core.records import Record

pytestmark = pytest.mark.browser

expect = pytest.importorskip("playwright.sync_api").expect
MANY = 10_000


def fill(page: Any, label: str, text: str) -> None:
    """Type, and leave the field."""
    box = page.get_by_label(label, exact=True)
    box.fill(text)
    box.press("Tab")


def explained(store: Path, name: str, model: str, shade: int, note: str = "") -> None:
    """Save what a model says of a picture, and one map."""
    store.mkdir(exist_ok=True)
    image, network = xai.read_image(png(shade, texture=True)), xai.load_model(model)
    maps = (xai.explain(network, image, "grad_cam"),)
    xai.save(Record(maps, (xai.predict(network, image),), image.source, note=note), store / name)


def wide(page: Any) -> int:
    """What the page would have to be scrolled over, in pixels."""
    return int(page.evaluate("document.documentElement.scrollWidth"))


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
    with page.expect_download() as taken:
        page.get_by_role("button", name="Report (HTML)").click()
    told = taken.value.path().read_text("utf-8")
    assert taken.value.suggested_filename == f"record-{record.manifest['id'][:12]}.html"
    assert "Ada Byron" in told
    assert hashlib.sha256((server.store / name / "manifest.json").read_bytes()).hexdigest() in told


def test_two_records_of_one_picture_stand_side_by_side_and_one_is_deleted(server, visit):
    explained(server.store, "march", "demo-xray", 11)
    explained(server.store, "june", "demo-xray-shortcut", 11)
    page = visit("dark", 400)
    page.goto(f"{server.address}/manifests")
    page.locator(".st-key-open-march button").click()
    rows(page, 1)
    page.get_by_role("button", name="Compare with").click()
    page.get_by_role("button", name="Compare", exact=True).click()
    rows(page, 2)
    expect(page).to_have_url(re.compile(r"record=march&with=june"))
    heads = page.locator(".row h3").all_inner_texts()
    assert [next(one for one in ("demo-xray-shortcut", "demo-xray") if one in head) for head in heads] == [
        "demo-xray",
        "demo-xray-shortcut",
    ]  # the one that was saved first comes first
    assert len(scales(page)) == 2
    assert scales(page)[0] == scales(page)[1]
    expect(page.get_by_role("img", name=re.compile("^Where the map of demo-xray,.* has more.*alone$"))).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("^(They differ|Both agree)"))).to_be_visible()
    expect(page.get_by_role("heading", name="What differs")).to_be_visible()
    assert wide(page) <= 400
    check_access(page, "two records in the dark")

    page.get_by_role("button", name="Open june").click()
    rows(page, 1)
    page.get_by_role("button", name="Delete", exact=True).click()
    fill(page, "Why", "of no use")
    page.get_by_role("button", name="Delete for good").click()
    expect(page.get_by_text("A tombstone keeps its place in the chain")).to_be_visible()
    expect(page.locator(".st-key-open-march button")).to_be_visible()
    expect(page.locator(".st-key-open-june button")).to_have_count(0)
    assert not (server.store / "june").exists()
    page.get_by_role("button", name="Check the chain").click()
    expect(page.get_by_text(re.compile("each of [0-9,]+ records, 1 of them removed continues"))).to_be_visible()
    page.get_by_text("More filters").click()
    expect(page.get_by_label("Reviewer", exact=True)).to_be_visible()
    assert wide(page) <= 400
    check_access(page, "the list in the dark")


@pytest.mark.slow
def test_ten_thousand_records_are_listed_filtered_opened_and_checked(server, visit):
    start = datetime(2024, 1, 1, tzinfo=UTC)

    def said(number: int) -> dict[str, Any]:
        created = start + timedelta(minutes=number)
        return {"created": f"{created:%Y-%m-%dT%H:%M:%S.0Z}", "model": f"model-{number % 50}", "reviewer": "Bo"}

    continued(server.store, MANY, said)
    explained(server.store, "last", "demo-xray", 12, "found among many")
    total = f"{len(chain.record_names(server.store)):,} records"
    whole = re.compile(f"^{total}, ")
    page = visit()
    page.goto(f"{server.address}/manifests")
    expect(page.get_by_text("Reading the records: ")).to_be_visible()
    expect(page.get_by_text(whole)).to_be_visible(timeout=SLOW)

    def took(seconds: float, what: str, act: Callable[[], Any], seen: Any) -> None:
        """It takes a tenth of these seconds, or less, on two cores that do nothing else."""
        began = time.monotonic()
        act()
        expect(seen).to_be_visible(timeout=1000 * seconds)
        print(f"{what:14} {time.monotonic() - began:.2f} s")

    page = visit()
    opener = page.locator("[class*=st-key-open-] button")
    took(60, "list", lambda: page.goto(f"{server.address}/manifests"), opener.nth(9))
    words = page.get_by_label("Filter", exact=True)
    words.fill("model-7 fracture")
    took(30, "filter", lambda: words.press("Enter"), page.get_by_text(f"{MANY // 50:,} of {total}"))
    following = page.get_by_role("button", name="Next page")
    took(30, "next page", following.click, page.locator(f".st-key-open-r{MANY - 43 - 10 * 50:05} button"))
    words.fill("found among many")
    one = page.get_by_text(re.compile(f"^1 of {total}"))
    took(30, "filter to one", lambda: words.press("Enter"), one)
    took(120, "open", page.locator(".st-key-open-last button").click, page.locator(".row"))
    took(30, "back", page.get_by_role("button", name="All records").click, one)
    took(30, "open again", page.locator(".st-key-open-last button").click, page.locator(".row"))
    page.get_by_role("button", name="All records").click()

    checked = page.get_by_role("button", name="Check the chain")
    checked.click()
    expect(page.get_by_text(re.compile(r"The chain: [0-9,]+ of [0-9,]+ records read"))).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("Checking the chain was cancelled. Whether it is whole is not known.")).to_be_visible()
    took(120, "chain", checked.click, page.get_by_text(re.compile("each of 10,[0-9]+ records.* continues")))
