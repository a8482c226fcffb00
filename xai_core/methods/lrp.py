"""Layer-wise relevance propagation (LRP): the score is handed back layer by layer, each input taking its share.

    R_i = sum over outputs j of  share(i, j) R_j,  the shares of an output adding up to one;   values = R of the pixels,
    summed over channels

Bach et al., 2015. https://doi.org/10.1371/journal.pone.0130140
For a linear layer share(i, j) is x_i w_ij / z_j (epsilon rule) or favours what has the sign of z_j: by a factor of
1.25 (gamma rule) or entirely (z-plus rule), Montavon et al., 2019, https://doi.org/10.1007/978-3-030-28954-6_10. Batch
normalisation is merged into its convolution; the scale of other normalisations and gates are held constant (Ali et
al., 2022, https://arxiv.org/abs/2202.07304). So are the weights of attention, or they get their share by AttnLRP's
rules (Achtibat et al., 2024, https://arxiv.org/abs/2402.05602), which do not conserve the score.
The values and what went to biases and position embeddings add up to the score. Departs from the papers: shares are
also taken by biases instead of being spread over the pixels, and pixels are read as the network gets them, so that the
preprocessing's mean colour gets nothing.
"""

import math
from collections.abc import Sequence

import torch

from xai_core.errors import UnsupportedError
from xai_core.methods import METHODS, Method
from xai_core.models import Model
from xai_core.records import Passes, Target
from xai_core.registry import param
from xai_core.relevance_rules import RelevanceRules
from xai_core.rules import out_of_reach

COMPOSITES = {"epsilon": (0.0, 0.0), "epsilon_plus": (math.inf, 0.0), "gamma": (0.25, 0.25)}  # convolutions, dense


@METHODS.register
class Lrp(Method):
    label = "LRP"
    family = "backward rules"
    promises = "conservation"
    remedy = "Hold attention constant, or lower epsilon."

    composite: str = param(
        "gamma",
        choices=tuple(COMPOSITES),
        label="Composite",
        help="Linear layers: epsilon in all; z-plus in convolutions and epsilon in dense ones; gamma in all",
    )
    epsilon: float = param(
        1e-6, low=0.0, high=1.0, label="Epsilon", help="Withheld by the epsilon rule, as a share of a layer's outputs"
    )
    attention: str = param(
        "constant",
        choices=("constant", "attnlrp"),
        label="Attention",
        help="Whether its weights are held constant or get a share as well",
    )

    def why_not(self, model: Model) -> str | None:
        return out_of_reach(self.label, model.name, model.operations())

    def cost(self, model: Model) -> Passes:
        return Passes(1, 1)

    def whole(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        return model.scalars(x, targets)

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        if any(target.kind in ("probability", "sigmoid") for target in targets):
            raise UnsupportedError(
                "LRP shares out a score, and a probability is none: softmax and sigmoid conserve nothing. "
                "Choose the logit, or a contrast."
            )
        rules = RelevanceRules(*COMPOSITES[self.composite], self.epsilon, self.attention == "attnlrp")
        values = (x * model.gradients(x, targets, rules)).sum(1)
        model.absorb(rules.absorbed)
        return values
