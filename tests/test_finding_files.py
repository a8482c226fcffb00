"""What a probe found, saved and reopened."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import xai_core as xai
from tests import findings_made
from xai_core.errors import RecordError
from xai_core.finding_files import finding_json
from xai_core.records import Finding, Frame, Sheet, Table, Target, plain
from xai_core.seal import MANIFEST, sealed
from xai_core.store import list_records, zip_record

MADE = {
    "dose": findings_made.dose_finding,
    "groups": findings_made.group_finding,
    "shortcut": findings_made.shortcut_finding,
    "background": findings_made.background_finding,
}


@pytest.fixture(params=MADE)
def finding(request: pytest.FixtureRequest) -> Finding:
    made: Finding = MADE[request.param]()
    return dataclasses.replace(made, notes=("Picture 1 is asked about without the mask.",), note="Looked at twice.")


def test_what_was_found_comes_back_as_it_was(finding: Finding, tmp_path: Path) -> None:
    again = xai.open_record(xai.save(finding, tmp_path / "record"))
    assert isinstance(again, Finding)
    for name in (
        "kind",
        "pictures",
        "sentences",
        "left_out",
        "notes",
        "seed",
        "seconds",
        "passes",
        "note",
        "probe",
        "model",
    ):
        assert getattr(again, name) == getattr(finding, name), name
    assert [dict(one) for one in again.methods] == [dict(one) for one in finding.methods]
    assert dict(again.tables) == dict(finding.tables)
    assert [list(one.words) for one in again.tables.values()] == [list(one.words) for one in finding.tables.values()]
    assert len(again.frames) == len(finding.frames)
    for one, other in zip(again.frames, finding.frames, strict=True):
        assert (one.caption, dict(one.facts)) == (other.caption, dict(other.facts))
        for name in ("pixels", "values", "region"):
            before, after = getattr(other, name), getattr(one, name)
            assert (before is None and after is None) or (before.dtype == after.dtype and (before == after).all())


AIMS = [None, Target(1, "fracture"), Target(0, "no finding", "contrast", 1, "fracture")]


@pytest.mark.parametrize("target", AIMS, ids=str)
def test_what_was_explained_comes_back_and_is_told_to_programs(target: Target | None, tmp_path: Path) -> None:
    made = findings_made.background_finding()
    assert made.target is None
    made = dataclasses.replace(made, target=target)
    again = xai.open_record(xai.save(made, tmp_path / "record"))
    assert isinstance(again, Finding)
    assert again.target == target
    assert again.manifest["target"] == json.loads(finding_json(made))["target"] == (target and plain(target))


def resealed(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Somebody's change of the manifest, sealed again as whoever made it up would."""
    manifest = json.loads((folder / MANIFEST).read_bytes())
    change(manifest)
    (folder / MANIFEST).write_bytes(sealed(manifest))


def test_a_finding_that_was_saved_before_targets_were_opens_without_one(tmp_path: Path) -> None:
    made = dataclasses.replace(findings_made.background_finding(), target=Target(1, "fracture"))
    folder = xai.save(made, tmp_path / "record")
    resealed(folder, lambda manifest: manifest.pop("target"))
    again = xai.open_record(folder)
    assert isinstance(again, Finding)
    assert again.target is None


def test_a_target_that_is_none_is_refused_as_any_other_damage_of_the_manifest(tmp_path: Path) -> None:
    folder = xai.save(findings_made.background_finding(), tmp_path / "record")
    target = {"index": 1, "label": "x"}
    damaged: list[dict[str, Any]] = [
        *({"target": odd} for odd in ("fracture", 1, [], {}, True, {"index": 1}, {**target, "more": 1})),
        *({"target": {**target, "index": odd}} for odd in ("1", 1.5, True, None, [1])),
        *({"target": {**target, "label": odd}} for odd in (7, None, ["x"])),
        *({"target": {**target, "kind": odd}} for odd in ("zzz", ["logit"], "contrast")),
        *({"target": {**target, "kind": "contrast", "against": odd}} for odd in ("0", [0])),
        {"target": {**target, "against_label": 3}},
        {"sentences": "abc"},
        {"seconds": "long"},
    ]
    whole = (folder / MANIFEST).read_bytes()
    for change in damaged:
        resealed(folder, lambda manifest, change=change: manifest.update(change))
        with pytest.raises(RecordError, match=r"manifest\.json is unverifiable, it does not describe a record"):
            xai.open_record(folder)
        (folder / MANIFEST).write_bytes(whole)


def test_a_saved_finding_verifies_and_one_changed_byte_is_named(finding: Finding, tmp_path: Path) -> None:
    folder = xai.save(finding, tmp_path / "record")
    assert xai.verify(folder).ok
    for file in sorted(folder.iterdir()):
        whole = file.read_bytes()
        file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        report = xai.verify(folder)
        assert not report.ok
        assert [one.name for one in report.files if one.status not in ("intact", "unlisted")][:1] == [file.name]
        file.write_bytes(whole)
    (folder / "finding.json").unlink()
    with pytest.raises(RecordError, match=r"finding\.json is missing"):
        xai.open_record(folder)


def test_the_same_finding_makes_the_same_files_but_for_its_identity(finding: Finding, tmp_path: Path) -> None:
    one, other = (xai.save(finding, tmp_path / name) for name in "ab")
    names = {file.name for file in one.iterdir()}
    assert names == {file.name for file in other.iterdir()}
    for name in names - {"manifest.json"}:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def test_it_is_listed_and_packed_with_the_other_records(finding: Finding, tmp_path: Path) -> None:
    folder = xai.save(finding, tmp_path / "record")
    [entry] = list_records(tmp_path)
    assert (entry.kind, entry.problem) == ("probe", None)
    assert entry.title == finding.probe["name"].replace("_", " ")
    assert entry.model == finding.model["name"]
    assert zip_record(folder)[:2] == b"PK"


def test_tables_are_read_by_spreadsheets_and_by_programs(finding: Finding, tmp_path: Path) -> None:
    folder = xai.save(finding, tmp_path / "record")
    said = json.loads(finding_json(finding))
    assert said["sentences"] == list(finding.sentences)
    for name, table in finding.tables.items():
        rows = list(csv.DictReader(io.StringIO((folder / f"{name}.csv").read_text("utf-8"), newline="")))
        assert len(rows) == len(table.rows)
        assert list(rows[0]) == list(table.words)
        empty = [cell == "" for row in rows for cell in row.values()]
        assert empty == [cell in (None, "") for row in table.rows for cell in row]
        assert [tuple(row) for row in said["tables"][name]["rows"]] == list(table.rows)


def test_a_table_holds_plain_finite_values_alone() -> None:
    for odd in (float("nan"), float("inf"), np.bool_(True), [1], {"a": 1}):
        with pytest.raises(ValueError, match="no plain value"):
            Table("T", {"a": "A"}, ((odd,),))
    with pytest.raises(ValueError, match="not one value for each"):
        Table("T", {"a": "A", "b": "B"}, ((1,),))
    table = Table.of("T", {"a": "A", "b": "B"}, [{"b": 2}, {"a": 1, "b": 3}])
    assert table.lines() == [{"a": None, "b": 2}, {"a": 1, "b": 3}]


def a_sheet(kind: str = "scores") -> Sheet:
    tables = {
        "scores": Table("Scores", {"method": "Method", "value": "Value, of 1"}, (("=1+1", 0.25), ("Ä <b>", None))),
        "left_out": Table("Left out", {"why": "Why"}, ()),
    }
    about = {"title": "Scores of $x_1$", "model": findings_made.MODEL, "methods": [{"name": "lime", "samples": 500}]}
    return Sheet(kind, about, ("One.", "Zwei: “ß”."), tables, "A note.", "Dr. Ä")  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["scores", "decisions"])
def test_a_sheet_comes_back_as_it_was_and_is_listed_and_packed(kind: str, tmp_path: Path) -> None:
    sheet = a_sheet(kind)
    folder = xai.save(sheet, tmp_path / "record")
    assert xai.verify(folder).ok
    again = xai.open_record(folder)
    assert isinstance(again, Sheet)
    for name in ("kind", "sentences", "note", "reviewer"):
        assert getattr(again, name) == getattr(sheet, name), name
    assert dict(again.about) == dict(sheet.about)
    assert dict(again.tables) == dict(sheet.tables)
    [entry] = list_records(tmp_path)
    assert (entry.kind, entry.title, entry.model) == (kind, "Scores of $x_1$", findings_made.MODEL["name"])
    assert (entry.methods, entry.note, entry.reviewer, entry.sequence) == (("lime",), "A note.", "Dr. Ä", 1)
    assert entry.bytes == sum(file.stat().st_size for file in folder.iterdir() if file.name != "manifest.json")
    assert zip_record(folder)[:2] == b"PK"
    rows = list(csv.DictReader(io.StringIO((folder / "scores.csv").read_text("utf-8"), newline="")))
    assert [row["value"] for row in rows] == ["0.25", ""]
    assert rows[0]["method"] == "'=1+1"  # no spreadsheet computes it


def test_a_sheet_checks_itself() -> None:
    sheet = a_sheet()
    for odd in ({"kind": "other"}, {"tables": {}}, {"tables": {"../x": sheet.tables["scores"]}}):
        with pytest.raises(ValueError):
            dataclasses.replace(sheet, **odd)


def test_a_sheet_that_somebody_made_up_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = xai.save(a_sheet(), tmp_path / "record")
    for made_up in (b"[" * 200_000, b"{}", b"[]", b'{"tables": []}', b'{"tables": {"../x": {}}}', b"\xff", b""):
        replaced(folder, "sheet.json", made_up)
        assert xai.verify(folder).ok
        with pytest.raises(RecordError, match="Cannot open record"):
            xai.open_record(folder)
    for about in (3, {"model": 3}, {"methods": 3}, {"title": []}):
        resealed(folder, lambda manifest, about=about: manifest.update(about=about))
        [entry] = list_records(tmp_path)
        assert entry.problem or entry.title


def test_who_looked_at_a_finding_is_kept(tmp_path: Path) -> None:
    finding = dataclasses.replace(findings_made.dose_finding(), reviewer="Dr. Ä")
    assert xai.open_record(xai.save(finding, tmp_path / "record")).reviewer == "Dr. Ä"
    [entry] = list_records(tmp_path)
    assert (entry.reviewer, entry.picture) == ("Dr. Ä", " ".join(finding.pictures))


def replaced(folder: Path, name: str, content: bytes) -> None:
    """Replace a file, and forge a manifest that lists the new one."""
    (folder / name).write_bytes(content)
    facts = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    resealed(folder, lambda manifest: [one.update(facts) for one in manifest["files"] if one["name"] == name])


def test_a_frame_checks_itself() -> None:
    pixels = np.zeros((4, 5, 3), np.uint8)
    with pytest.raises(ValueError, match="size of its pixels"):
        Frame("x", pixels, np.zeros((5, 4), np.float32))
    with pytest.raises(ValueError, match="size of its pixels"):
        Frame("x", pixels, region=np.zeros((5, 4), bool))
    frame = Frame("x", pixels, np.zeros((4, 5), np.float32), np.zeros((4, 5), bool))
    with pytest.raises(ValueError, match="read-only"):
        frame.pixels[0] = 1


def test_a_record_that_somebody_made_up_is_refused_in_a_sentence(tmp_path: Path) -> None:
    folder = xai.save(findings_made.dose_finding(), tmp_path / "record")
    whole = (folder / "finding.json").read_bytes()
    said = json.loads(whole)
    for made_up in (
        b"[" * 200_000,
        b"{}",
        json.dumps({**said, "kind": "zzz"}).encode(),
        json.dumps({**said, "left_out": "abc"}).encode(),
        json.dumps({**said, "frames": [{**said["frames"][0], "facts": {"dose": 1e999}}, *said["frames"][1:]]}).encode(),
        json.dumps({**said, "tables": {"doses": {"title": "T", "words": [["a", "A"]], "rows": [[[1]]]}}}).encode(),
    ):
        replaced(folder, "finding.json", made_up)
        assert xai.verify(folder).ok
        with pytest.raises(RecordError, match="Cannot open record"):
            xai.open_record(folder)
