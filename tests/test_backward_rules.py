"""Guided backpropagation, DeepLIFT and LRP: by hand, by a second slow derivation, and against the libraries."""

from __future__ import annotations

import copy
import gc
import math
import threading
import warnings
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import xai_core as xai
from tests.conftest import SIDE, convolutions, seeded, timm_model, wrapped
from tests.test_contracts import fingerprint
from xai_core.difference_rules import DifferenceRules
from xai_core.errors import UnsupportedError
from xai_core.models import Model
from xai_core.records import Image, Target
from xai_core.relevance_rules import RelevanceRules
from xai_core.rules import ELEMENTWISE, GuidedRules, Rules

captum_says_so = pytest.mark.filterwarnings("ignore:Setting (backward|forward).*hooks:UserWarning")
RESNETS = {"resnet18 at 96 pixels": "layer4", "test_resnet": "layer3"}


def seen(model: Model, image: Image) -> torch.Tensor:
    return model.preprocessing.tensor(model.preprocessing.view(image)[None])


def aloud(module: nn.Module) -> nn.Module:
    """A copy without in-place activations, as the libraries need it."""
    module = copy.deepcopy(module)
    for part in module.modules():
        if hasattr(part, "inplace"):
            part.inplace = False
    return module


def read(
    module: Callable[[torch.Tensor], torch.Tensor], rules: Rules, x: torch.Tensor, *beside: torch.Tensor, index: int = 0
) -> torch.Tensor:
    """What arrives at `x` from output `index` under the rules."""
    x = x.clone().requires_grad_()
    with rules.reading(len(x)):
        out = module(torch.cat([x, *beside]) if beside else x)
        (found,) = torch.autograd.grad(out[: len(x), index].sum(), x)
    return found


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# guided -------------------------------------------------------------------------------------------------------------


@captum_says_so
@pytest.mark.parametrize("network", RESNETS)
def test_guided_backpropagation_equals_captum(network: str, image: Image) -> None:
    from captum.attr import GuidedBackprop

    model = timm_model(network)
    theirs = GuidedBackprop(aloud(model.module)).attribute(seen(model, image).requires_grad_(), 3).sum(1)[0].numpy()
    ours = xai.explain(model, image, "guided_backprop", 3).values
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())
    plain = model.gradients(seen(model, image), [Target(3, "")]).sum(1)[0].numpy()
    assert np.abs(plain - theirs).max() > 0.1 * np.abs(theirs).max()


@captum_says_so
@pytest.mark.parametrize("network", RESNETS)
def test_guided_grad_cam_equals_captum(network: str, image: Image) -> None:
    from captum.attr import GuidedGradCam

    model, layer = timm_model(network), RESNETS[network]
    module = aloud(model.module)
    x = seen(model, image).requires_grad_()
    theirs = GuidedGradCam(module, module.get_submodule(layer)).attribute(x, 3, interpolate_mode="bilinear")
    ours = xai.explain(model, image, "guided_grad_cam", 3, layer=layer).values
    theirs = theirs.sum(1)[0].detach().numpy()
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


class Functional(nn.Module):
    """ReLUs that no module owns, one of them in place, one capped."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.three = nn.Linear(3 * SIDE * SIDE, 40), nn.Linear(40, 40), nn.Linear(40, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.three(F.relu6(self.two(self.one(x.flatten(1)).relu_())))


def test_guided_backpropagation_by_hand_where_relus_are_functions(image: Image) -> None:
    model = wrapped(seeded(Functional))
    module, x = model.module, seen(model, image)
    first = module.one(x.flatten(1))
    second = module.two(first.relu())
    above = module.three.weight[1].clamp(min=0) * (second > 0) * (second < 6)
    above = (above @ module.two.weight).clamp(min=0) * (first > 0)
    by_hand = (above @ module.one.weight).view(3, SIDE, SIDE).sum(0)
    ours = xai.explain(model, image, "guided_backprop", 1).values
    np.testing.assert_allclose(ours, by_hand.detach().numpy(), atol=1e-6)
    assert ours.any()


@pytest.mark.parametrize("method", ["guided_backprop", "guided_grad_cam"])
def test_guided_methods_are_refused_where_there_is_no_relu(method: str, image: Image) -> None:
    for network in ("test_vit", "test_convnext", "test_efficientnet"):
        with pytest.raises(xai.AuditError, match=f"is the plain gradient on {network}: it has no ReLU"):
            xai.explain(timm_model(network), image, method)
    assert xai.METHODS[method]().why_not(timm_model("test_resnet")) is None


# DeepLIFT -----------------------------------------------------------------------------------------------------------


def plain_relus() -> nn.Module:
    """All that Captum's DeepLIFT knows, in an order in which its values add up.

    Its rule for maxima loses a part where windows overlap or where a ReLU is next to them.
    """
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(),
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, 3),
    )  # fmt: skip
    for part in module:
        if isinstance(part, nn.BatchNorm2d):
            for numbers_ in (part.running_mean, part.weight.data, part.bias.data):
                numbers_ += torch.randn_like(numbers_) / 3
    return module


@captum_says_so
@pytest.mark.parametrize("start", ["black", "mean"])
@pytest.mark.parametrize("network", ["small", "resnet18 at 96 pixels", "test_resnet"])
def test_deep_lift_equals_captum_where_captum_is_complete(network: str, start: str, image: Image) -> None:
    from captum.attr import DeepLift

    model = wrapped(seeded(plain_relus)) if network == "small" else with_mean_pooling(timm_model(network))
    method = xai.METHODS.build({"name": "deep_lift", "start": start})
    x = seen(model, image)
    theirs = DeepLift(aloud(model.module)).attribute(x.clone().requires_grad_(), method.baseline(model, x), target=1)
    theirs = theirs.sum(1)[0].detach().numpy()
    ours = xai.explain(model, image, method, 1).values
    np.testing.assert_allclose(ours, theirs, atol=2e-4 * np.abs(theirs).max())


def with_mean_pooling(model: Model) -> Model:
    module = copy.deepcopy(model.module)
    found = [(name, part) for name, part in module.named_modules() if isinstance(part, nn.MaxPool2d)]
    assert len(found) == 1
    module.set_submodule(found[0][0], nn.AvgPool2d(3, 2, 1))
    return wrapped(module, side=model.preprocessing.input_size[1], classes=len(model.labels))


@captum_says_so
def test_deep_shap_equals_captum_where_captum_is_complete(image: Image) -> None:
    from captum.attr import DeepLiftShap

    model = wrapped(seeded(plain_relus))
    x, method = seen(model, image), xai.METHODS["deep_shap"]()
    behind = method.backgrounds(model, x[0])
    theirs = DeepLiftShap(aloud(model.module)).attribute(x, behind, target=1).sum(1)[0].detach().numpy()
    ours = xai.explain(model, image, method, 1)
    np.testing.assert_allclose(ours.values, theirs, atol=2e-4 * np.abs(theirs).max())
    assert ours.gap < 1e-4


KINDS = ["logit", "probability", "contrast"]
EVERY_OPERATION = [
    "test_resnet", "test_vit", "test_convnext", "test_efficientnet", "resnet18 at 96 pixels",
    "convnextv2_atto at 64 pixels", "mobilenetv3_small_050 at 64 pixels", "regnety_002 at 64 pixels",
]  # fmt: skip
ARCHITECTURES = [
    "densenet121", "vgg11_bn", "efficientnet_b0", "tf_efficientnetv2_b0", "convnext_atto", "vit_tiny_patch16_224",
    "deit_tiny_distilled_patch16_224", "swin_tiny_patch4_window7_224", "mobilevit_xxs", "maxvit_rmlp_pico_rw_256",
]  # fmt: skip


@pytest.mark.parametrize("start", ["black", "blur"])
@pytest.mark.parametrize(
    "network", [*EVERY_OPERATION, *(pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES)]
)
def test_deep_lift_is_complete_on_every_network(network: str, start: str, image: Image) -> None:
    explanation = xai.explain(timm_model(network), image, "deep_lift", start=start)
    assert explanation.gap < 2e-3  # rounding: an untrained EfficientNet's score changes by 1e-5
    assert not explanation.notes


@pytest.mark.parametrize("kind", KINDS)
def test_deep_lift_is_complete_for_every_kind_of_target(kind: str, cnn: Model, image: Image) -> None:
    target = Target(1, "class 1", kind, 0 if kind == "contrast" else None)  # type: ignore[arg-type]
    assert xai.explain(cnn, image, "deep_lift", target).gap < 1e-4


def test_deep_shap_is_the_mean_of_deep_lift_over_the_background(transformer: Model, image: Image) -> None:
    x = seen(transformer, image)
    method = xai.METHODS["deep_shap"]()
    maps = [
        (x - b) * transformer.gradients(x, [Target(1, "")], DifferenceRules(), beside=b[None])
        for b in method.backgrounds(transformer, x[0])
    ]
    ours = xai.explain(transformer, image, method, 1)
    np.testing.assert_allclose(ours.values, torch.cat(maps).mean(0).sum(0).numpy(), atol=1e-7)
    assert ours.gap < 1e-4


WIDE = numbers(5, 5, seed=9)
MASK = torch.zeros(6, 6, dtype=torch.float64).masked_fill(torch.ones(6, 6).triu(3).bool(), -math.inf)
OPERATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    **{
        name: lambda x, name=name: getattr(torch, name, getattr(F, name, None))(x)
        for name in sorted(
            ELEMENTWISE
            - {"log_sigmoid", "rdiv", "rtruediv", "pow", "rpow", "clamp", "clip", "clamp_min", "clamp_max"}
            - {"log", "log1p", "sqrt", "rsqrt", "reciprocal"}
        )
    },
    **{name: lambda x, name=name: getattr(torch, name)(x * x + 0.5) for name in ("log", "sqrt", "rsqrt", "reciprocal")},
    "a number over it": lambda x: 2 / (x.exp() + 1),
    "power": lambda x: x**3 + 2**x,
    "clamp": lambda x: x.clamp(-0.5, 0.5) + x.clamp_min(0.1),
    "product": lambda x: x * x.roll(1, 3),
    "product in place": lambda x: x.clone().mul_(x.sigmoid()),
    "squeeze-excite": lambda x: x * (x.mean((2, 3), keepdim=True) * 3).sigmoid(),
    "quotient": lambda x: x / (x.roll(1, 3).abs() + 1),
    "matmul": lambda x: x @ x.mT,
    "einsum": lambda x: torch.einsum("ncij,nckj->ncik", x, x.tanh()),
    "softmax": lambda x: x.softmax(-1),
    "masked softmax": lambda x: F.softmax((x + torch.where(x.detach() > 9, 0, MASK)) * 3, dim=2),
    "layer norm": lambda x: F.layer_norm(x, (6,), torch.arange(6.0).double(), torch.ones(6).double()),
    "group norm": lambda x: F.group_norm(x, 2, torch.arange(4.0).double(), torch.ones(4).double()),
    "rms norm": lambda x: F.rms_norm(x, (6,), torch.arange(6.0).double()),
    "global response norm": lambda x: x * x.norm(p=2, dim=(2, 3), keepdim=True),
    "normalize": lambda x: F.normalize(x, dim=1),
    "addcmul": lambda x: torch.addcmul(torch.ones(6).double(), torch.arange(6.0).double(), x * x.tanh()),
    "attention": lambda x: F.scaled_dot_product_attention(x, x.roll(1, 2), x.roll(1, 3)),
    "masked attention": lambda x: F.scaled_dot_product_attention(x, x.roll(1, 2), x.roll(1, 3), attn_mask=MASK),
    "max pooling": lambda x: F.max_pool2d(x, 3, 2, 1),
    "adaptive max pooling": lambda x: F.adaptive_max_pool2d(x, 2),
    "largest": lambda x: x.amax((2, 3), keepdim=True) + x.amax(1, keepdim=True),
    "linear": lambda x: F.linear(x, numbers(3, 6, seed=5), torch.ones(3).double()),
}


def weighed(operation: Callable[[torch.Tensor], torch.Tensor], of: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """One output: the operation's, weighed, so that no mistake of one element can cancel that of another."""

    def network(x: torch.Tensor) -> torch.Tensor:
        out = operation(x * 1).flatten(1)
        return (out * numbers(out.shape[1], seed=len(of))).sum(1, keepdim=True)

    return network


@pytest.mark.parametrize("name", OPERATIONS)
def test_multipliers_are_complete_for_every_operation(name: str) -> None:
    network, (x, b) = weighed(OPERATIONS[name], name), (numbers(2, 4, 6, 6, seed=s) for s in (1, 2))
    multipliers = read(network, DifferenceRules(), x, b)
    change = (network(x) - network(b))[:, 0]
    torch.testing.assert_close((multipliers * (x - b)).flatten(1).sum(1), change, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", OPERATIONS)
def test_multipliers_become_the_gradient_when_the_baseline_nears_the_picture(name: str) -> None:
    """A rule can be complete and yet share wrongly: the limit knows the right shares."""
    network, x = weighed(OPERATIONS[name], name), numbers(2, 4, 6, 6, seed=1)
    multipliers = read(network, DifferenceRules(), x, x + 1e-5 * numbers(2, 4, 6, 6, seed=2))
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    torch.testing.assert_close(multipliers, gradient, rtol=1e-3, atol=2e-3 * float(gradient.abs().max()))


def test_multipliers_of_a_maximum_lie_between_zero_and_one() -> None:
    x, b = (numbers(1, 1, 40, 40, seed=s) for s in (1, 2))
    found = read(lambda x: F.max_pool2d(x * 1, 2).flatten(1).sum(1, keepdim=True), DifferenceRules(), x, b)
    assert found.min() >= 0
    assert found.max() <= 1


def test_multipliers_of_a_normalisation_stay_small_where_the_baseline_is_even() -> None:
    """Its size is the mean of the two, not of their reciprocals, of which one is 1 over the root of 1e-12."""
    x = numbers(1, 8)
    found = read(lambda x: F.layer_norm(x * 1, (8,), eps=1e-12), DifferenceRules(), x, torch.zeros_like(x))
    assert found.abs().max() < 2 / x.std() + 1


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_a_picture_that_is_its_own_baseline_has_finite_multipliers(name: str) -> None:
    network, x = weighed(OPERATIONS[name], name), numbers(2, 4, 6, 6, seed=1)
    x[:, :, :, 2:] = 0
    assert torch.isfinite(read(network, DifferenceRules(), x, x)).all()
    assert torch.isfinite(read(network, DifferenceRules(), x, torch.zeros_like(x))).all()


# LRP ----------------------------------------------------------------------------------------------------------------


def lrp(composite: str = "epsilon", epsilon: float = 0.0, attend: bool = False) -> RelevanceRules:
    from xai_core.methods.lrp import COMPOSITES

    return RelevanceRules(*COMPOSITES[composite], epsilon, attend)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus"])
def test_on_a_linear_network_lrp_is_deep_lift_is_weight_times_pixel(
    composite: str, linear: Model, image: Image
) -> None:
    truth = (linear.module.layer.weight[1].view(3, SIDE, SIDE) * seen(linear, image)[0]).sum(0).numpy()
    ours = xai.explain(linear, image, "lrp", target=1, composite=composite, epsilon=0.0).values
    np.testing.assert_allclose(ours, truth, atol=1e-6 * np.abs(truth).max())
    for name, settings in {"deep_lift": {"start": "mean"}, "deep_shap": {"background": "mean"}}.items():
        values = xai.explain(linear, image, {"name": name, **settings}, target=1).values
        np.testing.assert_allclose(values, truth, atol=1e-6 * np.abs(truth).max())


def test_without_biases_gradient_times_input_deep_lift_and_lrp_epsilon_agree(image: Image) -> None:
    module = seeded(convolutions)
    for part in module.modules():
        if getattr(part, "bias", None) is not None:
            part.bias.data.zero_()
    model = wrapped(module)
    product = xai.explain(model, image, "input_x_gradient", 1).values
    for name, settings in {"deep_lift": {"start": "mean"}, "lrp": {"composite": "epsilon", "epsilon": 0.0}}.items():
        ours = xai.explain(model, image, name, 1, **settings)
        np.testing.assert_allclose(ours.values, product, atol=1e-5 * np.abs(product).max())
        assert ours.gap < 1e-5
        assert not ours.notes


def test_with_biases_lrp_epsilon_is_gradient_times_input_and_only_lrp_says_what_is_missing(
    cnn: Model, image: Image
) -> None:
    product = xai.explain(cnn, image, "input_x_gradient", 1).values
    ours = xai.explain(cnn, image, "lrp", 1, composite="epsilon", epsilon=0.0)
    np.testing.assert_allclose(ours.values, product, atol=1e-5 * np.abs(product).max())
    assert ours.gap < 1e-5
    score = cnn.scalars(seen(cnn, image), [Target(1, "")]).item()
    share = 1 - product.sum() / score
    assert abs(share) > 0.05
    assert ours.notes == (
        f"Biases and position embeddings, which no pixel holds, account for {share:.0%} of the score.",
    )


def matrix(layer: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """(outputs, inputs) weights of a linear layer, one output after the other."""
    return torch.autograd.functional.jacobian(lambda x: layer(x).flatten(), x).flatten(1)


def relevance(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, above: torch.Tensor, gamma: float, epsilon: float
) -> tuple[torch.Tensor, float]:
    """R_i = sum_j z_ij / sum_i z_ij R_j as the papers write it, one output at a time, and the bias's part of it."""
    found, absorbed = torch.zeros_like(x), 0.0
    outcomes = weight @ x + bias
    size = outcomes.square().mean().sqrt()
    for j, z in enumerate(outcomes):
        shares, own = weight[j] * x, bias[j].clone()
        sign = 1.0 if z > 0 else -1.0
        if gamma:
            keep = 0.0 if math.isinf(gamma) else 1.0
            more = 1.0 if math.isinf(gamma) else gamma
            shares = keep * shares + more * torch.where(shares * sign > 0, shares, 0)
            own = keep * own + more * (own if own * sign > 0 else 0)
            whole = shares.sum() + own
        else:
            whole = z + epsilon * size * sign
        if whole != 0:
            found += shares / whole * above[j]
            absorbed += float(own / whole * above[j])
    return found, absorbed


@pytest.mark.parametrize("epsilon", [0.0, 0.1])
@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "gamma"])
def test_lrp_equals_a_second_slow_derivation_from_the_papers(composite: str, epsilon: float) -> None:
    from xai_core.methods.lrp import COMPOSITES

    one, two, three = (
        seeded(lambda make=make: make(), seed).double().requires_grad_(False)
        for seed, make in enumerate([
            lambda: nn.Conv2d(2, 4, 3, padding=1), lambda: nn.Conv2d(4, 3, 3, stride=2), lambda: nn.Linear(12, 3),
        ])
    )  # fmt: skip
    x = numbers(1, 2, 6, 6, seed=3)
    network = nn.Sequential(one, nn.ReLU(inplace=True), two, nn.ReLU(), nn.Flatten(), three)
    rules = lrp(composite, epsilon)
    ours = x * read(network, rules, x, index=1)

    gamma, dense = COMPOSITES[composite]
    first = one(x)
    second = two(first.relu())
    above, took = torch.zeros(3).double(), 0.0
    above[1] = network(x)[0, 1]
    layers: Sequence[tuple[Any, torch.Tensor, torch.Tensor, float]] = [
        (three, second.relu().flatten(1), three.bias, dense),
        (two, first.relu(), two.bias.view(-1, 1, 1).expand(second.shape[1:]).flatten(), gamma),
        (one, x, one.bias.view(-1, 1, 1).expand(first.shape[1:]).flatten(), gamma),
    ]
    for layer, inputs, bias, g in layers:
        bare = copy.deepcopy(layer)
        bare.bias = None
        above, absorbed = relevance(inputs.flatten(), matrix(bare, inputs), bias, above, g, epsilon)
        took += absorbed
    torch.testing.assert_close(ours.flatten(), above, rtol=1e-9, atol=1e-12)
    assert rules.absorbed.item() == pytest.approx(took, rel=1e-9)


def test_batch_normalisation_is_merged_into_the_convolution_before_it() -> None:
    """The same network twice, with normalisation and with it folded into the weights by hand."""
    module = seeded(plain_relus).eval().double().requires_grad_(False)
    folded = copy.deepcopy(module)
    for i in (0, 5):
        conv, norm = folded[i], folded[i + 1]
        scale = norm.weight / (norm.running_var + norm.eps).sqrt()
        conv.weight.mul_(scale.view(-1, 1, 1, 1))
        conv.bias.sub_(norm.running_mean).mul_(scale).add_(norm.bias)
        folded[i + 1] = nn.Identity()
    x = numbers(1, 3, SIDE, SIDE)
    for composite in ("epsilon", "epsilon_plus", "gamma"):
        rules, again = lrp(composite), lrp(composite)
        torch.testing.assert_close(read(module, rules, x, index=2), read(folded, again, x, index=2))
        torch.testing.assert_close(rules.absorbed, again.absorbed)


def test_a_convolution_changed_in_place_before_its_normalisation_is_not_merged() -> None:
    conv, norm = nn.Conv2d(3, 4, 3).requires_grad_(False), nn.BatchNorm2d(4).eval().requires_grad_(False)
    norm.running_mean += 0.3

    def network(x: torch.Tensor) -> torch.Tensor:
        return norm(F.relu(conv(x), inplace=True)).flatten(1)

    x, rules = numbers(1, 3, 5, 5).float(), lrp("gamma")
    total = (x * read(network, rules, x, index=4)).double().sum() + rules.absorbed
    torch.testing.assert_close(total, network(x)[:, 4].double(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("attend", [False, True])
def test_attention_equals_a_derivation_by_hand(attend: bool) -> None:
    """One head over five tokens, then a linear head on the first: as the papers write it, token by token."""
    w_q, w_k, w_v = (numbers(4, 4, seed=s) / 2 for s in (1, 2, 3))
    head = numbers(2, 4, seed=4)
    x = numbers(1, 5, 4, seed=5)

    def network(x: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(x @ w_q, x @ w_k, x @ w_v)[:, 0] @ head.T

    def in_parts(x: torch.Tensor) -> torch.Tensor:
        weights = ((x @ w_q) @ (x @ w_k).mT / 2).softmax(-1)
        return (weights @ (x @ w_v))[:, 0] @ head.T

    tokens = x[0]
    q, k, v = tokens @ w_q, tokens @ w_k, tokens @ w_v
    scores = q @ k.T / 2
    weights = scores.softmax(-1)
    arrived = head[1] * (weights @ v)[0]  # relevance of the first token's output, by contribution to the head
    by_channel = weights[0][:, None] * v  # (token, channel): contributions a_j v_jc to output c
    shares = by_channel / by_channel.sum(0) * arrived
    of_v = shares / 2 if attend else shares
    found = torch.zeros_like(tokens)

    def back(values: torch.Tensor, weight: torch.Tensor, row: int, part: torch.Tensor) -> None:
        for c, amount in enumerate(part):
            found[row] += tokens[row] * weight[:, c] / values[row, c] * amount

    for j in range(5):
        back(v, w_v, j, of_v[j])
    if attend:
        of_weights = shares.sum(1) / 2
        of_scores = scores[0] * (of_weights - weights[0] * of_weights.sum())  # the softmax rule
        for j in range(5):
            pairs = q[0] * k[j] / 2 / scores[0, j] * of_scores[j] / 2  # half to each factor
            back(q, w_q, 0, pairs)
            back(k, w_k, j, pairs)
    for module in (network, in_parts):
        ours = x * read(module, lrp(attend=attend), x, index=1)
        torch.testing.assert_close(ours[0], found, rtol=1e-9, atol=1e-12)


def test_a_gate_scales_and_holds_no_relevance() -> None:
    x = numbers(2, 4, 6, 6)
    gate = (x.mean((2, 3), keepdim=True) * 3).sigmoid()
    found = read(lambda x: (x * (x.mean((2, 3), keepdim=True) * 3).sigmoid()).sum((2, 3)), lrp(), x)
    torch.testing.assert_close(found[:, :1], gate.expand_as(x)[:, :1])
    assert not found[:, 1:].any()


@pytest.mark.parametrize("kind", ["gelu", "silu", "tanh", "hardswish", "leaky_relu", "relu6", "softplus", "exp"])
def test_a_function_of_one_number_passes_relevance_as_it_is_but_for_its_value_at_zero(kind: str) -> None:
    function = getattr(F, kind, None) or getattr(torch, kind)
    x, rules = numbers(1, 9), lrp()
    found = x * read(function, rules, x, index=4)
    at_zero = function(torch.zeros(1).double())
    torch.testing.assert_close(found.sum(1), function(x)[:, 4] - at_zero)
    torch.testing.assert_close(rules.absorbed, at_zero)
    assert found[0, :4].count_nonzero() == 0


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "gamma"])
@pytest.mark.parametrize(
    "network", [*EVERY_OPERATION, *(pytest.param(n, marks=pytest.mark.slow) for n in ARCHITECTURES)]
)
def test_what_the_pixels_hold_and_what_constants_absorbed_is_the_score(
    network: str, composite: str, image: Image
) -> None:
    """With biases and scales that are not those of a fresh network, which are zero and one."""
    model = timm_model(network)
    module = copy.deepcopy(model.module)
    draw = torch.Generator().manual_seed(1)
    for weights in module.parameters():
        if weights.ndim == 1 or len(weights) == 1:
            weights += 0.1 * torch.randn(weights.shape, generator=draw)
    x, rules = seen(model, image), lrp(composite, 1e-6)
    logits = module(x)
    index = int(logits.argmax())
    found = x * read(module, rules, x, index=index)
    total = found.double().sum() + rules.absorbed
    assert abs(rules.absorbed.item()) > 0.01 * logits.max()
    torch.testing.assert_close(total.float(), logits[:, index], rtol=1e-3, atol=1e-6)


def test_attnlrp_shows_what_the_softmax_rule_leaks(transformer: Model, image: Image) -> None:
    gaps = [xai.explain(transformer, image, "lrp", 1, attention=kind).gap for kind in ("constant", "attnlrp")]
    assert gaps[0] < 1e-4 < 1e-2 < gaps[1]


def test_a_large_epsilon_withholds_relevance_and_the_gap_says_so(cnn: Model, image: Image) -> None:
    explanation = xai.explain(cnn, image, "lrp", 1, composite="epsilon", epsilon=0.5)
    assert explanation.gap > 0.05
    assert any("lower epsilon" in note for note in explanation.notes)


def test_each_picture_of_a_batch_absorbs_its_own(transformer: Model, images: list[Image]) -> None:
    x = torch.cat([seen(transformer, image) for image in images])
    together = lrp("gamma")
    transformer.gradients(x, [Target(1, "")] * 3, together)
    for i, picture in enumerate(x):
        alone = lrp("gamma")
        transformer.gradients(picture[None], [Target(1, "")], alone)
        assert alone.absorbed.item() == pytest.approx(together.absorbed[i].item(), rel=1e-5)


@pytest.mark.parametrize("composite", ["epsilon", "epsilon_plus", "gamma"])
def test_lrp_equals_zennit_on_a_network_without_normalisation(composite: str, image: Image) -> None:
    zennit = pytest.importorskip("zennit")
    from zennit import composites, rules
    from zennit.attribution import Gradient

    assert zennit
    model = wrapped(seeded(convolutions))
    tiny = 1e-12
    pooling = rules.Norm(tiny)
    everywhere = {
        "epsilon": (rules.Epsilon(tiny), rules.Epsilon(tiny)),
        "epsilon_plus": (rules.ZPlus(tiny), rules.Epsilon(tiny)),
        "gamma": (rules.Gamma(0.25, tiny), rules.Gamma(0.25, tiny)),
    }[composite]
    layer_map = [
        (nn.ReLU, rules.Pass()),
        (nn.Conv2d, everywhere[0]),
        (nn.Linear, everywhere[1]),
        (nn.AdaptiveAvgPool2d, pooling),
    ]
    x = seen(model, image).double()
    with Gradient(model=aloud(model.module).double(), composite=composites.LayerMapComposite(layer_map)) as attributor:
        _, theirs = attributor(x, lambda out: out * torch.eye(3).double()[[1]])
    ours = x * read(copy.deepcopy(model.module).double(), lrp(composite), x, index=1)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-9)


# the machinery ------------------------------------------------------------------------------------------------------


class Alias(nn.Module):
    """Reads a tensor that an in-place activation has changed by its other name, as pre-activation networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = out = self.first(x)
        out = F.silu(out, inplace=True)
        out = F.hardtanh_(out * 2, -1.0, 1.0)
        out += shortcut
        shortcut.mul_(2).sub_(1)
        return self.last((out * shortcut).mean((2, 3)))


@pytest.mark.parametrize("rules", [GuidedRules, DifferenceRules, lrp])
def test_values_stay_as_they_are_also_where_an_alias_sees_what_was_done_in_place(rules: Callable[[], Rules]) -> None:
    module = seeded(Alias).requires_grad_(False)
    x = numbers(4, 3, 9, 9).float().requires_grad_()
    with rules().reading(2):
        out = module(x)
        torch.autograd.grad(out.sum(), x)
    assert torch.equal(out, module(x))
    b = numbers(2, 3, 9, 9, seed=1).float()
    x = x.detach()[:2]
    multipliers = read(module, DifferenceRules(), x, b)
    torch.testing.assert_close(
        (multipliers * (x - b)).flatten(1).sum(1), (module(x) - module(b))[:, 0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("method", ["guided_backprop", "deep_lift", "deep_shap", "lrp"])
def test_rules_of_one_thread_do_not_reach_another(method: str, cnn: Model, image: Image) -> None:
    """Two copies of the network share no lock; what a mode does must stay in its thread."""
    other = wrapped(copy.deepcopy(cnn.module))
    x, target = seen(cnn, image), [Target(1, "class 1")]
    ruled, plain = xai.explain(cnn, image, method, 1).values.tobytes(), other.gradients(x, target)
    stop, wrong = threading.Event(), []

    def explaining() -> None:
        while not stop.is_set():
            wrong.extend([1] if xai.explain(cnn, image, method, 1).values.tobytes() != ruled else [])

    thread = threading.Thread(target=explaining)
    thread.start()
    for _ in range(50):
        if not torch.equal(other.gradients(x, target), plain):
            wrong.append(2)
    stop.set()
    thread.join()
    assert wrong == []


@pytest.mark.parametrize("rules", [GuidedRules, DifferenceRules, lrp])
def test_nothing_is_left_behind_and_nothing_is_held(rules: Callable[[], Rules], cnn: Model, image: Image) -> None:
    before, kept = fingerprint(cnn), rules()
    made: list[weakref.ref[torch.Tensor]] = []
    hook = cnn.module[2].register_forward_hook(lambda module, inputs, out: made.append(weakref.ref(out)))
    x = seen(cnn, image)
    cnn.gradients(x, [Target(1, "")], kept, beside=torch.zeros_like(x))
    hook.remove()
    gc.collect()
    assert [reference() for reference in made] == [None]
    assert fingerprint(cnn) == before


def test_rules_do_not_warn(transformer: Model, image: Image) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("guided_backprop", "guided_grad_cam", "deep_lift", "deep_shap", "lrp"):
            xai.explain(transformer, image, name)


@pytest.mark.parametrize("rules", [GuidedRules, DifferenceRules, lrp])
def test_inputs_may_be_given_by_name_and_what_does_not_depend_on_the_picture_is_left_alone(
    rules: Callable[[], Rules],
) -> None:
    x = torch.randn(2, 1, 3, 4, generator=torch.Generator().manual_seed(0))

    def by_position(x: torch.Tensor) -> torch.Tensor:
        seen = F.scaled_dot_product_attention(x, x, x) * torch.sigmoid(x)
        return (torch.softmax(seen, dim=-1).mT @ seen * torch.relu(torch.ones(4))).sum((1, 2))

    def by_name(x: torch.Tensor) -> torch.Tensor:
        seen = F.scaled_dot_product_attention(query=x, key=x, value=x) * torch.sigmoid(input=x)
        return (torch.softmax(input=seen, dim=-1).mT @ seen * torch.relu(torch.ones(4))).sum((1, 2))

    torch.testing.assert_close(read(by_name, rules(), x), read(by_position, rules(), x), rtol=0, atol=0)


@pytest.mark.parametrize("task", ["single label", "multi label"])
def test_lrp_of_a_probability_is_refused(task: str, image: Image) -> None:
    model = xai.wrap_model(
        seeded(convolutions), labels=["a", "b", "c"], input_size=(3, 32, 32), task=task, device="cpu"
    )
    with pytest.raises(UnsupportedError, match="Choose the logit, or a contrast"):
        xai.explain(model, image, "lrp", xai.Target(0, "", "probability"))


@pytest.mark.parametrize("name", ["lrp", "deep_lift", "deep_shap"])
def test_attention_that_runs_as_one_operation_is_refused_instead_of_followed_wrongly(name: str, image: Image) -> None:
    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.patches = nn.Conv2d(3, 16, 8, stride=8)
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
            self.head = nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tokens = self.patches(x).flatten(2).transpose(1, 2)
            return self.head(self.attention(tokens, tokens, tokens, need_weights=False)[0].mean(1))

    with pytest.raises(xai.AuditError, match=r"no rule for nn\.MultiheadAttention"):
        xai.explain(wrapped(seeded(Whole)), image, name)
