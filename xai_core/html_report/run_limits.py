"""What an audit did not test, as far as its files and the records that were named with it can tell."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from xai_core.html_report.audited import RESULTS, Audited
from xai_core.html_report.blocks import Block, Heading, Points, Said, joined, told
from xai_core.html_report.companions import Companions
from xai_core.html_report.run_results import FEW
from xai_core.html_report.story import ALWAYS_OPEN, is_untrained, methods_left, metrics_left, points, probes_left, small
from xai_core.metrics import METRICS
from xai_core.runs import FACTS


def untested(audit: Audited, company: Companions, more: Sequence[str]) -> Iterator[Block]:
    """The section; `more` is said by what lies beside the run."""
    data = audit.data
    said: list[str] = [*small(audit.labelled if data["labelled"] else audit.pictures)]
    said += [*_few_classes(audit)]
    if not data["labelled"]:
        said.append("Labels: there are none, so accuracy, calibration and misses were not measured.")
    said += [methods_left([*audit.own, *company.methods]), metrics_left([*audit.metrics, *company.metrics])]
    said += [*_probes_left(audit, company), *_groups_left(audit, company), *_weights_left(audit)]
    said += [*_masks_left([*audit.metrics, *company.metrics]), *more]
    seeds = sorted({int(one) for one in audit.manifest["seeds"].values()})
    said.append(f"Chance: everything random was drawn from seed {', '.join(map(str, seeds))} alone.")
    devices = {str(one["identity"].get("device", "")) for one in audit.manifest["models"]}
    said.append(told("Other machines: the models were asked on {devices} alone.", devices=", ".join(devices)))
    yield Points((*said, *ALWAYS_OPEN), (RESULTS, audit.source.manifest_file.name))
    refused = [f"{file}: {why}" for file, why in audit.facts.get("refused", ())]
    lost = [f"{file} by {model}: {why}" for file, model, why in audit.facts.get("quarantined", ())]
    for head, lines in (
        ("Pictures that were refused", refused), ("Given up, since the worker died of it", lost),
        ("Left out", list(map(str, audit.facts.get("left_out", ())))),
    ):  # fmt: skip
        if lines:
            yield Heading(head)
            yield from points(lines[:50], (FACTS,))
            if len(lines) > 50:
                yield Said(f"And {len(lines) - 50:,} more, all of them in {FACTS}.", (FACTS,))


def _few_classes(audit: Audited) -> Iterator[str]:
    """Classes with too few pictures, over all models each once."""
    few = {
        str(one["label"]): int(one["support"])
        for found in audit.found["models"].values() for one in found["classes"] if one["support"] < FEW
    }  # fmt: skip
    if few:
        names = ", ".join(f"{label} (n = {count})" for label, count in few.items())
        yield told("Classes with fewer than {few} pictures: {names}. What holds for these is hardly known.",
                   few=FEW, names=names)  # fmt: skip


def _probes_left(audit: Audited, company: Companions) -> Iterator[str]:
    """Of all models in one sentence where the same probes were asked of each."""
    asked = {model: {str(one.record.probe["name"]) for one in company.findings_of(model)} for model in audit.models}
    if len({frozenset(names) for names in asked.values()}) == 1:
        yield probes_left(asked[audit.models[0]])
        return
    yield from (probes_left(names, model) for model, names in asked.items())


def _groups_left(audit: Audited, company: Companions) -> Iterator[str]:
    tested = [one.record.probe.get("column", "") for one in company.findings if one.record.kind == "groups"]
    if tested:
        yield told("Groups: differences were tested by {columns} alone (Probes). Groups that no column names were not "
                   "looked at.", columns=joined(list(dict.fromkeys(map(str, tested)))))  # fmt: skip
    elif not audit.manifest["data"]["columns"]:
        yield "Groups of people or devices: the set names none, so nothing says for whom the models are worse."
    else:
        yield (
            "Groups: accuracy is counted by the columns that the set has, but no difference was tested, and groups "
            "that no column names were not looked at."
        )


def _weights_left(audit: Audited) -> Iterator[str]:
    drawn = [one["name"] for one in audit.manifest["models"] if is_untrained(one["identity"])]
    if drawn:
        yield told("Trained weights: those of {names} were drawn at random, so nothing here is about a model that "
                   "has learnt anything.", names=joined(drawn))  # fmt: skip
    total = {model: sum(audit.verdicts(model).values()) for model in audit.models}
    if not any(total.values()):
        yield "Weights at random: no map was compared with that of a network whose weights were drawn anew."
    elif audit.manifest["weigh"] != "all":
        yield "Weights at random: only the maps that were weighed were compared with those of a redrawn network."


def _masks_left(metrics: Sequence[str]) -> Iterator[str]:
    asked = {one.partition(" ")[0] for one in metrics}
    if not any(name in METRICS and METRICS[name].aspect == "against ground truth" for name in asked):
        yield (
            "Marked evidence: no metric compared a map with what a person marked in the pictures (masks), so "
            "nothing says whether the models look where a specialist would."
        )
