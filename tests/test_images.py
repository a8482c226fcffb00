"""What becomes of every kind of file: the picture by hand, the refusal in one sentence, and nobody's name."""

from __future__ import annotations

import functools
import io
import os
import resource
import struct
import threading
import time
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.TiffImagePlugin
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset

import xai_core as xai
from xai_core.errors import PictureError, SettingError
from xai_core.images import MAX_PIXELS, Preprocessing, read_image
from xai_core.models import Model
from xai_core.records import Image, Record

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
CORNER = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]], [[0, 0, 0], [255, 255, 255], [9, 99, 199]]], np.uint8)


def packed(picture: PIL.Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def png(array: np.ndarray, **options: Any) -> bytes:
    return packed(PIL.Image.fromarray(array), "PNG", **options)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def raw_png(width: int, height: int, bits: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def raw_tiff(tags: dict[int, tuple[int, Any]], pixels: bytes = b"", order: str = "<") -> bytes:
    """A TIFF of one strip: {tag: (type, value)}, type 3 (short) or 4 (long), pixels at byte 8."""
    tags = {**tags, 273: (4, 8), 279: (4, len(pixels))}
    rows = b""
    for tag, (kind, value) in sorted(tags.items()):
        inline = struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value)
        rows += struct.pack(order + "HHI", tag, kind, 1) + inline
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(pixels))
    return head + pixels + struct.pack(order + "H", len(tags)) + rows + struct.pack(order + "I", 0)


def dicom(pixels: np.ndarray | bytes, *, syntax: str = "1.2.840.10008.1.2.1", **tags: Any) -> bytes:
    """A DICOM file as pydicom writes it; `pixels` (h, w) or (h, w, 3) whole numbers, or bytes as they are."""
    ds = Dataset()
    ds.SOPClassUID, ds.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.1", "1.2.3.4.5.6.7"
    ds.PhotometricInterpretation, ds.SamplesPerPixel, ds.Modality = "MONOCHROME2", 1, "DX"
    if isinstance(pixels, np.ndarray):
        bits = pixels.dtype.itemsize * 8
        ds.Rows, ds.Columns = pixels.shape[:2]
        ds.BitsAllocated, ds.BitsStored, ds.HighBit = bits, bits, bits - 1
        ds.PixelRepresentation = int(pixels.dtype.kind == "i")
        if pixels.ndim == 3:
            ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        big = syntax == "1.2.840.10008.1.2.2"
        raw = pixels.astype(pixels.dtype.newbyteorder(">" if big else "<")).tobytes()
        ds.PixelData = raw + b"\0" * (len(raw) % 2)
        ds["PixelData"].VR = "OB" if bits == 8 and syntax != "1.2.840.10008.1.2" else "OW"
    else:
        ds.PixelData = pixels
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    for key, value in tags.items():
        if value is None:
            delattr(ds, key)
        else:
            setattr(ds, key, value)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = syntax
    ds.file_meta.MediaStorageSOPClassUID, ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPClassUID, ds.SOPInstanceUID
    file = io.BytesIO()
    with warnings.catch_warnings():  # pydicom warns where a file is made wrong on purpose
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(file, ds, enforce_file_format=True)
    return file.getvalue()


def greys(data: bytes) -> np.ndarray:
    """(h, w) of a picture whose three channels have to be equal."""
    pixels = read_image(data).pixels
    assert (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0]


def said(data: bytes) -> str:
    return " ".join(read_image(data).source["assumed"])


# ---- modes ------------------------------------------------------------------------------------------------------

LOSSLESS = ["PNG", "TIFF", "BMP", "WEBP"]


@pytest.mark.parametrize("form", LOSSLESS)
def test_colours_come_through_unchanged(form: str) -> None:
    image = read_image(packed(PIL.Image.fromarray(CORNER), form, **({"lossless": True} if form == "WEBP" else {})), "a")
    assert np.array_equal(image.pixels, CORNER)
    assert image.source["format"].upper() == form
    assert (image.source["width"], image.source["height"], image.source["bits"]) == (3, 2, 8)
    assert image.source["assumed"] == ()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_a_grey_ramp_comes_through_unchanged(form: str) -> None:
    data = packed(PIL.Image.fromarray(RAMP), form)
    assert np.array_equal(greys(data), RAMP)
    assert read_image(data).source["mode"] in ("L", "P")


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_one_bit_is_black_and_white(form: str) -> None:
    picture = PIL.Image.fromarray(np.array([[0, 255, 0], [255, 255, 0]], np.uint8)).convert("1")
    assert greys(packed(picture, form)).tolist() == [[0, 255, 0], [255, 255, 0]]


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_a_palette_gives_its_colours(form: str) -> None:
    picture = PIL.Image.new("P", (3, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60, 255, 0, 128])
    picture.putdata([2, 0, 1])
    assert read_image(packed(picture, form)).pixels.tolist() == [[[255, 0, 128], [10, 20, 30], [40, 50, 60]]]


@pytest.mark.parametrize("transparency", [1, bytes([255, 0, 51])])
def test_transparent_palette_entries_show_white(transparency: int | bytes) -> None:
    picture = PIL.Image.new("P", (3, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60, 255, 0, 100])
    picture.putdata([0, 1, 2])
    image = read_image(packed(picture, "PNG", transparency=transparency))
    last = [255, 0, 100] if transparency == 1 else [255, 204, 224]  # a fifth of the colour on four fifths of white
    assert image.pixels.tolist() == [[[10, 20, 30], [255, 255, 255], last]]
    assert "over white" in " ".join(image.source["assumed"])


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_laid_over_white(form: str) -> None:
    array = np.array([[[255, 0, 0, 255], [0, 0, 0, 0], [0, 100, 200, 128]]], np.uint8)
    options = {"lossless": True, "exact": True} if form == "WEBP" else {}
    image = read_image(packed(PIL.Image.fromarray(array), form, **options))
    # 100 * 128/255 + 255 * 127/255 = 177.2; 200 * 128/255 + 127 = 227.4; 0 + 127
    assert image.pixels.tolist() == [[[255, 0, 0], [255, 255, 255], [127, 177, 227]]]
    assert "over white" in " ".join(image.source["assumed"])


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_grey_with_alpha_is_laid_over_white(form: str) -> None:
    picture = PIL.Image.merge("LA", [PIL.Image.fromarray(np.array([[0, 0, 90]], np.uint8)),
                                     PIL.Image.fromarray(np.array([[0, 255, 51]], np.uint8))])  # fmt: skip
    assert greys(packed(picture, form)).tolist() == [[255, 0, 222]]  # 90/5 + 255 * 4/5


def test_full_alpha_is_not_called_transparent() -> None:
    array = np.dstack([CORNER, np.full((2, 3), 255, np.uint8)])
    image = read_image(png(array))
    assert np.array_equal(image.pixels, CORNER)
    assert image.source["assumed"] == ()


def test_a_transparent_colour_shows_white() -> None:
    image = read_image(png(CORNER, transparency=(255, 0, 0)))
    assert image.pixels[0, 0].tolist() == [255, 255, 255]
    assert np.array_equal(image.pixels[1], CORNER[1])


@pytest.mark.parametrize("form", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(form: str) -> None:
    array = np.zeros((16, 16, 4), np.uint8)
    array[:, :, 0] = 255  # cyan ink only: no red, all of green and blue
    image = read_image(packed(PIL.Image.frombytes("CMYK", (16, 16), array.tobytes()), form))
    assert np.abs(image.pixels.astype(int) - [0, 255, 255]).max() <= 2
    assert "CMYK" in " ".join(image.source["assumed"])


def test_lab_becomes_rgb() -> None:
    picture = PIL.Image.frombytes("LAB", (2, 1), bytes([255, 0, 0, 0, 0, 0]))
    pixels = read_image(packed(picture, "TIFF")).pixels
    assert pixels.min(axis=2).tolist()[0][0] >= 250
    assert pixels.max(axis=2).tolist()[0][1] <= 5


def test_ycbcr_becomes_rgb() -> None:
    picture = PIL.Image.fromarray(np.full((8, 8, 3), (200, 30, 60), np.uint8)).convert("YCbCr")
    assert np.abs(read_image(packed(picture, "TIFF")).pixels.astype(int) - [200, 30, 60]).max() <= 2


def test_a_jpeg_in_grey_and_in_colour_is_close_to_what_was_stored() -> None:
    assert np.abs(greys(packed(PIL.Image.fromarray(RAMP), "JPEG", quality=100)).astype(int) - RAMP).max() <= 2
    flat = np.full((16, 16, 3), (200, 30, 60), np.uint8)
    image = read_image(packed(PIL.Image.fromarray(flat), "JPEG", quality=100))
    assert np.abs(image.pixels.astype(int) - flat).max() <= 2
    assert (image.source["format"], image.source["bits"]) == ("JPEG", 8)


WIDE = RAMP.astype(np.uint16) * 257


@pytest.mark.parametrize("data", [
    pytest.param(packed(PIL.Image.fromarray(WIDE), "PNG"), id="png"),
    pytest.param(packed(PIL.Image.fromarray(WIDE), "TIFF"), id="tiff, low byte first"),
    pytest.param(raw_tiff({256: (3, 16), 257: (3, 16), 258: (3, 16), 259: (3, 1), 262: (3, 1), 277: (3, 1),
                           278: (3, 16)}, WIDE.astype(">u2").tobytes(), ">"), id="tiff, high byte first"),
    pytest.param(packed(PIL.Image.fromarray(WIDE), "TIFF", compression="tiff_lzw"), id="tiff, lzw"),
    pytest.param(packed(PIL.Image.fromarray(WIDE.astype(np.int32)), "TIFF"), id="tiff, 32 bits"),
    pytest.param(packed(PIL.Image.fromarray(RAMP.astype(np.float32) / 255), "TIFF"), id="tiff, fractions"),
    pytest.param(packed(PIL.Image.fromarray(RAMP.astype(np.float32) * 7 - 300), "TIFF"), id="tiff, floats"),
])  # fmt: skip
def test_a_deep_ramp_becomes_the_eight_bit_ramp(data: bytes) -> None:
    assert np.array_equal(greys(data), RAMP)
    assert "scaled" in said(data)
    assert read_image(data).source["bits"] in (16, 32)


def test_twelve_bits_in_sixteen_fill_the_range_and_it_is_said() -> None:
    data = png(np.array([[0, 2048, 4095]], np.uint16))
    assert greys(data).tolist() == [[0, 128, 255]]  # 2048/4095 * 255 = 127.5, and numpy rounds half to even
    assert "4095" in said(data)
    assert "12 bits" in said(data)


def test_a_dark_sixteen_bit_picture_stays_dark() -> None:
    assert greys(png(np.array([[0, 5140]], np.uint16))).tolist() == [[0, 20]]


def test_sixteen_bit_colours_are_scaled_not_clipped() -> None:
    rows = b"\0" + struct.pack(">9H", *(np.array([0, 1, 64, 128, 200, 254, 255, 7, 99]) * 257).tolist())
    image = read_image(raw_png(3, 1, 16, 2, rows))
    assert image.pixels.tolist() == [[[0, 1, 64], [128, 200, 254], [255, 7, 99]]]
    assert image.source["bits"] == 16
    assert "16 bits" in " ".join(image.source["assumed"])


def grey_tiff(bits: int, photometric: int, values: np.ndarray, kind: int = 1) -> bytes:
    """A TIFF of one row of values: unsigned (`kind` 1), signed (2) or floats (3)."""
    tags = {256: len(values), 257: 1, 258: bits, 259: 1, 262: photometric, 277: 1, 278: 1, 339: kind}
    return raw_tiff({tag: (3, value) for tag, value in tags.items()}, values.tobytes())


def test_white_as_the_lowest_value_is_inverted_at_every_depth() -> None:
    for data in (
        grey_tiff(8, 0, np.array([0, 55, 255], "u1")),
        grey_tiff(16, 0, np.array([0, 55 * 257, 65535], "<u2")),
        grey_tiff(32, 0, np.array([0, 55 / 255, 1], "<f4"), 3),
    ):
        assert greys(data).tolist() == [[255, 200, 0]]
    assert "inverted" in said(grey_tiff(16, 0, np.array([0, 65535], "<u2")))
    assert greys(grey_tiff(16, 1, np.array([0, 55 * 257, 65535], "<u2"))).tolist() == [[0, 55, 255]]


def test_thirty_two_bits_keep_their_sign_or_have_none() -> None:
    assert greys(grey_tiff(32, 1, np.array([0, 2**31, 2**32 - 1], "<u4"))).tolist() == [[0, 128, 255]]
    assert greys(grey_tiff(32, 1, np.array([-5, 0, 250], "<i4"), 2)).tolist() == [[0, 5, 255]]
    assert greys(grey_tiff(16, 1, np.array([-5, 0, 250], "<i2"), 2)).tolist() == [[0, 5, 255]]


def test_few_bits_are_spread_over_all_greys() -> None:
    assert greys(raw_png(4, 1, 2, 0, b"\0\x1b")).tolist() == [[0, 85, 170, 255]]
    assert greys(raw_png(2, 1, 4, 0, b"\0\x1f")).tolist() == [[17, 255]]


def test_deep_pictures_with_alpha_are_laid_over_white() -> None:
    rows = b"\0" + struct.pack(">8H", 65535, 0, 25700, 65535, 0, 25700, 51400, 32896)
    image = read_image(raw_png(2, 1, 16, 6, rows))
    assert image.pixels.tolist() == [[[255, 0, 100], [127, 177, 227]]]  # as with eight bits, above
    assert "over white" in " ".join(image.source["assumed"])
    rows = b"\0" + struct.pack(">6H", 0, 65535, 0, 0, 23130, 13107)
    assert greys(raw_png(3, 1, 16, 4, rows)).tolist() == [[0, 255, 222]]


@pytest.mark.parametrize("value", [0, 77, 255])
def test_one_pixel_is_a_picture(value: int) -> None:
    for form in ("PNG", "TIFF", "BMP"):
        assert greys(packed(PIL.Image.new("L", (1, 1), value), form)).tolist() == [[value]]


@pytest.mark.parametrize("data", [png(np.full((5, 4), 300, np.uint16)),
                                  packed(PIL.Image.new("F", (4, 5), -3.5), "TIFF"),
                                  dicom(np.full((5, 4), 300, np.uint16))])  # fmt: skip
def test_a_constant_picture_is_accepted(data: bytes) -> None:
    pixels = read_image(data).pixels
    assert pixels.shape == (5, 4, 3)
    assert (pixels == pixels[0, 0]).all()


# ---- orientation, frames, what is taken for granted -------------------------------------------------------------

UPRIGHT = np.zeros((32, 48, 3), np.uint8)
UPRIGHT[:16, :24], UPRIGHT[:16, 24:], UPRIGHT[16:, :24] = (250, 0, 0), (0, 250, 0), (0, 0, 250)
STORED = {  # by the EXIF standard: which edge of the picture the first row and the first column are
    1: UPRIGHT, 2: UPRIGHT[:, ::-1], 3: UPRIGHT[::-1, ::-1], 4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2), 6: np.rot90(UPRIGHT), 7: np.rot90(UPRIGHT.transpose(1, 0, 2), 2),
    8: np.rot90(UPRIGHT, -1),
}  # fmt: skip


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_every_exif_orientation_gives_the_same_upright_picture(turn: int, form: str) -> None:
    exif = PIL.Image.Exif()
    exif[274] = turn
    options: dict[str, Any] = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    data = packed(PIL.Image.fromarray(np.ascontiguousarray(STORED[turn])), form, exif=exif, **options)
    image = read_image(data)
    assert image.pixels.shape == UPRIGHT.shape
    assert np.abs(image.pixels.astype(int) - UPRIGHT).max() <= (6 if form == "JPEG" else 0)
    assert ("turned upright" in said(data)) == (turn != 1)
    assert (image.source["width"], image.source["height"]) == (48, 32)


@pytest.mark.parametrize("turn", [0, 9, 300])
def test_an_orientation_that_does_not_exist_is_ignored(turn: int) -> None:
    exif = PIL.Image.Exif()
    exif[274] = turn
    assert np.array_equal(read_image(png(CORNER, exif=exif)).pixels, CORNER)


PAGES = [CORNER, CORNER[::-1], 255 - CORNER]


def several(form: str) -> bytes:
    """A file of three pictures."""
    first, *more = (PIL.Image.fromarray(np.ascontiguousarray(page)) for page in PAGES)
    options: dict[str, Any] = {"WEBP": {"lossless": True}, "MPO": {"quality": 100, "subsampling": 0}}.get(form, {})
    return packed(first, form, save_all=True, append_images=more, **options)


@pytest.mark.parametrize("form", ["TIFF", "WEBP", "PNG", "MPO"])
def test_every_frame_of_a_file_with_several_pictures_is_shown_and_it_is_said(form: str) -> None:
    data = several(form)
    assert np.array_equal(read_image(data).pixels, read_image(data, frame=0).pixels)
    for frame, page in enumerate(PAGES):
        image = read_image(data, frame=frame)
        wrong = np.abs(image.pixels.astype(int) - page).max()
        assert wrong <= (0 if form != "MPO" else 90), (frame, wrong)  # JPEG blurs so small a picture
        assert (image.source["frames"], image.source["frame"]) == (3, frame)
        which = "the first one" if frame == 0 else f"number {frame + 1}"
        assert f"The file holds 3 pictures; {which} is shown." in image.source["assumed"]


@pytest.mark.parametrize("frame", [-1, 3, 99])
@pytest.mark.parametrize("form", ["TIFF", "WEBP", "PNG", "MPO"])
def test_a_frame_that_is_not_there_is_refused(form: str, frame: int) -> None:
    with pytest.raises(PictureError, match=f"has no frame {frame}: its 3 frames are counted from 0 to 2") as caught:
        read_image(several(form), "scan.tif", frame)
    one_sentence(caught.value, "scan.tif")


def test_a_file_of_one_picture_has_one_frame() -> None:
    for data in (
        png(CORNER),
        JPEG,
        WEBP,
        packed(PIL.Image.fromarray(CORNER), "BMP"),
        packed(PIL.Image.fromarray(RAMP), "TIFF"),
        dicom(RAMP),
    ):
        assert not {"frame", "frames", "file_sha256"} & read_image(data, frame=0).source.keys()
        with pytest.raises(PictureError, match="has no frame 1: it holds a single picture") as caught:
            read_image(data, "one", 1)
        one_sentence(caught.value, "one")


def test_pages_of_a_tiff_have_their_own_size_depth_and_orientation() -> None:
    turned = PIL.Image.Exif()
    turned[274] = 6
    pages = [(CORNER, None), (WIDE, None), (np.ascontiguousarray(STORED[6]), turned)]
    file = io.BytesIO()
    with PIL.TiffImagePlugin.AppendingTiffWriter(file) as writer:
        for page, exif in pages:
            PIL.Image.fromarray(page).save(writer, "TIFF", **({} if exif is None else {"exif": exif}))
            writer.newFrame()
    images = [read_image(file.getvalue(), frame=frame) for frame in range(3)]
    assert np.array_equal(images[0].pixels, CORNER)
    assert np.array_equal(images[1].pixels[:, :, 0], RAMP)
    assert images[1].source["bits"] == 16
    assert np.array_equal(images[2].pixels, UPRIGHT)


def test_a_page_too_large_is_refused_and_the_others_are_shown() -> None:
    good, huge = raw_tiff(TIFF, bytes(range(16))), raw_tiff({**TIFF, 256: (4, 7800), 257: (4, 7700)}, bytes(16))
    data = good[:-4] + struct.pack("<I", len(good) + 24) + huge  # the second directory stands behind its 16 pixels
    assert greys(data).tolist() == np.arange(16).reshape(4, 4).tolist()
    with pytest.raises(PictureError, match="7800 × 7700"):
        read_image(data, frame=1)


def test_pages_without_end_are_refused_in_time() -> None:
    start = raw_tiff(TIFF, bytes(16))
    directories = b"".join(struct.pack("<HI", 0, len(start) + 6 * (n + 1)) for n in range(6_000))
    data = start[:-4] + struct.pack("<I", len(start)) + directories
    before = time.perf_counter()
    with pytest.raises(PictureError, match="more than the 5000 pages"):
        read_image(data)
    assert time.perf_counter() - before < 10


def test_two_frames_are_never_taken_for_each_other() -> None:
    import hashlib

    data = several("TIFF")
    images = [read_image(data, frame=frame) for frame in range(3)]
    whole = hashlib.sha256(data).hexdigest()
    assert images[0].sha256 == whole
    assert "file_sha256" not in images[0].source
    assert len({image.sha256 for image in images}) == 3
    assert images[2].sha256 == hashlib.sha256(f"{whole} frame 2".encode()).hexdigest()
    assert images[2].source["file_sha256"] == whole


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_colour_profile_is_mentioned(form: str) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert "profile" in said(packed(PIL.Image.fromarray(CORNER), form, icc_profile=profile))


@pytest.mark.filterwarnings("ignore")
def test_damaged_exif_does_not_stand_in_the_way() -> None:
    broken = (
        b"Exif\0\0MM\0*\0\0\0\x08\0\x02\x01\x12\0\x05\0\0\0\xff\xff\xff\xff\xff\x01\x1b\0\x05\xff\xff\xff\xff\0\0\0\0"
    )
    assert read_image(packed(PIL.Image.fromarray(CORNER), "JPEG", exif=broken)).pixels.shape == (2, 3, 3)


def test_a_text_that_unpacks_to_a_thousand_times_its_size_is_refused() -> None:
    bomb = chunk(b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 50_000_000))
    with pytest.raises(PictureError, match="damaged"):
        read_image(raw_png(1, 1, 8, 0, b"\0\x07", bomb))


def test_the_digest_is_that_of_the_uploaded_bytes_and_the_name_is_kept() -> None:
    import hashlib

    data = png(CORNER)
    image = read_image(data, "x.png")
    assert (image.sha256, image.name) == (hashlib.sha256(data).hexdigest(), "x.png")
    assert not image.pixels.flags.writeable


def test_a_path_bytes_and_a_file_give_the_same_picture(tmp_path: Path) -> None:
    path = tmp_path / "case one.png"
    path.write_bytes(png(CORNER))
    with path.open("rb") as file:
        file.read()  # as an upload that was read before
        images = [read_image(path), read_image(str(path)), read_image(file), read_image(io.BytesIO(path.read_bytes()))]
    assert {image.sha256 for image in images} == {images[0].sha256}
    assert [image.name for image in images] == ["case one.png"] * 3 + [""]


# ---- DICOM ------------------------------------------------------------------------------------------------------


def test_a_window_follows_the_formula_of_the_standard() -> None:
    # centre 100, width 51: below 74.5 black, above 124.5 white; between ((x - 99.5) / 50 + 0.5) * 255
    data = dicom(np.array([[0, 74, 75, 99, 100, 124, 125, 4000]], np.uint16), WindowCenter=100, WindowWidth=51)
    assert greys(data).tolist() == [[0, 0, 3, 125, 130, 252, 255, 255]]
    assert read_image(data).source["window"] == [100, 51]


def test_the_other_two_window_shapes_follow_theirs() -> None:
    values = np.array([[75, 100, 125]], np.uint16)
    exact = dicom(values, WindowCenter=100, WindowWidth=50, VOILUTFunction="LINEAR_EXACT")
    assert greys(exact).tolist() == [[0, 128, 255]]
    sigmoid = dicom(values, WindowCenter=100, WindowWidth=50, VOILUTFunction="SIGMOID")
    assert greys(sigmoid).tolist() == [[30, 128, 225]]  # 255 / (1 + e^2) = 30.4


def test_a_window_of_width_one_is_a_threshold() -> None:
    data = dicom(np.array([[99, 100, 101]], np.uint16), WindowCenter=100, WindowWidth=1)
    assert greys(data).tolist() == [[0, 255, 255]]


def test_the_window_is_applied_after_the_rescale() -> None:
    data = dicom(np.array([[0, 1000, 1040, 1080, 3000]], np.uint16), RescaleSlope=1, RescaleIntercept=-1000,
                 WindowCenter=40.5, WindowWidth=81)  # fmt: skip
    assert greys(data).tolist() == [[0, 0, 128, 255, 255]]


@pytest.mark.parametrize("rescale", [{"RescaleSlope": 0, "RescaleIntercept": 7}, {"RescaleSlope": 2}])
def test_a_rescale_that_cannot_be_is_left_out_and_it_is_said(rescale: dict[str, float]) -> None:
    data = dicom(np.array([[0, 50, 100]], np.uint16), WindowCenter=50.5, WindowWidth=101, **rescale)
    assert greys(data).tolist() == [[0, 128, 255]]
    assert "no usable number" in said(data)


def test_the_first_of_several_windows_is_taken() -> None:
    data = dicom(np.array([[0, 50, 100]], np.uint16), WindowCenter=[50.5, 7], WindowWidth=[101, 9])
    assert greys(data).tolist() == [[0, 128, 255]]


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 128, "WindowWidth": 256}])
def test_monochrome1_is_the_inverse_of_monochrome2(window: dict[str, float]) -> None:
    two = dicom(RAMP, **window)
    one = dicom(RAMP, PhotometricInterpretation="MONOCHROME1", **window)
    assert np.array_equal(greys(two), RAMP)
    assert np.array_equal(greys(one), 255 - RAMP)
    assert "inverted" in said(one)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.uint32])
def test_every_plain_encoding_gives_the_same_ramp(syntax: str, dtype: type) -> None:
    values = RAMP.astype(dtype) * (1 if dtype == np.uint8 else 100) - (9000 if dtype == np.int16 else 0)
    assert np.array_equal(greys(dicom(values, syntax=syntax)), RAMP)
    wide = {"WindowCenter": 0, "WindowWidth": 40_001} if dtype == np.int16 else {}
    assert read_image(dicom(values, syntax=syntax, **wide)).source["bits"] == np.dtype(dtype).itemsize * 8


def test_signed_values_keep_their_sign() -> None:
    data = dicom(np.array([[-1024, -512, 0, 1016]], np.int16), WindowCenter=0.5, WindowWidth=2041)
    assert greys(data).tolist() == [[0, 64, 128, 254]]


def test_bits_above_the_stored_ones_are_ignored() -> None:
    clean = np.array([[0, 1000, 4095]], np.uint16)
    overlaid = clean | np.array([[0xF000, 0x1000, 0]], np.uint16)
    assert np.array_equal(greys(dicom(overlaid, BitsStored=12, HighBit=11)), greys(dicom(clean)))
    signed = np.array([[0xFFF, 0, 0x7FF]], np.uint16)  # twelve bits: -1, 0, 2047
    data = dicom(signed, BitsStored=12, HighBit=11, PixelRepresentation=1, WindowCenter=1023.5, WindowWidth=2049)
    assert greys(data).tolist() == [[0, 0, 255]]


def lut(entries: list[int], first: int, bits: int) -> list[Dataset]:
    item = Dataset()
    item.add_new(0x00283002, "US", [len(entries), first, bits])
    item.add_new(0x00283006, "OW", np.array(entries, "<u2").tobytes())
    return [item]


def test_a_modality_table_and_a_voi_table_are_followed() -> None:
    values = np.array([[0, 10, 11, 12, 500]], np.uint16)
    modality = {"ModalityLUTSequence": lut([0, 500, 1000], 10, 16), "WindowCenter": 500.5, "WindowWidth": 1001}
    assert greys(dicom(values, **modality)).tolist() == [[0, 0, 128, 255, 255]]
    assert greys(dicom(values, VOILUTSequence=lut([0, 1023, 341], 10, 10))).tolist() == [[0, 0, 255, 85, 85]]


def test_colours_planes_and_luminance_give_the_same_picture() -> None:
    flat = np.full((4, 6, 3), (200, 30, 60), np.uint8)
    assert np.array_equal(read_image(dicom(flat)).pixels, flat)
    planes = dicom(flat, PlanarConfiguration=1, PixelData=flat.transpose(2, 0, 1).tobytes())
    assert np.array_equal(read_image(planes).pixels, flat)
    ybr = np.array(PIL.Image.fromarray(flat).convert("YCbCr"))
    full = read_image(dicom(ybr, PhotometricInterpretation="YBR_FULL")).pixels
    assert np.abs(full.astype(int) - flat).max() <= 2
    y, b, r = ybr[0, 0].tolist()
    half = dicom(ybr, PhotometricInterpretation="YBR_FULL_422", PixelData=bytes([y, y, b, r]) * 12)
    assert np.array_equal(read_image(half).pixels, full)


@pytest.mark.parametrize("wide", [False, True])
def test_a_dicom_palette_gives_its_colours(wide: bool) -> None:
    tables = {"Red": [10, 255, 7, 0], "Green": [20, 0, 7, 0], "Blue": [30, 128, 7, 0]}
    tags: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, entries in tables.items():
        tags[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 16 if wide else 8]
        raw = np.array(entries) * (257 if wide else 1)
        tags[f"{name}PaletteColorLookupTableData"] = raw.astype("<u2" if wide else "u1").tobytes()
    pixels = read_image(dicom(np.array([[1, 0, 3, 9]], np.uint8), **tags)).pixels
    assert pixels.tolist() == [[[255, 0, 128], [10, 20, 30], [0, 0, 0], [0, 0, 0]]]  # 9: beyond the end, the last


@pytest.mark.parametrize("values", [RAMP, RAMP.astype(np.uint16) * 100, np.dstack([RAMP, RAMP.T, 255 - RAMP])])
def test_run_lengths_give_the_plain_picture(values: np.ndarray) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.pixels.encoders import RLELosslessEncoder

    bits = values.dtype.itemsize * 8
    colours = {"samples_per_pixel": 3, "photometric_interpretation": "RGB"}
    greyish = {"samples_per_pixel": 1, "photometric_interpretation": "MONOCHROME2"}
    frame = RLELosslessEncoder.encode(
        values,
        rows=16,
        columns=16,
        number_of_frames=1,
        bits_allocated=bits,
        bits_stored=bits,
        pixel_representation=0,
        planar_configuration=0,
        **(colours if values.ndim == 3 else greyish),
    )
    tags = {"Rows": 16, "Columns": 16, "BitsAllocated": bits, "BitsStored": bits, "HighBit": bits - 1,
            "PixelRepresentation": 0}  # fmt: skip
    if values.ndim == 3:
        tags |= {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    data = dicom(encapsulate([frame]), syntax="1.2.840.10008.1.2.5", **tags)
    assert np.array_equal(read_image(data).pixels, read_image(dicom(values)).pixels)


def test_nobody_s_name_gets_out_of_a_dicom_file() -> None:
    secret = "Zwieback"
    data = dicom(
        RAMP,
        PatientName=f"{secret}^Anna",
        PatientID=f"{secret}1",
        InstitutionName=secret,
        StudyDate="20210203",
        StudyInstanceUID="1.2.777",
        ReferringPhysicianName=secret,
        ViewPosition="AP",
        ImageLaterality="L",
        BurnedInAnnotation="YES",
        PixelSpacing=[0.5, 0.25],
        StudyDescription=secret,
    )
    image = read_image(data)
    everything = repr(image) + repr(dict(image.source))
    for word in (secret, "20210203", "1.2.777", "1.2.3.4.5.6.7"):
        assert word.encode() in data
        assert word not in everything
    shown = {
        key: image.source[key] for key in ("modality", "view_position", "image_laterality", "pixel_spacing", "rows")
    }
    assert shown == {
        "modality": "DX",
        "view_position": "AP",
        "image_laterality": "L",
        "pixel_spacing": [0.5, 0.25],
        "rows": 16,
    }
    assert "burned" in " ".join(image.source["assumed"])


def test_a_name_in_the_place_of_a_code_is_not_repeated() -> None:
    image = read_image(dicom(RAMP, ViewPosition="DOE JANE", Modality="DOE", ImageLaterality="JANE"))
    assert "DOE" not in repr(dict(image.source))
    assert "JANE" not in repr(dict(image.source))


def saved(model: Model, image: Image, folder: Path) -> dict[str, bytes]:
    """Every file of a record about the picture, also as it is when unpacked, and what is known of the picture."""
    made = xai.explain(model, image, "grad_cam")
    record = xai.save(Record((made,), (xai.predict(model, image),), image.source), folder)
    files = {path.name: path.read_bytes() for path in record.rglob("*") if path.is_file()}
    assert any(name.endswith(".json") for name in files)
    for name in [name for name in files if name.endswith(".png")]:
        with PIL.Image.open(io.BytesIO(files[name])) as picture:
            files[f"texts of {name}"] = repr(picture.info).encode() + picture.tobytes()
    return {**files, "source": repr(dict(image.source)).encode()}


def with_texts(form: str) -> bytes:
    """A picture with a name in every place that a format has for texts."""
    from PIL import PngImagePlugin

    secret, xmp = "Zwieback", b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>Zwieback</x:xmpmeta>"
    exif = PIL.Image.Exif()
    for tag in (270, 271, 272, 305, 315, 316, 33432):
        exif[tag] = secret
    exif[306] = "1937:02:04 12:13:14"
    exif[0x9C9D] = secret.encode("utf-16-le")  # XPAuthor
    exif.get_ifd(0x8769).update({36867: "1937:02:04 12:13:14", 37510: b"ASCII\0\0\0Zwieback", 42032: secret})
    exif.get_ifd(0x8825).update({1: "N", 27: b"Zwieback"})
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Author", secret)
    texts.add_text("Zwieback", "1937:02:04", zip=True)
    texts.add_itxt("Comment", secret, zip=True)
    options: dict[str, Any] = {
        "PNG": {"pnginfo": texts, "exif": exif},
        "JPEG": {"exif": exif, "comment": secret, "xmp": xmp},
        "WEBP": {"lossless": True, "exif": exif.tobytes(), "xmp": xmp},
        "TIFF": {"tiffinfo": {tag: exif[tag] for tag in (270, 271, 272, 305, 306, 315, 316, 33432)}},
    }[form]
    return packed(PIL.Image.fromarray(UPRIGHT), form, **options)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_whatever_stands_in_the_texts_of_a_picture_is_in_no_byte_of_a_record(
    form: str, cnn: Model, tmp_path: Path
) -> None:
    data = with_texts(form)
    assert data.count(b"Zwieback") > 3
    assert b"1937:02:04" in data
    image = read_image(data, "Zwieback, Anna 1937:02:04.png")
    assert image.name.startswith("Zwieback")
    for file, content in saved(cnn, image, tmp_path).items():
        for secret in (b"zwieback", b"1937:02:04", "Zwieback".encode("utf-16-le").lower()):
            assert secret not in content.lower(), file


# Real files that are inside the pydicom package: nothing is fetched for these.


def shipped(name: str) -> Path:
    path = Path(get_testdata_file(name, download=False) or "")
    assert Path(pydicom.__file__).parent in path.parents
    return path


# ---- refusals ---------------------------------------------------------------------------------------------------

JPEG = packed(PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)), "JPEG")
TIFF = {256: (3, 4), 257: (3, 4), 258: (3, 8), 259: (3, 1), 262: (3, 1), 277: (3, 1), 278: (3, 4)}
nan = np.array([[0.5, np.nan]], np.float32)
NEST = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"  # a sequence and an item, open-ended
BIG = (7800, 7700)  # 60 megapixels
VAST = (15_000, 15_000)  # from here on Pillow refuses by itself
WEBP = packed(PIL.Image.fromarray(CORNER), "WEBP", lossless=True)

REFUSED = {
    "empty": (b"", "empty"),
    "plain text": (b"Name,Age\nA picture, honestly.\n" * 9, "plain text"),
    "text that begins like a BMP": (b"BM is what this text begins with, and it goes on for a while.", "plain text"),
    "an HTML page": (b"\n<!DOCTYPE html><html><body>404</body></html>", "HTML"),
    "SVG": (b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
    "GIF": (packed(PIL.Image.new("L", (2, 2)), "GIF"), "GIF"),
    "PDF": (b"%PDF-1.7\n%\xe2\xe3", "PDF"),
    "HEIC": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
    "zip": (b"PK\x03\x04" + b"\0" * 40, "zip"),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
    "noise": (bytes(range(128, 256)) * 4, "unknown kind"),
    "JPEG 2000": (packed(PIL.Image.new("L", (8, 8)), "JPEG2000"), "JPEG 2000"),
    "cut JPEG": (JPEG[: len(JPEG) // 2], "damaged or incomplete"),
    "JPEG without its end": (JPEG[:-40], "damaged or incomplete"),
    "JPEG cut in its header": (JPEG[:100], "incomplete"),
    "huge JPEG": (JPEG.replace(struct.pack(">HH", 64, 64), struct.pack(">HH", *BIG), 1), "7700 × 7800"),
    "PNG cut": (png(RAMP)[:-30], "damaged or incomplete"),
    "PNG with a wrong bit": (png(RAMP)[:60] + b"\xff" + png(RAMP)[61:], "damaged"),
    "PNG of no pixels": (raw_png(0, 5, 8, 0, b""), "damaged"),
    "PNG with too few pixels": (raw_png(4, 4, 8, 0, b"\0abcd\0ab"), "damaged"),
    "vast PNG": (raw_png(*VAST, 8, 0, b"\0"), "40 megapixels"),
    "huge PNG": (raw_png(*BIG, 8, 0, b"\0"), "7800 × 7700"),
    "cut WebP": (packed(PIL.Image.fromarray(CORNER), "WEBP")[:-9], "damaged"),
    "huge WebP": (WEBP[:21] + struct.pack("<I", BIG[0] - 1 | BIG[1] - 1 << 14) + WEBP[25:], "7800 × 7700"),
    "huge BMP": (b"BM" + b"\0" * 12 + struct.pack("<IiiHHIIIIII", 40, *BIG, 1, 24, *[0] * 6), "7800 × 7700"),
    "cut BMP": (packed(PIL.Image.fromarray(CORNER), "BMP")[:-9], "damaged"),
    "TIFF that promises more strips": (raw_tiff({**TIFF, 257: (3, 4000)}, bytes(16)), "fewer pixels"),
    "TIFF that promises more rows": (raw_tiff({**TIFF, 257: (3, 4000), 278: (3, 4000)}, bytes(16)), "damaged"),
    "huge TIFF": (raw_tiff({**TIFF, 256: (4, 7800), 257: (4, 7700)}, bytes(16)), "7800 × 7700"),
    "TIFF with a huge tile": (raw_tiff({**TIFF, 322: (4, 60_000), 323: (4, 60_000)}, bytes(16)), "60000 × 60000"),
    "TIFF without a width": (raw_tiff({257: (3, 4)}, bytes(16)), "damaged"),
    "TIFF whose directory is elsewhere": (b"II*\0\xff\xff\0\0" + bytes(9), "damaged"),
    "TIFF of NaN": (packed(PIL.Image.fromarray(nan), "TIFF"), "NaN"),
    "TIFF of infinity": (packed(PIL.Image.fromarray(nan[:, :1] * np.inf + np.inf), "TIFF"), "infinite"),
    "DICOM without pixels": (dicom(RAMP, PixelData=None), "without pixels"),
    "DICOM cut": (dicom(RAMP)[:-20], "damaged or incomplete"),
    "DICOM with too few pixels": (dicom(RAMP, Rows=999), "damaged or incomplete"),
    "huge DICOM": (dicom(RAMP, Rows=BIG[1], Columns=BIG[0]), "7800 × 7700"),
    "DICOM with a wrong number of channels": (dicom(RAMP, SamplesPerPixel=3), "contradicts itself"),
    "DICOM, deflated": (dicom(RAMP, syntax="1.2.840.10008.1.2.1.99"), "deflate"),
    "DICOM, 12-bit JPEG": (shipped("JPEG-lossy.dcm").read_bytes(), "no installed decoder"),
    "DICOM, unknown syntax": (dicom(RAMP).replace(b"1.2.840.10008.1.2.1\0", b"9.2.840.10008.1.2.1\0"), "unknown syn"),
    "DICOM, no syntax": (dicom(RAMP).replace(b"1.2.840.10008.1.2.1\0", b"..2.840\xff10008.1.2.1\0"), "unknown syn"),
    "DICOM report": (shipped("test-SR.dcm").read_bytes(), "without pixels"),
    "DICOM nested without end": (dicom(RAMP).partition(b"\x08\0\x16\0UI")[0] + NEST * 40, "damaged"),
    "DICOM nested deeply": (dicom(RAMP).partition(b"\x08\0\x16\0UI")[0] + NEST * 9000, "damaged"),
}  # fmt: skip


def one_sentence(error: PictureError, name: str) -> str:
    text = str(error)
    assert name in text
    assert text.endswith(".")
    assert not text.endswith("..")
    assert len(text.splitlines()) == 1
    assert len(text) < 300
    assert "Traceback" not in text
    assert "0x" not in text
    return text


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_picture_is_refused_in_one_sentence(case: str) -> None:
    data, reason = REFUSED[case]
    with pytest.raises(PictureError) as caught:
        read_image(data, "scan 7.png")
    assert reason in one_sentence(caught.value, "scan 7.png")


def test_no_flipped_bit_in_a_png_changes_the_picture_in_silence() -> None:
    pixels = np.random.default_rng(0).integers(0, 40, (40, 40), np.uint8)
    data = png(pixels)
    for at in range(data.index(b"IDAT") + 4, len(data) - 16):  # the last few decode, and only the check sum tells
        with pytest.raises(PictureError, match="damaged"):
            read_image(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])


def test_a_missing_file_a_folder_and_a_closed_one_are_refused(tmp_path: Path) -> None:
    for path, reason in [
        (tmp_path / "gone.png", "does not exist"),
        (tmp_path, "is a folder"),
        ("a\0.png", "cannot be read"),
    ]:
        with pytest.raises(PictureError, match=reason) as caught:
            read_image(path)
        one_sentence(caught.value, Path(path).name.replace("\0", " "))


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(PictureError, match="ordinary"):
        read_image(tmp_path / "pipe")


def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(png(CORNER))

    def closed(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", closed)  # the tests may run as root, whom no permission stops
    with pytest.raises(PictureError, match="may not be read") as caught:
        read_image(path)
    one_sentence(caught.value, "locked.png")


def test_a_file_opened_as_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(CORNER))
    with path.open() as file, pytest.raises(PictureError, match="binary mode"):
        read_image(file)  # type: ignore[arg-type]
    with pytest.raises(PictureError, match="binary mode"):
        read_image(io.StringIO("hello"))  # type: ignore[arg-type]


def test_too_many_bytes_are_refused_without_reading_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_core.images.MAX_BYTES", 100)
    asked: list[int] = []

    class Endless(io.RawIOBase):
        name = "endless.png"

        def read(self, size: int = -1) -> bytes:
            asked.append(size)
            return bytes(size)

    with pytest.raises(PictureError, match=r"endless\.png is larger"):
        read_image(Endless())  # type: ignore[arg-type]
    assert asked == [101]


def test_a_hostile_name_stays_on_one_line() -> None:
    with pytest.raises(PictureError) as caught:
        read_image(b"", "a\nb\u2028c\x00" + "d" * 500 + ".png")
    assert len(one_sentence(caught.value, ".png")) < 150


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", [case for case in REFUSED if case.startswith(("huge", "vast"))])
def test_a_huge_picture_is_refused_before_it_costs_memory(case: str) -> None:
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    with pytest.raises(PictureError, match="40 megapixels"):
        read_image(REFUSED[case][0])
    assert time.perf_counter() - start < 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # kilobytes; decoded it would be 180 MB


def test_forty_megapixels_are_still_accepted() -> None:
    width, height = 8000, 5000
    assert width * height == MAX_PIXELS
    assert read_image(raw_png(width, height, 1, 0, bytes((width // 8 + 1) * height))).pixels.shape == (height, width, 3)
    with pytest.raises(PictureError, match="8001 × 5000"):
        read_image(raw_png(width + 1, height, 1, 0, bytes((width // 8 + 2) * height)))


@pytest.mark.filterwarnings("ignore")
def test_no_setting_of_the_libraries_is_touched() -> None:
    from PIL import ImageFile

    def state() -> tuple[object, ...]:
        return (
            PIL.Image.MAX_IMAGE_PIXELS,
            ImageFile.LOAD_TRUNCATED_IMAGES,
            list(warnings.filters),
            pydicom.config.settings,
        )

    before = state()
    for data, _ in REFUSED.values():
        with pytest.raises(PictureError):
            read_image(data)
    assert state() == before


def test_only_the_recognised_format_is_ever_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, open_ = [], PIL.Image.open

    def watched(file: Any, *args: Any, **options: Any) -> Any:
        tried.append(options.get("formats"))
        return open_(file, *args, **options)

    monkeypatch.setattr(PIL.Image, "open", watched)
    for data in (png(CORNER), JPEG, WEBP):
        read_image(data)
    assert set(tried) == {("PNG",), ("JPEG",), ("WEBP",)}


def test_threads_do_not_disturb_one_another() -> None:
    files = [
        png(CORNER),
        png(WIDE),
        JPEG,
        dicom(RAMP),
        packed(PIL.Image.fromarray(CORNER), "TIFF", compression="tiff_lzw"),
    ]
    expected, wrong = [read_image(data).pixels for data in files], []

    def work() -> None:
        for data, pixels in list(zip(files, expected, strict=True)) * 10:
            if not np.array_equal(read_image(data).pixels, pixels):
                wrong.append(data[:4])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# ---- anything at all --------------------------------------------------------------------------------------------


@functools.cache
def good() -> tuple[bytes, ...]:
    """Small good files of every kind."""
    colour, small = PIL.Image.fromarray(CORNER), PIL.Image.fromarray(RAMP)
    exif = PIL.Image.Exif()
    exif[274] = 6
    palette = small.convert("P")
    return (
        png(CORNER, exif=exif),
        png(WIDE),
        packed(palette, "PNG", transparency=3),
        packed(colour, "JPEG", exif=exif),
        packed(small, "JPEG", progressive=True),
        packed(colour.convert("CMYK"), "JPEG"),
        packed(colour, "MPO", save_all=True, append_images=[colour]),
        packed(colour, "WEBP", lossless=True, exif=exif),
        packed(colour, "WEBP", save_all=True, append_images=[colour]),
        packed(colour, "TIFF", exif=exif),
        packed(small, "TIFF", compression="tiff_lzw"),
        packed(colour, "TIFF", compression="jpeg"),
        packed(small, "TIFF", big_tiff=True),
        packed(small.convert("F"), "TIFF"),
        packed(small.convert("1"), "TIFF", compression="group4"),
        packed(colour, "BMP"),
        packed(palette, "BMP"),
        dicom(RAMP),
        dicom(WIDE, syntax="1.2.840.10008.1.2", WindowCenter=5, WindowWidth=9),
        dicom(CORNER),
        dicom(WIDE, VOILUTSequence=lut([1, 2, 3], 0, 12), RescaleSlope=2, RescaleIntercept=1),
        shipped("SC_rgb_small_odd_jpeg.dcm").read_bytes(),
        shipped("rtdose_rle_1frame.dcm").read_bytes(),
    )


def test_the_good_files_are_good() -> None:
    for data in good():
        read_image(data)


@pytest.mark.filterwarnings("ignore")  # one that is raised would look like a refusal
@settings(max_examples=300, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_damage_of_any_kind_gives_a_picture_or_a_refusal(data: st.DataObject) -> None:
    changed = bytearray(data.draw(st.sampled_from(good())))
    head = st.integers(0, min(len(changed), 400) - 1) | st.integers(0, len(changed) - 1)
    for at, value in data.draw(st.lists(st.tuples(head, st.integers(0, 255)), max_size=4)):
        changed[at] = value
    end = data.draw(st.none() | st.integers(0, len(changed)))
    try:
        image = read_image(bytes(changed[:end]), "x.bin")
    except PictureError as error:
        one_sentence(error, "x.bin")
    else:
        assert isinstance(image, Image)
        assert image.pixels.size > 0


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (5, 9), (8, 8), (17, 4), (2, 33)])
@pytest.mark.parametrize("mode", ["1", "L", "RGBA"])
def test_a_png_woven_in_seven_passes_is_read_and_its_last_byte_is_missed(size: tuple[int, int], mode: str) -> None:
    width, height = size
    bits, colour = {"1": (1, 0), "L": (8, 0), "RGBA": (8, 6)}[mode]
    rows = b""
    for x, y, right, down in [
        (0, 0, 8, 8),
        (4, 0, 8, 8),
        (0, 4, 4, 8),
        (2, 0, 4, 4),
        (0, 2, 2, 4),
        (1, 0, 2, 2),
        (0, 1, 1, 2),
    ]:
        columns, count = len(range(x, width, right)), len(range(y, height, down))
        rows += (
            (b"\0" + b"\xff" * -(-columns * bits * len(mode if mode == "RGBA" else "1") // 8)) * count * (columns > 0)
        )
    woven = bytearray(raw_png(width, height, bits, colour, rows))
    woven[28] = 1
    woven[29:33] = struct.pack(">I", zlib.crc32(woven[12:29]))
    assert (read_image(bytes(woven)).pixels == 255).all()
    short = bytearray(raw_png(width, height, bits, colour, rows[:-1]))
    short[28:33] = woven[28:33]
    with pytest.raises(PictureError, match="damaged or incomplete"):
        read_image(bytes(short))


# ---- real files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["bone_xray", "chest_xray", "utkface"])
def test_real_pictures_are_read(folder: str, real_data: Path) -> None:
    files = sorted(path for path in (real_data / folder / "images").glob("**/*") if path.is_file())[:20]
    assert files
    for path in files:
        image = read_image(path)
        with PIL.Image.open(path) as picture:
            assert np.array_equal(image.pixels, np.asarray(picture.convert("RGB")))


# ---- what a network sees ----------------------------------------------------------------------------------------

SIZES = [(224, 224), (300, 200), (200, 300), (7, 5), (1, 1), (1, 60), (333, 97), (500, 501), (37, 640)]


def picture(height: int, width: int) -> Image:
    return Image(
        np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), np.uint8), "", "p.png"
    )


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
@pytest.mark.parametrize(("input_size", "crop"), [((3, 64, 64), 1.0), ((3, 64, 64), 0.875), ((3, 96, 64), 0.9),
                                                  ((3, 63, 65), 0.95), ((3, 32, 32), 1.1)])  # fmt: skip
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear", "nearest"])
def test_view_and_tensor_equal_timm_s_transform(
    interpolation: str, input_size: tuple[int, int, int], crop: float, crop_mode: str
) -> None:
    import torch
    from timm.data import create_transform

    torch.set_num_threads(1)
    cfg = {"input_size": input_size, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3), "interpolation": interpolation,
           "crop_pct": crop, "crop_mode": crop_mode}  # fmt: skip
    ours, theirs = Preprocessing.from_timm(cfg), create_transform(**cfg, is_training=False)
    for height, width in SIZES:
        image = picture(height, width)
        thin = crop_mode == "border" and min(height, width) * 1.2 * max(input_size) < max(height, width)
        if thin:
            continue  # timm itself fails where a side would vanish; see below
        x = ours.tensor(ours.view(image)[None])
        assert torch.equal(x[0], theirs(PIL.Image.fromarray(image.pixels))), (height, width)
        assert ours.view(image).shape == (*input_size[1:], 3)


def test_the_tensor_follows_the_formula_and_goes_back_exactly() -> None:
    ours = Preprocessing(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    pixels = np.repeat(RAMP[None, :, :, None], 3, axis=3)
    x = ours.tensor(pixels)
    assert x[0, :, 0, 0].tolist() == [-1, -1, 0]
    assert x[0, :, 15, 15].tolist() == [1, 3, 0.5]
    assert np.array_equal(ours.pixels(x), pixels)
    assert np.array_equal(Preprocessing().pixels(Preprocessing().tensor(pixels)), pixels)
    assert ours.pixels(x * 100).tolist()[0][0][0] == [0, 0, 0]
    with pytest.raises(ValueError, match="uint8"):
        ours.tensor(pixels[0])


def test_making_a_tensor_leaves_the_picture_alone() -> None:
    pixels = np.full((1, 2, 2, 3), 9, np.uint8)
    pixels.setflags(write=False)
    Preprocessing().tensor(pixels).add_(1)
    assert (pixels == 9).all()


@pytest.mark.parametrize(
    ("height", "width", "mode"), [(1, 40_000, "center"), (40_000, 1, "center"), (1, 40_000, "border")]
)
def test_a_picture_too_long_and_thin_is_refused_before_it_is_enlarged(height: int, width: int, mode: str) -> None:
    image = Image(np.zeros((height, width, 3), np.uint8), "", "strip.png")
    with pytest.raises(PictureError, match="too long and thin") as caught:
        Preprocessing(crop_mode=mode).view(image)
    one_sentence(caught.value, "strip.png")


def test_what_timm_leaves_out_is_as_timm_has_it() -> None:
    from timm.data import resolve_data_config

    assert Preprocessing.from_timm({}) == Preprocessing.from_timm(resolve_data_config(pretrained_cfg={"x": 1}))
    assert Preprocessing.from_timm({}).crop_fraction == 0.875


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_size": (1, 224, 224)},
        {"std": (0.0, 1.0, 1.0)},
        {"mean": (0.5,)},
        {"crop_mode": "x"},
        {"interpolation": "random"},
        {"crop_fraction": 0.0},
        {"mean": (float("nan"), 0, 0)},
    ],
)
def test_preprocessing_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingError, match=r"\.$"):
        Preprocessing(**wrong)


def test_the_digest_of_preprocessing_tells_settings_apart() -> None:
    assert Preprocessing().sha256 == Preprocessing.from_timm({"crop_pct": 1.0, "mean": [0.485, 0.456, 0.406]}).sha256
    assert Preprocessing().sha256 != Preprocessing(crop_fraction=0.9).sha256
    import json

    assert Preprocessing(**{k: tuple(v) if isinstance(v, list) else v for k, v in json.loads(
        json.dumps(Preprocessing().to_dict())).items()}) == Preprocessing()  # fmt: skip


def test_importing_the_door_for_files_loads_no_library_for_them() -> None:
    import subprocess
    import sys

    code = "import sys, xai_core.images; print([m for m in ('PIL', 'pydicom', 'torch') if m in sys.modules])"
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
