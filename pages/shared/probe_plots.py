"""A finding as charts to point at. The figures that are taken away are those of `xai_core.probe_figures`."""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from pages.shared.plots import AXIS, DASHES, HEAD, MARGIN, NAMED, PLOT

if TYPE_CHECKING:
    from xai_core.probe_panels import Dot, Forest, Line, Lines, Matrix, Panel, Row
    from xai_core.records import Finding

NARROW = 52  # letters of a line on the narrowest screen
FEW = 4  # columns of a matrix whose heads lie flat
STEP, GAP, POINT = 17, 3, 26  # pixels of a line of text, below the last, and of the interval
# Each stands out by 3 : 1 on the page, whether it is light or dark.
BLUE, GREY, MARKS = "#2e86c1", "#7d8791", ("#d55e00", "#8a8f98", "#009e73")
INKS = {False: "#0c151d", True: "#e9eef2"}  # of text, by whether the page is dark
HIDDEN = "#cdb7dc"  # of what cannot be shown: cells have no hatching here
PALE, FLIP = "rgba(128, 138, 148, 0.25)", "rgba(213, 94, 0, 0.22)"


class Chart(NamedTuple):
    """A plotly figure below its title, and what it shows in words, for those who do not see it. All text is raw."""

    title: str
    figure: Any
    words: str


def chart(finding: Finding, dark: bool | None = None, beside: Sequence[Finding] = ()) -> list[Chart]:
    """The charts of a finding, in the order in which they answer.

    `dark` is whether the page is; None, where that is not known, leaves names in the grey of axes. Findings `beside` it
    answer the same question of other models: their charts have the same axes, so that they can be compared by eye.
    """
    from xai_core.finding_panels import panels
    from xai_core.probe_panels import in_words

    others = [panel for one in beside for panel in panels(one)]
    return [Chart(one.title, _figure(_on_axes_of(one, others), dark), in_words(one)) for one in panels(finding)]


def _on_axes_of(panel: Panel, others: Sequence[Panel]) -> Panel:
    """The panel with axes that hold what is drawn of the same measure in others, too."""
    from xai_core.probe_panels import Forest, Lines, span_of

    if isinstance(panel, Forest):
        spans = [
            span_of(one) for one in (panel, *others) if isinstance(one, Forest) and _measure(one) == _measure(panel)
        ]
        lows, highs = zip(*spans, strict=True)
        return replace(panel, span=(min(lows), max(highs)))
    if isinstance(panel, Lines) and panel.limits is not None:
        same = [one for one in others if isinstance(one, Lines) and one.title == panel.title]
        lows, highs = zip(*[one.limits for one in (panel, *same) if one.limits is not None], strict=True)
        return replace(panel, limits=(min(lows), max(highs)))
    return panel


def _measure(panel: Forest) -> str:
    """What the axis of a forest shows; forests of one finding that share an axis have one measure."""
    return panel.title if panel.span is None else panel.axis


def _figure(panel: Panel, dark: bool | None) -> Any:
    from xai_core.probe_panels import Forest, Lines

    ink = None if dark is None else INKS[dark]
    if isinstance(panel, Forest):
        return _forest(panel, ink)
    return _lines(panel) if isinstance(panel, Lines) else _matrix(panel, ink)


def _forest(panel: Forest, ink: str | None) -> Any:
    """Names above their intervals, so that both have all of the width; what the marks are stands below."""
    from xai_core.probe_panels import footnotes, span_of

    figure = _plotly().Figure()
    top, middles = 0, []
    for row in panel.rows:
        said = [*_wrapped(row.name, bold=True), *_wrapped(row.words)]
        figure.add_annotation(
            x=0, xref="paper", xanchor="left", y=top, yanchor="top", text="<br>".join(said), align="left",
            showarrow=False, opacity=0.75 if row.faded else 1, font={"size": 12, "color": ink},
        )  # fmt: skip
        middles.append(top + STEP * len(said) + GAP + POINT / 2)
        top = round(middles[-1] + POINT / 2) + 6
    for row, y in zip(panel.rows, middles, strict=True):
        if panel.zero is None:
            break
        edges = {"y0": y - POINT / 2, "y1": y + POINT / 2, "layer": "below"}
        if row.reach is not None:
            ends = {"x0": panel.zero - row.reach, "x1": panel.zero + row.reach}
            figure.add_shape(type="rect", fillcolor=PALE, line_width=0, **ends, **edges)
        figure.add_shape(type="line", x0=panel.zero, x1=panel.zero, line={"color": GREY, "width": 1.5}, **edges)
    marks = dict.fromkeys(mark.name for row in panel.rows for mark in row.marks)
    for place, name in enumerate(marks):
        _mark(figure, panel, middles, name, MARKS[place % len(MARKS)])
    _points(figure, panel, middles)
    below = [line for note in (panel.note, *footnotes([panel])) for line in _wrapped(note)]
    if below:
        figure.add_annotation(
            x=0, xref="paper", xanchor="left", y=0, yref="paper", yanchor="top", yshift=-AXIS + STEP / 2,
            text="<br>".join(below), align="left", showarrow=False, opacity=0.75, font={"size": 12, "color": ink},
        )  # fmt: skip
    foot = AXIS + STEP * len(below) + _legend(figure, list(marks))
    figure.update_layout(
        height=MARGIN["t"] + top + foot, margin={**MARGIN, "r": 12, "l": 12, "b": foot}, xaxis_title=_text(panel.axis)
    )
    figure.update_yaxes(range=[top, 0], visible=False, fixedrange=True)
    figure.update_xaxes(zeroline=False, range=span_of(panel))
    return figure


def _points(figure: Any, panel: Forest, middles: Sequence[float]) -> None:
    """Every known point with its interval, in the words of the table."""
    known = [(row, y) for row, y in zip(panel.rows, middles, strict=True) if row.value is not None]
    for row, y in known:
        if row.low is not None and row.high is not None:
            figure.add_scatter(
                x=[row.low, row.high], y=[y, y], mode="lines", hoverinfo="skip", showlegend=False,
                line={"color": GREY if row.faded else BLUE, "width": 3},
            )  # fmt: skip
    figure.add_scatter(
        x=[row.value for row, _ in known],
        y=[y for _, y in known],
        mode="markers",
        showlegend=False,
        marker={
            "size": 11,
            "color": [GREY if row.faded else BLUE for row, _ in known],
            "symbol": ["circle-open" if row.faded else "circle" for row, _ in known],
            "line": {"width": 2},
        },
        text=[_said(row) for row, _ in known],
        hovertemplate="%{text}<extra></extra>",
    )


def _said(row: Row) -> str:
    from xai_core.probe_panels import interval

    return "<br>".join([*_wrapped(row.name), *_wrapped(interval(row)), *_wrapped(row.words)])


def _mark(figure: Any, panel: Forest, middles: Sequence[float], name: str, colour: str) -> None:
    places = [
        (mark.value, y) for row, y in zip(panel.rows, middles, strict=True) for mark in row.marks if mark.name == name
    ]
    figure.add_scatter(
        x=[x for x, _ in places],
        y=[y for _, y in places],
        mode="markers",
        name="<br>".join(_wrapped(name)),
        marker={"symbol": "line-ns-open", "size": 18, "color": colour, "line": {"width": 3}},
        hovertemplate="%{x:.3g}<extra>%{fullData.name}</extra>",
    )


def _lines(panel: Lines) -> Any:
    """Lines over a dose with their bands; where the decision flips is shaded, and said below."""
    from xai_core.charts import COLOURS

    figure = _plotly().Figure()
    names = []
    for line in panel.lines:
        colour = COLOURS[line.place % (len(COLOURS) - 1)]  # black, the last, is not to be seen on a dark page
        for run in _runs(line):
            _band(figure, run, colour)
        label = "<br>".join(_wrapped(line.name))
        names += [label] if label else []  # one without a name is told by the heading
        figure.add_scatter(
            x=[dot.x for dot in line.dots],
            y=[dot.y for dot in line.dots],
            mode="lines+markers",
            name=label,
            showlegend=bool(label),
            line={"color": colour, "width": 2, "dash": DASHES[line.place // (len(COLOURS) - 1) % len(DASHES)]},
            text=[_dotted(panel, line, dot) for dot in line.dots],
            hovertemplate="%{text}<extra></extra>",
        )
    if panel.flip:
        names.append("<br>".join(_wrapped(panel.flip.words)))
        _flip(figure, panel, names[-1])
    named = _legend(figure, names)
    figure.update_layout(
        height=PLOT + AXIS + named,
        margin={**MARGIN, "r": 14, "b": AXIS + named},
        xaxis_title=_text(panel.across),
        hovermode="closest",
    )
    first, strongest = panel.lines[0].dots[0].x, panel.lines[0].dots[-1].x
    pad = 0.02 * (strongest - first)
    figure.update_xaxes(range=[first - pad, strongest + pad], zeroline=False)
    if panel.ticks:
        names = ["<br>".join(_wrapped(name, 12)[:3]) for name in panel.ticks]
        figure.update_xaxes(range=[-0.4, len(names) - 0.6], tickvals=list(range(len(names))), ticktext=names)
    if panel.limits:
        pad = 0.04 * (panel.limits[1] - panel.limits[0])
        figure.update_yaxes(range=[panel.limits[0] - pad, panel.limits[1] + pad], zeroline=False)
    return figure


def _flip(figure: Any, panel: Lines, name: str) -> None:
    flip = panel.flip
    assert flip is not None
    if flip.low is not None:
        end = panel.lines[0].dots[-1].x if flip.high is None else flip.high
        figure.add_vrect(x0=flip.low, x1=end, fillcolor=FLIP, line_width=0, layer="below")
    if flip.at is not None:
        figure.add_vline(x=flip.at, line={"color": MARKS[0], "width": 2})
    figure.add_scatter(
        x=[None], y=[None], mode="markers", name=name, marker={"symbol": "square", "size": 13, "color": MARKS[0]}
    )


def _dotted(panel: Lines, line: Line, dot: Dot) -> str:
    from xai_core.probe_panels import at, interval

    name = _wrapped(line.name) if line.name else []
    return "<br>".join([*name, *_wrapped(interval(dot)), *_wrapped(f"{panel.across}: {at(panel, dot)}")])


def _runs(line: Line) -> Iterator[list[Dot]]:
    """Neighbours that have an interval: a band does not bridge what is undefined."""
    run: list[Dot] = []
    for dot in line.dots:
        if dot.low is not None and dot.high is not None:
            run.append(dot)
        elif run:
            yield run
            run = []
    if run:
        yield run


def _band(figure: Any, run: Sequence[Dot], colour: str) -> None:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    figure.add_scatter(
        x=[dot.x for dot in (*run, *reversed(run))],
        y=[*(dot.low for dot in run), *(dot.high for dot in reversed(run))],
        mode="lines",
        line={"width": 0},
        fill="toself",
        fillcolor=f"rgba({red}, {green}, {blue}, 0.2)",
        hoverinfo="skip",
        showlegend=False,
    )


def _matrix(panel: Matrix, ink: str | None) -> Any:
    """A cell for each verdict, told by its sign and its colour; what they mean stands below."""
    from xai_core.probe_figures import look_of
    from xai_core.probe_panels import NOT_KNOWN, SIGNS

    kinds = list(dict.fromkeys([*SIGNS, *(one for row in panel.verdicts for one in row)]))
    fills = [HIDDEN if kind == NOT_KNOWN else look_of(kind)[0] for kind in kinds]
    steps = [[(place + edge) / len(kinds), fill] for place, fill in enumerate(fills) for edge in (0, 1)]
    down, across = list(range(len(panel.down))), list(range(len(panel.across)))
    figure = _plotly().Figure()
    figure.add_heatmap(
        x=across, y=down, z=[[kinds.index(one) for one in row] for row in panel.verdicts],
        text=[[look_of(one)[2] for one in row] for row in panel.verdicts],
        texttemplate="%{text}", textfont={"size": 17},
        customdata=[
            ["<br>".join([*_wrapped(f"{name}, {method}: {verdict}"), *_wrapped(said)])
             for method, verdict, said in zip(panel.across, row, words, strict=True)]
            for name, row, words in zip(panel.down, panel.verdicts, panel.words, strict=True)
        ],
        hovertemplate="%{customdata}<extra></extra>", colorscale=steps, zmin=-0.5, zmax=len(kinds) - 0.5,
        showscale=False, xgap=2, ygap=2,
    )  # fmt: skip
    shown, names = [one for one in kinds if any(one in row for row in panel.verdicts)], list[str]()
    for one in shown:
        marker = {"symbol": "square", "size": 14, "color": fills[kinds.index(one)]}
        names.append("<br>".join([f"{look_of(one)[2]}  {_wrapped(one)[0]}", *_wrapped(one)[1:]]))
        figure.add_scatter(x=[None], y=[None], mode="markers", name=names[-1], marker=marker)
    named = _legend(figure, names)
    beside = [_wrapped(one, 14)[:4] for one in panel.down]
    height = max(34, 6 + 15 * max((len(one) for one in beside), default=1)) * len(down)
    few = len(across) <= FEW
    heads = ["<br>".join(_wrapped(one, 12)[:3]) if few else _text(one[:24]) for one in panel.across]
    head = 64 if few else HEAD
    figure.update_layout(height=head + height + named, margin={**MARGIN, "t": head, "b": named})
    figure.update_xaxes(
        side="top", tickangle=0 if few else -90, showgrid=False, tickvals=across, ticktext=heads,
        range=[-0.5, len(across) - 0.5], tickfont={"color": ink},
    )  # fmt: skip
    figure.update_yaxes(
        range=[len(down) - 0.5, -0.5],
        showgrid=False,
        tickvals=down,
        ticktext=["<br>".join(one) for one in beside],
        tickfont={"color": ink},
    )
    return figure


def _legend(figure: Any, names: Sequence[str]) -> int:
    """Names under one another fit on the narrowest screen. Gives the pixels that they need."""
    figure.update_layout(
        showlegend=bool(names),
        legend={"orientation": "v", "traceorder": "normal", "x": 0, "y": 0, "yref": "container", "yanchor": "bottom"},
    )
    return sum(NAMED + STEP * name.count("<br>") for name in names) + 8 * bool(names)


def _wrapped(text: str, letters: int = NARROW, bold: bool = False) -> list[str]:
    """Lines that fit on the narrowest screen, as text."""
    lines = [_text(line) for line in textwrap.wrap(text, letters)]
    return [f"<b>{line}</b>" for line in lines] if bold else lines


def _text(text: str) -> str:
    """Text, never a tag or a formula, both of which plotly reads, nor characters that cannot be seen."""
    seen = (one for one in " ".join(text.split()) if unicodedata.category(one) not in ("Cc", "Cf", "Cs"))
    return "".join({"&": "&amp;", "<": "&lt;", ">": "&gt;", "$": "&#36;"}.get(one, one) for one in seen)


def _plotly() -> Any:
    import pandas  # noqa: F401  # plotly breaks on one that another thread has half imported
    import plotly.graph_objects as go

    return go
