"""The headers of a gateway's answers."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import TYPE_CHECKING
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from carv2.cid import CID
    from carv2.ipfs.gateway._request import GatewayRequest

Headers = list[tuple[bytes, bytes]]

_A_YEAR = "public, max-age=29030400, immutable"
"""What a CID names never changes. Source: the Path Gateway specification, ``Cache-Control``."""

_MOST_NAME = 200  # characters
_UNSAFE = re.compile(r"[^A-Za-z0-9._ -]")

ALWAYS = (("x-content-type-options", "nosniff"),)
CORS = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, HEAD, OPTIONS"),
    ("access-control-allow-headers", "Accept, Cache-Control, Content-Type, If-None-Match, Range, User-Agent"),
    ("access-control-expose-headers", "Content-Disposition, Content-Length, Etag, X-Ipfs-Path, X-Ipfs-Roots"),
)


def encoded(headers: Iterable[tuple[str, str]]) -> Headers:
    """Headers as ASGI has them."""
    return [(name.encode("ascii"), value.encode("latin-1", "replace")) for name, value in headers]


def of_answer(request: GatewayRequest, roots: Sequence[CID]) -> list[tuple[str, str]]:
    """What an answer says of itself, besides its length; ``roots`` are those along the path."""
    headers = [
        ("content-type", request.form.content_type),
        ("content-disposition", _disposition(request)),
        ("etag", etag_of(request)),
        ("cache-control", _A_YEAR),
        ("vary", "Accept"),
        ("accept-ranges", "none"),
        ("x-ipfs-path", request.content_path),
        ("x-ipfs-roots", ",".join(map(str, roots))),
    ]
    if request.location:
        headers.append(("content-location", request.location))
    return headers


def etag_of(request: GatewayRequest) -> str:
    """The same for requests that have the same answer.

    That of a block is strong. That of an archive is weak: the next version of carv2 may send other bytes.
    """
    if not request.form.is_car:
        return f'"{request.root}.raw"'
    wanted = repr((request.path, request.byte_range, request.form.dups)).encode("utf-8", "surrogateescape")
    return f'W/"{request.root}.car.{request.scope}.{blake2b(wanted, digest_size=8).hexdigest()}"'


def has_etag(if_none_match: str, etag: str) -> bool:
    """Whether a client has what ``etag`` stands for, by the word of its ``If-None-Match``."""
    given = [each.strip().removeprefix("W/") for each in if_none_match.split(",")]
    return "*" in given or etag.removeprefix("W/") in given


def _disposition(request: GatewayRequest) -> str:
    suffix = "car" if request.form.is_car else "bin"
    if not request.filename:
        return f'attachment; filename="{request.root}.{suffix}"'
    name = request.filename.replace("\\", "/").rsplit("/", 1)[-1][:_MOST_NAME]
    plain = _UNSAFE.sub("_", name)
    if plain == name:
        return f'attachment; filename="{name}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"
