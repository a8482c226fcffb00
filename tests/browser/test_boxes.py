"""A box drawn on a picture in a real browser: by mouse, by finger, by keys and by numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pages.shared.boxes import checked
from tests.browser.boxes_page import HEIGHT, WIDTH
from tests.browser.conftest import Server
from tests.browser.test_pages import check_access
from xai_core.errors import SettingError

pytestmark = pytest.mark.browser

expect = pytest.importorskip("playwright.sync_api").expect


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The component's own page."""
    running = Server(tmp_path_factory.mktemp("boxes"), "tests/browser/boxes_page.py")
    yield running
    running.stop()


def opened(server: Server, page: Any) -> Any:
    page.goto(server.address)
    expect(page.get_by_role("application")).to_be_visible(timeout=60_000)
    expect(page.get_by_text("nothing", exact=True)).to_be_visible()
    return page


def at(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a point of the upload is on the screen."""
    shown = page.locator(".frame").bounding_box()
    return shown["x"] + x / WIDTH * shown["width"], shown["y"] + y / HEIGHT * shown["height"]


def drag(page: Any, start: tuple[float, float], end: tuple[float, float]) -> None:
    page.mouse.move(*at(page, *start))
    page.mouse.down()
    page.mouse.move(*at(page, *end), steps=4)
    page.mouse.up()


def told(page: Any) -> list[float]:
    """The box that the server has, in pixels of the upload."""
    said = page.get_by_test_id("stText")
    expect(said).not_to_have_text("nothing")
    return [float(edge) for edge in said.inner_text().split()]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 400)])
def test_a_drag_is_a_box_in_pixels_of_the_upload_and_the_keys_change_it(server, visit, scheme, width):
    page = opened(server, visit(scheme, width=width))
    assert page.locator(".frame").bounding_box()["width"] <= width
    drag(page, (1100, 700), (400, 250))
    pixel = WIDTH / page.locator(".frame").bounding_box()["width"]  # of the screen, in those of the upload
    box = told(page)
    assert box == pytest.approx([400, 250, 1100, 700], abs=max(2, pixel))
    expect(page.locator("output")).to_have_text(f"Box of {box[2] - box[0]:g} × {box[3] - box[1]:g} pixels")
    check_access(page, scheme)

    page.get_by_role("application").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowUp")
    moved = [box[0] + 30, box[1], box[2] + 30, box[3] - 10]  # a hundredth of each side at a time
    expect(page.get_by_test_id("stText")).to_have_text(" ".join(f"{edge:g}" for edge in moved))

    page.get_by_label("Left").fill("17")
    page.get_by_label("Left").press("Enter")
    expect(page.get_by_test_id("stText")).to_have_text(" ".join(f"{edge:g}" for edge in [17, *moved[1:]]))
    page.get_by_label("Left").fill("1500")
    page.get_by_label("Left").press("Enter")
    expect(page.locator("output")).to_contain_text("Not taken")
    page.get_by_role("application").focus()
    page.keyboard.press("Delete")
    expect(page.get_by_test_id("stText")).to_have_text("nothing")
    expect(page.locator(".drawn")).to_be_hidden()


def test_a_box_ends_at_the_border_and_a_click_draws_none(server, visit):
    page = opened(server, visit())
    drag(page, (1200, 600), (WIDTH + 90, HEIGHT + 60))
    assert told(page) == pytest.approx([1200, 600, WIDTH, HEIGHT], abs=2)
    before = page.get_by_test_id("stText").inner_text()
    page.mouse.click(*at(page, 300, 300))
    drag(page, (300, 300), (301, 700))
    page.keyboard.press("ArrowLeft")  # the picture has the focus: a change that is heard tells that the clicks were not
    expect(page.get_by_test_id("stText")).not_to_have_text(before)
    assert told(page) == pytest.approx([1185, 600, WIDTH - 15, HEIGHT], abs=2)
    page.get_by_role("button", name="Remove").click()
    expect(page.get_by_test_id("stText")).to_have_text("nothing")


def test_what_was_found_is_drawn_where_it_is_and_its_name_is_text(server, visit):
    page = opened(server, visit())
    found = page.locator(".found")
    expect(found).to_have_text("<b>face</b>")
    shown, (left, top), (right, bottom) = found.bounding_box(), at(page, 300, 200), at(page, 900, 800)
    assert [shown["x"], shown["y"]] == pytest.approx([left, top], abs=1.5)
    assert [shown["width"], shown["height"]] == pytest.approx([right - left, bottom - top], abs=1.5)
    assert found.locator("b").count() == 0


def test_a_finger_draws_too(server, visit, browser):
    context = browser.new_context(viewport={"width": 400, "height": 900}, has_touch=True)
    page = opened(server, context.new_page())
    touch = context.new_cdp_session(page)
    for kind, place in (("Start", (300, 200)), ("Move", (700, 500)), ("Move", (1000, 800)), ("End", None)):
        points = [] if place is None else [dict(zip("xy", at(page, *place), strict=True))]
        touch.send("Input.dispatchTouchEvent", {"type": f"touch{kind}", "touchPoints": points})
    assert told(page) == pytest.approx([300, 200, 1000, 800], abs=5)
    context.close()


def test_a_hostile_value_of_the_browser_is_refused_in_a_sentence(server, visit):
    page = opened(server, visit())
    page.locator(".boxes").evaluate("root => { root.own.box = [0, 0, 1e9, '<img src=x>']; root.own.send() }")
    expect(page.get_by_text("A box has four edges within the 1501 × 1000 pixels")).to_be_visible()
    expect(page.get_by_text("nothing", exact=True)).to_be_visible()
    expect(page.locator(".drawn")).to_be_hidden()


@pytest.mark.parametrize(
    "said",
    [
        "text", 7, True, {}, [1, 2, 3], [1, 2, 30, 40, 5], [0, 0, 101, 50], [-1, 0, 50, 50], [0, 0, 50, 51],
        [50, 0, 10, 50], [10, 10, 13, 40], [0, 0, float("nan"), 50], [0, 0, float("inf"), 50], [0, 0, 10**400, 50],
        [0, 0, True, 50], [0, 0, "50", 50], [0, 0, None, 50],
    ],
)  # fmt: skip
def test_only_four_edges_within_the_picture_are_a_box(said):
    with pytest.raises(SettingError, match="100 × 50 pixels"):
        checked(said, 100, 50)


def test_the_whole_picture_is_a_box_and_so_is_all_of_a_tiny_one():
    assert checked([0, 0, 100, 50], 100, 50) == (0.0, 0.0, 100.0, 50.0)
    assert checked([10, 10, 14, 14.5], 100, 50) == (10.0, 10.0, 14.0, 14.5)
    assert checked([0, 0, 3, 2], 3, 2) == (0.0, 0.0, 3.0, 2.0)
    assert checked([], 100, 50) is None
