"""RISE: hide random places many times over, and see where being shown goes with a higher target.

    values = mean over masks of (f(x M) - mean of f) M / p,   each M a coarse grid of shown (chance p) and hidden
                                                              cells, enlarged smoothly and shifted at random

Petsiuk et al., 2018, section 3. https://arxiv.org/abs/1806.07421
It asks the network only for its answers, so it is right for any network. Departs from the paper by taking the mean of f
off the scores. A value of the paper's is an average of f, so that all of them share a large offset, and its noise.
Since each place is shown with the same chance, taking the offset off keeps the ranking that endless masks would give,
gets there with fewer, and gives the values a sign: above zero, the target is higher when the place is shown.
The paper used 4000 to 8000 masks; with fewer, expect speckle, and compare two seeds. Hidden places get the mean colour,
which the preprocessing maps to zero.
"""

import math

import torch
import torch.nn.functional as F

from xai_core.methods import METHODS, PictureByPicture
from xai_core.models import Made, Model
from xai_core.records import Passes, Target
from xai_core.registry import param


@METHODS.register
class Rise(PictureByPicture):
    label = "RISE"
    family = "perturbation"
    random = True

    samples: int = param(1000, low=50, high=20000, label="Masks", help="Pictures with hidden places; more, less noise")
    cells: int = param(7, low=2, high=32, label="Cells", help="Rows and columns of a mask before it is enlarged")
    probability: float = param(0.5, low=0.05, high=0.95, label="Probability", help="Chance that a cell is shown")

    def cost(self, model: Model) -> Passes:
        return Passes(self.samples)

    def grid(self, model: Model) -> tuple[int, int]:
        return self.cells, self.cells

    def masks(self, height: int, width: int, seed: int) -> Made:
        """(samples, 1, height, width) from 0 to 1. Only the coarse grids are kept; they are enlarged when asked for."""
        draw = torch.Generator().manual_seed(seed)
        tall, wide = math.ceil(height / self.cells), math.ceil(width / self.cells)  # of a cell
        shown = (torch.rand((self.samples, 1, self.cells, self.cells), generator=draw) < self.probability).float()
        tops = torch.randint(tall, (self.samples,), generator=draw).tolist()
        lefts = torch.randint(wide, (self.samples,), generator=draw).tolist()
        size = ((self.cells + 1) * tall, (self.cells + 1) * wide)  # larger than the picture, so that it can be shifted

        def enlarged(start: int, stop: int) -> torch.Tensor:
            large = F.interpolate(shown[start:stop], size, mode="bilinear", align_corners=False)
            corners = zip(large, tops[start:stop], lefts[start:stop], strict=True)
            return torch.stack([mask[:, top : top + height, left : left + width] for mask, top, left in corners])

        return Made(self.samples, enlarged)

    def attribute_one(self, model: Model, picture: torch.Tensor, target: Target, seed: int) -> torch.Tensor:
        _, height, width = picture.shape
        masks = self.masks(height, width, seed)
        said = model.scalars(
            Made(self.samples, lambda start, stop: picture * masks[start:stop]), [target] * self.samples
        )
        said = said - said.mean()
        total = torch.zeros_like(picture[0])
        for start in range(0, self.samples, model.batch):
            part = slice(start, min(start + model.batch, self.samples))
            total += torch.tensordot(said[part], masks[part][:, 0], 1)
        return total / (self.samples * self.probability)
