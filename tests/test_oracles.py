"""Against the libraries that people use today: equal maps, up to the scaling they apply."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
import torch

import xai_core as xai
from tests.conftest import timm_model
from xai_core.models import Model
from xai_core.records import Image, Target

CAMS = {
    "grad_cam": "GradCAM",
    "grad_cam_plus_plus": "GradCAMPlusPlus",
    "layer_cam": "LayerCAM",
    "hires_cam": "HiResCAM",
    "eigen_cam": "EigenCAM",
}
CONVOLUTIONAL = {
    "resnet18 at 96 pixels": "layer4",
    "test_resnet": "layer3",
    "test_convnext": "stages.2",
    "test_efficientnet": "blocks.3",
}


def seen(model: Model, image: Image) -> torch.Tensor:
    return model.preprocessing.tensor(model.preprocessing.view(image)[None])


def stretched(values: np.ndarray) -> np.ndarray:
    values = values - values.min()
    return values / values.max()


def library_cam(name: str, model: Model, layer: str, x: torch.Tensor, index: int, reshape: Any = None) -> np.ndarray:
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    with model.borrowed() as network:
        network.requires_grad_(True)
        cam = getattr(pytorch_grad_cam, CAMS[name])(network, [network.get_submodule(layer)], reshape_transform=reshape)
        maps: np.ndarray = cam(x, [ClassifierOutputTarget(index)])
        cam.activations_and_grads.release()
    return maps[0]


@pytest.mark.parametrize("network", CONVOLUTIONAL)
@pytest.mark.parametrize("name", CAMS)
def test_class_activation_maps_equal_pytorch_grad_cam_on_convolutional_networks(
    name: str, network: str, image: Image
) -> None:
    model, layer = timm_model(network), CONVOLUTIONAL[network]
    x = seen(model, image)
    for index in (0, 5, 9):
        theirs = library_cam(name, model, layer, x, index)
        if name == "eigen_cam":  # a principal direction has no sign of its own: theirs may be the other
            assert min(eigen_gaps(model, layer, x, theirs)) < 1e-4
            continue
        ours = xai.explain(model, image, name, index, layer=layer).values
        if theirs.max() == 0:
            assert ours.max() == 0
        else:
            # the library adds 1e-7 to the largest value before it divides by it
            assert np.abs(stretched(ours) - theirs).max() < 2e-5 + 5e-7 / ours.max()


def eigen_gaps(model: Model, layer: str, x: torch.Tensor, theirs: np.ndarray) -> list[float]:
    """The library's order of steps (clip, stretch, enlarge, stretch) on our values, for both signs."""
    import cv2

    coarse = xai.METHODS.build("eigen_cam").combine(model.trace(x, [Target(0, "")], [layer])[layer])[0].numpy()
    return [
        float(np.abs(stretched(cv2.resize(stretched(np.clip(sign * coarse, 0, None)), theirs.shape)) - theirs).max())
        for sign in (1, -1)
    ]


@pytest.mark.parametrize("name", ["grad_cam", "layer_cam", "hires_cam"])
def test_class_activation_maps_are_right_on_a_vision_transformer(name: str, image: Image) -> None:
    """Tokens to grid as the library's users write it themselves: drop the class token, fold the rest."""
    model = timm_model("vit_tiny_patch16_224")
    layer = model.default_layer
    assert layer == "blocks.11.norm1", "the last block's output does not reach the class token"

    def fold(tokens: torch.Tensor) -> torch.Tensor:
        return tokens[:, 1:].reshape(len(tokens), 14, 14, -1).permute(0, 3, 1, 2)

    theirs = library_cam(name, model, layer, seen(model, image), 7, fold)
    ours = xai.explain(model, image, name, 7).values
    assert theirs.max() > 0
    assert np.abs(stretched(ours) - theirs).max() < 2e-5


def test_the_last_block_of_a_class_token_transformer_is_refused_with_the_measured_reason(image: Image) -> None:
    model = timm_model("vit_tiny_patch16_224")
    with pytest.raises(xai.AuditError, match=r"the gradient of the target there is\s+zero. Choose blocks.11.norm1"):
        xai.explain(model, image, "grad_cam", layer="blocks.11")


@pytest.mark.parametrize("network", ["resnet18 at 96 pixels", "test_vit", "test_convnext"])
def test_gradients_equal_captum(network: str, image: Image) -> None:
    from captum.attr import InputXGradient, Saliency

    model = timm_model(network)
    x, index = seen(model, image), 3
    with model.borrowed() as module:
        slopes = Saliency(module).attribute(x.clone().requires_grad_(), index, abs=False)
        products = InputXGradient(module).attribute(x.clone().requires_grad_(), index)
    torch.testing.assert_close(model.gradients(x, [Target(index, "")]), slopes, atol=1e-6, rtol=1e-4)
    ours = xai.explain(model, image, "input_x_gradient", index).values
    np.testing.assert_allclose(ours, products.detach().sum(1)[0].numpy(), atol=1e-6, rtol=1e-3)
    ours = xai.explain(model, image, "saliency", index).values
    np.testing.assert_allclose(ours, slopes.abs().amax(1)[0].numpy(), atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("network", ["resnet18 at 96 pixels", "test_vit"])
@pytest.mark.parametrize("start", ["mean", "black", "blur"])
def test_integrated_gradients_equal_captum(network: str, start: str, image: Image) -> None:
    from captum.attr import IntegratedGradients

    model = timm_model(network)
    x, index = seen(model, image), 3
    method = xai.METHODS.build({"name": "integrated_gradients", "steps": 16, "start": start})
    with model.borrowed() as module:
        theirs = IntegratedGradients(module).attribute(
            x, method.baseline(model, x), target=index, n_steps=16, method="riemann_middle", internal_batch_size=8
        )
    ours = xai.explain(model, image, method, index).values
    theirs = theirs.sum(1)[0].detach().numpy()
    np.testing.assert_allclose(ours, theirs, atol=2e-5 * np.abs(theirs).max(), rtol=1e-3)


def test_occlusion_equals_captum(image: Image) -> None:
    from captum.attr import Occlusion

    model = timm_model("test_resnet")
    x, index = seen(model, image), 3
    side = round(0.25 * x.shape[-1])
    with model.borrowed() as module, torch.no_grad():
        theirs = Occlusion(module).attribute(
            x, (3, side, side), strides=(3, side // 2, side // 2), baselines=0, target=index, perturbations_per_eval=8
        )
    ours = xai.explain(model, image, "occlusion", index, window=0.25, stride=0.5).values
    np.testing.assert_allclose(ours, theirs[0, 0].numpy(), atol=1e-5)


def test_gradient_shap_equals_shap(image: Image) -> None:
    import shap

    model = timm_model("test_resnet")
    x = seen(model, image)
    method = xai.METHODS.build({"name": "gradient_shap", "samples": 12, "background": "blurs"})
    index = int(model.outputs(x).argmax())
    state = np.random.get_state()  # noqa: NPY002 - shap moves numpy's global generator
    try:
        with model.borrowed() as module:
            explainer = shap.GradientExplainer(module, method.backgrounds(model, x[0]), batch_size=6)
            found, order = explainer.shap_values(x, nsamples=12, ranked_outputs=1, rseed=4)
    finally:
        np.random.set_state(state)  # noqa: NPY002
    assert int(np.ravel(order)[0]) == index
    theirs = np.squeeze(np.asarray(found))
    theirs = theirs.sum(0) if theirs.shape[0] == 3 else theirs.sum(-1)
    ours = xai.explain(model, image, method, index, seed=4).values
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.parametrize("segmentation", ["slic", "quickshift"])
def test_lime_equals_lime(segmentation: str, image: Image) -> None:
    from lime.lime_image import LimeImageExplainer

    model = timm_model("test_resnet")
    x, index, seed = seen(model, image), 3, 5
    method = xai.METHODS.build({"name": "lime", "samples": 100, "segments": 30, "segmentation": segmentation})
    segments = method.superpixels(model.preprocessing.view(image), seed)

    def classify(pictures: np.ndarray) -> np.ndarray:
        return model.outputs(torch.from_numpy(pictures).permute(0, 3, 1, 2).float()).numpy()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        explainer = LimeImageExplainer(feature_selection="none", random_state=np.random.RandomState(seed))
        theirs = explainer.explain_instance(
            x[0].permute(1, 2, 0).double().numpy(), classify, labels=(index,), top_labels=None, num_samples=100,
            batch_size=20, segmentation_fn=lambda _: segments, random_seed=seed,
        )  # fmt: skip
    weights = dict(theirs.local_exp[index])
    by_pixel = np.vectorize(weights.get)(segments)
    ours = xai.explain(model, image, method, index, seed=seed).values
    np.testing.assert_allclose(ours, by_pixel, atol=1e-4 * np.abs(by_pixel).max())
