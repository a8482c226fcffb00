"""The command `drift` says what changed, saves it whole, and says in a sentence what it cannot do."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.run_folders import Said, run_folder
from tests.small_run import FILES, LABELS, SAID, write_run
from xai_core.__main__ import app
from xai_core.errors import RecordError, SettingError

RAMP = np.arange(64.0).reshape(8, 8)


def folder_of(place: Path, model: str, called: str, **facts: Any) -> Path:
    said = [Said(f"{i}.png", model, "cat" if letter == "c" else "dog", "cat") for i, letter in enumerate(called)]
    return run_folder(place, said, maps={(one.file, model): RAMP for one in said}, **facts)


def command(*words: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["drift", *map(str, words)], env={"COLUMNS": "200"})
    assert found.exception is None or isinstance(found.exception, SystemExit | SettingError | RecordError)
    return found.exit_code, found.output + str(found.exception or "")


def test_it_says_what_changed_and_saves_pages_and_tables(tmp_path: Path) -> None:
    runs = folder_of(tmp_path / "old", "a", "cccccccc"), folder_of(tmp_path / "new", "b", "cccccccd")
    code, text = command(*runs, "--out", tmp_path / "drift")
    assert code == 0
    assert "Found       1 of 8 pictures are called otherwise, 12.5 %" in text
    assert text.splitlines()[-1] == f"Saved       {tmp_path / 'drift'}: read drift.md first"
    assert sorted(one.name for one in (tmp_path / "drift").iterdir()) == [
        "drift.json", "drift.md", "flips.csv", "groups.csv", "maps.csv", "moved.csv", "numbers.csv", "scores.csv",
    ]  # fmt: skip
    [flip] = csv.DictReader(io.StringIO((tmp_path / "drift" / "flips.csv").read_text()))
    assert (flip["file"], flip["old"], flip["new"], flip["direction"]) == ("7.png", "cat", "dog", "broken")
    assert json.loads((tmp_path / "drift" / "drift.json").read_bytes())["models"][0]["pictures"] == 8


def test_without_a_place_nothing_is_written(tmp_path: Path) -> None:
    runs = folder_of(tmp_path / "old", "a", "cc"), folder_of(tmp_path / "new", "b", "cd")

    def files() -> list[Path]:
        return sorted(one for one in tmp_path.rglob("*") if "store" not in one.parts)

    before = files()
    code, text = command(*runs)
    assert (code, "Saved" in text) == (0, False)
    assert files() == before


def test_the_same_run_twice_has_no_drift(tmp_path: Path) -> None:
    run = folder_of(tmp_path / "run", "a", "cdcd")
    code, text = command(run, run)
    assert code == 0
    assert text.startswith("Found       No drift: same weights. a, weights weights of a")


def test_two_networks_of_one_recipe_are_compared_from_their_stores(tmp_path: Path) -> None:
    """Of six samples each network is wrong about others, and each keeps a map by two methods."""
    write_run(tmp_path / "run")
    code, text = command(tmp_path / "run", tmp_path / "run", "--model", "demo-xray=demo-xray-shortcut")
    assert code == 0
    old, new = ([LABELS[said] for said, _ in SAID[name]] for name in ("demo-xray", "demo-xray-shortcut"))
    flips = sum(a != b for a, b in zip(old, new, strict=True))
    assert f"Found       {flips} of {len(FILES)} pictures are called otherwise" in text
    assert "Maps by grad_cam, " in text
    assert "Maps by saliency, " in text
    assert "Synthetic demonstration model. Not for diagnosis." in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--model", "gone"], "--model gone: the earlier run has no model 'gone'. It has a."),
        (["--model", "a=gone"], "the later run has no model 'gone'. It has b."),
        (["--smallest", "0"], "the smallest cannot be 0"),
    ],
)
def test_a_slip_of_the_pen_is_one_sentence(tmp_path: Path, words: list[str], said: str) -> None:
    runs = folder_of(tmp_path / "old", "a", "cc"), folder_of(tmp_path / "new", "b", "cd")
    code, text = command(*runs, *words)
    assert (code, said in text) == (1, True)


def test_runs_that_cannot_be_compared_are_said_to_be_so(tmp_path: Path) -> None:
    run = folder_of(tmp_path / "run", "a", "cc")
    stopped = folder_of(tmp_path / "stopped", "a", "cc", status="stopped")
    (tmp_path / "empty").mkdir()
    for other, said in (
        (stopped, "stopped is stopped, and drift is between finished runs"),
        (tmp_path / "empty", "empty holds no run"),
        (tmp_path / "gone", "gone holds no run"),
    ):
        for pair in ((run, other), (other, run)):
            code, text = command(*pair)
            assert (code, said in text) == (1, True)


def test_a_place_that_is_taken_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    taken = tmp_path / "drift"
    taken.mkdir()
    (taken / "mine.txt").write_text("mine")
    code, text = command(tmp_path / "gone", tmp_path / "gone", "--out", taken)
    assert (code, "drift: it already holds something" in text) == (1, True)
    assert [one.name for one in taken.iterdir()] == ["mine.txt"]
