"""What drift was found, in words, in tables and in files: `drift.md` for people, `drift.json` and CSV for programs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from xai_core.drift import (
    BEFORE,
    DIRECTIONS,
    Drift,
    Matched,
    Moved,
    Scored,
    methods_of,
)
from xai_core.group_answers import PERCENT, cells, counted, in_percent, listed, p_words, with_interval
from xai_core.map_shift import Shift
from xai_core.paired_statistics import Change
from xai_core.records import Table
from xai_core.runs import Run
from xai_core.score_summary import safe
from xai_core.score_table import number
from xai_core.spreadsheet import csv_text
from xai_core.statistics import LEVEL, Mean

MOST = 6  # of a kind, in sentences
LINES = 30  # of a table on the page; the files have them all
MASS_ACCURACY = "mass_accuracy"
DIAGONAL = " % of the diagonal"
WORDS = {
    "accuracy": "Accuracy",
    "calibration_error": "Expected calibration error",
    "overconfidence": "Mean confidence less accuracy",
    "confidence": "Mean confidence",
    "loss": "Mean loss",
}
NOT_SAID = (
    "An interval is of 95 % and of one number: of many, 1 in 20 misses by chance alone. A change of a rate is shown "
    "where McNemar's exact test finds it, which is the stricter of the two; it does so in up to 1 of 20 tests where "
    "nothing changes. p of groups is corrected over the groups of one pair of models, p of accuracy not at all.",
    "Bootstrap intervals, those of all that is no rate, are too narrow where pictures are few. In 1000 trials each, "
    "that of a mean held the true mean in 77 (skewed numbers) to 84 % (normal ones) with 5 pictures, in 86 to 92 % "
    "with 10, in 90 to 93 % with 20, in 92 to 94 % with 50.",
    "No change shown is not no change: what an interval holds is not ruled out.",
    "How far maps move from one training to the next of the same recipe is not known here. Compare with a run of a "
    "network that was trained again with another seed before you blame the data.",
    "A change is of these pictures. On others, of another clinic or camera, it may differ.",
)


# ---- sentences -------------------------------------------------------------------------------------------------------


def sentences(found: Drift) -> list[str]:
    """What changed of one pair of models, the most important first."""
    matched = found.matched
    head = f"{_who(matched)}: {counted(len(matched.rows))} in both runs."
    if matched.same and not found.moved:
        return [f"No drift: same weights. {head} {_nothing_moved(found)}"]
    if matched.same:
        head += (
            " The weights are the same, and yet numbers differ: something else changed, such as the device, a library "
            "or the settings."
        )
    maps = [_maps(one, matched) for one in found.maps]
    return [head, *_flips(found), *_numbers(found), *_groups(found), *maps, *_scores(found)]


def _who(matched: Matched) -> str:
    """Both models, with the beginning of their weights."""
    weights = [str(one.get("weights_sha256", ""))[:12] or "not known" for one in matched.identities]
    if matched.before == matched.after:
        return f"{matched.after}, weights {weights[0]} → {weights[1]}"
    return f"{matched.before} (weights {weights[0]}) → {matched.after} (weights {weights[1]})"


def _nothing_moved(found: Drift) -> str:
    """What was compared and is the same; of what was not compared nothing is said to be."""
    matched, maps = found.matched, sum(len(one.at) for one in found.maps)
    lacking = sum(sum(one.left_out.values()) for one in found.maps)
    numbers = not matched.why or any(one.change.value is not None for one in found.scores)
    words = "Every number that was compared is exactly the same" if numbers else "No number was compared"
    if matched.why:
        words += f" (predictions were not: {matched.why})"
    if not maps:
        return f"{words}; no map was compared."
    none = (
        "the 1 map that was compared did not move" if maps == 1 else f"none of the {maps} maps that were compared moved"
    )
    return f"{words}, and {none}." + (f" {lacking} more could not be compared." if lacking else "")


def _flips(found: Drift) -> Iterator[str]:
    matched = found.matched
    if matched.why:
        yield f"Predictions are not compared: {matched.why}."
        return
    flips, count = matched.flips(), Counter(matched.directions)
    if not flips.mean:
        yield "No picture is called otherwise than before."
        return
    words = {
        "mended": "mended (wrong before, right now)",
        "broken": "broken (right before, wrong now)",
        "still wrong": "wrong in another way",
        "not judged": "not judged (no label that both models know)",
    }
    said = listed([f"{count[one]} {words[one]}" for one in DIRECTIONS if count[one]])
    yield f"{sum(matched.flipped)} of {flips.n} pictures are called otherwise, {_share(flips)}: {said}."
    steps = Counter(zip(*_steps(matched), strict=True)).most_common(MOST)
    if len(steps) > 1 or steps[0][1] > 1:
        yield f"Most frequent: {listed([f'{old} → {new} ({times})' for (old, new), times in steps])}."


def _steps(matched: Matched) -> tuple[list[str], list[str]]:
    """What flipped pictures were called before and after."""
    flipped = matched.rows[matched.flipped]
    return list(flipped[f"predicted{BEFORE}"]), list(flipped["predicted"])


def _numbers(found: Drift) -> Iterator[str]:
    matched, numbers = found.matched, found.numbers
    if matched.why:
        return
    accuracy = numbers["accuracy"]
    if accuracy.value is None:
        sure = f"Mean confidence {_moved(numbers['confidence'])}."
        yield f"Accuracy and calibration are not compared: {accuracy.note}. {sure}"
        return
    unjudged = len(matched.rows) - accuracy.n
    left_out = f" ({unjudged} more without a label that both models know)" if unjudged else ""
    yield (f"Accuracy on {counted(accuracy.n)}{left_out} {_moved(accuracy)}. {_shown(accuracy)}")
    error, over = numbers["calibration_error"], numbers["overconfidence"]
    yield (
        f"Expected calibration error {_moved(error)}. Mean confidence less accuracy {_moved(over)}; above 0 a model is "
        "surer than it is right, below less sure."
    )


def _shown(change: Change) -> str:
    """Whether a test shows that accuracy changed."""
    if change.p is None:
        return "No picture changed between right and wrong."
    words = f"McNemar's exact {p_words(change.p)}"
    if change.p > LEVEL:
        return f"Not shown to have changed: {words}."
    word = "better" if (change.value or 0) > 0 else "worse"
    return f"Shown to be {word} at a level of {PERCENT * LEVEL:.0f} %: {words}, not corrected for other tests."


def _groups(found: Drift) -> Iterator[str]:
    if not found.groups:
        return
    large = [one for one in found.groups if one.change.n >= found.smallest]
    if not large:
        yield f"No group of a column has {counted(found.smallest)} or more, so none is tested."
        return
    tested = [one for one in large if one.change.p_adjusted is not None]
    shown = sorted(
        (one for one in tested if (one.change.p_adjusted or 0) <= LEVEL),
        key=lambda one: -abs(one.change.value or 0),
    )
    head = f"Of {len(large)} group{'s' * (len(large) != 1)} with {counted(found.smallest)} or more, "
    holm = f"Holm's correction over {len(tested)} test{'s' * (len(tested) != 1)}"
    if not tested:
        yield f"{head}none has a picture that changed between right and wrong."
    elif not shown:
        widest = max(large, key=lambda one: (one.change.high or 0) - (one.change.low or 0))
        yield (
            f"{head}none is shown to have another error rate ({holm}). The widest "
            f"95 % interval, of {_group(widest.column, widest.value)}, holds changes of {_span(widest.change)} points "
            f"({counted(widest.change.n)})."
        )
    else:
        count = "all" if len(shown) == len(large) > 1 else str(len(shown))
        yield f"{head}{count} {'is' if len(shown) == 1 else 'are'} shown to have another error rate ({holm})."
    for one in shown[:MOST]:
        yield (
            f"Error rate on {_group(one.column, one.value)}, {counted(one.change.n)}, {_moved(one.change)}; "
            f"{p_words(one.change.p_adjusted or 0)} after correction."
        )
    if len(shown) > MOST:
        yield f"These {MOST} changed most of the {len(shown)}; the table of groups has them all."


def _group(column: str, value: str) -> str:
    return f"{column}: {value}"


def _maps(moved: Moved, matched: Matched) -> str:
    n = len(moved.at)
    left_out = [f"{reason} ({count})" for reason, count in moved.left_out.items()]
    lacking = f" {sum(moved.left_out.values())} not compared: {listed(left_out)}." if left_out else ""
    if not n:
        return f"Maps by {moved.method}: none can be compared.{lacking}"
    means = _means(moved, matched.seed)
    alike, distance, edge = (means[one] for one in ("rank_correlation", "centre_distance", "border_change"))
    words = f"Maps by {moved.method}, {counted(n)}: rank correlation with the earlier ones {_plain_mean(alike)}"
    place, least = _least_alike(moved)[0]
    file = matched.rows["file"].iloc[place]
    farthest = f" Least alike: {file} ({_minus(f'{least.rank_correlation or 0:.2f}')})." if n > 1 else ""
    if distance.mean is None or edge.mean is None:
        return f"{words}. They have no mass to follow: nothing in them speaks for the target.{farthest}{lacking}"
    along = f"{_signed(edge.mean)} points{_between(edge.low, edge.high)}"
    return (
        f"{words}; {_of_those(distance.n, n)}the centre of their mass moved by {_plain_mean(distance, DIAGONAL)}, and "
        f"the share of it along the border changed by {along}.{farthest}{lacking}"
    )


def _means(moved: Moved, seed: int) -> dict[str, Mean]:
    """By the number; where it is one on every picture, resamples know no other, and no interval is shown."""
    means = {name: moved.mean(name, seed) for name in _MAP_NUMBERS}
    return {name: one._replace(low=None, high=None) if one.low == one.high else one for name, one in means.items()}


def _of_those(with_mass: int, n: int) -> str:
    return "" if with_mass == n else f"of the {with_mass} of them that have mass in both runs, "


def _least_alike(moved: Moved) -> list[tuple[int, Shift]]:
    """Lines of the matched rows with their shifts, the least alike first, then what moved farthest."""
    return sorted(
        zip(moved.at, moved.shifts, strict=True),
        key=lambda one: (one[1].rank_correlation or 0.0, -(one[1].centre_distance or 0.0)),
    )


def _scores(found: Drift) -> Iterator[str]:
    for one in found.scores:
        if one.metric == MASS_ACCURACY and one.change.value is not None:
            yield (
                f"Share of the mass of {one.method} inside the mask, {counted(one.change.n)} with one, "
                f"{_moved(one.change)}."
            )
    others = [one for one in found.scores if one.metric != MASS_ACCURACY and one.change.value is not None]
    if not others:
        return
    bare = sum(one.change.low is None for one in others)
    without = f"; {bare} {'has' if bare == 1 else 'have'} no interval" if bare else ""
    clear = [one for one in others if (one.change.low or 0) > 0 or (one.change.high or 0) < 0]
    names = f": {listed([_of(one) for one in clear], MOST)}" if clear else ""
    yield (
        f"Of {len(others)} other mean{'s' * (len(others) != 1)} of a metric, the interval of {len(clear)} "
        f"excludes no change{names}{without}."
    )


def _of(one: Scored) -> str:
    return f"{one.metric} by {one.method} ({number(one.change.before or 0)} → {number(one.change.after or 0)})"


def limits(found: Drift) -> list[str]:
    """What cannot be compared or must be known to read the numbers, of one pair of models."""
    return [*_of_pictures(found.matched), *_of_models(found.matched), *_of_runs(found)]


def _of_pictures(matched: Matched) -> Iterator[str]:
    if matched.only_before or matched.only_after:
        yield (
            f"{counted(matched.only_before)} of the earlier run and {matched.only_after} of the later one are in that "
            "run alone, and in no number."
        )
    if matched.namesakes:
        one = matched.namesakes == 1
        yield (
            f"{matched.namesakes} file{' has' if one else 's have'} one name in both runs and other bytes: another "
            f"picture, which is not matched."
        )
    if matched.copies:
        one = matched.copies == 1
        yield f"{matched.copies} file{' is a copy' if one else 's are copies'} of another: each picture counts once."
    if relabelled := int(matched.relabelled.sum()):
        yield (
            f"{counted(relabelled)} {'has' if relabelled == 1 else 'have'} another label in the earlier run: both "
            "models are judged by the later one."
        )


def _of_models(matched: Matched) -> Iterator[str]:
    before, after = matched.identities
    if before.get("task") != after.get("task"):
        yield f"The outputs mean other things: {before.get('task')} before, {after.get('task')} after."
    old, new = matched.earlier.labels(matched.before), matched.later.labels(matched.after)
    gone, come = ([one for one in some if one not in other] for some, other in ((old, new), (new, old)))
    for names, word in ((gone, "earlier"), (come, "later")):
        if names:
            yield (
                f"Only the {word} model has the class{'es' * (len(names) > 1)} {listed(names, MOST)}: pictures of "
                f"{'them' if len(names) > 1 else 'it'} are not judged, and a class that was renamed counts as a flip."
            )
    if before.get("preprocessing_sha256") != after.get("preprocessing_sha256"):
        same = " The weights are the same, so the change comes from there." if _same_weights(before, after) else ""
        yield (
            "Pictures are prepared otherwise (size, crop or normalisation): a change may come from that and not from "
            f"the weights. Maps are compared only where both cover the same part in the same pixels.{same}"
        )
    for key, word in (("device", "device"), ("dtype", "precision")):
        if before.get(key) != after.get(key):
            yield f"Another {word}: {before.get(key)} before, {after.get(key)} after. Small changes may come from that."
    for one in (before, after):
        if notice := one.get("notice"):
            yield f"{one.get('name')}: {notice}"
            if before.get("notice") == after.get("notice"):
                return


def _same_weights(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    return before.get("weights_sha256") == after.get("weights_sha256")


def _of_runs(found: Drift) -> Iterator[str]:
    earlier, later = found.matched.runs
    rules = [str(run.facts["target"]) for run in (earlier, later)]
    if rules[0] != rules[1]:
        yield (
            f"Maps explain another class by rule ({rules[0]} before, {rules[1]} after): compared where it is the same."
        )
    elif rules[0] == "predicted" and not found.matched.why and found.matched.flipped.any() and found.maps:
        yield (
            "Maps explain the predicted class, so those of pictures that are called otherwise are not compared. Audit "
            "both with --target true to compare them too."
        )
    _, why = methods_of(found.matched)
    yield from (f"The method {name} {reason}: not compared." for name, reason in why.items())
    if earlier.facts["seed"] != later.facts["seed"]:
        yield (
            f"Seeds differ ({earlier.facts['seed']} and {later.facts['seed']}): maps of methods that draw at random "
            "differ by that too."
        )
    if earlier.facts.get("background") != later.facts.get("background"):
        yield "The background pictures differ: maps of methods that compare with them differ by that too."
    made = [run.facts.get("made_by") or {} for run in (earlier, later)]
    if others := sorted(name for name in made[0].keys() | made[1].keys() if made[0].get(name) != made[1].get(name)):
        yield f"Other versions of {listed(others, MOST)}: small changes may come from that."
    masked = any(one.metric == MASS_ACCURACY for one in found.scores)
    if not masked and found.maps:
        yield (
            "The share of the mass inside a mask is not compared. Where the set has masks, audit both runs with "
            f"--metrics {MASS_ACCURACY}."
        )
    elif masked and earlier.facts.get("data_sha256") != later.facts.get("data_sha256"):
        yield "The sets differ, and with them perhaps the masks: a run does not keep them."


def _share(found: Mean) -> str:
    return f"{PERCENT * (found.mean or 0):.1f} %{_percent_between(found.low, found.high)}"


def _percent_between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({PERCENT * low:.1f} to {PERCENT * high:.1f} %)"


def _moved(change: Change) -> str:
    """A share before and after, its change in points, and the interval of that."""
    before, after = (_minus(f"{PERCENT * (one or 0):.1f} %") for one in (change.before, change.after))
    if not change.value:
        return f"stayed at {after}" + (
            f" (95 % interval of the change {_span(change)} points)" if change.low != change.high else ""
        )
    word = "rose" if change.value > 0 else "fell"
    interval = "" if change.low is None else f", 95 % interval {_span(change)}"
    return f"{word} from {before} to {after} ({_signed(PERCENT * change.value)} points{interval})"


def _span(change: Change) -> str:
    low, high = (PERCENT * (one or 0) for one in (change.low, change.high))
    return f"{_signed(low)} to {_signed(high)}"


def _plain_mean(found: Mean, unit: str = "") -> str:
    interval = "" if found.low is None or found.high is None else f" ({found.low:.2f} to {found.high:.2f})"
    return f"{_minus(f'{found.mean or 0:.2f}')}{unit}{_minus(interval)}"


def _between(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f" ({_signed(low)} to {_signed(high)})"


def _signed(value: float) -> str:
    shown = f"{value:+.1f}"
    return "0" if float(shown) == 0 else _minus(shown)


def _minus(text: str) -> str:
    return text.replace("-", "\N{MINUS SIGN}")


# ---- tables ----------------------------------------------------------------------------------------------------------

MODELS = {"before": "Earlier model", "after": "Later model"}


def tables(found: Sequence[Drift]) -> dict[str, Table]:
    """Every number of all pairs of models, by the name of its file."""

    def table(title: str, words: Mapping[str, str], lines: Any) -> Table:
        rows = [{**_pair(one.matched), **line} for one in found for line in lines(one)]
        return Table.of(title, {**MODELS, **words}, rows)

    changed = {
        "old": "Before",
        "new": "After",
        **with_interval("change", "Change"),
        "p": "p",
        "n": "Pictures",
        "note": "Note",
    }
    by_group = {**changed, "old": "Error rate before (%)", "new": "Error rate after (%)"}
    by_group |= with_interval("change", "Change (points)")
    return {
        "numbers": table("Numbers", {"number": "Number", "unit": "Unit", **changed}, _number_lines),
        "flips": table(
            "Pictures that are called otherwise",
            {
                "file": "File", "picture": "SHA-256", "label": "True class", "old": "Called before",
                "new": "Called now", "direction": "Direction", "old_confidence": "Confidence before (%)",
                "new_confidence": "Confidence now (%)",
            },
            _flip_lines,
        ),
        "groups": table(
            "Error rates of groups",
            {"column": "Column", "group": "Group", **by_group, "p_adjusted": "p, Holm's correction"},
            _group_lines,
        ),
        "maps": table(
            "How far maps moved",
            {
                "method": "Method",
                **with_interval("rank_correlation", "Rank correlation"),
                **with_interval("top_overlap", "Overlap of the highest tenth"),
                **with_interval("centre_distance", "Centre of mass moved (% of the diagonal)"),
                **with_interval("border_change", "Change of the border's share (points)"),
                "n": "Pictures",
                "with_mass": "Pictures with mass",
                "left_out": "Not compared",
                "note": "Why",
            },
            _map_lines,
        ),
        "scores": table(
            "Metrics of maps", {"method": "Method", "metric": "Metric", "better": "Better", **changed}, _score_lines
        ),
        "moved": table(
            "Maps by how little they are alike",
            {
                "method": "Method", "file": "File", "picture": "SHA-256", "predicted": "Predicted now",
                "rank_correlation": "Rank correlation", "top_overlap": "Overlap of the highest tenth",
                "centre_distance": "Centre of mass moved (% of the diagonal)",
                "border_change": "Change of the border's share (points)",
            },
            _picture_lines,
        ),
    }  # fmt: skip


def _pair(matched: Matched) -> dict[str, str]:
    return {"before": matched.before, "after": matched.after}


def _changed(change: Change, times: float = 1.0) -> dict[str, Any]:
    ends = [None if one is None else times * one for one in (change.before, change.after)]
    return {
        "old": ends[0],
        "new": ends[1],
        **cells("change", (change.value, change.low, change.high), times),
        "p": change.p,
        "p_adjusted": change.p_adjusted,
        "n": change.n,
        "note": change.note,
    }


def _number_lines(found: Drift) -> Iterator[dict[str, Any]]:
    for name, change in found.numbers.items():
        rate = name != "loss"
        yield {"number": WORDS[name], "unit": "%" if rate else "nats", **_changed(change, PERCENT if rate else 1.0)}


def _flip_lines(found: Drift) -> Iterator[dict[str, Any]]:
    """The broken ones first."""
    matched = found.matched
    if matched.why:
        return
    lines = [
        (direction, row)
        for direction, (_, row) in zip(matched.directions, matched.rows.iterrows(), strict=True)
        if direction is not None
    ]
    for direction, row in sorted(lines, key=lambda one: DIRECTIONS.index(one[0])):
        yield {
            "file": row["file"],
            "picture": row["picture"],
            "label": row["label"] if isinstance(row["label"], str) else None,
            "old": row[f"predicted{BEFORE}"],
            "new": row["predicted"],
            "direction": direction,
            "old_confidence": in_percent(row[f"confidence{BEFORE}"]),
            "new_confidence": in_percent(row["confidence"]),
        }


def _group_lines(found: Drift) -> Iterator[dict[str, Any]]:
    yield from ({"column": one.column, "group": one.value, **_changed(one.change, PERCENT)} for one in found.groups)


def _map_lines(found: Drift) -> Iterator[dict[str, Any]]:
    for one in found.maps:
        means = _means(one, found.matched.seed)
        yield {
            "method": one.method,
            **{key: value for name, mean in means.items() for key, value in cells(name, mean[:3]).items()},
            "n": len(one.at),
            "with_mass": means["centre_distance"].n,
            "left_out": sum(one.left_out.values()),
            "note": ", ".join(f"{why} ({count})" for why, count in one.left_out.items()),
        }


_MAP_NUMBERS = ("rank_correlation", "top_overlap", "centre_distance", "border_change")


def _score_lines(found: Drift) -> Iterator[dict[str, Any]]:
    for one in found.scores:
        yield {"method": one.method, "metric": one.metric, "better": one.better, **_changed(one.change)}


def _picture_lines(found: Drift) -> Iterator[dict[str, Any]]:
    """By method, the least alike first; among equals the one whose mass moved farthest."""
    for moved in found.maps:
        for place, shift in _least_alike(moved):
            row = found.matched.rows.iloc[place]
            yield {
                "method": moved.method,
                "file": row["file"],
                "picture": row["picture"],
                "predicted": row["predicted"],
                **{name: getattr(shift, name) for name in _MAP_NUMBERS},
            }


# ---- files -----------------------------------------------------------------------------------------------------------


def files(found: Sequence[Drift]) -> dict[str, bytes]:
    """Name and content of every file of a comparison; the page first."""
    all_tables = tables(found)
    csv = {f"{name}.csv": csv_text(one.lines(), tuple(one.words)).encode() for name, one in all_tables.items()}
    return {"drift.md": page(found).encode(), "drift.json": _json(found, all_tables).encode(), **csv}


def _json(found: Sequence[Drift], all_tables: Mapping[str, Table]) -> str:
    earlier, later = found[0].matched.runs
    said = {
        "earlier": _run_facts(earlier),
        "later": _run_facts(later),
        "smallest_group": found[0].smallest,
        "bootstrap_seed": found[0].matched.seed,
        "models": [
            {
                **_pair(one.matched),
                "same_weights": _same_weights(*one.matched.identities),
                "weights_sha256": [identity.get("weights_sha256") for identity in one.matched.identities],
                "pictures": len(one.matched.rows),
                "only_before": one.matched.only_before,
                "only_after": one.matched.only_after,
                "sentences": sentences(one),
                "limits": limits(one),
            }
            for one in found
        ],
        "tables": {
            name: {"title": one.title, "words": [*one.words.items()], "rows": one.rows}
            for name, one in all_tables.items()
        },
    }
    return json.dumps(said, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _run_facts(run: Run) -> dict[str, Any]:
    kept = ("started", "ended", "data_sha256", "store_sha256", "target", "seed")
    return {"folder": run.folder.resolve().name, **{key: run.facts.get(key) for key in kept}}


def page(found: Sequence[Drift]) -> str:
    """The comparison as Markdown: sentences, what cannot be compared, tables."""
    return "\n".join(_page(found)) + "\n"


def _page(found: Sequence[Drift]) -> Iterator[str]:
    earlier, later = found[0].matched.runs
    yield f"# Drift from {safe(earlier.folder.resolve().name)} to {safe(later.folder.resolve().name)}"
    ended = [safe(run.facts.get("ended", "")) for run in (earlier, later)]
    yield f"\nThe earlier run ended {ended[0]}, the later one {ended[1]}."
    for one in found:
        yield f"\n## {safe(one.matched.name)}\n"
        yield from (f"- {safe(sentence)}" for sentence in sentences(one))
        if said := limits(one):
            yield "\nWhat cannot be compared, or must be known:\n"
            yield from (f"- {safe(sentence)}" for sentence in said)
    for name, table in tables(found).items():
        if table.rows:
            yield f"\n## {safe(table.title)}\n"
            yield from _markdown(table, hidden=() if len(found) > 1 else tuple(MODELS))
            if len(table.rows) > LINES:
                yield f"\nThe first {LINES} of {len(table.rows)}: `{name}.csv` has them all."
    yield "\n## What these numbers do not say\n"
    yield from (f"- {sentence}" for sentence in NOT_SAID)
    yield "\n## To hold it against limits\n"
    yield "```\npython -m xai_core gate LATER --policy POLICY --against EARLIER\n```\n"
    yield "`assets/gate.toml` lists the numbers of drift that a policy may name."


def _markdown(table: Table, hidden: Sequence[str]) -> Iterator[str]:
    """Its first lines, without columns that are `hidden` or empty in all of them; an interval stands by its number.

    Of a sha256 there is the beginning.
    """
    lines = table.lines()[:LINES]
    ends = {f"{column}{end}" for column in table.words for end in ("_low", "_high")}
    kept = [one for one in table.words if one not in ends and one not in hidden]
    kept = [one for one in kept if any(line[one] not in (None, "") for line in lines)]
    yield f"| {' | '.join(table.words[one] for one in kept)} |"
    yield f"|{'---|' * len(kept)}"
    yield from (f"| {' | '.join(safe(_cell(line, one)) for one in kept)} |" for line in lines)


def _cell(line: Mapping[str, Any], column: str) -> str:
    value, low, high = line[column], line.get(f"{column}_low"), line.get(f"{column}_high")
    if column == "picture":
        return str(value)[:12]
    if not isinstance(value, float):
        return "" if value is None else str(value)
    return number(value) if low is None or high is None else f"{number(value)} ({number(low)} to {number(high)})"


def said(found: Iterable[Drift]) -> Iterator[str]:
    """The sentences on lines for a terminal."""
    for place, one in enumerate(found):
        yield from [""] * bool(place)
        yield from (f"Found       {sentence}" for sentence in sentences(one))
        yield from (f"Note        {sentence}" for sentence in limits(one))
