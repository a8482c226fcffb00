"""The answers: what the model said, the maps, and what they rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.shared import cached, errors, inputs, samples, state, takeaway, viewer
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.question import Looks
from pages.shared.shelf import megabytes
from pages.shared.state import Session
from xai_core.records import Evidence, Explanation, Image, Prediction, Target

if TYPE_CHECKING:
    from xai_core.images import Preprocessing
    from xai_core.models import Model

SHOWN_CLASSES = 5
WEIGHING = (
    "Says beside each map how far it can be believed: whether it does better than maps that know nothing of the model, "
    "than itself in the wrong place, and than a network that has learnt nothing. Takes longer than the maps; without "
    "it they are shown unjudged."
)


WELCOME = (
    "See **why an image classifier said what it said**: pick a picture, and several attribution methods show, side by "
    "side and on honest scales, what the model looked at."
)


def welcome(visitor: Session, words: str = WELCOME) -> None:
    """Nothing is chosen yet: what the page is for, and what to do."""
    if visitor.wanted:
        st.info(
            f"The link or record is about a picture whose sha256 begins with {plain(visitor.wanted[:16])}. Pictures "
            "are never part of a link: drop the same file here again, and the question is asked with all its settings.",
            icon=":material/attach_file:",
        )
    else:
        st.markdown(words)
    left, right = st.columns([1, 1.35], gap="large")
    with left:
        st.header("Drop a picture", anchor=False)
        inputs.uploader(visitor, "Drop one or several pictures")
        st.caption("An X-ray, a face, any picture. It stays on this machine and in this session.")
    with right:
        st.header("Or pick a sample", anchor=False)
        inputs.sample_strip(visitor, "samples first")


def picture(visitor: Session, image: Image) -> None:
    """The picture as it was given."""
    name = f"Sample: {samples.samples()[visitor.sample].label}" if visitor.sample else image.name or "picture"
    facts = image.source
    st.image(samples.thumbnail(image, 640), width=260, alt=f"The picture as given: {name}")
    st.text(name)
    st.caption(plain(f"{facts.get('format', 'picture')}, {facts.get('width')} × {facts.get('height')} pixels"))
    for sentence in facts.get("assumed", ()):
        st.caption(plain(sentence))


def notice(identity: Mapping[str, Any]) -> None:
    """What must be known about a model wherever it is shown."""
    if words := identity.get("notice"):
        st.warning(plain(words), icon=":material/warning:")


def prediction(said: Prediction, target: Target, *others: Target) -> None:
    """What the model said: the likeliest classes as bars, and the explained one if it is not among them.

    `others` are explained as well.
    """
    from xai_core.canvas import answered

    order, index = [int(i) for i in said.order()], target.index
    explained = {index, *(other.index for other in others)}
    st.caption(f"Predicted by **{plain(said.model['name'])}** on {plain(said.model.get('device', 'cpu'))}")
    st.markdown(f"## {plain(said.labels[order[0]])} &nbsp; {plain(answered(said, order[0]))}")
    notice(said.model)
    if said.task == "multi label" and len(order) > 1:
        st.caption("Labels do not exclude one another: each has a probability of its own, and they need not sum to 1.")
    shown = order[:SHOWN_CLASSES]
    for i in shown if index in shown else [*shown, index]:
        mark = " · target" if i in explained else " · what the target is held against" if i == target.against else ""
        words = f"{plain(said.labels[i])} · **{plain(answered(said, i))}**{mark}"
        if said.task == "regression":
            st.markdown(words)
        else:
            st.progress(float(min(1, said.probabilities[i])), text=words)
    if said.task == "regression" and len(order) <= SHOWN_CLASSES:
        return
    noun = "outputs" if said.task == "regression" else "classes"
    words = f"All {len(order)} {noun}" if len(order) > 1 else "In numbers"
    with st.expander(words, on_change="rerun", key="all classes") as every:
        if every.open:
            table: dict[str, list[Any]] = {"class": [said.labels[i] for i in order]}
            if said.task != "regression":
                table["probability"] = [float(said.probabilities[i]) for i in order]
            st.dataframe(
                {**table, "output" if said.task == "regression" else "logit": [float(said.logits[i]) for i in order]},
                hide_index=True,
                column_config={"probability": st.column_config.NumberColumn(format="percent")},
            )


@dataclass(frozen=True)
class Shown:
    """What there is to show: maps and what they were weighed as, by their keys.

    `waiting` are the maps that are still worked on; `weighing` says whether verdicts are.
    """

    explained: Mapping[str, Explanation]
    evidence: Mapping[str, Evidence]
    waiting: Sequence[viewer.Waiting]
    weighing: bool


def heading() -> bool:
    """The heading over the maps, and whether they are weighed."""
    state.start_with("weigh", True)
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="bottom"):
        st.header("Attribution maps", anchor=False, width="content")
        return st.toggle("Weigh the evidence", key="weigh", persist_state="session", width="content", help=WEIGHING)


def maps(
    visitor: Session,
    shown: Shown,
    said: Sequence[Prediction],
    image: Image,
    key: str = "maps",
    save: str = "",
) -> None:
    """The viewer, and what can be taken away. Looking at maps otherwise redraws this part of the page alone.

    `said` is what each model said of the picture. `key` names the viewer: how one is looked at says nothing of others.
    `save` is what the button says that writes a record of the maps, where the page has another that writes one.
    """
    explained = list(shown.explained.values())
    evidence = [shown.evidence.get(key) for key in shown.explained]
    awaited = bool(visitor.jobs)

    @errors.kept
    def looked() -> None:
        state.look(key, (state.value(key) or {}).get("looks"))

    @st.fragment
    def drawn() -> None:
        if visitor.heard:
            visitor.heard = False
            if not visitor.jobs or any(not job.running or job.news for job in visitor.jobs):
                st.rerun()
        with errors.shown_here():
            viewer.maps(
                explained,
                key,
                visitor.looks[key],
                visitor.looks_given,
                looked,
                shown.waiting,
                evidence,
                weighing=shown.weighing,
                awaited=_awaited if awaited else None,
                picture=image,
            )
            plain_pictures(explained, said, visitor.looks[key], evidence, key)
            with st.container(horizontal=True, key="take-away"):
                takeaway.download(explained, said, visitor.looks[key], evidence)
                takeaway.save(visitor, explained, said, image, visitor.looks[key], evidence, save)
            takeaway.saving(visitor, save)

    drawn()


def plain_pictures(
    explained: Sequence[Explanation],
    said: Sequence[Prediction],
    looks: Looks,
    evidence: Sequence[Evidence | None],
    key: str,
) -> None:
    """The same maps as one figure, drawn when it is asked for: for a browser in which the viewer cannot run."""
    with st.expander("As plain pictures", icon=":material/image:", on_change="rerun", key=f"plain {key}") as pictures:
        if pictures.open:
            words = takeaway.figure_looks(explained, looks)
            weighed = [one and asdict(one) for one in evidence]
            shown = digest(looks=words, maps=[takeaway.identity(e) for e in explained], evidence=weighed)
            drawn = cached.drawn(shown, partial(takeaway.sheet, explained, said, words, evidence))
            st.image(drawn, alt="What each model saw, each attribution map with its colour bar, and the overlay")


def _awaited() -> None:
    state.session().heard = True


def flat_maps(explained: Sequence[Explanation]) -> None:
    """Say which maps show nothing, in words and not by a grey picture alone."""
    said: dict[str, list[str]] = {}
    for name, e in zip(viewer.titles(explained), explained, strict=True):
        if e.flat and not viewer.is_control(e):
            said.setdefault(e.flat, []).append(name)
    for why, names in said.items():
        st.warning(f"{plain(', '.join(names))}: {plain(why)}", icon=":material/do_not_disturb_on:")


def against_truth(visitor: Session, explained: Sequence[tuple[str, Explanation, Preprocessing]]) -> None:
    """Where each map peaks against the marked evidence of the picture; each with its name and what its model sees."""
    mask = inputs.evidence_mask(visitor)
    if mask is None or all(e.flat for _, e, _ in explained):
        return
    from xai_core.truth import in_words, seen_by

    lines = [
        f"- **{plain(name)}** {plain(in_words(e, seen_by(mask, preprocessing)))}."
        for name, e, preprocessing in explained
        if not e.flat
    ]
    with st.expander("Against the marked evidence", icon=":material/target:"):
        st.markdown("\n".join(lines))
        st.caption("A statement about the picture: a model may rightly or wrongly look elsewhere.")


# ---- what it rests on ----------------------------------------------------------------------------------------------


def model_card(model: Model) -> None:
    """Where a model comes from, what it was given, how good it is, and what it must not be used for."""
    card = model.card
    with st.expander(f"Model card: {plain(model.name)}", icon=":material/badge:"):
        notice(model.identity)
        for key in ("data", "limits"):
            if key in card:
                st.markdown(f"**{key.capitalize()}.** {plain(card[key])}")
        if planted := card.get("planted"):
            goes = f"{card['attribute'].replace('_', ' ')}, " if "attribute" in card else ""
            how = f" In {card['agreement']:.0%} of its training pictures." if "agreement" in card else ""
            st.markdown(f"**Planted shortcut.** {plain(f'{goes}{_words(planted)}.{how}')}")
        if held_out := card.get("held_out"):
            st.markdown("**Accuracy on held-out pictures**")
            st.markdown("\n".join(_accuracy_table(held_out)))
        rows = [f"| **{title}** | {plain(words)} |" for title, words in _model_facts(model)]
        st.markdown("\n".join(["| Model | |", "|:--|:--|", *rows]))
        st.caption("sha256 of the weights, and of the preprocessing")
        for key in ("weights_sha256", "preprocessing_sha256"):
            st.code(model.identity[key], language=None, wrap_lines=True)


def _model_facts(model: Model) -> list[tuple[str, str]]:
    """What a model is and how it is fed: pairs of a title and words."""
    said, fed = model.identity, model.preprocessing
    _, height, width = fed.input_size
    first = ", ".join(model.labels[:SHOWN_CLASSES]) + (", …" if len(model.labels) > SHOWN_CLASSES else "")
    shelf = cached.shelf
    return [
        ("Name", model.name),
        ("Architecture", str(said.get("architecture", type(model.module).__name__))),
        ("Weights", str(said.get("weights", "as they were given"))),
        ("Parameters", f"{said['parameters']:,}"),
        ("Memory", f"{megabytes(model):,.1f} MB of weights, {said['dtype']}"),
        ("Device", str(said["device"])),
        ("Input size", f"{width} × {height} pixels, 3 channels"),
        ("Mean", _words(fed.mean)),
        ("Standard deviation", _words(fed.std)),
        ("Interpolation", fed.interpolation),
        ("Crop", f"{fed.crop_mode}, fraction {fed.crop_fraction:.4g}"),
        ("Outputs", f"{said['task']}" + (f": {why}" if (why := said.get("task_from")) else "")),
        ("Labels", f"{len(model.labels):,}: {first}"),
        ("Labels from", str(said.get("labels_from", "not stated"))),
        ("Licence of the weights", str(said.get("licence", "not stated"))),
        ("Models held now", f"{len(shelf)} of {shelf.places} places, {shelf.megabytes:,.0f} MB"),
    ]


def _accuracy_table(held_out: Mapping[str, Any]) -> list[str]:
    def row(name: str, one: Mapping[str, Any]) -> str:
        low, high = one["interval"]
        return f"| {plain(name)} | {one['accuracy']:.1%} | {low:.1%} to {high:.1%} | {one['n']:,} |"

    rows = ["| Pictures | Accuracy | 95 % interval | n |", "|:--|--:|:--|--:|", row("all", held_out)]
    rows += [row(name, one) for name, one in held_out.get("conditions", {}).items()]
    for group, members in held_out.get("by_group", {}).items():
        rows += [row(f"{group.replace('_', ' ')}: {name}", one) for name, one in members.items()]
    return rows


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{str(key).replace('_', ' ')}: {_words(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_words(one) for one in value)
    return "none" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def picture_facts(image: Image) -> None:
    """What the file was, and what was taken for granted while decoding it."""
    with st.expander("This picture", icon=":material/image:"):
        words = {key: value for key, value in image.source.items() if key != "assumed"}
        st.code("\n".join([f"sha256: {image.sha256}", *(f"{k}: {_words(v)}" for k, v in words.items())]), language=None)
        for sentence in image.source.get("assumed", ()):
            st.markdown(f"- {plain(sentence)}")


def refused(model_name: str, reasons: Sequence[tuple[str, str]]) -> None:
    """Methods that were chosen but say nothing about this model, with the reason."""
    for label, reason in reasons:
        st.info(f"**{plain(label)}** was not run on {plain(model_name)}. {plain(reason)}", icon=":material/block:")
