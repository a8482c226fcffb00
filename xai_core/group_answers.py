"""What a model says of groups of pictures and where it looks in them: measured on each picture, counted by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from xai_core.checkpoints import printable
from xai_core.classification import right_or_wrong
from xai_core.errors import SettingError
from xai_core.probes import Asking, Look, Subject
from xai_core.records import Table
from xai_core.regions import regions_of
from xai_core.statistics import Mean, mean_of, share_of
from xai_core.truth import mass_inside

HALF = 0.5  # the operating point of a label that excludes no other
MOST_CLASSES = 8  # whose selection is counted where there are no labels
RATES = {
    "error_rate": "Error rate",
    "true_positive_rate": "True positive rate",
    "false_positive_rate": "False positive rate",
    "selection_rate": "Selection rate",
}


@dataclass(frozen=True)
class Decision:
    """How a class is decided on: the most probable one, or `positive` from a probability of `threshold` on."""

    positive: str = ""
    threshold: float = 0.0

    def check(self, asking: Asking) -> None:
        """Raise SettingError where the model cannot be asked this."""
        labels = asking.model.labels
        if asking.model.identity.get("task") == "regression":
            raise SettingError(f"{asking.model.name} gives values, not classes, so groups have no rates. Ask another.")
        if self.positive and self.positive not in labels:
            shown = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
            raise SettingError(f"The model has no class {printable(self.positive, 60)!r}. Its classes are {shown}.")
        if self.threshold and not self.positive:
            raise SettingError("A threshold is an operating point of one class. Name the positive class too.")

    @property
    def words(self) -> str:
        """What decides, as a sentence."""
        if not self.threshold:
            return "The most probable class decides."
        return f"{self.positive} is decided on where its probability is {self.threshold:g} or more."


@dataclass(frozen=True, eq=False)
class Measured:
    """One picture: what was decided, whether that is right, and by method and region which share of the map lies there.

    `probability` is that of the class that maps explain. `areas` are the shares that uniform maps have.
    """

    subject: Subject
    explained: str
    predicted: str
    probability: float
    probabilities: Mapping[str, float]
    right: bool | None
    shares: Mapping[tuple[str, str], float | None]
    areas: Mapping[str, float]


def method_names(asking: Asking) -> list[str]:
    """What each method is called in tables: its key, and its place where several bear the same."""
    names = [method.name for method in asking.methods]
    return [name if names.count(name) == 1 else f"{name} {place}" for place, name in enumerate(names, 1)]


def measure(asking: Asking, subject: Subject, decision: Decision, find_faces: bool) -> Measured:
    """Ask the model about one picture."""
    look, labels = asking.original(subject), asking.model.labels
    prediction = look.prediction
    probabilities = dict(zip(labels, map(float, prediction.probabilities), strict=True))
    best = labels[int(prediction.order()[0])]
    explained = asking.target.label if asking.target else best
    predicted, right = best, right_or_wrong(subject.label, best, labels, prediction.task)
    if decision.positive and (decision.threshold or prediction.task == "multi label"):
        selected = probabilities[decision.positive] >= (decision.threshold or HALF)
        predicted = decision.positive if selected else f"not {decision.positive}"
        right = None if right is None else selected == (subject.label == decision.positive)
    regions = regions_of(subject, asking.model.preprocessing, find_faces)
    return Measured(
        subject,
        explained,
        predicted,
        probabilities[explained],
        probabilities,
        right,
        dict(_shares(asking, look, regions)),
        {name: float(region.mean()) for name, region in regions.items()},
    )


def _shares(
    asking: Asking, look: Look, regions: Mapping[str, np.ndarray]
) -> Iterator[tuple[tuple[str, str], float | None]]:
    for method, explanation in zip(method_names(asking), look.maps, strict=True):
        for name, region in regions.items():
            flat = explanation is None or explanation.flat
            yield (method, name), None if flat or explanation is None else mass_inside(explanation.values, region)


@dataclass(frozen=True, eq=False)
class Divided:
    """The pictures that count, and of each its group. `column` is what divides them, in words.

    `positive` is the class for rates of true and false positives, or "". Groups of fewer than `smallest` pictures are
    shown, and not tested.
    """

    asking: Asking
    pictures: tuple[Measured, ...]
    of: np.ndarray  # (n,) of names
    groups: tuple[str, ...]
    column: str
    positive: str
    smallest: int

    @cached_property
    def sizes(self) -> Counter[str]:
        """How many pictures each group has."""
        return Counter(self.of.tolist())

    @property
    def large(self) -> list[str]:
        """The groups with pictures enough to be tested, in order."""
        return [group for group in self.groups if self.sizes[group] >= self.smallest]

    @cached_property
    def looked(self) -> list[tuple[str, str]]:
        """Every method with every region that any picture has."""
        regions = dict.fromkeys(name for one in self.pictures for name in one.areas)
        return [(method, region) for method in method_names(self.asking) for region in regions]

    @cached_property
    def selected(self) -> tuple[str, ...]:
        """The classes of which is counted how often they are decided on.

        The positive one; where nothing can be right or wrong, the target, or the commonest decisions, of which two
        classes have one: the other is decided on in all other pictures.
        """
        if self.positive:
            return (self.positive,)
        if any(one.right is not None for one in self.pictures):
            return ()
        if self.asking.target:
            return (self.asking.target.label,)
        said = Counter(one.predicted for one in self.pictures)
        most = 1 if len(said) == 2 else MOST_CLASSES
        return tuple(sorted(said, key=lambda label: (-said[label], label))[:most])

    @cached_property
    def rates(self) -> dict[str, np.ndarray]:
        """(n,) float64 by the key of each rate that is defined: 1 where it holds of a picture, NaN where undefined."""
        right = np.array([np.nan if one.right is None else float(one.right) for one in self.pictures])
        found = {"error_rate": 1 - right}
        for label in self.selected:
            chosen = np.array([float(one.predicted == label) for one in self.pictures])
            if self.positive:
                of_class = np.array([one.subject.label == label for one in self.pictures])
                found["true_positive_rate"] = np.where(~np.isnan(right) & of_class, chosen, np.nan)
                found["false_positive_rate"] = np.where(~np.isnan(right) & ~of_class, chosen, np.nan)
            found["selection_rate" if len(self.selected) == 1 else f"selection_rate: {label}"] = chosen
        return {key: values for key, values in found.items() if not np.isnan(values).all()}

    def rate_words(self, key: str) -> str:
        """What a rate is called on a screen."""
        rate, _, label = key.partition(": ")
        return RATES[rate] if rate == "error_rate" else f"{RATES[rate]} of {label or self.selected[0]}"

    @cached_property
    def shares(self) -> np.ndarray:
        """(n, methods and regions) float64 of attribution, NaN where undefined."""
        rows = [[one.shares.get(key) for key in self.looked] for one in self.pictures]
        return np.array(rows, dtype=np.float64).reshape(len(self.pictures), len(self.looked))

    def of_selected(self, one: Measured) -> float:
        """The probability of the one class that is selected or not, else of the one that is explained."""
        return one.probabilities[self.selected[0]] if len(self.selected) == 1 else one.probability

    def rate_table(self) -> Table:
        """One row per group, small ones too."""
        probability = np.array([self.of_selected(one) for one in self.pictures])
        words = {"group": self.column, "n": "Pictures", "small": "Fewer than the minimum"}
        for key in self.rates:
            words |= with_interval(key, self.rate_words(key)) | {f"n_{key}": "Pictures counted"}
        of = self.selected[0] if len(self.selected) == 1 else "the explained class"
        words |= with_interval("mean_probability", f"Mean probability of {of}")
        lines = []
        for group in self.groups:
            own = self.of == group
            line: dict[str, Any] = {"group": group, "n": int(own.sum()), "small": bool(own.sum() < self.smallest)}
            for key, values in self.rates.items():
                known = values[own & ~np.isnan(values)]
                line |= cells(key, share_of(known > 0)) | {f"n_{key}": len(known)}
            lines.append(line | cells("mean_probability", mean_of(probability[own], self.asking.seed)))
        return Table.of(f"Predictions by {self.column}", words, lines)

    def region_table(self) -> Table:
        """One row per group, region and method."""
        words = {
            "group": self.column,
            "region": "Region",
            "method": "Method",
            **with_interval("share", "Share of attribution"),
            "n": "Pictures",
            "null": "Share of a uniform map",
        }
        lines = []
        for group in self.groups:
            own = np.flatnonzero(self.of == group)
            for column, (method, region) in enumerate(self.looked):
                shares = self.shares[own, column]
                found = mean_of(shares[~np.isnan(shares)], self.asking.seed)
                areas = [self.pictures[i].areas[region] for i in own if region in self.pictures[i].areas]
                line = {"group": group, "region": region, "method": method, **cells("share", found), "n": found.n}
                lines.append(line | {"null": float(np.mean(areas)) if areas else None})
        return Table.of(f"Where maps lie, by {self.column}", words, lines)

    def picture_table(self) -> Table:
        """One row per picture: what the other tables are made of."""
        shares = {".".join(("share", *key)): key for key in self.looked}
        words = {
            "picture": "Picture",
            "sha256": "SHA-256",
            "group": self.column,
            "label": "Label",
            "predicted": "Decision",
            "right": "Right",
            "explained": "Explained class",
            "probability": "Probability of the explained class",
            **{name: f"Share of {method} in the {region}" for name, (method, region) in shares.items()},
        }
        lines = [
            {
                "picture": one.subject.number,
                "sha256": one.subject.image.sha256,
                "group": group,
                "label": one.subject.label,
                "predicted": one.predicted,
                "right": one.right,
                "explained": one.explained,
                "probability": one.probability,
                **{name: one.shares.get(key) for name, key in shares.items()},
            }
            for one, group in zip(self.pictures, self.of.tolist(), strict=True)
        ]
        return Table.of("Pictures", words, lines)

    def unsaid(self) -> Iterator[str]:
        """Sentences on labels that are missing, or that the model does not know."""
        unlabelled = sum(one.subject.label is None for one in self.pictures)
        unjudged = sum(one.right is None for one in self.pictures)
        if unlabelled == len(self.pictures):
            yield "No picture has a label, so nothing can be right or wrong: decisions are compared, not errors."
        elif unjudged == len(self.pictures):
            yield "No label can be held against this model, so decisions are compared, not errors."
        elif unjudged:
            yield (
                f"{unjudged} of {len(self.pictures)} pictures have no label that the model could be right about: they "
                "count in decisions and maps, not in errors."
            )
        if len(self.selected) == MOST_CLASSES and len({one.predicted for one in self.pictures}) > MOST_CLASSES:
            yield f"Selection is compared for the {MOST_CLASSES} classes that are decided on most often."


def cells(column: str, found: Mean) -> dict[str, float | None]:
    """The cells of a number with its interval."""
    return {column: found.mean, f"{column}_low": found.low, f"{column}_high": found.high}


def with_interval(column: str, words: str) -> dict[str, str]:
    """What the columns of a number with its interval are called on a screen."""
    return {column: words, f"{column}_low": f"{words}, low", f"{column}_high": f"{words}, high"}
