"""Backward rules: operations of a network pass back something other than their derivative; values stay as they are.

A rule belongs to an operation (`relu`, `softmax`, `matmul`), not to a layer. While `reading` is entered, every torch
function of this thread passes through here before it runs, so that functional calls, fused attention, in-place and
shared activations are met, and nothing in the network is ever changed.

    with rules.reading(pictures=len(x)):
        torch.autograd.grad(network(x)[:, target].sum(), x)

A rule is written as a stand-in: an expression with the operation's inputs whose derivative is what shall be passed
back. It is worked out only when the backward pass gets there. An operation without a rule passes back its derivative;
what that breaks of a promised sum, the gap tells.

    GuidedRules         only what speaks for the target passes a ReLU      Springenberg et al., 2015
    DifferenceRules     what has changed by how much: DeepLIFT             Shrikumar et al., 2017
    RelevanceRules      the score is shared out, layer by layer: LRP       Bach et al., 2015
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

Operation = Callable[..., torch.Tensor]
StandIn = Callable[..., torch.Tensor]  # (what arrives from above, *inputs) to the expression that is derived instead
Handler = Callable[..., Any]  # (operation, *arguments) to the operation's value, or NotImplemented: no rule for these

NEAR = 1e-3  # two numbers this close, for their size: a quotient of float32 differences is noise there, the slope exact
GATES = frozenset({"sigmoid", "hardsigmoid"})  # they say how much of another signal passes
ACTIVATIONS = frozenset({
    "relu", "relu6", "hardtanh", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "hardswish", "softplus",
    "softsign", "tanhshrink", "tanh", "logsigmoid", "log_sigmoid",
})  # fmt: skip
ELEMENTWISE = GATES | ACTIVATIONS | frozenset({
    "exp", "expm1", "log", "log1p", "sqrt", "rsqrt", "reciprocal", "rdiv", "rtruediv", "pow", "rpow", "square", "abs",
    "erf", "sin", "cos", "clamp", "clamp_min", "clamp_max", "clip",
})  # fmt: skip
PRODUCTS = frozenset({"mul", "multiply", "matmul", "rmatmul", "bmm", "mm", "einsum"})  # linear in each of two tensors
QUOTIENTS = frozenset({"div", "divide", "true_divide", "truediv"})


class Rules:
    """Which operation passes back what. One object serves one question to the network."""

    def handler(self, name: str) -> Handler | None:
        """What answers for the operation called `name`, or None: it runs as it is."""
        raise NotImplementedError

    @contextmanager
    def reading(self, pictures: int) -> Iterator[None]:
        """Around the forward and the backward pass of one batch that explains so many pictures."""
        with _Dispatch(self):
            yield


class GuidedRules(Rules):
    """Where a ReLU was active, it passes back what is above zero, and nothing elsewhere.

    Springenberg et al., 2015, on deconvolution. https://arxiv.org/abs/1412.6806
    """

    def handler(self, name: str) -> Handler | None:
        return self._relu if name in RELUS else None

    def _relu(self, run: Operation, *inputs: Any, **settings: Any) -> torch.Tensor:
        value = run(*inputs, **settings)
        return hooked(value, lambda above: above.clamp(min=0)) if depends(value) else value


RELUS = frozenset({"relu", "relu6"})


def without_relu(label: str, name: str, operations: Set[str]) -> str | None:
    """The reason why guided rules change nothing about the network called `name`, or None if they do."""
    if RELUS & operations:
        return None
    return f"{label} is the plain gradient on {name}: it has no ReLU. Choose saliency instead."


def out_of_reach(label: str, name: str, operations: Set[str]) -> str | None:
    """The reason why rules cannot follow what the network called `name` does, or None if they can.

    torch runs the whole of `nn.MultiheadAttention` as one operation, with nothing of its inside passing through here.
    """
    if "multi_head_attention_forward" not in operations:
        return None
    return (
        f"{label} has no rule for nn.MultiheadAttention, which {name} runs: its inside cannot be followed. Choose "
        "integrated gradients."
    )


class Operations(TorchFunctionMode):
    """Collects the `names` of the operations that run on what depends on the picture."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_function__(
        self, func: Operation, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        settings = kwargs or {}
        value: Any = func(*args, **settings)
        if any(map(depends, value if isinstance(value, tuple | list) else (value,))):
            self.names.add(name_of(func, args, settings))
        return value


class _Dispatch(TorchFunctionMode):
    """Hands each operation on what depends on the picture to its rule."""

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self.rules = rules

    def __torch_function__(
        self, func: Operation, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        settings = kwargs or {}
        handler = self.rules.handler(name_of(func, args, settings))
        if handler is None:
            return func(*args, **settings)
        # as positions, whichever way they were given: a rule names its inputs by its own words
        settings = {**settings}
        given = (*args, *(settings.pop(word) for word in ("input", "other") if word in settings))
        inplace = settings.pop("inplace", False) or (func.__name__[-1] == "_" != func.__name__[-2])
        if not inplace:
            value = handler(func, *given, **settings)
            return func(*args, **(kwargs or {})) if value is NotImplemented else value

        # on a copy, so that what the rule keeps stays as it was; then in place, for whoever else holds the tensor
        def apart(first: torch.Tensor, *rest: Any, **more: Any) -> Any:
            return func(first.clone(), *rest, **more)

        value = handler(apart, given[0].clone(), *given[1:], **settings)
        return func(*args, **(kwargs or {})) if value is NotImplemented else given[0].copy_(value)


def name_of(func: Operation, args: tuple[Any, ...], settings: dict[str, Any]) -> str:
    """One name for `torch.relu`, `F.relu`, `Tensor.relu_` and the like."""
    name = func.__name__.strip("_")
    if name == "hardtanh" and settings.get("min_val", args[1] if len(args) > 1 else -1) == 0:
        return "relu6"  # as torch's own module writes it
    return name


def depends(value: Any) -> bool:
    """Whether it is a tensor that depends on the picture: the weights are frozen."""
    return isinstance(value, torch.Tensor) and value.requires_grad


def ruled(run: Operation, stand_in: StandIn, *inputs: torch.Tensor) -> torch.Tensor:
    """The value of `run(*inputs)`, with the derivative of `stand_in(what arrives, *inputs)`."""
    value: torch.Tensor = _Ruled.apply(run, stand_in, *inputs)
    return value


def hooked(value: torch.Tensor, hook: Callable[[torch.Tensor], torch.Tensor | None]) -> torch.Tensor:
    """The same value. `hook` is told what arrives there, and may pass on something else."""
    value.register_hook(hook)  # type: ignore[no-untyped-call]
    return value


class _Ruled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Operation, stand_in: StandIn, *inputs: torch.Tensor) -> torch.Tensor:
        ctx.stand_in = stand_in
        ctx.save_for_backward(*inputs)
        return run(*inputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, above: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        inputs = [kept.detach().requires_grad_() for kept in ctx.saved_tensors]
        with torch.enable_grad():
            expression = ctx.stand_in(above, *inputs)
            found = torch.autograd.grad(expression, inputs, above, allow_unused=True)
        return None, None, *found


def quotient(function: Operation, x: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """(f(x) - f(start)) / (x - start) of each number, which is the slope where the two are close.

    Where that is not a number (infinite in both, or a slope at a kink without one) nothing has changed: zero.
    """
    with torch.no_grad():
        way = x - start
        found = (function(x) - function(start)) / way
        near = way.abs() <= NEAR * (x.abs() + start.abs())
        if bool(near.any()):
            middle = ((x + start) / 2).requires_grad_()
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(function(middle).sum(), middle)
            found = torch.where(near, slope, found)
        return found.nan_to_num(0, 0, 0)


def per_channel(weight: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """(channels,) to the shape that multiplies (n, channels, ...)."""
    return weight.view(1, -1, *[1] * (like.dim() - 2))
