"""References to URLs: ranges of what a web server has, and only of servers that were named."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from carv2.filestore._fault import Fault
from carv2.filestore.status import Status

if TYPE_CHECKING:
    from collections.abc import Iterable
    from http.client import HTTPResponse

__all__ = ["UrlReader"]

TIMEOUT = 30.0
"""Seconds without a byte, after which a server is given up."""

_PATIENCE = 4  # times TIMEOUT, for one range from beginning to end
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
        self._opener: Any = None

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
        import http.client  # noqa: PLC0415  (50 ms, with urllib.request)

        try:
            with self._open(url, offset, size) as response:
                return self._body(response, offset, size)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise _fault_of(error) from None

    def _open(self, url: str, offset: int, size: int) -> HTTPResponse:
        from urllib.request import Request  # noqa: PLC0415

        if self._opener is None:
            self._opener = _opener(self)
        wanted = {"Range": f"bytes={offset}-{offset + size - 1}", "Accept-Encoding": "identity"}
        response: HTTPResponse = self._opener.open(Request(url, headers=wanted), timeout=self._timeout)  # noqa: S310  (of an allowed server)
        return response

    def _body(self, response: HTTPResponse, offset: int, size: int) -> bytes:
        deadline = time.monotonic() + _PATIENCE * self._timeout
        if response.status == 206:
            said = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
            if said is not None and int(said[1]) != offset:
                raise Fault(Status.FILE_ERROR, f"the server answered with the range from {said[1]} on")
        elif response.status == 200:
            if offset > _MAX_SKIP:
                raise Fault(
                    Status.FILE_ERROR, f"the server knows no ranges, and {offset} bytes are in front of this"
                )
            skipped = sum(map(len, _pieces(response, offset, deadline)))
            if skipped < offset:
                raise _too_short(skipped, offset + size)
        else:
            raise Fault(Status.FILE_ERROR, f"the server answered {response.status}")
        data = b"".join(_pieces(response, size, deadline))
        if len(data) < size:
            raise _too_short(offset + len(data), offset + size)
        return data


def _pieces(response: HTTPResponse, size: int, deadline: float) -> Iterable[bytes]:
    while size > 0 and (piece := response.read1(min(size, _PIECE))):
        size -= len(piece)
        yield piece
        if time.monotonic() > deadline:
            raise Fault(Status.FILE_ERROR, "the server is too slow")


def _too_short(found: int, needed: int) -> Fault:
    return Fault(Status.FILE_CHANGED, f"the server has {found} bytes, the reference needs {needed}")


def _fault_of(error: Exception) -> Fault:
    from urllib.error import HTTPError  # noqa: PLC0415

    code = error.code if isinstance(error, HTTPError) else None
    if isinstance(error, HTTPError):
        error.close()
    if code in {404, 410}:
        return Fault(Status.FILE_NOT_FOUND, f"the server answered {code}")
    if code == 416:
        return Fault(Status.FILE_CHANGED, "the server has no such range: what it has is shorter")
    if code is not None:
        return Fault(Status.FILE_ERROR, f"the server answered {code}")
    return Fault(Status.FILE_ERROR, f"{type(error).__name__}: {error}")


def _opener(urls: UrlReader) -> Any:
    """What opens URLs with http and https alone, and follows redirects to allowed servers alone; no proxies."""
    from urllib import request  # noqa: PLC0415

    class Redirects(request.HTTPRedirectHandler):
        def redirect_request(  # noqa: PLR0917  (as it is there)
            self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
        ) -> Any:
            if not urls.is_allowed(newurl):
                fp.close()
                raise Fault(Status.FILE_ERROR, "a redirect to a server that may not be asked")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    opener = request.OpenerDirector()
    opener.addheaders = []
    for handler in (
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPErrorProcessor(),
        request.HTTPDefaultErrorHandler(),
        Redirects(),
    ):
        opener.add_handler(handler)
    return opener


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
