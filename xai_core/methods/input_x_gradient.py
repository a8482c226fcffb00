"""Input times gradient: how much each pixel would matter if the network were the plane that touches it here.

    values = sum over channels of x * d target / dx

Shrikumar et al., 2016. https://arxiv.org/abs/1605.01713
`x` is the picture as the network gets it, so "nothing" is the mean colour of the preprocessing. In a network of
ReLUs without biases the values add up to the target; with biases they do not.
"""

from collections.abc import Sequence

import torch

from xai_core.methods import METHODS, Method
from xai_core.models import Model
from xai_core.records import Passes, Target


@METHODS.register
class InputXGradient(Method):
    label = "Input × gradient"
    family = "gradient"
    shares = "gradients"

    def cost(self, model: Model) -> Passes:
        return Passes(1, 1)

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        return (x * model.gradients(x, targets)).sum(1)
