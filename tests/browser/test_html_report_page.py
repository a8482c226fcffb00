"""Reports in a real browser: no network, no error, nothing that a screen reader stumbles over, pages of A4."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.findings_made import dose_finding
from tests.test_audit_report import facts_of, written
from tests.test_html_report import NAME, SEEN
from xai_core.decisions import Decisions
from xai_core.html_report import write_report
from xai_core.manifest import save

pytestmark = pytest.mark.browser
NARROW, WIDE = 400, 1440
MOST_PAGES = {"audit": 16, "probe": 11, "both": 26}


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An audit of hostile names with decisions, what a probe found, and both in one report."""
    folder = tmp_path_factory.mktemp("reports")
    facts = facts_of(("demo-xray", NAME))
    facts["data"]["name"] = NAME
    run = written(folder / "run", facts)
    Decisions(run).decide(NAME, "0" * 64, NAME, reason="1", note=NAME)
    probe = save(dose_finding(), folder / "probe")
    weights = json.loads((run / "manifest.json").read_text())["models"][1]["identity"]["weights_sha256"]
    found = replace(dose_finding(), model={"name": NAME, "weights_sha256": weights}, sentences=(NAME,))
    named = [save(found, folder / f"{NAME.replace('/', '')} {place}") for place in range(2)]
    return {
        "audit": write_report(run, folder / "audit.html"),
        "probe": write_report(probe, folder / "probe.html"),
        "both": write_report(run, folder / "both.html", named),
    }


@pytest.mark.parametrize("of", ["audit", "probe", "both"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    of: str, scheme: str, reports: dict[str, Path], visit: Callable[..., Any], tmp_path: Path
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = visit(scheme, NARROW if scheme == "dark" else WIDE)
    page.goto(reports[of].as_uri())
    found = Axe().run(page).response["violations"]
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    assert bad == [], json.dumps([(one["id"], [node["html"][:200] for node in one["nodes"]][:3]) for one in bad])
    assert [one["id"] for one in found] == []


@pytest.mark.parametrize("of", ["audit", "probe", "both"])
def test_no_request_leaves_and_the_page_needs_no_script(
    of: str, reports: dict[str, Path], visit: Callable[..., Any]
) -> None:
    page = visit()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(reports[of].as_uri(), wait_until="load")
    assert [url for url in asked if not url.startswith("data:image/")] == [reports[of].as_uri()]
    assert page.locator("script, iframe, link, object").count() == 0
    whole = "Array.from(document.images).every(one => one.complete && one.naturalWidth > 0 && one.alt.length > 20)"
    assert page.locator("img").count() >= 2
    assert page.evaluate(whole)


@pytest.mark.parametrize("of", ["audit", "probe", "both"])
def test_a_narrow_screen_scrolls_tables_and_not_the_page(
    of: str, reports: dict[str, Path], visit: Callable[..., Any]
) -> None:
    page = visit(width=NARROW, height=800)
    page.goto(reports[of].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == NARROW
    assert page.evaluate(
        "Array.from(document.querySelectorAll('.scroll')).some(one => one.scrollWidth > one.clientWidth)"
    )
    outside = "Array.from(document.querySelectorAll('main *')).filter(one => !one.closest('.scroll') && "
    outside += "one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"
    assert page.evaluate(outside) == []


def test_hostile_names_are_read_as_they_were_written(reports: dict[str, Path], visit: Callable[..., Any]) -> None:
    page = visit()
    page.on("dialog", lambda dialog: pytest.fail(f"a name ran: {dialog.message}"))
    page.goto(reports["audit"].as_uri())
    assert page.get_by_role("heading", level=1).inner_text() == f"Audit of {SEEN}"
    assert page.title() == f"Audit of {SEEN}"
    assert page.locator("img[src=x]").count() == 0
    assert page.get_by_role("region", name=re.compile("^Scores of the maps of <img")).count() == 1


def test_it_has_landmarks_and_a_way_from_the_keyboard(reports: dict[str, Path], visit: Callable[..., Any]) -> None:
    page = visit()
    page.goto(reports["probe"].as_uri())
    for role in ("banner", "navigation", "main", "contentinfo"):
        assert page.get_by_role(role).count() == 1, role
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the summary"
    page.keyboard.press("Enter")
    assert page.url.endswith("#summary")
    page.get_by_role("link", name="finding.json").first.click()
    assert page.locator("tr:target").inner_text().startswith("finding.json")


@pytest.mark.parametrize("of", ["audit", "probe", "both"])
def test_it_prints_to_the_expected_pages_of_a4(of: str, reports: dict[str, Path], visit: Callable[..., Any]) -> None:
    page = visit()
    page.goto(reports[of].as_uri())
    printed = page.pdf(prefer_css_page_size=True)
    boxes = re.findall(rb"/MediaBox \[([\d. ]+)\]", printed)
    assert 4 <= len(boxes) <= MOST_PAGES[of]
    for box in boxes:
        *_, width, height = map(float, box.split())
        assert (width, height) == pytest.approx((595.3, 841.9), abs=1)


def test_nothing_is_wider_than_the_printed_page(reports: dict[str, Path], visit: Callable[..., Any]) -> None:
    page = visit(width=680, height=1000)  # what A4 leaves between its margins: 180 mm at 96 dots per inch
    page.emulate_media(media="print")
    for of in reports:
        page.goto(reports[of].as_uri())
        wide = "Array.from(document.querySelectorAll('td, th, img, p, dd')).filter(one => "
        wide += "one.getBoundingClientRect().right > innerWidth + 1).map(one => one.outerHTML.slice(0, 80))"
        assert page.evaluate(wide) == [], of
        assert page.evaluate("getComputedStyle(document.querySelector('thead')).display") == "table-header-group"
        assert page.evaluate("getComputedStyle(document.querySelector('figure')).breakInside") == "avoid"
