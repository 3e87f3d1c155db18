"""What happens in a store, told to whoever listens: in buffers with an end, so that nobody holds the store up."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from carv2.dagstore.states import Operation, ShardState

__all__ = ["Event", "EventHub", "Subscription"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to the shard ``key``, which is in ``state`` now; None where it is gone."""

    key: str
    operation: Operation
    state: ShardState | None
    references: int = 0
    error: str = ""
    at: float = field(default_factory=time.time)
    """Seconds since 1970."""


class Subscription:
    """The events since it was made, the newest ``size`` of those that were not taken yet.

    Iterating waits for the next and ends when it is closed. Threads may share one: each event goes to one of them.
    A ``size`` below 1 is a ValueError.

    >>> import carv2, tempfile
    >>> from carv2.dagstore import BytesMount, DagStore
    >>> cid = carv2.CID.of_data(b"fish")
    >>> archive = b"".join(carv2.iter_car([cid], [(cid, b"fish")]))
    >>> with tempfile.TemporaryDirectory() as folder, DagStore(folder) as store:
    ...     with store.subscribe() as events:
    ...         _ = store.register("sea", BytesMount(archive))
    ...         events.get(timeout=10).key
    'sea'
    """

    def __init__(self, hub: EventHub, size: int) -> None:
        if size < 1:
            raise ValueError(f"a buffer of {size} events")
        self._hub, self._size = hub, size
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self.dropped = 0
        """Events that were never taken, because the buffer was full."""

    def put(self, event: Event) -> None:
        """Take in an event; the oldest goes if there is no room. Never waits for a listener."""
        with self._changed:
            if self._is_closed:
                return
            if len(self._events) == self._size:
                self._events.popleft()
                self.dropped += 1
            self._events.append(event)
            self._changed.notify()

    def get(self, timeout: float | None = None) -> Event | None:
        """The next event; None after ``timeout`` seconds without one, or when it is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._is_closed, timeout)
            return self._events.popleft() if self._events else None

    def __iter__(self) -> Iterator[Event]:
        while (event := self.get()) is not None:
            yield event

    def close(self) -> None:
        """Take in no more; may be called twice."""
        self._hub.remove(self)
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def __enter__(self) -> Subscription:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class EventHub:
    """Hands each event to all that listen.

    >>> from carv2.dagstore.states import Operation, ShardState
    >>> hub = EventHub()
    >>> with hub.subscribe(1) as events:
    ...     for key in ("a", "b"):
    ...         hub.publish(Event(key, Operation.REGISTER, ShardState.NEW))
    ...     events.get().key, events.dropped
    ('b', 1)
    """

    def __init__(self) -> None:
        self._subscriptions: tuple[Subscription, ...] = ()
        self._lock = threading.Lock()

    def subscribe(self, size: int = 1024) -> Subscription:
        """Listen from now on, with room for ``size`` events."""
        subscription = Subscription(self, size)
        with self._lock:
            self._subscriptions += (subscription,)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        """Let it hear no more."""
        with self._lock:
            self._subscriptions = tuple(one for one in self._subscriptions if one is not subscription)

    def publish(self, event: Event) -> None:
        """Tell everybody; never waits."""
        for subscription in self._subscriptions:
            subscription.put(event)

    def close(self) -> None:
        """End all subscriptions."""
        for subscription in self._subscriptions:
            subscription.close()
