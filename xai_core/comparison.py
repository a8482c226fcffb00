"""What several models make of one picture: which class each is asked about, what they say, and where they look apart.

Two models see two crops, each in its own resolution. Whatever compares them is therefore measured in the upload: its
pixels are the only ones that both have.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from xai_core.agreement import highest, overlap, rank_correlation
from xai_core.canvas import answered, percent
from xai_core.errors import SettingError
from xai_core.records import Explanation, Prediction, Target, why_flat
from xai_core.truth import mass

FORMULA = (
    "Difference = A / sum of |A| − B / sum of |B|: each map is brought to unit mass over the part of the picture that "
    "both models saw, so that places are compared and not the sizes of the values."
)
TOP = 0.1  # of the pixels: what stands out
FOUND = 0.5  # a label of a multi-label model counts as found above this probability
KINDS = ("logit", "probability", "contrast")

Box = tuple[float, float, float, float]


# ---- what is asked, and what is answered -------------------------------------------------------------------------


def names_of(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """What to call each model, by its identity: its name, and what tells it from others of that name."""
    names = [str(model.get("name", "model")) for model in models]
    for details in (
        [str(model.get("weights_sha256", ""))[:8] for model in models],
        [str(model.get("task", "")) for model in models],
        [f"no. {number}" for number, _ in enumerate(models, 1)],
    ):
        shared = [[d for n, d in zip(names, details, strict=True) if n == name] for name in names]
        names = [
            f"{name} ({detail})" if len(set(others)) > 1 else name
            for name, detail, others in zip(names, details, shared, strict=True)
        ]
    return names


def matched(
    wanted: str | int | None, predictions: Sequence[Prediction], kind: str = "logit", against: str | None = None
) -> tuple[list[Target], list[str]]:
    """The same class for every model, and sentences on those that do not have it.

    `wanted` is a label, a class number of the first model, or None for the class that the first model predicts. Models
    with other labels are matched by label; one that has no such label is asked about its own prediction, which is said.
    Raises SettingError if no model has it, or where a kind of target says nothing of a model.
    """
    from xai_core.pipeline import resolve_target

    if kind not in KINDS:
        raise SettingError(f"No kind of target is called {kind!r}. Choose one of {', '.join(KINDS)}.")
    if (kind == "contrast") != (against is not None):
        raise SettingError(
            "A contrast needs the class that it is against, and nothing else does: name both or neither."
        )
    asked = predictions[0]
    if isinstance(wanted, str):
        asked = next((one for one in predictions if wanted in one.labels), asked)
    first = resolve_target(wanted, asked)
    if against is not None and not any(against in one.labels for one in predictions):
        resolve_target(against, asked)  # says which classes there are
    key = _keys(asked)[first.index]
    targets, notes = [], []
    for name, said in zip(names_of([one.model for one in predictions]), predictions, strict=True):
        numbers = {label: number for number, label in enumerate(_keys(said))}
        index = numbers.get(key, int(said.order()[0]))
        if key not in numbers:
            notes.append(
                f"{name} has no class called {_called(asked, first.index)!r}: its own prediction, "
                f"{_called(said, index)!r}, is explained instead."
            )
        own_kind, other = kind, None
        if against is not None:
            other = resolve_target(against, said).index if against in said.labels else None
            if other is None or (other == index and key not in numbers):
                own_kind, other = "logit", None
                notes.append(f"{name} cannot hold {said.labels[index]!r} against {against!r}: its logit is explained.")
        target = Target(index, said.labels[index], own_kind, other)  # type: ignore[arg-type]
        targets.append(resolve_target(target, said))
    return targets, notes


def said(predictions: Sequence[Prediction]) -> str:
    """Whether the models agree, in one sentence with the numbers of each."""
    names, tasks = names_of([one.model for one in predictions]), {one.task for one in predictions}
    if not predictions:
        return "What they predict is not known."
    if len(tasks) > 1 or len(predictions) == 1:
        each = (f"{name} says {_best(one)}" for name, one in zip(names, predictions, strict=True))
        return ("Their outputs mean different things: " if len(tasks) > 1 else "") + f"{'; '.join(each)}."
    [task] = tasks
    if task == "regression":
        return _said_values(predictions)
    return _said_findings(names, predictions) if task == "multi label" else _said_classes(names, predictions)


def agreed(predictions: Sequence[Prediction]) -> float | None:
    """The share of the models that give the commonest answer; None where they give no labels, or not of one kind."""
    tasks = {one.task for one in predictions}
    if len(tasks) != 1 or "regression" in tasks:
        return None
    answers = Counter(
        tuple(sorted(key for key, value in zip(_keys(one), one.probabilities, strict=True) if value > FOUND))
        if one.task == "multi label"
        else _keys(one)[int(one.order()[0])]
        for one in predictions
    )
    return max(answers.values()) / len(predictions)


class Row(NamedTuple):
    """One label with what every model says of it, None where a model has no such label; `gap` largest minus least."""

    label: str
    answers: list[float | None]
    gap: float | None


def gaps(predictions: Sequence[Prediction], k: int = 5) -> list[Row]:
    """The `k` likeliest labels of each model with all their probabilities (of a regression: values), largest first."""
    keys = [_keys(one) for one in predictions]
    shown = [one.logits if one.task == "regression" else one.probabilities for one in predictions]
    answers = [dict(zip(own, map(float, values), strict=True)) for own, values in zip(keys, shown, strict=True)]
    alike = len({one.task for one in predictions}) == 1  # a value and a probability have no gap
    union = dict.fromkeys(own[i] for own, one in zip(keys, predictions, strict=True) for i in one.order()[:k])
    rows = []
    for key in union:
        owner = next(i for i, own in enumerate(keys) if key in own)
        label = _called(predictions[owner], keys[owner].index(key))
        each = [one.get(key) for one in answers]
        known = [value for value in each if value is not None]
        rows.append(Row(label, each, max(known) - min(known) if alike and len(known) == len(each) else None))
    return sorted(rows, key=lambda row: -max(value for value in row.answers if value is not None))


def _keys(prediction: Prediction) -> list[tuple[str, int]]:
    """Each class by its label and by how many before it bear the same one: some sets of labels hold one twice."""
    met: Counter[str] = Counter()
    keys = []
    for label in prediction.labels:
        keys.append((label, met[label]))
        met[label] += 1
    return keys


def _called(prediction: Prediction, number: int) -> str:
    """A class by its label, with its number where another bears the same."""
    label = prediction.labels[number]
    return f"{label} (class {number})" if prediction.labels.count(label) > 1 else label


def _best(prediction: Prediction) -> str:
    number = int(prediction.order()[0])
    return f"{_called(prediction, number)} ({answered(prediction, number)})"


def _said_classes(names: Sequence[str], predictions: Sequence[Prediction]) -> str:
    best = [_keys(one)[int(one.order()[0])] for one in predictions]
    sure = [answered(one, int(one.order()[0])) for one in predictions]
    [(most, count)] = Counter(best).most_common(1)
    first = predictions[best.index(most)]
    label = _called(first, int(first.order()[0]))
    if count == len(best):
        return f"{_all(len(best))} agree: {label}, {_listed(sure)}."
    others = [f"{name} says {_best(one)}" for name, one, key in zip(names, predictions, best, strict=True)
              if count == 1 or key != most]  # fmt: skip
    if count == 1:
        return f"They differ: {', '.join(others)}."
    who = (f"{name} {share}" for name, share, key in zip(names, sure, best, strict=True) if key == most)
    return f"{count} of {len(best)} say {label} ({', '.join(who)}); {', '.join(others)}."


def _said_findings(names: Sequence[str], predictions: Sequence[Prediction]) -> str:
    """Which labels are above FOUND, by who finds them."""
    finders: dict[tuple[str, int], dict[int, str]] = {}
    called: dict[tuple[str, int], str] = {}
    for number, one in enumerate(predictions):
        keys = _keys(one)
        for i in map(int, one.order()):
            if one.probabilities[i] > FOUND:
                finders.setdefault(keys[i], {})[number] = answered(one, i)
                called.setdefault(keys[i], _called(one, i))
    if not finders:
        return f"{'Neither' if len(names) == 2 else 'None'} finds anything above {percent(FOUND)}."
    groups: dict[tuple[int, ...], list[str]] = {}
    for key, who in finders.items():
        groups.setdefault(tuple(who), []).append(f"{called[key]} ({_listed(list(who.values()))})")
    parts = []
    for who_found, labels in sorted(groups.items(), key=lambda group: -len(group[0])):
        everyone = len(who_found) == len(names)
        who_said = _all(len(names)) if everyone else f"only {_listed([names[i] for i in who_found])}"
        parts.append(f"{who_said} find{'s' if len(who_found) == 1 else ''} {_listed(labels)}")
    sentence = "; ".join(parts)
    return f"{sentence[0].upper()}{sentence[1:]}, above {percent(FOUND)}."


def _said_values(predictions: Sequence[Prediction]) -> str:
    rows = [row for row in gaps(predictions, k=3) if row.gap is not None]
    if not rows:
        return "They have no output in common, so their values cannot be compared."
    each = (f"{row.label} {_listed([f'{value:.4g}' for value in row.answers])}, a gap of {row.gap:.4g}" for row in rows)
    return f"They give {'; '.join(each)}."


def _all(count: int) -> str:
    return "Both" if count == 2 else f"All {count}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))


# ---- where they look apart ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Difference:
    """Where two maps of one upload differ, on the part of it that both models saw.

    `values` (h, w) float32: above zero the first map has more of its mass, below zero the second, as FORMULA says.
    `pixels` (h, w, 3) uint8: the picture there. `box` (left, top, right, bottom) of that part, in pixels of the upload.
    `rank_correlation` over its pixels, -1 to 1. `top_overlap`: intersection over union of the two highest tenths.
    `centre_distance`: pixels of the upload between the centres of mass of the positive parts. `common`: the share that
    both saw of what either saw, 0 to 1. A number that is undefined is None, and `why` says so under its name.
    """

    values: np.ndarray
    pixels: np.ndarray
    box: Box
    rank_correlation: float | None
    top_overlap: float | None
    centre_distance: float | None
    common: float
    why: Mapping[str, str]


def first_pair(explanations: Sequence[Explanation]) -> tuple[Explanation, Explanation] | None:
    """The first map, and the first of another model by the same method; None where there is none."""
    one = explanations[0]
    alike = (e for e in explanations if e.model != one.model and e.method["name"] == one.method["name"])
    return next(((one, other) for other in alike), None)


def differ(one: Explanation, other: Explanation, size: tuple[int, int] | None = None) -> Difference:
    """Two maps of one upload held against each other, on the part of it that both models saw.

        values = one / sum of |one| - other / sum of |other|

    Both are sampled there at the finer of the two pixel pitches, bilinearly; maps of one box and one shape are compared
    as they are. A map that is zero there has no mass, and takes nothing off the other. `size` (height, width) of the
    upload, where known, leaves borders that were added to it out of `common`. Raises SettingError for maps of different
    pictures, of crops that do not overlap, or of which it was not recorded where they lie.
    """
    if one.image != other.image:
        raise SettingError("The two maps are of different pictures. Explain the same picture with both models.")
    if one.box is None or other.box is None:
        raise SettingError(
            "It was not recorded where in the picture these maps lie, so they cannot be compared. Explain it again."
        )
    box, shape = _shared(one, other)
    names, maps = names_of([one.model, other.model]), [_sampled(e.values, e.box, box, shape) for e in (one, other)]  # type: ignore[arg-type]
    why: dict[str, str] = {}
    exact = [values.astype(np.float64) for values in maps]
    shares = [values / (np.abs(values).sum() or 1) for values in exact]
    flat = [f"{name}: {reason}" for name, values in zip(names, maps, strict=True) if (reason := why_flat(values))]
    if flat:
        why |= dict.fromkeys(("rank_correlation", "top_overlap"), flat[0])
    here, there = _centre(one, box), _centre(other, box)
    if here is None or there is None:
        missing = names[0] if here is None else names[1]
        why["centre_distance"] = f"{missing}: no value is above zero where both models look, so there is no centre."
    nearer = min((one, other), key=lambda e: _pitch(e)[0] * _pitch(e)[1])
    pixels = _sampled(nearer.pixels, nearer.box, box, shape)  # type: ignore[arg-type]
    return Difference(
        values=(shares[0] - shares[1]).astype(np.float32),
        pixels=pixels if pixels.dtype == np.uint8 else np.rint(pixels).astype(np.uint8),
        box=box,
        rank_correlation=None if flat else rank_correlation(*maps),
        top_overlap=None if flat else overlap(highest(maps[0], TOP), highest(maps[1], TOP)),
        centre_distance=None if here is None or there is None else math.dist(here, there),
        common=_common(one.box, other.box, size),
        why=MappingProxyType(why),
    )


class Measure(NamedTuple):
    """One number of a Difference: its name, its value with its unit, and how to read it or why it is not defined."""

    name: str
    value: str
    meaning: str


def measured(d: Difference) -> list[Measure]:
    """The numbers of a difference in words."""

    def measure(name: str, key: str, words: str, meaning: str) -> Measure:
        value = getattr(d, key)
        if value is None:
            return Measure(name, "not defined", d.why[key].rstrip("."))
        text = words.format(round(value, 2) + 0.0)  # never minus zero
        return Measure(name, text.replace("-", "\N{MINUS SIGN}").replace("%", " %"), meaning)

    chance = TOP / (2 - TOP)  # of two draws at random
    return [
        measure(
            "Rank correlation",
            "rank_correlation",
            "{:.2f}",
            "1: the same order of pixels, 0: unrelated, \N{MINUS SIGN}1: reversed",
        ),
        measure(
            "Overlap of the highest tenths",
            "top_overlap",
            "{:.2f}",
            f"intersection over union; 1: the same pixels, {chance:.2f}: as by chance, 0: none",
        ),
        measure(
            "Between the centres of mass",
            "centre_distance",
            "{:.1f} px",
            "pixels of the upload, between the centres of what speaks for the target",
        ),
        measure("Seen by both", "common", "{:.0%}", "of what either saw; only that is compared"),
    ]


def _pitch(e: Explanation) -> tuple[float, float]:
    """(down, right): pixels of the upload in one of the map."""
    left, top, right, bottom = e.box or (0, 0, 0, 0)
    height, width = e.values.shape
    return (bottom - top) / height, (right - left) / width


def _shared(one: Explanation, other: Explanation) -> tuple[Box, tuple[int, int]]:
    """Where two boxes overlap, and the (height, width) of that part at the finer of the two pitches."""
    if one.box == other.box and one.values.shape == other.values.shape:
        return one.box, one.values.shape  # type: ignore[return-value]
    box = _overlap(one.box, other.box)  # type: ignore[arg-type]
    if box is None:
        raise SettingError("The two models see parts of the picture that do not overlap. Compare others.")
    down, right = map(min, zip(_pitch(one), _pitch(other), strict=True))
    return box, (max(1, round((box[3] - box[1]) / down)), max(1, round((box[2] - box[0]) / right)))


def _overlap(one: Box, other: Box) -> Box | None:
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    return (left, top, right, bottom) if left < right and top < bottom else None


def _common(one: Box, other: Box, size: tuple[int, int] | None) -> float:
    """Intersection over union of two boxes, within the picture where its size is known."""
    whole = None if size is None else (0.0, 0.0, float(size[1]), float(size[0]))
    areas = [
        0.0 if part is None else (part[2] - part[0]) * (part[3] - part[1])
        for part in (box if whole is None or box is None else _overlap(box, whole)
                     for box in (one, other, _overlap(one, other)))
    ]  # fmt: skip
    return areas[2] / (areas[0] + areas[1] - areas[2])


def _sampled(values: np.ndarray, own: Box, box: Box, shape: tuple[int, int]) -> np.ndarray:
    """(h, w, ...) values that fill the box `own`, bilinearly at the middles of the pixels of `box`, `shape` of them."""
    if own == box and values.shape[:2] == shape:
        return values
    for axis in (0, 1):
        side, first, last = values.shape[axis], own[1 - axis], own[3 - axis]
        step = (box[3 - axis] - box[1 - axis]) / shape[axis]
        middles = box[1 - axis] + (np.arange(shape[axis]) + 0.5) * step
        places = np.clip((middles - first) * side / (last - first) - 0.5, 0, side - 1)
        before = np.minimum(places.astype(int), max(0, side - 2))
        part = (places - before).reshape([-1 if i == axis else 1 for i in range(values.ndim)])
        after = np.minimum(before + 1, side - 1)
        values = np.take(values, before, axis) * (1 - part) + np.take(values, after, axis) * part
    return values


def _centre(e: Explanation, box: Box) -> tuple[float, float] | None:
    """(row, column), in pixels of the upload, of the middle of the map's positive mass inside `box`.

    On the map's own pixels, each of them counted for the part of it that lies inside: nothing is resampled.
    """
    assert e.box is not None
    rows, columns = (
        _covered(side, e.box[axis], e.box[axis + 2], box[axis], box[axis + 2])
        for side, axis in zip(e.values.shape, (1, 0), strict=True)
    )
    shares = mass(e.values * rows[0][:, None] * columns[0])
    return None if shares is None else (float(shares.sum(1) @ rows[1]), float(shares.sum(0) @ columns[1]))


def _covered(side: int, first: float, last: float, low: float, high: float) -> tuple[np.ndarray, np.ndarray]:
    """Of `side` pixels from `first` to `last`: the share of each that lies from `low` to `high`, and its middle."""
    edges = np.clip(np.linspace(first, last, side + 1), low, high)
    return np.diff(edges) * side / (last - first), (edges[1:] + edges[:-1]) / 2
