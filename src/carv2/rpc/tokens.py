"""Who may do what: tokens that say it, signed with a secret. Source: Lotus' API tokens, JWTs with HS256."""

from __future__ import annotations

import contextlib
import enum
import os
import secrets
from typing import TYPE_CHECKING, Any, cast

from carv2._private import create_private, read_private
from carv2.errors import TokenError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Permission", "load_or_make_secret", "make_token", "read_token"]

_ALGORITHM = "HS256"
_SECRET_SIZE = 32  # bytes, of HS256's hash


class Permission(str, enum.Enum):
    """What a token allows. None implies another: Lotus' tokens for everything name all four."""

    READ = "read"
    WRITE = "write"
    SIGN = "sign"
    ADMIN = "admin"


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
    """
    jwt = _jwt()
    try:
        claims: dict[str, Any] = jwt.decode(token, _checked(secret), algorithms=[_ALGORITHM])
    except jwt.ExpiredSignatureError:
        raise TokenError("the token has expired") from None
    except (jwt.InvalidTokenError, UnicodeError):  # what exactly is wrong would help a forger only
        raise TokenError("not a token of this server") from None
    allow = claims.get("Allow")
    if not isinstance(allow, list) or not all(isinstance(one, str) for one in cast("list[object]", allow)):
        raise TokenError("the token does not say what it allows")
    return frozenset(cast("list[str]", allow))


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
