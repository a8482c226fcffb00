"""Decisions as a record: every row as it was written, which of them stand, and of which audit they are."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from sklearn.metrics import cohen_kappa_score

import xai_core as xai
from tests.conftest import ROOT
from tests.run_folders import Said, run_folder
from tests.test_audit_report import facts_of, written
from xai_core.decision_record import sheet_of
from xai_core.decisions import COLUMNS, Decision, Decisions, kappa_of, standing
from xai_core.errors import RecordError
from xai_core.records import Sheet
from xai_core.runs import open_run
from xai_core.seal import sealed
from xai_core.store import list_records

PICTURES = [f"sha of {n}.png" for n in range(12)]


@pytest.fixture
def refused(refused: Callable[..., str]) -> Callable[..., str]:
    """As everywhere, of this command."""
    return partial(refused, "decisions")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run of two models on twelve pictures, which is not sealed."""
    said = [Said(f"{n}.png", model, "cat") for model in ("one", "two") for n in range(12)]
    return run_folder(tmp_path / "first", said)


def decide(run: Path) -> Decisions:
    """Ada decides on all pictures and takes one back, Ben on eight and changes his mind once."""
    book = Decisions(run)
    for n, picture in enumerate(PICTURES):
        book.decide(
            "Ada", picture, f"{n}.png", flag=n < 3, reason="1" if n % 2 else "3", note="a note" if n == 4 else ""
        )
    for n, picture in enumerate(PICTURES[:8]):
        book.decide("Ben", picture, f"{n}.png", flag=n == 0, reason="1" if n % 3 else "")
    book.decide("Ben", PICTURES[0], "0.png", flag=False, reason="2")
    book.clear("Ada", PICTURES[11], "11.png")
    return book


def saved(run: Path, folder: Path, **more: Any) -> Sheet:
    found = xai.open_record(xai.save(sheet_of(open_run(run), **more), folder))
    assert isinstance(found, Sheet)
    return found


def test_every_row_is_there_and_says_whether_it_counts(run: Path, tmp_path: Path) -> None:
    book = decide(run)
    rows = saved(run, tmp_path / "a", names=True).tables["decisions"].lines()
    assert len(rows) == 12 + 8 + 2
    assert tuple(rows[0]) == COLUMNS
    for row, one in zip(rows, book.history(), strict=True):
        assert {key: row[key] for key in COLUMNS if key != "counts"} == vars(one)
    assert [row["id"] for row in rows if row["counts"]] == [one.id for one in book.latest()]
    gone = [(row["reviewer"], row["file"]) for row in rows if not row["counts"]]
    assert gone == [("Ada", "11.png"), ("Ben", "0.png"), ("Ada", "11.png")]  # the last of them takes it back


def test_names_of_files_stay_out_unless_they_are_asked_for(run: Path, tmp_path: Path) -> None:
    decide(run)
    found = saved(run, tmp_path / "a")
    assert tuple(found.tables["decisions"].words) == tuple(name for name in COLUMNS if name != "file")
    everything = b"".join(path.read_bytes() for path in (tmp_path / "a").iterdir())
    assert b"4.png" not in everything.replace(b"sha of 4.png", b"")  # what stands for a hash in this run
    assert b"4.png" in (xai.save(sheet_of(open_run(run), names=True), tmp_path / "b") / "decisions.csv").read_bytes()


def test_agreement_is_that_of_sklearn_with_an_interval_around_it(run: Path, tmp_path: Path) -> None:
    decide(run)
    rows = {row["by"]: row for row in saved(run, tmp_path / "a").tables["agreement"].lines()}
    ada = ["1" if n % 2 else "3" for n in range(8)]
    ben = ["2" if n == 0 else "1" if n % 3 else "" for n in range(8)]
    assert rows["reason"]["kappa"] == pytest.approx(cohen_kappa_score(ada, ben))
    assert rows["reason"]["observed"] == sum(one == other for one, other in zip(ada, ben, strict=True)) / 8
    assert rows["reason"]["low"] < rows["reason"]["kappa"] < rows["reason"]["high"]
    assert (rows["reason"]["one"], rows["reason"]["other"], rows["reason"]["n"]) == ("Ada", "Ben", 8)
    flags = [n < 3 for n in range(8)]
    assert rows["flag"]["kappa"] == pytest.approx(cohen_kappa_score(flags, [False] * 8))
    assert rows["flag"]["observed"] == 5 / 8


def test_reviewers_and_reasons_are_counted_by_what_stands(run: Path, tmp_path: Path) -> None:
    decide(run)
    found = saved(run, tmp_path / "a")
    ada, ben = found.tables["reviewers"].lines()
    assert (ada["reviewer"], ada["pictures"], ada["flagged"], ada["rows"]) == ("Ada", 11, 3, 13)
    assert (ben["reviewer"], ben["pictures"], ben["flagged"], ben["rows"]) == ("Ben", 8, 0, 9)
    assert ada["first"] <= ada["last"]
    reasons = {(row["reviewer"], row["words"]): row["pictures"] for row in found.tables["reasons"].lines()}
    assert reasons == {
        ("Ada", "artefact"): 5, ("Ada", "label error"): 6,
        ("Ben", "artefact"): 5, ("Ben", "border"): 1, ("Ben", "no reason"): 2,
    }  # fmt: skip


def test_sentences_say_who_decided_what_and_how_far_they_agree(run: Path) -> None:
    decide(run)
    Decisions(run).decide("Ben", "another", flag=True)
    said = sheet_of(open_run(run)).sentences
    assert said[:5] == (
        "Decisions stand on 11 of the 12 pictures of first: Ada on 11, Ben on 9.",
        "1 decided picture is not in the audit.",
        "4 pictures are flagged by at least one reviewer.",
        "Reasons that stand: artefact (10), label error (6), border (1).",
        "3 of 23 rows were replaced or taken back later; all are kept.",
    )
    assert said[5].startswith("Ada and Ben, by the reason: kappa 0.")
    assert "8 cases, the same answer on 38%" in said[5]
    assert said[-1] == "The audit itself is not sealed: only hashes of pictures and models tie these decisions to it."


def test_one_reviewer_alone_agrees_with_nobody(run: Path) -> None:
    Decisions(run).decide("Ada", PICTURES[0], flag=True)
    sheet = sheet_of(open_run(run))
    assert "One reviewer alone decided, so how far people agree is not known." in sheet.sentences
    assert sheet.tables["agreement"].rows == ()
    Decisions(run).clear("Ada", PICTURES[0])
    assert sheet_of(open_run(run)).sentences[0] == "Decisions stand on 0 of the 12 pictures of first."


def test_the_record_names_the_audit_its_models_and_its_manifest(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    written(folder, {**facts_of(("demo-xray", "b")), "status": "done"}, pictures=2)
    Decisions(folder).decide("Ada", f"{0:064x}", flag=True)
    sheet = saved(folder, tmp_path / "a", reviewer="Cleo", note="Done.")
    audit = json.loads((folder / "manifest.json").read_bytes())
    assert sheet.about["run"] == {
        "name": "run", "started": "2026-01-02T03:04:05Z", "pictures": 2, "data": "six [pictures]", "id": audit["id"],
        "manifest_sha256": audit["sha256"],
    }  # fmt: skip
    assert f"The audit is sealed: the hash of its manifest is {audit['sha256']}." == sheet.sentences[-1]
    assert [one["name"] for one in sheet.about["models"]] == ["demo-xray", "b"]
    assert sheet.about["models"][0]["weights_sha256"] == facts_of()["models"][0]["identity"]["weights_sha256"]
    assert (sheet.about["reviewers"], sheet.reviewer, sheet.note) == (["Ada"], "Cleo", "Done.")
    assert sheet.about["reasons"] == Decisions(folder).reasons
    schema = json.loads((ROOT / "assets" / "record.schema.json").read_text("utf-8"))
    assert not list(
        Draft202012Validator(schema).iter_errors(json.loads((tmp_path / "a" / "manifest.json").read_bytes()))
    )
    [entry] = [one for one in list_records(tmp_path) if one.kind]
    assert (entry.kind, entry.title, entry.models) == ("decisions", "Decisions on run", ("demo-xray", "b"))


def test_what_is_decided_later_changes_no_record(run: Path, tmp_path: Path) -> None:
    decide(run)
    before = saved(run, tmp_path / "a").tables["decisions"].rows
    Decisions(run).decide("Ada", PICTURES[0], flag=False, note="I was wrong.")
    again = xai.open_record(tmp_path / "a")
    assert isinstance(again, Sheet)
    assert again.tables["decisions"].rows == before
    assert xai.verify(tmp_path / "a").ok
    assert len(saved(run, tmp_path / "b").tables["decisions"].rows) == len(before) + 1


def test_what_is_decided_while_it_is_read_is_whole_or_not_there(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, what counts and agreement are of one moment, whoever decides meanwhile."""
    book, read = decide(run), Decisions.history

    def slow(self: Decisions, picture: str | None = None) -> list[Decision]:
        found = read(self, picture)
        book.decide("Ada", PICTURES[0], reason="9")
        return found

    monkeypatch.setattr(Decisions, "history", slow)
    sheet = sheet_of(open_run(run))
    rows = sheet.tables["decisions"].lines()
    assert len(rows) == 22
    assert sum(row["counts"] for row in rows) == sum(row["pictures"] for row in sheet.tables["reviewers"].lines()) == 19
    assert "9" not in {row["code"] for row in sheet.tables["reasons"].lines()}


def test_what_stands_is_what_the_file_says_counts(tmp_path: Path) -> None:
    book, chance = Decisions(tmp_path), random.Random(3)
    for _ in range(60):
        who, picture = chance.choice(("Ada", "Ben", "Cleo")), chance.choice("abcdef")
        if chance.random() < 0.3:
            book.clear(who, picture)
        else:
            book.decide(who, picture, flag=chance.random() < 0.5, reason=chance.choice("123"))
        assert standing(book.history()) == book.latest()
    for by in ("reason", "flag"):
        assert kappa_of(standing(book.history()), "Ada", "Cleo", by) == book.kappa("Ada", "Cleo", by)  # type: ignore[arg-type]


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_an_audit_that_is_not_finished_is_not_sealed(status: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path / "first", [Said("0.png", "one", "cat")], status=status)
    Decisions(folder).decide("Ada", PICTURES[0], flag=True)
    with pytest.raises(
        RecordError, match=rf"^Cannot seal the decisions on first: the audit is not finished \({status}\)"
    ):
        sheet_of(open_run(folder))


def test_a_manifest_of_the_audit_that_was_changed_or_is_another_is_refused(run: Path) -> None:
    decide(run)
    (run / "manifest.json").write_bytes(b"{}")
    with pytest.raises(RecordError, match=r"manifest\.json is .*Run the audit again"):
        sheet_of(open_run(run))
    (run / "manifest.json").write_bytes(sealed({"schema": 2, "kind": "scores", "id": "x", "files": []}))
    with pytest.raises(RecordError, match=r"manifest\.json is unverifiable, it is not that of an audit"):
        sheet_of(open_run(run))


def test_the_command_seals_and_says_what_it_sealed(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from xai_core.__main__ import app

    decide(run)
    app(["decisions", str(run), "--out", str(tmp_path / "out"), "--names", "--reviewer", "Cleo"], standalone_mode=False)
    printed = capsys.readouterr().out
    assert "Decisions stand on 11 of the 12 pictures of first" in printed
    assert f"Saved       {tmp_path / 'out'}" in printed
    assert xai.verify(tmp_path / "out").ok
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("manifest.json", "sheet.json", "decisions.csv", "agreement.csv", "reviewers.csv", "reasons.csv"),
    }
    found = xai.open_record(tmp_path / "out")
    assert isinstance(found, Sheet)
    assert (found.reviewer, found.tables["decisions"].lines()[4]["note"]) == ("Cleo", "a note")


def test_mistakes_are_one_sentence_and_leave_nothing(refused: Callable[..., str], run: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "out")
    assert "Nobody has decided anything on first, so there is nothing to seal" in refused(run, *out)
    assert "holds no run" in refused(tmp_path, *out)
    assert "would lie in the audit" in refused(run, "--out", run / "sealed")
    assert "already holds something" in refused(run, "--out", run)
    (run / "decisions.sqlite").write_bytes(b"no database at all, but long enough to be taken for one" * 20)
    assert "could not be read" in refused(run, *out)
