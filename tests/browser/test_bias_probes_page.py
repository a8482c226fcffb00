"""Probing a model in a real browser: a dose of brightness on a sample, from the question to the saved record."""

from __future__ import annotations

from typing import Any

import pytest

import xai_core as xai
from tests.browser.conftest import Server
from tests.browser.test_pages import check_access
from xai_core.store import AUDITS

pytestmark = pytest.mark.browser

expect = pytest.importorskip("playwright.sync_api").expect
SLOW = 120_000  # the first answer of a server: torch is imported and the model loaded
QUERY = "sample=xray_simple_fracture_1&model=demo-xray-shortcut&probe=brightness&probe.steps=3"


def opened(server: Server, page: Any) -> Any:
    page.goto(f"{server.address}/bias_probes?{QUERY}")
    begin = page.get_by_role("button", name="Probe 1 picture")
    expect(begin).to_be_visible(timeout=SLOW)
    begin.click()
    expect(page.get_by_role("heading", name="What was found")).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    return page


def test_a_dose_is_asked_answered_drawn_and_saved(server: Server, visit: Any) -> None:
    page = opened(server, visit())
    expect(page.get_by_text("the decision flips from comminuted fracture to normal")).to_be_visible()
    seen = page.get_by_alt_text("What the model saw: ")
    expect(seen).to_have_count(4)
    expect(page.get_by_alt_text("Attribution map over the picture: ")).to_have_count(4)
    for place in (0, 3):
        expect(seen.nth(place)).to_have_js_property("complete", True)
        assert seen.nth(place).evaluate("one => one.naturalWidth") > 0
    page.get_by_text("Where each decision flips first").click()
    expect(page.get_by_test_id("stDataFrame")).to_be_visible()
    page.get_by_role("button", name="Download", exact=True).click()
    with page.expect_download() as got:
        page.get_by_role("button", name="Numbers (JSON)").click()
    assert b'"brightness"' in got.value.path().read_bytes()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Save record").click()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved as")).to_be_visible()
    expect(page.get_by_test_id("stException")).to_have_count(0)
    [folder] = [one for one in server.store.iterdir() if one.name != AUDITS]
    assert xai.verify(folder).ok
    assert xai.open_record(folder).sentences[0].startswith("Brightness: the decision flips")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 400)])
def test_the_page_has_no_serious_fault_of_access_and_no_sideways_scrolling(
    server: Server, visit: Any, scheme: str, width: int
) -> None:
    page = opened(server, visit(scheme, width))
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    check_access(page, "bias probes")
