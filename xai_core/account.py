"""What one caller asks of a network: which pictures, what it has cost, what it has been told, and whether to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch

from xai_core.errors import Cancelled
from xai_core.records import Passes

NOTHING = Passes()
Progress = Callable[[int], None]  # told how many pictures have gone through so far


class Pictures(Protocol):
    """What the door takes: a tensor, or something that makes the asked-for rows of one."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> torch.Tensor: ...


@dataclass(frozen=True)
class Made:
    """`count` pictures, made by `make(start, stop)` only when their batch is due, so that memory stays flat.

    `each` are the rows of one map's question, where there are several. On a CPU the last bits of an answer depend on
    how many pictures go together, so questions are kept apart there: an answer does not depend on its company.
    """

    count: int
    make: Callable[[int, int], torch.Tensor]
    each: int = 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, rows: slice, /) -> torch.Tensor:
        return self.make(rows.start, rows.stop)


def is_one_picture(x: Pictures) -> bool:
    """Whether `x` is one picture expanded to several rows, so that one forward pass serves them all."""
    return isinstance(x, torch.Tensor) and len(x) > 1 and x.stride(0) == 0


class Answer(NamedTuple):
    """What the network said to one question, how long that took, and what was to be known about it."""

    value: Any
    seconds: float
    notes: tuple[str, ...]


@dataclass
class Account:
    """Of one caller. Questions about exactly the tensor `x` are answered once."""

    progress: Progress | None = None
    cancel: threading.Event | None = None
    x: torch.Tensor | None = None
    background: torch.Tensor | None = None  # (k, 3, h, w) pictures to compare with, where the caller gave any
    passes: Passes = NOTHING  # that the answers rest on
    sent: Passes = NOTHING  # that really went through the network
    spared: float = 0.0  # seconds that shared answers would have taken again
    absorbed: torch.Tensor | None = None  # (n,) of what the values promise, the part that no pixel holds
    notes: list[str] = field(default_factory=list)
    answers: dict[Any, Answer] = field(default_factory=dict)
    whole: Account | None = None  # that this is a part of
    open: bool = False  # whether the accounts of those who ask through its door are parts of it

    def about(self, x: torch.Tensor | None) -> Account:
        """A part of this account that is about other pictures: what is sent is booked on both."""
        return Account(cancel=self.cancel, x=x, background=self.background, whole=self)

    def count(self, cost: Passes) -> None:
        """Book what went through the network, and tell."""
        self.sent += cost
        if self.whole is not None:
            self.whole.count(cost)
        if self.progress is not None and cost.forward:
            self.progress(self.sent.forward)

    def note(self, sentence: str) -> None:
        """Keep a sentence for the caller, once."""
        if self.whole is not None:
            self.whole.note(sentence)
        if sentence not in self.notes:
            self.notes.append(sentence)

    def stop_if_cancelled(self) -> None:
        """Raise Cancelled if the caller has cancelled."""
        if self.cancel is not None and self.cancel.is_set():
            raise Cancelled("Cancelled. Nothing of it was kept.")
