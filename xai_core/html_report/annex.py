"""The items of Annex IV of Regulation (EU) 2024/1689, in their order, and what a record can say to each.

The titles are our own short words for what the Regulation asks for, which alone is binding. A record can at most help
with an item: what it does not hold is left open, and nothing here says that a system complies.
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
            Item("1(b)", "How it works together with hardware, software and other AI systems around it"),
            Item("1(c)", "Versions of software and firmware, and what updates require"),
            Item("1(d)", "The forms in which it is placed on the market or put into service"),
            Item("1(e)", "The hardware that it is meant to run on"),
            Item("1(f)", "Where it is part of a product: pictures of that product, its markings and its inside"),
            Item("1(g)", "The user interface, in outline, that the deployer gets"),
            Item("1(h)", "Instructions for use for the deployer"),
        ),
    ),
    Item(
        "2", "Its elements, and how it was developed",
        (
            Item("2(a)", "Methods and steps of development, with pre-trained systems and tools of others"),
            Item("2(b)", "Design: general logic, main choices and assumptions, what is optimised, trade-offs"),
            Item("2(c)", "Architecture, how its parts work together, and the computing resources used"),
            Item("2(d)", "Data: training data sets, where they come from, how they were chosen, labelled and cleaned"),
            Item("2(e)", "Human oversight, and the technical means that help people to interpret the output"),
            Item("2(f)", "Changes that were determined beforehand, and how compliance is kept through them"),
            Item("2(g)", "Validation and testing: data, metrics of accuracy and robustness, discriminatory impact, "
                         "logs and reports that are dated and signed"),
            Item("2(h)", "Cybersecurity measures"),
        ),
    ),
    Item("3", "Monitoring, functioning and control: capabilities and limits, accuracy overall and for groups of "
              "people, foreseeable unintended outcomes and risks, oversight, what the input must be"),
    Item("4", "Why the performance metrics are right for this system"),
    Item("5", "The risk management system (Article 9)"),
    Item("6", "Relevant changes by the provider through the life of the system"),
    Item("7", "Harmonised standards applied, or the other solutions by which the requirements are met"),
    Item("8", "A copy of the EU declaration of conformity (Article 47)"),
    Item("9", "How performance is evaluated once on the market, with the monitoring plan (Article 72)"),
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
