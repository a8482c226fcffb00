"""What scoring maps costs here, beside the two libraries that one would join instead, and beside the passes it needs.

    python -m tests.benchmarks.scores [timm name] [repeats] [pictures]

Five class activation methods by seven metrics, on the same pictures, with the same settings and the same random draws:
pytorch-grad-cam explains, Quantus scores, both called as their users call them, picture by picture in batches of all
`pictures`. Where they draw at random they are handed what Second Look drew, which spares them the drawing; where they
scale a map they are told not to, or to scale as Second Look does. All sides run in this one process, one thread,
alternating; the figures are medians of process CPU time. The floor is what the network itself takes: the passes, as the
door counts them, times the time of one pass in the batch in which that is shortest. Nothing here asserts a time.
"""

from __future__ import annotations

import copy
import dataclasses
import statistics
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F

import xai_core as xai
from tests.benchmarks.maps import CAMS, best_batch, ratio, several, side_by_side
from tests.conftest import photograph, png_of
from xai_core.layers import listening
from xai_core.masking import ranks, scattered
from xai_core.models import Model
from xai_core.pipeline import explain_many
from xai_core.records import Explanation, Passes
from xai_core.scoring import gather, score_many
from xai_core.sensitivity import noisy

SEED = 0
DRAWS = 10  # noisy pictures
SUBSETS = 100
SHARE = 0.1  # of the pixels, in each subset
MEAN = 0.0  # the colour that the preprocessing maps to zero
PASSES = 32  # that one pass is timed on


def specs(pixels: int) -> dict[str, dict[str, Any]]:
    """Every metric with its settings. Quantus covers a whole number of pixels at each step of deletion."""
    steps = min((n for n in range(12, 37) if pixels % n == 0), key=lambda n: abs(n - 24))
    return {
        "deletion": {"steps": steps, "baseline": "mean"},
        "faithfulness_correlation": {"draws": SUBSETS, "share": SHARE, "baseline": "mean"},
        "average_sensitivity": {"samples": DRAWS},
        "max_sensitivity": {"samples": DRAWS},
        "random_logit": {"classes": 1},
        "sparseness": {},
        "weight_randomisation": {"networks": 0},
    }


@dataclasses.dataclass
class Libraries:
    """pytorch-grad-cam and Quantus, in the hands of someone who reads their manuals."""

    model: Model
    network: torch.nn.Module  # as they find it: weights not frozen, in torch's usual order in memory
    layer: str
    x: torch.Tensor  # (b, 3, h, w)
    classes: np.ndarray  # (b,) explained
    drawn: dict[str, list[Any]] = dataclasses.field(default_factory=dict)
    name: str = ""  # of the method in use
    cam: Any = None

    def explain(self, model: torch.nn.Module, inputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """As Quantus calls it. One object per method and network; a second one would listen to the same passes."""
        import pytorch_grad_cam
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        if self.cam is None or self.cam.model is not model:
            self.release()
            self.cam = getattr(pytorch_grad_cam, CAMS[self.name])(model, [model.get_submodule(self.layer)])
        values: np.ndarray = self.cam(torch.from_numpy(inputs), [ClassifierOutputTarget(int(i)) for i in targets])
        values[~values.any(axis=(1, 2))] = np.nan  # Quantus refuses maps that are 0 everywhere
        return values

    def release(self) -> None:
        if self.cam is not None:
            self.cam.activations_and_grads.release()
        self.cam = None

    def scores(self, metric: str, settings: dict[str, Any], values: np.ndarray) -> np.ndarray:
        """(m, b, h, w) maps, a row for each method, to (m, b) scores."""
        found = []
        with _unscaled():
            for self.name, rows in zip(CAMS, values, strict=True):
                found.append(getattr(self, metric)(rows[:, None].astype(np.float32), **settings))
                self.release()
        return np.array(found)

    def call(self, metric: Any, values: np.ndarray, softmax: bool = False) -> Any:
        return metric(
            self.network, self.x.numpy(), self.classes, values, explain_func=self.explain, softmax=softmax,
            channel_first=True, batch_size=len(self.x),
        )  # fmt: skip

    def deletion(self, values: np.ndarray, steps: int, baseline: str) -> np.ndarray:
        import quantus

        class PixelFlipping(quantus.PixelFlipping):  # type: ignore[misc]
            def custom_preprocess(self, **_: Any) -> None:
                """Not the check that the values of one channel are a whole number of steps: those of three are."""

        pixels = values[0].size
        metric = PixelFlipping(
            features_in_step=3 * pixels // steps, perturb_baseline=MEAN, abs=False, normalise=False,
            disable_warnings=True,
        )  # fmt: skip
        order = -ranks(values[:, 0].astype(np.float64), SEED).numpy()[:, None].astype(np.float32)  # ties as drawn here
        curves = self.call(metric, order, softmax=True)
        first = self.model.outputs(self.x).softmax(1)[np.arange(len(self.x)), self.classes].numpy()
        # by hand: the area that Quantus offers fails with NumPy 2.4
        areas: np.ndarray = np.trapezoid(np.column_stack([first, np.array(curves)]), dx=1 / steps, axis=1)
        return areas

    def faithfulness_correlation(self, values: np.ndarray, draws: int, share: float, baseline: str) -> Any:
        import quantus

        subsets = self.drawn["subsets"]
        metric = quantus.FaithfulnessCorrelation(
            nr_runs=draws, subset_size=len(subsets[0]), perturb_baseline=MEAN, abs=False, normalise=False,
            return_aggregate=False, disable_warnings=True,
        )  # fmt: skip
        each = [one for one in subsets for _ in self.x]
        with mock.patch.object(np.random, "choice", side_effect=each):
            return self.call(metric, values)

    def average_sensitivity(self, values: np.ndarray, samples: int) -> Any:
        import quantus

        return self._sensitivity(quantus.AvgSensitivity, values, samples)

    def max_sensitivity(self, values: np.ndarray, samples: int) -> Any:
        import quantus

        return self._sensitivity(quantus.MaxSensitivity, values, samples)

    def _sensitivity(self, kind: Any, values: np.ndarray, samples: int) -> Any:
        each = iter(self.drawn["noise"])
        metric = kind(
            nr_samples=samples, perturb_func=lambda arr, **_: arr + next(each), abs=False, normalise=False,
            disable_warnings=True,
        )  # fmt: skip
        return self.call(metric, values)

    def random_logit(self, values: np.ndarray, classes: int) -> Any:
        import quantus

        shape = values.shape[2:]

        def similarity(a: np.ndarray, b: np.ndarray, batched: bool) -> Any:
            """Quantus' own, of pictures: it would compare them as lines."""
            return quantus.similarity_func.ssim(a.reshape(-1, *shape), b.reshape(-1, *shape), batched=batched)

        metric = quantus.RandomLogit(
            num_classes=len(self.model.labels), similarity_func=similarity, abs=False, normalise=True,
            normalise_func_kwargs={}, normalise_func=_each_by_its_largest, disable_warnings=True,
        )  # fmt: skip
        others = np.array(self.drawn["classes"])
        with mock.patch.object(np.random, "randint", return_value=others - (others > self.classes)):
            return self.call(metric, values)

    def sparseness(self, values: np.ndarray) -> Any:
        import quantus

        metric = quantus.Sparseness(normalise_func=_each_by_its_largest, disable_warnings=True)
        return self.call(metric, values)

    def weight_randomisation(self, values: np.ndarray, networks: int) -> np.ndarray:
        import quantus
        from quantus.helpers.model.pytorch_model import PyTorchModel

        states = self.drawn["layers"]

        def generator(wrapped: Any, **_: Any) -> Iterator[tuple[str, torch.nn.Module]]:
            """As Quantus' own, with layers drawn before instead of drawing them."""
            other = copy.deepcopy(wrapped.model)
            for name, state in states:
                other.get_submodule(name).load_state_dict(state)
                yield name, other

        def similarity(a: np.ndarray, b: np.ndarray, batched: bool) -> np.ndarray:
            """Quantus' own, which fails on a map that went flat on the way; here that one counts as 0."""
            found, shaped = np.zeros(len(a)), ~np.isnan(b[:, 0])
            if shaped.any():
                found[shaped] = quantus.similarity_func.correlation_spearman(a[shaped], b[shaped], batched=batched)
            return found

        metric = quantus.MPRT(similarity_func=similarity, abs=False, normalise=False, disable_warnings=True)
        with mock.patch.object(PyTorchModel, "get_random_layer_generator", generator):
            found = self.call(metric, values)
        return np.mean([found[name] for name, _ in states], axis=0)


def _each_by_its_largest(values: np.ndarray) -> np.ndarray:
    """Quantus' own scaling divides a whole batch by its largest value."""
    from quantus.functions.normalise_func import normalise_by_max

    scaled: np.ndarray = normalise_by_max(values, normalise_axes=range(1, values.ndim))
    return scaled


@contextmanager
def _unscaled() -> Iterator[None]:
    """pytorch-grad-cam stretches each map to 0..1; here it only enlarges it, by the rule of Second Look."""

    def enlarged(maps: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
        if size is None:
            return np.float32(maps)  # type: ignore[return-value]
        coarse = torch.from_numpy(np.float32(maps))[:, None]
        return F.interpolate(coarse, size=size[::-1], mode="bilinear", align_corners=False)[:, 0].numpy()

    with mock.patch("pytorch_grad_cam.base_cam.scale_cam_image", enlarged):
        yield


def drawn_here(model: Model, explanations: Sequence[Explanation], x: torch.Tensor) -> dict[str, list[Any]]:
    """What Second Look draws at random for these maps, in the shapes that Quantus reads."""
    h, w = x.shape[2:]
    places = [np.flatnonzero(one) for one in scattered((h, w), SHARE, SUBSETS, SEED)]
    logit = xai.METRICS.build({"name": "random_logit", "classes": 1})
    return {
        "subsets": [np.concatenate([one + channel * h * w for channel in range(3)]) for one in places],
        "noise": list((noisy(x[:1], DRAWS, 0.2, SEED) - x[:1]).flatten(1).numpy()),
        "classes": [logit.drawn(gather(model.asked(), [e]))[0] for e in explanations],  # type: ignore[attr-defined]
        "layers": [
            (name, copy.deepcopy(other.module.get_submodule(name).state_dict())) for name, other in model.redrawn(SEED)
        ],
    }


def passes_of(rows: Sequence[Sequence[Any]]) -> list[Passes]:
    """What went through the network for each metric, for all maps together: a group's scores all say the same."""
    groups = {row[0].image: row for row in rows}.values()
    return [sum((row[k].passes for row in groups), Passes()) for k in range(len(rows[0]))]


def apart(ours: Sequence[Sequence[Any]], theirs: np.ndarray) -> tuple[float, float]:
    """The largest difference of two scores, and the same as a share of the largest score."""
    values = np.array([row[0].value for row in ours]).reshape(theirs.shape[::-1]).T
    away = float(np.abs(values - theirs).max())
    return away, away / float(np.abs(theirs).max())


def main(network: str = "resnet18", repeats: int = 5, pictures: int = 1) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    model = xai.load_model(network, pretrained=False, device="cpu")
    images = [xai.read_image(png_of(photograph(256, 100 - 20 * i))) for i in range(pictures)]
    x = model.preprocessing.tensor(np.stack([model.preprocessing.view(image) for image in images]))
    rows = explain_many(model, images, list(CAMS))
    explanations = [e for row in rows for e in row]
    settings = specs(x.shape[2] * x.shape[3])
    layer, target = str(explanations[0].method["layer"]), [row[0].target for row in rows]
    values = np.stack([[e.values for e in row] for row in rows], axis=1)

    def ours(*names: str) -> list[list[Any]]:
        return score_many(model, explanations, [{"name": name, **settings[name]} for name in names], seed=SEED)

    with model.borrowed() as bare:
        own = copy.deepcopy(bare).to(memory_format=torch.contiguous_format)
        own._forward_pre_hooks.clear()  # the count
        own.requires_grad_(True)
        libraries = Libraries(model, own, layer, x, np.array([one.index for one in target]))
        libraries.drawn = drawn_here(model, [row[0] for row in rows], x)

        def theirs(name: str) -> np.ndarray:
            return libraries.scores(name, settings[name], values)

        def forth(n: int) -> object:
            with torch.no_grad():
                return bare(several(x[:1], n))

        def back(n: int) -> object:
            with listening(bare, [layer]) as heard:
                return torch.autograd.grad(bare(several(x[:1], n))[:, target[0].index].sum(), heard[layer])

        units = {"forward": best_batch(forth, PASSES), "forward and back": best_batch(back, PASSES)}
        works: list[Callable[[], object]] = [work for _, work in units.values()]
        works += [work for name in settings for work in (partial(ours, name), partial(theirs, name))]
        works += [partial(ours, *settings), partial(ours, *(name for name in settings if name != "deletion"))]
        alone = {name: ours(name) for name in settings}
        away = {name: apart(alone[name], theirs(name)) for name in settings}
        spent = {name: passes_of(alone[name])[0] for name in settings}
        together = dict(zip(settings, passes_of(ours(*settings)), strict=True))
        forward, both, *times = side_by_side(works, repeats)

    print(f"{network}, random weights, {pictures} × {x.shape[-1]} pixels, one thread, CPU milliseconds, medians")
    for (title, (batch, _)), seconds in zip(units.items(), (forward, both), strict=True):
        print(f"{title}: {statistics.median(seconds) / PASSES * 1e3:.1f} a picture, {batch} at once")
    print("\n| metric | ours | Quantus | Quantus / ours | passes | ours / floor | difference (of the largest score) |")
    print("|---|---|---|---|---|---|---|")

    def line(name: str, mine: list[float], other: list[float], passes: Passes, apart: tuple[float, float]) -> None:
        floor = [(passes.forward * f + passes.backward * (b - f)) / PASSES for f, b in zip(forward, both, strict=True)]
        over = ratio(mine, floor) if passes.forward else "–"
        took = " | ".join(f"{1e3 * statistics.median(side):.0f}" for side in (mine, other))
        equal = f"{apart[0]:.0e} ({apart[1]:.0e})"
        print(f"| {name} | {took} | {ratio(other, mine)} | {passes} | {over} | {equal} |")

    each = dict(zip(settings, zip(times[:-2:2], times[1:-2:2], strict=True), strict=True))
    for name, (mine, other) in each.items():
        line(name, mine, other, spent[name], away[name])
    for title, mine, left_out in (("all together", times[-2], ()), ("all without deletion", times[-1], ("deletion",))):
        kept = [name for name in settings if name not in left_out]
        other = [sum(row) for row in zip(*(each[name][1] for name in kept), strict=True)]
        line(title, mine, other, sum((together[name] for name in kept), Passes()), max(away[name] for name in kept))


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:]))
