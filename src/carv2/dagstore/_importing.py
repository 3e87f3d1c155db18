"""Taking over shards of another store, with their indexes as far as these can be trusted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

from carv2 import multihash
from carv2.dagstore._jobs import Job
from carv2.dagstore._opening import copy_tag
from carv2.dagstore.indices import multihashes_of
from carv2.dagstore.states import Operation, ShardState
from carv2.errors import CarError, ShardExistsError, ShardInUseError, ShardNotFoundError
from carv2.index import CAR_MULTIHASH_INDEX_SORTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from carv2.dagstore._core import Core
    from carv2.dagstore._live import LiveShard
    from carv2.dagstore.catalogue import ShardRow
    from carv2.dagstore.indices import IndexFolder
    from carv2.index import Index

_AT_ONCE = 1000  # shards of which nothing is to be taken over but that they are


class Foreign(Protocol):
    """A shard of another store."""

    @property
    def key(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def local_copy(self) -> str: ...
    @property
    def state(self) -> int: ...
    @property
    def error(self) -> str: ...
    @property
    def is_available(self) -> bool: ...


class Importer:
    """Takes shards, one after the other; :meth:`finish` takes the last of them.

    Args:
        core: of the store that they go to.
        indices: of the store that they come from; None if none of them has an index.
    """

    def __init__(self, core: Core, indices: IndexFolder | None) -> None:
        self._core, self._indices = core, indices
        self._plain: dict[str, str] = {}
        self.shard_count = self.index_count = self.known = 0

    def take(self, found: Foreign) -> None:
        """Register a shard lazily, unless it is known; with its error or its index, if it has one that is sound.

        What was being indexed there, or indexed anew, begins anew here.
        """
        is_there = os.path.isabs(found.local_copy) and os.path.isfile(found.local_copy)
        copy = found.local_copy if is_there else ""
        if not (copy or found.is_available or found.state == ShardState.ERRORED):
            self._take_plain(found)
            return
        core = self._core
        with core.live.entered(found.key) as shard:
            try:
                row = shard.register(lambda: core.catalogue.add(found.key, found.url, lazy=True, local_copy=copy))
            except ShardExistsError:
                self.known += 1
                return
            self._registered(1)
            if found.state == ShardState.ERRORED:
                self._work_on(shard, row, lambda holder: self._set_error(found, holder))
            elif found.is_available:
                self._work_on(shard, row, lambda holder: self._take_index(found.key, copy, holder))

    def _take_plain(self, found: Foreign) -> None:
        if found.key in self._plain:
            self.known += 1
            return
        self._plain[found.key] = found.url
        if len(self._plain) >= _AT_ONCE:
            self.finish()

    def finish(self) -> None:
        """Nothing comes any more."""
        given, self._plain = self._plain, {}
        new = self._core.catalogue.add_many(given.items(), lazy=True)
        self.known += len(given) - new
        self._registered(new)

    def _registered(self, count: int) -> None:
        self.shard_count += count
        self._core.counters.add("registered", count)

    def _work_on(self, shard: LiveShard, row: ShardRow, take: Callable[[str], Operation]) -> None:
        """Have ``take`` change what is kept of a shard, as the only work that is done on it."""
        core = self._core

        def work() -> ShardRow:
            operation = Operation.BREAK_OFF
            try:
                with core.leases.holding_at_once(row.key) as holder:
                    operation = take(holder)
            finally:
                now = core.catalogue.get(row.key)
                shard.end(now, operation)
            return row if now is None else now

        job: Job[ShardRow] = Job(f"import {row.key}", work, then=lambda: core.live.settle(shard))
        if shard.begin(row, shard.version, Operation.INITIALIZE, job) is not job:
            return  # somebody wants to read it already
        job.run()
        try:
            job.wait(0)
        except (ShardInUseError, ShardNotFoundError):
            return  # another process was faster

    def _set_error(self, found: Foreign, holder: str) -> Operation:
        text = found.error or "errored in the store that it was taken over from"
        self._core.catalogue.set_error(found.key, "", text, holder=holder)
        return Operation.FAIL

    def _take_index(self, key: str, copy: str, holder: str) -> Operation:
        """Make an index file the shard's own; if that cannot be, one is made when the shard is first acquired."""
        core = self._core
        try:
            if self._indices is None or not os.path.isfile(self._indices.path_of(key)):
                return Operation.BREAK_OFF
            with self._indices.open(key) as opened:
                if not is_sound(opened.index):
                    return Operation.BREAK_OFF
                draft, facts = core.indices.draft(opened.index.chunks())
        except (CarError, ValueError):
            return Operation.BREAK_OFF
        try:
            if not core.ownership.may_replace(key, facts):
                return Operation.BREAK_OFF
            with core.indices.open_draft(draft) as taken:
                core.catalogue.add_multihashes(key, multihashes_of(taken.index, identity=False), holder=holder)
                core.leases.confirm(key, holder)
                core.indices.publish(key, draft)
        finally:
            core.indices.drop_draft(draft)
        core.catalogue.set_available(
            key, index=facts, source_size=None, source_tag=copy_tag(copy), inverted=True, holder=holder
        )
        self.index_count += 1
        core.blocks_came()
        return Operation.MAKE_AVAILABLE


def is_sound(index: Index) -> bool:
    """Whether an index has the format that tells hash functions, and its records are in order.

    Raises:
        CarError: it cannot be read.
        ValueError: it has hash functions that cannot be.
    """
    if index.codec != CAR_MULTIHASH_INDEX_SORTED or index.is_headless:
        return False
    for code, bucket in index.buckets():
        multihash.encode(code or 0, bytes(bucket.digest_size))
        last = b""
        for digest, _ in bucket:
            if digest < last:
                return False
            last = digest
        if bucket.stray:
            return False
    return True
