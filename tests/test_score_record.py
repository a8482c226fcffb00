"""A score table as a record: what stands in it is what was scored, and it can be had again."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from jsonschema import Draft202012Validator
from scipy import stats

import xai_core as xai
from tests.conftest import ROOT, png_of
from tests.test_score_table import FLAT, HAND, Values, curved, explanation, score, table
from xai_core import charts, retention
from xai_core.catalogue import Catalogue, Search
from xai_core.errors import RecordError, SettingError
from xai_core.records import Check, Curve, Evidence, Prediction, Record, Sheet, Target
from xai_core.score_export import SCORE_FIELDS, curves_csv, score_lines, scores_csv, scores_parquet
from xai_core.score_record import sheet_of
from xai_core.score_table import ScoreTable, score_table
from xai_core.seal import Damage, listing
from xai_core.store import list_records, zip_record
from xai_core.verification import read_manifest

ATTACHED = ["agreement.png", "ranking.png", "scores.json", "scores.parquet", "summary.md"]
BAD = Evidence("weak", (Check("class contrast", False, "It hardly tells classes apart.", 0.9, 0.5),), seed=4)


@pytest.fixture(autouse=True)
def _drawn_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """How charts are drawn is tested elsewhere."""
    for name in ("ranking", "agreement"):
        monkeypatch.setattr(charts, name, lambda of: np.full((2, len(of.rows), 3), 200, np.uint8))


def saved(made: ScoreTable, folder: Path, **more: Any) -> Sheet:
    """The sheet of a table, saved and opened again."""
    found = xai.open_record(xai.save(sheet_of(made, **more), folder))
    assert isinstance(found, Sheet)
    return found


def ten() -> ScoreTable:
    """Three methods and a control on ten pictures, with curves."""
    rng = np.random.default_rng(1)
    values: Values = {
        name: {"deletion": [float(one) for one in rng.random(10) + place]}
        for place, name in enumerate(("grad_cam", "saliency", "lime", "random"))
    }
    return table(values, curve=Curve(np.array([0.0, 1.0]), np.array([1.0, 0.5]), "share", "answer"))


def test_every_score_is_a_row_with_unit_direction_null_and_reason(tmp_path: Path) -> None:
    rows = saved(table(HAND), tmp_path / "a").tables["scores"].lines()
    assert len(rows) == 4 * 3
    said = {(row["method"], row["metric"]): row for row in rows}
    for method, by_metric in HAND.items():
        for metric, [value] in by_metric.items():
            row = said[method, metric]
            assert (row["value"], row["undefined"], row["null"]) == (value, value is None, 0.5)
            assert row["why"] == (FLAT if value is None else "")
            assert row["better"] == {"deletion": "lower", "sparseness": "higher"}.get(metric, "")
            assert row["unit"] == xai.METRICS[metric].unit
            assert row["control"] is (method == "random")
            assert (row["image_sha256"], row["seed"], row["map_seed"]) == ("0" * 64, 7, 3)


def test_the_record_says_what_was_asked(tmp_path: Path) -> None:
    e = explanation("grad_cam", 5, background=("b" * 64, "a" * 64), seed=11)
    other = explanation("random", 5, seed=11)
    made = score_table(
        [e, other], [[score(one, '{"name": "deletion", "steps": 9}', 0.5)] for one in (e, other)], seed=2
    )
    found = saved(
        made, tmp_path / "a", left_out=["lime made no map: too slow"], command="python x", note="N", reviewer="R"
    )
    about = found.about
    assert about["model"] == dict(e.model)
    assert about["methods"] == [xai.METHODS.build("grad_cam").to_dict()]
    assert [one["name"] for one in about["controls"]] == ["random"]
    assert about["metrics"] == [{"baseline": "blur", "name": "deletion", "steps": 9}]
    assert about["pictures"] == [f"{5:064x}"]
    assert about["targets"] == [{"index": 1, "label": "fracture", "kind": "logit", "against_label": ""}]
    assert about["background"] == ["a" * 64, "b" * 64]
    assert about["seeds"] == {"maps": [11], "scores": [7], "bootstrap": 2}
    assert (about["left_out"], about["command"]) == (["lime made no map: too slow"], "python x")
    assert (found.note, found.reviewer) == ("N", "R")
    for spec in (*about["methods"], *about["controls"]):
        assert xai.METHODS.build(spec).to_dict() == spec
    assert xai.METRICS.build(about["metrics"][0]).to_dict() == about["metrics"][0]
    assert found.sentences[-1] == "lime made no map: too slow"
    assert "python x" in found.attached["summary.md"].decode()


def test_the_maps_are_those_that_other_records_hold(tmp_path: Path) -> None:
    maps = [explanation("grad_cam", 0, gap=0.25), explanation("random", 0)]
    made = score_table(maps, [[score(e, "deletion", 0.5)] for e in maps], [BAD, None])
    rows = {row["method"]: row for row in saved(made, tmp_path / "a").tables["maps"].lines()}
    record = xai.save(Record((maps[0],)), tmp_path / "map")
    [file] = [file for file in listing(read_manifest(record)) if file.name.endswith(".npy")]
    assert rows["grad_cam"]["sha256"] == file.sha256
    assert rows["random"]["sha256"] != file.sha256
    assert (rows["grad_cam"]["gap"], rows["grad_cam"]["verdict"], rows["random"]["verdict"]) == (0.25, "weak", None)
    assert (rows["grad_cam"]["target"], rows["grad_cam"]["target_index"]) == ("fracture", 1)


def test_pictures_say_what_was_predicted_and_which_mask_marks_them(tmp_path: Path) -> None:
    made, shas = ten(), ten().pictures
    mask = xai.read_image(png_of(np.zeros((8, 8, 3), np.uint8)))
    said = Prediction(("a", "b"), np.array([0, np.log(3)], np.float32), made.model, shas[1])
    found = saved(made, tmp_path / "a", predictions={shas[1]: said}, masks={shas[2]: mask})
    rows = found.tables["pictures"].lines()
    assert f"| 2 | {shas[1][:12]} | b (0.75) | fracture | no |" in found.attached["summary.md"].decode()
    assert [row["image_sha256"] for row in rows] == list(shas)
    assert (rows[1]["predicted"], rows[1]["answer"]) == ("b", pytest.approx(0.75))
    assert (rows[0]["predicted"], rows[0]["answer"]) == (None, None)
    assert [row["mask_sha256"] for row in rows][:3] == [None, None, mask.sha256]
    assert {row["explained"] for row in rows} == {"fracture"}


def test_means_ranks_and_tests_are_those_of_the_table_and_of_scipy(tmp_path: Path) -> None:
    made = ten()
    found = saved(made, tmp_path / "a")
    aggregate = {row["method"]: row for row in found.tables["aggregate"].lines()}
    values = np.array([[one.value for one in across[0]] for across in made.found])
    for row, own in zip(made.rows, values, strict=True):
        said = aggregate[row.name]
        assert said["mean"] == pytest.approx(own.mean())
        assert said["low"] < said["mean"] < said["high"]
        assert (said["n"], said["undefined"]) == (10, 0)
    assert [aggregate[name]["rank"] for name in ("grad_cam", "saliency", "lime", "random")] == [1, 2, 3, None]
    statistic, p = stats.friedmanchisquare(*values[:3])
    differences = found.tables["differences"].lines()
    assert [row["method"] for row in differences] == ["grad_cam", "saliency", "lime"]
    assert [row["mean_rank"] for row in differences] == stats.rankdata(values[:3], axis=0).mean(axis=1).tolist()
    for row in differences:
        assert (row["statistic"], row["p"]) == (pytest.approx(statistic), pytest.approx(p))
        assert (row["n"], row["p_adjusted"]) == (10, row["p"])
    agreement = found.tables["agreement"].lines()
    assert len(agreement) == 6
    first = next(row for row in agreement if (row["method"], row["other"]) == ("grad_cam", "lime"))
    alike = [stats.spearmanr(made.maps[0][n].values.ravel(), made.maps[2][n].values.ravel())[0] for n in range(10)]  # type: ignore[union-attr]
    assert first["rank_correlation"] == pytest.approx(np.mean(alike))


def test_verdicts_keep_their_checks(tmp_path: Path) -> None:
    [check] = saved(table(HAND, {"grad_cam": BAD}), tmp_path / "a").tables["checks"].lines()
    assert check == {
        "picture": 1, "method": "grad_cam", "verdict": "weak", "check": "class contrast", "passed": False, "value": 0.9,
        "limit": 0.5, "sentence": "It hardly tells classes apart.", "seed": 4,
    }  # fmt: skip


def test_sentences_say_what_is_first_what_is_no_better_than_a_control_and_what_is_undefined() -> None:
    assert sheet_of(table(HAND, {"grad_cam": BAD}), left_out=["occlusion made no map: no."]).sentences == (
        "3 methods and 1 control by 3 metrics on 1 picture. One picture (n = 1), so no intervals: it says nothing of "
        "other pictures.",
        "Grad-CAM: weak. It hardly tells classes apart.",
        "By Deletion (lower is better), first of 3 methods: Grad-CAM and Saliency, with 0.2.",
        "By Deletion, a control does as well or better: it does not set apart Grad-CAM, Saliency, LIME.",
        "By Sparseness (higher is better), first of 2 methods: Saliency, with 0.7.",
        "Deletion: Differences are tested on 10 pictures or more; here are 1 with every method's score.",
        "Sparseness: Differences are tested among 3 methods or more; here are 2.",
        "Mean focus radius: No direction is better, so methods cannot be ranked.",
        f"LIME by Sparseness: {FLAT}",
        "occlusion made no map: no.",
    )


def test_sentences_name_what_differs_without_markdown() -> None:
    differs = [line for line in sheet_of(ten()).sentences if "Friedman chi-squared" in line]
    assert len(differs) == 1
    assert "mean ranks grad_cam 1.00, saliency 2.00, lime 3.00." in differs[0]  # in Markdown grad\\_cam
    assert not differs[0].startswith("- ")


def test_one_method_is_not_first_of_anything() -> None:
    said = sheet_of(table({"grad_cam": {"deletion": [0.2]}, "random": {"deletion": [0.1]}})).sentences
    assert not [line for line in said if "first of" in line]
    assert "By Deletion, a control does as well or better: it does not set apart Grad-CAM." in said


def test_the_files_for_people_and_programs_are_those_of_the_table(tmp_path: Path) -> None:
    made = curved()
    folder = xai.save(sheet_of(made, command="python x"), tmp_path / "a")
    assert (folder / "scores.csv").read_bytes() == scores_csv(made).encode()
    assert (folder / "curves.csv").read_bytes() == curves_csv(made).encode()
    assert (folder / "scores.parquet").read_bytes() == scores_parquet(made)
    assert json.loads((folder / "scores.json").read_bytes())["scores"] == json.loads(json.dumps(score_lines(made)))
    frame = pd.read_parquet(io.BytesIO((folder / "scores.parquet").read_bytes()))
    assert list(frame.columns) == list(SCORE_FIELDS)
    assert "| 1 | 000000000000 | not kept |" in (folder / "summary.md").read_text("utf-8")


def test_a_record_that_was_moved_packed_and_brought_in_is_the_same(tmp_path: Path) -> None:
    made = sheet_of(curved(), note="Note", reviewer="Ä")
    (tmp_path / "store").mkdir()
    moved = shutil.move(xai.save(made, tmp_path / "first"), tmp_path / "second")
    place = retention.import_zip(zip_record(moved), tmp_path / "store")
    for folder in (Path(moved), place):
        assert xai.verify(folder).ok
        found = xai.open_record(folder)
        assert isinstance(found, Sheet)
        assert dict(found.about) == json.loads(json.dumps(dict(made.about)))
        assert (found.sentences, found.note, found.reviewer) == (made.sentences, "Note", "Ä")
        assert {name: one.lines() for name, one in found.tables.items()} == {
            name: one.lines() for name, one in made.tables.items()
        }
        assert list(found.tables) == list(made.tables)
        assert {name: one.words for name, one in found.tables.items()} == {n: t.words for n, t in made.tables.items()}
        assert found.attached == made.attached
        assert sorted(found.attached) == ATTACHED
    again = xai.save(found, tmp_path / "again")
    for file in listing(read_manifest(again)):
        assert (again / file.name).read_bytes() == (place / file.name).read_bytes(), file.name


def test_a_change_of_any_file_is_named_and_what_is_needed_is_not_opened(tmp_path: Path) -> None:
    folder = xai.save(sheet_of(curved()), tmp_path / "a")
    names = [file.name for file in listing(read_manifest(folder))]
    assert set(ATTACHED) < set(names)
    for name in names:
        content = (folder / name).read_bytes()
        for other in (bytes([content[0] ^ 1]) + content[1:], content[:-1], content + b"\n"):
            (folder / name).write_bytes(other)
            assert [str(file.name) for file in xai.verify(folder).files if file.status != "intact"] == [name]
            if not name.endswith(".csv"):
                with pytest.raises(RecordError, match=name.replace(".", r"\.")):
                    xai.open_record(folder)
        (folder / name).write_bytes(content)
    assert xai.verify(folder).ok
    assert xai.open_record(folder)


def test_a_record_of_scores_is_as_the_schema_says_and_is_found(tmp_path: Path) -> None:
    made = curved()
    folder = xai.save(sheet_of(made), tmp_path / "a")
    schema = json.loads((ROOT / "assets" / "record.schema.json").read_text("utf-8"))
    assert not list(Draft202012Validator(schema).iter_errors(json.loads((folder / "manifest.json").read_bytes())))
    [entry] = list_records(tmp_path)
    assert (entry.title, entry.models) == ("1 method and 2 controls by 1 metric on 2 pictures", ("demo-xray",))
    assert entry.methods == ("grad_cam",)
    catalogue = Catalogue(tmp_path)
    catalogue.refresh()
    assert catalogue.find(Search(picture=made.pictures[1])).total == 1
    assert catalogue.find(Search(picture="f" * 64)).total == 0


@pytest.mark.parametrize("name", ["run.sh", "../scores.json", "scores.csv", "sheet.json", "summary.md/x"])
def test_nothing_else_is_attached(name: str, tmp_path: Path) -> None:
    plain = sheet_of(table(HAND))
    with pytest.raises(ValueError, match="is attached to scores"):
        xai.save(Sheet("scores", {}, (), plain.tables, attached={name: b"x"}), tmp_path / "a")
    with pytest.raises(ValueError, match="is attached to decisions"):
        xai.save(Sheet("decisions", {}, (), plain.tables, attached={"summary.md": b"x"}), tmp_path / "a")
    assert not (tmp_path / "a").exists()
    with pytest.raises(Damage):
        listing({"kind": "decisions", "files": [{"name": "summary.md", "bytes": 1, "sha256": "0" * 64}]})


def test_where_nothing_was_scored_a_sentence_says_so() -> None:
    empty = ScoreTable(rows=(), columns=(), cells=(), pictures=(), model={}, maps=(), found=())
    bare = score_table([explanation("grad_cam", 0)], [[]])
    for one in (empty, bare):
        with pytest.raises(SettingError, match=r"^Nothing was scored: there is no map, or no metric\. Choose both"):
            sheet_of(one)


def test_a_table_of_undefined_scores_and_of_controls_alone_is_a_record_that_says_so(tmp_path: Path) -> None:
    e = explanation("uniform", 0, np.zeros((8, 8)), target=Target(0, "*x*"))
    found = saved(score_table([e], [[score(e, "deletion", None, null=None)]]), tmp_path / "a")
    assert "Controls alone were scored: they know nothing of the model." in found.sentences
    [row] = found.tables["scores"].lines()
    assert (row["value"], row["why"], row["null"]) == (None, FLAT, None)
    assert found.tables["curves"].rows == ()
    assert hashlib.sha256(found.attached["summary.md"]).hexdigest() in {file.sha256 for file in listing(found.manifest)}
