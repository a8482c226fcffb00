"""Which methods are valid for a network, why the others are not, and what each map costs here.

    not valid      the method says why it cannot work, or its values miss the sum they promise by more than GAP_LIMIT
    approximate    the promise holds only in the mean over endless draws: however small the gap, it is one draw's
    valid          nothing speaks against it: it keeps its promise on this picture, or makes none that can be measured

A method is run where it promises a sum or needs no more than one pass. For the others, seconds are what their passes
would take.
"""

from __future__ import annotations

import hashlib
import statistics
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from xai_core.errors import AuditError, SettingError
from xai_core.images import read_image
from xai_core.loading import ASSETS
from xai_core.methods import FAMILIES, METHODS, Family, Method
from xai_core.models import Model
from xai_core.pipeline import GAP_LIMIT, MethodSpec, explain_many, resolve_target
from xai_core.records import Explanation, Image, Passes, Prediction

PICTURES = 4  # that go through together when a pass is timed
TIMES = 3  # that it is timed


@dataclass(frozen=True)
class Validity:
    """What can be said of one method for one network.

    `gap`: by what share of the promised sum the values missed it. `passes` and `seconds` of one picture's map; seconds
    are measured where the method was run, else an estimate. None where there is no map.
    """

    name: str
    label: str
    family: Family
    verdict: Literal["valid", "approximate", "not valid"]
    reason: str
    gap: float | None = None
    passes: Passes | None = None
    seconds: float | None = None
    measured: bool = False


def survey(
    model: Model,
    image: Image,
    methods: Sequence[MethodSpec] | None = None,
    *,
    seed: int = 0,
    background_images: Sequence[Image] = (),
    progress: Callable[[int, int], None] | None = None,
    cancel: threading.Event | None = None,
) -> list[Validity]:
    """A verdict on every one of `methods` (None: on all), family by family, controls last.

    Gaps are those of the map of `image` for the class that `model` predicts. A method that fails on the way is not
    valid here. Raises SettingError for a setting that is not on offer, Cancelled once `cancel` is set.
    """
    chosen = by_family(METHODS.build(method) for method in methods or METHODS)
    reasons = [method.why_not(model) for method in chosen]
    costs = [
        Passes() if reason else method.fitted(model).cost(model) for method, reason in zip(chosen, reasons, strict=True)
    ]
    run = [i for i, m in enumerate(chosen) if reasons[i] is None and (m.promises or costs[i].forward <= 1)]
    maps: dict[int, Explanation] = {}
    failures: dict[int, AuditError] = {}
    explain_many(
        model,
        [image],
        [chosen[i] for i in run],
        seed=seed,
        background_images=background_images,
        progress=progress,
        cancel=cancel,
        each=lambda _, number, explanation: maps.update({run[number]: explanation}),
        failed=lambda _, number, error: failures.update({run[number]: error}),
    )
    if mistake := next((error for error in failures.values() if isinstance(error, SettingError)), None):
        raise mistake
    estimated = any(reason is None and i not in run for i, reason in enumerate(reasons))
    speed = _speed(model, image, cancel) if estimated else _Speed(0, 0)

    def verdict(i: int, method: Method) -> Validity:
        about = method.name, method.label, method.family
        if reason := reasons[i] or str(failures.get(i, "")):
            return Validity(*about, "not valid", reason)
        if i not in maps:
            return Validity(*about, "valid", "", None, costs[i], speed.seconds(costs[i]))
        e = maps[i]
        judged: Literal["valid", "approximate", "not valid"] = (
            "approximate" if method.approximate else "valid" if e.valid else "not valid"
        )
        return Validity(*about, judged, _reason(method, e), e.gap, e.passes, e.seconds, measured=True)

    return [verdict(i, method) for i, method in enumerate(chosen)]


def by_family(methods: Iterable[Method]) -> list[Method]:
    """`methods` in the order of FAMILIES, which ends with the controls; within a family as they come."""
    return sorted(methods, key=lambda method: FAMILIES.index(method.family))


def tally(found: Sequence[Validity]) -> str:
    """How many methods are valid, in one line. Controls are counted apart: they say nothing of any network."""
    methods = [one.verdict for one in found if one.family != "control"]
    controls = len(found) - len(methods)
    approximate, refused = methods.count("approximate"), methods.count("not valid")
    words = f"{methods.count('valid')} of {len(methods)} methods valid"
    words += f", {approximate} approximate" if approximate else ""
    words += f", {refused} not valid" if refused else ""
    return words + (f"; beside them {controls} control{'s' if controls > 1 else ''}" if controls else "")


def example(model: Model) -> tuple[Image, str]:
    """A picture to try `model` on that needs no download, and which it is in words."""
    if samples := sorted((ASSETS / "samples").glob(f"{model.card.get('family', '-')}_*.png")):
        return read_image(samples[0]), f"{samples[0].name}, a sample that ships with Second Look"
    spec = find_spec("skimage")  # finds the package without importing it
    path = Path((spec.submodule_search_locations or [""])[0] if spec else "", "data", "astronaut.png")
    if path.is_file():
        return read_image(path), "astronaut.png, a photograph that ships with scikit-image"
    pixels = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    return Image(pixels, hashlib.sha256(pixels.tobytes()).hexdigest(), "noise"), "noise drawn from seed 0"


def _reason(method: Method, explanation: Explanation) -> str:
    """What the map has shown of its method, in one sentence."""
    gap = explanation.gap
    if method.family == "control":
        return ""
    if gap is not None and method.approximate:
        drawn = f"The promise holds in the mean over endless draws; these miss it by {share(gap)}."
        return f"{drawn} {method.remedy}".rstrip() if gap > GAP_LIMIT else drawn
    if gap is not None and not explanation.valid:
        missed = f"The values miss the sum they promise by {share(gap)}, more than {GAP_LIMIT:.0%}."
        return f"{missed} {method.remedy}".rstrip()
    if explanation.flat:
        return explanation.flat
    if method.promises and gap is None:
        return "What the values promise to add up to is zero on this picture, so their gap has no size."
    return ""


def share(gap: float) -> str:
    """A gap as a percentage that never rounds to a certainty it is not."""
    return "< 0.01%" if 0 < gap < 1e-4 else f"{gap:.2%}" if gap < 1 else f"{gap:.0%}"


class _Speed(NamedTuple):
    """Seconds that one picture takes."""

    forward: float
    both: float  # forward and backward

    def seconds(self, cost: Passes) -> float:
        return (cost.forward - cost.backward) * self.forward + cost.backward * self.both


def _speed(model: Model, image: Image, cancel: threading.Event | None) -> _Speed:
    """The median of a few passes with several pictures."""
    one = model.preprocessing.tensor(model.preprocessing.view(image)[None])
    x = one.repeat(min(PICTURES, model.batch), 1, 1, 1)
    asked = model.asked(cancel=cancel)
    logits = asked.outputs(x)[0].numpy()  # also warms up
    target = resolve_target(None, Prediction(model.labels, logits, model.identity, image.sha256))

    def timed(work: Callable[[], torch.Tensor]) -> float:
        start = time.perf_counter()
        work()
        return (time.perf_counter() - start) / len(x)

    return _Speed(
        statistics.median(timed(lambda: asked.outputs(x)) for _ in range(TIMES)),
        statistics.median(timed(lambda: asked.gradients(x, [target] * len(x))) for _ in range(TIMES)),
    )
