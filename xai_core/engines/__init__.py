"""Where audit work runs. An engine only hands parcels to workers; everything else is shared code.

local    in this process, on its device
ray      on a cluster: one worker per GPU or CPU core, each with its own copies of the models
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Generator, Iterable
from typing import Protocol

from xai_core.audit_work import Keep, ModelSpec, Outcome, Parcel, Worker
from xai_core.errors import SettingError

ENGINES = ("local", "ray")


class Engine(Protocol):
    """Maps parcels to outcomes."""

    def run(
        self,
        worker: Worker,
        specs: Iterable[ModelSpec | None],
        parcels: Iterable[Parcel],
        keep: Keep,
        cancel: threading.Event,
    ) -> Generator[Outcome, None, None]:
        """What became of every parcel, in any order. `keep` gets every unit, in the caller's thread.

        `worker` holds the models of this process, `specs` say how others come by theirs: None for a network that was
        handed over as it is. Parcels are taken one after the other, when there is room for them. Raises Cancelled.
        """  # fmt: skip
        ...


def engine(name: str, address: str = "", workers: int = 0) -> Engine:
    """The engine of that name. `address` and `workers` are for those that have them; 0 takes all there are."""
    if name not in ENGINES:
        raise SettingError(f"No engine is called {name!r}. Choose {' or '.join(ENGINES)}.")
    if name == "local" and (address or workers):
        raise SettingError("The local engine has one worker, in this process. For more choose --engine ray.")
    made: Engine = importlib.import_module(f"xai_core.engines.{name}").make(address, workers)
    return made
