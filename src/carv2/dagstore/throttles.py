"""How much goes on at once: slots for work that strains disks, networks or sealing machines."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from carv2.dagstore.config import DagStoreConfig

__all__ = ["Throttle", "Throttles"]


class Throttle:
    """So many at once, and the others wait; 0 is no limit.

    >>> throttle = Throttle(1)
    >>> with throttle:
    ...     throttle.is_free
    False
    """

    def __init__(self, slots: int) -> None:
        if slots < 0:
            raise ValueError(f"{slots} slots; 0 is no limit")
        self._slots = threading.Semaphore(slots) if slots else None

    @property
    def is_free(self) -> bool:
        """Whether nobody would wait now."""
        if self._slots is None:
            return True
        if not self._slots.acquire(blocking=False):
            return False
        self._slots.release()
        return True

    def __enter__(self) -> None:
        if self._slots is not None:
            self._slots.acquire()

    def __exit__(self, *_: object) -> None:
        if self._slots is not None:
            self._slots.release()


class Throttles:
    """Those of a store."""

    def __init__(self, config: DagStoreConfig) -> None:
        self.indexing = Throttle(config.max_concurrent_index)
        self.storage_calls = Throttle(config.max_concurrency_storage_calls)
        self._ready = Throttle(config.max_concurrent_ready_fetches)
        self._unsealing = Throttle(config.max_concurrent_unseals)

    @contextlib.contextmanager
    def fetching(self, *, ready: bool) -> Generator[None]:
        """A slot for fetching a shard's bytes; there are others for those that their origin has to make ready."""
        with self._ready if ready else self._unsealing:
            yield
