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

from tests.conftest import ROOT

SAMPLES = ROOT / "assets" / "samples"
FRACTURE = SAMPLES / "xray_simple_fracture_1.png"


def run(*words: str | Path, expect: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "xai_core", *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=120,
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
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command in this process, which is quicker, and give the one sentence that it ends with."""

    def run_here(*words: str | Path) -> str:
        from xai_core.__main__ import main

        monkeypatch.setattr(sys, "argv", ["xai_core", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 1
        sentence = capsys.readouterr().err.strip()
        assert len(sentence.splitlines()) == 1, sentence
        assert sentence.endswith((".", "?")), sentence
        return sentence

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


def test_methods_lists_what_is_valid_and_why_the_rest_is_not() -> None:
    rows = json.loads(run("methods", "--model", "test_vit", "--random-weights", "--json"))
    import xai_core as xai

    assert [row["name"] for row in rows] == list(xai.METHODS)
    assert all(row["valid"] or row["why_not"] for row in rows)


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
