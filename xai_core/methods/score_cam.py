"""Score-CAM: weigh each feature map by what the network says of the picture when only that map's places are shown.

    M_k = A_k enlarged to the picture and stretched to 0..1          w = softmax over k of f(x M_k)
    values = ReLU(sum over k of w_k A_k)

Wang et al., 2020, section 3 and algorithm 1. https://arxiv.org/abs/1910.01279
The weights need no gradient. The layer must still reach the target, as for every class activation map: what is read
where the target never looks says nothing of it. A weight is never below zero, so nothing shown here speaks against the
target; and a softmax over logits that hardly differ weighs all maps alike, whatever the class.
Departs from the paper: values stay in the layer's own units; a feature map that is the same everywhere, which cannot
be stretched, is left out. Hidden places get the mean colour, which the preprocessing maps to zero. Masks are enlarged
corner to corner, as by pytorch-grad-cam, so that the weights are its weights.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from xai_core.methods import METHODS, ClassActivation
from xai_core.models import Made, Model
from xai_core.records import Passes, Target

ROUNDING = 1e-6  # of the largest absolute value


@METHODS.register
class ScoreCam(ClassActivation):
    label = "Score-CAM"
    shares = None

    def cost(self, model: Model) -> Passes:
        return Passes(1 + model.layer(self.layer).channels, 1)

    def weights(self, model: Model, picture: torch.Tensor, target: Target, maps: torch.Tensor) -> torch.Tensor:
        """(channels,) of one (3, h, w) picture with (channels, rows, columns) feature maps."""

        def masked(start: int, stop: int) -> torch.Tensor:
            mask = F.interpolate(maps[start:stop, None], picture.shape[1:], mode="bilinear", align_corners=True)
            low, high = mask.amin((2, 3), keepdim=True), mask.amax((2, 3), keepdim=True)
            return picture * (mask - low) / torch.where(high > low, high - low, 1)

        said = model.scalars(Made(len(maps), masked), [target] * len(maps))
        same = maps.amax((1, 2)) - maps.amin((1, 2)) <= ROUNDING * maps.abs().amax((1, 2))
        return torch.where(same, 0, said.masked_fill(same, -torch.inf).softmax(0))

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        activations = model.trace(x, targets, [self.layer])[self.layer].activations
        asked = zip(x, targets, activations, strict=True)
        weights = torch.stack([self.weights(model, picture, target, maps) for picture, target, maps in asked])
        return self.enlarged((weights[..., None, None] * activations).sum(1), x)
