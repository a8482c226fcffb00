"""One question put to every method. Parametrised over the registry, so that a newcomer cannot be forgotten."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
import torch

import xai_core as xai
from tests.conftest import quick, timm_model
from xai_core.errors import Cancelled, SettingError
from xai_core.models import Model
from xai_core.pipeline import explain_many
from xai_core.records import Image

every_method = pytest.mark.parametrize("name", list(xai.METHODS))


def fingerprint(model: Model) -> dict[str, Any]:
    """Everything about a network that an explanation could leave changed."""
    parts = list(model.module.modules())
    return {
        "modules": [id(part) for part in parts],
        "hooks": [(len(p._forward_hooks), len(p._forward_pre_hooks), len(p._backward_hooks)) for p in parts],
        "modes": [part.training for part in parts],
        "in place": [getattr(part, "inplace", None) for part in parts],
        "gradients": [p.grad is None for p in model.module.parameters()],
        "frozen": [p.requires_grad for p in model.module.parameters()],
        "weights": [p.detach().double().sum().item() for p in model.module.state_dict().values()],
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": np.random.get_state()[1].tolist(),  # noqa: NPY002
        "grad mode": torch.is_grad_enabled(),
    }


@every_method
def test_it_leaves_the_network_as_it_found_it(name: str, cnn: Model, image: Image) -> None:
    before = fingerprint(cnn)
    xai.explain(cnn, image, quick(name))
    assert fingerprint(cnn) == before


@every_method
def test_it_leaves_the_network_as_it_found_it_when_the_class_does_not_exist(
    name: str, cnn: Model, image: Image
) -> None:
    before = fingerprint(cnn)
    with pytest.raises(SettingError, match="Class 999 does not exist"):
        xai.explain(cnn, image, quick(name), target=999)
    assert fingerprint(cnn) == before


@every_method
@pytest.mark.parametrize("error", [RuntimeError, MemoryError, KeyboardInterrupt, SystemExit])
def test_it_leaves_the_network_as_it_found_it_when_the_network_fails(
    name: str, error: type[BaseException], cnn: Model, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(cnn)
    calls = 0
    original = type(cnn.module[3]).forward

    def failing(self: Any, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > 2:
            raise error("broken on purpose")
        return original(self, x)

    with monkeypatch.context() as patch:
        patch.setattr(type(cnn.module[3]), "forward", failing)
        with pytest.raises(error, match="broken on purpose"):
            xai.explain(cnn, image, quick(name))
    assert fingerprint(cnn) == before
    assert not cnn._lock.locked()


@every_method
def test_cancelling_stops_it_between_batches_and_leaves_nothing(name: str, cnn: Model, image: Image) -> None:
    before, cancel, seen = fingerprint(cnn), threading.Event(), []

    def progress(done: int, total: int) -> None:
        seen.append(done)
        cancel.set()

    with pytest.raises(Cancelled):
        xai.explain(cnn, image, quick(name), progress=progress, cancel=cancel)
    assert len(seen) == 1, "it went on for another batch"
    assert fingerprint(cnn) == before


@every_method
def test_the_same_seed_gives_the_same_bytes(name: str, cnn: Model, image: Image) -> None:
    first, second = (xai.explain(cnn, image, quick(name), seed=3) for _ in range(2))
    assert first.values.tobytes() == second.values.tobytes()


@every_method
def test_another_seed_gives_another_map_exactly_where_the_method_says_so(name: str, cnn: Model, image: Image) -> None:
    first, second = (xai.explain(cnn, image, quick(name), seed=seed).values for seed in (1, 2))
    assert (first.tobytes() != second.tobytes()) == xai.METHODS[name].random


@every_method
def test_a_batch_gives_what_each_picture_gives_alone(name: str, cnn: Model, images: list[Image]) -> None:
    together = explain_many(cnn, images, [quick(name)])
    for image, [one] in zip(images, together, strict=True):
        assert one.values.tobytes() == xai.explain(cnn, image, quick(name)).values.tobytes()


@every_method
def test_a_batch_in_one_pass_gives_what_each_picture_gives_alone_up_to_rounding(
    name: str, cnn: Model, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [xai.explain(cnn, image, quick(name)) for image in images]
    monkeypatch.setattr("xai_core.pipeline.group_size", lambda model: 16)
    for [one], other in zip(explain_many(cnn, images, [quick(name)]), alone, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-4, atol=1e-5 * np.abs(other.values).max())
        assert one.passes == other.passes
        assert one.target == other.target


@every_method
def test_company_changes_neither_values_nor_passes(name: str, cnn: Model, image: Image) -> None:
    """The record of a map does not depend on what else was asked at the same time."""
    [in_company] = explain_many(cnn, [image], [quick(other) for other in xai.METHODS])
    one = in_company[list(xai.METHODS).index(name)]
    alone = xai.explain(cnn, image, quick(name))
    assert one.values.tobytes() == alone.values.tobytes()
    assert one.passes == alone.passes


@every_method
def test_its_record_builds_it_again(name: str, cnn: Model, image: Image) -> None:
    explanation = xai.explain(cnn, image, quick(name))
    again = xai.METHODS.build(explanation.method)
    assert again.to_dict() == dict(explanation.method)
    assert xai.explain(cnn, image, again).values.tobytes() == explanation.values.tobytes()


@every_method
def test_it_costs_the_passes_that_it_declares(name: str, cnn: Model, image: Image) -> None:
    method = xai.METHODS.build(quick(name)).fitted(cnn)
    assert xai.explain(cnn, image, method).passes == method.cost(cnn)


@every_method
def test_values_have_the_shape_of_the_picture_that_the_model_saw(name: str, cnn: Model, image: Image) -> None:
    explanation = xai.explain(cnn, image, quick(name))
    assert explanation.values.shape == explanation.pixels.shape[:2] == (32, 32)
    assert explanation.values.dtype == np.float32
    assert not explanation.values.flags.writeable
    rows, columns = explanation.grid
    assert 1 <= rows <= 32
    assert 1 <= columns <= 32


@every_method
def test_a_method_without_signs_has_no_value_below_zero(name: str, cnn: Model, image: Image) -> None:
    if not xai.METHODS[name].signed:
        assert xai.explain(cnn, image, quick(name)).values.min() >= 0


@every_method
def test_another_class_gives_another_map_exactly_where_the_method_says_so(name: str, cnn: Model, image: Image) -> None:
    settings = {"positive_only": False} if name.endswith(("cam", "plus_plus")) else {}
    maps = [xai.explain(cnn, image, quick(name), target, **settings).values for target in (0, 1)]
    assert (maps[0].tobytes() != maps[1].tobytes()) == xai.METHODS[name].class_specific


@every_method
@pytest.mark.parametrize("network", ["test_vit", "test_resnet", "test_convnext", "test_efficientnet"])
def test_it_gives_a_map_on_every_family_of_networks(name: str, network: str, image: Image) -> None:
    model = timm_model(network)
    explanation = xai.explain(model, image, quick(name))
    assert np.isfinite(explanation.values).all()
    assert explanation.values.shape == model.preprocessing.input_size[1:]


@every_method
def test_a_network_whose_weights_are_zero_gets_a_flat_map_that_is_called_flat(
    name: str, cnn: Model, image: Image
) -> None:
    from tests.conftest import convolutions, wrapped

    module = convolutions()
    for weights in module.parameters():
        weights.data.zero_()
    model = wrapped(module)
    if xai.METHODS[name].shares == "trace":  # no layer reaches the target, so there is nothing to read
        with pytest.raises(xai.AuditError, match="needs a layer"):
            xai.explain(model, image, quick(name))
    else:
        assert xai.explain(model, image, quick(name)).flat


def test_all_class_activation_methods_share_one_forward_and_one_backward_pass(cnn: Model, images: list[Image]) -> None:
    names = [n for n in xai.METHODS if xai.METHODS[n].family == "class activation"]
    asked = []
    original = cnn.asked
    cnn.asked = lambda **account: asked.append(original(**account)) or asked[-1]  # type: ignore[method-assign]
    layers = [{"name": n, "layer": layer} for n in names for layer in ("1", "3")]
    explain_many(cnn, images, layers)
    # one pass brings the prediction and the trace of both layers: five methods, two layers, three pictures
    assert sum(account.sent.forward for account in asked if account._call.x is not None) == len(images)
    assert sum(account.sent.backward for account in asked if account._call.x is not None) == len(images)


def test_a_backward_pass_that_does_not_fit_is_halved_and_said_in_the_record(
    cnn: Model, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = explain_many(cnn, images, ["grad_cam"])
    grad = torch.autograd.grad

    def short(total: torch.Tensor, inputs: list[torch.Tensor], **settings: Any) -> tuple[torch.Tensor, ...]:
        if len(inputs[0]) > 1:
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return grad(total, inputs, **settings)

    monkeypatch.setattr("xai_core.pipeline.group_size", lambda model: 16)
    monkeypatch.setattr(torch.autograd, "grad", short)
    halved = explain_many(cnn, images, ["grad_cam"])
    for [one], [other] in zip(whole, halved, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-4, atol=1e-6)
        assert one.target == other.target
        assert (one.notes, other.notes) == ((), ("cpu ran out of memory, so the batch was reduced to 1.",))


def test_saliency_and_input_x_gradient_share_their_gradient(cnn: Model, image: Image) -> None:
    sent: list[int] = []
    explain_many(cnn, [image], ["saliency", "input_x_gradient"], progress=lambda done, total: sent.append(done))
    assert sent[-1] == 2


@every_method
def test_a_map_that_is_no_evidence_for_the_class_says_so(name: str, cnn: Model, image: Image) -> None:
    explanation = xai.explain(cnn, image, quick(name))
    method = xai.METHODS[name]
    assert explanation.evidence == (method.signed and method.class_specific)
    assert any("every class gets this same map" in note for note in explanation.notes) == (not method.class_specific)
    assert any("not whether the pixel speaks for" in note for note in explanation.notes) == (not method.signed)


def test_a_large_completeness_gap_is_said(cnn: Model, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not xai.explain(cnn, image, "integrated_gradients", steps=512).notes
    monkeypatch.setattr("xai_core.pipeline._completeness_gaps", lambda *_: [0.252])
    [note] = xai.explain(cnn, image, "integrated_gradients", steps=8).notes
    assert note == "The values miss the sum they promise by 25%. Take more steps, or another baseline."
