"""Every record of a folder verified, one after the other, and the chain that holds them together."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from xai_core.chain import IMPORTED, ChainReport, check, record_names
from xai_core.errors import Cancelled, RecordError
from xai_core.seal import MANIFEST, shown
from xai_core.verification import Report, existing, verify

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class StoreReport:
    """What became of all records of a folder, and of their chain.

    `verified` counts the records, and `wrong` has the reports of those that are not intact, by place below the folder.
    """

    verified: int
    wrong: Mapping[str, Report]
    chain: ChainReport

    @property
    def ok(self) -> bool:
        """Whether every record is intact, and the chain unbroken."""
        return self.chain.ok and not self.wrong

    def __str__(self) -> str:
        intact = f"Intact: {self.verified - len(self.wrong):,} of {self.verified:,} record{'s' * (self.verified != 1)}."
        lines = [f"{shown(place)}: {file}" for place, report in self.wrong.items() for file in report.wrong]
        return "\n".join([intact, *lines, str(self.chain)])


def is_store(folder: str | Path) -> bool:
    """Whether a folder is no record itself, but holds some. Raises RecordError if `folder` is none."""
    folder = existing(folder)
    return not (folder / MANIFEST).exists() and bool(_places(folder))


def verify_store(
    store: str | Path, progress: Progress | None = None, cancel: threading.Event | None = None
) -> StoreReport:
    """Compare every byte of every record in `store`, also of those that were imported, with its manifest.

    Then check the chain, in which what was imported has no place. `progress` is told (records verified, records in
    all). Raises RecordError if `store` is no folder, Cancelled once `cancel` is set.
    """
    store = existing(store)
    places, wrong = _places(store), dict[str, Report]()
    for number, place in enumerate(places, 1):
        if cancel is not None and cancel.is_set():
            raise Cancelled("Cancelled. Nothing was written.")
        report = verify(store / place)
        if not report.intact:
            wrong[place] = report
        if progress is not None:
            progress(number, len(places))
    return StoreReport(len(places), wrong, check(store, cancel=cancel))


def _places(store: Path) -> list[str]:
    """The records of a store, below it: folders with a manifest."""
    try:
        names = record_names(store)
        imported = store / IMPORTED
        if imported.is_dir() and not imported.is_symlink():
            names += [f"{IMPORTED}/{name}" for name in record_names(imported)]
    except OSError as error:
        raise RecordError(f"Cannot list {shown(store.name)}: {error.strerror}. Check its rights.") from error
    return [name for name in names if (store / name / MANIFEST).exists()]
