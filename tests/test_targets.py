"""Which scalar is explained: a logit, a probability, a contrast, one label of many, a value."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import xai_core as xai
from tests.conftest import SIDE, convolutions, seeded
from xai_core.errors import SettingError
from xai_core.models import Model
from xai_core.pipeline import resolve_target
from xai_core.records import Image, Target


def tasked(task: str) -> Model:
    return xai.wrap_model(
        seeded(convolutions),
        labels=["age", "weight", "height"],
        input_size=(3, SIDE, SIDE),
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        task=task,
        device="cpu",
    )


def seen(model: Model, image: Image) -> torch.Tensor:
    return model.preprocessing.tensor(model.preprocessing.view(image)[None])


def test_labels_that_do_not_exclude_one_another_have_probabilities_of_their_own(image: Image) -> None:
    model = tasked("multi label")
    said = xai.predict(model, image)
    np.testing.assert_allclose(said.probabilities, 1 / (1 + np.exp(-said.logits.astype(float))), rtol=1e-6)
    assert abs(said.probabilities.sum() - 1) > 0.1


def test_the_probability_of_one_of_many_labels_is_its_sigmoid_and_has_its_slope(image: Image) -> None:
    model = tasked("multi label")
    x = seen(model, image)
    p = model.outputs(x)[0, 1].sigmoid()
    explanation = xai.explain(model, image, "input_x_gradient", Target(1, "", "probability"))
    logit = xai.explain(model, image, "input_x_gradient", 1)
    assert explanation.target == Target(1, "weight", "sigmoid")
    np.testing.assert_allclose(explanation.values, float(p * (1 - p)) * logit.values, rtol=1e-4, atol=1e-8)


def test_a_regression_gives_values_and_its_target_is_the_value(image: Image) -> None:
    model = tasked("regression")
    said = xai.predict(model, image)
    assert said.task == "regression"
    label, value = said.top(1)[0]
    assert value == said.logits.max()
    assert label == said.labels[int(said.logits.argmax())]
    with pytest.raises(ValueError, match="values, not probabilities"):
        _ = said.probabilities
    explanation = xai.explain(model, image, "integrated_gradients", "weight", start="mean", steps=64)
    x = seen(model, image)
    change = model.outputs(x)[0, 1] - model.outputs(torch.zeros_like(x))[0, 1]
    assert explanation.values.sum() == pytest.approx(float(change), rel=0.02)


@pytest.mark.parametrize(
    ("task", "target", "sentence"),
    [
        ("regression", Target(0, "", "probability"), "no target of a regression"),
        ("regression", Target(0, "", "contrast", 1), "no target of a regression"),
        ("single label", Target(0, "", "contrast", 0), "cannot be contrasted with itself"),
        ("single label", Target(0, "", "contrast", 3), "Class 3 does not exist"),
        ("single label", "wait", r"No class is called 'wait'\. The classes are age, weight, height"),
    ],
)
def test_a_target_that_makes_no_sense_is_refused(task: str, target: object, sentence: str, image: Image) -> None:
    with pytest.raises(SettingError, match=sentence):
        xai.explain(tasked(task), image, "saliency", target)  # type: ignore[arg-type]


def test_an_unknown_task_is_refused_with_the_choices() -> None:
    with pytest.raises(SettingError, match="Choose one of single label, multi label, regression"):
        tasked("clustering")


def test_a_contrast_names_both_classes_and_survives_its_record(image: Image, tmp_path: Path) -> None:
    model = tasked("single label")
    explanation = xai.explain(model, image, "saliency", Target(0, "", "contrast", 2))
    assert str(explanation.target) == "age against height"
    [again] = xai.open_record(xai.save(explanation, tmp_path / "record")).explanations
    assert again.target == explanation.target


@pytest.mark.parametrize("task", ["multi label", "regression"])
def test_a_record_of_any_task_can_be_saved_drawn_and_reopened(task: str, image: Image, tmp_path: Path) -> None:
    from xai_core.records import Record

    model = tasked(task)
    said = xai.predict(model, image)
    explained = [xai.explain(model, image, name) for name in ("grad_cam", "saliency")]
    folder = xai.save(Record(tuple(explained), (said,)), tmp_path / "record")
    assert xai.verify(folder).ok
    again = xai.open_record(folder)
    assert again.prediction is not None
    assert again.prediction.task == task
    assert again.prediction.top(3) == said.top(3)


def test_of_many_classes_the_near_ones_are_named(image: Image) -> None:
    labels = tuple(f"class {word}" for word in ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine"))
    said = xai.predict(tasked("single label"), image)
    many = type(said)(labels, np.zeros(9, np.float32), said.model, said.image)
    with pytest.raises(SettingError, match="Did you mean 'class three'"):
        resolve_target("class threee", many)


def test_background_pictures_are_compared_with_and_recorded(cnn: Model, images: list[Image], tmp_path: Path) -> None:
    method = {"name": "expected_gradients", "background": "pictures", "samples": 8}
    one = xai.explain(cnn, images[0], method, background_images=images[1:])
    other = xai.explain(cnn, images[0], method, background_images=images[1:2])
    assert one.values.tobytes() != other.values.tobytes()
    assert one.background == tuple(image.sha256 for image in images[1:])
    assert xai.open_record(xai.save(one, tmp_path / "record")).explanations[0].background == one.background
    with pytest.raises(SettingError, match="none were given"):
        xai.explain(cnn, images[0], method)
    assert xai.explain(cnn, images[0], "saliency", background_images=images[1:]).background == ()
