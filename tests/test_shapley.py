"""Shapley values by their definition, by brute force, and beside shap."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch

import xai_core as xai
from tests.conftest import SIDE, quick, timm_model
from xai_core.baselines import BACKGROUNDS, BASELINES, backgrounds, baseline
from xai_core.errors import SettingError
from xai_core.models import Model
from xai_core.records import Image, Target
from xai_core.shapley import Context, Square, area, coalitions, fair_shares, halves, owen
from xai_core.superpixels import mean_colours

Game = Callable[[np.ndarray], float]  # what a set of parts is worth


def seen(model: Model, image: Image) -> torch.Tensor:
    return model.preprocessing.tensor(model.preprocessing.view(image)[None])


@contextmanager
def numpys_generator_kept() -> Iterator[None]:
    """shap moves numpy's global generator."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def random_game(parts: int, seed: int = 0) -> Game:
    worth = np.random.default_rng(seed).normal(size=2**parts)
    return lambda shown: float(worth[int(shown @ (1 << np.arange(parts)))])


def by_definition(game: Game, parts: int) -> np.ndarray:
    """Shapley, 1953: the mean gain over all sets of the others, in float64."""
    values = np.zeros(parts)
    for part in range(parts):
        others = [p for p in range(parts) if p != part]
        for size in range(parts):
            share = math.factorial(size) * math.factorial(parts - size - 1) / math.factorial(parts)
            for members in itertools.combinations(others, size):
                without = np.isin(np.arange(parts), members)
                together = np.isin(np.arange(parts), (*members, part))
                values[part] += share * (game(together) - game(without))
    return values


def fitted(game: Game, parts: int, samples: int, seed: int = 0) -> np.ndarray:
    sets, weights = coalitions(parts, samples, seed)
    return fair_shares(sets, weights, np.array([game(shown) for shown in sets]))[0]


# pictures of nothing -------------------------------------------------------------------------------------------------


def test_noise_is_seeded_and_the_same_for_every_picture_and_of_every_colour_that_can_be_shown(cnn: Model) -> None:
    x = torch.zeros(3, 3, SIDE, SIDE)
    state = torch.get_rng_state()
    first, again, other = (baseline("noise", x, cnn.preprocessing, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, again)
    assert torch.equal(first[0], first[2])
    assert not torch.equal(first, other)
    shown = first * 0.25 + 0.5  # the fixture's mean and standard deviation
    assert 0 <= shown.min() < 0.01
    assert 0.99 < shown.max() <= 1
    assert shown.mean() == pytest.approx(0.5, abs=0.02)  # three standard errors of 3072 uniform draws


@pytest.mark.parametrize("kind", BASELINES)
def test_a_baseline_of_one_picture_does_not_depend_on_its_company(kind: str, cnn: Model, images: list[Image]) -> None:
    x = torch.cat([seen(cnn, image) for image in images])
    together = baseline(kind, x, cnn.preprocessing, 3)
    assert together.shape == x.shape
    for one, nothing in zip(x, together, strict=True):
        torch.testing.assert_close(baseline(kind, one[None], cnn.preprocessing, 3)[0], nothing, atol=0, rtol=0)


def test_a_superpixel_is_hidden_under_its_own_mean_colour() -> None:
    segments = torch.tensor([[0, 0, 1], [1, 1, 1]])
    picture = torch.arange(18.0).view(3, 2, 3)
    hidden = mean_colours(picture, segments)
    for number in (0, 1):
        here = segments == number
        for shown, colour in zip(hidden, picture, strict=True):
            torch.testing.assert_close(shown[here], colour[here].mean().expand(int(here.sum())))


def test_only_a_background_of_pictures_asks_for_them(cnn: Model, image: Image) -> None:
    def refuse() -> torch.Tensor:
        raise SettingError("none were given")

    picture = seen(cnn, image)[0]
    found = {kind: backgrounds(kind, picture, cnn.preprocessing, refuse) for kind in BACKGROUNDS if kind != "pictures"}
    assert {kind: len(pictures) for kind, pictures in found.items()} == {"blurs": 4, "black": 1, "mean": 1}
    with pytest.raises(SettingError, match="none were given"):
        backgrounds("pictures", picture, cnn.preprocessing, refuse)
    given = torch.rand(5, 3, SIDE, SIDE)
    assert backgrounds("pictures", picture, cnn.preprocessing, lambda: given) is given


def test_from_noise_integrated_gradients_add_up_and_move_with_the_seed(cnn: Model, image: Image) -> None:
    first, other = (xai.explain(cnn, image, "integrated_gradients", start="noise", steps=128, seed=s) for s in (1, 2))
    assert first.values.tobytes() != other.values.tobytes()
    x, b = seen(cnn, image), baseline("noise", seen(cnn, image), cnn.preprocessing, 1)
    change = (cnn.outputs(x) - cnn.outputs(b))[0, first.target.index].item()
    assert first.values.sum() == pytest.approx(change, rel=0.01)


# parts side by side --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 2, 3, 6, 7])
def test_where_all_sets_are_asked_about_the_fit_gives_the_shapley_values_of_the_definition(parts: int) -> None:
    game = random_game(parts)
    assert len(coalitions(parts, 2**parts, 0)[0]) == len(coalitions(parts, 5000, 0)[0]) == 2**parts
    np.testing.assert_allclose(fitted(game, parts, 5000), by_definition(game, parts), atol=1e-9)


@pytest.mark.parametrize(("parts", "samples"), [(12, 50), (12, 500), (12, 4000), (13, 4001), (60, 500), (400, 5000)])
def test_drawn_sets_are_all_different_as_many_as_asked_for_and_weigh_what_the_kernel_says(
    parts: int, samples: int
) -> None:
    sets, weights = coalitions(parts, samples, 0)
    assert sets.shape == (samples, parts)
    assert len(np.unique(sets, axis=0)) == samples
    assert not sets[0].any()
    assert sets[1].all()
    assert (weights[:2] == 0).all()
    assert (weights[2:] > 0).all()
    sizes = np.arange(1, parts)
    kernel = (parts - 1) / (sizes * (parts - sizes))
    assert weights.sum() == pytest.approx(kernel.sum())
    there = {shown.tobytes() for shown in sets}
    assert sum((~shown).tobytes() not in there for shown in sets) <= samples % 2, "drawn without its complement"


def test_outer_sizes_are_asked_about_whole_as_soon_as_so_many_draws_would_fall_on_them() -> None:
    sets, weights = coalitions(12, 500, 0)
    inside = sets.sum(1)
    for size in (1, 2, 10, 11):  # 24 and 132 sets, on which 173 of 498 and then 148 of 474 draws would fall
        assert (inside == size).sum() == math.comb(12, size)
        np.testing.assert_allclose(weights[inside == size], 11 / (size * (12 - size) * math.comb(12, size)))
    assert (inside == 3).sum() < math.comb(12, 3)


@pytest.mark.parametrize("samples", [50, 200])
def test_in_a_game_without_interactions_any_draw_gives_every_part_its_own_worth(samples: int) -> None:
    worth = np.random.default_rng(0).normal(size=20)
    np.testing.assert_allclose(fitted(lambda shown: 3.0 + shown @ worth, 20, samples, seed=7), worth, atol=1e-9)


def test_drawn_values_always_add_up_and_come_nearer_with_more_samples() -> None:
    parts = 10
    pairs = np.random.default_rng(1).normal(size=(parts, parts))
    triples = np.random.default_rng(2).normal(size=(parts, parts, parts)) / 3

    def game(shown: np.ndarray) -> float:
        z = shown.astype(float)
        return float(z @ pairs @ z + np.einsum("ijk,i,j,k", triples, z, z, z))

    truth, errors = by_definition(game, parts), []
    for samples in (50, 400):
        found = [fitted(game, parts, samples, seed) for seed in range(20)]
        np.testing.assert_allclose(np.sum(found, axis=1), game(np.ones(parts)), atol=1e-9)
        errors.append(np.sqrt(np.mean((np.array(found) - truth) ** 2)))
    assert errors[1] < errors[0] / 3, errors


def test_kernel_shap_equals_brute_force_and_shap_where_all_sets_are_asked_about(image: Image) -> None:
    import shap

    model, index = timm_model("test_resnet"), 3
    method = xai.METHODS.build({"name": "kernel_shap", "samples": 5000, "segments": 10, "cover": "segment"})
    picture = seen(model, image)[0]
    segments = method.found(model, picture, 0)
    parts = int(segments.max()) + 1
    assert 5 <= parts <= 12, "too many to ask about all sets"
    hidden = mean_colours(picture, segments)

    def classify(sets: np.ndarray) -> np.ndarray:
        shown = torch.from_numpy(sets.astype(bool))[:, None, segments]
        return model.outputs(torch.where(shown, picture, hidden))[:, index].double().numpy()

    every = np.array(list(itertools.product([False, True], repeat=parts)))
    worth = dict(zip(map(bytes, every), classify(every), strict=True))
    truth = by_definition(lambda shown: worth[shown.tobytes()], parts)
    with numpys_generator_kept():
        explainer = shap.KernelExplainer(classify, np.zeros((1, parts)))
        theirs = explainer.shap_values(np.ones((1, parts)), nsamples=2**parts, l1_reg=False, silent=True)[0]
    ours = xai.explain(model, image, method, index)
    shares = np.bincount(segments.flatten(), ours.values.flatten().astype(float))
    tolerance = 1e-5 * np.abs(truth).max()  # of answers in float32
    np.testing.assert_allclose(shares, truth, atol=tolerance)
    np.testing.assert_allclose(shares, theirs, atol=tolerance)
    assert ours.passes.forward == 2**parts
    again = xai.explain(model, image, method, index, seed=1)
    assert again.values.tobytes() == ours.values.tobytes(), "nothing was left to chance"


def test_too_few_samples_for_the_superpixels_are_said_and_the_sum_still_holds(cnn: Model, image: Image) -> None:
    found = xai.explain(cnn, image, "kernel_shap", samples=50, segments=100)
    assert any("50 samples cannot tell" in note for note in found.notes)
    assert found.gap == pytest.approx(0, abs=1e-4)
    enough = xai.explain(cnn, image, "kernel_shap", samples=500, segments=20)
    assert not any("cannot tell" in note for note in enough.notes)


@pytest.mark.parametrize("cover", ["segment", *BASELINES])
def test_kernel_shap_adds_up_under_every_cover_and_segmentation(cover: str, cnn: Model, image: Image) -> None:
    for segmentation in ("slic", "quickshift"):
        found = xai.explain(cnn, image, "kernel_shap", samples=200, cover=cover, segmentation=segmentation, seed=4)
        assert found.gap == pytest.approx(0, abs=1e-3)


# parts inside parts --------------------------------------------------------------------------------------------------


def pixels_of(square: Square, columns: int) -> list[int]:
    down, across = square
    return [r * columns + c for r in range(down.start, down.stop) for c in range(across.start, across.stop)]


def orderings(square: Square, columns: int) -> Iterator[list[int]]:
    """All orders of the pixels in which every part of the hierarchy comes in one piece."""
    if area(square) == 1:
        yield pixels_of(square, columns)
        return
    for one, two in itertools.permutations(halves(square)):
        for first in orderings(one, columns):
            for second in orderings(two, columns):
                yield first + second


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (2, 4), (3, 3), (1, 5)])
def test_halved_to_the_last_pixel_parts_get_the_owen_values_of_the_definition(rows: int, columns: int) -> None:
    """Owen, 1977: the mean gain over all orderings in which unions stay together."""
    game, everything = random_game(rows * columns), (slice(0, rows), slice(0, columns))
    truth, count = np.zeros(rows * columns), 0
    for order in orderings(everything, columns):
        shown, before = np.zeros(rows * columns, bool), game(np.zeros(rows * columns, bool))
        for pixel in order:
            shown[pixel] = True
            truth[pixel] += game(shown) - before
            before = game(shown)
        count += 1
    assert count == 2 ** (rows * columns - 1)

    def said(contexts: list[Context]) -> list[float]:
        shown = np.zeros((len(contexts), rows * columns), bool)
        for mask, context in zip(shown, contexts, strict=True):
            for square in context:
                mask[pixels_of(square, columns)] = True
        return [game(mask) for mask in shown]

    found = np.zeros(rows * columns)
    for part in owen(said, everything, halvings=10000):
        found[pixels_of(part.square, columns)] += part.share / area(part.square)
    np.testing.assert_allclose(found, truth / count, atol=1e-12)


@pytest.mark.slow  # numba compiles shap's masker first
@pytest.mark.parametrize("evaluations", [50, 51, 200, 600])
def test_partition_shap_equals_shap(evaluations: int, cnn: Model, image: Image) -> None:
    import shap

    index, picture = 2, seen(cnn, image)[0]
    hidden = baseline("blur", picture[None], cnn.preprocessing)[0]

    def classify(pictures: np.ndarray) -> np.ndarray:
        return cnn.outputs(torch.from_numpy(pictures).permute(0, 3, 1, 2))[:, index].double().numpy()

    with numpys_generator_kept():
        masker = shap.maskers.Image(hidden.permute(1, 2, 0).numpy().copy())
        explain = shap.PartitionExplainer(classify, masker)
        found = explain(
            picture.permute(1, 2, 0).numpy()[None], max_evals=evaluations // 2 * 2, batch_size=32, silent=True
        )
    theirs = found.values[0].sum(2)
    ours = xai.explain(cnn, image, "partition_shap", index, evaluations=evaluations)
    np.testing.assert_allclose(ours.values, theirs, atol=1e-5 * np.abs(theirs).max())
    assert ours.passes.forward == evaluations // 2 * 2


def test_partition_shap_is_finer_where_the_target_depends_on_more(left_half: Model, image: Image) -> None:
    values = xai.explain(left_half, image, "partition_shap", evaluations=1000).values
    assert len(np.unique(values[:, : SIDE // 2])) > 20 * len(np.unique(values[:, SIDE // 2 :]))


# many backgrounds ----------------------------------------------------------------------------------------------------


def misses(name: str, model: Model, image: Image, seeds: int, **settings: object) -> np.ndarray:
    """By how much the sum misses f(x) - mean f(b), by seed."""
    method = xai.METHODS.build({"name": name, **settings})
    x = seen(model, image)
    target = [Target(0, "")]
    whole = model.scalars(x, target) - model.outputs(method.backgrounds(model, x[0]))[:, 0].mean()
    sums = [method.attribute(model, x, target, seed).sum() for seed in range(seeds)]
    return (torch.stack(sums) - whole).numpy()


def test_spread_stops_come_nearer_to_the_sum_than_independent_ones_for_the_same_passes(
    cnn: Model, image: Image
) -> None:
    spread = misses("expected_gradients", cnn, image, 40, samples=16)
    independent = misses("gradient_shap", cnn, image, 40, samples=16)
    assert (spread**2).mean() < (independent**2).mean() / 4


def test_in_a_quadratic_network_one_stop_in_each_piece_bounds_the_error(quadratic: Model, image: Image) -> None:
    """f = sum x^2 from zero: every value is x^2 times twice the mean stop, which is 1/2 within half a piece."""
    square = (seen(quadratic, image) ** 2).sum(1)[0].numpy()
    method, factors = {"name": "expected_gradients", "samples": 10, "background": "mean"}, []
    for seed in range(20):
        found = xai.explain(quadratic, image, method, 0, seed=seed).values
        factor = found.sum() / square.sum()
        np.testing.assert_allclose(found, factor * square, rtol=1e-4, atol=1e-5)
        factors.append(factor)
    assert np.abs(np.array(factors) - 1).max() <= 0.1
    assert np.mean(factors) == pytest.approx(1, abs=0.02)  # standard error 2 * 0.1 / sqrt(12 * 10 * 20) = 0.004


@pytest.mark.parametrize("samples", [8, 10])  # with four backgrounds: whole rounds, and a broken one
def test_over_many_seeds_expected_gradients_are_integrated_gradients_averaged_over_the_background(
    samples: int, cnn: Model, image: Image
) -> None:
    method = xai.METHODS.build({"name": "expected_gradients", "samples": samples})
    x, target = seen(cnn, image), Target(1, "")
    ways = []
    for b in method.backgrounds(cnn, x[0]):
        stops = ((torch.arange(200) + 0.5) / 200).view(-1, 1, 1, 1)
        ways.append(((x[0] - b) * cnn.gradients(b + stops * (x[0] - b), [target] * 200).mean(0)).sum(0))
    truth = torch.stack(ways).mean(0)
    maps = torch.stack([method.attribute(cnn, x, [target], seed)[0] for seed in range(200)])
    one, mean = (maps - truth).norm(dim=(1, 2)).mean() / truth.norm(), (maps.mean(0) - truth).norm() / truth.norm()
    assert mean < one / 200**0.5 * 3, "three standard errors"


@pytest.mark.parametrize("name", ["expected_gradients", "gradient_shap"])
def test_a_background_may_be_pictures_of_the_callers_own(name: str, cnn: Model, images: list[Image]) -> None:
    method = xai.METHODS.build({"name": name, "samples": 512, "background": "pictures"})
    found = xai.explain(cnn, images[0], method, 1, background_images=images[1:])
    behind = torch.cat([seen(cnn, one) for one in images[1:]])
    change = (cnn.outputs(seen(cnn, images[0])) - cnn.outputs(behind).mean(0))[0, 1].item()
    miss = abs(found.values.sum() - change) / abs(change)
    assert found.gap == pytest.approx(miss, abs=1e-4)
    assert found.gap < 0.1
    with pytest.raises(SettingError, match="none were given"):
        xai.explain(cnn, images[0], method)


# what follows from the definitions -----------------------------------------------------------------------------------


def test_of_a_linear_network_every_superpixel_gets_what_its_pixels_bring(linear: Model, image: Image) -> None:
    brought = (linear.module.layer.weight[1].view(3, SIDE, SIDE) * seen(linear, image)[0]).sum(0)
    method = xai.METHODS.build({"name": "kernel_shap", "samples": 100, "segments": 20, "cover": "mean"})
    segments = method.found(linear, seen(linear, image)[0], 0).flatten().numpy()
    found = xai.explain(linear, image, method, 1).values
    truth = np.bincount(segments, brought.flatten().detach())
    np.testing.assert_allclose(np.bincount(segments, found.flatten()), truth, atol=1e-4 * np.abs(truth).max())
    for number in np.unique(segments):  # all pixels of a superpixel alike
        assert len(np.unique(found.flatten()[segments == number])) == 1


def test_of_a_linear_network_every_square_gets_what_its_pixels_bring(linear: Model, image: Image) -> None:
    brought = (linear.module.layer.weight[1].view(3, SIDE, SIDE) * seen(linear, image)[0]).sum(0).detach().numpy()
    found = xai.explain(linear, image, "partition_shap", 1, evaluations=2000, cover="mean").values
    quarters = (np.asarray(v, float).reshape(2, SIDE // 2, 2, SIDE // 2).sum((1, 3)) for v in (found, brought))
    np.testing.assert_allclose(*quarters, atol=1e-5)


def test_of_a_linear_network_expected_gradients_are_w_times_x(linear: Model, image: Image) -> None:
    brought = (linear.module.layer.weight[1].view(3, SIDE, SIDE) * seen(linear, image)[0]).sum(0).detach().numpy()
    method = {"name": "expected_gradients", "samples": 9, "background": "mean"}
    found = xai.explain(linear, image, method, 1).values
    np.testing.assert_allclose(found, brought, atol=2e-5)


def test_what_the_network_does_not_read_gets_nothing(left_half: Model, image: Image) -> None:
    half = SIDE // 2
    for name in ("expected_gradients", "partition_shap"):
        values = xai.explain(left_half, image, name).values
        assert np.abs(values[:, half:]).max() <= 1e-7
        assert np.abs(values[:, :half]).max() > 1e-5
    method = xai.METHODS.build({"name": "kernel_shap", "samples": 5000, "segments": 10})
    segments = method.found(left_half, seen(left_half, image)[0], 0).numpy()
    dead = [number for number in np.unique(segments) if not (segments[:, :half] == number).any()]
    assert dead
    values = xai.explain(left_half, image, method).values
    assert np.abs(values[np.isin(segments, dead)]).max() <= 1e-6 * np.abs(values).max()


@pytest.mark.parametrize("network", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_kernel_and_partition_shap_add_up_on_every_family_of_networks(network: str, image: Image) -> None:
    model = timm_model(network)
    x = seen(model, image)
    for settings in (quick("kernel_shap"), quick("partition_shap")):
        found = xai.explain(model, image, settings, 3)
        nothing = baseline("blur", x, model.preprocessing)
        change = (model.outputs(x) - model.outputs(nothing))[0, 3].item()
        size = model.outputs(x).abs().max().item()
        assert found.values.sum(dtype=float) == pytest.approx(change, abs=1e-5 * size)


def test_a_blur_is_the_gaussian_filter_of_scipy() -> None:
    from scipy.ndimage import gaussian_filter

    from xai_core.baselines import blurred

    x = torch.rand(2, 3, 20, 33, generator=torch.Generator().manual_seed(0))
    for sigma in (0.7, 3.0, 13.2):
        slowly = gaussian_filter(x.double().numpy(), (0, 0, sigma, sigma), mode="mirror")
        np.testing.assert_allclose(blurred(x, sigma).numpy(), slowly, atol=1e-6)
