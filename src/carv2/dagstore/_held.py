"""Shards that stay acquired between reads, so that the next read of one costs no more than in the shard itself."""

from __future__ import annotations

import contextlib
import threading
import time
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

    from carv2.dagstore.shard import AcquiredShard


class _Entry:
    """A shard that is held, and how many read from it."""

    __slots__ = ("idle_since", "is_dropped", "shard", "users")

    def __init__(self, shard: AcquiredShard) -> None:
        self.shard = shard
        self.users, self.idle_since, self.is_dropped = 0, 0.0, False


class HeldShards:
    """The shards that were used last. One that somebody reads from is never let go of before that is over.

    Args:
        acquire: a shard by its key.
        most: shards that are held without a reader; more than that only while there are more readers.
    """

    def __init__(self, acquire: Callable[[str], AcquiredShard], most: int) -> None:
        self._acquire, self._most = acquire, most
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    def has(self, key: str) -> bool:
        """Whether it is held."""
        return key in self._entries

    @contextlib.contextmanager
    def borrowed(self, key: str) -> Generator[AcquiredShard]:
        """The shard, held at least meanwhile; acquired, if it was not."""
        entry = self._take(key) or self._keep(key, self._acquire(key))
        try:
            yield entry.shard
        finally:
            self._give_back(entry)

    def _take(self, key: str) -> _Entry | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                entry.users += 1
                self._entries.move_to_end(key)
            return entry

    def _keep(self, key: str, shard: AcquiredShard) -> _Entry:
        spare: list[AcquiredShard] = []
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                entry = self._entries[key] = _Entry(shard)
            else:
                spare.append(shard)  # another thread was faster
            entry.users += 1
            spare += self._too_many()
        _close(spare)
        return entry

    def _give_back(self, entry: _Entry) -> None:
        with self._lock:
            entry.users -= 1
            entry.idle_since = time.monotonic()
            is_over = entry.is_dropped and not entry.users
            spare = [entry.shard] if is_over else self._too_many()
        _close(spare)

    def _too_many(self) -> list[AcquiredShard]:
        """Those to close, the ones unused for longest; under the lock, as what follows."""
        surplus = len(self._entries) - self._most
        if surplus <= 0:
            return []
        unused = [key for key, entry in self._entries.items() if not entry.users]
        return self._drop(unused[:surplus])

    def _drop(self, keys: Iterable[str]) -> list[AcquiredShard]:
        """Forget these; what can be closed at once. What is read from is closed by its last reader."""
        dropped = [self._entries.pop(key) for key in keys]
        for entry in dropped:
            entry.is_dropped = True
        return [entry.shard for entry in dropped if not entry.users]

    def let_go(self, key: str | None = None, *, min_idle: float = 0.0) -> None:
        """Give back a shard, or all, that nobody has read from for ``min_idle`` seconds; others stay."""
        latest = time.monotonic() - min_idle
        with self._lock:
            wanted = list(self._entries) if key is None else [key] if key in self._entries else []
            found = ((name, self._entries[name]) for name in wanted)
            unused = [name for name, entry in found if not entry.users and entry.idle_since <= latest]
            spare = self._drop(unused)
        _close(spare)

    def forget(self, key: str) -> None:
        """Acquire it anew for the next reader; those of now read on."""
        with self._lock:
            spare = self._drop([key] if key in self._entries else [])
        _close(spare)

    def close(self) -> None:
        """Hold none without a reader any more."""
        with self._lock:
            self._most = 0
            spare = self._drop(list(self._entries))
        _close(spare)


class ShardKeeper(Protocol):
    """Whoever stays a reader of shards only so that the next read is faster."""

    def let_go(self, key: str | None = None, *, min_idle: float = 0.0) -> None:
        """Close a shard, or all, that nobody has read from for ``min_idle`` seconds."""
        ...


class Keepers:
    """All keepers of a store; one that is not used any more is forgotten."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keepers: weakref.WeakSet[ShardKeeper] = weakref.WeakSet()

    def add(self, keeper: ShardKeeper) -> None:
        """Ask it from now on."""
        with self._lock:
            self._keepers.add(keeper)

    def let_go(self, key: str | None = None, *, min_idle: float = 0.0) -> None:
        """Ask all of them."""
        with self._lock:
            keepers = list(self._keepers)
        for keeper in keepers:
            keeper.let_go(key, min_idle=min_idle)


def _close(shards: Iterable[AcquiredShard]) -> None:
    for shard in shards:
        shard.close()
