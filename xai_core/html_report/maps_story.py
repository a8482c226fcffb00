"""What a record of maps tells: one picture, explained by one model or several."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xai_core.comparison import differ, measured
from xai_core.errors import SettingError
from xai_core.html_report.blocks import (
    MOST_ROWS,
    SHARE,
    Block,
    Facts,
    Grid,
    Head,
    Heading,
    Number,
    Said,
    counted,
    joined,
    named,
    told,
)
from xai_core.html_report.source import Source
from xai_core.html_report.story import (
    ALWAYS_OPEN,
    FROM,
    NO_METRIC,
    NO_PROBE,
    NOT_WEIGHED,
    READ_ON,
    Story,
    about,
    card,
    checks_grid,
    is_untrained,
    known_of,
    methods_left,
    metrics_left,
    noted,
    notices,
    points,
    probes_left,
    settings_of,
    short,
    small,
    verdict_words,
    weighed_sentence,
)
from xai_core.methods import METHODS
from xai_core.records import Evidence, Explanation, Prediction, Record
from xai_core.score_table import number

TOP = 5  # likeliest classes
MOST_FIGURES = 12  # maps that are drawn on the page; the folder has them all
# How far two maps agree: the fields of a Difference in the order of `measured`, and their units.
AGREEMENT: Mapping[str, str] = {"rank_correlation": "", "top_overlap": "", "centre_distance": "px", "common": SHARE}


def told_by_maps(source: Source, record: Record) -> Story:
    """The story of maps of one picture, by one model or several."""
    names = [str(one.get("name", "unnamed")) for one in record.models]
    title = told("{what} of {models}", what="Comparison" if len(names) > 1 else "Explanation",
                 models=joined(names, " and "))  # fmt: skip
    what = told("{maps} of one picture, sha256 {picture}", maps=counted(len(record.explanations), "attribution map"),
                 picture=short(record.explanations[0].image))  # fmt: skip
    weighed = [one for one in record.evidence if one is not None]
    sections: dict[str, Sequence[Block]] = {
        "summary": [*_maps_summary(record)],
        "asked": [*_maps_asked(record)],
        "results": [*_maps_results(source, record), *_agreement(record)],
        "evidence": [*_maps_evidence(record)],
        "probes": [Said(NO_PROBE)],
        "decisions": [*noted(record)],
        "disagreements": [Said(NO_METRIC)],
        "untested": [*_maps_untested(record)],
        "card": [
            block for model in record.models for block in card(model, _labels(record.prediction_of(model)), (), FROM)
        ],
    }
    known = known_of(record, names)
    known["2(e)"] = "Attribution maps of one picture (Results)" + (", each with its verdict (Evidence and verdicts)."
                                                                  if weighed else ", not weighed.")  # fmt: skip
    return Story(title, what, sections, known)


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
    yield from points((*small(1), READ_ON))


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
            *about(record),
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


def _agreement(record: Record) -> Iterator[Block]:
    """How far the maps of two models by one method agree: what the page that compares models shows, of every two."""
    pairs = [
        (one, other)
        for one, other in itertools.combinations(enumerate(record.explanations, 1), 2)
        if one[1].model != other[1].model and one[1].method["name"] == other[1].method["name"]
    ]
    if not pairs:
        return
    meanings: dict[str, str] = {}
    rows: list[tuple[Any, ...]] = []
    for (first, one), (second, other) in pairs[:MOST_ROWS]:
        rows.append((f"{first} and {second}", _method(one), *_agreed(one, other, record.picture, meanings)))
    yield Grid(
        "How far the maps of two models agree",
        (
            Head("maps"), Head("method"), Head("rank correlation", True), Head("overlap of the highest tenths", True),
            Head("between the centres of mass", True), Head("seen by both", True),
        ),
        tuple(rows), FROM, max(0, len(pairs) - MOST_ROWS),
    )  # fmt: skip
    yield from points(f"{name}: {meaning}." for name, meaning in meanings.items())


def _agreed(one: Explanation, other: Explanation, picture: Mapping[str, Any], meanings: dict[str, str]) -> list[Number]:
    """The cells of two maps. `meanings` gathers how to read those that are defined."""
    height, width = picture.get("height"), picture.get("width")
    try:
        found = differ(one, other, (height, width) if height and width else None)
    except SettingError as error:
        return [Number(None, why=str(error)) for _ in AGREEMENT]
    said = dict(zip(AGREEMENT, measured(found), strict=True))
    meanings |= {said[key].name: said[key].meaning for key in AGREEMENT if getattr(found, key) is not None}
    return [Number(getattr(found, key), unit, found.why.get(key, "")) for key, unit in AGREEMENT.items()]


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
    if any(map(is_untrained, record.models)):
        said.append("Trained weights: those of a model here were drawn at random; it has learnt nothing.")
    if any(found is None for found in record.evidence or (None,)):
        said.append("Weights at random: maps that were not weighed were not compared with those of a redrawn network.")
    said.append("A second reviewer: a record names one reviewer at most, so how far people agree is not known.")
    seeds = dict.fromkeys(str(e.seed) for e in record.explanations)
    said.append(f"Chance: everything random was drawn from seed {', '.join(seeds)} alone.")
    yield from points([*said, *ALWAYS_OPEN], FROM)
