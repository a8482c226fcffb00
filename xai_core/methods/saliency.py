"""Saliency: how fast the target would change if a pixel did.

    values = max over channels of |d target / dx|

Simonyan et al., 2014, section 3. https://arxiv.org/abs/1312.6034
It says how sensitive the target is to a pixel, not whether the pixel speaks for or against it.
"""

from collections.abc import Sequence

import torch

from xai_core.methods import METHODS, Method
from xai_core.models import Model
from xai_core.records import Passes, Target


@METHODS.register
class Saliency(Method):
    label = "Saliency"
    family = "gradient"
    shares = "gradients"
    signed = False

    def cost(self, model: Model) -> Passes:
        return Passes(1, 1)

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        return model.gradients(x, targets).abs().amax(1)
