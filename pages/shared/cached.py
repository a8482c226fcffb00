"""Work that is shared between reruns and visitors. The only module that uses Streamlit's caches.

Keys are one digest, never an array: Streamlit samples large arrays, so that two different ones can share a key.
"""

from __future__ import annotations

import atexit
import gc
import hashlib
import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from xai_core.errors import AuditError, ModelError

if TYPE_CHECKING:
    from xai_core.models import Model

SEED = 0  # of random weights
DOWNLOAD = "SECOND_LOOK_DOWNLOAD"  # set to 1, the page may download pretrained weights; else only what is here is used
MOST_PARAMETERS = 500_000_000  # 2 GB in memory: a name typed by a visitor shall not exhaust the machine
_importing = threading.Lock()
_imported = False


def digest(**parts: Any) -> str:
    """One fixed-length key for any mix of plain values, so that no two requests can be mistaken for each other."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load_core() -> None:
    """Import everything heavy, one thread at a time: who meets a half imported module breaks on it.

    What the libraries bring is a million objects that are never garbage. They are taken out of the collector's way, so
    that collecting takes milliseconds instead of a third of a second, during which every thread waits.
    """
    global _imported
    with _importing:
        if _imported:
            return
        if os.environ.get(DOWNLOAD) != "1":  # who types a name into the page decides nothing about the network
            os.environ["HF_HUB_OFFLINE"] = "1"
        import xai_core.figures
        import xai_core.loading
        import xai_core.manifest
        import xai_core.methods
        import xai_core.pipeline  # noqa: F401

        gc.collect()
        gc.freeze()
        atexit.register(gc.unfreeze)  # else libraries take what is left at the end for leaks, and say so
        _imported = True


def warm_up() -> None:
    """Start importing while the visitor still chooses a picture."""
    threading.Thread(target=load_core, name="second-look-imports", daemon=True).start()


def model(name: str, random: bool) -> Model:
    """A model by name, loaded once for all visitors. An evicted one is dropped, since another may be using it."""
    return _model(digest(model=name, random=random), name, random)


@st.cache_resource(max_entries=4, show_spinner="Loading the model")
def _model(key: str, _name: str, _random: bool) -> Model:
    from xai_core.loading import demo_models, load_model, parameters_of

    if _name not in demo_models() and (size := parameters_of(_name)) > MOST_PARAMETERS:
        raise ModelError(
            f"{_name} has {size:,} parameters; this page opens models of up to {MOST_PARAMETERS:,}. "
            "Choose a smaller one, or use the command line."
        )
    try:
        return load_model(_name, pretrained=not _random, seed=SEED)
    except ModelError as error:
        if _random or _name in demo_models() or os.environ.get(DOWNLOAD) == "1" or "pretrained" not in str(error):
            raise
        raise ModelError(
            f"The pretrained weights of {_name} are not on this machine, and this page downloads nothing unless it is "
            f"started with {DOWNLOAD}=1. Pick a demo model, or switch on random weights."
        ) from error


@st.cache_data(max_entries=256, show_spinner=False)
def record_thumbnail(key: str, _folder: Path) -> bytes | None:
    """A small overlay of a saved record's first map, or None where it cannot be opened. `key` holds the record's id."""
    from pages.shared.samples import thumbnail
    from xai_core import figures
    from xai_core.manifest import open_record
    from xai_core.records import Image

    try:
        first = open_record(_folder).explanations[0]
    except AuditError:
        return None
    scale, colours = figures.scale_of([first.values]), figures.default_colour_map(first.values)
    return thumbnail(Image(figures.overlay(first.pixels, first.values, scale, colours, 0.5), first.image), 160)
