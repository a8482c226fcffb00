"""Decisions are appended, never changed, and there as soon as they are acknowledged."""

from __future__ import annotations

import csv
import io
import json
import random
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import ROOT
from xai_core import decisions
from xai_core.decisions import FILE, REASONS, Decisions, cohen_kappa
from xai_core.errors import RecordError, SettingError
from xai_core.spreadsheet import csv_text, inert

WRITER = """
import sys
from xai_core.decisions import Decisions
book, name, count = Decisions(sys.argv[1]), sys.argv[2], int(sys.argv[3])
for i in range(count):
    one = book.decide(name, f"{i % 7:064d}", f"{i}.png", flag=bool(i % 2), reason=str(1 + i % 9), note=f"{name} {i}")
    print(one.id, flush=True)
"""


def writer(folder: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(folder), name, str(count)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_to_read_a_run_without_decisions_creates_nothing(tmp_path):
    book = Decisions(tmp_path)
    assert book.latest() == []
    assert book.history() == []
    assert book.reasons == REASONS
    assert list(tmp_path.iterdir()) == []


def test_the_latest_row_of_a_reviewer_counts_and_the_history_stays(tmp_path):
    book = Decisions(tmp_path)
    book.decide("Ada", "a" * 64, "1.png", flag=True)
    second = book.decide("Ada", "a" * 64, "1.png", flag=True, reason="3", note="  says cat  ")
    other = book.decide("Ben", "a" * 64, "1.png", flag=False)
    assert book.latest() == [second, other]
    assert book.latest("Ada") == [second]
    assert (second.reason, second.words, second.note) == ("3", "label error", "says cat")
    assert [one.flag for one in book.history("a" * 64)] == [True, True, False]
    book.clear("Ada", "a" * 64)
    assert book.latest() == [other]
    assert [one.cleared for one in book.history()] == [False, False, False, True]
    assert book.history("b" * 64) == []
    assert book.reviewers == ["Ada", "Ben"]


def test_a_new_reader_sees_what_another_wrote(tmp_path):
    made = Decisions(tmp_path).decide("Ada", "a" * 64, flag=None, reason="9")
    assert Decisions(tmp_path).latest() == [made]
    assert made.flag is None
    assert made.time.endswith("Z")


@pytest.mark.parametrize("table", ["decisions", "reasons", "maps"])
@pytest.mark.parametrize("change", ["UPDATE {} SET time = 'never'", "DELETE FROM {}"])
def test_rows_can_be_neither_changed_nor_deleted(tmp_path, table, change):
    book = Decisions(tmp_path)
    book.decide("Ada", "a" * 64, flag=True)
    book.set_reasons({"1": "ghost"}, "Ada")
    book.add_map("a" * 64, "demo", "k")
    with sqlite3.connect(tmp_path / FILE) as raw, pytest.raises(sqlite3.IntegrityError, match="never changed"):
        raw.execute(change.format(table))
    raw.close()
    assert len(book.history()) == 1


def test_the_file_is_kept_in_a_log_that_survives_the_process(tmp_path):
    Decisions(tmp_path).decide("Ada", "a" * 64)
    raw = sqlite3.connect(tmp_path / FILE)
    assert raw.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    raw.close()


def test_every_commit_is_synchronous(tmp_path):
    seen = []

    class Watching(Decisions):
        def _append(self, *row, **more):
            done = super()._append(*row, **more)
            with self._opened(writing=True) as book:
                seen.append(book.execute("PRAGMA synchronous").fetchone())
            return done

    Watching(tmp_path).decide("Ada", "a" * 64)
    assert seen == [(2,)]


def test_reasons_are_edited_and_old_decisions_keep_their_words(tmp_path):
    book = Decisions(tmp_path)
    old = book.decide("Ada", "a" * 64, reason="1")
    book.set_reasons({"1": "  burnt-in   text ", "2": "", "4": "rotated"}, "Ada")
    assert book.reasons == {"1": "burnt-in text", "4": "rotated"}
    assert book.latest() == [old]
    assert old.words == "artefact"
    assert book.decide("Ada", "b" * 64, reason="1").words == "burnt-in text"
    with pytest.raises(SettingError, match=r"No reason has the code '2'\. Choose one of 1, 4\."):
        book.decide("Ada", "a" * 64, reason="2")


def test_the_last_list_of_reasons_counts(tmp_path):
    book = Decisions(tmp_path)
    book.set_reasons({"1": "ghost"}, "Ada")
    book.set_reasons({"2": "blur"}, "Ben")
    assert book.reasons == {"2": "blur"}


def test_maps_that_were_made_later_are_found_by_picture(tmp_path):
    book = Decisions(tmp_path)
    assert book.maps("a" * 64) == []
    for picture, model, key in [("a", "one", "k1"), ("a", "two", "k2"), ("b", "one", "k3"), ("a", "one", "k1")]:
        book.add_map(picture * 64, model, key)
    assert book.maps("a" * 64) == [("one", "k1"), ("two", "k2")]


@pytest.mark.parametrize(
    ("reasons", "why"),
    [({}, "empty"), ({"1": " "}, "empty"), ({"0": "no"}, "'0' is no code"), ({"1": "x" * 61}, "shorten it to 60")],
)
def test_a_list_of_reasons_that_cannot_be_used_is_refused(tmp_path, reasons, why):
    with pytest.raises(SettingError, match=why):
        Decisions(tmp_path).set_reasons(reasons, "Ada")
    assert Decisions(tmp_path).reasons == REASONS


@pytest.mark.parametrize(
    ("name", "picture", "note", "why"),
    [
        (" ", "a", "", "name first"),
        ("A" * 81, "a", "", "81 characters"),
        ("Ada", "", "", "sha256"),
        ("Ada", "a", "n" * 2001, "2,001 characters"),
    ],
)
def test_a_decision_that_says_too_little_or_too_much_is_refused(tmp_path, name, picture, note, why):
    with pytest.raises(SettingError, match=why):
        Decisions(tmp_path).decide(name, picture, note=note)
    assert Decisions(tmp_path).history() == []


def test_a_file_by_a_newer_version_is_refused_with_both_versions(tmp_path):
    Decisions(tmp_path).decide("Ada", "a" * 64)
    raw = sqlite3.connect(tmp_path / FILE)
    raw.execute("PRAGMA user_version = 7")
    raw.close()
    with pytest.raises(RecordError, match="its schema is 7, this one knows 1"):
        Decisions(tmp_path).latest()


def test_a_file_that_is_no_such_file_is_a_sentence(tmp_path):
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to be taken for one" * 20)
    with pytest.raises(RecordError, match="could not be read"):
        Decisions(tmp_path).latest()
    with pytest.raises(RecordError, match="could not be read"):
        Decisions(tmp_path).decide("Ada", "a" * 64)
    (tmp_path / "other" / FILE).mkdir(parents=True)
    with pytest.raises(RecordError, match="could not be written"):
        Decisions(tmp_path / "other").set_reasons({"1": "ghost"}, "Ada")


# ---- kill -9, and two at once ----------------------------------------------------------------------------------------


def test_what_was_acknowledged_survives_kill_9(tmp_path):
    chance, acknowledged = random.Random(0), 0
    for _ in range(4):
        child = writer(tmp_path, "Ada", 100_000)
        for _ in range(chance.randrange(1, 40)):
            acknowledged = int(child.stdout.readline())
        child.kill()
        rest = [line for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
        acknowledged = int(rest[-1]) if rest else acknowledged
        child.wait()
        child.stdout.close()
        rows = Decisions(tmp_path).history()
        assert [one.id for one in rows] == list(range(1, len(rows) + 1))
        assert acknowledged <= len(rows) <= acknowledged + 1  # at most the one that was on its way
    assert all(one.note.startswith("Ada") for one in rows)


def test_two_writers_at_once_lose_nothing(tmp_path):
    both = [writer(tmp_path, name, 60) for name in ("Ada", "Ben")]
    said = [[int(line) for line in one.communicate()[0].split()] for one in both]
    assert [one.returncode for one in both] == [0, 0]
    rows = {one.id: one for one in Decisions(tmp_path).history()}
    assert sorted(said[0] + said[1]) == sorted(rows) == list(range(1, 121))
    for name, numbers in zip(("Ada", "Ben"), said, strict=True):
        assert [rows[number].note for number in numbers] == [f"{name} {i}" for i in range(60)]


# ---- taking them along -----------------------------------------------------------------------------------------------


@pytest.fixture
def told(tmp_path):
    book = Decisions(tmp_path)
    book.decide("Ada", "a" * 64, "=cmd|'/c calc'!A1.png", flag=True, reason="2", note="-1+1")
    book.decide("Ada", "a" * 64, "=cmd|'/c calc'!A1.png", flag=None, note="two\nlines, “quoted”")
    book.decide("@Ben", "b" * 64, "2.png", flag=False)
    book.clear("@Ben", "b" * 64, "2.png")
    return book


def test_the_table_holds_the_whole_history_and_no_formula(told):
    rows = list(csv.DictReader(io.StringIO(told.to_csv().decode())))
    assert [row["counts"] for row in rows] == ["False", "True", "False", "False"]
    assert [row["file"][:5] for row in rows] == ["'=cmd", "'=cmd", "2.png", "2.png"]
    assert [row["note"] for row in rows] == ["'-1+1", "two\nlines, “quoted”", "", ""]
    assert rows[2]["reviewer"] == "'@Ben"
    assert [row["flag"] for row in rows] == ["True", "", "False", ""]
    assert rows[0]["words"] == "border"


def test_parquet_and_json_hold_the_same_as_they_are(told):
    frame = pd.read_parquet(io.BytesIO(told.to_parquet()))
    facts = json.loads(told.to_json())
    assert facts["reasons"] == REASONS
    assert facts["schema"] == 1
    assert [row["file"] for row in facts["decisions"]] == frame["file"].tolist()
    assert facts["decisions"][0]["note"] == "-1+1"
    assert frame["flag"].tolist() == [True, pd.NA, False, pd.NA]
    assert frame["counts"].tolist() == [False, True, False, False]
    assert frame["cleared"].tolist() == [False, False, False, True]


def test_an_empty_book_can_be_taken_along(tmp_path):
    assert Decisions(tmp_path).to_csv().decode().startswith("id,time,reviewer,picture,file")
    assert len(pd.read_parquet(io.BytesIO(Decisions(tmp_path).to_parquet()))) == 0
    assert json.loads(Decisions(tmp_path).to_json())["decisions"] == []


@pytest.mark.parametrize("text", ["=1", "+1", "-1", "@a", "\t=1", " =1", "＝1", "\r=1"])
def test_a_cell_that_would_be_a_formula_is_text(text):
    assert inert(text) == f"'{text}"


@pytest.mark.parametrize("value", ["a=1", "", "1-2", -1, -0.5, None, True])
def test_other_cells_stay_as_they_are(value):
    assert inert(value) is value


def test_names_of_columns_are_made_inert_as_well():
    assert csv_text([{"=a": 1}], ["=a"]) == "'=a\n1\n"


# ---- two reviewers ---------------------------------------------------------------------------------------------------


def test_kappa_by_hand():
    """Cohen's own way: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no give 0.7 observed, 0.5 expected and 0.4."""
    one = ["y"] * 25 + ["n"] * 25
    other = ["y"] * 20 + ["n"] * 5 + ["y"] * 10 + ["n"] * 15
    found = cohen_kappa(one, other)
    assert (found.n, found.why) == (50, "")
    assert found.observed == pytest.approx(0.7)
    assert found.expected == pytest.approx(0.5)
    assert found.kappa == pytest.approx(0.4)
    assert found.low == pytest.approx(0.15, abs=0.05)  # kappa -+ 1.96 * sqrt(po (1 - po) / n) / (1 - pe) = 0.15, 0.65
    assert found.high == pytest.approx(0.65, abs=0.05)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_is_that_of_scikit_learn(seed):
    from sklearn.metrics import cohen_kappa_score

    draw = np.random.default_rng(seed)
    one = draw.integers(0, 9, 80)
    other = np.where(draw.random(80) < 0.6, one, draw.integers(0, 9, 80))
    found = cohen_kappa([str(i) for i in one], [str(i) for i in other])
    assert found.kappa == pytest.approx(cohen_kappa_score(one, other), abs=1e-12)
    assert found.low < found.kappa < found.high


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draw, truth, covered = np.random.default_rng(0), 0.6, 0
    for _ in range(150):
        one = draw.integers(0, 2, 100).astype(str)  # two equally frequent answers: kappa is the share that is copied
        other = np.where(draw.random(100) < truth, one, draw.integers(0, 2, 100).astype(str))
        found = cohen_kappa(list(one), list(other))
        covered += found.low <= truth <= found.high
    assert 0.89 <= covered / 150 <= 0.99


def test_kappa_that_is_not_defined_says_why(tmp_path):
    book = Decisions(tmp_path)
    assert "same pictures first" in book.kappa("Ada", "Ben").why
    assert cohen_kappa(["1"] * 9, ["1"] * 9).kappa is None
    assert "not defined" in cohen_kappa(["1"] * 9, ["1"] * 9).why
    few = cohen_kappa(["1", "2"], ["1", "2"])
    assert (few.kappa, few.low) == (1.0, None)
    assert "Too few pictures for an interval: 2." in few.why


def test_kappa_is_over_the_pictures_that_both_have_decided(tmp_path):
    book = Decisions(tmp_path)
    for i, (ada, ben) in enumerate(zip("112233", "112231", strict=True)):
        book.decide("Ada", f"{i:064d}", reason=ada, flag=True)
        book.decide("Ben", f"{i:064d}", reason=ben, flag=i > 0)
    book.decide("Ada", "f" * 64, reason="4")
    book.clear("Ben", f"{5:064d}")
    by_reason, by_flag = book.kappa("Ada", "Ben"), book.kappa("Ada", "Ben", by="flag")
    assert (by_reason.n, by_reason.kappa) == (5, 1.0)
    assert by_flag.observed == pytest.approx(0.8)
    assert by_flag.kappa == pytest.approx(0)


def test_the_list_of_reasons_has_nine_codes():
    assert list(decisions.REASONS) == list("123456789")
