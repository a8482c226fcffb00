"""One question put to every method. Parametrised over the registry, so that a newcomer cannot be forgotten."""

from __future__ import annotations

import contextlib
import copy
import threading
from typing import Any

import numpy as np
import pytest
import torch

import xai_core as xai
from tests.conftest import quick, wrapped
from xai_core.errors import Cancelled, SettingError, UnsupportedError
from xai_core.models import Model
from xai_core.pipeline import explain_many
from xai_core.records import Image

every_method = pytest.mark.parametrize("name", list(xai.METHODS))


@pytest.fixture
def model(name: str, cnn: Model, transformer: Model) -> Model:
    """A small network that the method called `name` is valid for, with ReLUs in it."""
    return cnn if xai.METHODS[name]().why_not(cnn) is None else transformer


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
def test_it_leaves_the_network_as_it_found_it(name: str, model: Model, image: Image) -> None:
    before = fingerprint(model)
    xai.explain(model, image, quick(name))
    assert fingerprint(model) == before


@every_method
def test_it_leaves_the_network_as_it_found_it_when_the_class_does_not_exist(
    name: str, model: Model, image: Image
) -> None:
    before = fingerprint(model)
    with pytest.raises(SettingError, match="Class 999 does not exist"):
        xai.explain(model, image, quick(name), target=999)
    assert fingerprint(model) == before


@every_method
@pytest.mark.parametrize("error", [RuntimeError, MemoryError, KeyboardInterrupt, SystemExit])
def test_it_leaves_the_network_as_it_found_it_when_the_network_fails(
    name: str, error: type[BaseException], model: Model, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = fingerprint(model)
    calls = 0
    original = torch.nn.ReLU.forward

    def failing(self: Any, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > 1:  # in the middle of the first pass
            raise error("broken on purpose")
        return original(self, x)

    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.ReLU, "forward", failing)
        with pytest.raises(error, match="broken on purpose"):
            xai.explain(model, image, quick(name))
    assert fingerprint(model) == before
    assert not model._lock.locked()


@every_method
def test_cancelling_stops_it_between_batches_and_leaves_nothing(name: str, model: Model, image: Image) -> None:
    before, cancel, seen = fingerprint(model), threading.Event(), []

    def progress(done: int, total: int) -> None:
        seen.append(done)
        cancel.set()

    with pytest.raises(Cancelled):
        xai.explain(model, image, quick(name), progress=progress, cancel=cancel)
    assert len(seen) == 1, "it went on for another batch"
    assert fingerprint(model) == before


@every_method
def test_the_same_seed_gives_the_same_bytes(name: str, model: Model, image: Image) -> None:
    first, second = (xai.explain(model, image, quick(name), seed=3) for _ in range(2))
    assert first.values.tobytes() == second.values.tobytes()


@every_method
def test_another_seed_gives_another_map_exactly_where_the_method_says_so(name: str, model: Model, image: Image) -> None:
    first, second = (xai.explain(model, image, quick(name), seed=seed).values for seed in (1, 2))
    assert (first.tobytes() != second.tobytes()) == xai.METHODS[name].random


@every_method
def test_a_batch_gives_what_each_picture_gives_alone(name: str, model: Model, images: list[Image]) -> None:
    together = explain_many(model, images, [quick(name)])
    for image, [one] in zip(images, together, strict=True):
        assert one.values.tobytes() == xai.explain(model, image, quick(name)).values.tobytes()


@every_method
def test_a_batch_in_one_pass_gives_what_each_picture_gives_alone_up_to_rounding(
    name: str, model: Model, images: list[Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [xai.explain(model, image, quick(name)) for image in images]
    monkeypatch.setattr("xai_core.pipeline.group_size", lambda model: 16)
    for [one], other in zip(explain_many(model, images, [quick(name)]), alone, strict=True):
        np.testing.assert_allclose(one.values, other.values, rtol=1e-4, atol=1e-5 * np.abs(other.values).max())
        assert one.passes == other.passes
        assert (one.target, one.notes) == (other.target, other.notes)


@every_method
def test_company_changes_neither_values_nor_passes(name: str, model: Model, image: Image) -> None:
    """The record of a map does not depend on what else was asked at the same time."""
    valid = [other for other in xai.METHODS if xai.METHODS[other]().why_not(model) is None]
    [in_company] = explain_many(model, [image], [quick(other) for other in valid])
    one = in_company[valid.index(name)]
    alone = xai.explain(model, image, quick(name))
    assert one.values.tobytes() == alone.values.tobytes()
    assert one.passes == alone.passes


@every_method
def test_several_targets_of_one_picture_give_what_each_gives_alone(name: str, model: Model, image: Image) -> None:
    together = explain_many(model, [image] * 3, [quick(name)], [2, 0, 1])
    for [one], index in zip(together, [2, 0, 1], strict=True):
        alone = xai.explain(model, image, quick(name), index)
        assert one.values.tobytes() == alone.values.tobytes()
        assert (one.target, one.passes) == (alone.target, alone.passes)
        assert (one.gap, one.notes) == (alone.gap, alone.notes)


def test_one_upload_displayed_in_two_ways_is_two_pictures(cnn: Model, image: Image) -> None:
    other = Image(image.pixels[::-1].copy(), image.sha256)
    for [one], alone in zip(explain_many(cnn, [image, other], ["saliency"]), (image, other), strict=True):
        assert one.values.tobytes() == xai.explain(cnn, alone, "saliency").values.tobytes()


def test_several_targets_of_one_picture_share_its_forward_pass(cnn: Model, image: Image) -> None:
    sent = []
    explain_many(
        cnn, [image] * 3, ["grad_cam", "layer_cam", "saliency"], [2, 0, 1], progress=lambda *count: sent.append(count)
    )
    assert sent[-1][0] == 2  # one for the prediction and all traces, one for all gradients


@every_method
@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_a_picture_with_values_that_are_not_numbers_is_refused(name: str, wrong: float, model: Model) -> None:
    method = xai.METHODS.build(quick(name)).fitted(model)
    x = torch.zeros(1, 3, 32, 32)
    x[0, 1, 5, 7] = wrong
    before = fingerprint(model)
    if method.family == "control":
        return
    with pytest.raises(SettingError, match="values that are not numbers"):
        method.attribute(model.asked(), x, [xai.Target(0, "class 0")], 0)
    assert fingerprint(model) == before


@every_method
def test_another_order_in_memory_gives_the_same_map(name: str, model: Model, image: Image) -> None:
    method = xai.METHODS.build(quick(name)).fitted(model)
    x = model.preprocessing.tensor(model.preprocessing.view(image)[None])
    one, other = (
        method.attribute(model.asked(), pictures, [xai.Target(0, "class 0")], 3)
        for pictures in (x, x.to(memory_format=torch.channels_last))
    )
    torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5 * float(one.abs().max()) + 1e-9)


def test_maps_are_told_as_they_come_the_cheapest_first_and_failures_are_reported(
    cnn: Model, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    came, failed = [], []
    names = ["occlusion", "lime", "grad_cam"]
    monkeypatch.setattr(xai.METHODS["lime"], "attribute_one", _refusing)
    found = explain_many(
        cnn,
        [image],
        [quick(name) for name in names],
        each=lambda picture, method, explanation: came.append((picture, names[method], explanation.method["name"])),
        failed=lambda picture, method, error: failed.append((picture, names[method], str(error))),
    )
    assert came == [(0, "grad_cam", "grad_cam"), (0, "occlusion", "occlusion")]
    assert failed == [(0, "lime", "not today")]
    assert [e.method["name"] for e in found[0]] == ["occlusion", "grad_cam"]


def _refusing(*_: Any) -> None:
    raise SettingError("not today")


def test_a_list_of_targets_of_the_wrong_length_is_refused(cnn: Model, images: list[Image]) -> None:
    with pytest.raises(SettingError, match="2 targets were given for 3 pictures"):
        explain_many(cnn, images, ["grad_cam"], [0, 1])


@every_method
def test_its_record_builds_it_again(name: str, model: Model, image: Image) -> None:
    explanation = xai.explain(model, image, quick(name))
    again = xai.METHODS.build(explanation.method)
    assert again.to_dict() == dict(explanation.method)
    assert xai.explain(model, image, again).values.tobytes() == explanation.values.tobytes()


@every_method
def test_it_costs_the_passes_that_it_declares(name: str, model: Model, image: Image) -> None:
    method = xai.METHODS.build(quick(name)).fitted(model)
    assert xai.explain(model, image, method).passes == method.cost(model)


@every_method
def test_values_have_the_shape_of_the_picture_that_the_model_saw(name: str, model: Model, image: Image) -> None:
    explanation = xai.explain(model, image, quick(name))
    assert explanation.values.shape == explanation.pixels.shape[:2] == (32, 32)
    assert explanation.values.dtype == np.float32
    assert not explanation.values.flags.writeable
    rows, columns = explanation.grid
    assert 1 <= rows <= 32
    assert 1 <= columns <= 32


@every_method
def test_a_method_without_signs_has_no_value_below_zero(name: str, model: Model, image: Image) -> None:
    if not xai.METHODS[name].signed:
        assert xai.explain(model, image, quick(name)).values.min() >= 0


@every_method
def test_another_class_gives_another_map_exactly_where_the_method_says_so(
    name: str, model: Model, image: Image
) -> None:
    settings = {"positive_only": False} if name.endswith(("cam", "plus_plus")) else {}
    maps = [xai.explain(model, image, quick(name), target, **settings).values for target in (0, 1)]
    assert (maps[0].tobytes() != maps[1].tobytes()) == xai.METHODS[name].class_specific


@every_method
def test_a_network_whose_weights_are_zero_gets_a_flat_map_that_is_called_flat_or_a_reason(
    name: str, model: Model, image: Image
) -> None:
    module = copy.deepcopy(model.module)
    for weights in module.parameters():
        weights.data.zero_()
    if xai.METHODS[name].family == "control":
        return
    with contextlib.suppress(UnsupportedError):  # where no layer reaches the target, so that there is nothing to read
        assert xai.explain(wrapped(module), image, quick(name)).flat


def test_all_class_activation_methods_share_one_forward_and_one_backward_pass(cnn: Model, images: list[Image]) -> None:
    names = [n for n in xai.METHODS if xai.METHODS[n].shares == "trace"]
    asked = []
    original = cnn.asked
    cnn.asked = lambda **account: asked.append(original(**account)) or asked[-1]  # type: ignore[method-assign]
    layers = [{"name": n, "layer": layer} for n in names for layer in ("1", "3")]
    explain_many(cnn, images, layers)
    # one pass brings the prediction and the trace of both layers: five methods, two layers, three pictures
    assert sum(account.sent.forward for account in asked if account._account.x is not None) == len(images)
    assert sum(account.sent.backward for account in asked if account._account.x is not None) == len(images)


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
def test_a_map_that_is_no_evidence_for_the_class_says_so(name: str, model: Model, image: Image) -> None:
    explanation = xai.explain(model, image, quick(name))
    method = xai.METHODS[name]
    control = method.family == "control"
    assert explanation.evidence == (method.signed and method.class_specific)
    said = {
        "it knows nothing of the model": control,
        "every class gets this same map": not method.class_specific and not control,
        "not whether the pixel speaks for": not method.signed and method.class_specific,
    }
    for words, due in said.items():
        assert any(words in note for note in explanation.notes) == due


def test_a_large_completeness_gap_is_said(cnn: Model, image: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not xai.explain(cnn, image, "integrated_gradients", steps=512).notes
    assert xai.explain(cnn, image, "integrated_gradients", steps=512).valid
    monkeypatch.setattr("xai_core.pipeline._gaps", lambda *_: [0.252])
    explanation = xai.explain(cnn, image, "integrated_gradients", steps=8)
    assert not explanation.valid
    assert explanation.notes == (
        "Not valid for this model: the values miss the sum they promise by 25%, more than 5%. "
        "Take more steps, or another baseline.",
    )
