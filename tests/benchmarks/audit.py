"""What an audit costs a picture, beside a plain loop over the libraries that one would join instead; and its memory.

    python -m tests.benchmarks.audit [pictures] [rounds]

Two demonstration networks, four methods, four metrics, on drawn X-rays. In the loop pytorch-grad-cam, Captum and
Quantus do the same work, picture by picture, in the batches that their documentation shows, on the network as its user
finds it; they are handed the decoded pictures and keep nothing. The audit reads and decodes files, and keeps every
answer on the disk. What has no library, the share along the border, is a line of NumPy. Before any time is taken both
must have found the same numbers, within LIMITS. A second loop is the first in the hands of somebody who chose batches.

All sides run in this one process, one thread, alternating; the figures are medians of process CPU time. The floor is
what the network itself takes: the passes, as the door counts them, times the time of one pass in the batch in which
that is shortest. No time is asserted. Then the same small audit of 32 to 512 pictures, each in a process of its own:
how its time and its memory grow with them.
"""

from __future__ import annotations

import copy
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import nn

import xai_core as xai
from tests.benchmarks.maps import best_batch, ratio, several, side_by_side
from tests.benchmarks.scores import _each_by_its_largest, _unscaled
from tests.conftest import png_of
from xai_core.baselines import baseline
from xai_core.demo import xray
from xai_core.masking import ranks
from xai_core.models import Model
from xai_core.pipeline import explain_many, predict
from xai_core.records import Image
from xai_core.scoring import score_many
from xai_core.truth import border

MODELS = ("demo-xray", "demo-xray-shortcut")
METHODS = ("grad_cam", "layer_cam", "integrated_gradients", "occlusion")
STEPS = 32  # Quantus covers a whole number of pixels at each step; the nearest to the usual 24 that divides 128 × 128
METRICS: tuple[dict[str, Any], ...] = (
    {"name": "deletion", "steps": STEPS}, {"name": "insertion", "steps": STEPS}, {"name": "sparseness"},
    {"name": "border_share"},
)  # fmt: skip
IG_STEPS = 64
SEED = 3_000_000  # of the pictures: no network learned from them
LIMITS = {"maps": 1e-4, "deletion": 1e-3, "insertion": 1e-3, "sparseness": 1e-4, "border_share": 1e-4}
SIZES = (32, 64, 128, 256, 512)
MEASURED_ON = 8  # pictures of a set, before its memory is measured


class Found(NamedTuple):
    """Of every picture by every model: (pictures, models, methods, h, w) and (pictures, models, methods, metrics)."""

    maps: np.ndarray
    scores: np.ndarray


def write_pictures(folder: Path, count: int, size: int = 256) -> Path:
    """A set of drawn X-rays, a third of each class."""
    rows = ["file,label"]
    for number in range(count):
        label = xray.LABELS[number % len(xray.LABELS)]
        (folder / f"{number:04}.png").write_bytes(png_of(xray.draw(SEED + number, label, size=size).pixels))
        rows.append(f"{number:04}.png,{label}")
    (folder / "labels.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


# ---- the audit -------------------------------------------------------------------------------------------------------


def audited(models: Sequence[Model], pictures: Path, report: Callable[..., None] = lambda *_, **__: None) -> None:
    """Run it in a new folder, up to its report: the loop writes none."""
    with tempfile.TemporaryDirectory() as place, mock.patch("xai_core.auditing.write_report", report):
        xai.audit(pictures, models, METHODS, METRICS, out=Path(place) / "run", weigh="none", controls=False)


def found_by_audit(models: Sequence[Model], pictures: Path) -> tuple[int, Found]:
    """How many pictures went forward in an audit, and what it left in its store."""
    found: list[Found] = []
    sent = 0

    def count(_: nn.Module, args: tuple[Any, ...]) -> None:
        nonlocal sent
        sent += len(args[0])

    def read(_: Path, facts: Any, samples: Sequence[Any], answers: Any, **__: Any) -> None:
        every = [(i, k) for i in range(len(samples)) for k in range(len(models))]
        shape = len(samples), len(models), len(METHODS)
        maps = np.array([[answers.explanation(i, k, j).values for j in range(len(METHODS))] for i, k in every])
        scores = [answers.score(i, k, j, q).value for i, k in every for j in range(len(METHODS)) for q in range(4)]
        found.append(Found(maps.reshape(*shape, *maps.shape[2:]), np.array(scores, float).reshape(*shape, 4)))

    hooks = [model.module.register_forward_pre_hook(count) for model in models]
    audited(models, pictures, read)
    for hook in hooks:
        hook.remove()
    return sent, found[0]


# ---- the loop --------------------------------------------------------------------------------------------------------


class Loop:
    """pytorch-grad-cam, Captum and Quantus around one network, in the hands of someone who reads their manuals.

    `tuned`: by someone who also chose batches, and lets Quantus score all maps of a picture at once.
    """

    def __init__(self, model: Model, tuned: bool = False) -> None:
        from captum.attr import IntegratedGradients, Occlusion
        from pytorch_grad_cam import GradCAM, LayerCAM

        # As they find a network: weights not frozen, in torch's usual order in memory.
        self.network = copy.deepcopy(model.module).to(memory_format=torch.contiguous_format).requires_grad_(True)
        self.sent = 0
        self.network.register_forward_pre_hook(self._count)
        self.preprocessing, self.tuned = model.preprocessing, tuned
        layer = [self.network.get_submodule(model.default_layer or "")]
        self.layer, self.cams = layer, (GradCAM, LayerCAM)
        self.gradients, self.occlusion = IntegratedGradients(self.network), Occlusion(self.network)
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def _count(self, _: nn.Module, args: tuple[Any, ...]) -> None:
        self.sent += len(args[0])

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[part] += time.process_time() - start

    def picture(self, x: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """(1, 3, h, w) to (methods, h, w) maps of the predicted class, and (methods, metrics) scores."""
        with torch.no_grad():
            said = self.network(x).softmax(1)[0]
        target = int(said.argmax())
        with self._timed("maps: class activation"), _unscaled():
            maps = [self._cam(kind, x, target) for kind in self.cams]
        with self._timed("maps: integrated gradients"):
            black = baseline("black", x, self.preprocessing)
            maps.append(
                self.gradients.attribute(
                    x, black, target=target, n_steps=IG_STEPS, method="riemann_middle",
                    internal_batch_size=8 if self.tuned else None,
                ).detach().sum(1)[0].numpy()
            )  # fmt: skip
        with self._timed("maps: occlusion"), torch.no_grad():
            side = round(0.125 * x.shape[-1])
            maps.append(
                self.occlusion.attribute(
                    x, (3, side, side), (3, side // 2, side // 2), target=target, baselines=0,
                    perturbations_per_eval=16 if self.tuned else 1,
                )[0, 0].numpy()
            )  # fmt: skip
        values = np.stack(maps).astype(np.float32)
        with self._timed("scores: deletion"):
            behind = baseline("blur", x, self.preprocessing)
            with torch.no_grad():
                hidden = float(self.network(behind).softmax(1)[0, target])
            # ties as drawn there
            order = -ranks(values.astype(np.float64), 0).numpy().astype(np.float32)
            deletion = self._areas(x, behind, float(said[target]), order, target)
        with self._timed("scores: insertion"):
            insertion = self._areas(behind, x, hidden, order, target)
        with self._timed("scores: sparseness"):
            sparseness = self._sparseness(x, values, target)
        with self._timed("scores: border share"):
            band = border(values.shape[1:], 0.1)
            clipped = np.clip(values.astype(np.float64), 0, None)
            shares = clipped[:, band].sum(1) / clipped.sum((1, 2))
        return values, np.column_stack([deletion, insertion, sparseness, shares])

    def _cam(self, kind: Any, x: torch.Tensor, target: int) -> np.ndarray:
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        with kind(self.network, self.layer) as cam:  # listens only while it is used
            found: np.ndarray = cam(x, [ClassifierOutputTarget(target)])[0]
        return found

    def _areas(
        self, start: torch.Tensor, end: torch.Tensor, first: float, order: np.ndarray, target: int
    ) -> np.ndarray:
        """Under the curves from one picture to another, in the order of each of (m, h, w) maps."""
        import quantus

        ahead = end.flatten().numpy()

        def replaced(arr: np.ndarray, indices: np.ndarray, **_: Any) -> np.ndarray:
            changed = arr.copy()
            for row, places in zip(changed, indices, strict=True):
                row[places] = ahead[places]
            return changed

        metric = quantus.PixelFlipping(
            features_in_step=3 * order[0].size // STEPS, perturb_func=replaced, abs=False, normalise=False,
            disable_warnings=True,
        )  # fmt: skip
        metric.custom_preprocess = lambda **_: None  # its check counts the values of one channel, its steps of three
        curves = np.array(self._asked(metric, start, order, target, softmax=True))
        whole = np.column_stack([np.full(len(curves), first), curves])
        areas: np.ndarray = np.trapezoid(whole, dx=1 / STEPS, axis=1)  # the area of Quantus fails with NumPy 2.4
        return areas

    def _sparseness(self, x: torch.Tensor, values: np.ndarray, target: int) -> np.ndarray:
        import quantus

        metric = quantus.Sparseness(normalise_func=_each_by_its_largest, disable_warnings=True)
        return np.array(self._asked(metric, x, values, target))

    def _asked(self, metric: Any, x: torch.Tensor, values: np.ndarray, target: int, softmax: bool = False) -> list[Any]:
        size = len(values) if self.tuned else 1
        found: list[Any] = []
        for start in range(0, len(values), size):
            found += metric(
                self.network, x.expand(size, -1, -1, -1).numpy(), np.full(size, target),
                values[start : start + size, None], softmax=softmax, channel_first=True, device="cpu",
            )  # fmt: skip
        return found


def looped(loops: Sequence[Loop], pictures: Sequence[Sequence[torch.Tensor]]) -> Found:
    """Every picture, as each network sees it."""
    rows = [[loop.picture(x) for loop, x in zip(loops, seen, strict=True)] for seen in pictures]
    return Found(np.array([[maps for maps, _ in row] for row in rows]), np.array([[s for _, s in row] for row in rows]))


# ---- side by side ----------------------------------------------------------------------------------------------------


def differences(ours: Found, theirs: Found) -> Iterator[tuple[str, float, float, float]]:
    """Of each kind of number: its name, the largest difference, its limit, and the rank correlation.

    Of maps the difference is a share of each map's largest value.
    """
    from scipy.stats import spearmanr

    flat, other = (found.maps.reshape(-1, found.maps.shape[-2] * found.maps.shape[-1]) for found in (ours, theirs))
    away = (np.abs(flat - other).max(1) / np.abs(other).max(1)).max()
    yield "maps", float(away), LIMITS["maps"], min(spearmanr(a, b).statistic for a, b in zip(flat, other, strict=True))
    for number, metric in enumerate(METRICS):
        mine, their = (found.scores[..., number].ravel() for found in (ours, theirs))
        away = np.abs(mine - their).max()
        yield metric["name"], float(away), LIMITS[metric["name"]], spearmanr(mine, their).statistic


def our_parts(model: Model, image: Image) -> dict[str, Callable[[], object]]:
    """What the audit asks of one picture, part by part."""
    predicted = int(predict(model, image).order()[0])
    [explained] = explain_many(model, [image], METHODS)

    def maps(*names: str) -> Callable[[], object]:
        return lambda: explain_many(model, [image], names, [predicted])

    def scores(number: int) -> Callable[[], object]:
        return lambda: score_many(model, explained, [METRICS[number]])

    return {
        "maps: class activation": maps("grad_cam", "layer_cam"),
        "maps: integrated gradients": maps("integrated_gradients"),
        "maps: occlusion": maps("occlusion"),
        "scores: deletion": scores(0),
        "scores: insertion": scores(1),
        "scores: sparseness": scores(2),
        "scores: border share": scores(3),
    }


def compare(pictures: int, rounds: int) -> None:
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    models = [xai.load_model(name, device="cpu") for name in MODELS]
    plain, tuned = [Loop(model) for model in models], [Loop(model, tuned=True) for model in models]
    with tempfile.TemporaryDirectory() as place:
        folder = write_pictures(Path(place), pictures)
        images = [xai.read_image(path) for path in sorted(folder.glob("*.png"))]
        seen = [[m.preprocessing.tensor(m.preprocessing.view(image)[None]) for m in models] for image in images]

        passes, ours = found_by_audit(models, folder)
        print(f"{pictures} pictures, {len(models)} networks, {len(METHODS)} methods, {len(METRICS)} metrics\n")
        print("| number | largest difference | limit | rank correlation |\n|---|---|---|---|")
        for loops in (plain, tuned):
            for name, away, limit, rank in differences(ours, looped(loops, seen)):
                print(f"| {name} | {away:.0e} | {limit:.0e} | {rank:.5f} |")
                if not away <= limit:
                    raise SystemExit(f"{name} differ by {away:.1e}, more than {limit:.0e}: times would say nothing.")
        theirs = sum(loop.sent for loop in plain) / pictures
        print(f"\nforward passes a picture: {passes / pictures:.0f} ours, {theirs:.0f} in the loop", flush=True)

        floor = [_floor(model, passes / len(models) / pictures) for model in models]
        works: list[Callable[[], object]] = [
            partial(audited, models, folder),
            partial(looped, plain, seen),
            partial(looped, tuned, seen),
            lambda: [one() for one in floor],
        ]
        for loop in plain:
            loop.seconds.clear()
        ours_took, loop_took, tuned_took, floor_took = side_by_side(works, rounds)
        floor_took = [one * pictures for one in floor_took]
    print("\n| CPU seconds a picture | median | lowest to highest |\n|---|---|---|")
    for title, took in (
        ("audit, every answer kept", ours_took), ("loop", loop_took), ("loop, batches chosen", tuned_took),
        ("floor of the audit", floor_took),
    ):  # fmt: skip
        each = [one / pictures for one in took]
        print(f"| {title} | {statistics.median(each):.2f} | {min(each):.2f} to {max(each):.2f} |")
    print(f"\nloop / audit: {ratio(loop_took, ours_took)}")
    print(f"loop with batches chosen / audit: {ratio(tuned_took, ours_took)}")
    print(f"audit / its floor: {ratio(ours_took, floor_took)}\n", flush=True)

    parts = our_parts(models[0], images[0])
    own_took = side_by_side(list(parts.values()), rounds)
    runs = (rounds + 1) * pictures * len(models)
    print("| part, of one picture by one network | ours, ms | loop, ms | loop / ours |\n|---|---|---|---|")
    for name, mine in zip(parts, own_took, strict=True):
        own, other = 1e3 * statistics.median(mine), 1e3 * sum(loop.seconds[name] for loop in plain) / runs
        print(f"| {name} | {own:.1f} | {other:.1f} | {other / own:.1f} |")


def _floor(model: Model, forwards: float) -> Callable[[], object]:
    """The passes of one picture by `model`, each in the batch in which it is fastest."""
    x = torch.randn((1, *model.preprocessing.input_size), generator=torch.Generator().manual_seed(0))

    def forth(n: int) -> object:
        with torch.no_grad():
            return model.module(several(x, n))

    def back(n: int) -> object:
        pictures = several(x, n).requires_grad_(True)
        return torch.autograd.grad(model.module(pictures)[:, 0].sum(), pictures)

    backwards = IG_STEPS + 1
    works = best_batch(forth, round(forwards) - backwards)[1], best_batch(back, backwards)[1]
    return lambda: [work() for work in works]


# ---- time and memory against the number of pictures ------------------------------------------------------------------


def small_audit(pictures: int) -> None:
    """In a process of its own: prints CPU seconds, those of the report, and the MB that it took at its highest."""
    import resource

    from xai_core.audit_report import write_report

    torch.set_num_threads(1)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    )
    model = xai.wrap_model(network, labels=xray.LABELS, input_size=(3, 32, 32), name="small", device="cpu")
    reported: list[tuple[float, int]] = []

    def highest() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def timed(*args: Any, **settings: Any) -> None:
        start, before = time.process_time(), highest()
        write_report(*args, **settings)
        reported.append((time.process_time() - start, before))

    with tempfile.TemporaryDirectory() as place, mock.patch("xai_core.auditing.write_report", timed):
        first, folder = Path(place) / "first", Path(place) / "set"
        for one, count in ((first, MEASURED_ON), (folder, pictures)):
            one.mkdir()
            write_pictures(one, count, size=32)

        def run(source: Path) -> float:
            start = time.process_time()
            xai.audit(
                source, [model], ["grad_cam"], ["border_share"], out=source.with_name(f"{source.name} run"),
                weigh="none", controls=False,
            )  # fmt: skip
            return time.process_time() - start

        run(first)  # what is imported and measured once
        held = highest()
        seconds = run(folder)
    took, before = reported[-1]
    print(json.dumps([seconds - took, took, (before - held) / 1024, (highest() - held) / 1024]))


def scale() -> None:
    print("\ngrad_cam and border_share of tiny pictures by a tiny network, each set in a process of its own\n")
    print("| pictures | CPU s, audit | ms a picture | CPU s, report | ms a picture | MB more, audit | with report |")
    print("|---|---|---|---|---|---|---|")
    for pictures in SIZES:
        code = f"from tests.benchmarks.audit import small_audit; small_audit({pictures})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        seconds, report, own, whole = json.loads(done.stdout.split("\n")[-2])
        each = " | ".join(f"{took:.2f} | {1e3 * took / pictures:.1f}" for took in (seconds, report))
        print(f"| {pictures} | {each} | {own:.0f} | {whole:.0f} |", flush=True)


def main(pictures: int = 3, rounds: int = 5) -> None:
    compare(pictures, rounds)
    scale()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
