"""Dose and response where the answer is known: networks that read brightness, or one half, and maps that move along."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import ClassVar, cast

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import xai_core as xai
from tests.conftest import SIDE, photograph, png_of, wrapped
from xai_core.dose_response import HALVINGS
from xai_core.dose_sentences import amount, detectable
from xai_core.dose_summary import Flip, half_flipped
from xai_core.errors import PictureError, SettingError
from xai_core.map_shift import BORDER, NOTHING_OUTSIDE, NOTHING_SHARED, View, Way, shift
from xai_core.models import Model
from xai_core.probes import Part, Perturbation, Subject
from xai_core.probes.brightness import Brightness
from xai_core.records import Finding, Image
from xai_core.registry import param

IDENTITY = np.eye(2, 3)


class Bright(nn.Module):
    """Class 0 of a picture whose mean brightness is below `threshold`, else class 1, steeply. Reads nothing else."""

    def __init__(self, threshold: float = 0.6, outputs: int = 3) -> None:
        super().__init__()
        self.threshold, self.outputs = threshold, outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        above = (x * 0.25 + 0.5).flatten(1).mean(1) - self.threshold
        return torch.stack([-20 * above, 20 * above, 0 * above - 50], dim=1)[:, 3 - self.outputs :]


def bright(**settings: object) -> Model:
    return wrapped(Bright(**settings), name="bright")  # type: ignore[arg-type]


def grey(level: int, side: int = SIDE) -> Image:
    return xai.read_image(png_of(np.full((side, side, 3), level, np.uint8)))


def textured(seed: int, side: int = SIDE) -> Image:
    return xai.read_image(png_of(np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)))


def brightness(strongest: float = 0.4, steps: int = 5) -> Brightness:
    return Brightness(steps=steps, strongest=strongest)


def found(model: Model, images: Sequence[Image | Subject], probe: Perturbation, **asked: object) -> Finding:
    return xai.probe(model, list(images), probe, **{"method": None, **asked})  # type: ignore[arg-type]


# ---- the prediction ----------------------------------------------------------------------------------------------


def flips_at(level: int, dose: float, threshold: float = 0.6) -> bool:
    """By hand: what adding the dose makes of a grey level, and whether that is above the threshold."""
    return min(255, max(0, round(level + dose * 255))) / 255 > threshold


def test_the_bracket_holds_the_dose_at_which_a_network_that_reads_brightness_flips() -> None:
    levels = [150, 140, 120, 100, 90, 60, 20]
    lines = found(bright(), [grey(level) for level in levels], brightness()).tables["flips"].lines()
    for level, line in zip(levels, lines, strict=True):
        exact = 0.6 - level / 255
        assert line["original"] == "class 0"
        if exact > 0.4:
            assert (line["flip_low"], line["flip_high"], line["flipped_to"]) == (None, None, None)
            continue
        assert not flips_at(level, line["flip_low"])
        assert flips_at(level, line["flip_high"])
        assert line["flip_low"] - 0.5 / 255 <= exact <= line["flip_high"] + 0.5 / 255
        assert line["flip_high"] - line["flip_low"] == pytest.approx(0.4 / 5 / 2**HALVINGS)
        assert line["flipped_to"] == "class 1"


def test_a_dose_below_zero_is_followed_downwards() -> None:
    [line] = found(bright(), [grey(200)], brightness(-0.4)).tables["flips"].lines()
    assert line["original"] == "class 1"
    assert line["flip_low"] > line["flip_high"] >= -0.4
    assert flips_at(200, line["flip_low"])
    assert not flips_at(200, line["flip_high"])
    assert line["flip_low"] + 0.5 / 255 >= 0.6 - 200 / 255 >= line["flip_high"] - 0.5 / 255


def test_rates_and_probabilities_of_every_dose_are_those_counted_by_hand() -> None:
    levels = [150, 140, 120, 100, 60, 20]
    doses = found(bright(), [grey(level) for level in levels], brightness()).tables["doses"].lines()
    for step, line in enumerate(doses):
        dose = 0.4 * step / 5
        assert line["dose"] == pytest.approx(dose)
        shown = [min(255, round(level + dose * 255)) / 255 for level in levels]
        assert line["measured"] == pytest.approx(np.mean(shown))
        own = [1 / (1 + math.exp(40 * (one - 0.6))) for one in shown]  # softmax of -20 d and 20 d
        assert line["probability"] == pytest.approx(np.mean(own), abs=1e-4)
        start = [1 / (1 + math.exp(40 * (level / 255 - 0.6))) for level in levels]
        assert line["probability_change"] == pytest.approx(100 * np.mean(np.subtract(own, start)), abs=1e-2)
        assert line["flip_rate"] == pytest.approx(np.mean([flips_at(level, dose) for level in levels]))
        assert line["flip_rate_low"] <= line["flip_rate"] <= line["flip_rate_high"]
        assert (line["flip_rate_high"] > 0) == (step > 0)  # at dose 0 nothing can flip, on whichever pictures
        assert (line["n"], line["n_flip"], line["method"], line["n_map"]) == (6, 6, "", None)


def test_a_wilson_interval_stands_beside_the_flips_and_none_beside_a_single_picture() -> None:
    # 2 of 8: Wilson, by its formula with z = 1.96, is 7.1 % to 59.1 %.
    line = (
        found(bright(), [grey(level) for level in (140, 141, *range(10, 16))], brightness()).tables["doses"].lines()[-1]
    )
    assert (line["flip_rate_low"], line["flip_rate_high"]) == pytest.approx((0.0715, 0.5907), abs=1e-3)
    line = found(bright(), [grey(140)], brightness()).tables["doses"].lines()[-1]
    assert (line["flip_rate"], line["flip_rate_low"], line["probability_high"]) == (1.0, None, None)


def test_pictures_pass_once_per_dose_and_once_per_halving_where_they_flip() -> None:
    levels, steps = [140, 120, 60, 20, 10], 5
    finding = found(bright(), [grey(level) for level in levels], brightness(steps=steps))
    flipping = sum(line["flip_high"] is not None for line in finding.tables["flips"].lines())
    assert flipping == 3
    assert finding.passes.forward == len(levels) * (steps + 1) + HALVINGS * flipping
    mapped = found(bright(), [grey(level) for level in levels], brightness(steps=steps), method="saliency")
    assert mapped.passes.forward == finding.passes.forward + len(levels) * (steps + 1)  # the one a gradient takes
    assert mapped.passes.backward == len(levels) * (steps + 1)


def test_a_network_that_reads_the_left_half_is_untouched_by_a_patch_on_the_right(left_half: Model) -> None:
    finding = found(left_half, [textured(seed) for seed in range(6)], RightPatch(), method="saliency")
    for line in finding.tables["pictures"].lines():
        assert not line["flipped"]
        assert line["rank_correlation"] == pytest.approx(1)
        assert line["top_overlap"] == 1
        assert line["centre_distance"] == pytest.approx(0, abs=1e-9)
    assert finding.tables["doses"].lines()[-1]["probability_change"] == pytest.approx(0, abs=1e-4)
    assert "no decision of 6 flips" in finding.sentences[0]
    reads_all = found(bright(threshold=0.4), [textured(seed) for seed in range(6)], RightPatch())
    assert reads_all.tables["doses"].lines()[-1]["flip_rate"] == 1.0


@dataclasses.dataclass(frozen=True)
class RightPatch(Perturbation):
    """The right half is covered in black, more of it with the dose."""

    name: ClassVar[str] = "right_patch"
    label: ClassVar[str] = "Patch on the right"
    unit: ClassVar[str] = "of the half"
    measured: ClassVar[str] = "share covered"
    strongest: float = param(1.0, low=0.0, high=1.0, label="Strongest", help="Of the right half")

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        covered = pixels.copy()
        covered[:, pixels.shape[1] - round(dose * pixels.shape[1] / 2) :] = 0
        return covered

    def measure(self, pixels: np.ndarray) -> float:
        return float((pixels == 0).all(axis=2).mean())


def test_of_a_regression_the_value_is_followed_and_nothing_flips() -> None:
    model = xai.wrap_model(
        Bright(outputs=1),
        labels=["age"], task="regression", input_size=(3, SIDE, SIDE), mean=(0.5,) * 3, std=(0.25,) * 3, device="cpu",
    )  # fmt: skip
    finding = found(model, [grey(51), grey(102)], brightness(0.2))
    # The output is -50 whatever is seen.
    line = finding.tables["doses"].lines()[-1]
    assert (line["probability"], line["probability_change"], line["flip_rate"]) == (pytest.approx(-50), 0, None)
    assert not finding.tables["half"].rows
    assert {one["predicted"] for one in finding.tables["pictures"].lines()} == {None}
    assert {one["flipped"] for one in finding.tables["pictures"].lines()} == {None}
    assert "no decision can flip" in finding.sentences[0]
    assert "the value of age changes" in finding.sentences[1]


def test_of_many_labels_the_decision_is_whether_the_target_is_found() -> None:
    model = xai.wrap_model(
        Bright(outputs=3),
        labels=["dark", "light", "other"], task="multi label", input_size=(3, SIDE, SIDE), mean=(0.5,) * 3,
        std=(0.25,) * 3, device="cpu",
    )  # fmt: skip
    finding = found(model, [grey(128)], brightness(), target="light")
    [line] = finding.tables["flips"].lines()
    assert (line["original"], line["flipped_to"]) == ("light not found", "light found")
    assert line["flip_low"] <= 0.6 - 128 / 255 <= line["flip_high"]
    last = finding.tables["doses"].lines()[-1]
    shown = round(128 + 0.4 * 255) / 255
    assert last["probability"] == pytest.approx(1 / (1 + math.exp(-20 * (shown - 0.6))), abs=1e-4)


def test_another_target_is_followed_while_the_decision_is_still_the_models() -> None:
    finding = found(bright(), [grey(140)], brightness(), target="class 1")
    lines = finding.tables["doses"].lines()
    assert lines[0]["probability"] < 0.5 < lines[-1]["probability"]
    assert finding.tables["flips"].lines()[0]["original"] == "class 0"


def test_the_same_seed_gives_the_same_numbers() -> None:
    images = [textured(seed) for seed in range(6)]
    one, other = (
        found(bright(), images, cast(Perturbation, xai.PROBES.build("noise")), method="saliency") for _ in range(2)
    )
    assert one.tables == other.tables
    assert one.sentences == other.sentences


# ---- halves and rates --------------------------------------------------------------------------------------------


def test_half_have_flipped_at_the_middle_of_the_order_in_which_they_flip() -> None:
    flips: list[Flip | None] = [Flip(number - 1, number, "other") for number in (5, 3, 1, 2, 4, 6, 7, 8)]
    # n = 8: one from either end, since P(B <= 0) = 1/256 and P(B <= 1) = 9/256 > 2.5 %.
    assert half_flipped([*flips, None, None, None, None]) == (6, 2, math.inf)  # n = 12: the third from either end
    assert half_flipped(flips) == (4, 0, 8)
    assert half_flipped(flips[:5]) == (3, None, None)
    assert half_flipped([flips[0], None, None]) == (math.inf, None, None)
    downwards: list[Flip | None] = [Flip(-flip.low, -flip.high, "other") for flip in flips if flip]
    assert half_flipped(downwards) == (-4, 0, -8)


def test_the_interval_of_half_covers_the_truth_at_least_as_often_as_it_says() -> None:
    chance, hits = np.random.default_rng(3), 0
    for _ in range(400):  # doses of an exponential law whose median is ln 2; above 1.5 they are never seen
        drawn = chance.exponential(size=13)
        found = half_flipped([Flip(dose, dose, "other") if dose < 1.5 else None for dose in drawn])
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= math.log(2) <= found.high
    assert 0.95 <= hits / 400 <= 0.995  # exactly: 1 - 2 P(B <= 2 of 13) = 97.8 %


def test_what_would_have_shown_is_missed_in_five_sets_of_a_hundred() -> None:
    assert detectable(12) == pytest.approx(0.2209, abs=1e-4)
    assert detectable(100) == pytest.approx(0.03, abs=0.001)  # the rule of three
    for n in (1, 7, 40):
        assert (1 - detectable(n)) ** n == pytest.approx(0.05)


# ---- the maps ----------------------------------------------------------------------------------------------------


def blobs(points: np.ndarray) -> np.ndarray:
    """(2, n) points of a 64 x 48 picture to (n,): a map that belongs to the things in it, one above zero, one below."""
    x, y = points
    near = np.exp(-((x - 22) ** 2 + (y - 14) ** 2) / 60) - 0.6 * np.exp(-((x - 44) ** 2 + (y - 34) ** 2) / 90)
    return near + 0.002 * x + 0.001 * y


def turned(degrees: float, about: tuple[float, float] = (32, 24)) -> np.ndarray:
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    turn = np.array([[cos, sin], [-sin, cos]])
    return np.column_stack([turn, np.array(about) - turn @ np.array(about)])


MOVES = {
    "turned": (turned(25), View((0, 0, 64, 48), (36, 48), (48, 64))),
    "cut off": (np.array([[1.0, 0, -9], [0, 1, -6]]), View((0, 0, 46, 36), (36, 48), (36, 46))),
    "enlarged and cut by the view": (np.array([[2.0, 0, 0], [0, 2, 0]]), View((24, 12, 104, 84), (36, 40), (96, 128))),
}


@pytest.mark.parametrize("name", MOVES)
def test_a_map_that_moves_with_the_things_has_not_shifted(name: str) -> None:
    move, after = MOVES[name]
    before = View((4, 0, 60, 48), (42, 49), (48, 64))
    old = blobs(before.points()).reshape(before.shape).astype(np.float32)
    back = np.linalg.solve(move[:, :2], after.points() - move[:, 2:])
    new = blobs(back).reshape(after.shape).astype(np.float32)
    found = shift(old, new, Way.along(before, after, move))
    assert found.rank_correlation > 0.998  # type: ignore[operator]
    assert found.top_overlap > 0.85  # type: ignore[operator]
    assert found.centre_distance < 0.3  # type: ignore[operator]
    assert abs(found.border_change) < 0.3  # type: ignore[arg-type]
    forgotten = shift(old, new, Way.along(before, after, IDENTITY))
    assert forgotten.rank_correlation < 0.9  # type: ignore[operator]
    assert forgotten.centre_distance > 3  # type: ignore[operator]


@pytest.mark.parametrize(("name", "strongest"), [("rotation", 40.0), ("rotation", -20.0), ("crop", 25.0)])
def test_the_map_of_a_network_that_reads_pixels_one_by_one_moves_with_the_picture(name: str, strongest: float) -> None:
    model = wrapped(Squares(), side=64, name="squares")
    probe = cast(Perturbation, xai.PROBES.build({"name": name, "strongest": strongest, "steps": 2}))
    picture = xai.read_image(png_of(smooth(96)))
    lines = found(model, [picture], probe, method="input_x_gradient").tables["pictures"].lines()
    assert lines[0]["rank_correlation"] == pytest.approx(1)
    changed = {"move": Perturbation.move, "apply": lambda self, *given: probe.apply(*given)}
    forgetful = type("Forgetful", (type(probe),), changed)(**vars(probe))
    still = found(model, [picture], forgetful, method="input_x_gradient").tables["pictures"].lines()
    assert lines[-1]["rank_correlation"] > 0.98
    assert still[-1]["rank_correlation"] < lines[-1]["rank_correlation"] - 0.1
    assert lines[-1]["centre_distance"] < still[-1]["centre_distance"]


class Squares(nn.Module):
    """Sum of the squares of the brightness above black: its gradient times input belongs to each pixel alone."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = ((x * 0.25 + 0.5) ** 2 * 4 / 3).flatten(1).mean(1)
        return torch.stack([total, -total, 0 * total], dim=1)


def smooth(side: int) -> np.ndarray:
    """(side, side, 3) uint8 without fine detail, which resampling would lose."""
    y, x = np.mgrid[:side, :side] / side
    values = 150 + 50 * np.sin(5 * x + 1) + 40 * np.cos(7 * y - 3 * x)
    return np.repeat(values[..., None], 3, axis=2).astype(np.uint8)


def test_the_numbers_of_a_shift_are_those_of_a_slow_second_derivation() -> None:
    chance = np.random.default_rng(4)
    before, after = View((0, 0, 20, 16), (16, 20), (16, 20)), View((-2, 0, 22, 12), (12, 24), (12, 20))
    move = np.array([[1.0, 0, 1], [0, 1, -3]])  # one column to the right, three rows up: whole pixels
    old, new = (chance.normal(size=shape).astype(np.float32) for shape in (before.shape, after.shape))
    mask = np.zeros((16, 20), bool)
    mask[5:11, 4:12] = True
    found = shift(old, new, Way.along(before, after, move), mask)

    pairs = []  # (row and column of the new view, old value, new value, in the mask)
    for row in range(12):
        for column in range(24):
            source = (row + 3, column - 2 - 1)
            if 0 <= source[1] < 20 and 0 <= column - 2 < 20:  # in the original, and in the new picture
                pairs.append((row, column, old[source], new[row, column], mask[source]))
    carried, made = np.array([pair[2] for pair in pairs]), np.array([pair[3] for pair in pairs])
    assert found.rank_correlation == pytest.approx(spearmanr(carried, made).statistic)
    count = round(0.1 * len(pairs))
    tops = [set(np.argsort(-one)[:count].tolist()) for one in (carried, made)]
    assert found.top_overlap == pytest.approx(len(tops[0] & tops[1]) / len(tops[0] | tops[1]))

    def share(values: np.ndarray, inside: list[bool]) -> float:
        positive = [max(0.0, float(value)) for value in values]
        return sum(value for value, here in zip(positive, inside, strict=True) if here) / sum(positive)

    def centre(values: np.ndarray, axis: int) -> float:
        positive = [max(0.0, float(value)) for value in values]
        return sum(value * pair[axis] for value, pair in zip(positive, pairs, strict=True)) / sum(positive)

    near_edge = [row < 1 or row >= 11 or column < 2 or column >= 22 for row, column, *_ in pairs]  # tenths, rounded
    assert round(BORDER * 12), round(BORDER * 24) == (1, 2)
    assert found.border_change == pytest.approx(100 * (share(made, near_edge) - share(carried, near_edge)))
    outside = [not pair[4] for pair in pairs]
    assert found.background_change == pytest.approx(100 * (share(made, outside) - share(carried, outside)))
    away = [centre(made, axis) - centre(carried, axis) for axis in (0, 1)]
    assert found.centre_distance == pytest.approx(100 * math.hypot(*away) / math.hypot(12, 24))


def test_a_border_that_was_added_to_a_view_shows_nothing_to_compare() -> None:
    view = View((-10, 0, 30, 20), (20, 40), (20, 20))
    way = Way.along(view, view, IDENTITY)
    assert way.shared[:, 10:30].all()
    assert way.shared.sum() == 400
    values = np.random.default_rng(0).normal(size=view.shape).astype(np.float32)
    other = values.copy()
    other[:, :10] = 99  # in the border
    assert shift(values, other, way) == shift(values, values, way)


def test_a_flat_map_has_no_shift_and_says_so() -> None:
    view = View((0, 0, 8, 8), (8, 8), (8, 8))
    values = np.arange(64, dtype=np.float32).reshape(8, 8) - 10
    way = Way.along(view, view, IDENTITY)
    flat = shift(values, np.full((8, 8), 3, np.float32), way)
    assert (flat.rank_correlation, flat.top_overlap, flat.centre_distance, flat.border_change) == (None,) * 4
    assert "Flat map" in flat.why["rank_correlation"]
    negative = shift(values, values - 100, way)
    assert negative.rank_correlation == pytest.approx(1)
    assert (negative.centre_distance, negative.border_change) == (None, None)
    assert "above zero" in negative.why["centre_distance"]
    all_covered = shift(values, values, way, np.ones((8, 8), bool))
    assert all_covered.background_change is None
    assert all_covered.why == {"background_change": NOTHING_OUTSIDE}
    apart = shift(values, values, Way.along(view, view, np.array([[1.0, 0, 100], [0, 1, 0]])))
    assert set(apart.why.values()) == {NOTHING_SHARED}
    finding = found(bright(), [grey(level) for level in (140, 120)], brightness(), method="saliency")
    assert any("2 of 2 cannot be compared: Flat map" in one for one in finding.sentences)
    assert {line["rank_correlation"] for line in finding.tables["doses"].lines()} == {None}
    assert {line["n_map"] for line in finding.tables["doses"].lines()} == {0}


def test_pictures_without_a_mask_take_no_part_in_the_share_outside_it(cnn: Model) -> None:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[8:24, 8:24] = True
    pictures = [Subject(0, textured(seed), mask=mask if seed < 3 else None) for seed in range(5)]
    finding = found(cnn, pictures, brightness(steps=2), method="saliency")
    for line in finding.tables["doses"].lines():
        assert (line["n"], line["n_map"], line["n_mass"], line["n_mask"]) == (5, 5, 5, 3)
    own = [line["background_change"] for line in finding.tables["pictures"].lines() if line["dose"] == 0.4]
    assert own[3:] == [None, None]
    assert finding.tables["doses"].lines()[-1]["background_change"] == pytest.approx(np.mean(own[:3]))
    where = "where it is marked (3 of 5 pictures), by"
    assert any(f"that outside the marked evidence, {where}" in one for one in finding.sentences)
    assert not any("object" in one for one in finding.sentences)


def test_the_marked_object_comes_before_the_evidence_and_each_is_called_by_its_name(cnn: Model) -> None:
    evidence, thing = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    evidence[12:16, 12:16] = thing[4:28, 4:28] = True
    images = [textured(seed) for seed in range(3)]
    changes = {}
    for name, pictures in {
        "evidence": [Subject(0, image, mask=evidence) for image in images],
        "object": [Subject(0, image, parts={"object": thing}) for image in images],
        "both": [Subject(0, image, mask=evidence, parts={"object": thing}) for image in images],
        "mixed": [Subject(0, images[0], mask=evidence), Subject(0, images[1], parts={"object": thing})],
    }.items():
        finding = found(cnn, pictures, brightness(steps=2), method="saliency")
        changes[name] = finding.tables["doses"].lines()[-1]["background_change"]
        [said] = [one for one in finding.sentences if "centre of mass" in one]
        called = {"evidence": "marked evidence", "mixed": "object or the marked evidence"}.get(name, "object")
        assert f", that outside the {called} by" in said
        marked = [line["marked"] for line in finding.tables["flips"].lines()]
        assert marked == (["marked evidence", "object"] if name == "mixed" else [called] * 3)
    assert changes["both"] == changes["object"] != changes["evidence"]


def test_a_mask_moves_along_to_where_its_pixels_are() -> None:
    view = View((0, 0, 8, 8), (8, 8), (8, 8))
    mask = np.zeros((8, 8), bool)
    mask[1, 6] = mask[2, 6] = True
    quarter = np.array([[0.0, 1, 0], [-1, 0, 8]])  # (x, y) to (y, 8 - x), as np.rot90 does
    region = Way.along(view, view, quarter).region(mask)
    assert np.array_equal(region, np.rot90(mask))


def test_each_method_has_a_row_of_its_own_and_a_name_of_its_own(cnn: Model) -> None:
    methods = ["saliency", {"name": "occlusion", "window": 0.5}, {"name": "occlusion", "window": 0.25}]
    finding = found(cnn, [textured(1)], brightness(steps=2), method=methods)
    names = [line["method"] for line in finding.tables["doses"].lines()]
    assert names == ["saliency", "occlusion (window=0.5)", "occlusion (window=0.25)"] * 3
    assert len(finding.tables["pictures"].rows) == 9


# ---- parts, frames, what is left out -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class PartPatch(RightPatch):
    """The part is covered in black."""

    name: ClassVar[str] = "part_patch"
    part: ClassVar[str] = "eyes"

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        assert part is not None
        return np.where(part.mask[..., None], np.rint(pixels * (1 - dose)), pixels).astype(np.uint8)


@pytest.fixture
def eyes(monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Marked in every picture but those whose first pixel is black: (32, 32) bool."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[4:8, 8:24] = True

    def part_of(subject: Subject, name: str) -> Part:
        if not subject.image.pixels[0, 0].any():
            raise PictureError("No face was found in this picture. Draw a box around the eyes.")
        return Part(mask, (8, 4, 24, 8), "marked in the data")

    monkeypatch.setattr("xai_core.parts.part_of", part_of)
    return mask


def test_a_picture_without_the_part_is_left_out_and_said(eyes: np.ndarray) -> None:
    finding = found(bright(threshold=0.3), [grey(0), grey(100), grey(90)], PartPatch())
    assert [line["picture"] for line in finding.tables["flips"].lines()] == [2, 3]
    assert finding.pictures == tuple(grey(level).sha256 for level in (100, 90))
    assert finding.left_out == ("Picture 1: No face was found in this picture. Draw a box around the eyes.",)
    assert finding.sentences[-1] == "The eyes were marked in the data in 2 of 2 pictures."
    assert {line["part"] for line in finding.tables["flips"].lines()} == {"marked in the data"}
    with pytest.raises(SettingError, match=r"No picture can be asked.* No face was found"):
        found(bright(), [grey(0), grey(0)], PartPatch())


def test_frames_show_the_first_picture_as_the_model_saw_it_with_the_part_marked(eyes: np.ndarray, cnn: Model) -> None:
    picture = textured(3)
    finding = found(cnn, [grey(0), picture, textured(4)], PartPatch(steps=2), method="saliency")
    assert [frame.caption for frame in finding.frames] == [
        "Original",
        "Patch on the right 0.5",
        "Patch on the right 1",
    ]
    assert np.array_equal(finding.frames[0].pixels, cnn.preprocessing.view(picture))
    assert not finding.frames[2].pixels[eyes].any()
    own = xai.explain(cnn, picture, "saliency")
    assert np.array_equal(finding.frames[0].values, own.values)  # type: ignore[arg-type]
    lines = [line for line in finding.tables["pictures"].lines() if line["picture"] == 2]
    for frame, line in zip(finding.frames, lines, strict=True):
        assert frame.region is None if not line["dose"] else np.array_equal(frame.region, eyes)  # type: ignore[arg-type]
        assert frame.facts["dose"] == line["dose"]
        assert frame.facts["probability"] == line["probability"]
        assert frame.facts["predicted"] == line["predicted"]
        assert frame.facts["unit"] == "of the half"
    without = found(cnn, [picture], brightness(steps=2))
    assert [frame.values for frame in without.frames] == [None] * 3
    assert np.array_equal(without.frames[0].pixels, cnn.preprocessing.view(picture))
    assert [frame.region for frame in without.frames] == [None] * 3


def test_the_region_of_a_frame_is_what_was_covered_and_not_the_whole_part(cnn: Model) -> None:
    patch = cast(Perturbation, xai.PROBES.build({"name": "patch", "steps": 2}))
    [original, weak, strong] = found(cnn, [Subject(0, grey(7), box=(4.0, 4.0, 28.0, 28.0))], patch).frames
    assert original.region is None
    for frame, side in ((weak, 24 * math.sqrt(0.5)), (strong, 24)):
        assert frame.region is not None
        rows, columns = np.nonzero(frame.region)
        assert (rows.min(), columns.min()) == (math.floor(16 - side / 2),) * 2
        assert (rows.max(), columns.max()) == (math.ceil(16 + side / 2) - 1,) * 2


def test_a_strongest_dose_of_nothing_is_refused() -> None:
    with pytest.raises(SettingError, match="changes nothing"):
        found(bright(), [grey(9)], brightness(0.0))


# ---- sentences ---------------------------------------------------------------------------------------------------


def test_sentences_count_what_flips_and_where_half_have() -> None:
    levels = [150, 145, 140, 135, 130, 125, 120, 20]
    said = found(bright(), [grey(level) for level in levels], brightness()).sentences
    assert said[0] == "Brightness +0.4 of full white: 7 of 8 decisions flip (88 %, 95 % interval 53 to 98 %)."
    # The fourth to flip, of grey 135, does so at 0.6 - 135/255 = 0.0706; the first at 0.0118; brackets are 0.005 wide.
    half = "Half have flipped at +0.075 (95 % interval +0.01 to above +0.4); 1 of 8 never flips."
    assert said[1] == half
    assert "the probability of class 0 changes in the mean by −" in said[2]


def test_where_nothing_flips_sentences_say_what_would_have_shown() -> None:
    said = found(bright(threshold=2.0), [textured(seed) for seed in range(12)], brightness()).sentences
    assert said[0] == (
        "Brightness: no decision of 12 flips at any of the 5 doses up to +0.4 of full white; with n = 12, a flip "
        "rate above 22 % would have shown."
    )


def test_fewer_than_half_and_those_that_come_back_are_said() -> None:
    said = found(wrapped(Band()), [grey(100), *map(grey, range(236, 241))], brightness()).sentences
    assert said[0].startswith("Brightness +0.4 of full white: 0 of 6 decisions flip (0 %, 95 % interval 0 to 39 %)")
    assert said[1].startswith("Fewer than half flip on the way, the first at +0.")
    assert said[1].endswith(": 5 of 6 never flip.")
    assert said[2] == "1 of those that flip on the way is back at the strongest dose."


class Band(nn.Module):
    """Class 1 where the mean brightness lies between 0.5 and 0.6, else class 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        level = (x * 0.25 + 0.5).flatten(1).mean(1)
        inside = 0.05 - (level - 0.55).abs()
        return torch.stack([-50 * inside, 50 * inside, 0 * inside - 50], dim=1)


def test_of_a_single_picture_only_that_picture_is_spoken_of() -> None:
    said = found(bright(), [grey(140)], brightness()).sentences
    assert said[0].startswith("Brightness: the decision flips from class 0 to class 1 between +0.0")
    assert said[0].endswith(" of full white.")
    assert "the probability of class 0 changes by −" in said[1]
    assert said[-1] == "This is one picture: it says nothing of others."
    assert not any("interval" in sentence for sentence in said)
    kept = found(bright(), [grey(10)], brightness()).sentences
    assert kept[0] == ("Brightness: the decision, class 0, flips at none of the 5 doses up to +0.4 of full white.")


def test_a_map_that_stays_while_the_decision_goes_is_pointed_out_and_the_other_way_round() -> None:
    images = [xai.read_image(png_of(photograph(SIDE, left))) for left in (100, 130)]
    control = found(bright(threshold=0.85), images, brightness(0.6), method="centre_gaussian").sentences
    [said] = [one for one in control if "stays nearly the same" in one]
    assert said.startswith("In 2 of 2 pictures, ")
    assert "+0.6, the decision flips and the probability changes by 5 points or more while the map by" in said
    assert said.endswith(": there it does not show what the prediction does.")
    kept = found(bright(threshold=2), images, brightness(0.02), method="sobel_edges").sentences
    assert not any("the decision flips and" in one or "becomes another" in one for one in kept)
    moving = found(bright(threshold=5), [textured(seed) for seed in range(3)], Shuffled(), method="sobel_edges")
    assert any("In 3 of 3 pictures, " in one and "the map by Sobel edges becomes another" in one
               for one in moving.sentences), moving.sentences  # fmt: skip


def test_a_map_that_stays_at_a_tie_is_not_accused() -> None:
    # Grey 151 and 152 are .592 and .596, four levels more .608 and .612: decisions flip, by less than two points.
    levels, methods = [grey(152), grey(151)], "centre_gaussian"
    gentle = found(wrapped(Gentle()), levels, brightness(4 / 255, steps=2), method=methods)
    last = gentle.tables["doses"].lines()[-1]
    assert last["flip_rate"] == 1
    assert -2 < last["probability_change"] < 0
    assert not any("stays nearly the same" in one for one in gentle.sentences)
    steep = found(bright(), levels, brightness(40 / 255, steps=2), method=methods)
    assert any("In 2 of 2 pictures, " in one and "stays nearly the same" in one for one in steep.sentences)


class Gentle(Bright):
    """As Bright, a tenth as steep."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) / 10


# ---- doses that change nothing -----------------------------------------------------------------------------------


def test_a_picture_that_the_strongest_dose_leaves_as_it_is_does_not_count() -> None:
    levels = [255, 100, 120, 140]
    finding = found(bright(), [grey(level) for level in levels], brightness())
    assert finding.left_out == ("Picture 1: Brightness +0.4 changes no pixel of it.",)
    assert "of 3 decisions flip" in finding.sentences[0]
    assert {line["n"] for line in finding.tables["doses"].lines()} == {3}
    assert finding.passes.forward <= 3 * (6 + HALVINGS)  # nothing was asked about the white one
    with pytest.raises(SettingError, match=r"No picture can be asked about brightness.*changes no pixel of it"):
        found(bright(), [grey(255)], brightness())
    with pytest.raises(SettingError, match="changes no pixel"):  # half a level of 255
        found(bright(), [grey(100), grey(90)], brightness(0.001))


def test_doses_that_give_one_picture_are_one_dose_and_that_is_said() -> None:
    crop = cast(Perturbation, xai.PROBES.build({"name": "crop", "strongest": 5.0, "steps": 5}))
    finding = found(bright(), [textured(1), textured(2)], crop)  # of 32: 0.32, 0.64, 0.96, 1.28, 1.6 pixels
    own = [line["repeats"] for line in finding.tables["pictures"].lines() if line["picture"] == 1]
    assert own == [False, True, False, True, True, False]
    said = "In 2 of 2 pictures a dose gives the same picture, to the byte, as the one before: the two are one dose."
    assert said in finding.sentences
    assert not any("one dose" in one for one in found(bright(), [grey(100)], brightness()).sentences)


def test_where_doses_give_one_picture_a_flip_is_halved_without_asking_again() -> None:
    one_level = brightness(2 / 255, steps=2)  # 153 is still below 0.6 of full white, 154 is not
    finding = found(bright(), [grey(152)], one_level)
    [line] = finding.tables["flips"].lines()
    assert flips_at(152, line["flip_high"])
    assert not flips_at(152, line["flip_low"])
    assert finding.passes.forward == 3  # every halving gives 153 or 154, which are known


def test_brackets_of_flips_are_rounded_as_doses_are() -> None:
    for line in found(bright(), [grey(140), grey(100)], brightness(0.3, steps=7)).tables["flips"].lines():
        assert line["flip_low"] == round(line["flip_low"], 9)
        assert line["flip_high"] == round(line["flip_high"], 9)


@dataclasses.dataclass(frozen=True)
class Shuffled(RightPatch):
    """Pixels change places: the mean brightness stays, everything else goes."""

    name: ClassVar[str] = "shuffled"
    label: ClassVar[str] = "Shuffled"

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        flat = pixels.reshape(-1, 3).copy()
        some = np.arange(round(dose * len(flat)))
        flat[some] = flat[chance.permutation(some)]
        return flat.reshape(pixels.shape)


def test_amounts_have_a_sign_only_where_either_is_allowed() -> None:
    assert amount(brightness(), 0.4, whole=True) == "+0.4 of full white"
    assert amount(brightness(), -0.25) == "−0.25"
    assert amount(brightness(), 0.0) == "0"
    assert amount(RightPatch(), 0.5) == "0.5"
    assert amount(RightPatch(), 0.5, whole=True) == "0.5 of the half"
    crop, blur = (cast(Perturbation, xai.PROBES.build(name)) for name in ("crop", "blur"))
    assert amount(crop, 25) == amount(crop, 25, whole=True) == "25 % a side"
    assert (amount(blur, 2), amount(blur, 2, whole=True)) == ("2 %", "2 % of the shorter side")
    resolution, gamma = (cast(Perturbation, xai.PROBES.build(name)) for name in ("resolution", "gamma"))
    assert [amount(resolution, dose) for dose in (1, 2)] == ["1 halving", "2 halvings"]
    assert amount(gamma, -1) == "−1 doubling"


def test_what_a_dose_is_a_share_of_is_said_once() -> None:
    said = found(bright(), [grey(level) for level in range(100, 112)], brightness(), method="saliency").sentences
    assert sum(one.count("of full white") for one in said) == 1
