"""What every report tells, whatever it is of, and the words that several of them share."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from xai_core.canvas import percent
from xai_core.html_report.blocks import (
    Block,
    Facts,
    Grid,
    Head,
    Heading,
    Number,
    Points,
    Said,
    Sources,
    counted,
    joined,
    told,
)
from xai_core.methods import FAMILIES, METHODS
from xai_core.metrics import ASPECTS, METRICS
from xai_core.probes import PROBES
from xai_core.records import Evidence, Finding, Record, Sheet
from xai_core.score_table import CONTROL
from xai_core.seal import MANIFEST
from xai_core.statistics import FEWEST_FOR_INTERVAL

# The sections in their order, by the names that links in the page have.
SECTIONS: Mapping[str, str] = {
    "summary": "Summary",
    "asked": "What was asked",
    "results": "Results",
    "evidence": "Evidence and verdicts: how far the maps can be believed",
    "probes": "Probes: what the model leans on",
    "decisions": "Decisions of reviewers",
    "disagreements": "Where the metrics disagree",
    "untested": "What was not tested",
    "card": "Model card",
    "annex": "Annex: technical documentation in the order of the EU AI Act",
    "files": "Files and their hashes",
    "notice": "Notice",
}
Saved = Record | Finding | Sheet
FROM: Sources = (MANIFEST,)
READ_ON = "Read the section What was not tested before you rely on any of it."
NOT_WEIGHED = "No map was weighed, so nothing here says how far any map can be believed: look at none as evidence."
NO_METRIC = "No metric was computed, so none can disagree."
NO_PROBE = "No probe belongs to this record: nothing in it says what the model leans on."
MOST_LABELS = 60  # of a model on the page
MANY = 300  # pictures, of which a failure that strikes 1 % is hardly missed
RANDOM = "random weights"  # begins the notice of a model that has learnt nothing
# What each verdict says, to somebody who has not read the papers.
VERDICTS: Mapping[str, str] = {
    "supported": "The map passed every check that could be asked of it. It is placed better than chance, depends on "
    "what the model has learnt, and tells the class from the next likeliest. It does not say that the model is right.",
    "weak": "The map is placed better than chance, but hardly tells classes apart, or comes out otherwise by another "
    "seed. Do not rest a decision on it.",
    "no evidence": "The map shows nothing that an arbitrary place, an edge detector or an untrained network would not "
    "show as well. It says nothing about why the model answered as it did.",
    "not valid for this model": "The map breaks what its method promises for this model. Leave it out of any argument.",
}


@dataclass(frozen=True)
class Story:
    """A report before it is drawn: blocks under the names of SECTIONS, and what is `known` by item of Annex IV."""

    title: str
    about: str
    sections: Mapping[str, Sequence[Block]]
    known: Mapping[str, str] = field(default_factory=dict)


def settings_of(spec: Mapping[str, Any]) -> str:
    """The settings of a method, a metric or a probe in one line."""
    said = (
        f"{key} = {(value or 'by default') if isinstance(value, str) else json.dumps(value)}"
        for key, value in spec.items()
        if key != "name"
    )
    return ", ".join(said) or "none"


def short(sha256: object) -> str:
    """The beginning of a hash, by which people tell pictures and weights apart."""
    return str(sha256)[:12]


def notices(models: Iterable[Mapping[str, Any]]) -> Iterator[Said]:
    """What must be said wherever a model's answers are shown; random weights are an alarm."""
    for model in models:
        if words := str(model.get("notice") or ""):
            loud = "alarm" * is_untrained(model)
            yield Said(told("{name}: {words}", name=model.get("name", "unnamed"), words=words), (), loud)


def is_untrained(model: Mapping[str, Any]) -> bool:
    """Whether the notice of a model says that its weights were drawn at random."""
    return str(model.get("notice") or "").lower().startswith(RANDOM)


def verdict_words() -> Grid:
    """What the verdicts mean."""
    return Grid("What the verdicts mean", (Head("verdict"), Head("what it says")), tuple(VERDICTS.items()))


def checks_grid(title: str, found: Evidence, source: Sources) -> Grid:
    """Every check of one map."""
    words = {True: "passed", False: "failed", None: "not asked"}
    rows = tuple(
        (one.name, words[one.passed], Number(one.value), Number(one.limit), one.sentence) for one in found.checks
    )
    heads = (Head("check"), Head("result"), Head("measured", True), Head("limit", True), Head("in words"))
    return Grid(title, heads, rows, source)


def made_with(manifest: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Rows on when and with what a record was made."""
    made = manifest.get("made_with", {})
    rows: list[tuple[str, Any]] = [("Made", manifest.get("created", "not recorded"))]
    rows.append(("Program", f"Second Look {made.get('app', 'of unknown version')}"))
    rows += [("Commit", made["commit"])] if made.get("commit") else []
    rows += [("Machine", f"{made.get('platform', 'not recorded')}, Python {made.get('python', 'not recorded')}")]
    packages = made.get("packages", {})
    rows += [("Packages", ", ".join(f"{name} {version}" for name, version in packages.items()) or "not recorded")]
    if flags := made.get("determinism"):
        rows.append(("Determinism", settings_of(flags) if isinstance(flags, Mapping) else str(flags)))
    return tuple(rows)


def signer(manifest: Mapping[str, Any]) -> str:
    """Who signed the record, as far as it says."""
    signature = manifest.get("signature")
    if not isinstance(signature, Mapping):
        return "Nobody: the record is unsigned."
    return f"The {signature.get('algorithm')} key {signature.get('public_key')}. Ask its owner whether it is theirs."


def about(record: Saved) -> tuple[tuple[str, Any], ...]:
    """Rows on who made a record, when, and with what."""
    rows: list[tuple[str, Any]] = [*made_with(record.manifest), ("Signed by", signer(record.manifest))]
    rows += [("Record", record.manifest.get("id", ""))]
    if chain := record.manifest.get("chain"):
        rows.append(("Place in its folder's chain", Number(int(chain["sequence"]))))
    return (*rows, ("Reviewer", record.reviewer or "nobody is named"))


def noted(record: Saved) -> Iterator[Block]:
    """What somebody wrote on the record, and who."""
    if record.note:
        yield Said("Note:", FROM)
        yield Said(record.note, (), "note")
    if record.reviewer:
        yield Facts((("Reviewer", record.reviewer),), FROM)
    yield Said("Decisions on cases stand beside audits: this record holds none.")


def known_of(record: Saved, names: Sequence[str]) -> dict[str, str]:
    """What every record says to items of Annex IV."""
    made = record.manifest["made_with"]
    known: dict[str, str] = {
        "1(c)": told("The software that this record was made with: Second Look {version} and its packages (What was "
                     "asked). The software of the system itself is not known.", version=made["app"]),
        "2(g)": told("One test, made {created}: what was asked, results and limits. {signed}",
                     created=record.manifest["created"], signed=signer(record.manifest)),
    }  # fmt: skip
    if names:
        known["1(a)"] = told("The models are {names}, each told by the hash of its weights (Model card).",
                             names=joined(names))  # fmt: skip
    return known


# ---- what was not tested ---------------------------------------------------------------------------------------------


def methods_left(tried: Iterable[str]) -> str:
    """Which attribution methods were not tried."""
    names = {str(name).partition(" ")[0] for name in tried}
    left = [one for one in METHODS if one not in names and METHODS[one].family != CONTROL]
    used = [one for one in METHODS if one in names and METHODS[one].family != CONTROL]
    missing = [
        family for family in FAMILIES if family != CONTROL and not any(METHODS[o].family == family for o in used)
    ]
    whole = f" Of the families {', '.join(missing)} there is none at all." if missing else ""
    return told(
        "Attribution methods: {used} of the {all} that this program has were tried. Not tried: {left}.{whole}",
        used=len(used), all=len(used) + len(left), left=", ".join(METHODS[one].label for one in left) or "none",
        whole=whole,
    )  # fmt: skip


def metrics_left(tried: Iterable[str]) -> str:
    """Which metrics were not computed."""
    names = {str(name).partition(" ")[0] for name in tried}
    left = [one for one in METRICS if one not in names]
    used = [one for one in METRICS if one in names]
    missing = [aspect for aspect in ASPECTS if not any(METRICS[one].aspect == aspect for one in used)]
    return told(
        "Metrics: {used} of {all} were computed. Not computed: {left}. {aspects}",
        used=len(used), all=len(used) + len(left), left=", ".join(METRICS[one].label for one in left) or "none",
        aspects=f"So nothing was measured of these aspects: {', '.join(missing)}." if missing else "",
    )  # fmt: skip


def probes_left(asked: Iterable[str], model: str = "") -> str:
    """Which probes were not asked, of one model where several are told apart."""
    names = set(asked)
    left = [one for one in PROBES if one not in names]
    return told(
        "Probes{of}: {used} of {all} stand in this report. Not asked here: {left}. Whether the model leans on these is "
        "not known from it.",
        of=told(" of {model}", model=model) if model else told(""),
        used=len(PROBES) - len(left), all=len(PROBES), left=", ".join(PROBES[one].label for one in left) or "none",
    )  # fmt: skip


def small(count: int, what: str = "picture") -> Iterator[str]:
    """What too few pictures forbid to say."""
    if count == 1:
        yield f"Other {what}s: this is one {what} (n = 1). Nothing here says how the model fares on others."
    elif count < FEWEST_FOR_INTERVAL:
        yield (
            f"Other {what}s: {count} are too few for any interval (n = {count}; at least {FEWEST_FOR_INTERVAL} are "
            "needed), so nothing here carries over to others."
        )
    elif count < MANY:
        missed = percent(1 - 0.05 ** (1 / count))
        yield (
            f"Rare failures: {counted(count, what)} are few (n = {count}). Even a failure that strikes {missed} of all "
            f"{what}s shows on none of so many once in 20 times."
        )


ALWAYS_OPEN = (
    "Clinical or practical benefit: nothing here says whether people decide better with the model than without it.",
    "The data that the model was trained on, and whether the pictures here are among them: a record of this program "
    "knows neither.",
    "Attacks: pictures that were changed with intent to deceive the model were not tried.",
)


# ---- the model -------------------------------------------------------------------------------------------------------

_CARD: Mapping[str, str] = {
    "name": "Name",
    "architecture": "Architecture",
    "weights": "Origin of the weights",
    "weights_sha256": "Weights, sha256",
    "preprocessing_sha256": "Preprocessing, sha256",
    "labels_sha256": "Labels, sha256",
    "structure_sha256": "Structure, sha256",
    "task": "What its outputs mean",
    "classes": "Number of outputs",
    "labels_from": "Origin of the labels",
    "parameters": "Number of parameters",
    "licence": "Licence",
    "notice": "Notice",
    "dtype": "Precision it was asked in",
    "device": "Device it was asked on",
}
_NOT_KNOWN = (
    ("Intended use, and uses that are ruled out", "open: to be written by the provider"),
    ("Training data, their origin and consent", "open: not in a record of this program"),
    ("How it was trained and chosen", "open: not in a record of this program"),
    ("People it was made for, and people it was not tried on", "open: to be written by the provider"),
    ("Who is responsible for it, and how to reach them", "open: to be written by the provider"),
)


def card(
    model: Mapping[str, Any], labels: Sequence[str], measured: Sequence[tuple[str, Any]], source: Sources
) -> Iterator[Block]:
    """What is known of a model, and what is not."""
    yield Heading(told("{name}", name=model.get("name", "unnamed")))
    known = [(words, str(model[key])) for key, words in _CARD.items() if model.get(key) not in (None, "")]
    known += [(str(key), str(value)) for key, value in model.items() if key not in _CARD and value not in (None, "")]
    if labels:
        more = f" … and {len(labels) - MOST_LABELS:,} more" if len(labels) > MOST_LABELS else ""
        known.append(("Labels", told("{labels}{more}", labels=joined(labels[:MOST_LABELS]), more=more)))
    yield Facts((*known, *measured), source)
    yield Said("Not known:")
    yield Facts(_NOT_KNOWN)


def weighed_sentence(counts: Mapping[str, int]) -> str:
    """How many maps got which verdict, the best first."""
    total = sum(counts.values())
    said = ", ".join(f"{counts.get(verdict, 0)} {verdict}" for verdict in VERDICTS)
    others = [f"{count} {verdict}" for verdict, count in counts.items() if verdict not in VERDICTS]
    return f"{counted(total, 'map was', 'maps were')} weighed: {', '.join([said, *others])}"


def points(items: Iterable[str], source: Sources = ()) -> Iterator[Points]:
    """A list, where there is anything to list."""
    kept = tuple(items)
    if kept:
        yield Points(kept, source)
