"""Planted artefacts: exactly their pixels change, the same every time, and they lie where people lay them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.conftest import photograph
from xai_core.artefacts import ARTEFACTS, lead_letter, taken_out
from xai_core.demo import xray
from xai_core.probes import Part

ANYWHERE = [name for name, artefact in ARTEFACTS.items() if not artefact.needs]
LOCAL = [name for name in ANYWHERE if not ARTEFACTS[name].everywhere]
CORNER = ["marker_l", "marker_r", "corner_text", "pen_mark"]


def flat(level: int, height: int = 64, width: int = 64) -> np.ndarray:
    return np.full((height, width, 3), level, np.uint8)


def brightness(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(pixels @ np.array([0.299, 0.587, 0.114]))


GROUNDS = {
    "black": flat(0, 32, 32),
    "white": flat(255, 40, 33),
    "grey": flat(128, 128, 90),
    "photograph": photograph(200),
    "radiograph": xray.draw(3, "normal", marker=None, size=128).pixels,
}


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("name", ANYWHERE)
def test_the_pixels_of_the_mask_change_and_no_other(name: str, ground: str) -> None:
    before = GROUNDS[ground]
    kept = before.copy()
    for seed in range(4):
        after, mask = ARTEFACTS[name].plant(before, np.random.default_rng(seed))
        assert after.dtype == np.uint8
        assert after.shape == before.shape
        assert mask.dtype == bool
        changed = (after != before).any(axis=2)
        assert changed.any()
        assert (changed == mask).all() or ARTEFACTS[name].everywhere
    assert (before == kept).all()


@pytest.mark.parametrize("name", ANYWHERE)
def test_the_same_random_numbers_plant_the_same_and_others_another(name: str) -> None:
    planted = [ARTEFACTS[name].plant(GROUNDS["photograph"], np.random.default_rng(seed))[0] for seed in (0, 0, 1)]
    assert (planted[0] == planted[1]).all()
    assert (planted[0] != planted[2]).any()


@pytest.mark.parametrize("level", [0, 60, 200, 255])
@pytest.mark.parametrize("name", LOCAL)
def test_an_artefact_stands_out_on_dark_and_on_light_ground(name: str, level: int) -> None:
    after, mask = ARTEFACTS[name].plant(flat(level), np.random.default_rng(0))
    away = np.abs(brightness(after)[mask] - level)
    assert away.max() > 80
    assert away.mean() > 40


@pytest.mark.parametrize("level", [60, 128, 190])
def test_a_colour_cast_moves_the_colour_everywhere_and_leaves_the_brightness(level: int) -> None:
    after, mask = ARTEFACTS["tint"].plant(flat(level), np.random.default_rng(0))
    assert mask.all()
    assert (after[..., 0].astype(int) - after[..., 2] > 35).all()
    assert np.abs(brightness(after) - level).max() < 2


def test_a_lead_letter_is_as_tall_as_asked_and_turns() -> None:
    upright, turned = (lead_letter("L", 30.0, turn) for turn in (0.0, 14.0))
    assert abs(upright.shape[0] - 30 * 0.73) < 4  # a capital's share of the height of a line
    assert upright[:, : upright.shape[1] // 3].mean() > 0.6  # the stem of an L
    assert upright[: upright.shape[0] // 2, upright.shape[1] // 2 :].max() < 0.1
    assert turned.shape[1] > upright.shape[1]


@pytest.mark.parametrize("name", ["marker_l", "marker_r"])
def test_a_planted_marker_has_the_ink_and_size_of_a_drawn_one(name: str) -> None:
    for seed in range(3):
        bare = xray.draw(seed, "normal", marker=None, size=128).pixels
        drawn = xray.draw(seed, "normal", marker=name[-1].upper(), size=128)
        mask = drawn.masks["marker"]
        after, planted = ARTEFACTS[name].plant(bare, np.random.default_rng(seed))
        bright = brightness(after)[planted] > 150  # as the demonstration marks ink, without its soft edge
        assert 0.5 < bright.sum() / mask.sum() < 2
        assert abs(brightness(after)[planted].max() - brightness(drawn.pixels)[mask].max()) < 40


@pytest.mark.parametrize("name", CORNER)
@pytest.mark.parametrize("free", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_what_lies_in_a_corner_takes_the_one_that_is_free(name: str, free: tuple[int, int]) -> None:
    avoid = np.ones((96, 128), bool)
    rows, columns = (np.s_[:48] if free[0] == 0 else np.s_[48:]), (np.s_[:64] if free[1] == 0 else np.s_[64:])
    avoid[rows, columns] = False
    for seed in range(4):
        _, mask = ARTEFACTS[name].plant(flat(20, 96, 128), np.random.default_rng(seed), avoid=avoid)
        assert not (mask & avoid).any()


@pytest.mark.parametrize("name", CORNER)
def test_what_lies_in_a_corner_keeps_to_quiet_ground(name: str) -> None:
    busy = flat(20, 128, 128)
    busy[64:] = np.random.default_rng(0).integers(0, 255, (64, 128, 3))
    sides = set()
    for seed in range(12):
        _, mask = ARTEFACTS[name].plant(busy, np.random.default_rng(seed))
        rows, columns = np.nonzero(mask)
        assert rows.mean() < 64
        sides.add((columns.mean() < 40, columns.mean() > 88))
    assert len(sides) >= 2  # not always the same place


def test_a_ruler_lies_along_a_quiet_edge() -> None:
    busy = flat(20, 128, 128)
    busy[20:, 20:] = np.random.default_rng(0).integers(0, 255, (108, 108, 3))
    upright = set()
    for seed in range(12):
        _, mask = ARTEFACTS["ruler"].plant(busy, np.random.default_rng(seed))
        assert not mask[20:, 20:].any()
        upright.add(bool(mask[:, :20].sum() > mask[:20].sum()))
    assert upright == {True, False}


@pytest.mark.parametrize("name", LOCAL)
def test_an_artefact_lies_where_the_model_looks(name: str) -> None:
    for seed in range(4):
        _, mask = ARTEFACTS[name].plant(flat(30, 64, 160), np.random.default_rng(seed), box=(48.0, 0.0, 112.0, 64.0))
        assert mask[:, 48:112].any()
        assert name == "scanner_border" or (not mask[:, :48].any() and not mask[:, 112:].any())


def test_glasses_are_fitted_to_the_eyes() -> None:
    eyes = np.zeros((128, 128), bool)
    eyes[50:60, 35:95] = True
    part = Part(eyes, (35.0, 50.0, 95.0, 60.0), "marked in the data")
    after, mask = ARTEFACTS["glasses"].plant(flat(170, 128, 128), np.random.default_rng(0), part)
    rows, columns = np.nonzero(mask)
    assert (mask == (after != 170).any(axis=2)).all()
    assert 35 < rows.mean() < 75
    assert 45 < columns.mean() < 85
    assert mask.mean() < 0.2
    assert not mask[53:57, 45:55].any()  # the eye itself stays in view


def test_a_marker_that_is_taken_out_leaves_the_ground_and_nothing_else_changes() -> None:
    whole = flat(40, 128, 128)
    with_it, mask = ARTEFACTS["marker_r"].plant(whole, np.random.default_rng(0))
    marked = mask & (brightness(with_it) > 110)  # as data mark it: without its soft edge
    cleaned = taken_out(with_it, marked)
    assert np.abs(cleaned.astype(int) - whole).max() <= 8
    rows, columns = np.nonzero(marked)
    far = np.ones_like(mask)
    far[rows.min() - 4 : rows.max() + 5, columns.min() - 4 : columns.max() + 5] = False
    assert (cleaned[far] == with_it[far]).all()
