"""`probe` as a person types it: what it writes, what it prints, and that a mistake leaves nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import xai_core as xai
from tests.conftest import ROOT
from xai_core.records import Finding

SAMPLES = ROOT / "assets" / "samples"
FRACTURE = SAMPLES / "xray_simple_fracture_1.png"
TWO = ("--data", SAMPLES, "--where", "label=sad")
BAR = ("--probe", "eye_bar")
LIGHT = ("--probe", "brightness", "--set", "steps=2")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def run_here(*words: str | Path) -> str:
        from xai_core.__main__ import app

        app(["probe", *map(str, words)], standalone_mode=False)
        return capsys.readouterr().out

    return run_here


@pytest.fixture
def refused(refused: Callable[..., str]) -> Callable[..., str]:
    """As everywhere, of this command."""
    return partial(refused, "probe")


def test_a_set_by_one_probe_gives_the_answer_and_its_record(said: Callable[..., str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    printed = said(*TWO, "--model", "demo-face", *LIGHT, "--out", out)
    finding = xai.open_record(out)
    assert isinstance(finding, Finding)
    assert finding.probe == {"name": "brightness", "steps": 2, "strongest": 0.4}
    assert len(finding.pictures) == 2
    for sentence in finding.sentences:
        assert f"Found       {sentence}" in printed
    assert "2 pictures" in printed
    assert printed.rstrip().endswith(f"Saved       {out}")
    assert xai.verify(out).ok


def test_one_picture_is_asked_with_what_the_table_beside_it_says(said: Callable[..., str], tmp_path: Path) -> None:
    said("--image", FRACTURE, *LIGHT, "--method", "none", "--out", tmp_path / "out")
    finding = xai.open_record(tmp_path / "out")
    assert isinstance(finding, Finding)
    assert finding.methods == ()
    assert [line["label"] for line in finding.tables["flips"].lines()] == ["simple fracture"]


def test_labels_that_the_model_does_not_have_are_said(said: Callable[..., str], tmp_path: Path) -> None:
    quick = (*LIGHT, "--method", "none", "--out")
    (tmp_path / "labels.csv").write_text("file,label\nmine.png,crack\n")
    (tmp_path / "mine.png").write_bytes(FRACTURE.read_bytes())
    assert (
        "            demo-xray has none of the labels of mine.png: they are crack, its classes normal, simple "
        "fracture, comminuted fracture. Choose another model, or rename the labels exactly as the classes. What is "
        "probed all the same is what it predicts, right or wrong.\n"
    ) in said("--image", tmp_path / "mine.png", *quick, tmp_path / "one")
    (tmp_path / "labels.csv").write_text("file,label\nmine.png,crack\nother.png,normal\n")
    (tmp_path / "other.png").write_bytes((SAMPLES / "xray_normal_1.png").read_bytes())
    assert (
        "            1 picture is labelled crack, which demo-xray does not have (first: line 2, mine.png). "
        "It is left out of its accuracy.\n"
    ) in said("--data", tmp_path, *quick, tmp_path / "two")
    assert "does not have" not in said("--image", FRACTURE, *quick, tmp_path / "three")


def test_several_probes_give_a_record_each_and_a_page_on_all(said: Callable[..., str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    said(*TWO, "--model", "demo-face", "--probe", "brightness,contrast", "--set", "steps=2", "--out", out)
    assert sorted(one.name for one in out.iterdir()) == ["brightness", "contrast", "report.md"]
    assert xai.verify(out / "contrast").ok
    page = (out / "report.md").read_text()
    assert page.index("## Brightness") < page.index("## Contrast")


def test_all_of_them_on_a_single_picture_says_which_need_a_set(said: Callable[..., str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    said("--image", FRACTURE, "--all", "--set", "steps=2", "--method", "none", "--out", out)
    page = (out / "report.md").read_text()
    asked, refused = page.split("## Not asked")
    assert "## Brightness" in asked
    assert "Give a set" in refused
    assert {one.name for one in out.iterdir()} <= {"report.md", *xai.PROBES}


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((*LIGHT,), "Name a set with --data, or one picture with --image."),
        ((*TWO, "--image", str(FRACTURE), *LIGHT), "Name a set with --data, or one picture with --image."),
        (TWO, "Name a probe with --probe, or ask all of them with --all."),
        ((*TWO, *LIGHT, "--all"), "Name a probe with --probe, or ask all of them with --all."),
        ((*TWO, "--probe", "brightnes"), "Did you mean 'brightness'"),
        ((*TWO, "--probe", "brightness", "--set", "colum=sex"), "has no setting 'colum'"),
        ((*TWO, *BAR, "--box", "1,2,3,4"), "--box is drawn on one picture"),
        (("--image", str(FRACTURE), *BAR, "--box", "a box"), "is no box"),
        (("--image", str(FRACTURE), *BAR, "--box", "9,9,3,3"), "does not lie in the picture"),
        (("--image", str(FRACTURE), *LIGHT, "--box", "1,2,3,4"), "none of these probes asks about one"),
        ((*TWO, *LIGHT, "--method", "none", "--layer", "layer1"), "none was named"),
        (("--image", str(FRACTURE), *LIGHT, "--where", "label=sad"), "choose among the pictures of a set"),
        ((*TWO, "--probe", "groups"), "needs"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    refused: Callable[..., str], tmp_path: Path, words: tuple[str | Path, ...], reason: str
) -> None:
    assert reason in refused(*map(str, words), "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_picture_that_is_not_there_is_named(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "gone.png cannot be read" in refused("--image", tmp_path / "gone.png", *LIGHT, "--out", tmp_path / "out")


def test_ctrl_c_keeps_what_was_saved_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from xai_core.__main__ import main

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(xai.PROBES["contrast"], "find", stopped)
    words = [*TWO, "--model", "demo-face", "--probe", "brightness,contrast", "--set", "steps=2"]
    monkeypatch.setattr(sys, "argv", ["xai_core", "probe", *map(str, words), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit) as error:
        main()
    assert error.value.code == 130
    assert [one.name for one in (tmp_path / "out").iterdir()] == ["brightness"]
    assert "1 of 2 probes were saved" in capsys.readouterr().out
