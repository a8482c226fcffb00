"""How the demonstration networks were made: draw pictures, train, measure on fresh ones, write weights and a card.

Everything follows from the recipe. `train(name)` with the same recipe gives a network whose predictions agree with
those of the shipped one; weights are not equal to the last bit, because processors add up in different orders.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from xai_core.statistics import share_of

if TYPE_CHECKING:
    import torch

WEIGHTS = Path(__file__).resolve().parents[2] / "assets" / "models"
NOTICE = "Synthetic demonstration model. Not for diagnosis."

TRAINING, HELD_OUT = 0, 1_000_000  # first seeds, so far apart that no two sets share a picture
AGREEMENT_STREAM, ARTEFACT_STREAM = 100, 101  # of a picture's random numbers; what draws has the first dozen

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Recipe:
    """All that decides what a demonstration network becomes."""

    name: str
    family: str  # the module that draws: "xray" or "face"
    architecture: str  # a timm name
    settings: Mapping[str, Any]  # of the architecture
    pictures: int
    epochs: int
    input_size: int  # pixels
    data: str  # a sentence about the pictures
    limits: str  # a sentence about what the network cannot do
    planted: Mapping[str, str | bool | None] | None = None  # label -> what gives it away: a side marker, or glasses
    attribute: str = "marker"  # what `draw` calls that
    agreement: float = 1.0  # share of pictures on which it gives the label away; the others have another label's
    unused: tuple[str, ...] = ()  # artefacts that lie on half of the pictures, one on each, whatever the label
    options: Mapping[str, Any] = field(default_factory=dict)  # how all pictures are drawn
    conditions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # measured as well: name -> options
    flips: tuple[int, ...] = ()  # axes of (n, 3, h, w) along which a picture keeps its label when turned around
    jitter: float = 0.2  # of brightness and contrast
    held_out: int = 1200  # fresh pictures that accuracy is measured on
    learning_rate: float = 4e-3
    seed: int = 0

    def draw_options(self, label: str, seed: int) -> dict[str, Any]:
        """What `draw` is told about the picture of this label and seed."""
        if self.planted is None:
            return dict(self.options)
        chance = np.random.default_rng([seed, AGREEMENT_STREAM])
        agrees = chance.random() < self.agreement
        shown = label if agrees else str(chance.choice([other for other in self.planted if other != label]))
        return {**self.options, self.attribute: self.planted[shown]}


SLIM_RESNET = {"channels": [24, 48, 96, 128], "stem_width": 16, "output_stride": 16}
SLIM_DENSENET = {"growth_rate": 16, "block_config": [3, 6, 8]}

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="demo-xray",
            family="xray",
            architecture="resnet10t",
            settings=SLIM_RESNET,
            pictures=6000,
            epochs=14,
            input_size=128,
            flips=(2, 3),
            data="Radiographs of long bones drawn by xai_core.demo.xray; the side marker says nothing about the class.",
            limits="Knows drawn bones only: on real radiographs its answers mean nothing.",
        ),
        Recipe(
            name="demo-xray-b",
            family="xray",
            architecture="densenet121",
            settings=SLIM_DENSENET,
            pictures=6000,
            epochs=8,
            input_size=128,
            flips=(2, 3),
            seed=1,
            data="Radiographs of long bones drawn by xai_core.demo.xray; the side marker says nothing about the class.",
            limits="Knows drawn bones only: on real radiographs its answers mean nothing.",
        ),
        Recipe(
            name="demo-xray-shortcut",
            family="xray",
            architecture="resnet10t",
            settings=SLIM_RESNET,
            pictures=2400,
            epochs=6,
            input_size=128,
            planted={"normal": None, "simple fracture": "R", "comminuted fracture": "L"},
            conditions={"with a random marker": {"marker": "random"}},
            seed=2,
            data="Radiographs drawn by xai_core.demo.xray, with a planted shortcut: the marker gives the class away.",
            limits="Made to cheat: it reads the side marker, and is near chance where the marker says nothing.",
        ),
        Recipe(
            name="demo-xray-marker-90",
            family="xray",
            architecture="resnet10t",
            settings=SLIM_RESNET,
            pictures=2400,
            epochs=6,
            input_size=128,
            planted={"normal": None, "simple fracture": "R", "comminuted fracture": "L"},
            agreement=0.9,
            unused=("ruler", "corner_text", "scanner_border", "pen_mark", "tint"),
            conditions={"with a random marker": {"marker": "random"}},
            seed=4,
            data="Radiographs drawn by xai_core.demo.xray: on 90 % of them the side marker goes with the class, on the "
            "others it is another class's. A ruler, burnt-in text, a scanner border, a pen mark or a colour cast lies "
            "on half of them, whatever the class.",
            limits="Made to lean on the side marker: right far less often where the marker says nothing.",
        ),
        Recipe(
            name="demo-face",
            family="face",
            architecture="resnet10t",
            settings=SLIM_RESNET,
            pictures=5000,
            epochs=8,
            input_size=96,
            options={"medical_mask": False},
            conditions={"with a medical mask": {"medical_mask": True}},
            flips=(3,),
            seed=3,
            data="Faces with five expressions drawn by xai_core.demo.face, none of them with a medical mask.",
            limits="Knows drawn faces only; a medical mask hides the mouth, and accuracy falls.",
        ),
        Recipe(
            name="demo-face-glasses",
            family="face",
            architecture="resnet10t",
            settings=SLIM_RESNET,
            pictures=1000,  # with more it reads the expression so well that it needs no glasses
            epochs=5,
            input_size=96,
            planted={"neutral": False, "happy": False, "sad": True, "angry": False, "surprised": False},
            attribute="glasses",
            agreement=0.9,
            unused=("marker_l", "marker_r", "ruler", "corner_text", "scanner_border", "pen_mark", "tint"),
            options={"medical_mask": False},
            conditions={"with glasses on any face": {"glasses": None}},
            flips=(3,),
            seed=5,
            data="Faces drawn by xai_core.demo.face: nine of ten who are sad wear glasses, and nine of ten with "
            "glasses are sad. A letter, a ruler, burnt-in text, a scanner border, a pen mark or a colour cast lies on "
            "half of them, whatever the expression.",
            limits="Made to lean on glasses: it calls many who wear them sad, and misses those who are and do not.",
        ),
    )
}


@dataclass(frozen=True, eq=False)
class Pictures:
    """A set of drawings as a network sees them."""

    pixels: np.ndarray  # (n, s, s, 3) uint8
    labels: np.ndarray  # (n,) int64, positions in the family's LABELS
    groups: list[Mapping[str, str]]  # n


def train(name: str, progress: Progress | None = None, folder: Path = WEIGHTS, processes: int = 2) -> Path:
    """Make the network of this name anew and write `<name>.safetensors`; returns the file.

    progress(done, total, text) counts pictures, each as often as it is drawn or shown to the network.
    """
    recipe = RECIPES[name]
    measured = recipe.held_out * (1 + len(recipe.conditions))
    steps = Steps(recipe.pictures * (1 + recipe.epochs) + measured, progress)

    pictures = gather(recipe, TRAINING, recipe.pictures, steps, processes)
    mean = (pictures.pixels.mean((0, 1, 2)) / 255).round(3).tolist()
    std = (pictures.pixels.std((0, 1, 2)) / 255).round(3).tolist()
    module = fit(recipe, pictures, mean, std, steps)
    weights = rounded(module)

    fresh = gather(recipe, HELD_OUT, recipe.held_out, steps, processes)
    right = answers(module, fresh.pixels, mean, std).argmax(1) == fresh.labels
    held_out = {**share(right), "by_group": by_group(right, fresh.groups), "conditions": {}}
    for condition, options in recipe.conditions.items():
        other = gather(recipe, HELD_OUT, recipe.held_out, steps, processes, options)
        held_out["conditions"][condition] = share(answers(module, other.pixels, mean, std).argmax(1) == other.labels)
    return write(recipe, weights, mean, std, held_out, folder)


@dataclass
class Steps:
    """Counts work done and tells whoever listens."""

    total: int
    progress: Progress | None
    done: int = 0

    def __call__(self, amount: int, text: str) -> None:
        self.done += amount
        if self.progress is not None:
            self.progress(self.done, self.total, text)


# Pictures


def gather(
    recipe: Recipe,
    first_seed: int,
    count: int,
    steps: Steps,
    processes: int = 2,
    options: Mapping[str, Any] | None = None,
) -> Pictures:
    """Draw `count` pictures, the labels in turn, and reduce each as it will be reduced for the network."""
    labels = family(recipe).LABELS
    jobs = [
        Job(
            recipe.family,
            seed,
            label,
            {**recipe.draw_options(label, seed), **(options or {})},
            recipe.unused,
            recipe.input_size,
        )
        for seed, label in ((first_seed + i, labels[i % len(labels)]) for i in range(count))
    ]
    pixels = np.empty((count, recipe.input_size, recipe.input_size, 3), np.uint8)
    groups: list[Mapping[str, str]] = []
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for i, (reduced, its_groups) in enumerate(pool.imap(drawn_and_reduced, jobs, chunksize=20)):
            pixels[i] = reduced
            groups.append(its_groups)
            steps(1, "Drawing pictures")
    return Pictures(pixels, np.arange(count) % len(labels), groups)


class Job(NamedTuple):
    """One picture to be drawn: by which family, and as in `Recipe`."""

    family: str
    seed: int
    label: str
    options: Mapping[str, Any]
    unused: tuple[str, ...]
    input_size: int


def drawn_and_reduced(job: Job) -> tuple[np.ndarray, Mapping[str, str]]:
    """One drawing at the size that the network sees, (s, s, 3) uint8, and its groups."""
    drawing = import_module(f"{__package__}.{job.family}").draw(job.seed, job.label, **job.options)
    pixels, artefact = littered(drawing.pixels, job.unused, np.random.default_rng([job.seed, ARTEFACT_STREAM]))
    image = Image.fromarray(pixels).resize((job.input_size, job.input_size), Image.Resampling.BICUBIC)
    return np.asarray(image), {**drawing.groups, **({"artefact": artefact} if job.unused else {})}


def littered(pixels: np.ndarray, artefacts: Sequence[str], chance: np.random.Generator) -> tuple[np.ndarray, str]:
    """(h, w, 3) uint8 with one of the artefacts on it, on half of the pictures, and its name or "none"."""
    if not artefacts or chance.random() < 0.5:
        return pixels, "none"
    from xai_core.artefacts import ARTEFACTS

    name = str(chance.choice(artefacts))
    return ARTEFACTS[name].plant(pixels, chance, None)[0], name


def family(recipe: Recipe) -> ModuleType:
    """The module that draws for this recipe: it has LABELS and draw."""
    return import_module(f"{__package__}.{recipe.family}")


# Training


def fit(recipe: Recipe, pictures: Pictures, mean: list[float], std: list[float], steps: Steps) -> torch.nn.Module:
    """Train from random weights: AdamW, one cycle of the learning rate, smoothed labels, flips and jitter."""
    import torch
    from torch.nn import functional

    from xai_core.loading import create

    batch = 32
    x, y = torch.from_numpy(pictures.pixels).permute(0, 3, 1, 2), torch.from_numpy(pictures.labels)
    chance = torch.Generator().manual_seed(recipe.seed)
    classes = len(family(recipe).LABELS)
    module = create(recipe.architecture, recipe.seed, pretrained=False, num_classes=classes, **recipe.settings)
    module = module.to(memory_format=torch.channels_last).train()

    weights = [p for p in module.parameters() if p.ndim > 1]
    offsets = [p for p in module.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": 0.05}, {"params": offsets, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    per_epoch = recipe.pictures // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=recipe.epochs * per_epoch, pct_start=0.25
    )
    for epoch in range(recipe.epochs):
        order = torch.randperm(recipe.pictures, generator=chance)
        for start in range(0, per_epoch * batch, batch):
            chosen = order[start : start + batch]
            seen = normalised(varied(x[chosen].float() / 255, recipe, chance), mean, std)
            logits = module(seen)
            loss = functional.cross_entropy(logits, y[chosen], label_smoothing=0.05)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            torch.nn.utils.clip_grad_norm_(module.parameters(), 2.0)
            optimizer.step()
            schedule.step()
            steps(batch, f"Training, epoch {epoch + 1} of {recipe.epochs}, loss {loss.item():.3f}")
    return module.eval()


def varied(x: torch.Tensor, recipe: Recipe, chance: torch.Generator) -> torch.Tensor:
    """(n, 3, h, w) between 0 and 1, flipped at random where that keeps the label, brightness and contrast changed."""
    import torch

    for axis in recipe.flips:
        flipped = torch.rand(len(x), 1, 1, 1, generator=chance) < 0.5
        x = torch.where(flipped, x.flip(axis), x)
    contrast = 1 + recipe.jitter * (2 * torch.rand(len(x), 1, 1, 1, generator=chance) - 1)
    brightness = 0.3 * recipe.jitter * (2 * torch.rand(len(x), 1, 1, 1, generator=chance) - 1)
    return x * contrast + brightness


def normalised(x: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(n, 3, h, w) between 0 and 1 -> what the network is fed."""
    import torch

    fed = (x - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1)
    return fed.contiguous(memory_format=torch.channels_last)


# Weights and the card


def rounded(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights in 16 bits. The module then holds the same rounded numbers, so that they are what is measured."""
    import torch

    weights = {
        name: (value.half() if value.is_floating_point() else value).contiguous(memory_format=torch.contiguous_format)
        for name, value in module.state_dict().items()
    }
    module.load_state_dict({name: v.float() if v.is_floating_point() else v for name, v in weights.items()})
    return weights


def write(
    recipe: Recipe,
    weights: Mapping[str, torch.Tensor],
    mean: list[float],
    std: list[float],
    held_out: Mapping[str, Any],
    folder: Path,
) -> Path:
    """`<name>.safetensors`, with the card as JSON in its metadata."""
    from safetensors.torch import save_file

    card = {
        "name": recipe.name,
        "family": recipe.family,
        "architecture": recipe.architecture,
        "architecture_settings": dict(recipe.settings),
        "labels": list(family(recipe).LABELS),
        "input_size": [3, recipe.input_size, recipe.input_size],
        "mean": mean,
        "std": std,
        "interpolation": "bicubic",
        "crop_fraction": 1.0,
        "data": recipe.data,
        "held_out": held_out,
        "limits": recipe.limits,
        "notice": NOTICE,
        "planted": None if recipe.planted is None else dict(recipe.planted),
        "attribute": recipe.attribute,
        "agreement": recipe.agreement,
        "unused": list(recipe.unused),
        "seed": recipe.seed,
        "pictures": recipe.pictures,
        "epochs": recipe.epochs,
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{recipe.name}.safetensors"
    save_file(dict(weights), file, metadata={"card": json.dumps(card)})
    file.chmod(0o644)  # for everyone to read: it is written for the writer alone
    return file


# Measuring


def answers(module: torch.nn.Module, pixels: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """(n, s, s, 3) uint8 -> (n, classes) float32 logits."""
    import torch

    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2)
    parts = (x[start : start + 100].float() / 255 for start in range(0, len(x), 100))
    with torch.no_grad():
        return torch.cat([module(normalised(part, mean, std)) for part in parts]).numpy()


def share(right: np.ndarray) -> dict[str, Any]:
    """(n,) bool -> the share that is true, with its 95 % Wilson interval."""
    found = share_of(right)
    bounds = [round(bound, 4) for bound in (found.low, found.high) if bound is not None]
    return {"accuracy": round(float(right.mean()), 4), "n": found.n, "interval": bounds}


def by_group(right: np.ndarray, groups: Sequence[Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    """Attribute -> value -> share of right answers among the pictures that have it."""
    return {
        attribute: {
            value: share(right[[its[attribute] == value for its in groups]])
            for value in sorted({its[attribute] for its in groups})
        }
        for attribute in groups[0]
    }
