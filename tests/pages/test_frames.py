"""Files with several pictures on the page: the slider, the link, the mask and the record of one frame among many."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Slider

import xai_core as xai
from pages.shared import record_again, scores, state
from pages.shared.question import Question
from pages.shared.state import Session
from tests.pages.conftest import Opener, drop, drop_mask, png, settled, words
from xai_core.records import Record

SHADES = (40, 120, 200)


def pages_of(*shades: int) -> bytes:
    """A TIFF with one page for each shade."""
    first, *more = (Image.fromarray(np.full((64, 64), shade, np.uint8)) for shade in shades)
    out = io.BytesIO()
    first.save(out, "TIFF", save_all=True, append_images=more)
    return out.getvalue()


FILE = pages_of(*SHADES)
SHA256 = hashlib.sha256(FILE).hexdigest()


def visitor(app: AppTest) -> Session:
    found: Session = app.session_state["session"]
    return found


def slider(app: AppTest) -> Slider:
    [found] = [one for one in app.slider if one.label == "Frame"]
    return found


def shown(app: AppTest) -> tuple[int, int]:
    """The shade of the picture that is looked at, and where the slider stands."""
    here = visitor(app)
    return int(here.pictures[here.chosen].pixels[0, 0, 0]), slider(app).value


def asked(app: AppTest) -> set[str]:
    return {one.explanation.image for one in visitor(app).maps.kept.values()}


def test_the_slider_shows_another_frame_and_asks_about_it_alone(explain: Opener):
    app = drop(explain(model="demo-xray", method="grad_cam"), ("scan.tif", FILE))
    assert shown(app) == (SHADES[0], 1)
    assert "holds 3 pictures; the first one" in words(app)
    assert (app.query_params["picture"], "frame" in app.query_params) == (SHA256[:16], False)
    slider(app).set_value(3)
    settled(app)
    third = hashlib.sha256(f"{SHA256} frame 2".encode()).hexdigest()
    assert shown(app) == (SHADES[2], 3)
    assert "number 3 is shown" in words(app)
    assert (app.query_params["picture"], app.query_params["frame"]) == (SHA256[:16], "3")
    assert asked(app) == {SHA256, third}
    assert len(visitor(app).predictions) == 2


def test_a_picture_that_is_alone_in_its_file_has_no_slider(explain: Opener):
    app = drop(explain(model="demo-xray", method="grad_cam"), ("scan.png", png(90)))
    assert [one.key for one in app.slider if one.label == "Frame"] == []


def test_each_upload_stays_at_its_frame_when_others_are_looked_at(explain: Opener):
    app = drop(explain(model="demo-xray", method="grad_cam"), ("a.tif", FILE), ("b.tif", pages_of(10, 250)))
    slider(app).set_value(2)
    settled(app)
    app.button(key="next").click()
    settled(app)
    assert shown(app) == (10, 1)
    app.button(key="previous").click()
    settled(app)
    assert shown(app) == (SHADES[1], 2)
    app.button(key="remove").click()
    settled(app)
    assert list(visitor(app).files) == list(visitor(app).pictures)
    assert shown(app) == (10, 1)


def test_a_link_opens_its_frame_as_soon_as_the_file_is_there(explain: Opener):
    app = explain(model="demo-xray", method="grad_cam", picture=SHA256[:16], frame="2")
    drop(app, ("scan.tif", FILE))
    assert shown(app) == (SHADES[1], 2)
    assert "not the picture" not in words(app)
    visitor(app).ask(Question(picture=SHA256, frame=2))
    assert shown(settled(app)) == (SHADES[2], 3)
    visitor(app).ask(Question(picture=SHA256, frame=9))
    settled(app)
    assert "There is no frame 10 in a file of 3" in words(app)
    assert shown(app) == (SHADES[2], 3)


@pytest.mark.parametrize("frame", [0, 1, 41])
def test_an_address_counts_frames_as_the_page_does(frame: int):
    address = Question(picture="ab" * 32, frame=frame).to_address()
    assert address.get("frame", "1") == str(frame + 1)
    assert (
        Question.from_address({key: [value] for key, value in address.items() if isinstance(value, str)}).frame == frame
    )
    assert Question.from_address({"frame": ["-3"]}).frame == Question.from_address({"frame": ["0"]}).frame == 0


def test_the_mask_of_a_frame_marks_no_other(compare: Opener):
    app = drop(compare(model="demo-xray", method="grad_cam", metric="sparseness"), ("scan.tif", FILE))
    slider(app).set_value(2)
    settled(app)
    drop_mask(app, "mask.png", png(255))
    assert "marks 100.0% of the picture" in words(app)
    slider(app).set_value(3)
    settled(app)
    assert "marks 100.0% of the picture" not in words(app)
    slider(app).set_value(2)
    settled(app)
    assert "marks 100.0% of the picture" in words(app)
    app.button(key="remove").click()
    settled(app)
    assert (visitor(app).masks, visitor(app).files, visitor(app).pictures) == ({}, {}, {})


def test_a_record_of_a_later_frame_asks_about_that_frame_again(tmp_path: Path):
    image = xai.read_image(FILE, frame=2)
    made = xai.explain(xai.load_model("demo-xray"), image, "grad_cam")
    record = xai.open_record(xai.save(Record((made,), picture=image.source), tmp_path))
    again = record_again.question(record)
    assert (again.picture, again.frame) == (SHA256, 2)


def test_files_with_many_frames_are_kept_up_to_a_limit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(state, "KEPT_BYTES", len(FILE) + len(png(3)))
    here, second = Session(), pages_of(1, 2)
    assert here.take(xai.read_image(FILE), FILE) is None
    assert "too many" in (here.take(xai.read_image(second, "b.tif"), second) or "")
    assert here.take(xai.read_image(FILE, frame=1), FILE) is None
    assert here.take(xai.read_image(png(3)), png(3)) is None
    assert (len(here.files), len(here.pictures)) == (2, 2)


def test_methods_are_compared_over_the_frames_that_are_shown_with_their_masks():
    here, mask = Session(), xai.read_image(png(255))
    here.take(xai.read_image(png(3)))
    here.take(xai.read_image(FILE, frame=1), FILE)
    here.masks[state.place(here.pictures[SHA256])] = mask
    here.take(xai.read_image(FILE, frame=2), FILE)
    third = xai.read_image(FILE, frame=2)
    found = scores.pictures(here, "uploads", None)  # type: ignore[arg-type]
    assert {sha256: marked for sha256, (_, marked) in found.items()} == dict.fromkeys(
        [hashlib.sha256(png(3)).hexdigest(), third.sha256]
    )
    here.take(xai.read_image(FILE, frame=1), FILE)
    assert [marked for _, marked in scores.pictures(here, "uploads", None).values()] == [None, mask]  # type: ignore[arg-type]
