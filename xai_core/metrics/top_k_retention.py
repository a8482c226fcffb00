"""Top-k retention: what share of the model's answer is kept when only the highest pixels of the map stay.

    value = f(x with all but the highest k % covered) / f(x),     drop = 1 - f(x with the highest k % covered) / f(x)

Chattopadhay et al., 2018, whose average drop is 1 - value, with what is below 0 taken as 0, meant over pictures.
https://arxiv.org/abs/1710.11063 . There the picture is multiplied by the map; here pixels stay or are covered, so that
only the order of the values counts; pixels of equal value go in a random order. Above 1 where the rest of the picture
spoke against the target. Undefined where f(x) is not above 0: nothing is a share of that. What a map that knows
nothing gets is read from the random control: a baseline that looks like the target keeps much without any map.
"""

import numpy as np
import torch

from xai_core.baselines import BASELINES
from xai_core.masking import counts, ranks, replaced
from xai_core.metrics import METRICS, Maps, Measured, Metric
from xai_core.registry import param

SMALLEST = float(np.finfo(np.float32).tiny)  # networks answer in float32: what is less is nothing


@METRICS.register
class TopKRetention(Metric):
    label = "Top-k retention"
    aspect = "faithfulness"
    better = "higher"
    null_from_controls = True

    percent: float = param(10.0, low=0.5, high=90.0, label="k", unit="%", help="Share of the pixels that stays")
    baseline: str = param("blur", choices=BASELINES[:3], label="Covered by", help="What takes the place of a pixel")

    def why_not(self, maps: Maps) -> str | None:
        if maps.answer >= SMALLEST:
            return super().why_not(maps)
        return (
            f"The model's answer for {maps.target} is {maps.answer:.3g}, and nothing is a share of an answer that is "
            "not above zero. Look at insertion."
        )

    def cost(self, maps: Maps) -> int:
        return 2 * len(maps)

    def measure(self, maps: Maps) -> list[Measured]:
        behind, _ = maps.behind(self.baseline)
        both, others = torch.cat([behind, maps.x]), torch.cat([maps.x, behind])  # the highest shown, then covered
        highest = np.maximum(1, counts(maps.values[0].size, [self.percent / 100]))
        said = maps.answers(replaced(both, others, ranks(maps.values, maps.seed), highest)).reshape(len(maps), 2)
        return [
            Measured(float(kept / maps.answer), details={"drop": float(1 - left / maps.answer)}) for kept, left in said
        ]
