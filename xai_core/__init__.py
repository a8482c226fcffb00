"""Second Look: audit what an image classifier looks at.

    import xai_core as xai

    model = xai.load_model("demo-xray")
    image = xai.read_image("case.png")
    explanation = xai.explain(model, image, "grad_cam")
    folder = xai.save(explanation, "record")

Names are imported when they are first used, so that `import xai_core` itself costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from xai_core.auditing import audit
    from xai_core.errors import AuditError
    from xai_core.evidence import weigh
    from xai_core.images import read_image
    from xai_core.loading import load_model, wrap_model
    from xai_core.manifest import open_record, save
    from xai_core.methods import METHODS
    from xai_core.metrics import METRICS
    from xai_core.pipeline import explain, explain_many, predict
    from xai_core.probes import PROBES
    from xai_core.probing import probe
    from xai_core.recompute import verify
    from xai_core.records import Target
    from xai_core.scoring import score

_HOMES = {
    "AuditError": "errors",
    "METHODS": "methods",
    "METRICS": "metrics",
    "PROBES": "probes",
    "Target": "records",
    "audit": "auditing",
    "explain": "pipeline",
    "explain_many": "pipeline",
    "load_model": "loading",
    "open_record": "manifest",
    "predict": "pipeline",
    "probe": "probing",
    "read_image": "images",
    "save": "manifest",
    "score": "scoring",
    "verify": "recompute",
    "weigh": "evidence",
    "wrap_model": "loading",
}

__all__ = [
    "METHODS",
    "METRICS",
    "PROBES",
    "AuditError",
    "Target",
    "audit",
    "explain",
    "explain_many",
    "load_model",
    "open_record",
    "predict",
    "probe",
    "read_image",
    "save",
    "score",
    "verify",
    "weigh",
    "wrap_model",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
