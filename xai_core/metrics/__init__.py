"""Metrics, one per file: numbers that say something of a map. To add one, copy the shortest file here and change it."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar, get_args

import numpy as np
import torch

from xai_core.account import Pictures
from xai_core.baselines import baseline
from xai_core.methods import Method
from xai_core.models import Model
from xai_core.records import Better, Curve, Explanation, Target
from xai_core.registry import Component, Registry

Aspect = Literal["faithfulness", "robustness", "randomisation", "complexity", "where it looks", "against ground truth"]
ASPECTS: tuple[Aspect, ...] = get_args(Aspect)
T = TypeVar("T")


class Again(Protocol):
    """Explains other pictures by the same methods, which share their passes."""

    def __call__(
        self,
        x: Pictures,
        targets: Sequence[Target],
        *,
        model: Model | None = None,
        reseed: int = 0,
        rows: Sequence[int] | None = None,
    ) -> np.ndarray:
        """(n, 3, h, w) pictures and a target each to (m, n, h, w) float32 values, one row per map.

        `model` is another door, as those of `redrawn`. `reseed` is added to the seed that each map was made with.
        `rows` are the maps whose methods explain, at least one; None takes all of them.
        """
        ...


@dataclass(frozen=True, eq=False)
class Maps:
    """The maps of one picture and one target, and what a metric may ask about them.

    `model` answers questions about `x` (1, 3, h, w), the picture, once. `values` (m, h, w) float64 are the maps, none
    of them flat; `methods` made them. `mask` (h, w) bool marks the evidence where somebody did. `cost` is how many
    pictures go forward to make all the maps of one picture again.
    """

    model: Model
    x: torch.Tensor
    target: Target
    explanations: tuple[Explanation, ...]
    methods: tuple[Method, ...]
    values: np.ndarray
    again: Again
    cost: int
    seed: int = 0
    mask: np.ndarray | None = None
    _remembered: dict[Hashable, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.explanations)

    def rate(self, logits: torch.Tensor) -> np.ndarray:
        """(n, classes) logits to (n,) float64 of what is explained, as people read it.

        The probability of the target class where there are probabilities, else the target itself: a difference of two
        logits, or a value.
        """
        return self._rated.read(logits.double()).numpy()

    @property
    def in_probability(self) -> bool:
        """Whether answers are probabilities."""
        return self._rated.kind in ("probability", "sigmoid")

    @property
    def _rated(self) -> Target:
        task = self.model.identity["task"]
        if (
            self.target.kind != "logit"
            or task == "regression"
            or (task == "single label" and len(self.model.labels) < 2)
        ):
            return self.target
        return replace(self.target, kind="sigmoid" if task == "multi label" else "probability")

    def answers(self, x: Pictures) -> np.ndarray:
        """(n,) float64: what the model says of each picture, as `rate` reads it."""
        return self.rate(self.model.outputs(x))

    @property
    def logits(self) -> torch.Tensor:
        """(1, classes) of the picture."""
        return self.model.outputs(self.x)

    @property
    def answer(self) -> float:
        """What the model says of the picture itself."""
        return float(self.rate(self.logits)[0])

    def remember(self, key: Hashable, ask: Callable[[], T]) -> T:
        """What `ask` finds, asked once for all metrics that want to know it under `key`."""
        if key not in self._remembered:
            self._remembered[key] = ask()
        found: T = self._remembered[key]
        return found

    def behind(self, kind: str) -> tuple[torch.Tensor, float]:
        """(1, 3, h, w) the picture fully covered by a baseline, and what the model says of that; asked once."""

        def ask() -> tuple[torch.Tensor, float]:
            covered = baseline(kind, self.x, self.model.preprocessing, self.seed)
            return covered, float(self.answers(covered)[0])

        return self.remember(("behind", kind), ask)

    @property
    def runner_up(self) -> Target | None:
        """The likeliest class that is not the target, explained in the same way; None where there is no other."""
        if self.model.identity["task"] == "regression" or self.target.against is not None:
            return None
        order = [i for i in self.logits[0].argsort(descending=True, stable=True).tolist() if i != self.target.index]
        if not order:
            return None
        return replace(self.target, index=order[0], label=self.model.labels[order[0]])


class Measured(NamedTuple):
    """What a metric found of one map: a value, or why there is none."""

    value: float | None
    why: str = ""
    null: float | None = None
    curve: Curve | None = None
    details: Mapping[str, float] = {}


class Metric(Component):
    """A number that says something of a map.

    `aspect` is what it is about. `better` says which way is good; nothing where it only describes. `unit` is empty for
    a pure number. `needs_mask`: it holds the map against marked evidence. `null_from_controls`: what a map that knows
    nothing gets has no formula, and is read from the random control.
    """

    aspect: ClassVar[Aspect]
    better: ClassVar[Better] = ""
    unit: ClassVar[str] = ""
    needs_mask: ClassVar[bool] = False
    null_from_controls: ClassVar[bool] = False

    def why_not(self, maps: Maps) -> str | None:
        """The reason this metric cannot be asked of these maps at all, in one sentence, or None if it can."""
        if self.needs_mask and maps.mask is None:
            return f"{self.label} holds a map against marked evidence, and this picture has no mask. Give one."
        if self.needs_mask and maps.mask is not None and not maps.mask.any():
            return f"{self.label} needs marked evidence, and no pixel that the model sees of this mask is white."
        return None

    def cost(self, maps: Maps) -> int:
        """About how many pictures go forward through the network for all of `maps` together."""
        return 0

    def measure(self, maps: Maps) -> list[Measured]:
        """One finding per map. What does not depend on the map is asked of the network once for all of them."""
        raise NotImplementedError


METRICS: Registry[Metric] = Registry("metric", __name__)
METRICS.discover()
