"""Tables of scores that were made by hand, their exports, and figures that hold whatever comes."""

from __future__ import annotations

import csv
import io
import json
import zlib
from typing import Any

import numpy as np
import pytest

from xai_core import charts, figures
from xai_core.methods import METHODS
from xai_core.metrics import METRICS
from xai_core.records import Check, Curve, Evidence, Explanation, Passes, Score, Target
from xai_core.score_export import SCORE_FIELDS, curves_csv, score_lines, scores_csv, scores_json, scores_parquet
from xai_core.score_summary import page, said, undefined
from xai_core.score_table import NO_MAP, ScoreTable, number, score_table

DIGEST = "0123456789abcdef" * 4
FLAT = "Flat map: every value is zero."
Values = dict[Any, dict[Any, list[float | None]]]  # method -> metric -> a value per picture


def explanation(method: Any, picture: int, values: np.ndarray | None = None, **changes: Any) -> Explanation:
    if values is None:
        values = np.random.default_rng(zlib.crc32(f"{method} {picture}".encode())).random((8, 8))
    fields: dict[str, Any] = {
        "values": values.astype(np.float32),
        "pixels": np.zeros((8, 8, 3), np.uint8),
        "method": METHODS.build(json.loads(method) if method.startswith("{") else method).to_dict(),
        "model": {"name": "demo-xray", "weights_sha256": DIGEST, "preprocessing_sha256": DIGEST},
        "target": Target(1, "fracture"),
        "image": f"{picture:064x}",
        "seed": 3,
        "seconds": 0.1,
        "passes": Passes(1, 1),
        "grid": (4, 4),
    }
    return Explanation(**{**fields, **changes})


def score(e: Explanation, metric: Any, value: float | None, **changes: Any) -> Score:
    built = METRICS.build(json.loads(metric) if metric.startswith("{") else metric)
    fields: dict[str, Any] = {
        "metric": built.to_dict(),
        "method": e.method,
        "target": e.target,
        "image": e.image,
        "value": value,
        "better": built.better,
        "null": 0.5,
        "unit": built.unit,
        "why": FLAT if value is None else "",
        "seed": 7,
        "passes": Passes(12, 2),
    }
    return Score(**{**fields, **changes})


def table(values: Values, evidence: dict[Any, Evidence] | None = None, **changes: Any) -> ScoreTable:
    explanations, scores, weighed = [], [], []
    pictures = max(len(one) for by_metric in values.values() for one in by_metric.values())
    for picture in range(pictures):
        for method, by_metric in values.items():
            e = explanation(method, picture)
            explanations.append(e)
            scores.append([score(e, metric, each[picture], **changes) for metric, each in by_metric.items()])
            weighed.append((evidence or {}).get(method))
    return score_table(explanations, scores, weighed if evidence else None)


HAND: Values = {
    "grad_cam": {"deletion": [0.2], "sparseness": [0.5], "mean_focus_radius": [0.1]},
    "random": {"deletion": [0.1], "sparseness": [0.9], "mean_focus_radius": [0.4]},
    "saliency": {"deletion": [0.2], "sparseness": [0.7], "mean_focus_radius": [0.2]},
    "lime": {"deletion": [0.4], "sparseness": [None], "mean_focus_radius": [0.3]},
}


def column(of: ScoreTable, name: str, field: str) -> list[Any]:
    return [getattr(cells[of.column(name)], field) for cells in of.cells]


# what a table says -------------------------------------------------------------------------------------------------


def test_controls_come_last_and_are_never_ranked() -> None:
    made = table(HAND)
    assert [row.name for row in made.rows] == ["grad_cam", "saliency", "lime", "random"]
    assert [row.name for row in made.controls] == ["random"]
    assert made.cells[3][0].mean == 0.1  # the lowest deletion of all
    assert (made.cells[3][0].rank, made.cells[3][0].best) == (None, False)
    assert len(made.ranks) == 3


def test_ranks_follow_the_direction_and_ties_share_them() -> None:
    made = table(HAND)
    assert column(made, "deletion", "rank") == [1.5, 1.5, 3, None]  # lower is better
    assert column(made, "deletion", "best") == [True, True, False, False]
    assert column(made, "sparseness", "rank") == [2, 1, None, None]  # higher is better
    assert column(made, "sparseness", "best") == [False, True, False, False]


def test_what_only_describes_has_neither_ranks_nor_a_best() -> None:
    made = table(HAND)
    assert made.columns[2].better == ""
    assert column(made, "mean_focus_radius", "rank") == [None] * 4
    assert not any(column(made, "mean_focus_radius", "best"))


def test_an_undefined_score_is_no_number_and_keeps_its_reason() -> None:
    cell = table(HAND).cells[2][1]
    assert (cell.mean, cell.n, cell.rank, cell.undefined, str(cell)) == (None, 0, None, ((FLAT, 1),), "undefined")
    assert list(undefined(table(HAND))) == [f"LIME by Sparseness: {FLAT}"]


def test_a_control_that_does_as_well_is_named_where_it_should_lose() -> None:
    made = table(HAND)
    assert column(made, "deletion", "controls_ahead") == [("random",), ("random",), ("random",), ()]
    assert column(made, "sparseness", "controls_ahead") == [(), (), (), ()]  # noise may well be sparse


def test_rows_and_columns_are_named_by_the_settings_that_differ() -> None:
    at = ['{"name": "grad_cam", "layer": "layer1"}', '{"name": "grad_cam", "layer": "layer2"}']
    by = ["deletion", '{"name": "deletion", "baseline": "mean"}', "sparseness"]
    made = table({method: {metric: [0.5] for metric in by} for method in at})
    assert [row.name for row in made.rows] == ["grad_cam (layer=layer1)", "grad_cam (layer=layer2)"]
    assert [row.label for row in made.rows] == ["Grad-CAM (layer=layer1)", "Grad-CAM (layer=layer2)"]
    names = ["deletion (baseline=blur)", "deletion (baseline=mean)", "sparseness"]
    assert [one.name for one in made.columns] == names


def test_means_are_over_pictures_with_an_interval_from_five_on() -> None:
    values = [0.1, 0.2, 0.3, 0.4, 0.9]
    made = table({"grad_cam": {"deletion": values}, "saliency": {"deletion": [*values[:4], None]}})
    full, short = made.cells[0][0], made.cells[1][0]
    assert full.mean == pytest.approx(0.38)
    assert full.low is not None
    assert full.high is not None
    assert 0.1 < full.low < 0.38 < full.high < 0.9
    assert (short.mean, short.low, short.n, short.pictures) == (pytest.approx(0.25), None, 4, 5)
    assert "too few" in short.note
    assert str(short) == "0.25 (n = 4)"


def test_a_mean_over_fewer_pictures_than_the_rivals_is_not_ranked() -> None:
    made = table(
        {"grad_cam": {"deletion": [0.1, 0.9]}, "saliency": {"deletion": [0.1, None]}, "lime": {"deletion": [0.3, 0.4]}}
    )
    assert column(made, "deletion", "rank") == [2, None, 1]  # saliency has the lowest mean, of the easier picture


def test_a_method_without_a_map_of_a_picture_is_undefined_there() -> None:
    maps = [explanation("grad_cam", 0), explanation("grad_cam", 1), explanation("saliency", 0)]
    made = score_table(maps, [[score(e, "deletion", 0.5)] for e in maps])
    assert made.cells[1][0].undefined == ((NO_MAP, 1),)
    lines = [line for line in score_lines(made) if line["undefined"]]
    assert [(line["picture"], line["method"], line["value"], line["why"]) for line in lines] == [
        (2, "saliency", None, NO_MAP)
    ]


def test_a_null_that_differs_between_methods_is_not_put_on_the_column() -> None:
    maps = [explanation(name, picture) for picture in (0, 1) for name in ("grad_cam", "saliency")]
    same = score_table(maps, [[score(e, "deletion", 0.5, null=int(e.image, 16) / 10)] for e in maps])
    assert (same.columns[0].null, same.columns[0].null_differs) == (pytest.approx(0.05), False)
    own = score_table(maps, [[score(e, "deletion", 0.5, null=i / 10)] for i, e in enumerate(maps)])
    assert (own.columns[0].null, own.columns[0].null_differs) == (None, True)
    assert [cells[0].null for cells in own.cells] == [pytest.approx(0.1), pytest.approx(0.2)]


def test_verdicts_of_several_pictures_are_counted_with_a_reason_of_each_kind() -> None:
    bad = Evidence("no evidence", (Check("placement", False, "No better than elsewhere."), Check("flat", True, "Ok.")))
    good = Evidence("supported", (Check("placement", True, "Better than elsewhere."),))
    maps = [explanation("grad_cam", picture) for picture in range(3)]
    made = score_table(maps, [[score(e, "deletion", 0.5)] for e in maps], [bad, good, bad])
    assert made.rows[0].verdict == "no evidence on 2, supported on 1"
    assert made.rows[0].reasons == ("Placement failed on 2 of 3 pictures, for example: No better than elsewhere.",)
    alone = score_table(maps[:1], [[score(maps[0], "deletion", 0.5)]], [good])
    assert (alone.rows[0].verdict, alone.rows[0].reasons) == ("supported", ("Better than elsewhere.",))
    assert table(HAND).rows[0].verdict == ""


def test_agreement_is_one_with_itself_minus_one_with_its_opposite_and_undefined_when_flat() -> None:
    ramp = np.arange(64.0).reshape(8, 8)
    maps = [
        explanation("grad_cam", 0, ramp), explanation("saliency", 0, ramp**2), explanation("lime", 0, -ramp),
        explanation("uniform", 0, np.ones((8, 8))),
    ]  # fmt: skip
    found = score_table(maps, [[score(e, "deletion", 0.5)] for e in maps]).agreement
    assert found.correlation[0, :3] == pytest.approx([1, 1, -1])
    assert found.overlap[0, :3] == pytest.approx([1, 1, 0])
    assert np.isnan(found.correlation[3]).all()
    assert np.isnan(found.overlap[3]).all()
    assert found.controls == 1


def test_agreement_is_the_mean_over_pictures_that_have_both_maps() -> None:
    ramp = np.arange(64.0).reshape(8, 8)
    maps = [
        explanation("grad_cam", 0, ramp), explanation("saliency", 0, ramp), explanation("grad_cam", 1, ramp),
        explanation("saliency", 1, -ramp), explanation("grad_cam", 2, ramp),
    ]  # fmt: skip
    found = score_table(maps, [[score(e, "deletion", 0.5)] for e in maps]).agreement
    assert found.correlation[0, 1] == pytest.approx(0)
    assert found.overlap[0, 1] == pytest.approx(0.5)


def test_methods_are_compared_on_ten_pictures_without_controls_and_corrected_over_metrics() -> None:
    rng = np.random.default_rng(0)
    shift = {"grad_cam": 0.0, "saliency": 1.0, "lime": 2.0, "random": 9.0}
    values: Values = {
        name: {"deletion": (rng.random(12) + step).tolist(), "sparseness": rng.random(12).tolist()}
        for name, step in shift.items()
    }
    values["lime"]["deletion"][3] = None
    deletion, sparseness = table(values).comparisons
    assert deletion.methods == ("grad_cam", "saliency", "lime")
    assert deletion.result is not None
    assert sparseness.result is not None
    assert deletion.result.n == 11
    assert deletion.result.mean_ranks == (1, 2, 3)
    assert deletion.p_adjusted == pytest.approx(2 * deletion.result.p)
    assert sparseness.p_adjusted == pytest.approx(sparseness.result.p)
    few = table(HAND).comparisons
    assert few[0].result is None
    assert "10 pictures or more" in few[0].why
    assert few[1].left_out == ("lime",)


def test_a_table_is_of_one_model_and_of_one_map_per_method_and_picture() -> None:
    e = explanation("grad_cam", 0)
    other = explanation("saliency", 0, model={"name": "another"})
    with pytest.raises(ValueError, match="one model"):
        score_table([e, other], [[], []])
    with pytest.raises(ValueError, match="two different maps"):
        score_table([e, explanation("grad_cam", 0, seed=4)], [[], []])
    assert len(score_table([e, e], [[], []]).rows) == 1


def test_numbers_are_shown_with_three_digits_that_matter() -> None:
    assert [number(value) for value in (0.12345, -2.0, 0.0, 12345.6, 0.000012)] == [
        "0.123", "−2", "0", "1.2e+04", "1.2e−05"
    ]  # fmt: skip


# exports -----------------------------------------------------------------------------------------------------------


def curved() -> ScoreTable:
    maps = [explanation(name, picture) for picture in (0, 1) for name in ("grad_cam", "random", "uniform")]
    scores = [
        [
            score(e, "deletion", None)
            if e.method["name"] == "uniform"
            else score(
                e, "deletion", 0.25, details={"drop": float("nan"), "kept": 0.5},
                curve=Curve(np.array([0, 0.5, 1]), np.array([1, i / 10, 0]), "share covered", "answer"),
            )
        ]
        for i, e in enumerate(maps)
    ]  # fmt: skip
    return score_table(maps, scores)


def test_csv_leaves_the_undefined_empty_with_its_reason_beside_it() -> None:
    lines = list(csv.DictReader(io.StringIO(scores_csv(curved()))))
    assert len(lines) == 6
    assert list(lines[0]) == list(SCORE_FIELDS)
    flat = [line for line in lines if line["method"] == "uniform"]
    assert [(line["value"], line["undefined"], line["why"]) for line in flat] == [("", "True", FLAT)] * 2
    first = lines[0]
    assert (float(first["value"]), first["seed"], first["map_seed"], first["null"]) == (0.25, "7", "3", "0.5")
    assert json.loads(first["metric_settings"]) == {"baseline": "blur", "steps": 24}
    assert (first["forward_passes"], first["control"], lines[1]["control"]) == ("12", "False", "True")


def test_json_is_strict_and_holds_cells_scores_and_agreement() -> None:
    def refused(constant: str) -> None:
        raise AssertionError(constant)

    made = json.loads(scores_json(curved(), command="score"), parse_constant=refused)
    assert made["command"] == "score"
    assert made["rows"][2]["cells"]["deletion"]["undefined"] == {FLAT: 2}
    assert made["agreement"]["rank_correlation"][2] == [
        None if value != value else value for value in curved().agreement.correlation[2].tolist()
    ]
    assert json.loads(made["scores"][0]["details"]) == {"drop": None, "kept": 0.5}
    assert [line["value"] for line in made["scores"]] == [0.25, 0.25, None] * 2


def test_parquet_reads_back_as_the_lines_it_was_made_from() -> None:
    import pandas as pd

    made = curved()
    frame = pd.read_parquet(io.BytesIO(scores_parquet(made)))
    assert list(frame.columns) == list(SCORE_FIELDS)
    back = frame.astype(object).where(frame.notna(), None).to_dict("records")
    assert back == score_lines(made)
    nothing = score_table([explanation("uniform", 0)], [[score(explanation("uniform", 0), "deletion", None)]])
    assert str(pd.read_parquet(io.BytesIO(scores_parquet(nothing)))["value"].dtype) == "Float64"


def test_curves_are_a_line_per_point_and_average_over_pictures() -> None:
    made = curved()
    lines = list(csv.DictReader(io.StringIO(curves_csv(made))))
    assert len(lines) == 4 * 3
    assert {line["method"] for line in lines} == {"grad_cam", "random"}
    assert (lines[1]["x"], lines[1]["y"], lines[1]["x_label"]) == ("0.5", "0.0", "share covered")
    mean = made.curve(0, 0)
    assert mean is not None
    assert mean.y == pytest.approx([1, 0.15, 0])  # of 0.0 and 0.3
    assert made.curve(2, 0) is None


# words and figures -------------------------------------------------------------------------------------------------

HOSTILE = "a|b <script>alert(1)</script> $x_1$ \u202e\n# `c`"


def test_the_page_says_directions_nulls_reasons_and_what_was_left_out() -> None:
    bad = Evidence("weak", (Check("class contrast", False, "It hardly tells classes apart."),))
    text = page(
        table(HAND, {"grad_cam": bad}), {}, marked=(), left_out=["occlusion made no map: too large"],
        command="python -m xai_core score", made_with={"torch": "2"},
    )  # fmt: skip
    for words in (
        "| *better* | lower |", "| *knowing nothing* | 0.5 |", "It hardly tells classes apart.", "| weak |", FLAT,
        "occlusion made no map", "**0.2** †", "control: Random | 0.1", "Too few pictures", "python -m xai_core score",
        "Seed of the maps 3", "describes only", "not weighed",
    ):  # fmt: skip
        assert words in text, words


def test_text_from_outside_breaks_neither_table_nor_page() -> None:
    model = {"name": HOSTILE, "weights_sha256": DIGEST, "notice": HOSTILE}
    e = explanation("grad_cam", 0, model=model, target=Target(0, HOSTILE))
    text = page(score_table([e], [[score(e, "deletion", 0.5)]]), {}, marked=(), left_out=[], command="x", made_with={})
    assert "<script>" not in text
    row = next(line for line in text.splitlines() if line.startswith("| 1 |"))
    assert row.replace("\\|", "").count("|") == 6


def test_the_terminal_shows_columns_that_fit_and_marks_the_best() -> None:
    lines = list(said(table(HAND), 80))
    assert max(map(len, lines)) <= 80
    assert any("*0.2" in line for line in lines)
    assert any("controls" in line for line in lines)
    assert f"  LIME by Sparseness: {FLAT}" in lines
    assert any("n = 1" in line for line in lines)


def many(pictures: int) -> ScoreTable:
    names, rng = list(METHODS), np.random.default_rng(0)
    metrics = [json.dumps({"name": "deletion", "steps": steps}) for steps in range(4, 24)]
    values: Values = {
        name: {
            metric: [None if name == "uniform" or (i + j) % 29 == 5 else float(rng.random()) for _ in range(pictures)]
            for j, metric in enumerate(metrics)
        }
        for i, name in enumerate(names)
    }
    return table(values, curve=None)


@pytest.mark.parametrize(("make", "draw"), [
    (lambda: table(HAND), charts.ranking), (lambda: table(HAND), charts.agreement),
    (curved, lambda made: charts.curves(made, 0)), (curved, lambda made: charts.critical_difference(made, 0)),
], ids=["ranking", "agreement", "curves", "why no test"])  # fmt: skip
def test_a_figure_is_drawn_whole_and_twice_the_same(make: Any, draw: Any) -> None:
    made = make()
    figure = draw(made)
    assert figures.png(figure, 60) == figures.png(draw(made), 60)
    pixels = charts.Canvas.drawn(figure, 60)
    assert (pixels[[0, -1]] == 255).all()  # nothing runs over an edge
    assert (pixels[:, [0, -1]] == 255).all()


def test_every_word_of_a_figure_lies_within_its_page() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    rng = np.random.default_rng(1)
    long = {json.dumps({"name": "grad_cam", "layer": f"stages.3.blocks.{i}.conv_dw"}): i for i in range(4)}
    made = table({**{name: {"deletion": (rng.random(12) + i).tolist()} for name, i in long.items()},
                  "random": {"deletion": rng.random(12).tolist()}})  # fmt: skip
    for figure in (
        charts.ranking(made), charts.agreement(made), charts.critical_difference(made, 0), charts.ranking(many(1)),
    ):  # fmt: skip
        drawn: Any = FigureCanvasAgg(figure)
        drawn.draw()
        box = figure.bbox
        for text in [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]:
            place = text.get_window_extent()
            assert place.x0 >= 0, text.get_text()
            assert place.y0 >= 0, text.get_text()
            assert place.x1 <= box.width, text.get_text()
            assert place.y1 <= box.height, text.get_text()


def test_a_metric_without_a_curve_draws_none() -> None:
    with pytest.raises(ValueError, match="draws no curve"):
        charts.curves(table(HAND), 1)
