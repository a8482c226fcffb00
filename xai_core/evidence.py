"""How far a map can be believed, for this model and this picture: eight checks, and a verdict.

    not valid for this model   the map breaks what its method promises here: gradient flow, completeness
    no evidence                it shows nothing, or nothing that depends on what the model learned, or nothing that an
                               arbitrary place or a map that knows nothing of the model would not show as well
    weak                       it is placed rightly, but hardly tells classes apart, or other seeds show something else
    supported                  none of this

The placement check asks the model itself. The highest pixels are covered, and then kept alone, and so are those of
the same map shifted to every other place of a grid, the picture taken as a torus: same values, same texture, wrong
place. But for the rounding of shifts to pixels the places form a group, so if the map carries nothing they are all
alike, and the share of them that does at least as well is an exact p-value, never below 1 / (1 + shifts) (Phipson &
Smyth, 2010, equation 2, https://doi.org/10.2202/1544-6115.1585). It is a statement about the network, not about the
picture: where a network leans on a marker, the marker passes and the fracture does not. The borders of what is covered
are soft: a hard one is an edge that no picture has, and a network that looks for thin lines answers to it more than to
what was covered.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F

from xai_core.agreement import highest, overlap, rank_correlation
from xai_core.baselines import blurred
from xai_core.drawing_weights import drawn_layers
from xai_core.errors import AuditError, Cancelled, SettingError
from xai_core.masking import counts, ranks, replaced
from xai_core.methods import METHODS
from xai_core.metrics import Maps
from xai_core.models import Model
from xai_core.pipeline import GAP_LIMIT
from xai_core.records import Check, Evidence, Explanation, Image, Verdict
from xai_core.scoring import Progress, in_groups

Each = Callable[[int, Evidence], None]  # number of the map, and what is to be said of it, as soon as that is known

PLACES = 40  # the map's own and 39 others, so that p can be 1/40
TURN = 7  # place k is k/40 down and 7k/40 across: of all such grids the one whose places are farthest apart
P_LIMIT = 0.05  # the field's habit; at 39 shifts, no more than one of them may do as well
BASELINES = (
    "mean",
    "blur",
)  # and the picture, blurred slightly: each makes pictures of its own that none was trained on
SLIGHT_BLUR = 0.03  # standard deviation, of the shorter side: takes thin things away and leaves what surrounds them
FEATHER = 1 / 64  # standard deviation of a border, of the shorter side
# Shares of the picture that are covered. A map is read by its highest places, and these are small: a thin fracture is
# 1 % of an X-ray. With larger shares the area measured how robust a network is, not where it looks.
SHARES = (0.005, 0.02, 0.08)
# Noise and a uniform map are not asked: shifts of the map are noise of its own texture, and a uniform one has no place.
CONTROLS = {"an edge detector": "sobel_edges", "a blob in the middle": "centre_gaussian"}
CONTROL_PLACES = 10  # of the 40: a control is only asked for its mean over them
# Of what a control does. Where the truth is an edge, or lies in the middle, a control finds it too, so to ask for more
# than it would refuse maps that are right; that a map is more than edges is what the randomisation check says.
CONTROL_LIMIT = 0.5
CONTRAST_LIMIT = 0.95  # rank correlation with the runner-up's map; above it, the map is the same to the eye
REDRAWN = 1 / 3  # of the layers, from the head down
# Rank correlation with the redrawn network's map. Guided backpropagation, which is known to fail, stays above it.
RANDOMISATION_LIMIT = 0.9
REPEAT_LIMIT = 0.5  # overlap of the highest tenth between two seeds: below it, most of what stands out is chance
TOP = 0.1  # of the pixels: the "highest tenth"


def weigh(
    model: Model,
    explanation: Explanation,
    *,
    seed: int = 0,
    background_images: Sequence[Image] = (),
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Evidence:
    """How far one map can be believed. As `weigh_many`."""
    [found] = weigh_many(
        model, [explanation], seed=seed, background_images=background_images, progress=progress, cancel=cancel
    )
    return found


def weigh_many(
    model: Model,
    explanations: Sequence[Explanation],
    *,
    seed: int = 0,
    background_images: Sequence[Image] = (),
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
    each: Each | None = None,
) -> list[Evidence]:
    """How far each map can be believed, for the model that made it.

    Costs about 720 small passes per map, 360 more per picture and grid for the controls and, where these can be asked,
    three maps by the same method. `seed` draws weights and noise. `background_images` are those that the maps were
    compared with. `progress` is told (pictures through the network, pictures in all), `each` of every verdict as soon
    as it is there. Raises SettingError where model and maps do not belong together, Cancelled once `cancel` is set.
    """
    groups = in_groups(
        model,
        explanations,
        _cost,
        seed=seed,
        background_images=background_images,
        progress=progress,
        cancel=cancel,
    )
    found: dict[int, Evidence] = {}
    for rows, maps in groups:
        shown = iter(range(len(maps)))
        for i in rows:
            before = maps.model.sent
            e = explanations[i]
            checks = [_not_flat(e)] if e.flat else _checks(maps, next(shown))
            found[i] = Evidence(verdict(checks), tuple(checks), seed, maps.model.sent - before)
            if each is not None:
                each(i, found[i])
    return [found[i] for i in range(len(explanations))]


def verdict(checks: Sequence[Check]) -> Verdict:
    """What the checks come to. A check that was not asked says nothing."""
    failed = {check.name for check in checks if check.passed is False}
    if failed & {"gradient flow", "completeness"}:
        return "not valid for this model"
    if failed & {"flat", "randomisation", "placement", "controls"}:
        return "no evidence"
    return "weak" if failed else "supported"


def _checks(maps: Maps, row: int) -> list[Check]:
    """Of one map: first what costs nothing. A map that is not valid is not asked about any further."""
    e = maps.explanations[row]
    checks = [_not_flat(e), _gradient_flow(maps, row), _completeness(e)]
    if verdict(checks) == "supported":
        for ask in (_contrast, _randomisation, _repeatability):
            checks.append(_asked(ask, maps, row))
        checks += location_checks(maps, row)
    return checks


def _asked(ask: Callable[[Maps, int], Check], maps: Maps, row: int) -> Check:
    try:
        return ask(maps, row)
    except (Cancelled, SettingError):
        raise
    except AuditError as error:
        return Check(ask.__name__.removeprefix("_").replace("contrast", "class contrast"), None, f"Not asked: {error}")


def _cost(maps: Maps) -> int:
    """About how many pictures go forward through the network."""
    one = 2 * (len(BASELINES) + 1) * len(SHARES)
    grids = {e.grid for e in maps.explanations}
    return one * (len(maps) * PLACES + len(grids) * len(CONTROLS) * CONTROL_PLACES) + 3 * maps.cost


def _not_flat(e: Explanation) -> Check:
    return Check("flat", not e.flat, e.flat or "The map has high and low places.")


def _gradient_flow(maps: Maps, row: int) -> Check:
    layers = maps.methods[row].layers()
    if not layers:
        return Check("gradient flow", None, "Not asked: this method reads no layer.")
    dead = [name for name in layers if not maps.model.reaches(name)]
    if dead:
        return Check("gradient flow", False, f"The answer does not depend on layer {dead[0]}, where this map was read.")
    return Check("gradient flow", True, f"The answer depends on {' and '.join(layers)}, where the map was read.")


def _completeness(e: Explanation) -> Check:
    method = METHODS[e.method["name"]]
    if method.promises is None:
        return Check("completeness", None, "Not asked: this method does not promise that its values add up.")
    if e.gap is None:
        return Check("completeness", None, "Not asked: what the values should add up to is zero here.")
    said = f"The values should add up to the answer they explain, and miss it by {e.gap:.2%}"
    if method.approximate:
        return Check("completeness", None, f"{said}; by chance, so this is no fault.", e.gap)
    limit = f"; at most {GAP_LIMIT:.0%} is accepted."
    return Check("completeness", e.valid, said + limit, e.gap, GAP_LIMIT)


def _contrast(maps: Maps, row: int) -> Check:
    name, e = "class contrast", maps.explanations[row]
    other = maps.runner_up
    if other is None:
        return Check(name, None, "Not asked: there is no other class to tell the target from.")
    alike = rank_correlation(maps.values[row], maps.again(maps.x, [other], rows=[row])[0, 0])
    if math.isnan(alike):
        return Check(name, True, f"For {other.label}, the next likeliest, the map is empty: it tells the two apart.")
    passed = alike <= CONTRAST_LIMIT
    said = f"The map for {other.label}, the next likeliest, is ordered {_alike(alike)} (rank correlation {alike:.2f})"
    end = "." if passed else f": it hardly says why {e.target.label} and not the other."
    return Check(name, passed, said + end, alike, CONTRAST_LIMIT)


def _randomisation(maps: Maps, row: int) -> Check:
    layers = len(drawn_layers(maps.model.module))
    count = max(1, round(REDRAWN * layers))
    if not layers:
        return Check("randomisation", None, "Not asked: the network has no layers that could be drawn anew.")

    def drawn() -> Model:
        *_, (_, other) = islice(maps.model.redrawn(maps.seed), count)
        return other

    other = maps.remember("redrawn", drawn)
    alike = rank_correlation(maps.values[row], maps.again(maps.x, [maps.target], model=other, rows=[row])[0, 0])
    said = f"With its last {count} of {layers} layers replaced by random ones, the network gets "
    if math.isnan(alike):
        return Check("randomisation", True, f"{said}an empty map: this one rests on what it has learned.")
    passed = alike <= RANDOMISATION_LIMIT
    said += f"a map that is ordered {_alike(alike)} (rank correlation {alike:.2f})"
    end = "." if passed else ": this map shows little of what the network has learned."
    return Check("randomisation", passed, said + end, alike, RANDOMISATION_LIMIT)


def _repeatability(maps: Maps, row: int) -> Check:
    if not maps.methods[row].random:
        return Check("repeatability", None, "Not asked: there is no chance in this method.")
    again = maps.again(maps.x, [maps.target], reseed=1, rows=[row])[0, 0]
    same = overlap(highest(maps.values[row], TOP), highest(again, TOP))
    passed = same >= REPEAT_LIMIT
    said = f"Made again from another seed, the highest tenth of the map overlaps with this one's by {same:.0%}"
    end = "." if passed else ": most of what stands out is chance. Raise the number of samples."
    return Check("repeatability", passed, said + end, same, REPEAT_LIMIT)


def location_checks(maps: Maps, row: int) -> list[Check]:
    """Placement and controls: a map against its own shifts, and against maps that know nothing of the model."""
    said_of = _in_points if maps.in_probability else "{:.2g}".format
    found = placed(maps, maps.values[row])
    standing = larger(found)
    p, effect = p_value(standing), _effect(found)
    shifts, better = len(standing) - 1, int((standing[1:] >= standing[0]).sum())
    if p <= P_LIMIT:
        others = f"only {better}" if better else "none"
        said = (
            f"What the map marks sways the answer by {said_of(effect)} more than the same marks do at {shifts} other "
            f"places on average; {others} of them does as much (p = {p:.3f})."
        )
    else:
        said = (
            f"Shifted to other places, the same map sways the answer as much at {better} of {shifts} (p = {p:.3f}): "
            "where it points is no better than chance."
        )
    placement = Check("placement", p <= P_LIMIT, said, p, P_LIMIT)
    rivals = _controls(maps, row)
    best = max(rivals, key=rivals.__getitem__)
    named, ours, theirs = f"{best[:1].upper()}{best[1:]}", said_of(effect), said_of(rivals[best])
    passed = effect > 0 and effect >= CONTROL_LIMIT * rivals[best]
    if not passed:
        said = f"{named}, which knows nothing of the model, sways the answer by {theirs}, this map by {ours} only."
    elif effect < rivals[best]:
        said = f"{named} finds this place too: it sways the answer by {theirs}, this map by {ours}."
    else:
        said = "Edges and a blob in the middle, which know nothing of the model, sway the answer less"
        said += f", {best} by {theirs}." if rivals[best] > 0 else "."
    value = effect / rivals[best] if rivals[best] > 0 else None
    return [placement, Check("controls", passed, said, value, CONTROL_LIMIT)]


def placed(maps: Maps, values: np.ndarray, places: int = PLACES) -> np.ndarray:
    """(2, places) float64: how much a (h, w) map's highest pixels sway the answer, at its own place and at others.

    The first row is about covering them, the second about keeping them alone; higher is better in both. Means over
    the baselines and SHARES. Fewer `places` are evenly spread over the grid.
    """
    [own] = ranks(values[None], maps.seed)
    steps = np.arange(0, PLACES, PLACES // places)
    downs, rights = (
        np.rint(steps * turn % PLACES / PLACES * side).astype(int)
        for turn, side in zip((1, TURN), values.shape, strict=True)
    )
    return _swayed(maps, torch.stack([own.roll((int(y), int(x)), (0, 1)) for y, x in zip(downs, rights, strict=True)]))


def larger(found: np.ndarray) -> np.ndarray:
    """(2, k) sways to (k,): the larger of the two, each in standard deviations over all places.

    All places together put both on one scale, so that none of them is special and the test stays exact. A network is
    often swayed in one of the two ways only.
    """
    away, spread = found - found.mean(1, keepdims=True), found.std(1, keepdims=True)
    largest: np.ndarray = np.divide(away, spread, out=np.zeros_like(found), where=spread > 0).max(0)
    return largest


def p_value(standing: np.ndarray) -> float:
    """(1 + shifts,) to the share of places, the map's own (the first) among them, that do at least as well."""
    return float((standing >= standing[0]).mean())


def _effect(found: np.ndarray) -> float:
    """By how much more than at all places on average the answer is swayed, in the answer's own unit."""
    return float((found[:, 0] - found.mean(1)).max())


def _in_points(probability: float) -> str:
    points = 100 * probability
    return f"{points:.0f} percentage points" if abs(points) >= 10 else f"{points + 0.0:.1f} percentage points"


def _swayed(maps: Maps, places: torch.Tensor) -> np.ndarray:
    """(m, h, w) ranks to (2, m): minus the answer without the first pixels, and the answer for them alone."""
    first = counts(maps.x[0, 0].numel(), SHARES)
    side = min(maps.x.shape[2:])
    behind = torch.cat([*(maps.behind(kind)[0] for kind in BASELINES), blurred(maps.x, SLIGHT_BLUR * side)])
    pictures = (
        replaced(one, other, places, first, FEATHER * side) for one, other in ((maps.x, behind), (behind, maps.x))
    )
    left, held = (maps.answers(one).reshape(len(places), -1).mean(1) for one in pictures)
    return np.stack([-left, held])


def _controls(maps: Maps, row: int) -> dict[str, float]:
    """The effect of each control, as coarse as the map itself; asked once per picture and grid."""
    grid, size = maps.explanations[row].grid, maps.x.shape[2:]

    def ask() -> dict[str, float]:
        effects = {}
        for label, name in CONTROLS.items():
            made = METHODS.build(name).attribute(maps.model, maps.x, [maps.target], maps.seed)[:, None]
            fine = F.interpolate(F.adaptive_avg_pool2d(made, grid), size, mode="bilinear", align_corners=False)
            effects[label] = _effect(placed(maps, fine[0, 0].double().numpy(), CONTROL_PLACES))
        return effects

    return maps.remember(("controls", *grid), ask)


def _alike(correlation: float) -> str:
    return "the same" if correlation > 0.9 else "much alike" if correlation > 0.5 else "otherwise"
