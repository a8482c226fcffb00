"""Groups and buckets: networks whose answer is known are exposed, and what cannot be asked is said in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

import xai_core as xai
from tests.conftest import SIDE, png_of, wrapped
from xai_core.cases import read_cases
from xai_core.errors import PictureError, SettingError
from xai_core.finding_panels import panels
from xai_core.group_answers import p_words, signed
from xai_core.group_comparison import bins_for
from xai_core.grouping import grouping, rounded
from xai_core.images import Preprocessing
from xai_core.models import Model
from xai_core.probe_panels import Lines
from xai_core.probes import Part, Subject
from xai_core.probing import probe
from xai_core.records import Case, Finding, Image
from xai_core.regions import BORDER, EVIDENCE, QUADRANTS, regions_of

LEFT, TOP = {QUADRANTS[0], QUADRANTS[2]}, set(QUADRANTS[:2])
MAP = "input_x_gradient"  # of the networks below: what is bright, where they look


class Bright(nn.Module):
    """Class 0 where something bright lies in the columns that it reads, else class 1."""

    def __init__(self, columns: slice = slice(None), certainty: float = 1.0) -> None:
        super().__init__()
        seen = torch.zeros(1, 1, 1, SIDE)
        seen[..., columns] = 1
        self.register_buffer("seen", seen)
        self.certainty = certainty

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        bright = ((x - 1).clamp(min=0) * self.seen).flatten(1).sum(1)
        return self.certainty * torch.stack([bright - 50, 0 * bright, 0 * bright - 100], dim=1)


@pytest.fixture
def everywhere() -> Model:
    return wrapped(Bright())


@pytest.fixture
def left_only() -> Model:
    return wrapped(Bright(slice(0, SIDE // 2)))


def picture(chance: np.random.Generator, side: str = "", light: int = 250) -> Image:
    """Grey noise, and on that side of it, anywhere but at the border, a bright square of 6 pixels."""
    pixels = chance.integers(110, 146, (SIDE, SIDE, 3)).astype(np.uint8)
    if side:
        row = chance.integers(4, SIDE - 10)
        column = chance.integers(4, SIDE // 2 - 6)
        column = SIDE - 6 - column if side == "right" else column
        pixels[row : row + 6, column : column + 6] = light
    return Image(pixels, f"{chance.integers(2**62):064x}")


def subjects(rows: Iterable[tuple[str, str | None, dict[str, str]]], seed: int = 0) -> list[Subject]:
    """Of a side, a label and groups each."""
    chance = np.random.default_rng(seed)
    return [Subject(i, picture(chance, side), label, groups) for i, (side, label, groups) in enumerate(rows, 1)]


def two_sided(count: int = 24, label: str | None = "class 0") -> list[Subject]:
    return subjects((side, label, {"site": side}) for side in ("left", "right") * count)


def lines(found: Finding, table: str, **where: Any) -> list[dict[str, Any]]:
    return [line for line in found.tables[table].lines() if all(line[key] == value for key, value in where.items())]


def differing(found: Finding) -> set[str]:
    return {
        line["region"]
        for line in lines(found, "shifts")
        if line["p_adjusted"] is not None and line["p_adjusted"] <= 0.05
    }


# ---- networks whose answer is known ----------------------------------------------------------------------------------


def test_a_network_that_follows_the_object_looks_left_and_right_and_is_not_called_unfair(everywhere: Model) -> None:
    found = probe(everywhere, two_sided(), "groups", MAP, column="site", reference="left")
    assert differing(found) == set(QUADRANTS)
    assert sum(lines(found, "shifts", region=one)[0]["difference"] for one in LEFT) == pytest.approx(-100, abs=1)
    assert found.sentences[0].startswith("No difference found between the groups of site in error rate")
    assert any("by itself no sign that the model treats these groups differently" in one for one in found.sentences)
    assert not any("bias" in one.lower() for one in found.sentences)


def test_a_network_that_reads_the_left_half_only_errs_on_the_group_that_is_on_the_right(left_only: Model) -> None:
    found = probe(left_only, two_sided(), "groups", MAP, column="site", positive="class 0", reference="left")
    errors, hits, *_ = lines(found, "differences")
    assert (errors["rate"], errors["difference"], hits["rate"], hits["difference"]) == (
        *("error_rate", pytest.approx(100)),
        *("true_positive_rate", pytest.approx(-100)),
    )
    assert errors["p_adjusted"] < 0.01
    assert found.sentences[0].startswith("Error rate: 100.0 % for right (n = 24) against 0.0 % for left (n = 24)")
    assert (
        differing(found) == set()
    )  # nothing is seen of the right, so no map of it can be held against one of the left


def test_groups_at_random_are_not_found_to_differ_and_it_is_said_what_would_have_been(everywhere: Model) -> None:
    chance = np.random.default_rng(1)
    rows = [(side, "class 0", {"site": str(chance.choice(["a", "b"]))}) for side in ("left", "right") * 24]
    found = probe(everywhere, subjects(rows), "groups", MAP, column="site")
    assert differing(found) == set()
    assert all("No difference found" in one and "in 4 of 5 such sets" in one for one in found.sentences[:2])
    largest = max(line["detectable"] for line in lines(found, "shifts") if line["detectable"] is not None)
    assert f"a difference of {largest:.1f} points of the attribution or more" in found.sentences[1]


def test_matching_takes_away_what_only_the_certainty_explains() -> None:
    """The fainter the square the less sure is the network, and here the lower it lies, in whichever group it is."""
    chance = np.random.default_rng(2)
    given = []
    for number in range(1, 121):
        light = int(chance.integers(0, 3))
        pixels = chance.integers(110, 146, (SIDE, SIDE, 3)).astype(np.uint8)
        top = 4 if light == 2 or (light == 1 and chance.random() < 0.5) else SIDE - 10
        pixels[top : top + 6, 10:16] = 225 + 10 * light
        site = "a" if chance.random() < 0.15 + 0.35 * light else "b"
        given.append(Subject(number, Image(pixels, f"{number:064x}"), "class 0", {"site": site}))
    model = wrapped(Bright(certainty=0.02))
    plain = probe(model, given, "groups", MAP, column="site", matched=False)
    matched = probe(model, given, "groups", MAP, column="site", bins=3)
    assert differing(plain) == LEFT  # whose upper part gains what the lower loses
    assert differing(matched) == set()
    assert {line["matched"] for line in lines(matched, "shifts")} == {True}
    assert lines(matched, "shifts")[0]["effective_n"] < lines(plain, "shifts")[0]["effective_n"]


# ---- the tables ------------------------------------------------------------------------------------------------------


def mixed(seed: int = 3) -> list[Subject]:
    chance = np.random.default_rng(seed)
    rows = [
        (str(chance.choice(["", "left", "right"])), str(chance.choice(["class 0", "class 1"])), {"site": site})
        for site in chance.choice(["a", "b", "c"], 90, p=[0.6, 0.35, 0.05])
    ]
    return subjects(rows, seed)


def test_rates_are_those_of_fairlearn(left_only: Model) -> None:
    metrics = pytest.importorskip("fairlearn.metrics", reason="Fairlearn, an oracle, is not installed")
    given = mixed()
    found = probe(left_only, given, "groups", None, column="site", positive="class 0", smallest=5)
    rows = lines(found, "pictures")
    true, said = ([int(line[key] == "class 0") for line in rows] for key in ("label", "predicted"))
    theirs = metrics.MetricFrame(
        metrics={
            "error_rate": lambda y, p: float(np.mean(np.array(y) != np.array(p))),
            "true_positive_rate": metrics.true_positive_rate,
            "false_positive_rate": metrics.false_positive_rate,
            "selection_rate": metrics.selection_rate,
        },
        y_true=true,
        y_pred=said,
        sensitive_features=[line["group"] for line in rows],
    ).by_group
    for line in lines(found, "rates"):
        for rate in theirs.columns:
            assert line[rate] == pytest.approx(100 * theirs.loc[line["group"], rate]), (line["group"], rate)


def test_rates_by_hand(left_only: Model) -> None:
    rows = [*[("left", "class 0")] * 6, *[("right", "class 0")] * 2, *[("left", "class 1")] * 1, *[("", "class 1")] * 3]
    given = subjects([(side, label, {"site": site}) for site in "ab" for side, label in rows])
    found = probe(left_only, given, "groups", None, column="site", positive="class 0", smallest=5)
    line = lines(found, "rates", group="a")[0]
    rates = [line[key] for key in ("error_rate", "true_positive_rate", "false_positive_rate", "selection_rate")]
    assert rates == pytest.approx([100 * 3 / 12, 100 * 6 / 8, 100 * 1 / 4, 100 * 7 / 12])
    assert all("(%)" in found.tables["rates"].words[key] for key in ("error_rate", "mean_probability"))
    assert [line[f"n_{key}"] for key in ("error_rate", "true_positive_rate", "false_positive_rate")] == [12, 8, 4]
    fewer = lines(found, "differences", rate="false_positive_rate")[0]
    assert (fewer["p"], fewer["detectable"]) == (None, None)
    assert "fewer than 5" in fewer["note"]


def test_a_threshold_is_the_operating_point_of_the_positive_class() -> None:
    chance = np.random.default_rng(5)
    given = [
        Subject(i, picture(chance, "left", 195 + 10 * (i % 6)), "class 0", {"site": "ab"[i % 2]}) for i in range(1, 41)
    ]
    model = wrapped(Bright(certainty=0.1))
    found = {t: probe(model, given, "groups", None, column="site", positive="class 0", threshold=t) for t in (0.0, 0.9)}
    for threshold, one in found.items():
        prediction = [line["probability"] for line in lines(one, "pictures")]
        explained = [line["explained"] for line in lines(one, "pictures")]
        selected = [line["predicted"] == "class 0" for line in lines(one, "pictures")]
        if threshold:
            assert selected == [p >= 90 and c == "class 0" for p, c in zip(prediction, explained, strict=True)]
            assert 0 < sum(selected) < sum(line["predicted"] == "class 0" for line in lines(found[0.0], "pictures"))
        assert [line["right"] for line in lines(one, "pictures")] == selected
    assert "class 0 is predicted where its probability is 90 % or more;" in " ".join(found[0.9].sentences)


def test_small_groups_are_shown_and_not_tested(everywhere: Model) -> None:
    found = probe(everywhere, mixed(), "groups", MAP, column="site")
    small = lines(found, "rates", group="c")[0]
    assert small["small"]
    assert 0 < small["n"] < 10
    assert small["error_rate"] is not None
    assert all(line["p"] is None for name in ("differences", "shifts") for line in lines(found, name, group="c"))
    assert all(line["p"] is not None for one in QUADRANTS for line in lines(found, "shifts", group="b", region=one))
    assert any(one.startswith("Shown but not tested") and f"c ({small['n']})" in one for one in found.sentences)


@pytest.mark.parametrize("spec", [{"name": "groups", "column": "site"}, {"name": "expression_intensity"}])
def test_tables_hold_plain_values_and_the_same_seed_gives_the_same(spec: dict[str, str]) -> None:
    model = wrapped(Bright(certainty=0.02))
    one, again, other = (probe(model, mixed(), spec, MAP, seed=seed) for seed in (0, 0, 1))
    assert one.tables == again.tables
    assert one.sentences == again.sentences
    assert one.tables != other.tables
    kinds = {type(value) for table in one.tables.values() for row in table.rows for value in row}
    assert kinds <= {str, int, float, bool, type(None)}
    assert all(np.isfinite(v) for t in one.tables.values() for row in t.rows for v in row if isinstance(v, float))


def test_two_settings_of_a_method_are_told_apart_and_corrected_together(everywhere: Model) -> None:
    methods = [MAP, {"name": "integrated_gradients", "steps": 8}, {"name": "integrated_gradients", "steps": 9}]
    found = probe(everywhere, two_sided(8), "groups", methods, column="site", smallest=5)
    names = [MAP, "integrated_gradients (steps=8)", "integrated_gradients (steps=9)"]
    assert list(dict.fromkeys(line["method"] for line in lines(found, "shifts"))) == names
    shifts = lines(found, "shifts")
    assert len(shifts) == 15
    assert [line["region"] for line in shifts if line["p"] is None] == [BORDER] * 3  # nothing bright is ever there
    assert min(line["p_adjusted"] for line in shifts if line["p"]) == pytest.approx(
        12 * min(line["p"] for line in shifts if line["p"])
    )


# ---- what is said ----------------------------------------------------------------------------------------------------


def sited(**rows: list[tuple[str, str]]) -> list[Subject]:
    """Sides and labels of pictures by their site."""
    return subjects((side, label, {"site": site}) for site, some in rows.items() for side, label in some)


RIGHT, WRONG = ("left", "class 0"), ("", "class 0")  # of a network that looks everywhere


def test_a_rate_that_cannot_be_tested_is_said_with_the_group_and_its_number(everywhere: Model) -> None:
    given = sited(a=[RIGHT] * 14 + [("", "class 1")] * 12, b=[RIGHT] * 3 + [("", "class 1")] * 14, c=[RIGHT] * 12)
    sentences = probe(everywhere, given, "groups", None, column="site", positive="class 0", reference="a").sentences
    [said] = [one for one in sentences if one.startswith("Not tested")]
    assert said == (
        "Not tested: true positive rate of class 0 for b (3 pictures, fewer than 10) and false positive rate of class "
        "0 for c (one of the two groups has no picture with this number)."
    )
    [said] = [
        one
        for one in probe(everywhere, given, "groups", None, column="site", positive="class 2").sentences
        if one.startswith("Not tested")
    ]
    assert said == "Not tested: true positive rate of class 2 (no picture is labelled class 2)."


def test_what_is_found_of_one_group_does_not_hide_the_others(everywhere: Model) -> None:
    given = sited(a=[RIGHT] * 20 + [WRONG] * 2, b=[WRONG] * 20 + [RIGHT] * 2, c=[RIGHT] * 19 + [WRONG] * 3)
    found = probe(everywhere, given, "groups", None, column="site", reference="a")
    assert found.sentences[0].startswith("Error rate: 90.9 % for b (n = 22) against 9.1 % for a (n = 22)")
    assert "after Holm's correction over 2 rate × group tests." in found.sentences[0]
    detectable = lines(found, "differences", group="c")[0]["detectable"]
    assert found.sentences[1].startswith(
        "No difference found between the groups of site in error rate (c) (1 comparison"
    )
    assert f"a difference of {detectable:.1f} points or more" in found.sentences[1]


def test_regions_that_do_not_shift_are_summed_up_beside_those_that_do(everywhere: Model) -> None:
    chance = np.random.default_rng(4)
    given = []
    for number in range(1, 61):
        pixels = chance.integers(110, 146, (SIDE, SIDE, 3)).astype(np.uint8)
        row, column = (chance.integers(4, 10) + 16 * chance.integers(2, size=2)).tolist()
        row, site = (6, "a") if number % 2 else (row, "b")  # those of a lie above
        pixels[row : row + 6, column : column + 6] = 250
        pixels[28:, 28:] = chance.integers(146, 160)
        given.append(Subject(number, Image(pixels, f"{number:064x}"), "class 0", {"site": site}))
    found = probe(everywhere, given, "groups", MAP, column="site", reference="a", matched=False)
    told = " ".join(found.sentences)
    assert 0 < len(differing(found)) < 5
    rest = [one for one in lines(found, "shifts") if one["p_adjusted"] is not None and one["p_adjusted"] > 0.05]
    unclear = [one for one in rest if not one["difference_low"] <= 0 <= one["difference_high"]]
    limit = max(one["detectable"] for one in rest if one not in unclear)
    assert f"in where maps lie by the other {len(rest) - len(unclear)} of 5 tests" in told
    assert f"a difference of {limit:.1f} points of the attribution or more" in told
    assert "after Holm's correction over 5 region × method tests." in told
    assert "Maps by Input × gradient: " in told


def test_an_interval_beside_zero_is_told_where_the_correction_leaves_nothing_found(everywhere: Model) -> None:
    alike = [RIGHT] * 23 + [WRONG]
    given = sited(a=alike, b=[RIGHT] * 16 + [WRONG] * 8, c=alike, d=alike)
    found = probe(everywhere, given, "groups", None, column="site", reference="a")
    [line] = lines(found, "differences", group="b")
    p = 3 * stats.fisher_exact([[8, 16], [1, 23]]).pvalue
    assert line["p_adjusted"] == pytest.approx(p)
    assert 0.05 < p < 0.1
    assert line["difference_low"] > 0
    assert found.sentences[0].startswith("Error rate: 33.3 % for b (n = 24) against 4.2 % for a (n = 24)")
    assert f"not told from chance, p = {p:.2g} after Holm's correction over 3 rate × group tests" in found.sentences[0]
    assert f"{line['difference_low']:+.1f} to {line['difference_high']:+.1f}, excludes 0." in found.sentences[0]
    assert "in error rate (c, d) (2 comparisons with a)" in found.sentences[1]


def test_maps_that_are_all_the_same_are_not_called_too_few(everywhere: Model) -> None:
    given = subjects(("left", "class 0", {"site": "ab"[i % 2]}) for i in range(24))
    for one in given:
        one.image.pixels.setflags(write=True)
        one.image.pixels[:] = given[0].image.pixels
    sentences = probe(everywhere, given, "groups", MAP, column="site").sentences
    assert "Nothing could be compared of where maps lie: every picture has the same." in sentences
    assert not any("too few" in one for one in sentences)


def test_words_are_those_of_a_reader(everywhere: Model) -> None:
    found = probe(everywhere, mixed(), "groups", [MAP], column="site", positive="class 0")
    assert found.tables["rates"].words["selection_rate"] == "Predicted class 0 (%)"
    assert found.tables["regions"].words["share"] == "Share of attribution (%)"
    assert not any(MAP in one or "selection" in one.lower() for one in found.sentences)
    [families] = [one for one in found.sentences if one.startswith("p-values are corrected")]
    assert "over 4 rate tests and, apart from these, over 4 region × method tests." in families
    assert "nor is a probe for others that are asked before or after it" in families


@pytest.mark.parametrize(
    ("p", "words"),
    [
        *((0.054, "p = 0.054"), (0.0504, "p = 0.0504"), (0.0496, "p = 0.0496"), (0.05, "p = 0.05")),
        *((0.00001, "p < 0.0001"), (0.2345, "p = 0.23"), (1.0, "p = 1")),
    ],
)
def test_a_p_beside_the_level_is_not_rounded_onto_it(p: float, words: str) -> None:
    assert p_words(p) == words


# ---- labels that do not exclude one another --------------------------------------------------------------------------


@pytest.mark.parametrize("threshold", [0.0, 0.7])
def test_a_positive_class_has_errors_where_labels_do_not_exclude_one_another(threshold: float) -> None:
    model = xai.wrap_model(
        Bright(certainty=0.05), labels=["class 0", "class 1", "class 2"], input_size=(3, SIDE, SIDE),
        mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), name="several", device="cpu", task="multi label",
    )  # fmt: skip
    chance = np.random.default_rng(6)
    given = [
        Subject(i, picture(chance, "left", 200 + i), ("class 0", "healthy")[i % 3 == 0], {"site": "ab"[i % 2]})
        for i in range(1, 49)
    ]
    found = probe(model, given, "groups", None, column="site", positive="class 0", threshold=threshold, smallest=5)
    probabilities = [xai.predict(model, one.image).probabilities[0] for one in given]
    chosen = np.array(probabilities) >= (threshold or 0.5)
    true, group = np.array([one.label == "class 0" for one in given]), np.array([one.groups["site"] for one in given])
    assert 5 < chosen.sum() < 43
    for line in lines(found, "rates"):
        own = group == line["group"]
        assert line["error_rate"] == pytest.approx(100 * np.mean(chosen[own] != true[own]))
        assert line["true_positive_rate"] == pytest.approx(100 * np.mean(chosen[own & true]))
        assert line["false_positive_rate"] == pytest.approx(100 * np.mean(chosen[own & ~true]))
    assert f"where its probability is {100 * (threshold or 0.5):g} % or more" in " ".join(found.sentences)
    without = probe(model, given, "groups", None, column="site").sentences
    assert any("Name a positive class to compare errors about it" in one for one in without)


# ---- matching --------------------------------------------------------------------------------------------------------


def test_what_matching_leaves_and_loses_is_counted_on_both_sides() -> None:
    """The brighter the surer: the upper half of probabilities is of b alone."""
    lights = {"a": [234] * 10 + [238] * 2, "b": [234] * 2 + [238] * 10 + [250] * 12}
    chance = np.random.default_rng(9)
    rows = [(site, light) for site, some in lights.items() for light in some]
    given = [
        Subject(i, picture(chance, "left", light), "class 0", {"site": site}) for i, (site, light) in enumerate(rows, 1)
    ]
    found = probe(
        wrapped(Bright(certainty=0.01)), given, "groups", MAP, column="site", reference="b", bins=2, smallest=5
    )
    p, group = (np.array([line[key] for line in lines(found, "pictures")]) for key in ("probability", "group"))
    assert len({line["explained"] for line in lines(found, "pictures")}) == 1
    upper = p > np.median(p)
    assert not (upper & (group == "a")).all()
    kept = [(upper == half) for half in (False, True) if len(set(group[upper == half])) == 2]
    lost = {one: sum((group == one) & ~np.any(kept, axis=0)) for one in "ab"}
    apart = [(p[some & (group == "a")].mean() - p[some & (group == "b")].mean()) for some in kept]
    size = [np.prod(n := [(some & (group == one)).sum() for one in "ab"]) / sum(n) for some in kept]
    left, before = np.average(apart, weights=size), p[group == "a"].mean() - p[group == "b"].mean()
    assert lost["b"] > 5
    assert abs(left) < abs(before)
    assert all(line["probability_left"] == pytest.approx(left) for line in lines(found, "shifts"))
    [said] = [one for one in found.sentences if "bins of like probability," in one and one.startswith("Maps of")]
    assert said.endswith(
        f"a {signed(left, 1)} points ({signed(before, 1)} before), and {lost['a']} of its 12 pictures and {lost['b']} "
        "of the 24 of b without a counterpart."
    )
    assert "within 2 bins" in said
    assert "as many as suit" not in said


def test_bins_grow_with_the_pictures_unless_they_are_set(everywhere: Model) -> None:
    assert [bins_for(n) for n in (10, 50, 200, 1000, 4000, 10**6)] == [5, 5, 8, 14, 20, 20]
    sentences = probe(everywhere, two_sided(), "groups", MAP, column="site").sentences
    assert any("within 5 bins of like probability, as many as suit the number of pictures" in one for one in sentences)


# ---- end to end, from a folder ---------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """A set of the given rows of columns, with a picture each whose square is left or right by turns."""

    def write(header: str, rows: list[str]) -> Path:
        chance = np.random.default_rng(7)
        for number in range(len(rows)):
            pixels = picture(chance, ("left", "right")[number % 2]).pixels
            (tmp_path / f"{number}.png").write_bytes(png_of(pixels))
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[:, : SIDE // 2] = 255
        (tmp_path / "mask.png").write_bytes(png_of(mask))
        named = [f"{number}.png,{row}" for number, row in enumerate(rows)]
        (tmp_path / "labels.csv").write_text("\n".join([f"file,{header}", *named]) + "\n", encoding="utf-8")
        return tmp_path

    return write


def test_a_set_without_labels_is_compared_in_decisions(everywhere: Model, folder: Callable[..., Path]) -> None:
    cases = read_cases(folder("site", ["a", "b"] * 12))
    found = probe(everywhere, cases, "groups", MAP, column="site", smallest=5)
    assert [line["rate"] for line in lines(found, "differences")] == ["selection_rate"]
    assert any("No picture has a label" in one for one in found.sentences)
    assert "error_rate" not in found.tables["rates"].words


def test_missing_values_are_left_out_and_counted(everywhere: Model, folder: Callable[..., Path]) -> None:
    cases = read_cases(folder("label,site", [*["class 0,a", "class 0,b"] * 10, "class 0,", "class 0, "]))
    found = probe(everywhere, cases, "groups", MAP, column="site", smallest=5)
    assert sum(line["n"] for line in lines(found, "rates")) == 20
    assert "2 of 22 pictures have no value under site (empty 2): they are left out." in found.sentences
    assert len(found.pictures) == 20
    assert [one for one in found.left_out if "no value under site" in one] == list(found.left_out)
    assert len(found.left_out) == 2


@pytest.mark.parametrize("text", ["NA", "n/a", "NaN", "null", "Unknown", "?", "-", "", " "])
def test_a_word_for_nothing_is_no_group_and_no_reference(everywhere: Model, text: str) -> None:
    given = subjects(("left", "class 0", {"site": site}) for site in [*"ab" * 6, *[text] * 14])
    found = probe(everywhere, given, "groups", None, column="site", smallest=5)
    assert [(line["group"], line["n"]) for line in lines(found, "rates")] == [("a", 6), ("b", 6)]
    shown = f"{text!r} 14" if text.strip() else "empty 14"
    assert f"14 of 26 pictures have no value under site ({shown}): they are left out." in found.sentences
    assert len(found.left_out) == 14
    assert all(repr(text) in one for one in found.left_out) or not text.strip()


def test_a_word_for_nothing_leaves_numbers_numbers(everywhere: Model) -> None:
    ages = [*map(str, range(20, 60)), "unknown", "N/A"]
    found = grouping([Case("", bytes, groups={"age": age}) for age in ages], "age", "tens")
    assert found.groups == ("under 30", "30 to under 40", "40 to under 50", "50 and over")
    assert len(grouping([Case("", bytes, groups={"age": age}) for age in ages], "age", "").groups) == 4
    given = [*fading(), Subject(49, picture(np.random.default_rng(0)), "class 0", {"intensity": "NA"})]
    along = probe(wrapped(Bright(certainty=0.02)), given, "expression_intensity", None, column="intensity")
    assert {line["n"] for line in lines(along, "trends")} == {48}
    assert "1 of 49 pictures have no value under intensity ('NA' 1): they are left out." in along.sentences


def test_ways_to_write_a_value_are_one_group_as_most_often_written(everywhere: Model) -> None:
    sexes = [*["Male"] * 5, *["male"] * 3, "MALE", *["female"] * 6]
    given = subjects(("left", "class 0", {"sex": sex}) for sex in sexes)
    found = probe(everywhere, given, "groups", None, column="sex", smallest=5, reference="MALE")
    assert [(line["group"], line["n"]) for line in lines(found, "rates")] == [("Male", 9), ("female", 6)]
    assert {line["reference"] for line in lines(found, "differences")} == {"Male"}
    assert "Ways to write one value of sex count as one group: Male (male, MALE)." in found.sentences
    assert banded(["1", "1.0", "2"]) == ("1", "2")


def test_long_names_that_begin_alike_stay_apart(everywhere: Model) -> None:
    begins = "Department of Radiology and Nuclear Medicine of the University Hospital "
    sites = [f"{begins}{ward}" for ward in ("ward north", "ward south", f"{'x' * 20} ward north")]
    given = subjects(("left", "class 0", {"site": site}) for site in sites * 6)
    found = probe(everywhere, given, "groups", None, column="site", smallest=5, reference=sites[1])
    names = [line["group"] for line in lines(found, "rates")]
    assert len(set(names)) == 3
    assert max(map(len, names)) <= 40
    assert [line["n"] for line in lines(found, "rates")] == [6, 6, 6]
    assert {line["reference"] for line in lines(found, "differences")} == {"Department of Radiol…l ward south"}
    assert "3 groups of site with long names: the middle of the name is not shown." in found.sentences


def test_labels_that_the_model_lacks_count_in_no_error(everywhere: Model, folder: Callable[..., Path]) -> None:
    cases = read_cases(folder("label,site", [*["class 0,a", "class 0,b"] * 8, *["horse,a"] * 4]))
    found = probe(everywhere, cases, "groups", None, column="site", smallest=5)
    line = lines(found, "rates", group="a")[0]
    assert (line["n"], line["n_error_rate"], line["error_rate"]) == (12, 8, 0.0)
    assert any(
        one.startswith("4 of 20 pictures have no label that the model could be right") for one in found.sentences
    )


def test_marked_evidence_is_a_region(everywhere: Model, folder: Callable[..., Path]) -> None:
    cases = read_cases(folder("label,site,mask", ["class 0,left,mask.png", "class 0,right,mask.png"] * 8))
    found = probe(everywhere, cases, "groups", MAP, column="site", smallest=5)
    *half, evidence = (lines(found, "regions", group="left", region=name)[0] for name in (*LEFT, EVIDENCE))
    assert evidence["share"] == pytest.approx(sum(one["share"] for one in half)) == pytest.approx(100, abs=1)
    assert [one["null"] for one in (*half, evidence)] == [25, 25, 50]


# ---- bad input -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "Name the column .* There are site, one, age, words."),
        ({"column": "sex"}, "The set has no column 'sex'. There are site, one, age, words."),
        ({"column": "one"}, "The column one has one value for all pictures, 'x'"),
        ({"column": "words"}, r"Too few pictures by words: .* need 10 or more each, and there are w0 \(1\)"),
        ({"column": "site", "smallest": 13}, r"Too few pictures by site: .* there are a \(12\), b \(12\)"),
        ({"column": "site", "reference": "z"}, "site has no group 'z'. It has a, b."),
        ({"column": "site", "positive": "horse"}, "The model has no class 'horse'. Its classes are class 0, class 1"),
        ({"column": "site", "threshold": 0.5}, "Name the positive class too"),
        ({"column": "site", "bands": "tens"}, "site cannot be cut into bands: 'a' is no number"),
        ({"column": "age", "bands": "40, 20"}, "Bands '40, 20' are not understood"),
    ],
)
def test_what_groups_cannot_be_asked_is_one_sentence(
    everywhere: Model, settings: dict[str, Any], sentence: str
) -> None:
    rows = (("left", None, {"site": "ab"[i % 2], "one": "x", "age": str(20 + i), "words": f"w{i}"}) for i in range(24))
    with pytest.raises(SettingError, match=sentence) as raised:
        probe(everywhere, subjects(rows), "groups", MAP, **settings)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["groups", "expression_intensity"])
def test_a_single_picture_is_no_set(everywhere: Model, name: str) -> None:
    with pytest.raises(SettingError, match="needs 10 or more, and was given 1"):
        probe(everywhere, two_sided()[0], name, MAP)


def test_pictures_without_any_column_are_told_apart_from_a_wrong_name(everywhere: Model) -> None:
    with pytest.raises(SettingError, match="No picture says which group it belongs to"):
        probe(everywhere, subjects([("left", None, {})] * 12), "groups", MAP, column="site")


def test_an_empty_column_is_said(everywhere: Model) -> None:
    with pytest.raises(SettingError, match="The column site is empty or unknown for every picture"):
        probe(everywhere, subjects([("left", None, {"site": " "})] * 12), "groups", MAP, column="site")


# ---- bands -----------------------------------------------------------------------------------------------------------


def banded(values: Iterable[object], bands: str = "") -> tuple[str, ...]:
    found = grouping([Case("", bytes, groups={"age": str(value)}) for value in values], "age", bands)
    assert all(found.group_of[str(value)] in found.groups for value in values)
    return found.groups


def test_many_numbers_are_cut_into_quarters_of_as_many_pictures_and_few_stay() -> None:
    assert banded([1, 2, 10, 9]) == ("1", "2", "9", "10")
    found = grouping([Case("", bytes, groups={"age": str(value)}) for value in range(100)], "age", "")
    sizes = [sum(found.group_of[str(value)] == group for value in range(100)) for group in found.groups]
    assert len(sizes) == 4
    assert max(sizes) - min(sizes) <= 2
    assert found.said
    assert len(banded(range(12), "none")) == 12


def test_quarters_have_names_with_few_digits_and_say_where_they_are_cut() -> None:
    numbers = [0.123456789012 + 1.000000000101 * value for value in range(100)]
    found = grouping([Case("", bytes, groups={"age": str(value)}) for value in numbers], "age", "")
    assert found.groups == ("under 24", "24 to under 49", "49 to under 74", "74 and over")
    assert found.said == (
        "age is cut into quarters: under 24, 24 to under 49, 49 to under 74, 74 and over. "
        "These borders are rounded: pictures are cut at 24.1234568, 49.1234568, 74.1234568.",
    )
    assert [found.group_of[str(value)] for value in numbers[23:25]] == ["under 24", "24 to under 49"]


def test_a_minus_is_a_minus_sign() -> None:
    assert [signed(value, 1) for value in (-3.14, 0.0, 3.16)] == ["\u22123.1", "+0.0", "+3.2"]


def test_bands_begin_where_they_are_told_to() -> None:
    assert banded([3, 17, 18, 40, 64.5], "18, 40") == ("under 18", "18 to under 40", "40 and over")
    found = grouping([Case("", bytes, groups={"age": value}) for value in ("17", "18", "39.9", "40")], "age", "18,40")
    assert [found.group_of[value] for value in ("17", "18", "39.9", "40")] == [
        "under 18",
        *["18 to under 40"] * 2,
        "40 and over",
    ]
    assert banded([3, 17, 18, 31], "tens") == ("under 10", "10 to under 20", "30 and over")


# ---- regions ---------------------------------------------------------------------------------------------------------


def test_regions_lie_where_the_model_sees_them() -> None:
    """A view of the middle half of the width: what is marked from the left edge to the middle is its left half."""
    mask = np.zeros((32, 64), bool)
    mask[:, :32] = True
    subject = Subject(1, Image(np.zeros((32, 64, 3), np.uint8), ""), mask=mask, parts={"mouth": mask[:, ::-1]})
    found = regions_of(subject, Preprocessing((3, 32, 32), interpolation="nearest"))
    assert list(found) == [*QUADRANTS, BORDER, EVIDENCE, "mouth"]
    left, top = (np.any([found[one] for one in some], axis=0) for some in (LEFT, TOP))
    assert (found[EVIDENCE] == left).all()
    assert (found["mouth"] == ~left).all()
    assert top[:16].all()
    assert not top[16:].any()
    assert found[BORDER].mean() == pytest.approx(1 - (26 / 32) ** 2)


@pytest.mark.parametrize("covered", [True, False])
def test_a_mask_of_all_or_nothing_is_no_region(covered: bool) -> None:
    subject = Subject(1, Image(np.zeros((32, 32, 3), np.uint8), ""), mask=np.full((32, 32), covered))
    assert EVIDENCE not in regions_of(subject, Preprocessing((3, 32, 32)))


def test_parts_of_a_face_are_regions_where_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def part_of(subject: Subject, name: str) -> Part:
        if name != "eyes":
            raise PictureError("No face was found.")
        mask = np.zeros((32, 32), bool)
        mask[8:12] = True
        return Part(mask, (0, 8, 32, 12), "found")

    monkeypatch.setattr("xai_core.parts.part_of", part_of)
    subject = Subject(1, Image(np.zeros((32, 32, 3), np.uint8), ""))
    assert list(regions_of(subject, Preprocessing((3, 32, 32)), find_faces=True)) == [*QUADRANTS, BORDER, "eyes"]
    assert list(regions_of(subject, Preprocessing((3, 32, 32)))) == [*QUADRANTS, BORDER]


# ---- expression intensity --------------------------------------------------------------------------------------------


def fading(count: int = 48, label: str | None = "class 0") -> list[Subject]:
    """The more intense, the brighter the square, which is too dark for the network in the lower half of intensities."""
    chance = np.random.default_rng(8)
    return [
        Subject(i + 1, picture(chance, "left", 196 + i), label, {"intensity": str(i), "site": "a", "note": f"n{i}"})
        for i in range(count)
    ]


def test_errors_that_fall_with_intensity_are_found_with_their_rank_correlation() -> None:
    found = probe(wrapped(Bright(certainty=0.02)), fading(), "expression_intensity", MAP, column="intensity")
    wrong = [not line["right"] for line in lines(found, "pictures")]
    assert 5 < sum(wrong) < 43
    trend = lines(found, "trends", measure="error_rate")[0]
    assert trend["correlation"] == pytest.approx(stats.spearmanr(range(48), wrong).statistic)
    assert trend["p_adjusted"] < 0.01
    rates = [line["error_rate"] for line in lines(found, "rates")]
    assert rates == sorted(rates, reverse=True)
    assert len(rates) == 4
    assert found.sentences[0].startswith(("Error rate falls with intensity", "Probability of the explained class"))
    assert {line["region"] for line in lines(found, "trends") if line["method"]} == {*QUADRANTS, BORDER}


def test_without_a_column_pictures_are_ordered_by_the_models_own_probability() -> None:
    found = probe(wrapped(Bright(certainty=0.02)), fading(label=None), "expression_intensity", MAP, buckets=2)
    probabilities = {
        g: [r["probability"] for r in lines(found, "pictures", group=g)]
        for g in (line["group"] for line in lines(found, "rates"))
    }
    low, high = probabilities.values()
    assert max(low) < min(high)
    assert abs(len(low) - len(high)) <= 2
    assert not [line for line in lines(found, "trends") if not line["method"]]
    assert any("the model's own probability" in one for one in found.sentences)


@pytest.mark.parametrize(
    ("edges", "ends", "shown"),
    [
        ([51.039, 61.71, 70.2], (0, 100), [51, 62, 70]),
        ([51.039, 51.43, 70.2], (0, 100), [51, 51.4, 70]),
        ([51.04, 51.43, 70.2], (0, 100), [51.04, 51.4, 70]),  # 51.0 is off by more than a tenth of the way
        ([99.6], (0, 100), [99.6]),  # never 100, which it is not
        ([50.4, 99.9996, 99.99972], (0, 100), [50, 99.9996, 99.99972]),
        ([0.0004, 100.0], (0, 100), [0.0004, 100]),
        ([18, 40, 65], (3, 90), [18, 40, 65]),
        ([0.25, 0.5], (0, 1), [0.25, 0.5]),
        ([1200000.25, 1300000.5], (1, 2000000), [1200000, 1300000]),  # whole numbers keep all of their digits
        ([-61.71, -51.039], (-70, -51.039), [-62, -51]),
    ],
)
def test_borders_of_buckets_have_as_few_digits_as_tell_them_apart(
    edges: list[float], ends: tuple[float, float], shown: list[float]
) -> None:
    assert rounded(edges, ends) == shown


class Sure(nn.Module):
    """The brighter a picture, the more probable class 0: from 95 % for black to all but 100 % for white."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        odds = 9 + 3 * x.mean(dim=(1, 2, 3))
        return torch.stack([odds, torch.zeros_like(odds)], dim=1)


def test_buckets_bear_one_name_in_tables_sentences_and_figures_and_are_cut_exactly() -> None:
    grey = [Image(np.full((SIDE, SIDE, 3), level, np.uint8), f"{level:064x}") for level in range(0, 256, 5)]
    given = [Subject(number, one, "class 0") for number, one in enumerate(grey, 1)]
    found = probe(wrapped(Sure(), classes=2), given, "expression_intensity", None)
    values: dict[str, list[float]] = {}
    for line in lines(found, "pictures"):
        values.setdefault(line["group"], []).append(line["probability"])
    sizes = {name: len(some) for name, some in values.items()}
    assert max(sizes.values()) - min(sizes.values()) <= 2
    names = [line["group"] for line in lines(found, "rates")]
    assert set(names) == set(values)
    lowest = [min(values[name]) for name in names]
    assert lowest == sorted(lowest)
    assert all(max(values[low]) < min(values[high]) for low, high in pairwise(names))
    [said] = [one for one in found.sentences if one.startswith("Buckets: ")]
    assert said.startswith(f"Buckets: {names[0]} (n = {sizes[names[0]]}), {names[1]} (n = ")
    cuts = said.split("are cut at ")[1].split(" %.")[0].replace(" % and", " %,").split(" %, ")
    assert [float(one) for one in cuts] == pytest.approx(lowest[1:], rel=1e-8)
    assert max(len(name) for name in names) <= len("99.9999 % to under 99.9999 %")
    [drawn] = [one for one in panels(found) if isinstance(one, Lines)]
    assert list(drawn.ticks) == names


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ("note", "note has no order: 'n0' is no number"),
        ("site", "site has no order: 'a' is no number"),
        ("age", "The set has no column 'age'. There are intensity, site, note."),
    ],
)
def test_what_has_no_order_is_no_intensity(everywhere: Model, column: str, sentence: str) -> None:
    with pytest.raises(SettingError, match=sentence):
        probe(everywhere, fading(12), "expression_intensity", MAP, column=column)


def test_an_intensity_that_is_the_same_for_all_is_said(everywhere: Model) -> None:
    with pytest.raises(SettingError, match="The column level is 3 for all pictures"):
        probe(everywhere, subjects([("left", None, {"level": "3"})] * 12), "expression_intensity", MAP, column="level")
