"""The same client for asyncio.

Sources: the JSON-RPC 2.0 specification; Lotus, for the methods.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import threading
from typing import TYPE_CHECKING, TypeVar

from carv2.errors import RpcError
from carv2.rpc import _calls, _own_calls
from carv2.rpc._async_wire import AsyncHttpConnections, async_values
from carv2.rpc._connection import MAX_ANSWER, Answer, Route
from carv2.rpc._dialogue import Stream
from carv2.rpc._exporting import export_go
from carv2.rpc._importing import import_go

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Iterable
    from types import TracebackType
    from typing import TypeAlias

    from carv2.cid import CIDLike
    from carv2.dagstore import (
        Collected,
        DagStoreConfig,
        Deal,
        Finding,
        GoExport,
        GoImport,
        InitializeEvent,
        MigrationReport,
        ShardInfo,
        ShardState,
        StoreStat,
    )
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

    async def stat(self) -> StoreStat:
        """As :meth:`DagStoreClient.stat`."""
        return await self._call(_own_calls.stat(), self._timeout)

    async def config(self) -> DagStoreConfig:
        """As :meth:`DagStoreClient.config`."""
        return await self._call(_own_calls.config(), self._timeout)

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

    async def doctor(
        self, *, repair: bool = False, thorough: bool = False, mounts: bool = True
    ) -> AsyncGenerator[Finding]:
        """As :meth:`DagStoreClient.doctor`; close it (``aclosing``) to have no further shard looked at."""
        call = _own_calls.doctor(repair=repair, thorough=thorough, mounts=mounts)
        end = _own_calls.DoctorStream(self._route.dialogue)
        stream = Stream(self._route.dialogue, call, next(self._numbers))
        async with contextlib.aclosing(async_values(stream, self._route)) as told:
            async for value in told:
                if (found := end.finding(value)) is not None:
                    yield found
        end.check_end()

    async def migrate(self, deals: Iterable[Deal], *, again: bool = False) -> MigrationReport:
        """As :meth:`DagStoreClient.migrate`; ``deals`` are taken in a thread, as they may come from a file."""
        migration = _own_calls.Migration(deals, again=again)
        calls = migration.calls()
        while (call := await asyncio.to_thread(next, calls, None)) is not None:
            migration.add(await self._call(call, None))
        return migration.report

    async def export_go(self, folder: str | os.PathLike[str], *, local_copies: bool = False) -> GoExport:
        """As :meth:`DagStoreClient.export_go`, in a thread, which ends soon when this is cancelled."""
        stop = threading.Event()
        try:
            return await asyncio.to_thread(
                export_go, self._route, os.fspath(folder), local_copies=local_copies, stop=stop
            )
        finally:
            stop.set()

    async def import_go(self, folder: str | os.PathLike[str]) -> GoImport:
        """As :meth:`DagStoreClient.import_go`, in a thread, which ends soon when this is cancelled."""
        stop = threading.Event()
        try:
            return await asyncio.to_thread(import_go, self._route, os.fspath(folder), stop=stop)
        finally:
            stop.set()

    async def close(self) -> None:
        """Close the connections. May be called twice."""
        await self._connections.close()

    async def __aenter__(self) -> AsyncDagStoreClient:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
