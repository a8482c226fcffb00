"""Completeness gap: by what share of what they promise to add up to a map's values miss it.

    |sum of values - (f(x) - f(baseline))| / |f(x) - f(baseline)|

Sundararajan et al., 2017, proposition 1. https://arxiv.org/abs/1703.01365 . 0 where the promise is kept; methods that
promise conservation are held against f(x). Measured when the map was made, of the target itself. It says that the sum
is right, not that its parts lie in the right place: any map can be scaled to a gap of 0.
"""

from xai_core.metrics import METRICS, Maps, Measured, Metric


@METRICS.register
class CompletenessGap(Metric):
    label = "Completeness gap"
    aspect = "where it looks"
    better = "lower"

    def measure(self, maps: Maps) -> list[Measured]:
        found = []
        for method, e in zip(maps.methods, maps.explanations, strict=True):
            why = (
                f"{method.label}: the method does not promise that its values add up to anything."
                if method.promises is None
                else f"The values of {method.label} should add up to zero here, and no share of zero can be missed."
            )
            found.append(Measured(e.gap, why if e.gap is None else ""))
        return found
