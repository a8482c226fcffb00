"""The command line as a person types it: what it prints, what it leaves, and its exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as PillowImage

import xai_core as xai
from tests.conftest import ROOT
from xai_core.errors import ModelError

SAMPLES = ROOT / "assets" / "samples"
FRACTURE = SAMPLES / "xray_simple_fracture_1.png"


def run(*words: str | Path, expect: int = 0, limit: int = 120) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "xai_core", *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=limit,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    if expect:
        sentence = done.stderr.strip()
        assert len(sentence.splitlines()) == 1, sentence
        assert sentence.endswith((".", "?")), sentence
        return sentence
    return done.stdout


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command in this process, which is quicker, and give what it printed."""

    def run_here(*words: str | Path) -> str:
        from xai_core.__main__ import app

        app([*map(str, words)], standalone_mode=False)
        return capsys.readouterr().out

    return run_here


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("cli") / "out"
    return run("explain", "--image", FRACTURE, "--model", "demo-xray", "--method", "grad_cam", "--out", out), out


def test_explain_prints_prediction_peak_against_the_mask_seconds_and_passes(saved: tuple[str, Path]) -> None:
    said, _ = saved
    for words in (
        "Prediction  simple fracture", "highest at row", "from the marked evidence", "one cell of the map is 16 pixels",
        "1 forward, 1 backward passes", "Synthetic demonstration model. Not for diagnosis.", "Saved ",
    ):  # fmt: skip
        assert words in said.replace("inside the marked", "0 pixels from the marked"), words


def test_explain_writes_the_figure_the_map_and_the_manifest(saved: tuple[str, Path]) -> None:
    _, out = saved
    values = np.load(out / "01_grad_cam.npy", allow_pickle=False)
    assert (values.shape, values.dtype) == ((128, 128), np.float32)
    with PillowImage.open(out / "01_grad_cam.figure.png") as figure:
        assert figure.width >= 1500
        assert figure.info["dpi"][0] >= 149
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["model"]["name"] == "demo-xray"
    assert manifest["explanations"][0]["target"]["label"] == "simple fracture"
    assert str(FRACTURE.name) not in (out / "manifest.json").read_text(encoding="utf-8")


def test_verify_says_intact_and_after_one_flipped_byte_names_the_file(saved: tuple[str, Path], tmp_path: Path) -> None:
    import shutil

    _, out = saved
    copy = shutil.copytree(out, tmp_path / "copy")
    assert run("verify", copy).startswith("Intact: all 6 files match the manifest.")
    content = bytearray((copy / "01_grad_cam.npy").read_bytes())
    content[5000] ^= 1
    (copy / "01_grad_cam.npy").write_bytes(content)
    done = subprocess.run([sys.executable, "-m", "xai_core", "verify", copy], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "01_grad_cam.npy" in done.stdout
    assert "changed" in done.stdout


def test_several_methods_settings_and_a_named_target(tmp_path: Path) -> None:
    said = run(
        "explain", "--image", SAMPLES / "face_happy_1.png", "--model", "demo-face", "--method",
        "integrated_gradients", "--set", "steps=8", "--set", "start=mean", "--target", "sad", "--out", tmp_path / "o",
    )  # fmt: skip
    assert "Integrated gradients (steps=8, start=mean), target sad" in said
    assert "completeness gap" in said
    said = run("explain", "--image", FRACTURE, "--method", "grad_cam,saliency,eigen_cam", "--out", tmp_path / "three")
    assert said.count("Map ") == 3
    assert (tmp_path / "three" / "sheet.png").exists()


def test_a_setting_goes_to_the_methods_that_have_it(tmp_path: Path) -> None:
    said = run("explain", "--image", FRACTURE, "--method", "integrated_gradients,saliency", "--set", "steps=8",
               "--out", tmp_path / "two")  # fmt: skip
    assert "Integrated gradients (steps=8" in said
    assert "Saliency, target" in said


def test_a_table_that_cannot_be_read_is_said_before_the_work(refused: Callable[..., str], tmp_path: Path) -> None:
    import shutil

    picture = shutil.copy(FRACTURE, tmp_path / "case.png")
    for content, words in (
        (b"file,mask\ncase.png,../../secret.png\n", "outside its folder"),
        (b"file,mask\ncase.png,absent.png\n", "absent.png"),
        ("file,mask\ncäse.png,x\n".encode("latin-1"), "CSV in UTF-8"),
    ):
        (tmp_path / "labels.csv").write_bytes(content)
        assert words in refused("explain", "--image", picture, "--out", tmp_path / "out")
        assert not (tmp_path / "out").exists()


def test_the_same_question_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run("explain", "--image", FRACTURE, "--method", "gradient_shap", "--set", "samples=8", "--seed", "7",
            "--out", tmp_path / name)  # fmt: skip
    assert (tmp_path / "a" / "01_gradient_shap.npy").read_bytes() == (
        tmp_path / "b" / "01_gradient_shap.npy"
    ).read_bytes()


QUICK = [word for pair in ("samples=50", "evaluations=50", "steps=8", "window=0.25", "stride=1.0")
         for word in ("--set", pair)]  # fmt: skip


def test_methods_lists_what_is_valid_and_why_the_rest_is_not(said: Callable[..., str]) -> None:
    answer = json.loads(said("methods", "--model", "test_vit", "--random-weights", "--json", *QUICK))
    rows = {row["name"]: row for row in answer["methods"]}
    assert sorted(rows) == list(xai.METHODS)
    assert answer["model"]["name"] == "test_vit"
    assert answer["notice"].startswith("Random weights")
    assert "astronaut" in answer["picture"]["name"]
    for row in rows.values():
        assert row["verdict"] in ("valid", "approximate", "not valid")
        assert row["verdict"] == "valid" or row["reason"].endswith("."), row
    assert rows["integrated_gradients"]["gap"] is not None
    assert rows["lime"]["passes"] == {"forward": 50, "backward": 0}
    assert not rows["lime"]["measured"]
    valid = sum(row["verdict"] == "valid" and row["family"] != "control" for row in rows.values())
    assert answer["count"].startswith(f"{valid} of {len(rows) - 4} methods valid")


def test_the_matrix_of_a_demo_model_is_measured_on_a_sample_of_its_own_family(said: Callable[..., str]) -> None:
    lines = said("methods", "--model", "demo-xray", "--method", "lime,attention_rollout,grad_cam,uniform",
                 "--set", "samples=50").splitlines()  # fmt: skip
    assert lines[0] == "Synthetic demonstration model. Not for diagnosis."
    assert any("xray_" in line and line.startswith("Picture") for line in lines)
    starts = [line.split()[0] for line in lines]
    assert [name for name in starts if name in xai.METHODS] == ["grad_cam", "lime", "attention_rollout", "uniform"]
    assert "softmax attention" in lines[starts.index("attention_rollout") + 1]
    assert lines[-2].startswith("2 of 3 methods valid, 1 not valid; beside them 1 control")


def test_weights_that_cannot_be_had_are_drawn_and_that_is_said_first(
    said: Callable[..., str], refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(name: str) -> None:
        raise ModelError(f"The pretrained weights of {name} are nowhere.")

    monkeypatch.setattr("xai_core.loading._pretrained", nowhere)
    words = ["methods", "--model", "test_resnet", "--method", "saliency", "--seed", "3"]
    assert said(*words).startswith("RANDOM WEIGHTS, seed 3: the pretrained ones of test_resnet cannot be had here.")
    assert json.loads(said(*words, "--json"))["notice"].startswith("RANDOM WEIGHTS, seed 3")
    assert "nowhere" in refused("explain", "--model", "test_resnet", "--image", FRACTURE, "--out", "never")


def test_a_mistake_in_the_words_for_methods_is_one_sentence(refused: Callable[..., str], tmp_path: Path) -> None:
    for words, expected in [
        (["--model", "resnet118"], "Did you mean 'resnet18'"),
        (["--method", "nonsense"], "There are ablation_cam,"),
        (["--image", str(tmp_path / "absent.png")], "absent.png"),
        (["--set", "steps=1"], "from 8 to 512"),
        (["--set", "nonsense=1"], "None of the chosen methods has a setting 'nonsense'. There are"),
        (["--random-weights"], "is a demo model"),
        (["--model", "test_resnet.nope"], "no weights called 'nope'"),
        (["--model", "test_resnet", "--checkpoint", str(tmp_path / "absent.pth")], "no checkpoint"),
        (["--seed", "-1"], "Seed -1 is not allowed"),
    ]:
        assert expected in refused("methods", *words), words


@pytest.mark.slow
def test_all_methods_give_a_map_each_a_sheet_a_manifest_and_a_table(tmp_path: Path) -> None:
    out = tmp_path / "all"
    said = run("explain", "--image", FRACTURE, "--model", "demo-xray", "--method", "all", *QUICK, "--out", out,
               limit=600)  # fmt: skip
    network = xai.load_model("demo-xray")
    refusals = {name: xai.METHODS[name]().why_not(network) for name in xai.METHODS}
    valid = [name for name, reason in refusals.items() if reason is None]
    made = [path.stem.partition("_")[2] for path in sorted(out.glob("*.npy"))]
    assert sorted(made) == valid
    assert [xai.METHODS[name].family for name in made[-4:]] == ["control"] * 4
    for kind in ("heatmap", "overlay", "figure"):
        assert len(list(out.glob(f"*.{kind}.png"))) == len(valid)
    with PillowImage.open(out / "sheet.png") as sheet:
        assert sheet.height < 2 * sheet.width, "one row per map grew enormous"
    for name, reason in refusals.items():
        if reason is not None:
            assert f"No map      {name}: {reason}" in said
    lines = {line.split()[0]: line for line in said.splitlines() if line.startswith("  ")}
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    for one in manifest["explanations"]:
        line = lines[one["method"]["name"]]
        assert "{forward} + {backward}".format(**{"forward": 0, "backward": 0, **one["passes"]}) in line
        assert f"{one['seconds']:.2f}" in line
    assert "Together" in said
    assert xai.verify(out).ok


class Bomb:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("touch " + os.environ.get("PROOF", "/dev/null"),))


def bad_files(folder: Path) -> dict[str, Path]:
    import io

    good = FRACTURE.read_bytes()
    jpeg = io.BytesIO()
    PillowImage.open(FRACTURE).convert("RGB").save(jpeg, "JPEG")
    big = io.BytesIO()
    PillowImage.new("1", (10_000, 6_000)).save(big, "PNG")
    contents = {
        "text.png": b"just a text file", "cut.jpg": jpeg.getvalue()[:2000], "cut.png": good[:3000],
        "huge.png": big.getvalue(), "empty.png": b"",
    }  # fmt: skip
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


@pytest.mark.parametrize("name", ["text.png", "cut.jpg", "cut.png", "huge.png", "empty.png", "absent.png"])
def test_a_bad_picture_is_one_sentence_and_leaves_nothing(
    name: str, refused: Callable[..., str], tmp_path: Path
) -> None:
    path = bad_files(tmp_path).get(name, tmp_path / name)
    assert name in refused("explain", "--image", path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_other_mistakes_are_one_sentence_and_leave_nothing(refused: Callable[..., str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    torch.save({"state_dict": Bomb()}, tmp_path / "evil.pth")
    torch.save({"a": torch.zeros(2)}, tmp_path / "other.pth")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep me", encoding="utf-8")
    for words, expected in [
        (["--model", "resnet118"], "Did you mean 'resnet18'"),
        (["--method", "grad_kam"], "Did you mean 'grad_cam'"),
        (["--set", "layer=nonsense"], "no layer 'nonsense'"),
        (["--set", "nonsense"], "name=value"),
        (["--target", "healthy"], "No class is called 'healthy'"),
        (["--target", "99"], "Class 99 does not exist"),
        (["--model", "test_resnet", "--checkpoint", str(tmp_path / "evil.pth")], "could run code"),
        (["--model", "test_resnet", "--checkpoint", str(tmp_path / "other.pth")], "is not a checkpoint of test_resnet"),
        (["--device", "quantum"], "no device 'quantum'"),
        (["--device", "cpu:x"], "names no device"),
        (["--seed", "-1"], "Seed -1 is not allowed"),
        (["--random-weights"], "is a demo model, which brings its own weights"),
    ]:
        assert expected in refused("explain", "--image", FRACTURE, "--out", out, *words), words
        assert not out.exists()
    sentence = refused("explain", "--image", FRACTURE, "--out", tmp_path / "full")
    assert "already holds something" in sentence
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert "does not exist" in refused("explain", "--image", FRACTURE, "--out", tmp_path / "no" / "such")
    assert "There is no folder nothing" in refused("verify", tmp_path / "nothing")


def test_a_mistake_ends_the_program_itself_with_exit_code_1(tmp_path: Path) -> None:
    assert "absent.png" in run("explain", "--image", tmp_path / "absent.png", "--out", tmp_path / "out", expect=1)


@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_said_before_the_work(refused: Callable[..., str], tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "may not write" in refused("explain", "--image", FRACTURE, "--out", tmp_path / "out")
