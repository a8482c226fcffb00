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
from xai_core.records import Finding, Image, Prediction
from xai_core.statistics import holm
from xai_core.surroundings import ALONG, OUTSIDE, change, place

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
    return Subject(1, Image(pixels, f"{seed:064d}"), mask=mask)


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
    assert found.sentences[1].startswith("Saliency lies outside the object more than chance: 100% (100 to 100)")


def test_a_network_that_reads_the_object_alone_is_not(reads_the_object: Model) -> None:
    found = asked(reads_the_object, pictures())
    [prediction] = found.tables["prediction"].lines()
    assert (prediction["change"], prediction["flip_rate"], prediction["n"]) == (0, 0, 12)
    assert row(found)["share"] == 0
    assert row(found)["difference"] == -71.875
    assert "the probabilities move by 0.0 points" in found.sentences[0]
    assert "and 0 of 12 decisions flip" in found.sentences[0]
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


def says(logits: Sequence[float] | np.ndarray, task: str = "single label") -> Prediction:
    return Prediction(("a", "b", "c"), np.array(logits, np.float32), {"task": task}, "")


def test_how_far_probabilities_move_is_half_of_what_all_of_them_move() -> None:
    one, other = says(np.log([0.5, 0.3, 0.2])), says(np.log([0.2, 0.3, 0.5]))
    assert change(one, other) == pytest.approx(30)
    assert change(one, one) == 0
    some, others = says([0, 0, 0], "multi label"), says([np.log(3), 0, 0], "multi label")
    assert change(some, others) == pytest.approx(25)
    assert change(says([1, 2, 3], "regression"), says([0, 0, 0], "regression")) is None


# The object, and bad input


def test_where_nobody_marked_the_object_it_is_estimated_shown_and_said(reads_the_background: Model) -> None:
    found = asked(reads_the_background, [*pictures(4), *pictures(8, mask=None)[4:]])
    assert [line["source"] for line in found.tables["pictures"].lines()[::2]] == ["marked in the data"] * 4 + [
        "estimated from its colours"
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
    assert row(found)["source"] == "marked in the data: 4, estimated from its colours: 4"


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
    assert found.left_out == ("Picture 3: It has no mask that marks its object.",)


def test_few_pictures_are_said_to_be_too_few(reads_the_background: Model) -> None:
    found = asked(reads_the_background, pictures(1))
    assert found.sentences[1].endswith("1 pictures are too few to tell that from chance.")
    assert row(found)["share_low"] is None
    assert row(found)["detectable"] is None


def test_maps_that_show_nothing_have_no_share_and_that_is_said() -> None:
    found = asked(wrapped(Reads(np.zeros((SIDE, SIDE), bool))), pictures(6))
    assert row(found)["share"] is None
    assert row(found)["p_adjusted"] is None
    assert row(found)["note"] == "undefined on every picture"
    assert "nothing above zero" in found.sentences[1]


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
        replace(one, image=Image(fourfold(one.image.pixels), one.image.sha256), mask=fourfold(OBJECT))
        for one in pictures(5)
    ]
    assert row(asked(reads_the_background, subjects))["share"] == pytest.approx(1)
