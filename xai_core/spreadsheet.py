"""Text in cells that a spreadsheet must show and never run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # also in full width, which some read as well


def inert(value: Any) -> Any:
    """`value` as it may stand in a cell: text that would start a formula gets an apostrophe in front; numbers stay.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{value}" if isinstance(value, str) and value.lstrip(" ").startswith(STARTS) else value


def csv_text(lines: Sequence[Mapping[str, Any]], fields: Sequence[str]) -> str:
    """The `fields` of every line as CSV, each cell inert, None as an empty cell."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([inert(field) for field in fields])
    writer.writerows([inert(line[field]) for field in fields] for line in lines)
    return out.getvalue()
