"""Scores of maps, worked on in a thread, and the table they become."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import streamlit as st

from pages.shared import answers, inputs, jobs, samples, state, targets, viewer, watch
from pages.shared.answers import Asked, identity, some
from pages.shared.cached import digest
from pages.shared.inquiry import Inquiry
from pages.shared.state import Compared, Session
from xai_core.records import Evidence, Explanation, Image, Score

if TYPE_CHECKING:
    from xai_core.methods import Method
    from xai_core.metrics import Metric
    from xai_core.score_table import ScoreTable


def controls(methods: Sequence[Method]) -> list[Method]:
    """The methods that were chosen, and every control."""
    from xai_core.methods import METHODS

    there = {method.name for method in methods}
    return [*methods, *(cls() for name in METHODS if (cls := METHODS[name]).family == "control" and name not in there)]


def pictures(visitor: Session, source: str, asked: Asked) -> dict[str, tuple[Image, Image | None]]:
    """The pictures that methods are compared over, by sha256, each with the mask of its evidence where it has one."""
    if source == "this":
        return {asked.image.sha256: (asked.image, inputs.evidence_mask(visitor))}
    if source == "uploads":
        return {one.sha256: (one, visitor.masks.get(state.place(one))) for one in visitor.pictures.values()}
    chosen = [(samples.picture(one.key), samples.mask(one.key)) for one in inputs.fitting(asked.model.name)]
    return {image.sha256: (image, mask) for image, mask in chosen}


# ---- one picture ---------------------------------------------------------------------------------------------------


def of_one(
    visitor: Session,
    asked: Asked,
    explained: Mapping[str, Explanation],
    metrics: Sequence[Metric],
    mask: Image | None,
    waiting: bool,
) -> dict[str, list[Score]]:
    """The scores of every map that has them all, by the map's key, as far as they are there. Maps go first."""
    marked = "" if mask is None else mask.sha256
    keys = {
        digest(map=one, metric=by.to_dict(), mask=marked if by.needs_mask else ""): (one, by.name)
        for one in explained
        for by in metrics
    }

    def start(wanted: Sequence[str]) -> jobs.Scoring:
        chosen = {one for one, _ in map(keys.__getitem__, wanted)}
        chosen |= {one for one, e in explained.items() if viewer.is_control(e)}  # nulls are read from them
        asked_for = {name for _, name in map(keys.__getitem__, wanted)}
        return jobs.Scoring(
            asked.model,
            {one: e for one, e in explained.items() if one in chosen},
            [by for by in metrics if by.name in asked_for],
            {place: key for key, place in keys.items()},
            wanted,
            {} if mask is None else {asked.image.sha256: mask},
            asked.seed,
            asked.background,
        )

    if waiting:
        visitor.scores.settle(keys)
        found = {key: visitor.scores.kept[key] for key in keys if key in visitor.scores.kept}
    else:
        found = answers.work(visitor.scores, list(keys), start, "score")
    by_map: dict[str, dict[str, Score]] = {}
    for key, score in found.items():
        one, name = keys[key]
        by_map.setdefault(one, {})[name] = score
    complete = [by.name for by in metrics if all(by.name in scores for scores in by_map.values())]
    return {one: [scores[name] for name in complete] for one, scores in by_map.items()} if complete else {}


def table_of_one(
    visitor: Session,
    explained: Mapping[str, Explanation],
    scores: Mapping[str, Sequence[Score]],
    evidence: Mapping[str, Evidence],
) -> ScoreTable:
    """The table of one picture, kept as long as it is the same: what stands in it is computed once."""
    from xai_core.score_table import score_table

    shown = list(scores)
    verdicts = [evidence[key].verdict if key in evidence else "" for key in shown]
    values = [[(dict(one.metric), one.value) for one in scores[key]] for key in shown]
    mark = digest(maps=shown, scores=values, verdicts=verdicts)
    if mark not in visitor.tables.kept:
        maps = [explained[key] for key in shown]
        weighed = [evidence.get(key) for key in shown]
        visitor.tables.keep(mark, score_table(maps, [scores[key] for key in shown], weighed))
    return visitor.tables.kept[mark]


# ---- several pictures ----------------------------------------------------------------------------------------------


def table_of_several(
    visitor: Session,
    inquiry: Inquiry,
    methods: Sequence[Method],
    metrics: Sequence[Metric],
    pictures: Mapping[str, tuple[Image, Image | None]],
) -> Compared | None:
    """The comparison over several pictures, begun when the person says so: that can take minutes."""
    asked, question = inquiry.asked, inquiry.question
    key = digest(  # nothing of the picture that is looked at: to look at another does not end the comparison
        pictures={sha256: mask and mask.sha256 for sha256, (_, mask) in pictures.items()},
        model=identity(asked.model),
        methods=[method.fitted(asked.model).to_dict() for method in methods],
        metrics=[by.to_dict() for by in metrics],
        target=[question.target, question.kind, question.against],
        seed=asked.seed,
        background=[one.sha256 for one in inquiry.background],
    )

    def start(_: Sequence[str]) -> jobs.Comparison:
        return jobs.Comparison(
            asked.model,
            pictures,
            list(methods),
            list(metrics),
            lambda said: targets.aimed(said, question.target, question.kind, question.against),
            key,
            asked.seed,
            inquiry.background,
        )

    def begin() -> None:
        visitor.comparing = key

    if key not in visitor.comparisons.kept and key != visitor.comparing:
        visitor.comparisons.settle(())
        words = f"Compare on {some(len(pictures), 'picture')}"
        st.button(words, key="compare", type="primary", icon=":material/play_arrow:", on_click=begin)
        st.caption(
            f"{some(len(methods), 'map')} of each picture are made and scored. Without a target class, each picture "
            "is explained for the class that is predicted for it. Maps of several pictures are not weighed."
        )
        return None
    found = answers.work(visitor.comparisons, [key], start, "comparison").get(key)
    if found is not None:
        visitor.comparing = ""
    return found


def meanwhile(visitor: Session) -> None:
    """The comparison that goes on while something else is looked at."""
    if (job := visitor.comparisons.job) is not None:

        def stop() -> None:
            visitor.comparing = ""

        watch.progress(job, lambda: f"Comparing methods · {job.stage}", stop, "cancel comparison")
