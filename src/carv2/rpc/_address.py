"""Where a JSON-RPC API is: as a URL, or as Lotus writes it, as a multiaddr."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

__all__ = ["ApiAddress", "parse_address"]

_PATH = "/rpc/v0"
_SCHEMES = {"http": False, "ws": False, "https": True, "wss": True}  # whether in TLS
_NEVER = frozenset("[]\\")  # in the name of a host: parsers differ about them
_HOST_PARTS = {"ip4", "ip6", "dns", "dns4", "dns6"}


class ApiAddress(NamedTuple):
    """An API over HTTP and, at the same place, over WebSocket."""

    host: str
    port: int
    path: str
    is_secure: bool

    @property
    def http_url(self) -> str:
        """For POST."""
        return self._url("https" if self.is_secure else "http")

    @property
    def websocket_url(self) -> str:
        """For streams."""
        return self._url("wss" if self.is_secure else "ws")

    @property
    def is_loopback(self) -> bool:
        """Whether what is sent stays on this host."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def _url(self, scheme: str) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}{self.path}"


def parse_address(text: str) -> ApiAddress:
    """The API at ``text``; without a path, at Lotus' ``/rpc/v0``.

    Raises:
        ValueError: it is no address; a password in it is not repeated.

    >>> parse_address("ws://127.0.0.1:7878").http_url
    'http://127.0.0.1:7878/rpc/v0'
    >>> parse_address("/dns4/miner.example.org/tcp/443/https").websocket_url
    'wss://miner.example.org:443/rpc/v0'
    """
    return _of_multiaddr(text) if text.startswith("/") else _of_url(text)


def _of_multiaddr(text: str) -> ApiAddress:
    parts = text.strip("/").split("/")
    kind, host, transport, port = (*parts, "", "", "", "")[:4]
    scheme = parts[4] if len(parts) > 4 else "http"
    is_sound = kind in _HOST_PARTS and transport == "tcp" and _is_port(port) and len(parts) <= 5
    if is_sound and scheme in _SCHEMES:
        address = ApiAddress(host.lower(), int(port), _PATH, _SCHEMES[scheme])
        if _can_be_asked(address):
            return address
    raise ValueError(f"{text!r} is no address of an API, such as /ip4/127.0.0.1/tcp/7878/http")


def _can_be_asked(address: ApiAddress) -> bool:
    """Whether a URL can name it: a multiaddr may hold anything, such as another host in front of an ``@``."""
    try:
        return _of_url(address.http_url) == address
    except ValueError:
        return False


def _is_port(text: str) -> bool:
    return text.isascii() and text.isdecimal() and 0 < int(text[:6]) < 1 << 16


def _of_url(text: str) -> ApiAddress:
    if not text.isprintable() or " " in text:  # Python leaves line ends out, and another host would be asked
        raise ValueError(f"{text!r} is no URL of an API, such as http://127.0.0.1:7878/rpc/v0")
    try:
        parts = urlsplit(text)
        port = parts.port
        (parts.hostname or "").encode("idna")  # as connecting does
    except UnicodeError:
        raise ValueError(f"{text} is no URL of an API: no host can be called that") from None
    except ValueError as error:
        raise ValueError(f"no URL of an API: {error}") from error
    if "@" in parts.netloc:
        raise ValueError("user and password do not belong into the URL of an API, which takes a token")
    is_known = parts.scheme in _SCHEMES and not set(parts.hostname or "") & _NEVER
    if not is_known or not parts.hostname or parts.query or parts.fragment or port == 0:
        raise ValueError(f"{text} is no URL of an API, such as http://127.0.0.1:7878/rpc/v0")
    if parts.path.strip("/").split("/")[0] in {"health", "metrics", "ipfs", "ipns"}:
        raise ValueError(f"{text} is no address of an API: leave the path out, or name that of the API, {_PATH}")
    is_secure = _SCHEMES[parts.scheme]
    path = parts.path if parts.path.strip("/") else _PATH
    return ApiAddress(parts.hostname, port or (443 if is_secure else 80), path, is_secure)
