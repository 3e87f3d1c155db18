"""The DAG store for asyncio: each call waits in a thread of its own, not in the few that the event loop has."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from carv2.blockstore.asynchronous import AsyncBlockstore
from carv2.dagstore._jobs import Job, JobThreads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable
    from types import TracebackType
    from typing import TypeAlias

    from carv2.cid import CIDLike
    from carv2.dagstore.info import ShardInfo
    from carv2.dagstore.mounts import Mount
    from carv2.dagstore.states import ShardState
    from carv2.dagstore.store import DagStore

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

    async def initialize(self, key: str, *, timeout: float | None = None) -> ShardInfo:
        """As :meth:`DagStore.initialize`."""
        return await self._call(lambda: self.store.initialize(key, timeout=timeout))

    async def recover(self, key: str, *, timeout: float | None = None) -> ShardInfo:
        """As :meth:`DagStore.recover`."""
        return await self._call(lambda: self.store.recover(key, timeout=timeout))

    async def destroy(self, key: str, *, owner: str = "", force: bool = False) -> bool:
        """As :meth:`DagStore.destroy`."""
        return await self._call(lambda: self.store.destroy(key, owner=owner, force=force))

    async def info(self, key: str) -> ShardInfo:
        """As :meth:`DagStore.info`."""
        return await self._call(lambda: self.store.info(key))

    async def list(self, *, state: ShardState | None = None, prefix: str = "") -> Infos:
        """As :meth:`DagStore.list`, all at once."""
        return await self._call(lambda: [*self.store.list(state=state, prefix=prefix)])

    async def close(self, *, timeout: float = 10.0) -> None:
        """As :meth:`DagStore.close`; calls that wait end with ClosedError."""
        await asyncio.shield(asyncio.to_thread(self.store.close, timeout=timeout))
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
