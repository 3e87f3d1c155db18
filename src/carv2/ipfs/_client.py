"""GET requests to a gateway that may do its worst: each comes to an end, and takes little memory.

What http.client reads is counted and timed byte by byte. A connection is kept between requests, since a fetch that
goes on after a break asks many small questions. No proxies, no cookies, nothing compressed.
"""

from __future__ import annotations

import contextlib
import time
from email.utils import parsedate_to_datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from carv2.errors import GatewayError
from carv2.filestore._http import metered_response
from carv2.ipfs._gateway_url import GatewayURL, origin_of

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from http.client import HTTPConnection, HTTPResponse

    from carv2.ipfs._gateway_url import Origin

_HEAD = 256 << 10
"""Bytes that a server may send beside what it was asked for: headers, interim answers, trailers."""

_PER_BYTE = 8  # bytes that a byte of the body may take in chunks
_REDIRECTS = 5
_MOVED = frozenset({301, 302, 303, 307, 308})
_NOT_THIS_FORM = frozenset({400, 406, 415, 501})
_PASSING = frozenset({408, 425, 429})
_PIECE = 256 << 10
_SHOWN = 200  # characters of what a server says
_MAX_AFTER = 1 << 30  # seconds; who says more means never


class Meter:
    """What an answer may cost.

    Args:
        timeout: seconds without a byte.
        patience: seconds until the first block, and between blocks.
        room: bytes of body that may come without a block being made of them.
    """

    def __init__(self, *, timeout: float, patience: float, room: int) -> None:
        self._timeout, self._patience = timeout, patience
        self._deadline = time.monotonic() + patience
        self._left, self._room = _HEAD, room

    def seconds(self) -> float:
        """How long the next step may take."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("no block came for too long")
        return min(left, self._timeout)

    def spend(self, count: int) -> None:
        """Count bytes that came."""
        self._left -= count
        if self._left < 0:
            raise OSError("it sends more than it was asked for")

    def begin_body(self) -> None:
        """The headers are there."""
        self._left += _PER_BYTE * self._room

    def gain(self, size: int) -> None:
        """A block of ``size`` bytes was asked for, and came."""
        self._deadline = time.monotonic() + self._patience
        self._left += _PER_BYTE * size

    def hurry(self, seconds: float, size: int) -> None:
        """Nothing more is needed: leave so much for the end of the answer, however it comes."""
        self._deadline = min(self._deadline, time.monotonic() + seconds)
        self._left = min(self._left, size)


class Answer:
    """An answer whose body is yet to be read."""

    def __init__(self, response: HTTPResponse, client: Client) -> None:
        self._response, self._client = response, client

    @property
    def content_type(self) -> str:
        """What the server says that the body is."""
        return self._response.headers.get("Content-Type", "")

    @property
    def kind(self) -> str:
        """The same without parameters, in lower case."""
        return self.content_type.partition(";")[0].strip().lower()

    def pieces(self) -> Iterator[bytes]:
        """The body, as it comes.

        Raises:
            GatewayError: it breaks off, stalls or goes on for too long.
        """
        expected, size = self._response.length, 0
        while piece := self._read():
            size += len(piece)
            yield piece
        if expected is not None and size < expected:  # http.client takes that for the end
            raise GatewayError("its answer breaks off", url=self._client.url.text)

    def _read(self) -> bytes:
        with self._client.faults():
            return self._response.read1(_PIECE)


class Client:
    """Asks one gateway; its user is one thread.

    Args:
        url: the gateway's address.
        max_wait: seconds that a ``Retry-After`` may ask for, for what errors say of it.
    """

    def __init__(self, url: str, *, max_wait: float) -> None:
        self.url = GatewayURL.parse(url)
        self._max_wait = max_wait
        self._connection: HTTPConnection | None = None
        self._origin: Origin | None = None

    def close(self) -> None:
        """Let go of the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection = self._origin = None

    @contextlib.contextmanager
    def get(self, target: str, accept: str, meter: Meter) -> Generator[Answer]:
        """The answer to a question, with status 200 and not compressed.

        Raises:
            GatewayError: there is none; its attributes say what that means.
        """
        with self.faults():
            response = self._follow(self.url.text + target, accept, meter)
        answer = Answer(response, self)
        try:
            with self.faults():
                self._check(response, meter)
            meter.begin_body()
            yield answer
            is_read = response.isclosed() or response.length == 0
            if not is_read or response.will_close:  # the next answer would begin in this one
                self.close()
        except BaseException:
            self.close()
            raise
        finally:
            response.close()

    @contextlib.contextmanager
    def faults(self) -> Generator[None]:
        """Whatever goes wrong with a connection is the gateway's."""
        import http.client  # noqa: PLC0415  (30 ms)

        try:
            yield
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise GatewayError(_words_of(error), url=self.url.text) from None

    def _follow(self, url: str, accept: str, meter: Meter) -> HTTPResponse:
        for _ in range(_REDIRECTS + 1):
            response = self._ask(url, accept, meter)
            location = response.headers.get("Location")
            if response.status not in _MOVED or location is None:
                return response
            response.close()
            self.close()  # its body is of no interest
            url = urljoin(url, location)
            if not self.url.allows(url):
                where = f"it redirects to {url[:_SHOWN]}, which is another server"
                raise GatewayError(where, url=self.url.text, status=response.status, is_final=True)
        raise GatewayError("it redirects without end", url=self.url.text, is_final=True)

    def _ask(self, url: str, accept: str, meter: Meter) -> HTTPResponse:
        """The answer of whoever the URL names; a connection that was kept may turn out to be closed."""
        import http.client  # noqa: PLC0415

        was_kept = self._connection is not None and self._origin == origin_of(url)
        try:
            return self._send(url, accept, meter)
        except (ConnectionError, http.client.BadStatusLine):
            self.close()
            if not was_kept:
                raise
        return self._send(url, accept, meter)

    def _send(self, url: str, accept: str, meter: Meter) -> HTTPResponse:
        connection = self._connected(url, meter)
        connection.response_class = partial(metered_response, meter)  # type: ignore[assignment]
        connection.sock.settimeout(meter.seconds())
        parts = urlsplit(url)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        headers = {"Accept": accept, "Accept-Encoding": "identity", "User-Agent": "carv2"}
        connection.request("GET", target, headers=headers)
        return connection.getresponse()

    def _connected(self, url: str, meter: Meter) -> HTTPConnection:
        import http.client  # noqa: PLC0415

        origin = origin_of(url)
        assert origin is not None  # it was allowed
        if self._connection is not None and self._connection.sock is not None and self._origin == origin:
            return self._connection
        self.close()
        kind = http.client.HTTPSConnection if origin.scheme == "https" else http.client.HTTPConnection
        connection = kind(origin.host, origin.port, timeout=meter.seconds())
        self._connection, self._origin = connection, origin
        connection.connect()
        return connection

    def _check(self, response: HTTPResponse, meter: Meter) -> None:
        status = response.status
        if status != 200:
            said = _said(response, meter)
            wait = _retry_after(response.headers.get("Retry-After"))
            why = f"it answered {status}{f': {said}' if said else ''}"
            if wait is not None and wait > self._max_wait:
                why += f"; it is to be left alone for {wait:.0f} seconds, and max_wait is {self._max_wait:g}"
            raise GatewayError(
                why,
                url=self.url.text,
                status=status,
                retry_after=wait,
                is_final=status < 500 and status not in _PASSING,
                other_form=status in _NOT_THIS_FORM,
            )
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding not in {"", "identity"}:
            why = f"its answer is compressed ({encoding[:_SHOWN]}), which was not asked for"
            raise GatewayError(why, url=self.url.text, status=status, is_final=True)


def _said(response: HTTPResponse, meter: Meter) -> str:
    """The first words of an error's text."""
    import http.client  # noqa: PLC0415

    if response.headers.get_content_type() != "text/plain":
        return ""
    meter.hurry(2, 64 << 10)
    try:
        text = response.read1(_SHOWN).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return ""
    return " ".join(text.split())


def _retry_after(value: str | None) -> float | None:
    """Seconds that ``Retry-After`` stands for; None if it says nothing.

    >>> _retry_after("120"), _retry_after("Fri, 31 Dec 1999 23:59:59 GMT"), _retry_after("soon")
    (120.0, 0.0, None)
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdecimal():
        return float(min(int(value[:12]), _MAX_AFTER))
    try:
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - time.time()), _MAX_AFTER)
    except (ValueError, TypeError, OverflowError):
        return None


def _words_of(error: Exception) -> str:
    """What went wrong with a connection, in few words."""
    text, kind = str(error)[:_SHOWN], type(error).__name__
    if kind == "IncompleteRead":
        return "its answer breaks off"
    if isinstance(error, TimeoutError) and text in {"", "timed out", "The read operation timed out"}:
        return "nothing came for too long"
    return text if isinstance(error, OSError) and text else f"{kind}: {text}" if text else kind
