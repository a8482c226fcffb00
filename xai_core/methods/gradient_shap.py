"""GradientSHAP: integrated gradients from random baselines, at random stops, as an estimate of Shapley values.

    values = mean over draws of (x - b) * grad f(b + t (x - b)),   b from a background, t uniform in 0..1

Erion et al., 2021, "expected gradients". https://arxiv.org/abs/1906.10670 ; Lundberg and Lee, 2017.
https://arxiv.org/abs/1705.07874
The draws are those of shap's GradientExplainer for the same seed, independent of one another (`expected_gradients`
spreads them). In the mean over endless draws the values add up to f(x) minus the mean of f over the background; a
finite number of draws only comes near, and the gap says how near. shap's local smoothing is left out: it draws from
torch's global generator.
"""

import numpy as np
import torch

from xai_core.backgrounds import AgainstBackgrounds
from xai_core.methods import METHODS, PictureByPicture
from xai_core.models import Model
from xai_core.records import Passes, Target
from xai_core.registry import param


@METHODS.register
class GradientShap(AgainstBackgrounds, PictureByPicture):
    label = "GradientSHAP"
    family = "Shapley"
    random = True
    promises = "completeness"
    approximate = True
    remedy = "Take more draws, or another background."

    samples: int = param(64, low=8, high=1024, label="Draws", help="Random stops; more give a steadier map")

    def cost(self, model: Model) -> Passes:
        return Passes(self.samples, self.samples)

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
