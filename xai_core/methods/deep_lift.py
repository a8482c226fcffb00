"""DeepLIFT: what has changed in the score, from a baseline to the picture, and which pixels' change made it.

    values = (x - b) * multipliers, summed over channels;   multipliers are passed back as gradients are, and for every
    operation   sum over inputs of (change of input) * (multiplier) = (change of output)

Shrikumar et al., 2017, rescale rule (section 3.5.2). https://arxiv.org/abs/1704.02685
The values add up to f(x) - f(b), on transformers too: where the paper has rules for functions of one number, products
(attention, squeeze-excite, normalisation) are shared between their factors by the means of the other one, as Shapley
values do (Chen, Lundberg and Lee, 2022, https://arxiv.org/abs/2105.00108). One forward pass for the picture and its
baseline together, one pass back. The paper's RevealCancel rule is not offered.
"""

from collections.abc import Sequence

import torch

from xai_core.baselines import BASELINES, baseline
from xai_core.difference_rules import DifferenceRules
from xai_core.methods import METHODS, Method
from xai_core.models import Model
from xai_core.records import Passes, Target
from xai_core.registry import param
from xai_core.rules import out_of_reach


@METHODS.register
class DeepLift(Method):
    label = "DeepLIFT"
    family = "backward rules"
    promises = "completeness"
    remedy = "Choose another baseline, or integrated gradients."

    start: str = param("black", choices=BASELINES, label="Baseline", help="The picture of nothing to compare with")

    def why_not(self, model: Model) -> str | None:
        return out_of_reach(self.label, model.name, model.operations())

    def cost(self, model: Model) -> Passes:
        return Passes(2, 1)

    def baseline(self, model: Model, x: torch.Tensor, seed: int = 0) -> torch.Tensor:
        """(n, 3, h, w) pictures of nothing, one for each of `x`."""
        return baseline(self.start, x, model.preprocessing, seed)

    def whole(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        return model.scalars(x, targets) - model.scalars(self.baseline(model, x, seed), targets)

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        nothing = self.baseline(model, x, seed)
        return ((x - nothing) * model.gradients(x, targets, DifferenceRules(), beside=nothing)).sum(1)
