"""Background: ask whether the answer depends on what surrounds the object, and how much of a map lies there.

    share of attribution outside the object, and in a band along the border, against the share of the picture there

The object is what a mask marks as such, or else as evidence, or else an estimate from its colours, which is shown.
Ribeiro et al., 2016, section 6.4, show a network that tells wolves from huskies by the snow behind them.
https://arxiv.org/abs/1602.04938
"""

from __future__ import annotations

from typing import ClassVar

from xai_core.probes import PROBES, Asking, Found, Probe
from xai_core.records import ProbeKind
from xai_core.registry import param


@PROBES.register
class Background(Probe):
    label = "Background and border"
    kind: ClassVar[ProbeKind] = "background"

    object: str = param(
        "marked or estimated",
        choices=("marked or estimated", "marked", "estimated"),
        label="Object",
        help="What a mask marks, what stands out by its colours, or the one where there is the other",
    )
    band: float = param(
        0.1, low=0.02, high=0.4, label="Width of the border", unit="of a side", help="A band all around"
    )
    shifts: int = param(
        39, low=9, high=199, label="Shifted maps", help="The same map moved around by lot: same values, wrong place"
    )

    def cost(self, pictures: int, maps: int) -> int:
        return pictures * (maps + 1)

    def find(self, asking: Asking) -> Found:
        from xai_core.surroundings import measure

        return measure(asking, self)
