"""The default engine: one parcel after the other, in this process."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable

from xai_core.audit_work import Keep, ModelSpec, Outcome, Parcel, Worker


class Local:
    """This process is the worker. Pictures are read and decoded in threads meanwhile, by whoever makes the parcels."""

    def run(
        self, worker: Worker, specs: Iterable[ModelSpec | None], parcels: Iterable[Parcel], keep: Keep,
        cancel: threading.Event,
    ) -> Generator[Outcome, None, None]:  # fmt: skip
        for parcel in parcels:
            yield worker.do(parcel, keep, cancel)


def make(address: str, workers: int) -> Local:
    return Local()
