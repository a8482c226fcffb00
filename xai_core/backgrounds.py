"""Background sets: what the methods average over that compare a picture with more than one baseline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from xai_core.baselines import BACKGROUNDS, backgrounds
from xai_core.models import Model
from xai_core.records import Target
from xai_core.registry import Component, param


@dataclass(frozen=True)
class AgainstBackgrounds(Component):
    """The setting and the promise of such a method: its values add up to f(x) minus the mean of f over the set."""

    background: str = param(
        "blurs",
        choices=BACKGROUNDS,
        label="Background",
        help="What the picture is compared with: itself at four strengths of blur, black, the mean colour, or pictures",
    )

    def backgrounds(self, model: Model, picture: torch.Tensor) -> torch.Tensor:
        """(k, 3, h, w) baselines for one (3, h, w) picture."""
        return backgrounds(self.background, picture, model.preprocessing, lambda: model.background)

    def whole(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        """(n,) f(x) minus the mean of f over the background."""
        behind = [self.backgrounds(model, picture) for picture in x]
        expected = [model.scalars(b, [target] * len(b)).mean() for b, target in zip(behind, targets, strict=True)]
        return model.scalars(x, targets) - torch.stack(expected)
