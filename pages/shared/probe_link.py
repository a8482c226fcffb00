"""The question of a probe as a link, and back into the widgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xai_core as xai
from pages.shared import menu, probe_form, probe_pictures, state
from pages.shared.probe_form import Asked
from pages.shared.question import TEXT_LIMIT, Network, Question, whole
from pages.shared.state import Session
from xai_core.errors import SettingError
from xai_core.probes import Probe
from xai_core.records import Finding

FROM = "from"  # which pictures, in the address


def address(visitor: Session, source: str, asked: Asked, probe: Probe) -> dict[str, str | list[str]]:
    """The query of the link. No picture travels in it, and no set."""
    image = visitor.pictures.get(visitor.chosen)
    question = Question(
        sample=visitor.sample,
        picture=visitor.chosen,
        frame=0 if image is None else image.source.get("frame", 0),
        models=tuple(
            Network(one.model.name, one.random, one.task, layer)
            for one, layer in zip(asked.models, asked.layers, strict=True)
        ),
        target=asked.target,
        methods=tuple(
            {key: value for key, value in menu.changed(one).items() if key != "layer"} for one in asked.methods[0]
        ),
        background=str(state.value("background") or "samples") if asked.background else "samples",
        seed=asked.seed or None,
    )
    words = question.to_address()
    words["probe"] = probe.name
    words |= {f"probe.{key}": str(value) for key, value in menu.changed(probe).items() if key != "name"}
    if source != "this":
        words[FROM] = source
    if not asked.methods[0]:
        words["maps"] = "false"
    return words


def question(one: Finding) -> Question:
    """What a saved finding asked, as far as pages ask alike. Of several pictures none is known but by its hash."""
    said = {key: str(one.model.get(key, "")) for key in ("name", "weights", "task", "weights_sha256")}
    random = said["weights"].startswith("drawn at random")
    layers = [str(method["layer"]) for method in one.methods if method.get("layer")]
    network = Network(said["name"], random, said["task"], layers[0] if layers else "", said["weights_sha256"])
    picture = str(one.pictures[0]) if len(one.pictures) == 1 else ""
    methods = tuple(dict(method) for method in one.methods)
    target = None if one.target is None else whole(one.target.index)
    return Question(picture=picture, models=(network,), target=target, methods=methods, seed=whole(one.seed))


def words(one: Finding, source: str) -> dict[str, list[str]]:
    """The probe of a saved finding, put to the pictures of a source, as the query of a link."""
    found = {"probe": [str(one.probe["name"])], FROM: [source]}
    found |= {f"probe.{key}": [str(value)] for key, value in one.probe.items() if key != "name"}
    names = [str(method["name"]) for method in one.methods]
    return found | ({"method": names} if names else {"maps": ["false"]})


def fill(visitor: Session, words: Mapping[str, Sequence[str]]) -> None:
    """Put what a link asks of the probe into the widgets. What is not on offer is said, and left out."""
    one = {key: values[-1][:TEXT_LIMIT] for key, values in words.items() if values}
    if one.get(FROM) in probe_pictures.SOURCES:
        state.put(probe_pictures.KEY, one[FROM])
    state.put(probe_form.COUNT, 2 if len(words.get("model", ())) > 1 else 1)
    names = [name for name in dict.fromkeys(words.get("method", ())) if name in xai.METHODS]
    if names or one.get("maps") == "false":
        state.put(probe_form.METHODS, names)
    spec: dict[str, Any] = {key.partition(".")[2]: value for key, value in one.items() if key.startswith("probe.")}
    try:
        built = xai.PROBES.build({**spec, "name": one["probe"]})
    except SettingError as error:
        visitor.say(str(error))
        return
    kind = probe_form.kind_of(built.name)
    state.put(probe_form.KIND, kind)
    state.put(f"probe of {kind}", built.name)
    for key, value in built.to_dict().items():
        if key != "name":
            state.put(probe_form.key_of(built.name, key), value)
