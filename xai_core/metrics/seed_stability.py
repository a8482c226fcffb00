"""Seed stability: how far the highest pixels stay where they are when the method draws anew.

    mean over other seeds of |H(map) and H(other)| / |H(map) or H(other)|,   H the highest tenth of the pixels

Ghorbani et al., 2017, hold highest pixels and ranks of two maps against each other, of a changed picture; here the
picture stays and the seed changes. https://arxiv.org/abs/1710.10547 . 1 where chance plays no part, 1/19 where it
decides each pixel alone, a little more where it decides smooth blobs. The detail is the mean rank correlation of all
pixels. A map that comes out flat with another seed counts as 0: nothing of it is left. Asked only of methods that draw.
"""

import numpy as np

from xai_core.agreement import highest, overlap, rank_correlation
from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.records import why_flat
from xai_core.registry import param

SHARE = 0.1  # of the pixels are the highest


@METRICS.register
class SeedStability(Metric):
    label = "Seed stability"
    aspect = "robustness"
    better = "higher"

    seeds: int = param(3, low=1, high=50, label="Seeds", help="Other seeds to make the map with")

    def cost(self, maps: Maps) -> int:
        return self.seeds * sum(method.cost(maps.model).forward for method in maps.methods if method.random)

    def measure(self, maps: Maps) -> list[Measured]:
        rows = [i for i, method in enumerate(maps.methods) if method.random]
        found = [
            Measured(None, f"{method.label} draws nothing at random, so every seed gives this same map.")
            for method in maps.methods
        ]
        if rows:
            seeds = range(1, self.seeds + 1)
            again = [maps.again(maps.x, [maps.target], reseed=seed, rows=rows)[:, 0] for seed in seeds]
            for i, others in zip(rows, zip(*again, strict=True), strict=True):
                found[i] = self.compared(maps.values[i], others)
        return found

    def compared(self, values: np.ndarray, others: tuple[np.ndarray, ...]) -> Measured:
        """One (h, w) map against those of other seeds."""
        top, left = highest(values, SHARE), [other for other in others if not why_flat(other)]
        shared = sum(overlap(top, highest(other, SHARE)) for other in left) / len(others)
        ranked = sum(rank_correlation(values, other) for other in left) / len(others)
        return Measured(float(shared), null=SHARE / (2 - SHARE), details={"rank_correlation": float(ranked)})
