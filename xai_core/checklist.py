"""What a careful reader asks before believing what several models say of a picture, answered by measurement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xai_core.canvas import answered, percent
from xai_core.comparison import Box, agreed, names_of, said
from xai_core.errors import SettingError
from xai_core.records import Check, Evidence, Explanation, Image, Prediction, models_of
from xai_core.truth import NO_MASS, border, mass_inside

SURE = 0.95  # probability above which a model is called sure
BAND, CORNER = 0.1, 0.2  # shares of a side: of the border, and of the squares in the corners


def checklist(
    explanations: Sequence[Explanation],
    predictions: Sequence[Prediction],
    evidence: Sequence[Evidence | None] = (),
    artefact: np.ndarray | Image | None = None,
) -> list[Check]:
    """Whether the models agree, are sure, look away from the picture's edges and artefacts, and can be believed.

    `evidence` is what each map was weighed as. `artefact` marks what should not count, in the upload and of its size:
    a mask as uploaded or (h, w) bool. Without one, the corners are looked at, where markers and text usually stand.
    Raises SettingError for another kind of array.
    """
    weighed = list(evidence) or [None] * len(explanations)
    marked = None if artefact is None else _mask(artefact)
    names = names_of(models := models_of([*predictions, *explanations]))
    checks = [_agreement(predictions)]
    checks += [_sure(names[models.index(one.model)], one) for one in predictions]
    for e, verdict in zip(explanations, weighed, strict=True):
        name, shape = names[models.index(e.model)], (e.values.shape[0], e.values.shape[1])
        checks.append(_away("border", name, e, border(shape, BAND), f"the outer {100 * BAND:.0f} % of what it saw"))
        if marked is None:
            checks.append(_away("corners", name, e, _corners(shape), "the corners, where markers and text usually are"))
        elif e.box is None:
            checks.append(Check("artefact", None, f"{name}: it was not recorded where in the picture the map lies."))
        else:
            checks.append(_away("artefact", name, e, _marked(marked, e.box, shape), "the marked artefact"))
        checks.append(_believed(name, verdict))
    return checks


def _agreement(predictions: Sequence[Prediction]) -> Check:
    sentence, share = said(predictions), agreed(predictions)
    if len(predictions) < 2:
        return Check("agreement", None, f"Nobody to agree with. {sentence}")
    if share is None:
        return Check("agreement", None, f"No labels to agree on. {sentence}")
    return Check("agreement", share == 1, sentence, share, 1.0)


def _sure(name: str, prediction: Prediction) -> Check:
    number = int(prediction.order()[0])
    if prediction.task == "regression":
        return Check("confidence", None, f"{name} gives values, which have no probability.")
    value, label = float(prediction.probabilities[number]), prediction.labels[number]
    passed = value > SURE
    sentence = f"{name} says {label} with {answered(prediction, number)}, {'above' if passed else 'not above'} 95 %."
    return Check("confidence", passed, sentence, value, SURE)


def _away(check: str, name: str, e: Explanation, place: np.ndarray, words: str) -> Check:
    """Whether no more of the map's mass lies on `place` than its area has of the picture."""
    if e.flat:
        return Check(check, None, f"{name}: {e.flat}")
    share, null = mass_inside(e.values, place), float(place.mean())
    if share is None:
        return Check(check, None, f"{name}: {NO_MASS}")
    if not null:
        return Check(check, None, f"{name} saw nothing of {words}.")
    sentence = f"{name} has {percent(share)} of its map on {words}; a uniform map has {percent(null)}."
    return Check(check, share <= null, sentence, share, null)


def _believed(name: str, evidence: Evidence | None) -> Check:
    if evidence is None:
        return Check("evidence", None, f"{name}: how far its map can be believed is not weighed yet.")
    return Check("evidence", evidence.verdict == "supported", f"{name}: {judged(evidence)}")


def judged(evidence: Evidence) -> str:
    """The verdict, with the first check that failed, or how many were passed."""
    if evidence.verdict != "supported":
        return f"{evidence.verdict}. {' '.join(evidence.reasons[:1])}".strip()
    passed = sum(check.passed is True for check in evidence.checks)
    return f"supported, {passed} check{'' if passed == 1 else 's'} passed."


def _corners(shape: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: the four squares in the corners."""
    rows, columns = (
        np.minimum(np.arange(side), np.arange(side)[::-1]) < max(1, round(CORNER * side)) for side in shape
    )
    return rows[:, None] & columns


def _mask(artefact: np.ndarray | Image) -> np.ndarray:
    """(h, w) bool."""
    if isinstance(artefact, Image):
        return artefact.pixels[..., 0] > 127
    if artefact.ndim != 2 or artefact.dtype != bool or not artefact.size:
        raise SettingError(f"A mask is (height, width) of True and False, not {artefact.dtype} {artefact.shape}.")
    return artefact


def _marked(mask: np.ndarray, box: Box, shape: tuple[int, int]) -> np.ndarray:
    """(h, w) bool: the pixels of a map in `box` that are half covered by the mask, which is of the upload's size."""
    parts = []
    for axis in (0, 1):
        edges = np.linspace(box[1 - axis], box[3 - axis], shape[axis] + 1)
        places = np.arange(mask.shape[axis])
        inside = np.minimum(edges[1:, None], places + 1) - np.maximum(edges[:-1, None], places)
        parts.append(np.clip(inside, 0, None) / np.diff(edges)[:, None])
    covered: np.ndarray = parts[0] @ mask.astype(np.float64) @ parts[1].T
    return covered >= 0.5
