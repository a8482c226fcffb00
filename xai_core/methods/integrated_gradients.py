"""Integrated gradients: add up the gradient along the way from a baseline to the picture.

    values = (x - b) * mean over k of grad f(b + (k + 1/2)/n (x - b)),   summed over channels

Sundararajan et al., 2017, equation 1, by the midpoint rule. https://arxiv.org/abs/1703.01365
The values add up to f(x) - f(b): the gap that is left is measured for each map and says whether `steps` is enough.
Another seed gives another map only from a baseline of noise.
"""

from collections.abc import Sequence

import torch

from xai_core.baselines import BASELINES, baseline
from xai_core.methods import METHODS, PictureByPicture
from xai_core.models import Model
from xai_core.records import Passes, Target
from xai_core.registry import param


@METHODS.register
class IntegratedGradients(PictureByPicture):
    label = "Integrated gradients"
    family = "gradient"
    promises = "completeness"
    remedy = "Take more steps, or another baseline."

    steps: int = param(64, low=8, high=512, label="Steps", help="Stops between the baseline and the picture")
    start: str = param("black", choices=BASELINES, label="Baseline", help="The picture of nothing to start from")

    def cost(self, model: Model) -> Passes:
        return Passes(self.steps, self.steps)

    def baseline(self, model: Model, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
        """(n, 3, h, w) pictures of nothing, one for each of `x`."""
        return baseline(self.start, x, model.preprocessing, seed)

    def whole(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        return model.scalars(x, targets) - model.scalars(self.baseline(model, x, seed), targets)

    def attribute_one(self, model: Model, picture: torch.Tensor, target: Target, seed: int) -> torch.Tensor:
        fractions = ((torch.arange(self.steps) + 0.5) / self.steps).view(-1, 1, 1, 1)
        nothing = self.baseline(model, picture[None], seed)[0]
        way = picture - nothing
        total = torch.zeros_like(picture)
        for start in range(0, self.steps, model.batch):  # so that memory does not grow with the steps
            part = fractions[start : start + model.batch]
            total += model.gradients(nothing + part * way, [target] * len(part)).sum(0)
        return (way * total / self.steps).sum(0)
