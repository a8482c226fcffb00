"""The bytes of PNG, JPEG, WebP, TIFF and BMP to pixels.

Only the parts of a file that make pixels reach a decoder. Text, previews, EXIF and private tags are cut out first:
they may name a person, and damaged ones make Pillow warn, which cannot be silenced for one thread alone.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_core.errors import PictureError
from xai_core.images import AGAIN, FIRST, check_size, grey

if TYPE_CHECKING:
    import PIL.Image

MAX_STRIPS = 200_000  # of a TIFF: more than the smallest tiles of the largest picture
PROFILE = "The colour profile in the file was not applied; its values are shown as sRGB."


def decode(data: bytes) -> tuple[np.ndarray, dict[str, Any]] | None:
    """(h, w, 3) uint8 and the facts, `assumed` among them as a list; None for a file of none of the five formats.

    Raises PictureError without the file's name; damaged bytes also raise what Pillow and struct raise.
    """
    for magic, part in _PARTS.items():
        if re.match(magic, data, re.DOTALL):
            return _picture(part(data))
    return None



@dataclass(frozen=True)
class _Part:
    """What is left of a file when only what makes pixels is kept."""

    format: str  # as Pillow calls it
    data: bytes
    size: tuple[int, int]  # width, height
    bits: int = 0  # per channel; 0: as the mode has it
    turn: int = 1  # EXIF orientation
    assumed: tuple[str, ...] = ()


def _picture(part: _Part) -> tuple[np.ndarray, dict[str, Any]]:
    import PIL.Image

    check_size(*part.size)
    with PIL.Image.open(io.BytesIO(part.data), formats=(part.format,)) as picture:
        if picture.size != part.size:
            raise PictureError(f"has a header that contradicts itself about its size; {AGAIN}")
        picture.load()
        assumed = list(part.assumed)
        if "icc_profile" in picture.info:
            assumed.append(PROFILE)
        if part.format == "WEBP" and getattr(picture, "n_frames", 1) > 1:
            assumed.append(FIRST)
        pixels = _rgb(picture, part, assumed)
        bits = part.bits or {"1": 1, "I": 32, "F": 32}.get(picture.mode, 16 if picture.mode.startswith("I;16") else 8)
        facts = {"format": "WebP" if part.format == "WEBP" else part.format, "mode": picture.mode, "bits": bits}
    if part.turn != 1:
        pixels = _TURNS[part.turn](pixels)
        assumed.append(f"The picture was turned upright as its EXIF orientation ({part.turn}) says.")
    return np.ascontiguousarray(pixels), {**facts, "assumed": assumed}


_TURNS = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}


def _rgb(picture: PIL.Image.Image, part: _Part, assumed: list[str]) -> np.ndarray:
    """(h, w, 3) uint8 of a loaded picture of any mode, adding to `assumed` what was taken for granted."""
    import PIL.Image

    mode = picture.mode
    if mode in ("I", "F") or mode.startswith("I;16"):
        values, said = grey(np.asarray(picture))
        assumed.append(said)
        return np.repeat(values[:, :, None], 3, axis=2)
    if part.bits > 8 and mode in ("L", "LA", "RGB", "RGBA", "RGBX", "CMYK"):
        assumed.append(f"Each channel's {part.bits} bits were scaled to 8: black and white stay where they were.")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info:
        if mode == "La":
            picture = picture.convert("LA")
        picture = picture.convert("RGBA")
        alpha = picture.getchannel("A")
        if alpha.getextrema() != (255, 255):
            assumed.append("Transparent parts are shown over white.")
        paper = PIL.Image.new("RGB", picture.size, "white")
        paper.paste(picture, mask=alpha)
        return np.asarray(paper)
    if mode in ("CMYK", "LAB"):
        assumed.append(f"{mode} colours were turned into RGB by formula, without a colour profile.")
    return np.asarray(picture.convert("RGB"))


def _png(data: bytes) -> _Part:
    """Chunks are kept by an allow-list; their check sums and the end mark are verified."""
    kept, at, seen, turn = [data[:8]], 8, set(), 1
    if data[12:16] != b"IHDR":
        raise PictureError(f"is a PNG without a header; {AGAIN}")
    width, height, bits, colour = struct.unpack(">IIBB", data[16:26])
    check_size(width, height)
    while b"IEND" not in seen:
        head = data[at : at + 8]
        length, kind = struct.unpack(">I4s", head) if len(head) == 8 else (0, b"")
        end = at + 12 + length
        if not kind or end > len(data):
            raise PictureError(f"ends before its picture does; {AGAIN}")
        seen.add(kind)
        if kind == b"eXIf":
            turn = _orientation(data[at + 8 : end - 4])
        elif kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND") or (kind == b"tRNS" and bits < 16):
            if struct.pack(">I", zlib.crc32(memoryview(data)[at + 4 : end - 4])) != data[end - 4 : end]:
                raise PictureError(f"is damaged: a check sum does not match; {AGAIN}")
            kept.append(data[at:end])
        at = end
    said = {
        b"acTL": "The file is animated; its still picture is shown.",
        b"iCCP": PROFILE,
        b"tRNS": "Its transparent colour was ignored." if bits == 16 else "",
    }
    assumed = tuple(said[kind] for kind in said if kind in seen and said[kind])
    return _Part("PNG", b"".join(kept), (width, height), 8 if colour == 3 else bits, turn, assumed)


def strip_jpeg(data: bytes) -> _Part:
    """Only tables, frames, and the two markers that say which colours are meant are kept before the first scan."""
    kept, at, size, turn = [data[:2]], 2, (0, 0), 1
    assumed: list[str] = []
    while True:
        while data[at : at + 2] == b"\xff\xff":
            at += 1  # filling is allowed between segments
        if len(data) < at + 4 or data[at] != 0xFF:
            raise PictureError(f"is a damaged or incomplete JPEG; {AGAIN}")
        marker = data[at + 1]
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        body = data[at + 4 : end]
        if marker == 0xDA:
            return _Part("JPEG", b"".join([*kept, data[at:]]), size, 8, turn, tuple(dict.fromkeys(assumed)))
        if marker >> 4 == 0xC and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width = struct.unpack(">BHH", body[:5])
            check_size(width, height)
            if size != (0, 0):
                raise PictureError(f"has two headers that contradict each other; {AGAIN}")
            if bits != 8:
                raise PictureError(f"holds {bits} bits per channel, which is no usual JPEG; export it as 16-bit PNG")
            size = (width, height)
        if marker == 0xE1 and body.startswith(b"Exif\0") and turn == 1:
            turn = _orientation(body[6:])
        if marker == 0xE2 and body.startswith(b"MPF\0"):
            assumed.append(FIRST)
        if marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
            assumed.append(PROFILE)
        if not 0xE1 <= marker <= 0xED and marker not in (0xEF, 0xFE):
            kept.append(data[at:end])
        at = end


def _webp(data: bytes) -> _Part:
    at, size, turn, end = 12, (0, 0), 1, 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise PictureError(f"ends before its picture does; {AGAIN}")
    while at + 8 <= end:
        kind, length = struct.unpack("<4sI", data[at : at + 8])
        body = data[at + 8 : at + 8 + min(length, 2**16)]
        if kind == b"VP8X" and len(body) >= 10:
            size = (int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1)
        elif kind == b"VP8 " and size == (0, 0):
            size = (int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF)
        elif kind == b"VP8L" and size == (0, 0):
            packed = int.from_bytes(body[1:5], "little")
            size = ((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1)
        elif kind == b"EXIF":
            turn = _orientation(body.removeprefix(b"Exif\0\0"))
        check_size(*size) if size != (0, 0) else None
        at += 8 + length + length % 2
    return _Part("WEBP", data[:end], size, 8, turn)


def _bmp(data: bytes) -> _Part:
    width, height = struct.unpack_from("<HH" if data[14] == 12 else "<ii", data, 18)
    return _Part("BMP", data, (width, abs(height)))


# ---- TIFF, whose directory is also that of EXIF -----------------------------------------------------------------

_TYPES = {1: "B", 2: "c", 3: "H", 4: "I", 5: "8s", 6: "b", 7: "B", 8: "h", 9: "i", 10: "8s", 11: "f", 12: "d", 13: "I"}
_TYPES |= {16: "Q", 17: "q", 18: "Q"}
_PIXEL_TAGS = {254, 256, 257, 258, 259, 262, 266, 273, 277, 278, 279, 284, 292, 293, 317, 320, 322, 323, 324, 325, 332}
_PIXEL_TAGS |= {338, 339, 347, 529, 530, 531, 532}  # the rest is resolution, text, time, place, private


@dataclass(frozen=True)
class _Directory:
    """The first directory of a TIFF: where it stands, its raw entries, and whether another one follows."""

    at: int
    order: str  # "<" or ">"
    big: bool
    entries: dict[int, bytes]
    more: bool

    def numbers(self, data: bytes, tag: int) -> tuple[int, ...]:
        """The whole numbers of `tag`, () where it has none; raises PictureError where they lie outside the file."""
        if tag not in self.entries:
            return ()
        row, room = self.entries[tag], 8 if self.big else 4
        kind, count = struct.unpack(self.order + ("HQ" if self.big else "HI"), row[2:-room])
        letter, value = _TYPES.get(kind, ""), row[-room:]
        size = struct.calcsize("=" + letter) * count
        if size > room:
            start = int.from_bytes(value, "little" if self.order == "<" else "big")
            value = data[start : start + size] if start + size <= len(data) else b""
        if not letter or count < 1 or count > len(data) or len(value) < size:
            raise PictureError(f"is a damaged TIFF: tag {tag} points outside the file; {AGAIN}")
        return struct.unpack(f"{self.order}{count}{letter}", value[:size]) if letter in "BHIQ" else (0,) * count


def _directory(data: bytes) -> _Directory:
    order = "<" if data[:2] == b"II" else ">"
    big = data[2:4] in (b"+\0", b"\0+")
    word, count, step = ("Q", "Q", 20) if big else ("I", "H", 12)
    (at,) = struct.unpack_from(order + word, data, 8 if big else 4)
    (total,) = struct.unpack_from(order + count, data, at)
    start = at + struct.calcsize("=" + count)
    (after,) = struct.unpack_from(order + word, data, start + total * step)
    rows = [data[i : i + step] for i in range(start, start + total * step, step)]
    entries = {struct.unpack(order + "H", row[:2])[0]: row for row in reversed(rows)}  # the first of a tag counts
    return _Directory(at, order, big, entries, after > 0)


def _orientation(exif: bytes) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none that can be read."""
    try:
        turn = _directory(exif).numbers(exif, 274)
    except (struct.error, PictureError):
        return 1
    return turn[0] if turn and 1 <= turn[0] <= 8 else 1


def _tiff(data: bytes) -> _Part:
    """The first directory is written again in its place, with nothing but what makes pixels."""
    from PIL import TiffTags

    try:
        first = _directory(data)
    except struct.error:
        raise PictureError(f"is a damaged TIFF without a directory; {AGAIN}") from None
    kept = {tag: row for tag, row in first.entries.items() if tag in _PIXEL_TAGS}
    found = {tag: first.numbers(data, tag) for tag in kept}
    turn = found.get(274) or (1,)
    if 274 in first.entries:
        turn = first.numbers(data, 274)
    wrong = [tag for tag in found if TiffTags.lookup(tag).length == 1 and len(found[tag]) != 1]
    if wrong or not {256, 257} <= set(found) or not {273, 324} & set(found):
        raise PictureError(f"is a TIFF whose header is incomplete or contradicts itself; {AGAIN}")
    width, height = found[256][0], found[257][0]
    check_size(width, height)
    check_size(*(found.get(tag, (1,))[0] for tag in (322, 323)))
    if max(len(values) for values in found.values()) > max(MAX_STRIPS, 3 * 2**16):
        raise PictureError(f"is a TIFF cut into too many strips to be true; {AGAIN}")
    count, word = ("Q", "Q") if first.big else ("H", "I")
    rows = b"".join(kept[tag] for tag in sorted(kept))
    clean = struct.pack(first.order + count, len(kept)) + rows + struct.pack(first.order + word, 0)
    whole = data[: first.at] + clean + data[first.at + len(clean) :]
    bits = max(found.get(258, (1,)))
    assumed = ((FIRST,) if first.more else ()) + ((PROFILE,) if 34675 in first.entries else ())
    return _Part("TIFF", whole, (width, height), bits, turn[0] if 1 <= turn[0] <= 8 else 1, assumed)


_PARTS = {
    rb"\x89PNG\r\n\x1a\n": _png,
    rb"\xff\xd8\xff": strip_jpeg,
    rb"RIFF....WEBP": _webp,
    rb"II[*+]\0|MM\0[*+]": _tiff,
    rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0": _bmp,
}
