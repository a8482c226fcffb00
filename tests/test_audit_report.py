"""The files of a finished audit, from answers that were made by hand, read back by other programs."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image as PillowImage

import xai_core as xai
from xai_core import audit_figures, audit_report, audit_tables, canvas, durable, manifest, seal
from xai_core.audit_report import Sample, path_names, write_report
from xai_core.errors import Cancelled, RecordError
from xai_core.methods import METHODS
from xai_core.metrics import METRICS
from xai_core.records import Case, Check, Evidence, Explanation, Passes, Prediction, Score, Target
from xai_core.runs import Run
from xai_core.score_export import NOT_ASKED
from xai_core.score_table import NO_MAP
from xai_core.unit_store import UnitStore
from xai_core.units import of_explanation

SIDE = 8
LABELS = ("cat", "dog", "=bird")
TRUE = ("cat", "dog", "cat", "dog", "cat", None)
NOTICE = "Synthetic demonstration model. Not for diagnosis."
RANDOM_WEIGHTS = "Random weights: this network has learnt nothing, and its maps mean nothing."
FLAT = "Flat map: every value is zero."
METHOD_NAMES, METRIC_NAMES = ("grad_cam", "random", "saliency"), ("deletion", "sparseness", "mean_focus_radius")
# By model and picture, the logits; the first model is wrong on pictures 1 and 2, surest of the latter.
LOGITS = (
    ((3, 0, 0), (1, 0, 0), (0, 0, 4), (0, 2, 0), (1, 0, 0), (0, 1, 0)),
    ((3, 0, 0), (0, 3, 0), (3, 0, 0), (0, 3, 0), None, (0, 1, 0)),
)
# Of the first model by deletion, which is better low: picture by picture, and undefined where there is None.
DELETION = {
    "grad_cam": (0.1, 0.2, 0.3, 0.4, 0.5, 0.9),
    "random": (0.6, 0.6, 0.6, 0.6, 0.6, 0.7),
    "saliency": (0.3, 0.3, 0.3, 0.3, 0.3, None),
}


def identity(name: str, notice: str) -> dict[str, Any]:
    digests = {f"{part}_sha256": (name + part)[0] * 64 for part in ("weights", "preprocessing", "labels")}
    return {
        "name": name, **digests, "task": "single label", "dtype": "float32", "device": "cpu", "notice": notice,
    }  # fmt: skip


def facts_of(names: tuple[str, ...] = ("demo-xray", "Odd | name")) -> dict[str, Any]:
    specs = {name: METHODS.build(name).to_dict() for name in METHOD_NAMES}
    return {
        "schema": 1,
        "status": "running",
        "data": {"name": "six [pictures]", "cases": 7, "labelled": True, "columns": ["site"]},
        "data_sha256": "d" * 64,
        "models": [
            {"name": name, "spec": None, "identity": identity(name, notice), "labels": list(LABELS), "fitted": specs}
            for name, notice in zip(names, (NOTICE, RANDOM_WEIGHTS), strict=False)
        ],
        "methods": [
            {"name": name, "method": specs[name], "family": METHODS[name].family} for name in METHOD_NAMES
        ],
        "metrics": [{"name": name, "metric": METRICS.build(name).to_dict()} for name in METRIC_NAMES],
        "target": "predicted",
        "seed": 0,
        "weigh": "wrong",
        "engine": "local",
        "store": "store",
        "refused": [["broken|.png", "it is *damaged*; get it again"]],
        "left_out": ["demo-xray: LIME says nothing of it"],
        "quarantined": [["two.png", "demo-xray", "the worker was killed"]],
        "started": "2026-01-02T03:04:05Z",
        "ended": "2026-01-02T03:05:05Z",
    }  # fmt: skip


def sample(number: int) -> Sample:
    name = "=cmd()|' /C calc'!A0.png" if number == 1 else f"pictures/{number}.png"
    case = Case(name, lambda: b"", TRUE[number % 6], {"site": "+east" if number % 2 else "west"}, "test")
    return Sample(case, f"{number:064x}", (40, 30))


class Made:
    """Answers that were made by hand."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.asked = 0

    def prediction(self, picture: int, model: int) -> tuple[Prediction, np.ndarray] | None:
        logits = LOGITS[model][picture % 6]
        if logits is None:
            return None
        said = np.array(logits, np.float32)
        return Prediction(LABELS, said, self.facts["models"][model]["identity"], f"{picture:064x}"), self.seen(picture)

    def seen(self, picture: int) -> np.ndarray:
        return np.random.default_rng(picture).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)

    def explanation(self, picture: int, model: int, method: int) -> Explanation | None:
        self.asked += 1
        said = self.prediction(picture, model)
        if said is None or (model, method) == (1, 2) or (picture, model, method) == (3, 0, 2):
            return None  # saliency says nothing of the second model, nor of one picture by the first
        chance = np.random.default_rng([picture, model, method])
        values = np.zeros((SIDE, SIDE)) if (picture, method) == (5, 2) else chance.normal(size=(SIDE, SIDE))
        top = int(said[0].order()[0])
        return Explanation(
            values=values.astype(np.float32), pixels=said[1],
            method=METHODS.build(METHOD_NAMES[method]).to_dict(), model=said[0].model, target=Target(top, LABELS[top]),
            image=f"{picture:064x}", seed=0, seconds=0.1, passes=Passes(1, 1), grid=(4, 4), box=(0, 0, 30, 30),
        )  # fmt: skip

    def score(self, picture: int, model: int, method: int, metric: int) -> Score | None:
        e = self.explanation(picture, model, method)
        if e is None or (picture, model, method, metric) == (0, 0, 0, 2):
            return None
        name = METRIC_NAMES[metric]
        value = DELETION[METHOD_NAMES[method]][picture % 6] if name == "deletion" else 0.25 + picture % 6 / 100
        built = METRICS.build(name)
        return Score(
            metric=built.to_dict(), method=e.method, target=e.target, image=e.image, value=value, better=built.better,
            null=0.0 if name == "sparseness" else None, why=FLAT if value is None else "", seed=7,
        )  # fmt: skip

    def evidence(self, picture: int, model: int, method: int) -> Evidence | None:
        if model == 0 and method != 1 and picture in (1, 2):
            said = ("It repeats.",) if picture == 1 else ("=It ends where the network begins.", "It is as its control.")
            verdict = "supported" if picture == 1 else "no evidence"
            return Evidence(verdict, tuple(Check("c", picture == 1, one) for one in said))  # type: ignore[arg-type]
        return None


def written(folder: Path, facts: dict[str, Any] | None = None, pictures: int = 6) -> Path:
    facts = facts or facts_of()
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps(facts))
    answers, run = Made(facts), Run(folder, MappingProxyType(facts))
    with UnitStore(folder / "store") as store:
        for model, one in enumerate(facts["models"]):
            maps = [(n, answers.explanation(n, model, 0)) for n in range(2)]
            keys = [run.map_key(f"{n:064x}", one["name"], "grad_cam") for n in range(2)]
            store.put([of_explanation(key or "", e) for key, (_, e) in zip(keys, maps, strict=True) if e is not None])
    write_report(folder, facts, [sample(number) for number in range(pictures)], answers)
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished report, which no test changes."""
    return written(tmp_path_factory.mktemp("audit") / "run")


@pytest.fixture
def own(done: Path, tmp_path: Path) -> Path:
    """A finished report of this test's own."""
    return shutil.copytree(done, tmp_path / "run")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a report by its name."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(("store", "run.json"))}


# rows ---------------------------------------------------------------------------------------------------------------


def test_predictions_hold_a_row_per_picture_and_model_with_nulls_where_there_is_nothing(done: Path) -> None:
    read = pd.read_parquet(done / "predictions.parquet")
    assert list(read) == [
        "file", "picture", "label", "split", "group.site", "model", "predicted", "confidence", "label_probability",
        "loss", "right", "probabilities", "width", "height",
    ]  # fmt: skip
    assert len(read) == 6 + 5  # the second model gave no answer on one
    first = read[read["model"] == "demo-xray"].reset_index(drop=True)
    assert list(first["predicted"]) == ["cat", "cat", "=bird", "dog", "cat", "dog"]
    assert list(first["right"])[:5] == [True, False, False, True, True]
    assert first.loc[5, ["label", "label_probability", "loss", "right"]].isna().all()
    assert list(first["group.site"]) == ["west", "+east"] * 3
    assert set(zip(read["width"], read["height"], strict=True)) == {(40, 30)}
    wrong = first.loc[2]  # logits 0, 0, 4 and the first is true
    assert wrong["confidence"] == pytest.approx(math.exp(4) / (2 + math.exp(4)), abs=1e-6)
    assert wrong["loss"] == pytest.approx(math.log(2 + math.exp(4)))
    assert wrong["label_probability"] == pytest.approx(math.exp(-wrong["loss"]))
    assert wrong["probabilities"].tolist() == pytest.approx(
        [1 / (2 + math.exp(4))] * 2 + [wrong["confidence"]], abs=1e-6
    )


def told(
    logits: tuple[float, ...], label: str | None, task: str = "single label", labels: Any = LABELS
) -> dict[str, Any]:
    return audit_tables._said(Prediction(labels, np.array(logits, np.float32), {"task": task}, "0" * 64), label)


def test_a_loss_stays_finite_where_the_probability_rounds_to_nothing() -> None:
    assert told((0, 2000, 0), "cat")["loss"] == 2000
    assert told((0, 2000, 0), "cat")["label_probability"] == 0


def test_a_label_that_the_model_lacks_is_neither_right_nor_wrong_and_has_no_loss() -> None:
    found = told((0, 2, 0), "fish")
    assert (found["right"], found["loss"], found["label_probability"]) == (None, None, None)


def test_classes_of_one_name_are_right_by_their_name() -> None:
    for logits in ((2, 0, 0), (0, 2, 0)):
        assert told(logits, "cat", labels=("cat", "cat", "dog"))["right"] is True
    assert told((0, 0, 2), "cat", labels=("cat", "cat", "dog"))["right"] is False


def test_classes_of_one_name_share_their_probability() -> None:
    assert told((0, 0, 0), "cat", labels=("cat", "cat", "dog"))["label_probability"] == pytest.approx(2 / 3)


def test_labels_that_do_not_exclude_one_another_have_their_own_probability() -> None:
    found = told((-1, 2, 0), "cat", task="multi label")
    assert found["label_probability"] == pytest.approx(1 / (1 + math.e))
    assert found["confidence"] == pytest.approx(1 / (1 + math.exp(-2)))
    assert found["right"] is None


def test_a_regression_has_neither_confidence_nor_right_and_wrong() -> None:
    found = told((-1, 2, 0), "cat", task="regression")
    assert {key: found[key] for key in found if key != "predicted"} == dict.fromkeys(
        ("confidence", "label_probability", "loss", "right", "probabilities")
    )


def scores(folder: Path, **where: Any) -> pd.DataFrame:
    read = pd.read_parquet(folder / "metrics.parquet")
    for column, value in where.items():
        read = read[read[column] == value]
    return read.reset_index(drop=True)


def test_scores_hold_a_row_per_picture_model_method_and_metric(done: Path) -> None:
    read = scores(done)
    assert list(read) == [
        "file", "picture", "label", "model", "method", "family", "target", "metric", "value", "better", "null", "unit",
        "why", "seed",
    ]  # fmt: skip
    assert len(read) == (6 + 5) * 3 * 3
    one = scores(done, model="demo-xray", method="saliency", metric="deletion")
    assert one["value"].tolist()[:3] == [0.3, 0.3, 0.3]
    assert one["value"].isna().tolist() == [False, False, False, True, False, True]
    assert one["why"].tolist() == ["", "", "", NO_MAP, "", FLAT]
    assert one["target"].tolist()[:3] == ["cat", "cat", "=bird"]
    assert set(one["better"]) == {"lower"}


def test_what_was_not_asked_of_a_map_is_told_from_what_has_no_map(done: Path) -> None:
    one = scores(done, model="demo-xray", method="grad_cam", metric="mean_focus_radius")
    assert one["why"].tolist() == [NOT_ASKED, "", "", "", "", ""]
    assert one["target"][0] == "cat"
    refused = scores(done, model="Odd | name", method="saliency")
    assert set(refused["why"]) == {NO_MAP}
    assert refused["target"].isna().all()
    assert refused["seed"].isna().all()


def test_the_null_of_deletion_is_what_the_random_control_got_on_the_same_picture(done: Path) -> None:
    deletion = scores(done, model="demo-xray", method="grad_cam", metric="deletion")
    assert deletion["null"].tolist() == list(DELETION["random"])
    assert set(scores(done, metric="sparseness").dropna(subset="value")["null"]) == {0.0}  # a formula keeps its own
    assert scores(done, metric="mean_focus_radius")["null"].isna().all()


def test_without_the_random_control_there_is_no_null() -> None:
    class Silent(Made):
        def score(self, picture: int, model: int, method: int, metric: int) -> Score | None:
            return None if method == 1 else super().score(picture, model, method, metric)

    facts = facts_of()

    found = list(audit_tables.scores(audit_tables.Audit(facts, [sample(0)], Silent(facts), lambda: None)))
    assert {line["null"] for line in found if line["metric"] == "deletion"} == {None}


def test_evidence_holds_what_was_weighed(done: Path) -> None:
    read = pd.read_parquet(done / "evidence.parquet")
    assert list(read) == ["file", "picture", "label", "model", "method", "verdict", "reasons"]
    assert read[["method", "verdict"]].values.tolist() == [
        ["grad_cam", "supported"], ["saliency", "supported"], ["grad_cam", "no evidence"], ["saliency", "no evidence"],
    ]  # fmt: skip
    assert read["reasons"][2] == "=It ends where the network begins.\nIt is as its control."


def test_columns_hold_nulls_and_have_their_types_whatever_is_undefined(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    folder = written(tmp_path / "run", facts_of(("demo-xray",)), pictures=1)
    types = {field.name: field.type for field in parquet.read_schema(folder / "predictions.parquet")}
    assert (types["right"], types["loss"], types["label"]) == (pa.bool_(), pa.float64(), pa.string())
    assert types["probabilities"] == pa.list_(pa.float32())
    assert len(pd.read_parquet(folder / "evidence.parquet")) == 0
    for name in ("predictions", "metrics", "evidence"):
        for column in parquet.read_table(folder / f"{name}.parquet").to_pydict().values():
            assert not any(
                (isinstance(cell, float) and math.isnan(cell)) or cell == "nan" for cell in column if cell is not None
            )


def test_the_csv_holds_the_same_rows_and_no_cell_starts_a_formula(done: Path) -> None:
    lines = list(csv.DictReader(io.StringIO((done / "metrics.csv").read_text(encoding="utf-8"))))
    frame = scores(done)
    assert list(lines[0]) == list(frame)
    assert len(lines) == len(frame)
    for line, row in zip(lines, frame.to_dict("records"), strict=True):
        for column, cell in row.items():
            given = "" if cell is None or cell != cell else cell
            if isinstance(given, str):
                assert line[column] == (f"'{given}" if given.startswith("=") else given)
            else:
                assert float(line[column]) == given
    assert any(line["file"].startswith("'=cmd") for line in lines)
    assert any(line["target"] == "'=bird" for line in lines)
    for file in ("metrics.csv", "aggregate.csv"):
        for row in csv.reader(io.StringIO((done / file).read_text(encoding="utf-8"))):
            assert not any(cell.startswith(("=", "+", "@")) for cell in row)


def test_the_aggregate_is_what_one_gets_by_hand(done: Path) -> None:
    read = pd.read_csv(done / "aggregate.csv")
    assert len(read) == 2 * 3 * 3
    by = read[(read["model"] == "demo-xray") & (read["metric"] == "deletion")].set_index("method")
    assert list(by.index) == ["grad_cam", "saliency", "random"]  # controls last
    assert by.loc["grad_cam", ["n", "undefined"]].tolist() == [6, 0]
    assert by.loc["grad_cam", "mean"] == pytest.approx(2.4 / 6)
    assert 0.1 < by.loc["grad_cam", "low"] < 0.4 < by.loc["grad_cam", "high"] < 0.9
    assert by.loc["saliency", ["n", "undefined"]].tolist() == [4, 2]
    assert by.loc["saliency", "mean"] == pytest.approx(0.3)
    assert by.loc["saliency", ["low", "high", "rank"]].isna().all()  # of four pictures only, not those of its rival
    assert by.loc["grad_cam", "rank"] == 1
    assert math.isnan(by.loc["random", "rank"])
    assert by.loc["random", "null"] == pytest.approx(3.7 / 6)
    assert NO_MAP in by.loc["saliency", "why"]
    assert FLAT in by.loc["saliency", "why"]


def test_ranks_are_given_among_methods_that_are_defined_on_the_same_pictures(done: Path) -> None:
    results = json.loads((done / "xai_results.json").read_text())["aggregate"]
    ranks = {(line["method"], line["metric"]): line["rank"] for line in results if line["model"] == "Odd | name"}
    assert ranks["grad_cam", "sparseness"] == 1
    assert ranks["saliency", "sparseness"] is None
    assert ranks["random", "sparseness"] is None


# maps ---------------------------------------------------------------------------------------------------------------


def test_arrays_hold_the_maps_in_the_order_of_the_predictions(done: Path) -> None:
    answers, facts = Made(facts_of()), facts_of()
    for model, folder in enumerate(("demo-xray", "_dd___name")):
        rows = pd.read_parquet(done / "predictions.parquet")
        rows = rows[rows["model"] == facts["models"][model]["name"]]
        numbers = [int(picture, 16) for picture in rows["picture"]]
        for method, name in enumerate(METHOD_NAMES):
            if (model, method) == (1, 2):
                assert not (done / "arrays" / folder / f"{name}.npy").exists()
                assert not (done / "grids" / folder / f"{name}.png").exists()
                continue
            read = np.load(done / "arrays" / folder / f"{name}.npy", allow_pickle=False)
            assert (read.dtype, read.shape) == (np.float32, (len(numbers), SIDE, SIDE))
            for values, number in zip(read, numbers, strict=True):
                e = answers.explanation(number, model, method)
                assert np.isnan(values).all() if e is None else (values == e.values).all()


def test_arrays_are_written_a_map_at_a_time(tmp_path: Path) -> None:
    side, pictures = 128, 200

    class Large(Made):
        def seen(self, picture: int) -> np.ndarray:
            return np.zeros((side, side, 3), np.uint8)

        def explanation(self, picture: int, model: int, method: int) -> Explanation | None:
            values = np.full((side, side), picture, np.float32)
            return Explanation(
                values=values, pixels=self.seen(0), method=METHODS.build("random").to_dict(), model={}, image="0" * 64,
                target=Target(0, "cat"), seed=0, seconds=0, passes=Passes(), grid=(1, 1),
            )  # fmt: skip

    facts = facts_of(("demo-xray",))
    audit = audit_report.Audit(facts, [sample(number) for number in range(pictures)], Large(facts), lambda: None)
    report = audit_report._Report(tmp_path, audit)
    tracemalloc.start()
    report._put_together(report._arrays(0, range(pictures), ["arrays/a/b.npy"]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20  # one map has 64 KiB, all of them 12.5 MiB
    assert np.load(tmp_path / "arrays/a/b.npy")[:, 5, 5].tolist() == list(range(pictures))


def test_rows_are_written_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_tables, "AT_ONCE", 2)
    facts = facts_of()
    steps: list[int] = []
    audit = audit_tables.Audit(facts, [sample(number) for number in range(6)], Made(facts), lambda: steps.append(1))
    pieces = audit_tables.predictions_parquet(audit)
    first = next(pieces)
    assert len(steps) < 4 < len([*pieces, first])


def test_a_grid_shows_the_surest_mistakes_first_with_notice_and_scale(
    done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grids = []
    real = audit_figures.grid
    monkeypatch.setattr(audit_figures, "grid", lambda *given: (grids.append(given), real(*given))[1])
    texts: list[str] = []
    write = canvas.Canvas.text
    monkeypatch.setattr(canvas.Canvas, "text", lambda *a, **k: (texts.append(a[3]), write(*a, **k))[1])
    facts = facts_of()
    report = audit_report._Report(
        done, audit_report.Audit(facts, [sample(n) for n in range(6)], Made(facts), lambda: None)
    )
    content = report._grid(0, 2, report._predictions()["demo-xray"])
    [(shown, heading, notice, about)] = grids
    assert [int(one.explanation.image, 16) for one in shown] == [2, 1, 0, 4, 5]  # 3 has no map by saliency
    assert [one.wrong for one in shown] == [True, True, False, False, False]
    assert notice == NOTICE
    assert "5 of 6 pictures" in about
    assert "Wrong are 2" in about
    assert "demo-xray" in heading
    assert "✗ cat → =bird  96.5 %" in texts
    assert "cat → cat  57.6 %" in texts
    assert "→ dog  57.6 %" in texts
    assert NOTICE in texts
    assert sum(text.endswith("flat map: no evidence") for text in texts) == 1
    assert "one colour scale" in " ".join(texts)
    assert PillowImage.open(io.BytesIO(content)).size[0] > 700


def test_random_weights_are_said_in_capitals(done: Path) -> None:
    assert "RANDOM WEIGHTS" in (done / "summary.md").read_text()


def test_pictures_on_a_grid_keep_their_colours_and_proportions() -> None:
    pixels = np.full((300, 300, 3), 255, np.uint8)
    audit_figures._paste(pixels, np.full((50, 100, 3), 7, np.uint8), 0.5, 0.25)
    rows, columns = np.where((pixels == 7).all(axis=2))
    assert (rows.min(), rows.max() + 1, columns.min(), columns.max() + 1) == (25, 80, 50, 160)


def test_at_most_so_many_pictures_are_on_a_grid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_report, "MOST_SHOWN", 2)
    folder = written(tmp_path / "run", facts_of(("demo-xray",)), pictures=3)
    facts = facts_of(("demo-xray",))
    report = audit_report._Report(
        folder, audit_report.Audit(facts, [sample(n) for n in range(3)], Made(facts), lambda: None)
    )
    with PillowImage.open(io.BytesIO(report._grid(0, 0, report._predictions()["demo-xray"]))) as drawn:
        assert drawn.size[1] < 400  # one line of them


def test_row_names_become_names_of_files_that_differ() -> None:
    given = ["grad_cam", "Grad CAM", "grad/cam", "grad cam", "..", "", "-x", "é" * 300]
    names = path_names(given)
    assert names == ["grad_cam", "_rad____", "grad_cam_2", "grad_cam_3", "_.", "_", "_x", "_" * 100]
    assert all(seal.KINDS["audit"].names.fullmatch(f"arrays/{name}/{name}.npy") for name in names)


# words --------------------------------------------------------------------------------------------------------------


def test_the_summary_says_first_what_must_be_known(done: Path) -> None:
    text = (done / "summary.md").read_text()
    assert text.startswith("# Audit of six \\[pictures\\]")
    head = text[:700]
    assert NOTICE in head
    assert "7 pictures were asked about, 6 could be read, 1 could not, with labels." in head
    assert "is right on 3 of 5 labelled pictures: 60.0 % (95 % interval 23.1 % to 88.2 %)" in text  # Wilson, 1927
    assert "cat taken for =bird: 1, 33.3 % of the pictures of cat." in text
    assert "both are right on 2, only demo-xray on 0, only Odd \\| name on 2, neither on 0" in text
    assert "broken\\|.png: it is \\*damaged\\*; get it again" in text
    assert "LIME says nothing of it" in text
    assert "the worker was killed" in text
    assert "| control: " in text
    assert "python -m xai_core verify RUN" in text
    assert "gate RUN --policy assets/gate.toml" in text
    assert "lies in records/audits/ or SECOND_LOOK_AUDITS names the folder that holds it" in text
    assert "maps of misclassified pictures were weighed" in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.count("|") - line.count("\\|") >= 3
            assert "Odd | name" not in line


def test_what_nobody_labelled_is_not_said_to_have_been_misclassified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "TRUE", (None,) * 6)
    facts = facts_of(("demo-xray",))
    facts["data"]["labelled"], facts["refused"] = False, []
    text = (written(tmp_path / "run", facts, pictures=2) / "summary.md").read_text()
    assert "2 pictures, without labels." in text
    assert "no maps were weighed: without labels nothing says which pictures are misclassified" in text
    assert "maps of misclassified" not in text


def test_pictures_of_classes_that_the_models_lack_are_left_out_everywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "TRUE", ("cat", "fish", "cat", "dog", "cow", None))
    texts: list[str] = []
    write = canvas.Canvas.text
    monkeypatch.setattr(canvas.Canvas, "text", lambda *a, **k: (texts.append(a[3]), write(*a, **k))[1])
    folder = written(tmp_path / "run")
    read = pd.read_parquet(folder / "predictions.parquet")
    assert read.loc[read["label"].isin(["fish", "cow"]), "right"].isna().all()
    assert read.loc[read["label"].isin(["cat", "dog"]), "right"].notna().all()
    text = (folder / "summary.md").read_text()
    assert "is right on 2 of 3 labelled pictures" in text
    assert "\n  - 2 pictures are of classes that the model lacks and are left out.\n" in text
    assert "1 picture is of a class that one of the models lacks and is left out." in text  # the second answers on 5
    assert "fish → cat  57.6 %" in texts
    assert not any(one.startswith(("✗ fish", "✗ cow")) for one in texts)
    assert "✗ cat → =bird  96.5 %" in texts


def test_the_results_are_strict_json_with_all_numbers(done: Path) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(word)

    read = json.loads((done / "xai_results.json").read_text(), parse_constant=refuse)
    assert read["models"]["demo-xray"]["accuracy"]["mean"] == pytest.approx(0.6)
    assert len(read["pairs"]) == 1
    assert read["pairs"][0]["maps"][0]["correlation"]["n"] == 1  # of one picture both predict, and explain, the same
    assert len(read["aggregate"]) == 18
    assert read["data"]["sha256"] == "d" * 64
    assert ".png" not in json.dumps(read)  # names of files may be names of people


# the manifest -------------------------------------------------------------------------------------------------------


def test_a_finished_report_is_intact_and_every_file_is_listed(done: Path) -> None:
    report = xai.verify(done)
    assert report.ok, str(report)
    assert {file.name for file in report.files} == set(contents(done))
    assert str(report).startswith("Intact")


def test_the_manifest_says_what_made_it(done: Path) -> None:
    said = json.loads((done / "manifest.json").read_text())
    assert (said["kind"], said["data"]["sha256"], said["seeds"]["bootstrap"]) == ("audit", "d" * 64, 0)
    assert said["models"][0]["identity"]["weights_sha256"] == "d" * 64
    by_model = {one["name"]: one["by_model"] for one in said["methods"]}
    assert by_model["grad_cam"]["demo-xray"]["arrays"] == "arrays/demo-xray/grad_cam.npy"
    assert by_model["grad_cam"]["demo-xray"]["fitted"]["name"] == "grad_cam"
    assert by_model["saliency"]["Odd | name"]["arrays"] is None
    assert said["started"] == "2026-01-02T03:04:05Z"
    assert said["made_with"]["packages"]["torch"]


def test_a_changed_byte_in_any_file_is_found_and_named(own: Path) -> None:
    for name, content in contents(own).items():
        place = own / name
        place.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        wrong = {file.name: file.status for file in xai.verify(own).files if file.status != "intact"}
        assert wrong.pop(name) == "changed", name
        assert not wrong or name == "manifest.json"
        place.write_bytes(content)
    assert xai.verify(own).ok


def test_what_lives_on_beside_an_audit_is_no_stranger_and_everything_else_is(own: Path) -> None:
    for name in (
        "decisions.sqlite",
        "decisions.sqlite-wal",
        "decisions.sqlite-shm",
        "gate.md",
        "lease.json",
        "lease.lock",
    ):
        (own / name).write_bytes(b"x")
    assert xai.verify(own).ok
    strangers = ["notes.txt", "arrays/x.npy", "arrays/demo-xray/y.npy", "grids/other/z.png", "storeroom/a", "seen.png"]
    for name in strangers:
        (own / name).parent.mkdir(exist_ok=True)
        (own / name).write_bytes(b"x")
    (own / "grids/demo-xray/link.png").symlink_to("/etc/passwd")
    found = {file.name: file.status for file in xai.verify(own).files if file.status != "intact"}
    assert found == dict.fromkeys(
        ["notes.txt", "arrays/x.npy", "arrays/demo-xray/y.npy", "grids/other", "storeroom", "seen.png",
         "grids/demo-xray/link.png"],
        "unlisted",
    )  # fmt: skip


def test_a_missing_file_or_one_behind_a_link_is_named_and_nothing_is_opened(own: Path, tmp_path: Path) -> None:
    (own / "arrays/demo-xray/random.npy").unlink()
    (own / "grids/demo-xray").rename(tmp_path / "elsewhere")
    (own / "grids/demo-xray").symlink_to(tmp_path / "elsewhere")
    found = {file.name: file.status for file in xai.verify(own).files if file.status != "intact"}
    assert found.pop("arrays/demo-xray/random.npy") == "missing"
    assert found.pop("grids/demo-xray") == "unlisted"
    assert found == {f"grids/demo-xray/{name}.png": "unverifiable" for name in METHOD_NAMES}


@pytest.mark.parametrize(
    "name",
    [
        "arrays/../secret.npy", "arrays/../../secret.npy", "arrays/a/../b.npy", "/etc/passwd", "arrays//b.npy",
        "arrays/.a/b.npy", "arrays/a/.b.npy", "arrays/a/b.png", "grids/a/b.npy", "arrays/a/b/c.npy", "store/x",
        "arrays\\a\\b.npy", "arrays/A/b.npy", "manifest.json", "seen.png", "arrays/a/b.npy\n", "run.json",
        f"arrays/{'a' * 121}/b.npy",
    ],
)  # fmt: skip
def test_a_name_no_audit_has_is_refused(name: str, done: Path) -> None:
    fields = json.loads((done / "manifest.json").read_text())
    fields["files"].append({"name": name, "bytes": 6, "sha256": "0" * 64})
    with pytest.raises(seal.Damage, match="a name no record has"):
        seal.unsealed(seal.sealed(fields))


def test_an_audit_may_list_larger_files_than_a_record() -> None:
    def listed(kind: str, name: str, size: int) -> Any:
        return seal.listing({"kind": kind, "files": [{"name": name, "bytes": size, "sha256": "0" * 64}]})

    assert listed("audit", "arrays/a/b.npy", 8 * 2**30)[0].bytes == 8 * 2**30
    for kind, name, size in (("audit", "arrays/a/b.npy", 2**40), ("explanation", "01_a.npy", 2**28 + 1)):
        with pytest.raises(seal.Damage, match="at most"):
            listed(kind, name, size)


@pytest.mark.parametrize(
    ("shape", "fits"), [((6, 8, 8), True), ((8, 8), False), ((1, 6, 8, 8), False), ((0, 8, 8), False)]
)
def test_an_array_of_maps_has_three_dimensions(shape: tuple[int, ...], fits: bool) -> None:
    out = io.BytesIO()
    np.save(out, np.zeros(shape, np.float32))
    if fits:
        assert seal.maps_shape(out.getvalue(), len(out.getvalue()))[1:] == shape
        with pytest.raises(seal.Damage):
            seal.map_shape(out.getvalue(), len(out.getvalue()))
    else:
        with pytest.raises(seal.Damage):
            seal.maps_shape(out.getvalue(), len(out.getvalue()))


def test_an_audit_opens_on_its_own_page_and_is_no_broken_record(own: Path) -> None:
    for read in (manifest.open_record, manifest.zip_record):
        with pytest.raises(RecordError, match=r"it is the audit of a whole set\. Open it on the review page"):
            read(own)
    (own.parent / "audits").mkdir()
    assert manifest.list_records(own.parent) == []


# how it is written --------------------------------------------------------------------------------------------------


def test_a_report_written_anew_has_the_same_bytes_and_the_manifest_comes_last(
    own: Path, done: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    real = durable._draft
    monkeypatch.setattr(durable, "_draft", lambda folder: (names.append(str(folder)), real(folder))[1])
    written_at: list[Callable[[], None]] = []
    report = durable.replace_file
    monkeypatch.setattr(durable, "replace_file", lambda path, data: (written_at.append(path), report(path, data))[1])
    facts = facts_of()
    write_report(own, facts, [sample(number) for number in range(6)], Made(facts))
    assert written_at[-1] == own / "manifest.json"
    assert names[-1] == str(own)
    first, second = contents(own), contents(done)
    assert first.keys() == second.keys()
    assert {name for name in first if first[name] != second[name]} == {"manifest.json"}
    one, other = (json.loads(files["manifest.json"]) for files in (first, second))
    assert {key for key in one if one[key] != other[key]} == {"id", "created", "sha256"}
    assert xai.verify(own).ok


def test_progress_is_told_to_its_end_and_a_cancelled_report_has_no_manifest(tmp_path: Path) -> None:
    facts, steps = facts_of(), list[tuple[int, int]]()
    samples, cancel = [sample(number) for number in range(6)], threading.Event()
    UnitStore(tmp_path / "store").close()
    write_report(tmp_path, facts, samples, Made(facts), lambda *told: steps.append(told))
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    assert {total for _, total in steps} == {6 * 2 * 6 + 6}
    assert steps[-1][0] in range(60, 79)  # a picture that a model did not answer has no maps
    (tmp_path / "manifest.json").unlink()
    cancel.set()
    with pytest.raises(Cancelled, match="answers are kept"):
        write_report(tmp_path, facts, samples, Made(facts), cancel=cancel)
    assert not (tmp_path / "manifest.json").exists()


def test_a_report_of_less_removes_what_only_the_earlier_one_wrote_and_nothing_else(own: Path, tmp_path: Path) -> None:
    beside = {"decisions.sqlite": b"d", "notes.txt": b"n", "arrays/demo-xray/own.txt": b"o", "grids/x/y/z.png": b"z"}
    for name, content in beside.items():
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).write_bytes(content)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.png").write_bytes(b"a")
    (own / "grids/linked").symlink_to(tmp_path / "elsewhere")
    facts = {**facts_of(("demo-xray",)), "metrics": []}
    del facts["methods"][1:]
    write_report(own, facts, [sample(number) for number in range(6)], Made(facts))
    assert {path.relative_to(own / "arrays").as_posix() for path in (own / "arrays").rglob("*")} == {
        "demo-xray", "demo-xray/grad_cam.npy", "demo-xray/own.txt",
    }  # fmt: skip
    assert not (own / "grids/_dd___name").exists()
    assert not (own / "method_ranking.png").exists()
    assert {name: (own / name).read_bytes() for name in beside} == beside
    assert (tmp_path / "elsewhere/a.png").exists()
    assert (own / "store").is_dir()
    for name in ("notes.txt", "arrays/demo-xray/own.txt", "grids/x/y/z.png", "grids/linked"):
        (own / name).unlink()
    for name in ("grids/x/y", "grids/x"):
        (own / name).rmdir()
    assert xai.verify(own).ok, str(xai.verify(own))


def test_a_report_without_maps_leaves_no_folder_of_an_earlier_one(own: Path) -> None:
    class Mapless(Made):
        def explanation(self, picture: int, model: int, method: int) -> Explanation | None:
            return None

    facts = {**facts_of(), "metrics": []}
    write_report(own, facts, [sample(number) for number in range(6)], Mapless(facts))
    assert not (own / "arrays").exists()
    assert not (own / "grids").exists()
    assert xai.verify(own).ok


def test_a_report_that_ends_halfway_is_described_by_no_manifest(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = durable.replace_streamed, list[bool]()

    def one_only(path: Path, pieces: Any) -> None:
        seen.append((own / "manifest.json").exists())
        if len(seen) == 2:
            raise OSError(28, "No space left on device")
        real(path, pieces)

    monkeypatch.setattr(durable, "replace_streamed", one_only)
    with pytest.raises(RecordError, match="No space left"):
        write_report(own, facts_of(), [sample(0)], Made(facts_of()))
    assert seen == [False, False]
    assert not xai.verify(own).ok
    assert xai.verify(own).files[0].status == "missing"


def test_maps_are_asked_for_picture_by_picture(done: Path) -> None:
    class Noting(Made):
        def explanation(self, picture: int, model: int, method: int) -> Explanation | None:
            noted.append((model, picture, method))
            return super().explanation(picture, model, method)

    facts, noted = facts_of(), list[tuple[int, int, int]]()
    report = audit_report._Report(
        done, audit_report.Audit(facts, [sample(n) for n in range(6)], Noting(facts), lambda: None)
    )
    assert len({name for name, _ in report._arrays(0, range(6), ["a", "b", "c"])}) == 3
    assert noted == [(0, picture, method) for picture in range(6) for method in range(3)]


def test_an_array_has_a_row_also_for_what_came_before_its_first_map(own: Path) -> None:
    class Late(Made):
        def explanation(self, picture: int, model: int, method: int) -> Explanation | None:
            return None if picture < 2 else super().explanation(picture, model, method)

    facts = {**facts_of(("demo-xray",)), "metrics": []}
    write_report(own, facts, [sample(number) for number in range(6)], Late(facts))
    read = np.load(own / "arrays/demo-xray/grad_cam.npy")
    assert np.isnan(read).all(axis=(1, 2)).tolist() == [True, True, False, False, False, False]
    assert xai.verify(own).ok


def test_a_full_disk_is_said_and_leaves_no_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "replace_streamed", full)
    with pytest.raises(RecordError, match=r"No space left on device\. Answers are kept; free some space"):
        write_report(tmp_path, facts_of(), [sample(0)], Made(facts_of()))
    assert list(tmp_path.iterdir()) == []


def test_a_streamed_file_is_whole_or_not_at_all(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"new"
        raise RuntimeError("in the middle")

    durable.replace_file(tmp_path / "a", b"old")
    with pytest.raises(RuntimeError):
        durable.replace_streamed(tmp_path / "a", pieces())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}
    durable.replace_streamed(tmp_path / "a", [b"ne", b"", b"w"])
    assert (tmp_path / "a").read_bytes() == b"new"


def test_without_metrics_or_maps_there_are_still_the_numbers(tmp_path: Path) -> None:
    facts = {**facts_of(("demo-xray",)), "metrics": [], "weigh": "none"}
    folder = written(tmp_path / "run", facts)
    assert xai.verify(folder).ok
    assert "method_ranking.png" not in contents(folder)
    assert "is right on 3 of 5" in (folder / "summary.md").read_text()
    assert len(pd.read_parquet(folder / "metrics.parquet")) == 0
