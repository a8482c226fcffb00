"""What is shared between reruns and visitors: models, and what Streamlit caches. The only module that uses its caches.

Keys are one digest, never an array: Streamlit samples large arrays, so that two different ones can share a key.
"""

from __future__ import annotations

import atexit
import gc
import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import streamlit as st

from pages.shared.errors import LOG, plain
from pages.shared.shelf import Shelf
from xai_core.errors import AuditError, ModelError, StoreError

if TYPE_CHECKING:
    from xai_core.models import Model
    from xai_core.records import Explanation, Frame
    from xai_core.unit_store import UnitStore

T = TypeVar("T")
SEED = 0  # of random weights
DOWNLOAD = "SECOND_LOOK_DOWNLOAD"  # set to 1, the page may download pretrained weights; else only what is here is used
MOST_PARAMETERS = 500_000_000  # 2 GB in memory: a name typed by a visitor shall not exhaust the machine
shelf = Shelf()  # of this process: every visitor's models
_importing, _opening = threading.Lock(), threading.Lock()
_imported = False
_stores: dict[str, UnitStore | None] = {}


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


def is_warm() -> bool:
    """Whether everything heavy has been imported, so that to ask for a method's name costs nothing."""
    return _imported


def warm_up() -> None:
    """Start importing while the visitor still chooses a picture."""
    threading.Thread(target=load_core, name="second-look-imports", daemon=True).start()


def model(name: str, random: bool, task: str = "") -> Model:
    """A model by name, loaded once for all visitors. `task` says what its outputs mean; "" goes by its head."""
    from xai_core.loading import demo_models, parameters_of
    from xai_core.own_models import own_models

    key = digest(model=name, random=random, task=task)
    if (found := shelf.find(key)) is not None:
        return found
    size = ""
    if name not in demo_models() and name not in own_models():
        check_size(name, parameters := parameters_of(name))
        size = f" ({sized(parameters)})"
    with st.spinner(f"Loading {plain(name)}{size}", show_time=True):
        return shelf.get(key, name, lambda: _loaded(name, random, task))


def held(name: str, random: bool, task: str = "") -> Model:
    """The same for work in a thread, by a name that `model` has opened before."""
    return shelf.get(digest(model=name, random=random, task=task), name, lambda: _loaded(name, random, task))


def check_size(name: str, parameters: int) -> None:
    """Raise ModelError for a network that is too large for a page that several visitors share."""
    if parameters > MOST_PARAMETERS:
        raise ModelError(
            f"{name} has {parameters:,} parameters; this page opens models of up to {MOST_PARAMETERS:,}. "
            "Choose a smaller one, or use the command line."
        )


def sized(parameters: int) -> str:
    """The size of a network in words."""
    return f"{parameters / 1e6:.1f} million parameters, {4 * parameters / 1e6:,.0f} MB"


def _loaded(name: str, random: bool, task: str) -> Model:
    from xai_core.loading import demo_models, load_model

    try:
        return load_model(name, pretrained=not random, task=task or None, seed=SEED)
    except ModelError as error:
        if random or name in demo_models() or os.environ.get(DOWNLOAD) == "1" or "pretrained" not in str(error):
            raise
        raise ModelError(
            f"The pretrained weights of {name} are not on this machine, and this page downloads nothing unless it is "
            f"started with {DOWNLOAD}=1. Pick a demo model, or switch on random weights."
        ) from error


def unit_store(folder: Path) -> UnitStore | None:
    """The answers that are kept in `folder`, opened once. None where that fails: the log says so, once."""
    from xai_core.unit_store import UnitStore

    address = str(folder.absolute())
    with _opening:
        if address not in _stores:
            try:
                _stores[address] = UnitStore(address)
            except StoreError as error:
                LOG.warning("The pages work without kept answers. %s", error)
                _stores[address] = None
        return _stores[address]


def same_for_all(explained: Mapping[str, Explanation]) -> str | None:
    """Which of these maps, by their keys, are nearly the same."""
    return _same_for_all(digest(maps=list(explained)), list(explained.values()))


@st.cache_data(max_entries=256, show_spinner=False)
def _same_for_all(key: str, _explanations: Sequence[Explanation]) -> str | None:
    from xai_core.findings import same_for_all

    return same_for_all(_explanations)


@st.cache_data(max_entries=64, show_spinner=False, scope="session")
def drawn(key: str, _draw: Callable[[], bytes]) -> bytes:
    """A picture that is drawn once. `key` holds everything that it shows."""
    return _draw()


@st.cache_resource(max_entries=8, show_spinner=False)
def shared(key: str, _make: Callable[[], T]) -> T:
    """What is made once for all visitors, and never copied. `key` holds everything that it depends on."""
    return _make()


@st.cache_data(max_entries=256, show_spinner=False)
def record_thumbnail(key: str, _folder: Path) -> bytes | None:
    """A small overlay of a saved record's first map; None where there is none. `key` holds the record's id."""
    from pages.shared.samples import thumbnail
    from xai_core import figures
    from xai_core.manifest import open_record
    from xai_core.records import Finding, Image, Record

    try:
        record = open_record(_folder)
    except AuditError:
        return None
    shown: Sequence[Frame | Explanation] = ()
    if isinstance(record, Finding):
        shown = record.frames
    elif isinstance(record, Record):
        shown = record.explanations
    if not shown:
        return None
    first = shown[0]
    pixels = first.pixels
    if first.values is not None:
        scale, colours = figures.scale_of([first.values]), figures.default_colour_map(first.values)
        pixels = figures.overlay(pixels, first.values, scale, colours, 0.5)
    return thumbnail(Image(pixels, ""), 160)
