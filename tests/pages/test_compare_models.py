"""The page that puts several models beside one another."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest
from torch import nn

import xai_core as xai
from pages.shared import cached
from pages.shared.question import Network, Question
from tests import real_networks
from tests.pages.conftest import Opener, buttons_that_save, png, settled, words
from xai_core.models import Model
from xai_core.store import AUDITS

PAIR = ["demo-xray", "demo-xray-shortcut"]
MARKED = "xray_simple_fracture_2"  # whose marker one of the two has learnt


def explained(app: AppTest) -> list[xai.explain]:  # type: ignore[valid-type]
    return [one.explanation for one in app.session_state["session"].maps.kept.values()]


def test_two_models_say_the_same_and_look_at_different_places(rivals: Opener) -> None:
    app = rivals(sample=MARKED, model=PAIR)
    assert not app.error
    assert not app.exception
    said = words(app)
    assert "Both agree: simple fracture, 97.0 % and 98.9 %." in said
    honest, cheat = explained(app)
    assert [e.model["name"] for e in (honest, cheat)] == PAIR
    assert honest.target == cheat.target
    truth, marker = (
        xai.read_image(f"assets/samples/masks/{MARKED}_{kind}.png").pixels[..., 0] > 127 for kind in ("truth", "marker")
    )
    left, top, right, _ = honest.box
    pitch = (right - left) / honest.values.shape[1]

    def distance(mask: np.ndarray, place: tuple[int, int]) -> float:
        rows, columns = np.nonzero(mask)
        return float(np.hypot(rows - (top + place[0] * pitch), columns - (left + place[1] * pitch)).min())

    assert distance(truth, honest.peak) < honest.cell * pitch < distance(marker, honest.peak)
    assert distance(marker, cheat.peak) < cheat.cell * pitch < distance(truth, cheat.peak)


def test_the_numbers_on_the_page_are_those_of_the_core(rivals: Opener) -> None:
    from xai_core.comparison import differ

    app = rivals(sample=MARKED, model=PAIR)
    found = differ(*explained(app), (256, 256))
    assert found.rank_correlation is not None
    assert found.top_overlap is not None
    assert found.centre_distance is not None
    shown = {one.label: one.value.replace("−", "-") for one in app.metric}
    assert shown == {
        "Rank correlation": f"{found.rank_correlation:.2f}",
        "Overlap of the highest tenths": f"{found.top_overlap:.2f}",
        "Between the centres of mass": f"{found.centre_distance:.1f} px",
        "Seen by both": "100 %",
    }


def test_the_checklist_is_ticked_by_measurement(rivals: Opener) -> None:
    said = words(rivals(sample=MARKED, model=PAIR))
    assert ":green[✓] demo-xray says simple fracture with 97.0 %, above 95 %." in said
    [honest, cheat] = [line for line in said.splitlines() if "on the marked artefact" in line]
    assert ":green[✓] demo-xray has" in honest
    assert ":red[✗] demo-xray-shortcut has" in cheat
    assert "how far its map can be believed is not weighed yet" in said


def test_the_address_brings_the_whole_view_back(rivals: Opener) -> None:
    app = rivals(
        sample=MARKED,
        model=[*PAIR, "demo-xray-b"],
        layer=["layer3", "", "features.denseblock3"],
        method="layer_cam",
        target="1",
    )
    address = {key: app.query_params[key] for key in app.query_params}
    again = rivals(**address)
    assert {key: again.query_params[key] for key in again.query_params} == address
    maps = explained(again)
    assert [e.method["layer"] for e in maps] == ["layer3", "layer4", "features.denseblock3"]
    assert {e.method["name"] for e in maps} == {"layer_cam"}
    assert {e.target.index for e in maps} == {1}
    for one, other in zip(explained(app), maps, strict=True):
        assert one.values.tobytes() == other.values.tobytes()
    assert again.selectbox(key="pair").options == [
        "demo-xray and demo-xray-shortcut",
        "demo-xray and demo-xray-b",
        "demo-xray-shortcut and demo-xray-b",
    ]


def test_an_address_reads_back_as_it_was_written() -> None:
    asked = Question(
        sample="one",
        models=(Network("demo-xray", layer="layer2"), Network("resnet18", True, "multi label"), Network("vit")),
        target=2,
        methods=({"name": "grad_cam", "layer": "layer4"},),
    )
    words_of_it = asked.to_address()
    back = Question.from_address({key: [one] if isinstance(one, str) else one for key, one in words_of_it.items()})
    assert back == asked
    single = Question(models=(Network("resnet18", True),)).to_address()
    assert single == {"model": ["resnet18"], "random": ["true"]}


def test_the_same_network_twice_is_not_compared(rivals: Opener) -> None:
    app = rivals(sample=MARKED, model=["demo-xray", "demo-xray"])
    assert "Two of the models are the same network." in words(app)
    assert not app.exception


def small(name: str, labels: list[str], row: int, side: int = 24) -> Model:
    """Reads the brightness of one row of quadrants."""

    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, len(labels), 1)
            nn.init.constant_(self.body.weight, 1.0)
            nn.init.constant_(self.body.bias, 0.0)
            self.scale = nn.Parameter(xai_scale(len(labels)))

        def forward(self, x):  # type: ignore[no-untyped-def]
            found = self.body(x)
            half = found.shape[2] // 2
            part = found[:, :, :half] if row == 0 else found[:, :, half:]
            return part.mean((2, 3)) * self.scale

    return xai.wrap_model(
        Half(), labels=labels, input_size=(3, side, side), mean=(0, 0, 0), std=(1, 1, 1), name=name, device="cpu"
    )


def xai_scale(classes: int):  # type: ignore[no-untyped-def]
    import torch

    return torch.linspace(2, 1, classes)


def test_models_with_other_labels_are_matched_by_name_and_unmatched_ones_said(
    rivals: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = {
        "resnet18": small("resnet18", ["fracture", "normal", "marker"], 0),
        "resnet50": small("resnet50", ["normal", "fracture"], 1, 32),
        "vit_tiny_patch16_224": small("vit_tiny_patch16_224", ["cat", "dog"], 1),
    }
    monkeypatch.setattr(cached, "model", lambda name, random, task="": models[name])
    app = rivals(model=list(models), method="saliency", random=["true", "true", "true"])
    app.file_uploader[0].set_value([("a.png", png(120, 64, texture=True), "image/png")])
    settled(app)
    assert not app.exception
    targets = {e.model["name"]: e.target for e in explained(app)}
    assert (targets["resnet18"].label, targets["resnet18"].index) == ("fracture", 0)
    assert (targets["resnet50"].label, targets["resnet50"].index) == ("fracture", 1)
    assert targets["vit_tiny_patch16_224"].label == "cat"
    assert "vit_tiny_patch16_224 has no class called 'fracture'" in words(app)


def test_a_comparison_is_saved_listed_and_opened_again(rivals: Opener, manifests: Opener, store: Path) -> None:
    app = rivals(sample=MARKED, model=PAIR, layer=["layer3", ""])
    assert buttons_that_save(app) == ["Save record"]
    app.text_area[0].set_value("two models")
    app.button(key="save").click()
    settled(app)
    [folder] = [path for path in store.iterdir() if path.name != AUDITS]
    assert xai.verify(folder).ok
    record = xai.open_record(folder)
    assert [model["name"] for model in record.models] == PAIR
    assert [one.top(1)[0][0] for one in record.predictions] == ["simple fracture", "simple fracture"]
    for mine, saved in zip(explained(app), record.explanations, strict=True):
        assert mine.values.tobytes() == saved.values.tobytes()
        assert mine.pixels.tobytes() == saved.pixels.tobytes()
        assert (dict(mine.model), mine.box, mine.target) == (dict(saved.model), saved.box, saved.target)
    files = {path.name for path in folder.iterdir()}
    assert {"comparison.png", "difference.png", "seen.png", "seen_2.png", "02_grad_cam.figure.png"} <= files

    page = manifests(record=folder.name)
    assert not page.exception
    assert "demo-xray, demo-xray-shortcut" in words(page)
    assert "Both agree" in words(page)
    [button] = [one for one in page.button if one.label == "Open in Compare models"]
    button.click().run()
    asked = page.session_state["session"].pending
    assert asked.models == tuple(
        Network(e.model["name"], False, e.model["task"], e.method["layer"], e.model["weights_sha256"])
        for e in record.explanations
    )
    assert page.session_state["session"].looks["compared"].shared


def test_real_networks_stand_beside_a_demo_model(
    rivals: Opener, real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECOND_LOOK_MODELS", str(Path(real_networks.__file__)))
    names = ["resnet20-cifar10", "squeezenet-imagenet", "demo-xray"]
    picture = next((real_data / "cifar10_test").rglob("*.jpg"))
    app = rivals(model=names, method="grad_cam")
    app.file_uploader[0].set_value([(picture.name, picture.read_bytes(), "image/jpeg")])
    settled(app)
    assert not app.exception
    assert [e.model["name"] for e in explained(app)] == names
    assert [e.values.shape for e in explained(app)] == [(32, 32), (227, 227), (128, 128)]
    assert all(one in words(app) for one in names)
    assert "squeezenet-imagenet has no class called" in words(app)


def test_one_network_with_two_meanings_is_two_models(rivals: Opener, monkeypatch: pytest.MonkeyPatch) -> None:
    module = small("resnet18", ["fracture", "normal"], 0).module
    models = {
        task: xai.wrap_model(module, labels=["fracture", "normal"], input_size=(3, 24, 24), task=task, name="resnet18")
        for task in ("single label", "multi label")
    }
    monkeypatch.setattr(cached, "model", lambda name, random, task="": models[task])
    app = rivals(model=["resnet18"] * 2, random=["true"] * 2, task=list(models), method="saliency", sample=MARKED)
    assert not app.exception
    assert not app.error, app.error[0].value
    [table] = [one.value for one in app.dataframe if "Gap" in one.value]
    assert list(table) == ["Class", "Gap", "resnet18 (single label)", "resnet18 (multi label)"]
    assert "of 2 models" in words(app)
    assert "save" in [one.key for one in app.button]


def test_other_weights_than_in_the_record_are_said_of_that_model_alone(rivals: Opener) -> None:
    app = rivals(sample=MARKED, model=PAIR)
    visitor = app.session_state["session"]
    visitor.weights = [("demo-xray", "0" * 64)]
    assert "demo-xray has other weights here than in the record" in words(app.run())
    visitor.weights = [("resnet18", "0" * 64)]
    assert "other weights" not in words(app.run())


def test_a_saved_comparison_shows_where_the_models_differ(manifests: Opener, store: Path) -> None:
    from xai_core.records import Record

    image = xai.read_image(f"assets/samples/{MARKED}.png")
    models = [xai.load_model(name) for name in PAIR]
    maps = tuple(xai.explain(model, image, "grad_cam") for model in models)
    store.mkdir()
    xai.save(Record(maps, tuple(xai.predict(model, image) for model in models), image.source), store / "pair")
    page = manifests(record="pair")
    assert not page.exception
    assert {"Where they differ", "Checklist"} <= {one.value for one in page.header}
    assert "−0.54" in [one.value for one in page.metric]
