"""What a finished audit tells: a set of pictures through models, methods and metrics, with what belongs to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from xai_core.html_report import beside
from xai_core.html_report.audited import RESULTS, WEIGHED, Audited
from xai_core.html_report.beside import Part
from xai_core.html_report.blocks import (
    SHARE,
    Block,
    Facts,
    Grid,
    Head,
    Heading,
    Number,
    Points,
    Said,
    counted,
    joined,
    mean_cells,
    named,
    told,
)
from xai_core.html_report.companions import Companions, gathered
from xai_core.html_report.finding_story import probed
from xai_core.html_report.rankings import disagreements
from xai_core.html_report.run_limits import untested
from xai_core.html_report.run_results import results
from xai_core.html_report.sheet_story import ORDERED_BY, decided, disagreed, scored
from xai_core.html_report.source import Source
from xai_core.html_report.story import (
    NO_METRIC,
    READ_ON,
    VERDICTS,
    Story,
    card,
    made_with,
    notices,
    settings_of,
    signer,
    small,
    verdict_words,
    weighed_sentence,
)
from xai_core.methods import METHODS
from xai_core.metrics import METRICS
from xai_core.probes import PROBES
from xai_core.runs import FACTS, Run
from xai_core.score_summary import NOT_SAID
from xai_core.score_table import CONTROL

MOST_EXAMPLES = 3  # maps of each model, method and verdict whose reasons are given


class Parts(NamedTuple):
    """What files and records beside the run add, in the order of the summary."""

    probes: Part
    scores: Part
    gate: Part
    reviews: Part
    drift: Part


def told_by_run(source: Source, run: Run, companions: Sequence[Path] = ()) -> Story:
    """The story of an audit, with the records in the folders `companions`."""
    audit = Audited(source, run)
    company = gathered(audit, companions)
    parts = Parts(
        probed(company.findings, set(map(str, run.predictions["picture"]))), scored(company.scores),
        beside.gate(source), decided(company.decisions, beside.reviews(source)), beside.drift(company.drifts),
    )  # fmt: skip
    more = [sentence for part in parts for sentence in part.untested]
    sections: dict[str, Sequence[Block]] = {
        "summary": [*_summary(audit, parts)],
        "asked": [*_asked(audit, company)],
        "results": [*results(audit), *parts.scores.blocks, *parts.gate.blocks, *parts.drift.blocks],
        "evidence": [*_evidence(audit)],
        "probes": parts.probes.blocks,
        "decisions": parts.reviews.blocks,
        "disagreements": [*_disagreements(audit, company)],
        "untested": [*untested(audit, company, more)],
        "card": [*_cards(audit, company)],
    }
    about = told(
        "An audit of {pictures} through {models}, {methods} and {metrics}",
        pictures=counted(audit.pictures, "picture"), models=counted(len(audit.models), "model"),
        methods=counted(len(audit.own), "attribution method"), metrics=counted(len(audit.metrics), "metric"),
    )  # fmt: skip
    return Story(told("Audit of {name}", name=audit.data["name"]), about, sections, _known(audit, parts))


# ---- summary -----------------------------------------------------------------------------------------------------


def _summary(audit: Audited, parts: Parts) -> Iterator[Block]:
    yield from notices(one["identity"] | {"name": one["name"]} for one in audit.manifest["models"])
    data, refused = audit.data, len(audit.facts.get("refused", ()))
    lost = f" {counted(refused, 'picture')} could not be read." if refused else ""
    yield Said(
        told(
            "{pictures} of the set {name} were shown to {models}, and {methods} drew which pixels spoke for each "
            "answer.{lost}",
            pictures=counted(audit.pictures, "picture"), name=data["name"], models=joined(audit.models, " and "),
            methods=counted(len(audit.own), "attribution method"), lost=lost,
        ),
        (RESULTS,),
    )  # fmt: skip
    yield Points(tuple(_right_sentence(audit, model) for model in audit.models), (RESULTS,))
    if any(audit.verdicts(model) for model in audit.models):
        yield Points(tuple(_weighed_sentence(audit, model) for model in audit.models), (RESULTS,))
    else:
        yield Said("No map was weighed, so nothing here says how far any map can be believed.")
    yield from (block for part in parts for block in part.summary)
    limits = [*small(audit.labelled if data["labelled"] else audit.pictures)]
    if not data["labelled"]:
        limits.append("No picture has a label, so nothing here says whether the models are right.")
    limits.append(f"{_asked_count(audit)} {READ_ON}")
    yield Points(tuple(limits))


def _asked_count(audit: Audited) -> str:
    all_of = sum(METHODS[one].family != CONTROL for one in METHODS)
    return (
        f"{len(audit.own)} of {all_of} attribution methods and {len(audit.metrics)} of {len(METRICS)} "
        "metrics of this program were asked."
    )


def _right_sentence(audit: Audited, model: str) -> str:
    found = audit.found["models"][model]
    if found["why"]:
        return told("Whether {model} is right cannot be said: {why}.", model=model, why=found["why"])
    value, interval, n = mean_cells(found["accuracy"], SHARE)
    return told(
        "{model} is right on {right} of {n} labelled pictures: {value} (95 % interval {interval}).",
        model=model, right=Number(round(found["accuracy"]["mean"] * found["n"])), n=n, value=value,
        interval=interval,
    )  # fmt: skip


def _weighed_sentence(audit: Audited, model: str) -> str:
    counts = audit.verdicts(model)
    said = weighed_sentence(counts) if counts.total() else "no map was weighed"
    return told("{model}: {said}.", model=model, said=said)


# ---- what was asked ----------------------------------------------------------------------------------------------


def _asked(audit: Audited, company: Companions) -> Iterator[Block]:
    data, seeds = audit.data, audit.manifest["seeds"]
    rules = {"predicted": "the class that each model predicts", "true": "the true class (the label)"}
    weighed = {
        "none": "no map", "wrong": "the maps of pictures that a model got wrong", "all": "every map",
    }  # fmt: skip
    yield Facts(
        (
            ("Set of pictures", str(data["name"])),
            ("Pictures asked about", Number(int(data["cases"]))),
            ("Set, sha256", data.get("sha256") or "not recorded"),
            ("Labels", "yes" if data["labelled"] else "none"),
            ("Columns on groups", ", ".join(map(str, data["columns"])) or "none"),
            ("Explained", rules.get(audit.manifest["target"], f"the class {audit.manifest['target']}")),
            ("Weighed", weighed.get(audit.manifest["weigh"], str(audit.manifest["weigh"]))),
            ("Seeds", ", ".join(f"{key}: {value}" for key, value in seeds.items())),
            ("Engine", str(audit.manifest["engine"])),
            ("Started and ended", f"{audit.manifest['started']} to {audit.manifest['ended']}"),
            ("Named with it", "; ".join(company.said()) or "no other record"),
            *made_with(audit.manifest),
            ("Signed by", signer(audit.manifest)),
        ),
        (audit.source.manifest_file.name,),
    )
    yield Grid(
        "Models",
        (Head("model"), Head("weights, sha256"), Head("task"), Head("device")),
        tuple(
            (one["name"], one["identity"].get("weights_sha256", ""), one["identity"].get("task", ""),
             one["identity"].get("device", ""))
            for one in audit.manifest["models"]
        ),
        (audit.source.manifest_file.name,),
    )  # fmt: skip
    yield Grid(
        "Attribution methods",
        (Head("method"), Head("family"), Head("settings"), Head("says nothing about")),
        tuple(
            (named(one["name"], METHODS), str(one["family"]), settings_of(one["method"]), _refused_by(one))
            for one in audit.methods
        ),
        (audit.source.manifest_file.name,),
    )
    yield Said("Controls know nothing of any model. They are what a map must beat.")
    if audit.manifest["metrics"]:
        yield Grid(
            "Metrics",
            (Head("metric"), Head("what it says"), Head("settings")),
            tuple(
                (named(one["name"], METRICS), _says(one["metric"]), settings_of(one["metric"]))
                for one in audit.manifest["metrics"]
            ),
            (audit.source.manifest_file.name,),
        )


def _refused_by(method: Mapping[str, Any]) -> str:
    return ", ".join(name for name, one in method["by_model"].items() if one["fitted"] is None) or "none of them"


def _says(metric: Mapping[str, Any]) -> str:
    name = str(metric["name"])
    return METRICS[name].summary() if name in METRICS else "not known to this version"


# ---- evidence ----------------------------------------------------------------------------------------------------


def _evidence(audit: Audited) -> Iterator[Block]:
    rows = []
    for model in audit.models:
        for method in audit.own:
            counts = audit.counts(model, method)
            rows.append(
                (model, named(method, METHODS), *(Number(int(counts.get(one, 0))) for one in VERDICTS),
                 Number(sum(map(int, counts.values()))))
            )  # fmt: skip
    if not any(audit.verdicts(model) for model in audit.models):
        yield Said(
            "No map was weighed. Nothing here says how far any map can be believed: look at none of them as "
            "evidence. Weigh them with --weigh all.",
            (RESULTS,), "alarm",
        )  # fmt: skip
        return
    heads = (Head("model"), Head("method"), *(Head(one, True) for one in VERDICTS), Head("weighed", True))
    yield Grid("How many maps got which verdict", heads, tuple(rows), (RESULTS,))
    yield verdict_words()
    yield from _reasons(audit)


def _reasons(audit: Audited) -> Iterator[Block]:
    table, rows = audit.run.evidence, []
    shown = table[table["method"].isin(audit.own) & (table["verdict"] != "supported")]
    for (model, method, verdict), some in shown.groupby(["model", "method", "verdict"], sort=False):
        for one in some.head(MOST_EXAMPLES).itertuples():
            rows.append((model, named(method, METHODS), verdict, one.file, str(one.reasons)))
    if rows:
        yield Grid(
            f"Why: up to {MOST_EXAMPLES} maps of each verdict",
            (Head("model"), Head("method"), Head("verdict"), Head("file"), Head("reasons")),
            tuple(rows), (WEIGHED,), max(0, len(shown) - len(rows)),
        )  # fmt: skip


# ---- disagreements -----------------------------------------------------------------------------------------------


def _disagreements(audit: Audited, company: Companions) -> Iterator[Block]:
    if not audit.aggregate:
        yield Said(NO_METRIC)
    for model in audit.models:
        if lines := [one for one in audit.aggregate if one["model"] == model]:
            yield Heading(told("{model}", model=model))
            yield from disagreements(told("{title}: {model}", title=ORDERED_BY, model=model), lines, (RESULTS,))
    figure = audit.source.figure(
        "method_ranking.png", "The ranks of the methods by every metric, 1 the best, as in the lists above.",
        "Ranks of the methods by every metric",
    )  # fmt: skip
    if figure is not None:
        yield figure
    for one in company.scores:
        yield Heading(told("Score table, from the record {name}", name=one.name))
        yield from disagreed(one.source, one.record, told("{title} ({name})", title=ORDERED_BY, name=one.name))
    if audit.aggregate:
        yield Heading("What these numbers do not say")
        yield Points(NOT_SAID)


# ---- model cards and annex ---------------------------------------------------------------------------------------


def _cards(audit: Audited, company: Companions) -> Iterator[Block]:
    for one in audit.manifest["models"]:
        name = str(one["name"])
        measured: list[tuple[str, Any]] = [("Measured here", _right_sentence(audit, name))]
        if counts := audit.verdicts(name):
            measured.append(("Its maps", f"{weighed_sentence(counts)}."))
        for found in company.findings_of(name):
            measured.append((f"Probed: {named(found.record.probe['name'], PROBES)}", found.record.sentences[0]))
        yield from card(
            {**one["identity"], "name": name}, audit.run.labels(name), measured,
            (audit.source.manifest_file.name, FACTS, RESULTS),
        )  # fmt: skip


def _known(audit: Audited, parts: Parts) -> dict[str, str]:
    version = audit.manifest["made_with"]["app"]
    known = {
        "1(a)": told("The models are {names}, each told by the hash of its weights (Model card).",
                     names=joined(audit.models)),
        "1(c)": told("The software that this audit ran on: Second Look {version} and the packages under What was "
                     "asked. The software of the system itself is not known.", version=version),
        "1(e)": told("The audit itself ran on: {devices}.", devices=", ".join(
            dict.fromkeys(str(one["identity"].get("device", "")) for one in audit.manifest["models"]))),
        "2(e)": "Attribution maps with verdicts that say how far each can be believed (Evidence and verdicts)"
                + (", and what reviewers decided case by case (Decisions)." if parts.reviews.summary else "."),
        "2(g)": told("The set {name}, {pictures}, known by its hash; metrics, results and limits (Results, What "
                     "was not tested). Made {created}. {signed}", name=audit.data["name"],
                     pictures=counted(audit.pictures, "picture"), created=audit.manifest["created"],
                     signed=signer(audit.manifest)),
        "3": "Accuracy, calibration and confusions with intervals, by group where the set names groups (Results), "
             + ("what the models lean on when pictures are changed (Probes), " if parts.probes.summary else "")
             + "and limits (What was not tested).",
        "4": "What each metric measures is said under What was asked, and where they disagree. Why they are the "
             "right ones for the intended purpose is open.",
    }  # fmt: skip
    origins = {str(one["identity"].get("weights", "")) for one in audit.manifest["models"]} - {""}
    if origins:
        known["2(a)"] = told("Where the weights come from, as recorded: {origins}.", origins="; ".join(origins))
    kinds = [str(one["identity"].get("architecture", "")) for one in audit.manifest["models"]]
    if any(kinds):
        known["2(c)"] = told("Architectures: {kinds}; number of parameters under Model card.",
                             kinds=", ".join(filter(None, dict.fromkeys(kinds))))  # fmt: skip
    if parts.drift.summary:
        known["6"] = "How this version differs from an earlier one on the same pictures (Results, drift)."
        known["9"] = "The same audit can be repeated on later weights and compared (Results, drift)."
    return known
