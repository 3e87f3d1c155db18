"""A request to a gateway, taken apart and checked before anything is read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import parse_qsl, quote, unquote_to_bytes, urlencode

from carv2.cid import CID
from carv2.ipfs.gateway._accept import Form, form_of
from carv2.ipfs.gateway._refusal import RefusalError
from carv2.unixfs.path import names_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TypeAlias

    from carv2.unixfs._request import ByteRange, Scope

    ASGIScope: TypeAlias = "Mapping[str, Any]"

PREFIX = "/ipfs/"

_MOST_PARAMETERS = 64
_SCOPES: dict[str, Scope] = {"all": "all", "entity": "entity", "block": "block"}
_RANGE = re.compile(r"(-?[0-9]{1,19}):(\*|-?[0-9]{1,19})")
_OF_CAR = ("dag-scope", "entity-bytes")
_OURS = ("dag-scope", "entity-bytes", "car-version", "car-order", "car-dups", "filename")


class GatewayRequest(NamedTuple):
    """What is wanted."""

    root: CID
    path: str
    """Behind the CID, decoded, without slashes at its ends."""
    form: Form
    scope: Scope = "all"
    byte_range: ByteRange | None = None
    filename: str = ""
    """For the header ``Content-Disposition``, if the request says."""
    location: str = ""
    """The URL, without a host, that stands for the same and needs no headers; empty where that was asked for."""

    @property
    def content_path(self) -> str:
        """``/ipfs/CID/path``, percent-encoded."""
        return quoted_path(str(self.root), self.path)


def request_of(scope: ASGIScope, max_url: int) -> GatewayRequest:
    """The request of an ASGI scope for a path below ``/ipfs/``.

    Raises:
        RefusalError: it is none, or one that is not answered here.
    """
    raw_path, raw_query = _raw_path(scope), cast("bytes", scope.get("query_string", b""))
    if len(raw_path) + len(raw_query) > max_url:
        raise RefusalError(414, f"a URL of {len(raw_path) + len(raw_query)} bytes, limit {max_url}")
    first, path = _taken_apart(_below(raw_path, scope))
    query = _query_of(raw_query)
    form = form_of(query, header(scope, b"accept"))
    root = _root_of(first)
    request = GatewayRequest(root, path, form, filename=query.get("filename", ""))
    if not form.is_car:
        if path:
            raise RefusalError(400, "a single block is asked for by its CID alone: no path, or ?format=car")
        given = [name for name in _OF_CAR if query.get(name)]
        if given:
            raise RefusalError(400, f"{given[0]} is for archives: ask for ?format=car")
    else:
        byte_range = _range_of(query.get("entity-bytes", ""))
        request = request._replace(scope=_scope_of(query, byte_range), byte_range=byte_range)
    return request._replace(location="" if query.get("format") else _location_of(request, query))


def header(scope: ASGIScope, name: bytes) -> str:
    """The value of a request header; several of one name are one list."""
    values = [value for key, value in scope.get("headers", ()) if key.lower() == name]
    return b", ".join(values).decode("latin-1")


def quoted_path(cid: str, path: str) -> str:
    """``/ipfs/CID/path``, fit for a URL and a header."""
    below = quote(path.encode("utf-8", "surrogateescape"))
    return f"{PREFIX}{cid}/{below}" if below else f"{PREFIX}{cid}"


def _raw_path(scope: ASGIScope) -> bytes:
    raw: object = scope.get("raw_path")
    if isinstance(raw, bytes):
        return raw.partition(b"?")[0]
    return quote(str(scope["path"])).encode()


def _below(raw_path: bytes, scope: ASGIScope) -> str:
    """What stands behind ``/ipfs/``, decoded; bytes that are no UTF-8 as in names of files."""
    path = unquote_to_bytes(raw_path).decode("utf-8", "surrogateescape")
    if not path.startswith(PREFIX):  # mounted below another path, that some servers put in front
        path = path.removeprefix(str(scope.get("root_path", "")))
    if path.startswith("/ipns/"):
        raise RefusalError(501, "names that change (/ipns/) are not served here, only /ipfs/CID")
    if not path.startswith(PREFIX):
        raise RefusalError(404, "nothing here: ask for /ipfs/CID")
    return path.removeprefix(PREFIX)


def _taken_apart(below: str) -> tuple[str, str]:
    first, _, path = below.partition("/")
    try:
        return first, "/".join(names_of(path))
    except ValueError:
        raise RefusalError(400, "the path leads out of its CID") from None


def _root_of(text: str) -> CID:
    try:
        return CID.of(text)
    except ValueError as error:
        raise RefusalError(400, f"{text[:100]!r} is no CID: {error}") from None


def _query_of(raw: bytes) -> dict[str, str]:
    """The parameters; of several of one name, the first."""
    try:
        pairs = parse_qsl(raw.decode("latin-1"), keep_blank_values=True, max_num_fields=_MOST_PARAMETERS)
    except ValueError:
        raise RefusalError(400, f"more than {_MOST_PARAMETERS} parameters") from None
    return dict(reversed(pairs))


def _scope_of(query: Mapping[str, str], byte_range: ByteRange | None) -> Scope:
    given = query.get("dag-scope", "") or "all"
    scope = _SCOPES.get(given)
    if scope is None:
        raise RefusalError(400, f"dag-scope={given}, allowed: {', '.join(_SCOPES)}")
    return scope if byte_range is None else "entity"  # which the range implies


def _range_of(text: str) -> ByteRange | None:
    if not text:
        return None
    match = _RANGE.fullmatch(text)
    if match is None:
        raise RefusalError(400, f"entity-bytes={text}, expected from:to, as in 0:1023, -1024:* or 499:-1000")
    first, last = int(match[1]), None if match[2] == "*" else int(match[2])
    if last is not None and (first < 0) == (last < 0) and last < first:
        raise RefusalError(400, f"entity-bytes={text} ends before it starts")
    return first, last


def _location_of(request: GatewayRequest, query: Mapping[str, str]) -> str:
    is_car = request.form.is_car
    wanted = {"format": "car" if is_car else "raw"}
    wanted.update({name: query[name] for name in _OURS if query.get(name) and (is_car or name[:4] != "car-")})
    if is_car:
        wanted["car-dups"] = "y" if request.form.dups else "n"
    return f"{request.content_path}?{urlencode(wanted)}"
