"""How many connections a server has, and how long one may take to ask: uvicorn limits neither."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

BACKLOG = 128
"""Connections that the system keeps until they are accepted."""
ACCEPTED_AT_ONCE = 8
ASKING_TIME = 10.0
"""Seconds that a connection may be open until the headers of its next request have arrived whole."""
_FEWEST, _MOST = 8, 1024
_UNDER_WAY = 4 * ACCEPTED_AT_ONCE  # asyncio takes some rounds from the accept to the protocol, or to the close
_QUIET = 60.0  # seconds until it is said again that no more can be accepted
_NO_ROOM = "socket.accept() out of system resource"
_BUSY = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n"


def most_connections() -> int:
    """Half of the files that this process may open, less some on their way: the store needs the others.

    >>> 8 <= most_connections() <= 1024
    True
    """
    try:
        import resource  # noqa: PLC0415  (Windows has none)
    except ImportError:
        return _MOST
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY:
        return _MOST
    return max(_FEWEST, min(_MOST, files // 2 - _UNDER_WAY))


class _Breaking:
    """For a protocol of uvicorn's: what becomes of an answer that was begun and is not completed."""

    async def answer(self: Any, app: Any, scope: Any, receive: Any, send: Any) -> None:
        is_begun = is_whole = False

        async def watched(message: Any) -> None:
            nonlocal is_begun, is_whole
            is_begun = True
            await send(message)
            is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)

        try:
            await app(scope, receive, watched)
        finally:
            if is_begun and not is_whole:
                if self.flow.write_paused or scope["http_version"] == "1.0":
                    _reset(self.transport)
                self.expect_soon()


def limited(kind: Any, most: int, asking_time: float = ASKING_TIME) -> type[Any]:
    """The protocol ``kind`` of uvicorn's with limits.

    Args:
        kind: of HTTP; its WebSockets are counted too.
        most: connections at once. One more takes the place of who has been silent for longest; where all are
            busy it is told 503.
        asking_time: seconds until the headers of a request are there; then the connection is closed. A client has
            as long to take what is left of its last answer.

    Where an answer is given up, uvicorn would wait for the client to take what is buffered. Here the connection is
    reset if the client takes nothing, or has HTTP/1.0: there, an answer that just ends looks whole.
    """
    silent: dict[Any, asyncio.TimerHandle] = {}  # the eldest first

    class Limited(_Breaking, kind):  # type: ignore[misc]  # which it is, is known when it runs
        def connection_made(self, transport: Any) -> None:
            if len(self.connections) >= most and silent:
                next(iter(silent)).give_up()
            kind.connection_made(self, transport)
            self.app = partial(self.answer, self.config.loaded_app)
            if len(self.connections) > most:
                transport.write(_BUSY)
                transport.close()
            else:
                self.expect_soon()

        def expect_soon(self) -> None:
            self.forget()
            silent[self] = self.loop.call_later(asking_time, self.give_up)

        def data_received(self, data: bytes) -> None:
            kind.data_received(self, data)
            is_asking = self.cycle is not None and not self.cycle.response_complete
            if is_asking or self.transport.get_protocol() is not self:  # or it is a WebSocket now
                self.forget()

        def on_response_complete(self) -> None:
            kind.on_response_complete(self)
            if self.cycle.response_complete:  # else there was one waiting
                self.expect_soon()

        def connection_lost(self, exc: Exception | None) -> None:
            self.forget()
            kind.connection_lost(self, exc)

        def give_up(self) -> None:
            self.forget()
            self.connections.discard(self)
            _reset(self.transport)

        def forget(self) -> None:
            timer = silent.pop(self, None)
            if timer is not None:
                timer.cancel()

    return Limited


def _reset(transport: Any) -> None:
    """Close at once, and have the system forget what it holds for the client; which is told that it is no end."""
    with contextlib.suppress(OSError, AttributeError):
        linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


class Complaints:
    """The exception handler of an event loop that says once a minute that the system has no room to accept."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if context.get("message") == _NO_ROOM:
            if time.monotonic() < self._next:
                return
            self._next = time.monotonic() + _QUIET
        loop.default_exception_handler(context)
