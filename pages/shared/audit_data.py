"""The pictures of an audit that is begun on a page: samples, an upload, or a folder that the server's owner offers."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from pages.shared import samples
from xai_core.errors import RecordError, SettingError

if TYPE_CHECKING:
    from xai_core.cases import CaseSet

FOLDERS = "SECOND_LOOK_DATA_FOLDERS"  # folders on the server that everybody may audit, divided as those of PATH
ASKED, KEPT = ".asked.json", ".data.zip"  # in the folder of a run: where its pictures come from, and an upload
MOST_BYTES = 500_000_000  # of one visitor's upload, which is held in memory
Uploaded = Sequence[tuple[str, bytes]]


@dataclass(frozen=True)
class Source:
    """Where pictures come from: `kind` is samples, upload or server; `which` a family of samples, or a folder."""

    kind: str
    which: str = ""


@dataclass
class Picked:
    """The set that one visitor has picked."""

    files: tuple[tuple[str, bytes], ...] = ()
    taken: int = 0  # how many times the uploader was emptied
    family_chosen: bool = False  # of the samples, by the person
    read: tuple[str, CaseSet | str] = ("", "")  # the set that was read last, or why it cannot be, by its source

    def forget(self) -> None:
        """Hold no upload any more."""
        self.files, self.read = (), ("", "")


@dataclass
class Auditing:
    """What one visitor is about to audit."""

    open: bool = False  # the form is shown
    picked: Picked = field(default_factory=Picked)
    named: tuple[str, str] = ("", "")  # the set that a name was suggested for last, and that name


def offered() -> list[str]:
    """The folders on the server that may be audited."""
    named = [one for one in os.environ.get(FOLDERS, "").split(os.pathsep) if one]
    return list(dict.fromkeys(str(Path(one).resolve()) for one in named))


def cases_of(source: Source, files: Uploaded = ()) -> CaseSet:
    """The cases of a source. Raises PictureError where there is no usable picture, SettingError where it is gone."""
    from xai_core.cases import CaseSet, read_cases
    from xai_core.records import Case

    if source.kind == "upload":
        return read_cases(files)
    if source.kind == "server":
        if source.which not in offered():
            raise SettingError(f"The folder {Path(source.which).name} is not on offer any more. Choose another.")
        return read_cases(source.which)
    title = samples.FAMILIES.get(source.which, source.which)
    these = [one for one in samples.samples().values() if one.family == source.which]
    if these and all(one.path.parent == samples.FOLDER for one in these):
        return replace(read_cases(samples.FOLDER, where={"family": source.which}, name=title), said=())
    return CaseSet(
        title,
        tuple(Case(one.path.name, one.path.read_bytes) for one in these),
        said=("No picture has a label, so nothing tells whether a prediction of them is right.",),
    )


def note(folder: Path, source: Source, kept: Uploaded = ()) -> None:
    """Note in the folder of a run, which is made, where its pictures come from, with those that are to be `kept`.

    Raises RecordError where that cannot be written.
    """
    from xai_core.durable import replace_file

    try:
        folder.mkdir(parents=True, exist_ok=True)
        if kept:
            replace_file(folder / KEPT, _packed(kept))
        replace_file(folder / ASKED, json.dumps({"kind": source.kind, "which": source.which}).encode())
    except OSError as error:
        raise RecordError(
            f"Could not write the run {folder.name}: {error.strerror or type(error).__name__}. Tell whoever runs this "
            "server."
        ) from error


def forget(folder: Path) -> None:
    """Take back what `note` wrote, where no run came of it."""
    with suppress(OSError):
        for name in (KEPT, ASKED):
            (folder / name).unlink(missing_ok=True)
        folder.rmdir()


def noted(folder: Path) -> Source:
    """Where the pictures of a run come from. Raises SettingError where the run cannot be gone on with here."""
    try:
        found = json.loads((folder / ASKED).read_bytes())
        source = Source(str(found["kind"]), str(found["which"]))
    except (OSError, ValueError, KeyError, TypeError):
        raise SettingError(
            f"{folder.name} was not begun on this page. The command that began it goes on with it."
        ) from None
    if source.kind == "upload" and not (folder / KEPT).is_file():
        raise SettingError(
            f"The pictures of {folder.name} were not kept. Give them again under Audit a set, ask the same and name "
            "the run the same: it goes on from where it was."
        )
    return source


def cases_again(folder: Path, source: Source, name: str) -> CaseSet:
    """The cases of a run that goes on. Raises as `cases_of` does."""
    from xai_core.cases import read_cases

    return read_cases(folder / KEPT, name=name) if source.kind == "upload" else cases_of(source)


def _packed(files: Uploaded) -> bytes:
    """An upload as one zip archive: itself, where it is one."""
    if len(files) == 1 and files[0][1][:2] == b"PK":
        return files[0][1]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, content in dict(files).items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return out.getvalue()
