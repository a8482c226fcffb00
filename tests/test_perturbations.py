"""Changes of a picture with a dose: nothing at zero, one way as the dose grows, and masks that move along."""

from __future__ import annotations

import dataclasses
import io
import itertools
from typing import cast

import numpy as np
import pytest
from PIL import Image as PillowImage
from scipy import ndimage

import xai_core as xai
from tests.conftest import photograph
from xai_core.dose_sentences import amount
from xai_core.errors import PictureError
from xai_core.photometry import black_frame, detail, spread
from xai_core.probes import Part, Perturbation, colour_temperature
from xai_core.probes.skin_tone import skin

NAMES = [name for name in xai.PROBES if issubclass(xai.PROBES[name], Perturbation)]
OTHER_WAY = {"brightness": -0.4, "gamma": 1.5, "colour_temperature": -80.0, "skin_tone": 30.0, "rotation": -30.0}


def grey(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., :1], 3, axis=2)


def random_pixels(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (height, width, 3), dtype=np.uint8)


PICTURES = {
    "a face": photograph(128, 110),
    "grey, odd sides": grey(photograph(256))[3:134, 40:113],
    "random": random_pixels(47, 64),
    "8 x 8": photograph()[60:68, 60:68],
    "8 x 51": photograph()[60:68, 40:91],
    "black margins": np.pad(photograph()[40:90, 40:110], [(9, 9), (12, 12), (0, 0)]),
    "one colour": np.full((21, 34, 3), (120, 90, 60), np.uint8),
}


def perturbation(name: str, **settings: object) -> Perturbation:
    return cast(Perturbation, xai.PROBES.build({"name": name, **settings}))


def part(pixels: np.ndarray) -> Part:
    """A square in the middle, for those that must know where something is."""
    height, width = pixels.shape[:2]
    mask = np.zeros((height, width), bool)
    mask[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
    box = (width // 4, height // 4, width - width // 4, height - height // 4)
    return Part(mask, tuple(map(float, box)), "drawn by hand")  # type: ignore[arg-type]


def changed(probe: Perturbation, pixels: np.ndarray, dose: float) -> np.ndarray:
    return probe.apply(pixels, dose, part(pixels), np.random.default_rng(0))


def both_ways(name: str) -> list[Perturbation]:
    """As it is, and the other way where there is one."""
    return [perturbation(name)] + ([perturbation(name, strongest=OTHER_WAY[name])] if name in OTHER_WAY else [])


@pytest.mark.parametrize("pixels", PICTURES.values(), ids=PICTURES)
@pytest.mark.parametrize("name", NAMES)
def test_dose_zero_is_the_identity_to_the_byte(name: str, pixels: np.ndarray) -> None:
    probe = perturbation(name)
    assert probe.doses()[0] == 0
    same = changed(probe, pixels, 0.0)
    assert same.dtype == np.uint8
    np.testing.assert_array_equal(same, pixels)
    np.testing.assert_array_equal(probe.move(pixels.shape[:2], 0.0), np.eye(2, 3))


def asked(name: str) -> list[np.ndarray]:
    """The pictures that can be asked about: of a tone of skin only those that show skin."""
    return [pixels for pixels in PICTURES.values() if name != "skin_tone" or skin(pixels).mean() > 0.01]


@pytest.mark.parametrize("name", NAMES)
def test_every_dose_makes_a_picture_twice_the_same_and_leaves_the_original_alone(name: str) -> None:
    for pixels, probe in itertools.product(asked(name), both_ways(name)):
        frozen = pixels.copy()
        frozen.flags.writeable = False
        for dose in (*probe.doses()[1:], probe.strength / 1000):
            once, again = changed(probe, frozen, dose), changed(probe, frozen, dose)
            assert once.dtype == np.uint8
            assert once.shape == pixels.shape or (name == "crop" and once.size and once.shape[2] == 3)
            np.testing.assert_array_equal(once, again)
            assert not np.shares_memory(once, frozen)
        np.testing.assert_array_equal(frozen, pixels)


@pytest.mark.parametrize("name", NAMES)
def test_what_it_measures_moves_one_way_as_the_dose_grows(name: str) -> None:
    rounding = {"jpeg": 0.001, "contrast": 0.3}.get(name, 1e-9)
    for (called, pixels), probe in itertools.product(PICTURES.items(), both_ways(name)):
        if name == "skin_tone" and skin(pixels).mean() < 0.01:
            continue
        if name == "rotation" and called == "black margins":  # interpolated with what is beside them, by half a pixel
            rounding = 0.02
        measures = np.array([probe.measure(changed(probe, pixels, dose)) for dose in probe.doses()])
        steps = np.diff(measures)
        assert np.isfinite(measures).all()
        assert (steps >= -rounding).all() or (steps <= rounding).all(), (called, measures)
        assert called != "a face" or measures[-1] != measures[0]


@pytest.mark.parametrize("name", [name for name in OTHER_WAY if name != "rotation"])
def test_the_sign_of_the_dose_is_the_direction_of_the_measure(name: str) -> None:
    pixels = PICTURES["a face"]
    for probe in both_ways(name):
        last = probe.measure(changed(probe, pixels, probe.strength))
        assert np.sign(last - probe.measure(pixels)) == np.sign(probe.strength)


@pytest.mark.parametrize("name", NAMES)
def test_the_strongest_dose_that_is_allowed_works_on_the_smallest_pictures(name: str) -> None:
    strongest = next(field for field in dataclasses.fields(xai.PROBES[name]) if field.name == "strongest")
    for extreme in (strongest.metadata["low"], strongest.metadata["high"]):
        probe = perturbation(name, strongest=extreme)
        for called in ("8 x 8", "8 x 51"):
            if name != "skin_tone" or skin(PICTURES[called]).mean() > 0.01:
                after = changed(probe, PICTURES[called], probe.strength)
                assert after.size
                assert np.isfinite(probe.measure(after))


# Masks and boxes move with the picture.


def moved(mask: np.ndarray, matrix: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Where a mask is afterwards: slowly, by asking of each pixel where its middle came from."""
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    after = np.zeros(shape, bool)
    for row, column in np.ndindex(*shape):
        x, y, _ = back @ [column + 0.5, row + 0.5, 1]
        if 0 <= x < mask.shape[1] and 0 <= y < mask.shape[0]:
            after[row, column] = mask[int(y), int(x)]
    return after


@pytest.mark.parametrize("shape", [(40, 40), (41, 60), (61, 38)])
@pytest.mark.parametrize("name", NAMES)
def test_a_planted_square_is_where_move_says(name: str, shape: tuple[int, int]) -> None:
    if name not in ("rotation", "crop"):
        np.testing.assert_array_equal(perturbation(name).move(shape, 1.0), np.eye(2, 3))
        return
    mask = np.zeros(shape, bool)
    mask[6:17, 24:33] = True
    pixels = np.where(mask, 255, 0)[..., None].repeat(3, axis=2).astype(np.uint8)
    for probe in both_ways(name):
        for dose in probe.doses():
            after = changed(probe, pixels, dose)
            expected = moved(mask, probe.move(shape, dose), after.shape[:2])
            found = after[..., 0] > 127
            edge = ndimage.binary_dilation(found) & ~ndimage.binary_erosion(found)
            np.testing.assert_array_equal(found[~edge], expected[~edge])
            assert (found != expected).sum() <= (0 if name == "crop" else 8)
            assert dose == 0 or name == "crop" or (found != mask).sum() > 15


def test_a_positive_angle_turns_against_the_clock() -> None:
    probe = perturbation("rotation")
    right_of_the_middle = probe.move((100, 200), 30.0) @ [150, 50, 1]
    np.testing.assert_allclose(right_of_the_middle, [100 + 50 * np.cos(np.pi / 6), 50 - 25])


def test_a_turn_there_and_back_leaves_the_middle_of_a_smooth_picture() -> None:
    rows, columns = np.mgrid[:61, :80]
    pixels = np.stack([2 * rows, 2 * columns, rows + columns], axis=2).astype(np.uint8)
    probe = perturbation("rotation")
    again = changed(probe, changed(probe, pixels, 25.0), -25.0)
    assert np.abs(again[20:40, 25:55].astype(int) - pixels[20:40, 25:55]).max() <= 2


# Each by hand.


def test_brightness_adds_and_clips() -> None:
    pixels = np.array([[[0, 100, 250]]], np.uint8)
    assert changed(perturbation("brightness"), pixels, 0.1)[0, 0].tolist() == [26, 126, 255]
    assert changed(perturbation("brightness"), pixels, -0.5)[0, 0].tolist() == [0, 0, 122]
    assert perturbation("brightness").measure(np.full((2, 2, 3), 51, np.uint8)) == pytest.approx(0.2)


def test_contrast_goes_towards_the_mean_of_each_colour() -> None:
    pixels = np.array([[[100, 0, 10], [200, 0, 30]]], np.uint8)
    assert changed(perturbation("contrast"), pixels, 0.5)[0].tolist() == [[125, 0, 15], [175, 0, 25]]
    assert changed(perturbation("contrast"), pixels, 1.0)[0].tolist() == [[150, 0, 20], [150, 0, 20]]
    assert perturbation("contrast").measure(pixels) == pytest.approx(np.sqrt((50**2 + 0 + 10**2) / 3))


def test_gamma_leaves_black_and_white_and_moves_the_middle() -> None:
    pixels = np.array([[[0, 64, 255]]], np.uint8)
    assert changed(perturbation("gamma"), pixels, 1.0)[0, 0].tolist() == [0, round(255 * (64 / 255) ** 0.5), 255]
    assert changed(perturbation("gamma"), pixels, -1.0)[0, 0].tolist() == [0, round(64 * 64 / 255), 255]


def test_warm_light_is_a_lamp_of_known_colour_and_keeps_the_luminance_of_grey() -> None:
    red, green, blue = colour_temperature.white(1e6 / 2856)
    x, y = 0.44758, 0.40745  # CIE standard illuminant A
    expected = colour_temperature.TO_RGB @ [x / y, 1, (1 - x - y) / y]
    np.testing.assert_allclose([red, green, blue], expected, atol=0.005)
    grey_pixels = np.full((4, 4, 3), 120, np.uint8)
    for dose in (-60.0, 100.0, 200.0):
        light = srgb_to_light(changed(perturbation("colour_temperature"), grey_pixels, dose)[0, 0] / 255)
        before = srgb_to_light(np.array(120 / 255))
        assert light @ [0.2126, 0.7152, 0.0722] == pytest.approx(float(before), rel=0.02)
        assert (light[0] > light[2]) == (dose > 0)


def srgb_to_light(stored: np.ndarray) -> np.ndarray:
    return np.where(stored <= 0.04045, stored / 12.92, ((stored + 0.055) / 1.055) ** 2.4)


def test_skin_gets_the_lightness_that_was_asked_for_and_the_rest_keeps_its_bytes() -> None:
    from skimage.color import rgb2lab

    pixels = np.full((100, 120, 3), (40, 90, 200), np.uint8)  # blue
    pixels[20:80, 30:90] = (205, 160, 130)  # skin
    before = rgb2lab(pixels)[50, 60]
    for dose in (-30.0, 10.0):
        after = changed(perturbation("skin_tone"), pixels, dose)
        tone = rgb2lab(after)[50, 60]
        less = min(1, (before[0] + dose) / before[0]) ** 0.5
        np.testing.assert_allclose(tone, [before[0] + dose, less * before[1], less * before[2]], atol=0.6)
        np.testing.assert_array_equal(after[:10], pixels[:10])
        np.testing.assert_array_equal(after[:, 100:], pixels[:, 100:])


@pytest.mark.parametrize(
    "tone", [(255, 219, 190), (224, 172, 138), (198, 134, 96), (141, 85, 56), (89, 56, 40), (60, 40, 30)]
)
def test_skin_of_every_tone_has_the_colour_of_skin(tone: tuple[int, int, int]) -> None:
    assert skin(np.full((2, 2, 3), tone, np.uint8)).all()


@pytest.mark.parametrize("colour", [(128, 128, 128), (205, 194, 188), (200, 120, 60), (60, 160, 60), (40, 60, 150)])
def test_walls_and_bright_cloth_have_not(colour: tuple[int, int, int]) -> None:
    assert not skin(np.full((2, 2, 3), colour, np.uint8)).any()


def test_a_picture_without_skin_is_refused_in_a_sentence() -> None:
    with pytest.raises(PictureError, match="colour of skin"):
        changed(perturbation("skin_tone"), PICTURES["grey, odd sides"], -10.0)


def test_blur_is_the_gaussian_of_another_library() -> None:
    pixels = PICTURES["a face"]
    expected = ndimage.gaussian_filter(pixels.astype(np.float64), (2.56, 2.56, 0), mode="reflect", truncate=4)
    after = changed(perturbation("blur"), pixels, 2.0)  # 2 % of 128 pixels
    assert np.abs(after - expected).max() <= 0.6


def test_noise_has_the_deviation_that_was_asked_for_and_grows_from_one_draw() -> None:
    pixels = np.full((200, 201, 3), 128, np.uint8)
    probe = perturbation("noise")
    weak, strong = (changed(probe, pixels, dose).astype(float) - 128 for dose in (0.04, 0.08))
    assert weak.std() == pytest.approx(0.04 * 255, rel=0.02)
    assert np.abs(strong - 2 * weak).max() <= 1.5
    assert probe.measure(changed(probe, pixels, 0.04)) == pytest.approx(0.04 * 255, rel=0.03)
    assert (changed(probe, PICTURES["grey, odd sides"], 0.1).std(axis=2) == 0).all()
    assert weak.std(axis=2).max() == 0
    assert changed(probe, PICTURES["a face"], 0.1).std(axis=2).max() > 0


def test_jpeg_is_the_file_of_that_quality() -> None:
    pixels = PICTURES["random"]
    stored = io.BytesIO()
    PillowImage.fromarray(pixels).save(stored, "JPEG", quality=30, subsampling=2)
    np.testing.assert_array_equal(changed(perturbation("jpeg"), pixels, 70.0), np.array(PillowImage.open(stored)))
    assert not np.array_equal(changed(perturbation("jpeg"), pixels, 0.01), pixels)


def test_jpeg_measures_the_share_of_cosines() -> None:
    wave = 60 * np.cos(np.pi / 8 * (np.arange(16) % 8 + 0.5) * 2)
    pixels = np.rint(128 + np.broadcast_to(wave[None, :, None], (8, 16, 3))).astype(np.uint8)
    assert perturbation("jpeg").measure(pixels) == pytest.approx(2 / 64)  # the mean and one wave


def test_a_picture_too_long_for_jpeg_is_refused_in_a_sentence() -> None:
    with pytest.raises(PictureError, match="65500 pixels"):
        changed(perturbation("jpeg"), np.zeros((8, 66_000, 3), np.uint8), 10.0)


def test_resolution_loses_what_is_finer_than_its_pixels_alone() -> None:
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[:, 32:] = 200
    pixels[::2, ::2] += 50
    after = changed(perturbation("resolution"), pixels, 3.0)
    np.testing.assert_allclose(after[:, :20].astype(float), 12.5, atol=2)
    np.testing.assert_allclose(after[:, 44:].astype(float), 212.5, atol=2)
    assert len(np.unique(changed(perturbation("resolution"), PICTURES["random"], 7.0).reshape(-1, 3), axis=0)) == 1


def test_crop_leaves_what_is_inside() -> None:
    pixels = PICTURES["random"]  # 47 x 64
    np.testing.assert_array_equal(changed(perturbation("crop"), pixels, 25.0), pixels[12:35, 16:48])
    assert changed(perturbation("crop"), np.zeros((400, 800, 3), np.uint8), 25.0).shape == (200, 400, 3)


def test_border_removal_paints_the_band_and_nothing_else() -> None:
    pixels = PICTURES["random"]  # 47 x 64
    after = changed(perturbation("border_removal"), pixels, 25.0)
    np.testing.assert_array_equal(after[12:35, 16:48], pixels[12:35, 16:48])
    after[12:35, 16:48] = 0
    assert not after.any()


def test_detail_and_frames_by_hand() -> None:
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[:, 1] = 30
    assert detail(pixels) == pytest.approx((0 + 4 * 30) / 7)  # 3 pairs down, 4 across
    assert black_frame(pixels) == pytest.approx(4 / 6)
    assert black_frame(np.pad(np.zeros((2, 2, 3), np.uint8), [(1, 1), (1, 1), (0, 0)], constant_values=9)) == 0
    assert detail(pixels[:1, :1]) == 0
    assert spread(np.array([[[0, 0, 30], [20, 0, 30]]], np.uint8)) == pytest.approx(np.sqrt((10**2 + 0 + 0) / 3))


@pytest.mark.parametrize("name", NAMES)
def test_a_dose_in_a_sentence_is_a_number_with_a_short_unit(name: str) -> None:
    probe = perturbation(name)
    short = amount(probe, probe.strength)
    assert len(short) <= 20, short
    assert " of " not in short
    assert amount(probe, probe.strength, whole=True).startswith(short)
