"""The pictures of an audit: from folders, tables, archives and uploads, by hand-made and by hostile ones."""

from __future__ import annotations

import io
import os
import struct
import threading
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.conftest import ROOT, photograph, png_of
from xai_core import cases, sources
from xai_core.cases import CaseSet, read_cases, unknown_labels
from xai_core.errors import PictureError, SettingError
from xai_core.images import read_image
from xai_core.truth import truth_beside

Give = Callable[[Mapping[str, bytes]], CaseSet]

CLASSES = {"cat/b.png": b"cat b", "cat/a.png": b"cat a", "dog/1.jpg": b"dog 1"}


def folder_of(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def zip_of(files: Mapping[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def zip_with(*members: tuple[zipfile.ZipInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for info, content in members:
            archive.writestr(info, content)
    return buffer.getvalue()


@pytest.fixture(params=["folder", "zip", "zip bytes", "wrapped zip", "upload", "uploaded folder", "uploaded zip"])
def give(request: pytest.FixtureRequest, tmp_path: Path) -> Give:
    """The same files on every way in."""

    def read(files: Mapping[str, bytes]) -> CaseSet:
        if request.param == "folder":
            return read_cases(folder_of(tmp_path / "set", files))
        if request.param == "zip":
            path = tmp_path / "set.zip"
            path.write_bytes(zip_of(files))
            return read_cases(path)
        inner = {f"set/{name}": content for name, content in files.items()}
        return read_cases(
            {
                "zip bytes": zip_of(files),
                "wrapped zip": zip_of(inner),
                "upload": list(files.items()),
                "uploaded folder": list(inner.items()),
                "uploaded zip": [("set.zip", zip_of(files))],
            }[request.param],
        )

    return read


def table(text: str, **pictures: str) -> list[tuple[str, bytes]]:
    """An upload of labels.csv and small files a.png, b.png, c.png."""
    return [("labels.csv", text.encode()), *((f"{one}.png", one.encode()) for one in "abc")]


# ---- every way in -----------------------------------------------------------------------------------------------


def test_class_folders_label_their_pictures_in_the_order_of_names(give: Give) -> None:
    found = give(CLASSES)
    assert [(case.name, case.label, case.read()) for case in found.cases] == [
        ("cat/a.png", "cat", b"cat a"),
        ("cat/b.png", "cat", b"cat b"),
        ("dog/1.jpg", "dog", b"dog 1"),
    ]
    assert found.said == ("Labels are the names of folders: cat, dog.",)
    assert found.refused == found.columns == ()


def test_a_table_labels_its_pictures_in_its_order_with_groups_masks_and_splits(give: Give) -> None:
    text = (
        "\ufefffile,label,sex,mask,split,site,marker_mask\nx/b.png,ill,F,m/b.png,test,A,m/c.png\n./a.png,,M,,train,,\n"
    )
    files = {"labels.csv": text.encode(), "x/b.png": b"b", "a.png": b"a", "m/b.png": b"mask", "m/c.png": b"marker"}
    found = give(files)
    second, first = found.cases
    assert (second.name, second.label, second.split, second.line) == ("x/b.png", "ill", "test", 2)
    assert (first.name, first.label, first.split, first.line) == ("a.png", None, "train", 3)
    assert found.columns == ("sex", "site")
    assert dict(second.groups) == {"sex": "F", "site": "A"}
    assert dict(first.groups) == {"sex": "M", "site": ""}
    assert second.read_mask is not None
    assert (second.read_mask(), first.read_mask, first.read()) == (b"mask", None, b"a")
    assert {name: read() for name, read in second.parts.items()} == {"marker": b"marker"}
    assert dict(first.parts) == {}
    assert found.said == ("One picture has no label, so nothing tells whether a prediction of them is right.",)
    assert found.refused == ()


def test_a_column_that_ends_as_masks_do_but_says_yes_and_no_is_a_group(give: Give) -> None:
    text = "file,medical_mask,eyes_mask,nose_mask,_mask\na.png,yes,m/a.png,,x\nb.png,no,,,y\n"
    found = give({"labels.csv": text.encode(), "a.png": b"a", "b.png": b"b", "m/a.png": b"eyes"})
    assert found.columns == ("medical_mask", "_mask")
    assert [case.groups["medical_mask"] for case in found.cases] == ["yes", "no"]
    assert [list(case.parts) for case in found.cases] == [["eyes"], []]
    assert found.refused == ()


def test_the_mask_of_a_part_that_is_not_there_is_refused_by_name_and_its_picture_stays(give: Give) -> None:
    text = "file,mask,eyes_mask,mouth_mask\na.png,m/a.png,m/gone.png,m/mouth.png\n"
    found = give({"labels.csv": text.encode(), "a.png": b"a", "m/a.png": b"mask", "m/mouth.png": b"mouth"})
    (case,) = found.cases
    assert case.read_mask is not None
    assert {name: read() for name, read in case.parts.items()} == {"mouth": b"mouth"}
    ((name, why),) = found.refused
    assert name == "m/gone.png"
    assert why.startswith("the mask of a.png does not exist")
    assert "line 2 of labels.csv" in why


def test_pictures_without_classes_are_unlabelled(give: Give) -> None:
    found = give({"b.png": b"b", "a": b"dicom", "1.2.840.17": b"dicom"})
    assert [(case.name, case.label) for case in found.cases] == [("1.2.840.17", None), ("a", None), ("b.png", None)]
    assert found.said[-1] == "No picture has a label, so nothing tells whether a prediction of them is right."


def test_what_is_plainly_no_picture_is_said_once_or_not_at_all(give: Give) -> None:
    litter = [".DS_Store", "__MACOSX/cat/._a.png", "cat/Thumbs.db", "dog/.hidden/x.png", "cat/desktop.ini"]
    papers = ["README", "cat/notes.txt", "SOURCE.md", "dog/LICENSE"]
    found = give(CLASSES | dict.fromkeys([*litter, *papers], b"text"))
    assert [case.name for case in found.cases] == sorted(CLASSES)
    assert found.said[0] == "Passed over as no pictures: README, SOURCE.md, cat/notes.txt and 1 more."
    assert found.refused == ()


def test_nested_archives_and_empty_files_are_listed_and_stop_nothing(give: Give) -> None:
    found = give(CLASSES | {"cat/more.zip": b"PK", "dog/all.tar.gz": b"x", "dog/0.png": b""})
    assert [case.name for case in found.cases] == sorted(CLASSES)
    assert [(name, why.split(";")[0]) for name, why in found.refused] == [
        ("cat/more.zip", "is an archive inside the set"),
        ("dog/0.png", "is empty"),
        ("dog/all.tar.gz", "is an archive inside the set"),
    ]


def test_folders_of_splits_above_classes_are_splits(give: Give) -> None:
    found = give({"Train/cat/a.png": b"1", "test/dog/b.png": b"2", "test/c.png": b"3"})
    assert [(case.split, case.label) for case in found.cases] == [("Train", "cat"), ("test", None), ("test", "dog")]
    assert "The outer folders are taken for splits: Train, test." in found.said


def test_a_folder_named_like_a_split_beside_others_is_a_class(give: Give) -> None:
    found = give({"test/a.png": b"1", "cat/b.png": b"2"})
    assert [case.label for case in found.cases] == ["cat", "test"]


def test_no_picture_at_all_is_one_sentence(give: Give) -> None:
    with pytest.raises(PictureError, match=r"^\S+ has no picture. Give a folder or zip with PNG, .*DICOM files\.$"):
        give({"notes.txt": b"x"})


def test_a_set_of_refused_files_only_says_why_of_the_first(give: Give) -> None:
    with pytest.raises(
        PictureError, match=r"no picture that can be used: (set/)?a\.png is empty.* \(1 more were refused\)"
    ):
        give({"a.png": b"", "b.zip": b"PK"})


def test_a_table_is_stronger_than_class_folders_and_what_it_leaves_out_is_said(give: Give) -> None:
    found = give(CLASSES | {"labels.csv": b"file,label\ncat/a.png,lynx\n", "SOURCE.txt": b"x"})
    assert [(case.name, case.label) for case in found.cases] == [("cat/a.png", "lynx")]
    assert found.said == ("Not in labels.csv and left out: cat/b.png, dog/1.jpg.",)


def test_a_table_that_lies_deeper_is_not_used_and_said(give: Give) -> None:
    found = give(CLASSES | {"cat/labels.csv": b"file,label\na.png,lynx\n"})
    assert found.cases[0].label == "cat"
    assert found.said[0].startswith("Not used, since it is not at the top: cat/labels.csv.")


def test_a_picture_read_through_a_case_is_the_picture(give: Give) -> None:
    png = png_of(photograph(40))
    (case,) = give({"cat/astronaut.png": png, "labels.csv": b"file\ncat/astronaut.png\n"}).cases
    assert read_image(case.read()).sha256 == read_image(png).sha256


@pytest.mark.parametrize("rows", [1, 3])
def test_a_table_whose_files_are_all_missing_is_one_sentence(give: Give, rows: int) -> None:
    lines = "".join(f"lost/{i}.png,x\n" for i in range(rows))
    with pytest.raises(PictureError, match=rf"names {rows} files and none of them exists \(first: line 2, lost/0\.png"):
        give(CLASSES | {"labels.csv": b"file,label\n" + lines.encode()})


# ---- names ------------------------------------------------------------------------------------------------------


def test_a_set_is_called_by_the_last_part_of_its_folder_or_zip(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "one\nset", CLASSES)
    assert read_cases(folder).name == "one set"
    (tmp_path / "all.zip").write_bytes(zip_of(CLASSES))
    assert read_cases(str(tmp_path / "all.zip")).name == "all.zip"
    assert read_cases(zip_of(CLASSES)).name == "upload"
    assert read_cases([(f"scans/{name}", data) for name, data in CLASSES.items()]).name == "scans"
    assert read_cases(zip_of(CLASSES), name="given\x07").name == "given"


def test_the_folder_one_stands_in_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder_of(tmp_path / "here", CLASSES))
    assert read_cases(".").name == "here"


def test_a_table_s_own_path_stands_for_its_folder(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "set", {"labels.csv": b"file,label\na.png,x\n", "a.png": b"a"})
    assert read_cases(folder / "labels.csv").cases[0].label == "x"


def test_one_class_folder_in_a_folder_is_a_class_and_in_a_zip_a_wrapper(tmp_path: Path) -> None:
    files = {"normal/a.png": b"a", "normal/b.png": b"b"}
    assert {case.label for case in read_cases(folder_of(tmp_path, files)).cases} == {"normal"}
    zipped = read_cases(zip_of(files))
    assert [(case.name, case.label) for case in zipped.cases] == [("a.png", None), ("b.png", None)]
    assert zipped.said[0] == "The folder normal around all pictures is taken for their set, not their class."


def test_a_folder_around_labels_is_looked_through_in_a_folder_too(tmp_path: Path) -> None:
    files = {"archive/labels.csv": b"file,label\na.png,x\n", "archive/a.png": b"a", "README.txt": b"x"}
    assert read_cases(folder_of(tmp_path, files)).cases[0].name == "a.png"


def test_a_split_in_a_zip_is_no_wrapper() -> None:
    (case,) = read_cases(zip_of({"test/cat/a.png": b"a"})).cases
    assert (case.split, case.label) == ("test", "cat")


@pytest.mark.parametrize("source", ["nowhere", "a\0b", "loop"])
def test_a_source_that_is_not_there_is_one_sentence(tmp_path: Path, source: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(PictureError, match=r"^[^.]+\. Ch[^.]+\.$"):
        read_cases(tmp_path / source)


def test_names_in_utf8_are_read_also_where_the_archive_does_not_say_so() -> None:
    packed = zip_of({"Brüche/a.png": b"a", "heil/b.png": b"b"})
    raw = bytearray(packed)
    for signature, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = raw.find(signature)
        raw[at + place + 1] &= ~0x08
    assert [case.label for case in read_cases(bytes(raw)).cases] == ["Brüche", "heil"]
    assert [case.read() for case in read_cases(bytes(raw)).cases] == [b"a", b"b"]


# ---- the table --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"file,label\na.png,x\nb.png\n", r"Line 3 of labels\.csv has 1 cells and the first line 2"),
        (b"file,label\n\na.png,x\n\n\nb.png,x,y\n", r"Line 6 of labels\.csv has 3 cells"),
        (b'file,label\na.png,"x\ny"\nb.png\n', r"Line 4 of labels\.csv has 1 cells"),
        (b"file,label\n,x\n", r"Line 2 of labels\.csv names no file"),
        (b",file,label\n0,a.png,x\n", r"Column 1 of labels\.csv has no name"),
        (b"file,,label\na.png,0,x\n", r"Column 2 of labels\.csv has no name"),
        (b"file,label,label\na.png,x,x\n", r"two columns label"),
        (b"path,label\na.png,x\n", r"has no column file, only path, label\. Name it file"),
        (b"file;label\na.png;x\n", r"has no column file, only file;label\. Divide columns by commas"),
        (b"\n\n", r"labels\.csv is empty\. Begin it with"),
        (b"", r"labels\.csv is empty"),
        (b"file,label\n", r"names no picture: below its first line"),
        (b'file,label\nb.png,x\n"a.png,x\n', r"cannot be read from line 3 on: unexpected end"),
        ("file,label\na.png,x\nb.png,Brüche\n".encode("latin-1"), r"not in UTF-8: byte 28, 0xfc in line 3"),
        ("file,label\na.png,x\n".encode("utf-16"), r"byte 1, 0xff in line 1"),
        ("file,label\na.png,x\n".encode("utf-16-le"), r"holds a zero byte in line 1, as UTF-16 does"),
    ],
)
def test_a_table_that_is_malformed_is_refused_with_its_place(text: bytes, said: str) -> None:
    with pytest.raises(PictureError, match=said):
        read_cases([("labels.csv", text), ("a.png", b"a"), ("b.png", b"b")])


def test_spaces_around_the_names_of_columns_do_not_matter_and_those_of_labels_do() -> None:
    (case,) = read_cases(table("file , label, age\na.png, x,7\n")).cases
    assert (case.label, dict(case.groups)) == (" x", {"age": "7"})


def test_a_row_that_is_there_twice_is_said_and_taken_once() -> None:
    found = read_cases(table("file,label,sex\na.png,x,F\nb.png,y,M\n./a.png,x,F\nb.png,y,M\nc.png,x,F\n"))
    assert [case.line for case in found.cases] == [2, 3, 6]
    assert found.said == ("2 rows are in labels.csv twice (first: line 4, a.png) and taken once.",)


@pytest.mark.parametrize("other", ["a.png,y,F,m,t", "a.png,x,M,m,t", "a.png,x,F,n,t", "a.png,x,F,m,s", "a.png,,F,m,t"])
def test_rows_that_contradict_each_other_are_refused_with_both_lines(other: str) -> None:
    text = f"file,label,sex,mask,split\nb.png,x,F,,t\na.png,x,F,m,t\nc.png,x,F,,t\n{other}\n"
    with pytest.raises(PictureError, match=r"contradicts itself: lines 3 and 5 on a\.png say different things"):
        read_cases(table(text))


def test_a_table_of_too_many_files_or_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "MAX_FILES", 2)
    with pytest.raises(PictureError, match=r"names more than 2 files\. Divide it"):
        read_cases(table("file\na.png\nb.png\nc.png\n"))
    monkeypatch.setattr(cases, "MAX_TABLE", 20)
    with pytest.raises(PictureError, match="is larger than the 0 MiB"):
        read_cases(table("file\na.png\nb.png\nc.png\n"))


def test_of_many_contradictions_three_are_named_and_the_rest_counted() -> None:
    rows = "".join(f"{i}.png,x\n{i}.png,y\n" for i in range(5))
    with pytest.raises(PictureError, match=r"lines 2 and 3 on 0\.png; .*on 2\.png say .*, and so do 2 more pairs\."):
        read_cases(table(f"file,label\n{rows}"))


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("lost.png", "does not exist, though line 3 of labels.csv names it"),
        ("../a.png", "leads out of its folder"),
        ("x/../../a.png", "leads out of its folder"),
        ("/a.png", "absolute path"),
        ("C:/a.png", "absolute path"),
        ("c:a.png", "absolute path"),
        ("x\\a.png", "backslash"),
        ("empty.png", "is empty"),
        ("more.zip", "is an archive inside the set"),
    ],
)
@pytest.mark.parametrize("column", ["file", "mask"])
def test_files_and_masks_that_cannot_be_had_are_listed_and_the_rest_stays(name: str, why: str, column: str) -> None:
    row = f"{name},x," if column == "file" else f"b.png,x,{name}"
    files = [*table(f"file,label,mask\na.png,x,\n{row}\n"), ("empty.png", b""), ("more.zip", b"PK")]
    found = read_cases(files)
    refused = dict(found.refused)
    assert why in refused[name]
    if column == "file":
        assert [case.name for case in found.cases] == ["a.png"]
    else:
        assert [(case.name, case.read_mask) for case in found.cases] == [("a.png", None), ("b.png", None)]
        assert refused[name].startswith("the mask of b.png ")


def test_a_table_may_name_files_that_do_not_look_like_pictures() -> None:
    found = read_cases([("labels.csv", b"file\nwav/a.wav\n"), ("wav/a.wav", b"RIFF")])
    assert found.cases[0].read() == b"RIFF"


# ---- choosing ---------------------------------------------------------------------------------------------------

PEOPLE = "file,label,sex,split\na.png,x,F,train\nb.png,y,F,test\nc.png,y,M,test\nlost.png,x,M,train\n"


@pytest.mark.parametrize(
    ("split", "where", "names"),
    [
        ("test", {}, ["b.png", "c.png"]),
        ("", {"sex": "F"}, ["a.png", "b.png"]),
        ("test", {"sex": "F"}, ["b.png"]),
        ("", {"label": "y", "sex": "M"}, ["c.png"]),
    ],
)
def test_only_rows_that_match_are_kept_and_that_is_said(split: str, where: dict[str, str], names: list[str]) -> None:
    found = read_cases(table(PEOPLE), split=split, where=where)
    assert [case.name for case in found.cases] == names
    assert found.said[0].startswith(f"{len(names)} of 4 pictures are kept: ")
    assert found.refused == ()


@pytest.mark.parametrize(
    ("split", "where", "said"),
    [
        ("val", {}, r"No picture has the split val\. Choose among test, train\."),
        ("", {"age": "7"}, r"no column age to choose by\. It has sex, label\."),
        ("", {"sex": "X"}, r"No picture has the sex X\. Choose among F, M\."),
        ("", {"file": "a.png"}, r"no column file"),
        ("train", {"label": "y"}, r"No picture has split train and label y\."),
    ],
)
def test_what_nobody_has_cannot_be_chosen(split: str, where: dict[str, str], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        read_cases(table(PEOPLE), split=split, where=where)


def test_a_set_without_splits_or_columns_says_so() -> None:
    with pytest.raises(SettingError, match="Leave it out: no picture has one"):
        read_cases([("a.png", b"a")], split="test")
    with pytest.raises(SettingError, match="It has none"):
        read_cases([("a.png", b"a")], where={"sex": "F"})


def test_class_folders_can_be_chosen_from_by_split_and_label() -> None:
    upload = [(f"set/{split}/{label}/1.png", b"1") for split in ("train", "test") for label in ("cat", "dog")]
    (case,) = read_cases(upload, split="test", where={"label": "dog"}).cases
    assert case.name == "test/dog/1.png"


# ---- folders ----------------------------------------------------------------------------------------------------


def test_no_link_is_followed_and_each_is_listed(tmp_path: Path) -> None:
    secret = folder_of(tmp_path / "secret", {"s.png": b"secret"})
    root = folder_of(tmp_path / "set", {"cat/a.png": b"a"})
    (root / "cat/link.png").symlink_to(secret / "s.png")
    (root / "dog").symlink_to(secret)
    (root / "cat/inner.png").symlink_to(root / "cat/a.png")
    found = read_cases(root)
    assert [case.name for case in found.cases] == ["cat/a.png"]
    assert {name: why.split(";")[0] for name, why in found.refused} == dict.fromkeys(
        ("cat/inner.png", "cat/link.png", "dog"), "is a link"
    )
    (root / "labels.csv").write_text("file,mask\ncat/a.png,dog/s.png\ndog/s.png,\ncat/link.png,\n")
    found = read_cases(root)
    assert [(case.name, case.read_mask) for case in found.cases] == [("cat/a.png", None)]
    assert all("is a link" in dict(found.refused)[name] for name in ("dog/s.png", "cat/link.png"))


def test_results_of_this_program_in_a_folder_are_no_pictures_of_its_set(tmp_path: Path) -> None:
    """An audit or an explanation that was written into its own set does not become part of it."""
    audit = {"run.json": b'{"schema": 1, "status": "running"}', "grids/m/grad_cam.png": b"grid"}
    record = {"manifest.json": b'{"schema": 1, "sha256": ""}', "seen.png": b"seen"}
    own = {f"cat/run/{name}": data for name, data in audit.items()}
    found = read_cases(folder_of(tmp_path / "set", {**CLASSES, **own}))
    assert [case.name for case in found.cases] == sorted(CLASSES)
    assert found.said[0] == "Passed over as results of this program: the folder cat/run."
    assert found.refused == ()
    own = {f"a{number}/{name}": data for number, one in enumerate([audit, record]) for name, data in one.items()}
    found = read_cases(folder_of(tmp_path / "set", own))
    assert [case.name for case in found.cases] == sorted(CLASSES)
    assert found.said[0] == "Passed over as results of this program: the folder a0 and 2 more."


@pytest.mark.parametrize("said", [b"", b"{", b"[" * 10**5, b"[]", b'{"schema": 1}', b'{"status": "done"}', b"\xff"])
def test_a_folder_with_a_file_of_that_name_by_others_is_read(said: bytes, tmp_path: Path) -> None:
    found = read_cases(folder_of(tmp_path / "set", {**CLASSES, "cat/run.json": said, "dog/manifest.json": said}))
    assert [case.name for case in found.cases] == sorted(CLASSES)


def test_a_set_that_lies_in_the_folder_of_a_run_is_read(tmp_path: Path) -> None:
    """It was asked for by name."""
    own = {"run.json": b'{"schema": 1, "status": "done"}'}
    assert len(read_cases(folder_of(tmp_path / "set", {**CLASSES, **own})).cases) == 3


def test_a_table_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real.csv").write_text("file,label\na.png,x\n")
    root = folder_of(tmp_path / "set", {"a.png": b"a"})
    (root / "labels.csv").symlink_to(tmp_path / "real.csv")
    with pytest.raises(PictureError, match=r"labels\.csv is a link"):
        read_cases(root)


@pytest.mark.parametrize("swap", ["file", "folder"])
def test_what_becomes_a_link_after_it_was_listed_is_not_followed(tmp_path: Path, swap: str) -> None:
    secret = folder_of(tmp_path / "secret", {"a.png": b"secret"})
    root = folder_of(tmp_path / "set", CLASSES)
    case = read_cases(root).cases[0]
    if swap == "file":
        (root / "cat/a.png").unlink()
        (root / "cat/a.png").symlink_to(secret / "a.png")
    else:
        (root / "cat").rename(tmp_path / "cat")
        (root / "cat").symlink_to(secret)
    with pytest.raises(PictureError, match=r"cat/a\.png has become a link"):
        case.read()


def test_a_set_reached_through_a_link_is_read(tmp_path: Path) -> None:
    folder_of(tmp_path / "set", CLASSES)
    (tmp_path / "latest").symlink_to(tmp_path / "set")
    assert read_cases(tmp_path / "latest").cases[0].read() == b"cat a"


def test_a_pipe_is_neither_a_picture_nor_waited_for(tmp_path: Path) -> None:
    root = folder_of(tmp_path, CLASSES)
    os.mkfifo(root / "cat/pipe.png")
    found = read_cases(root)
    assert found.refused == (("cat/pipe.png", "is not an ordinary file; copy it into one"),)
    (root / "cat/a.png").unlink()
    os.mkfifo(root / "cat/a.png")
    with pytest.raises(PictureError, match="not an ordinary file"):
        found.cases[0].read()


def test_a_file_that_goes_or_grows_after_it_was_listed_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "MAX_BYTES", 10)
    root = folder_of(tmp_path, CLASSES | {"cat/big.png": b"x" * 11})
    found = read_cases(root)
    assert found.refused == (("cat/big.png", "is larger than the 0 MiB that are accepted"),)
    (root / "cat/a.png").write_bytes(b"x" * 11)
    (root / "cat/b.png").unlink()
    with pytest.raises(PictureError, match=r"cat/a\.png is larger"):
        found.cases[0].read()
    with pytest.raises(PictureError, match=r"cat/b\.png cannot be read: No such file"):
        found.cases[1].read()


def test_a_name_that_is_no_text_is_listed(tmp_path: Path) -> None:
    root = folder_of(tmp_path, CLASSES)
    (root / os.fsdecode(b"cat/\xff.png")).write_bytes(b"x")
    (root / "cat/new\nline.png").write_bytes(b"x")
    found = read_cases(root)
    assert [case.name for case in found.cases] == sorted(CLASSES)
    assert [name for name, _ in found.refused] == ["cat/.png", "cat/new line.png"]
    assert all("characters that are no text" in why for _, why in found.refused)
    "".join(name for name, _ in found.refused).encode()


def test_a_folder_with_far_too_many_files_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILES", 4)
    with pytest.raises(PictureError, match=r"more than 4 files\. Choose one inside it"):
        read_cases(folder_of(tmp_path, CLASSES))
    with pytest.raises(PictureError, match="has 5 files"):
        read_cases([(f"{i}.png", b"x") for i in range(5)])


# ---- archives ---------------------------------------------------------------------------------------------------

GOOD = ("cat/a.png", b"cat a")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("../x.png", "leads out"),
        ("cat/../../x.png", "leads out"),
        ("..", "leads out"),
        ("/etc/x.png", "absolute"),
        ("C:/x.png", "absolute"),
        ("..\\x.png", "backslash"),
        ("__MACOSX/../x.png", "leads out"),
        ("cat/a\x1b[2J.png", "characters that are no text"),
    ],
)
@pytest.mark.parametrize("way", ["zip", "upload"])
def test_hostile_names_are_refused_and_listed(name: str, why: str, way: str) -> None:
    members = [GOOD, (name, b"hostile")]
    found = read_cases(zip_of(dict(members)) if way == "zip" else members)
    assert [case.read() for case in found.cases] == [b"cat a"]
    ((_, told),) = found.refused
    assert why in told


def test_a_zero_in_a_name_does_not_cut_it() -> None:
    packed = zip_of({"cat/a.png": b"cat a", "dog/b.pngX.exe": b"b"}).replace(b"b.pngX.exe", b"b.png\0.exe")
    found = read_cases(packed)
    assert len(found.cases) == 1
    assert "characters that are no text" in found.refused[0][1]


@pytest.mark.parametrize(("mode", "why"), [(0o120777, "is a link"), (0o010644, "not an ordinary file")])
def test_links_and_devices_in_an_archive_are_listed(mode: int, why: str) -> None:
    odd = zipfile.ZipInfo("cat/odd.png")
    odd.external_attr = mode << 16
    found = read_cases(zip_with((zipfile.ZipInfo(GOOD[0]), GOOD[1]), (odd, b"/etc/passwd")))
    assert [case.name for case in found.cases] == ["a.png"]
    assert found.refused[0][0] == "odd.png"
    assert why in found.refused[0][1]


def test_an_encrypted_member_is_listed() -> None:
    packed = bytearray(zip_of({"cat/a.png": b"cat a", "dog/b.png": b"b"}))
    at = packed.rfind(b"PK\x01\x02")
    packed[at + 8] |= 1
    found = read_cases(bytes(packed))
    assert found.refused == (("dog/b.png", "is encrypted; pack it without a password"),)


@pytest.mark.parametrize("kind", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_packings_that_unpack_without_a_bound_are_listed(kind: int) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.png", b"a")
        archive.writestr("b.png", b"b" * 10**6, compress_type=kind)
    found = read_cases(buffer.getvalue())
    assert [case.name for case in found.cases] == ["a.png"]
    assert "packed in a way that is not accepted" in found.refused[0][1]


def test_a_member_packed_beyond_the_ratio_is_listed_unless_it_is_small() -> None:
    found = read_cases(zip_of({"blank.png": bytes(2**20), "bomb.png": bytes(2**20 + 1)}))
    assert [case.name for case in found.cases] == ["blank.png"]
    assert found.cases[0].read() == bytes(2**20)
    assert found.refused == (("bomb.png", "claims to be packed to less than 1/200 of its size; give the file itself"),)


def declared(packed: bytes, name: str, size: int) -> bytes:
    """The archive with another size of a member, in both of its headers."""
    raw = bytearray(packed)
    for signature, place, to_name in ((b"PK\x03\x04", 22, 30), (b"PK\x01\x02", 24, 46)):
        at = -1
        while (at := raw.find(signature, at + 1)) >= 0:
            if raw[at + to_name :].startswith(name.encode()):
                struct.pack_into("<I", raw, at + place, size)
    return bytes(raw)


@pytest.mark.parametrize("size", [4, 6, 4096])
def test_a_member_that_is_not_as_long_as_declared_is_a_sentence(size: int) -> None:
    found = read_cases(declared(zip_of(dict([GOOD, ("dog/b.png", b"fine!")])), "cat/a.png", size))
    with pytest.raises(PictureError, match=r"cat/a\.png (is damaged inside the archive|has not the size)"):
        found.cases[0].read()
    assert found.cases[1].read() == b"fine!"


def test_a_huge_member_is_listed_and_a_huge_sum_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = declared(zip_of(dict([GOOD, ("dog/b.png", b"fine!")]), zipfile.ZIP_STORED), "dog/b.png", 300 << 20)
    assert read_cases(packed).refused[0][1].startswith("claims to be packed to less")
    monkeypatch.setattr(sources, "SMALL", 2**40)
    assert read_cases(packed).refused == (("dog/b.png", "is larger than the 200 MiB that are accepted"),)
    for name in ("dog/b.png", "cat/a.png"):
        packed = declared(packed, name, 0xF0000000)
    packed3 = declared(zip_of({f"{i}.png": b"x" for i in range(3)}), "", 0xF0000000)
    assert len(packed) < 1000
    with pytest.raises(PictureError, match="declares 11 GiB of content; 8 GiB are accepted"):
        read_cases(packed3)


def test_an_archive_of_too_many_entries_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = zip_of({f"{i}.png": b"x" for i in range(4)})
    monkeypatch.setattr(sources, "MAX_ENTRIES", 3)
    with pytest.raises(PictureError, match="holds 4 entries; 3 are accepted"):
        read_cases(packed)
    monkeypatch.setattr(sources, "MAX_DIRECTORY", 100)
    with pytest.raises(PictureError, match="list of far too many entries"):
        read_cases(packed)


@pytest.mark.parametrize("shift", ["the same bytes", "the header of the next"])
def test_members_that_share_bytes_refuse_the_archive(shift: str) -> None:
    raw = bytearray(zip_of({"a.png": b"x" * 99, "b.png": b"x" * 99}, zipfile.ZIP_STORED))
    first = raw.find(b"PK\x01\x02")
    if shift == "the same bytes":
        struct.pack_into("<I", raw, raw.find(b"PK\x01\x02", first + 1) + 42, 0)
    else:
        struct.pack_into("<II", raw, first + 20, 200, 200)
    with pytest.raises(PictureError, match="members that overlap"):
        read_cases(bytes(raw))


@pytest.mark.parametrize(
    "data", [b"", b"PK", b"no zip at all", b"PK\x05\x06" + bytes(17), b"PK\x05\x06" + b"\xff" * 18]
)
def test_what_is_no_archive_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "set.zip").write_bytes(data)
    for source in (tmp_path / "set.zip", data):
        with pytest.raises(PictureError, match="is no zip archive, or it is damaged"):
            read_cases(source)


def test_damage_anywhere_in_an_archive_gives_a_sentence_or_the_right_bytes() -> None:
    packed = zip_of({"cat/a.png": b"cat a" * 9, "labels.csv": b"file,label\ncat/a.png,cat\n"})
    outcomes = set()
    for place in range(len(packed)):
        for change in (0xFF,) if place % 2 else (0x01,):
            try:
                found = read_cases(packed[:place] + bytes([packed[place] ^ change]) + packed[place + 1 :])
                for case in found.cases:
                    assert case.read() == b"cat a" * 9
                outcomes.add("read")
            except PictureError:
                outcomes.add("refused")
    assert outcomes == {"read", "refused"}


@pytest.mark.parametrize("way", ["zip", "upload"])
def test_one_name_twice_is_taken_once_if_the_same_and_refused_if_not(way: str) -> None:
    members = [("a.png", b"1"), ("a.png", b"1"), ("b.png", b"1"), ("b.png", b"2"), ("b.png", b"1")]
    with pytest.warns(UserWarning, match="Duplicate name"):
        packed = zip_with(*((zipfile.ZipInfo(name), data) for name, data in members))
    found = read_cases(packed if way == "zip" else members)
    assert [case.name for case in found.cases] == ["a.png"]
    assert found.refused == (("b.png", "is there twice with different content; give each file a name of its own"),)
    assert found.said[:-1] == ("a.png is there twice with the same content; it is taken once.",)


def test_an_archive_is_read_from_many_threads_and_closed_when_the_cases_are_gone(tmp_path: Path) -> None:
    files = {f"c/{i:03}.png": bytes([i]) * 60_000 for i in range(40)}
    path = tmp_path / "set.zip"
    path.write_bytes(zip_of(files))
    found = read_cases(path)
    wrong: list[str] = []

    def check(start: int) -> None:
        for i in range(80):
            case = found.cases[(start + i * 7) % 40]
            if case.read() != files[f"c/{case.name}"]:
                wrong.append(case.name)

    threads = [threading.Thread(target=check, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    handles = Path("/proc/self/fd")
    if handles.is_dir():
        assert str(path) in {os.readlink(one) for one in handles.iterdir() if one.exists()}
        del found
        assert str(path) not in {os.readlink(one) for one in handles.iterdir() if one.exists()}


def test_of_an_archive_one_member_is_read_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """zipfile promises nothing of threads."""
    found = read_cases(zip_of(CLASSES))
    inside, most, genuine = 0, 0, zipfile.ZipExtFile.read

    def counted(self: zipfile.ZipExtFile, size: int = -1) -> bytes:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.01)
        inside -= 1
        return genuine(self, size)

    monkeypatch.setattr(zipfile.ZipExtFile, "read", counted)
    threads = [threading.Thread(target=case.read) for case in found.cases * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1


def test_nothing_is_read_before_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    packed, genuine = zip_of(CLASSES), zipfile.ZipFile.open

    def noted(self: zipfile.ZipFile, member: zipfile.ZipInfo, *rest: str) -> object:
        read.append(member.filename)
        return genuine(self, member, *rest)

    monkeypatch.setattr(zipfile.ZipFile, "open", noted)
    found = read_cases(packed)
    assert read == []
    found.cases[0].read()
    assert read == ["cat/a.png"]


# ---- labels and models ------------------------------------------------------------------------------------------


def test_labels_that_a_model_does_not_have_are_counted_and_the_first_is_named() -> None:
    found = read_cases(table("file,label\na.png,x\nb.png,Y\nc.png,z\n"))
    assert unknown_labels(found, ["x", "y"], "demo") == [
        "2 pictures are labelled Y, z, which demo does not have (first: line 3, b.png). "
        "They are left out of its accuracy."
    ]
    assert unknown_labels(found, ["x", "Y"])[0].startswith("1 picture is labelled z, which the model does not have")
    assert unknown_labels(found, ["z", "Y", "x"]) == []


def test_a_set_of_which_the_model_knows_no_label_is_refused_with_some_of_both() -> None:
    found = read_cases([(f"{i}/a.png", b"a") for i in range(7)], name="digits")
    with pytest.raises(SettingError, match=r"demo has none of the labels of digits: .* 0, 1, 2, 3, 4 and 2 more, its"):
        unknown_labels(found, ["cat", "dog"], "demo")


def test_an_unlabelled_set_has_no_unknown_labels() -> None:
    assert unknown_labels(read_cases([("a.png", b"a")]), ["x"]) == []


# ---- real sets --------------------------------------------------------------------------------------------------


def test_the_samples_that_ship_are_a_set_with_masks() -> None:
    found = read_cases(ROOT / "assets" / "samples", where={"family": "xray"})
    assert len(found.cases) == 12
    assert {case.label for case in found.cases} == {"normal", "simple fracture", "comminuted fracture"}
    masked = next(case for case in found.cases if case.read_mask is not None)
    truth = truth_beside(ROOT / "assets" / "samples" / masked.name)
    assert truth is not None
    assert masked.read_mask is not None
    assert read_image(masked.read_mask()).sha256 == truth.sha256


@pytest.mark.parametrize(
    ("name", "count", "labels", "columns"),
    [("bone_xray", 200, 2, 4), ("cifar10_test", 500, 10, 0), ("imagenet_1000", 79, 79, 2), ("utkface", 400, 0, 4)],
)
def test_real_sets_are_read_whole(real_data: Path, name: str, count: int, labels: int, columns: int) -> None:
    if not (real_data / name).is_dir():
        pytest.skip(f"{name} is not here")
    found = read_cases(real_data / name)
    assert (len(found.cases), len(found.columns), found.refused) == (count, columns, ())
    assert len({case.label for case in found.cases} - {None}) == labels
    assert read_image(found.cases[-1].read()).pixels.size


def test_ten_thousand_pictures_in_a_table_are_listed_in_seconds() -> None:
    rows = [f"images/{i:05}.png" for i in range(10_000)]
    packed = zip_of(
        dict.fromkeys(rows, b"x") | {"labels.csv": ("file,label\n" + "".join(f"{r},x\n" for r in rows)).encode()}
    )
    begin = time.process_time()
    assert len(read_cases(packed).cases) == 10_000
    assert time.process_time() - begin < 5
