"""The shards that something is going on with: readers, work, an open archive. The others take no memory."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

from carv2.dagstore.events import Event
from carv2.dagstore.states import Operation, visible_state
from carv2.errors import ClosedError, ShardExistsError, ShardInUseError, ShardNotFoundError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from carv2.dagstore._jobs import Job
    from carv2.dagstore._opening import OpenShard
    from carv2.dagstore.catalogue import ShardRow
    from carv2.dagstore.events import EventHub


class LiveShard:
    """What goes on with one shard. Fields are changed under its ``lock``, and told under it, so in their order."""

    __slots__ = (
        "_events", "idle_since", "is_busy", "is_doomed", "job", "key", "lock", "opened", "opening", "references",
        "row", "touched", "users", "version",
    )  # fmt: skip

    def __init__(self, key: str, events: EventHub) -> None:
        self.key, self._events = key, events
        self.lock = threading.Lock()
        """Held for a few writes to the catalogue at most."""
        self.users = 0
        """Calls that are in it; it stays as long as there are some."""
        self.references = 0
        """Readers."""
        self.version = 0
        """Grows when its row was changed here: what was read before may not be so any more."""
        self.row: ShardRow | None = None
        """As it was last seen."""
        self.is_busy = self.is_doomed = False
        """Whether it is being initialized or recovered, and whether it is being destroyed or was."""
        self.job: Job[ShardRow] | None = None
        """The last initialization or recovery."""
        self.opening: Job[None] | None = None
        self.opened: OpenShard | None = None
        self.touched = 0.0
        self.idle_since = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether nobody is in it, and nothing goes on."""
        is_opening = self.opening is not None and not self.opening.is_done
        return not (self.users or self.references or self.is_busy or is_opening)

    def tell(self, operation: Operation) -> None:
        """Let those who listen know, while the lock is held."""
        if operation is Operation.DESTROY:
            self._events.publish(Event(self.key, operation, None))
        elif self.row is not None and not self.is_doomed:
            state = visible_state(self.row.state, is_busy=self.is_busy, references=self.references)
            self._events.publish(Event(self.key, operation, state, self.references, self.row.error))

    # -- its life -------------------------------------------------------------------------------------------

    def register(self, add: Callable[[], ShardRow]) -> ShardRow:
        """Put it into the catalogue, unless it is just being destroyed."""
        with self.lock:
            if self.is_doomed:
                raise ShardExistsError(self.key)
            self.row = add()
            self.version += 1
            self.tell(Operation.REGISTER)
            return self.row

    def check_unused(self, *, force: bool = False) -> None:
        """Raise ShardInUseError if it cannot go; ``force``: though it is read."""
        is_opening = self.opening is not None and not self.opening.is_done
        if self.is_busy or self.is_doomed or (not force and (self.references or is_opening)):
            raise ShardInUseError(self.key, references=self.references)

    def doom(self, *, force: bool) -> None:
        """Let nobody in from now on, or raise ShardInUseError."""
        with self.lock:
            self.check_unused(force=force)
            self.is_doomed = True

    def pardon(self) -> None:
        """It could not be destroyed."""
        with self.lock:
            self.is_doomed = False

    def check_there(self) -> None:
        """Raise ShardNotFoundError if it is gone, or going."""
        if self.is_doomed:
            raise ShardNotFoundError(self.key)

    # -- work on it -----------------------------------------------------------------------------------------

    def begin(self, row: ShardRow, version: int, operation: Operation, job: Job[ShardRow]) -> Job[ShardRow] | None:
        """Make ``job`` the work on it, unless there is some: then that; None if ``row`` may be out of date."""
        with self.lock:
            self.check_there()
            if self.is_busy:
                return self.job
            if self.version != version:
                return None
            self.row, self.job, self.is_busy = row, job, True
            self.tell(operation)
            return job

    def end(self, row: ShardRow | None, operation: Operation) -> None:
        """The work on it is over, and ``row`` is what it is now; None if nobody knows."""
        with self.lock:
            self.is_busy = False
            self.version += 1
            if row is not None:
                self.row = row
            self.tell(operation)

    def fail(self, note: Callable[[], ShardRow | None]) -> None:
        """It is errored, if ``note`` can write that down."""
        with self.lock:
            row = note()
            if row is not None:
                self.row = row
                self.version += 1
                self.tell(Operation.FAIL)

    # -- readers --------------------------------------------------------------------------------------------

    def take(self, row: ShardRow, version: int, opened: OpenShard) -> bool:
        """One reader more; False if it is not as it was any more."""
        with self.lock:
            self.check_there()
            if self.is_busy or self.version != version or not opened.enter():
                return False
            self.row = row
            self.references += 1
            self.tell(Operation.ACQUIRE)
            return True

    def close_soon(self, opened: OpenShard) -> None:
        """Something is wrong with it: who comes next opens the shard anew."""
        with self.lock:
            if self.opened is opened:
                self.opened = None
        opened.retire()

    def let_go(self, opened: OpenShard) -> None:
        """One reader less."""
        with self.lock:
            self.references -= 1
            self.tell(Operation.RELEASE)
        opened.leave()


class LiveShards:
    """The live shards by key. What is open without a reader is closed, oldest first, once there are too many."""

    def __init__(self, max_open: int, events: EventHub) -> None:
        self._lock = threading.Lock()
        self._shards: dict[str, LiveShard] = {}
        self._unused: OrderedDict[str, LiveShard] = OrderedDict()
        """Open and idle ones."""
        self._all: weakref.WeakSet[OpenShard] = weakref.WeakSet()
        """Whatever is open, also what only readers of before have."""
        self._max_open, self._events = max_open, events
        self._process, self._is_closed = os.getpid(), False

    @property
    def is_of_parent(self) -> bool:
        """Whether this is a child of a fork, which has the objects and none of the threads."""
        return os.getpid() != self._process

    def check_process(self) -> None:
        """Raise StateError in a child of a fork."""
        if self.is_of_parent:
            raise StateError("the store belongs to the process that opened it: open it again in a child")

    @contextlib.contextmanager
    def entered(self, key: str) -> Generator[LiveShard]:
        """The shard, there to stay meanwhile."""
        self.check_process()
        with self._lock:
            shard = self._shards.get(key)
            if shard is None:
                shard = self._shards[key] = LiveShard(key, self._events)
            shard.users += 1
            self._unused.pop(key, None)
        try:
            yield shard
        finally:
            self.leave(shard)

    def enter_again(self, shard: LiveShard) -> None:
        """For whoever has it already; also where it was destroyed meanwhile."""
        with self._lock:
            shard.users += 1
            if self._unused.get(shard.key) is shard:
                del self._unused[shard.key]

    def leave(self, shard: LiveShard) -> None:
        """The end of :meth:`entered`."""
        with self._lock:
            shard.users -= 1
        self.settle(shard)

    def settle(self, shard: LiveShard) -> None:
        """See to what is to be done once it is idle: forget it, or keep it open and close another."""
        closable: list[OpenShard] = []
        with self._lock:
            if not shard.is_idle:
                return
            is_known = self._shards.get(shard.key) is shard
            if shard.opened is None:
                if is_known:
                    del self._shards[shard.key]
            elif not is_known or self._is_closed:
                closable.append(shard.opened)
                shard.opened = None
            else:
                self._keep_open(shard, closable)
        for opened in closable:
            opened.retire()

    def _keep_open(self, shard: LiveShard, closable: list[OpenShard]) -> None:
        shard.idle_since = time.monotonic()
        self._unused[shard.key] = shard
        self._unused.move_to_end(shard.key)
        while len(self._unused) > self._max_open:
            closable += self._take_out(next(iter(self._unused)))

    def _take_out(self, key: str) -> list[OpenShard]:
        """Forget an idle shard; what it has open."""
        shard = self._unused.pop(key)
        del self._shards[key]
        opened, shard.opened = shard.opened, None
        return [] if opened is None else [opened]

    def put(self, shard: LiveShard, opened: OpenShard) -> None:
        """Give a shard what was opened for it.

        Raises:
            ClosedError: it is too late for that; it is closed again.
            ShardNotFoundError: the same.
        """
        with self._lock:
            self._all.add(opened)
        with shard.lock:  # which those take who doom it, or close all, before they look what is open
            is_late = self._is_closed or shard.is_doomed
            before, shard.opened = (opened, shard.opened) if is_late else (shard.opened, opened)
        if before is not None:
            before.retire()
        if is_late:
            shard.check_there()
            raise ClosedError("the store was closed")

    def forget(self, shard: LiveShard) -> None:
        """It was destroyed: who registers its key again gets another. Its readers may read on."""
        with self._lock:
            if self._shards.get(shard.key) is shard:
                del self._shards[shard.key]
            self._unused.pop(shard.key, None)
        self.retire(shard)

    @staticmethod
    def retire(shard: LiveShard) -> None:
        """Open it anew for the next reader; those of now may read on."""
        with shard.lock:
            opened, shard.opened = shard.opened, None
        if opened is not None:
            opened.retire()

    def peek(self, key: str) -> tuple[bool, int]:
        """Whether it is being worked on, and how many read it."""
        with self._lock:
            shard = self._shards.get(key)
            return (False, 0) if shard is None else (shard.is_busy, shard.references)

    def activity(self) -> dict[str, tuple[bool, int]]:
        """The same for all of which there is something to say."""
        with self._lock:
            return {key: (shard.is_busy, shard.references) for key, shard in self._shards.items()}

    def close_unused(self, *, min_idle: float = 0.0) -> None:
        """Close what is open without readers, and was for ``min_idle`` seconds."""
        latest = time.monotonic() - min_idle
        with self._lock:
            keys = [key for key, shard in self._unused.items() if shard.idle_since <= latest]
            closable = [opened for key in keys for opened in self._take_out(key)]
        for opened in closable:
            opened.retire()

    def close(self) -> None:
        """Close everything that is open, in use or not: reads end with ClosedError."""
        with self._lock:
            self._is_closed = True
            shards = list(self._shards.values())
        for shard in shards:
            with shard.lock:
                shard.opened = None
        with self._lock:
            everything = list(self._all)
        for opened in everything:
            opened.close()
