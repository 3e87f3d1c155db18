"""How much goes on at once: slots for work that strains disks, networks or sealing machines."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

from carv2.dagstore.mounts._patient import LOCAL, origin_of

if TYPE_CHECKING:
    from collections.abc import Generator

    from carv2.dagstore.config import DagStoreConfig
    from carv2.dagstore.mounts import Mount

__all__ = ["OriginThrottles", "Throttle", "Throttles"]


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


class OriginThrottles:
    """Those of one origin; what is here already is not called, and not fetched."""

    def __init__(self, config: DagStoreConfig, *, is_local: bool) -> None:
        self.indexing = Throttle(config.max_concurrent_index)
        self.storage_calls = Throttle(0 if is_local else config.max_concurrency_storage_calls)
        self._ready = Throttle(0 if is_local else config.max_concurrent_ready_fetches)
        self._unsealing = Throttle(config.max_concurrent_unseals)

    @contextlib.contextmanager
    def fetching(self, *, ready: bool) -> Generator[None]:
        """A slot for fetching a shard's bytes; there are others for those that their origin has to make ready."""
        with self._ready if ready else self._unsealing:
            yield


class Throttles:
    """Those of a store: each origin has its own, so that one that never answers holds up nobody else."""

    def __init__(self, config: DagStoreConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._origins: dict[str, OriginThrottles] = {}

    def of(self, mount: Mount | None) -> OriginThrottles:
        """Those of the mount's origin; None: of local files."""
        origin = LOCAL if mount is None else origin_of(mount)
        with self._lock:
            if origin not in self._origins:
                self._origins[origin] = OriginThrottles(self._config, is_local=origin == LOCAL)
            return self._origins[origin]
