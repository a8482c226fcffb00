"""The regions of a picture, as a model sees it, whose share of a map is compared between groups."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from xai_core.errors import PictureError
from xai_core.images import Preprocessing
from xai_core.probes import Subject
from xai_core.records import Image
from xai_core.truth import border, seen_by

QUADRANTS = ("top left quadrant", "top right quadrant", "bottom left quadrant", "bottom right quadrant")
BORDER, EVIDENCE = "border", "marked evidence"
BORDER_WIDTH = 0.1  # of the side
FACE_PARTS = ("face", "eyes", "nose", "mouth")  # that are looked for where they are not marked


def regions_of(subject: Subject, preprocessing: Preprocessing, find_faces: bool = False) -> dict[str, np.ndarray]:
    """(h, w) bool by name, in the model's view: quadrants, border, what was marked, and, if asked, parts of a face.

    Left is that of the picture, not of the person in it. Whoever marked an object, as a part of that name, has it among
    the regions. A region that covers all of the view or nothing of it is left out, as no map can have more or less
    there. So are parts of a face where none is found.
    """
    height, width = preprocessing.input_size[1:]
    top, left = np.arange(height)[:, None] < height // 2, np.arange(width)[None] < width // 2
    found = dict(zip(QUADRANTS, (top & left, top & ~left, ~top & left, ~top & ~left), strict=True))
    found[BORDER] = border((height, width), BORDER_WIDTH)
    for name, mask in _marked(subject, find_faces):
        found[name] = seen_by(Image(np.repeat(np.uint8(255) * mask[..., None], 3, axis=2), ""), preprocessing)
    return {name: region for name, region in found.items() if region.any() and not region.all()}


def _marked(subject: Subject, find_faces: bool) -> Iterator[tuple[str, np.ndarray]]:
    """What is marked in the upload, or found there: (H, W) bool by name."""
    from xai_core.parts import part_of

    if subject.mask is not None:
        yield EVIDENCE, subject.mask
    yield from subject.parts.items()
    for name in FACE_PARTS if find_faces else ():
        if name in subject.parts:
            continue
        try:
            yield name, part_of(subject, name).mask
        except PictureError:
            continue
