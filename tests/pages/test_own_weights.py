"""A visitor's own weights: what a refusal leaves, what two readings of one file are called, and who makes room."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from streamlit.testing.v1 import AppTest

from pages.shared import cached
from pages.shared import shelf as held
from pages.shared.shelf import PLACES, Shelf
from tests.pages.conftest import Opener, settled
from xai_core import checkpoints
from xai_core.errors import ModelError

CHOOSER = """
from pages.shared import cached, errors, inputs, state
from pages.shared.state import session
cached.load_core()
with errors.shown():
    state.put("shown", [inputs.model(session(), slot).model.name for slot in range({slots})])
"""


class Toy:
    """Something that can be held like a model."""

    def __init__(self) -> None:
        self.module = torch.nn.Linear(2, 2)


def toy() -> Any:
    return Toy()


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """An empty shelf of as many places as there are where nothing is set, also for the pages."""
    monkeypatch.delenv(PLACES, raising=False)
    fresh = Shelf()
    monkeypatch.setattr(cached, "shelf", fresh)
    return fresh


@pytest.fixture(autouse=True)
def read_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read by this process, which takes less time than to start another."""

    def read(data: bytes, name: str) -> checkpoints.Checkpoint:
        (tmp_path / "given").write_bytes(data)
        return checkpoints.read_checkpoint(tmp_path / "given", name)

    monkeypatch.setattr(checkpoints, "read_apart", read)


@pytest.fixture(scope="module")
def weights() -> bytes:
    out = io.BytesIO()
    torch.save(timm.create_model("test_resnet", num_classes=2).state_dict(), out)
    return out.getvalue()


def chooser(slots: int = 1) -> AppTest:
    """The choosers of models alone."""
    return AppTest.from_string(CHOOSER.format(slots=slots), default_timeout=300).run()


def give(app: AppTest, content: bytes, architecture: str = "test_resnet", labels: str = "", task: str = "") -> AppTest:
    """Upload weights and open them."""
    uploader = {one.label: one for one in app.file_uploader}
    uploader["Checkpoint"].set_value(("w.pth", content, "application/octet-stream"))
    if labels:
        uploader["Labels (optional)"].set_value(("labels.txt", labels.encode(), "text/plain"))
    app.selectbox(key="own task").set_value(task)
    return again(app, architecture)


def again(app: AppTest, architecture: str) -> AppTest:
    """Open what is uploaded as another architecture."""
    box = app.selectbox(key="own architecture")
    box.options.append(architecture)  # typed: the simulator only knows what is listed
    box.set_value(architecture)
    app.run()
    app.button(key="open weights").click()
    return settled(app)


def uploads(app: AppTest) -> list[bool]:
    """Whether there is a checkpoint, and a file of labels."""
    own = [one for one in app.file_uploader if one.label in ("Checkpoint", "Labels (optional)")]
    return [one.value is not None for one in own]


# ---- a refusal -----------------------------------------------------------------------------------------------------


def test_a_refused_checkpoint_stays_in_its_uploader_until_it_is_opened(shelf: Shelf, weights: bytes):
    app = give(chooser(), weights, "resnet_test", labels="normal\nbroken\n")
    assert uploads(app) == [True, True]
    app = again(app, "test_resnet")
    assert not app.error
    assert uploads(app) == [False, False]
    [model] = [one for one in shelf._held.values() if one.name.startswith("test_resnet")]
    assert model.labels == ("normal", "broken")


def test_a_refusal_stands_with_the_upload_until_the_next_try(shelf: Shelf, weights: bytes):
    app = give(chooser(), weights, "resnet_test")
    app = again(app, "local-dir:/etc")
    [refusal] = app.error
    assert "is no architecture" in refusal.value
    [upload] = [one for one in app.expander if one.label == "Your own weights"]
    assert [one.value for one in upload.error] == [refusal.value]
    assert app.session_state["session"].mistakes == []
    app.run()
    assert len(app.error) == 1  # until the next try
    assert not again(app, "test_resnet").error


def test_labels_are_a_small_file(shelf: Shelf):
    most = {one.label: one.proto.max_upload_size_mb for one in chooser().file_uploader}
    assert most == {"Checkpoint": 1000, "Labels (optional)": 1}


# ---- names ---------------------------------------------------------------------------------------------------------


def test_two_readings_of_one_file_are_two_models(shelf: Shelf, weights: bytes):
    app = give(chooser(), weights)
    single = app.selectbox(key="model").value
    app = give(app, weights, task="multi label")
    multi = app.selectbox(key="model").value
    app = give(app, weights, labels="normal\nbroken\n")
    labelled = app.selectbox(key="model").value
    assert not app.error
    assert single.endswith(")")
    assert len({single, multi, labelled}) == 3
    assert multi.startswith(f"{single.removesuffix(')')} as multi label ")
    assert labelled.startswith(f"{single.removesuffix(')')} as single label ")
    own = app.session_state["session"].own_models
    assert list(own) == [single, multi, labelled]
    assert len({one.label for one in own.values()}) == 3
    tasks = [shelf._held[one.place].identity["task"] for one in own.values()]
    assert tasks == ["single label", "multi label", "single label"]
    for name in own:  # each is to be had from the menu
        app.selectbox(key="model").set_value(name)
        assert settled(app).session_state["shown"] == [name]


def test_the_same_reading_again_takes_the_place_of_the_first(shelf: Shelf, weights: bytes):
    app = give(chooser(), weights)
    before, [own] = len(shelf), app.session_state["session"].own_models.values()
    app = give(app, weights, task="single label")  # which its head suggests, too
    [other] = app.session_state["session"].own_models.values()
    assert len(shelf) == before
    assert shelf.find(own.place) is None
    assert shelf.find(other.place) is not None
    assert other.label == own.label


# ---- who makes room ------------------------------------------------------------------------------------------------


def test_two_pages_of_four_models_are_held_where_nothing_is_set(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    for key in "abcdefghi":
        shelf.get(key, key, toy)
    assert [key for key in "abcdefghi" if shelf.find(key)] == list("bcdefghi")
    monkeypatch.setenv(PLACES, "5")
    assert shelf.places == 5


def test_the_page_stays_usable_where_ones_own_model_had_to_make_room(explain: Opener, shelf: Shelf, weights: bytes):
    app = give(explain(sample="xray_normal_1", method="grad_cam"), weights)
    assert app.selectbox(key="model").value.startswith("test_resnet (weights ")
    for key in "abcdefgh":  # others come
        shelf.get(key, key, toy)
    app.session_state["session"].say("Something else.")
    settled(app)
    assert not app.exception
    [_, said] = [one.value for one in app.error]
    assert "had to make room for other models" in said
    assert app.selectbox(key="model").value == "demo-xray"  # which fits the sample
    *_, last = app.session_state["session"].maps.kept.values()
    assert last.explanation.model["name"] == "demo-xray"
    assert "save" in [one.key for one in app.button]
    app.button(key="dismiss").click()
    assert not settled(app).error  # it is said once


def test_every_chooser_of_a_model_that_made_room_falls_back(shelf: Shelf, weights: bytes, monkeypatch: Any):
    app = give(chooser(2), weights)
    own = app.selectbox(key="model").value
    app.selectbox(key="model 1").set_value(own)
    assert settled(app).session_state["shown"] == [own, own]
    for key in "abcdefgh":
        shelf.get(key, key, toy)
    settled(app)
    assert len(app.error) == 1
    assert app.session_state["shown"] == ["demo-xray", "demo-xray-shortcut"]


def test_no_room_says_what_takes_it(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv(PLACES, "4")
    shelf._coming |= {"a", "b", "c", "d"}
    with pytest.raises(ModelError, match="4 models are held, all of them still being opened"):
        shelf.get("e", "e", toy)
    shelf._coming -= {"d"}
    with (
        shelf.using(shelf.get("d", "d", toy)),
        pytest.raises(ModelError, match="1 of them at work and 3 still being opened"),
    ):
        shelf.get("e", "e", toy)
    shelf._coming.clear()
    with (
        shelf.using(*(shelf.get(key, key, toy) for key in "abcd")),
        pytest.raises(ModelError, match="4 models are held, all of them at work"),
    ):
        shelf.get("e", "e", toy)


def test_nobody_waits_for_ever_for_a_model_that_somebody_else_opens(shelf: Shelf, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(held, "PATIENCE", 0.2)
    begun, go = threading.Event(), threading.Event()

    def stuck() -> Any:
        begun.set()
        go.wait(30)
        return toy()

    opener = threading.Thread(target=shelf.get, args=("a", "a", stuck))
    opener.start()
    begun.wait(30)
    told: list[str] = []

    def ask() -> None:
        try:
            shelf.get("a", "a", toy)
        except ModelError as error:
            told.append(str(error))

    waiter = threading.Thread(target=ask, daemon=True)
    waiter.start()
    waiter.join(10)
    go.set()
    opener.join(30)
    waiter.join(30)
    assert ["is being opened for somebody else" in one for one in told] == [True]
    assert shelf.find("a") is not None
