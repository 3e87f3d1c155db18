"""Where a node's RPC is: a URL, a multiaddr as in the file ``api`` of its repo, or a unix socket."""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

__all__ = ["NodeAddress"]

DEFAULT_PORT = 5001
_PATH = "/api/v0"
_NEVER = frozenset("[]@\\")
"""In the name of a host: what is in front of an ``@`` there would be taken for a user, or the other way round."""
_MULTIADDR = re.compile(r"/(ip4|ip6|dns|dns4|dns6)/([^/]+)/tcp/([0-9]{1,5})(?:/(http|https|tls/http))?/?")


class NodeAddress(NamedTuple):
    """The RPC of one node, and who asks.

    >>> NodeAddress.of("/ip4/127.0.0.1/tcp/5001").url
    'http://127.0.0.1:5001'
    >>> NodeAddress.of("https://me:secret@ipfs.example/node/api/v0").url
    'https://ipfs.example/node'
    >>> NodeAddress.of("/unix/run/kubo.sock").socket_path
    '/run/kubo.sock'
    """

    secure: bool
    host: str
    port: int | None
    """None for the usual one of HTTP or HTTPS."""
    prefix: str
    """Path in front of ``/api/v0``, without a slash at its end."""
    user: tuple[str, str] | None
    """Name and password that stand in the URL."""
    socket_path: str | None
    """Of a unix socket; then ``host`` is ``localhost``."""

    @classmethod
    def of(cls, text: str) -> NodeAddress:
        """Take ``text`` apart.

        Raises:
            ValueError: it names no node. The text of the error has no password in it.
        """
        if text.startswith(("unix://", "/unix/")):
            return cls._of_socket(text.partition("unix")[2].lstrip(":"))
        if text.startswith("/"):
            return cls._of_multiaddr(text)
        return cls._of_url(text)

    @classmethod
    def _of_socket(cls, path: str) -> NodeAddress:
        where = "/" + path.lstrip("/")
        if where == "/":
            raise ValueError("a unix socket needs its path: unix:///run/kubo.sock")
        return cls(False, "localhost", None, "", None, where)

    @classmethod
    def _of_multiaddr(cls, text: str) -> NodeAddress:
        found = _MULTIADDR.fullmatch(text)
        if found is not None:
            secure = (found[4] or "http") != "http"
            address = cls(secure, found[2].lower(), _as_port(found[3]), "", None, None)
            if _can_be_asked(address):
                return address
        raise ValueError(f"{text!r} is no multiaddr of an RPC, such as /ip4/127.0.0.1/tcp/{DEFAULT_PORT}")

    @classmethod
    def _of_url(cls, text: str) -> NodeAddress:
        parts = urlsplit(text)
        is_clean = text.isprintable() and " " not in text  # Python leaves line ends out: another host is asked
        is_known = is_clean and parts.scheme in {"http", "https"} and not set(parts.hostname or "") & _NEVER
        if not is_known or not parts.hostname or parts.query or parts.fragment:
            raise ValueError(
                f"{_without_user(text)!r} is no address of a node, such as http://127.0.0.1:{DEFAULT_PORT}"
            )
        try:
            parts.hostname.encode("idna")  # as connecting does
            port = parts.port
        except UnicodeError:
            raise ValueError(f"{_without_user(text)!r}: no host can be called that") from None
        except ValueError:
            raise ValueError(f"{_without_user(text)!r}: the port is no number up to 65535") from None
        user = None
        if parts.username is not None:
            user = (unquote(parts.username), unquote(parts.password or ""))
        prefix = parts.path.rstrip("/").removesuffix(_PATH)
        return cls(parts.scheme == "https", parts.hostname, port, prefix, user, None)

    @property
    def url(self) -> str:
        """For messages: the address without name and password."""
        if self.socket_path is not None:
            return f"unix://{self.socket_path}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port is None else f":{self.port}"
        return f"http{'s' if self.secure else ''}://{host}{port}{self.prefix}"

    def target(self, call: str) -> str:
        """What a request names to make ``call``, such as ``block/get?arg=...``."""
        return f"{self.prefix}{_PATH}/{call}"


def _can_be_asked(address: NodeAddress) -> bool:
    """Whether a URL can name it: a multiaddr may hold anything, such as another host in front of an ``@``."""
    try:
        return NodeAddress.of(address.url) == address
    except ValueError:
        return False


def _as_port(text: str) -> int:
    port = int(text)
    if not 0 < port < 65536:
        raise ValueError(f"{port} is no port")
    return port


def _without_user(text: str) -> str:
    return re.sub(r"//[^/]*@", "//", text)
