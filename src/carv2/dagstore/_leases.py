"""The right to work on a shard, among all processes that share a catalogue; kept up while the work lasts."""

from __future__ import annotations

import contextlib
import itertools
import threading
from typing import TYPE_CHECKING

from carv2.dagstore._holders import is_dead, shown
from carv2.errors import CarError, ClosedError, ShardInUseError, StateError

if TYPE_CHECKING:
    from collections.abc import Generator

    from carv2.dagstore.catalogue import Catalogue

_POLL = 0.2  # seconds between two looks at a lease that somebody else has, at first
_LONGEST_POLL = 5.0
_RENEWALS = 3  # in the time that a lease lasts
_GRACE = 1.0  # seconds for giving leases back, which takes less unless the database is away


class LeaseLostError(StateError):
    """The lease ran out: this process, or the database, was not heard of for too long."""


class LeaseKeeper:
    """Takes leases in the name of ``holder`` and a number, and renews them in a thread of its own.

    The number keeps two works of one process apart, as two processes are.
    """

    def __init__(
        self, catalogue: Catalogue, holder: str, seconds: float, *, give_up: threading.Event | None = None
    ) -> None:
        self._catalogue, self._holder, self._seconds = catalogue, holder, seconds
        self._give_up = give_up or threading.Event()
        """Whoever waits for a lease waits no longer, once it is set."""
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._held: dict[str, str] = {}
        """Key by holder."""
        self._lost: set[str] = set()
        self._unreleased: set[str] = set()
        """Holders of before that could not give their leases back."""
        self._thread: threading.Thread | None = None
        self._closing = threading.Event()

    @contextlib.contextmanager
    def holding(self, key: str) -> Generator[str]:
        """Hold the lease of ``key`` meanwhile; first wait for whoever has it, as long as it is heard of.

        Gives the name in which it is held.

        Raises:
            ClosedError: the store was closed while it waited.
        """
        holder, pause = self._new_holder(), _POLL
        while not self._take(key, holder):
            if self._give_up.wait(pause):
                raise ClosedError("the store was closed")
            pause = min(2 * pause, _LONGEST_POLL, self._seconds)
        with self._kept(key, holder):
            yield holder

    @contextlib.contextmanager
    def holding_at_once(self, key: str) -> Generator[str]:
        """The same, without waiting.

        Raises:
            ShardInUseError: somebody has it.
        """
        holder = self._new_holder()
        if not self._take(key, holder):
            raise ShardInUseError(key, references=0)
        with self._kept(key, holder):
            yield holder

    def _take(self, key: str, holder: str) -> bool:
        """Whether ``holder`` has the lease now. That of a dead process of this host is taken from it at once."""
        if self._catalogue.try_lease(key, holder, self._seconds):
            return True
        lease = self._catalogue.lease_of(key)
        if lease is None or not (is_dead(lease.holder) or lease.holder in self._unreleased):
            return False
        self._catalogue.release_lease(key, lease.holder)  # by its name: another's stays
        self._unreleased.discard(lease.holder)
        return self._catalogue.try_lease(key, holder, self._seconds)

    def is_held(self, key: str) -> bool:
        """Whether somebody, in any process, works on the shard."""
        lease = self._catalogue.lease_of(key)
        return lease is not None and not is_dead(lease.holder)

    def held_keys(self) -> set[str]:
        """The keys of all shards that somebody works on."""
        return {lease.key for lease in self._catalogue.leases() if not is_dead(lease.holder)}

    def obstacle(self, key: str) -> str:
        """Which other process is waited for, in parentheses; or nothing."""
        with contextlib.suppress(CarError, OSError):
            lease = self._catalogue.lease_of(key)
            if lease is not None and lease.holder.partition("#")[0] != self._holder:
                silent = max(0.0, self._seconds - lease.left)
                return f" ({shown(lease.holder)} works on it, and was last heard of {silent:.0f} s ago)"
        return ""

    def _new_holder(self) -> str:
        return f"{self._holder}#{next(self._numbers)}"

    @contextlib.contextmanager
    def _kept(self, key: str, holder: str) -> Generator[None]:
        with self._lock:
            self._held[holder] = key
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_all, name="carv2-leases", daemon=True)
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._held.pop(holder, None)
                self._lost.discard(holder)
            try:
                self._catalogue.release_lease(key, holder)
            except (CarError, OSError):  # a full disk; it ends by itself, or with the next who wants it here
                self._unreleased.add(holder)

    def check(self, holder: str) -> None:
        """Raise LeaseLostError if the lease of ``holder`` ran out."""
        if holder in self._lost:
            raise LeaseLostError("the lease ran out while the shard was worked on")

    def confirm(self, key: str, holder: str) -> None:
        """Raise LeaseLostError unless ``holder`` has the lease at this moment; it begins anew."""
        self.check(holder)
        if not self._catalogue.renew_lease(key, holder, self._seconds):
            raise LeaseLostError("the lease ran out while the shard was worked on")

    @contextlib.contextmanager
    def checking(self) -> Generator[None]:
        """For what the catalogue does only for the holder of a lease: raises LeaseLostError if it ran out."""
        try:
            yield
        except ClosedError:
            raise
        except StateError as error:
            raise LeaseLostError(str(error)) from error

    def _renew_all(self) -> None:
        while not self._closing.wait(self._seconds / _RENEWALS):
            with self._lock:
                held = list(self._held.items())
            for holder, key in held:
                self._renew(key, holder)
        self._give_back()

    def _give_back(self) -> None:
        """End what is still held: of work that was given up, and changes nothing without its lease."""
        with self._lock:
            held = list(self._held.items())
        for holder, key in held:
            with contextlib.suppress(CarError, OSError):  # it ends by itself
                self._catalogue.release_lease(key, holder)

    def _renew(self, key: str, holder: str) -> None:
        try:
            still_ours = self._catalogue.renew_lease(key, holder, self._seconds)
        except (CarError, OSError):  # tried again a third of a lease later
            return
        if not still_ours:
            with self._lock:
                if holder in self._held:
                    self._lost.add(holder)

    def close(self, timeout: float | None = None) -> None:
        """Renew no more, and give back what is held still, so that nobody waits for what hangs here."""
        self._closing.set()
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(None if timeout is None else max(timeout, _GRACE))
