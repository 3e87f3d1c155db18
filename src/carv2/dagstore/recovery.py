"""When an errored shard is tried again without anybody asking: so often, with longer and longer breaks."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

from carv2.dagstore.catalogue import DurableState
from carv2.dagstore.states import Operation
from carv2.errors import CarError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from carv2.dagstore._core import Core
    from carv2.dagstore.catalogue import ShardRow
    from carv2.dagstore.config import DagStoreConfig

__all__ = ["RecoveryPolicy"]


class RecoveryPolicy:
    """Counts attempts by shard since the store was opened; a success takes them back."""

    def __init__(self, config: DagStoreConfig) -> None:
        self._is_automatic = config.recover_on_start != "no"
        self._most, self._backoff = config.max_recover_attempts, config.recover_backoff
        self._lock = threading.Lock()
        self._attempts: dict[str, int] = {}

    def take(self, row: ShardRow, *, at_start: bool = False) -> bool:
        """Whether the errored shard may be tried now; if so, that counts as an attempt. A start is no failure."""
        with self._lock:
            made = self._attempts.get(row.key, 0)
            is_due = at_start or time.time() - row.updated >= self._backoff * 2**made
            if not self._is_automatic or made >= self._most or not is_due:
                return False
            self._attempts[row.key] = made + 1
            return True

    def forget(self, key: str) -> None:
        """It works again, or is gone."""
        with self._lock:
            self._attempts.pop(key, None)


def take_up(core: Core) -> None:
    """Go on with what an earlier process left, a few shards at a time: there must be room for what is asked for.

    That is eager shards without an index, shards that were about to be destroyed or indexed anew when it ended,
    and by the policy errored ones.
    """
    slots = threading.Semaphore(core.config.max_concurrent_index or _AT_ONCE)
    with contextlib.suppress(CarError, OSError):  # of the catalogue: the next start tries again
        for row, operation in _left_behind(core):
            while not slots.acquire(timeout=_POLL):
                if core.closing.is_set():
                    return
            if core.closing.is_set() or not _begin(core, row, operation, slots):
                slots.release()


def _left_behind(core: Core) -> Iterator[tuple[ShardRow, Operation]]:
    rows = core.catalogue.rows
    yield from ((row, Operation.INITIALIZE) for row in rows(state=DurableState.NEW, lazy=False))
    yield from ((row, Operation.INITIALIZE) for row in rows(state=DurableState.AVAILABLE, inverted=False))
    if core.config.recover_on_start == "now":
        for row in rows(state=DurableState.ERRORED):
            if core.recovery.take(row, at_start=True):
                yield row, Operation.RECOVER


def _begin(core: Core, row: ShardRow, operation: Operation, slots: threading.Semaphore) -> bool:
    with contextlib.suppress(CarError, RuntimeError), core.live.entered(row.key) as shard:
        now, version = core.seen(shard)
        if (now.id, now.state, now.generation) != (row.id, row.state, row.generation):
            return False  # somebody was faster
        job = core.begin(shard, now, version, operation)
        if job is not None:
            job.afterwards(slots.release)
            return True
    return False


_AT_ONCE = 16  # shards that are gone on with, where indexing has no limit
_POLL = 0.2  # seconds
