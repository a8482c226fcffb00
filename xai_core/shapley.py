"""Shapley values of parts of a picture: which sets of parts to show, and what follows from what the network says.

`coalitions` and `fair_shares` for parts that stand side by side (`kernel_shap`), `owen` for parts inside parts
(`partition_shap`). Neither knows what a part looks like when it is hidden.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

ROUND = 16  # squares that are halved together, on any device: the size of a batch must not change the order

# parts side by side --------------------------------------------------------------------------------------------------


def coalitions(parts: int, samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(k, parts) bool sets to show, the empty and the full one first, and the (k,) weights that the fit gives them.

    k is `samples`, or less where there are no more sets. Sizes from the outside in are taken whole while at least as
    many draws as sets would fall on them; the others are drawn by the Shapley kernel, each set with its complement. The
    empty and the full set are what the fit's constraint is about: they weigh nothing.
    """
    draw = np.random.default_rng(seed)
    chosen = {np.full(parts, every).tobytes(): 0.0 for every in (False, True)}
    kernel = {size: (parts - 1) / (size * (parts - size)) for size in range(1, parts)}  # of all sets of a size together
    for size in range(1, parts // 2 + 1):
        pair = {size, parts - size}
        number = len(pair) * math.comb(parts, size)
        expected = (samples - len(chosen)) * sum(kernel[s] for s in pair) / sum(kernel.values())
        if expected < number * (1 - 1e-9):
            break
        for s in pair:
            weight = kernel.pop(s) / math.comb(parts, s)
            for members in itertools.combinations(range(parts), s):
                chosen[np.isin(np.arange(parts), members).tobytes()] = weight
    sizes, left, drawn = [*kernel], sum(kernel.values()), dict[bytes, int]()
    while kernel and len(chosen) + len(drawn) < samples:
        shown = draw.permutation(parts) < draw.choice(sizes, p=np.array([*kernel.values()]) / left)
        for each in (shown.tobytes(), (~shown).tobytes()):
            if each in drawn or len(chosen) + len(drawn) < samples:
                drawn[each] = drawn.get(each, 0) + 1
    times = sum(drawn.values())
    chosen |= {each: left * often / times for each, often in drawn.items()}
    return np.array([np.frombuffer(each, bool) for each in chosen]), np.array([*chosen.values()])


def fair_shares(sets: np.ndarray, weights: np.ndarray, said: np.ndarray) -> tuple[np.ndarray, bool]:
    """(parts,) Shapley values from what was said of the sets of `coalitions`, and whether they tell all parts apart.

    The weighted least squares fit whose values add up to said[1] - said[0]. They are that sum in equal shares plus u,
    where u adds up to zero: so u meets only the rows' deviations from their means, and the shortest u is meant where
    the sets leave a choice.
    """
    parts = sets.shape[1]
    equal = (said[1] - said[0]) / parts
    root = np.sqrt(weights)
    rows = root[:, None] * (sets - sets.mean(1, keepdims=True))
    u, _, rank, _ = np.linalg.lstsq(rows, root * (said - said[0] - equal * sets.sum(1)))
    return equal + u, bool(rank == parts - 1)


# parts inside parts --------------------------------------------------------------------------------------------------

Square = tuple[slice, slice]
Context = tuple[Square, ...]  # what is shown


class Part(NamedTuple):
    """A square beside one context. The first two fields order the queue: most to share first, then oldest first."""

    urgency: float
    number: int
    square: Square
    context: Context
    without: float  # what the network says of the context
    together: float  # and of the context with the square
    weight: float

    @property
    def share(self) -> float:
        return (self.together - self.without) * self.weight


def owen(said: Callable[[Sequence[Context]], list[float]], everything: Square, halvings: int) -> list[Part]:
    """The parts that are left after `halvings`, `ROUND` at a time, those with most to share first."""
    number, pixels = itertools.count(), list[Part]()
    nothing, all_of_it = said([(), (everything,)])
    queue = [Part(0.0, next(number), everything, (), nothing, all_of_it, 1.0)]
    while queue and halvings:
        parts = [heapq.heappop(queue) for _ in range(min(ROUND, halvings, len(queue)))]
        halvings -= len(parts)
        pairs = [halves(part.square) for part in parts]
        alone = iter(said([(*part.context, half) for part, pair in zip(parts, pairs, strict=True) for half in pair]))
        for part, (one, two) in zip(parts, pairs, strict=True):
            with_one, with_two, weight = next(alone), next(alone), part.weight / 2
            for square, context, without, together in (
                (one, part.context, part.without, with_one),
                (two, part.context, part.without, with_two),
                (one, (*part.context, two), with_two, part.together),
                (two, (*part.context, one), with_one, part.together),
            ):
                urgency = -abs(together - without) * weight
                child = Part(urgency, next(number), square, context, without, together, weight)
                heapq.heappush(queue if area(square) > 1 else pixels, child)
    return queue + pixels


def halves(square: Square) -> tuple[Square, Square]:
    """Upper and lower half, or left and right half where the square is wider than high."""
    rows, columns = square
    if rows.stop - rows.start >= columns.stop - columns.start:
        middle = (rows.start + rows.stop) // 2
        return (slice(rows.start, middle), columns), (slice(middle, rows.stop), columns)
    middle = (columns.start + columns.stop) // 2
    return (rows, slice(columns.start, middle)), (rows, slice(middle, columns.stop))


def area(square: Square) -> int:
    """How many pixels."""
    rows, columns = square
    return int((rows.stop - rows.start) * (columns.stop - columns.start))
