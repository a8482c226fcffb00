"""How much work a map costs here, as a ratio to the library that a user would pick instead.

    python -m tests.benchmarks.maps [timm name] [repeats]

Both sides run in this one process, one thread, alternating; the figures are medians of process CPU time, which a busy
machine disturbs least. Equality of the maps is checked before anything is timed. Nothing here asserts a time.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch

import xai_core as xai
from tests.conftest import photograph, png_of
from xai_core.pipeline import explain_many

CAMS = {
    "grad_cam": "GradCAM",
    "grad_cam_plus_plus": "GradCAMPlusPlus",
    "layer_cam": "LayerCAM",
    "hires_cam": "HiResCAM",
}


def cost(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def ratio(name: str, ours: Callable[[], object], theirs: Callable[[], object], repeats: int, note: str = "") -> None:
    ours(), theirs()
    pairs = [(cost(ours), cost(theirs)) for _ in range(repeats)]
    ratios = sorted(b / a for a, b in pairs)
    mine, other = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
    print(
        f"| {name} | {mine:.0f} | {other:.0f} | {statistics.median(ratios):.2f} × "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f}) | {note} |"
    )


def main(network: str = "resnet18", repeats: int = 7) -> None:
    import pytorch_grad_cam
    from captum.attr import IntegratedGradients
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.set_num_threads(1)
    model = xai.load_model(network, pretrained=False, device="cpu")
    image = xai.read_image(png_of(photograph()))
    x = model.preprocessing.tensor(model.preprocessing.view(image)[None])
    stages = [name for name in model.stages if model.reaches(name)][-3:]
    print(f"{network}, random weights, {x.shape[-1]} pixels, one thread, median of {repeats}, CPU milliseconds\n")
    print("| work | Second Look | the other | the other / ours | against |\n|---|---|---|---|---|")
    with model.borrowed() as own:
        own.requires_grad_(True)  # as the library finds a network: its users do not freeze it

        def library(names: list[str], layers: list[str], classes: list[int]) -> list[np.ndarray]:
            maps = []
            for name in names:
                for layer in layers:
                    with getattr(pytorch_grad_cam, CAMS[name])(own, [own.get_submodule(layer)]) as cam:
                        maps += [cam(x, [ClassifierOutputTarget(index)])[0] for index in classes]
            return maps

        last = [stages[-1]]
        ours = xai.explain(model, image, "grad_cam", 3, layer=last[0]).values
        stretched = (ours - ours.min()) / max(float((ours - ours.min()).max()), 1e-12)
        assert np.abs(stretched - library(["grad_cam"], last, [3])[0]).max() < 1e-3
        ratio("plain forward pass (the floor)", lambda: model.outputs(x), lambda: own(x), repeats, "the bare network")
        ratio(
            "one Grad-CAM",
            lambda: xai.explain(model, image, "grad_cam", 3, layer=last[0]),
            lambda: library(["grad_cam"], last, [3]),
            repeats,
            "pytorch-grad-cam",
        )
        specs = [{"name": name, "layer": layer} for name in CAMS for layer in stages]
        ratio(
            "4 methods × 3 layers × 3 classes",
            lambda: [explain_many(model, [image], specs, [index]) for index in (1, 2, 3)],
            lambda: library(list(CAMS), stages, [1, 2, 3]), max(3, repeats // 2), "pytorch-grad-cam",
        )  # fmt: skip
        own.requires_grad_(False)
        peer = IntegratedGradients(own)
        ratio(
            "integrated gradients, 32 steps",
            lambda: xai.explain(model, image, "integrated_gradients", 3, start="mean", steps=32),
            lambda: peer.attribute(x, target=3, n_steps=32, method="riemann_middle"), max(3, repeats // 2),
            "Captum, its own batch",
        )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]))
