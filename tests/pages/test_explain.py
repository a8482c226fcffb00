"""The Explain page says what it should, asks what it is asked, and loses nothing."""

from __future__ import annotations

import json

import pytest

import xai_core as xai
from pages.shared import viewer
from pages.shared.errors import plain
from pages.shared.state import Looks, Question
from tests.pages.conftest import ROOT, Opener, drop, png, settled, words

XRAY = {"sample": "xray_simple_fracture_1", "model": "demo-xray"}


def maps(app):
    return [kept.explanation for kept in app.session_state["session"].maps.values()]


def test_an_empty_page_says_what_to_do(explain: Opener):
    app = explain()
    assert not app.exception
    assert "pick a picture" in words(app)
    assert app.file_uploader[0].label == "Drop one or several pictures"
    assert "Attribution maps are diagnostic aids, never proof." in words(app)


def test_a_sample_becomes_a_prediction_and_maps(explain: Opener):
    app = explain(**XRAY, method=["grad_cam", "saliency"])
    assert not app.exception
    assert not app.error
    said = words(app)
    assert "Synthetic demonstration model. Not for diagnosis." in said
    assert "2 maps for target class" in said
    assert [e.method["name"] for e in maps(app)] == ["grad_cam", "saliency"]


def test_a_sample_with_drawn_evidence_says_where_its_maps_peak(explain: Opener):
    assert "the marked evidence" not in words(explain(sample="xray_normal_1", method="grad_cam"))
    said = words(explain(**XRAY, method="grad_cam"))
    assert "the marked evidence (one cell of the map is 16 pixels)" in said


def test_a_sample_brings_the_model_that_knows_its_family_until_the_person_chooses_one(explain: Opener):
    app = explain(sample="xray_normal_1", method="grad_cam")
    assert app.selectbox(key="model").value == "demo-xray"
    app.selectbox(key="model").set_value("demo-xray-shortcut")
    settled(app)
    app.session_state["session"].sample = "xray_normal_2"
    settled(app)
    assert app.selectbox(key="model").value == "demo-xray-shortcut"


def test_an_uploaded_picture_is_explained_and_stays_out_of_the_address(explain: Opener):
    app = drop(explain(model="demo-xray", method="grad_cam"), ("case.png", png(90, texture=True)))
    assert not app.exception
    assert len(maps(app)) == 1
    assert "case.png" in words(app)
    assert "case.png" not in str(app.query_params)


def test_a_broken_file_is_met_with_a_sentence_and_the_good_one_is_kept(explain: Opener):
    app = drop(
        explain(model="demo-xray", method="grad_cam"),
        ("broken.png", b"\x89PNG\r\n\x1a\nnonsense"),
        ("good.png", png(30, texture=True)),
        ("letter.txt", b"Dear all"),
    )
    assert not app.exception
    sentences = [error.value for error in app.error]
    assert len(sentences) == 2
    assert "broken" in sentences[0]
    assert "letter" in sentences[1]
    assert len(maps(app)) == 1
    settled(app)
    assert len(app.error) == 2  # until dismissed
    app.button(key="dismiss").click()
    settled(app)
    assert not app.error


def test_several_pictures_are_stepped_through(explain: Opener):
    app = explain(model="demo-xray", method="grad_cam")
    app = drop(app, ("a.png", png(1, texture=True)), ("b.png", png(2, texture=True)))
    assert "1 of 2" in words(app)
    app.button(key="next").click()
    settled(app)
    assert "2 of 2" in words(app)
    assert "b.png" in words(app)
    app.button(key="remove").click()
    settled(app)
    assert "a.png" in words(app)


def test_the_target_follows_the_prediction_from_picture_to_picture(explain: Opener):
    app = explain(model="demo-xray", method="grad_cam")
    files = [f"xray_{name}_3.png" for name in ("simple_fracture", "normal", "comminuted_fracture")]
    app = drop(app, *((name, (ROOT / "assets" / "samples" / name).read_bytes()) for name in files))
    for expected in ("simple fracture", "normal", "comminuted fracture"):
        assert not app.error
        assert maps(app)[-1].target.label == expected
        assert app.selectbox(key="target demo-xray").value == -1
        app.button(key="next").click()
        settled(app)


def test_an_address_names_methods_settings_target_and_seed(explain: Opener):
    query = {"method": ["occlusion", "layer_cam"], "occlusion.window": "0.3", "layer_cam.layer": "layer3"}
    app = explain(**XRAY, **query, target="2", seed="7")
    occlusion, layer_cam = maps(app)
    assert occlusion.method["window"] == 0.3
    assert layer_cam.method["layer"] == "layer3"
    assert layer_cam.target.index == 2
    assert layer_cam.seed == 7
    assert dict(Question.from_address({k: v if isinstance(v, list) else [v] for k, v in query.items()}).methods[0]) == {
        "name": "occlusion",
        "window": "0.3",
    }


def test_what_an_address_asks_and_is_not_on_offer_is_said(explain: Opener):
    app = explain(**XRAY, method=["grad_cam", "crystal_ball"], target="99", **{"grad_cam.layer": "nowhere"})
    assert not app.exception
    said = " ".join(error.value for error in app.error)
    assert "crystal" in said
    assert "Class 99" in said
    assert len(maps(app)) == 1


@pytest.mark.parametrize("name", ["hf-hub:someone/something", "local-dir:/etc", "../../etc/passwd", "<b>x</b>"])
def test_hub_addresses_and_folders_are_refused_on_the_page(explain: Opener, name: str):
    app = explain(sample="xray_normal_1", model=name)
    assert not app.exception
    assert "cannot be opened from this page" in app.error[0].value


def test_a_model_too_large_for_a_shared_page_is_met_with_a_sentence(explain: Opener):
    app = explain(sample="cat", model="vit_gigantic_patch14_224", random="true", method="grad_cam")
    assert not app.exception
    assert "this page opens models of up to" in app.error[0].value.replace("\N{WORD JOINER}", "").replace("\\", "")


def test_random_weights_are_said_wherever_the_model_is_shown(explain: Opener):
    app = explain(sample="cat", model="test_resnet", random="true", method="grad_cam")
    assert not app.exception
    assert any("Random weights" in warning.value for warning in app.warning)
    [e] = maps(app)
    assert "Random weights" in json.dumps(viewer._described(e))


def test_a_flat_map_is_said_to_show_nothing(explain: Opener):
    app = explain(model="demo-xray", method="integrated_gradients", **{"integrated_gradients.start": "black"})
    app = drop(app, ("black.png", png(0)))
    assert maps(app)[0].flat
    assert any("Flat map" in warning.value for warning in app.warning)


def test_a_method_that_says_nothing_about_a_model_is_listed_with_the_reason(explain: Opener, monkeypatch):
    monkeypatch.setattr(xai.METHODS["grad_cam"], "why_not", lambda self, model: "There is nothing to read here.")
    app = explain(**XRAY, method=["grad_cam", "saliency"])
    assert [e.method["name"] for e in maps(app)] == ["saliency"]
    assert "There is nothing to read here" in words(app)


def test_a_new_method_computes_only_what_is_new(explain: Opener):
    app = explain(**XRAY, method="grad_cam")
    [first] = maps(app)
    app.multiselect(key="methods").set_value(["grad_cam", "layer_cam"])
    settled(app)
    assert maps(app)[0] is first
    assert len(maps(app)) == 2


def test_cancelled_work_leaves_nothing_and_can_be_run_again(explain: Opener):
    app = explain(**XRAY, method="grad_cam")
    app.multiselect(key="methods").set_value(["lime"])
    app.run()
    visitor = app.session_state["session"]
    if visitor.job is not None:  # else it was done before it could be stopped
        visitor.stopped = visitor.job.key
        visitor.job.cancel.set()
        settled(app)
        assert "Cancelled" in words(app)
        assert len(maps(app)) == 1
        app.button(key="run").click()
        settled(app)
    assert [e.method["name"] for e in maps(app)] == ["grad_cam", "lime"]


def test_our_own_mistake_is_a_number_and_never_a_traceback(explain: Opener, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("/srv/secret/path")

    monkeypatch.setattr("xai_core.pipeline.predict", broken)
    app = explain(**XRAY)
    assert not app.exception
    assert "incident" in app.error[0].value
    assert "secret" not in words(app)


def test_settings_are_drawn_from_their_declarations(explain: Opener):
    app = explain(**XRAY, method=["grad_cam", "occlusion"])
    window = app.slider(key="occlusion.window")
    assert (window.min, window.max, window.value) == (0.02, 0.5, 0.125)
    assert app.toggle(key="grad_cam.positive_only").value is True
    assert list(app.selectbox(key="occlusion.cover").options) == ["black", "mean", "blur"]
    assert app.selectbox(key="layer demo-xray").options[-1].endswith("(default)")


def test_text_from_outside_is_escaped():
    hostile = "<img src=x onerror=alert(1)> **bold** :smile: $x$ [a](http://b.example) `c` | # - 1. :red[d]"
    shown = plain(hostile)
    assert "\\<img" in shown
    assert "\\*\\*bold" in shown
    assert ":smile:" not in shown
    assert "http://" not in shown
    assert "\\[a\\]\\(" in shown


def test_looks_from_outside_are_checked():
    given = {"opacity": 7, "colour_map": "../x", "clip": "99", "shared_scale": "yes"}
    assert Looks.from_outside(given) == Looks()
    assert Looks.from_outside(None) == Looks()
    fine = {"opacity": 0.2, "colour_map": "viridis", "clip": 95, "shared_scale": True}
    assert Looks.from_outside(fine).to_dict() == fine


def test_what_is_sent_to_the_viewer_holds_every_value(explain: Opener):
    app = explain(**XRAY, method="grad_cam")
    [e] = maps(app)
    sent = viewer.packed([e], Looks(), 0)
    length = int.from_bytes(sent[:4], "little")
    header = json.loads(sent[4 : 4 + length])
    body = sent[4 + length :]
    assert body[: e.pixels.nbytes] == e.pixels.tobytes()
    assert body[e.pixels.nbytes : e.pixels.nbytes + e.values.nbytes] == e.values.tobytes()
    assert e.target.label in header["maps"][0]["spoken"]
