"""A sheet as the files that it is saved in, and back: its tables in `sheet.json`, and each as CSV for a spreadsheet."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from xai_core.finding_files import Content, csv_files, sentences_of, spelled, tables_of
from xai_core.records import Sheet

SHEET = "sheet.json"


def files_of(sheet: Sheet) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file of a record but its manifest."""
    yield SHEET, json.dumps({"tables": spelled(sheet.tables)}, indent=1, allow_nan=False).encode()
    yield from csv_files(sheet.tables)


def fields_of(sheet: Sheet) -> dict[str, Any]:
    """What the manifest says of a sheet."""
    return {
        "about": sheet.about,
        "sentences": list(sheet.sentences),
        "note": sheet.note,
        "reviewer": sheet.reviewer,
    }


def sheet_of(manifest: Mapping[str, Any], content: Content) -> Sheet:
    """What was saved. Raises Damage for a file that is not as it was, KeyError, TypeError or ValueError for others."""
    try:
        said = json.loads(content(SHEET))
    except RecursionError:
        raise ValueError("nested too deep") from None
    return Sheet(
        kind=manifest["kind"],
        about=manifest["about"],
        sentences=sentences_of(manifest["sentences"]),
        tables=tables_of(said["tables"]),
        note=str(manifest["note"]),
        reviewer=str(manifest["reviewer"]),
        manifest=manifest,
    )
