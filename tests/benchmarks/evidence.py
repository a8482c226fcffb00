"""How often the verdict on a map is right, where the truth is known.

    python -m tests.benchmarks.evidence [pictures] [demo model ...]

Maps that are right: the mask of what the network was trained on, and Grad-CAM if it peaks within a cell of that mask.
Maps that are not: both of these at another place; Grad-CAM with its cells shuffled, integrated gradients with their
pixels shuffled; maps of a network whose weights were all drawn anew, claimed to be of the trained one; and the four
controls. A map that some method makes is put to all eight checks. A mask is not made by
any: it is asked for its placement and against the controls only. So are maps of brightness, of edges by another
operator, and noise of other grains, to see what these two checks alone let through; no method makes such maps, and one
that did would be refused by the randomisation check, as any is that does not change with the weights, so they are
reported but not counted. Intervals are Wilson's, 95 %.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from scipy.ndimage import gaussian_filter, gaussian_laplace, zoom

import xai_core as xai
from xai_core.demo.pointing import as_image, drawings
from xai_core.demo.train import share
from xai_core.evidence import location_checks, verdict
from xai_core.methods import METHODS
from xai_core.models import Model
from xai_core.records import Check, Explanation, Image
from xai_core.scoring import gather
from xai_core.truth import peak_hits, seen_by

TRUTHS = {"demo-xray": "fracture", "demo-xray-shortcut": "marker"}
MASKS = ("true mask", "mask elsewhere")  # no method made these
RIGHT = (MASKS[0], "grad_cam on the mask")
ALONE = ("brightness", "edges by another operator", "noise of another grain")  # asked to show what two checks miss
MADE = ("grad_cam", "integrated_gradients")  # by the network drawn anew, too
SMOOTH = 2.0  # pixels: a mask has two values only, and its edge none in between


def claims(model: Model, image: Image, mask: np.ndarray, number: int) -> Iterator[tuple[str, Explanation]]:
    """Maps of one picture, with what each of them is."""
    draw = np.random.default_rng(number)
    [grad_cam, gradients, *controls] = xai.explain_many(
        model, [image], [*MADE, *(name for name in METHODS if METHODS[name].family == "control")], seed=number
    )[0]
    height, width = mask.shape

    def made(values: np.ndarray, grid: tuple[int, int] = (height, width)) -> Explanation:
        return dataclasses.replace(grad_cam, values=values.astype(np.float32), grid=grid)

    smooth = gaussian_filter(mask.astype(np.float64), SMOOTH)
    yield MASKS[0], made(smooth)
    if peak_hits(grad_cam, mask, grad_cam.cell):
        yield RIGHT[1], grad_cam
    away = [int(draw.integers(side // 4, side - side // 4)) for side in mask.shape]
    yield MASKS[1], made(np.roll(smooth, away, (0, 1)))
    yield "grad_cam elsewhere", made(np.roll(grad_cam.values, away, (0, 1)), grad_cam.grid)
    cells = zoom(draw.permutation(_pooled(grad_cam).ravel()).reshape(grad_cam.grid), grad_cam.cell, order=1)
    yield "grad_cam with its cells shuffled", made(cells, grad_cam.grid)
    pixels = draw.permutation(gradients.values.ravel()).reshape(mask.shape)
    yield "integrated_gradients with their pixels shuffled", dataclasses.replace(gradients, values=pixels)
    *_, (_, other) = model.redrawn(1_000 + 100 * number)
    maps = gather(model.asked(), [grad_cam, gradients])
    foreign = maps.again(maps.x, [grad_cam.target], model=other)[:, 0]
    for one, values in zip((grad_cam, gradients), foreign, strict=True):
        yield f"{one.method['name']} of a network drawn anew", dataclasses.replace(one, values=values)
    for control in controls:
        yield f"control {control.method['name']}", control
    brightness = grad_cam.pixels.mean(2)
    yield ALONE[0], made(brightness)
    yield ALONE[1], made(np.abs(gaussian_laplace(brightness.astype(np.float64), 1.5)))
    grain = int(draw.integers(4, 17))
    yield ALONE[2], made(zoom(draw.random((grain, grain)), np.array(mask.shape) / grain, order=1))


def _pooled(explanation: Explanation) -> np.ndarray:
    """(rows, columns) of a map's own grid, from its enlarged values."""
    values = torch.from_numpy(explanation.values)[None, None]
    pooled: np.ndarray = torch.nn.functional.adaptive_avg_pool2d(values, explanation.grid)[0, 0].numpy()
    return pooled


def judged(model: Model, kind: str, explanation: Explanation) -> tuple[str, Sequence[Check]]:
    """The verdict on a map, and the checks that it rests on."""
    if kind in (*MASKS, *ALONE):
        checks = location_checks(gather(model.asked(), [explanation]), 0)
        return verdict(checks), checks
    found = xai.weigh(model, explanation)
    return found.verdict, found.checks


Findings = list[dict[str, tuple[str, Sequence[Check]]]]  # of every picture: what was said of each kind of map


def measured(name: str, pictures: int) -> Findings:
    """What is said of all maps of fresh pictures that a demo model names rightly."""
    model, truth = xai.load_model(name), TRUTHS[name]
    found: Findings = []
    start = time.perf_counter()
    for drawing in drawings(model.card["family"], model.card.get("planted"), truth):
        number = len(found)
        if number == pictures:
            break
        image = Image(drawing.pixels, f"{number:064d}")
        mask = seen_by(as_image(drawing.masks[truth]), model.preprocessing)
        if not mask.any() or xai.predict(model, image).top(1)[0][0] != drawing.label:
            continue
        found.append({kind: judged(model, kind, one) for kind, one in claims(model, image, mask, number)})
        print(f"\r{name}: {number + 1} of {pictures}, {time.perf_counter() - start:.0f} s", end="", file=sys.stderr)
    return found


def table(found: Findings) -> None:
    """A line for each kind of map, then for all that are right, all that are not, and the controls."""
    print("| map | should be | supported (95 % interval) | n | failed checks |")
    print("|---|---|---|---|---|")
    kinds = list(dict.fromkeys(kind for one in found for kind in one))
    for kind in sorted(kinds, key=lambda kind: (kind in ALONE, kind not in RIGHT)):
        said = [one[kind] for one in found if kind in one]
        failed = Counter(check.name for _, checks in said for check in checks if check.passed is False)
        wanted = "supported" if kind in RIGHT else "not counted" if kind in ALONE else "refused"
        reasons = ", ".join(f"{name} {count}" for name, count in failed.most_common())
        print(f"| {kind} | {wanted} | {rate([one == 'supported' for one, _ in said])} | {len(said)} | {reasons} |")
    controls = [kind for kind in kinds if kind.startswith("control")]
    wrong = [kind for kind in kinds if kind not in (*RIGHT, *ALONE, *controls)]
    for words, which in (("Sensitivity", RIGHT), ("False alarms", wrong), ("False alarms on controls", controls)):
        each = [one[kind][0] == "supported" for one in found for kind in which if kind in one]
        print(f"\n{words}: {np.mean(each):.1%} of {len(each)} maps of {len(found)} pictures")


def rate(supported: Sequence[bool]) -> str:
    """A share with its interval."""
    figures = share(np.array(supported))
    low, high = figures["interval"]
    return f"{figures['accuracy']:.1%} ({low:.1%} to {high:.1%})"


def main() -> None:
    """Measure, and print a table per model, then one of all."""
    pictures = int(sys.argv[1]) if len(sys.argv) > 1 else 52
    names = sys.argv[2:] or list(TRUTHS)
    torch.set_num_threads(1)
    every: Findings = []
    for name in names:
        found = measured(name, pictures)
        print(f"\n{name}, truth: {TRUTHS[name]}, {pictures} fresh pictures that it names rightly\n")
        table(found)
        every += found
    if len(names) > 1:
        print("\nAll together\n")
        table(every)


if __name__ == "__main__":
    main()
