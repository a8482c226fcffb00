"""Sobel edges: how fast the picture's brightness changes, which no network was asked about.

    values = sqrt(gx^2 + gy^2),   gx, gy the brightness filtered with [1 2 1] across [-1 0 1]

Kanopoulos et al., 1988, on Sobel's operator. https://doi.org/10.1109/4.996
A control, not an explanation: several attribution maps look like an edge detector and stay the same when the network's
weights are drawn anew (Adebayo et al., 2018, https://arxiv.org/abs/1810.03292). A map that scores no better than edges
is no evidence about the network. Brightness is the luminance of the displayed pixels, from 0 to 1.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from xai_core.methods import METHODS, Method
from xai_core.models import Model
from xai_core.records import Passes, Target

LUMINANCE = (0.2126, 0.7152, 0.0722)  # of red, green and blue, ITU-R BT.709
SOBEL = torch.outer(torch.tensor([1.0, 2.0, 1.0]), torch.tensor([-1.0, 0.0, 1.0]))


@METHODS.register
class SobelEdges(Method):
    label = "Sobel edges"
    family = "control"
    signed = False
    class_specific = False

    def cost(self, model: Model) -> Passes:
        return Passes()

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        brightness = torch.from_numpy(model.preprocessing.pixels(x) @ np.array(LUMINANCE, np.float32) / 255)
        padded = F.pad(brightness[:, None], (1, 1, 1, 1), mode="replicate")
        slopes = F.conv2d(padded, torch.stack([SOBEL, SOBEL.T])[:, None])
        return slopes.square().sum(1).sqrt()
