"""The shortcut challenge: what it says of networks whose shortcuts are known, and of its own tests under no effect."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from scipy.stats import t as student
from torch import nn

import xai_core as xai
from tests.conftest import ROOT
from xai_core.artefacts import ARTEFACTS
from xai_core.cases import read_cases
from xai_core.challenge_effects import (
    Answer,
    Moved,
    Pair,
    Pairs,
    Share,
    answers_of,
    beyond,
    detectable,
    is_shown,
    is_used,
    moved_by,
    pictures_needed,
    pictures_to_clear,
    sign_flip,
)
from xai_core.challenge_report import sentences_of
from xai_core.demo import xray
from xai_core.errors import SettingError
from xai_core.models import Model
from xai_core.probes import PROBES, Subject
from xai_core.probing import probe
from xai_core.records import Case, Finding, Image, Prediction
from xai_core.statistics import LEVEL, Mean, mean_of, share_of

SIDE = 64
GROUND = 60
LOCAL = "marker_l,marker_r,ruler,corner_text,scanner_border,pen_mark,tint"


# Small networks that read one thing


class Reader(nn.Module):
    """A steep logistic of one number per picture, against a second class that stays at zero."""

    def __init__(self, steep: float, level: float) -> None:
        super().__init__()
        self.steep, self.level = steep, level

    def read(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        said = self.steep * (self.read(x) - self.level)
        return torch.stack([said, torch.zeros_like(said)], dim=1)


def luminance(x: torch.Tensor) -> torch.Tensor:
    return torch.einsum("nchw,c->nhw", x, torch.tensor([0.299, 0.587, 0.114]))


class Corner(Reader):
    """How bright the corner at the top left is, without the outermost pixels."""

    def read(self, x: torch.Tensor) -> torch.Tensor:
        return luminance(x)[:, 5:32, 5:32].flatten(1).mean(1)


class LeftHalf(Reader):
    def read(self, x: torch.Tensor) -> torch.Tensor:
        return luminance(x)[:, 5:-5, 5 : SIDE // 2].flatten(1).mean(1)


class Colour(Reader):
    """How much redder than blue."""

    def read(self, x: torch.Tensor) -> torch.Tensor:
        return (x[:, 0] - x[:, 2]).flatten(1).mean(1)


class Frame(Reader):
    """How bright the darkest of the four outermost lines is."""

    def read(self, x: torch.Tensor) -> torch.Tensor:
        sides = [x[..., 0, :], x[..., -1, :], x[..., :, 0], x[..., :, -1]]
        return torch.stack([side.flatten(1).mean(1) for side in sides]).amin(dim=0)


DARK = (GROUND / 255 - 0.5) / 0.25  # the ground, as a network sees it


def small(module: nn.Module, task: str = "single label", classes: int = 2) -> Model:
    return xai.wrap_model(
        module,
        labels=[f"class {i}" for i in range(classes)],
        input_size=(3, SIDE, SIDE),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        name="hand-set",
        device="cpu",
        task=task,
    )


def subjects(count: int = 12, free: tuple[slice, slice] | None = None, **more: Any) -> list[Subject]:
    """Plain dark pictures that differ a little; artefacts may lie where it is `free`."""
    made = []
    for number in range(1, count + 1):
        chance = np.random.default_rng(number)
        pixels = np.full((SIDE, SIDE, 3), GROUND, np.uint8) + chance.integers(0, 3, (SIDE, SIDE, 1), np.uint8)
        mask = None
        if free is not None:
            mask = np.ones((SIDE, SIDE), bool)
            mask[free] = False
        sha256 = hashlib.sha256(pixels.tobytes()).hexdigest()
        made.append(Subject(number, Image(pixels, sha256, f"{number}.png"), mask=mask, **more))
    return made


TOP_LEFT = (slice(0, 32), slice(0, 32))
BOTTOM_RIGHT = (slice(32, SIDE), slice(32, SIDE))


def rows(finding: Finding, table: str = "artefacts") -> dict[str, dict[str, Any]]:
    return {line["name"]: line for line in finding.tables[table].lines()}


def used(finding: Finding) -> set[str]:
    return {name for name, line in rows(finding).items() if line["used"]}


def undecided(finding: Finding) -> set[str]:
    return {name for name, line in rows(finding).items() if line["used"] is None}


def test_a_network_that_reads_one_corner_is_exposed_by_what_lies_there() -> None:
    model = small(Corner(steep=40, level=DARK + 0.08))
    asked: dict[str, Any] = {"artefacts": "marker_l,marker_r,scanner_border,tint"}
    there = probe(model, subjects(free=TOP_LEFT), "shortcut", None, **asked)
    assert used(there) == {"marker_l", "marker_r"}
    assert not undecided(there)
    assert there.sentences[0].startswith("hand-set uses 2 of 4 artefacts: Letter ")
    elsewhere = probe(model, subjects(free=BOTTOM_RIGHT), "shortcut", None, **asked)
    assert not used(elsewhere)
    assert not undecided(elsewhere)
    assert rows(elsewhere)["marker_r"]["change"] == 0
    assert rows(elsewhere)["marker_r"]["p"] == 1
    assert elsewhere.sentences[0] == "hand-set is not found to use any of 4 artefacts, n = 12."


def test_a_network_that_reads_the_left_half_is_not_moved_by_what_lies_on_the_right() -> None:
    model = small(LeftHalf(steep=60, level=DARK + 0.04))
    asked: dict[str, Any] = {"artefacts": "marker_l,marker_r,corner_text,pen_mark"}
    right = probe(model, subjects(free=(slice(0, SIDE), slice(32, SIDE))), "shortcut", None, **asked)
    assert {line["change"] for line in rows(right).values()} == {0}
    left = probe(model, subjects(free=(slice(0, SIDE), slice(0, 32))), "shortcut", None, **asked)
    assert used(left) == set(rows(left))


@pytest.mark.parametrize(
    ("module", "exposed"),
    [
        (Colour(steep=20, level=0.35), {"tint"}),
        (Frame(steep=5, level=DARK + 1.0), {"scanner_border"}),
    ],
    ids=["colour", "frame"],
)
def test_a_network_that_reads_one_thing_is_exposed_by_that_artefact_alone(module: nn.Module, exposed: set[str]) -> None:
    finding = probe(small(module), subjects(), "shortcut", None, artefacts=LOCAL)
    assert used(finding) == exposed
    assert not undecided(finding)
    line = rows(finding)[next(iter(exposed))]
    assert line["towards"] == "class 0"
    assert line["flip_rate"] == 100
    assert line["change_low"] > 50


def test_maps_are_held_against_the_prediction() -> None:
    """In the corner network a bright letter alone has input x gradient above zero, and its gradient is the same with
    and without: one method shows the letter by construction, the other cannot; edges show it where it is not read."""
    model = small(Corner(steep=60, level=DARK + 0.05))
    methods = ["input_x_gradient", "saliency", "sobel_edges"]
    asked: dict[str, Any] = {"artefacts": "marker_r,tint"}
    there = probe(model, subjects(free=TOP_LEFT), "shortcut", methods, **asked)
    verdicts = {(line["name"], line["method"]): line for line in there.tables["maps"].lines()}
    shown = verdicts["marker_r", "Input × gradient"]
    assert shown["verdict"] == "used and shown"
    assert shown["share_with"] > 85  # all of it, where the letter decides
    assert shown["silent"] == 12  # without the letter nothing speaks for the class: as good as uniform
    assert shown["share_without"] == pytest.approx(shown["area"])
    assert verdicts["marker_r", "Saliency"]["verdict"] == "used, not shown"
    assert verdicts["marker_r", "Saliency"]["difference"] == pytest.approx(0, abs=1e-4)
    assert verdicts["tint", "Saliency"]["verdict"] == "cannot be shown"
    assert verdicts["tint", "Saliency"]["detected"] is None
    assert any(sentence.startswith("Misses: ") and "in 1 of 3 cases." in sentence for sentence in there.sentences)
    elsewhere = probe(model, subjects(free=BOTTOM_RIGHT), "shortcut", methods, **asked)
    verdicts = {(line["name"], line["method"]): line for line in elsewhere.tables["maps"].lines()}
    assert verdicts["marker_r", "Sobel edges"]["verdict"] == "not used, but lit up"
    assert verdicts["marker_r", "Saliency"]["verdict"] == "not used, not lit up"
    assert any(
        sentence.startswith("False alarms: ") and "in 1 of 3 cases." in sentence for sentence in elsewhere.sentences
    )


def test_both_maps_of_a_pair_explain_the_class_predicted_with_the_artefact() -> None:
    class Two(Corner):
        """Its second class looks at the corner at the bottom right."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.stack([self.steep * (self.read(x) - self.level), 0.1 * self.read(x.flip(2, 3))], dim=1)

    finding = probe(
        small(Two(steep=60, level=DARK + 0.05)), subjects(free=TOP_LEFT), "shortcut", "saliency", artefacts="marker_r"
    )
    [line] = finding.tables["maps"].lines()
    assert line["share_without"] == pytest.approx(line["share_with"])  # had it kept its own class: 0 against all
    assert line["share_without"] > 1


def test_a_picture_goes_through_the_network_once_and_once_per_artefact() -> None:
    finding = probe(small(Colour(steep=20, level=0.35)), subjects(), "shortcut", None, artefacts="marker_l,ruler,tint")
    assert finding.passes.forward == 12 * (1 + 3)
    again = probe(small(Colour(steep=20, level=0.35)), subjects(), "shortcut", None, artefacts="marker_l,ruler,tint")
    assert [table.rows for table in again.tables.values()] == [table.rows for table in finding.tables.values()]


def test_what_is_planted_does_not_depend_on_what_else_is_asked() -> None:
    model = small(Corner(steep=60, level=DARK + 0.05))
    alone = probe(model, subjects(), "shortcut", None, artefacts="ruler").tables["pictures"].lines()
    among = probe(model, subjects(), "shortcut", None, artefacts="tint,ruler").tables["pictures"].lines()
    assert alone == [line for line in among if line["name"] == "ruler"]


def test_the_first_picture_is_shown_without_and_with_every_artefact() -> None:
    finding = probe(small(Colour(steep=20, level=0.35)), subjects(), "shortcut", "saliency", artefacts="ruler,tint")
    assert [frame.caption for frame in finding.frames] == ["Without an artefact", "Ruler", "Colour cast"]
    plain, ruled, tinted = finding.frames
    assert plain.region is None
    assert ruled.region is not None
    assert tinted.region is not None
    assert (plain.pixels[~ruled.region] == ruled.pixels[~ruled.region]).all()
    assert tinted.region.all()
    assert tinted.facts["predicted"] == "class 0"
    assert plain.facts["predicted"] == "class 1"
    assert {frame.facts["target"] for frame in finding.frames} == {"class 1"}
    assert plain.facts["probability"] > 0.5 > tinted.facts["probability"]


def test_a_marker_of_the_data_is_taken_out_before_another_is_planted() -> None:
    model = small(Corner(steep=60, level=DARK + 0.05))
    marked = []
    for subject in subjects(24, free=TOP_LEFT):
        pixels, mask = ARTEFACTS["marker_r"].plant(
            subject.image.pixels, np.random.default_rng(subject.number), avoid=subject.mask
        )
        has = subject.number % 2 == 0
        image = dataclasses.replace(subject.image, pixels=pixels) if has else subject.image
        marked.append(dataclasses.replace(subject, image=image, parts={"marker": mask if has else np.zeros_like(mask)}))
    finding = probe(model, marked, "shortcut", None, artefacts="marker_l,ruler")
    assert [frame.caption for frame in finding.frames] == [
        "Without an artefact",
        "Letter L",
        "Ruler",
    ]  # the first: none
    turned = probe(model, [*marked[1:], marked[0]], "shortcut", None, artefacts="marker_l,ruler").frames
    assert [frame.caption for frame in turned] == ["Without an artefact", "Marker removed", "Letter L", "Ruler"]
    found = rows(finding)
    assert {name: line["n"] for name, line in found.items()} == {"marker_l": 24, "ruler": 24, "marker_removed": 12}
    assert found["marker_removed"]["pull"] > 50  # as what taking it out does
    assert found["marker_removed"]["towards"] == "class 1"
    [told] = [sentence for sentence in finding.sentences if sentence.startswith("Marker in the data, removed")]
    assert ", towards class 1 by " in told
    assert "; 12 of 12 decisions flip, all to class 1." in told
    bare = rows(probe(model, subjects(24, free=TOP_LEFT), "shortcut", None, artefacts="marker_l"))
    assert found["marker_l"]["change"] == pytest.approx(bare["marker_l"]["change"], abs=8)  # not one beside another
    assert any(
        sentence.startswith("12 of 24 pictures have a marker; it was taken out") for sentence in finding.sentences
    )


def test_a_multi_label_network_is_asked_about_its_own_label_and_a_regression_in_its_spread() -> None:
    asked: dict[str, Any] = {"artefacts": "tint,ruler"}
    labels = probe(small(Colour(steep=20, level=0.35), "multi label"), subjects(), "shortcut", None, **asked)
    line = rows(labels)["tint"]  # without it class 1 is likeliest, at one half, and nothing moves it
    assert line["change"] == 0
    assert line["pull"] > 50
    wanted = probe(
        small(Colour(steep=20, level=0.35), "multi label"), subjects(), "shortcut", None, target="class 0", **asked
    )
    assert rows(wanted)["tint"]["change"] == pytest.approx(rows(wanted)["tint"]["pull"])
    assert used(wanted) == {"tint"}

    class Value(Reader):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x[:, 0].flatten(1).mean(1, keepdim=True)

    value = probe(small(Value(1, 0), "regression", classes=1), subjects(), "shortcut", None, **asked)
    line = rows(value)["tint"]
    assert line["flip_rate"] is None
    originals = np.array([subject.image.pixels[..., 0].mean() for subject in subjects()])
    assert line["pull"] > 100 * 0.24 * 0.25 * 255 / originals.std()  # a cast of at least a quarter, in deviations
    assert "standard deviation" in value.tables["artefacts"].words["change"]


# What is refused


def test_a_single_picture_is_refused() -> None:
    with pytest.raises(SettingError, match="needs 11 or more, and was given 1"):
        probe(small(Corner(30, DARK)), subjects(1), "shortcut", None)


def test_too_few_pictures_that_can_be_read_are_refused() -> None:
    def damaged() -> bytes:
        return b"no picture"

    broken = [Case(f"{i}.png", damaged) for i in range(4)]
    with pytest.raises(SettingError, match="needs 11 or more that can be read, and 8 can"):
        probe(small(Corner(30, DARK)), [*subjects(8), *broken], "shortcut", None, artefacts="ruler")


@pytest.mark.parametrize(("artefacts", "said"), [("rular", "No artefact is called 'rular'"), (" , ", "No artefact is")])
def test_an_artefact_that_does_not_exist_is_refused(artefacts: str, said: str) -> None:
    with pytest.raises(SettingError, match=said):
        probe(small(Corner(30, DARK)), subjects(11), "shortcut", None, artefacts=artefacts)


def test_glasses_are_not_planted_where_there_are_no_eyes() -> None:
    model = small(Corner(60, DARK + 0.05))
    with pytest.raises(SettingError, match="could be planted in any"):
        probe(model, subjects(11), "shortcut", None, artefacts="glasses")
    finding = probe(model, subjects(11), "shortcut", None, artefacts="glasses,ruler")
    assert set(rows(finding)) == {"ruler"}
    [said] = [sentence for sentence in finding.sentences if sentence.startswith("Glasses: ")]
    assert said.startswith("Glasses: not planted in 11 of 11 pictures: ")
    assert "in 5, nobody marked the eyes and none were found" in said
    assert "in 6, nobody marked the eyes, and none were looked for" in said
    assert "of the 1 artefact that could be planted" in finding.sentences[0]
    eyes = np.zeros((SIDE, SIDE), bool)
    eyes[20:28, 16:48] = True
    twelve = [*subjects(11), dataclasses.replace(subjects(12)[-1], parts={"eyes": eyes})]
    assert rows(probe(model, twelve, "shortcut", None, artefacts="glasses"))["glasses"]["n"] == 1


def test_pictures_that_are_too_few_for_any_answer_get_none() -> None:
    """Changes of 90 points, which six pictures cannot tell from chance among seven artefacts."""
    flipped = [pair(np.log([0.95, 0.05]), np.log([0.05, 0.95])) for _ in range(6)]
    said = told(*(Pairs(name, name, pairs=flipped) for name in "abcdefg"))
    assert (
        said[0] == "Whether hand-set uses any of 7 artefacts cannot be decided with 6 pictures: 11 or more are needed."
    )
    assert said[1].endswith("; among 7 artefacts only 11 pictures or more can tell.")
    assert not any("chance of 80 %" in sentence for sentence in said)
    still = [pair([0, 0], [0, 0]) for _ in range(6)]
    said = told(Pairs("a", "a", pairs=still))  # a single artefact might have been found to be used, but not cleared
    assert said[0] == "Whether hand-set uses any of 1 artefact is not decided."
    assert "it may move up to 39 % of such pictures by more than 5" in said[1]


def test_what_is_decided_and_what_is_not_is_told_apart_in_the_first_sentence() -> None:
    still, one_in_twelve = [pair([0, 0], [0, 0])] * 12, [pair([0, 0], [5, 0])] + [pair([0, 0], [0, 0])] * 11
    said = told(Pairs("a", "Ruler", pairs=still), Pairs("b", "Pen mark", pairs=one_in_twelve))
    assert said[0] == "hand-set is not found to use 1 of 2 artefacts, n = 12; not decided: Pen mark."
    assert "less than 5, and as far as 12 pictures tell, fewer than 23 % of all by more than that." in said[1]
    skipped = Pairs("c", "Glasses")
    skipped.skipped["the eyes are closed"] = 12
    said = told(Pairs("a", "Ruler", pairs=still), skipped)
    assert said[0] == "hand-set is not found to use any of the 1 artefact that could be planted, n = 12."
    assert "Glasses: not planted in 12 of 12 pictures, where the eyes are closed." in said


def test_the_first_sentence_names_the_largest_effect_first_and_says_what_it_does_not_show() -> None:
    """By hand: 0.5 to 0.7 is 20 points and to 0.4 is 10, in all pictures alike, so intervals have no width."""
    half, more, less = (np.log([share, 1 - share]) for share in (0.5, 0.7, 0.4))
    given = [
        Pairs("a", "Ruler", pairs=[pair(half, less)] * 12),
        Pairs("b", "Pen mark", pairs=[pair(half, half)] * 12),
        Pairs("c", "Colour cast", pairs=[pair(half, more)] * 11),
    ]
    said = told(*given)
    caveat = "does not say that the model learned to read {}: what was never in its pictures may merely disturb it."
    assert said[0] == (
        "hand-set uses 2 of 3 artefacts: Colour cast (20 points, 95 % interval 20 to 20; 0 of 11 decisions flip) and "
        "Ruler (10 points, 10 to 10; 12 of 12 decisions flip). "
        f"That they move the prediction {caveat.format('them')} "
        "By chance alone, any of 3 tests would say used in 5 % of such sets at most."
    )
    assert said[-1] == "Not used leaves room for an artefact that moves fewer than 25 % of pictures."
    many = told(*(Pairs(name, f"Ruler {name}", pairs=[pair(half, more)] * 12) for name in "abcde"))
    assert many[0].count("interval") == 1
    assert many[0].count("decisions flip") == 3
    assert "decisions flip), Ruler d and Ruler e. That they move" in many[0]
    alone = told(given[0])
    assert f"That it moves the prediction {caveat.format('it')} By chance alone, the test would say used" in alone[0]
    assert not any("leaves room" in sentence for sentence in alone)
    assert told(given[1], Pairs("d", "Ruler", pairs=given[1].pairs[:11]))[0].endswith(" 2 artefacts, n = 11 to 12.")


A, B, C = np.log([0.9, 0.05, 0.05]), np.log([0.05, 0.9, 0.05]), np.log([0.05, 0.05, 0.9])


def test_a_marker_that_is_taken_out_is_told_as_what_its_absence_does() -> None:
    """A letter L makes it class 1, a letter R class 2, and without a letter it is class 0."""
    pairs = [pair(A, B), pair(A, C)] * 6
    answer, said = answered(Pairs("marker_removed", "Marker in the data, removed", taken_out=True, pairs=pairs))
    assert answer.towards == 0
    assert answer.pull.mean == pytest.approx(85)
    assert ", towards class 0 by 85; 12 of 12 decisions flip, all to class 0." in said
    answer, said = answered(Pairs("ruler", "Ruler", pairs=pairs))
    assert ", away from class 0 by 85, and to no one class" not in said  # each of two gains beyond chance
    assert "; 12 of 12 decisions flip, 6 to class 1 and 6 to class 2." in said  # which is no most


def test_no_class_is_named_where_markers_pull_opposite_ways() -> None:
    pairs = [pair(A, B), pair(B, A)] * 8
    answer, said = answered(Pairs("marker_removed", "Marker in the data, removed", taken_out=True, pairs=pairs))
    assert answer.used is None
    assert "towards class" not in said
    assert "markers that pull opposite ways cancel here" in said
    to = [np.log(row) for row in 0.01 + 0.9 * np.eye(9)]
    _, said = answered(Pairs("ruler", "Ruler", pairs=[pair(to[0], to[1 + i % 8]) for i in range(16)]))
    assert "away from class 0 by 90.9, and to no one class; 16 of 16 decisions flip, to 8 classes." in said
    _, said = answered(Pairs("ruler", "Ruler", pairs=[pair(to[0], to[max(1, i - 8)]) for i in range(16)]))
    assert "16 of 16 decisions flip, most to class 1." in said


def test_maps_that_are_not_decided_are_counted_as_such_and_removed_markers_are_not_counted() -> None:
    share = {"shown": Share(0.5, 0.1, 0.1), "dark": Share(0.1, 0.1, 0.1), "far": Share(0.9, 0.0, 0.1)}
    here = [(share["shown"], share["dark"], share["far"] if i == 0 else share["dark"]) for i in range(12)]
    used = [pair(A, B, shares=shares) for shares in here]
    free = [pair(A, A, shares=shares) for shares in here]
    asked = [Pairs("a", "Ruler", pairs=used), Pairs("b", "Pen mark", pairs=free)]
    asked.append(Pairs("r", "Removed", taken_out=True, pairs=used))
    answers = answers_of(asked, list("xyz"))
    assert [[one.verdict(shown) for shown in one.shown] for one in answers[:2]] == [
        ["used and shown", "used, not shown", "used, map not decided"],
        ["not used, but lit up", "not used, not lit up", "not used, map not decided"],
    ]
    said = told(*asked, methods=list("xyz"))
    [misses] = [sentence for sentence in said if sentence.startswith("Misses")]
    [alarms] = [sentence for sentence in said if sentence.startswith("False alarms")]
    assert misses.endswith("do not show it in 1 of 2 cases, and 1 more is not decided.")
    assert alarms.endswith("or more, in 1 of 2 cases, and 1 more is not decided.")
    assert "not by y; not decided of the maps by z." in said[1]


def test_tables_say_over_what_a_p_was_corrected() -> None:
    finding = probe(
        small(Colour(20, 0.35)), subjects(), "shortcut", ["saliency", "sobel_edges"], artefacts="ruler,tint,pen_mark"
    )
    assert finding.tables["artefacts"].words["p_adjusted"] == "p, corrected (Holm over 3 artefacts)"
    assert finding.tables["maps"].words["p_adjusted"] == "p, corrected (Holm over 2 artefacts × 2 methods)"


# Its statistics


def test_the_sign_flip_p_counts_every_pattern_of_signs() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, (7, 3))
    observed = np.abs(differences.mean(axis=0)).max()
    patterns = [
        np.abs((np.array(signs)[:, None] * differences).mean(axis=0)).max() >= observed - 1e-12
        for signs in itertools.product((1, -1), repeat=7)
    ]
    assert sign_flip(differences, np.random.default_rng(0)) == pytest.approx(np.mean(patterns))
    assert sign_flip(np.ones((5, 1)), np.random.default_rng(0)) == 2 / 2**5
    assert sign_flip(np.zeros((5, 2)), np.random.default_rng(0)) == 1
    assert sign_flip(np.ones((20, 1)), np.random.default_rng(0)) == pytest.approx(1e-4)


@pytest.mark.parametrize("pictures", [12, 16])
def test_without_an_effect_the_sign_flip_p_is_below_5_percent_in_5_percent(pictures: int) -> None:
    """Changes of three probabilities that add up to zero, unequally scattered: 400 times."""
    chance, small_ones = np.random.default_rng(pictures), []
    for _ in range(400):
        changes = chance.standard_t(3, (pictures, 3)) * (1, 4, 2)
        small_ones.append(sign_flip(changes - changes.mean(axis=1, keepdims=True), chance) < 0.05)
    level = share_of(small_ones)
    assert level.low is not None
    assert level.high is not None
    assert level.low <= 0.05 <= level.high


def test_the_pictures_needed_are_those_from_which_a_p_can_pass() -> None:
    for tests in range(1, 60):
        needed = pictures_needed(tests)
        assert tests * 2 / 2**needed <= 0.05 < tests * 2 / 2 ** (needed - 1)


@pytest.mark.parametrize(
    ("low", "high", "most", "p", "answer"),
    [
        (6.0, 20.0, 1.0, 0.01, True),
        (6.0, 20.0, 1.0, LEVEL, True),
        (6.0, 20.0, 1.0, 0.20, None),  # moves, but with no direction
        (4.0, 20.0, 0.5, 0.01, None),  # too wide
        (0.1, 0.9, 0.1, 0.001, False),  # significant, and small: every network answers a patch a little
        (0.1, 4.9, 0.24, 0.5, False),
        (0.1, 0.9, 0.3, 0.5, None),  # too few to know that none moves far
        (None, None, 1.0, 0.001, None),
    ],
)
def test_use_needs_a_change_that_matters_and_a_direction(
    low: float | None, high: float | None, most: float, p: float, answer: bool | None
) -> None:
    assert is_used(Mean(10, low, high, 20), Mean(0, None, most, 20), p, smallest=5) is answer


@pytest.mark.parametrize(
    ("low", "high", "p", "answer"),
    [
        (6.0, 20.0, 0.01, True),
        (6.0, 20.0, 0.20, None),
        (4.0, 20.0, 0.01, None),
        (-3.0, 4.9, 0.01, False),
        (-30.0, -10.0, 0.01, False),
        (None, None, 0.01, None),
    ],
)
def test_a_map_is_not_called_dark_because_nothing_is_known(
    low: float | None, high: float | None, p: float, answer: bool | None
) -> None:
    assert is_shown(Mean(10, low, high, 20), p, smallest=5) is answer


@pytest.mark.parametrize(("moved", "n"), [(0, 11), (1, 12), (3, 30), (7, 7)])
def test_the_share_that_moves_is_bounded_as_clopper_and_pearson_bound_it(moved: int, n: int) -> None:
    changes = np.r_[np.full(moved, 5.1), np.full(n - moved, 5.0)]
    exact = binomtest(moved, n, alternative="less").proportion_ci(0.95)
    assert beyond(changes, 5) == Mean(moved / n, None, pytest.approx(exact.high), n)  # type: ignore[arg-type]


def test_so_many_pictures_as_the_probe_asks_for_clear_an_artefact_and_no_fewer() -> None:
    least = pictures_to_clear()
    assert least == PROBES["shortcut"].fewest
    for n, answer in ((least, False), (least - 1, None)):
        changes = np.zeros(n)
        assert is_used(mean_of(changes), beyond(changes, 5), 1, 5) is answer
    assert least >= pictures_needed(len(ARTEFACTS) + 1)  # and all of them, with a marker removed, can be found


@pytest.mark.parametrize(("share", "size"), [(0.25, 90.0), (0.3, 40.0), (0.5, 12.0)])
def test_what_moves_a_quarter_of_pictures_is_called_not_used_in_5_percent_at_most(share: float, size: float) -> None:
    chance, wrong = np.random.default_rng(3), []
    for seed in range(400):
        changes = np.where(chance.random(12) < share, size, chance.uniform(0, 1, 12))
        wrong.append(is_used(mean_of(changes, seed), beyond(changes, 5), 0.001, 5) is False)
    low = share_of(wrong).low
    assert low is not None
    assert low <= 0.05


@pytest.mark.parametrize(("n", "tests"), [(9, 7), (20, 1)])
def test_the_detectable_change_is_found_with_a_power_of_80_percent(n: int, tests: int) -> None:
    chance, scatter = np.random.default_rng(1), 8.0
    pilot = chance.normal(0, 1, n)
    pilot = scatter * (pilot - pilot.mean()) / pilot.std(ddof=1)
    least = detectable(Moved(pilot, pilot[:, None]), 5, tests)
    assert least is not None
    found = 0
    for seed in range(200):
        changes = chance.normal(least, scatter, n)
        p = tests * sign_flip(changes[:, None], chance)
        found += is_used(mean_of(changes, seed), beyond(changes, 5), p, 5) is True
    assert 0.74 < found / 200 < 0.92


def test_the_detectable_change_has_the_quantiles_of_few_pictures() -> None:
    pilot = np.tile([-8.0, 8.0], 4)
    error = pilot.std(ddof=1) / np.sqrt(8)
    quantiles = [student.ppf(one, 7) for one in (0.975, 0.8)]
    assert detectable(Moved(np.abs(pilot) + pilot, pilot[:, None]), 5, tests=1) == pytest.approx(
        5 + sum(quantiles) * error
    )


def test_no_change_is_detectable_where_no_p_can_be_small_enough() -> None:
    moved = Moved(np.ones(6), np.ones((6, 1)))
    assert detectable(moved, 5, tests=1) == 5
    assert detectable(moved, 5, tests=2) is None


def prediction(logits: Sequence[float] | np.ndarray, task: str = "single label") -> Prediction:
    labels = tuple(f"class {i}" for i in range(len(logits)))
    return Prediction(labels, np.array(logits, np.float32), {"task": task}, "")


def pair(
    before: Sequence[float] | np.ndarray, after: Sequence[float] | np.ndarray, task: str = "single label", **more: Any
) -> Pair:
    given: Mapping[str, Any] = {"index": 0, "area": 0.1, "shares": (), **more}
    return Pair(1, "", prediction(before, task), prediction(after, task), **given)


def told(*asked: Pairs, methods: Sequence[str] = ()) -> list[str]:
    answers = answers_of([one for one in asked if one.pairs], methods)
    model = small(nn.Sequential(nn.AdaptiveAvgPool2d(3), nn.Flatten()), classes=27)
    return sentences_of(model, PROBES.build("shortcut"), answers, list(asked), 0)  # type: ignore[arg-type]


def answered(asked: Pairs) -> tuple[Answer, str]:
    [answer] = answers_of([asked], ())
    return answer, told(Pairs("still", "Still", pairs=[pair([0, 0], [0, 0])] * 12), asked)[2]


def test_the_change_is_half_the_distance_of_the_probabilities() -> None:
    moved = moved_by([pair(np.log([0.5, 0.3, 0.2]), np.log([0.1, 0.6, 0.3]))])
    assert moved.changes == pytest.approx([40])
    assert moved.pulls[0] == pytest.approx([-40, 30, 10], abs=1e-4)
    labels = moved_by([pair([0, 3], [np.log(3), 0], "multi label")])
    assert labels.changes == pytest.approx([25])
    values = moved_by([pair([1, 5], [3, 5], "regression")], spread=np.array([4.0, 1.0]))
    assert values.changes == pytest.approx([50])


def test_a_map_that_says_nothing_counts_as_uniform_and_one_that_is_missing_not_at_all() -> None:
    shares = [Share(0.5, None, 0.1)] * 8 + [None] * 4
    pairs = [pair([2, 0], [0, 2], shares=(share,)) for share in shares]
    [answer] = answers_of([Pairs("ruler", "Ruler", pairs=pairs)], ["Grad-CAM"])
    [shown] = answer.shown
    assert shown.difference.n == shown.silent == 8
    assert shown.difference.mean == pytest.approx(40)
    assert shown.detected is True
    assert answer.used is True


def test_p_of_all_artefacts_and_methods_are_adjusted_together() -> None:
    pairs = [pair([2, 0], [0, 2], shares=(Share(0.5, 0.1, 0.1),) * 4) for _ in range(8)]
    answers = answers_of([Pairs(name, name, pairs=pairs) for name in ("a", "b", "c")], list("wxyz"))
    assert [one.p for one in answers] == [2 / 2**8] * 3
    assert [one.adjusted for one in answers] == [3 * 2 / 2**8] * 3
    assert {shown.adjusted for one in answers for shown in one.shown} == {12 * 2 / 2**8}
    assert {shown.detected for one in answers for shown in one.shown} == {None}  # 0.09: eight pictures are too few


# The demonstration networks, whose truth is known


@pytest.fixture(scope="module")
def samples() -> list[Case]:
    cases = read_cases(Path(ROOT) / "assets" / "samples").cases
    return [case for case in cases if case.groups["family"] == "xray"]


@pytest.fixture(scope="module")
def drawn() -> list[Subject]:
    made = []
    for number in range(1, 12):
        drawing = xray.draw(700_000 + number, xray.LABELS[number % 3], marker=None, size=128)
        sha256 = hashlib.sha256(drawing.pixels.tobytes()).hexdigest()
        made.append(Subject(number, Image(drawing.pixels, sha256, f"{number}.png"), drawing.label))
    return made


@pytest.mark.parametrize("pictures", ["samples", "drawn"])
def test_the_network_that_cheats_uses_the_marker_and_grad_cam_shows_it(
    pictures: str, request: pytest.FixtureRequest
) -> None:
    model = xai.load_model("demo-xray-shortcut", device="cpu")
    finding = probe(model, request.getfixturevalue(pictures), "shortcut", "grad_cam", artefacts="marker_l,marker_r")
    found = rows(finding)
    assert {"marker_l", "marker_r"} <= used(finding)
    assert found["marker_l"]["towards"] == "comminuted fracture"
    assert found["marker_r"]["towards"] == "simple fracture"
    shown = rows(finding, "maps")
    assert shown["marker_l"]["verdict"] == shown["marker_r"]["verdict"] == "used and shown"
    assert shown["marker_l"]["difference_low"] > 20


@pytest.mark.parametrize("pictures", ["samples", "drawn"])
def test_the_honest_network_uses_no_marker(pictures: str, request: pytest.FixtureRequest) -> None:
    model = xai.load_model("demo-xray", device="cpu")
    finding = probe(model, request.getfixturevalue(pictures), "shortcut", "grad_cam", artefacts="marker_l,marker_r")
    found = rows(finding)
    assert {found[name]["used"] for name in ("marker_l", "marker_r")} == {False}
    assert all(line["change_high"] < 2 for line in found.values())
    assert {line["detected"] for line in rows(finding, "maps").values()} == {False}


def test_the_settings_come_from_text_as_a_command_line_gives_it() -> None:
    built = PROBES.build({"name": "shortcut", "artefacts": "ruler, tint", "smallest": "8"})
    assert built.chosen() == ["ruler", "tint"]  # type: ignore[attr-defined]
    assert built.cost(10, 3) == 90
