"""Where the object of a picture is, estimated from colour alone where nobody marked it: simple, and to be looked at.

    distance  of each pixel's colour from the median colour of the picture's border
    object    the largest connected piece of what lies farther away than Otsu's threshold, with its holes filled

It takes for granted that the border shows the ground and that the object differs from it in colour. Where an object
reaches far along the border, or the ground has two colours, it is wrong: that is why it is always shown.
Otsu, 1979. https://doi.org/10.1109/TSMC.1979.4310076
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_fill_holes, label

from xai_core.canvas import percent
from xai_core.errors import PictureError
from xai_core.truth import border

BORDER = 0.05  # of a side: the band whose median colour is that of the ground
LEAST, MOST = 0.01, 0.95  # of the picture: an estimate beyond them says nothing
LONGEST = 512  # pixels of a side that are looked at; of a larger picture, one of every few


def object_of(pixels: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8 to (h, w) bool, the same for the same pixels.

    Raises PictureError where nothing stands out, or nearly everything does.
    """
    from skimage.filters import threshold_otsu

    height, width = pixels.shape[:2]
    step = -(-max(height, width) // LONGEST)
    seen = pixels[::step, ::step].astype(np.float64)
    away = np.linalg.norm(seen - ground_of(seen), axis=2)
    if np.ptp(away) == 0:
        raise PictureError("No object could be told from its ground: the picture has one colour. Give a mask.")
    pieces, count = label(binary_fill_holes(away > threshold_otsu(away)))  # type: ignore[no-untyped-call]
    found = pieces == 1 + int(np.bincount(pieces.ravel())[1:].argmax()) if count else pieces > 0
    if not LEAST <= found.mean() <= MOST:
        raise PictureError(
            "No object could be told from its ground: what stands out by its colour covers "
            f"{percent(float(found.mean()))} of the picture. Give a mask."
        )
    whole: np.ndarray = found.repeat(step, axis=0).repeat(step, axis=1)[:height, :width]
    return whole


def ground_of(pixels: np.ndarray) -> np.ndarray:
    """(3,) float64: the median colour of the border of (h, w, 3) pixels."""
    colour: np.ndarray = np.median(pixels[border(pixels.shape[:2], BORDER)], axis=0)
    return colour
