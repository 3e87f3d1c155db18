"""The DAG store for asyncio: each call waits in a thread of its own, not in the few that the event loop has."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from carv2.blockstore.asynchronous import AsyncBlockstore
from carv2.dagstore._jobs import Job, JobThreads
from carv2.errors import StateError

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, Callable, Iterable
    from types import TracebackType
    from typing import TypeAlias

    from carv2.cid import CIDLike
    from carv2.dagstore.bulk import InitializeEvent
    from carv2.dagstore.collection import Collected
    from carv2.dagstore.doctor import Finding
    from carv2.dagstore.events import Subscription
    from carv2.dagstore.golayout import GoExport, GoImport
    from carv2.dagstore.info import ShardInfo, StoreStat
    from carv2.dagstore.migration import Deal, MigrationReport
    from carv2.dagstore.mounts import Mount
    from carv2.dagstore.states import ShardState
    from carv2.dagstore.store import DagStore

    Collection: TypeAlias = "list[Collected]"
    Findings: TypeAlias = "list[Finding]"
    Infos: TypeAlias = "list[ShardInfo]"
    Keys: TypeAlias = "list[str]"

__all__ = ["AsyncDagStore"]

_Result = TypeVar("_Result")

_MOST_CALLS = 256  # at once; each of them mostly waits


class AsyncDagStore:
    """What a :class:`DagStore` can do, as coroutines. It closes the store with itself.

    Cancelling a call stops the waiting only: what it asked for goes on in the store.

    >>> import carv2, tempfile
    >>> from carv2.dagstore import BytesMount, DagStore
    >>> fish = carv2.CID.of_data(b"fish")
    >>> archive = b"".join(carv2.iter_car([fish], [(fish, b"fish")]))
    >>> async def main(folder: str) -> bytes:
    ...     async with AsyncDagStore(DagStore(folder)) as store:
    ...         await store.register("piece-1", BytesMount(archive))
    ...         async with store.acquire("piece-1") as blocks:
    ...             return await blocks.get(fish)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     asyncio.run(main(folder))
    b'fish'
    """

    def __init__(self, store: DagStore) -> None:
        self.store = store
        self._threads = JobThreads(_MOST_CALLS)

    async def _call(
        self, call: Callable[[], _Result], *, unwanted: Callable[[_Result], object] | None = None
    ) -> _Result:
        """What ``call`` comes to; if nobody waits for that any longer, it is given to ``unwanted``."""
        _ = self.store.round  # StateError in a child of a fork, which has none of the threads
        job = self._threads.start(Job("call", call))
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        job.afterwards(partial(_tell, loop, done))
        try:
            await done.wait()
        except asyncio.CancelledError:
            if unwanted is not None:
                job.afterwards(partial(_hand_over, job, unwanted))
            raise
        return job.wait(0)

    async def register(self, key: str, mount: Mount | str, **options: Any) -> ShardInfo:
        """As :meth:`DagStore.register`, with the same options."""
        return await self._call(lambda: self.store.register(key, mount, **options))

    async def register_many(self, shards: Iterable[tuple[str, Mount | str]]) -> int:
        """As :meth:`DagStore.register_many`."""
        return await self._call(lambda: self.store.register_many(shards))

    @contextlib.asynccontextmanager
    async def acquire(self, key: str, *, timeout: float | None = None) -> AsyncGenerator[AsyncBlockstore]:
        """As :meth:`DagStore.acquire`; the blocks of the shard, until the context ends."""
        shard = await self._call(
            lambda: self.store.acquire(key, timeout=timeout), unwanted=lambda shard: shard.close()
        )
        try:
            yield AsyncBlockstore(shard)
        finally:
            await asyncio.shield(self._call(shard.close))

    async def shards_with(self, cid: CIDLike) -> Keys:
        """As :meth:`DagStore.shards_with`."""
        return await self._call(lambda: self.store.shards_with(cid))

    async def shards_with_many(self, cids: Iterable[CIDLike]) -> dict[bytes, Keys]:
        """As :meth:`DagStore.shards_with_many`."""
        return await self._call(lambda: self.store.shards_with_many(cids))

    async def add_owner(self, key: str, owner: str) -> None:
        """As :meth:`DagStore.add_owner`."""
        await self._call(lambda: self.store.add_owner(key, owner))

    def blockstore(self, **options: Any) -> AsyncBlockstore:
        """As :meth:`DagStore.blockstore`, with the same options; close it, or use it in ``async with``."""
        return AsyncBlockstore(self.store.blockstore(**options))

    async def initialize(self, key: str, *, wait: bool = True, timeout: float | None = None) -> ShardInfo:
        """As :meth:`DagStore.initialize`."""
        return await self._call(lambda: self.store.initialize(key, wait=wait, timeout=timeout))

    async def recover(self, key: str, *, wait: bool = True, timeout: float | None = None) -> ShardInfo:
        """As :meth:`DagStore.recover`."""
        return await self._call(lambda: self.store.recover(key, wait=wait, timeout=timeout))

    async def destroy(self, key: str, *, owner: str = "", force: bool = False) -> bool:
        """As :meth:`DagStore.destroy`."""
        return await self._call(lambda: self.store.destroy(key, owner=owner, force=force))

    async def info(self, key: str) -> ShardInfo:
        """As :meth:`DagStore.info`."""
        return await self._call(lambda: self.store.info(key))

    async def list(self, *, state: ShardState | None = None, prefix: str = "") -> Infos:
        """As :meth:`DagStore.list`, all at once."""
        return await self._call(lambda: [*self.store.list(state=state, prefix=prefix)])

    async def initialize_all(
        self, *, concurrency: int = 0, include_sealed: bool = False
    ) -> AsyncGenerator[InitializeEvent]:
        """As :meth:`DagStore.initialize_all`; close it (``aclosing``) to begin no more."""
        stop = threading.Event()
        events = self.store.initialize_all(concurrency=concurrency, include_sealed=include_sealed, stop=stop)
        try:
            while event := await self._call(lambda: next(events, None)):
                yield event
        finally:
            stop.set()
            with contextlib.suppress(ValueError):  # it waits for an event still, and is closed after that
                events.close()

    async def gc(self, *, max_idle: float = 0.0) -> Collection:
        """As :meth:`DagStore.gc`."""
        return await self._call(lambda: self.store.gc(max_idle=max_idle))

    async def doctor(self, *, repair: bool = False, thorough: bool = False, mounts: bool = True) -> Findings:
        """As :meth:`DagStore.doctor`, all at once."""
        return await self._call(lambda: [*self.store.doctor(repair=repair, thorough=thorough, mounts=mounts)])

    async def migrate(self, deals: Iterable[Deal], **options: Any) -> MigrationReport:
        """As :meth:`DagStore.migrate`, with the same options."""
        return await self._call(lambda: self.store.migrate(deals, **options))

    async def export_go(self, folder: str | os.PathLike[str], **options: Any) -> GoExport:
        """As :meth:`DagStore.export_go`, with the same options."""
        return await self._call(lambda: self.store.export_go(folder, **options))

    async def import_go(self, folder: str | os.PathLike[str], **options: Any) -> GoImport:
        """As :meth:`DagStore.import_go`, with the same options."""
        return await self._call(lambda: self.store.import_go(folder, **options))

    async def stat(self) -> StoreStat:
        """As :meth:`DagStore.stat`."""
        return await self._call(self.store.stat)

    def counters(self) -> dict[str, int]:
        """As :meth:`DagStore.counters`, which waits for nothing."""
        return self.store.counters()

    def subscribe(self, size: int = 1024) -> Subscription:
        """As :meth:`DagStore.subscribe`; take events from it in a thread (``asyncio.to_thread``)."""
        return self.store.subscribe(size)

    async def close(self, *, timeout: float = 10.0) -> None:
        """As :meth:`DagStore.close`; calls that wait end with ClosedError."""
        await asyncio.shield(asyncio.to_thread(self.store.close, timeout=timeout))
        with contextlib.suppress(StateError):
            _ = self.store.round  # none in a child of a fork, where threads that are not there may hold locks
            self._threads.close()

    async def __aenter__(self) -> AsyncDagStore:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(done.set)


def _hand_over(job: Job[_Result], to: Callable[[_Result], object]) -> None:
    with contextlib.suppress(Exception):  # then there is nothing to hand over
        to(job.wait(0))
