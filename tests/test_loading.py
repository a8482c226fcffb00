"""Where models come from, and what is refused on the way."""

from __future__ import annotations

import json
import math
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

import xai_core as xai
from tests.conftest import ROOT, photograph, png_of, timm_model
from xai_core import loading
from xai_core.errors import ModelError
from xai_core.loading import is_architecture, is_safe_name, parameters_of


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
    assert model.identity["weights"] == "a checkpoint"  # its name may hold a person's, and identities are saved


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
    assert f"1 weight is missing ({key})" in refused(tmp_path / "w.safetensors")


@pytest.fixture(scope="module")
def three() -> dict[str, torch.Tensor]:
    """Weights of a test_resnet with three outputs."""
    network = timm.create_model("test_resnet", num_classes=3)
    return {k: v.contiguous() for k, v in network.state_dict().items()}


def test_the_first_three_keys_and_both_shapes_are_named(three: dict[str, torch.Tensor], tmp_path: Path) -> None:
    wanted = list(three)
    odd = {key: value for key, value in three.items() if key not in wanted[:5]}
    odd |= {f"extra.{i}": torch.zeros(1) for i in range(4)}
    odd["fc.bias"] = torch.zeros(7)
    save_file(odd, tmp_path / "w.safetensors")
    sentence = refused(tmp_path / "w.safetensors")
    assert f"5 weights are missing ({', '.join(wanted[:3])}, …)" in sentence
    assert "4 weights are unknown (extra.0, extra.1, extra.2, …)" in sentence
    assert "1 weight is of another shape (fc.bias: (7,) instead of (3,))" in sentence


def test_the_architecture_is_found_in_the_checkpoint(three: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(three, tmp_path / "w.safetensors", {"architecture": "test_resnet.r160_in1k"})
    model = xai.load_model(checkpoint=tmp_path / "w.safetensors", device="cpu")
    assert (model.name, len(model.labels)) == ("test_resnet.r160_in1k", 3)
    torch.save({"state_dict": three, "arch": "test_resnet.of_my_own"}, tmp_path / "w.pth")
    assert xai.load_model(checkpoint=tmp_path / "w.pth", device="cpu").name == "test_resnet"  # timm has no such tag


@pytest.mark.parametrize("recorded", ["", "hf-hub:someone/something", "../x", "ResNet", "demo-xray"])
def test_an_architecture_that_is_not_recorded_or_not_timms_is_asked_for(
    recorded: str, three: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"state_dict": three, "arch": recorded}, tmp_path / "w.pth")
    words = f"records the architecture {recorded!r}" if recorded else "does not record which architecture"
    assert words in refused(tmp_path / "w.pth", "")
    with pytest.raises(ModelError, match="Name a model"):
        xai.load_model()


CONFIG = {
    "architecture": "test_resnet",
    "num_classes": 3,
    "label_names": ["n1", "n2", "n3"],
    "label_descriptions": {"n1": "cat", "n2": "dog", "n3": "newt"},
    "pretrained_cfg": {
        "input_size": [3, 64, 48], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear",
        "crop_pct": 0.9, "crop_mode": "squash", "license": "mit",
    },
}  # fmt: skip


def test_a_config_beside_the_checkpoint_says_architecture_labels_and_preprocessing(
    three: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(three, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    model = xai.load_model(checkpoint=tmp_path / "model.safetensors", device="cpu")
    assert model.labels == ("cat", "dog", "newt")
    assert model.identity["labels_from"] == "config.json (label_names)"
    assert model.identity["licence"] == "mit"
    assert model.preprocessing.to_dict() == {
        "input_size": [3, 64, 48], "mean": [0.1, 0.2, 0.3], "std": [0.4, 0.5, 0.6], "interpolation": "bilinear",
        "crop_fraction": 0.9, "crop_mode": "squash",
    }  # fmt: skip
    given = xai.load_model("test_resnet", checkpoint=tmp_path / "model.safetensors", labels=list("abc"), device="cpu")
    assert (given.labels, given.identity["labels_from"]) == (("a", "b", "c"), "given")


def test_a_config_of_another_network_in_the_folder_says_nothing(three: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(three, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, "architecture": "resnet18"}), encoding="utf-8")
    model = xai.load_model("test_resnet", checkpoint=tmp_path / "model.safetensors", device="cpu")
    assert model.labels == ("class 0", "class 1", "class 2")
    assert model.identity["labels_from"] == "numbered, since none are known"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"label_names": ["a", "b"], "label_descriptions": None},
         "has 3 outputs but 2 labels stand in config.json (label_names)"),
        ({"pretrained_cfg": {"mean": [0.1]}}, "preprocessing recorded for test_resnet is unusable"),
        ({"pretrained_cfg": {"input_size": [3, 90_000, 90_000]}}, "not of up to 1024 pixels"),
        ({"pretrained_cfg": {"input_size": "abc"}}, "is unusable"),
        ({"model_args": {"checkpoint_path": "/etc/passwd"}}, "the setting 'checkpoint_path', which is not read"),
        ({"model_args": {"img_size": 64}}, "cannot be made with the settings"),
        ({"model_args": {"global_pool": 5}}, "cannot be made with the settings"),
        ({"model_args": {"global_pool": {"a": 1}}}, "cannot be made with the settings"),
        ({"pretrained_cfg": {"crop_pct": 10**400}}, "is unusable"),
        ({"pretrained_cfg": {"mean": [0, 0, 10**400]}}, "is unusable"),
        ({"pretrained_cfg": {"mean": [0, 0, 10**300]}}, "is unusable"),
        ({"pretrained_cfg": {"crop_pct": 5e-324}}, "A crop fraction of 5e-324"),
        ({"pretrained_cfg": {"crop_pct": 300.0}}, "A crop fraction of 300.0"),
        ({"pretrained_cfg": {"std": [1e-320] * 3}}, "Mean and standard deviation"),
    ],
)  # fmt: skip
def test_a_config_that_does_not_fit_is_refused_with_the_reason(
    change: dict[str, Any], words: str, three: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    save_file(three, tmp_path / "w.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({**CONFIG, **change}), encoding="utf-8")
    with pytest.raises(ModelError) as caught:
        xai.load_model(checkpoint=tmp_path / "w.safetensors", device="cpu")
    assert words in str(caught.value)


@pytest.mark.parametrize("mean", [torch.zeros(3), [0, 0, 10**400], {"a": 1}])
def test_a_mean_that_is_no_list_of_numbers_is_refused_rather_than_replaced(
    mean: Any, three: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"state_dict": three, "pretrained_cfg": {"mean": mean}}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match="The preprocessing recorded for test_resnet is unusable"):
        xai.load_model("test_resnet", checkpoint=tmp_path / "w.pth", device="cpu")


def test_names_of_weights_that_do_not_fit_are_cleaned_and_cut(three: dict[str, torch.Tensor], tmp_path: Path) -> None:
    torch.save({**three, "a\x1b[31m" + "b" * 500: torch.ones(1)}, tmp_path / "w.pth")
    sentence = refused(tmp_path / "w.pth")
    assert "1 weight is unknown (a[31mbbb" in sentence
    assert sentence.isprintable()
    assert len(sentence) < 300


def test_labels_in_a_file_are_cleaned_and_cut(three: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_file(three, tmp_path / "w.safetensors")
    (tmp_path / "labels.txt").write_text("a\x1b[31m\n\n\x07\n" + "x" * 300, encoding="utf-8")
    file = tmp_path / "labels.txt"
    model = xai.load_model("test_resnet", checkpoint=tmp_path / "w.safetensors", labels=file, device="cpu")
    assert model.labels == ("a[31m", "class 1", "x" * 200)


def test_what_a_checkpoint_says_of_its_licence_is_cleaned_and_cut(
    three: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"state_dict": three, "pretrained_cfg": {"license": "mit\x1b\ud800" + "x" * 500}}, tmp_path / "w.pth")
    model = xai.load_model("test_resnet", checkpoint=tmp_path / "w.pth", device="cpu")
    assert model.identity["licence"] == "mit" + "x" * 197


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin"])
def test_a_local_folder_is_named_by_its_architecture_and_never_by_its_path(
    file: str, flat: bool, three: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    folder = tmp_path / "John Doe"
    folder.mkdir()
    save_file(three, folder / file) if file.endswith("safetensors") else torch.save(three, folder / file)
    config = {key: value for key, value in CONFIG.items() if key != "pretrained_cfg"}
    config = {**config, **CONFIG["pretrained_cfg"]} if flat else CONFIG  # type: ignore[dict-item]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model = xai.load_model(f"local-dir:{folder}", device="cpu")
    assert model.name == model.identity["name"] == "test_resnet"
    assert "John" not in str(model.identity)
    assert model.labels == ("cat", "dog", "newt")
    assert model.preprocessing.mean == (0.1, 0.2, 0.3)
    assert all(torch.equal(value, three[key]) for key, value in model.module.state_dict().items())


def test_a_hostile_pickle_in_a_local_folder_is_refused_by_what_it_asks_for(tmp_path: Path) -> None:
    Bomb.path = str(tmp_path / "proof")
    torch.save({"state_dict": Bomb()}, tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin holds more than weights"):
        xai.load_model(f"local-dir:{tmp_path}")
    assert not (tmp_path / "proof").exists()


def test_a_local_folder_without_weights_or_for_random_ones_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no model\.safetensors"):
        xai.load_model(f"local-dir:{tmp_path}")
    for settings in ({"pretrained": False}, {"checkpoint": tmp_path / "w.pth"}):
        with pytest.raises(ModelError, match="A local folder brings its own weights"):
            xai.load_model(f"local-dir:{tmp_path}", **settings)


def test_labels_in_the_checkpoint_are_taken_and_their_number_must_fit(
    three: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"state_dict": three, "class_to_idx": {"b": 1, "a": 0, "c": 2}}, tmp_path / "w.pth")
    model = xai.load_model("test_resnet", checkpoint=tmp_path / "w.pth", device="cpu")
    assert (model.labels, model.identity["labels_from"]) == (("a", "b", "c"), "the checkpoint (class_to_idx)")
    torch.save({"state_dict": three, "class_names": ["a", "b"]}, tmp_path / "w.pth")
    assert "3 outputs but 2 labels stand in the checkpoint (class_names)" in refused(tmp_path / "w.pth")


@pytest.mark.parametrize("architecture", ["vit_giant_patch14_224", "resnet18"])  # the second has a head of that name
def test_another_architecture_is_refused_before_it_is_made(
    architecture: str, three: dict[str, torch.Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a file records must not cost memory: its shapes are compared on a device that holds no numbers."""
    made = []
    create = loading.create

    def noted(name: str, *seed: int, **settings: Any) -> Any:
        network = create(name, *seed, **settings)
        made.append(next(network.parameters()).device.type)
        return network

    monkeypatch.setattr(loading, "create", noted)
    torch.save({"state_dict": three, "arch": architecture}, tmp_path / "w.pth")
    assert f"is not a checkpoint of {architecture}" in refused(tmp_path / "w.pth", "")
    assert set(made) == {"meta"}


# ---- what the outputs mean -----------------------------------------------------------------------------------------


def test_a_single_output_is_a_probability_of_its_own(tmp_path: Path) -> None:
    one = timm.create_model("test_resnet", num_classes=1)
    save_file(one.state_dict(), tmp_path / "one.safetensors")
    wrapped = xai.wrap_model(one, labels=["pneumonia"], input_size=(3, 64, 64), device="cpu")
    loaded = xai.load_model("test_resnet", checkpoint=tmp_path / "one.safetensors", device="cpu")
    drawn = xai.load_model("test_resnet", pretrained=False, labels=["pneumonia"], device="cpu")
    image = xai.read_image(png_of(photograph()))
    for model in (wrapped, loaded, drawn):
        assert model.identity["task"] == "multi label"
        assert "one output" in model.identity["task_from"]
        said = xai.predict(model, image)
        assert said.probabilities[0] == pytest.approx(1 / (1 + math.exp(-float(said.logits[0]))))
        assert 0 < said.probabilities[0] < 1


def test_a_single_output_is_no_class_among_others_even_if_one_says_so(tmp_path: Path) -> None:
    one = timm.create_model("test_resnet", num_classes=1)
    with pytest.raises(ModelError, match="would always get 100 %"):
        xai.wrap_model(one, labels=["pneumonia"], task="single label", device="cpu")
    with pytest.raises(ModelError, match="would always get 100 %"):
        xai.load_model("test_resnet", pretrained=False, labels=["a"], task="single label", device="cpu")
    kept = xai.wrap_model(one, labels=["age"], input_size=(3, 64, 64), task="regression", device="cpu")
    assert kept.identity["task"] == "regression"
    assert "task_from" not in kept.identity


def test_several_outputs_exclude_one_another_unless_one_says_otherwise() -> None:
    model = timm_model("test_resnet")
    assert model.identity["task"] == "single label"
    assert model.identity["labels_from"].startswith("timm's list of imagenet-1k")


# ---- models of whoever starts the program --------------------------------------------------------------------------

OWN = """
import torch
import xai_core as xai

MADE = []

def mine():
    MADE.append(1)
    return xai.wrap_model(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 8, 2)),
                          labels=["left", "right"], input_size=(3, 8, 8), device="cpu")

def broken():
    raise RuntimeError("no weights here")

MODELS = {"mine": mine, "broken": broken, "odd": lambda: 3}
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "own.py"
    path.write_text(OWN, encoding="utf-8")
    monkeypatch.setenv("SECOND_LOOK_MODELS", str(path))
    return path


def test_a_model_of_your_own_is_opened_by_its_name(own: Path) -> None:
    model = xai.load_model("mine")
    assert (model.name, model.identity["name"], model.labels) == ("mine", "mine", ("left", "right"))
    with pytest.raises(ModelError, match="mine is yours, which brings its own weights"):
        xai.load_model("mine", pretrained=False)
    with pytest.raises(ModelError, match="Did you mean 'mine'"):
        xai.load_model("miine")


def test_a_file_of_own_models_may_define_dataclasses(own: Path) -> None:
    text = own.read_text(encoding="utf-8")
    extra = "\nfrom dataclasses import dataclass\n\n@dataclass\nclass Size:\n    side: int\n"
    own.write_text("from __future__ import annotations\n" + text + extra, encoding="utf-8")
    assert xai.load_model("mine").name == "mine"
    sys.modules.pop("second_look_models")


def test_a_file_of_own_models_that_fails_leaves_no_module(own: Path) -> None:
    own.write_text("raise ValueError", encoding="utf-8")
    with pytest.raises(ModelError, match="ValueError"):
        xai.load_model("mine")
    assert "second_look_models" not in sys.modules


def test_a_model_of_your_own_that_fails_is_named_with_the_reason(own: Path) -> None:
    with pytest.raises(ModelError, match=r"own\.py.*its 'broken' failed \(RuntimeError: no weights here\)"):
        xai.load_model("broken")
    with pytest.raises(ModelError, match="its 'odd' gives a int"):
        xai.load_model("odd")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import nonsense_that_is_not_there", "ModuleNotFoundError"),
        ("MODELS = (", "SyntaxError"),
        ("x = 1", "defines no MODELS"),
        ("MODELS = {'a': 3}", "defines no MODELS"),
        ("MODELS = {'../a': print}", "cannot be called '../a'"),
        ("MODELS = {'demo-xray': print}", "cannot be called 'demo-xray'"),
        (None, "FileNotFoundError"),
    ],
)
def test_a_broken_file_of_own_models_is_one_sentence(
    text: str | None, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "own.py"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    monkeypatch.setenv("SECOND_LOOK_MODELS", str(path))
    with pytest.raises(ModelError) as caught:
        xai.load_model("mine")
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


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


def test_an_architecture_is_one_whatever_weights_are_named_behind_it() -> None:
    assert all(map(is_architecture, ("resnet18", "resnet18.a1_in1k", "resnet18.of_nobody")))
    assert not any(map(is_architecture, ("", "resnet118", "demo-xray", "../../etc/passwd", "hf-hub:timm/resnet18")))


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


# ---- on the command line -------------------------------------------------------------------------------------------


def explained(out: Path, *words: str) -> str:
    """What `explain` prints about a sample."""
    from typer.testing import CliRunner

    from xai_core.__main__ import app

    sample = ROOT / "assets" / "samples" / "xray_normal_1.png"
    result = CliRunner().invoke(app, ["explain", "--image", str(sample), "--out", str(out), "--device", "cpu", *words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_the_command_line_finds_the_model_that_a_checkpoint_records(
    three: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    torch.save({"state_dict": three, "arch": "test_resnet", "class_names": ["a", "b", "c"]}, tmp_path / "Jane Doe.pth")
    said = explained(tmp_path / "out", "--checkpoint", str(tmp_path / "Jane Doe.pth"))
    assert "Model       test_resnet on cpu" in said
    files = list((tmp_path / "out").rglob("*.json"))
    assert files
    for file in files:
        assert "Jane" not in file.read_text(encoding="utf-8")
    assert "Model       demo-xray on cpu" in explained(tmp_path / "demo")


def test_the_command_line_knows_no_pretrained_and_models_of_your_own(own: Path, tmp_path: Path) -> None:
    assert "Random weights" in explained(tmp_path / "a", "--model", "test_resnet", "--no-pretrained")
    said = explained(tmp_path / "b", "--model", "mine", "--method", "saliency")
    assert "Model       mine on cpu" in said
