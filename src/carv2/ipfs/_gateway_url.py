"""The address of a gateway, and where redirects from it may lead."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
_PLAIN = re.compile(r"[!-\[\]-~]+")  # printable ASCII without backslash: parsers differ about the rest


class Origin(NamedTuple):
    """Whom a connection goes to."""

    scheme: str
    host: str
    port: int


class GatewayURL(NamedTuple):
    """A gateway's address, such as ``https://example.org``: what ``/ipfs/CID`` is put behind."""

    text: str
    origin: Origin

    @classmethod
    def parse(cls, text: str) -> GatewayURL:
        """Read an address; ``/`` or ``/ipfs`` at its end does not matter.

        Raises:
            ValueError: it is no http or https URL, or has a user, a query or a fragment; or no multiaddr of such a
                server.

        >>> GatewayURL.parse("https://example.org/ipfs/").text
        'https://example.org'
        >>> GatewayURL.parse("/dns4/example.org/tcp/443/https").text
        'https://example.org:443'
        """
        given = text
        if text.startswith("/"):
            text = _url_of(text)
        origin = origin_of(text)
        parts = urlsplit(text) if origin is not None else None
        if origin is None or parts is None or parts.query or parts.fragment:
            raise ValueError(f"{given!r} is no address of a gateway, such as https://example.org")
        path = parts.path.rstrip("/").removesuffix("/ipfs").rstrip("/")
        return cls(f"{parts.scheme}://{parts.netloc}{path}", origin)

    def allows(self, url: str) -> bool:
        """Whether the gateway may redirect to ``url``: to itself, to hosts below its own, and from http to https.

        Gateways send on to ``CID.ipfs.HOST``. Anywhere else, an answer could make this machine ask servers that
        only it can reach.
        """
        found, own = origin_of(url), self.origin
        if found is None or not (found.host == own.host or found.host.endswith(f".{own.host}")):
            return False
        if found.scheme == own.scheme:
            return found.port == own.port
        return found.scheme == "https" and own.port == 80 and found.port == 443


def _url_of(multiaddr: str) -> str:
    """What a multiaddr says as a URL; empty if it names no server."""
    from carv2.ipfs.kubo.address import NodeAddress  # noqa: PLC0415  (for who writes it so)

    if multiaddr.startswith("/unix/"):
        return ""
    try:
        return NodeAddress.of(multiaddr).url
    except ValueError:
        return ""


def origin_of(url: str) -> Origin | None:
    """Whom a URL names; None if it names nobody without doubt. A user's name is a doubt."""
    if not _PLAIN.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc or set(parts.hostname) & {"[", "]"}:
        return None
    return Origin(parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port)
