"""Small pictures and small networks with known truth: no download, no GPU, no network."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from PIL import Image as PillowImage
from torch import nn

import xai_core as xai
from xai_core.models import Model
from xai_core.records import Image

hypothesis.settings.register_profile("same every time", derandomize=True)
hypothesis.settings.load_profile("same every time")
torch.set_num_threads(1)  # the networks are small: more threads only wait for each other
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as shells start what runs behind them, and children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
REAL_DATA = Path(os.environ.get("SECOND_LOOK_DATA", ROOT.parent / "shared" / "data"))
SIDE = 32  # of the small networks' pictures


def png_of(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def photograph(side: int = 256, left: int = 100) -> np.ndarray:
    """A square of a real photograph that ships with scikit-image, (side, side, 3) uint8."""
    from skimage.data import astronaut

    return np.ascontiguousarray(astronaut()[20 : 20 + side, left : left + side])


@pytest.fixture
def png() -> bytes:
    return png_of(photograph())


@pytest.fixture
def image(png: bytes) -> Image:
    return xai.read_image(png, "astronaut.png")


@pytest.fixture
def images() -> list[Image]:
    return [xai.read_image(png_of(photograph(200, left))) for left in (0, 60, 120)]


@pytest.fixture(scope="session")
def real_data() -> Path:
    if not REAL_DATA.is_dir():
        pytest.skip("the folder with real pictures is not here: set SECOND_LOOK_DATA to use one")
    return REAL_DATA


def wrapped(module: nn.Module, side: int = SIDE, name: str = "small", classes: int = 3) -> Model:
    return xai.wrap_model(
        module,
        labels=[f"class {i}" for i in range(classes)],
        input_size=(3, side, side),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        name=name,
        device="cpu",
    )


def seeded(make: type[nn.Module] | object, seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()  # type: ignore[operator]


def convolutions() -> nn.Module:
    """Two convolutions, in-place ReLUs, mean pooling, one linear layer: the shape Grad-CAM was made for."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2),
        nn.ReLU(inplace=True),
        nn.Conv2d(8, 12, 3, padding=1, stride=2),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 3),
    )


class Transformer(nn.Module):
    """A class token and 4 x 4 patches, two blocks of attention, and a head that reads the class token."""

    num_prefix_tokens = 1

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 8, stride=8)
        self.token = nn.Parameter(torch.randn(1, 1, 16) / 4)
        self.places = nn.Parameter(torch.randn(1, 17, 16) / 4)
        self.blocks = nn.Sequential(Block(), Block())
        self.head = nn.Linear(16, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1) + self.places
        return self.head(self.blocks(tokens)[:, 0])


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(16), nn.LayerNorm(16)
        self.qkv, self.proj = nn.Linear(16, 48), nn.Linear(16, 16)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n, tokens, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(n, tokens, 3, 2, 8).permute(2, 0, 3, 1, 4)
        seen = nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.proj(seen.transpose(1, 2).reshape(n, tokens, width))
        return x + self.mlp(self.norm2(x))


class Linear(nn.Module):
    """f(x) = W x."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3 * SIDE * SIDE, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.flatten(1))


class Quadratic(nn.Module):
    """f(x) = sum of x squared, its negative, and zero."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = (x**2).flatten(1).sum(1)
        return torch.stack([total, -total, 0 * total], dim=1)


class LeftHalf(nn.Module):
    """A ReLU network that reads the left half of the picture only."""

    def __init__(self) -> None:
        super().__init__()
        self.network = convolutions()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros_like(x)
        mask[..., : SIDE // 2] = 1
        return self.network(x * mask)


@pytest.fixture
def cnn() -> Model:
    return wrapped(seeded(convolutions))


@pytest.fixture
def transformer() -> Model:
    return wrapped(seeded(Transformer))


@pytest.fixture
def linear() -> Model:
    return wrapped(seeded(Linear))


@pytest.fixture
def quadratic() -> Model:
    return wrapped(Quadratic())


@pytest.fixture
def left_half() -> Model:
    return wrapped(seeded(LeftHalf))


_timm: dict[str, Model] = {}


def timm_model(name: str) -> Model:
    """A timm network with random weights, made once for the whole run; "resnet18 at 96 pixels" is a quicker one."""
    if name not in _timm:
        architecture, _, side = name.removesuffix(" pixels").partition(" at ")
        if side:
            module = created(architecture, int(side))
            labels = [f"class {i}" for i in range(module.num_classes)]
            _timm[name] = xai.wrap_model(
                module, labels=labels, input_size=(3, int(side), int(side)), name=name, device="cpu"
            )
        else:
            _timm[name] = xai.load_model(architecture, pretrained=False, seed=0, device="cpu")
    return _timm[name]


def created(architecture: str, side: int) -> nn.Module:
    """A timm network for pictures of that side, told to those that must know it beforehand."""
    from xai_core.loading import create

    try:
        network = create(architecture, pretrained=False, img_size=side)
    except TypeError:
        network = create(architecture, pretrained=False)
    head = network.get_classifier()
    if isinstance(head, nn.Linear) and not head.weight.any():  # a head that starts at zero says nothing of any picture
        head.weight.data.normal_(0, 0.05, generator=torch.Generator().manual_seed(0))
    for part in network.modules():
        if type(part).__name__ == "LayerScale":  # starts at 1e-5, which leaves nothing of a block
            part.gamma.data.fill_(0.1)
    return network


def quick(name: str) -> dict[str, object]:
    """A method by name with settings that keep a test short."""
    small = {
        "integrated_gradients": {"steps": 8},
        "gradient_shap": {"samples": 8},
        "expected_gradients": {"samples": 8},
        "kernel_shap": {"samples": 50, "segments": 20},
        "partition_shap": {"evaluations": 50},
        "lime": {"samples": 50, "segments": 20},
        "occlusion": {"window": 0.25, "stride": 1.0},
        "rise": {"samples": 50, "cells": 4},
        "smooth_grad": {"samples": 8},
    }
    return {"name": name, **small.get(name, {})}


def quick_metric(name: str) -> dict[str, object]:
    """A metric by name with settings that keep a test short."""
    small = {
        "average_sensitivity": {"samples": 3},
        "deletion": {"steps": 6},
        "faithfulness_correlation": {"draws": 10},
        "infidelity": {"draws": 10},
        "insertion": {"steps": 6},
        "max_sensitivity": {"samples": 3},
        "random_logit": {"classes": 2},
        "seed_stability": {"seeds": 2},
        "weight_randomisation": {"networks": 2},
    }
    return {"name": name, **small.get(name, {})}


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., str]:
    """Run a command in this process, and give the one sentence that it ends with; nothing may be left."""

    def run(*words: str | Path) -> str:
        from xai_core.__main__ import main

        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["xai_core", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        assert stopped.value.code == 1
        sentence = capsys.readouterr().err.strip()
        assert len(sentence.splitlines()) == 1, sentence
        assert sentence.endswith((".", "?")), sentence
        assert sorted(tmp_path.rglob("*")) == before
        return sentence

    return run
