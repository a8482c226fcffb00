"""Every method on every kind of network: a finite map of the right size with its verdict, or one sentence."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import xai_core as xai
from tests.conftest import quick, timm_model
from xai_core.errors import UnsupportedError
from xai_core.models import Model
from xai_core.records import Image
from xai_core.registry import settings

pytestmark = pytest.mark.slow

NETWORKS = [
    "resnet18 at 64 pixels",
    "densenet121 at 64 pixels",
    "vgg11_bn at 64 pixels",
    "regnety_002 at 64 pixels",
    "mobilenetv3_small_050 at 64 pixels",
    "efficientnet_b0 at 64 pixels",
    "tf_efficientnetv2_b0 at 64 pixels",
    "convnext_atto at 64 pixels",
    "convnextv2_atto at 64 pixels",
    "vit_tiny_patch16_224 at 64 pixels",
    "deit_tiny_distilled_patch16_224 at 64 pixels",
    "vit_medium_patch16_reg4_gap_256 at 64 pixels",
    "swin_tiny_patch4_window7_224 at 112 pixels",
    "mobilevit_xxs at 64 pixels",
    "mixer_s32_224 at 64 pixels",
]


def narrow(name: str, model: Model) -> dict[str, object]:
    """Quick settings; methods that ask about every channel read the layer that has the fewest."""
    method = quick(name)
    if name in ("score_cam", "ablation_cam") and model.default_layer is not None:
        reached = [layer for layer in model.stages if model.reaches(layer)]
        method["layer"] = min(reached, key=lambda layer: model.layer(layer).channels)
    return method


@pytest.mark.parametrize("network", NETWORKS)
def test_every_method_gives_a_map_with_its_verdict_or_a_sentence(network: str, image: Image) -> None:
    model = timm_model(network)
    for name in xai.METHODS:
        try:
            explanation = xai.explain(model, image, narrow(name, model))
        except UnsupportedError as refused:
            sentence = str(refused)
            assert sentence.endswith("."), (name, sentence)
            assert 40 < len(sentence) < 400, (name, sentence)
            continue
        assert explanation.values.shape == model.preprocessing.input_size[1:], name
        assert np.isfinite(explanation.values).all(), name
        assert explanation.valid or any("Not valid for this model" in note for note in explanation.notes), name
        if explanation.flat:
            because = name == "uniform" or silent(model, image) or clipped(name, model, image)
            assert because, f"{name} is flat: {explanation.flat}"


def silent(model: Model, image: Image) -> bool:
    """Whether the network says the same of the picture as of an even one, so that there is nothing to explain."""
    x = model.preprocessing.tensor(model.preprocessing.view(image)[None])
    said, of_nothing = model.outputs(x)[0], model.outputs(torch.zeros_like(x))[0]
    return float((said - of_nothing)[said.argmax()].abs()) < 1e-4


def clipped(name: str, model: Model, image: Image) -> bool:
    """Whether a map is zero only because everything in it speaks against the class, and that part was dropped."""
    method = narrow(name, model)
    has = {field.name for field in settings(xai.METHODS[name])}
    return "positive_only" in has and not xai.explain(model, image, method | {"positive_only": False}).flat


@pytest.mark.parametrize("network", NETWORKS)
def test_the_default_layer_is_deep_reaches_the_target_and_keeps_the_shape_of_the_picture(network: str) -> None:
    model = timm_model(network)
    layer = model.default_layer
    assert layer is not None
    assert model.reaches(layer)
    rows, columns = model.layer(layer).grid
    assert rows == columns
    deeper = model.stages[model.stages.index(layer) + 1 :]
    assert not any(model.reaches(name) for name in deeper)
