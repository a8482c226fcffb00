"""DeepLIFT's multipliers for every operation, such that changes of the inputs times multipliers give the change.

The first half of a batch are the pictures, the second half what each is compared with. a and b are a picture's values,
a' and b' those of its counterpart. Operations are taken apart into two exact rules:

    f(a) - f(a') = (a - a') m,   m = (f(a) - f(a')) / (a - a')          the rescale rule, for functions of one number
    a b - a' b'  = (a - a') (b + b')/2  +  (b - b') (a + a')/2          for products

The first is Shrikumar et al., 2017, section 3.5.2 (https://arxiv.org/abs/1704.02685); the second is what Shapley values
give the factors of a product. Multipliers obey a chain rule (their equation 3), so that softmax, attention,
squeeze-excite and the normalisations, which are sums, products and functions of one number, are exact as well: Lundberg
and Lee, 2017 (https://arxiv.org/abs/1705.07874); Chen, Lundberg and Lee, 2022 (https://arxiv.org/abs/2105.00108).
An operation that is not named below (`glu`, `lerp`, `where`) passes back its derivative: the gap tells what that costs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from xai_core.rules import ELEMENTWISE, PRODUCTS, QUOTIENTS, Handler, Rules, depends, per_channel, quotient, ruled

Function = Callable[..., torch.Tensor]


class DifferenceRules(Rules):
    """Every operation passes back multipliers. A batch is the pictures, then as many to compare them with."""

    def handler(self, name: str) -> Handler | None:
        if name in ELEMENTWISE:
            return _elementwise
        if name in PRODUCTS:
            return _product
        if name in QUOTIENTS:
            return _quotient
        return OTHERS.get(name)


# the two rules, and what is made of them ----------------------------------------------------------------------------


def rescaled(function: Function, x: torch.Tensor) -> torch.Tensor:
    """A function of one number, on each number of `x`."""
    return ruled(function, lambda _, x: x * _twice(quotient(function, *x.chunk(2))), x)


def shared(function: Function, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """A function that is linear in `a` and linear in `b`."""
    return ruled(function, lambda _, a, b: function(a, _mean(b)) + function(_mean(a), b), a, b)


def divided(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """q = a / b by the rule for the product a = q b: no multiplier is larger than two over the larger b.

    By way of 1/b it would grow beyond bounds where a normalisation meets an even picture.
    """

    def solved(_: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return (a - _mean(a.detach() / b.detach()) * b) / _mean(b)

    return ruled(torch.div, solved, a, b)


def length(x: torch.Tensor, dim: Any, keepdim: bool) -> torch.Tensor:
    return rescaled(torch.sqrt, rescaled(torch.square, x).sum(dim, keepdim=keepdim))


def size(x: torch.Tensor, dim: Any, eps: float) -> torch.Tensor:
    """The root of the mean square, as normalisations take it."""
    return rescaled(torch.sqrt, rescaled(torch.square, x).mean(dim, keepdim=True) + eps)


def softmax(x: torch.Tensor, dim: int) -> torch.Tensor:
    """exp(x - log(sum of exp(x))), with the shift that keeps exp in range common to both halves."""
    with torch.no_grad():
        first, second = x.chunk(2)
        shift = torch.maximum(first, second).amax(dim, keepdim=True)
        total = torch.logsumexp(x, dim, keepdim=True)

        def multiplier(t: torch.Tensor, shift: torch.Tensor | float) -> torch.Tensor:
            return _twice(quotient(torch.exp, *(t - _twice(shift) if isinstance(shift, torch.Tensor) else t).chunk(2)))

        weights = multiplier(x, shift) / multiplier(total, shift)
        slope = multiplier(x - total, 0.0)
    return slope * (x - (weights * x).sum(dim, keepdim=True))


def winner(flat: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """The largest along the last axis, found at `places`: the larger maximum's place gets the change.

    With y > y' that is y - y' <= a_i - a'_i at the picture's place i, so that a multiplier lies in 0..1, and likewise
    for y < y'. As shap and Captum do it.
    """
    y, y_start = flat.detach().gather(-1, places).chunk(2)
    here, there = places.chunk(2)
    chosen = flat.gather(-1, _twice(torch.where(y >= y_start, here, there)))
    a, a_start = chosen.detach().chunk(2)
    multiplier = torch.where(a == a_start, 1, (y - y_start) / (a - a_start))
    return chosen * _twice(multiplier)


# which operation is answered how ------------------------------------------------------------------------------------


def _elementwise(run: Function, x: Any, *rest: Any, **settings: Any) -> Any:
    if not _paired(x) or any(map(depends, rest)):
        return NotImplemented
    return rescaled(lambda t: run(t, *rest, **settings), x)


def _product(run: Function, *factors: Any, **settings: Any) -> Any:
    moving = [i for i, factor in enumerate(factors) if depends(factor)]
    if len(moving) != 2 or not _paired(*(factors[i] for i in moving)):
        return NotImplemented

    def function(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        given = list(factors)
        given[moving[0]], given[moving[1]] = a, b
        return run(*given, **settings)

    return shared(function, *(factors[i] for i in moving))


def _quotient(run: Function, a: Any, b: Any, **settings: Any) -> Any:
    if not _paired(b) or settings:
        return NotImplemented
    if not depends(a):
        return NotImplemented if isinstance(a, torch.Tensor) and a.dim() else rescaled(lambda t: run(a, t), b)
    return ruled(run, lambda _, a, b: divided(a, b), a, b) if _paired(a, b) else NotImplemented


def _layer_norm(
    run: Function, x: Any, shape: Sequence[int], weight: Any = None, bias: Any = None, eps: float = 1e-5, *_: Any
) -> Any:
    dims = tuple(range(-len(shape), 0))

    def apart(_: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        deviation = x - x.mean(dims, keepdim=True)
        return _times(divided(deviation, size(deviation, dims, eps)), weight)

    return ruled(lambda x: run(x, shape, weight, bias, eps), apart, x) if _paired(x) else NotImplemented


def _group_norm(run: Function, x: Any, groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5) -> Any:
    def apart(_: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(len(x), groups, -1)
        deviation = rows - rows.mean(2, keepdim=True)
        even = divided(deviation, size(deviation, 2, eps)).reshape(x.shape)
        return _times(even, None if weight is None else per_channel(weight, x))

    return ruled(lambda x: run(x, groups, weight, bias, eps), apart, x) if _paired(x) else NotImplemented


def _rms_norm(run: Function, x: Any, shape: Sequence[int], weight: Any = None, eps: float | None = None) -> Any:
    dims = tuple(range(-len(shape), 0))

    def apart(_: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        least = torch.finfo(x.dtype).eps if eps is None else eps
        return _times(divided(x, size(x, dims, least)), weight)

    return ruled(lambda x: run(x, shape, weight, eps), apart, x) if _paired(x) else NotImplemented


def _norm(run: Function, x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    if not _paired(x) or dim is None or p not in ("fro", 2):
        return NotImplemented
    return ruled(lambda x: run(x, p, dim, keepdim), lambda _, x: length(x, dim, keepdim), x)


def _normalize(run: Function, x: Any, p: float = 2.0, dim: int = 1, eps: float = 1e-12, out: Any = None) -> Any:
    if not _paired(x) or p != 2:
        return NotImplemented

    def apart(_: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return divided(x, rescaled(lambda t: t.clamp(min=eps), length(x, dim, True)))

    return ruled(lambda x: run(x, p, dim, eps), apart, x)


def _softmax(run: Function, x: Any, *rest: Any, **settings: Any) -> Any:
    dim = settings.get("dim", rest[0] if rest else None)
    if not _paired(x) or dim is None:
        return NotImplemented
    return ruled(lambda x: run(x, *rest, **settings), lambda _, x: softmax(x, dim), x)


def _attention(
    run: Function, query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    masked = attn_mask is not None and attn_mask.dtype == torch.bool
    if not _paired(query, key, value) or is_causal or enable_gqa or masked:
        return NotImplemented

    def apart(_: torch.Tensor, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        scores = shared(torch.matmul, q * (q.shape[-1] ** -0.5 if scale is None else scale), k.mT)
        scores = scores if attn_mask is None else scores + attn_mask
        return shared(torch.matmul, ruled(lambda x: x.softmax(-1), lambda _, x: softmax(x, -1), scores), v)

    return ruled(lambda *inputs: run(*inputs, attn_mask=attn_mask, scale=scale), apart, query, key, value)


def _max_pool2d(run: Function, x: Any, *rest: Any, return_indices: bool = False, **settings: Any) -> Any:
    if not _paired(x) or return_indices or len(rest) > 5:
        return NotImplemented

    def apart(_: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        places = F.max_pool2d(x.detach(), *rest, return_indices=True, **settings)[1]
        return winner(x.flatten(2), places.flatten(2)).reshape(places.shape)

    return ruled(lambda x: run(x, *rest, **settings), apart, x)


def _adaptive_max_pool2d(run: Function, x: Any, output_size: Any, return_indices: bool = False) -> Any:
    def apart(_: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        places = F.adaptive_max_pool2d(x.detach(), output_size, return_indices=True)[1]
        return winner(x.flatten(2), places.flatten(2)).reshape(places.shape)

    return ruled(lambda x: run(x, output_size), apart, x) if _paired(x) and not return_indices else NotImplemented


def _amax(run: Function, x: Any, dim: Any = (), keepdim: bool = False) -> Any:
    dims = [d % x.dim() for d in ((dim,) if isinstance(dim, int) else dim)]
    if not _paired(x) or not dims or 0 in dims:
        return NotImplemented

    def apart(_: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        others = [d for d in range(x.dim()) if d not in dims]
        flat = x.permute(*others, *dims).flatten(len(others))
        found = winner(flat, flat.detach().argmax(-1, keepdim=True))
        return found.reshape(x.detach().amax(dims, keepdim=keepdim).shape)

    return ruled(lambda x: run(x, dim, keepdim), apart, x)


OTHERS: dict[str, Handler] = {
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "rms_norm": _rms_norm,
    "norm": _norm,
    "normalize": _normalize,
    "softmax": _softmax,
    "scaled_dot_product_attention": _attention,
    "max_pool2d": _max_pool2d,
    "adaptive_max_pool2d": _adaptive_max_pool2d,
    "amax": _amax,
    "prelu": _elementwise,
}


# halves -------------------------------------------------------------------------------------------------------------


def _paired(*tensors: Any) -> bool:
    """Whether these depend on the picture and all hold pictures, then counterparts, along their first axis."""
    return all(depends(t) and t.dim() and len(t) == len(tensors[0]) and len(t) % 2 == 0 for t in tensors)


def _twice(half: torch.Tensor) -> torch.Tensor:
    return torch.cat([half, half])


def _mean(x: torch.Tensor) -> torch.Tensor:
    """(a + a')/2, for both halves."""
    first, second = x.detach().chunk(2)
    return _twice((first + second) / 2)


def _times(x: torch.Tensor, weight: Any) -> torch.Tensor:
    return x if weight is None else x * weight
