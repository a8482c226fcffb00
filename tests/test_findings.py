"""One map per finding: what it costs, whether the maps differ, and what is said where they do not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

import xai_core as xai
from tests.conftest import ROOT, SIDE, convolutions, png_of, seeded
from tests.test_command_line import said as said
from xai_core import findings
from xai_core.errors import SettingError
from xai_core.findings import MOST, same_for_all
from xai_core.models import Model
from xai_core.options import targets_of
from xai_core.records import Explanation, Image, Passes, Prediction, Target

Said = Callable[..., str]
COLOURS = ("red", "green", "blue")
SAMPLE = ROOT / "assets" / "samples" / "xray_simple_fracture_1.png"


class Counting(nn.Module):
    """A network that counts how many pictures go forward through it."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.forward_passes = network, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.forward_passes += len(x)
        return self.network(x)


def reading(weights: Sequence[Sequence[float]]) -> nn.Module:
    """Each finding is a sum of the mean red, green and blue of the picture, with these weights."""
    seen, head = nn.Conv2d(3, 3, 4, stride=4, bias=False), nn.Linear(3, len(weights))
    seen.weight.data = torch.eye(3)[:, :, None, None].expand(3, 3, 4, 4) / 16
    head.weight.data, head.bias.data = torch.tensor(weights, dtype=torch.float32), torch.zeros(len(weights))
    return nn.Sequential(seen, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head)


def tasked(module: nn.Module, labels: Sequence[str], task: str = "multi label") -> Model:
    return xai.wrap_model(
        module, labels=labels, input_size=(3, SIDE, SIDE), mean=(0.0,) * 3, std=(1.0,) * 3, task=task, device="cpu"
    )


@pytest.fixture
def quadrants() -> Image:
    """Red above on the left, green above on the right, blue below on the left, each growing towards the corner."""
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    half, rise = SIDE // 2, np.linspace(60, 250, SIDE // 2).astype(np.uint8)
    pixels[:half, :half, 0] = rise[::-1, None]
    pixels[:half, half:, 1] = rise[None]
    pixels[half:, :half, 2] = rise[:, None]
    return xai.read_image(png_of(pixels), "quadrants.png")


def each(model: Model, image: Image, method: str = "grad_cam") -> list[Explanation]:
    count = len(model.labels)
    return [e for [e] in xai.explain_many(model, [image] * count, [method], list(range(count)))]


def drawn(maps: dict[str, np.ndarray], method: str = "grad_cam", task: str = "multi label") -> list[Explanation]:
    """Maps with these values, as if a method had made them."""
    return [
        Explanation(
            values.astype(np.float32), np.zeros((*values.shape, 3), np.uint8), {"name": method}, {"task": task},
            Target(i, label), "picture", 0, 0.0, Passes(1, 1), values.shape,
        )
        for i, (label, values) in enumerate(maps.items())
    ]  # fmt: skip


def ramp(swapped: int = 0) -> np.ndarray:
    """A 10 x 10 map of the ranks 0 to 99; the lowest has changed places with the one that is so many ranks above.

    By Spearman's formula, its rank correlation with the unchanged map is 1 - 6 * 2 * swapped^2 / (100 * 9999).
    """
    values = np.arange(100.0)
    values[[0, swapped]] = values[[swapped, 0]]
    return values.reshape(10, 10)


# ---- networks whose findings are known -----------------------------------------------------------------------------


def test_findings_that_look_at_different_quadrants_get_maps_of_their_own(quadrants: Image) -> None:
    maps = each(tasked(reading([[1, 0, 0], [0, 1, 0], [0, 0, 1]]), COLOURS), quadrants)
    half = SIDE // 2
    for e, (top, left) in zip(maps, ((True, True), (True, False), (False, True)), strict=True):
        row, column = e.peak
        assert (row < half, column < half) == (top, left), e.target
    assert same_for_all(maps) is None


def test_findings_that_read_the_same_pixels_are_found_out(quadrants: Image) -> None:
    maps = each(tasked(reading([[1, 0, 0], [3, 0, 0], [0.2, 0, 0]]), COLOURS), quadrants)
    assert same_for_all(maps) == (
        "Grad-CAM gives nearly the same map for every finding (rank correlation 1.00 over 3 pairs of 3 findings): it "
        "says where the network looks, not what for which finding."
    )


def test_findings_that_share_most_of_what_they_read_are_told_from_the_others(quadrants: Image) -> None:
    maps = each(tasked(reading([[1, 0.01, 0], [0, 1, 0], [1, 0.02, 0]]), ("effusion", "mass", "edema")), quadrants)
    alike = spearmanr(maps[0].values, maps[2].values, axis=None).statistic
    assert same_for_all(maps) == (
        f"Grad-CAM gives nearly the same map for effusion and edema (rank correlation {alike:.2f}): it does not tell "
        "these findings apart."
    )


# ---- what is said --------------------------------------------------------------------------------------------------


def test_the_range_of_correlations_is_the_one_worked_out_by_hand() -> None:
    # For the last pair, which differs in three places: 1 - 6 * (20^2 + 30^2 + 50^2) / 999900.
    maps = drawn({"edema": ramp(50), "mass": ramp(), "effusion": ramp(30)})
    ranks = [e.values.ravel() for e in maps]
    by_hand = [
        1 - 6 * float(((a - b) ** 2).sum()) / (100 * 9999) for a, b in zip(ranks, ranks[1:] + ranks[:1], strict=True)
    ]
    assert by_hand == pytest.approx([0.97000, 0.98920, 0.97720], abs=1e-5)
    said = same_for_all(maps)
    assert said is not None
    assert f"(rank correlation {min(by_hand):.2f} to {max(by_hand):.2f} over 3 pairs of 3 findings)" in said


@pytest.mark.parametrize(("swapped", "same"), [(63, True), (66, False)])  # 0.9524 and 0.9477
def test_maps_are_the_same_above_the_limit_of_the_class_contrast(swapped: int, same: bool) -> None:
    assert (same_for_all(drawn({"a": ramp(), "b": ramp(swapped)})) is not None) == same


def test_some_findings_that_share_a_map_are_named() -> None:
    maps = {"edema": ramp(), "mass": ramp()[::-1], "effusion": ramp(30), "nodule": ramp().T, "hernia": ramp(30)[::-1]}
    assert same_for_all(drawn(maps)) == (
        "Grad-CAM gives nearly the same map for edema and effusion (rank correlation 0.99), and for mass and hernia "
        "(rank correlation 0.99): it does not tell these findings apart."
    )


def test_every_two_maps_of_a_group_are_alike_not_only_neighbours_in_a_chain() -> None:
    first, second, third = ramp(), ramp(60), ramp(60)
    third[[4, 9], [0, 9]] = third[[9, 4], [9, 0]]  # the ranks 40 and 99
    pairs = [(first, second), (second, third), (first, third)]
    alike = [spearmanr(one, other, axis=None).statistic for one, other in pairs]
    assert alike[0] > 0.95 < alike[1]
    assert alike[2] < 0.95
    said = same_for_all(drawn({"edema": first, "mass": second, "hernia": third}))
    assert said == (
        f"Grad-CAM gives nearly the same map for edema and mass (rank correlation {alike[0]:.2f}): it does not tell "
        "these findings apart."
    )


def test_flat_maps_are_left_out_and_counted() -> None:
    flat = np.zeros((10, 10))
    assert same_for_all(drawn({"a": ramp(), "b": flat})) is None
    assert same_for_all(drawn({"a": flat, "b": flat, "c": flat})) is None
    said = same_for_all(drawn({"a": ramp(), "b": flat, "c": ramp(), "d": flat}))
    assert said is not None
    assert "1 pair of 2 findings" in said
    assert said.endswith("2 flat maps are left out.")


def test_one_map_is_the_same_for_nothing() -> None:
    assert same_for_all(drawn({"a": ramp()})) is None
    assert same_for_all(drawn({"a": ramp()}, "eigen_cam")) is None


@pytest.mark.parametrize(
    ("task", "noun"), [("multi label", "finding"), ("single label", "class"), ("regression", "output")]
)
def test_a_method_that_never_looks_at_the_target_is_said_to_be_so_unmeasured(
    task: str, noun: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(findings, "rank_correlations", None)
    assert same_for_all(drawn({"a": ramp(), "b": ramp()}, "eigen_cam", task)) == (
        f"Eigen-CAM never looks at the target: every {noun} gets this same map."
    )


def test_classes_are_called_classes() -> None:
    said = same_for_all(drawn({"a": ramp(), "b": ramp()}, task="single label"))
    assert said is not None
    assert "every class" in said
    assert "1 pair of 2 classes" in said


# ---- what it costs -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "layer_cam", "eigen_cam"])
def test_maps_of_fourteen_findings_cost_one_forward_pass(method: str, image: Image) -> None:
    def many() -> nn.Module:
        return nn.Sequential(*list(convolutions())[:-1], nn.Linear(12, 14))

    model = tasked(Counting(seeded(many)), [f"finding {i}" for i in range(14)])
    _ = model.default_layer  # measured once for a model, on noise
    before = model.module.forward_passes
    maps = each(model, image, method)
    assert model.module.forward_passes - before == 1
    assert len(maps) == 14
    assert maps[5].passes == Passes(1, 1)  # what it would have cost alone, whatever its company


def test_a_finding_gets_the_map_that_it_gets_alone(image: Image) -> None:
    model = tasked(seeded(convolutions), COLOURS)
    for i, together in enumerate(each(model, image)):
        alone = xai.explain(model, image, "grad_cam", i)
        assert together.values.tobytes() == alone.values.tobytes()
        assert together.target == alone.target


# ---- on the command line -------------------------------------------------------------------------------------------


def test_the_command_line_makes_a_map_for_every_class_and_one_record_of_them(said: Said, tmp_path: Path) -> None:
    out = tmp_path / "record"
    printed = said("explain", "--image", str(SAMPLE), "--target", "all", "--method", "hires_cam", "--out", str(out))
    assert "one for each of 3 classes" in printed
    for label in ("normal", "simple fracture", "comminuted fracture"):
        assert sum(line.startswith(f"  {label}  ") for line in printed.splitlines()) == 1
    record = xai.open_record(out)
    assert [e.target.index for e in record.explanations] == [0, 1, 2]
    alone = xai.explain(xai.load_model("demo-xray"), xai.read_image(SAMPLE), "hires_cam", 2)
    assert record.explanations[2].values.tobytes() == alone.values.tobytes()
    assert xai.verify(out).ok


def test_the_command_line_says_that_a_map_is_the_same_for_every_class(said: Said, tmp_path: Path) -> None:
    out = str(tmp_path / "record")
    printed = said("explain", "--image", str(SAMPLE), "--target", "all", "--method", "eigen_cam", "--out", out)
    assert printed.count("Eigen-CAM never looks at the target: every class gets this same map.") == 1


def test_the_command_line_takes_several_targets_in_their_order(said: Said, tmp_path: Path) -> None:
    out = tmp_path / "record"
    names = ("--target", "2", "--target", "normal", "--target", "2")
    said("explain", "--image", str(SAMPLE), *names, "--method", "hires_cam", "--kind", "probability", "--out", str(out))
    targets = [e.target for e in xai.open_record(out).explanations]
    assert targets == [Target(2, "comminuted fracture", "probability"), Target(0, "normal", "probability")]


def prediction(count: int, task: str = "multi label") -> Prediction:
    labels = tuple(f"finding {i}" for i in range(count))
    return Prediction(labels, np.zeros(count, np.float32), {"task": task}, "picture")


def test_more_findings_than_fit_are_refused_with_what_to_do() -> None:
    assert len(targets_of(["all"], "logit", None, prediction(MOST))) == MOST
    sentence = "each of 33 findings was asked for, and at most 32 are made at once. Name those that you want"
    with pytest.raises(SettingError, match=sentence):
        targets_of(["all"], "logit", None, prediction(MOST + 1))
    with pytest.raises(SettingError, match="each of 40 classes"):
        targets_of([str(i) for i in range(40)], "logit", None, prediction(50, "single label"))
    assert len(targets_of(["7", "finding 7"], "logit", None, prediction(1000))) == 1


def test_all_against_one_leaves_that_one_out() -> None:
    held = targets_of(["all"], "contrast", "1", prediction(3, "single label"))
    assert [(target.index, target.against) for target in held] == [(0, 1), (2, 1)]


def test_a_class_that_is_called_all_can_be_asked_for() -> None:
    named = Prediction(("none", "some", "all"), np.zeros(3, np.float32), {}, "picture")
    assert [target.index for target in targets_of(["all"], "logit", None, named)] == [2]
