"""Class activation by gradients, scores and silence; random masks; noisy gradients; and the controls.

Each formula is derived a second time, slowly, in float64, or held against the library that people use.
"""

from __future__ import annotations

import random as the_standard_one
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import xai_core as xai
from tests.conftest import SIDE, convolutions, photograph, png_of, quick, seeded, timm_model, wrapped
from xai_core.models import Model, Trace
from xai_core.principal import principal_pattern
from xai_core.records import Image, Passes, Target

CONTROLS = ("random", "uniform", "sobel_edges", "centre_gaussian")


def seen(model: Model, image: Image) -> torch.Tensor:
    return model.preprocessing.tensor(model.preprocessing.view(image)[None])


def stretched(values: np.ndarray) -> np.ndarray:
    values = values - values.min()
    return values / values.max()


def enlarged(coarse: Any, side: int) -> np.ndarray:
    coarse = torch.as_tensor(coarse).double()[None, None]
    return F.interpolate(coarse, (side, side), mode="bilinear", align_corners=False)[0, 0].numpy()


def drawn_trace(n: int, channels: int, rows: int, columns: int) -> Trace:
    draw = torch.Generator().manual_seed(0)
    shape = (n, channels, rows, columns)
    return Trace(torch.randn(shape, generator=draw), torch.randn(shape, generator=draw))


# ---- against pytorch-grad-cam ----------------------------------------------------------------------------------------


def library_cam(name: str, model: Model, layer: str, x: torch.Tensor, index: int) -> np.ndarray:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with model.borrowed() as network:
        network.requires_grad_(True)
        cam = getattr(pytorch_grad_cam, name)(network, [network.get_submodule(layer)])
        maps: np.ndarray = cam(x, [ClassifierOutputTarget(index)])
        cam.activations_and_grads.release()
    return maps[0]


NETWORKS = {"test_resnet": "layer3", "test_convnext": "stages.2", "test_efficientnet": "blocks.3"}


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("name", "theirs"), [("xgrad_cam", "XGradCAM"), ("score_cam", "ScoreCAM")])
def test_xgrad_cam_and_score_cam_equal_pytorch_grad_cam(name: str, theirs: str, network: str, image: Image) -> None:
    model, layer = timm_model(network), NETWORKS[network]
    for index in (0, 9):
        expected = library_cam(theirs, model, layer, seen(model, image), index)
        ours = xai.explain(model, image, name, index, layer=layer).values
        assert (ours.max() == 0) == (expected.max() == 0)
        if ours.max() > 0:  # the library adds 1e-7 to the largest value before it divides by it
            assert np.abs(stretched(ours) - expected).max() < 1e-4 + 5e-7 / ours.max()


@pytest.mark.parametrize("network", NETWORKS)
def test_eigen_grad_cam_equals_pytorch_grad_cam_up_to_its_sign(network: str, image: Image) -> None:
    import cv2

    model, layer = timm_model(network), NETWORKS[network]
    x = seen(model, image)
    for index in (0, 9):
        expected = library_cam("EigenGradCAM", model, layer, x, index)
        coarse = xai.METHODS.build("eigen_grad_cam").combine(model.trace(x, [Target(index, "")], [layer])[layer])[0]
        gaps = []
        for sign in (1, -1):  # clip, stretch (with 1e-7 in the divisor), enlarge, stretch: the library's order of steps
            clipped = np.clip(sign * coarse.numpy(), 0, None)
            clipped = (clipped - clipped.min()) / (1e-7 + (clipped - clipped.min()).max())
            gaps.append(np.abs(stretched(cv2.resize(clipped, expected.shape)) - expected).max())
        assert min(gaps) < 1e-4


def test_ablation_cam_equals_pytorch_grad_cam_after_a_relu_wherever_the_target_is_above_zero(image: Image) -> None:
    model, layer = timm_model("test_resnet"), "layer3"
    x = seen(model, image)
    logits = model.outputs(x)[0]
    for index in (int(logits.argmax()), int(logits.argmin())):
        ours = xai.explain(model, image, "ablation_cam", index, layer=layer, positive_only=False).values
        sign = 1 if logits[index] > 0 else -1  # they divide by the target's value: below zero, the opposite map
        clipped = np.clip(sign * ours, 0, None)
        expected = library_cam("AblationCAM", model, layer, x, index)
        assert (logits[index] > 0) == (index == int(logits.argmax()))
        assert (clipped.max() == 0) == (expected.max() == 0)
        if clipped.max() > 0:
            assert np.abs(stretched(clipped) - expected).max() < 2e-5


# ---- by hand ---------------------------------------------------------------------------------------------------------


def test_before_pooling_and_one_linear_layer_grad_hires_and_xgrad_cam_are_one(cnn: Model, image: Image) -> None:
    for index in range(3):
        grad, hires, xgrad = (
            xai.explain(cnn, image, name, index, layer="3", positive_only=False).values
            for name in ("grad_cam", "hires_cam", "xgrad_cam")
        )
        np.testing.assert_allclose(grad, hires, atol=1e-5 * np.abs(grad).max())
        np.testing.assert_allclose(grad, xgrad, atol=1e-5 * np.abs(grad).max())


def test_xgrad_cam_is_its_formula_and_conserves_the_sum_of_gradient_times_activation() -> None:
    trace = drawn_trace(2, 5, 3, 4)
    ours = xai.METHODS.build("xgrad_cam").combine(trace).double().numpy()
    for n in range(2):
        a, g = trace.activations[n].double().numpy(), trace.gradients[n].double().numpy()
        truth = np.zeros((3, 4))
        for k in range(5):
            weight = sum(a[k, i, j] / a[k].sum() * g[k, i, j] for i in range(3) for j in range(4))
            truth += weight * a[k]
        np.testing.assert_allclose(ours[n], truth, rtol=1e-4, atol=1e-5)
        assert ours[n].sum() == pytest.approx((a * g).sum(), rel=1e-4, abs=1e-5)


def test_xgrad_cam_leaves_out_a_feature_map_that_cancels_itself_out() -> None:
    a = torch.tensor([[[[0.1, 0.2], [-0.1, -0.2]], [[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    g = torch.ones_like(a) * torch.tensor([5.0, 2.0, 7.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(xai.METHODS.build("xgrad_cam").combine(Trace(a, g))[0], 2 * a[0, 1])


@pytest.mark.parametrize(("channels", "rows", "columns"), [(5, 3, 4), (30, 3, 4)])
def test_the_principal_pattern_is_that_of_the_full_decomposition(channels: int, rows: int, columns: int) -> None:
    """Fewer channels than places, and more: the two Gram matrices."""
    maps = drawn_trace(2, channels, rows, columns).activations
    for ours, one in zip(principal_pattern(maps), maps.double().numpy(), strict=True):
        places = one.reshape(channels, -1).T
        centred = places - places.mean(0)
        truth = centred @ np.linalg.svd(centred)[2][0]
        truth = truth if truth @ places.mean(1) >= 0 else -truth
        np.testing.assert_allclose(ours.numpy().ravel(), truth, atol=1e-5)


def test_eigen_grad_cam_is_the_principal_pattern_of_hires_cams_products_and_points_its_way() -> None:
    trace = drawn_trace(2, 6, 4, 4)
    ours = xai.METHODS.build("eigen_grad_cam").combine(trace)
    torch.testing.assert_close(ours, principal_pattern(trace.activations * trace.gradients))
    hires = xai.METHODS.build("hires_cam").combine(trace)
    assert ((ours * hires).sum((1, 2)) > 0).all()
    zero = Trace(trace.activations, torch.zeros_like(trace.gradients))
    assert not xai.METHODS.build("eigen_grad_cam").combine(zero).any()


def test_score_cam_is_its_formula(cnn: Model, image: Image) -> None:
    x, target, layer = seen(cnn, image), Target(1, ""), "1"
    maps = cnn.trace(x, [target], [layer])[layer].activations[0].double()
    scores = []
    for one in maps:
        mask = F.interpolate(one[None, None], (SIDE, SIDE), mode="bilinear", align_corners=True)[0, 0]
        mask = (mask - mask.min()) / (mask.max() - mask.min())
        scores.append(float(cnn.outputs((x * mask).float())[0, 1]))
    weights = np.exp(scores) / np.exp(scores).sum()
    truth = enlarged(sum(w * one for w, one in zip(weights, maps, strict=True)), SIDE)
    ours = xai.explain(cnn, image, "score_cam", 1, layer=layer).values
    np.testing.assert_allclose(ours, truth, rtol=1e-5, atol=1e-6)


def with_dull_channels(count: int) -> Model:
    """The first `count` of eight channels see nothing: the first is always 1, the others always 0."""
    module = seeded(convolutions)
    module[0].weight.data[:count] = 0
    module[0].bias.data[:count] = -1
    module[0].bias.data[0] = 1
    return wrapped(module)


@pytest.mark.parametrize("name", ["score_cam", "ablation_cam", "xgrad_cam", "eigen_grad_cam"])
@pytest.mark.parametrize("count", [3, 8])
def test_channels_that_are_the_same_everywhere_do_no_harm(name: str, count: int, image: Image) -> None:
    model = with_dull_channels(count)
    explanation = xai.explain(model, image, name, 0, layer="1", positive_only=False)
    assert np.isfinite(explanation.values).all()
    # the gradient, which Eigen-Grad-CAM multiplies before it looks for a pattern, still differs near the border
    assert (explanation.flat is not None) == (count == 8 and name != "eigen_grad_cam")


def test_score_cam_weighs_only_channels_that_differ_from_place_to_place(image: Image) -> None:
    model, target = with_dull_channels(3), Target(0, "")
    x = seen(model, image)
    maps = model.trace(x, [target], ["1"])["1"].activations[0]
    weights = xai.METHODS.build({"name": "score_cam", "layer": "1"}).weights(model, x[0], target, maps)
    assert weights[:3].tolist() == [0, 0, 0]
    assert (weights[3:] > 0).all()
    assert float(weights.sum()) == pytest.approx(1)


def test_before_pooling_and_one_linear_layer_silence_costs_the_weight_times_the_mean(cnn: Model, image: Image) -> None:
    maps = cnn.trace(seen(cnn, image), [Target(2, "")], ["3"])["3"].activations[0].double()
    falls = cnn.module[6].weight[2].double() * maps.mean((1, 2))
    truth = enlarged((falls[:, None, None] * maps).sum(0), SIDE)
    ours = xai.explain(cnn, image, "ablation_cam", 2, layer="3", positive_only=False).values
    np.testing.assert_allclose(ours, truth, atol=1e-5 * np.abs(truth).max())


@pytest.mark.parametrize(("network", "layer", "axis"), [("test_vit", "blocks.4", -1), ("test_convnext", "stages.1", 1)])
def test_ablation_cam_is_its_formula_channel_by_channel(network: str, layer: str, axis: int, image: Image) -> None:
    """A slow loop with a hook of its own, on layers whose activations have both signs."""
    model, index = timm_model(network), 4
    x = seen(model, image)
    channels = model.layers[layer].channels
    whole, falls = model.outputs(x)[0, index].double(), []
    with model.borrowed() as module, torch.no_grad():
        for channel in range(channels):
            picked = torch.tensor([channel])
            handle = module.get_submodule(layer).register_forward_hook(
                lambda _, __, output, picked=picked: output.index_fill(axis, picked, 0)
            )
            falls.append(whole - module(x)[0, index].double())
            handle.remove()
    maps = model.trace(x, [Target(index, "")], [layer])[layer].activations[0].double()
    truth = enlarged((torch.stack(falls)[:, None, None] * maps).sum(0), x.shape[-1])
    ours = xai.explain(model, image, "ablation_cam", index, layer=layer, positive_only=False).values
    np.testing.assert_allclose(
        ours, truth, atol=2e-4 * np.abs(truth).max()
    )  # falls of 1e-3 from logits rounded at 1e-7


@pytest.mark.parametrize(("name", "own"), [("score_cam", 12), ("ablation_cam", 12)])
def test_the_trace_of_score_and_ablation_cam_comes_with_the_prediction(
    name: str, own: int, cnn: Model, image: Image
) -> None:
    sent: list[int] = []
    xai.explain(cnn, image, name, layer="3", progress=lambda done, total: sent.append(done))
    assert sent[-1] == 1 + own


@pytest.mark.parametrize("name", ["xgrad_cam", "eigen_grad_cam", "score_cam", "ablation_cam"])
def test_a_layer_that_never_reaches_the_target_is_refused(name: str, image: Image) -> None:
    model = timm_model("test_vit")
    last = [layer for layer in model.stages if not model.reaches(layer)]
    assert last, "the picture's tokens of a class token transformer's last block do not reach the target"
    with pytest.raises(xai.AuditError, match="the gradient of the target there is zero"):
        xai.explain(model, image, name, layer=last[-1])


# ---- RISE ------------------------------------------------------------------------------------------------------------


def slow_mask(grid: np.ndarray, top: int, left: int, side: int) -> np.ndarray:
    """One mask, pixel by pixel: bilinear between the centres of the cells, the outermost continued to the border."""
    cells = len(grid)
    scale = cells / ((cells + 1) * -(-side // cells))
    mask = np.zeros((side, side))
    for i in range(side):
        for j in range(side):
            y, x = (min(max((at + 0.5) * scale - 0.5, 0), cells - 1) for at in (i + top, j + left))
            y0, x0 = min(int(y), cells - 2), min(int(x), cells - 2)
            for dy, wy in ((0, 1 - (y - y0)), (1, y - y0)):
                for dx, wx in ((0, 1 - (x - x0)), (1, x - x0)):
                    mask[i, j] += wy * wx * grid[y0 + dy, x0 + dx]
    return mask


@pytest.mark.parametrize("cells", [4, 5])  # 32 pixels are four cells of eight, or five of seven with some left over
def test_rise_is_its_formula_with_every_mask_made_pixel_by_pixel(cells: int, cnn: Model, image: Image) -> None:
    x, samples, chance, seed = seen(cnn, image), 50, 0.3, 5
    draw = torch.Generator().manual_seed(seed)
    grids = (torch.rand((samples, 1, cells, cells), generator=draw) < chance)[:, 0].numpy().astype(float)
    tops, lefts = (torch.randint(-(-SIDE // cells), (samples,), generator=draw).tolist() for _ in range(2))
    masks = [slow_mask(*each, SIDE) for each in zip(grids, tops, lefts, strict=True)]
    said = [float(cnn.outputs((x * torch.from_numpy(mask)).float())[0, 1]) for mask in masks]
    truth = sum((f - np.mean(said)) * mask for f, mask in zip(said, masks, strict=True)) / (samples * chance)
    ours = xai.explain(cnn, image, "rise", 1, seed=seed, samples=samples, cells=cells, probability=chance).values
    np.testing.assert_allclose(ours, truth, atol=1e-4 * np.abs(truth).max())


def test_masks_of_rise_show_each_pixel_with_the_chance_that_was_asked_for() -> None:
    method = xai.METHODS.build({"name": "rise", "samples": 4000, "probability": 0.3})
    masks = method.masks(40, 56, 0)[slice(0, 4000)]
    assert masks.shape == (4000, 1, 40, 56)
    assert masks.min() >= 0
    assert masks.max() <= 1 + 1e-6  # rounding of the enlargement
    assert (masks.mean(0) - 0.3).abs().max() < 0.04  # five standard errors of a share of 4000


def test_masks_of_rise_do_not_depend_on_how_they_are_asked_for() -> None:
    masks = xai.METHODS.build({"name": "rise", "samples": 60}).masks(32, 32, 1)
    parts = [masks[slice(at, min(at + 7, 60))] for at in range(0, 60, 7)]
    assert torch.equal(torch.cat(parts), masks[slice(0, 60)])


def test_rise_on_a_linear_network_tends_to_the_smoothed_contributions(linear: Model, image: Image) -> None:
    """f(x M) = sum of c M with c = w x. Cells are independent, so the covariance of two pixels' masks is p (1 - p)
    times the sum over cells of the product of the cell's shares in both, in the mean over all 8 x 8 shifts."""
    cells, chance, samples = 4, 0.5, 4000
    contributions = (linear.module.layer.weight[1].view(3, SIDE, SIDE) * seen(linear, image)[0]).sum(0).double()
    shares = F.interpolate(torch.eye(cells)[None].double(), (cells + 1) * 8, mode="linear", align_corners=False)[0]
    truth = torch.zeros(SIDE, SIDE, dtype=torch.float64)
    for top in range(8):
        for left in range(8):
            rows, columns = shares[:, top : top + SIDE], shares[:, left : left + SIDE]
            in_cells = rows @ contributions @ columns.T
            truth += (1 - chance) * rows.T @ in_cells @ columns / 64
    method = xai.METHODS.build({"name": "rise", "samples": samples, "cells": cells, "probability": chance})
    masks = method.masks(SIDE, SIDE, 0)[slice(0, samples)][:, 0].double()
    said = (masks * contributions).sum((1, 2))
    error = ((said - said.mean())[:, None, None] * masks / chance).std(0) / samples**0.5
    ours = torch.from_numpy(xai.explain(linear, image, method, 1).values.copy()).double()
    assert ((ours - truth).abs() < 5 * error).all()
    assert (ours.min() < 0) == (truth.min() < 0)
    assert float(np.corrcoef(ours.ravel(), truth.ravel())[0, 1]) > 0.95
    with_offset = ours + chance * contributions.sum()  # as in the paper
    assert ((with_offset - truth).abs() > 5 * error).any()


@pytest.mark.parametrize("name", ["rise", "smooth_grad", "score_cam", "ablation_cam"])
def test_a_map_does_not_depend_on_the_size_of_a_batch(
    name: str, cnn: Model, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = xai.explain(cnn, image, quick(name)).values
    monkeypatch.setattr(cnn, "batch", 3)
    np.testing.assert_allclose(xai.explain(cnn, image, quick(name)).values, whole, atol=1e-4 * np.abs(whole).max())


# ---- SmoothGrad ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mean", "square", "variance"])
def test_smooth_grad_is_its_formula_with_the_same_draws(kind: str, cnn: Model, image: Image) -> None:
    x, samples, seed = seen(cnn, image)[0], 10, 4
    draw = torch.Generator().manual_seed(seed)
    spread = 0.2 * float(x.max() - x.min())
    slopes = []
    for _ in range(samples):
        noisy = x + spread * torch.randn(x.shape, generator=draw)
        slopes.append(cnn.gradients(noisy[None], [Target(1, "")])[0].double().numpy())
    formula = {
        "mean": lambda g: np.abs(g.mean(0)),
        "square": lambda g: (g**2).mean(0),
        "variance": lambda g: ((g - g.mean(0)) ** 2).mean(0),
    }
    truth = formula[kind](np.stack(slopes)).max(0)
    ours = xai.explain(cnn, image, "smooth_grad", 1, seed=seed, samples=samples, noise=0.2, kind=kind).values
    np.testing.assert_allclose(ours, truth, atol=1e-5 * truth.max())


def test_smooth_grad_without_noise_is_saliency(cnn: Model, image: Image) -> None:
    saliency = xai.explain(cnn, image, "saliency", 2).values
    for kind, expected in (("mean", saliency), ("square", saliency**2), ("variance", 0 * saliency)):
        ours = xai.explain(cnn, image, "smooth_grad", 2, samples=4, noise=0.0, kind=kind).values
        np.testing.assert_allclose(ours, expected, rtol=1e-5, atol=1e-9)


def test_smooth_grad_on_an_even_slope_sees_the_slope_and_no_variance(linear: Model, image: Image) -> None:
    slope = linear.module.layer.weight[2].view(3, SIDE, SIDE).abs().amax(0).numpy()
    mean, variance = (
        xai.explain(linear, image, "smooth_grad", 2, samples=8, kind=kind).values for kind in ("mean", "variance")
    )
    np.testing.assert_allclose(mean, slope, rtol=1e-5)
    assert variance.max() < 1e-12


def test_smooth_grad_on_a_quadratic_network_varies_by_four_times_the_noise(quadratic: Model, image: Image) -> None:
    """The gradient at x + n is 2 (x + n): its variance is that of the noise, four times, at every pixel."""
    x = seen(quadratic, image)
    found = xai.explain(quadratic, image, "smooth_grad", 0, samples=400, noise=0.1, kind="square").values
    noise = (0.1 * float(x.max() - x.min())) ** 2
    truth = (4 * x[0] ** 2 + 4 * noise).amax(0).numpy()
    assert found.mean() == pytest.approx(truth.mean(), rel=0.02)


@pytest.mark.parametrize("kind", ["mean", "square", "variance"])
def test_smooth_grad_is_zero_where_the_network_does_not_read(kind: str, left_half: Model, image: Image) -> None:
    values = xai.explain(left_half, image, "smooth_grad", samples=8, kind=kind).values
    assert not values[:, SIDE // 2 :].any()
    assert values[:, : SIDE // 2].any()


def test_the_memory_of_smooth_grad_does_not_grow_with_the_draws(
    cnn: Model, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = Model.gradients

    def counting(self: Model, x: torch.Tensor, *rest: Any, **more: Any) -> torch.Tensor:
        asked.append(len(x))
        return original(self, x, *rest, **more)

    monkeypatch.setattr(Model, "gradients", counting)
    monkeypatch.setattr(cnn, "batch", 4)
    xai.explain(cnn, image, "smooth_grad", samples=10)
    assert asked == [4, 4, 2]


# ---- controls --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_asks_the_network_nothing_and_is_the_same_for_each(name: str, cnn: Model, image: Image) -> None:
    other = wrapped(seeded(convolutions, 7))
    one, two = xai.explain(cnn, image, name, 0), xai.explain(other, image, name, 2)
    assert one.passes == two.passes == Passes()
    assert one.values.tobytes() == two.values.tobytes()
    assert not one.evidence


def test_sobel_edges_equal_those_of_scikit_image(cnn: Model, image: Image) -> None:
    from skimage.color import rgb2gray
    from skimage.filters import sobel

    gray = rgb2gray(cnn.preprocessing.view(image))  # luminance by weights that are rounded a little otherwise
    truth = sobel(gray, mode="nearest") * 4 * np.sqrt(2)  # theirs is scaled so that a step of 1 gives at most 1
    ours = xai.explain(cnn, image, "sobel_edges").values
    np.testing.assert_allclose(ours, truth, atol=2e-3)
    np.testing.assert_allclose(np.corrcoef(ours.ravel(), truth.ravel())[0, 1], 1, atol=1e-6)


@pytest.mark.parametrize("turned", [False, True])
def test_sobel_edges_of_a_step_stand_beside_the_step(turned: bool, cnn: Model) -> None:
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    pixels[:, 20:] = 255
    pixels = pixels.transpose(1, 0, 2) if turned else pixels
    values = xai.explain(cnn, xai.read_image(png_of(np.ascontiguousarray(pixels))), "sobel_edges").values
    truth = np.zeros((SIDE, SIDE))
    truth[:, 19:21] = 4  # (1 + 2 + 1) times the step of 1
    np.testing.assert_allclose(values, truth.T if turned else truth, atol=1e-5)


def test_the_centre_gaussian_falls_off_from_the_middle_by_its_width(image: Image) -> None:
    model = xai.wrap_model(seeded(convolutions), labels=list("abc"), input_size=(3, 65, 97), name="wide", device="cpu")
    values = xai.explain(model, image, "centre_gaussian", width=0.2).values.astype(float)
    assert values[32, 48] == values.max() == 1
    assert values[32 + 13, 48] == pytest.approx(np.exp(-0.5))  # one width of the shorter side: 0.2 x 65
    np.testing.assert_allclose(values, values[::-1, ::-1])
    small = xai.explain(model, image, "centre_gaussian", width=0.08).values.astype(float)
    radius = np.hypot(*np.meshgrid(np.arange(97) - 48, np.arange(65) - 32))
    assert (small * radius).sum() / small.sum() == pytest.approx(0.08 * 65 * np.sqrt(np.pi / 2), rel=0.002)


def test_random_noise_is_even_between_zero_and_one_and_as_coarse_as_asked(cnn: Model, image: Image) -> None:
    fine = xai.explain(cnn, image, "random", cells=SIDE)
    assert fine.values.mean() == pytest.approx(0.5, abs=5 / (12**0.5 * SIDE))  # five standard errors
    assert fine.values.std() == pytest.approx(1 / 12**0.5, rel=0.1)
    assert fine.values.min() >= 0
    assert fine.values.max() <= 1
    coarse = xai.explain(cnn, image, "random", cells=4)
    assert coarse.grid == (4, 4)
    neighbours = [np.corrcoef(e.values[:, 1:].ravel(), e.values[:, :-1].ravel())[0, 1] for e in (fine, coarse)]
    assert abs(neighbours[0]) < 0.15
    assert neighbours[1] > 0.9


def test_the_uniform_map_is_flat_on_purpose(cnn: Model, image: Image) -> None:
    explanation = xai.explain(cnn, image, "uniform")
    assert explanation.values.min() == explanation.values.max() == 1
    assert explanation.flat


def test_the_control_called_random_does_not_stand_in_for_pythons_own_module() -> None:
    assert hasattr(the_standard_one, "shuffle")
    assert "xai_core" not in str(the_standard_one.__file__)


def test_a_picture_without_contrast_gives_finite_maps(cnn: Model) -> None:
    grey = xai.read_image(png_of(np.full_like(photograph(64), 90)))
    for name in ("score_cam", "ablation_cam", "rise", "smooth_grad", *CONTROLS):
        assert np.isfinite(xai.explain(cnn, grey, quick(name)).values).all()
