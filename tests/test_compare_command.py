"""`compare` as a person types it: what it writes, what it prints, and that a mistake leaves nothing."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

import xai_core as xai
from tests.conftest import ROOT
from xai_core.models import Model
from xai_core.records import Check, Evidence, Explanation, Record

SAMPLES = ROOT / "assets" / "samples"
MARKED = SAMPLES / "xray_comminuted_fracture_1.png"  # both demo models say the same of it, for different reasons
PAIR = "demo-xray,demo-xray-shortcut"


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[str, Record]]:
    """Run the command, and give what it prints and the record that it would save: to draw that takes longest."""
    kept: list[Record] = []

    def save(record: Record, folder: Path) -> Path:
        kept.append(record)
        folder.mkdir()
        return folder

    def run(*words: str | Path) -> tuple[str, Record]:
        from xai_core.__main__ import app

        monkeypatch.setattr(xai, "save", save)
        app(["compare", *map(str, words)], standalone_mode=False)
        return capsys.readouterr().out, kept[-1]

    return run


@pytest.fixture
def refused(refused: Callable[..., str], tmp_path: Path) -> Callable[..., str]:
    """As everywhere, of this command on a picture whose marker one of the models has learnt."""

    def run(*words: str | Path) -> str:
        given = [*words, "--image", MARKED] if "--image" not in words else [*words]
        return refused("compare", *given, "--out", tmp_path / "out")

    return run


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """What comparing the honest demo model with the one that cheats prints and writes."""
    from xai_core.__main__ import app

    out = tmp_path_factory.mktemp("compare") / "out"
    heard = io.StringIO()
    with contextlib.redirect_stdout(heard):
        app(["compare", "--image", str(MARKED), "--models", PAIR, "--out", str(out)], standalone_mode=False)
    return heard.getvalue(), out


def test_the_summary_says_who_agrees_where_they_look_and_what_to_check(demo: tuple[str, Path]) -> None:
    said, _ = demo
    lines = said.splitlines()
    assert "Together    Both agree: comminuted fracture, 95.7 % and 97.8 %." in lines
    assert "Model       demo-xray on cpu" in lines
    assert lines.count("            Synthetic demonstration model. Not for diagnosis.") == 2
    assert said.count("Map         Grad-CAM (layer=layer4") == 2
    assert "peaks inside the marked evidence" in said
    assert (
        "            ✗ demo-xray-shortcut has 2.8 % of its map on the marked artefact; a uniform map has 0.3 %."
        in lines
    )
    assert "            ✓ demo-xray has 0.0 % of its map on the marked artefact; a uniform map has 0.3 %." in lines
    assert sum(" – " in line and "not weighed yet" in line for line in lines) == 2


def test_one_map_is_on_the_fracture_and_one_on_the_marker(demo: tuple[str, Path]) -> None:
    """The distance that is printed, worked out again from the arrays alone: both crops are the whole upload of 256."""
    said, out = demo
    middles = []
    for number in (1, 2):
        values = np.clip(np.load(out / f"0{number}_grad_cam.npy", allow_pickle=False).astype(float), 0, None)
        rows, columns = np.indices(values.shape)
        middles.append(np.array([(values * rows).sum(), (values * columns).sum()]) / values.sum())
    away = 2 * np.linalg.norm(middles[0] - middles[1])  # the map has 128 pixels
    assert away > 100
    assert f"Between the centres of mass: {away:.1f} px" in said
    assert "Overlap of the highest tenths: 0.00" in said


def test_the_record_holds_both_models_and_can_be_verified(demo: tuple[str, Path]) -> None:
    _, out = demo
    for name in ("comparison.png", "difference.png", "01_grad_cam.figure.png", "02_grad_cam.figure.png"):
        with PillowImage.open(out / name) as figure:
            assert figure.info["dpi"][0] >= 149
            assert figure.width > 1100
    assert xai.verify(out).ok
    record = xai.open_record(out)
    assert [e.model["name"] for e in record.explanations] == PAIR.split(",")
    assert [one.model["name"] for one in record.predictions] == PAIR.split(",")
    assert all(e.box == (0, 0, 256, 256) for e in record.explanations)
    assert MARKED.name not in (out / "manifest.json").read_text(encoding="utf-8")
    assert json.loads((out / "manifest.json").read_text(encoding="utf-8"))["display"]["shared_scale"] is True


def test_without_a_picture_a_sample_that_the_first_model_knows_is_taken_and_named(
    printed: Callable[..., tuple[str, Record]], tmp_path: Path
) -> None:
    said, _ = printed("--models", "demo-face,demo-xray", "--out", tmp_path / "out")
    assert "Picture     face_happy_1.png, a sample that ships with Second Look" in said
    assert "demo-xray has no class called" in said
    from xai_core.compare_command import _picture

    assert _picture(None, "resnet18")[0].name.startswith("xray_simple_fracture_2")


def test_random_weights_are_said_loudly_and_layers_go_to_models_in_order(
    printed: Callable[..., tuple[str, Record]], tmp_path: Path
) -> None:
    said, record = printed("--models", "test_resnet,test_convnext.r160_in1k,demo-xray", "--no-pretrained", "--layer",
                   "layer3,stages.2,", "--target", "7", "--own-scale", "--image", MARKED,
                   "--out", tmp_path / "out")  # fmt: skip
    assert said.count("RANDOM WEIGHTS: this network has learnt nothing") == 2
    assert [line.split("layer=")[1].split(",")[0] for line in said.splitlines() if line.startswith("Map")] == [
        "layer3", "stages.2", "layer4",
    ]  # fmt: skip
    assert said.count("target cock") == 2  # class 7 of ImageNet
    assert "demo-xray has no class called 'cock': its own prediction, 'comminuted fracture', is explained" in said
    assert said.count("Difference  ") == 2
    assert record.display["shared_scale"] is False


def test_weighing_is_asked_for_and_ticked(
    printed: Callable[..., tuple[str, Record]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def weigh(model: Model, e: Explanation, *, seed: int = 0, progress: object = None) -> Evidence:
        check = Check("placement", model.name == "demo-xray", f"As {model.name} does.")
        return Evidence("supported" if check.passed else "no evidence", (check,))

    monkeypatch.setattr(xai, "weigh", weigh)
    said, _ = printed("--models", PAIR, "--image", MARKED, "--weigh", "--out", tmp_path / "out")
    assert "✓ demo-xray: supported, 1 check passed." in said
    assert "✗ demo-xray-shortcut: no evidence. As demo-xray-shortcut does." in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--models", "demo-xray"), "1 model was named, and 2 to 4 are compared"),
        (("--models", "a,b,c,d,e"), "5 models were named"),
        (("--models", "demo-xray,demo-xray-b,demo-xray"), "demo-xray is named twice"),
        (("--models", "demo-xray,no-such-model"), "no-such-model"),
        (("--models", PAIR, "--target", "burn"), "No class is called 'burn'"),
        (("--models", PAIR, "--target", "99"), "Class 99 does not exist"),
        (("--models", PAIR, "--target", "9" * 5000), "Class 999999999… does not exist"),
        (("--models", PAIR, "--task", "multi label"), "What outputs mean is set for architectures and checkpoints"),
        (("--models", PAIR, "--no-pretrained"), "Random weights are drawn for architectures"),
        (("--models", PAIR, "--image", ROOT / "README.md"), "README.md is plain text"),
        (("--models", PAIR, "--image", "absent.png"), "absent.png does not exist"),
        (("--models", PAIR, "--method", "grad_cam,saliency"), "one method at a time"),
        (("--models", PAIR, "--method", "no_such"), "no_such"),
        (("--models", PAIR, "--layer", "layer4,layer4,layer4"), "3 layers were named for 2 models"),
        (("--models", PAIR, "--layer", "stages.9"), "stages.9"),
        (("--models", PAIR, "--method", "saliency", "--layer", "layer4"), "reads a layer"),
        (("--models", PAIR, "--kind", "contrast"), "A contrast needs the class"),
        (("--models", PAIR, "--kind", "loudness"), "No kind of target is called 'loudness'"),
        (("--models", PAIR, "--labels", "labels.txt"), "Labels are read for checkpoints"),
        (("--models", PAIR, "--set", "steps=3"), "no setting 'steps'"),
        (("--models", "demo-xray,resnet18=absent.safetensors"), "absent.safetensors"),
    ],
)
def test_a_mistake_is_one_sentence(refused: Callable[..., str], words: tuple[str, ...], sentence: str) -> None:
    assert sentence in refused(*words)


def test_two_checkpoints_of_one_architecture_are_compared_and_two_copies_of_one_are_not(
    refused: Callable[..., str], printed: Callable[..., tuple[str, Record]], tmp_path: Path
) -> None:
    from safetensors.torch import save_file

    files = []
    for number, seed in enumerate((0, 0, 1)):
        model = xai.load_model("test_resnet", pretrained=False, seed=seed, device="cpu")
        files.append(f"test_resnet={tmp_path / f'{number}.safetensors'}")
        weights = {key: value.contiguous() for key, value in model.module.state_dict().items()}
        save_file(weights, tmp_path / f"{number}.safetensors")
    assert "would only agree with itself" in refused("--models", ",".join(files[:2]))
    said, record = printed("--models", ",".join(files[1:]), "--image", MARKED, "--out", tmp_path / "out")
    names = [line.split()[1:3] for line in said.splitlines() if line.startswith("Model ")]
    assert names[0][0] == names[1][0] == "test_resnet"
    assert names[0][1] != names[1][1]  # told apart by their weights
    assert len(record.models) == 2
