"""Plain JSON, as gateways serve it: no links, no bytes.

Source: RFC 8259; what is written is what go-ipld-prime's codec of that name writes, a line for each entry.

>>> decode(b'{"/": "bafkqaalb"}')
{'/': 'bafkqaalb'}
"""

from __future__ import annotations

from typing import Any

from carv2.cid import CID
from carv2.codec._json import build, dumps
from carv2.codec._values import copied

__all__ = ["decode", "encode"]


def decode(data: bytes) -> Any:
    """The value.

    Raises:
        CodecError: no JSON, nested deeper than 128, a key that comes twice, a number out of range.

    >>> decode(b"[1, 2.5]")
    [1, 2.5]
    """
    return build(data, lambda fields: fields)


def encode(value: object) -> bytes:
    r"""Encode a value made of None, bool, int, float, str, list and dict; keys stay in their order.

    Raises:
        ValueError: no finite number, a text with lone surrogates, too deep a nesting.
        TypeError: anything else.

    >>> encode({"a": [1]})
    b'{\n\t"a": [\n\t\t1\n\t]\n}\n'
    """
    text = dumps(copied(value, _checked), indent="\t", sort_keys=False)
    return text.encode() + (b"\n" if isinstance(value, (dict, list, tuple)) else b"")


def _checked(item: object) -> object:
    if isinstance(item, (bytes, CID)):
        raise TypeError(f"plain JSON has no {'links' if isinstance(item, CID) else 'bytes'}")
    return item
