"""KernelSHAP: hide sets of superpixels, and fit the linear model whose weights are the superpixels' Shapley values.

    minimise over w:  sum over sets z of k(z) (f(x_z) - f(x_none) - w . z)^2,   with sum of w = f(x) - f(x_none)
    k(z) = (M - 1) / (C(M, |z|) |z| (M - |z|)),   for a set z of the M superpixels that shows |z| of them
    values at a pixel = w of its superpixel / pixels in it

Lundberg and Lee, 2017, theorem 2. https://arxiv.org/abs/1705.07874 . Covert and Lee, 2021, on drawing a set together
with its complement. https://arxiv.org/abs/2012.01536
When `samples` reach for all 2^M sets, the weights are the exact Shapley values and fewer pictures are asked for. Else
the smallest and largest sets are all asked about, as far as they would be drawn anyway, and the rest is drawn by k;
how much is left to chance another seed shows. The sum holds either way: it is a constraint of the fit.
"""

from collections.abc import Sequence

import torch

from xai_core.baselines import BASELINES, baseline
from xai_core.methods import METHODS, PictureByPicture
from xai_core.models import Made, Model
from xai_core.records import Passes, Target
from xai_core.registry import param
from xai_core.shapley import coalitions, fair_shares
from xai_core.superpixels import Superpixels, mean_colours


@METHODS.register
class KernelShap(Superpixels, PictureByPicture):
    label = "KernelSHAP"
    family = "Shapley"
    random = True
    promises = "completeness"

    samples: int = param(500, low=50, high=5000, label="Samples", help="Pictures with hidden superpixels")
    cover: str = param(
        "blur", choices=("segment", *BASELINES), label="Cover", help="What hides; segment: a superpixel's mean colour"
    )

    def cost(self, model: Model) -> Passes:
        return Passes(self.samples)

    def hidden(self, model: Model, picture: torch.Tensor, segments: torch.Tensor, seed: int) -> torch.Tensor:
        """The (3, h, w) picture with every superpixel hidden."""
        if self.cover == "segment":
            return mean_colours(picture, segments)
        return baseline(self.cover, picture[None], model.preprocessing, seed)[0]

    def whole(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        hidden = [self.hidden(model, picture, self.found(model, picture, seed), seed)[None] for picture in x]
        said = [model.scalars(one, [target]) for one, target in zip(hidden, targets, strict=True)]
        return model.scalars(x, targets) - torch.cat(said)

    def attribute_one(self, model: Model, picture: torch.Tensor, target: Target, seed: int) -> torch.Tensor:
        segments = self.found(model, picture, seed)
        sizes = torch.bincount(segments.flatten())
        hidden = self.hidden(model, picture, segments, seed)
        sets, weights = coalitions(len(sizes), self.samples, seed)

        def shown(start: int, stop: int) -> torch.Tensor:
            return torch.where(torch.from_numpy(sets[start:stop])[:, None, segments], picture, hidden)

        said = model.scalars(Made(len(sets), shown), [target] * len(sets)).double().numpy()
        shares, apart = fair_shares(sets, weights, said)
        if not apart:
            model.note(f"{len(sets)} samples cannot tell {len(sizes)} superpixels apart. Take more samples.")
        return (torch.from_numpy(shares) / sizes).to(picture.dtype)[segments]
