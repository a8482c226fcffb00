"""What several models say of one picture, where their maps differ, and what speaks for believing them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.shared import panels, takeaway
from pages.shared.cached import digest
from pages.shared.errors import plain
from xai_core.errors import SettingError
from xai_core.records import Evidence, Explanation, Image, Prediction

if TYPE_CHECKING:
    from xai_core.comparison import Difference

SIGNS = {True: ":green[✓]", False: ":red[✗]", None: "–"}


def predictions(said: Sequence[Prediction]) -> None:
    """What every model said: whether they agree as a sentence, each model's answer, and the likeliest classes."""
    from xai_core import comparison
    from xai_core.canvas import answered

    st.markdown(f"## {plain(comparison.said(said))}")
    names = comparison.names_of([one.model for one in said])
    for name, one, column in zip(names, said, st.columns(len(said)), strict=True):
        with column:
            best = int(one.order()[0])
            st.caption(f"**{plain(name)}** on {plain(one.model.get('device', 'cpu'))}")
            st.markdown(f"### {plain(one.labels[best])} &nbsp; {plain(answered(one, best))}")
    for notice in dict.fromkeys(str(one.model.get("notice", "")) for one in said):
        whose = [name for name, one in zip(names, said, strict=True) if one.model.get("notice", "") == notice]
        panels.notice({"notice": notice and f"{', '.join(whose)}: {notice}"})
    rows = comparison.gaps(said)
    regression = all(one.task == "regression" for one in said)
    whole = 1 if regression else 100

    def shown(value: float | None) -> float | None:
        return None if value is None else whole * value

    table: dict[str, list[Any]] = {
        "Output" if regression else "Class": [row.label for row in rows],
        "Gap": [shown(row.gap) for row in rows],
    }
    table |= {name: [shown(row.answers[i]) for row in rows] for i, name in enumerate(names)}
    number = st.column_config.NumberColumn(format="%.4g" if regression else "%.1f", width="small")
    bar = st.column_config.ProgressColumn(format="%.1f %%", min_value=0, max_value=100)
    st.dataframe(
        table,
        hide_index=True,
        placeholder="",
        column_config={"Gap": number, **dict.fromkeys(names, number if regression else bar)},
        alt="The likeliest classes of each model, what every model says of them, and the gap between models",
    )
    unit = "" if regression else ", in percentage points"
    st.caption(f"Gap: the largest minus the least{unit}. Empty where a model has no such class.")


def difference(explained: Sequence[Explanation], size: tuple[int, int] | None) -> None:
    """Where two of the maps differ: three measures, and the signed difference drawn on the picture.

    `size` is (height, width) of the upload, where it is known.
    """
    from xai_core import comparison

    st.header("Where they differ", anchor=False)
    names = comparison.names_of([e.model for e in explained])
    pairs = [(i, j) for i in range(len(names)) for j in range(i + 1, len(names))]
    i, j = pairs[0]
    if len(pairs) > 1:
        i, j = st.selectbox(
            "Which two",
            pairs,
            format_func=lambda pair: f"{names[pair[0]]} and {names[pair[1]]}",
            key="pair",
            persist_state="session",
        )
    try:
        found = comparison.differ(explained[i], explained[j], size)
    except SettingError as error:
        st.info(plain(error), icon=":material/info:")
        return
    _measures(found)
    _pictures(found, (names[i], names[j]))
    figure = partial(_figure, found, (names[i], names[j]))
    mark = digest(difference=[takeaway.identity(explained[i]), takeaway.identity(explained[j])])[:10]
    with st.container(width="content"):
        takeaway.button("Difference (PNG)", figure, f"difference-{mark}.png", "image/png")


def _pictures(found: Difference, names: tuple[str, str]) -> None:
    from xai_core import comparison, figures
    from xai_core.comparison_figure import drawn

    on_picture, alone, scale = drawn(found)
    for picture, words, column in zip((on_picture, alone), ("on the picture", "alone"), st.columns(2), strict=True):
        with column:
            spoken = f"Where the map of {names[0]} has more of its mass, and where that of {names[1]} has, {words}"
            st.image(figures.png(picture), width="stretch", alt=spoken)
    if scale is None:
        st.caption("The two maps do not differ.")
        return
    st.caption(
        f":red[Red]: more on {plain(names[0])}. :blue[Blue]: more on {plain(names[1])}. Full colour: "
        f"{100 * scale.high:.2g} % of a map's mass on one pixel. {plain(comparison.FORMULA)} "
        f"A is {plain(names[0])}, B is {plain(names[1])}."
    )


def _measures(found: Difference) -> None:
    from xai_core.comparison import measured

    shown = measured(found)
    for one, column in zip(shown, st.columns(len(shown)), strict=True):
        with column:
            st.metric(one.name, one.value, help=plain(one.meaning))
            if one.value == "not defined":
                st.caption(plain(one.meaning))


def _figure(found: Difference, names: tuple[str, str]) -> bytes:
    from xai_core import figures
    from xai_core.comparison_figure import difference

    return figures.png(difference(found, names))


def checklist(
    explained: Sequence[Explanation],
    said: Sequence[Prediction],
    evidence: Sequence[Evidence | None] = (),
    artefact: Image | None = None,
) -> None:
    """What a careful reader would ask, answered by measurement."""
    from xai_core.checklist import checklist as checks

    found = checks(explained, said, evidence, artefact)
    st.header("Checklist", anchor=False)
    passed = sum(one.passed is True for one in found)
    asked = sum(one.passed is not None for one in found)
    st.caption(f"{passed} of {asked} passed, each by measurement. – was not asked, or is not known yet.")
    st.markdown("  \n".join(f"{SIGNS[one.passed]} {plain(one.sentence)}" for one in found))
