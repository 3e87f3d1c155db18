"""Calls over HTTP: a POST with a request or a batch, and its answer."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from carv2.errors import RpcError
from carv2.rpc import _jsonrpc as rpc
from carv2.rpc._access import Refusal
from carv2.rpc._work import within

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from starlette.types import Receive, Scope, Send

    from carv2.rpc._access import Access
    from carv2.rpc._dispatch import Dispatcher
    from carv2.rpc._jsonrpc import Answer

__all__ = ["GoneError", "HttpCalls", "TooMuchError", "pieces_of", "refuse", "respond_at_once", "start_of"]

_JSON = "application/json"
_CHUNK = 1 << 16  # bytes of an answer at a time
_SOON = 0.1  # seconds; whether the client is there still is looked at from then on


class GoneError(Exception):
    """There is nobody to answer."""


class TooMuchError(Refusal):
    """The body is too large."""


class HttpCalls:
    """An ASGI application for POST."""

    def __init__(self, dispatcher: Dispatcher, access: Access) -> None:
        self._dispatcher, self._access = dispatcher, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            status, answer = await self._answered(scope, receive)
        except Refusal as refusal:
            await refuse(send, refusal)
        except GoneError:
            return
        else:
            await self._respond(send, status, answer or ())

    async def _respond(self, send: Send, status: int, answer: Sequence[bytes]) -> None:
        if sum(map(len, answer)) <= _CHUNK:
            await respond_at_once(send, status, _JSON, b"".join(answer))
            return
        with contextlib.suppress(asyncio.TimeoutError):  # an answer that ends too early says so itself
            await _respond_slowly(send, status, _JSON, answer, self._dispatcher.limits.send_timeout)

    async def _answered(self, scope: Scope, receive: Receive) -> tuple[int, Answer | None]:
        if scope["method"] != "POST":
            raise Refusal(405, "calls are POSTed; GET is for WebSockets")
        grant = self._access.of(scope)
        limits = self._dispatcher.limits
        try:
            body = await within(limits.request_timeout, _body(scope, receive, limits.max_body))
        except asyncio.TimeoutError:
            raise Refusal(408, f"the request did not arrive within {limits.request_timeout:g} s") from None
        if body is None:
            text = f"request bigger than maximum {limits.max_body} allowed"
            return 413, rpc.error(None, RpcError(rpc.PARSE_ERROR, text))
        answer, is_sound = await _while_there(self._dispatcher.message(body, grant), receive)
        if answer is None:
            return 204, None
        return (200 if is_sound else 400), answer


async def _body(scope: Scope, receive: Receive, most: int) -> bytes | None:
    """What is sent; None if that is more than ``most`` bytes."""
    try:
        return b"".join([piece async for piece in pieces_of(scope, receive, most)])
    except TooMuchError:
        return None


async def pieces_of(scope: Scope, receive: Receive, most: int) -> AsyncGenerator[bytes]:
    """The body of a request, piece by piece.

    Raises:
        TooMuchError: it is of more than ``most`` bytes.
        GoneError: the client went away.
    """
    claimed = dict(scope["headers"]).get(b"content-length", b"0")
    _check_size(int(claimed[:19]) if claimed.isdigit() else 0, most)
    size, has_more = 0, True
    while has_more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise GoneError
        piece, has_more = message.get("body", b""), message.get("more_body", False)
        size += len(piece)
        _check_size(size, most)
        yield piece


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise TooMuchError(413, f"request bigger than maximum {most} allowed")


async def _while_there(call: Any, receive: Receive) -> tuple[Answer | None, bool]:
    """What ``call`` comes to, which is given up when the client is gone."""
    task: asyncio.Task[tuple[Answer | None, bool]] = asyncio.ensure_future(call)
    leaving: asyncio.Task[Any] | None = None
    try:
        await asyncio.wait({task}, timeout=_SOON)
        while not task.done():
            leaving = asyncio.ensure_future(receive())
            await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if leaving.done() and not task.done() and leaving.result()["type"] == "http.disconnect":
                raise GoneError
        return task.result()
    finally:
        for one in filter(None, (task, leaving)):
            one.cancel()
        await asyncio.gather(*filter(None, (task, leaving)), return_exceptions=True)


async def refuse(send: Send, refusal: Refusal, *, allowed: bytes = b"POST") -> None:
    """Send a refusal; ``allowed`` are the methods that would not have been refused."""
    extra = {401: [(b"www-authenticate", b"Bearer")], 405: [(b"allow", allowed)], 408: [(b"connection", b"close")]}
    await respond_at_once(
        send, refusal.status, "text/plain; charset=utf-8", str(refusal).encode(), extra.get(refusal.status, ())
    )


async def respond_at_once(
    send: Send, status: int, kind: str, body: bytes, headers: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    """Send a whole response."""
    await send(start_of(status, kind, len(body), headers))
    await send({"type": "http.response.body", "body": body})


async def _respond_slowly(send: Send, status: int, kind: str, body: Sequence[bytes], timeout: float) -> None:
    """Send a large response little by little: a client that is slow costs no more than a fast one.

    One that takes nothing for ``timeout`` seconds is let go of.
    """
    await send(start_of(status, kind, sum(map(len, body))))
    for part in body:
        for start in range(0, len(part), _CHUNK):
            chunk = {"type": "http.response.body", "body": part[start : start + _CHUNK], "more_body": True}
            await within(timeout, send(chunk))
    await within(timeout, send({"type": "http.response.body", "body": b""}))  # waits for the last chunk


def start_of(status: int, kind: str, size: int, headers: Sequence[tuple[bytes, bytes]] = ()) -> dict[str, object]:
    """What a response begins with, as ASGI has it."""
    about = [(b"content-length", b"%d" % size), (b"content-type", kind.encode())] if status != 204 else []
    fixed = [(b"cache-control", b"no-store"), (b"x-content-type-options", b"nosniff")]
    return {"type": "http.response.start", "status": status, "headers": [*about, *fixed, *headers]}
