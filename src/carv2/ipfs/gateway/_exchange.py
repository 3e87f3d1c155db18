"""One request and its answer, as ASGI has them: what is sent, and when the client is gone."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

from carv2.ipfs.gateway._headers import encoded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, MutableMapping
    from typing import TypeAlias

    Message: TypeAlias = "MutableMapping[str, Any]"
    Scope: TypeAlias = "Mapping[str, Any]"
    Receive: TypeAlias = "Callable[[], Awaitable[Message]]"
    Send: TypeAlias = "Callable[[Message], Awaitable[None]]"


_PIECE = 1 << 16  # bytes; what a server buffers for a client that takes nothing is little more


_FIRST = asyncio.FIRST_COMPLETED


class ClientGoneError(Exception):
    """Nobody is there to take the answer."""


class Exchange:
    """The answer to one request.

    Args:
        scope: of the request.
        receive: of ASGI.
        send: of ASGI.
        timeout: seconds in which a client has to take what was sent before more is sent.
        rate: bytes a second that it has to take, once it has been waited for as long as that.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, timeout: float, rate: float) -> None:
        self.scope = scope
        self._receive, self._send, self._timeout = receive, send, timeout
        self._rate, self._waited = rate, 0.0
        self._began: float | None = None  # to send what the client has not taken yet
        self.is_started = self.is_complete = False
        self._is_over = False
        self.sent = 0
        """Bytes of the body."""

    @property
    def is_head(self) -> bool:
        """Whether only headers are wanted."""
        return bool(self.scope["method"] == "HEAD")

    async def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do ``work``, and stop when the client leaves.

        Raises:
            ClientGoneError: it left before the answer was complete.
        """
        task = asyncio.ensure_future(work)
        watch = asyncio.ensure_future(self._wait_for_disconnect())
        try:
            while not (await asyncio.wait({task, watch}, timeout=self._patience(), return_when=_FIRST))[0]:
                if self._patience() <= 0:
                    raise ClientGoneError(f"took nothing for {self._timeout:g} seconds")
            if not task.done() and not self.is_complete:
                raise ClientGoneError
            await task
        finally:
            self._is_over = True  # a server may swallow a cancellation
            for each in (task, watch):
                each.cancel()
            await asyncio.gather(task, watch, return_exceptions=True)

    def _patience(self) -> float:
        """Seconds until a client that takes nothing from now on is let go of."""
        return self._timeout if self._began is None else self._began + self._timeout - time.monotonic()

    async def _wait_for_disconnect(self) -> None:
        """Bodies are no part of a request here: what comes of one is dropped."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Send the status and headers."""
        await self._told({"type": "http.response.start", "status": status, "headers": encoded(headers)})
        self.is_started = True

    async def body(self, data: bytes, *, more: bool = False) -> None:
        """Send some of the body, or the rest of it."""
        self.is_complete = not more
        if self._waited > self._timeout and self.sent < self._rate * self._waited:
            raise ClientGoneError(f"took fewer than {self._rate:g} bytes a second")
        await self._told({"type": "http.response.body", "body": data, "more_body": more})
        self.sent += len(data)

    async def _told(self, message: Message) -> None:
        """Send one message. Whether it takes too long is :meth:`run`'s to see: a timer for each would cost more.

        Raises:
            ClientGoneError: the client is gone.
        """
        if self._is_over:
            raise ClientGoneError
        self._began = began = time.monotonic()
        try:
            await self._send(message)
        except OSError as error:
            raise ClientGoneError from error
        finally:
            self._began = None
            self._waited += time.monotonic() - began

    async def whole(self, status: int, headers: Iterable[tuple[str, str]], data: bytes = b"") -> None:
        """Send an answer that is known whole.

        A large one goes in pieces, and its end alone: a server takes the end when the client has taken what was
        before it, so that the answer is not over earlier.
        """
        length = [] if status in {204, 304} else [("content-length", str(len(data)))]
        await self.start(status, [*headers, *length])
        if self.is_head or len(data) <= _PIECE:
            await self.body(b"" if self.is_head else data)
            return
        for at in range(0, len(data), _PIECE):
            await self.body(data[at : at + _PIECE], more=True)
        await self.body(b"")

    async def last_words(self, data: bytes) -> None:
        """Send what can still be sent of an answer that will be broken off."""
        with contextlib.suppress(ClientGoneError):
            await self.body(data, more=True)
