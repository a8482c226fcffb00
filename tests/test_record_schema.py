"""What is saved is what assets/record.schema.json says, and the schema says it closely."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

import xai_core as xai
from tests import findings_made
from tests.conftest import ROOT, convolutions, photograph, png_of, seeded, wrapped
from tests.test_audit_report import facts_of, written
from tests.test_chain import bury, fields, sheet
from tests.test_manifest import CHECKS, explanation, uploaded
from tests.test_signing import GIVEN, pem
from xai_core import manifest, probe_figures, signing
from xai_core.records import Evidence, Passes, Record, Sheet

SCHEMA = json.loads((ROOT / "assets" / "record.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)


def as_asked(folder: Path) -> Path:
    """By a real network, of a real picture."""
    model, image = wrapped(seeded(convolutions)), xai.read_image(png_of(photograph(40)))
    made = [xai.explain(model, image, method) for method in ("grad_cam", "saliency")]
    return xai.save(Record(tuple(made), (xai.predict(model, image),), image.source, {"opacity": 0.4}), folder)


def with_everything(folder: Path) -> Path:
    upload = uploaded("PNG")
    seen = explanation(image=hashlib.sha256(upload).hexdigest(), background=("0" * 64,), box=(0.0, -1.5, 16.0, 17.5))
    looks = {"colour_map": "viridis", "opacity": 0.4, "clip": 99.0, "shared_scale": True}
    facts = {"format": "PNG", "bits": 8, "assumed": ["Grey was taken as RGB."], "frames": 2, "frame": 0}
    return xai.save(
        Record(
            (seen,), (), facts, looks, "A note.", evidence=(Evidence("weak", CHECKS, 3, Passes(40, 2)),),
            reviewer="Dr. Ä", name="x.png", upload=upload,
        ),
        folder,
    )  # fmt: skip


def compared(folder: Path) -> Path:
    image = xai.read_image(png_of(photograph(40)))
    models = [wrapped(seeded(convolutions, seed), name=f"small-{seed}") for seed in (0, 1)]
    maps = tuple(xai.explain(model, image, "saliency", target=0) for model in models)
    return xai.save(Record(maps, tuple(xai.predict(model, image) for model in models), image.source), folder)


MADE: dict[str, Callable[[Path], Path]] = {
    "explanation": as_asked,
    "explanation with everything": with_everything,
    "comparison": compared,
    "doses": lambda folder: xai.save(findings_made.dose_finding(), folder),
    "groups": lambda folder: xai.save(findings_made.group_finding(), folder),
    "shortcut": lambda folder: xai.save(findings_made.shortcut_finding(), folder),
    "background": lambda folder: xai.save(findings_made.background_finding(), folder),
    "scores": lambda folder: xai.save(sheet(model={"name": "a"}, methods=[{"name": "lime"}]), folder),
    "decisions": lambda folder: xai.save(Sheet("decisions", {}, (), sheet().tables, "n", "r"), folder),
    "audit": lambda folder: written(folder, facts_of(("demo-xray", "b")), pictures=2),
}


@pytest.fixture(scope="module")
def manifests(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """A fresh one of every kind, signed."""
    home = tmp_path_factory.mktemp("kinds")
    (home / "key.pem").write_bytes(pem(GIVEN))
    with pytest.MonkeyPatch.context() as patch:
        for name in ("panels", "sheet"):  # what is drawn is not what is tested
            patch.setattr(manifest.figures, name, lambda *args, **looks: np.zeros((2, 2, 3), np.uint8))
        patch.setattr(probe_figures, "charts", lambda finding: {})
        patch.setattr(probe_figures, "filmstrip", lambda finding: None)
        patch.setenv(signing.KEY, str(home / "key.pem"))
        return {kind: fields(make(home / kind.replace(" ", "_"))) for kind, make in MADE.items()}


def refuses(manifest: Any) -> bool:
    return not VALIDATOR.is_valid(manifest)


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("kind", MADE)
def test_every_kind_of_record_is_as_the_schema_says(kind: str, manifests: dict[str, dict[str, Any]]) -> None:
    found = manifests[kind]
    assert [error.message for error in VALIDATOR.iter_errors(found)] == []
    assert VALIDATOR.is_valid({key: value for key, value in found.items() if key != "signature"})
    assert found["schema"] == 2
    assert ("chain" in found) == (kind != "audit")
    assert found["kind"] == {"explanation with everything": "explanation"}.get(kind, found["kind"])


@pytest.mark.parametrize("kind", MADE)
def test_nothing_may_be_missing_or_more(kind: str, manifests: dict[str, dict[str, Any]]) -> None:
    found = manifests[kind]
    for key in set(found) - {"signature", "boxes", "background"}:  # findings were first saved without the last two
        assert refuses({name: value for name, value in found.items() if name != key}), key
    assert refuses({**found, "more": 1})
    for other in (1, 3, "2", None):
        assert refuses({**found, "schema": other})
    if kind == "audit":
        assert refuses({**found, "chain": {"sequence": 1, "predecessor": None}})


# Where anything may stand: settings, what else is known of a model, what a sheet or a set is about.
FREE = {"about", "data", "display", "fitted", "identity", "method", "methods", "metrics", "model", "models", "probe"}


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where every value of a manifest stands, but for what is free."""
    if path and path[-1] in FREE:
        return
    if path:
        yield path
    inner = value.items() if isinstance(value, dict) else enumerate(value[:2]) if isinstance(value, list) else ()
    for key, one in inner:
        yield from places(one, (*path, key))


@pytest.mark.parametrize("kind", MADE)
def test_no_value_may_be_of_another_type(kind: str, manifests: dict[str, dict[str, Any]]) -> None:
    found, asked = manifests[kind], list(places(manifests[kind]))
    assert len(asked) > 20
    for path in asked:
        changed = copy.deepcopy(found)
        inner = changed
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = [[{"odd": True}]]
        assert refuses(changed), path


def test_a_tombstone_is_as_the_schema_says(tmp_path: Path) -> None:
    stone = json.loads(bury(xai.save(sheet(), tmp_path / "a")).read_bytes())
    own = Draft202012Validator({**SCHEMA["$defs"]["tombstone"], "$defs": SCHEMA["$defs"]})
    assert [error.message for error in own.iter_errors(stone)] == []
    for key in set(stone) - {"chain"}:
        assert not own.is_valid({name: value for name, value in stone.items() if name != key}), key
