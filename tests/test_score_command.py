"""`score` as a person types it: what it writes, what it prints, and that a mistake leaves nothing."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

import xai_core as xai
from tests.conftest import ROOT
from xai_core.models import Model
from xai_core.records import Check, Evidence, Explanation, Sheet
from xai_core.score_command import _metrics

SAMPLES = ROOT / "assets" / "samples"
FRACTURE = SAMPLES / "xray_simple_fracture_1.png"
QUICK = ("--metric-set", "steps=4", "--metric-set", "samples=2")
FILES = [
    *("aggregate.csv", "agreement.csv", "agreement.png", "checks.csv", "curves.csv", "differences.csv", "maps.csv"),
    *("pictures.csv", "ranking.png", "scores.csv", "scores.json", "scores.parquet", "sheet.json", "summary.md"),
]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run_here(*words: str | Path) -> str:
        from xai_core.__main__ import app

        app(["score", *map(str, words)], standalone_mode=False)
        return capsys.readouterr().out

    return run_here


@pytest.fixture
def refused(refused: Callable[..., str]) -> Callable[..., str]:
    """As everywhere, of this command."""
    return partial(refused, "score")


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_one_picture_by_two_methods_gives_tables_figures_verdicts_and_a_page(
    monkeypatch: pytest.MonkeyPatch, said: Callable[..., str], tmp_path: Path
) -> None:
    from xai_core import evidence

    def weighed(model: Model, explanations: Sequence[Explanation], **_: object) -> list[Evidence]:
        assert [e.method["name"] for e in explanations] == ["grad_cam", "saliency"]  # no controls
        return [Evidence("weak", (Check("class contrast", False, f"{e.method['name']} | 1"),)) for e in explanations]

    monkeypatch.setattr(evidence, "weigh_many", weighed)  # which takes long, and has tests of its own
    out = tmp_path / "out"
    printed = said(
        "--image", FRACTURE, "--methods", "grad_cam,saliency", "--metrics", "deletion,pointing_game,sparseness",
        "--out", out, *QUICK[:2],
    )  # fmt: skip
    assert sorted(path.name for path in out.iterdir()) == sorted([*FILES, "manifest.json"])
    assert xai.verify(out).ok
    sheet = xai.open_record(out)
    assert isinstance(sheet, Sheet)
    assert sheet.about["title"] == "2 methods and 4 controls by 3 metrics on 1 picture"
    assert sheet.about["pictures"] == [xai.read_image(FRACTURE).sha256]
    assert sheet.about["targets"] == [{"index": 1, "label": "simple fracture", "kind": "logit", "against_label": ""}]
    assert "--methods grad_cam,saliency" in sheet.about["command"]
    [pictured] = sheet.tables["pictures"].lines()
    mask = SAMPLES / "masks" / "xray_simple_fracture_1_truth.png"
    assert pictured["mask_sha256"] == hashlib.sha256(mask.read_bytes()).hexdigest()
    assert pictured["predicted"] == "simple fracture"
    assert len(sheet.tables["checks"].rows) == 2
    lines = lines_of(out / "scores.csv")
    controls = {"random", "uniform", "sobel_edges", "centre_gaussian"}
    assert {line["method"] for line in lines} == {"grad_cam", "saliency", *controls}
    assert {line["method"] for line in lines if line["control"] == "True"} == controls
    assert all(line["why"] for line in lines if line["undefined"] == "True")
    assert all(line["verdict"] for line in lines if line["control"] == "False")
    assert len(lines_of(out / "curves.csv")) == 5 * 5  # five points of five maps that are not flat
    page = (out / "summary.md").read_text(encoding="utf-8")
    for words in (
        "Synthetic demonstration model",
        "| *better* | lower |",
        "simple fracture",
        "steps=4",
        "--metric-set",
    ):
        assert words in page, words
    everything = b"".join(path.read_bytes() for path in out.iterdir())
    assert FRACTURE.stem.encode() not in everything
    assert json.loads((out / "scores.json").read_text(encoding="utf-8"))["rows"][0]["evidence"][0]["checks"]
    assert "| Saliency | weak | saliency \\| 1 |" in page
    for name in ("ranking.png", "agreement.png"):
        with PillowImage.open(out / name) as figure:
            assert figure.info["dpi"][0] >= 149
    for words in ("Deletion", "knowing nothing", "controls", "Verdicts", "Flat map", f"Saved       {out}"):
        assert words in printed, words


def test_pictures_given_twice_count_once_and_layers_are_rows(said: Callable[..., str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed = said(
        "--image", FRACTURE, "--image", FRACTURE, "--image", SAMPLES / "xray_normal_3.png", "--no-weigh", "--methods",
        "grad_cam", "--layer", "layer3,layer4", "--metrics", "sparseness", "--out", out,
    )  # fmt: skip
    lines = lines_of(out / "scores.csv")
    assert len({line["picture"] for line in lines}) == 2
    assert {"grad_cam (layer=layer3)", "grad_cam (layer=layer4)"} <= {line["method"] for line in lines}
    assert not any(line["verdict"] for line in lines)
    assert "n = 2" in printed
    assert "2, 1 with marked evidence" in printed


def test_a_folder_of_ten_pictures_gives_intervals_and_a_test_of_differences(
    said: Callable[..., str], tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for path in sorted(SAMPLES.glob("xray_*.png"))[:10]:
        shutil.copy(path, folder)
    said(
        "--image", folder, "--no-weigh", "--methods", "grad_cam,saliency,input_x_gradient", "--metrics", "sparseness",
        "--out", tmp_path / "out",
    )  # fmt: skip
    page = (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")
    assert "Friedman chi-squared" in page
    assert "n = 10" in page
    assert " to 0." in page  # an interval
    made = json.loads((tmp_path / "out" / "scores.json").read_text(encoding="utf-8"))
    assert made["comparisons"][0]["friedman"]["n"] == 10


def test_all_metrics_without_a_mask_say_which_are_left_out(
    monkeypatch: pytest.MonkeyPatch, said: Callable[..., str], tmp_path: Path
) -> None:
    from xai_core.metrics import METRICS

    few = {name: METRICS[name] for name in ("sparseness", "pointing_game", "mass_accuracy")}
    monkeypatch.setattr(METRICS, "_classes", few)
    assert list(xai.METRICS) == sorted(few)
    lonely = shutil.copy(SAMPLES / "xray_normal_1.png", tmp_path)
    printed = said("--image", lonely, "--no-weigh", "--methods", "saliency", "--out", tmp_path / "out")
    assert "Left out    mass_accuracy, pointing_game: they hold a map against marked evidence" in printed
    assert {line["metric"] for line in lines_of(tmp_path / "out" / "scores.csv")} == {"sparseness"}


def test_methods_that_are_not_valid_here_are_left_out_of_all_and_named(
    monkeypatch: pytest.MonkeyPatch, said: Callable[..., str], tmp_path: Path
) -> None:
    from xai_core.methods import METHODS

    few = ("saliency", "attention_rollout", "random", "uniform", "sobel_edges", "centre_gaussian")
    monkeypatch.setattr(METHODS, "_classes", {name: METHODS[name] for name in few})
    printed = said("--image", FRACTURE, "--no-weigh", "--metrics", "sparseness", "--out", tmp_path / "out")
    assert "Left out    attention_rollout made no map: " in printed
    assert "attention\\_rollout made no map" in (tmp_path / "out" / "summary.md").read_text(encoding="utf-8")


def test_mistakes_are_one_sentence_and_leave_nothing(refused: Callable[..., str], tmp_path: Path) -> None:
    out, plain = ("--out", tmp_path / "out"), ("--methods", "saliency", "--metrics", "sparseness", "--no-weigh")
    lonely = tmp_path / "lonely.png"
    shutil.copy(SAMPLES / "xray_normal_1.png", lonely)
    (tmp_path / "empty").mkdir()
    PillowImage.fromarray(np.zeros((40, 90), np.uint8)).save(tmp_path / "wide.png")
    asked = {
        "No metric is called 'sparsenes'. Did you mean 'sparseness'": (
            "--image", FRACTURE, "--metrics", "sparsenes", *out),
        "No method is called 'salienc'": ("--image", FRACTURE, "--methods", "salienc", *out),
        "there is no mask. Give one with --mask, or leave out pointing_game": (
            "--image", lonely, "--methods", "saliency", "--metrics", "pointing_game", *out),
        "differ in shape": ("--image", FRACTURE, "--mask", tmp_path / "wide.png", *plain, *out),
        "One mask marks the evidence of one picture": (
            "--image", FRACTURE, "--image", lonely, "--mask", SAMPLES / "masks" / "xray_simple_fracture_1.png",
            *plain, *out),
        "holds no pictures": ("--image", tmp_path / "empty", *plain, *out),
        "sparseness has no setting 'steps'": ("--image", FRACTURE, *plain, "--metric-set", "steps=4", *out),
        "is no setting": ("--image", FRACTURE, *plain, "--metric-set", "steps", *out),
        "is not allowed": ("--image", FRACTURE, *plain, "--seed", "-1", *out),
        "runs no softmax attention": (
            "--image", FRACTURE, "--methods", "attention_rollout", "--metrics", "sparseness", *out),
        "already holds something": ("--image", FRACTURE, *plain, "--out", tmp_path),
    }  # fmt: skip
    for words, question in asked.items():
        assert words in refused(*question), words


def test_a_run_that_is_stopped_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, said: Callable[..., str], tmp_path: Path
) -> None:
    from xai_core import charts

    def stopped(table: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(charts, "agreement", stopped)
    printed = said(
        "--image", FRACTURE, "--no-weigh", "--methods", "saliency", "--metrics", "sparseness", "--out", tmp_path / "out"
    )
    assert "Saved" not in printed
    assert list(tmp_path.iterdir()) == []


def test_the_same_question_gives_the_same_bytes(said: Callable[..., str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        said(
            "--image", FRACTURE, "--no-weigh", "--methods", "saliency", "--metrics", "deletion", *QUICK[:2], "--seed",
            "5", "--out", tmp_path / name,
        )  # fmt: skip
    for name in FILES:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


def test_all_metrics_cover_a_picture_in_two_ways_unless_one_is_given() -> None:
    def ways(*pairs: str) -> list[str]:
        built, _ = _metrics("all", pairs, {})
        return [one.to_dict()["baseline"] for one in built if one.name == "deletion"]

    assert ways() == ["blur", "mean"]
    assert ways("baseline=black") == ["black"]
