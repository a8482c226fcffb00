"""What a picture is compared with, or covered by, when a method asks "and without this?"."""

from __future__ import annotations

import torch

from xai_core.images import Preprocessing

BASELINES = ("black", "mean", "blur")
BLUR_FRACTION = 0.1  # standard deviation of the blur, as a fraction of the picture's shorter side


def baseline(kind: str, x: torch.Tensor, preprocessing: Preprocessing) -> torch.Tensor:
    """(n, 3, h, w) pictures of nothing, one for each of `x`.

    `black` is a black picture, `mean` the colour that the preprocessing maps to zero, `blur` the picture itself,
    blurred until only its large shapes are left. Black is a plain choice for networks without normalisation layers
    over channels; for the others (ConvNeXt, transformers) blur stays closer to real pictures.
    """
    if kind == "mean":
        return torch.zeros_like(x)
    if kind == "black":
        mean, std = torch.tensor(preprocessing.mean), torch.tensor(preprocessing.std)
        return (-mean / std).to(x).view(1, -1, 1, 1).expand_as(x)
    if kind == "blur":
        return blurred(x, BLUR_FRACTION * min(x.shape[2:]))
    raise ValueError(f"no baseline is called {kind!r}")


def blurred(x: torch.Tensor, sigma: float) -> torch.Tensor:
    """(n, c, h, w) smoothed by a Gaussian of `sigma` pixels, with mirrored borders."""
    from scipy.ndimage import gaussian_filter

    return torch.from_numpy(gaussian_filter(x.numpy(), (0, 0, sigma, sigma), mode="mirror"))
