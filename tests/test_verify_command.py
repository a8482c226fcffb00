"""The command `verify` as a person types it: what it prints, its exit code, and that it writes nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import xai_core as xai
from tests.conftest import ROOT, photograph, png_of
from tests.test_recompute import altered, older, plain_figures, resealed
from xai_core.errors import Cancelled
from xai_core.verify_command import GIVE

__all__ = ["plain_figures"]

SAMPLES = ROOT / "assets" / "samples"
FRACTURE = SAMPLES / "xray_simple_fracture_1.png"


def verify(*words: str | Path) -> Result:
    from xai_core.__main__ import app

    return CliRunner().invoke(app, ["verify", *map(str, words)])


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The map of a sample by a demo model, and what it predicts."""
    model, image = xai.load_model("demo-xray", device="cpu"), xai.read_image(FRACTURE)
    return xai.save(xai.explain(model, image, "grad_cam"), tmp_path / "record", xai.predict(model, image))


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """The map of a picture that only its owner has."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "case.png").write_bytes(png_of(photograph(64)))
    model, image = xai.load_model("demo-xray", device="cpu"), xai.read_image(tmp_path / "mine" / "case.png")
    return xai.save(xai.explain(model, image, "saliency"), tmp_path / "record")


def test_files_alone_are_checked_unless_more_is_asked(saved: Path) -> None:
    done = verify(saved)
    assert done.exit_code == 0
    assert done.stdout.startswith("Intact: all ")
    assert "Recomputed" not in done.stdout


def test_an_intact_record_that_comes_out_again_exits_0(saved: Path) -> None:
    done = verify(saved, "--recompute", "2")
    assert done.exit_code == 0, done.output
    intact, asked, said, drawn = done.stdout.splitlines()
    assert intact.startswith("Intact: all ")
    assert asked.startswith("Recomputed 2 of 2 answers: 2 equal to the byte. Not compared: ")
    assert said.split(None, 1) == ["equal", "prediction of demo-xray"]
    assert drawn.split(None, 1) == ["equal", "map 1, grad_cam of simple fracture by demo-xray"]


def test_a_forged_map_exits_1(saved: Path) -> None:
    assert verify(resealed(altered(saved, "01_grad_cam.npy", 0.2))).exit_code == 0
    done = verify(saved, "--recompute", "2")
    assert done.exit_code == 1
    assert "1 equal to the byte, 1 different." in done.stdout


def test_a_changed_file_exits_1_and_is_named(saved: Path) -> None:
    altered(saved, "01_grad_cam.npy", 0.2)
    done = verify(saved, "--recompute", "2")
    assert done.exit_code == 1
    assert "changed       01_grad_cam.npy" in done.stdout
    assert "Nothing was recomputed" in done.stdout


def test_what_differs_by_less_than_the_tolerance_after_an_update_exits_0(saved: Path) -> None:
    resealed(altered(saved, "01_grad_cam.npy", 1e-5), older)
    done = verify(saved, "--recompute", "2")
    assert done.exit_code == 0
    assert "equal within tolerance map 1, grad_cam" in done.stdout


def test_what_cannot_be_recomputed_exits_3(foreign: Path) -> None:
    done = verify(foreign, "--recompute", "1")
    assert done.exit_code == 3
    assert "1 cannot be recomputed." in done.stdout
    assert done.stdout.splitlines()[-1] == GIVE["picture"]
    assert done.stdout.count("--") == 2  # the sentence that is on the page as well names no options


@pytest.mark.parametrize("words", [("--image", "mine/case.png"), ("--data", "mine")])
def test_the_picture_is_named_by_file_or_by_set(words: tuple[str, str], foreign: Path) -> None:
    done = verify(foreign, "--recompute", "1", words[0], foreign.parent / words[1])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--image", "x.png"), "are for recomputing"),
        (("--seed", "0"), "are for recomputing"),
        (("--recompute", "1", "--split", "test"), "--split and --where choose"),
        (("--recompute", "-1"), "-1 answers cannot be recomputed"),
        (("--recompute", "1", "--seed", "-1"), "Seed -1 is not allowed"),
        (("--recompute", "1", "--data", "nowhere"), "nowhere"),
        (("--recompute", "1", "--device", "abacus"), "abacus"),
    ],
)
def test_a_mistake_is_one_sentence(
    words: tuple[str, ...], sentence: str, foreign: Path, refused: Callable[..., str]
) -> None:
    if "abacus" in words:
        words = (*words, "--image", str(foreign.parent / "mine" / "case.png"))
        assert verify(foreign, *words).exit_code == 3
        return
    assert sentence in refused("verify", foreign, *words)


@pytest.mark.parametrize("stop", [KeyboardInterrupt, Cancelled])
def test_ctrl_c_leaves_nothing(stop: type[BaseException], saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xai_core import pipeline

    def stopped(*_: object, **__: object) -> None:
        raise stop

    monkeypatch.setattr(pipeline, "explain", stopped)
    before = {path: path.read_bytes() for path in saved.parent.rglob("*") if path.is_file()}
    done = verify(saved, "--recompute", "2")
    assert done.exit_code == 130
    assert done.stdout == "Stopped. Nothing was written.\n"
    assert {path: path.read_bytes() for path in saved.parent.rglob("*") if path.is_file()} == before
