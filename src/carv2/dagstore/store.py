"""The DAG store: shards registered, indexed, acquired, recovered, destroyed, and found by what is in them.

Source of what operations there are and what they do: Lotus' DAG store
(https://github.com/filecoin-project/dagstore).
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from carv2 import multihash
from carv2.cid import CID
from carv2.dagstore._core import Core
from carv2.dagstore._doubts import cause_of
from carv2.dagstore._jobs import Deadline
from carv2.dagstore._opening import IndexLostError, version_of
from carv2.dagstore.bulk import initialize_all
from carv2.dagstore.catalogue import DurableState
from carv2.dagstore.collection import collect
from carv2.dagstore.config import DagStoreConfig
from carv2.dagstore.doctor import Doctor
from carv2.dagstore.global_store import GlobalBlockstore
from carv2.dagstore.golayout import carv2_url, export_go, go_url, import_go
from carv2.dagstore.info import ShardInfo, StoreStat, info_of
from carv2.dagstore.keys import check_key
from carv2.dagstore.migration import migrate_deals
from carv2.dagstore.shard import AcquiredShard
from carv2.dagstore.states import Operation, ShardState, visible_state
from carv2.errors import ShardErroredError, StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from concurrent.futures import Executor
    from types import TracebackType
    from typing import TypeAlias

    from carv2._source import Source
    from carv2.cid import CIDLike
    from carv2.dagstore._held import ShardKeeper
    from carv2.dagstore._live import LiveShard
    from carv2.dagstore._opening import OpenShard
    from carv2.dagstore.bulk import InitializeEvent
    from carv2.dagstore.catalogue import ShardRow
    from carv2.dagstore.collection import Collected
    from carv2.dagstore.doctor import Finding
    from carv2.dagstore.events import Subscription
    from carv2.dagstore.global_store import Selector
    from carv2.dagstore.golayout import GoExport, GoImport
    from carv2.dagstore.migration import Deal, MigrationReport
    from carv2.dagstore.mounts import Mount, MountRegistry

    Keys: TypeAlias = "list[str]"
    Collection: TypeAlias = "list[Collected]"

__all__ = ["DagStore"]

_TRIES = 8
"""How often a shard that is never as it was a moment before is looked at again."""


class DagStore:
    """Thousands of archives as one: each is a shard, read through its mount and the index that the store keeps.

    What is kept on disk are durable facts only, so a crash at any moment needs no repair. Everything may be called
    from many threads at once, and several processes may use one store; no two index the same shard. Work goes on
    in threads of the store's, so that a caller who gives up waiting disturbs nobody.

    Args:
        root: folder of the store, made if there is none: ``catalogue.sqlite``, ``index/``, ``transients/``.
        mounts: which kinds of mounts there are; None for files and bytes.
        config: everything that can be set.
        executor: where indexing runs, such as a ``ProcessPoolExecutor`` or that of a Dask cluster, whose workers
            see the same folders; None for threads of the store's. It is not shut down.
        go_on: take up what an earlier process left, and collect local copies now and then. False for a short
            visit to a store that another process serves: nothing is done but what is asked for.
        watch: gets the source of a shard that is about to be indexed, and gives what is read instead: for bars
            that show how far it is. It is not called for what an ``executor`` does.

    Raises:
        OSError: the folder, or a file in it, cannot be opened.

    >>> import carv2, tempfile
    >>> from carv2.dagstore import BytesMount
    >>> folder = tempfile.TemporaryDirectory()
    >>> fish = carv2.CID.of_data(b"fish")
    >>> archive = b"".join(carv2.iter_car([fish], [(fish, b"fish")]))
    >>> with DagStore(folder.name) as store:
    ...     _ = store.register("piece-1", BytesMount(archive))
    ...     with store.acquire("piece-1", timeout=10) as blocks:
    ...         blocks[fish], store.shards_with(fish), store.info("piece-1").state.go_name
    (b'fish', ['piece-1'], 'ShardStateServing')
    >>> folder.cleanup()
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        mounts: MountRegistry | None = None,
        config: DagStoreConfig | None = None,
        executor: Executor | None = None,
        go_on: bool = True,
        watch: Callable[[Source], Source] | None = None,
    ) -> None:
        self._parts = Core(os.fspath(root), mounts, config or DagStoreConfig(), executor, watch)
        try:
            if go_on:
                self._core.go_on()
        except BaseException:
            self.close()
            raise

    @property
    def _core(self) -> Core:
        """The parts of the store; StateError in a child of a fork."""
        self._parts.live.check_process()
        return self._parts

    @property
    def config(self) -> DagStoreConfig:
        """The options that it was opened with. There may be a password in the URL of the catalogue."""
        return self._parts.config

    # -- registering ----------------------------------------------------------------------------------------

    def register(
        self,
        key: str,
        mount: Mount | str,
        *,
        lazy: bool = False,
        local_copy: str | os.PathLike[str] | None = None,
        owner: str = "",
        wait: bool = True,
        timeout: float | None = None,
    ) -> ShardInfo:
        """Register the shard ``key``, whose bytes are behind ``mount``; index it, unless it is ``lazy``.

        Args:
            key: a piece CID, or any text up to 1024 bytes without control characters.
            mount: a mount of one of the store's kinds, or the URL of one.
            lazy: index it when it is first acquired.
            local_copy: a file with its bytes, or with a CARv2 around the same CARv1, whose own index is adopted if
                it passes spot checks: write it yourself, or index it anew with :func:`carv2.reindex`. It is read
                instead of the mount as long as it is there, and stays the caller's.
            owner: who needs it, such as a deal; see :meth:`add_owner` and :meth:`destroy`.
            wait: until it is indexed.
            timeout: seconds to wait.

        Raises:
            ShardExistsError: the key is known, whatever became of the shard.
            ShardErroredError: it could not be indexed; it stays registered, to be recovered or destroyed.
            UnknownMountError: a mount of a kind that the store does not know; nothing was registered.
            MountError: it needs packages that are not installed, or its URL is none; nothing was registered.
            StateError: its index file would take the place of another store's; nothing was registered.
            FileNotFoundError: there is no ``local_copy``.
            OSError: a disk is full; it stays registered, and is tried again when it is asked for.
            WaitTimeoutError: it is not indexed yet; that goes on.
        """
        url = self._core.url_of(mount)
        copy = "" if local_copy is None else os.path.abspath(local_copy)
        if copy and not os.path.isfile(copy):
            raise FileNotFoundError(f"{copy}: no such file for the shard {key}")
        core = self._core
        core.ownership.check_new(check_key(key))
        with core.live.entered(key) as shard:
            row = shard.register(lambda: core.catalogue.add(key, url, lazy=lazy, local_copy=copy, owner=owner))
            core.counters.add("registered")
            if lazy:
                return info_of(row)
            job = core.begin(shard, *core.seen(shard), Operation.INITIALIZE)
            if wait and job is not None:  # else somebody has destroyed it already
                core.wait(job, Deadline(timeout))
        return self.info(key)

    def register_many(self, shards: Iterable[tuple[str, Mount | str]]) -> int:
        """Register ``shards``, pairs of key and mount, lazily; how many were new. Known ones stay as they are.

        Raises as :meth:`register` does; a few thousand are registered at a time, those before stay.
        """
        core = self._core
        is_ours = core.ownership.is_ours()

        def checked() -> Iterator[tuple[str, str]]:
            for key, mount in shards:
                if not is_ours:
                    core.ownership.check_new(check_key(key))
                yield check_key(key), core.url_of(mount)

        count = core.catalogue.add_many(checked(), lazy=True)
        core.counters.add("registered", count)
        return count

    def add_owner(self, key: str, owner: str) -> None:
        """Say that ``owner`` needs the shard too, such as a second deal on the same piece; see :meth:`destroy`.

        Raises:
            ShardNotFoundError: there is no such shard.
        """
        self._core.catalogue.add_owner(key, owner)

    # -- reading --------------------------------------------------------------------------------------------

    def acquire(self, key: str, *, timeout: float | None = None) -> AcquiredShard:
        """The blocks of the shard ``key``, indexed first if it must be; close it, or use it as a context manager.

        Args:
            key: of the shard.
            timeout: seconds to wait; what was begun goes on for the next who asks. With 0 a shard is had that is
                open already; any other is begun, and is a WaitTimeoutError now.

        Raises:
            ShardNotFoundError: there is no such shard.
            ShardErroredError: it failed, now or before.
            MountError: its bytes cannot be had now; the next call tries again.
            OSError: a disk is full; the same.
            WaitTimeoutError: it took too long.
            StateError: others change it all the time.
        """
        deadline = Deadline(timeout)
        self._core.release_abandoned()
        with self._core.live.entered(key) as shard:
            for _ in range(_TRIES):
                if (acquired := self._acquire(shard, deadline)) is not None:
                    return acquired
        raise StateError(f"{key}: the shard is being changed all the time")

    def _acquire(self, shard: LiveShard, deadline: Deadline) -> AcquiredShard | None:
        """One step further with it; None if it has to be looked at again."""
        core = self._core
        row, version = core.seen(shard)
        wanted = self._work_for(shard, row)
        if wanted is None:
            try:
                opened = self._opened(shard, row, deadline)
            except IndexLostError:
                core.counters.add("rebuilt")
                wanted = Operation.INITIALIZE
            else:
                return None if opened is None else self._take(shard, row, version, opened)
        job = core.begin(shard, row, version, wanted)
        if job is not None:
            core.wait(job, deadline)
        return None

    def _work_for(self, shard: LiveShard, row: ShardRow) -> Operation | None:
        """What has to be done before the shard can be opened."""
        if row.state is DurableState.NEW or shard.is_busy:
            return Operation.INITIALIZE
        if row.state is DurableState.AVAILABLE:
            return None
        if not self._core.recovery.take(row):
            raise ShardErroredError(row.key, cause=row.error, error_type=row.error_type)
        return Operation.RECOVER

    def _opened(self, shard: LiveShard, row: ShardRow, deadline: Deadline) -> OpenShard | None:
        """The shard open, in one go for all who want it; None if it was closed again meanwhile."""
        with shard.lock:
            shard.check_there()
            if shard.opened is not None and shard.opened.version == version_of(row):
                return shard.opened
            if shard.opening is None or shard.opening.is_done:
                shard.opening = self._core.start_opening(shard, row)
            opening = shard.opening
        self._core.wait(opening, deadline)
        opened = shard.opened
        return opened if opened is not None and opened.version == version_of(row) else None

    def _take(self, shard: LiveShard, row: ShardRow, version: int, opened: OpenShard) -> AcquiredShard | None:
        """One reader more, if it is still open."""
        core = self._core
        if not shard.take(row, version, opened):
            return None
        core.counters.add("acquired")
        core.touched(shard)
        return AcquiredShard(
            shard.key,
            opened.blockstore,
            release=lambda: core.release(shard, opened),
            abandon=lambda: core.abandon(shard, opened),
            doubt=lambda error: cause_of(core, shard, opened, error),
        )

    def blockstore(
        self,
        *,
        select: Selector | None = None,
        max_open: int = 16,
        timeout: float | None = None,
        remember_missing: float = 5.0,
    ) -> GlobalBlockstore:
        """The blocks of all shards as one store: see :class:`GlobalBlockstore`."""
        return GlobalBlockstore(
            self, select=select, max_open=max_open, timeout=timeout, remember_missing=remember_missing
        )

    # -- by content -----------------------------------------------------------------------------------------

    def shards_with(self, cid: CIDLike) -> Keys:
        """Keys of the shards that have a block of the multihash of ``cid``, or that is it; empty if none has.

        Identity CIDs are led to no shard: they hold their block.
        """
        return self._core.catalogue.shards_with(_multihash_of(cid))

    def shards_with_many(self, cids: Iterable[CIDLike]) -> dict[bytes, Keys]:
        """The same for many at once, by multihash; those that no shard has are not in it."""
        return self._core.catalogue.shards_with_many(map(_multihash_of, cids))

    @property
    def round(self) -> int:
        """Another number whenever blocks became findable through this object: what was missing may be there."""
        return self._core.round

    def add_keeper(self, keeper: ShardKeeper) -> None:
        """Have ``keeper`` let go of what it keeps for the next reader only, where that is in the way.

        It is asked before a shard is destroyed or recovered, and by collections; it is not kept alive by that.
        """
        self._core.keepers.add(keeper)

    # -- managing -------------------------------------------------------------------------------------------

    def initialize(self, key: str, *, wait: bool = True, timeout: float | None = None) -> ShardInfo:
        """Index a shard that is new.

        Args:
            key: of the shard.
            wait: until it is indexed; without that it is begun, and :meth:`info` says what became of it.
            timeout: seconds to wait.

        Raises:
            StateError: it is not new.
            ShardErroredError: it failed.
            ShardNotFoundError: there is no such shard.
            WaitTimeoutError: it goes on.
        """
        return self._index(key, Operation.INITIALIZE, ShardState.NEW, Deadline(timeout) if wait else None)

    def recover(self, key: str, *, wait: bool = True, timeout: float | None = None) -> ShardInfo:
        """Index a shard anew that is errored: its local copy and its index go first. Arguments as above.

        Raises:
            StateError: it is not errored.
            ShardErroredError: it failed again.
            ShardNotFoundError: there is no such shard.
            WaitTimeoutError: it goes on.
        """
        return self._index(key, Operation.RECOVER, ShardState.ERRORED, Deadline(timeout) if wait else None)

    def _index(self, key: str, operation: Operation, expected: ShardState, deadline: Deadline | None) -> ShardInfo:
        core = self._core
        with core.live.entered(key) as shard:
            job = None
            while job is None:
                row, version = core.seen(shard)
                state = core.state_of(row)
                if state is not expected:
                    verb, want, was = operation.value, expected.go_name, state.go_name
                    raise StateError(f"cannot {verb} shard; expected state {want}, was: {was}")
                job = core.begin(shard, row, version, operation)
            if deadline is not None:
                core.wait(job, deadline)
        return self.info(key)

    def destroy(self, key: str, *, owner: str = "", force: bool = False) -> bool:
        """Remove a shard: its state, its index, its entries, its local copy. A caller's own files stay.

        Args:
            key: of the shard.
            owner: who needs it no more; it stays as long as others do.
            force: also under its readers, who may read on until they close it.

        Returns:
            Whether it is gone; False where others need it.

        Raises:
            ShardInUseError: somebody reads it or indexes it; nothing was changed.
            ShardNotFoundError: there is no such shard.
            StateError: this process stood still for so long that others may have taken over; see what is there.
        """
        core = self._core
        core.release_abandoned()
        with core.live.entered(key) as shard:
            core.seen(shard)
            if owner and set(core.catalogue.owners_of(key)) - {owner} and core.catalogue.remove_owner(key, owner):
                return False
            core.keepers.let_go(key)
            with shard.lock:
                shard.check_unused(force=force)
            with core.leases.holding_at_once(key) as holder:
                shard.doom(force=force)
                try:
                    core.discard(shard, core.catalogue.find(key), holder)
                except BaseException:
                    shard.pardon()
                    raise
        return True

    def initialize_all(
        self, *, concurrency: int = 0, include_sealed: bool = False, stop: threading.Event | None = None
    ) -> Generator[InitializeEvent, None, None]:
        """Index all shards that are new, so many at once (0: all); two events for each, as it begins and ends.

        Args:
            concurrency: shards at once, within the limits of the configuration.
            include_sealed: also those whose bytes are not ready at their origin, which has to work first. Those
                whose mount cannot be asked are left out without it.
            stop: set it, in any thread, to begin no more; the events end soon after. It is set at last.

        Close the generator to begin no more, and wait for nothing.
        """
        return initialize_all(
            self._core,
            concurrency=concurrency,
            include_sealed=include_sealed,
            stop=threading.Event() if stop is None else stop,
        )

    def gc(self, *, max_idle: float = 0.0) -> Collection:
        """Remove the local copies that nobody uses, and did not for ``max_idle`` seconds; what became of each."""
        return collect(self._core, max_idle=max_idle)

    def doctor(
        self,
        *,
        repair: bool = False,
        thorough: bool = False,
        mounts: bool = True,
        stop: threading.Event | None = None,
    ) -> Iterator[Finding]:
        """Look over the store; what is wrong, as it is found.

        Args:
            repair: mend what can be mended.
            thorough: read index files whole.
            mounts: ask the mounts whether their bytes are still there, and still the same.
            stop: set it, in any thread, to have no further shard looked at.
        """
        return Doctor(self._core, repair=repair, thorough=thorough, mounts=mounts, stop=stop).findings()

    # -- moving in and out ----------------------------------------------------------------------------------

    def migrate(
        self,
        deals: Iterable[Deal],
        *,
        mount_of: Callable[[str], Mount | str] = "piece://{}".format,
        again: bool = False,
        before: int = 0,
        more: bool = False,
    ) -> MigrationReport:
        """Register the pieces of all active ``deals``, lazily, in one pass; once, however often it is called.

        Args:
            deals: all that there are, in any order and state; several may share a piece.
            mount_of: the mount of a piece CID.
            again: also where it was done before; what is known stays as it is.
            before: deals that earlier calls had, where one migration comes in several; for the report.
            more: another such call follows: it is not done after this one.

        What goes on is told to the logger ``carv2.dagstore.migrator`` in Lotus' words, of each deal at DEBUG.

        Raises:
            UnknownMountError: the store has no such mounts. It is not done then, as after any other error; what
                was registered stays, and is known the next time.
        """
        return migrate_deals(self._core, deals, mount_of=mount_of, again=again, before=before, more=more)

    def export_go(
        self,
        folder: str | os.PathLike[str],
        *,
        url_of: Callable[[str], str] = go_url,
        local_copies: bool = False,
    ) -> GoExport:
        """Write what is known of the shards, and their indexes, as the Go dagstore keeps them: see the module.

        Args:
            folder: a new or empty one, for ``shards.jsonl`` and ``index/``.
            url_of: the URL there of one here.
            local_copies: also where a caller's own files are. The Go dagstore takes those for its own and deletes
                them when it collects.

        Raises:
            FileExistsError: the folder holds shards already.
        """
        return export_go(self._core, os.path.abspath(folder), url_of=url_of, local_copies=local_copies)

    def import_go(self, folder: str | os.PathLike[str], *, url_of: Callable[[str], str] = carv2_url) -> GoImport:
        """Register the shards in a folder that :meth:`export_go` wrote, or that was made of a Go dagstore's files.

        Args:
            folder: with ``shards.jsonl`` and ``index/``.
            url_of: the URL here of one there.

        Indexes of format 0x0401 are taken over, on trust, for shards that were available; errored ones stay so;
        the others are indexed when they are first acquired. It can be done again: known shards stay as they are.
        """
        return import_go(self._core, os.path.abspath(folder), url_of=url_of)

    # -- looking --------------------------------------------------------------------------------------------

    def info(self, key: str) -> ShardInfo:
        """One shard; ShardNotFoundError if there is none of that key."""
        is_busy, references = self._core.live.peek(key)  # first: work that ends meanwhile has changed the row then
        is_busy = is_busy or self._core.leases.is_held(key)  # in any process
        return info_of(self._core.catalogue.find(key), is_busy=is_busy, references=references)

    def list(self, *, state: ShardState | None = None, prefix: str = "") -> Iterator[ShardInfo]:
        """The shards in the order of their keys, all of them or those in one state, or with one prefix."""
        activity = self._core.live.activity()
        leased = self._core.leases.held_keys()  # in any process
        for row in self._core.catalogue.rows(prefix=prefix):
            is_busy, references = activity.get(row.key, (False, 0))
            info = info_of(row, is_busy=is_busy or row.key in leased, references=references)
            if state is None or info.state is state:
                yield info

    def stat(self) -> StoreStat:
        """Count what is in the store; the whole catalogue is read for that."""
        core = self._core
        blocks = index_bytes = 0
        by_state = {state.name.lower(): 0 for state in ShardState}
        activity, leased = core.live.activity(), core.leases.held_keys()
        for row in core.catalogue.rows():
            is_busy, references = activity.get(row.key, (False, 0))
            state = visible_state(row.state, is_busy=is_busy or row.key in leased, references=references)
            by_state[state.name.lower()] += 1
            if row.state is DurableState.AVAILABLE:
                blocks += row.block_count
                index_bytes += row.index_size
        usage = core.transients.usage()
        return StoreStat(
            shard_count=sum(by_state.values()),
            by_state=by_state,
            multihash_count=core.catalogue.multihash_count(),
            block_count=blocks,
            index_bytes=index_bytes,
            transient_count=usage.files,
            transient_bytes=usage.bytes,
        )

    def __len__(self) -> int:
        """How many shards there are."""
        return len(self._core.catalogue)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and self._core.catalogue.get(key) is not None

    def counters(self) -> dict[str, int]:
        """How often things happened since the store was opened, by the names of :data:`COUNTERS`."""
        return self._core.counters.snapshot()

    def subscribe(self, size: int = 1024) -> Subscription:
        """Hear of everything that happens in this process from now on; a slow listener loses the oldest events.

        In the order in which it happens to each shard. Shards that are registered many at a time are not told one
        by one, and what other processes do to shards is not told at all.
        """
        return self._core.events.subscribe(size)

    def close(self, *, timeout: float = 10.0) -> None:
        """Close everything: what reads a shard gets ClosedError. May be called twice.

        Waits up to ``timeout`` seconds for work that is under way; what is not done then is left as by a crash.
        """
        self._parts.close(timeout)

    def __enter__(self) -> DagStore:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _multihash_of(found: CIDLike) -> bytes:
    """The multihash of a CID; bytes that are a multihash are taken as they are (none begins as a CIDv1 does)."""
    if isinstance(found, bytes) and found[:1] != b"\x01":
        multihash.decode(found)
        return found
    return CID.of(found).multihash
