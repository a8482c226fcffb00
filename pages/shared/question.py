"""What is asked, and how it is looked at: what a link or a saved record can bring back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, zip_longest
from typing import Any

from xai_core.records import TASKS, Target

TEXT_LIMIT = 200  # characters of one value in an address
MOST_METHODS = 64  # that one address may name
MOST_METRICS = 64
MOST_MODELS = 4  # that are compared
KINDS = {"logit": "its logit", "probability": "its probability", "contrast": "its contrast with another"}
PICTURES = {"this": "This one", "samples": "Samples", "uploads": "My uploads"}  # over which methods are compared
BACKGROUNDS = {"samples": "Samples", "uploads": "My other uploads"}  # where background pictures come from


@dataclass(frozen=True)
class Network:
    """One of the models that are asked: its name, whether its weights are drawn, and what its outputs mean.

    A `task` of "" is by its head. Where several models are compared, each has its `layer`; "" is its default. `weights`
    is the sha256 of the weights that a record was made with, empty for a link.
    """

    name: str
    random: bool = False
    task: str = ""
    layer: str = ""
    weights: str = ""


@dataclass(frozen=True)
class Question:
    """Everything that is asked but the pictures themselves.

    `picture` is the sha256 of an upload's file, or its beginning, and `frame`, from 0, which of its frames is meant.
    `models` are several where models are compared: `target` and `against` are then classes of the first. `target` is
    None for the predicted class, `against` for its strongest rival. `methods` and `metrics` are as their registries
    build them. `weigh` asks for the evidence of each map. `metrics` and `pictures` belong to comparing methods; no
    metrics are the usual ones. `findings` asks for a map for each of so many outputs, the likeliest first; 0 goes by
    the prediction, and None is for the one target.
    """

    sample: str = ""
    picture: str = ""
    frame: int = 0
    models: tuple[Network, ...] = ()
    target: int | None = None
    kind: str = "logit"
    against: int | None = None
    methods: tuple[Mapping[str, Any], ...] = ()
    background: str = "samples"
    seed: int | None = None
    weigh: bool = True
    metrics: tuple[Mapping[str, Any], ...] = ()
    pictures: str = "this"
    findings: int | None = None

    def to_address(self) -> dict[str, str | list[str]]:
        """As the query of a link. No picture ever travels in it."""
        words: dict[str, str | list[str]] = {"sample": self.sample, "picture": self.picture[:16]}
        words["frame"] = str(self.frame + 1) if self.frame else ""  # as the page counts them
        words["model"] = [one.name for one in self.models]
        words["random"] = _list("true" if one.random else "" for one in self.models)
        words["task"] = _list(one.task for one in self.models)
        words["layer"] = _list(one.layer for one in self.models)
        words["target"] = "" if self.target is None else str(self.target)
        words["kind"] = "" if self.kind == "logit" else self.kind
        words["against"] = "" if self.kind != "contrast" or self.against is None else str(self.against)
        words["method"] = [str(method["name"]) for method in self.methods]
        words["metric"] = [str(metric["name"]) for metric in self.metrics]
        for one in (*self.methods, *self.metrics):
            words |= {f"{one['name']}.{key}": str(value) for key, value in one.items() if key != "name"}
        words["background"] = "" if self.background == "samples" else self.background
        words["seed"] = "" if self.seed is None else str(self.seed)
        words["weigh"] = "" if self.weigh else "false"
        words["pictures"] = "" if self.pictures == "this" else self.pictures
        words["findings"] = "" if self.findings is None else str(self.findings)
        return {key: value for key, value in words.items() if value}

    @classmethod
    def from_address(cls, words: Mapping[str, Sequence[str]]) -> Question:
        """From the query of a link. What is no number is left out; names are checked where they are used."""
        one = {key: values[-1][:TEXT_LIMIT] for key, values in words.items() if values}

        def specs(kind: str) -> list[Mapping[str, Any]]:
            return [
                {
                    "name": name[:TEXT_LIMIT],
                    **{key.partition(".")[2]: value for key, value in one.items() if key.startswith(f"{name}.")},
                }
                for name in dict.fromkeys(words.get(kind, []))
            ]

        return cls(
            sample=one.get("sample", ""),
            picture=one.get("picture", ""),
            frame=max((_number(one.get("frame", "")) or 1) - 1, 0),
            models=tuple(_networks(words)),
            target=_number(one.get("target", "")),
            kind=kind if (kind := one.get("kind", "")) in KINDS else "logit",
            against=_number(one.get("against", "")),
            methods=tuple(specs("method")[:MOST_METHODS]),
            background=source if (source := one.get("background", "")) in BACKGROUNDS else "samples",
            seed=_number(one.get("seed", "")),
            weigh=one.get("weigh", "") != "false",
            metrics=tuple(specs("metric")[:MOST_METRICS]),
            pictures=which if (which := one.get("pictures", "")) in PICTURES else "this",
            findings=_number(one.get("findings", "")),
        )

    @property
    def weights(self) -> Sequence[tuple[str, str]]:
        """With which weights a record was made, each with the name of its model; nothing for a link."""
        return [(one.name, one.weights) for one in self.models if one.weights]

    @classmethod
    def about(cls, target: Target, **others: Any) -> Question:
        """The question that a map for `target` answers."""
        kind = "probability" if target.kind == "sigmoid" else target.kind
        return cls(target=whole(target.index), kind=kind, against=whole(target.against), **others)


def _list(words: Iterable[str]) -> list[str]:
    """What is said of one model after the other; nothing where it is nothing of any."""
    said = list(words)
    return said if any(said) else []


def _networks(words: Mapping[str, Sequence[str]]) -> Iterator[Network]:
    parts = ([value[:TEXT_LIMIT] for value in words.get(key, [])] for key in ("model", "random", "task", "layer"))
    for name, random, task, layer in islice(zip_longest(*parts, fillvalue=""), MOST_MODELS):
        if name:
            yield Network(name, random == "true", task if task in TASKS else "", layer)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def whole(value: object) -> int | None:
    """A number from a record, where it is one that a widget can take."""
    return value if type(value) is int and 0 <= value < 2**31 else None


_LOOKS = ("opacity", "colour_map", "clip", "shared_scale")


@dataclass(frozen=True)
class Looks:
    """How maps are looked at. It never changes a map. An empty colour map means each map's own default."""

    opacity: float = 0.5
    colour_map: str = ""
    clip: float = 99.5
    shared: bool = False

    @classmethod
    def from_outside(cls, given: Any) -> Looks:
        """From a browser or a record: what is not understood stays at its default."""
        from xai_core.colours import COLOUR_MAPS

        plain, given = cls(), given if isinstance(given, Mapping) else {}

        def number(key: str, low: float, high: float, otherwise: float) -> float:
            value = given.get(key)
            fits = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
            return float(value) if fits else otherwise

        colours = given.get("colour_map")
        return cls(
            opacity=number("opacity", 0, 1, plain.opacity),
            colour_map=colours if colours in COLOUR_MAPS else "",
            clip=number("clip", 50, 100, plain.clip),
            shared=given.get("shared_scale") is True,
        )

    @classmethod
    def from_address(cls, words: Mapping[str, Sequence[str]]) -> Looks | None:
        """From the query of a link, which the viewer wrote; None where it says nothing of looks."""
        given: dict[str, Any] = {key: values[-1] for key, values in words.items() if values and key in _LOOKS}
        for key in given.keys() & {"opacity", "clip"}:
            with suppress(ValueError):
                given[key] = float(given[key])
        if "shared_scale" in given:
            given["shared_scale"] = given["shared_scale"] == "true"
        return cls.from_outside(given) if given else None

    def to_dict(self) -> dict[str, Any]:
        """As a record's `display`."""
        return {
            "opacity": self.opacity,
            "colour_map": self.colour_map or None,
            "clip": self.clip,
            "shared_scale": self.shared,
        }
