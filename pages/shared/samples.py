"""Pictures that are one click away: the project's own, and real ones that installed packages bring with them."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

import xai_core as xai
from xai_core.records import Image

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "samples"
FAMILIES = {"xray": "X-rays (synthetic)", "face": "Faces (synthetic)", "real": "Real pictures"}
SHIPPED = (  # key, label, package, file inside it: none of them is ever downloaded
    ("astronaut", "astronaut (photo, scikit-image)", "skimage", "data/astronaut.png"),
    ("cat", "cat (photo, scikit-image)", "skimage", "data/chelsea.png"),
    ("ct-slice", "CT slice (DICOM, pydicom)", "pydicom", "data/test_files/CT_small.dcm"),
)
SIDE = 96  # pixels of a thumbnail


@dataclass(frozen=True)
class Sample:
    """One picture on offer. `family` decides which demo model fits it.

    `mask` marks where its evidence is, `artefact` what should not count as such, as a marker.
    """

    key: str
    label: str
    family: str
    path: Path
    mask: Path | None = None
    artefact: Path | None = None


@lru_cache(maxsize=1)
def samples() -> Mapping[str, Sample]:
    """Every sample by its key, family by family."""
    found = {sample.key: sample for sample in (*_own(), *_shipped())}
    return MappingProxyType({key: one for family in FAMILIES for key, one in found.items() if one.family == family})


@lru_cache(maxsize=64)
def picture(key: str) -> Image:
    """The sample as a picture. Raises PictureError where its file is gone."""
    sample = samples()[key]
    return xai.read_image(sample.path.read_bytes(), f"{sample.label}{sample.path.suffix}")


@lru_cache(maxsize=64)
def mask(key: str) -> Image | None:
    """White where the evidence of the sample is, if that is known."""
    marked = samples()[key].mask
    return xai.read_image(marked) if marked else None


@lru_cache(maxsize=64)
def artefact(key: str) -> Image | None:
    """White where the sample's artefact is, if it has one and it is known."""
    marked = samples()[key].artefact
    return xai.read_image(marked) if marked else None


def by_hash(sha256: str) -> str | None:
    """The key of the sample whose bytes have this hash, or whose hash starts with it."""
    return next((key for key, known in _hashes().items() if len(sha256) >= 16 and known.startswith(sha256)), None)


def thumbnail(image: Image, side: int) -> bytes:
    """The picture as a small JPEG, its longer side `side` pixels."""
    from PIL import Image as Pillow

    small = Pillow.fromarray(image.pixels)
    small.thumbnail((side, side))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=88)
    return out.getvalue()


@lru_cache(maxsize=64)
def sample_thumbnail(key: str) -> bytes:
    """A sample's thumbnail."""
    return thumbnail(picture(key), SIDE)


def _own() -> list[Sample]:
    table = FOLDER / "labels.csv"
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8-sig") as lines:
        rows = [row for row in csv.DictReader(lines) if (FOLDER / row["file"]).is_file()]
    return [
        Sample(
            key=Path(row["file"]).stem,
            label=f"{row['label']} {row['file'].rpartition('_')[2].partition('.')[0]}",
            family=row["family"],
            path=FOLDER / row["file"],
            mask=FOLDER / row["mask"] if row.get("mask") else None,
            artefact=FOLDER / row["marker_mask"] if row.get("marker_mask") else None,
        )
        for row in rows
    ]


def _shipped() -> list[Sample]:
    found = []
    for key, label, package, inside in SHIPPED:
        spec = find_spec(package)  # finds the package without importing it
        path = Path((spec.submodule_search_locations or [""])[0], inside) if spec else Path(inside)
        if path.is_file():
            found.append(Sample(key, label, "real", path))
    return found


@lru_cache(maxsize=1)
def _hashes() -> Mapping[str, str]:
    return {key: hashlib.sha256(sample.path.read_bytes()).hexdigest() for key, sample in samples().items()}
