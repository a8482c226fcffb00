"""The sample pictures that come with the program: two dozen drawings, with the truth about each.

Every row of the tables was chosen by eye, so that the set shows both families in their variety and no picture is
hard for a person to name. Side markers go with all three findings alike: here they carry no information.

The seeds begin at SAMPLE_SEED_START, far from those that networks learn from, so no sample was ever trained on.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from . import face, xray
from .drawing import Drawing

SAMPLE_SEED_START = 2_000_000

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

COLUMNS = ("file", "label", "family", "mask", "marker_mask")


def samples() -> Iterator[tuple[str, str, Drawing]]:
    """File name, family ("xray" or "face") and drawing of every sample."""
    for name, offset, label, marker in XRAYS:
        yield name, "xray", xray.draw(SAMPLE_SEED_START + offset, label, marker=marker)
    for name, offset, label, medical_mask in FACES:
        yield name, "face", face.draw(SAMPLE_SEED_START + offset, label, medical_mask=medical_mask)


def truth(family: str, drawing: Drawing) -> np.ndarray:
    """Where the label shows, (h, w) bool: the fracture, or the parts of a face that carry an expression."""
    masks = drawing.masks
    return masks["fracture"] if family == "xray" else masks["eyes"] | masks["brows"] | masks["mouth"]


def write_samples(folder: Path) -> None:
    """Write the pictures into `folder`, their masks (0 or 255, one channel) into `folder/masks`, and labels.csv.

    In the table `mask` and `marker_mask` are paths relative to `folder`, empty where there is nothing to mark; the
    group columns of the other family stay empty.
    """
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    rows = [_write(folder, *sample) for sample in samples()]
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
    marks = {"mask": truth(family, drawing), "marker_mask": drawing.masks.get("marker", np.zeros(1, bool))}
    for column, mark in marks.items():
        if mark.any():
            row[column] = f"masks/{Path(name).stem}_{'truth' if column == 'mask' else 'marker'}.png"
            Image.fromarray(mark.astype(np.uint8) * 255).save(folder / row[column], optimize=True)
    return row
