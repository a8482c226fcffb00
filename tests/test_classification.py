"""Numbers over a set against scikit-learn, scipy, and counting by hand."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest, spearmanr
from sklearn import metrics
from sklearn.calibration import calibration_curve

from tests.run_folders import Said, run_folder
from xai_core.classification import (
    APART,
    BINS,
    NOT_DEFINED,
    Two,
    balanced_accuracy,
    calibration,
    confusion,
    maps_alike,
    numbers,
    numbers_of,
    of_maps,
    of_model,
    of_pair,
    pair,
    per_class,
    right_or_wrong,
    top_confusions,
)
from xai_core.runs import Placed, open_run
from xai_core.statistics import bootstrapped, mean_of, share_of

LABELS = ["ant", "bee", "cow", "doe"]


def drawn(n: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """True and predicted classes: right in about six of ten; nothing is a doe, and some are taken for one."""
    chance = np.random.default_rng(seed)
    true = chance.choice(LABELS[:3], n, p=[0.6, 0.3, 0.1])
    said = np.where(chance.random(n) < 0.5, true, chance.choice(LABELS, n))
    return true.tolist(), said.tolist()


# ---- against libraries


@pytest.mark.parametrize("seed", range(5))
def test_accuracy_is_scikit_learns_with_scipys_wilson_interval(seed: int) -> None:
    true, said = drawn(57, seed)
    found = numbers(true, said, np.full(57, 0.5), [1.0] * 57, LABELS)
    assert found.accuracy.mean == pytest.approx(metrics.accuracy_score(true, said))
    hits = round(57 * metrics.accuracy_score(true, said))
    interval = binomtest(hits, 57).proportion_ci(0.95, "wilson")
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx((interval.low, interval.high), abs=1e-9)
    assert (found.n, found.pictures, found.why) == (57, 57, "")


@pytest.mark.parametrize("hits", [0, 1, 9, 10])
def test_a_share_has_wilsons_interval_also_at_its_ends(hits: int) -> None:
    found, interval = share_of(np.arange(10) < hits), binomtest(hits, 10).proportion_ci(0.95, "wilson")
    assert (found.mean, found.n) == (hits / 10, 10)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_balanced_accuracy_is_scikit_learns(seed: int) -> None:
    true, said = drawn(80, seed)
    found = balanced_accuracy(true, np.array(true) == np.array(said))
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert found.mean == pytest.approx(metrics.balanced_accuracy_score(true, said))
    assert found.low is not None
    assert found.high is not None
    assert found.low < (found.mean or 0) < found.high


@pytest.mark.parametrize("seed", range(5))
def test_every_class_has_scikit_learns_precision_recall_and_f1(seed: int) -> None:
    true, said = drawn(60, seed)
    found = per_class(confusion(true, said, LABELS))
    assert [one.label for one in found] == LABELS
    for values, field in zip(
        metrics.precision_recall_fscore_support(true, said, labels=LABELS, zero_division=np.nan),
        ("precision", "recall", "f1", "support"),
        strict=True,
    ):
        for one, value in zip(found, values, strict=True):
            own = getattr(one, field)
            own = own.mean if field in ("precision", "recall") else own
            assert own is None if np.isnan(value) else own == pytest.approx(value), (one.label, field)


def test_a_confusion_matrix_is_scikit_learns_and_keeps_classes_that_nothing_is_of() -> None:
    true, said = drawn(60)
    found = confusion(true, said, LABELS)
    assert (found.rows, found.columns) == (("ant", "bee", "cow"), ("ant", "bee", "cow", "doe"))
    np.testing.assert_array_equal(found.counts, metrics.confusion_matrix(true, said, labels=LABELS)[:3])
    assert found.counts.sum() == 60
    assert sum(n for _, _, n in found.cells) == 60


def test_predicted_classes_that_nothing_is_of_stand_last() -> None:
    found = confusion(["cow", "bee"], ["ant", "cow"], LABELS)
    assert (found.rows, found.columns) == (("bee", "cow"), ("bee", "cow", "ant"))
    assert found.counts.tolist() == [[0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_the_reliability_curve_is_scikit_learns(strategy: str) -> None:
    chance = np.random.default_rng(3)
    confidence = np.round(chance.random(400) ** 0.5, 2)  # many equal ones, some on the edges of bins
    right = chance.random(400) < confidence**2
    found = calibration(confidence, right)
    shares, means = calibration_curve(right, confidence, n_bins=BINS, strategy=strategy)
    bins = found.equal_width if strategy == "uniform" else found.equal_count
    assert [one.right.mean for one in bins] == pytest.approx(shares)
    assert [one.confidence for one in bins] == pytest.approx(means)
    assert sum(one.n for one in bins) == 400


def test_mcnemars_exact_test_is_scipys_binomial_test() -> None:
    true = ["ant"] * 30
    one = ["ant"] * 12 + ["bee"] * 3 + ["ant"] * 10 + ["cow"] * 5
    other = ["bee"] * 12 + ["ant"] * 3 + ["ant"] * 10 + ["cow"] * 5
    found = pair(("one", "other"), true, one, other)
    assert (found.both, found.only_first, found.only_second, found.neither) == (10, 12, 3, 5)
    assert found.p == pytest.approx(binomtest(12, 15).pvalue)
    assert found.p == pytest.approx(2 * sum(math.comb(15, k) for k in range(4)) / 2**15)
    assert found.agreement.mean == 0.5
    assert found.n == found.agreement.n == 30


# ---- by hand


def test_six_pictures_by_hand() -> None:
    found = numbers(
        ["ant", "ant", "ant", "bee", "bee", None],
        ["ant", "bee", "bee", "bee", "doe", "ant"],
        [0.9, 0.6, 0.8, 0.7, 0.5, 1.0],
        [math.log(2), math.log(4), math.log(4), math.log(2), math.log(8), None],
        LABELS,
    )
    assert (found.pictures, found.n) == (6, 5)
    assert found.accuracy.mean == 0.4
    assert found.balanced_accuracy.mean == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert found.loss.mean == pytest.approx(math.log(2) * 9 / 5)
    assert found.confusion.counts.tolist() == [[1, 2, 0], [0, 1, 1]]
    assert found.confusion.columns == ("ant", "bee", "doe")
    ant, bee, doe = found.classes
    assert (ant.precision.mean, ant.recall.mean, ant.f1, ant.support) == (1.0, pytest.approx(1 / 3), 0.5, 3)
    assert (bee.precision.mean, bee.recall.mean, bee.f1) == (pytest.approx(1 / 3), 0.5, pytest.approx(0.4))
    assert (doe.precision.mean, doe.recall.mean, doe.f1, doe.support, doe.predicted) == (0.0, None, 0.0, 0, 1)
    assert doe.recall.note == "no picture is of it"
    assert [(one.true, one.predicted, one.n) for one in found.confusions] == [("ant", "bee", 2), ("bee", "doe", 1)]
    assert found.confusions[0].share == pytest.approx(2 / 3)


def test_the_expected_calibration_error_by_hand() -> None:
    """Two bins of width 1/15: 0.9 and 0.92 in one, of which one is right; 0.5 in another, right."""
    found = calibration(np.array([0.9, 0.92, 0.5]), np.array([True, False, True]))
    assert found.error.mean == pytest.approx(2 / 3 * abs(0.5 - 0.91) + 1 / 3 * abs(1 - 0.5))
    assert found.error.low is None
    assert "too few" in found.error.note


def test_a_confidence_on_an_edge_is_of_the_lower_bin() -> None:
    found = calibration(np.array([0.2, 1 / 3, 1.0, 0.0]), np.array([True] * 4), bins=3)
    assert [(one.n, one.confidence) for one in found.equal_width] == [(3, pytest.approx(0.8 / 4.5)), (1, 1.0)]
    assert (found.equal_width[0].low, found.equal_width[1].high) == (0.0, 1.0)
    apart = calibration(np.array([0.5, 0.9]), np.array([True, False]), bins=2)
    assert apart.error.mean == pytest.approx((0.5 + 0.9) / 2)


def test_the_interval_of_a_calibration_error_allows_for_what_few_pictures_add() -> None:
    """Of a calibrated model the error is never 0 on 200 pictures; its interval holds the 0 that is true."""
    chance, held = np.random.default_rng(0), 0
    for seed in range(12):
        confidence = 0.5 + chance.random(200) / 2
        found = calibration(confidence, chance.random(200) < confidence, seed)
        assert found.error.mean is not None
        assert found.error.low is not None
        assert found.error.high is not None
        held += found.error.low == 0
        assert 0 < found.by_chance < 0.15
        assert found.error.mean == pytest.approx(found.by_chance, abs=0.06)
    assert held >= 11


def test_the_interval_of_a_calibration_error_holds_one_that_is_large() -> None:
    """Sure to 0.9 and right in 0.6: the error is 0.3."""
    chance, held = np.random.default_rng(1), 0
    for seed in range(8):
        found = calibration(np.full(300, 0.9), chance.random(300) < 0.6, seed)
        assert found.error.low is not None
        assert found.error.high is not None
        held += found.error.low <= 0.3 <= found.error.high
    assert held >= 7


def test_a_bootstrap_keeps_every_class_and_its_size() -> None:
    """One measure counts each class in every draw."""
    strata, seen = np.array([2, 0, 2, 1, 2, 0, 2]), set()

    def measure(picked: np.ndarray) -> float:
        seen.add(tuple(np.bincount(strata[picked])))
        return float(picked.mean())

    found = bootstrapped(measure, strata)
    assert seen == {(2, 1, 4)}
    assert found.low is not None
    assert found.high is not None
    assert found.low < 3 < found.high


def test_a_bootstrap_of_one_class_is_that_of_the_mean() -> None:
    x = np.random.default_rng(5).normal(size=80)
    ours, theirs = bootstrapped(lambda picked: float(x[picked].mean()), np.zeros(80)), mean_of(x)
    assert ours.mean == theirs.mean
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_a_measure_that_few_pictures_make_too_large_has_its_interval_mirrored() -> None:
    x = np.random.default_rng(5).exponential(size=80)
    plain = bootstrapped(lambda picked: float(x[picked].mean()), np.zeros(80), 1)
    biased = bootstrapped(lambda picked: float(x[picked].mean()), np.zeros(80), 1, biased=True)
    assert None not in (plain.mean, plain.low, plain.high)
    assert (biased.low, biased.high) == pytest.approx((2 * plain.mean - plain.high, 2 * plain.mean - plain.low))  # type: ignore[operator]
    assert (biased.low, biased.high) != pytest.approx((plain.low, plain.high), abs=1e-3)


def test_many_pictures_are_drawn_in_pieces_and_as_they_would_be_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(5).normal(size=80)
    at_once = mean_of(x, 3)
    monkeypatch.setattr("xai_core.statistics.DRAWN_AT_ONCE", 700)
    assert mean_of(x, 3) == at_once


def test_a_measure_that_never_moves_has_no_interval() -> None:
    found = balanced_accuracy(["ant", "bee"] * 4, np.ones(8, bool))
    assert (found.mean, found.low, found.high) == (1.0, None, None)
    assert found.note == "every draw of pictures gives the same, so they show no interval"


def test_the_order_of_pictures_changes_nothing_but_the_draws() -> None:
    true, said = drawn(40)
    sure, loss = np.linspace(0.3, 1, 40), np.linspace(0.1, 2, 40).tolist()
    one = numbers(true, said, sure, loss, LABELS).to_dict()
    other = numbers(true[::-1], said[::-1], sure[::-1], loss[::-1], LABELS).to_dict()
    for key in ("accuracy", "classes", "confusion", "confusions"):
        assert one[key] == other[key]
    for ours, theirs in zip(one["calibration"]["equal_count"], other["calibration"]["equal_count"], strict=True):
        assert (ours["n"], ours["right"]) == (theirs["n"], theirs["right"])
    assert one["calibration"]["error"]["mean"] == pytest.approx(other["calibration"]["error"]["mean"])


def test_ties_among_confusions_go_to_what_takes_more_of_its_class() -> None:
    table = confusion(["ant"] * 9 + ["bee"] * 2, ["ant"] * 8 + ["bee", "ant", "bee"], LABELS)
    assert [(one.true, one.share) for one in top_confusions(table)] == [("bee", 0.5), ("ant", pytest.approx(1 / 9))]
    assert len(top_confusions(table, most=1)) == 1


def test_a_loss_without_end_is_no_number() -> None:
    found = numbers(["ant", "bee"], ["ant", "ant"], [1.0, 1.0], [0.0, math.inf], LABELS)
    assert found.loss.mean is None
    assert "probability of 0 on 1" in found.loss.note
    json.dumps(found.to_dict(), allow_nan=False)


def test_pictures_of_classes_that_the_model_lacks_are_left_out_and_counted() -> None:
    """Two of four are elks: the numbers are those of the other two alone."""
    found = numbers(["ant", "elk", "elk", "bee"], ["ant"] * 4, [0.9] * 4, [0.1, None, None, 2.0], LABELS)
    alone = numbers(["ant", "bee"], ["ant"] * 2, [0.9] * 2, [0.1, 2.0], LABELS)
    assert found.notes == ("2 pictures are of classes that the model lacks and are left out",)
    assert (found.pictures, found.n, found.accuracy.mean, found.balanced_accuracy.mean) == (4, 2, 0.5, 0.5)
    ours, theirs = found.to_dict(), alone.to_dict()
    assert {key for key in ours if ours[key] != theirs[key]} == {"pictures", "notes"}
    lone = numbers(["ant", "elk"], ["ant", "ant"], [0.9, 0.9], [0.1, None], LABELS)
    assert lone.notes == ("1 picture is of a class that the model lacks and is left out",)


def test_where_the_model_has_no_class_of_any_picture_nothing_is_defined() -> None:
    found = numbers(["elk", None], ["ant", "ant"], [0.9, 0.9], [None, None], LABELS)
    assert (found.n, found.accuracy.mean, found.calibration) == (0, None, None)
    assert found.why.startswith("every labelled picture is of a class that the model lacks")


@pytest.mark.parametrize(
    ("label", "labels", "task", "right"),
    [
        ("ant", LABELS, "single label", True),
        ("bee", LABELS, "single label", False),
        ("elk", LABELS, "single label", None),
        (None, LABELS, "single label", None),
        ("ant", ["bee", "ant", "ant"], "single label", True),
        ("ant", LABELS, "multi label", None),
        ("ant", LABELS, "regression", None),
        ("elk", [], "single label", False),
    ],
)
def test_right_and_wrong_are_said_only_where_they_are_known(
    label: str | None, labels: list[str], task: str, right: bool | None
) -> None:
    assert right_or_wrong(label, "ant", labels, task) is right


@pytest.mark.parametrize("task", NOT_DEFINED)
def test_where_classes_do_not_exclude_one_another_there_is_a_reason_and_no_number(task: str) -> None:
    found = numbers(["ant"], ["ant"], [0.9], [0.1], LABELS, task)
    assert found.accuracy.mean is None
    assert found.why == found.accuracy.note == NOT_DEFINED[task]
    assert found.calibration is None
    assert found.classes == ()
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("true", [[], [None, None]])
def test_without_labels_nothing_can_be_right(true: list[None]) -> None:
    found = numbers(true, ["ant"] * len(true), [0.9] * len(true), [None] * len(true), LABELS)
    assert (found.n, found.accuracy.mean) == (0, None)
    assert "no picture has a label" in found.why


# ---- two models


def test_models_that_are_right_on_the_same_pictures_are_not_told_apart() -> None:
    found = pair(("a", "b"), ["ant", "bee", None], ["ant", "ant", "ant"], ["ant", "cow", "bee"])
    assert (found.both, found.neither, found.p, found.n) == (1, 1, None, 2)
    assert (found.agreement.mean, found.agreement.n) == (pytest.approx(1 / 3), 3)  # the unlabelled one counts here


def test_mcnemars_test_leaves_out_what_one_of_the_models_cannot_get_right() -> None:
    true = ["ant", "ant", "elk", "bee", "yak", "cow"]
    labels = ["ant", "bee", "cow"], ["ant", "bee", "elk"]
    found = pair(("a", "b"), true, ["ant"] * 6, ["ant", "bee", "elk", "bee", "bee", "bee"], labels)
    assert (found.n, found.both, found.only_first, found.only_second, found.neither) == (3, 1, 1, 1, 0)
    assert found.notes == ("3 pictures are of classes that one of the models lacks and are left out",)
    assert found.agreement.n == 6  # nobody need know the class for that
    none = pair(("a", "b"), ["elk"], ["ant"], ["elk"], (["ant"], ["ant", "elk"]))
    assert (none.n, none.p) == (0, None)
    assert none.why.startswith("every labelled picture is of a class that one of the models lacks")


def test_models_without_a_label_in_common_are_not_compared() -> None:
    found = pair(("a", "b"), ["ant"], ["ant"], ["elk"], (["ant"], ["elk"]))
    assert found.agreement.mean is None
    assert found.why == "the two have no label in common"


def at(values: np.ndarray, label: str = "ant", box: tuple[float, ...] | None = (0, 0, 8, 8)) -> Placed:
    return Placed(values.astype(np.float32), box, label)


def test_maps_are_compared_by_rank_and_by_their_heights() -> None:
    chance = np.random.default_rng(0)
    ones, others = chance.normal(size=(2, 6, 10, 10)).astype(np.float32)
    others += ones
    found = maps_alike(
        "grad_cam", (Two(str(i), at(a), at(b), True) for i, (a, b) in enumerate(zip(ones, others, strict=True)))
    )
    ranks = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(ones, others, strict=True)]
    assert found.correlation.mean == pytest.approx(np.mean(ranks))
    tops = [({*np.argsort(a, None)[-10:]}, {*np.argsort(b, None)[-10:]}) for a, b in zip(ones, others, strict=True)]
    assert found.overlap.mean == pytest.approx(np.mean([len(a & b) / len(a | b) for a, b in tops]))
    assert found.correlation.n == found.overlap.n == 6
    assert found.correlation.low is not None


def test_pictures_that_are_called_the_same_for_another_place_are_named() -> None:
    ramp = np.arange(64.0).reshape(8, 8)
    found = maps_alike(
        "grad_cam",
        [
            Two("same", at(ramp), at(ramp), True),
            Two("reversed", at(ramp), at(-ramp), True),
            Two("other label", at(ramp), at(-ramp), False),
        ],
    )
    assert found.apart == ("reversed",)
    assert found.correlation.mean == pytest.approx(-1 / 3)
    assert -1 < APART < 1


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (at(np.arange(64.0).reshape(8, 8), "bee"), "the maps speak for different classes"),
        (at(np.arange(64.0).reshape(8, 8), box=(0, 0, 7, 8)), "the models see different parts of the picture"),
        (at(np.arange(64.0).reshape(8, 8), box=None), "the models see different parts of the picture"),
        (at(np.arange(16.0).reshape(4, 4)), "the models see different parts of the picture"),
        (at(np.full((8, 8), 3.0)), "a map is flat"),
        (None, "a model has no map"),
    ],
)
def test_maps_that_cannot_be_held_against_each_other_are_left_out_and_counted(other: Placed | None, why: str) -> None:
    ramp = at(np.arange(64.0).reshape(8, 8))
    found = maps_alike("grad_cam", [Two("a", ramp, ramp, True), Two("b", ramp, other, True)])
    assert (found.correlation.mean, found.correlation.n) == (pytest.approx(1), 1)
    [(reason, count)] = found.left_out.items()
    assert reason.startswith(why)
    assert count == 1


# ---- a run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ramp = np.arange(64.0).reshape(8, 8)
    files = [f"{i}.png" for i in range(6)]
    said = [Said(file, "m", "cat", "cat" if i < 4 else "dog") for i, file in enumerate(files)]
    said += [Said(file, "n", "cat" if i < 3 else "dog", "cat" if i < 4 else "dog") for i, file in enumerate(files)]
    return run_folder(
        tmp_path / "run",
        said,
        scores=[(file, "m", "grad_cam", "border_share", i / 10 if i else None) for i, file in enumerate(files)],
        verdicts=[(file, "m", "grad_cam", "weak" if i else "no evidence") for i, file in enumerate(files)],
        maps={
            **{(file, "m"): ramp for file in files},
            **{(file, "n"): ramp if i else -ramp for i, file in enumerate(files)},
        },
    )


def test_the_numbers_of_a_run_are_those_of_its_tables_and_maps(folder: Path) -> None:
    found = numbers_of(open_run(folder))
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["models"]["m"]["accuracy"]["mean"] == pytest.approx(4 / 6)
    assert found["models"]["n"]["accuracy"]["mean"] == pytest.approx(5 / 6)
    assert found["models"]["m"]["confusion"]["cells"] == [["cat", "cat", 4], ["dog", "cat", 2]]
    [both] = found["pairs"]
    assert (both["both"], both["only_first"], both["only_second"], both["neither"]) == (3, 1, 2, 0)
    assert both["agreement"]["mean"] == 0.5
    [maps] = [one for one in both["maps"] if one["method"] == "grad_cam"]
    # Of 6 pictures 3 are called the same; the others' maps speak for different classes.
    assert maps["correlation"]["mean"] == pytest.approx(1 / 3)
    assert maps["apart"] == ["sha of 0.png"]
    assert maps["left_out"] == {"the maps speak for different classes": 3}
    assert "uniform" not in [one["method"] for one in both["maps"]]
    by_method = found["methods"]["m"]["grad_cam"]
    assert by_method["metrics"]["border_share"]["mean"] == pytest.approx(0.3)
    assert by_method["metrics"]["border_share"]["n"] == 5
    assert by_method["verdicts"] == {"weak": 5, "no evidence": 1}


def test_a_part_of_the_pictures_can_be_asked_alone(folder: Path) -> None:
    run = open_run(folder)
    rows = run.predictions[(run.predictions["model"] == "m") & (run.predictions["label"] == "dog")]
    assert of_model(run, "m", rows).accuracy.mean == 0


def test_maps_are_compared_by_every_method_that_knows_of_the_model(folder: Path) -> None:
    run = open_run(folder)
    assert [one.method for one in of_maps(run, "m", "n")] == ["grad_cam", "attention_rollout"]
    assert [one.method for one in of_maps(run, "m", "n", ["grad_cam", "uniform"])] == ["grad_cam"]


def test_outputs_that_are_no_classes_have_no_pair(tmp_path: Path) -> None:
    said = [Said("a.png", model, "cat", "cat") for model in ("m", "n")]
    run = open_run(run_folder(tmp_path / "run", said, task="multi label"))
    assert of_pair(run, "m", "n").agreement.mean is None
    assert "do not exclude" in of_pair(run, "m", "n").why
    json.dumps(numbers_of(run), allow_nan=False)
