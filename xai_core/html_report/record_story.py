"""What a record tells that is no audit: maps of one picture, what a probe found, or tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xai_core.html_report.blocks import (
    SHARE,
    Block,
    Facts,
    Figure,
    Grid,
    Head,
    Heading,
    Number,
    Said,
    Sources,
    counted,
    grid_of,
    joined,
    named,
    told,
)
from xai_core.html_report.source import Source
from xai_core.html_report.story import (
    ALWAYS_OPEN,
    Story,
    card,
    checks_grid,
    made_with,
    methods_left,
    metrics_left,
    notices,
    points,
    probes_left,
    settings_of,
    short,
    signer,
    small,
    verdict_words,
    weighed_sentence,
)
from xai_core.methods import METHODS
from xai_core.probes import PROBES
from xai_core.records import Evidence, Explanation, Finding, Prediction, Record, Sheet
from xai_core.score_table import number
from xai_core.seal import MANIFEST

TOP = 5  # likeliest classes
MOST_FIGURES = 12  # maps that are drawn on the page; the folder has them all
FROM: Sources = (MANIFEST,)
NOT_WEIGHED = "No map was weighed, so nothing here says how far any map can be believed: look at none as evidence."
NO_METRIC = "No metric was computed, so none can disagree."
NO_REVIEW = "Decisions on cases stand beside audits: this record holds none."


def told_by_record(source: Source, record: Record | Finding | Sheet) -> Story:
    """The story of a record of any kind but an audit."""
    if isinstance(record, Finding):
        return _finding(source, record)
    return _sheet(source, record) if isinstance(record, Sheet) else _maps(source, record)


def _about(record: Record | Finding | Sheet) -> tuple[tuple[str, Any], ...]:
    """Rows on who made a record, when, and with what."""
    rows: list[tuple[str, Any]] = [*made_with(record.manifest), ("Signed by", signer(record.manifest))]
    rows += [("Record", record.manifest.get("id", ""))]
    if chain := record.manifest.get("chain"):
        rows.append(("Place in its folder's chain", Number(int(chain["sequence"]))))
    return (*rows, ("Reviewer", record.reviewer or "nobody is named"))


def _noted(record: Record | Finding | Sheet) -> Iterator[Block]:
    """What somebody wrote on the record, and who."""
    if record.note:
        yield Said("Note:", FROM)
        yield Said(record.note, (), "note")
    if record.reviewer:
        yield Facts((("Reviewer", record.reviewer),), FROM)
    yield Said(NO_REVIEW)


# ---- maps of one picture ---------------------------------------------------------------------------------------------


def _maps(source: Source, record: Record) -> Story:
    names = [str(one.get("name", "unnamed")) for one in record.models]
    title = told("{what} of {models}", what="Comparison" if len(names) > 1 else "Explanation",
                 models=joined(names, " and "))  # fmt: skip
    about = told("{maps} of one picture, sha256 {picture}", maps=counted(len(record.explanations), "attribution map"),
                 picture=short(record.explanations[0].image))  # fmt: skip
    weighed = [one for one in record.evidence if one is not None]
    sections: dict[str, Sequence[Block]] = {
        "summary": [*_maps_summary(record)],
        "asked": [*_maps_asked(record)],
        "results": [*_maps_results(source, record)],
        "evidence": [*_maps_evidence(record)],
        "probes": [Said("No probe belongs to this record: nothing in it says what the model leans on.")],
        "decisions": [*_noted(record)],
        "disagreements": [Said(NO_METRIC)],
        "untested": [*_maps_untested(record)],
        "card": [
            block for model in record.models for block in card(model, _labels(record.prediction_of(model)), (), FROM)
        ],
    }
    known = _known(record, names)
    known["2(e)"] = "Attribution maps of one picture (Results)" + (", each with its verdict (Evidence and verdicts)."
                                                                  if weighed else ", not weighed.")  # fmt: skip
    return Story(title, about, sections, known)


def _labels(said: Prediction | None) -> tuple[str, ...]:
    return () if said is None else said.labels


def _answer(record: Record, model: Mapping[str, Any]) -> str:
    said = record.prediction_of(model)
    if said is None:
        return told("What {name} said of the picture was not recorded.", name=model.get("name", "unnamed"))
    label, value = said.top(1)[0]
    if said.task == "regression":
        return told("{name} gave {value} for {label}.", name=model.get("name", "unnamed"), value=Number(value),
                    label=label)  # fmt: skip
    return told("{name} said {label}, with a probability of {value}.", name=model.get("name", "unnamed"), label=label,
                value=Number(value, SHARE))  # fmt: skip


def _maps_summary(record: Record) -> Iterator[Block]:
    yield from notices(record.models)
    for model in record.models:
        yield Said(_answer(record, model), FROM)
    targets = dict.fromkeys(str(e.target) for e in record.explanations)
    yield Said(told("{maps} drawn of which pixels spoke for: {targets}.",
                    maps=counted(len(record.explanations), "map was", "maps were"), targets=joined(list(targets))),
               FROM)  # fmt: skip
    weighed: Counter[str] = Counter(one.verdict for one in record.evidence if one is not None)
    if weighed:
        yield Said(f"{weighed_sentence(weighed)}.", FROM)
    else:
        yield Said(NOT_WEIGHED)
    for place, e in enumerate(record.explanations, 1):
        if e.flat or not e.valid:
            why = e.flat or "It misses the sum that its method promises, so it is not valid for this model."
            yield Said(told("Map {number}, {method}: {why}", number=place, method=_method(e), why=why), FROM)
    yield from points((*small(1), "Read the section What was not tested before you rely on any of it."))


def _method(e: Explanation) -> str:
    return named(e.method["name"], METHODS)


def _maps_asked(record: Record) -> Iterator[Block]:
    first, source = record.explanations[0], record.picture
    kept = {key: value for key, value in source.items() if key not in ("assumed",)}
    yield Facts(
        (
            ("Picture, sha256", first.image),
            ("Its name", record.name or "not kept"),
            ("Its file", ", ".join(f"{key} {value}" for key, value in kept.items()) or "nothing recorded"),
            ("Taken for granted when it was read", " ".join(map(str, source.get("assumed", ()))) or "nothing"),
            ("Looked at with", settings_of(dict(record.display)) if record.display else "nothing recorded"),
            *_about(record),
        ),
        FROM,
    )
    yield Grid(
        "Attribution methods",
        (Head("map", True), Head("method"), Head("settings"), Head("model"), Head("explained"), Head("seed", True)),
        tuple(
            (Number(place), _method(e), settings_of(e.method), str(e.model.get("name", "")), str(e.target),
             Number(e.seed))
            for place, e in enumerate(record.explanations, 1)
        ),
        FROM,
    )  # fmt: skip


def _maps_results(source: Source, record: Record) -> Iterator[Block]:
    yield Heading("What was predicted")
    for said in record.predictions:
        words = ("value", "") if said.task == "regression" else ("probability", SHARE)
        rows = tuple(
            (said.labels[i], Number(float(shown[i]), words[1]), Number(float(said.logits[i])))
            for shown in [said.logits if said.task == "regression" else said.probabilities]
            for i in map(int, said.order()[:TOP])
        )
        left = max(0, len(said.labels) - TOP)
        heading = told("The likeliest classes by {name} (n = 1 picture)", name=said.model.get("name", "unnamed"))
        heads = (Head("class"), Head(words[0], True), Head("raw output (logit)", True))
        yield Grid(heading, heads, rows, FROM, left)
    yield Heading("Maps")
    yield Said("A map is drawn over the crop of the picture that the model saw. It is a diagnostic aid, never proof.")
    for name, title in (
        ("comparison.png", "The maps of the models side by side"),
        ("difference.png", "Where the maps of the first two models differ"),
        ("sheet.png", "All maps on one page"),
    ):
        if name == "sheet.png" and len(record.explanations) <= MOST_FIGURES:
            continue  # each map follows by itself
        if (figure := source.figure(name, f"{title}: {_listed(record)}.", title)) is not None:
            yield figure
    yield from _drawn(source, record)
    yield Grid(
        "The maps in numbers",
        (Head("map", True), Head("method"), Head("lowest value", True), Head("highest value", True),
         Head("peak: row, column (pixels)"), Head("one cell of its grid (pixels)", True),
         Head("misses its promised sum by", True), Head("file")),
        tuple(_in_numbers(place, e, record) for place, e in enumerate(record.explanations, 1)), FROM,
    )  # fmt: skip


def _in_numbers(place: int, e: Explanation, record: Record) -> tuple[Any, ...]:
    row, column = e.peak
    return (
        Number(place), _method(e), Number(float(e.values.min())), Number(float(e.values.max())), f"{row}, {column}",
        Number(round(e.cell, 2)), Number(e.gap, SHARE, "promises none"),
        str(record.manifest["explanations"][place - 1]["files"]["values"]),
    )  # fmt: skip


def _listed(record: Record) -> str:
    return ", ".join(
        f"{_method(e)} for {e.target} by {e.model.get('name', '')}" for e in record.explanations[: TOP * 4]
    )


def _drawn(source: Source, record: Record) -> Iterator[Block]:
    verdicts = record.evidence or (None,) * len(record.explanations)
    for place, (e, found) in enumerate(zip(record.explanations, verdicts, strict=True), 1):
        if place > MOST_FIGURES:
            yield Said(
                f"{counted(len(record.explanations) - MOST_FIGURES, 'more map')} lie in the folder of the record."
            )
            return
        name = str(record.manifest["explanations"][place - 1]["files"]["figure"])
        figure = source.figure(name, _alt(e, found), f"Map {place}: {_method(e)}, for {e.target}")
        if figure is not None:
            yield figure


def _alt(e: Explanation, found: Evidence | None) -> str:
    row, column = e.peak
    height, width = e.values.shape
    highest = number(float(e.values.max()))
    shows = e.flat or f"Its highest value, {highest}, lies at row {row} of {height}, column {column} of {width}."
    verdict = "It was not weighed." if found is None else f"Verdict: {found.verdict}."
    return f"The picture, the {_method(e)} map for {e.target}, and both over one another. {shows} {verdict}"


def _maps_evidence(record: Record) -> Iterator[Block]:
    if not any(record.evidence):
        yield Said(NOT_WEIGHED, (), "alarm")
        return
    rows = tuple(
        (Number(place), _method(e), "not weighed" if found is None else found.verdict,
         "" if found is None else " ".join(found.reasons))
        for place, (e, found) in enumerate(zip(record.explanations, record.evidence, strict=True), 1)
    )  # fmt: skip
    yield Grid("The verdict on each map", (Head("map", True), Head("method"), Head("verdict"), Head("why")), rows, FROM)
    yield verdict_words()
    yield Heading("The checks behind the verdicts")
    for place, (e, found) in enumerate(zip(record.explanations, record.evidence, strict=True), 1):
        if found is not None:
            words = told("Map {place}, {method}: {verdict}", place=place, method=_method(e), verdict=found.verdict)
            yield checks_grid(words, found, FROM)


def _maps_untested(record: Record) -> Iterator[Block]:
    said: list[str] = [*small(1)]
    said += [methods_left(str(e.method["name"]) for e in record.explanations), metrics_left(()), probes_left(())]
    said.append("Whether the answer is right: a record of one picture holds no true label.")
    said.append("Marked evidence: no map was compared with what a person marked in the picture (mask).")
    said.append("Groups: one picture says nothing about groups of people or devices.")
    if any(str(model.get("notice", "")).lower().startswith("random weights") for model in record.models):
        said.append("Trained weights: those of a model here were drawn at random; it has learnt nothing.")
    if any(found is None for found in record.evidence or (None,)):
        said.append("Weights at random: maps that were not weighed were not compared with those of a redrawn network.")
    said.append("A second reviewer: a record names one reviewer at most, so how far people agree is not known.")
    seeds = dict.fromkeys(str(e.seed) for e in record.explanations)
    said.append(f"Chance: everything random was drawn from seed {', '.join(seeds)} alone.")
    yield from points([*said, *ALWAYS_OPEN], FROM)


def _known(record: Record | Finding | Sheet, names: Sequence[str]) -> dict[str, str]:
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


# ---- what a probe found ----------------------------------------------------------------------------------------------


def _finding(source: Source, finding: Finding) -> Story:
    label, model = named(finding.probe["name"], PROBES), str(finding.model.get("name", "unnamed"))
    n = len(finding.pictures)
    about = told("What the probe {probe} found of {model} on {pictures}", probe=label, model=model,
                 pictures=counted(n, "picture"))  # fmt: skip
    frames = [*_frames_file(source, finding, label)]
    sections: dict[str, Sequence[Block]] = {
        "summary": [
            *notices([finding.model]), Said(_says(finding)), *points(finding.sentences, FROM),
            *points((*small(n), "Read the section What was not tested before you rely on any of it.")),
        ],
        "asked": [*_finding_asked(finding, label)],
        "results": [Said("The results of this record are what its probe found: see the section Probes.")],
        "evidence": [Said(NOT_WEIGHED)],
        "probes": [
            *_charts(source, finding, label), *frames,
            *(grid_of(table, ("finding.json", f"{name}.csv")) for name, table in finding.tables.items()),
        ],
        "decisions": [*_noted(finding)],
        "disagreements": [Said(NO_METRIC)],
        "untested": [*_finding_untested(finding)],
        "card": [*card(finding.model, (), (("Probed here", " ".join(finding.sentences[:1])),), FROM)],
    }  # fmt: skip
    known = _known(finding, [model])
    known["3"] = told("What the model leans on under one change: {probe} (Probes), and limits (What was not tested).",
                      probe=label)  # fmt: skip
    return Story(told("Probe {probe} of {model}", probe=label, model=model), about, sections, known)


def _says(finding: Finding) -> str:
    name = str(finding.probe["name"])
    return f"What the probe does: {PROBES[name].summary()}" if name in PROBES else "A probe unknown to this version."


def _finding_asked(finding: Finding, label: str) -> Iterator[Block]:
    methods = "; ".join(f"{named(one['name'], METHODS)} ({settings_of(one)})" for one in finding.methods)
    pictures = [short(one) for one in finding.pictures]
    yield Facts(
        (
            ("Probe", label), ("Its settings", settings_of(finding.probe)),
            ("Model", str(finding.model.get("name", "unnamed"))),
            ("Weights, sha256", str(finding.model.get("weights_sha256", "not recorded"))),
            ("Attribution methods", methods or "none: the probe asked for no maps"),
            ("Pictures", Number(len(pictures))),
            ("Their sha256, the beginning of each", ", ".join(pictures[:50]) + (" …" if len(pictures) > 50 else "")),
            ("Seed", Number(finding.seed)), ("Passes through the network", str(finding.passes)),
            ("Seconds", Number(finding.seconds, "s")), *_about(finding),
        ),
        FROM,
    )  # fmt: skip


def _charts(source: Source, finding: Finding, label: str) -> Iterator[Figure]:
    said = " ".join(finding.sentences[:2])
    names = [name for name in source.listed if name.endswith(".png") and not name.startswith(("frame_", "filmstrip"))]
    for place, name in enumerate(sorted(names), 1):
        words = f"Chart {place} of {len(names)}" if len(names) > 1 else "Chart"
        drawn = source.figure(name, f"{words} of the probe {label}; the tables below hold its numbers. {said}",
                              f"{words}: {label}")  # fmt: skip
        if drawn is not None:
            yield drawn


def _frames_file(source: Source, finding: Finding, label: str) -> Iterator[Figure]:
    captions = "; ".join(frame.caption for frame in finding.frames[:20])
    drawn = source.figure("filmstrip.png", f"Pictures as the model saw them: {captions}",
                          f"Examples: {label}")  # fmt: skip
    if drawn is not None:
        yield drawn


def _finding_untested(finding: Finding) -> Iterator[Block]:
    said: list[str] = [*small(len(finding.pictures)), *finding.notes]
    said += [probes_left([str(finding.probe["name"])]), methods_left(str(one["name"]) for one in finding.methods)]
    said += [metrics_left(()), "Weights at random: no map here was compared with that of a redrawn network (weighed)."]
    if str(finding.model.get("notice", "")).lower().startswith("random weights"):
        said.append("Trained weights: those of this model were drawn at random; it has learnt nothing.")
    if finding.kind != "groups":
        said.append("Groups: this probe compares no groups of people or devices.")
    said.append("A second reviewer: a record names one reviewer at most, so how far people agree is not known.")
    said.append(f"Chance: everything random was drawn from seed {finding.seed} alone.")
    yield from points([*said, *ALWAYS_OPEN], FROM)
    if finding.left_out:
        yield Heading("Left out")
        yield from points(finding.left_out, ("finding.json",))


# ---- tables ----------------------------------------------------------------------------------------------------------


def _sheet(source: Source, sheet: Sheet) -> Story:
    scores = sheet.kind == "scores"
    model = sheet.about.get("model")
    models = [model] if isinstance(model, Mapping) else []
    grids: list[Block] = [grid_of(table, ("sheet.json", f"{name}.csv")) for name, table in sheet.tables.items()]
    title = str(sheet.about.get("title") or ("Scores of maps" if scores else "Decisions of reviewers"))
    methods = [str(one["name"]) for one in sheet.about.get("methods") or () if isinstance(one, Mapping)]
    metrics = [str(one["name"]) for one in sheet.about.get("metrics") or () if isinstance(one, Mapping)]
    here = "These are tables of {what}: see the section {section}."
    sections: dict[str, Sequence[Block]] = {
        "summary": [*notices(models), *points(sheet.sentences, FROM),
                    *points(("Read the section What was not tested before you rely on any of it.",))],
        "asked": [*_sheet_asked(sheet)],
        "results": grids if scores else [Said(here.format(what="decisions", section="Decisions of reviewers"))],
        "evidence": [Said("Verdicts, where maps were weighed, stand in the tables under Results." if scores else
                          "Decisions hold no verdicts on maps.")],
        "probes": [Said("No probe belongs to this record: nothing in it says what the model leans on.")],
        "decisions": [*_noted(sheet)] if scores else [*grids, *_noted(sheet)],
        "disagreements": [Said("Compare the columns of the tables under Results: a method may be first by one metric "
                               "and last by another." if scores else NO_METRIC)],
        "untested": [*points((
            *((methods_left(methods), metrics_left(metrics)) if scores else ()), probes_left(()),
            "Anything that is in no table of this record.", *ALWAYS_OPEN,
        ))],
        "card": [block for one in models for block in card(one, (), (), FROM)]
                or [Said("The record names no model.")],
    }  # fmt: skip
    known = _known(sheet, [str(one.get("name", "unnamed")) for one in models])
    about = told("{kind}: {tables}", kind="Scores" if scores else "Decisions", tables=counted(len(grids), "table"))
    return Story(told("{title}", title=title), about, sections, known)


def _sheet_asked(sheet: Sheet) -> Iterator[Block]:
    rows = [(str(key), _spelled(value)) for key, value in sheet.about.items()]
    yield Facts((*rows, *_about(sheet)), FROM)


def _spelled(value: Any) -> str:
    """A plain value of any depth in one line."""
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_spelled(one)}" for key, one in value.items() if one not in (None, ""))
    if isinstance(value, list | tuple):
        return ", ".join(map(_spelled, value))
    return str(value)
