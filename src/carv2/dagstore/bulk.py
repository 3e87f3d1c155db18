"""Indexing many shards, so many at once, with a word on each as it begins and ends."""

from __future__ import annotations

import contextlib
import queue
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from carv2.dagstore._jobs import Deadline
from carv2.dagstore.catalogue import DurableState
from carv2.dagstore.states import Operation
from carv2.errors import ShardErroredError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Sequence

    from carv2.dagstore._core import Core

__all__ = ["InitializeEvent"]

_Item = TypeVar("_Item")

_MOST_THREADS = 256  # each of them mostly waits
_LOOK_SECONDS = 0.5  # how soon who waits sees that nobody wants it any longer


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


def initialize_all(
    core: Core, *, concurrency: int, include_sealed: bool, stop: threading.Event
) -> Generator[InitializeEvent, None, None]:
    """Index all shards that are new; two events for each.

    Closing the generator, or setting ``stop`` in another thread, begins no more; what was begun goes on in
    the store's threads, and nobody waits for it.
    """
    keys = [row.key for row in core.catalogue.rows(state=DurableState.NEW)]
    try:
        if not include_sealed:
            keys = _ready_ones(core, keys, concurrency, stop)
        yield from _initialize_each(core, keys, concurrency, stop)
    finally:
        stop.set()


def _initialize_each(
    core: Core, keys: Sequence[str], concurrency: int, stop: threading.Event
) -> Generator[InitializeEvent, None, None]:
    events: queue.SimpleQueue[InitializeEvent] = queue.SimpleQueue()
    total = len(keys)

    def work(number: int, key: str) -> None:
        events.put(InitializeEvent(key, "start", success=False, error="", total=total, current=number))
        error = ""
        try:
            _initialize(core, key)
        except Exception as failure:  # noqa: BLE001  (whatever it is, who waits for the end must be told)
            error = str(failure) or type(failure).__name__
        events.put(InitializeEvent(key, "end", success=not error, error=error, total=total, current=number))

    _in_threads(keys, work, concurrency, stop)
    yield from _taken(events, 2 * total, stop)


def _taken(items: queue.SimpleQueue[_Item], count: int, stop: threading.Event) -> Generator[_Item, None, None]:
    """So many items as they come, until ``stop`` is set."""
    while count and not stop.is_set():
        with contextlib.suppress(queue.Empty):
            yield items.get(timeout=_LOOK_SECONDS)
            count -= 1


def _initialize(core: Core, key: str) -> None:
    """Index a shard, or wait for whoever does, or did."""
    with core.live.entered(key) as shard:
        job = None
        while job is None:
            row, version = core.seen(shard)
            if row.state is DurableState.ERRORED and not shard.is_busy:
                raise ShardErroredError(key, cause=row.error, error_type=row.error_type)
            if row.state is DurableState.AVAILABLE and not shard.is_busy:
                return
            job = core.begin(shard, row, version, Operation.INITIALIZE)
        core.wait(job, Deadline(None))


def _ready_ones(core: Core, keys: Sequence[str], concurrency: int, stop: threading.Event) -> list[str]:
    """Those whose bytes can be had at once; many mounts are asked at a time, as each may take a while."""
    answers: queue.SimpleQueue[tuple[int, bool]] = queue.SimpleQueue()

    def ask(number: int, key: str) -> None:
        is_ready = False
        with contextlib.suppress(Exception):  # whatever it is, it is not ready
            is_ready = core.is_ready(core.catalogue.find(key))
        answers.put((number, is_ready))

    _in_threads(keys, ask, concurrency, stop)
    ready = {number for number, is_ready in _taken(answers, len(keys), stop) if is_ready}
    return [key for number, key in enumerate(keys, 1) if number in ready]


def _in_threads(
    items: Sequence[_Item],
    work: Callable[[int, _Item], None],
    concurrency: int,
    stop: threading.Event,
) -> None:
    """Begin to do ``work`` on each item with its number from 1, in order, in so many threads (0: one for each)."""
    todo, lock = iter(enumerate(items, 1)), threading.Lock()
    count = min(concurrency or len(items), len(items), _MOST_THREADS)

    def take() -> Iterable[tuple[int, _Item]]:
        while not stop.is_set():
            with lock:
                found = next(todo, None)
            if found is None:
                return
            yield found

    def run() -> None:
        for number, item in take():
            work(number, item)

    for _ in range(count):
        threading.Thread(target=run, name="carv2-initialize", daemon=True).start()
