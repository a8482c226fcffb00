"""One map per finding: does the network look elsewhere for each, or is it the same map every time?

A network of several outputs can be asked about each of them. Its maps are worth as many looks only where they differ:
a map that is the same for every finding says where the network looks, not what it looks for there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from xai_core.agreement import rank_correlations
from xai_core.evidence import CONTRAST_LIMIT
from xai_core.methods import METHODS
from xai_core.records import TASKS, Explanation

MOST = 32  # findings with a map each, at once
NOUNS = dict(zip(TASKS, ("class", "finding", "output"), strict=True))  # what one output is called


def plural(noun: str) -> str:
    """Several of them."""
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def same_for_all(explanations: Sequence[Explanation]) -> str | None:
    """Which findings get nearly the same map, in one sentence, or None where every map is another.

    `explanations` are by one method, of one picture and one model, each for another target. Two maps are nearly the
    same where their rank correlation is above that of the class contrast check. Flat maps are left out: they show
    nothing that could be the same. Methods that never look at the target need no measuring.
    """
    if len(explanations) < 2:
        return None
    first = explanations[0]
    method, noun = METHODS[first.method["name"]], NOUNS[str(first.model.get("task", TASKS[0]))]
    if not method.class_specific:
        return f"{method.label} never looks at the target: every {noun} gets this same map."
    shown = [e for e in explanations if not e.flat]
    if len(shown) < 2:
        return None
    alike = rank_correlations(np.stack([e.values for e in shown]))
    shared = [members for members in _sharing(alike) if len(members) > 1]
    if not shared:
        return None
    flat = len(explanations) - len(shown)
    left_out = f" {flat} flat map{'s are' if flat > 1 else ' is'} left out." if flat else ""
    if len(shared[0]) == len(shown):
        pairs = len(shown) * (len(shown) - 1) // 2
        return (
            f"{method.label} gives nearly the same map for every {noun} ({_range(alike, shared[0])} over {pairs} "
            f"pair{'s' if pairs > 1 else ''} of {len(shown)} {plural(noun)}): it says where the network looks, not "
            f"what for which {noun}.{left_out}"
        )
    groups = ", and for ".join(f"{_names(shown, members)} ({_range(alike, members)})" for members in shared)
    return (
        f"{method.label} gives nearly the same map for {groups}: it does not tell these {plural(noun)} apart.{left_out}"
    )


def _sharing(alike: np.ndarray) -> list[list[int]]:
    """(m, m) correlations to groups in which every two maps are nearly the same, the largest first.

    Each map joins the first group to all of whose members it is alike.
    """
    groups: list[list[int]] = []
    for i in range(len(alike)):
        group = next((one for one in groups if (alike[i, one] > CONTRAST_LIMIT).all()), None)
        if group is None:
            groups.append([i])
        else:
            group.append(i)
    return sorted(groups, key=len, reverse=True)


def _range(alike: np.ndarray, members: Sequence[int]) -> str:
    values = [alike[pair] for pair in combinations(members, 2)]
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return f"rank correlation {low}" if low == high else f"rank correlation {low} to {high}"


def _names(shown: Sequence[Explanation], members: Sequence[int]) -> str:
    *others, last = (str(shown[i].target) for i in members)
    return f"{', '.join(others)} and {last}"
