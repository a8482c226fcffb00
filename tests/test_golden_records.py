"""Records as every version of the program wrote them stay readable, and say what they said."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import xai_core as xai
from tests.conftest import ROOT
from xai_core import chain, manifest, store
from xai_core.records import Finding, Record, Sheet, Target
from xai_core.runs import open_run

GOLDEN = ROOT / "tests" / "golden"
PICTURE = "b2a7573d4fe71594db6ad3e05075c78244272e9d8b2c7511488c4ee3102a984d"
WEIGHTS = "7186be8bcd23177284a128d789b9a7"  # how it begins
LOGITS = (0.3324388861656189, 0.04936767369508743)
WRITTEN = {  # the hash that each manifest carried when it was written: a golden record is never written again
    1: {
        "explanation": "f0572a3faa33f26b280ae13a536fcd24ed69c64280ec4bced0173a2a4d2880e7",
        "comparison": "98f705164dc51e682df44a159e0e42bd195871987007452cb285964f2601e71e",
        "probe": "35d870c3e60dd8414f8d7a2c1bae7b433212d8e3b46cee8220f95eddf0b69a89",
        "audit": "53e5faad46634142a43fde61dbe7fa79d4c0daf2b47e2ba639fdd7b352fdd3ff",
    },
    2: {
        "explanation": "c0f7e09ad33928f36f6a2d8f9dd3b6d5a9a209a36c6dd59c35f4a9ecf958b069",
        "comparison": "f21180ad406d2c4b3d3c5b07c190fc5ba9ecb18b6f423f79b5a192c7b180975f",
        "probe": "92f39afcde80cd130f165e2a8df613fca286c53898bcb7928fed01f4b96da3b1",
        "scores": "2e0b3e2d3b0adcd16be6a86bb628af0951fe31fb6130628abc2dea01cf1b2350",
        "decisions": "c61d3024028ba595e923fe9d9d0da180df3d92bda97f6eb8147b93d8c3fa1f08",
    },
}
EVERY = [(schema, kind) for schema, kinds in WRITTEN.items() for kind in kinds]
MAPS = [(schema, kind) for schema in WRITTEN for kind in ("explanation", "comparison")]


def folder(schema: int, kind: str) -> Path:
    return GOLDEN / f"schema_{schema}" / kind


@pytest.mark.parametrize(("schema", "kind"), EVERY)
def test_it_is_intact_and_as_it_was_written(schema: int, kind: str) -> None:
    report = xai.verify(folder(schema, kind))
    assert report.ok, str(report)
    signed = (schema, kind) == (2, "comparison")
    assert report.signature == ("signed by ed25519 56475aa75463474c0285df5dbf2bcab7" if signed else "unsigned")
    found = json.loads((folder(schema, kind) / "manifest.json").read_bytes())
    assert (found["schema"], found["kind"]) == (schema, kind)
    assert found["sha256"] == WRITTEN[schema][kind]


@pytest.mark.parametrize(("schema", "kind"), MAPS)
def test_the_explanations_say_what_they_said(schema: int, kind: str) -> None:
    record = xai.open_record(folder(schema, kind))
    assert isinstance(record, Record)
    first = record.explanations[0]
    assert first.image == PICTURE
    assert first.target == Target(0, "no")
    assert dict(first.method) == {"name": "saliency"}
    assert first.model["weights_sha256"].startswith(WEIGHTS)
    assert (first.box, first.grid, first.evidence) == ((0.0, 0.0, 32.0, 32.0), (32, 32), False)
    assert first.values.shape == (32, 32)
    content = (folder(schema, kind) / "01_saliency.npy").read_bytes()
    assert hashlib.sha256(content).hexdigest().startswith("5968658eaaabb4a4ee3b2871b6af8b81e635f828eb24ef20")
    assert first.values.tobytes() == content[-4 * 32 * 32 :]
    y, x = np.mgrid[:32, :32]
    assert (first.pixels == np.stack([x * 8, y * 8, (x + y) * 4], -1)).all()
    assert record.prediction is not None
    assert record.prediction.logits.tolist() == list(LOGITS)
    assert record.prediction.labels == ("no", "yes")
    assert dict(record.picture) == {
        "assumed": [], "bits": 8, "format": "PNG", "height": 32, "mode": "RGB", "width": 32,
    }  # fmt: skip
    assert [model["name"] for model in record.models] == ["small-0", "small-1"][: 1 + (kind == "comparison")]


def test_what_the_first_schema_did_not_know_is_empty() -> None:
    record = xai.open_record(folder(1, "explanation"))
    assert isinstance(record, Record)
    assert (record.evidence, record.reviewer, record.name, record.upload) == ((), "", "", None)
    assert (record.note, dict(record.display)) == ("A note, <b>not</b> markup.", {"clip": 99.0, "opacity": 0.4})


def test_the_second_schema_keeps_who_looked_how_far_it_goes_and_the_picture() -> None:
    record = xai.open_record(folder(2, "explanation"))
    assert isinstance(record, Record)
    assert (record.reviewer, record.name, record.note) == ("Dr. Ä", "x.png", "A note, <b>not</b> markup.")
    assert record.upload is not None
    assert hashlib.sha256(record.upload).hexdigest() == PICTURE
    assert xai.read_image(record.upload).pixels.tobytes() == record.explanations[0].pixels.tobytes()
    [found] = record.evidence
    assert found is not None
    assert found.verdict == "supported"
    assert all(check.sentence.endswith(".") for check in found.checks)


@pytest.mark.parametrize("schema", WRITTEN)
def test_the_finding_says_what_it_said(schema: int) -> None:
    finding = xai.open_record(folder(schema, "probe"))
    assert isinstance(finding, Finding)
    assert dict(finding.probe) == {"name": "brightness", "steps": 2, "strongest": 0.4}
    assert finding.pictures == (PICTURE,)
    assert finding.sentences[0].startswith("Brightness: the decision, no, ")
    assert (finding.passes.forward, finding.passes.backward) == (6, 3)


def test_the_sheets_say_what_they_said() -> None:
    scores, decisions = (xai.open_record(folder(2, kind)) for kind in ("scores", "decisions"))
    assert isinstance(scores, Sheet)
    assert isinstance(decisions, Sheet)
    assert scores.tables["scores"].rows == (("saliency", 0.25), ("random", None))
    assert scores.sentences == ("Saliency is better.",)
    assert decisions.tables["decisions"].lines() == [{"file": "x.png", "flag": True}]
    assert decisions.reviewer == "Dr. Ä"


def test_the_audit_is_opened_as_a_run() -> None:
    run = open_run(folder(1, "audit"))
    assert [one["name"] for one in run.facts["models"]] == ["demo-xray"]


def test_the_golden_records_of_the_second_schema_are_one_chain() -> None:
    report = chain.check(GOLDEN / "schema_2")
    assert report.ok, str(report)
    assert report.length == 5
    assert chain.check(GOLDEN / "schema_1").unlinked == 3


def test_they_are_listed_together(tmp_path: Path) -> None:
    for schema in WRITTEN:
        for kind in WRITTEN[schema]:
            shutil.copytree(folder(schema, kind), tmp_path / f"{kind}_{schema}")
    entries = {entry.folder.name: entry for entry in store.list_records(tmp_path)}
    assert set(entries) == {f"{kind}_{schema}" for schema, kind in EVERY} - {"audit_1"}
    assert all(entry.problem is None for entry in entries.values())
    assert [entries[f"{kind}_2"].sequence for kind in WRITTEN[2]] == [1, 2, 3, 4, 5]
    assert entries["explanation_1"].sequence is None
    assert entries["explanation_1"].picture == entries["explanation_2"].picture == PICTURE
    assert entries["comparison_2"].model == "small-0, small-1"


@pytest.mark.parametrize("kind", WRITTEN[2])
def test_the_second_schema_is_the_one_that_is_documented(kind: str) -> None:
    schema = json.loads((ROOT / "assets" / "record.schema.json").read_text("utf-8"))
    Draft202012Validator(schema).validate(json.loads((folder(2, kind) / "manifest.json").read_bytes()))


def told(record: Any) -> Any:
    """Everything a record holds, in a form that `==` compares exactly."""
    if isinstance(record, np.ndarray):
        return record.dtype.str, record.shape, record.tobytes()
    if isinstance(record, dict) or hasattr(record, "keys"):
        return {key: told(record[key]) for key in record}
    if isinstance(record, list | tuple):
        return [told(one) for one in record]
    return {key: told(value) for key, value in vars(record).items()} if hasattr(record, "__dict__") else record


@pytest.mark.parametrize(("schema", "kind"), [one for one in EVERY if one[1] != "audit"])
def test_moved_packed_unpacked_and_opened_it_is_equal(schema: int, kind: str, tmp_path: Path) -> None:
    before = xai.open_record(folder(schema, kind))
    moved = Path(shutil.copytree(folder(schema, kind), tmp_path / "a" / "copy")).rename(tmp_path / "moved")
    with zipfile.ZipFile(io.BytesIO(manifest.zip_record(moved))) as archive:
        for name in archive.namelist():
            place = tmp_path / "unpacked" / Path(name).name
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(archive.read(name))
    after = xai.open_record(tmp_path / "unpacked")
    assert told(after) == told(before)
    assert xai.verify(tmp_path / "unpacked") == xai.verify(folder(schema, kind))


@pytest.mark.parametrize(("schema", "kind"), MAPS)
def test_saved_again_it_is_equal_but_for_its_manifest(schema: int, kind: str, tmp_path: Path) -> None:
    before = xai.open_record(folder(schema, kind))
    after = xai.open_record(xai.save(before, tmp_path / "again"))
    assert {**told(after), "manifest": 0} == {**told(before), "manifest": 0}
    assert after.manifest["schema"] == 2
