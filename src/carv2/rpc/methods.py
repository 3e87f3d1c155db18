"""What can be called: Lotus' ``Filecoin.Dagstore*`` methods on a :class:`carv2.dagstore.DagStore`.

Names, parameters, results, permissions and texts are Lotus'; ``DagstoreDestroyShard`` is Boost's. Two things go
further: a shard that ``DagstoreGC`` had to leave is in its result, without success and with the reason; and
``DagstorePieceIndexSize``, which Lotus dropped, counts the bytes of all index files.

Nothing here blocks the event loop, and nothing that waits for a shard holds a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any, Literal, cast

from carv2.cid import CID
from carv2.dagstore import AsyncDagStore, ShardState
from carv2.dagstore.keys import check_key
from carv2.errors import CarError, ClosedError, RpcError, ShardExistsError, ShardNotFoundError
from carv2.rpc import _jsonrpc as rpc
from carv2.rpc._veiled import veiled, veiled_error
from carv2.rpc._work import Shared, Work

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterable

    from carv2.dagstore import Collected, DagStore, InitializeEvent, ShardInfo

__all__ = ["Method", "StoreMethods", "refusal_of"]

_BUSY = frozenset({ShardState.INITIALIZING, ShardState.RECOVERING})
_FIRST_LOOK, _LONGEST_LOOK = 0.005, 1.0  # seconds between looks at a shard that is worked on


@dataclass(frozen=True, slots=True)
class Method:
    """Something that can be called.

    Args:
        name: without ``Filecoin.``.
        permission: that it takes.
        params: one function for each parameter, which makes of a JSON value what the method takes; TypeError or
            ValueError if it is none.
        call: does it; gives the result in JSON, or for a stream a generator of values in JSON.
        kind: whether it is over soon, waits until a shard is indexed, or gives a stream.
        veiled: is called instead for who is no admin, where its results say where shards are.
    """

    name: str
    permission: str
    params: tuple[Callable[[Any], Any], ...]
    call: Callable[..., Any]
    kind: Literal["soon", "waits", "stream"] = "soon"
    veiled: Callable[..., Any] | None = None


class StoreMethods:
    """The methods on ``store``, whose calls go to up to ``threads`` threads."""

    def __init__(self, store: DagStore, *, threads: int) -> None:
        self.store = store
        self.work = Work(threads)
        self._streams = AsyncDagStore(store)
        self._list = Shared(lambda: self.work.run(self._listed))
        self._veiled_list = Shared(lambda: self.work.run(self._veiled_listed))

    def table(self) -> dict[str, Method]:
        """All of them, by their whole names."""
        methods = (
            Method("DagstoreListShards", "read", (), self.list_shards, veiled=self._veiled_list.get),
            Method("DagstoreInitializeShard", "write", (_key,), self.initialize_shard, "waits"),
            Method("DagstoreRecoverShard", "write", (_key,), self.recover_shard, "waits"),
            Method(
                "DagstoreInitializeAll",
                "write",
                (_initialize_params,),
                self.initialize_all,
                "stream",
                self._veiled_all,
            ),
            Method("DagstoreGC", "admin", (), self.collect),
            Method("DagstoreLookupPieces", "admin", (_cid,), self.lookup_pieces),
            Method("DagstorePieceIndexSize", "admin", (), self.index_size),
            Method("DagstoreRegisterShard", "admin", (_key,), self.register_shard, "waits"),
            Method("DagstoreDestroyShard", "admin", (_key,), self.destroy_shard),
        )
        return {f"Filecoin.{method.name}": method for method in methods}

    # -- looking ----------------------------------------------------------------------------------------------

    async def list_shards(self) -> bytes:
        """All shards, by key."""
        return await self._list.get()

    def _listed(self) -> bytes:
        return _array(map(_shard, self.store.list()))

    def _veiled_listed(self) -> bytes:
        return _array(_shard(info, veiled_error(info)) for info in self.store.list())

    async def lookup_pieces(self, cid: CID) -> bytes:
        """The shards with a block of that multihash; an error if there is none, as in Lotus."""
        return await self.work.run(lambda: self._looked_up(cid))

    def _looked_up(self, cid: CID) -> bytes:
        found = list[str]()
        for key in self.store.shards_with(cid):
            with contextlib.suppress(ShardNotFoundError):  # destroyed meanwhile
                found.append(_shard(self.store.info(key)))
        if not found:
            text = f"failed to lookup index for mh {cid.multihash.hex()}, err: datastore: key not found"
            raise RpcError(rpc.APPLICATION_ERROR, text)
        return _array(found)

    async def index_size(self) -> bytes:
        """Bytes of all index files."""
        return b"%d" % (await self.work.run(self.store.stat)).index_bytes

    # -- changing ---------------------------------------------------------------------------------------------

    async def initialize_shard(self, key: str) -> bytes:
        """Index a new shard and wait for it."""
        await self._begun(lambda: self.store.initialize(key, wait=False))
        return await self._until_indexed(key, "failed to acquire shard")

    async def recover_shard(self, key: str) -> bytes:
        """Index an errored shard anew and wait for it."""
        await self._begun(lambda: self.store.recover(key, wait=False))
        return await self._until_indexed(key, "failed to recover shard")

    async def register_shard(self, key: str) -> bytes:
        """Register a piece as a shard, and wait until it is indexed; nothing if it is known, in any state."""
        if await self.work.run(lambda: self._registered(key)):
            await self._until_indexed(key, "failed to register shard")
        return b"null"

    def _registered(self, key: str) -> bool:
        """Whether it was new."""
        if key in self.store:
            return False
        try:
            CID.of(key)
        except (CarError, ValueError) as error:
            raise RpcError(rpc.APPLICATION_ERROR, f"parsing shard key as piece cid: {error}") from None
        try:
            with _saying("failed to register shard", unless=ShardExistsError):
                self.store.register(key, f"piece://{key}", wait=False)
        except ShardExistsError:  # somebody was faster
            return False
        return True

    async def _begun(self, begin: Callable[[], object]) -> None:
        try:
            await self.work.run(begin)
        except ShardNotFoundError:
            raise RpcError(rpc.APPLICATION_ERROR, "failed to get shard info: shard not found") from None

    async def _until_indexed(self, key: str, prefix: str) -> bytes:
        """Wait for it by looking now and then: any number may, none holds a thread, and each can be given up."""
        pause = _FIRST_LOOK
        with _saying(prefix):
            while (info := await self.work.run(lambda: self.store.info(key))).state in _BUSY:
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_LOOK)
        if info.state is ShardState.ERRORED:
            raise RpcError(rpc.APPLICATION_ERROR, f"{prefix}: {info.error}")
        if info.state is ShardState.NEW:
            raise RpcError(rpc.APPLICATION_ERROR, f"{prefix}: it was broken off; the shard is new as before")
        return b"null"

    async def destroy_shard(self, key: str) -> bytes:
        """Remove a shard."""
        with _saying("failed to destroy shard"):
            await self.work.run(lambda: self.store.destroy(key))
        return b"null"

    async def collect(self) -> bytes:
        """Remove the local copies that nobody uses."""
        with _saying("failed to gc"):
            return _array(map(_collected, await self.work.run(self.store.gc)))

    async def initialize_all(self, params: tuple[int, bool]) -> AsyncGenerator[bytes]:
        """Index all new shards; the events of it. To close the generator is to begin no more."""
        concurrency, include_sealed = params
        events = self._streams.initialize_all(concurrency=concurrency, include_sealed=include_sealed)
        async with contextlib.aclosing(events):
            async for event in events:
                yield _event(event)

    async def _veiled_all(self, params: tuple[int, bool]) -> AsyncGenerator[bytes]:
        concurrency, include_sealed = params
        events = self._streams.initialize_all(concurrency=concurrency, include_sealed=include_sealed)
        async with contextlib.aclosing(events):
            async for event in events:
                yield _event(dataclasses.replace(event, error=veiled(event.error)))


# -- parameters ---------------------------------------------------------------------------------------------------


def _key(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a shard key is a string")
    return check_key(value)


def _cid(value: Any) -> CID:
    link = cast("dict[str, Any]", value).get("/") if isinstance(value, dict) else None
    if not isinstance(link, str):
        raise TypeError('a CID is {"/": "…"}')
    return CID.of(link)


def _initialize_params(value: Any) -> tuple[int, bool]:
    """Source: Lotus' ``DagstoreInitializeAllParams``; as in Go, what is not there is zero."""
    if not isinstance(value, dict):
        raise TypeError("an object with MaxConcurrency and IncludeSealed is wanted")
    fields = cast("dict[str, Any]", value)
    concurrency, include_sealed = fields.get("MaxConcurrency") or 0, fields.get("IncludeSealed") or False
    if type(concurrency) is not int or type(include_sealed) is not bool:
        raise TypeError("MaxConcurrency is a whole number, IncludeSealed true or false")
    return max(0, concurrency), include_sealed


# -- results ------------------------------------------------------------------------------------------------------


def _array(items: Iterable[str]) -> bytes:
    return f"[{','.join(items)}]".encode()


def _shard(info: ShardInfo, error: str | None = None) -> str:
    """Source: Lotus' ``DagstoreShardInfo``."""
    told = info.error if error is None else error
    return f'{{"Key":{quoted(info.key)},"State":"{info.state.go_name}","Error":{quoted(told)}}}'


def _collected(found: Collected) -> str:
    """Source: Lotus' ``DagstoreShardResult``."""
    return json.dumps({"Key": found.key, "Success": not found.skipped, "Error": found.skipped})


def _event(event: InitializeEvent) -> bytes:
    """Source: Lotus' ``DagstoreInitializeAllEvent``."""
    fields = {
        "Key": event.key,
        "Event": event.event,
        "Success": event.success,
        "Error": event.error,
        "Total": event.total,
        "Current": event.current,
    }
    return json.dumps(fields).encode()


# -- errors -------------------------------------------------------------------------------------------------------


def refusal_of(error: Exception) -> RpcError | None:
    """What a client is told of ``error``; None for one that should not have been: it is told nothing of that."""
    if isinstance(error, RpcError):
        return error
    if isinstance(error, ClosedError):
        return RpcError(rpc.APPLICATION_ERROR, "dagstore not available on this node")
    if isinstance(error, CarError):
        return RpcError(rpc.APPLICATION_ERROR, str(error))
    if isinstance(error, OSError):  # where the store lies is the server's matter
        return RpcError(rpc.APPLICATION_ERROR, error.strerror or type(error).__name__)
    return None


@contextlib.contextmanager
def _saying(what: str, *, unless: type[CarError] = ClosedError) -> Generator[None]:
    """Put what failed before the text of why, as Go does."""
    try:
        yield
    except (CarError, OSError) as error:
        fault = None if isinstance(error, (unless, ClosedError)) else refusal_of(error)
        if fault is None:
            raise
        raise RpcError(fault.code, f"{what}: {fault.message}") from error
