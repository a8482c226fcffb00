"""The faithfulness metrics against numbers worked out by hand, other libraries, and each other."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise, product
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import xai_core as xai
from tests.conftest import ROOT, SIDE, Linear, seeded, wrapped
from xai_core.baselines import baseline
from xai_core.masking import ranks, replaced, scattered, squares
from xai_core.metrics import METRICS
from xai_core.models import Model
from xai_core.records import Explanation, Image, Score, Target
from xai_core.scoring import score_many
from xai_core.truth import seen_by, truth_beside

FAITHFUL = ["deletion", "insertion", "top_k_retention", "faithfulness_correlation", "infidelity"]
SHAPE = (SIDE, SIDE)
PIXELS = SIDE * SIDE


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=SHAPE)


def maps_of(model: Model, image: Image, maps: Sequence[np.ndarray], target: Any = 0) -> list[Explanation]:
    """Explanations of one picture and one target that hold any values one likes."""
    e = xai.explain(model, image, "random", target)
    return [replace(e, values=values.astype(np.float32)) for values in maps]


def scores(model: Model, explanations: Sequence[Explanation], metric: str, **settings: Any) -> list[Score]:
    return [found for [found] in score_many(model, explanations, [{"name": metric, **settings}])]


def values(model: Model, explanations: Sequence[Explanation], metric: str, **settings: Any) -> np.ndarray:
    found = [one.value for one in scores(model, explanations, metric, **settings)]
    assert None not in found
    return np.array(found, np.float64)


def picture_and_baseline(model: Model, e: Explanation, kind: str) -> tuple[torch.Tensor, torch.Tensor]:
    x = model.preprocessing.tensor(e.pixels[None])
    return x, baseline(kind, x, model.preprocessing)


class Reads(nn.Module):
    """The sum of one region of the picture, its negative, and zero."""

    def __init__(self, region: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("region", torch.from_numpy(region.astype(np.float32) / region.sum()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = (x * self.region).flatten(1).sum(1)
        return torch.stack([total, -total, 0 * total], dim=1)


class Says(nn.Module):
    """The same of every picture."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.0, 2.0, 3.0]).expand(len(x), 3)


def regression(module: nn.Module) -> Model:
    """A network whose outputs are numbers, so that its answers stay as linear as it is."""
    return xai.wrap_model(
        module, labels=["a", "b", "c"], input_size=(3, SIDE, SIDE), mean=(0.5,) * 3, std=(0.25,) * 3,
        task="regression", device="cpu",
    )  # fmt: skip


@pytest.fixture
def straight() -> Model:
    return regression(seeded(Linear))


@pytest.fixture
def contributions(straight: Model, image: Image) -> tuple[np.ndarray, float, float]:
    """What each pixel adds to the first output over the mean colour, by hand, and the answers at both ends."""
    x = straight.preprocessing.tensor(maps_of(straight, image, [noise(0)])[0].pixels[None])[0].double().numpy()
    weights = straight.module.layer.weight[0].double().numpy().reshape(3, SIDE, SIDE)
    each = (weights * x).sum(0)  # the mean colour is zero to the network
    return each, float(each.sum()), 0.0


# closed forms: deletion and insertion ---------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", ["deletion", "insertion"])
def test_a_random_order_gets_the_mean_of_the_two_ends_in_a_linear_network(
    metric: str, straight: Model, image: Image, contributions: tuple[np.ndarray, float, float]
) -> None:
    _, start, end = contributions
    found = values(straight, maps_of(straight, image, [noise(i) for i in range(60)]), metric, baseline="mean", steps=8)
    assert abs(found.mean() - (start + end) / 2) < 4 * found.std() / np.sqrt(len(found))
    assert found.std() < abs(start - end)


def by_hand(each: np.ndarray, order: np.ndarray, start: float, steps: int) -> float:
    """Area while the pixels go in that order, added up one trapezium after another."""
    stops, area = [round(i * PIXELS / steps) for i in range(steps + 1)], 0.0
    for one, other in pairwise(stops):
        left, right = (start - each.ravel()[order[:stop]].sum() for stop in (one, other))
        area += (left + right) / 2 * (other - one) / PIXELS
    return area


def test_the_order_by_contribution_is_the_best_and_its_area_is_a_sum_by_hand(
    straight: Model, image: Image, contributions: tuple[np.ndarray, float, float]
) -> None:
    each, start, _ = contributions
    maps = maps_of(straight, image, [each, -each, *(noise(i) for i in range(40))])
    deleted = values(straight, maps, "deletion", baseline="mean", steps=12)
    inserted = values(straight, maps, "insertion", baseline="mean", steps=12)
    order = np.argsort(-each.ravel())
    assert deleted[0] == pytest.approx(by_hand(each, order, start, 12), abs=1e-4)
    assert inserted[0] == pytest.approx(start - by_hand(each, order, start, 12), abs=1e-4)
    assert deleted.argmin() == 0
    assert inserted.argmax() == 0
    assert deleted.argmax() == 1
    assert inserted.argmin() == 1


@pytest.mark.parametrize("kind", ["black", "mean", "blur"])
def test_insertion_is_deletion_of_the_opposite_map_walked_backwards(kind: str, cnn: Model, image: Image) -> None:
    one, opposite = maps_of(cnn, image, [noise(1), -noise(1)])
    [inserted] = scores(cnn, [one], "insertion", baseline=kind, steps=12)
    [deleted] = scores(cnn, [opposite], "deletion", baseline=kind, steps=12)
    assert inserted.curve is not None
    assert deleted.curve is not None
    assert inserted.curve.y == pytest.approx(deleted.curve.y[::-1], abs=1e-6)
    assert inserted.value == pytest.approx(deleted.value, abs=1e-6)


@pytest.mark.parametrize("kind", ["black", "mean", "blur"])
def test_a_curve_starts_and_ends_where_the_whole_pictures_are(kind: str, cnn: Model, image: Image) -> None:
    [e] = maps_of(cnn, image, [noise(2)], target=1)
    x, behind = picture_and_baseline(cnn, e, kind)
    ends = cnn.outputs(torch.cat([x, behind])).softmax(1)[:, 1].numpy()
    [deleted], [inserted] = scores(cnn, [e], "deletion", baseline=kind), scores(cnn, [e], "insertion", baseline=kind)
    assert deleted.curve is not None
    assert inserted.curve is not None
    assert deleted.curve.y[[0, -1]] == pytest.approx(ends, abs=1e-6)
    assert inserted.curve.y[[0, -1]] == pytest.approx(ends[::-1], abs=1e-6)
    assert deleted.curve.x[[0, -1]].tolist() == [0, 1]


# ties -----------------------------------------------------------------------------------------------------------------


def test_a_plateau_is_not_deleted_from_the_top_left_corner(image: Image) -> None:
    top = np.zeros(SHAPE, bool)
    top[: SIDE // 4] = True
    model = regression(Reads(top))
    plateau = np.ones(SHAPE)
    plateau[-1, -1] = 0
    [found] = scores(model, maps_of(model, image, [plateau]), "deletion", baseline="mean", steps=8)
    assert found.curve is not None
    straight_line = found.curve.y[0] * (1 - found.curve.x)
    assert found.curve.y == pytest.approx(straight_line, abs=0.15 * abs(found.curve.y[0]))


def test_pixels_of_equal_value_stand_anywhere_among_themselves_and_never_before_higher_ones() -> None:
    left = np.zeros(SHAPE)
    left[:, : SIDE // 2] = 1
    places = ranks(np.stack([left, 1 - left, np.arange(PIXELS).reshape(SHAPE)]), seed=0).numpy()
    assert sorted(places[0].ravel()) == list(range(PIXELS))
    assert (places[0] < PIXELS // 2).tolist() == (left == 1).tolist()
    assert (places[1] < PIXELS // 2).tolist() == (left == 0).tolist()
    assert places[2].ravel().tolist() == list(range(PIXELS))[::-1]
    rows = np.argwhere(places[0] < PIXELS // 20)[:, 0]  # the first tenth of the plateau
    assert rows.min() < SIDE // 4
    assert rows.max() > SIDE - SIDE // 4
    assert (ranks(left[None], seed=1).numpy()[0] != places[0]).any()
    assert (ranks(left[None], seed=0).numpy()[0] == places[0]).all()


def test_pictures_stand_in_the_order_maps_pictures_counts_however_they_are_cut() -> None:
    x, behind = torch.zeros(2, 3, 2, 2), torch.tensor([1.0, 2.0])[:, None, None, None].expand(2, 3, 2, 2)
    order = ranks(np.array([[[4.0, 3.0], [2.0, 1.0]], [[1.0, 2.0], [3.0, 4.0]]]), 0)
    made = replaced(x, behind, order, np.array([1, 3]))
    whole = made[0:8]
    assert whole[:, 0].reshape(8, 4).tolist() == [
        [1, 0, 0, 0], [1, 1, 1, 0], [2, 0, 0, 0], [2, 2, 2, 0],
        [0, 0, 0, 1], [0, 1, 1, 1], [0, 0, 0, 2], [0, 2, 2, 2],
    ]  # fmt: skip
    assert torch.equal(torch.cat([made[0:3], made[3:8]]), whole)


def test_a_soft_border_is_half_and_half_where_the_hard_one_was() -> None:
    from scipy.stats import norm

    rising = np.arange(16.0)[None, None].repeat(16, 1)  # its first 128 pixels are the right half
    x, behind, order = torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16), ranks(rising, 0)
    soft = replaced(x, behind, order, np.array([128]), feather=1.0)[0:1][0, 0]
    distances = np.arange(16) - 7.5  # of the middles of the pixels from the border
    wanted = torch.from_numpy(norm.cdf(distances)).float().expand(16, 16)
    assert torch.allclose(soft, wanted, atol=0.02)
    assert torch.allclose(soft, 1 - soft.flip(1), atol=1e-6)


# closed forms: top-k retention ----------------------------------------------------------------------------------------


def test_retention_and_drop_are_shares_of_the_answer_by_hand(image: Image) -> None:
    left = np.zeros(SHAPE, bool)
    left[:, : SIDE // 2] = True
    model = regression(Reads(left))
    maps = maps_of(model, image, [noise(3)])
    x, _ = picture_and_baseline(model, maps[0], "mean")
    each = (x[0].double().numpy().sum(0) * left).ravel()
    target = 0 if each.sum() > 0 else 1
    [found] = scores(model, maps_of(model, image, [noise(3)], target), "top_k_retention", percent=25.0, baseline="mean")
    kept = each[np.argsort(-noise(3).astype(np.float32).ravel())[: PIXELS // 4]].sum() / each.sum()
    assert found.value == pytest.approx(kept, abs=1e-5)
    assert found.details["drop"] == pytest.approx(kept, abs=1e-5)  # linear: what stays is what would go


def test_retention_and_drop_differ_where_either_place_is_enough(image: Image) -> None:
    class Either(nn.Module):
        """1 where the left or the right half is still there."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            left, right = (half.abs().flatten(1).amax(1) for half in x.split(SIDE // 2, dim=3))
            there = (torch.maximum(left, right) > 0).float()
            return torch.stack([there, -there, 0 * there], dim=1)

    model, left = regression(Either()), np.zeros(SHAPE)
    left[:, : SIDE // 2] = 1
    [found] = scores(model, maps_of(model, image, [left]), "top_k_retention", percent=50.0, baseline="mean")
    assert found.value == 1
    assert found.details["drop"] == 0


def test_no_share_is_taken_of_an_answer_that_is_not_above_zero(image: Image) -> None:
    model = regression(Reads(np.ones(SHAPE)))
    logits = xai.predict(model, image).logits
    assert logits[2] == 0
    for target, defined in ((int(logits.argmax()), True), (int(logits.argmin()), False), (2, False)):
        [found] = scores(model, maps_of(model, image, [noise(4)], target), "top_k_retention")
        assert (found.value is not None) == defined
        assert defined or "not above zero" in found.why


# closed forms: faithfulness correlation and infidelity ----------------------------------------------------------------


def test_contributions_foretell_every_fall_of_a_linear_network(
    straight: Model, image: Image, contributions: tuple[np.ndarray, float, float]
) -> None:
    each, _, _ = contributions
    maps = maps_of(straight, image, [each, -each, 7 * each])
    found = scores(straight, maps, "faithfulness_correlation", baseline="mean")
    assert [one.value for one in found] == pytest.approx([1, -1, 1], abs=1e-6)
    right, opposite, larger = scores(straight, maps, "infidelity", baseline="mean")
    assert right.value == pytest.approx(0, abs=1e-9)
    assert right.details["scale"] == pytest.approx(1, abs=1e-4)
    assert larger.value == pytest.approx(0, abs=1e-9)
    assert larger.details["scale"] == pytest.approx(1 / 7, abs=1e-4)
    assert opposite.details["scale"] == 0  # it may not be turned round
    assert opposite.details["unexplained"] == 1


def test_infidelity_of_a_uniform_map_is_the_null_and_of_nothing_the_mean_square(cnn: Model, image: Image) -> None:
    places = squares(SHAPE, 0.2, 40, seed=0)
    almost_uniform, unseen = np.ones(SHAPE), np.zeros(SHAPE)
    almost_uniform[0, 0] += 1e-4
    unseen[tuple(np.argwhere(~places.any(0))[0])] = 1
    signs = set()
    for target, kind in product(range(3), ("black", "blur")):
        maps = maps_of(cnn, image, [almost_uniform, unseen], target)
        uniform, nothing = scores(cnn, maps, "infidelity", draws=40, side=0.2, baseline=kind)
        falls, areas = falls_by_hand(cnn, maps[0], places, kind), places.sum((1, 2)).astype(float)
        _, [left], _, _ = np.linalg.lstsq(areas[:, None], falls, rcond=None)
        signs.add(bool(falls @ areas > 0))
        null = left / 40 if falls @ areas > 0 else np.mean(falls**2)  # where it rises, the best scale is 0
        assert uniform.null == nothing.null == pytest.approx(null, rel=1e-3)  # differences of float32 logits
        assert uniform.value == pytest.approx(null, rel=1e-3)
        assert nothing.value == pytest.approx(np.mean(falls**2), rel=1e-3)
        assert nothing.details == {"scale": 0, "unexplained": 1}
    assert signs == {True, False}


def falls_by_hand(model: Model, e: Explanation, places: np.ndarray, kind: str) -> np.ndarray:
    """How far the first logit falls when each place is covered, one picture at a time."""
    x, behind = picture_and_baseline(model, e, kind)
    whole, found = model.outputs(x)[0, e.target.index], []
    for place in places:
        picture = x.clone()
        picture[0][:, torch.from_numpy(place)] = behind[0][:, torch.from_numpy(place)]
        found.append(float(whole - model.outputs(picture)[0, e.target.index]))
    return np.array(found)


def test_the_correlation_of_maps_that_know_nothing_is_zero_in_the_mean_and_its_interval_says_so(
    cnn: Model, image: Image
) -> None:
    maps = maps_of(cnn, image, [noise(i) for i in range(150)])
    found = scores(cnn, maps, "faithfulness_correlation", draws=60, baseline="mean")
    all_values = np.array([one.value for one in found], np.float64)
    assert {one.null for one in found} == {0.0}
    assert abs(all_values.mean()) < 4 * all_values.std() / np.sqrt(len(found))
    held = np.mean([one.details["low"] <= 0 <= one.details["high"] for one in found])
    assert 0.88 <= held <= 0.995  # 0.95 within 4 standard errors of 150


def test_a_map_that_is_the_same_over_every_set_has_no_correlation(cnn: Model, image: Image) -> None:
    lone = np.zeros(SHAPE)
    places = scattered(SHAPE, 0.01, 10, seed=0)
    lone[tuple(np.argwhere(~places.any(0))[0])] = 1.0
    [found] = scores(cnn, maps_of(cnn, image, [lone]), "faithfulness_correlation", draws=10, share=0.01)
    assert found.value is None
    assert "same sum" in found.why


@pytest.mark.parametrize("metric", ["faithfulness_correlation", "infidelity"])
def test_a_target_that_never_changes_is_said_and_not_scored(metric: str, image: Image) -> None:
    model = wrapped(Says())
    [found] = scores(model, maps_of(model, image, [noise(0)]), metric)
    assert found.value is None
    assert "no map" in found.why


def test_scattered_sets_have_the_asked_size_and_squares_cover_every_pixel_equally_often() -> None:
    assert set(scattered(SHAPE, 0.1, 20, seed=0).sum((1, 2))) == {round(0.1 * PIXELS)}
    assert set(scattered((4, 4), 0.001, 5, seed=0).sum((1, 2))) == {1}
    often = scattered((6, 6), 0.25, 4000, seed=0).mean(0)
    assert np.abs(often - 0.25).max() < 4 * np.sqrt(0.25 * 0.75 / 4000)
    places = squares((8, 10), 0.375, 8000, seed=0)
    expected = 9 / ((8 + 2) * (10 + 2))  # of the places of a 3 x 3 square that touch the picture
    assert np.abs(places.mean(0) - expected).max() < 4.5 * np.sqrt(expected / 8000)
    assert places.any((1, 2)).all()
    assert places.sum((1, 2)).max() == 9
    rows = places.any(2).sum(1)
    assert (places.sum((1, 2)) == rows * places.any(1).sum(1)).all()


# other libraries ------------------------------------------------------------------------------------------------------


@pytest.fixture
def quantus() -> Iterator[ModuleType]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # others' code, not ours
        import quantus

        yield quantus


def asked_of_quantus(metric: Any, model: Model, x: torch.Tensor, a: np.ndarray, target: int, softmax: bool) -> Any:
    return metric(
        model=model.module, x_batch=x.numpy(), y_batch=np.array([target]), a_batch=a, softmax=softmax,
        device="cpu", channel_first=True,
    )[0]  # fmt: skip


QUIET: dict[str, Any] = {
    "normalise": False, "abs": False, "disable_warnings": True, "display_progressbar": False, "return_aggregate": False,
}  # fmt: skip


def by_channel(one: np.ndarray) -> np.ndarray:
    """(1, 3, h, w) values in which a pixel's three channels follow one another and nothing is tied."""
    falling = -3.0 * ranks(one.astype(np.float32)[None].astype(np.float64), 0).numpy()[0]
    return np.stack([falling, falling - 1, falling - 2])[None]


@pytest.mark.parametrize("metric", ["deletion", "insertion"])
def test_pixel_flipping_of_quantus_gives_the_same_curve(
    metric: str, quantus: ModuleType, cnn: Model, image: Image
) -> None:
    [e] = maps_of(cnn, image, [noise(5)], target=2)
    x, behind = picture_and_baseline(cnn, e, "blur")
    start, end = (x, behind) if metric == "deletion" else (behind, x)

    def put(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
        changed = arr.copy()
        changed[0, indices[0]] = end.numpy().ravel()[indices[0]]
        return changed

    flipping = quantus.PixelFlipping(features_in_step=PIXELS // 16, perturb_func=put, **QUIET)
    theirs = asked_of_quantus(flipping, cnn, start, by_channel(noise(5)), 2, softmax=True)
    [ours] = scores(cnn, [e], metric, steps=16, baseline="blur")
    assert ours.curve is not None
    after_whole_pixels = np.array(theirs)[2::3]  # a third of its steps: a pixel has three channels
    assert ours.curve.y[1:] == pytest.approx(after_whole_pixels, abs=1e-6)  # float32 probabilities, other batches


@pytest.mark.parametrize("kind", ["logit", "probability"])
def test_faithfulness_correlation_of_quantus_is_ours_from_the_same_draws(
    kind: str, quantus: ModuleType, cnn: Model, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    [e] = maps_of(cnn, image, [noise(6) + 0.5 * noise(7)], target=Target(1, "class 1", kind))  # type: ignore[arg-type]
    x, _ = picture_and_baseline(cnn, e, "mean")
    places = scattered(SHAPE, 0.2, 50, seed=0)
    draws = iter(places)

    def all_channels(*_: Any, **__: Any) -> np.ndarray:
        pixels = np.flatnonzero(next(draws))
        return np.concatenate([pixels, pixels + PIXELS, pixels + 2 * PIXELS])

    monkeypatch.setattr(np.random, "choice", all_channels)
    correlation = quantus.FaithfulnessCorrelation(
        nr_runs=50, subset_size=3 * int(places[0].sum()), perturb_baseline=0.0, **QUIET
    )
    theirs = asked_of_quantus(correlation, cnn, x, e.values[None, None], 1, softmax=kind == "probability")
    [ours] = scores(cnn, [e], "faithfulness_correlation", share=0.2, draws=50, baseline="mean")
    assert ours.value == pytest.approx(theirs, abs=2e-5)  # theirs takes differences of float32 outputs


@pytest.mark.parametrize("kind", ["logit", "probability"])
def test_infidelity_of_captum_with_its_best_scale_is_ours(kind: str, cnn: Model, image: Image) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # others' code, not ours
        from captum.metrics import infidelity

    maps = maps_of(cnn, image, [noise(i) for i in range(8)], target=Target(0, "class 0", kind))  # type: ignore[arg-type]
    x, behind = picture_and_baseline(cnn, maps[0], "blur")
    chosen = torch.from_numpy(squares(SHAPE, 0.25, 30, seed=0))[:, None].expand(-1, 3, -1, -1)
    target = maps[0].target

    def forward(pictures: torch.Tensor) -> torch.Tensor:
        return target.read(cnn.module(pictures).double())

    def perturbed(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return chosen.double() / 3, torch.where(chosen, behind, inputs)

    ours = scores(cnn, maps, "infidelity", draws=30)
    assert {one.details["scale"] > 0 for one in ours} == {True, False}
    for e, one in zip(maps, ours, strict=True):
        attributions = torch.from_numpy(e.values.astype(np.float64)).expand(1, 3, -1, -1)
        theirs = float(infidelity(forward, perturbed, x, attributions, n_perturb_samples=30, normalize=True))
        falls = forward(x) - forward(torch.where(chosen, behind, x))
        if one.details["scale"] > 0:
            assert one.value == pytest.approx(theirs, rel=1e-4)  # differences of float32 outputs
        else:  # where captum turns the map round, ours keeps it silent
            assert one.value == pytest.approx(float((falls**2).mean()), rel=1e-4)


def test_infidelity_of_quantus_is_ours_for_the_scaled_map_as_a_slope(
    quantus: ModuleType, cnn: Model, image: Image
) -> None:
    found: list[tuple[Explanation, Score]] = []
    for i in range(8):
        [e] = maps_of(cnn, image, [noise(i)])
        [one] = scores(cnn, [e], "infidelity", draws=20, baseline="mean")
        found.append((e, one))
    e, ours = next((e, one) for e, one in found if one.details["scale"] > 0)
    x, behind = picture_and_baseline(cnn, e, "mean")
    slope = ours.details["scale"] * e.values.astype(np.float64) / 3 / (x - behind).double().numpy()
    pictures = (
        torch.where(torch.from_numpy(place), behind, x).numpy().reshape(1, -1)
        for place in squares(SHAPE, 0.25, 20, seed=0)
    )
    theirs = quantus.Infidelity(
        perturb_patch_sizes=[SIDE], n_perturb_samples=20, perturb_func=lambda arr, indices, **_: next(pictures), **QUIET
    )
    assert ours.value == pytest.approx(asked_of_quantus(theirs, cnn, x, slope, 0, softmax=False), rel=1e-4)


# orderings ------------------------------------------------------------------------------------------------------------


def best_target(model: Model, image: Image, kind: str) -> int:
    """The class that the picture speaks for most, against the same picture covered."""
    [e] = maps_of(model, image, [noise(0)])
    seen, covered = model.outputs(torch.cat(picture_and_baseline(model, e, kind))).softmax(1)
    return int((seen - covered).argmax())


@pytest.mark.parametrize("kind", ["black", "mean", "blur"])
def test_the_half_that_is_read_beats_the_other_half_and_noise(kind: str, left_half: Model, image: Image) -> None:
    left = np.zeros(SHAPE)
    left[:, : SIDE // 2] = 1
    target = best_target(left_half, image, kind)
    maps = maps_of(left_half, image, [left, 1 - left, noise(0)], target)
    deletion = values(left_half, maps, "deletion", baseline=kind)
    insertion = values(left_half, maps, "insertion", baseline=kind)
    assert deletion[0] < deletion[2] < deletion[1]
    assert insertion[0] > insertion[2] > insertion[1]
    kept = scores(left_half, maps, "top_k_retention", percent=50.0, baseline=kind)
    assert kept[0].value == pytest.approx(1, abs=1e-5)
    assert kept[1].details["drop"] == pytest.approx(0, abs=1e-5)


def test_the_true_masks_of_the_demo_faces_beat_their_inverse_and_noise() -> None:
    from scipy.ndimage import gaussian_filter

    model, found = xai.load_model("demo-face", device="cpu"), []
    metrics = [{"name": "deletion", "steps": 8}, {"name": "insertion", "steps": 8}, "top_k_retention", "infidelity"]
    for path in sorted((ROOT / "assets" / "samples").glob("face_*_1.png"))[:3]:
        noise_of_the_control = xai.explain(model, xai.read_image(path), "random")
        picture = truth_beside(path)
        assert picture is not None
        # smoothed, since a map of two values is deleted pixel by scattered pixel, which breaks any picture
        mask = gaussian_filter(seen_by(picture, model.preprocessing).astype(np.float32), 4)
        maps = [replace(noise_of_the_control, values=each) for each in (mask, -mask)]
        rows = score_many(model, [*maps, noise_of_the_control], metrics)
        found.append([[*(one.value for one in row), row[2].details["drop"]] for row in rows])
    deletion, insertion, retention, infidelity, drop = np.array(found, np.float64).mean(0).T
    assert [each.argmin() for each in (deletion, infidelity)] == [0, 0]
    assert [each.argmax() for each in (insertion, retention, drop)] == [0, 0, 0]
    assert [each.argmax() for each in (deletion, infidelity)] == [1, 1]
    assert [each.argmin() for each in (insertion, retention, drop)] == [1, 1, 1]


# what they cost, and what they do not depend on -----------------------------------------------------------------------


def test_the_ends_are_asked_once_for_each_baseline(cnn: Model, image: Image) -> None:
    maps = maps_of(cnn, image, [noise(i) for i in range(3)])
    metrics = [
        {"name": "deletion", "steps": 10, "baseline": "blur"},
        {"name": "insertion", "steps": 10, "baseline": "blur"},
        {"name": "deletion", "steps": 10, "baseline": "mean"},
        {"name": "insertion", "steps": 20, "baseline": "mean"},
        {"name": "top_k_retention", "baseline": "mean"},
    ]
    passes = [one.passes.forward for one in score_many(cnn, maps, metrics)[0]]
    assert passes == [3 * 9 + 2, 3 * 9, 3 * 9 + 1, 3 * 19, 3 * 2]


@pytest.mark.parametrize("metric", ["faithfulness_correlation", "infidelity"])
def test_passes_do_not_grow_with_the_number_of_maps(metric: str, cnn: Model, image: Image) -> None:
    spent = [
        scores(cnn, maps_of(cnn, image, [noise(i) for i in range(m)]), metric, draws=25)[0].passes.forward
        for m in (1, 5)
    ]
    assert spent == [25 + 2] * 2  # and the picture, and the baseline


@pytest.mark.parametrize("metric", FAITHFUL)
def test_a_map_scored_in_company_gets_what_it_gets_alone(metric: str, cnn: Model, images: list[Image]) -> None:
    maps = [e for image in images[:2] for e in maps_of(cnn, image, [noise(i) for i in range(3)])]
    together = scores(cnn, maps, metric)
    for one, e in zip(together, maps, strict=True):
        [alone] = scores(cnn, [e], metric)
        exact = METRICS[metric].null_from_controls is False  # else another batch of pictures goes through
        assert one.value == (alone.value if exact else pytest.approx(alone.value, abs=1e-6))
        assert one.details == (alone.details if exact else pytest.approx(dict(alone.details), abs=1e-6))


@pytest.mark.parametrize("metric", FAITHFUL)
def test_the_size_of_the_values_means_nothing(metric: str, cnn: Model, image: Image) -> None:
    one, same = values(cnn, maps_of(cnn, image, [noise(8), 1000 * noise(8)]), metric)
    assert one == pytest.approx(same, rel=1e-6)


@pytest.mark.parametrize("metric", FAITHFUL)
def test_a_flat_map_is_not_scored(metric: str, cnn: Model, image: Image) -> None:
    flat, other = scores(cnn, maps_of(cnn, image, [np.ones(SHAPE), noise(0)]), metric)
    assert flat.value is None
    assert "Flat" in flat.why
    assert other.value is not None


@pytest.mark.parametrize("metric", FAITHFUL)
def test_another_seed_is_another_draw_and_the_same_seed_the_same(metric: str, cnn: Model, image: Image) -> None:
    plateau = np.zeros(SHAPE)
    plateau[4:20, 4:20] = 1

    def draw(seed: int) -> float | None:
        return xai.score(cnn, maps_of(cnn, image, [plateau])[0], metric, seed=seed).value

    assert draw(0) == draw(0)
    assert draw(0) != draw(1)


def test_the_null_of_areas_is_what_the_random_control_got(cnn: Model, image: Image) -> None:
    control = xai.explain(cnn, image, "random", 0)
    other = xai.explain(cnn, image, "input_x_gradient", 0)
    find: Callable[[str], list[Score]] = lambda name: scores(cnn, [control, other], name)  # noqa: E731
    for name in ("deletion", "insertion", "top_k_retention"):
        random, read = find(name)
        assert read.null == random.value
