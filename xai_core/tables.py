"""Records as text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from xai_core.methods import METHODS
from xai_core.records import Explanation, Passes
from xai_core.truth import distance_to, in_words, mass_inside
from xai_core.validity import Validity, share, tally

MANY = 8  # maps; more get a line each instead of a few


def matrix(found: Sequence[Validity]) -> Iterator[str]:
    """A line for every method under its family, the reason below it where there is one, and the count."""
    wide = max(len(one.name) for one in found)
    yield f"  {'method':<{wide}}  {'verdict':<11}  {'gap':>8}  {'passes':>11}  {'seconds':>8}"
    for family, rows in groupby(found, lambda one: one.family):
        yield _family(family)
        for one in rows:
            seconds = "" if one.seconds is None else f"{'' if one.measured else '~'}{one.seconds:.2f}"
            line = f"  {one.name:<{wide}}  {one.verdict:<11}  {_gap(one.gap):>8}  {_passes(one.passes):>11}  "
            yield f"{line}{seconds:>8}".rstrip()
            if one.reason:
                yield f"  {'':<{wide}}  {one.reason}"
    yield f"{tally(found)}."
    yield "Gap: of the sum that is promised, the share missed. Passes: forward + backward. ~ estimated from their time."


def described(explanation: Explanation, mask: np.ndarray | None) -> Iterator[str]:
    """A map on a few lines. `mask` (h, w) bool marks the evidence, where somebody marked it."""
    e, method = explanation, METHODS.build(explanation.method)
    yield f"Map         {method}, target {e.target}"
    if e.flat:
        yield f"            {e.flat}"
    else:
        yield "            highest at row {}, column {}".format(*e.peak)
        if mask is not None:
            yield f"            {in_words(e, mask)}"
    if e.gap is not None:
        yield f"            {method.promises} gap {share(e.gap)} (0 % is exact)"
    yield from (f"            {note}" for note in e.notes)
    yield f"            {e.seconds:.2f} s, {e.passes} passes"


def costs(explanations: Sequence[Explanation], mask: np.ndarray | None) -> Iterator[str]:
    """Many maps on a line each: what it cost, by how much it misses its sum, and where it peaks, also beside `mask`.

    Below them what must be known to read them.
    """
    names = [_named(e) for e in explanations]
    wide = max(map(len, names))
    marked = mask is not None and mask.any()
    beside = f"  {'pixels off':>10}  {'inside':>6}" if marked else ""
    yield f"  {'method':<{wide}}  {'seconds':>8}  {'passes':>11}  {'gap':>8}  {'peak at':>8}{beside}"
    rows = zip(names, explanations, strict=True)
    for family, maps in groupby(rows, lambda row: METHODS[row[1].method["name"]].family):
        yield _family(family)
        for name, e in maps:
            line = f"  {name:<{wide}}  {e.seconds:>8.2f}  {_passes(e.passes):>11}  {_gap(e.gap):>8}"
            if e.flat:
                yield f"{line}  {'flat':>8}"
                continue
            if mask is not None and marked:
                inside = mass_inside(e.values, mask)
                beside = f"  {distance_to(mask, e.peak):>10.0f}  {'' if inside is None else f'{inside:.0%}':>6}"
            yield f"{line}  {'{}, {}'.format(*e.peak):>8}{beside}"
    if mask is not None and marked:
        yield (
            "Pixels off: from the peak to the marked evidence. Inside: share of the map's positive mass, "
            f"of which a uniform map has {mask.mean():.0%}."
        )
    said: dict[str, list[str]] = {}
    for name, e in zip(names, explanations, strict=True):
        for note in e.notes if METHODS[e.method["name"]].family != "control" else ():
            said.setdefault(note, []).append(name)
    yield from (f"{', '.join(who)}: {note}" for note, who in said.items())


def _family(name: str) -> str:
    return f"{name}: knows nothing of the model; a map that is no better is no evidence" if name == "control" else name


def _named(explanation: Explanation) -> str:
    """The method, with the layer where it reads one."""
    layer = explanation.method.get("layer")
    return f"{explanation.method['name']} at {layer}" if layer else str(explanation.method["name"])


def _passes(passes: Passes | None) -> str:
    return "" if passes is None else f"{passes.forward} + {passes.backward}"


def _gap(gap: float | None) -> str:
    return "" if gap is None else share(gap)
