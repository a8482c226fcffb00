"""Files of weights: what is taken out of them and said, and that nothing in them is ever run."""

from __future__ import annotations

import argparse
import builtins
import json
import os
import pickle
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import xai_core as xai
from tests.conftest import timm_model
from xai_core import checkpoints
from xai_core.checkpoints import read_apart, read_checkpoint
from xai_core.errors import ModelError


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.tensor([1.0, -1.0])}


def same(found: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]) -> bool:
    return found.keys() == weights.keys() and all(torch.equal(found[key], weights[key]) for key in weights)


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_checkpoint(path)
    sentence = str(caught.value)
    assert path.name in sentence
    assert "\n" not in sentence
    return sentence


# ---- what is taken out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (lambda w: w, ()),
        (lambda w: {"state_dict": w, "epoch": 3}, ("its 'state_dict'",)),
        (lambda w: {"model_state_dict": w, "optimizer_state_dict": {"state": {}}}, ("its 'model_state_dict'",)),
        (lambda w: {"state": 1, "state_dict": {"model": w}}, ("its 'state_dict'", "its 'model'")),
        (lambda w: {f"module.{k}": v for k, v in w.items()}, ("without the prefix 'module.'",)),
        (
            lambda w: {"state_dict": {f"model.module.{k}": v for k, v in w.items()}, "pytorch-lightning_version": "2"},
            ("its 'state_dict'", "without the prefix 'model.'", "without the prefix 'module.'"),
        ),
        (lambda w: {f"net._orig_mod.{k}": v for k, v in w.items()},
         ("without the prefix 'net.'", "without the prefix '_orig_mod.'")),
        (lambda w: {"n_averaged": torch.tensor(7), **{f"module.{k}": v for k, v in w.items()}},
         ("without its 'n_averaged'", "without the prefix 'module.'")),
    ],
)  # fmt: skip
def test_what_is_unwrapped_is_said(
    wrap: Any, said: tuple[str, ...], weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(wrap(weights), tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth")
    assert same(found.weights, weights)
    assert found.taken == said


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema_state_dict"])
def test_averaged_weights_go_before_the_last_ones_and_that_is_said(
    key: str, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    last = {name: value + 1 for name, value in weights.items()}
    torch.save({"state_dict": last, key: weights}, tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth")
    assert same(found.weights, weights)
    assert found.taken == (f"its {key!r} (weights averaged over training, rather than its 'state_dict')",)


@pytest.mark.parametrize(
    ("dtype", "said"),
    [(torch.float16, "widened from float16"), (torch.bfloat16, "widened from bfloat16"),
     (torch.float64, "narrowed from float64"), (torch.float32, "")],
)  # fmt: skip
@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_other_precisions_become_float32_and_that_is_said(
    suffix: str, dtype: torch.dtype, said: str, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    given = {**{k: v.to(dtype) for k, v in weights.items()}, "bn.num_batches_tracked": torch.tensor(5)}
    path = tmp_path / f"w{suffix}"
    save_file(given, path) if suffix == ".safetensors" else torch.save(given, path)
    found = read_checkpoint(path)
    assert same(found.weights, {**weights, "bn.num_batches_tracked": torch.tensor(5)})
    assert found.weights["conv.bias"].dtype == torch.float32
    assert found.taken == ((said,) if said else ())


def test_a_number_too_large_for_float32_is_refused_by_its_tensor(tmp_path: Path) -> None:
    torch.save({"conv.bias": torch.tensor([1e300], dtype=torch.float64)}, tmp_path / "w.pth")
    assert "conv.bias holds values that are not numbers" in refused(tmp_path / "w.pth")


def test_files_are_told_by_what_they_hold_not_by_their_name(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(weights, tmp_path / "w.pth")
    torch.save(weights, tmp_path / "w.safetensors")
    assert same(read_checkpoint(tmp_path / "w.pth").weights, weights)
    assert same(read_checkpoint(tmp_path / "w.safetensors").weights, weights)


def test_files_in_torchs_first_format_are_read(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": weights}, tmp_path / "w.th", _use_new_zipfile_serialization=False)
    assert same(read_checkpoint(tmp_path / "w.th").weights, weights)


# ---- what is recorded beside ---------------------------------------------------------------------------------------


def test_what_timms_training_program_records_is_found(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    args = argparse.Namespace(model="resnet18", lr=0.1, class_names=["a", "b"])
    torch.save({"state_dict": weights, "arch": "resnet34", "args": args, "epoch": 9}, tmp_path / "w.pth.tar")
    found = read_checkpoint(tmp_path / "w.pth.tar").recorded
    assert found.architecture == "resnet34"  # what stands at the top goes first
    assert (found.labels, found.labels_from) == (("a", "b"), "the checkpoint (class_names)")
    torch.save({"state_dict": weights, "args": args}, tmp_path / "w.pth.tar")
    assert read_checkpoint(tmp_path / "w.pth.tar").recorded.architecture == "resnet18"


def test_no_class_but_that_of_arguments_is_allowed_while_another_thread_reads_a_file_with_them(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """What torch allows is a setting of the whole process: two readers that end at different times must not mix."""
    torch.save({"state_dict": weights, "args": argparse.Namespace(a=1)}, tmp_path / "w.pth")
    failed, allowed = [], torch.serialization.get_safe_globals()

    def read() -> None:
        for _ in range(30):
            try:
                read_checkpoint(tmp_path / "w.pth")
            except ModelError as error:
                failed.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert torch.serialization.get_safe_globals() == allowed
    assert argparse.Namespace not in allowed


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", ["cat", "dog"]),
        ("class_names", ("cat", "dog")),
        ("class_to_idx", {"dog": 1, "cat": 0}),
        ("idx_to_class", {1: "dog", 0: "cat"}),
        ("id2label", {"1": "dog", "0": "cat"}),
    ],
)
def test_labels_are_read_in_the_order_of_the_outputs(
    key: str, value: Any, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"state_dict": weights, key: value}, tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth").recorded
    assert (found.labels, found.labels_from) == (("cat", "dog"), f"the checkpoint ({key})")


@pytest.mark.parametrize(
    ("key", "value"), [("classes", 10), ("labels", [0, 1]), ("class_to_idx", {"a": 0, "b": 2}), ("id2label", {})]
)
def test_what_is_no_list_of_labels_is_not_taken_for_one(
    key: str, value: Any, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"state_dict": weights, key: value}, tmp_path / "w.pth")
    assert read_checkpoint(tmp_path / "w.pth").recorded.labels == ()


def test_the_metadata_of_safetensors_name_architecture_and_labels(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    metadata = {"architecture": "resnet18", "id2label": json.dumps({"0": "a", "1": "b"})}
    save_file(weights, tmp_path / "w.safetensors", metadata)
    found = read_checkpoint(tmp_path / "w.safetensors").recorded
    assert (found.architecture, found.labels) == ("resnet18", ("a", "b"))


def test_what_lightning_records_is_found(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    content = {
        "state_dict": {f"model.{k}": v for k, v in weights.items()},
        "hyper_parameters": {"model_name": "resnet18", "lr": 1e-3},
        "pytorch-lightning_version": "2.4.0",
    }
    torch.save(content, tmp_path / "last.ckpt")
    found = read_checkpoint(tmp_path / "last.ckpt")
    assert same(found.weights, weights)
    assert found.recorded.architecture == "resnet18"


# ---- what is refused -----------------------------------------------------------------------------------------------


class Call:
    """Calls a function when unpickled: proof that code ran."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("form", ["torch", "torch's first", "bare 0", "bare 1", "bare 2", "bare 4"])
@pytest.mark.parametrize("name", ["system", "eval"])
def test_a_pickle_that_wants_to_run_code_leaves_no_trace_and_is_refused_by_what_it_asks_for(
    name: str, form: str, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    proof, path = tmp_path / "proof", tmp_path / "evil.pth"
    calls = {
        "system": Call(os.system, f"touch {proof}"),
        "eval": Call(builtins.eval, f"__import__('pathlib').Path({str(proof)!r}).touch()"),
    }
    content = {"state_dict": weights, "extra": calls[name]}
    if form.startswith("torch"):
        torch.save(content, path, _use_new_zipfile_serialization=form == "torch")
    else:
        path.write_bytes(pickle.dumps(content["extra"], int(form[-1])))
    sentence = refused(path)
    asked = {"system": f"{os.system.__module__}.system", "eval": "builtins.eval"}[name]
    assert f"evil.pth holds more than weights: it asks for {asked}, and was refused" in sentence
    assert not proof.exists()
    pickle.loads(pickle.dumps(calls[name]))  # the payload is real
    assert proof.exists()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html></html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
        (b"\x1f\x8b\x08\0\0\0\0", "is a compressed archive"),
        (b"Dear all", "is no torch checkpoint"),
        (b"cat\ndog\nhouse\n", "is no torch checkpoint"),
    ],
)
def test_what_is_no_file_of_weights_is_called_what_it_is(content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    assert what in refused(tmp_path / "w.pth")


def test_a_pickle_of_millions_of_operations_is_given_up_soon(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(b"\x80\x02]q\x00" + b"2" * 8_000_000)
    start = time.process_time()
    refused(tmp_path / "w.pth")
    assert time.process_time() - start < 8


def test_names_from_a_file_are_cleaned_and_cut_where_they_are_said(tmp_path: Path) -> None:
    name = "a\x1b[31m\n\ud800" + "b" * 500
    for value in (3, torch.tensor([float("nan")]), torch.ones(1, dtype=torch.complex64)):
        torch.save({name: value}, tmp_path / "w.pth")
        sentence = refused(tmp_path / "w.pth")
        assert "a[31m bbb" in sentence
        assert sentence.isprintable()
        assert "b" * 80 not in sentence


def test_labels_are_cleaned_and_cut_and_never_empty(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    labels = ["a\x1b[31m\n", "", "\ud800", "tail\u202e", "x" * 300, "old\tnew"]
    torch.save({"state_dict": weights, "class_names": labels}, tmp_path / "w.pth")
    found = read_checkpoint(tmp_path / "w.pth").recorded.labels
    assert found == ("a[31m", "class 1", "class 2", "tail", "x" * 200, "old new")


def test_an_archive_whose_parts_overlap_is_refused_before_it_is_unpacked(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    """Every entry of the directory points at the same bytes: unpacked, it would be many times as large."""
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data/0", bytes(100_000))
        archive.filelist *= 50
        archive._didModify = True
    assert "declares far more numbers" in refused(path)


@pytest.mark.filterwarnings("ignore:Validating sparse tensor")
@pytest.mark.parametrize("make", [torch.Tensor.to_sparse, lambda w: w.view(torch.bits8)])
def test_a_sparse_tensor_and_one_of_bits_are_no_weights(make: Any, tmp_path: Path) -> None:
    torch.save({"w": make(torch.eye(3).to(torch.uint8))}, tmp_path / "w.pth")
    assert "w is not a plain tensor" in refused(tmp_path / "w.pth")


# ---- apart ---------------------------------------------------------------------------------------------------------


def test_a_file_read_apart_gives_what_it_gives_here(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    content = {"state_dict": {f"module.{k}": v.half() for k, v in weights.items()}, "arch": "resnet18", "classes": "ab"}
    content |= {"class_names": ["ä", "b"], "pretrained_cfg": {"mean": (0.1, 0.2, 0.3), "license": "mit"}}
    torch.save(content, tmp_path / "w.pth")
    here, apart = read_checkpoint(tmp_path / "w.pth"), read_apart((tmp_path / "w.pth").read_bytes(), "w.pth")
    assert same(apart.weights, here.weights)
    assert apart.taken == here.taken
    assert apart.recorded.labels == here.recorded.labels == ("ä", "b")
    assert apart.recorded.architecture == "resnet18"
    assert list(apart.recorded.preprocessing["mean"]) == [0.1, 0.2, 0.3]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not say how much memory is taken")
def test_a_file_that_needs_far_more_memory_than_it_is_large_takes_down_only_its_own_process() -> None:
    """A pickle that asks for 2 GB of zeros by a class that torch allows."""
    greedy = b"\x80\x02c__builtin__\nbytearray\nJ" + (2**31 - 1).to_bytes(4, "little") + b"\x85R."
    with pytest.raises(ModelError, match=r"^greedy\.pth needs more memory than there is\."):
        read_apart(greedy, "greedy.pth")


def test_a_file_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "APART_SECONDS", 0.01)
    with pytest.raises(ModelError, match=r"Reading slow\.pth took longer than"):
        read_apart(b"\x80\x02}.", "slow.pth")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not say how much memory is taken")
def test_half_precision_is_handed_over_as_it_is_so_that_one_large_tensor_fits(tmp_path: Path) -> None:
    """With 48 MiB beside the multiple of its size: once for the file, and not twice more to widen and to copy."""
    torch.save({"state_dict": {"fc.weight": torch.ones(30 * 2**20, dtype=torch.float16)}}, tmp_path / "given")
    program = (
        "import sys; from xai_core import checkpoints; checkpoints.APART_BYTES = 48 << 20; "
        "sys.exit(checkpoints._main(*sys.argv[1:]))"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "given"), str(tmp_path / "clean")]
    done = subprocess.run(words, input=b"w.pth", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"")
    assert (tmp_path / "clean").stat().st_size < 61 * 2**20


def test_tied_turned_and_narrow_tensors_are_handed_over_and_widened(tmp_path: Path) -> None:
    one, kinds = torch.arange(6.0).reshape(2, 3), ["bfloat16", "float16", "float8_e4m3fn", "float8_e5m2"]
    half = one.half()
    content = {"a": half, "tied": half, "turned": half.T, "row": half[1], "n": torch.tensor(3)}
    torch.save({**content, **{kind: one.to(getattr(torch, kind)) for kind in kinds}}, tmp_path / "w.pth")
    found = read_apart((tmp_path / "w.pth").read_bytes(), "w.pth")
    truth = {"a": one, "tied": one, "turned": one.T, "row": one[1], "n": torch.tensor(3)}
    assert same(found.weights, {**truth, **dict.fromkeys(kinds, one)})
    assert found.weights["a"].dtype == torch.float32
    assert found.taken == tuple(f"widened from {kind}" for kind in kinds)


def test_what_json_cannot_hold_keeps_no_file_from_being_read(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    itself: dict[str, Any] = {"license": "mit"}
    itself |= {"x": itself, "y": {(1, 2): 3}, (1, 2): 3, "z": 10**400, "mean": torch.zeros(3)}
    torch.save({"state_dict": weights, "pretrained_cfg": itself}, tmp_path / "w.pth")
    found = read_apart((tmp_path / "w.pth").read_bytes(), "w.pth")
    assert same(found.weights, weights)
    assert found.recorded.preprocessing == {"license": "mit", "x": "<dict>", "y": "<dict>", "z": "<int>",
                                            "mean": "<Tensor>"}  # fmt: skip


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"\ud800": torch.ones(1)}, "could not be read: it is damaged or holds what no checkpoint holds"),
        ({"\ud800": "\ud800"}, "which is no tensor"),
    ],
)
def test_a_file_that_cannot_be_handed_over_is_not_said_to_need_memory(
    content: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ModelError) as caught:
        read_apart((tmp_path / "w.pth").read_bytes(), "\ud800.pth")
    assert sentence in str(caught.value)
    assert "memory" not in str(caught.value)


def test_a_file_waits_for_another_for_a_limited_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "APART_SECONDS", 0.01)
    with checkpoints._apart, pytest.raises(ModelError, match=r"w\.pth had to wait too long"):
        read_apart(b"", "w.pth")
    with pytest.raises(ModelError, match="took longer than"):  # and the next one's turn comes
        read_apart(b"\x80\x02}.", "w.pth")


def test_metadata_cannot_pass_a_file_off_as_checked(tmp_path: Path) -> None:
    bad = {"w": torch.tensor([float("nan")])}
    save_file(bad, tmp_path / "w.safetensors", {checkpoints.CLEAN: json.dumps({"taken": [], "recorded": {}})})
    assert "holds values that are not numbers" in refused(tmp_path / "w.safetensors")


def test_a_real_checkpoint_from_elsewhere_is_unwrapped(real_data: Path) -> None:
    """CIFAR-10's ResNet-20, saved by a data-parallel training program in torch's first format."""
    found = read_checkpoint(real_data / "weights" / "resnet20-12fca82f.th")
    assert found.taken == ("its 'state_dict'", "without the prefix 'module.'")
    assert found.weights["linear.weight"].shape == (10, 64)


def test_weights_that_were_taken_are_named_where_they_do_not_fit(tmp_path: Path) -> None:
    network = timm_model("test_resnet").module
    content = {f"module.{k}": v for k, v in network.state_dict().items() if "conv1" not in k}
    missing = [k for k in network.state_dict() if "conv1" in k]
    torch.save({"state_dict": content}, tmp_path / "w.pth")
    with pytest.raises(ModelError) as caught:
        xai.load_model("test_resnet", checkpoint=tmp_path / "w.pth")
    said = str(caught.value)
    assert "(read from its 'state_dict', without the prefix 'module.')" in said
    assert f"{len(missing)} weights are missing ({', '.join(missing[:3])}, …)" in said
