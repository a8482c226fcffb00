"""Uniform: the same value everywhere.

    values = 1

A control, not an explanation: what a score is worth when a map says nothing at all. The share of its mass that lies in
a mask is the mask's share of the picture: the chance level of the mass accuracy of Arras et al., 2022,
https://arxiv.org/abs/2003.07258, which a method must beat. It is flat on purpose.
"""

from collections.abc import Sequence

import torch

from xai_core.methods import METHODS, Method
from xai_core.models import Model
from xai_core.records import Passes, Target


@METHODS.register
class Uniform(Method):
    label = "Uniform"
    family = "control"
    signed = False
    class_specific = False

    def cost(self, model: Model) -> Passes:
        return Passes()

    def grid(self, model: Model) -> tuple[int, int]:
        return 1, 1

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        return torch.ones_like(x[:, 0])
