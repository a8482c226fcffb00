"""The page that compares methods: every method with every control, scores that are those of the core, nothing lost."""

from __future__ import annotations

import io
import json
import re
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import xai_core as xai
from pages.shared import jobs, metric_menu, score_panels, takeaway, viewer
from pages.shared.question import Looks, Question
from pages.shared.state import Session
from tests.pages.conftest import ROOT, Opener, buttons_that_save, drop, drop_mask, png, settled, words
from xai_core import charts
from xai_core.errors import SettingError
from xai_core.records import Check, Evidence, Explanation, Passes, Target
from xai_core.score_table import Cell, ScoreTable
from xai_core.store import AUDITS
from xai_core.truth import truth_beside

XRAY = {"sample": "xray_simple_fracture_1", "model": "demo-xray"}
TWO = {"method": ["grad_cam", "saliency"]}
SAMPLES = ROOT / "assets" / "samples"
CONTROLS = ["centre_gaussian", "random", "sobel_edges", "uniform"]


def visitor(app):
    return app.session_state["session"]


def table(app):
    """The table shown last."""
    if app.session_state["pictures"] != "this":
        return next(reversed(visitor(app).comparisons.kept.values())).table
    return next(reversed(visitor(app).tables.kept.values()))


def offered(app):
    """The labels of all that can be downloaded."""
    return {button.proto.label for button in app.get("download_button")}


def drawings(app):
    """The pictures on the page that show mean ranks."""
    return [one for images in app.image for one in images.proto.imgs if one.alt.startswith("Mean ranks by")]


def written(figure):
    """All the words of a figure, in the order in which they were drawn."""
    return " ".join(text.get_text() for text in figure.texts)


EMPTY = ScoreTable(rows=(), columns=(), cells=(), pictures=(), model={}, maps=(), found=())


def test_every_control_stands_below_the_methods(compare: Opener):
    app = compare(**XRAY, **TWO, metric="sparseness")
    assert not app.exception
    assert not app.error
    found = table(app)
    assert [row.method["name"] for row in found.rows] == ["grad_cam", "saliency", *CONTROLS]
    shown = score_panels.described(found)
    assert [row["control"] for row in shown["rows"]] == [False] * 2 + [True] * 4
    assert [head["label"] + head["arrow"] for head in shown["heads"]] == ["Sparseness↑"]
    assert shown["nulls"] == ["0"]


def test_the_scores_are_those_of_the_core_and_the_best_is_marked(compare: Opener):
    app = compare(**XRAY, **TWO, metric=["deletion", "sparseness"])
    found = table(app)
    model = xai.load_model("demo-xray")
    for row, maps, cells in zip(found.rows[:2], found.maps[:2], found.cells[:2], strict=True):
        for column, cell in zip(found.columns, cells, strict=True):
            assert cell.mean == pytest.approx(xai.score(model, maps[0], column.metric).value, abs=1e-9), row.name
    for column in range(2):
        means = [cells[column].mean for cells in found.cells[:2]]
        best = means.index(min(means) if found.columns[column].better == "lower" else max(means))
        marked = [row["cells"][column]["best"] for row in score_panels.described(found)["rows"]]
        assert marked == [i == best for i in range(6)]


def test_an_upload_can_bring_its_mask_and_one_of_another_shape_is_refused(compare: Opener):
    app = compare(model="demo-xray", method="grad_cam", metric=["sparseness", "mass_accuracy"])
    picture = SAMPLES / f"{XRAY['sample']}.png"
    drop(app, (picture.name, picture.read_bytes()))
    assert [column.metric["name"] for column in table(app).columns] == ["sparseness"]
    wide = io.BytesIO()
    Image.new("L", (128, 64), 255).save(wide, "PNG")
    drop_mask(app, "wide.png", wide.getvalue())
    assert "The mask wide.png is 128 × 64 pixels and the picture 256 × 256: they differ in shape" in words(app)
    assert not visitor(app).masks
    drop_mask(app, "mask.png", (SAMPLES / "masks" / f"{picture.stem}_truth.png").read_bytes())
    found = table(app)
    assert [column.metric["name"] for column in found.columns] == ["sparseness", "mass_accuracy"]
    mask = truth_beside(picture)
    wanted = xai.score(xai.load_model("demo-xray"), found.maps[0][0], "mass_accuracy", mask=mask).value
    assert found.cells[0][1].mean == pytest.approx(wanted, abs=1e-9)
    whole = io.BytesIO()
    Image.new("L", (256, 256), 255).save(whole, "PNG")
    [remove] = [button for button in app.button if button.label == "Remove the mask"]
    remove.click()
    settled(app)
    drop_mask(app, "whole.png", whole.getvalue())
    assert table(app).cells[0][1].mean == pytest.approx(1)  # not what the last mask gave
    app.button(key="remove").click()
    settled(app)
    assert not visitor(app).masks


def test_a_metric_s_settings_are_asked_for_and_stand_in_the_address(compare: Opener):
    app = compare(**XRAY, method="grad_cam", metric="deletion", **{"deletion.baseline": "mean"})
    [column] = table(app).columns
    assert column.metric["baseline"] == "mean"
    wanted = xai.score(xai.load_model("demo-xray"), table(app).maps[0][0], "deletion", baseline="mean").value
    assert table(app).cells[0][0].mean == pytest.approx(wanted, abs=1e-9)
    app.selectbox(key="deletion.baseline").set_value("black")
    settled(app)
    assert table(app).columns[0].metric["baseline"] == "black"
    assert app.query_params["deletion.baseline"] == "black"


def test_the_table_is_saved_as_a_record_with_what_was_asked(compare: Opener, store: Path):
    app = compare(**XRAY, **TWO, metric=["sparseness", "pointing_game"])
    app.text_area(key="note 0 scores").set_value("Why these two?")
    app.text_input(key="name 0 scores").set_value("Ada")
    app.button(key="save scores").click()
    settled(app)
    assert not app.error
    assert "Saved as" in words(app)
    [folder] = [one.parent for one in store.glob("*/manifest.json")]
    sheet = xai.open_record(folder)
    assert xai.verify(folder).ok
    assert (sheet.kind, sheet.note, sheet.reviewer) == ("scores", "Why these two?", "Ada")
    found = table(app)
    assert [row["value"] for row in sheet.tables["scores"].lines()] == [
        across[0].value for per_metric in found.found for across in per_metric
    ]
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", folder.name)
    [picture] = sheet.tables["pictures"].lines()
    assert picture["image_sha256"] == xai.read_image(SAMPLES / f"{XRAY['sample']}.png").sha256
    assert picture["predicted"] == "simple fracture"
    assert picture["mask_sha256"]
    assert {"summary.md", "ranking.png", "scores.parquet"} < set(sheet.attached)


def test_the_two_buttons_that_save_say_what_each_saves(compare: Opener, store: Path):
    app = compare(**XRAY, **TWO, metric="sparseness")
    assert buttons_that_save(app) == ["Save maps", "Save scores"]
    app.button(key="save").click()
    settled(app)
    [folder] = [one.parent for one in store.glob("*/manifest.json")]
    assert len(xai.open_record(folder).explanations) == len(TWO["method"]) + len(CONTROLS)
    order = [element.value for element in app.main if element.type in ("success", "header")]
    assert [value.replace("\\", "") for value in order[1:3]] == [f"Saved as {folder.name}", "Scores"]
    app.button(key="save scores").click()
    settled(app)
    order = [element.value.partition(" as ")[0] for element in app.main if element.type in ("success", "header")]
    assert order[1:3] == ["Scores", "Saved"]  # each is said beside its button


def test_a_table_that_cannot_be_made_into_a_record_leaves_nothing_in_the_store(
    compare: Opener, store: Path, monkeypatch: pytest.MonkeyPatch
):
    where = []

    def refuse(*_, **__):
        where.append(threading.current_thread().name)
        raise SettingError("The table has no rows. Score a map.")

    monkeypatch.setattr("xai_core.score_record.sheet_of", refuse)
    app = compare(**XRAY, **TWO, metric="sparseness")
    app.button(key="save scores").click()
    settled(app)
    assert where == ["second-look-job"]  # what takes seconds is not done in the click
    assert [one.value for one in app.error] == ["The table has no rows. Score a map."]
    assert "Saved as" not in words(app)
    assert {path.name for path in store.iterdir()} <= {AUDITS}


def test_without_a_method_there_is_nothing_to_compare(compare: Opener):
    app = compare(**XRAY, method="grad_cam", metric="sparseness")
    app.checkbox(key="use grad_cam").uncheck()
    settled(app)
    assert "Choose a method in the sidebar." in words(app)
    assert "Scores" not in [header.value for header in app.header]


def test_an_undefined_score_is_said_with_its_reason(compare: Opener):
    app = compare(**XRAY, **TWO, metric="sparseness")
    uniform = score_panels.described(table(app))["rows"][-1]["cells"][0]
    assert uniform["text"] == "undefined"
    assert uniform["why"].startswith("Flat map")
    assert "Flat map: all values" in words(app)
    assert "Sparseness: Uniform" in words(app)


def test_metrics_against_marked_evidence_are_offered_where_there_is_some(compare: Opener):
    app = compare(**XRAY, **TWO, metric=["sparseness", "pointing_game"])
    assert [column.name for column in table(app).columns] == ["sparseness", "pointing_game"]
    app = compare(sample="xray_normal_1", model="demo-xray", **TWO, metric=["sparseness", "pointing_game"])
    assert [column.name for column in table(app).columns] == ["sparseness"]
    assert app.checkbox(key="unmarked pointing_game").disabled
    assert metric_menu.NO_MASK in words(app)


def test_every_metric_is_on_the_menu_with_its_sentence(compare: Opener):
    app = compare(**XRAY, method="grad_cam", metric="sparseness")
    offered = {box.key.removeprefix("metric ") for box in app.checkbox if str(box.key).startswith("metric ")}
    assert offered == set(xai.METRICS)
    said = words(app)
    assert all(xai.METRICS[name].summary() in said for name in xai.METRICS)
    assert set(metric_menu.USUAL) <= set(xai.METRICS)


def test_one_more_metric_computes_that_one_alone(compare: Opener):
    app = compare(**XRAY, **TWO, metric="sparseness")
    before = dict(visitor(app).scores.kept)
    app.checkbox(key="metric entropy").check()
    settled(app)
    after = visitor(app).scores.kept
    assert len(after) == 2 * len(before) == 12
    assert all(after[key] is score for key, score in before.items())
    assert {column.name for column in table(app).columns} == {"sparseness", "entropy"}


def test_the_address_holds_the_metrics_and_leaves_the_usual_ones_out(compare: Opener):
    app = compare(**XRAY, method="grad_cam", metric=["sparseness", "crystal_ball"])
    assert "crystal" in " ".join(error.value for error in app.error)
    asked = Question.from_address({key: list(np.atleast_1d(value)) for key, value in app.query_params.items()})
    assert asked.metrics == ({"name": "sparseness"},)
    assert not asked.weigh
    assert Question.from_address(Question().to_address()) == Question()
    assert Question.from_address({"pictures": ["nonsense"]}).pictures == "this"


def test_what_ended_while_another_page_was_open_is_taken():
    ended = jobs.Arriving(lambda *_: None, ["a"])
    ended.wait(5)
    somebody = Session()
    somebody.scores.job = ended
    somebody.settle()
    assert somebody.jobs == []


def test_cancelled_scores_leave_the_maps_and_can_be_run(compare: Opener):
    app = compare(**XRAY, **TWO, metric="sparseness")
    app.checkbox(key="metric weight_randomisation").check()
    app.checkbox(key="metric max_sensitivity").check()
    app.run()
    assert visitor(app).scores.job is not None
    app.button(key="cancel scores").click()
    settled(app)
    assert "Cancelled. 6 scores are complete and stay." in words(app)
    assert len(visitor(app).maps.kept) == 6
    assert [column.name for column in table(app).columns] == ["sparseness"]
    app.button(key="run scores").click()
    settled(app)
    assert len(table(app).columns) == 3


def test_maps_are_weighed_after_they_are_scored_and_the_verdict_stands_in_the_table(compare: Opener, monkeypatch):
    taken = []
    monkeypatch.setattr(takeaway, "download", lambda *given: taken.append(given))
    app = compare(**XRAY, method="saliency", metric="sparseness", weigh="true")
    [evidence] = visitor(app).evidence.kept.values()
    assert taken[-1][0][0].method["name"] == "saliency"
    assert list(taken[-1][3]) == [evidence, *[None] * 4]
    row = score_panels.described(table(app))["rows"][0]
    assert row["verdict"] == f"{viewer.VERDICTS[evidence.verdict][0]} {evidence.verdict}"
    assert [one.verdict for one in table(app).rows[1:]] == [""] * 4  # controls are the scales


def test_a_mistake_while_scoring_is_a_sentence(compare: Opener, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise SettingError("The mask is 3 × 3 pixels and the picture 4 × 5.")

    monkeypatch.setattr("xai_core.scoring.score_many", refuse)
    app = compare(**XRAY, method="grad_cam", metric="sparseness")
    assert not app.exception
    assert "The mask is 3 × 3 pixels" in words(app)
    assert len(visitor(app).maps.kept) == 5


def test_several_pictures_are_compared_when_the_person_says_so(compare: Opener):
    app = compare(model="demo-xray", **TWO, metric="sparseness")
    app = drop(app, ("a.png", png(1, texture=True)))
    app.radio(key="pictures").set_value("uploads")
    assert "Drop some more pictures" in words(settled(app))
    app = drop(app, ("b.png", png(2, texture=True)))
    assert visitor(app).tables.job is None
    assert app.button(key="compare").label == "Compare on 2 pictures"
    app.button(key="compare").click()
    settled(app)
    found = table(app)
    assert len(found.pictures) == 2
    each = [[score.value for score in across[0]] for across in found.found]
    assert found.cells[0][0].mean == pytest.approx(np.mean(each[0]))
    said = words(app)
    assert "Means over 2 pictures (too few pictures for an interval: 2)." in said
    assert "Sparseness: Differences are tested among 3 methods or more; here are 2." in said
    assert not drawings(app)
    assert not any("Critical difference" in label for label in offered(app))
    assert dict(app.query_params)["pictures"] in ("uploads", ["uploads"])


def test_ten_pictures_and_three_methods_are_tested_for_a_difference(compare: Opener, monkeypatch):
    figure, asked = charts.critical_difference, []
    monkeypatch.setattr(charts, "critical_difference", lambda *given: asked.append(given) or figure(*given))
    app = compare(**XRAY, method=["grad_cam", "saliency", "layer_cam"], metric="sparseness", pictures="samples")
    app.button(key="compare").click()
    settled(app)
    found = table(app)
    assert len(found.pictures) == 12
    [one] = found.comparisons
    assert one.result is not None
    assert f"Friedman test over {one.result.n} pictures: p = {one.result.p:.2g}" in words(app)
    assert " to " in score_panels.described(found)["rows"][0]["cells"][0]["text"]  # the interval
    assert "Means over 12 pictures, with 95 % bootstrap intervals." in words(app)
    [drawn] = drawings(app)
    assert (found, 0) in asked
    assert drawn.url.endswith(".png")
    ranks = sorted(zip(one.result.mean_ranks, one.methods, strict=True))
    said = ", ".join(f"{method} {rank:.2f}" for rank, method in ranks)
    assert drawn.alt.startswith(f"Mean ranks by Sparseness, best first: {said}.")
    assert f"{one.result.critical_difference:.2f}" in drawn.alt
    assert "Critical difference: Sparseness (PNG)" in offered(app)
    assert score_panels._figure(found, "critical_difference", 0).startswith(b"\x89PNG")


def test_what_is_taken_away_holds_every_map_and_score(compare: Opener):
    app = compare(**XRAY, **TWO, metric="deletion")
    found = table(app)
    with zipfile.ZipFile(io.BytesIO(score_panels._maps(found))) as archive:
        assert len(archive.namelist()) == 6
        values = np.load(io.BytesIO(archive.read("picture-1/saliency.npy")))
    assert np.array_equal(values, found.maps[1][0].values)
    for name in ("ranking", "agreement"):
        assert score_panels._figure(found, name).startswith(b"\x89PNG")
    assert score_panels._figure(found, "curves", 0).startswith(b"\x89PNG")
    wanted = {"Scores (CSV)", "Scores (Parquet)", "Scores (JSON)", "Maps (.npy, zip)", "Ranking (PNG)"}
    assert wanted <= offered(app)


def test_only_means_that_have_an_interval_are_said_to_have_one():
    def of(*cells: Cell) -> str:
        return score_panels.averaged(replace(EMPTY, cells=(cells,), pictures=("a", "b")))

    whole = Cell(0.5, 0.4, 0.6, n=6)
    short = Cell(0.5, n=2, note="too few pictures for an interval: 2")
    none = Cell(None, note="undefined on every picture")
    assert of(whole, none) == "Means over 2 pictures, with 95 % bootstrap intervals."
    assert of(short, none) == "Means over 2 pictures (too few pictures for an interval: 2)."
    assert of(whole, short).endswith(
        "with 95 % bootstrap intervals, but not all (too few pictures for an interval: 2)."
    )
    assert of(none) == "Means over 2 pictures."
    assert score_panels.averaged(replace(EMPTY, cells=((whole,),), pictures=("a",))) == ""


def test_controls_that_do_as_well_are_named_without_a_mouse_and_charts_in_words(compare: Opener):
    app = compare(**XRAY, **TWO, metric=["deletion", "sparseness"])
    found = table(app)
    labels = {row.name: row.label for row in found.rows}
    [behind] = [row for row, cells in zip(found.rows, found.cells, strict=True) if cells[0].controls_ahead]
    ahead = [labels[name] for name in found.cells[found.rows.index(behind)][0].controls_ahead]
    assert f"**Deletion**: {behind.label} ({', '.join(ahead)})" in words(app)
    curves, ranks, alike = (chart.proto.alt for chart in app.get("plotly_chart"))
    assert curves.startswith("Deletion: ")
    assert all(f"{row.label} {cells[0]}" in curves for row, cells in zip(found.methods, found.cells, strict=False))
    assert all(f"{row.label} {place:g}" in ranks for row, (place, _) in zip(found.methods, found.ranks, strict=True))
    most = np.nanmax(found.agreement.correlation - 2 * np.eye(len(found.rows)))
    assert f"({most:.2f}) are the most alike" in alike


def test_a_verdict_leaves_the_page_with_its_map():
    from xai_core import figures

    values = np.arange(16, dtype=np.float32).reshape(4, 4)
    e = Explanation(
        values=values,
        pixels=np.zeros((4, 4, 3), np.uint8),
        method={"name": "saliency"},
        model={"name": "demo-xray"},
        target=Target(1, "fracture"),
        image="ab" * 32,
        seed=0,
        seconds=0.1,
        passes=Passes(1, 1),
        grid=(4, 4),
    )
    checks = (Check("placement", False, "It is no better placed.", 0.1, 0.2), Check("other", True, "It repeats."))
    against = Evidence("no evidence", checks, seed=3, passes=Passes(4, 1))
    [weighed, bare] = json.loads(takeaway.numbers([e, e], [], [against, None]))["maps"]
    assert bare["evidence"] is None
    assert weighed["evidence"]["verdict"] == "no evidence"
    assert weighed["evidence"]["seed"] == 3
    assert weighed["evidence"]["passes"] == {"forward": 4, "backward": 1}
    assert [one["sentence"] for one in weighed["evidence"]["checks"]] == ["It is no better placed.", "It repeats."]
    said = "Evidence: no evidence. It is no better placed."
    assert said in written(figures.panels(e, evidence=against))
    assert "Evidence" not in written(figures.panels(e))
    assert said in written(figures.sheet([e], evidence=[against]))
    assert "no evidence" in written(figures.sheet([e] * 9, evidence=[against, *[None] * 8]))
    words = Looks().to_dict()
    assert takeaway._figure(e, [], words, [e], against) == figures.png(
        figures.panels(e, evidence=against, opacity=words["opacity"], colour_map=None, clip=words["clip"])
    )
    assert takeaway.sheet([e], [], words, [against]) == figures.png(figures.sheet([e], evidence=[against], **words))


def test_the_viewer_is_told_each_verdict_with_its_checks_and_why(compare: Opener):
    app = compare(**XRAY, **TWO, metric="sparseness")
    explained = [kept.explanation for kept in visitor(app).maps.kept.values()][:2]
    checks = (Check("placement", False, "It is no better placed."), Check("repeatability", None, "Not asked."))
    evidence = [Evidence("no evidence", checks), None]
    words = viewer.packed(explained, Looks(), 0, (), evidence, weighing=True, awaited=True).words
    first, second = [one["judged"] for one in words["maps"]]
    assert first["verdict"] == "○ no evidence"
    assert first["why"] == "It is no better placed."
    assert first["checks"] == [["✗", "It is no better placed."], ["–", "Not asked."]]
    assert "no evidence" in words["maps"][0]["spoken"]
    assert second["pending"]
    assert words["awaited"]


def test_a_verdict_is_never_told_by_colour_alone():
    assert len({sign for sign, _ in viewer.VERDICTS.values()}) == len(viewer.VERDICTS)


def test_names_from_outside_are_no_markup_in_a_chart():
    from pages.shared import plots

    assert plots._short("<b>x</b>&") == "&lt;b>x&lt;/b>&amp;"
