"""A box that a person draws on a picture: with a mouse, a finger, the keys or four numbers."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.shared import errors, samples, state, viewer
from pages.shared.cached import digest, drawn
from xai_core.errors import SettingError
from xai_core.records import Image

if TYPE_CHECKING:
    from xai_core.probes import Box

LONGEST = 900  # pixels of the longer side of the picture, as it is shown
LEAST = 4  # pixels of the upload that a box is wide and high, or the whole of a smaller picture

_boxes = st.components.v2.component(
    "second_look.boxes", html='<div class="boxes"></div>', css=viewer.source("boxes.css"),
    js=viewer.source("boxes.js"),
)  # fmt: skip


def draw(
    image: Image,
    box: Box | None,
    found: Sequence[tuple[Box, str]],
    key: str,
    on_box: Callable[[Box | None], None],
) -> None:
    """Show the picture with the box, in full lines, and with what was found, dashed, each with its name.

    `on_box` is called with the box that was drawn, in whole pixels of the upload and within it, or with None when the
    box was removed. What is shown is what is given: it must give the box back.
    """
    height, width = image.pixels.shape[:2]
    jpeg = drawn(digest(picture=image.sha256, side=LONGEST), partial(samples.thumbnail, image, LONGEST))

    @errors.kept
    def take() -> None:
        said = state.value(key)
        if isinstance(said, Mapping) and said.get("drawn") is not None:
            on_box(checked(said["drawn"], width, height))

    _boxes(
        key=key,
        data={
            "picture": f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}",
            "width": width,
            "height": height,
            "least": LEAST,
            "box": None if box is None else list(box),
            "found": [{"edges": list(edges), "name": name} for edges, name in found],
        },
        on_drawn_change=take,
    )


def checked(said: Any, width: int, height: int) -> Box | None:
    """The box that a browser sent as [left, top, right, bottom], or None where it sent an empty list.

    Raises SettingError for anything else, and for a box that is not within the picture.
    """
    if isinstance(said, list) and not said:
        return None
    ends = (width, height) * 2
    if isinstance(said, list) and len(said) == 4:
        numbers = [float(edge) for edge, end in zip(said, ends, strict=True) if _is_within(edge, end)]
        if len(numbers) == 4:
            left, top, right, bottom = numbers
            if right - left >= min(LEAST, width) and bottom - top >= min(LEAST, height):
                return left, top, right, bottom
    raise SettingError(f"A box has four edges within the {width} × {height} pixels of the picture. Draw it again.")


def _is_within(edge: Any, end: int) -> bool:
    """Whether it is a number from 0 to the end; neither infinity nor NaN is, and True is none."""
    return type(edge) in (int, float) and 0 <= edge <= end
