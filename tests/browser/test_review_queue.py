"""Reviewing misclassified cases in a real browser, by keyboard."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Server
from tests.browser.test_pages import check_access
from tests.small_run import FILES, write_run
from xai_core.decisions import Decisions

pytestmark = pytest.mark.browser

expect = pytest.importorskip("playwright.sync_api").expect


@pytest.fixture(scope="module")
def run(server: Server) -> Path:
    folder = server.store / "audits" / "first"
    write_run(folder)
    return folder


def opened(server: Server, page: Any, query: str = "") -> Any:
    page.goto(f"{server.address}/review?{query}")
    expect(page.get_by_text(re.compile("of [36] decided"))).to_be_visible(timeout=120_000)
    return page


def named(page: Any) -> None:
    name = page.get_by_role("textbox", name="Reviewer")
    name.fill("Ada")
    name.press("Enter")


def test_misclassified_cases_are_decided_by_keyboard_and_are_there_after_a_reload(server, visit, run):
    page = opened(server, visit())
    page.get_by_role("button", name="Wrong", exact=True).click()
    expect(page.get_by_text("0 of 3 decided")).to_be_visible()
    named(page)
    page.get_by_role("button", name=re.compile("Review 3 cases")).click()
    expect(page.get_by_text(re.compile("1 of 3:.? wrong"))).to_be_visible()
    expect(page.get_by_role("button", name=re.compile("Flag"))).to_be_enabled()
    expect(page.locator(".row")).to_have_count(4, timeout=120_000)
    page.keyboard.press("3")
    expect(page.get_by_text(re.compile("2 of 3:.? wrong"))).to_be_visible()
    expect(page.get_by_text("1 of 3 decided")).to_be_visible()
    page.keyboard.press("f")
    expect(page.get_by_role("button", name=re.compile("Flagged"))).to_be_visible()
    note = page.get_by_role("textbox", name="Note")
    note.fill("")
    note.press_sequentially("8 fingers f")  # keys write while a text is typed
    note.press("Enter")
    expect(page.get_by_text("2 entries, the latest by Ada")).to_be_visible()
    page.get_by_role("heading", name="Review").click()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text(re.compile("3 of 3:.? wrong"))).to_be_visible()
    page.keyboard.press("0")
    expect(page.get_by_text("3 of 3 decided")).to_be_visible()
    last = page.url
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_text(re.compile("2 of 3:.? wrong"))).to_be_visible()
    expect(page).not_to_have_url(last)  # it follows what is shown
    address = page.url
    page.reload()
    expect(page.get_by_text("3 of 3 decided")).to_be_visible()
    assert page.url == address
    named(page)
    expect(page.get_by_role("button", name=re.compile("Flagged"))).to_be_visible()
    expect(page.get_by_role("textbox", name="Note")).to_have_value("8 fingers f")
    order = sorted(FILES[i] for i in (1, 3, 4))
    latest = {one.file: (one.flag, one.reason, one.note) for one in Decisions(run).latest("Ada")}
    assert latest == {order[0]: (None, "3", ""), order[1]: (True, "", "8 fingers f"), order[2]: (False, "", "")}
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_a_click_on_a_cell_a_card_or_a_row_opens_what_it_shows(server, visit, run):
    page = opened(server, visit())
    matrix = page.locator(".js-plotly-plot").first
    expect(matrix.locator(".scatterlayer .points path").first).to_be_visible(timeout=60_000)
    page.wait_for_timeout(500)
    box = matrix.locator(".scatterlayer .points path").nth(1).bounding_box()  # normal called simple fracture
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(page.get_by_text(re.compile("of 1 decided"))).to_be_visible()
    assert "true=normal" in page.url
    assert "predicted=simple+fracture" in page.url
    page.get_by_role("button", name="Clear filters").click()
    expect(page.get_by_text(re.compile("of 6 decided"))).to_be_visible()
    table = page.get_by_test_id("stDataFrame")
    expect(table).to_be_visible()
    expect(matrix.locator(".scatterlayer .points path").nth(5)).to_be_visible()  # all that stands above is drawn
    page.wait_for_timeout(2000)
    table.click(position={"x": 130, "y": 35 + 56 + 28})  # the second row
    expect(page.get_by_text("2 of 6")).to_be_visible()
    expect(page.locator(".row")).to_have_count(4, timeout=120_000)
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name=re.compile("Review 6 cases"))).to_be_visible()
    page.get_by_text("Gallery", exact=True).click()
    page.locator(".cards button").nth(3).click()
    expect(page.get_by_text("4 of 6")).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 400)])
def test_the_page_has_no_serious_fault_of_access_and_no_sideways_scrolling(server, visit, run, scheme, width):
    page = opened(server, visit(scheme, width), "layout=gallery")
    expect(page.locator(".cards button").first).to_be_visible()
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    check_access(page, "review")
