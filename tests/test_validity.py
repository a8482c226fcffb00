"""The verdict on every method for a network: against what the methods themselves say, measure and cost."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
from torch import nn

import xai_core as xai
from tests.conftest import quick, wrapped
from tests.test_contracts import fingerprint
from xai_core.errors import Cancelled, SettingError, UnsupportedError
from xai_core.methods import FAMILIES
from xai_core.models import Model
from xai_core.records import Image, Passes
from xai_core.tables import matrix
from xai_core.validity import Validity, _Speed, example, share, survey, tally

ALL = [quick(name) for name in xai.METHODS]


class Switch(nn.Module):
    """Class 1 is on in every picture brighter than nearly black, and its slope is zero almost everywhere."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        on = torch.sigmoid(1000 * (x.flatten(1).mean(1) + 1))
        return torch.stack([0 * on, on, 0 * on - 1], dim=1)


class Blind(nn.Module):
    """Says the same of every picture."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0 * x.flatten(1).sum(1, keepdim=True) + torch.tensor([3.0, 1, 2])


@pytest.mark.parametrize("network", ["cnn", "transformer"])
def test_every_method_has_a_verdict_that_agrees_with_its_own_word_its_map_and_its_cost(
    network: str, image: Image, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(network)
    found = {one.name: one for one in survey(model, image, ALL)}
    assert sorted(found) == list(xai.METHODS)
    for spec in ALL:
        method = xai.METHODS.build(spec)
        one = found[method.name]
        if reason := method.why_not(model):
            assert (one.verdict, one.reason, one.passes, one.seconds) == ("not valid", reason, None, None)
            continue
        e = xai.explain(model, image, method)
        assert one.passes == e.passes == method.fitted(model).cost(model)
        assert one.seconds is not None
        assert one.seconds >= 0
        assert one.gap == e.gap
        expected = "approximate" if method.approximate else "valid" if e.valid else "not valid"
        assert one.verdict == expected
        assert one.measured or not method.promises, "a promise was not measured"


def test_families_stay_together_and_controls_come_last(cnn: Model, image: Image) -> None:
    families = [one.family for one in survey(cnn, image, ALL)]
    assert families == sorted(families, key=FAMILIES.index)
    assert families[-1] == "control"


def test_exact_values_are_valid_and_values_that_miss_their_sum_are_not(linear: Model, image: Image) -> None:
    [exact] = survey(linear, image, [quick("integrated_gradients")])
    assert (exact.verdict, exact.reason) == ("valid", "")
    assert exact.gap is not None
    assert exact.gap < 1e-4  # float32 sums over 3,072 values
    [missed] = survey(wrapped(Switch()), image, [quick("integrated_gradients")])
    assert missed.verdict == "not valid"
    assert missed.gap == pytest.approx(1, abs=1e-3)  # no stop meets the step, so the values add up to nothing
    assert missed.reason.endswith("more than 5%. Take more steps, or another baseline.")


def test_a_promise_for_endless_draws_is_approximate_however_small_its_gap(linear: Model, image: Image) -> None:
    [small] = survey(linear, image, [quick("expected_gradients")])
    assert small.gap == pytest.approx(0, abs=1e-4)  # every background is drawn equally often
    assert small.reason.endswith("these miss it by " + share(small.gap or 0) + ".")
    [large] = survey(wrapped(Switch()), image, [{**quick("expected_gradients"), "background": "black"}])
    assert large.gap == pytest.approx(1, abs=1e-3)
    assert large.reason.endswith("these miss it by 100%. Take more draws, or another background.")
    assert small.verdict == large.verdict == "approximate"


def test_a_flat_map_is_said(image: Image) -> None:
    for one in survey(wrapped(Blind()), image, [quick("saliency"), quick("integrated_gradients")]):
        assert one.reason == "Flat map: every value is zero, so nothing here speaks for or against the target."
        assert one.gap is None


def test_a_sum_of_zero_has_no_gap(image: Image) -> None:
    class Balance(nn.Module):
        """What the left half adds the right half takes away."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            left, right = x.chunk(2, dim=3)
            value = left.flatten(1).sum(1) - right.flip(3).flatten(1).sum(1)
            return torch.stack([value, value - 1, value - 2], dim=1)

    mirrored = np.concatenate([image.pixels[:, :128], image.pixels[:, 127::-1]], axis=1)
    model = wrapped(Balance())
    [one] = survey(model, Image(mirrored, "0" * 64), [quick("integrated_gradients")])
    assert (one.verdict, one.gap) == ("valid", None)
    assert one.reason.startswith("What the values promise to add up to is zero")


def test_a_method_that_fails_on_the_way_is_not_valid_and_stops_no_other(
    cnn: Model, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> torch.Tensor:
        raise UnsupportedError("It cannot be done.")

    monkeypatch.setattr(xai.METHODS["saliency"], "attribute", broken)
    found = {one.name: one for one in survey(cnn, image, [quick("saliency"), quick("grad_cam"), quick("lime")])}
    assert (found["saliency"].verdict, found["saliency"].reason) == ("not valid", "It cannot be done.")
    assert found["saliency"].seconds is None
    assert {found["grad_cam"].verdict, found["lime"].verdict} == {"valid"}


def test_a_mistaken_setting_is_no_verdict(cnn: Model, image: Image) -> None:
    with pytest.raises(SettingError, match="Give some"):
        survey(cnn, image, [{"name": "expected_gradients", "background": "pictures"}])
    [one] = survey(cnn, image, [{**quick("expected_gradients"), "background": "pictures"}], background_images=[image])
    assert one.verdict == "approximate"
    with pytest.raises(SettingError, match="Seed -1 is not allowed"):
        survey(cnn, image, ["lime"], seed=-1)
    with pytest.raises(SettingError, match="Did you mean 'grad_cam'"):
        survey(cnn, image, ["grad_kam"])


def test_seconds_are_measured_where_the_method_ran_and_estimated_from_passes_elsewhere(
    cnn: Model, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _Speed(2, 5).seconds(Passes(10, 4)) == 6 * 2 + 4 * 5
    monkeypatch.setattr("xai_core.validity._speed", lambda *_: _Speed(100, 300))
    found = {one.name: one for one in survey(cnn, image, ALL)}
    assert (found["lime"].measured, found["lime"].seconds) == (False, 50 * 100)
    assert (found["smooth_grad"].measured, found["smooth_grad"].seconds) == (False, 8 * 300)
    for name in ("grad_cam", "saliency", "integrated_gradients", "kernel_shap", "random"):
        assert found[name].measured
        assert 0 <= (found[name].seconds or 0) < 60


def test_a_pass_is_timed_in_seconds_and_backward_adds_to_forward(cnn: Model, image: Image) -> None:
    before = cnn.passes
    [one] = survey(cnn, image, [quick("lime")])
    assert one.seconds is not None
    assert 0 < one.seconds < 10
    assert cnn.passes == before


def test_it_leaves_neither_state_nor_notes(cnn: Model, image: Image) -> None:
    before = fingerprint(cnn)
    survey(cnn, image, ALL)
    assert fingerprint(cnn) == before
    assert cnn.take_notes() == ()


def test_it_stops_when_it_is_cancelled(cnn: Model, image: Image) -> None:
    cancel, seen = threading.Event(), []

    def progress(done: int, total: int) -> None:
        assert 0 < done <= total
        seen.append(done)
        cancel.set()

    with pytest.raises(Cancelled):
        survey(cnn, image, ALL, progress=progress, cancel=cancel)
    assert len(seen) == 1


def test_the_count_leaves_controls_apart() -> None:
    found = [
        Validity("a", "A", "gradient", "valid", ""),
        Validity("b", "B", "gradient", "valid", ""),
        Validity("c", "C", "gradient", "approximate", "why"),
        Validity("d", "D", "attention", "not valid", "why"),
        Validity("e", "E", "control", "valid", ""),
    ]
    assert tally(found) == "2 of 4 methods valid, 1 approximate, 1 not valid; beside them 1 control"
    assert tally(found[:2]) == "2 of 2 methods valid"


def test_the_matrix_has_a_line_for_every_method_and_the_reason_below() -> None:
    lines = list(
        matrix(
            [
                Validity("ig", "IG", "gradient", "not valid", "It misses.", 0.5812, Passes(32, 32), 1.25, True),
                Validity("lime", "LIME", "perturbation", "valid", "", None, Passes(500), 30.0),
                Validity("lrp", "LRP", "backward rules", "valid", "", 2e-7, Passes(1, 1), 0.5, True),
            ]
        )
    )
    row = next(line for line in lines if line.strip().startswith("ig "))
    assert row.split() == ["ig", "not", "valid", "58.12%", "32", "+", "32", "1.25"]
    assert lines[lines.index(row) + 1].strip() == "It misses."
    assert any(line.split() == ["lime", "valid", "500", "+", "0", "~30.00"] for line in lines)
    assert any("< 0.01%" in line for line in lines), "rounded to a certainty"


def test_a_picture_to_try_needs_no_download_and_fits_the_model(cnn: Model) -> None:
    picture, words = example(xai.load_model("demo-face"))
    assert words.startswith("face_")
    assert picture.pixels.shape[2] == 3
    picture, words = example(cnn)
    assert words == "astronaut.png, a photograph that ships with scikit-image"
    assert picture.pixels.shape == (512, 512, 3)


def test_a_picture_is_made_where_no_package_brings_one(cnn: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xai_core.validity.find_spec", lambda _: None)
    first, words = example(cnn)
    assert "noise" in words
    assert (first.pixels == example(cnn)[0].pixels).all()
    assert [one.verdict for one in survey(cnn, first, ["saliency"])] == ["valid"]
