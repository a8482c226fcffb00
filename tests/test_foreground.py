"""The object that stands out by its colours: where it is known, by slow counting, and where nothing can be told."""

from __future__ import annotations

import numpy as np
import pytest

from xai_core.errors import PictureError
from xai_core.foreground import BORDER, ground_of, object_of


def disc(side: int = 96, radius: float = 0.3, centre: tuple[float, float] = (0.5, 0.5)) -> np.ndarray:
    row, column = np.mgrid[:side, :side] + 0.5
    return np.asarray(np.hypot(row - centre[0] * side, column - centre[1] * side) < radius * side)


def painted(
    mask: np.ndarray, on: tuple[int, int, int] = (210, 90, 40), off: tuple[int, int, int] = (30, 60, 90)
) -> np.ndarray:
    """Two colours, each with some grain."""
    grain = np.random.default_rng(0).integers(-9, 10, size=(*mask.shape, 3))
    return np.asarray(np.clip(np.where(mask[..., None], on, off) + grain, 0, 255), np.uint8)


def test_a_disc_on_plain_ground_is_found_to_the_pixel() -> None:
    mask = disc()
    assert np.array_equal(object_of(painted(mask)), mask)


def test_dark_on_light_is_the_same_object_as_light_on_dark() -> None:
    mask = disc(centre=(0.4, 0.6), radius=0.2)
    assert np.array_equal(object_of(255 - painted(mask)), object_of(painted(mask)))


def test_colours_of_one_brightness_are_told_apart() -> None:
    mask = disc()
    assert np.array_equal(object_of(painted(mask, on=(200, 100, 60), off=(60, 100, 200))), mask)


def test_what_the_object_surrounds_belongs_to_it() -> None:
    assert np.array_equal(object_of(painted(disc() & ~disc(radius=0.15))), disc())


def test_of_two_pieces_the_larger_is_the_object() -> None:
    small, large = disc(radius=0.1, centre=(0.2, 0.2)), disc(radius=0.2, centre=(0.65, 0.65))
    assert np.array_equal(object_of(painted(small | large)), large)


def test_a_large_picture_is_looked_at_in_steps_and_its_object_is_as_large() -> None:
    mask = disc(side=1100)[:, :700]
    found = object_of(painted(mask))
    assert found.shape == mask.shape
    assert (found & mask).sum() / (found | mask).sum() > 0.98


def test_the_picture_is_left_as_it_was_and_the_answer_is_always_the_same() -> None:
    pixels = painted(disc())
    before = pixels.copy()
    assert np.array_equal(object_of(pixels), object_of(pixels))
    assert np.array_equal(pixels, before)


def test_the_ground_is_the_median_colour_of_the_border_alone() -> None:
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[1:-1, 2:-2] = 200  # 5 % of 20 is a row, of 40 two columns
    pixels[0, :5] = 255  # a median does not mind
    assert BORDER == 0.05
    assert ground_of(pixels).tolist() == [0, 0, 0]


def test_it_agrees_with_a_slow_derivation() -> None:
    """The threshold by trying all of them, and the pieces by walking, on a picture with two pieces and a hole."""
    pixels = painted((disc(48) & ~disc(48, 0.1)) | disc(48, 0.08, (0.1, 0.9)))
    band = [pixels[i, j] for i in range(48) for j in range(48) if min(i, j, 47 - i, 47 - j) < 2]
    away = np.sqrt(((pixels - np.median(band, axis=0)) ** 2).sum(2))
    counts, edges = np.histogram(away, 256)
    middles = (edges[1:] + edges[:-1]) / 2
    between = []
    for cut in range(1, 256):
        low, high = counts[:cut], counts[cut:]
        means = [(part * at).sum() / part.sum() for part, at in ((low, middles[:cut]), (high, middles[cut:]))]
        between.append(low.sum() * high.sum() * (means[0] - means[1]) ** 2)
    far = away > middles[int(np.argmax(between))]

    def walk(start: tuple[int, int], open_: np.ndarray) -> set[tuple[int, int]]:
        seen, todo = {start}, [start]
        while todo:
            i, j = todo.pop()
            for near in ((i + 1, j), (i - 1, j), (i, j + 1), (i, j - 1)):
                if near not in seen and min(near) >= 0 and max(near) < 48 and open_[near]:
                    seen.add(near)
                    todo.append(near)
        return seen

    outside = np.zeros_like(far)
    for i, j in walk((0, 0), ~far):  # the ground is of one piece here
        outside[i, j] = True
    pieces = [walk((int(i), int(j)), ~outside) for i, j in np.argwhere(~outside)]
    slow = np.zeros_like(far)
    for i, j in max(pieces, key=len):
        slow[i, j] = True
    assert np.array_equal(object_of(pixels), slow)


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.full((64, 64, 3), 90, np.uint8), "one colour"),
        (painted(disc(radius=0.05)), "covers 0.8 % of the picture"),
        (painted(np.pad(np.ones((94, 94), bool), 1)), "covers 100.0 % of the picture"),
    ],
    ids=["nothing", "next to nothing", "all but a thin frame"],
)
def test_where_nothing_can_be_told_that_is_said(pixels: np.ndarray, words: str) -> None:
    with pytest.raises(PictureError, match=words) as refused:
        object_of(pixels)
    assert str(refused.value).endswith("Give a mask.")


def test_an_xray_has_its_bone_in_the_object() -> None:
    from xai_core.demo import xray

    shares = []
    for seed in range(9_000_000, 9_000_012):
        drawing = xray.draw(seed, "normal", None)
        shares.append((object_of(drawing.pixels) & drawing.masks["bone"]).sum() / drawing.masks["bone"].sum())
    assert np.median(shares) > 0.9
