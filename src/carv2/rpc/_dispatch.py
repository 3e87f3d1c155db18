"""From a request to its answer: which method, whether it may be called, how many at once, how long."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import time
from typing import TYPE_CHECKING, Any

from carv2.errors import CarError, RpcError
from carv2.rpc import _jsonrpc as rpc
from carv2.rpc._veiled import veiled
from carv2.rpc._work import within
from carv2.rpc.methods import refusal_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Mapping, Sequence

    from carv2.rpc._jsonrpc import Answer, Invalid, Request
    from carv2.rpc._metrics import Metrics
    from carv2.rpc.limits import ServerLimits
    from carv2.rpc.methods import Method
    from carv2.rpc.tokens import Grant

__all__ = ["Dispatcher"]

_log = logging.getLogger("carv2.rpc")

_OUTCOMES = {
    rpc.PARSE_ERROR: "invalid",
    rpc.INVALID_REQUEST: "invalid",
    rpc.METHOD_NOT_FOUND: "invalid",
    rpc.INVALID_PARAMS: "invalid",
    rpc.INTERNAL_ERROR: "internal error",
    rpc.SERVER_BUSY: "busy",
}


class Dispatcher:
    """Answers requests by calling ``methods``, within ``limits``; ``metrics`` hears of each."""

    def __init__(self, methods: Mapping[str, Method], limits: ServerLimits, metrics: Metrics) -> None:
        self.limits, self.metrics = limits, metrics
        self._methods = methods

    async def message(self, data: bytes | str, grant: Grant) -> tuple[Answer | None, bool]:
        """The answer to a message without streams, None if it wants none; and whether it could be read at all."""
        try:
            requests, is_batch = rpc.parse(data, max_batch=self.limits.max_batch)
        except RpcError as fault:
            return self.unreadable(fault), False
        if is_batch:
            return await self.batch(requests, grant), True
        only = requests[0]
        is_request = not isinstance(only, rpc.Invalid) or only.error.code != rpc.INVALID_REQUEST
        return await self.answer(only, grant), is_request

    def unreadable(self, fault: RpcError) -> Answer:
        """The answer to a message without any calls in it."""
        self.metrics.called("", "invalid", 0.0)
        return rpc.error(None, fault)

    async def batch(self, requests: Sequence[Request | Invalid], grant: Grant) -> Answer | None:
        """The answers to ``requests``, which are worked on at once; None if they are notifications only."""
        answers = await asyncio.gather(*(self.answer(one, grant) for one in requests))
        wanted = [answer for answer in answers if answer is not None]
        return rpc.batch(wanted) if wanted else None

    async def answer(self, request: Request | Invalid, grant: Grant) -> Answer | None:
        """The answer to ``request``; None to a notification."""
        if isinstance(request, rpc.Invalid):
            self.metrics.called("", "invalid", 0.0)
            return rpc.error(request.id, request.error)
        try:
            answer = rpc.result(request.id, await self._called(request, grant))
        except RpcError as fault:
            answer = rpc.error(request.id, fault if "admin" in grant.allow else _veiled(fault))
        return None if request.is_notification else answer

    async def _called(self, request: Request, grant: Grant) -> bytes:
        with self._counted(request):
            method, params = self._found(request, grant)
            if method.kind == "stream":
                text = f"method '{request.method}' not supported in this mode (no out channel support)"
                raise RpcError(rpc.METHOD_NOT_FOUND, text)
            waits = method.kind == "waits"
            what, most = ("wait", self.limits.max_waiting) if waits else ("call", self.limits.max_concurrent)
            seconds = self.limits.wait_timeout if waits else self.limits.call_timeout
            with self.slot(what, most):
                try:
                    return await within(seconds, method.call(*params))
                except asyncio.TimeoutError:
                    text = f"{method.name}: not done within {seconds:g} s; it goes on"
                    raise RpcError(rpc.APPLICATION_ERROR, text) from None

    @contextlib.asynccontextmanager
    async def stream(self, request: Request, grant: Grant) -> AsyncGenerator[AsyncGenerator[bytes]]:
        """The values of a stream, in JSON; they end with the context. RpcError where there is none to be had."""
        with self._counted(request), self.slot("stream", self.limits.max_streams):
            method, params = self._found(request, grant)
            async with contextlib.aclosing(method.call(*params)) as values:
                yield values

    def is_stream(self, request: Request) -> bool:
        """Whether it asks for a stream."""
        method = self._methods.get(request.method)
        return method is not None and method.kind == "stream"

    def _found(self, request: Request, grant: Grant) -> tuple[Method, list[Any]]:
        """The method, with its parameters; RpcError where it cannot be called so."""
        method = self._methods.get(request.method)
        if method is None:
            raise RpcError(rpc.METHOD_NOT_FOUND, f"method '{request.method[:100]}' not found")
        if grant.is_over:
            raise RpcError(rpc.APPLICATION_ERROR, "the token has expired")
        if method.permission not in grant.allow:
            text = f"missing permission to invoke '{method.name}' (need '{method.permission}')"
            raise RpcError(rpc.APPLICATION_ERROR, text)
        if method.veiled is not None and "admin" not in grant.allow:
            method = dataclasses.replace(method, call=method.veiled)
        given, wanted = len(request.params), len(method.params)
        if given != wanted:
            text = f"wrong param count (method '{request.method}'): {given} != {wanted}"
            raise RpcError(rpc.INVALID_PARAMS, text)
        try:
            return method, [read(value) for read, value in zip(method.params, request.params, strict=True)]
        except (CarError, TypeError, ValueError) as error:
            text = f"unmarshaling params for '{request.method}': {error}"
            raise RpcError(rpc.INVALID_PARAMS, text) from error

    @contextlib.contextmanager
    def slot(self, what: str, most: int) -> Generator[None]:
        """One of the ``most`` at once; RpcError if they are all taken."""
        if self.metrics.open[what] >= most:
            raise RpcError(rpc.SERVER_BUSY, f"too much at once: limit {most} for each {what}; try again later")
        self.metrics.open[what] += 1
        try:
            yield
        finally:
            self.metrics.open[what] -= 1

    @contextlib.contextmanager
    def _counted(self, request: Request) -> Generator[None]:
        """Note how it ends. What nobody expected is logged, and the client told only that."""
        method = self._methods.get(request.method)
        name, start, outcome = method.name if method else "", time.monotonic(), "ok"
        try:
            yield
        except (asyncio.CancelledError, GeneratorExit):
            outcome = "cancelled"
            raise
        except Exception as error:
            fault = refusal_of(error)
            if fault is None:
                _log.exception("%s failed", name)
                fault = RpcError(rpc.INTERNAL_ERROR, "internal error; the server's log says more")
            outcome = _OUTCOMES.get(fault.code, "error")
            if fault is error:
                raise
            raise fault from error
        finally:
            self.metrics.called(name, outcome, time.monotonic() - start)


def _veiled(fault: RpcError) -> RpcError:
    """As who is no admin sees it."""
    return RpcError(fault.code, veiled(fault.message)) if fault.code == rpc.APPLICATION_ERROR else fault
