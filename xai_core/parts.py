"""Where a part of a picture is: drawn by a person, marked in the data, or found as part of a face, in that order."""

from __future__ import annotations

import numpy as np

from xai_core.errors import PictureError
from xai_core.faces import PROPORTIONS, Box, find_faces, parts_of
from xai_core.probes import Part, Subject
from xai_core.regions import EVIDENCE

ROUND = 2.5  # exponent of the superellipse that a face fills of its box: 2 is an ellipse
PATCH = "patch"  # of any picture: the drawn box itself, or all of it where none was drawn
WHOLE = "placed in the whole picture"
OBJECT = "object"


def part_of(subject: Subject, name: str) -> Part:
    """The part of that name: of a face (one of faces.PROPORTIONS), the patch, or another that the data mark.

    A box that was drawn is the patch, or the face in which its parts are placed. Raises PictureError, one sentence and
    what to do, where nobody knows where the part is.
    """
    shape = subject.image.pixels.shape[:2]
    if name == PATCH and subject.box is not None:
        return _boxed(parts_of(subject.box, shape).get("face"), shape, "drawn by hand")
    if name in PROPORTIONS and subject.box is not None:
        source = "drawn by hand" if name == "face" else "placed by proportions in a face drawn by hand"
        return _boxed(parts_of(subject.box, shape).get(name), shape, source, _oval(subject.box, shape))
    if name in subject.parts:
        return _marked(subject.parts[name], name)
    if name == PATCH:
        return _boxed((0.0, 0.0, float(shape[1]), float(shape[0])), shape, WHOLE)
    if name not in PROPORTIONS:
        raise PictureError(f"Nobody marked where the {name} is. Give its mask in a column {name}_mask of labels.csv.")
    if "face" in subject.parts:
        face = _marked(subject.parts["face"], "face")
        source = "placed by proportions in the face marked in the data"
        return _boxed(parts_of(face.box, shape).get(name), shape, source, face.mask)
    for found in find_faces(subject.image):
        if name in found.parts:
            return _boxed(found.parts[name], shape, found.source, _oval(found.parts["face"], shape))
    raise PictureError(
        "No face was found in this picture. Draw a box around the face, or give its parts as masks, in columns such "
        f"as {name}_mask of labels.csv."
    )


def marked_object(subject: Subject) -> tuple[np.ndarray, str] | None:
    """What the data mark of a picture, (H, W) bool of its size, and what to call it; None where they mark nothing.

    That is the object, or where no object is marked the evidence, which is often smaller.
    """
    if OBJECT in subject.parts:
        return subject.parts[OBJECT], OBJECT
    return None if subject.mask is None else (subject.mask, EVIDENCE)


def _oval(box: Box, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) bool: what of a face's box is face, without its corners."""
    left, top, right, bottom = box
    x = np.abs((np.arange(shape[1]) + 0.5) * 2 - left - right) / (right - left)
    y = np.abs((np.arange(shape[0]) + 0.5) * 2 - top - bottom) / (bottom - top)
    return np.asarray(x[None] ** ROUND + y[:, None] ** ROUND <= 1)


def _marked(mask: np.ndarray, name: str) -> Part:
    """A part that the data mark, and the box around it."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        raise PictureError(f"The mask of the part {name} marks nothing in this picture. Give one with white pixels.")
    box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
    return Part(mask.copy(), box, "marked in the data")


def _boxed(box: Box | None, shape: tuple[int, ...], source: str, within: np.ndarray | None = None) -> Part:
    """A part that is a box: the pixels nearest to it, at least one; of them those `within` the face, if there are."""
    if box is None:
        raise PictureError("The box that was drawn lies outside the picture. Draw it again.")
    left, top = min(round(box[0]), shape[1] - 1), min(round(box[1]), shape[0] - 1)
    mask = np.zeros(shape, bool)
    mask[top : max(round(box[3]), top + 1), left : max(round(box[2]), left + 1)] = True
    inner = mask if within is None else mask & within
    return Part(inner if inner.any() else mask, box, source)
