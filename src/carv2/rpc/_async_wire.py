"""A client's connections, waited for in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from carv2.rpc._connection import connected_socket, explained, httpx_of, stream_options, transport_options

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from carv2.rpc._connection import Answer, Route
    from carv2.rpc._dialogue import Stream

__all__ = ["AsyncHttpConnections", "async_values"]

_Result = TypeVar("_Result")


class AsyncHttpConnections:
    """Some connections over HTTP, kept for the next call."""

    def __init__(self, route: Route) -> None:
        httpx = self._httpx = httpx_of()
        self._route = route
        self._client: Any = httpx.AsyncClient(
            transport=httpx.AsyncHTTPTransport(**transport_options(route)),
            trust_env=False,
            follow_redirects=False,
        )

    async def post(self, text: str, answer: Answer) -> int:
        """Send ``text`` and take in what comes back; the status. Errors as of the other one."""
        url, headers = self._route.address.http_url, self._route.headers
        timeout = self._httpx.Timeout(answer.timeout, connect=self._route.timeout)
        try:
            async with self._client.stream(
                "POST", url, content=text, headers=headers, timeout=timeout
            ) as response:
                answer.check_encoding(response.headers.get("content-encoding"))
                async for chunk in response.aiter_raw():
                    answer.add(chunk)
                return int(response.status_code)
        except self._httpx.HTTPError as error:
            raise answer.failure(error) from error

    async def close(self) -> None:
        """Close them all."""
        await self._client.aclose()


async def async_values(stream: Stream[_Result], route: Route) -> AsyncGenerator[_Result]:
    """The values of ``stream``, over a connection of its own; who closes the generator cancels it there."""
    async with contextlib.AsyncExitStack() as stack:
        with explained(route.dialogue):
            connection = await _open(route)
            stack.push_async_callback(connection.close)
            await connection.send(stream.opening)
        try:
            while not stream.is_closed:
                with explained(route.dialogue):
                    text = await connection.recv()
                value = stream.feed(text)
                if value is not None:
                    yield value
        finally:
            if not stream.is_closed:
                with contextlib.suppress(Exception):  # the connection is gone, which cancels it too
                    await connection.send(stream.cancelling)


async def _open(route: Route) -> Any:
    from websockets.asyncio.client import connect  # noqa: PLC0415  (for streams)

    connection = await asyncio.to_thread(connected_socket, route)
    try:
        connection.setblocking(False)
        return await connect(route.address.websocket_url, sock=connection, **stream_options(route))
    except BaseException:
        connection.close()
        raise
