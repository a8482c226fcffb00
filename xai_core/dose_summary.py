"""What the answers to pictures at rising doses come to: the nouns, what is counted, and tables with every number."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from scipy.stats import binom

from xai_core.map_shift import NUMBERS, Shift
from xai_core.probes import Asking, Perturbation
from xai_core.records import Table, Target
from xai_core.score_table import method_names
from xai_core.statistics import CONFIDENCE, Mean, mean_of, share_of


class Answer(NamedTuple):
    """What the model says of one picture at one dose, and how far its maps have moved, one Shift per method.

    `value` is the probability of the target, or of outputs that are none the target itself. `decision` is None where
    the outputs decide nothing. `repeats` where the picture is that of the dose before, to the byte: they are one dose.
    """

    dose: float
    measured: float
    value: float
    decision: str | None
    flipped: bool
    shifts: tuple[Shift, ...]
    repeats: bool = False


class Flip(NamedTuple):
    """The decision is kept at dose `low` and is `to` at `high`: the first time on the way up the doses."""

    low: float
    high: float
    to: str


@dataclass(frozen=True)
class Response:
    """Of one picture: its answers from dose 0 to the strongest.

    `part` is who says where its part is, `marked` what the data mark in it, "" where nothing.
    """

    number: int
    sha256: str
    label: str | None
    target: Target
    answers: tuple[Answer, ...]
    flip: Flip | None
    in_probability: bool
    part: str = ""
    marked: str = ""

    @property
    def decides(self) -> bool:
        """Whether the outputs decide something, which could flip."""
        return self.answers[0].decision is not None

    def change(self, step: int) -> float:
        """Of the value from the original to the dose of that step: of probabilities in points."""
        return (100 if self.in_probability else 1) * (self.answers[step].value - self.answers[0].value)


class Half(NamedTuple):
    """The dose by which half of the pictures have flipped: math.inf where that is above the strongest.

    `low` and `high` are its 95 % interval by order statistics, which needs no shape of a distribution and counts those
    that never flip; None where there are too few pictures. Conover, 1999, section 3.2.
    """

    dose: float
    low: float | None
    high: float | None


def half_flipped(flips: Sequence[Flip | None]) -> Half:
    """Of one entry per picture, at least one; None never flips."""
    n = len(flips)
    kept, flipped = (
        sorted((getattr(flip, end) if flip else math.inf for flip in flips), key=abs) for end in ("low", "high")
    )
    dose = flipped[math.ceil(n / 2) - 1]
    rank = int(binom.ppf((1 - CONFIDENCE) / 2, n, 0.5))  # from below and from above: fewer lie outside in 2.5 % each
    return Half(dose, kept[rank - 1], flipped[n - rank]) if rank else Half(dose, None, None)


# ---- tables ------------------------------------------------------------------------------------------------------


def tables(asking: Asking, probe: Perturbation, responses: Sequence[Response]) -> dict[str, Table]:
    """`doses` over all pictures, `flips` per picture, the `half` that has flipped, and `pictures` at every dose."""
    in_probability = responses[0].in_probability
    value = "Probability of the target" if in_probability else "Value of the target"
    maps = {
        "rank_correlation": "Rank correlation with the original's map",
        "top_overlap": "Overlap of the highest tenths",
        "centre_distance": "Centre of mass moved (hundredths of the diagonal)",
        "border_change": "Change of the share near the border (points)",
        "background_change": "Change of the share outside what is marked (points)",
    }
    dose = {"dose": f"Dose ({probe.unit})" if probe.unit else "Dose"}
    measured = {"measured": probe.measured[:1].upper() + probe.measured[1:]}
    return {
        "doses": Table.of(
            "Over all pictures",
            {
                **dose,
                **measured,
                **_interval("probability", value),
                **_interval(
                    "probability_change", "Change of probability (points)" if in_probability else "Change of value"
                ),
                "n": "Pictures",
                **_interval("flip_rate", "Share of decisions flipped"),
                "n_flip": "Decisions",
                "method": "Method",
                **{column: words for name, each in maps.items() for column, words in _interval(name, each).items()},
                "n_map": "Maps compared",
                "n_mass": "Maps with a centre of mass",
                "n_mask": "Maps compared with a mask",
            },
            _dose_lines(asking, responses),
        ),
        "flips": Table.of(
            "Where each decision flips first",
            {
                "picture": "Picture",
                "sha256": "sha256",
                "label": "Label",
                "original": "Decision on the original",
                "flip_low": "Kept at dose",
                "flip_high": "Flipped at dose",
                "flipped_to": "Flipped to",
                "part": "Part",
                "marked": "Marked in the data",
            },
            map(_flip_line, responses),
        ),
        "half": Table.of(
            "Dose by which half have flipped",
            {**_interval("dose", "Dose"), "never": "Never flip", "n": "Pictures", "note": "Note"},
            _half_lines(asking, responses),
        ),
        "pictures": Table.of(
            "Every picture at every dose",
            {
                "picture": "Picture",
                **dose,
                **measured,
                "probability": value,
                "predicted": "Decision",
                "flipped": "Flipped",
                "repeats": "Same picture as at the dose before",
                "method": "Method",
                **maps,
                "why": "Why a number is missing",
            },
            _picture_lines(asking, responses),
        ),
    }


def _interval(column: str, words: str) -> dict[str, str]:
    return {column: words, f"{column}_low": f"{words}, 95 % from", f"{column}_high": f"{words}, 95 % to"}


def _spread(column: str, found: Mean) -> dict[str, float | None]:
    """The cells of a mean; of a single picture without an interval."""
    low, high = (found.low, found.high) if found.n > 1 else (None, None)
    return {column: found.mean, f"{column}_low": low, f"{column}_high": high}


def _dose_lines(asking: Asking, responses: Sequence[Response]) -> Iterator[dict[str, Any]]:
    for step, first in enumerate(responses[0].answers):
        answers = [one.answers[step] for one in responses]
        changes = [one.change(step) for one in responses]
        line: dict[str, Any] = {
            "dose": first.dose,
            "measured": mean_of([one.measured for one in answers]).mean,
            **_spread("probability", mean_of([one.value for one in answers], asking.seed)),
            **_spread("probability_change", mean_of(changes, asking.seed)),
            "n": len(answers),
            "method": "",
        }
        if responses[0].decides:
            flipped = share_of([one.flipped for one in answers])
            rate = flipped if step else flipped._replace(low=0.0, high=0.0)  # the original keeps its own decision
            line |= {**_spread("flip_rate", rate), "n_flip": len(answers)}
        if not asking.methods:
            yield line
        for place, name in enumerate(method_names(asking.methods)[0]):
            shifts = [one.shifts[place] for one in answers]
            found = {column: mean_shift(shifts, column, asking.seed) for column in NUMBERS}
            cells = {key: cell for column, mean in found.items() for key, cell in _spread(column, mean).items()}
            counts = {"n_map": "rank_correlation", "n_mass": "centre_distance", "n_mask": "background_change"}
            yield {**line, "method": name, **cells, **{n: found[column].n for n, column in counts.items()}}


def mean_shift(shifts: Sequence[Shift], column: str, seed: int) -> Mean:
    """One number of the maps of several pictures, over those where it is defined."""
    return mean_of([value for one in shifts if (value := getattr(one, column)) is not None], seed)


def _flip_line(one: Response) -> dict[str, Any]:
    line = {"picture": one.number, "sha256": one.sha256, "label": one.label, "original": one.answers[0].decision}
    if one.flip:
        line |= {"flip_low": one.flip.low, "flip_high": one.flip.high, "flipped_to": one.flip.to}
    return {**line, "part": one.part, "marked": one.marked}


def _half_lines(asking: Asking, responses: Sequence[Response]) -> Iterator[dict[str, Any]]:
    if len(responses) == 1 or not responses[0].decides:
        return
    half = half_flipped([one.flip for one in responses])
    ends = {"dose": half.dose, "dose_low": half.low, "dose_high": half.high}
    words = {"dose": "half", "dose_low": "the lower end of the interval", "dose_high": "the upper end of the interval"}
    above = [words[column] for column, end in ends.items() if end == math.inf]
    yield {
        **{column: None if end == math.inf else end for column, end in ends.items()},
        "never": sum(one.flip is None for one in responses),
        "n": len(responses),
        "note": f"above the strongest dose: {', '.join(above)}" if above else "",
    }


def _picture_lines(asking: Asking, responses: Sequence[Response]) -> Iterator[dict[str, Any]]:
    for one in responses:
        for answer in one.answers:
            line = {
                "picture": one.number,
                "dose": answer.dose,
                "measured": answer.measured,
                "probability": answer.value,
                "predicted": answer.decision,
                "method": "",
                "why": "",
                "flipped": None if answer.decision is None else answer.flipped,
                "repeats": answer.repeats,
            }
            if not answer.shifts:
                yield line
            for name, shift in zip(method_names(asking.methods)[0], answer.shifts, strict=True):
                numbers = {column: getattr(shift, column) for column in NUMBERS}
                yield {**line, "method": name, **numbers, "why": " ".join(dict.fromkeys(shift.why.values()))}
