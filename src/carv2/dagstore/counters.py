"""How often things happened in a store since it was opened."""

from __future__ import annotations

import threading
from collections import Counter

__all__ = ["COUNTERS", "Counters"]

COUNTERS = {
    "registered": "shards registered",
    "initialized": "shards indexed",
    "adopted": "of these, such as whose own index was taken over",
    "recovered": "shards indexed again after an error",
    "rebuilt": "lost or damaged indexes made again",
    "failed": "attempts to index a shard that failed",
    "destroyed": "shards removed",
    "acquired": "times a shard was acquired",
    "opened": "times a shard had to be opened for that",
    "released": "times a reader let go of a shard",
    "stale": "shards whose bytes were found to have changed",
    "timeouts": "calls that gave up waiting",
    "collected": "local copies removed by collections",
    "collected_bytes": "bytes of these",
}
"""What is counted, in words."""


class Counters:
    """Counts by name; threads may share them.

    >>> counters = Counters()
    >>> counters.add("acquired")
    >>> counters.snapshot()["acquired"], counters.snapshot()["failed"]
    (1, 0)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter(dict.fromkeys(COUNTERS, 0))

    def add(self, name: str, count: int = 1) -> None:
        """Count something, by a name of :data:`COUNTERS`."""
        with self._lock:
            self._counts[name] += count

    def snapshot(self) -> dict[str, int]:
        """All counts, those of zero included."""
        with self._lock:
            return dict(self._counts)
