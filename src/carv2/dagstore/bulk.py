"""Indexing many shards, so many at once, with a word on each as it begins and ends."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from carv2.dagstore.store import DagStore

__all__ = ["InitializeEvent"]


@dataclass(frozen=True, slots=True)
class InitializeEvent:
    """A shard begins or ends to be indexed. Source: Lotus' ``DagstoreInitializeAllEvent``."""

    key: str
    event: Literal["start", "end"]
    success: bool
    error: str
    total: int
    """Shards in all."""
    current: int
    """Which of them, from 1; the same at start and end."""


def initialize_each(
    store: DagStore, keys: Iterable[str], *, concurrency: int
) -> Generator[InitializeEvent, None, None]:
    """Index the shards ``keys``; two events for each.

    Closing the generator begins no more; those that were begun go on in the store's threads, and nobody waits.
    """
    wanted = list(keys)
    events: queue.SimpleQueue[InitializeEvent] = queue.SimpleQueue()
    todo = iter(enumerate(wanted, 1))
    lock, cancelled = threading.Lock(), threading.Event()

    def work() -> None:
        while not cancelled.is_set():
            with lock:
                number, key = next(todo, (0, ""))
            if not number:
                return
            events.put(InitializeEvent(key, "start", success=False, error="", total=len(wanted), current=number))
            error = _initialize(store, key)
            events.put(
                InitializeEvent(key, "end", success=not error, error=error, total=len(wanted), current=number)
            )

    for _ in range(min(concurrency or len(wanted), len(wanted), _MOST_THREADS)):
        threading.Thread(target=work, name="carv2-initialize", daemon=True).start()
    try:
        for _ in range(2 * len(wanted)):
            yield events.get()
    finally:
        cancelled.set()


_MOST_THREADS = 256  # each of them mostly waits


def _initialize(store: DagStore, key: str) -> str:
    try:
        store.initialize(key)
    except Exception as error:  # noqa: BLE001  (else nobody would hear of its end)
        return str(error) or type(error).__name__
    return ""
