"""References to URLs: ranges of what a web server has, and only of servers that were named."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from carv2.filestore._fault import Fault
from carv2.filestore._http import Allowance, get
from carv2.filestore.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from http.client import HTTPResponse

__all__ = ["UrlReader"]

TIMEOUT = 30.0
"""Seconds without a byte, after which a server is given up."""

_PATIENCE = 4  # times TIMEOUT, for one range, from connect to its last byte
_SHOWN = 200  # characters of what a server made fail
_MAX_SKIP = 64 << 20  # bytes in front of the range, from a server that knows no ranges
_PIECE = 64 << 10
_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-\[\]-~]+")  # printable ASCII without backslash: parsers differ about the rest
_CONTENT_RANGE = re.compile(r"bytes (\d{1,20})-")


class _Server(NamedTuple):
    scheme: str
    host: str
    port: int


class UrlReader:
    """Reads ranges of URLs of the servers ``allow``: each a scheme and a host, perhaps with a port.

    Raises:
        ValueError: one of ``allow`` is no such thing, or has more to it.

    >>> UrlReader(["https://example.org"]).is_allowed("https://example.org/data/input.bin")
    True
    >>> UrlReader(["https://example.org"]).is_allowed("https://example.org:8443/data/input.bin")
    False
    """

    def __init__(self, allow: Iterable[str] = (), *, timeout: float = TIMEOUT) -> None:
        self._allowed = frozenset(map(_server_alone, allow))
        self._timeout = timeout

    def is_allowed(self, url: str) -> bool:
        """Whether the URL is of one of the servers that may be asked."""
        server = _server_of(url)
        return server is not None and server in self._allowed

    def read(self, url: str, offset: int, size: int) -> bytes:
        """``size`` bytes at ``offset``; never more are asked for, nor kept.

        Raises:
            Fault: they cannot be had, or may not be asked for.
        """
        if not self.is_allowed(url):
            raise Fault(Status.FILE_ERROR, "not allowed: it is of none of the servers that may be asked")
        if not size:
            return b""  # there is no range of no bytes
        import http.client  # noqa: PLC0415  (30 ms)

        allowance = Allowance(self._timeout, _PATIENCE * self._timeout, min(offset, _MAX_SKIP) + size)
        wanted = {"Range": f"bytes={offset}-{offset + size - 1}", "Accept-Encoding": "identity"}
        try:
            answer = get(url, wanted, allowance, self.is_allowed)
            try:
                return _body(answer.response, offset, size)
            finally:
                answer.response.close()
                answer.connection.close()
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Fault(Status.FILE_ERROR, f"{type(error).__name__}: {str(error)[:_SHOWN]}") from None


def _body(response: HTTPResponse, offset: int, size: int) -> bytes:
    if response.status == 206:
        said = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
        if said is not None and int(said[1]) != offset:
            raise Fault(Status.FILE_ERROR, f"the server answered with the range from {said[1]} on")
    elif response.status == 200:
        if offset > _MAX_SKIP:
            raise Fault(Status.FILE_ERROR, f"the server knows no ranges, and {offset} bytes are in front of this")
        skipped = sum(map(len, _pieces(response, offset)))
        if skipped < offset:
            raise _too_short(skipped, offset + size)
    else:
        raise _refusal(response.status)
    data = b"".join(_pieces(response, size))
    if len(data) < size:
        raise _too_short(offset + len(data), offset + size)
    return data


def _pieces(response: HTTPResponse, size: int) -> Iterator[bytes]:
    while size > 0 and (piece := response.read1(min(size, _PIECE))):
        size -= len(piece)
        yield piece


def _refusal(status: int) -> Fault:
    if status in {404, 410}:
        return Fault(Status.FILE_NOT_FOUND, f"the server answered {status}")
    if status == 416:
        return Fault(Status.FILE_CHANGED, "the server has no such range: what it has is shorter")
    return Fault(Status.FILE_ERROR, f"the server answered {status}")


def _too_short(found: int, needed: int) -> Fault:
    return Fault(Status.FILE_CHANGED, f"the server has {found} bytes, the reference needs {needed}")


def _server_alone(url: str) -> _Server:
    server = _server_of(url)
    if server is None or urlsplit(url)._replace(scheme="", netloc="").geturl() not in {"", "/"}:
        raise ValueError(f"{url!r} is no scheme and host, such as https://example.org")
    return server


def _server_of(url: str) -> _Server | None:
    """The server that a URL names, None if it names none without doubt; a user's name is a doubt."""
    if not _PLAIN.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc:
        return None
    return _Server(parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port)
