"""Guided Grad-CAM: the fine edges of guided backpropagation, where Grad-CAM sees the class.

    values = (guided gradient, summed over channels) * ReLU(sum over k of w_k A_k), enlarged to the picture

Selvaraju et al., 2017, section 3.2. https://arxiv.org/abs/1610.02391 ; guided gradients: Springenberg et al., 2015,
https://arxiv.org/abs/1412.6806. Grad-CAM's weights w_k are plain gradients of the layer, averaged over its places.
It shares guided backpropagation's fault: maps hardly change when the top layers' weights are drawn again (Adebayo et
al., 2018, https://arxiv.org/abs/1810.03292). Enlarged bilinearly as in the paper; Captum's default is nearest.
"""

from collections.abc import Sequence

import torch

from xai_core.methods import METHODS, ClassActivation
from xai_core.models import Model, Trace
from xai_core.records import Passes, Target
from xai_core.rules import GuidedRules, without_relu


@METHODS.register
class GuidedGradCam(ClassActivation):
    label = "Guided Grad-CAM"
    family = "backward rules"
    shares = None

    def why_not(self, model: Model) -> str | None:
        return without_relu(self.label, model.name, model.operations()) or super().why_not(model)

    def cost(self, model: Model) -> Passes:
        return Passes(2, 2)

    def grid(self, model: Model) -> tuple[int, int]:
        _, height, width = model.preprocessing.input_size
        return height, width

    def combine(self, trace: Trace) -> torch.Tensor:
        return (trace.gradients.mean((2, 3), keepdim=True) * trace.activations).sum(1)

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        return super().attribute(model, x, targets, seed) * model.gradients(x, targets, GuidedRules()).sum(1)
