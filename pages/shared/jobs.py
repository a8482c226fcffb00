"""Long work in a plain thread: watched by the page, stopped by the person, never touching the page itself."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pages.shared import errors
from xai_core.errors import AuditError, Cancelled
from xai_core.records import Explanation, Image, Record, Target

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.models import Model

UNWATCHED_SECONDS = 150.0  # work that no page has asked about for so long is given up; background tabs ask each minute

Progress = Callable[[int, int], None]


class Job:
    """`work(progress, cancel)` in a thread. `key` says which question it answers."""

    def __init__(self, key: str, work: Callable[[Progress, threading.Event], Any], total: int = 0) -> None:
        self.key = key
        self.done, self.total = 0, total
        self.cancel = threading.Event()
        self.cancelled = False
        self.problem = ""
        self.result: Any = None
        self._work = work
        self._watched = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="second-look-job", daemon=True)
        self._thread.start()

    @property
    def running(self) -> bool:
        """Whether the work still goes on. To ask is to watch."""
        self._watched = time.monotonic()
        return self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Wait for the end of the work, so long at most: short work then shows without a flicker."""
        self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self.result = self._work(self._hear, self.cancel)
        except Cancelled:
            self.cancelled = True
        except AuditError as error:
            self.problem = str(error)
        except Exception:
            self.problem = errors.incident()

    def _hear(self, done: int, total: int) -> None:
        self.done, self.total = done, total
        if time.monotonic() - self._watched > UNWATCHED_SECONDS:
            self.cancel.set()


@dataclass(frozen=True)
class Explained:
    """What one piece of work brought, by the keys it was asked under: maps, and sentences for those that failed."""

    maps: Mapping[str, Explanation]
    problems: Mapping[str, str]
    sent: int


def explaining(model: Model, image: Image, methods: Mapping[str, Method], target: Target, seed: int) -> Any:
    """The work of explaining one picture by several methods that share their passes."""

    def work(progress: Progress, cancel: threading.Event) -> Explained:
        from xai_core.pipeline import explain_many

        sent = 0

        def heard(done: int, total: int) -> None:
            nonlocal sent
            sent = done
            progress(done, total)

        try:
            chosen = list(methods.values())
            [found] = explain_many(model, [image], chosen, [target], seed=seed, progress=heard, cancel=cancel)
            return Explained(dict(zip(methods, found, strict=True)), {}, sent)
        except Cancelled:
            raise
        except AuditError as error:
            if len(methods) == 1:
                return Explained({}, dict.fromkeys(methods, str(error)), sent)
        alone = [explaining(model, image, {key: one}, target, seed)(progress, cancel) for key, one in methods.items()]
        maps = {key: explanation for one in alone for key, explanation in one.maps.items()}
        problems = {key: sentence for one in alone for key, sentence in one.problems.items()}
        return Explained(maps, problems, sent + sum(one.sent for one in alone))

    return work


def store() -> Path:
    """The folder of saved records."""
    return Path(os.environ.get("SECOND_LOOK_RECORDS") or Path(__file__).resolve().parents[2] / "records")


def saving(record: Record, store: Path, name: str) -> Any:
    """The work of writing a record into the store."""

    def work(_progress: Progress, _cancel: threading.Event) -> str:
        from xai_core.manifest import save

        store.mkdir(parents=True, exist_ok=True)
        return save(record, store / name).name

    return work
