"""Audit work on a real Ray cluster of this machine: the same answers as here, whatever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import xai_core as xai
from tests.conftest import ROOT, photograph, png_of
from xai_core import units
from xai_core.audit_work import Keep, ModelSpec, Outcome, Parcel, Question, Worker, keys_of
from xai_core.engines import engine
from xai_core.engines.ray import ROOM
from xai_core.errors import Cancelled, ModelError, SettingError
from xai_core.records import Image
from xai_core.units import Unit

SAMPLES = ("xray_normal_1", "xray_simple_fracture_1", "xray_simple_fracture_2", "xray_comminuted_fracture_1")
OWN_MODELS = """
import torch
from torch import nn
import xai_core

def small():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
        )
    return xai_core.wrap_model(
        network, labels=["a", "b", "c"], input_size=(3, 32, 32), mean=(0.5,) * 3, std=(0.25,) * 3, name="small",
        device="cpu",
    )

MODELS = {"small": small}
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two processor cores, for all tests of this file."""
    ray = pytest.importorskip("ray")
    ray.init(
        address="local", num_cpus=2, object_store_memory=200 * 2**20, include_dashboard=False, log_to_driver=False,
        logging_level="ERROR",
    )  # fmt: skip
    try:
        yield
    finally:
        ray.shutdown()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Worker:
    """A worker with a network of our own, which others find where SECOND_LOOK_MODELS says."""
    (tmp_path / "own.py").write_text(OWN_MODELS)
    monkeypatch.setenv("SECOND_LOOK_MODELS", str(tmp_path / "own.py"))
    return Worker([ModelSpec("small").load("cpu")], Question((xai.METHODS.build("saliency"),), weigh="none"))


def made(worker: Worker, images: Sequence[Image]) -> Iterator[Parcel]:
    """All that can be asked about some pictures."""
    for number, image in enumerate(images):
        for i, model in enumerate(worker.models):
            keys = keys_of(worker.question, worker.fitted[i], model.identity, image.sha256, None)
            yield Parcel(number, i, image, None, None, None, keys, frozenset(keys.all()), {})


def pictures(n: int) -> list[Image]:
    return [xai.read_image(png_of(photograph(40 + i))) for i in range(n)]


def content(unit: Unit) -> tuple[Any, ...]:
    """All that a unit says, to the byte."""
    arrays = [(name, a.dtype, a.shape, a.tobytes()) for name, a in sorted(unit.arrays.items())]
    return unit.key, unit.kind, units.spelled(dict(unit.facts)), arrays


def answers(
    name: str, worker: Worker, specs: Sequence[ModelSpec], images: Sequence[Image], workers: int = 0
) -> tuple[list[tuple[Any, ...]], list[Outcome]]:
    kept: list[Unit] = []
    runner = engine(name, "auto" if name == "ray" else "", workers)
    outcomes = list(runner.run(worker, specs, made(worker, images), kept.append, threading.Event()))
    return sorted(map(content, kept)), outcomes


SMALL = [ModelSpec("small")]


# ---- before there is a cluster ---------------------------------------------------------------------------------------


def raising(*_: object) -> None:
    raise ZeroDivisionError("a mistake of ours")


def test_a_network_that_was_handed_over_is_refused_before_anything_starts(small: Worker) -> None:
    pytest.importorskip("ray")
    with pytest.raises(SettingError, match="Ray loads models anew in each worker: give their names"):
        engine("ray").run(small, [None], made(small, pictures(1)), raising, threading.Event())


def test_nothing_is_started_for_nothing(small: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", raising)
    assert not list(engine("ray").run(small, SMALL, [], raising, threading.Event()))


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingError, match=r'pip install "second-look\[ray\]"'):
        engine("ray")


def test_fewer_workers_than_none_are_refused() -> None:
    pytest.importorskip("ray")
    with pytest.raises(SettingError, match="-1 workers"):
        engine("ray", workers=-1)


@pytest.mark.parametrize("address", ["127.0.0.1:9", "ray://127.0.0.1:9", "nowhere", "auto"])
def test_a_cluster_that_cannot_be_reached_is_named_in_a_sentence(
    small: Worker, address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # clusters of others are none of this test's
    with pytest.raises(SettingError, match=rf"^No Ray cluster can be joined at {address}: [^\n]+$"):
        list(engine("ray", address).run(small, SMALL, made(small, pictures(1)), raising, threading.Event()))


# ---- on a cluster ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_cluster_gives_the_same_bytes_as_this_process() -> None:
    specs = [ModelSpec("demo-xray"), ModelSpec("demo-xray-shortcut")]
    question = Question(
        tuple(map(xai.METHODS.build, ("grad_cam", "occlusion"))),
        tuple(map(xai.METRICS.build, ("deletion", "sparseness"))),
        weigh="none",
    )
    worker = Worker([spec.load("cpu") for spec in specs], question)
    images = [xai.read_image((ROOT / "assets/samples" / f"{name}.png").read_bytes()) for name in SAMPLES]
    here, outcomes_here = answers("local", worker, specs, images)
    there, outcomes_there = answers("ray", worker, specs, images)
    assert len(here) == 4 * 2 * (1 + 2 + 4)
    assert there == here

    def told(outcomes: list[Outcome]) -> list[tuple[Any, ...]]:
        return sorted((one.parcel.number, one.parcel.model, *one[1:]) for one in outcomes)

    assert told(outcomes_there) == told(outcomes_here)


@dataclass(frozen=True, eq=False)
class Fragile(Worker):
    """Killed once, in the middle of a parcel."""

    mark: str = ""

    def do(self, parcel: Parcel, keep: Keep, cancel: threading.Event | None = None) -> Outcome:
        def dying(unit: Unit) -> None:
            keep(unit)
            try:
                Path(self.mark).touch(exist_ok=False)
            except FileExistsError:
                return
            os.kill(os.getpid(), signal.SIGKILL)

        return super().do(parcel, dying, cancel)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_what_a_killed_worker_had_is_done_by_another(small: Worker, tmp_path: Path) -> None:
    images = pictures(5)
    fragile = Fragile(small.models, small.question, str(tmp_path / "killed"))
    there, outcomes = answers("ray", fragile, SMALL, images)
    assert (tmp_path / "killed").exists()
    assert there == answers("local", small, SMALL, images)[0]
    assert sorted(one.parcel.number for one in outcomes) == [0, 1, 2, 3, 4]
    assert not any(one.lost for one in outcomes)


@dataclass(frozen=True, eq=False)
class Deadly(Worker):
    """Some pictures kill it."""

    victims: frozenset[str] = frozenset()

    def do(self, parcel: Parcel, keep: Keep, cancel: threading.Event | None = None) -> Outcome:
        if parcel.image.sha256 in self.victims:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().do(parcel, keep, cancel)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_parcel_that_kills_its_worker_twice_is_given_up_and_its_neighbours_are_not(small: Worker) -> None:
    images = pictures(5)  # one worker: the next parcel waits behind the deadly one whenever that kills
    deadly = Deadly(small.models, small.question, frozenset({images[1].sha256}))
    there, outcomes = answers("ray", deadly, SMALL, images, workers=1)
    lost = {one.parcel.number: one.lost for one in outcomes if one.lost}
    assert list(lost) == [1]
    assert lost[1].startswith("It took its worker down twice: its process ended without a word")
    assert sorted(one.parcel.number for one in outcomes) == [0, 1, 2, 3, 4]
    assert there == answers("local", small, SMALL, [image for i, image in enumerate(images) if i != 1])[0]


@dataclass(frozen=True, eq=False)
class Endless(Worker):
    """Is never done, unless it is told to stop. Leaves a mark when it has nothing else to do."""

    marks: str = ""

    def do(self, parcel: Parcel, keep: Keep, cancel: threading.Event | None = None) -> Outcome:
        super().do(parcel, keep)
        assert cancel is not None
        Path(self.marks, str(os.getpid())).touch()
        cancel.wait()
        raise Cancelled("Stopped.")


def hands() -> list[psutil.Process]:
    """The workers that live now."""
    return [one for one in psutil.Process().children(recursive=True) if one.name().startswith("ray::Hands")]


def soon(true: Callable[[], bool], seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_cancelled_audit_keeps_what_is_there_takes_no_more_and_dismisses_its_workers(
    small: Worker, tmp_path: Path
) -> None:
    assert soon(lambda: not hands())
    (marks := tmp_path / "marks").mkdir()
    taken, kept, cancel = list[Parcel](), list[Unit](), threading.Event()

    def parcels() -> Iterator[Parcel]:
        for parcel in made(small, pictures(40)):
            taken.append(parcel)
            yield parcel

    def cancelling() -> None:
        soon(lambda: len(list(marks.iterdir())) == 2, 120)
        cancel.set()

    threading.Thread(target=cancelling).start()
    endless = Endless(small.models, small.question, str(marks))
    with pytest.raises(Cancelled):
        list(engine("ray", "auto").run(endless, SMALL, parcels(), kept.append, cancel))
    assert len(taken) == 2 * ROOM  # no more than there was room for
    assert len(kept) == 2 * 2  # of each worker's parcel in hand a prediction and a map
    assert all(array.flags.owndata for unit in kept for array in unit.arrays.values())  # they outlive the cluster
    assert soon(lambda: not hands())


@dataclass(frozen=True, eq=False)
class Mistaken(Worker):
    """Holds a mistake of ours."""

    def do(self, parcel: Parcel, keep: Keep, cancel: threading.Event | None = None) -> Outcome:
        raise ZeroDivisionError(f"ours, by {torch.get_num_threads()} threads")


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_our_own_mistakes_stay_loud_in_a_worker_which_has_as_many_threads_as_we_do(small: Worker) -> None:
    torch.set_num_threads(3)
    try:
        with pytest.raises(ZeroDivisionError, match="ours, by 3 threads"):
            answers("ray", Mistaken(small.models, small.question), SMALL, pictures(1), workers=1)
    finally:
        torch.set_num_threads(1)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_other_weights_in_a_worker_are_refused(small: Worker, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(OWN_MODELS.replace("manual_seed(0)", "manual_seed(1)"))
    with pytest.raises(ModelError, match="small has other weights in a Ray worker"):
        answers("ray", small, SMALL, pictures(1), workers=1)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_what_is_wrong_with_a_model_in_a_worker_is_said_in_its_own_words(small: Worker, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("MODELS = {'small': lambda: 3}")
    with pytest.raises(ModelError, match=r"^[^\n]*gives a int, which wrap_model must be given first"):
        answers("ray", small, SMALL, pictures(1), workers=1)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_program_that_is_connected_starts_no_second_cluster(small: Worker) -> None:
    with pytest.raises(SettingError, match="connected to a Ray cluster already"):
        list(engine("ray").run(small, SMALL, made(small, pictures(1)), raising, threading.Event()))


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_what_travels_arrives_as_it_was(small: Worker, image: Image) -> None:
    import ray

    (parcel,) = made(small, [image])
    found = {"key": Unit("key", "prediction", {"a": [1, None]}, {"seen": image.pixels})}
    question = replace(small.question, background=(image,))
    sent = replace(parcel, found=found, mask=image), replace(small, models=(), question=question)
    there, worker = ray.get(ray.put(sent))
    assert content(there.found["key"]) == content(found["key"])
    for picture in (there.image, there.mask, *worker.question.background):
        assert (picture.sha256, picture.name, picture.source) == (image.sha256, image.name, image.source)
        assert (picture.pixels == image.pixels).all()
        assert not picture.pixels.flags.writeable
    assert (there.keys, there.missing, worker.question.methods) == (parcel.keys, parcel.missing, question.methods)


@pytest.mark.slow
@pytest.mark.usefixtures("cluster", "small")
def test_the_command_leaves_the_same_store_whatever_the_engine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from xai_core.__main__ import app

    (folder := tmp_path / "data" / "a").mkdir(parents=True)
    for i in range(3):
        (folder / f"{i}.png").write_bytes(png_of(photograph(40 + i)))
    stores = []
    for name, more in (("local", []), ("ray", ["--address", "auto"])):
        words = f"--models small --methods saliency --metrics sparseness --weigh none --engine {name}".split()
        app(
            ["audit", "--data", str(folder.parent), "--out", str(tmp_path / name), *words, *more], standalone_mode=False
        )
        (said,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith("Store "))
        stores.append(said.split()[-1])
    assert len(stores[0]) == 64
    assert stores[0] == stores[1]


PROGRAM = """
import sys, threading
import psutil
from tests.test_ray_engine import SMALL, ModelSpec, Question, Worker, made, pictures, xai
from xai_core.engines import engine

def keep(unit):
    if unit.kind == "map":
        print(*[c.laddr.ip for one in psutil.Process().children(recursive=True) + [psutil.Process()]
                for c in one.net_connections() if c.status == psutil.CONN_LISTEN], flush=True)

def forever():
    while True:
        yield from made(worker, images)

images = pictures(1)
worker = Worker([ModelSpec("small").load("cpu")], Question((xai.METHODS.build("saliency"),), weigh="none"))
for outcome in engine("ray", workers=1).run(worker, SMALL, forever(), keep, threading.Event()):
    pass
"""


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_an_own_cluster_is_heard_by_this_machine_alone_and_goes_when_interrupted() -> None:
    pytest.importorskip("ray")
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    ) as program:  # fmt: skip
        assert program.stdout is not None
        heard = program.stdout.readline().split()
        started = psutil.Process(program.pid).children(recursive=True)
        program.send_signal(signal.SIGINT)
        _, said = program.communicate(timeout=300)
    assert len(started) >= 5
    assert {address.removeprefix("::ffff:") for address in heard} == {"127.0.0.1"}
    assert "\nKeyboardInterrupt" in said
    assert soon(lambda: not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in started))
