"""DICOM bytes to greys or colours on a screen, by pydicom.

The order is the standard's: stored values, modality LUT (rescale), VOI LUT (window), and last the inversion of
MONOCHROME1. Only the tags listed here are ever read, so nothing that identifies a person can get out.
"""

from __future__ import annotations

import io
import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_core.errors import PictureError
from xai_core.raster import AGAIN, check_size, frame_facts

if TYPE_CHECKING:
    from pydicom import Dataset

_PHOTOMETRIC = {"MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"}

# Only these words are repeated to the screen: a free text in their place could be a name.
_WORDS = {
    "Modality": "BI CR CT DG DX ES GM IO IVUS LS MG MR NM OCT OP OPT OT PT PX RF RG SC SM TG US XA XC",
    "ViewPosition": "AP PA LL RL RLD LLD RLO LLO CC MLO ML LM LMO XCC XCCL XCCM FB SIO ISO LATERAL LAT",
    "Laterality": "L R B U",
    "ImageLaterality": "L R B U",
    "BurnedInAnnotation": "YES NO",
}
# Enhanced files keep rescale, window and spacing in here, once for each frame or once for all.
_GROUPS = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
_PARTS = ("PixelValueTransformationSequence", "FrameVOILUTSequence", "PixelMeasuresSequence")
_TAGS = [
    *("SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames", "Rows", "Columns"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "SOPClassUID"),
    *("ExtendedOffsetTable", "ExtendedOffsetTableLengths", "PixelSpacing", "ImagerPixelSpacing"),
    *("ModalityLUTSequence", "RescaleSlope", "RescaleIntercept"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction"),
    *(*range(0x00281101, 0x00281104), *range(0x00281201, 0x00281204)),  # the palette's descriptors and its colours
    *(*_WORDS, *_GROUPS),
]
# What reads the syntaxes that Pillow and pydicom do not read, or not always: its name in pydicom, and its packages.
_PLUGINS = {
    "1.2.840.10008.1.2.4.51": ("pylibjpeg", "pylibjpeg pylibjpeg-libjpeg"),  # twelve bits; gdcm reads only eight
    **dict.fromkeys(["1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"], ("gdcm", "python-gdcm")),
    **dict.fromkeys(["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"], ("gdcm", "python-gdcm")),
    **dict.fromkeys(
        [*("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.201"),
         *("1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203")],
        ("pylibjpeg", "pylibjpeg pylibjpeg-openjpeg"),
    ),
}  # fmt: skip
_SHOWN = (0.001, 0.999)  # of the values, where the file gives no window: one bright marker would leave the rest dark


def decode(data: bytes, frame: int = 0) -> tuple[np.ndarray, dict[str, Any]]:
    """(h, w, 3) uint8 and the facts, `assumed` among them as a list.

    Raises PictureError without the file's name; damaged bytes also raise whatever pydicom raises.
    """
    assumed: list[str] = []
    ds = _read(data, frame, assumed)
    counted = frame_facts(frame, max(int(ds.get("NumberOfFrames") or 1), 1), assumed)
    rows, columns, bits = int(ds.Rows), int(ds.Columns), int(ds.BitsStored)
    check_size(columns, rows)
    photometric = str(ds.PhotometricInterpretation)
    if photometric not in _PHOTOMETRIC or (photometric[0] == "Y" and bits > 8):
        raise PictureError("is a DICOM file with colours of an unknown kind; export it as PNG")
    colour = photometric[0] in "RY"
    if ds.SamplesPerPixel != (3 if colour else 1) or (colour and ds.PixelRepresentation != 0):
        raise PictureError(f"is a DICOM file whose header contradicts itself about its colours; {AGAIN}")
    facts: dict[str, Any] = {"format": "DICOM", "mode": photometric, "bits": bits, "rows": rows, "columns": columns}
    facts |= counted
    values = _stored(ds, frame, assumed)
    if photometric == "PALETTE COLOR":
        shown = _palette(values, ds)
    elif colour:
        shown = _eight(values, 2**bits - 1)
        if bits != 8:
            assumed.append(f"Each channel's {bits} bits were scaled to 8: black and white stay where they were.")
    else:
        levels = _levels(values, ds, assumed, facts)
        if photometric == "MONOCHROME1":
            levels = 255 - levels
            assumed.append("It is stored with white as the lowest value (MONOCHROME1) and was inverted for display.")
        shown = np.repeat(levels[:, :, None], 3, axis=2)
    for keyword, words in _WORDS.items():
        if (word := str(ds.get(keyword))) in words.split():
            facts[re.sub("(?<=[a-z])(?=[A-Z])", "_", keyword).lower()] = word
    spacing = _numbers(ds, "PixelSpacing") or _numbers(ds, "ImagerPixelSpacing")
    if len(spacing) == 2 and all(map(math.isfinite, spacing)):
        facts["pixel_spacing"] = spacing  # mm between rows, mm between columns
    if ds.get("BurnedInAnnotation") == "YES":
        assumed.append("By its header text is burned into the picture: it may name a person or give the label away.")
    return np.ascontiguousarray(shown), {**facts, "assumed": assumed}


def _read(data: bytes, frame: int, assumed: list[str]) -> Dataset:
    """What of _TAGS the file holds of a frame, and its transfer syntax."""
    from pydicom import dcmread, uid
    from pydicom.filereader import _read_file_meta_info, read_preamble

    file = io.BytesIO(data)
    read_preamble(file, force=True)
    # By itself and before the rest, since dcmread inflates a deflated file, to any size.
    if _read_file_meta_info(file).get("TransferSyntaxUID") == (deflated := uid.DeflatedExplicitVRLittleEndian):
        raise PictureError(f"is compressed as {deflated.name}, which is not accepted; save it again without deflate")
    ds = dcmread(io.BytesIO(data), force=True, specific_tags=_TAGS)
    if "PixelData" not in ds:
        what = uid.UID(ds.file_meta.get("MediaStorageSOPClassUID") or ds.get("SOPClassUID") or "")
        kind = f" ({what.name})" if what.name != what else ""  # the name of an unknown one is the number itself
        raise PictureError(f"is a DICOM file without pixels{kind}; choose one that holds a picture")
    if "TransferSyntaxUID" not in ds.file_meta:
        implicit, _ = ds.original_encoding
        ds.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian
        assumed.append("The file names no transfer syntax; it was taken as uncompressed.")
    own, shared = ((ds.get(name) or []) for name in _GROUPS)
    groups = [*own[frame : frame + 1], *shared[:1]]
    parts = [item for group in groups for name in _PARTS for item in (group.get(name) or [])[:1]]
    ds.update({element.tag: element for part in reversed(parts) for element in part if element.tag not in ds})
    return ds


def _stored(ds: Dataset, frame: int, assumed: list[str]) -> np.ndarray:
    """(h, w) or (h, w, 3) whole numbers of a frame; colours are RGB."""
    from pydicom import uid
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array

    syntax = ds.file_meta.TransferSyntaxUID
    called = syntax.name if syntax in uid.AllTransferSyntaxes else "an unknown syntax"
    plugin, packages = _PLUGINS.get(syntax, ("", ""))
    more = ""
    try:
        decoder = get_decoder(syntax)
        if plugin and plugin not in decoder.available_plugins:
            more = f"install one (pip install {packages}), or "
        if not decoder.is_available:
            raise NotImplementedError
        if syntax.is_compressed and ("Lossy" in called or "Lossless" not in called):
            assumed.append("The picture inside the DICOM file may have lost small details to its compression.")
        return pixel_array(ds, index=frame)
    except NotImplementedError:
        why = f"is compressed as {called}, for which no decoder is installed; {more}save it uncompressed"
    except RuntimeError:  # each decoder that is installed has failed
        why = f"could not be decoded as {called}: it is damaged, or of a kind that no installed decoder reads; "
        why += more + ("save it uncompressed" if more else AGAIN)
    raise PictureError(why)


def _numbers(ds: Dataset, keyword: str) -> list[float]:
    """Of a tag that holds decimals; none where one of them is no number."""
    try:
        return [float(value) for value in np.atleast_1d(ds.get(keyword))]
    except (TypeError, ValueError, OverflowError):
        return []


def _levels(values: np.ndarray, ds: Dataset, assumed: list[str], facts: dict[str, Any]) -> np.ndarray:
    """(h, w) stored values to (h, w) uint8 greys."""
    from pydicom import Dataset
    from pydicom.pixels.processing import apply_modality_lut, apply_voi, apply_windowing

    padding = _padding(values, ds)
    rescale = _numbers(ds, "RescaleSlope")[:1] + _numbers(ds, "RescaleIntercept")[:1]
    if ds.get("ModalityLUTSequence") or (len(rescale) == 2 and rescale[0] != 0 and all(map(math.isfinite, rescale))):
        values = apply_modality_lut(values, ds)
    elif "RescaleSlope" in ds or "RescaleIntercept" in ds:
        assumed.append("Its rescale slope or intercept is no usable number; the stored values were taken instead.")
    if ds.get("VOILUTSequence"):
        assumed.append("Brightness follows the look-up table in the file.")
        count, first, bits = ds.VOILUTSequence[0].LUTDescriptor
        inside = np.clip(np.rint(values), first, first + (count or 2**16) - 1).astype(np.int32)
        return _eight(apply_voi(inside, ds), 2**bits - 1)
    window = _numbers(ds, "WindowCenter")[:1] + _numbers(ds, "WindowWidth")[:1]
    shape = str(ds.get("VOILUTFunction"))
    shape = shape if shape in ("LINEAR_EXACT", "SIGMOID") else "LINEAR"
    if len(window) == 2 and math.isfinite(sum(window)) and window[1] >= (1 if shape == "LINEAR" else 1e-9):
        facts["window"] = window
        assumed.append(f"Brightness follows the first window in the file: centre {window[0]:g}, width {window[1]:g}.")
        screen = Dataset()  # by this pydicom scales the window to the eight bits of a screen
        screen.PhotometricInterpretation, screen.BitsStored, screen.PixelRepresentation = "MONOCHROME2", 8, 0
        screen.WindowCenter, screen.WindowWidth, screen.VOILUTFunction = *window, shape
        return _eight(apply_windowing(values, screen), 255)
    seen = values if padding.all() else values[~padding]
    low, high = (float(end) for end in np.quantile(seen, _SHOWN, method="inverted_cdf"))
    which = "percentiles 0.1 to 99.9 of its values"
    if low == high:
        low, high, which = float(seen.min()), float(seen.max()), "its own values"
    if not math.isfinite(high - low):
        raise PictureError("holds values too far apart to be shown as greys; rescale them and save it again")
    left = ", padding left out," if padding.any() else ""
    assumed.append(f"The file gives no usable window; {which}{left} from {low:g} to {high:g} became black to white.")
    return _eight(values - np.float64(low), high - low or 1.0)


def _padding(values: np.ndarray, ds: Dataset) -> np.ndarray:
    """Where the stored values are none, but fill the frame up."""
    if not (ends := _numbers(ds, "PixelPaddingValue")[:1]):
        return np.zeros(values.shape, bool)
    ends += _numbers(ds, "PixelPaddingRangeLimit")[:1]
    inside: np.ndarray = (values >= min(ends)) & (values <= max(ends))
    return inside


def _palette(values: np.ndarray, ds: Dataset) -> np.ndarray:
    """(h, w) numbers of colours to (h, w, 3) uint8."""
    from pydicom.pixels.processing import apply_color_lut

    if "RedPaletteColorLookupTableData" not in ds:
        raise PictureError("is a DICOM file without a plain palette for its colours; export it as PNG")
    count, first, bits = ds.RedPaletteColorLookupTableDescriptor
    colours = apply_color_lut(np.clip(values.astype(np.int32), first, first + (count or 2**16) - 1), ds)
    eight = colours.dtype == np.uint8 or (bits == 8 and colours.max() < 256)  # also those written into sixteen
    return _eight(colours, 255 if eight else 2**16 - 1)


def _eight(values: np.ndarray, white: float) -> np.ndarray:
    """Numbers from 0 to `white` as uint8; those beyond become black or white."""
    if values.dtype == np.uint8 and white == 255:
        return values
    return np.rint(np.clip(values * (255 / white), 0, 255)).astype(np.uint8)
