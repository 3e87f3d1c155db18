"""The shards that something is going on with: readers, work, an open archive. The others take no memory."""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

    from carv2.dagstore._jobs import Job
    from carv2.dagstore._opening import OpenShard
    from carv2.dagstore.catalogue import ShardRow


class LiveShard:
    """What goes on with one shard. Fields are changed under its ``lock``, which nobody holds for long."""

    __slots__ = ("job", "key", "lock", "opened", "opening", "references", "users")

    def __init__(self, key: str) -> None:
        self.key = key
        self.lock = threading.Lock()
        self.users = 0
        """Calls that are in it; it stays as long as there are some."""
        self.references = 0
        """Readers."""
        self.job: Job[ShardRow] | None = None
        """The last initialization or recovery."""
        self.opening: Job[None] | None = None
        self.opened: OpenShard | None = None

    @property
    def is_busy(self) -> bool:
        """Whether it is being initialized or recovered here."""
        return self.job is not None and not self.job.is_done

    @property
    def is_idle(self) -> bool:
        """Whether nobody is in it, and nothing goes on."""
        is_opening = self.opening is not None and not self.opening.is_done
        return not (self.users or self.references or self.is_busy or is_opening)


class LiveShards:
    """The live shards by key. What is open without a reader is closed, oldest first, once there are too many."""

    def __init__(self, max_open: int) -> None:
        self._lock = threading.Lock()
        self._shards: dict[str, LiveShard] = {}
        self._unused: OrderedDict[str, LiveShard] = OrderedDict()
        """Open and idle ones."""
        self._max_open = max_open

    @contextlib.contextmanager
    def entered(self, key: str) -> Generator[LiveShard]:
        """The shard, there to stay meanwhile."""
        with self._lock:
            shard = self._shards.get(key)
            if shard is None:
                shard = self._shards[key] = LiveShard(key)
            shard.users += 1
            self._unused.pop(key, None)
        try:
            yield shard
        finally:
            with self._lock:
                shard.users -= 1
            self.settle(shard)

    def settle(self, shard: LiveShard) -> None:
        """See to what is to be done once it is idle: forget it, or keep it open and close another."""
        closable: list[OpenShard] = []
        with self._lock:
            if not shard.is_idle:
                return
            if shard.opened is None:
                self._shards.pop(shard.key, None)
                return
            self._unused[shard.key] = shard
            while len(self._unused) > self._max_open:
                closable += self._take_out(next(iter(self._unused)))
        for opened in closable:
            opened.retire()

    def _take_out(self, key: str) -> list[OpenShard]:
        """Forget an idle shard; what it has open."""
        shard = self._unused.pop(key)
        del self._shards[key]
        opened, shard.opened = shard.opened, None
        return [] if opened is None else [opened]

    def peek(self, key: str) -> tuple[bool, int]:
        """Whether it is being worked on, and how many read it."""
        with self._lock:
            shard = self._shards.get(key)
            return (False, 0) if shard is None else (shard.is_busy, shard.references)

    def activity(self) -> dict[str, tuple[bool, int]]:
        """The same for all of which there is something to say."""
        with self._lock:
            return {key: (shard.is_busy, shard.references) for key, shard in self._shards.items()}

    def close_unused(self, key: str | None = None) -> None:
        """Close what is open without readers, all of it or one."""
        with self._lock:
            keys = list(self._unused) if key is None else [key] if key in self._unused else []
            closable = [opened for each in keys for opened in self._take_out(each)]
        for opened in closable:
            opened.retire()

    def close(self) -> None:
        """Close everything that is open, in use or not: reads end with ClosedError."""
        with self._lock:
            shards = list(self._shards.values())
        for shard in shards:
            with shard.lock:
                opened, shard.opened = shard.opened, None
            if opened is not None:
                opened.close()
