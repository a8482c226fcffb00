"""Colours are arithmetic that can be done by hand, and figures hold whatever text comes in."""

from __future__ import annotations

import dataclasses
import io
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from xai_core import figures
from xai_core.canvas import clean, percent
from xai_core.errors import SettingError
from xai_core.records import Explanation, Passes, Prediction, Target
from xai_core.seal import check_png

DIGEST = "0123456789abcdef" * 4
MODEL = {"name": "demo-xray", "weights_sha256": DIGEST, "notice": "Synthetic demonstration model. Not for diagnosis."}
LABELS = ("no finding", "fracture", "nodule", "effusion", "mass", "hernia", "other")
RAMP = np.arange(256, dtype=np.float32).reshape(16, 16)
PIXELS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def explanation(values: np.ndarray = RAMP, **changes: Any) -> Explanation:
    fields: dict[str, Any] = {
        "values": values.astype(np.float32),
        "pixels": PIXELS,
        "method": {"name": "grad_cam", "layer": "auto"},
        "model": MODEL,
        "target": Target(1, "fracture"),
        "image": "ab" * 32,
        "seed": 3,
        "seconds": 0.25,
        "passes": Passes(1, 1),
        "grid": (7, 7),
        "notes": ("The layer was chosen automatically.",),
    }
    return Explanation(**{**fields, **changes})


def prediction(labels: tuple[str, ...] = LABELS) -> Prediction:
    return Prediction(labels, np.linspace(2, -4, len(labels), dtype=np.float32), MODEL, "ab" * 32)


def decoded(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


# scales -----------------------------------------------------------------------------------------------------------


def test_a_map_without_negatives_is_scaled_from_zero_also_when_its_minimum_is_above() -> None:
    assert figures.scale_of([RAMP + 100], clip=100) == figures.Scale(0, 355)


def test_a_map_with_negatives_is_scaled_symmetrically() -> None:
    assert figures.scale_of([RAMP - 55], clip=100) == figures.Scale(-200, 200)
    assert figures.scale_of([-RAMP], clip=100) == figures.Scale(-255, 255)


def test_negatives_that_are_rounding_do_not_make_a_scale_two_sided() -> None:
    noisy = RAMP.copy()
    noisy[0, 0] = -1e-5
    assert figures.scale_of([noisy], clip=100) == figures.Scale(0, 255)


def test_the_scale_ends_at_the_percentile_of_the_sizes() -> None:
    assert figures.scale_of([RAMP], clip=80) == figures.Scale(0, 204)
    assert figures.scale_of([-RAMP], clip=80) == figures.Scale(-204, 204)


def test_noise_beside_a_few_sharp_points_does_not_glow() -> None:
    values = np.full((100, 100), 1e-9, dtype=np.float32)
    values[0, :3] = (1, 2, 3)
    scale = figures.scale_of([values])
    assert scale is not None
    assert scale.spread(values)[5, 5] < 1e-6


def test_one_scale_gives_equal_values_equal_colours_in_two_maps() -> None:
    weak = RAMP / 4
    scale = figures.scale_of([RAMP, weak], clip=100)
    assert scale == figures.Scale(0, 255)
    strong_picture, weak_picture = (figures.heatmap(v, scale, "viridis") for v in (RAMP, weak))
    assert np.array_equal(strong_picture[2, 0], weak_picture[8, 0])  # both are 32
    assert not np.array_equal(strong_picture[8, 0], weak_picture[8, 0])


def test_flat_maps_have_no_scale_and_do_not_change_that_of_others() -> None:
    flat = np.full((16, 16), 9e9, dtype=np.float32)
    assert figures.scale_of([flat]) is None
    assert figures.scale_of([flat, RAMP], clip=100) == figures.Scale(0, 255)


@pytest.mark.parametrize("clip", [0, 49, 101, float("nan")])
def test_a_percentile_out_of_reach_is_refused(clip: float) -> None:
    with pytest.raises(SettingError):
        figures.scale_of([RAMP], clip=clip)


# colours ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["inferno", "viridis", "magma", "cividis", "turbo"])
def test_a_ramp_of_256_values_is_the_palette_itself(name: str) -> None:
    drawn = figures.heatmap(RAMP, figures.Scale(0, 255), name)
    assert drawn.dtype == np.uint8
    assert np.array_equal(drawn.reshape(256, 3), figures.palette(name))


@pytest.mark.parametrize("name", ["coolwarm", "RdBu_r", "PuOr_r"])
def test_two_signs_use_the_whole_of_a_two_coloured_palette_and_one_sign_its_upper_half(name: str) -> None:
    both = figures.heatmap(RAMP - 127.5, figures.Scale(-127.5, 127.5), name).reshape(256, 3)
    assert np.array_equal(both, figures.palette(name))
    one = figures.heatmap(RAMP, figures.Scale(0, 255), name).reshape(256, 3)
    assert np.array_equal(one[0], figures.palette(name)[128])  # zero is neutral, not "against"
    assert np.array_equal(one[-1], figures.palette(name)[255])


def test_red_speaks_for_and_blue_against() -> None:
    against, for_ = figures.palette("coolwarm")[[0, 255]].astype(int)
    assert for_[0] > for_[2]
    assert against[2] > against[0]


def test_values_beyond_the_scale_take_its_ends() -> None:
    drawn = figures.heatmap(RAMP - 100, figures.Scale(0, 50), "inferno").reshape(256, 3)
    assert (drawn[:100] == figures.palette("inferno")[0]).all()
    assert (drawn[150:] == figures.palette("inferno")[255]).all()


def test_the_overlay_is_the_alpha_blend_that_everybody_knows() -> None:
    values = np.array([[0, 255]], dtype=np.float32)
    pixels = np.array([[[10, 20, 30], [200, 100, 0]]], dtype=np.uint8)
    colours = figures.palette("viridis")[[0, 255]].astype(float)
    by_hand = np.rint(0.75 * pixels[0] + 0.25 * colours).astype(np.uint8)
    mixed = figures.overlay(pixels, values, figures.Scale(0, 255), "viridis", 0.25)
    assert np.array_equal(mixed[0], by_hand)
    assert np.array_equal(figures.overlay(pixels, values, figures.Scale(0, 255), "viridis", 0.0), pixels)


@pytest.mark.parametrize("opacity", [-0.1, 1.1, float("nan")])
def test_an_opacity_out_of_reach_is_refused(opacity: float) -> None:
    with pytest.raises(SettingError):
        figures.overlay(PIXELS, RAMP, figures.Scale(0, 255), "viridis", opacity)


def test_an_unknown_colour_map_is_refused_with_the_names_on_offer() -> None:
    for values in (RAMP, np.zeros((4, 4), np.float32)):
        with pytest.raises(SettingError, match="viridis"):
            figures.heatmap(values, figures.Scale(0, 1), "jet")


@pytest.mark.parametrize("level", [0.0, 0.3, -5.0])
def test_noise_of_a_flat_map_is_one_single_colour_whatever_the_scale(level: float) -> None:
    noise = np.random.default_rng(0).normal(0, 1e-9, (16, 16)).astype(np.float32)
    flat = (level + noise).astype(np.float32)
    for scale in (None, figures.Scale(0, 1e-9), figures.Scale(-9, 9)):
        assert len(np.unique(figures.heatmap(flat, scale, "inferno"))) == 1


def test_the_default_palette_follows_the_signs() -> None:
    assert figures.default_colour_map(RAMP) == "inferno"
    assert figures.default_colour_map(RAMP - 99) == "coolwarm"
    assert figures.default_colour_map(np.zeros((4, 4), np.float32)) == "inferno"


# figures ----------------------------------------------------------------------------------------------------------


def texts(figure: Any) -> str:
    from matplotlib.text import Text

    return "\n".join(text.get_text() for text in figure.findobj(Text))


def test_a_figure_says_what_was_done_with_which_model() -> None:
    said = texts(figures.panels(explanation(), prediction()))
    for part in ("fracture", "grad_cam", "layer=auto", "demo-xray", DIGEST[:12], "seed 3", "1 forward, 1 backward"):
        assert part in said
    for part in ("Not for diagnosis", "7 × 7", "chosen automatically", "the closer to pale yellow", "speaks for"):
        assert part in said
    assert DIGEST not in said


def test_a_signed_figure_says_which_colour_speaks_for_the_target() -> None:
    said = texts(figures.panels(explanation(RAMP - 128), prediction()))
    assert "red speaks for fracture, blue speaks against it" in said
    assert "speaks against" in said


def test_a_map_that_is_no_evidence_for_a_class_is_not_said_to_speak_for_one() -> None:
    said = texts(figures.panels(explanation(evidence=False), prediction()))
    assert "they do not speak for or against a class" in said
    assert "more  →" in said
    assert "speaks for" not in said


def test_a_flat_figure_says_so_and_has_no_colour_bar() -> None:
    flat = figures.panels(explanation(np.full((16, 16), 0.3)), prediction())
    assert "Flat map" in texts(flat)
    assert "\nflat" in texts(flat)
    assert len(flat.axes) == len(figures.panels(explanation(), prediction()).axes) - 1


def test_the_explained_class_is_shown_also_when_it_is_unlikely() -> None:
    said = texts(figures.panels(explanation(target=Target(6, "other")), prediction()))
    assert "other  (rank 7)" in said


def test_a_figure_without_a_prediction_says_so() -> None:
    assert "No prediction was recorded" in texts(figures.panels(explanation()))


@pytest.mark.parametrize("shape", [(16, 16), (8, 32), (32, 8), (1, 1)])
def test_figures_of_any_proportion_are_drawn(shape: tuple[int, int]) -> None:
    values = np.linspace(0, 1, shape[0] * shape[1], dtype=np.float32).reshape(shape)
    e = explanation(values, pixels=np.zeros((*shape, 3), np.uint8))
    content = figures.png(figures.panels(e, prediction()))
    assert struct.unpack(">I", content[16:20]) == (1800,)


@pytest.mark.parametrize(
    "text",
    [
        "$",
        "$x_1$",
        r"$\oops{$",
        r"\frac{1}{2}",
        "a_b^c",
        "<b>&amp;",
        "線\n\x07\u202e",
        "",
        "\ud800",
        "x" * 5000,
        "  \t",
    ],
)
def test_text_from_outside_is_drawn_as_text(text: str) -> None:
    model = {**MODEL, "name": text, "notice": text}
    e = explanation(
        model=model, method={"name": text, "s": text}, target=Target(0, text), notes=(text,), image=text, gap=0.01
    )
    p = Prediction((text, "other"), np.array([1, 0], np.float32), model, text)
    figures.png(figures.panels(e, p, title=text), dpi=50)
    figures.png(figures.sheet([e, e], p, title=text), dpi=50)


@settings(max_examples=200, deadline=None)
@given(st.text(), st.integers(1, 40))
@example("\uf400", 1)  # private, yet the font has a shape for it
def test_cleaned_text_is_one_short_line(text: str, longest: int) -> None:
    kept = clean(text, longest)
    assert len(kept) <= longest
    assert kept.isprintable()


def test_a_probability_never_rounds_to_a_certainty() -> None:
    said = [percent(p) for p in (0, 1e-9, 0.5, 0.99999, 1)]
    assert said == ["0.0 %", "< 0.1 %", "50.0 %", "> 99.9 %", "100.0 %"]


def test_the_sheet_has_a_row_for_every_method_and_names_it() -> None:
    many = [explanation(RAMP * k, method={"name": f"method_{k}"}) for k in (0, 1, 2)]
    sheet = figures.sheet(many, prediction())
    assert all(f"method_{k}" in texts(sheet) for k in (0, 1, 2))
    assert len(sheet.axes) == 3 * 3 + 2  # the flat one has no colour bar


def test_more_maps_than_a_column_takes_make_a_grid_that_names_each_with_its_gap_and_its_range() -> None:
    method = {"name": "integrated_gradients"}
    many = [explanation(RAMP - 55, method={"name": f"method_{k}", "layer": "layer4"}) for k in range(figures.MANY - 1)]
    many += [explanation(0 * RAMP), explanation(RAMP, method=method, gap=0.5812, valid=False)]
    sheet = figures.sheet(many, prediction(), clip=100)
    shown = texts(sheet)
    assert all(f"method_{k}" in shown for k in range(figures.MANY - 1))
    for words in ("not valid: gap 58.1 %", "at layer4", "\N{MINUS SIGN}200", "200", "255", "flat"):
        assert words in shown, words
    width, height = sheet.get_size_inches()
    assert height < width, "one row per map"
    assert len(sheet.axes) == 1 + 3 * len(many) - 1  # the flat one has no bar
    assert "all maps are on one scale" in texts(figures.sheet(many, shared_scale=True))


def test_the_sheet_can_put_all_maps_on_one_scale() -> None:
    many = [explanation(RAMP), explanation(RAMP / 4)]
    own, shared = (figures.sheet(many, clip=100, shared_scale=choice) for choice in (False, True))
    assert not np.array_equal(own.axes[5].images[0].get_array(), shared.axes[5].images[0].get_array())
    assert np.array_equal(own.axes[1].images[0].get_array(), shared.axes[1].images[0].get_array())


# bytes ------------------------------------------------------------------------------------------------------------


def test_a_picture_is_kept_without_loss() -> None:
    assert np.array_equal(decoded(figures.png(PIXELS)), PIXELS)


def test_the_same_input_gives_the_same_bytes_without_time_or_software() -> None:
    first, second = (figures.png(figures.panels(explanation(), prediction())) for _ in range(2))
    assert first == second
    assert figures.png(PIXELS) == figures.png(PIXELS)
    assert check_png(first)[1] == 1800
    for word in (b"tEXt", b"iTXt", b"tIME", b"eXIf", b"oftware"):
        assert word not in first


def test_threads_draw_what_one_thread_draws() -> None:
    cases = [explanation(RAMP * k - 40) for k in range(1, 5)]
    alone = [figures.png(figures.panels(e, prediction()), dpi=60) for e in cases]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda e: figures.png(figures.panels(e, prediction()), dpi=60), cases))
    assert together == alone


def test_a_data_address_carries_the_bytes() -> None:
    assert figures.data_uri(b"\x00\xff", "image/png") == "data:image/png;base64,AP8="


def test_drawing_changes_nothing_in_the_record() -> None:
    e = explanation()
    before = e.values.tobytes(), e.pixels.tobytes()
    figures.panels(dataclasses.replace(e), prediction())
    assert (e.values.tobytes(), e.pixels.tobytes()) == before
