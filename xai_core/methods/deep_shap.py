"""DeepSHAP: DeepLIFT from many baselines, averaged, which comes near to Shapley values.

    values = mean over a background's pictures b of (x - b) * multipliers(x, b),   summed over channels

Lundberg and Lee, 2017, section 4.2 (https://arxiv.org/abs/1705.07874); Chen, Lundberg and Lee, 2022
(https://arxiv.org/abs/2105.00108). Its multipliers are those of `deep_lift`.
The values add up to f(x) minus the mean of f over the background. They are Shapley values of every single operation,
not of the network: that the whole is linear in its parts is an assumption. shap's DeepExplainer agrees on networks of
the operations that it knows, and refuses or misses the sum on others.
"""

import torch

from xai_core.backgrounds import AgainstBackgrounds
from xai_core.baselines import BLURS
from xai_core.difference_rules import DifferenceRules
from xai_core.errors import SettingError
from xai_core.methods import METHODS, PictureByPicture
from xai_core.models import Model
from xai_core.records import Passes, Target
from xai_core.rules import out_of_reach


@METHODS.register
class DeepShap(AgainstBackgrounds, PictureByPicture):
    label = "DeepSHAP"
    family = "Shapley"
    promises = "completeness"
    remedy = "Choose another background, or expected gradients."

    def why_not(self, model: Model) -> str | None:
        return out_of_reach(self.label, model.name, model.operations())

    def cost(self, model: Model) -> Passes:
        k = self._size(model)
        return Passes(2 * k, k)

    def _size(self, model: Model) -> int:
        if self.background != "pictures":
            return len(BLURS) if self.background == "blurs" else 1
        try:
            return len(model.background)
        except SettingError:  # asked before the pictures were given: at least one
            return 1

    def attribute_one(self, model: Model, picture: torch.Tensor, target: Target, seed: int) -> torch.Tensor:
        behind = self.backgrounds(model, picture)
        total = torch.zeros_like(picture)
        for start in range(0, len(behind), model.batch):  # so that memory does not grow with the background
            b = behind[start : start + model.batch]
            multipliers = model.gradients(
                picture.expand_as(b).contiguous(), [target] * len(b), DifferenceRules(), beside=b
            )
            total += ((picture - b) * multipliers).sum(0)
        return (total / len(behind)).sum(0)
