"""Long work in a plain thread: watched by the page, stopped by the person, never touching the page itself."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
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
Task = Callable[[Progress, threading.Event], Any]


class Job:
    """`work(progress, cancel)` in a thread."""

    def __init__(self, work: Task, total: int = 0) -> None:
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

    @property
    def news(self) -> bool:
        """Whether there is something to show before the end."""
        return False

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


class Work(Job):
    """Explaining one picture by several methods that share their passes. Maps arrive one by one.

    `due` are the keys of the maps that have not been taken yet. What is taken is a map, or the sentence why there is
    none.
    """

    def __init__(
        self,
        model: Model,
        image: Image,
        methods: Mapping[str, Method],
        target: Target,
        seed: int,
        background: Sequence[Image] = (),
        *,
        number: int,
    ) -> None:
        from xai_core.pipeline import cost_of, explain_many

        keys = list(methods)
        self.number, self.due, self.asked = number, set(keys), len(keys)
        self.shown = time.monotonic()  # when the page last showed what has arrived
        self.arrived: deque[tuple[str, Explanation | str]] = deque()

        def work(progress: Progress, cancel: threading.Event) -> None:
            explain_many(
                model,
                [image],
                list(methods.values()),
                [target],
                seed=seed,
                background_images=background,
                progress=progress,
                cancel=cancel,
                each=lambda _, one, explanation: self.arrived.append((keys[one], explanation)),
                failed=lambda _, one, error: self.arrived.append((keys[one], str(error))),
            )

        super().__init__(work, cost_of(model, list(methods.values())))

    def take(self) -> list[tuple[str, Explanation | str]]:
        """What has arrived since it was last asked."""
        taken = [self.arrived.popleft() for _ in range(len(self.arrived))]
        self.due -= {key for key, _ in taken}
        self.shown = time.monotonic()
        return taken

    @property
    def news(self) -> bool:
        """Whether there are maps worth drawing the page for: the more are shown, the less often it is drawn."""
        pause = 0.2 + 0.12 * (self.asked - len(self.due))
        return bool(self.arrived) and time.monotonic() - self.shown > pause


class Survey(Job):
    """Measuring on one picture which methods are valid for a model. `model` is the key of the answer."""

    def __init__(self, model: Model, image: Image, seed: int, key: str) -> None:
        def work(progress: Progress, cancel: threading.Event) -> Any:
            from xai_core.validity import survey

            return survey(model, image, seed=seed, progress=progress, cancel=cancel)

        self.model = key
        super().__init__(work)


def store() -> Path:
    """The folder of saved records."""
    return Path(os.environ.get("SECOND_LOOK_RECORDS") or Path(__file__).resolve().parents[2] / "records")


def saving(record: Record, store: Path, name: str) -> Task:
    """The work of writing a record into the store."""

    def work(_progress: Progress, _cancel: threading.Event) -> str:
        from xai_core.manifest import save

        store.mkdir(parents=True, exist_ok=True)
        return save(record, store / name).name

    return work
