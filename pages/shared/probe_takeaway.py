"""What a probe found, taken away: tables, figures, and the record that anybody can reopen."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from pages.shared import takeaway
from pages.shared.cached import digest
from pages.shared.state import Session
from xai_core.records import Finding

saving = takeaway.saving


def download(one: Finding, key: str) -> None:
    """Tables, figures and the record. Bytes are made when they are asked for."""
    mark = _mark(one)
    with st.popover("Download", icon=":material/download:", key=f"download finding {key}", on_change="rerun") as opened:
        if not opened.open:  # which figures there are is known when they have been drawn
            return
        st.caption("Figures have 150 dots per inch.")
        takeaway.button(
            "Everything (record, zip)", partial(_record, one), f"{_name(one)}-{mark}.zip", "application/zip"
        )
        takeaway.button("Numbers (JSON)", partial(_json, one), f"{_name(one)}-{mark}.json", "application/json")
        for name, table in one.tables.items():
            takeaway.button(
                f"{table.title} (CSV)", partial(_csv, one, name), f"{_name(one)}-{name}-{mark}.csv", "text/csv"
            )
        for name, drawn in _figures(one).items():
            file = f"{_name(one)}-{name}-{mark}.png"
            takeaway.button(f"{name.capitalize()} (PNG)", partial(_png, drawn), file, "image/png")


def save(visitor: Session, one: Finding, key: str, several: bool = False) -> None:
    """Write a record that anybody can reopen and verify. Of `several` on the page, the button says whose it is."""
    kept = (
        "Keeps what was found, every number, the pictures of the strip as the model saw them, every setting and hash. "
        "Names of uploads stay out."
    )

    def made(wished: takeaway.Wished) -> Finding:
        return replace(one, note=wished.note, reviewer=wished.reviewer)

    label = f"Save record of {one.model['name']}" if several else ""
    takeaway.save_record(visitor, made, kept, label, key)


def _mark(one: Finding) -> str:
    model = [one.model.get(key) for key in ("name", "task", "weights_sha256", "preprocessing_sha256")]
    asked = [model, dict(one.probe), [dict(method) for method in one.methods], one.pictures, one.seed, one.sentences]
    return digest(finding=asked)[:10]


def _name(one: Finding) -> str:
    return takeaway.stem(f"{one.probe['name']}_{one.model['name']}")


def _csv(one: Finding, name: str) -> str:
    from xai_core.spreadsheet import csv_text

    table = one.tables[name]
    return csv_text(table.lines(), tuple(table.words))


def _json(one: Finding) -> str:
    from xai_core.finding_files import finding_json

    return finding_json(one)


def _figures(one: Finding) -> dict[str, Any]:
    from xai_core import probe_figures

    found, strip = probe_figures.charts(one), probe_figures.filmstrip(one)
    return found if strip is None else {**found, "filmstrip": strip}


def _png(figure: Any) -> bytes:
    from xai_core.figures import png

    return png(figure)


def _record(one: Finding) -> bytes:
    from xai_core.manifest import save
    from xai_core.store import zip_record

    with tempfile.TemporaryDirectory() as place:
        return zip_record(save(one, Path(place) / "record"))
