"""What a report is made of: text, lists, tables and pictures, each with the files that its numbers come from.

Text from outside is a plain `str`, which the templates escape and isolate, so that names of any script, with markup or
with signs that turn the direction of reading, stay where they stand. Our own sentences come from `told`.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from xai_core.canvas import percent
from xai_core.methods import METHODS
from xai_core.records import Table
from xai_core.registry import Registry
from xai_core.score_table import number
from xai_core.seal import DIGEST

MOST_ROWS = 200  # of one table on the page; its file has them all
FEW_ROWS = 24  # of a table that stands beside an audit
JOINERS = "\u200c\u200d\u00ad"  # that scripts and emoji need: no harm in them
UNDEFINED = "–"
SHARE = "%"  # the unit of a number from 0 to 1 that people read in percent
LONG, PIECE = 20, 8  # letters without a space that fit a column of a printed table, and that stay together
_RUNS = re.compile(r"(\s+)")
Sources = tuple[str, ...]  # names of files


@dataclass(frozen=True)
class Number:
    """A number with its unit, and why there is none where `value` is None. `SHARE` is shown in percent."""

    value: float | None
    unit: str = ""
    why: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return self.why or "undefined"
        if self.unit == SHARE:
            return percent(self.value)
        whole = isinstance(self.value, int)
        return f"{f'{self.value:,}' if whole else number(self.value)}{f' {self.unit}' if self.unit else ''}"

    def __html__(self) -> str:
        """With all its digits for whoever reads the page by program."""
        if self.value is None:
            return str(isolated(str(self)))
        return f'<data value="{escape(repr(self.value))}">{escape(str(self))}</data>'


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, and why there is none where they are None."""

    low: float | None
    high: float | None
    unit: str = ""
    why: str = ""

    def __html__(self) -> str:
        if self.low is None or self.high is None:
            return str(isolated(self.why or "none"))
        return f"{Number(self.low, self.unit).__html__()} to {Number(self.high, self.unit).__html__()}"


class Head(NamedTuple):
    """The heading of a column."""

    words: str
    is_number: bool = False


@dataclass(frozen=True)
class Said:
    """A paragraph. `weight` "alarm" is for what must not be overlooked, "note" for what somebody wrote."""

    text: str
    source: Sources = ()
    weight: str = ""


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    items: tuple[str, ...]
    source: Sources = ()


@dataclass(frozen=True)
class Heading:
    """Above the blocks that follow, within a section."""

    text: str


@dataclass(frozen=True)
class Facts:
    """Terms with what is known of each."""

    rows: tuple[tuple[str, Any], ...]
    source: Sources = ()


@dataclass(frozen=True)
class Grid:
    """A table. `left_out` rows stand in its files only."""

    title: str
    heads: tuple[Head, ...]
    rows: tuple[tuple[Any, ...], ...]
    source: Sources = ()
    left_out: int = 0


@dataclass(frozen=True)
class Figure:
    """A picture as a data address, and the words for those who cannot see it."""

    address: str
    alt: str
    caption: str
    source: Sources = ()
    width: int = 0  # pixels
    height: int = 0


Block = Said | Points | Heading | Facts | Grid | Figure


def visible(text: str) -> str:
    """`text` with what has no shape, or turns the direction of reading, spelt as its code."""
    if text.isprintable():  # the addresses of pictures are millions of letters long
        return text
    return "".join(
        one
        if one in "\n\t" or one in JOINERS or unicodedata.category(one) not in ("Cc", "Cf", "Cs", "Zl", "Zp")
        else ascii(one)[1:-1]
        for one in text
    )


def isolated(outside: object) -> Markup:
    """Text from outside: escaped, and with a direction of reading of its own. Our own markup stays as it is."""
    if isinstance(outside, Markup):
        return outside
    if hasattr(outside, "__html__"):
        return Markup(outside.__html__())  # numbers, which escape themselves
    return Markup("<bdi>{}</bdi>").format(_breakable(visible(str(outside))))


def _breakable(text: str) -> Markup:
    """`text`, escaped, with places where a line may end in what is long and has none, such as a hash."""
    pieces = (
        Markup("<wbr>").join(run[at : at + PIECE] for at in range(0, len(run), PIECE))
        if len(run) > LONG
        else escape(run)
        for run in _RUNS.split(text)
    )
    return Markup("").join(pieces)


def told(sentence: str, /, **outside: object) -> Markup:
    """Our own `sentence` with `{names}` filled by what comes from outside."""
    return Markup(sentence).format(**{name: isolated(one) for name, one in outside.items()})


def joined(items: Sequence[object], between: str = ", ") -> Markup:
    """Several texts from outside in a row."""
    return Markup(between).join(isolated(one) for one in items)


def counted(count: int, word: str, several: str = "") -> str:
    """ "1 map", "3 maps"."""
    return f"{count:,} {word if count == 1 else several or word + 's'}"


def named(name: object, registry: Registry[Any]) -> str:
    """What people call a method, metric or probe, with the settings that its row name bears; itself where unknown."""
    word, _, rest = str(name).partition(" ")
    return f"{registry[word].label}{f' {rest}' if rest else ''}" if word in registry else str(name)


def mean_cells(found: Mapping[str, Any], unit: str = "") -> tuple[Number, Interval, Number]:
    """The cells of a mean, its interval and its n, from what `Mean` becomes in JSON."""
    note = str(found.get("note") or "")
    return (
        Number(found["mean"], unit, note),
        Interval(found["low"], found["high"], unit, note),
        Number(found["n"]),
    )


MEAN_HEADS = (Head("95 % interval", True), Head("n", True))


def grid_of(table: Table, source: Sources, most: int = MOST_ROWS) -> Grid:
    """The first `most` rows of a record's table; a value and the two ends of its interval become two columns."""
    names = list(table.words)
    ends = {name for name in names if name.endswith(("_low", "_high")) and _stem(name) in names}
    paired = {name for name in names if {f"{name}_low", f"{name}_high"} <= ends}
    kept = [name for name in names if name not in ends or _stem(name) not in paired]
    rows = []
    for line in table.lines()[:most]:
        cells: list[Any] = []
        for name in kept:
            cells.append(named(line[name], METHODS) if name == "method" else cell(line[name]))
            if name in paired:
                cells.append(Interval(_end(line[f"{name}_low"]), _end(line[f"{name}_high"]), why=UNDEFINED))
        rows.append(tuple(cells))
    heads = []
    for name in kept:
        values = [row for row in table.lines() if row[name] is not None]
        heads.append(Head(table.words[name], bool(values) and all(_is_number(row[name]) for row in values)))
        if name in paired:
            heads.append(Head(f"{table.words[name]}: interval", True))
    return Grid(table.title, tuple(heads), tuple(rows), source, max(0, len(table.rows) - most))


def entitled(grid: Grid, whose: str) -> Grid:
    """A table whose title says which record it is of, so that no two on a page are called the same."""
    return replace(grid, title=told("{title} ({whose})", title=grid.title, whose=whose))


def cell(value: Any) -> Any:
    """A plain value as it stands in a table; of a hash there is the beginning, and its file has the whole."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return Number(None, why=UNDEFINED)
    if isinstance(value, int | float):
        return Number(value)
    return f"{value[:12]}…" if isinstance(value, str) and DIGEST.fullmatch(value) else str(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _end(value: Any) -> float | None:
    """The end of an interval, where it is one: a file that nobody sealed may hold anything."""
    return value if _is_number(value) and math.isfinite(value) else None


def _stem(name: str) -> str:
    return name.removesuffix("_low").removesuffix("_high")
