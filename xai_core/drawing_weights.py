"""Weights drawn at random: of a new network, and layer by layer of a trained one.

torch draws weights from its global generator, so they are drawn by one thread at a time, and the generator is put back.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

_drawing = threading.RLock()


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """What is drawn inside follows `seed` alone, also while other threads draw."""
    with _drawing, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def drawn_layers(network: nn.Module) -> list[str]:
    """The names of all layers with weights of their own, from the head down: the reverse of how they were declared."""
    named = [name for name, part in network.named_modules() if next(part.parameters(recurse=False), None) is not None]
    return named[::-1]


def draw(layer: nn.Module, seed: int) -> None:
    """Give `layer` the weights that a new one would start with. The same seed gives the same ones on every device.

    Weights that no rule tells how to start, such as the position embeddings of a transformer, are shuffled.
    """
    for rule in ("reset_parameters", "_reset_parameters"):  # the second is that of nn.MultiheadAttention
        if callable(getattr(layer, rule, None)):
            fresh = copy.deepcopy(layer).cpu()
            with drawing(seed):
                getattr(fresh, rule)()
            layer.load_state_dict(fresh.state_dict())
            return
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in layer.parameters(recurse=False):
            order = torch.randperm(weights.numel(), generator=generator).to(weights.device)
            weights.copy_(weights.flatten()[order].view_as(weights))
