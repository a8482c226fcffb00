"""One question put to every metric. Parametrised over the registry, so that a newcomer cannot be forgotten."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import xai_core as xai
from tests.conftest import SIDE, convolutions, photograph, png_of, quick, quick_metric, seeded, wrapped
from tests.test_contracts import fingerprint
from xai_core.errors import Cancelled
from xai_core.metrics import ASPECTS
from xai_core.models import Model
from xai_core.pipeline import explain_many
from xai_core.records import Explanation, Image, Passes, Score
from xai_core.scoring import gather, score_many

every_metric = pytest.mark.parametrize("name", list(xai.METRICS))

METHODS = ["grad_cam", "saliency", "integrated_gradients", "lime", "random"]
CAMS = ["grad_cam", "grad_cam_plus_plus", "hires_cam", "layer_cam", "xgrad_cam"]
MASK = np.zeros((SIDE, SIDE), bool)
MASK[8:20, 10:24] = True


@pytest.fixture(scope="module")
def explanations() -> list[Explanation]:
    """Of the network and the picture that the fixtures `cnn` and `image` are."""
    image = xai.read_image(png_of(photograph()))
    return explain_many(wrapped(seeded(convolutions)), [image], [quick(method) for method in METHODS], seed=5)[0]


def scores(model: Model, explanations: list[Explanation], name: str, **options: Any) -> list[Score]:
    options.setdefault("masks", {explanations[0].image: MASK})
    return [found for [found] in score_many(model, explanations, [quick_metric(name)], **options)]


def told(score: Score) -> dict[str, Any]:
    """All that a score says, to compare by value."""
    curve = None if score.curve is None else (score.curve.x.tolist(), score.curve.y.tolist())
    return {"value": score.value, "null": score.null, "why": score.why, "details": dict(score.details), "curve": curve}


@every_metric
def test_a_flat_map_gets_no_number_but_the_reason(name: str, cnn: Model, explanations: list[Explanation]) -> None:
    rounding = replace(explanations[0], values=1 + np.eye(SIDE, dtype=np.float32) * 1e-7)
    flat = [replace(explanations[0], values=np.full((SIDE, SIDE), level, np.float32)) for level in (0, 0.5)]
    found = scores(cnn, [flat[0], explanations[0], flat[1], rounding], name)
    for i in (0, 2, 3):
        assert found[i].value is None
        assert found[i].why.startswith("Flat map: ")
    assert told(found[1]) == told(scores(cnn, [explanations[0]], name)[0])  # in its own place


@every_metric
def test_flat_maps_alone_cost_nothing(name: str, cnn: Model, explanations: list[Explanation]) -> None:
    flat = replace(explanations[0], values=np.zeros((SIDE, SIDE), np.float32))
    assert scores(cnn, [flat], name)[0].passes == Passes()


@every_metric
def test_it_leaves_network_and_maps_as_it_found_them(name: str, cnn: Model, explanations: list[Explanation]) -> None:
    before, values = fingerprint(cnn), [e.values.tobytes() for e in explanations]
    maps = gather(cnn.asked(), explanations, masks={explanations[0].image: MASK})
    own, x = maps.values.tobytes(), maps.x.clone()
    xai.METRICS.build(quick_metric(name)).measure(maps)
    assert maps.values.tobytes() == own
    assert torch.equal(maps.x, x)
    assert [e.values.tobytes() for e in explanations] == values
    assert fingerprint(cnn) == before


@every_metric
def test_it_leaves_the_network_as_it_found_it_when_the_network_fails(
    name: str, cnn: Model, explanations: list[Explanation], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, calls = fingerprint(cnn), 0
    original = nn.ReLU.forward

    def failing(self: Any, x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls > 1:  # in the middle of the first pass
            raise RuntimeError("broken on purpose")
        return original(self, x)

    with monkeypatch.context() as patch:
        patch.setattr(nn.ReLU, "forward", failing)
        if scores_nothing_of_the_network(name):
            scores(cnn, explanations, name)
        else:
            with pytest.raises(RuntimeError, match="broken on purpose"):
                scores(cnn, explanations, name)
    assert fingerprint(cnn) == before
    assert not cnn._lock.locked()


def scores_nothing_of_the_network(name: str) -> bool:
    return xai.METRICS[name].aspect in ("complexity", "where it looks", "against ground truth") or (
        name == "completeness_gap"
    )


@every_metric
def test_the_same_seed_gives_the_same_numbers(name: str, cnn: Model, explanations: list[Explanation]) -> None:
    first, second = (scores(cnn, explanations, name, seed=3) for _ in range(2))
    assert [told(one) for one in first] == [told(one) for one in second]


@every_metric
def test_maps_scored_together_get_what_each_gets_alone(name: str, cnn: Model, explanations: list[Explanation]) -> None:
    for together, e in zip(scores(cnn, explanations, name), explanations, strict=True):
        [alone] = scores(cnn, [e], name)
        assert together.why == alone.why
        assert numbers(together) == pytest.approx(numbers(alone), rel=1e-4, abs=1e-6, nan_ok=True)


def numbers(score: Score) -> dict[str, float]:
    """What does not depend on the maps beside it. Other maps fill other batches, where float32 sums round otherwise."""
    null = None if xai.METRICS[score.metric["name"]].null_from_controls else score.null
    named = {"value": score.value, "null": null, **score.details}
    return {key: float("nan") if one is None else one for key, one in named.items()}


@every_metric
def test_it_costs_about_what_it_declares(name: str, cnn: Model, explanations: list[Explanation]) -> None:
    metric = xai.METRICS.build(quick_metric(name))
    declared = metric.cost(gather(cnn.asked(), explanations, masks={explanations[0].image: MASK}))
    sent = scores(cnn, explanations, name)[0].passes.forward
    if declared:
        assert declared / 2 <= sent <= declared * 2
    else:
        assert sent <= 1  # what the model says of the picture itself


@every_metric
def test_a_metric_that_needs_a_mask_says_so_where_none_is_seen(
    name: str, cnn: Model, explanations: list[Explanation]
) -> None:
    for masks, reason in (({}, "has no mask. Give one."), ({explanations[0].image: MASK & False}, "is white")):
        for found in scores(cnn, explanations, name, masks=masks):
            if xai.METRICS[name].needs_mask:
                assert found.value is None
                assert reason in found.why
                assert found.passes == Passes()
            else:
                assert reason not in found.why


@every_metric
def test_cancelling_stops_it_between_batches_and_leaves_nothing(
    name: str, cnn: Model, explanations: list[Explanation]
) -> None:
    batches: list[int] = []
    scores(cnn, explanations, name, progress=lambda done, total: batches.append(done))
    before, cancel = fingerprint(cnn), threading.Event()
    seen: list[int] = []

    def progress(done: int, total: int) -> None:
        seen.append(done)
        cancel.set()

    if len(batches) > 1:
        with pytest.raises(Cancelled):
            scores(cnn, explanations, name, progress=progress, cancel=cancel)
        assert len(seen) == 1, "it went on for another batch"
    cancel.set()
    if batches:
        with pytest.raises(Cancelled):
            scores(cnn, explanations, name, cancel=cancel)
    assert fingerprint(cnn) == before
    assert not cnn._lock.locked()


@every_metric
def test_it_declares_what_it_is_about_and_which_way_is_good(name: str) -> None:
    cls = xai.METRICS[name]
    assert cls.aspect in ASPECTS
    assert cls.better in ("higher", "lower", "")
    assert cls.better or cls.aspect in ("complexity", "where it looks"), "only a description may have no good side"


@every_metric
def test_its_record_builds_it_again(name: str, cnn: Model, explanations: list[Explanation]) -> None:
    [found, *_] = scores(cnn, explanations, name)
    assert xai.METRICS.build(found.metric).to_dict() == dict(found.metric)
    assert (found.better, found.unit) == (xai.METRICS[name].better, xai.METRICS[name].unit)
    assert told(xai.score(cnn, explanations[0], found.metric, mask=MASK)) == told(
        scores(cnn, explanations[:1], name)[0]
    )


@every_metric
@pytest.mark.parametrize("kind", ["probability", "contrast"])
def test_every_kind_of_target_gets_a_number_or_a_reason(name: str, kind: str, cnn: Model, image: Image) -> None:
    against = {"against": 1} if kind == "contrast" else {}
    target = xai.Target(0, "class 0", kind, **against)  # type: ignore[arg-type]
    for found in scores(cnn, [xai.explain(cnn, image, "input_x_gradient", target)], name):
        assert (found.value is None) == bool(found.why)
        assert not found.why or found.why.endswith(".")


@every_metric
def test_a_regression_with_one_output_gets_a_number_or_a_reason(name: str, image: Image) -> None:
    network = seeded(lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 1)))
    model = xai.wrap_model(
        network, labels=["age"], input_size=(3, SIDE, SIDE), name="ages", task="regression", device="cpu"
    )
    [found] = scores(model, [xai.explain(model, image, "input_x_gradient")], name)
    assert (found.value is None) == bool(found.why)
    if xai.METRICS[name].aspect == "randomisation" and name != "weight_randomisation":
        assert found.why == f"{xai.METRICS[name].label} needs " + found.why.partition(" needs ")[2]
        assert found.why.endswith("for age there is none.")


@every_metric
def test_a_map_that_knows_nothing_of_the_model_gets_the_null_of_randomisation(
    name: str, cnn: Model, image: Image
) -> None:
    if xai.METRICS[name].aspect != "randomisation":
        return
    controls = explain_many(cnn, [image], ["random", "sobel_edges", "centre_gaussian", "input_x_gradient"], [0])[0]
    *nothing, something = scores(cnn, controls, name)
    assert [one.value for one in nothing] == pytest.approx([one.null for one in nothing])
    assert xai.METRICS[name].better == "lower"
    assert something.value is not None
    assert something.null is not None
    assert something.value < something.null - 0.1


@pytest.mark.parametrize(
    "name",
    ["average_sensitivity", "max_sensitivity", "faithfulness_correlation", "random_logit", "weight_randomisation",
     "class_contrast", "repeatability"],
)  # fmt: skip
def test_five_class_activation_methods_cost_the_passes_of_one(name: str, cnn: Model, image: Image) -> None:
    five = explain_many(cnn, [image], [{"name": cam, "positive_only": False} for cam in CAMS], [0])[0]
    assert not any(e.flat for e in five)
    assert scores(cnn, five, name)[0].passes == scores(cnn, five[:1], name)[0].passes != Passes()


def test_metrics_of_another_picture_and_target_do_not_mix(cnn: Model, images: list[Image]) -> None:
    """What one group of maps remembers is not told of another."""
    mixed = [xai.explain(cnn, one, "input_x_gradient", target) for one in images[:2] for target in (0, 1)]
    for name in ("deletion", "average_sensitivity", "class_contrast"):
        for together, e in zip(scores(cnn, mixed, name), mixed, strict=True):
            assert told(together) == told(scores(cnn, [e], name)[0])
