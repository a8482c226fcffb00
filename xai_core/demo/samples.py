"""The sample pictures that come with the program: two dozen drawings, with the truth about each.

Every row of the tables was chosen by eye, so that the set shows both families in their variety and no picture is
hard for a person to name. Side markers go with all three findings alike: here they carry no information.

The seeds begin at SAMPLE_SEED_START, far from those that networks learn from, so no sample was ever trained on.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from . import face, xray
from .drawing import Drawing

SAMPLE_SEED_START = 2_000_000
FRESH_SEED_START, FRESH_SEEDS = 10_000_000, 100_000  # the first, and how many each seed of a set has to itself

# file name, seed after SAMPLE_SEED_START, label, side marker
XRAYS: tuple[tuple[str, int, str, str | None], ...] = (
    ("xray_normal_1.png", 8, "normal", "L"),
    ("xray_normal_2.png", 11, "normal", "R"),
    ("xray_normal_3.png", 3, "normal", None),
    ("xray_normal_4.png", 6, "normal", None),
    ("xray_simple_fracture_1.png", 14, "simple fracture", "L"),
    ("xray_simple_fracture_2.png", 13, "simple fracture", "R"),
    ("xray_simple_fracture_3.png", 19, "simple fracture", None),
    ("xray_simple_fracture_4.png", 22, "simple fracture", None),
    ("xray_comminuted_fracture_1.png", 35, "comminuted fracture", "L"),
    ("xray_comminuted_fracture_2.png", 27, "comminuted fracture", "R"),
    ("xray_comminuted_fracture_3.png", 25, "comminuted fracture", None),
    ("xray_comminuted_fracture_4.png", 32, "comminuted fracture", None),
)

# file name, seed after SAMPLE_SEED_START, label, medical mask
FACES: tuple[tuple[str, int, str, bool], ...] = (
    ("face_neutral_1.png", 101, "neutral", False),
    ("face_neutral_2.png", 100, "neutral", False),
    ("face_happy_1.png", 110, "happy", False),
    ("face_happy_2.png", 108, "happy", False),
    ("face_happy_3.png", 109, "happy", False),
    ("face_sad_1.png", 115, "sad", False),
    ("face_sad_2.png", 113, "sad", False),
    ("face_angry_1.png", 118, "angry", False),
    ("face_angry_2.png", 145, "angry", False),
    ("face_angry_3.png", 121, "angry", True),
    ("face_surprised_1.png", 129, "surprised", False),
    ("face_surprised_2.png", 136, "surprised", True),
)

MARKED = ("marker", "eyes", "brows", "mouth", "nose", "face")  # parts whose masks are written, each in its column
OBJECT = {"xray": "bone", "face": "face"}  # the part that a picture is of
COLUMNS = ("file", "label", "family", "mask", "object_mask", *(f"{part}_mask" for part in MARKED))


def samples() -> Iterator[tuple[str, str, Drawing]]:
    """File name, family ("xray" or "face") and drawing of every sample."""
    for name, offset, label, marker in XRAYS:
        yield name, "xray", xray.draw(SAMPLE_SEED_START + offset, label, marker=marker)
    for name, offset, label, medical_mask in FACES:
        yield name, "face", face.draw(SAMPLE_SEED_START + offset, label, medical_mask=medical_mask)


def fresh(family: str, count: int, seed: int = 0, **options: Any) -> Iterator[tuple[str, str, Drawing]]:
    """As `samples`: drawings that nobody has seen, the labels in turn; `options` are those of the family's `draw`."""
    draw, labels = (xray.draw, xray.LABELS) if family == "xray" else (face.draw, face.LABELS)
    for i in range(count):
        drawing = draw(FRESH_SEED_START + seed * FRESH_SEEDS + i, labels[i % len(labels)], **options)
        yield f"{family}_{i + 1:04d}.png", family, drawing


def truth(family: str, drawing: Drawing) -> np.ndarray:
    """Where the label shows, (h, w) bool: the fracture, or the parts of a face that carry an expression."""
    masks = drawing.masks
    return masks["fracture"] if family == "xray" else masks["eyes"] | masks["brows"] | masks["mouth"]


def marks(family: str, drawing: Drawing) -> dict[str, np.ndarray]:
    """The masks of a sample, (h, w) bool, by their columns; those that mark nothing are left out."""
    parts = {f"{part}_mask": drawing.masks[part] for part in MARKED if part in drawing.masks}
    whole = {"mask": truth(family, drawing), "object_mask": drawing.masks[OBJECT[family]]}
    return {column: mask for column, mask in (whole | parts).items() if mask.any()}


def write_samples(folder: Path, drawn: Iterable[tuple[str, str, Drawing]] | None = None) -> None:
    """Write the samples, or other drawings, into `folder`, their masks (0 or 255) into `folder/masks`, and labels.csv.

    In the table `mask` and the columns `<part>_mask` are paths relative to `folder`, empty where there is nothing to
    mark; the group columns of the other family stay empty.
    """
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    rows = [_write(folder, *sample) for sample in (samples() if drawn is None else drawn)]
    groups = dict.fromkeys(column for row in rows for column in row if column not in COLUMNS)
    with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, (*COLUMNS, *groups), restval="", lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


def _write(folder: Path, name: str, family: str, drawing: Drawing) -> dict[str, str]:
    """Write one picture and its masks; returns its row of the table."""
    pixels = drawing.pixels[..., 0] if family == "xray" else drawing.pixels  # an X-ray is grey: one channel is enough
    Image.fromarray(pixels).save(folder / name, optimize=True)
    row = {"file": name, "label": drawing.label, "family": family, **drawing.groups}
    for column, mark in marks(family, drawing).items():
        row[column] = f"masks/{Path(name).stem}_{'truth' if column == 'mask' else column.removesuffix('_mask')}.png"
        Image.fromarray(mark.astype(np.uint8) * 255).save(folder / row[column], optimize=True)
    return row
