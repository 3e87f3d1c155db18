"""Values of CBOR that need not be canonical, read as go-ipld-prime reads it.

Definite and indefinite lengths, numbers in any width, half and single floats; keys are text, no key comes twice,
and the only tag is a link's. Text that is not UTF-8 (Filecoin's chain is full of it) is read with
``surrogateescape``.

>>> decode(bytes.fromhex("a1616f9ff93c00f6ff"))
{'o': [1.0, None]}
"""

from __future__ import annotations

import struct
from typing import Any, cast

from carv2.cid import CID
from carv2.codec._cbor_links import ENDLESS, read_head, read_string, scan
from carv2.errors import CodecError

_BYTES, _TEXT, _LIST, _MAP, _TAG = 2, 3, 4, 5, 6
_BREAK = 0xFF
_CONSTANTS = {0xF4: False, 0xF5: True, 0xF6: None, 0xF7: None}  # f7 is undefined
_FLOATS = {0xF9: ">e", 0xFA: ">f", 0xFB: ">d"}


def decode(data: bytes) -> Any:
    """The value, links as :class:`carv2.CID`; ``undefined`` becomes None.

    Raises:
        CodecError: what :func:`scan` refuses, or a key that comes twice.
    """
    scan(data, [])  # sizes, depth, kinds of keys, links and ends are known to be right from here on
    stack: list[tuple[Any, int]] = []
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
    if major == _TAG:
        content, end = read_string(data, read_head(data, at)[2])
        return CID.trusted(content[1:]), None, end
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
    return content.decode("utf-8", "surrogateescape"), end
