"""Where the evidence of a picture truly is, when somebody marked it, and how a map compares.

These are statements about the picture. A map may rightly lie elsewhere, where the network looks elsewhere: never call
them faithfulness.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from xai_core.cases import table_rows
from xai_core.errors import PictureError, SettingError
from xai_core.images import Preprocessing, read_image
from xai_core.records import Explanation, Image

NO_MASS = "No value of this map is above zero: nothing in it speaks for the target, so it has no mass to place."


def truth_beside(picture: str | Path, column: str = "mask") -> Image | None:
    """The mask that `labels.csv` in the picture's folder names for it under `column`, or None."""
    path = Path(picture)
    folder, table = path.parent, path.parent / "labels.csv"
    if not table.is_file():
        return None
    try:
        rows = table_rows(table.read_bytes(), f"The table {table}")
    except OSError as error:
        raise PictureError(f"The table {table} cannot be read ({error}). Save it as CSV in UTF-8.") from error
    _, header = next(rows, (1, []))
    if "file" not in header or column not in header:
        return None  # a table of another kind
    file, mask = header.index("file"), header.index(column)
    named = "".join(next((row[mask : mask + 1] for _, row in rows if row[file : file + 1] == [path.name]), []))
    if not named:
        return None
    if not (folder / named).resolve().is_relative_to(folder.resolve()):
        raise PictureError(f"The table {table} names a mask outside its folder, {named!r}. Put the mask beside it.")
    return read_image(folder / named)


def seen_by(mask: Image, preprocessing: Preprocessing) -> np.ndarray:
    """(h, w) bool: the mask, resized and cropped as a model's pictures are. Half covered counts as covered."""
    black_border = dataclasses.replace(preprocessing, mean=(0.0, 0.0, 0.0))  # what fills a border marks nothing
    return black_border.view(mask)[..., 0] > 127


def as_seen(mask: Image | np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """(h, w) bool, of the model's input size: a mask as uploaded, or an array that marks the input already.

    An array of another size is resized by nearest neighbour. Raises SettingError where its shape differs.
    """
    if isinstance(mask, Image):
        return seen_by(mask, preprocessing)
    if mask.ndim != 2 or mask.dtype != bool or not mask.size:
        raise SettingError(
            f"A mask array is (height, width) of True and False, not {mask.dtype} {mask.shape}. Compare it with a "
            "number first, as in mask > 0."
        )
    height, width = preprocessing.input_size[1:]
    if not _same_shape(mask.shape, (height, width)):
        raise SettingError(
            f"The mask is {_size(mask.shape)} pixels and the model sees {_size((height, width))}: they differ in "
            "shape. Crop the mask as the model crops the picture, or give it as a picture of the upload's size."
        )
    return _nearest(mask, (height, width))


def fitted_mask(mask: Image, picture: Image) -> Image:
    """The mask in the picture's size, by nearest neighbour. Raises PictureError where the shapes differ."""
    own, wanted = mask.pixels.shape[:2], picture.pixels.shape[:2]
    if not _same_shape(own, wanted):
        named = f"The mask {mask.name}" if mask.name else "The mask"
        raise PictureError(
            f"{named} is {_size(own)} pixels and the picture {_size(wanted)}: they differ in shape, so it is unclear "
            "what is marked. Give a mask of the whole picture, uncropped."
        )
    return mask if own == wanted else dataclasses.replace(mask, pixels=_nearest(mask.pixels, wanted))


def _same_shape(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Whether one (height, width) is the other, enlarged or reduced and rounded to whole pixels."""
    return 2 * abs(one[0] * other[1] - one[1] * other[0]) <= max(sum(one), sum(other))


def _nearest(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(h, w, ...) in another (height, width), each pixel from the one that its middle lies in."""
    rows, columns = (
        (2 * np.arange(new) + 1) * old // (2 * new) for new, old in zip(size, pixels.shape[:2], strict=True)
    )
    resized: np.ndarray = pixels[rows[:, None], columns]
    return resized


def _size(shape: tuple[int, ...]) -> str:
    """Width first, as people say it."""
    return f"{shape[1]} × {shape[0]}"


def distance_to(mask: np.ndarray, place: tuple[int, int]) -> float:
    """Pixels from `place` (row, column) to the nearest pixel of the (h, w) mask; 0 inside."""
    return float(distances_to(mask)[place])


def distances_to(mask: np.ndarray) -> np.ndarray:
    """(h, w) float64: pixels from each place to the nearest pixel of the mask; PictureError for an empty mask."""
    from scipy.ndimage import distance_transform_edt

    if not mask.any():
        raise PictureError("The mask marks nothing, so no map can be compared with it. Give a mask with white pixels.")
    distances: np.ndarray = distance_transform_edt(~mask)
    return distances


def peak_hits(explanation: Explanation, mask: np.ndarray, tolerance: float) -> bool | None:
    """Pointing game: whether the peak lies within `tolerance` pixels of the mask; None for a flat map.

    Of several highest pixels the one nearest to their middle is the peak; the metric of that name calls it a tie.
    Zhang et al., 2016, section 4.1 (there with 15 pixels). https://arxiv.org/abs/1608.00507
    """
    return None if explanation.flat else distance_to(mask, explanation.peak) <= tolerance


def mass(values: np.ndarray) -> np.ndarray | None:
    """(h, w) float64 shares that add up to 1: of what speaks for the target, the positive part of a map.

    None where nothing is positive.
    """
    positive = np.clip(values.astype(np.float64), 0, None)
    total = float(positive.sum())
    return positive / total if total > 0 else None


def mass_inside(values: np.ndarray, mask: np.ndarray) -> float | None:
    """Share of a map's mass that lies inside the mask, 0 to 1; None where nothing is positive.

    A uniform map gets the mask's share of the picture. Arras et al., 2022, "relevance mass accuracy", equation 5.
    https://arxiv.org/abs/2003.07258
    """
    shares = mass(values)
    return None if shares is None else min(1.0, float(shares[mask].sum()))


def border(shape: tuple[int, int], width: float) -> np.ndarray:
    """(h, w) bool: within that share of a side from an edge, at least one pixel."""
    rows, columns = (max(1, round(width * side)) for side in shape)
    band = np.ones(shape, bool)
    band[rows : shape[0] - rows, columns : shape[1] - columns] = False
    return band


def highest_inside(values: np.ndarray, mask: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """How many of the `count` highest pixels lie inside the mask: every number it may be, and how likely each is.

    Pixels of equal value that compete for the last places are drawn by lot, as all are of a uniform map.
    """
    from scipy.special import gammaln

    def ways(pixels: int, some: np.ndarray) -> np.ndarray:
        """ln of the number of ways to draw that many of the pixels."""
        logarithms: np.ndarray = gammaln(pixels + 1) - gammaln(some + 1) - gammaln(pixels - some + 1)
        return logarithms

    last = np.partition(values, -count, axis=None)[-count]
    above, equal = values > last, values == last
    places, sure = count - int(above.sum()), int(above[mask].sum())
    good, bad = int(equal[mask].sum()), int(equal[~mask].sum())
    drawn = np.arange(max(0, places - bad), min(places, good) + 1)
    logarithms = ways(good, drawn) + ways(bad, places - drawn)  # scipy's hypergeometric distribution takes seconds
    likely = np.exp(logarithms - logarithms.max())
    return sure + drawn, likely / likely.sum()


def in_words(explanation: Explanation, mask: np.ndarray) -> str:
    """Where the map peaks against the (h, w) mask of the marked evidence, and how much of it lies inside."""
    if not mask.any():
        return "cannot be compared with the marked evidence, none of which the model saw"
    away = distance_to(mask, explanation.peak)
    where = "inside the marked evidence" if away == 0 else f"{away:.0f} pixels from the marked evidence"
    inside = mass_inside(explanation.values, mask)
    share = (
        "" if inside is None else f"; {inside:.0%} of its mass lies inside, where a uniform map has {mask.mean():.0%}"
    )
    return f"peaks {where} (one cell of the map is {explanation.cell:.0f} pixels){share}"
