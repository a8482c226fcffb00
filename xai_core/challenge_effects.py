"""What artefacts do to predictions and to maps, measured on pairs of pictures, and when that is called use.

Maps miss what a network uses and light up where it uses nothing, so they are held against the prediction, which alone
says what is used. Adebayo et al., 2022. https://arxiv.org/abs/2212.04629

A network answers any patch a little, and a distance between probabilities is never below zero: neither a small p nor an
interval above zero says that an artefact matters. It is called used where the change is above `smallest`, its interval
too, and has a direction: probabilities move to or from one class further than they would with signs drawn by lot. It is
called not used where the whole interval lies below `smallest`, and fewer than RARE of all pictures move by more, as far
as these tell: one that turns over a picture in seven leaves many small sets as they were, and a bootstrap of those
knows nothing of it. So an artefact that moves a quarter of all pictures or more by more than `smallest` is called not
used in 5 % of sets at most; a rarer one in more, and each answer says how rare that is. All else is not decided.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.stats import beta, norm
from scipy.stats import t as student

from xai_core.errors import SettingError
from xai_core.records import Prediction
from xai_core.statistics import CONFIDENCE, LEVEL, POWER, Mean, holm, mean_of, share_of

RARE = 0.25  # of all pictures: what moves as many or more is not called not used
EXACT = 13  # pictures: up to here every pattern of signs is counted
DRAWS = 9999  # of signs, beyond
VERDICTS = {
    (True, True): "used and shown",
    (True, False): "used, not shown",
    (True, None): "used, map not decided",
    (False, True): "not used, but lit up",
    (False, False): "not used, not lit up",
    (False, None): "not used, map not decided",
}


class Share(NamedTuple):
    """Of a map's attribution, what lies on the artefact with it and on its area without it; and that area, 0 to 1.

    None where nothing in a map speaks for the target.
    """

    present: float | None
    absent: float | None
    area: float

    def filled(self) -> tuple[float, float, float]:
        """A map that says nothing is taken as uniform: to leave it out would leave out what an artefact made it say."""
        present, absent = (self.area if one is None else one for one in self[:2])
        return present, absent, self.area


@dataclass(frozen=True, eq=False)
class Pair:
    """One picture without and with an artefact: what the model says, and per method where its map lies."""

    picture: int
    sha256: str
    without: Prediction
    present: Prediction
    index: int  # of the output that is asked about
    area: float
    shares: tuple[Share | None, ...]

    def outputs(self) -> tuple[np.ndarray, np.ndarray]:
        """(classes,) float64 without and with it: probabilities, or a regression's values."""
        regression = self.without.task == "regression"
        before, after = (one.logits if regression else one.probabilities for one in (self.without, self.present))
        return before.astype(np.float64), after.astype(np.float64)

    @property
    def flipped(self) -> bool | None:
        """Whether the decision changed: the likeliest class, or whether a label is given. None for a regression."""
        if self.without.task == "regression":
            return None
        if self.without.task == "multi label":
            return bool((self.without.logits[self.index] >= 0) != (self.present.logits[self.index] >= 0))
        return bool(self.without.order()[0] != self.present.order()[0])


@dataclass
class Pairs:
    """What was asked about one artefact, and how many pictures it was not planted in, by the reason.

    Where it is `taken_out`, the pictures had it, and the answer is told as what its absence does.
    """

    name: str
    label: str
    everywhere: bool = False
    taken_out: bool = False
    pairs: list[Pair] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)


class Moved(NamedTuple):
    """Per pair, in points: `changes` (n,) of the prediction, `pulls` (n, classes) with their signs."""

    changes: np.ndarray
    pulls: np.ndarray


def sign_flip(differences: np.ndarray, chance: np.random.Generator) -> float:
    """p of (n, k) differences of pairs, for all k together: how often signs drawn by lot give so large a mean.

        p = share of the patterns of signs whose max over k of |mean of sign * difference| reaches the observed one

    A picture keeps one sign for all k, so that what hangs together stays together. Every pattern is counted for up to
    13 pairs, and the observed one is added to 9999 drawn for more. Westfall and Young, 1993.
    """
    n = len(differences)
    least = float(np.abs(differences.mean(axis=0)).max()) * (1 - 1e-9)  # sums in another order may round otherwise
    if n <= EXACT:  # a pattern and its mirror image give the same: the first sign stays
        minus = (np.arange(2 ** (n - 1))[:, None] >> np.arange(n)) & 1
    else:
        minus = chance.integers(2, size=(DRAWS, n), dtype=np.int8)
    at_once = max(1, 2_000_000 // max(differences.shape[1], n))
    reached = 0
    for i in range(0, len(minus), at_once):
        means = (1.0 - 2.0 * minus[i : i + at_once]) @ differences / n
        reached += int((np.abs(means).max(axis=1) >= least).sum())
    return reached / len(minus) if n <= EXACT else (1 + reached) / (1 + DRAWS)


def pictures_needed(tests: int) -> int:
    """From how many pictures on a p can be so small that Holm's rule passes it among so many tests."""
    return math.ceil(1 + math.log2(tests / LEVEL))


def pictures_to_clear() -> int:
    """From how many pictures on, none of which moves, an artefact can be called not used."""
    return math.floor(math.log(1 - CONFIDENCE) / math.log(1 - RARE)) + 1


def beyond(changes: np.ndarray, smallest: float) -> Mean:
    """The share of pictures whose change, of (n,), is above `smallest`, with a one-sided 95 % upper bound.

    Clopper and Pearson, 1934. https://doi.org/10.1093/biomet/26.4.404
    """
    n, count = len(changes), int((changes > smallest).sum())
    most = 1.0 if count == n else float(beta.ppf(CONFIDENCE, count + 1, n - count))
    return Mean(count / n, None, most, n)


def is_used(change: Mean, moving: Mean, p: float, smallest: float) -> bool | None:
    """Whether a model uses an artefact, by its change in points, the share of pictures `moving` by more than `smallest`
    and the adjusted p of its pull; None: not decided."""
    if change.low is None or change.high is None or moving.high is None:
        return None
    if change.low > smallest:
        return True if p <= LEVEL else None
    return False if change.high < smallest and moving.high < RARE else None


def is_shown(difference: Mean, p: float, smallest: float) -> bool | None:
    """Whether maps show an artefact, by the difference in points of attribution and its adjusted p; None: not known."""
    if difference.low is None or difference.high is None:
        return None
    if difference.low > smallest:
        return True if p <= LEVEL else None
    return False if difference.high < smallest else None


def detectable(moved: Moved, smallest: float, tests: int) -> float | None:
    """The mean change, in points, that would be called used with a power of 80 %, if pictures scatter as they did here.

    Its interval must clear `smallest`, and its pull the smallest level of Holm's rule, by quantiles of Student's t; and
    where only pulls that all have one sign give so small a p, they must all have it. None where no p can be so small.
    """
    n, column = len(moved.changes), int(np.abs(moved.pulls.mean(axis=0)).argmax())
    if n < pictures_needed(tests):
        return None
    change, pull = (float(one.std(ddof=1)) for one in (moved.changes, moved.pulls[:, column]))
    found, ends, level = (student.ppf(one, n - 1) for one in (POWER, (1 + CONFIDENCE) / 2, 1 - LEVEL / (2 * tests)))
    needed = [smallest + (ends + found) * change / math.sqrt(n), (level + found) * pull / math.sqrt(n)]
    if 2 * tests * 2.0 ** (1 - n) > LEVEL:
        needed.append(float(norm.ppf(POWER ** (1 / n))) * pull)
    return float(max(needed))


@dataclass(frozen=True, eq=False)
class Shown:
    """What one method's maps do with an artefact, in points of attribution."""

    method: str
    present: Mean
    absent: Mean
    difference: Mean
    area: Mean
    silent: int  # pairs with a map that says nothing
    p: float | None
    adjusted: float | None = None
    detected: bool | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """All that was found of one artefact. `pull` is that of the output `towards`, and `p` that of all outputs.

    `moving` is the share of pictures that it moves by more than the smallest change that counts.
    """

    about: Pairs
    moved: Moved
    change: Mean
    moving: Mean
    towards: int
    pull: Mean
    flips: Mean | None
    p: float
    adjusted: float
    used: bool | None
    detectable: float | None
    shown: tuple[Shown, ...]

    def verdict(self, shown: Shown) -> str:
        if shown.p is None:
            return "cannot be shown"
        return "use not decided" if self.used is None else VERDICTS[self.used, shown.detected]


def spread_of(originals: Sequence[Prediction]) -> np.ndarray | None:
    """(outputs,) standard deviation of a regression's values over the pictures, None for other models."""
    if originals[0].task != "regression":
        return None
    spread = np.std([one.logits.astype(np.float64) for one in originals], axis=0)
    if not spread.all():
        raise SettingError(
            "The model gives every picture the same value, so no change can be held against how much its values vary. "
            "Give pictures that differ."
        )
    return np.asarray(spread)


def moved_by(pairs: Sequence[Pair], spread: np.ndarray | None = None, taken_out: bool = False) -> Moved:
    """How far predictions moved: total variation distance, |change| of a label, or of a value in its `spread`.

    From without to with the artefact, or, where it was `taken_out`, the other way.
    """
    absent, present = (np.array(one) for one in zip(*(pair.outputs() for pair in pairs), strict=True))
    pulls = 100 * (absent - present if taken_out else present - absent) / (1.0 if spread is None else spread)
    if pairs[0].without.task == "single label":
        return Moved(np.abs(pulls).sum(axis=1) / 2, pulls)
    asked = np.array([pair.index for pair in pairs])
    return Moved(np.abs(pulls[np.arange(len(pairs)), asked]), pulls)


def answers_of(
    asked: Sequence[Pairs],
    methods: Sequence[str],
    *,
    smallest: float = 5.0,
    smallest_map: float = 5.0,
    spread: np.ndarray | None = None,
    seed: int = 0,
) -> list[Answer]:
    """What was found of each artefact, its p adjusted for all of them. Raises SettingError where none was planted."""
    if not asked:
        raise SettingError("None of these artefacts could be planted in any of these pictures. Choose others.")
    moved = [moved_by(one.pairs, spread, one.taken_out) for one in asked]
    p = [sign_flip(one.pulls, np.random.default_rng(seed)) for one in moved]
    shown = _adjusted([_shown(one, methods, seed) for one in asked], smallest_map)
    answers = []
    for about, one, raw, adjusted, maps in zip(asked, moved, p, holm(p), shown, strict=True):
        change, moving = mean_of(one.changes, seed), beyond(one.changes, smallest)
        flips = [pair.flipped for pair in about.pairs]
        towards = int(one.pulls.mean(axis=0).argmax())
        answers.append(
            Answer(
                about=about,
                moved=one,
                change=change,
                moving=moving,
                towards=towards,
                pull=mean_of(one.pulls[:, towards], seed),
                flips=None if flips[0] is None else share_of([bool(flip) for flip in flips]),
                p=raw,
                adjusted=adjusted,
                used=is_used(change, moving, adjusted, smallest),
                detectable=detectable(one, smallest, len(asked)),
                shown=maps,
            )
        )
    return answers


def _shown(asked: Pairs, methods: Sequence[str], seed: int) -> tuple[Shown, ...]:
    """Before the p of all artefacts and methods are adjusted together."""
    found = []
    for number, method in enumerate(methods):
        shares = [pair.shares[number] for pair in asked.pairs]
        filled = [one.filled() for one in shares if one is not None]
        table = 100 * np.array(filled, np.float64).reshape(-1, 3)
        difference = table[:, 0] - table[:, 1]
        present, absent, area = (mean_of(column, seed) for column in table.T)
        tested = len(difference) and not asked.everywhere
        p = sign_flip(difference[:, None], np.random.default_rng(seed)) if tested else None
        silent = sum(None in one for one in shares if one is not None)
        found.append(Shown(method, present, absent, mean_of(difference, seed), area, silent, p))
    return tuple(found)


def _adjusted(shown: Sequence[tuple[Shown, ...]], smallest: float) -> list[tuple[Shown, ...]]:
    raised = iter(holm([one.p for row in shown for one in row if one.p is not None]))

    def decided(one: Shown) -> Shown:
        if one.p is None:
            return one
        adjusted = next(raised)
        return dataclasses.replace(one, adjusted=adjusted, detected=is_shown(one.difference, adjusted, smallest))

    return [tuple(decided(one) for one in row) for row in shown]
