"""Calls over a WebSocket: any number at once, streams, and calls that are cancelled.

A stream is go-jsonrpc's channel: its call is answered with a number, its values are ``xrpc.ch.val`` with that
number, and ``xrpc.ch.close`` ends it. ``xrpc.cancel`` with the id of a call gives that up.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from typing import TYPE_CHECKING, Any

from carv2.errors import RpcError
from carv2.rpc import _jsonrpc as rpc
from carv2.rpc._access import Refusal
from carv2.rpc._work import within
from carv2.rpc.tokens import Permission

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from starlette.types import Receive, Scope, Send

    from carv2.rpc._access import Access
    from carv2.rpc._dispatch import Dispatcher
    from carv2.rpc._jsonrpc import Answer, Invalid, Request
    from carv2.rpc.tokens import Grant

__all__ = ["WebSocketCalls"]

_NOT_ALLOWED, _TOO_BIG, _TRY_LATER = 1008, 1009, 1013  # codes of closing, RFC 6455
_GONE = (OSError, RuntimeError)  # what ASGI servers raise when nobody takes a message
_TRUSTED = {Permission.WRITE.value, Permission.ADMIN.value}
_KEPT = 8  # one in so many places is for them
_OF_CLIENTS = {"xrpc.ch.val", "xrpc.ch.close"}  # there are no channels from clients


class WebSocketCalls:
    """An ASGI application for WebSockets."""

    def __init__(self, dispatcher: Dispatcher, access: Access) -> None:
        self._dispatcher, self._access = dispatcher, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        try:
            grant = self._access.of(scope)
            with self._slot(grant):
                await self._served(scope, receive, send, grant)
        except Refusal as refusal:
            with contextlib.suppress(*_GONE):
                await _deny(scope, send, refusal)

    async def _served(self, scope: Scope, receive: Receive, send: Send, grant: Grant) -> None:
        offered = scope.get("subprotocols") or [None]
        try:
            await send({"type": "websocket.accept", "subprotocol": offered[0]})
        except _GONE:
            return
        await Session(self._dispatcher, grant, receive, send).run()

    @contextlib.contextmanager
    def _slot(self, grant: Grant) -> Generator[None]:
        most = self._dispatcher.limits.max_connections
        if grant.allow.isdisjoint(_TRUSTED):  # the others' places are kept free of whoever comes along
            most -= max(most // _KEPT, int(most > 1))
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(self._dispatcher.slot("connection", most))
            except RpcError:
                raise Refusal(503, f"{most} WebSockets are open already") from None
            yield


class Session:
    """What goes on over one WebSocket, which is open. All of it ends with it."""

    def __init__(self, dispatcher: Dispatcher, grant: Grant, receive: Receive, send: Send) -> None:
        self._dispatcher, self._grant = dispatcher, grant
        self._receive, self._raw_send = receive, send
        self._limits = dispatcher.limits
        self._tasks: set[asyncio.Task[None]] = set()
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[asyncio.Task[None]] = set()
        self._channels = itertools.count(1)
        self._sending, self._lost = asyncio.Lock(), asyncio.Event()

    async def run(self) -> None:
        """Answer until the client is gone, or takes nothing any more."""
        reading, losing = asyncio.ensure_future(self._read()), asyncio.ensure_future(self._lost.wait())
        ends: list[asyncio.Future[Any]] = [reading, losing]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ends += self._tasks
            for task in ends:
                task.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        for task in ends:  # a mistake of ours should be seen
            if not task.cancelled():
                task.result()

    async def _read(self) -> None:
        while (message := await self._receive())["type"] != "websocket.disconnect":
            data: str | bytes = message.get("text") or message.get("bytes") or b""
            if len(data if isinstance(data, bytes) else data.encode()) > self._limits.max_body:
                with contextlib.suppress(*_GONE):
                    await self._raw_send({"type": "websocket.close", "code": _TOO_BIG})
                return
            await self._take(data)

    async def _take(self, data: str | bytes) -> None:
        try:
            requests, is_batch = rpc.parse(data, max_batch=self._limits.max_batch)
        except RpcError as fault:
            await self._send(self._dispatcher.unreadable(fault))
            return
        if is_batch:
            await self._start(lambda: self._answer(self._dispatcher.batch(requests, self._grant)), None)
        else:
            await self._take_one(requests[0])

    async def _take_one(self, request: Request | Invalid) -> None:
        if isinstance(request, rpc.Invalid):
            await self._answer(self._dispatcher.answer(request, self._grant))
        elif request.method == "xrpc.cancel":
            self._cancel(request)
        elif request.method in _OF_CLIENTS:
            return
        elif self._dispatcher.is_stream(request):
            if not request.is_notification:  # else nobody learnt the number of its channel
                await self._start(lambda: self._stream(request), request)
        else:
            answer = self._dispatcher.answer
            await self._start(lambda: self._answer(answer(request, self._grant), request), request)

    # -- calls ------------------------------------------------------------------------------------------------

    async def _start(self, work: Callable[[], Coroutine[Any, Any, None]], request: Request | None) -> None:
        if len(self._tasks) >= self._limits.max_calls_per_connection:
            text = f"more than {self._limits.max_calls_per_connection} calls at once on this connection"
            await self._send(rpc.error(request.id if request else None, RpcError(rpc.SERVER_BUSY, text)))
            return
        task = asyncio.ensure_future(work())
        self._tasks.add(task)
        key = json.dumps(request.id) if request and not request.is_notification else ""
        self._calls[key] = task

        def forget(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._cancelled.discard(task)
            if self._calls.get(key) is task:
                del self._calls[key]

        task.add_done_callback(forget)
        await asyncio.sleep(0)  # it begins before it could be cancelled, so that it always answers

    def _cancel(self, request: Request) -> None:
        for id_ in request.params[:1]:
            task = self._calls.get(json.dumps(id_))
            if task is not None and task not in self._cancelled:
                self._cancelled.add(task)
                task.cancel()

    def _was_cancelled(self) -> bool:
        """Whether the client has cancelled this call: else it is the end of the connection."""
        return asyncio.current_task() in self._cancelled

    async def _answer(self, call: Coroutine[Any, Any, Answer | None], request: Request | None = None) -> None:
        try:
            answer = await call
        except asyncio.CancelledError:
            if request is None or not self._was_cancelled():
                raise
            answer = rpc.error(request.id, RpcError(rpc.APPLICATION_ERROR, "context canceled"))
        if answer is not None:
            await self._send(answer)

    async def _stream(self, request: Request) -> None:
        channel = 0
        try:
            async with self._dispatcher.stream(request, self._grant) as values:
                channel = next(self._channels)
                await self._send(rpc.result(request.id, b"%d" % channel))
                async for value in values:
                    await self._send(rpc.notification("xrpc.ch.val", b"[%d,%b]" % (channel, value)))
        except asyncio.CancelledError:
            if not self._was_cancelled():
                raise
        except RpcError as fault:
            if not channel:
                await self._send(rpc.error(request.id, fault))
                return
        await self._send(rpc.notification("xrpc.ch.close", b"[%d]" % channel))

    async def _send(self, answer: Answer) -> None:
        async with self._sending:
            if self._lost.is_set():
                return
            try:
                message = {"type": "websocket.send", "text": b"".join(answer).decode()}
                await within(self._limits.send_timeout, self._raw_send(message))
            except (asyncio.TimeoutError, *_GONE):
                self._lost.set()


async def _deny(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Refuse a WebSocket that is not open yet, with an HTTP status where the server can do that."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        code = _TRY_LATER if refusal.status == 503 else _NOT_ALLOWED
        await send({"type": "websocket.close", "code": code})
        return
    body = str(refusal).encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
    start = {"type": "websocket.http.response.start", "status": refusal.status, "headers": headers}
    await send(start)
    await send({"type": "websocket.http.response.body", "body": body})
