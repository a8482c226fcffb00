"""What the shortcut challenge found, in tables and in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_core.challenge_effects import RARE, Answer, Pair, Pairs, pictures_needed, pictures_to_clear
from xai_core.group_answers import listed
from xai_core.methods import Method
from xai_core.models import Model
from xai_core.records import Table
from xai_core.score_table import number
from xai_core.statistics import LEVEL, Mean, mean_of

if TYPE_CHECKING:
    from xai_core.probes.shortcut import Shortcut

TOLD = {True: "used", False: "not used", None: "not decided"}
POINTS = "points"
SIZED = 3  # of the artefacts that are used, whose size the first sentence says
MOST_CLASSES = 3  # that flips are counted to, one by one


def _spanned(name: str, mean: Mean | None, factor: float = 1) -> dict[str, float | None]:
    ends = (None, None, None) if mean is None else mean[:3]
    keys = (name, f"{name}_low", f"{name}_high")
    return {key: None if end is None else factor * end for key, end in zip(keys, ends, strict=True)}


def _words(name: str, words: str) -> dict[str, str]:
    return {name: words, f"{name}_low": f"{words}, lower end", f"{name}_high": f"{words}, upper end"}


def method_names(methods: Sequence[Method]) -> list[str]:
    """What each method is called: its label, with its settings where two have the same."""
    labels = Counter(method.label for method in methods)
    return [method.label if labels[method.label] == 1 else str(method) for method in methods]


def tables_of(labels: Sequence[str], methods: Sequence[str], answers: Sequence[Answer]) -> dict[str, Table]:
    """`artefacts`: what they do to the prediction, `maps`: whether those show it, and `pictures`: one by one."""
    unit, tests = _unit(answers), f"Holm over {_counted(len(answers), 'artefact')}"
    artefacts = Table.of(
        "Artefacts and the prediction",
        {
            "artefact": "Artefact",
            "name": "Name",
            "n": "Pictures",
            **_words("change", f"Change ({unit})"),
            "moving": "Pictures that move by more than the smallest change (%)",
            "moving_high": "Pictures that move by more than the smallest change (%), one-sided upper bound",
            "towards": "Towards",
            **_words("pull", f"Pull ({unit})"),
            **_words("flip_rate", "Decisions that flip (%)"),
            "p": "p",
            "p_adjusted": f"p, corrected ({tests})",
            "used": "Used by the model",
            "detectable": f"Detectable change ({unit})",
            "area": "Area (% of the picture)",
        },
        (
            {
                "artefact": one.about.label,
                "name": one.about.name,
                "n": one.change.n,
                **_spanned("change", one.change),
                "moving": None if one.moving.mean is None else 100 * one.moving.mean,
                "moving_high": None if one.moving.high is None else 100 * one.moving.high,
                "towards": labels[one.towards],
                **_spanned("pull", one.pull),
                **_spanned("flip_rate", one.flips, 100),
                "p": one.p,
                "p_adjusted": one.adjusted,
                "used": one.used,
                "detectable": one.detectable,
                "area": 100 * float(np.mean([pair.area for pair in one.about.pairs])),
            }
            for one in answers
        ),
    )
    local = sum(any(shown.p is not None for shown in one.shown) for one in answers)
    of_maps = f"Holm over {_counted(local, 'artefact')} × {_counted(len(methods), 'method')}"
    maps = Table.of(
        "Artefacts and the maps",
        {
            "artefact": "Artefact",
            "name": "Name",
            "method": "Method",
            "n": "Pictures",
            **_words("share_with", "Attribution on it (%)"),
            **_words("share_without", "Attribution on its area without it (%)"),
            **_words("difference", "Difference (points)"),
            "area": "Area (% of what the model sees)",
            "silent": "Pictures with a map that says nothing, taken as uniform",
            "p": "p",
            "p_adjusted": f"p, corrected ({of_maps})",
            "detected": "Shown by the map",
            "verdict": "Verdict",
        },
        (
            {
                "artefact": one.about.label,
                "name": one.about.name,
                "method": shown.method,
                "n": shown.difference.n,
                **_spanned("share_with", shown.present),
                **_spanned("share_without", shown.absent),
                **_spanned("difference", shown.difference),
                "area": shown.area.mean,
                "silent": shown.silent,
                "p": shown.p,
                "p_adjusted": shown.adjusted,
                "detected": shown.detected,
                "verdict": one.verdict(shown),
            }
            for one in answers
            for shown in one.shown
        ),
    )
    pictures = Table.of(
        "Pictures",
        {
            "picture": "Picture",
            "sha256": "sha256",
            "artefact": "Artefact",
            "name": "Name",
            "area": "Area (%)",
            "change": f"Change ({unit})",
            "without": "Predicted without it",
            "with": "Predicted with it",
            "flipped": "Decision flips",
            **{f"{side}.{name}": f"{words}, {name}" for name in methods for side, words in _SIDES.items()},
        },
        (_picture(one, number, pair, methods) for one in answers for number, pair in enumerate(one.about.pairs)),
    )
    return {"artefacts": artefacts, "maps": maps, "pictures": pictures}


_SIDES = {"share_with": "Attribution on it (%)", "share_without": "Attribution on its area without it (%)"}


def _picture(answer: Answer, number: int, pair: Pair, names: Sequence[str]) -> dict[str, Any]:
    line: dict[str, Any] = {
        "picture": pair.picture,
        "sha256": pair.sha256,
        "artefact": answer.about.label,
        "name": answer.about.name,
        "area": 100 * pair.area,
        "change": float(answer.moved.changes[number]),
        "without": pair.without.top(1)[0][0],
        "with": pair.present.top(1)[0][0],
        "flipped": pair.flipped,
    }
    for name, share in zip(names, pair.shares, strict=True):
        if share is not None:
            for side, one in zip(_SIDES, share[:2], strict=True):
                line[f"{side}.{name}"] = None if one is None else 100 * one
    return line


def _unit(answers: Sequence[Answer]) -> str:
    regression = answers[0].about.pairs[0].without.task == "regression"
    return "hundredths of a standard deviation" if regression else POINTS


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'s' * (count != 1)}"


def _points(value: float) -> str:
    """To a hundredth at most: no set of pictures tells more."""
    return number(round(value, 2) + 0.0)


def _measured(mean: Mean, unit: str) -> str:
    if mean.mean is None:
        return mean.note
    ends = mean.note if mean.low is None or mean.high is None else f"{_points(mean.low)} to {_points(mean.high)}"
    return f"{_points(mean.mean)} {unit} ({ends}, n = {mean.n})"


def sentences_of(
    model: Model, probe: Shortcut, answers: Sequence[Answer], asked: Sequence[Pairs], marked: int
) -> list[str]:
    """The answer first, then every artefact, and what else there is to know; `marked` pictures had a marker."""
    unit = _unit(answers)
    return [
        _headline(str(model.identity["name"]), answers, len(asked), unit),
        *(_told(model, probe, one, unit, len(answers)) for one in answers),
        *_skipped(asked),
        *_replaced(marked, asked),
        *_disagreeing([one for one in answers if not one.about.taken_out], probe),
        *_power(answers, unit, probe),
        *_room(answers),
    ]


def _headline(model: str, answers: Sequence[Answer], asked: int, unit: str) -> str:
    """What is used, the largest effect first, and what that does not say: it is read without the others."""
    planted = sorted((one for one in answers if not one.about.taken_out), key=_size, reverse=True)
    used, unused, open_ = ([one for one in planted if one.used is wanted] for wanted in (True, False, None))
    count, fewest, most = len(planted), *(end(one.change.n for one in planted) for end in (min, max))
    of = _counted(count, "artefact") if count == asked else f"the {_counted(count, 'artefact')} that could be planted"
    if not used and not unused:
        few = most < pictures_needed(len(answers))
        why = f"cannot be decided with {_counted(most, 'picture')}: {_needed(len(answers))} or more are needed"
        return f"Whether {model} uses any of {of} {why if few else 'is not decided'}."
    left = f"; not decided: {listed([one.about.label for one in open_])}" if open_ else ""
    if used:
        named = [
            f"{one.about.label} ({_effect(one, unit, '95 % interval ' * (one is used[0]))})" for one in used[:SIZED]
        ]
        named += [one.about.label for one in used[SIZED:]]
        return f"{model} uses {len(used)} of {of}: {listed(named)}{left}. {_caveat(used, len(answers))}"
    n = f"{fewest} to {most}" if fewest < most else str(most)
    return f"{model} is not found to use {len(unused) if open_ else 'any'} of {of}, n = {n}{left}."


def _size(one: Answer) -> float:
    return one.change.mean or 0.0


def _effect(one: Answer, unit: str, what: str) -> str:
    low, high = one.change.low, one.change.high
    ends = "" if low is None or high is None else f", {what}{_points(low)} to {_points(high)}"
    flips = sum(bool(pair.flipped) for pair in one.about.pairs)
    n = f"n = {one.change.n}" if one.flips is None else f"{flips} of {one.change.n} decisions flip"
    return f"{_points(_size(one))} {unit}{ends}; {n}"


def _caveat(used: Sequence[Answer], tests: int) -> str:
    they, them = ("it moves", "it") if len(used) == 1 else ("they move", "them")
    any_of = f"any of {tests} tests" if tests > 1 else "the test"
    return (
        f"That {they} the prediction does not say that the model learned to read {them}: what was never in its "
        f"pictures may merely disturb it. By chance alone, {any_of} would say used in {100 * LEVEL:.0f} % of such "
        "sets at most."
    )


def _needed(tests: int) -> int:
    """From how many pictures on an artefact among so many can be called either."""
    return max(pictures_needed(tests), pictures_to_clear())


def _told(model: Model, probe: Shortcut, one: Answer, unit: str, tests: int) -> str:
    what = "Taking it out moves" if one.about.taken_out else "It moves"
    moves = f"{what} the prediction by {_measured(one.change, unit)}"
    parts = [f"{one.about.label}: {TOLD[one.used]}{' by the model' if one.used else ''}."]
    if one.used:
        parts.append(f"{moves}, {_direction(model.labels, one)}{_flips(one)}.")
    elif one.used is False:
        parts.append(f"{moves}, less than {_points(probe.smallest)}, and {_moving(one)} by more than that.")
    else:
        parts.append(f"{moves}{_flips(one)}; {_undecided(one, probe, tests)}.")
    if shown := _mapped(one):
        parts.append(shown)
    return " ".join(parts)


def _direction(labels: Sequence[str], one: Answer) -> str:
    """To the class that gains, or else from the one that loses, if it does so beyond its interval."""
    losing = int(one.moved.pulls.mean(axis=0).argmin())
    loss = mean_of(one.moved.pulls[:, losing])
    if one.pull.mean is not None and one.pull.low is not None and one.pull.low > 0:
        return f"towards {labels[one.towards]} by {_points(one.pull.mean)}"
    if loss.mean is not None and loss.high is not None and loss.high < 0:
        return f"away from {labels[losing]} by {_points(-loss.mean)}, and to no one class"
    return "towards no one class"


def _flips(one: Answer) -> str:
    if one.flips is None:
        return ""
    ends = [pair.without if one.about.taken_out else pair.present for pair in one.about.pairs if pair.flipped]
    if not ends:
        return "; no decision flips"
    said = f"; {len(ends)} of {one.flips.n} decisions flip"
    if ends[0].task != "single label":
        return said
    to = Counter(end.top(1)[0][0] for end in ends).most_common()
    (first, most), counts = to[0], [f"{count} to {label}" for label, count in to]
    if len(to) == 1:
        return f"{said}, {'all ' * (most > 1)}to {first}"
    if len(to) <= MOST_CLASSES:
        return f"{said}, {listed(counts)}"
    return f"{said}, {f'most to {first}' if 2 * most > len(ends) else f'to {len(to)} classes'}"


def _moving(one: Answer) -> str:
    return f"as far as {one.change.n} pictures tell, fewer than {math.ceil(100 * (one.moving.high or 0.0))} % of all"


def _undecided(one: Answer, probe: Shortcut, tests: int) -> str:
    change, smallest = one.change, _points(probe.smallest)
    if change.low is None or change.high is None:
        return f"{_needed(tests)} pictures or more are needed"
    if change.high < probe.smallest:
        return (
            f"as far as {change.n} pictures tell, it may move up to {100 * (one.moving.high or 0.0):.0f} % of such "
            f"pictures by more than {smallest}; not used is said below {100 * RARE:.0f} %, so of "
            f"{pictures_to_clear()} pictures or more"
        )
    if change.n < pictures_needed(tests):
        return f"among {tests} artefacts only {_needed(tests)} pictures or more can tell"
    if change.low <= probe.smallest:
        return f"the interval reaches across {smallest}, and more pictures would narrow it"
    mixed = (
        "markers that pull opposite ways cancel here, where the planted letters are asked one by one"
        if one.about.taken_out
        else "as what merely disturbs does"
    )
    return f"but towards no class in particular (p = {one.adjusted:.2g}): {mixed}"


def _mapped(one: Answer) -> str:
    if not one.shown:
        return ""
    if one.about.everywhere:
        return "It covers all of the picture, so no map can point at it."
    lit = [f"{shown.method} ({_points(shown.difference.mean or 0.0)} points of its attribution more lie on it)"
           for shown in one.shown if shown.detected]  # fmt: skip
    dark = [shown.method for shown in one.shown if shown.detected is False]
    open_ = [shown.method for shown in one.shown if shown.detected is None]
    if one.used is False:
        said = [f"Lit up all the same by {listed(lit)}"] if lit else []
    else:
        said = [f"Shown by {listed(lit)}"] if lit else []
        said += [f"{'not' if lit else 'Not shown'} by {listed(dark)}"] if dark else []
    if open_:
        said.append(f"{'not' if said else 'Not'} decided of the maps by {listed(open_)}")
    return f"{'; '.join(said)}." if said else ""


def _skipped(asked: Iterable[Pairs]) -> Iterator[str]:
    for one in asked:
        if one.skipped:
            skipped = sum(one.skipped.values())
            (reason, _), *more = reasons = one.skipped.most_common()
            why = "; ".join(f"in {count}, {reason}" for reason, count in reasons) if more else reason
            where = ":" if more else ", where"
            yield f"{one.label}: not planted in {skipped} of {skipped + len(one.pairs)} pictures{where} {why}."


def _replaced(marked: int, asked: Sequence[Pairs]) -> Iterator[str]:
    if marked:
        of = max(len(one.pairs) for one in asked)
        yield f"{marked} of {of} pictures have a marker; it was taken out of them before a letter was planted."


def _disagreeing(answers: Sequence[Answer], probe: Shortcut) -> Iterator[str]:
    """How often maps and predictions disagree, over artefacts and methods. These share their pictures: no interval."""
    said = {
        True: "Misses: where an artefact is used, a method's maps do not show it in {}.",
        False: "False alarms: where an artefact is not used, a method's maps light up on it all the same, by "
        f"{_points(probe.smallest_map)} points of attribution or more, in {{}}.",
    }
    for used, sentence in said.items():
        cells = [shown.detected for one in answers for shown in one.shown if one.used is used and shown.p is not None]
        open_ = cells.count(None)
        if len(cells) > open_:
            undecided = f", and {open_} more {'are' if open_ > 1 else 'is'} not decided" if open_ else ""
            yield sentence.format(f"{cells.count(not used)} of {_counted(len(cells) - open_, 'case')}{undecided}")


def _room(answers: Sequence[Answer]) -> Iterator[str]:
    if any(one.used is False for one in answers):
        yield f"Not used leaves room for an artefact that moves fewer than {100 * RARE:.0f} % of pictures."


def _power(answers: Sequence[Answer], unit: str, probe: Shortcut) -> Iterator[str]:
    """What could have been found, by the artefacts that were not."""
    missed = [one for one in answers if one.used is not True]
    if not missed:
        yield f"A change below {_points(probe.smallest)} {unit} would not have been called used."
    if least := [(one.detectable, one) for one in missed if one.detectable is not None]:
        change, worst = max(least, key=lambda one: one[0])
        beyond_all = unit == POINTS and change > 100
        what = "not even the largest change" if beyond_all else f"a change of {_points(change)} {unit} or more"
        yield (
            f"Of what was not found to be used, {what} would have been found with a chance of 80 % (the worst case, "
            f"{worst.about.label}, n = {worst.change.n}, scattered as here)."
        )
