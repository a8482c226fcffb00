"""What pictures at rising doses show, in words: the prediction first, then the maps, then where the two part."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence

from xai_core.canvas import percent
from xai_core.classification import APART
from xai_core.dose_summary import Response, half_flipped, mean_shift
from xai_core.map_shift import BORDER, NUMBERS
from xai_core.probes import Asking, Perturbation
from xai_core.registry import settings
from xai_core.score_table import number
from xai_core.statistics import CONFIDENCE, Mean, mean_of, share_of

SAME = 0.95  # rank correlation; above it, a map is said to stay nearly the same: a convention, as in evidence.py
KEPT = 5.0  # points: a probability that changes by less is said to stay, one that changes by as much to change
BY_CHANCE = 0.1 / (2 - 0.1)  # overlap of two tenths drawn at random


def sentences(asking: Asking, probe: Perturbation, responses: Sequence[Response]) -> list[str]:
    """Of one response per picture, at least one, to the doses of `probe`."""
    found = [*_decisions(probe, responses), _change(asking, probe, responses)]
    for place, method in enumerate(asking.methods):
        found.extend(_moved(probe, method.label, place, responses, asking.seed))
        found.extend(_parted(probe, method.label, place, responses))
    found.extend(_repeated(responses))
    if probe.part:
        found.extend(_sources(probe, responses))
    if len(responses) == 1:
        found.append("This is one picture: it says nothing of others.")
    return found


def amount(probe: Perturbation, dose: float, whole: bool = False) -> str:
    """A dose with its unit; only as a `whole` with what it is a share of, which is said once.

    +0.4, as a whole +0.4 of full white; 2 %, as a whole 2 % of the shorter side.
    """
    unit = probe.unit if whole else "" if probe.unit.startswith("of ") else probe.unit.partition(" of ")[0]
    bare = _bare(probe, dose)
    return f"{bare} {unit.removesuffix('s') if abs(dose) == 1 else unit}".strip()


def _at(probe: Perturbation, dose: float) -> str:
    """As a sentence begins: a number without a unit is said to be a dose."""
    said = amount(probe, dose)
    return f"At {'dose ' if said == _bare(probe, dose) else ''}{said}"


def _bare(probe: Perturbation, dose: float) -> str:
    """A dose with its sign where it may have either."""
    [limits] = [field.metadata for field in settings(type(probe)) if field.name == "strongest"]
    signed = dose and limits.get("low") is not None and limits["low"] < 0
    return (f"{dose:+.3g}" if signed else f"{dose:.3g}").replace("-", "\N{MINUS SIGN}")


def detectable(n: int) -> float:
    """The share above which at least one of `n` would have shown, with 95 %: (1 - share)^n = 5 %."""
    return float(1 - (1 - CONFIDENCE) ** (1 / n))


# ---- the prediction ----------------------------------------------------------------------------------------------


def _decisions(probe: Perturbation, responses: Sequence[Response]) -> Iterator[str]:
    n, strongest = len(responses), amount(probe, responses[0].answers[-1].dose, whole=True)
    if not responses[0].decides:
        yield f"{probe.label} up to {strongest}: the output decides nothing, so no decision can flip."
        return
    if n == 1:
        yield _decision(probe, responses[0], strongest)
        return
    if not any(one.flip for one in responses):
        yield (
            f"{probe.label}: no decision of {n} flips at any of the {len(responses[0].answers) - 1} doses up to "
            f"{strongest}; with n = {n}, a flip rate above {_percent(detectable(n))} would have shown."
        )
        return
    flipped = [one.answers[-1].flipped for one in responses]
    rate = share_of(flipped)
    yield (
        f"{probe.label} {strongest}: {sum(flipped)} of {n} decisions {'flips' if sum(flipped) == 1 else 'flip'} "
        f"({_percent(rate.mean or 0)}, 95 % interval {100 * (rate.low or 0):.0f} to {_percent(rate.high or 0)})."
    )
    yield _halfway(probe, responses)
    if back := sum(one.flip is not None and not one.answers[-1].flipped for one in responses):
        yield f"{back} of those that flip on the way {'is' if back == 1 else 'are'} back at the strongest dose."


def _decision(probe: Perturbation, one: Response, strongest: str) -> str:
    original = one.answers[0].decision
    if one.flip is None:
        doses = len(one.answers) - 1
        return f"{probe.label}: the decision, {original}, flips at none of the {doses} doses up to {strongest}."
    back = "" if one.answers[-1].flipped else f", and is {original} again at {amount(probe, one.answers[-1].dose)}"
    return (
        f"{probe.label}: the decision flips from {original} to {one.flip.to} between {_bare(probe, one.flip.low)} and "
        f"{amount(probe, one.flip.high, whole=True)}{back}."
    )


def _halfway(probe: Perturbation, responses: Sequence[Response]) -> str:
    n, flips = len(responses), [one.flip for one in responses if one.flip]
    half, kept = half_flipped([one.flip for one in responses]), n - len(flips)
    never = f"{kept} of {n} never {'flips' if kept == 1 else 'flip'}" if kept else "all flip on the way"

    def at(dose: float) -> str:
        return f"above {_bare(probe, responses[0].answers[-1].dose)}" if dose == math.inf else _bare(probe, dose)

    if half.dose == math.inf:
        first = min((flip.high for flip in flips), key=abs)
        return f"Fewer than half flip on the way, the first at {amount(probe, first)}: {never}."
    if half.low is None or half.high is None:
        return f"Half have flipped at {amount(probe, half.dose)} ({n} pictures are too few for an interval); {never}."
    return (
        f"Half have flipped at {amount(probe, half.dose)} (95 % interval {at(half.low)} to {at(half.high)}); {never}."
    )


def _change(asking: Asking, probe: Perturbation, responses: Sequence[Response]) -> str:
    """By how much the probability of the target changes from the original to the strongest dose."""
    first, several = responses[0], len(responses) > 1
    found = mean_of([one.change(-1) for one in responses], asking.seed)
    start, end = (mean_of([one.answers[at].value for one in responses]).mean or 0.0 for at in (0, -1))
    shown, what = (percent, "probability") if first.in_probability else (number, "value")
    target = f"the {'class predicted' if first.decides else 'largest output'} on the original"
    if len(targets := {str(one.target).removeprefix("probability of ") for one in responses}) == 1:
        [target] = targets
    return (
        f"{_at(probe, first.answers[-1].dose)} the {what} of {target} changes {'in the mean ' * several}by "
        f"{_signed(found, first.in_probability)}, from {shown(start)} to {shown(end)}."
    )


# ---- the maps ----------------------------------------------------------------------------------------------------


def _moved(probe: Perturbation, label: str, place: int, responses: Sequence[Response], seed: int) -> Iterator[str]:
    """How far the maps of one method have moved at the strongest dose, and against what."""
    shifts = [one.answers[-1].shifts[place] for one in responses]
    ranks, tops, centre, edge, outside = (mean_shift(shifts, column, seed) for column in NUMBERS)
    reasons = Counter(one.why["rank_correlation"] for one in shifts if "rank_correlation" in one.why)
    left = "".join(f" {count} of {len(shifts)} cannot be compared: {why}" for why, count in reasons.items())
    if ranks.mean is None:
        yield f"How far the map by {label} moves cannot be said.{left}"
        return
    carried = ", carried along to where things are now" if type(probe).move is not Perturbation.move else ""
    yield (
        f"{_at(probe, responses[0].answers[-1].dose)} the map by {label} has a {'mean ' * (len(responses) > 1)}"
        f"rank correlation of {_hundredths(ranks)} with the original's{carried} (1: the same order of pixels, "
        f"0: unrelated); the highest tenths overlap by {_hundredths(tops)}, by chance {BY_CHANCE:.2f}.{left}"
    )
    if centre.mean is not None:
        marked = "" if outside.n == centre.n else f", where it is marked ({_of(outside.n, len(responses))}),"
        mask = "" if outside.mean is None else f", that outside the {_marked(responses)}{marked} by {_signed(outside)}"
        yield (
            f"Its centre of mass moves by {_hundredths(centre)} hundredths of the view's diagonal; its share within "
            f"{_percent(BORDER)} of an edge changes by {_signed(edge)}{mask}."
        )


def _marked(responses: Sequence[Response]) -> str:
    """What is called marked, over all pictures."""
    return " or the ".join(sorted({one.marked for one in responses} - {""}, reverse=True))


def _parted(probe: Perturbation, label: str, place: int, responses: Sequence[Response]) -> Iterator[str]:
    """Where the map does not show what the prediction does, in either direction, at any dose that was looked at.

    Near a tie a decision flips with next to no change, which no map need show: the probability must change too.
    """
    n, stays, goes = len(responses), [], []
    for one in responses if responses[0].in_probability else ():
        for step, answer in list(enumerate(one.answers))[1:]:
            rank, changes = answer.shifts[place].rank_correlation, abs(one.change(step)) >= KEPT
            if rank is not None and answer.flipped and changes and rank > SAME:
                stays.append((one.number, answer.dose))
            if rank is not None and not answer.flipped and not changes and rank < APART:
                goes.append((one.number, answer.dose))
    if stays:
        yield (
            f"In {_where(probe, stays, n)}, the decision flips and the probability changes by {KEPT:.0f} points or "
            f"more while the map by {label} stays nearly the same (rank correlation above {SAME}): there it does not "
            "show what the prediction does."
        )
    if goes:
        yield (
            f"In {_where(probe, goes, n)}, the map by {label} becomes another (rank correlation below {APART}) while "
            f"the decision stays and the probability changes by less than {KEPT:.0f} points: a map that moves is no "
            "sign that the prediction does."
        )


def _where(probe: Perturbation, found: Sequence[tuple[int, float]], n: int) -> str:
    """In how many pictures, and at which doses, of (number of the picture, dose)."""
    doses = sorted({dose for _, dose in found}, key=abs)
    at = f"between {_bare(probe, doses[0])} and" if len(doses) > 1 else "at"
    return f"{_of(len({number for number, _ in found}), n)}, {at} {amount(probe, doses[-1])}"


def _repeated(responses: Sequence[Response]) -> Iterator[str]:
    """Where doses differ by name alone."""
    count = sum(any(answer.repeats for answer in one.answers) for one in responses)
    if count:
        yield (
            f"In {_of(count, len(responses))} a dose gives the same picture, to the byte, as the one before: the two "
            "are one dose."
        )


def _sources(probe: Perturbation, responses: Sequence[Response]) -> Iterator[str]:
    """Who says where the part is."""
    name = probe.part.replace("_", " ")
    was = "were" if name.endswith("s") else "was"
    for source, count in Counter(one.part for one in responses).most_common():
        yield f"The {name} {was} {source} in {_of(count, len(responses))}."


# ---- numbers -----------------------------------------------------------------------------------------------------


def _of(count: int, n: int) -> str:
    return "this picture" if n == 1 else f"{count} of {n} pictures"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _hundredths(found: Mean) -> str:
    """A pure number with its interval, to two places."""
    if found.low is None or found.high is None:
        return _shown(found.mean or 0.0)
    return f"{_shown(found.mean or 0.0)} (95 % interval {_shown(found.low)} to {_shown(found.high)})"


def _shown(value: float) -> str:
    return f"{round(value, 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")


def _signed(found: Mean, in_points: bool = True) -> str:
    """A mean change with its interval, and whether that holds no change at all."""

    def shown(value: float) -> str:
        text = f"{value:+.1f}" if in_points else f"{value:+.3g}"
        return text.replace("-", "\N{MINUS SIGN}") if float(text) else text[1:]

    said = f"{shown(found.mean or 0.0)}{' points' if in_points else ''}"
    if found.low is None or found.high is None:
        return said
    if found.low == found.high:
        return f"{said} (in every picture)"
    none = ": it may be none" if found.low <= 0 <= found.high else ""
    return f"{said} (95 % interval {shown(found.low)} to {shown(found.high)}{none})"
