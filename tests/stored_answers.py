"""Units for the tests of the store, for this process and for those that it starts, which need nothing heavy."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from typing import Any

import numpy as np

from xai_core.units import Unit

FACTS = {"picture": "Bruch — 骨折", "value": 0.1 + 0.2, "none": None, "list": [1, [True, "x"]], "tiny": 5e-324}


def key(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def answer(number: int, seconds: float = 0.5, **changes: Any) -> Unit:
    """The same unit for the same number."""
    random_numbers = np.random.default_rng(number)
    arrays = {"values": random_numbers.normal(size=(5, 7)).astype(np.float32), "seen": np.full((2, 2, 3), number % 256)}
    return Unit(key(number), "map", {**FACTS, "number": number}, arrays, seconds)._replace(**changes)


def answers(*numbers: int) -> list[Unit]:
    return [answer(number) for number in numbers]


def contents(unit: Unit) -> tuple[Any, ...]:
    """All of a unit but its seconds, in a form that `==` compares exactly."""
    arrays = {name: (a.dtype.str, a.shape, a.tobytes()) for name, a in unit.arrays.items()}
    return unit.key, unit.kind, json.dumps(unit.facts, sort_keys=True), arrays


class Failing(sqlite3.Connection):
    """A connection that counts its statements as `failing` counts the calls to the operating system."""

    def execute(self, *args: Any) -> sqlite3.Cursor:
        if args[0] != "ROLLBACK":  # which needs no room
            os.getpriority(os.PRIO_PROCESS, 0)  # stands for the statement among the calls that fail
        return super().execute(*args)

    def executemany(self, *args: Any) -> sqlite3.Cursor:
        os.getpriority(os.PRIO_PROCESS, 0)
        return super().executemany(*args)


CALLS = ("open", "write", "fsync", "replace", "rename", "mkdir", "getpriority")
