"""The service of a DAG store as an ASGI application, for uvicorn or any other server.

Sources: the JSON-RPC 2.0 specification; go-jsonrpc, for channels and WebSockets; Lotus, for the methods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.routing import BaseRoute, Match, Route, WebSocketRoute

from carv2.rpc._access import Access
from carv2.rpc._dispatch import Dispatcher
from carv2.rpc._http import HttpCalls
from carv2.rpc._index_files import INDEX_PATH, IndexFiles
from carv2.rpc._metrics import Metrics
from carv2.rpc._own import OwnMethods
from carv2.rpc._status import Status
from carv2.rpc._websocket import WebSocketCalls
from carv2.rpc.limits import ServerLimits
from carv2.rpc.methods import StoreMethods
from carv2.rpc.tokens import Permission

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.types import ASGIApp, Receive, Scope, Send

    from carv2.dagstore import DagStore

__all__ = ["create_app"]

_DEFAULT_LIMITS = ServerLimits()


def create_app(
    store: DagStore,
    *,
    secret: bytes | None,
    limits: ServerLimits = _DEFAULT_LIMITS,
    gateway: ASGIApp | None = None,
    anonymous: Iterable[str] = (Permission.READ,),
    origins: Iterable[str] = (),
) -> Starlette:
    """Lotus' API of a DAG store: ``/rpc/v0`` for POST and WebSocket, ``/health`` and ``/metrics``.

    Args:
        store: is served, and stays the caller's to close, after the server has ended.
        secret: of the tokens (:func:`load_or_make_secret`); None if no token is known.
        limits: what clients may ask of it.
        gateway: an application for paths under ``/ipfs/`` and ``/ipns/``, which get there whole. What its
            ``counters()`` say is in ``/metrics``, if it has some, as :class:`carv2.ipfs.gateway.Gateway` does.
        anonymous: what may be done without a token; as in Lotus, reading.
        origins: of web pages that may call it, such as ``https://example.org``; without, no page may.

    Methods, errors and limits: docs/how-to/serve-a-dag-store.md.

    >>> import asyncio, httpx, tempfile
    >>> from carv2.dagstore import DagStore
    >>> call = {"jsonrpc": "2.0", "id": 1, "method": "Filecoin.DagstoreListShards", "params": []}
    >>> async def ask(app: Starlette) -> str:
    ...     async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
    ...         return (await client.post("http://localhost/rpc/v0", json=call)).text
    >>> with tempfile.TemporaryDirectory() as folder, DagStore(folder) as store:
    ...     asyncio.run(ask(create_app(store, secret=None)))
    '{"jsonrpc":"2.0","id":1,"result":[]}'
    """
    access = Access(secret, anonymous, origins)
    metrics = Metrics(getattr(gateway, "counters", None))
    methods = StoreMethods(store, threads=limits.threads)
    own = OwnMethods(store, methods.work, threads=limits.max_streams)
    dispatcher = Dispatcher({**methods.table(), **own.table()}, limits, metrics)
    status = Status(methods, metrics, access)
    routes: list[BaseRoute] = [
        Route("/rpc/v0", HttpCalls(dispatcher, access)),
        Route(f"/rpc/v0{INDEX_PATH}", IndexFiles(store, dispatcher, access)),
        WebSocketRoute("/rpc/v0", WebSocketCalls(dispatcher, access)),
        Route("/health", status.health),
        Route("/metrics", status.metrics),
    ]
    if gateway is not None:
        routes.append(_Gateway(gateway))
    return Starlette(routes=routes)


class _Gateway(BaseRoute):
    """Hands over what is under ``/ipfs/`` and ``/ipns/`` as it is; a ``Mount`` would change the path."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """As Starlette asks."""
        is_ours = scope["type"] == "http" and f"{scope['path']}/".startswith(("/ipfs/", "/ipns/"))
        return (Match.FULL if is_ours else Match.NONE), {}

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As Starlette asks."""
        await self._app(scope, receive, send)
