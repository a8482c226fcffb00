"""HiRes-CAM: multiply each activation with its own gradient, so that no averaging moves heat to where none belongs.

    values = sum over k of G_k A_k

Draelos and Carin, 2020, equation 5. https://arxiv.org/abs/2011.08891
Where only linear layers follow, the values before enlarging add up to the logit without its bias, so that a place
shows exactly what it contributed. `positive_only` keeps the places that speak for the target.
"""

import torch

from xai_core.methods import METHODS, ClassActivation
from xai_core.models import Trace


@METHODS.register
class HiresCam(ClassActivation):
    label = "HiRes-CAM"

    def combine(self, trace: Trace) -> torch.Tensor:
        return (trace.gradients * trace.activations).sum(1)
