"""Every DICOM file that is inside the pydicom package as pydicom reads it; frames, windows, and what decoders need."""

from __future__ import annotations

import math
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut
from pydicom.pixels.decoders.base import get_decoder

from tests.test_images import RAMP, dicom, greys, one_sentence, said, saved
from xai_core.errors import PictureError
from xai_core.images import read_image
from xai_core.models import Model

pytestmark = pytest.mark.filterwarnings("ignore")  # pydicom's own, of files that are wrong on purpose

INSIDE = Path(pydicom.__file__).parent / "data"
FILES = sorted(
    str(path.relative_to(INSIDE))
    for path in INSIDE.rglob("*")
    if path.is_file() and path.suffix in (".dcm", "") and not path.name.startswith(("_", "README"))
)


def frames_of(path: Path) -> list[np.ndarray] | None:
    """The frames as pydicom decodes them, colours as RGB; None where it cannot."""
    try:
        ds = pydicom.dcmread(path)
        values = ds.pixel_array
    except Exception:
        return None
    return list(values) if int(ds.get("NumberOfFrames") or 1) > 1 else [values]


def on_a_screen(values: np.ndarray, ds: pydicom.Dataset) -> np.ndarray:
    """(h, w, 3) greys or colours from 0 to 255 of one frame, unrounded, step by step as the standard has them."""
    if ds.PhotometricInterpretation == "PALETTE COLOR":
        return np.asarray(apply_color_lut(values, ds) / 257)
    if ds.SamplesPerPixel == 3:
        return np.asarray(values / (2.0**ds.BitsStored - 1) * 255)
    rescaled = np.asarray(apply_modality_lut(values, ds), float)
    if "WindowWidth" in ds:
        shown = np.asarray(apply_voi_lut(apply_modality_lut(values, ds), ds), float)
        half = 2.0 ** (ds.BitsStored - 1)
        ends = [-half, half - 1] if ds.PixelRepresentation else [0, 2 * half - 1]
        low, high = (end * float(ds.get("RescaleSlope", 1)) + float(ds.get("RescaleIntercept", 0)) for end in ends)
    else:
        seen = sorted(rescaled[values != ds.PixelPaddingValue] if "PixelPaddingValue" in ds else rescaled.ravel())
        low, high = (seen[math.ceil(share * len(seen)) - 1] for share in (0.001, 0.999))
        if low == high:
            low, high = seen[0], seen[-1]
        shown = np.clip(rescaled, low, high)
    greys = (shown - low) / ((high - low) or 1) * 255
    if ds.PhotometricInterpretation == "MONOCHROME1":
        greys = 255 - greys
    return np.repeat(greys[:, :, None], 3, axis=2)


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_dicom_file_looks_as_pydicom_computes_it_or_is_refused_with_the_reason(name: str) -> None:
    path, start = INSIDE / name, time.perf_counter()
    try:
        image = read_image(path)
    except PictureError as error:
        assert time.perf_counter() - start < 10
        refused(path, str(error))
        return
    assert time.perf_counter() - start < 10
    ds, frames = pydicom.dcmread(path), frames_of(path)
    assert frames is not None, "shown here, but not by pydicom"
    assert image.source.get("frames", 1) == len(frames)
    for frame in sorted({0, len(frames) // 2, len(frames) - 1}):
        expected = on_a_screen(frames[frame], ds)
        assert np.abs(read_image(path, frame=frame).pixels - expected).max() <= 0.51, frame


def refused(path: Path, sentence: str) -> None:
    """Check that a refusal is one sentence, and that it gives the true reason."""
    assert sentence.startswith(path.name)
    assert sentence.endswith(".")
    assert len(sentence.splitlines()) == 1
    assert len(sentence) < 300
    try:
        ds = pydicom.dcmread(path)
    except pydicom.errors.InvalidDicomError:
        if "PixelData" not in pydicom.dcmread(path, force=True):
            assert "without pixels" in sentence or "unknown kind" in sentence
        return
    syntax = ds.file_meta.get("TransferSyntaxUID")
    if "PixelData" not in ds:
        assert "without pixels" in sentence
        assert ("(" in sentence) == ("MediaStorageSOPClassUID" in ds.file_meta or "SOPClassUID" in ds)
    elif syntax is not None and syntax.is_deflated:
        assert syntax.name in sentence
    else:
        assert frames_of(path) is None, "pydicom reads it"
        assert (syntax is not None and syntax.is_compressed and syntax.name in sentence) or "damaged" in sentence


BARS = [(255, 0, 0), (255, 128, 128), (0, 255, 0), (128, 255, 128), (0, 0, 255), (128, 128, 255)]
BARS += [(0, 0, 0), (64, 64, 64), (192, 192, 192), (255, 255, 255)]  # from top to bottom, each ten rows high


@pytest.mark.parametrize("name", [name for name in FILES if "/SC_rgb_" in name and "small_odd" not in name])
def test_one_test_card_has_the_same_colours_however_it_is_packed(name: str) -> None:
    try:
        pixels = read_image(INSIDE / name).pixels
    except PictureError as error:
        pytest.skip(str(error))
    if pixels.shape != (100, 100, 3):
        pytest.skip("another picture")
    assert np.abs(pixels[5::10, 50].astype(int) - BARS).max() <= 5  # what JPEG at its best loses


# ---- frames -----------------------------------------------------------------------------------------------------

FRAMES = [RAMP, RAMP[::-1], RAMP.T]


def several(**tags: object) -> bytes:
    """A file of three frames."""
    return dicom(RAMP, NumberOfFrames=3, PixelData=b"".join(frame.tobytes() for frame in FRAMES), **tags)


def test_every_frame_is_shown_and_it_is_said() -> None:
    data = several()
    for frame, expected in enumerate(FRAMES):
        image = read_image(data, frame=frame)
        assert np.array_equal(image.pixels[:, :, 0], expected)
        assert (image.source["frames"], image.source["frame"]) == (3, frame)
        which = "the first one" if frame == 0 else f"number {frame + 1}"
        assert f"The file holds 3 pictures; {which} is shown." in image.source["assumed"]
    assert len({read_image(data, frame=frame).sha256 for frame in range(3)}) == 3


@pytest.mark.parametrize("frame", [-1, 3, 10**12])
def test_a_frame_that_is_not_there_is_refused(frame: int) -> None:
    with pytest.raises(PictureError, match=f"has no frame {frame}: its 3 frames are counted from 0 to 2") as caught:
        read_image(several(), "scan.dcm", frame)
    one_sentence(caught.value, "scan.dcm")


def test_a_header_that_promises_more_frames_than_there_are_is_refused() -> None:
    data = dicom(RAMP, NumberOfFrames=10**9)
    for frame in (0, 1, 10**8):
        with pytest.raises(PictureError, match="damaged or incomplete"):
            read_image(data, frame=frame)


def test_every_frame_of_an_enhanced_file_has_its_own_window_and_all_share_the_spacing() -> None:
    def item(**tags: object) -> Dataset:
        ds = Dataset()
        for key, value in tags.items():
            setattr(ds, key, value)
        return ds

    def window(centre: float, width: float) -> Dataset:
        return item(FrameVOILUTSequence=[item(WindowCenter=centre, WindowWidth=width)])

    shared = item(PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.25])], FrameVOILUTSequence=[
        item(WindowCenter=128, WindowWidth=256)])  # fmt: skip
    data = dicom(
        np.array([[0, 50, 200]], np.uint16),
        NumberOfFrames=3,
        PixelData=np.array([0, 50, 200] * 3, "<u2").tobytes(),
        PerFrameFunctionalGroupsSequence=[window(50.5, 101), window(100.5, 201)],
        SharedFunctionalGroupsSequence=[shared],
    )
    shown = [read_image(data, frame=frame) for frame in range(3)]
    assert [image.pixels[0, :, 0].tolist() for image in shown] == [[0, 128, 255], [0, 64, 255], [0, 50, 200]]
    assert {tuple(image.source["pixel_spacing"]) for image in shown} == {(0.5, 0.25)}
    assert [image.source["window"][1] for image in shown] == [101, 201, 256]


# ---- brightness without a window --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"WindowCenter": 40, "WindowWidth": 0},
        {"WindowCenter": 40},
        {"WindowCenter": 40, "WindowWidth": -5},
        {"WindowCenter": 40, "WindowWidth": "nan"},
    ],
)
def test_without_a_usable_window_percentiles_of_the_values_are_shown(window: dict[str, float]) -> None:
    # 10,000 values: the percentile 0.1 is the 10th from below, 99.9 the 9,990th
    values = np.concatenate([np.full(12, 7), np.arange(100, 10_076), np.full(12, 60_000)]).astype(np.uint16)
    data = dicom(np.random.default_rng(0).permutation(values).reshape(100, 100), **window)
    image = read_image(data)
    shown = dict(zip(np.random.default_rng(0).permutation(values).tolist(), image.pixels[:, :, 0].ravel(), strict=True))
    assert shown[7] == 0
    assert shown[60_000] == 255
    assert "percentiles 0.1 to 99.9 of its values from 7 to 60000 became black to white" in said(data)
    rare = np.concatenate([np.full(9, 7), np.arange(100, 10_082), np.full(9, 60_000)]).astype(np.uint16)
    data = dicom(rare.reshape(100, 100), **window)
    assert "from 100 to 10080 became" in said(data)  # nine at either end are not enough
    assert greys(data).ravel()[[0, 9, 9 + 9980, 9999]].tolist() == [0, 0, 255, 255]
    assert greys(data).ravel()[9 + 1996] == 51


def test_a_few_values_become_black_to_white_from_end_to_end() -> None:
    data = dicom(np.array([[100, 200, 300, 1120]], np.uint16))
    assert greys(data).tolist() == [[0, 25, 50, 255]]
    assert "from 100 to 1120" in said(data)


def test_what_is_rare_on_an_even_ground_still_shows() -> None:
    values = np.zeros((100, 100), np.uint16)
    values[3, 4] = 1
    data = dicom(values)
    assert greys(data)[3, 4] == 255
    assert greys(data).sum() == 255
    assert "its own values from 0 to 1" in said(data)


@pytest.mark.parametrize("limit", [{}, {"PixelPaddingRangeLimit": -1500}, {"PixelPaddingRangeLimit": -2500}])
def test_padding_is_left_out_and_it_is_said(limit: dict[str, int]) -> None:
    inside = [-2000, *([-1800, -1500] if limit.get("PixelPaddingRangeLimit") == -1500 else [])]
    inside += [-2500] if limit.get("PixelPaddingRangeLimit") == -2500 else []
    data = dicom(np.array([[*inside, 0, 51, 255]], np.int16), PixelPaddingValue=-2000, **limit)
    assert greys(data).tolist() == [[*([0] * len(inside)), 0, 51, 255]]
    assert "padding left out" in said(data)
    assert "padding" not in said(dicom(np.array([[0, 51, 255]], np.int16), PixelPaddingValue=-2000))


# ---- decoders ---------------------------------------------------------------------------------------------------

PACKAGES = {
    "JPEG-lossy.dcm": (uid.JPEGExtended12Bit, "pip install pylibjpeg pylibjpeg-libjpeg"),
    "SC_rgb_jpeg_gdcm.dcm": (uid.JPEGLosslessSV1, "pip install python-gdcm"),
    "MR_small_jpeg_ls_lossless.dcm": (uid.JPEGLSLossless, "pip install python-gdcm"),
    "JPEGLSNearLossless_16.dcm": (uid.JPEGLSNearLossless, "pip install python-gdcm"),
    "MR_small_jp2klossless.dcm": (uid.JPEG2000Lossless, "pip install pylibjpeg pylibjpeg-openjpeg"),
    "JPEG2000.dcm": (uid.JPEG2000, "pip install pylibjpeg pylibjpeg-openjpeg"),
}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_missing_decoder_is_named_with_its_packages(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    syntax, packages = PACKAGES[name]
    monkeypatch.setattr(get_decoder(syntax), "_available", {})
    with pytest.raises(PictureError) as caught:
        read_image(INSIDE / "test_files" / name)
    sentence = one_sentence(caught.value, name)
    assert f"is compressed as {syntax.name}, for which no decoder is installed" in sentence
    assert packages in sentence


def test_a_film_is_refused_by_its_syntax_and_no_package_is_promised() -> None:
    film = dicom(b"\xfe\xff\0\xe0\0\0\0\0\xfe\xff\0\xe0\4\0\0\0film", syntax=uid.MPEG4HP41,
                 Rows=16, Columns=16, BitsAllocated=8, BitsStored=8, HighBit=7, PixelRepresentation=0)  # fmt: skip
    with pytest.raises(PictureError) as caught:
        read_image(film, "film.dcm")
    sentence = one_sentence(caught.value, "film.dcm")
    assert f"is compressed as {uid.MPEG4HP41.name}, for which no decoder is installed; save it uncompressed" in sentence


def test_a_decoder_that_is_there_and_fails_is_not_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = get_decoder(uid.JPEG2000)

    def fails(*_: object) -> bytes:
        raise ValueError

    path = INSIDE / "test_files" / "JPEG2000.dcm"
    monkeypatch.setattr(decoder, "_available", {"pillow": fails})
    with pytest.raises(PictureError, match=r"damaged, or of a kind .*pip install pylibjpeg pylibjpeg-openjpeg"):
        read_image(path)
    monkeypatch.setattr(decoder, "_available", {"pillow": fails, "pylibjpeg": fails})
    with pytest.raises(PictureError, match="damaged, or of a kind") as caught:
        read_image(path)
    assert "pip" not in str(caught.value)
    monkeypatch.setattr(get_decoder(uid.JPEGBaseline8Bit), "_available", {"pillow": fails})  # which every Pillow reads
    with pytest.raises(PictureError, match="damaged, or of a kind") as caught:
        read_image(path.with_name("SC_rgb_jpeg_dcmtk.dcm"))
    assert "pip" not in str(caught.value)


def test_a_file_without_pixels_says_what_it_holds() -> None:
    with pytest.raises(PictureError, match=r"without pixels \(RT Plan Storage\)"):
        read_image(INSIDE / "test_files" / "rtplan.dcm")
    secret = dicom(RAMP, PixelData=None).replace(b"1.2.840.10008.5.1.4.1.1.1.1", b"1.2.840.99999.5.1.4.1.1.1.1")
    with pytest.raises(PictureError, match=r"without pixels; choose"):
        read_image(secret)


# ---- nobody's name ----------------------------------------------------------------------------------------------

SECRETS = {
    **dict.fromkeys(["PN", "LO", "SH", "ST", "LT", "UT", "UC", "UR"], "Zwieback"),
    **dict.fromkeys(["CS", "AE"], "ZWIEBACK"),
    "DA": "19370204",
    "DT": "19370204121314",
    "TM": "121314.987654",
    "AS": "087Y",
    "UI": "1.2.7777.42",
}


def test_whatever_stands_in_the_texts_of_a_header_is_in_no_byte_of_a_record(cnn: Model, tmp_path: Path) -> None:
    needed = ("PhotometricInterpretation", "SpecificCharacterSet")
    texts = {
        keyword: SECRETS[vr]
        for tag, (vr, _, _, _, keyword) in DicomDictionary.items()
        if vr in SECRETS and keyword and tag >> 16 > 2 and keyword not in needed
    }
    assert len(texts) > 1800
    assert {"PatientName", "PatientID", "PatientBirthDate", "StudyDate", "InstitutionName", "Modality"} <= texts.keys()
    inner = Dataset()
    inner.PatientName = inner.StudyDescription = "Zwieback"
    sequences = {key: [inner] for key in ("RequestAttributesSequence", "PerFrameFunctionalGroupsSequence")}
    data = dicom(RAMP, **texts, **sequences, PixelSpacing=[0.5, 2])
    assert all(secret.encode() in data for secret in SECRETS.values())
    image = read_image(data, "Zwieback, Anna 19370204.dcm")
    assert image.source["pixel_spacing"] == [0.5, 2]
    for file, content in saved(cnn, image, tmp_path).items():
        for secret in set(SECRETS.values()):
            assert secret.lower().encode() not in content.lower(), (file, secret)
