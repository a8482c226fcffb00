"""Layer-CAM: weigh every place of every feature map by its own positive gradient; good in early, fine layers too.

    values = ReLU(sum over k of ReLU(G_k) A_k)

Jiang et al., 2021, equations 6 to 8. https://doi.org/10.1109/TIP.2021.3089943
Departs from the paper: values stay in the target's own units, without the tanh scaling of early layers.
"""

import torch

from xai_core.methods import METHODS, ClassActivation
from xai_core.models import Trace


@METHODS.register
class LayerCam(ClassActivation):
    label = "Layer-CAM"

    def combine(self, trace: Trace) -> torch.Tensor:
        return (trace.gradients.clamp(min=0) * trace.activations).sum(1)
