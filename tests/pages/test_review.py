"""The review page filters what went wrong, shows it, and keeps what people decide."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import xai_core as xai
from pages.shared import review_filters, review_list, review_maps, samples, takeaway
from pages.shared.review_cases import Cases
from pages.shared.review_view import View
from tests.pages.conftest import ROOT, _opener, settled, words
from tests.small_run import FILES, WRONG, write_run
from xai_core import units
from xai_core.decisions import Decisions
from xai_core.errors import PictureError
from xai_core.runs import open_run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("made") / "first"
    return folder, write_run(folder)


@pytest.fixture
def run(made: tuple[Path, list[str]], store: Path) -> Path:
    """A fresh copy, in the store."""
    return Path(shutil.copytree(made[0], store / "audits" / "first"))


@pytest.fixture
def pictures(made: tuple[Path, list[str]]) -> dict[str, str]:
    """sha256 by name of file."""
    return dict(zip(FILES, made[1], strict=True))


@pytest.fixture(scope="module")
def cases(made: tuple[Path, list[str]]) -> Cases:
    return Cases(open_run(made[0]))


def in_order(cases: Cases, query: dict[str, list[str]]) -> list[str]:
    """The files that an address leaves, in its order."""
    left = cases.order(review_filters.settled(cases, View.from_address(query)), {})
    return [cases.files[cases.places[one]] for one in left]


@pytest.fixture
def review(store: Path) -> Any:
    return _opener("review")


def listed(app: AppTest) -> list[str]:
    """The files in the table, in order."""
    [table] = [one.value for one in app.dataframe if "File" in one.value]
    return table["File"].tolist()


def asked(app: AppTest, key: str) -> list[str]:
    """What the address says."""
    said = app.query_params[key]
    return [said] if isinstance(said, str) else list(said)


def named(app: AppTest, name: str = "Ada") -> AppTest:
    app.text_input(key="reviewer").set_value(name)
    return settled(app)


def click(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click()
    return settled(app)


def test_without_runs_it_says_how_to_make_one(review):
    app = review()
    assert not app.exception
    assert "No audit has been run yet" in app.info[0].value
    assert "python -m xai_core audit" in app.code[0].value


def test_a_run_is_opened_with_its_numbers_and_all_its_cases(review, run):
    app = review()
    assert not app.exception
    assert not app.error
    assert [(one.label.replace("\\", ""), one.value) for one in app.metric] == [
        ("Accuracy of demo-xray", "50.0%"),
        ("Accuracy of demo-xray-shortcut", "83.3%"),
        ("Models disagree", "2"),
    ]
    assert listed(app) == sorted(FILES)
    assert asked(app, "run") == ["first"]


def test_runs_of_another_folder_are_found_as_well(review, run, tmp_path, monkeypatch):
    shutil.copytree(run, tmp_path / "elsewhere" / "first")
    monkeypatch.setenv("SECOND_LOOK_AUDITS", str(tmp_path / "elsewhere"))
    assert set(review().sidebar.selectbox[0].options) == {"first", "first (2)"}


@pytest.mark.parametrize(
    ("query", "left"),
    [
        ({"show": ["wrong"]}, [1, 3, 4]),
        ({"show": ["right"]}, [0, 2, 5]),
        ({"show": ["disagree"]}, [1, 4]),
        ({"show": ["unsure"]}, [2, 4]),
        ({"show": ["sure"]}, [1, 3]),
        ({"show": ["wrong", "unsure"]}, [4]),
        ({"show": ["wrong", "right"]}, []),
        ({"show": ["wrong"], "model": ["demo-xray-shortcut"]}, [3]),
        ({"true": ["normal", "simple fracture"]}, [0, 1, 2, 3]),
        ({"predicted": ["normal"], "true": ["simple fracture"]}, [3]),
        ({"verdict": ["weak"]}, [1, 4]),
        ({"verdict": ["weak"], "method": ["saliency"]}, []),
        ({"group.side": ["R"], "show": ["wrong"]}, [1, 3]),
        ({"group.nonsense": ["R"], "true": ["nonsense"], "show": ["nonsense"]}, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_filters_combine(cases, query, left):
    assert sorted(in_order(cases, query)) == sorted(FILES[i] for i in left)


def test_filters_of_the_address_are_those_of_the_page(review, run):
    app = review(predicted="normal", true="simple fracture")
    assert not app.exception
    assert listed(app) == [FILES[3]]
    assert "No case is left" in words(review(show=["wrong", "right"]))


@pytest.mark.parametrize(
    ("query", "order"),
    [
        ({"sort": ["confidence"]}, [2, 4, 5, 1, 3, 0]),
        ({"sort": ["confidence"], "order": ["down"]}, [0, 3, 1, 5, 4, 2]),
        ({"sort": ["loss"], "order": ["down"], "show": ["wrong"]}, [3, 1, 4]),
        ({"sort": ["border"], "order": ["down"]}, [1, 3, 2, 4, 0, 5]),
        ({"sort": ["border"]}, [0, 4, 2, 3, 1, 5]),
        ({"sort": ["evidence"]}, [0, 3, 4, 1, 5, 2]),
    ],
)
def test_cases_are_sorted_and_what_has_no_number_comes_last(cases, query, order):
    assert in_order(cases, query) == [FILES[i] for i in order]


def test_filters_chosen_on_the_page_are_in_the_address_and_come_back(review, run):
    app = review()
    app.button_group[0].set_value(["wrong"])
    settled(app)
    [sort] = [one for one in app.selectbox if one.label == "Sort by"]
    sort.set_value("loss")
    app = settled(app)
    assert asked(app, "show") == ["wrong"]
    assert asked(app, "sort") == ["loss"]
    again = review(**{key: asked(app, key) for key in app.query_params})
    assert listed(again) == listed(app) == [FILES[4], FILES[1], FILES[3]]
    click(again, "clear filters")
    assert len(listed(again)) == 6


def test_a_view_comes_back_from_its_address():
    view = View(
        "r", "m", "g", ("wrong", "flagged"), ("a, b", "c"), ("=x",), ("weak",), ("", "3"), ("grad_cam",),
        {"side": ("L", "")}, "loss", True, "gallery", 1000, 3, "abc",
    )  # fmt: skip
    given = {key: value if isinstance(value, list) else [value] for key, value in view.to_address().items()}
    assert View.from_address(given) == view
    assert View().to_address() == {}
    assert View.from_address({"page": ["-1"], "per_page": ["7"], "sort": ["x"], "layout": ["y"]}) == View()


def test_cases_are_decided_one_after_the_other_and_the_decisions_survive(review, run, pictures):
    app = named(review(show="wrong", sort="confidence", order="down"))
    click(app, "begin review")
    assert "true class: simple fracture" in words(app)
    assert "1 of 3: wrong" in words(app)
    click(app, "reason 3")
    assert "2 of 3" in words(app)  # it goes on after a reason
    click(app, "flag")
    assert "2 of 3" in words(app)  # and stays after a flag
    click(app, "reason 8")
    click(app, "nothing")
    made = [(one.file, one.flag, one.reason, one.words) for one in Decisions(run).history()]
    assert made == [
        (FILES[3], None, "3", "label error"),
        (FILES[1], True, "", ""),
        (FILES[1], True, "8", "model error"),
        (FILES[4], False, "", ""),
    ]
    again = named(review(show="wrong", case=pictures[FILES[1]]))
    assert "**Flagged**" in [one.label for one in again.button]
    assert [one.label for one in again.button if one.key.startswith("reason") and "**" in one.label] == [
        "**model error**"
    ]
    assert "model error" in words(again)
    other = named(review(show="wrong", case=pictures[FILES[1]]), "Ben")
    assert "**Flagged**" not in [one.label for one in other.button]


def test_decisions_need_a_name(review, run, pictures):
    app = review(case=pictures[FILES[0]])
    assert "Write your name" in words(app)
    assert all(app.button(key=key).disabled for key in ("flag", "reason 1", "nothing", "undo"))


def test_undo_clears_by_another_row_and_returns_to_the_case(review, run, pictures):
    app = named(review(case=pictures[FILES[0]]))
    click(app, "reason 2")
    before = asked(app, "case")
    assert before != [pictures[FILES[0]]]
    click(app, "undo")
    assert asked(app, "case") == [pictures[FILES[0]]]
    assert Decisions(run).latest() == []
    assert [one.cleared for one in Decisions(run).history()] == [False, True]
    assert app.button(key="undo").disabled


def test_a_note_is_kept_and_does_not_lose_the_reason(review, run, pictures):
    app = named(review(case=pictures[FILES[0]]))
    app.toggle(key="go on").set_value(False)
    settled(app)
    click(app, "reason 2")
    [note] = [one for one in app.text_input if one.label == "Note"]
    note.set_value("  a *hasty* <b>note</b> ")
    settled(app)
    [latest] = Decisions(run).latest("Ada")
    assert (latest.reason, latest.note) == ("2", "a *hasty* <b>note</b>")
    assert "a *hasty* <b>note</b>" in words(app)
    click(app, "reason 2")  # once more takes it away
    [latest] = Decisions(run).latest("Ada")
    assert (latest.reason, latest.note) == ("", "a *hasty* <b>note</b>")


def test_filters_of_decisions_speak_of_the_reviewer(review, run, pictures):
    book = Decisions(run)
    book.decide("Ada", pictures[FILES[0]], FILES[0], flag=True, reason="2")
    book.decide("Ben", pictures[FILES[1]], FILES[1], flag=True, reason="3")
    book.decide("Ada", pictures[FILES[2]], FILES[2], flag=False)
    for query, left in {"flagged": [0], "decided": [0, 2], "undecided": [1, 3, 4, 5]}.items():
        assert sorted(listed(named(review(show=query)))) == sorted(FILES[i] for i in left)
    assert sorted(listed(review(show="flagged"))) == sorted([FILES[0], FILES[1]])  # without a name: anybody's
    assert listed(named(review(reason="2"))) == [FILES[0]]
    assert "2 of 6 decided" in words(named(review())) or "2 of 6 decided" in _bars(named(review()))


def test_the_open_case_stays_while_it_is_decided_away(review, run, pictures):
    app = named(review(show=["undecided", "wrong"], case=pictures[FILES[1]]))
    app.toggle(key="go on").set_value(False)
    settled(app)
    click(app, "reason 1")
    assert asked(app, "case") == [pictures[FILES[1]]]
    assert "of 3: undecided, wrong" in words(app)
    click(app, "next case")
    assert "of 2: undecided, wrong" in words(app)


def test_maps_can_be_hidden_until_a_decision(review, run, pictures):
    app = named(review(case=pictures[FILES[1]]))
    app.toggle(key="hide maps").set_value(True)
    settled(app)
    assert "maps are hidden" in words(app)
    click(app, "reason 1")
    assert "maps are hidden" not in words(app)
    assert asked(app, "case") == [pictures[FILES[1]]]  # there is something to see now, so it does not go on


def test_the_maps_of_the_store_are_shown_with_their_evidence(review, run, pictures):
    found = review_maps.stored(Cases(open_run(run)), pictures[FILES[1]], ["grad_cam", "saliency", "uniform"], [])
    assert [(e.model["name"], e.method["name"]) for e in found.maps] == [
        (model, method) for model in WRONG for method in ("grad_cam", "saliency")
    ]
    assert [one.model["name"] for one in found.said] == list(WRONG)
    assert "The run has no map" not in words(review(case=pictures[FILES[1]]))


def test_another_method_is_made_kept_with_the_run_and_found_again(review, run, pictures):
    case = pictures[FILES[1]]
    before = len(open_run(run).store)
    app = review(case=case)
    app.selectbox(key="another method").set_value("input_x_gradient")
    settled(app)
    click(app, "make")
    assert not app.exception
    assert not app.error
    made = Decisions(run).maps(case)
    assert [model for model, _ in made] == list(WRONG)
    kept = open_run(run).store.get([key for _, key in made])
    assert [dict(unit.facts["method"])["name"] for unit in kept.values()] == ["input_x_gradient"] * 2
    assert len(open_run(run).store) == before + 2
    found = review_maps.stored(Cases(open_run(run)), case, ["grad_cam"], made)
    assert [e.method["name"] for e in found.maps] == ["grad_cam", "input_x_gradient"] * 2


def test_a_picture_that_is_nowhere_is_asked_for_and_another_is_refused(review, made, store, pictures, monkeypatch):
    shutil.copytree(made[0], store / "audits" / "first")
    monkeypatch.setattr(samples, "by_hash", lambda sha256: None)
    app = review(case=pictures[FILES[0]])
    assert "Drop the file of this case" in words(app)
    visitor = app.session_state["session"]
    with pytest.raises(PictureError, match="another file"):
        review_maps.take(visitor, pictures[FILES[0]], "x.png", b"nothing")
    content = (ROOT / "assets" / "samples" / FILES[0]).read_bytes()
    review_maps.take(visitor, pictures[FILES[0]], FILES[0], content)
    assert visitor.chosen == pictures[FILES[0]]
    assert takeaway.file_of(visitor, visitor.pictures[visitor.chosen]) == content  # so that a record can keep it


def test_neighbours_have_the_same_confusion(cases, pictures):
    assert cases.alike(pictures[FILES[5]], "demo-xray-shortcut", 5) == [pictures[FILES[4]]]
    assert cases.alike(pictures[FILES[3]], "demo-xray", 5) == []


def test_a_matrix_counts_true_by_predicted(cases):
    found, left_out = cases.confusion("demo-xray")
    assert found.rows == found.columns == ("normal", "simple fracture", "comminuted fracture")
    assert found.counts.tolist() == [[1, 1, 0], [1, 1, 0], [1, 0, 1]]
    assert left_out == 0


def test_two_reviewers_and_the_list_of_reasons(review, run, pictures):
    book = Decisions(run)
    for i, (ada, ben) in enumerate(zip("112233", "112231", strict=True)):
        book.decide("Ada", pictures[FILES[i]], reason=ada)
        book.decide("Ben", pictures[FILES[i]], reason=ben)
    app = named(review())
    app.session_state["decisions"] = True
    settled(app)
    said = words(app)
    assert "12 decisions by Ada, Ben" in said
    assert "kappa 0.75" in said  # 5 of 6 agree where 12 of 36 would by chance
    [first] = [one for one in app.text_input if one.label == "1" and one.value == "artefact"]
    first.set_value("ghost")
    [keep] = [one for one in app.button if one.label == "Keep these reasons"]
    keep.click()
    settled(app)
    assert book.reasons["1"] == "ghost"
    assert "**ghost**" in [one.label for one in named(review(case=pictures[FILES[0]])).button]


def test_decisions_are_sealed_into_the_store(review, run, pictures, store):
    app = named(review())
    app.session_state["decisions"] = True
    settled(app)
    assert app.button(key="seal decisions").disabled  # nobody has decided anything
    book = Decisions(run)
    for name in FILES[:2]:
        book.decide("Ben", pictures[name], name, reason="3")
    settled(app)
    click(app, "seal decisions")
    assert not app.error
    assert "Saved as" in words(app)
    [folder] = [one.parent for one in store.glob("*/manifest.json")]
    sheet = xai.open_record(folder)
    assert xai.verify(folder).ok
    assert (sheet.kind, sheet.reviewer, sheet.about["reviewers"]) == ("decisions", "Ada", ["Ben"])
    assert [row["picture"] for row in sheet.tables["decisions"].lines()] == [pictures[name] for name in FILES[:2]]
    assert "file" not in sheet.tables["decisions"].words
    app.checkbox(key="seal names").check()
    settled(app)
    click(app, "seal decisions")
    [other] = [one.parent for one in store.glob("*/manifest.json") if one.parent != folder]
    assert [row["file"] for row in xai.open_record(other).tables["decisions"].lines()] == FILES[:2]


def test_decisions_on_an_unfinished_audit_are_not_sealed_and_it_says_why(review, run, pictures, store):
    Decisions(run).decide("Ada", pictures[FILES[0]], flag=True)
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "status": "stopped"}))
    app = named(review())
    app.session_state["decisions"] = True
    settled(app)
    click(app, "seal decisions")
    assert "Cannot seal the decisions on first: the audit is not finished (stopped)" in words(app)
    assert not list(store.glob("*/manifest.json"))


def test_an_unlabelled_run_has_no_right_and_wrong(review, store):
    write_run(store / "audits" / "bare", labelled=False)
    app = review(show=["wrong", "disagree"], sort="loss")
    assert not app.exception
    assert "nothing is right or wrong" in words(app)
    assert "Wrong" not in app.button_group[0].options
    assert len(listed(app)) == 2  # where models disagree


def test_a_run_under_way_and_one_that_is_damaged_are_said(review, run, store):
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**facts, "status": "running"}))
    for name in ("predictions", "metrics", "evidence"):
        os.remove(run / f"{name}.parquet")
    app = review()
    assert not app.exception
    assert "is still running" in words(app)
    (store / "audits" / "broken").mkdir()
    (store / "audits" / "broken" / "run.json").write_text("{}")
    assert "cannot be opened" in words(review(run="broken"))
    assert "cannot be opened" in words(review(run="../../etc"))


def _bars(app: AppTest) -> str:
    return "\n".join(one.proto.text for one in app.get("progress"))


def test_what_an_earlier_version_answered_is_still_shown(made, tmp_path, monkeypatch):
    folder = Path(shutil.copytree(made[0], tmp_path / "run"))
    facts = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({**facts, "made_by": units.this_program(), "started": "earlier"}))
    monkeypatch.setattr(units, "this_program", lambda: {"torch": "99.0"})
    later = Cases(open_run(folder))
    picture = made[1][0]
    assert list(review_list.thumbnails(later, [picture])) == [picture]
    found = review_maps.stored(later, picture, ["grad_cam"], [])
    assert found.maps
    assert len(found.said) == len(later.models)


def test_a_method_that_made_no_map_of_a_picture_leaves_its_case_as_it_is(made, tmp_path):
    folder = Path(shutil.copytree(made[0], tmp_path / "run"))
    cases = Cases(open_run(folder))
    picture, run = made[1][0], cases.run
    key = units.map_key(picture, review_maps.identity(run, run.models[0]), {"name": "lime"}, units.rule_of(None), 0)
    run.store.put([units.of_refusal(key, picture, {"name": "lime"}, "It says nothing of this picture.")])
    found = review_maps.stored(cases, picture, ["grad_cam"], [(run.models[0], key)])
    assert found.maps
    assert all(e.method["name"] == "grad_cam" for e in found.maps)
