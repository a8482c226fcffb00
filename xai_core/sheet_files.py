"""A sheet as the files that it is saved in, and back: its tables in `sheet.json`, and each as CSV for a spreadsheet.

What is attached to it lies beside them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from xai_core.declared import ABOUT, check, fields
from xai_core.finding_files import Content, csv_files, spelled, tables_of
from xai_core.records import Sheet
from xai_core.seal import KINDS

SHEET = "sheet.json"


def files_of(sheet: Sheet) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file of a record but its manifest. Raises ValueError for a name that no record has."""
    if odd := [name for name in sheet.attached if not (_is_attached(name) and KINDS[sheet.kind].names.fullmatch(name))]:
        raise ValueError(f"nothing called {odd[0]!r} is attached to {sheet.kind}")
    yield SHEET, json.dumps({"tables": spelled(sheet.tables)}, indent=1, allow_nan=False).encode()
    yield from csv_files(sheet.tables)
    yield from sheet.attached.items()


def _is_attached(name: str) -> bool:
    """Whether a file is neither the tables nor one of them for a spreadsheet."""
    return name != SHEET and not name.endswith(".csv")


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
    check(manifest["about"], ABOUT)
    try:
        said = json.loads(content(SHEET))
    except RecursionError:
        raise ValueError("nested too deep") from None
    return Sheet(
        **fields(Sheet, manifest, ("kind", "about", "sentences", "note", "reviewer")),
        tables=tables_of(said["tables"]),
        manifest=manifest,
        attached={name: content(name) for file in manifest["files"] if _is_attached(name := file["name"])},
    )
