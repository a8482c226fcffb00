"""Grad-CAM++: weigh the places of each feature map so that several instances of a class all show.

    alpha = G^2 / (2 G^2 + (sum over places of A) G^3)      w_k = sum over places of alpha_k ReLU(G_k)
    values = ReLU(sum over k of w_k A_k)

Chattopadhay et al., 2018, equations 5 and 19. https://arxiv.org/abs/1710.11063
The paper derives alpha for exp(target), whose positive factor cancels. Where G is zero, alpha is zero. STABLE is added
to the denominator as common implementations do; it dampens maps whose gradients are about as small as its root, and
does not help where negative activations bring the denominator itself near zero.
"""

import torch

from xai_core.methods import METHODS, ClassActivation
from xai_core.models import Trace

STABLE = 1e-6


@METHODS.register
class GradCamPlusPlus(ClassActivation):
    label = "Grad-CAM++"

    def combine(self, trace: Trace) -> torch.Tensor:
        activations, gradients = trace
        squared = gradients**2
        total = activations.sum((2, 3), keepdim=True)
        alpha = squared / (2 * squared + total * squared * gradients + STABLE)
        alpha = torch.where(gradients != 0, alpha, 0)
        weights = (alpha * gradients.clamp(min=0)).sum((2, 3), keepdim=True)
        return (weights * activations).sum(1)
