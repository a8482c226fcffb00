"""The page that probes a model: what is asked, what is shown of the answer, and every mistake as a sentence."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import xai_core as xai
from pages.shared import probe_result, probe_takeaway, samples
from pages.shared.question import Network, Question
from pages.shared.state import Probed
from tests import findings_made
from tests.pages.conftest import Opener, _opener, buttons_that_save, drop, png, settled, words
from xai_core.records import Finding, Table
from xai_core.registry import settings
from xai_core.spreadsheet import csv_text

SAMPLE = "xray_simple_fracture_1"
FACE = "face_happy_1"


@pytest.fixture
def probes(store: Path) -> Opener:
    """Opens the page, on a sample unless a test says otherwise."""
    return _opener("bias_probes")


def findings(app: AppTest) -> list[Finding]:
    return [one.finding for one in app.session_state["session"].findings.kept.values()]


def click(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click()
    return settled(app)


def probe(app: AppTest) -> AppTest:
    assert not app.error, words(app)
    app = click(app, "probe")
    assert not app.exception
    return app


def plain_words(app: AppTest) -> str:
    return words(app).replace("*", "")


# ---- one picture -----------------------------------------------------------------------------------------------------


def test_a_dose_on_one_picture_is_answered_in_sentences_frames_and_charts(probes: Opener) -> None:
    app = probes(sample=SAMPLE, model="demo-xray-shortcut", probe="brightness", **{"probe.steps": "2"})
    assert "Make the whole picture lighter or darker" in words(app)
    # Three doses with a map each, of one pass forward, and the search for the flip.
    from xai_core.dose_response import HALVINGS

    assert f"About {3 + HALVINGS} passes" in plain_words(app)
    assert not findings(app), "nothing is begun before the person says so"
    app = probe(app)
    [one] = findings(app)
    said = plain_words(app)
    for sentence in one.sentences:
        assert sentence in said
    assert said.count("target ") >= len(one.frames) == 3
    pictures = "".join(str(element.proto) for element in app.get("image"))
    assert pictures.count("What the model saw: ") == len(one.frames)
    assert pictures.count("Attribution map over the picture: ") == len(one.frames)
    assert len(app.get("plotly_chart")) >= 2
    assert "1 picture · " in said


def test_the_numbers_on_the_page_are_those_of_the_core(probes: Opener) -> None:
    app = probe(probes(sample=SAMPLE, model="demo-xray", probe="brightness", **{"probe.strongest": "-0.3"}))
    model, image = xai.load_model("demo-xray"), samples.picture(SAMPLE)
    alone = xai.probe(model, image, {"name": "brightness", "strongest": -0.3}, "grad_cam")
    [one] = findings(app)
    assert one.tables["doses"].lines()[-1]["probability"] == alone.tables["doses"].lines()[-1]["probability"]
    assert one.probe == alone.probe


def test_another_question_marks_what_was_found_and_the_same_one_brings_it_back_unasked(probes: Opener) -> None:
    app = probe(probes(sample=SAMPLE, model="demo-xray", probe="brightness", **{"probe.steps": "2"}))
    said = findings(app)[0].sentences[0]
    assert "What follows is older" not in words(app)
    app.slider(key="probe brightness.strongest").set_value(0.2)
    app = settled(app)
    older = "What follows is older: Brightness, demo-xray, 1 picture. Changed since: "
    assert f"{older}the settings of the probe." in words(app)
    assert re.search(r"passes through the network, about \d+ s\.", plain_words(app)), "the model's speed is known"
    app.number_input(key="seed").set_value(3)
    assert f"{older}the settings of the probe, the seed." in words(settled(app))
    app.number_input(key="seed").set_value(0)
    app.selectbox(key="probe of camera").set_value("blur")
    assert f"{older}the probe." in words(settled(app))
    app.selectbox(key="probe of camera").set_value("brightness")
    app = settled(app)
    assert said in plain_words(app)
    assert len(findings(app)) == 1
    app.slider(key="probe brightness.strongest").set_value(0.4)
    app = settled(app)
    assert "What follows is older" not in words(app)
    assert said in plain_words(app)
    assert "probe" not in [button.key for button in app.button], "it is answered"


def test_the_address_brings_the_whole_question_back(probes: Opener) -> None:
    asked = {
        "sample": SAMPLE,
        "model": ["demo-xray", "demo-xray-shortcut"],
        "probe": "contrast",
        "probe.steps": "3",
        "method": ["saliency", "grad_cam"],
        "target": "1",
        "seed": "7",
    }
    app = probes(**asked)
    assert not app.error
    for key, value in asked.items():
        there = app.query_params[key]
        assert (there if len(there) > 1 or isinstance(value, list) else there[0]) == value, key
    app = probe(app)
    ends = [one.tables["doses"].lines()[-1] for one in findings(app)]
    assert [one.model["name"] for one in findings(app)] == asked["model"]
    assert all(one.probe == {**xai.PROBES["contrast"]().to_dict(), "steps": 3} for one in findings(app))
    assert [end["dose"] for end in ends] == pytest.approx([0.8, 0.8])
    assert [one.seed for one in findings(app)] == [7, 7]


def test_what_a_link_asks_and_is_not_on_offer_is_said(probes: Opener) -> None:
    for query, sentence in (
        ({"probe": "britghness"}, "Did you mean 'brightness'?"),
        ({"probe": "brightness", "probe.strongest": "7"}, "is not allowed; choose from -0.9 to 0.9"),
        ({"probe": "brightness", "probe.nonsense": "7"}, "has no setting 'nonsense'"),
    ):
        app = probes(sample=SAMPLE, model="demo-xray", **query)
        assert sentence in words(app)
        assert not app.exception
        assert app.button(key="probe").label == "Probe 1 picture"


def test_without_a_method_the_prediction_alone_is_measured(probes: Opener) -> None:
    app = probes(sample=SAMPLE, model="demo-xray", probe="gamma", maps="false")
    assert "asks about predictions alone" in words(app)
    [one] = findings(probe(app))
    assert one.methods == ()
    assert all(frame.values is None for frame in one.frames)
    assert one.passes.backward == 0


def test_two_models_stand_side_by_side_and_the_same_one_twice_is_refused(probes: Opener) -> None:
    app = probes(sample=SAMPLE, model=["demo-xray", "demo-xray"], probe="brightness")
    assert "the same network" in words(app)
    app = probes(sample=SAMPLE, model=["demo-xray", "demo-xray-shortcut"], probe="brightness", **{"probe.steps": "2"})
    app = probe(app)
    assert [one.value for one in app.subheader] == ["demo\\-xray", "demo\\-xray\\-shortcut"]
    assert buttons_that_save(app) == ["Save record of demo-xray", "Save record of demo-xray-shortcut"]
    assert not app.exception


def test_a_class_that_the_second_model_lacks_is_said(probes: Opener) -> None:
    app = probes(sample=SAMPLE, model=["demo-xray", "demo-face"], probe="brightness", target="1")
    assert "demo-face has no class simple fracture" in words(app)


# ---- parts of a picture ----------------------------------------------------------------------------------------------


def test_a_part_that_the_data_mark_is_shown_with_who_says_so(probes: Opener) -> None:
    app = probes(sample=FACE, model="demo-face", probe="eye_bar", **{"probe.steps": "2"})
    assert "Eyes: marked in the data." in plain_words(app)
    [one] = findings(probe(app))
    assert one.frames[-1].region is not None
    assert one.frames[-1].region.any()


def test_no_face_is_said_and_the_box_that_is_given_is_where_the_probe_works(probes: Opener) -> None:
    app = drop(probes(model="demo-face", probe="eye_bar"), ("grey.png", png(90, 64, texture=True)))
    assert "No face was found in this picture. Draw a box around the face" in words(app)
    visitor = app.session_state["session"]
    key = f"{visitor.chosen} face"
    visitor.probing.boxes[key] = 10.0, 4.0, 50.0, 60.0  # as the component gives it
    app = settled(app)
    assert "placed by proportions in a face drawn by hand" in words(app)
    [one] = findings(probe(app))
    assert one.pictures == (visitor.chosen,)
    rows, columns = np.nonzero((one.frames[-1].pixels == 0).all(axis=2))
    side = one.frames[-1].pixels.shape[0] / 64
    assert 4 * side < rows.mean() < 36 * side, "the eyes are in the upper half of the face"
    assert abs(columns.mean() - 30 * side) < 3 * side
    visitor.probing.boxes.clear()
    app = settled(app)
    assert "What follows is older: Bar over the eyes, demo-face, 1 picture. Changed since: the box." in words(app)
    assert "No face was found in this picture." in words(app)
    app = click(app, "probe")
    assert not app.exception
    assert "No face was found" in "".join(error.value for error in app.error)
    assert "Try again" not in [button.label for button in app.button], "the same picture has no face then either"


# ---- sets ------------------------------------------------------------------------------------------------------------


def test_boxes_of_uploads_are_used_where_several_are_probed(probes: Opener) -> None:
    app = drop(probes(model="demo-face", probe="eye_bar"), *((f"{n}.png", png(n, 64, texture=True)) for n in range(2)))
    app.session_state["probed pictures"] = "uploads"
    assert "No box can be drawn here." in plain_words(settled(app))
    visitor = app.session_state["session"]
    first = next(iter(visitor.pictures))
    visitor.probing.boxes[f"{first} face"] = 10.0, 4.0, 50.0, 60.0
    app = settled(app)
    assert "Boxes that you drew under This picture go before that: 1 upload of 2 has one." in plain_words(app)
    [one] = findings(probe(app))
    assert one.pictures == (first,), "there is no face in the other"


def test_a_probe_that_compares_pictures_is_not_begun_on_one(probes: Opener) -> None:
    app = probes(sample=SAMPLE, model="demo-xray", probe="shortcut")
    fewest = xai.PROBES["shortcut"].fewest
    assert f"it needs {fewest} or more, and there is 1. Choose more above" in words(app)
    assert app.button(key="probe").disabled


def test_columns_are_offered_that_say_something_and_too_few_of_a_group_are_a_sentence(probes: Opener) -> None:
    app = probes(sample=FACE, model="demo-face", probe="groups", **{"from": "samples"})
    assert app.selectbox(key="probe of groups").options[0] == "Groups"
    column = app.selectbox(key="probe groups.column")
    assert "skin_tone" in column.options
    assert "collimated" not in column.options, "no face has one"
    assert column.value != "family", "it has one value"
    reference = app.selectbox(key="probe groups.reference")
    assert len(reference.options) > 2
    positive = app.selectbox(key="probe groups.positive")
    assert set(positive.options[1:]) == set(xai.load_model("demo-face").labels)
    assert "probe groups.threshold" not in [one.key for one in app.slider]
    positive.set_value("happy")
    app = settled(app)
    assert "At 0, happy counts as predicted where it is the most probable class" in words(app)
    app.slider(key="probe groups.threshold").set_value(0.25)
    app = settled(app)
    assert "happy counts as predicted where its probability is 25 % or more" in words(app)
    app.selectbox(key="probe groups.positive").set_value("")
    app = settled(app)
    for value, sentence in (
        ("skin_tone", "Too few pictures by skin_tone"),
        ("family", "has one value for all pictures"),
    ):
        app.selectbox(key="probe groups.column").set_value(value)
        app = click(settled(app), "probe")
        assert sentence in words(app)
        assert not app.exception
        assert app.session_state["session"].sample == FACE


def test_the_reference_is_chosen_among_the_groups_that_the_probe_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    from pages.shared import probe_form
    from pages.shared.probe_pictures import Pictures
    from xai_core.records import Case

    said = ["male", "Male", "NA", "female", "female", "", "unknown"]
    cases = [Case(f"{n}.png", bytes, groups={"sex": sex, "age": f"{5 * n}"}) for n, sex in enumerate(said * 3)]
    pictures = Pictures(cases, [], "", ("sex", "age"))
    offered: list[str] = []
    kept: dict[str, Any] = {}
    monkeypatch.setattr("streamlit.selectbox", lambda _, options, **more: offered.extend(options) or kept[more["key"]])
    monkeypatch.setattr(probe_form.state, "value", kept.get)
    monkeypatch.setattr(probe_form.state, "put", kept.__setitem__)
    field = next(one for one in settings(xai.PROBES["groups"]) if one.name == "reference")

    def reference(column: str, bands: str, given: str) -> tuple[list[str], str]:
        offered.clear()
        kept["it"] = given
        chosen = probe_form._reference("it", field, pictures, column, bands)
        return list(offered), chosen

    assert reference("sex", "", "MALE") == (["", "Male", "female"], "Male")
    assert reference("sex", "", "NA") == (["", "Male", "female"], "")
    assert reference("age", "50", "35") == (["", "under 50", "50 and over"], "under 50")
    assert reference("sex", "50", "male") == ([""], "")


def test_the_first_column_that_makes_groups_is_chosen_first() -> None:
    from pages.shared.probe_form import _columns
    from pages.shared.probe_pictures import Pictures
    from xai_core.records import Case

    cases = [
        Case(
            f"{n}.png",
            bytes,
            groups={"file_id": str(n), "site": "oO"[n % 2], "sex": "fm"[n % 2], "empty": ["", "NA", "unknown", "?"][n]},
        )
        for n in range(4)
    ]
    assert _columns(Pictures(cases, [], "", ("file_id", "site", "empty", "sex"))) == ["sex", "file_id", "site"]


def test_a_model_that_does_not_know_the_labels_is_said_and_asked_all_the_same(probes: Opener) -> None:
    app = probes(model="demo-face", probe="brightness", **{"from": "set", "probe.steps": "2", "maps": "false"})
    assert app.selectbox(key="probe family").value == "face", "the samples that fit the model"
    assert "none of the labels" not in words(app)
    app.selectbox(key="probe family").set_value("xray")
    app = settled(app)
    assert "demo-face has none of the labels of X-rays (synthetic)" in words(app)
    assert "What is probed all the same is what it predicts" in words(app)
    assert not app.button(key="probe").disabled
    app.selectbox(key="model").set_value("demo-xray")
    app = settled(app)
    assert "none of the labels" not in words(app)
    app.selectbox(key="model").set_value("demo-face")
    assert settled(app).selectbox(key="probe family").value == "xray", "the person chose it"


def test_uploads_have_no_columns_and_that_is_said(probes: Opener) -> None:
    app = drop(probes(model="demo-face", probe="groups"), *((f"{n}.png", png(n, 64, texture=True)) for n in range(12)))
    app.session_state["probed pictures"] = "uploads"
    app = settled(app)
    assert "12 pictures" in words(app)
    assert "needs a column to group by, and these pictures have none" in words(app)
    assert app.button(key="probe").disabled


def test_groups_of_a_labelled_set_are_compared_from_a_zip(probes: Opener, tmp_path: Path) -> None:
    app = probes(model="demo-xray", probe="groups", **{"from": "set", "probe.smallest": "5", "maps": "false"})
    app.session_state["probe source"] = "files"
    app = settled(app)
    out, lines = io.BytesIO(), ["file,label,site"]
    shown = [one for one in samples.samples().values() if one.family == "xray"]
    with zipfile.ZipFile(out, "w") as archive:
        for number, one in enumerate(shown):
            archive.write(one.path, one.path.name)
            lines.append(f"{one.path.name},{one.path.name.split('_')[1]},<b>{'north' if number % 2 else 'south'}</b>")
        archive.writestr(
            "labels.csv",
            "\n".join(lines).replace(",simple,", ",simple fracture,").replace(",comminuted,", ",comminuted fracture,"),
        )
    [uploader] = [one for one in app.file_uploader if one.key and one.key.startswith("probe upload")]
    uploader.set_value([("set.zip", out.getvalue(), "application/zip")])
    app = settled(app)
    assert f"{len(shown)} pictures" in plain_words(app)
    assert app.selectbox(key="probe groups.column").options == ["site"]
    app = probe(app)
    [made] = findings(app)
    assert {line["group"] for line in made.tables["rates"].lines()} == {"<b>north</b>", "<b>south</b>"}
    raw = "".join(str(element.value) for kind in (app.markdown, app.caption) for element in kind)
    assert "north" in raw
    assert not re.search(r"(?<!\\)<b>", raw), "text from outside is never markup"


def test_an_audited_set_is_had_again_and_what_is_known_of_it_is_not_asked_again(
    probes: Opener, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xai_core.cases import read_cases

    data = tmp_set(store.parent / "data")
    (store / "audits").mkdir(parents=True)
    xai.audit(read_cases(data), ["demo-xray"], ["grad_cam"], [], out=store / "audits" / "first", store=None)
    app = probes(model="demo-xray", probe="brightness", **{"from": "audited", "probe.steps": "2"})
    assert not app.error, words(app)
    assert "3 pictures" in plain_words(app)
    app = probe(app)
    [one] = findings(app)
    assert len(one.pictures) == 3
    fresh = xai.probe(xai.load_model("demo-xray"), data, {"name": "brightness", "steps": 2}, "grad_cam")
    assert one.passes.backward == fresh.passes.backward - 3, "the maps of the originals were known"
    assert one.tables["doses"] == fresh.tables["doses"]
    (data / "labels.csv").unlink()
    for file in data.glob("*.png"):
        file.unlink()
    app = probes(model="demo-xray", probe="brightness", **{"from": "audited"})
    assert not app.exception
    assert "has no picture" in words(app)


def tmp_set(folder: Path) -> Path:
    folder.mkdir(parents=True)
    names = [f"xray_{kind}_1.png" for kind in ("normal", "simple_fracture", "comminuted_fracture")]
    for name in names:
        (folder / name).write_bytes((samples.FOLDER / name).read_bytes())
    lines = [f"{name},{name[5:-6].replace('_', ' ')}" for name in names]
    (folder / "labels.csv").write_text("\n".join(["file,label", *lines]) + "\n")
    return folder


# ---- asked again -----------------------------------------------------------------------------------------------------

TWO_PAGES = """
import streamlit as st
from pages import bias_probes, manifests
from pages.shared import errors
with errors.shown():
    (bias_probes if st.session_state.get("probing") else manifests).page()
"""


def asked_again(store: Path, pictures: Sequence[str], app: AppTest | None = None, **changes: Any) -> AppTest:
    """A finding without maps is saved, and opened in Bias probes."""
    model, asked = xai.load_model("demo-xray"), xai.PROBES.build({"name": "brightness", "steps": 2}).to_dict()
    made = replace(findings_made.dose_finding(methods=()), model=model.identity, probe=asked, methods=())
    saved = xai.save(replace(made, pictures=tuple(pictures), **changes), store / f"of {len(list(store.iterdir()))}")
    app = app or AppTest.from_string(TWO_PAGES, default_timeout=300)
    app.session_state["probing"] = False
    app.query_params["record"] = saved.name
    if "session" in app.session_state:
        app.session_state["session"].opened = saved.name
    click(app.run(), "restore")
    app.session_state["probing"] = True
    return settled(app)


def test_a_record_is_asked_again_with_its_class_and_its_pictures_where_they_are_here(store: Path) -> None:
    store.mkdir()
    samples_of = {one.key: hashlib.sha256(one.path.read_bytes()).hexdigest() for one in samples.samples().values()}
    shown = [sha256 for key, sha256 in samples_of.items() if samples.samples()[key].family == "xray"]
    boxes = {shown[0]: (1.0, 2.0, 30.0, 40.0)}
    app = asked_again(store, shown, target=xai.Target(2, "comminuted fracture"), seed=3, boxes=boxes)
    assert not app.error, words(app)
    assert app.session_state["session"].probing.boxes == {f"{shown[0]} face": boxes[shown[0]]}
    assert app.radio(key="probed pictures").value == "set"
    assert app.selectbox(key="probe family").value == "xray"
    assert app.selectbox(key="target demo-xray").value == 2
    assert f"All its {len(shown)} pictures are here." in words(app)
    assert "Otherwise than in the record" not in words(app)
    app.number_input(key="seed").set_value(5)
    app.selectbox(key="target demo-xray").set_value(1)
    app = settled(app)
    assert "Otherwise than in the record: the target class (it was comminuted fracture); the seed (it was 3)." in words(
        app
    )
    app = click(app, "as the record")
    assert "Otherwise than in the record" not in words(app)
    assert (app.number_input(key="seed").value, app.selectbox(key="target demo-xray").value) == (3, 2)
    app.selectbox(key="probe family").set_value("face")
    app = settled(app)
    assert f"None of its {len(shown)} pictures is here. Choose them above." in words(app)
    # Another record, of the class that is predicted, and of one picture too many.
    app = asked_again(store, [*shown[:-1], "ab" * 32], app)
    assert app.selectbox(key="target demo-xray").value == -1
    app.selectbox(key="probe family").set_value("xray")
    app = settled(app)
    assert f"1 of its {len(shown)} pictures are missing here, those with SHA-256 abababab…." in words(app)
    app = click(app, "put the record away")
    assert "Asked again from a saved record" not in words(app)


def test_a_record_of_uploads_finds_them_and_a_set_that_is_not_here_is_asked_for(store: Path) -> None:
    store.mkdir()
    app = AppTest.from_string(TWO_PAGES, default_timeout=300)
    app.session_state["probing"] = True
    app = drop(app.run(), *((f"{n}.png", png(n, 64, texture=True)) for n in range(3)))
    kept = list(app.session_state["session"].pictures)
    app = asked_again(store, kept[:2], app)
    assert app.radio(key="probed pictures").value == "uploads"
    assert "All its 2 pictures are here. 1 other beside them" in words(app)
    app.session_state["probe source"] = "files"
    app = asked_again(store, ["ab" * 32, "cd" * 32], app)
    assert app.radio(key="probed pictures").value == "set"
    assert "The record is of 2 pictures. Give them here to ask again." in words(app)
    assert "probe" not in [button.key for button in app.button]


# ---- work ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Probes begin, say how far they are, and wait until they are cancelled."""
    from xai_core.errors import Cancelled

    begun = threading.Event()

    def slow(*_: Any, progress: Any, cancel: threading.Event, **__: Any) -> Finding:
        progress(3, 9)
        begun.set()
        cancel.wait(20)
        raise Cancelled

    monkeypatch.setattr("xai_core.probing.probe", slow)
    return begun


def test_work_is_watched_and_cancelled_and_begun_again(
    probes: Opener, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = probes(sample=SAMPLE, model="demo-xray", probe="brightness")
    app.button(key="probe").click().run()
    assert held.wait(20)
    app.run()
    [bar] = [one.proto.text for one in app.get("progress") if "passes" in one.proto.text]
    assert "3 of 9 passes" in bar
    app.button(key="cancel findings").click()
    app = settled(app)
    assert "Cancelled. Nothing of it was kept." in words(app)
    assert app.button(key="probe").label == "Probe 1 picture"
    assert "About" in words(app)
    assert "Run" not in [button.label for button in app.button]
    assert not findings(app)
    monkeypatch.undo()
    app = click(app, "probe")
    assert len(findings(app)) == 1
    assert "Cancelled" not in words(app)


def test_another_model_stops_the_run_which_is_said_until_the_next(
    probes: Opener, held: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = probes(sample=SAMPLE, model="demo-xray", probe="brightness", **{"probe.steps": "2"})
    app.button(key="probe").click().run()
    assert held.wait(20)
    app.selectbox(key="model").set_value("demo-xray-shortcut")
    app = settled(app)
    assert "The question changed, so the probe that was going was stopped." in words(app)
    assert "Cancelled" not in words(app)
    monkeypatch.undo()
    app = click(app, "probe")
    [one] = findings(app)
    assert one.model["name"] == "demo-xray-shortcut"
    assert "was stopped" not in words(app)


def test_one_pass_is_one_pass(probes: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_core.probing.cost", lambda *_: 1)
    app = probes(sample=SAMPLE, model="demo-xray", probe="brightness")
    assert "About 1 pass through the network." in plain_words(app)


def test_a_name_that_no_model_has_leaves_the_one_before(probes: Opener) -> None:
    app = probes(sample=SAMPLE, model="demo-xray", probe="brightness")
    for name in ("-b", "demo-xrya"):
        app.session_state["session"].pending = Question(models=(Network(name),))  # no new option can be typed here
        app = settled(app)
        assert not app.exception
        assert "demo-xray was kept." in words(app)
        assert app.selectbox(key="model").value == "demo-xray"
        assert app.button(key="probe").label == "Probe 1 picture", "picture and probe stay"
    app.selectbox(key="model").set_value("resnet18")
    app = settled(app)
    assert app.selectbox(key="model").value == "resnet18", "it has a name, and weights can be drawn"
    assert app.toggle(key="random").label == "Random weights"


def test_a_mistake_of_ours_is_a_numbered_incident(
    probes: Opener, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> Finding:
        raise ZeroDivisionError("a secret path")

    monkeypatch.setattr("xai_core.probing.probe", broken)
    app = click(probes(sample=SAMPLE, model="demo-xray", probe="brightness"), "probe")
    assert "incident" in words(app)
    assert "secret" not in words(app)
    assert "a secret path" in caplog.text


# ---- side by side ----------------------------------------------------------------------------------------------------


def test_charts_side_by_side_have_their_axes_in_common() -> None:
    from pages.shared.probe_plots import chart

    groups = findings_made.GROUPS
    narrow = findings_made.group_finding(groups)
    wide = findings_made.group_finding([(name, n, e if e is None or not p else e + 0.5) for p, (name, n, e) in
                                        enumerate(groups)])  # fmt: skip
    alone = [[one.figure.layout.xaxis.range for one in chart(finding)] for finding in (narrow, wide)]
    beside = [chart(narrow, None, [wide]), chart(wide, None, [narrow])]
    assert len(alone[0]) == len(beside[0]) > 3
    moved = 0
    for left, right, low, high in zip(*beside, *alone, strict=True):
        assert left.title == right.title
        assert left.figure.layout.xaxis.range == right.figure.layout.xaxis.range, left.title
        assert left.figure.layout.xaxis.range == (min(low[0], high[0]), max(low[1], high[1])), left.title
        moved += low != high
    assert moved, "each on its own, they differ"
    falls, rises = findings_made.dose_finding(), findings_made.dose_finding()
    lines = rises.tables["doses"].lines()
    lines[-2] |= {"rank_correlation": -0.5, "rank_correlation_low": -0.9, "rank_correlation_high": -0.1}
    doses = Table.of("Dose and response", dict(rises.tables["doses"].words), lines)
    rises = replace(rises, tables={**rises.tables, "doses": doses})
    assert chart(falls)[-1].figure.layout.yaxis.range != chart(rises)[-1].figure.layout.yaxis.range
    for left, right in zip(chart(falls, None, [rises]), chart(rises, None, [falls]), strict=True):
        assert left.figure.layout.xaxis.range == right.figure.layout.xaxis.range
        assert left.figure.layout.yaxis.range == right.figure.layout.yaxis.range is not None


def test_words_of_a_forest_stand_above_its_bars_however_few_rows_there_are() -> None:
    from pages.shared.probe_plots import POINT, STEP, chart

    for count in (2, 4):
        figure = chart(findings_made.group_finding(findings_made.GROUPS[:count]))[0].figure
        assert figure.layout.height - figure.layout.margin.t - figure.layout.margin.b == figure.layout.yaxis.range[0]
        bars = [one.y0 for one in figure.layout.shapes if one.type == "line"]
        names = [one for one in figure.layout.annotations if one.yref != "paper"]
        for name, top in zip(names, bars, strict=True):
            assert name.y + STEP * (1 + name.text.count("<br>")) < top < name.y + STEP * 4 + POINT


def test_two_findings_are_drawn_line_by_line_with_the_name_of_each_model(store: Path) -> None:
    one = findings_made.group_finding()
    other = replace(one, model={**one.model, "name": "other"})
    app = drawn(one, other)
    assert not app.exception
    said = [element.value for element in app.markdown if element.value.startswith("**Differences in rates")]
    assert [text.rpartition(" · ")[2] for text in said] == ["demo\\-xray\\-shortcut", "other"]
    assert [box.label for box in app.expander].count("Rates of each group") == 1


# ---- what is shown and taken away ------------------------------------------------------------------------------------

DRAW = """
import streamlit as st
from pages.shared import errors, probe_result
from pages.shared.state import session
with errors.shown():
    probe_result.draw(session(), st.session_state["shown"])
"""


def drawn(*shown: Finding, names: tuple[str, ...] = ()) -> AppTest:
    app = AppTest.from_string(DRAW, default_timeout=300)
    app.session_state["shown"] = [Probed(one, names) for one in shown]
    for one in shown:
        for name in one.tables:
            app.session_state[f"table 0 {name}"] = True
    return app.run()


MADE = (
    findings_made.dose_finding,
    findings_made.group_finding,
    findings_made.shortcut_finding,
    findings_made.background_finding,
)


@pytest.mark.parametrize("made", MADE, ids=lambda one: one.__name__)
def test_every_kind_of_finding_is_drawn_whatever_stands_in_it(made: Any, store: Path) -> None:
    one = made()
    app = drawn(one)
    assert not app.exception
    assert not app.error
    assert len(app.dataframe) == sum(bool(table.rows) for table in one.tables.values())
    assert "[link](javascript" not in "".join(str(element.value) for element in app.markdown)


@pytest.mark.parametrize(("count", "seen"), [(4, 4), (5, 3), (9, 3)])
def test_of_many_sentences_the_first_stand_before_the_others(count: int, seen: int, store: Path) -> None:
    said = [f"Sentence number {number}." for number in range(1, count + 1)]
    one = findings_made.finding("dose", "brightness", said, findings_made.dose_finding().tables)
    app = drawn(one)
    behind = [box for box in app.expander if box.label.startswith("More of what was found")]
    assert [box.label for box in behind] == [f"More of what was found · {count - 3}"] * (count > 4)
    hidden = "".join(str(element.value) for box in behind for element in box.markdown)
    assert [sentence in hidden for sentence in said] == [False] * seen + [True] * (count - seen)
    assert all(sentence in words(app) for sentence in said)


def test_the_rates_of_each_group_stand_behind_their_differences(store: Path) -> None:
    app = drawn(findings_made.group_finding())
    assert "Rates of each group" in [box.label for box in app.expander]
    assert "of each group**" not in words(app)
    shown = len(app.get("plotly_chart"))
    app.session_state["rates 0"] = True
    app = app.run()
    assert "of each group**" in words(app)
    assert len(app.get("plotly_chart")) > shown


def test_a_table_has_each_interval_in_one_column_and_names_that_are_never_saved(store: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"picture": 2, "share": 0.25, "share_low": -0.5, "share_high": 1.0, "p": 0.25, "n": 3},
        {"picture": 1, "n": 0},
    ]
    told = {"picture": "Picture", "sha256": "SHA-256", "share": "Share", "share_low": "low", "share_high": "high"}
    table = Table.of("Shares", {**told, "p": "p", "n": "Pictures"}, rows)
    one = findings_made.finding(
        "dose",
        "brightness",
        ["Nothing."],
        {**findings_made.dose_finding().tables, "shares": table},
        left_out=("Picture 1: broken *file*.",),
    )
    app = drawn(one, names=("<b>one</b>.png", "two.png"))
    [shown] = [element.value for element in app.dataframe if "share" in element.value]
    assert list(shown.columns) == ["picture", "file", "share", "share interval", "p", "n"]
    assert shown["file"].tolist() == ["two.png", "<b>one</b>.png"]
    assert shown["share interval"].tolist()[0] == "−0.5 to 1"
    assert shown["share interval"].isna().tolist() == [False, True]
    assert "Picture 1 (<b>one</b>.png): broken *file*." in words(app)
    assert "\\<b\\>one" in "".join(str(element.value) for element in app.markdown)
    assert "two.png" not in probe_takeaway._csv(one, "shares")
    assert probe_takeaway._csv(one, "shares") == csv_text(table.lines(), tuple(table.words))


def test_a_finding_is_saved_as_a_record_that_verifies_and_never_holds_a_name(probes: Opener, store: Path) -> None:
    app = drop(
        probes(model="demo-face", probe="brightness", **{"probe.steps": "2"}),
        ("Ada Lovelace.png", png(90, 64, texture=True)),
    )
    app = probe(app)
    app.text_area(key="note 0 0").set_value("seen twice").run()
    assert buttons_that_save(app) == ["Save record"]
    app = click(app, "save 0")
    saved = app.session_state["session"].saved
    assert saved, words(app)
    assert "Saved as" in words(app)
    assert xai.verify(store / saved).ok
    opened = xai.open_record(store / saved)
    [one] = findings(app)
    assert isinstance(opened, Finding)
    assert opened.note == "seen twice"
    assert opened.sentences == one.sentences
    reopened = _opener("manifests")(record=saved)
    assert not reopened.error
    assert not reopened.exception
    assert one.sentences[0] in plain_words(reopened)
    assert not [file for file in (store / saved).rglob("*") if file.is_file() and b"Lovelace" in file.read_bytes()]


def test_everything_is_taken_away_as_zip_csv_json_and_png(store: Path) -> None:
    import json

    one = findings_made.dose_finding(pictures=3)
    with zipfile.ZipFile(io.BytesIO(probe_takeaway._record(one))) as archive:
        names = [name.rpartition("/")[2] for name in archive.namelist()]
    assert {"manifest.json", "doses.csv", "flips.csv", "finding.json"} <= set(names)
    assert json.loads(probe_takeaway._json(one))["sentences"] == list(one.sentences)
    figures = probe_takeaway._figures(one)
    assert {"chart", "filmstrip"} <= set(figures)
    assert probe_takeaway._png(figures["chart"])[:4] == b"\x89PNG"
    assert probe_result.HELP.keys() >= {"null", "detectable", "p_adjusted", "flip_rate"}
