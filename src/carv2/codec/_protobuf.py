"""The numbers of protobuf, which dag-pb and UnixFS are written in: of up to 64 bits, in any form when read."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from carv2.errors import CodecError

LARGEST_FIELD = (1 << 29) - 1
"""Number of a field, of which 1 is the smallest. Source: the protobuf encoding."""

_MAX_SIZE = 10


def read_varint(data: bytes, at: int, end: int, error: type[CodecError]) -> tuple[int, int]:
    r"""The value at ``data[at]``, and the offset behind it; bytes from ``end`` on are not its own.

    Raises:
        CodecError: of the class ``error``: it is cut off, or of more than 64 bits.

    >>> from carv2.errors import CodecError
    >>> read_varint(b"\xac\x02", 0, 2, CodecError)
    (300, 2)
    """
    value = shift = 0
    for position in range(at, min(end, at + _MAX_SIZE)):
        byte = data[position]
        value |= (byte & 127) << shift
        if byte < 128:
            if value >> 64:
                break
            return value, position + 1
        shift += 7
    raise error("a protobuf varint that is cut off, or of more than 64 bits", position=at)


def varint(value: int) -> bytes:
    """The shortest form of ``value``.

    Raises:
        ValueError: it is negative, or of more than 64 bits.

    >>> varint(300).hex()
    'ac02'
    """
    if 0 <= value < 128:
        return bytes((value,))
    if not 0 <= value < 1 << 64:
        raise ValueError(f"protobuf varint of {value}, allowed 0 to 2**64 - 1")
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
