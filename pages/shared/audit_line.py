"""Audits in the background: one at a time on this server, the next ones waiting in line.

They are no visitor's: none ends with the visit that began it, and everybody sees how far each is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from pages.shared import errors
from xai_core.errors import AuditError, Cancelled, SettingError

if TYPE_CHECKING:
    from xai_core.auditing import Progress, Told

MOST_WAITING = 8
MOST_TOLD = 5  # audits whose end is told
Work = Callable[["Told", threading.Event], None]


@dataclass(eq=False)
class Audit:
    """An audit that was begun on a page: `work` does it."""

    name: str
    work: Work | None  # None once it has ended: it may hold all the pictures
    state: Literal["waiting", "running", "done", "stopped", "failed"] = "waiting"
    progress: Progress | None = None
    problem: str = ""
    cancel: threading.Event = field(default_factory=threading.Event)

    def hear(self, progress: Progress) -> None:
        """Take note of how far it is."""
        self.progress = progress


class Line:
    """The audits of this server, in their order."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._due: list[Audit] = []  # the first of them is at work
        self._ended: list[Audit] = []
        self._works = False
        self.turns = 0  # how often something began or ended

    @property
    def due(self) -> list[Audit]:
        """The audit that is at work, and those that wait."""
        with self._changed:
            return list(self._due)

    @property
    def ended(self) -> list[Audit]:
        """The last ones that ended and were not dismissed."""
        with self._changed:
            return list(self._ended)

    def join(self, name: str, work: Work) -> Audit:
        """Put an audit at the end of the line. Raises SettingError where the line is full, or holds that name."""
        audit = Audit(name, work)
        with self._changed:
            if name in [one.name for one in self._due]:
                raise SettingError(f"The audit {name} is under way already. Wait until it ends.")
            if len(self._due) > MOST_WAITING:
                raise SettingError(f"{MOST_WAITING} audits are waiting, and more are not taken. Try again later.")
            self._ended = [one for one in self._ended if one.name != name]
            self._due.append(audit)
            self._turn()
            if not self._works:
                self._works = True
                threading.Thread(target=self._go_through, name="second-look-audits", daemon=True).start()
        return audit

    def stop(self, audit: Audit) -> None:
        """Stop an audit within its batch, or take it out of the line."""
        audit.cancel.set()
        with self._changed:
            if audit in self._due and audit.state == "waiting":
                self._due.remove(audit)
                self._turn()

    def dismiss(self, audit: Audit) -> None:
        """Tell no more of an audit that ended."""
        with self._changed:
            self._ended = [one for one in self._ended if one is not audit]
            self._turn()

    def wait(self, seconds: float) -> bool:
        """Wait until no audit is left, so long at most; whether none is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._due, seconds)

    def _turn(self) -> None:
        self.turns += 1
        self._changed.notify_all()

    def _go_through(self) -> None:
        while True:
            with self._changed:
                if not self._due:
                    self._works = False
                    return
                audit = self._due[0]
                audit.state = "running"
                self._turn()
            _do(audit)
            with self._changed:
                self._due.remove(audit)
                self._ended = [*self._ended, audit][-MOST_TOLD:]
                self._turn()


def _do(audit: Audit) -> None:
    assert audit.work is not None
    try:
        audit.work(audit.hear, audit.cancel)
        audit.state = "done"
    except Cancelled:
        audit.state = "stopped"
    except AuditError as error:
        audit.state, audit.problem = "failed", str(error)
    except Exception:
        audit.state, audit.problem = "failed", errors.incident()
    finally:
        audit.work = None
