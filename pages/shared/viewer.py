"""The viewer: all maps of one picture side by side, drawn in the browser, so that looking costs no round trip.

Values are sent once, raw. What is sent: four bytes of length, a header in JSON that says where everything lies, then
the picture (h, w, 3) uint8 as the model saw it, the maps (h, w) float32 and the palettes (256, 3) uint8, one after
another. Names and labels are in the header and become text, never markup.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import streamlit as st

import xai_core as xai
from pages.shared import samples, state
from pages.shared.cached import digest
from pages.shared.question import Looks
from xai_core.records import Evidence, Explanation

HERE = Path(__file__).resolve().parent / "browser"


def source(name: str) -> str:
    """What the browser runs."""
    return (HERE / name).read_text("utf-8")


_maps = st.components.v2.component(
    "second_look.viewer", html='<div class="viewer"></div>', css=source("viewer.css"), js=source("viewer.js")
)
_samples = st.components.v2.component(
    "second_look.samples", html='<div class="samples"></div>', css=source("samples.css"), js=source("samples.js")
)


VERDICTS = {  # each with a sign and the name of its colour: it is never told by colour alone
    "supported": ("✓", "good"),
    "weak": ("◐", "doubtful"),
    "no evidence": ("○", "bad"),
    "not valid for this model": ("✗", "bad"),
}
CHECKED = {True: "✓", False: "✗", None: "–"}  # whether a check was passed, or not asked


def maps(
    explanations: Sequence[Explanation],
    key: str,
    looks: Looks,
    given: int,
    on_look: Callable[[], None],
    waiting: Sequence[str] = (),
    evidence: Sequence[Evidence | None] = (),
    *,
    weighing: bool = False,
    awaited: Callable[[], None] | None = None,
) -> None:
    """Draw the maps. `given` counts how often the server has set the looks; else the browser keeps its own.

    `on_look` is called when the visitor has changed them and leaves the viewer. `waiting` are methods whose maps are
    still worked on; `evidence` is what each map was weighed as, and `weighing` says that the rest is on its way. While
    something is awaited, the browser calls `awaited` every few seconds: whatever else is lost, that is not.
    """
    data = packed(explanations, looks, given, waiting, evidence, weighing=weighing, awaited=awaited is not None)
    _maps(key=key, data=data, on_looks_change=on_look, on_awaiting_change=awaited or _not_at_all)


def _not_at_all() -> None:
    """What is heard after nothing is awaited any more."""


def packed(
    explanations: Sequence[Explanation],
    looks: Looks,
    given: int,
    waiting: Sequence[str] = (),
    evidence: Sequence[Evidence | None] = (),
    *,
    weighing: bool = False,
    awaited: bool = False,
) -> bytes:
    """What is sent to the browser."""
    from xai_core import figures
    from xai_core.colours import TWO_SIGNED

    first = explanations[0]
    weighed = evidence or [None] * len(explanations)
    height, width = first.values.shape
    parts = [first.pixels.tobytes(), *(e.values.astype("<f4").tobytes() for e in explanations)]
    parts += [figures.palette(name).tobytes() for name in figures.COLOUR_MAPS]
    described = [_described(e, one, weighing) for e, one in zip(explanations, weighed, strict=True)]
    order = _order(explanations, described, waiting)
    header = {
        "id": digest(order=order, judged=[words["judged"] for words in described]),
        "height": height,
        "width": width,
        "maps": described,
        "order": order,
        "palettes": list(figures.COLOUR_MAPS),
        "two_signed": list(TWO_SIGNED),
        "looks": looks.to_dict(),
        "given": given,
        "awaited": awaited,
    }
    words = json.dumps(header).encode()
    words += b" " * (-len(words) % 4)
    return len(words).to_bytes(4, "little") + words + b"".join(parts)


def _order(
    explanations: Sequence[Explanation], described: Sequence[Mapping[str, Any]], waiting: Sequence[str]
) -> list[dict[str, Any]]:
    """What is seen, one after the other: maps and those that are still worked on, controls last."""
    places = [(str(e.method["name"]), {"id": words["id"]}) for e, words in zip(explanations, described, strict=True)]
    if waiting:
        from pages.shared.menu import in_order

        names = [name for _, members in in_order() for name in members]
        places += [(name, {"waiting": xai.METHODS[name].label}) for name in waiting]
        places.sort(key=lambda place: names.index(place[0]) if place[0] in names else -1)
    places.sort(key=lambda place: _family(place[0]) == "control")
    return [{**words, "control": _family(name) == "control"} for name, words in places]


def _family(name: str) -> str:
    return xai.METHODS[name].family if name in xai.METHODS else ""


def is_control(e: Explanation) -> bool:
    """Whether a map knows nothing of the model, and is there to be beaten."""
    return _family(str(e.method["name"])) == "control"


def _described(e: Explanation, evidence: Evidence | None = None, weighing: bool = False) -> dict[str, Any]:
    from xai_core import figures

    name, target, model = label(e), str(e.target), str(e.model.get("name", "the model"))
    row, column = e.peak
    where = e.flat or f"The highest value, {e.values.max():.3g}, is at row {row}, column {column}."
    invalid = "" if e.valid else next((note for note in e.notes if note.startswith("Not valid")), "Not valid.")
    mark, standing = _standing(e)
    judged = _judged(e, evidence, weighing)
    return {
        "id": digest(
            map=[e.image, dict(e.model), dict(e.method), target, e.target.index, e.target.against, e.seed, e.background]
        ),
        "label": name,
        "family": _family(str(e.method["name"])),
        "mark": mark,
        "standing": standing,
        "invalid": invalid,
        "judged": judged,
        "target": target,
        "model": model,
        "notice": str(e.model.get("notice", "")),
        "settings": ", ".join(f"{key} = {value}" for key, value in e.settings().items()),
        "spoken": f"Attribution map by {name} for target class {target} of {model}. "
        f"{invalid} {judged['spoken']} {where}",
        "colours": figures.default_colour_map(e.values),
        "peak": [row, column],
        "flat": e.flat,
        "facts": facts(e),
        "evidence": e.evidence,
        "notes": [note for note in e.notes if note != invalid],
    }


def _judged(e: Explanation, evidence: Evidence | None, weighing: bool) -> dict[str, Any]:
    """What a map was weighed as, with the checks it rests on; `why` where it must not be believed."""
    if evidence is None:
        return {"verdict": "", "spoken": "", "pending": weighing and not is_control(e)}
    sign, colour = VERDICTS[evidence.verdict]
    return {
        "verdict": f"{sign} {evidence.verdict}",
        "colour": colour,
        "why": evidence.reasons[0] if colour == "bad" and evidence.reasons else "",
        "checks": [[CHECKED[one.passed], one.sentence] for one in evidence.checks],
        "spoken": f"Evidence: {evidence.verdict}.",
        "pending": False,
    }


def _standing(e: Explanation) -> tuple[str, str]:
    """How far a map can be what it claims before it is weighed, as a mark and in a few words."""
    name = str(e.method["name"])
    if is_control(e):
        return "", "control"
    if not e.valid:
        return "✗", "not valid for this model"
    if e.flat:
        return "✗", "flat"
    if name in xai.METHODS and xai.METHODS[name].approximate:
        return "≈", "an estimate from draws"
    return "✓", "" if e.gap is None else "adds up as promised"


def label(e: Explanation) -> str:
    """The method's name as people read it."""
    name = str(e.method["name"])
    return xai.METHODS[name].label if name in xai.METHODS else name


def facts(e: Explanation) -> list[str]:
    """What a map rests on, in short sentences."""
    rows, columns = e.grid
    height, width = e.values.shape
    fine = (rows, columns) == (height, width)
    said = [
        f"one value per pixel ({rows} × {columns})"
        if fine
        else f"resolves {rows} × {columns} cells on {height} × {width} pixels"
    ]
    said.append(f"{e.passes} passes")
    said.append(f"{e.seconds:.2f} s")
    if e.gap is not None:
        from xai_core.validity import share

        name = str(e.method["name"])
        conserved = name in xai.METHODS and xai.METHODS[name].promises == "conservation"
        whole = "f(x)" if conserved else "f(x) − f(baseline)"
        said.append(f"the values add up to {whole} with a gap of {share(e.gap)} (0% is exact)")
    if e.background:
        said.append(f"compared with {len(e.background)} background pictures")
    return said


def sample_strip(shown: Sequence[samples.Sample], chosen: str, key: str, on_pick: Callable[[str], None]) -> None:
    """Thumbnails to click, family by family. `on_pick` gets the key of the sample."""
    groups = []
    for family, title in samples.FAMILIES.items():
        members = [_thumbnail(one) for one in shown if one.family == family]
        if members:
            groups.append({"title": title, "items": members})

    def picked() -> None:
        said = state.value(key)
        name = said.get("picked") if isinstance(said, Mapping) else None
        if isinstance(name, str):
            on_pick(name)

    _samples(key=key, data={"groups": groups, "chosen": chosen}, on_picked_change=picked)


def _thumbnail(sample: samples.Sample) -> dict[str, str]:
    content = base64.b64encode(samples.sample_thumbnail(sample.key)).decode("ascii")
    return {"key": sample.key, "label": sample.label, "picture": f"data:image/jpeg;base64,{content}"}
