"""One map per finding on the Explain page, and heads with a single output."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

import xai_core as xai
from pages.shared import record_again, takeaway, viewer
from pages.shared.question import Looks, Question
from tests.pages.conftest import Opener, settled, words
from xai_core.models import Model
from xai_core.records import Image, Prediction, Record, Target
from xai_core.store import AUDITS

Injected = Callable[..., Model]
FINDINGS = ("atelectasis", "edema", "effusion", "hernia", "mass", "nodule")


def network(weights: Sequence[Sequence[float]], biases: Sequence[float]) -> nn.Module:
    """Each output is a sum of how red, green and blue the picture is on average, with these weights."""
    seen, head = nn.Conv2d(3, 3, 8, stride=8, bias=False), nn.Linear(3, len(weights))
    seen.weight.data = torch.eye(3)[:, :, None, None].expand(3, 3, 8, 8) / 64
    head.weight.data, head.bias.data = torch.tensor(weights).float(), torch.tensor(biases).float()
    return nn.Sequential(seen, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


@pytest.fixture
def inject(monkeypatch: pytest.MonkeyPatch) -> Injected:
    """Lets the page open this network, whichever name is asked for."""
    from pages.shared import cached

    def injected(
        weights: Sequence[Sequence[float]], biases: Sequence[float], labels: Sequence[str], task: str = "multi label"
    ) -> Model:
        facts = {"input_size": (3, 64, 64), "mean": (0.0,) * 3, "std": (1.0,) * 3, "device": "cpu"}
        model = xai.wrap_model(network(weights, biases), name="injected", labels=labels, task=task, **facts)
        monkeypatch.setattr(cached, "model", lambda *_: model)
        return model

    return injected


def colours(count: int) -> list[list[float]]:
    """Weights of findings that look at red, green and blue in turns."""
    return [[float(i % 3 == k) for k in range(3)] for i in range(count)]


def maps(app):
    return [kept.explanation for kept in app.session_state["session"].maps.kept.values()]


def labels(app) -> list[str]:
    return [e.target.label for e in maps(app)]


CAT = {"sample": "cat", "method": "grad_cam"}


def test_the_findings_above_one_half_get_a_map_each_the_likeliest_first(explain: Opener, inject: Injected):
    inject(colours(6), [2, -5, 4, -6, 3, 1], FINDINGS)
    app = explain(**CAT, findings="0")
    assert not app.exception
    assert labels(app) == ["effusion", "mass", "atelectasis", "nodule"]
    assert "4 maps of injected · 1 pass through the network" in words(app)
    assert app.toggle(key="one each").label == "One map per finding"
    assert app.query_params["findings"] == "0"
    assert "target injected" not in [one.key for one in app.selectbox]


@pytest.mark.parametrize(("bias", "shown"), [(-9.0, 3), (9.0, 14)])
def test_three_findings_at_least_and_fourteen_at_most_are_shown_unasked(
    explain: Opener, inject: Injected, bias: float, shown: int
):
    inject(colours(20), [bias + i / 100 for i in range(20)], [f"finding {i}" for i in range(20)])
    app = explain(**CAT, findings="0")
    assert len(maps(app)) == shown


def test_the_number_of_findings_can_be_chosen_and_travels_in_the_link(explain: Opener, inject: Injected):
    inject(colours(6), [2, -5, 4, -6, 3, 1], FINDINGS)
    app = explain(**CAT, findings="0")
    app.number_input(key="how many").set_value(2)
    settled(app)
    assert "2 maps of injected" in words(app)
    asked = Question.from_address({key: [value] for key, value in app.query_params.items()})
    assert asked.findings == 2
    app.toggle(key="one each").set_value(False)
    settled(app)
    assert "findings" not in app.query_params
    assert "1 map for target class **effusion**" in words(app)


def test_the_switch_is_off_until_it_is_asked_for(explain: Opener, inject: Injected):
    inject(colours(3), [2, 1, 0], FINDINGS[:3], "single label")
    app = explain(**CAT)
    assert app.toggle(key="one each").label == "One map per class"
    assert len(maps(app)) == 1
    app.toggle(key="one each").set_value(True)
    assert len(maps(settled(app))) == 3


def test_a_network_of_many_classes_is_not_asked_about_each(explain: Opener, inject: Injected):
    inject(colours(33), [0.0] * 33, [f"class {i}" for i in range(33)], "single label")
    app = explain(**CAT, findings="0")
    assert "one each" not in [toggle.key for toggle in app.toggle]
    assert len(maps(app)) == 1


def test_the_same_map_for_every_finding_is_said_above_the_maps(explain: Opener, inject: Injected):
    inject([[1, 0, 0], [2, 0, 0], [0.5, 0, 0]], [2, 1, 3], FINDINGS[:3])
    app = explain(**CAT, findings="0")
    [warning] = [one.value for one in app.warning]
    assert "nearly the same map for every finding" in warning
    assert "3 pairs of 3 findings" in warning
    inject([[1, -1, 0], [-1, 1, 0], [-1, 0, 1]], [2, 1, 3], FINDINGS[:3])
    assert "nearly the same map" not in words(explain(**CAT, findings="0"))


def test_of_several_methods_one_that_looks_at_the_target_is_shown(explain: Opener, inject: Injected):
    inject(colours(3), [2, 1, 0], FINDINGS[:3])
    app = explain(sample="cat", method=["eigen_cam", "saliency", "sobel_edges"], findings="0")
    assert {e.method["name"] for e in maps(app)} == {"saliency"}
    app = explain(sample="cat", method=["eigen_cam", "saliency", "layer_cam"], findings="0")
    chosen = app.selectbox(key="method of each")
    assert chosen.options == ["Layer-CAM", "Saliency"]
    chosen.set_value("saliency")
    settled(app)
    assert {e.method["name"] for e in maps(app)[3:]} == {"saliency"}
    assert app.query_params["method"] == "saliency"


def test_a_method_that_never_looks_at_the_target_is_said_to_be_so(explain: Opener, inject: Injected):
    inject(colours(3), [2, 1, 0], FINDINGS[:3])
    app = explain(sample="cat", method="eigen_cam", findings="0")
    assert "Eigen-CAM never looks at the target: every finding gets this same map." in words(app)


def test_flat_maps_are_named_by_their_findings_in_one_sentence(explain: Opener, inject: Injected):
    inject([[-1, 0, 0], [-1, 0, 0], [1, 0, 0]], [2, 1, 0], FINDINGS[:3])  # Grad-CAM keeps what speaks for
    said = words(explain(**CAT, findings="0"))
    assert said.count("Flat map") == 1
    assert "atelectasis · Grad-CAM, edema · Grad-CAM: Flat map" in said


def test_every_finding_gets_a_verdict_of_its_own(explain: Opener, inject: Injected):
    inject(colours(2), [2, 1], FINDINGS[:2])
    app = explain(**CAT, findings="0", weigh="true")
    visitor = app.session_state["session"]
    assert set(visitor.evidence.kept) == set(visitor.maps.kept)
    assert len(visitor.evidence.kept) == 2
    for e, evidence in zip(maps(app), visitor.evidence.kept.values(), strict=True):
        [contrast] = [check.sentence for check in evidence.checks if check.name == "class contrast"]
        other = FINDINGS[1 - e.target.index]
        assert f"or {other}, the next likeliest," in contrast  # "For …" or "The map for …"


# ---- records and links ---------------------------------------------------------------------------------------------


def recorded(model: Model, numbers: Sequence[int], image: Image) -> Record:
    targets = [Target(i, model.labels[i]) for i in numbers]
    made = xai.explain_many(model, [image] * len(targets), ["grad_cam"], targets)
    return Record(tuple(e for [e] in made), (xai.predict(model, image),), image.source)


def test_a_record_of_one_method_and_several_findings_asks_for_them_again(inject: Injected):
    from pages.shared import samples

    model = inject(colours(6), [2, -5, 4, -6, 3, 1], FINDINGS)
    image = samples.picture("cat")
    order = [int(i) for i in xai.predict(model, image).order()]
    assert record_again.question(recorded(model, order[:3], image)).findings == 3
    assert record_again.question(recorded(model, [order[0], order[3]], image)).findings == 4  # and those between
    assert record_again.question(recorded(model, order[:1], image)).findings is None


def test_a_record_is_saved_from_the_page_and_opens_with_the_switch_on(explain: Opener, inject: Injected, store: Path):
    inject(colours(6), [2, -5, 4, -6, 3, 1], FINDINGS)
    app = explain(**CAT, findings="0")
    app.button(key="save").click()
    settled(app)
    [folder] = [path for path in store.iterdir() if path.name != AUDITS]
    record = xai.open_record(folder)
    assert [e.target.label for e in record.explanations] == labels(app)
    address = record_again.question(record).to_address()
    again = explain(**{**address, "sample": "cat"})
    assert labels(again) == labels(app)
    assert again.toggle(key="one each").value
    assert not again.error


def test_contrasts_with_several_rivals_are_asked_for_again_with_the_same_rivals(explain: Opener, inject: Injected):
    inject(colours(3), [2, 1, 0], FINDINGS[:3], "single label")
    app = explain(**CAT, findings="0", kind="contrast")
    targets = [e.target for e in maps(app)]
    assert [(one.index, one.against) for one in targets] == [(0, 1), (1, 0), (2, 0)]
    record = Record(tuple(maps(app)), tuple(app.session_state["session"].predictions.values()))
    again = explain(**{**record_again.question(record).to_address(), "sample": "cat"})
    assert [e.target for e in maps(again)] == targets


def test_what_is_taken_away_names_the_findings(inject: Injected):
    from pages.shared import samples

    model = inject(colours(3), [2, 1, 0], FINDINGS[:3])
    record = recorded(model, [0, 1, 2], samples.picture("cat"))
    assert viewer.titles(record.explanations) == [f"{label} · Grad-CAM" for label in FINDINGS[:3]]
    given = json.loads(takeaway.numbers(record.explanations, record.predictions, [None] * 3))
    assert [one["target"]["class"] for one in given["maps"]] == list(FINDINGS[:3])


# ---- a single output -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["multi label", "regression"])
def test_a_single_output_is_explained_weighed_and_taken_away(explain: Opener, inject: Injected, task: str):
    model = inject([[0.3, 0.5, -0.2]], [0.25], ["fracture"], task)
    app = explain(**CAT, weigh="true", findings="0")
    assert not app.exception
    assert not app.error
    [e] = maps(app)
    assert (e.target.label, e.target.kind) == ("fracture", "logit")
    assert not {"one each", "kind"} & {one.key for one in (*app.toggle, *app.selectbox)}
    assert ("%" in words(app).partition("Attribution maps")[0]) == (task == "multi label")
    assert "All 1 classes" not in [one.label for one in app.expander]
    [evidence] = app.session_state["session"].evidence.kept.values()
    [contrast] = [check for check in evidence.checks if check.name == "class contrast"]
    assert contrast.passed is None
    assert contrast.sentence == "Not asked: there is no other class to tell the target from."
    said: list[Prediction] = list(app.session_state["session"].predictions.values())
    assert model.labels == said[0].labels
    looks = takeaway.figure_looks([e], Looks())
    assert takeaway._figure(e, said, looks, [e], evidence).startswith(b"\x89PNG")
    [answer] = json.loads(takeaway.numbers([e], said, [evidence]))["models"][0]["prediction"]
    assert answer["class"] == "fracture"
    assert ("probability" in answer) == (task == "multi label")
