"""Making a shard available: bytes fetched, index built or adopted, multihashes entered, the catalogue told."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Literal

from carv2._downloads import is_out_of_room
from carv2.dagstore._executors import ExecutorError, run_on
from carv2.dagstore._leases import LeaseLostError
from carv2.dagstore._opening import copy_tag, facts_of, has_local_copy, is_copy_tag, version_of
from carv2.dagstore.catalogue import DurableState
from carv2.dagstore.indexing import IndexTask, run_index_task
from carv2.dagstore.indices import multihashes_of
from carv2.dagstore.mounts._calling import SequentialOnlyError
from carv2.dagstore.mounts._patient import as_ready
from carv2.errors import (
    CarError,
    ClosedError,
    QuotaError,
    ShardErroredError,
    ShardInUseError,
    ShardNotFoundError,
    StateError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from concurrent.futures import Executor
    from threading import Event

    from carv2._source import Source
    from carv2.dagstore._leases import LeaseKeeper
    from carv2.dagstore._opening import Opener
    from carv2.dagstore._ownership import IndexOwnership
    from carv2.dagstore.catalogue import Catalogue, IndexFacts, ShardRow
    from carv2.dagstore.counters import Counters
    from carv2.dagstore.indexing import IndexResult
    from carv2.dagstore.indices import IndexFolder, OpenIndex
    from carv2.dagstore.throttles import Throttles
    from carv2.dagstore.transients import Transients

_LEASES = 3
"""How often a shard is begun anew whose lease was lost on the way, because this process was stopped for long."""


class Initializer:
    """Indexes one shard at a call; any number of calls at once, for different shards."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        transients: Transients,
        indices: IndexFolder,
        ownership: IndexOwnership,
        throttles: Throttles,
        opener: Opener,
        leases: LeaseKeeper,
        counters: Counters,
        closing: Event,
        executor: Executor | None,
        trust_own_index: bool,
        watch: Callable[[Source], Source] | None,
    ) -> None:
        self._catalogue, self._transients = catalogue, transients
        self._indices, self._ownership = indices, ownership
        self._throttles, self._opener, self._leases, self._counters = throttles, opener, leases, counters
        self._closing, self._executor, self._trusts_all, self._watch = closing, executor, trust_own_index, watch

    def run(self, row: ShardRow, *, recover: bool) -> ShardRow:
        """Make the shard available; its row as it is then.

        Args:
            row: of the shard, whose index will not do; where another process made a newer one meanwhile, there is
                nothing to do.
            recover: begin with nothing of before: no local copy, no index.

        Raises:
            ShardErroredError: it failed; the catalogue knows why.
            ShardNotFoundError: it was destroyed meanwhile.
            QuotaError: there is no room for a local copy now; the catalogue says what it said before.
            OSError: a disk is full; the same.
            StateError: the executor takes no work; the same.
            ClosedError: the store was closed meanwhile; the same.
        """
        for _ in range(_LEASES):
            with self._leases.holding(row.key) as holder, contextlib.suppress(LeaseLostError):
                return self._run(row, holder, recover=recover)
        raise StateError(f"{row.key}: the lease ran out again and again")

    def _run(self, row: ShardRow, holder: str, *, recover: bool) -> ShardRow:
        now = self._catalogue.find(row.key)
        if version_of(now) > version_of(row) and self._is_made(now):
            return now
        if now.id == row.id and now.state is DurableState.ERRORED and now.failures > row.failures:
            raise ShardErroredError(now.key, cause=now.error, error_type=now.error_type)  # another has tried it
        try:
            self._index(now, holder, recover=recover)
        except (ShardNotFoundError, LeaseLostError, ExecutorError, QuotaError):  # none of them its fault
            raise
        except Exception as error:
            if isinstance(error, OSError) and is_out_of_room(error):  # of this host; nor is that
                raise
            raise self._failed(row.key, holder, error) from error
        return self._catalogue.find(row.key)

    def _is_made(self, row: ShardRow) -> bool:
        """Whether the index file is the one of the row: a process that was stopped may have put an older there."""
        if row.state is not DurableState.AVAILABLE:
            return False
        try:
            self._indices.verify(row.key, facts_of(row))
        except (CarError, OSError):
            return False
        return True

    def _failed(self, key: str, holder: str, error: Exception) -> Exception:
        """What to raise for ``error``, which is written down first."""
        if self._closing.is_set():
            return ClosedError("the store was closed")
        if isinstance(error, ShardErroredError):  # as another process told it
            kind, text = error.error_type, error.cause
        else:
            kind, text = type(error).__name__, str(error)
        self._counters.add("failed")
        with self._leases.checking():
            self._catalogue.set_error(key, kind, text, holder=holder)
        return ShardErroredError(key, cause=text, error_type=kind)

    def _index(self, row: ShardRow, holder: str, *, recover: bool) -> None:
        if not recover and self._enter_again(row, holder):
            return
        is_ours = self._ownership.may_replace(row.key, facts_of(row) if row.generation else None)
        with contextlib.ExitStack() as held:
            before = self._index_of_before(row, held)
            if recover:
                with contextlib.suppress(ShardInUseError):  # readers of before
                    self._transients.drop(row.key)
            result = self._built(row)
            if result.facts is None:
                raise _error_of(result)
            held.callback(self._indices.drop_draft, result.draft)
            made = held.enter_context(self._indices.open_draft(result.draft))
            if not is_ours:  # but the same bytes: an attempt before this one ended after it had put them there
                self._ownership.check(row.key, result.facts)
            self._enter_multihashes(row, before, made, result.facts, holder)
            self._leases.confirm(row.key, holder)
            # Stopped here, it may put an old file in the place of a new one: it finds that out below, and indexes
            # again; and if it is killed, whoever opens the file does, which the row's digest does not fit.
            self._indices.publish(row.key, result.draft)
            size = None if is_copy_tag(result.source_tag) else result.source_size
            self._set_available(row, holder, result.facts, size, result.source_tag)
        if result.adopted:
            self._counters.add("adopted")

    def _enter_again(self, row: ShardRow, holder: str) -> bool:
        """Enter the multihashes of a sound index, if all that it lacks is that."""
        if row.state is not DurableState.AVAILABLE or row.inverted:
            return False
        facts = facts_of(row)
        try:
            made = self._indices.open(row.key, facts, check="whole")
        except (CarError, OSError):
            return False
        with made:
            self._enter_multihashes(row, None, made, facts, holder)
        self._set_available(row, holder, facts, row.source_size, row.source_tag)
        return True

    def _set_available(
        self, row: ShardRow, holder: str, facts: IndexFacts, source_size: int | None, source_tag: str
    ) -> None:
        with self._leases.checking():
            self._catalogue.set_available(
                row.key,
                index=facts,
                source_size=source_size,
                source_tag=source_tag,
                inverted=True,
                holder=holder,
            )

    def _enter_multihashes(
        self, row: ShardRow, before: OpenIndex | None, made: OpenIndex, facts: IndexFacts, holder: str
    ) -> None:
        """Make the inverted index say what the new index says, and no more, as long as the lease lasts."""
        catalogue, key = self._catalogue, row.key
        with self._leases.checking():
            if row.generation and facts.digest != row.index_digest:
                old = None if before is None else multihashes_of(before.index, identity=False)
                catalogue.remove_multihashes(key, old, holder=holder)
            count = sum(1 for _ in multihashes_of(made.index, identity=False))
            catalogue.add_multihashes(key, multihashes_of(made.index, identity=False), holder=holder)
            if catalogue.entry_count(key) != count:  # an attempt on other bytes ended half-way
                catalogue.remove_multihashes(key, None, holder=holder)
                catalogue.add_multihashes(key, multihashes_of(made.index, identity=False), holder=holder)

    def _index_of_before(self, row: ShardRow, held: contextlib.ExitStack) -> OpenIndex | None:
        """The index that is about to be replaced, which stays readable while it is held."""
        if not row.generation:
            return None
        with contextlib.suppress(CarError, OSError):
            return held.enter_context(self._indices.open(row.key, facts_of(row), check="whole"))
        return None

    def _built(self, row: ShardRow) -> IndexResult:
        result = self._indexed(row, is_copied=False)
        if result.error_type == SequentialOnlyError.__name__:  # its mount promised more
            return self._indexed(row, is_copied=True)
        return result

    def _indexed(self, row: ShardRow, *, is_copied: bool) -> IndexResult:
        with self._task_for(row, is_copied=is_copied) as task, self._throttles.of(task.mount).indexing:
            if self._executor is None:
                return run_index_task(task, watch=self._watch)
            return run_on(self._executor, task, self._closing)

    @contextlib.contextmanager
    def _task_for(self, row: ShardRow, *, is_copied: bool) -> Generator[IndexTask]:
        """What to index: a file of the caller's, the mount where it can be read anywhere, or its local copy."""
        folder = self._indices.folder
        if has_local_copy(row):
            tag = copy_tag(row.local_copy)  # of before it is read: if it changes now, it is no copy any more
            yield IndexTask(row.key, folder, path=row.local_copy, source_tag=tag, own_index="spot")
            return
        own: Literal["spot", "never"] = "spot" if self._trusts_all else "never"  # strangers wrote it
        mount = self._opener.mount_of(row.url)
        stat = self._opener.stat(mount)
        with self._throttles.of(mount).fetching(ready=stat.ready):
            if not is_copied and self._opener.has_random_access(mount):
                yield IndexTask(row.key, folder, mount=as_ready(mount, stat.ready), own_index=own)
                return
            path = self._opener.fetch(row, mount, stat)
        try:
            yield IndexTask(row.key, folder, path=path, source_tag=stat.tag, own_index=own)
        finally:
            self._transients.unpin(row.key)


def _error_of(result: IndexResult) -> Exception:
    """What a task failed with."""
    if result.no_room is not None:
        number, path = result.no_room
        return OSError(number, os.strerror(number), path)
    return ShardErroredError(result.key, cause=result.error, error_type=result.error_type)
