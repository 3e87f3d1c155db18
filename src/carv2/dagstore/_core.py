"""What a store consists of, and the steps that more than one of its operations takes."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, TypeVar

from carv2._atomic import make_folder
from carv2.dagstore._held import Keepers
from carv2.dagstore._holders import holder_name
from carv2.dagstore._initializing import Initializer
from carv2.dagstore._jobs import Deadline, Job, JobThreads
from carv2.dagstore._leases import LeaseKeeper
from carv2.dagstore._live import LiveShards
from carv2.dagstore._opening import Opener, StaleError, facts_of, has_local_copy, version_of
from carv2.dagstore._ownership import IndexOwnership
from carv2.dagstore.catalogue import DurableState, open_catalogue
from carv2.dagstore.collection import collect
from carv2.dagstore.counters import Counters
from carv2.dagstore.events import EventHub
from carv2.dagstore.indices import IndexFolder, multihashes_of
from carv2.dagstore.mounts import Mount, default_registry
from carv2.dagstore.recovery import RecoveryPolicy, take_up
from carv2.dagstore.states import Operation, ShardState, visible_state
from carv2.dagstore.throttles import Throttles
from carv2.dagstore.transients import Transients
from carv2.errors import (
    CarError,
    ChangedError,
    FormatError,
    IntegrityError,
    ShardErroredError,
    ShardInUseError,
    ShardNotFoundError,
    WaitTimeoutError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from carv2._source import Source
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
        self,
        root: str,
        mounts: MountRegistry | None,
        config: DagStoreConfig,
        executor: Executor | None,
        watch: Callable[[Source], Source] | None = None,
    ) -> None:
        self.root, self.config = root, config
        self.mounts = default_registry() if mounts is None else mounts
        self.events, self.counters, self.recovery = EventHub(), Counters(), RecoveryPolicy(config)
        self.throttles = Throttles(config)
        self.closing = threading.Event()
        self.keepers = Keepers()
        self.round, self._rounds = 0, itertools.count(1)
        """Another number whenever blocks become findable in this process."""
        make_folder(root)
        self.indices = IndexFolder(os.path.join(root, "index"))
        self.transients = Transients(os.path.join(root, "transients"), quota=config.transient_quota or None)
        self.catalogue = open_catalogue(config.catalogue or os.path.join(root, "catalogue.sqlite"))
        self.ownership = IndexOwnership(self.indices, self.catalogue)
        self.opener = Opener(
            self.mounts,
            self.transients,
            self.indices,
            self.throttles,
            self._make_room,
            mount_timeout=config.mount_timeout,
        )
        self.leases = LeaseKeeper(self.catalogue, holder_name(), config.lease_seconds, give_up=self.closing)
        self.live = LiveShards(config.max_open_shards, self.events)
        self.jobs = JobThreads(config.max_jobs)
        self.openings = JobThreads(config.max_jobs)  # of their own: they need not wait for what takes long
        self._background: list[threading.Thread] = []
        self._abandoned: deque[tuple[LiveShard, OpenShard]] = deque()
        self._closing_lock = threading.Lock()
        self._initializer = self._initializer_on(executor, watch)

    def _initializer_on(self, executor: Executor | None, watch: Callable[[Source], Source] | None) -> Initializer:
        return Initializer(
            catalogue=self.catalogue,
            transients=self.transients,
            indices=self.indices,
            ownership=self.ownership,
            throttles=self.throttles,
            opener=self.opener,
            leases=self.leases,
            counters=self.counters,
            closing=self.closing,
            executor=executor,
            trust_own_index=self.config.trust_own_index,
            watch=watch,
        )

    # -- at the start and at the end ------------------------------------------------------------------------

    def go_on(self) -> None:
        """Take up what an earlier process left: eager shards without an index, errored ones by the policy."""
        self.transients.sweep(_Known(self))
        self.indices.remove_drafts()
        self._in_background("carv2-go-on", lambda: take_up(self))
        if self.config.gc_interval:
            self._in_background("carv2-gc", self._collect_now_and_then)

    def _in_background(self, name: str, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, name=name, daemon=True)
        thread.start()
        self._background.append(thread)

    def _collect_now_and_then(self) -> None:
        while not self.closing.wait(self.config.gc_interval):
            with contextlib.suppress(CarError, OSError):  # the next one may work
                collect(self, max_idle=self.config.transient_max_idle)

    def close(self, timeout: float) -> None:
        """Close all parts, each once; whoever comes second waits for the first."""
        if self.live.is_of_parent:
            return
        with self._closing_lock:
            if self.closing.is_set():
                return
            self.closing.set()
            deadline = Deadline(timeout)
            self.jobs.close()
            self.openings.close()
            self.transients.close(timeout=0)  # the downloads stop, so that nobody waits for them
            self.jobs.join(deadline.left)
            self.openings.join(deadline.left)
            for thread in self._background:
                thread.join(deadline.left)
            self.leases.close(deadline.left)
            self.live.close()
            self.transients.close(timeout=deadline.left or 0)
            self.catalogue.close()
            self.events.close()

    # -- states ---------------------------------------------------------------------------------------------

    def state_of(self, row: ShardRow) -> ShardState:
        """What a shard is doing in this process."""
        is_busy, references = self.live.peek(row.key)
        return visible_state(row.state, is_busy=is_busy, references=references)

    def seen(self, shard: LiveShard) -> tuple[ShardRow, int]:
        """The row of a shard, and the version that it was read at; ShardNotFoundError if there is none."""
        shard.check_there()
        version = shard.version
        return self.catalogue.find(shard.key), version

    def fail(self, shard: LiveShard, row: ShardRow, error: Exception) -> None:
        """An available shard turned out to be none: its bytes are not those that were indexed."""

        def note() -> ShardRow | None:
            with self.leases.holding_at_once(row.key) as holder:
                now = self.catalogue.find(row.key)
                if now.state is not DurableState.AVAILABLE or version_of(now) != version_of(row):
                    return None
                self.catalogue.set_error(row.key, "MountError", str(error), holder=holder)
                self.counters.add("stale")
                return self.catalogue.find(row.key)

        with contextlib.suppress(ShardInUseError, ShardNotFoundError):  # then somebody is at it already
            shard.fail(note)

    # -- work -----------------------------------------------------------------------------------------------

    def begin(self, shard: LiveShard, row: ShardRow, version: int, operation: Operation) -> Job[ShardRow] | None:
        """Have the shard indexed, or join those who wait for that already; None if ``row`` is out of date."""
        if operation is Operation.RECOVER:
            self.keepers.let_go(row.key)
        wanted: Job[ShardRow] = Job(
            f"{operation.value} {row.key}",
            lambda: self._index(shard, row, operation),
            unless=lambda: shard.end(None, Operation.BREAK_OFF),
            then=lambda: self.live.settle(shard),
            obstacle=lambda: self.leases.obstacle(row.key),
        )
        job = shard.begin(row, version, operation, wanted)
        return self.jobs.start(wanted) if job is wanted else job

    def _index(self, shard: LiveShard, row: ShardRow, operation: Operation) -> ShardRow:
        recover = operation is Operation.RECOVER
        if recover:
            self.live.retire(shard)  # else that would still use the local copy
        try:
            done = self._initializer.run(row, recover=recover)
        except ShardErroredError:
            shard.end(self._row_now(row.key), Operation.FAIL)
            raise
        except BaseException:
            shard.end(self._row_now(row.key), Operation.BREAK_OFF)
            raise
        self.recovery.forget(row.key)
        self.blocks_came()
        self.counters.add("recovered" if recover else "initialized")
        shard.end(done, Operation.MAKE_AVAILABLE)
        return done

    def blocks_came(self) -> None:
        """What was missing before may be there now."""
        self.round = next(self._rounds)  # none comes twice, however threads mix

    def _row_now(self, key: str) -> ShardRow | None:
        with contextlib.suppress(CarError, OSError):
            return self.catalogue.get(key)
        return None

    def index_again(self, found: ShardRow, operation: Operation) -> None:
        """Index a shard anew and wait for it, unless it is not as it was ``found`` any more."""
        with self.live.entered(found.key) as shard:
            job = None
            while job is None:
                row, version = self.seen(shard)
                if (row.state, version_of(row)) != (found.state, version_of(found)):
                    return
                job = self.begin(shard, row, version, operation)
            self.wait(job, Deadline(None))

    def start_opening(self, shard: LiveShard, row: ShardRow) -> Job[None]:
        """Have the shard opened."""

        def open_it() -> None:
            try:
                opened = self.opener.open(row)
            except StaleError as error:
                self.fail(shard, row, error)
                raise ShardErroredError(row.key, cause=str(error), error_type="MountError") from error
            self.live.put(shard, opened)
            self.counters.add("opened")

        return self.openings.start(Job(f"open {row.key}", open_it, then=lambda: self.live.settle(shard)))

    def wait(self, job: Job[_Result], deadline: Deadline) -> _Result:
        """What ``job`` comes to."""
        try:
            return job.wait(deadline.left)
        except WaitTimeoutError:
            if job.is_done:  # and failed with that
                raise
            self.counters.add("timeouts")
            raise WaitTimeoutError(job.what + job.obstacle(), seconds=deadline.seconds) from None

    # -- shards ---------------------------------------------------------------------------------------------

    def url_of(self, mount: Mount | str) -> str:
        """The URL of a mount of a kind that the store knows, and whose packages are installed."""
        known = self.mounts.instantiate(mount if isinstance(mount, str) else mount.url)
        known.check_installed()
        return known.url

    def is_ready(self, row: ShardRow) -> bool:
        """Whether the shard's bytes can be had without work at their origin; False where that cannot be told."""
        if has_local_copy(row):
            return True
        try:
            return self.opener.stat(self.opener.mount_of(row.url)).ready
        except (CarError, OSError, ValueError):
            return False

    def touched(self, shard: LiveShard) -> None:
        """Remember that it was used; not on every access."""
        now = time.time()
        if now - shard.touched > _TOUCH_SECONDS:
            shard.touched = now
            self.catalogue.touch(shard.key, now)

    def release(self, shard: LiveShard, opened: OpenShard) -> None:
        """One reader less."""
        if self.live.is_of_parent:
            return  # the reader is the parent's
        self.live.enter_again(shard)
        try:
            shard.let_go(opened)
        finally:
            self.live.leave(shard)
        self.counters.add("released")

    def abandon(self, shard: LiveShard, opened: OpenShard) -> None:
        """A reader was forgotten. The garbage collector says so, maybe under the locks that a release takes."""
        self._abandoned.append((shard, opened))

    def _make_room(self) -> None:
        """Give up the local copies that nobody reads."""
        self.release_abandoned()
        self.keepers.let_go()
        self.live.close_unused()

    def release_abandoned(self) -> None:
        """Release what was forgotten."""
        while True:
            try:
                shard, opened = self._abandoned.popleft()
            except IndexError:
                return
            self.release(shard, opened)

    def discard(self, shard: LiveShard, row: ShardRow, holder: str) -> None:
        """Remove all that the store has of a doomed shard; the row first: what a crash leaves is nobody's.

        Raises LeaseLostError if ``holder`` has no lease any more: the key may be another shard's by now.
        """
        with self.leases.checking():
            self._remove(row, holder)
        with shard.lock:
            shard.tell(Operation.DESTROY)
            opened = shard.opened
        if opened is not None:
            opened.afterwards(lambda: self._drop_copy(row.key))
        self.live.forget(shard)
        self.recovery.forget(row.key)
        self.counters.add("destroyed")
        with contextlib.suppress(CarError, OSError):  # else the next start, or the doctor, sees to it
            self.leases.confirm(row.key, holder)
            if self.ownership.may_replace(row.key, facts_of(row) if row.generation else None):
                self.indices.drop(row.key)
        self._drop_copy(row.key)

    def _remove(self, row: ShardRow, holder: str) -> None:
        """Remove a row with its multihashes: those in its index, and if that cannot be read, those found."""
        with contextlib.suppress(FileNotFoundError, FormatError, IntegrityError, ChangedError, ValueError):
            with self.indices.open(row.key, facts_of(row)) as opened:
                self.catalogue.remove(row.key, multihashes_of(opened.index, identity=False), holder=holder)
            return
        self.catalogue.remove(row.key, None, holder=holder)

    def _drop_copy(self, key: str) -> None:
        """Remove the local copy of a shard that is gone, unless somebody reads it still."""
        with contextlib.suppress(CarError, OSError):
            self.transients.drop(key)


class _Known:
    """The keys of the shards, as far as files of theirs are asked for."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._core.catalogue.get(key) is not None
