"""Connections to one node, shared by threads. Nobody else is ever asked: no redirects, no proxies."""

from __future__ import annotations

import contextlib
import socket
import threading
from functools import partial
from typing import TYPE_CHECKING, cast

from carv2.errors import ClosedError
from carv2.filestore._http import metered_response
from carv2.ipfs.kubo._meter import Meter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from http.client import HTTPConnection, HTTPResponse

    from carv2.ipfs.kubo.address import NodeAddress


class Upload:
    """A body that is sent as it comes; tells errors of where it comes from apart from those of the connection."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._pieces
        except BaseException as error:
            self.error = error
            raise


class Connections:
    """Makes connections, keeps some that are idle, and ends all when it is closed.

    Args:
        address: of the node.
        headers: of each request.
        timeout: seconds to wait for a connection, or for a byte.
        kept: idle connections that are kept at most.
    """

    def __init__(self, address: NodeAddress, headers: Mapping[str, str], timeout: float, kept: int) -> None:
        self.address = address
        self._headers, self._timeout, self._kept = dict(headers), timeout, kept
        self._lock = threading.Lock()
        self._idle: list[HTTPConnection] = []
        self._busy: dict[HTTPConnection, socket.socket | None] = {}
        self._closed = False

    def check_open(self) -> None:
        """Raise ClosedError if it was closed."""
        if self._closed:
            raise ClosedError("the connection to the node was closed")

    def take(self, *, fresh: bool) -> HTTPConnection:
        """A connection; ``fresh`` for one that nothing was sent over. Give it back, or drop it."""
        with self._lock:
            self.check_open()
            connection = self._idle.pop() if self._idle and not fresh else self._new()
            self._busy[connection] = connection.sock
        return connection

    def _new(self) -> HTTPConnection:
        import http.client  # noqa: PLC0415  (30 ms)

        address = self.address
        if address.socket_path is not None:
            return _over_socket(address.socket_path, self._timeout)
        kind = http.client.HTTPSConnection if address.secure else http.client.HTTPConnection
        return kind(address.host, address.port, timeout=self._timeout)

    def give_back(self, connection: HTTPConnection) -> None:
        """Keep a connection, whose answer was read to its end, for the next."""
        with self._lock:
            self._busy.pop(connection, None)
            if not self._closed and len(self._idle) < self._kept and connection.sock is not None:
                self._idle.append(connection)
                return
        connection.close()

    def drop(self, connection: HTTPConnection) -> None:
        """Close a connection."""
        with self._lock:
            self._busy.pop(connection, None)
        connection.close()

    def send(
        self,
        connection: HTTPConnection,
        call: str,
        body: bytes | Upload | None,
        headers: Mapping[str, str],
        timeout: float,
    ) -> tuple[HTTPResponse, Meter]:
        """Make a request over ``connection``; its answer, whose body is still to come, and what that may cost.

        Raises:
            BrokenBodyError: there is no end to its headers.
            OSError, HTTPException: no connection, no answer in time, or no HTTP.
        """
        if connection.sock is None:
            connection.connect()
        sock = cast("socket.socket", connection.sock)
        with self._lock:
            self.check_open()
            self._busy[connection] = sock  # so that closing ends it
        sock.settimeout(timeout)
        everything = {**self._headers, **headers}
        if isinstance(body, Upload):
            everything["Transfer-Encoding"] = "chunked"
        target = self.address.target(call)
        broken: OSError | None = None
        try:
            connection.request(
                "POST", target, body=body, headers=everything, encode_chunked=isinstance(body, Upload)
            )
        except (BrokenPipeError, ConnectionResetError) as error:
            if not isinstance(body, Upload) or body.error is not None:
                raise
            broken = error  # a node that refuses an upload says why before it hangs up
        meter = Meter(timeout)
        connection.response_class = partial(metered_response, meter)  # type: ignore[assignment]
        try:
            response = connection.getresponse()
        except Exception:
            if broken is not None:
                raise broken from None
            raise
        response.will_close = response.will_close or broken is not None
        return response, meter

    def close(self) -> None:
        """End all connections; who waits for an answer gets an error."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = list(self._busy.values())
        for connection in idle:
            connection.close()
        for sock in busy:
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    @property
    def is_closed(self) -> bool:
        """Whether :meth:`close` was called."""
        return self._closed


def _over_socket(path: str, timeout: float) -> HTTPConnection:
    """A connection to a unix socket."""
    import http.client  # noqa: PLC0415

    class OverSocket(http.client.HTTPConnection):
        def connect(self) -> None:
            self.sock = socket.socket(socket.AF_UNIX)
            self.sock.settimeout(self.timeout)
            try:
                self.sock.connect(path)
            except BaseException:
                self.close()
                raise

    return OverSocket("localhost", timeout=timeout)
