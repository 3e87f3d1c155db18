"""What a store consists of, and the steps that more than one of its operations takes."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from carv2.dagstore._initializing import Initializer
from carv2.dagstore._jobs import Deadline, Job, JobThreads
from carv2.dagstore._leases import LeaseKeeper, holder_name
from carv2.dagstore._live import LiveShards
from carv2.dagstore._opening import Opener, facts_of
from carv2.dagstore.catalogue import DurableState, open_catalogue
from carv2.dagstore.collection import collect
from carv2.dagstore.counters import Counters
from carv2.dagstore.events import Event, EventHub
from carv2.dagstore.indices import IndexFolder, multihashes_of
from carv2.dagstore.mounts import Mount, default_registry
from carv2.dagstore.recovery import RecoveryPolicy
from carv2.dagstore.states import Operation, ShardState, visible_state
from carv2.dagstore.throttles import Throttles
from carv2.dagstore.transients import Transients
from carv2.errors import CarError, ShardErroredError, WaitTimeoutError

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from carv2.dagstore._live import LiveShard
    from carv2.dagstore._opening import OpenShard
    from carv2.dagstore.catalogue import ShardRow
    from carv2.dagstore.config import DagStoreConfig
    from carv2.dagstore.mounts import MountRegistry

_Result = TypeVar("_Result")

_TOUCH_SECONDS = 60.0  # an access that near to the last one is not written again


class Core:
    """The parts of a store, open."""

    def __init__(
        self, root: str, mounts: MountRegistry | None, config: DagStoreConfig, executor: Executor | None
    ) -> None:
        self.root, self.config = root, config
        self.mounts = default_registry() if mounts is None else mounts
        self.events, self.counters, self.recovery = EventHub(), Counters(), RecoveryPolicy(config)
        self.throttles = Throttles(config)
        self.closing = threading.Event()
        self.round = 0
        """Grows when blocks become findable in this process."""
        os.makedirs(root, exist_ok=True)
        self.indices = IndexFolder(os.path.join(root, "index"))
        self.catalogue = open_catalogue(config.catalogue or os.path.join(root, "catalogue.sqlite"))
        self.transients = Transients(os.path.join(root, "transients"), quota=config.transient_quota or None)
        self.opener = Opener(self.mounts, self.transients, self.indices, self.throttles)
        self.leases = LeaseKeeper(self.catalogue, holder_name(), config.lease_seconds)
        self.live = LiveShards(config.max_open_shards)
        self.jobs = JobThreads(config.max_jobs)
        self._touched: dict[str, float] = {}
        self._abandoned: deque[tuple[LiveShard, OpenShard]] = deque()
        self._initializer = Initializer(
            catalogue=self.catalogue,
            mounts=self.mounts,
            transients=self.transients,
            indices=self.indices,
            throttles=self.throttles,
            opener=self.opener,
            leases=self.leases,
            counters=self.counters,
            executor=executor,
        )

    # -- at the start and at the end ------------------------------------------------------------------------

    def go_on(self) -> None:
        """Take up what an earlier process left: eager shards without an index, errored ones by the policy."""
        self.transients.sweep(_Known(self))
        if self.config.gc_interval:
            threading.Thread(target=self._collect_now_and_then, name="carv2-gc", daemon=True).start()
        for row in self.catalogue.rows(state=DurableState.NEW):
            if not row.lazy:
                self._begin_unattended(row, Operation.INITIALIZE)
        if self.config.recover_on_start == "now":
            for row in self.catalogue.rows(state=DurableState.ERRORED):
                if self.recovery.take(row):
                    self._begin_unattended(row, Operation.RECOVER)

    def index_again(self, row: ShardRow, *, recover: bool) -> ShardRow:
        """Index a shard anew and wait for it."""
        operation = Operation.RECOVER if recover else Operation.INITIALIZE
        with self.live.entered(row.key) as shard:
            return self.wait(self.begin(shard, row, operation), Deadline(None))

    def _begin_unattended(self, row: ShardRow, operation: Operation) -> None:
        with self.live.entered(row.key) as shard:
            self.begin(shard, row, operation)

    def _collect_now_and_then(self) -> None:
        while not self.closing.wait(self.config.gc_interval):
            with contextlib.suppress(CarError, OSError):  # the next one may work
                collect(self, max_idle=self.config.transient_max_idle)

    def close(self, timeout: float) -> None:
        """Close all parts, each once."""
        if self.closing.is_set():
            return
        self.closing.set()
        self.leases.close()
        self.jobs.close(timeout)
        self.live.close()
        self.transients.close()
        self.catalogue.close()
        self.events.close()

    # -- states ---------------------------------------------------------------------------------------------

    def state_of(self, row: ShardRow) -> ShardState:
        """What a shard is doing in this process."""
        is_busy, references = self.live.peek(row.key)
        return visible_state(row.state, is_busy=is_busy, references=references)

    def note(self, row: ShardRow, operation: Operation, *, is_busy: bool = False, references: int = 0) -> None:
        """Tell those who listen that something happened to a shard."""
        gone = operation is Operation.DESTROY
        state = None if gone else visible_state(row.state, is_busy=is_busy, references=references)
        self.events.publish(Event(row.key, operation, state, references, "" if gone else row.error))

    def fail(self, row: ShardRow, error: Exception) -> None:
        """An available shard turned out to be none: its bytes are not those that were indexed."""
        self.counters.add("stale")
        self.catalogue.set_error(row.key, "MountError", str(error))
        self.live.close_unused(row.key)
        if (now := self.catalogue.get(row.key)) is not None:
            self.note(now, Operation.FAIL, references=self.live.peek(row.key)[1])

    # -- work -----------------------------------------------------------------------------------------------

    def begin(self, shard: LiveShard, row: ShardRow, operation: Operation) -> Job[ShardRow]:
        """Have the shard indexed, or join those who wait for that already."""
        with shard.lock:
            if shard.is_busy and shard.job is not None:
                return shard.job
            job = shard.job = Job(
                f"{operation.value} {row.key}",
                lambda: self._index(shard, row, operation),
                then=lambda: self.live.settle(shard),
            )
        self.note(row, operation, is_busy=True, references=shard.references)
        return self.jobs.start(job)

    def _index(self, shard: LiveShard, row: ShardRow, operation: Operation) -> ShardRow:
        recover = operation is Operation.RECOVER
        try:
            done = self._initializer.run(row.key, row.generation, recover=recover, give_up=self.closing.is_set)
        except ShardErroredError:
            if (now := self.catalogue.get(row.key)) is not None:
                self.note(now, Operation.FAIL, references=shard.references)
            raise
        self.recovery.forget(row.key)
        self.round += 1
        self.counters.add("recovered" if recover else "initialized")
        self.note(done, Operation.MAKE_AVAILABLE, references=shard.references)
        return done

    def start_opening(self, shard: LiveShard, row: ShardRow) -> Job[None]:
        """Have the shard opened."""

        def open_it() -> None:
            opened = self.opener.open(row)
            self.counters.add("opened")
            with shard.lock:
                before, shard.opened = shard.opened, opened
            if before is not None:
                before.retire()

        return self.jobs.start(Job(f"open {row.key}", open_it, then=lambda: self.live.settle(shard)))

    def wait(self, job: Job[_Result], deadline: Deadline) -> _Result:
        """What ``job`` comes to."""
        try:
            return job.wait(deadline.left)
        except WaitTimeoutError:
            self.counters.add("timeouts")
            raise

    # -- shards ---------------------------------------------------------------------------------------------

    def url_of(self, mount: Mount | str) -> str:
        """The URL of a mount of a kind that the store knows."""
        url = mount if isinstance(mount, str) else mount.url
        return self.mounts.instantiate(url).url

    def is_ready(self, row: ShardRow) -> bool:
        """Whether the shard's bytes can be had without work at their origin; False where that cannot be told."""
        if row.local_copy:
            return True
        try:
            return self.opener.stat(self.mounts.instantiate(row.url)).ready
        except (CarError, OSError, ValueError):
            return False

    def touched(self, key: str) -> None:
        """Remember that it was used; not on every access."""
        now = time.time()
        if now - self._touched.get(key, 0.0) > _TOUCH_SECONDS:
            self._touched[key] = now
            self.catalogue.touch(key, now)

    def release(self, shard: LiveShard, opened: OpenShard) -> None:
        """One reader less."""
        with self.live.entered(shard.key):
            with shard.lock:
                shard.references -= 1
                references = shard.references
            opened.leave()
        self.counters.add("released")
        if not self.closing.is_set() and (row := self.catalogue.get(shard.key)) is not None:
            self.note(row, Operation.RELEASE, is_busy=shard.is_busy, references=references)

    def abandon(self, shard: LiveShard, opened: OpenShard) -> None:
        """A reader was forgotten. The garbage collector says so, maybe under the locks that a release takes."""
        self._abandoned.append((shard, opened))

    def release_abandoned(self) -> None:
        """Release what was forgotten."""
        while self._abandoned:
            self.release(*self._abandoned.popleft())

    def discard(self, shard: LiveShard, row: ShardRow) -> None:
        """Remove all that the store has of a shard; the row first, so that what a crash leaves is nobody's."""
        multihashes = None
        try:
            with self.indices.open(row.key, facts_of(row)) as opened:
                multihashes = list(multihashes_of(opened.index))
        except (CarError, OSError):
            pass  # then its entries are searched for
        self.catalogue.remove(row.key, multihashes)
        with shard.lock:
            before, shard.opened = shard.opened, None
        if before is not None:
            before.retire()
        self.indices.drop(row.key)
        self.transients.drop(row.key)
        self.recovery.forget(row.key)
        self._touched.pop(row.key, None)


class _Known:
    """The keys of the shards, as far as files of theirs are asked for."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._core.catalogue.get(key) is not None
