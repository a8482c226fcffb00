"""Occlusion: cover one square at a time and see how far the target falls.

    values at a pixel = mean over the squares that cover it of f(x) - f(x with that square covered)

Zeiler and Fergus, 2014, section 4.2. https://arxiv.org/abs/1311.2901
It asks the network only for its answers, so it is right for any network; what it cannot see is evidence larger than
the square, or evidence that another place also holds.
"""

import torch

from xai_core.baselines import BASELINES, baseline
from xai_core.methods import METHODS, PictureByPicture
from xai_core.models import Made, Model
from xai_core.records import Passes, Target
from xai_core.registry import param


@METHODS.register
class Occlusion(PictureByPicture):
    label = "Occlusion"
    family = "perturbation"

    window: float = param(
        0.125, low=0.02, high=0.5, label="Window", unit="fraction", help="Side of the square, of the shorter side"
    )
    stride: float = param(0.5, low=0.1, high=1.0, label="Stride", unit="fraction", help="Step, as part of the square")
    cover: str = param("mean", choices=BASELINES, label="Cover", help="What the square shows instead")

    def squares(self, height: int, width: int) -> list[tuple[slice, slice]]:
        """Every square, in reading order; the last of a row or column is cut off by the border."""
        side = max(1, round(self.window * min(height, width)))
        step = max(1, round(self.stride * side))
        tops = range(0, max(1, height - side + step), step)
        lefts = range(0, max(1, width - side + step), step)
        return [(slice(top, top + side), slice(left, left + side)) for top in tops for left in lefts]

    def grid(self, model: Model) -> tuple[int, int]:
        _, height, width = model.preprocessing.input_size
        squares = self.squares(height, width)
        return len({rows.start for rows, _ in squares}), len({columns.start for _, columns in squares})

    def cost(self, model: Model) -> Passes:
        _, height, width = model.preprocessing.input_size
        return Passes(1 + len(self.squares(height, width)))

    def attribute_one(self, model: Model, picture: torch.Tensor, target: Target, seed: int) -> torch.Tensor:
        squares = self.squares(*picture.shape[1:])
        nothing = baseline(self.cover, picture[None], model.preprocessing, seed)[0]

        def covered(start: int, stop: int) -> torch.Tensor:
            pictures = picture.repeat(stop - start, 1, 1, 1)
            for hidden, (rows, columns) in zip(pictures, squares[start:stop], strict=True):
                hidden[:, rows, columns] = nothing[:, rows, columns]
            return pictures

        whole = model.scalars(picture[None], [target])
        falls = whole - model.scalars(Made(len(squares), covered), [target] * len(squares))
        total, times = torch.zeros_like(picture[0]), torch.zeros_like(picture[0])
        for (rows, columns), fall in zip(squares, falls, strict=True):
            total[rows, columns] += fall
            times[rows, columns] += 1
        return total / times.clamp(min=1)
