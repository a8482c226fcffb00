"""Grad-CAM: weigh each feature map by how much, on average, the target leans on it.

    w_k = mean over places of G_k          values = ReLU(sum over k of w_k A_k)

Selvaraju et al., 2017, equations 1 and 2. https://arxiv.org/abs/1610.02391
Departs from the paper: values stay in the target's own units instead of being stretched to 0..1, and the ReLU can be
switched off (`positive_only`). Where pooling and one linear layer follow, the map before the ReLU times the number of
places is the class activation map of Zhou et al., 2016, whose sum is the logit without its bias.
"""

import torch

from xai_core.methods import METHODS, ClassActivation
from xai_core.models import Trace


@METHODS.register
class GradCam(ClassActivation):
    label = "Grad-CAM"

    def combine(self, trace: Trace) -> torch.Tensor:
        weights = trace.gradients.mean((2, 3), keepdim=True)
        return (weights * trace.activations).sum(1)
