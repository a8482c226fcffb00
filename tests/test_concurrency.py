"""Many visitors, one network: every map equals the one that a lone run gives."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading

import numpy as np
import pytest

import xai_core as xai
from tests.conftest import ROOT, quick
from xai_core.errors import Cancelled
from xai_core.models import Model
from xai_core.records import Image

VISITORS, PICTURES = 8, 3
METHODS = ("grad_cam", "layer_cam", "saliency", "integrated_gradients", "occlusion", "gradient_shap")

WORK = """
import hashlib, sys, threading
sys.path.insert(0, ".")
import torch
torch.set_num_threads(1)
import xai_core as xai
from tests.conftest import photograph, png_of, quick, timm_model
from tests.test_concurrency import METHODS, PICTURES, VISITORS

model = timm_model(sys.argv[1])
images = [xai.read_image(png_of(photograph(200, 40 * i))) for i in range(PICTURES)]
work = [(image, method) for image in images for method in METHODS]

def digest(image, method):
    return hashlib.sha256(xai.explain(model, image, quick(method), seed=1).values.tobytes()).hexdigest()

alone = [digest(*job) for job in work]
together = [[None] * len(work) for _ in range(VISITORS)]
gate = threading.Barrier(VISITORS)

def visitor(v):
    gate.wait()
    order = [(i + v * 5) % len(work) for i in range(len(work))]      # everyone in another order
    for i in order:
        together[v][i] = digest(*work[i])

threads = [threading.Thread(target=visitor, args=(v,)) for v in range(VISITORS)]
[t.start() for t in threads]
[t.join() for t in threads]
wrong = sum(a != b for maps in together for a, b in zip(alone, maps))
print(f"{VISITORS} visitors x {len(METHODS)} methods x {PICTURES} pictures on one {sys.argv[1]}: "
      f"{VISITORS * len(work)} maps, {wrong} differ from the lone run")
sys.exit(wrong > 0)
"""


def run(network: str) -> str:
    """In a process of its own: a crash of the bare libraries here was a segmentation fault."""
    done = subprocess.run([sys.executable, "-c", WORK, network], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr[-2000:])
    return done.stdout.strip()


def test_eight_visitors_get_byte_equal_maps() -> None:
    for network in ("test_resnet", "test_vit"):
        said = run(network)
        print(said)
        assert said.endswith("144 maps, 0 differ from the lone run")


def test_a_visitor_who_cancels_disturbs_nobody(cnn: Model, image: Image) -> None:
    alone = {m: xai.explain(cnn, image, quick(m)).values.tobytes() for m in METHODS}
    stop, wrong, cancelled = threading.Event(), [], []

    def impatient() -> None:
        while not stop.is_set():
            cancel = threading.Event()
            try:
                xai.explain(cnn, image, "lime", samples=500, cancel=cancel, progress=lambda *_, c=cancel: c.set())
            except Cancelled:
                cancelled.append(1)

    def patient() -> None:
        for _ in range(5):
            wrong.extend(m for m in METHODS if xai.explain(cnn, image, quick(m)).values.tobytes() != alone[m])

    disturber = threading.Thread(target=impatient)
    others = [threading.Thread(target=patient) for _ in range(3)]
    for thread in [disturber, *others]:
        thread.start()
    for thread in others:
        thread.join()
    stop.set()
    disturber.join()
    assert cancelled
    assert wrong == []


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU:UserWarning")  # captum says what it does
def test_a_borrowed_network_disturbs_nobody(cnn: Model, image: Image) -> None:
    """A library that guides every ReLU of its copy, while others explain with the shared one."""
    alone = xai.explain(cnn, image, "saliency").values.tobytes()
    stop, wrong, borrowed = threading.Event(), [], []

    def guided() -> None:
        from captum.attr import GuidedBackprop

        x = cnn.preprocessing.tensor(cnn.preprocessing.view(image)[None])
        while not stop.is_set():
            with cnn.borrowed() as network:
                for part in network.modules():
                    if hasattr(part, "inplace"):
                        part.inplace = False
                GuidedBackprop(network).attribute(x.clone().requires_grad_(), 0)
            borrowed.append(1)

    disturber = threading.Thread(target=guided)
    disturber.start()
    while len(borrowed) < 20 and disturber.is_alive():
        if xai.explain(cnn, image, "saliency").values.tobytes() != alone:
            wrong.append(1)
    stop.set()
    disturber.join()
    assert len(borrowed) >= 20
    assert wrong == []


def test_the_seed_of_one_does_not_move_the_draws_of_another(cnn: Model, image: Image) -> None:
    alone = [xai.explain(cnn, image, "gradient_shap", seed=s, samples=16).values for s in range(4)]
    found: dict[int, list[np.ndarray]] = {s: [] for s in range(4)}

    def visitor(seed: int) -> None:
        for _ in range(10):
            found[seed].append(xai.explain(cnn, image, "gradient_shap", seed=seed, samples=16).values)

    threads = [threading.Thread(target=visitor, args=(s,)) for s in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    digests = [{hashlib.sha256(m.tobytes()).hexdigest() for m in found[s]} for s in range(4)]
    assert digests == [{hashlib.sha256(alone[s].tobytes()).hexdigest()} for s in range(4)]
