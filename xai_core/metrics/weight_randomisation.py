"""Weight randomisation: how alike the map stays when the network's layers are drawn anew, from the head down.

    mean over networks drawn ever further of the rank correlation between the map and theirs

Adebayo et al., 2018, section 3.1, the cascading test. https://arxiv.org/abs/1810.03292 . 1 for a map that does not
depend on what the network has learned, like an edge detector's; near 0 for one that does. The curve goes from the
trained network (1) to one that is all random. A map that goes flat on the way counts as 0: nothing of it is left.
"""

import numpy as np

from xai_core.agreement import rank_correlation
from xai_core.drawing_weights import drawn_layers
from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.records import Curve
from xai_core.registry import param


@METRICS.register
class WeightRandomisation(Metric):
    label = "Weight randomisation"
    aspect = "randomisation"
    better = "lower"

    networks: int = param(8, low=0, high=200, label="Networks", help="To look at on the way down; 0 for every layer")

    def stops(self, maps: Maps) -> np.ndarray:
        """After how many drawn layers the map is made again."""
        layers = len(drawn_layers(maps.model.module))
        looks = min(self.networks, layers) or layers
        stops: np.ndarray = np.rint(np.linspace(0, layers, looks + 1)[1:]).astype(int)
        return stops

    def why_not(self, maps: Maps) -> str | None:
        if not drawn_layers(maps.model.module):
            return f"{self.label} draws layers anew, and {maps.model.name} has no weights."
        return super().why_not(maps)

    def cost(self, maps: Maps) -> int:
        return maps.cost * len(self.stops(maps))

    def measure(self, maps: Maps) -> list[Measured]:
        stops, rows = self.stops(maps), []
        for number, (_, other) in enumerate(maps.model.redrawn(maps.seed), 1):
            if number in stops:
                again = maps.again(maps.x, [maps.target], model=other)[:, 0]
                rows.append([rank_correlation(*pair) for pair in zip(maps.values, again, strict=True)])
        shares = np.concatenate([[0.0], stops / stops[-1]])
        return [
            Measured(
                float(row.mean()),
                null=1.0,
                curve=Curve(shares, np.concatenate([[1.0], row]), "share of layers drawn anew", "rank correlation"),
            )
            for row in np.nan_to_num(np.array(rows).T)
        ]
