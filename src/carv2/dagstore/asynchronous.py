"""The DAG store for asyncio: each call runs in a thread of the event loop's pool."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from carv2.blockstore.asynchronous import AsyncBlockstore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
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

    async def register(self, key: str, mount: Mount | str, **options: Any) -> ShardInfo:
        """As :meth:`DagStore.register`, with the same options."""
        return await asyncio.to_thread(self.store.register, key, mount, **options)

    async def register_many(self, shards: Iterable[tuple[str, Mount | str]]) -> int:
        """As :meth:`DagStore.register_many`."""
        return await asyncio.to_thread(self.store.register_many, shards)

    @contextlib.asynccontextmanager
    async def acquire(self, key: str, *, timeout: float | None = None) -> AsyncGenerator[AsyncBlockstore]:
        """As :meth:`DagStore.acquire`; the blocks of the shard, until the context ends."""
        opening = asyncio.ensure_future(asyncio.to_thread(self.store.acquire, key, timeout=timeout))
        try:
            shard = await asyncio.shield(opening)
        except asyncio.CancelledError:
            opening.add_done_callback(_close_late)
            raise
        try:
            yield AsyncBlockstore(shard)
        finally:
            await asyncio.shield(asyncio.to_thread(shard.close))

    async def shards_with(self, cid: CIDLike) -> Keys:
        """As :meth:`DagStore.shards_with`."""
        return await asyncio.to_thread(self.store.shards_with, cid)

    async def initialize(self, key: str, *, timeout: float | None = None) -> ShardInfo:
        """As :meth:`DagStore.initialize`."""
        return await asyncio.to_thread(self.store.initialize, key, timeout=timeout)

    async def recover(self, key: str, *, timeout: float | None = None) -> ShardInfo:
        """As :meth:`DagStore.recover`."""
        return await asyncio.to_thread(self.store.recover, key, timeout=timeout)

    async def destroy(self, key: str, *, owner: str = "", force: bool = False) -> bool:
        """As :meth:`DagStore.destroy`."""
        return await asyncio.to_thread(self.store.destroy, key, owner=owner, force=force)

    async def info(self, key: str) -> ShardInfo:
        """As :meth:`DagStore.info`."""
        return await asyncio.to_thread(self.store.info, key)

    async def list(self, *, state: ShardState | None = None, prefix: str = "") -> Infos:
        """As :meth:`DagStore.list`, all at once."""
        return await asyncio.to_thread(lambda: [*self.store.list(state=state, prefix=prefix)])

    async def close(self) -> None:
        """Close the store."""
        await asyncio.shield(asyncio.to_thread(self.store.close))

    async def __aenter__(self) -> AsyncDagStore:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


def _close_late(opening: asyncio.Future[Any]) -> None:
    """Release a shard that came after its caller had been cancelled."""
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
