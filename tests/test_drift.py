"""What changed between two runs is what was planted between them, and nothing else is found."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from tests.run_folders import Said, run_folder
from xai_core import classification, statistics
from xai_core.classification import calibration
from xai_core.drift import (
    NO_MAP,
    Drift,
    Matched,
    _error_of,
    calibration_change,
    drift,
    group_columns,
    methods_of,
    moved_maps,
    pairs_of,
)
from xai_core.drift_summary import files, limits, page, sentences, tables
from xai_core.errors import RecordError, SettingError
from xai_core.paired_statistics import Change, adjusted, mean_change, measured_change, rate_change
from xai_core.runs import Run, open_run
from xai_core.statistics import mean_of

CALLED = {"c": "cat", "d": "dog", "f": "fox", "-": None}
RAMP = np.arange(64.0).reshape(8, 8)
POINT, ELSEWHERE = np.zeros((8, 8)), np.zeros((8, 8))
POINT[3, 2], ELSEWHERE[0, 6] = 1.0, 1.0  # 3 rows and 4 columns apart, the second along the border


@dataclass
class Seen(Said):
    """A picture whose bytes are not told by its name."""

    sha: str = ""

    @property
    def picture(self) -> str:
        return self.sha or super().picture


def run_of(place: Path, model: str, called: str, labels: str = "", **more: Any) -> Run:
    """A letter per picture says what the model calls it, and what it is; all are cats where that is not said."""
    groups: Mapping[str, str] = more.pop("groups", {})
    sure: Sequence[float] = more.pop("sure", [0.9] * len(called))
    said = [
        Said(
            f"{i}.png", model, str(CALLED[letter]), CALLED[labels[i] if labels else "c"], sure[i],
            {name: letters[i] for name, letters in groups.items()},
        )
        for i, letter in enumerate(called)
    ]  # fmt: skip
    if "known" in more:
        more["labels"] = more.pop("known")
    maps = {(f"{i}.png", model): one for i, one in enumerate(more.pop("maps", [])) if one is not None}
    return open_run(run_folder(place, said, maps=maps, **more))


def two(place: Path, before: str, after: str, labels: str = "", **more: Any) -> Drift:
    """The drift from a model old to a model new; `old` and `new` among `more` are facts of one of the runs alone."""
    own = [more.pop(name, {}) for name in ("old", "new")]
    earlier = run_of(place / "before", "old", before, labels, **more, **own[0])
    [found] = drift(earlier, run_of(place / "after", "new", after, labels, **more, **own[1]))
    return found


def counts(both: int, only_before: int, only_after: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    of = [both, only_before, only_after, neither]
    return np.repeat([True, True, False, False], of), np.repeat([True, False, True, False], of)


# ---- paired statistics


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [((1, 1, 7, 12), 0.026, 0.507), ((20, 2, 12, 16), 0.0562, 0.3292)],
)
def test_the_interval_of_a_rate_is_the_published_one(table: tuple[int, int, int, int], low: float, high: float) -> None:
    """Fagerland, Lydersen and Laake, 2014, on airways of 21 children, and the example of Newcombe, 1998."""
    found = rate_change(*counts(*table))
    assert found.low == pytest.approx(low, abs=6e-4)
    assert found.high == pytest.approx(high, abs=6e-4)


def test_a_change_of_a_rate_by_hand() -> None:
    found = rate_change(*counts(5, 1, 6, 8))
    assert (found.before, found.after, found.value, found.n) == (6 / 20, 11 / 20, 5 / 20, 20)
    assert found.p == pytest.approx(2 * sum(math.comb(7, k) for k in (0, 1)) / 2**7)  # the seven that changed


def test_going_back_is_the_same_with_the_other_sign() -> None:
    there, back = rate_change(*counts(30, 2, 9, 5)), rate_change(*counts(30, 9, 2, 5))
    assert there.low is not None
    assert there.high is not None
    assert back.value == -(there.value or 0)
    assert (back.low, back.high) == (pytest.approx(-there.high), pytest.approx(-there.low))
    assert back.p == there.p


def test_where_nothing_changed_there_is_a_width_and_no_test() -> None:
    found = rate_change(*counts(9, 0, 0, 3))
    assert (found.value, found.p) == (0, None)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0 < found.high
    assert rate_change(*counts(0, 0, 0, 0)) == Change(note="there is nothing to count")


@pytest.mark.parametrize("shares", [(0.8, 0.05, 0.05, 0.1), (0.55, 0.05, 0.25, 0.15), (0.9, 0.08, 0.01, 0.01)])
def test_intervals_hold_the_true_change_and_tests_keep_their_level(shares: tuple[float, ...]) -> None:
    chance, truth = np.random.default_rng(0), shares[2] - shares[1]
    found = [rate_change(*counts(*drawn)) for drawn in chance.multinomial(60, shares, size=400)]
    held = np.mean([(one.low or 0) <= truth <= (one.high or 0) for one in found])
    assert 0.93 <= held <= 0.995
    if truth == 0:
        assert np.mean([(one.p or 1) <= 0.05 for one in found]) <= 0.05 + 2 * 0.011  # two standard errors


def test_a_family_without_change_is_rarely_said_to_have_one() -> None:
    chance, hits = np.random.default_rng(1), 0
    for _ in range(150):
        family = [rate_change(*counts(*drawn)) for drawn in chance.multinomial(80, (0.6, 0.15, 0.15, 0.1), size=6)]
        hits += any(one.p_adjusted is not None and one.p_adjusted <= 0.05 for one in adjusted(family))
    assert hits / 150 <= 0.05 + 2 * 0.018


def test_holms_rule_leaves_out_what_was_not_tested() -> None:
    found = adjusted([Change(p=0.02), Change(), Change(p=0.01), Change(p=0.04)])
    assert [one.p_adjusted for one in found] == [0.04, None, 0.03, 0.04]


def test_a_mean_change_is_the_mean_of_differences() -> None:
    chance = np.random.default_rng(0)
    before = chance.normal(5, 3, 40)
    after = before + chance.normal(1, 0.1, 40)
    found = mean_change(before, after, seed=4)
    assert (found.value, found.low, found.high, found.n) == mean_of(after - before, 4)[:4]
    assert found.before == before.mean()
    assert (found.high or 0) - (found.low or 0) < 0.1  # pictures differ by 3, and say nothing of the change
    assert mean_change(np.zeros(0), np.zeros(0)).n == 0


def test_pictures_that_all_changed_by_the_same_show_no_interval() -> None:
    before = np.arange(6) / 10
    found = mean_change(before, before + 0.2)  # but for rounding
    assert (found.value, found.low, found.high, found.n) == (pytest.approx(0.2), None, None, 6)
    assert found.note == "every picture changed by the same, so they show no interval"
    assert mean_change(before, before).low is None
    assert mean_change(np.zeros(4), np.ones(4)).note == "too few pictures for an interval: 4"


def test_a_measured_change_draws_the_same_pictures_for_both() -> None:
    x = np.random.default_rng(0).normal(size=50)
    found = measured_change(lambda drawn: float(x[drawn].mean()), lambda drawn: float(x[drawn].mean()) + 2, 50)
    assert found.value == pytest.approx(2)
    assert found.low == pytest.approx(2)


# ---- calibration


def drawn(n: int, over: tuple[float, float], chance: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Confidences and who is right, before and after, of models that are right by so much less often than sure."""
    before = chance.uniform(0.5, 1, n)
    after, lot = np.clip(before + chance.uniform(-0.05, 0.05, n), 0.5, 1), chance.random(n)
    return before, lot < before - over[0], after, lot < after - over[1]


def test_a_calibration_change_is_the_difference_of_the_two_errors() -> None:
    before, was, after, now = drawn(80, (0.0, 0.2), np.random.default_rng(3))
    found, own = calibration_change(before, was, after, now), [calibration(before, was), calibration(after, now)]
    assert (found.before, found.after) == (pytest.approx(own[0].error.mean), pytest.approx(own[1].error.mean))
    assert found.value == pytest.approx((own[1].error.mean or 0) - (own[0].error.mean or 0))


@pytest.mark.parametrize("over", [(0.0, 0.0), (0.15, 0.15), (0.3, 0.1), (0.0, 0.15)])
def test_the_interval_of_a_calibration_change_holds_the_true_one(
    over: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A calibrated model has an error by chance, so that it seems to have worsened by less than it has."""
    for module in (statistics, classification):
        monkeypatch.setattr(module, "DRAWS", 120)
    chance, truth = np.random.default_rng(0), over[1] - over[0]
    found = [calibration_change(*drawn(300, over, chance), seed=trial) for trial in range(30)]
    assert np.mean([(one.low or 0) <= truth <= (one.high or 0) for one in found]) >= 0.8
    if truth < 0:
        assert np.mean([(one.high or 0) < 0 for one in found]) > 0.9  # and is still an answer


def test_a_model_that_may_be_calibrated_may_have_had_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (statistics, classification):
        monkeypatch.setattr(module, "DRAWS", 200)
    calibrated, was, over, now = drawn(100, (0.0, 0.25), np.random.default_rng(0))
    own = calibration(calibrated, was).error, calibration(over, now).error
    assert own[0].low == 0
    there, back = calibration_change(calibrated, was, over, now), calibration_change(over, now, calibrated, was)
    assert (there.high or 0) >= (own[1].high or 0) > (there.value or 0)
    assert (back.low or 0) <= -(own[1].high or 0)
    one, was, other, now = drawn(200, (0.3, 0.2), np.random.default_rng(0))  # neither may be
    drawn_anew = measured_change(_error_of(one, was), _error_of(other, now), 200)
    found = calibration_change(one, was, other, now)
    assert found.low == pytest.approx(2 * (found.value or 0) - (drawn_anew.high or 0))


# ---- pictures of both runs


def test_pictures_are_matched_by_their_bytes_and_count_once(tmp_path: Path) -> None:
    earlier = open_run(run_folder(tmp_path / "a", [
        Seen("1.png", "m", "cat", "cat", sha="A"), Seen("2.png", "m", "dog", "cat", sha="B"),
        Seen("3.png", "m", "cat", "cat", sha="C"), Seen("4.png", "m", "cat", "cat", sha="D"),
    ]))  # fmt: skip
    later = open_run(run_folder(tmp_path / "b", [
        Seen("renamed.png", "m", "cat", "cat", sha="A"), Seen("3.png", "m", "dog", "cat", sha="other"),
        Seen("2.png", "m", "dog", "dog", sha="B"), Seen("copy.png", "m", "dog", "dog", sha="B"),
    ]))  # fmt: skip
    matched = Matched.of(earlier, "m", later, "m")
    assert list(matched.rows["picture"]) == ["A", "B"]
    assert (matched.only_before, matched.only_after, matched.namesakes, matched.copies) == (2, 1, 1, 1)
    assert matched.relabelled.tolist() == [False, True]
    assert matched.right.tolist() == [[1, 1], [1, 1]]  # by the later label, of which both models have been right
    [found] = drift(earlier, later)
    assert "not judged" not in " ".join(sentences(found))
    assert limits(found)[:4] == [
        "2 pictures of the earlier run and 1 of the later one are in that run alone, and in no number.",
        "1 file has one name in both runs and other bytes: another picture, which is not matched.",
        "1 file is a copy of another: each picture counts once.",
        "1 picture has another label in the earlier run: both models are judged by the later one.",
    ]


def test_the_way_of_every_flip_is_told(tmp_path: Path) -> None:
    found = two(tmp_path, "ccdddccf", "cdcfdfdf", "cccccdc-")
    assert found.matched.directions == [None, "broken", "mended", "still wrong", None, "still wrong", "broken", None]
    assert found.matched.flips()[:1] == (5 / 8,)
    assert (found.matched.broken().mean, found.matched.broken().n) == (2 / 7, 7)
    said = sentences(found)
    assert said[1].startswith("5 of 8 pictures are called otherwise, 62.5 % (30.6 to 86.3 %): 2 broken (right before, ")
    assert said[2] == "Most frequent: cat → dog (2), dog → cat (1), dog → fox (1) and cat → fox (1)."
    lines = tables([found])["flips"].lines()
    assert [line["direction"] for line in lines] == ["broken", "broken", "mended", "still wrong", "still wrong"]
    assert (lines[0]["file"], lines[0]["old"], lines[0]["new"], lines[0]["new_confidence"]) == (
        "1.png", "cat", "dog", pytest.approx(90),
    )  # fmt: skip


def test_numbers_before_and_after_by_hand(tmp_path: Path) -> None:
    found = two(tmp_path, "ccccccccdd", "ccccdddddd", old={"sure": [0.8] * 10}, new={"sure": [0.6] * 10})
    accuracy, numbers = found.numbers["accuracy"], found.numbers
    assert (accuracy.before, accuracy.after, accuracy.p) == (0.8, 0.4, 2 * binom.cdf(0, 4, 0.5))
    assert numbers["calibration_error"].before == pytest.approx(0)
    assert numbers["calibration_error"].after == pytest.approx(0.2)
    assert numbers["overconfidence"].value == pytest.approx(0.2)
    assert numbers["confidence"].value == pytest.approx(-0.2)
    assert [line["unit"] for line in tables([found])["numbers"].lines()] == ["%"] * 4 + ["nats"]
    loss = [-(8 * math.log(0.8) + 2 * math.log(0.1)) / 10, -(4 * math.log(0.6) + 6 * math.log(0.2)) / 10]
    assert (numbers["loss"].before, numbers["loss"].after) == (pytest.approx(loss[0]), pytest.approx(loss[1]))
    said = " ".join(sentences(found))
    assert "Accuracy on 10 pictures fell from 80.0 % to 40.0 % (−40.0 points, 95 % interval " in said
    assert "Not shown to have changed: McNemar's exact p = 0.12." in said


def test_a_clear_change_is_said_to_be_one(tmp_path: Path) -> None:
    said = " ".join(sentences(two(tmp_path, "c" * 20, "d" * 8 + "c" * 12)))
    assert "Shown to be worse at a level of 5 %: McNemar's exact p = 0.0078, not corrected for other tests." in said
    assert "−40.0 points, 95 % interval −61.3 to −15.8)" in said
    (tmp_path / "back").mkdir()
    said = " ".join(sentences(two(tmp_path / "back", "d" * 8 + "c" * 12, "c" * 20)))
    assert "Shown to be better at a level of 5 %: McNemar's exact p = 0.0078, not corrected" in said
    assert "chance" not in said


# ---- the same weights


def test_the_same_weights_have_no_drift_and_every_number_is_zero(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    maps = [chance.normal(size=(8, 8)) for _ in range(12)]
    scores = [(f"{i}.png", "m", "grad_cam", "border_share", 0.1 * i) for i in range(12)]
    more: dict[str, Any] = {"maps": maps, "scores": scores, "groups": {"side": "LLLLLLRRRRRR"}}
    more |= {"sure": list(chance.uniform(0.4, 1, 12)), "labels": "ccccccdddddd"}
    runs = [run_of(tmp_path / name, "m", "cccdddcccddd", **more) for name in ("a", "b")]
    [found] = drift(runs[0], runs[1], smallest=1)
    changes = [*found.numbers.values(), *(one.change for one in (*found.groups, *found.scores))]  # type: ignore[attr-defined]
    assert len(changes) == 5 + 4 + 1
    assert all((one.value, one.low, one.high, one.p) == (0, 0, 0, None) for one in changes)
    assert found.matched.flips()[:3] == (0, 0, 0)
    assert found.matched.broken()[:3] == (0, 0, 0)
    [moved] = found.maps
    assert all((one.rank_correlation, one.centre_distance, one.border_change) == (1, 0, 0) for one in moved.shifts)
    assert not found.moved
    [said] = sentences(found)
    assert said.startswith("No drift: same weights. m, weights weights of m → weights of m: 12 pictures in both runs.")
    assert said.endswith("exactly the same, and none of the 12 maps that were compared moved.")


@pytest.mark.parametrize(
    ("before", "now", "more", "words"),
    [
        ([], [], {}, "Every number that was compared is exactly the same; no map was compared."),
        ([RAMP], [None, RAMP], {}, "is exactly the same; no map was compared."),
        ([RAMP, RAMP], [RAMP], {}, "the 1 map that was compared did not move. 1 more could not be compared."),
        ([RAMP] * 2, [RAMP] * 2, {"task": "regression"}, "No number was compared (predictions were not: m: the "),
    ],
)
def test_nothing_is_said_to_be_the_same_that_was_not_compared(
    tmp_path: Path, before: list[np.ndarray], now: list[np.ndarray], more: dict[str, Any], words: str
) -> None:
    runs = [run_of(tmp_path / name, "m", "cc", maps=maps, **more) for name, maps in (("a", before), ("b", now))]
    [said] = sentences(drift(*runs)[0])
    assert said.startswith("No drift: same weights.")
    assert words in said


def test_methods_of_one_run_alone_leave_no_map_to_compare(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / name, "m", "cc", maps=[RAMP] * 2) for name in "ab"]
    runs[1].facts["methods"][0]["name"] = "occlusion"
    [said] = sentences(drift(*runs)[0])
    assert said.endswith("Every number that was compared is exactly the same; no map was compared.")


@pytest.mark.parametrize("change", [{"called": "cd"}, {"sure": [0.9, 0.8]}, {"maps": [RAMP, -RAMP]}])
def test_the_same_weights_with_other_numbers_are_not_called_the_same(tmp_path: Path, change: dict[str, Any]) -> None:
    before = {"called": "cc", "maps": [RAMP, RAMP]}
    runs = [run_of(tmp_path / name, "m", **one) for name, one in (("a", before), ("b", before | change))]
    [found] = drift(*runs)
    assert found.moved
    assert "The weights are the same, and yet numbers differ" in sentences(found)[0]


def test_equal_answers_of_other_weights_are_not_certain(tmp_path: Path) -> None:
    found = two(tmp_path, "cccccc", "cccccc")
    accuracy = found.numbers["accuracy"]
    assert (accuracy.value, (accuracy.high or 0) > 0.1) == (0, True)
    assert "No drift" not in " ".join(sentences(found))
    said = sentences(found)
    assert said[1] == "No picture is called otherwise than before."
    low, high = (f"{100 * (end or 0):+.1f}".replace("-", "−") for end in (accuracy.low, accuracy.high))
    assert f"stayed at 100.0 % (95 % interval of the change {low} to {high} points)." in said[2]


# ---- groups


def planted(place: Path, **more: Any) -> Drift:
    """Sixty pictures: a third of the thirty on the left are broken, of the others one is broken and one mended."""
    before, after = ["c"] * 60, ["c"] * 60
    after[:10] = "d" * 10
    after[40], before[41] = "d", "d"
    more["groups"] = {"side": "L" * 30 + "R" * 30, "hospital": "ab" * 28 + "xxxx", "same": "s" * 60}
    return two(place, "".join(before), "".join(after), **more)


def test_a_change_that_was_planted_in_a_group_is_found_there_alone(tmp_path: Path) -> None:
    found = planted(tmp_path)
    by_name = {(one.column, one.value): one.change for one in found.groups}
    assert set(by_name) == {("side", "L"), ("side", "R"), ("hospital", "a"), ("hospital", "b"), ("hospital", "x")}
    left = by_name["side", "L"]
    assert (left.before, left.after, left.n, left.p) == (0, 10 / 30, 30, pytest.approx(2 / 2**10))
    assert left.p_adjusted == pytest.approx(4 * 2 / 2**10)  # four groups are tested
    assert [name for name, one in by_name.items() if (one.p_adjusted or 1) <= 0.05] == [("side", "L")]
    said = " ".join(sentences(found))
    assert (
        "Of 4 groups with 10 pictures or more, 1 is shown to have another error rate (Holm's correction over 4" in said
    )
    assert "Error rate on side: L, 30 pictures, rose from 0.0 % to 33.3 % (+33.3 points, 95 % interval +" in said
    assert "p = 0.0078 after correction." in said


def test_groups_that_changed_most_stand_first_and_the_others_in_the_table(tmp_path: Path) -> None:
    groups = dict.fromkeys(("side", "hospital", "device", "nurse"), "L" * 20 + "R" * 20)
    found = two(tmp_path, "c" * 40, "d" * 11 + "c" * 9 + "d" * 15 + "c" * 5, groups=groups)
    said = sentences(found)
    assert any(one.startswith("Of 8 groups with 10 pictures or more, all are shown") for one in said)
    assert [one[14:].split(",")[0] for one in said if one.startswith("Error rate on")] == [
        "side: R", "hospital: R", "device: R", "nurse: R", "side: L", "hospital: L",
    ]  # fmt: skip
    assert "These 6 changed most of the 8; the table of groups has them all." in said
    assert len(tables([found])["groups"].rows) == 8


def test_small_groups_are_shown_and_not_tested(tmp_path: Path) -> None:
    small = {(one.column, one.value): one.change for one in planted(tmp_path).groups}["hospital", "x"]
    assert (small.p, small.p_adjusted, small.note) == (None, None, "4 pictures, fewer than 10: not tested")
    assert small.value == 0


def test_a_group_in_which_nobody_gave_a_value_is_one_too(tmp_path: Path) -> None:
    runs = [
        open_run(run_folder(tmp_path / name, [
            Said("1.png", name, "cat", "cat", group={"side": None}),
            Said("2.png", name, "dog", "dog", group={"side": "L"}),
        ]))
        for name in ("a", "b")
    ]  # fmt: skip
    columns = group_columns(Matched.of(runs[0], "a", runs[1], "b"))
    assert {name: list(values) for name, values in columns.items()} == {
        "true class": ["cat", "dog"], "side": ["(not given)", "L"],
    }  # fmt: skip


def test_groups_without_a_found_change_say_what_is_not_ruled_out(tmp_path: Path) -> None:
    said = " ".join(sentences(two(tmp_path, "c" * 24, "d" + "c" * 23, groups={"side": "L" * 12 + "R" * 12})))
    assert "none is shown to have another error rate (Holm's correction over 1 test)" in said
    assert "The widest 95 % interval, of side: L, holds changes of −" in said


# ---- maps


def test_how_far_maps_moved_by_hand(tmp_path: Path) -> None:
    maps = {"old": {"maps": [POINT, RAMP, POINT, np.ones((8, 8)), None]},
            "new": {"maps": [ELSEWHERE, -RAMP, POINT, RAMP, RAMP]}}  # fmt: skip
    found = two(tmp_path, "ccccc", "ccccc", **maps)
    [moved] = found.maps
    assert moved.at == (0, 1, 2)
    assert moved.left_out == {"a map is flat": 1, NO_MAP: 1}
    far, reversed_, still = moved.shifts
    assert far.centre_distance == pytest.approx(100 * 5 / math.hypot(8, 8))
    assert far.border_change == pytest.approx(100)
    assert (reversed_.rank_correlation, reversed_.centre_distance) == (-1, None)  # a ramp below zero has no mass
    assert (still.rank_correlation, still.centre_distance, still.border_change) == (1, 0, 0)
    assert moved.mean("centre_distance", 0).mean == pytest.approx(100 * 2.5 / math.hypot(8, 8))
    [line] = tables([found])["maps"].lines()
    assert (line["n"], line["left_out"], line["note"]) == (3, 2, "a map is flat (1), a run has no map (1)")
    assert [one["file"] for one in tables([found])["moved"].lines()] == ["1.png", "0.png", "2.png"]
    said = next(one for one in sentences(found) if one.startswith("Maps by grad_cam, 3 pictures"))
    assert "Least alike: 1.png (−1.00)." in said
    assert "; of the 2 of them that have mass in both runs, the centre of their mass moved by" in said
    assert line["with_mass"] == 2
    assert said.endswith("2 not compared: a map is flat (1) and a run has no map (1).")


def test_an_interval_is_the_same_in_sentence_and_table_whatever_the_seed(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    maps = {name: {"maps": [RAMP + 60 * chance.normal(size=(8, 8)) for _ in range(6)]} for name in ("old", "new")}
    found = two(tmp_path, "c" * 6, "c" * 6, seed=7, **maps)
    [line] = tables([found])["maps"].lines()
    said = next(one for one in sentences(found) if one.startswith("Maps by"))
    for name in ("rank_correlation", "centre_distance"):
        low, high = (f"{line[f'{name}{end}']:.2f}" for end in ("_low", "_high"))
        assert f"({low} to {high})".replace("-", "−") in said
    assert f"({low} to {high})" != "({:.2f} to {:.2f})".format(*found.maps[0].mean(name, 0)[1:3])
    assert "of them that have mass" not in said


def test_a_number_that_is_one_on_every_map_has_no_interval(tmp_path: Path) -> None:
    found = two(tmp_path, "c" * 6, "c" * 6, old={"maps": [POINT] * 6}, new={"maps": [ELSEWHERE] * 6})
    [line] = tables([found])["maps"].lines()
    assert (line["centre_distance"], line["centre_distance_low"]) == (pytest.approx(100 * 5 / math.hypot(8, 8)), None)
    assert " to " not in next(one for one in sentences(found) if one.startswith("Maps by"))


def test_a_map_that_is_flat_within_the_picture_is_left_out(tmp_path: Path) -> None:
    """Of the 8 rows of the map, the picture fills the lower half alone."""
    framed = np.zeros((8, 8))
    framed[0] = 1
    boxes = {"boxes": {"m": (0, -8, 8, 8)}}
    runs = [run_of(tmp_path / name, "m", "c", maps=[framed], **boxes) for name in "ab"]
    [found] = drift(*runs)
    assert (found.maps[0].left_out, found.moved) == ({"a map is flat": 1}, False)


def test_maps_of_another_class_or_another_crop_are_not_compared(tmp_path: Path) -> None:
    found = two(tmp_path, "cc", "cd", maps=[RAMP, RAMP])
    assert found.maps[0].left_out == {"the maps speak for different classes": 1}
    assert any("Audit both with --target true" in one for one in limits(found))
    (tmp_path / "crop").mkdir()
    found = two(tmp_path / "crop", "cc", "cc", maps=[RAMP, RAMP], new={"boxes": {"new": (1, 1, 7, 7)}})
    assert found.maps[0].left_out == {"the models see different parts of the picture, or in other pixels": 2}
    assert "Maps by grad_cam: none can be compared. 2 not compared" in " ".join(sentences(found))


def test_progress_is_told_of_every_map(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / name, name, "ccc", maps=[RAMP] * 3) for name in ("a", "b")]
    told: list[tuple[int, int]] = []
    drift(*runs, progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (told[-1][1],) * 2
    matched = Matched.of(runs[0], "a", runs[1], "b")
    assert len(moved_maps(matched, "grad_cam").at) == 3


def test_methods_are_compared_where_both_runs_have_them_with_the_same_settings(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / name, name, "c") for name in ("a", "b")]
    runs[0].facts["methods"].append({"name": "old", "method": {"name": "saliency"}, "family": "gradient"})
    runs[1].facts["methods"].append({"name": "new", "method": {"name": "saliency"}, "family": "gradient"})
    runs[1].facts["methods"][0]["method"]["layer"] = "first"
    assert methods_of(Matched.of(runs[0], "a", runs[1], "b")) == ([], {
        "grad_cam": "has other settings in the two runs", "attention_rollout": "says nothing about a",
        "old": "is in the earlier run alone", "new": "is in the later run alone",
    })  # fmt: skip
    [found] = drift(*runs)
    assert "The method grad_cam has other settings in the two runs: not compared." in limits(found)


def test_metrics_are_compared_on_the_same_pictures_and_classes(tmp_path: Path) -> None:
    scores = {
        name: [(f"{i}.png", name, "grad_cam", metric, value) for metric, values in metrics.items()
               for i, value in enumerate(values)]
        for name, metrics in {
            "old": {"border_share": [0.1, 0.2, 0.3, None, 0.5, 0.6, 0.1], "mass_accuracy": [0.5] * 7},
            "new": {"border_share": [0.3, 0.4, 0.5, 0.9, 0.7, 0.8, 0.4], "mass_accuracy": [0.25] * 7},
        }.items()
    }  # fmt: skip
    metrics = [{"name": name, "metric": {"name": name}} for name in ("border_share", "mass_accuracy")]
    found = two(tmp_path, "c" * 7, "c" * 7, metrics=metrics,
                **{name: {"scores": one} for name, one in scores.items()})  # fmt: skip
    border, mass = found.scores
    assert (border.change.n, border.change.value) == (6, pytest.approx((5 * 0.2 + 0.3) / 6))
    assert (mass.change.before, mass.change.after, mass.change.value) == (0.5, 0.25, -0.25)
    said = " ".join(sentences(found))
    assert (
        "Share of the mass of grad_cam inside the mask, 7 pictures with one, fell from 50.0 % to 25.0 % (−25.0 points)."
    ) in said
    assert (mass.change.low, mass.change.note) == (None, "every picture changed by the same, so they show no interval")
    assert "Of 1 other mean of a metric, the interval of 1 excludes no change: border_share by grad_cam" in said


def test_a_mean_without_an_interval_is_said_to_have_none(tmp_path: Path) -> None:
    own = [{"scores": [(f"{i}.png", name, "grad_cam", "border_share", share) for i in range(3)]}
           for name, share in (("old", 0.1), ("new", 0.4))]  # fmt: skip
    said = " ".join(sentences(two(tmp_path, "ccc", "ccc", old=own[0], new=own[1])))
    assert "Of 1 other mean of a metric, the interval of 0 excludes no change; 1 has no interval." in said


# ---- what cannot be compared


def test_classes_that_one_model_lacks_are_not_judged(tmp_path: Path) -> None:
    found = two(tmp_path, "cdcc", "cdcc", "cdfc", old={"known": {"old": ("cat", "dog")}})
    assert found.matched.known.tolist() == [True, True, False, True]
    assert "Accuracy on 3 pictures (1 more without a label that both models know)" in " ".join(sentences(found))
    assert any(one.startswith("Only the later model has the class fox: pictures of it") for one in limits(found))
    (tmp_path / "back").mkdir()
    found = two(tmp_path / "back", "cdcc", "cdcc", "cdfc", new={"known": {"new": ("cat", "dog")}})
    assert found.matched.known.tolist() == [True, True, False, True]
    assert found.numbers["accuracy"].n == 3


def test_without_labels_flips_and_confidence_are_all(tmp_path: Path) -> None:
    found = two(tmp_path, "ccc", "ccd", "---")
    assert found.matched.directions == [None, None, "not judged"]
    said = sentences(found)
    assert "1 not judged (no label that both models know)" in said[1]
    assert said[2].startswith("Accuracy and calibration are not compared: no picture has a label")
    assert found.groups == ()


@pytest.mark.parametrize("task", ["multi label", "regression"])
def test_outputs_that_are_no_classes_have_maps_alone(tmp_path: Path, task: str) -> None:
    found = two(tmp_path, "ccc", "ccd", maps=[RAMP] * 3, task=task)
    assert found.matched.flips().mean is None
    assert found.numbers["accuracy"].value is None
    assert sentences(found)[1].startswith("Predictions are not compared: old: ")
    assert found.maps[0].at == (0, 1)
    assert not tables([found])["flips"].rows


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("identity.preprocessing_sha256", "q", "Pictures are prepared otherwise"),
        ("identity.device", "cuda", "Another device: cpu before, cuda after."),
        ("identity.dtype", "float16", "Another precision: float32 before, float16 after."),
        ("identity.task", "multi label", "The outputs mean other things: single label before, multi label after."),
        ("identity.notice", "For show.", "new: For show."),
        ("target", "true", "Maps explain another class by rule (predicted before, true after)"),
        ("seed", 1, "Seeds differ (0 and 1)"),
        ("background", ["x"], "The background pictures differ"),
        ("made_by", {"torch": "9"}, "Other versions of torch"),
    ],
)
def test_what_else_differs_is_said(tmp_path: Path, where: str, value: Any, words: str) -> None:
    runs = [run_of(tmp_path / name, name, "c") for name in ("old", "new")]
    [found] = drift(*runs)
    assert not any(words in one for one in limits(found))
    facts = dict(runs[1].facts)
    if where.startswith("identity."):
        facts["models"][0]["identity"][where.removeprefix("identity.")] = value
    else:
        facts[where] = value
    [found] = drift(runs[0], Run(runs[1].folder, facts))
    assert any(words in one for one in limits(found))


def test_the_same_weights_behind_another_crop_are_said_to_be_so(tmp_path: Path) -> None:
    runs = [run_of(tmp_path / name, "m", called) for name, called in (("a", "cc"), ("b", "cd"))]
    runs[1].facts["models"][0]["identity"]["preprocessing_sha256"] = "q"
    [found] = drift(*runs)
    assert not found.matched.same
    assert any(one.endswith("The weights are the same, so the change comes from there.") for one in limits(found))


# ---- who is held against whom, and slips of the pen


def test_models_pair_by_name_or_as_they_are_told(tmp_path: Path) -> None:
    def run(name: str, *models: str) -> Run:
        return open_run(run_folder(tmp_path / name, [Said("1.png", model, "cat") for model in models]))

    one, other = run("a", "m", "n", "old", "x=y"), run("b", "m", "n", "new", "x=y", "y=z")
    assert pairs_of(one, other) == [("m", "m"), ("n", "n"), ("x=y", "x=y")]
    assert pairs_of(one, other, ["n"]) == [("n", "n")]
    assert pairs_of(one, other, ["old=new", "m=m", "m"]) == [("old", "new"), ("m", "m")]
    assert pairs_of(one, other, ["x=y=y=z"]) == [("x=y", "y=z")]
    assert pairs_of(run("c", "p"), run("d", "q")) == [("p", "q")]
    with pytest.raises(SettingError, match=r"No model has the same name.*has p, q, the later one r\. Say which became"):
        pairs_of(run("e", "p", "q"), run("f", "r"))
    with pytest.raises(SettingError, match="the later run has no model 'old'"):
        pairs_of(one, other, ["old"])
    with pytest.raises(SettingError, match=r"--model old=gone: the later run has no model 'gone'\. It has m, n, new"):
        pairs_of(one, other, ["old=gone"])
    with pytest.raises(SettingError, match="the earlier run has no model 'gone'"):
        pairs_of(one, other, ["gone=new"])


def test_runs_without_a_common_picture_are_refused(tmp_path: Path) -> None:
    runs = [open_run(run_folder(tmp_path / sha, [Seen("1.png", "m", "cat", sha=sha)])) for sha in "ab"]
    with pytest.raises(RecordError, match=r"no picture in common.*1 file has one name and other bytes"):
        drift(*runs)


def test_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    done, stopped = (run_of(tmp_path / one, "m", "c", status=one) for one in ("done", "stopped"))
    for pair in ((done, stopped), (stopped, done)):
        with pytest.raises(RecordError, match="stopped is stopped, and drift is between finished runs"):
            drift(*pair)


def test_a_group_has_at_least_one_picture(tmp_path: Path) -> None:
    run = run_of(tmp_path / "a", "m", "c")
    with pytest.raises(SettingError, match="the smallest cannot be 0"):
        drift(run, run, smallest=0)


# ---- files


def test_names_from_outside_are_text_on_the_page_and_in_cells(tmp_path: Path) -> None:
    name = "=1+1|<script>`x`.png"
    runs = [
        open_run(run_folder(tmp_path / one, [Said(name, f"{one}*m*", called, "cat", group={"<b>": "|*x*"}),
                                             Said("2.png", f"{one}*m*", "cat", "cat", group={"<b>": "y"})]))
        for one, called in (("a", "cat"), ("b", "dog"))
    ]  # fmt: skip
    found = drift(*runs)
    text = page(found)
    assert "<script>" not in text.replace("\\<", "")
    assert r"\|\<script\>\`x\`.png" in text
    assert r"a\*m\*" in text
    assert all(line.count("|") - line.count(r"\|") in (0, *range(3, 30)) for line in text.splitlines())
    written = files(found)
    assert written["flips.csv"].decode().splitlines()[1].split(",")[2].startswith("'=1+1")


def test_the_json_is_strict_and_holds_every_table(tmp_path: Path) -> None:
    found = two(tmp_path, "ccdd", "cdcd", "ccdd", maps=[RAMP] * 4)
    written = files([found])
    assert next(iter(written)) == "drift.md"
    said = json.loads(written["drift.json"], parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert set(written) == {"drift.md", "drift.json", *(f"{name}.csv" for name in said["tables"])}
    [models] = said["models"]
    assert (models["before"], models["after"], models["pictures"], models["same_weights"]) == ("old", "new", 4, False)
    assert models["sentences"] == sentences(found)
    assert (said["earlier"]["folder"], said["later"]["folder"]) == ("before", "after")
    flips = said["tables"]["flips"]
    assert len(flips["rows"]) == 2
    assert len(flips["words"]) == len(flips["rows"][0])


def test_several_models_are_told_apart(tmp_path: Path) -> None:
    says = {"a": {"m": "cat", "n": "dog"}, "b": {"m": "dog", "n": "fox"}}
    runs = [
        open_run(run_folder(tmp_path / name, [Said("1.png", model, called, "cat") for model, called in by.items()]))
        for name, by in says.items()
    ]
    found = drift(*runs)
    lines = tables(found)["flips"].lines()
    assert [(line["after"], line["old"], line["new"]) for line in lines] == [("m", "cat", "dog"), ("n", "dog", "fox")]
    assert "| Earlier model | Later model |" in page(found)
    assert "| Earlier model | Later model |" not in page(found[:1])
