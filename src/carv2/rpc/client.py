"""A DAG store elsewhere: the calls of its JSON-RPC API, over HTTP, and over WebSocket where there is a stream.

Sources: the JSON-RPC 2.0 specification; Lotus, for the methods.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from typing import TYPE_CHECKING, TypeVar

from carv2.errors import RpcError
from carv2.rpc import _calls, _own_calls
from carv2.rpc._connection import MAX_ANSWER, Answer, Route
from carv2.rpc._dialogue import Stream
from carv2.rpc._exporting import export_go
from carv2.rpc._importing import import_go
from carv2.rpc._wire import HttpConnections, values

if TYPE_CHECKING:
    import ssl
    from collections.abc import Generator, Iterable, Iterator
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

__all__ = ["DagStoreClient"]

_Result = TypeVar("_Result")


class DagStoreClient:
    """A DAG store that ``carv2 dagstore serve`` serves elsewhere, or Lotus does, or Boost.

    Its methods are those of :class:`~carv2.dagstore.DagStore` that the API has. Of a shard the API tells key,
    state and error; the other fields of :class:`~carv2.dagstore.ShardInfo` are at their defaults, which mean
    nothing. May be used by many threads at once. Redirects are not followed, and proxies of the environment are
    not used, so that the token goes nowhere else.

    Args:
        url: such as ``http://127.0.0.1:7878``, or ``/dns4/miner.example.org/tcp/2345/http``; without a path, it is
            ``/rpc/v0``. A stream goes to the same place over WebSocket.
        token: from ``carv2 dagstore token``; None for what may be done without.
        timeout: seconds to wait for a connection, and for the answers of calls that do no work over there.
        max_answer: bytes of an answer that are read.
        tls: how to check the server's certificate, for ``https``; None for the usual way.

    Raises:
        ValueError: ``url`` or ``token`` is none.
        ModuleNotFoundError: httpx is missing.

    Every call may raise :class:`~carv2.errors.RpcError`, where the API refuses,
    :class:`~carv2.errors.RpcTransportError`, where there is no sound answer, and
    :class:`~carv2.errors.WaitTimeoutError`, where none came in time; what the call asked for may go on then.

    >>> from carv2.errors import RpcTransportError
    >>> with DagStoreClient("http://127.0.0.1:9", timeout=5) as store:
    ...     try:
    ...         store.index_size()
    ...     except RpcTransportError as error:
    ...         error.url
    'http://127.0.0.1:9/rpc/v0'
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
        self._connections = HttpConnections(self._route)
        self._numbers = itertools.count(1)

    def _call(self, call: Call[_Result], timeout: float | None) -> _Result:
        number = next(self._numbers)
        answer = Answer(self._route.dialogue, call.method, timeout, self._max_answer)
        status = self._connections.post(self._route.dialogue.question(call, number), answer)
        return self._route.dialogue.answer(call, number, answer.body, status=status)

    # -- looking --------------------------------------------------------------------------------------------

    def list(self, *, state: ShardState | None = None, prefix: str = "") -> Iterator[ShardInfo]:
        """The shards in the order of their keys, all of them or those in one state, or with one prefix."""
        shards = self._call(_calls.list_shards(), self._timeout)
        return _calls.selected(shards, state, prefix)

    def lookup(self, cid: CIDLike) -> Shards:
        """The shards that have a block of the multihash of ``cid``; empty if none has."""
        try:
            return self._call(_calls.lookup_pieces(cid), self._timeout)
        except RpcError as error:
            if not _calls.says_not_found(error):
                raise
            return []

    def shards_with(self, cid: CIDLike) -> Keys:
        """Their keys."""
        return [info.key for info in self.lookup(cid)]

    def index_size(self) -> int:
        """Bytes of all index files."""
        return self._call(_calls.index_size(), self._timeout)

    def stat(self) -> StoreStat:
        """What is in the store, by carv2 only."""
        return self._call(_own_calls.stat(), self._timeout)

    def config(self) -> DagStoreConfig:
        """The options that the store was opened with there, without a password; by carv2 only."""
        return self._call(_own_calls.config(), self._timeout)

    # -- managing -------------------------------------------------------------------------------------------

    def register(self, key: str, *, timeout: float | None = None) -> None:
        """Register the piece of that CID, which the server knows where to find, and wait until it is indexed.

        A shard that is known already stays as it is, whatever its state.
        """
        self._call(_calls.register_shard(key), timeout)

    def initialize(self, key: str, *, timeout: float | None = None) -> None:
        """Index a shard that is new, and wait until it is done, at most ``timeout`` seconds."""
        self._call(_calls.initialize_shard(key), timeout)

    def recover(self, key: str, *, timeout: float | None = None) -> None:
        """Index a shard anew that is errored, and wait until it is done, at most ``timeout`` seconds."""
        self._call(_calls.recover_shard(key), timeout)

    def destroy(self, key: str) -> None:
        """Remove a shard."""
        self._call(_calls.destroy_shard(key), self._timeout)

    def gc(self, *, timeout: float | None = None) -> Collection:
        """Remove the local copies that nobody reads; what became of each, but not how large it was."""
        return self._call(_calls.collect(), timeout)

    def initialize_all(
        self, *, concurrency: int = 0, include_sealed: bool = False
    ) -> Generator[InitializeEvent, None, None]:
        """Index all shards that are new, so many at once (0: all); two events for each, as it begins and ends.

        Close the generator to begin no more: what was begun goes on.

        Args:
            concurrency: shards at once, within the limits of the server.
            include_sealed: also those whose bytes are not ready at their origin, which has to work first.
        """
        call = _calls.initialize_all(concurrency, include_sealed=include_sealed)
        stream = Stream(self._route.dialogue, call, next(self._numbers))
        return values(stream, self._route)

    def doctor(
        self, *, repair: bool = False, thorough: bool = False, mounts: bool = True
    ) -> Generator[Finding, None, None]:
        """Look over the store; what is wrong, as it is found: see :meth:`carv2.dagstore.DagStore.doctor`.

        Close the generator to have no further shard looked at. By carv2 only.

        Raises:
            RpcError: it could not be looked over to the end, for a reason that the server tells.
            RpcTransportError: the stream broke off: there may be more.
        """
        call = _own_calls.doctor(repair=repair, thorough=thorough, mounts=mounts)
        found = _own_calls.DoctorStream(self._route.dialogue)
        stream = Stream(self._route.dialogue, call, next(self._numbers))
        with contextlib.closing(values(stream, self._route)) as told:
            yield from filter(None, map(found.finding, told))
        found.check_end()

    def migrate(self, deals: Iterable[Deal], *, again: bool = False) -> MigrationReport:
        """Register the pieces of all active ``deals``, lazily; once: see :meth:`carv2.dagstore.DagStore.migrate`.

        They go there in calls of 256 KiB, and the migration counts as done after the last of them. By carv2 only.
        """
        migration = _own_calls.Migration(deals, again=again)
        for call in migration.calls():
            migration.add(self._call(call, None))
        return migration.report

    def export_go(self, folder: str | os.PathLike[str], *, local_copies: bool = False) -> GoExport:
        """Write the shards as the Go dagstore keeps them, with their indexes, to a folder on this host.

        See :meth:`carv2.dagstore.DagStore.export_go`. Each index is held against the digest that the server
        gives with it. If it fails, nothing is left but the folders. By carv2 only.

        Raises:
            FileExistsError: the folder holds shards already.
        """
        return export_go(self._route, os.fspath(folder), local_copies=local_copies)

    def import_go(self, folder: str | os.PathLike[str]) -> GoImport:
        """Register the shards in a folder on this host that a Go dagstore's files were put into, or an export.

        See :meth:`carv2.dagstore.DagStore.import_go`. Local copies, which are files of this host, are left out.
        Indexes are sent one by one; of an import that broke off some shards are there, and it can be done again.
        By carv2 only.

        Raises:
            FileNotFoundError: the folder holds no shards.
        """
        return import_go(self._route, os.fspath(folder))

    def close(self) -> None:
        """Close the connections. May be called twice."""
        self._connections.close()

    def __enter__(self) -> DagStoreClient:  # noqa: PYI034  (typing.Self needs Python 3.11)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
