"""The shape of the project, read from its source."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import xai_core as xai
from tests.conftest import ROOT

CORE = sorted((ROOT / "xai_core").rglob("*.py"))
SCREEN = [ROOT / "app.py", *sorted((ROOT / "pages").rglob("*.py"))]
METHOD_FILES = [p for p in sorted((ROOT / "xai_core" / "methods").glob("*.py")) if p.stem != "__init__"]
METRIC_FILES = [p for p in sorted((ROOT / "xai_core" / "metrics").glob("*.py")) if p.stem != "__init__"]
PROBE_FILES = [p for p in sorted((ROOT / "xai_core" / "probes").glob("*.py")) if p.stem != "__init__"]

# What each module of the core may stand on: its own row and the rows above.
ROWS = [
    {"errors"},
    {"durable", "records", "registry", "drawing_weights", "agreement", "spreadsheet", "zip_members"},
    {"statistics", "declared"},
    {"group_statistics", "paired_statistics"},
    {"raster", "colours", "photometry", "covering"},
    {"dicom", "canvas"},
    {"images"},
    {"layers", "devices", "baselines", "account", "attention", "principal", "shapley", "rules"},
    {"difference_rules", "relevance_rules"},
    {"models", "figures"},
    {"backgrounds", "superpixels"},
    {"checkpoints", "own_models"},
    {"loading", "methods", "truth", "cases", "sources"},
    {"masking", "sensitivity", "foreground", "map_shift"},
    {"metrics"},
    {
        *("pipeline", "provenance", "seal", "signing", "verification", "chain"),
        *("checklist", "comparison", "comparison_figure"),
        *("units", "unit_parts", "unit_places", "unit_store", "lease", "decisions"),
    },
    {"scoring", "score_table", "runs", "classification"},
    {
        *("probes", "faces", "parts", "regions", "surroundings", "dose_response", "dose_sentences", "dose_summary"),
        *("artefacts", "challenge", "challenge_effects", "challenge_report"),
        *("group_comparison", "grouping", "group_answers", "group_trend"),
    },
    {"evidence", "score_export", "charts", "score_summary", "drift", "drift_summary", "gate"},
    {"probing", "probe_figures", "probe_panels", "group_panels", "finding_panels"},
    {"finding_files", "sheet_files", "store", "manifest"},
    {"catalogue", "retention", "store_verification"},
    {"sameness", "reloading", "recompute"},
    {
        *("validity", "tables", "findings"),
        *("audit_tables", "audit_aggregate", "audit_figures", "audit_summary", "audit_report", "html_report"),
        *("score_record", "decision_record"),
    },
    {"audit_work", "audit_cost"},
    {"engines"},
    {"audit_plan"},
    {"auditing"},
    {""},
    {"options"},
    {
        *("audit_command", "compare_command", "drift_command", "gate_command", "probe_command"),
        *("decisions_command", "records_command", "report_command", "score_command", "verify_command"),
    },
    {"demo", "__main__"},
]
HEAVY = {"timm", "pytorch_grad_cam", "captum", "shap", "lime", "sklearn", "skimage", "matplotlib", "pandas"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level:  # from .drawing import Drawing
            yield ".".join(["xai_core", *path.relative_to(ROOT / "xai_core").parts[:-1], node.module or ""])
        elif isinstance(node, ast.ImportFrom) and node.module == "xai_core":
            yield from (f"xai_core.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def row_of(module: str) -> int:
    part = module.split(".")[1] if "." in module else ""
    return next(i for i, row in enumerate(ROWS) if part in row)


@pytest.mark.parametrize("path", CORE, ids=name)
def test_the_core_knows_nothing_of_the_screen(path: Path) -> None:
    assert not {module.split(".")[0] for module in imports(path)} & {"streamlit", "pages", "app"}


@pytest.mark.parametrize("path", [p for p in CORE if p.name != "__init__.py" or p.parent.name != "xai_core"], ids=name)
def test_imports_of_the_core_point_down(path: Path) -> None:
    own = row_of("xai_core." + path.relative_to(ROOT / "xai_core").parts[0].removesuffix(".py"))
    for module in imports(path):
        if module.split(".")[0] == "xai_core":
            assert row_of(module) <= own, f"{name(path)} imports {module} from above"


@pytest.mark.parametrize("path", [*METHOD_FILES, *METRIC_FILES, *PROBE_FILES], ids=name)
def test_methods_metrics_and_probes_never_import_one_another(path: Path) -> None:
    assert not [module for module in imports(path) if re.match(rf"xai_core\.{path.parent.name}\.", module)]


@pytest.mark.parametrize("path", [*METHOD_FILES, *METRIC_FILES, *PROBE_FILES], ids=name)
def test_a_method_metric_or_probe_file_is_one_page_that_names_its_paper(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 100
    docstring = ast.get_docstring(ast.parse(text)) or ""
    assert re.search(r"https://(arxiv\.org|doi\.org)/", docstring), "names no paper"
    assert re.search(r"(19|20)\d\d", docstring), "names no year"


@pytest.mark.parametrize("path", [*CORE, *SCREEN], ids=name)
def test_heavy_libraries_are_imported_where_they_are_needed(path: Path) -> None:
    assert not {module.split(".")[0] for module in imports(path, top_level_only=True)} & HEAVY


@pytest.mark.parametrize("path", SCREEN, ids=name)
def test_the_screen_does_no_maths(path: Path) -> None:
    forbidden = {"torch", "timm", "cv2", "shap", "lime", "pytorch_grad_cam", "captum"}
    assert not {module.split(".")[0] for module in imports(path)} & forbidden


@pytest.mark.parametrize(
    ("word", "home"), [("session_state", "state.py"), ("cache_data", "cached.py"), ("cache_resource", "cached.py")]
)
def test_each_piece_of_streamlit_memory_has_one_home(word: str, home: str) -> None:
    assert {path.name for path in SCREEN if f"st.{word}" in path.read_text(encoding="utf-8")} <= {home}


FORBIDDEN = {
    "weights_only=False": "runs code from a checkpoint",
    "allow_pickle=True": "runs code from an array",
    "extractall(": "renames hostile entries in silence",
    "unsafe_allow_html": "lets text from outside become markup",
    "strict=False": "accepts any file as weights",
    ".backward(": "writes shared gradients",
    'persist="disk"': "is pickle",
    "manual_seed_all": "moves the global generator",
    "np.random.seed": "moves the global generator",
    "use_container_width": "is gone",
}


@pytest.mark.parametrize("call", FORBIDDEN)
def test_a_forbidden_call_is_nowhere(call: str) -> None:
    excused = {"xai_core/demo/train.py"} if call == ".backward(" else set()  # its network is its own
    found = [name(p) for p in [*CORE, *SCREEN] if call in p.read_text(encoding="utf-8") and name(p) not in excused]
    assert not found, FORBIDDEN[call]


def test_only_one_module_writes_records() -> None:
    writes = re.compile(r"os\.replace|os\.rename|\.write_bytes\(|\.write_text\(|open\([^)]*[\"'][wax]b?[\"']")
    writers = {p.stem for p in CORE if "demo" not in p.parts and writes.search(p.read_text(encoding="utf-8"))}
    assert writers == {"durable"}


def test_the_public_names_are_pinned_and_sorted() -> None:
    assert xai.__all__ == sorted(xai.__all__, key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    assert set(xai.__all__) == {
        "METHODS", "AuditError", "Target", "audit", "explain", "explain_many", "load_model", "open_record", "predict",
        "METRICS", "PROBES", "probe", "read_image", "save", "score", "verify", "weigh", "wrap_model",
    }  # fmt: skip
    for public in xai.__all__:
        assert getattr(xai, public) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = xai.nonsense


def test_importing_the_package_costs_nothing() -> None:
    code = "import sys, xai_core; print([m for m in ('torch', 'numpy', 'PIL') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_two_files_of_tests_are_one_module() -> None:
    """Pytest imports a test file of a folder that is no package by its bare name."""
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if not (path.parent / "__init__.py").exists()]
    names = [path.name for path in files]
    assert sorted(names) == sorted(set(names))


def test_every_setting_is_declared_with_its_limits_and_words() -> None:
    from xai_core.methods import FAMILIES
    from xai_core.registry import settings

    assert {xai.METHODS[method].family for method in xai.METHODS} <= set(FAMILIES)
    for cls in [registry[key] for registry in (xai.METHODS, xai.METRICS, xai.PROBES) for key in registry]:
        assert cls.label
        assert cls.summary().endswith("."), f"{cls.name} does not say in its first sentence what it does"
        for field in settings(cls):
            words = field.metadata
            assert words["help"], f"{cls.name}.{field.name} has no help"
            assert words["label"], f"{cls.name}.{field.name} has no label"
            numeric = isinstance(field.default, int | float) and not isinstance(field.default, bool)
            assert not numeric or words["choices"] or words["low"] <= field.default <= words["high"]


def test_the_project_speaks_of_itself_alone() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    private = re.compile("/(" + "wor" + "k|" + "far" + "m)/|[.]" + "library")
    for path in tracked:
        if path.endswith((".py", ".md", ".txt", ".toml", "run", "Makefile")):
            assert not private.search((ROOT / path).read_text(encoding="utf-8")), path
