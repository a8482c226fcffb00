"""Long work in a plain thread: watched by the page, stopped by the person, never touching the page itself."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pages.shared import errors
from pages.shared.state import Compared, Kept
from xai_core.errors import AuditError, Cancelled
from xai_core.records import Evidence, Explanation, Image, Prediction, Record, Score, Target

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.metrics import Metric
    from xai_core.models import Model

UNWATCHED_SECONDS = 150.0  # work that no page has asked about for so long is given up; background tabs ask each minute

T = TypeVar("T")
Progress = Callable[[int, int], None]
Task = Callable[[Progress, threading.Event], Any]


class Job:
    """`work(progress, cancel)` in a thread."""

    def __init__(self, work: Task, total: int = 0) -> None:
        self.done, self.total = 0, total
        self.cancel = threading.Event()
        self.cancelled = False
        self.stage = ""  # what it is doing, where it does one thing after another
        self.problem = ""
        self.result: Any = None
        self._watched = time.monotonic()
        # Given to the thread alone: the network and the pictures that the work holds need not outlive it.
        self._thread = threading.Thread(target=self._run, args=(work,), name="second-look-job", daemon=True)
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

    def _run(self, work: Task) -> None:
        try:
            self.result = work(self._hear, self.cancel)
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


class Arriving(Job, Generic[T]):
    """Work whose answers arrive one by one: `work` puts them into `arrived`.

    `due` are the keys of the answers that have not been taken yet. What is taken is an answer, or the sentence why
    there is none.
    """

    def __init__(self, work: Task, keys: Sequence[str], total: int = 0) -> None:
        self.due, self.asked = set(keys), len(keys)
        self.shown = time.monotonic()  # when the page last showed what has arrived
        self.arrived: deque[tuple[str, T | str]] = deque()
        super().__init__(work, total)

    def take(self) -> list[tuple[str, T | str]]:
        """What has arrived since it was last asked."""
        taken = [self.arrived.popleft() for _ in range(len(self.arrived))]
        self.due -= {key for key, _ in taken}
        self.shown = time.monotonic()
        return taken

    @property
    def news(self) -> bool:
        """Whether there are answers worth drawing the page for: the more are shown, the less often it is drawn."""
        pause = 0.2 + 0.12 * (self.asked - len(self.due))
        return bool(self.arrived) and time.monotonic() - self.shown > pause


class Work(Arriving[Kept]):
    """Explaining one picture by several methods that share their passes."""

    def __init__(
        self,
        model: Model,
        image: Image,
        methods: Mapping[str, Method],
        target: Target,
        seed: int,
        background: Sequence[Image] = (),
    ) -> None:
        from xai_core.pipeline import cost_of, explain_many

        keys = list(methods)

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
                each=lambda _, one, explanation: self.arrived.append((keys[one], Kept(explanation, self))),
                failed=lambda _, one, error: self.arrived.append((keys[one], str(error))),
            )

        super().__init__(work, keys, cost_of(model, list(methods.values())))


class Weighing(Arriving[Evidence]):
    """Weighing maps of one picture: how far each of them can be believed."""

    def __init__(
        self, model: Model, explained: Mapping[str, Explanation], seed: int, background: Sequence[Image] = ()
    ) -> None:
        keys = list(explained)

        def work(progress: Progress, cancel: threading.Event) -> None:
            from xai_core.evidence import weigh_many

            weigh_many(
                model,
                list(explained.values()),
                seed=seed,
                background_images=background,
                progress=progress,
                cancel=cancel,
                each=lambda one, evidence: self.arrived.append((keys[one], evidence)),
            )

        super().__init__(work, keys)


class Scoring(Arriving[Score]):
    """Scoring maps of one picture. All scores arrive at the end, since maps are scored together.

    `keys` tell the key of a score by map and metric; `due` are those that are missing.
    """

    def __init__(
        self,
        model: Model,
        explained: Mapping[str, Explanation],
        metrics: Sequence[Metric],
        keys: Mapping[tuple[str, str], str],
        due: Sequence[str],
        masks: Mapping[str, Image],
        seed: int,
        background: Sequence[Image] = (),
    ) -> None:
        def work(progress: Progress, cancel: threading.Event) -> None:
            from xai_core.scoring import score_many

            self.stage = "Scoring"
            found = score_many(
                model,
                list(explained.values()),
                metrics,
                masks=masks,
                seed=seed,
                background_images=background,
                progress=progress,
                cancel=cancel,
            )
            for one, scores in zip(explained, found, strict=True):
                self.arrived.extend((keys[one, by.name], score) for by, score in zip(metrics, scores, strict=True))

        super().__init__(work, due)


class Comparison(Arriving[Compared]):
    """Comparing methods over several pictures: a table, under `key`. `pictures` come with their masks, by sha256.

    `aim` says what is explained of a picture, by what the model says of it. A picture is not in its own background.
    """

    def __init__(
        self,
        model: Model,
        pictures: Mapping[str, tuple[Image, Image | None]],
        methods: Sequence[Method],
        metrics: Sequence[Metric],
        aim: Callable[[Prediction], Target],
        key: str,
        seed: int,
        background: Sequence[Image] = (),
    ) -> None:
        def work(progress: Progress, cancel: threading.Event) -> None:
            from xai_core.pipeline import explain_many, predict
            from xai_core.score_table import score_table
            from xai_core.scoring import score_many

            explained, scores, failures = list[Explanation](), list[list[Score]](), dict[tuple[str, str], list[int]]()
            for number, (image, mask) in enumerate(pictures.values(), 1):
                self.stage = f"Picture {number} of {len(pictures)}"

                def failed(_: int, one: int, error: AuditError, number: int = number) -> None:
                    failures.setdefault((methods[one].label, str(error)), []).append(number)

                others = [one for one in background if one.sha256 != image.sha256]
                common: dict[str, Any] = {"seed": seed, "background_images": others, "cancel": cancel}
                target = aim(predict(model, image))
                [made] = explain_many(model, [image], methods, [target], failed=failed, progress=progress, **common)
                masks = {} if mask is None else {image.sha256: mask}
                scores += score_many(model, made, metrics, masks=masks, progress=progress, **common)
                explained += made
            self.stage = "Comparing"
            table = score_table(explained, scores, seed=seed)
            _ = table.agreement, table.comparisons  # take seconds: here, not where the page is drawn
            left_out = [
                f"{label} made no map of picture {', '.join(map(str, numbers))}: {why}"
                for (label, why), numbers in failures.items()
            ]
            self.arrived.append((key, Compared(table, left_out)))

        super().__init__(work, [key])


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
