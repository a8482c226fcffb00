"""Random: noise, drawn before anyone looked at the picture or the network.

    values at a cell uniform in 0..1, enlarged bilinearly to the picture

A control, not an explanation: a map that scores no better than noise is no evidence of anything (Hooker et al., 2019,
who hold methods against random importance. https://arxiv.org/abs/1806.10758). `cells` sets how coarse the noise is:
hold a class activation map against noise as coarse as its own layer, since coarse maps score unlike fine ones. The
same seed gives every picture the same noise.
"""

import torch
import torch.nn.functional as F

from xai_core.methods import METHODS, PictureByPicture
from xai_core.models import Model
from xai_core.records import Passes, Target
from xai_core.registry import param


@METHODS.register
class Random(PictureByPicture):
    label = "Random"
    family = "control"
    signed = False
    class_specific = False
    random = True

    cells: int = param(7, low=2, high=64, label="Cells", help="Rows and columns of the noise before it is enlarged")

    def cost(self, model: Model) -> Passes:
        return Passes()

    def grid(self, model: Model) -> tuple[int, int]:
        return self.cells, self.cells

    def attribute_one(self, model: Model, picture: torch.Tensor, target: Target, seed: int) -> torch.Tensor:
        noise = torch.rand((1, 1, self.cells, self.cells), generator=torch.Generator().manual_seed(seed))
        return F.interpolate(noise, picture.shape[1:], mode="bilinear", align_corners=False)[0, 0]
