"""A set through models: what is found is never computed again, and nothing but the question decides what comes out."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import nn

import xai_core as xai
from tests.conftest import ROOT, convolutions, png_of, seeded, wrapped
from xai_core import audit_work, durable, units
from xai_core.audit_work import Question, Worker, keys_of
from xai_core.auditing import Progress
from xai_core.cases import read_cases
from xai_core.errors import AuditError, Cancelled, PictureError, RecordError, SettingError
from xai_core.evidence import weigh_many
from xai_core.models import Model
from xai_core.runs import open_run
from xai_core.unit_store import UnitStore

CAMS = ["grad_cam", "layer_cam"]
QUICK: Mapping[str, Any] = {"controls": False, "weigh": "none"}


def noise(seed: int, side: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)


def folder_of(path: Path, pictures: int = 4, order: Sequence[int] | None = None) -> Path:
    """Class folders, in turn."""
    for number in order or range(pictures):
        home = path / f"class {number % 2}"
        home.mkdir(parents=True, exist_ok=True)
        (home / f"{number:03d}.png").write_bytes(png_of(noise(number)))
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "pictures")


@pytest.fixture
def models() -> list[Model]:
    return [wrapped(seeded(convolutions, seed), name=name) for seed, name in enumerate(("one", "other"))]


def contents(folder: Path) -> dict[str, str]:
    """Every key of a store with the sha256 of what it says."""
    with UnitStore(folder) as store:
        return dict(store._index.execute("SELECT key, min(content) FROM units GROUP BY key").fetchall())


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many pictures go through any network from now on."""
    sent: list[int] = []
    for verb in ("_forward", "_backward", "_traced"):
        plain = getattr(Model, verb)

        def counting(self: Model, piece: Any, *args: Any, plain: Any = plain) -> Any:
            sent.append(len(piece))
            return plain(self, piece, *args)

        monkeypatch.setattr(Model, verb, counting)
    return sent


def test_every_picture_goes_through_every_model_method_and_metric(pictures, models, tmp_path):
    run = xai.audit(pictures, models, CAMS, ["sparseness"], out=tmp_path / "run", **QUICK)
    assert run.facts["status"] == "done"
    assert Path(run.facts["data"]["folder"]) == pictures.resolve()
    assert len(run.predictions) == 4 * 2
    assert len(run.metrics) == 4 * 2 * 2
    for model in models:
        name = model.name
        for row in run.predictions[run.predictions["model"] == name].itertuples():
            image = xai.read_image(pictures / row.file)
            said = xai.predict(model, image)
            assert row.picture == image.sha256
            assert row.predicted == said.labels[said.order()[0]]
            np.testing.assert_array_equal(np.array(row.probabilities, np.float32), said.probabilities)
            lone = xai.explain(model, image, "grad_cam")
            np.testing.assert_array_equal(run.explanation(row.picture, name, "grad_cam").values, lone.values)
            [score] = run.metrics.query("picture == @row.picture and model == @name and method == 'grad_cam'")["value"]
            assert score == xai.score(model, lone, "sparseness").value


def test_where_the_set_lies_is_in_nothing_that_is_handed_on(pictures, models, tmp_path):
    run = xai.audit(pictures, models[:1], ["grad_cam"], ["sparseness"], out=tmp_path / "run", **QUICK)
    for file in (path for path in run.folder.rglob("*") if path.is_file() and path.name != "run.json"):
        assert str(tmp_path).encode() not in file.read_bytes(), file


def test_the_same_audit_again_computes_nothing_and_sends_nothing(pictures, models, tmp_path, monkeypatch):
    first = xai.audit(pictures, models, CAMS, ["sparseness"], out=tmp_path / "run", **QUICK)
    assert first.facts["progress"]["computed"] == 4 * 2 * (1 + 2 + 2)
    assert first.facts["progress"]["passes"] == 4 * 2, "one pass for the prediction and both maps, none for the metric"
    fitted = [model.default_layer for model in models]  # measured once, with a picture of noise
    assert all(fitted)
    sent = counted(monkeypatch)
    again = xai.audit(pictures, models, CAMS, ["sparseness"], out=tmp_path / "run", **QUICK)
    assert (again.facts["progress"]["found"], again.facts["progress"]["computed"]) == (40, 0)
    assert again.facts["store_sha256"] == first.facts["store_sha256"]
    assert sent == []


def test_another_metric_sends_only_what_it_asks(pictures, models, tmp_path):
    store = tmp_path / "store"
    xai.audit(pictures, models[:1], CAMS, ["sparseness"], out=tmp_path / "a", store=store, **QUICK)
    run = xai.audit(
        pictures, models[:1], CAMS, ["sparseness", "border_share"], out=tmp_path / "b", store=store, **QUICK
    )
    assert (run.facts["progress"]["found"], run.facts["progress"]["computed"]) == (4 * (1 + 2 + 2), 4 * 2)


def test_answers_of_an_earlier_version_are_found_in_the_run_that_they_were_made_for(
    pictures, models, tmp_path, monkeypatch
):
    run = xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)
    picture, before = run.predictions["picture"][0], units.this_program()
    values = run.explanation(picture, "one", "grad_cam").values
    monkeypatch.setattr(units, "this_program", lambda: {**before, "torch": "99.0"})
    later = open_run(tmp_path / "run")
    np.testing.assert_array_equal(later.explanation(picture, "one", "grad_cam").values, values)
    with pytest.raises(SettingError, match="made_by differ"):
        xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)


def test_what_comes_out_does_not_depend_on_its_company(pictures, models, tmp_path):
    """Other methods, metrics and pictures beside it leave the bytes of a unit as they are."""
    many = ["grad_cam", "layer_cam", "occlusion", "integrated_gradients", "rise"]
    metrics = ["deletion", "insertion", "top_k_retention", "faithfulness_correlation", "sparseness"]
    xai.audit(pictures, models, many, metrics, out=tmp_path / "all", weigh="all")
    every = contents(tmp_path / "all" / "store")
    for number, (method, metric) in enumerate(zip(many, metrics, strict=True)):
        alone = tmp_path / f"alone {number}"
        xai.audit(pictures, models[:1], [method], [metric], out=alone, controls=False, weigh="all")
        own = contents(alone / "store")
        assert own.items() <= every.items()
        assert len(own) == 4 * (1 + 1 + 1 + 1)


def test_the_order_of_files_and_their_names_change_nothing(models, tmp_path):
    one, other = folder_of(tmp_path / "one"), folder_of(tmp_path / "other", order=[3, 1, 0, 2])
    (other / "class 1" / "003.png").rename(other / "class 1" / "000 first.png")
    digests = [
        xai.audit(source, models[:1], CAMS, out=tmp_path / f"run {source.name}", **QUICK).facts
        for source in (one, other)
    ]
    assert digests[0]["store_sha256"] == digests[1]["store_sha256"]
    assert digests[0]["data_sha256"] == digests[1]["data_sha256"]


def test_a_picture_that_differs_in_one_pixel_gets_its_own_result(models, tmp_path):
    pixels = noise(0)
    near = pixels.copy()
    near[20, 20] ^= 128
    (tmp_path / "set").mkdir()
    for name, one in (("a", pixels), ("b", near), ("c", pixels)):
        (tmp_path / "set" / f"{name}.png").write_bytes(png_of(one))
    run = xai.audit(tmp_path / "set", models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)
    sha256 = dict(zip(run.predictions["file"], run.predictions["picture"], strict=True))
    assert sha256["a.png"] == sha256["c.png"] != sha256["b.png"]
    assert run.facts["progress"]["computed"] == 2 * 2
    assert len(run.predictions) == 3
    assert run.facts["data"]["labelled"] is False
    assert run.predictions["right"].isna().all()
    maps = [run.explanation(sha256[name], "one", "grad_cam").values for name in ("a.png", "b.png")]
    assert not np.array_equal(*maps)


def test_a_bad_picture_is_listed_and_stops_nothing(pictures, models, tmp_path):
    (pictures / "class 0" / "broken.png").write_bytes(png_of(noise(9))[:200])
    (pictures / "class 1" / "page.png").write_bytes(b"<html></html>")
    run = xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)
    refused = dict(run.facts["refused"])
    assert "damaged" in refused["class 0/broken.png"]
    assert "HTML" in refused["class 1/page.png"]
    assert len(run.predictions) == 4


def test_a_set_without_a_readable_picture_is_refused_in_a_sentence(models, tmp_path):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "page.png").write_bytes(b"<html></html>")
    with pytest.raises(PictureError, match=r"No picture of set can be read.*HTML"):
        xai.audit(tmp_path / "set", models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["status"] == "failed"
    assert "No picture" in facts["problem"]


def test_a_method_that_says_nothing_about_a_model_is_left_out_and_said(pictures, models, tmp_path):
    run = xai.audit(pictures, models[:1], ["grad_cam", "attention_rollout"], out=tmp_path / "run", **QUICK)
    assert any("attention" in sentence.lower() for sentence in run.facts["left_out"])
    assert run.facts["models"][0]["fitted"]["attention_rollout"] is None
    picture = run.predictions["picture"][0]
    assert run.explanation(picture, "one", "attention_rollout") is None


@pytest.mark.parametrize("target", ["predicted", "true", "class 2"])
def test_the_target_is_the_predicted_the_true_or_a_named_class(pictures, models, tmp_path, target):
    run = xai.audit(pictures, models[:1], ["grad_cam"], ["sparseness"], out=tmp_path / "run", target=target, **QUICK)
    for row in run.predictions.itertuples():
        wanted = {"predicted": row.predicted, "true": row.label}.get(target, target)
        lone = xai.explain(models[0], xai.read_image(pictures / row.file), "grad_cam", wanted)
        found = run.explanation(row.picture, "one", "grad_cam")
        assert found.target.label == wanted
        np.testing.assert_array_equal(found.values, lone.values)


def test_only_maps_of_pictures_that_went_wrong_are_weighed(pictures, models, tmp_path):
    rows = []
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        said = xai.predict(models[0], xai.read_image(path)).order()
        rows.append(f"{path.relative_to(pictures).as_posix()},class {said[number % 2]}")
    (pictures / "labels.csv").write_text("\n".join(["file,label", *rows, ""]))
    run = xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", weigh="wrong", controls=True)
    wrong = set(run.predictions[run.predictions["right"] == False]["picture"])  # noqa: E712  (nullable)
    assert len(wrong) == 2
    assert set(run.evidence["picture"]) == wrong
    assert set(run.evidence["method"]) == {"grad_cam"}, "controls are not weighed"
    for row in run.evidence.itertuples():
        [file] = run.predictions.query("picture == @row.picture")["file"]
        lone = xai.explain(models[0], xai.read_image(pictures / file), "grad_cam")
        assert row.verdict == xai.weigh(models[0], lone).verdict
    again = xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", weigh="wrong", controls=True)
    assert again.facts["progress"]["computed"] == 0


def test_the_null_of_a_score_is_what_the_random_control_got(pictures, models, tmp_path):
    run = xai.audit(pictures, models[:1], ["grad_cam"], ["deletion"], out=tmp_path / "run", weigh="none")
    for _, rows in run.metrics.groupby("picture"):
        value = dict(zip(rows["method"], rows["value"], strict=True))
        assert set(rows["null"]) == {value["random"]}


def test_a_mask_decides_the_scores_that_need_it_and_no_other(models, tmp_path):
    home = folder_of(tmp_path / "set", 2)
    for number in range(2):
        mask = np.zeros((40, 40, 3), np.uint8)
        mask[:20] = 255
        (home / f"mask {number}.png").write_bytes(png_of(mask))
    table = "file,label,mask\nclass 0/000.png,class 0,mask 0.png\nclass 1/001.png,class 1,\n"
    (home / "labels.csv").write_text(table)
    run = xai.audit(home, models[:1], ["grad_cam"], ["mass_accuracy"],
                    out=tmp_path / "run", **QUICK)  # fmt: skip
    values = dict(zip(run.metrics["file"], run.metrics["value"], strict=True))
    why = dict(zip(run.metrics["file"], run.metrics["why"], strict=True))
    assert values["class 0/000.png"] is not None
    assert "no mask" in why["class 1/001.png"]


# ---- what may go wrong with the store and the set --------------------------------------------------------------------


def test_an_answer_that_was_damaged_is_computed_again(pictures, models, tmp_path):
    whole = xai.audit(pictures, models[:1], ["grad_cam"], ["sparseness"], out=tmp_path / "run", **QUICK)
    part = next((tmp_path / "run" / "store" / "parts").rglob("*.safetensors"))
    part.write_bytes(part.read_bytes()[:-1] + b"?")
    again = xai.audit(pictures, models[:1], ["grad_cam"], ["sparseness"], out=tmp_path / "run", **QUICK)
    assert again.facts["progress"]["computed"] > 0
    assert any("damaged" in sentence for sentence in again.facts["left_out"])
    assert again.facts["store_sha256"] == whole.facts["store_sha256"]
    assert len(again.predictions) == len(again.metrics) == 4
    assert again.metrics["value"].notna().all()


def twice(home: Path, rows: str) -> Path:
    """One picture under two names, with a mask of each half."""
    home.mkdir()
    for name in ("p1.png", "p2.png"):
        (home / name).write_bytes(png_of(noise(1)))
    for number in (1, 2):
        mask = np.zeros((40, 40, 3), np.uint8)
        mask[:20] = 255
        (home / f"m{number}.png").write_bytes(png_of(mask if number == 1 else 255 - mask))
    (home / "labels.csv").write_text(rows)
    return home


def test_one_picture_with_two_masks_has_the_scores_of_both(models, tmp_path):
    home = twice(tmp_path / "set", "file,label,mask\np1.png,class 0,m1.png\np2.png,class 0,m2.png\n")
    run = xai.audit(home, models[:1], ["saliency"], ["mass_accuracy"], out=tmp_path / "run", **QUICK)
    one, other = run.metrics["value"]
    assert one + other == pytest.approx(1, abs=1e-6)
    again = xai.audit(home, models[:1], ["saliency"], ["mass_accuracy"], out=tmp_path / "run", **QUICK)
    assert again.facts["progress"]["computed"] == 0


def test_one_picture_under_two_labels_is_weighed_where_it_is_wrong(models, tmp_path):
    said = xai.predict(models[0], xai.read_image(png_of(noise(1)))).order()
    home = twice(tmp_path / "set", f"file,label\np1.png,class {said[0]}\np2.png,class {said[1]}\n")
    run = xai.audit(home, models[:1], ["grad_cam"], out=tmp_path / "run", controls=False, weigh="wrong")
    assert list(run.evidence["file"]) == ["p2.png"]
    again = xai.audit(home, models[:1], ["grad_cam"], out=tmp_path / "run", controls=False, weigh="wrong")
    assert again.facts["progress"]["computed"] == 0
    assert again.facts["store_sha256"] == run.facts["store_sha256"]


def test_a_store_that_holds_more_verdicts_than_were_asked_for_changes_nothing(pictures, models, tmp_path):
    rows = []
    for number, path in enumerate(sorted(pictures.rglob("*.png"))):
        said = xai.predict(models[0], xai.read_image(path)).order()
        rows.append(f"{path.relative_to(pictures).as_posix()},class {said[number % 2]}")
    (pictures / "labels.csv").write_text("\n".join(["file,label", *rows, ""]))
    common = {"methods": ["grad_cam"], "controls": False}
    alone = xai.audit(pictures, models[:1], out=tmp_path / "alone", weigh="wrong", **common)
    store = tmp_path / "store"
    xai.audit(pictures, models[:1], out=tmp_path / "all", weigh="all", store=store, **common)
    beside = xai.audit(pictures, models[:1], out=tmp_path / "beside", weigh="wrong", store=store, **common)
    assert len(alone.evidence) == len(beside.evidence) == 2
    assert alone.facts["store_sha256"] == beside.facts["store_sha256"]
    assert beside.facts["progress"]["computed"] == 0


def test_a_verdict_that_was_found_is_not_computed_again(pictures, models, tmp_path, monkeypatch):
    asked: list[int] = []

    def weighing(model: Model, maps: Sequence[Any], **settings: Any) -> Any:
        asked.append(len(maps))
        return weigh_many(model, maps, **settings)

    monkeypatch.setattr(audit_work, "weigh_many", weighing)
    common: Mapping[str, Any] = {"weigh": "all", "controls": False, "store": tmp_path / "store"}
    xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "one", **common)
    assert asked == [1] * 4
    xai.audit(pictures, models[:1], ["grad_cam", "layer_cam"], out=tmp_path / "two", **common)
    assert asked == [1] * 8


def test_a_bad_store_leaves_a_finished_run_as_it_was(pictures, models, tmp_path):
    run = xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)
    (tmp_path / "junk").mkdir()
    (tmp_path / "junk" / "mine.txt").write_text("mine")
    with pytest.raises(AuditError, match="junk"):
        xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", store=tmp_path / "junk", **QUICK)
    assert open_run(tmp_path / "run").facts == run.facts


def test_another_set_in_the_same_folder_is_refused_and_a_grown_one_is_taken_up(pictures, models, tmp_path):
    first = xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)
    with pytest.raises(SettingError, match="asked something else: data differ"):
        xai.audit(folder_of(tmp_path / "others"), models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)
    folder_of(pictures, 6)
    grown = xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)
    assert (grown.facts["progress"]["found"], grown.facts["progress"]["computed"]) == (8, 4)
    assert len(grown.predictions) == 6
    assert grown.facts["data_sha256"] != first.facts["data_sha256"]
    assert xai.verify(tmp_path / "run").ok, str(xai.verify(tmp_path / "run"))


def test_a_disk_that_is_full_while_run_json_is_written_gives_a_sentence(pictures, models, tmp_path, monkeypatch):
    def full(path: Path, data: bytes) -> None:
        if Path(path).name == "run.json":
            raise OSError(28, "No space left on device")
        replace_file(path, data)

    replace_file = durable.replace_file
    monkeypatch.setattr(durable, "replace_file", full)
    with pytest.raises(RecordError, match=r"run\.json: No space left on device.*free some space"):
        xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)
    monkeypatch.undo()
    assert xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK).facts["status"] == "done"


def test_labels_that_say_something_else_make_another_set(models, tmp_path):
    found = []
    for labels in ("01", "10"):
        home = folder_of(tmp_path / f"set {labels}" / "pictures", 2)
        rows = zip(sorted(path.relative_to(home).as_posix() for path in home.rglob("*.png")), labels, strict=True)
        (home / "labels.csv").write_text("file,label\n" + "".join(f"{file},class {label}\n" for file, label in rows))
        found.append(xai.audit(home, models[:1], ["grad_cam"], out=tmp_path / labels, **QUICK).facts)
    assert found[0]["store_sha256"] == found[1]["store_sha256"]
    assert found[0]["data_sha256"] != found[1]["data_sha256"]


# ---- stopping and going on -------------------------------------------------------------------------------------------


def test_a_cancelled_audit_keeps_what_is_done_and_goes_on(models, tmp_path):
    source, stop = folder_of(tmp_path / "set", 8), threading.Event()

    def told(progress: Progress) -> None:
        if progress.pictures >= 3:
            stop.set()

    with pytest.raises(Cancelled):
        xai.audit(source, models, CAMS, out=tmp_path / "run", progress=told, cancel=stop, **QUICK)
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    kept = facts["progress"]["done"]
    assert facts["status"] == "stopped"
    assert 3 * 2 * 3 <= kept < 8 * 2 * 3
    run = xai.audit(source, models, CAMS, out=tmp_path / "run", **QUICK)
    assert run.facts["progress"]["found"] == kept
    unbroken = xai.audit(source, models, CAMS, out=tmp_path / "unbroken", **QUICK)
    assert run.facts["store_sha256"] == unbroken.facts["store_sha256"]


def test_what_a_killed_audit_left_half_written_is_gone_after_the_next(pictures, models, tmp_path):
    xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)
    for home in (tmp_path / "run", tmp_path / "run" / "arrays" / "one"):
        (home / f".draft-{'a' * 32}").write_bytes(b"half")
    assert not xai.verify(tmp_path / "run").ok
    xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)
    assert xai.verify(tmp_path / "run").ok, str(xai.verify(tmp_path / "run"))


def test_another_question_in_the_same_folder_is_refused_by_what_differs(pictures, models, tmp_path):
    xai.audit(pictures, models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)
    with pytest.raises(SettingError, match=r"run holds an audit that asked something else: methods and seed differ"):
        xai.audit(pictures, models[:1], CAMS, out=tmp_path / "run", seed=1, **QUICK)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.doc").write_text("mine")
    with pytest.raises(RecordError, match="already holds something else"):
        xai.audit(pictures, models[:1], CAMS, out=tmp_path / "full", **QUICK)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.doc"]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"weigh": "some"}, "Choose one of none, wrong, all"),
        ({"engine": "slurm"}, "Choose local or ray"),
        ({"workers": 2}, "one worker"),
        ({"target": "zebra"}, "no class 'zebra'"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_written(pictures, models, tmp_path, settings, sentence):
    with pytest.raises(AuditError, match=sentence):
        xai.audit(pictures, models[:1], CAMS, out=tmp_path / "run", **{**QUICK, **settings})
    assert not (tmp_path / "run").exists()


def test_networks_of_equal_weights_that_are_built_otherwise_share_no_answer(pictures, tmp_path):
    def built(padding: str) -> Model:
        convolution = nn.Conv2d(3, 4, 3, padding=1, padding_mode=padding)
        module = seeded(
            lambda: nn.Sequential(convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        )
        module[0].weight.data = torch.linspace(-1, 1, 108).reshape(4, 3, 3, 3)
        module[0].bias.data.zero_()
        return wrapped(module, name=padding)

    pair = [built("zeros"), built("reflect")]
    assert pair[0].identity["weights_sha256"] == pair[1].identity["weights_sha256"]
    run = xai.audit(pictures, pair, ["grad_cam"], out=tmp_path / "run", **QUICK)
    picture = run.predictions["picture"][0]
    one, other = (run.prediction(picture, name).logits for name in ("zeros", "reflect"))
    assert not np.array_equal(one, other)


def test_a_key_depends_on_everything_that_the_answer_depends_on_and_on_nothing_else(models):
    worker = Worker(models, Question((xai.METHODS.build("grad_cam"),), (xai.METRICS.build("deletion"),), weigh="all"))
    identity = dict(models[0].identity)

    def keys(**changes: Any) -> tuple[Any, ...]:
        question = Question(
            tuple(map(xai.METHODS.build, changes.get("methods", ["grad_cam"]))),
            tuple(map(xai.METRICS.build, changes.get("metrics", ["deletion"]))),
            changes.get("seed", 0),
            "all",
        )
        return keys_of(question, question.fitted(models[0]), changes.get("identity", identity),
                       changes.get("picture", "a" * 64), changes.get("target"), changes.get("mask", ""))  # fmt: skip

    plain = keys()
    assert plain == keys(identity={**identity, "name": "renamed", "device": "cpu"})
    assert worker.fitted[0][0].layer, "the layer that was left open is in the key"
    for change in (
        {"picture": "b" * 64},
        {"identity": {**identity, "weights_sha256": "0"}},
        {"identity": {**identity, "structure_sha256": "0"}},
        {"identity": {**identity, "preprocessing_sha256": "0"}},
        {"identity": {**identity, "device": "cuda:0"}},
        {"identity": {**identity, "labels_sha256": "0"}},
    ):
        other = keys(**change)
        assert not set(plain.all()) & set(other.all()), change
    for change in ({"target": 1}, {"seed": 1}, {"methods": [{"name": "grad_cam", "positive_only": False}]}):
        other = keys(**change)
        assert other.prediction == plain.prediction
        assert not {*plain.maps, *plain.evidence, *plain.scores[0]} & {*other.maps, *other.evidence, *other.scores[0]}
    other = keys(metrics=[{"name": "deletion", "steps": 12}])
    assert other.maps == plain.maps
    assert other.scores != plain.scores
    assert keys(mask="c" * 64) == plain, "deletion looks at no mask"


# ---- killed ----------------------------------------------------------------------------------------------------------

OWN = """
import torch, xai_core as xai
from torch import nn

def tiny(seed):
    torch.manual_seed(seed)
    return xai.wrap_model(
        nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU(), nn.Conv2d(6, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
                      nn.Flatten(), nn.Linear(8, 2)),
        labels=["class 0", "class 1"], input_size=(3, 24, 24), device="cpu")

MODELS = {"tiny": lambda: tiny(0), "other": lambda: tiny(1)}
"""


def command(source: Path, out: Path, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "xai_core", "audit", "--data", str(source), "--out", str(out), "--models", "tiny"),
        *("--methods", "grad_cam,layer_cam,saliency,occlusion", "--metrics", "sparseness", "--no-controls"),
        *("--weigh", "none", *more),
    ]


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "own.py").write_text(OWN)
    monkeypatch.setenv("SECOND_LOOK_MODELS", str(tmp_path / "own.py"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return tmp_path


@pytest.mark.slow
def test_killed_at_random_moments_it_loses_nothing_and_ends_as_if_it_had_not_been(own):
    """200 pictures by 4 methods. What a store has acknowledged is in it after kill -9, and is never made again."""
    source = folder_of(own / "set", 200)
    units = 200 * (1 + 4 + 4)
    draw, killed, out = random.Random(0), 0, own / "run"
    before: dict[str, str] = {}
    while killed < 5:
        with (own / "said").open("wb") as log:
            child = subprocess.Popen(command(source, out), cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        end = time.monotonic() + 120
        while child.poll() is None and not _grown(out / "store", len(before)):
            assert time.monotonic() < end, "no progress"
            time.sleep(0.02)
        time.sleep(draw.random() * 0.4)
        if child.poll() is not None:
            assert child.returncode == 0, (own / "said").read_text()
            break
        child.send_signal(signal.SIGKILL)
        child.wait()
        killed += 1
        now = contents(out / "store")
        assert before.items() <= now.items(), "something that was kept is gone, or another"
        before = now
    assert killed >= 3
    assert 0 < len(before) < units, "killed too late to say anything"
    done = subprocess.run(command(source, out), cwd=ROOT, capture_output=True, text=True, check=True)
    found, computed = map(int, re.search(r"Units +([\d,]+) found, ([\d,]+) computed", done.stdout.replace(",", "")
                                         .replace(" found ", " found, ")).groups())  # fmt: skip
    assert (found, found + computed) == (len(before), units)
    whole = subprocess.run(command(source, own / "unbroken"), cwd=ROOT, capture_output=True, text=True, check=True)
    assert contents(out / "store") == contents(own / "unbroken" / "store")
    assert _hash(done.stdout) == _hash(whole.stdout)
    for table in ("predictions.parquet", "metrics.parquet", "metrics.csv", "aggregate.csv"):
        assert (out / table).read_bytes() == (own / "unbroken" / table).read_bytes()


def _grown(store: Path, units: int) -> bool:
    if not store.exists():
        return False
    try:
        with UnitStore(store) as found:
            return len(found) > units
    except AuditError:
        return False


def _hash(printed: str) -> str:
    found = re.search(r"sha256 ([0-9a-f]{64})", printed)
    assert found is not None
    return found[1]


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(own):
    source, out = folder_of(own / "set", 120), own / "run"
    child = subprocess.Popen(
        command(source, out), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while child.poll() is None and not _grown(out / "store", 60):
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    said, _ = child.communicate(timeout=300)
    assert child.returncode == 130
    assert "Traceback" not in said
    assert "the same command goes on from there" in said
    assert json.loads((out / "run.json").read_text())["status"] == "stopped"
    done = subprocess.run(command(source, out), cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(re.search(r"Units +([\d,]+) found", done.stdout)[1].replace(",", "")) >= 60


def test_pictures_of_any_size_and_kind_are_read(models, tmp_path):
    home = tmp_path / "set"
    home.mkdir()
    for name, size in (("wide.jpg", (90, 30)), ("tall.webp", (30, 90)), ("dot.png", (1, 1))):
        PillowImage.new("RGB", size, (200, 30, 30)).save(home / name)
    run = xai.audit(read_cases(home), models[:1], ["grad_cam"], out=tmp_path / "run", **QUICK)
    sizes = {row.file: (row.width, row.height) for row in run.predictions.itertuples()}
    assert sizes == {"wide.jpg": (90, 30), "tall.webp": (30, 90), "dot.png": (1, 1)}
