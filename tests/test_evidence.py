"""How far a map can be believed: each check against a truth that is known."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch import nn

import xai_core as xai
from tests.conftest import ROOT, SIDE, convolutions, seeded, wrapped
from xai_core import evidence
from xai_core.errors import Cancelled, SettingError
from xai_core.evidence import location_checks, p_value, placed, verdict, weigh, weigh_many
from xai_core.models import Model
from xai_core.records import Check, Explanation, Image
from xai_core.scoring import gather

WINDOW = (slice(4, 10), slice(18, 24))  # what the network below reads


class Window(nn.Module):
    """Says class 0 the surer the brighter one small window is, and never looks elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2, bias=False)
        self.head.weight = nn.Parameter(torch.tensor([[1.0], [-1.0]]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x[:, :, WINDOW[0], WINDOW[1]].mean((1, 2, 3))[:, None])


@pytest.fixture
def window() -> Model:
    return wrapped(Window(), classes=2, name="window")


@pytest.fixture
def bright() -> Image:
    """Noise with a bright square where the window looks."""
    pixels = np.random.default_rng(0).integers(60, 120, (SIDE, SIDE, 3), dtype=np.uint8)
    pixels[WINDOW] = 250
    return Image(pixels, "a" * 64)


def claimed(model: Model, picture: Image, values: np.ndarray, **facts: Any) -> Explanation:
    """A map with these values, as if saliency had made it."""
    e = xai.explain(model, picture, "saliency", target=0)
    return dataclasses.replace(e, values=values.astype(np.float32), **facts)


def marked(down: int = 0, right: int = 0) -> np.ndarray:
    values = np.zeros((SIDE, SIDE))
    values[WINDOW] = 1
    return np.roll(values + np.random.default_rng(1).random((SIDE, SIDE)) / 100, (down, right), (0, 1))


def named(checks: Any) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_the_place_that_the_network_reads_is_better_than_every_shift(window: Model, bright: Image) -> None:
    checks = named(location_checks(gather(window.asked(), [claimed(window, bright, marked())]), 0))
    assert checks["placement"].value == 1 / 40
    assert checks["placement"].passed
    assert checks["controls"].passed


@pytest.mark.parametrize(("times", "passed"), [(0.5, True), (1.9, True), (2.1, False)])
def test_a_control_may_do_as_well_but_not_twice_as_well(
    window: Model, bright: Image, monkeypatch: pytest.MonkeyPatch, times: float, passed: bool
) -> None:
    maps = gather(window.asked(), [claimed(window, bright, marked())])
    sways = placed(maps, maps.values[0])
    effect = float(max(row[0] - row.mean() for row in sways))
    monkeypatch.setattr(evidence, "_controls", lambda *_: {"an edge detector": times * effect})
    check = named(location_checks(maps, 0))["controls"]
    assert check.passed is passed
    assert check.value == pytest.approx(1 / times)


def test_fewer_places_are_some_of_the_same(window: Model, bright: Image) -> None:
    maps = gather(window.asked(), [claimed(window, bright, marked())])
    assert np.array_equal(placed(maps, maps.values[0], 10), placed(maps, maps.values[0])[:, ::4])


def test_the_same_map_at_another_place_is_no_evidence(window: Model, bright: Image) -> None:
    found = weigh(window, claimed(window, bright, marked(14, 13)))
    assert found.verdict == "no evidence"
    assert not named(found.checks)["placement"].passed
    assert "no better than chance" in " ".join(found.reasons)


@pytest.mark.slow
def test_p_values_are_uniform_on_maps_that_carry_nothing(cnn: Model, image: Image) -> None:
    draw = np.random.default_rng(3)
    e = xai.explain(cnn, image, "saliency")
    maps = gather(cnn.asked(), [e])
    found = []
    for _ in range(200):
        cells = torch.from_numpy(draw.random((1, 1, 6, 6)))
        values = torch.nn.functional.interpolate(cells, SIDE)[0, 0].numpy()
        values = np.roll(values, draw.integers(0, SIDE, 2), (0, 1))  # else its cells would know their own place
        found.append(p_value(evidence.larger(placed(maps, values))))
    spread = np.array(found) - draw.random(200) / evidence.PLACES  # p has 40 steps: between them, draw
    assert kstest(spread, "uniform").pvalue > 0.01
    assert np.mean(np.array(found) <= 0.05) < 0.1


def test_a_map_that_ties_with_all_its_shifts_has_a_p_of_one() -> None:
    assert p_value(evidence.larger(np.ones((2, 40)))) == 1


def test_no_place_of_the_grid_is_met_twice_and_its_own_is_the_first() -> None:
    steps = np.arange(evidence.PLACES)
    places = {(int(step), int(step * evidence.TURN % evidence.PLACES)) for step in steps}
    assert len(places) == evidence.PLACES
    assert (0, 0) in places

    def nearest(turn: int) -> float:
        x, y = steps[1:] / evidence.PLACES, steps[1:] * turn % evidence.PLACES / evidence.PLACES
        return float(np.hypot(np.minimum(x, 1 - x), np.minimum(y, 1 - y)).min())

    assert nearest(evidence.TURN) == pytest.approx(max(nearest(turn) for turn in range(1, evidence.PLACES)))


@pytest.mark.slow
def test_soft_borders_find_a_fracture_better_than_hard_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    model = xai.load_model("demo-xray")
    picture = xai.read_image(ROOT / "assets" / "samples" / "xray_simple_fracture_1.png")
    maps = gather(model.asked(), [xai.explain(model, picture, "integrated_gradients")])
    soft = p_value(evidence.larger(placed(maps, maps.values[0])))
    monkeypatch.setattr(evidence, "FEATHER", 0.0)
    hard = p_value(evidence.larger(placed(maps, maps.values[0])))
    assert soft == 1 / 40 < hard


@pytest.mark.parametrize("control", ["random", "sobel_edges", "centre_gaussian", "uniform"])
def test_a_control_is_never_evidence(window: Model, bright: Image, control: str) -> None:
    assert weigh(window, xai.explain(window, bright, control, target=0)).verdict == "no evidence"


def test_a_flat_map_is_no_evidence_and_costs_nothing(window: Model, bright: Image) -> None:
    found = weigh(window, claimed(window, bright, np.zeros((SIDE, SIDE))))
    assert found.verdict == "no evidence"
    assert found.passes.forward == 0
    assert found.reasons[0].startswith("Flat map")


def test_a_map_that_misses_its_sum_is_not_valid_and_costs_nothing(window: Model, bright: Image) -> None:
    e = xai.explain(window, bright, {"name": "integrated_gradients", "steps": 8}, target=0)
    found = weigh(window, dataclasses.replace(e, gap=0.31, valid=False))
    assert found.verdict == "not valid for this model"
    assert found.passes.forward == 0
    assert "31.00%" in found.reasons[0]


def test_a_map_that_survives_new_weights_is_no_evidence(cnn: Model, image: Image) -> None:
    e = xai.explain(cnn, image, "sobel_edges")
    check = named(weigh(cnn, e).checks)["randomisation"]
    assert check.passed is False
    assert check.value == pytest.approx(1)


def test_the_runner_up_of_a_map_that_never_looks_at_the_target_is_the_same(cnn: Model, image: Image) -> None:
    check = named(weigh(cnn, xai.explain(cnn, image, "eigen_cam")).checks)["class contrast"]
    assert check.passed is False
    assert check.value == pytest.approx(1)


def test_a_regression_has_no_runner_up(image: Image) -> None:
    model = xai.wrap_model(
        seeded(convolutions), labels=["age", "height", "weight"], input_size=(3, SIDE, SIDE), mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25), task="regression", device="cpu",
    )  # fmt: skip
    found = named(weigh(model, xai.explain(model, image, "saliency", target=0)).checks)
    assert found["class contrast"].passed is None


def test_pictures_to_compare_with_are_asked_for_again(cnn: Model, image: Image, images: list[Image]) -> None:
    e = xai.explain(cnn, image, {"name": "deep_shap", "background": "pictures"}, background_images=images[1:])
    with pytest.raises(SettingError, match="pictures"):
        weigh(cnn, e)
    assert weigh(cnn, e, background_images=images[1:]).checks


def test_only_chance_is_asked_to_repeat_itself(cnn: Model, image: Image) -> None:
    few = {"name": "rise", "samples": 50, "cells": 4}
    found = weigh_many(cnn, xai.explain_many(cnn, [image], ["saliency", few])[0])
    assert named(found[0].checks)["repeatability"].passed is None
    assert named(found[1].checks)["repeatability"].value is not None


@pytest.mark.parametrize(
    ("failed", "said"),
    [
        ((), "supported"),
        (("class contrast",), "weak"),
        (("repeatability",), "weak"),
        (("placement", "class contrast"), "no evidence"),
        (("controls",), "no evidence"),
        (("randomisation",), "no evidence"),
        (("flat",), "no evidence"),
        (("completeness", "placement"), "not valid for this model"),
        (("gradient flow",), "not valid for this model"),
    ],
)
def test_the_worst_failed_check_decides(failed: tuple[str, ...], said: str) -> None:
    checks = [Check(name, name not in failed, name) for name in named_all()]
    assert verdict(checks) == said
    assert verdict([dataclasses.replace(c, passed=None) if c.passed else c for c in checks]) == said


def named_all() -> tuple[str, ...]:
    return (
        "flat", "gradient flow", "completeness", "class contrast", "randomisation", "repeatability", "placement",
        "controls",
    )  # fmt: skip


def test_every_check_is_asked_or_says_why_not(cnn: Model, image: Image) -> None:
    [found] = weigh_many(cnn, [xai.explain(cnn, image, "grad_cam")])
    assert tuple(check.name for check in found.checks) == named_all()
    assert all(check.sentence.endswith(".") for check in found.checks)
    assert all(check.sentence.startswith("Not asked") for check in found.checks if check.passed is None)


def test_maps_weighed_together_get_what_they_get_alone_and_twice_the_same(cnn: Model, image: Image) -> None:
    explained = xai.explain_many(cnn, [image], ["grad_cam", "saliency", "sobel_edges"])[0]
    told: list[int] = []
    together = weigh_many(cnn, explained, each=lambda number, _: told.append(number))
    alone = [weigh(cnn, e) for e in explained]
    assert told == [0, 1, 2]
    for one, other in zip(together, alone, strict=True):
        assert one.verdict == other.verdict
        for check, same in zip(one.checks, other.checks, strict=True):
            assert check.passed == same.passed
            assert check.value is None or check.value == pytest.approx(same.value, rel=1e-4, abs=1e-6)
    assert [e.checks for e in weigh_many(cnn, explained)] == [e.checks for e in together]


def test_a_map_of_another_network_is_refused(cnn: Model, left_half: Model, image: Image) -> None:
    with pytest.raises(SettingError, match="other weights"):
        weigh(left_half, xai.explain(cnn, image, "saliency"))


def test_weighing_stops_when_cancelled(cnn: Model, image: Image) -> None:
    cancel = threading.Event()
    e = xai.explain(cnn, image, "grad_cam")
    with pytest.raises(Cancelled):
        weigh(cnn, e, cancel=cancel, progress=lambda done, total: cancel.set())


def test_progress_ends_near_its_total(cnn: Model, image: Image) -> None:
    heard: list[tuple[int, int]] = []
    weigh(cnn, xai.explain(cnn, image, "grad_cam"), progress=lambda done, total: heard.append((done, total)))
    done, total = heard[-1]
    assert 0.8 * total <= done <= total
