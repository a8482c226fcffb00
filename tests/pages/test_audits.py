"""Auditing a set from the page: begun, watched by everybody, stopped, gone on with; and never a traceback."""

from __future__ import annotations

import io
import json
import logging
import shutil
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import xai_core as xai
from pages.shared import audit_data, known, samples
from pages.shared.audit_line import MOST_WAITING, Line
from pages.shared.audits import line
from tests.pages.conftest import png, words
from xai_core.errors import ModelError, SettingError
from xai_core.runs import open_run

PANEL = (
    "from pages.shared import audits, errors\nfrom pages.shared.state import session\n"
    "with errors.shown(): audits.panel(session())"
)
NAMES = ("xray_normal_1.png", "xray_simple_fracture_1.png")
Opener = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def finished() -> Iterator[None]:
    """Leaves no audit behind."""
    yield
    for one in line.due:
        line.stop(one)
    assert line.wait(60)
    for one in line.ended:
        line.dismiss(one)


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the server's owner offers: two X-rays, one of them under a wrong label."""
    folder = tmp_path / "offered"
    folder.mkdir()
    for name in NAMES:
        shutil.copy(samples.FOLDER / name, folder / name)
    (folder / "labels.csv").write_text(f"file,label,site\n{NAMES[0]},normal,north\n{NAMES[1]},normal,south\n")
    monkeypatch.setenv(audit_data.FOLDERS, str(folder))
    return folder


def opened(source: str = "server", metrics: Sequence[str] = ("sparseness",)) -> AppTest:
    """The panel of a new visitor, its form open."""
    app = AppTest.from_string(PANEL, default_timeout=300)
    for name in xai.METHODS:
        app.session_state[f"use {name}"] = name == "grad_cam"
    for name in xai.METRICS:
        app.session_state[f"metric {name}"] = name in metrics
    app.session_state["audit source"] = source
    app.run()
    return app.button(key="audit form").click().run()


def begin(app: AppTest, name: str) -> AppTest:
    app.text_input(key="audit name").set_value(name).run()
    return app.button(key="audit start").click().run()


def uploaded(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    [uploader] = [one for one in app.file_uploader if one.key and one.key.startswith("audit upload")]
    uploader.set_value([(name, content, "image/png") for name, content in files])
    return app.run()


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
    """Audits stop and wait when they first tell how far they are: (reached, go on)."""
    from xai_core.auditing import audit

    reached, go_on = threading.Event(), threading.Event()

    def slow(*args: Any, progress: Callable[[Any], None], **rest: Any) -> Any:
        def told(how_far: Any) -> None:
            progress(how_far)
            reached.set()
            go_on.wait(60)

        return audit(*args, progress=told, **rest)

    monkeypatch.setattr("pages.shared.audit_run.audit", slow)
    return reached, go_on


def test_what_was_read_and_what_it_costs_is_said_before_anything_is_begun(store: Path, pictures: Path) -> None:
    app = opened(metrics=["deletion"])
    said = words(app)
    assert "2 pictures" in said
    assert "1 label: normal 2" in said
    assert "columns: site" in said
    # Grad-CAM takes a pass of a picture, which the controls share; deletion 19 steps of every map there is.
    steps = xai.METRICS["deletion"]().to_dict()["steps"] - 1
    maps = 1 + sum(xai.METHODS[name].family == "control" for name in xai.METHODS)
    assert f"About {2 * (1 + maps * steps)} passes" in said.replace("*", "").replace(",", "")
    assert not (store / "audits" / "units").exists() or not line.due
    app.selectbox(key="audit weigh").set_value("all").run()
    assert "720 to weigh them" in words(app)


def test_an_audit_is_done_in_the_background_and_reviewed(store: Path, pictures: Path) -> None:
    app = begin(opened(), "first")
    assert not app.error
    assert line.wait(60)
    app.run()
    assert "first is done" in words(app).replace("*", "")
    run = open_run(store / "audits" / "first")
    assert run.facts["status"] == "done"
    assert run.facts["models"][0]["spec"]["name"] == "demo-xray"
    assert list(run.predictions["file"]) == list(NAMES)
    assert set(run.metrics["metric"]) == {"sparseness"}
    app.button(key="review first").click().run()
    assert app.session_state["session"].reviewing.view.run == "first"
    assert not line.ended


def test_everybody_sees_an_audit_and_it_is_stopped_and_gone_on_with(
    store: Path, pictures: Path, held: tuple[threading.Event, threading.Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    reached, go_on = held
    begin(opened(), "shared")
    assert reached.wait(60)
    other = AppTest.from_string(PANEL, default_timeout=300).run()  # who has begun nothing
    [bar] = [one.proto.text for one in other.get("progress")]
    assert "shared" in bar
    assert "of 2 pictures" in bar
    waiting = begin(opened(), "second")
    texts = [one.proto.text for one in waiting.get("progress")]
    assert "Waits for the audit before it" in texts[1]
    waiting.button(key="stop audit 1").click().run()
    assert [one.name for one in line.due] == ["shared"]
    other.button(key="stop audit 0").click().run()
    assert "Stopping after this batch" in other.get("progress")[0].proto.text
    go_on.set()
    assert line.wait(60)
    other.run()
    folder = store / "audits" / "shared"
    facts = json.loads((folder / "run.json").read_text())
    assert facts["status"] == "stopped"
    assert 0 < facts["progress"]["done"] < facts["progress"]["total"]
    assert "shared · stopped" in words(other).replace("*", "")
    (folder / "run.json").write_text(json.dumps({**facts, "status": "running"}))  # as if the server had died
    other.run()
    assert "ended without a word" in words(other)
    other.button(key="resume shared").click().run()
    assert line.wait(60)
    after = open_run(folder).facts
    assert after["status"] == "done"
    assert after["progress"]["found"] >= facts["progress"]["done"]
    assert after["progress"]["done"] == after["progress"]["total"]
    assert after["methods"] == facts["methods"]
    assert "Resume" not in [button.label for button in other.run().button]


def test_an_upload_is_listed_with_what_was_refused_and_stays_with_its_run(store: Path) -> None:
    app = opened("files")
    files = [(name, (samples.FOLDER / name).read_bytes()) for name in NAMES]
    uploaded(app, *files, ("broken.png", b""), ("notes.txt", b"no picture"))
    said = words(app)
    assert "2 pictures" in said
    assert "broken.png is empty" in said
    assert "notes.txt" in said
    begin(app, "upload")
    assert line.wait(60)
    assert app.session_state["session"].auditing.picked.files == ()
    folder = store / "audits" / "upload"
    assert open_run(folder).facts["store"] == "store"
    assert not (folder / audit_data.KEPT).exists()
    assert not any((store / "audits" / "units" / "parts").rglob("*.safetensors")), "pixels of an upload"


def test_a_folder_that_is_dropped_brings_its_classes(store: Path) -> None:
    app = opened("folder")
    contents = [(samples.FOLDER / name).read_bytes() for name in NAMES]
    uploaded(app, ("set/normal/a.png", contents[0]), ("set/simple fracture/b.png", contents[1]))
    assert "2 labels: normal 1, simple fracture 1" in words(app)


def test_an_upload_is_resumed_where_its_pictures_were_kept_and_asked_for_where_not(
    store: Path, held: tuple[threading.Event, threading.Event]
) -> None:
    reached, go_on = held
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in NAMES:
            archive.write(samples.FOLDER / name, name)
    for name, keep in (("kept", True), ("forgotten", False)):
        reached.clear()
        go_on.clear()
        app = uploaded(opened("files"), ("some.zip", out.getvalue()))
        app.checkbox(key="audit keep").set_value(keep)
        begin(app, name)
        assert reached.wait(60)
        app.run().button(key="stop audit 0").click().run()
        go_on.set()
        assert line.wait(60)
        app.run().button(key=f"resume {name}").click().run()
        assert line.wait(60)
        status = open_run(store / "audits" / name).facts["status"]
        if keep:
            assert status == "done"
        else:
            assert status == "stopped"
            assert "The pictures of forgotten were not kept" in words(app)
            uploaded(app.button(key="audit form").click().run(), ("some.zip", out.getvalue()))
            begin(app, name)
            assert line.wait(60)
            assert open_run(store / "audits" / name).facts["status"] == "done"


def test_audits_go_one_after_the_other_in_their_order_and_a_full_line_takes_no_more() -> None:
    own, go_on, at_work, order = Line(), threading.Event(), threading.Semaphore(1), list[str]()

    def work_of(name: str) -> Callable[[Any, threading.Event], None]:
        def work(_told: Any, _cancel: threading.Event) -> None:
            assert at_work.acquire(blocking=False), "another is at work"
            order.append(name)
            go_on.wait(20)
            at_work.release()

        return work

    names = [f"number {number}" for number in range(MOST_WAITING + 1)]
    for name in names:
        own.join(name, work_of(name))
    with pytest.raises(SettingError, match="audits are waiting"):
        own.join("one more", work_of("one more"))
    own.stop(own.due[3])
    with pytest.raises(SettingError, match="under way already"):
        own.join(names[1], work_of(names[1]))
    go_on.set()
    assert own.wait(20)
    assert order == [name for name in names if name != names[3]]
    assert {one.state for one in own.ended} == {"done"}
    own.join("later", work_of("later"))  # the line works again after it was empty
    assert own.wait(20)
    assert order[-1] == "later"


def test_a_mistake_of_ours_is_a_numbered_incident(
    store: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("a secret path")

    monkeypatch.setattr("pages.shared.audit_run.audit", broken)
    with caplog.at_level(logging.ERROR):
        app = begin(opened(), "broken")
        assert line.wait(60)
    said = words(app.run())
    assert "broken failed" in said.replace("*", "")
    assert "incident" in said
    assert "secret" not in said
    assert "incident" in caplog.text
    assert "a secret path" in caplog.text
    assert not (store / "audits" / "broken").exists(), "nothing came of it"


def test_a_mistake_of_the_visitors_is_a_sentence(store: Path, pictures: Path) -> None:
    (pictures / "labels.csv").write_text(f"file,label\n{NAMES[0]},bird\n{NAMES[1]},bird\n")
    app = begin(opened(), "birds")
    assert line.wait(60)
    assert "demo-xray has none of the labels" in words(app.run())
    (pictures / "labels.csv").write_text("file,label\nnone.png,normal\n")
    assert "none of them exists" in words(opened())


def test_a_name_that_is_no_name_or_taken_begins_nothing(store: Path, pictures: Path) -> None:
    app = opened()
    for name in ("../away", "units", "", "a/b"):
        app.text_input(key="audit name").set_value(name).run()
        assert app.button(key="audit start").disabled or not name
    begin(app, "taken")
    assert line.wait(60)
    app = opened()
    app.text_input(key="audit name").set_value("taken").run()
    assert app.button(key="audit start").disabled
    assert "A run called taken exists" in words(app)


def test_a_run_with_own_weights_goes_on_only_with_the_same_weights(store: Path, pictures: Path) -> None:
    from pages.shared import cached
    from pages.shared.own_weights import OwnWeights
    from xai_core.loading import load_model
    from xai_core.own_models import named

    cached.load_core()
    from pages.shared.audit_run import Wanted, wanted_again

    brought = OwnWeights("mine.pt", "a place of my own")
    cached.shelf.get(brought.place, "mine", lambda: named(load_model("demo-xray"), "mine (weights 12345678)"))
    source = audit_data.Source("server", str(pictures.resolve()))
    cases = audit_data.cases_of(source)
    wanted = Wanted("own", source, [brought], [{"name": "grad_cam"}], [], controls=False, cases=cases)
    wanted.work(lambda _: None, threading.Event())
    facts = open_run(store / "audits" / "own").facts
    assert facts["models"][0]["spec"] is None
    assert facts["models"][0]["name"] == "mine (weights 12345678)"
    with pytest.raises(ModelError, match="Give the same file under Your own weights"):
        wanted_again("own", {})
    again = wanted_again("own", {"mine (weights 12345678)": brought})
    again.work(lambda _: None, threading.Event())
    assert open_run(store / "audits" / "own").facts["progress"]["computed"] == 0
    cached.shelf.let_go(brought.place)
    with pytest.raises(ModelError, match="had to make room"):
        again.work(lambda _: None, threading.Event())


# ---- answers that were known before ---------------------------------------------------------------------------------


@pytest.fixture
def sent() -> Iterator[list[int]]:
    """How many pictures go through the demo network."""
    from pages.shared import cached

    cached.load_core()
    count: list[int] = []
    model = cached.held("demo-xray", False)
    hook = model.module.register_forward_hook(lambda _module, given, _out: count.append(len(given[0])))
    yield count
    hook.remove()


def test_the_same_question_in_another_session_asks_the_network_nothing(compare: Opener, sent: list[int]) -> None:
    query = {"sample": "xray_simple_fracture_1", "method": "grad_cam", "metric": ["deletion", "sparseness"]}
    first = compare(**query, weigh="true").session_state["session"]
    assert sum(sent) > 700
    sent.clear()
    app = compare(**query, weigh="true")
    second = app.session_state["session"]
    assert sum(sent) == 0
    assert "known from before" in words(app)
    assert list(first.maps.kept) == list(second.maps.kept)
    for key, one in first.maps.kept.items():
        other = second.maps.kept[key].explanation
        assert one.explanation.values.tobytes() == other.values.tobytes()
        assert one.explanation.pixels.tobytes() == other.pixels.tobytes()
        assert (one.explanation.target, one.explanation.method) == (other.target, other.method)
        assert one.explanation.model == other.model
    for key, score in first.scores.kept.items():
        other_score = second.scores.kept[key]
        assert (score.value, score.null, score.why) == (other_score.value, other_score.null, other_score.why)
    assert any(score.null is not None for score in second.scores.kept.values())
    for key, evidence in first.evidence.kept.items():
        assert evidence.verdict == second.evidence.kept[key].verdict
        assert evidence.checks == second.evidence.kept[key].checks
    [said], [again] = first.predictions.values(), second.predictions.values()
    assert said.logits.tobytes() == again.logits.tobytes()
    sent.clear()
    compare(**{**query, "method": "hires_cam"})
    assert sum(sent) > 0, "another method is another question"


def test_what_an_audit_found_the_pages_know(store: Path, pictures: Path, explain: Opener, sent: list[int]) -> None:
    begin(opened(), "before")
    assert line.wait(60)
    sent.clear()
    app = explain(sample="xray_normal_1", method="grad_cam")
    assert len(app.session_state["session"].maps.kept) == 1
    assert sum(sent) == 0


def test_answers_about_uploads_are_kept_only_where_the_owner_says_so(
    store: Path, explain: Opener, sent: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.pages.conftest import drop

    upload = ("mine.png", png(90, 96, texture=True))
    for keep, again in (("", True), ("1", True), ("1", False)):
        monkeypatch.setenv(known.KEEP, keep)
        sent.clear()
        drop(explain(method="grad_cam"), upload)
        assert (sum(sent) > 0) == again, keep
        parts = list((store / "audits" / "units" / "parts").rglob("*.safetensors"))
        assert bool(parts) == bool(keep)


def test_a_store_that_cannot_be_opened_stops_nothing(
    store: Path, explain: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    (store / "audits").mkdir(parents=True)
    (store / "audits" / "units").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        app = explain(sample="xray_normal_1", method="grad_cam")
        app.run()
    assert len(app.session_state["session"].maps.kept) == 1
    assert not app.error
    assert caplog.text.count("work without kept answers") == 1
