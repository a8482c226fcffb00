"""A run folder is read as it lies, and what is wrong with one is said in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.run_folders import GRAD_CAM, Said, identity, run_folder
from xai_core import units
from xai_core.errors import RecordError
from xai_core.records import Explanation, Image, Passes, Prediction, Target
from xai_core.runs import SCHEMA, list_runs, open_run
from xai_core.unit_store import UnitStore

SAID = [Said("a.png", "m", "cat", "cat"), Said("b.png", "m", "dog", "fox", 0.7), Said("c.png", "m", "fox")]
RAMP = np.arange(16, dtype=np.float32).reshape(4, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return run_folder(
        tmp_path / "run",
        SAID,
        scores=[("a.png", "m", "grad_cam", "border_share", 0.25), ("b.png", "m", "grad_cam", "border_share", None)],
        verdicts=[("a.png", "m", "grad_cam", "weak")],
        maps={("a.png", "m"): RAMP, ("b.png", "m"): -RAMP},
    )


def rewritten(folder: Path, **changed: Any) -> Path:
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**facts, **changed}))
    return folder


def test_the_tables_are_those_that_were_written(folder: Path) -> None:
    run = open_run(folder)
    assert list(run.predictions["predicted"]) == ["cat", "dog", "fox"]
    assert run.predictions["label"].isna().tolist() == [False, False, True]
    assert run.metrics["value"].isna().tolist() == [False, True]
    assert run.evidence["verdict"].tolist() == ["weak"]
    assert (run.models, run.methods) == (("m",), ("grad_cam", "attention_rollout", "uniform"))
    assert run.labels("m") == ("cat", "dog", "fox")
    assert run.task("m") == "single label"


def test_a_table_is_read_once(folder: Path) -> None:
    run = open_run(folder)
    assert run.predictions is run.predictions
    (folder / "predictions.parquet").unlink()
    assert len(run.predictions) == 3


def test_a_map_comes_back_with_its_picture_and_its_model(folder: Path) -> None:
    run = open_run(folder)
    e = run.explanation("sha of b.png", "m", "grad_cam")
    assert e is not None
    np.testing.assert_array_equal(e.values, -RAMP)
    assert (e.target.label, e.method, e.model["name"], e.pixels.shape) == ("dog", GRAD_CAM, "m", (4, 4, 3))
    assert run.prediction("sha of b.png", "m").top(1)[0][0] == "dog"
    assert run.seen("sha of b.png", "m").shape == (4, 4, 3)


def test_there_is_no_map_where_none_was_made(folder: Path) -> None:
    run = open_run(folder)
    assert run.explanation("sha of c.png", "m", "grad_cam") is None
    assert run.explanation("sha of a.png", "m", "attention_rollout") is None  # refused for the model
    with UnitStore(folder / "store") as store:  # refused for the picture
        key = units.map_key("sha of c.png", identity("m"), GRAD_CAM, units.rule_of(None), 0)
        store.put([units.of_refusal(key, "sha of c.png", GRAD_CAM, "It cannot.")])
    assert open_run(folder).explanation("sha of c.png", "m", "grad_cam") is None


def test_maps_of_many_pictures_come_in_turn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_core.runs.AT_ONCE", 2)
    asked = ["sha of b.png", "sha of c.png", "sha of a.png"]
    found = list(open_run(folder).placed(asked, "m", "grad_cam"))
    assert [one and one.label for one in found] == ["dog", None, "cat"]
    assert found[0] is not None
    np.testing.assert_array_equal(found[0].values, -RAMP)
    assert found[0].box == (0, 0, 8, 8)


@pytest.mark.parametrize(
    ("target", "picture", "rule"),
    [
        ("predicted", "a", {"class": "predicted"}),
        ("true", "b", {"class": 2, "kind": "logit", "against": None}),
        ("true", "c", {"class": "predicted"}),  # nobody said what it truly is
        ("dog", "a", {"class": 1, "kind": "logit", "against": None}),
    ],
)
def test_a_map_is_looked_for_under_the_target_that_was_asked(
    folder: Path, target: str, picture: str, rule: dict[str, Any]
) -> None:
    run = open_run(rewritten(folder, target=target, seed=5, background=["other", f"sha of {picture}.png"]))
    asked = units.map_key(f"sha of {picture}.png", identity("m"), GRAD_CAM, rule, 5, ["other"])
    assert run.map_key(f"sha of {picture}.png", "m", "grad_cam") == asked


def test_one_picture_may_stand_under_two_labels(tmp_path: Path) -> None:
    """The label of the first file counts unless another is named; a class of a label that is twice is the first."""
    said = [Said("a.png", "m", "cat", label) for label in ("dog", "cat", None)]
    folder = rewritten(run_folder(tmp_path / "run", said, labels={"m": ("cat", "dog", "dog")}), target="true")
    table = open_run(folder).predictions.assign(file=["dog/a.png", "cat/a.png", "a.png"])
    table.to_parquet(folder / "predictions.parquet", index=False)
    run, store = open_run(folder), UnitStore(folder / "store")
    about, seen = run.facts["models"][0]["identity"], np.zeros((4, 4, 3), np.uint8)
    for number, label in ((0, "cat"), (1, "dog")):
        key = units.map_key("sha of a.png", about, GRAD_CAM, {"class": number, "kind": "logit", "against": None}, 0)
        e = Explanation(
            RAMP + number, seen, GRAD_CAM, about, Target(number, label), "sha of a.png", 0, 0.0, Passes(), (4, 4)
        )
        store.put([units.of_explanation(key, e)])
    answer = Prediction(("cat", "dog", "dog"), np.zeros(3, np.float32), about, "sha of a.png")
    image = Image(seen, "sha of a.png", source={"width": 4, "height": 4})
    store.put([units.of_prediction(units.prediction_key("sha of a.png", about), answer, seen, image, 0.0)])
    store.close()

    def explained(file: str = "") -> str | None:
        e = run.explanation("sha of a.png", "m", "grad_cam", file)
        return None if e is None else e.target.label

    assert [explained(file) for file in ("", "dog/a.png", "cat/a.png")] == ["dog", "dog", "cat"]
    assert explained("a.png") is None  # nobody says what that is, so the predicted class is meant
    with pytest.raises(RecordError, match=r"no file fox/a\.png of picture sha of a\.png"):
        explained("fox/a.png")


def test_a_picture_is_not_compared_with_itself(folder: Path) -> None:
    run = open_run(rewritten(folder, background=["other", "sha of a.png"]))
    method = {"name": "deep_shap", "background": "pictures"}
    run.facts["models"][0]["fitted"]["grad_cam"] = method
    asked = units.map_key("sha of a.png", identity("m"), method, units.rule_of(None), 0, ["other"])
    assert run.map_key("sha of a.png", "m", "grad_cam") == asked


def test_names_that_a_run_lacks_are_refused_with_those_that_it_has(folder: Path) -> None:
    run = open_run(folder)
    with pytest.raises(RecordError, match=r"no model 'n'\. It has m\."):
        run.labels("n")
    with pytest.raises(RecordError, match=r"no method 'lime'\. It has grad_cam, "):
        run.explanation("sha of a.png", "m", "lime")


def test_what_a_store_does_not_hold_is_said(folder: Path) -> None:
    with pytest.raises(RecordError, match="does not hold what m says of picture sha of c"):
        open_run(folder).prediction("sha of c.png", "m")


def test_a_store_that_is_gone_is_not_made_anew(folder: Path) -> None:
    shutil.rmtree(folder / "store")
    with pytest.raises(RecordError, match="there is no folder"):
        open_run(folder).seen("sha of a.png", "m")
    assert not (folder / "store").exists()


def test_a_store_elsewhere_is_found(folder: Path, tmp_path: Path) -> None:
    (folder / "store").rename(tmp_path / "elsewhere")
    run = open_run(rewritten(folder, store=str(tmp_path / "elsewhere")))
    assert run.explanation("sha of a.png", "m", "grad_cam") is not None


def test_a_run_under_way_has_empty_tables_with_their_columns(folder: Path) -> None:
    for name in ("predictions", "metrics", "evidence"):
        (folder / f"{name}.parquet").unlink()
    run = open_run(rewritten(folder, status="running"))
    assert len(run.predictions) == len(run.metrics) == len(run.evidence) == 0
    assert {"file", "picture", "loss"} <= set(run.predictions.columns)
    with pytest.raises(RecordError, match=r"Cannot read predictions\.parquet of run: it is gone"):
        open_run(rewritten(folder, status="done")).predictions  # noqa: B018


def test_tables_that_were_not_asked_for_are_empty(folder: Path) -> None:
    for name in ("metrics", "evidence"):
        (folder / f"{name}.parquet").unlink()
    run = open_run(rewritten(folder, metrics=[], weigh="none"))
    assert len(run.metrics) == len(run.evidence) == 0


def test_a_damaged_table_is_named(folder: Path) -> None:
    (folder / "predictions.parquet").write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(RecordError, match=r"predictions\.parquet of run: it is damaged"):
        open_run(folder).predictions  # noqa: B018


def test_a_table_that_lacks_a_column_is_refused(folder: Path) -> None:
    run = open_run(folder)
    run.predictions.drop(columns="loss").to_parquet(folder / "predictions.parquet")
    with pytest.raises(RecordError, match=r"predictions\.parquet of run has no column loss"):
        open_run(folder).predictions  # noqa: B018


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for place in ("empty", "nowhere"):
        with pytest.raises(RecordError, match=rf"{place} holds no run: it has no run\.json"):
            open_run(tmp_path / place)


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"\xff\xfe", b"[1]", b"{}", b"[" * 100_000,
        b'{"schema": "1"}', b'{"schema": 1}', b'{"schema": 0}', b'{"schema": true}',
    ],
)  # fmt: skip
def test_a_damaged_description_is_refused_in_one_sentence(folder: Path, content: bytes) -> None:
    (folder / "run.json").write_bytes(content)
    with pytest.raises(RecordError, match=r"run\.json of run is damaged"):
        open_run(folder)


@pytest.mark.parametrize(
    "changed",
    [
        {"models": [{"name": "m"}]}, {"models": "m"}, {"methods": [1]}, {"metrics": [{}]}, {"seed": "0"},
        {"target": None}, {"store": 3}, {"models": [{"name": "m", "identity": {}, "labels": []}]},
    ],
)  # fmt: skip
def test_a_description_of_something_else_is_refused(folder: Path, changed: dict[str, Any]) -> None:
    with pytest.raises(RecordError, match="does not describe a run"):
        open_run(rewritten(folder, **changed))


def test_a_run_of_a_newer_version_is_refused_with_both_versions(folder: Path) -> None:
    with pytest.raises(RecordError, match=rf"version {SCHEMA + 6}, and this program reads up to version {SCHEMA}"):
        open_run(rewritten(folder, schema=SCHEMA + 6))


def test_runs_are_listed_newest_first_and_broken_ones_last(tmp_path: Path) -> None:
    for name, day in (("one", "2026-01-02"), ("two", "2026-01-03"), ("three", "2026-01-01")):
        run_folder(tmp_path / name, SAID[:1], started=f"{day}T00:00:00Z")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "run.json").write_text("no")
    (tmp_path / "no run").mkdir()
    (tmp_path / "run.json").write_text("no run here either")
    found = list_runs(tmp_path)
    assert [one.folder.name for one in found] == ["two", "one", "three", "broken"]
    assert found[0].run is not None
    assert found[0].run.models == ("m",)
    assert found[3].run is None
    assert "damaged" in found[3].problem


def test_a_folder_that_is_none_cannot_be_listed(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="Cannot list the runs in nothing"):
        list_runs(tmp_path / "nothing")
