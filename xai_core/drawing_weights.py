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
    """The names of all layers that can be drawn anew, from the head down: the reverse of how they were declared."""
    named = [name for name, part in network.named_modules() if _can_be_drawn(part)]
    return named[::-1]


def draw(layer: nn.Module, seed: int) -> None:
    """Give `layer` the weights that a new one would start with. The same seed gives the same ones on every device."""
    fresh = copy.deepcopy(layer).cpu()
    with drawing(seed):
        fresh.reset_parameters()  # type: ignore[operator]
    layer.load_state_dict(fresh.state_dict())


def _can_be_drawn(part: nn.Module) -> bool:
    return callable(getattr(part, "reset_parameters", None)) and next(part.parameters(recurse=False), None) is not None
