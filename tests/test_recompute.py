"""A record asked again: equal to the byte, equal within a tolerance, different, or not to be had and why."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

import xai_core as xai
from tests.conftest import ROOT, LeftHalf, Transformer, convolutions, photograph, png_of, quick, seeded, wrapped
from xai_core import loading, recompute, reloading
from xai_core.cases import read_cases
from xai_core.errors import Cancelled, ModelError, RecordError, SettingError, UnsupportedError
from xai_core.models import Model
from xai_core.records import Finding, Image, Record, Table, Target
from xai_core.sameness import TOLERANCE, Pair, changed_since, judged, same_finding
from xai_core.seal import sealed
from xai_core.verification import Recomputed, Report

SAMPLES = ROOT / "assets" / "samples"
FRACTURE = SAMPLES / "xray_simple_fracture_1.png"


def network() -> Model:
    """The same small network, made anew: what a fresh start would load."""
    return wrapped(seeded(convolutions))


def tiny(**how: Any) -> Model:
    return xai.load_model("test_resnet", **{"pretrained": False, "seed": 3, "device": "cpu", **how})


def resealed(folder: Path, change: Callable[[dict[str, Any]], None] = lambda _: None) -> Path:
    """A forger's work: `change` the manifest, give every file the hash that it has now, and seal all anew."""
    fields = json.loads((folder / "manifest.json").read_bytes())
    change(fields)
    for file in fields["files"]:
        data = (folder / file["name"]).read_bytes()
        file |= {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    (folder / "manifest.json").write_bytes(sealed(fields))
    assert xai.verify(folder).ok  # hashes alone do not find it
    return folder


def altered(folder: Path, name: str, by: float, at: Any = (5, 7)) -> Path:
    """A map whose value `at` a place is moved by so much of its largest one."""
    values = np.load(folder / name)
    values[at] += np.float32(by * np.abs(values).max())
    np.save(folder / name, values)
    return folder


def peak(file: Path) -> Any:
    values = np.load(file)
    return np.unravel_index(np.abs(values).argmax(), values.shape)


def outcomes(report: Report) -> list[str]:
    return [one.outcome for one in report.recomputed]


def only(report: Report) -> Recomputed:
    [one] = report.recomputed
    return one


@pytest.fixture(scope="module", autouse=True)
def plain_figures() -> Iterator[None]:
    """Drawings take longer than all else, and are not asked again."""
    from xai_core import audit_figures, comparison_figure, figures, probe_figures

    def blank(*_: Any, **__: Any) -> np.ndarray:
        return np.zeros((2, 2, 3), np.uint8)

    with pytest.MonkeyPatch.context() as patch:
        for module, names in (
            (figures, ("panels", "sheet")),
            (comparison_figure, ("comparison", "difference")),
            (audit_figures, ("grid", "rankings")),
            (probe_figures, ("filmstrip",)),
        ):
            for name in names:
                patch.setattr(module, name, blank)
        patch.setattr(probe_figures, "charts", lambda _: {})
        yield


@pytest.fixture
def saved(tmp_path: Path, image: Image) -> Path:
    """A prediction and two maps of a photograph, the second by a method of chance."""
    cnn = network()
    [maps] = xai.explain_many(cnn, [image], ["grad_cam", quick("smooth_grad")], seed=7)
    return xai.save(maps, tmp_path / "record", xai.predict(cnn, image))


def again(folder: Path, png: bytes, count: bool | int = True, **more: Any) -> Report:
    return xai.verify(folder, recompute=count, **{"image": png, "models": [network()], **more})


# ---- records ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [convolutions, Transformer], ids=["convolutions", "transformer"])
def test_every_method_comes_out_again_to_the_byte(make: Any, tmp_path: Path, image: Image, png: bytes) -> None:
    model = wrapped(seeded(make))
    valid = [quick(name) for name in xai.METHODS if xai.METHODS.build(quick(name)).why_not(model) is None]
    [maps] = xai.explain_many(model, [image], valid, seed=11, background_images=[image])
    folder = xai.save(maps, tmp_path / "record", xai.predict(model, image))
    report = xai.verify(folder, recompute=True, image=png, models=[wrapped(seeded(make))])
    assert len(valid) > 15
    assert len(report.recomputed) == len(valid) + 1
    assert {one.outcome for one in report.recomputed} == {"equal"}, str(report)
    assert f"Recomputed {len(valid) + 1} of {len(valid) + 1} answers: {len(valid) + 1} equal to the byte." in str(
        report
    )


def test_methods_of_chance_come_out_again_in_another_process(tmp_path: Path) -> None:
    model, image = xai.load_model("demo-xray", device="cpu"), xai.read_image(FRACTURE)
    methods = ["lime", "kernel_shap", "smooth_grad", "grad_cam"]
    [maps] = xai.explain_many(model, [image], [quick(name) for name in methods], seed=5)
    folder = xai.save(Record(tuple(maps), (xai.predict(model, image),), image.source), tmp_path / "record")
    done = subprocess.run(
        [sys.executable, "-m", "xai_core", "verify", folder, "--recompute", "99"],
        cwd=ROOT, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "Recomputed 5 of 5 answers: 5 equal to the byte." in done.stdout


@pytest.mark.parametrize("by", [1e-6, 0.5])
def test_a_map_that_was_altered_and_sealed_anew_is_found(by: float, saved: Path, png: bytes) -> None:
    resealed(altered(saved, "02_smooth_grad.npy", by, peak(saved / "02_smooth_grad.npy")))
    report = again(saved, png)
    assert outcomes(report) == ["equal", "equal", "different"]
    assert not report.ok
    assert "map 2, smooth_grad of" in report.recomputed[2].name
    measured = float(report.recomputed[2].detail.partition("difference is ")[2].partition(",")[0])
    assert measured == pytest.approx(by / (1 + by), rel=0.1)
    assert "nothing that computes has changed" in report.recomputed[2].detail


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        (lambda fields: fields["prediction"]["logits"].__setitem__(0, 9.0), "prediction of small"),
        (lambda fields: fields["explanations"][0].__setitem__("valid", False), "its valid is another"),
        (lambda fields: fields["explanations"][0].__setitem__("grid", [3, 3]), "its grid is another"),
        (lambda fields: fields["explanations"][0].__setitem__("notes", ["Seen by two."]), "its notes is another"),
        (lambda fields: fields["explanations"][1].__setitem__("seed", 8), "map 2"),
        (lambda fields: fields["explanations"][1]["method"].__setitem__("noise", 0.3), "map 2"),
        (lambda fields: fields["explanations"][0]["target"].__setitem__("label", "a cat"), "its target is another"),
        (lambda fields: fields["prediction"].__setitem__("labels", ["a", "b", "c"]), "its labels are others"),
    ],
)
def test_a_manifest_that_lies_is_found(change: Any, wrong: str, saved: Path, png: bytes) -> None:
    report = again(resealed(saved, change), png)
    assert "different" in outcomes(report)
    assert not report.ok
    assert wrong in "\n".join(str(one) for one in report.recomputed if one.outcome == "different")


def test_pixels_that_the_model_did_not_see_are_found(saved: Path, png: bytes) -> None:
    with PillowImage.open(saved / "seen.png") as seen:
        pixels = np.array(seen)
    pixels[:4] = 255
    (saved / "seen.png").write_bytes(png_of(pixels))
    report = again(resealed(saved), png)
    assert outcomes(report) == ["equal", "different", "different"]
    assert "pixels" in report.recomputed[1].detail


@pytest.mark.parametrize("kind", ["heatmap", "overlay"])
def test_a_drawing_of_other_values_is_found_though_the_map_is_true(kind: str, saved: Path, png: bytes) -> None:
    assert set(outcomes(again(saved, png))) == {"equal"}
    [place] = saved.glob(f"01_*.{kind}.png")
    with PillowImage.open(place) as picture:
        pixels = np.array(picture)
    pixels[0, 0, 0] ^= 1
    place.write_bytes(png_of(pixels))
    report = again(resealed(saved), png)
    assert report.intact
    assert not report.ok
    [found] = [one for one in report.recomputed if one.outcome == "different"]
    assert found.detail == f"its {kind} is missing, or not drawn of its values"
    assert "Not compared: verdicts, scores, and figures with text and axes." in str(report)
    earlier = resealed(saved, lambda fields: fields["made_with"].update(app="0.0.9"))  # which may have drawn otherwise
    report = again(earlier, png)
    assert report.ok
    assert "its heatmap and overlay were not compared, since other programs drew them: Second Look" in str(report)


def test_a_drawing_that_is_none_is_found(saved: Path, png: bytes) -> None:
    [place] = saved.glob("01_*.overlay.png")
    place.write_bytes(png_of(np.zeros((4, 4), np.uint8)))  # of another size, and grey
    assert "different" in outcomes(again(resealed(saved), png))


def older(fields: dict[str, Any]) -> None:
    fields["made_with"]["packages"]["torch"] = "2.9.0"


def test_what_another_version_computes_may_differ_by_the_tolerance(saved: Path, png: bytes) -> None:
    report = again(resealed(altered(saved, "01_grad_cam.npy", 1e-5), older), png)
    assert outcomes(report) == ["equal", "equal within tolerance", "equal"]
    assert report.ok
    assert not report.unchecked
    said = report.recomputed[1].detail
    assert "0.001 is allowed" in said
    assert "torch 2.9.0 there, " in said
    measured = float(said.partition("difference is ")[2].partition(",")[0])
    assert measured == pytest.approx(1e-5, rel=0.1)


def test_what_is_beyond_the_tolerance_is_different_whatever_has_changed(saved: Path, png: bytes) -> None:
    report = again(resealed(altered(saved, "01_grad_cam.npy", 2 * TOLERANCE), older), png)
    assert outcomes(report) == ["equal", "different", "equal"]
    assert "torch 2.9.0 there" in report.recomputed[1].detail


def test_changed_files_are_not_recomputed(saved: Path, png: bytes) -> None:
    altered(saved, "01_grad_cam.npy", 0.5)
    report = again(saved, png)
    assert report.recomputed == ()
    assert not report.ok
    assert "Nothing was recomputed" in str(report)


def test_a_few_answers_are_drawn_by_a_seed_that_is_said(saved: Path, png: bytes) -> None:
    drawn = {again(saved, png, 1, seed=seed).recomputed[0].name for seed in range(20)}
    assert len(drawn) == 3
    first = again(saved, png, 2)
    seed = int(first.asked.partition("drawn by seed ")[2].partition(":")[0])
    assert again(saved, png, 2, seed=seed).recomputed == first.recomputed
    assert first.asked.startswith("Recomputed 2 of 3 answers, ")
    assert again(saved, png, 2).asked != first.asked  # nobody knows beforehand which will be asked


def test_every_number_is_drawn_once() -> None:
    for total in (1, 2, 7, 500):
        orders = {tuple(recompute._shuffled(total, np.random.default_rng(seed))) for seed in range(40)}
        assert all(sorted(order) == list(range(total)) for order in orders)
    threes = [tuple(recompute._shuffled(3, np.random.default_rng(seed))) for seed in range(600)]
    assert all(70 < threes.count(order) < 130 for order in set(threes))
    assert len(set(threes)) == 6


def test_models_of_a_comparison_are_each_asked_again(tmp_path: Path, image: Image, png: bytes) -> None:
    half = wrapped(seeded(LeftHalf), name="half")
    models = [network(), half]
    maps = tuple(xai.explain(model, image, "grad_cam") for model in models)
    folder = xai.save(Record(maps, tuple(xai.predict(model, image) for model in models)), tmp_path / "two")
    assert outcomes(again(folder, png, models=[network(), wrapped(seeded(LeftHalf))])) == ["equal"] * 4
    report = again(folder, png)
    assert outcomes(report) == ["equal", "equal", "cannot be recomputed", "cannot be recomputed"]
    assert report.ok
    assert report.unchecked
    assert "The model half is not here" in report.recomputed[2].detail


@pytest.mark.parametrize("kind", ["probability", "contrast"])
def test_other_kinds_of_target_come_out_again(kind: Any, tmp_path: Path, image: Image, png: bytes) -> None:
    aim = Target(1, "class 1", kind, 2 if kind == "contrast" else None, "class 2" if kind == "contrast" else "")
    folder = xai.save(xai.explain(network(), image, "saliency", aim), tmp_path / "record")
    assert outcomes(again(folder, png)) == ["equal"]


# ---- pictures --------------------------------------------------------------------------------------------------------


def test_a_picture_that_is_not_here_is_asked_for_by_its_hash(saved: Path, png: bytes, tmp_path: Path) -> None:
    report = again(saved, png, image=None)
    assert set(outcomes(report)) == {"cannot be recomputed"}
    assert report.ok
    assert report.unchecked
    digest = hashlib.sha256(png).hexdigest()[:12]
    assert report.recomputed[0].detail == f"The picture with sha256 {digest} is not here."
    assert report.lacking == ("picture",)
    other = png_of(photograph(64))
    said = again(saved, other).recomputed[0].detail
    assert digest in said
    assert hashlib.sha256(other).hexdigest()[:12] in said
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "other.png").write_bytes(other)
    assert "no picture of the set" in again(saved, png, image=None, data=tmp_path / "set").recomputed[0].detail
    (tmp_path / "set" / "one.png").write_bytes(png)
    assert set(outcomes(again(saved, png, image=None, data=tmp_path / "set"))) == {"equal"}


def test_a_picture_that_the_record_kept_needs_no_other(tmp_path: Path, image: Image, png: bytes) -> None:
    cnn = network()
    record = Record((xai.explain(cnn, image, "grad_cam"),), (xai.predict(cnn, image),), image.source, upload=png)
    folder = xai.save(record, tmp_path / "record")
    assert outcomes(again(folder, png, image=None)) == ["equal", "equal"]


def test_a_later_frame_is_found_by_the_hash_of_its_file(tmp_path: Path) -> None:
    pages = [PillowImage.fromarray(photograph(64, left)) for left in (0, 80)]
    out = io.BytesIO()
    pages[0].save(out, "TIFF", save_all=True, append_images=pages[1:])
    second = xai.read_image(out.getvalue(), frame=1)
    record = Record((xai.explain(network(), second, "grad_cam"),), (), second.source)
    folder = xai.save(record, tmp_path / "record")
    assert outcomes(again(folder, out.getvalue())) == ["equal"]


def test_pictures_to_compare_with_are_found_by_their_hashes(tmp_path: Path, images: list[Image], png: bytes) -> None:
    home = tmp_path / "behind"
    home.mkdir()
    for number, left in enumerate((0, 60)):
        (home / f"{number}.png").write_bytes(png_of(photograph(200, left)))
    method = {"name": "expected_gradients", "samples": 8, "background": "pictures"}
    e = xai.explain(network(), xai.read_image(png), method, background_images=images[:2])
    folder = xai.save(e, tmp_path / "record")
    assert outcomes(again(folder, png, data=home)) == ["equal"]
    (home / "1.png").unlink()
    found = only(again(folder, png, data=home))
    assert found.outcome == "cannot be recomputed"
    assert images[1].sha256[:12] in found.detail


# ---- models ----------------------------------------------------------------------------------------------------------


def test_random_weights_are_drawn_again_by_their_seed(tmp_path: Path, image: Image, png: bytes) -> None:
    folder = xai.save(xai.explain(tiny(), image, "grad_cam"), tmp_path / "record")
    assert outcomes(again(folder, png, models=[])) == ["equal"]


def test_other_weights_are_refused_with_both_hashes(tmp_path: Path, image: Image, png: bytes) -> None:
    first, second = tiny(), tiny(seed=4)
    folder = xai.save(xai.explain(first, image, "grad_cam"), tmp_path / "record")
    resealed(folder, lambda fields: fields["model"].__setitem__("weights", "drawn at random, seed 4"))
    found = only(again(folder, png, models=[]))
    assert found.outcome == "cannot be recomputed"
    assert str(first.identity["weights_sha256"])[:12] in found.detail
    assert str(second.identity["weights_sha256"])[:12] in found.detail
    assert "weights of test_resnet" in found.detail


def test_other_preprocessing_is_refused_with_both_hashes(tmp_path: Path, image: Image, png: bytes) -> None:
    model = tiny()
    folder = xai.save(xai.explain(model, image, "grad_cam"), tmp_path / "record")
    resealed(folder, lambda fields: fields["model"].__setitem__("preprocessing_sha256", "ab" * 32))
    found = only(again(folder, png, models=[model]))
    assert found.outcome == "cannot be recomputed"
    assert "preprocessing of test_resnet" in found.detail
    assert "abababababab" in found.detail
    assert str(model.identity["preprocessing_sha256"])[:12] in found.detail


def test_weights_from_a_file_are_asked_for_and_held_against_their_hash(
    tmp_path: Path, image: Image, png: bytes
) -> None:
    from safetensors.torch import save_file

    files = [tmp_path / f"{seed}.safetensors" for seed in (3, 4)]
    for file, seed in zip(files, (3, 4), strict=True):
        weights = tiny(seed=seed).module.state_dict()
        save_file({key: one.contiguous() for key, one in weights.items()}, file)
    model = xai.load_model("test_resnet", checkpoint=files[0], device="cpu")
    folder = xai.save(xai.explain(model, image, "grad_cam"), tmp_path / "record")
    short = str(model.identity["weights_sha256"])[:12]
    report = again(folder, png, models=[])
    assert f"{short}, came from a file that is not here." in only(report).detail
    assert report.lacking == ("weights",)
    wrong = only(again(folder, png, models=[], checkpoints=files[1:]))
    assert wrong.outcome == "cannot be recomputed"
    assert short in wrong.detail
    assert str(tiny(seed=4).identity["weights_sha256"])[:12] in wrong.detail
    assert outcomes(again(folder, png, models=[], checkpoints=files[::-1])) == ["equal"]


def test_pretrained_weights_that_cannot_be_had_say_so(
    tmp_path: Path, image: Image, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = xai.save(xai.explain(tiny(), image, "grad_cam"), tmp_path / "record")
    resealed(folder, lambda fields: fields["model"].__setitem__("weights", "r160_in1k"))

    def gone(name: str) -> Any:
        raise ModelError(f"The weights of {name} cannot be had.")

    monkeypatch.setattr(loading, "_pretrained", gone)
    found = only(again(folder, png, models=[]))
    assert (found.outcome, found.detail) == ("cannot be recomputed", "The weights of test_resnet cannot be had.")


@pytest.mark.parametrize("name", ["hf-hub:someone/network", "local-dir:/etc", "../x", "C:\\x", ""])
def test_a_record_never_names_a_path_or_an_address(
    name: str, saved: Path, png: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rename(fields: dict[str, Any]) -> None:
        fields["model"] |= {"name": name, "architecture": name}
        fields["prediction"]["model"] = fields["model"]

    monkeypatch.setattr(loading, "load_model", lambda *_, **__: pytest.fail("it was loaded"))
    report = again(resealed(saved, rename), png, models=[])
    assert set(outcomes(report)) == {"cannot be recomputed"}
    assert "is not here" in report.recomputed[0].detail


def test_of_several_models_one_is_held_at_a_time(tmp_path: Path, image: Image, png: bytes) -> None:
    loader = reloading.Models()
    first, second = tiny().identity, tiny(seed=4).identity
    held = loader.like(first)
    assert loader.like(first) is held
    assert loader.like(second).identity["weights_sha256"] == second["weights_sha256"]
    assert loader.like(first) is not held


# ---- findings --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of four, the second of which is no picture."""
    home = tmp_path_factory.mktemp("pictures")
    for number, left in enumerate((0, 40, 80, 120), 1):
        (home / f"{number}.png").write_bytes(png_of(photograph(48, left)) if number != 2 else b"no picture")
    return home


@pytest.fixture
def found(tmp_path: Path, pictures: Path) -> Path:
    finding = xai.probe(network(), pictures, "brightness", "grad_cam", seed=3, steps=2)
    assert len(finding.pictures) == 3
    assert len(finding.left_out) == 1
    return xai.save(finding, tmp_path / "finding")


def test_a_finding_comes_out_again(found: Path, pictures: Path, tmp_path: Path) -> None:
    assert outcomes(xai.verify(found, recompute=1, data=pictures, models=[network()])) == ["equal"]
    mixed = tmp_path / "mixed"  # in another order, among others, without what was left out: places are restored
    mixed.mkdir()
    for old, new in (("4.png", "a.png"), ("1.png", "b.png"), ("3.png", "c.png")):
        shutil.copy(pictures / old, mixed / new)
    (mixed / "0.png").write_bytes(png_of(photograph(48, 160)))
    assert outcomes(xai.verify(found, recompute=1, data=mixed, models=[network()])) == ["equal"]


def test_labels_beside_the_pictures_do_not_accuse_a_finding_that_had_none(
    found: Path, pictures: Path, tmp_path: Path
) -> None:
    labelled = tmp_path / "labelled"
    for label in ("class 0", "class 1"):
        (labelled / label).mkdir(parents=True)
    for number, label in ((1, "class 0"), (3, "class 1"), (4, "class 1")):
        shutil.copy(pictures / f"{number}.png", labelled / label)
    assert outcomes(xai.verify(found, recompute=1, data=labelled, models=[network()])) == ["equal"]


def test_a_finding_with_labels_and_groups_comes_out_again(tmp_path: Path) -> None:
    home = tmp_path / "set"
    home.mkdir()
    lines = ["file,label,side"]
    for number in range(24):
        (home / f"{number}.png").write_bytes(png_of(photograph(48, 5 * number)))
        lines.append(f"{number}.png,class {number % 3},{'left' if number % 2 else 'right'}")
    (home / "labels.csv").write_text("\n".join(lines))
    finding = xai.probe(network(), home, "groups", column="side", smallest=5)
    folder = xai.save(finding, tmp_path / "finding")
    assert outcomes(xai.verify(folder, recompute=True, data=home, models=[network()])) == ["equal"]
    bare = tmp_path / "bare"
    bare.mkdir()
    for file in home.glob("*.png"):
        shutil.copy(file, bare)
    assert outcomes(xai.verify(folder, recompute=True, data=bare, models=[network()])) == ["cannot be recomputed"]


def _lie_in_a_sentence(folder: Path) -> Path:
    return resealed(folder, lambda fields: fields["sentences"].__setitem__(0, "Nothing flips."))


def _lie_in_a_table(folder: Path) -> Path:
    said = json.loads((folder / "finding.json").read_text())
    rows = said["tables"]["doses"]["rows"]
    at = next(i for i, cell in enumerate(rows[1]) if isinstance(cell, float))
    rows[1][at] += 0.25
    (folder / "finding.json").write_text(json.dumps(said))
    return resealed(folder)


def _lie_in_a_frame(folder: Path) -> Path:
    return resealed(altered(folder, "frame_02.npy", 0.5))


@pytest.mark.parametrize(
    ("lie", "said"),
    [(_lie_in_a_sentence, "sentences"), (_lie_in_a_table, "table doses"), (_lie_in_a_frame, "frame 2, values")],
)
def test_a_finding_that_lies_is_found(lie: Callable[[Path], Path], said: str, found: Path, pictures: Path) -> None:
    report = xai.verify(lie(found), recompute=1, data=pictures, models=[network()])
    assert outcomes(report) == ["different"]
    assert said in only(report).detail
    assert not report.ok


def test_a_finding_whose_pictures_are_not_here_says_which(found: Path, pictures: Path, tmp_path: Path) -> None:
    report = xai.verify(found, recompute=1, models=[network()])
    assert "3 of its 3 pictures are not here" in only(report).detail
    assert report.unchecked
    assert report.lacking == ("picture",)
    report = xai.verify(found, recompute=1, image=pictures / "1.png", models=[network()])
    assert "2 of its 3 pictures are not here" in only(report).detail


def test_a_finding_that_does_not_hold_all_that_it_was_asked_with_is_not_recomputed(tmp_path: Path) -> None:
    drawn = Finding(
        {"name": "eye_bar"}, "dose", {"name": "small"}, (), ("ab" * 32,), ("The eyes are drawn by hand.",), {}
    )
    assert (
        "the record does not hold the box" in only(xai.verify(xai.save(drawn, tmp_path / "drawn"), recompute=1)).detail
    )
    behind = Finding(
        {"name": "blur"}, "dose", {"name": "small"}, ({"name": "expected_gradients", "background": "pictures"},),
        ("ab" * 32,), ("Said.",), {},
    )  # fmt: skip
    assert "with which pictures" in only(xai.verify(xai.save(behind, tmp_path / "behind"), recompute=1)).detail


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of two with labels, one of which has a mask."""
    home = tmp_path_factory.mktemp("described")
    (home / "labels.csv").write_text("file,label,mask\na.png,class 1,a_mask.png\nb.png,class 0,\n")
    for name, left in (("a", 0), ("b", 60)):
        (home / f"{name}.png").write_bytes(png_of(photograph(48, left)))
    half = np.zeros((48, 48), np.uint8)
    half[:, :24] = 255
    (home / "a_mask.png").write_bytes(png_of(half))
    return home


def loose(described: Path, tmp_path: Path) -> Path:
    """Its pictures alone."""
    home = tmp_path / "loose"
    home.mkdir()
    for name in "ab":
        shutil.copy(described / f"{name}.png", home)
    return home


def test_a_finding_keeps_the_labels_that_it_was_asked_with(described: Path, tmp_path: Path) -> None:
    cases = [dataclasses.replace(case, read_mask=None) for case in read_cases(described).cases]
    folder = xai.save(xai.probe(network(), cases, "brightness", None, steps=2), tmp_path / "finding")
    again = xai.open_record(folder)
    assert isinstance(again, Finding)
    assert again.labels == ("class 1", "class 0")
    assert again.marks == ("", "")
    bare = loose(described, tmp_path)
    assert outcomes(xai.verify(folder, recompute=1, data=bare, models=[network()])) == ["equal"]
    assert outcomes(xai.verify(folder, recompute=1, data=described, models=[network()])) == ["equal"]


def test_a_finding_says_that_its_masks_are_not_here_and_is_not_accused(described: Path, tmp_path: Path) -> None:
    finding = xai.probe(network(), described, "brightness", "grad_cam", steps=2)
    assert [bool(mark) for mark in finding.marks] == [True, False]
    folder = xai.save(finding, tmp_path / "finding")
    assert outcomes(xai.verify(folder, recompute=1, data=described, models=[network()])) == ["equal"]
    report = xai.verify(folder, recompute=1, data=loose(described, tmp_path), models=[network()])
    assert outcomes(report) == ["cannot be recomputed"]
    assert "The masks that marked its pictures are not here" in only(report).detail
    assert report.lacking == ("picture",)


def test_a_finding_keeps_the_box_that_was_drawn(described: Path, tmp_path: Path) -> None:
    bare = loose(described, tmp_path)
    sha256 = hashlib.sha256((bare / "a.png").read_bytes()).hexdigest()
    box = (4.0, 6.5, 40.0, 44.0)
    finding = xai.probe(network(), bare, "eye_bar", None, steps=2, boxes={sha256: box, "0" * 64: (0, 0, 1, 1)})
    assert dict(finding.boxes) == {sha256: box}  # the other is of no picture that was asked about
    folder = xai.save(finding, tmp_path / "finding")
    again = xai.open_record(folder)
    assert isinstance(again, Finding)
    assert dict(again.boxes) == {sha256: box}
    assert outcomes(xai.verify(folder, recompute=1, data=bare, models=[network()])) == ["equal"]
    resealed(folder, lambda fields: fields["boxes"][sha256].__setitem__(1, 20.0))
    assert outcomes(xai.verify(folder, recompute=1, data=bare, models=[network()])) == ["different"]


def test_a_finding_keeps_which_pictures_its_maps_were_compared_with(described: Path, tmp_path: Path) -> None:
    bare, behind = loose(described, tmp_path), [xai.read_image(png_of(photograph(48, left))) for left in (20, 30)]
    method = {"name": "expected_gradients", "background": "pictures"}
    finding = xai.probe(network(), bare, "brightness", method, steps=2, background_images=behind)
    assert finding.background == tuple(one.sha256 for one in behind)
    assert xai.probe(network(), bare, "brightness", "saliency", steps=2, background_images=behind).background == ()
    folder = xai.save(finding, tmp_path / "finding")
    report = xai.verify(folder, recompute=1, data=bare, models=[network()])
    assert outcomes(report) == ["cannot be recomputed"]
    assert behind[0].sha256[:12] in only(report).detail
    for number, left in enumerate((20, 30)):
        (bare / f"behind {number}.png").write_bytes(png_of(photograph(48, left)))
    assert outcomes(xai.verify(folder, recompute=1, data=bare, models=[network()])) == ["equal"]


def test_a_finding_of_other_labels_is_refused(found: Path, pictures: Path) -> None:
    from tests.conftest import SIDE

    renamed = xai.wrap_model(
        seeded(convolutions), labels=["a", "b", "c"], input_size=(3, SIDE, SIDE), mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25), name="small", device="cpu",
    )  # fmt: skip
    report = xai.verify(found, recompute=1, data=pictures, models=[renamed])
    assert "labels of small here are not those of the record" in only(report).detail
    assert report.lacking == ("labels",)


# ---- audits ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """An audit of three pictures by two models; guided backpropagation says nothing about the second."""
    out = tmp_path_factory.mktemp("audit") / "run"
    models = [network(), wrapped(seeded(Transformer), name="transformer")]
    methods = ["saliency", quick("smooth_grad"), "guided_backprop"]
    xai.audit(pictures, models, methods, out=out, weigh="none", seed=2)
    return out


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def asked_again(run: Path, pictures: Path, count: bool | int = True, **more: Any) -> Report:
    models = [network(), wrapped(seeded(Transformer))]
    return xai.verify(run, recompute=count, **{"data": pictures, "models": models, **more})


def test_an_audit_comes_out_again_without_its_store(run: Path, pictures: Path) -> None:
    before = asked_again(run, pictures)
    arrays = sum(1 for _ in run.glob("arrays/*/*.npy"))
    assert outcomes(before) == ["equal"] * (3 * (2 + arrays))
    shutil.rmtree(run / "store")
    (run / "run.json").unlink()
    assert asked_again(run, pictures).recomputed == before.recomputed


def test_some_answers_of_an_audit_are_drawn_controls_last(run: Path, pictures: Path) -> None:
    names = [one.name for seed in range(6) for one in asked_again(run, pictures, 4, seed=seed).recomputed]
    assert len(names) == 24
    assert not [name for name in names if any(f", {control} by" in name for control in ("uniform", "random"))]
    assert len(set(names)) > 8
    assert any(name.startswith("prediction of") for name in names)
    assert any("by transformer" in name for name in names)


def test_an_array_of_an_audit_that_was_altered_and_sealed_anew_is_found(run: Path, pictures: Path) -> None:
    resealed(altered(run, "arrays/small/smooth_grad.npy", 0.3, (1, 4, 4)))
    report = asked_again(run, pictures)
    wrong = [one for one in report.recomputed if one.outcome == "different"]
    assert [one.name for one in wrong] == ["map of 3.png, smooth_grad by small"]
    assert not report.ok


def test_an_array_with_too_few_maps_is_found(run: Path, pictures: Path) -> None:
    np.save(run / "arrays/small/saliency.npy", np.load(run / "arrays/small/saliency.npy")[:2])
    report = asked_again(resealed(run), pictures)
    wrong = [one for one in report.recomputed if one.outcome == "different"]
    assert [one.name for one in wrong] == ["map of 4.png, saliency by small"]
    assert "has 2 maps" in wrong[0].detail


def test_a_map_that_was_blanked_is_found(run: Path, pictures: Path) -> None:
    values = np.load(run / "arrays/small/saliency.npy")
    values[1] = np.nan
    np.save(run / "arrays/small/saliency.npy", values)
    assert asked_again(run, pictures).recomputed == ()
    report = asked_again(resealed(run), pictures)
    wrong = [one for one in report.recomputed if one.outcome != "equal"]
    assert [(one.name, one.outcome) for one in wrong] == [("map of 3.png, saliency by small", "different")]
    assert "now one is made" in wrong[0].detail


def test_a_map_that_could_not_be_made_is_equal_to_none(
    run: Path, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = np.load(run / "arrays/small/saliency.npy")
    values[1] = np.nan
    np.save(run / "arrays/small/saliency.npy", values)
    real = recompute._explain

    def failing(asking: Any, model: Any, image: Any, method: Any, *more: Any) -> Any:
        if image.sha256 == third and method["name"] == "saliency":
            raise UnsupportedError("It gave values that are not finite.")
        return real(asking, model, image, method, *more)

    third = hashlib.sha256((pictures / "3.png").read_bytes()).hexdigest()
    monkeypatch.setattr(recompute, "_explain", failing)
    report = asked_again(resealed(run), pictures)
    small, other = ([one for one in report.recomputed if one.name == f"map of 3.png, saliency by {name}"]
                    for name in ("small", "transformer"))  # fmt: skip
    assert (small[0].outcome, small[0].detail) == (
        "equal", "no map then, and none now: It gave values that are not finite."
    )  # fmt: skip
    assert other[0].outcome == "cannot be recomputed"  # of this one there is a map


@pytest.mark.parametrize("column", ["file", "picture", "label", "model", "predicted", "probabilities"])
def test_tables_of_an_audit_that_no_audit_wrote_are_never_called_equal(column: str, run: Path, pictures: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    table = parquet.read_table(run / "predictions.parquet")
    place, refused = table.schema.names.index(column), list[str]()
    for value in (None, 1, "x", ["a", "b"], [[0.1]], {"a": 1}, ...):
        other = table.remove_column(place)
        if value is not ...:
            other = table.set_column(place, column, pyarrow.array([value] * table.num_rows))
        parquet.write_table(other, run / "predictions.parquet")
        try:
            report = asked_again(resealed(run), pictures, 48)
        except RecordError as error:
            refused.append(str(error))
        else:
            read = (column, value) in (("label", None), ("label", "x"), ("file", "x"))  # of which no answer is made
            assert (report.unchecked or not report.ok) != read
    assert len(refused) >= (0 if column == "probabilities" else 5)
    sentences = ("predictions.parquet of run is not written as an audit writes it.", "does not describe an audit.")
    assert all(one.endswith(sentences) for one in refused)


def test_labels_that_only_the_record_says_are_not_called_checked(tmp_path: Path, png: bytes) -> None:
    """Swapped names of classes, sealed anew, come out again: nothing but a file of labels can find them."""
    names, file = ["healthy", "cancer", *(f"kind {number}" for number in range(8))], tmp_path / "labels.txt"
    file.write_text("\n".join(names))
    model, image = tiny(labels=names), xai.read_image(png)
    folder = xai.save(xai.explain(model, image, "saliency", 0), tmp_path / "record", xai.predict(model, image))
    report = xai.verify(folder, recompute=True, image=png)
    assert outcomes(report) == ["equal", "equal"]
    assert all("held against no file of labels" in one.detail for one in report.recomputed)
    checked = xai.verify(folder, recompute=True, image=png, labels=file)
    assert outcomes(checked) == ["equal", "equal"]
    assert not [one for one in checked.recomputed if "file of labels" in one.detail]

    def swap(fields: dict[str, Any]) -> None:
        swapped = ["cancer", "healthy", *names[2:]]
        fields["prediction"]["labels"] = swapped
        for one in (fields["model"], fields["prediction"]["model"]):
            one["labels_sha256"] = hashlib.sha256("\n".join(swapped).encode()).hexdigest()
        fields["explanations"][0]["target"]["label"] = "cancer"

    resealed(folder, swap)
    report = xai.verify(folder, recompute=True, image=png)
    assert all("held against no file of labels" in one.detail for one in report.recomputed)
    assert set(outcomes(xai.verify(folder, recompute=True, image=png, labels=file))) == {"different"}


@pytest.mark.parametrize(("column", "lie"), [("probabilities", [0.1, 0.2, 0.7]), ("predicted", "class 7")])
def test_a_prediction_of_an_audit_that_lies_is_found(column: str, lie: Any, run: Path, pictures: Path) -> None:
    from pyarrow import Table as Arrow
    from pyarrow import parquet

    table = parquet.read_table(run / "predictions.parquet")
    lines = table.to_pylist()
    lines[2][column] = lie
    parquet.write_table(Arrow.from_pylist(lines, table.schema), run / "predictions.parquet", row_group_size=2)
    report = asked_again(resealed(run), pictures)
    wrong = [one.name for one in report.recomputed if one.outcome == "different"]
    assert wrong == ["prediction of 3.png by small"]


def test_an_audit_of_the_true_class_comes_out_again(tmp_path: Path) -> None:
    for number, label in enumerate(("class 0", "class 1", "class 2")):
        (tmp_path / "set" / label).mkdir(parents=True)
        (tmp_path / "set" / label / f"{number}.png").write_bytes(png_of(photograph(48, 40 * number)))
    for target in ("true", "class 1"):
        out = tmp_path / target
        xai.audit(tmp_path / "set", [network()], ["saliency"], out=out, weigh="none", target=target, controls=False)
        report = xai.verify(out, recompute=True, data=tmp_path / "set", models=[network()])
        assert outcomes(report) == ["equal"] * 6, str(report)


def test_pictures_that_an_audit_compared_with_are_found(tmp_path: Path, pictures: Path) -> None:
    behind = [xai.read_image(pictures / f"{number}.png") for number in (1, 3)]
    method = {"name": "expected_gradients", "samples": 8, "background": "pictures"}
    out = tmp_path / "run"
    xai.audit(pictures, [network()], [method], out=out, weigh="none", controls=False, background_images=behind)
    assert set(outcomes(asked_again(out, pictures))) == {"equal"}
    (out / "run.json").unlink()
    report = asked_again(out, pictures)
    assert report.unchecked
    assert report.ok
    assert "does not say any more with which pictures" in str(report)


# ---- what is asked, and how ------------------------------------------------------------------------------------------


def test_nothing_is_written_whatever_happens(saved: Path, png: bytes) -> None:
    def state() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in saved.parent.rglob("*") if path.is_file()}

    before, cancel = state(), threading.Event()
    told: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        told.append((done, total))
        if done >= 1000:
            cancel.set()

    with pytest.raises(Cancelled):
        again(saved, png, progress=progress, cancel=cancel)
    assert told
    assert state() == before
    again(saved, png)
    assert state() == before


def test_progress_never_goes_back_and_ends_at_the_end(saved: Path, png: bytes) -> None:
    told: list[tuple[int, int]] = []
    again(saved, png, progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (3000, 3000)


def test_numbers_that_cannot_be_asked_are_refused(saved: Path) -> None:
    with pytest.raises(SettingError, match="-1 answers"):
        xai.verify(saved, recompute=-1)
    with pytest.raises(SettingError, match="Seed 4294967296"):
        xai.verify(saved, recompute=1, seed=2**32)
    with pytest.raises(RecordError, match="There is no folder"):
        xai.verify(saved / "none", recompute=1)


def test_without_recomputing_no_network_library_is_loaded(saved: Path) -> None:
    code = f"import sys, xai_core as xai; assert xai.verify({str(saved)!r}).ok; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields["explanations"][0].__setitem__("seed", "7"),
        lambda fields: fields["explanations"][0].__setitem__("background", [["x"]]),
        lambda fields: fields["explanations"][0]["target"].__setitem__("index", "1"),
        lambda fields: fields["explanations"][0].__setitem__("method", {}),
        lambda fields: fields["explanations"][0].__setitem__("method", {"name": "no_method"}),
        lambda fields: fields["explanations"][0]["method"].__setitem__("layer", "no.layer"),
        lambda fields: fields.__setitem__("made_with", []),
    ],
)
def test_what_no_record_says_is_no_crash(change: Any, saved: Path, png: bytes) -> None:
    try:
        report = again(resealed(saved, change), png)
    except RecordError:
        return
    assert outcomes(report)[1] in ("cannot be recomputed", "equal", "equal within tolerance")


# ---- sameness --------------------------------------------------------------------------------------------------------


def of(saved: Any, now: Any, *changed: str) -> str:
    return judged("it", {"values": Pair(np.array(saved, np.float32), np.array(now, np.float32))}, changed).outcome


def test_equal_is_to_the_byte_where_nothing_has_changed() -> None:
    assert of([1.0, 2.0], [1.0, 2.0]) == "equal"
    assert of([1.0, 2.0], [1.0, np.nextafter(np.float32(2), np.float32(3))]) == "different"
    assert of([0.0], [-0.0]) == "different"
    assert of([0.0], [-0.0], "torch") == "equal within tolerance"


def test_the_tolerance_is_of_the_largest_value() -> None:
    assert of([0.0, 100.0], [0.09, 100.0], "torch") == "equal within tolerance"
    assert of([0.0, 100.0], [0.11, 100.0], "torch") == "different"
    assert of([0.0, -100.0], [0.11, -100.0], "torch") == "different"
    assert of([0.0, 0.0], [0.0, 1e-9], "torch") == "different"


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_no_number_is_different(bad: float) -> None:
    assert of([bad, 1.0], [0.0, 1.0], "torch") == "different"
    assert of([1.0, 2.0], [1.0], "torch") == "different"


def test_pixels_may_differ_by_one_level_where_something_has_changed() -> None:
    pair = Pair(np.array([10, 255], np.uint8), np.array([11, 254], np.uint8), 1)
    assert judged("it", {"pixels": pair}, ["pillow"]).outcome == "equal within tolerance"
    assert judged("it", {"pixels": pair}, []).outcome == "different"
    pair = Pair(np.array([10], np.uint8), np.array([12], np.uint8), 1)
    assert judged("it", {"pixels": pair}, ["pillow"]).outcome == "different"


def test_what_else_differs_is_never_within_a_tolerance() -> None:
    assert judged("it", {}, ["torch"], ["its grid is another"]).outcome == "different"


def made(**parts: Any) -> dict[str, Any]:
    from xai_core.provenance import made_with

    here = made_with()
    return {
        **here,
        **{key: {**here[key], **value} if isinstance(value, dict) else value for key, value in parts.items()},
    }


def test_what_computes_otherwise_is_named() -> None:
    assert changed_since(made(), "cpu", "cpu") == ()
    assert changed_since(made(), "cuda:1", "cpu") == ("device cuda there, cpu here",)
    assert changed_since(made(packages={"torch": "1.0"}), "cpu", "cpu")[0].startswith("torch 1.0 there, ")
    assert changed_since(made(determinism={"threads": 63}), "cpu", "cpu")[0].startswith("threads 63 there, ")
    assert changed_since(made(determinism={"cudnn_benchmark": "?"}), "cpu", "cpu") == ()
    assert changed_since(made(determinism={"gpu": "?"}), "cpu", "cpu") == ()
    assert changed_since(made(determinism={"processor": "?"}), "cpu", "cpu")[0].startswith("processor ? there, ")
    assert changed_since(made(packages={"streamlit": "0.1"}, commit="f" * 40), "cpu", "cpu") == ()
    assert changed_since(made(platform="Linux 9.9 sparc"), "cpu", "cpu")[0].startswith("system Linux sparc there, ")
    assert any("threads not recorded there" in one for one in changed_since({}, "cpu", "cpu"))
    assert "the sums of a GPU have no fixed order" in changed_since(made(), "cuda", "cuda")


def finding(value: Any, sentence: str = "It moves by 0.5 points.") -> Finding:
    rows = ((1, "left", value), (2, "right", 10.0))
    table = Table("Numbers", {"n": "Number", "side": "Side", "value": "Value"}, rows)
    return Finding({"name": "blur"}, "dose", {"name": "m"}, (), (), (sentence,), {"numbers": table})


def test_tables_are_compared_column_by_column() -> None:
    def outcome(one: Finding, other: Finding, *changed: str) -> str:
        return same_finding("it", one, other, changed).outcome

    assert outcome(finding(5.0), finding(5.0)) == "equal"
    assert outcome(finding(5.0), finding(5.001)) == "different"
    assert outcome(finding(5.0), finding(5.001), "torch") == "equal within tolerance"
    assert outcome(finding(5.0), finding(5.1), "torch") == "different"
    assert outcome(finding(5.0), finding(None), "torch") == "different"
    assert outcome(finding(5.0), finding("5.0"), "torch") == "different"
    assert outcome(finding(True), finding(1), "torch") == "different"
    assert outcome(finding("at 3"), finding("at 4")) == "different"


def test_sentences_may_round_otherwise_only_where_something_has_changed() -> None:
    one, other = finding(5.0), finding(5.0, "It moves by 0.6 points.")
    assert same_finding("it", one, other, []).outcome == "different"
    assert same_finding("it", one, other, ["torch"]).outcome == "equal"
    assert same_finding("it", one, finding(5.0, "It does not move."), ["torch"]).outcome == "different"
