"""Verify a record, and ask its answers again: of the same weights, on the same bytes, with the same settings and seed.

    verify("record", recompute=True)                     every answer of a record
    verify("run", recompute=20, data="pictures/")        20 answers of an audit, drawn by a seed that the report names

Whoever seals a forged map anew fools hashes, and not this. Asked again are predictions, maps with their heatmaps and
overlays, and what a probe found with its frames; not verdicts, scores, figures and charts. Nothing is ever taken from a
store of answers, and nothing is written.
"""

from __future__ import annotations

import dataclasses
import re
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xai_core import verification
from xai_core.declared import Types, check, check_named
from xai_core.errors import AuditError, Cancelled, RecordError, SettingError, UnsupportedError
from xai_core.finding_files import rgb_of
from xai_core.manifest import drawings
from xai_core.records import Case, Explanation, Finding, Prediction, Record, Sheet
from xai_core.reloading import Models, NotHere, Pictures
from xai_core.sameness import Pair, changed_since, judged, same_finding, same_map
from xai_core.seal import AUDIT, Damage, listing, maps_shape, shown
from xai_core.verification import Recomputed, Report

if TYPE_CHECKING:
    from xai_core.cases import CaseSet
    from xai_core.models import Model
    from xai_core.runs import Run

SEEDS = 2**32
PARTS = 1000  # of one answer, in which progress is told
LEFT_OUT = re.compile(r"Picture (\d{1,9}): (.*)", re.ASCII | re.DOTALL)
DRAWS = ("Second Look ", "numpy ", "pillow ")  # what a heatmap and an overlay are drawn with
DRAWN = "drawn by hand"  # how a finding says that a person showed where a part lies
NOT_ASKED = "Not compared: verdicts, scores, and figures with text and axes."
CLAIMED = "what its classes are called is what the record says, and was held against no file of labels"
WORDS = {"equal": "equal to the byte"}
COLUMNS: Types = {  # of predictions.parquet, as far as answers are made of them
    **dict.fromkeys(("file", "picture", "model", "predicted"), str),
    "label": str | None,
    "probabilities": tuple[float, ...] | None,
}
Progress = Callable[[int, int], None]
Answer = Callable[["_Asking", Progress], Recomputed]


def verify(
    folder: str | Path,
    *,
    recompute: bool | int = False,
    image: str | Path | bytes | None = None,
    data: str | Path | CaseSet | None = None,
    checkpoints: Sequence[str | Path] = (),
    labels: str | Path | None = None,
    models: Sequence[Model] = (),
    device: str | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
    cancel: threading.Event | None = None,
) -> Report:
    """Compare every byte of a record or an audit with its manifest; then ask `recompute` of its answers again, or all.

    Pictures are found by the sha256 of their bytes: the upload that the record kept, `image`, the set `data`, the
    samples of the project. Networks are loaded by what the record says of them, and must have the weights and the
    preprocessing that it says; `models` are some at hand, `checkpoints` and `labels` files of weights and of labels.
    `device` is by default that of the record. The `seed` that draws answers is itself drawn by default, so that no
    forger knows which will be asked. `progress` is told (parts done, parts in all). Raises RecordError if `folder` is
    none, SettingError for what cannot be asked, Cancelled once `cancel` is set; an answer that cannot be recomputed is
    reported, with the reason.
    """
    if recompute < 0:
        raise SettingError(f"{recompute} answers cannot be recomputed. Name a number from 1 on.")
    if seed is not None and not 0 <= seed < SEEDS:
        raise SettingError(f"Seed {seed} is not allowed. Choose one from 0 to {SEEDS - 1}.")
    report = verification.verify(folder)
    if not recompute:
        return report
    if not report.intact:
        return dataclasses.replace(report, asked="Nothing was recomputed: the files are not those that were saved.")
    seed = secrets.randbelow(SEEDS) if seed is None else seed
    loader, count = Models(models, checkpoints, labels, device), None if recompute is True else int(recompute)
    asking = _Asking(Path(folder), loader, Pictures(image, data, cancel=cancel), cancel)
    answers, total = asking.drawn(count, np.random.default_rng(seed))
    found, furthest = [], 0
    for number, answer in enumerate(answers):
        asking.stop_if_cancelled()

        def told(done: int, of: int, before: int = number) -> None:
            nonlocal furthest  # what is asked in two ways begins again
            furthest = max(furthest, before * PARTS + min(done * PARTS // max(of, 1), PARTS))
            if progress is not None:
                progress(furthest, len(answers) * PARTS)

        found.append(answer(asking, told))
        told(1, 1)
    which = f"Recomputed {len(found)} of {total:,} answers" + (f", drawn by seed {seed}" if len(found) < total else "")
    counts = Counter(one.outcome for one in found)
    came = ", ".join(f"{number} {WORDS.get(outcome, outcome)}" for outcome, number in counts.items())
    asked = f"{which}: {came or 'none'}. {NOT_ASKED}"
    return dataclasses.replace(report, recomputed=tuple(found), asked=asked)


class _Asking:
    """A record that is intact, and where its models and pictures are looked for."""

    def __init__(self, folder: Path, models: Models, pictures: Pictures, cancel: threading.Event | None) -> None:
        self.folder, self.models, self.pictures, self.cancel = folder, models, pictures, cancel
        self.manifest: Mapping[str, Any] = {}

    def stop_if_cancelled(self) -> None:
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("Cancelled. Nothing was written.")

    def drawn(self, count: int | None, draw: np.random.Generator) -> tuple[list[Answer], int]:
        """The answers that are asked again, and how many the record holds. Those of one model follow one another."""
        from xai_core.store import open_record

        try:
            self.manifest = verification.read_manifest(self.folder)
        except Damage as damage:  # since it was verified
            raise RecordError(f"The manifest is {damage.status}: {damage.detail}. Verify it again.") from None
        if self.manifest["kind"] == AUDIT:
            return _of_audit(self, count, draw)
        record = open_record(self.folder)
        if isinstance(record, Record):
            self.pictures.keep(record.upload)
            answers = _of_record(record)
        elif isinstance(record, Finding):
            answers = [_of_finding(record)]
        else:
            answers = [_of_sheet(record)]
        chosen = sorted(islice(_shuffled(len(answers), draw), count))
        return [answers[number] for number in chosen], len(answers)

    def changed(self, identity: Mapping[str, Any], model: Model) -> tuple[str, ...]:
        """What computes here otherwise than where the record was made."""
        made = self.manifest.get("made_with")
        before = str(identity.get("device", ""))
        return changed_since(made if isinstance(made, Mapping) else {}, before, str(model.device))

    def with_drawings(self, found: Recomputed, record: Record, number: int, changed: Sequence[str]) -> Recomputed:
        """What became of a map, and whether its heatmap and overlay are drawn of the values that were saved."""
        if found.outcome == "different":
            return found
        if other := [one for one in changed if one.startswith(DRAWS)]:
            said = f"its heatmap and overlay were not compared, since other programs drew them: {'; '.join(other)}"
            return dataclasses.replace(found, detail="; ".join(filter(None, (found.detail, said))))
        names = record.manifest["explanations"][number - 1]["files"]
        unlike = [
            f"its {kind} is missing, or not drawn of its values"
            for kind, drawn in drawings(record, record.explanations[number - 1]).items()
            if not np.array_equal(self._picture(names.get(kind)), drawn)
        ]
        return dataclasses.replace(found, outcome="different", detail="; ".join(unlike)) if unlike else found

    def _picture(self, name: str | None) -> np.ndarray:
        """The pixels of a listed file; nothing where it holds none, or there is none."""
        try:
            [file] = [one for one in listing(self.manifest) if one.name == name]
            return rgb_of(b"".join(verification.pieces(self.folder, file)))
        except (ValueError, Damage):
            return np.empty(0, np.uint8)


def _shuffled(total: int, draw: np.random.Generator) -> Iterator[int]:
    """Every number below `total` once, in an order of chance. Of very many, no list is made."""
    moved: dict[int, int] = {}
    for last in range(total - 1, -1, -1):
        place = int(draw.integers(last + 1))
        yield moved.get(place, place)
        moved[place] = moved.pop(last, last)


def _answer(name: str, ask: Callable[[_Asking, Progress], Recomputed]) -> Answer:
    """`ask`, where what cannot be had or asked is reported with its reason."""

    def asked(asking: _Asking, told: Progress) -> Recomputed:
        try:
            found = ask(asking, told)
            if asking.models.labels_are_claimed and found.outcome != "different":
                found = dataclasses.replace(found, detail="; ".join(filter(None, (found.detail, CLAIMED))))
            return found
        except Cancelled:
            raise
        except AuditError as error:
            part = error.part if isinstance(error, NotHere) else None
            return Recomputed(name, "cannot be recomputed", str(error), part)

    return asked


# ---- records of explanations -----------------------------------------------------------------------------------------


def _of_record(record: Record) -> list[Answer]:
    """What each model predicts, then its maps."""
    answers = []
    for model in record.models:
        answers += [_predicted(record, one) for one in record.predictions if one.model == model]
        answers += [_explained(record, n, e) for n, e in enumerate(record.explanations, 1) if e.model == model]
    return answers


def _labels(record: Record, model: Mapping[str, Any]) -> Sequence[str] | None:
    said = record.prediction_of(model)
    return None if said is None else said.labels


def _frame(record: Record) -> tuple[str, int]:
    """The hash of the file, and which of its frames was explained."""
    frame = record.picture.get("frame", 0)
    return record.file_sha256, frame if type(frame) is int and frame > 0 else 0


def _predicted(record: Record, saved: Prediction) -> Answer:
    name = f"prediction of {saved.model.get('name')}"

    def ask(asking: _Asking, told: Progress) -> Recomputed:
        from xai_core.pipeline import predict

        image = asking.pictures.image(saved.image, *_frame(record))
        model = asking.models.like(saved.model, saved.labels)
        now, changed = predict(model, image), asking.changed(saved.model, model)
        unlike = [] if saved.labels == now.labels else ["its labels are others"]
        return judged(name, {"outputs": Pair(saved.logits, now.logits)}, changed, unlike)

    return _answer(name, ask)


def _explained(record: Record, number: int, saved: Explanation) -> Answer:
    name = f"map {number}, {saved.method.get('name')} of {saved.target} by {saved.model.get('name')}"

    def ask(asking: _Asking, told: Progress) -> Recomputed:
        image = asking.pictures.image(saved.image, *_frame(record))
        behind = [asking.pictures.image(sha256) for sha256 in saved.background]
        model = asking.models.like(saved.model, _labels(record, saved.model))
        now = _explain(asking, model, image, saved.method, saved.target, saved.seed, behind, told)
        if record.prediction_of(saved.model) is None:  # labels that nobody wrote down cannot be compared
            now = dataclasses.replace(now, target=saved.target)
        changed = asking.changed(saved.model, model)
        return asking.with_drawings(same_map(name, saved, now, changed), record, number, changed)

    return _answer(name, ask)


def _explain(
    asking: _Asking, model: Model, image: Any, method: Any, target: Any, seed: int, behind: Any, told: Progress
) -> Explanation:
    from xai_core.pipeline import explain

    return explain(
        model, image, dict(method), target, seed=seed, background_images=behind, progress=told, cancel=asking.cancel
    )


def _of_sheet(sheet: Sheet) -> Answer:
    why = "tables are not asked again: they are made of maps, whose own records are"
    return lambda *_: Recomputed(f"the {sheet.kind}", "cannot be recomputed", f"{why}.")


# ---- findings --------------------------------------------------------------------------------------------------------


def _of_finding(saved: Finding) -> Answer:
    name = f"what probe {saved.probe.get('name')} found of {saved.model.get('name')}"

    def ask(asking: _Asking, told: Progress) -> Recomputed:
        from xai_core.probing import probe

        _check_known(saved)
        cases = _the_same_cases(saved, asking.pictures)
        behind = [asking.pictures.image(sha256) for sha256 in saved.background]
        model = asking.models.like(saved.model, named=True)
        changed = asking.changed(saved.model, model)
        found: list[Recomputed] = []
        problems: list[AuditError] = []
        for given in _ways(cases, saved):
            try:
                now = probe(
                    model, given, saved.probe, saved.methods or None, target=saved.target, seed=saved.seed,
                    boxes=saved.boxes, background_images=behind, progress=told, cancel=asking.cancel,
                )  # fmt: skip
                if _keeps_all(saved) and saved.marks != now.marks:
                    raise NotHere("picture", "The masks that marked its pictures are not here, or they are others.")
            except Cancelled:
                raise
            except AuditError as error:
                problems.append(error)
                continue
            found.append(same_finding(name, saved, now, changed))
            if found[-1].outcome != "different":
                return found[-1]
        if not found:
            raise problems[0]
        unknown = "" if "target" in saved.manifest else "; of the predicted class, since no other is recorded"
        beside = "; with the labels, groups and masks beside the pictures, and without" if len(found) > 1 else ""
        return dataclasses.replace(found[0], detail=f"{found[0].detail}{beside}{unknown}")

    return _answer(name, ask)


def _ways(cases: Sequence[Case], saved: Finding) -> Sequence[Sequence[Case]]:
    """The pictures as they may have been given: with what stands beside them now, and without."""
    if _keeps_all(saved):
        unmarked = [Case(case.name, case.read, case.label, case.groups) for case in cases]
        return (cases if any(saved.marks) else unmarked,)
    described = any(case.label is not None or case.groups or case.read_mask or case.parts for case in cases)
    return (cases, [Case(case.name, case.read) for case in cases]) if described else (cases,)


def _keeps_all(saved: Finding) -> bool:
    """Whether a finding keeps what it was asked with; those of earlier versions do not."""
    return len(saved.marks) == len(saved.pictures)


def _check_known(saved: Finding) -> None:
    """Raise RecordError where the finding does not hold all that it was asked with."""
    if _keeps_all(saved):
        return
    if any(method.get("background") == "pictures" for method in saved.methods):
        raise RecordError("The record does not say with which pictures its maps were compared.")
    cells = (cell for table in saved.tables.values() for row in table.rows for cell in row)
    if any(isinstance(text, str) and DRAWN in text for text in (*cells, *saved.sentences)):
        raise RecordError("Where its part lies was drawn by hand, and the record does not hold the box.")


def _the_same_cases(saved: Finding, pictures: Pictures) -> list[Case]:
    """The pictures at the places that they had: tables call them by these. What was left out leaves its place again.

    Raises NotHere for a picture that is not here.
    """
    left = {int(one[1]): one[2] for one in map(LEFT_OUT.fullmatch, saved.left_out) if one is not None}
    places = [place for place in range(1, len(saved.pictures) + len(left) + 1) if place not in left]
    found = pictures.find(saved.pictures)
    if missing := [one for one in saved.pictures if one not in found]:
        raise NotHere(
            "picture",
            f"{len(missing)} of its {len(saved.pictures)} pictures are not here, such as the one with sha256 "
            f"{shown(missing[0])[:12]}.",
        )
    named = dict(zip(places[: len(saved.pictures)], saved.pictures, strict=True))
    kept = zip(saved.pictures, saved.labels, strict=True) if saved.labels else ()
    asked = found | {one: dataclasses.replace(found[one], label=label) for one, label in kept}
    given = pictures.cases
    if len(given) == len(saved.pictures) + len(left) and all(given[n - 1] is found[one] for n, one in named.items()):
        return [asked[named[place]] if place in named else case for place, case in enumerate(given, 1)]
    return [asked[named[place]] if place in named else _left_out(left[place]) for place in sorted({*named, *left})]


def _left_out(why: str) -> Case:
    from xai_core.errors import PictureError

    def refuse() -> bytes:
        raise PictureError(why)

    return Case("", refuse)


# ---- audits ----------------------------------------------------------------------------------------------------------


def _of_audit(asking: _Asking, count: int | None, draw: np.random.Generator) -> tuple[list[Answer], int]:
    """Of every picture and model the prediction, and the maps of which there are arrays."""
    return _Audit(asking.folder, asking.manifest).drawn(count, draw)


def _with_name(said: Any) -> dict[str, Any]:
    """An identity, or the settings of a method. Raises TypeError for anything else."""
    check_named(said)
    return dict(said)


class _Audit:
    """The sealed tables and arrays of an audit. Of the open `run.json` only that is used which a sealed hash proves."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        try:
            self.identities = {str(one["name"]): _with_name(one["identity"]) for one in manifest["models"]}
            self.arrays = {  # of every model, by the row of the method: its settings, and the file of its maps
                model: {
                    str(one["name"]): (
                        _with_name(one["by_model"][model]["fitted"]),
                        str(one["by_model"][model]["arrays"]),
                    )
                    for one in manifest["methods"]
                    if one["by_model"][model]["arrays"]
                }
                for model in self.identities
            }
            self.seed, self.target = int(manifest["seeds"]["maps and scores"]), str(manifest["target"])
            self.lines = self._lines()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordError(f"The manifest of {shown(folder.name)} does not describe an audit.") from error

    def _lines(self) -> list[dict[str, Any]]:
        """The rows of predictions.parquet without probabilities, each with its place among those of its model."""
        lines: list[dict[str, Any]] = self._read(None, ["file", "picture", "label", "model", "predicted"])
        places = dict.fromkeys(self.identities, 0)
        for line in lines:
            line["place"] = places[line["model"]]
            places[line["model"]] += 1
        return lines

    def _read(self, row: int | None, columns: list[str]) -> list[dict[str, Any]]:
        """Columns of one row of predictions.parquet, or of all. Of one, only the rows written with it are read."""
        from pyarrow import ArrowException, parquet

        try:
            with parquet.ParquetFile(self.folder / "predictions.parquet") as file:
                rows = self._rows(file, row, columns)
            for one in rows:
                check(one, {name: COLUMNS[name] for name in columns})
                if one.keys() != set(columns):
                    raise TypeError("a column is missing")
        except (OSError, ArrowException) as error:
            raise RecordError(f"predictions.parquet of {shown(self.folder.name)} cannot be read.") from error
        except TypeError as error:
            raise RecordError(
                f"predictions.parquet of {shown(self.folder.name)} is not written as an audit writes it."
            ) from error
        return rows

    @staticmethod
    def _rows(file: Any, row: int | None, columns: list[str]) -> list[dict[str, Any]]:
        if row is None:
            return list(file.read(columns).to_pylist())
        for group in range(file.num_row_groups):
            if row < (rows := file.metadata.row_group(group).num_rows):
                return list(file.read_row_group(group, columns).slice(row, 1).to_pylist())
            row -= rows
        return []

    def drawn(self, count: int | None, draw: np.random.Generator) -> tuple[list[Answer], int]:
        """Predictions are drawn like maps, and maps that a method could not make like those that it made."""
        starts = np.cumsum([0, *(1 + len(self.arrays[line["model"]]) for line in self.lines)])
        drawn = islice(self._informative_first(starts, draw), count)
        chosen = sorted((self.lines[line]["model"], line, own) for line, own in drawn)
        answers = [self._mapped(line, own - 1) if own else self._said(line) for _, line, own in chosen]
        return answers, int(starts[-1])

    def _informative_first(self, starts: np.ndarray, draw: np.random.Generator) -> Iterator[tuple[int, int]]:
        """Line and answer, in an order of chance; maps by controls, which know nothing of the model, after all others.

        Answer 0 is the prediction, answer n the map by method n.
        """
        from xai_core.methods import METHODS

        controls = {name for name in METHODS if METHODS[name].family == "control"}
        last = []
        for number in _shuffled(int(starts[-1]), draw):
            line = int(np.searchsorted(starts, number, "right")) - 1
            own = number - int(starts[line])
            if own and self._named(line, own - 1)[1].get("name") in controls:
                last.append((line, own))
            else:
                yield line, own
        yield from last

    def _named(self, line: int, method: int) -> tuple[str, Mapping[str, Any], str]:
        """Row name, settings and file of a method."""
        name, (settings, file) = list(self.arrays[self.lines[line]["model"]].items())[method]
        return name, settings, file

    def _map(self, line: int, method: int) -> np.ndarray | None:
        """(h, w) float32, or None where there is none. Raises RecordError for an array that is not as it was."""
        file, row = self.folder / self._named(line, method)[2], self.lines[line]["place"]
        try:
            with open(file, "rb") as opened:
                offset, maps, height, width = maps_shape(opened.read(4096), file.stat().st_size)
                if row >= maps:
                    raise RecordError(f"{shown(file.name)} has {maps} maps, fewer than there are predictions.")
                opened.seek(offset + 4 * height * width * row)
                values = np.frombuffer(opened.read(4 * height * width), "<f4").reshape(height, width)
        except (OSError, Damage) as error:
            raise RecordError(f"{shown(file.name)} cannot be read: {error}.") from error
        return None if np.isnan(values).all() else values.astype(np.float32)

    @cached_property
    def _run(self) -> Run | None:
        from xai_core.runs import open_run

        try:
            return open_run(self.folder)
        except RecordError:
            return None

    def _labels(self, model: str) -> Sequence[str] | None:
        """From the open file: a sealed hash says whether they are the right ones."""
        run = self._run
        return run.labels(model) if run is not None and model in run.models else None

    def _asked(self, asking: _Asking, line: Mapping[str, Any]) -> tuple[Model, Any]:
        image = asking.pictures.image(str(line["picture"]))
        return asking.models.like(self.identities[line["model"]], self._labels(line["model"]), named=True), image

    def _said(self, number: int) -> Answer:
        line = self.lines[number]
        name = f"prediction of {line['file']} by {line['model']}"

        def ask(asking: _Asking, told: Progress) -> Recomputed:
            from xai_core.pipeline import predict

            model, image = self._asked(asking, line)
            now = predict(model, image)
            saved = self._read(number, ["probabilities"])[0]["probabilities"]
            pairs = {}
            if now.task != "regression":  # whose values are not among the tables
                pairs["probabilities"] = Pair(np.array(saved or (), np.float32), now.probabilities)
            unlike = [] if now.top(1)[0][0] == line["predicted"] else [f"now it says {now.top(1)[0][0]}"]
            return judged(name, pairs, asking.changed(self.identities[line["model"]], model), unlike)

        return _answer(name, ask)

    def _mapped(self, number: int, method: int) -> Answer:
        line, (row, settings, _) = self.lines[number], self._named(number, method)
        name = f"map of {line['file']}, {row} by {line['model']}"

        def ask(asking: _Asking, told: Progress) -> Recomputed:
            model, image = self._asked(asking, line)
            behind = [asking.pictures.image(one) for one in self._behind(settings) if one != line["picture"]]
            wanted = line["label"] if self.target == "true" else None if self.target == "predicted" else self.target
            target = model.labels.index(wanted) if wanted in model.labels else None
            try:
                saved = self._map(number, method)
            except RecordError as error:
                return Recomputed(name, "different", str(error))
            try:
                now = _explain(asking, model, image, settings, target, self.seed, behind, told)
            except UnsupportedError as error:
                if saved is None:
                    return Recomputed(name, "equal", f"no map then, and none now: {error}")
                raise
            if saved is None:
                return Recomputed(name, "different", "no map is there, and now one is made")
            changed = asking.changed(self.identities[line["model"]], model)
            return judged(name, {"values": Pair(saved, now.values)}, changed)

        return _answer(name, ask)

    def _behind(self, settings: Mapping[str, Any]) -> Sequence[str]:
        """The pictures that maps are compared with."""
        if settings.get("background") != "pictures":
            return ()
        found = None if self._run is None else self._run.facts.get("background")
        if not isinstance(found, list):
            raise RecordError("The run does not say any more with which pictures its maps were compared.")
        return [str(one) for one in found]
