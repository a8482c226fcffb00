"""Attention gradients: follow the attention that the target gains from, block by block.

Attention rollout takes all heads for equally important and does not know the class. Here each attention weight A is
multiplied by the gradient of the target by it, which says what it is worth to the target, and only gains are kept:

    A'_l = mean over heads of max(0, d target / dA_l * A_l)          R = I;  R <- R + A'_l R,  for l = 1 ... L

Row i of R - I says how relevant each other token is to token i. The map shows the rows of the tokens that the class
head reads (the class token, also a distilled one, or the mean over the picture's tokens), at the picture's tokens,
enlarged bilinearly. For a class token the I makes no difference; where the head reads the picture's tokens themselves,
it would only lift the whole map and hide what attention did.

Chefer, Gur and Wolf, 2021, "Generic attention-model explainability", equations 5 and 6.
https://arxiv.org/abs/2103.15679
Nothing is below zero: what is above speaks for the target. There is no variant with both signs, because the product
over blocks multiplies gradients: two blocks that both speak against the target would come out as speaking for it.
Departs from the paper where the head reads several tokens: the paper knows a class token only.
"""

from collections.abc import Sequence

import torch

from xai_core.methods import METHODS, Method
from xai_core.models import Model
from xai_core.records import Passes, Target


@METHODS.register
class AttentionGradients(Method):
    label = "Attention gradients"
    family = "attention"

    def why_not(self, model: Model) -> str | None:
        return model.attends().why_not

    def cost(self, model: Model) -> Passes:
        return Passes(1, 1)

    def grid(self, model: Model) -> tuple[int, int]:
        return model.attends().grid

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        heard = model.attention(x, targets)
        relevance = torch.zeros_like(heard[0].weights[:, 0])  # R - I, as small values would be lost beside ones
        for weights, gradients in heard:
            gained = (gradients * weights).clamp(min=0).mean(1)
            relevance = relevance + gained + gained @ relevance
        return model.attends().to_map(relevance, x.shape[2:])
