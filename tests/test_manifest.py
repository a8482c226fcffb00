"""A record comes back as it went, any change is found, and a save is whole or not at all."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage

from xai_core import figures, manifest, provenance, seal, store, verification
from xai_core.errors import PictureError, RecordError, SettingError
from xai_core.methods import METHODS
from xai_core.records import Check, Evidence, Explanation, Passes, Prediction, Record, Sheet, Table, Target
from xai_core.registry import settings as settings_of

ROOT = Path(manifest.__file__).parent.parent
MODEL = {"name": "demo-xray", "weights_sha256": "0123456789abcdef" * 4, "device": "cpu", "classes": 3}
LABELS = ("no finding", "Bruch — 骨折", "$x_1$ <b>")
IMAGE = "ab" * 32
PIXELS = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
PREDICTION = Prediction(LABELS, np.array([0.1, 2.5, -1e-20], np.float32), MODEL, IMAGE)


def explanation(seed: int = 0, **changes: Any) -> Explanation:
    fields: dict[str, Any] = {
        "values": np.random.default_rng(seed).normal(size=(16, 16)).astype(np.float32),
        "pixels": PIXELS,
        "method": {"name": "grad_cam", "layer": "auto", "relu": True, "alpha": 0.1},
        "model": MODEL,
        "target": Target(1, LABELS[1]),
        "image": IMAGE,
        "seed": seed,
        "seconds": 0.1 + 0.2,
        "passes": Passes(3, 1),
        "grid": (7, 7),
        "gap": 0.012,
        "notes": ("One. ", "Zwei: “ß”."),
    }
    return Explanation(**{**fields, **changes})


def record(**changes: Any) -> Record:
    several = (
        explanation(0),
        explanation(1, method={"name": "lime"}, target=Target(0, LABELS[0], "contrast", 2), gap=None),
        explanation(2, values=np.zeros((16, 16), np.float32), target=Target(2, LABELS[2], "probability"), notes=()),
    )
    fields: dict[str, Any] = {
        "explanations": several,
        "predictions": (PREDICTION,),
        "picture": {"format": "PNG", "bits": 8, "assumed": ["grey was taken as RGB"]},
        "display": {"colour_map": "viridis", "opacity": 0.4, "clip": 99.0, "shared_scale": True},
        "note": "Seen\nby two.",
    }
    return Record(**{**fields, **changes})


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One saved record that no test changes."""
    return manifest.save(record(), tmp_path_factory.mktemp("kept") / "three")


@pytest.fixture(scope="module")
def kept_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A record of one explanation, that no test changes."""
    return manifest.save(explanation(), tmp_path_factory.mktemp("kept") / "one")


@pytest.fixture
def drawn_small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are not what is tested here."""
    for name in ("panels", "sheet"):
        monkeypatch.setattr(manifest.figures, name, lambda *args, **looks: np.zeros((2, 2, 3), np.uint8))


@pytest.fixture
def saved(kept: Path, tmp_path: Path) -> Path:
    """A copy for breaking."""
    return Path(shutil.copytree(kept, tmp_path / "copy"))


@pytest.fixture
def one(kept_one: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept_one, tmp_path / "one"))


def contents(e: Explanation) -> dict[str, Any]:
    """Every field in a form that `==` compares exactly."""
    fields = {field.name: getattr(e, field.name) for field in dataclasses.fields(e)}
    fields |= {name: (fields[name].dtype, fields[name].shape, fields[name].tobytes()) for name in ("values", "pixels")}
    return {key: dict(value) if isinstance(value, Mapping) else value for key, value in fields.items()}


def wrong(folder: Path) -> dict[str, str]:
    """Every file that is not intact, with its status."""
    report = manifest.verify(folder)
    found = {file.name: file.status for file in report.files if file.status != "intact"}
    assert report.ok == (not found)
    assert all(name in str(report) for name in found)
    return found


def reseal(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Forge a manifest that matches its own hash."""
    fields = json.loads((folder / "manifest.json").read_bytes())
    change(fields)
    (folder / "manifest.json").write_bytes(seal.sealed(fields))


# there and back ---------------------------------------------------------------------------------------------------


def test_a_record_comes_back_equal(kept: Path) -> None:
    before, after = record(), manifest.open_record(kept)
    for mine, theirs in zip(before.explanations, after.explanations, strict=True):
        assert contents(mine) == contents(theirs)
    assert after.prediction is not None
    assert after.prediction.labels == LABELS
    assert after.prediction.logits.tobytes() == PREDICTION.logits.tobytes()
    assert dict(after.prediction.model) == MODEL
    assert after.prediction.image == IMAGE
    assert (after.picture, after.display, after.note) == (before.picture, before.display, before.note)


def test_a_reopened_record_carries_its_manifest(kept: Path) -> None:
    fields = manifest.open_record(kept).manifest
    assert fields["schema"] == 2
    assert fields["kind"] == "explanation"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", fields["created"])
    assert fields["made_with"]["app"] == manifest.VERSION
    assert fields["made_with"]["packages"]["numpy"] == np.__version__
    assert fields["explanations"][2]["flat"].startswith("Flat map")


def test_one_explanation_or_several_are_saved_as_they_are(tmp_path: Path) -> None:
    manifest.save(explanation(), tmp_path / "one")
    manifest.save([explanation(0), explanation(1)], tmp_path / "two", PREDICTION)
    assert manifest.open_record(tmp_path / "one").prediction is None
    assert len(manifest.open_record(tmp_path / "two").explanations) == 2
    stem = "01_grad_cam"
    expected = {"manifest.json", "seen.png", *(f"{stem}.{end}" for end in ("npy", "heatmap.png", "overlay.png"))}
    assert {path.name for path in (tmp_path / "one").iterdir()} == expected | {f"{stem}.figure.png"}
    assert (tmp_path / "two" / "sheet.png").exists()


@pytest.mark.usefixtures("drawn_small")
def test_a_reopened_record_can_be_saved_again_as_another_one(kept: Path, tmp_path: Path) -> None:
    again = manifest.save(manifest.open_record(kept), tmp_path / "again")
    assert manifest.verify(again).ok
    assert manifest.open_record(again).manifest["id"] != manifest.open_record(kept).manifest["id"]


def test_the_same_record_gives_the_same_bytes_but_for_its_id_and_time(kept: Path, tmp_path: Path) -> None:
    again = manifest.save(record(), tmp_path / "again")
    for path in kept.iterdir():
        if path.name != "manifest.json":
            assert path.read_bytes() == (again / path.name).read_bytes(), path.name
    first, second = (json.loads((folder / "manifest.json").read_bytes()) for folder in (kept, again))
    assert {key for key in first if first[key] != second[key]} == {"id", "created", "sha256"}


@pytest.mark.usefixtures("drawn_small")
def test_pictures_are_drawn_as_the_record_was_looked_at(tmp_path: Path) -> None:
    weak, strong = explanation(0), explanation(0, values=4 * explanation(0).values)
    looks: dict[str, Any] = {"colour_map": "PuOr_r", "clip": 100, "opacity": 0.25}
    for shared in (False, True):
        several = Record((weak, strong), display={**looks, "shared_scale": shared})
        folder = manifest.save(several, tmp_path / str(shared))
        for number, e in enumerate((weak, strong), 1):
            scale = figures.scale_of([weak.values, strong.values] if shared else [e.values], 100)
            heat = figures.png(figures.heatmap(e.values, scale, "PuOr_r"))
            over = figures.png(figures.overlay(PIXELS, e.values, scale, "PuOr_r", 0.25))
            assert (folder / f"0{number}_grad_cam.heatmap.png").read_bytes() == heat
            assert (folder / f"0{number}_grad_cam.overlay.png").read_bytes() == over


@pytest.mark.usefixtures("drawn_small")
def test_the_name_of_the_upload_is_never_written(tmp_path: Path) -> None:
    named = record(picture={"name": "Mustermann_Erika.png", "filename": "Mustermann", "format": "PNG"})
    folder = manifest.save(named, tmp_path / "out")
    assert not any(b"Mustermann" in path.read_bytes() for path in folder.iterdir())
    assert manifest.open_record(folder).picture == {"format": "PNG"}


def test_numbers_of_numpy_are_saved_as_numbers(tmp_path: Path) -> None:
    odd = explanation(method={"name": "a", "n": np.int64(3), "x": np.float32(0.5), "size": (1, 2)})
    assert manifest.open_record(manifest.save(odd, tmp_path / "out")).explanations[0].method == {
        "name": "a", "n": 3, "x": 0.5, "size": [1, 2],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["Grad-CAM++ ../../x", "", "é$", "A" * 300])
def test_a_method_of_any_name_makes_plain_file_names(name: str, tmp_path: Path) -> None:
    folder = manifest.save(explanation(method={"name": name}), tmp_path / "out")
    assert manifest.verify(folder).ok
    assert manifest.open_record(folder).explanations[0].method["name"] == name


def test_explanations_of_different_pixels_or_another_picture_are_not_one_record(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="different pixels"):
        manifest.save([explanation(), explanation(pixels=255 - PIXELS)], tmp_path / "out")
    with pytest.raises(ValueError, match="of one picture"):
        manifest.save(explanation(image="cd" * 32), tmp_path / "out", PREDICTION)
    assert list(tmp_path.iterdir()) == []


CHECKS = (
    Check("flow", True, "The layer reaches the target.", 0.5, 0.1),
    Check("seeds", None, "This method has no chance in it."),
    Check("placement", False, "Elsewhere it scores as well — “ß”.", 0.4),
)


@pytest.mark.usefixtures("drawn_small")
def test_verdicts_come_back_with_their_checks_and_where_there_are_none(tmp_path: Path) -> None:
    found = (Evidence("weak", CHECKS, 3, Passes(40, 2)), None, Evidence("supported", ()))
    again = manifest.open_record(manifest.save(record(evidence=found, reviewer="Dr. Ä <b>"), tmp_path / "out"))
    assert again.evidence == found
    assert again.reviewer == "Dr. Ä <b>"
    [entry] = manifest.list_records(tmp_path)
    assert (entry.verdicts, entry.reviewer) == (("weak", "supported"), "Dr. Ä <b>")
    none = manifest.open_record(manifest.save(record(evidence=(None, None, None)), tmp_path / "none"))
    assert none.evidence == ()
    with pytest.raises(ValueError, match="2 verdicts for 3 explanations"):
        record(evidence=found[:2])


@pytest.mark.usefixtures("drawn_small")
@pytest.mark.parametrize(
    "odd",
    [
        {"verdict": "certain"}, {"verdict": None}, {"checks": None}, {"checks": [{"name": "x"}]}, {"seed": None},
        {"checks": [{"name": "x", "passed": True, "sentence": 3}]}, {"passes": {"sideways": 1}},
    ],
)  # fmt: skip
def test_a_verdict_that_nobody_gave_is_refused_although_its_hash_is_right(odd: dict[str, Any], tmp_path: Path) -> None:
    folder = manifest.save(record(evidence=(Evidence("weak", CHECKS), None, None)), tmp_path / "out")
    reseal(folder, lambda fields: fields["explanations"][0]["evidence_found"].update(odd))
    with pytest.raises(RecordError, match="does not describe a record"):
        manifest.open_record(folder)


def uploaded(form: str) -> bytes:
    if form == "DICOM":
        return bytes(128) + b"DICM" + bytes(60)
    out = io.BytesIO()
    PillowImage.fromarray(PIXELS).save(out, form)
    return out.getvalue()


@pytest.mark.usefixtures("drawn_small")
@pytest.mark.parametrize(
    ("form", "ending"),
    [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp"), ("TIFF", "tif"), ("BMP", "bmp"), ("DICOM", "dcm")],
)
def test_the_picture_travels_only_where_it_was_chosen_and_is_called_by_what_it_is(
    form: str, ending: str, tmp_path: Path
) -> None:
    upload = uploaded(form)
    seen = explanation(image=hashlib.sha256(upload).hexdigest())
    folder = manifest.save(Record((seen,), upload=upload), tmp_path / "with")
    assert (folder / f"picture.{ending}").read_bytes() == upload
    again = manifest.open_record(folder)
    assert again.upload == upload
    assert again.manifest["picture"] == {"sha256": seen.image, "source": {}, "file": f"picture.{ending}"}
    assert wrong(folder) == {}
    with zipfile.ZipFile(io.BytesIO(manifest.zip_record(folder))) as archive:
        assert sum(name.endswith(f"/picture.{ending}") for name in archive.namelist()) == 1
    (folder / f"picture.{ending}").write_bytes(upload[:-1] + b"?")
    assert wrong(folder) == {f"picture.{ending}": "changed"}
    with pytest.raises(RecordError, match=rf"picture\.{ending} is changed"):
        manifest.open_record(folder)
    without = manifest.save(Record((seen,)), tmp_path / "without")
    assert not list(without.glob("picture*"))
    assert manifest.open_record(without).upload is None


@pytest.mark.usefixtures("drawn_small")
def test_another_picture_never_travels(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not the picture that was explained"):
        record(upload=uploaded("PNG"))
    later = hashlib.sha256(f"{hashlib.sha256(uploaded('TIFF')).hexdigest()} frame 2".encode()).hexdigest()
    facts = {"frame": 2, "file_sha256": hashlib.sha256(uploaded("TIFF")).hexdigest()}
    kept = Record((explanation(image=later),), picture=facts, upload=uploaded("TIFF"))
    folder = manifest.save(kept, tmp_path / "frame")
    assert manifest.open_record(folder).upload == uploaded("TIFF")
    assert manifest.list_records(tmp_path)[0].picture == f"{later} {facts['file_sha256']}"
    reseal(folder, lambda fields: fields["picture"]["source"].pop("file_sha256"))
    with pytest.raises(RecordError, match="does not describe a record"):
        manifest.open_record(folder)


@pytest.mark.usefixtures("drawn_small")
def test_what_is_no_picture_never_travels(tmp_path: Path) -> None:
    script = b"#!/bin/sh\nrm -rf ."
    odd = Record((explanation(image=hashlib.sha256(script).hexdigest()),), upload=script)
    with pytest.raises(PictureError, match=r"The picture to be kept is .*, not one that this program reads"):
        manifest.save(odd, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("drawn_small")
def test_a_name_is_written_only_where_it_was_chosen(tmp_path: Path) -> None:
    folder = manifest.save(record(name="fall 7 <b>.png"), tmp_path / "out")
    assert manifest.open_record(folder).name == "fall 7 <b>.png"
    assert manifest.open_record(folder).picture == record().picture
    assert "name" not in manifest.open_record(manifest.save(record(), tmp_path / "none")).manifest["picture"]
    with pytest.raises(RecordError, match="half a character"):
        manifest.save(record(name=os.fsdecode(b"f\xff.png")), tmp_path / "half")


@pytest.mark.usefixtures("drawn_small")
def test_a_record_says_how_determined_torch_was(tmp_path: Path) -> None:
    import torch

    before = torch.backends.cudnn.benchmark
    try:
        for told in (not before, before):  # as it stands at each saving
            torch.backends.cudnn.benchmark = told
            folder = manifest.save(explanation(), tmp_path / str(told))
            made = manifest.open_record(folder).manifest["made_with"]["determinism"]
            assert made["cudnn_benchmark"] is told
    finally:
        torch.backends.cudnn.benchmark = before
    assert made["threads"] == torch.get_num_threads()
    assert made["deterministic_algorithms"] is torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("name", list(METHODS))
def test_every_method_is_built_again_from_its_record(name: str, tmp_path: Path) -> None:
    """Also with settings that are not the first ones."""
    first = METHODS.build(name)
    other = METHODS.build({"name": name, **{
        field.name: field.metadata["choices"][-1] if field.metadata["choices"] else field.metadata["low"]
        for field in settings_of(METHODS[name])
        if field.metadata["choices"] or field.metadata["low"] is not None
    }})  # fmt: skip
    for number, method in enumerate((first, other)):
        saved = seal.sealed({"method": manifest._plain(method.to_dict())})
        assert METHODS.build(json.loads(saved)["method"]) == method, number


# refusing and failing ---------------------------------------------------------------------------------------------


def test_a_place_that_is_taken_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    full, file, link = tmp_path / "full", tmp_path / "file", tmp_path / "link"
    full.mkdir()
    (full / "mine").write_text("mine")
    file.write_text("mine")
    (tmp_path / "empty").mkdir()
    link.symlink_to(tmp_path / "empty")
    for place in (full, file, link, tmp_path / "no" / "parent", file / "below"):
        with pytest.raises(RecordError, match=place.name):
            manifest.save(explanation(), place)
    assert (full / "mine").read_text() == file.read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"full", "file", "link", "empty"}


def test_an_empty_folder_is_a_fine_place(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert manifest.verify(manifest.save(explanation(), tmp_path / "out")).ok


def test_a_display_that_is_not_on_offer_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(SettingError):
        manifest.save(record(display={"colour_map": "jet"}), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("drawn_small")
def test_numbers_that_are_not_finite_are_refused_and_leave_nothing_behind(tmp_path: Path) -> None:
    for odd in (explanation(gap=float("inf")), explanation(method={"name": "a", "b": float("nan")})):
        with pytest.raises(RecordError, match="not finite"):
            manifest.save(odd, tmp_path / "out")
    with pytest.raises(TypeError):
        manifest.save(explanation(method={"name": "a", "b": {1: 2}}), tmp_path / "out")
    with pytest.raises(TypeError):
        manifest.save(explanation(method={"name": "a", "b": Path("x")}), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


OPERATIONS = ("mkdir", "open", "write", "fsync", "close", "rename")


class Faulty:
    """Counts the calls of the operating system that a save makes, and spoils one of them or all from one on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, error: BaseException, lasting: bool = False) -> None:
        self.count, self.at, self.error, self.lasting = 0, at, error, lasting
        for name in OPERATIONS:
            monkeypatch.setattr(os, name, self.spoiled(name, getattr(os, name)))

    def spoiled(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            self.count += 1
            # On a full disk one can still open what is there, close and remove.
            full = self.lasting and self.count > self.at and name in ("mkdir", "write", "fsync")
            if name == "close":
                real(*args, **options)
            if self.count == self.at or full:
                raise self.error
            return None if name == "close" else real(*args, **options)

        return call


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, kept_one: Path) -> None:
    """Drawing is not what is tested here: hand `save` the files of the record that is there."""
    files = [(path.name, path.read_bytes()) for path in sorted(kept_one.iterdir()) if path.name != "manifest.json"]
    monkeypatch.setattr(manifest, "_files", lambda record: iter(files))


def operations_of_a_save(folder: Path) -> int:
    with pytest.MonkeyPatch.context() as patch:
        counted = Faulty(patch, -1, OSError())
        manifest.save(explanation(), folder)
    return counted.count


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("lasting", [False, True])
@pytest.mark.parametrize("was_there", [False, True])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_at_any_operation_leaves_nothing(
    error: BaseException, was_there: bool, lasting: bool, tmp_path: Path
) -> None:
    total = operations_of_a_save(tmp_path / "first")
    assert total > 25
    for at in range(1, total):  # the last one only tells those who wait that the record is there
        home = tmp_path / f"at{at}"
        home.mkdir()
        if was_there:
            (home / "out").mkdir()
        with pytest.MonkeyPatch.context() as patch:
            Faulty(patch, at, error, lasting)
            with pytest.raises(RecordError if isinstance(error, OSError) else type(error)):
                manifest.save(explanation(), home / "out")
        left = {str(path.relative_to(home)) for path in home.rglob("*")}
        # A disk without room for the name of a folder may have lost the empty one that was there.
        assert left == ({"out"} if was_there else set()) or (lasting and was_there and not left), (at, left)
        assert manifest.verify(manifest.save(explanation(), home / "out")).ok  # it finishes once there is room


@pytest.mark.usefixtures("quick")
def test_a_full_disk_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Faulty(monkeypatch, 5, OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(RecordError, match=r"save as out: No space left on device\. Nothing was written; free some"):
        manifest.save(explanation(), tmp_path / "out")


@pytest.mark.usefixtures("quick")
def test_a_disk_that_takes_a_byte_at_a_time_gets_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[: 1 + len(data) // 2]))
    assert manifest.verify(manifest.save(explanation(), tmp_path / "out")).ok


@pytest.mark.usefixtures("quick")
def test_a_place_taken_while_saving_is_left_to_who_took_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.rename

    def late(source: Path, target: Path) -> None:
        os.mkdir(target)
        (target / "theirs").write_text("theirs")
        real(source, target)

    monkeypatch.setattr(os, "rename", late)
    with pytest.raises(RecordError, match="choose another name"):
        manifest.save(explanation(), tmp_path / "out")
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["out", "out/theirs"]


@pytest.mark.usefixtures("quick")
def test_a_place_taken_while_a_save_fails_is_left_to_who_took_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.mkdir

    def full(path: Path, *rest: Any) -> None:
        real(tmp_path / "out")
        (tmp_path / "out" / "manifest.json").write_text("theirs")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(RecordError, match="free some space"):
        manifest.save(explanation(), tmp_path / "out")
    assert (tmp_path / "out" / "manifest.json").read_text() == "theirs"


@pytest.mark.usefixtures("quick")
def test_everything_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[int, str] = {}
    done: list[tuple[str, str]] = []
    real = {name: getattr(os, name) for name in OPERATIONS}

    def opened(path: Any, *rest: Any) -> int:
        handle = int(real["open"](path, *rest))
        names[handle] = Path(path).name
        return handle

    def noted(name: str) -> Callable[[int], None]:
        return lambda handle: (done.append((name, names[handle])), real[name](handle))[1]  # type: ignore[func-returns-value]

    monkeypatch.setattr(os, "open", opened)
    monkeypatch.setattr(os, "fsync", noted("fsync"))
    monkeypatch.setattr(os, "rename", lambda a, b: (done.append(("rename", Path(a).name)), real["rename"](a, b))[1])
    folder = manifest.save(explanation(), tmp_path / "out")
    files = {path.name for path in folder.iterdir()} - {"manifest.json"}
    draft = done[-2][1]
    assert draft.startswith(".draft-")
    assert {name for what, name in done[: len(files)] if what == "fsync"} == files
    last = [("fsync", "manifest.json"), ("fsync", draft), ("rename", draft), ("fsync", tmp_path.name)]
    assert done[len(files) :] == last


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.test_manifest import OPERATIONS, explanation
from xai_core import manifest
from xai_core.provenance import made_with

source, home, total = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
files = [(path.name, path.read_bytes()) for path in sorted(source.iterdir()) if path.name != "manifest.json"]
manifest._files = lambda record: iter(files)
made_with()  # so that what is imported on the way is not counted
for at in range(1, total + 2):
    (home / f"at{at}").mkdir()
    child = os.fork()
    if child == 0:
        count = 0
        def deadly(real):
            def call(*args, **options):
                global count
                count += 1
                if count == at:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*args, **options)
            return call
        for name in OPERATIONS:
            setattr(os, name, deadly(getattr(os, name)))
        manifest.save(explanation(), home / f"at{at}" / "out")
        os._exit(0)
    os.waitpid(child, 0)
"""


@pytest.mark.usefixtures("quick")
def test_a_kill_at_any_operation_leaves_a_whole_record_or_none(kept_one: Path, tmp_path: Path) -> None:
    total = operations_of_a_save(tmp_path / "first")
    home = tmp_path / "home"
    home.mkdir()
    words = [sys.executable, "-c", KILLED, str(kept_one), str(home), str(total)]
    subprocess.run(words, check=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300)
    drafts, whole = list(home.glob("*/.draft-*")), list(home.glob("*/out"))
    assert len(drafts) > 20
    assert home / f"at{total + 1}" / "out" in whole  # which nobody killed
    assert 2 <= len(whole) <= 6  # and those killed after the rename
    assert all(manifest.verify(path).ok for path in whole)
    listed = [entry.folder for place in home.iterdir() for entry in manifest.list_records(place)]
    assert sorted(listed) == sorted(whole)
    again = manifest.save(explanation(), home / "at5" / "out")  # a lock dies with who held it
    assert manifest.open_record(again).manifest["chain"] == {"sequence": 1, "predecessor": None}


@pytest.mark.usefixtures("quick")
def test_old_drafts_of_killed_processes_are_swept_and_nothing_else(tmp_path: Path) -> None:
    old, young = tmp_path / f".draft-{'a' * 32}", tmp_path / f".draft-{'b' * 32}"
    mine, link, target = tmp_path / ".draft-mine", tmp_path / f".draft-{'c' * 32}", tmp_path / "target"
    for folder in (old, young, mine, target):
        folder.mkdir()
        (folder / "file").write_text("x")
    link.symlink_to(target)
    for folder in (old, mine, target):
        os.utime(folder, (time.time() - 1e6,) * 2)
    manifest.save(explanation(), tmp_path / "out")
    assert not old.exists()
    assert all((folder / "file").exists() for folder in (young, mine, target, link))


# finding changes --------------------------------------------------------------------------------------------------


def test_an_untouched_record_is_intact(kept: Path) -> None:
    report = manifest.verify(kept)
    assert report.ok
    assert len(report.files) == len(list(kept.iterdir())) == 3 * 4 + 3
    assert "unsigned" in str(report)


def spoiled(content: bytes) -> Iterator[bytes]:
    """Every content with one byte changed, and every beginning of it."""
    for place in range(len(content)):
        yield content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
        yield content[:place]


@pytest.mark.usefixtures("drawn_small")
def test_every_changed_byte_and_every_truncation_of_any_file_is_found_and_named(tmp_path: Path) -> None:
    """All of them, with figures drawn small: damage is asked for without the walk of `verify` around it."""
    upload = uploaded("PNG")
    seen = explanation(
        image=hashlib.sha256(upload).hexdigest(), pixels=PIXELS[:2, :2], values=np.ones((2, 2), np.float32)
    )
    folder = manifest.save(Record((seen,), upload=upload), tmp_path / "out")
    assert {path.name.split(".", 1)[1] for path in folder.iterdir()} == {
        "png", "npy", "heatmap.png", "overlay.png", "figure.png", "json",
    }  # fmt: skip
    for entry in seal.listing(verification.read_manifest(folder)):
        content = (folder / entry.name).read_bytes()
        for number, other in enumerate(spoiled(content)):
            (folder / entry.name).write_bytes(other)
            with pytest.raises(seal.Damage) as damage:
                list(verification.pieces(folder, entry))
            assert damage.value.status == "changed"
            if number % 97 == 0:
                assert wrong(folder) == {entry.name: "changed"}
        (folder / entry.name).write_bytes(content)
    assert wrong(folder) == {}


def test_every_changed_byte_and_every_truncation_of_a_sheet_is_named_by_verify(tmp_path: Path) -> None:
    """The same through `verify` alone: JSON and CSV wholly, of the manifest, which has a test of its own, a part."""
    table = Table("Scores", {"a": "A"}, ((0.25,), (None,)))
    folder = manifest.save(Sheet("scores", {"title": "t"}, ("One.",), {"scores": table}), tmp_path / "out")
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        for other in islice(spoiled(content), 0, None, 13 if path.name == "manifest.json" else 1):
            path.write_bytes(other)
            named = [file.name for file in manifest.verify(folder).files if file.status in ("changed", "unverifiable")]
            assert named[0] == path.name
            assert len(named) == (3 if path.name == "manifest.json" else 1)
        path.write_bytes(content)
    assert wrong(folder) == {}


def test_every_changed_inserted_or_removed_byte_of_a_manifest_is_damage(kept_one: Path) -> None:
    fields = seal.unsealed((kept_one / "manifest.json").read_bytes())
    fields["made_with"] = {"app": fields["made_with"]["app"]}  # what is longer is slower, and no other case
    content = seal.sealed(fields)
    assert seal.unsealed(content)
    for place in range(len(content)):
        for mask in (4, 32, 128):  # 32 changes the case of a letter
            spoiled = bytearray(content)
            spoiled[place] ^= mask
            with pytest.raises(seal.Damage):
                seal.unsealed(bytes(spoiled))
        for spoiled_bytes in (
            content[:place],
            content[:place] + content[place + 1 :],
            content[:place] + b" " + content[place:],
        ):
            with pytest.raises(seal.Damage):
                seal.unsealed(spoiled_bytes)
    for tail in (b" ", b"\n", b"\x00", b"{}"):
        with pytest.raises(seal.Damage):
            seal.unsealed(content + tail)


@pytest.mark.parametrize("ending", ["npy", "heatmap.png", "overlay.png", "figure.png", "seen.png", "sheet.png"])
def test_changed_bytes_of_every_other_file_are_found_and_only_it_is_named(saved: Path, ending: str) -> None:
    for path in sorted(saved.glob(f"*{ending}")):
        content = path.read_bytes()
        places = {*range(0, len(content), max(1, len(content) // 25)), 0, 1, len(content) - 1}
        for place in places:
            spoiled = bytearray(content)
            spoiled[place] ^= 1
            path.write_bytes(spoiled)
            assert wrong(saved) == {path.name: "changed"}
        for other in (content[:-1], content + b"\0", b"", content[:50]):
            path.write_bytes(other)
            assert wrong(saved) == {path.name: "changed"}
        path.unlink()
        assert wrong(saved) == {path.name: "missing"}
        path.write_bytes(content)
        assert wrong(saved) == {}


def test_what_was_added_is_unlisted_and_never_opened(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (saved / "04_more.npy").write_bytes(b"x")
    (saved / "folder").mkdir()
    (saved / "folder" / "below").write_text("x")
    (saved / "link").symlink_to("/etc/passwd")
    (saved / "loop").symlink_to(saved)
    os.mkfifo(saved / "pipe")
    (saved / "line\nbreak\x1b[31m").write_text("x")
    opened: list[str] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: (opened.append(Path(path).name), real(path, *rest))[1])
    report = manifest.verify(saved)
    names = {"04_more.npy", "folder", "link", "loop", "pipe", "line\nbreak\x1b[31m"}
    assert {file.name for file in report.files if file.status == "unlisted"} == names
    assert not names & set(opened)
    assert "\x1b" not in str(report)
    assert not report.ok
    assert manifest.open_record(saved).note == record().note  # what it needs is intact


@pytest.mark.parametrize("name", ["manifest.json", "seen.png", "01_grad_cam.npy"])
@pytest.mark.parametrize("kind", ["link", "folder", "pipe", "loop"])
def test_a_listed_file_that_became_something_else_is_named_and_not_opened(
    saved: Path, name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (saved / name).read_bytes()
    (saved / name).unlink()
    outside = saved.parent / "outside"
    outside.write_bytes(content)  # even a link to the right bytes is no part of the record
    if kind == "link":
        (saved / name).symlink_to(outside)
    elif kind == "folder":
        (saved / name).mkdir()
    elif kind == "pipe":
        os.mkfifo(saved / name)
    else:
        (saved / name).symlink_to(name)
    opened: list[str] = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, *rest: (opened.append(Path(path).name), real(path, *rest))[1])
    assert wrong(saved)[name] == "unverifiable"
    assert name not in opened
    with pytest.raises(RecordError, match=re.escape(name)):
        manifest.open_record(saved)


def test_a_manifest_that_is_missing_or_unreadable_makes_the_rest_unverifiable(saved: Path) -> None:
    (saved / "manifest.json").unlink()
    found = wrong(saved)
    assert found.pop("manifest.json") == "missing"
    assert set(found.values()) == {"unverifiable"}
    assert len(found) == 14


def test_files_that_cannot_be_read_are_unverifiable(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def denied(path: Any, *rest: Any) -> int:
        if Path(path).name == "seen.png":
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *rest)

    monkeypatch.setattr(os, "open", denied)
    assert wrong(saved) == {"seen.png": "unverifiable"}


def test_a_file_that_grows_while_it_is_read_is_changed(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def growing(path: Any, *rest: Any) -> int:
        if Path(path).name == "seen.png":
            with open(path, "ab") as file:
                file.write(b"more")
        return real(path, *rest)

    monkeypatch.setattr(os, "open", growing)
    assert wrong(saved) == {"seen.png": "changed"}


def test_copies_moves_zips_and_read_only_records_raise_no_alarm(saved: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(saved, tmp_path / "elsewhere" / "copy"))
    assert manifest.verify(copy).ok
    moved = copy.rename(tmp_path / "moved")
    for path in moved.iterdir():
        os.utime(path, (0, 0))
        path.chmod(0o444)
    moved.chmod(0o555)
    assert manifest.verify(moved).ok
    assert manifest.open_record(moved).note == record().note
    moved.chmod(0o755)
    with zipfile.ZipFile(io.BytesIO(manifest.zip_record(saved))) as archive:
        assert archive.testzip() is None
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        names = archive.namelist()
        for name in names:
            place = tmp_path / "unzipped" / name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(archive.read(name))
    inside = tmp_path / "unzipped" / names[0].split("/")[0]
    assert manifest.verify(inside).ok
    assert manifest.zip_record(inside) == manifest.zip_record(saved)


def test_only_an_intact_record_is_packed_and_strangers_stay_out(saved: Path) -> None:
    (saved / "stranger").symlink_to("/etc/passwd")
    with zipfile.ZipFile(io.BytesIO(manifest.zip_record(saved))) as archive:
        assert not any("stranger" in name for name in archive.namelist())
    (saved / "seen.png").write_bytes(b"x")
    with pytest.raises(RecordError, match=r"seen\.png is changed"):
        manifest.zip_record(saved)


@pytest.mark.parametrize("verb", [manifest.verify, manifest.open_record, manifest.zip_record, manifest.list_records])
def test_a_folder_that_is_not_there_is_refused(verb: Callable[[Path], object], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "nowhere", tmp_path / "file", tmp_path / ("x" * 300)):
        with pytest.raises(RecordError):
            verb(place)


# enemies ----------------------------------------------------------------------------------------------------------


def hostile() -> dict[str, bytes]:
    deep = 100_000
    good = {"schema": 1, "kind": "explanation", "files": []}
    return {
        "empty": b"",
        "no object": b"[]",
        "nested lists": b"[" * deep + b"]" * deep,
        "nested objects": b'{"a":' * deep + b"1" + b"}" * deep,
        "nested behind a string": b'{"a": "\\"", "b": ' + b"[" * deep,
        "unclosed string": b'"' + b'\\"' * 1_000_000,
        "quotes": b'"' * 2_000_000,
        "brackets": b"[" + b"[]," * 1_000_000 + b"1]",
        "huge integer": b'{"schema": ' + b"9" * 1_000_000 + b"}",
        "huge schema": b'{"schema": ' + b"9" * 4000 + b"}",
        "huge float": b'{"schema": 1e999}',
        "infinity": b'{"schema": Infinity}',
        "not a number": b'{"schema": NaN}',
        "twice": b'{"schema": 1, "schema": 1}',
        "not unicode": b'{"schema": "\xff"}',
        "half a character": b'{"schema": 1, "note": "\\ud800"}',
        "byte order mark": b"\xef\xbb\xbf" + seal.sealed(good),
        "too large": b" " * (seal.MANIFEST_LIMIT + 1),
        "no kind": seal.sealed({**good, "kind": "report"}),
        "no schema": seal.sealed({**good, "schema": True}),
        "older schema": seal.sealed({**good, "schema": 0}),
        "no files": seal.sealed({**good, "files": None}),
        "too many files": seal.sealed({**good, "files": [{}] * 5001}),
        "files of text": seal.sealed({**good, "files": ["seen.png"]}),
    }


REASONS = {
    "nested lists": "nested",
    "nested objects": "nested",
    "nested behind a string": "nested",
    "brackets": "lists and objects",
    "infinity": "Infinity",
    "not a number": "NaN",
    "twice": "same key twice",
    "too large": "bytes",
    "huge integer": "not JSON",
    "huge schema": "update the program",
}


@pytest.mark.parametrize("name", hostile())
def test_a_hostile_manifest_is_refused_quickly_and_named(name: str, saved: Path) -> None:
    (saved / "manifest.json").write_bytes(hostile()[name])
    start = time.process_time()
    report = manifest.verify(saved)
    assert time.process_time() - start < 5
    assert report.files[0].name == "manifest.json"
    assert report.files[0].status in ("changed", "unverifiable")
    assert len(str(report)) < 5000
    assert REASONS.get(name, "") in report.files[0].detail
    with pytest.raises(RecordError, match=r"manifest\.json"):
        manifest.open_record(saved)
    (entry,) = manifest.list_records(saved.parent)
    assert entry.problem


def test_a_newer_schema_asks_for_a_newer_program(saved: Path) -> None:
    reseal(saved, lambda fields: fields.update(schema=3))
    assert "update the program" in str(manifest.verify(saved))
    with pytest.raises(RecordError, match="update the program"):
        manifest.open_record(saved)


@pytest.mark.parametrize(
    "name",
    [
        "../secret.npy", "/etc/passwd", "a/b.npy", "..", ".", "", "C:\\x.npy", "01_a\\b.npy", "manifest.json", "CON",
        "01_a.npy\n", "01_a.npy\x00", "01_é.npy", "01_A.npy", "٠١_a.npy", "01_a.pkl", ".draft-x", "link",
        None, 3, ["x"],
    ],
)  # fmt: skip
def test_a_name_no_record_has_is_refused_before_anything_is_touched(
    name: object, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (saved.parent / "secret.npy").write_bytes(b"secret")
    (saved / "link").symlink_to("/etc/passwd")
    reseal(saved, lambda fields: fields["files"].append({"name": name, "bytes": 6, "sha256": "0" * 64}))
    touched: list[str] = []
    for call in ("open", "lstat"):
        real = getattr(os, call)
        monkeypatch.setattr(
            os, call, lambda path, *a, real=real, **k: (touched.append(str(path)), real(path, *a, **k))[1]
        )
    report = manifest.verify(saved)
    assert {Path(path).name for path in touched} <= {"manifest.json"}
    assert report.files[0].status == "unverifiable"
    assert "a name no record has" in report.files[0].detail
    assert verification.shown(str(name)) in report.files[0].detail


@pytest.mark.parametrize(
    "entry",
    [
        {"bytes": -1}, {"bytes": 10**30}, {"bytes": 2**28 + 1}, {"bytes": True}, {"bytes": "6"}, {"bytes": 6.0},
        {"sha256": None}, {"sha256": "0" * 63}, {"sha256": "G" * 64}, {"sha256": ["0"]},
    ],
)  # fmt: skip
def test_sizes_and_hashes_that_cannot_be_are_refused(entry: dict[str, Any], saved: Path) -> None:
    reseal(saved, lambda fields: fields["files"][0].update(entry))
    assert wrong(saved)["manifest.json"] == "unverifiable"


def test_a_file_listed_twice_or_too_many_bytes_are_refused(saved: Path) -> None:
    reseal(saved, lambda fields: fields["files"].append(fields["files"][0]))
    assert wrong(saved)["manifest.json"] == "unverifiable"
    many = [{"name": f"{n:02d}_a.npy", "bytes": 2**28, "sha256": "0" * 64} for n in range(9)]
    reseal(saved, lambda fields: fields.update(files=many))
    assert wrong(saved)["manifest.json"] == "unverifiable"


def npy(array: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("bomb",)


LYING = {
    "pickle": npy(np.array([Bomb()], dtype=object), allow_pickle=True),
    "float64": npy(np.zeros((16, 16))),
    "big endian": npy(np.zeros((16, 16), ">f4")),
    "one dimension": npy(np.zeros(256, "<f4")),
    "three dimensions": npy(np.zeros((16, 16, 1), "<f4")),
    "fortran": npy(np.asfortranarray(np.zeros((16, 15), "<f4"))),
    "nothing": npy(np.zeros((0, 16), "<f4")),
    "larger than it is": npy(np.zeros((16, 16), "<f4")).replace(b"(16, 16)", b"(99, 99)"),
    "huge": npy(np.zeros((16, 16), "<f4")).replace(b"(16, 16), }", b"(999999, 999999), }"),
    "short": npy(np.zeros((16, 16), "<f4"))[:-4],
    "long": npy(np.zeros((16, 16), "<f4")) + bytes(4),
    "code": b"\x93NUMPY\x01\x00\x20\x00__import__('os').mkdir('bomb') \n",
    "empty": b"",
    "text": b"hello",
    "another size": npy(np.zeros((8, 8), "<f4")),
    "not finite": npy(np.full((16, 16), np.nan, "<f4")),
}


def replaced(folder: Path, name: str, content: bytes) -> None:
    """Put `content` in place of a file and forge the manifest to match."""
    (folder / name).write_bytes(content)

    def change(fields: dict[str, Any]) -> None:
        for entry in fields["files"]:
            if entry["name"] == name:
                entry.update(bytes=len(content), sha256=manifest.hashlib.sha256(content).hexdigest())

    reseal(folder, change)


@pytest.mark.parametrize("lie", LYING)
def test_an_array_that_lies_is_refused_although_its_hash_is_right(lie: str, saved: Path) -> None:
    replaced(saved, "01_grad_cam.npy", LYING[lie])
    if lie not in ("another size", "not finite"):  # these are maps, but not of this picture
        assert wrong(saved) == {"01_grad_cam.npy": "unverifiable"}
    with pytest.raises(RecordError):
        manifest.open_record(saved)
    assert not (Path.cwd() / "bomb").exists()


def test_a_picture_of_another_size_than_the_maps_is_not_decoded(saved: Path) -> None:
    replaced(saved, "seen.png", figures.png(np.zeros((64, 64, 3), np.uint8)))
    with pytest.raises(RecordError, match="another size"):
        manifest.open_record(saved)


def png_of(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes(60)


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (png_of(60000, 60000), "unverifiable"), (png_of(0, 5), "unverifiable"), (b"GIF89a" + bytes(60), "unverifiable"),
        (b"", "unverifiable"), (png_of(16, 16), None), (png_of(9999, 9999), None),
    ],
)  # fmt: skip
def test_a_picture_that_lies_is_refused_although_its_hash_is_right(
    content: bytes, status: str | None, saved: Path
) -> None:
    replaced(saved, "seen.png", content)
    assert wrong(saved) == ({"seen.png": status} if status else {})  # only decoding tells the rest
    with pytest.raises(RecordError, match=r"seen\.png"):
        manifest.open_record(saved)


@pytest.mark.parametrize(
    "change",
    [
        {"explanations": None}, {"explanations": []}, {"explanations": [3]}, {"explanations": {}}, {"prediction": 3},
        {"prediction": {"labels": ["a"], "logits": [1, 2], "model": {}}}, {"picture": None}, {"model": 5},
        {"display": 3}, {"prediction": {"labels": ["a"], "logits": [10**400], "model": {}}},
    ],
)  # fmt: skip
def test_a_manifest_that_describes_no_record_is_refused_although_its_hash_is_right(
    change: dict[str, Any], saved: Path
) -> None:
    reseal(saved, lambda fields: fields.update(change))
    with pytest.raises(RecordError, match="does not describe a record"):
        manifest.open_record(saved)
    assert len(manifest.list_records(saved.parent)) == 1


def test_an_explanation_cannot_point_at_another_file(saved: Path) -> None:
    reseal(saved, lambda fields: fields["explanations"][0]["files"].update(values="../../secret.npy"))
    with pytest.raises(RecordError, match="does not list it"):
        manifest.open_record(saved)


def test_a_folder_of_very_many_files_ends(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "ENTRIES_LIMIT", 10)
    assert wrong(saved) == {"manifest.json": "unverifiable"}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
@example(b'{"a": "' + b"\\")
@example(b'"\\')
def test_any_bytes_are_a_manifest_or_damage(content: bytes) -> None:
    with pytest.raises(seal.Damage):
        seal.unsealed(content)
    with pytest.raises(seal.Damage):
        seal.map_shape(content, len(content))


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES, max_size=4))
def test_what_is_sealed_is_unsealed_equal(fields: dict[str, Any]) -> None:
    whole = {**fields, "schema": 1, "kind": "explanation", "files": []}
    back = seal.unsealed(seal.sealed(whole))
    back.pop("sha256")
    whole.pop("sha256", None)
    assert repr(sorted(back.items())) == repr(sorted(whole.items())) or back == whole


def turned(value: Any) -> Any:
    """The same value with the keys of every object in the other order."""
    if isinstance(value, dict):
        return {key: turned(one) for key, one in reversed(value.items())}
    return [turned(one) for one in value] if isinstance(value, list) else value


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.text(st.characters(codec="utf-8")), VALUES, max_size=4))
def test_the_spelling_is_a_function_of_the_value(fields: dict[str, Any]) -> None:
    text = seal.spelling(fields)
    assert seal.spelling(turned(fields)) == text
    assert seal.spelling(json.loads(text)) == text
    assert seal.sealed(json.loads(seal.sealed(fields))) == seal.sealed(fields)


@settings(max_examples=200, deadline=None)
@given(*2 * [st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=2), VALUES, max_size=2)])
@example({"a": 1}, {"a": 1.0})
@example({"a": True}, {"a": 1})
@example({"a": 0.0}, {"a": -0.0})
@example({"a": []}, {"a": {}})
@example({"a": "1"}, {"a": 1})
@example({"a": [{"b": 1}]}, {"a": [[{"b": 1}]]})
def test_two_values_never_share_a_spelling(one: dict[str, Any], other: dict[str, Any]) -> None:
    def told(value: Any) -> Any:  # with its type: Python takes 1, 1.0 and True for one
        if isinstance(value, dict):
            return "object", sorted((key, told(inner)) for key, inner in value.items())
        return ("list", [told(inner) for inner in value]) if isinstance(value, list) else (type(value), repr(value))

    assert (seal.spelling(one) == seal.spelling(other)) == (told(one) == told(other))


@settings(max_examples=100, deadline=None)
@given(
    VALUES, st.sampled_from([float("nan"), float("inf"), -float("inf")]), st.sampled_from(["list", "object", "plain"])
)
def test_a_number_that_is_none_is_refused_wherever_it_stands(value: Any, odd: float, place: str) -> None:
    held = {"list": [value, odd], "object": {"a": value, "b": {"c": odd}}, "plain": odd}[place]
    with pytest.raises(ValueError):
        seal.sealed({"a": held})
    with pytest.raises(ValueError):
        manifest._plain({"a": held})


# the store --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("quick")
def test_records_are_listed_newest_first_and_broken_ones_with_the_reason(tmp_path: Path) -> None:
    home = tmp_path / "store"
    home.mkdir()
    for name in ("b", "a", "c"):
        manifest.save(Record((explanation(),), note=f"note {name}"), home / name)
    (home / "broken").mkdir()
    (home / "broken" / "manifest.json").write_text("{")
    (home / "empty").mkdir()
    (home / "link").symlink_to(home / "a")
    (home / f".draft-{'0' * 32}").mkdir()
    (home / "file.txt").write_text("x")
    entries = manifest.list_records(home)
    assert [entry.folder.name for entry in entries[:3]] == ["c", "a", "b"]
    first = entries[0]
    assert (first.model, first.methods, first.title, first.kind) == (
        "demo-xray",
        ("grad_cam",),
        LABELS[1],
        "explanation",
    )
    assert (first.note, first.problem) == ("note c", None)
    reasons = {entry.folder.name: entry.problem for entry in entries[3:]}
    assert set(reasons) == {"broken", "empty", "link"}
    assert all(reasons.values())


def test_records_of_the_same_moment_are_listed_by_id(kept: Path, tmp_path: Path) -> None:
    for name, identity in (("x", "1"), ("y", "3"), ("z", "2")):
        shutil.copytree(kept, tmp_path / name)
        reseal(tmp_path / name, lambda fields, identity=identity: fields.update(id=identity))  # type: ignore[misc]
    assert [entry.id for entry in manifest.list_records(tmp_path)] == ["3", "2", "1"]


def test_the_public_names_of_the_store_are_those_of_the_manifest() -> None:
    assert manifest.open_record is store.open_record
    assert manifest.verify is verification.verify


# with what it was made --------------------------------------------------------------------------------------------


def test_the_commit_is_read_from_the_files_of_git(tmp_path: Path) -> None:
    commit, git = "a1" * 20, tmp_path / "repo" / ".git"
    assert provenance.checkout_commit(tmp_path) is None
    git.mkdir(parents=True)
    (git / "HEAD").write_text(commit + "\n")
    assert provenance.checkout_commit(git.parent) == commit
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert provenance.checkout_commit(git.parent) is None  # no commit yet
    (git / "packed-refs").write_text(f"# pack-refs\n{'b2' * 20} refs/heads/other\n{commit} refs/heads/main\n")
    assert provenance.checkout_commit(git.parent) == commit
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "refs" / "heads" / "main").write_text("c3" * 20)
    assert provenance.checkout_commit(git.parent) == "c3" * 20
    tree, home = tmp_path / "tree", git / "worktrees" / "tree"
    tree.mkdir()
    home.mkdir(parents=True)
    (tree / ".git").write_text(f"gitdir: {home}\n")
    (home / "HEAD").write_text("ref: refs/heads/main\n")
    (home / "commondir").write_text("../..\n")
    assert provenance.checkout_commit(tree) == "c3" * 20
    (git / "HEAD").write_text("<html>")
    assert provenance.checkout_commit(git.parent) is None
