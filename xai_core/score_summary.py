"""A score table in words: on a terminal, in sentences, and as a page in Markdown to read and repeat from."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Container, Iterator, Mapping, Sequence

from xai_core.canvas import clean
from xai_core.metrics import ASPECTS, METRICS
from xai_core.records import Prediction
from xai_core.score_table import Cell, Column, ScoreTable, number
from xai_core.statistics import FEWEST_FOR_INTERVAL

COLUMN = 14  # letters of a metric's name on one line of a terminal
KNOWING_NOTHING = "knowing nothing"  # the row of the nulls
NOT_SAID = (
    "They say how a map fits this model, not whether the model is right or looks at what a specialist would look at.",
    "Scores against ground truth and about where a map lies are statements about places in the picture. A map may "
    "rightly lie elsewhere, where the model looks elsewhere.",
    "Deletion, insertion and their like ask the model about covered pictures, which look like nothing it was trained "
    "on. Their order depends on what covers the pixels: compare baselines.",
    "The best of many methods by the best of many metrics looks good by chance alone. Bold is the best of its column, "
    "not better than the next.",
    "Methods that agree may be wrong together.",
)


def said(table: ScoreTable, width: int = 120) -> Iterator[str]:
    """The table on lines no longer than `width`, and below it the verdicts and what is undefined."""
    for aspect, numbers in _aspects(table):
        wide = max(len(KNOWING_NOTHING), *(len(clean(row.label, 40)) for row in table.rows))
        at_once = max(1, (width - wide - 2) // (COLUMN + 2))
        for start in range(0, len(numbers), at_once):
            yield aspect.capitalize() if not start else f"{aspect.capitalize()}, continued"
            yield from _block(table, numbers[start : start + at_once], wide)
    yield from textwrap.wrap(_scope(table), width)
    if any(row.verdict for row in table.rows):
        yield "Verdicts"
        for row in table.methods:
            yield f"  {row.label}: {row.verdict or 'not weighed'}"
            for reason in row.reasons:
                yield from textwrap.wrap(reason, width - 4, initial_indent="    ", subsequent_indent="    ")
    notes = list(undefined(table))
    if notes:
        yield "Undefined"
        for note in notes:
            yield from textwrap.wrap(note, width - 2, initial_indent="  ", subsequent_indent="    ")


def _block(table: ScoreTable, numbers: Sequence[int], wide: int) -> Iterator[str]:
    columns = [table.columns[j] for j in numbers]
    heads = [textwrap.wrap(clean(column.label, 60), COLUMN) for column in columns]
    deep = max(map(len, heads))
    for level in range(deep):
        words = [head[level - deep + len(head)] if level >= deep - len(head) else "" for head in heads]
        yield _across("", words, wide)
    yield _across("better", [column.better or "–" for column in columns], wide)
    yield _across(KNOWING_NOTHING, [_null(column) for column in columns], wide)
    for row, cells in zip(table.rows, table.cells, strict=True):
        if row.is_control and row is table.controls[0]:
            yield "  controls " + "-" * (wide + len(columns) * (COLUMN + 2) - 9)
        yield _across(clean(row.label, 40), [_short(cells[j]) for j in numbers], wide)


def _across(name: str, cells: Sequence[str], wide: int) -> str:
    return f"  {name:<{wide}}{''.join(f'  {cell:>{COLUMN}}' for cell in cells)}".rstrip()


def _short(cell: Cell) -> str:
    """`*` is the best of the column, `†` no better than a control, `n` how many pictures, where they are not all."""
    if cell.mean is None:
        return "undefined"
    fewer = "" if cell.n == cell.pictures else f" n={cell.n}"
    return f"{'*' * cell.best}{number(cell.mean)}{fewer}{'†' * bool(cell.controls_ahead)}"


def _null(column: Column) -> str:
    return "each its own" if column.null_differs else "not known" if column.null is None else number(column.null)


def _scope(table: ScoreTable) -> str:
    best = "* best of the methods. † a control does as well or better: this metric does not tell them apart."
    return f"{best} {_over(table, 'are in summary.md')}"


def _over(table: ScoreTable, intervals: str) -> str:
    n = len(table.pictures)
    if n == 1:
        return "One picture (n = 1), so no intervals: it says nothing of other pictures."
    if n < FEWEST_FOR_INTERVAL:
        return f"Means over n = {n} pictures, too few for intervals."
    return f"Means over n = {n} pictures; their 95 % bootstrap intervals {intervals}."


def sentences(table: ScoreTable, left_out: Sequence[str] = ()) -> Iterator[str]:
    """What the table comes to, without Markdown: verdicts, what is first by which metric, and what is not known.

    `left_out` says what was asked and could not be done.
    """
    yield f"{heading(table)}. {_over(table, 'stand beside them')}"
    if not table.methods:
        yield "Controls alone were scored: they know nothing of the model."
    yield from (f"{row.label}: {row.verdict}. {' '.join(row.reasons)}" for row in table.methods if row.verdict)
    for j, column in enumerate(table.columns):
        yield from _first(table, j, column)
    if table.methods:
        yield from _differences(table, str)
    yield from undefined(table)
    yield from left_out


def heading(table: ScoreTable) -> str:
    """How much was scored."""
    parts = {"method": table.methods, "control": table.controls, "metric": table.columns, "picture": table.pictures}
    methods, controls, metrics, pictures = (f"{len(of)} {one}{'s' * (len(of) != 1)}" for one, of in parts.items())
    return f"{methods} and {controls} by {metrics} on {pictures}"


def _first(table: ScoreTable, j: int, column: Column) -> Iterator[str]:
    """Which methods are first by a metric, and which are no better than a control."""
    cells = [
        (row.label, of_row[j]) for row, of_row in zip(table.methods, table.cells[: len(table.methods)], strict=True)
    ]
    first = [label for label, cell in cells if cell.best]
    ranked = sum(cell.rank is not None for _, cell in cells)
    if first and ranked > 1:
        best = next(cell for _, cell in cells if cell.best)
        unit = f" {column.unit}" if column.unit else ""
        yield (
            f"By {column.label} ({column.better} is better), first of {ranked} methods: {' and '.join(first)}, with "
            f"{best}{unit}."
        )
    if behind := [label for label, cell in cells if cell.controls_ahead]:
        yield f"By {column.label}, a control does as well or better: it does not set apart {', '.join(behind)}."


def undefined(table: ScoreTable) -> Iterator[str]:
    """A line per reason: which methods by which metrics, and on how many pictures."""
    found: dict[str, dict[str, list[str]]] = {}
    for row, cells in zip(table.rows, table.cells, strict=True):
        for column, cell in zip(table.columns, cells, strict=True):
            for reason, count in cell.undefined:
                often = "" if len(table.pictures) == 1 else f" ({count} of {cell.pictures} pictures)"
                found.setdefault(reason, {}).setdefault(f"{row.label}{often}", []).append(column.label)
    for reason, rows in found.items():
        by_metrics: dict[tuple[str, ...], list[str]] = {}
        for row_label, metrics in rows.items():
            by_metrics.setdefault(tuple(metrics), []).append(row_label)
        for metrics_, labels in by_metrics.items():
            every = "every metric" if len(metrics_) == len(table.columns) else ", ".join(metrics_)
            yield f"{', '.join(labels)} by {every}: {reason}"


def page(
    table: ScoreTable,
    predictions: Mapping[str, Prediction],
    *,
    marked: Container[str],
    left_out: Sequence[str],
    command: str,
    made_with: Mapping[str, object],
) -> str:
    """The table as a page in Markdown. By sha256 of a picture: what was predicted, and whether its evidence is marked.

    `left_out` says what was asked and could not be done. `command` repeats it, where one made it.
    """
    return "\n".join(_page(table, predictions, marked, left_out, command, made_with)) + "\n"


def _page(
    table: ScoreTable,
    predictions: Mapping[str, Prediction],
    marked: Container[str],
    left_out: Sequence[str],
    command: str,
    made_with: Mapping[str, object],
) -> Iterator[str]:
    yield "# How far can these attribution maps be believed?"
    yield ""
    weights = str(table.model.get("weights_sha256", ""))[:12]
    yield f"Model: **{safe(table.model.get('name', 'unnamed'))}**, weights {weights}"
    if notice := table.model.get("notice"):
        yield f"\n**{safe(notice)}**"
    yield ""
    yield "| picture | sha256 | predicted | explained | marked evidence |"
    yield "|---|---|---|---|---|"
    for place, sha256 in enumerate(table.pictures):
        label, score = predictions[sha256].top(1)[0] if sha256 in predictions else ("not kept", None)
        told = safe(label) + ("" if score is None else f" ({number(score)})")
        targets = dict.fromkeys(str(maps[place].target) for maps in table.maps if maps[place] is not None)  # type: ignore[union-attr]
        yield (
            f"| {place + 1} | {sha256[:12]} | {told} | {safe(', '.join(targets))} "
            f"| {'yes' if sha256 in marked else 'no'} |"
        )
    yield ""
    yield "## Verdicts"
    yield ""
    if any(row.verdict for row in table.methods):
        yield "| method | verdict | why |"
        yield "|---|---|---|"
        for row in table.methods:
            why = "<br>".join(safe(reason) for reason in row.reasons)
            yield f"| {safe(row.label)} | {row.verdict or 'not weighed'} | {why} |"
    else:
        yield "The maps were not weighed."
    yield ""
    yield "## Scores"
    yield ""
    yield from tables(table)
    notes = [*undefined(table), *left_out]
    if notes:
        yield "\n## Undefined or left out\n"
        yield from (f"- {safe(note)}" for note in notes)
    yield "\n## Do the methods differ?\n"
    yield from differences(table)
    yield "\n## Figures\n"
    yield "![Ranks](ranking.png)\n\n![Agreement between methods](agreement.png)"
    yield "\n## What these numbers do not say\n"
    yield from (f"- {sentence}" for sentence in NOT_SAID)
    yield (
        f"- {len(table.methods)} methods by {len(table.columns)} metrics were tried, "
        f"{len(table.methods) * len(table.columns)} numbers."
    )
    yield "\n## To repeat\n"
    if command:
        yield f"```\n{command.replace('`', '')}\n```\n"
    seeds = {e.seed for maps in table.maps for e in maps if e is not None}
    yield f"Seed of the maps {', '.join(map(str, sorted(seeds)))}, of the bootstrap {table.seed}. Settings:\n"
    for spec in [row.method for row in table.rows] + [column.metric for column in table.columns]:
        settings = ", ".join(f"{key}={value}" for key, value in spec.items() if key != "name")
        yield f"- {spec['name']}{f': {safe(settings)}' if settings else ''}"
    yield "\nMade with " + ", ".join(f"{safe(key)} {safe(value)}" for key, value in made_with.items()) + "."


def tables(table: ScoreTable) -> Iterator[str]:
    """How to read them, and a table in Markdown for every aspect."""
    yield (
        "Bold: the best of the methods by that metric. Knowing nothing: what a map that knows nothing of the model "
        "gets. Controls know nothing of the model; they stand last and are not ranked. † a control does as well or "
        "better: this metric does not tell them apart."
    )
    few = len(table.pictures) < FEWEST_FOR_INTERVAL
    yield "" if few else "\nIn brackets: 95 % bootstrap interval over pictures."
    yield f"n = {len(table.pictures)} where nothing else is said. {_few(table)}"
    for aspect, numbers in _aspects(table):
        yield f"\n### {aspect.capitalize()}\n"
        columns = [table.columns[j] for j in numbers]
        yield f"| method | {' | '.join(safe(column.label) for column in columns)} |"
        yield "|---" * (len(columns) + 1) + "|"
        yield f"| *better* | {' | '.join(column.better or 'describes only' for column in columns)} |"
        yield f"| *knowing nothing* | {' | '.join(_null(column) for column in columns)} |"
        if any(column.unit for column in columns):
            yield f"| *unit* | {' | '.join(column.unit for column in columns)} |"
        for row, cells in zip(table.rows, table.cells, strict=True):
            shown = (
                f"{'**' * cell.best}{cell}{'**' * cell.best}{' †' * bool(cell.controls_ahead)}"
                for cell in (cells[j] for j in numbers)
            )
            yield f"| {'control: ' * row.is_control}{safe(row.label)} | {' | '.join(shown)} |"
        yield ""
        yield from (f"- {safe(column.label)}: {METRICS[column.metric['name']].summary()}" for column in columns)


def _few(table: ScoreTable) -> str:
    n = len(table.pictures)
    return "" if n >= FEWEST_FOR_INTERVAL else "Too few pictures for intervals: nothing follows for other pictures."


def differences(table: ScoreTable) -> Iterator[str]:
    """A line for every metric: whether the methods differ by it, or why that cannot be asked."""
    yield from (f"- {line}" for line in _differences(table, safe))


def _differences(table: ScoreTable, spelled: Callable[[object], str]) -> Iterator[str]:
    """The same as sentences; `spelled` writes names."""
    reasons: dict[str, list[str]] = {}
    for column, one in zip(table.columns, table.comparisons, strict=True):
        if one.result is None:
            reasons.setdefault(one.why, []).append(column.label)
            continue
        ranks = sorted(zip(one.result.mean_ranks, one.methods, strict=True))
        yield (
            f"{spelled(column.label)}: Friedman chi-squared {one.result.statistic:.3g}, n = {one.result.n}, "
            f"p = {one.result.p:.2g}, corrected for the metrics tested {one.p_adjusted:.2g}; mean ranks "
            f"{', '.join(f'{spelled(name)} {rank:.2f}' for rank, name in ranks)}. Two methods differ where their mean "
            f"ranks are {one.result.critical_difference:.3g} or more apart (Nemenyi, 5 % for all pairs)."
            + (f" Left out, without a score: {spelled(', '.join(one.left_out))}." if one.left_out else "")
        )
    for why, labels in reasons.items():
        which = "Every metric" if len(labels) == len(table.columns) else spelled(", ".join(labels))
        yield f"{which}: {why}"


def _aspects(table: ScoreTable) -> Iterator[tuple[str, list[int]]]:
    for aspect in ASPECTS:
        numbers = [j for j, column in enumerate(table.columns) if column.aspect == aspect]
        if numbers:
            yield aspect, numbers


def safe(text: object) -> str:
    """Text from outside as Markdown, that must neither break a table nor become markup."""
    line = clean(str(text), 1000)
    for letter in "\\`*_[]<>|":
        line = line.replace(letter, f"\\{letter}")
    return line
