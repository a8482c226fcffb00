"""The drawn faces are exact pairs with true masks, and the sample pictures are what the generators draw."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import binary_dilation

from xai_core.demo import face, samples, xray
from xai_core.demo.drawing import Drawing

FOLDER = Path(__file__).parents[1] / "assets" / "samples"
SEEDS = (7, 11, 23)


def difference(one: Drawing, other: Drawing) -> np.ndarray:
    """How far two drawings are apart at each pixel: (h, w) levels of 255."""
    gap: np.ndarray = np.abs(one.pixels.astype(int) - other.pixels).max(axis=2)
    return gap


def changed(one: Drawing, other: Drawing) -> np.ndarray:
    """Where two drawings differ at all: (h, w) bool."""
    return difference(one, other) > 0


def stored(path: Path, mode: str) -> np.ndarray:
    """The pixels of a file that must be of this mode, or may be shown in it: uint8."""
    with Image.open(path) as picture:
        assert picture.mode in ("L", mode), path.name
        return np.array(picture.convert(mode))


@pytest.mark.parametrize("label", face.LABELS)
def test_the_same_seed_gives_the_same_bytes(label: str) -> None:
    one, same, other = face.draw(5, label), face.draw(5, label), face.draw(6, label)
    assert one.pixels.shape == (256, 256, 3)
    assert one.pixels.dtype == np.uint8
    assert one.pixels.tobytes() == same.pixels.tobytes()
    assert one.groups == same.groups
    assert all(np.array_equal(one.masks[part], same.masks[part]) for part in face.PARTS)
    assert one.pixels.tobytes() != other.pixels.tobytes()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("part", ["glasses", "medical_mask"])
def test_a_face_with_and_without_something_on_is_otherwise_the_same_face(seed: int, part: str) -> None:
    bare = face.draw(seed, "happy", glasses=False, medical_mask=False)
    worn = face.draw(seed, "happy", glasses=part == "glasses", medical_mask=part == "medical_mask")
    where = changed(worn, bare)
    assert where.any()
    assert not (where & ~binary_dilation(worn.masks[part], iterations=3)).any()
    assert not bare.masks[part].any()
    assert {name for name in worn.groups if worn.groups[name] != bare.groups[name]} == {part}
    untouched = {"face", "eyes", "brows", "mouth", "nose"} - ({"mouth", "nose"} if part == "medical_mask" else set())
    assert all(np.array_equal(worn.masks[name], bare.masks[name]) for name in untouched)


@pytest.mark.parametrize("seed", SEEDS)
def test_light_and_skin_tone_change_no_mask_and_no_other_group(seed: int) -> None:
    plain = face.draw(seed, "sad", lighting="even", skin=3)
    others = [face.draw(seed, "sad", lighting=light, skin=3) for light in ("left", "right", "dim")]
    others += [face.draw(seed, "sad", lighting="even", skin=tone) for tone in (1, 6)]
    for other in others:
        assert changed(plain, other).mean() > 0.1
        assert all(np.array_equal(plain.masks[part], other.masks[part]) for part in face.PARTS)
        assert sum(plain.groups[name] != other.groups[name] for name in plain.groups) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_the_expression_shows_in_mouth_brows_and_eyes_alone(seed: int) -> None:
    drawings = [face.draw(seed, label, glasses=False) for label in face.LABELS]
    parts = np.any([drawing.masks[part] for drawing in drawings for part in ("eyes", "brows", "mouth")], axis=0)
    near = binary_dilation(parts, iterations=4)
    for drawing in drawings[1:]:
        apart = difference(drawings[0], drawing)
        assert apart[near].sum() > 0.97 * apart.sum()  # the rest is the faint shadow under the lower lip
        assert apart[~near].max() < 24


@pytest.mark.parametrize("label", face.LABELS)
def test_every_part_is_somewhere_in_the_face(label: str) -> None:
    for seed in range(6):
        masks = face.draw(seed, label, size=128, glasses=True, medical_mask=seed % 2 == 1).masks
        around = binary_dilation(masks["face"], iterations=4)
        for part in ("face", "eyes", "brows", "glasses"):
            assert masks[part].any()
        for part in ("eyes", "brows", "mouth", "nose", "glasses"):
            assert not (masks[part] & ~around).any()
            assert masks[part].mean() < 0.1
        assert masks["mouth"].any() != masks["medical_mask"].any()
        assert not (masks["medical_mask"] & (masks["mouth"] | masks["nose"])).any()


def test_a_size_other_than_the_usual_shows_the_same_face() -> None:
    small, large = face.draw(3, "surprised", size=96), face.draw(3, "surprised", size=192)
    assert small.pixels.shape == (96, 96, 3)
    halved = np.asarray(Image.fromarray(large.pixels).reduce(2), float)
    assert np.abs(halved - small.pixels).mean() < 8


def test_an_unknown_label_light_or_tone_is_refused() -> None:
    with pytest.raises(ValueError, match="bored"):
        face.draw(0, "bored")
    with pytest.raises(ValueError, match="1 to 6"):
        face.draw(0, "happy", skin=7)
    with pytest.raises(ValueError, match="even"):
        face.draw(0, "happy", lighting="neon")


@pytest.fixture(scope="module")
def table() -> dict[str, dict[str, str]]:
    with (FOLDER / "labels.csv").open(encoding="utf-8", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def drawn() -> list[tuple[str, str, Drawing]]:
    return list(samples.samples())


def test_the_sample_pictures_are_what_the_generators_draw_today(
    table: dict[str, dict[str, str]], drawn: list[tuple[str, str, Drawing]]
) -> None:
    for name, family, drawing in drawn:
        row = table[name]
        assert np.array_equal(stored(FOLDER / name, "RGB"), drawing.pixels), name
        assert (row["label"], row["family"]) == (drawing.label, family)
        assert {column: row[column] for column in drawing.groups} == dict(drawing.groups)
        parts = {
            f"{part}_mask": drawing.masks.get(part) for part in ("marker", "eyes", "brows", "mouth", "nose", "face")
        }
        for column, mark in ({"mask": samples.truth(family, drawing)} | parts).items():
            assert bool(row[column]) == (mark is not None and bool(mark.any())), (name, column)
            if row[column]:
                assert np.array_equal(stored(FOLDER / row[column], "L"), mark * np.uint8(255)), (name, column)


def test_the_sample_table_lists_every_file_and_every_mask(table: dict[str, dict[str, str]]) -> None:
    assert len(table) == 24
    assert set(table) == {path.name for path in FOLDER.glob("*.png")}
    columns = [column for column in samples.COLUMNS if column.endswith("mask")]
    masks = [row[column] for row in table.values() for column in columns if row[column]]
    assert sorted(masks) == sorted(f"masks/{path.name}" for path in (FOLDER / "masks").iterdir())
    for row in table.values():
        for column in columns:
            if row[column]:
                mask = stored(FOLDER / row[column], "L")
                assert mask.shape == stored(FOLDER / row["file"], "RGB").shape[:2]
                assert mask.any()
    assert {row["label"] for row in table.values()} == {*face.LABELS, *xray.LABELS}
    assert all((row["mask"] == "") == (row["label"] == "normal") for row in table.values())
    assert {row["skin_tone"] for row in table.values()} == {"", *"123456"}
    assert {row["marker"] for row in table.values()} == {"", "L", "R", "none"}


def test_writing_the_samples_again_gives_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: list[tuple[str, str, Drawing]]
) -> None:
    monkeypatch.setattr(samples, "samples", lambda: iter(drawn))
    samples.write_samples(tmp_path)
    assert (tmp_path / "labels.csv").read_bytes() == (FOLDER / "labels.csv").read_bytes()
    for path in FOLDER.rglob("*.png"):
        assert (tmp_path / path.relative_to(FOLDER)).is_file()
