"""Guided backpropagation: the gradient, of which every ReLU passes back only what is above zero.

    values = d target / dx, summed over channels, where a ReLU y = max(z, 0) passes back  [z > 0] [dy > 0] dy

Springenberg et al., 2015, on deconvolution. https://arxiv.org/abs/1412.6806
A capped ReLU (ReLU6) counts as one. Every other operation passes back its derivative. It draws sharp edges, and partly
recovers the picture whatever the network has learnt: maps hardly change when the top layers' weights are drawn again
(Adebayo et al., 2018, https://arxiv.org/abs/1810.03292). What it shows need not be what the class rests on.
"""

from collections.abc import Sequence

import torch

from xai_core.methods import METHODS, Method
from xai_core.models import Model
from xai_core.records import Passes, Target
from xai_core.rules import GuidedRules, without_relu


@METHODS.register
class GuidedBackprop(Method):
    label = "Guided backpropagation"
    family = "backward rules"

    def why_not(self, model: Model) -> str | None:
        return without_relu(self.label, model.name, model.operations())

    def cost(self, model: Model) -> Passes:
        return Passes(1, 1)

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        return model.gradients(x, targets, GuidedRules()).sum(1)
