"""Expected gradients: integrated gradients from many backgrounds at once, one stop on the way from each.

    values = mean over k of (x - b_k) * grad f(b_k + t_k (x - b_k)),   summed over channels

Erion et al., 2021. https://arxiv.org/abs/1906.10670
Where the paper draws every background b and every stop t independently (`gradient_shap` does), this spreads them: the
way from 0 to 1 is cut into as many pieces as there are draws, with one uniform stop t_k in each, and neighbouring
pieces get different backgrounds, in a drawn order. Each draw alone is distributed as in the paper, so the mean over
endless seeds is the same; a single map lies nearer to it. That mean adds up to f(x) minus the mean of f over the
backgrounds: the gap that is left says whether there were draws enough.
"""

import torch

from xai_core.backgrounds import AgainstBackgrounds
from xai_core.methods import METHODS, PictureByPicture
from xai_core.models import Model
from xai_core.records import Passes, Target
from xai_core.registry import param


@METHODS.register
class ExpectedGradients(AgainstBackgrounds, PictureByPicture):
    label = "Expected gradients"
    family = "gradient"
    random = True
    promises = "completeness"
    approximate = True
    remedy = "Take more draws, or another background."

    samples: int = param(64, low=8, high=1024, label="Draws", help="Stops on the ways; more give a steadier map")

    def cost(self, model: Model) -> Passes:
        return Passes(self.samples, self.samples)

    def attribute_one(self, model: Model, picture: torch.Tensor, target: Target, seed: int) -> torch.Tensor:
        draw = torch.Generator().manual_seed(seed)
        behind = self.backgrounds(model, picture)
        stops = (torch.arange(self.samples) + torch.rand(self.samples, generator=draw)) / self.samples
        rounds = -(-self.samples // len(behind))
        which = torch.cat([torch.randperm(len(behind), generator=draw) for _ in range(rounds)])
        total = torch.zeros_like(picture)
        for start in range(0, self.samples, model.batch):  # so that memory does not grow with the draws
            t = stops[start : start + model.batch].view(-1, 1, 1, 1)
            b = behind[which[start : start + len(t)]]
            total += ((picture - b) * model.gradients(b + t * (picture - b), [target] * len(t))).sum(0)
        return (total / self.samples).sum(0)
