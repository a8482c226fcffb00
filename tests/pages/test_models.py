"""Models on the page: which are offered, which are held, and a visitor's own weights."""

from __future__ import annotations

import gc
import io
import os
import threading
import time
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from streamlit.testing.v1 import AppTest

from pages.shared import cached, inputs, jobs
from pages.shared.shelf import PLACES, Shelf
from tests.pages.conftest import Opener, settled, words
from xai_core import checkpoints
from xai_core.errors import ModelError

SAMPLE = {"sample": "xray_normal_1", "method": "grad_cam"}


@dataclass(eq=False)
class Toy:
    module: torch.nn.Module


def toy() -> Any:
    """Something that can be held like a model, of 4 MB."""
    return Toy(torch.nn.Linear(1000, 1000, bias=False))


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """An empty shelf of four places, also for the pages."""
    monkeypatch.setenv(PLACES, "4")
    fresh = Shelf()
    monkeypatch.setattr(cached, "shelf", fresh)
    return fresh


# ---- which are held ------------------------------------------------------------------------------------------------


def test_a_model_that_two_visitors_ask_for_at_once_is_loaded_once(shelf: Shelf):
    made, found = [], []

    def make() -> Any:
        time.sleep(0.2)
        made.append(toy())
        return made[-1]

    threads = [threading.Thread(target=lambda: found.append(shelf.get("a", "a", make))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1
    assert all(one is made[0] for one in found)


def test_who_waits_for_a_model_that_cannot_be_loaded_tries_it_himself(shelf: Shelf):
    begun, told = threading.Event(), []

    def fails() -> Any:
        begun.set()
        time.sleep(0.2)
        raise ModelError("No.")

    def first() -> None:
        try:
            shelf.get("a", "a", fails)
        except ModelError as error:
            told.append(str(error))

    thread = threading.Thread(target=first)
    thread.start()
    begun.wait()
    assert shelf.get("a", "a", toy) is shelf.find("a")
    thread.join()
    assert told == ["No."]


def test_the_model_that_was_asked_for_longest_ago_makes_room(shelf: Shelf):
    for key in "abcd":
        shelf.get(key, key, toy)
    assert (len(shelf), round(shelf.megabytes)) == (4, 16)
    assert shelf.find("a") is not None  # the newest now
    shelf.get("e", "e", toy)
    assert [key for key in "abcde" if shelf.find(key) is not None] == ["a", "c", "d", "e"]


def test_a_model_that_is_worked_with_never_makes_room(shelf: Shelf):
    held = [shelf.get(key, key, toy) for key in "abcd"]
    with shelf.using(held[0], held[1]), shelf.using(held[0]):
        shelf.get("e", "e", toy)
        assert shelf.find("a") is held[0]
        with shelf.using(*(shelf.find(key) for key in "de")):
            with pytest.raises(ModelError, match=r"f cannot be opened now: 4 models are held, .* SECOND_LOOK_HELD_MO"):
                shelf.get("f", "f", toy)
            assert len(shelf) == 4
        shelf.get("f", "f", toy)
    shelf.get("g", "g", toy)
    shelf.get("h", "h", toy)
    assert [key for key in "abcdefgh" if shelf.find(key) is not None] == ["e", "f", "g", "h"] or shelf.find("a") is None


@pytest.mark.parametrize(("given", "places"), [("6", 6), ("1", 4), ("", 8), ("many", 8)])
def test_how_many_are_held_is_a_setting_and_never_fewer_than_one_page_shows(
    given: str, places: int, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(PLACES, given)
    assert shelf.places == places


def test_a_model_that_made_room_is_freed(shelf: Shelf):
    gone = weakref.ref(shelf.get("a", "a", toy).module)
    for key in "bcde":
        shelf.get(key, key, toy)
    assert gone() is None


def test_work_holds_on_to_its_model_until_it_ends(shelf: Shelf):
    held, go = shelf.get("a", "a", toy), threading.Event()
    job = jobs.Job(lambda *_: go.wait(30), models=[held])
    deadline = time.monotonic() + 10
    while not shelf._workers and time.monotonic() < deadline:
        time.sleep(0.01)
    for key in "bcdef":
        shelf.get(key, key, toy)
    assert shelf.find("a") is held
    go.set()
    job.wait(30)
    for key in "ghij":
        shelf.get(key, key, toy)
    assert shelf.find("a") is None
    gone = weakref.ref(held)
    del held
    gc.collect()
    assert gone() is None  # though the job is still there
    assert not job.running


def test_a_model_that_a_page_still_shows_is_freed_when_it_makes_room(explain: Opener, shelf: Shelf):
    app = explain(sample="cat", model="test_resnet", random="true", method=["grad_cam", "saliency"])
    assert not app.exception
    assert not app.error
    [model] = shelf._held.values()
    gone = weakref.ref(model.module)
    del model
    for key in "abcd":  # others fill the shelf while this visitor looks at the page
        shelf.get(key, key, toy)
    gc.collect()
    assert gone() is None
    assert app.button(key="measure").label == "Measure"


# ---- which are offered ---------------------------------------------------------------------------------------------


def test_models_of_whoever_started_the_program_are_in_the_menu(
    explain: Opener, shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "own.py"
    path.write_text(
        "import torch, xai_core as xai\n"
        "make = lambda: xai.wrap_model(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1),"
        " torch.nn.Flatten(), torch.nn.Linear(4, 2)), labels=['left', 'right'], input_size=(3, 16, 16), device='cpu')\n"
        "MODELS = {'mine': make}\n",
        encoding="utf-8",
    )
    monkeypatch.setenv("SECOND_LOOK_MODELS", str(path))
    app = explain(**SAMPLE, model="mine")
    assert not app.exception
    assert not app.error
    assert "mine" in app.selectbox(key="model").options
    assert [one for one in app.toggle if one.key == "random"] == []
    assert "left" in words(app)
    monkeypatch.setenv("SECOND_LOOK_MODELS", str(tmp_path / "absent.py"))
    app.selectbox(key="model").set_value("demo-xray")
    settled(app)
    assert ["absent.py" in error.value for error in app.error] == [True]
    assert app.session_state["session"].maps.kept  # everything else stays


def test_what_outputs_mean_can_be_switched(explain: Opener, shelf: Shelf):
    app = explain(sample="cat", model="test_resnet", random="true", method="grad_cam")
    single = words(app)
    app.selectbox(key="task").set_value("multi label")
    settled(app)
    assert not app.error
    assert "Labels do not exclude one another" not in single
    assert "Labels do not exclude one another" in words(app)
    assert next(iter(app.session_state["session"].maps.kept.values())).explanation.model["task"] == "single label"


def test_the_model_card_says_what_a_model_is_and_how_it_is_fed(explain: Opener, shelf: Shelf):
    app = explain(sample="cat", model="test_resnet", random="true", method="grad_cam")
    [table] = [one.value for one in app.markdown if one.value.startswith("| Model |")]
    table = table.replace("\\", "").replace("\u2060", "")
    model = next(iter(shelf._held.values()))
    for cell in (
        "test_resnet", f"{model.identity['parameters']:,}", "0.5, 0.5, 0.5", "160 × 160 pixels", "bilinear",
        "1,000: tench, Tinca tinca", "timm's list of imagenet-1k", "not stated", "cpu", "1 of 4 places", "single label",
    ):  # fmt: skip
        assert cell in table, cell
    assert model.identity["weights_sha256"] in [one.value for one in app.code]


# ---- a visitor's own weights ---------------------------------------------------------------------------------------


class Bomb:
    """Makes a file when unpickled: proof that code ran."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.path}",)


def saved(content: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out)
    return out.getvalue()


def give(app: Any, name: str, content: bytes, architecture: str = "", labels: str = "") -> Any:
    """Upload weights and open them."""
    uploader = {one.label: one for one in app.file_uploader}
    uploader["Checkpoint"].set_value((name, content, "application/octet-stream"))
    if labels:
        uploader["Labels (optional)"].set_value(("labels.txt", labels.encode(), "text/plain"))
    if architecture:
        box = app.selectbox(key="own architecture")
        box.options.append(architecture)  # typed: the simulator only knows what is listed
        box.set_value(architecture)
    app.run()
    app.button(key="open weights").click()
    return settled(app)


@pytest.fixture
def read_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are read by this process, which takes less time than to start another."""

    def read(data: bytes, name: str) -> checkpoints.Checkpoint:
        (tmp_path / "given").write_bytes(data)
        return checkpoints.read_checkpoint(tmp_path / "given", name)

    monkeypatch.setattr(checkpoints, "read_apart", read)


def test_uploaded_weights_are_opened_for_this_visitor_alone(explain: Opener, shelf: Shelf, read_here: None):
    network = timm.create_model("test_resnet", num_classes=2)
    content = saved({"state_dict": {f"module.{k}": v.half() for k, v in network.state_dict().items()}})
    app = give(explain(**SAMPLE), "Jane Doe.pth", content, "test_resnet", "normal\nbroken\n")
    assert not app.exception
    assert not app.error
    model = next(reversed(shelf._held.values()))
    assert model.labels == ("normal", "broken")
    assert model.name.startswith(f"test_resnet (weights {model.identity['weights_sha256'][:8]} as single label ")
    assert "without the prefix 'module.', widened from float16" in model.identity["weights"]
    assert "Jane" not in str(model.identity)  # identities are saved, and names of files may be names of people
    assert app.selectbox(key="model").value == model.name
    assert "test_resnet (Jane Doe.pth)" in app.selectbox(key="model").options
    assert "random" not in [one.key for one in app.toggle]  # it brings its weights
    assert [one.value for one in app.file_uploader if one.label == "Checkpoint"] == [None]
    maps = [kept.explanation for kept in app.session_state["session"].maps.kept.values()]
    assert maps[-1].model["weights_sha256"] == model.identity["weights_sha256"]
    assert "Jane" not in str(app.query_params)
    other = explain(**SAMPLE, model=model.name)
    assert "Give the same file under Your own weights" in words(other)
    assert model.name not in other.session_state["session"].own_models
    for key in "abcd":
        shelf.get(key, key, toy)
    settled(app)
    assert "had to make room for other models" in words(app)


def test_unfitting_weights_are_refused_in_a_sentence_and_everything_else_stays(
    explain: Opener, shelf: Shelf, read_here: None
):
    app = explain(**SAMPLE)
    shown = dict(app.session_state["session"].maps.kept)
    content = saved(timm.create_model("test_resnet", num_classes=2).state_dict())
    refusals = {
        "": "does not record which architecture",
        "resnet18": "is not a checkpoint of resnet18",
        "local-dir:/etc": "is no architecture",
    }
    for architecture, reason in refusals.items():
        app = give(app, "w.pth", content, architecture)
        assert not app.exception
        assert reason in words(app)
    assert app.selectbox(key="model").value == "demo-xray"
    assert dict(app.session_state["session"].maps.kept) == shown
    assert app.session_state["session"].own_models == {}
    assert len(shelf) == 1


def test_a_hostile_pickle_is_refused_by_name_and_leaves_no_trace(explain: Opener, shelf: Shelf, tmp_path: Path):
    proof = tmp_path / "proof"
    app = give(explain(**SAMPLE), "evil.pth", saved({"state_dict": Bomb(proof)}), "test_resnet")
    assert not app.exception
    assert "evil.pth holds more than weights: it asks for posix.system" in words(app)
    assert not proof.exists()
    assert app.session_state["session"].own_models == {}
    assert app.session_state["session"].maps.kept


# ---- several models on one page ------------------------------------------------------------------------------------


def slots(sample: str, first: str = "") -> list[tuple[str, bool]]:
    """What four slots show before anybody chooses."""
    script = f"""
from pages.shared import cached, inputs, state
from pages.shared.state import session
cached.load_core()
visitor = session()
visitor.sample = {sample!r}
if {first!r}:
    state.put("model", {first!r})
    visitor.models_chosen.add(0)
state.put("shown", [inputs.model(visitor, slot)[0].name for slot in range(4)])
"""
    app = AppTest.from_string(script, default_timeout=300).run()
    assert not app.exception
    shown = app.session_state["shown"]
    randoms = {one.key: one.value for one in app.toggle}
    return [(name, bool(randoms.get(f"random {slot}", False))) for slot, name in enumerate(shown)]


def test_slots_start_with_different_models_and_xrays_with_the_pair_that_disagrees(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inputs, "SUGGESTED", ("test_resnet", "test_vit", "test_convnext", "test_efficientnet"))
    pair = [("demo-xray", False), ("demo-xray-shortcut", False)]
    assert slots("xray_normal_1") == [*pair, ("test_resnet", True), ("test_vit", True)]
    assert slots("cat", "demo-xray")[:2] == pair
    random = [("test_vit", True), ("test_convnext", True), ("test_efficientnet", True)]
    assert slots("cat", "demo-face") == [("demo-face", False), ("test_resnet", True), *random[:2]]
