"""PartitionSHAP: halve the picture again and again, and share what each part adds fairly between its halves.

    gain of a part S beside a context C = f(C and S shown) - f(C shown)
    its half A beside the half B gets     1/2 (gain of A beside C) + 1/2 (gain of A beside C and B)
    values at a pixel = what the smallest part around it got in all contexts / pixels in it

Owen, 1977 (Shapley values for players in unions). https://doi.org/10.1007/978-3-642-45494-3_7 . For pictures: the
partition explainer of shap, the package of Lundberg and Lee, 2017. https://arxiv.org/abs/1705.07874
The part with the most to share is halved first, until the evaluations are spent: detail grows where the target does.
What is not halved is spread evenly, so the values always add up to f(x) - f(everything hidden). Hierarchy, order and
values are those of shap's PartitionExplainer with its Image masker, except that it breaks ties by numpy's global
generator, and that its order changes with the size of its batches.
"""

from collections.abc import Sequence

import torch

from xai_core.baselines import BASELINES, baseline
from xai_core.methods import METHODS, PictureByPicture
from xai_core.models import Made, Model
from xai_core.records import Passes, Target
from xai_core.registry import param
from xai_core.shapley import Context, area, owen


@METHODS.register
class PartitionShap(PictureByPicture):
    label = "PartitionSHAP"
    family = "Shapley"
    promises = "completeness"

    evaluations: int = param(500, low=50, high=10000, label="Evaluations", help="Pictures with hidden parts")
    cover: str = param("blur", choices=BASELINES, label="Cover", help="What a hidden part shows instead")

    def cost(self, model: Model) -> Passes:
        return Passes(self.evaluations // 2 * 2)  # every halving asks about two pictures

    def grid(self, model: Model) -> tuple[int, int]:
        side = round((1.5 * self.evaluations) ** 0.25)  # if all parts were halved alike, each in all its contexts
        return side, side

    def whole(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        return model.scalars(x, targets) - model.scalars(baseline(self.cover, x, model.preprocessing, seed), targets)

    def attribute_one(self, model: Model, picture: torch.Tensor, target: Target, seed: int) -> torch.Tensor:
        hidden = baseline(self.cover, picture[None], model.preprocessing, seed)[0]

        def said(contexts: Sequence[Context]) -> list[float]:
            def shown(start: int, stop: int) -> torch.Tensor:
                visible = torch.zeros(stop - start, 1, *picture.shape[1:], dtype=torch.bool)
                for mask, context in zip(visible, contexts[start:stop], strict=True):
                    for rows, columns in context:
                        mask[:, rows, columns] = True
                return torch.where(visible, picture, hidden)

            found: list[float] = model.scalars(Made(len(contexts), shown), [target] * len(contexts)).tolist()
            return found

        values = torch.zeros(picture.shape[1:], dtype=torch.float64)
        everything = (slice(0, picture.shape[1]), slice(0, picture.shape[2]))
        for part in owen(said, everything, halvings=self.evaluations // 2 - 1):
            values[part.square] += part.share / area(part.square)
        return values.to(picture.dtype)
