"""What lies around the object: whether the answer depends on it, and how much of a map lies there, against chance.

The object is what the data mark as such, or else as evidence, or what its colours tell: it is called what it is.

    share       of what speaks for the target in a map, that lies outside the object, or in the band along the border
    null        the region's share of the picture: what a uniform map has, and the mean over all circular shifts of any
    shifted     the same over some shifts of this map, drawn by lot: same values, same texture, wrong place
    as_much     the share of those shifts that put at least as much there; one half by chance
    p           two-sided, by flipping the signs of share - null over pictures, Holm-corrected over methods and regions

A map over a picture has its share there for reasons of its own, such as a border that a network pads: a difference says
where the maps lie, not why. What the answer depends on is asked of the model: all that lies outside the object is
painted in the median colour of the border.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import t as student

from xai_core.canvas import percent
from xai_core.challenge_effects import Pair, moved_by, pictures_needed, sign_flip
from xai_core.errors import PictureError, SettingError
from xai_core.foreground import ground_of, object_of
from xai_core.parts import OBJECT, marked_object
from xai_core.pipeline import resolve_target
from xai_core.probes import Asking, Found, Look, Subject
from xai_core.records import Frame, Image, Table
from xai_core.regions import EVIDENCE
from xai_core.score_table import method_names
from xai_core.statistics import LEVEL, POWER, Mean, holm, mean_of, share_of
from xai_core.truth import border, mass, seen_by

if TYPE_CHECKING:
    from xai_core.probes.background import Background

MARKED, ESTIMATED = "marked in the data", "estimated from its colours"
OUTSIDE, ALONG = "outside", "border"
REGIONS = (OUTSIDE, ALONG)
ALIKE = 1e-9  # points: differences no further apart are one
STRANGE = ": no picture that a network learns from looks like that, so a change may be its strangeness"
SHOWN = 6  # pictures whose object is shown

PICTURES = {
    "picture": "Picture",
    "sha256": "sha256",
    "source": "Object",
    "object": "Its share of the picture",
    "predicted": "Predicted",
    "change": "Change when all outside is painted over, points",
    "flipped": "Decision flips then",
    "method": "Method",
    "region": "Region",
    "share": "Share of attribution",
    "null": "Share of the picture",
    "shifted": "Share of attribution, shifted maps",
    "as_much": "Shifted maps with as much there",
}
SHARES = {
    "method": "Method",
    "region": "Region",
    "share": "Share of attribution",
    "share_low": "Lowest",
    "share_high": "Highest",
    "null": "Share of the picture",
    "shifted": "Share of attribution, shifted maps",
    "as_much": "Shifted maps with as much there",
    "difference": "More than the share of the picture, points",
    "difference_low": "Lowest",
    "difference_high": "Highest",
    "p": "p",
    "p_adjusted": "p, corrected",
    "detectable": "Would have been found, points",
    "n": "Pictures",
    "source": "Object",
    "note": "Note",
}
PREDICTION = {
    "painted": "Painted over",
    "change": "Mean change of the probabilities, points",
    "change_low": "Lowest",
    "change_high": "Highest",
    "flip_rate": "Decisions that flip",
    "flip_rate_low": "Lowest",
    "flip_rate_high": "Highest",
    "n": "Pictures",
}


@dataclass(frozen=True)
class Place:
    """Of one picture and one map: how much of it lies in a region, 0 to 1; None where nothing in it is positive."""

    share: float | None
    null: float
    shifted: float | None
    as_much: float | None


@dataclass(frozen=True, eq=False)
class Around:
    """Of one picture: its object (h, w) bool as the model sees it, what is said with all else painted over, its maps.

    `called` is what it is, the object or marked evidence, and `source` who says so. `places` are by number of the
    method and by region. `change` is that of the probabilities, in points, as challenge_effects.moved_by has it; None
    where there are none.
    """

    number: int
    sha256: str
    called: str
    source: str
    thing: np.ndarray
    predicted: str
    change: float | None
    flipped: bool | None
    places: dict[tuple[int, str], Place]


def measure(asking: Asking, probe: Background) -> Found:
    """Ask about every picture whose object is known. Raises SettingError where none is."""
    found: list[Around] = []
    frames: list[Frame] = []
    for subject in asking.subjects():
        try:
            thing, called, source = object_in(subject, probe.object)
            seen = in_view(asking, thing, called)
        except PictureError as error:
            asking.leave_out(subject, str(error))
            continue
        look = asking.original(subject)
        change, flipped = _without(asking, subject, look, thing)
        places = _places(asking, probe, subject, look, seen)
        predicted = look.prediction.top(1)[0][0]
        found.append(
            Around(subject.number, subject.image.sha256, called, source, seen, predicted, change, flipped, places)
        )
        if len(frames) < SHOWN:
            frames.append(_frame(asking, subject, look, found[-1]))
    if not found:
        raise SettingError("No picture can be asked about what surrounds its object.")
    rows = list(_rows(asking, found))
    tables = {
        "prediction": Table.of(
            f"The prediction without what surrounds the {_called(found)}", PREDICTION, [_prediction(asking, found)]
        ),
        "shares": Table.of("Where the maps lie", SHARES, rows),
        "pictures": Table.of("Picture by picture", PICTURES, _lines(asking, found)),
    }
    return Found(list(_sentences(asking, found, rows)), tables, frames, [one.sha256 for one in found])


# The object


def object_in(subject: Subject, wanted: str) -> tuple[np.ndarray, str, str]:
    """(H, W) bool of the upload's size, what to call it, and who says so. Raises PictureError where it is not known."""
    marked = marked_object(subject)
    if marked is not None and wanted != "estimated":
        return (*marked, MARKED)
    if wanted == "marked":
        raise PictureError("It has no mask that marks its object or its evidence.")
    return object_of(subject.image.pixels), OBJECT, ESTIMATED


def in_view(asking: Asking, thing: np.ndarray, called: str) -> np.ndarray:
    """(h, w) bool of the model's input. Raises PictureError where the object covers all of it, or nothing."""
    pixels = np.repeat(np.uint8(255) * thing[..., None], 3, axis=2)
    seen = seen_by(Image(pixels, ""), asking.model.preprocessing)
    if seen.all() or not seen.any():
        covered = "all" if seen.any() else "nothing"
        raise PictureError(f"Its {called} covers {covered} of what the model sees, so nothing can lie outside it.")
    return seen


# Measuring


def _without(asking: Asking, subject: Subject, look: Look, thing: np.ndarray) -> tuple[float | None, bool | None]:
    """How far the prediction moves, in points, and whether the decision flips, when all around is painted over."""
    pixels = subject.image.pixels.copy()
    pixels[~thing] = np.rint(ground_of(pixels)).astype(np.uint8)
    [alone] = asking.look([Image(pixels, hashlib.sha256(pixels.tobytes()).hexdigest())], maps=False)
    before = look.prediction
    index = resolve_target(asking.target, before).index
    pair = Pair(subject.number, subject.image.sha256, before, alone.prediction, index, 1 - float(thing.mean()), ())
    return None if before.task == "regression" else float(moved_by([pair]).changes[0]), pair.flipped


def _places(
    asking: Asking, probe: Background, subject: Subject, look: Look, seen: np.ndarray
) -> dict[tuple[int, str], Place]:
    regions = {OUTSIDE: ~seen, ALONG: border(seen.shape, probe.band)}
    chance = asking.random(subject)
    shifts = np.stack([chance.integers(side, size=probe.shifts) for side in seen.shape], axis=1)
    return {
        (number, region): place(e.values, mask, shifts) if e else Place(None, float(mask.mean()), None, None)
        for number, e in enumerate(look.maps)
        for region, mask in regions.items()
    }


def place(values: np.ndarray, region: np.ndarray, shifts: np.ndarray) -> Place:
    """How much of a (h, w) map lies in the region, beside (k, 2) circular shifts of it, in pixels down and across."""
    shares, null = mass(values), float(region.mean())
    if shares is None:
        return Place(None, null, None, None)
    here = float(shares[region].sum())
    moved = np.array([float(shares[np.roll(region, (-down, -across), axis=(0, 1))].sum()) for down, across in shifts])
    return Place(here, null, float(moved.mean()), float(np.mean(moved >= here - 1e-12)))


# What is said


def _rows(asking: Asking, found: Sequence[Around]) -> Iterator[dict[str, Any]]:
    """A row for each method and region, corrected over all of them that say something."""
    both = [(number, region) for number in range(len(asking.methods)) for region in REGIONS]
    tests = sum(any(one.places[key].share is not None for one in found) for key in both)
    rows = [_row(asking, found, number, region, tests) for number, region in both]
    tested = [row for row in rows if row["p"] is not None]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_adjusted"] = p
    yield from rows


def _row(asking: Asking, found: Sequence[Around], number: int, region: str, tests: int) -> dict[str, Any]:
    places = [one.places[number, region] for one in found]
    known = [one for one in places if one.share is not None]
    differences = np.array([100 * (one.share or 0.0) - 100 * one.null for one in known])
    share = mean_of([one.share or 0.0 for one in known], asking.seed)
    without = len(places) - len(known)
    return {
        "method": method_names(asking.methods)[0][number],
        "region": _named(found, region),
        **_interval("share", share),
        "null": _mean([one.null for one in known]),
        "shifted": _mean([one.shifted for one in known if one.shifted is not None]),
        "as_much": _mean([one.as_much for one in known if one.as_much is not None]),
        **_interval("difference", mean_of(differences, asking.seed)),
        "p": sign_flip(differences[:, None], asking.random()) if known else None,
        "detectable": _detectable(differences, tests),
        "n": len(known),
        "source": _source(found),
        "note": share.note or (f"{without} without a value above zero" if without else _too_few(len(known), tests)),
    }


def _detectable(differences: np.ndarray, tests: int) -> float | None:
    """The difference, in points, that this many pictures find with POWER at the level that Holm leaves to the first.

    None where there are too few to find any, and where all are the same, which tells nothing of how others scatter.
    """
    n = len(differences)
    if not n or n < pictures_needed(tests) or np.ptp(differences) < ALIKE:
        return None
    return float(
        differences.std(ddof=1) / math.sqrt(n) * (student.isf(LEVEL / (2 * tests), n - 1) + student.ppf(POWER, n - 1))
    )


def _too_few(n: int, tests: int) -> str:
    """That no result of so few pictures can pass so many tests; "" where one can."""
    needed = pictures_needed(tests)
    return f"too few pictures to tell: {needed} or more are needed" if n < needed else ""


def _prediction(asking: Asking, found: Sequence[Around]) -> dict[str, Any]:
    moved = mean_of([one.change for one in found if one.change is not None], asking.seed)
    flips = share_of([one.flipped for one in found if one.flipped is not None])
    return {
        "painted": _named(found, OUTSIDE),
        **_interval("change", moved),
        **_interval("flip_rate", flips),
        "n": moved.n,
    }


def _sentences(asking: Asking, found: Sequence[Around], rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    line, tests = _prediction(asking, found), sum(row["p"] is not None for row in rows)
    if line["change"] is not None:
        yield (
            f"With all that lies {line['painted']} painted in the colour of the border, the probabilities "
            f"{_moved(line)}{_flips(found)} (n = {line['n']}){STRANGE if line['change'] else ''}."
        )
    else:
        yield f"The model gives no probabilities, so how far they move without what lies {line['painted']} is not said."
    for number, label in enumerate(method_names(asking.methods)[1]):
        own = rows[number * len(REGIONS) : (number + 1) * len(REGIONS)]
        if all(row["share"] is None for row in own):
            yield f"{label} has nothing above zero on any picture, so no share of it lies anywhere."
            continue
        yield from (_sentence(label, row, tests) for row in own)
    estimated = sum(one.source == ESTIMATED for one in found)
    if estimated:
        yield (
            f"The object was estimated from its colours on {estimated} of {len(found)} pictures: look at its outline "
            "before you believe the rest, or give masks."
        )
    if rows:
        yield "Where a map lies is no proof that the prediction rests on what is there."


def _moved(line: dict[str, Any]) -> str:
    """How far the probabilities move; a change that rounds to nothing is said not to be nothing."""
    if line["change"] == 0:
        return "do not move"
    if line["change"] < 0.05:
        return "move by less than 0.1 points"
    return f"move by {line['change']:.1f} points{_range(line, 'change', 1, '')}"


def _flips(found: Sequence[Around]) -> str:
    flips = [one.flipped for one in found if one.flipped is not None]
    if len(flips) == 1:
        return f" and the decision {'flips' if flips[0] else 'stays'}"
    verb = "flips" if sum(flips) == 1 else "flip"
    return f" and {sum(flips)} of {len(flips)} decisions {verb}" if flips else ""


def _sentence(method: str, row: dict[str, Any], tests: int) -> str:
    where, n = "along the border" if row["region"] == ALONG else row["region"], row["n"]
    if row["share"] is None:
        return f"{method} has nothing above zero on any picture, so no share of it lies {where}."
    lies = f"{_percent(row['share'])}{_range(row, 'share', 100, ' %')} of the attribution"
    null, points = f"a uniform map has {_percent(row['null'])}", abs(row["difference"])
    if row["p_adjusted"] <= LEVEL:
        side = "more" if row["difference"] > 0 else "less"
        return (
            f"{method} lies {where} {side} than chance: {lies}, where {null}: {points:.1f} points {side} "
            f"(corrected p = {row['p_adjusted']:.3g}, n = {n})."
        )
    if too_few := _too_few(n, tests):
        return f"{method} has {lies} {where}, where {null}; {too_few} (n = {n})."
    could = (
        f"; these pictures could have shown one of {row['detectable']:.1f} points or more" if row["detectable"] else ""
    )
    return (
        f"{method}: no difference from chance found {where}: {lies}, where {null} (corrected p = "
        f"{row['p_adjusted']:.3g}, n = {n}){could}."
    )


def _lines(asking: Asking, found: Sequence[Around]) -> Iterator[dict[str, Any]]:
    names = method_names(asking.methods)[0]
    for one in found:
        line = {
            "picture": one.number,
            "sha256": one.sha256,
            "source": f"{one.called}, {one.source}",
            "object": float(one.thing.mean()),
            "predicted": one.predicted,
            "change": one.change,
            "flipped": one.flipped,
        }
        yield from (
            {**line, "method": names[number], "region": _named([one], region), **vars(its)}
            for (number, region), its in one.places.items()
        )
        if not one.places:
            yield line


def _frame(asking: Asking, subject: Subject, look: Look, around: Around) -> Frame:
    first = next((e for e in look.maps if e is not None), None)
    outside = next((its.share for (_, region), its in around.places.items() if region == OUTSIDE), None)
    return Frame(
        f"Picture {subject.number}: the {around.called}, {around.source}",
        asking.model.preprocessing.view(subject.image),
        None if first is None else first.values,
        around.thing,
        {"predicted": around.predicted, "object": float(around.thing.mean()), "outside": outside},
    )


def _source(found: Sequence[Around]) -> str:
    """Who says where the objects are, and of how many pictures."""
    counted = Counter(f"{one.called}, {one.source}" for one in found)
    return "; ".join(f"{source}: {count}" for source, count in sorted(counted.items()))


def _called(found: Sequence[Around]) -> str:
    """What lies in the middle, over all pictures."""
    return " or ".join(name for name in (OBJECT, EVIDENCE) if any(one.called == name for one in found))


def _named(found: Sequence[Around], region: str) -> str:
    return region if region == ALONG else f"{region} the {_called(found)}"


def _interval(name: str, mean: Mean) -> dict[str, float | None]:
    return {name: mean.mean, f"{name}_low": mean.low, f"{name}_high": mean.high}


def _range(row: dict[str, Any], name: str, times: float, unit: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None else f" (95 % interval {times * low:.1f} to {times * high:.1f}{unit})"


def _percent(share: float) -> str:
    """All is all, though sums of many numbers round."""
    return percent(round(share, 6))


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
