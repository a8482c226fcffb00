"""Long work in a plain thread: watched by the page, stopped by the person, never touching the page itself."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pages.shared import cached, errors
from pages.shared.known import Known, ScoreKey
from pages.shared.state import Compared, Kept
from xai_core.errors import AuditError, Cancelled, RecordError
from xai_core.records import Evidence, Explanation, Finding, Image, Prediction, Record, Score, Sheet, Target
from xai_core.store import AUDITS

if TYPE_CHECKING:
    from pages.shared.answers import Asked
    from xai_core.chain import ChainReport
    from xai_core.methods import Method
    from xai_core.metrics import Metric
    from xai_core.models import Model
    from xai_core.unit_store import UnitStore
    from xai_core.verification import Report

UNWATCHED_SECONDS = 150.0  # work that no page has asked about for so long is given up; background tabs ask each minute

T = TypeVar("T")
Progress = Callable[[int, int], None]
Task = Callable[[Progress, threading.Event], Any]


class Job:
    """`work(progress, cancel)` in a thread. The `models` that it works with are held until it ends."""

    def __init__(self, work: Task, total: int = 0, models: Sequence[Model] = ()) -> None:
        self.done, self.total = 0, total
        self.cancel = threading.Event()
        self.cancelled = False
        self.stage = ""  # what it is doing, where it does one thing after another
        self.problem = ""
        self.result: Any = None
        self._watched = time.monotonic()
        # Given to the thread alone: the network and the pictures that the work holds need not outlive it.
        self._thread = threading.Thread(target=self._run, args=(work, models), name="second-look-job", daemon=True)
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

    def _run(self, work: Task, models: Sequence[Model]) -> None:
        try:
            with cached.shelf.using(*models):
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

    def __init__(self, work: Task, keys: Sequence[str], total: int = 0, models: Sequence[Model] = ()) -> None:
        self.due, self.asked = set(keys), len(keys)
        self.shown = time.monotonic()  # when the page last showed what has arrived
        self.arrived: deque[tuple[str, T | str]] = deque()
        super().__init__(work, total, models)

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
    """Explaining what is asked, by the keys of the maps. Targets of one picture and model share their passes."""

    def __init__(self, wanted: Mapping[str, tuple[Asked, Method]]) -> None:
        from xai_core.pipeline import cost_of, explain_many

        def work(progress: Progress, cancel: threading.Event) -> None:
            known = Known(units())
            found = known.maps(wanted)
            self.arrived.extend((key, Kept(explanation)) for key, explanation in found.items())
            groups = _together({key: one for key, one in wanted.items() if key not in found})
            costs = [cost_of(wanted[rows[0][1][0]][0].model, methods, len(rows)) for methods, rows in groups]
            self.total = sum(costs)
            for number, (methods, rows) in enumerate(groups):
                asked, before, fresh = wanted[rows[0][1][0]][0], sum(costs[:number]), list[Explanation]()

                def heard(done: int, _: int, before: int = before) -> None:
                    progress(before + done, self.total)

                def said(_: int, prediction: Prediction, asked: Asked = asked) -> None:
                    if known.prediction(asked.model, asked.image) is None:
                        known.keep_prediction(asked.model, asked.image, prediction)

                def made(
                    i: int, by: int, explanation: Explanation, rows: Rows = rows, fresh: list[Explanation] = fresh
                ) -> None:
                    self.arrived.append((rows[i][1][by], Kept(explanation, self)))
                    fresh.append(explanation)

                def failed(i: int, by: int, error: AuditError, rows: Rows = rows) -> None:
                    self.arrived.append((rows[i][1][by], str(error)))

                try:
                    explain_many(
                        asked.model,
                        [asked.image] * len(rows),
                        methods,
                        [target for target, _ in rows],
                        seed=asked.seed,
                        background_images=asked.background,
                        progress=heard,
                        cancel=cancel,
                        each=made,
                        failed=failed,
                        said=said,
                    )
                finally:
                    known.keep_maps((asked.model, explanation) for explanation in fresh)

        super().__init__(work, list(wanted), models=[asked.model for asked, _ in wanted.values()])


Rows = Sequence[tuple[Target, Sequence[str]]]  # a target, and the key of its map by each method


def _together(
    wanted: Mapping[str, tuple[Asked, Method]],
) -> list[tuple[tuple[Method, ...], list[tuple[Target, list[str]]]]]:
    """What is asked by the same methods of one picture and model: those methods, and the targets with their keys."""
    by_target: dict[Any, dict[str, tuple[Asked, Method]]] = {}
    for key, (asked, method) in wanted.items():
        by_target.setdefault((_about(asked), asked.target), {})[key] = asked, method
    groups: dict[Any, list[tuple[Target, list[str]]]] = {}
    for (about, target), those in by_target.items():
        methods = tuple(method for _, method in those.values())
        groups.setdefault((about, methods), []).append((target, list(those)))
    return [(methods, rows) for (_, methods), rows in groups.items()]


def _about(asked: Asked) -> tuple[Any, ...]:
    """What questions have in common that the network answers together."""
    return id(asked.model), asked.image.sha256, asked.seed, tuple(one.sha256 for one in asked.background)


class Weighing(Arriving[Evidence]):
    """Weighing maps, by their keys: how far each of them can be believed. Those of one model are weighed together."""

    def __init__(self, explained: Mapping[str, tuple[Asked, Explanation]]) -> None:
        groups: dict[Any, dict[str, tuple[Asked, Explanation]]] = {}
        for key, (asked, explanation) in explained.items():
            groups.setdefault(_about(asked), {})[key] = asked, explanation

        def work(progress: Progress, cancel: threading.Event) -> None:
            from xai_core.evidence import weigh_many

            known = Known(units())
            for number, those in enumerate(groups.values(), 1):
                asked, _ = next(iter(those.values()))
                found = known.evidence(asked.model, {key: e for key, (_, e) in those.items()}, asked.seed)
                self.arrived.extend(found.items())
                left = {key: e for key, (_, e) in those.items() if key not in found}
                keys, fresh = list(left), list[tuple[Explanation, Evidence]]()
                if len(groups) > 1:
                    self.stage = f"Model {number} of {len(groups)}"

                def weighed(
                    one: int,
                    evidence: Evidence,
                    keys: Sequence[str] = keys,
                    left: Mapping[str, Explanation] = left,
                    fresh: list[tuple[Explanation, Evidence]] = fresh,
                ) -> None:
                    self.arrived.append((keys[one], evidence))
                    fresh.append((left[keys[one]], evidence))

                try:
                    if left:
                        weigh_many(
                            asked.model,
                            list(left.values()),
                            seed=asked.seed,
                            background_images=asked.background,
                            progress=progress,
                            cancel=cancel,
                            each=weighed,
                        )
                finally:
                    known.keep_evidence(asked.model, fresh, asked.seed)

        super().__init__(work, list(explained), models=[asked.model for asked, _ in explained.values()])


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

            self.stage, known = "Scoring", Known(units())
            mask = next((one.sha256 for one in masks.values()), "")
            scores = known.scores(model, explained, metrics, mask, seed)
            asked_for = [by for by in metrics if not any(place.metric == by.name for place in scores)]
            if asked_for:
                made = score_many(
                    model,
                    list(explained.values()),
                    asked_for,
                    masks=masks,
                    seed=seed,
                    background_images=background,
                    progress=progress,
                    cancel=cancel,
                )
                fresh = {
                    ScoreKey(one, by.name): score
                    for one, row in zip(explained, made, strict=True)
                    for by, score in zip(asked_for, row, strict=True)
                }
                known.keep_scores(model, explained, asked_for, fresh, mask, seed)
                scores |= fresh
            self.arrived.extend((keys[place], score) for place, score in scores.items())

        super().__init__(work, due, models=[model])


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

        super().__init__(work, [key], models=[model])


class Survey(Job):
    """Measuring on one picture which methods are valid for a model. `model` is the key of the answer."""

    def __init__(self, model: Model, image: Image, seed: int, key: str) -> None:
        def work(progress: Progress, cancel: threading.Event) -> Any:
            from xai_core.validity import survey

            return survey(model, image, seed=seed, progress=progress, cancel=cancel)

        self.model = key
        super().__init__(work, models=[model])


def store() -> Path:
    """The folder of saved records."""
    return Path(os.environ.get("SECOND_LOOK_RECORDS") or Path(__file__).resolve().parents[2] / "records")


def made_store() -> Path:
    """The same, made where it is missing. Raises RecordError where it cannot be."""
    folder = store()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordError(
            f"The folder of records cannot be made: {error.strerror}. Ask whoever runs this program to let it write."
        ) from error
    return folder


def audits() -> Path:
    """The folder of the audits that were begun on the page, and of the answers that they share with it."""
    return store() / AUDITS


def units() -> UnitStore | None:
    """The answers that are kept for all visitors; None where they cannot be."""
    return cached.unit_store(audits() / "units")


def saving(made: Callable[[], Record | Finding | Sheet]) -> Task:
    """The work of making a record, and of writing it into the store: its name there, which begins with the time.

    `made` is called in the thread, so it reads nothing of the session. Where it raises, the store is as it was.
    """

    def work(_progress: Progress, _cancel: threading.Event) -> str:
        cached.load_core()
        from xai_core.manifest import save

        record = made()
        return save(record, made_store() / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}").name

    return work


def checking() -> Task:
    """The work of looking whether the records of the store are all that were saved into it."""

    def work(progress: Progress, cancel: threading.Event) -> ChainReport:
        from xai_core.chain import check

        return check(store(), progress, cancel)

    return work


class Verifying(Job):
    """Comparing every byte of records with their manifests, one record after the other.

    `reports` are there for as many as are `verified`; those that are in order are counted, and the first kept.
    """

    KEPT = 500  # reports of records that are in order

    def __init__(self, folders: Mapping[str, Path]) -> None:
        self.verified, self.asked = 0, len(folders)
        self.reports: dict[str, Report] = {}
        self.wrong: dict[str, str] = {}  # why, of those that are not in order

        def work(progress: Progress, cancel: threading.Event) -> None:
            from xai_core.verification import verify

            for number, (place, folder) in enumerate(folders.items(), 1):
                if cancel.is_set():
                    raise Cancelled("Cancelled. What was verified stays.")
                try:
                    report = verify(folder)
                    why = ", ".join(f"{one.name} {one.status}" for one in report.wrong)
                    if why or len(self.reports) < self.KEPT:
                        self.reports[place] = report
                except RecordError as error:  # it was deleted meanwhile
                    why = str(error)
                if why:
                    self.wrong[place] = why
                self.verified = number
                progress(number, len(folders))

        super().__init__(work, len(folders))


class Recomputing(Job):
    """Verifying one record and asking `count` of its answers again: `result` is the report.

    `pictures` are files at hand, found by their hashes, `own` models at hand; others are loaded by the record's words.
    """

    def __init__(
        self,
        place: str,
        folder: Path,
        identities: Sequence[Mapping[str, Any]],
        count: int,
        pictures: Sequence[bytes],
        own: Sequence[Model],
    ) -> None:
        self.place = place

        def work(progress: Progress, cancel: threading.Event) -> Report:
            from xai_core.cases import CaseSet
            from xai_core.recompute import verify
            from xai_core.records import Case

            cached.load_core()
            models = list(own)
            for identity in identities:
                models += cached.at_hand(str(identity.get("name", "")), str(identity.get("task", "")))
                cached.check_recorded(identity)
            data = CaseSet("", tuple(Case("", partial(bytes, content)) for content in pictures))
            with cached.shelf.using(*models):
                return verify(folder, recompute=count, data=data, models=models, progress=progress, cancel=cancel)

        super().__init__(work, models=own)
