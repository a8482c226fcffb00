"""Networks so simple that the right map is known, and what follows from the definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xai_core as xai
from tests.conftest import SIDE
from xai_core.models import Model
from xai_core.records import Image, why_flat


def seen(model: Model, image: Image) -> torch.Tensor:
    return model.preprocessing.tensor(model.preprocessing.view(image)[None])


@pytest.mark.parametrize(
    "method",
    [
        {"name": "input_x_gradient"},
        {"name": "integrated_gradients", "start": "mean", "steps": 8},
        {"name": "gradient_shap", "background": "mean", "samples": 8},
        {"name": "occlusion", "window": 0.04, "stride": 1.0, "cover": "mean"},  # one pixel
    ],
    ids=lambda method: method["name"],
)
def test_a_linear_network_has_one_right_answer(method: dict, linear: Model, image: Image) -> None:
    """f(x) = w . x with zero as nothing: every one of them must give w_i x_i."""
    truth = (linear.module.layer.weight[1].view(3, SIDE, SIDE) * seen(linear, image)[0]).sum(0).numpy()
    values = xai.explain(linear, image, method, target=1).values
    np.testing.assert_allclose(values, truth, atol=2e-5)


def test_saliency_of_a_linear_network_is_its_largest_weight(linear: Model, image: Image) -> None:
    truth = linear.module.layer.weight[2].view(3, SIDE, SIDE).abs().amax(0).numpy()
    np.testing.assert_allclose(xai.explain(linear, image, "saliency", target=2).values, truth, rtol=1e-6)


@pytest.mark.parametrize("steps", [8, 9, 64])
def test_the_midpoint_rule_is_exact_for_a_quadratic_network_at_any_number_of_steps(
    steps: int, quadratic: Model, image: Image
) -> None:
    x = seen(quadratic, image)
    explanation = xai.explain(quadratic, image, "integrated_gradients", target=0, steps=steps, start="mean")
    np.testing.assert_allclose(explanation.values, (x**2).sum(1)[0].numpy(), rtol=1e-4, atol=1e-6)
    assert explanation.gap == pytest.approx(0, abs=1e-5)


def test_from_black_the_quadratic_network_gives_x_squared_minus_b_squared(quadratic: Model, image: Image) -> None:
    x = seen(quadratic, image)
    black = (0 - 0.5) / 0.25
    explanation = xai.explain(quadratic, image, "integrated_gradients", target=0, steps=8, start="black")
    np.testing.assert_allclose(explanation.values, (x**2 - black**2).sum(1)[0].numpy(), rtol=1e-3, atol=1e-4)


def test_the_completeness_gap_shrinks_with_more_steps(cnn: Model, image: Image) -> None:
    gaps = [xai.explain(cnn, image, "integrated_gradients", steps=steps).gap for steps in (8, 512)]
    assert gaps[1] is not None
    assert gaps[0] is not None
    assert gaps[1] < gaps[0] / 3
    assert gaps[1] < 0.005


@pytest.mark.parametrize(
    "method",
    [
        {"name": "saliency"},
        {"name": "input_x_gradient"},
        {"name": "integrated_gradients", "steps": 8},
        {"name": "gradient_shap", "samples": 8},
        {"name": "occlusion", "window": 0.125, "stride": 1.0},
    ],
    ids=lambda method: method["name"],
)
def test_what_the_network_does_not_read_gets_zero(method: dict, left_half: Model, image: Image) -> None:
    values = xai.explain(left_half, image, method).values
    assert np.abs(values[:, SIDE // 2 :]).max() <= 1e-7
    assert np.abs(values[:, : SIDE // 2]).max() > 1e-4


def test_lime_gives_nothing_to_superpixels_that_the_network_does_not_read(left_half: Model, image: Image) -> None:
    values = xai.explain(left_half, image, "lime", samples=1000, segments=16, compactness=100.0).values
    assert np.abs(values[:, SIDE // 2 + 8 :]).max() < 0.1 * np.abs(values).max()


def test_occlusion_by_its_definition(cnn: Model, image: Image) -> None:
    x = seen(cnn, image)
    covered = x.clone()
    covered[..., 8:16, 16:24] = 0
    fall = (cnn.outputs(x) - cnn.outputs(covered))[0, 2].item()
    values = xai.explain(cnn, image, "occlusion", target=2, window=0.25, stride=1.0).values
    np.testing.assert_allclose(values[8:16, 16:24], fall, atol=1e-6)


def test_a_pixel_under_two_squares_gets_their_mean(cnn: Model, image: Image) -> None:
    """By hand, slowly: every square once, then the mean over those that cover a pixel."""
    x, side, step = seen(cnn, image), 10, 5
    total, times = np.zeros((SIDE, SIDE)), np.zeros((SIDE, SIDE))
    for top in (0, 5, 10, 15, 20, 25):
        for left in (0, 5, 10, 15, 20, 25):
            covered = x.clone()
            covered[..., top : top + side, left : left + side] = 0
            fall = (cnn.outputs(x) - cnn.outputs(covered))[0, 0].item()
            total[top : top + side, left : left + side] += fall
            times[top : top + side, left : left + side] += 1
    assert times.min() >= 1
    values = xai.explain(cnn, image, "occlusion", target=0, window=0.3125, stride=step / side).values
    np.testing.assert_allclose(values, total / times, atol=1e-6)


def test_before_pooling_and_one_linear_layer_grad_cam_is_hires_cam_and_sums_to_the_logit(
    cnn: Model, image: Image
) -> None:
    grid = cnn.layer("3").grid
    trace = cnn.trace(seen(cnn, image), [target(cnn, 1)], ["3"])["3"]
    places = grid[0] * grid[1]
    by_hand = (cnn.module[6].weight[1].view(-1, 1, 1) * trace.activations[0]).sum(0) / places  # Zhou et al., 2016
    for name in ("grad_cam", "hires_cam"):
        method = xai.METHODS.build({"name": name, "layer": "3"})
        torch.testing.assert_close(method.combine(trace)[0], by_hand, atol=1e-6, rtol=1e-5)
    logit = cnn.outputs(seen(cnn, image))[0, 1] - cnn.module[6].bias[1]
    torch.testing.assert_close(by_hand.sum(), logit, atol=1e-6, rtol=1e-5)


def test_a_trace_hears_the_activation_before_one_in_place_rewrites_it(cnn: Model, image: Image) -> None:
    """Layer 2 is a convolution followed by an in-place ReLU: negative values must still be there."""
    trace = cnn.trace(seen(cnn, image), [target(cnn, 0)], ["2"])["2"]
    assert trace.activations.min() < 0


def test_a_trace_equals_gradients_worked_out_by_finite_differences(image: Image) -> None:
    from tests.conftest import convolutions, seeded, wrapped

    model = wrapped(seeded(convolutions))
    tail = model.module[4:]
    x = seen(model, image)
    trace = model.trace(x, [target(model, 2)], ["3"])["3"]
    step = 1e-2
    for channel, row, column in [(0, 0, 0), (3, 4, 5), (11, 7, 7)]:
        moved = trace.activations.clone()
        moved[0, channel, row, column] += step
        slope = (tail(moved)[0, 2] - tail(trace.activations)[0, 2]) / step
        torch.testing.assert_close(slope, trace.gradients[0, channel, row, column], atol=1e-4, rtol=1e-2)


def test_a_contrast_is_the_difference_of_two_logits(cnn: Model, image: Image) -> None:
    from xai_core.records import Target

    contrast = Target(0, "class 0", "contrast", against=2)
    first, second = (xai.explain(cnn, image, "input_x_gradient", t).values for t in (0, 2))
    np.testing.assert_allclose(xai.explain(cnn, image, "input_x_gradient", contrast).values, first - second, atol=1e-5)


def test_a_probability_has_the_slope_of_softmax(cnn: Model, image: Image) -> None:
    from xai_core.records import Target

    x = seen(cnn, image)
    p = cnn.outputs(x).softmax(1)[0]
    slopes = [cnn.gradients(x, [target(cnn, i)]) for i in range(3)]
    by_hand = p[0] * (slopes[0] - sum(p[i] * slopes[i] for i in range(3)))
    torch.testing.assert_close(cnn.gradients(x, [Target(0, "class 0", "probability")]), by_hand, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize(
    ("values", "flat"),
    [
        (np.zeros((8, 8)), True),
        (np.full((8, 8), 3.7), True),
        (np.full((8, 8), -1e3) + np.random.default_rng(0).normal(0, 1e-4, (8, 8)), True),
        (np.random.default_rng(0).normal(0, 1e-9, (8, 8)), True),
        (np.random.default_rng(0).normal(0, 1e-6, (8, 8)), False),
        (np.eye(8), False),
        (1 + 1e-3 * np.eye(8), False),
    ],
)
def test_a_map_is_flat_when_only_rounding_is_left(values: np.ndarray, flat: bool) -> None:
    reason = why_flat(values.astype(np.float32))
    assert (reason is not None) == flat
    assert reason is None or reason.startswith("Flat map: ")


def test_no_map_of_a_working_network_is_called_flat(image: Image) -> None:
    """No false alarms: 60 random networks, three methods each."""
    from tests.conftest import convolutions, seeded, wrapped

    for seed in range(60):
        model = wrapped(seeded(convolutions, seed))
        for method in ("saliency", "input_x_gradient", "hires_cam"):
            settings = {"positive_only": False} if method == "hires_cam" else {}
            assert xai.explain(model, image, method, **settings).flat is None


def test_the_peak_of_a_plateau_is_its_middle() -> None:
    from xai_core.records import Explanation, Passes, Target

    values = np.zeros((9, 9), np.float32)
    values[2:5, 4:7] = 1
    explanation = Explanation(
        values, np.zeros((9, 9, 3), np.uint8), {"name": "lime"}, {"name": "m"}, Target(0, "a"), "0" * 64, 0, 0.0,
        Passes(), (3, 3),
    )  # fmt: skip
    assert explanation.peak == (3, 5)
    assert explanation.cell == 3


def target(model: Model, index: int):
    from xai_core.records import Target

    return Target(index, model.labels[index])
