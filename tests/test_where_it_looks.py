"""Metrics that read the map itself: closed forms, numbers by hand, slow second derivations, and Quantus."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

import xai_core as xai
from tests.conftest import SIDE, Linear, convolutions, seeded, wrapped
from xai_core.errors import SettingError
from xai_core.metrics import METRICS
from xai_core.metrics.entropy import entropy
from xai_core.metrics.mean_focus_radius import focus_radius
from xai_core.metrics.sparseness import gini
from xai_core.metrics.top_k_iou import expected_iou
from xai_core.models import Model
from xai_core.records import Explanation, Image, Passes, Score, Target
from xai_core.scoring import score_many
from xai_core.truth import border, mass

PLACES = ["mean_focus_radius", "centre_of_mass", "border_share"]
MARKED = ["background_share", "pointing_game", "mass_accuracy", "rank_accuracy", "top_k_iou"]
OF_MASS = [*PLACES, "background_share", "mass_accuracy"]
ALL = ["sparseness", "entropy", "effective_area", *PLACES, "completeness_gap", *MARKED]

MASK = np.zeros((SIDE, SIDE), bool)
MASK[4:12, 6:16] = True  # 80 of 1,024 pixels
NOISE = np.random.default_rng(3).normal(size=(SIDE, SIDE))


def explained(model: Model, values: np.ndarray, method: str = "saliency", **facts: Any) -> Explanation:
    """A map as if that method had made it."""
    pixels = np.zeros((*values.shape, 3), np.uint8)
    facts = {"grid": values.shape, **facts}
    return Explanation(
        values.astype(np.float32), pixels, {"name": method}, model.identity, Target(0, "class 0"), "0" * 64, 0, 0.0,
        Passes(), **facts,
    )  # fmt: skip


def scored(model: Model, values: np.ndarray, metric: str, *, mask: Any = None, **settings: Any) -> Score:
    return xai.score(model, explained(model, values), metric, mask=mask, **settings)


def spot(*places: tuple[int, int], size: float = 1.0) -> np.ndarray:
    values = np.zeros((SIDE, SIDE))
    for place in places:
        values[place] = size
    return values


# ---- complexity: closed forms --------------------------------------------------------------------------------------

RAMP = np.arange(1.0, 10_001).reshape(100, 100)
DRAWN = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("values", "number", "within"),
    [
        (np.full((224, 224), 3.0), 0.0, 1e-12),
        (spot((5, 7)), 1 - 1 / SIDE**2, 1e-12),
        (RAMP, 9999 / 30_000, 1e-12),
        (-RAMP, 9999 / 30_000, 1e-12),
        (DRAWN.normal(size=(300, 300)), np.sqrt(2) - 1, 0.003),
        (DRAWN.exponential(size=(300, 300)), 0.5, 0.004),
    ],
    ids=["uniform", "one pixel", "ramp", "ramp against", "half-normal noise", "exponential noise"],
)
def test_the_gini_of_a_known_map(values: np.ndarray, number: float, within: float) -> None:
    assert gini(values) == pytest.approx(number, abs=within)


@pytest.mark.parametrize(
    ("values", "number", "within"),
    [
        (np.full((224, 224), 3.0), 10.8233, 1e-4),
        (spot((5, 7)), 0.0, 1e-12),
        (spot((5, 7), (1, 1), (2, 2), size=-4), np.log(3), 1e-12),
        (np.array([[1.0, -3.0]]), 2 * np.log(2) - 0.75 * np.log(3), 1e-12),
        (RAMP, np.log(10_000) + 0.5 - np.log(2), 1e-3),  # - integral of 2 u ln 2 u
    ],
    ids=["uniform", "one pixel", "three pixels", "a quarter and three", "ramp"],
)
def test_the_entropy_of_a_known_map(values: np.ndarray, number: float, within: float) -> None:
    assert entropy(values) == pytest.approx(number, abs=within)


def gaussian(sigma: float, row: float, column: float, side: int = 200) -> np.ndarray:
    rows, columns = np.indices((side, side))
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / (2 * sigma**2))


@pytest.mark.parametrize("threshold", [0.1, 0.5])
def test_the_effective_area_of_a_gaussian_is_that_of_a_disc(threshold: float) -> None:
    model = wrapped(seeded(convolutions), side=200)
    found = scored(model, -gaussian(20, 90, 110), "effective_area", threshold=threshold)
    assert found.value == pytest.approx(2 * np.pi * 20**2 * np.log(1 / threshold) / 200**2, rel=0.01)
    assert found.null == 1


def test_the_effective_area_by_hand(cnn: Model) -> None:
    ramp = np.arange(1, SIDE**2 + 1).reshape(SIDE, SIDE)  # 1 to 1,024
    assert scored(cnn, ramp, "effective_area").value == (1024 - 102) / 1024  # above 102.4
    assert scored(cnn, ramp, "effective_area", threshold=0.5).value == 0.5  # 512 is not above 512
    assert scored(cnn, spot((3, 3)), "effective_area").value == 1 / 1024


def test_the_nulls_of_complexity_are_those_of_a_uniform_map(cnn: Model) -> None:
    assert scored(cnn, NOISE, "sparseness").null == 0
    assert scored(cnn, NOISE, "entropy").null == pytest.approx(np.log(1024))
    assert scored(cnn, NOISE, "entropy").unit == "nats"


# ---- where it looks ------------------------------------------------------------------------------------------------


def uniform(*shape: int) -> np.ndarray:
    return np.full(shape, 1 / np.prod(shape))


def test_the_mean_focus_radius_of_a_uniform_square() -> None:
    exact = (np.sqrt(2) + np.arcsinh(1)) / 6
    assert exact == pytest.approx(0.38260, abs=5e-6)
    assert focus_radius(uniform(224, 224)) / 224 == pytest.approx(exact, abs=5e-6)


def test_the_mean_focus_radius_of_a_gaussian_wherever_it_lies() -> None:
    for row, column in ((100, 100), (80, 130)):
        shares = mass(gaussian(12, row, column))
        assert shares is not None
        assert focus_radius(shares) == pytest.approx(12 * np.sqrt(np.pi / 2), rel=1e-4)


def test_the_mean_focus_radius_by_hand(cnn: Model) -> None:
    assert scored(cnn, spot((3, 4)), "mean_focus_radius").value == 0
    two = scored(cnn, spot((2, 2), (8, 10)), "mean_focus_radius")  # 10 pixels apart
    assert two.details["pixels"] == pytest.approx(5)
    assert two.value == pytest.approx(5 / SIDE)
    heavy = spot((2, 2), size=3) + spot((8, 10)) - spot((30, 30), size=9)  # the middle is 2.5 and 7.5 pixels away
    assert scored(cnn, heavy, "mean_focus_radius").details["pixels"] == pytest.approx(0.75 * 2.5 + 0.25 * 7.5)


def test_the_null_of_the_mean_focus_radius_is_counted_on_the_picture_s_own_pixels(cnn: Model) -> None:
    places = list(itertools.product(range(SIDE), repeat=2))
    slow = np.mean([np.hypot(r - 15.5, c - 15.5) for r, c in places]) / SIDE
    found = scored(cnn, NOISE, "mean_focus_radius")
    assert found.null == pytest.approx(slow)
    assert found.null == pytest.approx(0.3826, abs=1e-3)
    assert not found.better


def oblong() -> Model:
    """Sees pictures of 20 x 32 pixels."""
    return xai.wrap_model(
        seeded(convolutions), labels=["a", "b", "c"], input_size=(3, 20, 32), mean=(0.5,) * 3, std=(0.5,) * 3,
        name="oblong", device="cpu",
    )  # fmt: skip


def test_an_oblong_picture_has_its_own_nulls() -> None:
    model, values = oblong(), np.random.default_rng(0).random((20, 32))
    radius = scored(model, values, "mean_focus_radius")
    slow = np.mean([np.hypot(r - 9.5, c - 15.5) for r in range(20) for c in range(32)])
    assert radius.null == pytest.approx(slow / 20)
    assert scored(model, values, "border_share").null == pytest.approx(1 - 16 * 26 / (20 * 32))
    corner = np.zeros((20, 32))
    corner[0, 0] = 1
    assert scored(model, corner, "centre_of_mass").value == pytest.approx(np.hypot(9.5, 15.5) / np.hypot(10, 16))


def test_the_centre_of_mass_by_hand(cnn: Model) -> None:
    found = scored(cnn, spot((0, 31), size=3) + spot((8, 3)) - spot((20, 20), size=50), "centre_of_mass")
    assert dict(found.details) == {"row": pytest.approx(2), "column": pytest.approx(24)}
    assert found.value == pytest.approx(np.hypot(13.5, 8.5) / np.hypot(16, 16))
    even = scored(cnn, spot((0, 0), (31, 31), (0, 31), (31, 0)), "centre_of_mass")
    assert (even.value, even.null, even.better) == (pytest.approx(0), 0, "")


@pytest.mark.parametrize(("side", "width", "share"), [(100, 0.1, 0.36), (100, 0.25, 0.75), (200, 0.05, 0.19)])
def test_the_border_share_of_a_uniform_map(side: int, width: float, share: float) -> None:
    assert share == pytest.approx(1 - (1 - 2 * width) ** 2)
    assert border((side, side), width).mean() == pytest.approx(share)


def test_the_border_share_by_hand(cnn: Model) -> None:
    found = scored(cnn, spot((2, 15), (15, 2), (15, 29), (31, 0)) + spot((3, 3), (16, 16), (28, 28)), "border_share")
    assert found.value == pytest.approx(4 / 7)  # the band of 32 pixels is 3 wide
    assert found.null == pytest.approx(1 - (26 / 32) ** 2)
    assert found.better == "lower"
    assert scored(cnn, spot((2, 15), (0, 0)), "border_share", width=0.01).value == pytest.approx(0.5)  # one pixel wide


def test_the_background_share_is_the_mass_that_the_mask_leaves_out(cnn: Model) -> None:
    values = spot((5, 7), size=3) + spot((20, 20)) - spot((21, 21), size=7)
    found = scored(cnn, values, "background_share", mask=MASK)
    assert (found.value, found.null) == (pytest.approx(0.25), pytest.approx(1 - 80 / 1024))
    assert scored(cnn, values, "mass_accuracy", mask=MASK).value == pytest.approx(0.75)


def test_the_completeness_gap_is_the_one_measured_when_the_map_was_made(cnn: Model, image: Image) -> None:
    made = xai.explain(cnn, image, "integrated_gradients", steps=8)
    assert made.gap is not None
    found = xai.score(cnn, made, "completeness_gap")
    assert (found.value, found.null, found.better) == (made.gap, None, "lower")


def test_where_nothing_is_promised_nothing_is_missed(cnn: Model) -> None:
    found = scored(cnn, NOISE, "completeness_gap")
    assert found.value is None
    assert found.why == "Saliency: the method does not promise that its values add up to anything."
    zero = xai.score(cnn, explained(cnn, NOISE, "integrated_gradients", gap=None), "completeness_gap")
    assert zero.value is None
    assert "add up to zero here" in zero.why


# ---- against ground truth ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("peaks", "value"),
    [
        ([(5, 7)], 1.0),
        ([(3, 7)], 1.0),  # one pixel off, which is one cell
        ([(2, 7)], 0.0),
        ([(3, 5)], 0.0),  # across the corner
        ([(5, 7), (11, 15)], 1.0),
        ([(25, 7), (20, 20)], 0.0),
        ([(5, 7), (20, 20)], None),
    ],
)
def test_the_pointing_game_by_hand(cnn: Model, peaks: list[tuple[int, int]], value: float | None) -> None:
    found = scored(cnn, spot(*peaks, size=2) - 5, "pointing_game", mask=MASK)
    assert found.value == value
    assert found.null == pytest.approx((80 + 8 + 8 + 10 + 10) / 1024)  # the mask and its four sides
    if value is None:
        assert found.why.startswith("A tie: 1 of the 2 pixels")
        assert found.details["distance"] == 0  # of the nearest


def test_the_pointing_game_reaches_as_far_as_one_cell_of_the_map_s_own_grid(cnn: Model) -> None:
    values = spot((8, 20))  # 5 pixels to the right of the mask
    coarse = explained(cnn, values, grid=(4, 4))
    hit = xai.score(cnn, coarse, "pointing_game", mask=MASK)
    assert hit.value == 1
    assert dict(hit.details) == {"distance": 5, "tolerance": 8}
    rows, columns = np.argwhere(MASK).T
    near = [np.hypot(rows - r, columns - c).min() <= 8 for r, c in itertools.product(range(SIDE), repeat=2)]
    assert hit.null == pytest.approx(np.mean(near))
    assert xai.score(cnn, explained(cnn, values, grid=(8, 8)), "pointing_game", mask=MASK).value == 0
    assert xai.score(cnn, coarse, "pointing_game", mask=MASK, tolerance=4.9).value == 0


def test_a_tie_is_settled_where_all_that_tie_are_near(cnn: Model) -> None:
    block = np.zeros((SIDE, SIDE))
    block[8:16, 8:16] = 1  # one cell of a coarse map, half of it outside the mask
    assert scored(cnn, block, "pointing_game", mask=MASK).value is None
    assert xai.score(cnn, explained(cnn, block, grid=(4, 4)), "pointing_game", mask=MASK).value == 1


@pytest.mark.parametrize(("inside", "outside", "share"), [(1, 0, 1.0), (0, 1, 0.0), (944, 80, 0.5), (1, -1, 1.0)])
def test_mass_accuracy_by_hand(cnn: Model, inside: float, outside: float, share: float) -> None:
    found = scored(cnn, np.where(MASK, inside, outside), "mass_accuracy", mask=MASK)
    assert found.value == pytest.approx(share)
    assert found.null == pytest.approx(80 / 1024)


def test_a_map_that_is_all_but_uniform_gets_the_null_of_each(cnn: Model) -> None:
    values = np.ones((SIDE, SIDE))
    values[0, 0] += 1e-4
    for metric in [*OF_MASS, "entropy", "effective_area", "sparseness", "rank_accuracy", "top_k_iou"]:
        found = scored(cnn, values, metric, mask=MASK)
        assert found.value == pytest.approx(found.null, abs=2e-3), metric


def test_rank_accuracy_by_hand(cnn: Model) -> None:
    ramp = np.arange(1024.0).reshape(SIDE, SIDE)  # the highest 80 are the last two rows and a half
    mask = np.zeros((SIDE, SIDE), bool)
    mask[30, :16] = mask[0, :24] = mask[31, 8:] = True  # 16 + 24 + 24 pixels: the highest 64 are the last two rows
    found = scored(cnn, ramp, "rank_accuracy", mask=mask)
    assert (found.value, found.null) == (40 / 64, 64 / 1024)


def test_places_of_equal_value_are_drawn_by_lot(cnn: Model) -> None:
    values = np.where(np.arange(SIDE)[:, None] < 6, spot((4, 6), (4, 7)) + 1, 0.0)  # 192 pixels are not zero
    # 2 of the mask stand first; 78 places are left for 190 pixels, of which 18 are of the mask
    assert scored(cnn, values, "rank_accuracy", mask=MASK).value == pytest.approx((2 + 78 * 18 / 190) / 80)


def test_top_k_iou_by_hand(cnn: Model) -> None:
    ramp = np.arange(1024.0).reshape(SIDE, SIDE)
    mask = np.zeros((SIDE, SIDE), bool)
    mask[30:, :16] = True  # half of the highest 64
    assert scored(cnn, ramp, "top_k_iou", mask=mask, share=64 / 1024).value == pytest.approx(32 / 64)
    assert scored(cnn, ramp, "top_k_iou", mask=mask).value == pytest.approx(16 / (32 + 32 - 16))
    assert scored(cnn, np.where(mask, 1 + ramp, 0), "top_k_iou", mask=mask).value == 1
    assert scored(cnn, np.where(mask, 0, 1 + ramp), "top_k_iou", mask=mask).value == 0


@pytest.mark.parametrize(("k", "size", "iou"), [(100, 100, 1.0), (200, 100, 0.5), (4000, 1000, 0.25)])
def test_top_k_iou_of_nested_places(k: int, size: int, iou: float) -> None:
    values = -np.arange(10_000.0).reshape(100, 100)
    assert expected_iou(values, values > -size, k) == pytest.approx(iou)


def test_the_null_of_top_k_iou_is_the_mean_over_pixels_drawn_at_random(cnn: Model) -> None:
    draw = np.random.default_rng(0)
    random = np.array([draw.permutation(1024)[:80] for _ in range(4000)])
    inside = MASK.ravel()[random].sum(1)
    shares = inside / (160 - inside)
    null = scored(cnn, NOISE, "top_k_iou", mask=MASK).null
    assert null == pytest.approx(shares.mean(), abs=4 * shares.std() / np.sqrt(4000))
    pair = spot((1, 1), (2, 2)) > 0  # of 1,024 * 1,023 / 2 pairs of pixels one is the mask, 2 * 1,022 share one pixel
    exact = (1 * 1 + 2 * 1022 * 1 / 3) / (1024 * 1023 / 2)
    assert scored(cnn, NOISE, "top_k_iou", mask=pair).null == pytest.approx(exact, rel=1e-6)


@pytest.mark.parametrize("metric", MARKED)
def test_the_truth_beats_noise_and_noise_its_opposite(cnn: Model, metric: str) -> None:
    draw = np.random.default_rng(0)
    mean, sign = {}, 1 if METRICS[metric].better == "higher" else -1
    for name, base in {"truth": MASK * 9.0, "noise": 0 * MASK, "opposite": ~MASK * 9.0}.items():
        values = [scored(cnn, base + draw.random((SIDE, SIDE)), metric, mask=MASK) for _ in range(8)]
        mean[name] = sign * np.mean([found.value for found in values])
        nulls = {found.null for found in values}
    assert len(nulls) == 1
    assert mean["truth"] > sign * nulls.pop() > mean["opposite"]
    assert mean["truth"] > mean["noise"] >= mean["opposite"]


# ---- Quantus says the same -----------------------------------------------------------------------------------------


def quantus_says(name: str, values: np.ndarray, mask: np.ndarray | None = None, **options: Any) -> list[float]:
    import quantus

    options = {"normalise": False, "disable_warnings": True, **options}
    masks = None if mask is None else np.repeat(mask[None, None], len(values), axis=0)
    metric = getattr(quantus, name)(**options)
    x = np.zeros((len(values), 1, SIDE, SIDE))
    return metric(model=None, x_batch=x, y_batch=np.zeros(len(values), int), a_batch=values[:, None], s_batch=masks)


@pytest.mark.parametrize(
    ("metric", "settings", "theirs", "options"),
    [
        ("sparseness", {}, "Sparseness", {}),
        ("entropy", {}, "Complexity", {}),
        ("effective_area", {"threshold": 0.3}, "EffectiveComplexity", {"eps": 0.3}),
        ("mass_accuracy", {}, "RelevanceMassAccuracy", {}),
        ("rank_accuracy", {}, "RelevanceRankAccuracy", {}),
        ("top_k_iou", {"share": 100 / 1024}, "TopKIntersection", {"k": 100}),
        ("pointing_game", {"tolerance": 0.5}, "PointingGame", {}),
    ],
)
def test_quantus_finds_the_same(
    cnn: Model, metric: str, settings: dict[str, Any], theirs: str, options: dict[str, Any]
) -> None:
    values = np.abs(np.random.default_rng(1).normal(size=(12, SIDE, SIDE))).astype(np.float32)  # theirs takes no sign
    values[::2, MASK] *= 4
    found = score_many(
        cnn, [explained(cnn, one) for one in values], [{"name": metric, **settings}], masks={"0" * 64: MASK}
    )
    ours = np.array([one.value for [one] in found], float)
    shown = values.astype(np.float64) / values.max((1, 2), keepdims=True)  # theirs divides by the batch's largest
    told = np.array(quantus_says(theirs, shown, MASK, **options), float)
    of_theirs = {
        "sparseness": told * (1 + 1e-7 / shown.mean((1, 2))),  # which adds 1e-7 to every value
        "effective_area": told / 1024,  # a number of pixels
        "top_k_iou": told * 100 / (100 + 80 - told * 100),  # the intersection as a share of k
    }
    assert len(set(ours)) > 1
    assert ours == pytest.approx(of_theirs.get(metric, told), abs=2e-9)  # their entropy adds 1e-12 to 1,024 shares


# ---- undefined is said ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", OF_MASS)
def test_a_map_in_which_nothing_speaks_for_the_target_has_no_place(cnn: Model, metric: str) -> None:
    found = scored(cnn, -np.abs(NOISE), metric, mask=MASK)
    assert found.value is None
    assert "nothing in it speaks for the target" in found.why


@pytest.mark.parametrize("metric", ALL)
def test_a_flat_map_is_undefined(cnn: Model, metric: str) -> None:
    found = scored(cnn, np.ones((SIDE, SIDE)), metric, mask=MASK)
    assert found.value is None
    assert found.why.startswith("Flat map")


@pytest.mark.parametrize("metric", MARKED)
def test_without_marked_evidence_there_is_no_number(cnn: Model, metric: str) -> None:
    for mask, reason in ((None, "this picture has no mask"), (np.zeros((SIDE, SIDE), bool), "is white")):
        found = scored(cnn, NOISE, metric, mask=mask)
        assert found.value is None
        assert reason in found.why


def test_a_mask_of_another_size_is_fitted_and_one_of_another_shape_refused(cnn: Model) -> None:
    small = MASK[::2, ::2]
    found = scored(cnn, NOISE, "mass_accuracy", mask=small)
    assert found.value == pytest.approx(scored(cnn, NOISE, "mass_accuracy", mask=MASK).value)
    with pytest.raises(SettingError, match="32 × 16 pixels and the model sees 32 × 32"):
        scored(cnn, NOISE, "mass_accuracy", mask=MASK[:16])


@pytest.mark.parametrize("metric", ALL)
def test_maps_together_get_what_each_gets_alone_and_no_pass_is_spent(metric: str) -> None:
    model = wrapped(seeded(Linear))
    maps = [explained(model, values) for values in (NOISE, NOISE**2, -np.abs(NOISE), spot((5, 5)))]
    together = score_many(model, maps, [metric], masks={"0" * 64: MASK})
    for e, [found] in zip(maps, together, strict=True):
        alone = xai.score(model, e, metric, mask=MASK)
        assert (found.value, found.why, found.null, found.details) == (
            alone.value,
            alone.why,
            alone.null,
            alone.details,
        )
        assert found.passes == Passes()
