"""How maps are taken away: figures, raw values, numbers, and records that anybody can reopen."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
import streamlit as st

from pages.shared import errors, jobs, samples, state, viewer, watch
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.question import Looks
from pages.shared.state import Session
from xai_core.errors import PictureError
from xai_core.records import Evidence, Explanation, Finding, Image, Prediction, Record, Sheet, Target

LISTED = 4  # maps; of more, one is picked from a list
NAMES_PATIENT = "its header may name the patient"
PHOTOGRAPHED = "it may tell when, where and with which camera it was taken"
GONE = "its file is no longer here. Drop it again to keep it."


def figure_looks(explained: Sequence[Explanation], looks: Looks) -> dict[str, Any]:
    """The looks as figures and records take them: maps on one signed scale need one two-sided colour map."""
    from xai_core import figures

    words = looks.to_dict()
    if looks.shared and not looks.colour_map:
        common = figures.scale_of([e.values for e in explained], looks.clip)
        words["colour_map"] = "coolwarm" if common is not None and common.signed else None
    return words


def download(
    explained: Sequence[Explanation], said: Sequence[Prediction], looks: Looks, evidence: Sequence[Evidence | None]
) -> None:
    """Figures, raw values and numbers. Bytes are made when they are asked for.

    `evidence` is what each map was weighed as so far: figures and numbers say it.
    """
    words = figure_looks(explained, looks)
    weighed = [one and asdict(one) for one in evidence]
    mark = digest(looks=words, maps=[identity(e) for e in explained], evidence=weighed)[:10]
    with st.popover("Download", icon=":material/download:"):
        st.caption("Figures have 150 dots per inch; raw maps are float32, not normalised.")
        if len(explained) > 1:
            button(
                "All maps, one sheet (PNG)",
                partial(sheet, explained, said, words, evidence),
                f"maps-{mark}.png",
                "image/png",
            )
        button("Numbers (JSON)", partial(numbers, explained, said, evidence), f"maps-{mark}.json", "application/json")
        shown = list(range(len(explained)))
        named = viewer.titles(explained)
        if len(shown) > LISTED:
            shown = [st.selectbox("One map", shown, format_func=named.__getitem__, key="one map")]
        for i in shown:
            e = explained[i]
            name = f"{stem(str(e.method['name']))}-{digest(map=identity(e), looks=words, evidence=weighed[i])[:10]}"
            left, right = st.columns(2)
            with left:
                drawn = partial(_figure, e, said, words, explained, evidence[i])
                button(f"{named[i]} (PNG)", drawn, f"{name}.png", "image/png")
            with right:
                button(f"{named[i]} (.npy)", partial(values, e), f"{name}.npy", "application/octet-stream")


def button(label: str, data: Any, name: str, mime: str) -> None:
    """Something to download. `data` may be a function that makes it."""
    st.download_button(label, data, name, mime, key=f"download {name}", on_click="ignore", width="stretch")


def stem(name: str) -> str:
    """A name that every file system takes."""
    return re.sub("[^a-z0-9_]+", "_", name.lower()).strip("_")


def identity(e: Explanation) -> list[Any]:
    """What tells a map from every other."""
    model = [e.model.get(key) for key in ("name", "task", "weights_sha256", "preprocessing_sha256")]
    return [e.image, model, dict(e.method), _asked(e.target), e.seed, e.background]


def _asked(target: Target) -> dict[str, Any]:
    words = {"class": target.label, "index": target.index, "kind": target.kind}
    return (
        words if target.against is None else {**words, "against": target.against_label, "against_index": target.against}
    )


def _figure(
    e: Explanation,
    said: Sequence[Prediction],
    words: Mapping[str, Any],
    explained: Sequence[Explanation],
    evidence: Evidence | None,
) -> bytes:
    from xai_core import figures

    own = {key: value for key, value in words.items() if key != "shared_scale"}
    shared = figures.scale_of([one.values for one in explained], own["clip"]) if words["shared_scale"] else None
    own_prediction = next((one for one in said if one.model == e.model), None)
    return figures.png(figures.panels(e, own_prediction, scale=shared, evidence=evidence, **own))


def sheet(
    explained: Sequence[Explanation],
    said: Sequence[Prediction],
    words: Mapping[str, Any],
    evidence: Sequence[Evidence | None],
) -> bytes:
    from xai_core import figures

    if len(said) > 1:
        from xai_core.comparison_figure import comparison

        return figures.png(comparison(explained, said, evidence=evidence, **words))
    return figures.png(figures.sheet(explained, *said, evidence=evidence, **words))


def values(e: Explanation) -> bytes:
    """A map's values as .npy: raw float32."""
    out = io.BytesIO()
    np.save(out, e.values, allow_pickle=False)
    return out.getvalue()


def numbers(explained: Sequence[Explanation], said: Sequence[Prediction], evidence: Sequence[Evidence | None]) -> bytes:
    """What was asked and what came out, without the arrays, as JSON. `evidence` is null where a map is not weighed."""
    words = {
        "picture_sha256": explained[0].image,
        "models": [{"identity": dict(one.model), "prediction": _answers(one)} for one in said],
        "maps": [
            {
                "model": e.model.get("name"),
                "method": dict(e.method),
                "target": _asked(e.target),
                "seed": e.seed,
                "lowest": float(e.values.min()),
                "highest": float(e.values.max()),
                "sum": float(e.values.sum(dtype=np.float64)),
                "peak_row_column": list(e.peak),
                "flat": e.flat,
                "grid": list(e.grid),
                "gap": e.gap,
                "valid": e.valid,
                "evidence": weighed and asdict(weighed),
                "background_sha256": list(e.background),
                "forward_passes": e.passes.forward,
                "backward_passes": e.passes.backward,
                "seconds": e.seconds,
                "notes": list(e.notes),
            }
            for e, weighed in zip(explained, evidence, strict=True)
        ],
    }
    return json.dumps(words, indent=2, ensure_ascii=False).encode()


def _answers(said: Prediction) -> list[dict[str, Any]]:
    word = "value" if said.task == "regression" else "probability"
    return [{"class": label, word: number} for label, number in said.top(len(said.labels))]


@dataclass(frozen=True)
class Wished:
    """What the person says who saves: a note, their name, and what is private and may travel with the record.

    That is the file of the picture, and its name, each where they chose so.
    """

    note: str = ""
    reviewer: str = ""
    file: bytes | None = None
    name: str = ""


def save(
    visitor: Session,
    explained: Sequence[Explanation],
    said: Sequence[Prediction],
    image: Image,
    looks: Looks,
    evidence: Sequence[Evidence | None],
    label: str = "",
) -> None:
    """Write a record of maps, with the verdicts that are there, that anybody can reopen and verify."""

    def made(wished: Wished) -> Record:
        return Record(
            tuple(explained),
            tuple(said),
            picture=dict(image.source),
            display=figure_looks(explained, looks),
            note=wished.note,
            evidence=tuple(evidence),
            reviewer=wished.reviewer,
            name=wished.name,
            upload=wished.file,
        )

    kept = "Keeps the maps, what the model saw, verdicts, every setting and hash."
    save_record(visitor, made, kept, label, image=image)


def file_of(visitor: Session, image: Image) -> bytes:
    """The bytes of a picture as they came. Raises PictureError where they are no longer here."""
    sha256, _ = state.place(image)
    if (sample := samples.by_hash(sha256)) is not None:
        return samples.samples()[sample].path.read_bytes()
    if sha256 not in visitor.files:
        raise PictureError(f"The picture was not kept, and nothing was saved: {GONE}")
    return visitor.files[sha256]


def save_record(
    visitor: Session,
    made: Callable[[Wished], Record | Finding | Sheet],
    kept: str,
    label: str = "",
    which: str = "",
    image: Image | None = None,
) -> None:
    """Write what `made` makes of what the person wishes; it is called in a thread, and reads nothing of the session.

    `kept` says what that keeps. Where a page has several buttons that save, `label` is what this one says, and `which`
    tells it from the rest. `image` may travel with it, and its name, each only where the person says so.
    """
    key = f"{visitor.saves} {which}".strip()
    private = f"{key} {image.sha256[:16] if image else ''}"  # a tick is about one picture, and no other

    @errors.kept
    def write() -> None:
        visitor.reviewer = str(state.value(f"name {key}") or "").strip()
        wished = Wished(
            str(state.value(f"note {key}") or "").strip(),
            visitor.reviewer,
            file_of(visitor, image) if image is not None and state.value(f"keep picture {private}") is True else None,
            image.name if image is not None and state.value(f"keep name {private}") is True else "",
        )
        visitor.saved, visitor.saved_by, visitor.unsaved = "", label, wished.note
        visitor.saves += 1
        visitor.saving = jobs.Job(jobs.saving(partial(made, wished)))

    with st.popover(plain(label or "Save record"), icon=":material/save:", type="primary", key=f"save record {key}"):
        state.start_with(f"note {key}", visitor.unsaved if visitor.saving is None and label == visitor.saved_by else "")
        st.text_area("Note (optional)", key=f"note {key}", max_chars=2000, height=90)
        state.start_with(f"name {key}", visitor.reviewer)
        st.text_input("Your name (optional)", key=f"name {key}", max_chars=100, help="Who looked, as the record says.")
        if image is not None:
            _private(visitor, image, private)
        st.caption(kept)
        disabled = visitor.saving is not None
        st.button("Save", key=f"save {which}".strip(), type="primary", on_click=write, disabled=disabled)


def _private(visitor: Session, image: Image, key: str) -> None:
    """Two ticks, both off: what may be about a person stays out unless somebody says otherwise."""
    sha256, _ = state.place(image)
    here = sha256 in visitor.files or samples.by_hash(sha256) is not None
    ticked = st.checkbox(
        "Keep the picture itself",
        key=f"keep picture {key}",
        disabled=not here,
        help="The file as it was given, with all that is in it. With it, anybody can recompute the record."
        + ("" if here else f" But {GONE}"),
    )
    if ticked and sha256 in visitor.files:
        tells = NAMES_PATIENT if image.source.get("format") == "DICOM" else PHOTOGRAPHED
        st.warning(f"All of the file travels with the record: {tells}.", icon=":material/privacy_tip:")
    st.checkbox(
        "Keep its name", key=f"keep name {key}", disabled=not image.name, help=plain(image.name or "It has none.")
    )


def saving(visitor: Session, label: str = "") -> None:
    """How saving goes, and where the record is. With `label`, only what the button that says so has begun."""
    job, own = visitor.saving, label in ("", visitor.saved_by)
    if job is not None:
        if own:
            job.wait(0.1)
        if job.running:
            if own:
                watch.progress(job, lambda: "Saving the record …")
            return
        visitor.saving, visitor.saved = None, job.result or ""
        if job.problem:
            visitor.say(job.problem)
            visitor.saves += 1  # the form begins again, with the note
        else:
            visitor.unsaved = ""
        st.rerun()
    if visitor.saved and own:
        with st.container(horizontal=True, vertical_alignment="center", key="saved"):
            st.success(f"Saved as {plain(visitor.saved)}", icon=":material/check:")
            if page := visitor.menu.get("manifests"):
                st.page_link(page, label="Saved manifests", icon=":material/inventory_2:")
