"""The same client for asyncio."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, TypeVar

from carv2.errors import RpcError
from carv2.rpc import _calls
from carv2.rpc._async_wire import AsyncHttpConnections, async_values
from carv2.rpc._connection import MAX_ANSWER, Answer, Route
from carv2.rpc._dialogue import Stream

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator
    from types import TracebackType
    from typing import TypeAlias

    from carv2.cid import CIDLike
    from carv2.dagstore import Collected, InitializeEvent, ShardInfo, ShardState
    from carv2.rpc._calls import Call

    Keys: TypeAlias = "list[str]"
    Shards: TypeAlias = "list[ShardInfo]"
    Collection: TypeAlias = "list[Collected]"

__all__ = ["AsyncDagStoreClient"]

_Result = TypeVar("_Result")


class AsyncDagStoreClient:
    """What a :class:`~carv2.rpc.DagStoreClient` can do, as coroutines, with the same arguments and errors.

    Cancelling a call stops the waiting only: what it asked for goes on over there.

    >>> import asyncio
    >>> from carv2.errors import RpcTransportError
    >>> async def main() -> None:
    ...     async with AsyncDagStoreClient("http://127.0.0.1:9") as store:
    ...         try:
    ...             await store.list()
    ...         except RpcTransportError as error:
    ...             print(error.url)
    >>> asyncio.run(main())
    http://127.0.0.1:9/rpc/v0
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        max_answer: int = MAX_ANSWER,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._route = Route.to(url, token, timeout, tls)
        self._timeout, self._max_answer = timeout, max_answer
        self._connections = AsyncHttpConnections(self._route)
        self._numbers = itertools.count(1)

    async def _call(self, call: Call[_Result], timeout: float | None) -> _Result:
        number = next(self._numbers)
        answer = Answer(self._route.dialogue, call.method, timeout, self._max_answer)
        status = await self._connections.post(self._route.dialogue.question(call, number), answer)
        return self._route.dialogue.answer(call, number, answer.body, status=status)

    async def list(self, *, state: ShardState | None = None, prefix: str = "") -> Shards:
        """As :meth:`DagStoreClient.list`, all at once."""
        shards = await self._call(_calls.list_shards(), self._timeout)
        return [*_calls.selected(shards, state, prefix)]

    async def lookup(self, cid: CIDLike) -> Shards:
        """As :meth:`DagStoreClient.lookup`."""
        try:
            return await self._call(_calls.lookup_pieces(cid), self._timeout)
        except RpcError as error:
            if not _calls.says_not_found(error):
                raise
            return []

    async def shards_with(self, cid: CIDLike) -> Keys:
        """As :meth:`DagStoreClient.shards_with`."""
        return [info.key for info in await self.lookup(cid)]

    async def index_size(self) -> int:
        """As :meth:`DagStoreClient.index_size`."""
        return await self._call(_calls.index_size(), self._timeout)

    async def register(self, key: str, *, timeout: float | None = None) -> None:
        """As :meth:`DagStoreClient.register`."""
        await self._call(_calls.register_shard(key), timeout)

    async def initialize(self, key: str, *, timeout: float | None = None) -> None:
        """As :meth:`DagStoreClient.initialize`."""
        await self._call(_calls.initialize_shard(key), timeout)

    async def recover(self, key: str, *, timeout: float | None = None) -> None:
        """As :meth:`DagStoreClient.recover`."""
        await self._call(_calls.recover_shard(key), timeout)

    async def destroy(self, key: str) -> None:
        """As :meth:`DagStoreClient.destroy`."""
        await self._call(_calls.destroy_shard(key), self._timeout)

    async def gc(self, *, timeout: float | None = None) -> Collection:
        """As :meth:`DagStoreClient.gc`."""
        return await self._call(_calls.collect(), timeout)

    def initialize_all(
        self, *, concurrency: int = 0, include_sealed: bool = False
    ) -> AsyncGenerator[InitializeEvent]:
        """As :meth:`DagStoreClient.initialize_all`; close it (``aclosing``) to begin no more."""
        call = _calls.initialize_all(concurrency, include_sealed=include_sealed)
        stream = Stream(self._route.dialogue, call, next(self._numbers))
        return async_values(stream, self._route)

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        await self._connections.close()

    async def __aenter__(self) -> AsyncDagStoreClient:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
