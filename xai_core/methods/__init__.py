"""Attribution methods, one per file. To add one, copy the shortest file here and change it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import ClassVar, Literal, Self, get_args

import torch
import torch.nn.functional as F

from xai_core.account import is_one_picture
from xai_core.models import Model, Trace
from xai_core.records import Passes, Target
from xai_core.registry import Component, Registry, param

Family = Literal["class activation", "gradient", "backward rules", "Shapley", "perturbation", "attention", "control"]
FAMILIES: tuple[Family, ...] = get_args(Family)


class Method(Component):
    """Says how much each pixel spoke for a target.

    `family` is the field's name for its kind; a control knows nothing of the model and is what a map must beat.
    `signed`: values below zero speak against the target; else values only say how much. `class_specific`: another
    target gives another map. `random`: another seed gives another map. `promises`: what the values add up to, measured
    on each map: f(x) - f(baseline) for completeness, f(x) for conservation. `approximate`: the promise holds only in
    the mean over endless draws. `remedy`: what to do where it is missed. `shares`: the one question about the picture
    itself that every method that asks it shares.
    """

    family: ClassVar[Family]
    signed: ClassVar[bool] = True
    class_specific: ClassVar[bool] = True
    random: ClassVar[bool] = False
    promises: ClassVar[Literal["completeness", "conservation"] | None] = None
    approximate: ClassVar[bool] = False
    remedy: ClassVar[str] = ""
    shares: ClassVar[Literal["trace", "gradients"] | None] = None

    def why_not(self, model: Model) -> str | None:
        """The reason this method says nothing about `model`, in one sentence, or None if it does."""
        return None

    def fitted(self, model: Model) -> Self:
        """This method with the settings that were left open filled in for `model`."""
        return self

    def layers(self) -> tuple[str, ...]:
        """The layers it will trace."""
        return ()

    def cost(self, model: Model) -> Passes:
        """What the map of one picture costs."""
        raise NotImplementedError

    def grid(self, model: Model) -> tuple[int, int]:
        """Rows and columns of the map before it is enlarged to the picture."""
        _, height, width = model.preprocessing.input_size
        return height, width

    def whole(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        """(n,) what the values of each of (n, 3, h, w) pictures promise to add up to, for methods that promise it."""
        raise NotImplementedError

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        """(n, 3, h, w) pictures and one target for each, to (n, h, w) values.

        A method that draws at random starts from `seed` for every picture, so that a picture's map does not depend
        on the others in its batch.
        """
        raise NotImplementedError


class PictureByPicture(Method):
    """A method that asks about many variations of one picture, which fill the batches by themselves."""

    def attribute_one(self, model: Model, picture: torch.Tensor, target: Target, seed: int) -> torch.Tensor:
        """One (3, h, w) picture to (h, w) values."""
        raise NotImplementedError

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        return torch.stack(
            [self.attribute_one(model, picture, target, seed) for picture, target in zip(x, targets, strict=True)]
        )


@dataclasses.dataclass(frozen=True)
class ClassActivation(Method):
    """A method that needs nothing but one trace of one layer.

    Each weighs the layer's feature maps A (channels, rows, columns) with something made of the gradients
    G = d target / dA and adds them up: a map as coarse as the layer's grid, enlarged bilinearly to the picture. They
    differ only in that formula, `combine`. All of them together cost one forward and one short backward pass.
    """

    family: ClassVar[Family] = "class activation"
    shares: ClassVar[Literal["trace", "gradients"] | None] = "trace"

    layer: str = param("", label="Layer", help="Where to read; empty takes the deepest that the target depends on")
    positive_only: bool = param(True, label="Positive only", help="Keep what speaks for the target, drop the rest")

    def combine(self, trace: Trace) -> torch.Tensor:
        """(n, channels, rows, columns) activations and gradients to (n, rows, columns) values."""
        raise NotImplementedError

    def why_not(self, model: Model) -> str | None:
        if model.default_layer is None:
            return (
                f"{self.label} needs a layer with a height and a width that the target depends on, "
                f"and {model.name} has none. Choose occlusion or LIME."
            )
        if self.layer and not model.reaches(model.layer(self.layer).name):
            return (
                f"{self.label} cannot read layer {self.layer} of {model.name}: the gradient of the target there is "
                f"zero. Choose {model.default_layer}."
            )
        return None

    def fitted(self, model: Model) -> Self:
        return self if self.layer else dataclasses.replace(self, layer=model.default_layer or "")

    def layers(self) -> tuple[str, ...]:
        return (self.layer,)

    def cost(self, model: Model) -> Passes:
        return Passes(1, 1)

    def grid(self, model: Model) -> tuple[int, int]:
        return model.layer(self.layer).grid

    def attribute(self, model: Model, x: torch.Tensor, targets: Sequence[Target], seed: int) -> torch.Tensor:
        trace = model.trace(x, targets, [self.layer])[self.layer]
        if is_one_picture(x) and not self.class_specific:
            coarse = self.combine(Trace(trace.activations[:1], trace.gradients[:1])).expand(len(x), -1, -1)
        else:
            coarse = self.combine(trace)
        return self.enlarged(coarse, x)

    def enlarged(self, coarse: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """(n, rows, columns) values at the size of the pictures."""
        if self.positive_only:
            coarse = coarse.clamp(min=0)
        return F.interpolate(coarse[:, None], size=x.shape[2:], mode="bilinear", align_corners=False)[:, 0]


METHODS: Registry[Method] = Registry("method", __name__)
METHODS.discover()
