"""Two networks that others trained answer as their makers say, through the same door as everybody's own."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import xai_core as xai
from tests import real_networks
from xai_core.demo.train import share
from xai_core.loading import load_model
from xai_core.models import Model
from xai_core.own_models import FILE
from xai_core.records import Image


class Known(NamedTuple):
    """A network, its pictures, and how many of these have to be right."""

    network: str
    pictures: str
    published: float  # accuracy on all the pictures that it was made to be tested on
    least: int  # right answers: less is a mistake in loading or preprocessing, not chance
    why: str


# Read with red and blue exchanged, they get 360 of 500 and 34 of 79 right.
KNOWN = [
    Known("resnet20-cifar10", "cifar10_test", 0.9173, 390, "these are JPEG copies of the test pictures"),
    Known("squeezenet-imagenet", "imagenet_1000", 0.575, 48, "these are from the training side"),
]


def truth(row: dict[str, str]) -> int:
    return int(row["index"]) if "index" in row else real_networks.CIFAR10.index(row["label"])


def answers(model: Model, images: list[Image], *, exchanged: bool = False) -> np.ndarray:
    """(n,) what is predicted, with red and blue exchanged or not."""
    found = []
    for first in range(0, len(images), 50):
        seen = np.stack([model.preprocessing.view(image) for image in images[first : first + 50]])
        seen = np.ascontiguousarray(seen[..., ::-1]) if exchanged else seen
        found.append(model.outputs(model.preprocessing.tensor(seen)).argmax(dim=1).numpy())
    return np.concatenate(found)


@pytest.fixture
def data(real_data: Path) -> Path:
    if not (real_data / "weights").is_dir():
        pytest.skip("the folder with real pictures holds no weights")
    return real_data


@pytest.mark.slow
@pytest.mark.parametrize("known", KNOWN, ids=lambda known: known.network)
def test_a_trained_network_is_as_good_as_published_and_its_mistakes_are_explained(known: Known, data: Path) -> None:
    model, folder = real_networks.MODELS[known.network](), data / known.pictures
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    images = [xai.read_image(folder / row["file"]) for row in rows]
    wanted = np.array([truth(row) for row in rows])
    right = answers(model, images) == wanted
    said = share(right)
    low, high = said["interval"]
    print(
        f"\n{known.network}: {right.sum()} of {said['n']} right, {said['accuracy']:.1%} "
        f"(95 % interval {low:.1%} to {high:.1%}); published {known.published:.1%}; {known.why}"
    )
    assert right.sum() >= known.least
    assert (answers(model, images, exchanged=True) == wanted).sum() < known.least, "the bound would not see a mistake"

    missed = int(np.flatnonzero(~right)[0])
    explained = xai.explain(model, images[missed], "grad_cam")
    print(f"{rows[missed]['file']} is taken for {explained.target}")
    assert explained.target.index != wanted[missed]
    assert explained.flat is None
    assert np.isfinite(explained.values).all()


@pytest.mark.parametrize("name", real_networks.MODELS)
def test_the_program_can_be_pointed_at_them(name: str, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE, os.fspath(Path(real_networks.__file__)))
    model, own = load_model(name), real_networks.MODELS[name]()
    assert model.identity["weights_sha256"] == own.identity["weights_sha256"]
    assert (model.name, model.preprocessing) == (name, own.preprocessing)
