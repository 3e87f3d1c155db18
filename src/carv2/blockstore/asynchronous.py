"""Any blockstore for asyncio: each call runs in a thread of the event loop's pool."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable
from itertools import islice
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from types import TracebackType

    from carv2.blockstore.protocols import Blockstore, WritableBlockstore
    from carv2.blockstore.read_write import ReadWriteBlockstore
    from carv2.cid import CIDLike
    from carv2.section import Block


__all__ = ["AsyncBlockstore"]

_Answer = TypeVar("_Answer")
_Arguments = ParamSpec("_Arguments")
_Pair = TypeVar("_Pair", bound="tuple[CIDLike, bytes]")

_BATCH = 64
"""Blocks that go to or from a thread at a time."""

_BATCH_BYTES = 1 << 20
"""A batch ends early once it has that many bytes of data."""


class AsyncBlockstore:
    """What a blockstore can do, as coroutines that do not block the event loop.

    The store keeps its own rules: it must be safe to share between threads, as all of carv2's are, and tasks may
    share this one. Errors are those of the store; a missing block is a :class:`carv2.BlockNotFoundError`.

    Cancelling a call does not stop a thread that is at work: it stops waiting for it. So a ``put`` that was
    cancelled may have stored its block, or may still, or (where no thread had begun) never will; putting it again
    is right in each case, because a block is stored once. Nothing is ever stored in part, and what a finished
    ``flush`` acknowledged stays so. ``flush``, ``finalize``, ``discard``, ``close`` and the end of ``async with``
    are waited for to their end, and raise the cancellation then.

    Args:
        store: where the blocks are; also the attribute ``store``. Closed with this one.

    >>> from carv2 import CID
    >>> from carv2.blockstore import MemoryBlockstore
    >>> async def main() -> bytes:
    ...     cid = CID.of_data(b"fish")
    ...     async with AsyncBlockstore(MemoryBlockstore()) as store:
    ...         await store.put(cid, b"fish")
    ...         return await store.get(cid)
    >>> asyncio.run(main())
    b'fish'
    """

    def __init__(self, store: Blockstore) -> None:
        self.store = store

    async def _in_thread(
        self, function: Callable[_Arguments, _Answer], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Answer:
        """What ``function`` returns, from a thread; stores that have threads of their own use those."""
        return await asyncio.to_thread(function, *args, **kwargs)

    async def get(self, cid: CIDLike, /) -> bytes:
        """The block.

        Raises:
            BlockNotFoundError: it is not there.
        """
        return await self._in_thread(self.store.__getitem__, cid)

    async def size_of(self, cid: CIDLike, /) -> int:
        """Bytes of the block."""
        return await self._in_thread(self.store.size_of, cid)

    async def contains(self, cid: CIDLike, /) -> bool:
        """Whether the block is there."""
        return await self._in_thread(self.store.__contains__, cid)

    async def get_many(self, cids: Iterable[CIDLike], /) -> AsyncIterator[Block]:
        """The blocks of all ``cids``, in that order, some at a time. ``cids`` is gone through in a thread.

        Raises:
            BlockNotFoundError: one of them is not there; those before it were yielded.
        """
        blocks = self.store.get_many(cids)
        error: Exception | None = None
        while error is None:
            batch, error = await self._in_thread(_take, blocks)
            for block in batch:
                yield block
            if not batch and error is None:
                return
        raise error

    async def put(self, cid: CIDLike, data: bytes, /) -> bool:
        """Store one block; whether it was new."""
        return await self._in_thread(cast("WritableBlockstore", self.store).put, cid, data)

    async def put_many(
        self, blocks: Iterable[tuple[CIDLike, bytes]] | AsyncIterable[tuple[CIDLike, bytes]], /
    ) -> int:
        """Store each (CID, data) pair, up to the first that fails; how many were new.

        Both kinds of iterables are stored batch by batch; a plain one is gone through in a thread. What they
        gave before they failed is stored, and after a cancellation no further batch is begun.
        """
        put_many = cast("WritableBlockstore", self.store).put_many
        stored = 0
        if isinstance(blocks, AsyncIterable):
            async for batch in _batches(blocks):
                stored += await self._in_thread(put_many, batch)
            return stored
        items, more = iter(blocks), True
        while more:
            count, more = await self._in_thread(_move, items, put_many)
            stored += count
        return stored

    async def flush(self) -> None:
        """Make durable what was put: :meth:`carv2.blockstore.ReadWriteBlockstore.flush`."""
        await _to_its_end(self._read_write.flush)

    async def finalize(self, roots: Iterable[CIDLike] | None = None) -> None:
        """Finish the archive: :meth:`carv2.blockstore.ReadWriteBlockstore.finalize`."""
        await _to_its_end(lambda: self._read_write.finalize(roots))

    async def discard(self) -> None:
        """Let go of the file as it is: :meth:`carv2.blockstore.ReadWriteBlockstore.discard`."""
        await _to_its_end(self._read_write.discard)

    @property
    def _read_write(self) -> ReadWriteBlockstore:
        return cast("ReadWriteBlockstore", self.store)

    async def close(self) -> None:
        """Close the store; may be called twice."""
        await _to_its_end(self.store.close)

    async def __aenter__(self) -> AsyncBlockstore:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the store as its own ``with`` would: one that is being written is finalized on success."""
        leave = getattr(self.store, "__exit__", None)
        await _to_its_end(self.store.close if leave is None else lambda: leave(kind, error, trace))


def _take(items: Iterator[_Pair]) -> tuple[list[_Pair], Exception | None]:
    """The next few blocks, and the error that came after them."""
    batch: list[_Pair] = []
    size = 0
    try:
        for item in islice(items, _BATCH):
            batch.append(item)
            size += len(item[1])
            if size >= _BATCH_BYTES:
                break
    except Exception as error:  # noqa: BLE001  (raised by the caller, behind the blocks before it)
        return batch, error
    return batch, None


def _move(items: Iterator[_Pair], put_many: Callable[[list[_Pair]], int]) -> tuple[int, bool]:
    """Put the next few blocks; how many were new, and whether there may be more."""
    batch, error = _take(items)
    stored = put_many(batch)
    if error is not None:
        raise error
    return stored, bool(batch)


async def _batches(items: AsyncIterable[_Pair]) -> AsyncIterator[list[_Pair]]:
    """The blocks of ``items``, some at a time; when it fails, those before it come first."""
    batch: list[_Pair] = []
    size = 0
    failed: Exception | None = None
    try:
        async for item in items:
            batch.append(item)
            size += len(item[1])
            if len(batch) >= _BATCH or size >= _BATCH_BYTES:
                yield batch
                batch, size = [], 0
    except Exception as error:  # noqa: BLE001  (raised below)
        failed = error
    if batch:
        yield batch
    if failed is not None:
        raise failed


async def _to_its_end(function: Callable[[], _Answer]) -> _Answer:
    """What ``function`` returns from its thread; a cancellation is raised when it is done, not before."""
    task = asyncio.ensure_future(asyncio.to_thread(function))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):  # the cancellation counts for more
            await asyncio.shield(task)
        raise
