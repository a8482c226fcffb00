"""What only a real browser finds. The tests share one server and run in this order: the first visit is a cold one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

import xai_core as xai
from tests.pages.conftest import png
from xai_core.store import AUDITS

pytestmark = pytest.mark.browser

expect = pytest.importorskip("playwright.sync_api").expect
ROOT = Path(__file__).resolve().parents[2]
SAMPLE = "?sample=xray_simple_fracture_1&model=demo-xray&weigh=false&method=grad_cam&method=saliency"
SLOW = 120_000  # the first answer of a server: torch is imported and the model loaded


def upload(page: Any, *files: tuple[str, bytes]) -> None:
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(
        [{"name": name, "mimeType": "image/png", "buffer": content} for name, content in files]
    )


def rows(page: Any, count: int) -> None:
    expect(page.locator(".row")).to_have_count(count, timeout=SLOW)


def scales(page: Any) -> list[list[float]]:
    return [
        json.loads(text) for text in page.locator(".scale").evaluate_all("all => all.map(one => one.dataset.scale)")
    ]


def test_the_very_first_visit_may_be_to_any_page(server, visit):
    page = visit()
    page.goto(f"{server.address}/manifests")
    expect(page.get_by_role("heading", name="Saved manifests")).to_be_visible(timeout=30_000)
    expect(page.get_by_test_id("stSidebarNavLink")).to_have_count(6)
    expect(page.get_by_text("Nothing has been saved yet")).to_be_visible()
    expect(page.get_by_text("Attribution maps are diagnostic aids, never proof.")).to_be_visible()
    assert page.title() == "Second Look"


def test_a_broken_file_is_told_and_the_good_one_answered_under_a_hostile_name(server, visit):
    page = visit()
    page.goto(server.address)
    name = "<img src=x onerror=document.title='owned'> **b** :smile: $x$ [a](http://b.example).png"
    upload(page, ("broken.png", b"\x89PNG\r\n\x1a\nnonsense"), (name, png(3, texture=True)))
    expect(page.get_by_text("“broken.png”").or_(page.get_by_text("broken.png"))).to_be_visible(timeout=SLOW)
    rows(page, 3)
    expect(page.get_by_text(name, exact=True)).to_be_visible()
    assert page.locator("img[src='x']").count() == 0
    assert page.title() == "Second Look"
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page.get_by_text("Synthetic demonstration model. Not for diagnosis.").first).to_be_visible()


def test_looking_costs_no_message_and_is_known_to_the_server_afterwards(server, visit):
    page = visit()
    sent: list[int] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(len(frame))))
    page.goto(f"{server.address}/{SAMPLE}")
    rows(page, 2)
    page.wait_for_timeout(600)
    before = len(sent)
    over = page.locator(".row").first.locator("canvas").last
    opacity = page.get_by_role("slider", name="Opacity")
    opacity.focus()
    for _ in range(10):
        opacity.press("ArrowRight")
    assert over.evaluate("canvas => canvas.style.opacity") == "0.6"
    painted = "canvas => [...canvas.getContext('2d').getImageData(64, 64, 1, 1).data].join()"
    was = over.evaluate(painted)
    page.get_by_label("Colour map", exact=True).select_option("viridis")
    assert over.evaluate(painted) != was
    page.keyboard.press("Tab")
    page.locator(".frame").nth(1).hover(position={"x": 80, "y": 90})
    expect(page.locator(".reading")).to_contain_text(re.compile(r"row \d+, column \d+.*RGB.*Grad-CAM.*Saliency"))
    page.locator(".frame").nth(1).focus()
    told = page.get_by_role("status").and_(page.locator(".told"))
    expect(told).to_be_empty()  # a mouse is not spoken after
    page.keyboard.press("ArrowRight")
    expect(told).to_contain_text(re.compile(r"^Grad-CAM −?[\d.e−]+ at row \d+, column \d+$"))
    page.keyboard.press("h")
    assert over.evaluate("canvas => canvas.style.opacity") == "0"
    page.keyboard.press("h")
    assert len(sent) == before
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name=re.compile("Link copied|address bar"))).to_be_visible()
    page.get_by_role("heading", name="Attribution maps").click()  # turn to something else
    page.wait_for_timeout(1000)
    assert len(sent) > before
    page.get_by_role("button", name="Download").click()
    with page.expect_download() as got:
        page.get_by_role("button", name="Numbers (JSON)").click()
    numbers = json.loads(Path(got.value.path()).read_text("utf-8"))
    assert [one["method"]["name"] for one in numbers["maps"]] == ["grad_cam", "saliency"]
    assert re.fullmatch(r"maps-[0-9a-f]{10}\.json", got.value.suggested_filename)


def test_space_resets_and_a_click_enlarges(server, visit):
    page = visit()
    page.goto(f"{server.address}/{SAMPLE}")
    rows(page, 2)
    page.locator(".frame").nth(2).click()
    expect(page.locator(".tile.large")).to_have_count(1)
    page.get_by_role("slider", name="Opacity").press("Home")
    page.keyboard.press("Space")
    expect(page.locator(".tile.large")).to_have_count(0)
    assert page.get_by_role("slider", name="Opacity").input_value() == "50"


def test_a_link_brings_everything_back_but_an_uploaded_picture(server, visit):
    page = visit()
    page.goto(f"{server.address}/{SAMPLE}")
    rows(page, 2)
    again = visit()
    again.goto(page.url)
    rows(again, 2)
    assert scales(again) == scales(page)
    upload(again, ("mine.png", png(8, texture=True)))
    expect(again.get_by_text("mine.png", exact=True)).to_be_visible()
    rows(again, 2)
    expect(again).to_have_url(re.compile("picture=[0-9a-f]{16}"))
    assert "mine" not in again.url
    third = visit()
    third.goto(again.url)
    expect(third.get_by_text("drop the same file here again")).to_be_visible(timeout=30_000)
    upload(third, ("mine.png", png(8, texture=True)))
    rows(third, 2)
    assert scales(third) == scales(again)


def test_arrow_keys_step_through_pictures_and_the_target_follows_the_prediction(server, visit):
    page = visit()
    page.goto(f"{server.address}/?model=demo-xray&method=grad_cam")
    files = ["xray_simple_fracture_3.png", "xray_normal_3.png"]
    upload(page, *((name, (ROOT / "assets" / "samples" / name).read_bytes()) for name in files))
    target = page.get_by_role("combobox", name="Target class")
    expect(target).to_have_value("the predicted class", timeout=SLOW)
    rows(page, 1)
    page.get_by_role("heading", name="Explain", exact=True).click()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".row .head")).to_contain_text("for normal", timeout=SLOW)
    expect(target).to_have_value("the predicted class")
    page.get_by_role("slider", name="Opacity").press("ArrowRight")  # moves the slider, not the picture
    page.wait_for_timeout(500)
    expect(page.get_by_text("2 of 2")).to_be_visible()
    expect(page.get_by_text("Something went wrong")).to_have_count(0)


def test_two_visitors_at_once_each_get_their_own(server, visit):
    pages = [visit(), visit()]
    for page, sample in zip(pages, ("xray_simple_fracture_1", "xray_comminuted_fracture_2"), strict=True):
        page.goto(f"{server.address}/?sample={sample}&model=demo-xray&method=grad_cam&method=integrated_gradients")
    for page in pages:
        rows(page, 2)
    said = [scales(page) for page in pages]
    assert said[0] != said[1]
    alone = visit()
    alone.goto(pages[1].url)
    rows(alone, 2)
    assert scales(alone) == said[1]


def check_access(page: Any, where: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    found = [one for one in Axe().run(page).response["violations"] if one["impact"] in ("serious", "critical")]
    assert not found, (where, [(one["id"], [node["html"][:160] for node in one["nodes"]]) for one in found])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_explain_page_has_no_serious_fault_of_access(server, visit, scheme):
    page = visit(scheme)
    page.goto(server.address)
    expect(page.get_by_role("button", name="cat (photo")).to_be_visible(timeout=30_000)
    check_access(page, "empty")
    page.goto(f"{server.address}/{SAMPLE}")
    rows(page, 2)
    expect(page.get_by_text("This picture", exact=True)).to_be_visible()
    check_access(page, "answer")
    label = page.locator(".frame").nth(1).get_attribute("aria-label")
    for part in ("Grad-CAM", "simple fracture", "demo-xray", "highest value"):
        assert part in label


SHEET = SAMPLE + "".join(f"&method={name}" for name in ("hires_cam", "integrated_gradients", "layer_cam", "random"))


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 400)])
def test_many_maps_become_a_contact_sheet(server, visit, scheme, width):
    page = visit(scheme, width)
    page.goto(f"{server.address}/{SHEET}&integrated_gradients.steps=8")
    rows(page, 6)
    expect(page.locator(".row.compact")).to_have_count(6)
    expect(page.locator(".apart .row h3")).to_have_text(["Random"])
    poor = page.get_by_role("region", name="Integrated gradients")
    expect(poor).to_have_class(re.compile("invalid"))
    expect(poor.get_by_text("Not valid for this model: the values miss the sum")).to_be_visible()
    assert poor.locator("canvas").last.evaluate("one => getComputedStyle(one).filter") == "grayscale(1)"
    check_access(page, "contact sheet")
    tops = page.locator(".row.compact").evaluate_all("all => all.map(one => one.getBoundingClientRect().top)")
    assert len(set(tops)) < len(tops)  # side by side
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator(".row.compact .frame").nth(1).click()
    large = page.locator(".row.open")
    expect(large.locator(".frame")).to_have_count(3)
    expect(large.locator(".tick").first).to_be_visible()
    large.get_by_role("button", name="Close").click()
    expect(page.locator(".row.compact")).to_have_count(6)
    page.get_by_role("button", name="Contact sheet").click()
    expect(page.locator(".frame")).to_have_count(18)


def test_maps_fill_in_as_they_come_and_cancel_keeps_them(server, visit):
    page = visit()
    page.goto(f"{server.address}/{SAMPLE}")
    rows(page, 2)
    page.locator(".frame").first.evaluate("one => one.dataset.kept = 'yes'")
    page.get_by_role("button", name="All valid").click()
    expect(page.locator(".waiting").first).to_be_visible(timeout=SLOW)
    expect(page.get_by_text(re.compile(r"\d+ of \d+ maps · [\d,]+ of [\d,]+ passes"))).to_be_visible()
    expect(page.locator(".row").nth(7)).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Cancel", exact=True).click()
    said = page.get_by_text(re.compile(r"Cancelled\. \d+ maps are complete and stay\."))
    expect(said).to_be_visible(timeout=SLOW)
    rows(page, int(re.search(r"\d+", said.inner_text()).group()))
    expect(page.locator(".waiting")).to_have_count(0)
    expect(page.locator("[data-kept]")).to_have_count(1)  # what was there has not been drawn anew
    page.keyboard.press("h")
    assert page.locator(".row canvas").last.evaluate("one => one.style.opacity") == "0"


KILL_TIMERS = "for (let i = 0; i < 1e5; i++) { clearInterval(i); clearTimeout(i) }"


def test_maps_arrive_even_when_the_page_loses_its_timers(server, visit):
    page = visit()
    page.goto(f"{server.address}/{SAMPLE}&method=rise&method=lime&seed=77")
    expect(page.locator(".row").first).to_be_visible(timeout=SLOW)
    assert page.locator(".waiting").count()
    page.evaluate(KILL_TIMERS)
    rows(page, 4)
    expect(page.locator(".waiting")).to_have_count(0)
    expect(page.get_by_text("4 maps for target class")).to_be_visible()


EIGHT = ("grad_cam", "layer_cam", "hires_cam", "saliency", "input_x_gradient", "lrp", "guided_backprop", "smooth_grad")
COMPARED = "compare_methods?sample=xray_simple_fracture_1&model=demo-xray" + "".join(f"&method={m}" for m in EIGHT)
FEW = "&metric=deletion&metric=sparseness&metric=pointing_game"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 400)])
def test_eight_methods_are_compared_on_a_contact_sheet_with_verdicts(server, visit, scheme, width):
    page = visit(scheme, width)
    page.goto(f"{server.address}/{COMPARED}{FEW}&smooth_grad.samples=8")
    rows(page, 12)
    expect(page.get_by_role("heading", name="Compare methods")).to_be_visible()
    expect(page.locator(".apart .row")).to_have_count(4)
    scored = page.get_by_role("region", name="Scores of 8 methods and 4 controls on one picture")
    expect(scored).to_be_visible(timeout=SLOW)
    verdicts = page.locator(".judged summary")
    expect(verdicts).to_have_count(8, timeout=2 * SLOW)
    known = ("✓ supported", "◐ weak", "○ no evidence", "✗ not valid for this model")
    said = [one.strip() for one in verdicts.all_inner_texts()]
    assert set(said) <= set(known)
    expect(page.locator(".apart .judged summary")).to_have_count(0)
    expect(scored.locator("tbody.controls tr")).to_have_count(5)
    expect(scored.locator("td.words").first).to_have_text(re.compile("supported|weak|no evidence|not valid"))
    assert scored.locator("td.best").count() >= 3
    assert scored.get_by_text("undefined", exact=True).first.get_attribute("title").startswith("Flat map")
    for row, one in zip(page.locator(".row").all(), said, strict=False):
        grey = row.locator("canvas").last.evaluate("one => getComputedStyle(one).filter") == "grayscale(1)"
        assert grey == (one in known[2:])
    verdicts.first.click()  # opens the map with its checks
    opened = page.locator(".row.open")
    assert opened.locator(".checks li").count() >= 3
    expect(opened.locator(".checks li").first).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible(timeout=SLOW)
    check_access(page, "compared")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    expect(page.get_by_test_id("stException")).to_have_count(0)


def test_the_verdict_comes_after_the_map_and_without_weighing_there_is_none(server, visit):
    page = visit()
    page.goto(f"{server.address}/{SAMPLE}")
    rows(page, 2)
    expect(page.locator(".judged summary")).to_have_count(0)
    page.locator(".frame").first.evaluate("one => one.dataset.kept = 'yes'")
    page.get_by_text("Weigh the evidence").click()
    expect(page.locator(".judged summary")).to_have_count(2, timeout=SLOW)
    expect(page.locator("[data-kept]")).to_have_count(1)  # the map has not been drawn anew
    expect(page).not_to_have_url(re.compile("weigh"))
    verdict = page.locator(".judged summary").first
    verdict.focus()
    page.keyboard.press("Enter")
    expect(page.locator(".judged details[open] li").first).to_be_visible()
    assert page.locator(".frame").first.get_attribute("aria-label")
    assert "Evidence: " in page.locator(".both .frame").first.get_attribute("aria-label")


def test_scores_are_taken_away_as_they_are_shown(server, visit):
    page = visit()
    page.goto(f"{server.address}/{COMPARED}{FEW}&smooth_grad.samples=8&weigh=false")
    expect(page.get_by_role("region", name=re.compile("Scores of 8"))).to_be_visible(timeout=SLOW)
    shown = page.locator("tbody").first.locator("tr").first.locator("td").all_inner_texts()
    page.locator(".scores table").evaluate("table => table.dataset.kept = 1")
    page.get_by_text("Overlap of the highest tenth").click()
    expect(page.get_by_text("the share that two maps have in common")).to_be_visible()
    expect(page.locator(".scores table[data-kept]")).to_have_count(1)  # the same scores are not drawn anew
    page.get_by_role("button", name="Download scores").click()
    with page.expect_download() as got:
        page.get_by_role("button", name="Scores (JSON)").click()
    told = json.loads(Path(got.value.path()).read_text("utf-8"))
    first = told["rows"][0]["cells"]
    assert [re.sub("[★† ]", "", text) for text in shown] == [
        f"{first[name]['mean']:.3g}".replace("-", "−") for name in ("deletion", "sparseness", "pointing_game")
    ]
    for name, start in (("Ranking (PNG)", b"\x89PNG"), ("Scores (Parquet)", b"PAR1"), ("Maps (.npy, zip)", b"PK")):
        with page.expect_download() as got:
            page.get_by_role("button", name=name).click()
        assert Path(got.value.path()).read_bytes().startswith(start)


def test_on_a_phone_nothing_is_wider_than_the_screen(server, visit):
    page = visit(width=400, height=900)
    page.goto(f"{server.address}/{SAMPLE}")
    rows(page, 2)
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    assert page.locator(".viewer").evaluate("one => one.getBoundingClientRect().right") <= 400


def test_what_is_saved_survives_a_restart_and_verifies(server, visit):
    page = visit()
    page.goto(server.address)
    upload(page, ("case.png", png(5, texture=True)))
    rows(page, 3)
    page.get_by_role("slider", name="Opacity").press("Home")
    page.get_by_role("button", name="Save record").click()
    page.get_by_label("Note (optional)").fill("kept over a restart")
    page.get_by_label("Note (optional)").press("Control+Enter")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("Saved as")).to_be_visible(timeout=SLOW)
    page.close()
    [folder] = [path for path in server.store.iterdir() if path.name != AUDITS]
    manifest = (folder / "manifest.json").read_text("utf-8")
    assert "case" not in manifest
    assert json.loads(manifest)["display"]["opacity"] == 0  # as it was looked at
    server.stop()
    server.start()
    page = visit()
    page.goto(f"{server.address}/manifests")
    expect(page.get_by_text("kept over a restart")).to_be_visible(timeout=30_000)
    page.get_by_role("button", name="Verify", exact=True).click()
    expect(page.get_by_text("match the manifest")).to_be_visible()
    page.get_by_role("button", name="Open", exact=True).click()
    rows(page, 3)
    expect(page.get_by_text("Files: 15, with the manifest")).to_be_visible()
    check_access(page, "record")
    dark = visit("dark")
    dark.goto(page.url)
    rows(dark, 3)
    check_access(dark, "record in the dark")
    dark.get_by_role("button", name="All records").click()
    expect(dark.get_by_role("button", name="Verify all")).to_be_visible()
    check_access(dark, "list in the dark")
    page.get_by_role("button", name="Open in Explain").click()
    expect(page.get_by_text("drop the same file here again")).to_be_visible()
    upload(page, ("renamed.png", png(5, texture=True)))
    rows(page, 3)


def test_xai_core_is_light_to_import():
    """The pages import it at their top: it must bring no torch."""
    import subprocess
    import sys

    code = "import sys, xai_core, app; print('torch' in sys.modules, 'timm' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", "False"]
    assert xai.METHODS
