"""The one pattern that most feature maps of a layer share."""

import torch


def principal_pattern(maps: torch.Tensor) -> torch.Tensor:
    """(n, channels, rows, columns) feature maps, projected on their first principal direction: (n, rows, columns).

    A place is a vector of its channels; the mean over places is taken off first. A principal direction has no sign of
    its own; here it points to where the maps are larger on average. Computed from the smaller of the two Gram matrices
    (channels or places), which has the same directions as the full decomposition.
    """
    n, channels, rows, columns = maps.shape
    centred = maps.double().flatten(2).transpose(1, 2)  # (n, places, channels)
    centred = centred - centred.mean(1, keepdim=True)
    if channels <= rows * columns:
        direction = torch.linalg.eigh(centred.mT @ centred).eigenvectors[..., -1:]
        projected = (centred @ direction)[..., 0]
    else:
        powers, vectors = torch.linalg.eigh(centred @ centred.mT)
        projected = vectors[..., -1] * powers[:, -1:].clamp(min=0).sqrt()
    average = maps.double().mean(1).flatten(1)
    sign = torch.where((projected * average).sum(1, keepdim=True) < 0, -1.0, 1.0)
    pattern: torch.Tensor = (projected * sign).view(n, rows, columns).float()
    return pattern
