"""The bytes of PNG, JPEG, WebP, TIFF and BMP to pixels, by Pillow; and the limits and words of every picture."""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_core.errors import PictureError

if TYPE_CHECKING:
    import PIL.Image
    import PIL.ImageFile

MAX_PIXELS = 40_000_000  # checked in the header, before decoding

AGAIN = "get the file again, or export it as PNG or JPEG"
MOST_PAGES = 5_000  # of a TIFF, whose pages can only be counted one by one

_FORMATS = {
    rb"\x89PNG\r\n\x1a\n": "PNG",
    rb"\xff\xd8\xff": "JPEG",
    rb"RIFF....WEBP": "WEBP",
    rb"II[*+]\0|MM\0[*+]": "TIFF",
    rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0": "BMP",
}


def format_of(data: bytes) -> str | None:
    """Which of the five formats the bytes begin as, or None."""
    return next((form for magic, form in _FORMATS.items() if re.match(magic, data, re.DOTALL)), None)


def decode(data: bytes, frame: int = 0) -> tuple[np.ndarray, dict[str, Any]] | None:
    """(h, w, 3) uint8 and the facts, `assumed` among them as a list; None for a file of none of the five formats.

    Raises PictureError without the file's name; damaged bytes also raise whatever Pillow raises.
    """
    import PIL.Image

    form = format_of(data)
    if form is None:
        return None
    try:
        with PIL.Image.open(io.BytesIO(data), formats=(form,)) as picture:
            check_size(*picture.size)
            picture.verify()  # the check sums of a PNG, which loading leaves out
        with PIL.Image.open(io.BytesIO(data), formats=(form,)) as picture:
            assumed: list[str] = []
            counted = frame_facts(frame, _count(picture, form), assumed)
            picture.seek(frame)
            check_size(*picture.size)  # pages of a TIFF have their own
            bits = _bits(picture, form, data)
            if picture.info.get("icc_profile"):
                assumed.append("The colour profile in the file was not applied; its values are shown as sRGB.")
            facts = {"format": "WebP" if form == "WEBP" else form, "mode": picture.mode, "bits": bits, **counted}
            upright = _upright(picture, form, assumed)
            return np.ascontiguousarray(_rgb(upright, bits, assumed)), {**facts, "assumed": assumed}
    except (PIL.Image.DecompressionBombError, PIL.Image.DecompressionBombWarning):
        raise PictureError(f"has more than {_LIMIT}") from None


_LIMIT = f"the {MAX_PIXELS // 1_000_000} megapixels that are accepted; make it smaller first"


def check_size(width: int, height: int) -> None:
    """Raises PictureError (without the file's name) for a picture of no pixels or of more than MAX_PIXELS."""
    if width < 1 or height < 1:
        raise PictureError(f"has no pixels: its header says {width} × {height}; {AGAIN}")
    if width * height > MAX_PIXELS:
        raise PictureError(f"is {width} × {height} pixels, more than {_LIMIT}")


def frame_facts(frame: int, frames: int, assumed: list[str]) -> dict[str, int]:
    """Of how many pictures which one is shown, where a file holds several, adding to `assumed` that it is.

    Raises PictureError (without the file's name) for a frame that is not there.
    """
    if not 0 <= frame < frames:
        there = f"its {frames} frames are counted from 0 to {frames - 1}" if frames > 1 else "it holds a single picture"
        raise PictureError(f"has no frame {frame}: {there}")
    if frames == 1:
        return {}
    shown = f"number {frame + 1}" if frame else "the first one"
    assumed.append(f"The file holds {frames} pictures; {shown} is shown.")
    return {"frames": frames, "frame": frame}


def grey(values: np.ndarray) -> tuple[np.ndarray, str]:
    """(h, w) numbers of any range as (h, w) uint8, scaled and never clipped, and the sentence that says how."""
    if not np.isfinite(values).all():
        raise PictureError("holds values that are not numbers (NaN or infinite); replace them and save it again")
    low, high = float(values.min()), float(values.max())
    if values.dtype.kind == "f":
        fit, why = 1.0, "fractions"
    else:
        bits = next((bits for bits in (8, 12, 16) if high < 2**bits), 0)
        fit, why = 2.0**bits - 1, f"{bits} bits hold them all"
    ends = (0.0, fit) if low >= 0 and high <= fit else (low, high)
    why = why if ends == (0.0, fit) else "their own range"
    said = f"Values from {low:g} to {high:g} were scaled so that {ends[0]:g} is black and {ends[1]:g} white ({why})."
    span = ends[1] - ends[0] or 1.0
    if not math.isfinite(span):
        raise PictureError("holds values too far apart to be shown as greys; rescale them and save it again")
    return np.rint((values.astype(np.float64) - ends[0]) * (255 / span)).astype(np.uint8), said


def _count(picture: PIL.ImageFile.ImageFile, form: str) -> int:
    """How many frames or pages there are."""
    if form != "TIFF" or not getattr(picture, "is_animated", False):
        return int(getattr(picture, "n_frames", 1))
    for page in range(1, MOST_PAGES + 1):  # Pillow's own count has no end in a file made to have none
        try:
            picture.seek(page)
        except EOFError:
            return page
        except Exception:  # a page that cannot be shown is one all the same
            continue
    raise PictureError(f"holds more than the {MOST_PAGES} pages that are accepted; split it first")


def _bits(picture: PIL.ImageFile.ImageFile, form: str, data: bytes) -> int:
    """Bits per channel as they are stored; raises PictureError for a TIFF whose parts do not fit its size."""
    if form == "TIFF":
        tags = picture.tag_v2  # type: ignore[attr-defined]
        check_size(tags.get(322, 1), tags.get(323, 1))  # of a tile, which is decoded as a whole
        if max(extents[3] for _, extents, *_ in picture.tile if extents) < tags[257]:
            raise PictureError(f"holds fewer pixels than its header says; {AGAIN}")
        return int(max(tags.get(258, (1,))))
    if form == "PNG" and picture.mode != "P":
        return data[24]
    return 1 if picture.mode == "1" else 8


def _upright(picture: PIL.Image.Image, form: str, assumed: list[str]) -> PIL.Image.Image:
    """The loaded picture, turned as EXIF says."""
    from PIL import ImageOps

    turn = picture.tag_v2.get(274, 1) if form == "TIFF" else 1  # type: ignore[attr-defined]
    picture.load()  # which turns a TIFF by itself
    if form != "TIFF":
        try:
            turn = picture.getexif().get(274, 1)
            picture = ImageOps.exif_transpose(picture)
        except Exception:  # damaged EXIF makes Pillow raise anything; the picture is still one
            turn = 1
            assumed.append("Its EXIF data are damaged; the picture is shown as it is stored.")
    if turn in range(2, 9):
        assumed.append(f"The picture was turned upright as its EXIF orientation ({turn}) says.")
    return picture


def _rgb(picture: PIL.Image.Image, bits: int, assumed: list[str]) -> np.ndarray:
    """(h, w, 3) uint8 of a loaded picture of any mode, adding to `assumed` what was taken for granted."""
    import PIL.Image

    mode = picture.mode
    if bits > 8 and picture.info.pop("transparency", None) is not None:
        assumed.append("Its transparent colour was ignored.")
    if mode in ("I", "F") or mode.startswith("I;16"):
        tags, stored = getattr(picture, "tag_v2", {}), np.asarray(picture)
        if (mode, bits) == ("I", 32) and tags.get(339, (1,))[0] == 1:
            stored = stored.view(np.uint32)  # Pillow knows no unsigned ones
        values, said = grey(stored)
        assumed.append(said)
        if tags.get(262) == 0:  # Pillow turns only eight bits over by itself
            values = 255 - values
            assumed.append("It is stored with white as the lowest value and was inverted for display.")
        return np.repeat(values[:, :, None], 3, axis=2)
    if bits > 8:
        assumed.append(f"Each channel's {bits} bits were scaled to 8: black and white stay where they were.")
    if mode in ("CMYK", "LAB"):
        assumed.append(f"{mode} colours were turned into RGB by formula, without a colour profile.")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        picture = (picture.convert("LA") if mode == "La" else picture).convert("RGBA")
        alpha = picture.getchannel("A")
        if alpha.getextrema() != (255, 255):
            assumed.append("Transparent parts are shown over white.")
        paper = PIL.Image.new("RGB", picture.size, "white")
        paper.paste(picture, mask=alpha)
        return np.asarray(paper)
    return np.asarray(picture.convert("RGB"))
