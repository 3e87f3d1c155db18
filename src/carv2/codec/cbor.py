r"""Plain CBOR, as gateways serve it: no links, and not canonical.

Source: RFC 8949. What is read follows go-ipld-prime's codec of that name: definite and indefinite lengths, numbers
in any width, half and single floats; no tags, keys are text, and no key comes twice.

>>> decode(bytes.fromhex("a1616f9ff93c00f6ff"))
{'o': [1.0, None]}
"""

from __future__ import annotations

import struct
from typing import Any, cast

from carv2.codec import dag_cbor
from carv2.codec._cbor_links import ENDLESS, read_head, read_string, scan
from carv2.errors import CodecError

__all__ = ["decode", "encode"]

_BYTES, _TEXT, _LIST, _MAP = 2, 3, 4, 5
_BREAK = 0xFF
_CONSTANTS = {0xF4: False, 0xF5: True, 0xF6: None, 0xF7: None}  # f7 is undefined
_FLOATS = {0xF9: ">e", 0xFA: ">f", 0xFB: ">d"}


def decode(data: bytes) -> Any:
    r"""The value; ``undefined`` becomes None.

    Raises:
        CodecError: no CBOR, a tag, a key that is no text or comes twice, text that is not UTF-8, nested deeper
            than 128.

    >>> decode(b"\x18\x01")
    1
    """
    if scan(data, []):
        raise CodecError("CBOR: a link, which plain CBOR has not", position=0)
    stack: list[tuple[Any, int]] = []  # sizes, depth, kinds of keys and ends are known to be right from here on
    root: list[Any] = []
    holder: Any = root
    left, at = 1, 0
    while True:
        while left == 0 or data[at] == _BREAK:
            if holder is root:
                return root[0]
            at += left != 0
            holder, left = stack.pop()
        left -= 1
        if isinstance(holder, dict):
            fields = cast("dict[str, Any]", holder)
            key, at = _key(data, at, fields)
            value, count, at = _item(data, at)
            fields[key] = value
        else:
            value, count, at = _item(data, at)
            holder.append(value)
        if count is not None:
            stack.append((cast("Any", holder), left))
            holder, left = value, count


def encode(value: object) -> bytes:
    """The same as dag-cbor's, without links.

    Raises:
        ValueError: as for dag-cbor, or a CID among the values.
        TypeError: something that is not of the IPLD data model.

    >>> encode([1]).hex()
    '8101'
    """
    data = dag_cbor.encode(value)
    if scan(data, []):
        raise ValueError("plain CBOR has no links")
    return data


def _key(data: bytes, at: int, holder: dict[str, Any]) -> tuple[str, int]:
    key, end = _text(data, at)
    if key in holder:
        raise CodecError(f"CBOR: the key {key!r} comes twice", position=at)
    return key, end


def _item(data: bytes, at: int) -> tuple[Any, int | None, int]:
    """A value, how many entries it is to get if it is a map or a list, and the offset behind its bytes."""
    first = data[at]
    if first in _CONSTANTS:
        return _CONSTANTS[first], None, at + 1
    if first in _FLOATS:
        size = struct.calcsize(_FLOATS[first])
        return struct.unpack_from(_FLOATS[first], data, at + 1)[0], None, at + 1 + size
    major = first >> 5
    if major == _TEXT:
        text, end = _text(data, at)
        return text, None, end
    if major == _BYTES:
        content, end = read_string(data, at)
        return content, None, end
    _, number, end = read_head(data, at)
    if major in {_LIST, _MAP}:
        return ({} if major == _MAP else []), number if number >= 0 else ENDLESS, end
    return number if major == 0 else -1 - number, None, end


def _text(data: bytes, at: int) -> tuple[str, int]:
    content, end = read_string(data, at)
    try:
        return content.decode(), end
    except UnicodeDecodeError as error:
        raise CodecError("CBOR: text that is not UTF-8", position=at) from error
