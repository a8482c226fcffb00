"""What is laid over a picture: where, how much of it, and that the strongest dose hides what it is meant to hide."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

import xai_core as xai
from tests.conftest import png_of
from xai_core.covering import laid, line, outline, rectangle, rounded
from xai_core.demo import face
from xai_core.demo.drawing import Drawing
from xai_core.parts import WHOLE, part_of
from xai_core.probes import Part, Perturbation, Subject
from xai_core.probes.medical_mask import CLOTH, FOLD, LOOP
from xai_core.probes.patch import GREY, PLACES

NAMES = ("patch", "eye_bar", "glasses", "medical_mask", "lower_face")
CHANCE = np.random.default_rng(0)  # none of them asks it


def probe(name: str, **settings: object) -> Perturbation:
    return cast(Perturbation, xai.PROBES.build({"name": name, **settings}))


def boxed(left: float, top: float, right: float, bottom: float, shape: tuple[int, int] = (60, 80)) -> Part:
    mask = np.zeros(shape, bool)
    mask[round(top) : round(bottom), round(left) : round(right)] = True
    return Part(mask, (left, top, right, bottom), "drawn by hand")


@pytest.fixture(scope="module", params=[2, 13, 24])
def drawing(request: pytest.FixtureRequest) -> Drawing:
    return face.draw(request.param, face.LABELS[request.param % 5], size=160, glasses=False)


def subject(drawing: Drawing, *marked: str) -> Subject:
    return Subject(
        1, xai.read_image(png_of(drawing.pixels)), parts={name: drawing.masks[name] for name in ("face", *marked)}
    )


def at_doses(one: Perturbation, drawing: Drawing, *marked: str) -> list[np.ndarray]:
    part = part_of(subject(drawing, *marked), one.part)
    return [one.apply(drawing.pixels, dose, part, CHANCE) for dose in one.doses()]


@pytest.mark.parametrize("name", NAMES)
def test_an_occlusion_begins_with_the_picture_and_covers_more_with_every_dose(name: str, drawing: Drawing) -> None:
    one = probe(name, steps=8)
    first, *others = at_doses(one, drawing, "eyes")
    np.testing.assert_array_equal(first, drawing.pixels)
    away = [np.abs(other.astype(int) - drawing.pixels).sum() for other in others]
    assert all(np.diff(away) > 0)
    measures = np.array([one.measure(pixels) for pixels in (first, *others)])
    steps = np.diff(measures)
    rounding = 0.02 if name == "lower_face" else 0.0  # of a mean colour to whole levels
    assert (steps > -rounding).all() or (steps < rounding).all()
    assert abs(measures[-1] - measures[0]) > 10 * rounding


@pytest.mark.parametrize("name", [name for name in NAMES if name != "patch"])
def test_what_lies_away_from_the_face_keeps_its_bytes(name: str, drawing: Drawing) -> None:
    strongest = at_doses(probe(name), drawing, "eyes")[-1]
    rows, columns = np.nonzero((strongest != drawing.pixels).any(2))
    face_rows, face_columns = np.nonzero(drawing.masks["face"])
    beyond = 0.1 * np.ptp(face_columns)
    assert face_rows.min() < rows.min() <= rows.max() < face_rows.max() + beyond
    assert face_columns.min() - beyond < columns.min() <= columns.max() < face_columns.max() + beyond


# ---- a patch


def test_a_patch_is_a_grey_rectangle_of_that_share_of_the_box() -> None:
    pixels = np.full((60, 80, 3), 7, np.uint8)
    quarter = probe("patch").apply(pixels, 0.25, boxed(10, 20, 50, 40), CHANCE)
    np.testing.assert_array_equal((quarter == GREY).all(2), boxed(20, 25, 40, 35).mask)
    assert probe("patch").measure(quarter) == 20 * 10 / (60 * 80)
    whole = probe("patch", without_box=0.1).apply(pixels, 1.0, boxed(10, 20, 50, 40), CHANCE)
    np.testing.assert_array_equal((whole == GREY).all(2), boxed(10, 20, 50, 40).mask)


@pytest.mark.parametrize("place", PLACES)
def test_a_patch_grows_from_the_place_that_was_chosen(place: str) -> None:
    pixels = np.zeros((60, 80, 3), np.uint8)
    rows, columns = np.nonzero(probe("patch", place=place).apply(pixels, 1 / 16, boxed(0, 0, 80, 60), CHANCE).any(2))
    assert (np.ptp(rows) + 1, np.ptp(columns) + 1) == (15, 20) or "t" in place or "left" in place
    assert rows.min() == (0 if "top" in place else 45 if "bottom" in place else rows.min())
    assert columns.min() == (0 if "left" in place else 60 if "right" in place else columns.min())
    assert len(rows) == pytest.approx(15 * 20, rel=0.15)


@pytest.mark.parametrize(("share", "settings"), [(0.5, {}), (0.2, {"without_box": 0.2})])
def test_without_a_box_the_strongest_patch_leaves_the_rest_of_the_picture(
    share: float, settings: dict[str, float]
) -> None:
    pixels = np.zeros((60, 80, 3), np.uint8)
    part = part_of(Subject(1, xai.read_image(png_of(pixels))), "patch")
    assert part.source == WHOLE
    one = probe("patch", **settings)
    for dose in one.doses():
        covered = one.apply(pixels, dose, part, CHANCE).mean() / 128
        assert covered == pytest.approx(dose * share, abs=0.004)


def test_the_edge_of_a_patch_mixes_by_the_share_of_a_pixel() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    patched = probe("patch").apply(pixels, 1.0, boxed(0.25, 1.0, 3.0, 2.5, (4, 4)), CHANCE)[..., 0]
    np.testing.assert_array_equal(patched, [[0, 0, 0, 0], [96, 128, 128, 0], [48, 64, 64, 0], [0, 0, 0, 0]])


# ---- the eyes


def test_the_bar_covers_the_eyes_from_the_middle_outwards(drawing: Drawing) -> None:
    eyes = drawing.masks["eyes"]
    columns = np.nonzero(eyes)[1]
    middle, width = (columns.min() + columns.max() + 1) / 2, np.ptp(columns) + 1
    for dose, pixels in zip(probe("eye_bar").doses()[1:], at_doses(probe("eye_bar"), drawing, "eyes")[1:], strict=True):
        black = (pixels == 0).all(2)
        covered = np.nonzero((black & (drawing.pixels != 0).any(2)).any(0))[0]
        assert abs((covered.min() + covered.max() + 1) / 2 - middle) <= 1
        assert abs(len(covered) - dose * width) <= 2.5
    assert black[eyes].all()


def test_glasses_take_that_share_of_the_light_and_at_last_all_that_the_eyes_show(drawing: Drawing) -> None:
    _, *others = at_doses(probe("glasses"), drawing, "eyes")
    doses = probe("glasses").doses()[1:]
    eyes = drawing.masks["eyes"]
    for dose, pixels in zip(doses, others, strict=True):
        left = pixels[eyes] / np.maximum(drawing.pixels[eyes], 1)
        bright = drawing.pixels[eyes] > 60
        assert np.median(left[bright]) == pytest.approx(1 - dose, abs=0.02)
        assert (pixels <= drawing.pixels).all()
    assert (others[-1][eyes] == 0).all()
    nose = drawing.masks["nose"]
    assert (others[-1][nose] == drawing.pixels[nose]).mean() > 0.9


# ---- the lower face


def test_the_medical_mask_rises_from_the_chin_and_hides_mouth_and_nose(drawing: Drawing) -> None:
    _, *others = at_doses(probe("medical_mask"), drawing)
    tops = [np.nonzero((pixels != drawing.pixels).any(2))[0].min() for pixels in others]
    assert (np.diff(tops) < 0).all()
    cloth = np.isin(others[-1].astype(int) @ (65536, 256, 1), [np.dot(one, (65536, 256, 1)) for one in (CLOTH, FOLD)])
    blended = np.abs(others[-1].astype(int) - CLOTH).max(2) <= 30
    assert (cloth | blended)[drawing.masks["mouth"]].all()
    assert (cloth | blended)[drawing.masks["nose"]].mean() > 0.97
    eyes = drawing.masks["eyes"]
    np.testing.assert_array_equal(others[-1][eyes], drawing.pixels[eyes])
    assert cloth.mean() > 0.9 * probe("medical_mask").measure(others[-1]) > 0.05
    assert (others[-1] == LOOP).all(2).any()


def test_the_lower_face_fades_into_its_own_mean(drawing: Drawing) -> None:
    *_, weak, strong = at_doses(probe("lower_face", steps=4), drawing)
    mask = part_of(subject(drawing), "lower_face").mask
    mean = drawing.pixels[mask].mean(0)
    assert np.abs(strong[mask] - mean).max() <= 0.5
    assert np.abs(weak[mask] - (mean + 0.25 * (drawing.pixels[mask] - mean))).max() <= 0.5
    np.testing.assert_array_equal(strong[~mask], drawing.pixels[~mask])
    assert mask[drawing.masks["mouth"]].all()
    assert not mask[~drawing.masks["face"]].any()


# ---- shapes


def test_a_rectangle_covers_as_much_of_a_pixel_as_lies_inside() -> None:
    cover = rectangle((3, 4), (0.5, -5.0, 2.25, 1.5))
    np.testing.assert_allclose(cover, [[0.5, 1, 0.25, 0], [0.25, 0.5, 0.125, 0], [0, 0, 0, 0]])
    assert not rectangle((3, 4), (2.0, 1.0, 2.0, 3.0)).any()


def test_outlines_and_lines_lie_where_edges_say() -> None:
    square = outline((20, 20), np.array([(4.0, 6.0), (14.0, 6.0), (14.0, 11.0), (4.0, 11.0)]))
    assert square[7:10, 5:13].min() == 1
    assert square[:5].max() == square[13:].max() == square[:, :3].max() == square[:, 16:].max() == 0
    pen = line((20, 20), np.array([(2.0, 10.5), (18.0, 10.5)]), 3)
    assert pen[10, 4:16].min() == 1
    assert pen[:7].max() == pen[14:].max() == 0


def test_cut_corners_stay_inside_and_keep_the_middle() -> None:
    square = np.array([(0, 0), (8, 0), (8, 8), (0, 8)], float)
    cut = rounded(square)
    assert len(cut) == 32
    assert cut.min() >= 0
    assert cut.max() <= 8
    np.testing.assert_allclose(cut.mean(0), (4, 4))
    assert np.abs(cut - 4).max(1).max() == 4  # the middles of the sides stay
    assert np.hypot(*(cut - 4).T).max() < np.hypot(4, 4) - 1


def test_a_colour_laid_with_no_cover_leaves_every_byte() -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(laid(pixels, np.zeros((9, 7), np.float32), (1, 2, 3)), pixels)
    cover = np.zeros((9, 7), np.float32)
    cover[2, 3], cover[6, 1] = 1, 0.5
    expected = pixels.copy()
    expected[2, 3], expected[6, 1] = (1, 2, 3), np.rint((pixels[6, 1] + np.array((1, 2, 3), np.float32)) / 2)
    np.testing.assert_array_equal(laid(pixels, cover, (1, 2, 3)), expected)
