"""The page of saved manifests finds, opens, verifies and asks again."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import xai_core as xai
from tests.pages.conftest import Opener, _opener, buttons_that_save, settled, words
from xai_core.records import Record
from xai_core.store import AUDITS

SAMPLES = Path(__file__).resolve().parents[2] / "assets" / "samples"


@pytest.fixture(scope="module")
def explained():
    model = xai.load_model("demo-xray")
    image = xai.read_image(SAMPLES / "xray_simple_fracture_1.png")
    [maps] = xai.explain_many(model, [image], ["grad_cam", "saliency"])
    return maps, xai.predict(model, image), image


@pytest.fixture
def record(store: Path, explained) -> Path:
    store.mkdir()
    maps, said, image = explained
    display = {"opacity": 0.3, "colour_map": "viridis", "clip": 98.0, "shared_scale": False}
    return xai.save(Record(tuple(maps), (said,), image.source, display, "a *hasty* <b>note</b>"), store / "first")


def test_an_empty_store_says_what_to_do(manifests: Opener):
    app = manifests()
    assert not app.exception
    assert "Nothing has been saved yet" in app.info[0].value


def test_records_are_listed_and_filtered(manifests: Opener, record: Path):
    app = manifests()
    said = words(app)
    assert "1 record" in said
    assert "demo-xray" in said
    assert "a *hasty* <b>note</b>" in said
    app.text_input(key="filter").set_value("Grad-CAM hasty")
    assert "1 record" in words(settled(app))
    app.text_input(key="filter").set_value("lime")
    assert "No record matches" in words(settled(app))


def test_an_intact_record_verifies(manifests: Opener, record: Path):
    app = manifests()
    app.button(key="verify first").click()
    settled(app)
    assert "match the manifest" in app.success[0].value


def test_a_changed_file_is_named(manifests: Opener, record: Path):
    changed = record / "01_grad_cam.heatmap.png"
    content = bytearray(changed.read_bytes())
    content[-20] ^= 1
    changed.write_bytes(content)
    app = manifests()
    app.button(key="verify all").click()
    settled(app)
    assert "1 of 1 verified record is not intact" in app.error[0].value
    assert "does not match its manifest" in app.error[1].value
    assert "✗ changed" in words(app)
    assert "heatmap" in words(app)


def test_a_broken_record_is_listed_with_the_reason(manifests: Opener, record: Path, store: Path):
    (store / "broken").mkdir()
    (store / "broken" / "manifest.json").write_text("{}")
    app = manifests()
    assert not app.exception
    assert "cannot be read" in words(app)
    assert "1 of them cannot be read" in words(app)


def test_an_opened_record_shows_everything(manifests: Opener, record: Path):
    app = manifests(record="first")
    assert not app.exception
    said = words(app)
    assert "a *hasty* <b>note</b>" in said
    assert "Synthetic demonstration model" in said
    assert "01_grad_cam.npy" in said.replace("_", "_")
    assert app.session_state["session"].opened == "first"


@pytest.fixture(scope="module")
def probed():
    image = xai.read_image(SAMPLES / "xray_simple_fracture_1.png")
    return xai.probe(xai.load_model("demo-xray"), image, {"name": "jpeg", "steps": 2}, "grad_cam", seed=4)


def test_a_finding_is_listed_by_its_probe_with_its_answer_and_asked_again(
    manifests: Opener, probed, store: Path
) -> None:
    store.mkdir()
    xai.save(probed, store / "found")
    app = manifests()
    said = words(app)
    assert f"**{xai.PROBES['jpeg'].label}**" in said
    assert probed.sentences[0][:199] in said
    app.button(key="verify found").click()
    files = len([path for path in (store / "found").rglob("*") if path.is_file()])
    assert f"all {files} files" in settled(app).success[0].value
    app = manifests(record="found")
    assert [box.label for box in app.expander if box.label.startswith("Files")] == [
        f"Files: {files}, with the manifest"
    ]
    assert "manifest.json" in words(app)
    app.button(key="restore").click()
    app.run()
    visitor = app.session_state["session"]
    again = _opener("bias_probes")()
    again.session_state["session"].ask(visitor.pending)
    again.session_state["session"].probing.address = visitor.probing.address
    again = settled(again)
    assert not again.error, words(again)
    assert again.query_params["probe"] == "jpeg"
    assert again.query_params["probe.steps"] == "2"
    assert again.query_params["seed"] == "4"
    again.button(key="probe").click()
    [one] = settled(again).session_state["session"].findings.kept.values()
    assert one.finding.sentences[:3] == probed.sentences[:3]  # the sample's mask and label add to others
    assert (one.finding.probe, one.finding.seed) == (probed.probe, probed.seed)


def test_a_record_that_is_not_there_is_said(manifests: Opener, record: Path):
    app = manifests(record="../../etc")
    assert not app.exception
    assert "No record is called" in app.error[0].value


def test_a_record_is_asked_again(manifests: Opener, explain: Opener, record: Path, explained):
    app = manifests(record="first")
    app.button(key="restore").click()
    app.run()
    visitor = app.session_state["session"]
    assert [one.name for one in visitor.pending.models] == ["demo-xray"]
    assert [method["name"] for method in visitor.pending.methods] == ["grad_cam", "saliency"]
    assert visitor.sample == "xray_simple_fracture_1"  # found by its hash
    assert visitor.looks["maps"].colour_map == "viridis"

    again = explain()
    again.session_state["session"].ask(visitor.pending, visitor.looks["maps"])
    settled(again)
    kept = [one.explanation for one in again.session_state["session"].maps.kept.values()]
    assert [dict(e.method) for e in kept] == [dict(e.method) for e in explained[0]]
    for now, then in zip(kept, explained[0], strict=True):
        assert (now.values == then.values).all()


def test_a_record_about_an_upload_asks_for_the_picture(explain: Opener):
    from pages.shared.question import Network, Question

    app = explain()
    app.session_state["session"].ask(Question(picture="ab" * 32, models=(Network("demo-xray"),)))
    app.run()
    assert "abababab" in app.info[0].value


def test_what_is_saved_on_the_page_can_be_opened_and_verified(explain: Opener, store: Path):
    app = explain(sample="xray_normal_1", model="demo-xray", method="grad_cam")
    assert buttons_that_save(app) == ["Save record"]
    app.text_area(key="note 0").set_value("from the page")
    app.button(key="save").click()
    settled(app)
    [folder] = [path for path in store.iterdir() if path.name != AUDITS]
    assert xai.verify(folder).ok
    assert xai.open_record(folder).note == "from the page"
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", folder.name)
    assert "Saved as" in app.success[0].value


def test_a_record_of_a_contrast_is_asked_again_as_one(explain: Opener, manifests: Opener, store: Path):
    model, image = xai.load_model("demo-xray"), xai.read_image(SAMPLES / "xray_simple_fracture_1.png")
    target = xai.Target(1, "", "contrast", 0)
    layers = [{"name": "grad_cam", "layer": layer} for layer in ("layer3", "layer4")]
    [maps] = xai.explain_many(model, [image], layers, [target])
    store.mkdir()
    xai.save(Record(tuple(maps), (xai.predict(model, image),), image.source), store / "contrast")
    app = manifests(record="contrast")
    app.button(key="restore").click()
    app.run()
    again = explain()
    again.session_state["session"].ask(app.session_state["session"].pending)
    settled(again)
    [kept] = [one.explanation for one in again.session_state["session"].maps.kept.values()]
    assert kept.target == maps[0].target
    assert (kept.values == maps[0].values).all()
    assert "One layer is shown at a time" in again.error[0].value
