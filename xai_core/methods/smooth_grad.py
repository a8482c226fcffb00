"""SmoothGrad: the mean of the gradients at many noisy copies of the picture, without the speckle of one gradient.

    mean      max over channels of |mean over draws of g|         g = d target / dx at x + noise
    square    max over channels of mean over draws of g^2
    variance  max over channels of variance over draws of g

Smilkov et al., 2017, section 3 (mean). https://arxiv.org/abs/1706.03825 ; Hooker et al., 2019, SmoothGrad-Squared.
https://arxiv.org/abs/1806.10758 ; Adebayo et al., 2018, VarGrad (variance). https://arxiv.org/abs/1810.03307
Noise is Gaussian; its standard deviation is a fraction of the picture's range, from its lowest to its highest value.
Like saliency, which it is without noise, it says how sensitive the target is to a pixel, not whether the pixel speaks
for or against it. Each method of three answers another question: on an even slope the variance is zero.
"""

import torch

from xai_core.methods import METHODS, PictureByPicture
from xai_core.models import Model
from xai_core.records import Passes, Target
from xai_core.registry import param


@METHODS.register
class SmoothGrad(PictureByPicture):
    label = "SmoothGrad"
    family = "gradient"
    signed = False
    random = True

    samples: int = param(50, low=2, high=1000, label="Draws", help="Noisy copies; more give a steadier map")
    noise: float = param(
        0.15, low=0.0, high=1.0, label="Noise", unit="fraction", help="Standard deviation, of the picture's range"
    )
    kind: str = param(
        "mean",
        choices=("mean", "square", "variance"),
        label="Kind",
        help="SmoothGrad (mean), SmoothGrad-Squared (square) or VarGrad (variance) of the gradients",
    )

    def cost(self, model: Model) -> Passes:
        return Passes(self.samples, self.samples)

    def attribute_one(self, model: Model, picture: torch.Tensor, target: Target, seed: int) -> torch.Tensor:
        draw = torch.Generator().manual_seed(seed)
        spread = self.noise * (picture.max() - picture.min())
        total = torch.zeros_like(picture, dtype=torch.float64)
        squares = torch.zeros_like(total)
        for start in range(0, self.samples, model.batch):  # so that memory does not grow with the draws
            count = min(model.batch, self.samples - start)
            # one by one: the same draws, however large a batch is
            noise = torch.stack([torch.randn(picture.shape, generator=draw) for _ in range(count)])
            gradients = model.gradients(picture + spread * noise, [target] * count).double()
            total += gradients.sum(0)
            squares += (gradients**2).sum(0)
        mean, square = total / self.samples, squares / self.samples
        shown = {"mean": mean.abs(), "square": square, "variance": (square - mean**2).clamp(min=0)}[self.kind]
        return shown.amax(0).float()
