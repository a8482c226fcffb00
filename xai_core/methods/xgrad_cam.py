"""XGrad-CAM: Grad-CAM in which each place's gradient counts as much as the feature map is active there.

    w_k = sum over places of (A_k / sum of A_k) G_k          values = ReLU(sum over k of w_k A_k)

Fu et al., 2020, section 3. https://arxiv.org/abs/2008.02312
Conservation, the axiom it was made for: before the ReLU and the enlarging, the values add up to the sum of G A. Where
one pooling and one linear layer follow, it is Grad-CAM. Departs from the paper: values stay in the target's own units,
and a feature map whose sum is zero up to rounding, for which the formula divides by nothing, is left out. Below zero
and above it (as in transformers and ConvNeXt), a map may nearly cancel itself out: then its weight is large and the
result unsteady, which HiRes-CAM is not.
"""

import torch

from xai_core.methods import METHODS, ClassActivation
from xai_core.models import Trace

ROUNDING = 1e-6  # of the sum of absolute values


@METHODS.register
class XgradCam(ClassActivation):
    label = "XGrad-CAM"

    def combine(self, trace: Trace) -> torch.Tensor:
        total = trace.activations.sum((2, 3), keepdim=True)
        kept = total.abs() > ROUNDING * trace.activations.abs().sum((2, 3), keepdim=True)
        leaned = (trace.gradients * trace.activations).sum((2, 3), keepdim=True)
        weights = torch.where(kept, leaned / torch.where(kept, total, 1), 0)
        return (weights * trace.activations).sum(1)
