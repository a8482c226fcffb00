"""What an audit sends through the network, counted at the network itself."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import xai_core as xai
from tests.conftest import photograph, png_of
from xai_core.cases import CaseSet, read_cases
from xai_core.errors import Cancelled
from xai_core.models import Model

CAMS = ["grad_cam", "grad_cam_plus_plus", "xgrad_cam", "layer_cam", "hires_cam"]
IG = {"name": "integrated_gradients", "steps": 8}
OCCLUSION = {"name": "occlusion", "window": 0.25, "stride": 1.0}
COVERED = 1 + 16  # the whole picture once more, and each square of a quarter of the side
DELETION, INSERTION = ({"name": name, "steps": 4, "baseline": "blur"} for name in ("deletion", "insertion"))
BETWEEN = 3  # points of such a curve between its ends
ENDS = 2  # the picture itself, and the picture fully covered


@pytest.fixture(autouse=True)
def without_its_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made of the answers, and asks no network."""
    monkeypatch.setattr("xai_core.auditing.write_report", lambda *_, **__: None)


class Sent:
    """Pictures that went through a network, forward and backward."""

    def __init__(self) -> None:
        self.forward = self.backward = 0

    def taken(self) -> tuple[int, int]:
        """Since this was last asked."""
        took, self.forward, self.backward = (self.forward, self.backward), 0, 0
        return took


@pytest.fixture
def sent(cnn: Model) -> Iterator[Sent]:
    counted = Sent()
    assert cnn.default_layer  # measured once per model, before anything is counted

    def forth(_: Any, args: tuple[torch.Tensor]) -> None:
        counted.forward += len(args[0])

    def back(_: Any, slopes: tuple[torch.Tensor]) -> None:
        counted.backward += len(slopes[0])

    head = list(cnn.module.children())[-1]
    hooks = [cnn.module.register_forward_pre_hook(forth), head.register_full_backward_pre_hook(back)]
    yield counted
    for hook in hooks:
        hook.remove()


def pictures(*lefts: int) -> CaseSet:
    return read_cases([(f"{left}.png", png_of(photograph(64, left))) for left in lefts], name="photographs")


def audited(
    model: Model, cases: CaseSet, out: Path, methods: Sequence[Any], metrics: Sequence[Any] = (), **how: Any
) -> Any:
    return xai.audit(cases, [model], methods, metrics, out=out, **{"weigh": "none", "controls": False, **how})


def test_the_prediction_and_all_class_activation_maps_of_a_picture_share_one_pass_each_way(
    cnn: Model, sent: Sent, tmp_path: Path
) -> None:
    audited(cnn, pictures(100), tmp_path / "run", CAMS)
    assert sent.taken() == (1, 1)


def test_a_picture_sends_what_its_methods_and_metrics_need_and_no_more(cnn: Model, sent: Sent, tmp_path: Path) -> None:
    methods = ["grad_cam", "layer_cam", IG, OCCLUSION]
    audited(cnn, pictures(100), tmp_path / "run", methods, [DELETION, INSERTION, "sparseness", "border_share"])
    maps = 1 + (8 + 1) + COVERED  # the prediction with the trace, the way and its start, the squares
    scores = ENDS + 2 * len(methods) * BETWEEN
    assert sent.taken() == (maps + scores, 1 + 8)


def test_an_audit_that_is_asked_again_sends_nothing(cnn: Model, sent: Sent, tmp_path: Path) -> None:
    for expected in ((2, 2), (0, 0)):
        audited(cnn, pictures(60, 100), tmp_path / "run", CAMS, ["sparseness"])
        assert sent.taken() == expected


def test_an_audit_that_was_stopped_sends_only_what_is_missing(cnn: Model, sent: Sent, tmp_path: Path) -> None:
    cancel, asked = threading.Event(), (pictures(20, 60, 100), tmp_path / "run", ["grad_cam", OCCLUSION], [DELETION])
    of_one = 1 + COVERED + ENDS + 2 * BETWEEN

    def told(progress: Any) -> None:
        if progress.pictures == 1:
            cancel.set()

    with pytest.raises(Cancelled):
        audited(cnn, *asked, progress=told, cancel=cancel)
    assert sent.taken() == (of_one, 1)
    audited(cnn, *asked)
    assert sent.taken() == (2 * of_one, 2)


def test_a_metric_that_is_added_sends_only_its_own(cnn: Model, sent: Sent, tmp_path: Path) -> None:
    store, cases, methods = tmp_path / "store", pictures(60, 100), ["grad_cam", "layer_cam", OCCLUSION]
    audited(cnn, cases, tmp_path / "maps", methods, store=store)
    assert sent.taken() == (2 * (1 + COVERED), 2)
    of_deletion = ENDS + len(methods) * BETWEEN
    audited(cnn, cases, tmp_path / "deleted", methods, [DELETION], store=store)
    assert sent.taken() == (2 * of_deletion, 0)
    audited(cnn, cases, tmp_path / "sparse", methods, [DELETION, "sparseness"], store=store)
    assert sent.taken() == (0, 0)


def test_a_method_that_is_added_sends_only_its_own(cnn: Model, sent: Sent, tmp_path: Path) -> None:
    store, cases = tmp_path / "store", pictures(100)
    audited(cnn, cases, tmp_path / "one", ["grad_cam"], store=store)
    sent.taken()
    audited(cnn, cases, tmp_path / "two", ["grad_cam", OCCLUSION], store=store)
    assert sent.taken() == (1 + COVERED, 0)  # the picture itself is asked again: which class is explained


def test_a_picture_that_is_there_twice_is_sent_once(cnn: Model, sent: Sent, tmp_path: Path) -> None:
    data = png_of(photograph(64))
    audited(cnn, read_cases([("one.png", data), ("other.png", data)]), tmp_path / "run", CAMS, [DELETION])
    assert sent.taken() == (1 + ENDS + len(CAMS) * BETWEEN, 1)
