"""How much work a map costs here, as a ratio to the passes that it needs and to the library one would pick instead.

    python -m tests.benchmarks.maps [timm name] [repeats] [activation|sampled|lime ...]

All sides run in this one process, one thread, alternating; the figures are medians of process CPU time, which a busy
machine disturbs least. Beside every ratio stands how equal the maps are: the largest difference as a share of the
library's largest value, and the rank correlation. Nothing here asserts a time.
"""

from __future__ import annotations

import copy
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

import xai_core as xai
from tests.conftest import photograph, png_of
from xai_core.models import Model
from xai_core.pipeline import explain_many

CAMS = {
    "grad_cam": "GradCAM",
    "grad_cam_plus_plus": "GradCAMPlusPlus",
    "xgrad_cam": "XGradCAM",
    "layer_cam": "LayerCAM",
    "hires_cam": "HiResCAM",
}
CLASSES = (1, 2, 3)
STEPS = 32
Work = Callable[[], object]


def cost(work: Work) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def side_by_side(works: Sequence[Work], repeats: int) -> list[list[float]]:
    """CPU seconds of each work, alternating, after one round that does not count."""
    for work in works:
        work()
    rounds = [[cost(work) for work in works] for _ in range(repeats)]
    return [list(column) for column in zip(*rounds, strict=True)]


def ratio(above: Sequence[float], below: Sequence[float]) -> str:
    each = sorted(a / b for a, b in zip(above, below, strict=True))
    return f"{statistics.median(each):.2f} × ({each[0]:.2f} to {each[-1]:.2f})"


def line(name: str, times: Sequence[Sequence[float]], need: str, library: str, equal: str) -> None:
    """`times`: of what is needed, of ours, of the library."""
    needed, ours, theirs = (1e3 * statistics.median(side) for side in times)
    print(
        f"| {name} | {need}: {needed:.0f} | {ours:.0f} | {ratio(times[1], times[0])} | {library}: {theirs:.0f} | "
        f"{ratio(times[2], times[1])} | {equal} |",
        flush=True,
    )


def equality(ours: np.ndarray, theirs: np.ndarray) -> str:
    from scipy.stats import spearmanr

    away = np.abs(ours - theirs).max() / np.abs(theirs).max()
    return f"{away:.0e}, rank {spearmanr(ours.ravel(), theirs.ravel()).statistic:.4f}"


def stretched(values: np.ndarray) -> np.ndarray:
    """As pytorch-grad-cam scales a map."""
    values = values - values.min()
    return values / max(float(values.max()), 1e-12)


def several(x: torch.Tensor, n: int) -> torch.Tensor:
    """One picture n times, in the order in memory that is fastest."""
    return x.repeat(n, 1, 1, 1).contiguous(memory_format=torch.channels_last)


def best_batch(run: Callable[[int], object], count: int) -> tuple[int, Work]:
    """The batch in which `count` pictures go through fastest, and that work."""

    def work(batch: int, pictures: int) -> Work:
        return lambda: [run(min(batch, pictures - start)) for start in range(0, pictures, batch)]

    sizes = [size for size in (1, 2, 4, 8, 16, 32) if size <= count]
    fastest = min(sizes, key=lambda size: min(cost(work(size, min(32, count))) for _ in range(2)))
    return fastest, work(fastest, count)


def activation_maps(
    model: Model, bare: torch.nn.Module, own: torch.nn.Module, image: Any, x: torch.Tensor, repeats: int
) -> None:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    stages = [name for name in model.stages if model.reaches(name)][-3:]

    def library(names: Sequence[str], layers: Sequence[str], classes: Sequence[int]) -> list[np.ndarray]:
        maps = []
        for index in classes:
            for name in names:
                for layer in layers:
                    with getattr(pytorch_grad_cam, CAMS[name])(own, [own.get_submodule(layer)]) as cam:
                        maps.append(cam(x, [ClassifierOutputTarget(index)])[0])
        return maps

    def ours(names: Sequence[str], layers: Sequence[str], classes: Sequence[int]) -> list[np.ndarray]:
        specs = [{"name": name, "layer": layer} for name in names for layer in layers]
        found = explain_many(model, [image] * len(classes), specs, list(classes))
        return [one.values for row in found for one in row]

    def forward() -> object:
        with torch.no_grad():
            return bare(several(x, 1))

    def forward_and_back() -> object:
        return torch.autograd.grad(bare(picture := several(x, 1).requires_grad_(True))[0, 3], picture)

    for title, floor, need, asked, times in (
        ("one Grad-CAM", forward, "a forward pass", (["grad_cam"], stages[-1:], [3]), repeats),
        (
            "5 methods × 3 layers × 3 classes", forward_and_back, "one forward + input backward",
            (list(CAMS), stages, CLASSES), max(3, repeats // 2),
        ),
    ):  # fmt: skip
        pairs = [
            (stretched(one), other)
            for one, other in zip(ours(*asked), library(*asked), strict=True)
            if other.max() > 0  # else both are zero everywhere
        ]
        measured = side_by_side([floor, lambda a=asked: ours(*a), lambda a=asked: library(*a)], times)  # type: ignore[misc]
        equal = equality(np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs]))
        line(title, measured, need, "pytorch-grad-cam", equal)


def sampled_maps(
    model: Model, bare: torch.nn.Module, own: torch.nn.Module, image: Any, x: torch.Tensor, repeats: int
) -> None:
    import shap
    from captum.attr import IntegratedGradients, NoiseTunnel, Occlusion, Saliency

    few = max(3, repeats // 2)

    def back(n: int) -> object:
        pictures = several(x, n).requires_grad_(True)
        return torch.autograd.grad(bare(pictures)[:, 3].sum(), pictures)

    def forth(n: int) -> object:
        with torch.no_grad():
            return bare(several(x, n))

    def compare(title: str, spec: dict[str, Any], floor: Callable[[int], object], theirs: Work, library: str) -> None:
        def ours() -> np.ndarray:
            return xai.explain(model, image, spec, 3).values

        count = xai.METHODS.build(spec).fitted(model).cost(model).forward
        batch, needed = best_batch(floor, count)
        equal = equality(ours(), np.asarray(theirs()))
        times = side_by_side([needed, ours, theirs], few)
        line(title, times, f"{count} passes, {batch} at once", library, equal)

    def summed(attribution: torch.Tensor) -> np.ndarray:
        return attribution.detach().sum(1)[0].numpy()

    compare(
        f"integrated gradients, {STEPS} steps",
        {"name": "integrated_gradients", "start": "mean", "steps": STEPS}, back,
        lambda: summed(IntegratedGradients(own).attribute(x, target=3, n_steps=STEPS, method="riemann_middle")),
        "Captum",
    )  # fmt: skip
    noise = xai.METHODS.build({"name": "smooth_grad", "samples": STEPS})
    deviation = noise.to_dict().get("noise", 0.15) * float(x.max() - x.min())
    compare(
        f"SmoothGrad, {STEPS} draws",
        noise.to_dict(), back,
        lambda: (
            NoiseTunnel(Saliency(own))
            .attribute(x, nt_samples=STEPS, stdevs=deviation, target=3, abs=False)
            .abs()
            .amax(1)[0]
            .numpy()
        ),
        "Captum (other draws)",
    )  # fmt: skip
    side = round(0.25 * x.shape[-1])
    with torch.no_grad():
        compare(
            "occlusion, a quarter of the side",
            {"name": "occlusion", "window": 0.25, "stride": 0.5, "cover": "mean"}, forth,
            lambda: summed(
                Occlusion(own).attribute(x, (3, side, side), (3, side // 2, side // 2), target=3) / 3
            ),
            "Captum",
        )  # fmt: skip
    shapley = xai.METHODS.build({"name": "gradient_shap", "samples": STEPS, "background": "blurs"})
    explainer = shap.GradientExplainer(own, shapley.backgrounds(model, x[0]), batch_size=8)
    best = int(model.outputs(x).argmax())

    def shap_values() -> np.ndarray:
        found, _ = explainer.shap_values(x, nsamples=STEPS, ranked_outputs=1, rseed=0)
        values = np.squeeze(np.asarray(found))
        return values.sum(0) if values.shape[0] == 3 else values.sum(-1)

    for name in ("gradient_shap", "expected_gradients"):
        spec = {"name": name, "samples": STEPS, "background": "blurs"}

        def ours(spec: dict[str, Any] = spec) -> np.ndarray:
            return xai.explain(model, image, spec, best).values

        batch, needed = best_batch(back, STEPS)
        equal = equality(ours(), shap_values())
        times = side_by_side([needed, ours, shap_values], few)
        title = f"{xai.METHODS[name].label}, {STEPS} draws"
        note = "shap" if name == "gradient_shap" else "shap (other draws)"
        line(title, times, f"{STEPS} passes, {batch} at once", note, equal)


def lime_maps(
    model: Model, bare: torch.nn.Module, own: torch.nn.Module, image: Any, x: torch.Tensor, repeats: int
) -> None:
    from lime.lime_image import LimeImageExplainer

    method = xai.METHODS.build({"name": "lime", "samples": 200})
    segments = method.superpixels(model.preprocessing.view(image), 0)
    pixels = x[0].permute(1, 2, 0).double().numpy()

    def classify(pictures: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return own(torch.from_numpy(pictures).permute(0, 3, 1, 2).float()).numpy()

    def theirs() -> np.ndarray:
        explainer = LimeImageExplainer(feature_selection="none", random_state=np.random.RandomState(0))
        found = explainer.explain_instance(
            pixels, classify, labels=(3,), top_labels=None, num_samples=200,
            segmentation_fn=lambda _: method.superpixels(model.preprocessing.view(image), 0), random_seed=0,
        )  # fmt: skip
        return np.vectorize(dict(found.local_exp[3]).get)(segments)

    def ours() -> np.ndarray:
        return xai.explain(model, image, method, 3).values

    def forth(n: int) -> object:
        with torch.no_grad():
            return bare(several(x, n))

    batch, needed = best_batch(forth, 200)
    equal = equality(ours(), theirs())
    times = side_by_side([needed, ours, theirs], max(3, repeats // 3))
    line("LIME, 200 samples", times, f"200 passes, {batch} at once", "lime", equal)


def memory(network: str, spec: dict[str, Any]) -> str:
    """MB that one map takes at its highest in a process of its own, beyond what the loaded model takes; Linux only."""
    code = f"from tests.benchmarks.maps import _peak; _peak({network!r}, {spec!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()[-1]


def _peak(network: str, spec: dict[str, Any]) -> None:
    def kilobytes(of: str) -> int:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(next(line for line in status.splitlines() if line.startswith(of)).split()[1])

    torch.set_num_threads(1)
    model = xai.load_model(network, pretrained=False, device="cpu")
    image = xai.read_image(png_of(photograph()))
    xai.explain(model, image, "saliency")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the highest starts from what is held now
    held = kilobytes("VmRSS")
    xai.explain(model, image, spec)
    print(round((kilobytes("VmHWM") - held) / 1024))


PARTS = {"activation": activation_maps, "sampled": sampled_maps, "lime": lime_maps}


def main(network: str = "resnet18", repeats: int = 7, *parts: str) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model = xai.load_model(network, pretrained=False, device="cpu")
    image = xai.read_image(png_of(photograph()))
    x = model.preprocessing.tensor(model.preprocessing.view(image)[None])
    print(f"{network}, random weights, {x.shape[-1]} pixels, one thread, CPU milliseconds, medians\n")
    print("| work | what it needs | Second Look | ours / needed | library | library / ours | difference |")
    print("|---|---|---|---|---|---|---|")
    with model.borrowed() as bare:
        # as the library finds a network: in torch's usual order in memory; CAM users do not freeze it, others may
        own = copy.deepcopy(bare).to(memory_format=torch.contiguous_format)
        for part in parts or PARTS:
            own.requires_grad_(part == "activation")
            PARTS[part](model, bare, own, image, x, repeats)
    if parts:
        return
    print("\nHighest memory of one map beyond the loaded model, MB")
    for name, key in (("integrated_gradients", "steps"), ("smooth_grad", "samples"), ("expected_gradients", "samples")):
        held = [f"{memory(network, {'name': name, key: count})} for {count}" for count in (16, 128)]
        print(f"  {name}: {', '.join(held)} {key}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:3]), *sys.argv[3:])
