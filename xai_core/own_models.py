"""Networks of your own, by name: on the page and on the command line, beside the demo models and timm.

Whoever starts the program names a Python file in the environment variable SECOND_LOOK_MODELS. It is run, so it is never
taken from a visitor. It defines what makes each model:

    def mine() -> xai_core.models.Model:
        return xai_core.wrap_model(network, labels=[...], input_size=(3, 224, 224), mean=..., std=...)

    MODELS = {"mine": mine}
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from xai_core.errors import ModelError
from xai_core.models import Model

FILE = "SECOND_LOOK_MODELS"
NAME = re.compile(r"[a-z0-9][a-z0-9_.\-]*")  # that may come from a browser or a record: never a path
_running = threading.Lock()
_read: dict[Path, Mapping[str, Callable[[], Model]]] = {}


def own_models() -> Mapping[str, Callable[[], Model]]:
    """What makes each model, by name; empty where no file is named. The file is run once.

    Raises ModelError, which names the file and what is wrong with it.
    """
    if not (named := os.environ.get(FILE, "")):
        return {}
    path = Path(named).resolve()
    with _running:
        if path not in _read:
            _read[path] = _run(path)
        return _read[path]


def load_own(name: str) -> Model:
    """One of them, made anew. Raises ModelError where its function fails or gives something else."""
    make = own_models()[name]
    try:
        model = make()
    except Exception as error:  # another person's code can raise anything
        raise _broken(f"its {name!r} failed ({_reason(error)})") from error
    if not isinstance(model, Model):
        raise _broken(f"its {name!r} gives a {type(model).__name__}, which wrap_model must be given first")
    return named(model, name)


def named(model: Model, name: str) -> Model:
    """The model, which has just been made, under another name."""
    model.name = name
    model.identity = {**model.identity, "name": name}
    return model


def _run(path: Path) -> Mapping[str, Callable[[], Model]]:
    specification = importlib.util.spec_from_file_location("second_look_models", path)
    if specification is None or specification.loader is None:
        raise _broken("its name does not end in .py")
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses, for one, look for the module that they stand in
    try:
        specification.loader.exec_module(module)
    except Exception as error:  # another person's code can raise anything
        del sys.modules[specification.name]
        raise _broken(_reason(error)) from error
    models = getattr(module, "MODELS", None)
    if not isinstance(models, Mapping) or not all(callable(make) for make in models.values()):
        raise _broken("it defines no MODELS, a dictionary of functions by name")
    strange = [name for name in models if not (isinstance(name, str) and NAME.fullmatch(name)) or name[:5] == "demo-"]
    if strange:
        raise _broken(f"a model cannot be called {strange[0]!r}: use small letters, digits, '_', '-' and '.'")
    return dict(models)


def _broken(reason: str) -> ModelError:
    return ModelError(f"{os.environ.get(FILE)}, which {FILE} names, cannot be used: {reason}. Mend it or unset {FILE}.")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(". ")
