"""The Explain page says what it should, asks what it is asked, and loses nothing."""

from __future__ import annotations

import json

import pytest
from streamlit.testing.v1 import AppTest

import xai_core as xai
from pages.shared import viewer
from pages.shared.errors import plain
from pages.shared.question import Looks, Question
from tests.pages.conftest import ROOT, Opener, drop, png, settled, words

XRAY = {"sample": "xray_simple_fracture_1", "model": "demo-xray"}


def maps(app):
    return [kept.explanation for kept in app.session_state["session"].maps.kept.values()]


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
    layer_cam, occlusion = maps(app)  # family by family
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
    app.checkbox(key="use layer_cam").check()
    settled(app)
    assert maps(app)[0] is first
    assert len(maps(app)) == 2


def test_maps_that_came_before_a_cancel_stay_and_the_others_can_be_run(explain: Opener):
    app = explain(**XRAY, method="grad_cam")
    for name in ("layer_cam", "rise"):
        app.checkbox(key=f"use {name}").check()
    app.run()
    visitor = app.session_state["session"]
    job = visitor.maps.job
    assert job is not None
    while "layer_cam" not in [e.method["name"] for e in maps(app)]:
        job.wait(0.05)
        app.run()
    app.button(key="cancel maps").click()
    settled(app)
    assert "Cancelled. 2 maps are complete and stay." in words(app)
    assert [e.method["name"] for e in maps(app)] == ["grad_cam", "layer_cam"]
    settled(app)
    assert visitor.maps.job is None  # it does not start again by itself
    app.button(key="run maps").click()
    settled(app)
    assert [e.method["name"] for e in maps(app)] == ["grad_cam", "layer_cam", "rise"]


def test_work_that_goes_on_is_not_given_up_for_one_more_method(explain: Opener):
    app = explain(**XRAY, method="grad_cam")
    app.checkbox(key="use rise").check()
    app.run()
    visitor = app.session_state["session"]
    first = visitor.maps.job
    app.checkbox(key="use layer_cam").check()
    app.run()
    assert first is not None
    assert visitor.maps.job is first
    assert not first.cancel.is_set()
    app.checkbox(key="use rise").uncheck()
    app.run()
    assert first.cancel.is_set()
    settled(app)
    assert [e.method["name"] for e in maps(app)] == ["grad_cam", "layer_cam"]


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
    assert list(app.selectbox(key="occlusion.cover").options) == ["black", "mean", "blur", "noise"]
    layer = app.select_slider(key="layer demo-xray")
    assert (layer.options[-1], layer.value) == ("layer4, 8 × 8", "layer4")
    assert not [widget.key for widget in app.slider if widget.key.startswith("lime.")]  # of chosen methods only


def test_a_method_that_says_nothing_about_the_model_cannot_be_ticked(explain: Opener):
    app = explain(**XRAY, method="grad_cam")
    box = app.checkbox(key="refused attention_rollout")
    assert box.disabled
    assert box.label.startswith("✗")
    assert "runs no softmax attention" in words(app)
    app.button(key="first three").click()
    settled(app)
    assert len(app.session_state["session"].maps.kept) == 3


def test_a_layer_that_the_target_does_not_depend_on_is_named_and_not_offered(explain: Opener):
    app = explain(sample="cat", model="test_vit", random="true", method="grad_cam", **{"grad_cam.layer": "blocks.5"})
    slider = app.select_slider(key="layer test_vit")
    assert not [one for one in slider.options if one.startswith("blocks.5, ")]
    assert slider.value == "blocks.5.norm1"
    assert "Not to be read: blocks.5, " in words(app)
    assert "its gradient there is zero" in app.error[0].value
    assert maps(app)[0].method["layer"] == "blocks.5.norm1"


def test_a_link_asks_for_a_contrast_or_a_probability(explain: Opener):
    app = explain(**XRAY, method="grad_cam", kind="contrast", target="0", against="2")
    [contrast] = maps(app)
    assert (contrast.target.kind, contrast.target.index, contrast.target.against) == ("contrast", 0, 2)
    assert f"target class **{contrast.target}**" in words(app)
    asked = Question.from_address({key: [value] for key, value in app.query_params.items()})
    assert (asked.kind, asked.target, asked.against) == ("contrast", 0, 2)
    app.selectbox(key="against demo-xray").set_value(0)  # itself
    assert "no contrast with itself" in words(settled(app))
    app.selectbox(key="kind").set_value("probability")
    settled(app)
    assert maps(app)[-1].target.kind == "probability"
    assert not app.error


def test_outputs_that_are_no_classes_are_shown_as_what_they_are(explain: Opener, monkeypatch):
    import timm

    from pages.shared import cached

    def made(task: str) -> object:
        network = timm.create_model("test_resnet", num_classes=2)
        facts = {"labels": ["left", "right"], "input_size": (3, 64, 64), "mean": (0.5,) * 3, "std": (0.5,) * 3}
        return xai.wrap_model(network, name=task, task=task, **facts)

    networks = {task: made(task) for task in ("multi label", "regression")}
    task = "multi label"
    monkeypatch.setattr(cached, "model", lambda *_: networks[task])
    app = explain(sample="cat", method="grad_cam", kind="probability")
    assert maps(app)[-1].target.kind == "sigmoid"
    assert "need not sum to 1" in words(app)
    task = "regression"
    settled(app)
    assert maps(app)[-1].target.kind == "logit"
    assert "%" not in words(app).partition("Attribution maps")[0]


def test_background_pictures_are_chosen_counted_and_part_of_the_question(explain: Opener):
    method = {"method": "expected_gradients", "expected_gradients.background": "pictures"}
    app = explain(**XRAY, **method, **{"expected_gradients.samples": "8"})
    [with_samples] = maps(app)
    assert len(with_samples.background) == 11  # of twelve X-rays, without the one that is explained
    assert "11 pictures" in words(app)
    app.segmented_control(key="background").set_value("uploads")
    settled(app)
    assert len(maps(app)) == 1
    assert "there are none" in words(app)
    app = drop(app, ("other.png", png(7, texture=True)), ("this.png", png(8, texture=True)))
    app.session_state["session"].sample = XRAY["sample"]
    settled(app)
    assert len(maps(app)[-1].background) == 2
    assert (maps(app)[-1].values != with_samples.values).any()


def test_measuring_the_methods_fills_the_table_and_marks_the_menu(explain: Opener, monkeypatch):
    from xai_core import validity

    def short(model, image, **others):
        return validity_survey(
            model, image, ["grad_cam", {"name": "integrated_gradients", "steps": 8}, "attention_rollout"], **others
        )

    validity_survey = validity.survey
    monkeypatch.setattr(validity, "survey", short)
    app = explain(**XRAY, method="grad_cam")
    app.button(key="measure").click()
    app.run()
    visitor = app.session_state["session"]
    if visitor.surveying is not None:
        visitor.surveying.wait(60)
    settled(app)
    [table] = [one.value for one in app.dataframe if "Verdict" in one.value]
    assert list(table["Method"]) == ["Grad-CAM", "Integrated gradients", "Attention rollout"]
    assert list(table["Verdict"]) == ["✓ valid", "✗ not valid", "✗ not valid"]
    assert table["Gap"][1].endswith("%")
    assert app.checkbox(key="use integrated_gradients").label.startswith("✗")


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
    [words], [picture] = sent.words["maps"], sent.words["pictures"]
    assert sent.arrays[picture["array"]] == e.pixels.tobytes()
    assert sent.arrays[words["array"]] == e.values.tobytes()
    assert e.target.label in words["spoken"]


def test_the_maps_are_drawn_as_plain_pictures_when_they_are_asked_for(explain: Opener):
    app = explain(**XRAY, method="grad_cam")
    before = len(app.get("image"))
    app.session_state["plain maps"] = True  # the expander is open
    app.run()
    assert not app.exception
    assert len(app.get("image")) == before + 1
    assert app.get("image")[-1].proto.imgs[0].alt.startswith("What each model saw")


def test_controls_are_shown_last_and_maps_that_are_not_there_yet_keep_their_place(explain: Opener):
    app = explain(**XRAY, method=["sobel_edges", "saliency"])
    edges, saliency = sorted(maps(app), key=lambda e: e.method["name"] == "saliency")

    def shown(waiting: list[str]) -> list[str]:
        words = viewer.packed([edges, saliency], Looks(), 0, waiting).words
        labels = {one["id"]: one["label"] for one in words["maps"]}
        assert [one["control"] for one in words["order"]][-1]
        return [labels[one["id"]] if "id" in one else one["waiting"] for one in words["order"]]

    assert shown([]) == ["Saliency", "Sobel edges"]
    assert shown(["lime", "grad_cam"]) == ["Grad-CAM", "Saliency", "LIME", "Sobel edges"]


def test_maps_are_weighed_after_they_are_shown_and_controls_are_not(explain: Opener):
    app = explain(**XRAY, method=["grad_cam", "sobel_edges"], weigh="true")
    assert not app.exception
    visitor = app.session_state["session"]
    assert len(visitor.maps.kept) == 2
    [evidence] = visitor.evidence.kept.values()
    assert evidence.verdict in viewer.VERDICTS
    assert len(evidence.checks) == 8 or evidence.verdict == "not valid for this model"
    assert "weigh" not in app.query_params  # the default stays out of the address


def test_weighing_can_be_left_out_stopped_and_taken_up_again(explain: Opener):
    app = explain(**XRAY, method=["grad_cam", "saliency"])
    visitor = app.session_state["session"]
    assert not visitor.evidence.kept
    app.toggle(key="weigh").set_value(True)
    app.run()
    job = visitor.evidence.job
    assert job is not None
    app.toggle(key="weigh").set_value(False)
    app.run()
    assert job.cancel.is_set()
    assert visitor.evidence.job is None
    app.toggle(key="weigh").set_value(True)
    app.run()
    app.button(key="cancel verdicts").click()
    settled(app)
    assert "Cancelled." in words(app)
    assert len(maps(app)) == 2
    app.button(key="run verdicts").click()
    settled(app)
    assert len(visitor.evidence.kept) == 2


def test_one_more_map_is_weighed_and_the_others_keep_their_verdict(explain: Opener):
    app = explain(**XRAY, method="grad_cam", weigh="true")
    visitor = app.session_state["session"]
    [first] = visitor.evidence.kept.values()
    app.checkbox(key="use layer_cam").check()
    settled(app)
    assert len(visitor.evidence.kept) == 2
    assert any(one is first for one in visitor.evidence.kept.values())


def test_a_mistake_while_weighing_is_a_sentence_and_the_map_stays(explain: Opener, monkeypatch):
    from xai_core.errors import SettingError

    def refuse(*_: object, **__: object) -> None:
        raise SettingError("These maps were made by another model.")

    monkeypatch.setattr("xai_core.evidence.weigh_many", refuse)
    app = explain(**XRAY, method="grad_cam", weigh="true")
    assert not app.exception
    assert "These maps were made by another model." in words(app)
    assert len(maps(app)) == 1


def test_a_browser_that_asks_what_became_of_the_work_is_told(explain: Opener):
    app = explain(**XRAY, method="grad_cam")
    visitor = app.session_state["session"]
    visitor.heard = True  # as the viewer says when it waits
    settled(app)
    assert not visitor.heard
    assert not app.exception
    assert len(maps(app)) == 1


def test_a_sentence_that_is_said_while_another_stands_joins_it(store):
    script = (
        "import streamlit as st\n"
        "from pages.shared import errors\n"
        "from pages.shared.state import session\n"
        "with errors.shown():\n"
        "    session().say('first')\n"
        "    if st.button('more', key='more'): session().say('second')\n"
    )
    app = AppTest.from_string(script, default_timeout=300).run()
    app.button(key="more").click().run()
    assert not app.exception
    assert [one.value for one in app.error] == ["first", "second"]
    app.button(key="dismiss").click().run()
    assert [one.value for one in app.error] == ["first"]  # which the page says again
