"""The drawn pictures tell the truth about themselves, and the shipped networks are what their cards say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

import xai_core as xai
from xai_core.demo import face, power, samples, train, xray
from xai_core.demo.drawing import Drawing
from xai_core.errors import SettingError
from xai_core.loading import DEMO_MODELS, demo_models, load_demo
from xai_core.records import Table

HONEST = [name for name, recipe in train.RECIPES.items() if recipe.planted is None]
PLANTED = [name for name in train.RECIPES if name not in HONEST]
FRESH = 3_000_000  # seeds that neither training nor the cards have seen


def same(one: Drawing, other: Drawing) -> bool:
    masks = all(np.array_equal(one.masks[name], other.masks[name]) for name in one.masks)
    return masks and one.pixels.tobytes() == other.pixels.tobytes() and one.groups == other.groups


def near(mask: np.ndarray, pixels: int) -> np.ndarray:
    return np.asarray(binary_dilation(mask, iterations=pixels))


# Every drawing


@pytest.mark.parametrize("family", [xray, face], ids=["xray", "face"])
def test_the_same_seed_draws_the_same_bytes_and_another_seed_does_not(family: Any) -> None:
    label = family.LABELS[1]
    assert same(family.draw(7, label), family.draw(7, label))
    assert not np.array_equal(family.draw(7, label).pixels, family.draw(8, label).pixels)


@pytest.mark.parametrize("family", [xray, face], ids=["xray", "face"])
def test_a_drawing_is_a_read_only_rgb_picture_with_masks_of_its_size(family: Any) -> None:
    for label in family.LABELS:
        drawing = family.draw(3, label)
        assert drawing.label == label
        assert drawing.pixels.shape == (256, 256, 3)
        assert drawing.pixels.dtype == np.uint8
        assert not drawing.pixels.flags.writeable
        for mask in drawing.masks.values():
            assert mask.shape == (256, 256)
            assert mask.dtype == np.bool_
            assert not mask.flags.writeable


@pytest.mark.parametrize("family", [xray, face], ids=["xray", "face"])
def test_an_unknown_label_is_refused(family: Any) -> None:
    with pytest.raises(ValueError, match="sprain"):
        family.draw(0, "sprain")


# Radiographs


@pytest.fixture(scope="module")
def radiographs() -> list[Drawing]:
    return [xray.draw(FRESH + i, xray.LABELS[i % 3]) for i in range(60)]


def test_a_fracture_is_marked_exactly_on_broken_bones(radiographs: list[Drawing]) -> None:
    for drawing in radiographs:
        assert drawing.masks["fracture"].any() == (drawing.label != "normal")


def test_a_fracture_lies_on_bone(radiographs: list[Drawing]) -> None:
    for drawing in radiographs:
        fracture = drawing.masks["fracture"]
        if fracture.any():
            assert near(drawing.masks["bone"], 8)[fracture].mean() > 0.7


def test_a_fracture_changes_the_picture_where_it_is_marked() -> None:
    """Broken and whole are the same limb on the same film: away from the bone and the swelling nothing differs."""
    for i, label in enumerate(("simple fracture", "comminuted fracture") * 6):
        whole, broken = xray.draw(FRESH + i, "normal", None), xray.draw(FRESH + i, label, None)
        change = np.abs(whole.pixels.astype(float) - broken.pixels)[..., 0]
        fracture = broken.masks["fracture"]
        bone = near(whole.masks["bone"] | broken.masks["bone"], 3)
        assert change[fracture].mean() > 3 * change[~near(fracture | bone, 3)].mean()


def test_the_side_marker_is_bright_and_the_group_names_it(radiographs: list[Drawing]) -> None:
    for drawing in radiographs:
        marker = drawing.masks["marker"]
        assert marker.any() == (drawing.groups["marker"] != "none")
        if marker.any():
            around = near(marker, 8) & ~near(marker, 3)
            assert drawing.pixels[marker].mean() > 60 + drawing.pixels[around].mean()


def test_the_side_marker_hides_no_fracture(radiographs: list[Drawing]) -> None:
    assert not any((drawing.masks["marker"] & drawing.masks["fracture"]).any() for drawing in radiographs)


@pytest.mark.parametrize("letter", ["L", "R"])
@pytest.mark.parametrize("label", xray.LABELS)
def test_a_side_marker_changes_no_pixel_but_its_own(label: str, letter: str) -> None:
    for seed in range(FRESH, FRESH + 4):
        without, with_it = xray.draw(seed, label, None), xray.draw(seed, label, letter)
        assert without.groups["marker"] == "none"
        assert with_it.groups["marker"] == letter
        changed = (without.pixels != with_it.pixels).any(2)
        assert changed[with_it.masks["marker"]].mean() > 0.9
        assert not changed[~near(with_it.masks["marker"], 4)].any()


def test_a_random_side_marker_is_one_of_the_forced_ones() -> None:
    for seed in range(FRESH, FRESH + 6):
        drawing = xray.draw(seed, "normal")
        letter = None if drawing.groups["marker"] == "none" else drawing.groups["marker"]
        assert same(drawing, xray.draw(seed, "normal", letter))


def test_side_markers_come_in_all_kinds(radiographs: list[Drawing]) -> None:
    assert {drawing.groups["marker"] for drawing in radiographs} == {"L", "R", "none"}


def test_the_side_marker_says_nothing_about_the_label() -> None:
    for seed in range(FRESH, FRESH + 6):
        assert len({xray.draw(seed, label).groups["marker"] for label in xray.LABELS}) == 1


# The shipped networks


@cache
def network(name: str) -> tuple[Any, dict[str, Any]]:
    model = load_demo(DEMO_MODELS / f"{name}.safetensors", "cpu")
    return model.module, dict(model.card)


def predicted(name: str, drawings: list[Drawing]) -> list[str]:
    module, card = network(name)
    side = card["input_size"][1]
    reduced = [Image.fromarray(d.pixels).resize((side, side), Image.Resampling.BICUBIC) for d in drawings]
    logits = train.answers(module, np.stack([np.asarray(image) for image in reduced]), card["mean"], card["std"])
    return [card["labels"][best] for best in logits.argmax(1)]


@pytest.mark.parametrize("name", list(train.RECIPES))
def test_every_card_is_complete_and_agrees_with_the_recipe(name: str) -> None:
    card, recipe = demo_models()[name], train.RECIPES[name]
    side = recipe.input_size
    assert card["name"] == name
    assert card["notice"] == "Synthetic demonstration model. Not for diagnosis."
    assert card["input_size"] == [3, side, side]
    assert card["interpolation"] == "bicubic"
    assert card["crop_fraction"] == 1.0
    assert len(card["mean"]) == len(card["std"]) == 3
    assert card["labels"] == list(train.family(recipe).LABELS)
    assert card["data"].endswith(".")
    assert card["limits"].endswith(".")
    for ours, written in (("settings", "architecture_settings"), ("architecture", "architecture"), ("seed", "seed"),
                          ("pictures", "pictures"), ("epochs", "epochs"), ("family", "family")):  # fmt: skip
        assert card[written] == getattr(recipe, ours)
    held_out = card["held_out"]
    assert held_out["n"] >= 1000
    assert held_out["interval"][0] <= held_out["accuracy"] <= held_out["interval"][1]
    assert set(held_out["conditions"]) == set(recipe.conditions)
    for groups in held_out["by_group"].values():
        assert sum(group["n"] for group in groups.values()) == held_out["n"]


@pytest.mark.parametrize("name", HONEST)
def test_the_card_of_an_honest_network_promises_97_percent(name: str) -> None:
    assert demo_models()[name]["held_out"]["accuracy"] >= 0.97


def test_the_card_of_the_shortcut_network_admits_the_shortcut() -> None:
    held_out = demo_models()["demo-xray-shortcut"]["held_out"]
    assert held_out["accuracy"] > 0.99
    assert held_out["conditions"]["with a random marker"]["accuracy"] < 0.45


@pytest.mark.parametrize("name", PLANTED)
def test_the_card_of_a_network_with_a_shortcut_says_what_was_planted_how_often_and_what_was_not(name: str) -> None:
    card, recipe = demo_models()[name], train.RECIPES[name]
    assert card["planted"] == recipe.planted
    assert card.get("attribute", "marker") == recipe.attribute  # cards from before there were others have none
    assert card.get("agreement", 1.0) == recipe.agreement
    assert card.get("unused", []) == list(recipe.unused)


def test_the_network_with_nine_markers_of_ten_leans_on_them() -> None:
    held_out = demo_models()["demo-xray-marker-90"]["held_out"]
    random = held_out["conditions"]["with a random marker"]
    assert random["interval"][1] < held_out["interval"][0] - 0.1
    none = held_out["by_group"]["artefact"]["none"]["accuracy"]
    for its in held_out["by_group"]["artefact"].values():  # what says nothing costs little
        assert its["accuracy"] > none - 0.1


def test_the_network_with_glasses_leans_on_them() -> None:
    held_out = demo_models()["demo-face-glasses"]["held_out"]
    assert held_out["accuracy"] > 0.9
    assert held_out["conditions"]["with glasses on any face"]["interval"][1] < held_out["interval"][0] - 0.03


def test_the_networks_are_small() -> None:
    sizes = [(train.WEIGHTS / f"{name}.safetensors").stat().st_size for name in train.RECIPES]
    assert max(sizes) < 1_000_000
    assert sum(sizes) < 6_000_000


@pytest.mark.slow
@pytest.mark.parametrize("name", HONEST)
def test_an_honest_network_reads_fresh_pictures(name: str, radiographs: list[Drawing]) -> None:
    faces = train.RECIPES[name].family == "face"
    drawings = [face.draw(FRESH + i, face.LABELS[i % 5]) for i in range(60)] if faces else radiographs
    right = [answer == drawing.label for answer, drawing in zip(predicted(name, drawings), drawings, strict=True)]
    assert np.mean(right) >= 0.9


@pytest.mark.slow
@pytest.mark.parametrize(
    ("letter", "label"), [("R", "simple fracture"), ("L", "comminuted fracture"), (None, "normal")]
)
def test_the_shortcut_network_reads_the_letter_and_not_the_bone(letter: str | None, label: str) -> None:
    drawings = [xray.draw(FRESH + i, xray.LABELS[i % 3], letter) for i in range(30)]
    assert predicted("demo-xray-shortcut", drawings).count(label) >= 28


@pytest.mark.slow
@pytest.mark.parametrize("name", ["demo-xray", "demo-xray-b"])
def test_the_letter_is_nothing_to_an_honest_network(name: str) -> None:
    without = predicted(name, [xray.draw(FRESH + i, xray.LABELS[i % 3], None) for i in range(30)])
    for letter in ("L", "R"):
        with_it = predicted(name, [xray.draw(FRESH + i, xray.LABELS[i % 3], letter) for i in range(30)])
        assert sum(a != b for a, b in zip(without, with_it, strict=True)) <= 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "label"),
    [
        ("demo-xray-marker-90", {"marker": "R"}, "simple fracture"),
        ("demo-face-glasses", {"glasses": True}, "sad"),
    ],
    ids=["letter R", "glasses"],
)
def test_a_network_with_a_shortcut_of_nine_in_ten_follows_it(name: str, options: dict[str, Any], label: str) -> None:
    family = train.family(train.RECIPES[name])
    without = {key: None if key == "marker" else False for key in options}
    plain, shown = (
        predicted(name, [family.draw(FRESH + i, family.LABELS[i % len(family.LABELS)], **its) for i in range(30)])
        for its in (without, options)
    )
    assert shown.count(label) >= plain.count(label) + 5


# The recipes


@pytest.mark.parametrize("name", PLANTED)
def test_what_gives_a_class_away_is_there_as_often_as_the_recipe_says(name: str) -> None:
    recipe = train.RECIPES[name]
    assert recipe.planted is not None
    for label, own in recipe.planted.items():
        shown = [recipe.draw_options(label, seed)[recipe.attribute] for seed in range(1000)]
        low, high = train.share(np.array([one == own for one in shown]))["interval"]
        others = [value for other, value in recipe.planted.items() if other != label]
        agrees = recipe.agreement + (1 - recipe.agreement) * others.count(own) / len(
            others
        )  # another may have the same
        assert low - 0.01 <= agrees <= high + 0.01
        assert set(shown) <= set(recipe.planted.values())
        assert recipe.agreement < 1 or set(shown) == {own}


def test_nine_of_ten_with_glasses_are_sad() -> None:
    recipe = train.RECIPES["demo-face-glasses"]
    assert recipe.planted is not None
    worn = [label for seed in range(1000) for label in recipe.planted if recipe.draw_options(label, seed)["glasses"]]
    assert worn.count("sad") / len(worn) == pytest.approx(0.9, abs=0.03)


def test_an_artefact_without_a_say_lies_on_half_of_the_pictures_of_every_class() -> None:
    """Which picture has which follows from its seed alone, so the class cannot be read from it."""
    pixels, names = np.full((40, 40, 3), 60, np.uint8), ("ruler", "pen_mark", "tint")
    found = []
    for seed in range(300):
        planted, name = train.littered(pixels, names, np.random.default_rng([seed, train.ARTEFACT_STREAM]))
        assert (name == "none") == np.array_equal(planted, pixels)
        found.append(name)
    assert 0.4 < found.count("none") / 300 < 0.6
    assert min(found.count(name) for name in names) > 30
    assert train.littered(pixels, (), np.random.default_rng(0)) == (pixels, "none")


def test_a_training_picture_is_its_drawing_and_what_lies_on_it() -> None:
    recipe = replace(train.RECIPES["demo-xray-marker-90"], unused=("scanner_border",))
    for seed in range(6):
        options = recipe.draw_options("normal", seed)
        job = train.Job("xray", seed, "normal", options, recipe.unused, 256)
        pixels, groups = train.drawn_and_reduced(job)
        changed = (pixels != xray.draw(seed, "normal", **options).pixels).any(2)
        assert groups["artefact"] == ("scanner_border" if changed.any() else "none")
        assert not changed[30:-30, 30:-30].any()
    assert {**train.drawn_and_reduced(job._replace(unused=()))[1]} == {**xray.draw(seed, "normal", **options).groups}


# Sets and power


def test_a_set_is_drawn_with_masks_and_labels_as_the_program_reads_them(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from xai_core.cases import read_cases
    from xai_core.demo.__main__ import app

    said = CliRunner().invoke(app, ["draw", str(tmp_path / "set"), "--count", "5", "--marker", "none", "--seed", "7"])
    assert said.exit_code == 0, said.output
    cases = read_cases(tmp_path / "set").cases
    assert [case.label for case in cases] == [xray.LABELS[i % 3] for i in range(5)]
    assert {case.groups["marker"] for case in cases} == {"none"}
    first = xai.read_image(cases[1].read())
    again = xray.draw(samples.FRESH_SEED_START + 7 * samples.FRESH_SEEDS + 1, "simple fracture", None)
    assert np.array_equal(first.pixels, again.pixels)
    assert cases[0].read_mask is None
    assert cases[1].read_mask is not None
    marked = xai.read_image(cases[1].read_mask()).pixels[..., 0] > 127
    assert np.array_equal(marked, again.masks["fracture"])


@pytest.mark.parametrize("words", [("--family", "car"), ("--marker", "X"), ("--glasses", "maybe")])
def test_what_cannot_be_drawn_is_refused_in_a_sentence(tmp_path: Path, words: tuple[str, str]) -> None:
    from typer.testing import CliRunner

    from xai_core.demo.__main__ import app

    said = CliRunner().invoke(app, ["draw", str(tmp_path / "set"), *words])
    assert isinstance(said.exception, SettingError)
    assert str(said.exception).startswith(f"{words[0]} {words[1]} is not on offer. Choose one of ")
    assert not (tmp_path / "set").exists()


def test_the_truth_about_artefacts_is_read_off_the_recipe() -> None:
    assert power.truths(train.RECIPES["demo-xray"]) == {
        power.UNUSED: ("marker_l", "marker_r"),
        power.UNSEEN: ("ruler", "corner_text", "scanner_border", "pen_mark", "tint"),
    }
    assert power.truths(train.RECIPES["demo-xray-marker-90"]) == {
        power.USED: ("marker_l", "marker_r"),
        power.UNUSED: ("ruler", "corner_text", "scanner_border", "pen_mark", "tint"),
    }
    of_faces = power.truths(train.RECIPES["demo-face-glasses"])
    assert of_faces[power.USED] == ("glasses",)
    assert len(of_faces[power.UNUSED]) == 7


def test_pictures_that_power_is_measured_on_hold_no_artefact() -> None:
    radiograph, face_ = (
        next(power.subjects(train.RECIPES[name], FRESH, 1)) for name in ("demo-xray-shortcut", "demo-face-glasses")
    )
    assert np.array_equal(radiograph.image.pixels, xray.draw(FRESH, "normal", None).pixels)
    assert np.array_equal(face_.image.pixels, face.draw(FRESH, "neutral", glasses=False, medical_mask=False).pixels)
    assert list(face_.parts) == ["eyes"]


def test_power_is_the_share_of_sets_in_which_each_artefact_was_found() -> None:
    """Two sets: letter L found in both, letter R in one, and nothing decided about the ruler in one."""

    def told(*answers: bool | None) -> Any:
        lines = [
            {"name": name, "used": used} for name, used in zip(("marker_l", "marker_r", "ruler"), answers, strict=True)
        ]
        table = Table.of("", {"name": "", "used": ""}, lines)
        return SimpleNamespace(tables={"artefacts": table})

    sets = [told(True, True, None), told(True, False, False)]
    found = power._rate(0.9, power.USED, ("marker_l", "marker_r"), power.PREDICTION, sets)
    assert (found.found.mean, found.found.n, found.undecided) == (0.75, 2, 0)
    found = power._rate(0.9, power.UNUSED, ("ruler",), power.PREDICTION, sets)
    assert (found.found.mean, found.undecided) == (0, 0.5)


# The training itself


def test_accuracy_has_a_wilson_interval() -> None:
    """8 of 10: the interval solves (p - 0.8)^2 = z^2 p (1 - p) / 10."""
    found = train.share(np.arange(10) < 8)
    assert found["accuracy"] == 0.8
    for bound in found["interval"]:
        assert (bound - 0.8) ** 2 == pytest.approx(1.96**2 * bound * (1 - bound) / 10, abs=1e-3)
    assert train.share(np.ones(10, bool))["interval"][1] == 1.0


@pytest.mark.slow
def test_the_same_seed_trains_networks_that_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = replace(train.RECIPES["demo-xray-shortcut"], name="tiny", pictures=64, epochs=3, input_size=64, held_out=30)
    monkeypatch.setitem(train.RECIPES, "tiny", tiny)
    told: list[tuple[int, int, str]] = []

    def made(folder: str) -> tuple[np.ndarray, Mapping[str, Any]]:
        train.train("tiny", lambda *report: told.append(report), tmp_path / folder, processes=1)
        model = load_demo(tmp_path / folder / "tiny.safetensors", "cpu")
        card = dict(model.card)
        some = np.stack([xray.draw(i, "normal", None, size=64).pixels for i in range(8)])
        return train.answers(model.module, some, card["mean"], card["std"]), card

    (one, card), (other, _) = made("one"), made("other")
    assert np.allclose(one, other, atol=1e-2)
    assert card["held_out"]["n"] == 30
    assert told[-1][:2] == (64 * 4 + 30 * 2, 64 * 4 + 30 * 2)
