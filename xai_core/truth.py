"""Where the evidence of a picture truly is, when somebody marked it, and how a map compares.

These are statements about the picture. A map may rightly lie elsewhere, where the network looks elsewhere: never call
them faithfulness.
"""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np

from xai_core.errors import PictureError
from xai_core.images import Preprocessing, read_image
from xai_core.records import Explanation, Image


def truth_beside(picture: str | Path, column: str = "mask") -> Image | None:
    """The mask that `labels.csv` in the picture's folder names for it under `column`, or None."""
    path = Path(picture)
    folder, table = path.parent, path.parent / "labels.csv"
    if not table.is_file():
        return None
    try:
        with table.open(newline="", encoding="utf-8-sig") as lines:
            row = next((row for row in csv.DictReader(lines) if row.get("file") == path.name), {})
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PictureError(f"The table {table} cannot be read ({error}). Save it as CSV in UTF-8.") from error
    named = row.get(column)
    if not named:
        return None
    if not (folder / named).resolve().is_relative_to(folder.resolve()):
        raise PictureError(f"The table {table} names a mask outside its folder, {named!r}. Put the mask beside it.")
    return read_image(folder / named)


def seen_by(mask: Image, preprocessing: Preprocessing) -> np.ndarray:
    """(h, w) bool: the mask, resized and cropped as a model's pictures are. Half covered counts as covered."""
    black_border = dataclasses.replace(preprocessing, mean=(0.0, 0.0, 0.0))  # what fills a border marks nothing
    return black_border.view(mask)[..., 0] > 127


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

    Zhang et al., 2016, section 4.1 (there with 15 pixels). https://arxiv.org/abs/1608.00507
    """
    return None if explanation.flat else distance_to(mask, explanation.peak) <= tolerance


def mass_inside(values: np.ndarray, mask: np.ndarray) -> float | None:
    """Share of a map's positive mass that lies inside the mask, 0 to 1; None where nothing is positive.

    A uniform map gets the mask's share of the picture. Arras et al., 2022, "relevance mass accuracy", equation 5.
    https://arxiv.org/abs/2003.07258
    """
    positive = np.clip(values.astype(np.float64), 0, None)
    total = float(positive.sum())
    return float(positive[mask].sum()) / total if total > 0 else None


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
