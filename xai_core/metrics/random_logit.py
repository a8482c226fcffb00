"""Random logit: how alike the map is to the maps of other classes, drawn at random.

    mean over drawn classes c of SSIM(map of the target, map of c)

Sixt et al., 2020, with the structural similarity. https://arxiv.org/abs/1912.09818 . 1 for a map that every class gets,
as an edge detector gives; near 0 for one that depends on the class. Before they are compared, each map is divided by
its largest absolute value, so that only the shape counts; the range of the similarity goes from the lowest to the
highest value of the two. Places that are blank in both raise it; the detail, the mean rank correlation, looks at the
order of all pixels alike. Departs from the paper: several classes in place of one, and those whose map is flat are left
out.
"""

from dataclasses import replace

import numpy as np

from xai_core.agreement import rank_correlation
from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.records import why_flat
from xai_core.registry import param


@METRICS.register
class RandomLogit(Metric):
    label = "Random logit"
    aspect = "randomisation"
    better = "lower"

    classes: int = param(3, low=1, high=1000, label="Classes", help="Other classes to draw; all where there are fewer")

    def drawn(self, maps: Maps) -> list[int]:
        """The numbers of the other classes."""
        others = [i for i in range(len(maps.model.labels)) if i != maps.target.index]
        draw = np.random.default_rng(maps.seed)
        return sorted(draw.choice(others, min(self.classes, len(others)), replace=False).tolist())

    def why_not(self, maps: Maps) -> str | None:
        if maps.model.identity["task"] == "regression" or len(maps.model.labels) < 2 or maps.target.against is not None:
            return f"{self.label} needs another class to explain, and for {maps.target} there is none."
        return super().why_not(maps)

    def cost(self, maps: Maps) -> int:
        classes = min(self.classes, len(maps.model.labels) - 1)
        own = sum(method.cost(maps.model).forward for method in maps.methods if not method.shares)
        shared = len({method.shares for method in maps.methods if method.shares})
        return shared + classes * own

    def measure(self, maps: Maps) -> list[Measured]:
        targets = [replace(maps.target, index=i, label=maps.model.labels[i]) for i in self.drawn(maps)]
        again = maps.again(maps.x.expand(len(targets), -1, -1, -1), targets).astype(np.float64)
        return [compared(values, others) for values, others in zip(maps.values, again, strict=True)]


def compared(values: np.ndarray, others: np.ndarray) -> Measured:
    """One (h, w) map against the (n, h, w) of other classes."""
    shaped = [other for other in others if not why_flat(other)]
    if not shaped:
        return Measured(None, "The map is flat for every other class that was drawn, so there is nothing to compare.")
    return Measured(
        float(np.mean([similarity(values, other) for other in shaped])),
        null=1.0,
        details={
            "rank_correlation": float(np.mean([rank_correlation(values, other) for other in shaped])),
            "classes": len(shaped),
        },
    )


def similarity(one: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity of two (h, w) maps, each scaled to a largest absolute value of 1."""
    from skimage.metrics import structural_similarity as ssim

    one, other = (values / np.abs(values).max() for values in (one, other))
    both = np.stack([one, other])
    window = min(7, min(one.shape) - 1 + min(one.shape) % 2)  # 7 as usual, and odd
    return float(ssim(one, other, win_size=window, data_range=float(both.max() - both.min())))  # type: ignore[no-untyped-call]
