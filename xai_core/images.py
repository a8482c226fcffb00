"""Bytes to a picture as it is displayed, and that picture to what a network sees.

The door for files. What stands behind it: `raster` for PNG, JPEG, WebP, TIFF and BMP, `dicom` for DICOM.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from xai_core import dicom, raster
from xai_core.errors import PictureError, SettingError
from xai_core.raster import AGAIN, MAX_PIXELS
from xai_core.records import Image

if TYPE_CHECKING:
    import torch

MAX_BYTES = 200 * 2**20
ENDINGS = {"PNG": "png", "JPEG": "jpg", "WEBP": "webp", "TIFF": "tif", "BMP": "bmp", "DICOM": "dcm"}

_FOREIGN = {  # what a file that is no picture may begin with
    rb"GIF8": "a GIF animation",
    rb"%PDF-": "a PDF document",
    rb"....ftyp(hei|hev|mif1|msf1)": "a HEIC photo",
    rb"....ftypavi[fs]": "an AVIF picture",
    rb"....ftyp": "a video",
    rb"PK[\x03\x05]": "a zip archive",
    rb"\x1f\x8b": "a gzip archive",
    rb"7z\xbc\xaf|Rar!": "an archive",
    rb"%!PS": "a PostScript document",
    rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51": "a JPEG 2000 picture",
}


def read_image(source: str | os.PathLike[str] | bytes | BinaryIO, name: str = "", frame: int = 0) -> Image:
    """A file's picture: upright, (h, w, 3) uint8 RGB, with what was assumed on the way in `source["assumed"]`.

    `source` is a path, the bytes, or a file opened in binary mode (read from its start where it can be rewound).
    Accepted: PNG, JPEG, WebP, TIFF, BMP and DICOM. Raises PictureError, one sentence, for everything else.
    `frame`, from 0, chooses among the frames or pages of a file that holds several: `source["frames"]` says how many
    there are, `source["frame"]` which was taken. Each is a picture of its own, told apart by `sha256`.
    """
    data, name = _take(source, name)
    called = _label(name)
    try:
        if not data:
            raise PictureError("is empty; get the file again")
        if len(data) > MAX_BYTES:
            raise PictureError(f"is larger than the {MAX_BYTES >> 20} MiB that are accepted; make it smaller first")
        found = dicom.decode(data, frame) if _is_dicom(data) else raster.decode(data, frame)
        if found is None:
            raise PictureError(f"is {_kind(data)}, not a picture this program reads; save it as PNG or JPEG first")
    except PictureError as error:
        raise PictureError(f"{called} {error}.") from None
    except MemoryError as error:
        raise PictureError(f"{called} does not fit into the memory that is left; make it smaller first.") from error
    except Exception as error:  # damaged bytes make Pillow and pydicom raise anything, none of it for a person to read
        raise PictureError(f"{called} could not be decoded: it is damaged or incomplete; {AGAIN}.") from error
    pixels, facts = found
    facts |= {"width": pixels.shape[1], "height": pixels.shape[0], "assumed": tuple(facts["assumed"])}
    sha256 = hashlib.sha256(data).hexdigest()
    if frame:
        facts["file_sha256"] = sha256
        sha256 = hashlib.sha256(f"{sha256} frame {frame}".encode()).hexdigest()
    return Image(pixels, sha256, name, facts)


def ending_of(data: bytes) -> str:
    """What a file of these bytes is called after its dot, whatever its own name says: one of ENDINGS.

    Raises PictureError for bytes that are no picture.
    """
    form = "DICOM" if _is_dicom(data) else raster.format_of(data)
    if form is None:
        raise PictureError(f"The picture to be kept is {_kind(data)}, not one that this program reads.")
    return ENDINGS[form]


def _is_dicom(data: bytes) -> bool:
    return data[128:132] == b"DICM" or re.match(rb"[\x02\x08]\0[\0-\x20]\0", data) is not None


def _take(source: str | os.PathLike[str] | bytes | BinaryIO, name: str) -> tuple[bytes, str]:
    """The bytes (one more than MAX_BYTES at most) and the name by which the person knows them."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source[: MAX_BYTES + 1]), name
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else getattr(source, "name", "")
    name = name or (os.path.basename(os.path.normpath(path)) if isinstance(path, str) and path else "")
    called = _label(name)
    try:
        if isinstance(source, str | os.PathLike):
            kind = os.stat(path).st_mode
            if stat.S_ISDIR(kind):
                raise PictureError(f"{called} is a folder, not a picture; choose a file inside it.")
            if not stat.S_ISREG(kind):
                raise PictureError(f"{called} is not an ordinary file; copy the picture into one first.")
            with open(path, "rb") as file:
                return file.read(MAX_BYTES + 1), name
        if source.seekable():
            source.seek(0)  # an upload that was read before stands at its end
        data: object = source.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise PictureError(f"{called} does not exist; check its name and folder.") from None
    except PermissionError:
        raise PictureError(f"{called} may not be read by this user; change its permissions.") from None
    except (OSError, ValueError) as error:  # ValueError: a zero character in the path, a closed file, a text file
        raise PictureError(f"{called} cannot be read; copy it elsewhere, or open it again in binary mode.") from error
    if not isinstance(data, bytes):
        raise PictureError(f"{called} was opened as text; open it in binary mode.")
    return data, name


def _label(name: str) -> str:
    """The name as it may stand in a sentence of one line."""
    shown = "".join(c if c.isprintable() else " " for c in name).strip()
    return (shown if len(shown) <= 80 else f"{shown[:60]}…{shown[-19:]}") or "The picture"


def _kind(data: bytes) -> str:
    """What a file that is no picture seems to be, with its article."""
    for magic, what in _FOREIGN.items():
        if re.match(magic, data, re.DOTALL):
            return what
    head = data[:2048].decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "ignore").lower()
    if "<svg" in head:
        return "an SVG drawing"
    if "<!doctype html" in head or "<html" in head:
        return "an HTML page"
    odd = sum(not (c.isprintable() or c in "\r\n\t\f\ufeff") for c in head)
    return "plain text" if odd == 0 and len(head) >= min(len(data), 2048) / 4 else "of an unknown kind"


# ---- from a picture to what a network sees ----------------------------------------------------------------------

_CROPS = ("center", "squash", "border")
_FILTERS = ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos")


@dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes what a network sees: timm's transform for evaluation.

    `input_size` (3, height, width) in pixels; `mean` and `std` per channel of values from 0 to 1. `crop_mode`:
    "center" fits the short side and cuts the rest off, "squash" fits both sides, "border" fits the long side and
    fills up with the mean colour. `crop_fraction` of the fitted picture is kept. Raises SettingError for others.
    """

    input_size: tuple[int, int, int] = (3, 224, 224)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    crop_fraction: float = 1.0
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        if len(self.input_size) != 3 or self.input_size[0] != 3 or min(self.input_size) < 1:
            raise SettingError(f"An input of {self.input_size} is not (3, height, width); choose a network for colour.")
        numbers = (*self.mean, *self.std)
        counted = len(self.mean) == 3 and len(numbers) == 6
        if not counted or not all(abs(one) <= 1e6 for one in numbers) or min(self.std) < 1e-6:
            raise SettingError(
                "Mean and standard deviation need three numbers each of up to a million, the latter from 0.000001."
            )
        if self.interpolation not in _FILTERS:
            raise SettingError(f"{self.interpolation!r} is no interpolation; choose one of {', '.join(_FILTERS)}.")
        if self.crop_mode not in _CROPS:
            raise SettingError(f"{self.crop_mode!r} is no crop mode; choose one of {', '.join(_CROPS)}.")
        if not 0.05 <= self.crop_fraction <= 20:
            raise SettingError(f"A crop fraction of {self.crop_fraction} is not from 0.05 to 20; 1 keeps everything.")

    @classmethod
    def from_timm(cls, cfg: Mapping[str, Any]) -> Preprocessing:
        """From timm's `resolve_data_config` or `pretrained_cfg`; what is missing is as timm has it."""
        plain = cls()
        return cls(
            tuple(cfg.get("input_size") or plain.input_size),
            tuple(float(value) for value in cfg.get("mean") or plain.mean),  # type: ignore[arg-type]
            tuple(float(value) for value in cfg.get("std") or plain.std),  # type: ignore[arg-type]
            cfg.get("interpolation") or plain.interpolation,
            float(cfg.get("crop_pct") or 0.875),
            cfg.get("crop_mode") or plain.crop_mode,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @property
    def sha256(self) -> str:
        """Of the settings as JSON, keys sorted, without spaces."""
        text = json.dumps(self.to_dict(), sort_keys=True, separators=(",", ":"), allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()

    def view(self, image: Image) -> np.ndarray:
        """(h, w, 3) uint8: exactly the crop that the network sees.

        Raises PictureError for a picture so long and thin that fitting it would need more than MAX_PIXELS.
        """
        import PIL.Image
        from timm.data.transforms_factory import create_transform

        height, width = image.pixels.shape[:2]
        tall, wide = (side / self.crop_fraction for side in self.input_size[1:])
        scale = (max if self.crop_mode == "border" else min)(height / tall, width / wide)
        rows, columns = (tall, wide) if self.crop_mode == "squash" else (height / scale, width / scale)
        if min(rows, columns) < 1 or rows * columns > MAX_PIXELS:
            raise PictureError(
                f"{_label(image.name)} is too long and thin for this network ({width} × {height} pixels would become "
                f"{columns:.0f} × {rows:.0f}); crop it first."
            )
        how: dict[str, Any] = {"interpolation": self.interpolation, "crop_mode": self.crop_mode, "mean": self.mean}
        crop = create_transform(self.input_size, crop_pct=self.crop_fraction, normalize=False, **how)
        return np.ascontiguousarray(crop(PIL.Image.fromarray(image.pixels)).permute(1, 2, 0).numpy())

    def box(self, image: Image) -> tuple[float, float, float, float]:
        """(left, top, right, bottom) of what `view` shows, in pixels of the upload: edges, not centres.

        Beyond the picture where the view has a border. Both axes are resized and cropped alike, and rounded as timm and
        torchvision round: where a corner of the view is found in the upload, all of it is.
        """
        size = image.pixels.shape[:2]
        starts, ends = zip(*map(_cut, size, self._resized(size), self.input_size[1:]), strict=True)
        return starts[1], starts[0], ends[1], ends[0]

    def _resized(self, size: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) that a picture of that size has before it is cropped."""
        fitted = [math.floor(side / self.crop_fraction) for side in self.input_size[1:]]
        if self.crop_mode == "squash":
            return fitted[0], fitted[1]
        if self.crop_mode == "center" and fitted[0] == fitted[1]:  # torchvision cuts off where timm rounds
            height, width = (fitted[0] if side == min(size) else int(fitted[0] * side / min(size)) for side in size)
            return height, width
        ratio = (max if self.crop_mode == "border" else min)(size[0] / fitted[0], size[1] / fitted[1])
        return round(size[0] / ratio), round(size[1] / ratio)

    def tensor(self, pixels: np.ndarray) -> torch.Tensor:
        """(n, h, w, 3) uint8 to (n, 3, h, w) float32: (pixels / 255 - mean) / std. Raises ValueError for others."""
        import torch

        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[3] != 3:
            raise ValueError(f"expected uint8 (n, h, w, 3), got {pixels.dtype} {pixels.shape}")
        x = torch.from_numpy(np.array(pixels)).permute(0, 3, 1, 2).contiguous().to(torch.float32).div_(255)
        return x.sub_(self._column(torch, self.mean)).div_(self._column(torch, self.std))

    def pixels(self, x: torch.Tensor) -> np.ndarray:
        """(n, 3, h, w) back to (n, h, w, 3) uint8, rounded and clipped; gives back what `tensor` was given."""
        import torch

        x = x.detach().to("cpu", torch.float32) * self._column(torch, self.std) + self._column(torch, self.mean)
        shown = (x * 255).round_().clamp_(0, 255).to(torch.uint8)
        return np.ascontiguousarray(shown.permute(0, 2, 3, 1).numpy())

    @staticmethod
    def _column(torch: Any, values: tuple[float, float, float]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32)[:, None, None]  # type: ignore[no-any-return]


def _cut(side: int, resized: int, kept: int) -> tuple[float, float]:
    """First and last edge, in pixels of the upload, of the middle `kept` pixels of a side that is resized first."""
    before = -((kept - resized) // 2) if kept > resized else round((resized - kept) / 2)
    return before * side / resized, (before + kept) * side / resized
