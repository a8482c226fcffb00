"""A set of pictures: samples, an upload, or a folder that the server's owner offers, read once and described."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from pages.shared import audit_data, inputs, jobs, samples, state
from pages.shared.answers import some
from pages.shared.audit_data import Picked, Source
from pages.shared.errors import plain
from pages.shared.state import Session
from xai_core.errors import AuditError

if TYPE_CHECKING:
    from xai_core.cases import CaseSet
    from xai_core.runs import Listed, Run

AUDITS = "SECOND_LOOK_AUDITS"  # another folder of runs
MOST_LISTED = 50  # files that were refused
SOURCES = {"samples": "Samples", "files": "Files or a zip", "folder": "A folder", "server": "On this server"}


def choose(
    visitor: Session, picked: Picked, key: str, label: str = "Pictures", fitting: str = ""
) -> tuple[Source | None, CaseSet | None]:
    """Choose a set, and say what was read; None where there is none yet. `key` leads the keys of the widgets.

    The family of samples is the `fitting` one until the person chooses.
    """
    folders = audit_data.offered()
    kinds = [kind for kind in SOURCES if kind != "server" or folders]
    state.start_with(f"{key} source", kinds[0])
    kind = st.radio(
        label,
        kinds,
        format_func=SOURCES.__getitem__,
        horizontal=True,
        key=f"{key} source",
        persist_state="session",
    )
    if kind == "samples":
        families = [one for one in samples.FAMILIES if any(s.family == one for s in samples.samples().values())]
        if fitting in families and not picked.family_chosen:
            state.put(f"{key} family", fitting)
        which = st.selectbox(
            "Samples",
            families,
            format_func=samples.FAMILIES.__getitem__,
            key=f"{key} family",
            persist_state="session",
            on_change=_fit,
            args=(visitor, picked, f"{key} family"),
        )
        source = Source("samples", str(which))
    elif kind == "server":
        which = st.selectbox("Folder", folders, format_func=_folder_name, key=f"{key} folder", persist_state="session")
        source = Source("server", str(which))
    else:
        if not _uploaded(visitor, picked, key, kind == "folder"):
            return None, None
        source = Source("upload")
    found = _read(picked, source)
    if isinstance(found, str):
        st.error(plain(found), icon=":material/error:")
        return None, None
    said(found, key)
    return source, found


def _folder_name(folder: str) -> str:
    return Path(folder).name


def _fit(visitor: Session, picked: Picked, key: str) -> None:
    """Let the first model be the one that knows the samples, as long as nobody chose one."""
    picked.family_chosen = True
    if (fitting := inputs.FITTING.get(str(state.value(key)))) and 0 not in visitor.models_chosen:
        state.put("model", fitting)


def _uploaded(visitor: Session, picked: Picked, key: str, folder: bool) -> bool:
    """Take an upload; whether there is one. The uploader is empty again, and the files are held once."""
    if not picked.files:
        files = st.file_uploader(
            "A folder with class folders, or with labels.csv" if folder else "Pictures with labels.csv, or one zip",
            accept_multiple_files="directory" if folder else True,
            key=f"{key} upload {folder} {picked.taken}",
            help="labels.csv has the columns file and label, and any others to group by. Without it, folders are "
            "classes.",
        )
        if not files:
            return False
        picked.taken += 1
        if (size := sum(file.size for file in files)) > audit_data.MOST_BYTES:
            visitor.say(
                f"The upload has {size / 1e6:,.0f} MB; this page takes {audit_data.MOST_BYTES / 1e6:,.0f}. Use the "
                "command line, or ask whoever runs this server to offer the folder."
            )
        else:
            picked.files = tuple((file.name, file.getvalue()) for file in files)
            picked.read = "", ""
        st.rerun()
    with st.container(horizontal=True, vertical_alignment="center"):
        size = sum(len(content) for _, content in picked.files)
        st.caption(f"{some(len(picked.files), 'file')}, {size / 1e6:,.1f} MB")
        st.button("Remove the files", key=f"remove {key} files", icon=":material/delete:", on_click=picked.forget)
    return True


def _read(picked: Picked, source: Source) -> CaseSet | str:
    """The set, read once, or why it cannot be."""
    key = f"{source.kind} {source.which} {picked.taken}"
    if picked.read[0] != key:
        try:
            picked.read = key, audit_data.cases_of(source, picked.files)
        except AuditError as error:
            picked.read = key, str(error)
    return picked.read[1]


def said(cases: CaseSet, key: str) -> None:
    """What was read: pictures, labels, columns, what was assumed, and what was refused."""
    labels: dict[str, int] = {}
    for case in cases.cases:
        if case.label is not None:
            labels[case.label] = labels.get(case.label, 0) + 1
    about = [f"**{some(len(cases.cases), 'picture')}**"]
    if labels:
        shown = [f"{plain(label)} {count:,}" for label, count in sorted(labels.items(), key=lambda one: -one[1])[:12]]
        more = f" and {len(labels) - 12} more" if len(labels) > 12 else ""
        about.append(f"{some(len(labels), 'label')}: {', '.join(shown)}{more}")
    if cases.columns:
        about.append(f"columns: {plain(', '.join(cases.columns))}")
    st.markdown(" · ".join(about))
    for sentence in cases.said:
        st.caption(plain(sentence))
    if cases.refused:
        with st.expander(f"Refused · {len(cases.refused)}", icon=":material/block:", key=f"refused {key} files"):
            st.markdown("\n".join(f"- {plain(name)} {plain(why)}" for name, why in cases.refused[:MOST_LISTED]))
            if len(cases.refused) > MOST_LISTED:
                st.caption(f"and {len(cases.refused) - MOST_LISTED:,} more.")


# ---- audited sets --------------------------------------------------------------------------------------------------


def runs() -> dict[str, Listed]:
    """Every audited set that can be looked at, by the name of its folder, the newest first."""
    from xai_core.runs import list_runs

    folders = [jobs.audits(), *(Path(one) for one in [os.environ.get(AUDITS, "")] if one)]
    found: dict[str, Listed] = {}
    for folder in folders:
        for one in list_runs(folder) if folder.is_dir() else []:
            name, count = one.folder.name, 2
            while name in found:
                name, count = f"{one.folder.name} ({count})", count + 1
            found[name] = one
    return dict(sorted(found.items(), key=lambda item: item[1].started, reverse=True))


def of_run(run: Run) -> CaseSet:
    """The pictures of a run, had again. Raises SettingError or PictureError where they cannot be."""
    from xai_core.cases import read_cases

    name, folder = str(run.facts["data"]["name"]), run.facts["data"].get("folder")
    if isinstance(folder, str) and Path(folder).is_dir() and not (run.folder / audit_data.ASKED).exists():
        read = read_cases(folder, name=name)  # by whoever began it on the command line
    else:
        read = audit_data.cases_again(run.folder, audit_data.noted(run.folder), name)
    audited = set(run.predictions["file"])
    return replace(read, cases=tuple(case for case in read.cases if case.name in audited) or read.cases)
