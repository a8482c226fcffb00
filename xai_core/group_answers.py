"""What a model says of groups of pictures and where it looks in them: measured on each picture, counted by group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
from xai_core.score_table import method_names
from xai_core.statistics import LEVEL, mean_of, share_of
from xai_core.truth import mass_inside

HALF = 0.5  # the operating point of a label that excludes no other
MOST_CLASSES = 8  # whose predictions are counted where there are no labels
PERCENT = 100.0
RATES = {
    "error_rate": "Error rate",
    "true_positive_rate": "True positive rate of",
    "false_positive_rate": "False positive rate of",
    "selection_rate": "Predicted",
}


@dataclass(frozen=True)
class Decision:
    """How a class is decided on: the most probable one, or `positive` from a probability of `threshold` on."""

    positive: str = ""
    threshold: float = 0.0

    @classmethod
    def of(cls, asking: Asking, positive: str = "", threshold: float = 0.0) -> Decision:
        """For this model. Raises SettingError where it cannot be asked this."""
        labels, task = asking.model.labels, asking.model.identity.get("task")
        if task == "regression":
            raise SettingError(f"{asking.model.name} gives values, not classes, so groups have no rates. Ask another.")
        if positive and positive not in labels:
            shown = ", ".join(labels[:8]) + (f" and {len(labels) - 8} more" if len(labels) > 8 else "")
            raise SettingError(f"The model has no class {printable(positive, 60)!r}. Its classes are {shown}.")
        if threshold and not positive:
            raise SettingError("A threshold is an operating point of one class. Name the positive class too.")
        return cls(positive, threshold or (HALF if positive and task == "multi label" else 0.0))

    def right(self, label: str | None, predicted: str, labels: Sequence[str], task: str) -> bool | None:
        """Whether that is right of a picture of class `label`; None where nothing can be.

        Labels that do not exclude one another have no single right one, but an operating point of one of them has: it
        is right to predict it where it is the label, and not to where it is not.
        """
        said = right_or_wrong(label, predicted, labels, task)
        if not self.threshold or (said is None and not (label is not None and task == "multi label")):
            return said
        return (predicted == self.positive) == (label == self.positive)

    @property
    def words(self) -> str:
        """What decides, as a sentence."""
        if not self.threshold:
            return "The most probable class is the one predicted."
        return (
            f"{self.positive} is predicted where its probability is {PERCENT * self.threshold:g} % or more; it is an "
            "error to do so for a picture with another label, or not to for one with this label."
        )


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


def measure(asking: Asking, subject: Subject, decision: Decision, find_faces: bool) -> Measured:
    """Ask the model about one picture."""
    look, labels = asking.original(subject), asking.model.labels
    prediction = look.prediction
    probabilities = dict(zip(labels, map(float, prediction.probabilities), strict=True))
    best = predicted = labels[int(prediction.order()[0])]
    explained = asking.target.label if asking.target else best
    if decision.threshold:
        selected = probabilities[decision.positive] >= decision.threshold
        predicted = decision.positive if selected else f"not {decision.positive}"
    right = decision.right(subject.label, predicted, labels, prediction.task)
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
    for method, explanation in zip(method_names(asking.methods)[0], look.maps, strict=True):
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
        return [(method, region) for method in method_names(self.asking.methods)[0] for region in regions]

    @cached_property
    def selected(self) -> tuple[str, ...]:
        """The classes of which is counted how often they are predicted.

        The positive one; where nothing can be right or wrong, the target, or the commonest predictions, of which two
        classes have one: the other is predicted for all other pictures.
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
    def asked(self) -> dict[str, np.ndarray]:
        """(n,) float64 by the key of each rate asked for: 1 where it holds of a picture, NaN where undefined."""
        right = np.array([np.nan if one.right is None else float(one.right) for one in self.pictures])
        found = {"error_rate": 1 - right}
        for label in self.selected:
            chosen = np.array([float(one.predicted == label) for one in self.pictures])
            if self.positive:
                of_class = np.array([one.subject.label == label for one in self.pictures])
                found["true_positive_rate"] = np.where(~np.isnan(right) & of_class, chosen, np.nan)
                found["false_positive_rate"] = np.where(~np.isnan(right) & ~of_class, chosen, np.nan)
            found["selection_rate" if len(self.selected) == 1 else f"selection_rate: {label}"] = chosen
        return found

    @property
    def rates(self) -> dict[str, np.ndarray]:
        """Of the rates that were asked for, those that are defined on any picture."""
        return {key: values for key, values in self.asked.items() if not np.isnan(values).all()}

    def rate_words(self, key: str) -> str:
        """What a rate is called on a screen."""
        rate, _, label = key.partition(": ")
        return RATES[rate] if rate == "error_rate" else f"{RATES[rate]} {label or self.selected[0]}"

    def where_words(self, at: int) -> str:
        """What a share of attribution is called on a screen, by its place in `looked`."""
        method, region = self.looked[at]
        return f"{region} by {self.labels[method]}"

    @cached_property
    def labels(self) -> dict[str, str]:
        """What methods are called on a screen, by their keys."""
        return dict(zip(*method_names(self.asking.methods), strict=True))

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
            words |= with_interval(key, f"{self.rate_words(key)} (%)") | {f"n_{key}": "Pictures counted"}
        of = self.selected[0] if len(self.selected) == 1 else "the explained class"
        words |= with_interval("mean_probability", f"Mean probability of {of} (%)")
        lines = []
        for group in self.groups:
            own = self.of == group
            line: dict[str, Any] = {"group": group, "n": int(own.sum()), "small": bool(own.sum() < self.smallest)}
            for key, values in self.rates.items():
                known = values[own & ~np.isnan(values)]
                line |= cells(key, share_of(known > 0)[:3], PERCENT) | {f"n_{key}": len(known)}
            found = mean_of(probability[own], self.asking.seed)
            lines.append(line | cells("mean_probability", found[:3], PERCENT))
        return Table.of(f"Predictions by {self.column}", words, lines)

    def region_table(self) -> Table:
        """One row per group, region and method."""
        words = {
            "group": self.column,
            "region": "Region",
            "method": "Method",
            **with_interval("share", "Share of attribution (%)"),
            "n": "Pictures",
            "null": "Share of a uniform map (%)",
        }
        lines = []
        for group in self.groups:
            own = np.flatnonzero(self.of == group)
            for column, (method, region) in enumerate(self.looked):
                shares = self.shares[own, column]
                found = mean_of(shares[~np.isnan(shares)], self.asking.seed)
                areas = [self.pictures[i].areas[region] for i in own if region in self.pictures[i].areas]
                line = {"group": group, "region": region, "method": method, "n": found.n}
                null = PERCENT * float(np.mean(areas)) if areas else None
                lines.append(line | cells("share", found[:3], PERCENT) | {"null": null})
        return Table.of(f"Where maps lie, by {self.column}", words, lines)

    def picture_table(self) -> Table:
        """One row per picture: what the other tables are made of."""
        shares = {".".join(("share", *key)): key for key in self.looked}
        words = {
            "picture": "Picture",
            "sha256": "SHA-256",
            "group": self.column,
            "label": "Label",
            "predicted": "Predicted",
            "right": "Right",
            "explained": "Explained class",
            "probability": "Probability of the explained class (%)",
            **{
                name: f"Share of {self.labels[method]} in the {region} (%)" for name, (method, region) in shares.items()
            },
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
                "probability": PERCENT * one.probability,
                **{name: in_percent(one.shares.get(key)) for name, key in shares.items()},
            }
            for one, group in zip(self.pictures, self.of.tolist(), strict=True)
        ]
        return Table.of("Pictures", words, lines)

    def undefined(self) -> Iterator[str]:
        """The rates that were asked for and are defined on no picture, though some have labels, and why."""
        judged = [one.subject.label for one in self.pictures if one.right is not None]
        for key in self.asked if judged else ():
            if key not in self.rates:
                other = "otherwise" if key.startswith("false") else self.positive
                yield f"{uncapitalised(self.rate_words(key))} (no picture is labelled {other})"

    def unsaid(self) -> Iterator[str]:
        """Sentences on labels that are missing, or that the model does not know."""
        unlabelled = sum(one.subject.label is None for one in self.pictures)
        unjudged = sum(one.right is None for one in self.pictures)
        if unlabelled == len(self.pictures):
            yield "No picture has a label, so nothing can be right or wrong: predictions are compared, not errors."
        elif unjudged == len(self.pictures):
            several = self.asking.model.identity.get("task") == "multi label"
            hint = ". Name a positive class to compare errors about it" if several else ""
            yield f"No label can be held against this model, so predictions are compared, not errors{hint}."
        elif unjudged:
            yield (
                f"{unjudged} of {len(self.pictures)} pictures have no label that the model could be right about: they "
                "count in predictions and maps, not in errors."
            )
        if len(self.selected) == MOST_CLASSES and len({one.predicted for one in self.pictures}) > MOST_CLASSES:
            yield f"Predictions are compared for the {MOST_CLASSES} classes that are predicted most often."


# ---- words and cells -----------------------------------------------------------------------------------------------


def in_percent(value: float | None) -> float | None:
    """A share in percent, a difference of shares in points."""
    return None if value is None else float(PERCENT * value)


def cells(column: str, found: Sequence[float | None], times: float = 1.0) -> dict[str, float | None]:
    """The cells of a number, and the low and high end of its interval."""
    names = (column, f"{column}_low", f"{column}_high")
    return {name: None if one is None else times * one for name, one in zip(names, found, strict=True)}


def with_interval(column: str, words: str) -> dict[str, str]:
    """What the columns of a number with its interval are called on a screen."""
    return {column: words, f"{column}_low": f"{words}, low", f"{column}_high": f"{words}, high"}


def p_words(p: float) -> str:
    """A p-value in two digits, or as many more as it takes not to fall on the level of a test that it is not at."""
    if p < 1e-4:
        return "p < 0.0001"
    level = round(LEVEL, 9)
    shown = next(text for digits in range(2, 18) if float(text := f"{p:.{digits}g}") != level or p == level)
    return f"p = {shown}"


def signed(value: float, digits: int) -> str:
    """With its sign and so many digits behind the point; a minus is a minus sign."""
    return f"{value:+.{digits}f}".replace("-", "\N{MINUS SIGN}")


def counted(n: int) -> str:
    """So many pictures."""
    return f"{n} picture{'s' * (n != 1)}"


def uncapitalised(words: str) -> str:
    """As they stand inside a sentence."""
    return words[:1].lower() + words[1:]


def listed(names: Sequence[str], most: int = 100) -> str:
    """Names in a sentence, at least one; of more than `most` the first, and how many others there are."""
    if len(names) > most:
        names = [*names[:most], f"{len(names) - most} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
