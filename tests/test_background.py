"""What surrounds the object: networks that read nothing else, or everything but, and chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import xai_core as xai
from tests.conftest import SIDE, wrapped
from xai_core.challenge_effects import sign_flip
from xai_core.errors import SettingError
from xai_core.models import Model
from xai_core.probes import Subject
from xai_core.records import Finding, Image
from xai_core.statistics import holm, mean_of
from xai_core.surroundings import ALONG, place

OUTSIDE, OUTSIDE_EVIDENCE = "outside the object", "outside the marked evidence"
OBJECT = np.zeros((SIDE, SIDE), bool)
OBJECT[4:28, 4:16] = True  # on the left


class Reads(nn.Module):
    """f(x) = the sum of x over some pixels, its negative, and zero."""

    def __init__(self, pixels: np.ndarray) -> None:
        super().__init__()
        self.pixels = torch.from_numpy(pixels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = (x * self.pixels).flatten(1).sum(1) / 3000
        return torch.stack([total, -total, 0 * total], dim=1)


@pytest.fixture
def reads_the_object() -> Model:
    return wrapped(Reads(OBJECT))


@pytest.fixture
def reads_the_background() -> Model:
    return wrapped(Reads(~OBJECT))


def picture(seed: int, mask: np.ndarray | None = OBJECT) -> Subject:
    """Grain, with an object of another colour."""
    pixels = np.random.default_rng(seed).integers(0, 60, size=(SIDE, SIDE, 3)).astype(np.uint8)
    pixels[OBJECT] += 130
    pixels[8:24, 22:26] = 120  # something in the background, not of the border's colour
    return Subject(1, Image(pixels, f"{seed:064d}"), parts={} if mask is None else {"object": mask})


def pictures(count: int = 12, mask: np.ndarray | None = OBJECT) -> list[Subject]:
    return [picture(seed, mask) for seed in range(count)]


def asked(model: Model, subjects: Sequence[Subject], method: Any = "saliency", **settings: Any) -> Finding:
    return xai.probe(model, subjects, "background", method, **settings)


def row(found: Finding, region: str = OUTSIDE, method: str = "saliency") -> dict[str, Any]:
    [only] = [line for line in found.tables["shares"].lines() if (line["region"], line["method"]) == (region, method)]
    return only


# Truth by construction


def test_a_network_that_reads_the_background_alone_is_exposed(reads_the_background: Model) -> None:
    found = asked(reads_the_background, pictures())
    [prediction] = found.tables["prediction"].lines()
    assert prediction["change"] > 1
    assert prediction["change_low"] > 0
    assert row(found)["share"] == pytest.approx(1)
    assert row(found)["null"] == 1 - 24 * 12 / 32**2
    assert row(found)["p_adjusted"] == 2 * 2 / 2**12  # all signs alike, or all turned; two regions
    assert "the probabilities move by" in found.sentences[0]
    assert found.sentences[1].startswith(
        "Saliency lies outside the object more than chance: 100.0 % (95 % interval 100.0"
    )


def test_a_network_that_reads_the_object_alone_is_not(reads_the_object: Model) -> None:
    found = asked(reads_the_object, pictures())
    [prediction] = found.tables["prediction"].lines()
    assert (prediction["change"], prediction["flip_rate"], prediction["n"]) == (0, 0, 12)
    assert row(found)["share"] == 0
    assert row(found)["difference"] == -71.875
    assert found.sentences[0] == (
        "With all that lies outside the object painted in the colour of the border, the probabilities do not move and "
        "0 of 12 decisions flip (n = 12)."
    )
    assert found.sentences[1].startswith("Saliency lies outside the object less than chance")


def test_a_uniform_map_has_exactly_what_chance_gives_it() -> None:
    found = asked(wrapped(Reads(np.ones((SIDE, SIDE), bool))), pictures())
    for region in (OUTSIDE, ALONG):
        line = row(found, region)
        assert line["share"] == line["null"] == line["shifted"]
        assert (line["difference"], line["p"], line["as_much"]) == (0, 1, 1)
    assert "no difference from chance found outside the object" in found.sentences[1]


def test_the_band_along_the_border_is_as_wide_as_it_was_said_to_be(reads_the_object: Model) -> None:
    wide, narrow = (row(asked(reads_the_object, pictures(5), band=band), ALONG) for band in (0.25, 0.0625))
    assert wide["null"] == 1 - (16 / 32) ** 2
    assert narrow["null"] == 1 - (28 / 32) ** 2
    # of the object: four columns, and above and below the other eight, four rows each
    assert wide["share"] == pytest.approx((4 * 24 + 2 * 4 * 8) / (24 * 12))
    assert narrow["share"] == 0


# The measures


def test_shares_are_those_of_a_slow_derivation() -> None:
    chance = np.random.default_rng(3)
    values = chance.normal(size=(9, 13)).astype(np.float32)
    region = chance.random((9, 13)) < 0.3
    shifts = chance.integers(9, size=(20, 2))
    found = place(values, region, shifts)
    inside: list[float] = []
    moved: list[float] = []
    for down, across in [(0, 0), *shifts.tolist()]:
        total = sum(max(0.0, float(v)) for v in values.ravel())
        there = sum(
            max(0.0, float(values[(i - down) % 9, (j - across) % 13]))
            for i in range(9)
            for j in range(13)
            if region[i, j]
        )
        (moved if inside else inside).append(there / total)
    assert found.share == pytest.approx(inside[0])
    assert found.shifted == pytest.approx(np.mean(moved))
    assert found.as_much == np.mean([one >= inside[0] for one in moved])
    assert found.null == region.sum() / (9 * 13)


def test_over_every_shift_any_map_has_the_share_of_the_picture() -> None:
    values = np.random.default_rng(5).normal(size=(8, 6)).astype(np.float32)
    region = np.zeros((8, 6), bool)
    region[2:5, :4] = True
    every = np.array([(down, across) for down in range(8) for across in range(6)])
    assert place(values, region, every).shifted == pytest.approx(region.mean())


def test_a_map_with_nothing_above_zero_has_no_share() -> None:
    found = place(-np.ones((8, 8), np.float32), np.eye(8, dtype=bool), np.zeros((3, 2), int))
    assert (found.share, found.shifted, found.as_much) == (None, None, None)


def test_a_difference_of_the_size_that_is_stated_is_found_with_the_power_that_is_stated() -> None:
    """Maps with a known spread, shifted by the detectable difference: found in about 8 of 10 sets."""
    from xai_core.surroundings import _detectable

    chance, found = np.random.default_rng(7), []
    spread = 10.0
    size = spread / np.sqrt(24) * (2.710 + 0.858)  # of tables of t with 23 degrees: 0.05 / 8 on each side
    stated = [_detectable(chance.normal(0, spread, 24), 4) or 0.0 for _ in range(200)]
    assert np.mean(stated) == pytest.approx(size, rel=0.03)
    for _ in range(150):
        p = sign_flip(chance.normal(size, spread, (24, 1)), chance)
        found.append(4 * p <= 0.05)
    assert 0.68 < np.mean(found) < 0.9


def test_p_is_corrected_over_methods_and_regions(reads_the_background: Model) -> None:
    found = asked(reads_the_background, pictures(8), ["saliency", "input_x_gradient"])
    lines = found.tables["shares"].lines()
    assert [(line["method"], line["region"]) for line in lines] == [
        (method, region) for method in ("saliency", "input_x_gradient") for region in (OUTSIDE, ALONG)
    ]
    assert [line["p_adjusted"] for line in lines] == holm([line["p"] for line in lines])
    assert len(found.sentences) == 1 + 4 + 1


def test_how_far_probabilities_move_is_counted_by_hand_from_two_answers(reads_the_background: Model) -> None:
    [subject] = pictures(1)
    pixels = subject.image.pixels.copy()
    edge = np.ones((SIDE, SIDE), bool)
    edge[2:-2, 2:-2] = False  # 5 % of 32 pixels
    pixels[~OBJECT] = np.rint(np.median(pixels[edge], axis=0))
    before, after = (
        xai.predict(reads_the_background, image).probabilities.astype(float)
        for image in (subject.image, Image(pixels, "1"))
    )
    [line] = asked(reads_the_background, [subject], None).tables["prediction"].lines()
    assert line["change"] == pytest.approx(50 * sum(abs(a - b) for a, b in zip(before, after, strict=True)))
    labels = xai.wrap_model(
        Reads(~OBJECT), labels=["a", "b", "c"], task="multi label", input_size=(3, SIDE, SIDE), mean=(0.5,) * 3,
        std=(0.25,) * 3, device="cpu",
    )  # fmt: skip
    before, after = (
        xai.predict(labels, image).probabilities.astype(float) for image in (subject.image, Image(pixels, "1"))
    )
    for name, index in (("a", 0), ("c", 2)):  # of the label that is asked about
        [line] = asked(labels, [subject], None, target=name).tables["prediction"].lines()
        assert line["change"] == pytest.approx(100 * abs(before[index] - after[index]))
    value = xai.wrap_model(
        Reads(~OBJECT), labels=["a", "b", "c"], task="regression", input_size=(3, SIDE, SIDE), mean=(0.5,) * 3,
        std=(0.25,) * 3, device="cpu",
    )  # fmt: skip
    [line] = asked(value, [subject], None, target="a").tables["prediction"].lines()
    assert (line["change"], line["flip_rate"], line["n"]) == (None, None, 0)
    assert "no probabilities" in asked(value, [subject], None, target="a").sentences[0]


# The object, and bad input


def test_where_nobody_marked_the_object_it_is_estimated_shown_and_said(reads_the_background: Model) -> None:
    found = asked(reads_the_background, [*pictures(4), *pictures(8, mask=None)[4:]])
    assert [line["source"] for line in found.tables["pictures"].lines()[::2]] == ["object, marked in the data"] * 4 + [
        "object, estimated from its colours"
    ] * 4
    assert "on 4 of 8 pictures" in found.sentences[-2]
    assert [frame.caption for frame in found.frames][3:5] == [
        "Picture 4: the object, marked in the data",
        "Picture 5: the object, estimated from its colours",
    ]
    assert len(found.frames) == 6
    for frame in found.frames:
        assert frame.region is not None
        assert np.array_equal(frame.region, OBJECT)
        assert frame.values is not None
    assert row(found)["source"] == "object, estimated from its colours: 4; object, marked in the data: 4"


def test_the_object_comes_before_marked_evidence_which_is_never_called_object(reads_the_object: Model) -> None:
    evidence = np.zeros((SIDE, SIDE), bool)
    evidence[8:12, 6:10] = True  # a part of the object
    both = [replace(one, mask=evidence) for one in pictures(8)]
    assert row(asked(reads_the_object, both))["share"] == 0
    only = [replace(one, parts={}) for one in both]
    found = asked(reads_the_object, only)
    assert row(found, OUTSIDE_EVIDENCE)["share"] == pytest.approx(1 - 16 / (24 * 12))
    assert "outside the marked evidence" in found.sentences[0]
    assert "Saliency lies outside the marked evidence less than chance" in found.sentences[1]
    assert found.frames[0].caption == "Picture 1: the marked evidence, marked in the data"
    assert not any("object" in sentence for sentence in found.sentences)
    assert {line["region"] for line in found.tables["pictures"].lines()} == {OUTSIDE_EVIDENCE, ALONG}
    mixed = asked(reads_the_object, [*only[:4], *both[4:]])
    assert "outside the object or marked evidence" in mixed.sentences[0]
    assert {line["region"] for line in mixed.tables["pictures"].lines()} == {OUTSIDE, OUTSIDE_EVIDENCE, ALONG}


def test_the_mask_is_not_looked_at_where_an_estimate_is_wanted(reads_the_object: Model) -> None:
    other = np.zeros((SIDE, SIDE), bool)
    other[:9] = True
    found = asked(reads_the_object, pictures(5, other), object="estimated")
    assert row(found)["share"] == 0
    assert row(asked(reads_the_object, pictures(5, other)))["share"] > 0.5


@pytest.mark.parametrize(("covers", "said"), [(True, "covers all"), (False, "covers nothing")])
def test_a_mask_that_covers_all_or_nothing_is_left_out_and_said(
    reads_the_object: Model, covers: bool, said: str
) -> None:
    useless = np.full((SIDE, SIDE), covers)
    found = asked(reads_the_object, [picture(0, useless), *pictures(6)[1:]])
    assert found.left_out == (f"Picture 1: Its object {said} of what the model sees, so nothing can lie outside it.",)
    assert (len(found.pictures), row(found)["n"]) == (5, 5)
    with pytest.raises(SettingError, match=rf"^No picture can be asked .*{said}"):
        asked(reads_the_object, [picture(0, useless)])


def test_a_picture_without_a_mask_or_without_an_object_is_left_out(reads_the_object: Model) -> None:
    plain = Subject(1, Image(np.full((SIDE, SIDE, 3), 77, np.uint8), "7" * 64))
    found = asked(reads_the_object, [plain, *pictures(3)])
    assert found.left_out == (
        "Picture 1: No object could be told from its ground: the picture has one colour. Give a mask.",
    )
    found = asked(reads_the_object, [*pictures(2), picture(2, None)], object="marked")
    assert found.left_out == ("Picture 3: It has no mask that marks its object or its evidence.",)


def test_few_pictures_are_said_to_be_too_few(reads_the_background: Model) -> None:
    found = asked(reads_the_background, pictures(1))
    assert found.sentences[0].startswith("With all that lies outside the object")
    assert " points and the decision " in found.sentences[0]
    assert "1 of 1" not in found.sentences[0]
    assert found.sentences[1].endswith("; too few pictures to tell: 7 or more are needed (n = 1).")
    assert row(found)["share_low"] is None
    assert row(found)["detectable"] is None


def test_six_pictures_can_pass_one_test_and_not_two(reads_the_background: Model) -> None:
    # Of 6 pictures the smallest p is 2/64 = .03125, times two tests .0625: no difference whatever could be found.
    found = asked(reads_the_background, pictures(6))
    assert row(found)["p_adjusted"] == pytest.approx(0.0625)
    assert row(found)["detectable"] is None
    assert row(found)["note"] == "too few pictures to tell: 7 or more are needed"
    assert all(
        one.endswith("; too few pictures to tell: 7 or more are needed (n = 6).") for one in found.sentences[1:3]
    )
    assert not any("could have shown" in sentence for sentence in found.sentences)
    assert "more than chance" in asked(reads_the_background, pictures(7)).sentences[1]


def test_what_would_have_been_found_needs_pictures_that_scatter() -> None:
    from xai_core.surroundings import _detectable

    some = np.random.default_rng(2).normal(0, 5, 12)
    assert _detectable(some[:6], 1) is not None
    assert [_detectable(some[:n], 2) is None for n in (0, 1, 6, 7)] == [True, True, True, False]
    assert _detectable(np.full(12, 0.1 + 0.2), 2) is None


def test_a_change_that_is_none_is_not_called_strange(reads_the_object: Model, reads_the_background: Model) -> None:
    assert "strange" not in asked(reads_the_object, pictures(5)).sentences[0]
    assert "strange" in asked(reads_the_background, pictures(5)).sentences[0]


def test_intervals_are_drawn_with_the_seed_that_was_asked_for(reads_the_object: Model) -> None:
    wide = np.zeros((SIDE, SIDE), bool)
    subjects = []
    for number, one in enumerate(pictures(8)):
        own = wide.copy()
        own[4:28, : 6 + number] = True
        subjects.append(replace(one, parts={"object": own}))
    for seed in (0, 5):
        found = asked(reads_the_object, subjects, seed=seed)
        own = [line for line in found.tables["pictures"].lines() if line["region"] == OUTSIDE]
        line = row(found)
        expected = mean_of([one["share"] for one in own], seed)
        assert (line["share_low"], line["share_high"]) == (expected.low, expected.high)
        [prediction] = found.tables["prediction"].lines()
        expected = mean_of([one["change"] for one in own], seed)
        assert (prediction["change_low"], prediction["change_high"]) == (expected.low, expected.high)


def test_maps_that_show_nothing_have_no_share_and_that_is_said() -> None:
    found = asked(wrapped(Reads(np.zeros((SIDE, SIDE), bool))), pictures(6))
    assert row(found)["share"] is None
    assert row(found)["p_adjusted"] is None
    assert row(found)["note"] == "undefined on every picture"
    assert found.sentences[1] == "Saliency has nothing above zero on any picture, so no share of it lies anywhere."
    assert found.sentences[2].startswith("Where a map lies is no proof")


def test_predictions_alone_may_be_asked_about(reads_the_background: Model) -> None:
    found = asked(reads_the_background, pictures(5), None)
    assert len(found.sentences) == 1
    assert found.tables["shares"].rows == ()
    assert len(found.tables["pictures"].rows) == 5


def test_the_same_seed_gives_the_same_numbers_whoever_else_is_asked_about(reads_the_object: Model) -> None:
    once, again = (asked(reads_the_object, pictures(6)) for _ in range(2))
    assert {name: table.rows for name, table in once.tables.items()} == {
        name: table.rows for name, table in again.tables.items()
    }
    few = asked(reads_the_object, pictures(6)[4:])
    one, other = (found.tables["pictures"].lines()[-1] for found in (few, once))
    assert {**one, "picture": 0} == {**other, "picture": 0}


def fourfold(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(4, axis=0).repeat(4, axis=1)


def test_a_large_upload_is_asked_about_as_the_model_sees_it(reads_the_background: Model) -> None:
    subjects = [
        replace(one, image=Image(fourfold(one.image.pixels), one.image.sha256), parts={"object": fourfold(OBJECT)})
        for one in pictures(5)
    ]
    assert row(asked(reads_the_background, subjects))["share"] == pytest.approx(1)
