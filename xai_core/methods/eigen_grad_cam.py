"""Eigen-Grad-CAM: Eigen-CAM for one class, of activations that are weighed with their own gradients first.

    values = (GA - mean over places of GA) v,   v the first principal direction of the products G_k A_k

The idea of Muhammad and Yeasin, 2020, https://arxiv.org/abs/2008.00299, on the products of HiRes-CAM (Draelos and
Carin, 2020, https://arxiv.org/abs/2011.08891); no paper of its own, the definition is that of the pytorch-grad-cam
library. A principal direction has no sign of its own; here it points to where HiRes-CAM is higher, so that a value
above zero is a place that speaks for the target more than the average place does. It keeps the strongest shared
pattern and drops the rest, so the values promise no sum.
"""

import torch

from xai_core.methods import METHODS, ClassActivation
from xai_core.models import Trace
from xai_core.principal import principal_pattern


@METHODS.register
class EigenGradCam(ClassActivation):
    label = "Eigen-Grad-CAM"

    def combine(self, trace: Trace) -> torch.Tensor:
        return principal_pattern(trace.gradients * trace.activations)
