"""Robustness and randomisation metrics against numbers worked out by hand, slow second derivations, and Quantus."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import xai_core as xai
from tests.conftest import ROOT, SIDE, quick, seeded, wrapped
from xai_core.drawing_weights import draw, drawn_layers
from xai_core.metrics import Maps
from xai_core.models import Model
from xai_core.pipeline import explain_many
from xai_core.records import Explanation, Image, Passes, Score
from xai_core.scoring import gather, score_many


def scores(model: Model, explanations: Sequence[Explanation], metric: str, **settings: Any) -> list[Score]:
    return [found for [found] in score_many(model, explanations, [{"name": metric, **settings}])]


def seen(model: Model, e: Explanation) -> torch.Tensor:
    return model.preprocessing.tensor(e.pixels[None])


def noise_of(samples: int, radius: float, seed: int = 0) -> np.ndarray:
    """The draws, written down a second time."""
    draw = torch.Generator().manual_seed(seed)
    return ((torch.rand((samples, 3, SIDE, SIDE), generator=draw) * 2 - 1) * radius).numpy()


def with_again(model: Model, e: Explanation, others: np.ndarray) -> Maps:
    """One map whose method gives `others` (n, h, w) when asked again: one for each picture, or for each call."""
    left = iter(others)

    def again(x: torch.Tensor, *_: Any, **__: Any) -> np.ndarray:
        return np.stack([next(left) for _ in range(len(x))])[None]

    return replace(gather(model.asked(), [e]), again=again)


# sensitivity --------------------------------------------------------------------------------------------------------


def test_sensitivity_of_a_quadratic_network_is_what_its_formula_gives(quadratic: Model, image: Image) -> None:
    e = xai.explain(quadratic, image, "input_x_gradient", 0)  # x * 2 x, summed over channels
    x, noise = seen(quadratic, e).numpy().astype(np.float64), noise_of(5, 0.3)
    before, after = (2 * (pictures**2).sum(1) for pictures in (x, x + noise))
    shares = np.sqrt(((after - before) ** 2).sum((1, 2))) / np.sqrt((before**2).sum())
    [mean], [most] = (scores(quadratic, [e], f"{n}_sensitivity", samples=5, radius=0.3) for n in ("average", "max"))
    assert mean.value == pytest.approx(shares.mean(), rel=1e-5)
    assert most.value == pytest.approx(shares.max(), rel=1e-5)


def test_noise_leaves_the_gradient_of_a_linear_network_alone(linear: Model, image: Image) -> None:
    for name in ("average_sensitivity", "max_sensitivity"):
        assert scores(linear, [xai.explain(linear, image, "saliency")], name)[0].value == pytest.approx(0, abs=1e-6)


def test_average_and_max_sensitivity_explain_their_noisy_pictures_once(cnn: Model, image: Image) -> None:
    maps = explain_many(cnn, [image], ["grad_cam", "saliency"])[0]
    same, other = {"samples": 4, "radius": 0.2}, {"samples": 4, "radius": 0.1}
    asked = [("average_sensitivity", same), ("max_sensitivity", same), ("max_sensitivity", other)]
    together = score_many(cnn, maps, [{"name": name, **settings} for name, settings in asked])
    first, second, third = together[0]
    assert first.passes.forward == 8  # one trace and one gradient of each
    assert second.passes == Passes()
    assert third.passes == first.passes
    for i, (name, settings) in enumerate(asked):
        assert [row[i].value for row in together] == [one.value for one in scores(cnn, maps, name, **settings)]


def test_more_radius_is_more_change_and_another_seed_other_noise(cnn: Model, image: Image) -> None:
    e = xai.explain(cnn, image, "saliency")
    found = [scores(cnn, [e], "average_sensitivity", radius=radius)[0].value for radius in (0.01, 0.1, 0.5)]
    assert found == sorted(found)
    assert xai.score(cnn, e, "average_sensitivity", seed=1).value != xai.score(cnn, e, "average_sensitivity").value


# seeds and repetition -----------------------------------------------------------------------------------------------


def test_seed_stability_is_what_explaining_with_each_seed_gives(cnn: Model, image: Image) -> None:
    method = quick("rise")
    first, *others = (xai.explain(cnn, image, method, 0, seed=seed) for seed in (7, 8, 9, 10))
    count = round(0.1 * SIDE * SIDE)

    def top(e: Explanation) -> set[int]:
        return set(np.argsort(e.values.ravel())[-count:].tolist())  # no two values are equal here

    shared = [len(top(first) & top(e)) / len(top(first) | top(e)) for e in others]
    ranked = [spearmanr(first.values.ravel(), e.values.ravel()).statistic for e in others]
    [found] = scores(cnn, [first], "seed_stability")
    assert found.value == pytest.approx(np.mean(shared))
    assert found.details["rank_correlation"] == pytest.approx(np.mean(ranked))
    assert 0 < np.mean(shared) < 1


def test_random_maps_have_the_seed_stability_that_is_the_null(cnn: Model, image: Image) -> None:
    e = xai.explain(cnn, image, "random")
    pixels = np.random.default_rng(0).normal(size=(50, SIDE, SIDE))
    [found] = xai.METRICS.build({"name": "seed_stability", "seeds": 50}).measure(with_again(cnn, e, pixels))
    [smooth] = scores(cnn, [e], "seed_stability", seeds=50)  # the control's blobs overlap more, since there are few
    assert found.null == smooth.null == pytest.approx(1 / 19)
    assert found.value == pytest.approx(1 / 19, abs=0.005)
    assert found.details["rank_correlation"] == pytest.approx(0, abs=0.02)
    assert smooth.value == pytest.approx(1 / 19, abs=0.03)


def test_only_methods_that_draw_are_explained_with_other_seeds(cnn: Model, image: Image) -> None:
    maps = explain_many(cnn, [image], ["grad_cam", quick("rise"), "saliency"])[0]
    fixed, drawn, also_fixed = scores(cnn, maps, "seed_stability")
    assert fixed.value is also_fixed.value is None
    assert fixed.why == "Grad-CAM draws nothing at random, so every seed gives this same map."
    assert drawn.value is not None
    assert drawn.passes == scores(cnn, maps[1:2], "seed_stability")[0].passes != Passes()
    assert scores(cnn, maps[:1], "seed_stability")[0].passes == Passes()


def test_a_map_that_goes_flat_with_another_seed_counts_as_nothing(cnn: Model, image: Image) -> None:
    e = xai.explain(cnn, image, "random")
    maps = with_again(cnn, e, np.stack([e.values, np.zeros_like(e.values)]))
    [found] = xai.METRICS.build({"name": "seed_stability", "seeds": 2}).measure(maps)
    assert found.value == pytest.approx(0.5)
    assert found.details["rank_correlation"] == pytest.approx(0.5)


def test_every_method_of_a_network_without_chance_repeats_to_the_last_bit(cnn: Model, image: Image) -> None:
    valid = [name for name in xai.METHODS if xai.METHODS[name]().why_not(cnn) is None]
    maps = [e for e in explain_many(cnn, [image], [quick(name) for name in valid], seed=3)[0] if not e.flat]
    assert len(maps) > 20
    assert {one.method["name"]: one.value for one in scores(cnn, maps, "repeatability")} == {
        e.method["name"]: 0 for e in maps
    }


def test_repeatability_is_the_largest_difference_as_a_share_of_the_largest_value(cnn: Model, image: Image) -> None:
    e = xai.explain(cnn, image, "random")
    values = np.zeros((SIDE, SIDE), np.float32)
    values[0, 0], values[1, 1] = 2, -4
    changed = values.copy()
    changed[2, 2], changed[0, 0] = 0.5, 1
    [found] = xai.METRICS["repeatability"]().measure(with_again(cnn, replace(e, values=values), changed[None]))
    assert found.value == 1 / 4


# other classes ------------------------------------------------------------------------------------------------------


def structural_similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Wang et al., 2004, equation 13, over every square of 7 x 7 pixels, on its own."""
    low, high = min(one.min(), other.min()), max(one.max(), other.max())
    c1, c2 = (0.01 * (high - low)) ** 2, (0.03 * (high - low)) ** 2
    found = []
    for row in range(SIDE - 6):
        for column in range(SIDE - 6):
            a, b = (v[row : row + 7, column : column + 7].ravel() for v in (one, other))
            (aa, ab), (_, bb) = np.cov(a, b)
            up = (2 * a.mean() * b.mean() + c1) * (2 * ab + c2)
            found.append(up / ((a.mean() ** 2 + b.mean() ** 2 + c1) * (aa + bb + c2)))
    return float(np.mean(found))


def test_random_logit_is_the_mean_similarity_with_the_maps_of_the_other_classes(cnn: Model, image: Image) -> None:
    maps = [xai.explain(cnn, image, "input_x_gradient", target).values.astype(np.float64) for target in range(3)]
    scaled = [values / np.abs(values).max() for values in maps]
    [found] = scores(cnn, [xai.explain(cnn, image, "input_x_gradient", 0)], "random_logit", classes=1000)
    assert found.value == pytest.approx(
        np.mean([structural_similarity(scaled[0], scaled[i]) for i in (1, 2)]), abs=1e-6
    )
    ranked = [spearmanr(maps[0].ravel(), maps[i].ravel()).statistic for i in (1, 2)]
    assert found.details["rank_correlation"] == pytest.approx(np.mean(ranked))
    assert found.details["classes"] == 2


def test_one_forward_pass_serves_all_other_classes(cnn: Model, image: Image) -> None:
    [found] = scores(cnn, [xai.explain(cnn, image, "grad_cam")], "random_logit", classes=2)
    assert found.passes == Passes(1, 2)


def test_the_other_classes_are_drawn_from_the_seed(image: Image) -> None:
    model = wrapped(seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 20))), classes=20)
    maps = gather(model.asked(), [xai.explain(model, image, "input_x_gradient", 4)])
    metric = xai.METRICS.build({"name": "random_logit", "classes": 5})
    drawn = [metric.drawn(replace(maps, seed=seed)) for seed in range(200)]  # type: ignore[attr-defined]
    assert all(len(set(some)) == 5 and 4 not in some for some in drawn)
    assert len({tuple(some) for some in drawn}) > 150
    times = np.bincount(np.concatenate(drawn), minlength=20)
    assert times[4] == 0
    assert np.delete(times, 4).min() > 25  # of 53 expected


def test_classes_whose_map_is_flat_are_left_out_and_said_where_none_is_left(quadratic: Model, image: Image) -> None:
    """The maps of the three classes: 2 x squared, its negative, and nothing."""
    e = xai.explain(quadratic, image, "input_x_gradient", 0)
    [found] = scores(quadratic, [e], "random_logit")
    scaled = e.values.astype(np.float64) / e.values.max()
    assert found.value == pytest.approx(structural_similarity(scaled, -scaled), abs=1e-6)
    assert dict(found.details) == {"rank_correlation": -1, "classes": 1}
    [found] = score_many(quadratic, [e], [{"name": "random_logit", "classes": 1}], seed=flat_seed())[0]
    assert found.value is None
    assert found.why.startswith("The map is flat for every other class that was drawn")
    [contrast] = scores(quadratic, [e], "class_contrast")  # the flat class is likelier than the negative one
    assert contrast.why == "The map for class 2, the runner-up, is flat, so there is nothing to compare."
    [contrast] = scores(quadratic, [xai.explain(quadratic, image, "input_x_gradient", 1)], "class_contrast")
    assert contrast.value == pytest.approx(-1)


def flat_seed() -> int:
    """The first that draws class 2 of the classes 1 and 2."""
    return next(seed for seed in range(99) if np.random.default_rng(seed).choice([1, 2], 1, replace=False)[0] == 2)


def test_class_contrast_is_the_rank_correlation_with_the_likeliest_other_class(cnn: Model, image: Image) -> None:
    logits = xai.predict(cnn, image).logits
    for target in range(3):
        other = max((i for i in range(3) if i != target), key=lambda i: logits[i])
        one, two = (xai.explain(cnn, image, "input_x_gradient", i) for i in (target, other))
        [found] = scores(cnn, [one], "class_contrast")
        assert found.value == pytest.approx(spearmanr(one.values.ravel(), two.values.ravel()).statistic)


@pytest.mark.parametrize("name", ["random_logit", "class_contrast"])
def test_where_there_is_no_other_class_nothing_is_compared(name: str, cnn: Model, image: Image) -> None:
    target = xai.Target(0, "class 0", "contrast", 1)
    [found] = scores(cnn, [xai.explain(cnn, image, "saliency", target)], name)
    assert found.value is None
    assert found.why.endswith(", and for class 0 against class 1 there is none.")
    assert found.passes.backward == 0


# redrawn weights ----------------------------------------------------------------------------------------------------


def redrawn_as_published(network: nn.Module, seed: int) -> Iterator[tuple[str, nn.Module]]:
    """The cascade a second time: each layer from the head down, with the seed after that of the one before."""
    network = copy.deepcopy(network)
    layers = [(name, part) for name, part in network.named_modules() if hasattr(part, "reset_parameters")]
    for number, (name, part) in enumerate(layers[::-1]):
        with torch.random.fork_rng():
            torch.manual_seed(seed + number)
            part.reset_parameters()
        yield name, network


def test_weight_randomisation_looks_at_networks_spread_over_the_cascade(cnn: Model, image: Image) -> None:
    e = xai.explain(cnn, image, "input_x_gradient", 0)
    wanted = []
    for _, network in redrawn_as_published(cnn.module, 0):
        other = xai.explain(wrapped(copy.deepcopy(network)), image, "input_x_gradient", 0)
        wanted.append(spearmanr(e.values.ravel(), other.values.ravel()).statistic)
    [every], [last] = (scores(cnn, [e], "weight_randomisation", networks=n) for n in (0, 1))
    assert every.curve is not None
    assert every.curve.y == pytest.approx([1, *wanted], abs=1e-6)
    assert every.curve.x == pytest.approx(np.linspace(0, 1, 4))
    assert every.value == pytest.approx(np.mean(wanted), abs=1e-6)
    assert last.value == pytest.approx(wanted[-1], abs=1e-6)
    assert every.passes.forward == 3


def test_every_weight_of_a_network_is_drawn_anew(transformer: Model) -> None:
    """Also those that no layer's rule knows: class token and position embeddings."""
    noisy = copy.deepcopy(transformer.module)
    with torch.no_grad():
        for weights in noisy.parameters():
            weights += torch.randn_like(weights)
    attention = nn.MultiheadAttention(8, 2)
    for module in (noisy, nn.ModuleList([attention])):
        drawn = copy.deepcopy(module)
        for number, name in enumerate(drawn_layers(drawn)):
            draw(drawn.get_submodule(name), number)
        before = dict(module.named_parameters())
        kept = [name for name, weights in drawn.named_parameters() if (weights == before[name]).any(0).all()]
        assert [name for name in kept if not name.endswith("bias")] == []


def test_a_network_without_weights_has_none_to_draw(image: Image) -> None:
    class Plain(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3))

    model = wrapped(Plain())
    [found] = scores(model, [xai.explain(model, image, "input_x_gradient")], "weight_randomisation")
    assert "has no weights" in found.why


def test_the_published_sanity_check_holds_on_the_demo_network() -> None:
    """Adebayo et al., 2018: guided backpropagation hardly reacts to redrawn top layers, Grad-CAM does.

    Means over three X-rays, of the networks in which a tenth to a third of the layers are drawn anew.
    """
    model = xai.load_model("demo-xray")
    pictures = sorted((ROOT / "assets" / "samples").glob("xray_*fracture*.png"))[:3]
    found: dict[str, list[float]] = {"guided_backprop": [], "grad_cam": []}
    for maps in explain_many(model, [xai.read_image(path) for path in pictures], list(found)):
        for one in scores(model, maps, "weight_randomisation", networks=10):
            assert one.curve is not None
            found[one.method["name"]].append(float(one.curve.y[1:4].mean()))
    assert np.mean(found["guided_backprop"]) > 0.8
    assert np.mean(found["grad_cam"]) < 0.5


# Quantus ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def quantus() -> Iterator[ModuleType]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # others' code, not ours
        import quantus

        yield quantus


QUIET: dict[str, Any] = {"abs": False, "disable_warnings": True, "display_progressbar": False}


def input_x_gradient(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
    """The method a second time, as Quantus wants it."""
    x = torch.as_tensor(np.asarray(inputs), dtype=torch.float32).requires_grad_(True)
    rows = torch.as_tensor(np.asarray(targets))
    (slope,) = torch.autograd.grad(model(x)[torch.arange(len(x)), rows].sum(), x)
    return (x * slope).sum(1, keepdim=True).detach().numpy()


def quantus_says(metric: Any, model: Model, e: Explanation) -> Any:
    return metric(
        model=model.module, x_batch=seen(model, e).numpy(), y_batch=np.array([e.target.index]),
        a_batch=e.values[None, None], explain_func=input_x_gradient, softmax=False, device="cpu", channel_first=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ours", "theirs"), [("average_sensitivity", "AvgSensitivity"), ("max_sensitivity", "MaxSensitivity")]
)
def test_quantus_finds_the_same_sensitivity_with_the_same_noise(
    ours: str, theirs: str, quantus: ModuleType, cnn: Model, image: Image
) -> None:
    e = xai.explain(cnn, image, "input_x_gradient", 1)
    draws = iter(noise_of(6, 0.25))

    def laid_on(arr: np.ndarray, **_: Any) -> np.ndarray:
        return arr + next(draws).reshape(1, -1)

    metric = getattr(quantus, theirs)(nr_samples=6, perturb_func=laid_on, normalise=False, **QUIET)
    [told] = quantus_says(metric, cnn, e)
    [found] = scores(cnn, [e], ours, samples=6, radius=0.25)
    assert found.value == pytest.approx(told, rel=1e-5)  # float32 maps, in batches of one there and of six here


def test_quantus_finds_the_same_for_a_random_logit(
    quantus: ModuleType, cnn: Model, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = xai.explain(cnn, image, "input_x_gradient", 1)
    metric = xai.METRICS.build({"name": "random_logit", "classes": 1})
    drawn = metric.drawn(gather(cnn.asked(), [e]))  # type: ignore[attr-defined]
    monkeypatch.setattr(np.random, "seed", lambda _: None)  # it would move the generator of the whole process
    monkeypatch.setattr(np.random, "randint", lambda *_: np.array([[0, 2].index(drawn[0])]))

    def as_picture(a: np.ndarray, b: np.ndarray, **_: Any) -> np.ndarray:
        """Its similarity of two pictures; left alone it compares rows of pixels, without their height."""
        return np.array([quantus.similarity_func.ssim(a.reshape(SIDE, SIDE), b.reshape(SIDE, SIDE))])

    [found] = score_many(cnn, [e], [metric])[0]
    for similarity, normalise, value in (
        (as_picture, True, found.value),
        (quantus.similarity_func.correlation_spearman, False, found.details["rank_correlation"]),
    ):
        theirs = quantus.RandomLogit(similarity_func=similarity, num_classes=3, normalise=normalise, **QUIET)
        [told] = quantus_says(theirs, cnn, e)
        assert value == pytest.approx(told, abs=1e-5)  # float32 maps there, float64 here


def test_quantus_finds_the_same_when_the_same_weights_are_drawn(
    quantus: ModuleType, cnn: Model, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    from quantus.helpers.model.pytorch_model import PyTorchModel

    e = xai.explain(cnn, image, "input_x_gradient", 2)
    monkeypatch.setattr(
        PyTorchModel,
        "get_random_layer_generator",
        lambda self, order, seed: redrawn_as_published(self.model, seed),
    )
    told = quantus_says(quantus.MPRT(layer_order="top_down", seed=0, normalise=False, **QUIET), cnn, e)
    [found] = scores(cnn, [e], "weight_randomisation", networks=0)
    assert found.curve is not None
    assert found.curve.y == pytest.approx([value for [value] in told.values()], abs=1e-5)  # ranks of float32 maps
