"""Layer-wise relevance propagation as gradient x input: a rule for every operation.

What an operation passes back, times its input, is its inputs' share of the relevance R, which is what arrived times its
output. So a rule is a different derivative, and relevance never has to be divided by an activation that may be zero.

    sums, means, pooling         shares go by contribution: the derivative itself           Bach et al., 2015
    linear layers                by contribution, what has the outcome's sign favoured      Montavon et al., 2019
    functions of one number      relevance passes as it is: slope f(x)/x                    Bach et al., 2015
    gates                        held constant: they say how much of a signal passes        Arras et al., 2017
    one over x, norms            held constant: they scale                                  Ali et al., 2022
    attention                    weights held constant, or they get a share                 Achtibat et al., 2024
    other products               half to each factor                                        Achtibat et al., 2024

Bach: https://doi.org/10.1371/journal.pone.0130140 ; Montavon: https://doi.org/10.1007/978-3-030-28954-6_10 ;
Arras: https://arxiv.org/abs/1706.07206 ; Ali: https://arxiv.org/abs/2202.07304 ; Achtibat:
https://arxiv.org/abs/2402.05602
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from xai_core.rules import (
    ELEMENTWISE,
    GATES,
    PRODUCTS,
    QUOTIENTS,
    Handler,
    Operation,
    Rules,
    depends,
    hooked,
    per_channel,
    quotient,
    ruled,
)

AFFINE = frozenset({"add", "sub", "subtract", "rsub", "addcmul", "addmm", "baddbmm"})
SCALES = frozenset({"norm", "vector_norm", "linalg_vector_norm", "var", "std"})


class RelevanceRules(Rules):
    """`gamma` of a linear layer favours contributions with the sign of the outcome: one for `convolutions`, one for
    `dense` layers; 0 favours none, infinity takes no others. `epsilon`, a share of the root mean square of a layer's
    outputs, is withheld where nothing is favoured. With `through_attention`, relevance also flows to what attention
    compares; else its weights are held constant.

    `absorbed` is the relevance that went to biases and to other tensors that do not depend on the picture.
    """

    def __init__(self, convolutions: float, dense: float, epsilon: float, through_attention: bool) -> None:
        self.convolutions, self.dense, self.epsilon = convolutions, dense, epsilon
        self.through_attention = through_attention
        self._batches: list[torch.Tensor] = []
        self._here = torch.zeros(0)
        self._last: _Convolved | None = None

    @property
    def absorbed(self) -> torch.Tensor:
        """(pictures,) float64, of all batches that were read to their end."""
        return torch.cat(self._batches)

    @contextmanager
    def reading(self, pictures: int) -> Iterator[None]:
        self._here = torch.zeros(pictures, dtype=torch.float64)
        try:
            with super().reading(pictures):
                yield
            self._batches.append(self._here)
        finally:
            self._last = None

    def handler(self, name: str) -> Handler | None:
        if name == "relu":
            return None  # its derivative is f(x)/x already
        if name in GATES or name in SCALES:
            return _held_constant
        if name in ELEMENTWISE:
            return self._elementwise
        if name in PRODUCTS:
            return _product
        if name in QUOTIENTS:
            return _quotient
        if name in AFFINE:
            return self._affine
        return getattr(self, f"_on_{name}", None)

    def absorb(self, relevance: torch.Tensor) -> None:
        """Book what constants took. Rows belong to pictures in order, also where windows or heads are rows."""
        self._here += relevance.detach().cpu().double().reshape(len(self._here), -1).sum(1)

    # linear layers: outputs z = sum of contributions x_i w_i, plus a bias ---------------------------------------------

    def _on_linear(self, run: Operation, x: Any, weight: Any, bias: Any = None) -> Any:
        if not depends(x) or depends(weight):
            return NotImplemented
        layer = _Linear(run, weight, bias, self.dense, axis=-1)
        return ruled(layer, lambda above, x: self._shared(above, x, layer), x)

    def _on_conv2d(self, run: Operation, x: Any, weight: Any, bias: Any = None, *rest: Any, **settings: Any) -> Any:
        if not depends(x) or depends(weight):
            return NotImplemented

        def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
            return run(x, weight, bias, *rest, **settings)

        layer = _Linear(convolve, weight, bias, self.convolutions, axis=1)
        value = ruled(layer, lambda above, x: self._shared(above, x, layer), x)
        self._last = _Convolved(layer, x, value, value._version)
        return value

    _on_conv1d = _on_conv2d

    def _on_batch_norm(self, run: Operation, x: Any, *rest: Any, **settings: Any) -> Any:
        """Merged into the convolution that it follows, as is canonical; else a linear layer of its own."""
        if len(rest) > len(BATCH_NORM):  # torch.batch_norm, which takes them in another order
            return NotImplemented
        given = dict(zip(BATCH_NORM[: len(rest)], rest, strict=True)) | settings
        mean, variance = given["running_mean"], given["running_var"]
        if not depends(x) or given.get("training") or mean is None:
            return NotImplemented
        scale = (variance + given.get("eps", 1e-5)).rsqrt()
        scale = scale if given.get("weight") is None else scale * given["weight"]
        shift = -mean * scale if given.get("bias") is None else given["bias"] - mean * scale
        before, source = self._last, x
        if before is not None and x is before.value and x._version == before.version:
            source, layer = before.x, before.layer.scaled(scale, shift)
        else:
            layer = _Linear(_scale_and_shift, scale, shift, self.convolutions, axis=1)
        normalised = x.detach()
        return ruled(
            lambda _: run(normalised, *rest, **settings), lambda above, x: self._shared(above, x, layer), source
        )

    def _shared(self, above: torch.Tensor, x: torch.Tensor, layer: _Linear) -> torch.Tensor:
        """Relevance in proportion to x_i w_i + gamma x_i w_i [if it has the sign of z], over their sum.

        For inputs above zero and z above zero that is the gamma rule of Montavon et al., and the z-plus rule where
        gamma is infinite (the second term alone). With gamma = 0 it is the epsilon rule.
        """
        plain = layer.run(x, layer.weight, None)
        bias = layer.bias_like(plain)
        outcome = plain.detach() + bias
        if layer.gamma == 0:
            size = outcome.square().mean(tuple(range(1, outcome.dim())), keepdim=True).sqrt()
            whole = outcome + self.epsilon * size * torch.where(outcome < 0, -1.0, 1.0)
            parts, constant = plain, bias
        else:
            up = layer.run(x.clamp(min=0), layer.weight.clamp(min=0), None)
            if bool((x < 0).any()):
                up = up + layer.run(x.clamp(max=0), layer.weight.clamp(max=0), None)
            own, favoured = (0.0, 1.0) if math.isinf(layer.gamma) else (1.0, layer.gamma)
            positive = outcome > 0
            parts = own * plain + favoured * torch.where(positive, up, plain - up)
            constant = own * bias + favoured * torch.where(positive, bias.clamp(min=0), bias.clamp(max=0))
            whole = parts.detach() + constant
        share = torch.where(outcome == 0, 0.0, outcome / whole)
        if layer.bias is not None:
            self.absorb(above * share * constant)
        return parts * share

    # sums: what does not depend on the picture takes its share -------------------------------------------------------

    def _affine(self, run: Operation, *inputs: Any, **settings: Any) -> Any:
        """One of the inputs depends on the picture; what the operation says of zero there is the constant."""
        if sum(map(depends, inputs)) != 1:
            return NotImplemented
        still = [t.shape if depends(t) else t for t in inputs]

        def book(above: torch.Tensor) -> None:
            constant = run(*(above.new_zeros(t) if isinstance(t, torch.Size) else t for t in still), **settings)
            self.absorb(torch.where(above == 0, 0.0, above * constant))  # a mask is minus infinity, where 0 arrives

        return hooked(run(*inputs, **settings), book)

    def _on_cat(self, run: Operation, tensors: Sequence[torch.Tensor], *rest: Any, **settings: Any) -> Any:
        if all(map(depends, tensors)) or not any(map(depends, tensors)):
            return NotImplemented
        shapes, still = [t.shape for t in tensors], [None if depends(t) else t for t in tensors]

        def book(above: torch.Tensor) -> None:
            parts = [above.new_zeros(shape) if t is None else t for t, shape in zip(still, shapes, strict=True)]
            self.absorb(above * run(parts, *rest, **settings))

        return hooked(run(tensors, *rest, **settings), book)

    # functions of one number, and normalisations ----------------------------------------------------------------------

    def _elementwise(self, run: Operation, x: Any, *rest: Any, **settings: Any) -> Any:
        """What the function says of zero is a constant. One without a value at zero (one over x) is a scale."""
        if not depends(x) or any(map(depends, rest)):
            return NotImplemented

        def function(t: torch.Tensor) -> torch.Tensor:
            return run(t, *rest, **settings)

        with torch.no_grad():
            at_zero = function(x.new_zeros(()))
        if not bool(torch.isfinite(at_zero)):
            return function(x).detach()

        def passed(above: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            if bool(at_zero):
                self.absorb(above * at_zero)
            return x * quotient(function, x, torch.zeros_like(x))

        return ruled(function, passed, x)

    def _on_layer_norm(
        self, run: Operation, x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5,
        *_: Any,
    ) -> Any:  # fmt: skip
        def scaled(above: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            if bias is not None:
                self.absorb(above * bias)
            even = _standardised(x, tuple(range(-len(shape), 0)), eps)
            return even if weight is None else even * weight

        return ruled(lambda x: run(x, shape, weight, bias, eps), scaled, x) if depends(x) else NotImplemented

    def _on_group_norm(
        self, run: Operation, x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
    ) -> Any:
        def scaled(above: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            if bias is not None:
                self.absorb(above * per_channel(bias, x))
            even = _standardised(x.reshape(len(x), groups, -1), (2,), eps).reshape(x.shape)
            return even if weight is None else even * per_channel(weight, x)

        return ruled(lambda x: run(x, groups, weight, bias, eps), scaled, x) if depends(x) else NotImplemented

    def _on_rms_norm(
        self, run: Operation, x: Any, shape: Sequence[int], weight: Any = None, eps: float | None = None
    ) -> Any:
        if not depends(x):
            return NotImplemented
        least = torch.finfo(x.dtype).eps if eps is None else eps
        scale = (x.detach().square().mean(tuple(range(-len(shape), 0)), keepdim=True) + least).rsqrt()
        return x * scale if weight is None else x * scale * weight

    def _on_normalize(
        self, run: Operation, x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None
    ) -> Any:
        return x / x.detach().norm(p, dim, keepdim=True).clamp_min(eps) if depends(x) else NotImplemented

    # attention --------------------------------------------------------------------------------------------------------

    def _on_softmax(self, run: Operation, x: Any, *rest: Any, **settings: Any) -> Any:
        """Held constant, or by its derivative, which is the softmax rule of Achtibat et al. Not that of the output."""
        held = depends(x) and x.dim() > 2 and not self.through_attention
        return run(x, *rest, **settings).detach() if held else NotImplemented

    def _on_scaled_dot_product_attention(
        self, run: Operation, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
        is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> Any:  # fmt: skip
        more = {"attn_mask": attn_mask, "is_causal": is_causal, "scale": scale, "enable_gqa": enable_gqa}
        if not self.through_attention:
            return run(*(t.detach() if depends(t) else t for t in (query, key)), value, **more)
        masked = attn_mask is not None and attn_mask.dtype == torch.bool
        if not all(map(depends, (query, key, value))) or is_causal or enable_gqa or masked:
            return NotImplemented

        def apart(_: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            scores = _halved((q * (q.shape[-1] ** -0.5 if scale is None else scale)) @ k.mT)
            weights = (scores if attn_mask is None else scores + attn_mask).softmax(-1)
            return _halved(weights @ v)

        return ruled(lambda *inputs: run(*inputs, **more), apart, query, key, value)


BATCH_NORM = ("running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")


@dataclass(frozen=True)
class _Linear:
    """`run(x, weight, bias)`, linear in `x` and in `weight`, with the bias along `axis` of its output."""

    run: Operation
    weight: torch.Tensor
    bias: torch.Tensor | None
    gamma: float
    axis: int

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.run(x, self.weight, self.bias)

    def bias_like(self, outcome: torch.Tensor) -> torch.Tensor:
        if self.bias is None:
            return outcome.new_zeros(())
        return self.bias if self.axis == -1 else per_channel(self.bias, outcome)

    def scaled(self, scale: torch.Tensor, shift: torch.Tensor) -> _Linear:
        """This layer, then another that multiplies and shifts its channels."""
        weight = self.weight * scale.view(-1, *[1] * (self.weight.dim() - 1))
        return replace(self, weight=weight, bias=shift if self.bias is None else shift + self.bias * scale)


class _Convolved(NamedTuple):
    """The last convolution, should a batch normalisation of its output come next."""

    layer: _Linear
    x: torch.Tensor
    value: torch.Tensor
    version: int  # changed in place since, it is its output no longer


def _scale_and_shift(x: torch.Tensor, scale: torch.Tensor, shift: torch.Tensor | None) -> torch.Tensor:
    return x * per_channel(scale, x) + (0 if shift is None else per_channel(shift, x))


def _standardised(x: torch.Tensor, dims: tuple[int, ...], eps: float) -> torch.Tensor:
    """Deviations from the mean over their size, which is held constant."""
    deviation = x - x.mean(dims, keepdim=True)
    return deviation * (deviation.detach().square().mean(dims, keepdim=True) + eps).rsqrt()


def _held_constant(run: Operation, *inputs: Any, **settings: Any) -> torch.Tensor:
    return run(*inputs, **settings).detach()


def _halved(value: torch.Tensor) -> torch.Tensor:
    return hooked(value, lambda above: above / 2)


def _product(run: Operation, *factors: Any, **settings: Any) -> Any:
    """Of two factors that depend on the picture, each takes half."""
    return _halved(run(*factors, **settings)) if sum(map(depends, factors)) == 2 else NotImplemented


def _quotient(run: Operation, a: Any, b: Any, **settings: Any) -> Any:
    return run(a, b.detach(), **settings) if depends(b) else NotImplemented
