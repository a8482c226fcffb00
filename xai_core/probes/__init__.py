"""Probes, one per file: what the model leans on, asked of pictures. To add one, copy the shortest and change it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import numpy as np

from xai_core.records import Case, Explanation, Frame, Image, Prediction, ProbeKind, Table, Target
from xai_core.registry import Component, Registry, param

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.models import Model

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the upload: edges, not centres


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """One picture, decoded, and what is known of it.

    `number` is its place in the set, from 1. `mask` (H, W) bool, of the upload's size, marks its evidence, `parts`
    other things by their names (object, eyes, mouth, marker); neither is a guess. `box` was drawn by a person.
    """

    number: int
    image: Image
    label: str | None = None
    groups: Mapping[str, str] = dataclasses.field(default_factory=dict)
    mask: np.ndarray | None = None
    parts: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    box: Box | None = None


class Look(NamedTuple):
    """What the model says of a picture, and a map by each method; None where a method made none."""

    prediction: Prediction
    maps: tuple[Explanation | None, ...]


class Asking(Protocol):
    """What a probe may ask, and of whom. `xai_core.probing` is it.

    `target` is what the person asked about: None means, of each picture, the class predicted on the original.
    """

    model: Model
    methods: tuple[Method, ...]
    target: Target | None
    seed: int

    @property
    def cases(self) -> Sequence[Case]:
        """The pictures before they are read: labels, groups and whether there are masks cost nothing to know."""
        ...

    def subjects(self) -> Iterator[Subject]:
        """Every picture that can be read, one in memory at a time; what cannot be read is left out and said."""
        ...

    def look(self, images: Sequence[Image], target: Target | None = None, *, maps: bool = True) -> list[Look]:
        """What the model says of each picture, and its maps for `target`; None: the class predicted of each."""
        ...

    def original(self, subject: Subject, *, maps: bool = True) -> Look:
        """As `look`, of the picture as it was uploaded, for the target that was asked about; a store may know it."""
        ...

    def random(self, subject: Subject | None = None) -> np.random.Generator:
        """Random numbers of the seed, and of a picture: the same whichever others are asked about."""
        ...

    def leave_out(self, subject: Subject, why: str) -> None:
        """Say why a picture is not asked about."""
        ...


class Found(NamedTuple):
    """What a probe found: as in records.Finding."""

    sentences: Sequence[str]
    tables: Mapping[str, Table]
    frames: Sequence[Frame] = ()
    pictures: Sequence[str] | None = None  # sha256 of those that count; None: all that could be read


class Probe(Component):
    """A question about a model, put to pictures.

    `kind` decides how its answer is drawn. `fewest` pictures are needed to ask it.
    """

    kind: ClassVar[ProbeKind]
    fewest: ClassVar[int] = 1

    def cost(self, pictures: int, maps: int) -> int:
        """About how many pictures go through the network, where the maps of one picture take `maps` of them."""
        return pictures * maps

    def find(self, asking: Asking) -> Found:
        """Ask. Raises SettingError, one sentence, where it cannot be asked of these pictures."""
        raise NotImplementedError


class Part(NamedTuple):
    """A part of a picture: `mask` (H, W) bool of the upload's size, its `box`, and who says that it is there."""

    mask: np.ndarray
    box: Box
    source: str  # "drawn by hand", "marked in the data", "found by …"


@dataclasses.dataclass(frozen=True)
class Perturbation(Probe):
    """A change of the picture with a dose, from 0, which changes no byte, to `strongest`, in the unit of its file.

    Every one has a setting `strongest`. `measured` names what `measure` reads off a picture: it moves one way as the
    dose grows.
    """

    kind: ClassVar[ProbeKind] = "dose"
    unit: ClassVar[str]
    measured: ClassVar[str]
    part: ClassVar[str] = ""  # of the picture that it needs to know, such as eyes

    steps: int = param(5, low=2, high=12, label="Steps", help="Doses between the original and the strongest")

    @property
    def strength(self) -> float:
        """The strongest dose."""
        return float(self.strongest)  # type: ignore[attr-defined]

    def doses(self) -> tuple[float, ...]:
        """From 0 to the strongest, evenly."""
        return tuple(round(self.strength * step / self.steps, 9) + 0.0 for step in range(self.steps + 1))

    def apply(self, pixels: np.ndarray, dose: float, part: Part | None, chance: np.random.Generator) -> np.ndarray:
        """(H, W, 3) uint8 to (H', W', 3) uint8."""
        raise NotImplementedError

    def move(self, shape: tuple[int, int], dose: float) -> np.ndarray:
        """(2, 3) float64: where a point (x, y, 1) of a picture of that (H, W) is found after `apply`; edges, in pixels.

        The identity, where nothing moves.
        """
        return np.eye(2, 3)

    def measure(self, pixels: np.ndarray) -> float:
        """What `measured` names, of (H, W, 3) uint8."""
        raise NotImplementedError

    def cost(self, pictures: int, maps: int) -> int:
        from xai_core.dose_response import HALVINGS

        return pictures * ((self.steps + 1) * maps + HALVINGS)

    def find(self, asking: Asking) -> Found:
        from xai_core.dose_response import respond

        return respond(asking, self)


PROBES: Registry[Probe] = Registry("probe", __name__)
PROBES.discover()
