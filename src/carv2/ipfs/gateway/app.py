"""The ASGI app: who may come in, what is answered, and how an answer ends that cannot be finished."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from carv2.errors import CarError
from carv2.ipfs.gateway._answers import Answering
from carv2.ipfs.gateway._exchange import ClientGoneError, Exchange
from carv2.ipfs.gateway._headers import ALWAYS, CORS
from carv2.ipfs.gateway._log import Repeats
from carv2.ipfs.gateway._memory import Places, Remembered, client_of
from carv2.ipfs.gateway._reader import Worker
from carv2.ipfs.gateway._refusal import RefusalError, is_ours, last_words, refusal_of
from carv2.ipfs.gateway._request import request_of

if TYPE_CHECKING:
    from carv2.blockstore import Blockstore
    from carv2.dag.walking import Store
    from carv2.ipfs.gateway._exchange import Receive, Scope, Send

__all__ = ["Gateway", "GatewayLimits", "create_gateway"]

_log = logging.getLogger("carv2.ipfs.gateway")

_METHODS = ("GET", "HEAD", "OPTIONS")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayLimits:
    """What one gateway may use.

    Raises:
        ValueError: a limit that is not above 0.

    >>> GatewayLimits(max_responses=8).max_responses
    8
    """

    max_responses: int = 64
    """Answers under way at a time, each with a thread that reads; more are told to come back (503). A client that
    takes nothing has its place for ``send_timeout``, with the block it asked for or megabytes of an archive."""
    max_per_client: int | None = None
    """Answers under way to one client address (of IPv6, to its first 64 bits); more are told to come back (429).
    By default a quarter of ``max_responses``. Behind a proxy that is the proxy's address, unless the server has
    to believe what the proxy says of it (uvicorn: ``--forwarded-allow-ips``): else set it to ``max_responses``."""
    max_pending_bytes: int = 256 << 20
    """Bytes of blocks that all answers under way hold, at least 2 MiB each; an answer that finds no room is told
    to come back (503), or broken off if it has begun."""
    max_bytes: int = 1 << 40
    """Bytes of one archive: with ``dups=y`` a small DAG can be an endless answer."""
    max_remembered: int = 1 << 20
    """Blocks that all answers together remember, so that each is sent once; some 150 bytes of memory each. An
    answer with ``dups=y`` remembers none."""
    max_url: int = 8 << 10
    """Bytes of a path and its query."""
    read_timeout: float = 60.0
    """Seconds that the blockstore has to give the next megabyte."""
    send_timeout: float = 30.0
    """Seconds that a client has to take what was sent."""
    min_rate: float = 16 << 10
    """Bytes a second, over its answer, that a client has to take once it has been waited for ``send_timeout``."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not value > 0:  # nor nan
                raise ValueError(f"{field.name} of {value}, expected more than 0")


def create_gateway(
    blockstore: Blockstore | Store, *, limits: GatewayLimits | None = None, cors: bool = True
) -> Gateway:
    """A trustless gateway to the blocks of a store: an ASGI app for any server, or to be mounted in another app.

    It answers ``GET`` and ``HEAD`` of ``/ipfs/CID`` with the block or an archive of its DAG, and of
    ``/ipfs/CID/path`` with an archive. Nothing can be written through it.

    Args:
        blockstore: where the blocks are, safe to share between threads. It is trusted to check what it gives, as
            all of carv2's do, and stays open.
        limits: what the gateway may use.
        cors: let web pages of any origin read the answers, as public gateways do.

    >>> import asyncio, httpx
    >>> from carv2 import CID
    >>> from carv2.blockstore import MemoryBlockstore
    >>> fish = CID.of_data(b"fish")
    >>> app = create_gateway(MemoryBlockstore([(fish, b"fish")]))
    >>> async def main() -> bytes:
    ...     async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as client:
    ...         return (await client.get(f"/ipfs/{fish}?format=raw")).content
    >>> asyncio.run(main())
    b'fish'
    >>> app.close()
    """
    return Gateway(blockstore, limits=limits, cors=cors)


class Gateway:
    """What :func:`create_gateway` makes.

    A fault that shows before the answer begins (in the first megabyte of an archive) is an HTTP error. After that,
    the answer is broken off: a line in square brackets comes where a section should be, as from boxo, and the app
    raises the error, upon which an ASGI server closes the connection with the body unfinished.

    Errors that are not the client's go to the log ``carv2.ipfs.gateway``, the same one at most once a minute.
    """

    def __init__(
        self, blockstore: Blockstore | Store, *, limits: GatewayLimits | None = None, cors: bool = True
    ) -> None:
        self.limits = limits or GatewayLimits()
        self._store = blockstore
        self._headers = (*ALWAYS, *CORS) if cors else ALWAYS
        self._executor: ThreadPoolExecutor | None = None
        per_client = self.limits.max_per_client or max(1, self.limits.max_responses // 4)
        self._places = Places(self.limits.max_responses, per_client, self.limits.max_pending_bytes)
        self._remembered = Remembered(self.limits.max_remembered)
        self._repeats = Repeats()
        self._is_closed = False
        self._counts = dict.fromkeys(("answered", "refused", "broken_off", "clients_gone", "bytes_sent"), 0)

    def counters(self) -> dict[str, int]:
        """Since the start: answers that were completed, refused (with an HTTP error) or broken off, clients that
        left before the end, bytes of bodies; and ``under_way``, answers at this moment.
        """
        return {**self._counts, "under_way": self._places.taken}

    def close(self) -> None:
        """Let go of the threads; what is asked for later is refused. May be called twice. A server that runs this
        app by itself calls it (ASGI's lifespan); who mounts it in another app does.
        """
        self._is_closed = True
        if self._executor is not None:
            self._executor.shutdown(wait=False, cancel_futures=True)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})
        elif scope["type"] == "http":
            exchange = Exchange(scope, receive, send, self.limits.send_timeout, self.limits.min_rate)
            try:
                await exchange.run(self._answer(exchange))
            except ClientGoneError as gone:
                self._counts["clients_gone"] += 1
                if gone.args:  # it is there, but stalls: have the server close
                    raise
            finally:
                self._counts["bytes_sent"] += exchange.sent

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                self.close()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    # -- one request ----------------------------------------------------------------------------------------

    async def _answer(self, exchange: Exchange) -> None:
        try:
            await self._checked(exchange)
        except ClientGoneError:
            raise
        except Exception as error:
            self._log_error(exchange, error)
            if exchange.is_started:
                self._counts["broken_off"] += 1
                await exchange.last_words(last_words(error))
                raise
            await self._refuse(exchange, refusal_of(error))
        else:
            self._counts["answered"] += 1

    async def _refuse(self, exchange: Exchange, refusal: RefusalError) -> None:
        self._counts["refused"] += 1
        headers = [("content-type", "text/plain; charset=utf-8"), *self._headers, *refusal.headers]
        await exchange.whole(refusal.status, headers, refusal.body)

    def _log_error(self, exchange: Exchange, error: Exception) -> None:
        is_fault = is_ours(error) and not isinstance(error, RefusalError)
        if not is_fault and not exchange.is_started:
            return
        note = self._repeats.note_of(error)
        if note is None:
            return
        path = str(exchange.scope.get("path", ""))[:500]
        if is_fault:
            # what carv2 foresees needs no traceback
            _log.error("%r: %s%s", path, error, note, exc_info=None if isinstance(error, CarError) else error)
        else:
            _log.warning("%r was broken off: %s%s", path, error, note)

    async def _checked(self, exchange: Exchange) -> None:
        method = exchange.scope["method"]
        if method not in _METHODS:
            raise RefusalError(405, "this gateway is for reading", (("allow", ", ".join(_METHODS)),))
        if method == "OPTIONS":
            await exchange.whole(204, [*self._headers, ("allow", ", ".join(_METHODS))])
            return
        request = request_of(exchange.scope, self.limits.max_url)
        if self._is_closed:
            raise RefusalError(503, "this gateway is shutting down")
        place = self._places.enter(client_of(exchange.scope))
        worker = Worker(self._threads(), self.limits.read_timeout)
        try:
            with self._remembered.share() as share:
                await Answering(
                    exchange, request, worker, self._store, share, place, self.limits.max_bytes, self._headers
                ).run()
        finally:
            worker.close(place.leave)

    def _threads(self) -> ThreadPoolExecutor:
        if self._executor is None:
            self._executor = ThreadPoolExecutor(self.limits.max_responses, "carv2-gateway")
        return self._executor
