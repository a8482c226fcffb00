"""Class contrast: how alike the map is to the map of the runner-up class.

    rank correlation of the map of the target and the map of the likeliest other class

Sixt et al., 2020, compare with a random class; here it is the one that a person would ask about, and the pixels are
compared by rank. https://arxiv.org/abs/1912.09818 . 1 for a map that does not depend on the class, near 0 for one that
has nothing of the other, below 0 where what speaks for the one speaks against the other.
"""

from xai_core.agreement import rank_correlation
from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.records import why_flat


@METRICS.register
class ClassContrast(Metric):
    label = "Class contrast"
    aspect = "randomisation"
    better = "lower"

    def why_not(self, maps: Maps) -> str | None:
        if maps.runner_up is None:
            return f"{self.label} needs a runner-up class, and for {maps.target} there is none."
        return super().why_not(maps)

    def cost(self, maps: Maps) -> int:
        return 1 + maps.cost

    def measure(self, maps: Maps) -> list[Measured]:
        other = maps.runner_up
        assert other is not None
        again = maps.again(maps.x, [other])[:, 0]
        return [
            Measured(None, f"The map for {other.label}, the runner-up, is flat, so there is nothing to compare.")
            if why_flat(two)
            else Measured(rank_correlation(one, two), null=1.0)
            for one, two in zip(maps.values, again, strict=True)
        ]
