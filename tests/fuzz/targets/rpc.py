"""What servers and clients are sent: JSON-RPC messages, tokens, requests to a gateway, addresses."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes

from carv2.errors import CarError, RpcError, TokenError
from carv2.ipfs import _gateway_url
from carv2.ipfs._gateway_url import GatewayURL
from carv2.ipfs.gateway import _request
from carv2.ipfs.gateway._refusal import RefusalError
from carv2.ipfs.kubo.address import NodeAddress
from carv2.rpc import _address, _forms, _jsonrpc, tokens
from fuzz.target import REFUSED, Sabotage, Target

if TYPE_CHECKING:
    from collections.abc import Callable

# -- JSON-RPC -------------------------------------------------------------------------------------------------

_MOST_CALLS = 8
_FORMS: tuple[Callable[[Any], object], ...] = (
    _forms.finding_in, _forms.stat_in, _forms.config_in, _forms.records_in, _forms.foreigners_in, _forms.taken_in,
    _forms.deals_in, _forms.report_in,
)  # fmt: skip


def check_message(data: bytes) -> str:
    try:
        calls, is_batch = _jsonrpc.parse(data, max_batch=_MOST_CALLS)
    except RpcError as error:
        assert error.code in {_jsonrpc.PARSE_ERROR, _jsonrpc.INVALID_REQUEST}
        json.loads(b"".join(_jsonrpc.error(None, error)))
        return REFUSED
    assert 1 <= len(calls) <= _MOST_CALLS
    assert is_batch or len(calls) == 1
    for call in calls:
        said = json.loads(b"".join(_jsonrpc.result(call.id, b"[1]")))
        assert said == {"jsonrpc": "2.0", "id": call.id, "result": [1]}
    sound = [call for call in calls if isinstance(call, _jsonrpc.Request)]
    for call in sound:
        _check_call(call)
    taken = sum(_form_taken(value) for call in sound for value in call.params)
    return "fields" if taken else "batch" if is_batch and sound else "call" if sound else "no call"


def _check_call(call: _jsonrpc.Request) -> None:
    again, _ = _jsonrpc.parse(
        json.dumps({"jsonrpc": "2.0", "id": call.id, "method": call.method, "params": call.params}), max_batch=1
    )
    assert again == [_jsonrpc.Request(call.method, call.params, call.id)]


def _form_taken(value: object) -> bool:
    """Whether what is in a call's parameters is one of the structures that methods take, with anything in it."""
    taken = False
    for read in _FORMS:
        try:
            found = read(value)
        except (ValueError, CarError):
            continue
        taken = taken or bool(found)
    return taken


_PARSE, _RESULT = _jsonrpc.parse, _jsonrpc.result

MESSAGES = Target(
    "rpc-messages",
    check_message,
    frozenset({"call", "batch", "fields", "no call", REFUSED}),
    {
        "takes any batch": Sabotage(
            _jsonrpc, "parse", lambda data, max_batch: _PARSE(data, max_batch=10 * max_batch)
        ),
        "answers another call": Sabotage(_jsonrpc, "result", lambda _, value: _RESULT(0, value)),
        "raises what is not its own": Sabotage(_jsonrpc, "parse", lambda data, max_batch: json.loads(data)),
        "takes a float for the id": Sabotage(_jsonrpc, "_finite", float),
    },
    words=(
        b'{"jsonrpc":"2.0","id":',
        b'"method":"Filecoin.DagstoreListShards"',
        b'"params":[',
        b"null",
        b"1e999",
        b"NaN",
        b'"Deals":',
        b'{"Key":"a","Problem":"index missing","Detail":"","Remedy":"","Mended":false,"Error":"","Done":',
        b'"Records":[',
        b'"Line":1,"Key":"a","URL":"x","State":2,"Error":""',
        b"}]",
        b"\\ud800",
    ),
)


# -- tokens ---------------------------------------------------------------------------------------------------

_SECRET = b"s" * 32
_HEADER = b'{"alg":"HS256","typ":"JWT"}'


def check_token(data: bytes) -> str:
    """The input as a token, and as what a token says: two lines, header and claims, signed as ours are."""
    text = data.decode("utf-8", "surrogateescape")
    outcome = "let in" if _grant_of(text) is not None else REFUSED
    head, separator, claims = data.partition(b"\n")
    signed = signed_token(head or _HEADER, claims) if separator else signed_token(_HEADER, data)
    grant = _grant_of(signed)
    if grant is None:
        return outcome
    assert _grant_of(signed[:-1] + ("A" if signed[-1] != "A" else "E")) is None
    assert all(isinstance(name, str) for name in grant.allow)
    assert grant.expires is None or math.isfinite(grant.expires)
    assert isinstance(grant.is_over, bool)
    assert json.loads(claims if separator else data)["Allow"] is not None
    return "signed"


def _grant_of(token: str) -> tokens.Grant | None:
    try:
        return tokens.read_grant(_SECRET, token)
    except TokenError:
        return None


def signed_token(head: bytes, claims: bytes) -> str:
    """A JWT by hand, with HS256."""
    body = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in (head, claims))
    signature = hmac.new(_SECRET, body, hashlib.sha256).digest()
    return (body + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


_READ_GRANT = tokens.read_grant


def _unsigned(_secret: bytes, token: str) -> tokens.Grant:
    """Whoever asks is let in, as far as the claims can be read."""
    try:
        body = token.split(".")[1]
        return tokens.Grant(frozenset(json.loads(base64.urlsafe_b64decode(body + "=="))["Allow"]))
    except Exception as error:
        raise TokenError("no") from error


TOKENS = Target(
    "rpc-tokens",
    check_token,
    frozenset({"let in", "signed", REFUSED}),
    {
        "looks at no signature": Sabotage(tokens, "read_grant", _unsigned),
        "takes what is no date": Sabotage(
            tokens, "read_grant", lambda *given: replace(_READ_GRANT(*given), expires=math.nan)
        ),
        "raises what is not its own": Sabotage(
            tokens, "read_grant", lambda _, token: json.loads(base64.b64decode(token, validate=True))
        ),
    },
    max_size=1024,
    words=(
        b'{"Allow":["read","write"]',
        b',"exp":',
        b',"nbf":',
        b',"iat":',
        b',"aud":',
        b'{"alg":"HS256"',
        b'"none"',
        b"}\n{",
    ),
)


# -- requests to a gateway ------------------------------------------------------------------------------------


def scope_of(data: bytes) -> dict[str, Any]:
    """An ASGI scope: path, query and ``Accept`` of a request, which stand in lines."""
    path, query, accept = (*data.split(b"\n", 2), b"", b"")[:3]
    return {
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path,
        "query_string": query,
        "headers": [(b"accept", accept)],
    }


def check_request(data: bytes) -> str:
    try:
        found = _request.request_of(scope_of(data), 4096)
    except RefusalError as error:
        assert 400 <= error.status < 502
        assert len(error.body) < 2000
        return REFUSED
    path = found.content_path
    assert path.isascii()
    assert path.isprintable()
    assert not {"..", "."} & set(found.path.split("/"))
    if not found.location:
        return "by URL"
    assert found.location.isascii()
    assert found.location.isprintable()
    where, _, query = found.location.encode().partition(b"?")
    again = _request.request_of(scope_of(where + b"\n" + query), 1 << 20)
    assert again == found._replace(location="")
    return "by header"


REQUESTS = Target(
    "gateway-requests",
    check_request,
    frozenset({"by URL", "by header", REFUSED}),
    {
        "does not quote": Sabotage(_request, "quoted_path", lambda cid, path: f"/ipfs/{cid}/{path}"),
        "forgets the range": Sabotage(
            _request,
            "_location_of",
            lambda request, query: f"{request.content_path}?format={'car' * request.form.is_car or 'raw'}",
        ),
        "lets paths lead out": Sabotage(_request, "names_of", lambda path: path.split("/")),
        "raises what is not its own": Sabotage(_request, "_query_of", lambda raw: dict([raw.split(b"=")])),
    },
    words=(
        b"/ipfs/bafkqaalb",
        b"\nformat=car",
        b"\nformat=raw",
        b"&dag-scope=entity",
        b"&entity-bytes=0:99",
        b"&car-dups=y",
        b"&car-order=dfs",
        b"\n\napplication/vnd.ipld.car; order=dfs; dups=y; version=1",
        b"application/vnd.ipld.raw;q=0.5",
        b"%2e%2e",
        b"%00",
        b"%ff",
        b"&filename=",
        b"*/*",
    ),
)


# -- addresses ------------------------------------------------------------------------------------------------


def check_address(data: bytes) -> str:
    """A line is taken as the address of an API, of a node, and of a gateway."""
    text = data.decode("utf-8", "surrogateescape")
    taken = {name: _attempt(read, text) for name, read in _ADDRESSES.items()}
    api, node, gateway = taken["api"], taken["node"], taken["gateway"]
    if api is not None:
        assert _address.parse_address(api.http_url) == api
        assert _address.parse_address(api.websocket_url) == api
        assert 0 < api.port < 1 << 16
    if node is not None and node.socket_path is None:
        assert NodeAddress.of(node.url) == node._replace(user=None)
    if gateway is not None:
        assert GatewayURL.parse(f"{gateway.text}/ipfs") == gateway
        assert not gateway.text.endswith("/")
        assert gateway.allows(f"{gateway.text}/ipfs/bafkqaalb")
        assert not gateway.allows("http://127.0.0.2:5001/") or gateway.origin.host == "127.0.0.2"
    return "+".join(name for name, found in taken.items() if found is not None) or REFUSED


_ADDRESSES: dict[str, Callable[[str], Any]] = {
    "api": _address.parse_address,
    "node": NodeAddress.of,
    "gateway": GatewayURL.parse,
}


def _attempt(read: Callable[[str], Any], text: str) -> Any:
    try:
        return read(text)
    except ValueError:
        return None


_NODE_URL = NodeAddress.url.fget  # type: ignore[attr-defined]

ADDRESSES = Target(
    "addresses",
    check_address,
    frozenset({REFUSED, "api", "node", "gateway", "api+node", "node+gateway", "api+node+gateway"}),
    {
        "loses the port": Sabotage(
            NodeAddress,
            "url",
            property(lambda self: _NODE_URL(self._replace(port=None))),
        ),
        "lets a gateway lead anywhere": Sabotage(GatewayURL, "allows", lambda *_: True),
        "takes any text": Sabotage(_gateway_url, "origin_of", lambda url: _gateway_url.Origin("http", url, 80)),
    },
    max_size=256,
    words=(
        b"http://",
        b"https://",
        b"ws://",
        b"/ip4/",
        b"/dns4/",
        b"/tcp/",
        b"/http",
        b"/unix/",
        b"[::1]",
        b":443",
        b"@",
        b"/ipfs",
        b"xn--",
    ),
)

TARGETS = (MESSAGES, TOKENS, REQUESTS, ADDRESSES)
