"""Maps against marked evidence, with numbers worked out by hand."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from xai_core.errors import PictureError, SettingError
from xai_core.images import Preprocessing
from xai_core.records import Explanation, Image, Passes, Target
from xai_core.truth import (
    as_seen,
    distance_to,
    fitted_mask,
    highest_inside,
    in_words,
    mass,
    mass_inside,
    peak_hits,
    seen_by,
    truth_beside,
)

MASK = np.zeros((10, 10), bool)
MASK[2:4, 2:4] = True  # 4 of 100 pixels


def explanation(values: np.ndarray) -> Explanation:
    return Explanation(
        values.astype(np.float32), np.zeros((*values.shape, 3), np.uint8), {"name": "m"}, {"name": "n"},
        Target(0, "a"), "0" * 64, 0, 0.0, Passes(), values.shape,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("values", "share"),
    [
        (np.ones((10, 10)), 0.04),
        (MASK * 3.0, 1.0),
        (~MASK * 2.0, 0.0),
        (np.where(MASK, 24.0, 1.0), 0.5),
        (np.where(MASK, 1.0, -5.0), 1.0),
        (-np.ones((10, 10)), None),
    ],
)
def test_mass_inside_by_hand(values: np.ndarray, share: float | None) -> None:
    assert mass_inside(values, MASK) == (None if share is None else pytest.approx(share))


@pytest.mark.parametrize(("place", "away"), [((2, 2), 0), ((3, 6), 3), ((7, 7), np.hypot(4, 4)), ((0, 3), 2)])
def test_distance_to_the_mask_by_hand(place: tuple[int, int], away: float) -> None:
    assert distance_to(MASK, place) == pytest.approx(away)


def test_the_pointing_game_counts_a_near_peak_within_the_tolerance_only() -> None:
    values = np.zeros((10, 10))
    values[3, 6] = 1
    assert peak_hits(explanation(values), MASK, tolerance=3) is True
    assert peak_hits(explanation(values), MASK, tolerance=2.9) is False


def test_a_flat_map_neither_hits_nor_misses() -> None:
    assert peak_hits(explanation(np.ones((10, 10))), MASK, tolerance=20) is None


def test_the_comparison_in_words_by_hand() -> None:
    values = np.where(MASK, 24.0, 1.0)
    assert in_words(explanation(values), MASK) == (
        "peaks inside the marked evidence (one cell of the map is 1 pixels); 50% of its mass lies inside, "
        "where a uniform map has 4%"
    )
    values[3, 6] = 30
    assert in_words(explanation(values), MASK).startswith("peaks 3 pixels from the marked evidence")


def test_an_empty_mask_is_a_sentence() -> None:
    with pytest.raises(PictureError, match="marks nothing"):
        distance_to(np.zeros((4, 4), bool), (0, 0))


def test_the_truth_of_a_sample_is_found_and_seen_as_the_model_sees_pictures() -> None:
    mask = truth_beside(ROOT / "assets" / "samples" / "xray_simple_fracture_1.png")
    assert mask is not None
    seen = seen_by(mask, Preprocessing((3, 128, 128), (0.5,) * 3, (0.5,) * 3))
    full = mask.pixels[..., 0] > 127
    assert seen.shape == (128, 128)
    assert seen.mean() == pytest.approx(full.mean(), rel=0.25)
    assert np.abs(np.argwhere(seen).mean(0) * 2 - np.argwhere(full).mean(0)).max() < 3


def test_what_fills_a_border_is_not_taken_for_marked_evidence() -> None:
    mask = Image(np.zeros((20, 20, 3), np.uint8), "0" * 64)
    padded = Preprocessing((3, 64, 64), (0.5,) * 3, (0.5,) * 3, crop_mode="border")
    assert not seen_by(mask, padded).any()


def test_evidence_that_the_model_did_not_see_is_said() -> None:
    assert "none of which the model saw" in in_words(explanation(np.eye(10)), np.zeros((10, 10), bool))


def test_pictures_without_marked_truth_have_none(tmp_path: Path) -> None:
    assert truth_beside(ROOT / "assets" / "samples" / "xray_normal_1.png") is None
    assert truth_beside(tmp_path / "x.png") is None


def test_mass_is_the_positive_part_as_shares() -> None:
    assert mass(np.array([[3.0, -8.0], [1.0, 0.0]])) == pytest.approx(np.array([[0.75, 0], [0.25, 0]]))
    assert mass(np.array([[0.0, -1.0]])) is None


def picture(pixels: np.ndarray) -> Image:
    return Image(np.repeat(pixels[..., None].astype(np.uint8), 3, axis=2), "0" * 64)


def drawn_by_lot(values: np.ndarray, mask: np.ndarray, count: int) -> dict[int, float]:
    """The slow way: every order of the pixels, those of higher value first."""
    orders = [
        order
        for order in itertools.permutations(range(values.size))
        if all(values.flat[a] >= values.flat[b] for a, b in itertools.pairwise(order))
    ]
    inside = [int(mask.flat[list(order[:count])].sum()) for order in orders]
    return {number: inside.count(number) / len(inside) for number in sorted(set(inside))}


@pytest.mark.parametrize("count", [1, 2, 3, 5, 7])
@pytest.mark.parametrize(
    "row", [[0, 0, 0, 0, 0, 0, 0], [7, 6, 5, 4, 3, 2, 1], [2, 1, 1, 1, 1, 0, 0], [0, 0, 1, 1, 0, 3, 3]]
)
def test_the_highest_pixels_inside_equal_those_of_every_order_of_equals(row: list[int], count: int) -> None:
    values, mask = np.array([row], float), np.array([[1, 0, 1, 1, 0, 0, 1]], bool)
    inside, likely = highest_inside(values, mask, count)
    slow = drawn_by_lot(values, mask, count)
    assert inside.tolist() == list(slow)
    assert likely == pytest.approx(list(slow.values()))


def test_a_large_draw_has_the_hypergeometric_chances_of_scipy() -> None:
    from scipy.stats import hypergeom

    mask = np.zeros((60, 60), bool)
    mask[:10, :20] = True
    inside, likely = highest_inside(np.zeros((60, 60)), mask, 90)
    assert inside.tolist() == list(range(91))
    assert likely == pytest.approx(hypergeom.pmf(inside, 3600, 200, 90), abs=1e-9)
    assert inside @ likely == pytest.approx(5)


SIX = Preprocessing((3, 6, 4), (0.5,) * 3, (0.5,) * 3)


def test_a_mask_array_of_the_model_s_own_size_is_taken_as_it_is() -> None:
    mask = np.random.default_rng(0).random((6, 4)) > 0.5
    assert np.array_equal(as_seen(mask, SIX), mask)


def test_a_mask_array_of_another_size_and_the_same_shape_is_resized_by_nearest_neighbour() -> None:
    small = np.array([[1, 0], [0, 1], [1, 1]], bool)
    assert np.array_equal(as_seen(small, SIX), np.kron(small, np.ones((2, 2), bool)))
    assert np.array_equal(as_seen(np.kron(small, np.ones((6, 6), bool)), SIX), np.kron(small, np.ones((2, 2), bool)))


@pytest.mark.parametrize(("shape", "said"), [((4, 6), "6 × 4"), ((6, 6), "6 × 6"), ((60, 50), "50 × 60")])
def test_a_mask_array_of_another_shape_is_refused_with_both_sizes(shape: tuple[int, int], said: str) -> None:
    with pytest.raises(SettingError, match=f"{said} pixels.* 4 × 6"):
        as_seen(np.ones(shape, bool), SIX)


@pytest.mark.parametrize(
    "mask", [np.ones((6, 4)), np.ones((6, 4), np.uint8), np.ones((1, 6, 4), bool), np.ones((0, 0), bool)]
)
def test_a_mask_array_that_is_no_mask_is_refused(mask: np.ndarray) -> None:
    with pytest.raises(SettingError, match="True and False"):
        as_seen(mask, SIX)


def test_a_mask_given_as_a_picture_is_seen_as_the_model_sees_pictures() -> None:
    mask = picture(np.kron(np.array([[255, 0], [0, 255]]), np.ones((40, 40))))
    assert np.array_equal(as_seen(mask, SIX), seen_by(mask, SIX))


def test_a_mask_of_the_picture_s_shape_gets_the_picture_s_size() -> None:
    marked = np.zeros((3, 4))
    marked[1, 2] = 255
    fitted = fitted_mask(picture(marked), picture(np.zeros((30, 40)))).pixels[..., 0]
    assert np.array_equal(fitted, np.kron(marked, np.ones((10, 10))))
    back = fitted_mask(picture(fitted), picture(np.zeros((3, 4)))).pixels[..., 0]
    assert np.array_equal(back, marked)


def test_a_pixel_of_a_resized_mask_is_the_one_its_middle_lies_in() -> None:
    numbered = np.arange(9).reshape(3, 3)
    fitted = fitted_mask(picture(numbered), picture(np.zeros((2, 2)))).pixels[..., 0]
    assert fitted.tolist() == [[0, 2], [6, 8]]


def test_a_mask_of_the_picture_s_size_is_not_touched() -> None:
    mask = picture(np.eye(9) * 255)
    assert fitted_mask(mask, picture(np.ones((9, 9)))) is mask


@pytest.mark.parametrize(
    ("height", "width", "scale"), [(333, 500, 0.5), (1023, 767, 0.31), (50, 37, 7.3), (2000, 1333, 0.1)]
)
def test_a_mask_whose_sides_were_rounded_still_fits(height: int, width: int, scale: float) -> None:
    mask = picture(np.zeros((round(height * scale), round(width * scale))))
    assert fitted_mask(mask, picture(np.zeros((height, width)))).pixels.shape == (height, width, 3)


@pytest.mark.parametrize("shape", [(40, 30), (30, 30), (300, 414), (30, 42)])
def test_a_mask_of_another_shape_is_refused_with_both_sizes(shape: tuple[int, int]) -> None:
    with pytest.raises(PictureError, match=f"{shape[1]} × {shape[0]} pixels and the picture 40 × 30"):
        fitted_mask(picture(np.zeros(shape)), picture(np.zeros((30, 40))))


@pytest.mark.parametrize(
    ("table", "outcome"),
    [
        ("file,mask\nb.png,no.png\na.png,m.png\na.png,no.png\n", "found"),
        ("mask,file\nm.png,a.png,more\n", "found"),  # cells too many are none of a mask's business
        ("label,file,mask\nx,a.png\n", None),
        ("file,mask\na.png,\n", None),
        ("file,label\na.png,x\n", None),
        ("name,mask\na.png,m.png\n", None),
        ("", None),
        ("file,mask\na.png,../m.png\n", "outside its folder"),
        ("file,mask\nb\0,\na.png,m.png\n", "zero byte in line 2"),
    ],
)
def test_a_mask_is_found_by_the_first_row_of_any_table_beside_a_picture(
    tmp_path: Path, table: str, outcome: str | None
) -> None:
    from PIL import Image as PillowImage

    PillowImage.new("L", (5, 3)).save(tmp_path / "m.png")
    (tmp_path / "labels.csv").write_text(table)
    if outcome in (None, "found"):
        mask = truth_beside(tmp_path / "a.png")
        assert (None if mask is None else mask.name) == (outcome and "m.png")
    else:
        with pytest.raises(PictureError, match=outcome):
            truth_beside(tmp_path / "a.png")
