"""A whole set of pictures through models, methods and metrics: resumable, on any engine.

    run = audit("pictures/", ["demo-xray"], ["grad_cam"], ["deletion"], out="run")

Every answer is a unit under a key of its own (`units`). The store is asked first, and what it has is never computed
again. What is missing of one picture by one model goes to a worker as a parcel (`audit_work`); units are kept as they
come, so that whoever stops an audit, or whatever kills it, loses what was in hand and no more. When all are there the
report is written (`audit_report`), the manifest last.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from xai_core import durable, units
from xai_core.audit_plan import Plan, Prepared, StoredAnswers
from xai_core.audit_report import Sample, write_report
from xai_core.audit_work import ModelSpec, Outcome, Parcel, Question, Weigh, Worker
from xai_core.cases import CaseSet, read_cases
from xai_core.engines import engine as engine_called
from xai_core.errors import AuditError, Cancelled, PictureError, RecordError, SettingError
from xai_core.lease import lease
from xai_core.methods import METHODS
from xai_core.metrics import METRICS
from xai_core.models import Model
from xai_core.records import Image
from xai_core.runs import FACTS, Run, open_run
from xai_core.signing import signing_key
from xai_core.unit_store import UnitStore
from xai_core.units import Unit

if TYPE_CHECKING:
    from xai_core.pipeline import MethodSpec
    from xai_core.scoring import MetricSpec

AHEAD = 6  # pictures that are read and decoded while others are computed
KEEP_SECONDS = 0.25  # units that took less than this together are written together
TOLD_SECONDS = 1.0  # between two looks at run.json


@dataclass
class Progress:
    """How far an audit is. `found` and `computed` make up what is `done` of `total` units."""

    total: int = 0
    found: int = 0
    computed: int = 0
    pictures: int = 0
    cases: int = 0
    passes: int = 0
    seconds: float = 0.0
    stage: str = "Asking"

    @property
    def done(self) -> int:
        return self.found + self.computed

    @property
    def pictures_per_second(self) -> float | None:
        return self.pictures / self.seconds if self.seconds > 0 and self.pictures else None

    @property
    def seconds_left(self) -> float | None:
        """By the pace of the units that had to be computed; None before there is one."""
        if not self.computed or not self.seconds:
            return None
        return max(0, self.total - self.done) * self.seconds / self.computed

    def __str__(self) -> str:
        about = "about " if self.done < self.total else ""
        parts = [f"{self.done:,} of {about}{self.total:,} units", f"{self.pictures:,} of {self.cases:,} pictures"]
        if self.found:
            parts.append(f"{self.found:,} found")
        if pace := self.pictures_per_second:
            parts.append(f"{pace:.3g} pictures a second" if pace >= 1 else f"{60 * pace:.2g} pictures a minute")
        if self.passes:
            parts.append(f"{self.passes:,} passes")
        if self.done < self.total and (left := self.seconds_left) is not None:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)


def duration(seconds: float) -> str:
    """Hours and minutes, minutes and seconds, or seconds."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


Told = Callable[[Progress], None]


def audit(
    cases: str | Path | bytes | CaseSet,
    models: Sequence[str | ModelSpec | Model],
    methods: Sequence[MethodSpec],
    metrics: Sequence[MetricSpec] = (),
    *,
    out: str | Path,
    store: str | Path | None = None,
    engine: str = "local",
    address: str = "",
    workers: int = 0,
    target: str = "predicted",
    seed: int = 0,
    weigh: Weigh = "wrong",
    controls: bool = True,
    background_images: Sequence[Image] = (),
    device: str | None = None,
    progress: Told | None = None,
    cancel: threading.Event | None = None,
) -> Run:
    """Every picture of a set through every model, method and metric; the run, as `open_run` gives it.

    `cases` is what `read_cases` takes, or what it gave. `out` is a new folder, or that of the same question, which is
    then gone on with. `store` is where units are kept: a folder or any fsspec address; by default `out`/store. `target`
    is "predicted" (each model's own), "true" (the label) or a class. `weigh` says which maps are held against all
    checks: of no pictures, of those that a model got wrong, or of all; each takes about 720 passes. `controls` adds
    maps that know nothing of the model, to score beside the others. Raises SettingError, PictureError, ModelError or
    RecordError, before any computing where that is possible; Cancelled once `cancel` is set: what was done is kept.
    """
    told, stop = progress or (lambda _: None), cancel or threading.Event()
    if weigh not in get_args(Weigh):
        raise SettingError(f"weigh={weigh!r} is not allowed. Choose one of {', '.join(get_args(Weigh))}.")
    signing_key()  # a broken one is told before the work
    runner = engine_called(engine, address, workers)
    folder = Path(out)
    given = cases if isinstance(cases, CaseSet) else read_cases(cases)
    chosen = [METHODS.build(method) for method in methods]
    if controls:
        rivals = [METHODS.build(name) for name in METHODS if METHODS[name].family == "control"]
        chosen += [one for one in rivals if one.name not in {method.name for method in chosen}]
    question = Question(
        tuple(dict.fromkeys(chosen)), tuple(dict.fromkeys(METRICS.build(metric) for metric in metrics)),
        seed, weigh, tuple(background_images),
    )  # fmt: skip
    specs = [None if isinstance(model, Model) else _spec(model) for model in models]
    loaded = [model if isinstance(model, Model) else _spec(model).load(device) for model in models]
    plan = Plan(given, Worker(loaded, question), target)
    facts = {
        **plan.facts(specs),
        "engine": engine,
        "store": "store" if store is None else _address(store),
        "started": _now(),
        "status": "running",
    }
    _check_folder(folder, facts)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise RecordError(f"Cannot make the folder {folder}: {error.strerror}. Choose another place.") from error
    with lease(folder, {"what": "audit"}, stop):
        _check_folder(folder, facts)
        for home in (folder, *(path for path in folder.glob("*/*") if path.parent.name in ("arrays", "grids"))):
            durable.sweep(home, 0)  # nobody else works here: what is there was left by an audit that was killed
        with UnitStore(folder / "store" if store is None else store) as kept:
            running = _Running(folder, plan, kept, facts, told, stop)
            running.go(lambda parcels: runner.run(plan.worker, specs, parcels, running.keep, stop))
    return open_run(folder)


def _spec(model: str | ModelSpec) -> ModelSpec:
    return ModelSpec(model) if isinstance(model, str) else model


def _address(store: str | Path) -> str:
    """Where it will also be found from another folder."""
    return str(store) if "://" in str(store) else str(Path(store).absolute())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


class _Running:
    """An audit under way: what it has done, and what it tells of that."""

    def __init__(
        self, folder: Path, plan: Plan, store: UnitStore, facts: dict[str, Any], told: Told, cancel: threading.Event
    ) -> None:
        self.folder, self.plan, self.store, self.facts = folder, plan, store, facts
        self.told, self.cancel = told, cancel
        self.progress = Progress(cases=len(plan.cases.cases))
        self.start = self.kept = time.monotonic()
        self.wrote = 0.0
        self.waiting: list[Unit] = []
        self.samples: dict[int, tuple[Sample, str]] = {}  # by the number of the case, with the sha256 of the mask
        self.refused: list[tuple[str, str]] = list(plan.cases.refused)
        self.lost: list[tuple[str, str, str]] = []
        self.problems: Counter[str] = Counter()
        self.left: dict[int, int] = {}  # parcels of a picture that are not done
        self.expected = 0  # units of the pictures so far
        self._write("running")

    def go(self, work: Callable[[Iterator[Parcel]], Generator[Outcome, None, None]]) -> None:
        """Take what comes in, until all is there; then write the report. Whatever happens, what is done is kept."""
        status, problem = "failed", ""
        try:
            if not self._asked_and_reported(work) and not self._asked_and_reported(work):
                raise RecordError("The store loses what is written to it. Check its disk, then run the audit again.")
            status = "done"
        except (Cancelled, KeyboardInterrupt) as error:
            status = "stopped"
            if isinstance(error, Cancelled):
                raise Cancelled("Cancelled. What is done is kept; the same question goes on from there.") from None
            raise
        except AuditError as error:
            problem = str(error)
            raise
        except Exception as error:
            problem = f"A mistake of this program, {type(error).__name__}. What was computed before it is kept."
            raise
        finally:
            self.facts |= {"ended": _now(), "problem": problem}
            try:
                self._flush()
            finally:
                self._write(status)

    def _asked_and_reported(self, work: Callable[[Iterator[Parcel]], Generator[Outcome, None, None]]) -> bool:
        """Ask, and write the report. False where something that had been found proved damaged, and is gone now."""
        numbers: Sequence[int] = range(self.progress.cases)
        while numbers:
            again: list[int] = []
            with contextlib.closing(work(self._parcels(numbers, again))) as outcomes:
                for outcome in outcomes:
                    self._take(outcome)
            self._flush()
            numbers = again
        if not self.samples:
            reasons = "; ".join(f"{name}: {why}" for name, why in self.refused[:3])
            raise PictureError(f"No picture of {self.plan.cases.name} can be read. {reasons}")
        self.progress.stage = "Writing the report"
        self._tell(now=True)
        order = sorted(self.samples)
        answers = StoredAnswers(self.plan, self.store, [self.samples[number] for number in order])
        self.facts |= {"store_sha256": self.store.digest(answers.every_key()), "data_sha256": self._data()}
        self._write("running")
        samples = [self.samples[number][0]._replace(size=answers.size(i)) for i, number in enumerate(order)]
        write_report(self.folder, {**self.facts, "ended": _now()}, samples, answers, cancel=self.cancel)
        self.progress.stage = "Asking"
        return not answers.damaged

    def _parcels(self, numbers: Sequence[int], again: list[int]) -> Iterator[Parcel]:
        """What is missing, picture by picture. The next ones are read meanwhile.

        A picture that is in the set twice waits for another round, in which it will be found: its number goes to
        `again`.
        """
        asked: set[str] = set()
        for prepared in self._prepared(numbers):
            progress, case = self.progress, self.plan.cases.cases[prepared.number]
            if prepared.why:
                self.refused.append((case.name, prepared.why))
                continue
            if prepared.picture in asked:
                again.append(prepared.number)
                continue
            asked.add(prepared.picture)
            if prepared.number not in self.samples:
                self.samples[prepared.number] = Sample(case, prepared.picture), prepared.mask
                self.problems.update(prepared.notes)
                progress.found += prepared.found
                self.expected += prepared.total
                progress.total = round(self.expected / len(self.samples) * self.readable)
                if not prepared.parcels:
                    progress.pictures += 1
                    self._tell()
            self.left[prepared.number] = len(prepared.parcels)
            yield from prepared.parcels

    def _prepared(self, cases: Sequence[int]) -> Iterator[Prepared]:
        with ThreadPoolExecutor(2, thread_name_prefix="second-look-pictures") as pool:
            numbers = iter(cases)
            due: deque[Future[Prepared]] = deque()
            try:
                while True:
                    for number in itertools.islice(numbers, AHEAD - len(due)):
                        due.append(pool.submit(self.plan.prepare, number, self.store))
                    if not due:
                        return
                    if self.cancel.is_set():
                        raise Cancelled("Cancelled. What is done is kept; the same question goes on from there.")
                    yield due.popleft().result()
            finally:
                for one in due:
                    one.cancel()

    @property
    def readable(self) -> int:
        """Pictures of the set but those that turned out to be none."""
        return self.progress.cases - (len(self.refused) - len(self.plan.cases.refused))

    def keep(self, unit: Unit) -> None:
        """Take a unit. Several that took little are written at once: a file and its flush to the disk cost more."""
        self.waiting.append(unit)
        if time.monotonic() - self.kept > KEEP_SECONDS:
            self._flush()
        self._tell()

    def _flush(self) -> None:
        if self.waiting:
            self.store.put(self.waiting)
            self.progress.computed += len(self.waiting)
            self.progress.total = max(self.progress.total, self.progress.done)
            self.waiting = []
        self.kept = time.monotonic()

    def _take(self, outcome: Outcome) -> None:
        parcel, progress = outcome.parcel, self.progress
        name, model = self.plan.cases.cases[parcel.number].name, self.plan.names[parcel.model]
        progress.passes += outcome.passes
        if outcome.lost:
            self.lost.append((name, model, outcome.lost))
        for problem in outcome.problems:
            self.problems[f"{model}: {problem}"] += 1
        self.left[parcel.number] -= 1
        if not self.left[parcel.number]:
            del self.left[parcel.number]
            progress.pictures = min(progress.pictures + 1, len(self.samples))
        self._tell()

    def _tell(self, now: bool = False) -> None:
        self.progress.seconds = time.monotonic() - self.start
        self.told(self.progress)
        if now or time.monotonic() - self.wrote > TOLD_SECONDS:
            with contextlib.suppress(RecordError):  # the next look may succeed; answers are kept elsewhere
                self._write("running")

    def _write(self, status: str) -> None:
        """Let run.json say how things stand."""
        problems = [f"{words} ({count} times)" if count > 1 else words for words, count in self.problems.items()]
        self.facts |= {
            "status": status,
            "progress": {**asdict(self.progress), "done": self.progress.done},
            "refused": [list(one) for one in self.refused],
            "quarantined": [list(one) for one in self.lost],
            "left_out": [*self.plan.left_out, *self.store.problems, *problems],
        }
        try:
            durable.replace_file(self.folder / FACTS, json.dumps(self.facts, indent=1, ensure_ascii=False).encode())
        except OSError as error:
            raise RecordError(
                f"Could not write {self.folder / FACTS}: {error.strerror}. Answers are kept; free some space or check "
                "that you may write there, and run the audit again."
            ) from error
        self.wrote = time.monotonic()

    def _data(self) -> str:
        """sha256 over pictures and what is said of them: the same set has the same, whatever its files are called."""
        rows = sorted(
            units.spelled([one.picture, one.case.label, one.case.split, dict(one.case.groups), mask])
            for one, mask in self.samples.values()
        )
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def _check_folder(folder: Path, facts: Mapping[str, Any]) -> None:
    """Raise SettingError or RecordError unless an audit may be written as `folder`: new, or of the same question."""
    if not folder.parent.is_dir():
        raise RecordError(f"Cannot write {folder.name}: the folder it should lie in does not exist. Create it first.")
    if not folder.exists():
        return
    if not folder.is_dir():
        raise RecordError(f"Cannot write {folder.name}: it is a file. Choose another name.")
    if not (folder / FACTS).exists():
        if any(not name.startswith((".", "lease", "store")) for name in os.listdir(folder)):
            raise RecordError(f"Cannot write {folder.name}: it already holds something else. Choose another name.")
        return
    before = open_run(folder).facts
    differing = [part for part in _SAME if _essence(before, part) != _essence(facts, part)]
    if differing:
        raise SettingError(
            f"{folder.name} holds an audit that asked something else: {' and '.join(differing)} differ. Choose another "
            f"folder; answers that both have in common are taken from a store that both name (--store)."
        )


_SAME = ("data", "made_by", "models", "methods", "metrics", "target", "seed", "weigh", "background")


def _essence(facts: Mapping[str, Any], part: str) -> Any:
    """What must be the same for an audit to go on."""
    if part == "data":  # which may have grown
        return facts["data"]["name"]
    if part != "models":
        return json.loads(json.dumps(facts.get(part)))
    return [(one["name"], units.about(one["identity"])) for one in facts["models"]]
