"""What a record asked, as a question that its page can be asked again."""

from __future__ import annotations

from dataclasses import replace

import streamlit as st

from pages.shared import probe_again, samples, targets
from pages.shared.question import Looks, Network, Question, whole
from pages.shared.state import Session
from xai_core.records import Explanation, Finding, Record


def button(visitor: Session, record: Record | Finding) -> None:
    """A button that asks again what the record asked, on the page that it came from."""
    if isinstance(record, Finding):
        st.button(
            "Open in Bias probes", key="restore", icon=":material/replay:", type="primary",
            on_click=probe_again.begin, args=(visitor, record),
        )  # fmt: skip
        if visitor.probing.address is not None and (menu := visitor.menu.get("bias_probes")):
            st.switch_page(menu)
        return
    page, title = ("compare_models", "Compare models") if len(record.models) > 1 else ("explain", "Explain")
    if st.button(f"Open in {title}", key="restore", icon=":material/replay:", type="primary"):
        asked = question(record)
        visitor.ask(asked, looks(record))
        if page == "explain" and asked.findings is None and len({e.target for e in record.explanations}) > 1:
            visitor.say(f"The record has several targets. One is shown at a time: {record.explanations[0].target}.")
        if menu := visitor.menu.get(page):
            st.switch_page(menu)


def question(record: Record) -> Question:
    """What a record asked, so that it can be asked again."""
    first = record.explanations[0]
    compared = {sha256 for e in record.explanations for sha256 in e.background}
    asked = Question.about(
        first.target,
        picture=str(record.picture.get("file_sha256", first.image)),
        frame=whole(record.picture.get("frame")) or 0,
        models=tuple(_network(next(e for e in record.explanations if e.model == model)) for model in record.models),
        methods=tuple(dict(e.method) for e in record.explanations),
        background="samples" if all(map(samples.by_hash, compared)) else "uploads",
        seed=whole(first.seed),
        findings=_findings(record),
    )
    rivals = {e.target.against for e in record.explanations}
    return replace(asked, against=None) if asked.findings is not None and len(rivals) > 1 else asked


def _findings(record: Record) -> int | None:
    """How many of the likeliest classes hold all those that one method made a map for; None where that is no answer."""
    from xai_core.findings import MOST

    classes, methods = {e.target.index for e in record.explanations}, [dict(e.method) for e in record.explanations]
    alone = len(record.models) == 1 and all(method == methods[0] for method in methods)
    said = record.prediction
    if len(classes) < 2 or not alone or said is None or not targets.offers_several(said):
        return None
    order = [int(number) for number in said.order()]
    count = 1 + max(order.index(number) if number in order else MOST for number in classes)
    return count if count <= MOST else None


def _network(e: Explanation) -> Network:
    words = {key: str(e.model.get(key, "")) for key in ("name", "weights", "task", "weights_sha256")}
    random = words["weights"].startswith("drawn at random")
    layer = str(e.settings().get("layer", ""))
    return Network(words["name"], random, words["task"], layer, words["weights_sha256"])


def looks(record: Record) -> Looks:
    """How a record's maps were looked at."""
    return Looks.from_outside(record.display)
