"""Serving a DAG store: a socket, a server on it that ends when it is told to, and its access log."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ipaddress
import logging
import re
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from carv2.cli import connections
from carv2.errors import CarError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from types import FrameType

    from carv2.rpc import ServerLimits

DEFAULT = "127.0.0.1:7878"
_GRACE = 5
"""Seconds that calls and streams get to end when the server is stopped."""
_LAST_WORDS = 0.3
"""Seconds more until they are closed, whether the client has taken what was sent or not."""
_LONGEST = 500
"""Characters of an error's text that tell it from others."""
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_CLOSING = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]


class Listen(NamedTuple):
    """Where to listen."""

    host: str
    port: int


def listen(text: str) -> Listen:
    """``HOST:PORT``, for argparse.

    >>> listen("[::1]:80"), listen("localhost:0")
    (Listen(host='::1', port=80), Listen(host='localhost', port=0))
    """
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]/\s]+)):([0-9]{1,5})", text)
    if found is None or int(found[3]) >= 1 << 16:
        raise argparse.ArgumentTypeError(f"{text!r}: expected HOST:PORT, such as {DEFAULT}")
    return Listen(found[1] or found[2], int(found[3]))


def bound(where: Listen) -> socket.socket:
    """A socket that listens there; CarError if that cannot be."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            where.host, where.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        server = socket.socket(family, kind, protocol)
        try:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind(address)
            server.listen(connections.BACKLOG)
        except BaseException:
            server.close()
            raise
    except UnicodeError as error:
        raise CarError(f"cannot listen on {where.host}:{where.port}: no host can be called that") from error
    except OSError as error:
        raise CarError(f"cannot listen on {where.host}:{where.port}: {error.strerror or error}") from error
    return server


def url_of(server: socket.socket) -> str:
    """Where it listens, as a client on this host writes it."""
    host, port = server.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_open_to_others(server: socket.socket) -> bool:
    """Whether other hosts can reach it."""
    return not ipaddress.ip_address(server.getsockname()[0].partition("%")[0]).is_loopback


class Calls:
    """An ASGI application whose calls can be ended, all of them at once."""

    def __init__(self, app: Any) -> None:
        self._app, self._is_over = app, False
        self._tasks: set[asyncio.Task[Any]] = set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        has_begun = False

        async def watched(message: Any) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        task = cast("asyncio.Task[Any]", asyncio.current_task())
        self._tasks.add(task)
        try:
            await self._app(scope, receive, watched)
        except asyncio.CancelledError:
            if not self._is_over:
                raise
            if scope["type"] == "http" and not has_begun:  # else the connection is closed amidst it
                await send({"type": "http.response.start", "status": 503, "headers": _CLOSING})
                await send({"type": "http.response.body", "body": b"the server is being stopped\n"})
        finally:
            self._tasks.discard(task)

    def end(self) -> None:
        """End those that there are."""
        self._is_over = True
        for task in self._tasks:
            task.cancel()


def run(app: Any, server: socket.socket, limits: ServerLimits, when_ready: Callable[[], None]) -> bool:
    """Serve ``app`` until SIGTERM or Ctrl-C; a second one ends calls at once. Whether there was a second one.

    No further one disturbs the cleaning up that follows: they stay ignored, until :func:`carv2.cli.main.main`
    gives them back to its caller, if there is one.
    """
    import uvicorn  # noqa: PLC0415  (optional)

    class Server(uvicorn.Server):
        """One that says when it is ready, and leaves signals to who runs it."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            for one in sockets or []:
                one.listen(connections.BACKLOG)
            if self.started:
                when_ready()

        @contextlib.contextmanager
        def capture_signals(self) -> Generator[None, None, None]:
            yield

    calls = Calls(app)
    config = uvicorn.Config(
        calls,
        lifespan="off",
        log_config=None,
        ws_max_size=limits.max_body,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2 * _GRACE,  # by then there are none
        backlog=connections.ACCEPTED_AT_ONCE,  # as asyncio understands it
    )
    config.load()
    config.http_protocol_class = connections.limited(config.http_protocol_class, connections.most_connections())
    log = logging.getLogger("uvicorn.error")
    filters = (_is_news, _tracebacks())
    for each in filters:
        log.addFilter(each)
    try:
        return asyncio.run(_serve(Server(config), server, calls))
    finally:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        for each in filters:
            log.removeFilter(each)


def _is_news(record: logging.LogRecord) -> bool:
    """All but what uvicorn says of WebSockets that are refused with a status, and of responses broken off."""
    return not str(record.msg).startswith("ASGI callable returned without completing ")


class Tracebacks(logging.Filter):
    """Lets errors of an application pass that are news: no client can have a log written full.

    Those that say only that a client is gone, or takes nothing, are dropped: metrics count these. The same error,
    by type and text, passes once in ``quiet`` seconds; and of different ones no more than ``most`` in that time.

    Args:
        gone: the types of those that are dropped.
        quiet: seconds.
        most: errors that are remembered.
        clock: seconds, of any beginning.

    >>> log, only_news = logging.getLogger("example"), Tracebacks((ConnectionError,))
    >>> def is_news(error):
    ...     about = type(error), error, None
    ...     return bool(only_news.filter(log.makeRecord("", logging.ERROR, "", 1, "it broke", (), about)))
    >>> is_news(ConnectionError("gone")), is_news(OSError("no room")), is_news(OSError("no room"))
    (False, True, False)
    """

    def __init__(
        self,
        gone: tuple[type[BaseException], ...],
        *,
        quiet: float = 60.0,
        most: int = 32,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._gone, self._quiet, self._most, self._clock = gone, quiet, most, clock
        self._said: dict[tuple[type[BaseException], str], float] = {}  # the eldest first

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write it."""
        error = record.exc_info[1] if record.exc_info else None
        if error is None:
            return True
        return not isinstance(error, self._gone) and self._is_new((type(error), str(error)[:_LONGEST]))

    def _is_new(self, what: tuple[type[BaseException], str]) -> bool:
        now, said = self._clock(), self._said
        while said and now - next(iter(said.values())) >= self._quiet:
            del said[next(iter(said))]
        if what in said or len(said) >= self._most:
            return False
        said[what] = now
        return True


def _tracebacks() -> Tracebacks:
    from starlette.requests import ClientDisconnect  # noqa: PLC0415  (optional)
    from starlette.websockets import WebSocketDisconnect  # noqa: PLC0415
    from uvicorn.protocols.utils import ClientDisconnected  # noqa: PLC0415

    from carv2.ipfs.gateway._exchange import ClientGoneError  # noqa: PLC0415  (not for --help)

    return Tracebacks((ClientGoneError, ClientDisconnect, ClientDisconnected, WebSocketDisconnect))


async def _serve(server: Any, listening: socket.socket, calls: Calls) -> bool:
    loop = asyncio.get_running_loop()

    def close() -> None:
        for connection in list(server.server_state.connections):
            connection.transport.abort()

    def end() -> None:
        calls.end()
        loop.call_later(_LAST_WORDS, close)

    def stop() -> None:
        if server.should_exit:
            server.force_exit = True
            calls.end()
        else:
            server.should_exit = True
            loop.call_later(_GRACE, end)

    loop.set_exception_handler(connections.Complaints())

    def told(_number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(RuntimeError):  # it has ended
            loop.call_soon_threadsafe(stop)

    for number in _SIGNALS:  # not by the loop, which would give them back to the system at its end
        signal.signal(number, told)
    await server.serve([listening])
    return bool(server.force_exit)


@contextlib.contextmanager
def access_log(name: str | None) -> Generator[None]:
    """Have a line written on each request, to the file ``name`` or, for ``-``, to standard error."""
    calls, others = logging.getLogger("uvicorn.access"), logging.getLogger("uvicorn.error")
    calls.propagate, calls.disabled = False, name is None
    if name is None:
        yield
        return
    handler = logging.StreamHandler(sys.stderr) if name == "-" else logging.FileHandler(name, encoding="utf-8")
    handler.setFormatter(_AccessFormatter("%(asctime)s %(message)s"))
    handler.addFilter(lambda record: record.name == calls.name or '"WebSocket ' in str(record.msg))
    for logger in (calls, others):
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger in (calls, others):
            logger.removeHandler(handler)
            logger.setLevel(logging.NOTSET)
        handler.close()


class _AccessFormatter(logging.Formatter):
    """Without what stands behind the path: some clients put their token there."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        given = record.args if isinstance(record.args, tuple) else ()
        record.args = tuple(one.partition("?")[0] if isinstance(one, str) else one for one in given)
        return super().format(record)
