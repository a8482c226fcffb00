"""What an audit will cost, before it is begun: passes of one picture through one model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from xai_core.methods import Method
from xai_core.metrics import Maps, Metric
from xai_core.pipeline import cost_of

if TYPE_CHECKING:
    from xai_core.models import Model

WEIGHED = 720  # passes to hold one map against all checks, about


class Cost(NamedTuple):
    """About how many pictures go forward through the network for one of the set.

    `weighing` is for one whose maps are weighed. `units` are the answers that are kept, without verdicts.
    """

    maps: int
    scores: int
    weighing: int
    units: int


def cost_per_picture(model: Model, methods: Sequence[Method], metrics: Sequence[Metric]) -> Cost:
    """Of all `methods`, the controls among them, that say something about `model`."""
    fitted = [method.fitted(model) for method in methods if method.why_not(model) is None]
    none: Any = None  # no picture is looked at: costs depend on how many maps there are, and on how they are made
    maps = Maps(model, none, none, (none,) * len(fitted), tuple(fitted), none, none, cost_of(model, fitted))
    scores = sum(metric.cost(maps) for metric in metrics)
    weighed = sum(method.family != "control" for method in fitted)
    return Cost(maps.cost, scores, WEIGHED * weighed, 1 + len(fitted) * (1 + len(metrics)))
