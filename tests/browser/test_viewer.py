"""The viewer: maps of several models on one upload, in a real browser. What is drawn is held against the core."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from pages.shared import viewer
from pages.shared.question import Looks
from tests.browser import viewer_page
from tests.browser.conftest import Server
from tests.browser.test_pages import check_access
from xai_core import figures
from xai_core.agreement import highest
from xai_core.records import Explanation, Image, Passes, Target

pytestmark = pytest.mark.browser

expect = pytest.importorskip("playwright.sync_api").expect
WIDE, NARROW = "wide · Saliency", "narrow · Saliency"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The viewer's own page."""
    running = Server(tmp_path_factory.mktemp("viewer"), "tests/browser/viewer_page.py")
    yield running
    running.stop()


def opened(server: Server, page: Any, address: str = "", count: int = 2) -> Any:
    page.frames_sent, page.bytes_received = [], []

    def listen(socket: Any) -> None:
        socket.on("framesent", lambda frame: page.frames_sent.append(len(frame)))
        socket.on("framereceived", lambda frame: page.bytes_received.append(len(frame)))

    page.on("websocket", listen)
    page.goto(server.address + address)
    expect(page.locator(".row")).to_have_count(count, timeout=60_000)
    expect(page.get_by_role("region", name=NARROW)).to_be_visible()
    page.wait_for_timeout(300)
    return page


def frame_of(page: Any, name: str, tile: str = "both") -> Any:
    return page.get_by_role("region", name=name).locator(f".tile.{tile} .frame")


def point(page: Any, frame: Any, x: float, y: float) -> str:
    """Point at a fraction of a frame, and read what the viewer says."""
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
    return page.locator(".reading").inner_text()


def zoom(page: Any, frame: Any, x: float, y: float, turns: int) -> None:
    point(page, frame, x, y)
    page.keyboard.down("Control")
    page.mouse.wheel(0, -100 * turns)
    page.keyboard.up("Control")
    expect(page.locator(".zoom output")).not_to_have_text("100 %")


def colour_at(frame: Any, x: float, y: float) -> list[int]:
    from PIL import Image as Pillow

    shown = Pillow.open(io.BytesIO(frame.screenshot())).convert("RGB")
    return list(shown.getpixel((int(x * shown.width), int(y * shown.height))))


def inked(page: Any) -> list[int]:
    """How many pixels are painted in each map of the swipe frame, from left to right."""
    painted = """one => {
        const { data } = one.getContext('2d').getImageData(0, 0, one.width, one.height)
        return data.filter((value, i) => i % 4 === 3 && value).length
    }"""
    return [page.locator(f".side.{side} canvas.map").evaluate(painted) for side in ("left", "right")]


def said_values(reading: str) -> dict[str, str]:
    return dict(re.findall(r"(wide|narrow) · Saliency ([\d.]+|not seen)", reading))


def test_a_place_is_the_same_place_of_the_upload_in_every_row_also_when_zoomed_in(server, visit):
    page = opened(server, visit())
    left, top, right, bottom = viewer_page.BOXES["wide"]  # all that is seen: it holds the other box

    def expected(pointed: str, x: float, y: float) -> dict[str, str]:
        """The values at a fraction of the whole, or rather at the middle of the pixel there that is pointed at."""
        place, told = np.array([left + x * (right - left), top + y * (bottom - top)]), {}
        for name in sorted(viewer_page.SIZES, key=lambda name: name != pointed):
            size, box = viewer_page.SIZES[name], np.array(viewer_page.BOXES[name])
            pixel = np.floor((place - box[:2]) / (box[2:] - box[:2]) * size)
            column, row = pixel
            inside = ((pixel >= 0) & (pixel < size)).all()
            told[name] = f"{float(f'{np.float32(row + column / 1000):.4g}'):g}" if inside else "not seen"
            if name == pointed and inside:
                place = box[:2] + (pixel + 0.5) / size * (box[2:] - box[:2])
        return told

    for name, tile, x, y in (
        (WIDE, "both", 0.4033, 0.6033),
        (NARROW, "seen", 0.7033, 0.3033),
        (WIDE, "bare", 0.05, 0.5),
    ):
        read = point(page, frame_of(page, name, tile), x, y)
        assert said_values(read) == expected(name.split()[0], x, y), (name, tile)
    assert "not seen" in read
    lines = page.locator(".down").evaluate_all(
        "all => all.map(one => one.getBoundingClientRect().x - one.closest('.frame').getBoundingClientRect().x)"
    )
    widths = page.locator(".down").evaluate_all("all => all.map(one => one.closest('.frame').clientWidth)")
    assert len({round(at / width, 2) for at, width in zip(lines, widths, strict=True) if width}) == 1
    zoom(page, frame_of(page, WIDE), 0.5, 0.5, 3)
    factor = np.exp(1)
    read = point(page, frame_of(page, NARROW, "bare"), 0.2533, 0.7533)
    assert said_values(read) == expected("narrow", 0.5 + (0.2533 - 0.5) / factor, 0.5 + (0.7533 - 0.5) / factor)
    page.keyboard.press("Space")
    expect(page.locator(".zoom output")).to_have_text("100 %")


def test_nothing_that_is_looked_at_costs_a_message(server, visit):
    page = opened(server, visit())
    before = len(page.frames_sent)
    page.get_by_role("button", name="Swipe").click()
    handle = page.get_by_role("slider", name=f"Border between {WIDE} and {NARROW}")
    handle.focus()
    for key in ("ArrowLeft", "PageUp", "End", "Home"):
        page.keyboard.press(key)
    expect(handle).to_have_attribute("aria-valuenow", "0")
    page.keyboard.press("s")
    page.get_by_text("Picture, contours, grid").click()
    page.get_by_role("slider", name="Window").press("PageDown")
    page.get_by_role("slider", name="Level").press("PageUp")
    page.get_by_role("button", name="Invert").click()
    page.get_by_label("Contours").select_option("all three")
    page.get_by_role("button", name="Native grid").click()
    page.get_by_role("button", name="Zoom in").click()
    zoom(page, frame_of(page, WIDE), 0.5, 0.5, 2)
    frame = frame_of(page, WIDE).bounding_box()
    page.mouse.down()
    page.mouse.move(frame["x"] + 30, frame["y"] + 40, steps=3)
    page.mouse.up()
    page.get_by_role("slider", name="Opacity").press("ArrowRight")
    page.wait_for_timeout(400)
    assert len(page.frames_sent) == before
    page.get_by_role("heading", name="Two models").click()  # turn to something else: now the new opacity is told
    page.wait_for_timeout(800)
    assert len(page.frames_sent) > before


def test_a_border_is_dragged_between_two_overlays_and_swapped(server, visit):
    page = opened(server, visit())
    expect(page.locator(".swipe")).to_be_hidden()
    page.get_by_role("button", name="Swipe").click()
    frame = page.locator(".swipe .frame")
    handle = page.locator(".swipe .handle")
    expect(page.locator(".swipe select").first).to_be_hidden()  # two maps are the only pair
    box = frame.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 60, steps=4)
    page.mouse.up()
    expect(handle).to_have_attribute("aria-valuenow", "25")
    clips = [
        page.locator(f".side.{side}").evaluate("one => getComputedStyle(one).clipPath") for side in ("left", "right")
    ]
    assert clips == ["inset(0px 75% 0px 0px)", "inset(0px 0px 0px 25%)"]
    read = point(page, frame, 0.1, 0.5)
    assert read.startswith("row 80, column 16 of what wide saw")
    assert point(page, frame, 0.6, 0.5).split("·")[0].strip().endswith("of what narrow saw")
    sizes = [viewer_page.SIZES[name] ** 2 for name in ("wide", "narrow")]
    assert inked(page) == sizes
    grey = colour_at(frame, 0.02, 0.03)
    page.keyboard.press("s")
    expect(page.locator(".name.left")).to_have_text(NARROW)
    assert inked(page) == sizes[::-1]
    assert colour_at(frame, 0.02, 0.03) != grey  # where only one of the two models looked
    page.get_by_role("button", name="Swap").click()
    assert inked(page) == sizes
    handle.focus()
    page.keyboard.press("Shift+ArrowRight")
    expect(handle).to_have_attribute("aria-valuenow", "35")
    page.keyboard.press("Space")
    expect(page.locator(".swipe")).to_be_hidden()


def test_of_three_models_two_are_chosen(server, visit):
    page = opened(server, visit(), "/?third=1", 3)
    page.get_by_role("button", name="Swipe").click()
    left, right = page.get_by_label("Left"), page.get_by_label("Right")
    names = page.locator(".swipe .name")
    expect(names).to_have_text([WIDE, NARROW])
    right.select_option("third · Saliency")
    expect(names).to_have_text([WIDE, "third · Saliency"])
    assert all(inked(page))
    left.select_option("third · Saliency")  # one map cannot be on both sides: they change places
    expect(names).to_have_text(["third · Saliency", WIDE])
    assert all(inked(page))
    assert [one.evaluate("one => one.selectedOptions[0].text") for one in (left, right)] == ["third · Saliency", WIDE]


def test_rows_that_stay_take_the_upload_as_it_comes_and_goes(server, visit):
    page = opened(server, visit())
    own, drawn = page.locator(".tile.both .picture img"), page.locator("[data-drawn]")
    page.locator(".frame").first.evaluate("one => one.dataset.kept = 'yes'")
    for count in (0, 2):
        before = drawn.get_attribute("data-drawn")
        page.get_by_text("Upload", exact=True).click()
        expect(drawn).not_to_have_attribute("data-drawn", before)
        expect(own).to_have_count(count)
    expect(page.locator("[data-kept]")).to_have_count(1)
    frame_of(page, NARROW).dblclick()
    expect(page.locator(".zoom output")).to_have_text("300 %")
    assert own.evaluate_all("all => all.map(one => [one.hidden, one.naturalWidth])") == [[False, 640]] * 2
    assert own.last.evaluate("one => parseFloat(one.style.width)") == pytest.approx(200)


def test_keys_work_over_the_viewer_whatever_was_clicked_before(server, visit):
    page = opened(server, visit())
    zoomed, closer = page.locator(".zoom output"), page.get_by_role("button", name="Zoom in")
    heat = page.locator(".tile.both canvas.map").first
    scrolled = "() => document.querySelector('[data-testid=stMain]').scrollTop"
    closer.click()
    expect(zoomed).to_have_text("150 %")
    page.keyboard.press("Space")  # not the clicked button again
    expect(zoomed).to_have_text("100 %")
    page.get_by_role("heading", name="Two models").click()
    point(page, frame_of(page, WIDE), 0.5, 0.5)
    page.keyboard.press("+")
    expect(zoomed).to_have_text("150 %")
    before = page.evaluate(scrolled)
    page.keyboard.press("Space")  # not the next screenful of the page
    expect(zoomed).to_have_text("100 %")
    page.wait_for_timeout(300)
    assert page.evaluate(scrolled) == before
    colours, box = page.get_by_label("Colour map"), page.get_by_role("checkbox", name="Upload")
    for opacity, clicked in (("0", colours), ("0.5", page.get_by_text("Upload", exact=True))):
        clicked.click()
        page.keyboard.press("Escape")
        point(page, frame_of(page, WIDE), 0.5, 0.5)
        page.keyboard.press("h")
        assert heat.evaluate("one => one.style.opacity") == opacity
    expect(box).not_to_be_checked()
    expect(colours).to_have_value("")

    closer.click()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")  # now the button was reached by the keyboard, which presses it
    expect(closer).to_be_focused()
    page.keyboard.press("Space")
    expect(zoomed).to_have_text("225 %")
    page.get_by_role("heading", name="Two models").click()  # neither over the viewer nor with the focus in it
    page.keyboard.press("Space")
    expect(zoomed).to_have_text("225 %")


def test_the_bar_covers_nothing_that_was_scrolled_to(server, visit):
    page = opened(server, visit(height=900))
    bar = page.locator(".bar")
    page.get_by_role("button", name="Swipe").click()

    def uncovered(one: Any) -> bool:
        script = """one => {
            const above = [one.getRootNode().querySelector('.bar'), document.querySelector('[data-testid=stHeader]')]
            return above.every(other => other.getBoundingClientRect().bottom <= one.getBoundingClientRect().top)
        }"""
        one.evaluate("one => one.scrollIntoView()")
        return bool(one.evaluate(script))

    last = page.locator(".row").last
    for one in (page.locator(".swipe"), page.locator(".swipe .frame"), last, last.locator(".frame").first):
        assert uncovered(one)
    assert bar.bounding_box()["y"] >= 0  # it stays in sight
    page.get_by_text("Picture, contours, grid").click()
    for one in (page.locator(".swipe"), page.locator(".swipe .frame"), last):
        assert uncovered(one)
    assert bar.bounding_box()["y"] < 0  # it is too tall to stay


def test_a_verdict_sends_its_words_and_no_map_again(server, visit):
    page = opened(server, visit())
    arrays = sum(4 * size * size + 3 * size * size for size in viewer_page.SIZES.values())
    assert sum(page.bytes_received) > arrays
    page.locator(".frame").first.evaluate("one => one.dataset.kept = 'yes'")
    for count in (1, 2):
        page.bytes_received.clear()
        page.get_by_role("button", name="Weigh").click()
        expect(page.locator(".judged summary")).to_have_count(count)
        page.wait_for_timeout(300)
        assert sum(page.bytes_received) < 10_000 < arrays / 10
    expect(page.locator("[data-kept]")).to_have_count(1)
    grey = page.locator(".row .tile.both canvas.map").evaluate_all(
        "all => all.map(one => getComputedStyle(one).filter)"
    )
    assert grey == ["none", "grayscale(1)"]


def test_window_and_level_change_the_picture_and_never_the_map(server, visit):
    page = opened(server, visit())
    page.get_by_text("Picture, contours, grid").click()
    seen, bare = frame_of(page, WIDE, "seen"), frame_of(page, WIDE, "bare")
    [was, *_], heat = colour_at(seen, 0.513, 0.513), colour_at(bare, 0.513, 0.513)
    level = page.get_by_role("slider", name="Level")
    assert "never what the model saw" in level.get_attribute("title")
    page.get_by_role("slider", name="Window").evaluate("one => { one.value = 40; one.oninput() }")
    level.evaluate("one => { one.value = 45; one.oninput() }")

    def windowed(value: float) -> float:
        return float(np.clip(255 * ((value / 255 - 0.45) / 0.4 + 0.5), 0, 255))

    assert colour_at(seen, 0.513, 0.513)[0] == pytest.approx(windowed(was), abs=2)
    page.keyboard.press("i")
    assert colour_at(seen, 0.513, 0.513)[0] == pytest.approx(255 - windowed(was), abs=2)
    assert colour_at(bare, 0.513, 0.513) == heat
    page.get_by_role("button", name="Reset picture").click()
    assert colour_at(seen, 0.513, 0.513)[0] == was


def test_closer_than_its_pixels_an_overlay_shows_those_of_the_upload(server, visit):
    page = opened(server, visit())
    own = page.locator(".tile.both .picture img")
    expect(own).to_have_count(2)
    assert own.evaluate_all("all => all.map(one => one.hidden)") == [True, True]
    frame_of(page, NARROW).dblclick()
    expect(page.locator(".zoom output")).to_have_text("300 %")
    assert own.evaluate_all("all => all.map(one => [one.hidden, one.naturalWidth])") == [[False, 640]] * 2
    placed = own.last.evaluate("one => ['left', 'top', 'width', 'height'].map(name => parseFloat(one.style[name]))")
    assert placed == pytest.approx([-50, -25, 200, 150])
    assert page.locator(".tile.seen .picture img").count() == 0  # that tile is what the model saw
    heat = page.locator(".tile.bare canvas.map").last
    assert heat.evaluate("one => getComputedStyle(one).imageRendering") == "pixelated"
    frame_of(page, NARROW).dblclick()
    expect(page.locator(".zoom output")).to_have_text("100 %")
    expect(page.locator(".tile.large")).to_have_count(0)
    page.keyboard.press("+")  # the pointer is over the viewer
    expect(page.locator(".zoom output")).to_have_text("150 %")
    page.keyboard.press("-")
    expect(page.locator(".zoom output")).to_have_text("100 %")


def test_two_fingers_zoom_in(server, visit):
    page = opened(server, visit(width=400, height=900))
    frame = frame_of(page, WIDE)
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + 100
    session = page.context.new_cdp_session(page)
    for kind, apart in (("touchStart", 20), ("touchMove", 40), ("touchMove", 60), ("touchEnd", None)):
        fingers = [] if apart is None else [{"x": x - apart, "y": y, "id": 0}, {"x": x + apart, "y": y, "id": 1}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    expect(page.locator(".zoom output")).to_have_text("300 %")
    expect(page.locator(".tile.large")).to_have_count(0)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 400)])
def test_the_whole_viewer_has_no_serious_fault_of_access(server, visit, scheme, width):
    page = opened(server, visit(scheme, width))
    page.get_by_role("button", name="Swipe").click()
    page.get_by_text("Picture, contours, grid").click()
    page.get_by_label("Contours").select_option("top 10 %")
    expect(page.locator(".contours path")).to_have_count(2 * 4)
    caption = page.locator(".tile.both figcaption").first.text_content()
    assert caption.endswith("lines around the highest 10\N{NO-BREAK SPACE}%")  # a number stays with its unit
    check_access(page, "everything is open")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


# ---- what is sent --------------------------------------------------------------------------------------------------


def test_equal_pictures_are_sent_once_and_old_records_share_one_area():
    wide, narrow = viewer_page.explained("wide"), viewer_page.explained("narrow")
    again = viewer_page.explained("wide", method={"name": "grad_cam"})
    sent = viewer.packed([wide, narrow, again], Looks(), 0)
    assert [one["picture"] for one in sent.words["maps"]] == [0, 1, 0]
    assert [one["box"] for one in sent.words["pictures"]] == [wide.box, narrow.box]
    assert sent.words["area"] == wide.box
    assert len(sent.arrays) == 4  # two pictures, and two maps with the same values are one
    assert [one["title"] for one in sent.words["maps"]] == [WIDE, NARROW, "wide · Grad-CAM"]
    old = viewer_page.explained("narrow", box=None)
    sent = viewer.packed([wide, old], Looks(), 0, picture=viewer_page.upload())
    assert [one["box"] for one in sent.words["pictures"]] == [(0, 0, 160, 160)] * 2
    assert sent.words["upload"] is None
    assert viewer.packed([wide, again], Looks(), 0).words["maps"][0]["title"] == "Saliency"


def test_what_is_waited_for_is_called_as_the_page_says():
    wide = viewer_page.explained("wide")
    sent = viewer.packed([wide], Looks(), 0, ["grad_cam", ("lime", "narrow · LIME"), ("sobel_edges", "Edges")])
    told = [(one.get("waiting"), one["control"]) for one in sent.words["order"]]
    assert told == [("Grad-CAM", False), (None, False), ("narrow · LIME", False), ("Edges", True)]


def test_the_upload_is_sent_only_where_it_is_finer_than_what_a_model_saw(monkeypatch):
    monkeypatch.setattr(viewer, "drawn", lambda key, draw: draw())  # a visitor's cache, and there is no visitor
    wide, upload = viewer_page.explained("wide"), viewer_page.upload()
    sent = viewer.packed([wide], Looks(), 0, picture=upload)
    jpeg = sent.arrays[sent.words["upload"]["array"]]
    assert jpeg.startswith(b"\xff\xd8")
    small = Image(np.ascontiguousarray(upload.pixels[::4, ::4]), "0" * 64)
    boxed = viewer_page.explained("wide", box=(20.0, 0.0, 140.0, 120.0))
    assert viewer.packed([boxed], Looks(), 0, picture=small).words["upload"] is None


# ---- what the browser works out, held against the core -------------------------------------------------------------


def run_in_browser(page: Any, script: str, *arguments: Any) -> Any:
    """Run `script`, the body of a function of `module` and the arguments, with the viewer's code."""
    page.goto("about:blank")
    return page.evaluate(
        f"""async ([source, ...given]) => {{
            const address = URL.createObjectURL(new Blob([source], {{ type: 'text/javascript' }}))
            return (async (module, ...given) => {{ {script} }})(await import(address), ...given)
        }}""",
        [viewer.source(*viewer.CODE), *arguments],
    )


def maps_of_all_kinds() -> list[np.ndarray]:
    draw = np.random.default_rng(0)
    shape = (24, 32)
    sparse, tied = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    sparse[3, 4], sparse[9, 9] = 5, -1
    tied[4:14, 5:20] = 1
    return [
        draw.normal(size=shape).astype(np.float32),
        draw.gamma(1, 0.001, shape).astype(np.float32),
        sparse,
        tied,
        np.full(shape, 0.25, np.float32),
        draw.integers(0, 4, shape).astype(np.float32),
    ]


def test_the_browser_colours_a_map_as_the_core_does(visit):
    """Scale and colours of the viewer against colours.py, on signed, unsigned, sparse and flat maps."""
    values = maps_of_all_kinds()
    shape = values[0].shape
    explained = [
        Explanation(
            values=one,
            pixels=np.zeros((*shape, 3), np.uint8),
            method={"name": "saliency"},
            model={"name": "m"},
            target=Target(0, "a"),
            image="0" * 64,
            seed=number,
            seconds=0.0,
            passes=Passes(1, 1),
            grid=shape,
        )
        for number, one in enumerate(values)
    ]
    page = visit()
    sent = viewer.packed(explained, Looks(), 0)
    arrays = {name: list(content) for name, content in sent.arrays.items()}
    clips = (90.0, 98.3, 99.5, 100.0)
    answers = run_in_browser(
        page,
        """
        const [words, arrays, palettes, clips] = given
        const array = (name, Kind = Uint8Array) => new Kind(Uint8Array.from(arrays[name]).buffer)
        const scene = module.assemble(words, array), colours = module.palettesOf(palettes)
        const one = (map, name, clip) => {
            const scale = module.scaleOf([map], clip)
            const range = scale && module.coloursOn(scale, name, colours)
            return { scale, drawn: [...module.colour(map.values, scale, range)] }
        }
        return clips.map(clip => ({
            shared: module.scaleOf(scene.maps, clip),
            maps: scene.maps.map(map => ['inferno', 'coolwarm'].map(name => one(map, name, clip))),
        }))""",
        sent.words,
        arrays,
        viewer._palettes(),
        clips,
    )
    for clip, got in zip(clips, answers, strict=True):
        shared = figures.scale_of(values, clip)
        assert (got["shared"]["low"], got["shared"]["high"]) == pytest.approx((shared.low, shared.high), rel=1e-12)
        for one, drawn in zip(values, got["maps"], strict=True):
            scale = figures.scale_of([one], clip)
            for name, painted in zip(("inferno", "coolwarm"), drawn, strict=True):
                if scale is None:
                    assert painted["scale"] is None
                else:
                    found = (painted["scale"]["low"], painted["scale"]["high"])
                    assert found == pytest.approx((scale.low, scale.high), rel=1e-12)
                expected = figures.heatmap(one, scale, name)
                assert np.array_equal(np.array(painted["drawn"]).reshape(expected.shape), expected)


def edges(path: str) -> set[tuple[str, int, int]]:
    """Every edge of one pixel that an outline runs along."""
    found = set()
    for x, y, way, end in re.findall(r"M(\d+) (\d+)([HV])(\d+)", path):
        for at in range(int(x if way == "H" else y), int(end)):
            found.add((way, int(y), at) if way == "H" else (way, at, int(x)))
    return found


def test_contours_run_around_the_highest_pixels_of_the_core(visit):
    """Also where values are equal; every edge of the outline by comparing neighbours in numpy."""
    maps = maps_of_all_kinds()
    height, width = maps[0].shape
    shares = [0.05, 0.1, 0.2, *(count / maps[0].size for count in (0.5, 2.5, 3.5))]
    script = """
        const [maps, height, width, shares] = given
        return maps.map(values => shares.map(share => {
            const mask = module.highest(Float32Array.from(values), share)
            return [[...mask], module.outline(mask, height, width)]
        }))"""
    answers = run_in_browser(visit(), script, [one.ravel().tolist() for one in maps], height, width, shares)
    for values, per_share in zip(maps, answers, strict=True):
        for share, (inside, path) in zip(shares, per_share, strict=True):
            mask = highest(values, share)
            assert np.array_equal(np.array(inside, bool).reshape(values.shape), mask)
            around = np.pad(mask, 1)
            flat = {("H", int(y), int(x)) for y, x in np.argwhere(around[1:, 1:-1] != around[:-1, 1:-1])}
            steep = {("V", int(y), int(x)) for y, x in np.argwhere(around[1:-1, 1:] != around[1:-1, :-1])}
            assert edges(path) == flat | steep


def test_the_native_grid_shows_the_mean_of_each_cell(visit):
    page = visit()
    values = np.random.default_rng(1).normal(size=(24, 32)).astype(np.float32)
    script = "return [...module.inCells(Float32Array.from(given[0]), 24, 32, given[1])]"
    got = np.array(run_in_browser(page, script, values.ravel().tolist(), [6, 8])).reshape(24, 32)
    means = values.reshape(6, 4, 8, 4).mean((1, 3)).repeat(4, 0).repeat(4, 1)
    assert np.allclose(got, means, atol=1e-6)
    uneven = np.array(run_in_browser(page, script, values.ravel().tolist(), [7, 7])).reshape(24, 32)
    assert len(np.unique(uneven)) == 49
