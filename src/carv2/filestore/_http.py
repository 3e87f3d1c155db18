"""One GET request at a time, of a server that may do its worst: it ends, and takes little memory."""

from __future__ import annotations

import io
import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urljoin, urlsplit

from carv2.filestore._fault import Fault
from carv2.filestore.status import Status

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping
    from http.client import HTTPConnection, HTTPResponse

    from typing_extensions import Buffer

_HEAD = 256 << 10
"""Bytes that a server may send beside what it was asked for: headers, interim answers, trailers."""

_PER_BYTE = 8  # bytes that a byte of the body may take in chunks
_REDIRECTS = 10
_MOVED = frozenset({301, 302, 303, 307, 308})


class Meter(Protocol):
    """What an answer may cost; both raise when that is spent."""

    def seconds(self) -> float:
        """How long the next step may take."""
        ...

    def spend(self, count: int) -> None:
        """Count bytes that came."""
        ...


class Allowance:
    """What one range may cost, from connect to the last byte and whatever the number of redirects.

    Args:
        timeout: seconds without a byte.
        patience: seconds in all.
        size: bytes of body that may be needed.
    """

    def __init__(self, timeout: float, patience: float, size: int) -> None:
        self._timeout, self._deadline = timeout, time.monotonic() + patience
        self._left = _HEAD + _PER_BYTE * size

    def seconds(self) -> float:
        """How long the next step may take."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise Fault(Status.FILE_ERROR, "the server is too slow")
        return min(left, self._timeout)

    def spend(self, count: int) -> None:
        """Count bytes that came."""
        self._left -= count
        if self._left < 0:
            raise Fault(Status.FILE_ERROR, "the server sends more than it was asked for")


class _Metered(io.RawIOBase):
    """What a socket receives, as far as the meter lets it: http.client itself reads headers without end."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, meter: Meter) -> None:
        self._raw, self._sock, self._meter = raw, sock, meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int | None:
        self._sock.settimeout(self._meter.seconds())
        count = self._raw.readinto(buffer)
        self._meter.spend(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class Answer(NamedTuple):
    """An answer that is no redirect; close its connection."""

    response: HTTPResponse
    connection: HTTPConnection


def get(url: str, headers: Mapping[str, str], allowance: Allowance, is_allowed: Callable[[str], bool]) -> Answer:
    """Ask for ``url``, which is allowed, and for what it redirects to, as far as that is.

    Bodies of redirects are not read. No proxies, no cookies.

    Raises:
        Fault: there is no end to it, or a redirect leads to what is not allowed.
        OSError, HTTPException, ValueError: no connection, or no HTTP.
    """
    status = 0
    for _ in range(_REDIRECTS):
        connection = _connection(url, allowance)
        try:
            response = _answer(connection, url, headers, allowance)
            status, location = response.status, response.headers.get("Location")
            if status not in _MOVED or location is None:
                return Answer(response, connection)
        except BaseException:
            connection.close()
            raise
        response.close()
        connection.close()
        url = urljoin(url, location)
        if not is_allowed(url):
            raise Fault(Status.FILE_ERROR, "a redirect to a server that may not be asked")
    raise Fault(Status.FILE_ERROR, f"the server answered {status} {_REDIRECTS} times")


def _connection(url: str, allowance: Allowance) -> HTTPConnection:
    import http.client  # noqa: PLC0415  (30 ms)

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=allowance.seconds())
    connection.response_class = partial(metered_response, allowance)  # type: ignore[assignment]
    return connection


def _answer(
    connection: HTTPConnection, url: str, headers: Mapping[str, str], allowance: Allowance
) -> HTTPResponse:
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    connection.connect()
    connection.sock.settimeout(allowance.seconds())
    connection.request("GET", target, headers={**headers, "Connection": "close"})
    return connection.getresponse()


def metered_response(meter: Meter, sock: socket.socket, method: str | None = None) -> HTTPResponse:
    """An answer of which no byte is read that ``meter`` does not allow: for ``HTTPConnection.response_class``."""
    from http.client import HTTPResponse  # noqa: PLC0415

    response = HTTPResponse(sock, method=method)
    response.fp = io.BufferedReader(_Metered(response.fp.detach(), sock, meter))
    return response
