"""Whoever seals a record anew can write anything into it: such a record is opened as what it is, or refused."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import xai_core as xai
from tests.conftest import ROOT
from xai_core import seal, store
from xai_core.errors import RecordError

GOLDEN = ROOT / "tests" / "golden" / "schema_2"
ODD = (None, [], {}, "x", -1, 1e308, True, 10**400)
SCHEMA = json.loads((ROOT / "assets" / "record.schema.json").read_text("utf-8"))
LIMITS = {"pattern", "minimum", "maximum", "required"}  # which say more than types do
UNREAD = {"made_with", "chain", "signature"}  # of which other tests say what is read


def types_alone(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: types_alone(one) for key, one in schema.items() if key not in LIMITS}
    return [types_alone(one) for one in schema] if isinstance(schema, list) else schema


TYPES = Draft202012Validator(types_alone(SCHEMA))


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value stands; of a list those of its first alone, which stands for the others."""
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:1]) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


def forgeries(genuine: Any) -> Iterator[tuple[str, Any]]:
    """The same with one value replaced by one of another type, or of none that any record has."""
    for path in places(genuine):
        for odd in ODD:
            forged = copy.deepcopy(genuine)
            inner = forged
            for key in path[:-1]:
                inner = inner[key]
            if type(inner[path[-1]]) is type(odd) and inner[path[-1]] == odd:
                continue
            inner[path[-1]] = odd
            yield f"{'.'.join(map(str, path))} as {str(odd)[:10]}", forged


def opened(folder: Path, where: str) -> bool:
    """Whether it opens. Where it does not, the reason is one sentence, with one on what to do."""
    assert isinstance(store.entry_of(folder), store.Entry), where
    try:
        xai.open_record(folder)
    except RecordError as error:
        refused = str(error)
    except Exception as error:
        raise AssertionError(where) from error
    else:
        return True
    assert re.fullmatch(rf"Cannot open {folder.name}: [^\n]{{10,400}}\. Use another copy of it\.", refused), where
    return False


@pytest.mark.parametrize("kind", ["explanation", "comparison", "probe", "scores"])
def test_a_forged_manifest_is_refused_or_has_the_types_that_are_documented(kind: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / kind, tmp_path / kind))
    genuine = json.loads((folder / seal.MANIFEST).read_bytes())
    genuine["made_with"]["packages"] = {"torch": "2"}
    if kind == "probe":
        genuine |= {"boxes": {"ab" * 32: [0.0, 0.5, 4.0, 4.0]}, "background": ["ab" * 32]}
        genuine["target"] = {"index": 1, "label": "yes", "kind": "contrast", "against": 0, "against_label": "no"}
    opening = 0
    for where, forged in forgeries(genuine):
        if kind == "comparison" and not where.startswith(("models", "predictions", "explanations.0.model")):
            continue  # as of an explanation
        (folder / seal.MANIFEST).write_bytes(seal.sealed(forged))
        if opened(folder, where) and where.partition(".")[0].partition(" ")[0] not in UNREAD:
            opening += 1
            assert TYPES.is_valid(json.loads((folder / seal.MANIFEST).read_bytes())), where
    assert opening > 2  # such as another text for a text


@pytest.mark.parametrize(("kind", "name"), [("probe", "finding.json"), ("scores", "sheet.json")])
def test_forged_tables_are_refused_or_open(kind: str, name: str, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / kind, tmp_path / kind))
    manifest, genuine = (json.loads((folder / one).read_bytes()) for one in (seal.MANIFEST, name))
    genuine["tables"] = dict(list(genuine["tables"].items())[-1:])  # the smallest
    [listed] = [file for file in manifest["files"] if file["name"] == name]
    for where, forged in forgeries(genuine):
        content = json.dumps(forged).encode()
        listed |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        (folder / name).write_bytes(content)
        (folder / seal.MANIFEST).write_bytes(seal.sealed(manifest))
        if opened(folder, where):
            again: Any = xai.open_record(folder)
            assert all(len(row) == len(table.words) for table in again.tables.values() for row in table.rows), where
            assert all(isinstance(word, str) for table in again.tables.values() for word in table.words.values())


def explained(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda manifest: change(manifest["explanations"][0])


@pytest.mark.parametrize(
    "forge",
    [
        explained(lambda one: one["target"].update(index=2)),  # of a network of two
        explained(lambda one: one["target"].update(kind="contrast", against=2)),
        explained(lambda one: one["target"].update(kind="contrast", against=-1)),
        explained(lambda one: one.update(grid=[0, 7])),  # a map whose cell has no size
        explained(lambda one: one.update(more=1)),
        lambda manifest: manifest["model"].pop("name"),
        lambda manifest: manifest["prediction"]["logits"].__setitem__(0, 1e39),  # more than a float32 holds
    ],
)
def test_what_no_network_says_is_refused_though_its_type_is_right(
    forge: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(GOLDEN / "explanation", tmp_path / "explanation"))
    manifest = json.loads((folder / seal.MANIFEST).read_bytes())
    forge(manifest)
    if "prediction" in manifest:  # whose model is the same
        manifest["prediction"]["model"] = manifest["model"]
    (folder / seal.MANIFEST).write_bytes(seal.sealed(manifest))
    assert not opened(folder, "")


def test_a_comparison_names_its_models_from_0(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(GOLDEN / "comparison", tmp_path / "comparison"))
    manifest = json.loads((folder / seal.MANIFEST).read_bytes())
    assert [one["model"] for one in manifest["explanations"]] == [0, 1]
    manifest["explanations"][1]["model"] = -1  # which Python takes for the last one
    (folder / seal.MANIFEST).write_bytes(seal.sealed(manifest))
    assert not opened(folder, "")
