"""Two models on one picture, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Server
from tests.browser.test_pages import check_access

pytestmark = pytest.mark.browser

expect = pytest.importorskip("playwright.sync_api").expect
ROOT = Path(__file__).resolve().parents[2]
PAIR = "model=demo-xray&model=demo-xray-shortcut&weigh=false"
MARKED = f"sample=xray_simple_fracture_2&{PAIR}"


def opened(server: Server, page: Any, query: str) -> Any:
    page.frames_sent = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: page.frames_sent.append(len(frame))))
    page.goto(f"{server.address}/compare_models?{query}")
    expect(page.locator(".row")).to_have_count(2, timeout=90_000)
    return page


def brightest(page: Any, model: str) -> tuple[float, float]:
    """Where the map of a model is drawn brightest, as fractions of its height and width."""
    row = page.get_by_role("region", name=re.compile(f"^{model} "))
    return tuple(
        row.locator(".tile.bare canvas.map").evaluate(
            """canvas => {
                const { width, height } = canvas
                const { data } = canvas.getContext('2d').getImageData(0, 0, width, height)
                let sum = 0, across = 0, down = 0
                for (let i = 0; i < width * height; i++) {
                    const weight = (data[4 * i] + data[4 * i + 1] + data[4 * i + 2]) ** 3
                    sum += weight; across += weight * (i % width); down += weight * Math.floor(i / width)
                }
                return [down / sum / height, across / sum / width]
            }"""
        )
    )


def test_one_map_is_on_the_fracture_and_one_on_the_marker_and_looking_costs_no_request(server, visit):
    page = opened(server, visit(), MARKED)
    expect(
        page.get_by_role("heading", name=re.compile("^Both agree:.? simple fracture, 97.0 % and 98.9 %.$"))
    ).to_be_visible()
    down, across = brightest(page, "demo-xray")
    assert down < 0.45
    assert 0.25 < across < 0.7
    down, across = brightest(page, "demo-xray-shortcut")
    assert min(down, across) > 0.75
    assert page.get_by_label("Colour scale").input_value() == "shared"
    expect(page.get_by_role("img", name=re.compile("Where the map of demo-xray has more.*alone$"))).to_be_visible()
    page.wait_for_timeout(500)
    before = len(page.frames_sent)
    asked: list[str] = []
    page.on("request", lambda request: None if "/static/" in request.url else asked.append(request.url))  # fonts
    opacity = page.get_by_role("slider", name="Opacity")
    opacity.focus()
    for _ in range(5):
        opacity.press("ArrowRight")
    page.get_by_role("button", name="Swipe").click()
    handle = page.get_by_role("slider", name=re.compile("^Border between"))
    handle.focus()
    handle.press("PageUp")
    handle.press("s")
    page.wait_for_timeout(500)
    assert len(page.frames_sent) == before
    assert asked == []


def test_the_link_brings_back_the_view_as_it_was_looked_at(server, visit):
    page = opened(server, visit(), MARKED)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("slider", name="Opacity").press("End")
    page.get_by_label("Colour map").select_option("viridis")
    page.get_by_label("Colour scale").select_option("own")
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    assert "sample=xray_simple_fracture_2" in link
    again = visit()
    again.goto(link)
    expect(again.locator(".row")).to_have_count(2, timeout=90_000)
    assert again.get_by_label("Colour map").input_value() == "viridis"
    assert again.get_by_label("Colour scale").input_value() == "own"
    assert again.get_by_role("slider", name="Opacity").input_value() == "100"


def test_uploads_are_stepped_through_by_keys(server, visit):
    page = opened(server, visit(), MARKED)
    files = [ROOT / "assets" / "samples" / f"xray_{name}_1.png" for name in ("normal", "comminuted_fracture")]
    page.locator("input[type=file]").first.set_input_files(files)
    expect(page.get_by_text("1 of 2", exact=True)).to_be_visible()  # and not "1 of 2 maps"
    expect(page.get_by_role("button", name="Next")).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("^They differ:.? demo-xray says normal"))).to_be_visible()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_text("2 of 2", exact=True)).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("^Both agree:.? comminuted fracture"))).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("heading", name=re.compile("^They differ:.? demo-xray says normal"))).to_be_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 400)])
def test_the_page_has_no_serious_fault_of_access_and_no_sideways_scrolling(server, visit, scheme, width):
    page = opened(server, visit(scheme, width), MARKED)
    expect(page.get_by_role("heading", name="Checklist")).to_be_visible()
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    check_access(page, "two models")
