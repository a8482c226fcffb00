"""Ablation-CAM: weigh each feature map by how far the target falls when that map is silenced.

    w_k = f(x) - f(x with A_k = 0)          values = ReLU(sum over k of w_k A_k)

Desai and Ramaswamy, 2020, section 3. https://doi.org/10.1109/WACV45572.2020.9093360
It measures what Grad-CAM estimates from the slope, and so sees evidence where the gradient has saturated.
Departs from the paper: the fall is not divided by f(x). That would only scale the map, and turn it into its opposite
wherever f(x) is below zero. As in the paper a silent map is zero; pytorch-grad-cam does the same after a ReLU, but sets
-1e7 where activations have both signs. In a transformer the channel is silenced in every token, the class token too.
"""

from collections.abc import Sequence

import torch

from xai_core.methods import METHODS, ClassActivation
from xai_core.models import Model
from xai_core.records import Passes, Target


@METHODS.register
class AblationCam(ClassActivation):
    label = "Ablation-CAM"
    shares = None

    def cost(self, model: Model) -> Passes:
        return Passes(2 + model.layer(self.layer).channels, 1)

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        activations = model.trace(x, targets, [self.layer])[self.layer].activations
        channels = range(activations.shape[1])
        whole = model.scalars(x, targets)
        without = [
            target.read(model.without_channels(picture[None], self.layer, channels))
            for picture, target in zip(x, targets, strict=True)
        ]
        falls = whole[:, None] - torch.stack(without)
        return self.enlarged((falls[..., None, None] * activations).sum(1), x)
