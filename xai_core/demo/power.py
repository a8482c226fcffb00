"""What the shortcut challenge finds where the truth is known: how often what is used, and how often what is not.

A demo network was trained on pictures on which an artefact gave the class away, in all of them or in nine of ten, while
others lay there and said nothing: what is used is known, and what is not. The challenge is put to it on many sets of
fresh pictures, each as a person would put it, with all its corrections. The set is the unit: artefacts of one set are
no independent cases, so intervals are those of as many sets, however many artefacts were asked about.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xai_core.demo import face, xray
from xai_core.demo.train import RECIPES, Recipe
from xai_core.loading import load_model
from xai_core.probes import Subject
from xai_core.probing import probe
from xai_core.records import Finding, Image
from xai_core.statistics import Mean, share_of

FIRST_SEED = 6_000_000  # fresh pictures: neither trained on nor used to measure anything else
ARTEFACTS = ("marker_l", "marker_r", "ruler", "corner_text", "scanner_border", "pen_mark", "tint")
ATTRIBUTES = {"marker": ("marker_l", "marker_r"), "glasses": ("glasses",)}  # as artefacts of the challenge
USED, UNUSED, UNSEEN = "used", "there in training, but independent of the class", "never there in training"
ASKED = ("demo-xray", "demo-xray-marker-90", "demo-xray-shortcut", "demo-face-glasses")
PREDICTION = "the prediction"
EYES = ("eyes",)  # the parts that artefacts are fitted to


@dataclass(frozen=True)
class Rate:
    """How often artefacts of one kind are called used, or shown by a map, over sets of pictures.

    `strength` is the share of training pictures on which an artefact gave the class away, 0 where none did. `said_by`
    is the prediction or the label of a method. `undecided` is how often neither was said, 0 to 1.
    """

    strength: float
    truth: str
    artefacts: tuple[str, ...]
    said_by: str
    found: Mean
    undecided: float


def measure(
    name: str,
    sets: int,
    pictures: int,
    methods: Sequence[str],
    progress: Callable[[int], None] = lambda done: None,
) -> list[Rate]:
    """The rates of one demo model over so many `sets` of so many `pictures`."""
    model, recipe = load_model(name), RECIPES[name]
    kinds = truths(recipe)
    asked = ",".join(artefact for artefacts in kinds.values() for artefact in artefacts)
    found: list[Finding] = []
    for number in range(sets):
        fresh = list(subjects(recipe, FIRST_SEED + number * pictures, pictures))
        found.append(probe(model, fresh, "shortcut", list(methods) or None, seed=number, artefacts=asked))
        progress(number + 1)
    strength = 0.0 if recipe.planted is None else recipe.agreement
    shown = dict.fromkeys(line["method"] for line in found[0].tables["maps"].lines())
    return [
        _rate(strength, truth, artefacts, said_by, found)
        for truth, artefacts in kinds.items()
        for said_by in (PREDICTION, *shown)
    ]


def truths(recipe: Recipe) -> dict[str, tuple[str, ...]]:
    """The artefacts by what is known of them: used, or there in training without a say, or never there."""
    own = ATTRIBUTES[recipe.attribute]
    used, there = (() if recipe.planted is None else own), (*(own if recipe.planted is None else ()), *recipe.unused)
    never = tuple(artefact for artefact in ARTEFACTS if artefact not in (*used, *there))
    return {truth: kind for truth, kind in ((USED, used), (UNUSED, there), (UNSEEN, never)) if kind}


def subjects(recipe: Recipe, first_seed: int, count: int) -> Iterator[Subject]:
    """Fresh drawings without any artefact, the labels in turn, with masks of what an artefact must not hide."""
    draw, labels = (xray.draw, xray.LABELS) if recipe.family == "xray" else (face.draw, face.LABELS)
    options: dict[str, Any] = {**recipe.options, recipe.attribute: False if recipe.family == "face" else None}
    for i in range(count):
        seed = first_seed + i
        drawing = draw(seed, labels[i % len(labels)], **options)
        masks: Mapping[str, np.ndarray] = drawing.masks
        yield Subject(
            i + 1,
            Image(drawing.pixels, f"{seed:064d}"),
            drawing.label,
            mask=masks["fracture"] if recipe.family == "xray" else None,
            parts={part: masks[part] for part in EYES if part in masks},
        )


def _rate(strength: float, truth: str, artefacts: tuple[str, ...], said_by: str, found: Sequence[Finding]) -> Rate:
    """Over sets: each counts with the share of its artefacts that were found."""
    said = [_said(one, artefacts, said_by) for one in found]
    return Rate(
        strength,
        truth,
        artefacts,
        said_by,
        share_of(np.array([np.mean([answer is True for answer in of_set]) for of_set in said])),
        float(np.mean([answer is None for of_set in said for answer in of_set])),
    )


def _said(finding: Finding, artefacts: Sequence[str], said_by: str) -> list[bool | None]:
    """Of each artefact whether it is called used, or shown by the maps of a method; None where nothing is decided."""
    if said_by == PREDICTION:
        return [line["used"] for line in finding.tables["artefacts"].lines() if line["name"] in artefacts]
    return [
        line["detected"]
        for line in finding.tables["maps"].lines()
        if line["name"] in artefacts and line["method"] == said_by and line["p"] is not None
    ]
