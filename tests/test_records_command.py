"""The commands `prune` and `import` as a person types them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from tests.records_made import saved, tree
from tests.test_command_line import run
from xai_core import chain, store
from xai_core.__main__ import app
from xai_core.errors import AuditError, RecordError, SettingError


def typed(*words: str | Path, env: dict[str, str] | None = None) -> Result:
    """What a command prints and how it ends; a sentence to a person is raised."""
    done = CliRunner().invoke(app, [*map(str, words)], env=env or {"SECOND_LOOK_RECORDS": ""})
    if isinstance(done.exception, AuditError):
        raise done.exception
    return done


@pytest.fixture
def three(tmp_path: Path) -> Path:
    place = tmp_path / "records"
    place.mkdir()
    for number, day in enumerate(("2020-01-01", "2020-02-01", "2020-03-01")):
        saved(place, f"r{number}", day)
    return place


def test_prune_says_what_would_go_and_then_removes_it(three: Path) -> None:
    before = tree(three)
    said = typed("prune", three, "--older-than-days", "30", "--dry-run")
    assert re.findall(r"^Would go    (\S+)  (\S+)  0\.0 MB$", said.stdout, re.M) == [
        ("2020-01-01", "r0"), ("2020-02-01", "r1"),
    ]  # fmt: skip
    assert said.stdout.endswith("Store       3 records, 0.0 MB\n")
    assert tree(three) == before
    said = typed("prune", three, "--older-than-days", "30", "--why", "the rule of the clinic")
    assert (said.exit_code, re.findall(r"^Removed     \S+  (\S+)", said.stdout, re.M)) == (0, ["r0", "r1"])
    assert said.stdout.endswith("Store       1 record, 0.0 MB\n")
    assert (chain.check(three).ok, chain.check(three).removed) == (True, 2)
    names = chain.tombstone_names(three)
    assert {chain.read_tombstone(three, name).why for name in names} == {"the rule of the clinic"}


def test_prune_by_size_counts_in_megabytes(three: Path) -> None:
    size = sum(file.stat().st_size for file in (three / "r2").iterdir() if file.name != "manifest.json")
    said = typed("prune", three, "--larger-than-mb", str(size / 1e6))
    assert said.exit_code == 0
    assert sorted(path.name for path in three.iterdir() if path.name[0] != ".") == ["r2", "tombstones"]


def test_prune_says_what_stays_and_ends_with_1(three: Path) -> None:
    (three / "r0" / "notes.txt").write_text("mine")
    said = typed("prune", three, "--older-than-days", "1")
    assert said.exit_code == 1
    assert "Stays       Cannot remove r0: notes.txt in it is no part of the record" in said.stdout
    assert re.findall(r"^Removed     \S+  (\S+)", said.stdout, re.M) == ["r1"]


@pytest.mark.parametrize(
    "words", [(), ("--larger-than-mb", "0"), ("--larger-than-mb", "nan"), ("--larger-than-mb", "inf"),
              ("--older-than-days", "-3"), ("--older-than-days", "1", "--why", "x" * 501)],
)  # fmt: skip
def test_nonsense_is_refused_in_a_sentence(words: tuple[str, ...], three: Path) -> None:
    before = tree(three)
    with pytest.raises(SettingError, match=r"^[^\n]+\.$"):
        typed("prune", three, *words)
    assert tree(three) == before


def test_a_record_travels_as_a_zip_to_another_store(three: Path, tmp_path: Path) -> None:
    (tmp_path / "r1.zip").write_bytes(store.zip_record(three / "r1"))
    (tmp_path / "other").mkdir()
    said = typed("import", tmp_path / "r1.zip", "--store", tmp_path / "other")
    [folder] = (tmp_path / "other" / "imported").iterdir()
    assert said.stdout == f"Imported    {folder}\n"
    assert tree(folder) == tree(three / "r1")
    with pytest.raises(RecordError, match="here already, as r1"):
        typed("import", tmp_path / "r1.zip", env={"SECOND_LOOK_RECORDS": str(three)})


def test_a_file_that_is_no_zip_or_not_there_is_refused(three: Path, tmp_path: Path) -> None:
    for name, words in {"nowhere.zip": "Cannot read nowhere.zip", "records": "Cannot read records"}.items():
        with pytest.raises(RecordError, match=words):
            typed("import", tmp_path / name, "--store", three)
    said = run("import", Path(__file__), "--store", three, expect=1)
    assert said.startswith("Nothing was imported: it is no zip")
    assert not (three / "imported").exists()
