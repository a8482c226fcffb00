"""What the shortcut challenge found, in tables and in sentences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_core.challenge_effects import Answer, Pair, Pairs, pictures_needed
from xai_core.methods import Method
from xai_core.models import Model
from xai_core.records import Table
from xai_core.statistics import Mean, share_of

if TYPE_CHECKING:
    from xai_core.probes.shortcut import Shortcut

REMOVED = "marker_removed"
TOLD = {True: "used", False: "not used", None: "not decided"}


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
    unit = _unit(answers)
    artefacts = Table.of(
        "Artefacts and the prediction",
        {
            "artefact": "Artefact",
            "name": "Name",
            "n": "Pictures",
            **_words("change", f"Change ({unit})"),
            "towards": "Towards",
            **_words("pull", f"Pull ({unit})"),
            **_words("flip_rate", "Decisions that flip (%)"),
            "p": "p",
            "p_adjusted": "p, adjusted",
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
                "towards": labels[one.towards],
                **_spanned("pull", one.pull),
                **_spanned("flip_rate", one.flips, 100),
                "p": one.p,
                "p_adjusted": one.adjusted,
                "used": one.used,
                "detectable": one.detectable if math.isfinite(one.detectable) else None,
                "area": 100 * float(np.mean([pair.area for pair in one.about.pairs])),
            }
            for one in answers
        ),
    )
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
            "p_adjusted": "p, adjusted",
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
    return "hundredths of a standard deviation" if regression else "points"


def _number(value: float) -> str:
    return f"{value:.1f}" if abs(value) < 9.95 else f"{value:.0f}"


def _measured(mean: Mean, unit: str) -> str:
    if mean.mean is None:
        return mean.note
    ends = mean.note if mean.low is None or mean.high is None else f"{_number(mean.low)} to {_number(mean.high)}"
    return f"{_number(mean.mean)} {unit} ({ends}, n = {mean.n})"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def sentences_of(
    model: Model, probe: Shortcut, answers: Sequence[Answer], asked: Sequence[Pairs], removed: int
) -> list[str]:
    """The answer first, then every artefact, and what else there is to know; `removed` pictures had a marker."""
    unit = _unit(answers)
    return [
        _headline(str(model.identity["name"]), answers),
        *(_told(model, probe, one, unit, len(answers)) for one in answers),
        *_skipped(asked),
        *_replaced(removed, asked),
        *_counted(answers, probe),
        _power(answers, unit, probe),
        "Used means that the artefact alone moves the prediction. Whether the model learned it from its pictures or is "
        "merely disturbed by it, this does not tell.",
    ]


def _headline(model: str, answers: Sequence[Answer]) -> str:
    planted = [one for one in answers if one.about.name != REMOVED]
    used, open_ = ([one.about.label for one in planted if one.used is wanted] for wanted in (True, None))
    of = f"of {len(planted)} artefact{'s' * (len(planted) > 1)}"
    said = f"{model} uses {len(used)} {of}: {_listed(used)}" if used else f"{model} is not found to use any {of}"
    return f"{said}; not decided: {_listed(open_)}." if open_ else f"{said}."


def _told(model: Model, probe: Shortcut, one: Answer, unit: str, tests: int) -> str:
    what = "Taking it out moves" if one.about.name == REMOVED else "It moves"
    moves = f"{what} the prediction by {_measured(one.change, unit)}"
    parts = [f"{one.about.label}: {TOLD[one.used]}{' by the model' if one.used else ''}."]
    if one.used:
        parts.append(f"{moves}, {_direction(model.labels, one, unit)}.")
    elif one.used is False:
        parts.append(f"{moves}, less than {_number(probe.smallest)}.")
    else:
        parts.append(f"{moves}; {_undecided(one, probe, tests)}.")
    if shown := _mapped(one):
        parts.append(shown)
    return " ".join(parts)


def _direction(labels: Sequence[str], one: Answer, unit: str) -> str:
    pulled = f"towards {labels[one.towards]} by {_number(one.pull.mean or 0.0)}"
    if one.flips is None:
        return pulled
    flipped = [pair.present.top(1)[0][0] for pair in one.about.pairs if pair.flipped]
    if not flipped:
        return f"{pulled}; no decision flips"
    to, most = Counter(flipped).most_common(1)[0]
    single = one.about.pairs[0].without.task == "single label"
    mostly = f", {'all' if most == len(flipped) else 'most'} to {to}" if single else ""
    return f"{pulled}; {len(flipped)} of {one.flips.n} decisions flip{mostly}"


def _undecided(one: Answer, probe: Shortcut, tests: int) -> str:
    change, needed = one.change, pictures_needed(tests)
    if change.low is None:
        return "more pictures are needed"
    if change.low <= probe.smallest:
        return f"the interval reaches across {_number(probe.smallest)}, and more pictures would narrow it"
    if change.n < needed:
        return f"but among {tests} artefacts only {needed} pictures or more can show that it pulls one way"
    return f"but towards no class in particular (p = {one.adjusted:.2g}), as what merely disturbs does"


def _mapped(one: Answer) -> str:
    if not one.shown:
        return ""
    if one.about.everywhere:
        return "It covers all of the picture, so no map can point at it."
    lit = [f"{shown.method} ({_number(shown.difference.mean or 0.0)} points of its attribution more lie on it)"
           for shown in one.shown if shown.detected]  # fmt: skip
    dark = [shown.method for shown in one.shown if shown.detected is False]
    unknown = [shown.method for shown in one.shown if shown.detected is None]
    if one.used is False:
        said = [f"Lit up all the same by {_listed(lit)}"] if lit else []
    else:
        said = [f"Shown by {_listed(lit)}"] if lit else []
        said += [f"{'not' if lit else 'Not shown'} by {_listed(dark)}"] if dark else []
    if unknown:
        said.append(f"{'too' if said else 'Too'} few maps by {_listed(unknown)} to tell")
    return f"{'; '.join(said)}." if said else ""


def _skipped(asked: Iterable[Pairs]) -> Iterator[str]:
    for one in asked:
        for reason, count in one.skipped.items():
            of = count + len(one.pairs) + sum(one.skipped.values()) - count
            yield f"{one.label}: not planted in {count} of {of} pictures, where {reason}."


def _replaced(removed: int, asked: Sequence[Pairs]) -> Iterator[str]:
    if removed:
        of = max(len(one.pairs) for one in asked)
        yield f"{removed} of {of} pictures have a marker; it was taken out of them before a letter was planted."


def _counted(answers: Sequence[Answer], probe: Shortcut) -> Iterator[str]:
    """How often maps and predictions disagree, over artefacts and methods."""
    decided = {
        used: [
            shown.detected for one in answers for shown in one.shown if one.used is used and shown.detected is not None
        ]
        for used in (True, False)
    }
    if missed := [not detected for detected in decided[True]]:
        yield f"Misses: where an artefact is used, a method's maps do not show it in {_share_in_words(missed)}."
    if lit := decided[False]:
        yield (
            "False alarms: where an artefact is not used, a method's maps light up on it all the same, by "
            f"{_number(probe.smallest_map)} points of attribution or more, in {_share_in_words(lit)}."
        )


def _share_in_words(counted: Sequence[bool | None]) -> str:
    share = share_of([bool(one) for one in counted])
    low, high = (round(100 * (end or 0.0)) for end in (share.low, share.high))
    return f"{sum(map(bool, counted))} of {share.n} cases ({low} to {high} %)"


def _power(answers: Sequence[Answer], unit: str, probe: Shortcut) -> str:
    """What could have been found, by the artefacts that were not."""
    least = [one for one in answers if one.used is not True and math.isfinite(one.detectable)]
    if not least:
        return f"A change below {_number(probe.smallest)} {unit} would not have been called used."
    worst = max(least, key=lambda one: one.detectable)
    return (
        f"Of what was not found to be used, a change of {_number(worst.detectable)} {unit} or more would have been "
        f"found with a chance of 80 % (the worst case, {worst.about.label}, n = {worst.change.n}, scattered as here)."
    )
