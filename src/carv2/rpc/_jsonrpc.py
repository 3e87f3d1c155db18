"""JSON-RPC 2.0: requests out of bytes, answers into bytes, in the shapes of Lotus' ``go-jsonrpc``.

Source: the JSON-RPC 2.0 specification; what it leaves open (a null result is written, codes of methods are 1,
channels) is as in go-jsonrpc.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from carv2.errors import RpcError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "APPLICATION_ERROR",
    "INTERNAL_ERROR",
    "INVALID_PARAMS",
    "INVALID_REQUEST",
    "METHOD_NOT_FOUND",
    "PARSE_ERROR",
    "SERVER_BUSY",
    "Answer",
    "Invalid",
    "Request",
    "batch",
    "error",
    "notification",
    "parse",
    "result",
]

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS = -32700, -32600, -32601, -32602
INTERNAL_ERROR, SERVER_BUSY = -32603, -32000
APPLICATION_ERROR = 1

Id: TypeAlias = "str | int | float | None"


@dataclass(frozen=True, slots=True)
class Request:
    """A call; ``is_notification`` if nobody waits for its answer."""

    method: str
    params: Sequence[Any]
    id: Id = None
    is_notification: bool = False


@dataclass(frozen=True, slots=True)
class Invalid:
    """Something that is no call, to be answered with ``error``."""

    error: RpcError
    id: Id = None


def parse(data: bytes | str, *, max_batch: int) -> tuple[list[Request | Invalid], bool]:
    """The calls in a message, and whether it is a batch of them.

    Raises:
        RpcError: there are none: it is no JSON, an empty batch, or one of more than ``max_batch`` calls.

    >>> parse(b'{"jsonrpc": "2.0", "id": 7, "method": "sea"}', max_batch=1)
    ([Request(method='sea', params=[], id=7, is_notification=False)], False)
    """
    value = _decoded(data)
    if not isinstance(value, list):
        return [_request(value)], False
    found = cast("list[object]", value)
    if not found:
        raise RpcError(INVALID_REQUEST, "Invalid request: an empty batch")
    if len(found) > max_batch:
        raise RpcError(INVALID_REQUEST, f"Invalid request: a batch of {len(found)} calls, limit {max_batch}")
    return [_request(one) for one in found], True


def _decoded(data: bytes | str) -> Any:
    try:
        text = data.decode() if isinstance(data, bytes) else data
        return json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except (ValueError, RecursionError):
        raise RpcError(PARSE_ERROR, "Parse error") from None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError("a number too large to be given back")
    return value


def _request(value: Any) -> Request | Invalid:
    if not isinstance(value, dict):
        return _invalid("not an object")
    call = cast("dict[str, object]", value)
    id_ = call.get("id")
    if isinstance(id_, bool) or not isinstance(id_, (str, int, float, type(None))):
        return _invalid("id is neither string nor number")
    if call.get("jsonrpc") != "2.0":
        return _invalid('jsonrpc is not "2.0"', id_)
    method, params = call.get("method"), _params(call.get("params"))
    if not isinstance(method, str):
        return _invalid("no method", id_)
    if params is None:
        return Invalid(RpcError(INVALID_PARAMS, "params are no array; they have no names"), id_)
    return Request(method, params, id_, is_notification="id" not in call)


def _params(value: object) -> list[object] | None:
    """Those of a call, which may have none; None if it cannot be."""
    if value is None:
        return []
    return cast("list[object]", value) if isinstance(value, list) else None


def _invalid(why: str, id_: Id = None) -> Invalid:
    return Invalid(RpcError(INVALID_REQUEST, f"Invalid request: {why}"), id_)


# -- answers, in pieces: a value in JSON goes in as it is, so that many clients may be sent the same one ----------

Answer: TypeAlias = "tuple[bytes, ...]"


def result(id_: Id, value: bytes) -> Answer:
    """The answer of a call that succeeded with ``value``, in JSON.

    >>> b"".join(result(1, b"null"))
    b'{"jsonrpc":"2.0","id":1,"result":null}'
    """
    return f'{{"jsonrpc":"2.0","id":{json.dumps(id_)},"result":'.encode(), value, b"}"


def error(id_: Id, fault: RpcError) -> Answer:
    """The answer of a call that failed.

    >>> error(None, RpcError(PARSE_ERROR, "Parse error"))
    (b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parse error"}}',)
    """
    text = json.dumps(fault.message)
    return (
        f'{{"jsonrpc":"2.0","id":{json.dumps(id_)},"error":{{"code":{fault.code},"message":{text}}}}}'.encode(),
    )


def notification(method: str, params: bytes) -> Answer:
    """A message that nobody answers, with ``params`` in JSON.

    >>> b"".join(notification("xrpc.ch.close", b"[1]"))
    b'{"jsonrpc":"2.0","method":"xrpc.ch.close","params":[1]}'
    """
    return f'{{"jsonrpc":"2.0","method":{json.dumps(method)},"params":'.encode(), params, b"}"


def batch(answers: Sequence[Answer]) -> Answer:
    """Answers to a batch."""
    return b"[", b",".join(map(b"".join, answers)), b"]"
