"""Declarations become objects, and what is not on offer becomes a sentence."""

from __future__ import annotations

import dataclasses

import pytest

import xai_core as xai
from xai_core.errors import SettingError


def test_a_name_with_settings_becomes_the_object_and_back() -> None:
    method = xai.METHODS.build({"name": "lime", "samples": 100})
    assert method.samples == 100
    assert xai.METHODS.build(method.to_dict()) == method
    assert xai.METHODS.build(method) is method


def test_text_from_a_command_line_is_read_in_the_declared_type() -> None:
    assert xai.METHODS.build({"name": "lime", "samples": "100"}).samples == 100
    assert xai.METHODS.build({"name": "grad_cam", "positive_only": "false"}).positive_only is False
    assert xai.METHODS.build({"name": "occlusion", "window": "0.25"}).window == 0.25


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("grad_kam", "Did you mean 'grad_cam'?"),
        ({"name": "zzzzzz"}, "There are ablation_cam"),
        ({"name": "lime", "sample": 3}, "no setting 'sample'"),
        ({"name": "lime", "samples": 3}, "from 50 to 5000"),
        ({"name": "lime", "samples": "many"}, "from 50 to 5000"),
        ({"name": "lime", "samples": 100.5}, "from 50 to 5000"),
        ({"name": "lime", "segmentation": "mine"}, "one of slic, quickshift"),
        ({"name": "lime", "samples": 10**400}, "from 50 to 5000"),
        ({"name": "lime", "samples": float("inf")}, "from 50 to 5000"),
        ({"name": "occlusion", "window": float("nan")}, "from 0.02 to 0.5"),
        ({"name": "grad_cam", "positive_only": "perhaps"}, "not allowed"),
        ({}, "No method is called ''"),
    ],
)
def test_what_is_not_on_offer_is_refused_with_what_is(spec: object, words: str) -> None:
    with pytest.raises(SettingError, match=None) as refused:
        xai.METHODS.build(spec)  # type: ignore[arg-type]
    assert words in str(refused.value)


def test_a_method_cannot_be_changed_after_it_was_built() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        xai.METHODS.build("lime").samples = 5  # type: ignore[misc]


def test_a_file_registers_one_method() -> None:
    from xai_core.methods import METHODS, Method

    with pytest.raises(ValueError, match="keep one per file"):
        METHODS.register(type("Second", (Method,), {"__module__": "xai_core.methods.lime", "label": "x"}))
