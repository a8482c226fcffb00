"""Pages run by Streamlit's own simulator: no browser, one thread, a store of their own."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

ROOT = Path(__file__).resolve().parents[2]
Opener = Callable[..., AppTest]


def settled(app: AppTest) -> AppTest:
    """The app after its work has ended and was shown."""
    app.run()
    for _ in range(200):
        visitor = app.session_state.get("session", None)
        if not visitor or not visitor.jobs:
            return app
        for job in visitor.jobs:
            job.wait(30)
        app.run()
    raise AssertionError("the page never comes to rest")


def words(app: AppTest) -> str:
    """Everything the page says in text."""
    kinds = [app.markdown, app.caption, app.text, app.error, app.warning, app.info, app.success, app.header, app.title]
    return "\n".join(str(element.value) for kind in kinds for element in kind).replace("\\", "").replace("\u2060", "")


def png(shade: int = 0, side: int = 64, texture: bool = False) -> bytes:
    """A picture of one grey, or of noise around it."""
    pixels = np.full((side, side, 3), shade, np.uint8)
    if texture:
        pixels = np.random.default_rng(shade).integers(0, 255, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def buttons_that_save(app: AppTest) -> list[str]:
    """What they say, in the order of the page."""
    labels = [str(one.proto.popover.label) for one in app.get("popover")]
    return [label.replace("\\", "") for label in labels if label.startswith("Save")]


def drop(app: AppTest, *files: tuple[str, bytes]) -> AppTest:
    """Drop files onto the page."""
    app.file_uploader[0].set_value([(name, content, "image/png") for name, content in files])
    return settled(app)


def drop_mask(app: AppTest, name: str, content: bytes) -> AppTest:
    """Drop the mask that belongs to the upload."""
    [uploader] = [one for one in app.file_uploader if one.label.startswith("Mask")]
    uploader.set_value((name, content, "image/png"))
    return settled(app)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where this test's records go."""
    folder = tmp_path / "records"
    monkeypatch.setenv("SECOND_LOOK_RECORDS", str(folder))
    return folder


@pytest.fixture
def explain(store: Path) -> Opener:
    """Opens the Explain page, with the address's query as keywords. Maps are weighed only where a test says so."""

    def opened(**query: str | list[str]) -> AppTest:
        app = AppTest.from_file(ROOT / "app.py", default_timeout=300)
        for key, value in {"weigh": "false", **query}.items():
            app.query_params[key] = value
        return settled(app)

    return opened


def _opener(page: str, **always: str) -> Opener:
    """Opens a page by itself, with the address's query as keywords."""

    def opened(**query: str | list[str]) -> AppTest:
        script = f"from pages import {page} as it\nfrom pages.shared import errors\nwith errors.shown(): it.page()"
        app = AppTest.from_string(script, default_timeout=300)
        for key, value in {**always, **query}.items():
            app.query_params[key] = value
        return settled(app)

    return opened


@pytest.fixture
def compare(store: Path) -> Opener:
    """Opens the page that compares methods. Maps are weighed only where a test says so."""
    return _opener("compare_methods", weigh="false")


@pytest.fixture
def rivals(store: Path) -> Opener:
    """Opens the page that compares models. Maps are weighed only where a test says so."""
    return _opener("compare_models", weigh="false")


@pytest.fixture
def manifests(store: Path) -> Opener:
    """Opens the page of saved manifests."""
    return _opener("manifests")
