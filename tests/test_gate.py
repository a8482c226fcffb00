"""A gate passes what its policy allows, and nothing that it could not judge."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from tests.run_folders import Said, run_folder
from xai_core.__main__ import app
from xai_core.drift import drift
from xai_core.errors import RecordError, SettingError
from xai_core.gate import METRIC, NUMBERS, Row, Rule, judge, page, parse_policy, passed, read_policy, said
from xai_core.runs import Run, open_run
from xai_core.statistics import share_of

ROOT = Path(__file__).resolve().parent.parent
RAMP = np.arange(64.0).reshape(8, 8)
FILES = [f"{i}.png" for i in range(10)]


def side(i: int) -> dict[str, str | None]:
    return {"side": "L" if i < 6 else "R" if i < 9 else None}


def folder_of(place: Path, models: dict[str, str], **facts: Any) -> Path:
    """Ten cats; a letter per picture says what a model calls it. Of m the last map is flat and the first is wrong."""
    called = {"c": "cat", "d": "dog", "f": "fox"}
    return run_folder(
        place,
        [
            Said(file, model, called[letter], "cat", 0.8, side(i))
            for model, letters in models.items()
            for i, (file, letter) in enumerate(zip(FILES, letters, strict=True))
        ],
        scores=[
            (file, model, "grad_cam", "border_share", None if i == 9 else i / 10)
            for model in models
            for i, file in enumerate(FILES)
        ],
        verdicts=[
            (file, model, "grad_cam", "no evidence" if i < 2 else "supported")
            for model in models
            for i, file in enumerate(FILES)
        ],
        maps={
            (file, model): -RAMP if i < 2 and model == "n" else RAMP for model in models for i, file in enumerate(FILES)
        },
        **facts,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return folder_of(tmp_path / "run", {"m": "ccccccccdd", "n": "cccccccccc"})


@pytest.fixture
def run(folder: Path) -> Run:
    return open_run(folder)


def rows_of(run: Run, earlier: Run | None = None, **rule: Any) -> list[Row]:
    return list(judge(run, [Rule(**rule)], earlier))


def shown(run: Run, earlier: Run | None = None, **rule: Any) -> list[tuple[str, str, str]]:
    return [(row.model, row.group, row.result) for row in rows_of(run, earlier, **rule)]


# ---- what is judged


def test_every_model_is_asked_unless_one_is_named(run: Run) -> None:
    assert shown(run, number="accuracy", at_least=0.9) == [("m", "", "fail"), ("n", "", "pass")]
    assert shown(run, number="accuracy", at_least=0.9, model="n") == [("n", "", "pass")]
    assert [row.model for row in judge(run, [Rule("accuracy", at_least=0)], models=["n"])] == ["n"]


@pytest.mark.parametrize(
    ("limits", "result"),
    [
        ({"at_least": 0.8}, "pass"), ({"at_least": 0.8000001}, "fail"), ({"at_most": 0.8}, "pass"),
        ({"at_most": 0.79}, "fail"), ({"at_least": 0.7, "at_most": 0.9}, "pass"),
        ({"at_least": 0.7, "at_most": 0.75}, "fail"), ({"at_least": 0.85, "at_most": 0.9}, "fail"),
    ],
)  # fmt: skip
def test_a_value_at_its_limit_is_good(run: Run, limits: dict[str, float], result: str) -> None:
    assert shown(run, number="accuracy", model="m", **limits) == [("m", "", result)]


def test_the_worse_end_of_an_interval_is_judged_where_that_is_asked(run: Run) -> None:
    """Wilson's interval of 8 in 10 is from 0.490 to 0.943."""
    for limits, result in (
        ({"at_least": 0.48}, "pass"), ({"at_least": 0.5}, "fail"),
        ({"at_most": 0.95}, "pass"), ({"at_most": 0.94}, "fail"),
    ):  # fmt: skip
        assert shown(run, number="accuracy", model="m", on="interval", **limits) == [("m", "", result)]


def test_a_number_without_an_interval_cannot_be_judged_by_one(run: Run) -> None:
    [row] = rows_of(run, number="f1", of="cat", model="m", at_least=0.1, on="interval")
    assert (row.result, row.reason) == ("undefined", "no interval: F1 has no interval here")


def test_every_group_must_pass_and_pictures_without_one_are_a_group(run: Run) -> None:
    assert shown(run, number="accuracy", model="m", group="side", at_least=0.6) == [
        ("m", "side: (not given)", "fail"),
        ("m", "side: L", "pass"),
        ("m", "side: R", "pass"),
    ]
    values = {row.group: row.measured for row in rows_of(run, number="accuracy", model="m", group="side", at_least=0)}
    assert values["side: L"] == share_of([True] * 6)
    assert values["side: R"] == share_of([True, True, False])


def test_groups_of_too_few_pictures_are_shown_and_not_judged(run: Run) -> None:
    rule = Rule("accuracy", model="m", group="side", min_n=3, at_least=0.6)
    rows = judge(run, [rule])
    assert [row.result for row in rows] == ["not judged", "pass", "pass"]
    assert rows[0].reason == "1 picture, fewer than 3"
    assert passed([rule], rows)


def test_a_rule_that_judged_nothing_does_not_pass(run: Run) -> None:
    rule = Rule("accuracy", model="m", group="side", min_n=7, at_least=0)
    rows = judge(run, [rule])
    assert {row.result for row in rows} == {"not judged"}
    assert not passed([rule], rows)
    assert "Rule 1, accuracy, could not be judged of any model or group, so the run does not pass." in said(
        [rule], rows
    )
    assert not passed([Rule("accuracy", model="x", at_least=0)], [])


def test_a_number_that_most_of_a_large_group_lack_does_not_pass(run: Run) -> None:
    """Every score of R but one is undefined: too few values are no reason to look away."""
    lacking = run.metrics["file"].isin(["6.png", "7.png"])
    run.metrics.loc[lacking, "value"] = None
    rule = {"number": "metric:border_share", "method": "grad_cam", "model": "m", "group": "side", "at_most": 1}
    assert [row.result for row in rows_of(run, **rule)] == ["undefined", "pass", "pass"]
    assert [row.result for row in rows_of(run, **rule, min_n=3)] == ["not judged", "pass", "undefined"]


def test_one_undefined_row_holds_a_run_back(run: Run) -> None:
    rules = [Rule("accuracy", at_least=0), Rule("recall", of="dog", at_least=0)]
    rows = judge(run, rules)
    assert [row.result for row in rows] == ["pass", "pass", "undefined", "undefined"]
    assert rows[2].reason == "no picture is of it"
    assert not passed(rules, rows)
    assert passed(rules[:1], rows[:2])


@pytest.mark.parametrize(
    ("rule", "value", "n"),
    [
        ({"number": "accuracy"}, 0.8, 10),
        ({"number": "balanced_accuracy"}, 0.8, 10),
        ({"number": "loss"}, -(8 * np.log(0.8) + 2 * np.log(0.1)) / 10, 10),
        ({"number": "ece"}, 0.0, 10),  # sure to 0.8, right in 0.8
        ({"number": "precision", "of": "dog"}, 0.0, 2),
        ({"number": "recall", "of": "cat"}, 0.8, 10),
        ({"number": "f1", "of": "cat"}, 8 / 9, 10),
        ({"number": "share_no_evidence", "method": "grad_cam"}, 0.2, 10),
        ({"number": "metric:border_share", "method": "grad_cam"}, 0.4, 9),
        ({"number": "agreement", "other": "n"}, 0.8, 10),
        ({"number": "map_agreement", "other": "n", "method": "grad_cam"}, 0.5, 8),  # 2 of 8 are reversed
    ],
    ids=lambda one: one["number"] if isinstance(one, dict) else "",
)
def test_every_number_is_that_of_the_run(run: Run, rule: dict[str, str], value: float, n: int) -> None:
    [row] = rows_of(run, model="m", at_least=-1, **rule)
    assert row.measured.mean == pytest.approx(value)
    assert row.measured.n == n
    assert row.result == "pass"


def gaps(place: Path, pictures: int | None = 12) -> Run:
    """Twelve pictures were read. Of m two of them have no answer, and 3.png lost its maps; n has an answer to all."""
    files = [*FILES, "10.png", "11.png"]
    said = [Said(file, model, "cat", "cat") for file in files for model in ("m", "n") if model == "n" or file in FILES]
    refused = [["x.png", "it is no picture."], ["m.png", "the mask of 1.png does not exist, though line 2 names it"],
               ["y.png", "is a link; copy the file itself"], ["z.png", "is empty; get the file again"]]  # fmt: skip
    quarantined = [["3.png", "m", "It took its worker down twice"], ["10.png", "m", "It took its worker down twice"]]
    progress = {"pictures": pictures, "cases": 13}
    return open_run(run_folder(place, said, refused=refused, quarantined=quarantined, progress=progress))


def test_pictures_that_are_in_no_number_are_shares_of_the_set(tmp_path: Path) -> None:
    run = gaps(tmp_path / "run")
    [row] = rows_of(run, number="share_refused", at_most=0.1)  # three files and a mask, beside the twelve
    assert (row.model, row.measured, row.result) == ("", share_of([True] * 3 + [False] * 12), "fail")
    rows = rows_of(run, number="share_lost", at_most=0.2)
    assert [(row.model, row.measured, row.result) for row in rows] == [
        ("m", share_of([True] * 3 + [False] * 9), "fail"),
        ("n", share_of([False] * 12), "pass"),
    ]
    assert shown(run, number="share_lost", model="n", at_most=0) == [("n", "", "pass")]
    assert shown(run, number="share_refused", at_most=1, min_n=16) == [("", "", "not judged")]


def test_a_run_that_does_not_say_how_many_pictures_it_read_has_no_shares_of_them(tmp_path: Path) -> None:
    for run in (gaps(tmp_path / "a", None), open_run(folder_of(tmp_path / "b", {"m": "c" * 10}))):
        for number in ("share_refused", "share_lost"):
            assert {result for *_, result in shown(run, number=number, at_most=1)} == {"undefined"}


def test_the_terminal_says_how_many_pictures_the_numbers_lack(tmp_path: Path) -> None:
    run, policy = gaps(tmp_path / "run"), tmp_path / "gate.toml"
    policy.write_text("[[rule]]\nnumber = 'accuracy'\nat_least = 0\n")
    code, text = command(run.folder, "--policy", policy)
    assert code == 0
    lines = ["3 pictures could not be read: not in any number",
             "2 pictures could not be computed in full: not in every number"]  # fmt: skip
    assert [line.removeprefix("Missing     ") for line in text.splitlines() if line.startswith("Missing")] == lines
    assert all(f"- {line}" in (run.folder / "gate.md").read_text() for line in lines)


def test_every_number_on_offer_is_tested() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"number": "{name}"' in text or f'number="{name}"' in text for name in NUMBERS)
    assert f'"number": "{METRIC}' in text


def test_two_models_are_compared_once(run: Run) -> None:
    assert shown(run, number="agreement", at_least=0.5) == [("m and n", "", "pass")]
    assert shown(run, number="agreement", at_least=0.9, model="n") == [("n and m", "", "fail")]
    assert shown(run, number="agreement", at_least=0.9, other="n") == [("m and n", "", "fail")]
    rows = judge(run, [Rule("agreement", at_least=0)], models=["n"])
    assert [row.model for row in rows] == ["n and m"]


def test_a_group_is_asked_of_pairs_and_maps_too(run: Run) -> None:
    rows = rows_of(run, number="map_agreement", model="m", method="grad_cam", group="side", at_least=0.3)
    assert [(row.group, row.measured.n, row.result) for row in rows] == [
        ("side: (not given)", 0, "undefined"), ("side: L", 6, "pass"), ("side: R", 2, "pass"),
    ]  # fmt: skip
    assert rows[1].measured.mean == pytest.approx(1 / 3)


def test_maps_that_were_not_all_weighed_give_no_share(tmp_path: Path) -> None:
    run = open_run(folder_of(tmp_path / "run", {"m": "c" * 10}, weigh="wrong"))
    [row] = rows_of(run, number="share_no_evidence", method="grad_cam", at_most=1)
    assert (row.result, row.reason) == ("undefined", "not all maps were weighed; audit with --weigh all")


# ---- against an earlier run


def test_flips_and_kept_maps_are_measured_on_the_pictures_of_both_runs(run: Run, tmp_path: Path) -> None:
    earlier = open_run(folder_of(tmp_path / "before", {"m": "ccccccddcc", "n": "cccccccccc"}))
    vars(earlier)["predictions"] = earlier.predictions.drop(earlier.predictions.index[9])
    # Of nine, 6, 7 and 8 are called otherwise.
    [row] = rows_of(run, earlier, number="flips", model="m", at_most=0.3)
    assert (row.measured.mean, row.measured.n, row.result) == (pytest.approx(3 / 9), 9, "fail")
    [row] = rows_of(run, earlier, number="maps_kept", model="m", method="grad_cam", at_least=0.99)
    assert (row.measured.mean, row.measured.n, row.result) == (pytest.approx(1), 6, "pass")
    assert row.reason == "the maps speak for different classes on 3"


@pytest.mark.parametrize(
    ("rule", "value", "n"),
    [
        ({"number": "broken"}, 0.2, 10),  # 8 and 9 of ten
        ({"number": "accuracy_change"}, 0.8 - 0.9, 10),
        ({"number": "accuracy_change", "group": "side"}, -1 / 3, 3),
        ({"number": "ece_change"}, 0.0 - 0.1, 10),  # sure to 0.8, right in 0.9 before and in 0.8 now
        ({"number": "mass_moved", "method": "grad_cam"}, 0.0, 7),
    ],
    ids=str,
)
def test_drift_from_the_earlier_run_is_judged(
    run: Run, tmp_path: Path, rule: dict[str, str], value: float, n: int
) -> None:
    earlier = open_run(folder_of(tmp_path / "before", {"m": "dccccccccc"}))
    row = next(row for row in rows_of(run, earlier, model="m", at_least=-1, **rule) if row.group in ("", "side: R"))
    assert (row.measured.mean, row.measured.n) == (pytest.approx(value), n)
    assert row.result == "pass"


def test_the_worse_end_of_a_change_can_be_judged(run: Run, tmp_path: Path) -> None:
    earlier = open_run(folder_of(tmp_path / "before", {"m": "c" * 10, "n": "c" * 10}))
    [row] = rows_of(run, earlier, number="accuracy_change", model="m", at_least=-0.2, on="interval")
    assert (row.measured.mean, row.result) == (pytest.approx(-0.2), "fail")
    [row] = rows_of(run, earlier, number="accuracy_change", model="n", at_least=0, on="interval")
    assert (row.measured[:3], row.result) == ((0, 0, 0), "pass")  # n has the same weights in both


def test_mass_that_moved_is_held_against_its_limit(tmp_path: Path) -> None:
    """Of a ramp, its mirror image has its centre of mass as far on the other side."""
    said = [Said(file, "m", "cat", "cat") for file in FILES]
    runs = [
        open_run(run_folder(tmp_path / name, said, maps={(file, "m"): values for file in FILES}))
        for name, values in (("before", RAMP), ("now", RAMP[::-1, ::-1]))
    ]
    share = RAMP / RAMP.sum()
    rows, columns = np.indices(RAMP.shape)
    way = 100 * np.hypot((share * (7 - 2 * rows)).sum(), (share * (7 - 2 * columns)).sum()) / np.hypot(8, 8)
    [row] = rows_of(runs[1], runs[0], number="mass_moved", method="grad_cam", at_most=float(way) - 1)
    assert (row.measured.mean, row.result) == (pytest.approx(way), "fail")
    runs[0].facts["methods"][0]["method"]["layer"] = "first"
    [row] = rows_of(runs[1], runs[0], number="mass_moved", method="grad_cam", at_most=100)
    assert (row.result, "other settings" in row.reason) == ("undefined", True)


def test_another_model_can_be_held_against_the_earlier_one(run: Run, tmp_path: Path) -> None:
    earlier = open_run(folder_of(tmp_path / "before", {"old": "c" * 10}))
    assert shown(run, earlier, number="flips", at_most=0.1) == [
        ("m and earlier old", "", "fail"), ("n and earlier old", "", "pass"),
    ]  # fmt: skip
    [row] = rows_of(run, earlier, number="maps_kept", model="n", method="grad_cam", at_least=0.7)
    assert (row.measured.mean, row.result) == (pytest.approx(0.6), "fail")
    several = open_run(folder_of(tmp_path / "two", {"old": "c" * 10, "older": "d" * 10}))
    [row] = rows_of(run, several, number="flips", model="n", earlier_model="older", at_most=0.5)
    assert (row.measured.mean, row.model) == (1, "n and earlier older")
    with pytest.raises(SettingError, match=r"finds no model 'm' in the earlier run\. Name one of old, older as"):
        rows_of(run, several, number="flips", at_most=0.5)


def test_runs_of_other_pictures_have_nothing_to_compare(run: Run, tmp_path: Path) -> None:
    earlier = open_run(run_folder(tmp_path / "before", [Said("else.png", "m", "cat", "cat")]))
    for number in ("flips", "broken", "accuracy_change", "ece_change"):
        [row] = rows_of(run, earlier, number=number, model="m", at_most=1)
        assert (row.result, row.reason) == ("undefined", "the runs have no picture in common")


def test_gate_and_drift_agree_and_count_copies_once(tmp_path: Path) -> None:
    """Of nine files two are copies: of a picture that is called otherwise, and of one whose map is the same."""
    names, runs = ["flips.png", "copy of flips.png", "0.png", "copy of 0.png", *(f"{i}.png" for i in range(1, 6))], []
    for place, called, way in (("before", "cat", 0), ("now", "dog", 3)):
        said = [Said(file, "m", called if "flips" in file else "cat", "cat") for file in names]
        maps = {(file, "m"): np.roll(RAMP, way * int(file[-5])) for file in names if "flips" not in file}
        maps |= {(file, "m"): RAMP for file in names[:2]}
        run = open_run(run_folder(tmp_path / place, said, maps=maps, seed=3))
        run.predictions["picture"] = run.predictions["picture"].str.replace("copy of ", "")
        runs.append(run)
    [found] = drift(*runs)
    [row] = rows_of(runs[1], runs[0], number="flips", at_most=1)
    assert row.measured == found.matched.flips()
    assert (row.measured.mean, row.measured.n) == (1 / 7, 7)
    for number, name in (("maps_kept", "rank_correlation"), ("mass_moved", "centre_distance")):
        [row] = rows_of(runs[1], runs[0], number=number, method="grad_cam", at_least=-1)
        assert row.measured == found.maps[0].mean(name, 3) != found.maps[0].mean(name, 0)
        assert row.measured.n == 6
        assert row.reason.endswith("the maps speak for different classes on 1")


def test_maps_of_other_settings_are_not_drift(run: Run, tmp_path: Path) -> None:
    earlier = open_run(folder_of(tmp_path / "before", {"m": "c" * 10}))
    earlier.facts["methods"][0]["method"]["layer"] = "first"
    [row] = rows_of(run, earlier, number="maps_kept", model="m", method="grad_cam", at_least=-1)
    assert (row.result, row.reason) == ("undefined", "the method has other settings in the two runs")
    for number, more in (("maps_kept", {}), ("map_agreement", {"other": "n"})):
        [row] = rows_of(run, earlier, number=number, model="m", method="uniform", at_least=-1, **more)
        assert (row.result, "is a control" in row.reason) == ("undefined", True)


# ---- slips of the pen


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no rules"),
        ("rule = 3", "has no rules"),
        ("rule = []", "has no rules"),
        ("[[rule]", "is no TOML"),
        ("[[rules]]\nnumber = 'accuracy'", "has an entry 'rules'"),
        ("[[rule]]\nat_least = 1", r"Rule 1 names no number\. There are accuracy, "),
        ("[[rule]]\nnumber = 'acuracy'\nat_least = 1", "Rule 1 asks for 'acuracy', which is no number"),
        ("[[rule]]\nnumber = 'accuracy'", "Rule 1, accuracy, has no limit"),
        ("[[rule]]\nnumber = 'accuracy'\natleast = 1", r"has an entry 'atleast'\. There are number, model"),
        ("[[rule]]\nnumber = 'accuracy'\nat_least = '1'", "has at_least = '1'. It must be a number"),
        ("[[rule]]\nnumber = 'accuracy'\nat_least = true", "has at_least = True. It must be a number"),
        ("[[rule]]\nnumber = 'accuracy'\nat_least = nan", "has at_least = nan. It must be a number"),
        ("[[rule]]\nnumber = 'accuracy'\nat_least = 1\nmin_n = -1", "It must be a whole number from 0"),
        ("[[rule]]\nnumber = 'accuracy'\nat_least = 1\non = 'mean'", "It must be value or interval"),
        ("[[rule]]\nnumber = 'accuracy'\nat_least = 1\nmodel = 3", "has model = 3. It must be text"),
        ("[[rule]]\nnumber = 'recall'\nat_least = 1", "Rule 1, recall, names no class"),
        ("[[rule]]\nnumber = 'metric:deletion'\nat_least = 1", "names no method"),
        (
            "[[rule]]\nnumber = 'accuracy'\nof = 'cat'\nat_least = 1",
            "has an entry 'of', which says nothing of accuracy",
        ),
        ("[[rule]]\nnumber = 'accuracy'\nmethod = 'lime'\nat_least = 1", "says nothing of accuracy"),
        ("[[rule]]\nnumber = 'share_refused'\nmodel = 'n'\nat_most = 1", "'model', which says nothing of share_re"),
        ("[[rule]]\nnumber = 'share_lost'\ngroup = 'side'\nat_most = 1", "'group', which says nothing of share_lost"),
        ("[[rule]]\nnumber = 'flips'\nother = 'n'\nat_most = 1", "says nothing of flips"),
    ],
)
def test_a_policy_that_cannot_be_meant_is_refused(text: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        parse_policy(text.encode())


def test_a_policy_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"p\.toml is no TOML in UTF-8"):
        parse_policy(b"\xff\xfe", "p.toml")
    with pytest.raises(SettingError, match=r"p\.toml cannot be read: No such file"):
        read_policy(tmp_path / "p.toml")


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"number": "accuracy", "model": "k"}, r"Rule 1, accuracy, names a model that .*, 'k'\. It has m, n\."),
        ({"number": "agreement", "other": "k"}, r"names a model .*'k'"),
        ({"number": "agreement", "model": "m", "other": "m"}, "compares two models, and here is one"),
        ({"number": "accuracy", "group": "sex"}, r"names a group .*'sex'\. It has side\."),
        ({"number": "recall", "of": "cta"}, r"Rule 1, recall of cta, names a class .*'cta'\. It has cat, dog, fox\."),
        ({"number": "share_no_evidence", "method": "lime"}, r"names a method .*'lime'"),
        ({"number": "metric:delation", "method": "grad_cam"}, r"names a metric .*'delation'\. It has border_share\."),
        ({"number": "flips"}, r"is held against an earlier run, and there is none\. Give one with --against\."),
    ],
)
def test_a_name_that_the_run_lacks_is_refused_with_those_that_it_has(
    run: Run, rule: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingError, match=words):
        judge(run, [Rule(**rule, at_least=0)])


@pytest.mark.parametrize("status", ["running", "stopped", "failed"])
def test_a_run_that_is_not_finished_is_not_judged(tmp_path: Path, run: Run, status: str) -> None:
    other = open_run(folder_of(tmp_path / "half", {"m": "c" * 10}, status=status))
    with pytest.raises(RecordError, match=f"half is {status}, and a gate judges finished runs"):
        judge(other, [Rule("accuracy", at_least=0)])
    with pytest.raises(RecordError, match=f"half is {status}"):
        judge(run, [Rule("flips", at_most=1)], other)


# ---- what is said


def test_the_page_holds_every_row_and_no_markup_from_outside(tmp_path: Path) -> None:
    files = [Said(file, "a|b", "cat", "cat", 0.9, {"side": "<b>[x](y)"}) for file in FILES]
    run = open_run(run_folder(tmp_path / "run", files, refused=[["x.png", "no picture"]]))
    rules = parse_policy(b"[[rule]]\nnumber = 'accuracy'\ngroup = 'side'\nat_least = 0.5\nwhy = 'a | b'")
    text = page(run, b"policy", rules, judge(run, rules))
    assert "**Passed: 1 pass.**" in text
    [line] = [line for line in text.splitlines() if line.startswith("| pass")]
    assert len(re.findall(r"(?<!\\)\|", line)) == 9
    assert not re.search(r"(?<!\\)[<\[]", line)
    assert "1 picture could not be read" in text
    assert "1 (0.722 to 1)" in line


def command(*words: object) -> tuple[int, str]:
    found = CliRunner().invoke(app, ["gate", *map(str, words)], env={"COLUMNS": "200"})
    assert found.exception is None or isinstance(found.exception, SystemExit | SettingError | RecordError)
    return found.exit_code, found.output + str(found.exception or "")


def test_the_command_says_by_its_exit_code_whether_a_run_passes(folder: Path, tmp_path: Path) -> None:
    policy = tmp_path / "gate.toml"
    policy.write_text("[[rule]]\nnumber = 'accuracy'\nat_least = 0.9\nwhy = 'Nine of ten'\n")
    code, text = command(folder, "--policy", policy)
    assert code == 1
    assert "Not passed: 1 pass, 1 fail." in text
    assert "Nine of ten" in text
    written = (folder / "gate.md").read_text()
    assert "Not passed" in written
    code, text = command(folder, "--policy", policy, "--model", "n")
    assert (code, "Passed: 1 pass." in text) == (0, True)
    assert "**Passed: 1 pass.**" in (folder / "gate.md").read_text()
    code, text = command(folder, "--policy", policy, "--model", "typo")
    assert (code, "names a model that the run does not have, 'typo'" in text) == (1, True)


def test_rules_of_other_models_are_left_out_and_counted(folder: Path, tmp_path: Path) -> None:
    policy = tmp_path / "gate.toml"
    policy.write_text(
        "[[rule]]\nnumber = 'accuracy'\nmodel = 'm'\nat_least = 1\n[[rule]]\nnumber = 'accuracy'\nat_least = 1\n"
    )
    code, text = command(folder, "--policy", policy, "--model", "n")
    assert (code, "Left out    1 rule of other models" in text) == (0, True)
    policy.write_text("[[rule]]\nnumber = 'accuracy'\nmodel = 'm'\nat_least = 0\n")
    code, text = command(folder, "--policy", policy, "--model", "n")
    assert (code, "No rule of gate.toml is of n" in text) == (1, True)


def test_the_command_compares_with_an_earlier_run(folder: Path, tmp_path: Path) -> None:
    before = folder_of(tmp_path / "before", {"m": "cccccccccc", "n": "cccccccccc"})
    policy = tmp_path / "gate.toml"
    policy.write_text("[[rule]]\nnumber = 'flips'\nat_most = 0.1\n")
    code, text = command(folder, "--policy", policy, "--against", before)
    assert (code, "Not passed: 1 pass, 1 fail." in text) == (1, True)
    assert "Against: before" in (folder / "gate.md").read_text()
    code, text = command(folder, "--policy", policy)
    assert (code, "Give one with --against" in text) == (1, True)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="may write everywhere")
def test_a_run_folder_that_cannot_be_written_is_said(folder: Path, tmp_path: Path) -> None:
    policy = tmp_path / "gate.toml"
    policy.write_text("[[rule]]\nnumber = 'accuracy'\nat_least = 0\n")
    folder.chmod(0o500)
    assert "Cannot write gate.md" in command(folder, "--policy", policy)[1]


# ---- the policy that ships


def test_the_policy_that_ships_can_be_read() -> None:
    rules = read_policy(ROOT / "assets" / "gate.toml")
    assert [rule.number for rule in rules] == ["accuracy", "accuracy", "metric:border_share"]
    words = (ROOT / "assets" / "gate.toml").read_text(encoding="utf-8").partition("[[rule]]\nnumber")[0]
    assert all(name in words for name in NUMBERS), "the file tells which numbers there are"


@pytest.mark.slow
def test_the_policy_that_ships_lets_the_honest_network_pass_and_not_the_one_that_cheats(tmp_path: Path) -> None:
    from xai_core.auditing import audit
    from xai_core.cases import read_cases

    cases = read_cases(ROOT / "assets" / "samples", where={"family": "xray"})
    folder, policy = tmp_path / "run", ROOT / "assets" / "gate.toml"
    audit(
        cases, ["demo-xray", "demo-xray-shortcut"], ["grad_cam"], ["border_share"], weigh="none", controls=False,
        out=folder,
    )  # fmt: skip
    code, text = command(folder, "--policy", policy, "--model", "demo-xray")
    assert (code, "Passed: 5 pass." in text) == (0, True)
    code, text = command(folder, "--policy", policy, "--model", "demo-xray-shortcut")
    assert (code, "Not passed: 5 fail." in text) == (1, True)
    assert command(folder, "--policy", policy)[0] == 1
    found = json.loads((folder / "xai_results.json").read_text(encoding="utf-8"))
    [pair] = found["pairs"]
    # Four pictures bear the marker that cheating expects: both are right, for another reason.
    assert (pair["both"], pair["only_first"], pair["only_second"]) == (4, 8, 0)
    assert len(pair["maps"][0]["apart"]) == 4
