"""Expression intensity: whether the model errs less often, and looks elsewhere, the stronger an expression is.

    rank correlation over pictures of a number with: being wrong, the probability, the share of attribution per region

The number is a column, as the intensity that people coded from neutral to peak (Lucey et al., 2010,
https://doi.org/10.1109/CVPRW.2010.5543262), or else the model's own probability of the explained class: then errors say
whether the model is right more often where it is surer. p-values are of permutation tests, by Holm's rule over
predictions, and over regions and methods.
"""

from __future__ import annotations

from typing import ClassVar

from xai_core.probes import PROBES, Asking, Found, Probe
from xai_core.records import ProbeKind
from xai_core.registry import param


@PROBES.register
class ExpressionIntensity(Probe):
    label = "Expression intensity"
    kind: ClassVar[ProbeKind] = "groups"
    fewest: ClassVar[int] = 10

    column: str = param("", label="Column", help="Of numbers, as an intensity; empty: the probability of the class")
    buckets: int = param(4, low=2, high=10, label="Buckets", help="Of about as many pictures each, to be shown")
    smallest: int = param(10, low=5, high=1000, label="Smallest set", unit="pictures", help="For a trend to be tested")
    find_faces: bool = param(False, label="Find faces", help="Compare face, eyes, nose and mouth too, where found")

    def find(self, asking: Asking) -> Found:
        from xai_core.group_trend import along

        return along(asking, self)
