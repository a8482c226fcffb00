"""Faces in a picture, and where their parts are.

Two detectors, neither of which asks whose face it is: the cascade of local binary patterns that comes with
scikit-image, and YuNet, where the environment variable SECOND_LOOK_YUNET names its .onnx file.

PROPORTIONS are ours: the neoclassical canons (hairline to brows, brows to nose, nose to chin, a third each), with room
for how people differ from them (Farkas et al., 1985), held against the mean of a hundred photographed faces laid over
one another by the cascade. Eyes, nose and mouth of a face that looks aside or is tilted lie partly beyond them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from xai_core.errors import ModelError, SettingError
from xai_core.records import Image

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels: edges, not centres

YUNET = "SECOND_LOOK_YUNET"

# Shares of a face's box, which reaches from ear to ear and from the hairline to the chin.
PROPORTIONS: Mapping[str, Box] = {
    "face": (0.0, 0.0, 1.0, 1.0),
    "forehead": (0.1, 0.02, 0.9, 0.25),
    "brows": (0.1, 0.24, 0.9, 0.36),
    "eyes": (0.12, 0.345, 0.88, 0.49),
    "nose": (0.35, 0.42, 0.65, 0.68),
    "mouth": (0.28, 0.69, 0.72, 0.88),
    "lower_face": (0.0, 0.5, 1.0, 1.0),
}
EYES_APART, EYE_LEVEL, MOUTH_LEVEL = 0.45, 0.42, 0.785  # of that box: of its width, and down from its top
IN_SQUARE = (0.08, -0.1, 0.92, 1.02)  # that box, in shares of the square that the cascade finds

DETECTORS = {"cascade": "found by scikit-image's LBP cascade", "yunet": "found by YuNet"}
LONGEST = {"cascade": 256, "yunet": 640}  # pixels that the longer side is reduced to before the search
WINDOW = 24  # pixels of the reduced picture: the cascade's smallest face
SURROUND = 0.25  # of the longer side, repeated from the edges: the cascade wants room around a face
HITS = 6  # of the cascade that make a face: foliage and fabric get fewer


_FOUND: WeakKeyDictionary[Image, dict[tuple[str, str], tuple[Face, ...]]] = (
    WeakKeyDictionary()
)  # parts are asked singly


class Face(NamedTuple):
    """A face: its `box` in pixels of the upload, its `parts` by name, and who found it, in words."""

    box: Box
    parts: Mapping[str, Box]
    source: str


def find_faces(image: Image, detector: str = "") -> tuple[Face, ...]:
    """The faces of a picture, largest first, by the detector "cascade" or "yunet"; none where it finds none.

    Without a name it is YuNet where its file is given, and the cascade elsewhere. Raises ModelError where that file
    cannot be used.
    """
    chosen = detector or ("yunet" if os.environ.get(YUNET) else "cascade")
    if chosen not in DETECTORS:
        raise SettingError(f"No face detector is called {chosen!r}. There are {' and '.join(DETECTORS)}.")
    known, key = _FOUND.setdefault(image, {}), (chosen, os.environ.get(YUNET, ""))
    if key not in known:
        known[key] = _faces(image.pixels, chosen)
    return known[key]


def _faces(pixels: np.ndarray, chosen: str) -> tuple[Face, ...]:
    """Look in the reduced picture, answer in pixels of (H, W, 3) uint8."""
    shape, reduced = pixels.shape[:2], _reduced(pixels, LONGEST[chosen])
    stretch = np.array([shape[1] / reduced.shape[1], shape[0] / reduced.shape[0]] * 2)
    faces = []
    for box in (_by_yunet if chosen == "yunet" else _by_cascade)(reduced):
        left, top, right, bottom = (box * stretch).tolist()
        parts = parts_of((left, top, right, bottom), shape)
        if "face" in parts:
            faces.append(Face(parts["face"], parts, DETECTORS[chosen]))
    return tuple(sorted(faces, key=lambda face: (-_area(face.box), face.box)))


def parts_of(face: Box, shape: tuple[int, ...]) -> dict[str, Box]:
    """Where PROPORTIONS put the parts of a face with that box in a picture of that (H, W).

    What reaches beyond the picture is cut off; a part that lies outside is left out.
    """
    left, top, right, bottom = face
    size = np.array([right - left, bottom - top] * 2)
    corner = np.array([left, top] * 2)
    limit = np.array([shape[1], shape[0]] * 2, float)
    parts = {}
    for name, shares in PROPORTIONS.items():
        box = np.clip(corner + size * np.array(shares), 0, limit)
        if box[0] < box[2] and box[1] < box[3]:
            parts[name] = (float(box[0]), float(box[1]), float(box[2]), float(box[3]))
    return parts


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _reduced(pixels: np.ndarray, longest: int) -> np.ndarray:
    """The picture with its longer side at most that many pixels."""
    height, width = pixels.shape[:2]
    scale = longest / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    smaller: np.ndarray = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return smaller


# ---- the cascade ------------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _cascade() -> Any:
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())  # type: ignore[no-untyped-call]


def _by_cascade(pixels: np.ndarray) -> list[np.ndarray]:
    """The boxes (4,) of faces in (h, w, 3) uint8.

    The cascade answers with many squares (left, top, side) for each face. Those that overlap by half or more, hand in
    hand, are of one face, which is their mean and needs HITS of them; of two faces, one of which has the other's middle
    in it, the one with more squares stays.
    """
    around = round(SURROUND * max(pixels.shape[:2]))
    padded = cv2.copyMakeBorder(pixels, around, around, around, around, cv2.BORDER_REPLICATE)
    side = min(padded.shape[:2])
    if side < WINDOW:
        return []
    hits = _cascade().detect_multi_scale(
        img=padded,
        scale_factor=1.1,
        step_ratio=1,
        min_size=(WINDOW, WINDOW),
        max_size=(side, side),
        min_neighbor_number=1,  # every square as it is: its own merging depends on their order
        intersection_score_threshold=2,
    )
    squares = np.array(sorted((hit["c"], hit["r"], hit["width"]) for hit in hits), float).reshape(-1, 3)
    return [np.array([x, y] * 2) - around + side * np.array(IN_SQUARE) for x, y, side in _merged(squares)]


def _merged(squares: np.ndarray) -> np.ndarray:
    """(n, 3) squares to (faces, 3), by the rule of `_by_cascade`."""
    from scipy.sparse.csgraph import connected_components

    low, side = squares[:, None, :2], squares[:, None, 2:]
    high = low + side
    shared = np.clip(np.minimum(high, high.swapaxes(0, 1)) - np.maximum(low, low.swapaxes(0, 1)), 0, None).prod(-1)
    area = side[..., 0] ** 2
    _, of_face = connected_components(shared >= 0.5 * (area + area.T - shared), directed=False)
    groups = [squares[of_face == one] for one in range(of_face.max(initial=-1) + 1)]
    kept: list[np.ndarray] = []
    for group in sorted(groups, key=len, reverse=True):
        face = group.mean(0)
        if len(group) >= HITS and not any(_middle_in(face, other) or _middle_in(other, face) for other in kept):
            kept.append(face)
    return np.array(kept).reshape(-1, 3)


def _middle_in(square: np.ndarray, other: np.ndarray) -> bool:
    return bool((np.abs(square[:2] + square[2] / 2 - other[:2] - other[2] / 2) < other[2] / 2).all())


# ---- YuNet ------------------------------------------------------------------------------------------------------


def _by_yunet(pixels: np.ndarray) -> list[np.ndarray]:
    """The boxes (4,) of faces in (h, w, 3) uint8, so placed that eyes and mouth lie where YuNet sees them.

    Wu et al., 2023. https://doi.org/10.1007/s11633-023-1423-y
    """
    path, side = os.environ.get(YUNET, ""), LONGEST["yunet"]
    square = np.zeros((side, side, 3), np.uint8)  # some of its files take no other size
    square[: pixels.shape[0], : pixels.shape[1]] = pixels[..., ::-1]
    try:
        _, rows = cv2.FaceDetectorYN.create(path, "", (side, side)).detect(square)
    except cv2.error:
        raise ModelError(
            f"The face detector {path!r}, which the environment variable {YUNET} names, cannot be used: it is not "
            "there, or no YuNet file that this OpenCV reads. Correct the path, or unset the variable to use the "
            "cascade."
        ) from None
    return [] if rows is None else [_by_landmarks(np.asarray(row, float)) for row in rows]


def _by_landmarks(row: np.ndarray) -> np.ndarray:
    """A face's box (4,) from YuNet's row: left, top, width, height, then (x, y) of both eyes, nose, mouth's corners."""
    right_eye, left_eye, _, right_corner, left_corner = row[4:14].reshape(5, 2)
    eyes, mouth = (right_eye + left_eye) / 2, (right_corner + left_corner) / 2
    width = abs(left_eye[0] - right_eye[0]) / EYES_APART
    height = (mouth[1] - eyes[1]) / (MOUTH_LEVEL - EYE_LEVEL)
    if min(width, height) <= 0.3 * min(row[2:4]):  # seen from the side, or upside down
        return np.array([row[0], row[1], row[0] + row[2], row[1] + row[3]])
    top = eyes[1] - EYE_LEVEL * height
    return np.array([eyes[0] - width / 2, top, eyes[0] + width / 2, top + height])
