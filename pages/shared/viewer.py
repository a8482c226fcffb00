"""The viewer: all maps of one picture side by side, drawn in the browser, so that looking costs no round trip.

Values are sent once, raw. Three things travel, and each only when it has changed: the viewer itself, with its code and
the palettes; the words, in JSON; and every array in a parcel of its own, named by the sha256 of its bytes. Streamlit
sends a large message that the browser already has by its hash alone, so a verdict costs its words and no map travels
twice. Names and labels are in the words and become text, never markup.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

import xai_core as xai
from pages.shared import samples, state
from pages.shared.cached import digest, drawn
from pages.shared.question import Looks
from xai_core.records import Evidence, Explanation, Image

HERE = Path(__file__).resolve().parent / "browser"
CODE = ("viewer_colours.js", "viewer_parts.js", "viewer_view.js", "viewer_swipe.js", "viewer.js")
FINEST = 2048  # pixels of the longer side of the upload, as it is shown when zoomed in


def source(*names: str) -> str:
    """What the browser runs, as one module."""
    return "\n".join((HERE / name).read_text("utf-8") for name in names)


_maps = st.components.v2.component(
    "second_look.viewer", html='<div class="viewer"></div>', css=source("viewer.css"), js=source(*CODE)
)
_parcel = st.components.v2.component("second_look.parcel", html="<div hidden></div>", js=source("parcel.js"))
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


Waiting = str | tuple[str, str]  # a method whose map is still worked on, and what to call that map if not by its label


@dataclass(frozen=True)
class Scene:
    """What is sent to the browser: words that JSON can hold, and arrays as bytes under the names that the words use."""

    words: Mapping[str, Any]
    arrays: Mapping[str, bytes]


def maps(
    explanations: Sequence[Explanation],
    key: str,
    looks: Looks,
    given: int,
    on_look: Callable[[], None],
    waiting: Sequence[Waiting] = (),
    evidence: Sequence[Evidence | None] = (),
    *,
    weighing: bool = False,
    awaited: Callable[[], None] | None = None,
    picture: Image | None = None,
) -> None:
    """Draw the maps. `given` counts how often the server has set the looks; else the browser keeps its own.

    `on_look` is called when the visitor has changed them and leaves the viewer. `waiting` are methods whose maps
    are still worked on, alone or each with the title of its map; `evidence` is what each map was weighed as, and
    `weighing` says that the rest is on its way. While something is awaited, the browser calls `awaited` every few
    seconds: whatever else is lost, that is not. Where `picture`, the upload, is finer than what a model saw of it,
    overlays that are zoomed into show its own pixels.
    """
    scene = packed(
        explanations, looks, given, waiting, evidence, weighing=weighing, awaited=awaited is not None, picture=picture
    )
    name = f"words of {key}"
    with st.container(gap=None):
        _maps(
            key=key,
            data={"words": name, **_palettes()},
            on_looks_change=on_look,
            on_awaiting_change=awaited or _not_at_all,
        )
        for sent, content in {name: json.dumps(scene.words).encode(), **scene.arrays}.items():
            _parcel(key=f"{key}: {sent}", data=f"{sent}\n".encode() + content)


def _not_at_all() -> None:
    """What is heard after nothing is awaited any more."""


def _palettes() -> dict[str, Any]:
    from xai_core import figures
    from xai_core.colours import TWO_SIGNED

    colours = {name: base64.b64encode(figures.palette(name).tobytes()).decode() for name in figures.COLOUR_MAPS}
    return {"palettes": colours, "two_signed": list(TWO_SIGNED)}


def packed(
    explanations: Sequence[Explanation],
    looks: Looks,
    given: int,
    waiting: Sequence[Waiting] = (),
    evidence: Sequence[Evidence | None] = (),
    *,
    weighing: bool = False,
    awaited: bool = False,
    picture: Image | None = None,
) -> Scene:
    """What is sent to the browser. Equal arrays are sent once.

    Pictures (h, w, 3) uint8 as the models saw them, each with its box in the upload; maps (h, w) float32 in little
    endian order, each with the number of its picture; and the upload as a JPEG, where it is finer than one of them.
    """
    from xai_core.records import models_of

    arrays: dict[str, bytes] = {}

    def sent(content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        arrays[name] = content
        return name

    boxes, titled = _boxes(explanations), titles(explanations)
    models, weighed = models_of(explanations), evidence or [None] * len(explanations)
    pictures: list[dict[str, Any]] = []
    described = []
    for e, box, title, one in zip(explanations, boxes, titled, weighed, strict=True):
        height, width = e.values.shape
        shown = {"height": height, "width": width, "box": box, "array": sent(e.pixels.tobytes())}
        if shown not in pictures:
            pictures.append(shown)
        words = {"title": title, "who": models.index(e.model), "picture": pictures.index(shown)}
        words |= {"array": sent(e.values.astype("<f4").tobytes()), **_described(e, one, weighing)}
        described.append(words)
    seen = {
        "maps": described,
        "order": _order(explanations, described, waiting),
        "pictures": pictures,
        "area": _area(boxes),
        "several": len(models) > 1,
        "upload": None,
    }
    if picture is not None and all(e.box for e in explanations) and _finer(picture, pictures):
        height, width = picture.pixels.shape[:2]
        jpeg = drawn(digest(picture=picture.sha256, side=FINEST), partial(samples.thumbnail, picture, FINEST))
        seen["upload"] = {"height": height, "width": width, "array": sent(jpeg)}
    said = {"looks": looks.to_dict(), "given": given, "awaited": awaited}
    return Scene({"id": digest(**seen), **seen, **said}, arrays)


def titles(explanations: Sequence[Explanation]) -> list[str]:
    """What to call each map beside the others: its method, led by its model, or its target, where there are several."""
    from xai_core.comparison import names_of
    from xai_core.records import models_of

    models = models_of(explanations)
    names, several = names_of(models), len({e.target for e in explanations}) > 1

    def led(e: Explanation) -> list[str]:
        return [names[models.index(e.model)]] if len(models) > 1 else [str(e.target)] if several else []

    return [" · ".join([*led(e), label(e)]) for e in explanations]


Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels of the upload


def _boxes(explanations: Sequence[Explanation]) -> list[Box]:
    """Where each picture lies in the upload. Old records do not say: then all are taken for the same area."""
    boxes = [e.box for e in explanations if e.box]
    height, width = explanations[0].values.shape
    return boxes if len(boxes) == len(explanations) else [(0.0, 0.0, float(width), float(height))] * len(explanations)


def _area(boxes: Sequence[Box]) -> Box:
    """What holds all boxes."""
    left, top, right, bottom = zip(*boxes, strict=True)
    return min(left), min(top), max(right), max(bottom)


def _finer(picture: Image, pictures: Sequence[Mapping[str, Any]]) -> bool:
    """Whether the upload, as it would be sent, has more pixels in some box than the model saw of it."""
    sent = min(1, FINEST / max(picture.pixels.shape[:2]))
    return any(sent * (one["box"][2] - one["box"][0]) > one["width"] for one in pictures)


def _order(
    explanations: Sequence[Explanation], described: Sequence[Mapping[str, Any]], waiting: Sequence[Waiting]
) -> list[dict[str, Any]]:
    """What is seen, one after the other: maps and those that are still worked on, controls last."""
    places = [(str(e.method["name"]), {"id": words["id"]}) for e, words in zip(explanations, described, strict=True)]
    if waiting:
        from pages.shared.menu import in_order

        names = [name for _, members in in_order() for name in members]
        for one in waiting:
            name, title = (one, xai.METHODS[one].label) if isinstance(one, str) else one
            places.append((name, {"waiting": title}))
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
        "grid": list(e.grid),
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
