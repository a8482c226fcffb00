"""Two models on one picture: where each of them looked, and every number that says how they differ, by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr

import xai_core as xai
from tests.conftest import png_of
from xai_core import figures
from xai_core.canvas import ALARM
from xai_core.checklist import checklist
from xai_core.comparison import FORMULA, differ, gaps, matched, measured, names_of, said
from xai_core.comparison_figure import comparison, difference
from xai_core.errors import SettingError
from xai_core.figures import png
from xai_core.images import Preprocessing
from xai_core.models import Model
from xai_core.records import Check, Evidence, Explanation, Image, Passes, Prediction, Record, Target

# ---- where the crop lies ----------------------------------------------------------------------------------------


def all_boxes(test: Callable[..., None]) -> Callable[..., None]:
    for names, values in (
        ("mode", ["center", "squash", "border"]),
        ("crop", [1.0, 0.875, 1.1, 0.5]),
        ("wanted", [(64, 64), (96, 64), (63, 65)]),
        ("size", [(97, 251), (256, 101), (256, 255), (37, 52)]),
    ):
        test = pytest.mark.parametrize(names, values)(test)
    return test


def ramps(height: int, width: int) -> tuple[Image, np.ndarray]:
    """A picture whose red and green say how far right and down a pixel is, and what one step of each is worth."""
    steps = np.array([255 // max(1, side - 1) for side in (width, height)])
    rows, columns = np.indices((height, width))
    pixels = np.stack([columns * steps[0], rows * steps[1], 0 * rows], axis=2).astype(np.uint8)
    return Image(pixels, "0" * 64), steps


@all_boxes
def test_the_box_is_where_ramps_say_that_the_view_lies(
    mode: str, crop: float, wanted: tuple[int, int], size: tuple[int, int]
) -> None:
    image, steps = ramps(*size)
    preprocessing = Preprocessing((3, *wanted), crop_mode=mode, crop_fraction=crop, interpolation="bilinear")
    box, shown = preprocessing.box(image), preprocessing.view(image).astype(float)
    for axis, (first, last, kept, side) in enumerate(
        [(box[0], box[2], wanted[1], size[1]), (box[1], box[3], wanted[0], size[0])]
    ):
        pitch = (last - first) / kept
        places = first + (np.arange(kept) + 0.5) * pitch - 0.5  # of the pixels' middles, the first of the upload at 0
        inside = (places > max(1, pitch)) & (places < side - 1 - max(1, pitch))  # edges are mirrored or filled
        middle = np.take(shown[..., axis], shown.shape[axis] // 2, axis=axis)
        read = middle[inside] / steps[axis]
        assert inside.sum() > 10
        assert np.abs(read - places[inside]).max() <= 0.5 + 1 / steps[axis]


@all_boxes
def test_the_box_is_where_a_white_square_says_that_the_view_lies(
    mode: str, crop: float, wanted: tuple[int, int], size: tuple[int, int]
) -> None:
    """Its width in the view says how large a pixel is, and its middle where they begin: finer than eight bits."""
    half = min(size) // 8
    pixels = np.zeros((*size, 3), np.uint8)
    (top, bottom), (left, right) = ((side // 2 - half, side // 2 + half) for side in size)
    pixels[top:bottom, left:right] = 255
    preprocessing = Preprocessing(
        (3, *wanted), mean=(0, 0, 0), crop_mode=mode, crop_fraction=crop, interpolation="bilinear"
    )
    image = Image(pixels, "0" * 64)
    white = preprocessing.view(image)[..., 0] / 255
    found = []
    for axis, middle in ((1, (left + right) / 2), (0, (top + bottom) / 2)):
        profile = white.max(axis=1 - axis)
        pitch = 2 * half / profile.sum()
        first = middle - (profile @ (np.arange(len(profile)) + 0.5)) / profile.sum() * pitch
        found.append((first, first + len(profile) * pitch))
    assert preprocessing.box(image) == pytest.approx([found[0][0], found[1][0], found[0][1], found[1][1]], abs=0.36)


def test_the_box_of_a_view_without_resizing_is_known() -> None:
    image = Image(np.zeros((100, 120, 3), np.uint8), "0" * 64)
    assert Preprocessing((3, 100, 100)).box(image) == (10, 0, 110, 100)
    assert Preprocessing((3, 50, 50), crop_fraction=0.5).box(image) == (35, 25, 85, 75)
    assert Preprocessing((3, 120, 120), crop_mode="border").box(image) == (0, -10, 120, 110)
    assert Preprocessing((3, 10, 10), crop_mode="squash").box(image) == (0, 0, 120, 100)


def test_a_map_carries_its_box_and_a_record_keeps_it(cnn: Model, tmp_path: object) -> None:
    image = xai.read_image(png_of(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)))
    e = xai.explain(cnn, image, "saliency")
    assert e.box == cnn.preprocessing.box(image) == (10, 0, 50, 40)
    folder = xai.save(e, f"{tmp_path}/record")
    assert xai.open_record(folder).explanations[0].box == e.box


# ---- what is asked, and what is answered -------------------------------------------------------------------------


def says(
    name: str, answers: Mapping[str, float] | Sequence[tuple[str, float]], task: str = "single label"
) -> Prediction:
    """A model's prediction by its probabilities, or for a regression its values."""
    pairs = list(answers.items()) if isinstance(answers, Mapping) else list(answers)
    values = np.array([value for _, value in pairs])
    if task == "single label":
        values = np.log(values)
    elif task == "multi label":
        values = np.log(values / (1 - values))
    model = {"name": name, "weights_sha256": name * 9, "task": task}
    return Prediction(tuple(label for label, _ in pairs), values.astype(np.float32), model, "0" * 64)


BONES = {"fracture": 0.7, "normal": 0.25, "implant": 0.05}


def test_a_class_is_matched_by_its_label_in_another_order() -> None:
    one, other = says("a", BONES), says("b", {"normal": 0.6, "implant": 0.3, "fracture": 0.1})
    targets, notes = matched(None, [one, other])
    assert [(t.index, t.label) for t in targets] == [(0, "fracture"), (2, "fracture")]
    assert notes == []
    targets, _ = matched(1, [one, other], "probability")  # a number counts the classes of the first model
    assert [(t.index, t.label, t.kind) for t in targets] == [(1, "normal", "probability"), (0, "normal", "probability")]
    targets, _ = matched("fracture", [one, other], "contrast", "normal")
    assert [(t.index, t.against) for t in targets] == [(0, 1), (2, 0)]


def test_a_model_without_the_class_explains_its_own_and_that_is_said() -> None:
    one, other = says("demo-xray", BONES), says("squeezenet", {"tench": 0.9, "crane": 0.1})
    targets, notes = matched("fracture", [one, other])
    assert [t.label for t in targets] == ["fracture", "tench"]
    assert notes == ["squeezenet has no class called 'fracture': its own prediction, 'tench', is explained instead."]
    targets, notes = matched("crane", [one, other])  # of the second model
    assert [t.label for t in targets] == ["fracture", "crane"]
    targets, notes = matched("fracture", [one, other], "contrast", "normal")
    assert [(t.label, t.kind) for t in targets] == [("fracture", "contrast"), ("tench", "logit")]
    assert "cannot hold 'tench' against 'normal'" in notes[1]


def test_of_two_classes_with_one_label_the_same_one_is_matched() -> None:
    twice = [("crane", 0.2), ("tench", 0.3), ("crane", 0.5)]
    one, other = says("a", twice), says("b", twice)
    targets, _ = matched(None, [one, other])
    assert [t.index for t in targets] == [2, 2]
    assert gaps([one, other], k=1) == [("crane (class 2)", pytest.approx([0.5, 0.5]), pytest.approx(0))]


@pytest.mark.parametrize("task", ["single label", "multi label"])
def test_two_classes_with_one_label_are_not_the_same_answer(task: str) -> None:
    one = says("a", [("crane", 0.95), ("crane", 0.05)], task)
    other = says("b", [("crane", 0.05), ("crane", 0.95)], task)
    for words in ("crane (class 0)", "crane (class 1)"):
        assert words in said([one, other])
    assert "agree" not in said([one, other])
    assert "Both" not in said([one, other])
    assert checklist([], [one, other])[0].passed is False
    assert checklist([], [one, one])[0].passed is True


def test_a_value_and_a_probability_have_no_gap() -> None:
    [row] = gaps([says("a", {"x": 41.2}, "regression"), says("b", {"x": 0.95}, "multi label")])
    assert row.gap is None


def test_of_one_model_or_none_nothing_is_compared() -> None:
    assert said([]) == "What they predict is not known."
    assert said([says("a", BONES)]) == "a says fracture (70.0 %)."
    assert checklist([], [])[0].passed is None
    assert checklist([], [says("a", BONES)])[0].passed is None


def test_models_that_share_name_and_weights_are_told_apart() -> None:
    same = {"name": "resnet18", "weights_sha256": "0" * 64, "task": "single label"}
    assert names_of([same, {**same, "task": "multi label"}, {"name": "vit"}]) == [
        "resnet18 (single label)",
        "resnet18 (multi label)",
        "vit",
    ]
    assert names_of([same, same]) == ["resnet18 (no. 1)", "resnet18 (no. 2)"]


@pytest.mark.parametrize("box", [(0, 0, 0, 8), (0, 8, 8, 0), (0, 0, float("nan"), 8), (0, 0, 8), ("a", 0, 8, 8)])
def test_what_is_no_part_of_a_picture_is_no_box(box: Any) -> None:
    with pytest.raises(ValueError):
        map_of(hot((8, 8), (1, 2)), box)


def test_maps_of_one_sign_take_the_two_colours_of_a_shared_signed_scale(tmp_path: Any) -> None:
    maps = (map_of(hot((8, 8), (1, 2)) - 0.5), map_of(hot((8, 8), (5, 5)), name="b"))
    folder = xai.save(Record(maps, display={"shared_scale": True}), tmp_path / "record")
    drawn = xai.read_image(folder / "02_grad_cam.heatmap.png").pixels
    assert (drawn[0, 0] == figures.palette("coolwarm")[128]).all()  # nothing is neutral, not the lowest colour


def test_no_difference_is_drawn_between_two_methods(tmp_path: Any) -> None:
    one = map_of(hot((8, 8), (1, 2)))
    other = dataclasses.replace(map_of(hot((8, 8), (5, 5)), name="b"), method={"name": "occlusion"})
    folder = xai.save(Record((one, other)), tmp_path / "two methods")
    assert not (folder / "difference.png").exists()
    assert xai.verify(folder).ok
    folder = xai.save(Record((one, other, dataclasses.replace(other, method={"name": "grad_cam"}))), tmp_path / "one")
    assert (folder / "difference.png").exists()


def test_a_record_holds_as_many_models_as_can_be_opened_again(tmp_path: Any) -> None:
    maps = tuple(map_of(hot((8, 8), (1, i)), name=f"m{i}") for i in range(8))
    most = (*maps, map_of(hot((8, 8), (2, 2)), name="last"))
    assert len(xai.open_record(xai.save(Record(most), tmp_path / "most")).models) == 9
    with pytest.raises(ValueError, match="up to 9 models"):
        Record((*most, map_of(hot((8, 8), (3, 2)), name="more")))
    with pytest.raises(ValueError, match="one prediction of each model"):
        Record(maps[:2], (dataclasses.replace(says("m0", BONES)), says("m0", BONES)))


def test_what_no_model_has_is_refused() -> None:
    one, other, age = (
        says("a", BONES),
        says("b", {"normal": 0.6, "fracture": 0.4}),
        says("c", {"age": 61}, "regression"),
    )
    with pytest.raises(SettingError, match="No class is called 'burn'"):
        matched("burn", [one, other])
    with pytest.raises(SettingError, match="No class is called 'burn'"):
        matched("normal", [one, other], "contrast", "burn")
    with pytest.raises(SettingError, match="no target of a regression"):
        matched(None, [one, age], "probability")
    assert [t.label for t in matched(None, [one, age])[0]] == ["fracture", "age"]


def test_whether_classes_agree_is_a_sentence() -> None:
    a, b, c = (
        says("a", BONES),
        says("b", {"fracture": 0.989, "normal": 0.011}),
        says("c", {"normal": 0.612, "x": 0.388}),
    )
    assert said([a, b]) == "Both agree: fracture, 70.0 % and 98.9 %."
    assert said([a, c]) == "They differ: a says fracture (70.0 %), c says normal (61.2 %)."
    assert said([a, b, a]).startswith("All 3 agree: fracture, 70.0 %, 98.9 % and 70.0 %.")
    assert said([a, b, c]) == "2 of 3 say fracture (a 70.0 %, b 98.9 %); c says normal (61.2 %)."


def test_what_multi_label_models_find_is_a_sentence() -> None:
    a = says("a", {"nodule": 0.7, "mass": 0.2, "effusion": 0.9}, "multi label")
    b = says("b", {"nodule": 0.6, "mass": 0.1, "effusion": 0.3}, "multi label")
    none = says("c", {"nodule": 0.1, "mass": 0.1}, "multi label")
    assert said([a, b]) == "Both find nodule (70.0 % and 60.0 %); only a finds effusion (90.0 %), above 50.0 %."
    assert said([none, none]) == "Neither finds anything above 50.0 %."
    assert said([a, b, none]) == (
        "Only a and b find nodule (70.0 % and 60.0 %); only a finds effusion (90.0 %), above 50.0 %."
    )


def test_values_have_a_gap_and_mixed_tasks_are_not_held_against_each_other() -> None:
    one, other = says("a", {"age": 61.5}, "regression"), says("b", {"age": 58}, "regression")
    assert said([one, other]) == "They give age 61.5 and 58, a gap of 3.5."
    assert "different things: a says fracture (70.0 %); b says age (61.5)" in said(
        [says("a", BONES), says("b", {"age": 61.5}, "regression")]
    )
    assert gaps([one, other]) == [("age", [61.5, 58.0], 3.5)]


def test_gaps_hold_the_likeliest_of_each_and_none_where_a_label_is_unknown() -> None:
    one, other = says("a", BONES), says("b", {"implant": 0.6, "normal": 0.3, "burn": 0.1})
    rows = gaps([one, other], k=2)
    assert [row.label for row in rows] == ["fracture", "implant", "normal"]
    assert rows[0].answers == [pytest.approx(0.7), None]
    assert rows[0].gap is None
    assert rows[1].gap == pytest.approx(0.55)
    assert rows[2].gap == pytest.approx(0.05)


# ---- where they look apart ---------------------------------------------------------------------------------------


def map_of(
    values: np.ndarray, box: tuple[float, float, float, float] | None = None, name: str = "a", image: str = "0" * 64
) -> Explanation:
    """A map, by default of an upload of its own size."""
    height, width = values.shape
    return Explanation(
        values=values.astype(np.float32),
        pixels=np.zeros((height, width, 3), np.uint8),
        method={"name": "grad_cam"},
        model={"name": name, "weights_sha256": name * 9, "task": "single label"},
        target=Target(0, "fracture"),
        image=image,
        seed=0,
        seconds=0.1,
        passes=Passes(1, 1),
        grid=(height, width),
        box=box or (0, 0, width, height),
    )


def hot(shape: tuple[int, int], *places: tuple[int, int]) -> np.ndarray:
    values = np.zeros(shape)
    for place in places:
        values[place] = 1
    return values


def smooth(side: int, box: tuple[float, float, float, float]) -> np.ndarray:
    """One function of the upload's own coordinates, seen by a crop."""
    x = box[0] + (np.arange(side) + 0.5) * (box[2] - box[0]) / side
    y = box[1] + (np.arange(side) + 0.5) * (box[3] - box[1]) / side
    return np.exp(-((x[None] - 250) ** 2 + (y[:, None] - 300) ** 2) / 8000) - 0.2 * np.sin(x[None] / 60)


def test_a_map_differs_in_nothing_from_itself_at_any_scale() -> None:
    values = np.random.default_rng(0).normal(size=(20, 30))
    for factor in (1, 1000, 1e-3):
        d = differ(map_of(values), map_of(values * factor, name="b"))
        assert (d.rank_correlation, d.top_overlap) == (pytest.approx(1), 1)
        assert d.centre_distance == pytest.approx(0, abs=1e-4)
        assert np.abs(d.values).max() < 1e-8
        assert d.common == 1
        assert not d.why
    assert not differ(map_of(values), map_of(values)).values.any()


def test_opposite_maps_differ_in_everything() -> None:
    values = np.random.default_rng(0).normal(size=(20, 30)).astype(np.float32)
    d = differ(map_of(values), map_of(-values, name="b"))
    assert d.rank_correlation == pytest.approx(-1)
    assert d.top_overlap == 0
    assert d.values == pytest.approx(2 * values / np.abs(values.astype(float)).sum(), rel=1e-5)


def test_maps_of_one_box_and_shape_are_compared_as_they_are() -> None:
    """By hand: masses 3/4 and 1/4 against all on the second pixel."""
    one, other = map_of(np.array([[3.0, 1.0], [0, 0]])), map_of(np.array([[0.0, 8.0], [0, 0]]), name="b")
    d = differ(one, other)
    assert d.values.tolist() == [[0.75, -0.75], [0, 0]]
    assert d.centre_distance == pytest.approx(0.75)
    assert d.box == (0, 0, 2, 2)
    one, other = (map_of(np.random.default_rng(i).normal(size=(30, 31)), (0.1, 0.3, 100.7, 77.7)) for i in range(2))
    shares = [e.values / np.abs(e.values.astype(np.float64)).sum() for e in (one, other)]
    assert np.array_equal(differ(one, other).values, (shares[0] - shares[1]).astype(np.float32))
    ties = np.where(np.indices((30, 31)).sum(0) % 3, 0.1, 0.7)  # which rounding would break
    tied = differ(dataclasses.replace(one, values=ties.astype(np.float32)), other).rank_correlation
    assert tied == pytest.approx(spearmanr(ties.ravel(), other.values.ravel()).statistic, abs=1e-12)


@pytest.mark.parametrize(("one", "other"), [((10, 20), (10, 40)), ((30, 21), (50, 8)), ((12, 12), (12, 12))])
def test_two_points_are_as_far_apart_as_in_the_upload(one: tuple[int, int], other: tuple[int, int]) -> None:
    """Both crops of one upload: 64 pixels of 5 each from (100, 40), and 60 of 7 x 6 from (90, 50)."""
    first = map_of(hot((64, 64), one), (100, 40, 420, 360))
    second = map_of(hot((60, 60), other), (90, 50, 510, 410), "b")
    places = [
        np.array([40 + (one[0] + 0.5) * 5, 100 + (one[1] + 0.5) * 5]),
        np.array([50 + (other[0] + 0.5) * 6, 90 + (other[1] + 0.5) * 7]),
    ]
    d = differ(first, second)
    assert d.centre_distance == pytest.approx(np.linalg.norm(places[0] - places[1]))
    assert d.box == (100, 50, 420, 360)
    assert d.values.shape == (62, 64)  # 310 x 320 pixels of the upload at 5 each
    assert d.values.sum() == pytest.approx(0, abs=1e-6)
    assert d.common == pytest.approx(310 * 320 / (320 * 320 + 420 * 360 - 310 * 320))


def test_two_crops_of_one_function_are_nearly_equal_and_another_function_is_not() -> None:
    boxes = ((28.0, 28.0, 484.0, 484.0), (0.0, 0.0, 512.0, 512.0))
    d = differ(map_of(smooth(224, boxes[0]), boxes[0]), map_of(smooth(256, boxes[1]), boxes[1], "b"))
    assert d.rank_correlation is not None
    assert d.rank_correlation > 0.9999
    assert d.top_overlap is not None
    assert d.top_overlap > 0.97
    assert d.centre_distance is not None
    assert d.centre_distance < 0.5
    assert np.abs(d.values).sum() < 0.002  # of at most 2
    assert d.common == pytest.approx((456 / 512) ** 2)
    moved = (58.0, 28.0, 514.0, 484.0)  # the box is wrong by 30 pixels: what an overlay on the upload would be
    wrong = differ(map_of(smooth(224, boxes[0]), moved), map_of(smooth(256, boxes[1]), boxes[1], "b"))
    assert np.abs(wrong.values).sum() > 0.1


def test_the_picture_of_the_difference_is_the_part_that_both_saw() -> None:
    upload = np.random.default_rng(1).integers(0, 256, (100, 100, 3), np.uint8)
    whole = dataclasses.replace(map_of(hot((100, 100), (50, 50))), pixels=upload)
    middle = dataclasses.replace(map_of(hot((60, 60), (30, 31)), (20, 20, 80, 80), "b"), pixels=upload[20:80, 20:80])
    d = differ(whole, middle)
    assert np.array_equal(d.pixels, upload[20:80, 20:80])
    assert d.values[30, 30] == 1
    assert d.values[30, 31] == -1
    assert np.count_nonzero(d.values) == 2
    coarse = map_of(hot((50, 50), (25, 25)), (0, 0, 100, 100), "c")  # which saw less of it: the finer view is shown
    assert np.array_equal(differ(coarse, middle).pixels, upload[20:80, 20:80])
    assert np.array_equal(differ(middle, coarse).pixels, upload[20:80, 20:80])


def test_a_border_around_the_picture_counts_for_nothing_where_its_size_is_known() -> None:
    bordered, cut = (
        map_of(hot((60, 60), (30, 30)), (0, -20, 120, 100)),
        map_of(hot((40, 40), (9, 9)), (20, 0, 100, 80), "b"),
    )
    assert differ(bordered, cut).common == pytest.approx(6400 / 14400)
    assert differ(bordered, cut, size=(80, 120)).common == pytest.approx(6400 / 9600)


def test_what_is_undefined_is_none_and_says_why() -> None:
    blank, one, below = (
        map_of(np.zeros((8, 8)), name="b"),
        map_of(hot((8, 8), (1, 2))),
        map_of(-hot((8, 8), (3, 3)), name="c"),
    )
    d = differ(one, blank)
    assert (d.rank_correlation, d.top_overlap, d.centre_distance) == (None, None, None)
    assert d.why["rank_correlation"].startswith("b: Flat map")
    assert d.why["centre_distance"].startswith("b: no value")
    assert np.array_equal(d.values, one.values)
    d = differ(below, one)
    assert d.centre_distance is None
    assert d.rank_correlation is not None
    assert set(d.why) == {"centre_distance"}
    unseen = map_of(hot((8, 8), (0, 0)), (-4, -4, 4, 4), "d")  # its only point lies where the other did not look
    assert set(differ(one, unseen).why) == {"rank_correlation", "top_overlap", "centre_distance"}


def test_maps_that_cannot_be_compared_are_refused() -> None:
    one = map_of(hot((8, 8), (1, 2)))
    for other, words in (
        (map_of(hot((8, 8), (1, 2)), image="1" * 64), "different pictures"),
        (map_of(hot((8, 8), (1, 2)), (8, 0, 16, 8)), "do not overlap"),
        (dataclasses.replace(one, box=None), "not recorded where"),
    ):
        with pytest.raises(SettingError, match=words):
            differ(one, other)


def test_the_numbers_in_words_have_units_and_no_minus_zero() -> None:
    d = differ(map_of(hot((8, 8), (1, 2))), map_of(hot((8, 8), (1, 5)), name="b"))
    assert [(one.name, one.value) for one in measured(dataclasses.replace(d, rank_correlation=-0.001))] == [
        ("Rank correlation", "0.00"),
        ("Overlap of the highest tenths", "0.00"),
        ("Between the centres of mass", "3.0 px"),
        ("Seen by both", "100 %"),
    ]
    assert measured(dataclasses.replace(d, rank_correlation=-0.126))[0].value == "\N{MINUS SIGN}0.13"
    [_, _, undefined, _] = measured(differ(map_of(-hot((8, 8), (1, 2)), name="c"), map_of(hot((8, 8), (1, 2)))))
    assert undefined.value == "not defined"
    assert undefined.meaning.startswith("c: no value is above zero")


# ---- what to look at before believing either ---------------------------------------------------------------------


def test_the_checklist_is_ticked_by_measurement() -> None:
    sure, unsure = says("a", {"fracture": 0.98, "normal": 0.02}), says("b", {"normal": 0.94, "fracture": 0.06})
    middle, edge = map_of(hot((50, 50), (25, 25))), map_of(hot((50, 50), (0, 25), (25, 25), (1, 1), (30, 30)), name="b")
    found = checklist([middle, edge], [sure, unsure], [Evidence("supported", ()), None])
    assert [(check.name, check.passed) for check in found] == [
        ("agreement", False), ("confidence", True), ("confidence", False),
        ("border", True), ("corners", True), ("evidence", True),
        ("border", False), ("corners", False), ("evidence", None),
    ]  # fmt: skip
    border, corners = found[6], found[7]
    assert (border.value, border.limit) == (0.5, pytest.approx(0.36))
    assert (corners.value, corners.limit) == (0.25, pytest.approx(0.16))
    assert border.sentence == "b has 50.0 % of its map on the outer 10 % of what it saw; a uniform map has 36.0 %."
    assert found[8].sentence == "b: how far its map can be believed is not weighed yet."


def test_a_uniform_positive_part_passes_and_a_flat_map_is_not_asked() -> None:
    fair = map_of(1 + 1e-3 * np.indices((50, 50)).sum(0) % 2)
    [_, _, border, corners, _] = checklist([fair], [says("a", BONES)])
    assert border.value == pytest.approx(0.36, abs=1e-3)
    assert corners.value == pytest.approx(0.16, abs=1e-3)
    flat = checklist([map_of(np.ones((50, 50)))], [says("a", BONES)])
    assert [check.passed for check in flat[2:]] == [None, None, None]


def test_the_artefact_is_where_it_lies_in_the_upload() -> None:
    """A marker at columns 40 to 60 and rows 0 to 20 of an upload, of which the map saw what is right of column 50."""
    mask = np.zeros((100, 200), bool)
    mask[:20, 40:60] = True
    mask[60, 80] = True  # a quarter of one of the map's pixels, which is not half
    looks = map_of(hot((50, 50), (2, 2), (30, 30), (31, 31), (32, 32)), (50, 0, 150, 100))  # two upload pixels to one
    [*_, check, _] = checklist([looks], [says("a", BONES)], artefact=mask)
    assert (check.name, check.passed, check.value, check.limit) == ("artefact", False, 0.25, 10 * 5 / 2500)
    picture = Image(np.repeat(255 * mask[..., None].astype(np.uint8), 3, 2), "1" * 64)
    assert checklist([looks], [says("a", BONES)], artefact=picture)[3] == check
    away = map_of(hot((50, 50), (2, 2)), (100, 0, 200, 100))
    [*_, unseen, _] = checklist([away], [says("a", BONES)], artefact=mask)
    assert unseen.passed is None
    assert unseen.sentence == "a saw nothing of the marked artefact."
    with pytest.raises(SettingError, match="True and False"):
        checklist([looks], [says("a", BONES)], artefact=mask.astype(int))


def test_findings_agree_as_sets_and_values_have_no_labels() -> None:
    a = says("a", {"nodule": 0.7, "mass": 0.2}, "multi label")
    b = says("b", {"mass": 0.1, "nodule": 0.6}, "multi label")
    c = says("c", {"mass": 0.8, "nodule": 0.6}, "multi label")
    assert checklist([], [a, b])[0].passed is True
    assert checklist([], [a, c])[0].passed is False
    assert (checklist([], [a, b, c])[0].value, checklist([], [a, b, c])[0].limit) == (pytest.approx(2 / 3), 1)
    age = says("a", {"age": 61}, "regression")
    assert [check.passed for check in checklist([], [age, age])[:2]] == [None, None]


def test_two_models_of_one_name_are_told_apart_by_their_weights() -> None:
    models = [{"name": "resnet18", "weights_sha256": f"{i}" * 64} for i in range(2)] + [{"name": "vit"}]
    assert names_of(models) == ["resnet18 (00000000)", "resnet18 (11111111)", "vit"]


# ---- the figures -------------------------------------------------------------------------------------------------


def written(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.texts]


def two(**changes: Any) -> tuple[list[Explanation], list[Prediction]]:
    predictions = [says("a", BONES), says("b", {"fracture": 0.2, "normal": 0.8})]
    values = np.random.default_rng(0).random((2, 24, 24))
    explanations = [
        dataclasses.replace(map_of(values[i] * (1, 10)[i], name="ab"[i]), model=predictions[i].model, **changes)
        for i in range(2)
    ]
    return explanations, predictions


def test_the_comparison_names_both_models_their_predictions_and_the_scale() -> None:
    explanations, predictions = two()
    shared = written(figure := comparison(explanations, predictions))
    for words in ("a  ·  says fracture (70.0 %)", "b  ·  says normal (80.0 %)", "fracture  ·  grad_cam"):
        assert words in shared
    assert "They differ: a says fracture (70.0 %), b says normal (80.0 %)." in shared
    assert any("One colour scale for all maps" in line for line in shared)
    assert any(
        "colour scale of its own" in line for line in written(comparison(explanations, predictions, shared_scale=False))
    )
    assert figure.get_size_inches()[0] * 150 > 1400


def test_one_scale_makes_the_larger_map_brighter_and_own_scales_do_not() -> None:
    explanations, predictions = two()

    def maps(shared: bool) -> list[np.ndarray]:
        figure = comparison(explanations, predictions, shared_scale=shared, colour_map="viridis")
        pictures = [axes.images[0].get_array() for axes in figure.axes if axes.images]
        return [np.asarray(pictures[i], float) for i in (1, 4)]

    dark, bright = maps(True)
    assert bright.mean() > 1.2 * dark.mean()
    own = maps(False)
    assert own[0].mean() == pytest.approx(own[1].mean(), rel=0.05)


def test_random_weights_and_a_bad_verdict_stand_in_the_alarm_colour() -> None:
    explanations, predictions = two()
    notice = {**explanations[1].model, "notice": "Random weights: this network has learnt nothing."}
    explanations[1] = dataclasses.replace(explanations[1], model=notice)
    predictions[1] = dataclasses.replace(predictions[1], model=notice)
    poor = Evidence("no evidence", (Check("placement", False, "Other places do as well."),))
    colours = {
        text.get_text(): text.get_color() for text in comparison(explanations, predictions, evidence=[poor, None]).texts
    }
    assert colours["Random weights: this network has learnt nothing."] == ALARM
    assert colours["Evidence: no evidence. Other places do as well."] == ALARM


def test_a_sign_in_one_map_gives_all_of_them_two_colours() -> None:
    explanations, predictions = two()
    signed = explanations[1].values - explanations[1].values.mean()
    explanations[1] = dataclasses.replace(explanations[1], values=signed)
    nothing = explanations[0].values * (np.indices((24, 24)).sum(0) > 0)  # zero in one corner
    explanations[0] = dataclasses.replace(explanations[0], values=nothing)
    said_there = " ".join(written(figure := comparison(explanations, predictions)))
    drawn = [np.asarray(axes.images[0].get_array(), int) for axes in figure.axes if axes.images]
    assert np.ptp(drawn[1][0, 0]) < 5  # grey in the map without negatives, too
    assert "red speaks for the target, blue against it" in said_there


def test_flat_maps_missing_predictions_and_missing_boxes_are_drawn_and_said() -> None:
    explanations, predictions = two()
    blank = dataclasses.replace(explanations[0], values=np.zeros((24, 24), np.float32))
    lines = written(comparison([blank, explanations[1]], predictions[:1]))
    assert "flat" in lines
    assert any("Rank correlation: not defined (a: Flat map" in line for line in lines)
    lines = written(comparison([blank, dataclasses.replace(explanations[1], box=None)], predictions))
    assert any("not recorded where" in line for line in lines)
    assert any("every map is flat" in line for line in written(comparison([blank], predictions[:1])))


def test_text_from_outside_is_drawn_as_it_is_and_stays_short() -> None:
    explanations, predictions = two(target=Target(0, "$\\frac{" + "long " * 60))
    loud = tuple(dataclasses.replace(one, labels=("$x_1\n" + "y" * 200, *one.labels[1:])) for one in predictions)
    figure = comparison(explanations, loud)
    assert all("\n" not in line for line in written(figure))
    assert max(map(len, written(figure))) < 160
    assert png(figure, 20) == png(comparison(explanations, loud), 20)


def test_the_difference_says_at_which_end_is_which_model() -> None:
    explanations, _ = two()
    lines = written(figure := difference(differ(*explanations), ("mine", "yours")))
    assert "\N{LEFTWARDS ARROW} blue: more on yours" in lines
    assert "red: more on mine \N{RIGHTWARDS ARROW}" in lines
    assert " ".join(line.strip() for line in lines).count(FORMULA) == 1
    shown = np.asarray(figure.axes[1].images[0].get_array(), int)
    d = differ(*explanations).values
    assert (shown[d == d.max()] @ [1, 0, -1] > 0).all()  # more red than blue where the first has more
    assert (shown[d == d.min()] @ [1, 0, -1] < 0).all()
    spots = difference(differ(map_of(hot((9, 9), (2, 2))), map_of(hot((9, 9), (6, 6)), name="b")), ("mine", "yours"))
    assert np.ptp(np.asarray(spots.axes[1].images[0].get_array(), int)[4, 4]) < 5  # zero is grey
    assert "no difference" in written(difference(differ(explanations[0], explanations[0]), ("mine", "yours")))


def test_each_model_of_a_record_keeps_what_it_saw(tmp_path: Any) -> None:
    one = map_of(hot((8, 8), (1, 2)), (0, 0, 16, 16))
    other = dataclasses.replace(
        map_of(hot((12, 8), (5, 5)), (4, 0, 12, 12), name="b"), pixels=np.full((12, 8, 3), 200, np.uint8)
    )
    said_by_b = dataclasses.replace(says("b", BONES), model=other.model)
    folder = xai.save(Record((one, other, one), (said_by_b,)), tmp_path / "record")
    assert xai.verify(folder).ok
    again = xai.open_record(folder)
    for mine, saved in zip((one, other, one), again.explanations, strict=True):
        assert (mine.pixels == saved.pixels).all()
        assert mine.pixels.shape == saved.pixels.shape
        assert (dict(mine.model), mine.box) == (dict(saved.model), saved.box)
    assert again.prediction is None
    assert again.prediction_of(other.model) is not None
