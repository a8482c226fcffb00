"""The engine for a cluster: one worker per GPU or processor core, each with its own copies of the models.

A worker has two parcels at a time, the one in hand and the next, so that parcels are made no faster than they are
done. A worker that dies is replaced. What it had in hand goes to a new one, with nothing behind it: if that dies too,
the parcel is given up, and none that only waited is blamed.

Without an address a cluster is started here, heard by this machine alone, and is gone when the work is done.
"""

from __future__ import annotations

import importlib.util
import itertools
import logging
import os
import socket
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from xai_core import units
from xai_core.audit_work import Keep, ModelSpec, Outcome, Parcel, Worker
from xai_core.errors import AuditError, Cancelled, ModelError, SettingError
from xai_core.units import Unit

ROOM = 2  # parcels of one worker
LOOK_SECONDS = 0.2  # between two looks at `cancel`
GRACE_SECONDS = 5.0  # for workers to finish their batch when all is stopped
STARTS = 3  # in a row that may fail before the cluster is given up
SETTINGS = ("SECOND_LOOK_", "OMP_", "MKL_")  # of the environment, that workers need to compute the same
LOOPBACK = "127.0.0.1"

_one_at_a_time = threading.Lock()  # a process is connected to one cluster


class Ray:
    """Workers on a Ray cluster."""

    def __init__(self, address: str, workers: int) -> None:
        self.address, self.workers = address, workers

    def run(
        self, worker: Worker, specs: Iterable[ModelSpec | None], parcels: Iterable[Parcel], keep: Keep,
        cancel: threading.Event,
    ) -> Generator[Outcome, None, None]:  # fmt: skip
        """As `Engine.run`. Raises SettingError or ModelError where workers cannot be had, or would answer otherwise."""
        named = [spec for spec in specs if spec is not None]
        if len(named) < len(worker.models):
            raise SettingError("Ray loads models anew in each worker: give their names, or choose the local engine.")
        return self._run(worker, named, iter(parcels), keep, cancel)

    def _run(
        self, worker: Worker, specs: list[ModelSpec], parcels: Iterator[Parcel], keep: Keep, cancel: threading.Event
    ) -> Generator[Outcome, None, None]:
        first = next(parcels, None)
        if first is None:
            return
        with _cluster(self.address, self.workers):
            crew = _Crew(worker, specs, self.workers, itertools.chain([first], parcels), keep, cancel)
            try:
                yield from crew.outcomes()
            finally:
                crew.dismiss()


def make(address: str, workers: int) -> Ray:
    if importlib.util.find_spec("ray") is None:
        raise SettingError('The Ray engine needs a package that is not here. Run `pip install "second-look[ray]"`.')
    if workers < 0:
        raise SettingError(f"{workers} workers cannot be had. Ask for 1 or more, or for 0: all there are.")
    return Ray(address, workers)


# ---- in a worker -----------------------------------------------------------------------------------------------------


class Done(NamedTuple):
    """What a worker sends back."""

    units: list[Unit]
    passes: int = 0
    problems: tuple[str, ...] = ()


class Hands:
    """The actor: a `Worker` in a process of its own, with as many threads as the one that asks."""

    def __init__(self, folder: str, threads: int) -> None:
        with suppress(OSError):  # another machine may not have it
            os.chdir(folder)
        self.threads, self.cancel = threads, threading.Event()

    def open(self, worker: Worker, specs: Sequence[ModelSpec], device: str) -> list[Essence]:
        """Load the models. Not done at birth, where Ray would hide what is wrong with them."""
        torch.set_num_threads(self.threads)
        self.worker = replace(worker, models=[spec.load(device) for spec in specs])
        return [essence(model.identity) for model in self.worker.models]

    def do(self, parcel: Parcel) -> Done:
        """As `Worker.do`. Of a parcel that was stopped, what is there."""
        torch.set_num_threads(self.threads)  # this may be another thread than that of `open`
        kept: list[Unit] = []
        if self.cancel.is_set():
            return Done(kept)
        try:
            outcome = self.worker.do(parcel, kept.append, self.cancel)
        except Cancelled:
            return Done(kept)
        return Done(kept, outcome.passes, outcome.problems)

    def stop(self) -> None:
        """Let `do` end after the batch in hand. Called while it runs."""
        self.cancel.set()


class Essence(NamedTuple):
    """What must be the same here and there: the weights, and all else that goes into a key, versions included."""

    weights: str
    key: str


def essence(identity: Mapping[str, Any]) -> Essence:
    return Essence(str(identity["weights_sha256"]), units.prediction_key("", identity))


# ---- in the process that asks ----------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Hired:
    """A worker, seen from here. `opening` is None once it has its models; `due` holds its parcels, in their order."""

    actor: Any
    opening: Any
    due: deque[tuple[Any, Parcel]] = field(default_factory=deque)
    alone: bool = False  # its parcel took another worker down

    def awaited(self) -> Any:
        """The next answer, None where it has nothing to do. Workers answer in order."""
        return self.opening if self.opening is not None else self.due[0][0] if self.due else None


class _Crew:
    """All workers, and what is still to be done."""

    def __init__(
        self, worker: Worker, specs: list[ModelSpec], workers: int, parcels: Iterator[Parcel], keep: Keep,
        cancel: threading.Event,
    ) -> None:  # fmt: skip
        import ray

        self.names = [model.name for model in worker.models]
        self.expected = [essence(model.identity) for model in worker.models]
        self.parcels, self.keep, self.cancel = parcels, keep, cancel
        self.drained, self.failed_starts = False, 0
        self.again: deque[Parcel] = deque()  # waited behind one that took its worker down
        self.suspects: deque[Parcel] = deque()
        device = worker.models[0].device.type
        kind, share = ("GPU", {"num_cpus": 0, "num_gpus": 1}) if device == "cuda" else ("CPU", {"num_cpus": 1})
        there = int(ray.cluster_resources().get(kind, 0))  # type: ignore[no-untyped-call]
        if not there:
            raise SettingError(f"The Ray cluster has no {kind}, and the models are on {device}. Choose another device.")
        environment = {"env_vars": _environment(torch.get_num_threads())}
        remote: Any = ray.remote  # whose types know of no groups
        self._made = remote(concurrency_groups={"stop": 1}, runtime_env=environment, **share)(Hands)
        self._opened = ray.put(replace(worker, models=())), specs, device
        self.hired = [self._hire() for _ in range(min(workers or there, there))]

    def outcomes(self) -> Generator[Outcome, None, None]:
        """What becomes of every parcel, as it comes."""
        try:
            while self._hand_out():
                if self.cancel.is_set():
                    raise Cancelled("Cancelled. What is done is kept; the same question goes on from there.")
                outcome = self._look()
                if outcome is not None:
                    yield outcome
        except (Cancelled, KeyboardInterrupt):
            self._collect()
            raise

    def dismiss(self) -> None:
        import ray

        for one in self.hired:
            ray.kill(one.actor)

    def _hire(self) -> _Hired:
        actor = self._made.remote(os.getcwd(), torch.get_num_threads())
        return _Hired(actor, actor.open.remote(*self._opened))

    def _hand_out(self) -> bool:
        """Give parcels to whoever has room, the idle first. False when nothing is left to be done or awaited."""
        for room in range(1, ROOM + 1):
            for one in self.hired:
                if one.opening is None and not one.alone and len(one.due) < room:
                    self._give(one)
        return not self.drained or bool(self.suspects or self.again) or any(one.due for one in self.hired)

    def _give(self, one: _Hired) -> None:
        if self.suspects and not one.due:
            parcel, one.alone = self.suspects.popleft(), True
        elif self.again:
            parcel = self.again.popleft()
        elif (fresh := next(self.parcels, None)) is not None:
            parcel = fresh
        else:
            self.drained = True
            return
        one.due.append((one.actor.do.remote(parcel), parcel))

    def _look(self) -> Outcome | None:
        """Wait a little for one answer, and take it."""
        import ray
        from ray.exceptions import RayError, RayTaskError

        awaited = {ref: one for one in self.hired if (ref := one.awaited()) is not None}
        arrived, _ = ray.wait(list(awaited), timeout=LOOK_SECONDS)
        for ref in arrived:  # one at most
            one = awaited[ref]
            try:
                answer = ray.get(ref)
            except RayTaskError as error:
                if isinstance(error.cause, AuditError):
                    raise error.cause from None
                raise  # our own mistake
            except RayError as error:
                return self._died(one, error)
            if one.opening is None:
                return self._done(one, answer)
            self._check(answer)
            one.opening, self.failed_starts = None, 0
        return None

    def _check(self, opened: list[Essence]) -> None:
        """Raise ModelError unless a worker's models give the answers that the keys stand for."""
        for name, here, there in zip(self.names, self.expected, opened, strict=True):
            if here.weights != there.weights:
                raise ModelError(
                    f"{name} has other weights in a Ray worker ({there.weights[:12]}) than here ({here.weights[:12]}). "
                    "Give every machine of the cluster the same files."
                )
            if here.key != there.key:
                raise ModelError(
                    f"{name} is read otherwise in a Ray worker than here. Give every machine of the cluster the same "
                    "versions of Second Look, torch and numpy, and the same settings of the model."
                )

    def _done(self, one: _Hired, done: Done) -> Outcome:
        self._keep(done)
        _, parcel = one.due.popleft()
        one.alone = False
        return Outcome(parcel, done.passes, done.problems)

    def _keep(self, done: Done) -> None:
        for unit in done.units:
            # Ray's own arrays lie in memory that goes with the cluster.
            arrays = {name: np.array(array) for name, array in unit.arrays.items()}
            self.keep(unit._replace(arrays=arrays))

    def _died(self, one: _Hired, error: Exception) -> Outcome | None:
        import ray

        ray.kill(one.actor)  # it may be out of reach only
        if one.opening is not None:
            self.failed_starts += 1
            if self.failed_starts == STARTS:
                raise SettingError(f"Ray workers do not start: {_why(error)}. Look at the cluster, then try again.")
        self.hired[self.hired.index(one)] = self._hire()
        if one.opening is not None:
            return None
        (_, suspect), *waited = one.due
        self.again.extend(parcel for _, parcel in waited)
        if one.alone:
            return Outcome(suspect, lost=f"It took its worker down twice: {_why(error)}")
        self.suspects.append(suspect)
        return None

    def _collect(self) -> None:
        """Stop the workers, and keep what they have once their batch in hand is done."""
        import ray
        from ray.exceptions import RayError

        for one in self.hired:
            one.actor.stop.options(concurrency_group="stop").remote()
        if due := [ref for one in self.hired for ref, _ in one.due]:
            arrived, _ = ray.wait(due, num_returns=len(due), timeout=GRACE_SECONDS)
            for ref in arrived:
                with suppress(RayError):
                    self._keep(ray.get(ref))


def _why(error: Exception) -> str:
    """What Ray says of a death, in few words where it has many."""
    words = " ".join(str(error).split())
    if "low on memory" in words:
        return "its machine ran out of memory"
    if "Worker exit detail:" in words:
        return "its process ended without a word, as when memory runs out or native code fails"
    return words[:300].rstrip(".")


def _environment(threads: int) -> dict[str, str]:
    """What workers find in theirs: the code, people's own models, and as many threads as here."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    own = {name: value for name, value in os.environ.items() if name.startswith(SETTINGS)}
    return {**own, "OMP_NUM_THREADS": str(threads), "PYTHONPATH": path}


@contextmanager
def _cluster(address: str, workers: int) -> Iterator[None]:
    """Be connected to a cluster: the one of that address, or one of our own, which is shut down again."""
    import ray

    if not _one_at_a_time.acquire(blocking=False):
        raise SettingError("Another audit of this program runs on Ray. Wait until it is done, or choose local.")
    try:
        if ray.is_initialized():
            if not address:
                raise SettingError("This program is connected to a Ray cluster already. Join it with address auto.")
            yield
            return
        try:
            _join(address) if address else _start(workers)
            yield
        finally:
            ray.shutdown()
    finally:
        _one_at_a_time.release()


def _start(workers: int) -> None:
    import ray
    from ray._private import ray_constants

    # Whoever reaches a cluster can run code in it. Ray would take 127.0.0.1 for the address that others reach this
    # machine by, and listen on all of them, unless it is told that there are no other machines.
    others = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        ray.init(
            address="local", num_cpus=workers or None, include_dashboard=False, _node_ip_address=LOOPBACK,
            log_to_driver=False, logging_level=logging.ERROR,
        )  # fmt: skip
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = others


def _join(address: str) -> None:
    import ray

    try:
        if address != "auto":
            host, _, port = address.removeprefix("ray://").rpartition(":")
            socket.create_connection((host, int(port)), timeout=5).close()  # Ray itself would try for a minute
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray's are of many kinds
        reason = " ".join((str(error).strip() or type(error).__name__).splitlines()[0].split()).rstrip(".")
        raise SettingError(
            f"No Ray cluster can be joined at {address}: {reason}. Start one with `ray start --head`, or leave the "
            "address out."
        ) from error
