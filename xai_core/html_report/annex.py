"""The items of Annex IV of Regulation (EU) 2024/1689, in their order, and what a record can say to each.

The titles are our own short words for what the Regulation asks for, which alone is binding: as it was published in the
Official Journal on 12 July 2024 (OJ L, 2024/1689, http://data.europa.eu/eli/reg/2024/1689/oj), without what amended it
later. A record can at most help with an item: what it does not hold is left open, and nothing here says that a system
complies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

OPEN = "open: to be written by the provider"
PARTLY = "partly stated here; the rest is open: to be written by the provider"


class Item(NamedTuple):
    """One item or part of one. `number` is that of the Regulation."""

    number: str
    title: str
    parts: tuple[Item, ...] = ()


ITEMS = (
    Item(
        "1", "General description of the system",
        (
            Item("1(a)", "Intended purpose, provider, version, and how it relates to earlier versions"),
            Item("1(b)", "How it interacts, or can be used to interact, with hardware, software and other AI systems "
                         "that are no part of it"),
            Item("1(c)", "Versions of the relevant software and firmware, and what updates require"),
            Item("1(d)", "All the forms in which it is placed on the market or put into service"),
            Item("1(e)", "The hardware that it is meant to run on"),
            Item("1(f)", "Where it is part of products: pictures of their outside, marking and inner layout"),
            Item("1(g)", "The user interface for the deployer, in outline"),
            Item("1(h)", "Instructions for use for the deployer and, where it applies, its user interface in outline"),
        ),
    ),
    Item(
        "2", "Its elements, and the process of its development",
        (
            Item("2(a)", "Methods and steps of development, with the pre-trained systems and tools of others in it"),
            Item("2(b)", "Design: general logic, key choices with their reasons and assumptions, also about whom it is "
                         "for, what is optimised, the expected output and its quality, trade-offs"),
            Item("2(c)", "Architecture, how its parts build on one another, and the computing resources used"),
            Item("2(d)", "Data: datasheets on training methods and training data sets, where these come from, their "
                         "scope, how they were obtained, chosen, labelled and cleaned"),
            Item("2(e)", "Which human oversight is needed (Article 14), and which technical measures so that deployers "
                         "can interpret the output"),
            Item("2(f)", "Changes that were determined beforehand, and how the system keeps complying through them"),
            Item("2(g)", "Validation and testing: procedures and data, metrics of accuracy, robustness, other "
                         "requirements and potentially discriminatory impact, test logs, and reports dated and signed "
                         "by those responsible"),
            Item("2(h)", "Cybersecurity measures"),
        ),
    ),
    Item("3", "Monitoring, functioning and control: capabilities and limits, accuracy overall and for the persons or "
              "groups it is meant for, foreseeable unintended outcomes and sources of risk, human oversight, input "
              "data"),
    Item("4", "Why the performance metrics are appropriate for this system"),
    Item("5", "The risk management system (Article 9)"),
    Item("6", "Relevant changes that the provider made to the system through its lifecycle"),
    Item("7", "Harmonised standards applied in full or in part; where none were, the solutions by which the "
              "requirements are met, with other standards and specifications"),
    Item("8", "A copy of the EU declaration of conformity (Article 47)"),
    Item("9", "How performance is evaluated in the post-market phase, with the monitoring plan (Article 72)"),
)  # fmt: skip


class Answer(NamedTuple):
    """An item with what the record says to it; `said` is empty where it says nothing."""

    item: Item
    status: str
    said: str
    parts: tuple[Answer, ...] = ()


def answered(known: Mapping[str, str]) -> tuple[Answer, ...]:
    """Every item in order, with what is `known` by its number. Raises KeyError for a number that there is not."""
    numbers = {one.number for item in ITEMS for one in (item, *item.parts)}
    if strange := set(known) - numbers:
        raise KeyError(f"Annex IV has no item {sorted(strange)[0]}")
    return tuple(_answer(item, known) for item in ITEMS)


def _answer(item: Item, known: Mapping[str, str]) -> Answer:
    said = known.get(item.number, "")
    return Answer(item, PARTLY if said else OPEN, said, tuple(_answer(part, known) for part in item.parts))
