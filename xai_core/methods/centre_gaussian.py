"""Centre Gaussian: a bright spot in the middle, where photographers put what they mean.

    values = exp(-r^2 / (2 s^2)),   r the distance from the centre, s a fraction of the shorter side

Judd et al., 2009, on the bias towards the centre. https://doi.org/10.1109/ICCV.2009.5459462
A control, not an explanation: where objects sit in the centre, a spot there scores well without having looked. A map
that scores no better is no evidence about the network.
"""

from collections.abc import Sequence

import torch

from xai_core.methods import METHODS, Method
from xai_core.models import Model
from xai_core.records import Passes, Target
from xai_core.registry import param


@METHODS.register
class CentreGaussian(Method):
    label = "Centre Gaussian"
    family = "control"
    signed = False
    class_specific = False

    width: float = param(
        0.25, low=0.02, high=1.0, label="Width", unit="fraction", help="Standard deviation, of the shorter side"
    )

    def cost(self, model: Model) -> Passes:
        return Passes()

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        height, width = x.shape[2:]
        rows = torch.arange(height) - (height - 1) / 2
        columns = torch.arange(width) - (width - 1) / 2
        squared = rows[:, None] ** 2 + columns**2
        spot = torch.exp(-squared / (2 * (self.width * min(height, width)) ** 2))
        return spot.expand(len(x), -1, -1).clone()
