"""Eigen-CAM: show the pattern that most of the layer's feature maps share, whatever the class.

    values = (A - mean over places of A) v,   v the first principal direction of the feature maps

Muhammad and Yeasin, 2020, section III. https://arxiv.org/abs/2008.00299
It never looks at the target: every class gets the same map. A principal direction has no sign of its own; here it
points to where the feature maps are stronger on average, so that the map is high on what the layer responds to.
Computed from the smaller of the two Gram matrices, which has the same directions as the full decomposition.
"""

import torch

from xai_core.methods import METHODS, ClassActivation
from xai_core.models import Trace


@METHODS.register
class EigenCam(ClassActivation):
    label = "Eigen-CAM"
    class_specific = False

    def combine(self, trace: Trace) -> torch.Tensor:
        n, channels, rows, columns = trace.activations.shape
        centred = trace.activations.double().flatten(2).transpose(1, 2)  # (n, places, channels)
        centred = centred - centred.mean(1, keepdim=True)
        if channels <= rows * columns:
            direction = torch.linalg.eigh(centred.mT @ centred).eigenvectors[..., -1:]
            projected = (centred @ direction)[..., 0]
        else:
            powers, vectors = torch.linalg.eigh(centred @ centred.mT)
            projected = vectors[..., -1] * powers[:, -1:].clamp(min=0).sqrt()
        strength = trace.activations.double().mean(1).flatten(1)
        sign = torch.where((projected * strength).sum(1, keepdim=True) < 0, -1.0, 1.0)
        values: torch.Tensor = (projected * sign).view(n, rows, columns).float()
        return values
