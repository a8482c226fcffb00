"""DICOM bytes to greys or colours on a screen.

The order is the standard's: stored values, modality LUT (rescale), VOI LUT (window), and last the inversion of
MONOCHROME1. Only the tags listed here are ever looked at, so nothing that identifies a person can get out, and
values are read from their bytes, since pydicom warns about small flaws that do not touch the picture.
"""

from __future__ import annotations

import io
import math
import re
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from xai_core.errors import PictureError
from xai_core.images import AGAIN, FIRST, check_size

MAX_ELEMENTS = 200_000
MAX_DEPTH = 16

# Of the sequences in _ITEM the first item is kept as a whole; of those in _MERGED it is read as if it stood outside.
_ITEM = {0x00283000, 0x00283010}  # modality and VOI LUT
_MERGED = {0x52009229, 0x52009230, 0x00289145, 0x00289132, 0x00289110}  # functional groups: rescale, window, spacing
_LONG = {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
_BIG = "1.2.840.10008.1.2.2"
_NATIVE = {"1.2.840.10008.1.2", "1.2.840.10008.1.2.1", _BIG}
_PHOTOMETRIC = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}
_RLE = "1.2.840.10008.1.2.5"
_JPEG = {"1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"}

# Only these words are repeated to the screen: a free text in their place could be a name.
_WORDS = {
    "modality": (0x00080060, "BI CR CT DG DX ES GM IO IVUS LS MG MR NM OCT OP OPT OT PT PX RF RG SC SM TG US XA XC"),
    "view_position": (0x00185101, "AP PA LL RL RLD LLD RLO LLO CC MLO ML LM LMO XCC XCCL XCCM FB SIO ISO LATERAL LAT"),
    "laterality": (0x00200060, "L R B U"),
    "image_laterality": (0x00200062, "L R B U"),
    "burned_in_annotation": (0x00280301, "YES NO"),
}


class Element(NamedTuple):
    """A tag's raw value: bytes, or for a sequence in _ITEM the elements of its first item."""

    value: Any
    order: str  # "<" or ">"


Elements = dict[int, Element]


def decode(data: bytes) -> tuple[np.ndarray, dict[str, Any]]:
    """(h, w, 3) uint8 and the facts, `assumed` among them as a list.

    Raises PictureError without the file's name; damaged bytes also raise what numpy, struct and decoders raise.
    """
    syntax, tags, pixels = _read(data)
    assumed: list[str] = [] if syntax else ["The file names no transfer syntax; it was taken as uncompressed."]
    rows, columns = int(_number(tags, 0x00280010)), int(_number(tags, 0x00280011))
    if pixels is None:
        raise PictureError("is a DICOM file without pixels; choose one that holds a picture")
    check_size(columns, rows)
    samples, stored = int(_number(tags, 0x00280002, 1)), int(_number(tags, 0x00280101, _number(tags, 0x00280100, 8)))
    photometric = _text(tags, 0x00280004) or "MONOCHROME2"
    if photometric not in _PHOTOMETRIC:
        raise PictureError("is a DICOM file with colours of an unknown kind; export it as PNG")
    if samples != (3 if photometric[0] in "RY" else 1):
        raise PictureError(f"is a DICOM file whose header contradicts itself about its colours; {AGAIN}")
    if _number(tags, 0x00280008, 1) > 1:
        assumed.append(FIRST)
    values, colours = _stored(syntax, tags, pixels, photometric, assumed)
    facts: dict[str, Any] = {"format": "DICOM", "mode": photometric, "bits": stored, "rows": rows, "columns": columns}
    if photometric == "PALETTE COLOR":
        shown = _palette(tags, values)
    elif samples == 3:
        shown = _colour(values, colours, stored, assumed)
    else:
        levels = _window(tags, values, assumed, facts)
        if photometric == "MONOCHROME1":
            levels = 255 - levels
            assumed.append("It is stored with white as the lowest value (MONOCHROME1) and was inverted for display.")
        shown = np.repeat(levels[:, :, None], 3, axis=2)
    for key, (tag, words) in _WORDS.items():
        if (word := _text(tags, tag)) and word in words.split():
            facts[key] = word
    spacing = _numbers(tags, 0x00280030) or _numbers(tags, 0x00181164)
    if len(spacing) == 2 and all(map(math.isfinite, spacing)):
        facts["pixel_spacing"] = spacing  # mm between rows, mm between columns
    if facts.get("burned_in_annotation") == "YES":
        assumed.append("By its header text is burned into the picture: it may name a person or give the label away.")
    return shown, {**facts, "assumed": assumed}


# ---- the file ---------------------------------------------------------------------------------------------------


class _Walk:
    """Goes through the elements of `data` in a way that hostile lengths and nesting can neither trick nor exhaust."""

    def __init__(self, data: bytes, explicit: bool, order: str) -> None:
        self.data, self.explicit, self.order, self.left = data, explicit, order, MAX_ELEMENTS

    def elements(self, at: int, end: int, depth: int = 0) -> Iterator[tuple[int, bytes, int, int, int]]:
        """(tag, VR, start, stop, next) of each; `stop` is -1 where no length is given."""
        while at + 8 <= end:
            self.left -= 1
            if self.left < 0 or depth > MAX_DEPTH:
                raise PictureError(f"is a DICOM file with more elements than can be true; {AGAIN}")
            group, element = struct.unpack_from(self.order + "HH", self.data, at)
            kind, start = self.data[at + 4 : at + 6], at + 8
            if not self.explicit or group == 0xFFFE or not re.fullmatch(rb"[A-Z]{2}", kind):
                kind = b""
                (length,) = struct.unpack_from(self.order + "I", self.data, at + 4)
            elif kind in _LONG:
                start = at + 12
                (length,) = struct.unpack_from(self.order + "I", self.data, at + 8)
            else:
                (length,) = struct.unpack_from(self.order + "H", self.data, at + 6)
            tag = group << 16 | element
            if tag in (0xFFFEE00D, 0xFFFEE0DD):
                yield tag, kind, start, start, start
                return
            stop = -1 if length == 0xFFFFFFFF else start + length
            if stop > end:
                raise PictureError(f"ends before its picture does; {AGAIN}")
            at = stop if stop >= 0 else self.end_of_items(start, end, depth + 1)
            yield tag, kind, start, stop, at

    def end_of_items(self, at: int, end: int, depth: int) -> int:
        """Where a sequence without a length ends, its end mark included."""
        for *_, after in self.items(at, end, depth):
            at = after
        return at

    def items(self, at: int, end: int, depth: int) -> Iterator[tuple[int, int, int]]:
        """(start, stop, next) of each item of a sequence; the end mark is yielded with stop -1."""
        while at + 8 <= end:
            self.left -= 1
            if self.left < 0 or depth > MAX_DEPTH:
                raise PictureError(f"is a DICOM file with more elements than can be true; {AGAIN}")
            group, element, length = struct.unpack_from(self.order + "HHI", self.data, at)
            start = at + 8
            if (group, element) == (0xFFFE, 0xE0DD):
                yield start, -1, start
                return
            if (group, element) != (0xFFFE, 0xE000):
                raise PictureError(f"is a damaged DICOM file; {AGAIN}")
            if length == 0xFFFFFFFF:
                at = start
                for *_, after in self.elements(start, end, depth + 1):
                    at = after
                yield start, at, at
            else:
                at = start + length
                if at > end:
                    raise PictureError(f"ends before its picture does; {AGAIN}")
                yield start, at, at

    def collect(self, at: int, end: int, into: Elements, depth: int = 0) -> tuple[int, int, bytes] | None:
        """Fills `into` with the known tags; returns the pixels' start, stop (-1: in fragments) and VR, if any."""
        pixels = None
        for tag, kind, start, stop, after in self.elements(at, end, depth):
            if tag == 0x7FE00010 and depth == 0:
                pixels = (start, stop, kind)
            elif tag in _MERGED or tag in _ITEM:
                inner: Elements = {}
                for first, last, _ in self.items(start, after if stop < 0 else stop, depth + 1):
                    if last >= 0:
                        self.collect(first, last, inner, depth + 1)
                    break
                if tag in _ITEM:
                    into[tag] = Element(inner, self.order)
                else:
                    into.update({key: value for key, value in inner.items() if key not in into})
            elif tag in _TAGS and stop >= 0:
                into[tag] = Element(self.data[start:stop], self.order)
        return pixels


_TAGS = {0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102}
_TAGS |= {0x00280103, 0x00280120, 0x00280030, 0x00181164, 0x00281050, 0x00281051, 0x00281052, 0x00281053, 0x00281056}
_TAGS |= {0x00281101, 0x00281102, 0x00281103, 0x00281201, 0x00281202, 0x00281203, 0x00283002, 0x00283006}
_TAGS |= {tag for tag, _ in _WORDS.values()}


def _read(data: bytes) -> tuple[str, Elements, list[bytes] | None]:
    """The transfer syntax ("" where none is named), the known elements, and the pixels' fragments (one if native)."""
    at, syntax = (132 if data[128:132] == b"DICM" else 0), ""
    meta = _Walk(data, True, "<")
    while data[at : at + 2] == b"\2\0":
        tag, _, start, stop, at = next(meta.elements(at, len(data)))
        if tag == 0x00020010 and stop >= 0:
            syntax = data[start:stop].rstrip(b"\0 ").decode("ascii", "replace")
    if syntax == "1.2.840.10008.1.2.1.99":
        raise PictureError("is a deflated DICOM file, which is not accepted; save it again without deflate")
    order = ">" if syntax == _BIG else "<"
    # Some writers name one encoding and use the other: what the first element shows is believed.
    explicit = re.fullmatch(rb"[A-Z]{2}", data[at + 4 : at + 6]) is not None
    walk, tags = _Walk(data, explicit, order), Elements()
    found = walk.collect(at, len(data), tags)
    if found is None:
        return syntax, tags, None
    start, stop, kind = found
    if stop >= 0 and order == ">" and kind == b"OW" and _number(tags, 0x00280100, 8) == 8:
        pairs = np.frombuffer(data[start : start + (stop - start) // 2 * 2], "u2")  # bytes that travel as words
        return syntax, tags, [pairs.byteswap().tobytes()]
    if stop >= 0:
        return syntax, tags, [data[start:stop]]
    return syntax, tags, [data[first:last] for first, last, _ in walk.items(start, len(data), 0) if last >= 0]


def _text(tags: Elements, tag: int) -> str:
    return tags[tag].value.decode("ascii", "replace").strip(" \0") if tag in tags else ""


def _numbers(tags: Elements, tag: int) -> list[float]:
    """Of a tag that holds decimals as text; those that are no numbers are left out."""
    found = []
    for word in _text(tags, tag).split("\\"):
        try:
            found.append(float(word))
        except ValueError:
            continue
    return found


def _number(tags: Elements, tag: int, default: float = 0) -> float:
    """Of a tag that holds 16-bit whole numbers, or decimals as text where the standard has them."""
    if tag == 0x00280008:
        return next(iter(_numbers(tags, tag)), default)
    if tag not in tags or len(tags[tag].value) < 2:
        return default
    return float(struct.unpack_from(tags[tag].order + "H", tags[tag].value)[0])


# ---- the pixels -------------------------------------------------------------------------------------------------


def _stored(
    syntax: str, tags: Elements, fragments: list[bytes], photometric: str, assumed: list[str]
) -> tuple[np.ndarray, str]:
    """(h, w) or (h, w, 3) whole numbers of the first frame as they are stored, and the colours they are in."""
    rows, columns = int(_number(tags, 0x00280010)), int(_number(tags, 0x00280011))
    samples, allocated = int(_number(tags, 0x00280002, 1)), int(_number(tags, 0x00280100, 8))
    stored = int(_number(tags, 0x00280101, allocated))
    signed = _number(tags, 0x00280103) == 1
    if allocated not in (1, 8, 16, 32) or not 1 <= stored <= allocated:
        raise PictureError(f"is a DICOM file with {stored} of {allocated} bits per value, which cannot be; {AGAIN}")
    shape = (rows, columns, 3) if samples == 3 else (rows, columns)
    count = rows * columns * samples
    order = ">" if syntax == _BIG else "<"
    if syntax in _NATIVE or not syntax:
        data, planar = fragments[0], _number(tags, 0x00280006) == 1
        if photometric == "YBR_FULL_422" and allocated == 8:
            if len(data) < rows * columns * 2 or columns % 2:
                raise PictureError(f"holds fewer pixels than its header says; {AGAIN}")
            pairs = np.frombuffer(data, np.uint8, rows * columns * 2).reshape(rows, columns // 2, 4)
            chroma = np.repeat(pairs[:, :, 2:], 2, axis=1)
            return np.concatenate([pairs[:, :, :2].reshape(rows, columns, 1), chroma], axis=2), "YBR_FULL"
        if len(data) * 8 < count * allocated:
            raise PictureError(f"holds fewer pixels than its header says; {AGAIN}")
        if allocated == 1:
            bits = np.unpackbits(np.frombuffer(data, np.uint8), count=count, bitorder="little")
            return bits.reshape(shape), photometric
    else:
        if len(fragments) < 2:
            raise PictureError(f"holds fewer pixels than its header says; {AGAIN}")
        frame, planar = _frame(fragments, int(_number(tags, 0x00280008, 1))), True
        if syntax in _JPEG:
            return _jpeg(frame, shape, photometric, assumed)
        if syntax != _RLE:
            return _plugin(syntax, frame, shape, tags, photometric, assumed)
        data = _unpack_rle(frame, rows * columns, samples * allocated // 8, allocated // 8)
    values = np.frombuffer(data, f"{order}u{allocated // 8}", count)
    values = values.reshape(3, rows, columns).transpose(1, 2, 0) if samples == 3 and planar else values.reshape(shape)
    values = values.astype(f"u{allocated // 8}")
    # Overlays or rubbish may stand in the bits around the stored ones: push those out at either end.
    above = allocated - 1 - min(max(int(_number(tags, 0x00280102, stored - 1)), stored - 1), allocated - 1)
    values = values << np.array(above, values.dtype)
    values = values.view(f"i{allocated // 8}") if signed else values
    return values >> np.array(allocated - stored, values.dtype), photometric


def _frame(fragments: list[bytes], frames: int) -> bytes:
    """The first frame's bytes; the first fragment is the table of where each frame begins."""
    table, *rest = fragments
    if frames <= 1:
        return b"".join(rest)
    if len(table) < 8:
        return rest[0]
    (second,), at, parts = struct.unpack_from("<I", table, 4), 0, []
    for part in rest:
        if at >= second:
            break
        parts.append(part)
        at += 8 + len(part)
    return b"".join(parts)


def _unpack_rle(frame: bytes, pixels: int, planes: int, width: int) -> bytes:
    """PackBits, one run per byte plane (highest first); returns little-endian values, plane after plane of samples."""
    (count,) = struct.unpack_from("<I", frame)
    if count != planes:
        raise PictureError(f"is a damaged DICOM file: its RLE parts do not fit its header; {AGAIN}")
    starts = [*struct.unpack_from(f"<{count}I", frame, 4), len(frame)]
    whole = np.empty((planes // width, pixels, width), np.uint8)
    for plane in range(planes):
        out, at, end = bytearray(), starts[plane], starts[plane + 1]
        while len(out) < pixels and at < end:
            run = frame[at]
            if run < 128:
                out += frame[at + 1 : min(at + 2 + run, end)]
                at += 2 + run
            elif run > 128:
                out += frame[at + 1 : at + 2] * (257 - run)
                at += 2
            else:
                at += 1
        if len(out) < pixels:
            raise PictureError(f"holds fewer pixels than its header says; {AGAIN}")
        whole[plane // width, :, width - 1 - plane % width] = np.frombuffer(out, np.uint8, pixels)
    return whole.tobytes()


def _jpeg(frame: bytes, shape: tuple[int, ...], photometric: str, assumed: list[str]) -> tuple[np.ndarray, str]:
    """A JPEG inside DICOM. Its own markers say which colours it holds; without any, the DICOM header does."""
    import PIL.Image

    from xai_core.raster import strip_jpeg

    part = strip_jpeg(frame)
    if part.size != (shape[1], shape[0]):
        raise PictureError(f"has a header that contradicts itself about its size; {AGAIN}")
    with PIL.Image.open(io.BytesIO(part.data), formats=("JPEG",)) as picture:
        if photometric == "RGB" and not {"adobe", "jfif"} & set(picture.info):
            picture.draft("YCbCr", picture.size)  # the decoder's way of being told to leave the colours alone
        picture.load()
        if len(picture.getbands()) != (3 if len(shape) == 3 else 1):
            raise PictureError(f"is a DICOM file whose header contradicts itself about its colours; {AGAIN}")
        assumed.append("The picture inside the DICOM file is a JPEG: small details may be traces of its compression.")
        return np.asarray(picture), "RGB"


def _plugin(
    syntax: str, frame: bytes, shape: tuple[int, ...], tags: Elements, photometric: str, assumed: list[str]
) -> tuple[np.ndarray, str]:
    """Other compressions, by whatever decoder pydicom finds installed."""
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    uid = UID(syntax)
    called = uid.name if uid.is_transfer_syntax else "an unknown syntax"
    try:
        decoder = get_decoder(uid)
    except (NotImplementedError, ValueError):
        decoder = None
    if decoder is None or not decoder.is_available:
        raise PictureError(f"is compressed as {called}, for which no decoder is installed; save it uncompressed")
    if frame[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000 states its size itself, and the decoder allocates by it
        wide, high, left, top = struct.unpack_from(">4I", frame, 8)
        if (high - top, wide - left) != shape[:2]:
            raise PictureError(f"has a header that contradicts itself about its size; {AGAIN}")
    allocated = int(_number(tags, 0x00280100, 8))
    options: dict[str, Any] = {
        "rows": shape[0],
        "columns": shape[1],
        "number_of_frames": 1,
        "samples_per_pixel": 3 if len(shape) == 3 else 1,
        "photometric_interpretation": photometric,
        "planar_configuration": 0,
        "bits_allocated": allocated,
        "bits_stored": int(_number(tags, 0x00280101, allocated)),
        "pixel_representation": int(_number(tags, 0x00280103)),
        "pixel_keyword": "PixelData",
        "as_rgb": True,
    }
    values, told = decoder.as_array(encapsulate([frame]), index=0, validate=False, **options)
    if "Lossless" not in called:
        assumed.append("The picture inside the DICOM file may have lost small details to its compression.")
    return values.reshape(shape), str(told["photometric_interpretation"])


# ---- from stored values to what is shown ------------------------------------------------------------------------


def _colour(values: np.ndarray, colours: str, stored: int, assumed: list[str]) -> np.ndarray:
    """(h, w, 3) whole numbers to uint8 RGB."""
    import PIL.Image

    if values.dtype.kind == "i":
        raise PictureError("is a DICOM file with signed colours, which is not accepted; export it as PNG")
    if values.dtype != np.uint8 or stored < 8:
        assumed.append(f"Each channel's {stored} bits were scaled to 8: black and white stay where they were.")
        values = np.rint(values * (255 / (2**stored - 1))).astype(np.uint8)
    if colours.startswith("YBR"):
        size = (values.shape[1], values.shape[0])
        return np.asarray(PIL.Image.frombytes("YCbCr", size, np.ascontiguousarray(values).tobytes()).convert("RGB"))
    return np.ascontiguousarray(values)


def _palette(tags: Elements, values: np.ndarray) -> np.ndarray:
    """(h, w) numbers of colours to (h, w, 3) uint8."""
    out = np.empty((*values.shape, 3), np.uint8)
    for channel in range(3):
        described, entries = tags.get(0x00281101 + channel), tags.get(0x00281201 + channel)
        if described is None or entries is None:
            raise PictureError("is a DICOM file without a plain palette for its colours; export it as PNG")
        table, first, bits = _table(described, entries, values.dtype.kind == "i")
        colours = table.astype(np.float64) * (255 / (2**bits - 1))
        out[:, :, channel] = np.rint(colours).astype(np.uint8)[_into(values, first, len(table))]
    return out


def _table(described: Element, entries: Element, signed: bool) -> tuple[np.ndarray, int, int]:
    """A look-up table's entries, the value that its first entry stands for, and the bits that its entries span."""
    count, _, bits = struct.unpack_from(described.order + "HHH", described.value)
    (first,) = struct.unpack_from(described.order + ("h" if signed else "H"), described.value, 2)
    count = count or 65536
    wide = len(entries.value) >= 2 * count
    table = np.frombuffer(entries.value, (described.order + "u2") if wide else "u1", count).astype(np.uint16)
    # Eight-bit entries that were written into sixteen bits, and the other way round: the entries themselves decide.
    bits = min(max(bits, int(table.max()).bit_length(), 1), 16) if wide else 8
    return table, first, bits


def _into(values: np.ndarray, first: int, count: int) -> np.ndarray:
    """Positions in a table of `count` entries that begins at `first`; values outside get its ends."""
    return np.clip(values.astype(np.int64) - first, 0, count - 1)


def _window(tags: Elements, values: np.ndarray, assumed: list[str], facts: dict[str, Any]) -> np.ndarray:
    """(h, w) stored values to (h, w) uint8 greys, by way of each distinct value, which is exact and saves memory."""
    low, high = int(values.min()), int(values.max())
    if high - low >= 2**16:
        return _greys(tags, values.astype(np.float64), values, assumed, facts)
    table: np.ndarray = _greys(tags, np.arange(low, high + 1, dtype=np.float64), values, assumed, facts)
    return table[values.astype(np.int32 if high < 2**31 else np.int64) - low]


def _greys(
    tags: Elements, x: np.ndarray, stored: np.ndarray, assumed: list[str], facts: dict[str, Any]
) -> np.ndarray:
    """Stored values `x` as uint8 greys of the same shape; `stored` (h, w) says which of them occur."""
    given = x
    signed = stored.dtype.kind == "i"
    if 0x00283000 in tags:
        table, first, _ = _item(tags, 0x00283000, signed)
        x = table.astype(np.float64)[_into(x, first, len(table))]
        signed = False
    slope, intercept = _numbers(tags, 0x00281053), _numbers(tags, 0x00281052)
    if 0x00283000 not in tags and (slope or intercept):
        a, b = (slope or [1.0])[0], (intercept or [0.0])[0]
        if a == 0 or not math.isfinite(a) or not math.isfinite(b):
            assumed.append("Its rescale slope or intercept is no usable number; the stored values were taken instead.")
        else:
            x = x * a + b
    if 0x00283010 in tags:
        table, first, bits = _item(tags, 0x00283010, signed or float(x.min()) < 0)
        assumed.append("Brightness follows the look-up table in the file.")
        levels: np.ndarray = np.rint(table * (255 / (2**bits - 1))).astype(np.uint8)
        return levels[_into(np.rint(x), first, len(table))]
    centre, width = _numbers(tags, 0x00281050)[:1], _numbers(tags, 0x00281051)[:1]
    shape = _text(tags, 0x00281056) or "LINEAR"
    c, w = centre[0] if centre else math.nan, width[0] if width else math.nan
    if not math.isfinite(c + w) or w < (1 if shape == "LINEAR" else 1e-9):
        return _spread(tags, x, given, stored, assumed)
    facts["window"] = [c, w]
    assumed.append(f"Brightness follows the first window in the file: centre {c:g}, width {w:g}.")
    if shape == "SIGMOID":
        y = 1 / (1 + np.exp(np.clip(-4 * (x - c) / w, -700, 700)))
    elif shape == "LINEAR_EXACT":
        y = (x - c) / w + 0.5
    else:  # PS3.3 C.11.2.1.2: from c - 0.5 - (w - 1) / 2, which is black, up to c - 0.5 + (w - 1) / 2
        y = (x - (c - 0.5)) / (w - 1) + 0.5 if w > 1 else (x > c - 0.5).astype(np.float64)
    return np.rint(np.clip(y, 0, 1) * 255).astype(np.uint8)


def _item(tags: Elements, sequence: int, signed: bool) -> tuple[np.ndarray, int, int]:
    item = tags[sequence].value
    if 0x00283002 not in item or 0x00283006 not in item:
        raise PictureError(f"is a DICOM file with a damaged look-up table; {AGAIN}")
    return _table(item[0x00283002], item[0x00283006], signed)


def _spread(tags: Elements, x: np.ndarray, given: np.ndarray, stored: np.ndarray, assumed: list[str]) -> np.ndarray:
    """Greys from the darkest to the brightest value that occurs, leaving the padding around the picture out."""
    occurs = np.isin(given, stored) if x.shape != stored.shape else np.ones(x.shape, bool)
    padding = tags.get(0x00280120)
    if padding is not None and len(padding.value) >= 2:
        (blank,) = struct.unpack_from(padding.order + ("h" if stored.dtype.kind == "i" else "H"), padding.value)
        if (occurs & (given != blank)).any():
            occurs &= given != blank
    low, high = float(x[occurs].min()), float(x[occurs].max())
    assumed.append(f"The file gives no usable window; its own values from {low:g} to {high:g} became black to white.")
    return np.rint(np.clip((x - low) / (high - low or 1.0), 0, 1) * 255).astype(np.uint8)
