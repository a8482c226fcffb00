"""A finished audit in words, as a page in Markdown: what a person reads first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xai_core.canvas import percent
from xai_core.classification import APART
from xai_core.score_summary import NOT_SAID, differences, safe, tables, undefined
from xai_core.score_table import ScoreTable, number

MOST = 50  # lines of what was refused or left out; run.json has them all
WORST = 5  # confusions


def page(
    facts: Mapping[str, Any],
    read: int,
    found: Mapping[str, Any],
    by_model: Mapping[str, ScoreTable],
    files: Mapping[str, str],
    made_with: Mapping[str, Any],
) -> str:
    """The page on a run of these `facts`, of which so many pictures were `read`.

    `found` is what `numbers_of` gives, `by_model` holds methods by metrics, `files` says what is in each file.
    """
    return "\n".join(_page(facts, read, found, by_model, files, made_with)) + "\n"


def notice(model: Mapping[str, Any]) -> str:
    """What must be said wherever a model's answers are shown; empty for most."""
    return str(model["identity"].get("notice") or "").replace("Random weights", "RANDOM WEIGHTS")


def _page(
    facts: Mapping[str, Any],
    read: int,
    found: Mapping[str, Any],
    by_model: Mapping[str, ScoreTable],
    files: Mapping[str, str],
    made_with: Mapping[str, Any],
) -> Iterator[str]:
    data = facts["data"]
    yield f"# Audit of {safe(data['name'])}"
    for one in facts["models"]:
        if words := notice(one):
            yield f"\n**{safe(one['name'])}: {safe(words)}**"
    yield f"\n{_counted(facts, read)}, {'with' if data['labelled'] else 'without'} labels. {_explained(facts)}"
    yield "\n## How often are the models right?\n"
    for one in facts["models"]:
        yield from _right(one, found["models"][one["name"]])
    for two in found["pairs"]:
        yield from _two(two)
    for name, table in by_model.items():
        yield f"\n## How far can the maps of {safe(name)} be believed?\n"
        yield from _maps(table)
    yield from _left_out(facts)
    yield "\n## What these numbers do not say\n"
    yield from (f"- {sentence}" for sentence in NOT_SAID)
    yield "\n## Files\n"
    yield from (f"- `{name}`: {words}" for name, words in files.items())
    yield "\n## To review and to verify\n"
    yield (
        "`streamlit run app.py` and the page *Review*: the pictures with their maps, to be looked at one after the "
        "other; decisions are kept beside these files. The page finds this run where it lies in records/audits/ or "
        "SECOND_LOOK_AUDITS names the folder that holds it.\n"
    )
    yield "```\npython -m xai_core verify RUN\npython -m xai_core gate RUN --policy assets/gate.toml\n```\n"
    yield (
        "RUN is the folder of this page. The first holds every file against manifest.json, the second the numbers "
        "against limits. Pictures are known by the sha256 of their bytes."
    )
    versions = {"Second Look": made_with["app"], "Python": made_with["python"], **made_with["packages"]}
    yield "\nMade with " + ", ".join(f"{safe(key)} {safe(value)}" for key, value in versions.items()) + "."


def _counted(facts: Mapping[str, Any], read: int) -> str:
    """How many pictures: the numbers below are of those that were read."""
    refused = len(facts.get("refused", ()))
    if not refused:
        return f"{read} picture{'s' * (read != 1)}"
    return f"{read + refused} pictures were asked about, {read} could be read, {refused} could not"


def _explained(facts: Mapping[str, Any]) -> str:
    rules = {
        "predicted": "Each map explains the class that its model predicts",
        "true": "Each map explains the true class",
    }
    rule = rules.get(facts["target"], f"Each map explains the class {safe(facts['target'])}")
    wrong = "maps of misclassified pictures were weighed"
    if not facts["data"]["labelled"]:
        wrong = "no maps were weighed: without labels nothing says which pictures are misclassified"
    weighed = {"none": "no maps were weighed", "wrong": wrong}
    return f"{rule}; {weighed.get(facts['weigh'], 'every map was weighed')}. Seed {facts['seed']}."


def _right(model: Mapping[str, Any], numbers: Mapping[str, Any]) -> Iterator[str]:
    """A paragraph on one model: accuracy, what it confuses, whether it knows."""
    weights = str(model["identity"].get("weights_sha256", ""))[:12]
    head = f"**{safe(model['name'])}** (weights {weights}, {numbers['pictures']} pictures)"
    if numbers["why"]:
        yield f"- {head}: {safe(numbers['why'])}."
        return
    right = round(numbers["accuracy"]["mean"] * numbers["n"])
    yield (
        f"- {head} is right on {right} of {numbers['n']} labelled pictures: {_share(numbers['accuracy'])}. "
        f"Balanced over the classes: {_share(numbers['balanced_accuracy'])}."
    )
    if found := numbers["calibration"]:
        yield (
            f"  - Its confidence misses how often it is right by {_share(found['error'])}: expected calibration error. "
            f"On as many pictures a perfectly calibrated model would get {percent(found['by_chance'])}."
        )
    yield from (f"  - {safe(note)}." for note in numbers["notes"])
    for one in numbers["confusions"][:WORST]:
        yield (
            f"  - {safe(one['true'])} taken for {safe(one['predicted'])}: {one['n']}, {percent(one['share'])} of the "
            f"pictures of {safe(one['true'])}."
        )


def _two(two: Mapping[str, Any]) -> Iterator[str]:
    first, second = map(safe, two["models"])
    yield f"\n### {first} and {second}\n"
    if two["why"]:
        yield f"- Who is right where cannot be said: {safe(two['why'])}."
    else:
        if two["p"] is None:
            told = "No picture is right by only one of them, so nothing tells how often they are right apart."
        elif two["p"] <= 0.05:
            told = f"{first if two['only_first'] > two['only_second'] else second} is right more often"
            told += f" (McNemar's exact test, p = {two['p']:.2g})."
        else:
            told = f"That shows no difference in how often they are right (McNemar's exact test, p = {two['p']:.2g})."
        left = f" {safe('; '.join(two['notes']))}." if two["notes"] else ""
        yield (
            f"- Of {two['n']} labelled pictures both are right on {two['both']}, only {first} on {two['only_first']}, "
            f"only {second} on {two['only_second']}, neither on {two['neither']}. {told}{left}"
        )
    if two["agreement"]["mean"] is not None:
        yield f"- They predict the same class on {_share(two['agreement'])} of the pictures."
    for one in two["maps"]:
        yield f"- Maps by {safe(one['method'])}: {_alike(one)}"


def _alike(one: Mapping[str, Any]) -> str:
    left = "; ".join(f"{why} ({count})" for why, count in one["left_out"].items())
    left = f" Left out: {safe(left)}." if left else ""
    if one["correlation"]["mean"] is None:
        return f"nothing to compare.{left}"
    apart = len(one["apart"])
    same = f" On {apart} that both call the same, ranks correlate less than {APART}: look at those." if apart else ""
    return (
        f"rank correlation {number(one['correlation']['mean'])}, overlap of the highest tenth "
        f"{number(one['overlap']['mean'])}, over {one['correlation']['n']} pictures.{same}{left}"
    )


def _maps(table: ScoreTable) -> Iterator[str]:
    if any(row.verdict for row in table.methods):
        yield "| method | verdict of the maps that were weighed |"
        yield "|---|---|"
        yield from (f"| {safe(row.label)} | {row.verdict or 'not weighed'} |" for row in table.methods)
        yield "\nThe reasons are in evidence.parquet.\n"
    yield from tables(table)
    if notes := list(undefined(table)):
        yield "\n### Undefined\n"
        yield from (f"- {safe(note)}" for note in notes)
    yield "\n### Do the methods differ?\n"
    yield from differences(table)


def _left_out(facts: Mapping[str, Any]) -> Iterator[str]:
    """What was asked and could not be done."""
    refused = [f"{safe(file)}: {safe(why)}" for file, why in facts.get("refused", ())]
    lost = [f"{safe(file)} by {safe(model)}: {safe(why)}" for file, model, why in facts.get("quarantined", ())]
    heads: Sequence[tuple[str, Sequence[str]]] = (
        ("Pictures that were refused", refused),
        ("Given up, since the worker died twice of it", lost),
        ("Left out", [safe(one) for one in facts.get("left_out", ())]),
    )
    for head, lines in heads:
        if lines:
            yield f"\n## {head}\n"
            yield from (f"- {line}" for line in lines[:MOST])
            if len(lines) > MOST:
                yield f"- and {len(lines) - MOST} more, all of them in run.json"


def _share(found: Mapping[str, Any]) -> str:
    """A share with its interval, or why there is none."""
    if found["mean"] is None:
        return safe(found["note"])
    if found["low"] is None or found["high"] is None:
        return percent(found["mean"])
    return f"{percent(found['mean'])} (95 % interval {percent(found['low'])} to {percent(found['high'])})"
