"""LIME: hide random superpixels, and fit a small linear model to what the network then says.

    minimise over w:  sum over samples z of k(z) (f(x_z) - w_0 - w . z)^2 + ||w||^2
    values at a pixel = w of its superpixel

Ribeiro et al., 2016, equation 1 and section 3.4. https://arxiv.org/abs/1602.04938
Draws, distances (cosine), kernel (width 0.25), hidden colour (the superpixel's mean) and the surrogate are those of the
authors' package, so that the same seed gives the same weights. Its promise is local: the surrogate may fit badly, and
another seed or segmentation may give another map.
"""

import numpy as np
import torch

from xai_core.methods import METHODS, PictureByPicture
from xai_core.models import Made, Model
from xai_core.records import Passes, Target
from xai_core.registry import param
from xai_core.superpixels import Superpixels, mean_colours

KERNEL_WIDTH = 0.25  # the package's default for pictures


@METHODS.register
class Lime(Superpixels, PictureByPicture):
    label = "LIME"
    family = "perturbation"
    random = True

    samples: int = param(500, low=50, high=5000, label="Samples", help="Pictures with hidden superpixels")

    def cost(self, model: Model) -> Passes:
        return Passes(self.samples)

    def attribute_one(self, model: Model, picture: torch.Tensor, target: Target, seed: int) -> torch.Tensor:
        from lime.lime_base import LimeBase
        from sklearn.metrics import pairwise_distances

        segments = self.found(model, picture, seed)
        count = int(segments.max()) + 1
        kept = np.random.RandomState(seed).randint(0, 2, self.samples * count).reshape(self.samples, count)
        kept[0] = 1
        hidden = mean_colours(picture, segments)

        def shown(start: int, stop: int) -> torch.Tensor:
            visible = torch.from_numpy(kept[start:stop])[:, segments] == 1
            return torch.where(visible[:, None], picture, hidden)

        said = model.scalars(Made(self.samples, shown), [target] * self.samples)
        distances = pairwise_distances(kept, kept[:1], metric="cosine").ravel()
        surrogate = LimeBase(
            lambda d: np.sqrt(np.exp(-(d**2) / KERNEL_WIDTH**2)), random_state=np.random.RandomState(seed)
        )
        _, weights, _, _ = surrogate.explain_instance_with_data(
            kept, said.double().numpy()[:, None], distances, 0, count, feature_selection="none"
        )
        by_number = torch.zeros(count, dtype=picture.dtype)
        for number, weight in weights:
            by_number[number] = float(weight)
        return by_number[segments]
