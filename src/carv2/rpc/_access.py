"""Who is asking: the token of a connection, and pages of strangers that a browser has open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from carv2.errors import TokenError
from carv2.rpc.tokens import Grant, read_grant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Access", "Refusal"]


class Refusal(Exception):  # noqa: N818  (it is an answer)
    """The connection gets no further than ``status``."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Access:
    """What those who connect may do. Source: go-jsonrpc's ``auth.Handler``.

    Args:
        secret: of the tokens; None if there are none.
        anonymous: what may be done without one.
        origins: of web pages that may ask, such as ``https://example.org``. A browser sends them with a request;
            pages of others could use it to reach what only this host should.
    """

    def __init__(self, secret: bytes | None, anonymous: Iterable[str], origins: Iterable[str]) -> None:
        self._secret = secret
        self._anonymous = Grant(frozenset(str(getattr(one, "value", one)) for one in anonymous))
        self._origins = frozenset(origins)

    def check_origin(self, scope: Mapping[str, Any]) -> None:
        """Refusal if a page of a stranger has its browser send the request in ``scope``."""
        for name, value in scope["headers"]:
            if name == b"origin" and value and value.decode("latin-1") not in self._origins:
                raise Refusal(403, "pages of this origin may not call the API")

    def of(self, scope: Mapping[str, Any]) -> Grant:
        """The permissions of who sends the request in ``scope``.

        Raises:
            Refusal: a token that is none, or a page of a stranger.
        """
        self.check_origin(scope)
        headers: dict[bytes, bytes] = dict(scope["headers"])
        token = _token(headers.get(b"authorization", b"").decode("latin-1"), scope)
        if not token:
            return self._anonymous
        if self._secret is None:
            raise Refusal(401, "this server knows no tokens")
        try:
            return read_grant(self._secret, token)
        except TokenError as error:
            raise Refusal(401, str(error)) from None


def _token(header: str, scope: Mapping[str, Any]) -> str:
    """In the header, or in the URL, as pages must send it that open a WebSocket."""
    if not header:
        query: bytes = scope.get("query_string", b"")
        return parse_qs(query.decode("latin-1")).get("token", [""])[0]
    scheme, _, token = header.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Refusal(401, "a bearer token is wanted: Authorization: Bearer …")
    return token.strip()
