"""The page of records: searched, saved with verdicts and names, recomputed, compared, imported, deleted."""

from __future__ import annotations

import io
import json
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

import xai_core as xai
from pages import manifests as manifests_page
from pages.shared import cached, jobs, record_compare, record_verify, state, takeaway, viewer
from pages.shared.state import Session
from tests.conftest import ROOT
from tests.pages.conftest import Opener, drop, png, settled, words
from tests.records_made import saved, written
from tests.test_images import dicom
from xai_core import chain, seal
from xai_core.errors import ModelError
from xai_core.records import Check, Evidence, Explanation, Passes, Record, Sheet, Table
from xai_core.store import zip_record

SAMPLES = ROOT / "assets" / "samples"
WEIGHED = Evidence("weak", (Check("sane", False, "It is not.", 0.1, 0.5),), 3, Passes(12))


@pytest.fixture(scope="module")
def made() -> Record:
    """Two maps of a sample by the X-ray model, one of them weighed."""
    model, image = xai.load_model("demo-xray"), xai.read_image(SAMPLES / "xray_simple_fracture_1.png")
    [maps] = xai.explain_many(model, [image], ["grad_cam", "saliency"])
    evidence = (WEIGHED, None)
    return Record(tuple(maps), (xai.predict(model, image),), image.source, evidence=evidence, reviewer="Ada *B.*")


@pytest.fixture(scope="module")
def of_upload() -> Record:
    """A map of a picture that is no sample."""
    model, image = xai.load_model("demo-xray"), xai.read_image(png(7, texture=True))
    return Record((xai.explain(model, image, "grad_cam"),), (), image.source, upload=png(7, texture=True))


def put(record: Record, store: Path, name: str) -> Path:
    store.mkdir(exist_ok=True)
    return xai.save(record, store / name)


def uploader(app: AppTest, label: str):
    [found] = [one for one in app.file_uploader if one.label.startswith(label)]
    return found


def tick(app: AppTest, label: str) -> AppTest:
    """Tick what is off."""
    [box] = [one for one in app.checkbox if one.label == label]
    assert not box.value
    box.check()
    return settled(app)


def reopened(store: Path) -> list[Record]:
    names = chain.record_names(store)
    return [xai.open_record(store / name) for name in sorted(names)]


# ---- the list ------------------------------------------------------------------------------------------------------


@pytest.fixture
def listed(store: Path) -> Path:
    first = {"model": "resnet18", "method": "lime", "reviewer": "Ada B.", "created": "2026-01-31T10:00:00.0Z"}
    written(store, "first", **first)
    written(store, "second", verdict="weak", created="2026-02-01T10:00:00.0Z")
    written(store, "third", picture="cd" * 32, verdict="supported", created="2026-03-05T10:00:00.0Z")
    saved(store, "tables")
    (written(store, "broken") / seal.MANIFEST).write_bytes(b"{}")
    return store


def shown(app: AppTest) -> list[str]:
    """The records in the list, in their order."""
    keys = [str(button.key) for button in app.button]
    return [key.removeprefix("open ") for key in keys if key.startswith("open ")]


@pytest.mark.parametrize(
    ("key", "value", "found"),
    [
        ("records model", "resnet18", ["first"]),
        ("records method", "lime", ["first"]),
        ("records verdict", "weak", ["second"]),
        ("records kind", "scores", ["tables"]),
        ("records reviewer", "Ada B.", ["first"]),
    ],
)
def test_each_filter_finds_what_it_says(manifests: Opener, listed: Path, key: str, value: str, found: list[str]):
    app = manifests()
    assert shown(app) == ["tables", "third", "second", "first"]  # the newest first, what is broken cannot be opened
    app.selectbox(key=key).set_value(value)
    app = settled(app)
    assert shown(app) == found
    assert "1 of 5 records" in words(app)
    assert "1 of them cannot be read" in words(app)
    app.button(key="clear filters").click()
    assert len(shown(settled(app))) == 4


def test_dates_pictures_and_words_are_filters_too(manifests: Opener, listed: Path):
    import datetime

    app = manifests()
    app.date_input(key="records from").set_value(datetime.date(2026, 2, 1))
    app.date_input(key="records to").set_value(datetime.date(2026, 3, 5))
    assert shown(settled(app)) == ["third", "second"]
    app.text_input(key="records picture").set_value("cdcd")
    assert shown(settled(app)) == ["third"]
    app.text_input(key="filter").set_value("lime")
    assert "No record matches" in words(settled(app))


def test_the_picture_that_is_looked_at_is_one_click_away(manifests: Opener, store: Path, made: Record):
    put(made, store, "first")
    written(store, "other")
    app = manifests()
    assert not [one for one in app.button if one.key == "this picture"]
    app.session_state["session"].sample = "xray_simple_fracture_1"
    app.run()
    app.button(key="this picture").click()
    assert shown(settled(app)) == ["first"]


def test_of_many_records_one_page_is_drawn(manifests: Opener, store: Path):
    for number in range(23):
        written(store, f"r{number:02}", created=f"2026-03-01T10:{number:02}:00.0Z")
    app = manifests()
    assert shown(app) == [f"r{number}" for number in range(22, 12, -1)]
    assert "23 records" in words(app)


def test_the_chain_is_checked_when_that_is_asked(manifests: Opener, store: Path):
    store.mkdir()
    for name in ("first", "second", "third"):
        saved(store, name)
    app = manifests()
    assert "Unbroken" not in words(app)
    app.button(key="check the chain").click()
    assert "Unbroken: each of 3 records" in words(settled(app))
    shutil.rmtree(store / "second")
    app.button(key="check the chain").click()
    said = words(settled(app))
    assert "is broken" in said
    assert "Number 2 is missing" in said


def test_checking_the_chain_says_how_far_it_is_and_can_be_cancelled(
    manifests: Opener, store: Path, monkeypatch: pytest.MonkeyPatch
):
    store.mkdir()
    for name in ("first", "second", "third"):
        saved(store, name)
    real = chain.read_manifest
    held = threading.Event()

    def waits(folder: Path) -> Any:
        if folder.name != "first":
            held.wait(60)
        return real(folder)

    monkeypatch.setattr(chain, "read_manifest", waits)
    app = manifests()
    app.button(key="check the chain").click().run()
    assert app.button(key="check the chain").disabled
    [bar] = app.get("progress")
    assert (bar.proto.text, bar.proto.value) == ("The chain: 1 of 3 records read", 33)
    app.button(key="cancel checking").click().run()
    held.set()
    said = words(settled(app))
    assert "Checking the chain was cancelled. Whether it is whole is not known." in said
    assert "Unbroken" not in said
    app.button(key="check the chain").click()
    said = words(settled(app))
    assert "Unbroken: each of 3 records" in said
    assert "cancelled" not in said


def test_verifying_many_can_be_cancelled_and_keeps_what_it_found(store: Path):
    store.mkdir()
    folders = {name: saved(store, name) for name in ("one", "two", "three")}
    (folders["one"] / "sheet.json").write_bytes(b"other")
    job = jobs.Verifying({**folders, "gone": store / "gone"})
    job.wait(30)
    assert (job.verified, list(job.wrong), set(job.reports)) == (4, ["one", "gone"], {"one", "two", "three"})
    assert job.wrong["one"] == "sheet.json changed"

    class Impatient(jobs.Verifying):
        def _hear(self, done: int, total: int) -> None:
            super()._hear(done, total)
            self.cancel.set()

    early = Impatient(folders)
    early.wait(30)
    assert (early.verified, early.cancelled) == (1, True)


@pytest.mark.parametrize(
    ("place", "here"),
    [
        ("one", True),
        ("imported/two", True),
        ("", False),
        ("..", False),
        ("../records/one", False),
        ("imported/..", False),
        ("imported/../one", False),
        ("audits", False),
        ("tombstones/x", False),
        ("one/.", False),
        ("link", False),
        ("/etc", False),
        ("a\0b", False),
        (".hidden", False),
    ],
)
def test_an_address_names_a_record_of_the_store_or_nothing(store: Path, place: str, here: bool):
    for name in ("one", "imported/two", "audits", "tombstones/x", ".hidden"):
        (store / name).mkdir(parents=True)
    (store / "link").symlink_to(store / "one")
    assert manifests_page.is_here(store, place) == here


# ---- saving --------------------------------------------------------------------------------------------------------


def test_nothing_private_is_kept_unless_it_is_ticked_and_verdicts_are(
    explain: Opener, store: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("xai_core.evidence.weigh_many", lambda *_, each, **__: each(0, WEIGHED))
    app = drop(explain(model="demo-xray", method="grad_cam", weigh="true"), ("Mrs Miller.png", png(7, texture=True)))
    assert [box.value for box in app.checkbox if str(box.key).startswith("keep ")] == [False, False]
    app.text_input(key="name 0").set_value(" Ada B. ")
    app.button(key="save").click()
    settled(app)
    [record] = reopened(store)
    assert (record.upload, record.name, record.reviewer) == (None, "", "Ada B.")
    assert record.evidence == (WEIGHED,)
    assert b"Miller" not in next(path for path in store.glob("*/manifest.json")).read_bytes()

    assert app.text_input(key="name 1").value == "Ada B."  # asked once
    assert [box.value for box in app.checkbox if str(box.key).startswith("keep ")] == [False, False]
    tick(app, "Keep the picture itself")
    tick(app, "Keep its name")
    app.button(key="save").click()
    settled(app)
    _, record = reopened(store)
    assert (record.upload, record.name) == (png(7, texture=True), "Mrs Miller.png")
    assert (chain.check(store).ok, chain.check(store).length) == (True, 2)


def test_a_name_is_never_invented_and_a_sample_can_travel(explain: Opener, store: Path):
    app = explain(sample="xray_normal_1", model="demo-xray", method="grad_cam")
    tick(app, "Keep the picture itself")
    assert "travels with the record" not in words(app)
    app.button(key="save").click()
    settled(app)
    [record] = reopened(store)
    assert record.reviewer == ""
    assert record.upload == (SAMPLES / "xray_normal_1.png").read_bytes()


def test_who_keeps_a_dicom_file_is_told_first_that_its_header_may_name_the_patient(explain: Opener, store: Path):
    scan = dicom(np.arange(64 * 64, dtype=np.uint16).reshape(64, 64), PatientName="Miller^Mary")
    app = drop(explain(model="demo-xray", method="grad_cam"), ("scan.dcm", scan))
    assert "travels with the record" not in words(app)
    tick(app, "Keep the picture itself")
    [warning] = [one.value for one in app.warning if "travels" in one.value]
    assert "its header may name the patient" in warning
    app.button(key="save").click()
    app = settled(app)
    [record] = reopened(store)
    assert record.upload == scan
    tick(app, "Keep the picture itself")
    app = drop(app, ("other.png", png(7, texture=True)))
    assert "travels with the record" not in words(app)
    assert [box.value for box in app.checkbox if str(box.key).startswith("keep ")] == [False, False]


def test_who_keeps_a_photograph_is_told_first_what_it_may_tell(explain: Opener):
    app = drop(explain(model="demo-xray", method="grad_cam"), ("one.png", png(7, texture=True)))
    tick(app, "Keep the picture itself")
    [warning] = [one.value for one in app.warning if "travels" in one.value]
    assert "when, where and with which camera" in warning


def test_a_picture_that_is_gone_when_it_is_to_be_kept_is_said_and_nothing_is_saved(explain: Opener, store: Path):
    app = drop(explain(model="demo-xray", method="grad_cam"), ("one.png", png(7, texture=True)))
    tick(app, "Keep the picture itself")
    app.session_state["session"].files.clear()
    app.button(key="save").click()
    assert "nothing was saved" in settled(app).error[0].value
    assert not reopened(store)


def test_what_is_saved_is_settled_by_the_click_and_made_in_a_thread(
    explain: Opener, store: Path, monkeypatch: pytest.MonkeyPatch
):
    where, real = [], takeaway.figure_looks

    def looks(explained, looks):
        where.append(threading.current_thread().name)
        if where[-1] == "second-look-job":
            visitor.files.clear()  # whoever drops the picture meanwhile does not change what was asked for
        return real(explained, looks)

    app = drop(explain(model="demo-xray", method="grad_cam"), ("one.png", png(7, texture=True)))
    visitor = app.session_state["session"]
    tick(app, "Keep the picture itself")
    monkeypatch.setattr(takeaway, "figure_looks", looks)
    app.button(key="save").click()
    app = settled(app)
    assert not app.error
    assert where.count("second-look-job") == 1
    assert [record.upload for record in reopened(store)] == [png(7, texture=True)]


def test_a_store_that_cannot_be_written_says_so_and_the_page_stays(
    explain: Opener, store: Path, monkeypatch: pytest.MonkeyPatch
):
    store.write_text("a file where the folder should be")
    app = explain(sample="xray_normal_1", model="demo-xray", method="grad_cam")
    app.button(key="save").click()
    app = settled(app)
    assert [one.value for one in app.error] == [one.value for one in app.error if "cannot be made" in one.value] != []
    store.unlink()
    store.mkdir()
    monkeypatch.setattr("xai_core.manifest.os.access", lambda *_: False)
    app.button(key="dismiss").click()
    app.button(key="save").click()
    assert "you may not write" in settled(app).error[0].value


def test_a_note_is_not_lost_when_saving_fails_and_is_gone_when_it_is_saved(explain: Opener, store: Path):
    def note():
        [field] = app.text_area
        return field

    store.write_text("a file where the folder should be")
    app = explain(sample="xray_normal_1", model="demo-xray", method="grad_cam")
    note().set_value("Ask the *radiologist*.").run()
    app.button(key="save").click()
    app = settled(app)
    assert "cannot be made" in app.error[0].value
    assert note().value == "Ask the *radiologist*."
    store.unlink()
    app.button(key="save").click()
    app = settled(app)
    assert [record.note for record in reopened(store)] == ["Ask the *radiologist*."]
    assert note().value == ""


def test_a_read_only_store_is_listed_from_memory(manifests: Opener, listed: Path, monkeypatch: pytest.MonkeyPatch):
    import sqlite3

    from xai_core import catalogue

    real = sqlite3.connect

    def refuse(place, *args, **settings):
        if place == ":memory:":
            return real(place, *args, **settings)
        raise sqlite3.OperationalError("unable to open database file")

    monkeypatch.setattr(catalogue.sqlite3, "connect", refuse)
    app = manifests()
    assert len(shown(app)) == 4
    assert not app.error


# ---- one record ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["explanation", "comparison", "probe"])
def test_a_record_of_the_first_schema_opens(manifests: Opener, store: Path, kind: str):
    shutil.copytree(ROOT / "tests" / "golden" / "schema_1" / kind, store / "old")
    app = manifests(record="old")
    assert not app.error
    assert not app.exception
    assert "saved before there were chains" in words(app)


def test_tables_open_with_their_sentences_and_every_number(manifests: Opener, store: Path):
    store.mkdir()
    saved(store, "tables", note="a note", rows=2)
    app = manifests(record="tables")
    said = words(app)
    assert "- One." in said
    assert "a note" in said
    assert app.dataframe[0].value.values.tolist() == [["m0", 0.0], ["m1", 0.25]]
    assert not [one for one in app.button if one.key == "begin recomputing"]


@pytest.mark.parametrize("content", ["newer", "foreign"])
def test_what_cannot_be_read_is_one_sentence(manifests: Opener, store: Path, content: str):
    folder = written(store, "odd", **({"schema": 3} if content == "newer" else {}))
    if content == "foreign":
        (folder / seal.MANIFEST).write_text(json.dumps({"hello": "world"}))
    app = manifests(record="odd")
    assert not app.exception
    [error] = app.error
    assert ("reads up to 2" if content == "newer" else "do not match") in error.value
    app.button(key="back").click()
    assert "cannot be read" in words(settled(app))


def forged(folder: Path, **changes: object) -> None:
    """The record with other fields, and a hash that fits."""
    manifest = json.loads((folder / seal.MANIFEST).read_text())
    for key, value in changes.items():
        manifest[key] = value
    (folder / seal.MANIFEST).write_bytes(seal.sealed(manifest))


def recomputed(app: AppTest) -> str:
    app.button(key="begin recomputing").click()
    return words(settled(app))


def test_a_record_says_who_looked_and_where_it_lies_and_is_recomputed_equal(
    manifests: Opener, store: Path, made: Record
):
    put(made, store, "first")
    app = manifests(record="first")
    assert "Reviewer: Ada *B.* · number 1 in the chain · unsigned" in words(app)
    assert "No map was weighed" not in words(app)
    said = recomputed(app)
    assert "Intact: all 11 files" in said
    assert said.count("✓ recomputed equal") == 3
    assert "Recomputed 3 of 3 answers: 3 equal to the byte" in said


def test_a_forged_map_is_recomputed_different(manifests: Opener, store: Path, made: Record):
    import hashlib

    folder = put(made, store, "first")
    out = io.BytesIO()
    np.save(out, made.explanations[0].values[::-1].astype("<f4"), allow_pickle=False)
    (folder / "01_grad_cam.npy").write_bytes(out.getvalue())
    files = json.loads((folder / seal.MANIFEST).read_text())["files"]
    for one in files:
        if one["name"] == "01_grad_cam.npy":
            one["sha256"] = hashlib.sha256(out.getvalue()).hexdigest()
    forged(folder, files=files)
    said = recomputed(manifests(record="first"))
    assert "Intact: all 11 files" in said
    assert said.count("✗ recomputed different") == 1


def test_a_record_whose_model_is_not_here_opens_and_says_so(manifests: Opener, store: Path, made: Record):
    folder = put(made, store, "first")
    manifest = json.loads((folder / seal.MANIFEST).read_text())
    model = {**manifest["model"], "name": "mine", "architecture": "mine", "weights": "a checkpoint"}
    forged(folder, model=model, prediction={**manifest["prediction"], "model": model})
    app = manifests(record="first")
    assert "mine" in words(app)
    said = recomputed(app)
    assert said.count("? cannot be recomputed") == 3
    assert "came from a file" in said
    assert "Open the file of its weights on the page Explain, under Your own weights" in said.replace("*", "")
    assert "--model-checkpoint" not in said
    assert "✓ recomputed equal" not in said


def test_tables_of_several_models_name_all_of_them(manifests: Opener, store: Path):
    store.mkdir()
    about = {"title": "Decisions on first", "models": [{"name": "demo-xray"}, {"name": "b*"}]}
    table = Table("Decisions", {"picture": "Picture"}, (("abc",),))
    xai.save(Sheet("decisions", about, ("One.",), {"decisions": table}), store / "first")
    [heading] = [one.value for one in manifests(record="first").markdown if one.value.startswith("## ")]
    assert heading.replace("\\", "").endswith("Decisions on first &nbsp;·&nbsp; demo-xray, b*")


def test_a_heading_does_not_wait_for_the_libraries_and_tables_need_none(
    manifests: Opener, store: Path, made: Record, monkeypatch: pytest.MonkeyPatch
):
    def never() -> None:
        raise ModelError("They are not loaded yet.")

    monkeypatch.setattr(cached, "load_core", never)
    put(made, store, "maps")
    saved(store, "tables")
    app = manifests(record="maps")
    assert "simple fracture &nbsp;·&nbsp; demo-xray" in words(app)
    assert [one.value for one in app.error] == ["They are not loaded yet."]
    app = manifests(record="tables")
    assert not app.error
    assert len(app.dataframe) == 1


def test_the_picture_is_asked_for_by_its_hash(manifests: Opener, store: Path, of_upload: Record):
    put(replace(of_upload, upload=None), store, "first")
    app = manifests(record="first")
    assert of_upload.file_sha256[:12] in app.info[0].value
    assert app.button(key="begin recomputing").disabled
    uploader(app, "The same picture").set_value([("other.png", png(8), "image/png")])
    app = settled(app)
    assert "is not the picture of the record" in app.error[0].value
    assert not app.session_state["session"].files
    uploader(app, "The same picture").set_value([("renamed.png", png(7, texture=True), "image/png")])
    app = settled(app)
    assert not [one for one in app.file_uploader if one.label.startswith("The same")]
    assert "✓ recomputed equal" in recomputed(app)


def test_the_upload_at_hand_or_the_kept_one_is_taken(manifests: Opener, store: Path, of_upload: Record):
    record = xai.open_record(put(of_upload, store, "kept"))
    bare = xai.open_record(put(replace(of_upload, upload=None), store, "bare"))
    visitor = Session()
    assert record_verify.lacking(visitor, record) == []
    assert record_verify.lacking(visitor, bare) == [of_upload.file_sha256]
    visitor.take(xai.read_image(png(7, texture=True)), png(7, texture=True))
    assert record_verify.lacking(visitor, bare) == []
    assert "✓ recomputed equal" in recomputed(manifests(record="kept"))


def test_recomputing_is_cancelled(store: Path, made: Record):
    folder = put(made, store, "first")

    class Impatient(jobs.Recomputing):
        def _hear(self, done: int, total: int) -> None:
            super()._hear(done, total)
            self.cancel.set()

    visitor = Session(recomputing=Impatient("first", folder, made.models, 3, [], []))
    assert visitor.jobs
    visitor.recomputing.wait(60)
    record_verify.settle(visitor)
    assert visitor.recomputing is None
    assert not visitor.reports
    assert "cancelled" in visitor.settled


def test_a_network_that_is_too_large_for_the_page_is_not_loaded_for_a_record(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cached, "MOST_PARAMETERS", 10)
    with pytest.raises(ModelError, match="resnet18 has"):
        cached.check_recorded({"name": "resnet18", "architecture": "resnet18"})
    cached.check_recorded({"name": "demo-xray", "architecture": "resnet18"})
    cached.check_recorded({"name": "../etc", "architecture": "../etc/passwd"})


# ---- two records ---------------------------------------------------------------------------------------------------


def test_two_records_of_one_picture_stand_side_by_side(
    manifests: Opener, store: Path, made: Record, monkeypatch: pytest.MonkeyPatch
):
    drawn, real = list[list[str]](), viewer.maps

    def draws(maps: Sequence[Explanation], *rest: Any, **more: Any) -> None:
        drawn.append([f"{one.model['name'].partition(',')[0]} {one.method['name']}" for one in maps])
        real(maps, *rest, **more)

    monkeypatch.setattr(viewer, "maps", draws)
    put(made, store, "march")
    model, image = xai.load_model("demo-xray-shortcut"), xai.read_image(SAMPLES / "xray_simple_fracture_1.png")
    map_of_other = xai.explain(model, image, {"name": "grad_cam", "layer": "layer3"}, seed=5)
    put(Record((map_of_other,), (xai.predict(model, image),), image.source), store, "june")
    app = manifests(record="june", **{"with": "march"})
    assert not app.error
    assert not app.exception
    table = {row[0]: tuple(row[1:]) for row in app.dataframe[-1].value.values.tolist()}
    assert table["model name"] == ("demo-xray", "demo-xray-shortcut")  # the earlier one on the left
    assert table["Grad-CAM: layer"] == (made.explanations[0].method["layer"], "layer3")
    assert table["Saliency: made"] == ("yes", "–")
    assert table["Grad-CAM: seed"] == ("0", "5")
    assert table["reviewer"] == ("Ada *B.*", "–")
    assert all(before != after for before, after in table.values())
    [method] = [one for one in app.selectbox if one.label == "Method"]
    assert method.options == ["Grad-CAM", "Saliency"]  # the one that both have comes first
    assert "Where they differ" in words(app)
    assert "Only one of the records has a map by this method" not in words(app)
    app = method.select("Saliency").run()
    assert "Only one of the records has a map by this method, so nothing is subtracted." in words(app)
    assert "Where they differ" not in words(app)
    assert drawn[0] == ["demo-xray grad_cam", "demo-xray-shortcut grad_cam"]  # on one scale, so by one method
    assert drawn[-1] == ["demo-xray saliency"]


def test_a_record_does_not_differ_from_itself(made: Record, store: Path):
    record = xai.open_record(put(made, store, "first"))
    assert record_compare.differences(record, record) == []
    noted = replace(record, note="other")
    assert record_compare.differences(record, noted) == [("note", "–", "other")]


def test_records_of_different_pictures_are_refused_in_a_sentence(
    manifests: Opener, store: Path, made: Record, of_upload: Record
):
    put(made, store, "march")
    put(of_upload, store, "other")
    saved(store, "tables")
    app = manifests(record="march", **{"with": "other"})
    assert "different pictures" in app.error[0].value
    assert "no explanations" in manifests(record="march", **{"with": "tables"}).error[0].value


# ---- from elsewhere, and away --------------------------------------------------------------------------------------


def test_a_zip_is_imported_once_and_opened(manifests: Opener, store: Path, tmp_path: Path, made: Record):
    (tmp_path / "elsewhere").mkdir()
    content = zip_record(xai.save(made, tmp_path / "elsewhere" / "theirs"))
    app = manifests()
    uploader(app, "Zip").set_value(("record.zip", content, "application/zip"))
    app = settled(app)
    [folder] = (store / "imported").iterdir()
    assert app.session_state["session"].opened == f"imported/{folder.name}"
    assert "imported, no part of the chain here" in words(app)
    assert "Imported." in app.info[0].value
    app.button(key="back").click()
    app = settled(app)
    uploader(app, "Zip").set_value(("record.zip", content, "application/zip"))
    assert "here already" in settled(app).error[0].value
    uploader(app, "Zip").set_value(("record.zip", b"no zip", "application/zip"))
    assert "it is no zip" in words(settled(app))
    assert [path.name for path in (store / "imported").iterdir()] == [folder.name]


def test_a_record_is_deleted_with_a_reason_and_the_chain_stays_whole(manifests: Opener, store: Path):
    store.mkdir()
    for name in ("first", "second"):
        saved(store, name)
    app = manifests(record="first")
    app.button(key="delete for good").click()
    app = settled(app)
    assert "Say why" in app.error[0].value
    assert (store / "first").is_dir()
    app.text_input(key="why first").set_value("saved by mistake")
    app.button(key="delete for good").click()
    app = settled(app)
    assert "A tombstone keeps its place" in app.info[0].value
    assert shown(app) == ["second"]
    assert not (store / "first").exists()
    report = chain.check(store)
    assert (report.ok, report.removed) == (True, 1)


def test_files_of_uploads_are_kept_for_saving_and_forgotten_with_them():
    visitor = Session()
    assert visitor.take(xai.read_image(png(3)), png(3)) is None
    [(sha256, content)] = visitor.files.items()
    assert content == png(3)
    assert state.place(visitor.pictures[sha256])[0] == sha256
    visitor.drop(sha256)
    assert not visitor.files
