"""Attention as it is heard, and the two methods that follow it, against answers worked out by hand."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import xai_core as xai
from tests.conftest import seeded, timm_model
from xai_core.attention import hearing_attention
from xai_core.models import Model
from xai_core.records import Image, Passes, Target

FIRST, SECOND = Target(0, ""), Target(1, "")


class Block(nn.Module):
    """Attention and a two-layer network, each added to what was there before."""

    def __init__(self, width: int, heads: int, how: str) -> None:
        super().__init__()
        self.heads, self.how = heads, how
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def split(self, x: torch.Tensor) -> torch.Tensor:
        return self.qkv(self.norm(x)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def attended(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.split(x)
        if self.how == "fused":
            mixed = F.scaled_dot_product_attention(q, k, v)
        else:
            scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5
            softmax: dict[str, Callable[[], torch.Tensor]] = {
                "method": lambda: scores.softmax(-1),
                "function": lambda: torch.softmax(scores, 3),
                "module": lambda: nn.Softmax(dim=-1)(scores),
            }
            mixed = softmax[self.how]().mul_(1) @ v
        return self.out(mixed.transpose(1, 2).flatten(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attended(x)
        return x + self.mlp(x)


class Transformer(nn.Module):
    """A vision transformer of 8-pixel patches that says nothing about itself.

    `oddity` is one thing about it that other transformers do not do.
    """

    def __init__(
        self, depth: int = 3, how: str = "fused", prefix: int = 1, reads: str = "class", oddity: str = ""
    ) -> None:
        super().__init__()
        self.prefix, self.reads, self.oddity = prefix, reads, oddity
        self.patches = nn.Conv2d(3, 8, 8, stride=8)
        self.extra = nn.Parameter(torch.randn(1, prefix, 8))
        self.blocks = nn.ModuleList(Block(8, 2, how) for _ in range(depth))
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.head = nn.Linear(8, 3)
        for block in self.blocks:
            block.qkv.weight.data *= 4  # attention that is far from uniform

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patches(x)
        if self.oddity == "column by column":
            tokens = tokens.transpose(2, 3)
        rows, columns = tokens.shape[2:]
        extra = self.extra.expand(len(x), -1, -1)
        order = [extra, tokens.flatten(2).transpose(1, 2)]
        tokens = torch.cat(order[::-1] if self.oddity == "class token last" else order, 1)
        for block in self.blocks:
            if self.oddity == "side by side" and block is self.blocks[-1]:
                tokens = tokens + self.blocks[-2].attended(tokens) + block.attended(tokens)
            else:
                tokens = block(tokens)
            if self.oddity == "convolution between":
                own = tokens[:, self.prefix :].transpose(1, 2).unflatten(2, (rows, columns))
                tokens = torch.cat([tokens[:, : self.prefix], self.depthwise(own).flatten(2).transpose(1, 2)], 1)
        if self.reads == "class":
            read = tokens[:, -1 if self.oddity == "class token last" else 0]
        elif self.reads == "both":
            read = tokens[:, :2].mean(1)
        elif self.reads == "some":
            read = tokens[:, self.prefix : self.prefix + 3].mean(1)
        else:
            read = tokens[:, self.prefix :].mean(1)
        return self.head(read)


def wrapped(module: nn.Module, size: tuple[int, int] = (32, 48)) -> Model:
    return xai.wrap_model(
        module,
        labels=["a", "b", "c"],
        input_size=(3, *size),
        mean=(0.5,) * 3,
        std=(0.25,) * 3,
        name="mine",
        device="cpu",
    )


def transformer(size: tuple[int, int] = (32, 48), **settings: Any) -> Model:
    return wrapped(seeded(lambda: Transformer(**settings)), size)


def pictures(count: int, size: tuple[int, int] = (32, 48)) -> torch.Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(7))


def map_of(model: Model, name: str, x: torch.Tensor, targets: list[Target], **settings: Any) -> torch.Tensor:
    method = xai.METHODS.build({"name": name, **settings})
    assert method.why_not(model) is None
    return method.attribute(model, x, targets, 0)


# slow derivations in double precision: the head's row is carried down through the blocks, one block at a time


def heard_slowly(model: Model, x: torch.Tensor, target: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Weights (heads, tokens, tokens) and their gradients for one picture of a `Transformer`, written out again."""
    with model.borrowed() as network:
        network.double()
        tokens = torch.cat([network.extra, network.patches(x[None].double()).flatten(2).transpose(1, 2)], 1)[0]
        weights = []
        for block in network.blocks:
            q, k, v = block.split(tokens[None])[:, 0]
            scores = torch.einsum("hid,hjd->hij", q, k) / q.shape[-1] ** 0.5
            weight = scores.exp() / scores.exp().sum(-1, keepdim=True)
            weights.append(weight if weight.requires_grad else weight.requires_grad_())
            tokens = tokens + block.out(torch.einsum("hij,hjd->ihd", weights[-1], v).flatten(1))
            tokens = tokens + block.mlp(tokens)
        rows = {"class": tokens[:1], "both": tokens[:2], "mean": tokens[network.prefix :]}[network.reads]
        slopes = torch.autograd.grad(network.head(rows.mean(0))[target], weights)
    return [weight.detach() for weight in weights], list(slopes)


def rollout_slowly(weights: list[torch.Tensor], readers: list[int], heads: str = "mean") -> torch.Tensor:
    total = torch.zeros(weights[0].shape[-1], dtype=torch.float64)
    for reader in readers:
        row = torch.eye(len(total), dtype=torch.float64)[reader]
        for weight in reversed(weights):
            fused = {"mean": weight.mean(0), "max": weight.max(0).values, "min": weight.min(0).values}[heads]
            block = torch.stack(
                [(f + one) / (f + one).sum() for f, one in zip(fused, torch.eye(len(row)), strict=True)]
            )
            row = row @ block
        total += row / len(readers)
    return total


def gradients_slowly(weights: list[torch.Tensor], slopes: list[torch.Tensor], readers: list[int]) -> torch.Tensor:
    total = torch.zeros(weights[0].shape[-1], dtype=torch.float64)
    for reader in readers:
        row = torch.eye(len(total), dtype=torch.float64)[reader]
        for weight, slope in zip(reversed(weights), reversed(slopes), strict=True):
            row = row + row @ torch.relu(weight * slope).mean(0)
        row[reader] -= 1
        total += row / len(readers)
    return total


def enlarged(row: torch.Tensor, grid: tuple[int, int], size: tuple[int, int]) -> torch.Tensor:
    own = row[len(row) - grid[0] * grid[1] :].view(1, 1, *grid)
    return F.interpolate(own, size=size, mode="bilinear", align_corners=False)[0, 0]


READERS = {
    "class": lambda prefix: [0],
    "both": lambda prefix: [0, 1],
    "mean": lambda prefix: range(prefix, prefix + 24),
}
KINDS = [("class", 1), ("class", 5), ("both", 2), ("mean", 0), ("mean", 1), ("mean", 4)]


@pytest.mark.parametrize("how", ["fused", "method"])
@pytest.mark.parametrize(("reads", "prefix"), KINDS)
def test_both_maps_equal_a_slow_derivation_in_double_precision(reads: str, prefix: int, how: str) -> None:
    """Class token, registers, a distilled token, mean of the patches; 4 rows and 6 columns."""
    model, x = transformer(how=how, prefix=prefix, reads=reads), pictures(2)
    readers = list(READERS[reads](prefix))
    assert model.attends().grid == (4, 6)
    assert list(model.attends().readers) == readers
    rollout = map_of(model, "attention_rollout", x, [FIRST, SECOND])
    gained = map_of(model, "attention_gradients", x, [FIRST, SECOND])
    for i in range(2):
        weights, slopes = heard_slowly(model, x[i], i)
        expected = enlarged(rollout_slowly(weights, readers), (4, 6), (32, 48))
        torch.testing.assert_close(rollout[i].double(), expected, rtol=1e-5, atol=1e-7)
        expected = enlarged(gradients_slowly(weights, slopes, readers), (4, 6), (32, 48))
        assert expected.max() > expected.min() >= 0
        torch.testing.assert_close(gained[i].double(), expected, rtol=1e-4, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_heads_become_one_as_asked(heads: str) -> None:
    model, x = transformer(), pictures(1)
    expected = enlarged(rollout_slowly(heard_slowly(model, x[0], 0)[0], [0], heads), (4, 6), (32, 48))
    found = map_of(model, "attention_rollout", x, [FIRST], heads=heads)[0]
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)


def timm_network(name: str, size: tuple[int, int], **settings: Any) -> Model:
    import timm

    return wrapped(seeded(lambda: timm.create_model(name, num_classes=3, img_size=size, depth=2, **settings)), size)


@pytest.mark.parametrize(
    ("name", "settings", "readers", "grid"),
    [
        ("vit_tiny_patch16_224", {}, [0], (3, 5)),
        ("vit_tiny_patch16_224", {"global_pool": "avg"}, range(1, 16), (3, 5)),
        ("deit_tiny_distilled_patch16_224", {}, [0, 1], (3, 5)),
        ("vit_wee_patch16_reg1_gap_256", {}, range(1, 16), (3, 5)),
        ("vit_tiny_patch16_224", {"reg_tokens": 4}, [0], (3, 5)),
        ("vit_tiny_patch16_224", {"reg_tokens": 4, "global_pool": "avg"}, range(5, 20), (3, 5)),
    ],
)
def test_both_maps_equal_what_hooks_in_an_unfused_copy_of_a_timm_network_say(
    name: str, settings: dict[str, Any], readers: Any, grid: tuple[int, int]
) -> None:
    size = (48, 80)
    model = timm_network(name, size, **settings)
    x = pictures(1, size)
    assert (list(model.attends().readers), model.attends().grid) == (list(readers), grid)
    weights: list[torch.Tensor] = []
    with model.borrowed() as network:
        network.double()
        for block in network.blocks:
            block.attn.fused_attn = False
            block.attn.attn_drop.register_forward_hook(lambda _, args, out: weights.append(out))
        logits = network(x.double().requires_grad_())
        slopes = [slope[0] for slope in torch.autograd.grad(logits[0, 1], weights)]
    heard = [weight[0].detach() for weight in weights]
    found = map_of(model, "attention_rollout", x, [SECOND])[0].double()
    torch.testing.assert_close(found, enlarged(rollout_slowly(heard, list(readers)), grid, size), rtol=1e-5, atol=1e-7)
    found = map_of(model, "attention_gradients", x, [SECOND])[0].double()
    expected = enlarged(gradients_slowly(heard, slopes, list(readers)), grid, size)
    assert expected.max() > 0
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4 * float(expected.max()))


# planted truth


class LooksAtOnePatch(nn.Module):
    """The class token attends to patch `place` only, and the first output is the mean colour there."""

    def __init__(self, place: tuple[int, int]) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 8, stride=8, bias=False)
        self.patches.weight.data[:] = 1 / 192
        self.place = place

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        grid = self.patches(x)
        number = self.place[0] * grid.shape[3] + self.place[1]
        own = grid.flatten(2).transpose(1, 2)
        tokens = torch.cat([0 * own[:, :1], own], 1)
        allowed = torch.eye(tokens.shape[1], dtype=torch.bool)
        allowed[0] = False
        allowed[0, 1 + number] = True
        heads = tokens.unflatten(2, (2, 2)).transpose(1, 2)
        seen = F.scaled_dot_product_attention(heads, heads, heads, attn_mask=allowed).transpose(1, 2).flatten(2)
        said = seen[:, 0].sum(1)
        return torch.stack([said, -said, 0 * said], 1)


@pytest.mark.parametrize("place", [(0, 0), (1, 5), (3, 2)])
def test_a_network_whose_class_token_attends_to_one_patch_lights_that_patch(place: tuple[int, int]) -> None:
    model = wrapped(LooksAtOnePatch(place))
    bright, dark = torch.full((1, 3, 32, 48), 0.5), torch.full((1, 3, 32, 48), -0.5)
    lit = torch.zeros(1 + 24)
    lit[1 + place[0] * 6 + place[1]] = 1
    lit_map = enlarged(lit, (4, 6), (32, 48))
    # one block: half of the class token's row is its attention, the other half itself
    torch.testing.assert_close(map_of(model, "attention_rollout", bright, [FIRST])[0], 0.5 * lit_map)
    # the target is the sum over 2 heads of weight * (2 * colour): gradient * weight is 1 where the colour is 0.5
    torch.testing.assert_close(map_of(model, "attention_gradients", bright, [FIRST])[0], lit_map)
    assert map_of(model, "attention_gradients", dark, [FIRST]).abs().max() == 0, "a loss to the target is no gain"
    torch.testing.assert_close(map_of(model, "attention_gradients", dark, [SECOND])[0], lit_map)


# what the methods are


def test_rollout_is_equal_for_every_target_and_attention_gradients_are_not() -> None:
    model, x = transformer(), pictures(1)
    maps = [map_of(model, "attention_rollout", x, [Target(i, "")]) for i in range(3)]
    assert maps[0].equal(maps[1])
    assert maps[0].equal(maps[2])
    first, second = (map_of(model, "attention_gradients", x, [target]) for target in (FIRST, SECOND))
    assert not first.allclose(second, rtol=0.1)
    assert min(first.min(), second.min()) >= 0


@pytest.mark.parametrize("name", ["attention_rollout", "attention_gradients"])
def test_one_picture_with_several_targets_gets_the_map_of_each(name: str) -> None:
    model, x = transformer(), pictures(1)
    targets = [FIRST, SECOND, FIRST]
    together = map_of(model, name, x.expand(3, -1, -1, -1), targets)
    assert together.shape == (3, 32, 48)
    for one, target in zip(together, targets, strict=True):
        torch.testing.assert_close(one, map_of(model, name, x, [target])[0])


@pytest.mark.parametrize("name", ["attention_rollout", "attention_gradients"])
def test_a_map_does_not_depend_on_its_batch_and_costs_what_is_declared(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, x, targets = transformer(), pictures(5), [Target(i % 3, "") for i in range(5)]
    method = xai.METHODS.build(name)
    asked = model.asked()
    whole = method.attribute(asked, x, targets, 0)
    cost = method.cost(model)
    assert asked.passes == asked.sent == Passes(5 * cost.forward, 5 * cost.backward)
    for i in range(5):
        torch.testing.assert_close(whole[i], method.attribute(model, x[i : i + 1], targets[i : i + 1], 0)[0])
    forward = model.module.forward

    def short(piece: torch.Tensor) -> torch.Tensor:
        if len(piece) > 2:
            raise torch.OutOfMemoryError("tried to allocate 20 GiB")
        return forward(piece)

    monkeypatch.setattr(model.module, "forward", short)
    torch.testing.assert_close(method.attribute(asked, x, targets, 0), whole)
    assert "reduced to 2" in asked.take_notes()[-1]


@pytest.mark.parametrize("name", ["attention_rollout", "attention_gradients"])
def test_it_explains_a_timm_network_end_to_end(name: str, image: Image) -> None:
    model = timm_model("test_vit")
    explanation = xai.explain(model, image, name)
    assert explanation.grid == (10, 10)
    assert explanation.passes == xai.METHODS.build(name).cost(model)
    assert explanation.values.max() > explanation.values.min() >= 0
    assert explanation.flat is None or not explanation.flat


# hearing


@pytest.mark.parametrize("how", ["fused", "method", "function", "module"])
def test_listening_changes_nothing_in_what_the_network_says(how: str) -> None:
    model, x = transformer(how=how), pictures(3)
    before = model.outputs(x)
    with hearing_attention() as heard, torch.no_grad():
        inside = model.module(x)
    assert [tuple(weights.shape) for weights in heard] == [(3, 2, 25, 25)] * 3
    assert all(weights.sum(-1).allclose(torch.ones(())) for weights in heard)
    torch.testing.assert_close(inside, before, rtol=1e-5, atol=1e-6)
    assert model.outputs(x).equal(before)
    model.attends()
    assert model.outputs(x).equal(before)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"scale": 0.3},
        {"is_causal": True},
        {"attn_mask": torch.linspace(-2, 2, 25).view(5, 5)},
        {"attn_mask": torch.ones(5, 5, dtype=torch.bool).tril(1)},
        {"enable_gqa": True},
    ],
    ids=lambda settings: ", ".join(settings) or "plain",
)
def test_the_fused_operation_written_out_gives_the_same(settings: dict[str, Any]) -> None:
    generator = torch.Generator().manual_seed(0)
    query, *both = (torch.randn(2, 4, 5, 3, generator=generator) for _ in range(3))
    key, value = (one[:, :2] for one in both) if "enable_gqa" in settings else both
    expected = F.scaled_dot_product_attention(query, key, value, **settings)
    with hearing_attention() as heard:
        found = F.scaled_dot_product_attention(query, key, value, **settings)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert heard[0].shape == (2, 4, 5, 5)


def test_multi_head_attention_of_torch_is_heard() -> None:
    layer = seeded(lambda: nn.MultiheadAttention(8, 2, batch_first=True)).eval().requires_grad_(False)
    x = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))
    expected, weights = layer(x, x, x, average_attn_weights=False)
    with hearing_attention() as heard:
        found, _ = layer(x, x, x, need_weights=False)
    torch.testing.assert_close(found, expected)
    [one] = heard
    torch.testing.assert_close(one.detach(), weights)


def test_only_the_own_thread_is_heard_and_nothing_afterwards() -> None:
    with hearing_attention() as heard:
        other = threading.Thread(target=lambda: torch.randn(1, 2, 3, 3).softmax(-1))
        other.start()
        other.join()
        assert not heard
        torch.randn(1, 2, 3, 3).softmax(-1)
        torch.randn(4, 10).softmax(-1)  # of logits
        torch.randn(1, 2, 3, 3).softmax(1)
        assert len(heard) == 1
    torch.randn(1, 2, 3, 3).softmax(-1)
    assert len(heard) == 1
    with pytest.raises(ValueError, match="on purpose"), hearing_attention() as heard:
        raise ValueError("on purpose")
    torch.randn(1, 2, 3, 3).softmax(-1)
    assert not heard


def test_four_threads_get_the_maps_that_one_gets() -> None:
    model, x = transformer(), pictures(8)
    names = ["attention_rollout", "attention_gradients"]

    def both(i: int) -> list[torch.Tensor]:
        return [map_of(model, name, x[i : i + 1], [SECOND]) for name in names]

    alone = [both(i) for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            for found, expected in zip(pool.map(both, range(8)), alone, strict=True):
                assert all(one.equal(other) for one, other in zip(found, expected, strict=True))


def test_a_caller_without_gradients_still_gets_them() -> None:
    model, x = transformer(), pictures(1)
    expected = map_of(model, "attention_gradients", x, [FIRST])
    with torch.no_grad():
        assert map_of(model, "attention_gradients", x, [FIRST]).equal(expected)
        assert map_of(transformer(), "attention_gradients", x, [FIRST]).equal(expected)


# refused, never wrong


@pytest.mark.parametrize(
    ("oddity", "settings"),
    [
        ("class token last", {}),
        ("column by column", {}),
        ("column by column", {"size": (32, 32)}),
        ("convolution between", {}),
        ("convolution between", {"reads": "mean"}),
        ("side by side", {}),
        ("side by side", {"reads": "mean"}),
    ],
)
def test_tokens_that_are_not_where_they_seem_are_refused(oddity: str, settings: dict[str, Any]) -> None:
    plain = transformer(**settings)
    assert plain.attends().why_not is None
    model = transformer(oddity=oddity, **settings)
    for name in ("attention_rollout", "attention_gradients"):
        assert "do not keep their places in the picture" in str(xai.METHODS.build(name).why_not(model))


def test_a_head_that_reads_a_few_of_the_pictures_tokens_is_refused() -> None:
    assert "does not read the same tokens" in str(transformer(reads="some").attends().why_not)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("test_resnet", "test_resnet runs no softmax attention"),
        ("test_convnext", "test_convnext runs no softmax attention"),
        ("mixer_s32_224", "mixer_s32_224 runs no softmax attention"),
        ("swin_tiny_patch4_window7_224", "weights of 64 × 3 × 49 × 49, as within windows"),
        ("mobilevit_xxs", "weights of 4 × 4 × 256 × 256, as within windows"),
        ("maxvit_pico_rw_256", "weights of 64 × 1 × 64 × 64, as within windows"),
        ("xcit_nano_12_p16_224", "weights of 1 × 4 × 32 × 32 and of 1 × 4 × 1 × 197"),
        ("cait_xxs24_224", "weights of 1 × 4 × 196 × 196 and of 1 × 4 × 1 × 197"),
        ("levit_128s", "weights of 1 × 4 × 196 × 196 and of 1 × 8 × 49 × 196"),
        ("test_vit3", "weights of 1 × 3 × 101 × 101 and of 1 × 3 × 1 × 101"),
    ],
)
def test_networks_without_attention_among_all_tokens_are_refused_with_what_was_measured(
    name: str, why: str, image: Image
) -> None:
    import timm

    built = timm.create_model(name, pretrained=False, num_classes=3)
    model = xai.wrap_model(
        built, labels=["a", "b", "c"], input_size=built.default_cfg["input_size"], name=name, device="cpu"
    )
    for method in ("attention_rollout", "attention_gradients"):
        with pytest.raises(xai.AuditError, match=why):
            xai.explain(model, image, method)
