"""Small pictures and small networks with known truth: no download, no GPU, no network."""

from __future__ import annotations

import io
import os
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
        model = xai.load_model(architecture, pretrained=False, seed=0, device="cpu")
        if side:
            model = xai.wrap_model(
                model.module, labels=model.labels, input_size=(3, int(side), int(side)), name=name, device="cpu"
            )
        _timm[name] = model
    return _timm[name]


def quick(name: str) -> dict[str, object]:
    """A method by name with settings that keep a test short."""
    small = {
        "integrated_gradients": {"steps": 8},
        "gradient_shap": {"samples": 8},
        "lime": {"samples": 50, "segments": 20},
        "occlusion": {"window": 0.25, "stride": 1.0},
    }
    return {"name": name, **small.get(name, {})}
