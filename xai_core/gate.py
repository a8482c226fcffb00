"""Whether a finished run is good enough: thresholds on its numbers, judged row by row.

    rows = judge(run, read_policy("gate.toml"), earlier=open_run("before/"))
    passed(rows)        False also where a rule could not be judged at all: what says nothing must not let through

A policy is a TOML file of [[rule]] tables: a number of NUMBERS, what it must reach, and whom it is asked of. Against an
earlier run, drift is measured on the pictures that both hold: `flips` is the share of them whose predicted class
changed, `broken` that of those right before and wrong now, `accuracy_change` and `ece_change` are those from before to
now, `maps_kept` is the mean rank correlation of their maps with the earlier ones, 1 where nothing moved, and
`mass_moved` how far the centre of their mass moved, in hundredths of the diagonal.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from xai_core.cases import MASK_OF
from xai_core.classification import Numbers, OfClass, of_maps, of_model, of_pair
from xai_core.drift import NO_GROUP, Matched, methods_of, moved_maps
from xai_core.errors import RecordError, SettingError
from xai_core.paired_statistics import Change
from xai_core.runs import Run
from xai_core.score_summary import safe
from xai_core.score_table import number
from xai_core.seal import shown
from xai_core.statistics import Mean, mean_of, share_of

if TYPE_CHECKING:
    import pandas as pd

CONTROL = "the method is a control, which knows nothing of a model"
METRIC = "metric:"  # before the name of a metric, whose mean is then meant
Result = Literal["pass", "fail", "not judged", "undefined"]


@dataclass(frozen=True)
class Rule:
    """A threshold. What is left out of `model`, `other` or `earlier_model` is asked of every one there is.

    `at_least` and `at_most` are the limits, that are still good; `on` says whether the value or the worse end of its
    interval is held against them. `group` asks for each value of a column of the set, and pictures of groups smaller
    than `min_n` are too few to judge by.
    """

    number: str
    model: str = ""
    other: str = ""
    earlier_model: str = ""
    method: str = ""
    of: str = ""
    group: str = ""
    min_n: int = 0
    at_least: float | None = None
    at_most: float | None = None
    on: Literal["value", "interval"] = "value"
    why: str = ""

    def __str__(self) -> str:
        """The number with what it is of."""
        named = [self.number, f"of {self.of}" if self.of else "", f"by {self.method}" if self.method else ""]
        return " ".join(filter(None, named))

    @property
    def limit(self) -> str:
        """The threshold in words."""
        ends = [("at least", self.at_least), ("at most", self.at_most)]
        words = " and ".join(f"{word} {number(end)}" for word, end in ends if end is not None)
        return f"{words} (interval)" if self.on == "interval" else words


@dataclass(frozen=True)
class Row:
    """A rule judged of one model, or of two, and of one group. `reason` says why a result is neither pass nor fail."""

    rule: Rule
    model: str
    group: str
    measured: Mean
    result: Result
    reason: str = ""

    @property
    def value(self) -> str:
        """The number as people read it, with its interval."""
        mean, low, high, *_ = self.measured
        if mean is None:
            return "undefined"
        return number(mean) if low is None or high is None else f"{number(mean)} ({number(low)} to {number(high)})"


class Asked(NamedTuple):
    """What a number is asked of: a model, those `rows` of its predictions, and whom it is compared with.

    `known` keeps the numbers of one model and group for the other rules.
    """

    run: Run
    rule: Rule
    model: str
    group: str
    rows: pd.DataFrame
    other_run: Run
    other: str
    known: dict[tuple[str, str], Numbers]


class Number(NamedTuple):
    """A number that a rule may name: how it is had, the keys that it `needs`, and whom it compares a model with.

    Of some the keys `without` say nothing: of pictures that are in no table it is not known to which group they belong.
    """

    measure: Callable[[Asked], Mean]
    needs: tuple[str, ...] = ()
    beside: Literal["", "another model", "an earlier run"] = ""
    without: tuple[str, ...] = ()


# ---- the numbers -----------------------------------------------------------------------------------------------------


def _numbers(asked: Asked) -> Numbers:
    key = asked.model, asked.group
    if key not in asked.known:
        asked.known[key] = of_model(asked.run, asked.model, asked.rows)
    return asked.known[key]


def _of_class(field: str) -> Callable[[Asked], Mean]:
    def measure(asked: Asked) -> Mean:
        found = _numbers(asked)
        own = next((one for one in found.classes if one.label == asked.rule.of), None)
        if own is None:
            return Mean(None, None, None, 0, found.why or "no picture is of it, and none is taken for it")
        return _f1(own) if field == "f1" else getattr(own, field)

    return measure


def _f1(own: OfClass) -> Mean:
    return Mean(own.f1, None, None, own.support, "F1 has no interval here")


def _ece(asked: Asked) -> Mean:
    found = _numbers(asked)
    return Mean(None, None, None, 0, found.why) if found.calibration is None else found.calibration.error


def _no_evidence(asked: Asked) -> Mean:
    weighed = _by_method(asked, asked.run.evidence)["verdict"]
    if asked.run.facts.get("weigh") != "all":
        return Mean(None, None, None, len(weighed), "not all maps were weighed; audit with --weigh all")
    found = share_of((weighed == "no evidence").to_numpy(bool))
    return found if len(weighed) else found._replace(note="no map was weighed")


def _metric(asked: Asked) -> Mean:
    scores = _by_method(asked, asked.run.metrics)
    values = scores.loc[scores["metric"] == asked.rule.number.removeprefix(METRIC), "value"].dropna()
    return mean_of(values.to_numpy(np.float64), _seed(asked))


def _by_method(asked: Asked, table: pd.DataFrame) -> pd.DataFrame:
    """The rows of a table by the model and the method, of the pictures that are asked about."""
    own = table[(table["model"] == asked.model) & (table["method"] == asked.rule.method)]
    return own[own["file"].isin(asked.rows["file"])]


def _agreement(asked: Asked) -> Mean:
    return of_pair(asked.run, asked.model, asked.other, asked.rows).agreement


def _alike(asked: Asked) -> Mean:
    found = of_maps(asked.run, asked.model, asked.other, [asked.rule.method], asked.rows)
    if not found:
        return Mean(None, None, None, 0, CONTROL)
    [by_method] = found
    left_out = ", ".join(f"{reason} on {count}" for reason, count in by_method.left_out.items())
    return by_method.correlation._replace(note=left_out) if left_out else by_method.correlation


def _matched(asked: Asked) -> Matched:
    return Matched.of(asked.other_run, asked.other, asked.run, asked.model, asked.rows)


def _of_change(change: Change) -> Mean:
    return Mean(change.value, change.low, change.high, change.n, change.note if change.low is None else "")


def _moved(number: str) -> Callable[[Asked], Mean]:
    """Of the maps of a method: one of map_shift.NUMBERS."""

    def measure(asked: Asked) -> Mean:
        matched, method = _matched(asked), asked.rule.method
        kept, why = methods_of(matched)
        if method not in kept:
            return Mean(None, None, None, 0, f"the method {why[method]}" if method in why else CONTROL)
        return moved_maps(matched, method).mean(number, matched.seed)

    return measure


def _refused(asked: Asked) -> Mean:
    refused = len(_refused_pictures(asked.run))
    return _share(refused, None if (read := _read(asked.run)) is None else refused + read)


def _lost(asked: Asked) -> Mean:
    """Without an answer, or quarantined on the way to its maps; a picture that is there twice is lost twice."""
    read, rows = _read(asked.run), asked.rows
    files = [file for file, model, _ in asked.run.facts.get("quarantined", ()) if model == asked.model]
    whole = len(rows) - int(rows["picture"].isin(rows.loc[rows["file"].isin(files), "picture"]).sum())
    return _share(0 if read is None else read - whole, read)


def _share(count: int, of: int | None) -> Mean:
    if of is None:
        return Mean(None, None, None, 0, "the run does not say how many pictures were read")
    return share_of(np.arange(of) < count)


def _read(run: Run) -> int | None:
    """How many pictures of the set could be read, whatever became of them."""
    count = (run.facts.get("progress") or {}).get("pictures")
    return count if isinstance(count, int) else None


def _refused_pictures(run: Run) -> list[str]:
    """The files that could not be read but masks, whose pictures are in the numbers."""
    return [file for file, why in run.facts.get("refused", ()) if not why.startswith(MASK_OF)]


def _seed(asked: Asked) -> int:
    return int(asked.run.facts["seed"])


NUMBERS: Mapping[str, Number] = {
    "accuracy": Number(lambda asked: _numbers(asked).accuracy),
    "balanced_accuracy": Number(lambda asked: _numbers(asked).balanced_accuracy),
    "loss": Number(lambda asked: _numbers(asked).loss),
    "ece": Number(_ece),
    "precision": Number(_of_class("precision"), ("of",)),
    "recall": Number(_of_class("recall"), ("of",)),
    "f1": Number(_of_class("f1"), ("of",)),
    "share_no_evidence": Number(_no_evidence, ("method",)),
    "agreement": Number(_agreement, (), "another model"),
    "map_agreement": Number(_alike, ("method",), "another model"),
    "share_refused": Number(_refused, without=("model", "group")),
    "share_lost": Number(_lost, without=("group",)),
    "flips": Number(lambda asked: _matched(asked).flips(), (), "an earlier run"),
    "broken": Number(lambda asked: _matched(asked).broken(), (), "an earlier run"),
    "accuracy_change": Number(lambda asked: _of_change(_matched(asked).accuracy()), (), "an earlier run"),
    "ece_change": Number(lambda asked: _of_change(_matched(asked).calibration_error()), (), "an earlier run"),
    "maps_kept": Number(_moved("rank_correlation"), ("method",), "an earlier run"),
    "mass_moved": Number(_moved("centre_distance"), ("method",), "an earlier run"),
}
_MEAN_OF_METRIC = Number(_metric, ("method",))


def _number(rule: Rule) -> Number:
    return _MEAN_OF_METRIC if rule.number.startswith(METRIC) else NUMBERS[rule.number]


# ---- the policy ------------------------------------------------------------------------------------------------------


def read_policy(file: str | Path) -> tuple[Rule, ...]:
    """The rules of a policy. Raises SettingError for a file that is none, or a rule that cannot be meant."""
    path = Path(file)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SettingError(f"The policy {shown(path.name)} cannot be read: {error.strerror}.") from error
    return parse_policy(content, path.name)


def parse_policy(content: bytes, name: str = "policy") -> tuple[Rule, ...]:
    """The rules of a policy, from its bytes. As `read_policy`."""
    try:
        written = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise SettingError(f"The policy {shown(name)} is no TOML in UTF-8: {shown(str(error))}.") from error
    if strangers := sorted(set(written) - {"rule"}):
        raise SettingError(
            f"The policy has an entry {shown(strangers[0])!r}. It holds [[rule]] tables and nothing else."
        )
    rules = written.get("rule", [])
    if not isinstance(rules, list) or not rules or not all(isinstance(one, dict) for one in rules):
        raise SettingError(f"The policy {shown(name)} has no rules. Write each as a [[rule]] table.")
    return tuple(_rule(place, one) for place, one in enumerate(rules, 1))


def _rule(place: int, written: Mapping[str, Any]) -> Rule:
    known = [field.name for field in dataclasses.fields(Rule)]
    for key, value in written.items():
        if key not in known:
            raise SettingError(f"Rule {place} has an entry {shown(key)!r}. There are {', '.join(known)}.")
        if wanted := _wanted(key, value):
            raise SettingError(f"Rule {place} has {key} = {shown(repr(value))}. It must be {wanted}.")
    if "number" not in written:
        raise SettingError(f"Rule {place} names no number. There are {_choices()}.")
    rule = Rule(**written)
    if rule.number not in NUMBERS and not rule.number.startswith(METRIC):
        raise SettingError(f"Rule {place} asks for {shown(rule.number)!r}, which is no number. There are {_choices()}.")
    if rule.at_least is None and rule.at_most is None:
        raise SettingError(f"Rule {place}, {rule}, has no limit. Give it at_least or at_most.")
    asked = _number(rule)
    takes = {*asked.needs, *{"another model": {"other"}, "an earlier run": {"earlier_model"}}.get(asked.beside, set())}
    for key in ("of", "method", "other", "earlier_model"):
        if key in asked.needs and not getattr(rule, key):
            word = {"of": "class", "method": "method"}[key]
            raise SettingError(f'Rule {place}, {rule}, names no {word}. Give it {key} = "…".')
        if getattr(rule, key) and key not in takes:
            raise _idle(place, rule, key)
    for key in asked.without:
        if getattr(rule, key):
            raise _idle(place, rule, key)
    return rule


def _idle(place: int, rule: Rule, key: str) -> SettingError:
    return SettingError(f"Rule {place}, {rule}, has an entry {key!r}, which says nothing of {rule.number}.")


def _wanted(key: str, value: Any) -> str:
    """What the entry of a rule must be, where `value` is something else."""
    if key == "on":
        return "" if value in ("value", "interval") else "value or interval"
    if key == "min_n":
        return "" if type(value) is int and value >= 0 else "a whole number from 0"
    if key in ("at_least", "at_most"):
        return "" if type(value) in (int, float) and math.isfinite(value) else "a number"
    return "" if isinstance(value, str) else "text"


def _choices() -> str:
    return f"{', '.join(NUMBERS)} and {METRIC}<name>"


# ---- judging ---------------------------------------------------------------------------------------------------------


def judge(run: Run, rules: Sequence[Rule], earlier: Run | None = None, models: Sequence[str] = ()) -> tuple[Row, ...]:
    """Every rule, of every model that it is asked of (`models`: of these alone), and of every group.

    Raises RecordError for a run that is not finished, and SettingError for a name that it lacks.
    """
    for one in filter(None, (run, earlier)):
        if (status := one.facts["status"]) != "done":
            raise RecordError(
                f"{shown(one.folder.name)} is {shown(status)}, and a gate judges finished runs. Run the audit again: "
                "it goes on from there."
            )
    for model in models:
        _known(model, run.models, "model", "--model")
    asked = models or run.models
    for place, rule in enumerate(rules, 1):
        _check(f"Rule {place}, {rule},", rule, run, earlier, asked)
    known: dict[tuple[str, str], Numbers] = {}
    return tuple(row for rule in rules for row in _judged(rule, run, earlier, asked, known))


def passed(rules: Sequence[Rule], rows: Sequence[Row]) -> bool:
    """Whether no row failed or is undefined, and every rule could be judged somewhere."""
    results = {rule: {row.result for row in rows if row.rule == rule} for rule in rules}
    return all(found <= {"pass", "not judged"} and "pass" in found for found in results.values())


def _judged(
    rule: Rule, run: Run, earlier: Run | None, models: Sequence[str], known: dict[tuple[str, str], Numbers]
) -> Iterator[Row]:
    number = _number(rule)
    once = models[:1] if "model" in number.without else models
    for model in once if not rule.model else [model for model in models if model == rule.model]:
        own = run.predictions[run.predictions["model"] == model]
        for other_run, other in _beside(rule, run, model, earlier, models):
            name = model if other == model else f"{model} and {'earlier ' if other_run is earlier else ''}{other}"
            for group, rows in _groups(rule, own):
                found = number.measure(Asked(run, rule, model, group, rows, other_run, other, known))
                if number.without:  # of the whole set, also of pictures that have no row
                    yield _row(rule, "" if "model" in number.without else name, group, found, found.n)
                else:
                    yield _row(rule, name, group, found, len(rows))


def _row(rule: Rule, model: str, group: str, found: Mean, pictures: int) -> Row:
    """`pictures` there are in the group, of which `found.n` have the number."""
    if (there := found.n if rule.of else pictures) < rule.min_n:
        return Row(rule, model, group, found, "not judged", f"{_pictures(there)}, fewer than {rule.min_n}")
    if found.mean is None:
        return Row(rule, model, group, found, "undefined", found.note)
    if found.n < rule.min_n:
        return Row(rule, model, group, found, "undefined", f"only {found.n} of {_pictures(pictures)} have it")
    low, high = (found.low, found.high) if rule.on == "interval" else (found.mean, found.mean)
    if low is None or high is None:
        return Row(rule, model, group, found, "undefined", f"no interval: {found.note}")
    good = (rule.at_least is None or low >= rule.at_least) and (rule.at_most is None or high <= rule.at_most)
    return Row(rule, model, group, found, "pass" if good else "fail", found.note)


def _groups(rule: Rule, rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The values of the group column with their rows, by name; all of them where no column is asked for."""
    if not rule.group:
        yield "", rows
        return
    column = rows[f"group.{rule.group}"].fillna("").astype(str).replace("", NO_GROUP)
    for value in sorted(column.unique()):
        yield f"{rule.group}: {value}", rows[column == value]


def _beside(rule: Rule, run: Run, model: str, earlier: Run | None, models: Sequence[str]) -> Iterator[tuple[Run, str]]:
    """Whom the model is compared with: itself where a number compares nobody, and nobody twice."""
    beside = _number(rule).beside
    if beside == "another model":
        done = () if rule.model or rule.other else models[: models.index(model)]
        others = [rule.other] if rule.other else [other for other in run.models if other not in done]
        yield from ((run, other) for other in others if other != model)
    elif earlier is not None and beside:
        yield earlier, _earlier_model(rule, model, earlier)
    else:
        yield run, model


def _earlier_model(rule: Rule, model: str, earlier: Run) -> str:
    """The model of the earlier run that `model` is held against: the named one, that of its name, or the only one."""
    return rule.earlier_model or (earlier.models[0] if len(earlier.models) == 1 else model)


def _check(where: str, rule: Rule, run: Run, earlier: Run | None, models: Sequence[str]) -> None:
    """Raise SettingError for a name that the run lacks: a slip of the pen must not pass."""
    asked, labels = _number(rule), {label for model in run.models for label in run.labels(model)}
    columns = [str(name) for name in run.predictions.columns]
    for kind, name, names in (
        ("model", rule.model, run.models),
        ("model", rule.other, run.models),
        ("method", rule.method, run.methods),
        ("metric", rule.number.removeprefix(METRIC) if asked is _MEAN_OF_METRIC else "",
         [str(one["name"]) for one in run.facts["metrics"]]),
        ("group", rule.group, [one.removeprefix("group.") for one in columns if one.startswith("group.")]),
        ("class", rule.of, sorted({*labels, *run.predictions["label"].dropna()})),
    ):  # fmt: skip
        if name:
            _known(name, names, kind, where)
    if asked.beside == "another model" and (len(run.models) < 2 or (rule.model and rule.model == rule.other)):
        raise SettingError(f"{where} compares two models, and here is one. Name two of a run that has more.")
    if asked.beside == "an earlier run":
        if earlier is None:
            raise SettingError(f"{where} is held against an earlier run, and there is none. Give one with --against.")
        for model in [rule.model] if rule.model else models:
            if (name := _earlier_model(rule, model, earlier)) not in earlier.models:
                raise SettingError(
                    f"{where} finds no model {shown(name)!r} in the earlier run. Name one of "
                    f"{', '.join(earlier.models)} as earlier_model."
                )


def _known(name: str, names: Sequence[str], kind: str, where: str) -> None:
    if name not in names:
        choices = ", ".join(map(shown, names)) or "none"
        raise SettingError(f"{where} names a {kind} that the run does not have, {shown(name)!r}. It has {choices}.")


# ---- what is said of it ----------------------------------------------------------------------------------------------

HEADS = ("result", "number", "model", "group", "value", "n", "limit", "why")


def said(rules: Sequence[Rule], rows: Sequence[Row]) -> Iterator[str]:
    """The verdict on lines for a terminal: a table, what could not be judged, and the sum of it."""
    cells = [HEADS, *((*_cells(row)[:-1], row.reason if row.result == "pass" else _cells(row)[-1]) for row in rows)]
    wide = [max(len(line[column]) for line in cells) for column in range(len(HEADS))]
    kept = [column for column in range(len(HEADS)) if any(line[column] for line in cells[1:])]
    for line in cells:
        yield "  ".join(f"{line[column]:<{wide[column]}}" for column in kept).rstrip()
    yield from _unjudged(rules, rows)
    yield verdict(rules, rows)


def verdict(rules: Sequence[Rule], rows: Sequence[Row]) -> str:
    """Whether the run passes, and how many rows did what."""
    counts = [f"{count} {result}" for result in ("pass", "fail", "undefined", "not judged")
              if (count := sum(row.result == result for row in rows))]  # fmt: skip
    return f"{'Passed' if passed(rules, rows) else 'Not passed'}: {', '.join(counts) or 'nothing was judged'}."


def _unjudged(rules: Sequence[Rule], rows: Sequence[Row]) -> Iterator[str]:
    for place, rule in enumerate(rules, 1):
        if not any(row.rule == rule and row.result in ("pass", "fail", "undefined") for row in rows):
            yield f"Rule {place}, {rule}, could not be judged of any model or group, so the run does not pass."


def _cells(row: Row) -> tuple[str, ...]:
    rule, why = row.rule, "; ".join(filter(None, [row.reason, row.rule.why]))
    return (row.result, str(rule), row.model, row.group, row.value, str(row.measured.n), rule.limit, why)


def page(run: Run, policy: bytes, rules: Sequence[Rule], rows: Sequence[Row], earlier: Run | None = None) -> str:
    """The verdict as Markdown: what was judged, by which policy, and every row."""
    facts, about = run.facts, [f"Run: {safe(run.folder.resolve().name)}, ended {safe(run.facts.get('ended', ''))}"]
    about += [_described(one) for one in facts["models"]]
    about.append(f"Pictures: sha256 {safe(facts.get('data_sha256', 'not known'))}")
    about.append(f"Policy: sha256 {hashlib.sha256(policy).hexdigest()}")
    if earlier is not None:
        about.append(f"Against: {safe(earlier.folder.resolve().name)}, ended {safe(earlier.facts.get('ended', ''))}")
        about += [_described(one, "Earlier model") for one in earlier.facts["models"]]
    about += missing(run)
    lines = ["# Gate", "", f"**{verdict(rules, rows)}**", "", *(f"- {line}" for line in about), ""]
    lines += [f"| {' | '.join(HEADS)} |", f"|{'---|' * len(HEADS)}"]
    lines += [f"| {' | '.join(safe(cell) for cell in _cells(row))} |" for row in rows]
    lines += ["", *(f"{line}\n" for line in _unjudged(rules, rows))]
    lines.append(
        "A value is good at its limit. Intervals are of 95 %. A row is undefined where its number is, and then the run "
        "does not pass; it is not judged where there are fewer pictures than the policy asks for."
    )
    return "\n".join(lines) + "\n"


def missing(run: Run) -> list[str]:
    """How many pictures the numbers lack, in sentences; nothing where they have all."""
    refused, lost = len(_refused_pictures(run)), len({file for file, *_ in run.facts.get("quarantined", ())})
    said = [f"{_pictures(refused)} could not be read: not in any number"] if refused else []
    return said + ([f"{_pictures(lost)} could not be computed in full: not in every number"] if lost else [])


def _pictures(count: int) -> str:
    return f"{count} picture{'' if count == 1 else 's'}"


def _described(model: Mapping[str, Any], word: str = "Model") -> str:
    return f"{word}: {safe(model['name'])}, weights sha256 {safe(model['identity'].get('weights_sha256', ''))}"


def write_page(run: Run, text: str) -> Path:
    """Write gate.md into the run folder, in place of an older one. Raises RecordError where that fails."""
    from xai_core.durable import replace_file

    place = run.folder / "gate.md"
    try:
        replace_file(place, text.encode("utf-8"))
    except OSError as error:
        raise RecordError(f"Cannot write {place.name} into {shown(run.folder.name)}: {error.strerror}.") from error
    return place
