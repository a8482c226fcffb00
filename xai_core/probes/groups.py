"""Groups: whether the model errs more often, decides otherwise or looks elsewhere for one group of pictures.

    rates per group, their differences and ratios;   for each region and method, with w_s = n_a n_b / (n_a + n_b),
    shift = sum over strata of w_s (mean share of a group - of the reference) / sum of w_s

Hardt et al., 2016, on rates at one operating point. https://arxiv.org/abs/1610.02413 Strata are bins of the probability
of the explained class: a group whose pictures are harder is less easily taken for one the model looks at otherwise.
Predictions come first, since maps also shift where predictions do not (Adebayo et al., 2022,
https://arxiv.org/abs/2212.04629). p-values are of exact and permutation tests, by Holm's rule over all rates, and over
all regions (quadrants, border, what is marked) and methods. Not Fairlearn's MetricFrame: its bootstrap draws groups
along with pictures, so that a small group vanishes from some draws, and it tells neither p nor what would have been
found. Its rates are the same.
"""

from __future__ import annotations

from typing import ClassVar

from xai_core.probes import PROBES, Asking, Found, Probe
from xai_core.records import ProbeKind
from xai_core.registry import param


@PROBES.register
class Groups(Probe):
    label = "Groups"
    kind: ClassVar[ProbeKind] = "groups"
    fewest: ClassVar[int] = 10

    column: str = param("", label="Column", help="Of labels.csv, whose values are the groups")
    reference: str = param("", label="Reference group", help="That others are held against; empty: the largest")
    positive: str = param("", label="Positive class", help="For rates of true and false positives; empty: none")
    threshold: float = param(
        0.0,
        low=0.0,
        high=1.0,
        label="Operating point",
        help="Probability of the positive class; 0: the most probable class, or 0.5 where classes exclude no other",
    )
    smallest: int = param(10, low=5, high=1000, label="Smallest group", unit="pictures", help="To be tested, not shown")
    bands: str = param(
        "", label="Bands", help="Of numbers: quarters, tens, none, or where they begin, as 18, 40, 65; empty: as needed"
    )
    matched: bool = param(True, label="Match on probability", help="Compare maps within bins of like probability")
    bins: int = param(0, low=0, high=20, label="Bins", help="Of probability; 0: 5 to 20, as many as suit the pictures")
    find_faces: bool = param(False, label="Find faces", help="Compare face, eyes, nose and mouth too, where found")

    def find(self, asking: Asking) -> Found:
        from xai_core.group_comparison import compare

        return compare(asking, self)
