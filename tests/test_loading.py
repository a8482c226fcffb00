"""Where models come from, and what is refused on the way."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

import xai_core as xai
from tests.conftest import timm_model
from xai_core.errors import ModelError
from xai_core.loading import is_safe_name, parameters_of


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    return {k: v.clone().contiguous() for k, v in timm_model("test_resnet").module.state_dict().items()}


def refused(path: Path, name: str = "test_resnet", **settings: Any) -> str:
    with pytest.raises(ModelError) as caught:
        xai.load_model(name, checkpoint=path, device="cpu", **settings)
    sentence = str(caught.value)
    assert path.name in sentence
    assert "\n" not in sentence
    assert sentence.endswith(".")
    return sentence


@pytest.mark.parametrize("suffix", [".safetensors", ".pth", ".pt", ".bin"])
def test_a_checkpoint_gives_the_same_answers_as_the_network_it_was_saved_from(
    suffix: str, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / f"mine{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    model = xai.load_model("test_resnet", checkpoint=path, device="cpu")
    assert model.identity["weights_sha256"] == timm_model("test_resnet").identity["weights_sha256"]
    assert model.identity["weights"] == f"checkpoint mine{suffix}"


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (
            lambda w: {"state_dict": {f"module.{k}": v for k, v in w.items()}, "epoch": 3},
            "without the prefix 'module.'",
        ),
        (lambda w: {"model": w, "optimizer": {"lr": 0.1}}, "its 'model'"),
        (lambda w: {"state_dict": {f"_orig_mod.{k}": v for k, v in w.items()}}, "without the prefix '_orig_mod.'"),
    ],
)
def test_usual_wrappings_are_unwrapped_and_said(
    wrap: Any, said: str, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save(wrap(weights), tmp_path / "w.pth")
    model = xai.load_model("test_resnet", checkpoint=tmp_path / "w.pth", device="cpu")
    assert said in model.identity["weights"]
    assert model.identity["weights_sha256"] == timm_model("test_resnet").identity["weights_sha256"]


def test_half_precision_is_widened(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file({k: v.half() if v.is_floating_point() else v for k, v in weights.items()}, tmp_path / "h.safetensors")
    model = xai.load_model("test_resnet", checkpoint=tmp_path / "h.safetensors", device="cpu")
    assert {p.dtype for p in model.module.parameters()} == {torch.float32}


def test_the_number_of_classes_comes_from_the_checkpoint(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=4)
    save_file(network.state_dict(), tmp_path / "four.safetensors")
    (tmp_path / "labels.txt").write_text("normal\nsimple\n\ncomminuted\nother\n", encoding="utf-8")
    model = xai.load_model(
        "test_resnet", checkpoint=tmp_path / "four.safetensors", labels=tmp_path / "labels.txt", device="cpu"
    )
    assert model.labels == ("normal", "simple", "comminuted", "other")
    assert "4 outputs but 2 labels" in refused(tmp_path / "four.safetensors", labels=["a", "b"])


def test_a_checkpoint_of_another_architecture_is_refused_with_what_differs(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(weights, tmp_path / "resnet.safetensors")
    sentence = refused(tmp_path / "resnet.safetensors", "test_convnext")
    assert "weights are missing" in sentence
    assert "are unknown" in sentence


def test_one_weight_of_another_shape_is_named_with_both_shapes(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    key = next(k for k in weights if k.endswith("conv1.weight"))
    weights[key] = weights[key][:, :1].contiguous()
    save_file(weights, tmp_path / "w.safetensors")
    assert f"({key}: " in refused(tmp_path / "w.safetensors")


def test_one_missing_weight_is_refused_never_filled_in(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    key = next(iter(weights))
    del weights[key]
    save_file(weights, tmp_path / "w.safetensors")
    assert f"1 weights are missing ({key}" in refused(tmp_path / "w.safetensors")


class Bomb:
    """Writes a file when unpickled: proof that code ran."""

    path = ""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, (Bomb.path, "w"))


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ".png"])
@pytest.mark.parametrize("form", ["torch", "bare", "inside"])
def test_a_pickle_with_code_in_it_is_refused_and_never_run(
    form: str, suffix: str, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    Bomb.path = str(tmp_path / "proof")
    path = tmp_path / f"evil{suffix}"
    if form == "torch":
        torch.save({"state_dict": Bomb()}, path)
    elif form == "inside":
        torch.save({"state_dict": weights, "extra": Bomb()}, path)
    else:
        path.write_bytes(pickle.dumps(Bomb()))
    sentence = refused(path)
    assert suffix == ".safetensors" or "could run code" in sentence or "not a torch checkpoint" in sentence
    assert not (tmp_path / "proof").exists()


def test_a_whole_module_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "whole.pth")
    assert "could run code" in refused(tmp_path / "whole.pth")


@pytest.mark.parametrize("cut", [0, 1, 100, 5000])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_a_damaged_checkpoint_is_refused(
    suffix: str, cut: int, weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / f"w{suffix}"
    save_file(weights, path) if suffix == ".safetensors" else torch.save(weights, path)
    path.write_bytes(path.read_bytes()[:cut])
    refused(path)


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    assert "compressed archive" in refused(tmp_path / "bomb.pth")


def test_whole_numbers_are_no_weights(weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    key = next(k for k, v in weights.items() if v.is_floating_point())
    weights[key] = weights[key].to(torch.int8)
    save_file(weights, tmp_path / "w.safetensors")
    assert f"{key} holds whole numbers" in refused(tmp_path / "w.safetensors")


def test_a_tensor_that_declares_more_than_the_file_holds_is_refused_before_it_is_made(
    weights: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    weights[next(iter(weights))] = torch.zeros(1).expand(10**12)  # one number, called a trillion
    torch.save(weights, tmp_path / "w.pth")
    assert "declares far more numbers" in refused(tmp_path / "w.pth")


def test_a_torchscript_program_is_refused_under_that_name(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
        archive.writestr("script/constants.pkl", b"")
    assert "TorchScript" in refused(tmp_path / "script.pt")


def test_a_checkpoint_of_a_network_with_two_heads_is_read(tmp_path: Path) -> None:
    network = timm.create_model("deit_tiny_distilled_patch16_224", num_classes=3)
    save_file(network.state_dict(), tmp_path / "deit.safetensors")
    model = xai.load_model("deit_tiny_distilled_patch16_224", checkpoint=tmp_path / "deit.safetensors", device="cpu")
    assert len(model.labels) == 3


def test_a_demo_model_takes_no_other_weights_or_labels() -> None:
    for settings in ({"pretrained": False}, {"labels": ["a", "b", "c"]}, {"checkpoint": "w.pth"}):
        with pytest.raises(ModelError, match="is a demo model, which brings its own weights"):
            xai.load_model("demo-xray", **settings)


def test_an_unknown_tag_is_refused() -> None:
    with pytest.raises(ModelError, match="resnet18 has no weights called 'nonsense'"):
        xai.load_model("resnet18.nonsense", pretrained=False)


def test_random_weights_follow_the_seed_alone_while_other_threads_load() -> None:
    import threading

    alone = xai.load_model("test_resnet", pretrained=False, seed=0, device="cpu").identity["weights_sha256"]
    found = []

    def load(name: str) -> None:
        model = xai.load_model(name, pretrained=name.startswith("demo"), seed=0, device="cpu")
        found.append(model.identity["weights_sha256"] if name == "test_resnet" else alone)

    threads = [
        threading.Thread(target=load, args=(n,)) for n in ("test_resnet", "demo-xray", "test_resnet", "test_vit")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(found) == {alone}
    assert len(found) == 4


def test_weights_at_a_plain_address_are_not_fetched_while_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *_, **__: pytest.fail("asked the network"))
    with pytest.raises(ModelError, match="plain address"):
        xai.load_model("gcvit_xxtiny")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_numbers_are_named(value: float, weights: dict[str, torch.Tensor], tmp_path: Path) -> None:
    key = next(k for k, v in weights.items() if v.is_floating_point())
    weights[key].view(-1)[0] = value
    save_file(weights, tmp_path / "w.safetensors")
    assert f"{key} holds values that are not numbers" in refused(tmp_path / "w.safetensors")


def test_other_content_than_weights_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    assert "holds no weights" in refused(tmp_path / "list.pth")
    (tmp_path / "page.pth").write_bytes(b"<!DOCTYPE html><html></html>")
    refused(tmp_path / "page.pth")
    refused(tmp_path / "absent.pth")


def test_an_unknown_model_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ModelError, match="Did you mean 'resnet18'"):
        xai.load_model("resnet118")
    with pytest.raises(ModelError, match="No model is called"):
        xai.load_model("../../etc/passwd")


def test_pretrained_weights_that_cannot_be_had_are_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(ModelError, match="neither in the local cache nor to be had from the hub") as caught:
        xai.load_model("convnextv2_atto")
    assert "\n" not in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_not_asked_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    seen = []

    def create(name: str, **settings: Any) -> Any:
        seen.append(constants.HF_HUB_OFFLINE)
        raise OSError("no such file in the cache. Some advice.")

    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    monkeypatch.setattr("xai_core.loading.create", create)
    with pytest.raises(ModelError, match=r"hub \(no such file in the cache\)"):
        xai.load_model("resnet18")
    assert seen == [True]
    assert constants.HF_HUB_OFFLINE is False


def test_random_weights_follow_the_seed_and_are_said_loudly() -> None:
    state = torch.get_rng_state()
    models = [xai.load_model("test_resnet", pretrained=False, seed=seed, device="cpu") for seed in (0, 0, 1)]
    digests = [model.identity["weights_sha256"] for model in models]
    assert digests[0] == digests[1] != digests[2]
    assert "Random weights" in models[0].identity["notice"]
    assert torch.equal(torch.get_rng_state(), state)


def test_the_size_of_a_network_is_known_without_making_it() -> None:
    made = sum(p.numel() for p in timm_model("test_resnet").module.parameters())
    assert parameters_of("test_resnet") == made
    assert parameters_of("vit_gigantic_patch14_224") > 1_500_000_000
    with pytest.raises(ModelError, match="No model is called"):
        parameters_of("nonsense")


def test_imagenet_models_speak_in_words() -> None:
    assert "tench, Tinca tinca" in timm_model("test_resnet").labels


@pytest.mark.parametrize(
    ("name", "safe"),
    [("demo-xray", True), ("resnet18.a1_in1k", True), ("hf-hub:x/y", False), ("local-dir:/etc", False),
     ("../x", False), ("Resnet", False), ("", False), ("a b", False)],
)  # fmt: skip
def test_only_plain_names_may_come_from_a_browser(name: str, safe: bool) -> None:
    assert is_safe_name(name) == safe


def test_real_imagenet_weights_recognise_real_photographs(real_data: Path) -> None:
    """SqueezeNet 1.0 from a local file: the published weights name 51 of these 79 photographs rightly."""
    import csv

    from safetensors.torch import load_file
    from torchvision.models import squeezenet1_0

    network = squeezenet1_0(weights=None)
    network.load_state_dict(load_file(real_data / "weights" / "squeezenet1_0_imagenet_rgb.safetensors"))
    model = xai.wrap_model(
        network, labels=timm_model("test_resnet").labels, input_size=(3, 227, 227),
        mean=(0.4824, 0.4588, 0.4078), std=(1 / 255,) * 3, name="squeezenet1_0", device="cpu",
    )  # fmt: skip
    folder = real_data / "imagenet_1000"
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))[:30]
    index = next(k for k in rows[0] if k not in ("file", "label") and rows[0][k].isdecimal())
    right = 0
    for row in rows:
        path = next(p for p in (folder / row["file"], folder / "images" / row["file"]) if p.exists())
        said = xai.predict(model, xai.read_image(path))
        right += int(said.order()[0]) == int(row[index])
    assert right >= 15, f"{right} of {len(rows)}"
