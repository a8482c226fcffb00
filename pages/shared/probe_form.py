"""What is asked of the pictures: the probe with its settings, and what of the model is explained, by which methods."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import streamlit as st

import xai_core as xai
from pages.shared import cached, inputs, menu, state, targets
from pages.shared.errors import plain
from pages.shared.inquiry import NO_PICTURES
from pages.shared.probe_pictures import Pictures
from pages.shared.state import Session
from xai_core.errors import SettingError
from xai_core.registry import settings

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

    from xai_core.methods import Method
    from xai_core.models import Model
    from xai_core.probes import Probe
    from xai_core.records import Image

FIRST = ("brightness", "groups")  # of their kinds
INLINE = 4  # settings that are always seen
NEEDS_COLUMN = ("groups",)  # probes that cannot be asked without one
NONE = "–"  # where a text is left empty
METHODS, COUNT, KIND = "probe methods", "probe models", "probe kind"
KINDS = {  # under which probes are offered
    "camera": "Lighting and camera",
    "occlusion": "Occlusion",
    "groups": "Groups",
    "shortcut": "Shortcuts",
    "background": "Where it looks",
}


def kind_of(name: str) -> str:
    """Under which of KINDS a probe is offered."""
    cls = xai.PROBES[name]
    if cls.kind != "dose":
        return str(cls.kind)
    return "occlusion" if getattr(cls, "part", "") else "camera"


def in_order() -> Mapping[str, list[str]]:
    """The probes, by their kind."""
    names = sorted(xai.PROBES, key=lambda name: (name not in FIRST, xai.PROBES[name].label))
    found = {kind: [name for name in names if kind_of(name) == kind] for kind in KINDS}
    return {kind: members for kind, members in found.items() if members}


def key_of(probe: str, setting: str) -> str:
    """The key of the widget of a setting."""
    return f"probe {probe}.{setting}"


def probe(pictures: Pictures, labels: Sequence[str], place: DeltaGenerator) -> Probe:
    """Choose a probe, and its settings at a `place` of the sidebar. `labels` are the classes of the model."""
    offered = in_order()
    if state.value(KIND) not in offered:
        state.put(KIND, next(iter(offered)))
    # Not by buttons that are lit up: on a dark page their words would not stand out from the light.
    kind = str(
        st.radio(
            "Probe", list(offered), format_func=KINDS.__getitem__, horizontal=True, key=KIND, persist_state="session"
        )
    )
    members, key = offered[kind], f"probe of {kind}"
    if state.value(key) not in members:
        state.put(key, members[0])
    name = members[0]
    if len(members) > 1:
        name = str(
            st.selectbox(
                KINDS[kind],
                members,
                format_func=lambda one: xai.PROBES[one].label,
                key=key,
                persist_state="session",
                label_visibility="collapsed",
            )
        )
    cls = xai.PROBES[name]
    st.markdown(f"**{plain(cls.label)}.** {plain(cls.summary())} Its settings are in the sidebar.")
    drawn = settings(cls)
    with place:
        st.markdown(f"**Settings of the probe: {plain(cls.label)}**")
        given = _settings(cls.name, drawn[:INLINE], pictures, labels, {})
        if len(drawn) > INLINE:
            with st.expander("More settings", icon=":material/tune:", key=f"more of {name}"):
                given |= _settings(cls.name, drawn[INLINE:], pictures, labels, given)
    return xai.PROBES.build({"name": name, **given})


Fields = Sequence[dataclasses.Field[Any]]


def _settings(
    name: str, drawn: Fields, pictures: Pictures, labels: Sequence[str], given: Mapping[str, Any]
) -> dict[str, Any]:
    """What the settings are set to. `given` are those that were drawn before."""
    found = dict(given)
    for field in drawn:
        key = key_of(name, field.name)
        if field.name == "column":
            found["column"] = _among(key, field, _columns(pictures), needed=name in NEEDS_COLUMN)
        elif field.name == "reference":
            bands = str(state.value(key_of(name, "bands")) or "")
            found["reference"] = _reference(key, field, pictures, str(found["column"]), bands)
        elif field.name == "positive":
            found["positive"] = _among(key, field, labels)
        elif field.name == "threshold":
            if found.get("positive"):
                found["threshold"] = menu.setting(key, field)
                st.caption(_operating(float(found["threshold"]), str(found["positive"])))
        elif field.name == "artefacts":
            found["artefacts"] = _artefacts(key, field)
        else:
            found[field.name] = menu.setting(key, field)
    return found


def _columns(pictures: Pictures) -> list[str]:
    """The columns that hold something; first those that divide the pictures into groups, last those of one value."""

    from xai_core.grouping import group_value

    senses = {}
    for column in pictures.columns:
        texts = [text.casefold() for one in pictures.cases if (text := group_value(one, column))]
        if kinds := len(set(texts)):
            senses[column] = 2 if kinds == 1 else 1 if kinds == len(texts) else 0
    return sorted(senses, key=senses.__getitem__)


def _reference(key: str, field: dataclasses.Field[Any], pictures: Pictures, column: str, bands: str) -> str:
    """Choose among the groups as the probe makes them; none where it cannot, which it says when it is asked."""
    from xai_core.grouping import grouping
    from xai_core.records import Case

    try:
        groups = grouping([one for one in pictures.cases if isinstance(one, Case)], column, bands)
    except SettingError:
        return _among(key, field, [])
    if given := str(state.value(key) or ""):  # of a link, it may be written otherwise
        state.put(key, groups.named(given) or "")
    return _among(key, field, groups.groups, empty="the largest")


def _operating(threshold: float, positive: str) -> str:
    """What an operating point means."""
    if not threshold:
        return (
            f"At 0, {plain(positive)} counts as predicted where it is the most probable class; of a model whose labels "
            "do not exclude one another, from 50 % on."
        )
    return f"{plain(positive)} counts as predicted where its probability is {100 * threshold:.3g} % or more."


def _among(
    key: str, field: dataclasses.Field[Any], offered: Sequence[str], *, needed: bool = False, empty: str = NONE
) -> str:
    """Choose a text among those that there are; `empty` is a choice, too, unless one is `needed`."""
    options = [*offered] if needed and offered else ["", *offered]
    if state.value(key) not in options:
        state.put(key, options[0])
    chosen = st.selectbox(
        field.metadata["label"],
        options,
        format_func=lambda one: one or empty,
        key=key,
        persist_state="session",
        help=field.metadata["help"] or None,
        disabled=not offered,
    )
    return str(chosen or "")


def _artefacts(key: str, field: dataclasses.Field[Any]) -> str:
    """Choose which artefacts are planted; all of them stand for those that are still to come, too."""
    from xai_core.artefacts import ARTEFACTS

    every = list(ARTEFACTS)
    shown = f"{key} shown"
    if state.value(key) is not None:  # from a link
        named = [one.strip() for one in str(state.value(key)).split(",")]
        state.put(shown, every if named == ["all"] else [one for one in named if one in ARTEFACTS])
        state.put(key, None)
    state.start_with(shown, every)
    chosen = st.multiselect(
        field.metadata["label"],
        every,
        format_func=lambda one: ARTEFACTS[one].label,
        key=shown,
        persist_state="session",
        help="Planted into each picture, one at a time.",
    )
    return "all" if len(chosen) == len(every) else ",".join(chosen)


# ---- the sidebar ---------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Asked:
    """What is asked of every model: its methods, and the class, None the predicted one. `unknown` lack that class."""

    models: Sequence[inputs.Chosen]
    layers: Sequence[str]
    methods: Sequence[Sequence[Method]]  # of each model
    target: int | None  # a class of the first model
    seed: int
    background: Sequence[Image]

    @property
    def label(self) -> str | None:
        """The class that is explained, by its name."""
        return None if self.target is None else self.models[0].model.labels[self.target]

    def target_of(self, slot: int) -> int | None:
        """That class as a number of another model, which is asked about its own predicted one where it has none."""
        labels = self.models[slot].model.labels
        if slot == 0 or self.label is None:
            return self.target
        return labels.index(self.label) if self.label in labels else None


def models(visitor: Session) -> list[inputs.Chosen]:
    """Choose one model, or two to see side by side."""
    state.start_with(COUNT, 1)
    count = st.segmented_control(
        "Models",
        [1, 2],
        key=COUNT,
        persist_state="session",
        required=True,
        width="stretch",
        help="Two are probed on the same pictures, and shown side by side.",
    )
    return [inputs.model(visitor, slot) for slot in range(int(count or 1))]


def asked(visitor: Session, chosen: Sequence[inputs.Chosen], image: Image | None) -> Asked:
    """Choose what of the models is explained, and by which methods."""
    opened: list[Model] = [one.model for one in chosen]
    first = opened[0]
    word = "output" if first.identity["task"] == "regression" else "class"
    target = targets.one_class(
        first.labels, f"target {first.name}", f"Target {word}", f"the predicted {word}", first.name, visitor
    )
    if len(opened) > 1 and target is not None and first.labels[target] not in opened[1].labels:
        st.caption(
            f"{plain(opened[1].name)} has no class {plain(first.labels[target])}: it is asked about the class that "
            "it predicts."
        )
    named = menu.several(opened, METHODS, ["grad_cam"])
    reads = any(menu.reads_a_layer(one["name"]) for one in named)
    slots: list[int | None] = [None] if len(opened) == 1 else list(range(len(opened)))
    layers = [menu.layer(model, visitor, slot) if reads else "" for model, slot in zip(opened, slots, strict=True)]
    methods = [
        [xai.METHODS.build({**one, **({"layer": layer} if menu.reads_a_layer(one["name"]) else {})}) for one in named]
        for layer in layers
    ]
    compared = any("pictures" in one.to_dict().values() for one in methods[0])
    background = inputs.background(visitor, first.name, image) if compared else []
    if compared and not background:
        raise xai.AuditError(NO_PICTURES)
    if not named:
        st.caption("Without a method no maps are made: the probe asks about predictions alone.")
    return Asked(chosen, layers, methods, target, inputs.seed(), background)


def load() -> None:
    """Import what is heavy."""
    with st.spinner("Loading the libraries (once, some seconds)"):
        cached.load_core()
