"""A page with nothing but the viewer: maps of two models that see different parts of one upload. No network is run."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import streamlit as st

from pages.shared import viewer
from pages.shared.question import Looks
from xai_core.records import Check, Evidence, Explanation, Image, Passes, Target

HEIGHT, WIDTH = 480, 640  # of the upload
BOXES = {"wide": (80.0, 0.0, 560.0, 480.0), "narrow": (160.0, 80.0, 480.0, 400.0)}
SIZES = {"wide": 160, "narrow": 128}


def upload() -> Image:
    """Grey that rises from left to right, with a grid of fine lines."""
    pixels = np.repeat(np.linspace(40, 200, WIDTH)[None, :, None], HEIGHT, axis=0).repeat(3, axis=2).astype(np.uint8)
    pixels[::16] = pixels[:, ::16] = 230
    return Image(pixels, hashlib.sha256(pixels.tobytes()).hexdigest())


def explained(name: str, **others: Any) -> Explanation:
    """A map that tells its places: every value is the row, and a thousandth of the column."""
    size, (left, top, right, bottom) = SIZES[name], BOXES[name]
    rows, columns = np.mgrid[:size, :size]
    at = (np.arange(size) + 0.5) / size
    pixels = upload().pixels[(top + at * (bottom - top)).astype(int)][:, (left + at * (right - left)).astype(int)]
    words: dict[str, Any] = {
        "values": (rows + columns / 1000).astype(np.float32),
        "pixels": np.ascontiguousarray(pixels),
        "method": {"name": "saliency"},
        "model": {"name": name, "weights_sha256": name},
        "target": Target(0, "a"),
        "image": upload().sha256,
        "seed": 0,
        "seconds": 0.0,
        "passes": Passes(1, 1),
        "grid": (8, 8),
        "box": BOXES[name],
    }
    return Explanation(**(words | others))


def weighed(supported: bool) -> Evidence:
    """A verdict."""
    return Evidence("supported" if supported else "no evidence", (Check("placement", supported, "A sentence."),))


def page() -> None:
    """Draw it. A button lets verdicts arrive, a box takes the upload away; `third` in the address adds a model."""
    said = st.session_state
    said.setdefault("verdicts", 0)
    st.set_page_config(layout="wide")
    st.header("Two models", anchor=False)
    if st.button("Weigh"):
        said.verdicts += 1
    st.text(f"{said.verdicts} verdicts")
    picture = upload() if st.checkbox("Upload", value=True) else None
    shown = [explained("wide"), explained("narrow")]
    if "third" in st.query_params:
        shown.append(explained("narrow", model={"name": "third"}))
    evidence = [weighed(i == 0) if said.verdicts > i else None for i in range(len(shown))]
    viewer.maps(shown, "two", Looks(shared=True), 0, lambda: None, (), evidence, weighing=True, picture=picture)


if __name__ == "__main__":
    page()
