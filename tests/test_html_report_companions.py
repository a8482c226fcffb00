"""Records that are named with an audit: its report holds what theirs hold, and those of something else are refused."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import xai_core as xai
from tests.findings_made import dose_finding, group_finding
from tests.test_audit_report import facts_of, written
from tests.test_html_report import NAME, SEEN, Read, check_hostile, score_lines
from xai_core.audit_aggregate import AGGREGATE
from xai_core.decision_record import sheet_of
from xai_core.decisions import Decisions
from xai_core.errors import RecordError
from xai_core.html_report import page, write_report
from xai_core.records import Finding, Sheet, Table
from xai_core.runs import open_run

MODEL = "demo-xray"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished audit of two models, the second with a hostile name."""
    facts = facts_of((MODEL, NAME))
    facts["status"] = "done"
    return written(tmp_path_factory.mktemp("audited") / "run", facts)


@pytest.fixture(scope="module")
def bright(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a probe found of the first model, with its charts."""
    return xai.save(of(run, dose_finding(), note=NAME), tmp_path_factory.mktemp("findings") / "bright")


@pytest.fixture(autouse=True)
def _no_charts(monkeypatch: pytest.MonkeyPatch, bright: Path) -> None:
    """Other findings are saved without charts: drawing them is most of the time that saving takes."""
    from xai_core import probe_figures

    monkeypatch.setattr(probe_figures, "charts", lambda finding: {})
    monkeypatch.setattr(probe_figures, "filmstrip", lambda finding: None)


def weights(run: Path, place: int = 0) -> str:
    return str(json.loads((run / "manifest.json").read_text())["models"][place]["identity"]["weights_sha256"])


def of(run: Path, found: Finding, place: int = 0, **changes: Any) -> Finding:
    """A finding of a model of the run, whatever that is called elsewhere."""
    return dataclasses.replace(found, model={"name": "elsewhere", "weights_sha256": weights(run, place)}, **changes)


def scores(run: Path, **about: Any) -> Sheet:
    table = Table.of("Methods by metrics", {name: name.capitalize() for name in AGGREGATE}, score_lines())
    methods, metrics = [{"name": "integrated_gradients"}], [{"name": "infidelity"}]
    said = {"model": {"name": "m", "weights_sha256": weights(run)}, "methods": methods, "metrics": metrics}
    return Sheet("scores", {**said, **about}, ("Grad-CAM comes first.",), {"aggregate": table})


def drift_of(*weights_sha256: str, **changes: Any) -> str:
    """What `drift` writes of one model, as far as a report reads it."""
    table = {"title": "Moved", "words": [["x", "X"], ["x_low", "from"], ["x_high", "to"]], "rows": [[0.5, 0.25, "?"]]}
    models = [
        {"sentences": [f"It moved, {NAME}."], "limits": ["Little."], "weights_sha256": ["1" * 64, one]}
        for one in weights_sha256
    ]
    return json.dumps({"models": models, "tables": {"moved": table}, **changes})


# ---- probes ----------------------------------------------------------------------------------------------------------


def test_what_probes_found_fills_their_section_with_the_numbers_of_their_files(run: Path, bright: Path) -> None:
    found = xai.open_record(bright)
    assert isinstance(found, Finding)
    text = page(run, [bright])
    read = Read(text)
    assert "Chart of the probe Brightness" in text
    for name, table in found.tables.items():
        rows = read.rows(f"{table.title} (bright)")
        assert len(rows) == min(len(table.rows), 24), name
        shown = [number for cell in rows[0] for number in cell[1]]
        saved = [one for one in table.lines()[0].values() if isinstance(one, int | float) and not isinstance(one, bool)]
        assert sorted(shown) == sorted(saved)
    for section in ("summary", "probes", "card"):
        assert found.sentences[0] in read.sections[section], section
    assert f"Brightness of {MODEL}" in read.sections["probes"]
    assert SEEN in read.sections["probes"]
    shared = len({*found.pictures} & {*open_run(run).predictions["picture"]})
    assert f"Of these pictures, in this audit{shared}" in read.sections["probes"]


def test_what_was_asked_beside_the_audit_is_no_longer_said_to_be_untested(
    run: Path, bright: Path, tmp_path: Path
) -> None:
    bare = Read(page(run)).sections["untested"]
    assert "0 of 21 stand in this report" in bare
    assert "Integrated gradients" in bare
    both = xai.save(of(run, dose_finding(), place=1), tmp_path / "other")
    one = Read(page(run, [bright])).sections["untested"]
    assert f"Probes of {MODEL}: 1 of 21" in one
    assert f"Probes of {SEEN}: 0 of 21" in one
    assert "Integrated gradients" not in one  # which the probe asked
    said = Read(page(run, [bright, both])).sections["untested"]
    assert "Probes: 1 of 21" in said
    assert "Brightness" not in said.partition("Probes: 1 of 21")[2].partition("Groups")[0]
    assert "No probe was named" not in Read(page(run, [bright])).sections["probes"]


def test_differences_of_groups_that_were_tested_are_not_said_to_be_untested(run: Path, tmp_path: Path) -> None:
    assert "no difference was tested" in Read(page(run)).sections["untested"]
    found = of(run, group_finding())
    folder = xai.save(dataclasses.replace(found, probe={"name": "groups", "column": NAME}), tmp_path / "groups")
    said = Read(page(run, [folder])).sections["untested"]
    assert "no difference was tested" not in said
    assert f"differences were tested by {SEEN} alone" in said


def test_a_finding_of_another_model_is_refused_in_one_sentence(run: Path, tmp_path: Path) -> None:
    folder = xai.save(dose_finding(), tmp_path / "bright")
    with pytest.raises(
        RecordError, match=r"Cannot add bright .* demo-xray-shortcut with weights 0123456789ab"
    ) as caught:
        write_report(run, tmp_path / "report.html", [folder])
    assert not (tmp_path / "report.html").exists()
    assert str(caught.value).count(". ") <= 1
    nameless = dataclasses.replace(dose_finding(), model={"name": "x"})
    with pytest.raises(RecordError, match="weights not recorded"):
        page(run, [xai.save(nameless, tmp_path / "nameless")])


@pytest.mark.parametrize("name", ["finding.json", "manifest.json", "doses.csv", "frame_01.png"])
def test_a_finding_that_was_changed_is_refused_by_its_file(run: Path, bright: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(bright, tmp_path / "bright")
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(RecordError, match=rf"bright: {re.escape(name)} is"):
        page(run, [folder])


# ---- decisions, scores and drift -------------------------------------------------------------------------------------


def test_sealed_decisions_stand_where_decisions_do_and_those_of_another_audit_do_not(run: Path, tmp_path: Path) -> None:
    mine, other = (shutil.copytree(run, tmp_path / name) for name in ("mine", "other"))
    Decisions(mine).decide("Ada", f"{0:064x}", "a.png", flag=True, reason="1")
    sealed = xai.save(sheet_of(open_run(mine)), tmp_path / "sealed")
    read = Read(page(mine, [sealed]))
    assert [cell[1] for cell in read.rows("Who decided (sealed)")[0][1:4]] == [[1], [1], [1]]
    assert "Decisions stand on 1 of the 6 pictures" in read.sections["summary"]
    assert "Decisions as they stand now" in read.sections["decisions"]
    assert "no reviewer has decided" not in read.sections["untested"]
    assert "one person alone decided" in read.sections["untested"]
    (mine / "decisions.sqlite").unlink()
    assert "Decisions as they stand now" not in Read(page(mine, [sealed])).sections["decisions"]
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["data"]["name"] = "another set"
    from xai_core.seal import sealed as bytes_of

    (other / "manifest.json").write_bytes(bytes_of(manifest))
    with pytest.raises(RecordError, match=r"Cannot add sealed .* on another audit"):
        page(other, [sealed])


def test_a_score_table_joins_results_and_disagreements(run: Path, tmp_path: Path) -> None:
    folder = xai.save(scores(run), tmp_path / "scored")
    read = Read(page(run, [folder]))
    rows = read.rows("Methods by metrics (scored)")
    assert [row[5][1] for row in rows] == [[one["mean"]] for one in score_lines()]
    pairs = read.rows("Pairs of methods that two metrics order the opposite way (scored)")
    assert [cell[1] for cell in pairs[0][2:]] == [[1], [1]]
    assert "Infidelity" not in read.sections["untested"]
    with pytest.raises(RecordError, match="no model of the audit has"):
        page(run, [xai.save(scores(run, model={"name": "m", "weights_sha256": "0" * 64}), tmp_path / "strange")])


def test_drift_is_read_where_it_was_named_and_nowhere_else(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    folder.mkdir()
    (folder / "drift.json").write_text(drift_of(weights(run)))
    read = Read(page(run, [folder]))
    assert f"It moved, {SEEN}." in read.sections["summary"]
    assert "It is not sealed" in read.sections["results"]
    assert "not compared with an earlier" not in read.sections["untested"]
    assert read.rows("Moved (moved)") == [[("0.5", [0.5]), ("–", [])]]
    inside = shutil.copytree(run, tmp_path / "run")
    shutil.copy(folder / "drift.json", inside)
    said = Read(page(inside)).sections
    assert "It moved" not in said["results"]
    assert "They were not read: drift.json" in said["files"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (drift_of("0" * 64), "other weights"),
        ("{", "no comparison of two runs"),
        ("[]", "no comparison of two runs"),
        (drift_of(tables={"t": {"title": "t", "words": [[1, "x"]], "rows": [[1]]}}), "no comparison of two runs"),
        (drift_of(models=[{"sentences": "a", "limits": [], "weights_sha256": ["a"]}]), "no comparison of two runs"),
    ],
)
def test_drift_of_something_else_is_refused(run: Path, tmp_path: Path, text: str, why: str) -> None:
    folder = tmp_path / "moved"
    folder.mkdir()
    (folder / "drift.json").write_text(text)
    with pytest.raises(RecordError, match=f"Cannot add moved to the report: .*{why}") as caught:
        page(run, [folder])
    assert str(caught.value).count(". ") <= 1


# ---- any companion ---------------------------------------------------------------------------------------------------


def test_every_number_of_a_companion_names_a_file_that_is_listed_with_its_hash(
    run: Path, bright: Path, tmp_path: Path
) -> None:
    folders = [bright, shutil.copytree(bright, tmp_path / "bright")]
    (tmp_path / "moved").mkdir()
    (tmp_path / "moved/drift.json").write_text(drift_of(weights(run)))
    text = page(run, [*folders, tmp_path / "moved"])
    read = Read(text)
    files = {row[0][0]: row for row in read.rows("The files with which every number on this page can be checked")}
    places = {"bright/finding.json": folders[0], "bright (2)/finding.json": folders[1], "moved/drift.json": tmp_path}
    for name, folder in places.items():
        content = (folder / ("moved/drift.json" if "drift" in name else "finding.json")).read_bytes()
        assert files[name][2][0] == hashlib.sha256(content).hexdigest()
        assert files[name][3][0].startswith("no" if "drift" in name else "yes")
    anchors = {str(own["id"]) for tag, own in read.tags if tag == "tr" and own.get("id")}
    links = {str(own["href"])[1:] for tag, own in read.tags if tag == "a"}
    assert links - set(read.sections) <= anchors
    assert len(read.tables) == text.count("<caption")  # no two tables bear one name


def test_names_of_companions_stay_text(run: Path, tmp_path: Path) -> None:
    folder = xai.save(of(run, dose_finding(), sentences=(NAME,), notes=(NAME,), note=NAME), tmp_path / "x")
    hostile = folder.rename(tmp_path / re.sub("[/]", "", NAME))
    text = page(run, [hostile])
    check_hostile(text)
    assert SEEN in Read(text).sections["probes"]


@pytest.mark.parametrize(
    ("made", "why"),
    [
        (lambda run, place: run, "named twice"),
        (lambda run, place: shutil.copytree(run, place), "another audit"),
        (lambda run, place: place, "no folder"),
    ],
)
def test_what_belongs_to_no_audit_is_refused(
    run: Path, tmp_path: Path, made: Callable[[Path, Path], Path], why: str
) -> None:
    with pytest.raises(RecordError, match=why):
        page(run, [made(run, tmp_path / "other")])


def test_only_an_audit_takes_other_records_and_each_once(run: Path, bright: Path) -> None:
    folder = bright
    with pytest.raises(RecordError, match="bright is no audit"):
        page(folder, [folder])
    with pytest.raises(RecordError, match="named twice"):
        page(run, [folder, folder])
    with pytest.raises(RecordError, match="no longer match"):
        write_report(run, folder / "report.html", [folder])
    assert xai.verify(folder).ok


def test_the_command_takes_several(run: Path, bright: Path, tmp_path: Path) -> None:
    from xai_core.__main__ import app

    folders = [bright, xai.save(of(run, dose_finding(), place=1), tmp_path / "other")]
    out = tmp_path / "report.html"
    asked = ["report", str(run), "--with", str(folders[0]), "--with", str(folders[1]), "--out", str(out)]
    assert CliRunner().invoke(app, asked).exit_code == 0
    assert "Probes: 1 of 21" in Read(out.read_text("utf-8")).sections["untested"]
