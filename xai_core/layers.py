"""Where inside a network a map can be read: every place whose output still has a height and a width.

Three shapes occur: convolutions give (n, channels, rows, columns), Swin gives (n, rows, columns, channels), and
transformers give (n, tokens, channels) with prefix tokens (class, distilled, registers) before the picture's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from xai_core.errors import ModelError


@dataclass(frozen=True)
class Layer:
    """A place in a network, its number of channels and the grid of its outputs."""

    name: str
    channels: int
    grid: tuple[int, int]  # rows, columns
    form: Literal["channels first", "channels last", "tokens"]
    prefix: int = 0  # tokens before the picture's own

    def to_grid(self, output: torch.Tensor) -> torch.Tensor:
        """The layer's output as (n, channels, rows, columns)."""
        if self.form == "channels first":
            return output
        if self.form == "channels last":
            return output.permute(0, 3, 1, 2)
        tokens = output[:, self.prefix :]
        return tokens.transpose(1, 2).reshape(len(output), self.channels, *self.grid)


@contextmanager
def listening(module: nn.Module, names: Sequence[str]) -> Iterator[dict[str, torch.Tensor]]:
    """Hear what the layers put out, each as a tensor whose gradient can be asked for. Hooks are gone afterwards.

    What flows on is a copy: an activation that works in place right after the layer would else rewrite what was heard.
    The first layer starts the graph, so nothing before it is kept for the backward pass.
    """
    heard: dict[str, torch.Tensor] = {}

    def hear(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
            heard[name] = output if output.requires_grad else output.detach().requires_grad_(True)
            return heard[name].clone()

        return hook

    hooks = []
    try:
        for name in names:
            hooks.append(module.get_submodule(name).register_forward_hook(hear(name)))
        yield heard
    finally:
        for handle in hooks:
            handle.remove()


def find_layers(module: nn.Module, x: torch.Tensor) -> tuple[dict[str, Layer], tuple[str, ...], int, int]:
    """Run `x` (1, 3, h, w) once and look.

    Returns every layer in the order in which the network runs them, the names of the few worth offering (stages,
    blocks and, in transformers, the normalisation before attention), the bytes that one picture's activations take,
    and the number of outputs.
    """
    outputs: dict[str, tuple[int, ...]] = {}  # name -> shape, in the order of running
    identity: dict[str, int] = {}
    calls: dict[str, int] = {}
    kept: list[torch.Tensor] = []  # so that no two outputs share an id by reuse
    total = 0

    def hear(name: str, leaf: bool) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            nonlocal total
            calls[name] = calls.get(name, 0) + 1
            if isinstance(output, torch.Tensor):
                outputs[name], identity[name] = tuple(output.shape), id(output)
                kept.append(output)
                if leaf:
                    total += output.numel() * output.element_size()

        return hook

    hooks = []
    try:
        for name, part in module.named_modules():
            hooks.append(part.register_forward_hook(hear(name, next(part.children(), None) is None)))
        logits = module(x)
    finally:
        for handle in hooks:
            handle.remove()

    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(x):
        raise ModelError("The network does not give one row of class outputs per picture. Wrap it so that it does.")
    prefix = int(getattr(module, "num_prefix_tokens", 0) or 0)
    layers = {}
    for name, shape in outputs.items():
        layer = _as_layer(name, shape, tuple(x.shape[2:]), prefix)
        if name and layer is not None and calls[name] == 1:
            layers[name] = layer
    offered = [name for name in layers if _worth_offering(module, name, layers[name])]
    trunks = {t for t in offered if sum(name.startswith(f"{t}.") for name in offered) > len(offered) / 2}
    stages: dict[int, str] = {}  # one name for each output, since a container puts out what its last part did
    for name in offered:
        known = stages.get(identity[name])
        if known is None or (name not in trunks and len(name) < len(known)):
            stages[identity[name]] = name
    return layers, tuple(stages.values()), max(total, x.numel() * x.element_size()), int(logits.shape[1])


def _as_layer(name: str, shape: tuple[int, ...], picture: tuple[int, ...], prefix: int) -> Layer | None:
    def fits(rows: int, columns: int) -> bool:
        same_shape = abs(rows * picture[1] - columns * picture[0]) <= max(picture)
        return rows * columns > 1 and rows <= picture[0] and same_shape

    if len(shape) == 4 and fits(shape[2], shape[3]):
        return Layer(name, shape[1], (shape[2], shape[3]), "channels first")
    if len(shape) == 4 and fits(shape[1], shape[2]):
        return Layer(name, shape[3], (shape[1], shape[2]), "channels last")
    if len(shape) == 3 and shape[1] > prefix + 1:
        count = shape[1] - prefix
        rows = round((count * picture[0] / picture[1]) ** 0.5)
        if rows and count % rows == 0 and fits(rows, count // rows):
            return Layer(name, shape[2], (rows, count // rows), "tokens", prefix)
    return None


def _worth_offering(module: nn.Module, name: str, layer: Layer) -> bool:
    """A stage or block: a composed part, or an activation, that sits in the network's own sequence of parts."""
    parts = name.split(".")
    above = [module.get_submodule(".".join(parts[:i])) for i in range(1, len(parts))]
    part = module.get_submodule(name)
    if layer.form == "tokens" and parts[-1] == "norm1":
        above = above[:-1]
    elif next(part.children(), None) is None and type(part).__module__ != "torch.nn.modules.activation":
        return isinstance(module, nn.Sequential) and isinstance(part, nn.Conv2d)
    return all(isinstance(parent, nn.Sequential | nn.ModuleList) for parent in above)
