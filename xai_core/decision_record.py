"""What reviewers decided on the pictures of a finished audit, as a record: every row that was ever written, once.

    sheet = sheet_of(open_run("run/"))
    sheet.tables["decisions"]       who decided what and when; `counts` marks what stands
    sheet.tables["agreement"]       of every two reviewers, Cohen's kappa with its interval

The file beside the audit goes on: later decisions are another record. Names of files may be names of people, and stay
out unless somebody wants them in.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xai_core.decisions import COLUMNS, Decision, Decisions, Kappa, kappa_of, kappa_words, lines_of, standing
from xai_core.errors import RecordError
from xai_core.records import Sheet, Table
from xai_core.runs import Run
from xai_core.seal import AUDIT, MANIFEST, Damage, shown
from xai_core.verification import read_manifest

DECISIONS: Mapping[str, str] = {
    "id": "Row",
    "time": "Time (UTC)",
    "reviewer": "Reviewer",
    "picture": "SHA-256 of the picture",
    "file": "File",
    "flag": "Flag",
    "reason": "Reason, its code",
    "words": "Reason",
    "note": "Note",
    "cleared": "Takes back",
    "counts": "Counts",
}
REVIEWERS: Mapping[str, str] = {
    "reviewer": "Reviewer",
    "pictures": "Pictures decided",
    "flagged": "Pictures flagged",
    "rows": "Rows in all",
    "first": "First (UTC)",
    "last": "Last (UTC)",
}
REASONS: Mapping[str, str] = {"reviewer": "Reviewer", "code": "Code", "words": "Reason", "pictures": "Pictures"}
AGREEMENT: Mapping[str, str] = {
    "one": "Reviewer",
    "other": "Other reviewer",
    "by": "By",
    "n": "Pictures that both decided",
    "observed": "Same answer (share)",
    "expected": "Expected by chance (share)",
    "kappa": "Cohen's kappa",
    "low": "95 % interval from",
    "high": "95 % interval to",
    "why": "Why undefined",
}
assert tuple(DECISIONS) == COLUMNS


def sheet_of(run: Run, *, names: bool = False, note: str = "", reviewer: str = "", seed: int = 0) -> Sheet:
    """All decisions on a run as they are now. With `names` also those of the files; `seed` draws the intervals.

    Raises RecordError for a run that is not done, is damaged, or on which nobody has decided anything.
    """
    name, status = shown(run.folder.name), str(run.facts["status"])
    if status != "done":
        raise RecordError(
            f"Cannot seal the decisions on {name}: the audit is not finished ({shown(status)}). Run it again until it "
            "is, then seal."
        )
    audit = _audit(run)
    book = Decisions(run.folder)
    history = book.history()  # once: others may decide meanwhile
    if not history:
        raise RecordError(
            f"Nobody has decided anything on {name}, so there is nothing to seal. Review its cases first."
        )
    stands, pictures = standing(history), set(map(str, run.predictions["picture"]))
    people = sorted({one.reviewer for one in history})
    agreed = [
        (one, other, by, kappa_of(stands, one, other, by, seed))
        for one, other in itertools.combinations(people, 2)
        for by in ("reason", "flag")
    ]
    lines = lines_of(history)
    columns = {key: words for key, words in DECISIONS.items() if names or key != "file"}
    return Sheet(
        "decisions",
        {
            "title": f"Decisions on {run.folder.name}",
            "run": {
                "name": run.folder.name,
                "started": run.facts["started"],
                "pictures": len(pictures),
                "data": run.facts["data"].get("name", ""),
                **audit,
            },
            "models": [{**one["identity"], "name": one["name"]} for one in run.facts["models"]],
            "methods": [dict(one["method"]) for one in run.facts["methods"]],
            "reviewers": people,
            "reasons": book.reasons,
            "seed": seed,
        },
        tuple(_sentences(name, audit, history, stands, pictures, agreed)),
        {
            "reviewers": Table.of("Who decided", REVIEWERS, _reviewers(people, history, stands)),
            "agreement": Table.of("How far reviewers agree", AGREEMENT, map(_agreed, agreed)),
            "reasons": Table.of("Reasons that stand", REASONS, _reasons(stands)),
            "decisions": Table.of("All decisions, the oldest first", columns, lines),
        },
        note=note,
        reviewer=reviewer,
    )


Agreed = tuple[str, str, str, Kappa]


def _audit(run: Run) -> dict[str, Any]:
    """The identity and the hash of the manifest of a run; nothing of one that is not sealed. Raises RecordError."""
    try:
        manifest = read_manifest(run.folder)
        if manifest["kind"] != AUDIT:
            raise Damage("unverifiable", "it is not that of an audit")
    except Damage as damage:
        if damage.status == "missing":
            return {}
        raise RecordError(
            f"Cannot seal the decisions on {shown(run.folder.name)}: {MANIFEST} is {damage.status}, {damage.detail}. "
            "Run the audit again: it writes it anew."
        ) from damage
    return {"id": manifest["id"], "manifest_sha256": manifest["sha256"]}


def _sentences(
    name: str,
    audit: Mapping[str, Any],
    history: Sequence[Decision],
    stands: Sequence[Decision],
    pictures: set[str],
    agreed: Sequence[Agreed],
) -> Iterator[str]:
    decided = {one.picture for one in stands}
    own = Counter(one.reviewer for one in stands)
    who = f": {', '.join(f'{person} on {count:,}' for person, count in sorted(own.items()))}" if own else ""
    yield f"Decisions stand on {len(decided & pictures):,} of the {len(pictures):,} pictures of {name}{who}."
    if strangers := decided - pictures:
        yield f"{_count(len(strangers), 'decided picture')} not in the audit."
    if flagged := {one.picture for one in stands if one.flag}:
        yield f"{_count(len(flagged), 'picture')} flagged by at least one reviewer."
    reasons = Counter(one.words for one in stands if one.words)
    if reasons:
        yield f"Reasons that stand: {', '.join(f'{words} ({count:,})' for words, count in reasons.most_common())}."
    if replaced := len(history) - len(stands):
        yield f"{replaced:,} of {len(history):,} rows were replaced or taken back later; all are kept."
    for one, other, by, found in agreed:
        yield f"{one} and {other}, by the {by}: {kappa_words(found)}"
    if not agreed:
        yield "One reviewer alone decided, so how far people agree is not known."
    yield (
        f"The audit is sealed: the hash of its manifest is {audit['manifest_sha256']}."
        if audit
        else "The audit itself is not sealed: only hashes of pictures and models tie these decisions to it."
    )


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}{' is' if n == 1 else 's are'}"


def _reviewers(
    people: Sequence[str], history: Sequence[Decision], stands: Sequence[Decision]
) -> Iterator[dict[str, Any]]:
    for person in people:
        rows, own = ([one for one in of if one.reviewer == person] for of in (history, stands))
        yield {
            "reviewer": person,
            "pictures": len(own),
            "flagged": sum(bool(one.flag) for one in own),
            "rows": len(rows),
            "first": rows[0].time,
            "last": rows[-1].time,
        }


def _reasons(stands: Sequence[Decision]) -> Iterator[dict[str, Any]]:
    given = Counter((one.reviewer, one.reason, one.words) for one in stands)
    for (reviewer, code, words), count in sorted(given.items()):
        yield {"reviewer": reviewer, "code": code, "words": words or "no reason", "pictures": count}


def _agreed(one: Agreed) -> dict[str, Any]:
    first, other, by, found = one
    return {"one": first, "other": other, "by": by, **found._asdict()}
