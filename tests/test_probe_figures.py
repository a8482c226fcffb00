"""Figures of findings: what is drawn is what the tables say, what is undefined leaves a gap, and text stays text."""

from __future__ import annotations

import dataclasses
import html
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pages.shared import probe_plots
from tests.findings_made import (
    GROUPS,
    HOSTILE,
    VERDICTS,
    background_finding,
    dose_finding,
    frame,
    group_finding,
    shortcut_finding,
    trend_finding,
)
from xai_core import probe_figures
from xai_core.colours import overlay, scale_of
from xai_core.figures import png
from xai_core.finding_panels import panels
from xai_core.group_panels import MOST_ROWS
from xai_core.group_statistics import adjusted, rate_differences
from xai_core.probe_panels import (
    ANY,
    HOLLOW_SAYS,
    PALE_SAYS,
    SIGNS,
    UNCORRECTED_SAYS,
    Forest,
    Lines,
    Matrix,
    Row,
    footnotes,
    in_words,
    p_said,
    p_words,
    span_of,
)
from xai_core.records import Finding, Table

WIDE = "漢" * 9 + "W" * 60  # one that the font lacks, and its widest
MADE: dict[str, Callable[[], Finding]] = {
    "dose": dose_finding,
    "one picture": lambda: dose_finding(1),
    "downwards": lambda: dose_finding(strongest=-0.4),
    "without maps": lambda: dose_finding(methods=()),
    "groups": group_finding,
    "trends": trend_finding,
    "shortcut": shortcut_finding,
    "background": background_finding,
}
every = pytest.mark.parametrize("make", MADE.values(), ids=MADE)


def drawn_texts(figure: Any) -> list[Any]:
    found = list(figure.texts)
    for axes in figure.axes:
        found += axes.texts
        for axis, (low, high) in ((axes.xaxis, sorted(axes.get_xlim())), (axes.yaxis, sorted(axes.get_ylim()))):
            found += [tick.label1 for tick in axis.get_major_ticks() if axes.axison and low <= tick.get_loc() <= high]
    return [text for text in found if text.get_text() and text.get_visible()]


def said(figure: Any) -> str:
    return " ".join(text.get_text() for text in drawn_texts(figure))


def dots(axes: Any) -> list[tuple[float, str]]:
    """The points of a forest from the top down, with their colour."""
    found = [line for line in axes.lines if line.get_marker() == "o"]
    found.sort(key=lambda line: line.get_ydata()[0])
    return [(float(line.get_xdata()[0]), line.get_color()) for line in found]


def spans(axes: Any) -> list[tuple[float, float]]:
    """The intervals of a forest from the top down."""
    found = [line for line in axes.lines if len(line.get_xdata()) == 2 and len(set(line.get_ydata())) == 1]
    found.sort(key=lambda line: line.get_ydata()[0])
    return [tuple(map(float, line.get_xdata())) for line in found]


def column(table: Table, name: str, **where: Any) -> list[Any]:
    return [line[name] for line in table.lines() if all(line[key] == value for key, value in where.items())]


def with_table(finding: Finding, name: str, lines: list[dict[str, Any]]) -> Finding:
    table = finding.tables[name]
    return dataclasses.replace(
        finding, tables={**finding.tables, name: Table.of(table.title, table.words, lines)}, manifest={}
    )


# ---- a dose ----------------------------------------------------------------------------------------------------------


def test_the_lines_over_a_dose_are_the_columns_of_the_table_and_bands_their_intervals() -> None:
    finding = dose_finding()
    table = finding.tables["doses"]
    probability, flips, maps = probe_figures.charts(finding)["chart"].axes
    for axes, name in ((probability, "probability"), (flips, "flip_rate")):
        [line] = [one for one in axes.lines if one.get_marker() == "o"]
        assert line.get_xdata().tolist() == column(table, "dose", method="grad_cam")
        assert line.get_ydata().tolist() == column(table, name, method="grad_cam")
        [band] = axes.collections
        edge = {tuple(point) for point in band.get_paths()[0].vertices.round(9)}
        for end in ("low", "high"):
            ends = column(table, f"{name}_{end}", method="grad_cam")
            drawn_ends = set(zip(np.round(line.get_xdata(), 9), np.round(ends, 9), strict=True))
            assert drawn_ends - edge == ({(0.0, ends[0])} if name == "flip_rate" else set())
    drawn = [one.get_ydata() for one in maps.lines if one.get_marker() == "o"]
    for values, method in zip(drawn, ("grad_cam", "integrated_gradients"), strict=True):
        expected = column(table, "rank_correlation", method=method)
        assert expected[-1] is None
        assert np.isnan(values[-1])  # a gap, and not zero
        assert values[:-1].tolist() == expected[:-1]


def test_a_gap_in_the_middle_of_a_line_is_not_bridged() -> None:
    lines = dose_finding(methods=("grad_cam",)).tables["doses"].lines()
    for name in ("rank_correlation", "rank_correlation_low", "rank_correlation_high"):
        lines[3][name] = None
    finding = with_table(dose_finding(methods=("grad_cam",)), "doses", lines)
    [line] = [one for one in probe_figures.charts(finding)["chart"].axes[2].lines if one.get_marker() == "o"]
    assert np.isnan(line.get_ydata()).tolist() == [False, False, False, True, False, False, True]
    figure = probe_plots.chart(finding)[2].figure
    [points] = [one for one in figure.data if one.mode == "lines+markers"]
    assert [y is None for y in points.y] == [False, False, False, True, False, False, True]
    assert points.connectgaps is None
    bands = [one for one in figure.data if one.fill == "toself"]
    assert [len(one.x) for one in bands] == [6, 4]  # to and fro over three doses, and over two


def test_the_dose_by_which_half_have_flipped_is_marked_with_its_interval() -> None:
    figure = probe_figures.charts(dose_finding())["chart"]
    for axes in figure.axes:
        [bracket] = axes.patches
        assert (bracket.get_x(), bracket.get_x() + bracket.get_width()) == pytest.approx((0.24, 0.32))
        assert [one.get_xdata()[0] for one in axes.lines if one.get_marker() != "o"] == pytest.approx([0.28])
    assert "Half of the decisions have flipped by 0.28; shaded: its 95 % interval." in said(figure)


def test_an_interval_that_ends_above_the_strongest_dose_is_shaded_to_the_edge() -> None:
    finding = dose_finding()
    finding = with_table(finding, "half", [{**finding.tables["half"].lines()[0], "dose_high": None}])
    [bracket] = probe_figures.charts(finding)["chart"].axes[0].patches
    assert bracket.get_x() + bracket.get_width() == pytest.approx(0.4)


def test_where_fewer_than_half_flip_no_dose_is_marked() -> None:
    finding = dose_finding()
    finding = with_table(finding, "half", [{"dose": None, "dose_low": 0.3, "dose_high": None, "never": 9, "n": 12}])
    figure = probe_figures.charts(finding)["chart"]
    assert not any(axes.patches for axes in figure.axes)
    assert "Half" not in said(figure)


def test_one_picture_has_a_line_without_a_band_and_is_said_to_flip_to_a_class() -> None:
    finding = dose_finding(1)
    figure = probe_figures.charts(finding)["chart"]
    assert len(figure.axes) == 2  # a share of one picture says nothing
    assert not any(axes.collections for axes in figure.axes)
    [bracket] = figure.axes[0].patches
    assert (bracket.get_x(), bracket.get_x() + bracket.get_width()) == pytest.approx((0.228, 0.248))
    assert "flips to no finding between 0.228 and 0.248" in said(figure)
    assert "flips to no finding" in probe_plots.chart(finding)[0].words


def test_at_no_dose_the_share_that_flips_has_no_interval() -> None:
    flips = panels(dose_finding())[1]
    assert isinstance(flips, Lines)
    assert [dot.low is None for dot in flips.lines[0].dots] == [True, *[False] * 6]
    assert flips.lines[0].dots[0].y == 0
    probability = panels(dose_finding())[0]
    assert isinstance(probability, Lines)
    assert probability.lines[0].dots[0].low is not None


def test_a_curve_that_hides_another_says_so() -> None:
    lines = dose_finding().tables["doses"].lines()
    for one, other in itertools.pairwise(lines):
        if other["method"] == "integrated_gradients":
            other |= {name: value for name, value in one.items() if name.startswith("rank_correlation")}
    same = with_table(dose_finding(), "doses", lines)
    assert "Integrated gradients: the same curve as Grad-CAM" in said(probe_figures.charts(same)["chart"])
    lines[3]["rank_correlation"] += 0.01
    other = with_table(dose_finding(), "doses", lines)
    assert "same curve" not in said(probe_figures.charts(other)["chart"])


def test_a_curve_with_a_gap_hides_no_other() -> None:
    lines = dose_finding().tables["doses"].lines()
    for one, other in itertools.pairwise(lines):
        if other["method"] == "integrated_gradients":
            other |= {name: value for name, value in one.items() if name.startswith("rank_correlation")}
    lines[2]["rank_correlation"], lines[3]["rank_correlation"] = None, 0.0
    assert "same curve" not in said(probe_figures.charts(with_table(dose_finding(), "doses", lines))["chart"])


@every
def test_below_all_words_there_is_a_margin(make: Callable[[], Finding]) -> None:
    for figure in probe_figures.charts(make()).values():
        figure.draw_without_rendering()
        lowest = min(text.get_window_extent().y0 for text in drawn_texts(figure))
        assert lowest / figure.dpi > 0.12


def test_doses_below_zero_rise_to_the_right_as_they_grow_stronger() -> None:
    figure = probe_figures.charts(dose_finding(strongest=-0.4))["chart"]
    assert figure.axes[0].get_xlim() == pytest.approx((0, -0.4))
    low, high = probe_plots.chart(dose_finding(strongest=-0.4))[0].figure.layout.xaxis.range
    assert low > 0 > high


def test_values_that_are_no_probabilities_are_not_forced_between_zero_and_one() -> None:
    lines = [
        {**line, **{f"probability{end}": 40.0 + line["dose"] for end in ("", "_low", "_high")}}
        for line in dose_finding().tables["doses"].lines()
    ]
    finding = with_table(dose_finding(), "doses", lines)
    low, high = probe_figures.charts(finding)["chart"].axes[0].get_ylim()
    assert low > 30 > 1
    assert high < 50
    assert probe_plots.chart(finding)[0].figure.layout.yaxis.range is None


def test_two_methods_of_one_name_are_told_apart() -> None:
    methods = ({"name": "grad_cam", "layer": "a"}, {"name": "grad_cam", "layer": "b"})
    finding = dose_finding(methods=("grad_cam (layer=a)", "grad_cam (layer=b)"))
    lines = panels(dataclasses.replace(finding, methods=methods))[2]
    assert isinstance(lines, Lines)
    assert [line.name for line in lines.lines] == ["Grad-CAM (layer=a)", "Grad-CAM (layer=b)"]


# ---- groups ----------------------------------------------------------------------------------------------------------


def test_a_forest_shows_every_difference_with_its_interval_and_undefined_ones_nowhere() -> None:
    finding = group_finding()
    figure = probe_figures.charts(finding)["chart"]
    rates, *shifts = figure.axes
    table = finding.tables["differences"]
    assert [x for x, _ in dots(rates)] == [one for one in column(table, "difference") if one is not None]
    assert spans(rates) == [
        ends for ends in zip(column(table, "difference_low"), column(table, "difference_high"), strict=True) if ends[0]
    ]
    for axes, method in zip(shifts, ("grad_cam", "integrated_gradients"), strict=True):
        expected = [one for one in column(finding.tables["shifts"], "difference", method=method) if one is not None]
        assert [x for x, _ in dots(axes)] == expected
    assert rates.get_lines()[0].get_xdata() == [0, 0]  # the line of no difference


def test_the_difference_that_could_have_been_found_is_a_pale_band_around_zero() -> None:
    axes = probe_figures.charts(group_finding())["chart"].axes[0]
    assert [(one.get_x(), one.get_width()) for one in axes.patches] == [(-16, 32), (-16, 32)]
    low, high = axes.get_xlim()
    assert low < -16
    assert high > 25  # the upper end of the largest difference


def test_rates_that_are_the_same_for_all_pictures_have_no_band_of_what_a_test_would_have_found() -> None:
    """No error in either group: there is an interval, and a size that could be found in such sets, but no test."""
    errors, in_group = np.zeros((40, 1)), np.arange(40) < 12
    [one] = adjusted(rate_differences(errors, in_group, 3))
    assert one.p is None
    assert one.detectable is not None
    lines = group_finding().tables["differences"].lines()
    lines[1] |= {"difference": 0.0, "difference_low": 100 * (one.low or 0), "difference_high": 100 * (one.high or 0)}
    lines[1] |= {"p": one.p, "p_adjusted": one.p_adjusted, "detectable": 100 * one.detectable, "note": one.note}
    finding = with_table(group_finding(), "differences", lines)
    axes = probe_figures.charts(finding)["chart"].axes[0]
    assert [(patch.get_x(), patch.get_width()) for patch in axes.patches] == [(-16, 32)]  # of the other group alone
    assert axes.get_xlim()[1] < 46  # 100 * detectable
    assert spans(axes)[1] == (lines[1]["difference_low"], lines[1]["difference_high"])
    assert sum(shape.type == "rect" for shape in probe_plots.chart(finding)[0].figure.layout.shapes) == 1
    alone = with_table(finding, "differences", lines[1:])
    assert PALE_SAYS not in footnotes([one for one in panels(alone) if isinstance(one, Forest)][:1])


def test_p_values_are_said_in_words_with_the_number_of_tests() -> None:
    words = said(probe_figures.charts(group_finding())["chart"])
    assert "p = 0.003 of 2 tests" in words
    assert "p = 0.0024 of 12 tests" in words
    assert "no difference found; could have found 16 points" in words
    assert "Differences in rates, against female (n = 60)" in words
    assert "male · error rate" in words


def difference(value: float | None, reach: float, p: float | None, **rest: Any) -> dict[str, Any]:
    ends = (None, None) if value is None else (value - reach, value + reach)
    named = {"difference": value, "difference_low": ends[0], "difference_high": ends[1]}
    return {**named, "p": p, "p_adjusted": p, "detectable": 24.0, **rest}


@pytest.mark.parametrize(
    ("line", "tests", "words"),
    [
        (difference(9, 20, 0.03), 5, "p = 0.03 of 5 tests"),
        (difference(9, 20, 0.03), 1, "p = 0.03"),
        (difference(9, 20, 0.8), 5, "no difference found; could have found 24 points"),
        (
            difference(-9, 8, 0.075),
            5,
            "not told from chance after correction: p = 0.075 of 5 tests; could have found 24 points",
        ),
        (difference(9, 8, 0.075), 1, "not told from chance: p = 0.075; could have found 24 points"),
        (
            difference(30, 31, 0.12),
            2,
            "not told from chance after correction: p = 0.12 of 2 tests; could have found 24 points",
        ),
        (
            difference(9, 8, 1.0, detectable=240.4),
            8,
            "not told from chance after correction: p = 1; could have found 240 points",
        ),
        (difference(9, 20, 0.8, detectable=None), 5, "no difference could have been found with so few"),
        (
            difference(9, 8, 0.8, detectable=None),
            5,
            "not told from chance after correction: p = 0.8 of 5 tests; no difference could have been found "
            "with so few",
        ),
        (difference(9, 8, None), 5, "not tested"),
        (difference(9, 8, None, note="not tested: fewer than 10"), 5, "not tested: fewer than 10"),
        (difference(0, 8, None, note="nothing can differ"), 5, "not tested: nothing can differ"),
        (difference(None, 0, None, note="no picture"), 5, "no picture"),
        (difference(None, 0, None), 5, "undefined"),
        (difference(9, 20, 0.03, note="no ratio: the reference has 0"), 5, "p = 0.03 of 5 tests"),
        (
            {**difference(9, 0, 0.03, note="neither varies"), "difference_low": None, "difference_high": None},
            5,
            "p = 0.03 of 5 tests; neither varies",
        ),
    ],
)
def test_an_interval_without_zero_is_never_beside_no_difference_found(
    line: dict[str, Any], tests: int, words: str
) -> None:
    assert p_said(line, "difference", tests) == words


@pytest.mark.parametrize(
    ("p", "words"),
    [
        (1.0, "p = 1"),
        (0.62, "p = 0.62"),
        (0.054, "p = 0.054"),
        (0.0502, "p = 0.0502"),
        (0.05004, "p = 0.05004"),
        (0.0496, "p = 0.05"),
        (0.05, "p = 0.05"),
        (0.0024, "p = 0.0024"),
        (0.00001, "p < 0.0001"),
    ],
)
def test_a_p_value_is_never_rounded_to_the_other_side_of_the_level(p: float, words: str) -> None:
    assert p_words(p) == words


def test_all_rates_are_rows_of_one_forest_and_all_shifts_share_one_axis() -> None:
    finding = group_finding()
    lines = finding.tables["differences"].lines()
    more = [{**line, "rate": "true_positive_rate"} for line in lines]
    shifts = finding.tables["shifts"].lines()
    for line in shifts:
        if line["method"] == "grad_cam" and line["difference"] is not None:
            line |= {"difference": 40.0, "difference_low": 30.0, "difference_high": 50.0}
    finding = with_table(with_table(finding, "differences", [*lines, *more]), "shifts", shifts)
    rates, wide, narrow = (one for one in panels(finding) if isinstance(one, Forest) and one.zero is not None)
    assert (rates.rows[0].name, rates.rows[3].name) == ("male · error rate", "male · true-positive rate")
    assert span_of(wide) == span_of(narrow)
    assert span_of(narrow)[1] > 50
    assert span_of(rates)[1] < 40
    _, *drawn = probe_figures.charts(finding)["chart"].axes
    assert drawn[0].get_xlim() == drawn[1].get_xlim()
    assert probe_plots.chart(finding)[2].figure.layout.xaxis.range[1] > 50


def test_what_holds_for_all_forests_is_said_once() -> None:
    texts = [text.get_text() for text in probe_figures.charts(group_finding())["chart"].texts]
    assert texts.count(PALE_SAYS) == texts.count(HOLLOW_SAYS) == texts.count(UNCORRECTED_SAYS) == 1
    one_test = with_table(group_finding(), "differences", group_finding().tables["differences"].lines()[:1])
    one_test = dataclasses.replace(one_test, tables={name: one_test.tables[name] for name in ("rates", "differences")})
    words = said(probe_figures.charts(one_test)["chart"])
    assert PALE_SAYS in words
    assert UNCORRECTED_SAYS not in words
    assert HOLLOW_SAYS not in words


def test_the_page_says_below_a_forest_what_the_figure_says() -> None:
    first = probe_plots.chart(group_finding())[0]
    below = first.figure.layout.annotations[-1]
    assert below.text.replace("<br>", " ") == f"{PALE_SAYS} {HOLLOW_SAYS} {UNCORRECTED_SAYS}"
    assert first.words.endswith(UNCORRECTED_SAYS)
    assert first.figure.layout.margin.b >= -below.yshift + probe_plots.STEP * below.text.count("<br>")


def test_a_row_that_was_not_tested_is_grey_and_hollow_and_says_why() -> None:
    lines = group_finding().tables["differences"].lines()
    lines[-1] |= {"difference": 30.0, "difference_low": 1.0, "difference_high": 60.0}
    finding = with_table(group_finding(), "differences", lines)
    axes = probe_figures.charts(finding)["chart"].axes[0]
    assert [colour for _, colour in dots(axes)] == ["#0b62a8", "#0b62a8", "#59636e"]
    faces = [line.get_markerfacecolor() for line in axes.lines if line.get_marker() == "o"]
    assert faces == ["#0b62a8", "#0b62a8", "white"]
    assert "not tested: fewer than 10 pictures to compare" in " ".join(said(axes.figure).split())
    [points] = [one for one in probe_plots.chart(finding)[0].figure.data if one.mode == "markers" and one.text]
    assert list(points.marker.symbol) == ["circle", "circle", "circle-open"]


def test_rates_of_groups_are_a_figure_of_their_own() -> None:
    finding = group_finding()
    figure = probe_figures.charts(finding)["rates"]
    table = finding.tables["rates"]
    for axes, rate in zip(figure.axes, ("error_rate", "true_positive_rate", "false_positive_rate"), strict=True):
        assert [x for x, _ in dots(axes)] == [one for one in column(table, rate) if one is not None]
        assert len(dots(axes)) == 3
    assert "undefined, n = 4" in said(figure)


def test_of_very_many_rows_those_with_the_smallest_p_are_drawn_and_that_is_said() -> None:
    groups = [("reference", 60, 0.1), *((f"group {i}", 40, 0.1 + i / 500) for i in range(30))]
    finding = group_finding(groups)
    rates, *shifts = (one for one in panels(finding) if isinstance(one, Forest) and one.zero is not None)
    assert [len(one.rows) for one in (rates, *shifts)] == [13, 13, 14]
    words = said(probe_figures.charts(finding)["chart"])
    assert "Drawn: the 13 rows with the smallest p. 17 more are in the table." in words
    assert "Drawn: the 14 rows with the smallest p. 76 more are in the table." in words
    assert "76 more are" in probe_plots.chart(finding)[2].figure.layout.annotations[-1].text
    lines = finding.tables["shifts"].lines()
    lines[-2] |= {"p": 0.0, "p_adjusted": 0.0}
    first = next(one for one in panels(with_table(finding, "shifts", lines)) if "Grad-CAM" in one.title)
    assert isinstance(first, Forest)
    assert first.rows[-1].name == "group 29 · border"  # the one that differs most is not left out
    few = group_finding([*groups[:2], ("other", 40, 0.2)], methods=("grad_cam",))
    assert "Drawn" not in said(probe_figures.charts(few)["chart"])


def test_of_very_many_groups_the_first_are_drawn_in_the_figure_of_rates() -> None:
    finding = group_finding([(f"group {i}", 40, 0.1) for i in range(30)])
    rates = [one for one in panels(finding) if isinstance(one, Forest) and one.zero is None]
    assert sum(len(one.rows) for one in rates) == MOST_ROWS
    assert "Drawn: the first 13 groups. 17 more are in the table." in said(probe_figures.charts(finding)["rates"])


def test_a_small_forest_leaves_its_room_to_larger_ones() -> None:
    groups = [("reference", 60, 0.1), *((f"group {i}", 40, 0.1) for i in range(12))]
    rates, shifts = (one for one in panels(group_finding(groups, methods=("grad_cam",))) if "against" in one.title)
    assert isinstance(rates, Forest)
    assert isinstance(shifts, Forest)
    assert (len(rates.rows), len(shifts.rows)) == (12, 28)


def test_trends_are_drawn_as_correlations_and_as_means_of_buckets() -> None:
    finding = trend_finding()
    drawn = probe_figures.charts(finding)
    [axes] = drawn["chart"].axes
    table = finding.tables["trends"]
    assert [x for x, _ in dots(axes)] == column(table, "correlation")
    assert spans(axes) == list(zip(column(table, "correlation_low"), column(table, "correlation_high"), strict=True))
    assert "Grad-CAM · eyes" in said(axes.figure)
    rates, first, second = drawn["rates"].axes
    [error, *_] = [one for one in rates.lines if one.get_marker() == "o"]
    assert error.get_ydata().tolist() == column(finding.tables["rates"], "error_rate")
    for panel, method in ((first, "grad_cam"), (second, "integrated_gradients")):
        lines = [one.get_ydata().tolist() for one in panel.lines if one.get_marker() == "o"]
        regions = finding.tables["regions"]
        assert lines == [
            column(regions, "share", method=method, region=one) for one in dict.fromkeys(column(regions, "region"))
        ]
        assert len(panel.collections) == 3
    assert [tick.get_text() for tick in rates.get_xticklabels()] == column(finding.tables["rates"], "group")
    words = " ".join(said(drawn["rates"]).split())
    assert "Error rate: rank correlation −0.3; p = 0.006" in words
    assert "p = 0.006 of" not in words.split("Error rate")[1].split("True")[0]  # predictions are one test
    assert "border: rank correlation −0.24; p = 0.006 of 6 tests" in words
    assert "eyes: rank correlation 0.02; no trend found; could have found 0.21" in words


def test_the_page_names_the_buckets_and_the_trend() -> None:
    chart = probe_plots.chart(trend_finding())[1]
    assert list(chart.figure.layout.xaxis.ticktext) == ["0 to 25", "25 to 50", "50 to 75", "75 to 100"]
    names = [one.name.replace("<br>", " ") for one in chart.figure.data if one.name]
    assert names[0] == "Error rate: rank correlation −0.3; p = 0.006"
    assert "at 75 to 100" in chart.words


def test_a_trend_of_too_few_is_not_tested_and_says_so() -> None:
    lines = trend_finding().tables["trends"].lines()
    nothing = dict.fromkeys(("correlation", "correlation_low", "correlation_high", "p", "p_adjusted", "detectable"))
    lines[0] |= {**nothing, "note": "too few pictures"}
    finding = with_table(trend_finding(), "trends", lines)
    forest = panels(finding)[0]
    assert isinstance(forest, Forest)
    assert forest.rows[0] == Row("Error rate", None, words="too few pictures", n=270, faded=True)
    assert "Error rate: too few pictures" in said(probe_figures.charts(finding)["rates"])


# ---- shortcuts and background ---------------------------------------------------------------------------------------


def test_the_shortcut_figure_shows_changes_the_threshold_and_every_verdict_by_its_sign() -> None:
    finding = shortcut_finding()
    changes, matrix, _ = probe_figures.charts(finding)["chart"].axes
    table = finding.tables["artefacts"]
    assert [x for x, _ in dots(changes)] == [one for one in column(table, "change") if one is not None]
    thresholds = [line for line in changes.lines if set(line.get_xdata()) == {5.0}]
    assert len(thresholds) == len(table.rows)
    signs = [text.get_text() for text in matrix.texts]
    assert signs == [SIGNS[one] for one in column(finding.tables["maps"], "verdict")]
    fills = dict.fromkeys(VERDICTS, "#%02x%02x%02x")
    for patch, verdict in zip(matrix.patches, column(finding.tables["maps"], "verdict"), strict=True):
        fills[verdict] = tuple(round(255 * one) for one in patch.get_facecolor()[:3])
        assert fills[verdict] == rgb(probe_figures.VERDICTS[verdict][0])


def test_rows_of_the_matrix_stand_beside_their_artefacts() -> None:
    figure = probe_figures.charts(shortcut_finding())["chart"]
    changes, matrix, _ = figure.axes
    marker = next(text for text in figure.texts if text.get_text() == "marker")
    [first, _, second, *_] = matrix.patches
    top, bottom = (matrix.transData.transform((0, y))[1] for y in (first.get_y(), first.get_y() + first.get_height()))
    height = figure.transFigure.transform((0, marker.get_position()[1]))[1]
    assert bottom < height < top
    point = next(line for line in changes.lines if line.get_marker() == "o")
    assert bottom < changes.transData.transform((0, point.get_ydata()[0]))[1] < top
    assert second.get_y() > first.get_y()


def test_an_artefact_without_maps_cannot_be_shown() -> None:
    finding = shortcut_finding()
    lines = [line for line in finding.tables["maps"].lines() if line["artefact"] != "ruler"]
    matrix = panels(with_table(finding, "maps", lines))[1]
    assert isinstance(matrix, Matrix)
    assert matrix.verdicts[1] == ("cannot be shown", "cannot be shown")


def test_every_verdict_is_drawn_by_its_sign_and_said_in_its_words() -> None:
    lines = shortcut_finding().tables["maps"].lines()
    for line, verdict in zip(lines, VERDICTS, strict=False):
        line["verdict"] = verdict
    finding = with_table(shortcut_finding(), "maps", lines)
    matrix = probe_figures.charts(finding)["chart"].axes[1]
    assert [text.get_text() for text in matrix.texts][:8] == [SIGNS[one] for one in VERDICTS]
    words, page = said(matrix.figure), probe_plots.chart(finding)[1]
    for verdict in VERDICTS:
        assert verdict in words
        assert f"{SIGNS[verdict]}  {verdict}" in [trace.name for trace in page.figure.data]


def test_a_verdict_that_nobody_knows_has_a_neutral_sign_and_its_own_words() -> None:
    lines = [{**line, "verdict": "<b>half used</b>"} for line in shortcut_finding().tables["maps"].lines()]
    finding = with_table(shortcut_finding(), "maps", lines)
    matrix = probe_figures.charts(finding)["chart"].axes[1]
    assert {text.get_text() for text in matrix.texts} == {ANY}
    assert ANY not in SIGNS.values()
    assert "<b>half used</b>" in said(matrix.figure)
    assert "cannot be shown" not in said(matrix.figure)
    page = probe_plots.chart(finding)[1]
    assert f"{ANY}  &lt;b&gt;half used&lt;/b&gt;" in [trace.name for trace in page.figure.data]
    assert "<b>half used" not in page.figure.to_json()


def test_an_artefact_that_was_not_tested_is_drawn_hollow() -> None:
    lines = shortcut_finding().tables["artefacts"].lines()
    lines[1] |= {"p": None, "p_adjusted": None, "used": None}
    finding = with_table(shortcut_finding(), "artefacts", lines)
    assert [colour for _, colour in dots(probe_figures.charts(finding)["chart"].axes[0])][:2] == ["#0b62a8", "#59636e"]
    forest = panels(finding)[0]
    assert isinstance(forest, Forest)
    assert forest.rows[1].words == "not decided; not tested"
    assert forest.rows[3].words == "not used; p = 1"


def test_without_any_map_the_changes_stand_alone() -> None:
    figure = probe_figures.charts(with_table(shortcut_finding(), "maps", []))["chart"]
    assert len(figure.axes) == 1


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def linear(colour: str) -> np.ndarray:
    share = np.array(rgb(colour)) / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def lab(light: np.ndarray) -> np.ndarray:
    """CIE L*a*b* of linear sRGB under D65."""
    to_xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.072175], [0.0193339, 0.119192, 0.9503041]]
    )
    x, y, z = np.cbrt(np.maximum(to_xyz @ light / to_xyz.sum(axis=1), 0.008856))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


# Machado, Oliveira and Fernandes, 2009, of full severity: https://doi.org/10.1109/TVCG.2009.113
SIGHT = {
    "all colours": np.eye(3),
    "no red": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "no green": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
    "no blue": np.array([[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]]),
}


@pytest.mark.parametrize("sight", SIGHT.values(), ids=SIGHT)
def test_verdicts_are_told_apart_with_every_kind_of_colour_vision_and_by_their_signs(sight: np.ndarray) -> None:
    seen = [lab(np.clip(sight @ linear(probe_figures.VERDICTS[verdict][0]), 0, 1)) for verdict in VERDICTS[:-1]]
    assert min(np.linalg.norm(one - other) for one, other in itertools.combinations(seen, 2)) > 20
    assert len(set(SIGNS.values())) == len(SIGNS) == len(probe_figures.VERDICTS)


@pytest.mark.parametrize("verdict", SIGNS)
def test_the_sign_stands_out_from_its_cell(verdict: str) -> None:
    fill, ink = ("#ffffff" if one == "white" else one for one in probe_figures.VERDICTS[verdict])
    bright, dark = sorted((float(linear(one) @ [0.2126, 0.7152, 0.0722]) + 0.05 for one in (fill, ink)), reverse=True)
    assert bright / dark > 4


def test_shares_of_the_background_stand_beside_both_nulls() -> None:
    finding = background_finding()
    painted, shares = probe_figures.charts(finding)["chart"].axes
    table = finding.tables["shares"]
    assert [x for x, _ in dots(painted)] == [7.5]
    assert [x for x, _ in dots(shares)] == [one for one in column(table, "share") if one is not None]
    marks = [line for line in shares.lines if line.get_marker() != "o" and len(set(line.get_ydata())) == 2]
    expected = sorted(one for name in ("null", "shifted") for one in column(table, name) if one is not None)
    assert sorted(float(line.get_xdata()[0]) for line in marks) == pytest.approx(expected)
    words = said(shares.figure)
    assert "Share of the picture" in words
    assert "Share of attribution, shifted maps" in words


# ---- pictures --------------------------------------------------------------------------------------------------------


def pictures(figure: Any) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_a_filmstrip_shows_what_was_seen_and_every_map_on_one_scale() -> None:
    finding = dose_finding()
    figure = probe_figures.filmstrip(finding, colour_map="viridis", opacity=0.4)
    shown = pictures(figure)
    scale = scale_of([one.values for one in finding.frames if one.values is not None])
    for frame_, seen, mapped in zip(finding.frames, shown[::2], shown[1::2], strict=True):
        assert frame_.values is not None
        assert np.array_equal(seen, frame_.pixels)
        assert np.array_equal(mapped, overlay(frame_.pixels, frame_.values, scale, "viridis", 0.4))
    words = said(figure)
    assert "target 91.0 %" in words
    assert "says no finding" in words
    assert "40 % opacity" in words


def test_a_filmstrip_wraps_and_stays_as_wide() -> None:
    seven, eight = (probe_figures.filmstrip(dose_finding(steps=steps)) for steps in (6, 7))
    assert eight.get_figwidth() == seven.get_figwidth()
    assert eight.get_figheight() > seven.get_figheight() + 3


def test_frames_without_maps_are_shown_alone_and_a_finding_without_frames_not_at_all() -> None:
    finding = background_finding()
    assert len(pictures(probe_figures.filmstrip(finding))) == len(finding.frames)
    assert probe_figures.filmstrip(group_finding()) is None


def test_a_frame_that_lacks_its_map_says_so() -> None:
    finding = dataclasses.replace(dose_finding(), frames=(frame("a"), frame("b", values=False)))
    figure = probe_figures.filmstrip(finding)
    assert len(pictures(figure)) == 3
    assert "no map" in said(figure)


def test_the_outline_runs_along_the_edges_of_the_pixels_also_at_the_border() -> None:
    region = np.array([[True, False], [True, True]])
    edges = {tuple(map(tuple, edge)) for edge in probe_figures.outline(region).astype(int).tolist()}
    assert edges == {
        ((0, 0), (1, 0)), ((1, 1), (2, 1)), ((0, 2), (1, 2)), ((1, 2), (2, 2)),
        ((0, 0), (0, 1)), ((0, 1), (0, 2)), ((1, 0), (1, 1)), ((2, 1), (2, 2)),
    }  # fmt: skip


def test_an_empty_region_has_no_outline() -> None:
    bare = dataclasses.replace(frame("a"), region=np.zeros((32, 32), bool))
    figure = probe_figures.filmstrip(dataclasses.replace(dose_finding(), frames=(bare,)))
    assert not any(axes.collections for axes in figure.axes if not axes.images and axes.get_xlim() != (0, 1))


# ---- text ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [HOSTILE, WIDE], ids=["hostile", "wide"])
def test_no_text_leaves_the_figure_however_long_names_are(name: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    label = {"label": name, "flipped_to": name, "flip_low": 0.1, "flip_high": 0.2, "picture": 1}
    dose = with_table(dose_finding(1), "flips", [label])
    frames = tuple(frame(name, predicted=name, probability=0.5) for _ in range(8))
    made = [
        dataclasses.replace(dose, frames=frames, sentences=(name * 9,)),
        group_finding([("female", 60, 0.1), (name, 50, 0.2), (f"{name}2", 4, None)]),
        shortcut_finding([(name, 5.0, True), ("a", None, None)]),
        background_finding(),
    ]
    for finding in made:
        for figure in [*probe_figures.charts(finding).values(), probe_figures.filmstrip(finding)]:
            if figure is None:
                continue
            canvas = FigureCanvasAgg(figure)
            figure.draw_without_rendering()
            width, height = canvas.get_width_height()
            for text in drawn_texts(figure):
                box = text.get_window_extent(canvas.get_renderer())
                inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
                assert inside, f"{text.get_text()!r} leaves the figure of {finding.kind}"


def test_text_from_outside_is_drawn_as_it_is() -> None:
    for finding in (group_finding(), shortcut_finding()):
        figure = probe_figures.charts(finding)["chart"]
        assert any("$\\alpha_1$" in text.get_text() for text in drawn_texts(figure))
        assert not any(text.get_parse_math() for text in drawn_texts(figure) if "$" in text.get_text())
        assert not any(set(text.get_text()) & set("\u202e\n") for text in drawn_texts(figure))


@pytest.mark.parametrize("make", [group_finding, shortcut_finding], ids=["groups", "shortcut"])
def test_on_the_page_no_text_from_outside_is_a_tag_a_formula_or_a_template(make: Callable[[], Finding]) -> None:
    for one in probe_plots.chart(make()):
        text = one.figure.to_json()
        for mark in ("<a ", "\\u003ca ", "\\u003cb\\u003esite", "<b>site", "$", "\\u202e"):
            assert mark not in text, mark
        templates = {trace.hovertemplate for trace in one.figure.data if trace.hovertemplate}
        assert not any("site" in template or "%{x}" in template for template in templates)
    [first, *_] = [one for one in probe_plots.chart(make()) if "alpha" in one.figure.to_json()]
    assert "&#36;" in first.figure.to_json()


@pytest.mark.parametrize("make", [dose_finding, shortcut_finding, background_finding])
def test_the_same_finding_gives_the_same_bytes(make: Callable[[], Finding]) -> None:
    one, other = (probe_figures.charts(make())["chart"] for _ in range(2))
    assert png(one, 30) == png(other, 30)


def test_the_same_frames_give_the_same_bytes() -> None:
    one, other = (probe_figures.filmstrip(dose_finding(steps=2)) for _ in range(2))
    assert png(one, 30) == png(other, 30)


# ---- the page -------------------------------------------------------------------------------------------------------


@every
def test_the_charts_of_the_page_hold_the_same_numbers_as_the_figures(make: Callable[[], Finding]) -> None:
    finding = make()
    drawn = panels(finding)
    charts = probe_plots.chart(finding)
    assert [one.title for one in charts] == [one.title for one in drawn]
    for one, panel in zip(charts, drawn, strict=True):
        assert one.words == in_words(panel)
        if isinstance(panel, Forest):
            [points] = [trace for trace in one.figure.data if trace.mode == "markers" and trace.showlegend is False]
            assert list(points.x) == [row.value for row in panel.rows if row.value is not None]
            lines = [tuple(trace.x) for trace in one.figure.data if trace.mode == "lines"]
            assert lines == [(row.low, row.high) for row in panel.rows if row.low is not None]
            below = any((panel.note, *footnotes([panel])))
            assert len(one.figure.layout.annotations) == len(panel.rows) + below
        elif isinstance(panel, Lines):
            lines = [trace for trace in one.figure.data if trace.mode == "lines+markers"]
            assert [list(trace.y) for trace in lines] == [[dot.y for dot in line.dots] for line in panel.lines]
        else:
            [heat] = [trace for trace in one.figure.data if trace.type == "heatmap"]
            assert [list(row) for row in heat.text] == [[SIGNS[one] for one in row] for row in panel.verdicts]


def test_hovering_tells_the_number_its_interval_and_n() -> None:
    charts = probe_plots.chart(group_finding())
    [points] = [trace for trace in charts[0].figure.data if trace.mode == "markers" and trace.showlegend is False]
    assert points.text[0] == "male · error rate<br>14 (3 to 25), n = 118<br>p = 0.003 of 2 tests"
    [line] = [trace for trace in probe_plots.chart(dose_finding())[0].figure.data if trace.mode == "lines+markers"]
    assert line.text[0] == "0.91 (0.84 to 0.98), n = 12<br>Dose (of full white): 0"


def test_lines_on_the_page_fit_on_a_narrow_screen() -> None:
    for make in MADE.values():
        for one in probe_plots.chart(make()):
            texts = [note.text for note in one.figure.layout.annotations]
            texts += [trace.name for trace in one.figure.data if trace.name]
            for text in texts:
                lines = html.unescape(text.replace("<b>", "").replace("</b>", "").replace("<br>", "\n")).splitlines()
                assert max(map(len, lines)) <= 54  # of 12 pixels, on a screen of 400


def test_the_words_for_a_chart_say_what_is_undefined() -> None:
    words = probe_plots.chart(shortcut_finding())[0].words
    assert "pen mark undefined" in words
    assert "marker 21 (17.9 to 24.1), n = 24, used, towards fracture" in words
    assert GROUPS[1][0] in probe_plots.chart(group_finding())[0].words
