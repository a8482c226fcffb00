"""The model's door: what it gives, what it counts, what it survives."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

import xai_core as xai
from tests.conftest import SIDE, convolutions, seeded, timm_model, wrapped
from xai_core.errors import MemoryShortError, UnsupportedError
from xai_core.models import Made, Model, weights_digest
from xai_core.records import Passes, Target


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    return torch.randn((n, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(seed))


def targets(n: int, index: int = 0) -> list[Target]:
    return [Target(index, f"class {index}")] * n


def test_outputs_are_those_of_the_network(cnn: Model) -> None:
    x = pictures(5)
    torch.testing.assert_close(cnn.outputs(x), cnn.module(x).detach())


def test_gradients_are_those_of_autograd_with_each_picture_its_own_target(cnn: Model) -> None:
    x = pictures(3).requires_grad_(True)
    cnn.module(x)[torch.arange(3), torch.tensor([2, 0, 1])].sum().backward()
    mixed = [targets(1, 2)[0], targets(1, 0)[0], targets(1, 1)[0]]
    torch.testing.assert_close(cnn.gradients(x.detach(), mixed), x.grad)


def test_pictures_made_on_demand_give_what_a_tensor_gives(cnn: Model) -> None:
    x = pictures(70)
    made = Made(70, lambda start, stop: x[start:stop])
    torch.testing.assert_close(cnn.outputs(made), cnn.outputs(x))
    torch.testing.assert_close(cnn.gradients(made, targets(70)), cnn.gradients(x, targets(70)))


def test_no_more_pictures_than_a_batch_exist_at_once(cnn: Model) -> None:
    sizes: list[int] = []

    def make(start: int, stop: int) -> torch.Tensor:
        sizes.append(stop - start)
        return torch.zeros(stop - start, 3, SIDE, SIDE)

    cnn.outputs(Made(1000, make))
    assert sum(sizes) == 1000
    assert max(sizes) == cnn.batch


def test_the_batch_follows_from_the_memory_that_one_picture_takes() -> None:
    assert timm_model("resnet18").batch < wrapped(seeded(convolutions)).batch


def test_passes_are_counted_in_pictures(cnn: Model) -> None:
    asked = cnn.asked()
    asked.outputs(pictures(7))
    assert (asked.passes, asked.sent) == (Passes(7, 0), Passes(7, 0))
    asked.gradients(pictures(5), targets(5))
    asked.trace(pictures(2), targets(2), ["1", "3"])
    assert asked.passes == asked.sent == Passes(14, 7)


def test_a_question_about_the_same_picture_is_put_to_the_network_once(cnn: Model) -> None:
    x = pictures(2)
    asked = cnn.asked(x=x)
    said = asked.outputs_and_trace(x, lambda rows, logits: targets(rows.stop - rows.start), ["1", "3"])
    torch.testing.assert_close(said, cnn.outputs(x))
    first = asked.trace(x, targets(2), ["3"])["3"]
    second = asked.trace(x, targets(2), ["1"])["1"]
    asked.outputs(x)
    asked.outputs(x)
    assert asked.sent == Passes(2, 2)
    assert asked.passes == Passes(10, 6)
    alone = cnn.trace(x, targets(2), ["1"])["1"]
    torch.testing.assert_close(second.activations, alone.activations)
    assert first.activations.shape != second.activations.shape
    assert asked.trace(x, targets(2, 1), ["3"])["3"].gradients.ne(first.gradients).any(), "another target, same answer"
    assert asked.gradients(x, targets(2, 1)).ne(asked.gradients(x, targets(2, 0))).any(), "another target, same answer"


def test_embed_gives_the_features_before_the_head(cnn: Model) -> None:
    x = pictures(3)
    torch.testing.assert_close(cnn.embed(x), cnn.module[:6](x).detach())
    assert cnn.module[6](cnn.embed(x)).allclose(cnn.outputs(x))
    vit = timm_model("test_vit")
    seen = torch.randn(1, *vit.preprocessing.input_size)
    torch.testing.assert_close(vit.module.get_classifier()(vit.embed(seen)), vit.outputs(seen))


def test_embed_says_why_not_where_there_is_no_head() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(UnsupportedError, match="no linear head"):
        wrapped(network).embed(pictures(1))


def test_a_borrowed_network_is_a_copy_whose_changes_are_thrown_away(cnn: Model) -> None:
    before = weights_digest(cnn.module)
    asked = cnn.asked()
    with asked.borrowed() as network:
        network[0].weight.data.zero_()
        network[1] = nn.GELU()
        network(pictures(4))
    assert weights_digest(cnn.module) == before
    assert isinstance(cnn.module[1], nn.ReLU)
    assert asked.sent.forward == 4


def test_wrapping_leaves_the_callers_network_as_it_was() -> None:
    mine = seeded(convolutions).train()
    model = wrapped(mine)
    assert all(parameter.requires_grad for parameter in mine.parameters())
    assert mine.training
    assert not any(parameter.requires_grad for parameter in model.module.parameters())


def test_the_identity_knows_one_changed_weight() -> None:
    one, other = seeded(convolutions), seeded(convolutions)
    other[0].weight.data[0, 0, 0, 0] += 1e-6
    assert wrapped(one).identity["weights_sha256"] != wrapped(other).identity["weights_sha256"]
    assert wrapped(one).identity == wrapped(seeded(convolutions)).identity


def test_labels_must_be_as_many_as_outputs() -> None:
    with pytest.raises(xai.AuditError, match="3 outputs but 2 labels"):
        wrapped(convolutions(), classes=2)


@pytest.mark.parametrize(("fails_above", "fits"), [(16, 16), (5, 4), (1, 1)])
def test_a_batch_that_does_not_fit_is_halved_and_said(
    fails_above: int, fits: int, cnn: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, whole = pictures(40), cnn.outputs(pictures(40))
    forward = cnn.module.forward

    def short(piece: torch.Tensor) -> torch.Tensor:
        if len(piece) > fails_above:
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return forward(piece)

    monkeypatch.setattr(cnn.module, "forward", short)
    asked = cnn.asked()
    torch.testing.assert_close(asked.outputs(x), whole)
    assert cnn.batch == 32
    assert asked.take_notes()[-1] == f"cpu ran out of memory, so the batch was reduced to {fits}."
    assert asked.sent.forward == 40


def test_one_picture_that_does_not_fit_is_a_sentence(cnn: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(piece: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    monkeypatch.setattr(cnn.module, "forward", short)
    with pytest.raises(MemoryShortError, match="even with one picture"):
        cnn.outputs(pictures(8))
    assert not cnn._lock.locked()


def test_a_long_job_does_not_hold_up_a_short_one(cnn: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one visitor's job of many batches runs, another's single picture gets in between."""
    monkeypatch.setattr(cnn, "batch", 1)
    inside, go_on = threading.Event(), threading.Event()

    def make(start: int, stop: int) -> torch.Tensor:
        inside.set()
        assert start == 0 or go_on.wait(30)
        return torch.zeros(stop - start, 3, SIDE, SIDE)

    long_job = threading.Thread(target=lambda: cnn.outputs(Made(50, make)))
    long_job.start()
    assert inside.wait(30)
    assert cnn.outputs(pictures(1)).shape == (1, 3)  # would wait forever if the lock were held over the whole job
    go_on.set()
    long_job.join(30)
    assert not long_job.is_alive()


def test_layers_of_every_family_are_found_with_their_grid() -> None:
    assert timm_model("resnet18").layer("layer3").grid == (14, 14)
    assert timm_model("resnet18").default_layer == "layer4"
    swin = xai.load_model("swin_tiny_patch4_window7_224", pretrained=False, device="cpu")
    assert (swin.layer("layers.3").form, swin.layer("layers.3").grid) == ("channels last", (7, 7))
    deit = xai.load_model("deit_tiny_distilled_patch16_224", pretrained=False, device="cpu")
    assert (deit.layer("blocks.3").prefix, deit.layer("blocks.3").grid) == (2, (14, 14))
    assert deit.default_layer == "blocks.11.norm1"


def test_an_unknown_layer_is_named_with_the_choices(cnn: Model) -> None:
    with pytest.raises(xai.AuditError, match="no layer 'nonsense'"):
        cnn.trace(pictures(1), targets(1), ["nonsense"])


def test_swin_tokens_are_laid_out_as_the_picture_is() -> None:
    """A bright patch in one corner must move the activations of that corner most."""
    swin = xai.load_model("swin_tiny_patch4_window7_224", pretrained=False, device="cpu")
    x = torch.zeros(1, 3, 224, 224)
    y = x.clone()
    y[..., :32, 192:] = 3
    base, moved = (swin.trace(v, targets(1), ["layers.0"])["layers.0"].activations for v in (x, y))
    change = (moved - base).abs().sum(1)[0]
    row, column = np.unravel_index(int(change.argmax()), change.shape)
    assert row < 14
    assert column >= 42


def test_the_door_takes_half_precision_and_answers_in_single(cnn: Model) -> None:
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)).half()
    targets = [Target(0, "class 0"), Target(2, "class 2")]
    assert cnn.outputs(x).dtype == cnn.gradients(x, targets).dtype == torch.float32
    torch.testing.assert_close(cnn.outputs(x), cnn.outputs(x.float()))
    torch.testing.assert_close(cnn.gradients(x, targets), cnn.gradients(x.float(), targets))


def test_one_picture_in_several_rows_goes_forward_once_and_backward_for_each_target(cnn: Model) -> None:
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    targets = [Target(i, f"class {i}") for i in (2, 0, 1)]
    asked = cnn.asked()
    logits = asked.outputs(x.expand(3, -1, -1, -1))
    slopes = asked.gradients(x.expand(3, -1, -1, -1), targets)
    traces = asked.trace(x.expand(3, -1, -1, -1), targets, ["1", "3"])
    assert (asked.sent.forward, asked.sent.backward) == (3, 6)
    assert (asked.passes.forward, asked.passes.backward) == (9, 6)
    for i, target in enumerate(targets):
        assert torch.equal(logits[i], cnn.outputs(x)[0])
        assert torch.equal(slopes[i], cnn.gradients(x, [target])[0])
        for layer, trace in cnn.trace(x, [target], ["1", "3"]).items():
            assert torch.equal(traces[layer].activations[i], trace.activations[0])
            assert torch.equal(traces[layer].gradients[i], trace.gradients[0])


@pytest.mark.parametrize("layer", ["1", "blocks.0"])
def test_silencing_a_channel_is_what_setting_it_to_zero_by_hand_gives(
    layer: str, cnn: Model, transformer: Model
) -> None:
    model = cnn if layer == "1" else transformer
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    silenced = model.without_channels(x, layer, [5, 0, 2])
    for row, channel in zip(silenced, (5, 0, 2), strict=True):
        with model.borrowed() as network:

            def zero(_: object, __: object, output: torch.Tensor, channel: int = channel) -> torch.Tensor:
                kept = torch.ones_like(output)
                kept[:, channel] = 0 if output.ndim == 4 else 1
                if output.ndim == 3:
                    kept[..., channel] = 0
                return output * kept

            network.get_submodule(layer).register_forward_hook(zero)
            with torch.no_grad():
                torch.testing.assert_close(row, network(x)[0])
    assert not torch.equal(silenced[0], silenced[1])
    assert not any(part._forward_hooks for part in model.module.modules())


def test_a_network_that_flattens_with_view_is_taken_as_it_is() -> None:
    class Viewing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.head = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Linear(4 * 16 * 16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            seen = self.convolution(x)
            return self.head(seen.view(len(seen), -1))

    model = wrapped(seeded(Viewing))
    assert model.gradients(torch.zeros(2, 3, 32, 32), [Target(0, "")] * 2).shape == (2, 3, 32, 32)


def test_a_network_that_overwrites_what_its_gradient_needs_is_refused_in_one_sentence() -> None:
    class Overwriting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.convolution(x)
            y.unbind(1)[0].mul_(2)
            return self.head(y.mean((2, 3)))

    model = wrapped(seeded(Overwriting))
    assert model.outputs(pictures(2)).shape == (2, 3)
    with pytest.raises(UnsupportedError, match="overwrites values in place"):
        model.gradients(pictures(2), targets(2))
