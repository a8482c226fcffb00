"""Maps against marked evidence, with numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from xai_core.errors import PictureError
from xai_core.images import Preprocessing
from xai_core.records import Explanation, Passes, Target
from xai_core.truth import distance_to, in_words, mass_inside, peak_hits, seen_by, truth_beside

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
    from xai_core.records import Image

    mask = Image(np.zeros((20, 20, 3), np.uint8), "0" * 64)
    padded = Preprocessing((3, 64, 64), (0.5,) * 3, (0.5,) * 3, crop_mode="border")
    assert not seen_by(mask, padded).any()


def test_evidence_that_the_model_did_not_see_is_said() -> None:
    assert "none of which the model saw" in in_words(explanation(np.eye(10)), np.zeros((10, 10), bool))


def test_pictures_without_marked_truth_have_none(tmp_path: Path) -> None:
    assert truth_beside(ROOT / "assets" / "samples" / "xray_normal_1.png") is None
    assert truth_beside(tmp_path / "x.png") is None
