"""Who may do what: tokens that say it, signed with a secret. Source: Lotus' API tokens, JWTs with HS256."""

from __future__ import annotations

import contextlib
import enum
import math
import os
import re
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from carv2._private import create_private, read_private
from carv2.errors import TokenError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Permission", "load_or_make_secret", "make_token", "read_token"]

_ALGORITHM = "HS256"
_SECRET_SIZE = 32  # bytes, of HS256's hash
_MOST_CHARACTERS = 4096
_SHAPE = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+){2}")


class Permission(str, enum.Enum):
    """What a token allows. None implies another: Lotus' tokens for everything name all four."""

    READ = "read"
    WRITE = "write"
    SIGN = "sign"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Grant:
    """What somebody may do, and until when."""

    allow: frozenset[str]
    expires: float | None = None
    """Seconds since 1970; None for never."""

    @property
    def is_over(self) -> bool:
        """Whether its time has passed."""
        return self.expires is not None and time.time() >= self.expires


def make_token(secret: bytes, allow: Iterable[str], *, expires: float | None = None) -> str:
    """A token for those permissions, until ``expires`` (seconds since 1970; None for ever).

    Raises:
        ValueError: no permission, one that there is not, or a secret of less than 32 bytes.

    >>> token = make_token(b"s" * 32, ["read", "write"])
    >>> sorted(read_token(b"s" * 32, token))
    ['read', 'write']
    """
    wanted = {Permission(name) for name in allow}
    if not wanted:
        raise ValueError("a token for nothing: name one of read, write, sign, admin")
    claims: dict[str, Any] = {"Allow": [one.value for one in Permission if one in wanted]}
    if expires is not None:
        claims["exp"] = int(expires)
    return str(_jwt().encode(claims, _checked(secret), algorithm=_ALGORITHM))


def read_token(secret: bytes, token: str) -> frozenset[str]:
    """The permissions in ``token``.

    Raises:
        TokenError: it is no token of this secret, or has expired.
        ValueError: a secret of less than 32 bytes.

    >>> from carv2.rpc import make_token
    >>> read_token(bytes(32), make_token(bytes(32), ["read"])) == {"read"}
    True
    """
    return read_grant(secret, token).allow


def read_grant(secret: bytes, token: str) -> Grant:
    """The permissions in ``token`` and their end; the errors of :func:`read_token`."""
    claims = _claims_of(_checked(secret), token)
    allow, expires = claims.get("Allow"), claims.get("exp")
    if not isinstance(allow, list) or not all(isinstance(one, str) for one in cast("list[object]", allow)):
        raise TokenError("the token does not say what it allows")
    if expires is not None and not (isinstance(expires, (int, float)) and math.isfinite(expires)):
        raise TokenError("not a token of this server")
    return Grant(frozenset(cast("list[str]", allow)), expires)


def _claims_of(secret: bytes, token: str) -> dict[str, Any]:
    """What is signed; TokenError for anything else, whatever PyJWT makes of it."""
    jwt = _jwt()
    if len(token) > _MOST_CHARACTERS or not _SHAPE.fullmatch(token):
        raise TokenError("not a token of this server")
    try:
        return cast("dict[str, Any]", jwt.decode(token, secret, algorithms=[_ALGORITHM]))
    except jwt.ExpiredSignatureError:
        raise TokenError("the token has expired") from None
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):  # the last ones: PyJWT 2.8
        raise TokenError("not a token of this server") from None  # what is wrong would help a forger only


def _jwt() -> Any:
    try:
        import jwt  # noqa: PLC0415  (optional)
    except ModuleNotFoundError:
        raise ModuleNotFoundError("tokens need PyJWT: pip install 'carv2[rpc]'", name="jwt") from None
    return jwt


def _checked(secret: bytes) -> bytes:
    if len(secret) < _SECRET_SIZE:
        raise ValueError(f"a secret of {len(secret)} bytes; {_SECRET_SIZE} at least")
    return secret


def load_or_make_secret(path: str | os.PathLike[str]) -> bytes:
    """The secret in the file at ``path``, as hexadecimal digits; a new one, of mode 0600, if there is no file.

    Raises:
        PermissionError: others may read the file.
        ValueError: there is something else in it.
        OSError: it cannot be read or made.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     secret = load_or_make_secret(f"{folder}/secret")
    ...     len(secret), secret == load_or_make_secret(f"{folder}/secret")
    (32, True)
    """
    where = os.fspath(path)
    if not os.path.lexists(where):
        with contextlib.suppress(FileExistsError):  # somebody was faster
            create_private(where, secrets.token_hex(_SECRET_SIZE).encode() + b"\n")
    try:
        return _checked(bytes.fromhex(read_private(where).decode("ascii")))
    except ValueError as error:
        raise ValueError(f"{where} holds no secret: {_SECRET_SIZE} bytes or more as hexadecimal digits") from error
