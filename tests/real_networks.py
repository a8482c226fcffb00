"""Two trained networks from a folder of real data, wrapped as anybody would wrap their own.

The program offers them on its pages when it is started with SECOND_LOOK_MODELS=tests/real_networks.py; the folder is
named by SECOND_LOOK_DATA. What the folder must hold is written there, in weights/SOURCE.txt.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

import xai_core as xai
from xai_core.checkpoints import read_checkpoint
from xai_core.models import Model

WEIGHTS = Path(os.environ.get("SECOND_LOOK_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "weights"
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


class Residual(nn.Module):
    """Two 3 x 3 convolutions and a shortcut without weights: every second pixel, new channels zero (option A).

    He et al. 2015, sections 3.3 and 4.2, https://arxiv.org/abs/1512.03385
    """

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.stride, self.more = (1, 0) if channels == channels_in else (2, channels - channels_in)
        self.conv1 = nn.Conv2d(channels_in, channels, 3, self.stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = x[:, :, :: self.stride, :: self.stride]
        shortcut = functional.pad(shortcut, (0, 0, 0, 0, self.more // 2, self.more // 2))
        return functional.relu(self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))) + shortcut)


class ResNet20(nn.Module):
    """The network of He et al. 2015, section 4.2, with n = 3: 20 layers with weights, for 32 x 32 pictures."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Residual(16, 16) for _ in range(3)))
        self.layer2 = nn.Sequential(Residual(16, 32), *(Residual(32, 32) for _ in range(2)))
        self.layer3 = nn.Sequential(Residual(32, 64), *(Residual(64, 64) for _ in range(2)))
        self.linear = nn.Linear(64, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: torch.Tensor = self.linear(x.mean(dim=(2, 3)))
        return logits


def resnet20() -> Model:
    """ResNet-20 trained on CIFAR-10; published test error 8.27 %."""
    network = ResNet20()
    network.load_state_dict(read_checkpoint(WEIGHTS / "resnet20-12fca82f.th").weights)
    return xai.wrap_model(network, labels=CIFAR10, input_size=(3, 32, 32), name="resnet20-cifar10")


def squeezenet() -> Model:
    """SqueezeNet 1.0 trained on ImageNet; published top-1 accuracy 57.5 %."""
    from timm.data.imagenet_info import ImageNetInfo
    from torchvision.models import squeezenet1_0

    network = squeezenet1_0()
    network.load_state_dict(read_checkpoint(WEIGHTS / "squeezenet1_0_imagenet_rgb.safetensors").weights)
    return xai.wrap_model(
        network,
        labels=list(ImageNetInfo().label_descriptions()),
        input_size=(3, 227, 227),
        mean=(0.4824, 0.4588, 0.4078),
        std=(1 / 255, 1 / 255, 1 / 255),
        interpolation="bilinear",
        crop_fraction=227 / 256,
        name="squeezenet-imagenet",
    )


MODELS: dict[str, Callable[[], Model]] = {"resnet20-cifar10": resnet20, "squeezenet-imagenet": squeezenet}
