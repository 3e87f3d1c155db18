"""Plain CBOR, as gateways serve it: without links, and not canonical.

Source: RFC 8949; what is read follows go-ipld-prime's codec of that name: see :mod:`carv2.codec._cbor_values`.

>>> decode(bytes.fromhex("a1616f9ff93c00f6ff"))
{'o': [1.0, None]}
"""

from __future__ import annotations

from typing import Any

from carv2.codec import _cbor_values, dag_cbor
from carv2.codec._cbor_links import scan
from carv2.errors import CodecError

__all__ = ["decode", "encode"]


def decode(data: bytes) -> Any:
    r"""The value; ``undefined`` becomes None, bytes of texts that are not UTF-8 lone surrogates.

    Raises:
        CodecError: no CBOR, a tag, a key that is no text or comes twice, nested deeper than 128.

    >>> decode(b"\x18\x01")
    1
    """
    if scan(data, []):
        raise CodecError("CBOR: a link, which plain CBOR has not", position=0)
    return _cbor_values.decode(data)


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
