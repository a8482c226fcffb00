"""The pictures of an audit with what is known of each: from class folders or labels.csv, in a folder, a zip, an upload.

`labels.csv` has the columns `file,label[,group columns...][,mask][,<part>_mask...][,split]`; `mask` marks the evidence,
`<part>_mask` another part. A column of that ending in which nothing looks like a file, only yes and no, is of groups.
Nothing is decoded here: a case reads its bytes when it is asked to.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path, PurePosixPath

from xai_core.checkpoints import printable
from xai_core.errors import PictureError, SettingError
from xai_core.records import Case
from xai_core.sources import MAX_FILES, Files, files_of

TABLE = "labels.csv"
MAX_TABLE = 64 * 2**20  # bytes: 300 for each of MAX_FILES rows
MASK_OF = "the mask of "  # begins why a mask was refused, whose picture stays
SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing"}  # folders above class folders

# What a name says: those that are read, those that people take for pictures (reading them says why not), and the bare
# or numbered names that DICOM files have.
_PICTURE = re.compile(
    r"\.(png|jpe?g|jfif|webp|tiff?|bmp|dcm|dicom|ima|gif|hei[cf]|avif|svg|jp2|psd|\d+)$|(^|/)[^./]+$", re.IGNORECASE
)
_PAPERS = {"readme", "license", "licence", "copying", "notice", "authors", "changelog", "makefile", "dicomdir"}


@dataclass(frozen=True)
class CaseSet:
    """The cases of a set, in the order of labels.csv, or of their names.

    `refused` lists (name, why) of what is known to be unusable before anything is decoded: pictures, which are no
    cases then, and masks, without which their pictures stay. `said` holds sentences on what was assumed or left out.
    Every case has a text, which may be empty, under each of the `columns` in its groups.
    """

    name: str
    cases: tuple[Case, ...]
    refused: tuple[tuple[str, str], ...] = ()
    said: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    folder: str = ""  # where its pictures lie, if that is a folder of this machine


@dataclass(frozen=True)
class _Row:
    """What is said of one picture, by its row of the table or by its folders."""

    file: str
    label: str | None = None
    split: str = ""
    mask: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    parts: Mapping[str, str] = field(default_factory=dict)
    line: int | None = None

    @property
    def place(self) -> str:
        named = printable(self.file, 200)
        return named if self.line is None else f"line {self.line}, {named}"


def read_cases(
    source: str | Path | bytes | Sequence[tuple[str, bytes]],
    *,
    name: str = "",
    split: str = "",
    where: Mapping[str, str] | None = None,
) -> CaseSet:
    """The cases of a folder, of a zip (its path or bytes), or of an upload of files (names, "/" allowed, and bytes).

    labels.csv comes before class folders; its own path stands for its folder. A folder around everything in a zip or an
    upload is looked through. Without classes the cases are unlabelled. `split` and `where` (columns, or "label", and
    their values) keep the rows that match. Raises PictureError where there is no usable picture, where the source is
    not safe to read, or where labels.csv is malformed or contradicts itself; SettingError where nothing can match.
    """
    if isinstance(source, str | Path) and Path(source).name == TABLE:
        source = Path(source).parent
    files = _unwrapped(files_of(source), wrapped=not (isinstance(source, str | Path) and Path(source).is_dir()))
    files.name = printable(name, 80) or files.name
    if TABLE in files.refused:
        raise PictureError(f"{TABLE} {files.refused[TABLE]}.")
    rows, columns = _of_table(files) if TABLE in files.read else (_of_folders(files), ())
    kept = _matching(rows, columns, split, dict(where or {}))
    if len(kept) < len(rows):
        asked = ", ".join([f"split {split}"] * bool(split) + [f"{key} {value}" for key, value in (where or {}).items()])
        files.said.append(f"{len(kept)} of {len(rows)} pictures are kept: {printable(asked, 200)}.")
    cases = tuple(_cases(files, kept))
    if not cases:
        raise PictureError(_why_none(files, kept))
    unlabelled = sum(case.label is None for case in cases)
    if unlabelled:
        some = "One picture has no label" if unlabelled == 1 else f"{unlabelled} pictures have no label"
        which = "No picture has a label" if unlabelled == len(cases) else some
        files.said.append(f"{which}, so nothing tells whether a prediction of them is right.")
    home = str(Path(source).resolve()) if isinstance(source, str | Path) and Path(source).is_dir() else ""
    return CaseSet(files.name, cases, tuple(sorted(files.refused.items())), tuple(files.said), columns, home)


def unknown_labels(cases: CaseSet, labels: Iterable[str], model: str = "the model") -> list[str]:
    """What is to be said of the cases whose label is no class of the model; nothing where all are known or unlabelled.

    Labels are compared exactly. Raises SettingError where the model knows none of them.
    """
    known = dict.fromkeys(labels)
    labelled = [case for case in cases.cases if case.label is not None]
    unknown = [case for case in labelled if case.label not in known]
    if not unknown:
        return []
    theirs = _few(dict.fromkeys(case.label or "" for case in unknown))
    if len(unknown) == len(labelled):
        raise SettingError(
            f"{model} has none of the labels of {cases.name}: they are {theirs}, its classes {_few(known)}. "
            "Choose another model, or rename the labels exactly as the classes."
        )
    first = _Row(unknown[0].name, line=unknown[0].line).place
    are, they = ("picture is", "It is") if len(unknown) == 1 else ("pictures are", "They are")
    return [
        f"{len(unknown)} {are} labelled {theirs}, which {model} does not have (first: {first}). "
        f"{they} left out of its accuracy."
    ]


def _few(names: Iterable[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    shown = [printable(name, 60) or "(empty)" for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more


# ---- the table --------------------------------------------------------------------------------------------------


def table_rows(data: bytes, called: str) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV file in UTF-8 that are not blank, each with the number of the line it begins in, from 1.

    Raises PictureError, which names the byte and line, for bytes that are no text, and for quotes that do not match.
    """
    if len(data) > MAX_TABLE:
        raise PictureError(f"{called} is larger than the {MAX_TABLE >> 20} MiB that are accepted. Divide it.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise PictureError(
            f"{called} is not in UTF-8: byte {error.start + 1}, 0x{data[error.start]:02x} in line {line}, is no "
            "character. Save it as CSV in UTF-8."
        ) from None
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise PictureError(f"{called} holds a zero byte in line {line}, as UTF-16 does. Save it as CSV in UTF-8.")
    rows, begin = csv.reader(io.StringIO(text, newline=""), strict=True), 1
    try:
        for row in rows:
            if row:
                yield begin, row
            begin = rows.line_num + 1
    except csv.Error as error:
        raise PictureError(f"{called} cannot be read from line {begin} on: {error}. Save it as CSV again.") from None


def _of_table(files: Files) -> tuple[list[_Row], tuple[str, ...]]:
    """The rows of labels.csv, each file once, and the group columns."""
    data = files.read[TABLE]()
    lines = table_rows(data, TABLE)
    header = [one.strip() for one in next(lines, (1, [""]))[1]]
    _check_header(header)
    marking = _marking(header, (cells for _, cells in table_rows(data, TABLE)))
    columns = tuple(one for one in header if one not in ("file", "label", "mask", "split", *marking))
    first, again, contradictions, mentioned = dict[str, _Row](), list[_Row](), list[str](), set[str]()
    for line, cells in lines:
        if len(cells) != len(header):
            raise PictureError(
                f"Line {line} of {TABLE} has {len(cells)} cells and the first line {len(header)}. Put quotes around "
                "commas inside a cell, and end no row early."
            )
        cell = dict(zip(header, cells, strict=True))
        parts = {marking[one]: _tidy(cell[one]) for one in marking if cell[one]}
        mentioned.update([_tidy(cell.get("mask", "")), *parts.values()])
        groups = {column: cell[column] for column in columns}
        row = _Row(
            _tidy(cell["file"]),
            cell.get("label") or None,
            cell.get("split", ""),
            _tidy(cell.get("mask", "")),
            groups,
            parts,
            line,
        )
        if not row.file:
            raise PictureError(f"Line {line} of {TABLE} names no file. Fill in its first column or delete the line.")
        before = first.setdefault(row.file, row)
        if replace(row, line=before.line) != before:
            contradictions.append(f"lines {before.line} and {line} on {printable(row.file, 80)}")
        elif before is not row:
            again.append(row)
        if len(first) > MAX_FILES:
            raise PictureError(f"{TABLE} names more than {MAX_FILES:,} files. Divide it.")
    if contradictions:
        raise PictureError(
            f"{TABLE} contradicts itself: {'; '.join(contradictions[:3])} say different things"
            f"{f', and so do {len(contradictions) - 3} more pairs' if len(contradictions) > 3 else ''}. "
            "Keep the line that is right."
        )
    if not first:
        raise PictureError(f"{TABLE} names no picture: below its first line there is nothing. Add a line for each.")
    if again:
        rows = "row is" if len(again) == 1 else "rows are"
        files.said.append(f"{len(again)} {rows} in {TABLE} twice (first: {again[0].place}) and taken once.")
    unnamed = [one for one in files.read if one not in first and one not in mentioned and _is_picture(one)]
    if unnamed:
        files.said.append(f"Not in {TABLE} and left out: {_few(unnamed, 3)}.")
    return list(first.values()), columns


def _marking(header: list[str], rows: Iterator[list[str]]) -> dict[str, str]:
    """The columns that name masks of parts, and what each part is called; the first of the rows is the header."""
    ending = [place for place, column in enumerate(header) if re.search("._mask$", column)]
    files, words = set[int](), set[int]()
    for cells in islice(rows if ending else (), 1, None):
        for place in ending:
            if cell := "".join(cells[place : place + 1]):
                (files if re.search(r"\.[A-Za-z][A-Za-z0-9]{1,4}$", cell) else words).add(place)
    return {header[place]: header[place].removesuffix("_mask") for place in ending if place not in words - files}


def _check_header(header: list[str]) -> None:
    """Raise PictureError where the first line of the table does not name its columns."""
    if header == [""]:
        raise PictureError(f"{TABLE} is empty. Begin it with the line file,label.")
    if "" in header:
        raise PictureError(f"Column {header.index('') + 1} of {TABLE} has no name. Name it in the first line.")
    if twice := [name for name, times in Counter(header).items() if times > 1]:
        raise PictureError(f"{TABLE} has two columns {printable(twice[0], 60)}. Rename one.")
    if "file" not in header:
        hint = "Divide columns by commas" if len(header) == 1 and re.search("[;\t]", header[0]) else "Name it file"
        raise PictureError(f"{TABLE} has no column file, only {_few(header)}. {hint} in its first line.")


def _tidy(path: str) -> str:
    """A path of the table without what changes nothing about it. What leads elsewhere stays and is not found."""
    return path if path.startswith("/") or not path else str(PurePosixPath(path))


# ---- folders ----------------------------------------------------------------------------------------------------


def _is_picture(name: str) -> bool:
    return bool(_PICTURE.search(name)) and _last(name).lower() not in _PAPERS


def _last(name: str) -> str:
    return name.rpartition("/")[2]


def _unwrapped(files: Files, wrapped: bool) -> Files:
    """The files without the one folder that holds them all: around labels.csv, or, if `wrapped`, around anything."""
    tops = {name.partition("/")[0] for name in files.read if _last(name) == TABLE or _is_picture(name)}
    top = next(iter(tops), "")
    inner = f"{top}/"
    if len(tops) != 1 or top in files.read or not (wrapped or inner + TABLE in files.read):
        return files
    if wrapped and top.lower() in SPLITS and inner + TABLE not in files.read:
        return files
    if not any("/" in name.removeprefix(inner) or name == inner + TABLE for name in files.read):
        files.said.append(
            f"The folder {printable(top, 80)} around all pictures is taken for their set, not their class."
        )
    read = {name.removeprefix(inner): one for name, one in files.read.items() if name.startswith(inner)}
    refused = {name.removeprefix(inner): why for name, why in files.refused.items()}
    return Files(printable(top, 80) if files.name == "upload" else files.name, read, refused, files.said)


def _of_folders(files: Files) -> list[_Row]:
    """A row for every picture, its label from its first folder, or its second where the first are splits."""
    pictures = [name for name in files.read if _is_picture(name)]
    others = [name for name in files.read if not _is_picture(name)]
    if tables := [name for name in others if _last(name) == TABLE]:
        files.said.append(f"Not used, since it is not at the top: {_few(tables, 3)}. To use it, give its own folder.")
    if others:
        files.said.append(f"Passed over as no pictures: {_few(others, 3)}.")
    divided = all(name.partition("/")[0].lower() in SPLITS and "/" in name for name in pictures)
    rows = []
    for name in pictures:
        split, *parts = name.split("/") if divided else ("", *name.split("/"))
        rows.append(_Row(name, parts[0] if len(parts) > 1 else None, split))
    if labels := list(dict.fromkeys(row.label for row in rows if row.label is not None)):
        told = "The only label is the name of a folder" if len(labels) == 1 else "Labels are the names of folders"
        files.said.append(f"{told}: {_few(labels)}.")
    if rows and divided:
        files.said.append(f"The outer folders are taken for splits: {_few(dict.fromkeys(row.split for row in rows))}.")
    return rows


# ---- from rows to cases -----------------------------------------------------------------------------------------


def _matching(rows: list[_Row], columns: Sequence[str], split: str, where: Mapping[str, str]) -> list[_Row]:
    """The rows with that split and those values. Raises SettingError for a column or a value that is not there."""
    wanted = {"split": split} | dict(where) if split else dict(where)
    for column, value in wanted.items():
        offered = [*columns, *(["label"] if any(row.label for row in rows) else [])]
        if column not in ("split", *offered):
            named = f"It has {', '.join(offered)}" if offered else "It has none"
            raise SettingError(f"The set has no column {printable(column, 60)} to choose by. {named}.")
        values = [one for one in dict.fromkeys(_value(row, column) for row in rows) if one]
        if value not in values:
            choices = f"Choose among {_few(sorted(values), 20)}" if values else "Leave it out: no picture has one"
            raise SettingError(f"No picture has the {column} {printable(value, 60) or '(empty)'}. {choices}.")
    kept = [row for row in rows if all(_value(row, column) == value for column, value in wanted.items())]
    if rows and not kept:
        raise SettingError(
            f"No picture has {' and '.join(f'{column} {value}' for column, value in wanted.items())}. Ask for less."
        )
    return kept


def _value(row: _Row, column: str) -> str:
    if column == "split":
        return row.split
    return (row.label or "") if column == "label" else row.groups[column]


def _cases(files: Files, rows: Iterable[_Row]) -> Iterator[Case]:
    """The cases whose files are there; the others, and masks that are not, are added to what was refused."""
    for row in rows:
        if (read := files.read.get(row.file)) is None:
            files.refused[printable(row.file, 200)] = _why_missing(files, row.file, row)
            continue
        masks: dict[str, Callable[[], bytes]] = {}
        for part, file in {"": row.mask, **row.parts}.items():
            if file in files.read:
                masks[part] = files.read[file]
            elif file:
                files.refused[printable(file, 200)] = (
                    f"{MASK_OF}{printable(row.file, 80)} {_why_missing(files, file, row)}"
                )
        yield Case(row.file, read, row.label, row.groups, row.split, masks.pop("", None), row.line, masks)


def _why_missing(files: Files, name: str, row: _Row) -> str:
    return f"{files.why_absent(name)}, though line {row.line} of {TABLE} names it"


def _why_none(files: Files, rows: Sequence[_Row]) -> str:
    """Why a set has no case, and what to do."""
    if rows and all("does not exist" in files.refused.get(printable(row.file, 200), "") for row in rows):
        return (
            f"{TABLE} names {len(rows)} files and none of them exists (first: {rows[0].place}). Name them from the "
            f"folder of {TABLE}, with / between folders."
        )
    wanted = "Give a folder or zip with PNG, JPEG, WebP, TIFF, BMP or DICOM files"
    if files.refused:
        first, why = next(iter(files.refused.items()))
        more = f" ({len(files.refused) - 1} more were refused)" if len(files.refused) > 1 else ""
        return f"{files.name} has no picture that can be used: {first} {why}{more}. {wanted}."
    return f"{files.name} has no picture. {wanted}."
