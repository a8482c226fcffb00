"""The models that are held in memory: few, loaded once for all visitors, let go only when nobody works with them."""

from __future__ import annotations

import gc
import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xai_core.errors import ModelError

if TYPE_CHECKING:
    from xai_core.models import Model

PLACES = "SECOND_LOOK_HELD_MODELS"  # how many models are held
FEWEST = 4  # places: one page shows so many
USUAL = 8  # places, where the environment says nothing: two such pages
PATIENCE = 180.0  # seconds to wait for a model that somebody else is opening


class Shelf:
    """Models by key. The one that was asked for longest ago makes room; one that is worked with never does."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held: OrderedDict[str, Model] = OrderedDict()
        self._coming: set[str] = set()
        self._workers: Counter[int] = Counter()  # by the id of a model

    @property
    def places(self) -> int:
        """How many models are held at most: the environment's number, and never fewer than one page shows."""
        wanted = os.environ.get(PLACES, "")
        return max(FEWEST, int(wanted)) if wanted.isdecimal() else USUAL

    def find(self, key: str) -> Model | None:
        """The model, where it is here."""
        with self._changed:
            if key in self._held:
                self._held.move_to_end(key)
            return self._held.get(key)

    def get(self, key: str, name: str, make: Callable[[], Model]) -> Model:
        """The model, made where it is not here. Who asks while it is being made waits for it, but not for ever.

        Raises ModelError where no place can be had or the wait is over, and whatever `make` raises.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: key not in self._coming, PATIENCE):
                raise ModelError(
                    f"{name} is being opened for somebody else and was not there after {PATIENCE:.0f} s. Try again "
                    "later, or pick another model."
                )
            if key in self._held:
                self._held.move_to_end(key)
                return self._held[key]
            let_go = self._make_room(name)
            self._coming.add(key)
        if let_go:
            gc.collect()  # it may lie in circles
        made = None
        try:
            made = make()
        finally:
            with self._changed:
                self._coming.remove(key)
                if made is not None:
                    self._held[key] = made
                self._changed.notify_all()
        return made

    def let_go(self, key: str) -> None:
        """Hold a model no longer. Who works with it keeps it until the work is done."""
        with self._changed:
            self._held.pop(key, None)

    @contextmanager
    def using(self, *models: Model) -> Iterator[None]:
        """Hold on to models while somebody works with them."""
        with self._changed:
            self._workers.update(map(id, models))
        try:
            yield
        finally:
            with self._changed:
                self._workers.subtract(map(id, models))
                self._workers += Counter()  # forget the zeros: ids come back

    @property
    def megabytes(self) -> float:
        """Of all that is held."""
        with self._changed:
            return sum(map(megabytes, self._held.values()))

    def __len__(self) -> int:
        return len(self._held)

    def _make_room(self, name: str) -> int:
        """Let go of as many models as it takes for one more, and say how many that were."""
        before = len(self._held)
        while len(self._held) + len(self._coming) >= self.places:
            idle = next((key for key, model in self._held.items() if not self._workers[id(model)]), None)
            if idle is None:
                raise ModelError(
                    f"{name} cannot be opened now: {self.places} models are held, {self._business()}. Wait until some "
                    f"of it is done, or start the program with a larger {PLACES}."
                )
            del self._held[idle]
        return before - len(self._held)

    def _business(self) -> str:
        """What keeps all places taken."""
        if not self._coming:
            return "all of them at work"
        if not self._held:
            return "all of them still being opened"
        return f"{len(self._held)} of them at work and {len(self._coming)} still being opened"


def megabytes(model: Model) -> float:
    """What the weights of a model take, in MB of 10^6 bytes."""
    return sum(int(tensor.nbytes) for tensor in model.module.state_dict().values()) / 1e6
