"""Dose and response: what a model says of pictures that are changed more and more, and where its maps go.

The prediction is measured first, the map second: a map may stay while the decision goes, and the other way round. The
original is dose 0. The dose at which a decision flips first is bracketed on the grid of doses, then halved.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from xai_core.comparison import FOUND
from xai_core.dose_sentences import amount, sentences
from xai_core.dose_summary import Answer, Flip, Response, tables
from xai_core.errors import PictureError, SettingError
from xai_core.map_shift import Shift, View, Way, no_shift, shift
from xai_core.models import Model
from xai_core.pipeline import resolve_target
from xai_core.probes import Asking, Found, Look, Part, Perturbation, Subject
from xai_core.records import Frame, Image, Prediction, Target

HALVINGS = 4  # of the bracket that a flip lies in: to a sixteenth of the step between two doses
NO_MAP = "The method made no map of one of the two pictures."


def respond(asking: Asking, probe: Perturbation) -> Found:
    """Ask about every picture at every dose of `probe`.

    Pictures that the strongest dose leaves as they are say nothing of it, and are left out. Raises SettingError for a
    strongest dose of 0, and where no picture can be asked about.
    """
    if not probe.strength:
        raise SettingError(f"{probe.label}: a strongest dose of 0 changes nothing. Choose another.")
    responses: list[Response] = []
    frames: tuple[Frame, ...] = ()
    for subject in asking.subjects():
        try:
            film = _film(asking, probe, subject)
            responses.append(_response(asking, probe, film))
        except PictureError as error:
            asking.leave_out(subject, str(error))
            continue
        frames = frames or tuple(_frames(asking, probe, film, responses[-1]))
    if not responses:
        raise SettingError(f"No picture can be asked about {probe.label.lower()}.")
    return Found(
        sentences(asking, probe, responses),
        tables(asking, probe, responses),
        frames,
        [one.sha256 for one in responses],
    )


class _Film(NamedTuple):
    """One picture at every dose, from 0: the pictures, what the model says of each, and the way from the original.

    `marked` (H, W) bool is what the data mark in the original, and what that is called.
    """

    subject: Subject
    part: Part | None
    marked: tuple[np.ndarray, str] | None
    target: Target
    doses: tuple[float, ...]
    images: tuple[Image, ...]
    looks: tuple[Look, ...]
    ways: tuple[Way, ...]


def _film(asking: Asking, probe: Perturbation, subject: Subject) -> _Film:
    from xai_core.parts import marked_object

    part = _part(probe, subject)
    doses = probe.doses()
    changed = tuple(_perturbed(asking, probe, subject, part, dose) for dose in doses[1:])
    if _same(changed[-1], subject.image):
        raise PictureError(f"{probe.label} {amount(probe, doses[-1])} changes no pixel of it.")
    first = asking.original(subject)
    target = resolve_target(asking.target, first.prediction)
    images = (subject.image, *changed)
    before, *others = (_view(asking.model, image) for image in images)
    height, width = before.size
    ways = [Way.along(before, before, np.eye(2, 3))]
    ways += [
        Way.along(before, after, probe.move((height, width), dose))
        for after, dose in zip(others, doses[1:], strict=True)
    ]
    looks = (first, *asking.look(changed, target))
    return _Film(subject, part, marked_object(subject), target, doses, images, looks, tuple(ways))


def _part(probe: Perturbation, subject: Subject) -> Part | None:
    if not probe.part:
        return None
    from xai_core.parts import part_of

    return part_of(subject, probe.part)


def _perturbed(asking: Asking, probe: Perturbation, subject: Subject, part: Part | None, dose: float) -> Image:
    """Every dose draws the same random numbers, so that only the dose differs."""
    pixels = probe.apply(subject.image.pixels, dose, part, asking.random(subject))
    return dataclasses.replace(subject.image, pixels=pixels)


def _same(one: Image, other: Image) -> bool:
    return np.array_equal(one.pixels, other.pixels)


def _view(model: Model, image: Image) -> View:
    height, width = image.pixels.shape[:2]
    rows, columns = model.preprocessing.input_size[1:]
    return View(model.preprocessing.box(image), (rows, columns), (height, width))


def _response(asking: Asking, probe: Perturbation, film: _Film) -> Response:
    decisions = [decision(look.prediction, film.target) for look in film.looks]
    mask, marked = film.marked or (None, "")
    answers = tuple(
        Answer(
            dose=dose,
            measured=float(probe.measure(image.pixels)),
            value=value_of(look.prediction, film.target),
            decision=made,
            flipped=made != decisions[0],
            shifts=tuple(_shifts(film.looks[0], look, way, mask)),
            repeats=step > 0 and _same(image, film.images[step - 1]),
        )
        for step, (dose, image, look, way, made) in enumerate(
            zip(film.doses, film.images, film.looks, film.ways, decisions, strict=True)
        )
    )
    return Response(
        number=film.subject.number,
        sha256=film.subject.image.sha256,
        label=film.subject.label,
        target=film.target,
        answers=answers,
        flip=_flip(asking, probe, film, answers),
        in_probability=as_read(film.target, film.looks[0].prediction).kind in ("probability", "sigmoid"),
        part=film.part.source if film.part else "",
        marked=marked,
    )


def _shifts(before: Look, after: Look, way: Way, mask: np.ndarray | None) -> Iterator[Shift]:
    for one, other in zip(before.maps, after.maps, strict=True):
        yield no_shift(NO_MAP) if one is None or other is None else shift(one.values, other.values, way, mask)


def _flip(asking: Asking, probe: Perturbation, film: _Film, answers: Sequence[Answer]) -> Flip | None:
    """Where the decision flips first on the way up, between two doses of the grid, halved HALVINGS times.

    Of doses so near that they give the same picture only one is asked about.
    """
    step = next((number for number, answer in enumerate(answers) if answer.flipped), None)
    if step is None:
        return None
    (low, kept), (high, gone) = ((film.doses[at], film.images[at]) for at in (step - 1, step))
    now = answers[step].decision
    for _ in range(HALVINGS):
        middle = round((low + high) / 2, 9)
        image = _perturbed(asking, probe, film.subject, film.part, middle)
        if _same(image, gone):
            high = middle
            continue
        if not _same(image, kept):
            [look] = asking.look([image], film.target, maps=False)
            made = decision(look.prediction, film.target)
            if made != answers[0].decision:
                high, gone, now = middle, image, made
                continue
        low, kept = middle, image
    return Flip(low, high, str(now))


def _covered(film: _Film, image: Image, way: Way) -> np.ndarray | None:
    """(h, w) bool of the view: where a picture whose part is covered differs from the original; None where nowhere."""
    before, after = film.subject.image.pixels, image.pixels
    if film.part is None or before.shape != after.shape:
        return None
    region = way.region((before != after).any(axis=2))
    return region if region.any() else None


def as_read(target: Target, prediction: Prediction) -> Target:
    """The target as people read it: the probability of its class, where there are probabilities."""
    one_output = prediction.task == "single label" and len(prediction.labels) < 2
    if target.kind != "logit" or prediction.task == "regression" or one_output:
        return target
    return dataclasses.replace(target, kind="sigmoid" if prediction.task == "multi label" else "probability")


def value_of(prediction: Prediction, target: Target) -> float:
    """The probability of the target, or where there is none the target itself: a value, or a contrast of logits."""
    logits = torch.from_numpy(prediction.logits.astype(np.float64))[None]
    return float(as_read(target, prediction).read(logits)[0])


def decision(prediction: Prediction, target: Target) -> str | None:
    """The predicted class; of labels that do not exclude one another, whether the target is found; else None."""
    if prediction.task == "multi label":
        found = prediction.probabilities[target.index] > FOUND
        return f"{prediction.labels[target.index]} {'found' if found else 'not found'}"
    if prediction.task == "regression" or len(prediction.labels) < 2:
        return None
    return prediction.labels[int(prediction.order()[0])]


def _frames(asking: Asking, probe: Perturbation, film: _Film, response: Response) -> Iterator[Frame]:
    """The picture at every dose as the model saw it, with the map of the first method."""
    for answer, image, look, way in zip(response.answers, film.images, film.looks, film.ways, strict=True):
        made = look.maps[0] if look.maps else None
        yield Frame(
            caption=f"{probe.label} {amount(probe, answer.dose)}" if answer.dose else "Original",
            pixels=asking.model.preprocessing.view(image) if made is None else made.pixels,
            values=None if made is None else made.values,
            region=_covered(film, image, way),
            facts={
                "dose": answer.dose,
                "unit": probe.unit,
                "probability": answer.value,
                "predicted": answer.decision,
                "flipped": answer.flipped,
            },
        )
