"""Shapes laid over a picture, smooth at their edges: how much of each pixel they cover, (H, W) float32 from 0 to 1."""

from __future__ import annotations

import cv2
import numpy as np

FINE = 4  # binary digits of a pixel's fraction that OpenCV draws with


def rectangle(shape: tuple[int, ...], box: tuple[float, float, float, float]) -> np.ndarray:
    """The box (left, top, right, bottom, in pixels: edges)."""
    left, top, right, bottom = box
    rows, columns = np.arange(shape[0]), np.arange(shape[1])
    down = np.clip(np.minimum(rows + 1, bottom) - np.maximum(rows, top), 0, 1)
    across = np.clip(np.minimum(columns + 1, right) - np.maximum(columns, left), 0, 1)
    cover: np.ndarray = np.outer(down, across).astype(np.float32)
    return cover


def outline(shape: tuple[int, ...], points: np.ndarray) -> np.ndarray:
    """What (n, 2) points (x, y) enclose."""
    sheet = np.zeros(shape[:2], np.uint8)
    cv2.fillPoly(sheet, [_fine(points)], 255, cv2.LINE_AA, FINE)
    return sheet.astype(np.float32) / 255


def line(shape: tuple[int, ...], points: np.ndarray, width: float) -> np.ndarray:
    """A pen of that width drawn along (n, 2) points (x, y)."""
    sheet = np.zeros(shape[:2], np.uint8)
    cv2.polylines(sheet, [_fine(points)], False, 255, max(1, round(width)), cv2.LINE_AA, FINE)
    return sheet.astype(np.float32) / 255


def rounded(points: np.ndarray) -> np.ndarray:
    """A closed outline with its corners cut off again and again: Chaikin, 1974."""
    for _ in range(3):
        after = np.roll(points, -1, axis=0)
        points = np.stack((0.75 * points + 0.25 * after, 0.25 * points + 0.75 * after), 1).reshape(-1, 2)
    return points


def laid(pixels: np.ndarray, cover: np.ndarray, colour: tuple[float, float, float] | np.ndarray) -> np.ndarray:
    """A copy of (H, W, 3) uint8 under a colour (3,), from 0 to 255; what is not covered keeps its bytes."""
    result: np.ndarray = pixels.copy()
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    if rows.size:
        touched = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        under = pixels[touched].astype(np.float32)
        mixed = under + cover[touched][..., None] * (np.asarray(colour, np.float32) - under)
        result[touched] = np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
    return result


def _fine(points: np.ndarray) -> np.ndarray:
    """Edges to OpenCV's whole numbers, to which a pixel's middle is its place."""
    whole: np.ndarray = np.rint((np.asarray(points) - 0.5) * 2**FINE).astype(np.int32)
    return whole
