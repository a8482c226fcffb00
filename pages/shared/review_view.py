"""What of a run is reviewed, and in which order: what a link can bring back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TEXT_LIMIT = 200  # characters of one value in an address
MOST_VALUES = 200  # that an address may name for one filter
UNSURE, SURE = 0.6, 0.9  # confidence: below the first it is low, from the second it is high
SHOWS: Mapping[str, str] = {
    "wrong": "Wrong",
    "right": "Right",
    "disagree": "Models disagree",
    "unsure": f"Low confidence (< {UNSURE:.0%})",
    "sure": f"Confident but wrong (≥ {SURE:.0%})",
    "flagged": "Flagged",
    "undecided": "Undecided",
    "decided": "Decided",
}
OF_DECISIONS = frozenset({"flagged", "undecided", "decided"})
SORTS: Mapping[str, str] = {
    "file": "File name",
    "confidence": "Confidence",
    "loss": "Loss",
    "evidence": "Evidence",
    "border": "Border share",
}
LAYOUTS: Mapping[str, str] = {"table": "Table", "gallery": "Gallery"}
PER_PAGE = (100, 1000)
LISTS = {  # a filter by a list of values, and what its key in the address is
    "truths": "true",
    "said": "predicted",
    "verdicts": "verdict",
    "reasons": "reason",
    "maps": "map",
}
GROUP = "group."


@dataclass(frozen=True)
class View:
    """The filters, which all have to hold, the order, and the case that is open.

    `model` and `method` are those that filters and order speak of. Each of the lists leaves all through where it is
    empty; `groups` are by column. `maps` are the methods whose maps are shown. `case` is a picture's sha256.
    """

    run: str = ""
    model: str = ""
    method: str = ""
    shows: tuple[str, ...] = ()
    truths: tuple[str, ...] = ()
    said: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    maps: tuple[str, ...] = ()
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    sort: str = "file"
    down: bool = False
    layout: str = "table"
    per_page: int = PER_PAGE[0]
    page: int = 1
    case: str = ""

    @property
    def filters(self) -> int:
        """How many filters are set."""
        lists = [self.shows, self.truths, self.said, self.verdicts, self.reasons, *self.groups.values()]
        return sum(map(bool, lists))

    def to_address(self) -> dict[str, str | list[str]]:
        """The query of the address, without what is as usual."""
        plain = View()
        words: dict[str, str | list[str]] = {}
        for name in ("run", "model", "method", "sort", "layout", "case"):
            if (value := getattr(self, name)) != getattr(plain, name):
                words[name] = value
        if self.shows:
            words["show"] = list(self.shows)
        words |= {key: list(getattr(self, name)) for name, key in LISTS.items() if getattr(self, name)}
        words |= {f"{GROUP}{column}": list(values) for column, values in self.groups.items() if values}
        if self.down:
            words["order"] = "down"
        for name in ("per_page", "page"):
            if (value := getattr(self, name)) != getattr(plain, name):
                words[name] = str(value)
        return words

    @classmethod
    def from_address(cls, words: Mapping[str, Sequence[str]]) -> View:
        """What an address asks for; whatever is not on offer is left out."""

        def text(key: str, among: Mapping[str, str] | None = None, usual: str = "") -> str:
            value = str(next(iter(words.get(key, ())), usual))[:TEXT_LIMIT]
            return value if among is None or value in among else usual

        def many(key: str) -> tuple[str, ...]:
            return tuple(dict.fromkeys(str(one)[:TEXT_LIMIT] for one in words.get(key, ())[:MOST_VALUES]))

        per_page, page = text("per_page"), text("page")
        lists: dict[str, Any] = {name: many(key) for name, key in LISTS.items()}
        return cls(
            run=text("run"),
            model=text("model"),
            method=text("method"),
            shows=tuple(one for one in many("show") if one in SHOWS),
            groups={key.removeprefix(GROUP): many(key) for key in words if key.startswith(GROUP)},
            sort=text("sort", SORTS, "file"),
            down=text("order") == "down",
            layout=text("layout", LAYOUTS, "table"),
            per_page=int(per_page) if per_page in map(str, PER_PAGE) else PER_PAGE[0],
            page=int(page) if page.isdecimal() and len(page) < 7 and int(page) else 1,
            case=text("case"),
            **lists,
        )


@dataclass
class Reviewing:
    """How far one visitor is with reviewing."""

    view: View = field(default_factory=View)
    began: bool = False  # the address has been read
    opened: int = 0  # how many cases have been opened: a table forgets what was clicked in it
    given: int = 0  # how many times the view was set by something else than its widgets
    last: str = ""  # the picture that was decided last, to be undone
    wanted: str = ""  # a method whose map of the open case is to be made
    edited: int = 0  # how many times the list of reasons was changed
