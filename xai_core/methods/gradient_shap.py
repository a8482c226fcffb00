"""GradientSHAP: integrated gradients from random baselines, at random stops, as an estimate of Shapley values.

    values = mean over draws of (x - b) * grad f(b + t (x - b)),   b from a background, t uniform in 0..1

Erion et al., 2021, equation 3, "expected gradients". https://arxiv.org/abs/1906.10670 ; Lundberg and Lee, 2017.
https://arxiv.org/abs/1705.07874
The draws are those of shap's GradientExplainer for the same seed. In the mean over endless draws the values add up to
f(x) minus the mean of f over the background; a finite number of draws only comes near.
"""

import numpy as np
import torch

from xai_core.baselines import baseline, blurred
from xai_core.methods import METHODS, PictureByPicture
from xai_core.models import Model
from xai_core.records import Passes, Target
from xai_core.registry import param

BLURS = (0.05, 0.1, 0.2, 0.4)  # standard deviations as fractions of the shorter side: from blunt to nearly even


@METHODS.register
class GradientShap(PictureByPicture):
    label = "GradientSHAP"
    family = "Shapley"
    random = True

    samples: int = param(64, low=8, high=1024, label="Draws", help="Random stops; more give a steadier map")
    background: str = param(
        "blurs",
        choices=("blurs", "black", "mean"),
        label="Background",
        help="What pictures are compared with: the picture itself at four strengths of blur, black, or the mean colour",
    )

    def cost(self, model: Model) -> Passes:
        return Passes(self.samples, self.samples)

    def backgrounds(self, model: Model, picture: torch.Tensor) -> torch.Tensor:
        """(k, 3, h, w) baselines to draw from, for one (3, h, w) picture."""
        x = picture[None]
        if self.background == "blurs":
            return torch.cat([blurred(x, fraction * min(x.shape[2:])) for fraction in BLURS])
        return baseline(self.background, x, model.preprocessing)

    def attribute_one(self, model: Model, picture: torch.Tensor, target: Target, seed: int) -> torch.Tensor:
        draw = np.random.RandomState(seed)  # shap's own generator, so that the draws are equal
        behind = self.backgrounds(model, picture)
        drawn = [(draw.choice(len(behind)), draw.uniform()) for _ in range(self.samples)]
        which = torch.tensor([which for which, _ in drawn])
        t = torch.tensor([t for _, t in drawn], dtype=picture.dtype).view(-1, 1, 1, 1)
        total = torch.zeros_like(picture)
        for start in range(0, self.samples, model.batch):  # so that memory does not grow with the draws
            part = slice(start, start + model.batch)
            baselines = behind[which[part]]
            way = picture - baselines
            total += (way * model.gradients(baselines + t[part] * way, [target] * len(way))).sum(0)
        return (total / self.samples).sum(0)
