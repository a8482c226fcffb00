"""Pictures with some of their pixels replaced, in the order of a map or by chance: what faithfulness is measured on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from xai_core.account import Made, Pictures
from xai_core.baselines import blurred
from xai_core.models import Model
from xai_core.records import Target


def ranks(values: np.ndarray, seed: int) -> torch.Tensor:
    """(m, h, w) maps to (m, h, w) int32: each pixel's place from the highest value (0) down.

    Pixels of equal value stand in an order drawn from `seed`, the same for all maps: not from the top left corner.
    """
    flat = values.reshape(len(values), -1)
    shuffled = np.random.default_rng(seed).permutation(flat.shape[1])
    order = shuffled[np.argsort(-flat[:, shuffled], axis=1, kind="stable")]
    places = np.empty(flat.shape, np.int32)
    np.put_along_axis(places, order, np.arange(flat.shape[1], dtype=np.int32)[None], axis=1)
    return torch.from_numpy(places.reshape(values.shape))


def counts(pixels: int, fractions: Sequence[float] | np.ndarray) -> np.ndarray:
    """How many pixels those fractions of a picture are, as int64."""
    return np.rint(np.asarray(fractions, np.float64) * pixels).astype(np.int64)


def replaced(
    x: torch.Tensor, behind: torch.Tensor, places: torch.Tensor, first: np.ndarray, feather: float = 0.0
) -> Made:
    """Pictures in which the first pixels of a map are taken from `behind`, made when their batch is due.

    `x` and `behind` are (1 or b, 3, h, w), `places` (m, h, w) from `ranks`, `first` (k,) how many pixels. The pictures
    stand in the order (m, b, k). To delete, x is the picture and `behind` what covers it; to insert, the other way
    round. `feather` softens the border between them by a Gaussian of as many pixels.
    """
    m, b, k = len(places), max(len(x), len(behind)), len(first)
    many = torch.from_numpy(first).to(places.dtype)

    def make(start: int, stop: int) -> torch.Tensor:
        at = torch.arange(start, stop)
        which, where, count = at // (b * k), at // k % b, many[at % k]
        chosen = places[which] < count[:, None, None]
        after, before = (each if len(each) == 1 else each[where] for each in (behind, x))
        if feather:
            return torch.lerp(before, after, blurred(chosen[:, None].float(), feather))
        return torch.where(chosen[:, None], after, before)

    return Made(m * b * k, make, each=b * k)


def falls(model: Model, x: torch.Tensor, target: Target, behind: torch.Tensor, places: np.ndarray) -> np.ndarray:
    """(k,) float64: how far the target of (1, 3, h, w) `x` falls when each of (k, h, w) bool places is covered.

    `behind` (1, 3, h, w) is what covers it.
    """
    chosen = torch.from_numpy(places)[:, None]
    pictures = Made(len(places), lambda start, stop: torch.where(chosen[start:stop], behind, x))
    whole, rest = (target.read(model.outputs(each).double()) for each in (x, pictures))
    return (whole - rest).numpy()


def on_the_way(
    start: tuple[torch.Tensor, float],
    end: tuple[torch.Tensor, float],
    values: np.ndarray,
    steps: int,
    seed: int,
    answers: Callable[[Pictures], np.ndarray],
) -> tuple[np.ndarray, np.ndarray]:
    """What the model says on the way from one picture to another, whose pixels come in the order of each map.

    `start` and `end` are (1, 3, h, w) pictures with what the model says of them, `values` (m, h, w) the maps, `answers`
    asks the model. Gives (steps + 1,) the share of pixels that have come and (m, steps + 1) what it says then.
    """
    pixels = values[0].size
    first = counts(pixels, np.linspace(0, 1, steps + 1))
    inner = answers(replaced(start[0], end[0], ranks(values, seed), first[1:-1])).reshape(len(values), -1)
    before, after = (np.full((len(values), 1), said) for _, said in (start, end))
    return first / pixels, np.hstack([before, inner, after])


def scattered(shape: tuple[int, int], share: float, draws: int, seed: int) -> np.ndarray:
    """(draws, h, w) bool: each time another share of the pixels, at least one, drawn without putting back."""
    draw, pixels = np.random.default_rng(seed), int(np.prod(shape))
    places = np.zeros((draws, pixels), bool)
    for row in places:
        row[draw.choice(pixels, max(1, round(share * pixels)), replace=False)] = True
    return places.reshape(draws, *shape)


def squares(shape: tuple[int, int], share: float, draws: int, seed: int) -> np.ndarray:
    """(draws, h, w) bool: each time a square elsewhere, its side that share of the shorter side.

    Those that hang over the border are cut off there, so that every pixel is covered equally often.
    """
    draw, side = np.random.default_rng(seed), max(1, round(share * min(shape)))
    last = [draw.integers(0, size + side - 1, (draws, 1)) for size in shape]
    rows, columns = (
        (end - side < np.arange(size)) & (np.arange(size) <= end) for end, size in zip(last, shape, strict=True)
    )
    places: np.ndarray = rows[:, :, None] & columns[:, None, :]
    return places


def sums(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(m, k): the sum of each of (m, h, w) maps over each of (k, h, w) bool places."""
    return np.array([[one[place].sum() for place in places] for one in values])
