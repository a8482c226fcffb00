"""Eigen-CAM: show the pattern that most of the layer's feature maps share, whatever the class.

    values = (A - mean over places of A) v,   v the first principal direction of the feature maps

Muhammad and Yeasin, 2020, section III. https://arxiv.org/abs/2008.00299
It never looks at the target: every class gets the same map. A principal direction has no sign of its own; here it
points to where the feature maps are stronger on average, so that the map is high on what the layer responds to. The
mean over places is taken off first, as common implementations do.
"""

import torch

from xai_core.methods import METHODS, ClassActivation
from xai_core.models import Trace
from xai_core.principal import principal_pattern


@METHODS.register
class EigenCam(ClassActivation):
    label = "Eigen-CAM"
    class_specific = False

    def combine(self, trace: Trace) -> torch.Tensor:
        return principal_pattern(trace.activations)
