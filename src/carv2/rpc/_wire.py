"""A client's connections, waited for in a thread."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar, cast

from carv2.rpc._connection import (
    INDEX_PATH,
    Answer,
    connected_socket,
    explained,
    httpx_of,
    stream_options,
    transport_options,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from carv2.rpc._connection import Route
    from carv2.rpc._dialogue import Stream

__all__ = ["HttpConnections", "values"]

_Result = TypeVar("_Result")


class HttpConnections:
    """Some connections over HTTP, kept for the next call."""

    def __init__(self, route: Route) -> None:
        httpx = self._httpx = httpx_of()
        self._route = route
        self._client: Any = httpx.Client(
            transport=httpx.HTTPTransport(**transport_options(route)), trust_env=False, follow_redirects=False
        )

    def post(self, text: str, answer: Answer) -> int:
        """Send ``text`` and take in what comes back; the status.

        Raises:
            RpcTransportError: there is no connection, or it broke.
            WaitTimeoutError: nothing came in time.
        """
        url, headers = self._route.address.http_url, self._route.headers
        timeout = self._httpx.Timeout(answer.timeout, connect=self._route.timeout)
        try:
            with self._client.stream("POST", url, content=text, headers=headers, timeout=timeout) as response:
                answer.check_encoding(response.headers.get("content-encoding"))
                for chunk in response.iter_raw():
                    answer.add(chunk)
                return int(response.status_code)
        except self._httpx.HTTPError as error:
            raise answer.failure(error) from error

    def put_index(self, size: int, pieces: Iterator[bytes], answer: Answer) -> int:
        """Send ``pieces`` of so many bytes to where index files are, and take in what comes back; the status.

        Raises:
            RpcTransportError: there is no connection, or it broke.
        """
        url, route = self._route.address.http_url + INDEX_PATH, self._route
        headers = {**route.headers, "Content-Length": str(size)}
        timeout = self._httpx.Timeout(None, connect=route.timeout, write=route.timeout)
        try:
            with self._client.stream("PUT", url, content=pieces, headers=headers, timeout=timeout) as response:
                answer.check_encoding(response.headers.get("content-encoding"))
                for chunk in response.iter_raw():
                    answer.add(chunk)
                return int(response.status_code)
        except self._httpx.HTTPError as error:
            raise answer.failure(error) from error

    @contextlib.contextmanager
    def index_of(self, key: str) -> Generator[Any]:
        """The response with the index file of a shard, of which nothing is read yet.

        Raises:
            RpcTransportError: there is no connection, or it breaks while it is read.
        """
        url, route = self._route.address.http_url + INDEX_PATH, self._route
        try:
            with self._client.stream(
                "GET", url, params={"key": key}, headers=route.headers, timeout=route.timeout
            ) as response:
                yield response
        except self._httpx.HTTPError as error:
            raise Answer(route.dialogue, "index", None, 0).failure(error) from error

    def close(self) -> None:
        """Close them all."""
        self._client.close()


def values(stream: Stream[_Result], route: Route) -> Generator[_Result, None, None]:
    """The values of ``stream``, over a connection of its own; who closes the generator cancels it there."""
    with contextlib.ExitStack() as stack:
        with explained(route.dialogue):
            connection = stack.enter_context(_opened(route))
            connection.send(stream.opening)
        try:
            while not stream.is_closed:
                with explained(route.dialogue):
                    text = connection.recv()
                value = stream.feed(text)
                if value is not None:
                    yield value
        finally:
            if not stream.is_closed:
                with contextlib.suppress(Exception):  # the connection is gone, which cancels it too
                    connection.send(stream.cancelling)


@contextlib.contextmanager
def _opened(route: Route) -> Generator[Any]:
    from websockets.sync.client import connect  # noqa: PLC0415  (for streams)

    with connected_socket(route) as connection:
        begin = cast("Any", connect)  # which gives something else in each version: all are context managers
        with begin(route.address.websocket_url, sock=connection, **stream_options(route)) as opened:
            yield opened
