"""Where in the picture a probe works: the part that is found, or the box that a person draws."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import streamlit as st

import xai_core as xai
from pages.shared import boxes, cached
from pages.shared.answers import some
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.probe_pictures import SOURCES, Pictures
from pages.shared.state import Session
from xai_core.errors import PictureError
from xai_core.records import Case, Image

if TYPE_CHECKING:
    from xai_core.probes import Box, Part, Probe, Subject

PATCH = "patch"


def drawn(visitor: Session, pictures: Pictures, probe: Probe) -> Mapping[str, Box]:
    """The box that was drawn, by the sha256 of its picture. Of one picture, where the probe works is shown."""
    part = str(getattr(probe, "part", ""))
    if not part:
        return {}
    if pictures.image is None:
        given = _of_uploads(visitor, pictures, part)
        where = (
            "The patch is placed in the whole of each picture."
            if part == PATCH
            else "Of each picture, the part is where the data mark it, else in the first face that is found. Pictures "
            "without either are left out, which is said."
        )
        drawn = (
            f"Boxes that you drew under *{SOURCES['this']}* go before that: {some(len(given), 'upload')} of "
            f"{len(pictures.cases)} {'has' if len(given) == 1 else 'have'} one."
            if given
            else f"No box can be drawn here. Choose *{SOURCES['this']}* to draw one; it is used for your uploads alone."
        )
        st.caption(f"{where} {drawn}")
        return given
    image, key = pictures.image, key_of(pictures.image.sha256, part)
    with st.container(key="where the probe works"):
        _shown(visitor, image, pictures.cases[0], part, key)
    box = visitor.probing.boxes.get(key)
    return {} if box is None else {image.sha256: box}


def _of_uploads(visitor: Session, pictures: Pictures, part: str) -> Mapping[str, Box]:
    """The boxes that were drawn in pictures that are at hand, by the sha256 of their picture."""
    images = [one.image for one in pictures.cases if not isinstance(one, Case)]
    kept = ((image.sha256, visitor.probing.boxes.get(key_of(image.sha256, part))) for image in images)
    return {sha256: box for sha256, box in kept if box is not None}


def key_of(sha256: str, part: str) -> str:
    """Under which a box is kept: all parts of a face are placed in the same one."""
    return f"{sha256} {PATCH if part == PATCH else 'face'}"


def _shown(visitor: Session, image: Image, one: Subject | Case, part: str, key: str) -> None:
    kept = visitor.probing.boxes
    box, name = kept.get(key), part.replace("_", " ")
    with st.spinner("Looking for the face"):
        mark = digest(image=image.sha256, part=part, box=box)
        found = cached.shared(mark, lambda: _found(image, one, part, box))

    def take(box: Box | None) -> None:
        if box is None:
            kept.pop(key, None)
        else:
            kept[key] = box

    left, right = st.columns([3, 2], gap="medium")
    with right:
        if isinstance(found, str):
            st.warning(plain(found), icon=":material/face_retouching_off:")
        else:
            st.markdown(f"**{plain(name.capitalize())}**: {plain(found.source)}.")
        st.caption(
            "Draw a box on the picture to say which patch is covered."
            if part == PATCH
            else "A box that you draw around the face goes before what was found: its parts are placed within."
        )
    with left:
        told = [] if isinstance(found, str) or found.box == box else [(found.box, name)]
        boxes.draw(image, box, told, f"box {key}", take)


def _found(image: Image, one: Subject | Case, part: str, box: Box | None) -> Part | str:
    """The part, or why nobody knows where it is."""
    from xai_core.parts import part_of
    from xai_core.probes import Subject
    from xai_core.truth import fitted_mask

    marked = {}
    try:
        if isinstance(one, Case):
            for name, read in one.parts.items():
                marked[name] = fitted_mask(xai.read_image(read(), name), image).pixels[..., 0] > 127
        return part_of(Subject(1, image, parts=marked, box=box), part)
    except PictureError as error:
        return str(error)
