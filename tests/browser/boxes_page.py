"""A page with nothing but a box to draw on a picture."""

from __future__ import annotations

import hashlib

import numpy as np
import streamlit as st

from pages.shared import boxes, errors
from xai_core.probes import Box
from xai_core.records import Image

HEIGHT, WIDTH = 1000, 1501  # of the upload: larger than it is shown
FOUND = [((300.0, 200.0, 900.0, 800.0), "<b>face</b>")]


def upload() -> Image:
    """Grey that rises from left to right."""
    pixels = np.repeat(np.linspace(40, 200, WIDTH)[None, :, None], HEIGHT, axis=0).repeat(3, axis=2).astype(np.uint8)
    return Image(pixels, hashlib.sha256(pixels.tobytes()).hexdigest())


def page() -> None:
    """Draw it, and say what was drawn."""
    st.set_page_config(layout="wide")
    st.header("A box", anchor=False)

    def take(box: Box | None) -> None:
        st.session_state.box = box

    with errors.shown():
        box: Box | None = st.session_state.get("box")
        boxes.draw(upload(), box, FOUND, "the box", take)
        st.text("nothing" if box is None else " ".join(f"{edge:g}" for edge in box))


if __name__ == "__main__":
    page()
