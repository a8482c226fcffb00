"""LIME: hide random superpixels, and fit a small linear model to what the network then says.

    minimise over w:  sum over samples z of k(z) (f(x_z) - w . z)^2 + ||w||^2
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

KERNEL_WIDTH = 0.25  # the package's default for pictures


@METHODS.register
class Lime(PictureByPicture):
    label = "LIME"
    family = "perturbation"
    random = True

    samples: int = param(500, low=50, high=5000, label="Samples", help="Pictures with hidden superpixels")
    segmentation: str = param(
        "slic", choices=("slic", "quickshift"), label="Segmentation", help="How superpixels are found; SLIC is fast"
    )
    segments: int = param(60, low=10, high=400, label="Superpixels", help="About how many SLIC makes")
    compactness: float = param(10.0, low=0.1, high=100.0, label="Compactness", help="SLIC: low follows shapes")

    def superpixels(self, pixels: np.ndarray, seed: int) -> np.ndarray:
        """(h, w, 3) uint8 to (h, w) int superpixel numbers from zero."""
        from skimage.segmentation import quickshift, slic

        if self.segmentation == "quickshift":
            found = quickshift(pixels, kernel_size=4, max_dist=200, ratio=0.2, rng=seed)  # type: ignore[no-untyped-call]
        else:
            found = slic(pixels, n_segments=self.segments, compactness=self.compactness, start_label=0)
        return np.unique(found, return_inverse=True)[1].reshape(found.shape)

    def grid(self, model: Model) -> tuple[int, int]:
        if self.segmentation == "quickshift":  # finds its own number of superpixels
            return super().grid(model)
        side = max(1, round(self.segments**0.5))  # about; superpixels are no regular grid
        return side, side

    def cost(self, model: Model) -> Passes:
        return Passes(self.samples)

    def attribute_one(self, model: Model, picture: torch.Tensor, target: Target, seed: int) -> torch.Tensor:
        from lime.lime_base import LimeBase
        from sklearn.metrics import pairwise_distances

        segments = torch.from_numpy(self.superpixels(model.preprocessing.pixels(picture[None])[0], seed))
        count = int(segments.max()) + 1
        kept = np.random.RandomState(seed).randint(0, 2, self.samples * count).reshape(self.samples, count)
        kept[0] = 1
        hidden = _mean_colours(picture, segments, count)

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


def _mean_colours(picture: torch.Tensor, segments: torch.Tensor, count: int) -> torch.Tensor:
    """(3, h, w) picture in which every superpixel shows its own mean colour."""
    flat = segments.flatten()
    totals = torch.zeros(len(picture), count, dtype=torch.float64)
    totals.index_add_(1, flat, picture.flatten(1).double())
    means = totals / torch.bincount(flat, minlength=count)
    return means.to(picture.dtype)[:, segments]
