"""Is an answer that was asked again the same? Arrays and tables in, an outcome with its reason out.

To the byte where all that computes is as it was: the program, its packages, the class of device, the threads. Where
something of that has changed, sums are taken in another order, and their last digits differ: then within TOLERANCE.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from xai_core.provenance import made_with
from xai_core.records import Explanation, Finding, Frame, Table
from xai_core.verification import Recomputed

TOLERANCE = 1e-3  # of the largest value of an array or a column: a quarter of one of the 256 shades of a drawn map
LEVELS = 1  # of 256, by which a pixel that was resized or changed by another version may differ
COMPUTES = ("torch", "torchvision", "timm", "numpy", "captum", "shap", "lime", "pillow")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*(?:e[+-]?\d+)?", re.ASCII)


class Pair(NamedTuple):
    """An array as it was saved and as it is now, and the difference that is allowed, None for TOLERANCE."""

    saved: np.ndarray
    now: np.ndarray
    most: float | None = None


def changed_since(made: Mapping[str, Any], before: str, now: str) -> tuple[str, ...]:
    """What computes here otherwise than where a record was made, each in a few words; nothing where all is as it was.

    `made` is what its manifest says under `made_with`, `before` the device then, `now` the device here.
    """
    here = made_with()
    said = {
        "Second Look": (made.get("app"), here["app"]),
        **{name: (_part(made, "packages", name), here["packages"].get(name)) for name in COMPUTES},
        "system": (_system(made), f"{platform.system()} {platform.machine()}"),
        "device": (before.partition(":")[0], now.partition(":")[0]),
        **{
            name.replace("_", " "): (_part(made, "determinism", name), value)
            for name, value in here["determinism"].items()
            if now.startswith("cuda") or not name.startswith(("cudnn", "gpu"))
        },
    }
    other = {name: (then, own) for name, (then, own) in said.items() if then != own}
    different = [f"{name} {_shown(then)} there, {_shown(own)} here" for name, (then, own) in other.items()]
    same_gpu = now.startswith("cuda") and before.startswith("cuda")
    return (*different, *(["the sums of a GPU have no fixed order"] if same_gpu else []))


def _part(made: Mapping[str, Any], part: str, name: str) -> Any:
    found = made.get(part)
    return found.get(name) if isinstance(found, Mapping) else None


def _system(made: Mapping[str, Any]) -> str:
    """The system and the kind of processor, without the release that lies between them."""
    words = str(made.get("platform", "")).split()
    return f"{words[0]} {words[-1]}" if words else ""


def _shown(value: Any) -> str:
    return "not recorded" if value in (None, "") else str(value)[:40]


def judged(name: str, pairs: Mapping[str, Pair], changed: Sequence[str], unlike: Sequence[str] = ()) -> Recomputed:
    """Whether the two of every pair are the same. `unlike` names what else was compared, and is not."""
    apart = {what: _apart(pair) for what, pair in pairs.items() if not _same_bytes(pair)}
    if not apart and not unlike:
        return Recomputed(name, "equal")
    since = f"since: {'; '.join(changed)}" if changed else "though nothing that computes has changed since"
    beyond = [what for what, (difference, most) in apart.items() if not difference <= most]
    if changed and not beyond and not unlike:
        largest, most = max(apart.values())
        return Recomputed(name, "equal within tolerance", f"{_words(largest)}, {most:g} is allowed, {since}")
    worst = beyond or list(apart)
    parts = [f"{what}: {_words(apart[what][0])}" for what in worst]
    return Recomputed(name, "different", f"{'; '.join([*parts, *unlike])}, {since}")


def _same_bytes(pair: Pair) -> bool:
    return pair.saved.shape == pair.now.shape and pair.saved.tobytes() == pair.now.tobytes()


def _apart(pair: Pair) -> tuple[float, float]:
    """The largest difference, and how large it may be; infinite for arrays of two shapes, and for what is no number."""
    most = TOLERANCE if pair.most is None else pair.most
    if pair.saved.shape != pair.now.shape:
        return np.inf, most
    saved, now = pair.saved.astype(np.float64), pair.now.astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = float(np.abs(saved - now).max(initial=0))
    if not np.isfinite(difference):
        return np.inf, most
    scale = float(max(np.abs(saved).max(initial=0), np.abs(now).max(initial=0))) if pair.most is None else 1.0
    return difference / scale if difference else 0.0, most


def _words(difference: float) -> str:
    return "no two of one size" if np.isinf(difference) else f"the largest difference is {difference:.2g}"


# ---- explanations ----------------------------------------------------------------------------------------------------


def same_map(name: str, saved: Explanation, now: Explanation, changed: Sequence[str]) -> Recomputed:
    """Whether a map is the one that was saved, with what is said of it, and what the model saw. Not what it cost.

    Words and gaps may differ between versions: where something that computes has changed, that they do is said.
    """
    told = ["target", "grid", "valid", "evidence", "background", *(["box"] if saved.box is not None else [])]
    other = [one for one in (*told, "notes", "gap") if getattr(saved, one) != getattr(now, one)]
    pairs = {"values": Pair(saved.values, now.values), "pixels": Pair(saved.pixels, now.pixels, LEVELS)}
    unlike = [f"its {one} is another" for one in other if one in told or not changed]
    found = judged(name, pairs, changed, unlike)
    spared = [f"its {one} {'are others' if one == 'notes' else 'is another'}" for one in other if one not in told]
    if not spared or not changed:
        return found
    return replace(found, detail="; ".join([*filter(None, [found.detail]), *spared, f"since: {'; '.join(changed)}"]))


# ---- findings --------------------------------------------------------------------------------------------------------


def same_finding(name: str, saved: Finding, now: Finding, changed: Sequence[str]) -> Recomputed:
    """Whether a probe found the same: its sentences, its tables and its frames. Not how long it took."""
    pairs: dict[str, Pair] = {}
    unlike = []
    if not _same_texts(saved.sentences, now.sentences, changed):
        unlike.append("its sentences are others")
    if list(saved.tables) != list(now.tables):
        unlike.append("its tables are others")
    for key in saved.tables.keys() & now.tables.keys():
        found = _columns(saved.tables[key], now.tables[key], changed)
        if found is None:
            unlike.append(f"table {key} is another")
        pairs |= {f"table {key}, {column}": pair for column, pair in (found or {}).items()}
    if len(saved.frames) != len(now.frames):
        unlike.append(f"it has {len(saved.frames)} frames, not {len(now.frames)}")
    both = min(len(saved.frames), len(now.frames))
    for number, (one, other) in enumerate(zip(saved.frames[:both], now.frames[:both], strict=True), 1):
        pairs |= {f"frame {number}, {what}": pair for what, pair in _frame_pairs(one, other)}
        if not _same_frame(one, other, changed):
            unlike.append(f"frame {number} is another")
    return judged(name, pairs, changed, unlike)


def _same_texts(saved: Sequence[str], now: Sequence[str], changed: Sequence[str]) -> bool:
    """Where something has changed, numbers are left to the tables that they are taken from."""
    if not changed:
        return list(saved) == list(now)
    return [NUMBER.sub("#", one) for one in saved] == [NUMBER.sub("#", one) for one in now]


def _columns(saved: Table, now: Table, changed: Sequence[str]) -> dict[str, Pair] | None:
    """The columns of numbers, pair by pair; None where anything but their numbers differs."""
    if (saved.title, dict(saved.words), len(saved.rows)) != (now.title, dict(now.words), len(now.rows)):
        return None
    pairs = {}
    for number, column in enumerate(saved.words):
        cells = [(one[number], other[number]) for one, other in zip(saved.rows, now.rows, strict=True)]
        numbers = [cell for cell in cells if all(map(_is_number, cell))]
        others = [cell for cell in cells if not all(map(_is_number, cell))]
        if not all(_same_cell(one, other, changed) for one, other in others):
            return None
        before, after = (np.array([cell[side] for cell in numbers], np.float64) for side in (0, 1))
        pairs[column] = Pair(before, after)
    return pairs


def _is_number(cell: Any) -> bool:
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _same_cell(one: Any, other: Any, changed: Sequence[str]) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return _same_texts([one], [other], changed)
    return type(one) is type(other) and bool(one == other)


def _frame_pairs(saved: Frame, now: Frame) -> Iterator[tuple[str, Pair]]:
    yield "pixels", Pair(saved.pixels, now.pixels, LEVELS)
    if saved.values is not None and now.values is not None:
        yield "values", Pair(saved.values, now.values)
    for fact in saved.facts.keys() & now.facts.keys():
        if _is_number(saved.facts[fact]) and _is_number(now.facts[fact]):
            yield fact, Pair(np.array([saved.facts[fact]], np.float64), np.array([now.facts[fact]], np.float64))


def _same_frame(saved: Frame, now: Frame, changed: Sequence[str]) -> bool:
    """But for the numbers that `_frame_pairs` gives."""
    if not _same_texts([saved.caption], [now.caption], changed) or saved.facts.keys() != now.facts.keys():
        return False
    if (saved.values is None) != (now.values is None) or (saved.region is None) != (now.region is None):
        return False
    if saved.region is not None and now.region is not None and not np.array_equal(saved.region, now.region):
        return False
    cells = [(saved.facts[fact], now.facts[fact]) for fact in saved.facts]
    return all(_same_cell(*cell, changed) for cell in cells if not all(map(_is_number, cell)))
