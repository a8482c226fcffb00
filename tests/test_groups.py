"""Groups and buckets: networks whose answer is known are exposed, and what cannot be asked is said in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from tests.conftest import SIDE, png_of, wrapped
from xai_core.cases import read_cases
from xai_core.errors import PictureError, SettingError
from xai_core.grouping import grouping
from xai_core.images import Preprocessing
from xai_core.models import Model
from xai_core.probes import Part, Subject
from xai_core.probing import probe
from xai_core.records import Case, Finding, Image
from xai_core.regions import BORDER, EVIDENCE, LEFT, TOP, regions_of

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
    assert differing(found) == {LEFT}
    [line] = lines(found, "shifts", region=LEFT)
    assert line["difference"] == pytest.approx(-100, abs=1)
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
    assert differing(plain) == {TOP}
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
            assert line[rate] == pytest.approx(theirs.loc[line["group"], rate]), (line["group"], rate)


def test_rates_by_hand(left_only: Model) -> None:
    rows = [*[("left", "class 0")] * 6, *[("right", "class 0")] * 2, *[("left", "class 1")] * 1, *[("", "class 1")] * 3]
    given = subjects([(side, label, {"site": site}) for site in "ab" for side, label in rows])
    found = probe(left_only, given, "groups", None, column="site", positive="class 0", smallest=5)
    line = lines(found, "rates", group="a")[0]
    rates = [line[key] for key in ("error_rate", "true_positive_rate", "false_positive_rate", "selection_rate")]
    assert rates == pytest.approx([3 / 12, 6 / 8, 1 / 4, 7 / 12])
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
            assert selected == [p >= 0.9 and c == "class 0" for p, c in zip(prediction, explained, strict=True)]
            assert 0 < sum(selected) < sum(line["predicted"] == "class 0" for line in lines(found[0.0], "pictures"))
        assert [line["right"] for line in lines(one, "pictures")] == selected
    assert "class 0 is decided on where its probability is 0.9 or more." in " ".join(found[0.9].sentences)


def test_small_groups_are_shown_and_not_tested(everywhere: Model) -> None:
    found = probe(everywhere, mixed(), "groups", MAP, column="site")
    small = lines(found, "rates", group="c")[0]
    assert small["small"]
    assert 0 < small["n"] < 10
    assert small["error_rate"] is not None
    assert all(line["p"] is None for name in ("differences", "shifts") for line in lines(found, name, group="c"))
    assert all(line["p"] is not None for line in lines(found, "shifts", group="b", region=LEFT))
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
    names = [MAP, "integrated_gradients 2", "integrated_gradients 3"]
    assert list(dict.fromkeys(line["method"] for line in lines(found, "shifts"))) == names
    shifts = lines(found, "shifts")
    assert len(shifts) == 9
    assert [line["region"] for line in shifts if line["p"] is None] == [BORDER] * 3  # nothing bright is ever there
    assert shifts[0]["p_adjusted"] == pytest.approx(6 * shifts[0]["p"])


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
    assert any(one.startswith("2 of 22 pictures have no value under site") for one in found.sentences)
    assert len(found.pictures) == 20
    assert [one for one in found.left_out if "no value under site" in one] == list(found.left_out)
    assert len(found.left_out) == 2


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
    half, evidence = (lines(found, "regions", group="left", region=name)[0] for name in (LEFT, EVIDENCE))
    assert evidence["share"] == half["share"] == pytest.approx(1, abs=0.01)
    assert evidence["null"] == 0.5


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
    with pytest.raises(SettingError, match="The column site is empty for every picture"):
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
    assert list(found) == [LEFT, TOP, BORDER, EVIDENCE, "mouth"]
    assert (found[EVIDENCE] == found[LEFT]).all()
    assert (found["mouth"] == ~found[LEFT]).all()
    assert found[TOP][:16].all()
    assert not found[TOP][16:].any()
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
    assert list(regions_of(subject, Preprocessing((3, 32, 32)), find_faces=True)) == [LEFT, TOP, BORDER, "eyes"]
    assert list(regions_of(subject, Preprocessing((3, 32, 32)))) == [LEFT, TOP, BORDER]


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
    assert {line["region"] for line in lines(found, "trends") if line["method"]} == {LEFT, TOP, BORDER}


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
