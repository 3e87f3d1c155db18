"""What a client's connections have in common, whether somebody waits for them in a thread or in an event loop."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carv2.errors import WaitTimeoutError
from carv2.rpc._address import parse_address
from carv2.rpc._dialogue import Dialogue, meaning_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping
    from types import ModuleType

    from carv2.errors import CarError
    from carv2.rpc._address import ApiAddress

INDEX_PATH, DIGEST_HEADER = "/index", "carv2-sha256"
"""Of index files: where they are, below the API, and where the digest of one is, in hexadecimal digits."""
MAX_ANSWER = 64 << 20
"""Bytes of an answer: some 400,000 shards."""
_MAX_MESSAGE = 1 << 20
"""Bytes of one message of a stream: an event, whose error may be long."""
_CLOSING = 2.0
"""Seconds that the other side gets to say goodbye."""
_IDLE = 30
"""Seconds without a word, after which the system asks whether the other side is still there."""


def httpx_of() -> ModuleType:
    """The module, which only those who call an API need."""
    try:
        import httpx  # noqa: PLC0415  (the same)
    except ModuleNotFoundError as error:
        why = "a client of a JSON-RPC API needs httpx: pip install 'carv2[rpc]'"
        raise ModuleNotFoundError(why, name=error.name) from error
    return httpx


@dataclass(frozen=True, slots=True)
class Route:
    """How to get to an API."""

    address: ApiAddress
    dialogue: Dialogue
    headers: Mapping[str, str]
    """That go with each call; of the token."""
    timeout: float
    """Seconds to wait for a connection."""
    tls: ssl.SSLContext | None
    """How to check the server; None for the usual way."""

    @classmethod
    def to(cls, url: str, token: str | None, timeout: float, tls: ssl.SSLContext | None) -> Route:
        """The route to the API at ``url``."""
        address = parse_address(url)
        return cls(address, Dialogue(address.http_url), _headers_of(token), timeout, tls)


def _headers_of(token: str | None) -> dict[str, str]:
    """What goes with each call; ValueError for what cannot be a token, which is not repeated."""
    headers = {"Accept-Encoding": "identity"}  # what is small on the way may be endless here
    if token is not None:
        if not token.isascii() or not token.isprintable() or not token or " " in token:
            raise ValueError("a token is one word of ASCII, as `carv2 dagstore token` prints it")
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _keepalive_options() -> list[tuple[int, int, int]]:
    """Options of a socket with which a peer that is gone is noticed, in some minutes, by who waits for hours."""
    options = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    if hasattr(socket, "TCP_KEEPIDLE"):  # not everywhere
        options.append((socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE))
        options.append((socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _IDLE))
    return options


def transport_options(route: Route) -> dict[str, Any]:
    """Of httpx: how to check the server, and how to notice that it is gone. No proxy, and nothing tried twice."""
    return {"verify": _tls_of(route), "socket_options": _keepalive_options(), "trust_env": False}


def _tls_of(route: Route) -> ssl.SSLContext:
    """How to check the server; by what this system trusts, which takes a while to load, unless it is said."""
    if route.tls is not None or not route.address.is_secure:
        return route.tls or ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return ssl.create_default_context()


def stream_options(route: Route) -> dict[str, Any]:
    """Of websockets."""
    options: dict[str, Any] = {
        "open_timeout": route.timeout,
        "additional_headers": route.headers,
        "compression": None,
        "max_size": _MAX_MESSAGE,
        "close_timeout": _CLOSING,
    }
    if route.address.is_secure:
        options |= {"ssl": _tls_of(route), "server_hostname": route.address.host}
    return options


def connected_socket(route: Route) -> socket.socket:
    """A connection of our own making, so that nobody follows a redirect with it, or goes through a proxy."""
    try:
        connection = socket.create_connection((route.address.host, route.address.port), route.timeout)
    except OSError as error:
        raise route.dialogue.trouble(f"cannot be reached: {_words(error)}") from error
    for option in _keepalive_options():
        connection.setsockopt(*option)
    return connection


@contextlib.contextmanager
def explained(dialogue: Dialogue) -> Generator[None]:
    """Errors of websockets as ours."""
    from websockets.exceptions import InvalidStatus, WebSocketException  # noqa: PLC0415  (for streams)

    try:
        yield
    except InvalidStatus as error:
        raise dialogue.trouble(meaning_of(error.response.status_code)) from error
    except (WebSocketException, OSError, EOFError) as error:
        raise dialogue.trouble(f"the stream broke off: {_words(error)}") from error


def _words(error: BaseException) -> str:
    text = re.sub(r"^\[Errno -?\d+\] ", "", str(error))
    return text or type(error).__name__


@dataclass(slots=True)
class Answer:
    """The body of an answer while it comes: not too large, and not for ever."""

    dialogue: Dialogue
    what: str
    """The method that was called."""
    timeout: float | None
    """Seconds."""
    most: int
    """Bytes."""
    _began: float = field(default_factory=time.monotonic)
    _body: bytearray = field(default_factory=bytearray)

    def add(self, chunk: bytes) -> None:
        """Take in a piece.

        Raises:
            WaitTimeoutError: it drips.
            RpcTransportError: it is too much.
        """
        if self.timeout is not None and time.monotonic() - self._began > self.timeout:
            raise WaitTimeoutError(self.what, seconds=self.timeout)
        if len(self._body) + len(chunk) > self.most:
            raise self.dialogue.trouble(f"the answer has more than {self.most:,} bytes")
        self._body += chunk

    def check_encoding(self, encoding: str | None) -> None:
        """RpcTransportError if it comes compressed, which it was asked not to."""
        if encoding not in {None, "", "identity"}:
            raise self.dialogue.trouble("the answer is compressed")

    def failure(self, error: Exception) -> CarError:
        """An error of httpx as ours."""
        httpx = httpx_of()
        if self.timeout is not None and isinstance(error, httpx.ReadTimeout):
            return WaitTimeoutError(self.what, seconds=self.timeout)
        is_there = not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
        what = "the connection broke" if is_there else "cannot be reached"
        return self.dialogue.trouble(f"{what}: {_words(error)}")

    @property
    def body(self) -> bytes:
        """All of it."""
        return bytes(self._body)
