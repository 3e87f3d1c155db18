"""A Kubo node for asyncio.

Source: Kubo's RPC (https://docs.ipfs.tech/reference/kubo/rpc/).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

from carv2.blockstore.asynchronous import AsyncBlockstore
from carv2.errors import ClosedError
from carv2.ipfs.kubo.store import DEFAULT_URL, KuboBlockstore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

    from carv2.cid import CIDLike
    from carv2.ipfs.kubo._uploads import Archive
    from carv2.ipfs.kubo.records import CarImport, Pin

__all__ = ["AsyncKuboBlockstore"]

_Result = TypeVar("_Result")
_Item = TypeVar("_Item")
_Arguments = ParamSpec("_Arguments")

_MOST_CALLS = 64  # at once; each of them mostly waits
_SOME = 256


class AsyncKuboBlockstore(AsyncBlockstore):
    """What a :class:`KuboBlockstore` can do, as coroutines; so can several tasks at once.

    Calls wait in threads of their own, not in the few that the event loop has. Cancelling one stops the waiting:
    what was asked of the node goes on there; an import that is cancelled sends nothing more, and the node stops.

    Args:
        node: a :class:`KuboBlockstore`, or what one is made of: an address, and the options by name.

    >>> from carv2 import CID
    >>> async def main() -> bytes:
    ...     async with AsyncKuboBlockstore("http://127.0.0.1:5001", timeout=10) as node:
    ...         return await node.get(CID.of_data(b"fish", hash="identity"))
    >>> asyncio.run(main())
    b'fish'
    """

    def __init__(self, node: KuboBlockstore | str = DEFAULT_URL, **options: Any) -> None:
        super().__init__(node if isinstance(node, KuboBlockstore) else KuboBlockstore(node, **options))
        self._threads = ThreadPoolExecutor(_MOST_CALLS, thread_name_prefix="carv2-kubo-async")
        self._closed = False

    @property
    def _node(self) -> KuboBlockstore:
        return cast("KuboBlockstore", self.store)

    async def _in_thread(
        self, function: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> _Result:
        if self._closed:
            raise ClosedError("the connection to the node was closed")
        call = partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def version(self) -> str:
        """As :meth:`KuboBlockstore.version`."""
        return await self._in_thread(self._node.version)

    async def import_car(self, archive: Archive | AsyncIterable[bytes], *, pin: bool = True) -> CarImport:
        """As :meth:`KuboBlockstore.import_car`; ``archive`` may be an asynchronous iterable of chunks."""
        if not isinstance(archive, AsyncIterable):
            return await self._in_thread(lambda: self._node.import_car(archive, pin=pin))
        chunks = _FromLoop(archive, asyncio.get_running_loop())
        try:
            return await self._in_thread(lambda: self._node.import_car(chunks, pin=pin))
        finally:
            chunks.stop()

    async def export_car(self, root: CIDLike, *, partial: bool = False) -> AsyncIterator[bytes]:
        """As :meth:`KuboBlockstore.export_car`."""
        chunks = self._node.export_car(root, partial=partial)
        async for batch in self._batches_of(chunks, 1):
            for chunk in batch:
                yield chunk

    async def pin_add(self, root: CIDLike, **options: Any) -> None:
        """As :meth:`KuboBlockstore.pin_add`, with the same options; ``on_progress`` is called in a thread."""
        await self._in_thread(lambda: self._node.pin_add(root, **options))

    async def pin_rm(self, root: CIDLike, *, recursive: bool = True) -> None:
        """As :meth:`KuboBlockstore.pin_rm`."""
        await self._in_thread(lambda: self._node.pin_rm(root, recursive=recursive))

    async def pins(self, kind: str = "recursive") -> AsyncIterator[Pin]:
        """As :meth:`KuboBlockstore.pins`."""
        async for batch in self._batches_of(self._node.pins(kind), _SOME):
            for pin in batch:
                yield pin

    async def _batches_of(self, items: Iterator[_Item], size: int) -> AsyncIterator[list[_Item]]:
        """Up to ``size`` items at a time; whoever leaves early ends the request."""
        try:
            error: Exception | None = None
            while error is None:
                batch, error = await self._in_thread(_some_of, items, size)
                if batch:
                    yield batch
                elif error is None:
                    return
            raise error
        finally:
            with contextlib.suppress(RuntimeError):  # closed; then there is nothing to end
                self._threads.submit(cast("Any", items).close)

    async def close(self) -> None:
        """Close the store; may be called twice."""
        self._closed = True
        await super().close()
        self._threads.shutdown(wait=False)

    async def __aenter__(self) -> AsyncKuboBlockstore:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _some_of(items: Iterator[_Item], size: int) -> tuple[list[_Item], Exception | None]:
    batch: list[_Item] = []
    try:
        for item in items:
            batch.append(item)
            if len(batch) == size:
                break
    except Exception as error:  # noqa: BLE001  (raised by the caller, behind the items before it)
        return batch, error
    return batch, None


class _FromLoop:
    """What comes out of an asynchronous iterable, for a thread beside the event loop."""

    def __init__(self, chunks: AsyncIterable[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._chunks, self._loop, self._stopped = aiter(chunks), loop, False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            chunk = self._next()
            if chunk is None:
                return
            yield chunk

    def _next(self) -> bytes | None:
        if self._stopped:
            raise ClosedError("the import was cancelled")
        waiting: Coroutine[Any, Any, bytes | None] = anext(self._chunks, None)
        return asyncio.run_coroutine_threadsafe(_awaited(waiting), self._loop).result()

    def stop(self) -> None:
        """Ask for nothing more."""
        self._stopped = True


async def _awaited(waiting: Coroutine[Any, Any, bytes | None]) -> bytes | None:
    return await waiting
