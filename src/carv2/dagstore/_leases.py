"""The right to work on a shard, among all processes that share a catalogue; kept up while the work lasts."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import uuid
from typing import TYPE_CHECKING

from carv2.errors import CarError, ClosedError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from carv2.dagstore.catalogue import Catalogue

_POLL = 0.2  # seconds between two looks at a lease that somebody else has, at first
_LONGEST_POLL = 5.0
_RENEWALS = 3  # in the time that a lease lasts


def holder_name() -> str:
    """A name for this process that no other has, and that tells people where to look."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


class LeaseKeeper:
    """Takes leases in the name of ``holder`` and renews them in a thread of its own."""

    def __init__(self, catalogue: Catalogue, holder: str, seconds: float) -> None:
        self._catalogue, self.holder, self._seconds = catalogue, holder, seconds
        self._changed = threading.Condition()
        self._held: set[str] = set()
        self._lost: set[str] = set()
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    @contextlib.contextmanager
    def holding(self, key: str, *, give_up: Callable[[], bool]) -> Generator[None]:
        """Hold the lease of ``key`` meanwhile; first wait for whoever has it, unless it is not heard of any more.

        Raises:
            ClosedError: the store was closed while it waited.
        """
        self._wait_for(key, give_up)
        with self._changed:
            self._held.add(key)
            self._lost.discard(key)
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_all, name="carv2-leases", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._held.discard(key)
                self._lost.discard(key)
            with contextlib.suppress(CarError, OSError):  # it ends by itself
                self._catalogue.release_lease(key, self.holder)

    def check(self, key: str) -> None:
        """Raise StateError if the lease of ``key`` ran out: the database was out of reach for too long."""
        if key in self._lost:
            raise StateError(f"{key}: the lease ran out while the shard was worked on")

    def _wait_for(self, key: str, give_up: Callable[[], bool]) -> None:
        pause = _POLL
        while not self._catalogue.try_lease(key, self.holder, self._seconds):
            if self._closing.wait(pause) or give_up():
                raise ClosedError("the store was closed")
            pause = min(2 * pause, _LONGEST_POLL, self._seconds)

    def _renew_all(self) -> None:
        while not self._closing.wait(self._seconds / _RENEWALS):
            with self._changed:
                held = list(self._held)
            for key in held:
                self._renew(key)

    def _renew(self, key: str) -> None:
        try:
            still_ours = self._catalogue.renew_lease(key, self.holder, self._seconds)
        except (CarError, OSError):  # tried again a third of a lease later
            return
        if not still_ours:
            with self._changed:
                if key in self._held:
                    self._lost.add(key)

    def close(self) -> None:
        """Renew no more."""
        self._closing.set()
