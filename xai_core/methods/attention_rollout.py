"""Attention rollout: follow the attention weights from the head back to the picture, block by block.

A transformer's block mixes tokens by its attention W and adds what it had before. Taking both for equal halves,

    A_l = 0.5 W_l + 0.5 I, each row divided by its sum          rollout = A_L ... A_2 A_1

where W_l is the mean over heads (or the largest or smallest: `heads`). Row i of the rollout says how much of each
token has come to token i. The map shows the rows of the tokens that the class head reads (the class token, also a
distilled one, or the mean over the picture's tokens), at the picture's tokens, enlarged bilinearly.

Abnar and Zuidema, 2020, section 3, equation 1. https://arxiv.org/abs/2005.00928
Promises nothing about the class: the weights are the same whatever is explained, values and feed-forward layers are
left out. It says where the network gathers from, not what for. Which tokens the head reads, and that attention is all
that mixes tokens, is measured on each network. Departs from the paper in `heads`: the paper takes the mean.
"""

from collections.abc import Sequence

import torch

from xai_core.account import is_one_picture
from xai_core.methods import METHODS, Method
from xai_core.models import Model
from xai_core.records import Passes, Target
from xai_core.registry import param


@METHODS.register
class AttentionRollout(Method):
    label = "Attention rollout"
    family = "attention"
    signed = False
    class_specific = False

    heads: str = param("mean", choices=("mean", "max", "min"), label="Heads", help="How a block's heads become one")

    def why_not(self, model: Model) -> str | None:
        return model.attends().why_not

    def cost(self, model: Model) -> Passes:
        return Passes(1)

    def grid(self, model: Model) -> tuple[int, int]:
        return model.attends().grid

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        heard = model.attention(x)
        once = slice(1) if is_one_picture(x) else slice(None)
        fused = [self.fuse(attention.weights[once]) for attention in heard]
        alone = torch.eye(fused[0].shape[-1])
        rollout = alone.expand_as(fused[0])
        for weights in fused:
            block = 0.5 * weights + 0.5 * alone
            rollout = block / block.sum(-1, keepdim=True) @ rollout
        return model.attends().to_map(rollout, x.shape[2:]).expand(len(x), -1, -1)

    def fuse(self, weights: torch.Tensor) -> torch.Tensor:
        """(n, heads, tokens, tokens) to (n, tokens, tokens)."""
        if self.heads == "mean":
            return weights.mean(1)
        return weights.amax(1) if self.heads == "max" else weights.amin(1)
