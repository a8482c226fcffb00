"""Records that belong to an audit and that somebody named with it: findings, sealed decisions, score tables, drift.

Each is held against its own manifest first, and against the audit: it must be of the same weights, or of that very run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

from xai_core.errors import RecordError
from xai_core.html_report.audited import Audited
from xai_core.html_report.beside import DRIFT, Drifted, drifted
from xai_core.html_report.blocks import named
from xai_core.html_report.source import Source, opened
from xai_core.html_report.story import short
from xai_core.probes import PROBES
from xai_core.records import Finding, Sheet
from xai_core.seal import AUDIT, MANIFEST, shown
from xai_core.store import open_record
from xai_core.verification import existing

Kind = TypeVar("Kind", Finding, Sheet)
WHAT = "findings of probes, sealed decisions, score tables and the folder of a drift"


@dataclass(frozen=True)
class Companion(Generic[Kind]):
    """A record with its files, and the models of the audit that it is of, by the names that they have there."""

    source: Source
    record: Kind
    models: tuple[str, ...]

    @property
    def name(self) -> str:
        """What the report calls it: the name of its folder."""
        return self.source.within.rstrip("/")


@dataclass
class Companions:
    """All of them by what they are, each in the order in which they were named."""

    findings: list[Companion[Finding]] = field(default_factory=list)
    decisions: list[Companion[Sheet]] = field(default_factory=list)
    scores: list[Companion[Sheet]] = field(default_factory=list)
    drifts: list[Drifted] = field(default_factory=list)

    def findings_of(self, model: str) -> list[Companion[Finding]]:
        """What probes found of one model of the audit."""
        return [one for one in self.findings if model in one.models]

    def said(self) -> Iterator[str]:
        """What each is, and what the report calls it."""
        yield from (f"{one.name}: probe {named(one.record.probe['name'], PROBES)}" for one in self.findings)
        yield from (f"{one.name}: a score table" for one in self.scores)
        yield from (f"{one.name}: sealed decisions" for one in self.decisions)
        yield from (f"{one.name}: a comparison with an earlier run" for one in self.drifts)

    @property
    def methods(self) -> list[str]:
        """The attribution methods that they asked."""
        findings = [str(one["name"]) for companion in self.findings for one in companion.record.methods]
        return [*findings, *(name for one in self.scores for name in asked_of(one.record, "methods"))]

    @property
    def metrics(self) -> list[str]:
        """The metrics that they computed."""
        return [name for one in self.scores for name in asked_of(one.record, "metrics")]


def asked_of(sheet: Sheet, what: str) -> list[str]:
    """The names of the methods or metrics that a sheet says it is of."""
    return [str(one.get("name", "")) for one in sheet.about.get(what) or () if isinstance(one, Mapping)]


def models_of(sheet: Sheet) -> list[Mapping[str, Any]]:
    """The identities of the models that a sheet says it is of."""
    said = sheet.about.get("models") or [sheet.about.get("model")]
    return [one for one in said if isinstance(one, Mapping)]


def gathered(audit: Audited, folders: Sequence[Path]) -> Companions:
    """The records in `folders`, whose files join those of the audit. Raises RecordError for one that is no such."""
    company, met = Companions(), {existing(audit.source.folder).resolve()}
    for folder, within in zip(folders, _names(folders), strict=True):
        place = existing(folder).resolve()
        if place in met:
            raise _refused(folder, "it was named twice. Name it once")
        met.add(place)
        if (folder / DRIFT).is_file() and not (folder / MANIFEST).exists():
            company.drifts.append(_drift(audit, folder, within))
        else:
            _join(company, audit, folder, within)
    return company


def _names(folders: Sequence[Path]) -> Iterator[str]:
    """What stands before the names of the files of each: its folder's name, numbered where another has the same."""
    met: dict[str, int] = {}
    for folder in folders:
        name = folder.resolve().name
        met[name] = met.get(name, 0) + 1
        yield f"{name} ({met[name]})/" if met[name] > 1 else f"{name}/"


def _join(company: Companions, audit: Audited, folder: Path, within: str) -> None:
    source = opened(folder, within)
    record = None if source.kind == AUDIT else open_record(folder)
    if isinstance(record, Finding):
        company.findings.append(Companion(source, record, _same_weights(audit, folder, record.model)))
    elif isinstance(record, Sheet) and record.kind == "scores":
        [model, *_] = models_of(record) or [{}]
        company.scores.append(Companion(source, record, _same_weights(audit, folder, model)))
    elif isinstance(record, Sheet):
        run = record.about.get("run")
        if not isinstance(run, Mapping) or run.get("manifest_sha256") != audit.manifest["sha256"]:
            raise _refused(
                folder, "its decisions are on another audit, or on an earlier state of this one. Seal them anew"
            )
        company.decisions.append(Companion(source, record, tuple(audit.models)))
    else:
        kind = "another audit: compare the two with drift, and name its folder" if source.kind == AUDIT else (
            "a record of maps: report on it by itself"
        )  # fmt: skip
        raise _refused(folder, f"it is {kind}. Here go {WHAT}")
    audit.source.companions.append(source)


def _same_weights(audit: Audited, folder: Path, model: Mapping[str, Any]) -> tuple[str, ...]:
    """The models of the audit that have the weights of `model`. Raises RecordError where there is none."""
    sha256 = model.get("weights_sha256")
    if models := audit.with_weights(sha256):
        return tuple(models)
    of = f"{shown(str(model.get('name', 'unnamed')))} with weights {shown(short(sha256 or 'not recorded'))}"
    raise _refused(folder, f"it is of {of}, which no model of the audit has. Leave it out, or ask a model of the audit")


def _drift(audit: Audited, folder: Path, within: str) -> Drifted:
    place = f"{within}{DRIFT}"
    content = audit.source.taken(folder / DRIFT, place)
    found = None if content is None else drifted(content, within.rstrip("/"), place)
    if found is None:
        raise _refused(folder, f"its {DRIFT} is no comparison of two runs. Make it again: drift OLD NEW --out FOLDER")
    if not all(audit.with_weights(weights) for weights in found.weights):
        raise _refused(folder, "the later run that it compares had other weights than this audit. Compare this run")
    return found


def _refused(folder: Path, why: str) -> RecordError:
    return RecordError(f"Cannot add {shown(folder.name)} to the report: {why}.")
