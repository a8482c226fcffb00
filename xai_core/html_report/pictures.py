"""Pictures of a record as data addresses: small enough for a page, large enough to be judged."""

from __future__ import annotations

import base64
import io

from xai_core.html_report.blocks import Figure, Sources
from xai_core.seal import Damage, check_png

WIDEST = 1400  # pixels: twice what a page of A4 or a column on a screen shows
LOSSLESS = 400_000  # bytes; a larger one is kept as JPEG where that is smaller
QUALITY = 88


def embedded(content: bytes, alt: str, caption: str, source: Sources) -> Figure:
    """A PNG, scaled down where it is too wide. Raises Damage for bytes that are none."""
    from PIL import Image

    check_png(content[:64])  # before anything is decoded
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as picture:
            shown = picture.convert("RGB")
    except (OSError, SyntaxError, ValueError):
        raise Damage("unverifiable", "it cannot be decoded") from None
    if shown.width > WIDEST:
        size = WIDEST, max(1, round(shown.height * WIDEST / shown.width))
        shown = shown.resize(size, Image.Resampling.LANCZOS)
        content = _written(shown, "PNG", optimize=True)
    kind = "png"
    if len(content) > LOSSLESS and len(small := _written(shown, "JPEG", quality=QUALITY, subsampling=0)) < len(content):
        kind, content = "jpeg", small
    address = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    return Figure(address, alt, caption, source, shown.width, shown.height)


def _written(picture: object, form: str, **settings: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, **settings)  # type: ignore[attr-defined]
    return out.getvalue()
