"""The shortcut challenge: the same pictures without and with an artefact, put to a model and to its maps."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from xai_core.artefacts import ARTEFACTS, Artefact, taken_out
from xai_core.challenge_effects import Pair, Pairs, Share, answers_of, spread_of
from xai_core.challenge_report import method_names, sentences_of, tables_of
from xai_core.errors import PictureError, SettingError
from xai_core.parts import part_of
from xai_core.probes import Asking, Found, Look, Part, Subject
from xai_core.records import Explanation, Frame, Image, Target
from xai_core.truth import distances_to, mass_inside

if TYPE_CHECKING:
    from xai_core.probes.shortcut import Shortcut

REMOVED = "marker_removed"
SEEN = 12  # levels of 255 by which what the model sees must differ, to belong to the artefact
MARKER = "marker"  # what the data calls one that it marks
SEARCHED = 5  # pictures without a face, after which none is looked for: that takes longer than all else


@dataclass(frozen=True, eq=False)
class Base:
    """A picture without an artefact, and its maps for each target that was asked about so far."""

    subject: Subject
    image: Image
    look: Look
    maps: dict[Target, Sequence[Explanation | None]]

    def maps_for(self, asking: Asking, target: Target) -> Sequence[Explanation | None]:
        if asking.methods and target not in self.maps:  # an artefact changed the class
            self.maps[target] = asking.look([self.image], target)[0].maps
        return self.maps.get(target, ())


def challenge(asking: Asking, probe: Shortcut) -> Found:
    """Plant every artefact in every picture, and say which the model uses and which maps show it."""
    chosen = [ARTEFACTS[name] for name in probe.chosen()]
    asked = {one.name: Pairs(one.name, one.label, one.everywhere) for one in chosen}
    markers = any(one.already == MARKER for one in chosen)
    removed = Pairs(REMOVED, "Marker in the data, removed", taken_out=True)
    frames: list[Frame] = []
    originals = []
    for subject in asking.subjects():
        look = asking.original(subject)
        originals.append(look.prediction)
        plain = Base(subject, subject.image, look, {_target(asking, look): look.maps})
        clean = _without_marker(asking, plain) if markers else None
        if clean is not None:
            removed.pairs.append(_pair(asking, clean, look, float(subject.parts[MARKER].mean())))
        _plant(asking, plain, clean or plain, chosen, asked, frames)
    if len(originals) < probe.fewest:
        raise SettingError(
            f"{probe.label} compares pictures: it needs {probe.fewest} or more that can be read, and {len(originals)} "
            "can. Give more."
        )
    methods = method_names(asking.methods)
    answers = answers_of(
        [one for one in (*asked.values(), removed) if one.pairs],
        methods,
        smallest=probe.smallest,
        smallest_map=probe.smallest_map,
        spread=spread_of(originals),
        seed=asking.seed,
    )
    sentences = sentences_of(asking.model, probe, answers, list(asked.values()), len(removed.pairs))
    return Found(sentences, tables_of(asking.model.labels, methods, answers), frames)


def _without_marker(asking: Asking, plain: Base) -> Base | None:
    """The picture after the marker that the data marks in it was taken out, asked about as the original was."""
    subject = plain.subject
    marked = subject.parts.get(MARKER)
    if marked is None or not marked.any():
        return None
    image = _changed(subject.image, taken_out(subject.image.pixels, marked), REMOVED)
    target = _target(asking, plain.look)
    [look] = asking.look([image], target)
    return Base(subject, image, look, {target: look.maps})


def _plant(
    asking: Asking,
    plain: Base,
    clean: Base,
    chosen: Sequence[Artefact],
    asked: Mapping[str, Pairs],
    frames: list[Frame],
) -> None:
    """All that can be planted in one picture goes to the model at once; a marker goes into the one without markers."""
    planted: list[tuple[Artefact, Base, Image, float]] = []
    own = int(asking.random(plain.subject).integers(2**62))
    for artefact in chosen:
        base = clean if artefact.already == MARKER else plain
        try:
            planted.append((artefact, base, *_planted(asking, base, artefact, own, asked[artefact.name])))
        except PictureError as error:
            asked[artefact.name].skipped[str(error)] += 1
    looks = asking.look([image for _, _, image, _ in planted], asking.target) if planted else []
    for (artefact, base, _, area), look in zip(planted, looks, strict=True):
        asked[artefact.name].pairs.append(_pair(asking, base, look, area))
    if not frames:  # of the first picture, all with the probability of the class predicted on it as it is
        index = _target(asking, plain.look).index
        frames.append(_frame(asking, "Without an artefact", plain.image, plain.look, index))
        if clean is not plain:
            frames.append(_frame(asking, "Marker removed", clean.image, clean.look, index, plain.image))
        for (artefact, base, image, _), look in zip(planted, looks, strict=True):
            frames.append(_frame(asking, artefact.label, image, look, index, base.image))


def _planted(asking: Asking, base: Base, artefact: Artefact, own: int, asked: Pairs) -> tuple[Image, float]:
    """The picture with the artefact, and the share of it that it covers. Raises PictureError: why it has no place."""
    subject = base.subject
    if artefact.already != MARKER and artefact.already in subject.parts and subject.parts[artefact.already].any():
        raise PictureError("the data marks one already")
    part = _part(subject, artefact.needs, asked) if artefact.needs else None
    known = [one for one in (subject.mask, *subject.parts.values()) if one is not None]
    avoid = np.logical_or.reduce(known) if known else None
    chance = np.random.default_rng([own, *artefact.name.encode()])  # the same whatever else is planted
    box = asking.model.preprocessing.box(base.image)
    pixels, mask = artefact.plant(base.image.pixels, chance, part, avoid=avoid, box=box)
    return _changed(subject.image, pixels, artefact.name), float(mask.mean())


def _part(subject: Subject, name: str, asked: Pairs) -> Part:
    """Raises PictureError, which says in what pictures it is not known."""
    known = name in subject.parts or subject.box is not None
    if not known and not asked.pairs and sum(asked.skipped.values()) >= SEARCHED:
        raise PictureError(f"nobody marked the {name}, and none were looked for after {SEARCHED} pictures had none")
    try:
        return part_of(subject, name)
    except PictureError:
        raise PictureError(f"nobody marked the {name} and none were found") from None


def _changed(image: Image, pixels: np.ndarray, by: str) -> Image:
    sha256 = hashlib.sha256(f"{image.sha256} {by}".encode() + pixels.tobytes()).hexdigest()
    return dataclasses.replace(image, pixels=pixels, sha256=sha256)


def _target(asking: Asking, look: Look) -> Target:
    """What the maps of a look explain: what was asked about, or the class that was predicted."""
    if asking.target is not None:
        return asking.target
    index = int(look.prediction.order()[0])
    return next((one.target for one in look.maps if one is not None), Target(index, look.prediction.labels[index]))


def _pair(asking: Asking, base: Base, present: Look, area: float) -> Pair:
    """Both maps are for the target of the picture with the artefact."""
    maps = base.maps_for(asking, _target(asking, present))
    return Pair(
        picture=base.subject.number,
        sha256=base.subject.image.sha256,
        without=base.look.prediction,
        present=present.prediction,
        index=_target(asking, base.look).index,
        area=area,
        shares=tuple(_share(here, there) for here, there in zip(present.maps, maps, strict=True)),
    )


def _share(present: Explanation | None, absent: Explanation | None) -> Share | None:
    """None where a map is missing, or the model does not see the artefact.

    No finer place than a cell can be read from a map, so half a cell around the artefact counts as its place.
    """
    if present is None or absent is None:
        return None
    place = _seen(present.pixels, absent.pixels)
    if not place.any():
        return None
    if present.cell > 1:
        place = distances_to(place) <= present.cell / 2
    here, there = (None if one.flat else mass_inside(one.values, place) for one in (present, absent))
    return Share(here, there, float(place.mean()))


def _seen(present: np.ndarray, absent: np.ndarray) -> np.ndarray:
    """(h, w) bool: where two (h, w, 3) uint8 views differ."""
    return np.asarray(np.abs(present.astype(np.int16) - absent).max(axis=2) > SEEN)


def _frame(asking: Asking, caption: str, image: Image, look: Look, index: int, without: Image | None = None) -> Frame:
    """What the model saw, with the first method's map and, against the picture without it, where the artefact is.

    `index` is the class whose probability is told.
    """
    view = asking.model.preprocessing.view
    pixels, said = view(image), look.prediction
    shown = said.logits if said.task == "regression" else said.probabilities
    return Frame(
        caption,
        pixels,
        next((one.values for one in look.maps[:1] if one is not None), None),
        None if without is None else _seen(pixels, view(without)),
        {"target": said.labels[index], "probability": float(shown[index]), "predicted": said.top(1)[0][0]},
    )
