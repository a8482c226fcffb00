"""The verb `probe`: how pictures are read, what is asked of the network, and what becomes of mistakes."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import xai_core as xai
from tests.conftest import photograph, png_of
from tests.small_run import write_run
from xai_core.cases import read_cases, unknown_labels
from xai_core.errors import Cancelled, PictureError, SettingError, UnsupportedError
from xai_core.models import Model
from xai_core.probes import Asking, Found, Probe, Subject
from xai_core.probing import cost, named, probe, said_of_labels
from xai_core.records import Case, Image, ProbeKind, Table, Target
from xai_core.runs import open_run


@dataclasses.dataclass(frozen=True)
class Asks(Probe):
    """A probe that hands what it may ask to a test."""

    label: ClassVar[str] = "Asks"
    name: ClassVar[str] = "asks"
    kind: ClassVar[ProbeKind] = "dose"
    ask: Callable[[Asking], Any] = lambda asking: None

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name}

    def find(self, asking: Asking) -> Found:
        self.ask(asking)
        return Found(["Asked."], {"numbers": Table.of("Numbers", {"n": "Pictures"}, [{"n": len(asking.cases)}])})


def everything(asking: Asking) -> list[Subject]:
    return list(asking.subjects())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three pictures, of which one is none and one has a mask that is none; and a marked mouth."""
    (tmp_path / "set").mkdir()
    here = tmp_path / "set"
    for name, left in (("anna.png", 0), ("bert.png", 60)):
        (here / name).write_bytes(png_of(photograph(64, left)))
    (here / "carl.png").write_bytes(b"no picture")
    mask = np.zeros((64, 64), np.uint8)
    mask[10:20, 30:40] = 255
    (here / "mouth.png").write_bytes(png_of(mask))
    (here / "bad.png").write_bytes(b"no mask")
    (here / "labels.csv").write_text(
        "file,label,sex,mask,mouth_mask\nanna.png,class 0,f,,mouth.png\nbert.png,class 1,m,bad.png,\n"
        "carl.png,class 2,m,,\n"
    )
    return here


def test_pictures_are_read_with_what_is_known_of_them(cnn: Model, folder: Path) -> None:
    seen: list[Subject] = []
    finding = probe(cnn, folder, Asks(ask=lambda asking: seen.extend(everything(asking))))
    assert [(one.number, one.label, one.groups["sex"]) for one in seen] == [(1, "class 0", "f"), (2, "class 1", "m")]
    assert seen[0].parts["mouth"].sum() == 100
    assert seen[0].parts["mouth"][10:20, 30:40].all()
    assert seen[1].mask is None
    assert finding.pictures == tuple(one.image.sha256 for one in seen)


def test_what_is_left_out_is_said_once_and_by_number_since_names_may_be_of_people(cnn: Model, folder: Path) -> None:
    finding = probe(cnn, folder, Asks(ask=lambda asking: (everything(asking), everything(asking))))
    [left], [noted] = finding.left_out, finding.notes
    assert left.startswith("Picture 3: It is ")
    assert noted.startswith("Picture 2 is asked about without the mask. Its mask is ")
    assert not any("bert" in one or "carl" in one for one in (left, noted))
    assert named(left, ["anna", "bert", "carl"]).startswith("Picture 3 (carl): ")
    assert named(noted, ["anna", "bert", "carl"]).startswith("Picture 2 (bert) is asked ")
    assert named("Picture 9: no.", ["anna"]) == "Picture 9: no."


@pytest.mark.parametrize("name", ["a", "It", "x" * 100 + "_Alice.png", "Alice\n.png", "Alice (1).png"])
def test_no_name_gets_into_a_sentence_whole_or_in_pieces(cnn: Model, name: str) -> None:
    def gone() -> bytes:
        raise PictureError(f"{name} is gone; get it again.")

    cases = [Case(name, lambda: b"none"), Case(name, gone), Case(name, lambda: png_of(photograph(64)), read_mask=gone)]
    finding = probe(cnn, cases, Asks(ask=everything), None)
    said = [*finding.left_out, *finding.notes]
    assert len(said) == 3
    assert said[1] == "Picture 2: It is gone; get it again."
    assert said[2] == "Picture 3 is asked about without the mask. It is gone; get it again."
    assert not any("Alice" in one for one in said)


def test_one_picture_twice_counts_once(cnn: Model, images: list[Image]) -> None:
    asks = Asks(ask=lambda asking: (everything(asking), everything(asking)))
    finding = probe(cnn, [images[0], images[1], images[0]], asks, None)
    assert finding.pictures == (images[0].sha256, images[1].sha256)
    assert finding.left_out == ("Picture 3: It is the same as picture 1, and counts once.",)


def test_a_picture_that_the_probe_leaves_out_does_not_count(cnn: Model, images: list[Image]) -> None:
    def ask(asking: Asking) -> None:
        for subject in asking.subjects():
            if subject.number == 2:
                asking.leave_out(subject, "No face was found in this picture.")

    finding = probe(cnn, images, Asks(ask=ask), None)
    assert finding.pictures == (images[0].sha256, images[2].sha256)
    assert finding.left_out == ("Picture 2: No face was found in this picture.",)


def test_where_no_picture_can_be_asked_about_the_first_reason_is_said(cnn: Model) -> None:
    def none(asking: Asking) -> None:
        if not everything(asking):
            raise SettingError("No picture can be asked about.")

    with pytest.raises(SettingError, match=r"No picture can be asked about\. Picture 1: It is "):
        probe(cnn, [Case("a.png", lambda: b"no picture")], Asks(ask=none))


def test_the_same_question_is_answered_by_the_same_bytes(images: list[Image], tmp_path: Path) -> None:
    model = xai.load_model("demo-face")
    one, other = (xai.save(probe(model, images, "noise", steps=2, seed=3), tmp_path / name) for name in "ab")
    for file in one.iterdir():
        if file.name != "manifest.json":
            assert file.read_bytes() == (other / file.name).read_bytes(), file.name


def test_originals_are_what_explain_and_predict_say(cnn: Model, image: Image) -> None:
    def ask(asking: Asking) -> None:
        [subject] = asking.subjects()
        look = asking.original(subject)
        said = xai.predict(cnn, image)
        assert np.array_equal(look.prediction.logits, said.logits)
        for e, method in zip(look.maps, ("grad_cam", "saliency"), strict=True):
            assert e is not None
            assert np.array_equal(e.values, xai.explain(cnn, image, method).values)

    probe(cnn, image, Asks(ask=ask), ["grad_cam", "saliency"])


def test_a_picture_that_was_changed_is_asked_about_as_it_is(cnn: Model, image: Image) -> None:
    def ask(asking: Asking) -> None:
        [subject] = asking.subjects()
        dark = dataclasses.replace(image, pixels=image.pixels // 2)
        lit, changed = asking.look([subject.image, dark], maps=False)
        assert np.array_equal(changed.prediction.logits, xai.predict(cnn, dark).logits)
        assert not np.array_equal(lit.prediction.logits, changed.prediction.logits)
        assert lit.maps == ()

    probe(cnn, image, Asks(ask=ask))


def test_every_pass_is_counted_and_told(cnn: Model, images: list[Image]) -> None:
    told: list[tuple[int, int]] = []
    asks = Asks(ask=lambda asking: [asking.original(one) for one in asking.subjects()])
    finding = probe(cnn, images, asks, "grad_cam", progress=lambda done, total: told.append((done, total)))
    assert (finding.passes.forward, finding.passes.backward) == (3, 3)
    assert told[-1] == (3, 3)
    alone = probe(cnn, images, asks, None)
    assert (alone.passes.forward, alone.passes.backward) == (3, 0)
    assert cost(cnn, asks, (), 3) == 3


def test_the_target_that_is_asked_about_is_explained_whatever_is_predicted(cnn: Model, image: Image) -> None:
    for wanted in (1, "class 1", None):

        def ask(asking: Asking, wanted: Any = wanted) -> None:
            [subject] = asking.subjects()
            [e] = asking.original(subject).maps
            assert e is not None
            predicted = xai.predict(cnn, image).top(1)[0][0]
            assert e.target.label == (predicted if wanted is None else "class 1")

        finding = probe(cnn, image, Asks(ask=ask), target=wanted)
        assert finding.target == (None if wanted is None else Target(1, "class 1"))
    contrast = Target(0, "", "contrast", 2)
    assert probe(cnn, image, Asks(), target=contrast).target == Target(0, "class 0", "contrast", 2, "class 2")


def test_random_numbers_of_a_picture_depend_on_it_and_the_seed_and_on_nothing_else(
    cnn: Model, images: list[Image]
) -> None:
    def drawn(pictures: list[Image], seed: int) -> dict[str, float]:
        found: dict[str, float] = {}
        asks = Asks(
            ask=lambda asking: found.update({s.image.sha256: asking.random(s).random() for s in asking.subjects()})
        )
        probe(cnn, pictures, asks, None, seed=seed)
        return found

    one, other = drawn(images, 0), drawn(images[::-1], 0)
    assert one == other
    assert len(set(one.values())) == 3
    assert not set(one.values()) & set(drawn(images, 1).values())


def test_a_box_that_a_person_drew_belongs_to_its_picture(cnn: Model, images: list[Image]) -> None:
    boxes = {images[1].sha256: (3.0, 4.0, 30.0, 40.0)}
    seen: list[Subject] = []
    probe(cnn, images, Asks(ask=lambda asking: seen.extend(everything(asking))), None, boxes=boxes)
    assert [one.box for one in seen] == [None, (3.0, 4.0, 30.0, 40.0), None]


def test_what_the_store_of_a_run_knows_is_not_asked_again(tmp_path: Path) -> None:
    write_run(tmp_path / "run")
    run = open_run(tmp_path / "run")
    model = xai.load_model("demo-xray")
    cases = read_cases("assets/samples", where={"family": "xray"})
    some = dataclasses.replace(cases, cases=tuple(case for case in cases.cases if case.name.endswith(("_1.png",))))
    found: dict[bool, list[Any]] = {}
    for store in (run.store, None):
        asks = Asks(
            ask=lambda asking, store=store: found.update(
                {store is None: [asking.original(one) for one in asking.subjects()]}
            )
        )
        finding = probe(model, some, asks, ["grad_cam", "saliency"], store=store)
        assert finding.passes.forward == (0 if store is not None else 6)
    for known, computed in zip(found[False], found[True], strict=True):
        assert np.array_equal(known.prediction.logits, computed.prediction.logits)
        for one, other in zip(known.maps, computed.maps, strict=True):
            assert np.array_equal(one.values, other.values)
    run.store.close()


def test_a_method_that_says_nothing_about_the_model_is_refused_before_anything_is_asked(linear: Model) -> None:
    with pytest.raises(UnsupportedError, match="layer"):
        probe(linear, [], Asks(), "grad_cam")


def test_mistakes_are_sentences(cnn: Model, image: Image) -> None:
    needs = type("Needs", (Asks,), {"fewest": 5})()
    with pytest.raises(SettingError, match=r"needs 5 or more, and was given 1\. Give a set\."):
        probe(cnn, image, needs)
    with pytest.raises(SettingError, match="No picture was given"):
        probe(cnn, [], Asks())
    with pytest.raises(SettingError, match="Seed -1 is not allowed"):
        probe(cnn, image, Asks(), seed=-1)
    with pytest.raises(SettingError, match="No class is called 'nothing'"):
        probe(cnn, image, Asks(), target="nothing")
    with pytest.raises(SettingError, match=r"No probe is called 'brightnes'\. Did you mean 'brightness'"):
        probe(cnn, image, "brightnes")
    with pytest.raises(SettingError, match="Brightness: strongest=5 is not allowed"):
        probe(cnn, image, "brightness", strongest=5)


def test_of_labels_that_the_model_does_not_have_something_is_said_where_one_is_predicted(
    cnn: Model, folder: Path
) -> None:
    cases = read_cases(folder)
    assert said_of_labels(cnn, cases) == []
    (folder / "labels.csv").write_text("file,label\nanna.png,class 0\nbert.png,cat\n")
    assert said_of_labels(cnn, read_cases(folder)) == unknown_labels(read_cases(folder), cnn.labels, cnn.name) != []
    (folder / "labels.csv").write_text("file,label\nbert.png,cat\n")
    [sentence] = said_of_labels(cnn, read_cases(folder))
    assert sentence.endswith("exactly as the classes. What is probed all the same is what it predicts, right or wrong.")
    several = xai.wrap_model(cnn.module, labels=cnn.labels, input_size=(3, 32, 32), task="multi label")
    assert said_of_labels(several, read_cases(folder)) == []


def test_a_cancelled_probe_leaves_nothing(cnn: Model, images: list[Image]) -> None:
    cancel = threading.Event()
    seen: list[Subject] = []

    def ask(asking: Asking) -> None:
        for subject in asking.subjects():
            seen.append(subject)
            cancel.set()

    with pytest.raises(Cancelled):
        probe(cnn, images, Asks(ask=ask), cancel=cancel)
    assert len(seen) == 1
    assert not any(module._forward_hooks for module in cnn.module.modules())
