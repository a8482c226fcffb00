"""The attention weights of a network, heard as it runs, and where in the picture its tokens lie.

Attention is heard by the operation, not by the module: whatever calls `softmax` over the last dimension or the fused
`scaled_dot_product_attention` is heard, in this thread only, and nothing in the network is changed for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.overrides import TorchFunctionMode

from xai_core.layers import Layer

SOFTMAX = (F.softmax, torch.softmax, torch.Tensor.softmax)
# Torch hands `multi_head_attention_forward` over whole, and would again if it were called to be heard from inside.
MULTI_HEAD = FunctionType(
    F.multi_head_attention_forward.__code__,
    {**vars(F), "has_torch_function": lambda _: False},
    argdefs=F.multi_head_attention_forward.__defaults__,
)


@dataclass(frozen=True)
class Tokens:
    """What attention moves about: the last rows * columns of `count` tokens are the picture's own, row by row.

    `readers` are the tokens that the class head reads: the class token, that and a distilled one, all of the
    picture's own. `why_not` says why a network's attention does not tell where in the picture it looks.
    """

    count: int = 0
    grid: tuple[int, int] = (0, 0)
    readers: tuple[int, ...] = ()
    why_not: str | None = None

    def to_map(self, relevance: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
        """(n, tokens, tokens), how much of the token of each column is in that of each row, to (n, *size).

        The mean over the rows that the head reads, at the picture's own tokens, enlarged bilinearly.
        """
        rows, columns = self.grid
        read = relevance[:, list(self.readers), self.count - rows * columns :].mean(1)
        return F.interpolate(read.view(-1, 1, rows, columns), size=tuple(size), mode="bilinear", align_corners=False)[
            :, 0
        ]


@contextmanager
def hearing_attention() -> Iterator[list[torch.Tensor]]:
    """Hear the weights of every attention operation, each as a tensor whose gradient can be asked for.

    The first starts the graph, so nothing before it is kept for the backward pass.
    """
    with _Hearing() as hearing:
        yield hearing.weights


@torch.enable_grad()
def find_tokens(module: nn.Module, x: torch.Tensor, layers: Iterable[Layer], name: str) -> Tokens:
    """Run `x` (1, 3, h, w) once, every token attending to itself alone, and look what depends on what.

    Where attention is all that mixes tokens, each token then depends on its own place in the picture only. The grid of
    a layer is the tokens' grid if that is seen at two of its corners.
    """
    x = x.detach().requires_grad_(True)
    with _Hearing(alone=True) as hearing:
        logits = module(x)[0]
    weights = hearing.weights
    if not weights:
        return Tokens(why_not=f"{name} runs no softmax attention, so there are no attention weights to read.")
    count = weights[0].shape[-1]
    other = [tuple(heard.shape) for heard in weights if heard.shape != (1, heard.shape[1], count, count)]
    if other or count < 2:
        shapes = dict.fromkeys(" × ".join(map(str, shape)) for shape in (tuple(weights[0].shape), *other[:1]))
        return Tokens(
            why_not=f"Not every attention of {name} is from all of a picture's tokens to all of them: one picture has "
            f"weights of {' and of '.join(shapes)}, as within windows, between channels or across unequal stages."
        )
    grids = {layer.grid for layer in layers if layer.grid[0] * layer.grid[1] <= count}
    for rows, columns in sorted(grids, key=lambda grid: -grid[0] * grid[1]):
        prefix = count - rows * columns
        corners = (columns - 1, rows * columns - 1)
        if all(_stays(hearing, x, prefix + corner, corner, (rows, columns)) for corner in corners):
            break
    else:
        return Tokens(
            why_not=f"The tokens of {name} do not keep their places in the picture from one attention to the next: "
            "other operations mix or move them, or attentions run side by side, so their weights do not tell where it "
            "looks."
        )
    readers = _rows_that_matter(_slopes(logits[logits.argmax()], weights[-1:])[0])
    if not readers or 0 < sum(row >= prefix for row in readers) < rows * columns:
        return Tokens(
            why_not=f"The class head of {name} does not read the same tokens of every picture, so it is not known "
            "whose attention to follow."
        )
    return Tokens(count, (rows, columns), readers)


def _stays(hearing: _Hearing, x: torch.Tensor, token: int, place: int, grid: tuple[int, int]) -> bool:
    """Whether `token`, seen at the last attention, was itself at every attention before and comes from `place`.

    Where convolutions made the tokens, the neighbouring cells matter too, but no other cell may matter twice as much.
    """
    own = hearing.scores[0, :, token, token].sum()
    picture, *before = _slopes(own, [x, *hearing.weights[:-1]])
    cells = F.adaptive_avg_pool2d(picture.abs().sum(1), grid).flatten()
    return bool(cells[place] > 0.5 * cells.max()) and all(_rows_that_matter(slope) == (token,) for slope in before)


def _slopes(scalar: torch.Tensor, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
    """Derivatives, zero where the scalar does not depend on an input."""
    if not scalar.requires_grad:
        return [torch.zeros_like(one) for one in inputs]
    return list(torch.autograd.grad(scalar, inputs, retain_graph=True, allow_unused=True, materialize_grads=True))


def _rows_that_matter(slope: torch.Tensor) -> tuple[int, ...]:
    return tuple((slope.abs().amax((0, 1, 3)) > 0).nonzero().flatten().tolist())


class _Hearing(TorchFunctionMode):
    """Hears attention weights while it is entered. With `alone`, every token is made to attend to itself only."""

    def __init__(self, alone: bool = False) -> None:
        super().__init__()
        self.alone = alone
        self.weights: list[torch.Tensor] = []
        self.scores = torch.empty(0)  # of the last attention, before the softmax

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return self._attention(*args, **kwargs)
        if func is F.multi_head_attention_forward:
            with self:
                return MULTI_HEAD(*args, **kwargs)
        answer = func(*args, **kwargs)
        if any(func is one for one in SOFTMAX):
            scores = args[0] if args else kwargs["input"]
            dim = args[1] if len(args) > 1 else kwargs.get("dim")
            if scores.ndim > 2 and dim in (-1, scores.ndim - 1):
                return self._heard(scores, answer).clone()  # what flows on may be worked on in place
        return answer

    def _attention(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        attn_mask: torch.Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> torch.Tensor:
        """The fused operation, written out: softmax(query key' * scale + mask) value."""
        if enable_gqa:
            times = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
        scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return F.dropout(self._heard(scores, scores.softmax(-1)), dropout_p) @ value

    def _heard(self, scores: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        self.scores = scores
        if self.alone and weights.shape[-1] == weights.shape[-2]:
            weights = torch.eye(weights.shape[-1]).to(weights).expand_as(weights).clone().detach()
        heard = weights if weights.requires_grad else weights.detach().requires_grad_(True)
        self.weights.append(heard)
        return heard
