"""Faces and their parts: found where they are, held against drawn masks, and asked of people and data first."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tests.conftest import photograph, png_of
from xai_core import faces, read_image
from xai_core.demo import face
from xai_core.errors import ModelError, PictureError, SettingError
from xai_core.faces import PROPORTIONS, Box, Face, find_faces, parts_of
from xai_core.parts import WHOLE, marked_object, part_of
from xai_core.probes import Subject
from xai_core.records import Image

EYES = (195, 100, 255, 115)  # of the astronaut, in the whole photograph: read off by eye
SIDE = 192  # of the pictures here: smaller is quicker


def picture(pixels: np.ndarray) -> Image:
    return read_image(png_of(np.ascontiguousarray(pixels)))


@pytest.fixture(scope="module")
def astronaut() -> Image:
    """Her head, (SIDE, SIDE) from row 20 and column 130 of the photograph."""
    return picture(photograph(SIDE, 130))


def box_around(mask: np.ndarray) -> Box:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def share_inside(mask: np.ndarray, box: Box) -> float:
    """How much of a mask lies in a box."""
    rows, columns = np.nonzero(mask)
    left, top, right, bottom = box
    inside = (columns + 0.5 > left) & (columns + 0.5 < right) & (rows + 0.5 > top) & (rows + 0.5 < bottom)
    return float(inside.mean())


# ---- the cascade


def test_the_astronaut_is_found_and_the_eyes_lie_in_their_band(astronaut: Image) -> None:
    (found,) = find_faces(astronaut)
    left, top, right, bottom = found.parts["eyes"]
    assert left < EYES[0] - 130 + 3
    assert top < EYES[1] - 20
    assert right > EYES[2] - 130 - 3
    assert 92 - 4 < bottom < 92 + 8  # the lower lids, not the cheeks
    assert found.box == found.parts["face"]
    assert found.source == "found by scikit-image's LBP cascade"
    middle_of = {name: (box[1] + box[3]) / 2 for name, box in found.parts.items()}
    assert middle_of["forehead"] < middle_of["brows"] < middle_of["eyes"] < middle_of["nose"] < middle_of["mouth"]
    assert abs(middle_of["mouth"] - 125) < 8  # rows 137 to 152 of the photograph show her teeth and lips


def test_faces_are_given_in_pixels_of_the_upload_whatever_its_size(astronaut: Image) -> None:
    (small,) = find_faces(astronaut)
    (large,) = find_faces(picture(cv2.resize(astronaut.pixels, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)))
    np.testing.assert_allclose(np.array(large.box) / 2, small.box, atol=8)


def test_every_search_gives_the_same_and_the_second_is_remembered(
    astronaut: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = dataclasses.replace(astronaut)
    first = find_faces(astronaut)
    assert find_faces(again) == first
    monkeypatch.setattr(faces, "_faces", None)
    assert find_faces(astronaut) is first


def test_of_two_faces_the_larger_comes_first() -> None:
    head = photograph(SIDE, 130)
    small = cv2.resize(head, (120, 120), interpolation=cv2.INTER_AREA)
    both = np.full((SIDE, SIDE + 130, 3), 200, np.uint8)
    both[60:180, 5:125], both[:, 130:] = small, head
    first, second = find_faces(picture(both))
    assert first.box[0] > 130 > second.box[2]


@pytest.mark.parametrize("shape", [(1, 1), (7, 400), (300, 12), (64, 64)])
def test_no_face_is_found_where_there_is_none(shape: tuple[int, int]) -> None:
    assert find_faces(picture(np.full((*shape, 3), 140, np.uint8))) == ()


def test_squares_are_merged_by_overlap_and_counted_whatever_their_order() -> None:
    one = np.array([[10 + shift, 20, 60] for shift in (0, 2, 4, 6, 8, 10)], float)
    few = np.array([[200, 20, 60]] * 5, float)
    within = np.array([[25, 35, 30]] * 6, float)  # overlaps `one` by a quarter of it; its middle lies inside
    merged = faces._merged(np.vstack((within[:3], one, few, within[3:], [[15, 20, 60]])))
    np.testing.assert_allclose(merged, [[10 + 35 / 7, 20, 60]])
    assert faces._merged(np.zeros((0, 3))).shape == (0, 3)


# ---- the proportions, held against what was drawn


@pytest.fixture(scope="module")
def drawn() -> list[tuple[Mapping[str, np.ndarray], dict[str, Box]]]:
    """The true masks of faces, and where the parts are placed in the box around the mask of the face."""
    masks = [face.draw(seed, face.LABELS[seed % 5], size=128, glasses=False).masks for seed in range(10)]
    return [(one, parts_of(box_around(one["face"]), (128, 128))) for one in masks]


def test_the_proportions_cover_the_parts_of_drawn_faces(
    drawn: list[tuple[Mapping[str, np.ndarray], dict[str, Box]]],
) -> None:
    worst_and_mean = {"eyes": (0.8, 0.95), "nose": (0.95, 0.99), "mouth": (0.8, 0.95), "brows": (0.3, 0.75)}
    for name, (worst, mean) in worst_and_mean.items():  # raised brows reach above their band
        shares = [share_inside(masks[name], placed[name]) for masks, placed in drawn]
        assert min(shares) > worst, name
        assert np.mean(shares) > mean, name


def test_the_lower_face_holds_nose_and_mouth_and_no_eye(
    drawn: list[tuple[Mapping[str, np.ndarray], dict[str, Box]]],
) -> None:
    for masks, placed in drawn:
        assert share_inside(masks["mouth"] | masks["nose"], placed["lower_face"]) > 0.97
        assert share_inside(masks["eyes"] | masks["brows"], placed["lower_face"]) == 0
        assert share_inside(masks["eyes"], placed["mouth"]) == share_inside(masks["mouth"], placed["eyes"]) == 0


def test_parts_beyond_the_picture_are_cut_off_or_left_out() -> None:
    placed = parts_of((-50.0, -30.0, 50.0, 70.0), (40, 40))
    assert placed["face"] == (0, 0, 40, 40)
    assert placed["eyes"] == pytest.approx((0, 4.5, 38, 19))
    assert "mouth" in placed
    assert parts_of((-50.0, -80.0, 50.0, 20.0), (40, 40)).keys() == {"face", "lower_face", "mouth"}
    assert parts_of((60.0, 0.0, 90.0, 30.0), (40, 40)) == {}


# ---- YuNet


class Net:
    """What stands for YuNet: it answers with these rows, and keeps what it saw."""

    def __init__(self, rows: np.ndarray | None) -> None:
        self.rows, self.seen = rows, np.zeros(0)

    def detect(self, pixels: np.ndarray) -> tuple[int, np.ndarray | None]:
        self.seen = pixels
        return 1, self.rows


def yunet(monkeypatch: pytest.MonkeyPatch, rows: np.ndarray | None) -> Net:
    net = Net(rows)
    monkeypatch.setenv("SECOND_LOOK_YUNET", "/models/yunet.onnx")
    monkeypatch.setattr(cv2.FaceDetectorYN, "create", lambda path, config, size: net)
    return net


def test_yunet_places_a_face_so_that_eyes_and_mouth_are_where_it_saw_them(monkeypatch: pytest.MonkeyPatch) -> None:
    row = [100, 90, 100, 140, 130, 140, 175, 140, 152, 165, 135, 190, 170, 190, 0.99]
    net = yunet(monkeypatch, np.array([row], np.float32))
    pixels = np.random.default_rng(1).integers(0, 256, (640, 1280, 3), dtype=np.uint8)  # twice as wide as it sees
    pixels[..., 0] = 0
    (found,) = find_faces(picture(pixels))
    assert found.source == "found by YuNet"
    assert net.seen.shape == (640, 640, 3)
    assert not net.seen[320:].any()
    np.testing.assert_allclose(net.seen[:320].mean((0, 1)), pixels.mean((0, 1))[::-1], atol=1)  # blue first
    left, top, right, bottom = found.parts["eyes"]
    assert (left + right) / 2 == pytest.approx(2 * 152.5)
    assert top < 2 * 140 < bottom
    assert left < 2 * 130 < 2 * 175 < right
    left, top, right, bottom = found.parts["mouth"]
    assert top < 2 * 190 < bottom
    assert left < 2 * 135 < 2 * 170 < right


def test_a_face_that_yunet_sees_from_the_side_keeps_its_box(monkeypatch: pytest.MonkeyPatch) -> None:
    row = [10, 20, 60, 80, 40, 50, 42, 50, 60, 60, 45, 80, 46, 80, 0.95]
    yunet(monkeypatch, np.array([row], np.float32))
    (found,) = find_faces(picture(np.zeros((200, 200, 3), np.uint8)))
    assert found.box == (10, 20, 70, 100)


def test_yunet_may_find_nothing_and_the_cascade_can_still_be_asked(
    monkeypatch: pytest.MonkeyPatch, astronaut: Image
) -> None:
    yunet(monkeypatch, None)
    assert find_faces(astronaut) == ()
    assert len(find_faces(astronaut, "cascade")) == 1


@pytest.mark.parametrize("content", [None, b"", b"no network"])
def test_a_yunet_file_that_is_missing_or_broken_is_one_sentence(
    content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, astronaut: Image
) -> None:
    path = tmp_path / "yunet.onnx"
    if content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("SECOND_LOOK_YUNET", str(path))
    with pytest.raises(ModelError, match=r"yunet\.onnx.*SECOND_LOOK_YUNET.*cannot be used.*unset the variable"):
        find_faces(astronaut)


def test_an_unknown_detector_is_refused_with_those_there_are(astronaut: Image) -> None:
    with pytest.raises(SettingError, match=r"'viola'\. There are cascade and yunet"):
        find_faces(astronaut, "viola")


# ---- who is asked where a part is, in which order

SHAPE = (80, 60)


def blank(**known: Any) -> Subject:
    return Subject(1, picture(np.full((*SHAPE, 3), 128, np.uint8)), **known)


def marked(left: int, top: int, right: int, bottom: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[top:bottom, left:right] = True
    return mask


def placed(name: str, box: Box) -> Box:
    left, top, right, bottom = box
    shares = PROPORTIONS[name]
    return (
        left + shares[0] * (right - left),
        top + shares[1] * (bottom - top),
        left + shares[2] * (right - left),
        top + shares[3] * (bottom - top),
    )


def test_a_drawn_box_comes_before_masks_and_is_the_whole_face() -> None:
    subject = blank(box=(10.0, 5.0, 50.0, 75.0), parts={"eyes": marked(0, 0, 5, 5)})
    part = part_of(subject, "eyes")
    assert part.box == pytest.approx(placed("eyes", (10, 5, 50, 75)))
    assert part.source == "placed by proportions in a face drawn by hand"
    left, top, right, bottom = (round(one) for one in part.box)
    np.testing.assert_array_equal(part.mask, marked(left, top, right, bottom))
    assert part_of(subject, "face").source == "drawn by hand"
    assert not part_of(subject, "face").mask[6, 11]  # the corners of the box are no face
    assert part_of(subject, "face").mask[40, 12]


def test_a_drawn_box_is_the_patch_itself() -> None:
    part = part_of(blank(box=(10.4, 5.0, 50.0, 95.0)), "patch")
    assert part.box == (10.4, 5, 50, 80)
    assert part.source == "drawn by hand"
    np.testing.assert_array_equal(part.mask, marked(10, 5, 50, 80))


def test_without_a_box_the_patch_may_be_anywhere_or_where_the_data_say() -> None:
    part = part_of(blank(), "patch")
    assert part.box == (0, 0, 60, 80)
    assert part.source == WHOLE
    assert part.mask.all()
    assert part_of(blank(parts={"patch": marked(3, 4, 9, 8)}), "patch").box == (3, 4, 9, 8)


def test_masks_in_the_data_come_before_the_detector_by_their_exact_name() -> None:
    eyes = marked(10, 20, 20, 24) | marked(30, 22, 42, 25)
    part = part_of(blank(parts={"eyes": eyes}), "eyes")
    assert part.box == (10, 20, 42, 25)
    assert part.source == "marked in the data"
    np.testing.assert_array_equal(part.mask, eyes)
    marker = part_of(blank(parts={"marker": marked(1, 2, 3, 4)}), "marker")
    assert marker.box == (1, 2, 3, 4)


def test_the_object_is_what_is_marked_as_such_or_else_the_evidence_by_its_own_name() -> None:
    thing, evidence = marked(1, 2, 30, 40), marked(5, 5, 9, 9)
    both = marked_object(blank(parts={"object": thing}, mask=evidence))
    assert both is not None
    np.testing.assert_array_equal(both[0], thing)
    assert both[1] == "object"
    alone = marked_object(blank(mask=evidence, parts={"eyes": thing}))
    assert alone is not None
    np.testing.assert_array_equal(alone[0], evidence)
    assert alone[1] == "marked evidence"
    assert marked_object(blank(parts={"eyes": thing})) is None


def test_a_part_without_a_mask_is_placed_in_a_face_that_has_one() -> None:
    oval = marked(10, 5, 50, 75)
    oval[60:, :20] = False
    part = part_of(blank(parts={"face": oval}), "lower_face")
    assert part.box == pytest.approx(placed("lower_face", (10, 5, 50, 75)))
    assert part.source == "placed by proportions in the face marked in the data"
    assert part.mask.any()
    assert not (part.mask & ~oval).any()


def test_the_detector_is_asked_last(astronaut: Image, monkeypatch: pytest.MonkeyPatch) -> None:
    part = part_of(Subject(1, astronaut), "eyes")
    assert part.source == "found by scikit-image's LBP cascade"
    assert part.box == find_faces(astronaut)[0].parts["eyes"]
    small = Face((0.0, 0.0, 9.0, 9.0), parts_of((0.0, 0.0, 9.0, 9.0), (SIDE, SIDE)), "found by a friend")
    monkeypatch.setattr("xai_core.parts.find_faces", lambda image: (small, find_faces(astronaut)[0]))
    assert part_of(Subject(1, astronaut), "mouth").source == "found by a friend"


def test_where_no_face_is_found_the_sentence_offers_the_box_and_masks() -> None:
    with pytest.raises(PictureError, match=r"^No face was found in this picture\. Draw a box around the face, or"):
        part_of(blank(), "eyes")


def test_what_nobody_marked_and_what_marks_nothing_is_a_sentence() -> None:
    with pytest.raises(PictureError, match=r"Nobody marked where the ruler is.*column ruler_mask"):
        part_of(blank(), "ruler")
    with pytest.raises(PictureError, match="mask of the part eyes marks nothing"):
        part_of(blank(parts={"eyes": np.zeros(SHAPE, bool)}), "eyes")
    for name in ("patch", "eyes"):
        with pytest.raises(PictureError, match="lies outside the picture"):
            part_of(blank(box=(70.0, 5.0, 90.0, 75.0)), name)


def test_a_part_thinner_than_a_pixel_still_has_one() -> None:
    for box in ((59.7, 79.8, 60.0, 80.0), (10.1, 10.1, 10.2, 10.2)):
        assert part_of(blank(box=box), "patch").mask.sum() == 1
        assert part_of(blank(box=box), "nose").mask.any()


@pytest.mark.slow
def test_most_faces_of_a_set_of_photographs_are_found(real_data: Path) -> None:
    files = sorted((real_data / "utkface" / "images").glob("*.jpg"))[::40]
    if not files:
        pytest.skip("the faces are not in the folder with real pictures")
    assert np.mean([bool(find_faces(read_image(path))) for path in files]) > 0.8
