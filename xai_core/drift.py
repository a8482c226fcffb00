"""How far a model drifted: two runs of different weights over the same pictures, held against each other.

    found = drift(open_run("old/"), open_run("new/"))      one Drift for every pair of models

Pictures are matched by the sha256 of their bytes, and each counts once. A change is that of the same pictures, so its
interval is a paired one (`paired_statistics`). What a label or a group is, the later run says. Nothing is computed
anew: what the runs do not hold, drift cannot say.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xai_core.classification import BINS, FLAT, NOT_DEFINED, UNLABELLED, calibration, right_or_wrong, why_apart
from xai_core.errors import RecordError, SettingError
from xai_core.map_shift import Shift, View, Way, shift
from xai_core.paired_statistics import Change, adjusted, mean_change, measured_change, rate_change
from xai_core.runs import Placed, Run
from xai_core.seal import shown
from xai_core.statistics import Mean, mean_of, share_of

if TYPE_CHECKING:
    import pandas as pd

SMALLEST = 10  # pictures of a group that is tested, unless somebody says otherwise
NO_GROUP = "(not given)"
TRUE_CLASS = "true class"  # among the columns of groups
GROUP = "group."
BEFORE = "_before"
NO_MAP = "a run has no map"
WITHOUT_MASS = "a map has no mass"
NOTHING_SHARED = "the runs have no picture in common"
NOT_JUDGED = "no picture is of a class that both models have"
SAME_WEIGHTS = "the weights are the same"
IDENTITY = ("weights_sha256", "preprocessing_sha256", "labels_sha256", "task")
Direction = Literal["mended", "broken", "still wrong", "not judged"]
DIRECTIONS: tuple[Direction, ...] = ("broken", "mended", "still wrong", "not judged")
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Matched:
    """A model of an earlier and one of a later run, over the pictures that both hold.

    `rows` has a line per picture: the columns of the later predictions, and of the earlier ones with BEFORE at their
    end. `only_before` and `only_after` pictures are in one run alone, `namesakes` files have one name and other bytes,
    and `copies` of a picture count no second time.
    """

    earlier: Run
    before: str
    later: Run
    after: str
    rows: pd.DataFrame
    only_before: int = 0
    only_after: int = 0
    namesakes: int = 0
    copies: int = 0

    @classmethod
    def of(cls, earlier: Run, before: str, later: Run, after: str, rows: pd.DataFrame | None = None) -> Matched:
        """`rows` of the later predictions of `after` are the pictures that are asked about, by default all."""
        asked = later.predictions[later.predictions["model"] == after] if rows is None else rows
        past = earlier.predictions[earlier.predictions["model"] == before]
        new, old = asked.drop_duplicates("picture"), past.drop_duplicates("picture")
        kept = old[["picture", "label", "predicted", "confidence", "loss"]]
        named = asked[["file", "picture"]].merge(past[["file", "picture"]], on="file", suffixes=("", BEFORE))
        return cls(
            earlier,
            before,
            later,
            after,
            new.merge(kept, on="picture", suffixes=("", BEFORE)).reset_index(drop=True),
            int((~old["picture"].isin(new["picture"])).sum()),
            int((~new["picture"].isin(old["picture"])).sum()),
            int((named["picture"] != named[f"picture{BEFORE}"]).sum()),
            len(asked) - len(new),
        )

    @property
    def name(self) -> str:
        """The two models in a word."""
        return self.before if self.before == self.after else f"{self.before} → {self.after}"

    @cached_property
    def identities(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """What the runs say of the two models."""
        both = zip(self.runs, (self.before, self.after), strict=True)
        one, other = (_described(run, model)["identity"] for run, model in both)
        return one, other

    @property
    def runs(self) -> tuple[Run, Run]:
        """The earlier and the later one."""
        return self.earlier, self.later

    @property
    def fitted(self) -> list[tuple[str, Mapping[str, Any]]]:
        """The name of either model, and the methods as its run fitted them to it."""
        both = zip(self.runs, (self.before, self.after), strict=True)
        return [(model, _described(run, model).get("fitted", {})) for run, model in both]

    @property
    def same(self) -> bool:
        """Whether the two are one function: of the same weights, input, labels and task."""
        one, other = self.identities
        return all(one.get(key) == other.get(key) for key in IDENTITY) and bool(one.get("weights_sha256"))

    @property
    def seed(self) -> int:
        """That draws resamples."""
        return int(self.later.facts["seed"])

    @property
    def why(self) -> str:
        """Why predictions cannot be compared; empty where they can."""
        for run, model in ((self.earlier, self.before), (self.later, self.after)):
            if not_defined := NOT_DEFINED.get(run.task(model), ""):
                return f"{model}: {not_defined}"
        return "" if len(self.rows) else NOTHING_SHARED

    @cached_property
    def flipped(self) -> np.ndarray:
        """(n,) bool: whether a picture is called otherwise than before."""
        changed: np.ndarray = (self.rows["predicted"] != self.rows[f"predicted{BEFORE}"]).to_numpy(bool)
        return changed

    @cached_property
    def right(self) -> np.ndarray:
        """(n, 2) float64, before and after: 1 where the model is right, 0 where wrong, NaN where nobody can be.

        A picture of a class that one of the two lacks is not judged of either.
        """
        judged = np.array([self._judged(self.earlier, self.before, BEFORE), self._judged(self.later, self.after, "")])
        known: np.ndarray = np.where(np.isnan(judged).any(axis=0), np.nan, judged).T
        return known

    def _judged(self, run: Run, model: str, ending: str) -> list[float]:
        labels, task = run.labels(model), run.task(model)
        pairs = zip(self.labels, self.rows[f"predicted{ending}"], strict=True)
        judged = (right_or_wrong(label, predicted, labels, task) for label, predicted in pairs)
        return [np.nan if one is None else float(one) for one in judged]

    @cached_property
    def labels(self) -> list[str | None]:
        """The true class of every picture, as the later run has it."""
        return _texts(self.rows["label"])

    @cached_property
    def relabelled(self) -> np.ndarray:
        """(n,) bool: whether the earlier run says another true class of a picture, or none."""
        return np.array(
            [a != b for a, b in zip(self.labels, _texts(self.rows[f"label{BEFORE}"]), strict=True)], dtype=bool
        )

    @property
    def known(self) -> np.ndarray:
        """(n,) bool: whether a picture is judged."""
        known: np.ndarray = ~np.isnan(self.right[:, 0])
        return known

    @cached_property
    def directions(self) -> list[Direction | None]:
        """What became of every picture that flipped; None of the others."""
        named: dict[tuple[float, float], Direction] = {(0, 1): "mended", (1, 0): "broken", (0, 0): "still wrong"}
        return [
            named.get((before, after), "not judged") if flipped else None
            for flipped, (before, after) in zip(self.flipped, self.right.tolist(), strict=True)
        ]

    def flips(self) -> Mean:
        """The share of pictures that are called otherwise."""
        return self._share(self.flipped, self.why)

    def broken(self) -> Mean:
        """The share of judged pictures that were right and are wrong. Yan et al., 2021: negative flips.

        https://arxiv.org/abs/2011.09161
        """
        was, now = self.right[self.known].T
        return self._share((was == 1) & (now == 0), self.why or self.why_none)

    def _share(self, true: np.ndarray, why: str) -> Mean:
        if why:
            return Mean(None, None, None, 0, why)
        found = share_of(true)
        return found._replace(low=0.0, high=0.0, note=SAME_WEIGHTS) if self.same and not true.any() else found

    @property
    def why_none(self) -> str:
        """Why no picture is judged; empty where one is."""
        if self.known.any():
            return ""
        return NOT_JUDGED if any(label is not None for label in self.labels) else UNLABELLED

    def accuracy(self, some: np.ndarray | None = None) -> Change:
        """Of the share that is right of the judged pictures, or of `some` (n,) bool of them."""
        return self._rate(self.right == 1, some)

    def error_rate(self, some: np.ndarray | None = None) -> Change:
        """Of the share that is wrong, as `accuracy`."""
        return self._rate(self.right == 0, some)

    def _rate(self, true: np.ndarray, some: np.ndarray | None) -> Change:
        if why := self.why or self.why_none:
            return Change(note=why)
        return self.exact(rate_change(*true[self.known if some is None else self.known & some].T))

    def calibration_error(self) -> Change:
        """Of the expected calibration error of the judged pictures, as `calibration_change`."""
        if why := self.why or self.why_none:
            return Change(note=why)
        was, now = self.right[self.known].T
        before, after = self._sure
        return self.exact(calibration_change(before, was == 1, after, now == 1, self.seed))

    def overconfidence(self) -> Change:
        """Of the mean confidence less the share that is right, of the judged pictures: 0 is right as often as sure."""
        if why := self.why or self.why_none:
            return Change(note=why)
        before, after = np.array(self._sure) - self.right[self.known].T
        return self.exact(mean_change(before, after, self.seed))

    @property
    def _sure(self) -> list[np.ndarray]:
        """The confidence before and after, (k,) of the judged pictures."""
        return [_floats(self.rows[f"confidence{ending}"])[self.known] for ending in (BEFORE, "")]

    def confidence(self) -> Change:
        """Of the mean probability of the predicted class, over all pictures."""
        if self.why:
            return Change(note=self.why)
        before, after = (_floats(self.rows[f"confidence{ending}"]) for ending in (BEFORE, ""))
        return self.exact(mean_change(before, after, self.seed))

    def loss(self) -> Change:
        """Of the mean cross-entropy of the judged pictures whose label is the same in both runs."""
        if why := self.why or self.why_none:
            return Change(note=why)
        before, after = (_floats(self.rows[f"loss{ending}"]) for ending in (BEFORE, ""))
        asked = self.known & ~self.relabelled & ~np.isnan(before) & ~np.isnan(after)
        if endless := int((np.isinf(before) | np.isinf(after))[asked].sum()):
            return Change(note=f"endless: the true class got a probability of 0 on {endless}", n=int(asked.sum()))
        return self.exact(mean_change(before[asked], after[asked], self.seed))

    def exact(self, found: Change) -> Change:
        """Of one function it is known without a sample that nothing changes, also on the next picture."""
        exact = self.same and found.value == 0
        return replace(found, low=0.0, high=0.0, note=SAME_WEIGHTS) if exact else found


@dataclass(frozen=True)
class Group:
    """The error rate of pictures with one `value` of a column of the set, or of one true class."""

    column: str
    value: str
    change: Change


@dataclass(frozen=True)
class Moved:
    """How far the maps of a method moved: `shifts` of the pictures `at` these lines of the matched rows.

    Only maps that speak for the same class and cover the same part of the picture, and are not flat: `left_out` counts
    the others by their reason.
    """

    method: str
    at: tuple[int, ...] = ()
    shifts: tuple[Shift, ...] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)

    def mean(self, number: str, seed: int) -> Mean:
        """Of one of map_shift.NUMBERS, over the pictures where it is defined; the note says on which it is not."""
        found = mean_of([value for one in self.shifts if (value := getattr(one, number)) is not None], seed)
        lacking = {**self.left_out, WITHOUT_MASS: len(self.shifts) - found.n}
        why = ", ".join(f"{reason} on {count}" for reason, count in lacking.items() if count)
        said = [found.note, why] if found.n or not why else [why]
        return found._replace(note="; ".join(filter(None, said)))


@dataclass(frozen=True)
class Scored:
    """The mean of a metric of the maps of a method, over the pictures where both runs explain the same class."""

    method: str
    metric: str
    better: str
    change: Change


@dataclass(frozen=True, eq=False)
class Drift:
    """All that is found of one pair of models. Groups smaller than `smallest` are shown and not tested."""

    matched: Matched
    numbers: Mapping[str, Change]
    groups: tuple[Group, ...]
    maps: tuple[Moved, ...]
    scores: tuple[Scored, ...]
    smallest: int = SMALLEST

    @property
    def moved(self) -> bool:
        """Whether any number changed at all."""
        changes = [*self.numbers.values(), *(one.change for one in self.groups), *(one.change for one in self.scores)]
        shifts = [one for moved in self.maps for one in moved.shifts]
        return (
            bool(self.matched.flipped.any())
            or any(one.value for one in changes)
            or any(one.rank_correlation != 1 or one.centre_distance for one in shifts)
        )


# ---- measuring -------------------------------------------------------------------------------------------------------


def drift(
    earlier: Run,
    later: Run,
    models: Sequence[str] = (),
    smallest: int = SMALLEST,
    progress: Progress | None = None,
) -> list[Drift]:
    """What changed from the models of the earlier run to those of the later one. `models` as in `pairs_of`.

    `progress` is told of maps. Raises RecordError for a run that is not finished, SettingError where no models pair.
    """
    for run in (earlier, later):
        if (status := run.facts["status"]) != "done":
            raise RecordError(
                f"{shown(run.folder.name)} is {shown(status)}, and drift is between finished runs. Run the audit "
                "again: it goes on from there."
            )
    if smallest < 1:
        raise SettingError(f"A group has 1 picture or more, so the smallest cannot be {smallest}. Give 1 or more.")
    matched = [Matched.of(earlier, before, later, after) for before, after in pairs_of(earlier, later, models)]
    if not any(len(one.rows) for one in matched):
        several = max(one.namesakes for one in matched)
        files = "1 file has" if several == 1 else f"{several} files have"
        why = f" {files} one name and other bytes: only equal bytes are one picture." if several else ""
        raise RecordError(f"The two runs have no picture in common, so nothing can be compared.{why}")
    methods = [methods_of(one)[0] for one in matched]
    told = _counting(progress, sum(len(one.rows) * len(by) for one, by in zip(matched, methods, strict=True)))
    return [_measured(one, by, smallest, told) for one, by in zip(matched, methods, strict=True)]


def pairs_of(earlier: Run, later: Run, models: Sequence[str] = ()) -> list[tuple[str, str]]:
    """Which model of the earlier run is held against which of the later one.

    Those of one name, or else the only one of each. Each of `models` is a name that both runs have, or old=new.
    """
    if models:
        return list(dict.fromkeys(_pair(one, earlier, later) for one in models))
    if both := [(name, name) for name in later.models if name in earlier.models]:
        return both
    if len(earlier.models) == len(later.models) == 1:
        return [(earlier.models[0], later.models[0])]
    raise SettingError(
        f"No model has the same name in both runs: the earlier one has {_names(earlier)}, the later one "
        f"{_names(later)}. Say which became which with --model OLD=NEW."
    )


def _pair(written: str, earlier: Run, later: Run) -> tuple[str, str]:
    """A name, or two with = between them; names may hold one themselves."""
    if written in earlier.models and written in later.models:
        return written, written
    halves = [(written[:at], written[at + 1 :]) for at, letter in enumerate(written) if letter == "="]
    for before, after in halves:
        if before in earlier.models and after in later.models:
            return before, after
    before, after = halves[0] if halves else (written, written)
    run, name, word = (earlier, before, "earlier") if before not in earlier.models else (later, after, "later")
    raise SettingError(
        f"--model {shown(written)}: the {word} run has no model {shown(name)!r}. It has {_names(run)}. Give a name "
        "that both runs have, or OLD=NEW."
    )


def methods_of(matched: Matched) -> tuple[list[str], dict[str, str]]:
    """The methods whose maps can be held against each other, and why those of the others of either run cannot.

    Controls know nothing of a model, and are left out without a word.
    """
    old, new = ({str(one["name"]): one for one in run.facts["methods"]} for run in matched.runs)
    kept, why = [], {}
    for name, one in (old | new).items():
        if one["family"] == "control":
            continue
        if name not in old or name not in new:
            why[name] = f"is in the {'later' if name in new else 'earlier'} run alone"
        elif old[name]["method"] != new[name]["method"]:
            why[name] = "has other settings in the two runs"
        elif mute := [model for model, fitted in matched.fitted if not isinstance(fitted.get(name), Mapping)]:
            why[name] = f"says nothing about {mute[0]}"
        else:
            kept.append(name)
    return kept, why


def moved_maps(matched: Matched, method: str, told: Callable[[], None] = lambda: None) -> Moved:
    """How far the maps of a method moved from the one model to the other, looked at one after the other."""
    pictures, at, shifts, left_out = matched.rows["picture"], list[int](), list[Shift](), Counter[str]()
    sizes = zip(matched.rows["height"], matched.rows["width"], strict=True)
    old = matched.earlier.placed(pictures, matched.before, method)
    new = matched.later.placed(pictures, matched.after, method)
    for place, (before, after, size) in enumerate(zip(old, new, sizes, strict=True)):
        told()
        why = NO_MAP if before is None or after is None else why_apart(before, after)
        if why or before is None or after is None:
            left_out[why] += 1
            continue
        found = _shift(before, after, size)
        if found.rank_correlation is None:  # but in a border that was added to the picture
            left_out[FLAT] += 1
            continue
        at.append(place)
        shifts.append(found)
    return Moved(method, tuple(at), tuple(shifts), dict(left_out))


def _shift(before: Placed, after: Placed, size: tuple[float, float]) -> Shift:
    assert before.box is not None
    left, top, right, bottom = before.box
    height, width = (int(side) for side in size)
    way = _in_place((left, top, right, bottom), after.values.shape, (height, width))
    found = shift(before.values, after.values, way)
    # Sums in another order may miss 1 by rounding, and a map that did not move must not seem to have.
    equal = np.array_equal(before.values, after.values)
    return replace(found, rank_correlation=1.0) if equal and found.rank_correlation is not None else found


@lru_cache(maxsize=16)
def _in_place(box: tuple[float, float, float, float], shape: tuple[int, int], size: tuple[int, int]) -> Way:
    """Of a picture that stays where it is."""
    view = View(box, shape, size)
    return Way.along(view, view, np.eye(2, 3))


def _measured(matched: Matched, methods: Sequence[str], smallest: int, told: Callable[[], None]) -> Drift:
    return Drift(
        matched,
        {
            "accuracy": matched.accuracy(),
            "calibration_error": matched.calibration_error(),
            "overconfidence": matched.overconfidence(),
            "confidence": matched.confidence(),
            "loss": matched.loss(),
        },
        tuple(_groups(matched, smallest)),
        tuple(moved_maps(matched, method, told) for method in methods),
        tuple(_scores(matched, methods)),
        smallest,
    )


def _groups(matched: Matched, smallest: int) -> list[Group]:
    """Every value of every column that has several, with Holm's rule over all that are tested."""
    if matched.why or matched.why_none:
        return []
    found = [
        Group(column, value, _tested(matched.error_rate(values == value), smallest))
        for column, values in group_columns(matched).items()
        if len(np.unique(values[matched.known])) > 1
        for value in np.unique(values[matched.known])
    ]
    changes = adjusted([one.change for one in found])
    return [replace(one, change=change) for one, change in zip(found, changes, strict=True)]


def _tested(change: Change, smallest: int) -> Change:
    if change.n >= smallest:
        return change
    return replace(change, p=None, note=f"{change.n} picture{'s' * (change.n != 1)}, fewer than {smallest}: not tested")


def group_columns(matched: Matched) -> dict[str, np.ndarray]:
    """(n,) of text by the column of the set, and the true class among them: what group a picture is of."""
    found = {TRUE_CLASS: np.array([NO_GROUP if one is None else one for one in matched.labels], dtype=object)}
    for column in matched.rows.columns:
        if str(column).startswith(GROUP):
            texts = [one or NO_GROUP for one in _texts(matched.rows[column])]
            found[str(column).removeprefix(GROUP)] = np.array(texts, dtype=object)
    return found


def _scores(matched: Matched, methods: Sequence[str]) -> Iterator[Scored]:
    """Of every metric that both runs have with the same settings."""
    old, new = ({str(one["name"]): one["metric"] for one in run.facts["metrics"]} for run in matched.runs)
    metrics = [name for name in new if old.get(name) == new[name]]
    keys, columns = ["picture", "method", "metric", "target"], ["value", "better"]
    tables = [
        run.metrics[run.metrics["model"] == model].drop_duplicates(keys)[[*keys, *columns]].dropna(subset=["value"])
        for run, model in zip(matched.runs, (matched.before, matched.after), strict=True)
    ]
    both = tables[1].merge(tables[0], on=keys, suffixes=("", BEFORE))
    both = both[both["picture"].isin(matched.rows["picture"])]
    for (method, metric), rows in both.groupby(["method", "metric"], sort=False):
        if method in methods and metric in metrics:
            before, after = (_floats(rows[f"value{ending}"]) for ending in (BEFORE, ""))
            change = matched.exact(mean_change(before, after, matched.seed))
            yield Scored(str(method), str(metric), str(rows["better"].iloc[0]), change)


def calibration_change(
    before: np.ndarray, was_right: np.ndarray, after: np.ndarray, is_right: np.ndarray, seed: int = 0
) -> Change:
    """Of the expected calibration error, from (n,) confidences and (n,) bool, as in `classification.Calibration`.

    The interval is the basic bootstrap one over pictures, as each error's own is. A model that may well be calibrated
    has an error by chance alone, of which resamples know nothing: then its true error may be 0, and the interval
    reaches as far as that of the other one's error allows. Measured over 100 trials each, it held the true change in 95
    to 98, but in 79 to 84 where one model of 100 pictures was calibrated and the other missed by 15 points. Davison and
    Hinkley, 1997, section 5.2.
    """
    own = calibration(before, was_right, seed).error, calibration(after, is_right, seed).error
    found = measured_change(_error_of(before, was_right), _error_of(after, is_right), len(before), seed)
    if found.value is None or found.low is None or found.high is None:
        return found
    spans = [(2 * found.value - found.high, 2 * found.value - found.low)]
    if own[0].low == 0:
        spans.append((own[1].low or 0.0, own[1].high or 0.0))
    if own[1].low == 0:
        spans.append((-(own[0].high or 0.0), -(own[0].low or 0.0)))
    lows, highs = zip(*spans, strict=True)
    return replace(found, low=min(lows), high=max(highs))


def _error_of(confidence: np.ndarray, right: np.ndarray) -> Callable[[np.ndarray], float]:
    """The expected calibration error of some of the pictures, by their numbers."""
    at, missed = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence), right - confidence
    return lambda drawn: float(np.abs(np.bincount(at[drawn], missed[drawn])).sum() / len(drawn))


def _counting(progress: Progress | None, total: int) -> Callable[[], None]:
    done = 0

    def told() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    return told


def _described(run: Run, model: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(one for one in run.facts["models"] if one["name"] == model)
    return found


def _names(run: Run) -> str:
    return ", ".join(map(shown, run.models)) or "none"


def _texts(column: pd.Series) -> list[str | None]:
    return [None if missing else str(text) for text, missing in zip(column, column.isna(), strict=True)]


def _floats(column: pd.Series) -> np.ndarray:
    found: np.ndarray = column.to_numpy(np.float64, na_value=np.nan)
    return found
