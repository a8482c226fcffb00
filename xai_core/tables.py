"""Records as text, for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import numpy as np

from xai_core.canvas import answered
from xai_core.findings import NOUNS, plural, same_for_all
from xai_core.methods import METHODS
from xai_core.records import Explanation, Passes, Prediction
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
    yield f"  {'method':<{wide}}  {_heads(mask)}"
    rows = zip(names, explanations, strict=True)
    for family, maps in groupby(rows, lambda row: METHODS[row[1].method["name"]].family):
        yield _family(family)
        yield from (f"  {name:<{wide}}  {_numbers(e, mask)}" for name, e in maps)
    yield from _legend(mask)
    noted = [(n, e) for n, e in zip(names, explanations, strict=True) if METHODS[e.method["name"]].family != "control"]
    yield from _notes(noted)


def one_each(explanations: Sequence[Explanation], said: Prediction, mask: np.ndarray | None) -> Iterator[str]:
    """Maps by one method, one for each target, on a line each: what the model says of it, then as in `costs`.

    Below them what must be known to read them, and whether they are the same.
    """
    first, noun = explanations[0], NOUNS[said.task]
    names = [str(e.target) for e in explanations]
    wide = max(map(len, [noun, *names]))
    says = "value" if said.task == "regression" else "probability"
    yield f"Maps        {METHODS.build(first.method)}, one for each of {len(explanations)} {plural(noun)}"
    yield f"  {noun:<{wide}}  {says:>11}  {_heads(mask)}"
    for name, e in zip(names, explanations, strict=True):
        yield f"  {name:<{wide}}  {answered(said, e.target.index):>11}  {_numbers(e, mask)}"
    yield from _legend(mask)
    if METHODS[first.method["name"]].class_specific:
        yield from _notes(zip(names, explanations, strict=True))
    if warning := same_for_all(explanations):
        yield f"Warning     {warning}"


def _heads(mask: np.ndarray | None) -> str:
    beside = f"  {'pixels off':>10}  {'inside':>6}" if _marks(mask) else ""
    return f"{'seconds':>8}  {'passes':>11}  {'gap':>8}  {'peak at':>8}{beside}"


def _numbers(e: Explanation, mask: np.ndarray | None) -> str:
    line = f"{e.seconds:>8.2f}  {_passes(e.passes):>11}  {_gap(e.gap):>8}"
    if e.flat:
        return f"{line}  {'flat':>8}"
    beside = ""
    if mask is not None and _marks(mask):
        inside = mass_inside(e.values, mask)
        beside = f"  {distance_to(mask, e.peak):>10.0f}  {'' if inside is None else f'{inside:.0%}':>6}"
    return f"{line}  {'{}, {}'.format(*e.peak):>8}{beside}"


def _legend(mask: np.ndarray | None) -> Iterator[str]:
    if mask is not None and _marks(mask):
        yield (
            "Pixels off: from the peak to the marked evidence. Inside: share of the map's positive mass, "
            f"of which a uniform map has {mask.mean():.0%}."
        )


def _marks(mask: np.ndarray | None) -> bool:
    return mask is not None and bool(mask.any())


def _notes(named: Iterable[tuple[str, Explanation]]) -> Iterator[str]:
    """What must be known to read maps, each sentence once, with whom it is about."""
    said: dict[str, list[str]] = {}
    for name, e in named:
        for note in e.notes:
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
