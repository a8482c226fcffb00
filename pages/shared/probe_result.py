"""What a probe found: the answer in sentences, the pictures it was asked of, charts, tables, and what was left out."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

import xai_core as xai
from pages.shared import cached, probe_plots, probe_takeaway
from pages.shared.answers import some
from pages.shared.cached import digest
from pages.shared.errors import plain
from pages.shared.state import Probed, Session
from xai_core.records import Finding, Frame, Table

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

MOST_SENTENCES = 4  # that are seen at once
SENTENCE_END = re.compile(r"(?<=\.) (?=[A-Z])")
FRAME, NARROW_FRAME = 150, 144  # pixels across one picture of the strip; of half a page, three fit
HIDDEN = ("sha256",)  # of a table on the screen; what is taken away has it
OF_EACH = "of each group"  # how the titles end of charts that say how a group is, not how it differs
HELP = {
    "measured": "Read off the changed pictures themselves, before the model sees them.",
    "probability": "Of the class that is explained; the mean over pictures.",
    "flip_rate": "Share of pictures whose predicted class is another than on the original.",
    "rank_correlation": "Spearman, with the map of the original: 1 is the same order of pixels, 0 unrelated.",
    "top_overlap": "Of the tenth of the pixels that are highest, intersection over union with the map of the original.",
    "centre_distance": "How far the map's centre of mass moved.",
    "border_change": "Change of the share of the map's positive part that lies in the border.",
    "background_change": "Change of the share that lies outside what is marked. Empty where nothing is.",
    "flip_low": "The highest dose below the first flip at which the prediction was kept.",
    "flip_high": "The lowest dose at which the prediction flipped on the way up. Empty where it never did.",
    "share": "Share of the map's positive part.",
    "null": "What a uniform map has: the area.",
    "difference": "From the reference. An interval that holds 0 shows no difference.",
    "ratio": "To the reference.",
    "standardised": "The difference in standard deviations of the pictures.",
    "p": "How often chance alone would give a difference as large.",
    "p_adjusted": "Corrected for all tests of this family (Holm).",
    "detectable": "The difference that this set would have found in 8 of 10 such sets.",
    "change": "How much of the probability moves between classes when the artefact is planted: total variation.",
    "pull": "How much probability the class gains that gains most.",
    "area": "Share of the picture that it covers.",
    "n": "Pictures.",
}


def draw(visitor: Session, found: Sequence[Probed], of: int = 1) -> None:
    """All findings of one question: one below the heading, two side by side, their charts at one height.

    They are `of` so many models, some of which may still be worked on.
    """
    st.header("What was found", anchor=False)
    several = len(found) > 1
    for place, (one, column) in enumerate(zip(found, _columns(found), strict=True)):
        with column:
            if several or of > 1:
                st.subheader(plain(one.finding.model["name"]), anchor=False)
            sentences(one.finding, str(place))
            strip(one.finding, str(place), NARROW_FRAME if several else FRAME)
    charts([one.finding for one in found], "0")
    for place, (one, column) in enumerate(zip(found, _columns(found), strict=True)):
        with column:
            if several:
                st.markdown(f"**{plain(one.finding.model['name'])}**")
            _rest(visitor, one, str(place), several)
    probe_takeaway.saving(visitor)


def _columns(beside: Sequence[object]) -> Sequence[DeltaGenerator]:
    """A column of the page for each."""
    return st.columns(len(beside), gap="large")


def _rest(visitor: Session, probed: Probed, key: str, several: bool) -> None:
    """The tables of a finding, and what can be done with it."""
    one = probed.finding
    tables(one, probed.names, key)
    left_out(one, probed.names, key)
    about = [some(len(one.pictures), "picture"), f"{one.passes} passes", f"{one.seconds:.1f} s", f"seed {one.seed}"]
    st.caption(" · ".join(about))
    with st.container(horizontal=True, key=f"take away {key}"):
        probe_takeaway.download(one, key)
        probe_takeaway.save(visitor, one, key, several)


def shown(one: Finding, key: str) -> None:
    """The answer, the pictures, charts and tables of a record. `key` tells it from others on the page."""
    sentences(one, key)
    strip(one, key, FRAME)
    charts([one], key)
    tables(one, (), key)
    left_out(one, (), key)


def sentences(one: Finding, key: str) -> None:
    """The answer, before anything is drawn."""
    if words := one.model.get("notice"):
        st.caption(f":material/warning: {plain(words)}")
    first, *others = one.sentences
    answer, *after = SENTENCE_END.split(first, 1)
    rest = others[2:] if len(one.sentences) > MOST_SENTENCES else []
    with st.container(border=True, gap="small"):
        st.markdown(" ".join([f"**{plain(answer)}**", *map(plain, after)]))
        if others:
            st.markdown(_listed(others[: len(others) - len(rest)]))
        if rest:
            with st.expander(f"More of what was found · {len(rest)}", icon=":material/notes:", key=f"more found {key}"):
                st.markdown(_listed(rest))


def _listed(sentences: Sequence[str]) -> str:
    return "\n".join(f"- {plain(sentence)}" for sentence in sentences)


# ---- the strip -----------------------------------------------------------------------------------------------------


def strip(one: Finding, key: str, side: int) -> None:
    """The pictures as the model saw them, `side` pixels across, each with its map, all maps on one scale."""
    if not one.frames:
        return
    from xai_core import figures

    maps = [frame.values for frame in one.frames if frame.values is not None]
    scale = figures.scale_of(maps) if maps else None
    colours = figures.default_colour_map(maps[0], scale) if maps else ""
    with st.container(horizontal=True, gap="xsmall", key=f"strip {key}"):
        for number, frame in enumerate(one.frames):
            with st.container(width=side, gap="xsmall", key=f"frame {key} {number}"):
                _frame(frame, scale, colours, side)
    said = "The pictures as the model saw them."
    if maps:
        label = xai.METHODS[str(one.methods[0]["name"])].label if one.methods else ""
        said += f" Below each its map by {label}, all on one scale."
    if any(frame.region is not None for frame in one.frames):
        said += " The outline marks the part in question."
    st.caption(plain(said))


def _frame(frame: Frame, scale: Any, colours: str, side: int) -> None:
    shown = [
        hashlib.sha256(part.tobytes()).hexdigest()
        for part in (frame.pixels, frame.values, frame.region)
        if part is not None
    ]
    mark = digest(frame=shown, scale=scale and [scale.low, scale.high])
    picture = cached.drawn(f"{mark} picture", partial(_png, frame, None, ""))
    st.image(picture, width=side, alt=f"What the model saw: {frame.caption}")
    if frame.values is not None:
        drawn = cached.drawn(f"{mark} map", partial(_png, frame, scale, colours))
        st.image(drawn, width=side, alt=f"Attribution map over the picture: {frame.caption}")
    st.caption("  \n".join([f"**{plain(frame.caption)}**", *_facts(frame.facts)]))


def _facts(facts: Mapping[str, Any]) -> list[str]:
    said = []
    if (predicted := facts.get("predicted")) is not None:
        said.append(f"says {plain(predicted)}")
    if (probability := facts.get("probability")) is not None:
        said.append(f"{plain(facts.get('target', 'target'))} {100 * float(probability):.1f}\N{NO-BREAK SPACE}%")
    return said


def _png(frame: Frame, scale: Any, colours: str) -> bytes:
    """The picture, or its map over it where `colours` are given, large enough for a fine line around the region."""
    from PIL import Image, ImageDraw

    from xai_core import figures
    from xai_core.probe_figures import outline

    pixels = frame.pixels
    if colours and frame.values is not None:
        pixels = figures.overlay(pixels, frame.values, scale, colours, 0.5)
    if frame.region is None or not frame.region.any():
        return figures.png(pixels)
    height, width = frame.region.shape
    times = max(1, -(-2 * FRAME // max(height, width)))
    drawn = Image.fromarray(pixels).resize((width * times, height * times), Image.Resampling.NEAREST)
    pen = ImageDraw.Draw(drawn)
    for colour, thick in (("white", 3), ("black", 1)):
        for line in outline(frame.region) * times:
            pen.line([tuple(point) for point in line], fill=colour, width=thick)
    return figures.png(np.asarray(drawn))


# ---- charts and tables ---------------------------------------------------------------------------------------------


def charts(found: Sequence[Finding], key: str) -> None:
    """Every chart of a finding with its heading, two beside each other; of several, each beside those of the others."""
    dark = st.context.theme.type == "dark"
    every = [probe_plots.chart(one, dark, [other for other in found if other is not one]) for one in found]
    names = [str(one.model["name"]) for one in found]
    rates = [[chart for chart in charts if chart.title.endswith(OF_EACH)] for charts in every]
    _charts([[chart for chart in charts if not chart.title.endswith(OF_EACH)] for charts in every], names, key)
    if any(rates):
        with st.expander(
            "Rates of each group", icon=":material/bar_chart:", key=f"rates {key}", on_change="rerun"
        ) as opened:
            if opened.open:
                _charts(rates, names, f"{key} rates")


def _charts(every: Sequence[Sequence[probe_plots.Chart]], names: Sequence[str], key: str) -> None:
    """The charts of each finding, in lines, so that they are in order on a narrow screen, too."""
    if len(every) == 1:
        width = min(2, len(every[0]))
        lines = [list(enumerate(every[0][first : first + 2])) for first in range(0, len(every[0]), 2)]
    else:
        width, titles = len(every), dict.fromkeys(chart.title for charts in every for chart in charts)
        lines = [
            [(place, chart) for place, charts in enumerate(every) for chart in charts if chart.title == title]
            for title in titles
        ]
    for number, line in enumerate(lines):
        columns = st.columns(width, gap="large")
        for place, (title, figure, words) in line:
            name = f" · {plain(names[place])}" if len(every) > 1 else ""
            with columns[place]:
                st.markdown(f"**{plain(title)}**{name}")
                chart = f"chart {key} {number} {place}"
                st.plotly_chart(figure, key=chart, config={"displayModeBar": False}, alt=words)


def tables(one: Finding, names: Sequence[str], key: str) -> None:
    """Every number, behind its heading."""
    for name, table in one.tables.items():
        if not table.rows:
            continue
        title = f"{plain(table.title)} · {some(len(table.rows), 'row')}"
        with st.expander(title, icon=":material/table:", key=f"table {key} {name}", on_change="rerun") as opened:
            if opened.open:
                _table(table, names)


def _table(table: Table, names: Sequence[str]) -> None:
    """A table on the screen: an interval in one column, methods by their labels, pictures with their names."""
    lines, shown, columns = table.lines(), dict[str, list[Any]](), dict[str, Any]()
    for name, words in table.words.items():
        base = name.removesuffix("_low").removesuffix("_high")
        if name in HIDDEN or (base != name and base in table.words):
            continue
        values = [line[name] for line in lines]
        if name == "method":
            values = [xai.METHODS[one].label if one in xai.METHODS else one for one in values]
        shown[name] = values
        columns[name] = _column(name, words, values)
        if f"{name}_low" in table.words:
            shown[f"{name} interval"] = [_interval(line[f"{name}_low"], line[f"{name}_high"]) for line in lines]
            columns[f"{name} interval"] = st.column_config.TextColumn("95 % interval", help=f"Of: {words}")
        if name == "picture" and any(names):
            shown["file"] = [names[one - 1] if isinstance(one, int) and 0 < one <= len(names) else "" for one in values]
            columns["file"] = st.column_config.TextColumn("File", help="Shown here alone: it is never saved.")
    st.dataframe(shown, hide_index=True, placeholder="", column_config=columns, alt=table.title)


def _column(name: str, words: str, values: Sequence[Any]) -> Any:
    help = HELP.get(name)
    if any(isinstance(one, bool) for one in values):
        return st.column_config.CheckboxColumn(words, help=help)
    if any(isinstance(one, float) for one in values):
        return st.column_config.NumberColumn(words, help=help, format="%.2g" if name in ("p", "p_adjusted") else "%.3g")
    if any(isinstance(one, int) for one in values):
        return st.column_config.NumberColumn(words, help=help, format="%d")
    return st.column_config.TextColumn(words, help=help)


def _interval(low: float | None, high: float | None) -> str | None:
    return None if low is None or high is None else f"{low:.3g} to {high:.3g}".replace("-", "\N{MINUS SIGN}")


def left_out(one: Finding, names: Sequence[str], key: str) -> None:
    """Which pictures or maps are missing, and why."""
    from xai_core.probing import named

    for title, missing, icon in (("Left out", one.left_out, "block"), ("Notes", one.notes, "info")):
        if missing:
            with st.expander(f"{title} · {len(missing)}", icon=f":material/{icon}:", key=f"{title.lower()} {key}"):
                st.markdown("\n".join(f"- {plain(named(sentence, names))}" for sentence in missing))
