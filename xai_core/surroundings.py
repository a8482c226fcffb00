"""What lies around the object: whether the answer depends on it, and how much of a map lies there, against chance.

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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import t as student

from xai_core.challenge_effects import LEVEL, POWER, sign_flip
from xai_core.errors import PictureError, SettingError
from xai_core.foreground import ground_of, object_of
from xai_core.probes import Asking, Found, Look, Subject
from xai_core.records import Frame, Image, Prediction, Table
from xai_core.statistics import FEWEST_FOR_INTERVAL, Mean, holm, mean_of, share_of
from xai_core.truth import border, mass, seen_by

if TYPE_CHECKING:
    from xai_core.probes.background import Background

MARKED, ESTIMATED = "marked in the data", "estimated from its colours"
OUTSIDE, ALONG = "outside the object", "border"
WHERE = {OUTSIDE: "outside the object", ALONG: "along the border"}
SHOWN = 6  # pictures whose object is shown

PICTURES = {
    "picture": "Picture",
    "sha256": "sha256",
    "source": "Object",
    "object": "Object's share of the picture",
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

    `places` are by number of the method and by region. `change` is that of the probabilities, in points: half the sum
    of their absolute differences, or of labels that do not exclude one another the largest; None where there are none.
    """

    number: int
    sha256: str
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
    why = ""
    for subject in asking.subjects():
        try:
            thing, source = object_in(subject, probe.object)
            seen = in_view(asking, thing)
        except PictureError as error:
            why = why or str(error)
            asking.leave_out(subject, str(error))
            continue
        look = asking.original(subject)
        found.append(_around(asking, probe, subject, look, thing, seen, source))
        if len(frames) < SHOWN:
            frames.append(_frame(asking, subject, look, found[-1]))
    if not found:
        raise SettingError(f"No picture can be asked about what surrounds its object. {why}".strip())
    rows = list(_rows(asking, found))
    tables = {
        "prediction": Table.of("The prediction without what surrounds the object", PREDICTION, [_prediction(found)]),
        "shares": Table.of("Where the maps lie", SHARES, rows),
        "pictures": Table.of("Picture by picture", PICTURES, _lines(asking, found)),
    }
    return Found(list(_sentences(asking, found, rows)), tables, frames, [one.sha256 for one in found])


# The object


def object_in(subject: Subject, wanted: str) -> tuple[np.ndarray, str]:
    """(H, W) bool of the upload's size, and who says so: its mask, or else that of the evidence, marks it.

    Raises PictureError where it is not known.
    """
    marked = subject.parts.get("object", subject.mask)
    if marked is not None and wanted != "estimated":
        return marked, MARKED
    if wanted == "marked":
        raise PictureError("It has no mask that marks its object.")
    return object_of(subject.image.pixels), ESTIMATED


def in_view(asking: Asking, thing: np.ndarray) -> np.ndarray:
    """(h, w) bool of the model's input. Raises PictureError where the object covers all of it, or nothing."""
    pixels = np.repeat(np.uint8(255) * thing[..., None], 3, axis=2)
    seen = seen_by(Image(pixels, ""), asking.model.preprocessing)
    if seen.all() or not seen.any():
        covered = "all" if seen.any() else "nothing"
        raise PictureError(f"Its object covers {covered} of what the model sees, so nothing can lie outside it.")
    return seen


# Measuring


def _around(
    asking: Asking, probe: Background, subject: Subject, look: Look, thing: np.ndarray, seen: np.ndarray, source: str
) -> Around:
    pixels = subject.image.pixels.copy()
    pixels[~thing] = np.rint(ground_of(pixels)).astype(np.uint8)
    [alone] = asking.look([Image(pixels, hashlib.sha256(pixels.tobytes()).hexdigest())], maps=False)
    regions = {OUTSIDE: ~seen, ALONG: border(seen.shape, probe.band)}
    chance = asking.random(subject)
    shifts = np.stack([chance.integers(side, size=probe.shifts) for side in seen.shape], axis=1)
    places = {
        (number, region): place(e.values, mask, shifts) if e else Place(None, float(mask.mean()), None, None)
        for number, e in enumerate(look.maps)
        for region, mask in regions.items()
    }
    before, after = look.prediction, alone.prediction
    decides = before.task == "single label"
    flipped = bool(before.order()[0] != after.order()[0]) if decides else None
    predicted = before.top(1)[0][0]
    return Around(subject.number, subject.image.sha256, source, seen, predicted, change(before, after), flipped, places)


def place(values: np.ndarray, region: np.ndarray, shifts: np.ndarray) -> Place:
    """How much of a (h, w) map lies in the region, beside (k, 2) circular shifts of it, in pixels down and across."""
    shares, null = mass(values), float(region.mean())
    if shares is None:
        return Place(None, null, None, None)
    here = float(shares[region].sum())
    moved = np.array([float(shares[np.roll(region, (-down, -across), axis=(0, 1))].sum()) for down, across in shifts])
    return Place(here, null, float(moved.mean()), float(np.mean(moved >= here - 1e-12)))


def change(before: Prediction, after: Prediction) -> float | None:
    """How far the probabilities move, in points; None for a regression, which has none."""
    if before.task == "regression":
        return None
    moved = np.abs(before.probabilities.astype(np.float64) - after.probabilities)
    return 100 * float(moved.sum() / 2 if before.task == "single label" else moved.max())


# What is said


def _rows(asking: Asking, found: Sequence[Around]) -> Iterator[dict[str, Any]]:
    """A row for each method and region, corrected over all of them."""
    rows = [_row(asking, found, number, region) for number in range(len(asking.methods)) for region in WHERE]
    tested = [row for row in rows if row["p"] is not None]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_adjusted"] = p
    yield from rows


def _row(asking: Asking, found: Sequence[Around], number: int, region: str) -> dict[str, Any]:
    places = [one.places[number, region] for one in found]
    known = [one for one in places if one.share is not None]
    differences = np.array([100 * (one.share or 0.0) - 100 * one.null for one in known])
    share, difference = mean_of([one.share or 0.0 for one in known]), mean_of(differences)
    without = len(places) - len(known)
    return {
        "method": asking.methods[number].name,
        "region": region,
        **_interval("share", share),
        "null": _mean([one.null for one in known]),
        "shifted": _mean([one.shifted for one in known if one.shifted is not None]),
        "as_much": _mean([one.as_much for one in known if one.as_much is not None]),
        **_interval("difference", difference),
        "p": sign_flip(differences[:, None], asking.random()) if known else None,
        "detectable": _detectable(differences, len(asking.methods) * len(WHERE)),
        "n": len(known),
        "source": _source(found),
        "note": share.note or (f"{without} without a value above zero" if without else ""),
    }


def _detectable(differences: np.ndarray, tests: int) -> float | None:
    """The difference, in points, that this many pictures find with POWER at the level that Holm leaves to the first."""
    n = len(differences)
    if n < FEWEST_FOR_INTERVAL:
        return None
    return float(
        differences.std(ddof=1) / math.sqrt(n) * (student.isf(LEVEL / (2 * tests), n - 1) + student.ppf(POWER, n - 1))
    )


def _prediction(found: Sequence[Around]) -> dict[str, Any]:
    moved = mean_of([one.change for one in found if one.change is not None])
    flips = share_of([one.flipped for one in found if one.flipped is not None])
    return {"painted": OUTSIDE, **_interval("change", moved), **_interval("flip_rate", flips), "n": moved.n}


def _sentences(asking: Asking, found: Sequence[Around], rows: Sequence[dict[str, Any]]) -> Iterator[str]:
    line = _prediction(found)
    if line["change"] is not None:
        flips = sum(bool(one.flipped) for one in found)
        decisions = "" if line["flip_rate"] is None else f" and {flips} of {len(found)} decisions flip"
        yield (
            f"With all that lies outside the object painted in the colour of the border, the probabilities move by "
            f"{line['change']:.1f} points{_range(line, 'change', '.1f', 1)}{decisions} (n = {line['n']}): no picture "
            "that a network learns from looks like that, so a change may be its strangeness."
        )
    for number, row in enumerate(rows):
        yield _sentence(asking.methods[number // len(WHERE)].label, row)
    estimated = sum(one.source == ESTIMATED for one in found)
    if estimated:
        yield (
            f"The object was estimated from its colours on {estimated} of {len(found)} pictures: look at its outline "
            "before you believe the rest, or give masks."
        )
    if rows:
        yield "Where a map lies is no proof that the prediction rests on what is there."


def _sentence(method: str, row: dict[str, Any]) -> str:
    where, n = WHERE[row["region"]], row["n"]
    if row["share"] is None:
        return f"{method} has nothing above zero on any picture, so no share of it lies anywhere."
    lies = f"{row['share']:.0%}{_range(row, 'share', '.0f', 100)} of the attribution"
    null, points = f"a uniform map has {row['null']:.0%}", abs(row["difference"])
    if 2.0 ** (1 - n) > LEVEL:
        return f"{method} has {lies} {where}, where {null}; {n} pictures are too few to tell that from chance."
    if row["p_adjusted"] <= LEVEL:
        side = "more" if row["difference"] > 0 else "less"
        return (
            f"{method} lies {where} {side} than chance: {lies}, where {null}: {points:.0f} points {side} "
            f"(corrected p = {row['p_adjusted']:.3g}, n = {n})."
        )
    could = (
        "" if row["detectable"] is None else f"; these pictures could have shown one of {row['detectable']:.0f} points"
    )
    return (
        f"{method}: no difference from chance found {where}: {lies}, where {null} (corrected p = "
        f"{row['p_adjusted']:.3g}, n = {n}){could and could + ' or more'}."
    )


def _lines(asking: Asking, found: Sequence[Around]) -> Iterator[dict[str, Any]]:
    for one in found:
        line = {
            "picture": one.number,
            "sha256": one.sha256,
            "source": one.source,
            "object": float(one.thing.mean()),
            "predicted": one.predicted,
            "change": one.change,
            "flipped": one.flipped,
        }
        yield from (
            {**line, "method": asking.methods[number].name, "region": region, **vars(its)}
            for (number, region), its in one.places.items()
        )
        if not one.places:
            yield line


def _frame(asking: Asking, subject: Subject, look: Look, around: Around) -> Frame:
    first = next((e for e in look.maps if e is not None), None)
    outside = next((its.share for (_, region), its in around.places.items() if region == OUTSIDE), None)
    return Frame(
        f"Picture {subject.number}: the object, {around.source}",
        asking.model.preprocessing.view(subject.image),
        None if first is None else first.values,
        around.thing,
        {"predicted": around.predicted, "object": float(around.thing.mean()), "outside": outside},
    )


def _source(found: Sequence[Around]) -> str:
    counted = {source: sum(one.source == source for one in found) for source in (MARKED, ESTIMATED)}
    return ", ".join(f"{source}: {count}" for source, count in counted.items() if count)


def _interval(name: str, mean: Mean) -> dict[str, float | None]:
    return {name: mean.mean, f"{name}_low": mean.low, f"{name}_high": mean.high}


def _range(row: dict[str, Any], name: str, form: str, times: float) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return "" if low is None else f" ({times * low:{form}} to {times * high:{form}})"


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
