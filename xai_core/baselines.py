"""What a picture is compared with, or covered by, when a method asks "and without this?"."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch

from xai_core.account import is_one_picture
from xai_core.images import Preprocessing

BASELINES = ("black", "mean", "blur", "noise")
BLUR_FRACTION = 0.1  # standard deviation of the blur, as a fraction of the picture's shorter side
BACKGROUNDS = ("blurs", "black", "mean", "pictures")
BLURS = (0.05, 0.1, 0.2, 0.4)  # standard deviations of a background of blurs: from blunt to nearly even


def baseline(kind: str, x: torch.Tensor, preprocessing: Preprocessing, seed: int = 0) -> torch.Tensor:
    """(n, 3, h, w) pictures of nothing, one for each of `x`.

    `black` is a black picture, `mean` the colour that the preprocessing maps to zero, `blur` the picture itself,
    blurred until only its large shapes are left, `noise` pixels of any colour, the same for every picture. Black is a
    plain choice for networks without normalisation layers over channels; for the others (ConvNeXt, transformers) blur
    stays closer to real pictures. Only noise depends on `seed`.
    """
    if kind == "mean":
        return torch.zeros_like(x[:1]).expand_as(x)
    if kind == "blur":
        once = x[:1] if is_one_picture(x) else x
        return blurred(once, BLUR_FRACTION * min(x.shape[2:])).expand_as(x)
    if kind == "black":
        shown = torch.zeros(3, 1, 1)
    elif kind == "noise":
        shown = torch.rand(x.shape[1:], generator=torch.Generator().manual_seed(seed))
    else:
        raise ValueError(f"no baseline is called {kind!r}")
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return ((shown - mean) / std).to(x).expand_as(x)


def backgrounds(
    kind: str, picture: torch.Tensor, preprocessing: Preprocessing, given: Callable[[], torch.Tensor]
) -> torch.Tensor:
    """(k, 3, h, w) pictures over which a method averages its baseline, for one (3, h, w) picture.

    `blurs` is the picture itself at four strengths of blur, `black` and `mean` a set of one, and `pictures` those that
    the caller gave: `given` is asked for them only then, so that it may refuse.
    """
    x = picture[None]
    if kind == "pictures":
        return given()
    if kind == "blurs":
        return torch.cat([blurred(x, fraction * min(x.shape[2:])) for fraction in BLURS])
    return baseline(kind, x, preprocessing)


def blurred(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """(n, c, h, w) smoothed by a Gaussian of `sigma` pixels, with mirrored borders."""
    rows, columns = (_smoothing(size, sigma) for size in x.shape[2:])
    smooth: torch.Tensor = rows @ x.double() @ columns.T
    return smooth.to(x.dtype)


@lru_cache(maxsize=32)
def _smoothing(size: int, sigma: float) -> torch.Tensor:
    """(size, size) what each pixel of a line gives to each smoothed one: a product is faster than wide filters."""
    from scipy.ndimage import gaussian_filter1d

    return torch.from_numpy(gaussian_filter1d(np.eye(size), sigma, axis=0, mode="mirror"))
