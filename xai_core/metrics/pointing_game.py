"""Pointing game: whether the highest pixel of a map lies on the marked evidence, or near enough to it.

    1 if the distance from the peak to the mask is at most the tolerance, else 0

Zhang et al., 2016, section 4.1 (there with 15 pixels). https://arxiv.org/abs/1608.00507 . No place finer than one cell
can be read from a coarse map, so the tolerance is by default one cell of the map's own grid, and chance at that
tolerance stands beside it: the share of the picture within reach of the mask. Departure: where several pixels share the
highest value, some within reach and some not, it is a tie, neither hit nor miss. A statement about the picture: a
network may look elsewhere.
"""

from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.registry import param
from xai_core.truth import distances_to


@METRICS.register
class PointingGame(Metric):
    label = "Pointing game"
    aspect = "against ground truth"
    better = "higher"
    needs_mask = True

    tolerance: float = param(
        0.0, low=0.0, high=512.0, label="Tolerance", unit="pixels", help="Still a hit; 0 for one cell of the map's grid"
    )

    def measure(self, maps: Maps) -> list[Measured]:
        assert maps.mask is not None
        distances, found = distances_to(maps.mask), []
        for values, e in zip(maps.values, maps.explanations, strict=True):
            tolerance = self.tolerance or e.cell
            peaks = distances[values == values.max()]
            hits = int((peaks <= tolerance).sum())
            why = f"A tie: {hits} of the {len(peaks)} pixels that share the highest value hit the mark, the others not."
            tie = 0 < hits < len(peaks)
            found.append(
                Measured(
                    None if tie else float(hits > 0),
                    why if tie else "",
                    null=float((distances <= tolerance).mean()),
                    details={"distance": float(peaks.min()), "tolerance": tolerance},
                )
            )
        return found
